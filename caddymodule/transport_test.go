package caddymodule

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// digest is the SHA-256 of what /bytes/{n} answers.
func digest(t *testing.T, n int64) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, fakeprovider.Bytes(n)); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// chunked hides the length of a body.
func chunked(r io.Reader) io.Reader { return struct{ io.Reader }{r} }

// open sends a request with the site's key and returns the answer unread.
func (s *proxied) open(ctx context.Context, c *http.Client, method, path string, body io.Reader, header ...string) *http.Response {
	s.t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.key)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := c.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestRequestFieldsThatReachTheAPI(t *testing.T) {
	s := startProxied(t)
	s.raw(
		"GET /proxy/bob/x HTTP/1.1", "Host: "+s.addr, "X-Bellhop-Key: "+s.key,
		// Removed:
		"Authorization: Bearer the-callers-own", "X-Goog-Api-Key: AIza", "Proxy-Authorization: Basic eDp5", "Proxy-Connection: x",
		"Cookie: a=b", "Origin: https://x.example", "Referer: https://x.example/", "Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1",
		"X-Forwarded-Host: x", "X-Forwarded-Proto: https", "X-Real-IP: 192.0.2.1", "Via: 1.1 x", "CF-Ray: 1", "Traceparent: x", "Tracestate: x", "Baggage: x",
		"X-Bellhop-Other: x", "X-Goog-User-Project: x", "X-HTTP-Method-Override: DELETE", "X_Forwarded_For: 192.0.2.1", "X-Goog_User-Project: x",
		"Keep-Alive: x", "TE: gzip", "Upgrade: h2c", "X-Named: x",
		"Connection: Authorization, X-Named, keep-alive",
		// Passed on:
		"Prefer: outlook.timezone=\"UTC\"", "ConsistencyLevel: eventual", "If-Match: W/\"1\"", "X-Upload-Content-Type: a/b", "X-Goog-Upload-Protocol: resumable",
		"X-GUploader-No-308: yes", "X-Goog-FieldMask: a", "client-request-id: 1", "Accept: a", "Accept: b", "Accept-Encoding: br, gzip", "Range: bytes=0-1",
		"X-Empty:", "Incremental: ?1",
	)
	got := s.api.only(t)
	token := got.Header.Values("Authorization")
	if len(token) != 1 || !strings.HasPrefix(token[0], "Bearer ya29.") {
		t.Errorf("Authorization is %q", token)
	}
	got.Header.Del("Authorization")
	want := http.Header{
		"Prefer": {`outlook.timezone="UTC"`}, "Consistencylevel": {"eventual"}, "If-Match": {`W/"1"`}, "X-Upload-Content-Type": {"a/b"},
		"X-Goog-Upload-Protocol": {"resumable"}, "X-Guploader-No-308": {"yes"}, "X-Goog-Fieldmask": {"a"}, "Client-Request-Id": {"1"},
		"Accept": {"a", "b"}, "Accept-Encoding": {"br, gzip"}, "Range": {"bytes=0-1"}, "X-Empty": {""}, "Incremental": {"?1"},
	}
	if diff := cmp.Diff(want, got.Header); diff != "" {
		t.Error(diff)
	}
	if got.Host != "api.acme.example" {
		t.Errorf("Host is %q", got.Host)
	}
	t.Run("user agent and trailers are announced as the caller does", func(t *testing.T) {
		s.raw("GET /proxy/bob/x HTTP/1.1", "Host: "+s.addr, "Authorization: Bearer "+s.key, "User-Agent: tool/1", "TE: trailers")
		got := s.api.only(t)
		if got.Header.Get("User-Agent") != "tool/1" || got.Header.Get("Te") != "trailers" {
			t.Errorf("%v", got.Header)
		}
	})
}

