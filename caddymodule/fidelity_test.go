package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// lane is a way from a caller to an API.
type lane struct {
	*proxied
	client *http.Client
	// call is the path in front of the API's.
	call string
	// major are the versions of HTTP that are spoken on both sides.
	callerMajor, apiMajor int
	roots                 *x509.CertPool
}

// open sends a request along the lane.
func (l lane) open(ctx context.Context, method, path string, body io.Reader, header ...string) *http.Response {
	l.t.Helper()
	response := l.proxied.open(ctx, l.client, method, l.call+path, body, header...)
	if response.ProtoMajor != l.callerMajor {
		l.t.Errorf("the caller speaks %s", response.Proto)
	}
	return response
}

// handle has f answer on the lane; it fails the test where another version of
// HTTP than the lane's arrives.
func (l lane) handle(f http.HandlerFunc) {
	l.api.handle(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != l.apiMajor {
			l.t.Errorf("the API is spoken to with %s", r.Proto)
		}
		f(w, r)
	})
}

// eachLane runs a test between callers and APIs over HTTP/1.1 in clear text and
// over HTTP/2 in TLS.
func eachLane(t *testing.T, test func(*testing.T, lane)) {
	t.Helper()
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	shared := newAPI(t)
	secure := httptest.NewUnstartedServer(shared)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := "bellhop {\nproxy {\nupstream api.acme.example " + shared.URL + "\nupstream secure.example.com " + secure.URL +
		"\ntransport http {\nversions 1.1 2\ntls_trust_pool file " + caFile + "\n}\n}\n}\n}\n"
	s := startProxied(
		t, "auto_https off", "auto_https disable_redirects\nskip_install_trust\nlocal_certs\nstorage file_system {{dir}}/data",
		"api_host api.acme.example", "api_host api.acme.example\napi_host secure.example.com",
		"http://{{addr}} {", "https://localhost:"+port+" {\nbind 127.0.0.1\n"+proxy+"http://{{addr}} {",
		"upstream api.acme.example {{api}}", "upstream api.acme.example "+shared.URL+"\nupstream secure.example.com "+secure.URL+
			"\ntransport http {\nversions 1.1 2\ntls_trust_pool file "+caFile+"\n}",
	)
	s.api = shared
	root, err := os.ReadFile(filepath.Join(s.dir, "data/pki/authorities/local/root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	awaitCertificate(t, addr, roots)
	http2 := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, ExpectContinueTimeout: time.Minute}
	http1 := &http.Transport{ExpectContinueTimeout: time.Minute}
	t.Cleanup(http1.CloseIdleConnections)
	t.Cleanup(http2.CloseIdleConnections)
	for _, caller := range []struct {
		name, url string
		transport *http.Transport
		major     int
	}{{"HTTP/1.1", s.url, http1, 1}, {"HTTP/2", "https://localhost:" + port, http2, 2}} {
		for _, api := range []struct {
			name, host string
			major      int
		}{{"HTTP/1.1", "api.acme.example", 1}, {"HTTP/2", "secure.example.com", 2}} {
			t.Run("caller "+caller.name+", API "+api.name, func(t *testing.T) {
				p, b := *s, *s.bellhop
				b.t, b.url, p.bellhop = t, caller.url, &b
				// An account of its own, for how often a token is renewed by
				// force is bounded.
				id := fmt.Sprintf("lane-%d-%d", caller.major, api.major)
				_, refreshToken := s.provider.grant(t, fakeprovider.Grant{Scope: "mail.read"})
				s.addAccount(id, "acme", id+"@example.com", refreshToken)
				test(t, lane{
					proxied: &p, client: &http.Client{Transport: caller.transport, CheckRedirect: client.CheckRedirect}, call: "/proxy/" + id + "/" + api.host,
					callerMajor: caller.major, apiMajor: api.major, roots: roots,
				})
				shared.handle(nil)
				shared.take()
			})
		}
	}
}

func TestTrailersPassOnEveryLane(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		l.handle(func(w http.ResponseWriter, r *http.Request) {
			l.api.record(r)
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = io.WriteString(w, "body") // over HTTP/2, with a length
			w.Header().Set("Grpc-Status", "0")
			w.Header().Set(http.TrailerPrefix+"Set-Cookie", "a=b")
		})
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.url+l.call+"/x", chunked(strings.NewReader("text")))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+l.key)
		request.Header.Set("TE", "trailers")
		request.Trailer = http.Header{"X-Digest": {"of the request"}, "X-Bellhop-Key": {l.key}}
		response, err := l.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if body, err := io.ReadAll(response.Body); err != nil || string(body) != "body" {
			t.Errorf("%q, %v", body, err)
		}
		if diff := cmp.Diff(http.Header{"Grpc-Status": {"0"}}, response.Trailer); diff != "" {
			t.Error(diff)
		}
		got := l.api.only(t)
		if diff := cmp.Diff(http.Header{"X-Digest": {"of the request"}}, got.Trailer); diff != "" || got.Body != "text" || got.Header.Get("Te") != "trailers" {
			t.Errorf("%q %v\n%s", got.Body, got.Header, diff)
		}
	})
}

