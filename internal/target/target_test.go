package target

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// listed is a provider that lists some hosts; the first one is its default.
type listed []string

func (l listed) DefaultHost() string {
	if len(l) == 0 {
		return ""
	}
	return l[0]
}

func (l listed) AllowsHost(host, path string) error {
	for _, allowed := range l {
		if host == allowed && !strings.HasPrefix(path, "/oauth2/") {
			return nil
		}
	}
	return problem.New(problem.HostNotAllowed, "not listed: "+host)
}

func (l listed) DAV(host, path string) bool {
	return host == "apidata.googleusercontent.com" || strings.HasPrefix(path, "/carddav/")
}

var google = listed{
	"www.googleapis.com", "gmail.googleapis.com", "apidata.googleusercontent.com",
	"127.0.0.1:8443", "127.0.0.1", "localhost:9000", "[::1]:8443",
}

// receive makes the request that a server makes of a request target.
func receive(t testing.TB, method, target string) (*http.Request, bool) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, false
	}
	r := httptest.NewRequest(method, "/", nil)
	r.URL, r.RequestURI = u, target
	r.Host = "bellhop.internal:8443"
	return r, true
}

// resolve does all of it for the path form below /proxy.
func resolve(r *http.Request, hosts Hosts) (Request, error) {
	s, err := Parse(r, "http", "bellhop.internal:8443", "/proxy")
	if err != nil {
		return Request{}, err
	}
	return s.Resolve(hosts)
}

