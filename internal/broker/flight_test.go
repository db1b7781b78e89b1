package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func TestAudiencesOfOneGrantNeverSpendOneRefreshTokenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) { p.delay = 50 * time.Millisecond })
		audiences := []string{"mail", "files", "calendar"}
		const expiries = 50
		for range expiries {
			var wg sync.WaitGroup
			for _, audience := range audiences {
				for range 3 {
					wg.Go(func() {
						if _, err := w.Token(t.Context(), "alice", audience, Options{}); err != nil {
							t.Errorf("%s: %v", audience, err)
						}
					})
				}
			}
			wg.Wait()
			advance(time.Hour)
		}
		w.requests(expiries * len(audiences))
		w.noReplay()
		if got, want := w.vault.stored(t, "alice").RefreshToken.Reveal(), fmt.Sprintf("alice#%d", 1+expiries*len(audiences)); got != want {
			t.Errorf("the stored refresh token is %s, want %s", got, want)
		}
	})
}

// During a reload callers come through the old configuration's broker and the
// new one's. However long a request takes, nobody else sends the refresh token
// meanwhile.
func TestBrokersOfTwoConfigurationsNeverSpendOneRefreshTokenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) { p.delay = DefaultTimeout - time.Second })
		audiences := []string{"mail", "files"}
		var wg sync.WaitGroup
		for _, b := range []*Broker{w.Broker, w.reload(w.Shared)} {
			for i := range 100 {
				wg.Go(func() {
					<-time.After(time.Duration(i) * 100 * time.Millisecond)
					if _, err := b.Token(t.Context(), "alice", audiences[i%2], Options{}); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		w.requests(len(audiences))
		if w.provider.most != 1 {
			t.Errorf("%d requests of one grant were under way at once", w.provider.most)
		}
		w.noReplay()
	})
}

func TestCallerThatLeavesCancelsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		gate := make(chan struct{})
		w.provider.set(func(p *fakeProvider) { p.gate = gate })

		ctx, leave := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := w.Token(ctx, "alice", "", Options{})
			first <- err
		}()
		synctest.Wait()
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that left got %v", err)
		}
		close(gate)
		synctest.Wait()
		if got := w.token("alice", "", Options{}); got.Result != Hit {
			t.Errorf("the next caller's result is %s, want a hit", got.Result)
		}
		w.requests(1)
		if got := w.vault.stored(t, "alice").RefreshToken.Reveal(); got != "alice#2" {
			t.Errorf("the stored refresh token is %s", got)
		}
	})
}

// A caller that saw the token before the refresh of another must not send the
// refresh token that it saw.
func TestWaiterReadsAgainUnderTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		gate := make(chan struct{})
		w.provider.set(func(p *fakeProvider) { p.gate = gate })
		results := make(chan Token)
		for _, o := range []Options{{}, {MinTTL: time.Minute}, {MinTTL: 2 * time.Minute}} {
			go func() {
				got, err := w.Token(t.Context(), "alice", "", o)
				if err != nil {
					t.Error(err)
				}
				results <- got
			}()
		}
		synctest.Wait()
		close(gate)
		count := make(map[Result]int)
		for range 3 {
			count[(<-results).Result]++
		}
		w.requests(1)
		if diff := cmp.Diff(map[Result]int{Refreshed: 1, Waited: 2}, count); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
	})
}

func TestIntentAndAnswerAreDurableInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.token("alice", "", Options{})
		w.journal.add("token served")
		want := []string{
			"save alice alice#1 no intent",
			"save alice alice#1 intent 1",
			"request alice#1",
			"save alice alice#2 no intent",
			"token served",
		}
		if diff := cmp.Diff(want, w.journal.all()); diff != "" {
			t.Errorf("what happened (-want +got):\n%s", diff)
		}
	})
}

func TestNobodyGetsATokenBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		saving := make(chan struct{})
		w.vault.set(func(v *memVault) {
			v.onSave = func(g *account.Grant) error {
				if g.Intent == nil {
					<-saving
				}
				return nil
			}
		})
		served := make(chan Token, 1)
		go func() {
			got, err := w.Token(t.Context(), "alice", "", Options{})
			if err != nil {
				t.Error(err)
			}
			served <- got
		}()
		synctest.Wait()
		w.requests(1)
		select {
		case <-served:
			t.Error("the token was served before it was saved")
		default:
		}
		close(saving)
		<-served
	})
}

func TestForeignWritesInBetweenLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.vault.set(func(v *memVault) { v.conflicts = 5 })
		w.token("alice", "", Options{})
		w.requests(1)
		if g := w.vault.stored(t, "alice"); g.RefreshToken.Reveal() != "alice#2" || g.Attempts != 1 {
			t.Errorf("stored: refresh token %s after %d attempts", g.RefreshToken.Reveal(), g.Attempts)
		}
	})
}

// Other processes write while the request is under way.
func TestResultThatCameTooLateIsDropped(t *testing.T) {
	for name, change := range map[string]func(*account.Grant){
		"a new consent":         func(g *account.Grant) { g.Generation++ },
		"a newer token request": func(g *account.Grant) { g.Attempts++ },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				w.register("alice")
				gate := make(chan struct{})
				w.provider.set(func(p *fakeProvider) { p.gate = gate })
				failed := make(chan error)
				go func() {
					_, err := w.Token(t.Context(), "alice", "", Options{})
					failed <- err
				}()
				synctest.Wait()
				newer := w.vault.stored(t, "alice")
				newer.RefreshToken, newer.Intent = secret.New("newer#1"), nil
				change(newer)
				w.vault.set(func(v *memVault) { v.last++; v.grants["alice"], v.versions["alice"] = newer, v.last })
				close(gate)
				if p := problem.From(<-failed); p.Code != problem.ProviderUnavailable || p.RetryAfter != time.Second {
					t.Errorf("the caller got %v, after %v", p, p.RetryAfter)
				}
				if got := w.vault.stored(t, "alice").RefreshToken.Reveal(); got != "newer#1" {
					t.Errorf("the stored refresh token is %s", got)
				}
			})
		})
	}
}

func TestAccountRemovedByAnotherProcessDuringARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		gate := make(chan struct{})
		w.provider.set(func(p *fakeProvider) { p.gate = gate })
		failed := make(chan error)
		go func() {
			_, err := w.Token(t.Context(), "alice", "", Options{})
			failed <- err
		}()
		synctest.Wait()
		w.vault.set(func(v *memVault) { delete(v.grants, "alice"); delete(v.versions, "alice") })
		close(gate)
		if p := problem.From(<-failed); p.Code != problem.AccountNotFound {
			t.Errorf("the caller got %v", p)
		}
		if _, err := w.Account(t.Context(), "alice"); code(err) != problem.AccountNotFound {
			t.Errorf("afterwards: %v", err)
		}
		if err := w.Ready(t.Context()); err != nil {
			t.Errorf("readiness says %v", err)
		}
	})
}

// The result is not lost to somebody who merely took the intent away.
func TestResultIsSavedWithoutItsIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) {
			p.dress = func(account.RefreshRequest, *account.Answer) error {
				w.vault.set(func(v *memVault) { v.grants["alice"].Intent = nil })
				return nil
			}
		})
		w.token("alice", "", Options{})
		if got := w.vault.stored(t, "alice").RefreshToken.Reveal(); got != "alice#2" {
			t.Errorf("the stored refresh token is %s", got)
		}
	})
}

func TestRefreshTokenOfAFailedAnswerIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) {
			p.dress = func(_ account.RefreshRequest, a *account.Answer) error {
				a.AccessToken = secret.String{}
				return &account.Failure{Meaning: account.ProviderDown, Status: 200}
			}
		})
		w.refused("alice", "", Options{}, problem.ProviderUnavailable)
		if g := w.vault.stored(t, "alice"); g.RefreshToken.Reveal() != "alice#2" || g.Intent != nil {
			t.Errorf("stored: refresh token %s, intent %v", g.RefreshToken.Reveal(), g.Intent)
		}
		w.provider.set(func(p *fakeProvider) { p.dress = nil })
		advance(2 * time.Second)
		w.token("alice", "", Options{})
		w.noReplay()
	})
}

func TestPanickingProviderEndsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) {
			p.fail = func(account.RefreshRequest) error { panic("secret in a panic") }
		})
		p := w.refused("alice", "", Options{}, problem.ProviderUnavailable)
		if got := p.Error(); strings.Contains(got, "secret") {
			t.Errorf("the problem reads %q", got)
		}
		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		advance(2 * time.Second)
		w.token("alice", "", Options{})
	})
}

// stuck is an observer that does not come back.
type stuck struct {
	*watcher
	release chan struct{}
}

func (s stuck) Happened(Event) { <-s.release }

func TestSlowSubscriberDelaysNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		release := make(chan struct{})
		defer close(release)
		w.Broker = New(w.Shared, []Provider{w.provider}, testSettings, stuck{w.watcher, release}, w.log)
		w.register("alice")
		for range 3 {
			began := time.Now()
			w.token("alice", "", Options{})
			if took := time.Since(began); took > 0 {
				t.Errorf("the caller waited for %v", took)
			}
			advance(time.Hour)
		}
		if got := w.vault.stored(t, "alice").RefreshToken.Reveal(); got != "alice#4" {
			t.Errorf("the stored refresh token is %s", got)
		}
	})
}

func TestUnreadableStoreDuringARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.token("alice", "", Options{})
		advance(59*time.Minute + 45*time.Second)
		w.vault.set(func(v *memVault) { v.readErr = errors.New("gone") })
		if got := w.token("alice", "", Options{}); got.Result != Hit {
			t.Errorf("the token that still lives is a %s", got.Result)
		}
		advance(15 * time.Second)
		w.refused("alice", "", Options{}, problem.StoreUnavailable)
		w.requests(1)
	})
}

func TestClosingWaitsForTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) { p.delay = 5 * time.Second })
		go func() { _, _ = w.Token(t.Context(), "alice", "", Options{}) }()
		synctest.Wait()
		began := time.Now()
		w.Close()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("closing took %v", took)
		}
		if got := w.vault.stored(t, "alice").RefreshToken.Reveal(); got != "alice#2" {
			t.Errorf("the stored refresh token is %s", got)
		}
		w.refused("alice", "other", Options{}, problem.StoreUnavailable)
		w.requests(1)
	})
}

func TestClosingTurnsAwayWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.provider.set(func(p *fakeProvider) { p.delay = 5 * time.Second })
		w.settings.Workers = 1
		refused := make(chan error, 2)
		w.register("alice")
		w.register("bob")
		go func() { _, _ = w.Token(t.Context(), "alice", "", Options{}) }()
		synctest.Wait()
		go func() { // waits for the lock
			_, err := w.Token(t.Context(), "alice", "other", Options{})
			refused <- err
		}()
		go func() { // waits for a place
			_, err := w.Token(t.Context(), "bob", "", Options{})
			refused <- err
		}()
		synctest.Wait()
		w.Close()
		for range 2 {
			if p := problem.From(<-refused); p.Code != problem.StoreUnavailable {
				t.Errorf("who waited got %v", p)
			}
		}
		w.requests(1)
	})
}
