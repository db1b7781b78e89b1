package broker

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

const day = 24 * time.Hour

// skip sets the wall clock on by d and lets what is due by then be seen to.
func (w *world) skip(d time.Duration) {
	w.clock.by.Add(int64(d))
	advance(attendEvery + tick)
}

func TestIdleGrantIsKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.token("alice", "", Options{})
		w.restart() // nothing but the store knows of alice
		w.run()
		w.skip(13 * day)
		w.requests(1)
		for range 40 {
			w.skip(7 * day / 2)
			if idle := w.clock.Now().Sub(w.vault.stored(t, "alice").Refreshed); idle > DefaultKeepalive {
				t.Fatalf("the grant was idle for %v", idle)
			}
		}
		if n := w.provider.count(); n > 11 {
			t.Errorf("%d requests in twenty weeks of idleness", n)
		}
		w.noReplay()
		w.token("alice", "", Options{})
	})
}

func TestGrantThatWasNeverUsedIsKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.run()
		w.skip(10 * day)
		w.requests(0)
		w.skip(10 * day)
		w.requests(1)
	})
}

func TestKeepaliveMakesNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const accounts = 200
		w := newWorld(t, account.RotationSingleUse)
		for i := range accounts {
			w.register(fmt.Sprint("account", i))
		}
		w.provider.set(func(p *fakeProvider) { p.delay = time.Second })
		w.restart()
		w.run()
		w.skip(400 * day) // long after all of them were due
		for w.provider.count() < accounts {
			advance(time.Second)
		}
		if w.provider.most > testSettings.Workers {
			t.Errorf("%d requests at once, %d are allowed", w.provider.most, testSettings.Workers)
		}
		advance(time.Minute)
		w.requests(accounts)
	})
}

func TestAccountsThatWereRegisteredTogetherAreDueApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		const accounts = 100
		for i := range accounts {
			w.register(fmt.Sprint("account", i))
		}
		w.skip(11 * day)
		most, before := 0, 0
		for range 20 {
			w.skip(day / 2)
			now := w.provider.count()
			most, before = max(most, now-before), now
		}
		if before != accounts {
			t.Fatalf("%d of %d accounts were renewed", before, accounts)
		}
		if most > accounts/3 {
			t.Errorf("%d of %d accounts fell due within half a day", most, accounts)
		}
	})
}

func TestNothingIsKeptAliveThatOnlyAPersonCanMend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("dead")
		w.register("disabled")
		w.provider.set(func(p *fakeProvider) { p.families["dead"].revoked = true })
		w.run()
		w.skip(20 * day)
		w.skip(doubt)
		if err := w.Disable(t.Context(), "disabled"); err != nil {
			t.Fatal(err)
		}
		n := w.provider.count()
		for range 10 {
			w.skip(20 * day)
		}
		w.requests(n)
		if due := w.vault.due["dead"]; !due.IsZero() {
			t.Errorf("a grant that is dead for good is due at %v", due)
		}
	})
}

func TestDoubtIsRemovedAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		w.refused("alice", "", Options{}, "OauthRenewError")
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		w.restart()
		w.run()
		w.skip(doubt)
		if got := w.vault.stored(t, "alice").State; got != account.Connected {
			t.Errorf("the account is %s", got)
		}
	})
}

func TestGrantThatLapsesIsForetoldOnce(t *testing.T) {
	for name, c := range map[string]struct {
		life  time.Duration // as the answer says
		idle  time.Duration // as the provider documents
		until time.Duration // nothing is said until then
		then  time.Duration // and by then it is
	}{
		"testing consent of a week": {life: 7 * day, until: 5 * day, then: 11 * day / 2},
		"ninety idle days":          {idle: 90 * day, until: 80 * day, then: 85 * day},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationKeepsOld)
				lapses := w.clock.Now().Add(c.life)
				w.provider.set(func(p *fakeProvider) {
					p.idleLife = c.idle
					p.dress = func(_ account.RefreshRequest, a *account.Answer) error {
						if c.life > 0 {
							a.RefreshTokenLife = lapses.Sub(w.clock.Now())
						}
						return nil
					}
				})
				w.register("alice")
				w.token("alice", "", Options{})
				if c.idle > 0 {
					// Kept alive it would not lapse.
					if err := w.Disable(t.Context(), "alice"); err != nil {
						t.Fatal(err)
					}
				}
				w.run()
				w.skip(c.until)
				if n := w.watcher.count(GrantExpiring); n != 0 {
					t.Fatalf("%d events too early", n)
				}
				w.skip(c.then - c.until)
				w.skip(time.Hour)
				w.restart()
				w.run()
				w.skip(time.Hour)
				if n := w.watcher.count(GrantExpiring); n != 1 {
					t.Errorf("%d events, want 1", n)
				}
			})
		})
	}
}

func TestRefreshTokenWithAFixedEndIsNotRenewedWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		lapses := w.clock.Now().Add(day)
		w.provider.set(func(p *fakeProvider) {
			p.dress = func(_ account.RefreshRequest, a *account.Answer) error {
				a.RefreshTokenLife = max(lapses.Sub(w.clock.Now()), time.Second)
				return nil
			}
		})
		w.register("alice")
		w.token("alice", "", Options{})
		w.run()
		for range 24 * 6 {
			w.skip(10 * time.Minute)
		}
		if n := w.provider.count(); n > 24 {
			t.Errorf("%d requests in a day for a token that ends with the day", n)
		}
	})
}

func TestClockOfTheProviderIsCompared(t *testing.T) {
	for name, by := range map[string]time.Duration{"alike": 0, "ahead": 10 * time.Minute, "behind": -10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationNone)
				w.provider.set(func(p *fakeProvider) {
					p.dress = func(_ account.RefreshRequest, a *account.Answer) error {
						a.Date = w.clock.Now().Add(by).Truncate(time.Second)
						return nil
					}
				})
				w.register("alice")
				w.token("alice", "", Options{})
				if off := math.Abs((w.watcher.skew - by).Seconds()); off > 1 {
					t.Errorf("a skew of %v was measured as %v", by, w.watcher.skew)
				}
			})
		})
	}
}

func TestTokenFromTheFutureIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.clock.by.Store(int64(10 * time.Minute)) // the clock is wrong
		w.register("alice")
		w.token("alice", "", Options{})
		w.clock.by.Store(0) // and is put right: the stored end is ten minutes late
		w.restart()
		if got := w.token("alice", "", Options{}); got.Result != Refreshed {
			t.Errorf("the token was %s", got.Result)
		}
	})
}

func TestStoreIsSweptNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.run()
		advance(3*sweepEvery + time.Minute)
		w.vault.mu.Lock()
		defer w.vault.mu.Unlock()
		if w.vault.sweeps != 3 {
			t.Errorf("swept %d times in three hours", w.vault.sweeps)
		}
	})
}
