package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// newDaemonWorld has a provider that nobody consents to in the place of the
// usual one.
func newDaemonWorld(t *testing.T, subjects string, shared bool) (*world, *daemon) {
	w := newWorld(t, account.RotationNone)
	d := newDaemon("daemon", w.journal)
	d.subjects, d.shared = subjects, shared
	w.provider = d.fakeProvider
	w.Broker = w.with(d)
	return w, d
}

// with is the broker of a configuration that has these providers.
func (w *world) with(providers ...Provider) *Broker {
	return New(w.Shared, providers, testSettings, w.watcher, slog.New(slog.DiscardHandler))
}

func TestRegisteringWithoutRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "", false)
		w.run()
		r := Registration{ID: "alice", Provider: "daemon", User: "alice@example.com", RefreshToken: secret.New("rt")}
		if err := w.Register(t.Context(), r); code(err) != problem.InvalidRequest {
			t.Errorf("with a refresh token: %v", err)
		}
		r.RefreshToken = secret.String{}
		if err := w.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		w.token("alice", "", Options{})
		if got := w.provider.requests[0]; got.Account != "alice" || got.User != "alice@example.com" {
			t.Errorf("asked for %+v", got)
		}
		if g := w.vault.stored(t, "alice"); g.State != account.Connected || g.Intent != nil {
			t.Errorf("stored is %+v", g)
		}
		advance(56 * time.Minute)
		w.requests(2) // renewed ahead
		w.refused("bob@example.com", "", Options{}, problem.AccountNotFound)
	})
}

func TestLostAnswerLeavesNoDoubtWithoutRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "", false)
		if err := w.Register(t.Context(), Registration{ID: "alice", Provider: "daemon"}); err != nil {
			t.Fatal(err)
		}
		w.provider.set(func(p *fakeProvider) { p.lose = 1 })
		w.refused("alice", "", Options{}, problem.ProviderUnavailable)
		if g := w.vault.stored(t, "alice"); g.Intent != nil {
			t.Errorf("intent %+v", g.Intent)
		}
		advance(2 * time.Second)
		w.token("alice", "", Options{})
	})
}

func TestDeadGrantThatNobodyCanReconnect(t *testing.T) {
	for _, registered := range []bool{true, false} {
		t.Run(fmt.Sprint("registered ", registered), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := newDaemonWorld(t, "alice", false)
				if registered {
					if err := w.Register(t.Context(), Registration{ID: "alice", Provider: "daemon"}); err != nil {
						t.Fatal(err)
					}
				}
				w.run()
				w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
				w.refused("alice", "", Options{}, problem.OAuthRenewError)
				w.refused("alice", "", Options{}, problem.OAuthRenewError)
				w.requests(1)
				advance(doubt + time.Minute)
				w.requests(2)
				if known, err := w.Account(t.Context(), "alice"); err != nil || known.State != account.AuthenticationError {
					t.Errorf("%+v, %v", known, err)
				}
				advance(5 * deadAgain)
				if n := w.provider.count(); n < 6 || n > 8 {
					t.Errorf("%d requests in five hours", n-2)
				}
				if n := w.watcher.count(AccountFailed); n != 1 {
					t.Errorf("told %d times", n)
				}
				w.provider.set(func(p *fakeProvider) { p.fail = nil })
				advance(deadAgain + time.Minute)
				if known, err := w.Account(t.Context(), "alice"); err != nil || known.State != account.Connected {
					t.Errorf("%+v, %v", known, err)
				}
				if n := w.watcher.count(AccountRecovered); n != 1 {
					t.Errorf("its recovery was told %d times", n)
				}
			})
		})
	}
}

func TestDeadGrantIsTriedAgainAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newDaemonWorld(t, "", false)
		if err := w.Register(t.Context(), Registration{ID: "alice", Provider: "daemon"}); err != nil {
			t.Fatal(err)
		}
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		w.refused("alice", "", Options{}, problem.OAuthRenewError)
		w.Shared.stop()
		w.Broker = New(NewShared(w.vault, "test", w.clock, slog.New(slog.DiscardHandler)), []Provider{d}, testSettings, w.watcher, slog.New(slog.DiscardHandler))
		w.run()
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		advance(doubt + time.Minute)
		w.requests(2)
		if g := w.vault.stored(t, "alice"); g.State != account.Connected {
			t.Errorf("state %s", g.State)
		}
	})
}

