package broker

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// In use is an account whose token was handed out within its last
// usedLifetimes lifetimes, usedAtMost ago at most.
const (
	usedLifetimes = 3
	usedAtMost    = 24 * time.Hour
)

const (
	// tick is short for the sake of tokens that live for seconds.
	tick = 250 * time.Millisecond
	// saveEvery is how often it is tried to save what could not be saved.
	saveEvery = time.Second
	// sweepEvery is how often the store is swept.
	sweepEvery = time.Hour
	// renewAgain is when a renewal in the background that failed is tried
	// again, where the failure says nothing else.
	renewAgain = 15 * time.Second
	// spread is the part of the time ahead over which renewals that fall due
	// together are spread.
	spread = 0.2
)

// renewal is a token that is to be renewed ahead of its expiry.
type renewal struct{ id, audience, requested string }

// schedule knows when which token of this process's accounts is due.
type schedule struct {
	mu    sync.Mutex
	items map[renewal]*scheduled
	queue dueQueue
}

type scheduled struct {
	renewal
	at    time.Time
	index int
}

func newSchedule() *schedule {
	return &schedule{items: make(map[renewal]*scheduled)}
}

// set puts r at the time at, wherever it was before.
func (s *schedule) set(r renewal, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if item, ok := s.items[r]; ok {
		item.at = at
		heap.Fix(&s.queue, item.index)
		return
	}
	item := &scheduled{renewal: r, at: at}
	s.items[r] = item
	heap.Push(&s.queue, item)
}

// due takes out what is due at now.
func (s *schedule) due(now time.Time) []renewal {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []renewal
	for len(s.queue) > 0 && !s.queue[0].at.After(now) {
		item := heap.Pop(&s.queue).(*scheduled)
		delete(s.items, item.renewal)
		due = append(due, item.renewal)
	}
	return due
}

// Run renews tokens of accounts in use ahead of their expiry, keeps idle grants
// alive, tries to save what could not be saved, and clears the store of what is
// over, until ctx ends. It first takes up the token requests that a process
// which is gone left without a result, and where others share the store goes on
// to.
func (b *Broker) Run(ctx context.Context) {
	b.resume(ctx)
	var apart sync.WaitGroup // a store that hangs must not hold up renewals
	defer apart.Wait()
	apart.Go(func() { b.each(ctx, saveEvery, func() { b.saveUnsaved(ctx) }) })
	apart.Go(func() { b.each(ctx, attendEvery, func() { b.attend(ctx) }) })
	apart.Go(func() { b.each(ctx, sweepEvery, func() { b.sweep(ctx) }) })
	if b.shared {
		apart.Go(func() { b.each(ctx, takeUpEvery, func() { _ = b.takeUp(ctx) }) }) // readiness tells of a store that is away
	}
	b.each(ctx, tick, func() {
		for _, r := range b.renewal.due(b.clock.Now()) {
			_ = b.background(func() { b.renew(r) })
		}
	})
}

// sweep clears the store of what is over.
func (b *Broker) sweep(ctx context.Context) {
	if err := b.vault.SweepSpent(ctx, b.clock.Now()); err != nil && ctx.Err() == nil {
		b.log.Error("clearing the store of what is over", "error", err)
	}
}

// each calls f at every interval until ctx ends.
func (b *Broker) each(ctx context.Context, interval time.Duration, f func()) {
	ticker := b.clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
			f()
		}
	}
}

// renew brings a new token for r if its account is in use. What happens after
// a failure is arranged where every request is.
func (b *Broker) renew(r renewal) {
	e, ok := b.cache.GetIfPresent(r.id)
	if !ok {
		return // pushed out of memory: nobody has used it for long
	}
	p, ok := b.serving(e.grant)
	if !ok || !b.inUse(e, r) && (e.grant.Unregistered || !inDoubt(e.grant)) {
		e.renewing.Store(false) // its next use asks again
		return
	}
	_, _ = b.await(b.running, p, r.id, need{audience: r.audience, requested: r.requested, ahead: true})
}

func (b *Broker) inUse(e *entry, r renewal) bool {
	within, used := usedAtMost, time.Unix(0, e.used.Load())
	t := e.grant.FindAccess(r.audience, r.requested)
	if t != nil {
		within = min(usedLifetimes*t.Life(), usedAtMost)
	}
	if r.requested != "" {
		if t == nil {
			return false // who wants one asks for it
		}
		used = e.narrow.last(account.Subject(r.audience, r.requested))
	}
	return b.clock.Since(used) <= within
}

// renewal is the background's work on what n asks for.
func (n need) renewal(id string) renewal { return renewal{id, n.audience, n.requested} }

// schedule arms the renewal of a token that has just come.
func (b *Broker) schedule(id string, t *account.AccessToken) {
	ahead := b.ahead(t)
	ahead += time.Duration(float64(ahead) * spread * rand.Float64()) //nolint:gosec // jitter is no secret
	b.renewal.set(renewal{id, t.Audience, t.Requested}, t.Expires.Add(-ahead))
}

// scheduleAgain arms the next try after err, unless only a person can help.
func (b *Broker) scheduleAgain(g *account.Grant, n need, err error) {
	now := b.clock.Now()
	at := now.Add(renewAgain)
	p := problem.From(err)
	if p.RetryAfter > 0 {
		at = now.Add(p.RetryAfter)
	}
	switch p.Code {
	case problem.AccountDisabled, problem.AccountNotFound:
		return
	case problem.OAuthRenewError:
		f := g.Failed(account.WholeGrant)
		if f == nil || f.Retry.IsZero() {
			return
		}
		at = f.Retry
	case problem.InsufficientScope, problem.ProviderError:
		if f := g.Failed(n.subject()); f != nil {
			at = f.Retry
		}
	}
	b.renewal.set(n.renewal(g.ID), at)
}

// dueQueue is a heap of scheduled renewals, the soonest first.
type dueQueue []*scheduled

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *dueQueue) Push(x any) {
	item := x.(*scheduled)
	item.index = len(*q)
	*q = append(*q, item)
}

func (q *dueQueue) Pop() any {
	old := *q
	item := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return item
}
