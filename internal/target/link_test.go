package target

import (
	"net/url"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// schemeOf is what the hosts of the tests are spoken to with.
func schemeOf(host string) string {
	if strings.HasPrefix(host, "127.0.0.1") || strings.HasPrefix(host, "localhost") || strings.HasPrefix(host, "[::1]") {
		return "http"
	}
	return "https"
}

// called is the canonical form of a call in the path form.
func called(t testing.TB, target string) *Request {
	t.Helper()
	r, ok := receive(t, "POST", target)
	if !ok {
		t.Fatalf("%q is no request target", target)
	}
	q, err := resolve(r, google)
	if err != nil {
		t.Fatal(err)
	}
	return &q
}

// calledAtOrigin is the canonical form of a call in the origin form.
func calledAtOrigin(t testing.TB, target, apiHost string) *Request {
	t.Helper()
	r, ok := receive(t, "POST", target)
	if !ok {
		t.Fatalf("%q is no request target", target)
	}
	s, err := ParseOrigin(r, "https", "localhost:8444", "alice", apiHost)
	if err != nil {
		t.Fatal(err)
	}
	q, err := s.Resolve(google)
	if err != nil {
		t.Fatal(err)
	}
	return &q
}

func TestLinkLeadsBackToTheCaller(t *testing.T) {
	const base = "http://bellhop.internal:8443/proxy"
	byHost := called(t, "/proxy/alice/gmail.googleapis.com/x")
	byDefault := called(t, "/proxy/alice/x")
	escaped := called(t, "/proxy/team%2Falice/gmail.googleapis.com/x")
	loopback := called(t, "/proxy/alice/127.0.0.1:8443/x")
	origin := calledAtOrigin(t, "/x", "gmail.googleapis.com")
	for _, c := range []struct {
		name      string
		q         *Request
		raw, want string // empty: no link
	}{
		{"same host", byHost, "https://gmail.googleapis.com/a/b?c=%2f&d", base + "/alice/gmail.googleapis.com/a/b?c=%2f&d"},
		{"another listed host", byHost, "https://www.googleapis.com/a", base + "/alice/www.googleapis.com/a"},
		{"default host of a call that named another", byHost, "https://www.googleapis.com/upload/x", base + "/alice/www.googleapis.com/upload/x"},
		{"default host", byDefault, "https://www.googleapis.com/a?b", base + "/alice/a?b"},
		{"another host than the default", byDefault, "https://gmail.googleapis.com/a", base + "/alice/gmail.googleapis.com/a"},
		{"default host, path like a host", byDefault, "https://www.googleapis.com/evil.example/x", base + "/alice/www.googleapis.com/evil.example/x"},
		{"default host, path like an address", byDefault, "https://www.googleapis.com/127.0.0.1/x", base + "/alice/www.googleapis.com/127.0.0.1/x"},
		{"default host, path with a hidden host", byDefault, "https://www.googleapis.com/a@evil.example/x", base + "/alice/www.googleapis.com/a@evil.example/x"},
		{"escaped account", escaped, "https://gmail.googleapis.com/a", base + "/team%2Falice/gmail.googleapis.com/a"},
		{"origin form", origin, "https://gmail.googleapis.com/a?b=c", "https://localhost:8444/a?b=c"},
		{"origin form, another host", origin, "https://www.googleapis.com/a", ""},
		{"host in capitals", byHost, "HTTPS://GMail.GoogleAPIs.COM/A", base + "/alice/gmail.googleapis.com/A"},
		{"port that needs no saying", byHost, "https://gmail.googleapis.com:443/a", base + "/alice/gmail.googleapis.com/a"},
		{"another port", byHost, "https://gmail.googleapis.com:8443/a", ""},
		{"no path", byHost, "https://gmail.googleapis.com", base + "/alice/gmail.googleapis.com/"},
		{"query without path", byHost, "https://gmail.googleapis.com?a=b", base + "/alice/gmail.googleapis.com/?a=b"},
		{"fragment", byHost, "https://gmail.googleapis.com/a#b", base + "/alice/gmail.googleapis.com/a#b"},
		{"host in the fragment", byHost, "https://gmail.googleapis.com#@evil.example/a", base + "/alice/gmail.googleapis.com/#@evil.example/a"},
		{"URL in the query", byHost, "https://gmail.googleapis.com/a?u=https://evil.example/", base + "/alice/gmail.googleapis.com/a?u=https://evil.example/"},
		{"loopback host", loopback, "http://127.0.0.1:8443/a", base + "/alice/127.0.0.1:8443/a"},
		{"loopback host, wrong scheme", loopback, "https://127.0.0.1:8443/a", ""},
		{"IPv6 loopback", loopback, "http://[::1]:8443/a", base + "/alice/[::1]:8443/a"},
		{"unlisted loopback port", loopback, "http://127.0.0.1:8444/a", ""},
		{"without TLS", byHost, "http://gmail.googleapis.com/a", ""},
		{"unlisted host", byHost, "https://evil.example/a", ""},
		{"path that is not allowed", byHost, "https://www.googleapis.com/oauth2/v4/token", ""},
		{"path that is not allowed, escaped", byHost, "https://www.googleapis.com/oauth2%2Fv4", ""},
		{"user information", byHost, "https://a@gmail.googleapis.com/a", ""},
		{"listed host as user information", byHost, "https://gmail.googleapis.com@evil.example/a", ""},
		{"backslash", byHost, `https://evil.example\@gmail.googleapis.com/a`, ""},
		{"relative", byHost, "/a", ""},
		{"without scheme", byHost, "//gmail.googleapis.com/a", ""},
		{"without authority", byHost, "https:/gmail.googleapis.com/a", ""},
		{"opaque", byHost, "https:gmail.googleapis.com/a", ""},
		{"another scheme", byHost, "javascript://gmail.googleapis.com/%0aalert(1)", ""},
		{"empty", byHost, "", ""},
		{"control character", byHost, "https://gmail.googleapis.com/a\nb", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := c.q.Link(c.raw, google, schemeOf)
			if got != c.want || ok != (c.want != "") {
				t.Errorf("got %q, %t; want %q", got, ok, c.want)
			}
		})
	}
}

