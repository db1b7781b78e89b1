package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/emailengine"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/target"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// importRequest is the body of POST /v1/import: grants and keys from elsewhere.
// Nothing is asked of a provider by an import, and a grant that comes with a
// refresh token is not renewed until the account is adopted.
type importRequest struct {
	// DryRun changes nothing, and answers what would be done.
	DryRun bool `json:"dryRun,omitempty"`
	// Clients are OAuth clients whose configured providers are asked for.
	Clients  []importClient  `json:"clients,omitempty"`
	Accounts []importAccount `json:"accounts,omitempty"`
	Keys     []importKey     `json:"keys,omitempty"`
}

// importClient is an OAuth client as another program knows it.
type importClient struct {
	// Type is one of our types of provider or of EmailEngine's; empty is any
	// type that people consent to.
	Type     string `json:"type,omitempty"`
	ClientID string `json:"clientId"`
	// Email is a service account's other name.
	Email string `json:"email,omitempty"`
}

// importAccount is one grant.
type importAccount struct {
	Account string `json:"account"`
	Name    string `json:"name,omitempty"`
	User    string `json:"user,omitempty"`
	// Provider is the configured provider's name; without it, ClientID says
	// which. With both, they must agree.
	Provider     string    `json:"provider,omitempty"`
	ClientID     string    `json:"clientId,omitempty"`
	Scopes       []string  `json:"scopes,omitempty"`
	RefreshToken string    `json:"refreshToken,omitempty"`
	AccessToken  string    `json:"accessToken,omitempty"`
	Expires      time.Time `json:"expires,omitzero"`
}

