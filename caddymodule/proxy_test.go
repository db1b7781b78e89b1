package caddymodule

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// api is an API of the test's own. It remembers what has reached it.
type api struct {
	*httptest.Server
	mu      sync.Mutex
	arrived []arrival
	handler http.HandlerFunc // instead of the usual answer
}

// arrival is a request as an API has read it.
type arrival struct {
	Method, Target, Host string
	Header, Trailer      http.Header
	Body                 string
	Length               int64 // as announced
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := new(api)
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// ServeHTTP implements [http.Handler].
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	handler := a.handler
	a.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	a.record(r)
	_, _ = io.WriteString(w, "from the API")
}

// record reads a request and remembers it.
func (a *api) record(r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.arrived = append(a.arrived, arrival{r.Method, r.RequestURI, r.Host, r.Header.Clone(), r.Trailer.Clone(), string(body), r.ContentLength})
}

// handle has f answer from now on; nil is the usual answer.
func (a *api) handle(f http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handler = f
}

// take returns what has arrived since it was last called.
func (a *api) take() []arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.arrived
	a.arrived = nil
	return taken
}

// only returns the one request that has arrived.
func (a *api) only(t *testing.T) arrival {
	t.Helper()
	taken := a.take()
	if len(taken) != 1 {
		t.Fatalf("%d requests reached the API, want 1: %+v", len(taken), taken)
	}
	return taken[0]
}

// proxied is a site with the accounts alice (Google), carol (Microsoft) and bob
// (acme, whose API is the test's own), and a key for all of them.
type proxied struct {
	*bellhop
	provider providerProcess
	api      *api
	key      string
	grants   map[string]string // by account
}

// startProxied runs standardCaddyfile with changes made by replacing: pairs of
// old and new, in which {{api}} stands for the test's own API.
func startProxied(t *testing.T, replace ...string) *proxied {
	t.Helper()
	s := &proxied{provider: startProvider(t), api: newAPI(t), grants: map[string]string{}}
	caddyfile := strings.Replace(standardCaddyfile(s.provider), "api.acme.example "+s.provider.URL, "api.acme.example {{api}}", 1)
	for i := 0; i+1 < len(replace); i += 2 {
		old := strings.ReplaceAll(replace[i], "{{provider}}", s.provider.URL)
		if !strings.Contains(caddyfile, old) {
			t.Fatalf("the Caddyfile has no %q", old)
		}
		caddyfile = strings.Replace(caddyfile, old, replace[i+1], 1)
	}
	caddyfile = strings.NewReplacer("{{api}}", s.api.URL, "{{provider}}", s.provider.URL).Replace(caddyfile)
	s.bellhop = start(t, caddyfile)
	s.provider.registerMicrosoft(t)
	for _, account := range []struct{ id, provider, client, scope string }{
		{"alice", "google", "", "https://mail.google.com/ openid email"},
		{"bob", "acme", "", "mail.read"},
		{"carol", "microsoft", "bellhop-microsoft", "https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All"},
	} {
		id, refreshToken := s.provider.grant(t, fakeprovider.Grant{Client: account.client, Email: account.id + "@example.com", Scope: account.scope})
		s.grants[account.id] = id
		s.addAccount(account.id, account.provider, account.id+"@example.com", refreshToken)
	}
	s.key = s.addKey("all", map[string]any{"accounts": []string{"*"}})
	return s
}

// at is the site at another address.
func (s *proxied) at(addr string) *proxied {
	other, b := *s, *s.bellhop
	b.addr, b.url = addr, "http://"+addr
	other.bellhop = &b
	return &other
}

// call sends a request with the site's key.
func (s *proxied) call(method, path string, body io.Reader, header ...string) reply {
	s.t.Helper()
	return s.do(method, path, body, append([]string{"Authorization", "Bearer " + s.key}, header...)...)
}

// raw writes a request byte for byte, without its final empty line, and reads
// the answer.
func (s *proxied) raw(lines ...string) reply {
	s.t.Helper()
	conn, err := new(net.Dialer).DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	lines = append(lines, "Connection: close", "", "")
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")); err != nil {
		s.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: strings.Fields(lines[0])[0]})
	if err != nil {
		s.t.Fatalf("%q: %v", lines[0], err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, text}
}

