package broker

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// callers asks n times at once and returns how often each result came.
func callers(w *world, n int, id string, o Options) map[Result]int {
	var mu sync.Mutex
	results := make(map[Result]int)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			got, err := w.Token(w.t.Context(), id, "", o)
			if err != nil {
				w.t.Errorf("a caller got no token: %v", err)
				got.Result = Failed
			}
			mu.Lock()
			defer mu.Unlock()
			results[got.Result]++
		})
	}
	wg.Wait()
	return results
}

func TestCallersOfAnExpiredAccountShareOneRequest(t *testing.T) {
	for _, n := range []int{1000, 10_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				w.register("alice")
				w.token("alice", "", Options{})
				advance(2 * time.Hour)
				w.provider.set(func(p *fakeProvider) { p.delay = 200 * time.Millisecond })

				got := callers(w, n, "alice", Options{})
				if got[Refreshed] != 1 || got[Waited] != n-1 {
					t.Errorf("results are %v, want 1 refreshed and the others waited", got)
				}
				w.requests(2)
				if got := callers(w, n, "alice", Options{}); got[Hit] != n {
					t.Errorf("results afterwards are %v, want hits", got)
				}
				w.requests(2)
				w.noReplay()
			})
		})
	}
}

func TestUnknownAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.refused("nobody", "", Options{}, problem.AccountNotFound)
		w.refused("", "", Options{}, problem.AccountNotFound)
	})
}

func TestLeastLifeOfAToken(t *testing.T) {
	for _, test := range []struct {
		life, ahead, least, asked, want time.Duration
	}{
		{life: time.Hour, ahead: 5 * time.Minute, least: 30 * time.Second, want: 30 * time.Second},
		{life: time.Hour, ahead: 5 * time.Minute, least: time.Hour, want: 150 * time.Second},
		{life: time.Hour, ahead: 5 * time.Minute, least: 30 * time.Second, asked: time.Second, want: 30 * time.Second},
		{life: time.Hour, ahead: 5 * time.Minute, least: 30 * time.Second, asked: 10 * time.Minute, want: 10 * time.Minute},
		{life: time.Hour, ahead: 5 * time.Minute, least: 30 * time.Second, asked: 24 * time.Hour, want: 45 * time.Minute},
		{life: time.Minute, ahead: 5 * time.Minute, least: 30 * time.Second, want: 7500 * time.Millisecond},
		{life: time.Minute, ahead: 5 * time.Minute, least: 30 * time.Second, asked: time.Hour, want: 45 * time.Second},
		{life: 8 * time.Second, ahead: 5 * time.Minute, least: 30 * time.Second, want: time.Second},
		{life: time.Hour, ahead: 0, least: 30 * time.Second, want: 0},
	} {
		t.Run(fmt.Sprintf("%v, %v ahead, at least %v, asked %v", test.life, test.ahead, test.least, test.asked), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationNone)
				w.provider.life = test.life
				w.settings.Ahead, w.settings.MinTTL = test.ahead, test.least
				w.register("alice")
				w.token("alice", "", Options{})
				advance(test.life - test.want - time.Millisecond)
				if got := w.token("alice", "", Options{MinTTL: test.asked}); got.Result != Hit {
					t.Errorf("a moment sooner the token is %s", got.Result)
				}
				advance(time.Millisecond)
				if got := w.token("alice", "", Options{MinTTL: test.asked}); got.Result != Refreshed {
					t.Errorf("with %v left the token is a %s", test.want, got.Result)
				}
			})
		})
	}
}

func TestClockThatJumps(t *testing.T) {
	for _, jump := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				w.register("alice")
				w.run()
				w.token("alice", "", Options{})
				for i := range 3 * 60 {
					if i == 52 {
						w.clock.by.Store(int64(jump))
					}
					w.token("alice", "", Options{}) // checks the end by this clock
					advance(time.Minute)
				}
				w.noReplay()
			})
		})
	}
}

