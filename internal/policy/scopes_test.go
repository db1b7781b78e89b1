package policy

import (
	"strings"
	"testing"
)

func TestCheckScopes(t *testing.T) {
	for _, good := range []string{"mail.read", "https://www.googleapis.com/auth/gmail.readonly", "a:b!~", "openid"} {
		if err := CheckScopes([]string{"openid", good}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a b", "a\tb", `a"`, `a\b`, "ä", "a\x7f"} {
		if CheckScopes([]string{"openid", bad}) == nil {
			t.Errorf("%q passes", bad)
		}
	}
	if CheckScopes(strings.Fields(strings.Repeat("a ", maxScopes))) != nil || CheckScopes(strings.Fields(strings.Repeat("a ", maxScopes+1))) == nil {
		t.Error("the number of scopes is not bounded as it should be")
	}
}

func TestKeyWithScopes(t *testing.T) {
	_, hash := NewKey()
	key := Key{Name: "k", Hash: hash, Token: true, Scopes: []string{"mail.read"}}
	if err := key.Validate(); err != nil {
		t.Errorf("beside token: %v", err)
	}
	key.Scopes = []string{"mail read"}
	if err := key.Validate(); err == nil || !strings.Contains(err.Error(), "scopes") {
		t.Errorf("two in one: %v", err)
	}
}
