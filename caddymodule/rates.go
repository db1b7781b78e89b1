package caddymodule

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// ratesKept bounds the keys whose calls are counted. Beyond it all are counted
// anew, which gives each its rate once more.
const ratesKept = 100_000

// rates counts the calls of keys that have a rate: a bucket of as many calls as
// the rate says, that fills again at that rate.
type rates struct {
	mu      sync.Mutex
	buckets map[string]*bucket // by the key's hash
}

type bucket struct {
	rate    Rate
	limiter *rate.Limiter
}

// take counts a call of a key with a rate, or returns the problem of one too
// many.
func (r *rates) take(key *policy.Key, now time.Time) *problem.Problem {
	b, err := r.of(key)
	if err != nil {
		return problem.From(err)
	}
	place := b.limiter.ReserveN(now, 1)
	delay := place.DelayFrom(now)
	if delay <= 0 {
		return nil
	}
	place.CancelAt(now)
	p := problem.New(problem.RateLimited, "Rate limit exceeded").With("ttl", int(math.Ceil(delay.Seconds())))
	p.RetryAfter, p.Limit = delay, b.rate.Calls()
	return p
}

// of is the key's bucket, a new one where its rate was changed.
func (r *rates) of(key *policy.Key) (*bucket, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.buckets[key.Hash]; b != nil && b.rate.String() == key.Rate {
		return b, nil
	}
	limit, err := ParseRate(key.Rate)
	if err != nil {
		return nil, err
	}
	if r.buckets == nil || len(r.buckets) >= ratesKept {
		r.buckets = make(map[string]*bucket)
	}
	b := &bucket{limit, rate.NewLimiter(rate.Limit(float64(limit.Calls())/limit.Per().Seconds()), limit.Calls())}
	r.buckets[key.Hash] = b
	return b, nil
}
