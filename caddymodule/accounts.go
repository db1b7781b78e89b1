package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/target"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// accountRequest is the body of POST /v1/account, as far as EmailEngine's makes
// sense here.
type accountRequest struct {
	Account string       `json:"account"`
	Name    string       `json:"name"`
	Email   string       `json:"email"`
	OAuth2  oauth2Fields `json:"oauth2"`
	// Replace swaps the grant of an account that exists.
	Replace bool `json:"replace"`
}

type oauth2Fields struct {
	Provider     string     `json:"provider"`
	Auth         authFields `json:"auth"`
	Scopes       []string   `json:"scopes"`
	RefreshToken string     `json:"refreshToken"`
	AccessToken  string     `json:"accessToken"`
	Expires      time.Time  `json:"expires"`
}

type authFields struct {
	User string `json:"user"`
}

func (a *App) createAccount(s *service, r *http.Request) (any, error) {
	var body accountRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	if target.MentionsKey(body.Account) {
		return nil, problem.New(problem.InvalidRequest, "account: "+errKeyForAccount.Error())
	}
	registration := broker.Registration{
		ID:            body.Account,
		Provider:      body.OAuth2.Provider,
		Name:          body.Name,
		User:          body.OAuth2.Auth.User,
		Scopes:        body.OAuth2.Scopes,
		RefreshToken:  secret.New(body.OAuth2.RefreshToken),
		AccessToken:   secret.New(body.OAuth2.AccessToken),
		AccessExpires: body.OAuth2.Expires,
	}
	if registration.User == "" {
		registration.User = body.Email
	}
	if body.Replace {
		return answer("account", body.Account, "state", "existing"), s.broker.Replace(r.Context(), registration)
	}
	return answer("account", body.Account, "state", "new"), s.broker.Register(r.Context(), registration)
}

// answer makes a JSON object of names and values.
func answer(namesAndValues ...any) members {
	var m members
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		m = append(m, problem.Detail{Name: namesAndValues[i].(string), Value: namesAndValues[i+1]})
	}
	return m
}

// shownAccount is an account as the management API shows it. Secrets are shown
// to be there, and not what they are.
type shownAccount struct {
	Account string        `json:"account"`
	Name    string        `json:"name,omitempty"`
	Email   string        `json:"email,omitempty"`
	Type    string        `json:"type"`
	App     string        `json:"app"`
	State   account.State `json:"state"`
	OAuth2  *shownOAuth2  `json:"oauth2,omitempty"`
	// Failures are the last failures by audience, of the whole grant first.
	Failures  []account.Failed `json:"failures,omitempty"`
	LastError *shownError      `json:"lastError"`
	Created   time.Time        `json:"created"`
	Updated   time.Time        `json:"updated"`
}

type shownOAuth2 struct {
	Provider     string       `json:"provider"`
	Auth         shownAuth    `json:"auth"`
	AccessToken  string       `json:"accessToken,omitempty"`
	RefreshToken string       `json:"refreshToken,omitempty"`
	Expires      string       `json:"expires,omitempty"`
	Scopes       []string     `json:"scopes,omitempty"`
	Tokens       []shownToken `json:"tokens,omitempty"`
	Unknown      bool         `json:"unknownOutcome,omitempty"`
}

type shownAuth struct {
	User string `json:"user"`
}

