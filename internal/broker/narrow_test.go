package broker

import (
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
)

// narrow asks for a token with these scopes alone.
func narrow(scopes ...string) Options { return Options{Scopes: scopes} }

// ignoring is an answer of a server that does not narrow.
func ignoring(scopes ...string) func(account.RefreshRequest, *account.Answer) error {
	return func(_ account.RefreshRequest, a *account.Answer) error {
		a.Scopes = scopes
		return nil
	}
}

// newNarrowWorld has an account of three scopes.
func newNarrowWorld(t *testing.T, kind account.RotationKind) *world {
	w := newWorld(t, kind)
	w.provider.scopes = []string{"read", "write", "send"}
	w.register("alice")
	return w
}

func TestTokenIsAskedForWithFewerScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		got := w.token("alice", "", narrow("write", "read"))
		if asked := w.provider.requests[0].Scopes; !cmp.Equal(asked, []string{"read", "write"}) {
			t.Errorf("asked for %q", asked)
		}
		if !cmp.Equal(got.Scopes, []string{"read", "write"}) {
			t.Errorf("an answer without scopes has %q", got.Scopes)
		}
		if whole := w.token("alice", "", Options{}); whole.Value == got.Value || w.provider.requests[1].Scopes != nil {
			t.Errorf("the grant's own token was asked for with %q", w.provider.requests[1].Scopes)
		}
		if again := w.token("alice", "", narrow("read", "write")); again.Result != Hit || again.Value != got.Value {
			t.Errorf("the narrower token again: %s", again.Result)
		}
	})
}

func TestScopesThatTheGrantHasNotAreRefusedWithoutRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		p := w.refused("alice", "", narrow("read", "admin"), problem.InsufficientScope)
		if !strings.Contains(p.Message, "admin") || strings.Contains(p.Message, "read,") {
			t.Errorf("says %q", p.Message)
		}
		if _, err := w.update(t.Context(), "alice", func(g *account.Grant) error {
			g.Scopes, g.Missing = []string{"read", "write"}, []string{"write"}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		w.refused("alice", "", narrow("send"), problem.InsufficientScope)  // not the account's own
		w.refused("alice", "", narrow("write"), problem.InsufficientScope) // never granted
		w.requests(0)
		w.token("alice", "", narrow("read"))
	})
}

func TestProviderThatCannotNarrowIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationKeepsOld)
		w.Broker = w.with(struct{ Provider }{w.provider})
		p := w.refused("alice", "", narrow("read"), problem.NotAllowed)
		for _, way := range []string{"rules", "presets"} {
			if !strings.Contains(p.Message, way) {
				t.Errorf("does not name %s: %s", way, p.Message)
			}
		}
		w.requests(0)
		if err := w.Narrows(t.Context(), "alice"); code(err) != problem.NotAllowed {
			t.Errorf("it narrows: %v", err)
		}
		w.token("alice", "", Options{})
		w.Broker = w.with(w.provider)
		if err := w.Narrows(t.Context(), "alice"); err != nil {
			t.Errorf("it does not narrow: %v", err)
		}
	})
}

func TestBroaderAnswerIsHandedToNobodyAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		w.run()
		w.provider.set(func(p *fakeProvider) { p.dress = ignoring("read", "write", "a-name-of-its-own") })
		p := w.refused("alice", "", narrow("read"), problem.ProviderError)
		for part, want := range map[string]bool{"ignores narrowing": true, "read alone": true, "with write too": true, "a-name-of-its-own": false} {
			if strings.Contains(p.Message, part) != want {
				t.Errorf("%q in the message is %t: %s", part, !want, p.Message)
			}
		}
		g := w.vault.stored(t, "alice")
		if got := g.RefreshToken.Reveal(); got != "alice#2" {
			t.Errorf("the stored refresh token is %s", got)
		}
		if g.State != account.Connected || g.Intent != nil || !g.Refreshed.Equal(w.clock.Now()) || len(g.Access) != 0 {
			t.Errorf("stored is %+v", g)
		}
		synctest.Wait()
		if n := w.watcher.count(AccountConnected); n != 1 {
			t.Errorf("told %d times of an account that works", n)
		}

		// No storm: whoever asks, the provider is asked ever less.
		before := w.clock.Now()
		for range 600 {
			for range 5 {
				w.refused("alice", "", narrow("read"), problem.ProviderError)
			}
			advance(time.Second)
		}
		if n := w.provider.count(); n < 3 || n > 6 {
			t.Errorf("%d token requests in %v", n, w.clock.Now().Sub(before))
		}
		// Others go on, and the grant's own token is not the broad one.
		w.provider.set(func(p *fakeProvider) { p.dress = nil })
		w.token("alice", "", Options{})
		w.token("alice", "", narrow("send"))
		w.refused("alice", "", narrow("read"), problem.ProviderError)
		advance(time.Hour)
		w.token("alice", "", narrow("read"))
		w.noReplay()
	})
}