func TestEventsPassOneByOneOnEveryLane(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		seen := make(chan struct{})
		l.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for n := range 3 {
				fmt.Fprintf(w, "data: %d\n\n", n)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-seen:
				case <-r.Context().Done():
					return
				}
			}
		})
		events := bufio.NewScanner(l.open(t.Context(), http.MethodGet, "/x", nil).Body)
		for n := range 3 {
			if !events.Scan() || events.Text() != fmt.Sprintf("data: %d", n) || !events.Scan() {
				t.Fatalf("event %d: %q, %v", n, events.Text(), events.Err())
			}
			seen <- struct{}{}
		}
	})
}

// TestUploadAndAnswerPassSideBySide has each line of an upload answered before
// the next is sent.
func TestUploadAndAnswerPassSideBySide(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		l.handle(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			_ = c.EnableFullDuplex()
			_ = c.Flush()
			for lines := bufio.NewScanner(r.Body); lines.Scan(); {
				fmt.Fprintf(w, "%s, please\n", lines.Text())
				_ = c.Flush()
			}
		})
		body, lines := io.Pipe()
		answers := bufio.NewScanner(l.open(t.Context(), http.MethodPost, "/x", body).Body)
		for n := range 5 {
			if _, err := fmt.Fprintf(lines, "line %d\n", n); err != nil {
				t.Fatal(err)
			}
			if !answers.Scan() || answers.Text() != fmt.Sprintf("line %d, please", n) {
				t.Fatalf("line %d: %q, %v", n, answers.Text(), answers.Err())
			}
		}
		lines.Close()
		if answers.Scan() || answers.Err() != nil {
			t.Errorf("behind the end: %q, %v", answers.Text(), answers.Err())
		}
	})
}

func TestAnEarlyAnswerDamagesNoUpload(t *testing.T) {
	const size = 3 * mib
	want := digest(t, size)
	eachLane(t, func(t *testing.T, l lane) {
		l.handle(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			_ = c.EnableFullDuplex()
			_ = c.Flush()
			h := sha256.New()
			n, err := io.Copy(h, r.Body)
			fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
		})
		for name, body := range map[string]io.Reader{"length": &sized{fakeprovider.Bytes(size), size}, "no length": chunked(fakeprovider.Bytes(size))} {
			text, err := io.ReadAll(l.open(t.Context(), http.MethodPut, "/x", body).Body)
			if got := fmt.Sprintf("%d %s <nil>", size, want); err != nil || string(text) != got {
				t.Errorf("%s: %s, %v, want %s", name, text, err, got)
			}
		}
	})
}

// TestAnAPIThatRefusesAnUploadIsHeard has the API answer and read nothing.
func TestAnAPIThatRefusesAnUploadIsHeard(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		l.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close") // has HTTP/1.1 read nothing more
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "no more of this")
		})
		body, sender := io.Pipe()
		defer sender.Close()
		go func() { _, _ = io.Copy(sender, fakeprovider.Bytes(64*kib)) }()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		defer context.AfterFunc(ctx, func() { _ = sender.Close() })()
		response := l.open(ctx, http.MethodPost, "/x", body)
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusForbidden || string(text) != "no more of this" {
			t.Errorf("%d %q, %v", response.StatusCode, text, err)
		}
	})
}

