package target

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// ambiguous are request targets that one reader or another takes for something
// else than they seem, by what is odd about them. Each must be refused, by Go's
// server or by this package.
var ambiguous = readCorpus("testdata/ambiguous.txt")

// plain are request targets that must pass, whatever they look like.
var plain = readCorpus("testdata/plain.txt")[""]

// readCorpus reads request targets, each quoted as in Go and on a line of its
// own, below headings that begin with "#".
func readCorpus(file string) map[string][]string {
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	corpus := map[string][]string{}
	kind := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "# "); ok {
			kind = heading
			continue
		}
		if line == "" {
			continue
		}
		target, err := strconv.Unquote(line)
		if err != nil {
			panic(fmt.Sprintf("%s: %s: %v", file, line, err))
		}
		corpus[kind] = append(corpus[kind], target)
	}
	return corpus
}

func TestAmbiguousTargetsAreRefused(t *testing.T) {
	total := 0
	for kind, targets := range ambiguous {
		for _, target := range targets {
			total++
			r, ok := receive(t, "GET", target)
			if !ok {
				continue // Go's server answers this one
			}
			got, err := resolve(r, google)
			if err == nil {
				t.Errorf("%s: %q was taken for %s %s?%s", kind, target, got.Host, got.Path, got.RawQuery)
				continue
			}
			if p := problem.From(err); p.Code != problem.InvalidRequest || !strings.Contains(p.Message, ":") && !strings.Contains(p.Message, "(RFC") {
				t.Errorf("%s: %q: %v", kind, target, err)
			}
		}
	}
	if total < 150 {
		t.Errorf("the corpus has shrunk to %d targets", total)
	}
}

// TestWhatIsJudgedIsWhatIsSent writes each target to a real server, and sends
// what is accepted to another one.
func TestWhatIsJudgedIsWhatIsSent(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RequestURI)
	}))
	defer upstream.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()

	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, err := resolve(r, google)
		if err != nil {
			w.WriteHeader(problem.From(err).Status)
			return
		}
		judged := q.Path
		if q.RawQuery != "" || q.ForceQuery {
			judged += "?" + q.RawQuery
		}
		u := q.URL()
		u.Scheme, u.Host = "http", upstream.Listener.Addr().String()
		out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://replaced.example/", nil)
		if err != nil {
			t.Error(err)
			return
		}
		out.URL = u
		answer, err := transport.RoundTrip(out)
		if err != nil {
			t.Errorf("%q cannot be sent: %v", r.RequestURI, err)
			return
		}
		defer answer.Body.Close()
		sent, err := io.ReadAll(answer.Body)
		if err != nil || string(sent) != judged {
			t.Errorf("%q: judged %q, sent %q, %v", r.RequestURI, judged, sent, err)
		}
		if !strings.HasSuffix(r.RequestURI, judged) && q.Path != "/" {
			t.Errorf("%q: judged %q", r.RequestURI, judged)
		}
	}))
	defer proxy.Close()

	for kind, targets := range ambiguous {
		for _, target := range targets {
			if status := write(t, proxy.Listener.Addr().String(), target); status == http.StatusOK {
				t.Errorf("%s: %q was served", kind, target)
			}
		}
	}
	for _, target := range plain {
		if status := write(t, proxy.Listener.Addr().String(), target); status != http.StatusOK {
			t.Errorf("%q was answered with %d", target, status)
		}
	}
}

// write sends a request target as it is and gives the status of the answer.
func write(t *testing.T, addr, target string) int {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: bellhop.internal\r\nConnection: close\r\n\r\n", target); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func TestUserInformationInTheAuthorityIsRefused(t *testing.T) {
	r, _ := receive(t, "GET", "/proxy/alice/x")
	r.Host = "user@bellhop.internal"
	if _, err := resolve(r, google); problem.From(err).Code != problem.InvalidRequest {
		t.Error(err)
	}
}