// TestLinkIsTheSameCall follows links: what comes of them must be the URL that
// the API wrote.
func TestLinkIsTheSameCall(t *testing.T) {
	var tried int
	for _, q := range []*Request{
		called(t, "/proxy/alice/gmail.googleapis.com/x"),
		called(t, "/proxy/alice/x"),
		called(t, "/proxy/team%2Falice/www.googleapis.com/x"),
		calledAtOrigin(t, "/x", "www.googleapis.com"),
	} {
		for _, host := range google {
			for _, target := range plain {
				target = strings.TrimPrefix(target, "/proxy/alice")
				if target == "" || target[0] != '/' {
					target = "/" + target
				}
				if followLink(t, q, host, target) {
					tried++
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d links were followed", tried)
	}
}

func FuzzLink(f *testing.F) {
	for _, target := range plain {
		f.Add("gmail.googleapis.com", target)
		f.Add("www.googleapis.com", strings.TrimPrefix(target, "/proxy/alice"))
	}
	f.Add("127.0.0.1", "/a?b=c")
	f.Add("localhost:9000", "/evil.example/x")
	f.Fuzz(func(t *testing.T, host, target string) {
		for _, q := range []*Request{called(t, "/proxy/alice/x"), called(t, "/proxy/alice/gmail.googleapis.com/x"), calledAtOrigin(t, "/x", "www.googleapis.com")} {
			followLink(t, q, host, target)
		}
	})
}

// followLink reports whether a link could be made and followed.
func followLink(t testing.TB, q *Request, host, target string) bool {
	t.Helper()
	raw := schemeOf(host) + "://" + host + target
	link, ok := q.Link(raw, google, schemeOf)
	if !ok {
		return false
	}
	behind, ok := strings.CutPrefix(link, q.Base.Scheme+"://"+q.Base.Host)
	if !ok || !strings.HasPrefix(behind, q.Base.Prefix+"/") {
		t.Fatalf("%q became %q", raw, link)
	}
	behind, _, _ = strings.Cut(behind, "#")
	r, ok := receive(t, "GET", behind)
	if !ok {
		return false
	}
	r.Host = q.Base.Host
	var s Split
	var err error
	if q.Base.Account == "" {
		s, err = ParseOrigin(r, q.Base.Scheme, q.Base.Host, q.Account, q.Host)
	} else {
		s, err = Parse(r, q.Base.Scheme, q.Base.Host, q.Base.Prefix)
	}
	if err != nil {
		return false // a path that is ambiguous whoever writes it
	}
	followed, err := s.Resolve(google)
	if err != nil {
		return false
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatalf("%q became a link: %v", raw, err)
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if query, err := cleanQuery(u.RawQuery); err != nil || followed.RawQuery != query {
		t.Fatalf("%q became %q, which has the query %q", raw, link, followed.RawQuery)
	}
	wantHost, _ := parseHost(u.Host)
	if followed.Host != wantHost || followed.Path != path || followed.Account != q.Account {
		t.Fatalf("%q became %q, which is %+v", raw, link, followed)
	}
	return true
}

func TestPartOfABatchIsMappedBack(t *testing.T) {
	byHost := called(t, "/proxy/alice/gmail.googleapis.com/batch")
	byDefault := called(t, "/proxy/alice/batch")
	escaped := called(t, "/proxy/team%2Falice/gmail.googleapis.com/batch")
	loopback := called(t, "/proxy/alice/127.0.0.1:8443/batch")
	origin := calledAtOrigin(t, "/batch", "gmail.googleapis.com")
	for _, c := range []struct {
		name            string
		q               *Request
		raw, root, want string // path and query
	}{
		{"API's path", byHost, "/gmail/v1/x?a=b", "", "/gmail/v1/x?a=b"},
		{"below a root", byHost, "/me", "/v1.0", "/v1.0/me"},
		{"with the root", byHost, "/v1.0/me", "/v1.0", "/v1.0/me"},
		{"with the root in capitals", byHost, "/V1.0/me", "/v1.0", "/V1.0/me"},
		{"below a root, with a longer beginning", byHost, "/v1.0x/me", "/v1.0", "/v1.0/v1.0x/me"},
		{"below a root, without slash", byHost, "me?$top=1", "/v1.0", "/v1.0/me?$top=1"},
		{"URL in a query, without slash", byHost, "me?$filter=eq(x,'http://y')", "/v1.0", "/v1.0/me?$filter=eq(x,'http://y')"},
		{"URL in a path, without slash", byHost, "shares/http://y", "/v1.0", ""},
		{"path form", byHost, "/proxy/alice/gmail.googleapis.com/x?a", "/v1.0", "/x?a"},
		{"path form, absolute", byHost, "http://bellhop.internal:8443/proxy/alice/gmail.googleapis.com/x?a", "/v1.0", "/x?a"},
		{"default host form", byDefault, "/proxy/alice/x", "/v1.0", "/x"},
		{"default host form, absolute", byDefault, "http://bellhop.internal:8443/proxy/alice/x", "/v1.0", "/x"},
		{"default host by its name", byDefault, "/proxy/alice/www.googleapis.com/x", "", "/x"},
		{"default host form of another host", byHost, "http://bellhop.internal:8443/proxy/alice/x", "", ""},
		{"default host form, segment like an unlisted address", byDefault, "http://bellhop.internal:8443/proxy/alice/1.2.3.4/x", "", "/1.2.3.4/x"},
		{"origin form, absolute", origin, "https://localhost:8444/x?y", "/v1.0", "/x?y"},
		{"origin form, path like the path form", origin, "/proxy/alice/gmail.googleapis.com/x", "", "/proxy/alice/gmail.googleapis.com/x"},
		{"escaped account", escaped, "/proxy/team%2Falice/gmail.googleapis.com/x", "/v1.0", "/x"},
		{"account escaped otherwise", escaped, "/proxy/team%2falic%65/gmail.googleapis.com/x", "/v1.0", "/x"},
		{"absolute, of the API", byHost, "https://gmail.googleapis.com/x?a", "/v1.0", "/x?a"},
		{"absolute, of the API, loopback", loopback, "http://127.0.0.1:8443/x", "/v1.0", "/x"},
		{"absolute, of the API, without path", byHost, "https://gmail.googleapis.com?a=b", "", "/?a=b"},
		{"absolute, of the caller's, in capitals", byHost, "HTTP://BELLHOP.internal:8443/proxy/alice/gmail.googleapis.com/x", "", "/x"},
		{"absolute, with a port that needs no saying", origin, "https://gmail.googleapis.com:443/x", "", "/x"},
		{"query without path, path form", byHost, "http://bellhop.internal:8443/proxy/alice/gmail.googleapis.com?a=b", "", "/?a=b"},
		{"query without path, default host form", byDefault, "http://bellhop.internal:8443/proxy/alice?a=b", "", "/?a=b"},
		{"nothing behind the account", byDefault, "http://bellhop.internal:8443/proxy/alice", "", "/"},
		{"question mark alone", byHost, "/x?", "", "/x?"},
		{"token in the query", byHost, "/x?access_token=y&a=b", "", "/x?a=b"},
		{"method in the query", byHost, "/x?$httpMethod=DELETE", "", "/x"},
		{"another account", byHost, "http://bellhop.internal:8443/proxy/bob/gmail.googleapis.com/x", "", ""},
		{"another account, relative", byHost, "/proxy/bob/gmail.googleapis.com/x", "", "/proxy/bob/gmail.googleapis.com/x"},
		{"another host of the provider", byHost, "https://www.googleapis.com/x", "", ""},
		{"another host of the provider, path form", byHost, "http://bellhop.internal:8443/proxy/alice/www.googleapis.com/x", "", ""},
		{"foreign host", byHost, "https://evil.example/x", "", ""},
		{"foreign host that begins like ours", byHost, "http://bellhop.internal:8443.evil.example/proxy/alice/gmail.googleapis.com/x", "", ""},
		{"foreign host that begins like the API's", byHost, "https://gmail.googleapis.com.evil.example/x", "", ""},
		{"user information", byHost, "https://a@gmail.googleapis.com/x", "", ""},
		{"API's host as user information", byHost, "https://gmail.googleapis.com@evil.example/x", "", ""},
		{"our host as user information", byHost, "http://bellhop.internal:8443@evil.example/x", "", ""},
		{"another port", byHost, "https://gmail.googleapis.com:8443/x", "", ""},
		{"without TLS", byHost, "http://gmail.googleapis.com/x", "", ""},
		{"our host by another scheme", byHost, "https://bellhop.internal:8443/proxy/alice/gmail.googleapis.com/x", "", ""},
		{"two slashes", byHost, "//evil.example/x", "", ""},
		{"two slashes below a root", byHost, "//evil.example/x", "/v1.0", ""},
		{"fragment", byHost, "/x#y", "", ""},
		{"dot segments", byHost, "/a/../b", "", ""},
		{"encoded dot segments", byHost, "/a/%2e%2E/b", "", ""},
		{"dot segments out of the root", byHost, "/../beta/me", "/v1.0", ""},
		{"backslash", byHost, `/a\b`, "", ""},
		{"space", byHost, "/a b", "", ""},
		{"space in the query", byHost, "/a?b c", "", ""},
		{"line feed", byHost, "/a\nb", "", ""},
		{"malformed escape", byHost, "/a%zz", "", ""},
		{"path that is not allowed", called(t, "/proxy/alice/batch"), "/oauth2/v4/token", "", ""},
		{"key in the path", byHost, "/x/bh_0000000000000000000000000000000000003kJqdi0", "", ""},
		{"key in the query", byHost, "/x?y=bh_0000000000000000000000000000000000003kJqdi0", "", ""},
		{"key in the query, escaped", byHost, "/x?y=%62h_0000000000000000000000000000000000003kJqdi0", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := c.q.Part("GET", c.raw, c.root, google, schemeOf)
			if c.want == "" {
				if err == nil {
					t.Fatalf("it was taken for %s %s?%s", p.Host, p.Path, p.RawQuery)
				}
				if code := problem.From(err).Code; code != problem.InvalidRequest && code != problem.HostNotAllowed {
					t.Error(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := p.Path
			if p.RawQuery != "" || p.ForceQuery {
				got += "?" + p.RawQuery
			}
			if got != c.want || p.Host != c.q.Host || p.Account != c.q.Account || p.Base != c.q.Base || p.Implied != c.q.Implied || p.Method != "GET" {
				t.Errorf("got %q of %+v, want %q", got, p, c.want)
			}
		})
	}
}

func TestPartOfABatchHasAMethodOfTheHosts(t *testing.T) {
	for host, methods := range map[string]map[string]bool{
		"gmail.googleapis.com":          {"GET": true, "PATCH": true, "DELETE": true, "get": false, "TRACE": false, "CONNECT": false, "PROPFIND": false, "G\nET": false, "": false},
		"apidata.googleusercontent.com": {"PROPFIND": true, "REPORT": true, "TRACK": false},
	} {
		q := called(t, "/proxy/alice/"+host+"/batch")
		for method, allowed := range methods {
			_, err := q.Part(method, "/x", "", google, schemeOf)
			if allowed && err != nil || !allowed && problem.From(err).Code != problem.MethodNotAllowed {
				t.Errorf("%s: %q: %v", host, method, err)
			}
		}
	}
}

func TestHandleIsReadFromThePath(t *testing.T) {
	for _, c := range []struct{ path, prefix, want string }{
		{"/proxy/.bellhop/h/AZaz09-_", "/proxy", "AZaz09-_"},
		{"/proxy/.bellhop/h/a", "/proxy/", "a"},
		{"/.bellhop/h/a", "", "a"},
		{"/.bellhop/h/a", "/", "a"},
		{"/proxy/.bellhop/h/", "/proxy", ""},
		{"/proxy/.bellhop/h", "/proxy", ""},
		{"/proxy/.bellhop/x/a", "/proxy", ""},
		{"/other/.bellhop/h/a", "/proxy", ""},
		{"/proxy/alice/.bellhop/h/a", "/proxy", ""},
		{"/proxy/.bellhop/h/a/b", "/proxy", ""},
		{"/proxy/.bellhop/h/a%2Fb", "/proxy", ""},
		{"/proxy/.bellhop/h/a.b", "/proxy", ""},
		{"/proxy/.bellhop/h/a?b", "/proxy", ""},
		{"/proxy/.bellhop/h/é", "/proxy", ""},
		{"/proxy/.bellhop/h/a b", "/proxy", ""},
	} {
		got, err := ParseHandle(c.path, c.prefix)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q below %q: got %q, %v; want %q", c.path, c.prefix, got, err, c.want)
		}
		if err != nil && problem.From(err).Code != problem.InvalidRequest {
			t.Errorf("%q: %v", c.path, err)
		}
	}
}
