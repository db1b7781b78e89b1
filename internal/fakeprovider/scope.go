package fakeprovider

import (
	"net/url"
	"slices"
	"strings"
)

// graphHost is the audience of scopes that name none, as at Microsoft.
const graphHost = "graph.microsoft.com"

// identityScopes are about signing in and belong to no audience.
var identityScopes = []string{"openid", "profile", "email", "offline_access"}

// Narrowing is what becomes of a refresh request for fewer scopes than were
// granted (RFC 6749 section 6). Microsoft's dialect has its own way.
type Narrowing string

// The ways.
const (
	// NarrowingHonored: the token has these scopes, and the answer says so.
	NarrowingHonored Narrowing = ""
	// NarrowingIgnored: the token has all that was granted.
	NarrowingIgnored Narrowing = "ignored"
	// NarrowingUnsaid: the token has these scopes, and the answer says nothing.
	NarrowingUnsaid Narrowing = "unsaid"
)

// resolveScope finds what a refresh request with the scope parameter requested
// may have out of granted, and the audience of its token: always empty but in
// Microsoft's dialect.
func (d Dialect) resolveScope(granted, requested []string) (audience string, scopes []string, no *refusal) {
	if d == Microsoft {
		return resolveAudience(granted, requested)
	}
	if d == Google {
		granted, requested = mapped(granted, googleScope), mapped(requested, googleScope)
	}
	for _, scope := range requested {
		if !slices.Contains(granted, scope) {
			return "", nil, scopeNotGranted
		}
	}
	if len(requested) == 0 {
		requested = granted
	}
	return "", requested, nil
}

// googleScope is a scope as Google's answers write it: the short names of
// OpenID Connect in full.
func googleScope(scope string) string {
	if scope == "email" || scope == "profile" {
		return "https://www.googleapis.com/auth/userinfo." + scope
	}
	return scope
}

// googleIdentity are the scopes that Google's page does not let a person leave
// out.
var googleIdentity = []string{"openid", googleScope("email"), googleScope("profile")}

func mapped(scopes []string, change func(string) string) []string {
	changed := make([]string, 0, len(scopes))
	for _, scope := range scopes {
		if scope = change(scope); !slices.Contains(changed, scope) {
			changed = append(changed, scope)
		}
	}
	return changed
}

// resourcesOf are the audiences of scopes in Microsoft's dialect.
func resourcesOf(scopes []string) (audiences []string) {
	for _, scope := range scopes {
		audience := audienceOf(scope)
		if !slices.Contains(identityScopes, scope) && !slices.Contains(audiences, audience) {
			audiences = append(audiences, audience)
		}
	}
	return audiences
}

// checkScopes refuses what the client may not ask for, or nobody can.
func (c Client) checkScopes(scopes []string) *refusal {
	defaults := slices.ContainsFunc(scopes, func(scope string) bool { return strings.HasSuffix(scope, "/.default") })
	for _, scope := range scopes {
		switch {
		case len(c.Scopes) > 0 && !slices.Contains(c.Scopes, scope):
			return scopeUnknown
		case c.Dialect == Google && !slices.Contains(googleIdentity, googleScope(scope)) && !strings.HasPrefix(scope, "https://"):
			return scopeUnknown
		case defaults && !slices.Contains(identityScopes, scope) && !strings.HasSuffix(scope, "/.default"):
			return defaultBesideOthers
		}
	}
	return nil
}

// resolveAudience is resolveScope for a grant with several audiences, of which
// each access token has one.
func resolveAudience(granted, requested []string) (audience string, scopes []string, no *refusal) {
	resource := func(scope string) bool { return !slices.Contains(identityScopes, scope) }
	wanted := requested
	if !slices.ContainsFunc(wanted, resource) {
		wanted = granted
	}
	if first := slices.IndexFunc(wanted, resource); first >= 0 {
		audience = audienceOf(wanted[first])
	}
	var available []string
	for _, scope := range granted {
		if !resource(scope) || audienceOf(scope) == audience {
			available = append(available, scope)
		}
	}
	for _, scope := range requested {
		if !resource(scope) {
			continue
		}
		if audienceOf(scope) != audience {
			return "", nil, severalAudiences
		}
		if strings.HasSuffix(scope, "/.default") && slices.ContainsFunc(available, resource) {
			return audience, withoutPrefix(available), nil
		}
		same := func(g string) bool { return strings.EqualFold(fullScope(g), fullScope(scope)) }
		if !slices.ContainsFunc(available, same) {
			return audience, nil, consentRequired
		}
		scopes = append(scopes, scope)
	}
	if len(scopes) == 0 {
		return audience, withoutPrefix(available), nil
	}
	for _, scope := range available {
		if !resource(scope) {
			scopes = append(scopes, scope)
		}
	}
	return audience, withoutPrefix(scopes), nil
}

// audienceOf is the host of a scope of the form https://host/Name.
func audienceOf(scope string) string {
	if u, err := url.Parse(scope); err == nil && u.Host != "" {
		return strings.ToLower(u.Host)
	}
	return graphHost
}

func fullScope(scope string) string {
	if u, err := url.Parse(scope); err == nil && u.Host != "" {
		return scope
	}
	return "https://" + graphHost + "/" + scope
}

// withoutPrefix names Graph's scopes as Microsoft's answers do, by their last
// part alone, and leaves out offline_access, which is no scope of a token.
func withoutPrefix(scopes []string) []string {
	var short []string
	for _, scope := range scopes {
		if scope != "offline_access" {
			short = append(short, strings.TrimPrefix(scope, "https://"+graphHost+"/"))
		}
	}
	return short
}