func TestAnswerFieldsThatReachTheCaller(t *testing.T) {
	s := startProxied(t)
	s.api.handle(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), map[string][]string{
			"Set-Cookie": {"a=b", "c=d"}, "Clear-Site-Data": {"*"}, "Strict-Transport-Security": {"max-age=1"}, "Alt-Svc": {"h3"}, "Nel": {"{}"}, "Report-To": {"{}"},
			"Reporting-Endpoints": {"x"}, "Service-Worker-Allowed": {"/"}, "Refresh": {"0"}, "Access-Control-Allow-Origin": {"*"}, "Bellhop-Error": {"InvalidKey"},
			"Keep-Alive": {"x"}, "Proxy-Authenticate": {"x"},
			"Etag": {`"1"`}, "Location": {"https://elsewhere.example/x"}, "Content-Disposition": {"attachment"}, "X-Many": {"a", "b"}, "Www-Authenticate": {"Bearer"},
			"Content-Security-Policy": {"default-src *"}, "Cache-Control": {"public, max-age=60"}, "Vary": {"Accept"}, "Content-Type": {"text/html"}, "Date": {"x"},
		})
		w.WriteHeader(http.StatusFound)
	})
	r := s.call(http.MethodGet, "/proxy/bob/x", nil)
	want := http.Header{
		"Etag": {`"1"`}, "Location": {"https://elsewhere.example/x"}, "Content-Disposition": {"attachment"}, "X-Many": {"a", "b"}, "Www-Authenticate": {"Bearer"},
		"Content-Security-Policy": {"sandbox; default-src 'none'; frame-ancestors 'none'"}, "X-Content-Type-Options": {"nosniff"}, "Cross-Origin-Resource-Policy": {"same-origin"},
		"Cache-Control": {"private, max-age=60"}, "Vary": {"Accept", "Authorization, X-Bellhop-Key"}, "Content-Type": {"text/html"}, "Date": {"x"},
		"Via": {"1.1 Caddy"}, "Content-Length": {"0"},
	}
	if diff := cmp.Diff(want, r.header); diff != "" || r.status != http.StatusFound {
		t.Errorf("%d\n%s", r.status, diff)
	}
	s.api.handle(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "no-store") })
	if got := s.call(http.MethodGet, "/proxy/bob/x", nil).header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: no-store became %q", got)
	}
}

func TestInformationalAnswersPass(t *testing.T) {
	s := startProxied(t)
	s.api.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.Header().Set("Set-Cookie", "a=b")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Final", "x")
		w.WriteHeader(http.StatusOK)
	})
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /proxy/bob/x HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", s.addr, s.key)
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	hints, final, _ := strings.Cut(string(text), "\r\n\r\n")
	if !strings.HasPrefix(hints, "HTTP/1.1 103 ") || !strings.Contains(hints, "rel=preload") || !strings.HasPrefix(final, "HTTP/1.1 200 ") || !strings.Contains(final, "X-Final: x") {
		t.Errorf("got %s", text)
	}
	if strings.Contains(string(text), "Set-Cookie") {
		t.Errorf("the API's cookie passed: %s", text)
	}
}

func TestCompressedBodiesComeBackAsTheyAre(t *testing.T) {
	s := startProxied(t)
	var compressed bytes.Buffer
	z := gzip.NewWriter(&compressed)
	if _, err := z.Write([]byte("some text")); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Asked", r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(compressed.Bytes())
	})
	plain := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	for _, asked := range []string{"", "gzip", "br;q=1, gzip;q=0.5"} {
		var header []string
		if asked != "" {
			header = []string{"Accept-Encoding", asked}
		}
		response := s.open(t.Context(), plain, http.MethodGet, "/proxy/bob/x", nil, header...)
		got, err := io.ReadAll(response.Body)
		if err != nil || !bytes.Equal(got, compressed.Bytes()) || response.Header.Get("Content-Encoding") != "gzip" || response.ContentLength != int64(compressed.Len()) {
			t.Errorf("%q: %q, %v, %v", asked, got, response.Header, err)
		}
		if response.Header.Get("X-Asked") != asked {
			t.Errorf("%q became %q", asked, response.Header.Get("X-Asked"))
		}
	}
}

func TestLargeBodiesAreStreamed(t *testing.T) {
	const size = 20 * mib
	s := startProxied(t)
	want := digest(t, size)
	peak := watchHeap(t)
	for name, body := range map[string]io.Reader{
		"length":  &sized{fakeprovider.Bytes(size), size},
		"chunked": chunked(fakeprovider.Bytes(size)),
	} {
		var length int64 = -1
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.url+"/proxy/alice/echo", body)
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := body.(*sized); ok {
			length = b.size
			request.ContentLength = length
		}
		request.Header.Set("Authorization", "Bearer "+s.key)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		e := echoed(t, reply{response.StatusCode, response.Header, text})
		if e.BodyLength != size || e.BodySHA256 != want || e.ContentLength != length {
			t.Errorf("%s: %d bytes arrived, announced as %d", name, e.BodyLength, e.ContentLength)
		}
	}
	response := s.open(t.Context(), client, http.MethodGet, "/proxy/alice/bytes/"+strconv.Itoa(size), nil)
	h := sha256.New()
	if n, err := io.Copy(h, response.Body); err != nil || n != size || hex.EncodeToString(h.Sum(nil)) != want || response.ContentLength != size {
		t.Errorf("%d bytes came back: %v", n, err)
	}
	if grown := peak(); grown > size/2 {
		t.Errorf("the heap grew by %d MiB", grown/mib)
	}
}

