package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// maxName is the greatest length of a key's name.
const maxName = 64

// Key is what is known of a key, but for the key itself. It is made from the
// configuration, or kept as JSON.
type Key struct {
	// Name is the operator's: 1 to 64 letters, digits, ".", "_" and "-".
	Name string `json:"name"`
	// Hash is what [HashKey] gives for the key.
	Hash string `json:"hash"`
	// Accounts are patterns of account IDs, as [Match] reads them. Without
	// any, the key reaches no account.
	Accounts []string `json:"accounts,omitempty"`
	// Token allows handing out access tokens.
	Token bool `json:"token,omitempty"`
	// Admin allows management, of all accounts and keys.
	Admin bool `json:"admin,omitempty"`
	// Connect allows making consent links.
	Connect bool `json:"connect,omitempty"`
	// Expires is when the key ends; zero: never.
	Expires time.Time `json:"expires,omitzero"`
	// CIDRs are where the caller's address must be; empty: anywhere.
	CIDRs []netip.Prefix `json:"cidrs,omitempty"`
	// Rate is how often the key may call, such as "10/s"; empty: as often as it
	// likes.
	Rate string `json:"rate,omitempty"`
	// Rules are the calls that the key may make; none and no presets: any.
	Rules []Rule `json:"allow,omitempty"`
	// Presets are named sets of rules.
	Presets []string `json:"presets,omitempty"`
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Created is when the key was made; zero for one of the configuration.
	Created time.Time `json:"created,omitzero"`
}

// Validate reports why the key cannot be used.
func (k *Key) Validate() error {
	if err := checkName(k.Name); err != nil {
		return err
	}
	if !isHash(k.Hash) {
		return fmt.Errorf("key %s: the hash is not 64 lower-case hexadecimal digits", k.Name)
	}
	for _, pattern := range k.Accounts {
		if err := checkPattern(pattern); err != nil {
			return fmt.Errorf("key %s: account pattern %q: %w", k.Name, pattern, err)
		}
	}
	for _, cidr := range k.CIDRs {
		if !cidr.IsValid() || cidr.Addr().Is4In6() {
			return fmt.Errorf("key %s: cidr %s is not an address range", k.Name, cidr)
		}
	}
	if len(k.Rules) > maxRules {
		return fmt.Errorf("key %s: it has more than %d rules: write fewer, with wildcards", k.Name, maxRules)
	}
	for i := range k.Rules {
		if k.Rules[i].text == "" {
			return fmt.Errorf("key %s: a rule is empty", k.Name)
		}
	}
	limited := len(k.Rules) > 0 || len(k.Presets) > 0
	switch {
	case k.Token && limited:
		return fmt.Errorf("key %s: token does not go with rules or presets, because whoever holds an access token has its whole scope", k.Name)
	case len(k.Presets) > 0:
		return fmt.Errorf("key %s: not yet: presets", k.Name)
	}
	return nil
}

// Account is the one account that the key is bound to by name. It reports
// false for a key that reaches several or none.
func (k *Key) Account() (string, bool) {
	if len(k.Accounts) != 1 || strings.Contains(k.Accounts[0], "*") {
		return "", false
	}
	return k.Accounts[0], true
}

// Expired reports whether the key has ended.
func (k *Key) Expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }

// Reaches reports whether one of the key's patterns matches the account.
func (k *Key) Reaches(id string) bool {
	for _, pattern := range k.Accounts {
		if Match(pattern, id) {
			return true
		}
	}
	return false
}

// Names reports whether the key reaches an account that nobody registered, one
// of all the addresses of a domain: one of its patterns must be the ID itself,
// or end with the whole domain. Whoever wrote "*" had registered accounts in
// mind. A key that manages accounts and keys could make itself another.
func (k *Key) Names(id string) bool {
	if k.Admin {
		return k.Reaches(id)
	}
	at := strings.LastIndexByte(id, '@')
	for _, pattern := range k.Accounts {
		if pattern == id || at >= 0 && strings.HasSuffix(pattern, id[at:]) && Match(pattern, id) {
			return true
		}
	}
	return false
}

// Match reports whether the whole of s matches the pattern, in which "*" is any
// run of characters, none and "/" included, and everything else is literal.
func Match(pattern, s string) bool {
	head, tail, ok := strings.Cut(pattern, "*")
	if !ok {
		return pattern == s
	}
	if s, ok = strings.CutPrefix(s, head); !ok {
		return false
	}
	// Each piece between two stars is found as early as it can be: what
	// remains is then as long as it can be.
	for {
		piece, rest, more := strings.Cut(tail, "*")
		if !more {
			return strings.HasSuffix(s, piece)
		}
		i := strings.Index(s, piece)
		if i < 0 {
			return false
		}
		s, tail = s[i+len(piece):], rest
	}
}

// ParseCIDR reads an address range (RFC 4632, RFC 4291 section 2.3), or one
// address as the range of itself.
func ParseCIDR(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("parsing address range %q: write it as 10.0.0.0/8 or 2001:db8::/32", s)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("parsing address range %q: it has bits behind its length; did you mean %s?", s, prefix.Masked())
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("parsing address range %q: write the IPv4 range itself", s)
	}
	return prefix, nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxName || name == "." || name == ".." ||
		strings.Trim(name, base62+"._-") != "" {
		return fmt.Errorf("key name %q: use 1 to %d letters, digits, dots, underscores and hyphens", name, maxName)
	}
	return nil
}

// checkPattern refuses patterns that match no account ID.
func checkPattern(pattern string) error {
	if pattern == "" {
		return errors.New("it is empty")
	}
	// Whatever the stars stand for, the rest must be able to be an account ID.
	return account.CheckID(strings.ReplaceAll(pattern, "*", "x"))
}