// echoed decodes what the fake provider's /echo answers.
func echoed(t *testing.T, r reply) fakeprovider.Echo {
	t.Helper()
	var e fakeprovider.Echo
	if err := json.Unmarshal(r.body, &e); err != nil || r.status != http.StatusOK {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return e
}

// wantProblem checks a refusal of Bellhop's own.
func wantProblem(t *testing.T, r reply, code problem.Code) {
	t.Helper()
	if want := problem.New(code, "").Status; r.status != want || r.header.Get("Bellhop-Error") != string(code) {
		t.Errorf("%d %s %s, want %d %s", r.status, r.header.Get("Bellhop-Error"), r.body, want, code)
	}
	if r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control is %q", r.header.Get("Cache-Control"))
	}
}

func TestAccountAndHostComeFromThePath(t *testing.T) {
	s := startProxied(t)
	for path, want := range map[string]struct{ host, target, grant string }{
		"/proxy/alice/gmail.googleapis.com/echo/a?b=c":  {"gmail.googleapis.com", "/echo/a?b=c", s.grants["alice"]},
		"/proxy/alice/GMAIL.googleapis.com./echo/a":     {"gmail.googleapis.com", "/echo/a", s.grants["alice"]},
		"/proxy/alice/gmail.googleapis.com:443/echo/a":  {"gmail.googleapis.com", "/echo/a", s.grants["alice"]},
		"/proxy/alice/echo/a":                           {"www.googleapis.com", "/echo/a", s.grants["alice"]},
		"/proxy/carol/echo/v1.0/me":                     {"graph.microsoft.com", "/echo/v1.0/me", s.grants["carol"]},
		"/proxy/carol/outlook.office.com/echo/api/v2.0": {"outlook.office.com", "/echo/api/v2.0", s.grants["carol"]},
	} {
		e := echoed(t, s.call(http.MethodGet, path, nil))
		if e.Host != want.host || e.Target != want.target || e.Grant != want.grant {
			t.Errorf("%s: reached %s %s with a token of grant %s, want %+v", path, e.Host, e.Target, e.Grant, want)
		}
	}
	if r := s.call(http.MethodGet, "/proxy/carol/v1.0/me", nil); r.status != http.StatusOK {
		t.Errorf("a version was not taken for a path: %d %s", r.status, r.body)
	}
	if r := s.call(http.MethodGet, "/proxy/bob/v2/x", nil); r.status != http.StatusOK || s.api.only(t).Host != "api.acme.example" {
		t.Errorf("the only API host is not the default: %d %s", r.status, r.body)
	}
	for path, code := range map[string]problem.Code{
		"/proxy/bob/evil.example/x":           problem.HostNotAllowed,
		"/proxy/bob/gmail.googleapis.com/x":   problem.HostNotAllowed,
		"/proxy/bob/api.acme.example:8443/x":  problem.HostNotAllowed,
		"/proxy/alice/oauth2.googleapis.com/": problem.HostNotAllowed,
		"/proxy/nobody/x":                     problem.AccountNotFound,
		"/proxy/":                             problem.InvalidRequest,
	} {
		t.Run(path, func(t *testing.T) { wantProblem(t, s.call(http.MethodGet, path, nil), code) })
	}
	for _, path := range []string{"/", "/proxy", "/proxyalice/x", "/Proxy/alice/x", "/x/proxy/alice/x"} {
		if r := s.call(http.MethodGet, path, nil); r.status != http.StatusNotFound || string(r.body) != "not bellhop" {
			t.Errorf("%s did not go to the next handler: %d %s", path, r.status, r.body)
		}
	}
	if taken := s.api.take(); len(taken) != 0 {
		t.Errorf("reached the API: %+v", taken)
	}
}