func TestLeavingEndsTheCallOnEveryLane(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		started, ended := make(chan struct{}), make(chan struct{})
		l.handle(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			close(started)
			<-r.Context().Done()
			close(ended)
		})
		ctx, leave := context.WithCancel(t.Context())
		response := l.open(ctx, http.MethodGet, "/x", nil)
		<-started
		leave()
		response.Body.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the API still works on it")
		}
	})
}

// TestLeavingWhileTheTokenIsRenewedEndsTheCallAlone has the caller hang up
// during a token request.
func TestLeavingWhileTheTokenIsRenewedEndsTheCallAlone(t *testing.T) {
	s := startProxied(t)
	queued := fakeprovider.Fault{Grant: s.grants["bob"], On: fakeprovider.EndpointToken, Gate: "renewal"}
	if _, err := s.provider.QueueFaults(t.Context(), queued); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.send(ctx, http.MethodGet, "/proxy/bob/x", nil, "Authorization", "Bearer "+s.key)
		left <- err
	}()
	if err := s.provider.AwaitHeld(t.Context(), "renewal", 1); err != nil {
		t.Fatal(err)
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("leaving: %v", err)
	}
	if _, err := s.provider.Release(t.Context(), "renewal"); err != nil {
		t.Fatal(err)
	}
	if r := s.call(http.MethodGet, "/proxy/bob/x", nil); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	if n := s.provider.tokenRequests(t); n != 1 {
		t.Errorf("%d token requests, want the one that was left behind", n)
	}
	if taken := s.api.take(); len(taken) != 1 {
		t.Errorf("%d calls reached the API, want the second alone", len(taken))
	}
}

func TestEarlyHintsPassOnEveryLane(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		heard := make(chan struct{})
		l.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.Header().Set("Set-Cookie", "a=b")
			w.WriteHeader(http.StatusEarlyHints)
			select {
			case <-heard: // before the answer is given
			case <-r.Context().Done():
			}
			w.WriteHeader(http.StatusNoContent)
		})
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
			if status != http.StatusEarlyHints || h.Get("Link") == "" || h.Get("Set-Cookie") != "" {
				t.Errorf("%d %v", status, h)
			}
			close(heard)
			return nil
		}})
		if r := l.open(ctx, http.MethodGet, "/x", nil); r.StatusCode != http.StatusNoContent {
			t.Errorf("%d", r.StatusCode)
		}
	})
}

func TestARefusedTokenIsRenewedOnEveryLane(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		l.handle(func(w http.ResponseWriter, r *http.Request) {
			l.api.record(r)
			l.handle(l.api.echoBody)
			w.WriteHeader(http.StatusUnauthorized)
		})
		body := pattern(10 * kib)
		text, err := io.ReadAll(l.open(t.Context(), http.MethodPost, "/x", chunked(bytes.NewReader(body))).Body)
		if err != nil || !bytes.Equal(text, body) {
			t.Errorf("%d bytes came back, %v", len(text), err)
		}
		taken := l.api.take()
		if len(taken) != 2 || taken[0].Body != string(body) || taken[0].Header.Get("Authorization") == taken[1].Header.Get("Authorization") {
			t.Errorf("sent %d times", len(taken))
		}
	})
}

// echoBody answers with what it was sent.
func (a *api) echoBody(w http.ResponseWriter, r *http.Request) {
	a.record(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = io.WriteString(w, a.arrived[len(a.arrived)-1].Body)
}

func TestWebSocketsPassThroughTLS(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		if l.apiMajor == 2 {
			return // is a tunnel of HTTP/1.1
		}
		t.Cleanup(func() { l.awaitTunnels(1) })
		l.api.handle(upgrade)
		addr := strings.TrimPrefix(strings.TrimPrefix(l.url, "https://"), "http://")
		var conn net.Conn
		var err error
		if strings.HasPrefix(l.url, "https:") {
			dialer := &tls.Dialer{Config: &tls.Config{RootCAs: l.roots, NextProtos: []string{"http/1.1"}}}
			conn, err = dialer.DialContext(t.Context(), "tcp", addr)
		} else {
			conn, err = new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s/socket HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n", l.call, addr, l.key)
		reader := bufio.NewReader(conn)
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Upgrade") != "websocket" {
			t.Fatalf("%d %v", response.StatusCode, response.Header)
		}
		for n := range 3 {
			message := fmt.Sprintf("message %d\n", n)
			if _, err := io.WriteString(conn, message); err != nil {
				t.Fatal(err)
			}
			if got, err := reader.ReadString('\n'); err != nil || got != message {
				t.Fatalf("%q came back as %q, %v", message, got, err)
			}
		}
	})
}

