package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/store/badger"
)

// stockCaddyfile is Caddy without Bellhop.
const stockCaddyfile = `{
	admin unix/{{dir}}/admin.sock|0600
	persist_config off
	auto_https off
	grace_period 5s
}

http://{{addr}} {
	bind 127.0.0.1
	respond {{path}} 200
	respond "not bellhop" 404
}
`

// loss is how many requests there were, and how many got no answer or another
// than 200.
type loss struct{ attempts, failures, refused int }

func (l *loss) add(other loss) {
	l.attempts += other.attempts
	l.failures += other.failures
	l.refused += other.refused
}

// loadUntil sends requests to the site at a steady pace until done is closed:
// half of the clients on connections that they keep, half on a new one for
// each request. What it has sent it tells on sent, if anyone listens.
func (b *bellhop) loadUntil(done <-chan struct{}, sent chan<- struct{}, path, key string) loss {
	const clients, pace = 8, 5 * time.Millisecond
	var attempts, failures, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i%2 == 1}
			defer transport.CloseIdleConnections()
			client := http.Client{Transport: transport, Timeout: 10 * time.Second}
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
				}
				attempts.Add(1)
				switch status, _, err := get(b.t.Context(), &client, b.url+path, key); {
				case err != nil:
					failures.Add(1)
				case status != http.StatusOK:
					refused.Add(1)
				}
				select {
				case sent <- struct{}{}:
				default:
				}
			}
		})
	}
	wg.Wait()
	return loss{int(attempts.Load()), int(failures.Load()), int(refused.Load())}
}

