package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// await joins the flight that brings what n asks for, or starts it. The flight
// runs on its own: a caller that leaves cancels nothing.
func (b *Broker) await(ctx context.Context, p *named, id string, n need) (Token, error) {
	mine := false
	ch := b.flights.DoChan(n.key(id), func() (any, error) {
		mine = true
		return b.fly(p, id, n)
	})
	select {
	case <-ctx.Done():
		return Token{}, ctx.Err()
	case r := <-ch:
		token := r.Val.(Token)
		if token.Result == Refreshed && !mine {
			token.Result = Waited
		}
		return token, r.Err
	}
}

// key names the flight that serves all who need the same.
func (n need) key(id string) string {
	return fmt.Sprintf("%q %q %q %q %d %d %t %t %d", id, n.audience, n.requested, n.claims, n.minTTL, n.notNumber, n.force, n.ahead, n.since.Unix())
}

// fly brings a token that meets n: under the grant's lock it reads again what
// is known, and only if that will not do it sends a token request. Whatever
// fails, a token that still lives is served until its end.
func (b *Broker) fly(p *named, id string, n need) (Token, error) {
	h, err := b.own(b.running, id, !n.ahead)
	if err != nil {
		return Token{}, closing()
	}
	defer b.disown(h)

	e, err := b.loadFor(p, id)
	if err != nil {
		return Token{}, err
	}
	if e.grant.Provider != p.name {
		return Token{}, superseded() // another provider's token would go where this one's may
	}
	if t, _ := b.satisfies(e.grant, n, b.clock.Now()); t != nil && !p.foreign(e.grant) {
		if n.ahead {
			b.schedule(id, t)
		}
		return handOut(t, Waited), nil
	}
	g, t, err := b.refresh(p, h, e.grant, n)
	if err == nil {
		b.schedule(id, t)
		return handOut(t, Refreshed), nil
	}
	b.scheduleAgain(g, n, err)
	if t := living(g, n, b.clock.Now()); t != nil && g.Provider == p.name && !p.foreign(g) {
		b.log.Debug("serving a token that still lives", "account", id, "error", err)
		return handOut(t, Hit), nil
	}
	return Token{}, err
}

// living returns a token for n's audience that has not ended and is not one
// that the API refused. (A token that was only asked to be renewed, or to live
// longer, is still good.)
func living(g *account.Grant, n need, now time.Time) *account.AccessToken {
	t := g.FindAccess(n.audience, n.requested)
	if serves(g.State) != nil || t == nil || left(t, now) <= 0 || t.Number <= n.notNumber {
		return nil
	}
	return t
}

// refresh sends one token request for the grant whose lock is held. It returns
// the grant as it stands afterwards, whatever happened.
//
// The order is the whole point: intent durable, request, answer durable, and
// only then the token is given to anyone.
func (b *Broker) refresh(p *named, h *hold, g *account.Grant, n need) (*account.Grant, *account.AccessToken, error) {
	if err := b.mayRefresh(p, g, n); err != nil {
		return g, nil, err
	}
	if f := b.client.refused(p.Name(), b.clock.Now()); f != nil {
		return g, nil, b.problemOf(p.Name(), *f, b.clock.Now())
	}
	if !g.Unregistered {
		if err := b.keepable(g.ID); err != nil {
			return g, nil, err
		}
	}
	place, err := b.endpointFor(p.Name(), p.TokenEndpoint(g.Subject)).enter(b.running, h.wanted, b.settings.Workers)
	if err != nil {
		if b.running.Err() != nil {
			return g, nil, closing()
		}
		return g, nil, b.failed(g, n, err)
	}
	if f := b.client.claim(p.Name(), b.clock.Now()); f != nil {
		place.withdraw()
		return g, nil, b.problemOf(p.Name(), *f, b.clock.Now())
	}
	intended, err := b.intend(p, g, n)
	if err != nil {
		place.withdraw()
		if intended == nil {
			intended = g // it could not be read again
		}
		return intended, nil, err
	}
	g = intended

	before, begun := g.State, b.clock.Now()
	answer, err := b.request(p, g, n)
	failure := p.sorted(asFailure(err))
	place.leave(failure)
	took := b.clock.Since(begun)

	g, err = b.settle(g, result(p, g, n, answer, failure, begun, b.clock.Now()))
	b.observer.Refreshed(p.Name(), outcome(failure), took)
	if err != nil {
		return g, nil, err
	}
	b.tell(p.Name(), g, n, before, failure)
	b.compareClocks(p.Name(), answer, begun, took)
	if failure != nil {
		return g, nil, b.failed(g, n, failure)
	}
	return g, g.FindAccess(n.audience, n.requested), nil
}

