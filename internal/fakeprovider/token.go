package fakeprovider

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxForm is the greatest token request that is read.
const maxForm = 64 << 10

// The grant types that are named by a URN.
const (
	grantTypeDevice    = "urn:ietf:params:oauth:grant-type:device_code"
	grantTypeJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer" //nolint:gosec // the name of a type
)

// authorizationRoutes serves the authorization server's endpoints, under plain
// names and where Google and Microsoft have them.
func (s *Server) authorizationRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, handler := range map[string]http.HandlerFunc{
		"/token":                           s.token,
		"/{tenant}/oauth2/v2.0/token":      s.token,
		"/device_authorization":            s.deviceAuthorization,
		"/device/code":                     s.deviceAuthorization,
		"/{tenant}/oauth2/v2.0/devicecode": s.deviceAuthorization,
		"POST /revoke":                     s.revoke,
		"POST /v1/token":                   s.exchangeToken,

		"POST /v1/projects/{project}/serviceAccounts/{call}": s.signJWT,

		"GET /jwks":                         s.jwks,
		"GET /oauth2/v3/certs":              s.jwks,
		"GET /{tenant}/discovery/v2.0/keys": s.jwks,
		"/userinfo":                         s.userinfo,
		"/v1/userinfo":                      s.userinfo,
		"/oidc/userinfo":                    s.userinfo,

		"GET /.well-known/openid-configuration":                     s.metadata,
		"GET /.well-known/oauth-authorization-server":               s.metadata,
		"GET /.well-known/oauth-authorization-server/{tenant}/v2.0": s.metadata,
		"GET /{tenant}/v2.0/.well-known/openid-configuration":       s.metadata,
	} {
		mux.HandleFunc(pattern, handler)
	}
	for path, handler := range map[string]http.HandlerFunc{
		"/device":                         s.devicePage,
		"/authorize":                      s.authorize,
		"/o/oauth2/v2/auth":               s.authorize,
		"/{tenant}/oauth2/v2.0/authorize": s.authorize,
		"/{tenant}/v2.0/adminconsent":     s.adminConsent,
	} {
		mux.HandleFunc("GET "+path, handler)
		mux.HandleFunc("POST "+path, handler)
	}
	return mux
}

// tokenRequest is a request to the token or revocation endpoint, as read.
type tokenRequest struct {
	form        url.Values
	credentials credentials
	// dialect is the client's; by the path if the client is unknown.
	dialect Dialect
	// tenant is the one in the path; empty without one.
	tenant string
	// malformed refuses a request that is no OAuth request at all.
	malformed *refusal
}

func (s *Server) readTokenRequest(w http.ResponseWriter, r *http.Request) tokenRequest {
	req := tokenRequest{dialect: OAuth2, tenant: r.PathValue("tenant")}
	if req.tenant != "" {
		req.dialect = Microsoft
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	err := r.ParseForm()
	req.form = r.PostForm
	switch {
	case r.Method != http.MethodPost:
		req.malformed = refusedRequest("The request is not a POST.")
		req.malformed.status = http.StatusMethodNotAllowed
	case err != nil || mediaType != "application/x-www-form-urlencoded":
		req.malformed = refusedRequest("The body is not form-encoded.")
	case r.URL.RawQuery != "":
		// Credentials in a URL end up in logs: RFC 6749 section 2.3.1.
		req.malformed = refusedRequest("Parameters are in the URL.")
	}
	for name, values := range req.form {
		if len(values) > 1 {
			req.malformed = refusedRequest("A parameter is repeated: " + name)
		}
	}
	req.credentials = presentedCredentials(r, req.form)
	s.mu.Lock()
	defer s.mu.Unlock()
	if client, known := s.clients[req.credentials.id]; known {
		req.dialect = client.Dialect
	}
	if req.form.Get("grant_type") == grantTypeJWTBearer {
		req.dialect = Google
	}
	return req
}

// token is the token endpoint.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	req := s.readTokenRequest(w, r)
	entry, fault := s.beginTokenRequest(req, r)
	defer s.endTokenRequest(entry)
	s.serve(w, r, fault, req.dialect, func(w http.ResponseWriter, r *http.Request) {
		var flaw Flaw
		if fault != nil {
			flaw = fault.Flaw
		}
		body, no := s.answerToken(r, req, entry, flaw)
		if no != nil {
			no.write(w, req.dialect, s.time())
			return
		}
		w.Header().Set("Pragma", "no-cache")
		writeJSON(w, http.StatusOK, body)
	})
}

