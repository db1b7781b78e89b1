package caddymodule

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// relink makes the URLs of an API's answer lead back through this proxy, as the
// caller reached it.
func (o *outbound) relink(response *http.Response) error {
	if response.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	if o.links != nil {
		o.links.Header(response.StatusCode, response.Header)
	}
	o.holdBack(response.Header)
	if o.envelope != nil {
		return o.relinkParts(response)
	}
	if o.rules == nil {
		return nil
	}
	return rewrite.Response(response, o.rules, o.links.Replace)
}

// linkFields are the header fields that may hold a URL with its own authority.
var linkFields = []string{"Location", "Content-Location", "X-Goog-Upload-Url", "X-Goog-Upload-Control-Url"}

// holdBack takes handles, and URLs that may be credentials, out of an answer's
// header until it is written to the caller: Caddy's proxy prints what it gets
// where debugging is on.
func (o *outbound) holdBack(h http.Header) {
	for _, name := range linkFields {
		values := h[name]
		if !slices.ContainsFunc(values, o.isCredential) {
			continue
		}
		if o.held == nil {
			o.held = make(http.Header, 1)
		}
		o.held[name] = values
		delete(h, name)
	}
}

// isCredential reports whether a URL in an answer is a handle, or leads
// elsewhere, where it may carry its own authority.
func (o *outbound) isCredential(url string) bool {
	return o.links == nil || strings.HasPrefix(url, o.handles) || !strings.HasPrefix(url, o.Base.Root()+"/")
}

// callBody is the body of a call on its way to the API.
type callBody struct {
	io.ReadCloser
	ended atomic.Bool
	// received is the server's trailer, which is filled in at the end of the
	// body; trailer is what goes on of it.
	received, trailer http.Header
	writer            http.ResponseWriter
}

// abandon ends a read that waits for the caller: the answer has come to its
// end, and over HTTP/2 its connection is not done with the call before.
func (b *callBody) abandon() {
	if !b.ended.Load() {
		_ = http.NewResponseController(b.writer).SetReadDeadline(time.Unix(1, 0))
	}
}

// lastBody is the body of the answer that a caller gets.
type lastBody struct {
	io.ReadCloser
	call *callBody
}

// Close implements [io.Closer].
func (b *lastBody) Close() error {
	b.call.abandon()
	return b.ReadCloser.Close()
}

func newCallBody(w http.ResponseWriter, r *http.Request) *callBody {
	b := &callBody{ReadCloser: r.Body, writer: w, received: r.Trailer, trailer: r.Trailer.Clone()}
	target.Outgoing(b.trailer, false)
	return b
}

// Read implements [io.Reader].
func (b *callBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) && !b.ended.Swap(true) && len(b.received) > 0 {
		maps.Copy(b.trailer, b.received)
		target.Outgoing(b.trailer, false)
		if target.CheckHeader(b.trailer) != nil {
			clear(b.trailer) // too late to refuse the call
		}
	}
	return n, err
}

// answerWriter passes on an API's answer.
type answerWriter struct {
	caddyhttp.ResponseWriterWrapper
	request *http.Request
	call    *outbound
}

// WriteHeader implements [http.ResponseWriter].
func (w *answerWriter) WriteHeader(status int) {
	switch {
	case status == http.StatusSwitchingProtocols:
	case status < http.StatusOK:
		// These come past the transport.
		target.Incoming(w.Header())
		if w.call.links != nil {
			w.call.links.Header(status, w.Header())
		}
		w.ResponseWriter.WriteHeader(status)
		return
	case w.call.body != nil && !w.call.body.ended.Load():
		hangUp(w, w.request)
	}
	if w.call.held != nil {
		for name, values := range w.call.held {
			w.Header()[name] = slices.Clone(values)
		}
		caddyhttp.SetVar(w.request.Context(), caddyhttp.LogSkipVar, true) // Caddy's access log has the answer's header
	}
	w.ResponseWriter.WriteHeader(status)
}

// hangUp has the connection closed behind an answer that is given before the
// body of an HTTP/1 request was read.
//
// Go's server would otherwise first read and throw away what the caller has yet
// to send: a refusal would wait for an upload that was to be spared, and an API
// that answers while it reads would get the upload with holes.
func hangUp(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
}