func TestTheSiteSaysWhereTheProxyIs(t *testing.T) {
	origin, placeholders, prefixed, off, handled := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
	upstreams := "upstream Api.acme.example:443 {{api}}\nupstream gmail.googleapis.com {{provider}}\n"
	site := func(addr, proxy string) string {
		return "http://" + addr + " {\nbind 127.0.0.1\nbellhop {\n" + proxy + "\n}\nrespond \"not bellhop\" 404\n}\n"
	}
	s := startProxied(t, "http://{{addr}} {", strings.Join([]string{
		site(origin, "proxy / {\naccount key\napi_host api.acme.example\n"+upstreams+"}"),
		site(placeholders, "proxy / {\naccount {header.X-Account}\napi_host {header.X-Api}\n"+upstreams+"}"),
		site(prefixed, "proxy /apis/of {\ndefault_host google Gmail.googleapis.com:443\n"+upstreams+"}"),
		site(off, "token_endpoint\nproxy off"),
		"http://" + handled + " {\nbind 127.0.0.1\nbellhop\nhandle {\nrespond \"a handle\" 404\n}\n}\n",
		"http://{{addr}} {",
	}, "\n"))
	bob := s.addKey("bobs", map[string]any{"accounts": []string{"bob"}})

	t.Run("origin form with the key's account", func(t *testing.T) {
		s := s.at(origin)
		if r := s.get("/gmail.googleapis.com/x?y", bob); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if got := s.api.only(t); got.Host != "api.acme.example" || got.Target != "/gmail.googleapis.com/x?y" {
			t.Errorf("reached %s %s", got.Host, got.Target)
		}
		for _, path := range []string{"/", "/healthz", "/v1/account/bob/oauth-token"} {
			if r := s.get(path, bob); r.status != http.StatusOK || s.api.only(t).Target != path {
				t.Errorf("%s is not the API's: %d %s", path, r.status, r.body)
			}
		}
		wantProblem(t, s.get("/x", s.key), problem.NotAllowed)
		wantProblem(t, s.do(http.MethodGet, "/x", nil), problem.MissingKey)
		wantProblem(t, s.get("/x", "bh_wrong"), problem.InvalidKey)
	})
	t.Run("a placeholder in a key's account is none", func(t *testing.T) {
		t.Setenv("BELLHOP_TEST_SECRET", "bob")
		key := s.addKey("braces", map[string]any{"accounts": []string{"{env.BELLHOP_TEST_SECRET}"}})
		wantProblem(t, s.at(origin).get("/x", key), problem.AccountNotFound)
	})
	t.Run("origin form with placeholders", func(t *testing.T) {
		s := s.at(placeholders)
		for _, c := range []struct {
			account, host string
			code          problem.Code
		}{
			{"bob", "api.acme.example", ""},
			{"alice", "api.acme.example", problem.NotAllowed},
			{"bob", "evil.example", problem.HostNotAllowed},
			{"bob", "", problem.InvalidRequest},
			{"", "api.acme.example", problem.InvalidRequest},
			{"bob", "api.acme.example/x", problem.InvalidRequest},
			{"{env.HOME}", "api.acme.example", problem.NotAllowed},
		} {
			r := s.do(http.MethodGet, "/x", nil, "Authorization", "Bearer "+bob, "X-Account", c.account, "X-Api", c.host)
			if c.code != "" {
				wantProblem(t, r, c.code)
			} else if r.status != http.StatusOK || s.api.only(t).Host != c.host {
				t.Errorf("%+v: %d %s", c, r.status, r.body)
			}
		}
	})
	t.Run("prefix and default host", func(t *testing.T) {
		s := s.at(prefixed)
		if e := echoed(t, s.call(http.MethodGet, "/apis/of/alice/echo/x", nil)); e.Host != "gmail.googleapis.com" || e.Target != "/echo/x" {
			t.Errorf("reached %s %s", e.Host, e.Target)
		}
		if r := s.call(http.MethodGet, "/proxy/alice/echo/x", nil); string(r.body) != "not bellhop" {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	t.Run("off", func(t *testing.T) {
		s := s.at(off)
		if r := s.call(http.MethodGet, "/proxy/bob/x", nil); string(r.body) != "not bellhop" {
			t.Errorf("%d %s", r.status, r.body)
		}
		if r := s.do(http.MethodGet, "/healthz", nil); r.status != http.StatusOK {
			t.Errorf("the rest of the site: %d %s", r.status, r.body)
		}
	})
	t.Run("a handle for everything wins, as it does in Caddy", func(t *testing.T) {
		if r := s.at(handled).call(http.MethodGet, "/proxy/bob/x", nil); string(r.body) != "a handle" {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	if taken := s.api.take(); len(taken) != 0 {
		t.Errorf("reached the API: %+v", taken)
	}
}

func TestTargetsArriveByteForByte(t *testing.T) {
	s := startProxied(t)
	for _, target := range []string{
		"/a/b%2Fc%2fd", "/a%20b", "/%E2%82%AC/%e2%82%ac", "/users/me/messages:send", "/a;b=c/d;e", "/a/$batch", "/me/drive/root:/f%20g/h.txt:/content",
		"/getX(period='D7')/$value", "/%41%7Eb", "/a,b!c*d'e", "/a/", "/", "/a%25b%2525", "/a/...", "/a?", "/a?b=c&a=1&b=d", "/a?q=is%3Aunread+from:x%20y&&=&z",
		"/a?$filter=contains(subject,'x')&$expand=a($select=b;$top=5)", "/a?b?c/../d//e", "/a?key=AIza&alt=media", "/a?{env.HOME}=${x}",
	} {
		r := s.raw("GET /proxy/bob/api.acme.example"+target+" HTTP/1.1", "Host: "+s.addr, "Authorization: Bearer "+s.key)
		if r.status != http.StatusOK {
			t.Errorf("%s: %d %s", target, r.status, r.body)
			continue
		}
		if got := s.api.only(t).Target; got != target {
			t.Errorf("%s arrived as %s", target, got)
		}
	}
	for target, want := range map[string]string{
		"/a?access_token=x&b=c":                "/a?b=c",
		"/a?b=c&oauth_token=x&d=%20":           "/a?b=c&d=%20",
		"/a?%61ccess_token=x":                  "/a",
		"/a?$httpMethod=DELETE&_method=PUT&c":  "/a?c",
		"/a?X-HTTP-Method-Override=DELETE&c=d": "/a?c=d",
	} {
		s.call(http.MethodGet, "/proxy/bob/api.acme.example"+target, nil)
		if got := s.api.only(t).Target; got != want {
			t.Errorf("%s arrived as %s, want %s", target, got, want)
		}
	}
}

// TestAmbiguousTargetsNeverArrive writes request targets that can be read in two
// ways to sites with routes of several kinds in front of the proxy.
func TestAmbiguousTargetsNeverArrive(t *testing.T) {
	const upstreams = "upstream gmail.googleapis.com {{api}}\nupstream www.googleapis.com {{api}}\n"
	direct, inRoute, matched := freeAddr(t), freeAddr(t), freeAddr(t)
	s := startProxied(t, "http://{{addr}} {", strings.Join([]string{
		"http://" + direct + " {\nbind 127.0.0.1\nbellhop {\nproxy {\n" + upstreams + "}\n}\nrespond 404\n}",
		"http://" + inRoute + " {\nbind 127.0.0.1\nroute {\nbellhop {\nproxy {\n" + upstreams + "}\n}\nrespond 404\n}\n}",
		"http://" + matched + " {\nbind 127.0.0.1\n@calls path /proxy/alice/*\nhandle @calls {\nbellhop {\nproxy {\n" + upstreams + "}\n}\n}\nrespond 404\n}",
		"http://{{addr}} {",
	}, "\n"))
	s.key = s.addKey("alices", map[string]any{"accounts": []string{"alice", "alice*", "evil*"}})
	for name, addr := range map[string]string{"site": direct, "route": inRoute, "matcher": matched} {
		t.Run(name, func(t *testing.T) {
			s := s.at(addr)
			for _, target := range readTargets(t, "ambiguous.txt") {
				r := s.raw("GET "+target+" HTTP/1.1", "Host: "+s.addr, "X-Bellhop-Key: "+s.key)
				if taken := s.api.take(); len(taken) != 0 || r.status == http.StatusOK && string(r.body) == "from the API" {
					t.Errorf("%q arrived: %d %+v", target, r.status, taken)
				}
			}
			for _, target := range readTargets(t, "plain.txt") {
				rest, ok := strings.CutPrefix(target, "/proxy/alice")
				if !ok {
					continue
				}
				r := s.raw("GET "+target+" HTTP/1.1", "Host: "+s.addr, "X-Bellhop-Key: "+s.key)
				if arrived := s.api.take(); len(arrived) != 1 || !strings.HasSuffix(rest, arrived[0].Target) {
					t.Errorf("%q: %d %s, arrived %+v", target, r.status, r.body, arrived)
				}
			}
		})
	}
}

// readTargets reads the corpus of the package that judges targets.
func readTargets(t *testing.T, name string) (targets []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../internal/target/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, `"`) {
			continue
		}
		target, err := strconv.Unquote(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target)
	}
	if len(targets) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return targets
}

// TestTheRestOfAnUploadIsNoRequest sends a call inside the body of one that is
// answered before it was read.
func TestTheRestOfAnUploadIsNoRequest(t *testing.T) {
	s := startProxied(t)
	answered := make(chan struct{})
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/smuggled" {
			t.Error("what stood in a body was taken for a request")
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusForbidden)
		_ = http.NewResponseController(w).Flush()
		close(answered)
	})
	for name, account := range map[string]string{"refused by Bellhop": "nobody", "refused by the API": "bob"} {
		t.Run(name, func(t *testing.T) {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			inner := fmt.Sprintf("GET /proxy/bob/smuggled HTTP/1.1\r\nHost: %s\r\nX-Bellhop-Key: %s\r\n\r\n", s.addr, s.key)
			fmt.Fprintf(conn, "POST /proxy/%s/x HTTP/1.1\r\nHost: %s\r\nX-Bellhop-Key: %s\r\nContent-Length: 5000000\r\n\r\n", account, s.addr, s.key)
			reader := bufio.NewReader(conn)
			first, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, first.Body); err != nil {
				t.Fatal(err)
			}
			first.Body.Close()
			if first.StatusCode != http.StatusForbidden && first.StatusCode != http.StatusNotFound || !first.Close {
				t.Errorf("%d, and the connection stays open: %v", first.StatusCode, first.Header)
			}
			_, _ = io.WriteString(conn, inner) // may find the connection closed
			if second, err := http.ReadResponse(reader, nil); err == nil {
				t.Errorf("a second answer: %d", second.StatusCode)
				second.Body.Close()
			}
		})
	}
	<-answered
}

