package caddymodule

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/policy"
)

func init() {
	caddy.RegisterModule(eventWriter{})
	caddy.RegisterModule(plant{})
	httpcaddyfile.RegisterHandlerDirective("plant", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) { return plant{}, nil })
	httpcaddyfile.RegisterDirectiveOrder("plant", httpcaddyfile.Before, "respond")
}

// eventWriter is a subscriber that logs all that it is told.
type eventWriter struct{}

func (eventWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.write", New: func() caddy.Module { return new(eventWriter) }}
}

func (eventWriter) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (eventWriter) Handle(_ context.Context, e caddy.Event) error {
	caddy.Log().Named("subscriber").Debug("event", zap.String("name", e.Name()), zap.Any("data", e.Data), zap.Any("cloud", e.CloudEvent()))
	return nil
}

// plant is a handler that gives its callers' secrets away, each in its way.
type plant struct{}

func (plant) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.plant", New: func() caddy.Module { return new(plant) }}
}

func (plant) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	leaked := r.Header.Get("X-Planted")
	switch r.URL.Path {
	case "/panic":
		panic(leaked)
	case "/error":
		return fmt.Errorf("serving %s", leaked)
	case "/stdout":
		fmt.Println(hex.EncodeToString([]byte(leaked)))
	case "/log":
		caddy.Log().Named("plant").Debug("a call", zap.String("with", base64.StdEncoding.EncodeToString([]byte("Basic user:"+leaked))))
	case "/answer":
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("?q=" + url.QueryEscape(leaked)))
	}
	return nil
}

// canary is a secret that must turn up nowhere, by what it is.
type canary struct{ name, value string }

// needles are the forms in which the canary could stand somewhere.
func (c canary) needles() [][]byte {
	raw := []byte(c.value)
	forms := [][]byte{
		raw, []byte(url.QueryEscape(c.value)), []byte(url.PathEscape(c.value)),
		[]byte(hex.EncodeToString(raw)), []byte(strings.ToUpper(hex.EncodeToString(raw))),
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 { // bytes that stand before it in its group of three
			encoded := encoding.EncodeToString(append(make([]byte, before), raw...))
			encoded = encoded[(before*4+2)/3:]
			if (before+len(raw))%3 != 0 {
				encoded = encoded[:len(encoded)-1] // shares bits with what follows
			}
			forms = append(forms, []byte(encoded))
		}
	}
	slices.SortFunc(forms, bytes.Compare)
	return slices.CompactFunc(forms, bytes.Equal)
}

