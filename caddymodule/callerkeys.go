package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// keyRequest is the body of POST /v1/token: our fields, or without a name
// EmailEngine's.
type keyRequest struct {
	Name     string   `json:"name"`
	Accounts []string `json:"accounts"`
	Token    bool     `json:"token"`
	Admin    bool     `json:"admin"`
	Connect  bool     `json:"connect"`
	// Expires is a date, a time or a duration from now, as in a Caddyfile.
	Expires Expiry   `json:"expires,omitzero"`
	CIDRs   []string `json:"cidrs"`
	Allow   []string `json:"allow"`
	Presets []string `json:"presets"`
	// TokenScopes narrow the access tokens; "scopes" is EmailEngine's word for
	// something else.
	TokenScopes []string `json:"tokenScopes,omitempty"`
	Rate        Rate     `json:"rate,omitzero"`
	// Description is for people.
	Description string `json:"description,omitempty"`

	// EmailEngine's own.
	Account      string          `json:"account,omitempty"`
	Scopes       []string        `json:"scopes,omitempty"`
	Restrictions keyRestrictions `json:"restrictions,omitzero"`
	Permissions  refusedField    `json:"permissions,omitzero"`
}

// keyRestrictions are EmailEngine's limits of a token.
type keyRestrictions struct {
	Addresses []string     `json:"addresses,omitempty"`
	Referrers refusedField `json:"referrers,omitzero"`
	RateLimit refusedField `json:"rateLimit,omitzero"`
}

// isEmailEngines reports whether the request is in EmailEngine's words, which
// give keys no names.
func (k *keyRequest) isEmailEngines() bool {
	return k.Name == "" && (k.Account != "" || k.Description != "" || k.Scopes != nil || k.Restrictions.Addresses != nil)
}

// translate puts EmailEngine's words into ours: a token for the API, bound to
// one account, may be given that account's access token.
func (k *keyRequest) translate() error {
	if err := refuseFields(*k); err != nil {
		return err
	}
	if !k.isEmailEngines() {
		if k.Account != "" || k.Scopes != nil || k.Restrictions.Addresses != nil {
			return errors.New("account, scopes and restrictions: stand in EmailEngine's requests, which have no name; write accounts, token and cidrs")
		}
		return nil
	}
	switch {
	case k.Account == "":
		return errors.New("account: is missing: the key would reach none")
	case strings.Contains(k.Account, "*"):
		return errors.New("account: names one account, without *; for several write name and accounts")
	case k.Accounts != nil || k.CIDRs != nil || k.Token || k.Admin || k.Connect || k.Allow != nil || k.Presets != nil || k.TokenScopes != nil:
		return errors.New("name: is missing")
	}
	for _, scope := range k.Scopes {
		if scope != "api" && scope != "*" {
			return fmt.Errorf("scopes: %q: keys are for the API alone; write api", scope)
		}
	}
	k.Name, k.Accounts, k.CIDRs, k.Token = nameFrom(k.Description), []string{k.Account}, k.Restrictions.Addresses, true
	return nil
}

// nameFrom makes the name of a key out of what it is for.
func nameFrom(description string) string {
	words := strings.FieldsFunc(strings.ToLower(description), func(r rune) bool {
		return (r < 'a' || 'z' < r) && (r < '0' || '9' < r)
	})
	name := strings.Join(append(words, "token"), "-")
	if words != nil {
		name = strings.TrimSuffix(name, "-token")
	}
	return name[:min(len(name), 40)] + "-" + newAccountID()[:8]
}

// build makes the key and what its owner is told once.
func (k *keyRequest) build(now time.Time) (*policy.Key, string, error) {
	if err := k.translate(); err != nil {
		return nil, "", err
	}
	if target.MentionsKey(k.Name) || target.MentionsKey(k.Description) {
		return nil, "", errors.New("name: is a key itself; a name is not secret")
	}
	for field, written := range map[string][]string{
		"accounts": k.Accounts, "allow": k.Allow, "presets": k.Presets, "cidrs": k.CIDRs, "tokenScopes": k.TokenScopes,
	} {
		if slices.ContainsFunc(written, target.MentionsKey) {
			return nil, "", fmt.Errorf("%s: a key is among them; what a key may do is not secret", field)
		}
	}
	cidrs, err := parseCIDRs(k.CIDRs)
	if err != nil {
		return nil, "", fmt.Errorf("cidrs: %w", err)
	}
	rules, err := policy.ParseRules(k.Allow)
	if err != nil {
		return nil, "", fmt.Errorf("allow: %w", err)
	}
	expires := k.Expires.At(now)
	if !expires.IsZero() && !expires.After(now) {
		return nil, "", errors.New("expires: is over already")
	}
	plain, hash := policy.NewKey()
	key := &policy.Key{
		Name: k.Name, Hash: hash, Accounts: k.Accounts,
		Token: k.Token, Admin: k.Admin, Connect: k.Connect,
		Expires: expires, CIDRs: cidrs, Rules: rules, Presets: k.Presets, Scopes: k.TokenScopes, Rate: k.Rate.String(),
		Created: now, Description: k.Description,
	}
	return key, plain.Reveal(), key.Validate()
}

