package broker

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// proposed is a consent that is to be confirmed within an hour.
func (w *world) proposed(id, subject string) account.Connection {
	c := w.consented(id, subject)
	c.Confirm, c.ConfirmBy = secret.New("once"), w.clock.Now().Add(time.Hour)
	return c
}

func TestConsentWaitsToBeConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		c := w.proposed("alice", "alice")
		if got := w.connect(c); !got.New || got.State != account.Pending {
			t.Errorf("result %+v", got)
		}
		g := w.vault.stored(t, "alice")
		if g.Proposed == nil || g.Proposed.Confirm == "once" || !g.RefreshToken.IsZero() || len(g.Access) != 0 {
			t.Fatalf("stored is %+v", g)
		}
		w.refused("alice", "", Options{}, problem.AccountDisabled)
		for range 2 {
			if err := w.Confirm(t.Context(), "alice", secret.New("guessed")); code(err) != problem.InvalidRequest {
				t.Errorf("with a wrong value: %v", err)
			}
		}
		if len(w.watcher.events) != 0 {
			t.Errorf("events %+v", w.watcher.events)
		}
		if err := w.Confirm(t.Context(), "alice", secret.New("once")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if token := w.token("alice", "", Options{}); !token.Value.Equal(c.Consent.Answer.AccessToken) {
			t.Error("another token is served")
		}
		if g := w.vault.stored(t, "alice"); g.Proposed != nil || g.State != account.Connected || !g.RefreshToken.Equal(c.Consent.Answer.RefreshToken) {
			t.Errorf("stored is %+v", g)
		}
		if n := w.watcher.count(AccountConnected); n != 1 {
			t.Errorf("told %d times", n)
		}
		if err := w.Confirm(t.Context(), "alice", secret.New("once")); code(err) != problem.Conflict {
			t.Errorf("once more: %v", err)
		}
		if err := w.Confirm(t.Context(), "nobody", secret.New("once")); code(err) != problem.AccountNotFound {
			t.Errorf("of an account that is not there: %v", err)
		}
	})
}

func TestOldGrantGoesOnWhileAConsentWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		old := w.connect(w.consented("alice", "alice"))
		advance(50 * time.Minute)
		c := w.proposed("alice", "alice")
		if got := w.connect(c); got.New || got.State != account.Connected || got.Generation <= old.Generation {
			t.Errorf("result %+v after %+v", got, old)
		}
		advance(30 * time.Minute)
		if token := w.token("alice", "", Options{}); token.Result != Refreshed {
			t.Errorf("the token is a %s", token.Result)
		}
		if err := w.Confirm(t.Context(), "alice", secret.New("once")); err != nil {
			t.Fatal(err)
		}
		if token := w.token("alice", "", Options{}); !token.Value.Equal(c.Consent.Answer.AccessToken) {
			t.Error("another token is served")
		}
		w.noReplay()
	})
}

func TestConsentThatNobodyConfirms(t *testing.T) {
	for _, existing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, account.RotationSingleUse)
			if existing {
				w.connect(w.consented("alice", "alice"))
			}
			w.connect(w.proposed("alice", "alice"))
			advance(time.Hour)
			if err := w.Confirm(t.Context(), "alice", secret.New("once")); code(err) != problem.Conflict {
				t.Errorf("too late: %v", err)
			}
			if w.vault.stored(t, "alice").Proposed == nil {
				t.Error("the attempt to confirm it consumed it")
			}
			w.run()
			advance(2 * attendEvery)
			g := w.vault.stored(t, "alice")
			if g.Proposed != nil {
				t.Error("its tokens are still there")
			}
			if existing {
				w.token("alice", "", Options{})
				return
			}
			if g.State != account.Pending {
				t.Errorf("the account is %s", g.State)
			}
			if got := w.connect(w.consented("alice", "alice")); got.New || got.State != account.Connected {
				t.Errorf("connected after all: %+v", got)
			}
		})
	}
}