// importKey is one key, of which only the hash is known.
type importKey struct {
	Name     string    `json:"name"`
	Hash     string    `json:"hash"`
	Accounts []string  `json:"accounts"`
	Token    bool      `json:"token,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	CIDRs    []string  `json:"cidrs,omitempty"`
	Allow    []string  `json:"allow,omitempty"`
}

// importResult is what became, or in a dry run would become, of an account or a
// key.
type importResult string

// The results. Skipped is said of what an importer found and had no use for.
const (
	importAdded     = importResult(broker.ImportAdded)
	importUnchanged = importResult(broker.ImportUnchanged)
	importConflict  = importResult(broker.ImportConflict)
	importRefused   = importResult("refused")
	importSkipped   = importResult("skipped")
)

// importAnswer is the answer to an [importRequest], in its order.
type importAnswer struct {
	DryRun   bool              `json:"dryRun"`
	Clients  []foundClient     `json:"clients,omitempty"`
	Accounts []importedAccount `json:"accounts,omitempty"`
	Keys     []importedKey     `json:"keys,omitempty"`
	// Providers are the names of those that are configured, where clients were
	// asked about.
	Providers []string `json:"providers,omitempty"`
}

type foundClient struct {
	// Provider is empty where none is found; Reason says why.
	Provider string `json:"provider,omitempty"`
	Type     string `json:"type,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

type importedAccount struct {
	Account  string       `json:"account"`
	Provider string       `json:"provider,omitempty"`
	Result   importResult `json:"result"`
	Reason   string       `json:"reason,omitempty"`
}

type importedKey struct {
	Name   string       `json:"name"`
	ID     string       `json:"id"`
	Result importResult `json:"result"`
	Reason string       `json:"reason,omitempty"`
}

func (a *App) importRecords(s *service, r *http.Request) (any, error) {
	var body importRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	answer := importAnswer{DryRun: body.DryRun}
	for _, c := range body.Clients {
		answer.Clients = append(answer.Clients, a.foundClient(c))
		answer.Providers = slices.Sorted(maps.Keys(a.run.providers))
	}
	for _, account := range body.Accounts {
		imported, err := a.importAccount(r.Context(), s, account, body.DryRun)
		if err != nil {
			return nil, err
		}
		answer.Accounts = append(answer.Accounts, imported)
	}
	for _, key := range body.Keys {
		imported, err := a.importKey(r.Context(), s, key, body.DryRun)
		if err != nil {
			return nil, err
		}
		answer.Keys = append(answer.Keys, imported)
	}
	return answer, nil
}

// importedTypes are our types for EmailEngine's.
var importedTypes = map[string]string{
	emailengine.Gmail:          provider.TypeGoogle,
	emailengine.GmailService:   provider.TypeGoogleServiceAccount,
	emailengine.Outlook:        provider.TypeMicrosoft,
	emailengine.OutlookService: provider.TypeMicrosoftApp,
	emailengine.MailRu:         provider.TypeOAuth2,
}

func (a *App) foundClient(c importClient) foundClient {
	p, err := a.findClient(c)
	if err != nil {
		return foundClient{Reason: err.Error()}
	}
	return foundClient{Provider: p.Name(), Type: p.Type()}
}

// findClient is the one configured provider with the client.
func (a *App) findClient(c importClient) (provider.Provider, error) {
	kind := c.Type
	if ours, ok := importedTypes[kind]; ok {
		kind = ours
	}
	var found []string
	for _, name := range slices.Sorted(maps.Keys(a.run.providers)) {
		p := a.run.providers[name]
		if !c.is(p) {
			continue
		}
		_, unattended := p.(provider.Unattended)
		if p.Type() == kind || kind == "" && !unattended {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no provider of the configuration has the client ID %q; a grant works only with the client that it was given to", c.ClientID)
	case 1:
		return a.run.providers[found[0]], nil
	}
	return nil, fmt.Errorf("the providers %s have the client ID %q: say which one with --provider", strings.Join(found, ", "), c.ClientID)
}

// is reports whether the provider is the client.
func (c *importClient) is(p provider.Provider) bool {
	names := []string{p.ClientID()}
	if robot, ok := p.(interface{ ServiceClientID() string }); ok {
		names = append(names, robot.ServiceClientID())
	}
	return slices.ContainsFunc(names, func(name string) bool { return name != "" && (name == c.ClientID || name == c.Email) })
}

// importAccount imports one grant. An error is of the store: what is wrong with
// the grant is in the result.
func (a *App) importAccount(ctx context.Context, s *service, in importAccount, dryRun bool) (importedAccount, error) {
	out := importedAccount{Account: in.Account, Provider: in.Provider}
	refused := func(reason string) (importedAccount, error) {
		out.Result, out.Reason = importRefused, reason
		return out, nil
	}
	if target.MentionsKey(in.Account) {
		out.Account = "" // a key is not repeated
		return refused("account: " + errKeyForAccount.Error())
	}
	p, err := a.importProvider(in)
	if err != nil {
		return refused(err.Error())
	}
	out.Provider = p.Name()
	run := s.broker.Import
	if dryRun {
		run = s.broker.Preview
	}
	result, err := run(ctx, broker.Registration{
		ID: in.Account, Provider: p.Name(), Name: in.Name, User: in.User, Scopes: in.Scopes,
		RefreshToken: secret.New(in.RefreshToken), AccessToken: secret.New(in.AccessToken), AccessExpires: in.Expires,
	})
	if err != nil {
		if refusal := problem.From(err); refusal.Code == problem.InvalidRequest {
			return refused(refusal.Message)
		}
		return out, err
	}
	out.Result = importResult(result)
	if out.Result == importConflict {
		out.Reason = "an account of this ID exists with another grant, and was left as it is"
	}
	return out, nil
}

// importProvider is the provider that a grant goes to.
func (a *App) importProvider(in importAccount) (provider.Provider, error) {
	if in.Provider == "" && in.ClientID == "" {
		return nil, errors.New("provider: is missing, and no client ID says which it is")
	}
	if in.Provider == "" {
		return a.findClient(importClient{ClientID: in.ClientID})
	}
	p, ok := a.run.providers[in.Provider]
	if !ok {
		return nil, fmt.Errorf("provider: there is no provider %s in the configuration", strconv.Quote(in.Provider))
	}
	if in.ClientID != "" && in.ClientID != p.ClientID() {
		return nil, fmt.Errorf("the grant was given to the client ID %q, and provider %s has another: a grant works only with the client that it was given to", in.ClientID, in.Provider)
	}
	return p, nil
}

// importKey imports one key. One that is there already is left as it is.
func (a *App) importKey(ctx context.Context, s *service, in importKey, dryRun bool) (importedKey, error) {
	out := importedKey{Name: in.Name, ID: in.Hash}
	key, err := in.build(clock.Now())
	if err != nil {
		if target.MentionsKey(in.Name) {
			out.Name = ""
		}
		out.Result, out.Reason = importRefused, err.Error()
		return out, nil
	}
	if existing, err := a.findKey(key.Hash); err != nil {
		return out, err
	} else if existing != nil {
		out.Name, out.Result = existing.Name, importUnchanged
		return out, nil
	}
	switch {
	case slices.ContainsFunc(a.allKeys(s), func(other *policy.Key) bool { return other.Name == key.Name }):
		err = vault.ErrKeyExists
	case !dryRun:
		err = s.keys.Add(ctx, key)
	}
	switch {
	case errors.Is(err, vault.ErrKeyExists):
		out.Result, out.Reason = importConflict, "another key has this name"
	case err != nil:
		return out, problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
	default:
		out.Result = importAdded
	}
	return out, nil
}

func (k *importKey) build(now time.Time) (*policy.Key, error) {
	if target.MentionsKey(k.Name) {
		return nil, errors.New("name: is a key itself; a name is not secret")
	}
	cidrs, err := parseCIDRs(k.CIDRs)
	if err != nil {
		return nil, fmt.Errorf("cidrs: %w", err)
	}
	rules, err := policy.ParseRules(k.Allow)
	if err != nil {
		return nil, fmt.Errorf("allow: %w", err)
	}
	key := &policy.Key{
		Name: k.Name, Hash: k.Hash, Accounts: k.Accounts, Token: k.Token,
		Expires: k.Expires, CIDRs: cidrs, Rules: rules, Created: now,
	}
	return key, key.Validate()
}
