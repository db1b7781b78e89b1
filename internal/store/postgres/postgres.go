// Package postgres keeps records in a PostgreSQL database that any number of
// nodes share, themselves or through a pooler that hands out a connection for
// each transaction: nothing is kept in a session.
//
// A batch is one call of a function in the database, in one round trip (see
// commit.go and migrations). Leases are rows that end by the database's clock.
// Changes are rows too, which each node reads (see watch.go); notifications
// only say that there is something to read.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// defaultPatience is how long a statement may take, with waiting for a
// connection and for whoever holds a lock, where its caller has more time.
const defaultPatience = 10 * time.Second

// attempts is how often a statement is tried at most.
const attempts = 5

// Options of a [Store]. The zero value is good.
type Options struct {
	// Direct leads to the same database past a pooler: changes are listened for
	// there. Default: they are asked for every 250 ms.
	Direct DSN
	// Clock counts the pauses between questions for changes and the age of what
	// Ready knows. Leases end by the database's clock. Default: the real one.
	Clock clockwork.Clock
	// Logger gets what operators should know. Default: nothing is logged.
	Logger *slog.Logger
}

// Store is a [store.Store] in a PostgreSQL database.
type Store struct {
	dsn, direct DSN
	pool        *pgxpool.Pool
	clock       clockwork.Clock
	log         *slog.Logger
	patience    time.Duration
	// password is of dsn, directPassword of direct. They may change.
	password, directPassword atomic.Pointer[string]

	readiness readiness
	changes   changes

	// running ends when the store is closed.
	running context.Context
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// Open opens the store, and creates or migrates its schema.
func Open(ctx context.Context, dsn DSN, opts Options) (*Store, error) {
	return open(ctx, dsn, opts, defaultPatience)
}

func open(ctx context.Context, dsn DSN, opts Options, patience time.Duration) (*Store, error) {
	if opts.Clock == nil {
		opts.Clock = clockwork.NewRealClock()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{dsn: dsn, direct: opts.Direct, clock: opts.Clock, log: opts.Logger, patience: patience}
	s.changes = changes{bell: make(chan struct{}, 1), horizon: horizon}
	s.running, s.stop = context.WithCancel(context.Background())
	s.SetPasswords(dsn, opts.Direct)
	config := dsn.pool.Copy()
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		c.Password = *s.password.Load()
		return nil
	}
	var err error
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("opening store: %s", flat(err))
	}
	if err := s.begin(ctx); err != nil {
		s.stop()
		s.pool.Close()
		return nil, fmt.Errorf("opening store %s: %w", dsn, err)
	}
	s.work.Go(func() { s.trimNowAndThen(s.running) })
	return s, nil
}

// begin makes the database fit for use.
func (s *Store) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*s.patience)
	defer cancel()
	var fsync string
	err := migrate(ctx, s.pool)
	if err == nil {
		err = s.pool.QueryRow(ctx, "SELECT current_setting('fsync')").Scan(&fsync)
	}
	if unfit, ok := errors.AsType[*unfitError](err); ok {
		return unfit
	}
	if err != nil {
		return fmt.Errorf("%w: %s", store.ErrUnavailable, flat(err))
	}
	if fsync == "off" {
		s.log.Warn("the database has fsync off: it loses renewed tokens when its machine crashes", "store", s.dsn.String())
	}
	return nil
}

// SetPasswords takes the passwords of connection strings that are otherwise
// those that the store was opened with. New connections use them.
func (s *Store) SetPasswords(dsn, direct DSN) {
	s.password.Store(&dsn.pool.ConnConfig.Password)
	if !direct.IsZero() {
		s.directPassword.Store(&direct.pool.ConnConfig.Password)
	}
}

// try does something, once more where it failed harmlessly: while the caller
// has time, and patience lasts.
func (s *Store) try(ctx context.Context, harmless func(error) bool, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for n := 1; ; n++ {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if code, _ := sqlState(err); code == codeReadOnly {
			// This server has become a standby, or was made read-only: another
			// connection may lead to the one that takes writes.
			s.pool.Reset()
		}
		if n == attempts || ctx.Err() != nil || !harmless(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(time.Duration(n) * 20 * time.Millisecond)): //nolint:gosec // jitter needs no cryptography
		}
	}
}

// rereadable reports errors after which a read is done again: of a connection
// that was lost, such as those of the pool after a failover.
func rereadable(err error) bool {
	_, fatal := sqlState(err)
	return again(err) || !unconnected(err) && (fatal || !refused(err) && !pgconn.Timeout(err))
}

// unconnected reports that a new connection could not be made: all that might
// help was tried.
func unconnected(err error) bool {
	_, failed := errors.AsType[*pgconn.ConnectError](err)
	return failed
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := errors.Join(ctx.Err(), store.CheckKey(key)); err != nil {
		return store.Record{}, err
	}
	rec := store.Record{Key: key}
	err := s.try(ctx, rereadable, func(ctx context.Context) error {
		err := s.pool.QueryRow(ctx, "SELECT value, version FROM bellhop.records WHERE key = $1::text", key).Scan(&rec.Value, &rec.Version)
		if errors.Is(err, pgx.ErrNoRows) {
			rec.Version = 0
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return store.Record{}, unavailable(ctx, "reading "+key, err)
	case rec.Version == 0:
		return store.Record{}, fmt.Errorf("%w: %s", store.ErrNotFound, key)
	}
	return rec, nil
}

// List implements [store.Store]. A page is a snapshot.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if err := errors.Join(ctx.Err(), store.CheckLimit(limit), checkPart("prefix", prefix), checkPart("after", after)); err != nil {
		return nil, err
	}
	var page []store.Record
	err := s.try(ctx, rereadable, func(ctx context.Context) error {
		// A caller who asks for less than nothing stands behind the end.
		rows, err := s.pool.Query(ctx, `SELECT key, value, version FROM bellhop.records
			WHERE key >= $1::text AND key > $2::text AND ($3::text = '' OR key < $3::text)
			ORDER BY key LIMIT $4::bigint`, prefix, after, successor(prefix), int64(limit))
		if err != nil {
			return err
		}
		page, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r store.Record, err error) {
			err = row.Scan(&r.Key, &r.Value, &r.Version)
			return r, err
		})
		return err
	})
	if err != nil {
		return nil, unavailable(ctx, fmt.Sprintf("listing %q", prefix), err)
	}
	if len(page) == 0 {
		return nil, nil
	}
	return page, nil
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.changes.events.Close()
	s.stop()
	s.work.Wait()
	s.pool.Close()
	return nil
}

// Interface guard.
var _ store.Store = (*Store)(nil)
