package account

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckID(t *testing.T) {
	for id, ok := range map[string]bool{
		"alice":                  true,
		"team/alice":             true,
		"alice@example.com":      true,
		"Zoë":                    true,
		"a b":                    true,
		"...":                    true,
		strings.Repeat("ä", 256): true,
		"":                       false,
		".":                      false,
		"..":                     false,
		".bellhop":               false,
		"/alice":                 false,
		"alice/":                 false,
		"a\nb":                   false,
		"a\x00b":                 false,
		"a\u0085b":               false,
		"a\xffb":                 false,
		"Zoe\u0308":              false, // not normalised
	} {
		if err := CheckID(id); (err == nil) != ok {
			t.Errorf("CheckID(%q): %v", id, err)
		}
	}
	if err := CheckID(strings.Repeat("ä", 257)); !errors.Is(err, ErrIDTooLong) {
		t.Errorf("257 characters: %v", err)
	}
}

func TestScopeKeyIsTheSameForEqualSets(t *testing.T) {
	scopes := ParseScopes("b  a b\tc")
	if diff := cmp.Diff([]string{"b", "a", "c"}, scopes); diff != "" {
		t.Errorf("scopes (-want +got):\n%s", diff)
	}
	if a, b := ScopeKey(scopes), ScopeKey([]string{"c", "b", "a", "a"}); a != b || a != "a b c" {
		t.Errorf("%q and %q", a, b)
	}
	if scopes[0] != "b" {
		t.Error("the scopes were sorted where they stood")
	}
}

func TestCloneSharesNothingThatChanges(t *testing.T) {
	g := &Grant{
		Scopes:   []string{"a"},
		Access:   []AccessToken{{Number: 1}},
		Failures: []Failed{{Audience: "x", Times: 1}},
		Intent:   &Intent{Number: 1},
	}
	c := g.Clone()
	c.Scopes[0] = "b"
	c.SetAccess(AccessToken{Number: 2})
	c.SetFailed(Failed{Audience: "x", Times: 2})
	c.Intent.Number = 2
	if g.Scopes[0] != "a" || g.Access[0].Number != 1 || g.Failures[0].Times != 1 || g.Intent.Number != 1 {
		t.Errorf("the original changed: %+v", g)
	}
}

func TestFailuresAreKeptByAudience(t *testing.T) {
	g := new(Grant)
	g.SetFailed(Failed{Audience: WholeGrant, Times: 1})
	g.SetFailed(Failed{Audience: "", Times: 2})
	g.SetFailed(Failed{Audience: "", Times: 3})
	if f := g.Failed(""); f == nil || f.Times != 3 {
		t.Errorf("failure of the default audience: %+v", f)
	}
	g.Forgive("")
	if g.Failed("") != nil || g.Failed(WholeGrant) == nil {
		t.Errorf("failures after forgiving one: %+v", g.Failures)
	}
}

func TestSignInScopes(t *testing.T) {
	for scope, want := range map[string]bool{"openid": true, "profile": true, "email": true, "offline_access": true, "mail.read": false, "": false} {
		if got := IsSignInScope(scope); got != want {
			t.Errorf("%q: %v", scope, got)
		}
	}
}