// issue is what a token request gets.
type issue struct {
	tokenPair
	grant  *grant
	scopes []string
	// unsaid leaves the scopes out of the answer.
	unsaid bool
	// nonce is the authorization request's, for the ID token.
	nonce string
}

// answerToken carries out a token request and writes its outcome to entry.
func (s *Server) answerToken(r *http.Request, req tokenRequest, entry *TokenRequest, flaw Flaw) (body map[string]any, no *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	issued, no := s.judge(r, req)
	if no != nil {
		entry.Outcome = no.code
		if no.outcome != "" {
			entry.Outcome = no.outcome
		}
		s.count(entry.grant, func(c *Counters) {
			c.Refused++
			if no == reuseDetected {
				c.ReuseDetections++
			}
		})
		return nil, no
	}
	entry.Grant = issued.grant.ID
	entry.Audience = issued.access.audience
	entry.Outcome = issued.outcome
	entry.AccessTokenNumber = issued.access.number
	s.count(issued.grant, func(c *Counters) {
		switch issued.outcome {
		case OutcomeRotated:
			c.Rotations++
		case OutcomeReissued:
			c.Reissues++
		}
		c.Issued++
	})
	expiresIn := int64(issued.access.expires.Sub(s.clock()) / time.Second)
	body = map[string]any{
		"access_token": issued.access.value,
		"token_type":   "Bearer",
		"expires_in":   expiresIn,
	}
	if !issued.grant.machine && !issued.unsaid {
		body["scope"] = strings.Join(issued.scopes, " ")
	}
	if issued.refresh != nil {
		body["refresh_token"] = issued.refresh.value
	}
	if token := s.idToken(r, s.clients[issued.grant.Client], issued, flaw); token != "" {
		body["id_token"] = token
	}
	if req.dialect == Microsoft {
		body["ext_expires_in"] = expiresIn
	}
	return body, nil
}

// judge finds what req is to get. The caller holds mu.
func (s *Server) judge(r *http.Request, req tokenRequest) (issued issue, no *refusal) {
	if req.malformed != nil {
		return issue{}, req.malformed
	}
	if req.form.Get("grant_type") == grantTypeJWTBearer {
		// The assertion says who asks.
		return s.jwtBearer(r, req)
	}
	client, no := s.authenticate(req.credentials)
	if no != nil {
		return issue{}, no
	}
	switch req.form.Get("grant_type") {
	case "refresh_token":
		return s.refreshGrant(req, client)
	case "authorization_code":
		return s.redeemCode(req, client)
	case grantTypeDevice:
		return s.pollDevice(req, client)
	case "client_credentials":
		return s.clientCredentials(req, client)
	case "":
		return issue{}, refusedRequest("grant_type is missing")
	}
	return issue{}, unsupportedGrantType
}

// refreshGrant exchanges a refresh token. A request is refused before its
// refresh token is spent, except for reuse. The caller holds mu.
func (s *Server) refreshGrant(req tokenRequest, client Client) (issued issue, no *refusal) {
	if req.form.Get("refresh_token") == "" {
		return issue{}, refusedRequest("refresh_token is missing")
	}
	presented := s.refresh[req.form.Get("refresh_token")]
	switch {
	case presented == nil || presented.grant.Client != client.ID:
		return issue{}, unknownGrant
	case presented.grant.cause != "":
		return issue{}, deadGrant
	}
	g := presented.grant
	if client.Dialect == Microsoft && g.person != nil {
		// What a public flow granted stays with it, and with the tenant.
		switch public := req.credentials.method == ClientNone; {
		case g.public && !public:
			return issue{}, publicWithSecret
		case !g.public && public:
			return issue{}, wrongSecret
		case !s.tenantFits(req.tenant, g.person.Tenant):
			return issue{}, wrongTenant
		}
	}
	requested := strings.Fields(req.form.Get("scope"))
	audience, scopes, no := client.Dialect.resolveScope(strings.Fields(g.Scope), requested)
	if no == nil && client.Narrowing == NarrowingIgnored && client.Dialect != Microsoft {
		audience, scopes, no = client.Dialect.resolveScope(strings.Fields(g.Scope), nil)
	}
	if no != nil {
		return issue{}, no
	}
	rotation := s.settings.Rotation
	if client.Rotation != nil {
		rotation = *client.Rotation
	}
	pair, no := s.exchange(presented, rotation, audience, scopes)
	return issue{tokenPair: pair, grant: g, scopes: scopes, unsaid: client.Narrowing == NarrowingUnsaid && len(requested) > 0}, no
}

// time is the server's time for those who do not hold mu.
func (s *Server) time() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock()
}
