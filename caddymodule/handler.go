package caddymodule

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// handlerRuntime is what the handler makes of its configuration.
type handlerRuntime struct {
	app     *App
	auth    authenticator
	proxy   *proxy   // nil if the site has none
	connect *connect // nil if the site serves no consent
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.bellhop",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision builds the site's proxy and consent.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := h.validate(); err != nil {
		return err
	}
	if err := h.refuseUnserved(); err != nil {
		return err
	}
	app, err := ctx.AppIfConfigured("bellhop")
	if err != nil {
		return fmt.Errorf("the `bellhop` global option, which this directive uses: %w", err)
	}
	h.run.app = app.(*App)
	if h.run.auth, err = newAuthenticator(ctx, h.run.app, h); err != nil {
		return err
	}
	if h.Connect != nil {
		if h.run.connect, err = newConnect(h.run.app, h.Connect); err != nil {
			return err
		}
		h.run.app.addConnect(h.run.connect)
		if h.Proxy == nil {
			ctx.Logger().Warn("connect: this site serves the proxy as well, for it is on unless it is switched off: write `proxy off` where only people are to come, or `proxy` where callers are as well")
		}
	}
	if h.Proxy != nil && h.Proxy.Off {
		return nil
	}
	if h.run.proxy, err = newProxy(ctx, h.run.app, h.run.auth, h.Proxy); err != nil {
		return err
	}
	h.run.app.addProxy(h.run.proxy)
	return nil
}

// Cleanup gives back what the embedded proxy holds. It also runs after a
// Provision that failed.
func (h *Handler) Cleanup() error {
	if h.run.proxy == nil {
		return nil
	}
	return h.run.proxy.cleanup()
}

// ServeHTTP serves Bellhop's endpoints; what is none of them goes to the next
// handler. It returns no error of its own to Caddy, whose error log would print
// the request's URL and headers.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	keepOutOfLogs(r)
	path := r.URL.EscapedPath()
	p := h.run.proxy
	if p != nil && p.origin() {
		p.serve(w, r)
		return nil
	}
	switch {
	case p != nil && p.resemblesHandle(r): // whatever else it is
		p.serve(w, r)
	case h.run.connect != nil && isConnectPath(path):
		h.run.connect.serve(w, r)
	case p != nil && strings.HasPrefix(path, p.prefix+"/"):
		p.serve(w, r)
	case path == "/healthz" && h.serves():
		h.run.app.serveHealth(w, r)
	case path == "/readyz" && h.serves():
		h.run.app.serveReadiness(w, r)
	case path == whoamiPath && h.serves():
		h.serveWhoami(w, r)
	case h.serves() && isTokenPath(path):
		h.serveToken(w, r)
	case h.API && strings.HasPrefix(path, "/v1/"):
		h.run.app.serveManagement(w, r, h.run.auth)
	default:
		return next.ServeHTTP(w, r)
	}
	return nil
}

// serves reports whether the site is one for callers.
func (h *Handler) serves() bool {
	return h.TokenEndpoint != nil || h.API || h.run.proxy != nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
