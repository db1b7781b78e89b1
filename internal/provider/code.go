package provider

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// codeForm is the body of a token request with an authorization code (RFC 6749
// section 4.1.3, RFC 7636 section 4.5).
func codeForm(r ExchangeRequest) url.Values {
	return url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {r.Code.Reveal()},
		"redirect_uri":  {r.RedirectURI},
		"code_verifier": {r.Verifier},
	}
}

// Exchange implements [Attended].
func (g *google) Exchange(ctx context.Context, r ExchangeRequest) (account.Consent, error) {
	e := g.expects().of(r)
	if failure := g.prepare(ctx, g.keys, e, g.meta); failure != nil {
		return account.Consent{}, failure
	}
	return g.consent(ctx, g.redemption(codeForm(r), r.Scopes, e))
}

// expects is what ID tokens are held against here.
func (g *google) expects() expectation {
	return trust(g.meta, hostOf(g.meta.TokenEndpoint) == hostOf(googleMetadata.TokenEndpoint))
}

func (g *google) redemption(form url.Values, scopes []string, e expectation) redemption {
	scopes = g.asked(scopes)
	return redemption{
		provider: g, form: form, endpoint: g.meta.TokenEndpoint, scopes: scopes, own: scopes,
		respell: func(granted []string) []string { return respelled(granted, scopes, googleScope) },
		identify: func(ctx context.Context, grant redeemed) (account.Identity, *account.Failure) {
			return g.identify(ctx, grant, e)
		},
	}
}

// Exchange implements [Attended].
func (m *microsoft) Exchange(ctx context.Context, r ExchangeRequest) (account.Consent, error) {
	e := m.expects().of(r)
	if failure := m.prepare(ctx, m.keys, e, m.meta); failure != nil {
		return account.Consent{}, failure
	}
	q, failure := m.redemption(ctx, codeForm(r), r.Scopes, e)
	if failure != nil {
		return account.Consent{}, failure
	}
	// Several resources may be consented to at once, but a token is for one.
	q.form.Set("scope", strings.Join(q.own, " "))
	return m.consent(ctx, q)
}

// expects is what ID tokens are held against here.
func (m *microsoft) expects() expectation {
	return trust(m.meta, hostOf(m.meta.TokenEndpoint) == m.cloud.login)
}

func (m *microsoft) redemption(ctx context.Context, form url.Values, scopes []string, e expectation) (redemption, *account.Failure) {
	var failure *account.Failure
	if e.tenant, failure = m.tenant.configured(ctx); failure != nil {
		return redemption{}, failure
	}
	scopes = m.asked(scopes)
	audience, own, failure := m.consentAudience(scopes)
	if failure != nil {
		return redemption{}, failure
	}
	if m.cfg.ContinuousAccess {
		form.Set("claims", withClientCapability(""))
	}
	return redemption{
		provider: m, form: form, endpoint: m.meta.TokenEndpoint, audience: audience, scopes: scopes, own: own,
		respell: func(granted []string) []string { return m.granted(granted, own) },
		identify: func(ctx context.Context, grant redeemed) (account.Identity, *account.Failure) {
			return m.identify(ctx, grant, e)
		},
	}, nil
}

// Exchange implements [Attended].
func (p *oauth2Provider) Exchange(ctx context.Context, r ExchangeRequest) (account.Consent, error) {
	m, failure := p.metadata(ctx)
	if failure != nil {
		return account.Consent{}, failure
	}
	e := trust(m, p.discovery != nil).of(r)
	if failure := p.prepare(ctx, p.keys, e, m); failure != nil {
		return account.Consent{}, failure
	}
	return p.consent(ctx, p.redemption(codeForm(r), r.Scopes, e, m))
}

func (p *oauth2Provider) redemption(form url.Values, scopes []string, e expectation, m Metadata) redemption {
	scopes = p.asked(scopes)
	return redemption{
		provider: p, form: form, endpoint: m.TokenEndpoint, scopes: scopes, own: scopes,
		respell: func(granted []string) []string { return granted },
		identify: func(ctx context.Context, grant redeemed) (account.Identity, *account.Failure) {
			return p.identify(ctx, grant, e, m.UserinfoEndpoint)
		},
	}
}

// prepare does what can fail before a code is spent: afterwards a consent would
// be lost by it.
func (c *common) prepare(ctx context.Context, keys *keyring, e expectation, m Metadata) *account.Failure {
	if failure := e.checkIss(m.IssParameter); failure != nil {
		return failure
	}
	if e.jwks == "" {
		return nil
	}
	return keys.ready(ctx, e.jwks)
}

// redemption is the exchange of a code or of a device code for a consent.
type redemption struct {
	provider Provider
	form     url.Values
	endpoint string
	// audience is that of the answer. scopes are those that the person was
	// asked for, own those of them that the answer can speak of; unasked are
	// those that nobody could be asked for.
	audience             string
	scopes, own, unasked []string
	// respell writes granted scopes as they were asked for.
	respell func(granted []string) []string
	// identify says who consented.
	identify func(context.Context, redeemed) (account.Identity, *account.Failure)
}

// redeemed is what came of it.
type redeemed struct {
	answer  account.Answer
	idToken secret.String
	// auth is how the client authenticated, asked when it asked.
	auth  account.ClientAuth
	asked time.Time
}

