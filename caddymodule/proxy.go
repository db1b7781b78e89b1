package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/batch"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/handle"
	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/links"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

const (
	defaultPrefix      = "/proxy"
	defaultReplayLimit = 64 << 10
	originPrefix       = "/"
)

// proxy passes calls on to APIs, each with its account's access token. The
// passing on is Caddy's own reverse proxy; what is decided before it is here,
// and what must be added after it in transport.go.
type proxy struct {
	app  *App
	auth authenticator // the site's
	// prefix is where the path form begins, without the slash at its end;
	// empty for the origin form.
	prefix       string
	account      string // of the origin form: "key", an ID, or with placeholders
	apiHost      string // of the origin form
	upstreams    map[string]address
	defaultHosts map[string]string // by provider
	rewrites     []links.Extra
	handleHosts  []string

	handler   *reverseproxy.Handler
	transport *transport
}

// address is where an API host is reached.
type address struct {
	scheme string
	dial   string // host and port
	// direct is set where no forward proxy may stand between: it would go by
	// the API's name instead of the configured address, and read what is not
	// encrypted.
	direct bool
}

// outbound is a call that has been decided on, on its way to the API.
type outbound struct {
	*target.Request
	address  address
	provider provider.Provider
	audience string
	// scopes narrow the token.
	scopes []string
	token  accessToken
	// tokenless is set where the API wants no token: what is called is public,
	// or carries its own authority.
	tokenless bool
	// decision is that on the call, as far as its body does not matter to it.
	decision policy.Decision
	// body is what the caller sends; nil for none.
	body *callBody

	// links make the answer's URLs lead back here; nil leaves them as they are.
	// rules say where in its body they are; nil leaves that alone.
	links *links.Call
	rules *rewrite.Rules
	// kind is which batch the call is, if it is one; envelope is that batch, once
	// it was read. judgePart says whether a call in it may be made.
	kind      batch.Kind
	envelope  *batch.Envelope
	judgePart func(part *target.Request, header http.Header, body []byte) error
	// release gives back the memory that the batch was lent; nil without one.
	release func()
	// handle is what was called instead of the API's own URL.
	handle *handle.Handle
	// judgeHandle says whether the caller may still use a handle; nil for none.
	judgeHandle func(*handle.Handle) error

	// What handles of this call are sealed with, bound to and begin with.
	sealer     *secret.Sealer
	key        string // the hash of the caller's
	generation uint64 // of the account's grant
	handles    string
	// held are the header fields of the answer that are not to be logged.
	held http.Header
}

type outboundKey struct{}

// accountOfKey is the origin form's account that stands for the one that the
// caller's key is bound to.
const accountOfKey = "key"

// newProxy builds a site's proxy. A nil configuration is the default one.
func newProxy(ctx caddy.Context, app *App, auth authenticator, configured *Proxy) (*proxy, error) {
	if configured == nil {
		configured = new(Proxy)
	}
	p := &proxy{
		app:          app,
		auth:         auth,
		prefix:       strings.TrimSuffix(configured.Prefix, "/"),
		defaultHosts: make(map[string]string, len(configured.DefaultHosts)),
		account:      configured.Account,
		apiHost:      configured.APIHost,
		upstreams:    make(map[string]address),
		handleHosts:  configured.HandleHosts,
	}
	for _, r := range configured.Rewrites {
		p.rewrites = append(p.rewrites, links.Extra{Member: r.Member, Path: r.Path})
	}
	if configured.Prefix == "" {
		p.prefix = defaultPrefix
	}
	if err := p.checkOrigin(); err != nil {
		return nil, fmt.Errorf("proxy /: %w", err)
	}
	if err := p.provisionUpstreams(configured.Upstreams); err != nil {
		return nil, err
	}
	if err := p.provisionDefaultHosts(configured.DefaultHosts); err != nil {
		return nil, err
	}
	base := &reverseproxy.HTTPTransport{}
	if len(configured.TransportRaw) > 0 {
		if err := json.Unmarshal(configured.TransportRaw, base); err != nil {
			return nil, fmt.Errorf("proxy: transport: %w", err)
		}
	}
	if base.TLS == nil {
		base.TLS = new(reverseproxy.TLSConfig)
	}
	if err := provisionTransport(ctx, base); err != nil {
		return nil, fmt.Errorf("proxy: transport: %w", err)
	}
	p.transport = &transport{app: app, base: base, replayLimit: configured.ReplayLimit.Or(defaultReplayLimit)}
	p.handler = &reverseproxy.Handler{Transport: p.transport, DynamicUpstreams: upstreamSource{}}
	if err := p.handler.Provision(ctx); err != nil {
		return nil, fmt.Errorf("proxy: %w", errors.Join(err, base.Cleanup()))
	}
	return p, nil
}

