package caddymodule

import (
	"context"
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellhop-proxy/bellhop/internal/broker"
)

// metrics are the process's: they count on across reloads. No label has an
// account, a key or a secret for its value.
var metrics = struct {
	tokens    *prometheus.CounterVec
	refreshes *prometheus.CounterVec
	refresh   *prometheus.HistogramVec
	proxied   *prometheus.CounterVec
	overhead  prometheus.Histogram
	replays   *prometheus.CounterVec
	denied    *prometheus.CounterVec
	skew      *prometheus.GaugeVec
	consents  *prometheus.CounterVec
}{
	tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bellhop_token_requests_total",
		Help: "Tokens asked of Bellhop, by where they came from: hit, refreshed, waited or error.",
	}, []string{"provider", "result"}),
	refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bellhop_refresh_total",
		Help: "Token requests to providers, by outcome: success, or the meaning of the failure.",
	}, []string{"provider", "outcome"}),
	refresh: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "bellhop_refresh_duration_seconds",
		Help:    "How long token requests to providers took.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
	}, []string{"provider"}),
	proxied: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bellhop_proxy_requests_total",
		Help: "Calls passed on to APIs, by the API's host and the status of the answer.",
	}, []string{"provider", "host", "code"}),
	overhead: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "bellhop_proxy_overhead_seconds",
		Help:    "Time from a call's arrival until it was passed on to the API, token included.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .05, .25, 1, 5, 15},
	}),
	replays: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bellhop_replays_total",
		Help: "Calls sent once more with a new token because the API refused the first.",
	}, []string{"provider"}),
	denied: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bellhop_denied_total",
		Help: "Calls that Bellhop refused or could not serve, by the code of the answer.",
	}, []string{"reason"}),
	skew: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "bellhop_clock_skew_seconds",
		Help: "By how much the provider's clock is ahead of this machine's, to a second.",
	}, []string{"provider"}),
	consents: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bellhop_consents_total",
		Help: "Attempts to connect an account, by what came of it: connected, pending, admin_consented, withdrawn, or why not.",
	}, []string{"provider", "result"}),
}

// registerMetrics makes them part of the configuration's registry.
func registerMetrics(registry *prometheus.Registry, a *App) error {
	var errs []error
	for _, collector := range []prometheus.Collector{
		metrics.tokens, metrics.refreshes, metrics.refresh, metrics.proxied,
		metrics.overhead, metrics.replays, metrics.denied, metrics.skew, metrics.consents,
		accountsCollector{a},
	} {
		errs = append(errs, registry.Register(collector))
	}
	return errors.Join(errs...)
}

// accountsCollector reads from the store what it keeps of all accounts: their
// numbers, and which grant lapses first.
type accountsCollector struct{ app *App }

var (
	accountsDesc = prometheus.NewDesc("bellhop_accounts", "Accounts in the store.", []string{"provider", "state"}, nil)
	secretDesc   = prometheus.NewDesc("bellhop_client_secret_expiry_seconds", "Time until the provider's client secret ends, where client_secret_expires says when.", []string{"provider"}, nil)
	expiryDesc   = prometheus.NewDesc("bellhop_grant_expiry_seconds", "Time until the first of the provider's grants lapses that is known to.", []string{"provider"}, nil)
)

// Describe implements [prometheus.Collector].
func (accountsCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- accountsDesc
	descs <- expiryDesc
	descs <- secretDesc
}

// Collect implements [prometheus.Collector].
func (c accountsCollector) Collect(collected chan<- prometheus.Metric) {
	for name, ends := range c.app.run.secretsEnd {
		collected <- prometheus.MustNewConstMetric(secretDesc, prometheus.GaugeValue, clock.Until(ends).Seconds(), name)
	}
	s, err := c.app.run.open()
	if err != nil {
		return // readiness says why
	}
	counts, err := s.vault.Counts(context.Background())
	if err != nil {
		return
	}
	for _, n := range counts {
		collected <- prometheus.MustNewConstMetric(accountsDesc, prometheus.GaugeValue, float64(n.Accounts), n.Provider, string(n.State))
	}
	for name := range c.app.run.providers {
		now := clock.Now()
		if at, err := s.vault.NextLapse(context.Background(), name, now); err == nil && !at.IsZero() {
			collected <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, at.Sub(now).Seconds(), name)
		}
	}
}

// countToken counts a token that was asked for.
func countToken(provider string, t broker.Token, err error) {
	result := t.Result
	if err != nil {
		result = broker.Failed
	}
	metrics.tokens.WithLabelValues(provider, string(result)).Inc()
}

// count counts a call that has ended.
func (a *App) count(c *call, status int) {
	if c.problem != nil {
		metrics.denied.WithLabelValues(string(c.problem.Code)).Inc()
	}
	if c.overhead == 0 {
		return // it was not passed on
	}
	metrics.overhead.Observe(c.overhead.Seconds())
	host := c.host
	if !a.run.listed[host] {
		host = otherHost
	}
	metrics.proxied.WithLabelValues(c.provider, host, strconv.Itoa(status)).Inc()
}

// otherHost stands for all hosts that a wildcard lets through.
const otherHost = "_other"
