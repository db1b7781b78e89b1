package broker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func TestNodesSendOneRequestForAnExpiry(t *testing.T) {
	for name, deaf := range map[string]bool{"by watching": false, "by asking, while the watch is lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, account.RotationSingleUse)
				c.register("alice")
				c.a.watch.deaf.Store(deaf)
				c.b.watch.deaf.Store(deaf)
				if _, err := c.b.Account(t.Context(), "alice"); err != nil { // who finds it in memory waits for nobody else
					t.Fatal(err)
				}
				c.provider.set(func(p *fakeProvider) { p.delay = 7 * time.Second }) // longer than a lease
				results := make(map[Result]int)
				var mu sync.Mutex
				var wg sync.WaitGroup
				begun := time.Now()
				for range 50 {
					for _, n := range []*node{c.a, c.b} {
						wg.Go(func() {
							got := n.token("alice", "", Options{})
							mu.Lock()
							defer mu.Unlock()
							results[got.Result]++
						})
					}
				}
				wg.Wait()
				c.requests(1)
				c.whole("alice")
				if results[Refreshed] != 1 || results[Waited] != 99 {
					t.Errorf("results %v", results)
				}
				took, atMost := time.Since(begun), 7*time.Second
				if deaf {
					atMost += elsewherePoll
				}
				if took > atMost {
					t.Errorf("all were served after %v, want %v at most", took, atMost)
				}
			})
		})
	}
}

func TestNodesShareRenewalsInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.a.run()
		c.b.run()
		c.provider.set(func(p *fakeProvider) { p.delay = 200 * time.Millisecond })
		const accounts, hours = 20, 10
		for i := range accounts {
			c.register(fmt.Sprint("user", i))
		}
		calls := func() {
			for i := range accounts {
				for _, n := range []*node{c.a, c.b} {
					if got := n.token(fmt.Sprint("user", i), "", Options{}); got.Result != Hit && time.Now().Hour() > 1 {
						t.Errorf("%s: the token of user%d is %s", n.name, i, got.Result)
					}
				}
			}
		}
		calls()
		c.requests(accounts)
		begun := time.Now()
		for time.Since(begun) < hours*time.Hour {
			advance(5 * time.Minute)
			calls()
		}
		// Each token lives for an hour and is renewed 5 to 6 minutes ahead.
		if got, atMost := c.provider.count(), accounts*(1+hours*60/54+1); got > atMost {
			t.Errorf("%d token requests, want %d at most", got, atMost)
		}
		for i := range accounts {
			c.whole(fmt.Sprint("user", i))
		}
	})
}

// An idle account is due on all nodes at the same time.
func TestNodesKeepAGrantAliveOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.a.run()
		c.b.run()
		c.provider.set(func(p *fakeProvider) { p.delay = 200 * time.Millisecond })
		c.register("alice")
		c.a.token("alice", "", Options{})
		advance(6 * time.Hour) // it is in use no more
		idle := c.provider.count()
		advance(3 * c.settings.Keepalive)
		at := c.provider.at[idle:]
		if len(at) < 3 {
			t.Errorf("%d requests in three times the time that it may be idle", len(at))
		}
		for i := range at[1:] {
			if apart := at[i+1].Sub(at[i]); apart < part(c.settings.Keepalive, keepaliveFrom-keepaliveGrain) {
				t.Errorf("it was kept alive again after %v", apart)
			}
		}
		c.whole("alice")
	})
}

func TestNodesTellOfAGrantThatLapsesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.a.run()
		c.b.run()
		c.provider.set(func(p *fakeProvider) {
			p.dress = func(_ account.RefreshRequest, a *account.Answer) error {
				a.RefreshTokenLife = 8 * time.Hour
				return nil
			}
		})
		c.register("alice")
		c.a.token("alice", "", Options{})
		c.b.token("alice", "", Options{})
		if err := c.a.Disable(t.Context(), "alice"); err != nil { // so that nothing renews it
			t.Fatal(err)
		}
		synctest.Wait()
		c.b.watch.deaf.Store(true) // as when both look at the same moment
		advance(7 * time.Hour)
		if n := c.a.watcher.count(GrantExpiring) + c.b.watcher.count(GrantExpiring); n != 1 {
			t.Errorf("it was told %d times", n)
		}
	})
}

