package policy

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, id string
		want        bool
	}{
		{"alice", "alice", true},
		{"alice", "Alice", false},
		{"alice", "alice2", false},
		{"alice", "", false},
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "team/alice", true},
		{"team/*", "team/alice", true},
		{"team/*", "team/a/b", true},
		{"team/*", "team", false},
		{"*@example.com", "alice@example.com", true},
		{"*@example.com", "alice@example.com.evil", false},
		{"*@example.com", "@example.com", true},
		{"a*b", "ab", true},
		{"a*b", "a", false},
		{"a*a", "a", false},
		{"ab*ba", "aba", false},
		{"a*b*c", "aXbYc", true},
		{"a*b*c", "aXcYb", false},
		{"**", "x", true},
		{"*a*", "bbb", false},
		{"*ab*ab", "ab", false},
		{"*ab*ab", "abab", true},
		{"a?", "ab", false},
		{"a?", "a?", true},
		{"[a-z]", "a", false},
		{`a\*`, `a*`, false},
		{`a\*`, `a\bc`, true},
		{"a.c", "abc", false},
		{"é*", "éa", true},
	} {
		if got := Match(c.pattern, c.id); got != c.want {
			t.Errorf("Match(%q, %q) = %t", c.pattern, c.id, got)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b*c", "aXbYc")
	f.Add("*ab*ab", "abab")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, id string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(id) {
			return // regexp reads invalid bytes in its own way
		}
		pieces := strings.Split(pattern, "*")
		for i := range pieces {
			pieces[i] = regexp.QuoteMeta(pieces[i])
		}
		reference := regexp.MustCompile(`(?s)\A` + strings.Join(pieces, ".*") + `\z`)
		if got, want := Match(pattern, id), reference.MatchString(id); got != want {
			t.Errorf("Match(%q, %q) = %t", pattern, id, got)
		}
	})
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Key)
		want   string
	}{
		"plain":                    {func(*Key) {}, ""},
		"all permissions":          {func(k *Key) { k.Token, k.Admin, k.Connect = true, true, true }, ""},
		"patterns":                 {func(k *Key) { k.Accounts = []string{"*", "team/*", "*@example.com", "a*b"} }, ""},
		"longest name":             {func(k *Key) { k.Name = strings.Repeat("n", 64) }, ""},
		"all name characters":      {func(k *Key) { k.Name = "aZ09._-" }, ""},
		"ranges":                   {func(k *Key) { k.CIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, ""},
		"no name":                  {func(k *Key) { k.Name = "" }, "key name"},
		"name too long":            {func(k *Key) { k.Name = strings.Repeat("n", 65) }, "key name"},
		"slash in name":            {func(k *Key) { k.Name = "a/b" }, "key name"},
		"space in name":            {func(k *Key) { k.Name = "a b" }, "key name"},
		"letter beyond ASCII":      {func(k *Key) { k.Name = "clé" }, "key name"},
		"dots as name":             {func(k *Key) { k.Name = ".." }, "key name"},
		"no hash":                  {func(k *Key) { k.Hash = "" }, "hash"},
		"hash with prefix":         {func(k *Key) { k.Hash = "sha256:" + k.Hash }, "hash"},
		"hash in capitals":         {func(k *Key) { k.Hash = strings.Repeat("A", 64) }, "hash"},
		"empty pattern":            {func(k *Key) { k.Accounts = []string{""} }, "empty"},
		"pattern of no account":    {func(k *Key) { k.Accounts = []string{"/a*"} }, `begins or ends`},
		"reserved account":         {func(k *Key) { k.Accounts = []string{".bellhop"} }, "reserved"},
		"control in pattern":       {func(k *Key) { k.Accounts = []string{"a\n*"} }, "control"},
		"zero range":               {func(k *Key) { k.CIDRs = []netip.Prefix{{}} }, "address range"},
		"rules":                    {func(k *Key) { k.Rules = mustParse("GET *", "!* *") }, ""},
		"empty rule":               {func(k *Key) { k.Rules = []Rule{{}} }, "empty"},
		"too many rules":           {func(k *Key) { k.Rules = slices.Repeat(mustParse("GET *"), 257) }, "more than 256"},
		"presets":                  {func(k *Key) { k.Presets = []string{"gmail-readonly", "calendar-readonly"} }, ""},
		"preset that is none":      {func(k *Key) { k.Presets = []string{"gmail-read"} }, `there is no preset "gmail-read": write one of gmail-readonly, `},
		"presets of an admin":      {func(k *Key) { k.Admin, k.Presets = true, []string{"gmail-readonly"} }, ""},
		"rate":                     {func(k *Key) { k.Rate = "10/s" }, ""},
		"token with rules":         {func(k *Key) { k.Token, k.Rules = true, mustParse("GET *") }, "whole scope"},
		"token with presets":       {func(k *Key) { k.Token, k.Presets = true, []string{"gmail-readonly"} }, "whole scope"},
		"expiry in the past is ok": {func(k *Key) { k.Expires = time.Unix(1, 0) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			key := Key{Name: "ci", Hash: HashKey("x"), Accounts: []string{"alice"}}
			c.change(&key)
			err := key.Validate()
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error that says %q", err, c.want)
			}
		})
	}
}