// sized is a body whose length is announced.
type sized struct {
	io.Reader
	size int64
}

// watchHeap returns a function that ends watching and tells by how much the
// heap has grown at most.
func watchHeap(t *testing.T) func() uint64 {
	t.Helper()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	before, peak := heap(), uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				peak = max(peak, heap())
			case <-stop:
				return
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-stopped
		return max(peak, before) - before
	}
}

func TestRangesAndOddStatusesPass(t *testing.T) {
	s := startProxied(t)
	r := s.call(http.MethodGet, "/proxy/alice/bytes/100", nil, "Range", "bytes=10-19")
	if r.status != http.StatusPartialContent || r.header.Get("Content-Range") != "bytes 10-19/100" || string(r.body) != "klmnopqrst" {
		t.Errorf("%d %v %q", r.status, r.header, r.body)
	}
	for _, status := range []int{200, 201, 202, 204, 206, 300, 304, 308, 400, 403, 404, 409, 412, 413, 416, 429, 500, 502, 503, 504} {
		r := s.call(http.MethodGet, "/proxy/alice/status/"+strconv.Itoa(status), nil)
		if r.status != status || r.header.Get("Bellhop-Error") != "" {
			t.Errorf("%d became %d %v", status, r.status, r.header)
		}
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		r := s.call(http.MethodPost, fmt.Sprintf("/proxy/bob/x%d", status), strings.NewReader("x"))
		if r.status != http.StatusOK {
			t.Fatal(r.status)
		}
		s.api.take()
		s.api.handle(func(w http.ResponseWriter, r *http.Request) {
			s.api.record(r)
			w.Header().Set("Location", s.api.URL+"/followed")
			w.WriteHeader(status)
		})
		r = s.call(http.MethodPost, "/proxy/bob/x", strings.NewReader("x"))
		if r.status != status || r.header.Get("Location") != s.api.URL+"/followed" || s.api.only(t).Target != "/x" {
			t.Errorf("redirect %d: %d %v", status, r.status, r.header)
		}
		s.api.handle(nil)
	}
	if r := s.call(http.MethodHead, "/proxy/alice/bytes/100", nil); r.header.Get("Content-Length") != "100" {
		t.Errorf("HEAD: %v", r.header)
	}
}

func TestTrailersPassBothWays(t *testing.T) {
	s := startProxied(t)
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Digest")
		s.api.record(r)
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Digest", "of the answer")
		w.Header().Set(http.TrailerPrefix+"Bellhop-Error", "NotAllowed") // not the API's to say
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "a=b")
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/proxy/bob/x", chunked(strings.NewReader("text")))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.key)
	request.Trailer = http.Header{
		"X-Digest": {"of the request"}, "X-Bellhop-Key": {s.key}, "Authorization": {"Bearer " + s.key}, "Cookie": {"a=b"},
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "body" {
		t.Errorf("%q, %v", body, err)
	}
	if diff := cmp.Diff(http.Header{"X-Digest": {"of the answer"}}, response.Trailer); diff != "" {
		t.Error(diff)
	}
	got := s.api.only(t)
	if diff := cmp.Diff(http.Header{"X-Digest": {"of the request"}}, got.Trailer); diff != "" || got.Body != "text" {
		t.Errorf("%q\n%s", got.Body, diff)
	}
	t.Run("but no key in another field of them", func(t *testing.T) {
		request := request.Clone(t.Context())
		request.Body = io.NopCloser(chunked(strings.NewReader("text")))
		request.Trailer = http.Header{"X-Digest": {s.key}}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := s.api.only(t); strings.Contains(fmt.Sprint(got), s.key) {
			t.Errorf("arrived: %+v", got)
		}
	})
}

func TestEventsAreFlushedAtOnce(t *testing.T) {
	s := startProxied(t)
	next := make(chan struct{})
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", n)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next: // only when the caller has seen it
			case <-r.Context().Done():
				return
			}
		}
	})
	events := bufio.NewScanner(s.open(t.Context(), client, http.MethodGet, "/proxy/bob/x", nil).Body)
	for n := range 3 {
		if !events.Scan() || events.Text() != fmt.Sprintf("data: %d", n) || !events.Scan() {
			t.Fatalf("event %d: %q, %v", n, events.Text(), events.Err())
		}
		next <- struct{}{}
	}
}