// get reads an answer whole.
func get(ctx context.Context, client *http.Client, url, key string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// reloadUnderLoad loads the Caddyfile so many times, each with a change, with
// some dozens of requests between each.
func (b *bellhop) reloadUnderLoad(caddyfile, path, key string, reloads int) loss {
	b.t.Helper()
	const between = 40
	done, sent, sum := make(chan struct{}), make(chan struct{}), make(chan loss)
	go func() { sum <- b.loadUntil(done, sent, path, key) }()
	for i := range reloads {
		for range between {
			<-sent
		}
		if err := loadCaddyfile(changed(b.t, caddyfile, `"not bellhop"`, fmt.Sprintf(`"reload %d"`, i))); err != nil {
			b.t.Errorf("reload %d: %v", i, err)
		}
	}
	close(done)
	return <-sum
}

func TestReloadsUnderLoadDropNoMoreThanStockCaddy(t *testing.T) {
	if os.Getenv(canaryMode) != "" {
		t.Skip("what is logged for the search would weigh on one of the two alone")
	}
	l := startLifecycle(t)
	l.connect("alice")
	l.token("alice")
	ours := l.caddyfile
	stock := strings.ReplaceAll(l.expand(stockCaddyfile), "{{path}}", tokenPath("alice"))
	// In turn, so that what else the machine does befalls both.
	const rounds, reloads = 4, 25
	var stockLoss, ourLoss loss
	var allowed float64
	// What is chance in some rounds is none in three times as many.
	for done := 0; done < rounds || done < 3*rounds && float64(ourLoss.failures) > allowed; done++ {
		l.load(stock)
		stockLoss.add(l.reloadUnderLoad(stock, tokenPath("alice"), l.key, reloads))
		l.load(ours)
		ourLoss.add(l.reloadUnderLoad(ours, tokenPath("alice"), l.key, reloads))
		// Stock Caddy resets connections that wait to be accepted. How many do
		// is chance, and moves by the square root of their number: beyond three
		// times that it is none.
		expected := float64(stockLoss.failures) * float64(ourLoss.attempts) / float64(stockLoss.attempts)
		allowed = 1.2*expected + 3*math.Sqrt(expected) + 3
	}
	t.Logf("of %d requests stock Caddy lost %d; of %d, Bellhop %d", stockLoss.attempts, stockLoss.failures, ourLoss.attempts, ourLoss.failures)
	if stockLoss.refused != 0 || ourLoss.refused != 0 {
		t.Errorf("stock Caddy refused %d requests, Bellhop %d", stockLoss.refused, ourLoss.refused)
	}
	if float64(ourLoss.failures) > allowed {
		t.Errorf("%d requests lost, %.0f allowed", ourLoss.failures, allowed)
	}
	l.requests("alice", 1)
	l.alive("alice")
}

func TestRejectedReloadLeavesTheRunningConfiguration(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	before := l.token("alice")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const global = "\tbellhop {\n\t\tstore"
	for name, test := range map[string]struct{ old, new, want string }{
		"unknown subdirective":       {global, "\tbellhop {\n\t\tstroe off\n\t\tstore", "stroe"},
		"unknown provider type":      {"provider google {", "provider google gogle {", "gogle"},
		"secret that is empty":       {"client_secret bellhop-secret", "client_secret {env.BELLHOP_TEST_NOT_SET}", "BELLHOP_TEST_NOT_SET"},
		"file that is not there":     {"client_secret bellhop-secret", "client_secret {file./nonexistent/secret}", "secret"},
		"default host not listed":    {"\t\tproxy {", "\t\tproxy {\n\t\t\tdefault_host google example.com", "example.com"},
		"another reserve":            {"store badger " + l.dir + "/store", "store badger " + l.dir + "/store {\n\t\t\treserve 65MiB\n\t\t}", "restart to change"},
		"another keyset":             {l.dir + "/keyset.json", l.dir + "/other.json", "restart to change"},
		"store where a file is":      {l.dir + "/store", l.dir + "/keyset.json", "keyset.json"},
		"keyset below a file":        {"store badger " + l.dir + "/store\n\t\tkeyset " + l.dir + "/keyset.json", "store badger " + l.dir + "/new\n\t\tkeyset " + l.dir + "/keyset.json/keyset.json", "keyset"},
		"second site's address used": {"http://" + l.addr, "http://" + taken.Addr().String() + " {\n\tbind 127.0.0.1\n}\nhttp://" + l.addr, "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			l := l.in(t)
			err := loadCaddyfile(changed(t, l.caddyfile, test.old, test.new))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("loading gave %v, want an error with %q", err, test.want)
			}
			if got := l.token("alice"); got.AccessToken != before.AccessToken {
				t.Error("another token is served")
			}
			if r := l.do(http.MethodGet, "/readyz", nil); r.status != http.StatusOK {
				t.Errorf("readiness: %d %s", r.status, r.body)
			}
			id := strings.NewReplacer(" ", "-", "'", "").Replace(name)
			l.connect(id) // the store takes writes
			l.token(id)
			l.requests("alice", 1)
		})
	}
	l.load(changed(t, l.caddyfile, `"not bellhop"`, `"still not bellhop"`))
	l.token("alice")
	l.requests("alice", 1)
}

func TestValidatingBesideARunningServerOpensNothing(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	l.token("alice")
	caddyfile := changed(t, l.caddyfile, `"not bellhop"`, `"changed"`)

	t.Run("in another process", func(t *testing.T) {
		cmd := l.command("validate", "--config", l.write(caddyfile))
		if err := cmd.Run(); err != nil {
			t.Errorf("validating: %v\n%s", err, cmd.Stderr)
		}
	})
	t.Run("in this process", func(t *testing.T) {
		text, err := adapted(caddyfile)
		if err != nil {
			t.Fatal(err)
		}
		config := new(caddy.Config)
		if err := json.Unmarshal(text, config); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(config); err != nil {
			t.Errorf("validating: %v", err)
		}
	})
	l.token("alice")
	l.connect("bob")
	l.token("bob")
	l.requests("alice", 1)
}

