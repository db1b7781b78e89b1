package vault

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

func due(t *testing.T, v *Vault, at time.Time) []string {
	t.Helper()
	ids := []string{}
	err := v.Due(t.Context(), at, func(id string) bool {
		ids = append(ids, id)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestAccountsAreFoundByWhenTheyAreDue(t *testing.T) {
	v := newVault(t)
	versions := make(map[string]uint64)
	put := func(id string, when time.Time) {
		t.Helper()
		version, err := v.Save(t.Context(), nil, &account.Grant{ID: id, Provider: "p", State: account.Connected}, versions[id], when, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		versions[id] = version
	}
	put("late", at.Add(2*time.Hour))
	put("soon/with a slash", at.Add(time.Minute))
	put("now", at)
	put("never", time.Time{})
	for _, c := range []struct {
		after time.Duration
		want  []string
	}{
		{-time.Hour, []string{}},
		{0, []string{"now"}},
		{time.Hour, []string{"now", "soon/with a slash"}},
		{3 * time.Hour, []string{"now", "soon/with a slash", "late"}},
	} {
		if diff := cmp.Diff(c.want, due(t, v, at.Add(c.after))); diff != "" {
			t.Errorf("due after %v (-want +got):\n%s", c.after, diff)
		}
	}
	put("now", at.Add(time.Hour)) // it moves
	put("late", time.Time{})      // and it goes
	if err := v.Remove(t.Context(), "soon/with a slash", versions["soon/with a slash"]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"now"}, due(t, v, at.Add(24*time.Hour))); diff != "" {
		t.Errorf("due after all moved (-want +got):\n%s", diff)
	}
}

func TestDueAccountsArePagedThrough(t *testing.T) {
	v := newVault(t)
	const accounts = listPage + 10
	for i := range accounts {
		_, err := v.Save(t.Context(), nil, &account.Grant{ID: fmt.Sprint(i), Provider: "p", State: account.Connected}, 0, at.Add(time.Duration(i)*time.Second), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
	}
	got := due(t, v, at.Add(accounts*time.Second))
	for i, id := range got {
		if id != fmt.Sprint(i) {
			t.Fatalf("account %d is %s", i, id)
		}
	}
	if len(got) != accounts {
		t.Errorf("%d accounts, want %d", len(got), accounts)
	}
}

func TestNextLapseIsTheFirstThatIsToCome(t *testing.T) {
	v := newVault(t)
	for id, after := range map[string]time.Duration{"past": -time.Hour, "first": time.Hour, "second": 2 * time.Hour} {
		g := &account.Grant{ID: id, Provider: "p", State: account.Connected, Lapses: at.Add(after)}
		save(t, v, g, 0)
	}
	save(t, v, &account.Grant{ID: "another's", Provider: "q", State: account.Connected, Lapses: at.Add(time.Minute)}, 0)
	next, err := v.NextLapse(t.Context(), "p", at)
	if err != nil || !next.Equal(at.Add(time.Hour).Truncate(time.Second)) {
		t.Errorf("%v (%v)", next, err)
	}
	if next, err := v.NextLapse(t.Context(), "none", at); err != nil || !next.IsZero() {
		t.Errorf("of a provider without any: %v (%v)", next, err)
	}
}