// sweep finds which canaries stand in what r reads, however long it is.
func sweep(r io.Reader, canaries []canary) (found map[string]bool, err error) {
	found = make(map[string]bool)
	longest := 0
	needles := make(map[string][][]byte)
	for _, c := range canaries {
		needles[c.name] = c.needles()
		for _, n := range needles[c.name] {
			longest = max(longest, len(n))
		}
	}
	window := make([]byte, 0, 1<<20)
	for {
		n, err := io.ReadFull(r, window[len(window):cap(window)])
		window = window[:len(window)+n]
		for name, forms := range needles {
			if found[name] || !slices.ContainsFunc(forms, func(f []byte) bool { return bytes.Contains(window, f) }) {
				continue
			}
			found[name] = true
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		keep := window[len(window)-min(longest, len(window)):]
		window = window[:copy(window[:cap(window)], keep)]
	}
}

// sinks are what is searched: text by its name, and directories.
type sinks struct {
	text  map[string][]byte
	dirs  []string
	spare []string // files that may hold secrets
}

// remember adds an answer of ours to a sink.
func (s *sinks) remember(sink string, r reply) {
	var header bytes.Buffer
	_ = r.header.Write(&header)
	s.text[sink] = append(append(append(s.text[sink], header.Bytes()...), r.body...), '\n')
}

// find sweeps all sinks: the names of those with each canary.
func (s *sinks) find(t *testing.T, canaries []canary) map[string][]string {
	t.Helper()
	where := make(map[string][]string)
	look := func(sink string, r io.Reader) {
		found, err := sweep(r, canaries)
		if err != nil {
			t.Fatal(err)
		}
		for name := range found {
			where[name] = append(where[name], sink)
		}
	}
	for name, text := range s.text {
		look(name, bytes.NewReader(text))
	}
	for _, dir := range s.dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() || slices.Contains(s.spare, path) {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			look(strings.TrimPrefix(path, dir+"/"), f)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return where
}

// canaryCaddyfile logs whatever Caddy can log, and has a subscriber for every
// event.
func canaryCaddyfile(p providerProcess, plantAddr, deadAddr, configPlant string, keys ...string) string {
	caddyfile := withAPI(withKeys(standardCaddyfile(p), keys...))
	return strings.NewReplacer(
		"client_secret bellhop-secret", "client_secret {env.CANARY_SECRET}",
		"\tbellhop {\n\t\tstore", `	metrics
	log default {
		output file {{dir}}/logs/caddy.log
		format json
		level DEBUG
	}
	events {
		on * write
	}
	bellhop {
		store`,
		"\tbind 127.0.0.1\n", "\tbind 127.0.0.1\n\tlog {\n\t\toutput file {{dir}}/logs/access.log\n\t\tformat json\n\t\tlevel DEBUG\n\t}\n",
		"\t\t\tupstream www.googleapis.com", "\t\t\tupstream people.googleapis.com http://"+deadAddr+"\n\t\t\tupstream www.googleapis.com",
	).Replace(caddyfile) + `
http://` + plantAddr + ` {
	bind 127.0.0.1
	header X-Config "` + configPlant + `"
	plant
}
`
}

// canaryRun is a Bellhop in a process of its own, whose every output is kept.
type canaryRun struct {
	*bellhop
	*sinks
	provider       providerProcess
	stop           func()
	secret         string
	plantURL       string
	keys           map[string]string
	replaced, late string // refresh tokens beside the accounts' own
}

func startCanaryRun(t *testing.T, configPlant string) *canaryRun {
	t.Helper()
	p := startProvider(t)
	b := &bellhop{t: t, dir: t.TempDir(), addr: freeAddr(t)}
	b.url = "http://" + b.addr
	run := &canaryRun{
		bellhop: b, provider: p, secret: "Canary/client+secret=" + randomText(),
		sinks: &sinks{text: map[string][]byte{}, dirs: []string{b.dir}, spare: []string{filepath.Join(b.dir, "keyset.json"), filepath.Join(b.dir, "Caddyfile")}},
		keys:  make(map[string]string),
	}
	if err := p.Configure(t.Context(), fakeprovider.Settings{
		TokenLife: fakeprovider.Duration(fakeprovider.DefaultTokenLife), Rotation: fakeprovider.Rotation{Policy: fakeprovider.SingleUse},
		AccessTokenPrefix: "ya29.canary-" + randomText(), RefreshTokenPrefix: "1//canary-" + randomText(),
	}); err != nil {
		t.Fatal(err)
	}
	for _, client := range []fakeprovider.Client{
		{ID: "bellhop", Secrets: []string{run.secret}},
		{ID: "bellhop-microsoft", Secrets: []string{run.secret}, Dialect: fakeprovider.Microsoft},
	} {
		if err := p.RegisterClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	admin, _ := policy.NewKey()
	run.keys["admin"] = admin.Reveal()
	plantAddr := freeAddr(t)
	run.plantURL = "http://" + plantAddr
	written := b.expand(canaryCaddyfile(p, plantAddr, freeAddr(t), configPlant, declared("admin", admin.Reveal(), "\t\t\tadmin\n")))
	config := filepath.Join(b.dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(written), 0o600); err != nil {
		t.Fatal(err)
	}
	run.serve(config)
	return run
}

// serve runs the server until stop is called, which makes it crash.
func (run *canaryRun) serve(config string) {
	run.t.Helper()
	ready, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		run.t.Fatal(err)
	}
	defer ready.Close()
	cmd := process(run.t, "run", "--config", config, "--adapter", "caddyfile", "--pingback", ready.Addr().String())
	cmd.Env = append(cmd.Env, "CANARY_SECRET="+run.secret, "GOTRACEBACK=all")
	cmd.Stdin = strings.NewReader("ready")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		run.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		ready.Close()
		close(ended)
	}()
	run.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGABRT)
		<-ended
		run.text["stdout"], run.text["stderr"] = stdout.Bytes(), stderr.Bytes()
	}
	run.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	connection, err := ready.Accept()
	if err != nil {
		<-ended
		run.t.Fatalf("the server did not start: %s%s", stdout.Bytes(), stderr.Bytes())
	}
	_ = connection.Close()
}

