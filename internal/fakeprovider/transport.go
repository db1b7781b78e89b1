package fakeprovider

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
)

// Transport carries requests to a server in the same process without a socket:
// for tests in a testing/synctest bubble, whose clock stands still while a
// socket is read. Every URL leads to Server. Answers are delivered whole, so
// /sse has to be asked for an end.
type Transport struct {
	Server *Server
}

// RoundTrip implements [http.RoundTripper]. A dropped connection is [io.EOF]; a
// truncated body ends with [io.ErrUnexpectedEOF].
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, leave := context.WithCancel(r.Context())
	incoming := r.Clone(ctx)
	incoming.RequestURI = r.URL.RequestURI()
	incoming.Host = cmp.Or(r.Host, r.URL.Host)
	incoming.Proto, incoming.ProtoMajor, incoming.ProtoMinor = "HTTP/1.1", 1, 1
	if r.URL.Scheme == "https" {
		incoming.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	if r.Body == nil {
		incoming.Body = http.NoBody
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	answered := make(chan *served, 1)
	go func() {
		defer leave()
		defer incoming.Body.Close()
		answered <- t.Server.answer(incoming)
	}()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case answer := <-answered:
		return answer.response(r)
	}
}

// served is a whole answer, or what there was of it when it was broken off.
type served struct {
	*recording
	broken bool
}

func (s *Server) answer(r *http.Request) (answer *served) {
	answer = &served{recording: newRecording()}
	defer func() {
		switch cause := recover(); cause {
		case nil:
		case http.ErrAbortHandler:
			answer.broken = true
		default:
			panic(cause)
		}
	}()
	s.ServeHTTP(answer.recording, r)
	return answer
}

func (a *served) response(r *http.Request) (*http.Response, error) {
	if a.broken && a.status == 0 {
		return nil, io.EOF
	}
	var body io.Reader = &a.body
	length := int64(a.body.Len())
	if a.broken {
		body, length = io.MultiReader(body, brokenOff{}), -1
	}
	if r.Method == http.MethodHead {
		body = new(bytes.Reader)
	}
	status := cmp.Or(a.status, http.StatusOK)
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(body), ContentLength: length, Request: r,
	}, nil
}

// brokenOff is where a body ends too early.
type brokenOff struct{}

func (brokenOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

var (
	_ http.RoundTripper = Transport{}
	_ http.Handler      = (*Server)(nil)
)