// A node that was stopped for longer than its lease lasts never sends what
// another node has spent in the meantime, nor overwrites what it got.
func TestNodeThatIsStoppedPastItsLeaseSpendsNothing(t *testing.T) {
	for _, at := range []step{leased, intends, writes} {
		t.Run(string(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, account.RotationSingleUse)
				c.register("alice")
				stopped := c.a.vault.stop(at)
				first := c.a.asking("alice", "", Options{})
				<-stopped
				advance(leaseLife / 2)
				second := c.b.asking("alice", "", Options{})
				advance(leaseLife)
				got, err := second()
				if err != nil || got.Result != Refreshed {
					t.Fatalf("on the other node: %v %v", got.Result, err)
				}
				c.requests(1)
				c.a.vault.resume()
				late, err := first()
				if err != nil || late.Number != got.Number {
					t.Errorf("on the node that was stopped: token %d and error %v, want token %d", late.Number, err, got.Number)
				}
				c.requests(1)
				c.whole("alice")
			})
		})
	}
}

// The other node's request is still under way: the one that was stopped cannot
// even write that it is about to send.
func TestNodeThatIsStoppedPastItsLeaseWritesNoIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.provider.set(func(p *fakeProvider) { p.delay = 10 * time.Second })
		stopped := c.a.vault.stop(intends)
		first := c.a.asking("alice", "", Options{})
		<-stopped
		advance(leaseLife)
		second := c.b.asking("alice", "", Options{})
		advance(time.Second)
		c.a.vault.resume()
		for _, ask := range []func() (Token, error){first, second} {
			if _, err := ask(); err != nil {
				t.Error(err)
			}
		}
		c.requests(1)
		c.whole("alice")
		if g := c.vault.stored(t, "alice"); g.Attempts != 1 {
			t.Errorf("%d intents were written", g.Attempts)
		}
	})
}

// Nobody else has gone on: the intent that was written is taken back. Were the
// outcome unknown, nothing could be sent while a token lives.
func TestNodeThatIsStoppedBeforeItWritesBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.a.token("alice", "", Options{})
		stopped := c.a.vault.stop(writes)
		ask := c.a.asking("alice", "other", Options{})
		<-stopped
		advance(time.Minute)
		c.a.vault.resume()
		if got, err := ask(); err != nil || got.Result != Refreshed {
			t.Fatalf("%v %v", got.Result, err)
		}
		c.requests(2)
		c.whole("alice")
	})
}

// What a node believes is old, and it has the lease: it looks once more.
func TestNodeThatHeardOfNothingSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.a.token("alice", "", Options{})
		c.a.watch.deaf.Store(true)
		c.b.token("alice", "", Options{Force: true}) // within a minute it is the same
		advance(5 * time.Minute)
		got := c.b.token("alice", "", Options{Force: true})
		c.requests(2)
		advance(55 * time.Minute)
		c.a.watch.deaf.Store(false)
		advance(2 * heardEvery) // it is believed, though it missed what was changed
		if late := c.a.token("alice", "", Options{}); late.Number != got.Number || late.Result != Waited {
			t.Errorf("token %d is %s, want %d", late.Number, late.Result, got.Number)
		}
		c.requests(2)
		c.whole("alice")
	})
}

// The answer of a node that was stopped while it came is as lost to the others:
// they ask again within the grace. What they got stays.
func TestAnswerThatComesTooLateOverwritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationGrace)
		c.register("alice")
		c.b.run()
		stopped := c.a.vault.stop(answered)
		first := c.a.asking("alice", "", Options{})
		<-stopped
		c.requests(1)
		advance(leaseLife + 2*takeUpEvery) // within the grace of 10 s
		c.requests(2)
		c.whole("alice")
		got := c.b.token("alice", "", Options{})
		c.a.vault.resume()
		if late, err := first(); err != nil || late.Number != got.Number {
			t.Errorf("on the node that was stopped: token %d and error %v, want token %d", late.Number, err, got.Number)
		}
		c.requests(2)
		c.whole("alice")
	})
}