// checkOrigin judges what an origin form calls, as far as it is written out.
func (p *proxy) checkOrigin() error {
	if !p.origin() {
		return nil
	}
	if p.account == "" || p.apiHost == "" {
		return errors.New("the origin form needs `account` and `api_host`")
	}
	if p.account != accountOfKey && !hasPlaceholder(p.account) {
		if err := account.CheckID(p.account); err != nil {
			return fmt.Errorf("account: %w", err)
		}
	}
	if !hasPlaceholder(p.apiHost) {
		p.warnUnlisted("api_host", p.apiHost)
	}
	return nil
}

// warnUnlisted warns of a host that no provider's tokens may go to: what is
// written for it has no effect.
func (p *proxy) warnUnlisted(subdirective, host string) {
	for _, configured := range p.app.run.providers {
		if configured.AllowsHost(listedName(host), "/") == nil {
			return
		}
	}
	p.app.run.log.Warn("no provider lists this host: write `api_host` at its provider, or leave the line out",
		zap.String("subdirective", subdirective), zap.String("host", host))
}

// mayHandOut reports whether handles may lead to a host: no token goes there,
// but calls do.
func (p *proxy) mayHandOut(host string) bool {
	for _, configured := range p.app.run.providers {
		if links.HandleTarget(handle.Download, &url.URL{Scheme: "https", Host: host}, configured, p.handleHosts) {
			return true
		}
	}
	return false
}

func (p *proxy) provisionDefaultHosts(hosts map[string]string) error {
	for name, host := range hosts {
		configured, ok := p.app.run.providers[name]
		if !ok {
			return fmt.Errorf("proxy: default_host: there is no provider %s", name)
		}
		host = listedName(host)
		if err := configured.AllowsHost(host, "/"); err != nil {
			return fmt.Errorf("proxy: default_host %s: %w", name, err)
		}
		p.defaultHosts[name] = host
	}
	return nil
}

func (p *proxy) provisionUpstreams(configured []*Upstream) error {
	resolve := newResolver()
	for _, u := range configured {
		host, err := resolve.one("proxy: upstream", "host", u.Host)
		if err != nil {
			return err
		}
		written, err := resolve.one("proxy: upstream "+host, "address", u.URL)
		if err != nil {
			return err
		}
		parsed, err := parseHTTPURL(written)
		if err != nil {
			return fmt.Errorf("proxy: upstream %s: %w", host, err)
		}
		if err := checkHost(host); err != nil {
			return fmt.Errorf("proxy: upstream: %w", err)
		}
		if strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" {
			return fmt.Errorf("proxy: upstream %s: %q has more than scheme, address and port", host, written)
		}
		if _, twice := p.upstreams[listedName(host)]; twice {
			return fmt.Errorf("proxy: upstream %s: is written twice; keep one", host)
		}
		if !p.mayHandOut(listedName(host)) {
			p.warnUnlisted("upstream", host)
		}
		a := addressOf(parsed)
		a.direct = true
		p.upstreams[listedName(host)] = a
	}
	return nil
}

// listedName is a configured host as calls have it: in lower case, without a
// trailing dot and the port that needs no saying.
func listedName(host string) string {
	return strings.TrimSuffix(hostname.Canonical(host), ".")
}

func addressOf(u *url.URL) address {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return address{scheme: u.Scheme, dial: net.JoinHostPort(u.Hostname(), port), direct: u.Scheme == "http"}
}

