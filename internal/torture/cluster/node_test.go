package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// dsnVariable has a node's connection string.
const dsnVariable = "BELLHOP_TORTURE_DSN"

// node is a Bellhop of the cluster.
type node struct {
	number int // from 1
	dir    string
	relays [2]*relay // to each of the database's servers
	dsn    string
	binary string
	admin  *http.Client
	site   *http.Client

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{}
	process int  // counts the processes
	up      bool // may be asked
	// got are the tokens that the process gave, by account.
	got map[string]token
}

func newNode(number int, dir, binary string, relays [2]*relay, dsn string) *node {
	n := &node{number: number, dir: dir, binary: binary, relays: relays, dsn: dsn}
	n.admin, n.site = clientOf(n.path("admin.sock")), clientOf(n.path("site.sock"))
	return n
}

func clientOf(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 50,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

func (n *node) String() string { return fmt.Sprintf("node %d", n.number) }

// caddyfile configures a node.
func (n *node) caddyfile(wire string) string {
	return strings.NewReplacer("DIR", n.dir, "WIRE", fmt.Sprintf("%s/%d", wire, n.number), "DSN", dsnVariable,
		"ID", fakeprovider.DefaultClient.ID, "SECRET", fakeprovider.DefaultClient.Secrets[0], "SCOPE", scope,
	).Replace(`{
	admin unix/DIR/admin.sock|0600
	persist_config off
	auto_https off
	grace_period 5s
	bellhop {
		store postgres {env.DSN}
		keyset DIR/keyset.json
		audit off
		provider acme oauth2 {
			client_id ID
			client_secret SECRET
			token_endpoint WIRE/token
			rotation single_use
			scopes SCOPE
			api_host api.acme.example
		}
	}
}

http://bellhop.example {
	bind unix/DIR/site.sock|0600
	bellhop {
		token_endpoint
	}
}
`)
}

// start runs the node's process, and returns once it is ready.
func (n *node) start(ctx context.Context) error {
	for _, socket := range []string{"admin.sock", "site.sock"} {
		_ = os.Remove(n.path(socket))
	}
	words, err := os.OpenFile(n.path("stderr"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer words.Close()
	cmd := exec.Command(n.binary, "run", "--config", n.path("Caddyfile"), "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+n.dir, "XDG_DATA_HOME="+n.dir, "XDG_CONFIG_HOME="+n.dir, dsnVariable+"="+n.dsn)
	cmd.Stderr = words
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	n.mu.Lock()
	n.cmd, n.exited, n.got = cmd, exited, make(map[string]token)
	n.process++
	n.mu.Unlock()
	if err := n.ready(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = true
	return nil
}

// ready returns once the node can renew tokens and keep what comes back.
func (n *node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n.mu.Lock()
	exited := n.exited
	n.mu.Unlock()
	for {
		a, err := send(ctx, n.admin, http.MethodGet, "/bellhop/readyz", "", nil)
		if err == nil && a.status == http.StatusOK {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("%v has ended\n%s", n, n.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%v is not ready: %s %w\n%s", n, a.body, errors.Join(err, ctx.Err()), n.lastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kill ends the process at once.
func (n *node) kill() {
	n.mu.Lock()
	cmd, exited := n.cmd, n.exited
	n.up = false
	n.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-exited
	n.admin.CloseIdleConnections()
	n.site.CloseIdleConnections()
}

func (n *node) signal(s syscall.Signal, up bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = up
	return n.cmd.Process.Signal(s)
}

// running is the number of the process that may be asked; 0 for none.
func (n *node) running() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		return 0
	}
	return n.process
}

// remember notes a token that a process gave.
func (n *node) remember(process int, account string, t token) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == process {
		n.got[account] = t
	}
}

// gave is the last token that a process gave, of those that it gave before.
func (n *node) gave(process int, account string) (token, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, ok := n.got[account]
	return t, ok && n.process == process
}

// lastWords is the end of what the process said.
func (n *node) lastWords() string {
	text, _ := os.ReadFile(n.path("stderr"))
	const most = 3000
	return string(text[max(0, len(text)-most):])
}

// alarm is what the node's processes said that no process should; empty for
// nothing.
func (n *node) alarm() string {
	text, _ := os.ReadFile(n.path("stderr"))
	for _, sign := range []string{"WARNING: DATA RACE", "panic", "fatal error: "} {
		if i := bytes.Index(text, []byte(sign)); i >= 0 {
			return string(text[i:min(i+3000, len(text))])
		}
	}
	return ""
}

// token is what a caller gets.
type token struct {
	Value   string    `json:"accessToken"`
	Expires time.Time `json:"expires"`
}

// token asks for an account's token with a key.
func (n *node) token(ctx context.Context, key, account string, minTTL time.Duration) (token, answer, error) {
	path := "/v1/account/" + url.PathEscape(account) + "/oauth-token"
	if minTTL > 0 {
		path += fmt.Sprintf("?min_ttl=%d", int(minTTL.Seconds()))
	}
	a, err := send(ctx, n.site, http.MethodGet, path, key, nil)
	if err != nil || a.status != http.StatusOK {
		return token{}, a, err
	}
	var t token
	err = json.Unmarshal(a.body, &t)
	return t, a, err
}

// manage calls the management API at the admin endpoint.
func (n *node) manage(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	a, err := send(ctx, n.admin, method, "/bellhop"+path, "", text)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s %s at %v: %d %s", method, path, n, a.status, a.body)
	}
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(a.body, into)
}

func (n *node) register(ctx context.Context, account, refreshToken string) error {
	return n.manage(ctx, http.MethodPost, "/v1/account", map[string]any{
		"account": account, "oauth2": map[string]any{"provider": "acme", "refreshToken": refreshToken},
	}, nil)
}

// addKey makes a key for all accounts.
func (n *node) addKey(ctx context.Context, name string) (key string, err error) {
	var made struct {
		Token string `json:"token"`
	}
	err = n.manage(ctx, http.MethodPost, "/v1/token", map[string]any{"name": name, "accounts": []string{"*"}, "token": true}, &made)
	return made.Token, err
}

func (n *node) removeKey(ctx context.Context, name string) error {
	return n.manage(ctx, http.MethodDelete, "/v1/token/"+name, nil, nil)
}

// answer is what came back.
type answer struct {
	status int
	code   string // Bellhop-Error
	body   []byte
}

func send(ctx context.Context, client *http.Client, method, path, key string, body []byte) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://bellhop.example"+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Bellhop-Error"), text}, err
}
