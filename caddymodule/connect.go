package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/pages"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// The paths of a site with `connect`.
const (
	connectPrefix = "/connect/" // a sealed link follows
	withdrawPath  = "/connect/withdraw"
	callbackPath  = "/oauth/callback"
)

// maxConnectForm bounds the forms that people send.
const maxConnectForm = 64 << 10

// connect serves consent at one site: the links that people open, and the
// redirect that they come back to.
type connect struct {
	app *App
	// name is what people are told that they connect to.
	name string
	// returns are where they may be sent afterwards.
	returns []returnPattern
}

// newConnect makes what a site's configuration says.
func newConnect(a *App, cfg *Connect) (*connect, error) {
	if a.run.publicURL == nil {
		return nil, errors.New("connect: needs public_url: write the URL at which people reach this site into the `bellhop` global option")
	}
	resolve := newResolver()
	c := &connect{app: a, name: a.run.publicURL.Host}
	var err error
	if cfg.AppName != "" {
		if c.name, err = resolve.one("connect", "app_name", cfg.AppName); err != nil {
			return nil, err
		}
	}
	patterns, err := resolve.all("connect", "return_to", cfg.ReturnTo)
	if err != nil {
		return nil, err
	}
	for _, pattern := range patterns {
		p, err := parseReturnPattern(pattern)
		if err != nil {
			return nil, fmt.Errorf("connect: return_to: %w", err)
		}
		c.returns = append(c.returns, p)
	}
	return c, nil
}

// addConnect lets the management API know where people may be sent.
func (a *App) addConnect(c *connect) {
	a.run.used.mu.Lock()
	defer a.run.used.mu.Unlock()
	a.run.used.connects = append(a.run.used.connects, c)
}

// provisionPublicURL expands the URL that links and redirect URIs begin with.
func (a *App) provisionPublicURL(resolve resolver) error {
	text, err := resolve.optional("bellhop", "public_url", a.PublicURL)
	if err != nil || text == "" {
		return err
	}
	if err := checkPublicURL(text); err != nil {
		return fmt.Errorf("public_url: %w", err)
	}
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("public_url: %w", err)
	}
	a.run.publicURL = &url.URL{Scheme: u.Scheme, Host: authority(u)}
	return nil
}

// linkURL is where a sealed link is opened. There must be a public URL.
func (a *App) linkURL(sealed string) string { return a.run.publicURL.String() + connectPrefix + sealed }

// redirectURI is where consent in a browser comes back to (RFC 6749 section
// 3.1.2). There must be a public URL.
func (a *App) redirectURI() string { return a.run.publicURL.String() + callbackPath }

// isConnectPath reports whether a path is one of consent's.
func isConnectPath(path string) bool {
	return strings.HasPrefix(path, connectPrefix) || path == callbackPath
}

// visit is one request of a person's browser, or of a scanner that reads their
// mail.
type visit struct {
	*connect
	*call
	w       http.ResponseWriter
	r       *http.Request
	service *service
	consent *consent.Service
}

// serve serves consent.
func (c *connect) serve(w http.ResponseWriter, r *http.Request) {
	v := &visit{connect: c, call: &call{route: "connect"}, r: r}
	w, done := c.app.record(w, r, v.call)
	defer done()
	v.w = w
	pages.SetHeader(w.Header())
	path, serve, allowed := v.endpoint()
	v.path = path
	if !slices.Contains(allowed, r.Method) {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		c.app.refuse(w, r, v.call, problem.New(problem.MethodNotAllowed, "Method Not Allowed"), dialectEmailEngine)
		return
	}
	var err error
	if v.service, err = c.app.run.open(); err == nil {
		v.consent = c.app.consent(v.service)
		err = serve()
	}
	if err != nil {
		v.refuse(err)
	}
}

// endpoint is what the request is for: a path without secrets, for the audit,
// who serves it, and the methods that it takes.
func (v *visit) endpoint() (path string, serve func() error, allowed []string) {
	switch path = v.r.URL.EscapedPath(); path {
	case withdrawPath:
		return withdrawPath, v.withdraw, []string{http.MethodPost}
	case callbackPath:
		return callbackPath, v.callback, []string{http.MethodGet}
	}
	if v.r.Method == http.MethodPost {
		return connectPrefix, v.begin, []string{http.MethodGet, http.MethodHead, http.MethodPost}
	}
	return connectPrefix, v.invite, []string{http.MethodGet, http.MethodHead, http.MethodPost}
}