// cleanup gives back what the embedded handler and transport hold: Caddy does
// not know of them.
func (p *proxy) cleanup() error {
	return errors.Join(p.handler.Cleanup(), p.transport.base.Cleanup())
}

// origin reports whether the whole site is one API of one account.
func (p *proxy) origin() bool { return p.prefix == "" }

// addProxy lets the admin endpoint use the proxies of the sites.
func (a *App) addProxy(p *proxy) {
	a.run.used.mu.Lock()
	defer a.run.used.mu.Unlock()
	a.run.used.proxies = append(a.run.used.proxies, p)
}

// serve is one proxied call from end to end: who calls, what is called, may
// they, with which token; then it is Caddy's proxy's.
func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{route: "proxy"}
	w, done := p.app.record(w, r, c)
	defer done()
	out, err := p.admit(r, c, p.auth.authenticate)
	if err != nil {
		p.app.refuse(w, r, c, err, p.dialect(r, c))
		return
	}
	p.pass(w, r, c, out)
}

// admit decides on a call. Nothing is said of an account to who may not reach
// it, and nothing has left for the API before it returns.
func (p *proxy) admit(r *http.Request, c *call, authenticate func(*http.Request, *call) (*policy.Key, error)) (*outbound, error) {
	if err := target.CheckDestination(r.Header); err != nil {
		return nil, err
	}
	if err := checkAuthority(r.Host); err != nil {
		return nil, err
	}
	if err := checkEarlyData(r); err != nil {
		return nil, err
	}
	if p.isHandle(r) {
		return p.admitHandle(r, c)
	}
	if p.resemblesHandle(r) {
		return nil, problem.New(problem.InvalidRequest, "this is not how a URL of ours is written: use it as it was handed out")
	}
	key, err := authenticate(r, c)
	split, parseErr := p.parse(r, key)
	if parseErr != nil && problem.From(parseErr).Code == problem.InvalidRequest {
		return nil, parseErr // also a key in the query, which is why none was found
	}
	if err != nil {
		return nil, err
	}
	if parseErr != nil {
		return nil, parseErr
	}
	c.account = split.Account
	facts := policy.Facts{Account: split.Account, Needs: policy.Reach, Client: clientAddr(r), Now: clock.Now()}
	if err := policy.Judge(key, &facts).Problem(); err != nil {
		return nil, err
	}
	s, err := p.app.run.open()
	if err != nil {
		return nil, err
	}
	known, err := s.broker.Account(r.Context(), split.Account)
	if err != nil {
		return nil, err
	}
	c.provider = known.Provider
	if facts.Unregistered = !known.Registered; facts.Unregistered {
		if err := policy.Judge(key, &facts).Problem(); err != nil {
			return nil, err
		}
	}
	configured, ok := p.app.run.providers[known.Provider]
	if !ok {
		return nil, missingProvider(known.Provider)
	}
	request, err := split.Resolve(hosts{configured, p.defaultHosts[known.Provider]})
	c.host, c.path = request.Host, request.Path
	if err != nil {
		return nil, hostNotAllowed(err)
	}
	kind := batch.KindOf(&request, provider.APIsAt(configured.Type(), request.Host))
	facts.Needs, facts.Request, facts.Envelope = policy.Proxy, &request, kind != batch.None
	decision := policy.Judge(key, &facts)
	if err := decision.Problem(); err != nil {
		return nil, err
	}
	out := p.outboundOf(s, key, known, configured, &request, configured.Scheme(request.Host))
	out.decision = decision
	if out.kind = kind; kind != batch.None {
		out.judgePart = partJudge(key, facts)
	}
	if kind != batch.None || fetches(&request) {
		out.judgeHandle = handleJudge(key, facts)
	}
	if out.tokenless = links.IsDiscovery(&request, configured.Type()); out.tokenless {
		return out, nil
	}
	return out, p.app.fetchToken(r.Context(), out)
}

