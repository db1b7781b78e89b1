package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/replay"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// accessToken is the token that a call goes out with.
type accessToken = broker.Token

// transport is the last to touch a call: it adds the token where no other
// handler and no log sees it, after Caddy's proxy has removed the hop-by-hop
// fields, so that none of them can take the token away again. It is not
// registered with Caddy: without the decision that comes before it, it would
// lend credentials to whoever asks.
type transport struct {
	app         *App
	base        *reverseproxy.HTTPTransport
	replayLimit int64
}

// provisionTransport readies Caddy's transport to carry calls as they are.
func provisionTransport(ctx caddy.Context, base *reverseproxy.HTTPTransport) error {
	fillTransport(base)
	if err := base.Provision(ctx); err != nil {
		return err
	}
	base.Transport.DialContext = guardHandles(base.Transport.DialContext)
	forward := base.Transport.Proxy
	base.Transport.Proxy = func(r *http.Request) (*url.URL, error) {
		if out, ok := r.Context().Value(outboundKey{}).(*outbound); !ok || out.address.direct {
			return nil, nil
		}
		return forward(r)
	}
	return nil
}

// fillTransport sets what the operator left open.
func fillTransport(base *reverseproxy.HTTPTransport) {
	if base.Compression == nil {
		base.Compression = new(bool) // what a caller does not ask for is not asked for
	}
	if base.ExpectContinueTimeout == 0 {
		base.ExpectContinueTimeout = caddy.Duration(expectContinueTimeout)
	}
	if len(base.Versions) == 0 {
		// Over HTTP/2 all calls to a host share one connection, where each
		// waits behind a large body or a lost packet of another. make
		// bench-transport measures it.
		base.Versions = []string{"1.1"}
	}
	if base.KeepAlive == nil {
		base.KeepAlive = new(reverseproxy.KeepAlive)
	}
	if base.KeepAlive.MaxIdleConnsPerHost == 0 {
		base.KeepAlive.MaxIdleConnsPerHost = idleConnsPerHost
	}
	if base.KeepAlive.IdleConnTimeout == 0 {
		base.KeepAlive.IdleConnTimeout = caddy.Duration(idleConnTimeout)
	}
}

const (
	// expectContinueTimeout is how long an API may take to say whether it wants
	// the body of a call that came with Expect: 100-continue, until it is sent
	// anyway.
	expectContinueTimeout = time.Second
	// idleConnsPerHost is how many calls at once to one host need no new
	// connections when they come again.
	idleConnsPerHost = 256
	// idleConnTimeout is shorter than servers commonly keep idle connections: a
	// body that meets the closing of its connection cannot be sent again.
	idleConnTimeout = time.Minute
)

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	out, ok := r.Context().Value(outboundKey{}).(*outbound)
	if !ok {
		return nil, errors.New("a call that was not decided on was about to leave")
	}
	response, err := t.call(r, out)
	if err != nil {
		return nil, err
	}
	if err := out.relink(response); err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	if out.body != nil && response.StatusCode != http.StatusSwitchingProtocols {
		response.Body = &lastBody{response.Body, out.body}
	}
	return response, nil
}

// call sends the call. When the API refuses the token, the account's token is
// renewed once for all who saw that, and the call is sent once more if its body
// is at hand.
func (t *transport) call(r *http.Request, out *outbound) (*http.Response, error) {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return t.callWith(r, out, nil, func() (io.ReadCloser, bool) { return nil, true })
	case out.envelope != nil:
		_, text := out.envelope.Body()
		open := func() io.ReadCloser { return io.NopCloser(bytes.NewReader(text)) }
		return t.callWith(r, out, open(), func() (io.ReadCloser, bool) { return open(), true })
	}
	body := replay.New(r.Body, r.ContentLength, t.replayLimit)
	return t.callWith(r, out, body.Open(), body.Reopen)
}

func (t *transport) callWith(r *http.Request, out *outbound, body io.ReadCloser, reopen func() (io.ReadCloser, bool)) (*http.Response, error) {
	response, err := t.send(r, out, body)
	if err != nil || response.StatusCode != http.StatusUnauthorized || out.tokenless {
		return response, err
	}
	return t.again(r, out, response, reopen)
}