type shownToken struct {
	Audience string   `json:"audience,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
	Issued   string   `json:"issued"`
	Expires  string   `json:"expires"`
}

type shownError struct {
	Response string `json:"response"`
	Code     string `json:"serverResponseCode"`
}

const masked = "******"

func (a *App) shown(g *account.Grant) shownAccount {
	s := shownAccount{
		Account: g.ID, Name: g.Name, Email: g.User, Type: a.emailEngineType(g.Provider), App: g.Provider, State: g.State,
		Failures: g.Failures, Created: g.Created, Updated: g.Updated,
		OAuth2: &shownOAuth2{Provider: g.Provider, Auth: shownAuth{g.User}, Scopes: g.Scopes, Unknown: g.Intent != nil && g.Intent.Lost},
	}
	if !g.RefreshToken.IsZero() {
		s.OAuth2.RefreshToken = masked
	}
	var last time.Time
	for _, t := range g.Access {
		s.OAuth2.AccessToken = masked
		last = latest(last, t.Expires)
		s.OAuth2.Tokens = append(s.OAuth2.Tokens, shownToken{t.Audience, t.Scopes, t.Issued.UTC().Format(timestamp), t.Expires.UTC().Format(timestamp)})
	}
	if !last.IsZero() {
		s.OAuth2.Expires = last.UTC().Format(timestamp)
	}
	if f := g.Failed(account.WholeGrant); f != nil {
		s.LastError = &shownError{f.Sentence(), string(problem.OAuthRenewError)}
	}
	return s
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// emailEngineType is EmailEngine's word for the type of a provider, which may
// be gone from the configuration.
func (a *App) emailEngineType(name string) string {
	if p, ok := a.run.providers[name]; ok {
		return emailEngineProvider(p.Type())
	}
	return name
}

func (a *App) showAccount(s *service, r *http.Request) (any, error) {
	g, err := grantOf(r.Context(), s, r.PathValue("account"))
	if err != nil {
		return nil, err
	}
	return a.shown(g), nil
}

func grantOf(ctx context.Context, s *service, id string) (*account.Grant, error) {
	g, _, err := s.vault.Grant(ctx, id)
	if errors.Is(err, store.ErrNotFound) || account.CheckID(id) != nil {
		return nil, problem.New(problem.AccountNotFound, "Account record was not found for requested ID")
	}
	if err != nil {
		return nil, problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
	}
	return g, nil
}

// updateRequest is the body of PUT /v1/account/{account}. What is absent stays.
type updateRequest struct {
	Name   string `json:"name"`
	Email  string `json:"email"`
	OAuth2 struct {
		Auth authFields `json:"auth"`
	} `json:"oauth2"`
}

func (a *App) updateAccount(s *service, r *http.Request) (any, error) {
	var body updateRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	id := r.PathValue("account")
	user := body.OAuth2.Auth.User
	if user == "" {
		user = body.Email
	}
	return answer("account", id), s.broker.Rename(r.Context(), id, body.Name, user)
}

func (a *App) deleteAccount(s *service, r *http.Request) (any, error) {
	id := r.PathValue("account")
	query := r.URL.Query()
	revoke, all := query.Get("revoke") == "true", query.Get("all") == "true"
	if revoke && !all {
		if err := a.refuseToRevokeOthers(r.Context(), s, id); err != nil {
			return nil, err
		}
	}
	return answer("account", id, "deleted", true, "revoked", revoke), s.broker.Remove(r.Context(), id, revoke)
}

// refuseToRevokeOthers refuses to revoke a grant that other accounts live on:
// Google ends all of a user's grants to the client at once.
func (a *App) refuseToRevokeOthers(ctx context.Context, s *service, id string) error {
	g, err := grantOf(ctx, s, id)
	if err != nil || a.emailEngineType(g.Provider) != "gmail" {
		return err
	}
	var others []string
	err = eachSummary(ctx, s, func(summary vault.Summary) error {
		if summary.Provider != g.Provider || summary.ID == id {
			return nil
		}
		other, _, err := s.vault.Grant(ctx, summary.ID)
		if err == nil && sameUser(g, other) {
			others = append(others, strconv.Quote(summary.ID))
		}
		return err
	})
	if err != nil {
		return problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
	}
	if len(others) > 0 {
		return problem.New(problem.Conflict, "Google ends all grants of this user to the client, also those of the accounts "+
			strings.Join(others, ", ")+"; to revoke them all, say so (--all, ?all=true)")
	}
	return nil
}

// sameUser reports whether two grants are one user's, as far as is known.
func sameUser(a, b *account.Grant) bool {
	if a.Subject != "" && b.Subject != "" {
		return a.Subject == b.Subject
	}
	return a.User != "" && strings.EqualFold(a.User, b.User)
}

func (a *App) refreshAccount(s *service, r *http.Request) (any, error) {
	id := r.PathValue("account")
	token, err := s.broker.Token(r.Context(), id, "", broker.Options{Force: true})
	if err != nil {
		return nil, err
	}
	return answer("account", id, "expires", token.Expires.UTC().Format(timestamp), "cached", token.Result == broker.Hit), nil
}

func (a *App) disableAccount(s *service, r *http.Request) (any, error) {
	id := r.PathValue("account")
	return answer("account", id, "state", account.Disabled), s.broker.Disable(r.Context(), id)
}

func (a *App) enableAccount(s *service, r *http.Request) (any, error) {
	id := r.PathValue("account")
	if err := s.broker.Enable(r.Context(), id); err != nil {
		return nil, err
	}
	now, err := s.broker.Account(r.Context(), id)
	return answer("account", id, "state", now.State), err
}

// The sizes of pages.
const (
	defaultPageSize = 20
	maxPageSize     = 1000
)

// listAccounts pages through the accounts in the order of their IDs.
func (a *App) listAccounts(s *service, r *http.Request) (any, error) {
	list, err := parseAccountList(r.URL.Query())
	if err != nil {
		return nil, err
	}
	first := list.page * list.size
	total := 0
	shown := []shownAccount{}
	err = eachSummary(r.Context(), s, func(summary vault.Summary) error {
		if list.state != "" && string(summary.State) != list.state || list.provider != "" && summary.Provider != list.provider {
			return nil
		}
		wanted := total >= first && total < first+list.size
		var g *account.Grant
		if wanted || list.query != "" {
			var err error
			if g, _, err = s.vault.Grant(r.Context(), summary.ID); errors.Is(err, store.ErrNotFound) {
				return nil // removed meanwhile
			} else if err != nil {
				return err
			}
			if !list.matches(g) {
				return nil
			}
		}
		total++
		if wanted {
			entry := a.shown(g)
			entry.OAuth2 = nil
			entry.Failures = nil
			shown = append(shown, entry)
		}
		return nil
	})
	if err != nil {
		return nil, problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
	}
	return answer("total", total, "pages", (total+list.size-1)/list.size, "page", list.page,
		"query", orFalse(list.query), "state", orStar(list.state), "accounts", shown), nil
}

func orFalse(s string) any {
	if s == "" {
		return false
	}
	return s
}

func orStar(s string) string {
	if s == "" {
		return "*"
	}
	return s
}

// accountList is what is asked of a list of accounts.
type accountList struct {
	page, size             int
	state, provider, query string
}

func parseAccountList(query url.Values) (list accountList, err error) {
	list = accountList{size: defaultPageSize, state: query.Get("state"), provider: query.Get("provider"), query: strings.ToLower(query.Get("query"))}
	if list.state == "*" {
		list.state = ""
	}
	if list.state != "" && !slices.Contains(account.States, account.State(list.state)) {
		return list, problem.New(problem.InvalidRequest, fmt.Sprintf("state: must be one of %v", account.States))
	}
	if list.page, err = pageNumber(query, "page", 0, 0, math.MaxInt32); err != nil {
		return list, err
	}
	list.size, err = pageNumber(query, "pageSize", defaultPageSize, 1, maxPageSize)
	return list, err
}

func pageNumber(query url.Values, name string, otherwise, least, most int) (int, error) {
	if !query.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < least || n > most {
		return 0, problem.New(problem.InvalidRequest, fmt.Sprintf("%s: must be a number from %d to %d", name, least, most))
	}
	return n, nil
}

// matches reports whether the query stands in the account's ID, name or login.
func (l *accountList) matches(g *account.Grant) bool {
	for _, text := range []string{g.ID, g.Name, g.User} {
		if strings.Contains(strings.ToLower(text), l.query) {
			return true
		}
	}
	return false
}

// eachSummary calls f for every account.
func eachSummary(ctx context.Context, s *service, f func(vault.Summary) error) error {
	for after := ""; ; {
		summaries, err := s.vault.Summaries(ctx, after, maxPageSize)
		if err != nil {
			return err
		}
		for _, summary := range summaries {
			if err := f(summary); err != nil {
				return err
			}
		}
		if len(summaries) < maxPageSize {
			return nil
		}
		after = summaries[len(summaries)-1].ID
	}
}
