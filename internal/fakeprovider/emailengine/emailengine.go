// Package emailengine stands in for the one endpoint of an EmailEngine that
// hands out access tokens, with its answers word for word.
package emailengine

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Account is an account as its token endpoint shows it.
type Account struct {
	User        string
	AccessToken string
	// Provider is EmailEngine's name for one: gmail, gmailService, outlook,
	// outlookService, mailRu.
	Provider string
	// Scopes are its registeredScopes; left out when there are none.
	Scopes  []string
	Expires time.Time
	Cached  bool
	App     string
	// Refusal, if set, is answered in the place of all this.
	Refusal *Refusal
}

// Refusal is an error answer.
type Refusal struct {
	Status  int
	Message string
	Code    string
	// Fields are further members of the body.
	Fields map[string]any
}

// NotOAuth2 is answered for an account with a password.
var NotOAuth2 = Refusal{Status: http.StatusForbidden, Message: "Not an OAuth2 account", Code: "AccountNotOAuth2"}

// NoRefreshToken is answered for an account that cannot be renewed.
var NoRefreshToken = Refusal{
	Status: http.StatusForbidden, Message: "Refresh token not provided", Code: "OauthRenewError",
	Fields: map[string]any{"authenticationFailed": true},
}

// Unreachable is answered while the account's provider does not answer: with
// the same code as for a dead grant, but without the request's answer.
var Unreachable = Refusal{
	Status: http.StatusForbidden, Message: "fetch failed", Code: "OauthRenewError",
	Fields: map[string]any{"authenticationFailed": true},
}

// RenewError is answered for an account whose provider ("gmail", "outlook")
// answered a renewal with this status and body.
func RenewError(provider string, status int, code, description string) Refusal {
	urls := map[string]string{
		"outlook": "https://login.microsoftonline.com/common/oauth2/v2.0/token",
	}
	return Refusal{
		Status:  http.StatusForbidden,
		Message: "Token request failed for " + provider + " (refresh_token, HTTP " + strconv.Itoa(status) + "): " + code + " - " + description,
		Code:    "OauthRenewError",
		Fields: map[string]any{
			"authenticationFailed": true,
			"tokenRequest": map[string]any{
				"url": cmp.Or(urls[provider], "https://oauth2.googleapis.com/token"), "method": "post", "grant": "refresh_token",
				"provider": provider, "status": status, "clientId": "cid",
				"response": map[string]any{"error": code, "error_description": description},
			},
		},
	}
}

// Server is the stand-in. The zero value knows no account and no token. It is
// safe for concurrent use.
type Server struct {
	mu        sync.Mutex
	tokens    []string
	accounts  map[string]Account
	disabled  bool
	throttled time.Duration
	requests  []Request
}

// Request is one that the endpoint got.
type Request struct {
	Account string
	Status  int
}

// SetTokens replaces the API tokens that are accepted.
func (s *Server) SetTokens(tokens ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = slices.Clone(tokens)
}

// SetAccount adds an account, or replaces the one of that ID.
func (s *Server) SetAccount(id string, a Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts == nil {
		s.accounts = map[string]Account{}
	}
	s.accounts[id] = a
}

// RemoveAccount removes an account.
func (s *Server) RemoveAccount(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.accounts, id)
}

// Disable switches the endpoint off or on, as in EmailEngine's settings. It is
// on from the start, other than there.
func (s *Server) Disable(disabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disabled = disabled
}

// Throttle answers all requests with 429 and ttl, until it is called with 0.
func (s *Server) Throttle(ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.throttled = ttl
}

// Requests are those that the endpoint got, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/account/{account}/oauth-token", s.token)
	mux.HandleFunc("GET /v1/account/{account}/oauth-token/{$}", s.token)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, Refusal{Status: http.StatusNotFound, Message: "Not Found"})
	})
	mux.ServeHTTP(w, r)
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := strings.TrimSpace(r.PathValue("account"))
	account, no := s.judge(r, id)
	status := http.StatusOK
	if no != nil {
		status = no.Status
	}
	s.requests = append(s.requests, Request{Account: id, Status: status})
	if no != nil {
		challenge(w, no)
		refuse(w, *no)
		return
	}
	body := struct {
		Account     string   `json:"account"`
		User        string   `json:"user"`
		AccessToken string   `json:"accessToken,omitempty"`
		Provider    string   `json:"provider"`
		Scopes      []string `json:"registeredScopes,omitempty"`
		Expires     string   `json:"expires,omitempty"`
		Cached      bool     `json:"cached"`
		App         string   `json:"app,omitempty"`
	}{
		Account: id, User: account.User, AccessToken: account.AccessToken, Provider: account.Provider,
		Scopes: account.Scopes, Cached: account.Cached, App: account.App,
	}
	if !account.Expires.IsZero() {
		body.Expires = account.Expires.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	answer(w, http.StatusOK, body)
}

// judge keeps to EmailEngine's order: the token, throttling, the switch, the
// account. The caller holds mu.
func (s *Server) judge(r *http.Request, id string) (account Account, no *Refusal) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		token = r.URL.Query().Get("access_token")
	}
	account, known := s.accounts[id]
	switch {
	case token == "":
		return account, &Refusal{Status: http.StatusUnauthorized, Message: "Missing authentication"}
	case !slices.Contains(s.tokens, token):
		return account, &Refusal{Status: http.StatusUnauthorized, Message: "Bad token"}
	case s.throttled > 0:
		return account, &Refusal{
			Status: http.StatusTooManyRequests, Message: "Rate limit exceeded",
			Fields: map[string]any{"ttl": int(s.throttled / time.Second)},
		}
	case utf8.RuneCountInString(id) > 256:
		const message = `"account" length must be less than or equal to 256 characters long`
		return account, &Refusal{Status: http.StatusBadRequest, Message: "Invalid input", Fields: map[string]any{
			"fields": []map[string]string{{"message": message, "key": "account"}},
		}}
	case s.disabled:
		return account, &Refusal{Status: http.StatusForbidden, Message: "Disabled API endpoint", Code: "ApiEndpointDisabled"}
	case !known:
		return account, &Refusal{Status: http.StatusNotFound, Message: "Account record was not found for requested ID"}
	}
	return account, account.Refusal
}

// challenge says what is wrong with a token.
func challenge(w http.ResponseWriter, no *Refusal) {
	switch no.Message {
	case "Missing authentication":
		w.Header().Set("WWW-Authenticate", "Bearer")
	case "Bad token":
		w.Header().Set("WWW-Authenticate", `Bearer error="Bad token"`)
	}
}

func refuse(w http.ResponseWriter, no Refusal) {
	body := map[string]any{"statusCode": no.Status, "error": http.StatusText(no.Status), "message": no.Message}
	if no.Code != "" {
		body["code"] = no.Code
	}
	maps.Copy(body, no.Fields)
	answer(w, no.Status, body)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // the client may have left
}

var _ http.Handler = (*Server)(nil)
