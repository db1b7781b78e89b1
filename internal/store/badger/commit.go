package badger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	dgraph "github.com/dgraph-io/badger/v4"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// pending is a batch that waits to be committed. Store.mu guards what its
// committing sets.
type pending struct {
	lease  *store.Lease
	writes []store.Write
	// ended is the Err of its caller's context.
	ended func() error

	versions []uint64
	events   []store.Event
	err      error
	done     bool
}

// queue holds batches in the order in which they came.
type queue struct {
	mu      sync.Mutex
	waiting []*pending
}

func (q *queue) add(p *pending) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, p)
}

// take removes at least one batch, and as many as together are within the
// limits of one.
func (q *queue) take() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, writes, size := 0, 0, 0
	for _, p := range q.waiting {
		writes += len(p.writes)
		for _, w := range p.writes {
			size += len(w.Key) + len(w.Value)
		}
		if n > 0 && (writes > store.MaxWrites || size > store.MaxBatch) {
			break
		}
		n++
	}
	group := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return group
}

// Commit implements [store.Store]. It writes below the reserve too: saving a
// token that was rotated already is worth the risk that the reserve wards off.
//
// Badger waits for the disk at each transaction. So whoever comes first
// commits for all that wait, in one.
func (s *Store) Commit(ctx context.Context, lease *store.Lease, writes ...store.Write) ([]uint64, error) {
	if err := store.CheckWrites(writes); err != nil {
		return nil, err
	}
	p := &pending{lease: lease, writes: writes, ended: ctx.Err}
	s.queue.add(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	for !p.done {
		s.commitGroup(s.queue.take())
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.versions, nil
}

// commitGroup commits the batches in order, each all or nothing; s.mu is held.
func (s *Store) commitGroup(group []*pending) {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	var failed error
	for _, p := range group {
		var current []uint64
		if current, p.err = s.check(txn, p); p.err == nil {
			failed = errors.Join(failed, s.apply(txn, p, current))
		}
	}
	if failed == nil {
		failed = txn.Commit()
	}
	for _, p := range group {
		p.done = true
		switch {
		case p.err != nil:
		case failed != nil:
			p.err = fmt.Errorf("committing: %w: the outcome is unknown: %w", store.ErrUnavailable, failed)
		default:
			s.events.Publish(p.events)
		}
	}
}

// check returns the versions of the records that p writes, or why it must not
// be committed. It sees the batches that stand before p in txn.
func (s *Store) check(txn *dgraph.Txn, p *pending) ([]uint64, error) {
	if err := p.ended(); err != nil {
		return nil, err
	}
	if p.lease != nil && !s.holds(*p.lease) {
		return nil, fmt.Errorf("%w: %s", store.ErrFenced, p.lease.Key)
	}
	current := make([]uint64, len(p.writes))
	for i, w := range p.writes {
		var err error
		if current[i], err = currentVersion(txn, w.Key); err != nil {
			return nil, readError(w.Key, err)
		}
		if w.Expect != store.AnyVersion && w.Expect != current[i] {
			return nil, fmt.Errorf("%w: %s", store.ErrConflict, w.Key)
		}
	}
	return current, nil
}

// apply writes p to txn. After an error txn holds a part of p and must not be
// committed.
func (s *Store) apply(txn *dgraph.Txn, p *pending, current []uint64) error {
	version := s.next()
	p.versions = make([]uint64, len(p.writes))
	for i, w := range p.writes {
		key := []byte(recordPrefix + w.Key)
		switch {
		case w.Value != nil:
			p.versions[i] = version
			value := make([]byte, 0, versionSize+len(w.Value))
			value = binary.BigEndian.AppendUint64(value, version)
			if err := txn.Set(key, append(value, w.Value...)); err != nil {
				return err
			}
		case current[i] != 0:
			if err := txn.Delete(key); err != nil {
				return err
			}
		default:
			// There is nothing to delete.
			continue
		}
		p.events = append(p.events, store.Event{Key: w.Key, Deleted: w.Value == nil, Version: p.versions[i]})
	}
	return nil
}

// currentVersion is that of the record under key, 0 if there is none.
func currentVersion(txn *dgraph.Txn, key string) (uint64, error) {
	item, err := txn.Get([]byte(recordPrefix + key))
	if errors.Is(err, dgraph.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var version uint64
	err = item.Value(func(value []byte) error {
		version, _, err = split(value)
		return err
	})
	return version, err
}
