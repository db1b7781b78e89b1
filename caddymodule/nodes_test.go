package caddymodule

import (
	"context"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/store/postgres/postgrestest"
)

// knownWithin is how soon a node acts on what another one has changed.
const knownWithin = time.Second

// nodes are two processes of Bellhop on one database, with one provider. As a
// lifecycle they are the first of them.
type nodes struct {
	*lifecycle
	second    *bellhop
	processes [2]*exec.Cmd
	database  *postgrestest.Cluster
}

// startNodes runs them until the test ends. Where they listen for changes they
// have a connection of their own for it.
func startNodes(t *testing.T, rotation string, listen bool) *nodes {
	t.Helper()
	n := &nodes{database: postgrestest.Run(t, postgrestest.Fast...)}
	t.Setenv(testDSN, n.database.Database(t))
	n.lifecycle = &lifecycle{provider: startProvider(t), grants: map[string]string{}}
	parsed, err := fakeprovider.ParseRotation(rotation)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.provider.SetRotation(t.Context(), parsed); err != nil {
		t.Fatal(err)
	}
	caddyfile := changed(t, onPostgres(t, standardCaddyfile(n.provider)), "rotation single_use", "rotation "+rotation)
	caddyfile = changed(t, caddyfile, "scopes mail.read", "revocation_endpoint "+n.provider.URL+"/revoke\n\t\t\tscopes mail.read")
	if listen {
		caddyfile = changed(t, caddyfile, "{env."+testDSN+"}", "{env."+testDSN+"} {env."+testDSN+"}")
	}
	n.bellhop, n.processes[0] = startNode(t, caddyfile, nil)
	keyset, err := os.ReadFile(filepath.Join(n.dir, "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	n.second, n.processes[1] = startNode(t, caddyfile, keyset)
	n.key = n.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	n.soon("the key is known", func() bool { return n.second.get(tokenPath("nobody"), n.key).status == http.StatusNotFound })
	return n
}

func startNode(t *testing.T, caddyfile string, keyset []byte) (*bellhop, *exec.Cmd) {
	t.Helper()
	b := &bellhop{t: t, dir: t.TempDir(), addr: freeAddr(t)}
	b.url = "http://" + b.addr
	if keyset != nil {
		if err := os.WriteFile(filepath.Join(b.dir, "keyset.json"), keyset, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.caddyfile = b.expand(caddyfile)
	return b, b.run()
}

// soon fails the test unless something becomes true as soon as it must.
func (n *nodes) soon(what string, is func() bool) {
	n.t.Helper()
	n.within(knownWithin, what, is)
}

func (n *nodes) within(limit time.Duration, what string, is func() bool) {
	n.t.Helper()
	for begun := time.Now(); !is(); {
		if time.Since(begun) > limit {
			n.t.Fatalf("not after %v: %s", limit, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// both are the two nodes.
func (n *nodes) both() []*bellhop { return []*bellhop{n.bellhop, n.second} }

func TestNodesKnowWhatTheOtherHasChanged(t *testing.T) {
	for name, listen := range map[string]bool{"listening": true, "asking": false} {
		t.Run(name, func(t *testing.T) {
			n := startNodes(t, "single_use", listen)
			status := func(id, key string) int { return n.second.get(tokenPath(id), key).status }
			grant, token := n.provider.grant(t, fakeprovider.Grant{Scope: "mail.read"})
			n.addAccount("revoked", "acme", "revoked@example.com", token)
			n.grants["revoked"] = grant
			n.connect("disabled")
			n.connect("removed")
			for id := range n.grants {
				n.token(id)
				if got := status(id, n.key); got != http.StatusOK {
					t.Fatalf("%s: %d", id, got)
				}
			}

			key := n.addKey("short", map[string]any{"accounts": []string{"*"}, "token": true})
			n.soon("a key is known", func() bool { return status("disabled", key) == http.StatusOK })
			n.admin(http.MethodDelete, "/v1/token/short", nil)
			n.soon("a key that was removed is refused", func() bool { return status("disabled", key) == http.StatusUnauthorized })
			// The other way round, and at once: it need not have heard of it.
			key = n.addKey("other", map[string]any{"accounts": []string{"*"}, "token": true})
			n.second.admin(http.MethodDelete, "/v1/token/other", nil)
			n.soon("a key that the other one removed is refused", func() bool { return n.get(tokenPath("disabled"), key).status == http.StatusUnauthorized })

			n.admin(http.MethodPost, "/v1/account/disabled/disable", nil)
			n.soon("an account that was disabled is refused", func() bool { return status("disabled", n.key) == http.StatusForbidden })
			n.admin(http.MethodPost, "/v1/account/disabled/enable", nil)
			n.soon("an account that was enabled is served", func() bool { return status("disabled", n.key) == http.StatusOK })
			n.admin(http.MethodDelete, "/v1/account/removed", nil)
			n.soon("an account that was removed is refused", func() bool { return status("removed", n.key) == http.StatusNotFound })
			n.admin(http.MethodDelete, "/v1/account/revoked?revoke=true", nil)
			n.soon("an account whose grant was revoked is refused", func() bool { return status("revoked", n.key) == http.StatusNotFound })
		})
	}
}

// Callers on both nodes go on for many expiries: each is one token request, and
// nobody is refused.
func TestNodesSendOneTokenRequestForAnExpiry(t *testing.T) {
	n := startNodes(t, "single_use", false)
	const life, lives, accounts, callers = 6 * time.Second, 3, 4, 3
	if err := n.provider.SetTokenLife(t.Context(), life); err != nil {
		t.Fatal(err)
	}
	for i := range accounts {
		n.connect("user" + strconv.Itoa(i))
	}
	ctx, stop := context.WithTimeout(t.Context(), lives*life)
	defer stop()
	var wg sync.WaitGroup
	for i := range accounts {
		for _, node := range n.both() {
			for range callers {
				wg.Go(func() {
					for ctx.Err() == nil {
						r, err := node.send(ctx, http.MethodGet, tokenPath("user"+strconv.Itoa(i)), nil, "Authorization", "Bearer "+n.key)
						if err == nil && r.status != http.StatusOK {
							t.Errorf("user%d: %d %s", i, r.status, r.body)
							return
						}
						<-time.After(20 * time.Millisecond)
					}
				})
			}
		}
	}
	wg.Wait()
	sent, err := n.provider.TokenRequests(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	last := make(map[string]time.Time)
	for _, r := range sent {
		// A token is renewed a quarter of its life and a fifth of that ahead at
		// most; where the machine is busy, the one before reached the provider
		// late.
		if apart := r.Time.Sub(last[r.Grant]); apart < life/2 {
			t.Errorf("request %d came %v after the one before", r.Number, apart)
		}
		last[r.Grant] = r.Time
	}
	if len(last) != accounts || len(sent) < accounts*lives {
		t.Errorf("%d requests for %d grants", len(sent), len(last))
	}
	for id := range maps.Keys(n.grants) {
		n.alive(id)
	}
}

// A node that is killed while the provider holds its answer: the other takes it
// up before the grace is over, though nobody calls.
func TestNodeTakesUpWhatAKilledOneLeft(t *testing.T) {
	const grace = 10 * time.Second
	n := startNodes(t, "grace "+grace.String(), true)
	n.connect("alice")
	n.fault("alice", fakeprovider.Fault{Gate: "gate", Commit: true})
	go func() {
		_, _ = n.send(context.Background(), http.MethodGet, tokenPath("alice"), nil, "Authorization", "Bearer "+n.key)
	}()
	n.awaitHeld("gate")
	if err := n.processes[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	n.within(grace, "it is taken up", func() bool { return n.grantState("alice").Counters.TokenRequests == 2 })
	n.bellhop = n.second
	n.token("alice")
	n.alive("alice")
	n.requests("alice", 2)
}

// A node that is stopped while the provider holds its answer, for longer than
// its lease, comes back to find that the other has gone on.
func TestNodeThatWasStoppedOverwritesNothing(t *testing.T) {
	n := startNodes(t, "grace 10s", true)
	n.connect("alice")
	n.fault("alice", fakeprovider.Fault{Gate: "gate", Commit: true})
	answer := make(chan reply, 1)
	go func() {
		r, _ := n.send(context.Background(), http.MethodGet, tokenPath("alice"), nil, "Authorization", "Bearer "+n.key)
		answer <- r
	}()
	n.awaitHeld("gate")
	signal := func(s syscall.Signal) {
		if err := n.processes[0].Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	n.release("gate")
	n.within(10*time.Second, "it is taken up", func() bool { return n.grantState("alice").Counters.TokenRequests == 2 })
	signal(syscall.SIGCONT)
	if r := <-answer; r.status != http.StatusOK {
		t.Errorf("who waited on the node that was stopped got %d %s", r.status, r.body)
	}
	n.token("alice")
	n.requests("alice", 2)
	// What is stored is what the provider honours.
	for _, node := range n.both() {
		if r := node.get(tokenPath("alice")+"?min_ttl=100000", n.key); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	n.alive("alice")
}

func TestNodesServeWithoutTheirDatabase(t *testing.T) {
	n := startNodes(t, "single_use", true)
	n.connect("alice")
	n.connect("cold")
	n.token("alice")
	if r := n.second.get(tokenPath("alice"), n.key); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if err := n.database.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, node := range n.both() {
		n.within(10*time.Second, "readiness says it", func() bool { return node.do(http.MethodGet, "/readyz", nil).status == http.StatusServiceUnavailable })
		if r := node.get(tokenPath("alice"), n.key); r.status != http.StatusOK {
			t.Errorf("a valid token: %d %s", r.status, r.body)
		}
	}
	if r := n.get(tokenPath("alice")+"?force=true", n.key); r.status != http.StatusOK || !strings.Contains(string(r.body), `"cached":true`) {
		t.Errorf("a renewal that was asked for: %d %s", r.status, r.body)
	}
	if r := n.get(tokenPath("cold"), n.key); r.status != http.StatusServiceUnavailable || r.header.Get("Bellhop-Error") != "StoreUnavailable" {
		t.Errorf("a token that is not at hand: %d %s", r.status, r.body)
	}
	n.requests("alice", 1)
	n.requests("cold", 0)
	if err := n.database.Restart(); err != nil {
		t.Fatal(err)
	}
	for _, node := range n.both() {
		n.within(10*time.Second, "readiness says that it is back", func() bool { return node.do(http.MethodGet, "/readyz", nil).status == http.StatusOK })
	}
	n.admin(http.MethodPost, "/v1/account/alice/disable", nil)
	n.within(5*time.Second, "changes are heard again", func() bool { return n.second.get(tokenPath("alice"), n.key).status == http.StatusForbidden })
}

// What other nodes may have taken back is not believed for ever: keys of the
// configuration go on, those of the store and accounts do not.
func TestStoredKeysAreNotBelievedForEverWithoutADatabase(t *testing.T) {
	database := postgrestest.Run(t, postgrestest.Fast...)
	t.Setenv(testDSN, database.Database(t))
	p := startProvider(t)
	if err := p.SetTokenLife(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	fake := useFakeClock(t)
	declared, hash := policy.NewKey()
	b := start(t, changed(t, onPostgres(t, standardCaddyfile(p)), "\t\tprovider google {",
		"\t\tkey declared {\n\t\t\thash "+policy.FormatHash(hash)+"\n\t\t\taccount bob\n\t\t\ttoken\n\t\t}\n\t\tprovider google {"))
	_, token := p.grant(t, fakeprovider.Grant{Email: "alice@example.com", Scope: mailScope})
	b.addAccount("alice", "google", "alice@example.com", token)
	stored := b.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	if r := b.get(tokenURL("alice"), stored); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if err := database.Stop(); err != nil {
		t.Fatal(err)
	}
	fake.Advance(9 * time.Minute)
	if r := b.get(tokenURL("alice"), stored); r.status != http.StatusOK {
		t.Errorf("after nine minutes: %d %s", r.status, r.body)
	}
	fake.Advance(2 * time.Minute)
	refusedWith(t, b.get(tokenURL("alice"), stored), http.StatusServiceUnavailable, "StoreUnavailable")
	// Known for what it is, and what it may not.
	refusedWith(t, b.get(tokenURL("alice"), declared.Reveal()), http.StatusForbidden, "NotAllowed")
	if err := database.Restart(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); b.get(tokenURL("alice"), stored).status != http.StatusOK; {
		if time.Now().After(deadline) {
			t.Fatal("it is still refused though the database is back")
		}
		fake.Advance(time.Second)
		<-time.After(10 * time.Millisecond)
	}
}

// Each node has the keyset in a file of its own.
func TestKeysetOfNodesIsRotatedByOneAlone(t *testing.T) {
	n := startNodes(t, "single_use", true)
	n.connect("alice")
	n.token("alice")
	refused := n.adminReply(http.MethodPost, "/v1/keyset/rotate", nil)
	refusedWith(t, refused, http.StatusConflict, "Conflict")
	if !strings.Contains(string(refused.body), "--alone") {
		t.Errorf("%s does not say how", refused.body)
	}
	if err := n.processes[1].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	n.admin(http.MethodPost, "/v1/keyset/rotate?alone=true", nil)
	keyset, err := os.ReadFile(filepath.Join(n.dir, "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	if old, err := os.ReadFile(filepath.Join(n.second.dir, "keyset.json")); err != nil || slices.Equal(old, keyset) {
		t.Fatalf("the keyset is the same: %v", err)
	}
	if err := os.WriteFile(filepath.Join(n.second.dir, "keyset.json"), keyset, 0o600); err != nil {
		t.Fatal(err)
	}
	n.second.run()
	if r := n.second.get(tokenPath("alice"), n.key); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
}