// openStore opens a store by itself, which fails while anybody has it open.
func openStore(dir string) error {
	st, err := badger.Open(dir, badger.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return st.Close()
}

func TestStoreIsClosedByWhoUsedItLast(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	before := l.token("alice")
	store, other := filepath.Join(l.dir, "store"), filepath.Join(l.dir, "other")
	if err := openStore(store); err == nil {
		t.Fatal("the store in use could be opened")
	}

	l.load(changed(t, l.caddyfile, store, other))
	if err := openStore(store); err != nil {
		t.Errorf("the store that was left: %v", err)
	}
	if err := openStore(other); err == nil {
		t.Error("the store in use could be opened")
	}
	if r := l.adminReply(http.MethodGet, "/v1/account/alice", nil); r.status != http.StatusNotFound {
		t.Errorf("account of the other store: %d %s", r.status, r.body)
	}
	l.load(l.caddyfile)
	if got := l.token("alice"); got.AccessToken != before.AccessToken {
		t.Error("the token is another one")
	}
	l.requests("alice", 1)

	l.stop()
	for _, dir := range []string{store, other} {
		if err := openStore(dir); err != nil {
			t.Errorf("after the end: %v", err)
		}
	}
}

func TestRefreshUnderWaySurvivesAReload(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	l.fault("alice", fakeprovider.Fault{Gate: "gate", Commit: true})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answers := make(chan answered, 2)
	ask := func(ctx context.Context, client *http.Client) {
		var a answered
		status, body, err := get(ctx, client, l.url+tokenPath("alice"), l.key)
		if err == nil {
			err = json.Unmarshal(body, &a)
		}
		if err != nil || status != http.StatusOK {
			t.Errorf("%d %s: %v", status, body, err)
		}
		answers <- a
	}
	go ask(ctx, client)
	l.awaitHeld("gate")

	loaded := make(chan error, 1)
	reloaded := changed(t, l.caddyfile, `"not bellhop"`, `"reloaded"`)
	// Loading ends only when the caller of the old configuration is served.
	go func() { loaded <- loadCaddyfile(reloaded) }()
	second, third := l.awaitBody(ctx, "reloaded"), l.awaitBody(ctx, "reloaded")
	asked := make(chan struct{})
	go ask(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { close(asked) },
	}), second)
	select {
	case <-asked:
	case <-ctx.Done():
		t.Fatal("the second caller could not ask")
	}
	// Gives the second caller the time to join the first.
	if status, _, err := get(ctx, third, l.url+"/readyz", ""); err != nil || status != http.StatusOK {
		t.Errorf("readiness: %d, %v", status, err)
	}
	l.release("gate")
	if first, second := <-answers, <-answers; first.AccessToken != second.AccessToken {
		t.Error("the callers were given different tokens")
	}
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	l.token("alice")
	l.load(l.caddyfile)
	l.token("alice")
	l.requests("alice", 1)
	l.alive("alice")
}

// awaitBody returns a client with a connection to the configuration that
// answers with the text, once there is one. While a listener changes hands,
// other connections may be reset.
func (b *bellhop) awaitBody(ctx context.Context, want string) *http.Client {
	b.t.Helper()
	transport := new(http.Transport)
	b.t.Cleanup(transport.CloseIdleConnections)
	fresh := &http.Client{Transport: transport}
	for ctx.Err() == nil {
		if _, body, err := get(ctx, fresh, b.url+"/elsewhere", ""); err == nil && string(body) == want {
			return fresh
		}
		transport.CloseIdleConnections()
	}
	b.t.Fatalf("the site never answered %q", want)
	return nil
}

