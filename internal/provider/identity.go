package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// expectation is what an authorization server's word on who consented is held
// against.
type expectation struct {
	// issuer is whose word it must be. It may contain tenantPlace. Empty means
	// that nothing here knows: the first consent decides, and a token is then
	// believed for where it came from (OpenID Connect Core section 3.1.3.7,
	// point 6).
	issuer string
	// jwks is where the issuer's keys are; empty to do without a signature, by
	// the same point.
	jwks string
	// iss is the authorization response's, knownIssuer that of the account's
	// first consent, nonce the request's. Each may be empty.
	iss, knownIssuer, nonce string
	// tenant is what "tid" must be; empty for any.
	tenant string
	// proveEmail asks for a proof of the mailbox that costs a request.
	proveEmail bool
}

// trust says whose ID tokens are believed: the metadata's issuer's, by its keys.
// But where the operator has tokens come from another host than the type's own,
// or named no issuer, nothing is known of who issues there.
func trust(m Metadata, known bool) expectation {
	if !known {
		return expectation{}
	}
	return expectation{issuer: m.Issuer, jwks: m.JWKSURI}
}

// of adds what belongs to one attempt.
func (e expectation) of(r ExchangeRequest) expectation {
	e.iss, e.knownIssuer, e.nonce, e.proveEmail = r.Issuer, r.KnownIssuer, r.Nonce, r.ProveEmail
	return e
}

// checkIss compares the "iss" of an authorization response before its code is
// sent anywhere (RFC 9207 section 2.4): another server's code must not reach
// this one.
func (e expectation) checkIss(advertised bool) *account.Failure {
	switch before, after, templated := strings.Cut(e.issuer, tenantPlace); {
	case e.iss == "" && advertised:
		return mixedUp("The answer does not say which server it is from, though the provider promises that it does.")
	case e.iss == "":
		return nil
	case templated:
		tid := strings.TrimSuffix(strings.TrimPrefix(e.iss, before), after)
		if !guid.MatchString(tid) || ofTenant(e.issuer, tid) != e.iss {
			return mixedUp("The answer is from another server than the one that was asked.")
		}
		return nil
	case e.issuer != "" && e.iss != e.issuer, e.issuer == "" && e.knownIssuer != "" && e.iss != e.knownIssuer:
		return mixedUp("The answer is from another server than the one that was asked.")
	}
	return nil
}

func mixedUp(reads string) *account.Failure {
	return &account.Failure{
		Meaning: account.Unlisted,
		Reads:   reads,
		Mend:    "Nothing was sent to it. Begin again; if it happens again, check issuer and the endpoints in the configuration.",
	}
}

// plainAlgorithms are those of ID tokens whose signature is not looked at.
// "none" is not among them: it would have to be agreed on (OpenID Connect Core
// section 2).
var plainAlgorithms = slices.Concat(assertionAlgorithms, []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512})

// idClaims are the claims of an ID token that was believed.
type idClaims struct {
	members
	issuer, subject string
}

// believe verifies an ID token (OpenID Connect Core section 3.1.3.7).
func (c *common) believe(ctx context.Context, keys *keyring, idToken string, e expectation) (idClaims, *account.Failure) {
	algorithms := assertionAlgorithms
	if e.jwks == "" {
		algorithms = plainAlgorithms
	}
	// The verifier would let "none" pass where it leaves the signature alone.
	if _, err := jose.ParseSigned(idToken, algorithms); err != nil {
		return idClaims{}, disbelieved("it is malformed, or not signed in a way that is accepted", err)
	}
	config := &oidc.Config{
		ClientID:                   c.cfg.ClientID,
		SkipIssuerCheck:            e.issuer == "" || strings.Contains(e.issuer, tenantPlace),
		InsecureSkipSignatureCheck: e.jwks == "",
	}
	for _, a := range algorithms {
		config.SupportedSigningAlgs = append(config.SupportedSigningAlgs, string(a))
	}
	token, err := oidc.NewVerifier(e.issuer, keySet{keys, e.jwks}, config).Verify(ctx, idToken)
	if expired, ok := errors.AsType[*oidc.TokenExpiredError](err); ok {
		f := disbelieved("it has expired", expired)
		f.Mend = "Set the server's clock, then begin again."
		return idClaims{}, f
	}
	if err != nil {
		return idClaims{}, disbelieved("it is not the issuer's, or not for this client", err)
	}
	var payload json.RawMessage
	if err := token.Claims(&payload); err != nil {
		return idClaims{}, disbelieved("it is malformed", err)
	}
	claims := idClaims{parseObject(payload), token.Issuer, token.Subject}
	return claims, c.judge(claims, token, e)
}

