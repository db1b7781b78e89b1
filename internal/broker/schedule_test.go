package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

func TestAccountsInUseAreRenewedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.run()
		w.provider.set(func(p *fakeProvider) { p.delay = 200 * time.Millisecond })
		w.token("alice", "", Options{})
		for i := range 10 * 60 {
			advance(time.Minute)
			if got := w.token("alice", "", Options{}); got.Result != Hit {
				t.Fatalf("in minute %d a caller got its token %s", i, got.Result)
			}
		}
		w.noReplay()
		// Each token is used for 54 to 55 of its 60 minutes.
		if n := w.provider.count(); n < 11 || n > 12 {
			t.Errorf("%d requests in ten hours", n)
		}
	})
}

func TestIdleAccountsAreLeftAlone(t *testing.T) {
	for life, within := range map[time.Duration]time.Duration{
		time.Hour:     3 * time.Hour,
		8 * time.Hour: 24 * time.Hour,
	} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				w.provider.life = life
				w.register("alice")
				w.register("unused")
				w.run()
				w.token("alice", "", Options{})
				advance(within + life)
				n := w.provider.count()
				if want := int(within/life) + 1; n < want || n > want+1 {
					t.Errorf("%d requests within %v, want about %d", n, within, want)
				}
				advance(12 * time.Hour)
				w.requests(n)

				// Used again, it is renewed again.
				w.token("alice", "", Options{})
				advance(life)
				w.requests(n + 2)
			})
		})
	}
}

func TestTokenOfAnIdleAccountIsRenewedOnceUsedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.token("alice", "", Options{})
		w.restart() // the schedule is forgotten, the token is not
		w.run()
		advance(56 * time.Minute)
		for range 100 {
			if got := w.token("alice", "", Options{}); got.Result != Hit {
				t.Errorf("the token is a %s", got.Result)
			}
		}
		advance(time.Second)
		w.requests(2)
	})
}

func TestTokensOfSecondsStallNobody(t *testing.T) {
	for _, life := range []time.Duration{8 * time.Second, 8100 * time.Millisecond} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				w.provider.life = life
				w.provider.set(func(p *fakeProvider) { p.delay = 150 * time.Millisecond })
				w.register("alice")
				w.run()
				w.token("alice", "", Options{})
				for range 20 * 60 * 5 {
					advance(50 * time.Millisecond)
					began := time.Now()
					w.token("alice", "", Options{})
					if stall := time.Since(began); stall > 0 {
						t.Fatalf("a caller was stalled for %v", stall)
					}
				}
				w.noReplay()
			})
		})
	}
}

// During a reload the old configuration's broker may take out a renewal whose
// provider only the new one knows.
func TestRenewalTakenByAnotherConfigurationIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.token("alice", "", Options{})
		advance(56 * time.Minute)
		w.token("alice", "", Options{})
		old := New(w.Shared, nil, testSettings, w.watcher, w.log)
		for _, r := range w.renewal.due(w.clock.Now()) {
			old.renew(r)
		}
		w.run()
		advance(time.Second)
		w.requests(1)
		w.token("alice", "", Options{})
		advance(time.Second)
		w.requests(2)
	})
}

func TestRenewalIsTriedAgainWithoutTraffic(t *testing.T) {
	for _, meaning := range []account.Meaning{account.ProviderDown, account.Throttled, account.Unlisted, account.ClientMisconfigured} {
		t.Run(string(meaning), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				w.register("alice")
				w.run()
				w.token("alice", "", Options{})
				advance(50 * time.Minute)
				failed := 0
				w.provider.set(func(p *fakeProvider) {
					p.fail = func(account.RefreshRequest) error {
						if failed++; failed > 2 {
							return nil
						}
						return &account.Failure{Meaning: meaning, Status: 503}
					}
				})
				advance(15 * time.Minute)
				if got := w.token("alice", "", Options{}); got.Result != Hit {
					t.Errorf("the token is a %s", got.Result)
				}
				w.requests(4)
			})
		})
	}
}

func TestRenewalsThatFallDueTogetherAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		const accounts = 300
		for i := range accounts {
			w.register(fmt.Sprint("account", i))
			w.token(fmt.Sprint("account", i), "", Options{})
		}
		perSecond := make(map[time.Time]int)
		advance(time.Hour)
		for _, at := range w.provider.at[accounts:] {
			perSecond[at.Truncate(time.Second)]++
		}
		w.requests(2 * accounts)
		for at, n := range perSecond {
			if n > accounts/10 {
				t.Errorf("%d renewals in the second of %v", n, at)
			}
		}
	})
}

func TestDisabledAccountIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.run()
		w.token("alice", "", Options{})
		if err := w.Disable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		advance(24 * time.Hour)
		w.requests(1)
		w.refused("alice", "", Options{}, problem.AccountDisabled)
		if err := w.Enable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		w.token("alice", "", Options{})
		advance(time.Hour)
		w.requests(3)
	})
}

func TestStoreThatHangsHoldsUpNoRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := unsavedWorld(t)
		w.heal()
		w.register("bob")
		w.token("bob", "", Options{})
		h, err := w.locks.take(t.Context(), "alice", false) // as a save that hangs
		if err != nil {
			t.Fatal(err)
		}
		w.run()
		advance(time.Hour)
		w.requests(3) // alice's was not made again, bob's was
		h.release()
		advance(time.Second)
		if err := w.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
