package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// ErrOtherSubject is in the error for a consent of somebody else than the
// person who is known, or of whom nothing proves that it is the same one.
var ErrOtherSubject = errors.New("the consent is another person's")

// ErrNoRefreshToken is in the error for a consent that could not be renewed.
var ErrNoRefreshToken = errors.New("the consent came without a refresh token")

// Grant returns a copy of all that is known of an account, or the problem
// AccountNotFound.
func (b *Broker) Grant(ctx context.Context, id string) (*account.Grant, error) {
	e, err := b.entry(ctx, id)
	if err != nil {
		return nil, err
	}
	return e.grant.Clone(), nil
}

// Connect stores a consent: of a new account, or in the place of the grant that
// an account had. An account that is switched off stays so, and has the new
// grant once it is enabled. With a Confirm the consent waits beside the old
// grant, see [Broker.Confirm].
//
// What cannot be saved is kept in memory, served, and saved as soon as
// possible.
func (b *Broker) Connect(ctx context.Context, c account.Connection) (account.ConnectResult, error) {
	if err := account.CheckID(c.ID); err != nil {
		return account.ConnectResult{}, problem.New(problem.InvalidRequest, err.Error())
	}
	p, err := b.consentedTo(c.Provider)
	if err != nil {
		return account.ConnectResult{}, err
	}
	h, err := b.own(ctx, c.ID, true)
	if err != nil {
		return account.ConnectResult{}, err
	}
	defer b.disown(h)
	if err := b.saveWaiting(ctx, c.ID); err != nil {
		return account.ConnectResult{}, err
	}

	now := b.clock.Now()
	blank := &account.Grant{
		ID: c.ID, Provider: c.Provider, Name: c.Name, User: cmp.Or(c.User, c.Consent.Identity.Email),
		State: account.Pending, Created: now,
	}
	if !c.Confirm.IsZero() && blank.User == c.Consent.Identity.Email {
		blank.User = "" // whose account it will be, the confirmation says
	}
	g := blank
	if e, err := b.load(ctx, c.ID); err == nil && !e.grant.Unregistered {
		g = e.grant
	} else if err != nil && !isGone(err) {
		return account.ConnectResult{}, err
	}
	n := &newConsent{
		p: p, now: now, Consent: c.Consent, anySubject: c.AnySubject, name: c.Name, user: c.User,
		generation: max(uint64(now.UnixMilli()), g.Generation+1),
	}
	change := n.replace
	if !c.Confirm.IsZero() {
		change = n.propose(c.Confirm, c.ConfirmBy)
	}
	var isNew bool
	g, err = b.keep(g, blank, func(g *account.Grant) error {
		isNew = g.Updated.IsZero()
		return change(g)
	})
	if err != nil {
		return account.ConnectResult{}, err
	}
	if c.Confirm.IsZero() {
		b.connected(n, g)
	}
	return account.ConnectResult{New: isNew, State: g.State, Generation: n.generation}, nil
}

// Confirm puts the consent that waits for the account in the place of its
// grant, if value is what [Broker.Connect] was given to confirm it.
func (b *Broker) Confirm(ctx context.Context, id string, value secret.String) error {
	h, err := b.own(ctx, id, true)
	if err != nil {
		return err
	}
	defer b.disown(h)
	if err := b.saveWaiting(ctx, id); err != nil {
		return err
	}
	e, err := b.load(ctx, id)
	if err != nil {
		return err
	}
	p, err := b.consentedTo(e.grant.Provider)
	if err != nil {
		return err
	}
	n := &newConsent{p: p, now: b.clock.Now()}
	g, err := b.keep(e.grant, nil, func(g *account.Grant) error {
		if err := confirmable(g.Proposed, value, n.now); err != nil {
			return refusal{err}
		}
		n.Consent, n.anySubject, n.generation = g.Proposed.Consent, g.Proposed.AnySubject, g.Proposed.Generation
		return n.replace(g)
	})
	if err != nil {
		return err
	}
	b.connected(n, g)
	return nil
}