func TestAnswerWhoseScopesCannotBeReadIsBroader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		w.run()
		w.provider.set(func(p *fakeProvider) {
			p.dress = func(_ account.RefreshRequest, a *account.Answer) error {
				a.Scopes, a.ScopesUnread = nil, true
				return nil
			}
		})
		if p := w.refused("alice", "", narrow("read"), problem.ProviderError); !strings.Contains(p.Message, "no text") {
			t.Errorf("the message is %s", p.Message)
		}
		g := w.vault.stored(t, "alice")
		if got := g.RefreshToken.Reveal(); got != "alice#2" || len(g.Access) != 0 {
			t.Errorf("the stored refresh token is %s, with %d access tokens", got, len(g.Access))
		}
		w.token("alice", "", Options{}) // the grant's own may be good for anything
	})
}

func TestBroaderAnswerMendsAGrantThatWasCalledDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationNone)
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		w.refused("alice", "", Options{}, problem.OAuthRenewError)
		advance(doubt)
		w.provider.set(func(p *fakeProvider) { p.fail, p.dress = nil, ignoring("read", "write") })
		w.refused("alice", "", narrow("read"), problem.ProviderError)
		w.token("alice", "", Options{}) // which a dead grant does not give
		synctest.Wait()
		if n := w.watcher.count(AccountRecovered); n != 1 {
			t.Errorf("told %d times that it works again", n)
		}
	})
}

// The refresh token of a broader answer is as good as any: that it could not be
// saved must not lose it.
func TestBroaderAnswerThatCannotBeSavedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		w.provider.set(func(p *fakeProvider) {
			p.dress = func(_ account.RefreshRequest, a *account.Answer) error {
				w.vault.set(func(v *memVault) { v.saveErr = errors.New("x") })
				a.Scopes = []string{"read", "write"}
				return nil
			}
		})
		w.refused("alice", "", narrow("read"), problem.ProviderError)
		w.provider.set(func(p *fakeProvider) { p.dress = nil })
		w.vault.set(func(v *memVault) { v.saveErr = nil })
		w.token("alice", "", Options{})
		w.noReplay()
		if got := w.vault.stored(t, "alice").RefreshToken.Reveal(); got != "alice#3" {
			t.Errorf("the stored refresh token is %s", got)
		}
	})
}

func TestScopeSetsOfOneGrantNeverSpendOneRefreshTokenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		w.provider.set(func(p *fakeProvider) { p.delay = 50 * time.Millisecond })
		sets := []Options{{}, narrow("read"), narrow("read", "send")}
		const expiries = 20
		for range expiries {
			var wg sync.WaitGroup
			for _, b := range []*Broker{w.Broker, w.reload(w.Shared)} {
				for _, o := range sets {
					for range 5 {
						wg.Go(func() {
							got, err := b.Token(t.Context(), "alice", "", o)
							if err != nil {
								t.Errorf("%v: %v", o.Scopes, err)
							}
							if len(got.Scopes) != len(o.Scopes) {
								t.Errorf("%v got a token with %v", o.Scopes, got.Scopes)
							}
						})
					}
				}
			}
			wg.Wait()
			advance(time.Hour)
		}
		w.requests(expiries * len(sets))
		w.noReplay()
		if w.provider.most != 1 {
			t.Errorf("%d requests of one grant were under way at once", w.provider.most)
		}
	})
}

func TestNarrowerTokenIsAskedForAnewAsAnyOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		whole, first := w.token("alice", "", Options{}), w.token("alice", "", narrow("read"))
		second := w.token("alice", "", Options{Scopes: []string{"read"}, NotNumber: first.Number})
		if second.Number <= first.Number || !cmp.Equal(w.provider.requests[2].Scopes, []string{"read"}) {
			t.Errorf("token %d after %d was refused, asked for with %q", second.Number, first.Number, w.provider.requests[2].Scopes)
		}
		advance(forceInterval)
		if forced := w.token("alice", "", Options{Scopes: []string{"read"}, Force: true}); forced.Number <= second.Number {
			t.Errorf("forced, token %d came after %d", forced.Number, second.Number)
		}
		w.requests(4)
		if got := w.token("alice", "", Options{}); got.Value != whole.Value {
			t.Error("the grant's own token was replaced")
		}
	})
}

