package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

const (
	accountPath = "/v1/account/"
	tokenSuffix = "/oauth-token" //nolint:gosec // the end of a path
)

// isTokenPath reports whether an escaped path is the token endpoint's.
func isTokenPath(path string) bool {
	_, ok := tokenPathAccount(path)
	return ok
}

// tokenPathAccount is the escaped account in the token endpoint's path.
func tokenPathAccount(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, accountPath)
	if !ok {
		return "", false
	}
	segment, ok := strings.CutSuffix(strings.TrimSuffix(rest, "/"), tokenSuffix)
	return segment, ok && segment != "" && !strings.Contains(segment, "/")
}

// tokenAnswer is EmailEngine's answer, in its order.
type tokenAnswer struct {
	Account          string   `json:"account"`
	User             string   `json:"user"`
	AccessToken      string   `json:"accessToken"`
	Provider         string   `json:"provider"`
	RegisteredScopes []string `json:"registeredScopes,omitempty"`
	Expires          string   `json:"expires"`
	Cached           bool     `json:"cached"`
	App              string   `json:"app,omitempty"`
}

// timestamp is how times are written: as ECMAScript does.
const timestamp = "2006-01-02T15:04:05.000Z"

// serveToken is GET /v1/account/{account}/oauth-token for callers with a key.
func (h *Handler) serveToken(w http.ResponseWriter, r *http.Request) {
	c := &call{route: "token"}
	a := h.run.app
	w, done := a.record(w, r, c)
	defer done()
	key, err := h.admitToken(r, c)
	if err != nil {
		a.refuse(w, r, c, inEmailEngineWords(err), dialectEmailEngine)
		return
	}
	a.answerToken(w, r, c, key)
}

// admitToken decides whether the caller may be given a token of the account,
// before anything is said of the account.
func (h *Handler) admitToken(r *http.Request, c *call) (*policy.Key, error) {
	key, err := h.run.auth.authenticate(r, c)
	if err != nil {
		return nil, err
	}
	if h.TokenEndpoint == nil {
		return nil, problem.New(problem.APIEndpointDisabled, "Disabled API endpoint")
	}
	if c.account, err = tokenAccount(r); err != nil {
		return nil, err
	}
	return key, mayHaveToken(r, c, key, true)
}

// mayHaveToken judges whether the key may be handed a token of c's account. Of
// an account that is not registered more is wanted.
func mayHaveToken(r *http.Request, c *call, key *policy.Key, registered bool) error {
	decision := policy.Judge(key, &policy.Facts{
		Account: c.account, Unregistered: !registered, Needs: policy.Token, Client: clientAddr(r), Now: clock.Now(),
	})
	if decision.Allowed {
		return nil
	}
	return denied{decision, decision.Problem(), clientAddr(r).String()}
}

// denied is a refusal that still knows its reason.
type denied struct {
	decision policy.Decision
	*problem.Problem
	address string
}

// Unwrap returns the problem.
func (d denied) Unwrap() error { return d.Problem }

// inEmailEngineWords says a refusal as EmailEngine does, to whose clients it
// goes.
func inEmailEngineWords(err error) error {
	p := *problem.From(err)
	switch p.Code {
	case problem.MissingKey:
		p.Message, p.Challenge = "Missing authentication", "Bearer"
	case problem.InvalidKey:
		p.Message, p.Challenge = "Bad token", `Bearer error="Bad token"`
	}
	if d, ok := errors.AsType[denied](err); ok {
		switch d.decision.Reason {
		case policy.ReasonAccount:
			p.Message = "Unauthorized account"
		case policy.ReasonPermission, policy.ReasonRule:
			p.Message = "Unauthorized permission"
			p.Details = []problem.Detail{{Name: "requiredPermission", Value: members{{Name: "action", Value: "read"}, {Name: "group", Value: "admin"}}}}
		case policy.ReasonAddress:
			p.Message = "Unauthorized address"
			p.Details = []problem.Detail{{Name: "remoteAddress", Value: d.address}}
		}
	}
	return &p
}

// tokenAccount is the account that the path names.
func tokenAccount(r *http.Request) (string, error) {
	segment, _ := tokenPathAccount(r.URL.EscapedPath())
	return pathAccount(segment)
}

// pathAccount decodes an account in a path, in EmailEngine's words if it cannot
// be one.
func pathAccount(segment string) (string, error) {
	id, err := url.PathUnescape(segment)
	if err != nil {
		return "", problem.New(problem.InvalidRequest, "Invalid input").Because(err)
	}
	if err = checkAccount(id); err == nil {
		return id, nil
	}
	message := `"account" cannot be: ` + err.Error()
	if errors.Is(err, account.ErrIDTooLong) {
		message = fmt.Sprintf(`"account" length must be less than or equal to %d characters long`, account.MaxIDLength)
	}
	return "", invalidInput("account", message)
}

// invalidInput is EmailEngine's refusal of one part of a request.
func invalidInput(key, message string) error {
	return problem.New(problem.InvalidRequest, "Invalid input").
		With("fields", []members{{{Name: "message", Value: message}, {Name: "key", Value: key}}})
}

// errKeyForAccount does not repeat what was sent.
var errKeyForAccount = errors.New("it is an API key: send that in the X-Bellhop-Key header field")

// checkAccount reports why a caller cannot mean an account by id. A key in the
// wrong place would stand in the audit, which prints accounts.
func checkAccount(id string) error {
	if target.MentionsKey(id) {
		return errKeyForAccount
	}
	return account.CheckID(id)
}

