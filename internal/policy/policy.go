package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// maxName is the greatest length of a key's name.
const maxName = 64

// What a key has is bounded, so that its record fits the store.
const (
	maxAccounts = 1000
	maxCIDRs    = 256
	// maxDescription has room for EmailEngine's 1024 characters, in bytes.
	maxDescription = 4 << 10
	// maxLength is how long rules, account patterns and scopes may be together,
	// in bytes of the JSON that the record is: "&", "<" and ">" are six there.
	maxLength = 128 << 10
)

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
	// Presets are names of [Presets], of which each allows calls besides the rules.
	Presets []string `json:"presets,omitempty"`
	// Scopes narrow the access tokens that the key's calls are made with, and
	// those that it is given (RFC 6749 section 6); none: as the grant has them.
	Scopes []string `json:"scopes,omitempty"`
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Created is when the key was made; zero for one of the configuration.
	Created time.Time `json:"created,omitzero"`
	// Label is what refusals call this where it is no key but stands for a
	// caller who needs none; empty for a key.
	Label string `json:"-"`
}

// Validate reports why the key cannot be used.
func (k *Key) Validate() error {
	if err := checkName(k.Name); err != nil {
		return err
	}
	if !isHash(k.Hash) {
		return fmt.Errorf("key %s: the hash is not 64 lower-case hexadecimal digits", k.Name)
	}
	if len(k.Description) > maxDescription {
		return fmt.Errorf("key %s: the description has more than %d bytes: write less", k.Name, maxDescription)
	}
	if err := k.CheckLimits(); err != nil {
		return fmt.Errorf("key %s: %w", k.Name, err)
	}
	return nil
}

// CheckLimits reports why what the key allows cannot be judged, whatever its
// name and hash.
func (k *Key) CheckLimits() error {
	if len(k.Accounts) > maxAccounts {
		return fmt.Errorf("it has more than %d account patterns: write fewer, with wildcards", maxAccounts)
	}
	if len(k.CIDRs) > maxCIDRs {
		return fmt.Errorf("it has more than %d address ranges: write fewer and wider ones", maxCIDRs)
	}
	for _, pattern := range k.Accounts {
		if err := checkPattern(pattern); err != nil {
			return fmt.Errorf("account pattern %q: %w", pattern, err)
		}
	}
	for _, cidr := range k.CIDRs {
		if !cidr.IsValid() || cidr.Addr().Is4In6() {
			return fmt.Errorf("cidr %s is not an address range", cidr)
		}
	}
	if len(k.Rules) > maxRules {
		return fmt.Errorf("it has more than %d rules: write fewer, with wildcards", maxRules)
	}
	length := 0
	for i := range k.Rules {
		length += encodedLength(k.Rules[i].text)
	}
	for _, text := range slices.Concat(k.Accounts, k.Scopes) {
		length += encodedLength(text)
	}
	if length > maxLength {
		return fmt.Errorf("its rules, account patterns and scopes have %d bytes together as JSON, at most %d are kept: write fewer, with wildcards", length, maxLength)
	}
	for i := range k.Rules {
		if k.Rules[i].text == "" {
			return errors.New("a rule is empty")
		}
	}
	if err := CheckScopes(k.Scopes); err != nil {
		return fmt.Errorf("scopes: %w", err)
	}
	if k.Token && k.limited() {
		return errors.New("token does not go with rules or presets, because whoever holds an access token has its whole scope")
	}
	for i, name := range k.Presets {
		if err := CheckPreset(name); err != nil {
			return err
		}
		if slices.Contains(k.Presets[:i], name) {
			return fmt.Errorf("the preset %s is there twice: leave one out", name)
		}
	}
	return nil
}

// encodedLength is how long a text is in the record of a key.
func encodedLength(text string) int {
	encoded, _ := json.Marshal(text) // strings always marshal
	return len(encoded)
}

// limited reports whether the key may make some calls and others not.
func (k *Key) limited() bool { return len(k.Rules) > 0 || len(k.Presets) > 0 }

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
