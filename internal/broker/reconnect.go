package broker

import (
	"context"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// Reconnect forgets why an account's token requests failed and asks for a token
// at once: whoever mended the cause need not wait. One that is switched off
// stays so.
func (b *Broker) Reconnect(ctx context.Context, id string) (Token, error) {
	var provider string
	err := b.change(ctx, id, func(g *account.Grant) error {
		if serves(g.State) != nil {
			return serves(g.State)
		}
		g.Failures = nil
		g.State = standing(g)
		provider = g.Provider
		return nil
	})
	if err != nil {
		return Token{}, err
	}
	b.client.clear(provider)
	if p, ok := b.provider(provider); ok && p.pool != "" {
		if err := b.forgivePool(ctx, p); err != nil {
			return Token{}, err
		}
	}
	return b.Token(ctx, id, "", Options{Force: true})
}

// forgivePool forgets the failures of the provider's shared grant, which are
// those of each of its accounts.
func (b *Broker) forgivePool(ctx context.Context, p *named) error {
	h, err := b.own(ctx, p.pool, true)
	if err != nil {
		return err
	}
	defer b.disown(h)
	e, err := b.loadFor(p, p.pool)
	if err != nil {
		return err
	}
	_, err = b.revise(ctx, nil, e.grant, func(g *account.Grant) error {
		if len(g.Failures) == 0 {
			return errUnchanged
		}
		g.Failures = nil
		return nil
	})
	return err
}
