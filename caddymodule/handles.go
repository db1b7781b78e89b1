package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bellhop-proxy/bellhop/internal/handle"
	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/links"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// sealFor gives what makes a handle of a URL that carries its own authority, in
// the answer to q, which is this call or a part of it. It is for this call's caller
// and account.
func (o *outbound) sealFor(q *target.Request) func(handle.Kind, string, time.Time) (string, error) {
	return func(kind handle.Kind, raw string, said time.Time) (string, error) {
		came := handle.Call{Method: q.Method, Host: q.Host, Path: q.Path}
		if o.handle != nil {
			came = o.handle.Call
		}
		now := clock.Now()
		sealed, err := handle.Seal(o.sealer, &handle.Handle{
			URL: raw, Account: o.Account, Provider: o.provider.Name(), Generation: o.generation,
			Key: o.key, Call: came, Kind: kind, Issued: now, Expires: kind.Until(now, said),
		})
		if err != nil {
			return "", err
		}
		return o.handles + sealed, nil
	}
}

// handleJudge judges handles when they are used, by the calls that they came of:
// the caller may have been allowed them then and be no longer.
func handleJudge(key *policy.Key, facts policy.Facts) func(*handle.Handle) error {
	facts.Needs, facts.Envelope = policy.Proxy, false
	return func(h *handle.Handle) error {
		of := facts
		of.Request = &target.Request{Method: h.Call.Method, Account: h.Account, Host: h.Call.Host, Path: h.Call.Path}
		decision := policy.Judge(key, &of)
		// A body that would have to be looked at is gone. The problem does not name
		// the call to whoever has the handle.
		if decision.Reason == policy.ReasonRule || decision.Body != policy.NoBodyCheck {
			return problem.New(problem.NotAllowed, "what this URL was handed out to may no longer make the call that it came of")
		}
		return errorOf(decision.Problem())
	}
}

// isHandle reports whether the call is one of a handle.
func (p *proxy) isHandle(r *http.Request) bool {
	return strings.HasPrefix(r.URL.EscapedPath(), p.prefix+target.HandlePath)
}

// resemblesHandle reports whether Caddy's path matchers take the call for one of
// a handle, which it is not: who leaves handles out of authentication by such a
// matcher has left this call out too. They decode the path, leave out empty and
// dot segments, and ignore case.
func (p *proxy) resemblesHandle(r *http.Request) bool {
	if !mentionsHandles(r.URL.Path) || p.isHandle(r) {
		return false
	}
	path := strings.ToLower(caddyhttp.CleanPath(r.URL.Path, true))
	return strings.HasPrefix(path, strings.ToLower(p.prefix+target.HandlePath))
}

// admitHandle decides on the call of a handle, which is the credential: what
// else the caller sends along does not count. The key or identity that it was
// handed out to must still reach the account and be allowed the call that it came
// of, and the account still have the grant.
func (p *proxy) admitHandle(r *http.Request, c *call) (*outbound, error) {
	c.route = "handle"
	s, err := p.app.run.open()
	if err != nil {
		return nil, err
	}
	h, err := p.openHandle(s, r)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(h.URL)
	if err != nil {
		return nil, errors.New("the URL of a handle cannot be read") // the error would tell it
	}
	u.Host = hostname.Canonical(u.Host)
	c.account, c.host = h.Account, u.Host
	if !h.Kind.Allows(r.Method) {
		return nil, problem.New(problem.MethodNotAllowed, "this URL is for another method: it was handed out as "+h.Kind.String())
	}
	key, err := p.auth.holder(r, h.Key)
	if err != nil {
		return nil, err
	}
	c.key = key.Name // what stands for the key may not do more than it leads to
	facts := policy.Facts{Account: h.Account, Needs: policy.Reach, Client: clientAddr(r), Now: clock.Now()}
	if err := policy.Judge(key, &facts).Problem(); err != nil {
		return nil, err
	}
	if err := handleJudge(key, facts)(h); err != nil {
		return nil, err
	}
	known, err := s.broker.Account(r.Context(), h.Account)
	if err != nil {
		return nil, err
	}
	if facts.Unregistered = !known.Registered; facts.Unregistered {
		if err := policy.Judge(key, &facts).Problem(); err != nil {
			return nil, err
		}
	}
	if known.Generation != h.Generation || known.Provider != h.Provider {
		return nil, problem.New(problem.NotAllowed, "the account was connected anew since this URL was handed out: ask the API for a new one")
	}
	if err := known.Serves(); err != nil {
		return nil, err
	}
	c.provider = known.Provider
	configured, ok := p.app.run.providers[known.Provider]
	if !ok {
		return nil, missingProvider(known.Provider)
	}
	if !links.HandleTarget(h.Kind, u, configured, p.handleHosts) {
		return nil, problem.New(problem.HostNotAllowed, "URLs of "+u.Host+" are no longer passed on: `handle_host` lists further hosts")
	}
	out := p.outboundOf(s, key, known, configured, &target.Request{
		Method: r.Method, Account: h.Account, Host: u.Host, Path: pathOf(u), RawQuery: u.RawQuery, ForceQuery: u.ForceQuery,
		Base: p.baseOf(r, h.Account),
	}, u.Scheme)
	out.handle, out.rules = h, nil // what it leads to is content
	out.tokenless = !h.Kind.Token()
	if out.tokenless {
		return out, nil
	}
	return out, p.app.fetchToken(r.Context(), out)
}

