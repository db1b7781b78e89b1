package broker

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// endpoint lets token requests to one token endpoint through: so many at once,
// those that somebody waits for first, and after a failure that is the
// endpoint's own only one probe at a time until one succeeds.
type endpoint struct {
	clock clockwork.Clock

	mu       sync.Mutex
	inFlight int
	workers  int
	waiting  []*waiter // in the order of arrival

	failed  int              // failed probes in a row; 0: open
	failure *account.Failure // the last of them
	until   time.Time        // when the next probe may go
	probing bool
}

type waiter struct {
	wanted func() bool           // whether a caller waits for the request
	turn   chan *account.Failure // gets nil for a place, else why there is none
}

// ticket is a place among the requests under way.
type ticket struct {
	endpoint *endpoint
	probe    bool
}

// probeWaits are the waits before the first probes; the last one repeats.
var probeWaits = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}

const (
	// waitJitter is the part of a wait by which it may be shorter or longer.
	waitJitter    = 0.2
	maxRetryAfter = time.Hour
)

// probeWait is the wait after so many failures in a row.
func probeWait(failed int) time.Duration {
	return probeWaits[min(failed, len(probeWaits))-1]
}

func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - waitJitter + 2*waitJitter*rand.Float64())) //nolint:gosec // jitter is no secret
}

// endpointFor returns the one that all brokers on this store share.
func (s *Shared) endpointFor(provider, url string) *endpoint {
	key := provider + " " + url
	s.endpointsMu.Lock()
	defer s.endpointsMu.Unlock()
	e := s.endpoints[key]
	if e == nil {
		e = &endpoint{clock: s.clock}
		s.endpoints[key] = e
	}
	return e
}

// enter waits for a place for a request; those that are wanted come first. It
// fails at once with the endpoint's last failure while the endpoint is given a
// rest, and with ctx's error.
func (e *endpoint) enter(ctx context.Context, wanted func() bool, workers int) (ticket, error) {
	e.mu.Lock()
	e.workers = workers
	if e.failed > 0 {
		defer e.mu.Unlock()
		if now := e.clock.Now(); e.probing || now.Before(e.until) {
			return ticket{}, e.resting(now)
		}
		e.probing = true
		e.inFlight++
		return ticket{endpoint: e, probe: true}, nil
	}
	if e.inFlight < e.workers {
		e.inFlight++
		e.mu.Unlock()
		return ticket{endpoint: e}, nil
	}
	w := &waiter{wanted: wanted, turn: make(chan *account.Failure, 1)}
	e.waiting = append(e.waiting, w)
	e.mu.Unlock()

	select {
	case failure := <-w.turn:
		if failure != nil {
			return ticket{}, failure
		}
		return ticket{endpoint: e}, nil
	case <-ctx.Done():
		e.mu.Lock()
		defer e.mu.Unlock()
		if i := slices.Index(e.waiting, w); i >= 0 {
			e.waiting = slices.Delete(e.waiting, i, i+1)
		} else if failure := <-w.turn; failure == nil {
			e.inFlight--
			e.admit()
		}
		return ticket{}, ctx.Err()
	}
}

// leave gives the place back, with the failure of the request if it failed.
func (t ticket) leave(f *account.Failure) {
	e := t.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inFlight--
	if t.probe {
		e.probing = false
	}
	switch {
	case !blamesEndpoint(f):
		e.failed, e.failure = 0, nil
	case t.probe || e.failed == 0:
		// Of many requests that fail together only one is a step.
		e.fail(f)
	default:
		e.rest(f.RetryAfter)
	}
	e.admit()
}

// withdraw gives the place back unused.
func (t ticket) withdraw() {
	e := t.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inFlight--
	if t.probe {
		e.probing = false
	}
	e.admit()
}

func (e *endpoint) fail(f *account.Failure) {
	now := e.clock.Now()
	e.failed++
	e.failure = f
	e.until = now.Add(jitter(probeWait(e.failed)))
	e.rest(f.RetryAfter)
	for _, w := range e.waiting {
		w.turn <- e.resting(now)
	}
	e.waiting = nil
}

// rest obeys a Retry-After.
func (e *endpoint) rest(retryAfter time.Duration) {
	if until := e.clock.Now().Add(min(retryAfter, maxRetryAfter)); until.After(e.until) {
		e.until = until
	}
}

// resting is what a request meets that must not be sent now.
func (e *endpoint) resting(now time.Time) *account.Failure {
	f := *e.failure
	f.RetryAfter = max(e.until.Sub(now), time.Second)
	f.Lost = false // this request was not sent
	return &f
}

// admit gives free places to who waits: first to those with a caller behind
// them.
func (e *endpoint) admit() {
	for e.failed == 0 && e.inFlight < e.workers && len(e.waiting) > 0 {
		i := max(slices.IndexFunc(e.waiting, func(w *waiter) bool { return w.wanted() }), 0)
		w := e.waiting[i]
		e.waiting = slices.Delete(e.waiting, i, i+1)
		e.inFlight++
		w.turn <- nil
	}
}

// blamesEndpoint reports whether a failure says something about the endpoint
// rather than about the grant or the client.
func blamesEndpoint(f *account.Failure) bool {
	if f == nil {
		return false
	}
	switch f.Meaning {
	case account.ProviderDown:
		return true
	case account.Throttled:
		return f.Status == http.StatusTooManyRequests || f.Status == http.StatusServiceUnavailable
	}
	return false
}
