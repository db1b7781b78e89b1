package target

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// ambiguous are request targets that one reader or another takes for something
// else than they seem. Each must be refused, by Go's server or by this package.
var ambiguous = map[string][]string{
	"dot segments": {
		"/proxy/alice/.", "/proxy/alice/..", "/proxy/alice/./x", "/proxy/alice/../x", "/proxy/alice/x/.", "/proxy/alice/x/..",
		"/proxy/alice/x/../y", "/proxy/alice/x/./y", "/proxy/./alice/x", "/proxy/../proxy/alice/x", "/proxy/alice/../../etc/passwd",
		"/proxy/..", "/proxy/../x", "/proxy/.", "/./proxy/alice/x", "/proxy/alice/gmail.googleapis.com/..",
		"/proxy/alice/gmail.googleapis.com/../evil.example/x", "/proxy/alice/gmail.googleapis.com/./x", "/proxy/alice/x/.../..",
		"/proxy/alice/gmail.googleapis.com/x/../../../bob/x", "/proxy/alice/..?x", "/proxy/alice/x/..?/y",
	},
	"encoded dot segments": {
		"/proxy/alice/%2e", "/proxy/alice/%2E/x", "/proxy/alice/%2e%2e", "/proxy/alice/%2E%2E/x", "/proxy/alice/.%2e/x", "/proxy/alice/%2e./x",
		"/proxy/alice/x/%2e%2e/y", "/proxy/alice/x/%2E./y", "/proxy/alice/x/.%2E/y", "/proxy/%2e%2e/x", "/proxy/%2e/x",
		"/proxy/alice/%252e", "/proxy/alice/%252e%252e/x", "/proxy/alice/.%252e/x", "/proxy/alice/%252E%252E/x", "/proxy/alice/%2e%252e/x",
		"/proxy/alice/%25%32%65%25%32%65/x", "/proxy/alice/%%32%65/x", "/proxy/alice/%25zz/%252e%252e/x", "/proxy/alice/x/%25/%252e%252e",
		"/proxy/alice/%c0%ae%c0%ae/x", "/proxy/alice/%c0%2e/x", "/proxy/alice/%e0%80%ae%e0%80%ae/x", "/proxy/alice/%f0%80%80%ae/x", "/proxy/alice/%25c0%25ae/x",
	},
	"dot segments behind slashes that decoding makes": {
		"/proxy/alice/x%2f..%2fy", "/proxy/alice/x%2F..", "/proxy/alice/..%2fx", "/proxy/alice/..%2Fx", "/proxy/alice/%2e%2e%2fx", "/proxy/alice/x%2f.%2fy",
		"/proxy/alice/x%252f..%252fy", "/proxy/alice/..%252fx", "/proxy/alice/%252e%252e%252fx", "/proxy/alice/x%2f%252e%252e", "/proxy/alice/x%252f%2e%2e",
		"/proxy/alice/a%2F..%2F..%2Foauth2%2Ftoken", "/proxy/alice/x%2f%2e%2e/y", "/proxy/alice/a/b%2f..", "/proxy/alice/x%2f..;/y",
	},
	"dot segments with parameters": {
		"/proxy/alice/..;/x", "/proxy/alice/.;/x", "/proxy/alice/..;a=b/x", "/proxy/alice/x/..;", "/proxy/alice/%2e%2e;/x", "/proxy/alice/..%3b/x",
		"/proxy/alice/..%3B/x", "/proxy/alice/%252e%252e%253b/x", "/proxy/alice/..%253bx/y", "/proxy/alice/.;x=../y",
	},
	"backslashes": {
		`/proxy/alice/x\y`, `/proxy/alice/..\x`, `/proxy\alice\x`, `\proxy\alice\x`, `/proxy/alice/\evil.example/x`, `/proxy/alice\x`, `/\evil.example/x`,
		"/proxy/alice/x%5cy", "/proxy/alice/x%5Cy", "/proxy/alice/..%5cx", "/proxy/alice/%5c..%5cx", "/proxy/alice/%5c%5cevil.example/x",
		"/proxy/alice/x%255cy", "/proxy/alice/..%255c..%255cx", "/proxy/alice/x%25%35%63y", `/proxy/alice/gmail.googleapis.com\@evil.example/x`,
	},
	"empty segments": {
		"//", "//proxy/alice/x", "/proxy//alice/x", "/proxy/alice//x", "/proxy/alice/x//", "/proxy/alice/x//y", "/proxy/alice///x",
		"//evil.example/proxy/alice/x", "///evil.example/x", "/proxy/alice//evil.example/x", "/proxy/alice/gmail.googleapis.com//x",
		"/proxy//", "/proxy///x", "/proxy/alice/https://evil.example/x", "/proxy/alice/http://gmail.googleapis.com/x",
	},
	"control characters": {
		"/proxy/alice/%00", "/proxy/alice/x%00y", "/proxy/alice/x%00.json", "/proxy/alice/%01", "/proxy/alice/%09", "/proxy/alice/%0a", "/proxy/alice/%0D%0A",
		"/proxy/alice/x%0d%0aHost:%20evil.example", "/proxy/alice/%1f", "/proxy/alice/%7f", "/proxy/alice/%7F/x", "/proxy/alice/%c2%80", "/proxy/alice/%C2%9F",
		"/proxy/alice/%2500", "/proxy/alice/x%250d%250ay", "/proxy/alice/x%25%30%30", "/proxy/alice/gmail.googleapis.com%00.evil.example/x",
		"/proxy/ali%00ce/x", "/proxy/ali%0ace/x", "/proxy/%7f/x", "/proxy/%c2%85/x", "/proxy/alice/x\ty", "/proxy/alice/x\x01y", "/proxy/alice/x\x7fy", "/proxy/alice/x\x00y",
		"/proxy/alice/x\ry", "/proxy/alice/x\vy",
	},
	"characters that must be encoded": {
		"/proxy/alice/x y", "/proxy/alice/\"x\"", "/proxy/alice/<x>", "/proxy/alice/x^y", "/proxy/alice/`x`", "/proxy/alice/{x}", "/proxy/alice/x|y",
		"/proxy/alice/é", "/proxy/é/x", "/proxy/alice/\xff", "/proxy/alice/\xc0\xae\xc0\xae/x", "/proxy/alice/x#y", "/proxy/alice/#", "/proxy/alice#/x",
		"/proxy/alice/gmail.googleapis.com#.evil.example/x", "/proxy/alice/gmail.googleapis.com#@evil.example/x", "/proxy/alice/{http.request.host}/x", "/proxy/alice/${x}",
	},
	"malformed escapes": {
		"/proxy/alice/%", "/proxy/alice/%2", "/proxy/alice/%zz", "/proxy/alice/%u002e%u002e/x", "/proxy/alice/x%2gy", "/proxy/ali%zzce/x", "/proxy/alice/%-1", "/%zz",
		"/proxy/alice/%ff", "/proxy/alice/caf%E9", "/proxy/alice/%ed%a0%80", "/proxy/alice/%f5%80%80%80", "/proxy/alice/%80",
	},
	"other forms of a request target": {
		"*", "http://evil.example/proxy/alice/x", "https://bellhop.internal/proxy/alice/x", "HTTP://evil.example/", "http:/proxy/alice/x", "http:proxy/alice/x",
		"http://user:pass@bellhop.internal/proxy/alice/x", "ftp://evil.example/x", "file:///etc/passwd", "proxy/alice/x", "evil.example:443", "?x", "http://", "javascript:x", "@evil.example/x",
	},
	"accounts that cannot be": {
		"/proxy/%2F/x", "/proxy/%2Falice/x", "/proxy/alice%2F/x", "/proxy/.bellhop/h/x", "/proxy/%2ebellhop/h/x", "/proxy/%ff/x", "/proxy/%c0%ae/x", "/proxy/e%CC%81ric/x",
		"/proxy/" + strings.Repeat("a", 257) + "/x",
	},
	"hosts that hide": {
		"/proxy/alice/gmail%2Egoogleapis%2Ecom/x", "/proxy/alice/gmail.googleapis%2ecom/x", "/proxy/alice/gmail%252Egoogleapis.com/x", "/proxy/alice/evil%2eexample/x",
		"/proxy/alice/gmail.googleapis.com%2Fx", "/proxy/alice/gmail.googleapis.com%2fx/y", "/proxy/alice/%2Fevil.example/x", "/proxy/alice/%2F%2Fevil.example/x",
		"/proxy/alice/evil.example%252Fx", "/proxy/alice/gmail.googleapis.com%3A443/x", "/proxy/alice/evil.example%3Fx", "/proxy/alice/evil.example%23x", "/proxy/alice/evil.example%20/x",
		"/proxy/alice/gmail.googleapis.com@evil.example/x", "/proxy/alice/user:pass@evil.example/x", "/proxy/alice/evil.example@gmail.googleapis.com/x",
		"/proxy/alice/user%40evil.example/x", "/proxy/alice/https:evil.example@x", "/proxy/alice/https%3A%2F%2Fevil.example/x", "/proxy/alice/%67mail.googleapis.com/x",
		"/proxy/alice/evil%E3%80%82example/x", "/proxy/alice/evil%EF%BC%8Eexample/x", "/proxy/alice/ex%C3%A4mple.com/x", "/proxy/alice/evil.ex%61mple/x",
	},
	"malformed hosts": {
		"/proxy/alice/gmail.googleapis.com:/x", "/proxy/alice/gmail.googleapis.com:0/x", "/proxy/alice/gmail.googleapis.com:65536/x", "/proxy/alice/gmail.googleapis.com:0443/x",
		"/proxy/alice/gmail.googleapis.com../x", "/proxy/alice/gmail..googleapis.com/x", "/proxy/alice/.gmail.googleapis.com/x", "/proxy/alice/-gmail.googleapis.com/x",
		"/proxy/alice/gmail.googleapis-.com/x", "/proxy/alice/" + strings.Repeat("a", 64) + ".com/x", "/proxy/alice/[::1/x", "/proxy/alice/[evil.example]/x", "/proxy/alice/[::1%25eth0]:8443/x",
		"/proxy/alice/[127.0.0.1]:8443/x", "/proxy/alice/[::1]:x/y",
	},
	"queries": {
		"/proxy/alice/x?%zz", "/proxy/alice/x?a=%", "/proxy/alice/x?a=b&c=%g0", "/proxy/alice/x?a=b c", "/proxy/alice/x?a#b", "/proxy/alice/x?a=\x7f",
		"/proxy/alice/x?a=1;access_token=b", "/proxy/alice/x?a;_method=DELETE;b", "/proxy/alice/x?access_token%00=b", "/proxy/alice/x?a%0a=b", "/proxy/alice/x?a;%zz",
		"/proxy/alice/x?key=bh_abc", "/proxy/alice/x?KEY=bh_abc", "/proxy/alice/x?%6bey=%62h_abc", "/proxy/alice/x?$key=bh_abc", "/proxy/alice/x?a=1&key=bh_",
		"/proxy/alice/x?q=bh_" + strings.Repeat("a", 43), "/proxy/alice/x?bh_" + strings.Repeat("a", 43), "/proxy/alice/x?q=b%68_" + strings.Repeat("a", 43),
	},
}

