package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// takeUpEvery is how often it is looked for what another process left that is
// gone. With what its lease still lasted it is within any grace.
const takeUpEvery = time.Second

// takenUp remembers which requests without a result were seen to: what becomes
// of them is arranged where every request is.
type takenUp struct {
	mu      sync.Mutex
	numbers map[string]uint64 // by account
}

// add reports whether the request was not seen to before.
func (t *takenUp) add(id string, number uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.numbers == nil {
		t.numbers = make(map[string]uint64)
	}
	if known, ok := t.numbers[id]; ok && known == number {
		return false
	}
	t.numbers[id] = number
	return true
}

func (t *takenUp) has(id string, number uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.numbers[id]
	return ok && known == number
}

// keep forgets all accounts but these, which are in order.
func (t *takenUp) keep(ids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.numbers {
		if _, found := slices.BinarySearch(ids, id); !found {
			delete(t.numbers, id)
		}
	}
}

// resume takes up all token requests without a result that no process is at,
// also those that a configuration before this one could not see to.
func (b *Broker) resume(ctx context.Context) {
	b.takenUp.keep(nil)
	if err := b.takeUp(ctx); err != nil && ctx.Err() == nil {
		b.log.Error("looking for token requests without a result", "error", err)
	}
}

// takeUp takes up token requests whose outcome is unknown because the process
// that sent them is gone. With a provider that forgives a replay for a while
// every second counts, so nobody's call is waited for; what may be sent when is
// decided where every request is.
func (b *Broker) takeUp(ctx context.Context) error {
	ids, err := b.vault.Unresolved(ctx)
	if err != nil {
		return err
	}
	slices.Sort(ids)
	b.takenUp.keep(ids)
	var left []*account.Grant
	for _, id := range ids {
		if g := b.abandoned(ctx, id); g != nil && b.takenUp.add(id, g.Intent.Number) {
			left = append(left, g)
		}
	}
	slices.SortFunc(left, func(x, y *account.Grant) int { return x.Intent.Since.Compare(y.Intent.Since) })
	for _, g := range left {
		b.log.Warn("taking up a token request without a result", "account", g.ID, "provider", g.Provider, "since", g.Intent.Since)
		b.renewal.set(renewal{id: g.ID, audience: g.Intent.Audience}, b.clock.Now())
	}
	return nil
}

// abandoned returns the grant of a request without a result if nobody is at it:
// its lease can be had. Nil also for one that was seen to.
func (b *Broker) abandoned(ctx context.Context, id string) *account.Grant {
	if e, ok := b.cache.GetEntryQuietly(id); ok && e.Value.grant.Intent != nil && b.takenUp.has(id, e.Value.grant.Intent.Number) {
		return nil
	}
	held, err := b.vault.Acquire(ctx, id, b.owner, leaseLife)
	if err != nil {
		return nil // it is looked again
	}
	err = b.follow(id)
	if err := b.vault.Release(ctx, held); err != nil {
		b.log.Debug("giving back the lease of a grant", "account", id, "error", err)
	}
	if err != nil {
		return nil
	}
	e, err := b.entry(ctx, id)
	if err != nil || e.grant.Intent == nil {
		return nil
	}
	return e.grant
}
