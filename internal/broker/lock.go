package broker

import (
	"context"
	"sync"
	"sync/atomic"
)

// locks holds a lock for each grant that somebody works on.
type locks struct {
	mu   sync.Mutex
	held map[string]*grantLock
}

type grantLock struct {
	turn    chan struct{} // holds one element while the lock is free
	refs    int           // who holds it or waits for it
	callers atomic.Int32  // how many of them a caller waits for
}

// hold is a grant's lock in somebody's hands.
type hold struct {
	locks  *locks
	id     string
	lock   *grantLock
	caller bool
}

// take takes the grant's lock, or returns ctx's error. The work that it is
// taken for is a caller's, or done in the background.
func (l *locks) take(ctx context.Context, id string, caller bool) (*hold, error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[string]*grantLock)
	}
	g := l.held[id]
	if g == nil {
		g = &grantLock{turn: make(chan struct{}, 1)}
		g.turn <- struct{}{}
		l.held[id] = g
	}
	g.refs++
	if caller {
		g.callers.Add(1)
	}
	l.mu.Unlock()

	h := &hold{locks: l, id: id, lock: g, caller: caller}
	select {
	case <-g.turn:
		return h, nil
	case <-ctx.Done():
		h.leave()
		return nil, ctx.Err()
	}
}

// release gives the lock back.
func (h *hold) release() {
	h.lock.turn <- struct{}{}
	h.leave()
}

func (h *hold) leave() {
	h.locks.mu.Lock()
	defer h.locks.mu.Unlock()
	if h.caller {
		h.lock.callers.Add(-1)
	}
	if h.lock.refs--; h.lock.refs == 0 {
		delete(h.locks.held, h.id)
	}
}

// wanted reports whether a caller waits for what is done under the lock, be it
// for a later turn.
func (h *hold) wanted() bool { return h.lock.callers.Load() > 0 }