func TestACallerThatLeavesEndsTheCallAtTheAPI(t *testing.T) {
	s := startProxied(t)
	started, ended := make(chan struct{}), make(chan struct{})
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		close(started)
		<-r.Context().Done()
		close(ended)
	})
	ctx, leave := context.WithCancel(t.Context())
	response := s.open(ctx, client, http.MethodGet, "/proxy/bob/x", nil)
	<-started
	leave()
	response.Body.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the API still works on it")
	}
}

// refusing is an API that refuses every body before it has read it, and keeps
// the connection.
func refusing(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
					_, _ = io.Copy(io.Discard, conn)
				}
			})
		}
	})
	return l.Addr().String()
}

func TestABodyThatTheAPIRefusesIsNotAskedFor(t *testing.T) {
	s := startProxied(t, "upstream api.acme.example {{api}}", "upstream api.acme.example http://"+refusing(t))
	for range 20 { // who reads first is chance
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /proxy/bob/x HTTP/1.1\r\nHost: %s\r\nX-Bellhop-Key: %s\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n", s.addr, s.key)
		text, err := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 413 ") {
			t.Fatalf("%v: %s", err, text)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	s := startProxied(t)
	t.Run("a refused call reads no body", func(t *testing.T) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /proxy/bob/x HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 5000000000\r\n\r\n", s.addr)
		text, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 401 ") {
			t.Errorf("%v: %s", err, text)
		}
	})
	t.Run("the API decides before the body is sent", func(t *testing.T) {
		s.api.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		})
		defer s.api.handle(nil)
		c := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}}
		body := &counting{Reader: fakeprovider.Bytes(20 * mib)}
		response := s.open(t.Context(), c, http.MethodPost, "/proxy/bob/x", body, "Expect", "100-continue")
		if response.StatusCode != http.StatusRequestEntityTooLarge || body.read() != 0 {
			t.Errorf("%d, after %d bytes", response.StatusCode, body.read())
		}
	})
	t.Run("the body follows", func(t *testing.T) {
		r := s.call(http.MethodPost, "/proxy/bob/x", strings.NewReader("text"), "Expect", "100-continue")
		if got := s.api.only(t); r.status != http.StatusOK || got.Body != "text" || got.Header.Get("Expect") != "100-continue" {
			t.Errorf("%d %+v", r.status, got)
		}
	})
	t.Run("and follows a token that was refused, however long it is", func(t *testing.T) {
		if err := s.provider.RevokeAccessTokens(t.Context(), s.grants["alice"]); err != nil {
			t.Fatal(err)
		}
		c := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}}
		s.call(http.MethodGet, "/proxy/alice/status/200", nil)
		if err := s.provider.RevokeAccessTokens(t.Context(), s.grants["alice"]); err != nil {
			t.Fatal(err)
		}
		response := s.open(t.Context(), c, http.MethodPut, "/proxy/alice/echo", chunked(fakeprovider.Bytes(mib)), "Expect", "100-continue")
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if e := echoed(t, reply{response.StatusCode, response.Header, text}); e.BodySHA256 != digest(t, mib) {
			t.Errorf("%d bytes arrived", e.BodyLength)
		}
	})
}

// counting is a body that counts what is read of it.
type counting struct {
	io.Reader
	mu sync.Mutex
	n  int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += int64(n)
	return n, err
}

func (c *counting) read() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestAnAPIMayAnswerWhileItReads has an API that begins its answer before it
// has read the request.
func TestAnAPIMayAnswerWhileItReads(t *testing.T) {
	const size = 3 * mib
	s := startProxied(t)
	want := digest(t, size)
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		_ = c.Flush()
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
	})
	for range 10 {
		response := s.open(t.Context(), client, http.MethodPut, "/proxy/bob/x", fakeprovider.Bytes(size))
		text, err := io.ReadAll(response.Body)
		if got := fmt.Sprintf("%d %s <nil>", size, want); err != nil || string(text) != got {
			t.Fatalf("%s, %v, want %s", text, err, got)
		}
	}
}

// upgrade answers a WebSocket handshake and sends back what comes.
func upgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		http.Error(w, "no upgrade", http.StatusBadRequest)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n")
	_, _ = io.Copy(conn, rw)
}

// webSocket shakes hands with the site and returns the status, and if it is 101
// what comes back for a message.
func (s *proxied) webSocket(protocol, message string) (int, string) {
	s.t.Helper()
	conn, err := new(net.Dialer).DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /proxy/bob/socket HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n", s.addr, s.key, protocol)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		return response.StatusCode, ""
	}
	if _, err := io.WriteString(conn, message); err != nil {
		s.t.Fatal(err)
	}
	echo := make([]byte, len(message))
	if _, err := io.ReadFull(reader, echo); err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(echo)
}

