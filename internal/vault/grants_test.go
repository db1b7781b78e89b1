package vault

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

func newVault(t *testing.T) *Vault {
	t.Helper()
	st := newStore(t)
	return New(st, openKeyset(t, st, keysetPath(t)).Sealer(secret.Records))
}

var at = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func fullGrant(id string) *account.Grant {
	return &account.Grant{
		ID: id, Provider: "google", Name: "Alice", User: "alice@example.com", State: account.Connected,
		Generation: 7, Subject: "sub", Issuer: "https://id.example", ClientID: "client", ClientAuth: account.ClientSecret, Scopes: []string{"a", "b"},
		RefreshToken: secret.New("refresh token"), Refreshed: at, Attempts: 9,
		Lapses: at.Add(time.Hour), Foretold: at.Add(time.Minute), Missing: []string{"b"}, Unadopted: true,
		Proposed: &account.Proposal{
			Consent: account.Consent{
				Answer: account.Answer{
					AccessToken: secret.New("proposed access"), RefreshToken: secret.New("proposed refresh"), Scopes: []string{"a"},
					Life: time.Hour, Assumed: true, RefreshTokenLife: 2 * time.Hour, Date: at,
				},
				Audience: "mail", Identity: account.Identity{Subject: "other", Issuer: "https://id.example", Email: "bob@example.com", Proven: true, Name: "Bob"},
				ClientAuth: account.ClientNone, Scopes: []string{"a", "b"}, Missing: []string{"b"}, Asked: at,
			},
			AnySubject: true, Generation: 8, Confirm: "hash", Expires: at.Add(time.Hour),
		},
		Intent: &account.Intent{Number: 9, Owner: "me", Since: at, Audience: "mail", Lost: true},
		Access: []account.AccessToken{{
			Value: secret.New("access token"), Number: 8, Audience: "mail", Requested: "a", Scopes: []string{"a"},
			Issued: at, Expires: at.Add(time.Hour), Assumed: true,
		}},
		Failures: []account.Failed{{
			Failure:  account.Failure{Meaning: account.AudienceRefused, Status: 400, Code: "invalid_grant", Suberror: "s", Number: "AADSTS1", RetryAfter: time.Second, Claims: "{}"},
			Audience: "files", At: at, Times: 2, Retry: at.Add(time.Hour),
		}},
		Created: at, Updated: at,
	}
}

// reveal lets cmp compare secrets.
var reveal = cmp.Transformer("reveal", secret.String.Reveal)

func save(t *testing.T, v *Vault, g *account.Grant, version uint64) uint64 {
	t.Helper()
	version, err := v.Save(t.Context(), nil, g, version, time.Time{}, time.Time{})
	if err != nil {
		t.Fatalf("saving %s: %v", g.ID, err)
	}
	return version
}

func counts(t *testing.T, v *Vault) map[string]int {
	t.Helper()
	list, err := v.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, c := range list {
		got[c.Provider+" "+string(c.State)] = c.Accounts
	}
	return got
}

func TestGrantComesBackWhole(t *testing.T) {
	v := newVault(t)
	for _, want := range []*account.Grant{
		fullGrant("alice/with a slash"),
		{ID: "bare", Provider: "p", State: account.Init},
	} {
		version := save(t, v, want, 0)
		got, gotVersion, err := v.Grant(t.Context(), want.ID)
		if err != nil || gotVersion != version {
			t.Fatalf("version %d, want %d (%v)", gotVersion, version, err)
		}
		if diff := cmp.Diff(want, got, reveal); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.ID, diff)
		}
	}
	if _, _, err := v.Grant(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an account that is not there: %v", err)
	}
}

func TestNothingOfAGrantIsReadableInTheStore(t *testing.T) {
	v := newVault(t)
	save(t, v, fullGrant("alice"), 0)
	records, err := v.store.List(t.Context(), "", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		for _, plain := range []string{"refresh token", "access token", "Alice", "example.com", "proposed", "hash", "Bob"} {
			if strings.Contains(string(r.Value), plain) {
				t.Errorf("record %s contains %q", r.Key, plain)
			}
		}
	}
}