func TestRequestsWhoseReadingsDifferAreRefused(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"path":       func(r *http.Request) { r.URL.Path = "/proxy/bob/x" },
		"raw path":   func(r *http.Request) { r.URL.RawPath = "/proxy/%61lice/x" },
		"query":      func(r *http.Request) { r.URL.RawQuery = "b=c" },
		"no query":   func(r *http.Request) { r.URL.RawQuery = "" },
		"as written": func(r *http.Request) { r.RequestURI = "/proxy/alice/y?a=b" },
	} {
		r, _ := receive(t, "GET", "/proxy/alice/x?a=b")
		change(r)
		if _, err := resolve(r, google); problem.From(err).Code != problem.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLengthsThatCanBeReadInTwoWaysAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		values  []string
		read    int64
		refused bool
	}{
		"none":            {nil, -1, false},
		"one":             {[]string{"4"}, 4, false},
		"leading zero":    {[]string{"04"}, 4, false},
		"zero":            {[]string{"0"}, 0, false},
		"two":             {[]string{"4", "5"}, 4, true},
		"twice the same":  {[]string{"4", "4"}, 4, true},
		"no number":       {[]string{"4x"}, 0, true},
		"empty":           {[]string{""}, 0, true},
		"list":            {[]string{"4,4"}, 0, true},
		"another":         {[]string{"4"}, 5, true},
		"beside a coding": {[]string{"4"}, -1, true},
	} {
		r, _ := receive(t, "POST", "/proxy/alice/x")
		r.Header, r.ContentLength = http.Header{"Content-Length": c.values}, c.read
		if _, err := resolve(r, google); (err != nil) != c.refused || c.refused && problem.From(err).Code != problem.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzOutgoing looks for a field that stays though some server would read its
// name as one that is removed.
func FuzzOutgoing(f *testing.F) {
	for _, name := range []string{
		"Authorization", "authorization_", "X_Forwarded.For", "Proxy", "CF-", "X-Goog-User-Project", "X-HTTP-Method-Override-", "Accept", "-", "", "Cookie\u212a", "x-bellhop",
	} {
		f.Add(name, "value")
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		removed := false
		for _, reading := range readings(name) {
			removed = removed || readsAsRemoved(reading)
		}
		h := http.Header{name: {value}, "Accept-Language": {"en"}}
		Outgoing(h, false)
		if _, stays := h[name]; stays == removed && name != "Accept-Language" {
			t.Fatalf("%q: stays: %v, read as one that is removed: %v", name, stays, removed)
		}
		once := h.Clone()
		Outgoing(h, false)
		if !maps.EqualFunc(once, h, slices.Equal) || h.Get("Accept-Language") == "" {
			t.Fatalf("%q: %v became %v", name, once, h)
		}
	})
}

// readings are what servers make of a field's name: CGI and what follows it
// know no case, no hyphens, underscores and dots apart, and some trim.
func readings(name string) []string {
	lower := strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, name)
	folded := strings.NewReplacer("_", "-", ".", "-").Replace(lower)
	return []string{lower, folded, strings.TrimRight(folded, "-")}
}

func readsAsRemoved(name string) bool {
	for prefix := range strings.FieldsSeq("x-bellhop proxy cf") {
		if name == prefix || strings.HasPrefix(name, prefix+"-") {
			return true
		}
	}
	return strings.HasPrefix(name, "x-forwarded") || slices.Contains(strings.Fields(`
		authorization x-goog-api-key x-goog-user-project cookie origin referer forwarded x-real-ip via traceparent tracestate baggage
		x-http-method-override x-http-method x-method-override x-original-method x-original-uri x-original-url x-rewrite-url`), name)
}

func FuzzTarget(f *testing.F) {
	for _, targets := range ambiguous {
		for _, target := range targets {
			f.Add(target)
		}
	}
	for _, target := range plain {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		r, ok := receive(t, "GET", target)
		if !ok {
			return
		}
		q, err := resolve(r, google)
		if err != nil {
			return
		}
		sent := q.URL()
		if sent.EscapedPath() != q.Path || sent.Host != q.Host || sent.User != nil || sent.RawQuery != q.RawQuery {
			t.Fatalf("%q: judged %+v, sent %s", target, q, sent)
		}
		reread, err := url.Parse(sent.String())
		if err != nil || reread.EscapedPath() != q.Path || reread.Host != q.Host || reread.RawQuery != q.RawQuery {
			t.Fatalf("%q: judged %+v, an API reads %+v, %v", target, q, reread, err)
		}
		path, _, _ := strings.Cut(target, "?")
		if !strings.HasSuffix(path, q.Path) && q.Path != "/" {
			t.Fatalf("%q: the path became %q", target, q.Path)
		}
		for level, decoded := 0, q.Path; level < 3; level++ {
			for segment := range strings.SplitSeq(decoded, "/") {
				if segment == "." || segment == ".." {
					t.Fatalf("%q: %q has a dot segment when decoded %d times", target, q.Path, level)
				}
			}
			if strings.ContainsAny(decoded, "\\\x00\r\n") {
				t.Fatalf("%q: %q when decoded %d times", target, decoded, level)
			}
			if next, err := url.PathUnescape(decoded); err == nil {
				decoded = next
			}
		}
		for _, name := range strippedParameters {
			for have := range reread.Query() {
				if strings.EqualFold(have, name) {
					t.Fatalf("%q: %q is sent", target, have)
				}
			}
		}
		again, _ := receive(t, "GET", sent.RequestURI())
		s, err := ParseOrigin(again, "http", "bellhop.internal", q.Account, q.Host)
		if err != nil {
			t.Fatalf("%q: what is sent is refused: %v", target, err)
		}
		second, err := s.Resolve(google)
		if err != nil || second.Path != q.Path || second.RawQuery != q.RawQuery || second.Host != q.Host {
			t.Fatalf("%q: judged %+v, judged again %+v, %v", target, q, second, err)
		}
	})
}