func randomText() string {
	key, _ := policy.NewKey()
	return key.Reveal()[3:25]
}

// call makes a call whose answer must not hold a secret.
func (run *canaryRun) call(method, path string, body string, header ...string) reply {
	run.t.Helper()
	r := run.do(method, path, strings.NewReader(body), header...)
	if r.status >= 400 {
		run.remember("error answers", r)
	}
	return r
}

// manage calls the management API.
func (run *canaryRun) manage(method, path string, body any) {
	run.t.Helper()
	run.remember("management answers", run.adminReply(method, path, body))
}

// everyWayToGiveAKey calls a path with a key in every place and shape.
func (run *canaryRun) everyWayToGiveAKey(path, key string) {
	escaped := url.QueryEscape(key)
	for _, header := range [][]string{
		{"Authorization", "Bearer " + key},
		{"Authorization", basic("user", key)},
		{"X-Bellhop-Key", key},
		{"X-Goog-Api-Key", key},
		{"X-Bellhop-Key", key, "X-Bellhop-Key", key},
		{"Authorization", "Bearer " + key, "Authorization", "Bearer " + key},
		{"Cookie", "key=" + key},
	} {
		run.call("GET", path, "", header...)
		run.call("POST", path, "{}", header...)
	}
	for _, query := range []string{"access_token=", "key=", "oauth_token=", "Access_Token=", "access%5Ftoken=", "alt=json&key=", "code="} {
		run.call("GET", path+"?"+query+escaped, "")
		run.call("GET", path+"?"+query+escaped, "", "Authorization", "Bearer "+key)
	}
	run.call("GET", path+"/"+url.PathEscape(key), "")
}

// faults queues faults for a grant.
func (run *canaryRun) faults(faults ...fakeprovider.Fault) {
	run.t.Helper()
	if _, err := run.provider.QueueFaults(run.t.Context(), faults...); err != nil {
		run.t.Fatal(err)
	}
}

// live goes through all that happens to accounts and callers, good and bad.
func (run *canaryRun) live() {
	p := run.provider
	for id, provider := range map[string]string{"alice": "google", "graph": "microsoft", "dead": "google", "down": "google", "odd": "acme"} {
		grant := run.connect(p, id, provider)
		state, err := p.Grant(run.t.Context(), grant, true)
		if err != nil {
			run.t.Fatal(err)
		}
		echo := "not good: " + state.RefreshToken + " of " + run.secret
		switch id {
		case "dead":
			run.faults(fakeprovider.Fault{Grant: grant, Times: -1, Kind: fakeprovider.OAuthError, Error: "invalid_grant", Description: echo, Suberror: state.RefreshToken})
		case "odd":
			run.faults(fakeprovider.Fault{Grant: grant, Times: -1, Kind: fakeprovider.OAuthError, Error: state.RefreshToken, Description: echo})
		case "down":
			run.faults(fakeprovider.Fault{Grant: grant, Times: -1, Kind: fakeprovider.Respond, Status: 503, Body: "<html>" + echo})
		case "alice":
			run.faults(
				fakeprovider.Fault{On: fakeprovider.EndpointAPI, PathPrefix: "/status/201", Kind: fakeprovider.Drop, Times: -1},
				fakeprovider.Fault{On: fakeprovider.EndpointAPI, PathPrefix: "/status/202", Kind: fakeprovider.Truncate, Body: strings.Repeat("x", 4096), Times: -1},
				fakeprovider.Fault{On: fakeprovider.EndpointRevoke, Kind: fakeprovider.Respond, Status: 500, Body: echo, Times: -1},
			)
		}
	}
	run.keys["caller"] = run.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	caller := run.keys["caller"]
	for _, id := range []string{"alice", "graph", "dead", "down", "odd", "nobody"} {
		run.call("GET", tokenURL(id), "", "Authorization", "Bearer "+caller)
		run.call("GET", tokenURL(id)+"?force=true", "", "X-Bellhop-Key", caller)
		run.call("GET", "/proxy/"+id+"/status/200", "", "Authorization", "Bearer "+caller)
		run.manage("GET", "/v1/account/"+id, nil)
		run.manage("POST", "/v1/account/"+id+"/refresh", nil)
	}
	for _, path := range []string{"/proxy/alice" + gmailCall, "/proxy/graph" + graphCall, tokenURL("alice"), "/v1/accounts", "/elsewhere", "/v1/account/alice"} {
		for _, name := range []string{"caller", "admin", "mistyped"} {
			run.everyWayToGiveAKey(path, run.keys[name])
		}
	}
	for _, path := range []string{"/status/201", "/status/202"} {
		_, _ = run.send(run.t.Context(), "GET", "/proxy/alice/www.googleapis.com"+path, nil, "X-Bellhop-Key", caller)
	}
	run.call("GET", "/proxy/alice/people.googleapis.com/v1/people/me", "", "X-Bellhop-Key", caller, "X-Other", caller)
	run.call("GET", "/proxy/alice/people.googleapis.com/v1/people/me", "", "X-Bellhop-Key", caller)
	run.call("GET", "/proxy/alice/evil.example/", "", "X-Bellhop-Key", caller)
	for _, grant := range must(p.Grants(run.t.Context(), false)) {
		if err := p.RevokeAccessTokens(run.t.Context(), grant.ID); err != nil {
			run.t.Fatal(err)
		}
	}
	run.call("GET", "/proxy/alice"+gmailCall, "", "X-Bellhop-Key", caller) // 401, and once more
	run.administer()
}