func TestNewerConsentTakesTheWaitingOnesPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.connect(w.proposed("alice", "alice"))
		second := w.proposed("alice", "alice")
		second.Confirm = secret.New("second")
		w.connect(second)
		if err := w.Confirm(t.Context(), "alice", secret.New("once")); code(err) != problem.InvalidRequest {
			t.Errorf("the first one's value: %v", err)
		}
		w.connect(w.consented("alice", "alice"))
		if err := w.Confirm(t.Context(), "alice", secret.New("second")); code(err) != problem.Conflict {
			t.Errorf("after a consent that needs no confirmation: %v", err)
		}
	})
}

func TestWhoIsNotConfirmedLeavesNoName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		mallory := w.proposed("alice", "mallory")
		mallory.User = mallory.Consent.Identity.Email
		w.connect(mallory)
		if g := w.vault.stored(t, "alice"); g.User != "" || g.Subject != "" {
			t.Errorf("before anybody is confirmed the account is %q's, with subject %q", g.User, g.Subject)
		}
		alice := w.proposed("alice", "alice")
		alice.Confirm = secret.New("second")
		w.connect(alice)
		if err := w.Confirm(t.Context(), "alice", secret.New("second")); err != nil {
			t.Fatal(err)
		}
		if g := w.vault.stored(t, "alice"); g.User != "alice@example.com" || g.Subject != "alice" {
			t.Errorf("the account is %q's, with subject %q", g.User, g.Subject)
		}
	})
}

func TestConfirmingChecksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice") // whose it is was never said
		w.connect(w.proposed("alice", "bob"))
		g := w.vault.stored(t, "alice")
		g.Subject = "alice"
		w.vault.set(func(v *memVault) { v.grants["alice"] = g })
		if err := w.Confirm(t.Context(), "alice", secret.New("once")); !errors.Is(err, ErrOtherSubject) {
			t.Errorf("confirming: %v", err)
		}
	})
}

func TestConfirmingWhatCannotBeSaved(t *testing.T) {
	for name, fail := range map[string]func(*memVault){
		"the store fails":          func(v *memVault) { v.saveErr = errors.New("disk") },
		"it is saved all the same": func(v *memVault) { v.lateErr = errors.New("network") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				w.run()
				c := w.proposed("alice", "alice")
				w.connect(c)
				w.vault.set(fail)
				if err := w.Confirm(t.Context(), "alice", secret.New("once")); err != nil {
					t.Fatal(err)
				}
				w.token("alice", "", Options{})
				w.vault.set(func(v *memVault) { v.saveErr, v.lateErr = nil, nil })
				advance(2 * saveEvery)
				if g := w.vault.stored(t, "alice"); g.Proposed != nil || !g.RefreshToken.Equal(c.Consent.Answer.RefreshToken) {
					t.Errorf("stored is %+v", g)
				}
				if err := w.Ready(t.Context()); err != nil {
					t.Errorf("still not ready: %v", err)
				}
			})
		})
	}
}

func TestWithdrawingAConsentThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.connect(w.consented("alice", "alice"))
		got := w.connect(w.proposed("alice", "alice"))
		if err := w.Withdraw(t.Context(), "alice", got.Generation); err != nil {
			t.Fatal(err)
		}
		if err := w.Confirm(t.Context(), "alice", secret.New("once")); code(err) != problem.Conflict {
			t.Errorf("confirming it then: %v", err)
		}
		w.token("alice", "", Options{}) // the old grant is nobody's mistake

		got = w.connect(w.proposed("alice", "alice"))
		if err := w.Confirm(t.Context(), "alice", secret.New("once")); err != nil {
			t.Fatal(err)
		}
		if err := w.Withdraw(t.Context(), "alice", got.Generation); err != nil {
			t.Fatal(err)
		}
		w.refused("alice", "", Options{}, problem.AccountDisabled)
	})
}

func TestPendingAccountThatIsSwitchedOffAndOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.connect(w.proposed("alice", "alice"))
		if err := w.Disable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if err := w.Enable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if g := w.vault.stored(t, "alice"); g.State != account.Pending {
			t.Errorf("state %s", g.State)
		}
		if err := w.Confirm(t.Context(), "alice", secret.New("once")); err != nil {
			t.Error(err)
		}
	})
}