func (a *App) createKey(s *service, r *http.Request) (any, error) {
	var body keyRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	key, plain, err := body.build(clock.Now())
	if refused, ok := errors.AsType[*problem.Problem](err); ok {
		return nil, refused
	}
	if err == nil {
		err = s.checkNarrowing(r.Context(), key)
	}
	if err != nil {
		return nil, problem.New(problem.InvalidRequest, err.Error())
	}
	if slices.ContainsFunc(a.allKeys(s), func(other *policy.Key) bool { return other.Name == key.Name }) {
		err = vault.ErrKeyExists
	} else {
		err = s.keys.Add(r.Context(), key)
	}
	if errors.Is(err, vault.ErrKeyExists) {
		return nil, problem.New(problem.Conflict, "key "+key.Name+" exists; remove it first, or choose another name")
	}
	if err != nil {
		return nil, problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
	}
	return answer("token", plain, "id", key.Hash, "name", key.Name), nil
}

// allKeys are those of the store and of the configuration, by name.
func (a *App) allKeys(s *service) []*policy.Key {
	keys := slices.Concat(s.keys.List(), slices.Collect(maps.Values(a.run.keys)))
	slices.SortFunc(keys, func(a, b *policy.Key) int { return strings.Compare(a.Name, b.Name) })
	return keys
}

// shownKey is a key as the management API shows it: without the key.
type shownKey struct {
	ID string `json:"id"`
	// Account is the one that the key is bound to by name; null for none.
	Account  *string        `json:"account"`
	Name     string         `json:"name"`
	Accounts []string       `json:"accounts"`
	Token    bool           `json:"token"`
	Admin    bool           `json:"admin"`
	Connect  bool           `json:"connect"`
	Expires  time.Time      `json:"expires,omitzero"`
	CIDRs    []netip.Prefix `json:"cidrs,omitempty"`
	// Rate is how often it may call.
	Rate string `json:"rate,omitempty"`
	// TokenScopes are those that its access tokens are narrowed to.
	TokenScopes []string `json:"tokenScopes,omitempty"`
	// Allow are the key's rules, and Presets its presets; May is all that the key
	// may do, as sentences: those of [whoami].
	Allow   []string  `json:"allow,omitempty"`
	Presets []string  `json:"presets,omitempty"`
	May     []string  `json:"may"`
	Created time.Time `json:"created,omitzero"`
	// Scopes, Description and Restrictions are in EmailEngine's words.
	Scopes       []string         `json:"scopes"`
	Description  string           `json:"description"`
	Restrictions *keyRestrictions `json:"restrictions,omitempty"`
	// Source is "store", or "configuration" for a key that only the
	// configuration can take away.
	Source string `json:"source"`
}

func (a *App) shownKey(k *policy.Key) shownKey {
	s := shownKey{
		ID: k.Hash, Name: k.Name, Accounts: k.Accounts, Token: k.Token, Admin: k.Admin, Connect: k.Connect,
		Expires: k.Expires, CIDRs: k.CIDRs, Created: k.Created, Source: "store",
		Scopes: []string{"api"}, Description: k.Description, Rate: k.Rate, TokenScopes: k.Scopes,
		Presets: k.Presets, May: sentences(k),
	}
	if bound, ok := k.Account(); ok {
		s.Account = &bound
	}
	if len(k.CIDRs) > 0 {
		s.Restrictions = new(keyRestrictions)
		for _, cidr := range k.CIDRs {
			s.Restrictions.Addresses = append(s.Restrictions.Addresses, cidr.String())
		}
	}
	if s.Description == "" {
		s.Description = k.Name
	}
	for _, r := range k.Rules {
		s.Allow = append(s.Allow, r.String())
	}
	if s.Accounts == nil {
		s.Accounts = []string{}
	}
	if _, ok := a.run.keys[k.Hash]; ok {
		s.Source = "configuration"
	}
	return s
}

func (a *App) listKeys(s *service, r *http.Request) (any, error) {
	query := r.URL.Query()
	page, size, err := parsePage(query)
	if err != nil {
		return nil, err
	}
	keys := a.allKeys(s)
	var of *string // whose keys are asked for
	if account := query.Get("account"); account != "" {
		of = &account
		keys = slices.DeleteFunc(keys, func(k *policy.Key) bool {
			bound, ok := k.Account()
			return !ok || bound != account
		})
	}
	shown := []shownKey{}
	for _, k := range pageOf(keys, page, size) {
		shown = append(shown, a.shownKey(k))
	}
	return answer("account", of, "total", len(keys), "pages", pageCount(len(keys), size), "page", page, "tokens", shown), nil
}

func (a *App) showKey(s *service, r *http.Request) (any, error) {
	id := r.PathValue("id")
	for _, k := range a.allKeys(s) {
		if k.Name == id || k.Hash == id {
			return a.shownKey(k), nil
		}
	}
	return nil, errNoKey()
}

func (a *App) deleteKey(s *service, r *http.Request) (any, error) {
	id := r.PathValue("id")
	if hash := policy.HashKey(id); policy.CheckKey(id) == nil && (a.run.keys[hash] != nil || s.keys.Find(hash) != nil) {
		id = hash // the key itself
	}
	for hash, k := range a.run.keys {
		if k.Name == id || hash == id {
			return nil, problem.New(problem.Conflict, "key "+k.Name+" is declared in the configuration; remove it there")
		}
	}
	deleted, err := s.keys.Remove(r.Context(), id)
	if err == nil && !deleted && policy.CheckKey(id) == nil {
		deleted, err = s.keys.Remove(r.Context(), policy.HashKey(id)) // the key itself, which another node has just made
	}
	if err != nil {
		return nil, problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
	}
	if !deleted {
		return nil, errNoKey()
	}
	return answer("deleted", true), nil
}

// errNoKey does not repeat what was asked for: it may be a key.
func errNoKey() error {
	return &problem.Problem{Code: "NotFound", Status: http.StatusNotFound, Message: "there is no key of that name or ID"}
}
