package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// errSuperseded is returned by a change that belongs to an older consent, or to
// an older token request than another process has made since.
var errSuperseded = errors.New("the account was connected anew in the meantime")

// unsaved holds the results of token requests that could not be made durable.
// They are served and saved as soon as possible; until then the grant is not
// renewed again, and readiness is red.
type unsaved struct {
	mu     sync.Mutex
	grants map[string]unsavedGrant
}

type unsavedGrant struct {
	grant  *account.Grant             // as it would stand
	blank  *account.Grant             // what it began as, where the store has none
	change func(*account.Grant) error // to be made on whatever the store has
}

func (u *unsaved) put(id string, g unsavedGrant) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.grants == nil {
		u.grants = make(map[string]unsavedGrant)
	}
	u.grants[id] = g
}

func (u *unsaved) get(id string) (unsavedGrant, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	g, ok := u.grants[id]
	return g, ok
}

func (u *unsaved) remove(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.grants, id)
}

func (u *unsaved) ids() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	ids := make([]string, 0, len(u.grants))
	for id := range u.grants {
		ids = append(ids, id)
	}
	return ids
}

// refusal is the error of a change that is not to be made, whatever the store
// can.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// settle makes the result of a token request durable. When the store cannot,
// the result stays in memory and counts all the same.
func (s *Shared) settle(g *account.Grant, change func(*account.Grant) error) (*account.Grant, error) {
	if g.Unregistered {
		return s.revise(context.Background(), nil, g, change)
	}
	return s.keep(g, nil, change)
}

// keep is settle for what must not be lost; blank is what an account begins as
// that is not there.
func (s *Shared) keep(g, blank *account.Grant, change func(*account.Grant) error) (*account.Grant, error) {
	// Not on the context that ends with the process: this write is what a
	// shutdown waits for.
	next, err := s.upsert(context.Background(), nil, g.ID, blank, change)
	refused, isRefusal := errors.AsType[refusal](err)
	switch {
	case err == nil:
		return next, nil
	case errors.Is(err, errSuperseded):
		s.log.Info("dropping the result of a token request that began before the account was connected anew", "account", g.ID)
		return next, superseded()
	case isRefusal:
		return g, refused.error
	case isGone(err):
		return g, err
	}
	s.log.Error("saving a renewed grant; it is kept in memory until it can be saved", "account", g.ID, "error", err)
	next = g.Clone()
	if err := change(next); err != nil {
		return g, err
	}
	s.unsaved.put(g.ID, unsavedGrant{next, blank, change})
	s.remember(next, 0)
	return next, nil
}

// keepable returns the problem that stands against spending the grant's
// refresh token now: what comes back could not be saved.
func (s *Shared) keepable(id string) error {
	if err := s.saveWaiting(s.running, id); err != nil {
		return err
	}
	if err := s.vault.Ready(s.running); err != nil {
		return storeProblem(err)
	}
	return nil
}

// saveUnsaved tries to save what could not be saved before.
func (s *Shared) saveUnsaved(ctx context.Context) {
	for _, id := range s.unsaved.ids() {
		h, err := s.locks.take(ctx, id, false)
		if err != nil {
			return
		}
		if err := s.saveWaiting(ctx, id); err != nil {
			s.log.Warn("saving a renewed grant once more", "account", id, "error", err)
		}
		h.release()
	}
}

// saveWaiting saves the result that waits for a grant whose lock is held, if
// one does. Every other change of the grant comes after it.
func (s *Shared) saveWaiting(ctx context.Context, id string) error {
	u, ok := s.unsaved.get(id)
	if !ok {
		return nil
	}
	_, err := s.upsert(ctx, nil, id, u.blank, u.change)
	if _, refused := errors.AsType[refusal](err); err != nil && !refused && !errors.Is(err, errSuperseded) && !isGone(err) {
		return err
	}
	s.unsaved.remove(id)
	s.stale(id, 0) // until now others' changes were not let in
	s.log.Info("a renewed grant that waited in memory is settled", "account", id)
	return nil
}

// isGone reports whether the account was removed.
func isGone(err error) bool { return problem.From(err).Code == problem.AccountNotFound }

func superseded() error {
	return unavailable("The account was connected anew while its token was renewed; ask again", time.Second)
}
