package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// appRuntime is what the app makes of its configuration.
type appRuntime struct {
	ctx       caddy.Context
	log       *zap.Logger
	audit     *zap.Logger
	events    *caddyevents.App
	providers map[string]provider.Provider
	brokered  []broker.Provider
	listed    map[string]bool // API hosts by name: those that may be a metric's label
	settings  broker.Settings
	keys      map[string]*policy.Key // of the configuration, by hash
	// continuousAccess are the providers that honour claims challenges.
	continuousAccess map[string]bool
	// secretsEnd is when client secrets end, by provider, where that is known.
	secretsEnd map[string]time.Time
	store      storeOptions

	management http.Handler

	// open opens the store when somebody first needs it: apps start in no
	// order, so that a handler may come before Start. Validating a
	// configuration beside a running server must not open it at all.
	open func() (*service, error)

	used *used

	// publicURL is the scheme and host of links and redirect URIs; nil where
	// none is configured.
	publicURL *url.URL

	stop    context.CancelFunc
	stopped chan struct{}
}

// used is what the app has come by after it was provisioned.
type used struct {
	mu      sync.Mutex
	over    bool     // the configuration was cleaned up
	store   string   // the pooled store's key, once it is ours
	proxies []*proxy // those of the sites, for the admin endpoint
	// connects are those of the sites, for where people may be sent.
	connects []*connect
}

// service is what a configuration does with what is kept.
type service struct {
	*kept
	broker *broker.Broker
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "bellhop",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision resolves placeholders and builds the providers. It opens nothing.
func (a *App) Provision(ctx caddy.Context) error {
	run := &a.run
	run.ctx = ctx
	run.log = ctx.Logger()
	run.used = new(used)
	if err := a.validate(); err != nil {
		return err
	}
	if err := a.refuseUnserved(); err != nil {
		return err
	}
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading events app: %w", err)
	}
	run.events = events.(*caddyevents.App)
	if a.Audit != AuditOff {
		run.audit = run.log.Named("audit")
	}
	resolve := newResolver()
	if err := a.provisionStore(resolve); err != nil {
		return err
	}
	if err := a.provisionPublicURL(resolve); err != nil {
		return err
	}
	if err := a.provisionProviders(resolve); err != nil {
		return err
	}
	if err := a.provisionKeys(resolve); err != nil {
		return err
	}
	run.settings = a.Refresh.settings()
	run.open = sync.OnceValues(a.acquire)
	run.management = a.managementMux()
	a.warn()
	return registerMetrics(ctx.GetMetricsRegistry(), a)
}

// settings fills in the defaults.
func (r *Refresh) settings() broker.Settings {
	if r == nil {
		r = new(Refresh)
	}
	workers := r.Workers
	if workers == 0 {
		workers = broker.DefaultWorkers
	}
	return broker.Settings{
		Ahead:   r.Ahead.Or(broker.DefaultAhead),
		MinTTL:  r.MinTTL.Or(broker.DefaultMinTTL),
		Timeout: r.Timeout.Or(broker.DefaultTimeout),
		Workers: workers,

		Keepalive: r.Keepalive.Or(broker.DefaultKeepalive),
	}
}

// acquire opens the store or joins the running configuration at it.
func (a *App) acquire() (*service, error) {
	k, key, err := acquire(a.run.store, a.run.ctx.Slogger())
	if err != nil {
		return nil, err
	}
	a.run.used.mu.Lock()
	defer a.run.used.mu.Unlock()
	if a.run.used.over {
		// A request that outlived its configuration: nobody would give the
		// store back.
		release(key)
		return nil, problem.New(problem.StoreUnavailable, "Bellhop is shutting down")
	}
	a.run.used.store = key
	return &service{
		kept:   k,
		broker: broker.New(k.shared, a.run.brokered, a.run.settings, observer{a}, a.run.ctx.Slogger()),
	}, nil
}

// Start opens the store and begins to renew tokens ahead of their expiry.
func (a *App) Start() error {
	s, err := a.run.open()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	a.run.stop, a.run.stopped = stop, make(chan struct{})
	go func() {
		defer close(a.run.stopped)
		var foreseeing sync.WaitGroup
		defer foreseeing.Wait()
		foreseeing.Go(func() { a.foresee(ctx) })
		s.broker.Run(ctx)
	}()
	return nil
}

// Stop ends renewal in the background. Requests go on being served until
// Caddy's HTTP app has let the last one finish.
func (a *App) Stop() error {
	if a.run.stop != nil {
		a.run.stop()
		<-a.run.stopped
	}
	return nil
}

// Cleanup gives back the store. It also runs after a Provision that failed.
func (a *App) Cleanup() error {
	if a.run.used == nil {
		return nil
	}
	a.run.used.mu.Lock()
	defer a.run.used.mu.Unlock()
	a.run.used.over = true
	if a.run.used.store != "" {
		release(a.run.used.store)
		a.run.used.store = ""
	}
	return nil
}

// ready returns nil if tokens can be renewed and kept.
func (a *App) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := a.run.open()
	if err != nil {
		return err
	}
	return s.shared.Ready(ctx)
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
