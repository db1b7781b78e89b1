package broker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

const (
	// attendEvery is how often it is looked which accounts are due.
	attendEvery = 15 * time.Second
	// A grant is renewed when keepaliveFrom to keepaliveUntil of the time that
	// it may be idle are over; where in between depends on the account, so
	// that accounts which were registered together part.
	keepaliveFrom, keepaliveUntil = 0.7, 0.9
	// keepaliveGrain is the part of that time to which due times are rounded
	// down: an account in use need not move in the store at each renewal.
	keepaliveGrain = 0.1
	// beforeLapse is the part of a refresh token's life after which it is
	// renewed, however it is used.
	beforeLapse    = 0.75
	leastKeepalive = 10 * time.Minute // where using it does not lengthen its life
	// foretell is how long before a grant lapses people are told, if its life
	// is not so short that a part of it must do.
	foretell     = 7 * 24 * time.Hour
	foretellPart = 0.25
)

// due is when the grant is to be looked after though nobody uses it; zero when
// nothing can be done for it without a person.
func (s *Shared) due(g *account.Grant) time.Time {
	switch {
	case g.State == account.AuthenticationError:
		if f := g.Failed(account.WholeGrant); f != nil {
			return sooner(f.Retry, decisionOn(g))
		}
		return decisionOn(g)
	case g.RefreshToken.IsZero():
		return decisionOn(g)
	case g.State == account.Disabled, g.State == account.Restored, g.State == account.Pending:
		return sooner(toldOf(g), decisionOn(g))
	}
	keepalive := time.Duration(s.keepalive.Load())
	last := later(g.Refreshed, g.Created)
	share := keepaliveFrom + (keepaliveUntil-keepaliveFrom)*fraction(g.ID)
	at := last.Truncate(part(keepalive, keepaliveGrain)).Add(part(keepalive, share))
	if !g.Lapses.IsZero() {
		at = sooner(at, last.Add(max(part(g.Lapses.Sub(last), beforeLapse), leastKeepalive)))
	}
	at = sooner(at, toldOf(g))
	for i := range g.Failures {
		if f := &g.Failures[i]; !f.Narrow() { // else it is no reason not to ask for the grant's own token
			at = later(at, f.Retry)
		}
	}
	return sooner(at, decisionOn(g))
}

// decisionOn is when a consent that waits to be confirmed is given up; zero for
// none.
func decisionOn(g *account.Grant) time.Time {
	if g.Proposed == nil {
		return time.Time{}
	}
	return g.Proposed.Expires
}

// toldOf is when people are to be told that the grant lapses; zero when they
// need not be, or know.
func toldOf(g *account.Grant) time.Time {
	if g.Lapses.IsZero() || g.Foretold.Equal(g.Lapses) {
		return time.Time{}
	}
	life := g.Lapses.Sub(later(g.Refreshed, g.Created))
	return g.Lapses.Add(-min(foretell, part(life, foretellPart)))
}

// attend looks after the accounts that are due: it keeps grants alive that
// nobody uses, tries once more what is to be tried once more, and tells of
// grants that lapse. No more are worked on at once than requests may be under
// way, so that neither a start nor the end of an outage makes a storm.
func (b *Broker) attend(ctx context.Context) {
	err := b.vault.Due(ctx, b.clock.Now(), func(id string) bool {
		select {
		case b.attending <- struct{}{}:
		case <-ctx.Done():
			return false
		}
		return b.background(func() {
			defer func() { <-b.attending }()
			b.attendTo(id)
		})
	})
	if err != nil && ctx.Err() == nil {
		b.log.Error("looking for accounts that are due", "error", err)
	}
}

// attendTo looks after one account.
func (b *Broker) attendTo(id string) {
	e, err := b.entry(b.running, id)
	if err != nil {
		return // it is due again
	}
	p, ok := b.provider(e.grant.Provider)
	if !ok {
		return
	}
	now := b.clock.Now()
	if proposed := e.grant.Proposed; proposed != nil && !now.Before(proposed.Expires) {
		b.giveUp(id, proposed.Confirm)
		return // what else is due comes with the next look
	}
	if at := toldOf(e.grant); !at.IsZero() && !now.Before(at) {
		b.foretell(e.grant)
	}
	if serves(e.grant.State) != nil || e.grant.State == account.Restored || e.grant.Unadopted {
		return
	}
	n := need{audience: idleAudience(e.grant, p), ahead: true, since: now.Add(-part(b.settings.Keepalive, keepaliveFrom/2)).Truncate(time.Second)}
	if _, err := b.await(b.running, p, id, n); err != nil {
		return // the failure has said when to come back
	}
	if now, err := b.entry(b.running, id); err == nil && now.grant.Refreshed.Equal(e.grant.Refreshed) {
		// Nothing was to be done yet: it was due by another configuration.
		_ = b.change(b.running, id, func(*account.Grant) error { return nil })
	}
}

// idleAudience is one to keep the grant alive with: any will do that the
// provider does not refuse.
func idleAudience(g *account.Grant, p Provider) string {
	audience := p.DefaultAudience()
	if g.Failed(need{audience: audience}.subject()) == nil {
		return audience
	}
	for i := range g.Access {
		if t := &g.Access[i]; t.Requested == "" && g.Failed(need{audience: t.Audience}.subject()) == nil {
			return t.Audience
		}
	}
	return audience
}

// foretell tells people that the grant lapses, once.
func (b *Broker) foretell(g *account.Grant) {
	lapses, told := g.Lapses, false
	err := b.change(b.running, g.ID, func(g *account.Grant) error {
		told = false
		if !g.Lapses.Equal(lapses) || g.Foretold.Equal(lapses) {
			return errUnchanged
		}
		g.Foretold, told = lapses, true
		return nil
	})
	if err != nil || !told {
		return // it is due again, or another process told
	}
	b.happened(Event{Account: g.ID, Provider: g.Provider, Expires: lapses}, GrantExpiring)
}

// lapse is when a refresh token lapses that was received or used at the time
// begun; zero when the provider does not let us know.
func lapse(p Provider, a account.Answer, begun time.Time) time.Time {
	if a.RefreshTokenLife > 0 {
		return begun.Add(a.RefreshTokenLife)
	}
	if idle := p.IdleLife(); idle > 0 {
		// By days: an account in use need not move in the store at each
		// renewal.
		return begun.Truncate(24 * time.Hour).Add(idle)
	}
	return time.Time{}
}

func part(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * share)
}

// fraction is a number from 0 to 1 that is always the same for an account.
func fraction(id string) float64 {
	sum := sha256.Sum256([]byte(id))
	return float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sooner is the earlier time, where a zero one stands for never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