func TestRenewalAheadGoesOnAfterReloads(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	before := l.token("alice")
	l.load(changed(t, l.caddyfile, `"not bellhop"`, `"reloaded"`))
	if err := loadCaddyfile(changed(t, l.caddyfile, "provider google {", "provider google gogle {")); err == nil {
		t.Fatal("a provider of an unknown type was loaded")
	}
	// For renewing, for saving what could not be saved, for what is due, and
	// for sweeping.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := l.clock.BlockUntilContext(ctx, 4); err != nil {
		t.Fatal(err)
	}
	l.fault("alice", fakeprovider.Fault{Gate: "gate"})
	l.advance(fakeprovider.DefaultTokenLife * 4 / 5) // ahead is a quarter at most
	l.awaitHeld("gate")
	if got := l.token("alice"); got.AccessToken != before.AccessToken || !got.Cached {
		t.Error("a caller was kept waiting, or given another token")
	}
	l.release("gate")
	l.advance(fakeprovider.DefaultTokenLife / 5)
	if got := l.token("alice"); got.AccessToken == before.AccessToken {
		t.Error("the token was not renewed")
	}
	l.requests("alice", 2)
}

func TestKeysOfTheConfigurationChangeWithAReload(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	const before = "\t\tprovider google {"
	declare := func() (string, string) {
		plain, hash := policy.NewKey()
		return plain.Reveal(), changed(t, l.caddyfile, before,
			"\t\tkey declared {\n\t\t\thash "+policy.FormatHash(hash)+"\n\t\t\taccount alice\n\t\t\ttoken\n\t\t}\n"+before)
	}
	old, oldCaddyfile := declare()
	replacement, newCaddyfile := declare()
	for _, step := range []struct {
		caddyfile string
		want      map[string]int // by key
	}{
		{oldCaddyfile, map[string]int{old: 200, replacement: 401, l.key: 200}},
		{newCaddyfile, map[string]int{old: 401, replacement: 200, l.key: 200}},
		{l.caddyfile, map[string]int{old: 401, replacement: 401, l.key: 200}},
	} {
		l.load(step.caddyfile)
		for key, want := range step.want {
			if r := l.get(tokenPath("alice"), key); r.status != want {
				t.Errorf("%d %s, want %d", r.status, r.body, want)
			}
		}
	}
	l.requests("alice", 1)
}

func TestMetricsCountOnAcrossReloads(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	const refreshes, hits = `bellhop_refresh_total{outcome="success",provider="google"}`, `bellhop_token_requests_total{provider="google",result="hit"}`
	l.token("alice")
	before := map[string]float64{refreshes: l.metric(refreshes), hits: l.metric(hits)}
	for i := range 3 {
		l.load(changed(t, l.caddyfile, `"not bellhop"`, fmt.Sprintf(`"reload %d"`, i)))
		l.token("alice")
	}
	for name, more := range map[string]float64{refreshes: 0, hits: 3} {
		if got := l.metric(name); got != before[name]+more {
			t.Errorf("%s is %v, want %v", name, got, before[name]+more)
		}
	}
	if got := l.metric(`bellhop_accounts{provider="google",state="connected"}`); got != 1 {
		t.Errorf("%v accounts, want 1", got)
	}
}

// metric reads one value from Caddy's own metrics, 0 if it is not there.
func (b *bellhop) metric(name string) float64 {
	b.t.Helper()
	socket := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(b.dir, "admin.sock"))
		},
	}}
	response, err := socket.Get("http://127.0.0.1/metrics")
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.t.Fatalf("reading metrics: %d, %v", response.StatusCode, err)
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			var value float64
			if _, err := fmt.Sscan(string(rest), &value); err != nil {
				b.t.Fatal(err)
			}
			return value
		}
	}
	return 0
}

func TestWhatOutlivesItsConfigurationOpensNoStore(t *testing.T) {
	dir := t.TempDir()
	a := new(App)
	a.run.used = new(used)
	a.run.store = storeOptions{dir: filepath.Join(dir, "store"), keyset: filepath.Join(dir, "keyset.json")}
	a.run.open = sync.OnceValues(a.acquire)
	if err := a.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.run.open(); problem.From(err).Code != problem.StoreUnavailable {
		t.Errorf("opening: %v", err)
	}
	if err := openStore(a.run.store.dir); err != nil {
		t.Errorf("the store was left open: %v", err)
	}
}
