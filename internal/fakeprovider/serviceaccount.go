package fakeprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ServiceAccount is a Google service account, which signs for its tokens (RFC
// 7523 section 2.1) and may act for people of a domain as far as the domain's
// administrator lets it ("domain-wide delegation").
type ServiceAccount struct {
	Email string `json:"email"`
	// ClientID is the numeric one, an "iss" as good as the address.
	ClientID string `json:"client_id,omitempty"`
	// Key is the public key in PEM of the key file, KeyID its ID. Without one
	// the account signs by [Server.RegisterWorkload] alone.
	Key   string `json:"key,omitempty"`
	KeyID string `json:"key_id,omitempty"`
	// Subjects are the people it may act for, by address, and Scopes what was
	// delegated to it. Without Scopes there is no delegation.
	Subjects []string `json:"subjects,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`

	key clientKey
}

// RegisterServiceAccount registers an account, or replaces the one with its
// address.
func (s *Server) RegisterServiceAccount(account ServiceAccount) error {
	if account.Email == "" || strings.Contains(account.Email, "/") {
		return errors.New("email is empty or contains a slash")
	}
	if account.Key != "" {
		key, err := parseClientKey(account.Key)
		if err != nil {
			return err
		}
		account.key = key
	}
	account.Subjects, account.Scopes = slices.Clone(account.Subjects), slices.Clone(account.Scopes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serviceAccounts[account.Email] = account
	return nil
}

// serviceAccount finds an account by the "iss" of an assertion. The caller
// holds mu.
func (s *Server) serviceAccount(issuer string) (ServiceAccount, bool) {
	if account, known := s.serviceAccounts[issuer]; known {
		return account, true
	}
	for _, account := range s.serviceAccounts {
		if issuer != "" && account.ClientID == issuer {
			return account, true
		}
	}
	return ServiceAccount{}, false
}

// jwtBearer exchanges a service account's assertion (RFC 7523 section 2.1), in
// Google's words. The caller holds mu.
func (s *Server) jwtBearer(r *http.Request, req tokenRequest) (issued issue, no *refusal) {
	assertion := req.form.Get("assertion")
	if assertion == "" {
		return issue{}, refusedRequest("Missing required parameter: assertion")
	}
	signed, err := jose.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return issue{}, assertionInvalid("Bad Request")
	}
	var got claims
	if json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &got) != nil {
		return issue{}, assertionInvalid("Invalid JWT: Failed to parse claims.")
	}
	account, known := s.serviceAccount(got.Issuer)
	if !known {
		return issue{}, assertionInvalid("Invalid grant: account not found")
	}
	scopes, no := s.judgeBearer(r, account, signed, got)
	if no != nil {
		return issue{}, no
	}
	g := s.machineGrant(account.Email, got.Subject, account.Email)
	pair := tokenPair{access: s.addAccessToken(g, "", scopes), outcome: OutcomeIssued}
	return issue{tokenPair: pair, grant: g, scopes: scopes}, nil
}

func (s *Server) judgeBearer(r *http.Request, account ServiceAccount, signed *jose.JSONWebSignature, got claims) (scopes []string, no *refusal) {
	now := s.clock()
	left, expires := after(got.Expires, now)
	ahead, dated := after(got.Issued, now)
	scopes = strings.Fields(got.Scope)
	switch {
	case !account.signed(signed):
		return nil, assertionInvalid("Invalid JWT Signature.")
	case !got.isFor(baseURL(r) + r.URL.Path):
		return nil, assertionInvalid("Invalid JWT: Failed audience check.")
	case !expires || !dated || left <= 0 || ahead > 0 || left-ahead > time.Hour:
		return nil, assertionInvalid("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.")
	case len(scopes) == 0:
		return nil, &refusal{
			status: http.StatusBadRequest, code: "invalid_scope",
			description: "Invalid OAuth scope or ID token audience provided.",
		}
	case got.Subject == "" || got.Subject == account.Email:
		return scopes, nil
	case len(account.Scopes) == 0 || slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(account.Scopes, scope) }):
		return nil, &refusal{
			status: http.StatusUnauthorized, code: "unauthorized_client",
			description: "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
		}
	case !slices.ContainsFunc(account.Subjects, func(subject string) bool { return strings.EqualFold(subject, got.Subject) }):
		return nil, assertionInvalid("Invalid email or User ID")
	}
	return scopes, nil
}

// signed reports whether the key of the account's file made the signature, or
// the one that Google keeps for it.
func (a ServiceAccount) signed(jws *jose.JSONWebSignature) bool {
	keyID := jws.Signatures[0].Protected.KeyID
	if managed := signingKeys.jwk(managedKey); keyID == managed.KeyID {
		_, err := jws.Verify(managed)
		return err == nil
	}
	if a.key.public == nil || keyID != "" && a.KeyID != "" && keyID != a.KeyID {
		return false
	}
	_, err := jws.Verify(a.key.public)
	return err == nil
}

// machineGrant is the one grant that all tokens of a client for a subject
// belong to, where no person consented. The caller holds mu.
func (s *Server) machineGrant(client, subject, itself string) *grant {
	if subject == "" {
		subject = itself
	}
	for _, id := range s.order {
		if g := s.grants[id]; g.machine && g.Client == client && g.Subject == subject {
			return g
		}
	}
	g := &grant{Grant: Grant{ID: s.newGrantID(), Client: client, Subject: subject, Email: subject}, machine: true}
	s.keepGrant(g)
	return g
}

func assertionInvalid(description string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: "invalid_grant", description: description}
}