// plain are request targets that must pass, whatever they look like.
var plain = []string{
	"/proxy/alice/gmail.googleapis.com/gmail/v1/users/me/messages?q=is%3Aunread&maxResults=10",
	"/proxy/alice/v1.0/me/messages?$filter=contains(subject,'x')&$expand=a($select=b;$top=5)",
	"/proxy/alice/a/b%2Fc", "/proxy/alice/a/b%2fc", "/proxy/alice/a/b%252Fc", "/proxy/alice/a/%20", "/proxy/alice/a/%25", "/proxy/alice/a/%2525",
	"/proxy/alice/a/https%3A%2F%2Fwww.example.com%2F/b", "/proxy/alice/a/...", "/proxy/alice/a/..b", "/proxy/alice/a/b..", "/proxy/alice/a/.b", "/proxy/alice/a/b.",
	"/proxy/alice/a/b;c=d", "/proxy/alice/a/b;..", "/proxy/alice/a/(b)", "/proxy/alice/a/b'c", "/proxy/alice/a/b:c", "/proxy/alice/a/b@c.d", "/proxy/alice/a/$batch",
	"/proxy/alice/a/b!c", "/proxy/alice/a/*", "/proxy/alice/a/b,c", "/proxy/alice/a/b=c", "/proxy/alice/a/b&c", "/proxy/alice/a/[b]", "/proxy/alice/a/~b", "/proxy/alice/a/%7eb",
	"/proxy/alice/a/%E2%82%AC", "/proxy/alice/a/%F0%9F%98%80", "/proxy/alice/a/", "/proxy/alice/a?", "/proxy/alice/a?&&b=&=c&", "/proxy/alice/a?b?c/../d//e", "/proxy/alice/a?\"b\"",
	"/proxy/alice/a/%22%3C%3E%5E%60%7B%7C%7D", "/proxy/alice/caf%C3%A9/x", "/proxy/alice/a/%41%42", "/proxy/alice/*",
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
		s, err := ParseOrigin(again, q.Account, q.Host)
		if err != nil {
			t.Fatalf("%q: what is sent is refused: %v", target, err)
		}
		second, err := s.Resolve(google)
		if err != nil || second.Path != q.Path || second.RawQuery != q.RawQuery || second.Host != q.Host {
			t.Fatalf("%q: judged %+v, judged again %+v, %v", target, q, second, err)
		}
	})
}