func TestPathForm(t *testing.T) {
	for _, c := range []struct {
		name, target        string
		account, host, path string
		query               string
	}{
		{"host and path", "/proxy/alice/gmail.googleapis.com/gmail/v1/users/me", "alice", "gmail.googleapis.com", "/gmail/v1/users/me", ""},
		{"query", "/proxy/alice/gmail.googleapis.com/a?b=c&d=%20e+f", "alice", "gmail.googleapis.com", "/a", "b=c&d=%20e+f"},
		{"default host", "/proxy/alice/gmail/v1/users/me", "alice", "www.googleapis.com", "/gmail/v1/users/me", ""},
		{"version is no host", "/proxy/alice/v1.0/me", "alice", "www.googleapis.com", "/v1.0/me", ""},
		{"account alone", "/proxy/alice", "alice", "www.googleapis.com", "/", ""},
		{"account and slash", "/proxy/alice/", "alice", "www.googleapis.com", "/", ""},
		{"account and query", "/proxy/alice?x=1", "alice", "www.googleapis.com", "/", "x=1"},
		{"host alone", "/proxy/alice/gmail.googleapis.com", "alice", "gmail.googleapis.com", "/", ""},
		{"trailing slash", "/proxy/alice/gmail.googleapis.com/drive/v3/", "alice", "gmail.googleapis.com", "/drive/v3/", ""},
		{"host in capitals", "/proxy/alice/GMail.GoogleAPIs.com/A", "alice", "gmail.googleapis.com", "/A", ""},
		{"trailing dot", "/proxy/alice/gmail.googleapis.com./a", "alice", "gmail.googleapis.com", "/a", ""},
		{"port that needs no saying", "/proxy/alice/gmail.googleapis.com:443/a", "alice", "gmail.googleapis.com", "/a", ""},
		{"loopback with port", "/proxy/alice/127.0.0.1:8443/a", "alice", "127.0.0.1:8443", "/a", ""},
		{"loopback without port", "/proxy/alice/127.0.0.1/a", "alice", "127.0.0.1", "/a", ""},
		{"localhost with port", "/proxy/alice/localhost:9000/a", "alice", "localhost:9000", "/a", ""},
		{"IPv6 with port", "/proxy/alice/[::1]:8443/a", "alice", "[::1]:8443", "/a", ""},
		{"four numbers that are not listed", "/proxy/alice/1.2.3.4/a", "alice", "www.googleapis.com", "/1.2.3.4/a", ""},
		{"custom method", "/proxy/alice/users:batchGet", "alice", "www.googleapis.com", "/users:batchGet", ""},
		{"number behind a colon", "/proxy/alice/root:1", "alice", "www.googleapis.com", "/root:1", ""},
		{"slash in account", "/proxy/team%2Falice/a", "team/alice", "www.googleapis.com", "/a", ""},
		{"mail address as account", "/proxy/alice@example.com/a", "alice@example.com", "www.googleapis.com", "/a", ""},
		{"account beyond ASCII", "/proxy/%C3%A9ric/a", "éric", "www.googleapis.com", "/a", ""},
		{"account like a host", "/proxy/evil.example/a", "evil.example", "www.googleapis.com", "/a", ""},
		{"backslash in account", "/proxy/a%5Cb/x", `a\b`, "www.googleapis.com", "/x", ""},
		{"plus in account", "/proxy/a+b/x", "a+b", "www.googleapis.com", "/x", ""},
		{"encoded slash in path", "/proxy/alice/gitlab/projects/group%2fproject", "alice", "www.googleapis.com", "/gitlab/projects/group%2fproject", ""},
		{"address in path", "/proxy/alice/webmasters/v3/sites/https%3A%2F%2Fexample.com%2F/x", "alice", "www.googleapis.com", "/webmasters/v3/sites/https%3A%2F%2Fexample.com%2F/x", ""},
		{"needless escapes stay", "/proxy/alice/%61/%7Eb", "alice", "www.googleapis.com", "/%61/%7Eb", ""},
		{"encoded percent", "/proxy/alice/a/100%25", "alice", "www.googleapis.com", "/a/100%25", ""},
		{"encoded question mark", "/proxy/alice/a/b%3Fc%23d", "alice", "www.googleapis.com", "/a/b%3Fc%23d", ""},
		{"dots in names", "/proxy/alice/a/.../.b/c./..d/e..f", "alice", "www.googleapis.com", "/a/.../.b/c./..d/e..f", ""},
		{"path addressing", "/proxy/alice/v1.0/me/drive/root:/f%20g/h.txt:/content", "alice", "www.googleapis.com", "/v1.0/me/drive/root:/f%20g/h.txt:/content", ""},
		{"function call", "/proxy/alice/v1.0/reports/getX(period='D7')/$value", "alice", "www.googleapis.com", "/v1.0/reports/getX(period='D7')/$value", ""},
		{"second segment like a host", "/proxy/alice/sites/evil.example/x", "alice", "www.googleapis.com", "/sites/evil.example/x", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, ok := receive(t, "GET", c.target)
			if !ok {
				t.Fatal("no request target")
			}
			got, err := resolve(r, google)
			if err != nil {
				t.Fatal(err)
			}
			segment, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(c.target, "/proxy/"), "/"), "/")
			segment, _, _ = strings.Cut(segment, "?")
			want := Request{
				Method: "GET", Account: c.account, Host: c.host, Path: c.path, RawQuery: c.query,
				Base:    Base{Scheme: "http", Host: "bellhop.internal:8443", Prefix: "/proxy", Account: segment},
				Implied: !strings.Contains(strings.ToLower(c.target), c.host),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOriginForm(t *testing.T) {
	for _, c := range []struct {
		name, target, host string
		wantHost, wantPath string
		code               problem.Code
	}{
		{"whole path", "/drive/v3/files?x=1", "www.googleapis.com", "www.googleapis.com", "/drive/v3/files", ""},
		{"first segment like a host", "/gmail.googleapis.com/x", "www.googleapis.com", "www.googleapis.com", "/gmail.googleapis.com/x", ""},
		{"root", "/", "www.googleapis.com", "www.googleapis.com", "/", ""},
		{"host in capitals with dot", "/x", "WWW.googleapis.com.", "www.googleapis.com", "/x", ""},
		{"loopback", "/x", "127.0.0.1:8443", "127.0.0.1:8443", "/x", ""},
		{"dot segment", "/a/../b", "www.googleapis.com", "", "", problem.InvalidRequest},
		{"host that is not listed", "/x", "evil.example", "", "", problem.HostNotAllowed},
		{"host with user information", "/x", "a@www.googleapis.com", "", "", problem.InvalidRequest},
		{"host with path", "/x", "www.googleapis.com/y", "", "", problem.InvalidRequest},
		{"no host", "/x", "", "", "", problem.InvalidRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := receive(t, "GET", c.target)
			s, err := ParseOrigin(r, "http", "bellhop.internal:8443", "alice", c.host)
			var got Request
			if err == nil {
				got, err = s.Resolve(google)
			}
			if c.code != "" {
				if err == nil || problem.From(err).Code != c.code {
					t.Fatalf("got %+v, %v, want %s", got, err, c.code)
				}
				return
			}
			if err != nil || got.Host != c.wantHost || got.Path != c.wantPath || got.Account != "alice" {
				t.Errorf("got %+v, %v", got, err)
			}
			if want := (Base{Scheme: "http", Host: "bellhop.internal:8443"}); got.Base != want {
				t.Errorf("base is %+v", got.Base)
			}
		})
	}
	r, _ := receive(t, "GET", "/x")
	if _, err := ParseOrigin(r, "http", "bellhop.internal", "", "www.googleapis.com"); problem.From(err).Code != problem.InvalidRequest {
		t.Errorf("an empty account: %v", err)
	}
}

func TestPrefixIsComparedExactly(t *testing.T) {
	for _, target := range []string{"/Proxy/alice/x", "/%70roxy/alice/x", "/proxyalice/x", "/proxy", "/proxy/", "/x/proxy/alice", "/"} {
		r, _ := receive(t, "GET", target)
		if got, err := Parse(r, "http", "bellhop.internal", "/proxy"); problem.From(err).Code != problem.InvalidRequest {
			t.Errorf("%s: got %+v, %v", target, got, err)
		}
	}
	r, _ := receive(t, "GET", "/a/b/alice/v1")
	s, err := Parse(r, "http", "bellhop.internal", "/a/b/")
	if err != nil || s.Account != "alice" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestUnlistedHostsAreRefused(t *testing.T) {
	for _, target := range []string{
		"/proxy/alice/evil.example/x",
		"/proxy/alice/evil.example",
		"/proxy/alice/gmail.googleapis.com:8443/x",
		"/proxy/alice/gmail.googleapis.com.evil.example/x",
		"/proxy/alice/xn--gmil-6na.googleapis.com/x",
		"/proxy/alice/169.254.169.254:80/x",
		"/proxy/alice/127.0.0.1:8444/x",
		"/proxy/alice/[::1]/x",
		"/proxy/alice/www.googleapis.com/oauth2/v4/token",
		"/proxy/alice/www.googleapis.com/%6fauth2/v4/token",
		"/proxy/alice/www.googleapis.com/%256Fauth2/v4/token",
		"/proxy/alice/oauth2/v4/token",
		"/proxy/alice/oauth2%2Fv4/token",
	} {
		r, ok := receive(t, "GET", target)
		if !ok {
			t.Errorf("%s is no request target", target)
			continue
		}
		if got, err := resolve(r, google); problem.From(err).Code != problem.HostNotAllowed {
			t.Errorf("%s: got %+v, %v", target, got, err)
		}
	}
}

func TestNoDefaultHost(t *testing.T) {
	r, _ := receive(t, "GET", "/proxy/alice/v1.0/me")
	if _, err := resolve(r, listed{}); problem.From(err).Code != problem.InvalidRequest {
		t.Error(err)
	}
}

func TestErrorOfTheProviderIsPassedOn(t *testing.T) {
	want := errors.New("no")
	r, _ := receive(t, "GET", "/proxy/alice/x")
	if _, err := resolve(r, refusing{want}); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

type refusing struct{ err error }

func (refusing) DefaultHost() string               { return "api.example" }
func (h refusing) AllowsHost(string, string) error { return h.err }
func (refusing) DAV(host, path string) bool        { return true }

func TestMethods(t *testing.T) {
	dav := []string{"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "MKCALENDAR", "REPORT"}
	for _, c := range []struct {
		path    string
		methods []string
		ok      bool
	}{
		{"x", []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, true},
		{"x", dav, false},
		{"x", []string{"TRACE", "TRACK", "CONNECT", "get", "Patch", "FOO", "", "DEBUG", "QUERY", "SEARCH", "PURGE", "PRI"}, false},
		{"apidata.googleusercontent.com/caldav/v2", dav, true},
		{"www.googleapis.com/carddav/v1", dav, true},
		{"gmail.googleapis.com/x", dav, false},
		{"apidata.googleusercontent.com/caldav/v2", []string{"TRACE", "TRACK", "CONNECT", "propfind", "ACL", "BIND"}, false},
	} {
		for _, method := range c.methods {
			r, _ := receive(t, "GET", "/proxy/alice/"+c.path)
			r.Method = method
			got, err := resolve(r, google)
			switch {
			case c.ok && (err != nil || got.Method != method):
				t.Errorf("%s %s: got %q, %v", method, c.path, got.Method, err)
			case !c.ok && problem.From(err).Code != problem.MethodNotAllowed:
				t.Errorf("%s %s: %v", method, c.path, err)
			}
		}
	}
}

func TestBaseIsWhatTheCallerUsed(t *testing.T) {
	r, _ := receive(t, "GET", "/proxy/team%2falice/x")
	s, err := Parse(r, "https", "Bellhop.Example", "/proxy")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Resolve(google)
	if want := (Base{Scheme: "https", Host: "Bellhop.Example", Prefix: "/proxy", Account: "team%2falice"}); err != nil || got.Base != want {
		t.Errorf("got %+v, %v", got.Base, err)
	}
}

func TestBareQuestionMarkStays(t *testing.T) {
	for target, want := range map[string]string{
		"/proxy/alice/x?":               "https://www.googleapis.com/x?",
		"/proxy/alice/x":                "https://www.googleapis.com/x",
		"/proxy/alice/x?access_token=a": "https://www.googleapis.com/x",
	} {
		r, _ := receive(t, "GET", target)
		got, err := resolve(r, google)
		if err != nil || got.URL().String() != want {
			t.Errorf("%s: got %s, %v", target, got.URL(), err)
		}
	}
}

func TestKeysInAPathAreRefused(t *testing.T) {
	key := "bh_" + strings.Repeat("a", 43)
	for _, path := range []string{"alice/" + key, "alice/x/" + key + "/y", "alice/x/b%68_" + key[3:], "alice/x/b%2568_" + key[3:], key + "/x", "team%2Fb%68_" + key[3:] + "/x"} {
		r, _ := receive(t, "GET", "/proxy/"+path)
		if _, err := resolve(r, google); problem.From(err).Code != problem.InvalidRequest || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestResolvingAUsualCallAllocatesNothingOfItsOwn(t *testing.T) {
	r, _ := receive(t, "GET", "/proxy/alice/gmail.googleapis.com/gmail/v1/users/me/messages?maxResults=10&q=is:unread")
	var hosts Hosts = google
	n := testing.AllocsPerRun(100, func() {
		if _, err := resolve(r, hosts); err != nil {
			t.Fatal(err)
		}
	})
	if id := testing.AllocsPerRun(100, func() { _ = account.CheckID("alice") }); n > id {
		t.Errorf("%v allocations, %v of them to check the account's ID", n, id)
	}
}