func TestKeyIsBoundToOneAccountByName(t *testing.T) {
	for _, c := range []struct {
		accounts []string
		want     string
	}{
		{nil, ""},
		{[]string{"alice"}, "alice"},
		{[]string{"team/alice"}, "team/alice"},
		{[]string{"*"}, ""},
		{[]string{"alice", "bob"}, ""},
	} {
		key := Key{Accounts: c.accounts}
		if got, ok := key.Account(); got != c.want || ok != (c.want != "") {
			t.Errorf("%q: got %q, %t", c.accounts, got, ok)
		}
	}
}

func TestParseCIDR(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8":      "10.0.0.0/8",
		"10.1.2.3":        "10.1.2.3/32",
		"2001:db8::/32":   "2001:db8::/32",
		"::1":             "::1/128",
		"::ffff:10.1.2.3": "10.1.2.3/32",
		"0.0.0.0/0":       "0.0.0.0/0",
		"10.1.2.3/8":      "",
		"::ffff:0:0/96":   "",
		"fe80::1%eth0":    "",
		"10.0.0.0/33":     "",
		"example.com":     "",
		"":                "",
	} {
		got, err := ParseCIDR(in)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("ParseCIDR(%q) = %v, %v", in, got, err)
		}
	}
}

func TestKeySurvivesJSON(t *testing.T) {
	want := Key{
		Name: "ci", Hash: HashKey("x"), Accounts: []string{"alice", "team/*"},
		Token: true, Admin: true, Connect: true,
		Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		CIDRs:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
		Rate:    "10/s", Rules: mustParse("GET *", "!POST gmail.googleapis.com/**/send"), Presets: []string{"gmail-readonly"},
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	data, err := json.Marshal(&want)
	if err != nil {
		t.Fatal(err)
	}
	var got Key
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	if data, err = json.Marshal(&Key{Name: "n", Hash: "h"}); err != nil || string(data) != `{"name":"n","hash":"h"}` {
		t.Errorf("the smallest key is %s, %v", data, err)
	}
}

func TestAccountsThatNobodyRegisteredMustBeNamed(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		pattern, id string
		want        bool
	}{
		{"bob@example.com", "bob@example.com", true},
		{"*@example.com", "bob@example.com", true},
		{"b*@example.com", "bob@example.com", true},
		{"*b@example.com", "bob@example.com", true},
		{"*", "bob@example.com", false},
		{"**", "bob@example.com", false},
		{"bob@*", "bob@example.com", false},
		{"*example.com", "bob@example.com", false},
		{"*@*.com", "bob@example.com", false},
		{"*@example.*", "bob@example.com", false},
		{"*@EXAMPLE.com", "bob@example.com", false},
		{"*@ample.com", "bob@example.com", false},
		{"eve@example.com", "bob@example.com", false},
		{"*", "bob", false},
		{"bob", "bob", true},
	} {
		key := &Key{Accounts: []string{"zoe", c.pattern}}
		if got := key.Names(c.id); got != c.want {
			t.Errorf("a key of %q names %q: %t", c.pattern, c.id, got)
		}
		for _, needs := range []Permission{Reach, Proxy} {
			got := Judge(key, &Facts{Account: c.id, Unregistered: true, Needs: needs, Now: now})
			if got.Allowed != c.want || !c.want && got.Reason != ReasonAccount {
				t.Errorf("a key of %q and %q: %+v", c.pattern, c.id, got)
			}
			if registered := Judge(key, &Facts{Account: c.id, Needs: needs, Now: now}); registered.Allowed != key.Reaches(c.id) {
				t.Errorf("registered, %q and %q: %+v", c.pattern, c.id, registered)
			}
		}
	}
	// Whoever manages keys can make one for every domain.
	if !Judge(&Key{Accounts: []string{"*"}, Admin: true, Token: true}, &Facts{Account: "bob@example.com", Unregistered: true, Needs: Token, Now: now}).Allowed {
		t.Error("an admin key is held to what it could change")
	}
}