func TestMethods(t *testing.T) {
	s := startProxied(t)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		if r := s.call(method, "/proxy/bob/x", nil); r.status != http.StatusOK || s.api.only(t).Method != method {
			t.Errorf("%s: %d %s", method, r.status, r.body)
		}
	}
	for _, method := range []string{"TRACE", "TRACK", "CONNECT", "PROPFIND", "get", "FOO"} {
		r := s.raw(method+" /proxy/bob/x HTTP/1.1", "Host: "+s.addr, "Authorization: Bearer "+s.key)
		if method == "CONNECT" && r.status == http.StatusBadRequest {
			continue
		}
		wantProblem(t, r, problem.MethodNotAllowed)
	}
	if taken := s.api.take(); len(taken) != 0 {
		t.Errorf("reached the API: %+v", taken)
	}
}

func TestKeysNeverReachTheAPI(t *testing.T) {
	s := startProxied(t)
	stranger := "bh_" + strings.Repeat("a", 43)
	for name, header := range map[string][]string{
		"custom header":        {"X-Custom", "see " + s.key},
		"second value":         {"X-Custom", "a", "X-Custom", s.key},
		"another's key":        {"X-Custom", stranger},
		"user agent":           {"User-Agent", "tool/" + s.key},
		"part of longer text":  {"If-Match", `"` + s.key + `-1"`},
		"two keys":             {"X-Bellhop-Key", s.key, "X-Bellhop-Key", s.key},
		"key and Google's key": {"X-Goog-Api-Key", s.key, "X-Goog-Api-Key", "AIza"},
	} {
		t.Run(name, func(t *testing.T) {
			wantProblem(t, s.call(http.MethodGet, "/proxy/bob/x", nil, header...), problem.InvalidRequest)
		})
	}
	for name, path := range map[string]string{
		"key parameter":   "/x?key=" + s.key,
		"short key":       "/x?key=bh_short",
		"value":           "/x?q=" + s.key,
		"escaped value":   "/x?q=b%68_" + s.key[3:],
		"name":            "/x?" + s.key,
		"path":            "/x/" + s.key + "/y",
		"escaped path":    "/x/b%68_" + s.key[3:],
		"behind the host": "/api.acme.example/" + s.key,
	} {
		t.Run(name, func(t *testing.T) {
			wantProblem(t, s.call(http.MethodGet, "/proxy/bob"+path, nil), problem.InvalidRequest)
		})
	}
	if taken := s.api.take(); len(taken) != 0 {
		t.Fatalf("reached the API: %+v", taken)
	}
	for name, header := range map[string][]string{
		"X-Bellhop-Key":  {"X-Bellhop-Key", s.key, "Authorization", "Bearer " + stranger},
		"X-Goog-Api-Key": {"X-Goog-Api-Key", s.key},
		"bearer":         {"Authorization", "bearer " + s.key},
		"cookie":         {"X-Bellhop-Key", s.key, "Cookie", "key=" + s.key},
		"referer":        {"X-Bellhop-Key", s.key, "Referer", "https://x.example/?k=" + s.key},
	} {
		t.Run("dropped from "+name, func(t *testing.T) {
			if r := s.do(http.MethodGet, "/proxy/bob/x", nil, header...); r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.body)
			}
			got := s.api.only(t)
			for field, values := range got.Header {
				if strings.Contains(strings.Join(values, " "), "bh_") {
					t.Errorf("%s: %s", field, values)
				}
			}
			if a := got.Header["Authorization"]; len(a) != 1 || !strings.HasPrefix(a[0], "Bearer ya29.") {
				t.Errorf("Authorization is %q", a)
			}
		})
	}
}

