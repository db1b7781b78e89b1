package broker

import (
	"context"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

const (
	// trustedFor is for how long what is in memory is believed while nothing
	// can be heard of what other processes change: an account that was removed
	// elsewhere must not be served for ever.
	trustedFor = 10 * time.Minute
	// heardEvery is how often it is looked up to when changes were heard.
	heardEvery = time.Second
	// A silence of this length is an outage: leases may have ended in it. Who
	// could not save what a request brought does so first thing afterwards, and
	// is given this time before others take the request for lost; so it is by a
	// process that starts, and cannot know whether there was one.
	silence   = leaseLife
	saveFirst = 12 * time.Second
	// followAgain is when it is tried again to follow the store.
	followAgain = time.Second
	// rereaders is how many grants are read at once because they were changed:
	// when all must be read anew, they are not read all at once.
	rereaders = 4
	// rereadAgain is about when reading one is tried again.
	rereadAgain = time.Second
)

// Changes tells what processes change in the store, this one included.
type Changes interface {
	// FollowGrants calls changed with the account and the new version (0: it
	// was removed, or that is not known) of each grant that changes, and with
	// an empty account when changes may have been missed; until ctx ends or the
	// store fails. It begins with such a call, once none can be missed.
	FollowGrants(ctx context.Context, changed func(id string, version uint64)) error
	// Heard is the time up to which changes were told; zero before the first.
	Heard() time.Time
}

// news is how what is known in memory stays true.
type news struct {
	// changes count the changes of grants, by parts of all accounts: who reads
	// a grant and then remembers it sees that it was changed in between.
	seed    maphash.Seed
	changes [256]atomic.Uint64

	// trusted is until when what is in memory is believed (Unix nanoseconds).
	trusted atomic.Int64
	// heard is up to when changes were heard, and regained when an outage was
	// last over (Unix nanoseconds).
	heard, regained atomic.Int64
	// begun is when Follow was called.
	begun time.Time

	mu      sync.Mutex
	waiting map[string]struct{} // grants to be read anew
	queue   []string            // in this order
	more    chan struct{}       // holds something while there may be some
}

func (m *news) init() {
	m.seed = maphash.MakeSeed()
	m.waiting, m.more = make(map[string]struct{}), make(chan struct{}, 1)
	m.trusted.Store(math.MaxInt64) // this process's own changes are all there are
}

// trust believes what is in memory, since all was heard up to now.
func (m *news) trust(heard time.Time) {
	m.heard.Store(heard.UnixNano())
	m.trusted.Store(heard.Add(trustedFor).UnixNano())
}

func (m *news) counter(id string) *atomic.Uint64 {
	return &m.changes[maphash.String(m.seed, id)%uint64(len(m.changes))]
}

// Follow keeps what is in memory true on a store that other processes write to,
// until Close. It is called before any broker is made.
func (s *Shared) Follow(c Changes) {
	s.shared = true
	s.news.begun = s.clock.Now()
	s.news.trust(s.news.begun)
	s.following.Go(func() {
		for s.running.Err() == nil {
			err := c.FollowGrants(s.running, s.changed)
			if s.running.Err() != nil {
				return
			}
			s.log.Warn("following what other nodes change; it is tried again", "error", err)
			s.pause(followAgain)
		}
	})
	s.following.Go(func() { s.hear(c) })
	for range rereaders {
		s.following.Go(s.rereadAll)
	}
}

func (s *Shared) pause(d time.Duration) {
	select {
	case <-s.clock.After(d):
	case <-s.running.Done():
	}
}

// hear moves on until when memory is trusted.
func (s *Shared) hear(c Changes) {
	ticker := s.clock.NewTicker(heardEvery)
	defer ticker.Stop()
	last, told := s.clock.Now(), false
	for {
		select {
		case <-ticker.Chan():
		case <-s.running.Done():
			return
		}
		heard := c.Heard()
		if !heard.After(last) {
			if silent := s.clock.Since(last); silent > trustedFor && !told {
				told = true
				s.log.Error("what other nodes change was not heard of for too long: accounts and stored keys are refused until it is", "since", last)
			}
			continue
		}
		if heard.Sub(last) > silence {
			s.news.regained.Store(s.clock.Now().UnixNano())
		}
		last, told = heard, false
		s.news.trust(heard)
	}
}

// Trusted returns the problem of a memory that nothing was heard of for too
// long.
func (s *Shared) Trusted() error {
	if s.clock.Now().UnixNano() <= s.news.trusted.Load() {
		return nil
	}
	return untrusted()
}

func untrusted() error {
	p := problem.New(problem.StoreUnavailable, "The token store cannot be reached for so long that what is known of accounts and keys may not be true any more")
	p.RetryAfter = retryAfterAtMost
	return p
}

// saving reports whether other processes may not yet have saved what they could
// not during an outage.
func (s *Shared) saving(now time.Time) bool {
	if !s.shared {
		return false
	}
	// That it is over may not have been seen yet.
	return now.Sub(time.Unix(0, s.news.heard.Load())) > silence ||
		now.Sub(time.Unix(0, s.news.regained.Load())) < saveFirst
}

// starting reports whether an outage may just have ended that this process did
// not see.
func (s *Shared) starting(now time.Time) bool {
	return s.shared && now.Sub(s.news.begun) < saveFirst
}

// changed hears of a change.
func (s *Shared) changed(id string, version uint64) {
	m := &s.news
	if id == "" {
		for i := range m.changes {
			m.changes[i].Add(1)
		}
		for id := range s.cache.Keys() {
			s.stale(id, 0)
		}
		return
	}
	m.counter(id).Add(1)
	s.turns.wake(id)
	s.stale(id, version)
}

// stale has the grant read anew if it is in memory, as it was before the version.
func (s *Shared) stale(id string, version uint64) {
	e, ok := s.cache.GetEntryQuietly(id)
	if !ok || version != 0 && e.Value.version >= version {
		return
	}
	m := &s.news
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.waiting[id]; known {
		return
	}
	m.waiting[id] = struct{}{}
	m.queue = append(m.queue, id)
	m.ring()
}

func (m *news) ring() {
	select {
	case m.more <- struct{}{}:
	default: // somebody will look
	}
}

// next takes out a grant to be read anew.
func (m *news) next() (id string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return "", false
	}
	id, m.queue = m.queue[0], m.queue[1:]
	delete(m.waiting, id)
	if len(m.queue) > 0 {
		m.ring()
	}
	return id, true
}

// rereadAll reads anew what was changed until the store is about to close.
func (s *Shared) rereadAll() {
	for {
		select {
		case <-s.news.more:
		case <-s.running.Done():
			return
		}
		id, ok := s.news.next()
		if !ok || s.follow(id) == nil {
			continue
		}
		s.stale(id, 0)
		// The store is away; when it is back, not all nodes ask at once.
		s.pause(rereadAgain/2 + rand.N(rereadAgain)) //nolint:gosec // jitter is no secret
	}
}

// follow puts what the store has of a grant into memory in the place of what is
// there. It does so without the grant's lock: whoever has that may wait for the
// provider.
func (s *Shared) follow(id string) error {
	g, version, err := s.vault.Grant(s.running, id)
	gone := err != nil && isGone(storeProblem(err))
	if err != nil && !gone {
		return err
	}
	s.cache.ComputeIfPresent(id, func(old *entry) (*entry, otter.ComputeOp) {
		_, waits := s.unsaved.get(id)
		switch {
		case waits, gone && old.grant.Unregistered, !gone && old.version >= version:
			return old, otter.CancelOp
		case gone:
			return nil, otter.InvalidateOp
		}
		return old.successor(g, version), otter.WriteOp
	})
	return nil
}
