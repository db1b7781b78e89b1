package broker

import (
	"context"
	"sync"
	"time"
)

// elsewherePoll is how often it is looked whether another process is done,
// where nothing is heard of it.
const elsewherePoll = 250 * time.Millisecond

// turns wakes who waits for another process to be done with a grant.
type turns struct {
	mu      sync.Mutex
	waiting map[string]map[chan struct{}]struct{}
}

// await returns a channel that gets something when the grant was changed, until
// leave is called.
func (t *turns) await(id string) (changed <-chan struct{}, leave func()) {
	ch := make(chan struct{}, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = make(map[string]map[chan struct{}]struct{})
	}
	if t.waiting[id] == nil {
		t.waiting[id] = make(map[chan struct{}]struct{})
	}
	t.waiting[id][ch] = struct{}{}
	return ch, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.waiting[id], ch)
		if len(t.waiting[id]) == 0 {
			delete(t.waiting, id)
		}
	}
}

// wake wakes who waits for the grant.
func (t *turns) wake(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ch := range t.waiting[id] {
		select {
		case ch <- struct{}{}:
		default: // it has yet to see the last one
		}
	}
}

// elsewhere waits, without the grant's lock, for the process that renews it, and
// tries again what n asks for each time that it may be done. After as long as a
// request may take whatever still lives is served.
func (b *Broker) elsewhere(p *named, id string, n need) (Token, error) {
	changed, leave := b.turns.await(id)
	defer leave()
	until := b.clock.Now().Add(b.settings.Timeout + leaseLife)
	for {
		select {
		case <-changed:
		case <-b.clock.After(elsewherePoll):
		case <-b.running.Done():
			return Token{}, closing()
		}
		if t, err := b.attempt(p, id, n, until); err != errElsewhere { //nolint:errorlint // it is never wrapped
			return t, err
		}
	}
}

// reread puts into memory what the store has of a grant whose lock is held.
// Where that cannot be read, what is in memory stays.
func (b *Broker) reread(ctx context.Context, id string) {
	if _, waits := b.unsaved.get(id); waits {
		return
	}
	if e, ok := b.cache.GetEntryQuietly(id); ok && e.Value.grant.Unregistered {
		return
	}
	read := b.reading(id)
	defer read.done()
	if g, version, err := b.vault.Grant(ctx, id); err == nil {
		b.remember(g, version)
	} else if isGone(storeProblem(err)) {
		b.cache.Invalidate(id)
	}
}
