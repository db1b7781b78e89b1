package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// recorder is an API that keeps every byte that it is sent. It answers one
// request on each connection and reads on to the end: what is smuggled behind
// the request is kept as well.
type recorder struct {
	t        *testing.T
	listener net.Listener

	mu       sync.Mutex
	closed   sync.Cond // a connection was
	open     int       // connections
	received []*received
}

// received is all that came on one connection.
type received struct {
	raw     []byte
	request *http.Request // nil if there is none, or none that is well-formed
	body    string
	whole   bool   // the body came to its end
	behind  string // the request
}

// barrier is what take sends to know that nobody waits before it.
const barrier = "barrier\n"

// fromRecorder marks a recorder's answers.
const fromRecorder = "X-From-The-Api: yes\r\n"

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{t: t, listener: listener}
	r.closed.L = &r.mu
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.open++
			r.mu.Unlock()
			go r.serve(conn)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		accepting.Wait()
		r.await()
	})
	return r
}

func (r *recorder) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.open--
		r.closed.Signal()
	}()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	var raw bytes.Buffer
	reader := bufio.NewReader(io.TeeReader(conn, &raw))
	if first, err := reader.Peek(len(barrier)); err == nil && string(first) == barrier {
		_, _ = io.WriteString(conn, "\n")
		return
	}
	got := new(received)
	if request, err := http.ReadRequest(reader); err == nil {
		if request.Header.Get("Expect") != "" {
			_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		body, err := io.ReadAll(request.Body)
		got.request, got.body, got.whole = request, string(body), err == nil
	}
	if got.whole {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"+fromRecorder+"Connection: close\r\n\r\n")
	}
	behind, _ := io.ReadAll(reader)
	got.raw, got.behind = raw.Bytes(), string(behind)
	if len(got.raw) == 0 {
		return // a connection that was not used in the end
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = append(r.received, got)
}

// take returns what has come since it was last called, once nobody has anything
// to send any more.
func (r *recorder) take() []*received {
	r.t.Helper()
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", r.listener.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, barrier); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		r.t.Fatal(err)
	}
	return r.await()
}

// await returns what has come once all connections are closed.
func (r *recorder) await() []*received {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.open > 0 {
		r.closed.Wait()
	}
	taken := r.received
	r.received = nil
	return taken
}

// rawMessage is an entry of testdata/messages.txt.
type rawMessage struct {
	verdict string // never, once, twice, or cut: not to the end
	kind    string
	text    string
}

// readMessages reads messages, each quoted as in Go and on a line of its own,
// below headings of a verdict and what is odd about them.
func readMessages(t *testing.T) (messages []rawMessage) {
	t.Helper()
	text, err := os.ReadFile("testdata/messages.txt")
	if err != nil {
		t.Fatal(err)
	}
	var m rawMessage
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "# "); ok {
			m.verdict, m.kind, _ = strings.Cut(heading, ": ")
			continue
		}
		if line == "" {
			continue
		}
		if m.text, err = strconv.Unquote(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		messages = append(messages, m)
	}
	return messages
}

// acmeHosts is what the provider of the account bob lists, for judging calls
// beside the proxy.
type acmeHosts struct{}

func (acmeHosts) DefaultHost() string { return "api.acme.example" }

func (acmeHosts) AllowsHost(host, _ string) error {
	if host != "api.acme.example" {
		return fmt.Errorf("%s is not listed", host)
	}
	return nil
}

func (acmeHosts) DAV(string, string) bool { return false }

// sent is a request as an API ought to get it.
type sent struct {
	Line, Host, Body string
	Header, Trailer  http.Header
}

// judge reads a message as Go's server does, and says what of it may reach the
// API and whether the server waits for more behind it.
func judge(text, token string) (wanted []sent, cut bool) {
	reader := bufio.NewReader(strings.NewReader(text))
	for first := true; ; {
		r, err := http.ReadRequest(reader)
		if err != nil {
			return wanted, first
		}
		if r.ProtoMajor > 1 {
			return wanted, first
		}
		first = false
		announced := len(r.Trailer) > 0
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return wanted, true
		}
		if !announced {
			r.Trailer = nil // such a trailer goes no further (RFC 9110 section 6.5.1)
		}
		split, err := target.Parse(r, "http", r.Host, "/proxy")
		if err != nil {
			continue
		}
		q, err := split.Resolve(acmeHosts{})
		if err != nil {
			continue
		}
		line := q.Method + " " + q.Path
		if q.RawQuery != "" || q.ForceQuery {
			line += "?" + q.RawQuery
		}
		wanted = append(wanted, sent{line + " HTTP/1.1", q.Host, string(body), expectedHeader(r.Header, token), expectedTrailer(r.Trailer)})
	}
}

// neverSent are the fields that no API may see, in lower case and with hyphens;
// "*" stands for any ending.
var neverSent = strings.Fields(`
	proxy-* x-bellhop-* x-goog-api-key x-goog-user-project cookie origin referer forwarded x-forwarded* x-real-ip via cf-*
	traceparent tracestate baggage x-http-method-override x-http-method x-method-override
	x-original-method x-original-uri x-original-url x-rewrite-url
	authorization connection keep-alive transfer-encoding upgrade trailer`)

// isNeverSent reports whether any reading of a field's name is among them.
func isNeverSent(name string) bool {
	name = strings.TrimRight(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "-")
	return slices.ContainsFunc(neverSent, func(pattern string) bool {
		prefix, wild := strings.CutSuffix(pattern, "*")
		return name == strings.TrimRight(prefix, "-") && wild || name == pattern || wild && strings.HasPrefix(name, prefix)
	})
}

