package broker

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

const (
	// doubt is when a grant that the provider called dead is tried once more
	// before that is believed for good.
	doubt = 5 * time.Minute
	// audienceAgain is when an audience that was refused is tried again.
	audienceAgain = time.Hour
	// deadAgain is when a grant that the provider called dead is tried again
	// where nobody can connect it anew.
	deadAgain = time.Hour
	// An unlisted error is tried again after a minute, then ever later.
	unlistedAgain, unlistedAtMost = time.Minute, time.Hour
	// clientAgain is when a client that was refused is tried again; a new
	// configuration tries at once.
	clientAgain = time.Minute
	// lastMoment is how long before its end a token is no longer waited for: it
	// may have ended when it is served.
	lastMoment = time.Second
	// retryAfterAtMost is what callers are told at most.
	retryAfterAtMost = 30 * time.Second
)

// mayRefresh returns the problem that stands against a token request for the
// grant now, if one does.
func (b *Broker) mayRefresh(p *named, g *account.Grant, n need) error {
	now := b.clock.Now()
	switch {
	case g.Provider != p.Name():
		// A refresh token never goes to another provider's endpoint.
		return superseded()
	case serves(g.State) != nil:
		return serves(g.State)
	case g.Unadopted || g.State == account.Restored:
		return problem.New(problem.AccountDisabled, "The account was restored from a backup or an import and is not renewed until it is adopted")
	case p.unattended():
		if g.ClientID != p.ClientID() {
			return nil // what another client was told says nothing of this one
		}
	case g.RefreshToken.IsZero():
		return dead("Refresh token not provided")
	case g.ClientID != "" && g.ClientID != p.ClientID():
		return problem.New(problem.ProviderMisconfigured, fmt.Sprintf(
			"The account's grant was given to another client than the one that provider %s is now configured with; restore client_id, or connect the account anew", p.Name()))
	}
	if err := p.narrowable(g, n); err != nil {
		return err
	}
	for _, subject := range []string{account.WholeGrant, n.subject()} {
		if f := g.Failed(subject); f != nil && (f.Retry.IsZero() || now.Before(f.Retry)) {
			return b.problemOf(p.Name(), *f, now)
		}
	}
	return nil
}

// mayRepeat returns the problem that stands against a token request for a grant
// whose last one has an unknown outcome. If it was answered, its refresh token
// is spent.
func (b *Broker) mayRepeat(p *named, g *account.Grant, n need) error {
	const unknown = "The outcome of the last token request is unknown"
	now := b.clock.Now()
	if g.Intent.Owner != b.owner && (b.saving(now) || b.starting(now) && !forgiven(p, g.Intent, now)) {
		return unavailable(unknown+": the node that sent it may yet save its answer", saveFirst)
	}
	if p.Rotation().Kind == account.RotationSingleUse {
		// To send a spent one again is a replay, which ends the grant and with
		// it the tokens that still live: they are used up first.
		if end := lastExpiry(g, n); end.After(now.Add(lastMoment)) {
			return unavailable(unknown, end.Sub(now))
		}
	}
	return nil
}

// forgiven reports whether the provider answers the request once more.
func forgiven(p Provider, in *account.Intent, now time.Time) bool {
	switch r := p.Rotation(); r.Kind {
	case account.RotationSingleUse:
		return false
	case account.RotationGrace:
		return now.Sub(in.Since) < r.Grace
	}
	return true
}

// subject names what a failure of the request for n is about, among the
// failures of the grant.
func (n need) subject() string {
	return account.Subject(n.audience, n.requested)
}

// fail writes the failure of a token request into the grant. Nothing that was
// stored is given up for it.
func fail(p *named, g *account.Grant, n need, f *account.Failure, now time.Time) {
	if f.Lost {
		g.Intent.Lost = true
		return
	}
	if f.Meaning == account.GrantDead || !g.Intent.Lost {
		// Any other answer leaves it unknown whether an earlier request, which
		// was not answered, spent the refresh token.
		g.Intent = nil
	}
	failed := account.Failed{Failure: *f, Audience: n.subject(), At: now, Times: 1}
	if f.Meaning == account.GrantDead {
		failed.Audience = account.WholeGrant
	}
	if old := g.Failed(failed.Audience); old != nil && old.Meaning == f.Meaning {
		failed.Times = old.Times
		if !old.At.Equal(now) { // else it was written already
			failed.Times++
		}
	}
	switch f.Meaning {
	case account.GrantDead:
		switch {
		case failed.Times == 1:
			failed.Retry = now.Add(doubt)
		case p.unattended():
			failed.Retry = now.Add(deadAgain)
		}
		if g.State != account.Disabled {
			g.State = account.AuthenticationError
		}
	case account.AudienceRefused:
		failed.Retry = now.Add(audienceAgain)
	case account.Unlisted:
		wait := min(unlistedAgain<<min(failed.Times-1, 6), unlistedAtMost)
		failed.Retry = now.Add(jitter(wait))
	case account.Throttled:
		if blamesEndpoint(f) {
			return
		}
		// This grant alone asked too often.
		wait := jitter(probeWait(failed.Times))
		failed.Retry = now.Add(max(wait, min(f.RetryAfter, maxRetryAfter)))
	default:
		return // says nothing of this grant
	}
	g.SetFailed(failed)
}