// TestAnUploadIsSentAtMostOnce counts what reaches the API of a call that
// changes something, however the API fails.
func TestAnUploadIsSentAtMostOnce(t *testing.T) {
	bodies := map[string]func() io.Reader{
		"small":          func() io.Reader { return strings.NewReader("a body") },
		"small, chunked": func() io.Reader { return chunked(strings.NewReader("a body")) },
		"10 MiB":         func() io.Reader { return &sized{fakeprovider.Bytes(10 * mib), 10 * mib} },
		"10 MiB chunked": func() io.Reader { return chunked(fakeprovider.Bytes(10 * mib)) },
	}
	readAll := func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	failures := map[string]struct {
		fail http.HandlerFunc
		code problem.Code // empty: the API's answer passes
		any  bool         // which of both depends on what was read when
	}{
		"503": {func(w http.ResponseWriter, r *http.Request) {
			readAll(r)
			w.WriteHeader(http.StatusServiceUnavailable)
		}, "", false},
		"429 at once":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, "", true},
		"reset at once": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, problem.UpstreamError, false},
		"reset in the body": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 3)
			panic(http.ErrAbortHandler)
		}, problem.UpstreamError, false},
		"reset behind the body": {func(_ http.ResponseWriter, r *http.Request) {
			readAll(r)
			panic(http.ErrAbortHandler)
		}, problem.UpstreamError, false},
	}
	eachLane(t, func(t *testing.T, l lane) {
		for name, failure := range failures {
			for size, body := range bodies {
				// The connection has been used before, so that a failure may
				// be taken for one that was idle for too long.
				l.handle(func(http.ResponseWriter, *http.Request) {})
				l.open(t.Context(), http.MethodGet, "/warm", nil)
				arrived := make(chan struct{}, 10)
				l.handle(func(w http.ResponseWriter, r *http.Request) {
					arrived <- struct{}{}
					failure.fail(w, r)
				})
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.url+l.call+"/x", body())
				if err != nil {
					t.Fatal(err)
				}
				if b, ok := request.Body.(interface{ Len() int }); ok {
					request.ContentLength = int64(b.Len())
				}
				request.Header.Set("Authorization", "Bearer "+l.key)
				request.Header.Set("Idempotency-Key", "1") // for the API to judge
				response, err := l.client.Do(request)
				if err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
					if got := response.Header.Get("Bellhop-Error"); got != string(failure.code) && !failure.any {
						t.Errorf("%s, %s: %d %s", name, size, response.StatusCode, got)
					}
				} else if !strings.HasPrefix(size, "10 MiB") {
					t.Errorf("%s, %s: %v", name, size, err)
				}
				if n := len(arrived); n != 1 {
					t.Errorf("%s, %s: sent %d times", name, size, n)
				}
			}
		}
	})
}

func TestALargeUploadIsNotSentAgainWithAnotherToken(t *testing.T) {
	s := startProxied(t)
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		s.api.record(r)
		w.WriteHeader(http.StatusUnauthorized)
	})
	for name, body := range map[string]io.Reader{"length": &sized{fakeprovider.Bytes(10 * mib), 10 * mib}, "no length": chunked(fakeprovider.Bytes(10 * mib))} {
		r := s.call(http.MethodPost, "/proxy/bob/x", body)
		got := s.api.only(t)
		if r.status != http.StatusUnauthorized || r.header.Get("Bellhop-Error") != "" || len(got.Body) != 10*mib {
			t.Errorf("%s: %d %v, %d bytes", name, r.status, r.header, len(got.Body))
		}
	}
}

