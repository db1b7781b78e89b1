package broker

import (
	"context"
	"errors"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// A grant that nobody registered lives in the cache alone: to lose one costs a
// token request. What works on it has it in hand until the end, and never
// looks for it in the store.

// derive makes such a grant.
func (b *Broker) derive(p *named, id string) *account.Grant {
	now := b.clock.Now()
	g := &account.Grant{
		ID: id, Provider: p.name, State: account.Init, ClientID: p.ClientID(), Unregistered: true,
		// It is always the same one, however often it is made.
		Generation: 1,
		// The numbers of tokens do not repeat when it is made again.
		Attempts: uint64(now.UnixMilli()),
		Created:  now, Updated: now,
	}
	g.User = accountOf(g)
	return g
}

// accountOf is the ID of the grant's account; empty for one that accounts
// share.
func accountOf(g *account.Grant) string {
	if strings.HasPrefix(g.ID, poolPrefix) {
		return ""
	}
	return g.ID
}

// known returns what is in memory of an account of this configuration.
func (b *Broker) known(id string) (*entry, bool) {
	e, ok := b.cache.GetIfPresent(id)
	if !ok || e.grant.Unregistered && !b.stands(e.grant) {
		return nil, false
	}
	return e, true
}

// revise changes the grant whose lock is held, in the store or, where it lives
// in memory alone, there. It returns what [Shared.upsert] does.
func (s *Shared) revise(ctx context.Context, l *lease, g *account.Grant, change func(*account.Grant) error) (*account.Grant, error) {
	if !g.Unregistered {
		return s.upsert(ctx, l, g.ID, nil, change)
	}
	next := g.Clone()
	err := change(next)
	if errors.Is(err, errUnchanged) {
		return g, nil
	}
	if err != nil {
		return g, err
	}
	next.Updated = s.clock.Now()
	s.remember(next, 0)
	return next, nil
}
