package broker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// Registration is a grant that exists already and comes under Bellhop's care.
type Registration struct {
	ID       string
	Provider string
	Name     string
	User     string
	// Subject is who consented, where it is known.
	Subject string
	// Scopes are those of the grant; empty means the provider's.
	Scopes       []string
	RefreshToken secret.String
	// AccessToken, with AccessExpires, is one that still lives; optional.
	AccessToken   secret.String
	AccessExpires time.Time
}

// grant makes the record of a registration.
func (b *Broker) grant(r Registration) (*account.Grant, *named, error) {
	if err := account.CheckID(r.ID); err != nil {
		return nil, nil, problem.New(problem.InvalidRequest, err.Error())
	}
	if err := r.checkSizes(); err != nil {
		return nil, nil, err
	}
	p, ok := b.provider(r.Provider)
	if !ok {
		return nil, nil, problem.New(problem.InvalidRequest, "provider: there is no provider "+strconv.Quote(r.Provider)+" in the configuration; it has "+b.providerNames())
	}
	now := b.clock.Now()
	living := !r.AccessToken.IsZero() && r.AccessExpires.After(now)
	switch {
	case p.unattended() && !r.RefreshToken.IsZero():
		return nil, nil, problem.New(problem.InvalidRequest, "refreshToken: provider "+p.name+" takes none; it gives tokens by credentials of its own")
	case !p.unattended() && r.RefreshToken.IsZero() && r.AccessToken.IsZero():
		return nil, nil, problem.New(problem.InvalidRequest, "refreshToken: is missing")
	}
	if strings.ContainsAny(r.RefreshToken.Reveal(), " \t\r\n") {
		return nil, nil, problem.New(problem.InvalidRequest, "refreshToken: contains white space; one token and nothing else is expected")
	}
	g := &account.Grant{
		ID: r.ID, Provider: r.Provider, Name: r.Name, User: r.User, Subject: r.Subject, State: account.Init,
		Generation: uint64(now.UnixMilli()), ClientID: p.ClientID(), Scopes: r.Scopes,
		RefreshToken: r.RefreshToken, Created: now, Updated: now,
	}
	if living {
		g.State = account.Connected
		g.Attempts = 1
		g.SetAccess(account.AccessToken{
			Value: r.AccessToken, Number: 1, Audience: p.DefaultAudience(),
			Issued: now, Expires: r.AccessExpires,
		})
	}
	return g, p, nil
}

// Register adds an account. One that exists is left as it is: a refresh token
// that is older than the stored one would end the grant.
func (b *Broker) Register(ctx context.Context, r Registration) error {
	g, _, err := b.grant(r)
	if err != nil {
		return err
	}
	h, err := b.own(ctx, r.ID, true)
	if err != nil {
		return err
	}
	defer b.disown(h)
	if err := b.saveWaiting(ctx, r.ID); err != nil {
		return err
	}
	version, err := b.vault.Save(ctx, nil, g, 0, b.due(g), time.Time{})
	if errors.Is(err, store.ErrConflict) {
		return problem.New(problem.Conflict, "account "+strconv.Quote(r.ID)+" exists; to swap its grant for this one, ask for it to be replaced")
	}
	if err != nil {
		return storeProblem(err)
	}
	b.remember(g, version)
	return nil
}

// Replace swaps the grant of an account for a newer one, once the provider has
// given a token for it. The old grant stays when it does not.
func (b *Broker) Replace(ctx context.Context, r Registration) error {
	next, p, err := b.grant(r)
	if err != nil {
		return err
	}
	h, err := b.own(ctx, r.ID, true)
	if err != nil {
		return err
	}
	defer b.disown(h)
	if err := b.registered(ctx, r.ID); err != nil {
		return err
	}
	if err := b.keepable(r.ID); err != nil {
		return err
	}
	n := need{audience: p.DefaultAudience()}
	begun := b.clock.Now()
	answer, err := b.request(p, nil, next, n)
	if !answer.RefreshToken.IsZero() {
		next.RefreshToken = answer.RefreshToken
	}
	if err != nil {
		return b.failed(next, n, err)
	}
	next.Attempts++
	renewed(p, next, answer, begun)
	succeed(next, n, next.Attempts, answer, begun, b.clock.Now())
	_, err = b.settle(next, func(g *account.Grant) error {
		next.Generation = max(next.Generation, g.Generation+1)
		next.Attempts = max(next.Attempts, g.Attempts+1)
		next.Access[0].Number = next.Attempts
		next.Created = g.Created
		if next.Name == "" {
			next.Name = g.Name
		}
		if next.User == "" {
			next.User = g.User
		}
		*g = *next.Clone()
		return nil
	})
	if err != nil {
		return err
	}
	b.happened(Event{Account: r.ID, Provider: r.Provider}, AccountConnected)
	return nil
}