// open reads the link in the path. It changes nothing.
func (v *visit) open() (*consent.Link, error) {
	link, err := v.consent.Open(v.r.Context(), strings.TrimPrefix(v.r.URL.EscapedPath(), connectPrefix))
	if err != nil {
		return nil, err
	}
	v.account, v.provider = link.Account, link.Provider
	// A form was read before. Of what else is sent nothing is read but the query.
	if v.r.Form == nil {
		v.r.Form = v.r.URL.Query()
	}
	if v.r.Form.Get("admin") == "" || link.Admin {
		return link, nil
	}
	if named := v.named(link.Provider); named.Type != provider.TypeMicrosoft {
		return nil, &consent.Refusal{
			Reason: consent.LinkInvalid,
			Reads:  "Administrators approve apps at Microsoft only, and this link is for " + named.String() + ".",
			Mend:   "Open the link without what follows the question mark.",
		}
	}
	// The person's own link must not be used up by their administrator.
	link.ID, link.Admin = link.ID+".admin", true
	return link, nil
}

// invite shows who asks for what. Whoever only looks changes nothing.
func (v *visit) invite() error {
	link, err := v.open()
	if err != nil {
		return err
	}
	page := pages.Invite{
		App: v.name, Provider: v.named(link.Provider), Account: link.Account, Name: link.Name,
		Expected: link.ExpectedEmail, Domain: link.ExpectedDomain,
		Scopes: link.Scopes, Confirm: link.Confirm, Admin: link.Admin,
		Action: v.r.URL.EscapedPath(), Expires: link.Expires,
	}
	if link.AnyMailbox || link.ExpectedEmail != "" || link.ExpectedDomain != "" || !consent.IsAddress(link.Email) {
		page.Suggested = link.Email
	} else {
		page.Expected = link.Email
	}
	if len(page.Scopes) == 0 {
		page.Scopes = v.app.run.providers[link.Provider].Scopes()
	}
	v.result = "opened"
	pages.Write(v.w, http.StatusOK, page)
	return nil
}

// begin sends the person on to the provider.
func (v *visit) begin() error {
	if err := v.readForm(); err != nil {
		return err
	}
	link, err := v.open()
	if err != nil {
		return err
	}
	begun, err := v.consent.Begin(v.r.Context(), link, v.app.redirectURI())
	if err != nil {
		return err
	}
	v.forgetAttempts()
	v.setCookie(begun.State, begun.Attempt.Reveal(), max(1, int(begun.Expires.Sub(clock.Now()).Seconds())))
	v.result = "begun"
	v.redirect(begun.AuthorizeURL)
	return nil
}