// Records that were written before a grant could wait for its confirmation, or
// for its adoption.
func TestOlderRecordOpens(t *testing.T) {
	v := newVault(t)
	const key = "grant/alice"
	value, err := v.seal.Seal([]byte(`{"id":"alice","provider":"google","name":"Alice","user":"alice@example.com","state":"connected","generation":7,`+
		`"subject":"sub","client_id":"client","client_auth":"secret","scopes":["a","b"],"refresh_token":"refresh token","refreshed":"2026-03-01T12:00:00Z",`+
		`"attempts":9,"access":[{"value":"access token","number":9,"audience":"mail","issued":"2026-03-01T12:00:00Z","expires":"2026-03-01T13:00:00Z"}],`+
		`"created":"2026-03-01T12:00:00Z","updated":"2026-03-01T12:00:00Z"}`), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.store.Commit(t.Context(), nil, store.Write{Key: key, Value: value}); err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	want := &account.Grant{
		ID: "alice", Provider: "google", Name: "Alice", User: "alice@example.com", State: account.Connected, Generation: 7,
		Subject: "sub", ClientID: "client", ClientAuth: account.ClientSecret, Scopes: []string{"a", "b"},
		RefreshToken: secret.New("refresh token"), Refreshed: noon, Attempts: 9,
		Access:  []account.AccessToken{{Value: secret.New("access token"), Number: 9, Audience: "mail", Issued: noon, Expires: noon.Add(time.Hour)}},
		Created: noon, Updated: noon,
	}
	got, _, err := v.Grant(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, reveal); diff != "" {
		t.Errorf("the grant (-want +got):\n%s", diff)
	}
}

func TestGrantMovedToAnotherAccountDoesNotOpen(t *testing.T) {
	v := newVault(t)
	save(t, v, fullGrant("alice"), 0)
	r, err := v.store.Get(t.Context(), "grant/alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.store.Commit(t.Context(), nil, store.Write{Key: "grant/bob", Value: r.Value}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Grant(t.Context(), "bob"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("opening it: %v", err)
	}
}

func TestSavingAnOlderVersionIsAConflict(t *testing.T) {
	v := newVault(t)
	g := fullGrant("alice")
	first := save(t, v, g, 0)
	second := save(t, v, g, first)
	g.State = account.Disabled
	for _, version := range []uint64{0, first} {
		if _, err := v.Save(t.Context(), nil, g, version, at, at); !errors.Is(err, store.ErrConflict) {
			t.Errorf("saving over version %d with %d: %v", second, version, err)
		}
	}
	if err := v.Remove(t.Context(), "alice", first); !errors.Is(err, store.ErrConflict) {
		t.Errorf("removing version %d with %d: %v", second, first, err)
	}
	if diff := cmp.Diff(map[string]int{"google connected": 1}, counts(t, v)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestCountsFollowProviderAndState(t *testing.T) {
	v := newVault(t)
	check := func(want map[string]int) {
		t.Helper()
		if diff := cmp.Diff(want, counts(t, v)); diff != "" {
			t.Errorf("counts (-want +got):\n%s", diff)
		}
	}
	g := &account.Grant{ID: "alice", Provider: "google", State: account.Init}
	version := save(t, v, g, 0)
	save(t, v, &account.Grant{ID: "bob", Provider: "google", State: account.Init}, 0)
	check(map[string]int{"google init": 2})
	g.State = account.Connected
	version = save(t, v, g, version)
	version = save(t, v, g, version)
	check(map[string]int{"google init": 1, "google connected": 1})
	g.Provider = "microsoft"
	version = save(t, v, g, version)
	check(map[string]int{"google init": 1, "microsoft connected": 1})
	if err := v.Remove(t.Context(), "alice", version); err != nil {
		t.Fatal(err)
	}
	check(map[string]int{"google init": 1})
}

func TestCountsAreRightUnderConcurrency(t *testing.T) {
	v := newVault(t)
	states := []account.State{account.Connected, account.AuthenticationError, account.Disabled}
	const accounts = 24
	var wg sync.WaitGroup
	for i := range accounts {
		wg.Go(func() {
			g := &account.Grant{ID: fmt.Sprint(i), Provider: "google", State: account.Init}
			version, err := v.Save(t.Context(), nil, g, 0, at, at)
			for _, state := range states {
				if err != nil {
					break
				}
				g.State = state
				version, err = v.Save(t.Context(), nil, g, version, at, at)
			}
			if err == nil && i%3 == 0 {
				err = v.Remove(t.Context(), g.ID, version)
			}
			if err != nil {
				t.Errorf("account %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[string]int{"google disabled": accounts * 2 / 3}, counts(t, v)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestOneOfManyWritersOfOneVersionWins(t *testing.T) {
	v := newVault(t)
	version := save(t, v, fullGrant("alice"), 0)
	var mu sync.Mutex
	won := 0
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			g := fullGrant("alice")
			g.State = account.States[i%len(account.States)]
			_, err := v.Save(t.Context(), nil, g, version, at, at)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, store.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d writers won", won)
	}
	g, _, err := v.Grant(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"google " + string(g.State): 1}, counts(t, v)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestSummariesComeByPage(t *testing.T) {
	v := newVault(t)
	var want []string
	for _, id := range []string{"a", "a/b", "b", "c", "d"} {
		save(t, v, &account.Grant{ID: id, Provider: "google", State: account.Init}, 0)
		want = append(want, id)
	}
	var got []string
	for after := ""; ; {
		page, err := v.Summaries(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page {
			got = append(got, s.ID)
		}
		if len(page) < 2 {
			break
		}
		after = page[len(page)-1].ID
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
}

func TestSummaryKeepsTheLastUseItKnows(t *testing.T) {
	v := newVault(t)
	g := fullGrant("alice")
	version, err := v.Save(t.Context(), nil, g, 0, at.Add(time.Hour), at)
	if err != nil {
		t.Fatal(err)
	}
	want := Summary{ID: "alice", Provider: "google", State: account.Connected, Due: at.Add(time.Hour), Lapses: g.Lapses, Used: at}
	for range 2 {
		got, err := v.Summary(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("summary (-want +got):\n%s", diff)
		}
		version = save(t, v, g, version) // knows neither use nor due time
		want.Due = time.Time{}
	}
}

func TestUnresolvedFollowsTheIntent(t *testing.T) {
	v := newVault(t)
	check := func(want ...string) {
		t.Helper()
		got, err := v.Unresolved(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("unresolved (-want +got):\n%s", diff)
		}
	}
	check()
	alice, bob := fullGrant("alice"), fullGrant("bob")
	aliceVersion, bobVersion := save(t, v, alice, 0), save(t, v, bob, 0)
	check("alice", "bob")
	alice.Intent = nil
	save(t, v, alice, aliceVersion)
	check("bob")
	if err := v.Remove(t.Context(), "bob", bobVersion); err != nil {
		t.Fatal(err)
	}
	check()
}

func TestRemovedAccountLeavesNothing(t *testing.T) {
	v := newVault(t)
	version := save(t, v, fullGrant("alice"), 0)
	if err := v.Remove(t.Context(), "alice", version); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{grantPrefix, indexPrefix, intentPrefix} {
		records, err := v.store.List(t.Context(), prefix, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) != 0 {
			t.Errorf("left under %s: %d records", prefix, len(records))
		}
	}
	if again := save(t, v, fullGrant("alice"), 0); again <= version {
		t.Errorf("version %d after version %d", again, version)
	}
}
