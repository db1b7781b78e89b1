package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// consent is the consent service of this configuration.
func (a *App) consent(s *service) *consent.Service {
	return consent.New(consent.Config{
		Provider: func(name string) (provider.Provider, bool) {
			p, ok := a.run.providers[name]
			return p, ok
		},
		Accounts: s.broker,
		Spent:    s.vault,
		Discard:  a.discard,
		Links:    s.keyset.Sealer(secret.Links),
		States:   s.keyset.Sealer(secret.State),
		Clock:    clock,
	})
}

// discarding bounds the return of tokens that nobody keeps.
const discarding = 30 * time.Second

// discard gives tokens back that came for somebody else than was expected. It
// is done beside the answer, and once: the person can end the grant, too.
func (a *App) discard(p provider.Provider, c account.Consent) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), discarding)
		defer cancel()
		if left := provider.Discard(ctx, p, c); left != "" {
			a.run.log.Info("tokens of a refused consent were not given back: "+left, zap.String("provider", p.Name()))
		}
	}()
}

// connectRequest is the body of POST /v1/connect and POST /v1/connect/device.
type connectRequest struct {
	Provider string `json:"provider"`
	// Account may be left out: the account is then called by the address that
	// the consent proves.
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`
	// Email is the login that is suggested, and expected where nothing else is.
	Email          string   `json:"email,omitempty"`
	ExpectedEmail  string   `json:"expectedEmail,omitempty"`
	ExpectedDomain string   `json:"expectedDomain,omitempty"`
	AnyMailbox     bool     `json:"anyMailbox,omitempty"`
	Scopes         []string `json:"scopes,omitempty"`
	// Admin asks an administrator to consent for the tenant (Microsoft).
	Admin bool `json:"admin,omitempty"`
	// Port is that of the redirect URI, on the loopback interface of the machine
	// where the browser runs. Not for device codes.
	Port int `json:"port,omitempty"`
}

// begunConnect is the answer of POST /v1/connect.
type begunConnect struct {
	// AuthorizeURL is where the person consents.
	AuthorizeURL string `json:"authorizeUrl"`
	// RedirectURI is where they come back to with the answer, whose state is
	// State.
	RedirectURI string `json:"redirectUri"`
	State       string `json:"state"`
	// Register is what the client's registration at the provider must allow.
	Register string `json:"register"`
	// ProviderType is the type of provider.
	ProviderType string `json:"providerType"`
	// Attempt is the attempt itself, for POST /v1/connect/finish: whoever has
	// it and the answer finishes it.
	Attempt string    `json:"attempt"`
	Expires time.Time `json:"expires"`
}

// begunDevice is the answer of POST /v1/connect/device.
type begunDevice struct {
	UserCode                string `json:"userCode"`
	VerificationURI         string `json:"verificationUri"`
	VerificationURIComplete string `json:"verificationUriComplete,omitempty"`
	ProviderType            string `json:"providerType"`
	Attempt                 string `json:"attempt"`
	// ExpiresIn and Interval are in seconds (RFC 8628 section 3.2).
	ExpiresIn int64     `json:"expiresIn"`
	Expires   time.Time `json:"expires"`
	Interval  int64     `json:"interval"`
}

// connected is a consent that was accepted, and the answer of POST
// /v1/connect/finish and POST /v1/connect/poll.
type connected struct {
	Account string `json:"account,omitempty"`
	// State is "new" or "existing", or "consented" for an administrator's
	// consent, of which no account comes.
	State string `json:"state"`
	// AccountState is where the account stands now.
	AccountState account.State `json:"accountState,omitempty"`
	App          string        `json:"app"`
	ProviderType string        `json:"providerType"`
	// User and Name are the person's, as the provider writes them.
	User    string   `json:"user,omitempty"`
	Name    string   `json:"name,omitempty"`
	Granted []string `json:"granted"`
	Missing []string `json:"missing,omitempty"`
}

// undecided is the answer of POST /v1/connect/poll while the person has not
// consented: come back after as long as last time, and with SlowDown from then
// on after five seconds more (RFC 8628 section 3.5).
type undecided struct {
	Pending  bool `json:"pending"`
	SlowDown bool `json:"slowDown,omitempty"`
}

// link makes the link that the operator asks for, and opens it.
func (c *connectRequest) link(ctx context.Context, service *consent.Service) (*consent.Link, error) {
	if target.MentionsKey(c.Account) {
		return nil, problem.New(problem.InvalidRequest, "account: "+errKeyForAccount.Error())
	}
	sealed, err := service.Invite(ctx, consent.Link{
		Account: c.Account, Provider: c.Provider, Name: c.Name, Email: c.Email,
		ExpectedEmail: c.ExpectedEmail, ExpectedDomain: c.ExpectedDomain, AnyMailbox: c.AnyMailbox,
		Scopes: c.Scopes, Admin: c.Admin,
	})
	if err != nil {
		return nil, err
	}
	return service.Open(ctx, sealed)
}

func (a *App) beginConnect(s *service, r *http.Request) (any, error) {
	var body connectRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	if body.Port < 1 || body.Port > 65535 {
		return nil, problem.New(problem.InvalidRequest, "port: must be a port of the machine where the browser runs, from 1 to 65535")
	}
	c := callOf(r.Context())
	c.account, c.provider = body.Account, body.Provider
	service := a.consent(s)
	link, err := body.link(r.Context(), service)
	if err != nil {
		return nil, a.refusedConsent(c, err)
	}
	p := a.run.providers[link.Provider]
	redirectURI := loopbackRedirect(p.Type(), body.Port)
	begun, err := service.Begin(r.Context(), link, redirectURI)
	if err != nil {
		return nil, a.refusedConsent(c, err)
	}
	return begunConnect{
		AuthorizeURL: begun.AuthorizeURL, RedirectURI: redirectURI, State: begun.State,
		Register: register(p.Type(), redirectURI), ProviderType: p.Type(),
		Attempt: begun.Attempt.Reveal(), Expires: begun.Expires,
	}, nil
}

// loopbackRedirect is the redirect URI of a command that listens (RFC 8252
// section 7.3). Microsoft takes any port for localhost alone ("Redirect URI
// (reply URL) best practices and limitations").
func loopbackRedirect(providerType string, port int) string {
	host := "127.0.0.1"
	if providerType == provider.TypeMicrosoft {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port)) + callbackPath
}

// register says what the client's registration must allow for a redirect URI.
func register(providerType, redirectURI string) string {
	switch providerType {
	case provider.TypeGoogle:
		return "At Google, the client is of the type \"Desktop app\", which takes this redirect URI as it is. " +
			"For a \"Web application\", add exactly " + redirectURI + " to its authorized redirect URIs, and keep the port with --port. Either needs its client_secret."
	case provider.TypeMicrosoft:
		return "At Microsoft, the app registration has the redirect URI http://localhost" + callbackPath + " under Authentication (for localhost the port does not matter): " +
			"for the platform \"Web\", if the provider here has a client_secret or client_certificate; for \"Mobile and desktop applications\", if it has none (auth_style none). The other platform is refused."
	}
	return "The client's registration has to allow the redirect URI " + redirectURI + "; --port keeps it the same."
}

// finishRequest is the body of POST /v1/connect/finish and POST
// /v1/connect/poll.
type finishRequest struct {
	Attempt string `json:"attempt"`
	// Answer is the query that the person came back with. Not for device codes.
	Answer string `json:"answer,omitempty"`
}

func (a *App) finishConnect(s *service, r *http.Request) (any, error) {
	var body finishRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	answer, err := url.ParseQuery(strings.TrimPrefix(body.Answer, "?"))
	if err != nil {
		// What the error says could quote the code.
		return nil, problem.New(problem.InvalidRequest, "answer: is not the query of an address")
	}
	o, err := a.consent(s).Finish(r.Context(), body.Attempt, answer)
	return a.judged(callOf(r.Context()), o, err)
}

func (a *App) beginDevice(s *service, r *http.Request) (any, error) {
	var body connectRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	if body.Admin || body.Port != 0 {
		return nil, problem.New(problem.InvalidRequest, "admin, port: are not for device codes")
	}
	c := callOf(r.Context())
	c.account, c.provider = body.Account, body.Provider
	service := a.consent(s)
	link, err := body.link(r.Context(), service)
	if err != nil {
		return nil, a.refusedConsent(c, err)
	}
	begun, err := service.BeginDevice(r.Context(), link)
	if err != nil {
		return nil, a.refusedConsent(c, err)
	}
	return begunDevice{
		UserCode: begun.UserCode, VerificationURI: begun.VerificationURI, VerificationURIComplete: begun.VerificationURIComplete,
		ProviderType: a.run.providers[link.Provider].Type(), Attempt: begun.Attempt.Reveal(),
		ExpiresIn: int64(begun.Expires.Sub(clock.Now()).Seconds()), Expires: begun.Expires.UTC(), Interval: int64(begun.Interval.Seconds()),
	}, nil
}

func (a *App) pollDevice(s *service, r *http.Request) (any, error) {
	var body finishRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	o, err := a.consent(s).PollDevice(r.Context(), body.Attempt)
	if refusal, ok := errors.AsType[*consent.Refusal](err); ok && refusal.Reason == consent.Undecided {
		return undecided{Pending: true, SlowDown: refusal.Failure.Code == "slow_down"}, nil
	}
	return a.judged(callOf(r.Context()), o, err)
}

// judged is the answer to the end of an attempt.
func (a *App) judged(c *call, o *consent.Outcome, err error) (any, error) {
	if err != nil {
		return nil, a.refusedConsent(c, err)
	}
	c.account, c.provider = o.Link.Account, o.Link.Provider
	metrics.consents.WithLabelValues(c.provider, outcomeName(o)).Inc()
	answer := connected{
		Account: o.Link.Account, State: "existing", AccountState: o.State, App: o.Link.Provider,
		User: o.Identity.Email, Name: o.Identity.Name, Granted: o.Granted, Missing: o.Missing,
	}
	if p, ok := a.run.providers[o.Link.Provider]; ok {
		answer.ProviderType = p.Type()
	}
	switch {
	case o.AdminConsent:
		answer.State = "consented"
	case o.New:
		answer.State = "new"
	}
	return answer, nil
}

// refusedConsent puts a refusal into the words of the management API.
func (a *App) refusedConsent(c *call, err error) error {
	refusal, ok := errors.AsType[*consent.Refusal](err)
	if !ok {
		return err
	}
	if refusal.Link != nil {
		c.account, c.provider = refusal.Link.Account, refusal.Link.Provider
	}
	label := c.provider
	if _, ok := a.run.providers[label]; !ok {
		label = "" // whoever asks must not fill the metrics
	}
	metrics.consents.WithLabelValues(label, string(refusal.Reason)).Inc()
	p := &problem.Problem{Code: problem.InvalidRequest, Status: http.StatusBadRequest, Message: refusal.Reads, Err: refusal}
	if known, ok := refusalAnswers[refusal.Reason]; ok {
		p.Code, p.Status = known.code, known.status
	}
	if refusal.Mend != "" {
		p.Message += " " + refusal.Mend
	}
	if f := refusal.Failure; f != nil && f.Code+f.Number != "" && !strings.Contains(p.Message, f.Name()) {
		p.Message += fmt.Sprintf(" (The provider says %s.)", f.Name())
	}
	if refusal.Failure != nil {
		p.RetryAfter = refusal.Failure.RetryAfter
	}
	return p.With("reason", refusal.Reason)
}

// confirmRequest is the body of PUT /v1/account/{account}/confirm.
type confirmRequest struct {
	Confirm string `json:"confirm"`
}

// confirmAccount puts a pending consent in its place, for who knows which
// person sat at the browser.
func (a *App) confirmAccount(s *service, r *http.Request) (any, error) {
	var body confirmRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	if body.Confirm == "" {
		return nil, problem.New(problem.InvalidRequest, "confirm: is missing; the browser came back with it")
	}
	id := r.PathValue("account")
	if err := s.broker.Confirm(r.Context(), id, secret.New(body.Confirm)); err != nil {
		return nil, err
	}
	return standing(s, r, id)
}

// adoptAccount lets a restored account be renewed: the instance that it came
// from is gone.
func (a *App) adoptAccount(s *service, r *http.Request) (any, error) {
	id := r.PathValue("account")
	if err := s.broker.Adopt(r.Context(), id); err != nil {
		return nil, err
	}
	return standing(s, r, id)
}

// standing says where an account stands now.
func standing(s *service, r *http.Request, id string) (any, error) {
	g, err := s.broker.Grant(r.Context(), id)
	if err != nil {
		return nil, err
	}
	return answer("account", id, "state", g.State), nil
}