// statePattern is what a state of ours looks like, and what may be part of a
// cookie's name.
var statePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{16,128}$`)

// callback takes the provider's answer, if this browser began the attempt.
func (v *visit) callback() error {
	answer, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil || len(answer["state"]) != 1 || !statePattern.MatchString(answer.Get("state")) {
		return attemptMissing
	}
	state := answer.Get("state")
	attempt, err := v.r.Cookie(v.cookiePrefix() + state)
	if err != nil {
		return attemptMissing // and it can still be finished where it began
	}
	v.setCookie(state, "", -1)
	outcome, err := v.consent.Finish(v.r.Context(), attempt.Value, answer)
	if err != nil {
		return err
	}
	v.finished(outcome)
	return nil
}

var attemptMissing = &consent.Refusal{
	Reason: consent.AttemptMissing,
	Reads:  "This answer belongs to an attempt that this browser did not begin, or that has come to its end.",
	Mend:   "If you were told that the account is connected, it is. Otherwise open the link again, and finish in the same browser, with cookies allowed.",
}

// maxAttempts is how many attempts of one browser are kept: all of their
// cookies come with each request, and proxies bound what may come.
const maxAttempts = 4

// forgetAttempts gives up the attempts of a browser that has begun too many.
func (v *visit) forgetAttempts() {
	prefix := v.cookiePrefix()
	begun := slices.DeleteFunc(v.r.Cookies(), func(c *http.Cookie) bool {
		state, ours := strings.CutPrefix(c.Name, prefix)
		return !ours || !statePattern.MatchString(state)
	})
	if len(begun) < maxAttempts {
		return
	}
	for _, c := range begun {
		v.setCookie(strings.TrimPrefix(c.Name, prefix), "", -1)
	}
}

// setCookie sets or deletes the cookie that binds the state of an attempt to
// this browser.
func (v *visit) setCookie(state, value string, maxAge int) {
	http.SetCookie(v.w, &http.Cookie{ //nolint:gosec // Secure but on plain http, which is loopback's alone
		Name: v.cookiePrefix() + state, Value: value, MaxAge: maxAge,
		Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: v.overTLS(),
	})
}

// cookiePrefix begins the names of the cookies. Browsers take __Host- over TLS
// alone.
func (v *visit) cookiePrefix() string {
	if v.overTLS() {
		return "__Host-bellhop-"
	}
	return "bellhop-"
}

func (v *visit) overTLS() bool { return v.app.run.publicURL.Scheme == "https" }

// finished sends the person to where the link leads. They stay on a page of
// ours if it leads nowhere, and if they have to be told what is missing.
func (v *visit) finished(o *consent.Outcome) {
	v.account, v.provider = o.Link.Account, o.Link.Provider
	v.result = outcomeName(o)
	metrics.consents.WithLabelValues(v.provider, v.result).Inc()
	next := ""
	if o.Link.ReturnTo != "" && !o.AdminConsent {
		if err := v.app.checkReturnTo(o.Link.ReturnTo); err != nil {
			v.app.run.log.Warn("not sending a browser on", zap.String("account", v.account), zap.Error(err))
		} else {
			next = returnURL(o)
		}
	}
	if next != "" && len(o.Missing) == 0 {
		v.redirect(next)
		return
	}
	page := pages.Done{
		App: v.name, Provider: v.named(v.provider), Account: v.account, Label: o.Link.Name,
		Email: o.Identity.Email, Name: o.Identity.Name, Granted: o.Granted, Missing: o.Missing,
		New: o.New, Pending: o.Pending, Admin: o.AdminConsent, Continue: next,
	}
	if !o.Undo.IsZero() {
		page.Undo, page.WithdrawPath = o.Undo.Reveal(), withdrawPath
	}
	pages.Write(v.w, http.StatusOK, page)
}

// outcomeName is what metrics and audit call an outcome.
func outcomeName(o *consent.Outcome) string {
	switch {
	case o.AdminConsent:
		return "admin_consented"
	case o.Pending:
		return "pending"
	}
	return "connected"
}

// returnURL tells the operator's application what became of the link.
func returnURL(o *consent.Outcome) string {
	u, err := url.Parse(o.Link.ReturnTo)
	if err != nil {
		return "" // checkReturnTo would not have let it through
	}
	query := u.Query()
	query.Set("account", o.Link.Account)
	query.Del("confirm")
	switch {
	case o.Pending:
		query.Set("state", "pending")
		query.Set("confirm", o.Confirm.Reveal())
	case o.New:
		query.Set("state", "new")
	default:
		query.Set("state", "existing")
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// withdraw is for the person who says "this was not me".
func (v *visit) withdraw() error {
	if err := v.readForm(); err != nil {
		return err
	}
	id, err := v.consent.Withdraw(v.r.Context(), v.r.PostForm.Get("undo"))
	if err != nil {
		return err
	}
	page := pages.Withdrawn{App: v.name, Account: id}
	if g, err := v.service.broker.Grant(v.r.Context(), id); err == nil {
		v.provider, page.Provider = g.Provider, v.named(g.Provider)
	}
	v.account, v.result = id, "withdrawn"
	metrics.consents.WithLabelValues(v.provider, v.result).Inc()
	pages.Write(v.w, http.StatusOK, page)
	return nil
}

// readForm reads a form that one of our own pages sent. Another site's must not
// begin anything: its visitors would not see who asks for what.
func (v *visit) readForm() error {
	site, origin := v.r.Header.Get("Sec-Fetch-Site"), v.r.Header.Get("Origin")
	// Who says "null" hides where they are from; only Sec-Fetch-Site helps then.
	own := site == "same-origin" || site == "none" || site == "" && origin != "null"
	if !own || origin != "" && origin != "null" && origin != v.app.run.publicURL.String() {
		return &consent.Refusal{
			Reason: pages.OtherOrigin,
			Reads:  "Another site sent this form, or your browser is too old to say that it was not so.",
			Mend:   "Open the link that was sent to you and go on from there, in a browser that is up to date.",
		}
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxConnectForm)
	if err := v.r.ParseForm(); err != nil {
		return &consent.Refusal{Reason: consent.LinkInvalid, Reads: "The form could not be read.", Mend: "Open the link again.", Err: err}
	}
	return nil
}

func (v *visit) redirect(to string) {
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
}

// named is a provider as people are told of it.
func (v *visit) named(name string) pages.Provider {
	named := pages.Provider{Name: name}
	if p, ok := v.app.run.providers[name]; ok {
		named.Type = p.Type()
	}
	return named
}

// refusalAnswers are the status and the code of each refusal.
var refusalAnswers = map[consent.Reason]struct {
	status int
	code   problem.Code
}{
	consent.LinkInvalid:     {http.StatusNotFound, "LinkInvalid"},
	consent.LinkExpired:     {http.StatusGone, "LinkExpired"},
	consent.LinkSpent:       {http.StatusGone, "LinkSpent"},
	consent.AttemptMissing:  {http.StatusBadRequest, "AttemptMissing"},
	consent.AttemptExpired:  {http.StatusBadRequest, "AttemptExpired"},
	consent.Declined:        {http.StatusForbidden, "Declined"},
	consent.AdminNeeded:     {http.StatusForbidden, "AdminNeeded"},
	consent.OtherMailbox:    {http.StatusForbidden, "OtherMailbox"},
	consent.MailboxUnproven: {http.StatusForbidden, "MailboxUnproven"},
	consent.AccountTaken:    {http.StatusConflict, "AccountTaken"},
	consent.ProviderRefused: {http.StatusBadGateway, problem.ProviderError},
	consent.ProviderFailed:  {http.StatusServiceUnavailable, problem.ProviderUnavailable},
	consent.NotConfigured:   {http.StatusInternalServerError, problem.ProviderMisconfigured},
	consent.StoreFailed:     {http.StatusServiceUnavailable, problem.StoreUnavailable},
	pages.OtherOrigin:       {http.StatusForbidden, problem.NotAllowed},
}

// refuse shows why it went no further, and the click that mends it.
func (v *visit) refuse(err error) {
	if v.r.Context().Err() != nil {
		v.w.WriteHeader(statusClientClosed) // nobody reads it but the logs
		return
	}
	refusal, ok := errors.AsType[*consent.Refusal](err)
	if !ok {
		refusal = &consent.Refusal{Reason: consent.StoreFailed, Reads: "Bellhop cannot get at what it keeps just now.", Mend: "Try again in a moment.", Err: err}
	}
	page := pages.Refused{App: v.name, Reason: string(refusal.Reason), Reads: refusal.Reads, Mend: refusal.Mend}
	if link := refusal.Link; link != nil {
		v.account, v.provider = cmp.Or(v.account, link.Account), link.Provider
		v.offerAgain(&page, link, refusal.Reason)
	}
	page.Provider = v.named(v.provider)
	if f := refusal.Failure; f != nil && f.Code != "" {
		page.Said = f.Name()
	}
	v.result = string(refusal.Reason)
	if v.path != connectPrefix || v.r.Method == http.MethodPost { // a look is no attempt
		metrics.consents.WithLabelValues(v.provider, v.result).Inc()
	}
	answer, ok := refusalAnswers[refusal.Reason]
	if !ok {
		answer.status, answer.code = http.StatusBadRequest, problem.InvalidRequest
	}
	v.problem = &problem.Problem{Code: answer.code, Status: answer.status, Message: refusal.Reads, Err: refusal.Err}
	if refusal.Err != nil && answer.status >= http.StatusInternalServerError {
		v.app.run.log.Error("connecting an account", zap.String("account", v.account), zap.String("provider", v.provider),
			zap.String("result", v.result), zap.Error(refusal.Err))
	}
	hangUp(v.w, v.r)
	v.w.Header().Set("Bellhop-Error", string(answer.code))
	pages.Write(v.w, answer.status, page)
}

// offerAgain puts the link of a refused attempt on the page, where it is still
// good, and for an administrator the one to approve with.
func (v *visit) offerAgain(page *pages.Refused, link *consent.Link, reason consent.Reason) {
	sealed, err := v.consent.Invite(v.r.Context(), *link)
	if err != nil {
		return // it has ended meanwhile
	}
	page.Again = v.app.linkURL(sealed)
	if reason == consent.AdminNeeded && !link.Admin {
		page.AdminLink = page.Again + "?admin=1"
	}
}
