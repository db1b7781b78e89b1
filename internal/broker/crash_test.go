package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// lostWorld has an account with a token for one audience; the answer to the
// request for another one was lost after the provider had acted on it.
func lostWorld(t *testing.T, kind account.RotationKind) *world {
	w := newWorld(t, kind)
	w.register("alice")
	w.token("alice", "", Options{})
	w.provider.set(func(p *fakeProvider) { p.lose = 1 })
	w.refused("alice", "other", Options{}, problem.ProviderUnavailable)
	w.requests(2)
	g := w.vault.stored(t, "alice")
	if g.Intent == nil || !g.Intent.Lost || g.Intent.Number != 2 {
		t.Fatalf("the stored intent is %+v", g.Intent)
	}
	return w
}

func TestLostAnswerWithGraceIsAskedForAgainInTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := lostWorld(t, account.RotationGrace)
		w.run()
		advance(4 * time.Second)
		w.requests(3)
		w.noReplay()
		if g := w.vault.stored(t, "alice"); g.Intent != nil || g.RefreshToken.Reveal() != "alice#4" {
			t.Errorf("stored: %s, intent %v", g.RefreshToken.Reveal(), g.Intent)
		}
		if got := w.token("alice", "other", Options{}); got.Result != Hit {
			t.Errorf("the token is a %s", got.Result)
		}
	})
}

func TestLostAnswerWithSingleUseWaitsForTheLivingToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := lostWorld(t, account.RotationSingleUse)
		w.run()
		for range 50 {
			advance(time.Minute)
			w.token("alice", "", Options{MinTTL: time.Hour})
			w.refused("alice", "other", Options{}, problem.ProviderUnavailable)
		}
		w.requests(2)
		advance(10 * time.Minute)
		w.requests(3)
		w.refused("alice", "", Options{}, problem.OAuthRenewError)
	})
}

// A token that the API refuses is not worth protecting.
func TestLostAnswerWithSingleUseDoesNotWaitForARefusedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		token := w.token("alice", "", Options{})
		advance(50 * time.Minute)
		w.provider.set(func(p *fakeProvider) { p.fail = failing(account.Failure{Meaning: account.ProviderDown, Lost: true}) })
		w.refused("alice", "", Options{NotNumber: token.Number}, problem.ProviderUnavailable)
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		advance(2 * time.Second)
		w.refused("alice", "other", Options{}, problem.ProviderUnavailable)
		w.requests(2)
		if got := w.token("alice", "", Options{NotNumber: token.Number}); got.Number == token.Number {
			t.Error("the refused token was served")
		}
		w.requests(3)
	})
}

func TestLostAnswerWithoutRotationIsOrdinaryBackoff(t *testing.T) {
	for _, kind := range []account.RotationKind{account.RotationNone, account.RotationKeepsOld} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := lostWorld(t, kind)
				w.refused("alice", "other", Options{}, problem.ProviderUnavailable)
				w.requests(2)
				advance(1200 * time.Millisecond)
				w.token("alice", "other", Options{})
				w.requests(3)
				if g := w.vault.stored(t, "alice"); g.Intent != nil {
					t.Errorf("the stored intent is %v", g.Intent)
				}
			})
		})
	}
}

func TestHangingProviderEndsNoAccount(t *testing.T) {
	for _, kind := range []account.RotationKind{account.RotationNone, account.RotationKeepsOld, account.RotationSingleUse, account.RotationGrace} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, kind)
				w.register("alice")
				w.token("alice", "", Options{})
				w.run()
				// It hangs without acting on any request.
				w.provider.set(func(p *fakeProvider) { p.delay = time.Hour })
				for range 24 {
					advance(5 * time.Minute)
					_, _ = w.Token(t.Context(), "alice", "", Options{})
				}
				w.provider.set(func(p *fakeProvider) { p.delay = 0 })
				advance(time.Minute)
				w.token("alice", "", Options{})
				w.noReplay()
				if n := w.watcher.count(AccountFailed); n != 0 {
					t.Errorf("the account was told dead %d times", n)
				}
			})
		})
	}
}

// crashedWorld has an account whose process was killed with a request under
// way, which the provider acted on, and a new process.
func crashedWorld(t *testing.T, kind account.RotationKind, before time.Duration) *world {
	w := newWorld(t, kind)
	w.register("alice")
	w.token("alice", "", Options{})
	advance(before)
	w.provider.set(func(p *fakeProvider) {
		p.dress = func(account.RefreshRequest, *account.Answer) error {
			// The killed process saves nothing any more.
			w.vault.set(func(v *memVault) { v.saveErr = errKilled })
			return nil
		}
	})
	_, _ = w.Token(t.Context(), "alice", "", Options{Force: true})
	w.requests(2)
	w.vault.set(func(v *memVault) { v.saveErr = nil })
	w.provider.set(func(p *fakeProvider) { p.dress = nil })
	w.restart()
	if g := w.vault.stored(t, "alice"); g.Intent == nil || g.Intent.Lost {
		t.Fatalf("the stored intent is %+v", g.Intent)
	}
	return w
}

type killed struct{}

func (killed) Error() string { return "killed" }

var errKilled = killed{}

// The access token still lives, but within seconds the grace is over: nobody's
// call is waited for.
func TestIntentOfAKilledProcessIsTakenUpWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := crashedWorld(t, account.RotationGrace, 10*time.Minute)
		w.run()
		advance(time.Second)
		w.requests(3)
		w.noReplay()
		g := w.vault.stored(t, "alice")
		if g.Intent != nil || g.RefreshToken.Reveal() != "alice#4" {
			t.Errorf("stored: %s, intent %v", g.RefreshToken.Reveal(), g.Intent)
		}
	})
}

func TestIntentOfAKilledProcessWithSingleUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := crashedWorld(t, account.RotationSingleUse, 10*time.Minute)
		w.run()
		advance(45 * time.Minute)
		w.token("alice", "", Options{})
		w.requests(2)
		advance(6 * time.Minute)
		w.requests(3)
		w.refused("alice", "", Options{}, problem.OAuthRenewError)
	})
}

func TestIntentOfAKilledProcessWithoutRotation(t *testing.T) {
	for _, kind := range []account.RotationKind{account.RotationNone, account.RotationKeepsOld} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := crashedWorld(t, kind, 10*time.Minute)
				w.run()
				advance(time.Second)
				w.requests(3)
				if g := w.vault.stored(t, "alice"); g.Intent != nil {
					t.Errorf("the stored intent is %v", g.Intent)
				}
				w.token("alice", "", Options{})
			})
		})
	}
}

// The request that the old configuration's broker has under way is nobody's
// lost answer.
func TestReloadDuringARequestTakesNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) { p.delay = 5 * time.Second })
		go func() { _, _ = w.Token(t.Context(), "alice", "", Options{}) }()
		synctest.Wait()
		w.Broker = w.reload(w.Shared)
		w.run()
		advance(10 * time.Second)
		w.requests(1)
		w.noReplay()
		w.token("alice", "", Options{})
	})
}
