package torture

import (
	"context"
	"sync"
)

// point is a place in a renewal where it can be held up.
type point string

// The points, in the order in which a renewal comes to them. Those at the
// provider's end are there for every process; those between writes only in a
// process that calls at pointPath.
const (
	intended  point = "intent written"
	sent      point = "request sent"
	committed point = "committed"
	answered  point = "answered"
	saved     point = "saved"
)

// pointPath is where a process waits at a point of its own.
const pointPath = "/point"

// points holds up one renewal at a time.
type points struct {
	mu    sync.Mutex
	armed *hold
}

// hold waits for one account's renewal at one point.
type hold struct {
	account string
	at      point
	arrived chan struct{} // closed when it is there
	open    chan struct{} // closed to let it go
}

// arm holds up the account's next renewal that comes to at.
func (p *points) arm(account string, at point) *hold {
	h := &hold{account: account, at: at, arrived: make(chan struct{}), open: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = h
	return h
}

// reach returns at once, or when the hold that is armed for this opens, or
// with ctx's error when who waits has gone.
func (p *points) reach(ctx context.Context, account string, at point) error {
	p.mu.Lock()
	h := p.armed
	if h == nil || h.account != account || h.at != at {
		p.mu.Unlock()
		return ctx.Err()
	}
	p.armed = nil
	close(h.arrived)
	p.mu.Unlock()
	select {
	case <-h.open:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release lets the renewal go that h holds up, or disarms it.
func (p *points) release(h *hold) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.armed == h {
		p.armed = nil
	}
	select {
	case <-h.open:
	default:
		close(h.open)
	}
}

// openAll disarms.
func (p *points) openAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = nil
}