// Disable switches an account off; nothing of it is lost.
func (b *Broker) Disable(ctx context.Context, id string) error {
	return b.change(ctx, id, func(g *account.Grant) error {
		g.State = account.Disabled
		return nil
	})
}

// Enable undoes [Broker.Disable].
func (b *Broker) Enable(ctx context.Context, id string) error {
	var left *account.Intent
	err := b.change(ctx, id, func(g *account.Grant) error {
		if g.State != account.Disabled {
			return errUnchanged
		}
		if f := g.Failed(account.WholeGrant); f != nil && f.Code == withdrawn {
			g.Forgive(account.WholeGrant)
		}
		g.State = standing(g)
		left = g.Intent
		return nil
	})
	if left != nil {
		// Taken up as at start, and even if the store says that it failed: it
		// may have written.
		b.renewal.set(renewal{id: id, audience: left.Audience}, b.clock.Now())
	}
	return err
}

// standing is the state of an account that nobody switched off.
func standing(g *account.Grant) account.State {
	f := g.Failed(account.WholeGrant)
	switch {
	case g.Unadopted:
		return account.Restored
	case g.Generation == 0:
		return account.Pending // no consent was confirmed yet
	case f != nil && f.Meaning == account.GrantDead:
		return account.AuthenticationError
	case len(g.Access) > 0 || !g.Refreshed.IsZero():
		return account.Connected
	}
	return account.Init
}

// Rename changes what the operator calls an account and its login; an empty
// value leaves the old one. Where nobody consents, the login says whose the
// tokens are: those of another are forgotten, and what was said of that one.
func (b *Broker) Rename(ctx context.Context, id, name, user string) error {
	if err := checkNames(name, user); err != nil {
		return err
	}
	return b.change(ctx, id, func(g *account.Grant) error {
		if name != "" {
			g.Name = name
		}
		if user == "" || user == g.User {
			return nil
		}
		g.User = user
		if p, ok := b.provider(g.Provider); ok && p.unattended() {
			g.Access, g.Failures = nil, nil
			if g.State != account.Disabled {
				g.State = standing(g)
			}
		}
		return nil
	})
}

func (b *Broker) change(ctx context.Context, id string, change func(*account.Grant) error) error {
	h, err := b.own(ctx, id, true)
	if err != nil {
		return err
	}
	defer b.disown(h)
	if err := b.saveWaiting(ctx, id); err != nil {
		return err
	}
	if err := b.registered(ctx, id); err != nil {
		return err
	}
	_, err = b.update(ctx, id, change)
	return err
}

// Remove forgets an account; with revoke its grant is ended at the provider
// first, and when that fails the account stays.
func (b *Broker) Remove(ctx context.Context, id string, revoke bool) error {
	h, err := b.own(ctx, id, true)
	if err != nil {
		return err
	}
	defer b.disown(h)
	if err := b.saveWaiting(ctx, id); err != nil {
		return err
	}
	if err := b.registered(ctx, id); err != nil {
		return err
	}
	for {
		g, version, err := b.vault.Grant(ctx, id)
		if err != nil {
			return storeProblem(err)
		}
		if revoke {
			p, ok := b.provider(g.Provider)
			if !ok {
				return notConfigured(g.Provider)
			}
			if err := p.Revoke(ctx, g.RefreshToken); err != nil {
				return notRevoked(p.Name(), err)
			}
			revoke = false
		}
		err = b.vault.Remove(ctx, id, version)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return storeProblem(err)
		}
		b.cache.Invalidate(id)
		return nil
	}
}

// notRevoked is what callers are told of a grant that goes on at the provider.
func notRevoked(provider string, err error) error {
	f, answered := errors.AsType[*account.Failure](err)
	switch {
	case !answered: // there is nothing to ask
		return problem.New(problem.Conflict, "The grant cannot be ended from here: "+err.Error()).Because(err)
	case f.Meaning == account.ProviderDown, f.Meaning == account.Throttled:
		return unavailable("The provider "+provider+" did not end the grant: "+f.Sentence(), f.RetryAfter).Because(f)
	}
	return problem.New(problem.ProviderError, "The provider "+provider+" did not end the grant: "+f.Sentence()).Because(f)
}

func (b *Broker) providerNames() string {
	if len(b.providers) == 0 {
		return "none"
	}
	names := make([]string, 0, len(b.providers))
	for _, p := range b.providers {
		names = append(names, p.name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
