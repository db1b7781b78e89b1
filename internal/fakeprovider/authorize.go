package fakeprovider

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// authorization is a request to the authorization endpoint (RFC 6749 section
// 4.1.1) that was found good.
type authorization struct {
	client      Client
	redirectURI string
	state       string
	nonce       string
	challenge   string
	scopes      []string
	prompt      []string
	// offline is set where the request asks for a refresh token.
	offline bool
	// hint is the login_hint.
	hint string
	// tenant is the one in the path, as [Server.tenantID] gives it; empty
	// outside Microsoft's dialect.
	tenant string
	// issuer is what RFC 9207 calls "iss"; empty where none is sent.
	issuer string
	// admin is set for an administrator's consent for a whole tenant.
	admin bool
}

// authorize is the authorization endpoint. GET shows the page, whose form comes
// back by POST to the same address.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	s.serveAuthorization(w, r, s.judgeAuthorization)
}

// adminConsent is where a Microsoft administrator consents for a tenant.
func (s *Server) adminConsent(w http.ResponseWriter, r *http.Request) {
	s.serveAuthorization(w, r, s.judgeAdminConsent)
}

// authorizationJudge returns the request if it is good, or why not and
// whether the client may be told by a redirect. The caller holds mu.
type authorizationJudge func(r *http.Request) (a authorization, no *refusal, redirect bool)

func (s *Server) serveAuthorization(w http.ResponseWriter, r *http.Request, judge authorizationJudge) {
	dialect := OAuth2
	switch {
	case r.PathValue("tenant") != "":
		dialect = Microsoft
	case strings.HasPrefix(r.URL.Path, "/o/"):
		dialect = Google
	}
	s.mu.Lock()
	if client, known := s.clients[r.URL.Query().Get("client_id")]; known {
		dialect = client.Dialect
	}
	fault := s.takeFault(faultCall{endpoint: EndpointAuthorize, path: r.URL.Path})
	s.mu.Unlock()
	s.serve(w, r, fault, dialect, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			s.showRefusal(w, r, dialect, refusedRequest("The request cannot be read."))
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		a, no, redirect := judge(r)
		entry := s.logAuthorization(r, a)
		switch {
		case no != nil && redirect:
			entry.Outcome = no.code
			s.redirectRefusal(w, a, no)
		case no != nil:
			entry.Outcome = no.code
			s.showRefusalLocked(w, r, dialect, no)
		case r.Method == http.MethodPost:
			entry.Outcome = s.decide(w, r, a)
		default:
			entry.Outcome = OutcomePage
			s.showConsent(w, a)
		}
	})
}

func (s *Server) judgeAuthorization(r *http.Request) (a authorization, no *refusal, redirect bool) {
	query := r.URL.Query()
	a, no = s.judgeReturn(r, query)
	if no != nil {
		return a, no, false
	}
	// Google shows the errors of a request to the person, and sends none back.
	redirect = a.client.Dialect != Google
	a.prompt = strings.Fields(query.Get("prompt"))
	if s.settings.IssParameter {
		a.issuer = s.issuer(r, a.client.Dialect, a.tenant)
	}
	for _, judge := range []func(*authorization, url.Values) *refusal{
		s.judgeResponse, s.judgeScopes, s.judgePrompt,
	} {
		if no := judge(&a, query); no != nil {
			return a, no, redirect
		}
	}
	if slices.Contains(a.prompt, "none") {
		// Nobody is signed in here before the page.
		return a, loginRequired, true
	}
	return a, nil, false
}

// judgeReturn finds the client and whether it may be answered at all: until its
// redirect URI is known to be its own, nothing is sent there (RFC 6749 section
// 4.1.2.1).
func (s *Server) judgeReturn(r *http.Request, query url.Values) (a authorization, no *refusal) {
	client, known := s.clients[query.Get("client_id")]
	a = authorization{
		client: client, redirectURI: query.Get("redirect_uri"), state: query.Get("state"),
		nonce: query.Get("nonce"), hint: query.Get("login_hint"),
	}
	for name, values := range query {
		if len(values) > 1 {
			return a, refusedRequest("A parameter is repeated: " + name)
		}
	}
	switch {
	case query.Get("client_id") == "":
		return a, refusedRequest("client_id is missing")
	case !known:
		return a, unknownClient
	case query.Has("client_secret") || query.Has("client_assertion"):
		return a, refusedRequest("A client's credentials are in the URL.")
	case a.redirectURI == "":
		return a, refusedRequest("redirect_uri is missing")
	case !client.redirectsTo(a.redirectURI):
		return a, redirectMismatch
	}
	if client.Dialect != Microsoft {
		if r.PathValue("tenant") != "" {
			return a, unknownClient
		}
		return a, nil
	}
	tenant, exists := s.tenantID(r.PathValue("tenant"))
	switch {
	case !exists:
		return a, unknownTenant
	case client.Tenant != "" && slices.Contains(anyTenant, tenant):
		return a, notMultiTenant
	case client.Tenant != "" && tenant != client.Tenant:
		return a, appNotInTenant
	}
	a.tenant = tenant
	return a, nil
}

