package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// readyAge is how long an answer is believed, and readyPatience how long one
// is waited for.
const (
	readyAge      = time.Second
	readyPatience = 3 * time.Second
)

// readiness is what is known of whether writes can be made.
type readiness struct {
	asking singleflight.Group

	mu    sync.Mutex
	asked time.Time
	err   error
}

// Ready implements [store.Store]. The database is asked once a second at most,
// by one caller for all.
func (s *Store) Ready(ctx context.Context) error {
	r := &s.readiness
	r.mu.Lock()
	if !r.asked.IsZero() && s.clock.Since(r.asked) < readyAge {
		defer r.mu.Unlock()
		return r.err
	}
	r.mu.Unlock()
	answer := r.asking.DoChan("", func() (any, error) {
		err := s.writable()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked, r.err = s.clock.Now(), err
		return nil, err
	})
	select {
	case a := <-answer:
		return a.Err
	case <-ctx.Done():
		return fmt.Errorf("asking the database whether it takes writes: %w", ctx.Err())
	}
}

// writable asks the database, for whoever waits.
func (s *Store) writable() error {
	ctx, cancel := context.WithTimeout(s.running, readyPatience)
	defer cancel()
	var recovering, readOnly bool
	err := s.try(ctx, rereadable, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean").Scan(&recovering, &readOnly)
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s: %s", store.ErrUnavailable, s.dsn, flat(err))
	case recovering:
		s.pool.Reset() // there may be a primary by now
		return fmt.Errorf("%w: %s is a standby, which takes no writes: name the primary, or all servers of the cluster", store.ErrUnavailable, s.dsn)
	case readOnly:
		return fmt.Errorf("%w: %s is read-only (default_transaction_read_only)", store.ErrUnavailable, s.dsn)
	}
	return nil
}