// administer is what an operator does, and does wrong.
func (run *canaryRun) administer() {
	p := run.provider
	_, run.replaced = p.grant(run.t, fakeprovider.Grant{Scope: mailScope})
	_, run.late = p.grant(run.t, fakeprovider.Grant{Scope: mailScope})
	run.manage("POST", "/v1/account", registration("alice", "google", run.late))
	replace := registration("alice", "google", run.replaced)
	replace["replace"] = true
	run.manage("POST", "/v1/account", replace)
	replace = registration("alice", "google", run.late+"-mistyped")
	replace["replace"] = true
	run.manage("POST", "/v1/account", replace)
	run.manage("POST", "/v1/account", registration(run.late+"/", "google", run.late))
	run.manage("POST", "/v1/account", map[string]any{"account": "x", "refreshTokn": run.late})
	run.manage("POST", "/v1/account", map[string]any{"account": "x", "oauth2": map[string]any{"provider": "google", "refreshToken": run.late + " y", "expires": run.late}})
	run.manage("POST", "/v1/account", map[string]any{"account": "x", "oauth2": map[string]any{"provider": []string{run.late}}})
	run.manage("POST", "/v1/account", run.late)
	run.manage("POST", "/v1/token", map[string]any{"name": run.keys["caller"]})
	run.manage("GET", "/v1/token/nobody", nil)
	run.manage("GET", "/v1/accounts", nil)
	run.manage("GET", "/v1/tokens", nil)
	run.manage("POST", "/v1/account/graph/disable", nil)
	run.call("GET", tokenURL("graph"), "", "X-Bellhop-Key", run.keys["caller"])
	run.manage("POST", "/v1/account/graph/enable", nil)
	run.manage("DELETE", "/v1/account/graph?revoke=true", nil)
	run.manage("DELETE", "/v1/account/alice?revoke=true&all=true", nil)
	for _, path := range []string{"/config/", "/metrics", "/debug/vars"} {
		run.remember(path, run.ofCaddy(path))
	}
}

// ofCaddy gets something of Caddy's own admin endpoint.
func (run *canaryRun) ofCaddy(path string, header ...string) reply {
	run.t.Helper()
	request, err := http.NewRequestWithContext(run.t.Context(), http.MethodGet, "http://127.0.0.1"+path, nil)
	if err != nil {
		run.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	socket := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(run.dir, "admin.sock"))
		},
	}}
	response, err := socket.Do(request)
	if err != nil {
		run.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		run.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, body}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// canaries are all secrets of the run.
