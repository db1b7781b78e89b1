// Package badger keeps records in a directory, with an embedded Badger. One
// process has the directory to itself.
//
// Badger does not erase: a deleted or replaced value stays readable in its
// files until a compaction happens to drop it. Values are sealed before they
// come here, so that what stays is ciphertext.
package badger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	dgraph "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/fanout"
)

// DefaultReserve is the free space below which [Store.Ready] says no.
const DefaultReserve = 64 << 20

// openingRoom is free space that Badger may fill before Open returns: it
// writes out up to two memtables.
const openingRoom = 2 * memTableSize

// Options of a [Store]. The zero value is good.
type Options struct {
	// Reserve is the free space in bytes below which Ready says no. Badger
	// writes to sparse files that are mapped into memory: where the disk is
	// full it gets no error but a SIGBUS, which ends the process.
	// Default: [DefaultReserve].
	Reserve int64
	// Clock counts the life of leases and the age of what Ready knows.
	// Default: the real one.
	Clock clockwork.Clock
	// Logger gets Badger's warnings and errors, and at debug level what Badger
	// holds for information. Default: nothing is logged.
	Logger *slog.Logger
}

// Store is a [store.Store] in a directory.
type Store struct {
	dir    string
	db     *dgraph.DB
	clock  clockwork.Clock
	room   room
	events fanout.FanOut
	queue  queue

	// mu makes commits and leases one sequence: what a commit has checked
	// stays true until it is written.
	mu      sync.Mutex
	leases  map[string]store.Lease
	counter uint64
}

// Open opens the store in dir, which is created (0700) if it is missing. It
// fails when another process, or another Store of this one, has dir open, and
// when there is not even the room to open it.
func Open(dir string, opts Options) (*Store, error) {
	if opts.Reserve < 0 {
		return nil, fmt.Errorf("opening store %s: reserve of %d bytes is negative", dir, opts.Reserve)
	}
	if opts.Reserve == 0 {
		opts.Reserve = DefaultReserve
	}
	if opts.Clock == nil {
		opts.Clock = clockwork.NewRealClock()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return open(dir, opts, freeBytes)
}

func open(dir string, opts Options, free func(dir string) (uint64, error)) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:gosec // the configuration names the directory
		return nil, fmt.Errorf("opening store: %w", err)
	}
	s := &Store{
		dir:    dir,
		clock:  opts.Clock,
		room:   room{dir: dir, reserve: uint64(opts.Reserve), clock: opts.Clock, free: free}, //nolint:gosec // Open refuses a negative reserve
		leases: make(map[string]store.Lease),
	}
	if err := s.room.atLeast(min(openingRoom, s.room.reserve)); err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	s.db, err = dgraph.Open(tuned(dir, opts.Logger))
	if err != nil {
		return nil, openingError(dir, err)
	}
	if err := s.beginEpoch(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening store %s: %w", dir, err), s.db.Close())
	}
	return s, nil
}

const memTableSize = 8 << 20

// tuned returns Badger's options for records of a few KiB that must not be
// lost, in a process that has other things to do with its memory.
func tuned(dir string, log *slog.Logger) dgraph.Options {
	return dgraph.DefaultOptions(dir).
		// A rotated refresh token must survive a power cut.
		WithSyncWrites(true).
		// A memtable is allocated whole: this one is the greater part of the
		// 10 MiB that an open store adds to the heap. A second is made while
		// the first is written out.
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		// All values stay in the LSM tree: the greatest is a quarter of this.
		// The value log stays empty and needs no collection, in which deleted
		// keys have come back before. Badger asks for less than 15 % of a
		// memtable.
		WithValueThreshold(4 * store.MaxValue).
		// The value log's file is made at twice this size, though sparse.
		WithValueLogFileSize(16 << 20).
		// Sealed values do not compress.
		WithCompression(options.None).
		// Without compression and encryption blocks are read where they are
		// mapped; a cache would hold them twice. 0 keeps indices in memory.
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		// The least that Badger takes.
		WithNumCompactors(2).
		// Small stores have few tables: compact early, so that a read looks at
		// few of them.
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(4).
		WithCompactL0OnClose(true).
		// Only a stream (a backup) uses these.
		WithNumGoroutines(2).
		// expvar counters that nobody reads.
		WithMetricsEnabled(false).
		// Nothing else writes, and it commits one transaction at a time.
		WithDetectConflicts(false).
		WithLogger(logger{log})
}

// openingError makes Badger's words for a directory in use the operator's. It
// goes by the text because Badger drops the cause.
func openingError(dir string, err error) error {
	if strings.Contains(err.Error(), "Another process is using this Badger database") {
		return fmt.Errorf("opening store %s: %w: the directory is in use, by another process or by this one; a badger store serves one process",
			dir, store.ErrUnavailable)
	}
	return fmt.Errorf("opening store %s: %w", dir, err)
}

// Keys in Badger: the records of users of the package, and its own, apart.
const recordPrefix = "r/"

var epochKey = []byte("m/epoch")

// counterBits is how much of a version or fence counts within one epoch: a
// trillion, which no process lives to see.
const counterBits = 40