func TestPlaceholdersOfCallersAreNotExpanded(t *testing.T) {
	t.Setenv("BELLHOP_TEST_SECRET", "expanded")
	s := startProxied(t)
	const held = "{env.BELLHOP_TEST_SECRET} {$BELLHOP_TEST_SECRET} ${BELLHOP_TEST_SECRET} {http.request.host} {http.vars.client_ip} {http.request.header.Authorization}"
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		s.api.record(r)
		w.Header().Set("X-Held", held)
		_, _ = io.WriteString(w, held)
	})
	// In a path, braces must be escaped.
	const target = "/x/%7Benv.BELLHOP_TEST_SECRET%7D/$%7Bx%7D?y={env.BELLHOP_TEST_SECRET}&{http.request.host}=${x}"
	r := s.call(http.MethodPost, "/proxy/bob"+target, strings.NewReader(held), "X-Held", held, "Content-Type", held)
	got := s.api.only(t)
	if got.Target != target || got.Body != held || got.Header.Get("X-Held") != held || got.Header.Get("Content-Type") != held {
		t.Errorf("arrived: %+v", got)
	}
	if r.header.Get("X-Held") != held || string(r.body) != held {
		t.Errorf("came back: %v %s", r.header, r.body)
	}
	wantProblem(t, s.call(http.MethodGet, "/proxy/%7Benv.BELLHOP_TEST_SECRET%7D/x", nil), problem.AccountNotFound)
	if strings.Contains(fmt.Sprint(s.api.take(), r), "expanded") {
		t.Error("the environment shows")
	}
}

func TestTheConnectionFieldTakesNoTokenAway(t *testing.T) {
	s := startProxied(t)
	for _, named := range []string{"Authorization", "authorization, close", "X-Bellhop-Key, Authorization", "close,,AUTHORIZATION"} {
		s.raw("GET /proxy/bob/x HTTP/1.1", "Host: "+s.addr, "X-Bellhop-Key: "+s.key, "Connection: "+named)
		got := s.api.only(t)
		if a := got.Header.Values("Authorization"); len(a) != 1 || !strings.HasPrefix(a[0], "Bearer ya29.") {
			t.Errorf("%s: Authorization is %q", named, a)
		}
		if _, ok := got.Header["Connection"]; ok {
			t.Errorf("%s arrived", named)
		}
	}
}

func TestMethodsCannotBeOverridden(t *testing.T) {
	s := startProxied(t)
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-METHOD"} {
		s.call(http.MethodPost, "/proxy/bob/x?a=b", nil, name, "DELETE")
		if got := s.api.only(t); got.Method != http.MethodPost || strings.Contains(fmt.Sprint(got.Header), "DELETE") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, parameter := range []string{"_method", "$httpMethod", "%24httpMethod", "$HTTPMETHOD", "x-http-method-override", "X-HTTP-Method"} {
		s.call(http.MethodPost, "/proxy/bob/x?a=b&"+parameter+"=DELETE&c", nil)
		if got := s.api.only(t); got.Method != http.MethodPost || got.Target != "/x?a=b&c" {
			t.Errorf("%s: %+v", parameter, got)
		}
	}
}