// lastExpiry is when the last of the grant's tokens ends, but for those that
// will not do for n: they are worth nothing.
func lastExpiry(g *account.Grant, n need) time.Time {
	var end time.Time
	for i := range g.Access {
		t := &g.Access[i]
		if t.Audience == n.audience && t.Requested == n.requested && t.Number <= n.notNumber {
			continue
		}
		if t.Expires.After(end) {
			end = t.Expires
		}
	}
	return end
}

// failed is what callers are told of a token request that failed.
func (b *Broker) failed(g *account.Grant, n need, err error) error {
	f := asFailure(err)
	failed := account.Failed{Failure: *f, At: b.clock.Now()}
	subject := n.subject()
	if f.Meaning == account.GrantDead {
		subject = ""
	}
	if kept := g.Failed(subject); kept != nil && kept.Meaning == f.Meaning {
		failed.Retry = kept.Retry
	}
	return b.problemOf(g.Provider, failed, b.clock.Now())
}

// problemOf puts a failure into the words of the HTTP API. The failure itself
// is the problem's cause, for dialects that say more.
func (b *Broker) problemOf(provider string, f account.Failed, now time.Time) *problem.Problem {
	reason := f.Failure.Sentence()
	wait := max(f.RetryAfter, f.Retry.Sub(now))
	var p *problem.Problem
	switch f.Meaning {
	case account.GrantDead:
		p = dead("The provider " + provider + " ended the account's grant: " + reason)
	case account.AudienceRefused:
		p = problem.New(problem.InsufficientScope, reason).With("authenticationFailed", false)
	case account.ClientMisconfigured:
		p = problem.New(problem.ProviderMisconfigured, "The provider "+provider+" refuses its client: "+reason).With("authenticationFailed", false)
	case account.Unlisted:
		says := "The provider " + provider + " answered with an error that is not known: " + f.Failure.Name()
		switch {
		case f.Failure.Reads != "" && f.Failure.Code == "":
			says = "The provider " + provider + " gives no token: " + reason
		case f.Failure.Reads != "":
			says = "The provider " + provider + " gives no token (" + f.Failure.Name() + "): " + reason
		}
		p = problem.New(problem.ProviderError, says).With("authenticationFailed", false)
		p.RetryAfter = atMost(wait)
	default:
		p = unavailable("The provider "+provider+" is not available: "+reason, wait)
	}
	return p.Because(&f.Failure)
}

// dead is the problem of a grant that only a person can mend.
func dead(message string) *problem.Problem {
	return problem.New(problem.OAuthRenewError, message).With("authenticationFailed", true)
}

// unavailable is a problem that passes by itself.
func unavailable(message string, wait time.Duration) *problem.Problem {
	p := problem.New(problem.ProviderUnavailable, message).With("authenticationFailed", false)
	p.RetryAfter = atMost(wait)
	return p
}

func atMost(wait time.Duration) time.Duration {
	return min(max(wait, time.Second), retryAfterAtMost)
}

// misconfigured remembers which providers refuse their client. No account is
// to blame, so no account is told apart: none is tried until it is time again.
type misconfigured struct {
	mu      sync.Mutex
	clients map[string]account.Failed
}

// mark remembers f and reports whether it is news.
func (m *misconfigured) mark(provider string, f *account.Failure, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clients == nil {
		m.clients = make(map[string]account.Failed)
	}
	_, known := m.clients[provider]
	m.clients[provider] = account.Failed{Failure: *f, At: now, Retry: now.Add(clientAgain)}
	return !known
}

func (m *misconfigured) clear(provider string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.clients, provider)
}

// refused returns what the provider said of its client, while it is too early
// to ask again.
func (m *misconfigured) refused(provider string, now time.Time) *account.Failed {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.clients[provider]
	if !ok || !now.Before(f.Retry) {
		return nil
	}
	return &f
}

// claim is refused, but for the first to ask once the time is over: what that
// request learns, the others wait for.
func (m *misconfigured) claim(provider string, now time.Time) *account.Failed {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.clients[provider]
	if !ok {
		return nil
	}
	if now.Before(f.Retry) {
		return &f
	}
	f.Retry = now.Add(clientAgain)
	m.clients[provider] = f
	return nil
}

// An account's token is renewed for an API that refuses it a few times in a
// row, then seldom: an API that refuses every token must not have each call
// become a token request.
const (
	insistEvery = 20 * time.Second
	insistBurst = 3
	insistKept  = 10_000
)

// insistence bounds renewals that APIs' refusals ask for, by account and scope
// set: that of one key must not keep another's from being renewed.
type insistence struct {
	mu       sync.Mutex
	limiters map[string]*rate.Limiter
}

func (i *insistence) allow(id string, now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	l := i.limiters[id]
	if l == nil {
		if i.limiters == nil || len(i.limiters) >= insistKept {
			i.limiters = make(map[string]*rate.Limiter)
		}
		l = rate.NewLimiter(rate.Every(insistEvery), insistBurst)
		i.limiters[id] = l
	}
	return l.AllowN(now, 1)
}
