package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// crowd is accounts that are in use all the while: each has a caller that
// asks for its token again and again.
type crowd struct {
	*world
	ids []string

	mu     sync.Mutex
	ends   map[string]time.Time // of the token that each caller was given last
	errors map[string]error     // what it was told last, if that was no token
	failed map[problem.Code]int // how often
}

// gather registers the accounts and brings each its first token, one after
// each interval.
func gather(w *world, n int, interval time.Duration) *crowd {
	c := &crowd{world: w, ends: make(map[string]time.Time), errors: make(map[string]error), failed: make(map[problem.Code]int)}
	c.more(n, interval)
	return c
}

func (c *crowd) more(n int, interval time.Duration) {
	for range n {
		id := fmt.Sprint("account", len(c.ids))
		c.register(id)
		c.ends[id] = c.token(id, "", Options{}).Expires
		c.ids = append(c.ids, id)
		advance(interval)
	}
}

// callEvery lets every account's caller ask at each interval, each at a moment
// of its own, until the returned function or the end of the test. Whoever is told of anything else than a
// passing trouble of the codes, or of that while the token lives which it was
// given last, fails the test.
func (c *crowd) callEvery(interval time.Duration, codes ...problem.Code) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	for i, id := range c.ids {
		callers.Go(func() {
			wait := interval * time.Duration(i) / time.Duration(len(c.ids))
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(wait):
				}
				got, err := c.Token(ctx, id, "", Options{})
				if ctx.Err() == nil {
					c.judge(id, got, err, codes)
				}
				wait = interval
			}
		})
	}
	stop = func() { cancel(); callers.Wait() }
	c.t.Cleanup(stop)
	return stop
}

func (c *crowd) judge(id string, got Token, err error, codes []problem.Code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.Now()
	c.errors[id] = err
	if err == nil {
		if !got.Expires.After(now) {
			c.t.Errorf("at %v the caller of %s got a token that ended at %v", now, id, got.Expires)
		}
		c.ends[id] = got.Expires
		return
	}
	p := problem.From(err)
	c.failed[p.Code]++
	switch {
	case !slices.Contains(codes, p.Code):
		c.t.Errorf("the caller of %s got %v", id, err)
	case c.ends[id].After(now):
		c.t.Errorf("at %v the caller of %s got %v, although its token lives until %v", now, id, err, c.ends[id])
	case p.Code == problem.ProviderUnavailable && (p.RetryAfter < time.Second || p.RetryAfter > 30*time.Second):
		c.t.Errorf("the caller of %s was told to come back after %v", id, p.RetryAfter)
	}
}

// told is how often callers were told so.
func (c *crowd) told(code problem.Code) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed[code]
}

// tally starts to count the provider's requests; the function that it returns
// says how many were sent since for each account, how many in all, and how
// many were under way at once.
func (c *crowd) tally() func() (each map[string]int, all, most int) {
	var from int
	c.provider.set(func(p *fakeProvider) { from, p.most = len(p.requests), p.inFlight })
	return func() (map[string]int, int, int) {
		c.provider.mu.Lock()
		defer c.provider.mu.Unlock()
		each := make(map[string]int)
		for _, r := range c.provider.requests[from:] {
			id, _, _ := strings.Cut(r.RefreshToken.Reveal(), "#")
			each[id]++
		}
		return each, len(c.provider.requests) - from, c.provider.most
	}
}

// allServed checks that every caller's last call brought a token.
func (c *crowd) allServed() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range c.ids {
		if err := c.errors[id]; err != nil {
			c.t.Errorf("the caller of %s still gets %v", id, err)
		}
	}
}

// nothingLost checks, between two requests, that the vault holds each grant's
// newest refresh token and nothing against any of them.
func (c *crowd) nothingLost() {
	c.t.Helper()
	for c.underWay() > 0 {
		advance(50 * time.Millisecond)
	}
	for _, id := range c.ids {
		g := c.vault.stored(c.t, id)
		c.provider.mu.Lock()
		current := c.provider.families[id].current
		c.provider.mu.Unlock()
		if g.RefreshToken.Reveal() != current || g.State != account.Connected || g.Intent != nil || len(g.Failures) > 0 {
			c.t.Errorf("%s is %s with refresh token %s (the provider's is %s), intent %v and failures %v",
				id, g.State, g.RefreshToken.Reveal(), current, g.Intent, g.Failures)
		}
	}
	c.noReplay()
}

func (c *crowd) underWay() int {
	c.provider.mu.Lock()
	defer c.provider.mu.Unlock()
	return c.provider.inFlight
}

func TestTokensThatExpireInOneMinuteAreRenewedBeforeAnyoneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const accounts = 10_000
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		c := gather(w, accounts, time.Minute/accounts)
		w.provider.set(func(p *fakeProvider) { p.delay = 200 * time.Millisecond })
		sent := c.tally()

		for began := time.Now(); time.Since(began) < time.Hour; {
			for _, id := range c.ids {
				asked := time.Now()
				got := w.token(id, "", Options{})
				if waited := time.Since(asked); got.Result != Hit || waited > 0 {
					t.Fatalf("%v on, the caller of %s got its token %s after %v", time.Since(began), id, got.Result, waited)
				}
			}
			if time.Since(began) < 50*time.Minute {
				advance(10 * time.Minute)
			} else {
				advance(5 * time.Second)
			}
		}
		if _, all, most := sent(); all != accounts || most != testSettings.Workers {
			t.Errorf("%d requests were sent, %d at once, want %d and %d", all, most, accounts, testSettings.Workers)
		}
		c.nothingLost()
	})
}

func TestStoreThatFailsWhileManyRenewLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const accounts = 100
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		c := gather(w, accounts, 0)
		w.provider.set(func(p *fakeProvider) { p.delay = 14 * time.Second })
		c.callEvery(5*time.Second, problem.StoreUnavailable)
		advance(53 * time.Minute)
		w.requests(accounts)

		// The store fails while the first renewals are under way, and stays so
		// until after the tokens that could not be renewed have ended.
		w.provider.set(func(p *fakeProvider) {
			p.fail = func(account.RefreshRequest) error {
				w.vault.set(func(v *memVault) { v.saveErr = errors.New("no room") })
				return nil
			}
		})
		sending := c.tally()
		advance(12 * time.Minute)
		_, sent, _ := sending()
		t.Logf("%d results could not be saved", sent)
		if sent < testSettings.Workers/2 || sent > testSettings.Workers {
			t.Fatalf("%d requests were sent, want those that were under way when the store failed, %d at most", sent, testSettings.Workers)
		}
		waiting := w.unsaved.ids()
		if len(waiting) != sent {
			t.Errorf("%d results wait to be saved, want %d", len(waiting), sent)
		}
		for _, id := range waiting {
			if got := w.token(id, "", Options{}); got.Result != Hit || got.Number != 2 {
				t.Errorf("of %s token %d is served, a %s", id, got.Number, got.Result)
			}
		}
		if c.told(problem.StoreUnavailable) == 0 {
			t.Error("nobody was told of the store, although tokens ended")
		}

		w.provider.set(func(p *fakeProvider) { p.fail, p.delay = nil, 200*time.Millisecond })
		w.vault.set(func(v *memVault) { v.saveErr = nil })
		advance(15 * time.Second)
		c.allServed()
		if err := w.Ready(t.Context()); err != nil {
			t.Errorf("readiness says %v", err)
		}
		for _, id := range c.ids {
			if n := w.saves(id + "#2"); n != 1 {
				t.Errorf("the renewed token of %s was saved %d times", id, n)
			}
		}
		w.requests(2 * accounts)
		c.nothingLost()
	})
}
