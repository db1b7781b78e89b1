package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// asProvider makes the test binary a fake provider, for tests that need one in
// a process of its own.
const asProvider = "BELLHOP_TEST_FAKE_PROVIDER"

// asCommand makes the test binary the command itself, with the arguments that
// it is run with.
const asCommand = "BELLHOP_TEST_COMMAND"

func TestMain(m *testing.M) {
	if args, ok := os.LookupEnv(asProvider); ok {
		if err := fakeprovider.Main(context.Background(), strings.Fields(args), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if _, ok := os.LookupEnv(asCommand); ok {
		useNameServer()
		listenAsCommand()
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

// providerProcess is a fake provider in a process of its own.
type providerProcess struct {
	fakeprovider.Ready
	fakeprovider.Control
}

// startProvider runs a fake provider as a process until the test ends.
func startProvider(t *testing.T, args ...string) providerProcess {
	t.Helper()
	w := watching(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asProvider+"="+strings.Join(args, " "))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatalf("starting the fake provider: %v", err)
	}
	var p providerProcess
	if err := json.Unmarshal(line, &p.Ready); err != nil {
		t.Fatalf("starting the fake provider: %s: %v", line, err)
	}
	p.Control = fakeprovider.Control{BaseURL: p.URL}
	w.provides(t, p)
	return p
}

// grant makes a grant at the provider and returns its ID and refresh token.
func (p providerProcess) grant(t *testing.T, g fakeprovider.Grant) (id, refreshToken string) {
	t.Helper()
	state, err := p.CreateGrant(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return state.ID, state.RefreshToken
}

// tokenRequests is how many token requests the provider has got.
func (p providerProcess) tokenRequests(t *testing.T) int {
	t.Helper()
	stats, err := p.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stats.TokenRequests
}

// bellhop is a Caddy with Bellhop, run in this process from a Caddyfile.
type bellhop struct {
	t    *testing.T
	dir  string
	addr string // of its site
	url  string
	// caddyfile is what runs, for reloading with a change.
	caddyfile string
}

// useFakeClock puts Bellhop under a clock of the test's until the test ends.
// It must be called before the configuration is loaded.
func useFakeClock(t *testing.T) *clockwork.FakeClock {
	t.Helper()
	fake := clockwork.NewFakeClockAt(time.Now())
	real := clock
	clock = fake
	t.Cleanup(func() { clock = real })
	return fake
}

// start runs Caddy with a Caddyfile until the test ends. In it, {{dir}} stands
// for a directory of the test's own, and {{addr}} for a free loopback address.
// The admin endpoint is a unix socket in that directory.
func start(t *testing.T, caddyfile string) *bellhop {
	t.Helper()
	w := watching(t)
	b := &bellhop{t: t, dir: t.TempDir()}
	b.addr = freeAddr(t)
	b.url = "http://" + b.addr
	b.caddyfile = b.expand(caddyfile)
	b.load(b.caddyfile)
	t.Cleanup(func() {
		b.stop()
		w.ends(t, b.dir)
	})
	return b
}

func (b *bellhop) expand(caddyfile string) string {
	return strings.NewReplacer("{{dir}}", b.dir, "{{addr}}", b.addr).Replace(caddyfile)
}

// load loads a Caddyfile, forced: also one that has not changed.
func (b *bellhop) load(caddyfile string) {
	b.t.Helper()
	if err := loadCaddyfile(caddyfile); err != nil {
		b.t.Fatalf("loading: %v\n%s", err, caddyfile)
	}
}

func loadCaddyfile(caddyfile string) error {
	config, err := adapted(caddyfile)
	if err == nil {
		config, err = watched.Load().listens(config)
	}
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

func adapted(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return config, err
}

func (b *bellhop) stop() {
	if err := caddy.Stop(); err != nil {
		b.t.Errorf("stopping: %v", err)
	}
}

// freeAddr is a loopback address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	// Below the ports that connections are given: one of those may be taken
	// again before it is listened on.
	const first, ports = 20_000, 12_000
	for range ports {
		port := first + (uint32(os.Getpid())*101+lastPort.Add(1))%ports
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// lastPort tells the addresses of one test apart.
var lastPort atomic.Uint32

// reply is an answer that has been read whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// client reuses connections and follows no redirects.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{MaxIdleConnsPerHost: 100},
}

// do sends a request to the site. Headers come as name and value.
//
// A request without a body is sent again when its connection is reset: Caddy's
// servers reset a few new connections while a reload hands their listener over.
func (b *bellhop) do(method, path string, body io.Reader, header ...string) reply {
	b.t.Helper()
	r, err := b.send(b.t.Context(), method, path, body, header...)
	for range 3 {
		if err == nil || body != nil || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			break
		}
		r, err = b.send(b.t.Context(), method, path, nil, header...)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// send is do for goroutines of a test's own.
func (b *bellhop) send(ctx context.Context, method, path string, body io.Reader, header ...string) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, method, b.url+path, body)
	if err != nil {
		return reply{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	r := reply{response.StatusCode, response.Header, text}
	watched.Load().answered(r)
	return r, err
}

// get sends a GET with a key as a bearer token.
func (b *bellhop) get(path, key string) reply {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, "Authorization", "Bearer "+key)
}

// admin calls Bellhop on Caddy's admin endpoint and fails the test unless the
// answer is 200. A body is sent as JSON.
func (b *bellhop) admin(method, path string, body any) map[string]any {
	b.t.Helper()
	r := b.adminReply(method, path, body)
	if r.status != http.StatusOK {
		b.t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	var answer map[string]any
	if err := json.Unmarshal(r.body, &answer); err != nil {
		b.t.Fatal(err)
	}
	return answer
}

func (b *bellhop) adminReply(method, path string, body any) reply {
	b.t.Helper()
	var payload io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		payload = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(b.t.Context(), method, "http://127.0.0.1"+adminPrefix+path, payload)
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	socket := http.Client{CheckRedirect: client.CheckRedirect, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(b.dir, "admin.sock"))
		},
	}}
	response, err := socket.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	r := reply{response.StatusCode, response.Header, text}
	watched.Load().answered(r)
	return r
}

// addAccount registers a grant that the provider has made.
func (b *bellhop) addAccount(id, provider, user, refreshToken string) {
	b.t.Helper()
	b.admin(http.MethodPost, "/v1/account", map[string]any{
		"account": id,
		"oauth2":  map[string]any{"provider": provider, "auth": map[string]any{"user": user}, "refreshToken": refreshToken},
	})
}

// addKey makes a key and returns it. The fields are those of POST /v1/token.
func (b *bellhop) addKey(name string, fields map[string]any) string {
	b.t.Helper()
	body := map[string]any{"name": name}
	maps.Copy(body, fields)
	return b.admin(http.MethodPost, "/v1/token", body)["token"].(string)
}

// standardCaddyfile is a Bellhop with one provider of each type, all of them
// the fake one, which also stands in for the APIs. The token endpoint and the
// proxy are on.
func standardCaddyfile(p providerProcess) string {
	return strings.ReplaceAll(`{
	admin unix/{{dir}}/admin.sock|0600
	persist_config off
	auto_https off
	grace_period 5s
	bellhop {
		store badger {{dir}}/store
		keyset {{dir}}/keyset.json
		provider google {
			client_id bellhop
			client_secret bellhop-secret
			token_endpoint PROVIDER/token
			revocation_endpoint PROVIDER/revoke
			rotation single_use
			scopes https://mail.google.com/
		}
		provider microsoft {
			tenant organizations
			client_id bellhop-microsoft
			client_secret bellhop-secret
			token_endpoint PROVIDER/organizations/oauth2/v2.0/token
			rotation single_use
			scopes https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All
		}
		provider acme oauth2 {
			client_id bellhop
			client_secret bellhop-secret
			token_endpoint PROVIDER/token
			scopes mail.read
			api_host api.acme.example
		}
	}
}

http://{{addr}} {
	bind 127.0.0.1
	bellhop {
		token_endpoint
		proxy {
			upstream gmail.googleapis.com PROVIDER
			upstream www.googleapis.com PROVIDER
			upstream graph.microsoft.com PROVIDER
			upstream outlook.office.com PROVIDER
			upstream api.acme.example PROVIDER
		}
	}
	respond "not bellhop" 404
}
`, "PROVIDER", p.URL)
}

// registerMicrosoft makes the provider know the client of standardCaddyfile
// that speaks as Microsoft does.
func (p providerProcess) registerMicrosoft(t *testing.T) {
	t.Helper()
	err := p.RegisterClient(t.Context(), fakeprovider.Client{ID: "bellhop-microsoft", Secrets: []string{"bellhop-secret"}, Dialect: fakeprovider.Microsoft})
	if err != nil {
		t.Fatal(err)
	}
}