// outboundOf is a call that is allowed, but for its token. The scheme is what the
// host is spoken to with.
func (p *proxy) outboundOf(s *service, key *policy.Key, known broker.Account, configured provider.Provider, request *target.Request, scheme string) *outbound {
	out := &outbound{
		Request: request, provider: configured, address: p.addressOf(scheme, request.Host),
		sealer: s.handles, key: key.Hash, scopes: key.Scopes, generation: known.Generation,
	}
	if key == anyAccount {
		return out // who may use the admin endpoint sees what the API says
	}
	out.handles = request.Base.Root() + target.HandlePath
	out.links = &links.Call{Request: request, Provider: configured, Extra: p.rewrites, Handles: p.handleHosts, Seal: out.sealFor(request)}
	out.rules = out.links.Rules()
	return out
}

func missingProvider(name string) error {
	return problem.New(problem.ProviderMisconfigured, "The account's provider "+name+" is not in the configuration")
}

// parse reads what is called. The origin form's account may be the key's own.
func (p *proxy) parse(r *http.Request, key *policy.Key) (target.Split, error) {
	scheme, host := reachedAt(r)
	if !p.origin() {
		split, err := target.Parse(r, scheme, host, p.prefix)
		return split.Below(stripped(r)), err
	}
	replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	id, err := p.originAccount(replacer, key)
	if err != nil {
		return target.Split{}, err
	}
	apiHost, err := replacer.ReplaceOrErr(p.apiHost, true, true)
	if err != nil || apiHost == "" {
		return target.Split{}, problem.New(problem.InvalidRequest, "the API host of this site is empty for this request")
	}
	split, err := target.ParseOrigin(r, scheme, host, id, apiHost)
	return split.Below(stripped(r)), err
}

// originAccount is the account of the origin form. Only what the configuration
// holds is expanded: in a key's account, a placeholder would read the server's
// environment and files.
func (p *proxy) originAccount(replacer *caddy.Replacer, key *policy.Key) (string, error) {
	if p.account != accountOfKey {
		id, err := replacer.ReplaceOrErr(p.account, true, true)
		if err != nil || id == "" {
			return "", problem.New(problem.InvalidRequest, "the account of this site is empty for this request")
		}
		return id, nil
	}
	if key == nil {
		return "", policy.InvalidKey()
	}
	id, ok := key.Account()
	if !ok {
		return "", problem.New(problem.NotAllowed, "this site serves the one account that a key is bound to by name: the key "+key.Name+" is bound to none, or to several")
	}
	return id, nil
}

// hosts are a provider's, with the site's default host.
type hosts struct {
	provider.Provider
	defaultHost string
}

// DefaultHost is the site's, else the provider's.
func (h hosts) DefaultHost() string {
	if h.defaultHost != "" {
		return h.defaultHost
	}
	return h.Provider.DefaultHost()
}

// hostNotAllowed makes a provider's refusal of a host the caller's problem.
func hostNotAllowed(err error) error {
	if _, ok := errors.AsType[*problem.Problem](err); ok {
		return err
	}
	return problem.New(problem.HostNotAllowed, err.Error())
}

func (p *proxy) addressOf(scheme, host string) address {
	if a, ok := p.upstreams[host]; ok {
		return a
	}
	return addressOf(&url.URL{Scheme: scheme, Host: host})
}

