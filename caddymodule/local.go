package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// localHolder is what the calls of `auth none` are known by, and what its
// handles are bound to: neither a key's hash nor an identity.
const localHolder = "auth none"

// localAuth is `auth none`: whoever is on this machine may call, and a page in a
// browser on it may not.
type localAuth struct{ key *policy.Key }

func newLocalAuth(ctx caddy.Context, h *Handler) (*localAuth, error) {
	if err := checkListeners(ctx); err != nil {
		return nil, fmt.Errorf("auth none: %w", err)
	}
	accounts := []string{"*"}
	if h.Proxy != nil && h.Proxy.Account != "" {
		// Written out, an account is reached also where nobody registered it.
		if id, err := newResolver().replacer.ReplaceOrErr(h.Proxy.Account, true, true); err == nil {
			accounts = []string{id}
		}
	}
	return &localAuth{&policy.Key{
		Name: localHolder, Hash: localHolder, Accounts: accounts, Token: h.TokenEndpoint != nil, Label: "`auth none`",
	}}, nil
}

// authenticate admits whoever is on this machine.
func (a *localAuth) authenticate(r *http.Request, c *call) (*policy.Key, error) {
	if err := checkLocal(r); err != nil {
		return nil, err
	}
	c.by(a.key)
	if err := refuseKeys(r, AuthNone); err != nil {
		return nil, err
	}
	return a.key, nil
}

// holder admits whoever is on this machine and has a handle of such a site.
func (a *localAuth) holder(r *http.Request, holder string) (*policy.Key, error) {
	if err := checkLocal(r); err != nil {
		return nil, err
	}
	if holder != localHolder {
		return nil, problem.New(problem.NotAllowed, "this URL was handed out by a site that asks who calls: use it as it was handed out")
	}
	return a.key, nil
}

// checkListeners refuses a site that other machines can reach. A loopback address
// as a site's name does not bind it: that is a matcher.
func checkListeners(ctx context.Context) error {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || len(server.Listen) == 0 {
		return errors.New("it is not known where this site listens: write `bind 127.0.0.1` in its block")
	}
	for _, listen := range server.Listen {
		address, err := caddy.ParseNetworkAddress(listen)
		if err != nil {
			return fmt.Errorf("reading the address %s that this site listens on: %w", listen, err)
		}
		if !isLocal(address) {
			return fmt.Errorf("this site listens on %s, which other machines may reach: write `bind 127.0.0.1` in its block", listen)
		}
	}
	return nil
}

// isLocal reports whether only this machine can connect to an address. Of
// networks that other modules bring, and of inherited descriptors, it is not
// known.
func isLocal(address caddy.NetworkAddress) bool {
	switch {
	case address.IsUnixNetwork():
		return true
	case !strings.HasPrefix(address.Network, "tcp") && !strings.HasPrefix(address.Network, "udp"):
		return false
	}
	return hostname.IsLoopback(address.Host)
}

// checkLocal refuses what may come from another machine, and what a page in a
// browser on this one may have caused. A page whose own name its owner has made
// to mean 127.0.0.1 sends that name as Host (DNS rebinding).
func checkLocal(r *http.Request) error {
	host, _ := hostname.SplitPort(r.Host)
	var refused string
	switch {
	case !fromThisMachine(r):
		refused = "the connection does not come from this machine's loopback address"
	case !hostname.IsLoopback(host):
		refused = fmt.Sprintf("the Host of the request is %q: call localhost, 127.0.0.1 or [::1]", r.Host)
	case len(r.Header["Origin"]) > 0:
		refused = "a page in a browser has caused the request, which has the header field Origin"
	case !isOwnSite(r.Header["Sec-Fetch-Site"]):
		refused = "a page of another site has caused the request, says its Sec-Fetch-Site"
	case forwardingField(r.Header) != "":
		refused = "a proxy has passed on the request, which has the header field " + forwardingField(r.Header)
	default:
		return nil
	}
	return problem.New(problem.NotAllowed, "`auth none` is for programs on this machine: "+refused)
}

func fromThisMachine(r *http.Request) bool {
	if onUnixSocket(r) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && isLoopbackAddr(local.String()) && isLoopbackAddr(r.RemoteAddr)
}

// isLoopbackAddr takes an address with its port.
func isLoopbackAddr(address string) bool {
	parsed, err := netip.ParseAddrPort(address)
	return err == nil && parsed.Addr().Unmap().IsLoopback()
}

// isOwnSite reports whether no page of another site caused a request, as far as
// its browser says. Pages at another port of this machine are of the same site
// and not of the same origin.
func isOwnSite(sites []string) bool {
	for _, site := range sites {
		if site != "same-origin" && site != "none" {
			return false
		}
	}
	return true
}

// forwardingField is the header field by which a proxy says that it has passed a
// request on; empty without one.
func forwardingField(h http.Header) string {
	for name := range h {
		switch folded := strings.ReplaceAll(strings.ToLower(name), "_", "-"); {
		case folded == "forwarded", folded == "via", folded == "x-real-ip", folded == "x-client-ip", folded == "true-client-ip",
			folded == "x-cluster-client-ip", folded == "x-original-host", folded == "x-original-url",
			strings.HasPrefix(folded, "x-forwarded"), strings.HasPrefix(folded, "cf-"):
			return name
		}
	}
	return ""
}
