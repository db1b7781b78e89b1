package broker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// Narrowing is a [Provider] that gives tokens with fewer scopes than a grant
// has.
type Narrowing interface {
	Provider
	// AudienceScopes are the scopes, of the account's own or else of the
	// provider's, that a token for this audience has; none where that is not
	// known.
	AudienceScopes(audience string, grantScopes []string) []string
	// MissingScopes are those of requested that are not among granted,
	// UnaskedScopes those of granted that are more than requested, whatever way
	// the server spells them.
	MissingScopes(requested, granted []string) []string
	UnaskedScopes(requested, granted []string) []string
}

// Narrows returns the problem of an account whose tokens cannot be narrowed,
// whatever its scopes are.
func (b *Broker) Narrows(ctx context.Context, id string) error {
	e, err := b.entry(ctx, id)
	if err != nil {
		return err
	}
	if p, ok := b.provider(e.grant.Provider); ok && p.narrowing == nil {
		return cannotNarrow(p.name)
	}
	return nil
}

func cannotNarrow(provider string) error {
	return problem.New(problem.NotAllowed, "Tokens of provider "+provider+
		" cannot be narrowed to scopes: each has all that was consented to. Limit the key by rules (allow) or presets instead").With("authenticationFailed", false)
}

// narrowable returns the problem that stands against narrowing the grant's
// token to what n asks for, which no request need be sent to find.
func (p *named) narrowable(g *account.Grant, n need) error {
	if n.requested == "" {
		return nil
	}
	if p.narrowing == nil {
		return cannotNarrow(p.name)
	}
	has := p.narrowing.AudienceScopes(n.audience, granted(g))
	if len(has) == 0 {
		return nil // only the provider knows
	}
	missing := p.narrowing.MissingScopes(account.ParseScopes(n.requested), has)
	if len(missing) == 0 {
		return nil
	}
	return problem.New(problem.InsufficientScope, "The account's grant does not have "+strings.Join(missing, " ")+
		", to which its token was to be narrowed: a narrower token has some of the grant's own scopes").With("authenticationFailed", false)
}

// broader is the failure of an answer that is good for more than n asks for:
// the token must not get to whom it was to be narrowed for. Nor is it kept as
// the grant's own, for which it may be too narrow. Without scopes an answer is
// what was asked for (RFC 6749 section 5.1), and one with scopes that cannot be read
// may be good for anything.
func (p *named) broader(g *account.Grant, n need, a account.Answer) *account.Failure {
	if n.requested == "" {
		return nil
	}
	if a.ScopesUnread {
		return &account.Failure{
			Meaning: account.Unlisted,
			Reads:   "It does not say which scopes a token has: asked for one with " + n.requested + " alone, it gave one with a `scope` that is no text.",
			Mend:    "Take the scopes off the key, and limit it by rules or presets instead.",
		}
	}
	unasked := p.narrowing.UnaskedScopes(account.ParseScopes(n.requested), a.Scopes)
	if len(unasked) == 0 {
		return nil
	}
	// What else it says is the server's own text.
	has := p.narrowing.AudienceScopes(n.audience, granted(g))
	told := slices.DeleteFunc(unasked, func(scope string) bool { return !account.IsSignInScope(scope) && !slices.Contains(has, scope) })
	more := "others"
	if len(told) > 0 {
		more = strings.Join(told, " ")
	}
	return &account.Failure{
		Meaning: account.Unlisted,
		Reads:   "It ignores narrowing: asked for a token with " + n.requested + " alone, it gave one with " + more + " too.",
		Mend:    "Take the scopes off the key, and limit it by rules or presets instead.",
	}
}

// granted are the scopes of the answer's token.
func (n need) granted(a account.Answer) []string {
	if a.Scopes == nil {
		return account.ParseScopes(n.requested)
	}
	return a.Scopes
}

// uses is when an account's narrower tokens were last handed out, by what a
// failure of theirs would be about: that one key still calls says nothing of
// another's scopes, and a token that nobody uses is not renewed.
type uses struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (u *uses) note(subject string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.at == nil {
		u.at = make(map[string]time.Time)
	}
	u.at[subject] = now
	if len(u.at) <= account.MaxNarrow {
		return
	}
	oldest := subject
	for s, at := range u.at {
		if at.Before(u.at[oldest]) {
			oldest = s
		}
	}
	delete(u.at, oldest)
}

// last is when the token was handed out; zero for long ago.
func (u *uses) last(subject string) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.at[subject]
}
