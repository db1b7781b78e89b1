package broker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// cacheBytes bounds the grants that are kept in memory. What is pushed out is
// read from the store again.
const cacheBytes = 64 << 20

// Shared is what outlives a configuration: during a reload two configurations'
// brokers live side by side, and two lock tables would let both spend one
// single-use refresh token.
type Shared struct {
	vault Vault
	clock clockwork.Clock
	log   *slog.Logger
	// owner names this process in intents and leases.
	owner string
	// shared is set where other processes write to the store too.
	shared bool

	// cache holds what is known of accounts. Entries are replaced, never
	// changed: by who holds the grant's lock, and by a later record that another
	// process wrote.
	cache   *otter.Cache[string, *entry]
	news    news
	flights singleflight.Group
	locks   locks
	turns   turns
	unsaved unsaved
	takenUp takenUp
	insist  insistence
	renewal *schedule
	// keepalive is how long a grant may be idle (a time.Duration), as the
	// newest configuration says.
	keepalive atomic.Int64

	endpointsMu sync.Mutex
	endpoints   map[string]*endpoint

	// running ends when the store is about to close.
	running context.Context
	stop    context.CancelFunc
	workMu  sync.Mutex // between the last Add and Wait
	work    sync.WaitGroup
	// following is what Follow began.
	following sync.WaitGroup
}

// Vault is where the broker's grants are kept. Its errors are the store
// package's.
type Vault interface {
	Grant(ctx context.Context, id string) (*account.Grant, uint64, error)
	// Save writes the grant if its record has the version, and the lease holds
	// if there is one.
	Save(ctx context.Context, lease *store.Lease, g *account.Grant, version uint64, due, used time.Time) (uint64, error)
	Remove(ctx context.Context, id string, version uint64) error
	Unresolved(ctx context.Context) ([]string, error)
	Due(ctx context.Context, at time.Time, f func(id string) bool) error
	Ready(ctx context.Context) error
	// Acquire takes the lease of an account's grant; Renew makes one that holds
	// last a life from now, and Release ends it.
	Acquire(ctx context.Context, id, owner string, life time.Duration) (store.Lease, error)
	Renew(ctx context.Context, lease store.Lease, life time.Duration) (store.Lease, error)
	Release(ctx context.Context, lease store.Lease) error
	// SweepSpent forgets what need not be remembered any more of links that
	// were used.
	SweepSpent(ctx context.Context, now time.Time) error
}

// entry is an account as it is known in memory.
type entry struct {
	grant *account.Grant // not to be changed
	// version is that of the record which the grant was read from, or written
	// to last; 0 for a grant without one.
	version uint64
	// used is when a token was last handed out (Unix nanoseconds); it moves on
	// from entry to entry.
	used *atomic.Int64
	// narrow is when its narrower tokens were; it moves on likewise.
	narrow *uses
	// renewing is set when a renewal ahead of expiry was asked for, so that
	// not each call asks again.
	renewing atomic.Bool
}

// successor is the entry of a later record of the account.
func (e *entry) successor(g *account.Grant, version uint64) *entry {
	return &entry{grant: g, version: version, used: e.used, narrow: e.narrow}
}

// NewShared makes what brokers on one store share. owner names this process, as
// no other on the store is named.
func NewShared(v Vault, owner string, clock clockwork.Clock, log *slog.Logger) *Shared {
	s := &Shared{vault: v, clock: clock, log: log, owner: owner, endpoints: make(map[string]*endpoint)}
	s.cache = newCache(cacheBytes)
	s.news.init()
	s.running, s.stop = context.WithCancel(context.Background())
	s.renewal = newSchedule()
	return s
}

func newCache(bytes uint64) *otter.Cache[string, *entry] {
	return otter.Must(&otter.Options[string, *entry]{
		MaximumWeight: bytes,
		Weigher:       func(_ string, e *entry) uint32 { return weigh(e.grant) },
	})
}

// Close waits for the token requests under way, so that what they bring is
// saved, and for the last tries to save what could not be saved before.
func (s *Shared) Close() {
	s.workMu.Lock()
	s.stop()
	s.workMu.Unlock()
	s.work.Wait()
	s.following.Wait()
	s.saveUnsaved(context.Background())
	if n := len(s.unsaved.ids()); n > 0 {
		s.log.Error("closing with renewed grants that could not be saved", "accounts", n)
	}
	s.cache.StopAllGoroutines()
}

// weigh is roughly what a grant takes in memory.
func weigh(g *account.Grant) uint32 {
	const record, token = 700, 250
	n := record + len(g.ID) + len(g.Name) + len(g.User) + len(g.RefreshToken.Reveal())
	for i := range g.Access {
		n += token + len(g.Access[i].Value.Reveal())
	}
	return uint32(n) //nolint:gosec // a record of the store has 256 KiB at most
}

// entry returns what is known of the account, reading it from the store when
// it is not in memory.
func (b *Broker) entry(ctx context.Context, id string) (*entry, error) {
	if e, ok := b.known(id); ok {
		return e, nil
	}
	h, err := b.own(ctx, id, true)
	if err != nil {
		return nil, err
	}
	defer b.disown(h)
	return b.load(ctx, id)
}