// judge is what the library leaves to its caller.
func (c *common) judge(claims idClaims, token *oidc.IDToken, e expectation) *account.Failure {
	azp, authorized := claims.members["azp"]
	iss := e.issuer
	if strings.Contains(iss, tenantPlace) {
		iss = ofTenant(iss, claims.text("tid"))
	}
	switch {
	case token.Subject == "" || token.Issuer == "":
		return disbelieved("it does not say of whom it speaks, or who says it", nil)
	case authorized && claims.text("azp") != c.cfg.ClientID, !authorized && len(token.Audience) > 1:
		return disbelieved("it was given to another client", fmt.Errorf("azp is %s", azp))
	case e.nonce != "" && token.Nonce != e.nonce:
		return disbelieved("it answers another request", errors.New("nonce differs"))
	case strings.Contains(e.issuer, tenantPlace) && token.Issuer != iss:
		return disbelieved("it is not the issuer's", fmt.Errorf("iss is %q, want %q", token.Issuer, iss))
	case e.issuer == "" && e.knownIssuer != "" && token.Issuer != e.knownIssuer:
		return disbelieved("it is of another issuer than that of the account's first consent", fmt.Errorf("iss is %q, was %q", token.Issuer, e.knownIssuer))
	case e.iss != "" && e.iss != e.issuer && token.Issuer != e.iss:
		return disbelieved("it is of another issuer than the answer that brought the code", fmt.Errorf("iss is %q and was %q", token.Issuer, e.iss))
	}
	return nil
}

// disbelieved is why nobody knows who consented. What came with it is not
// kept.
func disbelieved(why string, err error) *account.Failure {
	if err != nil {
		err = fmt.Errorf("verifying ID token: %w", err)
	}
	return &account.Failure{
		Meaning: account.Unlisted,
		Reads:   "The provider's word on who consented, its ID token, is not believed: " + why + ".",
		Mend:    "Begin again; if it happens again, check issuer, client_id and the endpoints in the configuration.",
		Err:     err,
	}
}

// identify names the person as Google does. An address counts as theirs where
// Google verified it.
func (g *google) identify(ctx context.Context, grant redeemed, e expectation) (account.Identity, *account.Failure) {
	if grant.idToken.IsZero() {
		return account.Identity{}, disbelieved("the answer has none", nil)
	}
	claims, failure := g.believe(ctx, g.keys, grant.idToken.Reveal(), e)
	if failure != nil {
		return account.Identity{}, failure
	}
	id := account.Identity{Subject: claims.subject, Issuer: claims.issuer}
	claims.describe(&id)
	return id, nil
}

// identify names the person by tenant and object, which nobody can choose. A
// name or an address anybody's tenant may write as it likes.
func (m *microsoft) identify(ctx context.Context, grant redeemed, e expectation) (account.Identity, *account.Failure) {
	if grant.idToken.IsZero() {
		return account.Identity{}, disbelieved("the answer has none", nil)
	}
	// The issuer names the tenant, so somebody else's may be another one: that
	// is for the subject to tell.
	known := e.knownIssuer
	e.knownIssuer = ""
	claims, failure := m.believe(ctx, m.keys, grant.idToken.Reveal(), e)
	if failure != nil {
		return account.Identity{}, failure
	}
	tid, oid := strings.ToLower(claims.text("tid")), strings.ToLower(claims.text("oid"))
	switch {
	case !guid.MatchString(tid) || !guid.MatchString(oid):
		return account.Identity{}, disbelieved("it does not say which tenant and which user", nil)
	case e.tenant != "" && tid != e.tenant, m.cfg.Tenant == "organizations" && tid == consumersTenant:
		f := disbelieved("it is of another tenant than the configured one", fmt.Errorf("tid is %s", tid))
		f.Mend = "Sign in with an account of the organisation, or configure another tenant."
		return account.Identity{}, f
	case e.issuer == "" && known != "" && tenantIn.ReplaceAllLiteralString(known, tid) != tenantIn.ReplaceAllLiteralString(claims.issuer, tid):
		return account.Identity{}, disbelieved("it is of another issuer than that of the account's first consent", fmt.Errorf("iss is %q, was %q", claims.issuer, known))
	}
	id := account.Identity{Subject: tid + "/" + oid, Issuer: claims.issuer}
	claims.describe(&id)
	id.Proven = false
	if login := legible(claims.text("preferred_username")); login != "" {
		id.Email = login
		id.Proven = m.ownsLogin(ctx, claims, tid, e)
	}
	return id, nil
}