func (run *canaryRun) canaries() []canary {
	run.t.Helper()
	all := []canary{{"client secret", run.secret}, {"refresh token that replaced", run.replaced}, {"refresh token of no account", run.late}}
	for name, key := range run.keys {
		all = append(all, canary{name + " key", key})
	}
	settings := must(run.provider.Settings(run.t.Context()))
	all = append(all, canary{"access token", settings.AccessTokenPrefix}, canary{"refresh token", settings.RefreshTokenPrefix})
	var file map[string]struct {
		Key []struct {
			KeyData struct{ Value []byte } `json:"keyData"`
		} `json:"key"`
	}
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(run.dir, "keyset.json"))), &file); err != nil {
		run.t.Fatal(err)
	}
	for purpose, set := range file {
		for _, key := range set.Key {
			// The key itself comes last in its message.
			all = append(all, canary{purpose + " key of the keyset", string(key.KeyData.Value[len(key.KeyData.Value)-32:])})
		}
	}
	return all
}

// plants are leaks made on purpose, by the sink that they stand in.
func (run *canaryRun) plants(configPlant string) []canary {
	run.t.Helper()
	planted := []canary{{"/config/", configPlant}}
	add := func(sink string) string {
		c := canary{sink, "planted/" + randomText()}
		planted = append(planted, c)
		return c.value
	}
	leak := func(path, value string) {
		request := must(http.NewRequestWithContext(run.t.Context(), http.MethodGet, run.plantURL+path, nil))
		request.Header.Set("X-Planted", value)
		if response, err := client.Do(request); err == nil {
			body, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			run.remember("error answers", reply{response.StatusCode, nil, body})
		}
	}
	leak("/error", add("logs/caddy.log (http.log.error)"))
	leak("/log", add("logs/caddy.log (base64)"))
	leak("/panic", add("logs/caddy.log (panic)"))
	leak("/stdout", add("stdout (hexadecimal)"))
	leak("/answer", add("error answers (escaped)"))
	run.ofCaddy("/config/apps", "X-Planted", add("logs/caddy.log (admin endpoint)"))
	if _, err := run.send(run.t.Context(), "GET", "/elsewhere", nil, "X-Planted", add("logs/access.log")); err != nil {
		run.t.Fatal(err)
	}
	// Past the first 64 MiB, and across the edge of what is read at once.
	big := must(os.Create(filepath.Join(run.dir, "store", "big")))
	defer big.Close()
	for value, at := range map[string]int64{add("store/big (tail)"): 65 << 20, add("store/big (edge)"): 1<<20 - 5} {
		if _, err := big.WriteAt([]byte(value), at); err != nil {
			run.t.Fatal(err)
		}
	}
	return planted
}

func TestSecretsStandNowhereAndPlantedOnesAreFound(t *testing.T) {
	configPlant := "planted/" + randomText()
	run := startCanaryRun(t, configPlant)
	mistyped, _ := policy.NewKey()
	run.keys["mistyped"] = mistyped.Reveal()
	run.live()
	planted := run.plants(configPlant)
	canaries := run.canaries()
	run.stop()

	for name, sinks := range run.find(t, canaries) {
		t.Errorf("the %s stands in %v", name, sinks)
	}
	found := run.find(t, planted)
	for _, plant := range planted {
		sink, _, _ := strings.Cut(plant.name, " (")
		if !slices.Contains(found[plant.name], sink) {
			t.Errorf("what was planted in %s was found in %v", plant.name, found[plant.name])
		}
	}

	// What was searched must hold what is written there.
	log := string(must(os.ReadFile(filepath.Join(run.dir, "logs", "caddy.log"))))
	for _, line := range []string{`"upstream roundtrip"`, `"bellhop.audit"`, `"admin.api"`, `"subscriber"`, `account_connected`, `token_refreshed`, `"http.log.error`, `account_failed`} {
		if !strings.Contains(log, line) {
			t.Errorf("no %s in the log", line)
		}
	}
	if access := string(must(os.ReadFile(filepath.Join(run.dir, "logs", "access.log")))); !strings.Contains(access, "handled request") || !strings.Contains(access, "gmail.googleapis.com") {
		t.Errorf("no calls in the access log")
	}
	for sink, text := range map[string]string{
		"/metrics": "bellhop_token_requests_total", "/config/": "CANARY_SECRET", "stderr": "SIGABRT",
		"error answers": "OauthRenewError", "management answers": masked,
	} {
		if !bytes.Contains(run.text[sink], []byte(text)) {
			t.Errorf("no %s in %s", text, sink)
		}
	}
}