func TestRefusalsReachNoAPI(t *testing.T) {
	s := startProxied(t)
	alices := s.addKey("alices", map[string]any{"accounts": []string{"alice"}})
	wantProblem(t, s.do(http.MethodGet, "/proxy/bob/x", nil), problem.MissingKey)
	wantProblem(t, s.get("/proxy/bob/x", "nonsense"), problem.InvalidKey)
	wantProblem(t, s.get("/proxy/bob/x", alices), problem.NotAllowed)
	wantProblem(t, s.get("/proxy/nobody/x", alices), problem.NotAllowed)
	wantProblem(t, s.do(http.MethodGet, "/proxy/bob/x?access_token="+s.key, nil), problem.MissingKey)
	for _, dest := range []string{"document", "iframe", "script", "worker", "object", "Document"} {
		wantProblem(t, s.call(http.MethodGet, "/proxy/bob/x", nil, "Sec-Fetch-Dest", dest), problem.NotAllowed)
	}
	if taken := s.api.take(); len(taken) != 0 {
		t.Errorf("reached the API: %+v", taken)
	}
	if r := s.call(http.MethodGet, "/proxy/bob/x", nil, "Sec-Fetch-Dest", "empty"); r.status != http.StatusOK {
		t.Errorf("a fetch: %d %s", r.status, r.body)
	}
}

