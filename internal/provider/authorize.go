package provider

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// authorizeURL writes an authorization request (RFC 6749 section 4.1.1) with
// PKCE (RFC 7636 section 4.3) and a nonce (OpenID Connect Core section
// 3.1.2.1). The operator's parameters win over those of the type.
func (c *common) authorizeURL(endpoint string, r AuthorizeRequest, scopes []string, params ...Param) (string, error) {
	if endpoint == "" {
		return "", &account.Failure{
			Meaning: account.ClientMisconfigured,
			Reads:   "It is not known where the provider asks people for consent.",
			Mend:    "Configure authorization_endpoint, or issuer where the provider publishes its endpoints.",
		}
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(r.Verifier), oidc.Nonce(r.Nonce)}
	if r.LoginHint != "" {
		params = append(params, Param{"login_hint", r.LoginHint})
	}
	for _, p := range slices.Concat(params, c.cfg.AuthorizeParams) {
		options = append(options, oauth2.SetAuthURLParam(p.Name, p.Value))
	}
	config := oauth2.Config{
		ClientID:    c.cfg.ClientID,
		Endpoint:    oauth2.Endpoint{AuthURL: endpoint},
		RedirectURL: r.RedirectURI,
		Scopes:      scopes,
	}
	return config.AuthCodeURL(r.State, options...), nil
}

// AuthorizeURL asks for consent each time: only then does Google give a refresh
// token to who consented before ("Using OAuth 2.0 for Web Server Applications",
// access_type and prompt). Without a hint the person chooses the account, so
// that it is not silently the one who happens to be signed in. Scopes of former
// consents are not included: the token is to be able to do what was asked.
func (g *google) AuthorizeURL(_ context.Context, r AuthorizeRequest) (string, error) {
	if r.Admin {
		return "", noAdminConsent("A Google Workspace administrator allows an app in the " + adminConsole + ".")
	}
	prompt := "consent select_account"
	if r.LoginHint != "" {
		prompt = "consent"
	}
	return g.authorizeURL(g.meta.AuthorizationEndpoint, r, g.asked(r.Scopes), Param{"access_type", "offline"}, Param{"prompt", prompt})
}

// asked are the scopes to ask a person for.
func (g *google) asked(scopes []string) []string {
	if len(scopes) == 0 {
		return g.Scopes()
	}
	return withIdentity(scopes)
}

// AuthorizeURL asks for the scopes of all resources: here they may stand side
// by side, in token requests they may not ("Microsoft identity platform and
// OAuth 2.0 authorization code flow", scope).
func (m *microsoft) AuthorizeURL(_ context.Context, r AuthorizeRequest) (string, error) {
	scopes := m.asked(r.Scopes)
	if _, _, failure := m.consentAudience(scopes); failure != nil {
		return "", failure
	}
	if r.Admin {
		return m.adminConsentURL(r, scopes)
	}
	params := []Param{{"response_mode", "query"}}
	if prompt := microsoftPrompt(r); prompt != "" {
		params = append(params, Param{"prompt", prompt})
	}
	if claims := m.claims(r.Claims); claims != "" {
		params = append(params, Param{"claims", claims})
	}
	return m.authorizeURL(m.meta.AuthorizationEndpoint, r, scopes, params...)
}

// microsoftPrompt is the one prompt of a request; Microsoft takes no list.
func microsoftPrompt(r AuthorizeRequest) string {
	switch {
	case r.Consent:
		return "consent"
	case r.Reconnect && r.LoginHint != "":
		// The hint says who; whoever is signed in as that one just passes.
		return ""
	}
	return "select_account"
}

// claims are those to ask for: a challenge that is to be met, and with
// continuous access that further ones are understood.
func (m *microsoft) claims(challenge string) string {
	if m.cfg.ContinuousAccess {
		return withClientCapability(challenge)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(challenge), &object) != nil || object == nil {
		return ""
	}
	return challenge
}

// asked are the scopes to ask a person for.
func (m *microsoft) asked(scopes []string) []string {
	if len(scopes) == 0 {
		return m.Scopes()
	}
	return withSignIn(scopes)
}