// managedKey is the number of the key that Google keeps for service accounts.
const managedKey = -2

// Workload is a workload identity pool provider: what its tokens may be
// exchanged for.
type Workload struct {
	// Audience names the provider:
	// //iam.googleapis.com/projects/…/workloadIdentityPools/…/providers/…
	Audience string `json:"audience"`
	// SubjectTokens are accepted.
	SubjectTokens []string `json:"subject_tokens"`
	// ServiceAccounts are those that it may sign for ("Service Account Token
	// Creator"), by address.
	ServiceAccounts []string `json:"service_accounts"`
}

// RegisterWorkload registers a provider of a workload identity pool, or
// replaces the one with its audience.
func (s *Server) RegisterWorkload(w Workload) error {
	if w.Audience == "" {
		return errors.New("audience is empty")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workloads[w.Audience] = w
	return nil
}

// federated is what a federated access token stands for.
type federated struct {
	workload string
	expires  time.Time
}

// The words of token exchange (RFC 8693).
const (
	grantTypeExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenTypeAccess   = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // the name of a type
	tokenTypeJWT      = "urn:ietf:params:oauth:token-type:jwt"          //nolint:gosec // the name of a type
	tokenTypeID       = "urn:ietf:params:oauth:token-type:id_token"     //nolint:gosec // the name of a type
)

// cloudPlatform is the scope that IAM wants.
const cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

// exchangeToken is Google's security token service (RFC 8693).
func (s *Server) exchangeToken(w http.ResponseWriter, r *http.Request) {
	req := s.readTokenRequest(w, r)
	s.mu.Lock()
	fault := s.takeFault(faultCall{endpoint: EndpointSTS, path: r.URL.Path})
	s.mu.Unlock()
	s.serve(w, r, fault, OAuth2, func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		no := s.judgeExchange(req)
		if no != nil {
			no.write(w, OAuth2, s.clock())
			return
		}
		value := s.settings.AccessTokenPrefix + "federated-" + derivedUUID("federated", fmt.Sprint(len(s.federated), req.form.Get("audience")))
		s.federated[value] = federated{workload: req.form.Get("audience"), expires: s.clock().Add(time.Hour)}
		writeJSON(w, http.StatusOK, map[string]any{
			"access_token": value, "issued_token_type": tokenTypeAccess, "token_type": "Bearer", "expires_in": 3600,
		})
	})
}

func (s *Server) judgeExchange(req tokenRequest) *refusal {
	form := req.form
	workload, known := s.workloads[form.Get("audience")]
	switch {
	case req.malformed != nil:
		return req.malformed
	case form.Get("grant_type") != grantTypeExchange:
		return unsupportedGrantType
	case form.Get("requested_token_type") != tokenTypeAccess:
		return refusedRequest("Invalid value for \"requested_token_type\"")
	case form.Get("subject_token_type") != tokenTypeJWT && form.Get("subject_token_type") != tokenTypeID:
		return refusedRequest("Invalid value for \"subject_token_type\"")
	case form.Get("scope") == "":
		return refusedRequest("Invalid value for \"scope\"")
	case !known:
		return &refusal{status: http.StatusBadRequest, code: "invalid_target", description: "The target service indicated by the \"audience\" parameters is invalid."}
	case !slices.Contains(workload.SubjectTokens, form.Get("subject_token")):
		return assertionInvalid("The given credential is rejected by the attribute condition, or unknown.")
	}
	return nil
}

// signJWT is IAM's projects.serviceAccounts.signJwt: the key of the service
// account never leaves Google.
func (s *Server) signJWT(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault := s.takeFault(faultCall{endpoint: EndpointSignJWT, path: r.URL.Path})
	s.mu.Unlock()
	s.serve(w, r, fault, OAuth2, func(w http.ResponseWriter, r *http.Request) {
		email, found := strings.CutSuffix(r.PathValue("call"), ":signJwt")
		if !found || r.PathValue("project") != "-" {
			googleError(w, http.StatusNotFound, "NOT_FOUND", "notFound", "Requested entity was not found.")
			return
		}
		var request struct {
			Payload   string   `json:"payload"`
			Delegates []string `json:"delegates"`
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		malformed := decode(r.Body, &request)
		s.mu.Lock()
		defer s.mu.Unlock()
		scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		caller, known := s.federated[value]
		_, exists := s.serviceAccounts[email]
		switch {
		case !strings.EqualFold(scheme, "Bearer") || !known || !s.clock().Before(caller.expires):
			googleError(w, http.StatusUnauthorized, "UNAUTHENTICATED", "authError", "Request had invalid authentication credentials.")
		case !exists || !slices.Contains(s.workloads[caller.workload].ServiceAccounts, email):
			googleError(w, http.StatusForbidden, "PERMISSION_DENIED", "forbidden", "Permission 'iam.serviceAccounts.signJwt' denied on resource (or it may not exist).")
		case malformed != nil || !s.signable(request.Payload):
			googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "badRequest", "Request contains an invalid argument.")
		default:
			keyID := signingKeys.jwk(managedKey).KeyID
			writeJSON(w, http.StatusOK, map[string]string{
				"keyId": keyID, "signedJwt": signingKeys.sign(managedKey, keyID, []byte(request.Payload)),
			})
		}
	})
}

// signable reports whether IAM signs a payload: claims that expire within
// twelve hours.
func (s *Server) signable(payload string) bool {
	var got claims
	if json.Unmarshal([]byte(payload), &got) != nil {
		return false
	}
	left, expires := after(got.Expires, s.clock())
	return expires && left > 0 && left <= 12*time.Hour
}
