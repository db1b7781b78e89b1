package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/target"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// accountRequest is the body of POST /v1/account, as far as EmailEngine's makes
// sense here.
type accountRequest struct {
	// Account is made up where it is null.
	Account string `json:"account"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	// ExpectedEmail is whose consent is accepted, with oauth2.authorize.
	ExpectedEmail string       `json:"expectedEmail,omitempty"`
	OAuth2        oauth2Fields `json:"oauth2"`
	// Replace swaps the grant of an account that exists.
	Replace bool `json:"replace"`
	mailFields
}

type oauth2Fields struct {
	Provider     string     `json:"provider"`
	Auth         authFields `json:"auth"`
	Scopes       []string   `json:"scopes"`
	RefreshToken string     `json:"refreshToken"`
	AccessToken  string     `json:"accessToken"`
	Expires      time.Time  `json:"expires"`
	// Authorize asks for a link by which a person connects the account, and
	// RedirectURL is where they go afterwards.
	Authorize   bool   `json:"authorize,omitempty"`
	RedirectURL string `json:"redirectUrl,omitempty"`

	UseAuthServer refusedField `json:"useAuthServer,omitzero"`
}

type authFields struct {
	User             string       `json:"user"`
	DelegatedUser    refusedField `json:"delegatedUser,omitzero"`
	DelegatedAccount refusedField `json:"delegatedAccount,omitzero"`
}

// mailFields are EmailEngine's fields that are about mail.
type mailFields struct {
	IMAP                  refusedField `json:"imap,omitzero"`
	SMTP                  refusedField `json:"smtp,omitzero"`
	Path                  refusedField `json:"path,omitzero"`
	SyncFrom              refusedField `json:"syncFrom,omitzero"`
	NotifyFrom            refusedField `json:"notifyFrom,omitzero"`
	Subconnections        refusedField `json:"subconnections,omitzero"`
	Copy                  refusedField `json:"copy,omitzero"`
	Logs                  refusedField `json:"logs,omitzero"`
	Proxy                 refusedField `json:"proxy,omitzero"`
	SMTPEhloName          refusedField `json:"smtpEhloName,omitzero"`
	IMAPIndexer           refusedField `json:"imapIndexer,omitzero"`
	Webhooks              refusedField `json:"webhooks,omitzero"`
	WebhooksCustomHeaders refusedField `json:"webhooksCustomHeaders,omitzero"`
}

// refusedField is a field of EmailEngine's that makes no sense here. It is set
// where it says anything: null and false ask for nothing.
type refusedField bool

// UnmarshalJSON implements [json.Unmarshaler].
func (f *refusedField) UnmarshalJSON(text []byte) error {
	*f = string(text) != "null" && string(text) != "false"
	return nil
}

// refusals say why a field is refused. Those without a reason of their own are
// about mail.
var refusals = map[string]string{
	"useAuthServer":          "tokens come from the provider, and from no server of the application's",
	"delegatedUser":          "an account is one person's grant; name a shared mailbox in the URL of the API",
	"delegatedAccount":       "an account is one person's grant; name a shared mailbox in the URL of the API",
	"delegated":              "an account is one person's grant; name a shared mailbox in the URL of the API",
	"webhooks":               "write `webhook <url>` into the configuration, for all accounts",
	"webhooksCustomHeaders":  "write `webhook <url>` into the configuration, for all accounts",
	"restrictions.referrers": "who holds a key can send any referrer",
	"restrictions.rateLimit": "keys have no rate limits in this version",
	"permissions":            "write allow, with rules for the APIs that the key may call",
}

// refuseFields refuses by name what of EmailEngine's is in a body and cannot be
// had here, so that nobody waits for it.
func refuseFields(body any) error {
	if name := refusedIn(reflect.ValueOf(body), ""); name != "" {
		reason, ok := refusals[name]
		if !ok {
			reason, ok = refusals[name[strings.LastIndexByte(name, '.')+1:]]
		}
		if !ok {
			reason = "grants and tokens are kept here, and no mail is read or sent"
		}
		return problem.New(problem.InvalidRequest, name+": leave it out: "+reason)
	}
	return nil
}

// refusedIn is the name of the first refused field that is set; empty for none.
func refusedIn(v reflect.Value, prefix string) string {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return ""
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Type == reflect.TypeFor[refusedField]() && v.Field(i).Bool() {
			return prefix + name
		}
		within := prefix
		if !field.Anonymous {
			within += name + "."
		}
		if found := refusedIn(v.Field(i), within); found != "" {
			return found
		}
	}
	return ""
}

func (a *App) createAccount(s *service, r *http.Request) (any, error) {
	var body accountRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	if err := refuseFields(body); err != nil {
		return nil, err
	}
	if target.MentionsKey(body.Account) {
		return nil, problem.New(problem.InvalidRequest, "account: "+errKeyForAccount.Error())
	}
	if body.Account == "" {
		body.Account = newAccountID()
	}
	if _, ok := a.run.providers[body.OAuth2.Provider]; !ok {
		return nil, a.unknownProvider("oauth2.provider")
	}
	if body.OAuth2.Authorize {
		return a.authorizeAccount(s, r, &body)
	}
	registration, err := body.registration()
	if err != nil {
		return nil, err
	}
	if body.Replace {
		return answer("account", body.Account, "state", "existing"), s.broker.Replace(r.Context(), registration)
	}
	err = s.broker.Register(r.Context(), registration)
	if err != nil && problem.From(err).Code == problem.Conflict && same(r.Context(), s, registration) {
		// EmailEngine's clients register an account again and again.
		return answer("account", body.Account, "state", "existing"), s.broker.Rename(r.Context(), registration.ID, registration.Name, registration.User)
	}
	return answer("account", body.Account, "state", "new"), err
}

// authorizeAccount makes a link by which a person connects the account.
func (a *App) authorizeAccount(s *service, r *http.Request, body *accountRequest) (any, error) {
	if body.OAuth2.RefreshToken != "" || body.OAuth2.AccessToken != "" {
		return nil, problem.New(problem.InvalidRequest, "oauth2.authorize: asks a person for a grant; leave out the tokens of another")
	}
	if err := checkEmail(body.Email); err != nil {
		return nil, err
	}
	email := body.OAuth2.Auth.User
	if email == "" {
		email = body.Email
	}
	link, err := a.invite(r.Context(), s, consent.Link{
		Account: body.Account, Provider: body.OAuth2.Provider, Name: body.Name, Email: email,
		ExpectedEmail: body.ExpectedEmail, Scopes: body.OAuth2.Scopes, ReturnTo: body.OAuth2.RedirectURL,
	}, "oauth2.provider", "oauth2.redirectUrl")
	if err != nil {
		return nil, err
	}
	return answer("redirect", link), nil
}

// registration is the grant of a body.
func (b *accountRequest) registration() (broker.Registration, error) {
	switch {
	case b.ExpectedEmail != "":
		return broker.Registration{}, problem.New(problem.InvalidRequest, "expectedEmail: goes with oauth2.authorize: nobody consents to a grant that exists")
	case b.OAuth2.RedirectURL != "":
		return broker.Registration{}, problem.New(problem.InvalidRequest, "oauth2.redirectUrl: goes with oauth2.authorize")
	}
	user := b.OAuth2.Auth.User
	if user == "" {
		user = b.Email
	}
	return b.OAuth2.registration(b.Account, b.OAuth2.Provider, b.Name, user)
}

// registration is the grant that the fields hold. What an answer shows in the
// place of tokens is none.
func (f *oauth2Fields) registration(id, provider, name, user string) (broker.Registration, error) {
	for _, token := range []struct{ field, value string }{{"refreshToken", f.RefreshToken}, {"accessToken", f.AccessToken}} {
		if token.value != "" && strings.Trim(token.value, "*") == "" {
			return broker.Registration{}, problem.New(problem.InvalidRequest, token.field+": is what answers show in the place of a token")
		}
	}
	return broker.Registration{
		ID: id, Provider: provider, Name: name, User: user, Scopes: f.Scopes,
		RefreshToken: secret.New(f.RefreshToken), AccessToken: secret.New(f.AccessToken), AccessExpires: f.Expires,
	}, nil
}

// same reports whether an account exists with the very grant of a registration.
// An older one is not put in its place: with it, the provider would end both.
func same(ctx context.Context, s *service, r broker.Registration) bool {
	g, err := grantOf(ctx, s, r.ID)
	return err == nil && g.Provider == r.Provider && g.RefreshToken.Reveal() == r.RefreshToken.Reveal() && r.AccessToken.IsZero()
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
	// Unadopted is set while another instance may still renew the grant.
	Unadopted bool         `json:"unadopted,omitempty"`
	OAuth2    *shownOAuth2 `json:"oauth2,omitempty"`
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
	// Missing are the scopes that were asked for and not granted.
	Missing []string `json:"missingScopes,omitempty"`
	Unknown bool     `json:"unknownOutcome,omitempty"`
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
		Unadopted: g.Unadopted || g.State == account.Restored,
		Failures:  g.Failures, Created: g.Created, Updated: g.Updated,
		OAuth2: &shownOAuth2{Provider: g.Provider, Auth: shownAuth{g.User}, Scopes: g.Scopes, Missing: g.Missing, Unknown: g.Intent != nil && g.Intent.Lost},
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

// updateRequest is the body of PUT /v1/account/{account}. What is absent stays,
// with oauth2.partial and without: a grant is never taken away by an update.
type updateRequest struct {
	Name   string `json:"name"`
	Email  string `json:"email"`
	OAuth2 struct {
		oauth2Fields
		Partial bool `json:"partial"`
	} `json:"oauth2"`
	mailFields
}

func (a *App) updateAccount(s *service, r *http.Request) (any, error) {
	var body updateRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	if err := refuseFields(body); err != nil {
		return nil, err
	}
	id, fields := r.PathValue("account"), &body.OAuth2.oauth2Fields
	user := fields.Auth.User
	if user == "" {
		user = body.Email
	}
	if fields.RefreshToken == "" {
		if err := onlyWithGrant(fields); err != nil {
			return nil, err
		}
		return answer("account", id), s.broker.Rename(r.Context(), id, body.Name, user)
	}
	known, err := grantOf(r.Context(), s, id)
	if err != nil {
		return nil, err
	}
	if fields.Provider == "" {
		fields.Provider = known.Provider
	}
	if _, ok := a.run.providers[fields.Provider]; !ok {
		return nil, a.unknownProvider("oauth2.provider")
	}
	if fields.Scopes == nil && body.OAuth2.Partial {
		fields.Scopes = known.Scopes
	}
	registration, err := fields.registration(id, fields.Provider, body.Name, user)
	if err != nil {
		return nil, err
	}
	return answer("account", id), s.broker.Replace(r.Context(), registration)
}

// onlyWithGrant refuses what belongs to a grant where there is none.
func onlyWithGrant(f *oauth2Fields) error {
	for _, field := range []struct {
		name  string
		given bool
	}{
		{"provider", f.Provider != ""},
		{"accessToken", f.AccessToken != ""},
		{"expires", !f.Expires.IsZero()},
		{"scopes", f.Scopes != nil},
		{"redirectUrl", f.RedirectURL != ""},
		{"authorize", f.Authorize},
	} {
		if field.given {
			return problem.New(problem.InvalidRequest, "oauth2."+field.name+": goes with oauth2.refreshToken; to have a person consent anew, use POST /v1/account or POST "+formPath)
		}
	}
	return nil
}

// reconnectAccount has an account tried at once, whatever failed before.
func (a *App) reconnectAccount(s *service, r *http.Request) (any, error) {
	var body struct {
		Reconnect bool `json:"reconnect"`
	}
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	if !body.Reconnect {
		return answer("reconnect", false), nil
	}
	if _, err := s.broker.Reconnect(r.Context(), r.PathValue("account")); err != nil {
		return nil, err
	}
	return answer("reconnect", true), nil
}

func (a *App) deleteAccount(s *service, r *http.Request) (any, error) {
	id := r.PathValue("account")
	revoke, err := yesOrNo(r, "revoke")
	if err != nil {
		return nil, err
	}
	all, err := yesOrNo(r, "all")
	if err != nil {
		return nil, err
	}
	if revoke && !all {
		if err := a.refuseToRevokeOthers(r.Context(), s, id); err != nil {
			return nil, err
		}
	}
	if err := s.broker.Remove(r.Context(), id, revoke); err != nil {
		return nil, err
	}
	if err := removeKeysOf(r.Context(), s, id); err != nil {
		return nil, err
	}
	return answer("account", id, "deleted", true, "revoked", revoke), nil
}

// yesOrNo reads a yes or no of the query. What is neither is no "no": a grant that
// was to be revoked would be forgotten instead.
func yesOrNo(r *http.Request, name string) (bool, error) {
	switch r.URL.Query().Get(name) {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	}
	return false, problem.New(problem.InvalidRequest, name+": must be true or false")
}

// removeKeysOf forgets the keys that are bound to an account by name: they must
// not open another one that is called so one day.
func removeKeysOf(ctx context.Context, s *service, id string) error {
	if err := s.keys.Reload(ctx); err != nil { // another node may just have made one
		return problem.New(problem.StoreUnavailable, "The account is removed, and keys that are bound to it may not be: look for them with `oauth key list`").Because(err)
	}
	for _, key := range s.keys.List() {
		if bound, ok := key.Account(); !ok || bound != id {
			continue
		}
		if _, err := s.keys.Remove(ctx, key.Hash); err != nil {
			return problem.New(problem.StoreUnavailable, "The account is removed, and key "+key.Name+", which is bound to it, could not be: remove it with `oauth key remove`").Because(err)
		}
	}
	return nil
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
		// Two providers may be one client under two names.
		if a.emailEngineType(summary.Provider) != "gmail" || summary.ID == id {
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
	acct, err := s.broker.Account(r.Context(), id)
	if err != nil {
		return nil, err
	}
	if acct.State == account.Restored { // its token would be served, and nothing renewed
		return nil, problem.New(problem.Conflict, "Account came from a backup or an import and is not renewed: adopt it when the old instance is gone (`oauth account adopt`)")
	}
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
	return answer("total", total, "pages", pageCount(total, list.size), "page", list.page,
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
	list = accountList{state: query.Get("state"), provider: query.Get("provider"), query: strings.ToLower(query.Get("query"))}
	if list.state == "*" {
		list.state = ""
	}
	if list.state != "" && !slices.Contains(account.States, account.State(list.state)) {
		return list, problem.New(problem.InvalidRequest, fmt.Sprintf("state: must be one of %v", account.States))
	}
	list.page, list.size, err = parsePage(query)
	return list, err
}

// parsePage reads which page of a list is asked for, and how long it is.
func parsePage(query url.Values) (page, size int, err error) {
	if page, err = pageNumber(query, "page", 0, 0, math.MaxInt32); err != nil {
		return 0, 0, err
	}
	size, err = pageNumber(query, "pageSize", defaultPageSize, 1, maxPageSize)
	return page, size, err
}

// pageCount is how many pages a list has.
func pageCount(total, size int) int { return (total + size - 1) / size }

// pageOf is one page of a list.
func pageOf[T any](list []T, page, size int) []T {
	return list[min(page*size, len(list)):min((page+1)*size, len(list))]
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