// consentAudience is the audience whose token a consent brings, with its
// scopes: a token request is for one resource. It is the default one where
// anything of it is asked for.
func (m *microsoft) consentAudience(scopes []string) (audience string, own []string, failure *account.Failure) {
	audience = m.DefaultAudience()
	if own = m.AudienceScopes(audience, scopes); own != nil {
		return audience, own, nil
	}
	for _, scope := range scopes {
		if audience = m.resourceOf(scope); audience != "" {
			return audience, m.AudienceScopes(audience, scopes), nil
		}
	}
	return "", nil, &account.Failure{
		Meaning: account.AudienceRefused,
		Reads:   "None of the scopes is one of a resource.",
		Mend:    "Ask for one, such as https://" + m.cloud.graph + "/Mail.Read.",
	}
}

// adminConsentURL is where an administrator consents for the whole tenant
// (learn.microsoft.com/entra/identity-platform/v2-admin-consent). It takes a
// tenant or "organizations": personal accounts have no administrators.
func (m *microsoft) adminConsentURL(r AuthorizeRequest, scopes []string) (string, error) {
	const authorize = "/oauth2/v2.0/authorize"
	u, err := url.Parse(m.meta.AuthorizationEndpoint)
	if err != nil || !strings.HasSuffix(u.Path, authorize) {
		return "", &account.Failure{
			Meaning: account.ClientMisconfigured,
			Reads:   "It is not known where administrators consent: authorization_endpoint does not end in " + authorize + ".",
			Mend:    "Remove authorization_endpoint from the configuration, or write it as Microsoft does.",
			Err:     err,
		}
	}
	authority, tenant := "", strings.TrimSuffix(u.Path, authorize)
	if i := strings.LastIndexByte(tenant, '/'); i >= 0 {
		authority, tenant = tenant[:i+1], tenant[i+1:]
	}
	switch tenant {
	case "consumers":
		return "", &account.Failure{
			Meaning: account.ClientMisconfigured,
			Reads:   "Personal accounts have no administrator who could consent.",
			Mend:    "Leave out the administrator's consent, or configure the organisation's tenant.",
		}
	case "common":
		tenant = "organizations"
	}
	u.Path, u.RawPath = authority+tenant+"/v2.0/adminconsent", ""
	query := u.Query()
	for _, p := range []Param{
		{"client_id", m.cfg.ClientID},
		{"redirect_uri", r.RedirectURI},
		{"scope", strings.Join(scopes, " ")},
		{"state", r.State},
	} {
		query.Set(p.Name, p.Value)
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// AuthorizeURL asks for consent anew where a refresh token depends on it: for
// offline_access OpenID Connect Core section 11 wants the prompt.
func (p *oauth2Provider) AuthorizeURL(ctx context.Context, r AuthorizeRequest) (string, error) {
	if r.Admin {
		return "", noAdminConsent("")
	}
	m, failure := p.metadata(ctx)
	if failure != nil {
		return "", failure
	}
	scopes := p.asked(r.Scopes)
	var params []Param
	if slices.Contains(scopes, "offline_access") {
		params = append(params, Param{"prompt", "consent"})
	}
	return p.authorizeURL(m.AuthorizationEndpoint, r, scopes, params...)
}

// asked are the scopes to ask a person for.
func (p *oauth2Provider) asked(scopes []string) []string {
	if len(scopes) == 0 {
		return p.Scopes()
	}
	return scopes
}

func noAdminConsent(instead string) *account.Failure {
	f := &account.Failure{
		Meaning: account.Unlisted,
		Reads:   "Only providers of type microsoft have an administrator's consent for everybody.",
		Mend:    "Leave it out: each person consents for themselves.",
	}
	if instead != "" {
		f.Mend += " " + instead
	}
	return f
}

// Interface guards.
var (
	_ Attended = (*google)(nil)
	_ Attended = (*microsoft)(nil)
	_ Attended = (*oauth2Provider)(nil)
)
