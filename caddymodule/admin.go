package caddymodule

import (
	"context"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// adminPrefix is where Bellhop stands on Caddy's admin endpoint.
const adminPrefix = "/bellhop"

// adminRoute is what its calls are named in the audit.
const adminRoute = "admin"

// adminAPI is Bellhop on Caddy's admin endpoint: the management API, the token
// endpoint and the proxy with the rights of whoever may use that endpoint. On
// a unix socket it asks for no key: the file's mode is the guard. On TCP every
// call needs an admin key.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.bellhop",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes implements [caddy.AdminRouter].
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPrefix + "/", Handler: caddy.AdminHandlerFunc(serveAdmin)}}
}

// serveAdmin finds the running app anew for each request: the routes are made
// before the apps, and also for configurations that fail later.
func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	active := caddy.ActiveContext()
	loaded, err := active.AppIfConfigured("bellhop")
	if err != nil && (active.Context == nil || caddy.Exiting()) {
		// The admin endpoint is there before the apps, and outlives them.
		p := problem.New(problem.StoreUnavailable, "Bellhop is starting or shutting down")
		p.RetryAfter = time.Second
		writeProblem(w, r, p, dialectEmailEngine)
		return nil
	}
	if err != nil {
		writeProblem(w, r, &problem.Problem{Code: "NotFound", Status: http.StatusNotFound, Message: "the running configuration has no `bellhop` global option"}, dialectEmailEngine)
		return nil
	}
	loaded.(*App).serveAdmin(w, r)
	return nil
}

func (a *App) serveAdmin(w http.ResponseWriter, r *http.Request) {
	// What Caddy's HTTP servers give each request, and its proxy relies on.
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	r = withoutPrefix(r, adminPrefix)
	c := &call{route: adminRoute}
	c.by(anyAccount)
	w, done := a.record(w, r, c)
	defer done()
	path := r.URL.EscapedPath()
	switch {
	case path == "/healthz":
		a.serveHealth(w, r)
		return
	case path == "/readyz":
		a.serveReadiness(w, r)
		return
	}
	if !onUnixSocket(r) {
		if err := checkUnlogged(r); err != nil {
			a.refuse(w, r, c, err, dialectEmailEngine)
			return
		}
		if err := a.admitAdmin(r, c, keyAuth{app: a}); err != nil {
			p := *problem.From(err)
			p.Message += ". On TCP every call needs an admin key: make the first one with `bellhop oauth key new --admin`, or put Caddy's admin endpoint on a unix socket"
			a.refuse(w, r, c, &p, dialectEmailEngine)
			return
		}
	}
	switch {
	case isTokenPath(path):
		id, err := tokenAccount(r)
		if err != nil {
			a.refuse(w, r, c, err, dialectEmailEngine)
			return
		}
		c.account = id
		a.answerToken(w, r, c, anyAccount)
	case strings.HasPrefix(path, defaultPrefix+"/"):
		a.proxyAsAdmin(w, r, c)
	default:
		a.run.management.ServeHTTP(w, r.WithContext(withCall(r.Context(), c)))
	}
}

// withoutPrefix is r without the beginning of its path, which holds no escapes.
func withoutPrefix(r *http.Request, prefix string) *http.Request {
	stripped := r.WithContext(r.Context())
	u := *r.URL
	u.Path = strings.TrimPrefix(u.Path, prefix)
	u.RawPath = strings.TrimPrefix(u.RawPath, prefix)
	stripped.URL = &u
	stripped.RequestURI = strings.TrimPrefix(r.RequestURI, prefix)
	return stripped
}

// checkUnlogged refuses a key where Caddy's log of its admin endpoint shows it,
// which is every header field but Authorization: there it is not to be used on.
func checkUnlogged(r *http.Request) error {
	if _, source, _ := policy.Bearer(r, false); source == policy.KeyHeader || source == policy.GoogleHeader {
		return problem.New(problem.InvalidRequest, "Caddy logs the header field "+string(source)+" of calls of its admin endpoint: "+
			"send the key as Authorization: Bearer <key>, and replace this one, which is in the log now")
	}
	return nil
}

func onUnixSocket(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && strings.HasPrefix(local.Network(), "unix")
}

// anyAccount is the key of who may use the admin endpoint.
var anyAccount = &policy.Key{Name: "admin endpoint", Accounts: []string{"*"}, Token: true, Admin: true}

// proxyAsAdmin passes a call on through the proxy of a site, so that it goes
// the way that callers' calls go: the first one in path form.
func (a *App) proxyAsAdmin(w http.ResponseWriter, r *http.Request, c *call) {
	p := a.pathProxy()
	if p == nil {
		a.refuse(w, r, c, &problem.Problem{Code: "NotFound", Status: http.StatusNotFound, Message: "no site of the running configuration has a proxy in path form"}, dialectEmailEngine)
		return
	}
	r = withoutPrefix(r, defaultPrefix)
	u := *r.URL
	u.Path = p.prefix + u.Path
	if u.RawPath != "" {
		u.RawPath = p.prefix + u.RawPath
	}
	r.URL, r.RequestURI = &u, p.prefix+r.RequestURI
	if p.isHandle(r) { // Caddy's log of its admin endpoint would show it
		a.refuse(w, r, c, problem.New(problem.InvalidRequest, "this URL is for the site that handed it out: use it as it was handed out"), p.dialect(r, c))
		return
	}
	out, err := p.admit(r, c, func(*http.Request, *call) (*policy.Key, error) { return anyAccount, nil })
	if err != nil {
		a.refuse(w, r, c, err, p.dialect(r, c))
		return
	}
	p.pass(w, r, c, out)
}

func (a *App) pathProxy() *proxy {
	a.run.used.mu.Lock()
	defer a.run.used.mu.Unlock()
	for _, p := range a.run.used.proxies {
		if !p.origin() {
			return p
		}
	}
	return nil
}

type callKey struct{}

// withCall hands the record of a call on to its operation.
func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callOf(ctx context.Context) *call {
	return ctx.Value(callKey{}).(*call)
}

// Interface guards
var _ caddy.AdminRouter = adminAPI{}