// An API that refuses whatever one key calls with must not cost another key its
// token.
func TestRefusalsOfOneScopeSetLeaveAnotherItsRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		other, refused := w.token("alice", "", narrow("send")), w.token("alice", "", narrow("read"))
		for range insistBurst {
			refused = w.token("alice", "", Options{Scopes: []string{"read"}, NotNumber: refused.Number})
		}
		w.refused("alice", "", Options{Scopes: []string{"read"}, NotNumber: refused.Number}, problem.ProviderUnavailable)
		w.token("alice", "", Options{Scopes: []string{"send"}, NotNumber: other.Number})
	})
}

func TestLostAnswerOfNarrowerTokenIsMadeGoodByAnyRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationGrace)
		w.provider.set(func(p *fakeProvider) { p.lose = 1 })
		w.refused("alice", "", narrow("read"), problem.ProviderUnavailable)
		if g := w.vault.stored(t, "alice"); g.Intent == nil || !g.Intent.Lost {
			t.Fatalf("intent %+v", g.Intent)
		}
		advance(2 * time.Second)
		w.token("alice", "", Options{})
		w.token("alice", "", narrow("read"))
		if g := w.vault.stored(t, "alice"); g.Intent != nil {
			t.Errorf("intent %+v", g.Intent)
		}
		w.noReplay()
	})
}

func TestNarrowerTokenInUseIsRenewedAheadAndAnotherIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		w.run()
		w.token("alice", "", Options{})
		w.token("alice", "", narrow("read"))
		w.token("alice", "", narrow("send")) // once, and never again
		const hours = 10
		for range hours * 6 {
			for _, o := range []Options{{}, narrow("read")} {
				if got := w.token("alice", "", o); got.Result != Hit {
					t.Errorf("%v: a caller waited", o.Scopes)
				}
			}
			advance(10 * time.Minute)
		}
		count := make(map[string]int)
		for _, r := range w.provider.requests {
			count[strings.Join(r.Scopes, " ")]++
		}
		if count["send"] > 1+usedLifetimes || count["read"] < hours || count[""] < hours {
			t.Errorf("requests by scopes: %v", count)
		}
		if n := len(w.vault.stored(t, "alice").Access); n != 2 {
			t.Errorf("%d tokens are kept", n)
		}
	})
}

func TestNarrowerTokensDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		w.provider.scopes = nil // only the provider knows
		whole := w.token("alice", "", Options{})
		const sets = 3 * account.MaxNarrow
		for i := range sets {
			w.token("alice", "", narrow(fmt.Sprint("scope", i)))
		}
		w.provider.set(func(p *fakeProvider) {
			p.fail = failing(account.Failure{Meaning: account.AudienceRefused, Code: "invalid_scope"})
		})
		for i := range sets {
			w.refused("alice", "", narrow(fmt.Sprint("other", i)), problem.InsufficientScope)
		}
		g := w.vault.stored(t, "alice")
		if len(g.Access) != 1+account.MaxNarrow || len(g.Failures) != account.MaxNarrow {
			t.Errorf("%d tokens and %d failures are kept", len(g.Access), len(g.Failures))
		}
		if got := w.token("alice", "", narrow(fmt.Sprint("scope", sets-1))); got.Result != Hit {
			t.Errorf("the newest: %s", got.Result)
		}
		if got := w.token("alice", "", Options{}); got.Value != whole.Value {
			t.Error("the grant's own token is gone")
		}
		e, _ := w.known("alice")
		if n := len(e.narrow.at); n > account.MaxNarrow {
			t.Errorf("the use of %d is remembered", n)
		}
	})
}

// Whoever keeps calling with scopes that are refused does not keep the grant
// from being kept alive.
func TestRefusedScopesDoNotPutOffTheKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNarrowWorld(t, account.RotationSingleUse)
		w.token("alice", "", Options{})
		before := w.due(w.vault.stored(t, "alice"))
		advance(before.Sub(w.clock.Now()) - time.Minute)
		w.provider.set(func(p *fakeProvider) {
			p.fail = failing(account.Failure{Meaning: account.AudienceRefused, Code: "invalid_scope"})
		})
		w.refused("alice", "", narrow("read"), problem.InsufficientScope)
		if after := w.due(w.vault.stored(t, "alice")); !after.Equal(before) {
			t.Errorf("due at %v, and before at %v", after, before)
		}
	})
}