func TestRefusalsSpeakTheDialectOfTheAPI(t *testing.T) {
	s := startProxied(t)
	for path, want := range map[string][]string{
		"/proxy/alice/gmail.googleapis.com/x?key=bh_x": {"error.code", "error.errors", "error.message", "error.status"},
		"/proxy/carol/graph.microsoft.com/x?key=bh_x":  {"error.code", "error.innerError", "error.message"},
		"/proxy/bob/api.acme.example/x?key=bh_x":       {"error", "message", "statusCode"},
		// Where the path names no host, the account says whose words they are.
		"/proxy/alice/drive/v3/x?key=bh_x": {"error.code", "error.errors", "error.message", "error.status"},
		"/proxy/carol/v1.0//x":             {"error.code", "error.innerError", "error.message"},
		"/proxy/nobody/v1.0//x":            {"error", "message", "statusCode"},
	} {
		r := s.call(http.MethodGet, path, nil)
		wantProblem(t, r, problem.InvalidRequest)
		var answer map[string]any
		if err := json.Unmarshal(r.body, &answer); err != nil {
			t.Fatal(err)
		}
		var got []string
		for name, value := range answer {
			inner, ok := value.(map[string]any)
			if !ok {
				got = append(got, name)
			}
			for member := range inner {
				got = append(got, name+"."+member)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s\n%s", path, r.body, diff)
		}
	}
}

func TestEarlyDataChangesNothing(t *testing.T) {
	for _, c := range []struct {
		method   string
		tls      *tls.ConnectionState
		accepted bool
	}{
		{http.MethodGet, nil, true},
		{http.MethodPost, nil, true},
		{http.MethodPost, &tls.ConnectionState{HandshakeComplete: true}, true},
		{http.MethodGet, &tls.ConnectionState{}, true},
		{http.MethodHead, &tls.ConnectionState{}, true},
		{http.MethodPost, &tls.ConnectionState{}, false},
		{http.MethodDelete, &tls.ConnectionState{}, false},
	} {
		err := checkEarlyData(&http.Request{Method: c.method, TLS: c.tls})
		if (err == nil) != c.accepted {
			t.Errorf("%s: %v", c.method, err)
		}
		if err != nil && problem.From(err).Status != http.StatusTooEarly {
			t.Errorf("%s: %v", c.method, err)
		}
	}
}

func TestUpstreamsAndTransportsThatAreRefused(t *testing.T) {
	p := startProvider(t)
	for name, c := range map[string]struct{ old, new, message string }{
		"unverified certificates": {"proxy {", "proxy {\ntransport http {\ntls_insecure_skip_verify\n}", "tls_insecure_skip_verify is refused"},
		"another server name":     {"proxy {", "proxy {\ntransport http {\ntls_server_name x.example\n}", "tls_server_name is refused"},
		"PROXY protocol":          {"proxy {", "proxy {\ntransport http {\nproxy_protocol v1\n}", "proxy_protocol is refused"},
		"clear text HTTP/2":       {"proxy {", "proxy {\ntransport http {\nversions h2c\n}", "h2c is refused"},
		"HTTP/3":                  {"proxy {", "proxy {\ntransport http {\nversions 3\n}", "versions 3 is refused"},
		"clear text elsewhere":    {"api.acme.example " + p.URL, "api.acme.example http://192.0.2.1", "http"},
		"path":                    {"api.acme.example " + p.URL, "api.acme.example https://192.0.2.1/x", "x"},
		"unknown default host":    {"proxy {", "proxy {\ndefault_host google evil.example", "evil.example"},
		"origin without account":  {"proxy {", "proxy / {\napi_host api.acme.example", "account"},
	} {
		t.Run(name, func(t *testing.T) {
			caddyfile := strings.NewReplacer("{{dir}}", t.TempDir(), "{{addr}}", freeAddr(t)).Replace(standardCaddyfile(p))
			err := loadCaddyfile(strings.Replace(caddyfile, c.old, c.new, 1))
			if err == nil || !strings.Contains(err.Error(), c.message) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestClearTextTakesNoForwardProxy(t *testing.T) {
	var asked sync.Map
	forward := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked.Store(r.RequestURI, true) }))
	t.Cleanup(forward.Close)
	proxyURL, err := url.Parse(forward.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := startProxied(t, "proxy {", "proxy {\ntransport http {\nnetwork_proxy url {\nurl "+proxyURL.String()+"\n}\n}")
	if r := s.call(http.MethodGet, "/proxy/bob/x", nil); r.status != http.StatusOK || string(r.body) != "from the API" {
		t.Errorf("%d %s", r.status, r.body)
	}
	asked.Range(func(uri, _ any) bool {
		t.Errorf("the forward proxy saw %s", uri)
		return true
	})
}
