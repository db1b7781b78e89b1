package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// formPath is where applications ask for links that people consent by. A key
// with `connect` will do for it, and to confirm what comes of a link.
const formPath = "/v1/authentication/form"

// formRequest is the body of POST /v1/authentication/form.
type formRequest struct {
	// Account is made up where it is null.
	Account        string `json:"account"`
	Name           string `json:"name"`
	Email          string `json:"email"`
	ExpectedEmail  string `json:"expectedEmail"`
	ExpectedDomain string `json:"expectedDomain"`
	AnyMailbox     bool   `json:"anyMailbox"`
	// Confirm has the consent wait until the application confirms it.
	Confirm     bool   `json:"confirm"`
	RedirectURL string `json:"redirectUrl"`
	// Type is the provider's name.
	Type   string   `json:"type"`
	Scopes []string `json:"scopes"`
	mailFields
	Delegated refusedField `json:"delegated,omitzero"`
}

// authenticationForm makes a link by which a person connects an account.
func (a *App) authenticationForm(s *service, r *http.Request) (any, error) {
	var body formRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	if err := refuseFields(body); err != nil {
		return nil, err
	}
	if err := checkEmail(body.Email); err != nil {
		return nil, err
	}
	if body.Account == "" {
		body.Account = newAccountID()
	}
	caller := callOf(r.Context()).caller
	facts := policy.Facts{Account: body.Account, Needs: policy.Connect, Client: clientAddr(r), Now: clock.Now()}
	if err := policy.Judge(caller, &facts).Problem(); err != nil {
		return nil, err
	}
	// A consent would take the place of an account that is there unregistered.
	if known, err := s.broker.Account(r.Context(), body.Account); err == nil && !known.Registered {
		facts.Unregistered = true
		if err := policy.Judge(caller, &facts).Problem(); err != nil {
			return nil, err
		}
	}
	if body.Confirm && body.RedirectURL == "" {
		return nil, problem.New(problem.InvalidRequest, "confirm: needs redirectUrl, which is told what confirms the consent")
	}
	if body.Type == "" {
		body.Type = a.onlyAttended()
	}
	link, err := a.invite(r.Context(), s, consent.Link{
		Account: body.Account, Provider: body.Type, Name: body.Name, Email: body.Email,
		ExpectedEmail: body.ExpectedEmail, ExpectedDomain: body.ExpectedDomain, AnyMailbox: body.AnyMailbox,
		Scopes: body.Scopes, Confirm: body.Confirm, ReturnTo: body.RedirectURL,
	}, "type", "redirectUrl")
	if err != nil {
		return nil, err
	}
	callOf(r.Context()).account = body.Account
	return answer("url", link), nil
}

// checkEmail refuses what is meant to say whose consent is expected and cannot:
// the link would take anybody's.
func checkEmail(email string) error {
	if email != "" && !consent.IsAddress(email) {
		return problem.New(problem.InvalidRequest, fmt.Sprintf("email: %q is not an e-mail address", email))
	}
	return nil
}

// onlyAttended is the provider of a configuration that has one which people
// consent to; empty where there are several, or none.
func (a *App) onlyAttended() string {
	name := ""
	for _, p := range a.run.providers {
		if _, ok := p.(provider.Attended); !ok {
			continue
		}
		if name != "" {
			return ""
		}
		name = p.Name()
	}
	return name
}

// invite makes the URL of a link. The names are those of the request's fields
// that say the link's provider and where it leads afterwards.
func (a *App) invite(ctx context.Context, s *service, l consent.Link, providerField, returnField string) (string, error) {
	if target.MentionsKey(l.Account) {
		return "", problem.New(problem.InvalidRequest, "account: "+errKeyForAccount.Error())
	}
	if _, ok := a.run.providers[l.Provider]; !ok {
		return "", a.unknownProvider(providerField)
	}
	if !a.servesConsent() {
		return "", &problem.Problem{
			Code: "MissingServiceURLSetup", Status: http.StatusInternalServerError,
			Message: "No site of the configuration serves consent: write `public_url <url>` into the `bellhop` global option, and `connect` into the `bellhop` of the site there",
		}
	}
	if l.ReturnTo != "" {
		if err := a.checkReturnTo(l.ReturnTo); err != nil {
			return "", problem.New(problem.InvalidRequest, returnField+": "+err.Error())
		}
	}
	sealed, err := a.consent(s).Invite(ctx, l)
	if err != nil {
		return "", err
	}
	return a.linkURL(sealed), nil
}

// servesConsent reports whether people can open links.
func (a *App) servesConsent() bool {
	a.run.used.mu.Lock()
	defer a.run.used.mu.Unlock()
	return a.run.publicURL != nil && len(a.run.used.connects) > 0
}

// unknownProvider is EmailEngine's answer to a provider that it does not know,
// with those that there are.
func (a *App) unknownProvider(field string) error {
	names := slices.Sorted(maps.Keys(a.run.providers))
	return problem.New(problem.InvalidRequest, "Invalid or missing OAuth2 provider").With("fields", []members{{
		{Name: "message", Value: fmt.Sprintf("%q must be one of %s", field, strings.Join(names, ", "))}, {Name: "key", Value: field},
	}})
}

// newAccountID makes an ID as EmailEngine does: 16 digits and lower-case
// letters.
func newAccountID() string {
	return strings.ToLower(rand.Text()[:16])
}

// withReconnectURL adds to the problem of an account that only a person can mend
// the link by which they do, for callers who may make one themselves.
func (a *App) withReconnectURL(r *http.Request, c *call, p *problem.Problem) *problem.Problem {
	if c.caller == nil || p.Code != problem.OAuthRenewError && p.Code != problem.InsufficientScope {
		return p
	}
	facts := policy.Facts{Account: c.account, Needs: policy.Connect, Client: clientAddr(r), Now: clock.Now()}
	if !policy.Judge(c.caller, &facts).Allowed || !a.servesConsent() {
		return p
	}
	s, err := a.run.open()
	if err != nil {
		return p
	}
	g, err := s.broker.Grant(r.Context(), c.account)
	if err != nil || g.Unregistered {
		return p
	}
	link := consent.Link{Account: g.ID, Provider: g.Provider, Name: g.Name, Email: g.User, Scopes: g.Scopes}
	if f, ok := errors.AsType[*account.Failure](p.Err); ok {
		link.Claims = f.Claims
	}
	url, err := a.invite(r.Context(), s, link, "", "")
	if err != nil {
		return p // nobody consents to the provider, or it is not configured
	}
	with := *p
	with.Details = append(p.Details[:len(p.Details):len(p.Details)], problem.Detail{Name: reconnectURL, Value: url})
	return &with
}

// reconnectURL is the member of an answer with such a link.
const reconnectURL = "reconnectUrl"
