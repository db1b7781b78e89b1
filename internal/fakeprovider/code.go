package fakeprovider

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"
)

// codeLife is how long an authorization code is good for.
const codeLife = 60 * time.Second

// authorizationCode remembers, once spent, the grant that it brought.
type authorizationCode struct {
	authorization
	person  Person
	granted []string
	expires time.Time
	spent   bool
	grant   *grant
}

// issueCode makes a code for what a person granted. The caller holds mu.
func (s *Server) issueCode(a authorization, person Person, granted []string) string {
	value := "code-" + rand.Text()
	if a.client.Dialect == Google {
		// As Google's: whoever does not decode it once, and once only, loses it.
		value = "4/0fake-" + rand.Text()
	}
	s.codes[value] = &authorizationCode{
		authorization: a, person: person, granted: granted, expires: s.clock().Add(codeLife),
	}
	return value
}

// redeemCode exchanges an authorization code (RFC 6749 section 4.1.3). A code
// that was presented by its client is spent, whatever else is wrong. The caller
// holds mu.
func (s *Server) redeemCode(req tokenRequest, client Client) (issued issue, no *refusal) {
	if req.form.Get("code") == "" {
		return issue{}, refusedRequest("code is missing")
	}
	code := s.codes[req.form.Get("code")]
	if code == nil || code.client.ID != client.ID {
		return issue{}, codeRefused("The code is unknown, or another client's.", "Malformed auth code.", 70000)
	}
	if code.spent {
		if code.grant != nil {
			s.kill(code.grant, causeCodeReuse)
		}
		return issue{}, codeRefused("The code was redeemed already.", "Bad Request", 54005)
	}
	code.spent = true
	switch {
	case !s.clock().Before(code.expires):
		return issue{}, codeRefused("The code has expired.", "Bad Request", 70008)
	case req.form.Get("redirect_uri") != code.redirectURI:
		return issue{}, redirectMismatchAtToken(client.Dialect)
	case client.Dialect == Microsoft && !s.tenantFits(req.tenant, code.person.Tenant):
		return issue{}, wrongTenant
	}
	if no := verify(code.challenge, req.form.Get("code_verifier")); no != nil {
		return issue{}, no
	}
	consent := consent{person: code.person, granted: code.granted, nonce: code.nonce}
	consent.refreshable = code.offline && s.offlineNow(code)
	issued, no = s.newConsentGrant(req, client, consent)
	if no == nil {
		code.grant = issued.grant
	}
	return issued, no
}

// offlineNow reports whether a request for a refresh token is met. Google gives
// one with the first consent, and later only where consent is asked for anew.
// The caller holds mu.
func (s *Server) offlineNow(code *authorizationCode) bool {
	switch code.client.Dialect {
	case Google:
		return slices.Contains(code.prompt, "consent") || !s.hasRefreshToken(code.client.ID, code.person.Subject)
	case Microsoft:
		return slices.Contains(code.granted, "offline_access")
	}
	return !slices.Contains(code.scopes, "openid") || slices.Contains(code.granted, "offline_access")
}

func (s *Server) hasRefreshToken(client, subject string) bool {
	for _, g := range s.grants {
		if g.Client == client && g.Subject == subject && g.cause == "" && g.refresh != nil {
			return true
		}
	}
	return false
}

// consent is what becomes a grant, however the person gave it.
type consent struct {
	person      Person
	granted     []string
	nonce       string
	refreshable bool
}

// newConsentGrant makes a grant and its first tokens. The caller holds mu.
func (s *Server) newConsentGrant(req tokenRequest, client Client, c consent) (issued issue, no *refusal) {
	granted := c.granted
	if client.Dialect == Google {
		granted = mapped(granted, googleScope)
	}
	requested := strings.Fields(req.form.Get("scope"))
	if client.Dialect != Microsoft {
		requested = nil // RFC 6749 section 4.1.3 has no scope here
	} else if len(requested) == 0 && len(resourcesOf(granted)) > 1 {
		return issue{}, scopeMissingAtToken
	}
	audience, scopes, no := client.Dialect.resolveScope(granted, requested)
	if no != nil {
		return issue{}, no
	}
	g := &grant{
		Grant: Grant{
			ID: s.newGrantID(), Client: client.ID, Subject: c.person.Subject, Email: c.person.Email,
			Scope: strings.Join(granted, " "),
		},
		person: &c.person,
		public: req.credentials.method == ClientNone,
	}
	s.keepGrant(g)
	pair := tokenPair{access: s.addAccessToken(g, audience, scopes), outcome: OutcomeGranted}
	if c.refreshable {
		pair.refresh = s.addRefreshToken(g, "")
	}
	return issue{tokenPair: pair, grant: g, scopes: scopes, nonce: c.nonce}, nil
}

// tenantFits reports whether a token endpoint's tenant serves people of
// another. The caller holds mu.
func (s *Server) tenantFits(path, of string) bool {
	if path == "" {
		return true
	}
	tenant, exists := s.tenantID(path)
	return exists && admits(tenant, of)
}

// invalidAuthorization refuses an authorization request.
func invalidAuthorization(description string, aadsts ...int) *refusal {
	return &refusal{status: http.StatusBadRequest, code: "invalid_request", description: description, aadsts: aadsts}
}

// codeRefused refuses a code, in Google's words too.
func codeRefused(description, google string, aadsts int) *refusal {
	return &refusal{
		status: http.StatusBadRequest, code: "invalid_grant",
		description: description, google: google, aadsts: []int{aadsts},
	}
}

func redirectMismatchAtToken(d Dialect) *refusal {
	no := &refusal{
		status: http.StatusBadRequest, code: "invalid_grant", google: "Bad Request", aadsts: []int{500112},
		description: "The reply address does not match the one of the authorization request.",
	}
	switch d {
	case Google:
		no.code = "redirect_uri_mismatch"
	case Microsoft:
		no.code, no.status = "invalid_client", http.StatusUnauthorized
	}
	return no
}
