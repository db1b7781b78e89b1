package broker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// unsavedWorld has an account whose last answer could not be saved.
func unsavedWorld(t *testing.T) *world {
	w := newWorld(t, account.RotationSingleUse)
	w.register("alice")
	w.vault.set(func(v *memVault) {
		v.onSave = func(g *account.Grant) error {
			if g.Intent == nil {
				return errors.New("no room")
			}
			return nil
		}
	})
	w.token("alice", "", Options{})
	return w
}

func (w *world) heal() {
	w.vault.set(func(v *memVault) { v.onSave = nil })
}

// saves counts how often a result with the refresh token was written.
func (w *world) saves(token string) int {
	n := 0
	for _, line := range w.journal.all() {
		if strings.HasPrefix(line, "save ") && strings.HasSuffix(line, " "+token+" no intent") {
			n++
		}
	}
	return n
}

func TestAnswerThatCannotBeSavedIsServedAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := unsavedWorld(t)
		if got := w.token("alice", "", Options{}); got.Result != Hit {
			t.Errorf("asked again: %s", got.Result)
		}
		if p := problem.From(w.Ready(t.Context())); p.Code != problem.StoreUnavailable {
			t.Errorf("readiness says %v", p)
		}
		w.refused("alice", "other", Options{}, problem.StoreUnavailable)
		w.requests(1)

		w.run()
		advance(5 * time.Second)
		w.heal()
		advance(5 * time.Second)
		if err := w.Ready(t.Context()); err != nil {
			t.Errorf("readiness says %v", err)
		}
		if n := w.saves("alice#2"); n != 1 {
			t.Errorf("the result was saved %d times", n)
		}
		w.token("alice", "other", Options{})
		w.noReplay()
	})
}

func TestUnsavedAnswerIsSavedWhenTheStoreCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := unsavedWorld(t)
		w.heal()
		w.Close()
		if got := w.vault.stored(t, "alice"); got.RefreshToken.Reveal() != "alice#2" || got.Intent != nil {
			t.Errorf("stored: refresh token %s, intent %v", got.RefreshToken.Reveal(), got.Intent)
		}
	})
}

func TestChangesOfAnAccountWithAnUnsavedAnswerLoseNothing(t *testing.T) {
	for name, change := range map[string]func(*world) error{
		"disabled": func(w *world) error { return w.Disable(w.t.Context(), "alice") },
		"renamed":  func(w *world) error { return w.Rename(w.t.Context(), "alice", "Alice", "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := unsavedWorld(t)
				if p := problem.From(change(w)); p.Code != problem.StoreUnavailable {
					t.Errorf("while the store fails: %v", p)
				}
				w.heal()
				if err := change(w); err != nil {
					t.Fatal(err)
				}
				w.run()
				advance(5 * time.Second)
				g := w.vault.stored(t, "alice")
				if g.RefreshToken.Reveal() != "alice#2" || g.Intent != nil || len(g.Access) != 1 {
					t.Errorf("stored: %s, intent %v, %d access tokens", g.RefreshToken.Reveal(), g.Intent, len(g.Access))
				}
				if err := w.Enable(t.Context(), "alice"); err != nil {
					t.Fatal(err)
				}
				w.token("alice", "other", Options{})
				w.requests(2)
				w.noReplay()
			})
		})
	}
}

// A store may write and yet say that it could not. Counted twice, the first
// refusal of a grant would be believed for good.
func TestSaveOfUnknownOutcomeCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) {
			p.fail = func(account.RefreshRequest) error {
				w.vault.set(func(v *memVault) { v.lateErr = errors.New("no answer") })
				return invalidGrant()
			}
		})
		w.refused("alice", "", Options{}, problem.OAuthRenewError)
		w.vault.set(func(v *memVault) { v.lateErr = nil })
		w.run()
		advance(5 * time.Second)
		f := w.vault.stored(t, "alice").Failed(account.WholeGrant)
		if f == nil || f.Times != 1 || f.Retry.IsZero() {
			t.Errorf("the failure is %+v", f)
		}
	})
}

func TestUnsavedAnswerOfARemovedAccountIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := unsavedWorld(t)
		w.vault.set(func(v *memVault) {
			v.onSave = nil
			delete(v.grants, "alice")
			delete(v.versions, "alice")
		})
		w.saveUnsaved(context.Background())
		if ids := w.unsaved.ids(); slices.Contains(ids, "alice") {
			t.Error("the result still waits")
		}
	})
}

func TestNoRequestWithoutARoomyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.token("alice", "", Options{})
		w.vault.set(func(v *memVault) { v.readyErr = errors.New("64 MiB free") })
		if got := w.token("alice", "", Options{}); got.Result != Hit {
			t.Errorf("the valid token is a %s", got.Result)
		}
		advance(59*time.Minute + 50*time.Second)
		w.token("alice", "", Options{})
		advance(10 * time.Second)
		w.refused("alice", "", Options{}, problem.StoreUnavailable)
		w.requests(1)
		w.vault.set(func(v *memVault) { v.readyErr = nil })
		w.token("alice", "", Options{})
		w.requests(2)
	})
}

func TestUnsavedAnswerOutlivesItsPlaceInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := unsavedWorld(t)
		w.cache.InvalidateAll()
		if got := w.token("alice", "", Options{}); got.Result != Hit {
			t.Errorf("the token is a %s", got.Result)
		}
		w.requests(1)
	})
}
