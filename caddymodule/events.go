package caddymodule

import (
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bellhop-proxy/bellhop/internal/broker"
)

// observer passes on what the broker tells to metrics, the log and Caddy's
// events app.
type observer struct{ app *App }

// Refreshed implements [broker.Observer].
func (o observer) Refreshed(provider, outcome string, took time.Duration) {
	metrics.refreshes.WithLabelValues(provider, outcome).Inc()
	metrics.refresh.WithLabelValues(provider).Observe(took.Seconds())
}

// Skewed implements [broker.Observer].
func (o observer) Skewed(provider string, by time.Duration) {
	metrics.skew.WithLabelValues(provider).Set(by.Seconds())
}

// Happened implements [broker.Observer]. Subscribers find the event's data
// under {event.data.*}: account, provider, audience, expires, reason, missing
// (the scopes that were asked for and not granted).
func (o observer) Happened(e broker.Event) {
	data := map[string]any{"provider": e.Provider}
	fields := []zap.Field{zap.String("provider", e.Provider)}
	add := func(name, value string) {
		if value != "" {
			data[name] = value
			fields = append(fields, zap.String(name, value))
		}
	}
	add("account", e.Account)
	add("audience", e.Audience)
	add("missing", strings.Join(e.Missing, " "))
	if !e.Expires.IsZero() {
		add("expires", e.Expires.UTC().Format(time.RFC3339))
	}
	if e.Failure != nil {
		add("reason", e.Failure.Sentence())
	}
	log := o.app.run.log.Info
	if e.Failure != nil {
		log = o.app.run.log.Error
	}
	log(eventSays[e.Name], fields...)
	o.app.run.events.Emit(o.app.run.ctx, string(e.Name), data)
}

// eventSays is how the log says an event.
var eventSays = map[broker.EventName]string{
	broker.AccountConnected:      "account connected",
	broker.AccountFailed:         "account needs to be connected anew",
	broker.AccountRecovered:      "account works again",
	broker.TokenRefreshed:        "access token renewed",
	broker.GrantExpiring:         "grant or client secret ends soon",
	broker.ProviderMisconfigured: "provider refuses its client",
}

var _ broker.Observer = observer{}
