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

// authorizationRoutes serves the authorization server's endpoints, each with a
// second path below a tenant, as Microsoft's has.
func (s *Server) authorizationRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/token", s.token)
	mux.HandleFunc("/{tenant}/oauth2/v2.0/token", s.token)
	mux.HandleFunc("POST /revoke", s.revoke)
	mux.HandleFunc("GET /.well-known/openid-configuration", s.metadata)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.metadata)
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.metadata)
	return mux
}

// tokenRequest is a request to the token or revocation endpoint, as read.
type tokenRequest struct {
	form        url.Values
	credentials credentials
	// dialect is the client's; by the path if the client is unknown.
	dialect Dialect
	// malformed refuses a request that is no OAuth request at all.
	malformed *refusal
}

func (s *Server) readTokenRequest(w http.ResponseWriter, r *http.Request) tokenRequest {
	req := tokenRequest{dialect: OAuth2}
	if r.PathValue("tenant") != "" {
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
	return req
}

// token is the token endpoint.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	req := s.readTokenRequest(w, r)
	entry, fault := s.beginTokenRequest(req, r)
	defer s.endTokenRequest(entry)
	s.serve(w, r, fault, req.dialect, func(w http.ResponseWriter, _ *http.Request) {
		body, no := s.refreshGrant(req, entry)
		if no != nil {
			no.write(w, req.dialect, s.time())
			return
		}
		w.Header().Set("Pragma", "no-cache")
		writeJSON(w, http.StatusOK, body)
	})
}

// refreshGrant carries out a token request and writes its outcome to entry.
func (s *Server) refreshGrant(req tokenRequest, entry *TokenRequest) (body map[string]any, no *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pair, scopes, no := s.judge(req)
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
	entry.Outcome = pair.outcome
	entry.AccessTokenNumber = pair.access.number
	s.count(entry.grant, func(c *Counters) {
		switch pair.outcome {
		case OutcomeRotated:
			c.Rotations++
		case OutcomeReissued:
			c.Reissues++
		}
		c.Issued++
	})
	expiresIn := int64(pair.access.expires.Sub(s.clock()) / time.Second)
	body = map[string]any{
		"access_token": pair.access.value,
		"token_type":   "Bearer",
		"expires_in":   expiresIn,
		"scope":        strings.Join(scopes, " "),
	}
	if pair.refresh != nil {
		body["refresh_token"] = pair.refresh.value
	}
	if req.dialect == Microsoft {
		body["ext_expires_in"] = expiresIn
	}
	return body, nil
}

// judge finds what req is to get. A request is refused before its refresh
// token is spent, except for reuse. The caller holds mu.
func (s *Server) judge(req tokenRequest) (pair tokenPair, scopes []string, no *refusal) {
	if req.malformed != nil {
		return pair, nil, req.malformed
	}
	client, no := s.authenticate(req.credentials)
	if no != nil {
		return pair, nil, no
	}
	switch req.form.Get("grant_type") {
	case "refresh_token":
	case "":
		return pair, nil, refusedRequest("grant_type is missing")
	default:
		return pair, nil, unsupportedGrantType
	}
	if req.form.Get("refresh_token") == "" {
		return pair, nil, refusedRequest("refresh_token is missing")
	}
	presented := s.refresh[req.form.Get("refresh_token")]
	switch {
	case presented == nil || presented.grant.Client != client.ID:
		return pair, nil, unknownGrant
	case presented.grant.cause != "":
		return pair, nil, deadGrant
	}
	granted, requested := strings.Fields(presented.grant.Scope), strings.Fields(req.form.Get("scope"))
	audience, scopes, no := client.Dialect.resolveScope(granted, requested)
	if no != nil {
		return pair, nil, no
	}
	rotation := s.settings.Rotation
	if client.Rotation != nil {
		rotation = *client.Rotation
	}
	pair, no = s.exchange(presented, rotation, audience, scopes)
	return pair, scopes, no
}

// time is the server's time for those who do not hold mu.
func (s *Server) time() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock()
}
