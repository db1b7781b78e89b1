package broker

import (
	"context"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// Reconnect forgets why an account's token requests failed and asks for a token
// at once: whoever mended the cause need not wait. One that is switched off
// stays so.
func (b *Broker) Reconnect(ctx context.Context, id string) (Token, error) {
	err := b.change(ctx, id, func(g *account.Grant) error {
		if serves(g.State) != nil {
			return serves(g.State)
		}
		g.Failures = nil
		g.State = standing(g)
		b.client.clear(g.Provider)
		return nil
	})
	if err != nil {
		return Token{}, err
	}
	return b.Token(ctx, id, "", Options{Force: true})
}