// intend makes it durable that a token request is about to be sent.
func (b *Broker) intend(p *named, g *account.Grant, n need) (*account.Grant, error) {
	if n.notNumber != 0 && !n.force && !b.insist.allow(g.ID, b.clock.Now()) {
		return nil, unavailable("The account's tokens were refused too often in a short time", insistEvery)
	}
	return b.revise(b.running, g, func(g *account.Grant) error {
		// Much may have happened while a place was waited for, and somebody
		// outside this process may have written.
		if err := b.mayRefresh(p, g, n); err != nil {
			return err
		}
		p.take(g)
		unknown := g.Intent != nil // and stays so until an answer settles it
		g.Attempts++
		g.Intent = &account.Intent{Number: g.Attempts, Owner: b.owner, Since: b.clock.Now(), Audience: n.audience, Lost: unknown}
		return nil
	})
}

// request sends the token request. It has its own deadline and no one's
// context but the process's: the answer may hold the only valid refresh token.
func (b *Broker) request(p Provider, g *account.Grant, n need) (answer account.Answer, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), b.settings.Timeout)
	defer cancel()
	defer func() {
		// A panic here would end the process with every other request under
		// way. Its value is not shown: it may quote the answer.
		if v := recover(); v != nil {
			b.log.Error("the provider's code panicked", "provider", p.Name(), "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			answer, err = account.Answer{}, &account.Failure{
				Meaning: account.ProviderDown, Lost: true, Reads: "The token request ended in a fault of Bellhop's own.",
			}
		}
	}()
	return p.Refresh(ctx, account.RefreshRequest{
		RefreshToken: g.RefreshToken,
		Account:      accountOf(g),
		User:         g.User,
		Audience:     n.audience,
		Scopes:       account.ParseScopes(n.requested),
		GrantScopes:  granted(g),
		Claims:       n.claims,
		ClientAuth:   g.ClientAuth,
		Subject:      g.Subject,
	})
}

// result is the change that a token request makes to the grant that intended
// it. It may be made again on what the store has later, and changes nothing
// when it was made there already.
func result(p *named, intended *account.Grant, n need, a account.Answer, f *account.Failure, begun, ended time.Time) func(*account.Grant) error {
	generation, number := intended.Generation, intended.Intent.Number
	return func(g *account.Grant) error {
		if g.Generation != generation || g.Attempts != number {
			return errSuperseded
		}
		if t := g.FindAccess(n.audience, n.requested); g.Intent == nil && (f != nil || t != nil && t.Number == number) {
			return errUnchanged
		}
		if !a.RefreshToken.IsZero() {
			g.RefreshToken = a.RefreshToken
		}
		if f != nil {
			if !a.RefreshToken.IsZero() {
				g.Intent.Lost = false // what is held now was never sent
			}
			fail(p, g, n, f, ended)
			return nil
		}
		succeed(p, g, n, number, a, begun, ended)
		return nil
	}
}

// succeed writes the answer of a token request into the grant.
func succeed(p Provider, g *account.Grant, n need, number uint64, a account.Answer, begun, now time.Time) {
	g.Refreshed, g.Lapses = begun, lapse(p, a, begun)
	g.Intent = nil
	g.Forgive(account.WholeGrant)
	g.Forgive(n.subject())
	if g.State == account.Init || g.State == account.AuthenticationError {
		g.State = account.Connected
	}
	if g.User == "" {
		g.User = a.User
	}
	kept := g.Access[:0]
	for _, t := range g.Access {
		if t.Expires.After(now) {
			kept = append(kept, t)
		}
	}
	g.Access = kept
	g.SetAccess(account.AccessToken{
		Value:     a.AccessToken,
		Number:    number,
		Audience:  n.audience,
		Requested: n.requested,
		Scopes:    a.Scopes,
		Issued:    begun,
		Expires:   begun.Add(a.Life),
		Assumed:   a.Assumed,
	})
}

// asFailure is the provider's failure in err; nil for none.
func asFailure(err error) *account.Failure {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*account.Failure](err); ok {
		return f
	}
	return &account.Failure{Meaning: account.ProviderDown, Reads: "The token request failed.", Err: err}
}

func outcome(f *account.Failure) string {
	if f == nil {
		return "success"
	}
	return string(f.Meaning)
}
