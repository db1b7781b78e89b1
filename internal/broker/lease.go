package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// Between processes on one store the right to send a token request is a lease,
// as the grant's lock is within one. It is short, so that what a dead process
// left is taken up soon, and renewed while the request is under way.
//
// What it protects is the intent, which no process without it can write, and
// with the intent the request. The result needs no lease: it belongs to the
// intent's number, and whoever went on since has written a higher one. To save
// it at once, though the lease has ended, is what keeps the next process from
// sending a refresh token that is spent.
const (
	leaseLife  = 4 * time.Second
	leaseRenew = time.Second
	// leaseMargin is how much of a lease must be left when a request is
	// written, for the clocks of the store and of this machine to differ in
	// pace and for the writing itself.
	leaseMargin = time.Second
)

// errElsewhere: another process has the lease, or this one has lost it. The
// grant is to be read again, and what is needed to be judged anew.
var errElsewhere = errors.New("another process renews the grant")

// lease is one that this process holds, until release.
type lease struct {
	shared *Shared
	stop   context.CancelFunc

	mu   sync.Mutex
	held store.Lease
	// begun is when the call began that gave or renewed the lease: it lasts
	// from then on at least.
	begun time.Time
	lost  bool
	// refused is set while the last request that asked may not be written.
	refused bool
}

// lease takes the lease of the grant whose lock is held, or returns
// errElsewhere. A grant that lives in memory has none: nil.
func (s *Shared) lease(g *account.Grant) (*lease, error) {
	if g.Unregistered {
		return nil, nil //nolint:nilnil // a nil lease is one that is not needed
	}
	begun := s.clock.Now()
	held, err := s.vault.Acquire(s.running, g.ID, s.owner, leaseLife)
	if errors.Is(err, store.ErrLeased) {
		return nil, errElsewhere
	}
	if s.running.Err() != nil {
		return nil, closing() // what may have been taken ends by itself
	}
	if err != nil {
		return nil, storeProblem(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &lease{shared: s, stop: stop, held: held, begun: begun}
	s.work.Go(func() { l.keep(ctx) }) // within the work of who has the lock
	return l, nil
}

// keep renews the lease until ctx ends or the lease is lost.
func (l *lease) keep(ctx context.Context) {
	ticker := l.shared.clock.NewTicker(leaseRenew)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
		}
		begun := l.shared.clock.Now()
		renewed, err := l.shared.vault.Renew(ctx, l.current(), leaseLife)
		switch {
		case err == nil:
			l.set(renewed, begun)
		case errors.Is(err, store.ErrFenced):
			l.lose()
			return
		}
	}
}

func (l *lease) current() store.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

func (l *lease) set(held store.Lease, begun time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.begun = held, begun
}

func (l *lease) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
}

// mayWrite is asked when the request is about to be written to its connection:
// it returns an error where the lease may have ended, be it that the process
// was stopped in between.
func (l *lease) mayWrite() error {
	now := l.shared.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	// A monotonic clock stands still while the machine sleeps, and a wall clock
	// may be set: the one that says more is believed.
	wall := time.Duration(now.UnixMilli()-l.begun.UnixMilli()) * time.Millisecond
	l.refused = l.lost || max(now.Sub(l.begun), wall) >= leaseLife-leaseMargin
	if l.refused {
		return errElsewhere
	}
	return nil
}

// unwritten reports whether no request was written, because the lease had ended.
func (l *lease) unwritten() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// record is the lease as the store knows it.
func (l *lease) record() *store.Lease {
	if l == nil {
		return nil
	}
	held := l.current()
	return &held
}

// release gives the lease back. Where the store cannot be told, it ends by
// itself.
func (l *lease) release() {
	if l == nil {
		return
	}
	l.stop()
	if err := l.shared.vault.Release(context.Background(), l.current()); err != nil {
		l.shared.log.Debug("giving back the lease of a grant", "lease", l.current().Key, "error", err)
	}
}
