package broker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

func TestProviderThatIsDownIsProbedOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		const accounts = 30
		for i := range accounts {
			w.register(fmt.Sprint("account", i))
		}
		w.provider.set(func(p *fakeProvider) { p.fail = failing(account.Failure{Meaning: account.ProviderDown, Status: 503}) })
		w.refused("account0", "", Options{}, problem.ProviderUnavailable)
		for range 10 * 80 { // eighty seconds
			for i := range accounts {
				p := w.refused(fmt.Sprint("account", i), "", Options{}, problem.ProviderUnavailable)
				if p.RetryAfter < time.Second || p.RetryAfter > 30*time.Second {
					t.Fatalf("told to come back after %v", p.RetryAfter)
				}
			}
			advance(100 * time.Millisecond)
		}
		at := w.provider.at
		for i, seconds := range []int{1, 2, 4, 8, 15, 15, 15} {
			want := time.Duration(seconds) * time.Second
			got := at[i+1].Sub(at[i])
			// Callers come each 100 ms.
			if least, most := want*8/10, want*12/10+100*time.Millisecond; got < least || got > most {
				t.Errorf("probe %d came after %v, want %v to %v", i+1, got, least, most)
			}
		}
		if w.provider.most != 1 {
			t.Errorf("%d requests were under way at once", w.provider.most)
		}

		w.provider.set(func(p *fakeProvider) { p.fail = nil; p.delay = time.Second })
		advance(20 * time.Second)
		var wg sync.WaitGroup
		for i := range accounts {
			wg.Go(func() { _, _ = w.Token(t.Context(), fmt.Sprint("account", i), "", Options{}) })
		}
		wg.Wait()
		if w.provider.most != 1 {
			t.Errorf("%d requests were under way at once while the outcome of the probe was not known", w.provider.most)
		}
		w.token("account1", "", Options{})
	})
}

func TestRetryAfterIsObeyedAndCapped(t *testing.T) {
	for name, test := range map[string]struct{ asked, want time.Duration }{
		"longer than the probe's wait": {asked: time.Minute, want: time.Minute},
		"shorter":                      {asked: time.Millisecond, want: 800 * time.Millisecond},
		"a day":                        {asked: 24 * time.Hour, want: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationNone)
				w.register("alice")
				w.provider.set(func(p *fakeProvider) {
					p.fail = failing(account.Failure{Meaning: account.Throttled, Status: 429, RetryAfter: test.asked})
				})
				w.refused("alice", "", Options{}, problem.ProviderUnavailable)
				advance(test.want - time.Millisecond)
				w.refused("alice", "", Options{}, problem.ProviderUnavailable)
				w.requests(1)
				advance(500 * time.Millisecond)
				w.refused("alice", "", Options{}, problem.ProviderUnavailable)
				w.requests(2)
			})
		})
	}
}

// Of requests that were sent together the first failure closes the endpoint,
// yet the longest Retry-After counts.
func TestLaterRetryAfterRaisesTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{clock: newWorld(t, account.RotationNone).clock}
		first, _ := e.enter(t.Context(), nobody, 2)
		second, _ := e.enter(t.Context(), nobody, 2)
		first.leave(&account.Failure{Meaning: account.ProviderDown})
		second.leave(&account.Failure{Meaning: account.Throttled, Status: 429, RetryAfter: time.Minute})
		if e.failed != 1 {
			t.Errorf("%d steps", e.failed)
		}
		advance(59 * time.Second)
		if _, err := e.enter(t.Context(), nobody, 2); err == nil {
			t.Error("a request was let through")
		}
		advance(time.Second)
		if _, err := e.enter(t.Context(), nobody, 2); err != nil {
			t.Error(err)
		}
	})
}

func nobody() bool { return false }

func TestRequestsUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.settings.Workers = 4
		w.provider.set(func(p *fakeProvider) { p.delay = 100 * time.Millisecond })
		var wg sync.WaitGroup
		for i := range 40 {
			id := fmt.Sprint("account", i)
			w.register(id)
			wg.Go(func() {
				if _, err := w.Token(t.Context(), id, "", Options{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if w.provider.most != 4 {
			t.Errorf("at most %d requests were under way, want 4", w.provider.most)
		}
	})
}

func TestCallersComeBeforeBackgroundWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		w.settings.Workers = 1
		gate := make(chan struct{})
		w.provider.set(func(p *fakeProvider) { p.gate = gate })
		for _, id := range []string{"first", "idle", "promoted", "caller"} {
			w.register(id)
		}
		background := func(id string) {
			go func() { _, _ = w.await(w.running, w.named(), id, need{audience: "main", ahead: true}) }()
			synctest.Wait()
		}
		call := func(id string) {
			go func() { _, _ = w.Token(t.Context(), id, "", Options{}) }()
			synctest.Wait()
		}
		background("first")
		background("idle")
		background("promoted")
		call("caller")
		call("promoted") // now somebody waits for it too

		for range 4 {
			gate <- struct{}{}
			synctest.Wait()
		}
		var order []string
		for _, r := range w.provider.requests {
			order = append(order, r.RefreshToken.Reveal())
		}
		if want := []string{"first#1", "promoted#1", "caller#1", "idle#1"}; !slices.Equal(order, want) {
			t.Errorf("the order is %v, want %v", order, want)
		}
	})
}

func TestEndpointsRestApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationNone)
		other := newFakeProvider("other", account.RotationNone, w.journal)
		w.Broker = New(w.Shared, []Provider{w.provider, other}, testSettings, w.watcher, w.log)
		w.register("alice")
		w.provider.set(func(p *fakeProvider) { p.fail = failing(account.Failure{Meaning: account.ProviderDown}) })
		w.refused("alice", "", Options{}, problem.ProviderUnavailable)
		if err := w.Register(t.Context(), Registration{ID: "bob", Provider: "other", RefreshToken: other.consent("bob")}); err != nil {
			t.Fatal(err)
		}
		w.token("bob", "", Options{})
	})
}

// Whatever becomes of a request, its place is given back.
func TestPlacesAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{clock: newWorld(t, account.RotationNone).clock}
		enter := func(ctx context.Context) (ticket, error) { return e.enter(ctx, nobody, 1) }

		place, err := enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() { _, err := enter(ctx); gone <- err }()
		synctest.Wait()
		leave()
		if err := <-gone; err == nil {
			t.Error("who left got a place")
		}
		place.withdraw()

		place, err = enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error)
		go func() { _, err := enter(t.Context()); waiting <- err }()
		synctest.Wait()
		place.leave(&account.Failure{Meaning: account.ProviderDown, Lost: true})
		f := asFailure(<-waiting)
		if f == nil || f.Lost {
			t.Errorf("who waited got %v", f)
		}

		advance(2 * time.Second)
		probe, err := enter(t.Context())
		if err != nil || !probe.probe {
			t.Fatalf("the probe: %v, %v", probe, err)
		}
		if _, err := enter(t.Context()); err == nil {
			t.Error("a second probe was let through")
		}
		probe.withdraw()
		if probe, err = enter(t.Context()); err != nil {
			t.Errorf("after a probe that was not sent: %v", err)
		}
		probe.leave(nil)
		if e.inFlight != 0 || e.failed != 0 || len(e.waiting) != 0 {
			t.Errorf("left: %d under way, %d failed, %d waiting", e.inFlight, e.failed, len(e.waiting))
		}
	})
}
