package broker

import (
	"context"
	"strconv"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// Adopt makes this process the owner of a grant from a backup or an import:
// nobody else renews it any more. Whether it still lives is looked at soon. An
// account that was adopted already is left as it is.
func (b *Broker) Adopt(ctx context.Context, id string) error {
	g, err := b.Grant(ctx, id)
	if err != nil {
		return err
	}
	p, ok := b.provider(g.Provider)
	if !ok {
		return notConfigured(g.Provider)
	}
	look := renewal{id: id, audience: p.DefaultAudience()}
	adopted := false
	err = b.change(ctx, id, func(g *account.Grant) error {
		if adopted = unadopted(g); !adopted {
			return errUnchanged
		}
		g.Unadopted = false
		if g.State == account.Restored {
			g.State = standing(g)
		}
		if !g.RefreshToken.IsZero() {
			// The one before may have spent the refresh token since: that is as
			// a request of our own whose answer was lost.
			g.Attempts++
			g.Intent = &account.Intent{Number: g.Attempts, Owner: b.owner, Since: b.clock.Now(), Audience: look.audience, Lost: true}
		}
		return nil
	})
	if adopted {
		b.renewal.set(look, b.clock.Now()) // even if the store says that it failed: it may have written
	}
	return err
}

// unadopted reports whether another process may still renew the grant.
func unadopted(g *account.Grant) bool { return g.Unadopted || g.State == account.Restored }

// Restore writes the grant of a backup as it is, unless the store has one of
// the same consent or a later one; it reports whether it did. One that is
// restored is not renewed until it is adopted, and so never takes the place of
// one that is this process's own.
func (b *Broker) Restore(ctx context.Context, restored *account.Grant) (bool, error) {
	id := restored.ID
	if err := account.CheckID(id); err != nil {
		return false, problem.New(problem.InvalidRequest, "account "+strconv.Quote(id)+": "+err.Error())
	}
	h, err := b.own(ctx, id, true)
	if err != nil {
		return false, err
	}
	defer b.disown(h)
	if err := b.saveWaiting(ctx, id); err != nil {
		return false, err
	}
	written := false
	g, err := b.upsert(ctx, nil, id, &account.Grant{ID: id}, func(g *account.Grant) error {
		absent := g.Provider == ""
		owned := !g.RefreshToken.IsZero() && !unadopted(g)
		if written = absent || g.Generation < restored.Generation && !(owned && unadopted(restored)); !written {
			return errUnchanged
		}
		attempts := g.Attempts
		*g = *restored.Clone()
		g.Attempts = max(g.Attempts, attempts) // numbers of requests are not used twice
		g.Unadopted, g.Unregistered = unadopted(g), false
		return nil
	})
	if err != nil {
		return false, err
	}
	if written && g.Intent != nil && !unadopted(g) {
		b.renewal.set(renewal{id: id, audience: g.Intent.Audience}, b.clock.Now()) // taken up as at start
	}
	return written, nil
}