func TestWebSocketsPass(t *testing.T) {
	s := startProxied(t)
	t.Cleanup(func() { s.awaitTunnels(2) })
	s.api.handle(upgrade)
	if status, echo := s.webSocket("websocket", "hello"); status != http.StatusSwitchingProtocols || echo != "hello" {
		t.Errorf("%d %q", status, echo)
	}
	t.Run("after a token that was refused", func(t *testing.T) {
		refuse := true
		s.api.handle(func(w http.ResponseWriter, r *http.Request) {
			if refuse {
				refuse = false
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			upgrade(w, r)
		})
		if status, echo := s.webSocket("websocket", "hello"); status != http.StatusSwitchingProtocols || echo != "hello" {
			t.Errorf("%d %q", status, echo)
		}
	})
	t.Run("other protocols do not", func(t *testing.T) {
		s.api.handle(upgrade)
		for _, protocol := range []string{"h2c", "websocket, h2c", "TLS/1.0"} {
			if status, _ := s.webSocket(protocol, "hello"); status != http.StatusBadRequest {
				t.Errorf("%s: %d", protocol, status)
			}
		}
	})
}

func TestFailuresOnTheWayToTheAPI(t *testing.T) {
	s := startProxied(
		t, "upstream api.acme.example {{api}}", "upstream api.acme.example {{api}}\ntransport http {\nresponse_header_timeout 300ms\n}",
		"upstream gmail.googleapis.com ", "upstream people.googleapis.com http://"+freeAddr(t)+"\nupstream gmail.googleapis.com ",
	)
	t.Run("dial refused", func(t *testing.T) {
		r := s.call(http.MethodGet, "/proxy/alice/people.googleapis.com/x", nil)
		wantProblem(t, r, problem.UpstreamError)
		if !bytes.Contains(r.body, []byte(`"status":"UNAVAILABLE"`)) {
			t.Errorf("not in Google's words: %s", r.body)
		}
	})
	t.Run("no answer in time", func(t *testing.T) {
		s.api.handle(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		wantProblem(t, s.call(http.MethodGet, "/proxy/bob/x", nil), problem.UpstreamTimeout)
	})
	t.Run("a broken connection is not tried again", func(t *testing.T) {
		var mu sync.Mutex
		calls := 0
		s.api.handle(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			calls++
			mu.Unlock()
			_, _ = io.CopyN(io.Discard, r.Body, 3)
			panic(http.ErrAbortHandler)
		})
		wantProblem(t, s.call(http.MethodPost, "/proxy/bob/x", strings.NewReader("a body")), problem.UpstreamError)
		wantProblem(t, s.call(http.MethodPost, "/proxy/bob/x", chunked(strings.NewReader("a body"))), problem.UpstreamError)
		mu.Lock()
		defer mu.Unlock()
		if calls != 2 {
			t.Errorf("2 calls were sent %d times", calls)
		}
	})
	t.Run("an API's own failure is not tried again", func(t *testing.T) {
		s.api.handle(func(w http.ResponseWriter, r *http.Request) {
			s.api.record(r)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		r := s.call(http.MethodPost, "/proxy/bob/x", strings.NewReader("a body"))
		if r.status != http.StatusServiceUnavailable || r.header.Get("Bellhop-Error") != "" || s.api.only(t).Body != "a body" {
			t.Errorf("%d %v", r.status, r.header)
		}
	})
	t.Run("an answer that breaks off breaks off", func(t *testing.T) {
		s.api.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		response := s.open(t.Context(), client, http.MethodGet, "/proxy/bob/x", nil)
		if text, err := io.ReadAll(response.Body); string(text) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q, %v", text, err)
		}
	})
}

// secureAPI is an API over TLS with a certificate for example.com and the names
// below it. It answers which server name and connection a call came with.
func secureAPI(t *testing.T) (server *httptest.Server, caFile string) {
	t.Helper()
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = json.NewEncoder(w).Encode([]string{r.TLS.ServerName, r.Host, r.RemoteAddr, r.Proto})
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(caFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return server, caFile
}

func TestUpstreamsOverTLSAreTheAPIHosts(t *testing.T) {
	t.Run("by default", func(t *testing.T) { testUpstreamsOverTLS(t, "", "HTTP/1.1") })
	t.Run("HTTP/2 where it is configured", func(t *testing.T) { testUpstreamsOverTLS(t, "versions 1.1 2", "HTTP/2.0") })
}

func testUpstreamsOverTLS(t *testing.T, versions, wantProto string) {
	server, caFile := secureAPI(t)
	s := startProxied(
		t, "api_host api.acme.example", "api_host api.acme.example\napi_host a.example.com\napi_host b.example.com",
		"upstream api.acme.example {{api}}", strings.Join([]string{
			"upstream api.acme.example " + server.URL, "upstream a.example.com " + server.URL, "upstream b.example.com " + server.URL,
			"upstream people.googleapis.com " + server.URL,
			"transport http {", "tls_trust_pool file " + caFile, versions, "}",
		}, "\n"),
	)
	connections := map[string]string{}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range 40 {
		host := []string{"a.example.com", "b.example.com"}[i%2]
		wg.Go(func() {
			r, err := s.send(t.Context(), http.MethodPost, "/proxy/bob/"+host+"/x", strings.NewReader("text"), "Authorization", "Bearer "+s.key)
			var got []string
			if err != nil || json.Unmarshal(r.body, &got) != nil {
				t.Errorf("%v, %d %s", err, r.status, r.body)
				return
			}
			if got[0] != host || got[1] != host || got[3] != wantProto {
				t.Errorf("%s: server name %s, Host %s, %s", host, got[0], got[1], got[3])
			}
			mu.Lock()
			defer mu.Unlock()
			if other, ok := connections[got[2]]; ok && other != host {
				t.Errorf("%s and %s share a connection", host, other)
			}
			connections[got[2]] = host
		})
	}
	wg.Wait()
	wantProblem(t, s.call(http.MethodGet, "/proxy/bob/api.acme.example/x", nil), problem.UpstreamError)
	r := s.call(http.MethodGet, "/proxy/alice/people.googleapis.com/x", nil)
	wantProblem(t, r, problem.UpstreamError)
	if !bytes.Contains(r.body, []byte(`"reason":"UpstreamError"`)) {
		t.Errorf("a wrong certificate, not in Google's words: %s", r.body)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	// Caddy's own default keeps 32 idle connections. Where the machine is slow,
	// net/http gives up one or the other.
	const callers, bound = 100, 125
	var accepted atomic.Int64
	arrived, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	s := startProxied(t, "upstream api.acme.example {{api}}", "upstream api.acme.example "+server.URL)
	for range 2 {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() { s.call(http.MethodGet, "/proxy/bob/x", nil) })
		}
		for range callers {
			<-arrived
		}
		for range callers {
			release <- struct{}{}
		}
		wg.Wait()
	}
	if n := accepted.Load(); n > bound {
		t.Errorf("%d connections for two times %d calls at once", n, callers)
	}
}

func TestCallersOverHTTP2(t *testing.T) {
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	s := startProxied(
		t, "auto_https off", "auto_https disable_redirects\nskip_install_trust\nlocal_certs\nstorage file_system {{dir}}/data",
		"http://{{addr}} {", "https://localhost:"+port+" {\nbind 127.0.0.1\nbellhop {\nproxy {\nupstream api.acme.example {{api}}\n}\n}\n}\nhttp://{{addr}} {",
	)
	root, err := os.ReadFile(filepath.Join(s.dir, "data/pki/authorities/local/root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	s.url = "https://localhost:" + port
	awaitCertificate(t, addr, roots)
	for name, body := range map[string]io.Reader{"none": nil, "length": strings.NewReader("text"), "no length": chunked(strings.NewReader("text"))} {
		response := s.open(t.Context(), &http.Client{Transport: transport}, http.MethodPost, "/proxy/bob/a%2Fb?c", body, "Cookie", "a=b", "Cookie", "c=d")
		if text, err := io.ReadAll(response.Body); err != nil || string(text) != "from the API" || response.ProtoMajor != 2 {
			t.Errorf("%s: %s %q, %v", name, response.Proto, text, err)
		}
		got := s.api.only(t)
		want := map[string]string{"none": "", "length": "text", "no length": "text"}[name]
		if got.Target != "/a%2Fb?c" || got.Body != want || got.Header.Get("Cookie") != "" || got.Host != "api.acme.example" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// awaitCertificate returns once Caddy has issued the certificate for localhost,
// which it does on the side.
func awaitCertificate(t *testing.T, addr string, roots *x509.CertPool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "localhost"}}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// revoke has the API refuse the access tokens that were given out for an
// account.
func (s *proxied) revoke(account string) {
	s.t.Helper()
	if err := s.provider.RevokeAccessTokens(s.t.Context(), s.grants[account]); err != nil {
		s.t.Fatal(err)
	}
}

func TestARefusedTokenIsRenewedAndTheCallSentOnceMore(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		body   func() io.Reader
		size   int64
		again  bool
	}{
		"GET":                      {http.MethodGet, func() io.Reader { return nil }, 0, true},
		"DELETE":                   {http.MethodDelete, func() io.Reader { return nil }, 0, true},
		"POST":                     {http.MethodPost, func() io.Reader { return bytes.NewReader(pattern(10 * kib)) }, 10 * kib, true},
		"POST, chunked":            {http.MethodPost, func() io.Reader { return chunked(bytes.NewReader(pattern(10 * kib))) }, 10 * kib, true},
		"POST of the limit":        {http.MethodPost, func() io.Reader { return bytes.NewReader(pattern(64 * kib)) }, 64 * kib, true},
		"POST beyond":              {http.MethodPost, func() io.Reader { return bytes.NewReader(pattern(64*kib + 1)) }, 64*kib + 1, false},
		"POST far beyond, chunked": {http.MethodPost, func() io.Reader { return chunked(bytes.NewReader(pattern(mib))) }, mib, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := startProxied(t)
			refused := map[string]bool{} // tokens
			s.api.handle(func(w http.ResponseWriter, r *http.Request) {
				s.api.record(r)
				if refused[r.Header.Get("Authorization")] {
					w.Header().Set("WWW-Authenticate", "Bearer error=invalid_token")
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			if r := s.call(http.MethodGet, "/proxy/bob/x", nil); r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.body)
			}
			first := s.api.only(t).Header.Get("Authorization")
			refused[first] = true
			requests := s.provider.tokenRequests(t)

			r := s.call(c.method, "/proxy/bob/x?y=z", c.body(), "X-Other", "a")
			if n := s.provider.tokenRequests(t) - requests; n != 1 {
				t.Errorf("%d token requests, want 1", n)
			}
			arrived := s.api.take()
			want := 1
			if c.again {
				want = 2
			}
			if len(arrived) != want || (r.status == http.StatusOK) != c.again {
				t.Fatalf("%d, sent %d times, want %d", r.status, len(arrived), want)
			}
			for i, a := range arrived {
				if int64(len(a.Body)) != c.size || a.Body != string(pattern(int(c.size))) || a.Header.Get("X-Other") != "a" || a.Target != "/x?y=z" || a.Method != c.method {
					t.Errorf("attempt %d: %d bytes of %d, %s %s", i, len(a.Body), c.size, a.Method, a.Target)
				}
				if (a.Header.Get("Authorization") == first) != (i == 0) {
					t.Errorf("attempt %d went with token %s", i, a.Header.Get("Authorization"))
				}
			}
			if !c.again && (r.status != http.StatusUnauthorized || r.header.Get("Bellhop-Error") != "" || r.header.Get("WWW-Authenticate") != "Bearer error=invalid_token") {
				t.Errorf("%d %v", r.status, r.header)
			}
			if r := s.call(c.method, "/proxy/bob/x", c.body()); r.status != http.StatusOK {
				t.Errorf("the next call: %d %s", r.status, r.body)
			}
			if n := s.provider.tokenRequests(t) - requests; n != 1 {
				t.Errorf("%d token requests in the end, want 1", n)
			}
		})
	}
}

// pattern is n bytes that do not repeat soon.
func pattern(n int) []byte {
	text := make([]byte, n)
	_, _ = io.ReadFull(fakeprovider.Bytes(int64(n)), text)
	for i := range text {
		text[i] += byte(i >> 8)
	}
	return text
}

func TestASecondRefusalPasses(t *testing.T) {
	s := startProxied(t)
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		s.api.record(r)
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "the API's words")
	})
	for i := range 30 {
		r := s.call(http.MethodGet, "/proxy/bob/x", nil)
		if r.status != http.StatusUnauthorized || string(r.body) != "the API's words" || r.header.Get("Bellhop-Error") != "" || r.header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
			t.Fatalf("call %d: %d %v %s", i, r.status, r.header, r.body)
		}
		if n := len(s.api.take()); n > 2 {
			t.Errorf("call %d was sent %d times", i, n)
		}
	}
	if n := s.provider.tokenRequests(t); n > 6 {
		t.Errorf("%d token requests for an API that refuses every token", n)
	}
}