// ownsLogin reports whether the tenant can say whose mailbox an address is: it
// is the one that the operator named, or the one of all personal accounts, or
// the one that the address's domain belongs to. Of its guests no tenant can.
func (m *microsoft) ownsLogin(ctx context.Context, claims idClaims, tid string, e expectation) bool {
	_, host, ok := strings.Cut(claims.text("preferred_username"), "@")
	idp := claims.text("idp")
	switch {
	case !ok, idp != "" && idp != claims.issuer, string(claims.members["acct"]) == "1":
		return false
	case tid == e.tenant, tid == consumersTenant:
		return true
	case !e.proveEmail:
		return false
	}
	owner, err := m.tenant.find(ctx, host)
	return err == nil && owner == tid
}

// identify names the person by the ID token's "sub", or where there is none by
// that of the userinfo endpoint. A provider with neither says nothing of who
// consented, and a userinfo endpoint that does not answer costs no consent: the
// tokens are good, and a code works once.
func (p *oauth2Provider) identify(ctx context.Context, grant redeemed, e expectation, userinfo string) (account.Identity, *account.Failure) {
	if grant.idToken.IsZero() {
		id := p.identifyByUserinfo(ctx, userinfo, grant.answer.AccessToken)
		id.Issuer = e.iss
		return id, nil
	}
	claims, failure := p.believe(ctx, p.keys, grant.idToken.Reveal(), e)
	if failure != nil {
		return account.Identity{}, failure
	}
	id := account.Identity{Subject: claims.subject, Issuer: claims.issuer}
	claims.describe(&id)
	if id.Email == "" && userinfo != "" {
		// Many servers keep the address for the endpoint. What speaks of
		// somebody else is not used (OpenID Connect Core section 5.3.2).
		if more, err := p.client.userinfo(ctx, userinfo, grant.answer.AccessToken); err == nil && more.text("sub") == id.Subject {
			more.describe(&id)
		}
	}
	return id, nil
}

func (p *oauth2Provider) identifyByUserinfo(ctx context.Context, userinfo string, token secret.String) account.Identity {
	if userinfo == "" {
		return account.Identity{Lacks: "The provider does not say who consented. Add openid to scopes, or configure userinfo_endpoint."}
	}
	claims, err := p.client.userinfo(ctx, userinfo, token)
	if err != nil {
		// Once more, since nothing is lost by it and much without.
		claims, err = p.client.userinfo(ctx, userinfo, token)
	}
	if err != nil {
		return account.Identity{Lacks: "The provider's userinfo endpoint did not say who consented. Connect again when it answers."}
	}
	id := account.Identity{Subject: legible(claims.text("sub"))}
	if id.Subject == "" {
		id.Lacks = "The provider's userinfo endpoint answers without sub, so nobody knows who consented."
	}
	claims.describe(&id)
	return id
}

// userinfo asks who an access token's owner is (OpenID Connect Core section
// 5.3).
func (c *client) userinfo(ctx context.Context, endpoint string, token secret.String) (members, error) {
	req, err := http.NewRequest(http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	resp, err := c.do(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("asking userinfo: %w", err)
	}
	body := trimmed(resp.body)
	if resp.status != http.StatusOK || resp.tooLarge || !json.Valid(body) {
		return nil, fmt.Errorf("asking userinfo: status %d without claims", resp.status)
	}
	return parseObject(body), nil
}

// describe fills in the claims that people read (OpenID Connect Core section
// 5.1).
func (m members) describe(id *account.Identity) {
	if name := legible(m.text("name")); name != "" {
		id.Name = name
	}
	if email := legible(m.text("email")); email != "" {
		verified := strings.Trim(string(m["email_verified"]), `"`)
		id.Email, id.Proven = email, verified == "true"
	}
}

// maxClaim is the longest claim that is kept, in bytes.
const maxClaim = 512

// legible is a claim that may be stored and shown; what could not be is as good
// as missing.
func legible(claim string) string {
	if len(claim) > maxClaim || !utf8.ValidString(claim) || strings.ContainsFunc(claim, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	return claim
}