// Withdraw is for the person who says that a consent was not theirs: the
// account is switched off until the operator enables it, if it still has the
// consent of that generation, and a consent that waits is dropped.
func (b *Broker) Withdraw(ctx context.Context, id string, generation uint64) error {
	failure := account.Failure{
		Meaning: account.GrantDead, Code: withdrawn,
		Reads: "The person who was asked to connect the account said afterwards that it was not them.",
		Mend:  "Find out who opened the link; then connect the account anew, with anyMailbox if that was somebody else, and enable it; or enable it if all was well.",
	}
	var told *Event
	err := b.change(ctx, id, func(g *account.Grant) error {
		told = nil
		switch proposed := g.Proposed; {
		case proposed != nil && proposed.Generation == generation:
			g.Proposed = nil
			return nil
		case g.Generation != generation:
			return problem.New(problem.Conflict, "account "+strconv.Quote(id)+" was connected anew since then, or its consent has been given up")
		case g.State == account.Disabled:
			return errUnchanged
		}
		g.State = account.Disabled
		g.SetFailed(account.Failed{Failure: failure, Audience: account.WholeGrant, At: b.clock.Now(), Times: 1})
		told = &Event{Account: g.ID, Provider: g.Provider, Failure: &failure}
		return nil
	})
	if err == nil && told != nil {
		b.happened(*told, AccountFailed)
	}
	return err
}

// withdrawn is the code of the failure that [Broker.Withdraw] leaves.
const withdrawn = "consent_withdrawn"

// giveUp drops a consent that nobody confirmed in time. A new account stays,
// and waits for another consent.
func (b *Broker) giveUp(id, confirm string) {
	err := b.change(b.running, id, func(g *account.Grant) error {
		if g.Proposed == nil || g.Proposed.Confirm != confirm {
			return errUnchanged
		}
		g.Proposed = nil
		return nil
	})
	if err == nil {
		b.log.Info("a consent was not confirmed in time and is dropped", "account", id)
	}
}

// consentedTo returns a provider that people consent to.
func (b *Broker) consentedTo(name string) (*named, error) {
	p, ok := b.provider(name)
	switch {
	case !ok:
		return nil, notConfigured(name)
	case p.unattended():
		return nil, problem.New(problem.InvalidRequest, "provider: nobody consents to "+name+"; it gives tokens by credentials of its own")
	}
	return p, nil
}

// connected does what is to be done once a consent is in its place.
func (b *Broker) connected(n *newConsent, g *account.Grant) {
	b.client.clear(n.p.name)
	if t := g.FindAccess(n.audience(), ""); t != nil {
		b.schedule(g.ID, t)
	}
	name := AccountConnected
	if n.recovered {
		name = AccountRecovered
	}
	b.happened(Event{Account: g.ID, Provider: g.Provider, Missing: slices.Clone(g.Missing)}, name)
}

// newConsent is a consent on its way into a grant. Its changes may be made
// again on what the store has later.
type newConsent struct {
	account.Consent
	p          *named
	now        time.Time
	anySubject bool
	name, user string
	// generation becomes the grant's. A grant that has it, or a later one, is
	// not changed.
	generation uint64
	// recovered is set by replace for an account that had failed.
	recovered bool
}

func (n *newConsent) audience() string { return cmp.Or(n.Audience, n.p.DefaultAudience()) }

func (n *newConsent) asked() time.Time {
	if n.Asked.IsZero() {
		return n.now
	}
	return n.Asked
}