// Its lease has ended, but nobody has sent anything since: the answer counts.
func TestAnswerIsSavedThoughItsLeaseHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.a.token("alice", "", Options{})
		c.b.token("alice", "", Options{})
		c.b.run()
		stopped := c.a.vault.stop(answered)
		ask := c.a.asking("alice", "other", Options{})
		<-stopped
		advance(time.Minute)
		// To send the refresh token again would kill the token that lives.
		c.b.refused("alice", "other", Options{}, problem.ProviderUnavailable)
		c.requests(2)
		c.a.vault.resume()
		if _, err := ask(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := c.b.token("alice", "other", Options{}); got.Result != Hit {
			t.Errorf("on the other node the token is %s", got.Result)
		}
		c.requests(2)
		c.whole("alice")
	})
}

// Another node took the request for lost and died before it sent its own: the
// refresh token that came is the only one that the provider still honours.
func TestAnswerIsSavedThoughAnotherNodeHasIntended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		stopped := c.a.vault.stop(answered)
		first := c.a.asking("alice", "", Options{})
		<-stopped
		died := c.b.vault.stop(writes)
		_ = c.b.asking("alice", "", Options{})
		<-died
		c.b.kill()
		if g := c.vault.stored(t, "alice"); g.Intent == nil || g.Intent.Owner != "b" || g.Attempts != 2 {
			t.Fatalf("intent %s", intentText(g))
		}
		c.a.vault.resume()
		if _, err := first(); err != nil {
			t.Error(err)
		}
		if g := c.vault.stored(t, "alice"); g.RefreshToken.Reveal() != "alice#2" || g.Intent == nil {
			t.Errorf("stored %s, intent %s", g.RefreshToken.Reveal(), intentText(g))
		}
		advance(time.Hour)
		c.a.token("alice", "", Options{})
		c.requests(2)
		c.whole("alice")
	})
}

func TestWhatADeadNodeLeftIsTakenUpWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationGrace)
		c.register("alice")
		c.b.run()
		stopped := c.a.vault.stop(answered)
		_ = c.a.asking("alice", "", Options{})
		<-stopped
		c.requests(1)
		c.a.kill()
		advance(leaseLife + 2*takeUpEvery)
		c.requests(2)
		c.whole("alice")
		if got := c.b.token("alice", "", Options{}); got.Result != Hit {
			t.Errorf("the token is %s", got.Result)
		}
	})
}

// A node that starts takes up nothing that another is at.
func TestRequestOfALivingNodeIsNotTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationGrace)
		c.register("alice")
		c.provider.set(func(p *fakeProvider) { p.delay = 14 * time.Second })
		ask := c.a.asking("alice", "", Options{})
		synctest.Wait()
		c.b.run()
		third := c.node("c")
		third.run()
		if got, err := ask(); err != nil || got.Result != Refreshed {
			t.Errorf("%v %v", got.Result, err)
		}
		advance(time.Minute)
		c.requests(1)
		c.whole("alice")
	})
}

// Two nodes look for what a third left; one of them asks.
func TestWhatADeadNodeLeftIsTakenUpOnce(t *testing.T) {
	for _, kind := range []account.RotationKind{account.RotationGrace, account.RotationKeepsOld} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, kind)
				c.register("alice")
				c.b.run()
				third := c.node("c")
				third.run()
				c.provider.set(func(p *fakeProvider) { p.delay = 300 * time.Millisecond })
				stopped := c.a.vault.stop(answered)
				_ = c.a.asking("alice", "", Options{})
				<-stopped
				c.a.kill()
				advance(30 * time.Second)
				c.requests(2)
				c.whole("alice")
			})
		})
	}
}

// A lease that cannot be had spends nothing.
func TestNoRequestWithoutALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.vault.set(func(v *memVault) { v.leaseErr = errAway })
		c.a.refused("alice", "", Options{}, problem.StoreUnavailable)
		c.requests(0)
		c.vault.set(func(v *memVault) { v.leaseErr = nil })
		c.a.token("alice", "", Options{})
		c.requests(1)
	})
}