// load returns what is known of an account whose lock is held.
func (b *Broker) load(ctx context.Context, id string) (*entry, error) {
	if e, ok := b.known(id); ok {
		return e, nil
	}
	if u, ok := b.unsaved.get(id); ok {
		return b.remember(u.grant, 0), nil
	}
	if account.CheckID(id) != nil {
		return nil, notFound()
	}
	read := b.reading(id)
	g, version, err := b.vault.Grant(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		b.cache.Invalidate(id) // another configuration may have covered it
		if p := b.covering(id); p != nil {
			defer read.done()
			return b.remember(b.derive(p, id), 0), nil
		}
	}
	if err != nil {
		return nil, storeProblem(err)
	}
	defer read.done()
	return b.remember(g, version), nil
}

// remember puts a grant whose lock is held into memory, unless a later record
// of it is there already; it returns what is there. A result that waits to be
// saved is later than any record.
func (s *Shared) remember(g *account.Grant, version uint64) *entry {
	e, _ := s.cache.Compute(g.ID, func(old *entry, found bool) (*entry, otter.ComputeOp) {
		if !found {
			return &entry{grant: g, version: version, used: new(atomic.Int64), narrow: new(uses)}, otter.WriteOp
		}
		if _, waits := s.unsaved.get(g.ID); old.version > version && !waits {
			return old, otter.CancelOp
		}
		return old.successor(g, version), otter.WriteOp
	})
	return e
}

// reading is between the reading of a grant and its being in memory.
type reading struct {
	shared *Shared
	id     string
	before uint64
}

func (s *Shared) reading(id string) reading {
	return reading{s, id, s.news.counter(id).Load()}
}

// done has the grant read anew if it was changed in between: who heard of that
// did not find it in memory.
func (r reading) done() {
	if r.shared.news.counter(r.id).Load() != r.before {
		r.shared.stale(r.id, 0)
	}
}

// errUnchanged is returned by a change that has nothing to write.
var errUnchanged = errors.New("unchanged")

// update reads the account whose lock is held from the store, lets change work
// on a copy and writes it back; when somebody else wrote in between it starts
// anew, so change may be called more than once. It returns the grant as it
// stands then: with an error of change, as it was read; nil if it could not be
// read. Who calls update sees to it that no result waits to be saved.
func (s *Shared) update(ctx context.Context, id string, change func(*account.Grant) error) (*account.Grant, error) {
	return s.upsert(ctx, nil, id, nil, change)
}

// upsert is update, but where there is no account it makes one of blank. With a
// lease its error is [store.ErrFenced] once that does not hold any more.
func (s *Shared) upsert(ctx context.Context, l *lease, id string, blank *account.Grant, change func(*account.Grant) error) (*account.Grant, error) {
	read := s.reading(id)
	defer read.done()
	for {
		g, version, err := s.vault.Grant(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			s.cache.Invalidate(id) // removed by another process
			if blank != nil {
				g, version, err = blank, 0, nil
			}
		}
		if err != nil {
			return nil, storeProblem(err)
		}
		next := g.Clone()
		if err := change(next); err != nil {
			if version != 0 {
				s.remember(g, version)
			}
			if errors.Is(err, errUnchanged) {
				err = nil
			}
			return g, err
		}
		next.Updated = s.clock.Now()
		version, err = s.vault.Save(ctx, l.record(), next, version, s.due(next), s.usedAt(id))
		switch {
		case errors.Is(err, store.ErrConflict):
			continue
		case errors.Is(err, store.ErrFenced):
			return g, err
		case err != nil:
			return g, storeProblem(err)
		}
		s.remember(next, version)
		return next, nil
	}
}

// usedAt is when a token of the account was last handed out, as far as this
// process knows.
func (s *Shared) usedAt(id string) time.Time {
	if e, ok := s.cache.GetEntryQuietly(id); ok {
		if ns := e.Value.used.Load(); ns != 0 {
			return time.Unix(0, ns)
		}
	}
	return time.Time{}
}

// begin announces work that Close must wait for, until work.Done. It reports
// false when the store is about to close.
func (s *Shared) begin() bool {
	s.workMu.Lock()
	defer s.workMu.Unlock()
	if s.running.Err() != nil {
		return false
	}
	s.work.Add(1)
	return true
}

// own announces work on the account and takes its lock, until disown. The
// store stays open as long.
func (s *Shared) own(ctx context.Context, id string, caller bool) (*hold, error) {
	if !s.begin() {
		return nil, closing()
	}
	h, err := s.locks.take(ctx, id, caller)
	if err != nil {
		s.work.Done()
		return nil, err
	}
	return h, nil
}

func (s *Shared) disown(h *hold) {
	h.release()
	s.work.Done()
}

// background runs f past the caller's context, unless the store is about to
// close: then it reports false.
func (s *Shared) background(f func()) bool {
	if !s.begin() {
		return false
	}
	go func() {
		defer s.work.Done()
		f()
	}()
	return true
}

// Ready returns nil if renewals can be made and what they bring be kept.
func (s *Shared) Ready(ctx context.Context) error {
	if n := len(s.unsaved.ids()); n > 0 {
		return problem.New(problem.StoreUnavailable, "Renewed grants wait to be saved").With("unsaved", n)
	}
	if err := s.vault.Ready(ctx); err != nil {
		return storeProblem(err)
	}
	return nil
}

func closing() error {
	p := problem.New(problem.StoreUnavailable, "Bellhop is shutting down")
	p.RetryAfter = time.Second
	return p
}

func notFound() error {
	return problem.New(problem.AccountNotFound, "Account record was not found for requested ID")
}

// storeProblem sorts an error of the store.
func storeProblem(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return notFound()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	p := problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
	p.RetryAfter = 5 * time.Second
	return p
}
