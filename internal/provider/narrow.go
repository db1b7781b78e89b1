package provider

import (
	"slices"
)

// Narrowing is a [Provider] that gives tokens with fewer scopes than a grant
// has (RFC 6749 section 6): those that honour the Scopes of a token request.
// Microsoft does not: its tokens have all that was consented to for the
// resource, whichever scope is named.
type Narrowing interface {
	Provider
	// UnaskedScopes are those of granted, the scopes of a token, that are more
	// than requested, whatever way the server spells them.
	UnaskedScopes(requested, granted []string) []string
}

func (g *google) UnaskedScopes(requested, granted []string) []string {
	return googleUnasked(requested, granted)
}

func (s *serviceAccount) UnaskedScopes(requested, granted []string) []string {
	return googleUnasked(requested, granted)
}

// googleUnasked leaves out "openid" where the address or the profile was asked
// for: Google adds it to them, and it is less.
func googleUnasked(requested, granted []string) []string {
	unasked := missingScopes(granted, requested, googleScope)
	if !slices.ContainsFunc(requested, func(scope string) bool {
		return slices.Contains([]string{googleScope("email"), googleScope("profile")}, googleScope(scope))
	}) {
		return unasked
	}
	return slices.DeleteFunc(unasked, func(scope string) bool { return scope == "openid" })
}

// UnaskedScopes leaves out "offline_access", which is about the refresh token
// (OpenID Connect Core section 11) and good for nothing at an API.
func (p *oauth2Provider) UnaskedScopes(requested, granted []string) []string {
	unasked := missingScopes(granted, requested, func(scope string) string { return scope })
	return slices.DeleteFunc(unasked, func(scope string) bool { return scope == "offline_access" })
}

// Interface guards
var (
	_ Narrowing = (*google)(nil)
	_ Narrowing = (*serviceAccount)(nil)
	_ Narrowing = (*oauth2Provider)(nil)
)