// Whoever waits for another node holds up no change of the account.
func TestAccountCanBeDisabledWhileAnotherNodeRenewsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.provider.set(func(p *fakeProvider) { p.delay = 10 * time.Second })
		first := c.a.asking("alice", "", Options{})
		synctest.Wait()
		second := c.b.asking("alice", "", Options{})
		advance(time.Second)
		begun := time.Now()
		if err := c.b.Disable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > elsewherePoll {
			t.Errorf("it took %v", took)
		}
		if _, err := second(); problem.From(err).Code != problem.AccountDisabled {
			t.Errorf("who waited on the node got %v", err)
		}
		_, _ = first()
		c.requests(1)
		c.whole("alice")
		c.a.refused("alice", "", Options{}, problem.AccountDisabled)
	})
}

// A store that was away for all nodes comes back: the node that has an answer in
// memory saves it before another one takes its request for lost.
func TestAnswerThatWaitedOutAnOutageIsSavedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.b.run()
		stopped := c.a.vault.stop(answered)
		first := c.a.asking("alice", "", Options{})
		<-stopped
		away := func(is bool) {
			for _, n := range []*node{c.a, c.b} {
				n.vault.away.Store(is)
				n.watch.deaf.Store(is)
			}
		}
		away(true)
		c.a.vault.resume()
		if _, err := first(); err != nil { // served, though it is not saved
			t.Error(err)
		}
		advance(time.Minute)
		away(false)
		advance(2 * heardEvery) // the other one asks first
		c.b.refused("alice", "", Options{}, problem.ProviderUnavailable)
		c.a.run()
		advance(saveFirst)
		c.requests(1)
		c.whole("alice")
		c.b.token("alice", "", Options{})
		c.requests(1)
	})
}

func TestWhatOneNodeChangesIsKnownToTheOther(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cluster) error
		code   problem.Code
	}{
		"disabled": {func(c *cluster) error { return c.a.Disable(c.t.Context(), "alice") }, problem.AccountDisabled},
		"removed":  {func(c *cluster) error { return c.a.Remove(c.t.Context(), "alice", false) }, problem.AccountNotFound},
		"revoked":  {func(c *cluster) error { return c.a.Remove(c.t.Context(), "alice", true) }, problem.AccountNotFound},
		"removed and registered anew": {func(c *cluster) error {
			if err := c.a.Remove(c.t.Context(), "alice", false); err != nil {
				return err
			}
			return c.a.Register(c.t.Context(), Registration{ID: "alice", Provider: "fake", RefreshToken: secret.New("unknown")})
		}, problem.OAuthRenewError},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, account.RotationSingleUse)
				c.register("alice")
				c.b.token("alice", "", Options{})
				if err := test.change(c); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				c.b.refused("alice", "", Options{}, test.code)
			})
		})
	}
}

// What was missed is made good once the node hears again.
func TestNodeThatMissedChangesReadsAllAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		const accounts = 50
		for i := range accounts {
			c.register(fmt.Sprint("user", i))
			c.b.token(fmt.Sprint("user", i), "", Options{})
		}
		c.b.watch.deaf.Store(true)
		for i := range accounts {
			if err := c.a.Disable(t.Context(), fmt.Sprint("user", i)); err != nil {
				t.Fatal(err)
			}
		}
		c.b.vault.away.Store(true)
		synctest.Wait()
		c.b.token("user0", "", Options{})
		c.b.watch.deaf.Store(false)
		c.b.changed("", 0)
		advance(time.Minute)
		c.b.token("user0", "", Options{}) // it cannot be read yet
		c.b.vault.away.Store(false)
		advance(time.Minute)
		for i := range accounts {
			c.b.refused(fmt.Sprint("user", i), "", Options{}, problem.AccountDisabled)
		}
	})
}

// The node reads the grant, and before it is in memory another one changes it.
func TestChangeWhileAGrantIsReadIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.a.token("alice", "", Options{})
		b := c.b
		read := b.reading("alice")
		g, version, err := b.vault.Grant(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.a.Disable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		b.remember(g, version)
		read.done()
		synctest.Wait()
		b.refused("alice", "", Options{}, problem.AccountDisabled)
	})
}

// A node's own changes are known to it, and not read again.
func TestOwnChangesAreNotReadAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.a.token("alice", "", Options{})
		synctest.Wait()
		c.a.vault.away.Store(true) // a read would be tried again for ever
		c.a.changed("alice", c.vault.versions["alice"])
		c.a.news.mu.Lock()
		defer c.a.news.mu.Unlock()
		if len(c.a.news.queue) != 0 {
			t.Error("it is to be read")
		}
	})
}

func TestUseAndScheduleSurviveAnothersRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.b.run()
		c.b.token("alice", "", Options{})
		advance(30 * time.Minute)
		c.b.token("alice", "", Options{})
		c.a.token("alice", "", Options{Force: true})
		c.requests(2)
		synctest.Wait()
		// The other node's schedule is of the token before; it is still in use
		// when the new one is due.
		advance(59 * time.Minute)
		c.requests(3)
		if got := c.b.token("alice", "", Options{}); got.Result != Hit {
			t.Errorf("the token is %s", got.Result)
		}
	})
}

func TestMemoryIsBelievedForTenMinutesWithoutNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.b.token("alice", "", Options{})
		c.b.watch.deaf.Store(true)
		c.b.vault.away.Store(true)
		advance(trustedFor - heardEvery)
		c.b.token("alice", "", Options{})
		if err := c.b.Trusted(); err != nil {
			t.Error(err)
		}
		advance(2 * heardEvery)
		c.b.refused("alice", "", Options{}, problem.StoreUnavailable)
		if p := problem.From(c.b.Trusted()); p.Code != problem.StoreUnavailable || p.RetryAfter == 0 {
			t.Errorf("%v", p)
		}
		c.b.watch.deaf.Store(false)
		c.b.vault.away.Store(false)
		advance(2 * heardEvery)
		c.b.token("alice", "", Options{})
	})
}

// A store that is this process's alone has nobody to hear of.
func TestMemoryOfALoneProcessIsAlwaysBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.token("alice", "", Options{})
		w.vault.set(func(v *memVault) { v.readErr, v.readyErr = errAway, errAway })
		advance(50 * time.Minute)
		if got := w.token("alice", "", Options{}); got.Result != Hit {
			t.Errorf("the token is %s", got.Result)
		}
	})
}

// A node that starts when the store has just come back knows of no outage.
func TestNodeThatStartsAfterAnOutageLeavesOthersTheirAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		stopped := c.a.vault.stop(answered)
		first := c.a.asking("alice", "", Options{})
		<-stopped
		c.a.vault.away.Store(true)
		c.a.vault.resume()
		if _, err := first(); err != nil {
			t.Fatal(err)
		}
		advance(time.Minute)
		started := c.node("started")
		started.run()
		started.refused("alice", "", Options{}, problem.ProviderUnavailable)
		c.a.vault.away.Store(false)
		c.a.run()
		advance(saveFirst)
		c.requests(1)
		c.whole("alice")
	})
}

// lateVault does something between the reading of a grant and its return.
type lateVault struct {
	*nodeVault
	then func()
}

func (v *lateVault) Grant(ctx context.Context, id string) (*account.Grant, uint64, error) {
	g, version, err := v.nodeVault.Grant(ctx, id)
	if then := v.then; then != nil {
		v.then = nil
		then()
	}
	return g, version, err
}

// Who waits for another node reads the grant, and before it is in memory that one
// removes it.
func TestAccountThatIsRemovedWhileItIsReadAgainStaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationSingleUse)
		c.register("alice")
		c.b.token("alice", "", Options{})
		synctest.Wait()
		c.b.Shared.vault = &lateVault{c.b.vault, func() {
			if err := c.a.Remove(t.Context(), "alice", false); err != nil {
				t.Error(err)
			}
			synctest.Wait() // it is out of memory
		}}
		c.b.reread(t.Context(), "alice")
		synctest.Wait()
		c.b.refused("alice", "", Options{}, problem.AccountNotFound)
	})
}

// Where the provider forgives a replay for a while, a node that starts need not
// wait for what it can do at once.
func TestNodeThatStartsTakesUpWhatADeadOneLeftWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, account.RotationGrace)
		c.register("alice")
		stopped := c.a.vault.stop(answered)
		_ = c.a.asking("alice", "", Options{})
		<-stopped
		c.a.kill()
		c.node("started").run()
		advance(leaseLife + 2*takeUpEvery)
		c.requests(2)
		c.whole("alice")
	})
}