// again answers a refusal of the token. The token is renewed even if this call
// cannot be sent once more, for the sake of those that follow.
func (t *transport) again(r *http.Request, out *outbound, refusal *http.Response, reopen func() (io.ReadCloser, bool)) (*http.Response, error) {
	refused := out.token.Number
	if err := t.app.renewToken(r.Context(), out, refusal.Header); err != nil {
		// What is wrong with the account says more than the API can.
		if p, ok := errors.AsType[*problem.Problem](err); ok && p.Status == http.StatusForbidden {
			drain(refusal.Body)
			return nil, err
		}
		return refusal, nil
	}
	if out.token.Number == refused {
		return refusal, nil
	}
	body, ok := reopen()
	if !ok {
		return refusal, nil
	}
	drain(refusal.Body)
	metrics.replays.WithLabelValues(out.provider.Name()).Inc()
	return t.send(r, out, body)
}

// addedByProxy are the fields that Caddy's proxy adds to a request.
var addedByProxy = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Via"}

// send sends the call once.
func (t *transport) send(r *http.Request, out *outbound, body io.ReadCloser) (*http.Response, error) {
	if out.token.Value.IsZero() != out.tokenless {
		return nil, errors.New("a call was about to leave without a token, or with one that it must not have")
	}
	sent := r.WithContext(r.Context())
	sent.Body = body
	sent.Host = out.Host
	// So that a body which the API refuses is not sent all the same, to keep its
	// connection.
	sent.Close = r.Header.Get("Expect") != ""
	sent.Header = maps.Clone(r.Header) // values are replaced and never changed
	// What Caddy's proxy has added of the caller and its network; the rest was
	// removed before it.
	for _, name := range addedByProxy {
		delete(sent.Header, name)
	}
	if !out.tokenless {
		sent.Header["Authorization"] = []string{"Bearer " + out.token.Value.Reveal()}
	}
	// The URL names the API host and not the address that is dialled, which
	// stands in the context: connections are pooled, and certificates verified,
	// by the host.
	sent.URL = out.URL()
	sent.URL.Scheme = out.address.scheme
	response, err := t.base.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	target.Incoming(response.Header)
	if len(response.Trailer) > 0 {
		response.Header.Del("Content-Length") // over HTTP/1.1 it would leave no room for a trailer
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		response.Body = &answerBody{response.Body, response}
	}
	return response, nil
}

// answerBody is an answer's body, behind which a trailer may come.
type answerBody struct {
	io.ReadCloser
	response *http.Response
}

// Read implements [io.Reader].
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		target.IncomingTrailer(b.response.Trailer)
	}
	return n, err
}

// drain reads what is left of a short answer, so that its connection can be
// used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	_ = body.Close()
}

// fetchToken gets the token that a call needs.
func (a *App) fetchToken(ctx context.Context, out *outbound) error {
	return a.tokenFor(ctx, out, broker.Options{})
}

// renewToken gets another token than the one that the API has refused; where
// the provider declares that it honours claims challenges, one that meets the
// refusal's.
func (a *App) renewToken(ctx context.Context, out *outbound, refusal http.Header) error {
	o := broker.Options{NotNumber: out.token.Number}
	if a.run.continuousAccess[out.provider.Name()] {
		o.Claims = claimsChallenge(refusal)
	}
	return a.tokenFor(ctx, out, o)
}

func (a *App) tokenFor(ctx context.Context, out *outbound, o broker.Options) error {
	s, err := a.run.open()
	if err != nil {
		return err
	}
	if out.audience, err = out.provider.Audience(out.Host); err != nil {
		return hostNotAllowed(err)
	}
	o.Provider, o.Scopes = out.provider.Name(), out.scopes
	token, err := s.broker.Token(ctx, out.Account, out.audience, o)
	countToken(out.provider.Name(), token, err)
	if err != nil {
		return nameConsent(err, out.provider, out.audience, o.Scopes)
	}
	out.token = token
	return nil
}