// openHandle reads the handle that is called.
func (p *proxy) openHandle(s *service, r *http.Request) (*handle.Handle, error) {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return nil, problem.New(problem.InvalidRequest, "this URL takes no query: use it as it was handed out")
	}
	sealed, err := target.ParseHandle(r.URL.EscapedPath(), p.prefix)
	if err != nil {
		return nil, err
	}
	return handle.Open(s.handles, sealed, clock.Now())
}

// openSource gives back the URL of a download that a caller wants an API to
// fetch from, where it is one of this caller's handles.
func (o *outbound) openSource(link string) (string, bool) {
	sealed, ok := strings.CutPrefix(link, o.handles)
	if !ok {
		return "", false
	}
	h, err := handle.Open(o.sealer, sealed, clock.Now())
	if err != nil || h.Account != o.Account || h.Generation != o.generation || h.Key != o.key || h.Kind != handle.Download {
		return "", false
	}
	if o.judgeHandle == nil || o.judgeHandle(h) != nil {
		return "", false
	}
	return h.URL, true
}

// baseOf is where a caller reaches this proxy.
func (p *proxy) baseOf(r *http.Request, account string) target.Base {
	base := target.Base{Prefix: stripped(r) + p.prefix}
	base.Scheme, base.Host = reachedAt(r)
	if !p.origin() {
		base.Account = url.PathEscape(account)
	}
	return base
}

// pathOf is the escaped path as it was written.
func pathOf(u *url.URL) string {
	if path := u.EscapedPath(); path != "" {
		return path
	}
	return "/"
}

// guardHandles refuses connections for handles that come to a private address:
// the names in their URLs are an API's choice, and what they stand for is up to
// DNS. An `upstream` is the operator's choice.
func guardHandles(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		out, ok := ctx.Value(outboundKey{}).(*outbound)
		if !ok || out.handle == nil || out.address.direct || addr != out.address.dial {
			return conn, nil // addr is another one where a forward proxy stands between
		}
		remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		if err != nil || !isPublic(remote.Addr().Unmap()) {
			_ = conn.Close()
			return nil, fmt.Errorf("%s stands for an address that is not public", out.Host)
		}
		return conn, nil
	}
}

// notPublic are the ranges of the IANA special-purpose address registries (RFC
// 6890) that lead to somebody's own network and that [netip.Addr] does not know.
// Those of IPv6 with an IPv4 address inside are among them: who translates them
// may well stand in a private network.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // this network (RFC 791)
	netip.MustParsePrefix("100.64.0.0/10"),  // carriers' and clouds' own networks (RFC 6598)
	netip.MustParsePrefix("192.0.0.0/24"),   // protocol assignments (RFC 6890)
	netip.MustParsePrefix("198.18.0.0/15"),  // benchmarks (RFC 2544)
	netip.MustParsePrefix("240.0.0.0/4"),    // reserved (RFC 1112)
	netip.MustParsePrefix("::/96"),          // IPv4-compatible (RFC 4291)
	netip.MustParsePrefix("64:ff9b::/96"),   // NAT64 (RFC 6052)
	netip.MustParsePrefix("64:ff9b:1::/48"), // NAT64 (RFC 8215)
	netip.MustParsePrefix("2001::/32"),      // Teredo (RFC 4380)
	netip.MustParsePrefix("2002::/16"),      // 6to4 (RFC 3056)
	netip.MustParsePrefix("fec0::/10"),      // site-local (RFC 3879)
}

func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() &&
		!slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
}
