package broker

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

func TestDeadGrantIsToldAtOnceAndTriedOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.register("alice")
		w.run()
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		p := w.refused("alice", "", Options{}, problem.OAuthRenewError)
		if f, ok := errors.AsType[*account.Failure](p); !ok || f.Code != "invalid_grant" {
			t.Errorf("the cause is %v", p.Err)
		}
		if g := w.vault.stored(t, "alice"); g.State != account.AuthenticationError || g.RefreshToken.Reveal() != "alice#1" {
			t.Errorf("stored: state %s, refresh token %s", g.State, g.RefreshToken.Reveal())
		}
		advance(4*time.Minute + 58*time.Second)
		w.refused("alice", "other", Options{}, problem.OAuthRenewError)
		w.requests(1)
		advance(3 * time.Second)
		w.requests(2)
		for range 12 {
			advance(time.Hour)
			w.refused("alice", "", Options{}, problem.OAuthRenewError)
		}
		w.requests(2)
		if n := w.watcher.count(AccountFailed); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

func TestDeadGrantRecoversByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.register("alice")
		w.token("alice", "", Options{})
		w.run()
		advance(time.Minute)
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		// The token in hand still lives and is served; the grant is tried again
		// all the same.
		if got := w.token("alice", "", Options{Force: true}); got.Result != Hit {
			t.Errorf("the living token is a %s", got.Result)
		}
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		advance(5*time.Minute + time.Second)
		w.requests(3)
		if g := w.vault.stored(t, "alice"); g.State != account.Connected || len(g.Failures) != 0 {
			t.Errorf("stored: state %s, failures %v", g.State, g.Failures)
		}
		if w.watcher.count(AccountRecovered) != 1 {
			t.Error("the recovery was not told")
		}
	})
}

func TestDeadGrantIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		var wg sync.WaitGroup
		for i := range 10_000 {
			wg.Go(func() {
				<-time.After(time.Duration(i) * 100 * time.Millisecond)
				if _, err := w.Token(t.Context(), "alice", "", Options{}); problem.From(err).Code != problem.OAuthRenewError {
					t.Errorf("a caller got %v", err)
				}
			})
		}
		wg.Wait()
		w.requests(2)
	})
}

func TestRefusedAudienceLeavesTheOthersWorking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) {
			p.fail = func(r account.RefreshRequest) error {
				if r.Audience == "files" {
					return &account.Failure{Meaning: account.AudienceRefused, Code: "invalid_grant", Suberror: "consent_required"}
				}
				return nil
			}
		})
		w.refused("alice", "files", Options{}, problem.InsufficientScope)
		w.token("alice", "mail", Options{})
		w.refused("alice", "files", Options{}, problem.InsufficientScope)
		w.requests(2)
		if g := w.vault.stored(t, "alice"); g.State != account.Connected {
			t.Errorf("the state is %s", g.State)
		}
		advance(time.Hour)
		w.refused("alice", "files", Options{}, problem.InsufficientScope)
		w.requests(3)
	})
}

func TestRefusedScopesLeaveTheAudienceWorking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) {
			p.fail = func(r account.RefreshRequest) error {
				if len(r.Scopes) > 0 {
					return &account.Failure{Meaning: account.AudienceRefused, Code: "invalid_scope"}
				}
				return nil
			}
		})
		narrow := Options{Scopes: []string{"b", "a"}}
		w.refused("alice", "", narrow, problem.InsufficientScope)
		w.token("alice", "", Options{})
		w.refused("alice", "", Options{Scopes: []string{"a", "b"}}, problem.InsufficientScope)
		w.requests(2)
	})
}

func TestMisconfiguredClientBlamesNoAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.register("alice")
		w.register("bob")
		w.provider.set(func(p *fakeProvider) {
			p.fail = failing(account.Failure{Meaning: account.ClientMisconfigured, Code: "invalid_client"})
		})
		w.refused("alice", "", Options{}, problem.ProviderMisconfigured)
		w.refused("bob", "", Options{}, problem.ProviderMisconfigured)
		w.requests(1)
		for _, id := range []string{"alice", "bob"} {
			if g := w.vault.stored(t, id); g.State != account.Init || len(g.Failures) != 0 {
				t.Errorf("%s: state %s, failures %v", id, g.State, g.Failures)
			}
		}
		advance(time.Minute)
		w.refused("bob", "", Options{}, problem.ProviderMisconfigured)
		w.requests(2)
		synctest.Wait()
		if n := w.watcher.count(ProviderMisconfigured); n != 1 {
			t.Errorf("told %d times", n)
		}

		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		w.refused("alice", "", Options{}, problem.ProviderMisconfigured)
		w.Broker = w.reload(w.Shared)
		w.token("alice", "", Options{})
		w.token("bob", "", Options{})
	})
}

func TestUnlistedErrorBacksOffAndChangesNoState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.register("alice")
		w.token("alice", "", Options{})
		advance(time.Hour)
		w.provider.set(func(p *fakeProvider) {
			p.fail = failing(account.Failure{Meaning: account.Unlisted, Code: "weird"})
		})
		asked := 0
		for range 12 * 60 * 10 { // twelve hours, each six seconds
			w.refused("alice", "", Options{}, problem.ProviderError)
			advance(6 * time.Second)
			asked++
		}
		// 1, 2, 4, 8, 16 and 32 minutes, then each hour, all ± a fifth.
		if n := w.provider.count() - 1; n < 6+9 || n > 8+14 {
			t.Errorf("%d requests for %d calls", n, asked)
		}
		w.provider.mu.Lock()
		first := w.provider.at[2].Sub(w.provider.at[1])
		w.provider.mu.Unlock()
		if first < 48*time.Second || first > 78*time.Second {
			t.Errorf("the first wait was %v", first)
		}
		if g := w.vault.stored(t, "alice"); g.State != account.Connected {
			t.Errorf("the state is %s", g.State)
		}
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		advance(80 * time.Minute)
		w.token("alice", "", Options{})
		if g := w.vault.stored(t, "alice"); len(g.Failures) != 0 {
			t.Errorf("failures %v are not forgiven", g.Failures)
		}
	})
}

func TestLivingTokenIsServedWhateverFails(t *testing.T) {
	for _, meaning := range []account.Meaning{
		account.GrantDead, account.AudienceRefused, account.ClientMisconfigured,
		account.ProviderDown, account.Throttled, account.Unlisted,
	} {
		t.Run(string(meaning), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				w.register("alice")
				w.token("alice", "", Options{})
				w.provider.set(func(p *fakeProvider) { p.fail = failing(account.Failure{Meaning: meaning}) })
				for range 59 {
					advance(time.Minute)
					if got := w.token("alice", "", Options{MinTTL: 2 * time.Hour}); got.Number != 1 {
						t.Errorf("got token %d", got.Number)
					}
				}
				advance(59 * time.Second)
				w.token("alice", "", Options{})
				advance(time.Second)
				if _, err := w.Token(t.Context(), "alice", "", Options{}); err == nil {
					t.Error("a token that ended was served")
				}
			})
		})
	}
}

// Some vendors throttle one grant with a status that says nothing about the
// endpoint.
func TestThrottledGrantRestsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.register("alice")
		w.register("bob")
		w.provider.set(func(p *fakeProvider) {
			p.fail = func(r account.RefreshRequest) error {
				if r.RefreshToken.Reveal() == "alice#1" {
					return &account.Failure{Meaning: account.Throttled, Status: 400, Number: "AADSTS50196", RetryAfter: 90 * time.Second}
				}
				return nil
			}
		})
		if p := w.refused("alice", "", Options{}, problem.ProviderUnavailable); p.RetryAfter != 30*time.Second {
			t.Errorf("told to come back after %v", p.RetryAfter)
		}
		w.token("bob", "", Options{})
		for range 89 {
			w.refused("alice", "", Options{}, problem.ProviderUnavailable)
			advance(time.Second)
		}
		w.requests(2)
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		advance(time.Second)
		w.token("alice", "", Options{})
	})
}

func TestAPIRefusalsShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		token := w.token("alice", "", Options{})
		advance(10 * time.Second)
		w.provider.set(func(p *fakeProvider) { p.delay = 100 * time.Millisecond })
		got := callers(w, 100, "alice", Options{NotNumber: token.Number})
		if got[Refreshed] != 1 || got[Waited] != 99 {
			t.Errorf("results are %v", got)
		}
		w.requests(2)
		if late := w.token("alice", "", Options{NotNumber: token.Number}); late.Result != Hit || late.Number <= token.Number {
			t.Errorf("a late one got token %d as %s", late.Number, late.Result)
		}
	})
}

func TestAPIThatRefusesEveryTokenDoesNotHammer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		token := w.token("alice", "", Options{})
		for range 10 * 60 * 10 {
			next, err := w.Token(t.Context(), "alice", "", Options{NotNumber: token.Number})
			switch {
			case err == nil && next.Number <= token.Number:
				t.Fatal("a refused token was served again")
			case err == nil:
				token = next
			case problem.From(err).Code != problem.ProviderUnavailable:
				t.Fatal(err)
			}
			advance(100 * time.Millisecond)
		}
		// Three at once, then three a minute, for ten minutes.
		if n := w.provider.count() - 1; n < 30 || n > 33 {
			t.Errorf("%d requests in ten minutes", n)
		}
		w.noReplay()
	})
}

func TestForceIsOnceAMinuteForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.token("alice", "", Options{})
		for i := range 3 {
			advance(time.Minute - time.Second)
			if got := w.token("alice", "", Options{Force: true}); got.Result != Hit {
				t.Errorf("sooner than a minute: %s", got.Result)
			}
			advance(time.Second)
			got := callers(w, 50, "alice", Options{Force: true})
			if got[Refreshed] != 1 {
				t.Errorf("results are %v", got)
			}
			w.requests(i + 2)
		}
	})
}

func TestAnotherClientSendsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.client = "another"
		w.refused("alice", "", Options{}, problem.ProviderMisconfigured)
		w.requests(0)
		w.provider.client = "client-fake"
		w.token("alice", "", Options{})
	})
}

func TestStateDecidesWhatIsServed(t *testing.T) {
	for _, test := range []struct {
		state  account.State
		living bool // the living token is served
		code   problem.Code
	}{
		{account.Init, true, ""},
		{account.Connected, true, ""},
		{account.Restored, true, problem.AccountDisabled},
		{account.Disabled, false, problem.AccountDisabled},
		{account.Pending, false, problem.AccountDisabled},
	} {
		t.Run(string(test.state), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationNone)
				w.register("alice")
				w.token("alice", "", Options{})
				g := w.vault.stored(t, "alice")
				g.State = test.state
				w.vault.set(func(v *memVault) { v.grants["alice"] = g })
				w.restart()
				w.run()
				if test.living {
					w.token("alice", "", Options{})
				} else {
					w.refused("alice", "", Options{}, test.code)
				}
				advance(time.Hour)
				if test.code == "" {
					w.token("alice", "", Options{})
					return
				}
				w.refused("alice", "", Options{}, test.code)
				w.requests(1)
			})
		})
	}
}

func TestProviderThatIsNotConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.register("alice")
		w.Broker = New(w.Shared, nil, testSettings, w.watcher, w.log)
		w.refused("alice", "", Options{}, problem.ProviderMisconfigured)
	})
}

func TestRetryAfterForCallersIsBounded(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{
		-time.Hour: time.Second, 0: time.Second, 5 * time.Second: 5 * time.Second, time.Hour: 30 * time.Second,
	} {
		t.Run(fmt.Sprint(wait), func(t *testing.T) {
			if got := unavailable("", wait).RetryAfter; got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}
