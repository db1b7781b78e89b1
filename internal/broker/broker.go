// Package broker is the heart of Bellhop: a fresh access token for an account,
// whoever asks and however often, without ever spending a refresh token twice
// or losing the one that came in its place.
//
// One call's way: [Broker.Token] finds a valid token in memory, or joins the
// flight that brings one (flight.go): it locks the grant, takes its lease among
// the processes on the store (lease.go), reads it again, writes its intent,
// sends the token request, makes the answer durable, and only then hands the
// token out. What a failure means for the grant is in verdict.go, how long to
// stay away from a token endpoint in endpoint.go, how memory stays true where
// other processes write to the store in follow.go.
package broker

import (
	"context"
	"log/slog"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// Provider is what the broker asks of an OAuth client at an authorization
// server.
type Provider interface {
	Name() string
	// ClientID is the OAuth client's. A grant of another one is not renewed.
	ClientID() string
	// DefaultAudience stands for an empty audience.
	DefaultAudience() string
	// TokenEndpoint is where the grant's token requests go.
	TokenEndpoint(subject string) string
	// Rotation is what becomes of a refresh token that was used.
	Rotation() account.Rotation
	// IdleLife is how long a refresh token lasts that nobody uses; 0 when that
	// is not known.
	IdleLife() time.Duration
	// Refresh sends one token request. Its error is an *account.Failure; even
	// then a refresh token in the answer is the newest one.
	Refresh(ctx context.Context, r account.RefreshRequest) (account.Answer, error)
	// Revoke ends the refresh token's grant at the provider.
	Revoke(ctx context.Context, token secret.String) error
}

// Settings are the timings of renewal.
type Settings struct {
	// Ahead is how long before its expiry a token is renewed; never more than
	// a quarter of its life.
	Ahead time.Duration
	// MinTTL is the least life of a token that is handed out; never more than
	// half of what Ahead comes to.
	MinTTL time.Duration
	// Timeout bounds one token request.
	Timeout time.Duration
	// Workers bounds the token requests under way at once to one provider.
	Workers int
	// Keepalive is how often an idle grant is renewed, at least.
	Keepalive time.Duration
}

// The settings where nothing else is said.
const (
	DefaultAhead     = 5 * time.Minute
	DefaultMinTTL    = 30 * time.Second
	DefaultTimeout   = 15 * time.Second
	DefaultWorkers   = 16
	DefaultKeepalive = 20 * 24 * time.Hour
)

// Broker serves the accounts of one configuration's providers. What must
// outlive the configuration it shares with its successor through a [Shared].
type Broker struct {
	*Shared
	providers []named
	settings  Settings
	observer  Observer
	log       *slog.Logger
	client    misconfigured
	skews     skews
	attending chan struct{} // a place for each account that is being looked after
}

// New makes a broker of the providers, on what it shares with other
// configurations' brokers.
func New(shared *Shared, providers []Provider, settings Settings, observer Observer, log *slog.Logger) *Broker {
	if settings.Keepalive == 0 {
		settings.Keepalive = DefaultKeepalive
	}
	shared.keepalive.Store(int64(settings.Keepalive))
	b := &Broker{
		Shared: shared, settings: settings,
		observer: observer, log: log, attending: make(chan struct{}, max(settings.Workers, 1)),
	}
	for _, p := range providers {
		b.providers = append(b.providers, newNamed(p))
	}
	return b
}

// named is a provider by its name. There are few: to compare names is quicker
// than to hash one, at every lookup of a token.
type named struct {
	name string
	Provider
	// covers is that of an [Unattended] provider; nil for one that people
	// consent to.
	covers func(accountID string) bool
	// narrowing is the provider itself; nil where it is not [Narrowing].
	narrowing Narrowing
	// pool is the ID of the grant that all of the provider's accounts share;
	// empty where each has its own.
	pool string
}

// provider returns the configuration's provider of that name.
func (b *Broker) provider(name string) (*named, bool) {
	for i := range b.providers {
		if b.providers[i].name == name {
			return &b.providers[i], true
		}
	}
	return nil, false
}

// Token is an access token as it is handed out.
type Token struct {
	// Value goes into the Authorization header.
	Value secret.String
	// Number tells this token from the grant's others, see
	// [Options.NotNumber].
	Number uint64
	// Scopes are those granted; nil when the provider did not say.
	Scopes []string
	// Expires is when it ends.
	Expires time.Time
	// Result says where it came from.
	Result Result
}

// Result is how a token was come by.
type Result string

// The results.
const (
	// Hit: it was at hand.
	Hit Result = "hit"
	// Refreshed: it was asked for on this call's behalf.
	Refreshed Result = "refreshed"
	// Waited: another call's request brought it.
	Waited Result = "waited"
	// Failed: there is none.
	Failed Result = "error"
)

// Options say which token will do.
type Options struct {
	// MinTTL is the least remaining life, where it is more than the
	// configured one. More than three quarters of the token's whole life
	// counts as that.
	MinTTL time.Duration
	// NotNumber is the number of a token that the API refused: it and older
	// ones will not do. Not more than a few renewals a minute are made for it.
	NotNumber uint64
	// Force asks for a new token; it is given at most once a minute for an
	// account, sooner the current one is.
	Force bool
	// Claims is a claims challenge that the next token must answer; NotNumber
	// or Force asks for that token.
	Claims string
	// Scopes narrow the token, where the provider is a [Narrowing] one: it is
	// good for no more than these of the grant's (RFC 6749 section 6).
	Scopes []string
	// Provider is whose token it must be, where the caller has decided by that
	// where it goes: the account may belong to another one since. Empty accepts
	// any.
	Provider string
}

// Account is what the rest of Bellhop may know of an account.
type Account struct {
	ID, Name, User string
	// Provider is the configured provider's name.
	Provider string
	State    account.State
	// Generation counts consents.
	Generation uint64
	// Registered is unset for an account that exists because its provider needs
	// no one's consent to give tokens for it.
	Registered bool
}

// Serves returns the problem of an account that nothing is done for now: it is
// switched off, or waits for its consent to be confirmed.
func (a Account) Serves() error { return serves(a.State) }

// Account returns the account, or the problem AccountNotFound.
func (b *Broker) Account(ctx context.Context, id string) (Account, error) {
	e, err := b.entry(ctx, id)
	if err != nil {
		return Account{}, err
	}
	g := e.grant
	return Account{ID: g.ID, Name: g.Name, User: g.User, Provider: g.Provider, State: g.State, Generation: g.Generation, Registered: !g.Unregistered}, nil
}

// Token returns an access token of the account for the audience (empty: the
// provider's default) that meets the options. Its error is a
// [*problem.Problem], or ctx's.
//
// A token that is at hand is returned without a lock or an allocation.
func (b *Broker) Token(ctx context.Context, id, audience string, o Options) (Token, error) {
	e, ok := b.cache.GetIfPresent(id)
	if !ok || e.grant.Unregistered && !b.stands(e.grant) {
		var err error
		if e, err = b.entry(ctx, id); err != nil {
			return Token{}, err
		}
	}
	p, ok := b.provider(e.grant.Provider)
	if !ok {
		return Token{}, notConfigured(e.grant.Provider)
	}
	if o.Provider != "" && o.Provider != p.name {
		return Token{}, superseded()
	}
	if audience == "" {
		audience = p.DefaultAudience()
	}
	n := need{audience: audience, minTTL: o.MinTTL, notNumber: o.NotNumber, force: o.Force, claims: o.Claims}
	if len(o.Scopes) > 0 {
		n.requested = account.ScopeKey(o.Scopes)
	}
	if err := serves(e.grant.State); err != nil {
		return Token{}, err
	}
	if err := p.narrowable(e.grant, n); err != nil {
		return Token{}, err
	}
	if p.pool != "" {
		return b.fromPool(ctx, p, e, n)
	}
	return b.from(ctx, p, e, n)
}

// from returns a token of the entry's grant.
func (b *Broker) from(ctx context.Context, p *named, e *entry, n need) (Token, error) {
	id, now := e.grant.ID, b.clock.Now()
	unix := now.UnixNano()
	if unix > b.news.trusted.Load() {
		return Token{}, untrusted()
	}
	e.used.Store(unix)
	if n.requested != "" {
		e.narrow.note(n.subject(), now)
	}
	t, aging := b.satisfies(e.grant, n, now)
	if t == nil || p.foreign(e.grant) {
		return b.await(ctx, p, id, n)
	}
	if aging && e.renewing.CompareAndSwap(false, true) {
		b.renewal.set(n.renewal(id), now)
	}
	return handOut(t, Hit), nil
}

func handOut(t *account.AccessToken, r Result) Token {
	return Token{Value: t.Value, Number: t.Number, Scopes: t.Scopes, Expires: t.Expires, Result: r}
}

// left is how long t has still to live. A monotonic clock stands still while
// the machine sleeps, and a wall clock may be set: the one that says less is
// believed.
func left(t *account.AccessToken, now time.Time) time.Duration {
	wall := time.Duration(t.Expires.UnixMilli()-now.UnixMilli()) * time.Millisecond
	return min(t.Expires.Sub(now), wall)
}

// ahead is how long before its expiry t is due for renewal.
func (b *Broker) ahead(t *account.AccessToken) time.Duration {
	return min(b.settings.Ahead, t.Life()/4)
}

// satisfies returns the grant's token that meets n at the time now, or nil,
// and whether it is due for renewal.
func (b *Broker) satisfies(g *account.Grant, n need, now time.Time) (t *account.AccessToken, aging bool) {
	t = g.FindAccess(n.audience, n.requested)
	if t == nil || t.Number <= n.notNumber {
		return nil, false
	}
	if n.force && now.Sub(newest(g)) >= forceInterval {
		return nil, false
	}
	if !n.since.IsZero() && t.Issued.Before(n.since) || t.Issued.Sub(now) > clockSlack {
		return nil, false // a token from the future has an end that is wrong
	}
	if n.ahead && inDoubt(g) {
		return nil, false // to ask the provider is the purpose, however fresh the token
	}
	ahead := b.ahead(t)
	least := min(b.settings.MinTTL, ahead/2)
	if n.ahead {
		least = ahead + time.Duration(spread*float64(ahead))
	}
	if n.minTTL > least {
		least = max(least, min(n.minTTL, t.Life()/4*3))
	}
	left := left(t, now)
	if left <= least {
		return nil, false
	}
	return t, left < ahead
}

// need is what a caller asks for; equal needs share one flight.
type need struct {
	audience  string
	requested string
	claims    string
	minTTL    time.Duration
	notNumber uint64
	force     bool
	// ahead asks for a token that is not due for renewal, as background work
	// does.
	ahead bool
	// since asks for a token that was asked for later, to keep a grant alive.
	since time.Time
}

// inDoubt reports whether only the provider can say how the grant stands: the
// outcome of a token request is unknown, or the grant was called dead.
func inDoubt(g *account.Grant) bool {
	return g.Intent != nil || g.State == account.AuthenticationError
}

// forceInterval is how often an account's token is renewed because somebody
// insists.
const forceInterval = time.Minute

// clockSlack is how far in the future a token may have been asked for.
const clockSlack = 10 * time.Second

// newest is when the grant's last access token was asked for.
func newest(g *account.Grant) time.Time {
	var at time.Time
	for i := range g.Access {
		if g.Access[i].Issued.After(at) {
			at = g.Access[i].Issued
		}
	}
	return at
}

// serves returns the problem of a state in which nothing at all is handed out.
func serves(state account.State) error {
	switch state {
	case account.Disabled:
		return problem.New(problem.AccountDisabled, "Account is disabled")
	case account.Pending:
		return problem.New(problem.AccountDisabled, "Account waits for its consent to be confirmed")
	}
	return nil
}

func notConfigured(provider string) error {
	return problem.New(problem.ProviderMisconfigured, "The account's provider "+provider+" is not in the configuration")
}