func (s *Server) judgeResponse(a *authorization, query url.Values) *refusal {
	mode := query.Get("response_mode")
	switch {
	case query.Get("response_type") == "":
		return invalidAuthorization("response_type is missing.", 900144)
	case query.Get("response_type") != "code":
		return unsupportedResponseType
	case mode != "" && mode != "query":
		return invalidAuthorization("response_mode is not supported: "+mode, 9002313)
	case query.Has("claims") && !isObject(query.Get("claims")):
		return invalidAuthorization("claims is not a JSON object.", 50027)
	case query.Has("request") || query.Has("request_uri"):
		return invalidAuthorization("Request objects are not supported.", 9002313)
	}
	public := !slices.ContainsFunc(a.client.AuthMethods, func(m AuthMethod) bool { return m != ClientNone })
	var no *refusal
	a.challenge, no = challengeOf(query, public || a.client.RequirePKCE || s.settings.RequirePKCE)
	return no
}

func isObject(text string) bool {
	var object map[string]any
	return json.Unmarshal([]byte(text), &object) == nil && object != nil
}

func (s *Server) judgeScopes(a *authorization, query url.Values) *refusal {
	a.scopes = strings.Fields(query.Get("scope"))
	if len(a.scopes) == 0 {
		return invalidAuthorization("scope is missing.", 900144)
	}
	if no := a.client.checkScopes(a.scopes); no != nil {
		return no
	}
	access := query.Get("access_type")
	switch a.client.Dialect {
	case Google:
		if access != "" && access != "offline" && access != "online" {
			return invalidAuthorization("Invalid access_type: " + access)
		}
		a.offline = access == "offline"
	case Microsoft:
		a.offline = slices.Contains(a.scopes, "offline_access")
	default:
		// OpenID Connect Core section 11: offline_access counts beside
		// prompt=consent alone. Plain OAuth 2 has no such scope.
		a.offline = !slices.Contains(a.scopes, "openid") ||
			slices.Contains(a.scopes, "offline_access") && slices.Contains(a.prompt, "consent")
	}
	return nil
}

// prompts are the values that each dialect knows.
var prompts = map[Dialect][]string{
	OAuth2:    {"none", "login", "consent", "select_account"},
	Google:    {"none", "consent", "select_account"},
	Microsoft: {"none", "login", "consent", "select_account", "create"},
}

func (s *Server) judgePrompt(a *authorization, query url.Values) *refusal {
	switch {
	case query.Has("prompt") && len(a.prompt) == 0:
		return invalidAuthorization("prompt is empty.", 90023)
	case len(a.prompt) > 1 && (a.client.Dialect == Microsoft || slices.Contains(a.prompt, "none")):
		return invalidAuthorization("Unsupported 'prompt' value.", 90023)
	case a.client.Dialect == Google && query.Has("approval_prompt") && query.Has("prompt"):
		return invalidAuthorization("Conflict params: approval_prompt and prompt")
	}
	for _, prompt := range a.prompt {
		if !slices.Contains(prompts[a.client.Dialect], prompt) {
			return invalidAuthorization("Unsupported 'prompt' value.", 90023)
		}
	}
	return nil
}

func (s *Server) judgeAdminConsent(r *http.Request) (a authorization, no *refusal, redirect bool) {
	query := r.URL.Query()
	a, no = s.judgeReturn(r, query)
	switch {
	case no != nil:
		return a, no, false
	case a.client.Dialect != Microsoft:
		return a, unknownClient, false
	case a.tenant == ConsumersTenant:
		return a, unknownTenant, false
	}
	a.admin = true
	a.scopes = strings.Fields(query.Get("scope"))
	if len(a.scopes) == 0 {
		return a, invalidAuthorization("scope is missing.", 900144), true
	}
	return a, a.client.checkScopes(a.scopes), true
}

// redirectRefusal sends an error back to the client (RFC 6749 section
// 4.1.2.1).
func (s *Server) redirectRefusal(w http.ResponseWriter, a authorization, no *refusal) {
	answer := url.Values{"error": {no.code}}
	if description, _ := no.body(a.client.Dialect, s.clock())["error_description"].(string); description != "" {
		answer.Set("error_description", description)
	}
	if no.subcode != "" && a.client.Dialect == Microsoft {
		answer.Set("error_subcode", no.subcode)
	}
	if a.admin {
		answer.Set("admin_consent", "True")
	}
	a.redirect(w, answer)
}

// redirect sends the browser back to the client with an answer.
func (a authorization) redirect(w http.ResponseWriter, answer url.Values) {
	if a.state != "" {
		answer.Set("state", a.state)
	}
	if a.issuer != "" {
		answer.Set("iss", a.issuer)
	}
	w.Header().Set("Location", withQuery(a.redirectURI, answer))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusFound)
}
