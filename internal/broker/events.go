package broker

import (
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// Observer is told what happens, for metrics and events. It must be quick, and
// is never told a secret.
type Observer interface {
	// Refreshed is called after each token request. The outcome is "success"
	// or the failure's meaning.
	Refreshed(provider, outcome string, took time.Duration)
	// Skewed is called after each token request whose answer had a time: by
	// how much the provider's clock is ahead of ours.
	Skewed(provider string, by time.Duration)
	// Happened is called for each event.
	Happened(Event)
}

// EventName names an event; operators subscribe to it under this name.
type EventName string

// The events.
const (
	// AccountConnected: an account got its first token, or a new consent.
	AccountConnected EventName = "account_connected"
	// AccountFailed: the provider ended a grant.
	AccountFailed EventName = "account_failed"
	// AccountRecovered: an account that had failed works again.
	AccountRecovered EventName = "account_recovered"
	// TokenRefreshed: a new access token came.
	TokenRefreshed EventName = "token_refreshed"
	// GrantExpiring: a grant lapses in some days, if nothing is done.
	GrantExpiring EventName = "grant_expiring"
	// ProviderMisconfigured: a provider refuses its client.
	ProviderMisconfigured EventName = "provider_misconfigured"
)

// Event is something an operator may want to hear of.
type Event struct {
	Name     EventName
	Account  string // empty where no account is concerned
	Provider string
	Audience string
	// Expires is when the new token ends, with TokenRefreshed, or the grant,
	// with GrantExpiring.
	Expires time.Time
	// Missing are the scopes that were not granted, with AccountConnected and
	// AccountRecovered.
	Missing []string
	// Failure says why, with AccountFailed and ProviderMisconfigured.
	Failure *account.Failure
}

// tell reports what a token request did to the account.
func (b *Broker) tell(provider string, g *account.Grant, n need, before account.State, a account.Answer, f *account.Failure) {
	event := Event{Account: accountOf(g), Provider: provider, Audience: n.audience}
	if honoured(a) {
		b.client.clear(provider)
		switch {
		case before == account.AuthenticationError:
			b.happened(event, AccountRecovered)
		case before == account.Init && !g.Unregistered:
			b.happened(event, AccountConnected)
		}
	}
	switch {
	case f == nil:
		event.Expires = g.FindAccess(n.audience, n.requested).Expires
		b.happened(event, TokenRefreshed)
	case f.Meaning == account.GrantDead && before != account.AuthenticationError:
		event.Failure = f
		b.happened(event, AccountFailed)
	case f.Meaning == account.ClientMisconfigured:
		if b.client.mark(provider, f, b.clock.Now()) {
			event.Account, event.Audience, event.Failure = "", "", f
			b.happened(event, ProviderMisconfigured)
		}
	}
	if f != nil {
		b.log.Warn("renewing an access token", "account", accountOf(g), "provider", provider, "audience", n.audience, "error", f)
	}
}

// happened tells the observer aside: a slow subscriber delays no token.
func (b *Broker) happened(e Event, name EventName) {
	e.Name = name
	_ = b.background(func() { b.observer.Happened(e) })
}
