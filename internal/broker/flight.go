package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
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

// fly brings a token that meets n, here or where another process is at it.
func (b *Broker) fly(p *named, id string, n need) (Token, error) {
	t, err := b.attempt(p, id, n, time.Time{})
	if errors.Is(err, errElsewhere) {
		return b.elsewhere(p, id, n)
	}
	return t, err
}

// attempt is one try of fly: under the grant's lock it reads again what is
// known, and only if that will not do it sends a token request. Whatever fails,
// a token that still lives is served until its end. Until the given time it
// leaves with errElsewhere where another process renews the grant; zero is for
// the first try, which believes what is in memory.
func (b *Broker) attempt(p *named, id string, n need, until time.Time) (Token, error) {
	h, err := b.own(b.running, id, !n.ahead)
	if err != nil {
		return Token{}, closing()
	}
	defer b.disown(h)

	first := until.IsZero()
	if !first {
		b.reread(b.running, id)
	}
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
	switch {
	case err == nil:
		b.schedule(id, t)
		return handOut(t, Refreshed), nil
	case errors.Is(err, errSatisfied):
		b.schedule(id, t)
		return handOut(t, Waited), nil
	case errors.Is(err, errElsewhere) && (first || b.clock.Now().Before(until)):
		return Token{}, errElsewhere
	case errors.Is(err, errElsewhere):
		err = unavailable("Another node renews the account's token", time.Second)
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

// errSatisfied: another process has brought what is needed.
var errSatisfied = errors.New("another process has renewed the grant")

// refresh sends one token request for the grant whose lock is held. It returns
// the grant as it stands afterwards, whatever happened; with errSatisfied the
// token that the store has, with errElsewhere nothing was sent.
//
// The order is the whole point: lease, intent durable, request, answer durable,
// and only then the token is given to anyone.
func (b *Broker) refresh(p *named, h *hold, g *account.Grant, n need) (*account.Grant, *account.AccessToken, error) {
	if err := b.mayRefresh(p, g, n); err != nil {
		return g, nil, err
	}
	if in := g.Intent; in != nil && in.Owner == b.owner { // of another's the lease tells what became
		if err := b.mayRepeat(p, g, n); err != nil {
			return g, nil, err
		}
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
	l, err := b.lease(g)
	if err != nil {
		place.withdraw()
		return g, nil, err
	}
	defer l.release()
	in, err := b.intend(p, l, g, n)
	if err != nil {
		place.withdraw()
		return in.grant, in.token, err
	}
	return b.send(p, place, l, in, n)
}

// send sends the token request that was intended, and makes durable what became
// of it.
func (b *Broker) send(p *named, place ticket, l *lease, in intended, n need) (*account.Grant, *account.AccessToken, error) {
	g := in.grant
	before, begun := g.State, b.clock.Now()
	answer, err := b.request(p, l, g, n)
	if err != nil && l.unwritten() {
		place.withdraw()
		b.withdraw(in)
		return g, nil, errElsewhere
	}
	failure := p.sorted(asFailure(err))
	place.leave(failure)
	took := b.clock.Since(begun)
	if failure == nil {
		failure = p.broader(g, n, answer)
	} else {
		answer.AccessToken = secret.String{} // whatever it is, it is none that was given
	}

	g, err = b.settle(g, result(p, g, n, answer, failure, begun, b.clock.Now()))
	b.observer.Refreshed(p.Name(), outcome(failure), took)
	if err != nil {
		return g, nil, err
	}
	b.tell(p.Name(), g, n, before, answer, failure)
	b.compareClocks(p.Name(), answer, begun, took)
	if failure != nil {
		return g, nil, b.failed(g, n, failure)
	}
	return g, g.FindAccess(n.audience, n.requested), nil
}

// intended is a grant with the intent of a token request.
type intended struct {
	grant *account.Grant
	// before is the intent that was there, if the outcome of an earlier request
	// is unknown.
	before *account.Intent
	// token is what satisfies the need, with errSatisfied.
	token *account.AccessToken
}

// intend makes it durable that a token request is about to be sent. It goes by
// what the store has, now that nobody else can be about to send one.
func (b *Broker) intend(p *named, l *lease, g *account.Grant, n need) (intended, error) {
	in, insisted := intended{}, n.notNumber == 0 || n.force
	next, err := b.revise(b.running, l, g, func(g *account.Grant) error {
		// Much may have happened while a place was waited for, and somebody
		// outside this process may have written.
		now := b.clock.Now()
		if g.Provider == p.name && serves(g.State) == nil && !p.foreign(g) {
			if in.token, _ = b.satisfies(g, n, now); in.token != nil {
				return errSatisfied
			}
		}
		if err := b.mayRefresh(p, g, n); err != nil {
			return err
		}
		if g.Intent != nil {
			if err := b.mayRepeat(p, g, n); err != nil {
				return err
			}
		}
		if insisted = insisted || b.insist.allow(account.Subject(g.ID, n.requested), now); !insisted {
			return unavailable("The account's tokens were refused too often in a short time", insistEvery)
		}
		p.take(g)
		in.before = g.Intent
		unknown := g.Intent != nil // and stays so until an answer settles it
		g.Attempts++
		g.Intent = &account.Intent{Number: g.Attempts, Owner: b.owner, Since: now, Audience: n.audience, Lost: unknown}
		return nil
	})
	if in.grant = next; next == nil {
		in.grant = g // it could not be read again
	}
	if errors.Is(err, store.ErrFenced) {
		err = errElsewhere
	}
	return in, err
}

// withdraw takes back the intent of a request that was not sent. Where that
// fails, or another process has gone on since, what was sent counts as unknown.
func (b *Broker) withdraw(in intended) {
	number := in.grant.Intent.Number
	_, err := b.revise(context.Background(), nil, in.grant, func(g *account.Grant) error {
		if g.Generation != in.grant.Generation || g.Attempts != number || g.Intent == nil {
			return errUnchanged
		}
		g.Intent = in.before
		return nil
	})
	if err != nil {
		b.log.Warn("taking back the intent of a token request that was not sent", "account", in.grant.ID, "error", err)
	}
}

// request sends the token request. It has its own deadline and no one's
// context but the process's: the answer may hold the only valid refresh token.
func (b *Broker) request(p Provider, l *lease, g *account.Grant, n need) (answer account.Answer, err error) {
	ctx, cancel := patience(b.clock, b.settings.Timeout)
	defer cancel()
	if l != nil {
		ctx = account.WithWriteCheck(ctx, l.mayWrite)
	}
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
		if g.Generation == generation && g.Attempts != number && succeeds(intended, g, a) {
			g.RefreshToken = a.RefreshToken
			if f == nil {
				succeed(g, n, number, a, begun, ended)
			}
			return nil // the intent is another process's
		}
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
			if honoured(a) {
				renewed(p, g, a, begun)
			}
			return nil
		}
		renewed(p, g, a, begun)
		succeed(g, n, number, a, begun, ended)
		return nil
	}
}

// succeeds reports whether the answer has the refresh token that came in the
// place of the one that the store still has: another process has taken the
// request for lost and is about to send the same one, or died before it did.
func succeeds(intended, stored *account.Grant, a account.Answer) bool {
	return !a.RefreshToken.IsZero() && !a.RefreshToken.Equal(intended.RefreshToken) && stored.RefreshToken.Equal(intended.RefreshToken)
}

// honoured reports whether the provider gave a token, be it one that must not be
// handed out.
func honoured(a account.Answer) bool { return !a.AccessToken.IsZero() }

// renewed writes into the grant that the provider honours it.
func renewed(p Provider, g *account.Grant, a account.Answer, begun time.Time) {
	g.Refreshed, g.Lapses = begun, lapse(p, a, begun)
	g.Intent = nil
	g.Forgive(account.WholeGrant)
	if g.State == account.Init || g.State == account.AuthenticationError {
		g.State = account.Connected
	}
	if g.User == "" {
		g.User = a.User
	}
}

// succeed writes the token of an answer into the grant.
func succeed(g *account.Grant, n need, number uint64, a account.Answer, begun, now time.Time) {
	g.Forgive(n.subject())
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
		Scopes:    n.granted(a),
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