// TestUnderscoresShadowNothing is for sites that have Caddy let through fields
// with underscores and dots, which it drops otherwise.
func TestUnderscoresShadowNothing(t *testing.T) {
	s := startProxied(t, "auto_https off", "auto_https off\nservers {\n"+
		"expected_underscore_headers authorization_ x_forwarded_* proxy_* cookie_ x_goog_* x_http_* x_custom\n"+
		"expected_dot_headers x.forwarded.* authorization. x.custom\n}")
	var lines []string
	for _, name := range []string{
		"Authorization_", "X_Forwarded_For", "X_Forwarded_Host", "Proxy_Authorization", "Cookie_", "X_Goog_Api_Key", "X_Goog_User_Project",
		"X_Http_Method_Override", "X_Http_Method", "X.Forwarded.For", "Authorization.", "X_Custom", "X.Custom",
	} {
		lines = append(lines, name+": x")
	}
	s.raw(append([]string{"GET /proxy/bob/x HTTP/1.1", "Host: " + s.addr, "Authorization: Bearer " + s.key}, lines...)...)
	got := s.api.only(t).Header
	got.Del("Authorization")
	if diff := cmp.Diff(http.Header{"X_custom": {"x"}, "X.custom": {"x"}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestCallersNeverChooseTheAddress names a server of the caller's in every place
// that a proxy might take an address from.
func TestCallersNeverChooseTheAddress(t *testing.T) {
	canary := newRecorder(t)
	addr := canary.listener.Addr().String()
	s := startProxied(t)
	for _, lines := range [][]string{
		{"GET /proxy/bob/x HTTP/1.1", "Host: " + addr},
		{"GET http://" + addr + "/proxy/bob/x HTTP/1.1", "Host: " + s.addr},
		{"GET http://" + addr + "/ HTTP/1.1", "Host: " + addr},
		{"GET /proxy/bob/" + addr + "/x HTTP/1.1", "Host: " + s.addr},
		{"GET /proxy/bob/http://" + addr + "/x HTTP/1.1", "Host: " + s.addr},
		{"GET /proxy/bob//" + addr + "/x HTTP/1.1", "Host: " + s.addr},
		{"GET /proxy/bob/@" + addr + "/x HTTP/1.1", "Host: " + s.addr},
		{"GET /proxy/bob/api.acme.example@" + addr + "/x HTTP/1.1", "Host: " + s.addr},
		{"GET /proxy/bob/api.acme.example:80@" + addr + "/x HTTP/1.1", "Host: " + s.addr},
		{"CONNECT " + addr + " HTTP/1.1", "Host: " + addr},
		{"GET /proxy/bob/x HTTP/1.1", "Host: " + s.addr, "X-Forwarded-Host: " + addr, "X-Original-URL: http://" + addr + "/", "Forwarded: host=" + addr},
		{"GET /proxy/bob/x?url=http://" + addr + "/ HTTP/1.1", "Host: " + s.addr, "Proxy: http://" + addr, "X-Host: " + addr, "Destination: http://" + addr + "/"},
	} {
		s.raw(append(lines, "X-Bellhop-Key: "+s.key)...)
	}
	for _, got := range canary.take() {
		t.Errorf("dialled: %q", got.raw)
	}
	for _, got := range s.api.take() {
		if got.Host != "api.acme.example" {
			t.Errorf("arrived: %+v", got)
		}
	}
}

func TestRedirectsAreNeverFollowed(t *testing.T) {
	canary := newRecorder(t)
	elsewhere := "http://" + canary.listener.Addr().String() + "/caught"
	eachLane(t, func(t *testing.T, l lane) {
		for _, status := range []int{301, 302, 303, 307, 308} {
			for _, location := range []string{elsewhere, strings.Replace(elsewhere, "http:", "", 1)} {
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					l.handle(func(w http.ResponseWriter, r *http.Request) {
						l.api.record(r)
						w.Header().Set("Location", location)
						w.WriteHeader(status)
					})
					response := l.open(t.Context(), method, "/x", strings.NewReader("body"))
					if got := response.Header.Get("Location"); response.StatusCode != status || got != location {
						t.Errorf("%d: %d, Location %q", status, response.StatusCode, got)
					}
					l.api.only(t)
				}
			}
		}
	})
	for _, got := range canary.take() {
		t.Errorf("followed: %q", got.raw)
	}
}

// TestAResumableUploadIsResumed goes through Google's protocol, in which 308 is
// no redirect.
func TestAResumableUploadIsResumed(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		var stored bytes.Buffer
		const size = 3 * 256 * kib
		l.handle(func(w http.ResponseWriter, r *http.Request) {
			var first, last, total int
			if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total); err == nil {
				if n, err := io.Copy(&stored, r.Body); err != nil || int(n) != last-first+1 || stored.Len() != last+1 || total != size {
					t.Errorf("%s: %d bytes, %v", r.Header.Get("Content-Range"), n, err)
				}
			} else if r.Header.Get("Content-Range") != "bytes */*" {
				t.Errorf("Content-Range is %q", r.Header.Get("Content-Range"))
			}
			if stored.Len() == size {
				_, _ = io.WriteString(w, "done")
				return
			}
			if stored.Len() > 0 {
				w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", stored.Len()-1))
			}
			w.WriteHeader(http.StatusPermanentRedirect)
		})
		whole := pattern(size)
		put := func(contentRange string, body []byte) *http.Response {
			return l.open(t.Context(), http.MethodPut, "/upload?upload_id=x", bytes.NewReader(body), "Content-Range", contentRange)
		}
		for first := 0; first < size; first += size / 3 {
			last := first + size/3 - 1
			response := put(fmt.Sprintf("bytes %d-%d/%d", first, last, size), whole[first:last+1])
			if last < size-1 {
				if got := response.Header.Get("Range"); response.StatusCode != http.StatusPermanentRedirect || got != fmt.Sprintf("bytes=0-%d", last) || response.Header.Get("Location") != "" {
					t.Fatalf("%d %v", response.StatusCode, response.Header)
				}
				if asked := put("bytes */*", nil); asked.Header.Get("Range") != response.Header.Get("Range") {
					t.Errorf("asking for the state: %d %v", asked.StatusCode, asked.Header)
				}
				continue
			}
			if text, err := io.ReadAll(response.Body); err != nil || string(text) != "done" || !bytes.Equal(stored.Bytes(), whole) {
				t.Errorf("%q, %v, %d bytes", text, err, stored.Len())
			}
		}
	})
}

