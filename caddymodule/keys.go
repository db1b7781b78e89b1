package caddymodule

import (
	"fmt"
	"net/netip"

	"github.com/bellhop-proxy/bellhop/internal/policy"
)

// provisionKeys makes the keys that are declared in the configuration.
func (a *App) provisionKeys(resolve resolver) error {
	a.run.keys = make(map[string]*policy.Key, len(a.Keys))
	for _, declared := range a.Keys {
		key, err := declared.build(resolve)
		if err != nil {
			return err
		}
		if other, ok := a.run.keys[key.Hash]; ok {
			return fmt.Errorf("key %s: hash: is key %s's too; each key has its own", key.Name, other.Name)
		}
		a.run.keys[key.Hash] = key
	}
	return nil
}

func (k *Key) build(resolve resolver) (*policy.Key, error) {
	owner := "key " + k.Name
	written, err := resolve.one(owner, "hash", k.Hash)
	if err != nil {
		return nil, err
	}
	hash, err := policy.ParseHash(written)
	if err != nil {
		return nil, fmt.Errorf("%s: hash: %w", owner, err)
	}
	accounts, err := resolve.all(owner, "account", k.Accounts)
	if err != nil {
		return nil, err
	}
	cidrs, err := parseCIDRs(k.CIDRs)
	if err != nil {
		return nil, fmt.Errorf("%s: cidr: %w", owner, err)
	}
	rules, err := policy.ParseRules(k.Allow)
	if err != nil {
		return nil, fmt.Errorf("%s: allow: %w", owner, err)
	}
	key := &policy.Key{
		Name: k.Name, Hash: hash, Accounts: accounts,
		Token: k.Token, Admin: k.Admin, Connect: k.Connect,
		Expires: k.Expires.At(clock.Now()), CIDRs: cidrs, Rate: k.Rate.String(),
		Rules: rules, Presets: k.Presets, Scopes: k.Scopes,
	}
	return key, key.Validate()
}

func parseCIDRs(written []string) ([]netip.Prefix, error) {
	var cidrs []netip.Prefix
	for _, w := range written {
		cidr, err := policy.ParseCIDR(w)
		if err != nil {
			return nil, err
		}
		cidrs = append(cidrs, cidr)
	}
	return cidrs, nil
}

// findKey returns the key with the hash, of the configuration or the store, or
// nil. Those of the store are not believed for ever while other nodes, who may
// remove them, cannot be heard.
func (a *App) findKey(hash string) (*policy.Key, error) {
	if key, ok := a.run.keys[hash]; ok {
		return key, nil
	}
	s, err := a.run.open()
	if err != nil {
		return nil, err
	}
	if err := s.shared.Trusted(); err != nil {
		return nil, err
	}
	return s.keys.Find(hash), nil
}
