package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/hostname"
)

// maxBody is the most that is read of an answer. Real ones are a few KiB.
const maxBody = 1 << 20

// userAgent is ours; some servers refuse Go's.
const userAgent = "Bellhop"

// sharedTransport outlives configurations, so that a reload keeps its
// connections. Idle ones are dropped early: a POST that meets a connection
// which the server is just closing counts as sent without an answer.
var sharedTransport = func() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.IdleConnTimeout = 15 * time.Second
	t.MaxIdleConnsPerHost = 16
	return t
}()

// client sends requests to an authorization server: never redirected, bounded
// in time and size.
//
// The transport itself sends a POST a second time only when nothing of it was
// written, so a single-use refresh token is never spent twice behind our back.
type client struct {
	http    *http.Client
	timeout time.Duration
}

func newClient(transport http.RoundTripper, timeout time.Duration) *client {
	if transport == nil {
		transport = sharedTransport
	}
	return &client{
		http: &http.Client{
			Transport: transport,
			// A redirect of a token request would hand the client's secret and
			// the refresh token to whatever host it names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: timeout,
	}
}

// response is a whole HTTP answer.
type response struct {
	status int
	header http.Header
	body   []byte
	// tooLarge is set when the body went on beyond maxBody and was cut.
	tooLarge bool
}

// transportError is an exchange without a whole answer.
type transportError struct {
	// sent is set when the server may have received the request.
	sent bool
	// partial is what came of the answer's body, with its header.
	partial *response
	err     error
}

func (e *transportError) Error() string { return e.err.Error() }
func (e *transportError) Unwrap() error { return e.err }

// do sends req and reads its answer. An error is always a *transportError.
func (c *client) do(ctx context.Context, req *http.Request) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	// From the moment the request has a connection it may be on its way, even
	// when the context ends first: the connection's writer is a goroutine of
	// its own. Asking for another connection means that nothing was written on
	// the one before.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { sent.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})

	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	resp, err := c.http.Do(req.WithContext(ctx))
	if err != nil {
		return nil, &transportError{sent: sent.Load(), err: withoutURL(err)}
	}
	defer func() { _ = resp.Body.Close() }()

	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	r := &response{status: resp.StatusCode, header: resp.Header, body: body}
	if len(body) > maxBody {
		r.body, r.tooLarge = body[:maxBody], true
		return r, nil
	}
	if err != nil {
		return nil, &transportError{sent: true, partial: r, err: fmt.Errorf("reading the answer: %w", err)}
	}
	return r, nil
}

// post sends a form.
func (c *client) post(ctx context.Context, endpoint string, form url.Values, header http.Header) (*response, error) {
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &transportError{err: err}
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req, refusal := guarded(ctx, req)
	resp, err := c.do(ctx, req)
	if refused := refusal(); err != nil && refused != nil {
		return nil, &transportError{err: refused}
	}
	return resp, err
}

// get fetches a document.
func (c *client) get(ctx context.Context, address string) (*response, error) {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil, &transportError{err: err}
	}
	return c.do(ctx, req)
}

// withoutURL drops what net/http puts before an error: the method and the URL,
// which the caller knows and names in its own way.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// checkEndpoint reports why secrets may not be sent to raw: it must be an
// absolute https URL, or http to a loopback host.
func checkEndpoint(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case u.Hostname() == "":
		return fmt.Errorf("%q is not an absolute URL", raw)
	case u.User != nil:
		return errors.New("must not contain user information")
	case u.Fragment != "":
		return errors.New("must not contain a fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && hostname.IsLoopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("%q is plain http, which is accepted to loopback only", raw)
	}
	return fmt.Errorf("%q is not an https URL", raw)
}
