package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/fanout"
)

// How a node learns what others have committed.
//
// Each batch leaves a row in the table changes. A number from a sequence does
// not do as a mark of how far somebody has read: numbers are given out before
// the commit, and the transaction with the lower one may become visible last,
// behind a reader who has gone past it. To read only what is older than every
// running transaction would miss nothing, but one long transaction, of anybody
// in that server, would hold up all events.
//
// So the mark is a snapshot, PostgreSQL's own account of which transactions
// were visible: each reading takes the rows that are visible now and were not
// in the snapshot before, and the snapshot that it was itself made in. That is
// by definition what was committed in between, all of it and once, however
// long anybody takes. Within one reading rows are in the order of their
// numbers, which are taken under the locks of all the batch's keys: of two
// batches with a key in common, or of which one had ended when the other
// began, the earlier has the lower number.
//
// Notifications only say when to read. Whoever misses one reads a little later.

const (
	// pollPause is between readings where nobody notifies, listenPause where
	// somebody does (a node may die between its commit and its notification) or
	// where the last reading failed.
	pollPause   = 250 * time.Millisecond
	listenPause = time.Second
	// relistenPause is between attempts to listen.
	relistenPause = 2 * time.Second

	// horizon is how far back rows of changes are kept for sure; whoever has
	// not read for longer, by the database's clock, reads everything anew.
	horizon = 2 * time.Minute
	// trimPause is between removals of rows that are older.
	trimPause = 5 * time.Minute

	// maxBatches is how many batches are read one by one. Whoever is further
	// behind reads everything anew.
	maxBatches = 1000
)

// changes is what a store knows of changes.
type changes struct {
	events fanout.FanOut
	// bell rings when there may be something to read.
	bell    chan struct{}
	horizon time.Duration
	// start begins reading when somebody first watches.
	start sync.Once
	// listening is set while notifications ring the bell.
	listening atomic.Bool
	// heard is when the last reading began that succeeded, by this machine's
	// clock; nil before the first.
	heard atomic.Pointer[time.Time]

	// mu is held by who reads.
	mu sync.Mutex
	at position
}

// position is how far the changes were read.
type position struct {
	snapshot string
	// server is when the server was started (microseconds). Another one, or
	// the same after a crash, may have other transactions under the same IDs.
	server int64
	// taken is when, by the database's clock (microseconds).
	taken int64
}

// ring never waits: a bell that has not been heard yet is enough.
func (c *changes) ring() {
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

// here is a position, as columns.
const here = `pg_current_snapshot()::text AS snapshot,
	(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS server,
	(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS taken`

// locate returns the position now.
func (s *Store) locate(ctx context.Context) (p position, err error) {
	err = s.try(ctx, rereadable, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, "SELECT "+here).Scan(&p.snapshot, &p.server, &p.taken)
	})
	return p, err
}

// reading gives one row at least, with the new position. The snapshot that the
// statement reads the table in is the one that it returns.
const reading = `SELECT p.snapshot, p.server, p.taken, coalesce(c.number, 0), c.keys, c.deleted
	FROM (SELECT ` + here + `) p
	LEFT JOIN (
		SELECT number, keys, deleted FROM bellhop.changes
		WHERE txid >= pg_snapshot_xmin($1::pg_snapshot) AND NOT pg_visible_in_snapshot(txid, $1::pg_snapshot)
		ORDER BY number LIMIT $2::bigint
	) c ON true
	ORDER BY c.number`

// since reads the changes since a position, as batches.
func (s *Store) since(ctx context.Context, from position) (now position, batches [][]store.Event, err error) {
	err = s.try(ctx, rereadable, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, reading, from.snapshot, int64(maxBatches+1))
		if err != nil {
			return err
		}
		batches = nil
		var (
			version uint64
			keys    []string
			deleted []bool
		)
		_, err = pgx.ForEachRow(rows, []any{&now.snapshot, &now.server, &now.taken, &version, &keys, &deleted}, func() error {
			batch := make([]store.Event, len(keys))
			for i, key := range keys {
				batch[i] = store.Event{Key: key, Deleted: deleted[i], Version: version}
				if deleted[i] {
					batch[i].Version = 0
				}
			}
			if len(batch) > 0 {
				batches = append(batches, batch)
			}
			return nil
		})
		return err
	})
	return now, batches, err
}

// catchUp publishes what was committed since the last time; changes.mu is held.
func (s *Store) catchUp(ctx context.Context) error {
	c := &s.changes
	begun := s.clock.Now()
	now, batches, err := s.since(ctx, c.at)
	if err != nil {
		return err
	}
	last := c.at
	c.at = now
	defer c.heard.Store(&begun)
	switch {
	case now.server != last.server,
		now.taken-last.taken > c.horizon.Microseconds(),
		len(batches) > maxBatches:
		c.events.Missed()
	default:
		for _, batch := range batches {
			c.events.Publish(batch)
		}
	}
	return nil
}

// Watch implements [store.Store].
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	c := &s.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.events.Watched() {
		// What comes from here on is of after this call.
		err = s.catchUp(ctx)
	} else {
		c.at, err = s.locate(ctx)
	}
	if err != nil {
		return nil, unavailable(ctx, fmt.Sprintf("watching %q", prefix), err)
	}
	events, err := c.events.Subscribe(ctx, prefix)
	if err != nil {
		return nil, err
	}
	c.start.Do(func() {
		s.work.Go(func() { s.follow(s.running) })
		if !s.direct.IsZero() {
			s.work.Go(func() { s.listen(s.running) })
		}
	})
	return events, nil
}

// Heard is the time up to which all changes were handed to whoever watches;
// zero before anybody does.
func (s *Store) Heard() time.Time {
	if at := s.changes.heard.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// follow reads changes until ctx ends, as often as there is a reason.
func (s *Store) follow(ctx context.Context) {
	failed := false
	for {
		pause := pollPause
		if s.changes.listening.Load() || failed {
			pause = listenPause
		}
		timer := s.clock.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.changes.bell:
			timer.Stop()
		case <-timer.Chan():
		}
		err := s.followOnce(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			s.log.Warn("changes that other nodes make cannot be read", "store", s.dsn.String(), "error", flat(err))
		}
		failed = err != nil
	}
}

func (s *Store) followOnce(ctx context.Context) error {
	c := &s.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.events.Watched() {
		return nil
	}
	return s.catchUp(ctx)
}

// listen rings the bell for each notification until ctx ends.
func (s *Store) listen(ctx context.Context) {
	for {
		err := s.listenOnce(ctx)
		s.changes.listening.Store(false)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("changes cannot be listened for and are asked for instead", "store", s.direct.String(), "error", flat(err))
		select {
		case <-ctx.Done():
			return
		case <-s.clock.After(relistenPause):
		}
	}
}

// listenOnce listens until the connection is lost.
func (s *Store) listenOnce(ctx context.Context) error {
	config := s.direct.pool.ConnConfig.Copy()
	config.Password = *s.directPassword.Load()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	s.changes.listening.Store(true)
	for {
		s.changes.ring()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
