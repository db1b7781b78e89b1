package broker

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func code(err error) problem.Code {
	if err == nil {
		return ""
	}
	return problem.From(err).Code
}

func TestRegisteringChecks(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Registration)
		want   problem.Code
	}{
		"as it should be":            {func(*Registration) {}, ""},
		"ID that cannot be":          {func(r *Registration) { r.ID = "/" }, problem.InvalidRequest},
		"unknown provider":           {func(r *Registration) { r.Provider = "nobody" }, problem.InvalidRequest},
		"no token at all":            {func(r *Registration) { r.RefreshToken = secret.String{} }, problem.InvalidRequest},
		"white space in the token":   {func(r *Registration) { r.RefreshToken = secret.New("two\ntokens") }, problem.InvalidRequest},
		"an access token that lives": {func(r *Registration) { r.AccessToken = secret.New("at") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				r := Registration{ID: "alice", Provider: "fake", RefreshToken: w.provider.consent("alice"), AccessExpires: w.clock.Now().Add(time.Hour)}
				test.change(&r)
				if got := code(w.Register(t.Context(), r)); got != test.want {
					t.Fatalf("got %q, want %q", got, test.want)
				}
				if test.want != "" {
					return
				}
				w.token("alice", "", Options{})
				want := 1
				if !r.AccessToken.IsZero() {
					want = 0
				}
				w.requests(want)
			})
		})
	}
}

func TestRegisteringAnExistingAccountChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.token("alice", "", Options{})
		before := w.vault.stored(t, "alice")
		err := w.Register(t.Context(), Registration{ID: "alice", Provider: "fake", RefreshToken: secret.New("older")})
		if code(err) != problem.Conflict {
			t.Errorf("got %v", err)
		}
		if diff := cmp.Diff(before, w.vault.stored(t, "alice")); diff != "" {
			t.Errorf("stored (-before +after):\n%s", diff)
		}
		if got := w.token("alice", "", Options{}); got.Result != Hit {
			t.Errorf("the token is a %s", got.Result)
		}
	})
}

func TestReplacingAsksTheProviderFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		if err := w.Rename(t.Context(), "alice", "Alice", "alice@example.com"); err != nil {
			t.Fatal(err)
		}
		old := w.token("alice", "", Options{})
		before := w.vault.stored(t, "alice")

		err := w.Replace(t.Context(), Registration{ID: "alice", Provider: "fake", RefreshToken: secret.New("unknown#1")})
		if code(err) != problem.OAuthRenewError {
			t.Errorf("with a dead grant: %v", err)
		}
		if diff := cmp.Diff(before, w.vault.stored(t, "alice")); diff != "" {
			t.Errorf("stored (-before +after):\n%s", diff)
		}

		advance(time.Second)
		err = w.Replace(t.Context(), Registration{ID: "alice", Provider: "fake", RefreshToken: w.provider.consent("newer")})
		if err != nil {
			t.Fatal(err)
		}
		after := w.vault.stored(t, "alice")
		if after.RefreshToken.Reveal() != "newer#2" || after.Generation <= before.Generation || after.Name != "Alice" ||
			after.User != "alice@example.com" || !after.Created.Equal(before.Created) {
			t.Errorf("stored: %+v, refresh token %s", after, after.RefreshToken.Reveal())
		}
		if got := w.token("alice", "", Options{NotNumber: old.Number}); got.Result != Hit || got.Number <= old.Number {
			t.Errorf("token %d as %s after token %d", got.Number, got.Result, old.Number)
		}
		err = w.Replace(t.Context(), Registration{ID: "nobody", Provider: "fake", RefreshToken: secret.New("x")})
		if code(err) != problem.AccountNotFound {
			t.Errorf("an account that is not there: %v", err)
		}
	})
}

func TestReplacingMendsADeadGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		w.refused("alice", "", Options{}, problem.OAuthRenewError)
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		if err := w.Replace(t.Context(), Registration{ID: "alice", Provider: "fake", RefreshToken: w.provider.consent("newer")}); err != nil {
			t.Fatal(err)
		}
		w.token("alice", "", Options{})
		if g := w.vault.stored(t, "alice"); g.State != account.Connected || len(g.Failures) != 0 {
			t.Errorf("stored: state %s, failures %v", g.State, g.Failures)
		}
	})
}

func TestReplacingDuringARefreshComesAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) { p.delay = time.Second })
		go func() { _, _ = w.Token(t.Context(), "alice", "", Options{}) }()
		synctest.Wait()
		if err := w.Replace(t.Context(), Registration{ID: "alice", Provider: "fake", RefreshToken: w.provider.consent("newer")}); err != nil {
			t.Fatal(err)
		}
		if got := w.vault.stored(t, "alice").RefreshToken.Reveal(); got != "newer#2" {
			t.Errorf("the stored refresh token is %s", got)
		}
	})
}

func TestReplacementThatCannotBeSavedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.vault.set(func(v *memVault) { v.saveErr = errors.New("no room") })
		if err := w.Replace(t.Context(), Registration{ID: "alice", Provider: "fake", RefreshToken: w.provider.consent("newer")}); err != nil {
			t.Fatal(err)
		}
		token := w.token("alice", "", Options{})
		w.vault.set(func(v *memVault) { v.saveErr = nil })
		w.Close()
		g := w.vault.stored(t, "alice")
		if g.RefreshToken.Reveal() != "newer#2" || g.Access[0].Number < token.Number {
			t.Errorf("stored: refresh token %s, token %d; served was %d", g.RefreshToken.Reveal(), g.Access[0].Number, token.Number)
		}
	})
}

// A call that began before the account went to another provider must not send
// the new refresh token to the old one.
func TestRefreshTokenStaysWithItsProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		other := newFakeProvider("other", account.RotationSingleUse, w.journal)
		w.Broker = New(w.Shared, []Provider{w.provider, other}, testSettings, w.watcher, w.log)
		w.register("alice")
		h, err := w.locks.take(t.Context(), "alice", false)
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error)
		go func() {
			_, err := w.Token(t.Context(), "alice", "", Options{})
			failed <- err
		}()
		synctest.Wait()
		moved := w.vault.stored(t, "alice")
		moved.Provider, moved.RefreshToken, moved.ClientID = "other", other.consent("moved"), other.client
		w.vault.set(func(v *memVault) { v.grants["alice"] = moved })
		w.cache.Invalidate("alice")
		h.release()
		if err := <-failed; code(err) != problem.ProviderUnavailable {
			t.Errorf("got %v", err)
		}
		w.requests(0)
		w.token("alice", "", Options{})
		w.requests(0)
	})
}

func TestDisablingAndEnabling(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*world)
		want    account.State
	}{
		"never used": {func(*world) {}, account.Init},
		"connected":  {func(w *world) { w.token("alice", "", Options{}) }, account.Connected},
		"dead": {func(w *world) {
			w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
			w.refused("alice", "", Options{}, problem.OAuthRenewError)
		}, account.AuthenticationError},
		"audience refused": {func(w *world) {
			w.provider.audience = ""
			w.token("alice", "files", Options{})
			w.provider.set(func(p *fakeProvider) { p.fail = failing(account.Failure{Meaning: account.AudienceRefused}) })
			w.refused("alice", "", Options{}, problem.InsufficientScope)
		}, account.Connected},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				w.register("alice")
				test.prepare(w)
				if err := w.Enable(t.Context(), "alice"); err != nil {
					t.Fatal(err)
				}
				if err := w.Disable(t.Context(), "alice"); err != nil {
					t.Fatal(err)
				}
				w.refused("alice", "", Options{}, problem.AccountDisabled)
				if err := w.Enable(t.Context(), "alice"); err != nil {
					t.Fatal(err)
				}
				a, err := w.Account(t.Context(), "alice")
				if err != nil || a.State != test.want {
					t.Errorf("the state is %s, want %s (%v)", a.State, test.want, err)
				}
			})
		})
	}
}

func TestRemoving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		for _, test := range []struct {
			err  error
			want problem.Code
		}{
			{&account.Failure{Meaning: account.ProviderDown}, problem.ProviderUnavailable},
			{&account.Failure{Meaning: account.Throttled}, problem.ProviderUnavailable},
			{&account.Failure{Meaning: account.ClientMisconfigured}, problem.ProviderError},
			{errors.New("there is no revocation"), problem.Conflict},
		} {
			w.provider.set(func(p *fakeProvider) { p.revokeErr = test.err })
			if err := w.Remove(t.Context(), "alice", true); code(err) != test.want {
				t.Errorf("%v: %v", test.err, err)
			}
		}
		w.token("alice", "", Options{})
		w.provider.set(func(p *fakeProvider) { p.revokeErr = nil })
		if err := w.Remove(t.Context(), "alice", true); err != nil {
			t.Fatal(err)
		}
		w.refused("alice", "", Options{}, problem.AccountNotFound)
		if err := w.Remove(t.Context(), "alice", false); code(err) != problem.AccountNotFound {
			t.Errorf("once more: %v", err)
		}
		w.register("alice")
		w.token("alice", "", Options{})
		if w.provider.revokes != 5 {
			t.Errorf("revoked %d times", w.provider.revokes)
		}
	})
}

func TestRemovingDuringARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.run()
		w.provider.set(func(p *fakeProvider) { p.delay = time.Second })
		served := make(chan error)
		go func() {
			_, err := w.Token(t.Context(), "alice", "", Options{})
			served <- err
		}()
		synctest.Wait()
		removed := make(chan error)
		go func() { removed <- w.Remove(t.Context(), "alice", false) }()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := <-removed; err != nil {
			t.Error(err)
		}
		advance(24 * time.Hour)
		w.refused("alice", "", Options{}, problem.AccountNotFound)
		w.requests(1)
	})
}
