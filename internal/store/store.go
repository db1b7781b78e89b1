// Package store defines what Bellhop needs kept, whatever keeps it. Values are
// opaque here: they are sealed before they come and opened after they leave.
package store

import (
	"context"
	"errors"
	"time"
)

// Errors of every implementation, to be tested with errors.Is.
var (
	// ErrNotFound: there is no record with that key.
	ErrNotFound = errors.New("record not found")
	// ErrConflict: a record's version is not the expected one; nothing of the
	// batch was written.
	ErrConflict = errors.New("record was changed by someone else")
	// ErrLeased: somebody else holds the lease.
	ErrLeased = errors.New("lease is held by someone else")
	// ErrFenced: the lease that a batch was to be written under has ended or
	// was taken over; nothing of the batch was written.
	ErrFenced = errors.New("lease was lost")
	// ErrUnavailable: the store cannot be reached, or cannot make a write
	// durable now (no room left). The outcome of a write is then unknown
	// unless the implementation says more.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrInvalid: the arguments break a rule that is written here (a key, a
	// size, a limit); nothing was written.
	ErrInvalid = errors.New("invalid store request")
)

// AnyVersion as a write's Expect writes without looking.
const AnyVersion = ^uint64(0)

// Record is a value under a key.
type Record struct {
	// Key is a path such as "grant/alice": 1 to [MaxKey] bytes of UTF-8 without
	// NUL. Records are ordered by the bytes of their keys.
	Key string
	// Value is at most [MaxValue] bytes. An empty value is a record like any
	// other.
	Value []byte
	// Version is neither 0 nor AnyVersion and grows with each write of the
	// key, also across its deletion and reopening.
	Version uint64
}

// Write is one change in a batch.
type Write struct {
	Key string
	// Value replaces the record's; nil (not merely empty) deletes the record,
	// which is no error when there is none.
	Value []byte
	// Expect is the version that the record must have; 0: it must not exist;
	// AnyVersion: whatever it is.
	Expect uint64
}

// Event tells that a record changed. A consumer re-reads what it cares for.
type Event struct {
	// Key of the record; empty says that events may have been missed and
	// everything under the watched prefix must be read again.
	Key string
	// Deleted is set when the record is gone.
	Deleted bool
	// Version is the one that the record got; 0 when it is gone.
	Version uint64
}

// Lease is the right to work on something alone, until Expires.
type Lease struct {
	Key   string
	Owner string
	// Fence is never 0 and grows with each lease that is given out for the
	// key, also across reopening; a write under a lease is refused when a
	// higher one exists.
	Fence uint64
	// Expires informs the holder; the store counts by its own clock and by the
	// last renewal, whatever copy of the lease it is shown.
	Expires time.Time
}

// Store keeps records durably. All methods may be called from many goroutines.
type Store interface {
	// Get returns one record, or ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)

	// Commit writes a batch: all of it or nothing, durable when it returns. A
	// batch has at most [MaxWrites] writes, [MaxBatch] bytes and one write per
	// key. It gives the new versions in the order of the writes (0 for a
	// deletion). ErrConflict when a record has not the expected version. With a
	// lease, ErrFenced when that lease no longer holds; this is looked at
	// first.
	Commit(ctx context.Context, lease *Lease, writes ...Write) ([]uint64, error)

	// List returns up to limit (at least 1) records whose keys begin with
	// prefix (empty: all) and come after the key after (empty: from the start),
	// in the order of keys.
	List(ctx context.Context, prefix, after string, limit int) ([]Record, error)

	// Watch sends an event for each committed change under prefix, own ones
	// included, in the order of commits, until ctx ends or the store is closed;
	// then the channel is closed. A slow consumer loses events and gets one with
	// an empty key instead.
	Watch(ctx context.Context, prefix string) (<-chan Event, error)

	// Acquire takes the lease of key for owner, or ErrLeased. An owner that
	// holds it already gets ErrLeased too: two workers of one process are not
	// one. A ttl is more than zero.
	Acquire(ctx context.Context, key, owner string, ttl time.Duration) (Lease, error)
	// Renew makes a lease that still holds end a ttl from now, or ErrFenced.
	Renew(ctx context.Context, lease Lease, ttl time.Duration) (Lease, error)
	// Release ends a lease; one that has ended already is no error, and
	// somebody else's is left alone.
	Release(ctx context.Context, lease Lease) error

	// Ready returns nil if a write could be made durable now, else an error
	// that wraps ErrUnavailable and says why. It is cheap enough to be asked
	// before each token request.
	Ready(ctx context.Context) error

	// Close releases everything. No other call may be under way.
	Close() error
}