// expectedHeader is what is sent of a caller's header.
func expectedHeader(h http.Header, token string) http.Header {
	want := http.Header{}
	hops := map[string]bool{"Content-Length": true} // judged by the body
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			hops[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	for name, values := range h {
		// Caddy's servers drop names with an underscore or a dot.
		if isNeverSent(name) || hops[name] || name == "Te" || strings.ContainsAny(name, "_.") {
			continue
		}
		want[name] = values
	}
	for _, value := range h["Te"] {
		for coding := range strings.SplitSeq(value, ",") {
			if strings.TrimSpace(coding) == "trailers" {
				want["Te"] = []string{"trailers"}
			}
		}
	}
	want["Authorization"] = []string{token}
	return want
}

// expectedTrailer is what is sent of a caller's trailer.
func expectedTrailer(h http.Header) http.Header {
	want := http.Header{}
	for name, values := range h {
		if !isNeverSent(name) && len(values) > 0 {
			want[name] = values
		}
	}
	return want
}

// check compares what came on a connection with what was to come.
func (r *received) check(wanted []sent, token string) error {
	if r.request == nil {
		return fmt.Errorf("nonsense: %q", r.raw)
	}
	head, _, _ := bytes.Cut(r.raw, []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	tokens := 0
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		if line == "Authorization: "+token {
			tokens++
		} else if line == "Connection: close" && r.request.Header.Get("Expect") != "" {
			continue // the only field of one hop that is set
		} else if isNeverSent(name) && name != "Transfer-Encoding" && name != "Trailer" {
			return fmt.Errorf("%s: %s", name, value)
		}
		if strings.ContainsAny(line, "\r\n\x00") || strings.TrimSpace(line) != line && value != "" {
			return fmt.Errorf("the line %q", line)
		}
	}
	if tokens != 1 {
		return fmt.Errorf("%d tokens", tokens)
	}
	if r.behind != "" {
		return fmt.Errorf("behind the request came %q", r.behind)
	}
	if bytes.Contains(r.raw, []byte("bh_")) {
		return fmt.Errorf("a key: %q", r.raw)
	}
	for name := range r.request.Trailer {
		if isNeverSent(name) {
			return fmt.Errorf("%s in the trailer", name)
		}
	}
	delete(r.request.Header, "Content-Length")
	if r.request.Header.Get("Expect") != "" {
		delete(r.request.Header, "Connection")
	}
	got := sent{lines[0], r.request.Host, r.body, r.request.Header, expectedTrailer(r.request.Trailer)}
	var diff string
	for _, w := range wanted {
		if !r.whole && strings.HasPrefix(w.Body, r.body) {
			w.Body = r.body
		}
		if diff = cmp.Diff(w, got); diff == "" {
			return nil
		}
	}
	return fmt.Errorf("not as judged: %q\n%s", r.raw, diff)
}

// TestAmbiguousRequestsReachTheAPINeverOrAsJudged writes messages that one
// server or another reads in its own way to a real listener, in front of an API
// that keeps every byte.
func TestAmbiguousRequestsReachTheAPINeverOrAsJudged(t *testing.T) {
	api := newRecorder(t)
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	// A site for any Host.
	s := startProxied(
		t, "http://{{addr}} {", "http://:"+port+" {\nbind 127.0.0.1\nbellhop {\nproxy {\nupstream api.acme.example http://"+api.listener.Addr().String()+"\n}\n}\nrespond \"not bellhop\" 404\n}\nhttp://{{addr}} {",
	).at(addr)
	if err := s.provider.SetTokenLife(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if r := s.call(http.MethodGet, "/proxy/bob/x", nil); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	token := api.take()[0].request.Header.Get("Authorization")

	messages := readMessages(t)
	for _, ambiguous := range readTargets(t, "ambiguous.txt") {
		messages = append(messages, rawMessage{"never", "targets", "GET " + strings.Replace(ambiguous, "/alice", "/bob", 1) + " HTTP/1.1\r\n{host}\r\n{key}\r\nConnection: close\r\n\r\n"})
	}
	if len(messages) < 500 {
		t.Errorf("the corpus has shrunk to %d messages", len(messages))
	}
	expand := strings.NewReplacer("{host}", "Host: "+addr, "{key}", "X-Bellhop-Key: "+s.key, "{secret}", s.key, "{path}", "/proxy/bob/a/b")
	for _, m := range messages {
		text := expand.Replace(m.text)
		wanted, cut := judge(text, token)
		answers := s.exchange(text, cut)
		whole, inPart := 0, 0
		for _, got := range api.take() {
			if got.whole {
				whole++
			} else {
				inPart++
			}
			if err := got.check(wanted, token); err != nil && (got.whole || m.verdict != "cut") {
				t.Errorf("%s: %q: %v", m.kind, m.text, err)
			}
		}
		if want := map[string]int{"once": 1, "twice": 2}[m.verdict]; whole != want || m.verdict != "cut" && inPart > 0 {
			t.Errorf("%s: %q: %d requests arrived whole and %d in part, want it %s; the answers:\n%s", m.kind, m.text, whole, inPart, m.verdict, answers)
		}
		if n := strings.Count(answers, fromRecorder); n != whole {
			t.Errorf("%s: %q: %d requests arrived, and the API answered %d:\n%s", m.kind, m.text, whole, n, answers)
		}
	}
}

// exchange writes a message and reads whatever is answered, to the end of the
// connection. A message that breaks off is followed by its end.
func (s *proxied) exchange(text string, cut bool) string {
	s.t.Helper()
	conn, err := new(net.Dialer).DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	if cut {
		_ = conn.(*net.TCPConn).CloseWrite() // the server may have hung up before
	}
	answers, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Errorf("%q: the connection stays open after %q", text, answers)
	}
	return string(answers)
}