// checkEarlyData refuses what somebody on the way may have recorded and sent
// again, unless nothing changes by it (RFC 8470 section 5.2).
func checkEarlyData(r *http.Request) error {
	if r.TLS == nil || r.TLS.HandshakeComplete {
		return nil
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	return problem.New(problem.TooEarly, "the call came before the TLS handshake was complete: send it again")
}

// pass hands the call to Caddy's reverse proxy. It gets a request that holds
// nothing of the caller's secrets, since its debug log prints what it gets.
func (p *proxy) pass(w http.ResponseWriter, r *http.Request, c *call, out *outbound) {
	received := r
	r, err := unpack(r, out)
	if out.release != nil {
		defer out.release()
	}
	if err != nil {
		p.app.refuse(w, received, c, err, dialectOf(out.Host))
		return
	}
	if out.envelope != nil && out.envelope.Empty() {
		answerParts(w, out.envelope)
		return
	}
	clean := r.WithContext(context.WithValue(r.Context(), outboundKey{}, out))
	clean.URL = out.URL()
	if out.handle != nil {
		clean.URL.Path, clean.URL.RawPath, clean.URL.RawQuery = "/", "", "" // the rest is a credential
	}
	clean.RequestURI = clean.URL.RequestURI()
	clean.Host = out.Host
	clean.Header = maps.Clone(r.Header) // Caddy's proxy copies the values
	target.Outgoing(clean.Header, false)
	if a, ok := p.auth.(*identityAuth); ok {
		for _, field := range a.fields {
			clean.Header.Del(field)
		}
	}
	if !strings.EqualFold(clean.Header.Get("Upgrade"), "websocket") {
		clean.Header.Del("Upgrade") // another protocol carries calls that nobody judges
	}
	if err := target.CheckHeader(clean.Header); err != nil {
		p.app.refuse(w, received, c, err, dialectOf(out.Host))
		return
	}
	if out.rules != nil {
		rewrite.Accept(clean.Header)
	}
	answer := &answerWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, request: r, call: out}
	if r == received && r.ContentLength != 0 {
		out.body = newCallBody(w, r)
		clean.Body, clean.Trailer = out.body, out.body.trailer
	}
	c.overhead = time.Since(c.begun)
	if err := p.handler.ServeHTTP(answer, clean, nil); err != nil {
		p.app.refuse(w, received, c, upstreamProblem(out, err), dialectOf(out.Host))
	}
}

// upstreamProblem is what Caddy's proxy failed with, as a problem of ours.
func upstreamProblem(out *outbound, err error) error {
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return p
	}
	if h, ok := errors.AsType[caddyhttp.HandlerError](err); ok && h.StatusCode == http.StatusGatewayTimeout {
		return problem.New(problem.UpstreamTimeout, "The API at "+out.Host+" did not answer in time").Because(err)
	}
	return problem.New(problem.UpstreamError, "The API at "+out.Host+" could not be reached").Because(err)
}

// dialect is that of the API that a call was meant for, as far as can be told.
func (p *proxy) dialect(r *http.Request, c *call) dialect {
	host := c.host
	if host == "" {
		host = p.apiHost
	}
	if host == "" {
		rest := strings.TrimPrefix(r.URL.EscapedPath(), p.prefix+"/")
		_, rest, _ = strings.Cut(rest, "/")
		host, _, _ = strings.Cut(rest, "/")
	}
	if d := dialectOf(host); d != dialectEmailEngine {
		return d
	}
	if c.provider == "" {
		c.provider = p.providerFor(r, c)
	}
	if configured, ok := p.app.run.providers[c.provider]; ok {
		return dialectOf(configured.DefaultHost())
	}
	return dialectEmailEngine
}

// providerFor is the provider of the account that a refused call was for, so
// that the refusal is in the right words; empty for callers who may not know.
func (p *proxy) providerFor(r *http.Request, c *call) string {
	if p.origin() || c.caller == nil {
		return ""
	}
	segment, _, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), p.prefix+"/"), "/")
	id, err := url.PathUnescape(segment)
	if err != nil || !c.caller.Reaches(id) {
		return ""
	}
	s, err := p.app.run.open()
	if err != nil {
		return ""
	}
	known, err := s.broker.Account(r.Context(), id)
	if err != nil {
		return ""
	}
	return known.Provider
}

// upstreamSource tells Caddy's proxy where the call goes.
type upstreamSource struct{}

// GetUpstreams implements [reverseproxy.UpstreamSource].
func (upstreamSource) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	out, ok := r.Context().Value(outboundKey{}).(*outbound)
	if !ok {
		return nil, errors.New("a request that was not decided on")
	}
	return []*reverseproxy.Upstream{{Dial: out.address.dial}}, nil
}

// Interface guards
var (
	_ reverseproxy.UpstreamSource = upstreamSource{}
	_ target.Hosts                = hosts{}
)
