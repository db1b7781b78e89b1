package caddymodule

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// startLocal runs standardCaddyfile with a site that asks nobody who calls, under
// whatever name it is called.
func startLocal(t *testing.T, changes ...string) *proxied {
	t.Helper()
	s := startProxied(t, append(settings("", "\t\tauth none\n"), changes...)...)
	s.caddyfile = changed(t, s.caddyfile, "http://"+s.addr+" {", "http://:"+s.port()+" {")
	s.load(s.caddyfile)
	return s
}

func (b *bellhop) port() string {
	b.t.Helper()
	_, port, err := net.SplitHostPort(b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	return port
}

func TestAuthNoneServesProgramsOnThisMachine(t *testing.T) {
	s := startLocal(t)
	const path = "/proxy/bob/api.acme.example/v1/x"
	for _, host := range []string{s.addr, "localhost:" + s.port(), "localhost", "LocalHost", "127.0.0.1", "[::1]:" + s.port(), "127.9.9.9"} {
		if r := s.raw("GET "+path+" HTTP/1.1", "Host: "+host); r.status != http.StatusOK {
			t.Errorf("Host %s: %d %s", host, r.status, r.body)
		}
	}
	if got := s.api.take()[0].Header.Get("Authorization"); !strings.HasPrefix(got, "Bearer ") {
		t.Errorf("the API got %q", got)
	}
	// What libraries need to send does not matter, and neither do the words of a
	// page of this site, of which there is none.
	for _, header := range []string{"Authorization: Bearer anything", "Cookie: a=b", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"} {
		if r := s.raw("GET "+path+" HTTP/1.1", "Host: "+s.addr, header); r.status != http.StatusOK {
			t.Errorf("%s: %d %s", header, r.status, r.body)
		}
	}
	if got := s.activityOf("?key=" + strings.ReplaceAll(localHolder, " ", "+")); len(got) != 11 || got[0].Account != "bob" {
		t.Errorf("the audit has %d calls: %+v", len(got), got)
	}
	if r := s.do(http.MethodGet, whoamiPath, nil); r.status != http.StatusOK || !strings.Contains(string(r.body), `"account":"bob"`) || strings.Contains(string(r.body), `"identity"`) {
		t.Errorf("whoami: %d %s", r.status, r.body)
	}
}

// pagesDo are requests that pages of other sites, and proxies for other
// machines, can send to this one.
var pagesDo = map[string][]string{
	"a name that was made to mean this machine": {"Host: evil.example"},
	"such a name with the port":                 {"Host: evil.example:8080"},
	"a name below localhost":                    {"Host: evil.localhost"},
	"a name that begins like it":                {"Host: localhost.evil.example"},
	"a name that begins like an address":        {"Host: 127.0.0.1.evil.example"},
	"an address of the network":                 {"Host: 192.0.2.1"},
	"any address":                               {"Host: 0.0.0.0"},
	"another origin":                            {"Origin: https://evil.example"},
	"an origin that is not told":                {"Origin: null"},
	"an empty origin":                           {"Origin:"},
	"another port of this machine":              {"Origin: http://localhost:3000"},
	"across sites":                              {"Sec-Fetch-Site: cross-site"},
	"from another port of this machine":         {"Sec-Fetch-Site: same-site"},
	"what browsers do not say yet":              {"Sec-Fetch-Site: new-value"},
	"a tunnel":                                  {"Origin: https://evil.example", "Connection: Upgrade", "Upgrade: websocket"},
	"a proxy":                                   {"X-Forwarded-For: 192.0.2.1"},
	"a proxy that hides where from":             {"X-Forwarded-Host: evil.example"},
	"a proxy by its standard":                   {"Forwarded: for=192.0.2.1"},
	"a proxy's name":                            {"Via: 1.1 proxy"},
	"another proxy":                             {"X-Real-IP: 192.0.2.1"},
	"a network of proxies":                      {"CF-Connecting-IP: 192.0.2.1"},
}

func TestAuthNoneRefusesWhatPagesAndProxiesSend(t *testing.T) {
	s := startLocal(t, slices.Concat(graphAtAPI, []string{"\t\tauth none\n", "\t\tauth none\n\t\ttoken_endpoint\n"})...)
	s.api.answering(http.StatusOK, `{"@microsoft.graph.downloadUrl":"https://contoso.sharepoint.com/download?tempauth=1"}`)
	handle := s.local(member(t, s.do(http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1", nil), "@microsoft.graph.downloadUrl"))
	s.api.handle(nil)
	paths := []string{"/proxy/bob/api.acme.example/v1/x", handle, whoamiPath, tokenPath("bob")}
	for _, path := range paths {
		if r := s.do(http.MethodGet, path, nil); r.status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, r.status, r.body)
		}
	}
	s.api.take()
	for name, lines := range pagesDo {
		t.Run(name, func(t *testing.T) {
			if !strings.HasPrefix(lines[0], "Host:") {
				lines = append([]string{"Host: " + s.addr}, lines...)
			}
			for _, path := range paths {
				wantProblem(t, s.raw(append([]string{"GET " + path + " HTTP/1.1"}, lines...)...), problem.NotAllowed)
			}
		})
	}
	for _, header := range []string{"X-Bellhop-Key", "X-Goog-Api-Key"} {
		wantProblem(t, s.do(http.MethodGet, paths[0], nil, header, s.key), problem.InvalidRequest)
	}
	wantProblem(t, s.get(paths[0], s.key), problem.InvalidRequest)
	s.refusedAll()
}

func TestAuthNoneIsRefusedToOtherMachines(t *testing.T) {
	tcp := func(address string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	unix := &net.UnixAddr{Net: "unix", Name: "/run/site.sock"}
	for name, c := range map[string]struct {
		local  net.Addr
		remote string
		ok     bool
	}{
		"loopback":                    {tcp("127.0.0.1:80"), "127.0.0.1:1", true},
		"IPv6":                        {tcp("[::1]:80"), "[::1]:1", true},
		"IPv4 in IPv6":                {tcp("[::ffff:127.0.0.1]:80"), "[::ffff:127.0.0.1]:1", true},
		"a unix socket":               {unix, "@", true},
		"a unix socket without peer":  {unix, "", true},
		"another machine":             {tcp("192.0.2.2:80"), "192.0.2.1:1", false},
		"another machine to loopback": {tcp("127.0.0.1:80"), "192.0.2.1:1", false},
		"this one by its address":     {tcp("192.0.2.2:80"), "127.0.0.1:1", false},
		"a private one":               {tcp("10.0.0.1:80"), "10.0.0.2:1", false},
		"not known":                   {tcp("127.0.0.1:80"), "", false},
		"not known here":              {nil, "127.0.0.1:1", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
			r.RemoteAddr = c.remote
			if c.local != nil {
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.local))
			}
			if err := checkLocal(r); (err == nil) != c.ok {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAuthNoneIsNotLoadedWhereOthersCanConnect(t *testing.T) {
	s := startLocal(t)
	refused := func(changes []string, want string) {
		t.Helper()
		err := loadCaddyfile(changed(t, s.caddyfile, changes...))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error is %v, want one line with %q", changes, err, want)
		}
	}
	const bound = "\tbind 127.0.0.1\n"
	refused([]string{bound, ""}, "auth none: this site listens on :")
	refused([]string{bound, ""}, "write `bind 127.0.0.1` in its block")
	for _, to := range []string{"0.0.0.0", "::", "127.0.0.1 0.0.0.0", "192.0.2.1", "fd/3"} {
		refused([]string{bound, "\tbind " + to + "\n"}, "auth none: ")
	}
	refused([]string{"\t\tauth none\n", "\t\tauth none\n\t\tapi\n"}, "api cannot be where there is `auth none`")
	refused([]string{"\t\tproxy {\n", "\t\tproxy / {\n\t\t\taccount key\n\t\t\tapi_host api.acme.example\n"}, "account key is for `auth keys`")
	refused([]string{"\t\tauth none\n", "\t\tauth none\n\t\ttoken_endpoint {\n\t\t\tquery_key\n\t\t}\n"}, "query_key is for `auth keys`")
	// The running configuration went on meanwhile.
	if r := s.do(http.MethodGet, "/proxy/bob/api.acme.example/v1/x", nil); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// listening is the context of a module of a server that listens there.
func listening(t *testing.T, listen ...string) caddy.Context {
	t.Helper()
	server := context.WithValue(context.Background(), caddyhttp.ServerCtxKey, &caddyhttp.Server{Listen: listen})
	ctx, cancel := caddy.NewContext(caddy.Context{Context: server})
	t.Cleanup(cancel)
	return ctx
}

func TestListenersThatOthersCannotReachAreKnown(t *testing.T) {
	for listen, ok := range map[string]bool{
		"127.0.0.1:80": true, "tcp/127.0.0.1:80": true, "tcp4/127.9.9.9:80-90": true, "[::1]:80": true, "tcp6/[::1]:80": true, "localhost:80": true,
		"udp/127.0.0.1:443": true, "unix//run/site.sock": true, "unix//run/site.sock|0600": true, "unix/@abstract": true,
		":80": false, "0.0.0.0:80": false, "[::]:80": false, "192.0.2.1:80": false, "tcp/:80": false, "example.com:80": false,
		"localhost.example.com:80": false, "fd/3": false, "tailscale/localhost:80": false,
	} {
		if err := checkListeners(listening(t, listen)); (err == nil) != ok {
			t.Errorf("%s: %v", listen, err)
		}
	}
	for name, ctx := range map[string]context.Context{
		"no server": t.Context(), "no address": listening(t), "one of two": listening(t, "127.0.0.1:80", ":80"),
	} {
		if err := checkListeners(ctx); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAuthNoneReachesNoMoreThanItsSiteServes(t *testing.T) {
	t.Setenv("BELLHOP_TEST_ACCOUNT", "alice@example.com")
	for written, want := range map[string]string{
		"": "*", "alice@example.com": "alice@example.com", "{env.BELLHOP_TEST_ACCOUNT}": "alice@example.com", "{http.request.host}": "*",
	} {
		a, err := newLocalAuth(listening(t, "127.0.0.1:80"), &Handler{Proxy: &Proxy{Account: written}})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a.key.Accounts, []string{want}) || a.key.Token || a.key.Admin || a.key.Connect {
			t.Errorf("account %s: %+v", written, a.key)
		}
	}
}

func TestAuthNoneIsServedOnEachKindOfLoopback(t *testing.T) {
	s := startLocal(t)
	const path = "/proxy/bob/api.acme.example/v1/x"
	served := func(t *testing.T, bind, network, address string) {
		t.Helper()
		s.load(changed(t, s.caddyfile, "\tbind 127.0.0.1\n", "\tbind "+bind+"\n"))
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for host, want := range map[string]int{"localhost": http.StatusOK, "evil.example": http.StatusForbidden} {
			request.Host = host
			response, err := transport.RoundTrip(request)
			for range 3 { // as in do
				if err == nil || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
					break
				}
				response, err = transport.RoundTrip(request)
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("Host %s: %d, want %d", host, response.StatusCode, want)
			}
		}
	}
	t.Run("localhost", func(t *testing.T) { served(t, "localhost", "tcp", s.addr) })
	t.Run("unix socket", func(t *testing.T) {
		path := filepath.Join(s.dir, "site.sock")
		served(t, "unix/"+path, "unix", path)
	})
	t.Run("IPv6", func(t *testing.T) {
		l, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			t.Skip(err)
		}
		_ = l.Close()
		served(t, "::1", "tcp", "[::1]:"+s.port())
	})
}

func TestAuthNoneHandsOutTokensOnlyWhereThatIsWritten(t *testing.T) {
	s := startLocal(t)
	wantProblem(t, s.do(http.MethodGet, tokenPath("bob"), nil), problem.APIEndpointDisabled)
	s.load(changed(t, s.caddyfile, "\t\tauth none\n", "\t\tauth none\n\t\ttoken_endpoint\n"))
	if r := s.do(http.MethodGet, tokenPath("bob"), nil); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestAuthNoneServesTheAccountOfItsOriginForm(t *testing.T) {
	t.Setenv("BELLHOP_TEST_ACCOUNT", "carol")
	for _, written := range []string{"carol", "{env.BELLHOP_TEST_ACCOUNT}"} {
		s := startLocal(t, "\t\tproxy {\n", "\t\tproxy / {\n\t\t\taccount "+written+"\n\t\t\tapi_host graph.microsoft.com\n")
		e := echoed(t, s.do(http.MethodGet, "/echo/x", nil))
		if !strings.HasSuffix(e.Header.Get("Authorization"), "of grant "+s.grants["carol"]) {
			t.Errorf("%s: as %s", written, e.Header.Get("Authorization"))
		}
		wantProblem(t, s.do(http.MethodGet, "/echo/x", nil, "Origin", "https://evil.example"), problem.NotAllowed)
		s.stop()
	}
}

func TestAuthNoneRefusesWhatAnotherSitePassesOn(t *testing.T) {
	s := startLocal(t)
	public := freeAddr(t)
	s.load(s.caddyfile + "\nhttp://" + public + " {\n\tbind 127.0.0.1\n\treverse_proxy " + s.addr + " {\n\t\theader_up Host localhost\n\t}\n}\n")
	wantProblem(t, s.at(public).do(http.MethodGet, "/proxy/bob/api.acme.example/v1/x", nil), problem.NotAllowed)
	s.refusedAll()
}