func TestNotModifiedAndPartsPass(t *testing.T) {
	eachLane(t, func(t *testing.T, l lane) {
		l.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"v1"`)
			w.Header().Set("Content-Type", "text/plain")
			http.ServeContent(w, r, "", time.Time{}, fakeprovider.Bytes(100))
		})
		for name, c := range map[string]struct {
			header []string
			status int
			body   string
		}{
			"not modified":   {[]string{"If-None-Match", `"v1"`}, http.StatusNotModified, ""},
			"part":           {[]string{"Range", "bytes=2-4"}, http.StatusPartialContent, "cde"},
			"part, if same":  {[]string{"Range", "bytes=2-4", "If-Range", `"v1"`}, http.StatusPartialContent, "cde"},
			"no such part":   {[]string{"Range", "bytes=200-"}, http.StatusRequestedRangeNotSatisfiable, "invalid range: failed to overlap\n"},
			"other revision": {[]string{"If-Match", `"v2"`}, http.StatusPreconditionFailed, ""},
		} {
			response := l.open(t.Context(), http.MethodGet, "/x", nil, c.header...)
			text, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != c.status || string(text) != c.body || c.status < 400 && response.Header.Get("Etag") != `"v1"` {
				t.Errorf("%s: %d %v %q, %v", name, response.StatusCode, response.Header, text, err)
			}
		}
	})
}

// TestNoAnswerOfAnAPIActsOnThisOrigin looks at each field that does, on each
// lane, with each kind of status.
func TestNoAnswerOfAnAPIActsOnThisOrigin(t *testing.T) {
	fields := []string{
		"Set-Cookie", "Set-Cookie2", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc", "Nel", "Report-To", "Reporting-Endpoints",
		"Service-Worker-Allowed", "Refresh", "Public-Key-Pins", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Bellhop-Error",
	}
	eachLane(t, func(t *testing.T, l lane) {
		for _, status := range []int{200, 204, 206, 302, 304, 308, 401, 404, 500} {
			l.handle(func(w http.ResponseWriter, _ *http.Request) {
				for _, field := range fields {
					w.Header().Set(field, "x")
				}
				w.Header().Set("Www-Authenticate", "Bearer")
				w.WriteHeader(status)
			})
			response := l.open(t.Context(), http.MethodGet, "/x", nil)
			if i := slices.IndexFunc(fields, func(field string) bool { return slices.Contains(response.Header.Values(field), "x") }); i >= 0 || response.StatusCode != status {
				t.Errorf("%d became %d: %v", status, response.StatusCode, response.Header)
			}
			if !strings.HasPrefix(response.Header.Get("Content-Security-Policy"), "sandbox;") || response.Header.Get("Www-Authenticate") != "Bearer" {
				t.Errorf("%d: %v", status, response.Header)
			}
		}
	})
}