// check returns the problem that stands against the consent for the account.
func (n *newConsent) check(g *account.Grant) error {
	id := strconv.Quote(g.ID)
	switch who := n.Identity.Subject; {
	case g.Provider != n.p.name:
		return problem.New(problem.Conflict, "account "+id+" belongs to provider "+g.Provider+
			"; choose another ID for this consent, or remove the account first")
	case g.Generation == 0 || n.anySubject: // nobody is known, or need be
	case who == "":
		return problem.New(problem.Conflict, "the provider "+n.p.name+" does not say who consented, and account "+id+
			" is connected already: whether it is the same person cannot be known; add openid to the provider's scopes, configure its userinfo_endpoint, or allow any mailbox").Because(ErrOtherSubject)
	case g.Subject != "" && g.Subject != who:
		return problem.New(problem.Conflict, "the consent is not that of the person whose account "+id+" is").Because(ErrOtherSubject)
	}
	if n.Answer.RefreshToken.IsZero() && !n.renews(g) {
		return problem.New(problem.ProviderMisconfigured, "the provider "+n.p.name+" gave no refresh token, so that the account would end with its first access token; "+
			"Google gives one if prompt contains consent and access_type is offline, other providers if scopes has offline_access").Because(ErrNoRefreshToken)
	}
	return nil
}

// renews reports whether the refresh token that the grant has is good for the
// new consent too: it is the same person's for the same client, this process
// alone renews it, and the provider has not refused it.
func (n *newConsent) renews(g *account.Grant) bool {
	return !g.RefreshToken.IsZero() && g.Subject != "" && g.Subject == n.Identity.Subject &&
		g.ClientID == n.p.ClientID() && !g.Unadopted && g.State != account.Restored && g.Failed(account.WholeGrant) == nil
}

// replace puts the consent in the place of the grant's.
func (n *newConsent) replace(g *account.Grant) error {
	if g.Generation >= n.generation {
		return errSuperseded // by a newer one, or written though the store said that it failed
	}
	if err := n.check(g); err != nil {
		return refusal{err}
	}
	who, asked, other := n.Identity, n.asked(), g.Subject != n.Identity.Subject
	n.recovered = g.State == account.AuthenticationError
	if g.State != account.Disabled {
		g.State = account.Connected
	}
	if g.Name == "" {
		g.Name = n.name
	}
	if user := cmp.Or(n.user, who.Email); user != "" && (g.User == "" || other && g.Subject != "") {
		g.User = user
	}
	if other || who.Issuer != "" {
		g.Issuer = who.Issuer
	}
	g.Subject = who.Subject
	if !n.Answer.RefreshToken.IsZero() {
		// What is unknown of the old one is no matter any more.
		g.RefreshToken, g.Refreshed, g.Lapses = n.Answer.RefreshToken, asked, lapse(n.p, n.Answer, asked)
		g.Intent, g.Unadopted = nil, false
	}
	g.ClientID, g.ClientAuth = n.p.ClientID(), n.ClientAuth
	g.Scopes, g.Missing = slices.Clone(n.Scopes), slices.Clone(n.Missing)
	g.Generation = n.generation
	g.Failures, g.Proposed = nil, nil
	g.Attempts++
	g.Access = []account.AccessToken{{
		Value: n.Answer.AccessToken, Number: g.Attempts, Audience: n.audience(), Scopes: n.Answer.Scopes,
		Issued: asked, Expires: asked.Add(n.Answer.Life), Assumed: n.Answer.Assumed,
	}}
	return nil
}

// granted are the scopes that a renewal may ask for: those that were asked for
// and not refused (RFC 6749 section 6).
func granted(g *account.Grant) []string {
	if len(g.Missing) == 0 {
		return g.Scopes
	}
	return slices.DeleteFunc(slices.Clone(g.Scopes), func(scope string) bool { return slices.Contains(g.Missing, scope) })
}

// propose puts the consent beside the grant, where it waits.
func (n *newConsent) propose(confirm secret.String, until time.Time) func(*account.Grant) error {
	return func(g *account.Grant) error {
		if g.Generation >= n.generation {
			return errSuperseded
		}
		if err := n.check(g); err != nil {
			return refusal{err}
		}
		g.Proposed = &account.Proposal{
			Consent: n.Consent, AnySubject: n.anySubject, Generation: n.generation,
			Confirm: digest(confirm), Expires: until,
		}
		return nil
	}
}