func TestAGrantThatDiedIsToldAtOnce(t *testing.T) {
	s := startProxied(t)
	if r := s.call(http.MethodGet, "/proxy/alice/gmail/v1/users/me/messages", nil); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if err := s.provider.KillGrant(t.Context(), s.grants["alice"]); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, s.call(http.MethodGet, "/proxy/alice/gmail/v1/users/me/messages", nil), problem.OAuthRenewError)
}

func TestManyRefusalsAreOneTokenRequest(t *testing.T) {
	s := startProxied(t)
	s.call(http.MethodGet, "/proxy/alice/status/200", nil)
	s.revoke("alice")
	before := s.provider.tokenRequests(t)
	body, want := pattern(10*kib), digestOf(pattern(10*kib))
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			r, err := s.send(t.Context(), http.MethodPost, "/proxy/alice/echo", bytes.NewReader(body), "Authorization", "Bearer "+s.key)
			var e fakeprovider.Echo
			if err != nil || r.status != http.StatusOK || json.Unmarshal(r.body, &e) != nil || e.BodySHA256 != want {
				t.Errorf("%v, %d, %d bytes", err, r.status, e.BodyLength)
			}
		})
	}
	wg.Wait()
	if n := s.provider.tokenRequests(t) - before; n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// TestLogsHoldNoSecret looks at all that Caddy logs of proxied calls.
