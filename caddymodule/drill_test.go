package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/backup"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// drillKinds are the rotations of the drill, each with a provider and accounts
// of its own.
var drillKinds = []fakeprovider.RotationPolicy{fakeprovider.SingleUse, fakeprovider.KeepsOld, fakeprovider.NoRotation}

const drillEach = 40

// drillCaddyfile is a Bellhop with a provider for each kind.
func drillCaddyfile(p providerProcess) string {
	var providers strings.Builder
	for _, kind := range drillKinds {
		fmt.Fprintf(&providers, `
		provider %[1]s oauth2 {
			client_id drill-%[1]s
			client_secret drill-secret
			token_endpoint %[2]s/token
			rotation %[1]s
			scopes mail.read
		}`, kind, p.URL)
	}
	return `{
	admin unix/{{dir}}/admin.sock|0600
	persist_config off
	auto_https off
	grace_period 5s
	bellhop {
		store badger {{dir}}/store
		keyset {{dir}}/keyset.json` + providers.String() + `
	}
}

http://{{addr}} {
	bind 127.0.0.1
	bellhop {
		token_endpoint
		proxy off
	}
}
`
}

// drill is the accounts of the drill at one instance.
type drill struct {
	*bellhop
	key      string
	accounts []string
}

// tokens asks for the token of each account once, from many callers at once,
// and returns the statuses.
func (d *drill) tokens(accounts []string) map[string]int {
	d.t.Helper()
	statuses := make(map[string]int, len(accounts))
	var mu sync.Mutex
	var callers sync.WaitGroup
	queue := make(chan string)
	for range 8 {
		callers.Go(func() {
			for id := range queue {
				r, err := d.send(d.t.Context(), http.MethodGet, tokenPath(id), nil, "Authorization", "Bearer "+d.key)
				if err != nil {
					d.t.Error(err)
				}
				mu.Lock()
				statuses[id] = r.status
				mu.Unlock()
			}
		})
	}
	for _, id := range accounts {
		queue <- id
	}
	close(queue)
	callers.Wait()
	return statuses
}

func (d *drill) all(status int, accounts []string) {
	d.t.Helper()
	for id, got := range d.tokens(accounts) {
		if got != status {
			d.t.Errorf("%s: %d, want %d", id, got, status)
		}
	}
}

// TestRestoreDrill moves accounts to another machine: a backup that is taken
// while callers have grants renewed, the old instance killed, the backup
// restored elsewhere with the keyset alone, and adopted.
func TestRestoreDrill(t *testing.T) {
	begun := time.Now()
	p := startProvider(t)
	old := &drill{bellhop: &bellhop{t: t, dir: t.TempDir(), addr: freeAddr(t)}}
	old.url = "http://" + old.addr
	old.caddyfile = old.expand(drillCaddyfile(p))
	oldProcess := old.run()
	old.key = old.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	if err := p.Configure(t.Context(), fakeprovider.Settings{
		// So much that the backup waits for its reader, see below.
		TokenLife: fakeprovider.Duration(fakeprovider.DefaultTokenLife), Rotation: fakeprovider.Rotation{Policy: fakeprovider.SingleUse},
		RefreshTokenPrefix: strings.Repeat("r", 15<<10),
	}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range drillKinds {
		client := fakeprovider.Client{ID: "drill-" + string(kind), Secrets: []string{"drill-secret"}, Rotation: &fakeprovider.Rotation{Policy: kind}}
		if err := p.RegisterClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		for i := range drillEach {
			id := fmt.Sprintf("%s-%02d", kind, i)
			_, token := p.grant(t, fakeprovider.Grant{Client: client.ID, Scope: "mail.read"})
			old.admin(http.MethodPost, "/v1/account", map[string]any{
				"account": id,
				"oauth2":  map[string]any{"provider": string(kind), "refreshToken": token},
			})
			old.accounts = append(old.accounts, id)
		}
	}

	// While the backup is under way, and read slowly, every grant is renewed:
	// its first part is old by the time that it ends.
	stream, err := (&adminFlags{address: "unix/" + filepath.Join(old.dir, "admin.sock")}).stream(t.Context(), http.MethodGet, "/v1/backup", "", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var taken bytes.Buffer
	if _, err := io.CopyN(&taken, stream, 100<<10); err != nil {
		t.Fatal(err)
	}
	old.all(http.StatusOK, old.accounts)
	if _, err := taken.ReadFrom(stream); err != nil {
		t.Fatal(err)
	}
	if err := oldProcess.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	countTwice(t, old.dir, taken.Bytes())

	// Elsewhere, with nothing but the backup and the keyset.
	clock := useFakeClock(t)
	now := &drill{bellhop: &bellhop{t: t, dir: t.TempDir(), addr: freeAddr(t)}, key: old.key, accounts: old.accounts}
	now.url = "http://" + now.addr
	keyset, err := os.ReadFile(filepath.Join(old.dir, "keyset.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(now.dir, "keyset.json"), keyset, 0o600)
	}
	file := filepath.Join(now.dir, "backup")
	if err == nil {
		err = os.WriteFile(file, taken.Bytes(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	now.caddyfile = now.expand(drillCaddyfile(p))
	now.load(now.caddyfile)
	t.Cleanup(now.stop)
	before := p.tokenRequests(t)
	said := now.commands().must("restore", file)
	if n := len(now.accounts); !strings.HasPrefix(said, fmt.Sprintf("%d accounts restored, 0 left as they are; 1 key added", n)) ||
		!strings.Contains(said, fmt.Sprintf("%d accounts of another store: not renewed until", n)) {
		t.Errorf("%q", said)
	}

	// What still lives is served, and nothing is renewed.
	if life := fakeprovider.DefaultTokenLife; time.Since(begun) < life*2/3 {
		now.all(http.StatusOK, now.accounts)
	} else {
		t.Log("too slow to see that living tokens are served")
	}
	if _, err := p.Advance(t.Context(), expired); err != nil {
		t.Fatal(err)
	}
	clock.Advance(expired)
	for id, status := range now.tokens(now.accounts) {
		if status == http.StatusOK {
			t.Errorf("%s: a token that has ended is served, or it was renewed", id)
		}
	}
	now.load(now.caddyfile) // nor is anything taken up at a start
	if after := p.tokenRequests(t); after != before {
		t.Errorf("%d token requests before anything was adopted", after-before)
	}

	now.commands().must("account", "adopt", "--all")
	now.all(http.StatusOK, now.accounts)
	stats, err := p.Stats(t.Context())
	if err != nil || stats.ReuseDetections > 0 || stats.TokenRequests < before+len(now.accounts) {
		t.Errorf("%+v, %v", stats, err)
	}
	if again := now.commands().must("restore", file); !strings.HasPrefix(again, fmt.Sprintf("0 accounts restored, %d left as they are; 0 keys added, 1 left", len(now.accounts))) {
		t.Errorf("restored once more: %q", again)
	}
}

// countTwice sees that the backup was written while its grants changed.
func countTwice(t *testing.T, dir string, text []byte) {
	t.Helper()
	keys, err := secret.LoadKeyset(filepath.Join(dir, "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	if _, err := backup.Read(bytes.NewReader(text), keys, func(e vault.Entry) error { seen[e.Key]++; return nil }); err != nil {
		t.Fatal(err)
	}
	twice := 0
	for _, n := range seen {
		if n > 1 {
			twice++
		}
	}
	if len(seen) != drillEach*len(drillKinds)+1 || twice < drillEach {
		t.Errorf("%d entries, %d of them written again", len(seen), twice)
	}
}