// Garbage that once was asked for is not asked about for ever.
func TestDeadGrantThatNobodyUsesIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "*", false)
		w.run()
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		w.refused("typo", "", Options{}, problem.OAuthRenewError)
		advance(usedAtMost + deadAgain)
		n := w.provider.count()
		advance(48 * time.Hour)
		w.requests(n)
	})
}

func TestAccountThatNobodyRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "*@example.com", false)
		w.run()
		const id = "alice@example.com"
		known, err := w.Account(t.Context(), id)
		if err != nil || known.Registered || known.User != id || known.Provider != "daemon" || known.State != account.Init {
			t.Errorf("%+v, %v", known, err)
		}
		w.provider.set(func(p *fakeProvider) { p.delay = 200 * time.Millisecond })
		if got := callers(w, 1000, id, Options{}); got[Refreshed] != 1 || got[Waited] != 999 {
			t.Errorf("results %v", got)
		}
		w.requests(1)
		first := w.token(id, "", Options{})
		if first.Result != Hit {
			t.Errorf("the token is a %s", first.Result)
		}
		if got := w.token(id, "", Options{NotNumber: first.Number}); got.Number <= first.Number {
			t.Errorf("token %d after %d was refused", got.Number, first.Number)
		}
		if got := w.token(id, "", Options{MinTTL: 30 * time.Minute}); got.Result != Hit {
			t.Errorf("with a least life: %s", got.Result)
		}
		w.token(id, "files", Options{Scopes: []string{"read"}})
		w.requests(3)
		advance(56 * time.Minute)
		w.requests(5) // both are in use
		g, err := w.Grant(t.Context(), id)
		if err != nil || g.ID != id || !g.Unregistered || g.State != account.Connected {
			t.Errorf("%+v, %v", g, err)
		}
		if len(w.vault.grants) != 0 {
			t.Errorf("%d records were written", len(w.vault.grants))
		}
		if n := w.watcher.count(AccountConnected); n != 0 {
			t.Errorf("told of %d accounts that exist anyway", n)
		}
		w.refused("alice@example.org", "", Options{}, problem.AccountNotFound)
	})
}

func TestAccountThatNobodyRegisteredNeedsNoStoreToBeRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "*", false)
		w.token("alice", "", Options{})
		w.vault.set(func(v *memVault) {
			v.readyErr, v.saveErr, v.readErr = errors.New("x"), errors.New("x"), errors.New("x")
		})
		advance(2 * time.Hour)
		w.token("alice", "", Options{})
	})
}

func TestFailuresOfAnAccountThatNobodyRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "*", false)
		w.provider.set(func(p *fakeProvider) {
			p.fail = failing(account.Failure{Meaning: account.AudienceRefused, Status: 400, Code: "invalid_scope"})
		})
		w.refused("alice", "files", Options{}, problem.InsufficientScope)
		w.refused("alice", "files", Options{}, problem.InsufficientScope)
		w.requests(1)
		w.provider.set(func(p *fakeProvider) {
			p.fail = failing(account.Failure{Meaning: account.ProviderDown, Status: 503})
		})
		w.refused("alice", "", Options{}, problem.ProviderUnavailable)
		w.refused("bob", "", Options{}, problem.ProviderUnavailable)
		w.requests(2) // the endpoint rests
	})
}

func TestChangingAnAccountThatNobodyRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "*", false)
		ctx := t.Context()
		w.token("alice", "", Options{})
		for name, err := range map[string]error{
			"disable": w.Disable(ctx, "alice"),
			"enable":  w.Enable(ctx, "alice"),
			"rename":  w.Rename(ctx, "alice", "Alice", ""),
			"remove":  w.Remove(ctx, "alice", true),
			"replace": w.Replace(ctx, Registration{ID: "alice", Provider: "daemon"}),
			"adopt":   w.Adopt(ctx, "alice"),
		} {
			if code(err) != problem.Conflict {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.token("alice", "", Options{})
		w.requests(1)
	})
}

func TestRegisteredAccountWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newDaemonWorld(t, "*", false)
		person := newFakeProvider("fake", account.RotationSingleUse, w.journal)
		w.Broker = w.with(d, person)
		w.token("alice", "", Options{})
		if err := w.Register(t.Context(), Registration{ID: "alice", Provider: "fake", RefreshToken: person.consent("alice")}); err != nil {
			t.Fatal(err)
		}
		w.token("alice", "", Options{})
		if known, err := w.Account(t.Context(), "alice"); err != nil || known.Provider != "fake" || !known.Registered || person.count() != 1 {
			t.Errorf("%+v, %v; %d requests", known, err, person.count())
		}
		w.cache.InvalidateAll()
		if known, err := w.Account(t.Context(), "alice"); err != nil || known.Provider != "fake" {
			t.Errorf("read again: %+v, %v", known, err)
		}
		if err := w.Remove(t.Context(), "alice", false); err != nil {
			t.Fatal(err)
		}
		if known, err := w.Account(t.Context(), "alice"); err != nil || known.Provider != "daemon" || known.Registered {
			t.Errorf("removed: %+v, %v", known, err)
		}
	})
}

func TestConfigurationDecidesWhoIsCovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "*", false)
		w.token("alice", "", Options{})
		again := newDaemon("daemon", w.journal)
		again.subjects = "*"
		w.Broker = w.with(again)
		if got := w.token("alice", "", Options{}); got.Result != Hit {
			t.Errorf("after a reload the token is a %s", got.Result)
		}

		narrower := newDaemon("daemon", w.journal)
		narrower.subjects = "b*"
		w.Broker = w.with(narrower)
		w.refused("alice", "", Options{}, problem.AccountNotFound)
		if _, err := w.Account(t.Context(), "alice"); code(err) != problem.AccountNotFound {
			t.Errorf("the account: %v", err)
		}

		w.Broker = w.with(again)
		w.token("alice", "", Options{})
		other := newDaemon("other", w.journal)
		other.subjects = "a*"
		w.Broker = w.with(narrower, other)
		w.token("alice", "", Options{})
		if other.count() != 1 {
			t.Errorf("the other provider was asked %d times", other.count())
		}

		another := newDaemon("other", w.journal)
		another.subjects, another.client = "a*", "another"
		w.Broker = w.with(another)
		w.token("alice", "", Options{})
		if another.count() != 1 {
			t.Errorf("another client was asked %d times", another.count())
		}
	})
}

// What is not covered any more is not renewed in the background either.
func TestAccountThatIsNotCoveredAnyMoreIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newDaemonWorld(t, "*", false)
		w.run()
		w.token("alice", "", Options{})
		w.provider.set(func(*fakeProvider) { d.subjects = "b*" })
		advance(2 * time.Hour)
		w.requests(1)
	})
}

func TestMemoryUnderPressureCostsTokenRequestsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "*", false)
		w.cache = newCache(20 << 10)
		w.provider.set(func(p *fakeProvider) { p.delay = 100 * time.Millisecond })
		const accounts = 200
		var wg sync.WaitGroup
		for i := range accounts {
			wg.Go(func() {
				id := fmt.Sprint("account", i)
				var last uint64
				for range 3 {
					token, err := w.Token(t.Context(), id, "", Options{NotNumber: last})
					if err != nil || token.Number <= last {
						t.Errorf("token %d after %d (%v)", token.Number, last, err)
					}
					last = token.Number
				}
			})
		}
		wg.Wait()
		w.cache.CleanUp()
		if n := w.cache.EstimatedSize(); n > accounts/4 {
			t.Errorf("%d accounts are in memory", n)
		}
	})
}

func TestNewClientIsAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "", false)
		if err := w.Register(t.Context(), Registration{ID: "alice", Provider: "daemon"}); err != nil {
			t.Fatal(err)
		}
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		w.refused("alice", "", Options{}, problem.OAuthRenewError)
		next := newDaemon("daemon", w.journal)
		next.client = "another"
		w.Broker = w.with(next)
		w.token("alice", "", Options{})
		if g := w.vault.stored(t, "alice"); g.ClientID != "another" || g.State != account.Connected {
			t.Errorf("stored is %+v", g)
		}
	})
}

func TestOneTokenServesAllAccountsOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newDaemonWorld(t, "", true)
		w.run()
		const accounts = 100
		for i := range accounts {
			if err := w.Register(t.Context(), Registration{ID: fmt.Sprint(i), Provider: "daemon"}); err != nil {
				t.Fatal(err)
			}
		}
		w.provider.set(func(p *fakeProvider) { p.delay = 200 * time.Millisecond })
		all := func() {
			var wg sync.WaitGroup
			for i := range accounts {
				wg.Go(func() {
					token, err := w.Token(t.Context(), fmt.Sprint(i), "", Options{})
					if err != nil || !token.Expires.After(w.clock.Now()) {
						t.Errorf("account %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			synctest.Wait()
		}
		all()
		w.requests(1)
		if got := w.provider.requests[0]; got.Account != "" || got.User != "" {
			t.Errorf("asked for account %q of %q", got.Account, got.User)
		}
		if g := w.vault.stored(t, "7"); g.State != account.Connected || len(g.Access) != 0 {
			t.Errorf("stored is %+v", g)
		}
		if n := w.watcher.count(AccountConnected); n != accounts {
			t.Errorf("told of %d accounts", n)
		}
		w.token("7", "files", Options{})
		w.token("8", "files", Options{})
		w.requests(2)
		first := w.token("7", "", Options{})
		w.token("7", "", Options{NotNumber: first.Number})
		if got := w.token("8", "", Options{NotNumber: first.Number}); got.Result != Hit {
			t.Errorf("what one saw refused, another asked for anew: %s", got.Result)
		}
		w.requests(3)
		advance(56 * time.Minute)
		n := w.provider.count()
		all()
		w.requests(n)

		if err := w.Disable(t.Context(), "7"); err != nil {
			t.Fatal(err)
		}
		w.refused("7", "", Options{}, problem.AccountDisabled)
		w.token("8", "", Options{})
		w.refused("nobody", "", Options{}, problem.AccountNotFound)
		// Its own ID is nobody's account.
		pool := w.named().pool
		w.refused(pool, "", Options{}, problem.AccountNotFound)
		if _, err := w.Account(t.Context(), pool); code(err) != problem.AccountNotFound {
			t.Errorf("the shared grant's account: %v", err)
		}
		w.provider.set(func(*fakeProvider) { d.subjects = "*" })
		w.refused(pool, "", Options{}, problem.AccountNotFound)

		again := newDaemon("daemon", w.journal)
		again.shared = true
		w.Broker = w.with(again)
		w.token("8", "", Options{})
		if again.count() != 0 {
			t.Error("a reload made a token request")
		}
		again = newDaemon("daemon", w.journal)
		again.shared, again.client = true, "another"
		w.Broker = w.with(again)
		w.token("8", "", Options{})
		if again.count() != 1 {
			t.Errorf("another client was asked %d times", again.count())
		}
	})
}

func TestNoAccountIsToBlameForASharedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "", true)
		for _, id := range []string{"alice", "bob"} {
			if err := w.Register(t.Context(), Registration{ID: id, Provider: "daemon"}); err != nil {
				t.Fatal(err)
			}
		}
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		w.refused("alice", "", Options{}, problem.ProviderMisconfigured)
		w.refused("bob", "", Options{}, problem.ProviderMisconfigured)
		w.requests(1)
		synctest.Wait()
		if w.watcher.count(ProviderMisconfigured) != 1 || w.watcher.count(AccountFailed) != 0 {
			t.Errorf("events %+v", w.watcher.events)
		}
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		advance(2 * clientAgain)
		w.token("alice", "", Options{})
	})
}