func TestLogsHoldNoSecret(t *testing.T) {
	s := startProxied(
		t, "admin unix/", "debug\nlog {\noutput file {{dir}}/log\nlevel DEBUG\n}\nadmin unix/",
		"bind 127.0.0.1", "bind 127.0.0.1\nlog {\noutput file {{dir}}/access\n}",
	)
	handed := s.addKey("handed", map[string]any{"accounts": []string{"*"}, "token": true})
	s.call(http.MethodGet, "/proxy/bob/plain", nil, "X-Plain", "seen")
	s.do(http.MethodGet, "/proxy/bob/header", nil, "X-Bellhop-Key", s.key)
	s.call(http.MethodGet, "/proxy/bob/stray", nil, "X-Custom", s.key)
	s.call(http.MethodGet, "/proxy/bob/referer", nil, "Referer", "https://x.example/"+s.key)
	s.call(http.MethodGet, "/proxy/bob/query?key="+s.key, nil)
	for _, path := range []string{"/proxy/" + s.key + "/x", tokenPath(s.key)} {
		wantProblem(t, s.get(path, handed), problem.InvalidRequest)
	}
	if r := s.adminReply(http.MethodPost, "/v1/account", map[string]any{"account": s.key}); r.status != http.StatusBadRequest {
		t.Errorf("a key for an account: %d %s", r.status, r.body)
	}
	s.api.handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s.call(http.MethodGet, "/proxy/bob/broken", nil)
	s.api.handle(nil)
	token := strings.TrimPrefix(s.api.take()[0].Header.Get("Authorization"), "Bearer ")
	if err := loadCaddyfile("{\nadmin unix/" + s.dir + "/admin.sock|0600\n}"); err != nil { // closes the logs
		t.Fatal(err)
	}
	for _, name := range []string{"log", "access"} {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte("/plain")) || !bytes.Contains(text, []byte("seen")) {
			t.Errorf("%s knows nothing of the calls:\n%s", name, text)
		}
		for secret, value := range map[string]string{"key": s.key, "token": token} {
			if i := bytes.Index(text, []byte(value)); i >= 0 {
				t.Errorf("%s holds the %s: %s", name, secret, text[max(0, i-300):i])
			}
		}
	}
}

