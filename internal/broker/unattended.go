package broker

import (
	"context"
	"strconv"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// Unattended is a [Provider] whose tokens come by credentials of its own:
// nobody consents, and there is no refresh token that could be spent or lost.
type Unattended interface {
	Provider
	// Covers reports whether an account exists under this ID though it was not
	// registered.
	Covers(accountID string) bool
	// Shared reports whether all accounts have the same tokens.
	Shared() bool
}

// poolPrefix begins the IDs of shared grants. No account's ID does.
const poolPrefix = "/"

func newNamed(p Provider) named {
	n := named{name: p.Name(), Provider: p}
	n.narrowing, _ = p.(Narrowing)
	if u, ok := p.(Unattended); ok {
		n.covers = u.Covers
		if u.Shared() {
			// Another client, or the same one elsewhere, has other tokens.
			n.pool = poolPrefix + strings.Join([]string{n.name, p.ClientID(), p.TokenEndpoint("")}, " ")
		}
	}
	return n
}

// unattended reports whether tokens come without anybody's consent.
func (p *named) unattended() bool { return p.covers != nil }

// foreign reports whether the grant's tokens are another client's, from a
// configuration before this one: nobody's consent says that they are still
// whose the account is.
func (p *named) foreign(g *account.Grant) bool {
	return p.unattended() && g.ClientID != p.ClientID()
}

// take makes the grant the client's where it needs nobody's consent for that,
// and forgets what another client was told and given.
func (p *named) take(g *account.Grant) {
	if p.foreign(g) {
		g.ClientID, g.Failures, g.Access = p.ClientID(), nil, nil
	}
}

// sorted is what a failure of a token request means for the provider's grants.
func (p *named) sorted(f *account.Failure) *account.Failure {
	if f == nil || !p.unattended() {
		return f
	}
	own := *f
	own.Lost = false // there is no refresh token that the request could have spent
	if p.pool != "" && own.Meaning == account.GrantDead {
		own.Meaning = account.ClientMisconfigured // whose else, where all accounts have one token
	}
	return &own
}

// covering returns the first provider of the configuration that has an account
// under the ID though it was not registered, or nil.
func (b *Broker) covering(id string) *named {
	if strings.HasPrefix(id, poolPrefix) {
		return nil
	}
	for i := range b.providers {
		if p := &b.providers[i]; p.unattended() && p.covers(id) {
			return p
		}
	}
	return nil
}

// stands reports whether the account of a grant that nobody registered still
// exists under this configuration, at the same provider and client.
func (b *Broker) stands(g *account.Grant) bool {
	p := b.covering(g.ID)
	return p != nil && p.name == g.Provider && p.ClientID() == g.ClientID
}

// serving returns the provider that renews the grant under this configuration.
func (b *Broker) serving(g *account.Grant) (*named, bool) {
	p, ok := b.provider(g.Provider)
	if ok && g.Unregistered {
		ok = p.pool == g.ID || b.stands(g)
	}
	return p, ok
}

// registered returns the problem of an account of which there is no record that
// could be changed. Its lock is held.
func (b *Broker) registered(ctx context.Context, id string) error {
	e, err := b.load(ctx, id)
	if err != nil {
		return err
	}
	if e.grant.Unregistered {
		return problem.New(problem.Conflict, "account "+strconv.Quote(id)+" is not registered: provider "+e.grant.Provider+
			" covers it by its subjects; register it under this ID first, or name it in subjects_except")
	}
	return nil
}

// fromPool returns a token that the account has in common with all others of
// its provider.
func (b *Broker) fromPool(ctx context.Context, p *named, own *entry, n need) (Token, error) {
	pool, err := b.poolOf(ctx, p)
	if err != nil {
		return Token{}, err
	}
	t, err := b.from(ctx, p, pool, n)
	if err == nil && own.grant.State == account.Init && !own.grant.Unregistered && own.renewing.CompareAndSwap(false, true) {
		_ = b.background(func() { b.firstServed(own.grant) })
	}
	return t, err
}

// firstServed takes an account out of the state in which it had no token.
func (b *Broker) firstServed(g *account.Grant) {
	err := b.change(b.running, g.ID, func(g *account.Grant) error {
		if g.State != account.Init {
			return errUnchanged
		}
		g.State = account.Connected
		return nil
	})
	if err == nil {
		b.happened(Event{Account: g.ID, Provider: g.Provider}, AccountConnected)
	}
}

// poolOf returns the provider's shared grant.
func (b *Broker) poolOf(ctx context.Context, p *named) (*entry, error) {
	if e, ok := b.cache.GetIfPresent(p.pool); ok {
		return e, nil
	}
	h, err := b.own(ctx, p.pool, true)
	if err != nil {
		return nil, err
	}
	defer b.disown(h)
	return b.loadFor(p, p.pool)
}

// loadFor returns what is known of a grant of the provider whose lock is held:
// an account's, or the shared one.
func (b *Broker) loadFor(p *named, id string) (*entry, error) {
	if id != p.pool {
		return b.load(b.running, id)
	}
	if e, ok := b.cache.GetIfPresent(id); ok {
		return e, nil
	}
	return b.remember(b.derive(p, id), 0), nil
}