func TestSharedTokenIsServedWithoutAllocation(t *testing.T) {
	d := newDaemon("daemon", &journal{})
	d.shared, d.subjects = true, "*"
	s := NewShared(newMemVault(d.journal), "test", clockwork.NewRealClock(), slog.New(slog.DiscardHandler))
	t.Cleanup(s.Close)
	b := New(s, []Provider{d}, testSettings, &watcher{}, slog.New(slog.DiscardHandler))
	ctx := t.Context()
	if _, err := b.Token(ctx, "alice", "", Options{}); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if got, err := b.Token(ctx, "alice", "", Options{}); err != nil || got.Result != Hit {
			t.Fatalf("got %s, %v", got.Result, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whoever has the same account ID at another EmailEngine may be somebody else.
func TestTokensOfAnotherClientAreNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "", false)
		if err := w.Register(t.Context(), Registration{ID: "alice", Provider: "daemon"}); err != nil {
			t.Fatal(err)
		}
		if err := w.Register(t.Context(), Registration{ID: "bob", Provider: "daemon"}); err != nil {
			t.Fatal(err)
		}
		first := w.token("alice", "", Options{})
		w.token("alice", "files", Options{})
		next := newDaemon("daemon", w.journal)
		next.client = "another"
		w.Broker = w.with(next)
		next.set(func(p *fakeProvider) { p.fail = failing(account.Failure{Meaning: account.ProviderDown}) })
		w.refused("bob", "", Options{}, problem.ProviderUnavailable)
		w.refused("alice", "", Options{}, problem.ProviderUnavailable) // while nobody is asked
		advance(time.Minute)
		w.refused("alice", "", Options{}, problem.ProviderUnavailable)
		next.set(func(p *fakeProvider) { p.fail = nil })
		advance(time.Hour / 2) // the first token still lives
		if n := next.count(); n != 2 {
			t.Errorf("%d requests that failed", n)
		}
		if got := w.token("alice", "", Options{}); next.count() != 3 || got.Number <= first.Number {
			t.Errorf("got token %d after %d requests", got.Number, next.count())
		}
		w.token("alice", "files", Options{})
		if n := next.count(); n != 4 {
			t.Errorf("%d requests: the other audience's token is the old client's", n)
		}
	})
}

func TestReconnectTriesASharedTokenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "", true)
		if err := w.Register(t.Context(), Registration{ID: "alice", Provider: "daemon"}); err != nil {
			t.Fatal(err)
		}
		w.provider.set(func(p *fakeProvider) { p.fail = failing(account.Failure{Meaning: account.AudienceRefused}) })
		w.refused("alice", "", Options{}, problem.InsufficientScope)
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		w.refused("alice", "", Options{}, problem.InsufficientScope)
		w.requests(1)
		if _, err := w.Reconnect(t.Context(), "alice"); err != nil {
			t.Errorf("once an administrator has granted it: %v", err)
		}
		w.token("alice", "", Options{})
	})
}

// A caller has decided by the provider where the token goes.
func TestTokensAreTheProvidersThatTheyAreAskedOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		other := newFakeProvider("other", account.RotationNone, w.journal)
		w.Broker = w.with(w.provider, other)
		if err := w.Register(t.Context(), Registration{ID: "alice", Provider: "other", RefreshToken: other.consent("alice")}); err != nil {
			t.Fatal(err)
		}
		w.token("alice", "", Options{Provider: "other"})
		w.refused("alice", "", Options{Provider: "fake"}, problem.ProviderUnavailable)

		// Removed and added anew while a call waits for its turn.
		w.register("bob")
		p := w.named()
		if err := w.Remove(t.Context(), "bob", false); err != nil {
			t.Fatal(err)
		}
		r := Registration{ID: "bob", Provider: "other", AccessToken: secret.New("other's"), AccessExpires: w.clock.Now().Add(time.Hour)}
		if err := w.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got, err := w.await(t.Context(), p, "bob", need{audience: p.DefaultAudience()}); code(err) != problem.ProviderUnavailable {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestAnotherLoginHasOtherTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newDaemonWorld(t, "", false)
		if err := w.Register(t.Context(), Registration{ID: "alice", Provider: "daemon", User: "bob@example.com"}); err != nil {
			t.Fatal(err)
		}
		rename := func(name, user string) {
			t.Helper()
			if err := w.Rename(t.Context(), "alice", name, user); err != nil {
				t.Fatal(err)
			}
		}
		w.token("alice", "", Options{})
		rename("A.", "")
		rename("", "bob@example.com")
		w.token("alice", "", Options{})
		w.requests(1)
		rename("", "allice@example.com")
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		w.refused("alice", "", Options{}, problem.OAuthRenewError) // bob's token is not served as hers
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		rename("", "alice@example.com")
		w.token("alice", "", Options{})
		if got := w.provider.requests[2]; got.User != "alice@example.com" {
			t.Errorf("asked for %+v", got)
		}
		if err := w.Disable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		rename("", "carol@example.com")
		w.refused("alice", "", Options{}, problem.AccountDisabled)
	})
}