// beginEpoch makes the numbers of this opening greater than all of earlier
// ones. Badger's own versions do not do: a restart takes them up from the
// highest that is left, and the highest may have been deleted.
func (s *Store) beginEpoch() error {
	return s.db.Update(func(txn *dgraph.Txn) error {
		epoch := uint64(1)
		item, err := txn.Get(epochKey)
		switch {
		case errors.Is(err, dgraph.ErrKeyNotFound):
		case err != nil:
			return fmt.Errorf("reading epoch: %w", err)
		default:
			last, err := item.ValueCopy(nil)
			if err != nil {
				return fmt.Errorf("reading epoch: %w", err)
			}
			if len(last) != 8 {
				return fmt.Errorf("reading epoch: %d bytes instead of 8", len(last))
			}
			epoch = binary.BigEndian.Uint64(last) + 1
		}
		s.counter = epoch << counterBits
		return txn.Set(epochKey, binary.BigEndian.AppendUint64(nil, epoch))
	})
}

// next returns a number that was never given before; s.mu is held.
func (s *Store) next() uint64 {
	s.counter++
	return s.counter
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := ctx.Err(); err != nil {
		return store.Record{}, err
	}
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	var rec store.Record
	err := s.db.View(func(txn *dgraph.Txn) error {
		item, err := txn.Get([]byte(recordPrefix + key))
		if err != nil {
			return err
		}
		rec, err = record(item)
		return err
	})
	return rec, readError(key, err)
}

// record reads an item.
func record(item *dgraph.Item) (store.Record, error) {
	value, err := item.ValueCopy(nil)
	if err != nil {
		return store.Record{}, err
	}
	rec := store.Record{Key: string(item.Key()[len(recordPrefix):])}
	rec.Version, rec.Value, err = split(value)
	return rec, err
}

// versionSize is what the version takes before a record's value in Badger's.
const versionSize = 8

func split(value []byte) (version uint64, rest []byte, err error) {
	if len(value) < versionSize {
		return 0, nil, fmt.Errorf("%d bytes are too few for a record", len(value))
	}
	return binary.BigEndian.Uint64(value), value[versionSize:], nil
}

func readError(key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dgraph.ErrKeyNotFound):
		return fmt.Errorf("%w: %s", store.ErrNotFound, key)
	default:
		return fmt.Errorf("reading %s: %w: %w", key, store.ErrUnavailable, err)
	}
}

// List implements [store.Store]. A page is a snapshot.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := store.CheckLimit(limit); err != nil {
		return nil, err
	}
	// Values lie beside the keys: fetching them ahead would only copy them.
	opts := dgraph.DefaultIteratorOptions
	opts.PrefetchValues = false
	opts.Prefix = []byte(recordPrefix + prefix)
	start := []byte(recordPrefix + max(prefix, after))

	var page []store.Record
	err := s.db.View(func(txn *dgraph.Txn) error {
		it := txn.NewIterator(opts)
		defer it.Close()
		for it.Seek(start); it.Valid() && len(page) < limit; it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			rec, err := record(it.Item())
			if err != nil {
				return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
			}
			if rec.Key != after {
				page = append(page, rec)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing %q: %w", prefix, err)
	}
	return page, nil
}

// Watch implements [store.Store].
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	return s.events.Subscribe(ctx, prefix)
}

// Acquire implements [store.Store]. Leases live in memory: they end with the
// process, and so does its hold of the directory.
func (s *Store) Acquire(ctx context.Context, key, owner string, ttl time.Duration) (store.Lease, error) {
	if err := errors.Join(store.CheckKey(key), store.CheckTTL(ttl)); err != nil {
		return store.Lease{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return store.Lease{}, err
	}
	now := s.clock.Now()
	if held, ok := s.leases[key]; ok && now.Before(held.Expires) {
		return store.Lease{}, fmt.Errorf("%w: %s", store.ErrLeased, key)
	}
	lease := store.Lease{Key: key, Owner: owner, Fence: s.next(), Expires: now.Add(ttl)}
	s.leases[key] = lease
	return lease, nil
}

// Renew implements [store.Store].
func (s *Store) Renew(ctx context.Context, lease store.Lease, ttl time.Duration) (store.Lease, error) {
	if err := store.CheckTTL(ttl); err != nil {
		return store.Lease{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return store.Lease{}, err
	}
	if !s.holds(lease) {
		return store.Lease{}, fmt.Errorf("%w: %s", store.ErrFenced, lease.Key)
	}
	lease.Expires = s.clock.Now().Add(ttl)
	s.leases[lease.Key] = lease
	return lease, nil
}

// Release implements [store.Store]. It ignores ctx: whoever gives up because
// its context has ended should still release.
func (s *Store) Release(_ context.Context, lease store.Lease) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issued(lease) {
		delete(s.leases, lease.Key)
	}
	return nil
}

// issued reports whether lease is the last that was given out for its key and
// not released; s.mu is held.
func (s *Store) issued(lease store.Lease) bool {
	held, ok := s.leases[lease.Key]
	return ok && held.Fence == lease.Fence && held.Owner == lease.Owner
}

// holds reports whether lease can be worked under; s.mu is held.
func (s *Store) holds(lease store.Lease) bool {
	return s.issued(lease) && s.clock.Now().Before(s.leases[lease.Key].Expires)
}

// Ready implements [store.Store]. The file system is looked at once a second
// at most.
func (s *Store) Ready(context.Context) error {
	if s.db.IsClosed() {
		return fmt.Errorf("%w: %s is closed", store.ErrUnavailable, s.dir)
	}
	return s.room.ready()
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.events.Close()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing store %s: %w", s.dir, err)
	}
	return nil
}

// Interface guard.
var _ store.Store = (*Store)(nil)