func TestCallsThatBreakOffAreInTheAudit(t *testing.T) {
	s := startProxied(t, "admin unix/", "log {\noutput file {{dir}}/log\n}\nadmin unix/")
	s.api.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	if _, err := io.ReadAll(s.open(t.Context(), client, http.MethodGet, "/proxy/bob/broken", nil).Body); err == nil {
		t.Error("the caller is not told that the answer broke off")
	}
	arrived := make(chan struct{})
	s.api.handle(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-arrived
		leave()
	}()
	if _, err := s.send(ctx, http.MethodGet, "/proxy/bob/left", nil, "Authorization", "Bearer "+s.key); !errors.Is(err, context.Canceled) {
		t.Errorf("leaving: %v", err)
	}
	if err := loadCaddyfile("{\nadmin unix/" + s.dir + "/admin.sock|0600\n}"); err != nil { // waits for calls, closes the log
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range bytes.Lines(text) {
		var entry struct {
			Logger, Path, Decision string
			Status, Bytes          int
		}
		if json.Unmarshal(line, &entry) == nil && entry.Logger == "bellhop.audit" && entry.Path != "" {
			got[entry.Path] = fmt.Sprintf("%s %d %d", entry.Decision, entry.Status, entry.Bytes)
		}
	}
	want := map[string]string{"/broken": "allowed 200 4", "/left": "allowed 499 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