// The provider counts from when it answered at the latest: what the request
// took may be gone already.
func TestLifeIsCountedFromBeforeTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) { p.delay = 14 * time.Second })
		asked := w.clock.Now()
		got := w.token("alice", "", Options{})
		if took := w.clock.Now().Sub(asked); took != 14*time.Second {
			t.Fatalf("the request took %v", took)
		}
		if want := asked.Add(time.Hour); !got.Expires.Equal(want) {
			t.Errorf("the token ends at %v, want %v", got.Expires, want)
		}
		if stored := w.vault.stored(t, "alice").Access[0]; !stored.Issued.Equal(asked) || !stored.Expires.Equal(got.Expires) {
			t.Errorf("stored from %v to %v, want %v to %v", stored.Issued, stored.Expires, asked, got.Expires)
		}
	})
}

func TestTokensArePerAccountAudienceAndScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		seen := make(map[string]bool)
		for _, id := range []string{"alice", "bob"} {
			w.register(id)
			for _, audience := range []string{"", "files"} {
				for _, scopes := range [][]string{nil, {"read"}, {"read", "write"}} {
					token := w.token(id, audience, Options{Scopes: scopes})
					if seen[token.Value.Reveal()] {
						t.Errorf("%s, %q, %v: the token is somebody else's", id, audience, scopes)
					}
					seen[token.Value.Reveal()] = true
				}
			}
		}
		w.requests(12)
		if got := w.token("alice", "main", Options{Scopes: []string{"write", "read", "read"}}); got.Result != Hit {
			t.Errorf("the same scopes in another order: %s", got.Result)
		}
	})
}

func TestClaimsGoIntoTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.register("alice")
		token := w.token("alice", "", Options{})
		w.token("alice", "", Options{NotNumber: token.Number, Claims: `{"nbf":1}`})
		if got := w.provider.requests[1].Claims; got != `{"nbf":1}` {
			t.Errorf("the claims were %q", got)
		}
	})
}

func TestMemoryUnderPressureLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.cache = newCache(20 << 10) // some twenty accounts
		const accounts = 200
		for i := range accounts {
			w.register(fmt.Sprint("account", i))
		}
		for range 3 {
			var wg sync.WaitGroup
			for i := range accounts {
				wg.Go(func() {
					if _, err := w.Token(t.Context(), fmt.Sprint("account", i), "", Options{}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			synctest.Wait()
			w.cache.CleanUp()
			if n := w.cache.EstimatedSize(); n > accounts/4 {
				t.Errorf("%d accounts are in memory", n)
			}
			advance(20 * time.Minute)
		}
		w.requests(accounts)
		w.noReplay()
	})
}

// benchBroker has an account with a valid token, on the machine's clock.
func benchBroker(t testing.TB) *Broker {
	j := &journal{}
	p := newFakeProvider("fake", account.RotationNone, j)
	s := NewShared(newMemVault(j), "test", clockwork.NewRealClock(), slog.New(slog.DiscardHandler))
	t.Cleanup(s.Close)
	b := New(s, []Provider{p}, testSettings, &watcher{}, slog.New(slog.DiscardHandler))
	if err := b.Register(t.Context(), Registration{ID: "alice", Provider: "fake", RefreshToken: p.consent("alice")}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Token(t.Context(), "alice", "", Options{}); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestValidTokenIsServedWithoutAllocation(t *testing.T) {
	b, ctx := benchBroker(t), t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		if got, err := b.Token(ctx, "alice", "", Options{}); err != nil || got.Result != Hit {
			t.Fatalf("got %s, %v", got.Result, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkToken(b *testing.B) {
	broker, ctx := benchBroker(b), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := broker.Token(ctx, "alice", "", Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenInParallel(b *testing.B) {
	broker, ctx := benchBroker(b), b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := broker.Token(ctx, "alice", "", Options{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