// answerToken hands out the token of c's account.
func (a *App) answerToken(w http.ResponseWriter, r *http.Request, c *call, key *policy.Key) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		a.refuse(w, r, c, problem.New(problem.MethodNotAllowed, "Method Not Allowed"), dialectEmailEngine)
		return
	}
	answer, err := a.token(r, c, key)
	if err != nil {
		a.refuse(w, r, c, emailEngineFailure(a, c, err), dialectEmailEngine)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (a *App) token(r *http.Request, c *call, key *policy.Key) (*tokenAnswer, error) {
	options, audience, err := tokenOptions(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	switch {
	case options.Scopes == nil:
		options.Scopes = key.Scopes
	case key != anyAccount:
		return nil, invalidInput("scopes", `"scopes" is for the admin endpoint; a key's tokens are narrowed by its own scopes`)
	}
	s, err := a.run.open()
	if err != nil {
		return nil, err
	}
	acct, err := s.broker.Account(r.Context(), c.account)
	if err != nil {
		return nil, err
	}
	c.provider = acct.Provider
	if !acct.Registered {
		if err := mayHaveToken(r, c, key, false); err != nil {
			return nil, inEmailEngineWords(err)
		}
	}
	p, ok := a.run.providers[acct.Provider]
	if !ok {
		return nil, problem.New(problem.AccountNotOAuth2, "Not an OAuth2 account")
	}
	if audience, err = p.Audience(audience); err != nil {
		return nil, invalidInput("audience", `"audience" `+err.Error())
	}
	options.Provider = acct.Provider
	token, err := s.broker.Token(r.Context(), c.account, audience, options)
	countToken(acct.Provider, token, err)
	if err != nil {
		return nil, nameConsent(err, p, audience, options.Scopes)
	}
	if acct.User == "" { // the provider may just have said it
		if acct, err = s.broker.Account(r.Context(), c.account); err != nil {
			return nil, err
		}
	}
	answer := &tokenAnswer{
		Account:          acct.ID,
		User:             acct.User,
		AccessToken:      token.Value.Reveal(),
		Provider:         emailEngineProvider(p.Type()),
		RegisteredScopes: token.Scopes,
		Expires:          token.Expires.UTC().Format(timestamp),
		Cached:           token.Result == broker.Hit,
	}
	if p.Name() != answer.Provider {
		answer.App = p.Name()
	}
	return answer, nil
}

// tokenOptions reads the query of the token endpoint. What it does not know it
// ignores, as EmailEngine does.
func tokenOptions(query string) (o broker.Options, audience string, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return o, "", problem.New(problem.InvalidRequest, "Invalid input").Because(err)
	}
	if v := values.Get("min_ttl"); v != "" {
		seconds, err := strconv.ParseInt(v, 10, 64)
		if err != nil || seconds < 0 {
			return o, "", invalidInput("min_ttl", `"min_ttl" must be a number of seconds`)
		}
		o.MinTTL = time.Duration(min(seconds, math.MaxInt32)) * time.Second // more than any token has
	}
	if v := values.Get("force"); v != "" {
		if o.Force, err = strconv.ParseBool(v); err != nil {
			return o, "", invalidInput("force", `"force" must be a boolean`)
		}
	}
	o.Scopes = account.ParseScopes(values.Get("scopes"))
	if err := policy.CheckScopes(o.Scopes); err != nil {
		return o, "", invalidInput("scopes", `"scopes" `+err.Error())
	}
	return o, values.Get("audience"), nil
}

// emailEngineProvider is EmailEngine's word for a type of provider.
func emailEngineProvider(kind string) string {
	switch kind {
	case provider.TypeGoogle:
		return "gmail"
	case provider.TypeMicrosoft:
		return "outlook"
	case provider.TypeGoogleServiceAccount:
		return "gmailService"
	case provider.TypeMicrosoftApp:
		return "outlookService"
	}
	return kind
}

// ownGrants are the grants by which tokens are asked for where there is no
// refresh token.
var ownGrants = map[string]string{
	provider.TypeGoogleServiceAccount: "jwt-bearer",
	provider.TypeMicrosoftApp:         "client_credentials",
	provider.TypeEmailEngine:          "oauth-token",
}

// emailEngineFailure says a failed renewal as EmailEngine does. Of the token
// request it keeps what names the error and nothing that was sent.
func emailEngineFailure(a *App, c *call, err error) error {
	p := *problem.From(err)
	failure, ok := errors.AsType[*account.Failure](err)
	if p.Code != problem.OAuthRenewError || !ok {
		return err
	}
	kind, grant := c.provider, "refresh_token"
	if configured, ok := a.run.providers[c.provider]; ok {
		kind = emailEngineProvider(configured.Type())
		if own, ok := ownGrants[configured.Type()]; ok {
			grant = own
		}
	}
	said := failure.Code
	if failure.Description != "" {
		said += " - " + failure.Description
	}
	p.Message = fmt.Sprintf("Token request failed for %s (%s, HTTP %d): %s", kind, grant, failure.Status, said)
	p.Details = append(p.Details[:len(p.Details):len(p.Details)], problem.Detail{Name: "tokenRequest", Value: members{
		{Name: "grant", Value: grant},
		{Name: "provider", Value: kind},
		{Name: "status", Value: failure.Status},
		{Name: "response", Value: members{{Name: "error", Value: failure.Code}, {Name: "error_description", Value: failure.Description}}},
		{Name: "userFlag", Value: members{{Name: "message", Value: failure.Reads}, {Name: "description", Value: failure.Mend}}},
	}})
	return &p
}
