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

// keyRequest is the body of POST /v1/token.
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
	Rate    Rate     `json:"rate,omitzero"`
}

// build makes the key and what its owner is told once.
func (k *keyRequest) build(now time.Time) (*policy.Key, string, error) {
	if target.MentionsKey(k.Name) {
		return nil, "", errors.New("name: is a key itself; a name is not secret")
	}
	cidrs, err := parseCIDRs(k.CIDRs)
	if err != nil {
		return nil, "", fmt.Errorf("cidrs: %w", err)
	}
	rules, err := policy.ParseRules(k.Allow)
	if err != nil {
		return nil, "", fmt.Errorf("allow: %w", err)
	}
	plain, hash := policy.NewKey()
	key := &policy.Key{
		Name: k.Name, Hash: hash, Accounts: k.Accounts,
		Token: k.Token, Admin: k.Admin, Connect: k.Connect,
		Expires: k.Expires.At(now), CIDRs: cidrs, Rules: rules, Presets: k.Presets, Rate: k.Rate.String(),
		Created: now,
	}
	return key, plain.Reveal(), key.Validate()
}

func (a *App) createKey(s *service, r *http.Request) (any, error) {
	var body keyRequest
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	key, plain, err := body.build(clock.Now())
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
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Accounts []string       `json:"accounts"`
	Token    bool           `json:"token"`
	Admin    bool           `json:"admin"`
	Connect  bool           `json:"connect"`
	Expires  time.Time      `json:"expires,omitzero"`
	CIDRs    []netip.Prefix `json:"cidrs,omitempty"`
	// Allow are the key's rules; May are the same as sentences.
	Allow   []string  `json:"allow,omitempty"`
	May     []string  `json:"may,omitempty"`
	Created time.Time `json:"created,omitzero"`
	// Source is "store", or "configuration" for a key that only the
	// configuration can take away.
	Source string `json:"source"`
}

func (a *App) shownKey(k *policy.Key) shownKey {
	s := shownKey{
		ID: k.Hash, Name: k.Name, Accounts: k.Accounts, Token: k.Token, Admin: k.Admin, Connect: k.Connect,
		Expires: k.Expires, CIDRs: k.CIDRs, Created: k.Created, Source: "store",
	}
	for _, r := range k.Rules {
		s.Allow, s.May = append(s.Allow, r.String()), append(s.May, r.Sentence())
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
	page, err := pageNumber(query, "page", 0, 0, 1<<20)
	if err != nil {
		return nil, err
	}
	size, err := pageNumber(query, "pageSize", defaultPageSize, 1, maxPageSize)
	if err != nil {
		return nil, err
	}
	keys := a.allKeys(s)
	shown := []shownKey{}
	for _, k := range keys[min(page*size, len(keys)):min((page+1)*size, len(keys))] {
		shown = append(shown, a.shownKey(k))
	}
	return answer("total", len(keys), "pages", (len(keys)+size-1)/size, "page", page, "tokens", shown), nil
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
	for hash, k := range a.run.keys {
		if k.Name == id || hash == id {
			return nil, problem.New(problem.Conflict, "key "+k.Name+" is declared in the configuration; remove it there")
		}
	}
	deleted, err := s.keys.Remove(r.Context(), id)
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