// consent redeems a code and finds out whose it was. From then on it does not
// matter whether the caller still waits: a code works once.
//
// A consent that cannot be kept leaves nothing behind in silence: its tokens
// are revoked, or the failure says where the person takes them back.
func (c *common) consent(ctx context.Context, q redemption) (account.Consent, error) {
	ctx = context.WithoutCancel(ctx)
	grant, failure := c.redeem(ctx, q.endpoint, q.form)
	if failure == nil && grant.answer.RefreshToken.IsZero() {
		failure = c.noRefreshToken()
	}
	var identity account.Identity
	if failure == nil {
		identity, failure = q.identify(ctx, grant)
	}
	consent := account.Consent{
		Answer: grant.answer, Audience: q.audience, Identity: identity,
		ClientAuth: grant.auth, Scopes: q.scopes, Asked: grant.asked,
	}
	if failure != nil {
		if left := Discard(ctx, q.provider, consent); left != "" {
			failure.Mend = strings.TrimSpace(failure.Mend + " " + left)
		}
		return account.Consent{}, failure
	}
	consent.Answer.Scopes = q.respell(grant.answer.Scopes)
	consent.Missing = slices.Clone(q.unasked)
	if granted := consent.Answer.Scopes; granted != nil {
		// What came proves these two, whether the server lists them or not.
		own := slices.DeleteFunc(slices.Clone(q.own), func(scope string) bool {
			return scope == "offline_access" || scope == "openid" && !grant.idToken.IsZero()
		})
		consent.Missing = append(q.provider.MissingScopes(own, granted), q.unasked...)
	}
	return consent, nil
}

// redeem sends the form with each of the client's credentials until the server
// knows the client, which it looks at before it looks at the code (RFC 6749
// section 3.2.1). Of several failures it returns the one of the newest secret.
func (c *common) redeem(ctx context.Context, endpoint string, form url.Values) (redeemed, *account.Failure) {
	var first *account.Failure
	for i, way := range c.waysToAuthenticate() {
		if i > 0 && (first.Number == publicClient) != (way.auth == account.ClientNone) {
			continue
		}
		grant, failure := c.redeemOnce(ctx, endpoint, form, way)
		if failure == nil {
			return grant, nil
		}
		if first == nil {
			first = failure
		}
		if failure.Code != "invalid_client" || !grant.answer.RefreshToken.IsZero() {
			return grant, failure
		}
	}
	return redeemed{}, first
}

// publicClient says that the redirect URI or the flow is one of public clients,
// which have nothing to authenticate with, while the app has a secret for its
// other redirect URIs.
const publicClient = "AADSTS700025"

// wayToAuthenticate is one way for the client to say who it is.
type wayToAuthenticate struct {
	auth   account.ClientAuth
	secret secret.String
}

func (c *common) waysToAuthenticate() []wayToAuthenticate {
	var ways []wayToAuthenticate
	for _, s := range c.auth.credentials("") {
		ways = append(ways, wayToAuthenticate{c.auth.kind(), s})
	}
	if c.cfg.Type == TypeMicrosoft && c.auth.style != StyleNone {
		ways = append(ways, wayToAuthenticate{auth: account.ClientNone})
	}
	return ways
}

// kind is what a grant remembers of the style.
func (a *authenticator) kind() account.ClientAuth {
	switch a.style {
	case StyleNone:
		return account.ClientNone
	case StylePrivateKeyJWT:
		return account.ClientCertificate
	}
	return account.ClientSecret
}

func (c *common) redeemOnce(ctx context.Context, endpoint string, form url.Values, way wayToAuthenticate) (redeemed, *account.Failure) {
	sent, header, failure := c.authenticated(form, endpoint, way.auth, way.secret)
	if failure != nil {
		return redeemed{}, failure
	}
	grant := redeemed{auth: way.auth, asked: time.Now()}
	resp, answer, failure := c.converse(ctx, endpoint, sent, header, way.secret)
	grant.answer = answer
	if resp == nil {
		return grant, failure
	}
	m := parseMembers(resp.body, resp.header)
	if failure != nil {
		sortAnew(failure, c.cfg.Type, consentRows, m)
		return grant, failure
	}
	grant.idToken = secret.New(m.text("id_token"))
	return grant, nil
}

// noRefreshToken is the failure of an answer that would end with its access
// token.
func (c *common) noRefreshToken() *account.Failure {
	f := &account.Failure{
		Meaning: account.ClientMisconfigured,
		Reads:   "The provider gave no refresh token, so the account would stop with its first access token.",
		Mend:    "Ask for one the provider's way: many want offline_access in scopes, and that the client is registered for refresh tokens.",
	}
	switch c.cfg.Type {
	case TypeGoogle:
		f.Mend = "Google gives one with access_type=offline and prompt=consent: remove authorize_param lines that set these otherwise, then connect again."
	case TypeMicrosoft:
		f.Mend = "Connect again; Microsoft gives one where offline_access was consented to."
	}
	return f
}

// Discard ends what a consent brought that is not kept, where that ends nothing
// else, and says where the person ends it otherwise. It returns "" once nothing
// is left.
//
// Google's revocation ends all that a person ever granted the app, and with it
// an account that works ("Using OAuth 2.0 for Web Server Applications",
// revoking a token): so it is left to the person.
func Discard(ctx context.Context, p Provider, c account.Consent) (left string) {
	token := c.Answer.RefreshToken
	if token.IsZero() {
		token = c.Answer.AccessToken
	}
	switch {
	case token.IsZero():
		return ""
	case p.Type() == TypeGoogle:
		return "What was granted is not kept here; it can be taken back at https://myaccount.google.com/connections."
	}
	switch err := p.Revoke(context.WithoutCancel(ctx), token); {
	case err == nil:
		return ""
	case errors.Is(err, ErrNoRevocation):
		return "What was granted is not kept here; it can be taken back: " + strings.TrimPrefix(err.Error(), ErrNoRevocation.Error()+": ") + "."
	}
	return "What was granted is not kept here, but could not be revoked; it can be taken back in the account's settings at the provider."
}
