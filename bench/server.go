package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/policy"
)

// The accounts, each of the provider of that name.
const (
	account      = "bench"
	graphAccount = "microsoft"
)

// caddyfile has a site for each thing that is measured.
var caddyfile = template.Must(template.New("Caddyfile").Parse(`{
	admin unix/{{.Dir}}/admin.sock|0600
	persist_config off
	auto_https off
	{{- if .Logging}}
	log default {
		exclude bellhop.audit
	}
	log audit {
		include bellhop.audit
		output file {{.Dir}}/audit.log {
			roll_disabled
		}
	}
	{{- end}}
	bellhop {
		store {{.Store}}
		keyset {{.Dir}}/keyset.json
		audit {{if .Logging}}on{{else}}off{{end}}
		provider bench oauth2 {
			token_endpoint {{.API.Token}}
			client_id bench
			client_secret {file.{{.Dir}}/secret}
			scopes bench
			api_host {{.APIHost}}
		}
		provider microsoft {
			tenant organizations
			token_endpoint {{.API.Token}}
			client_id bench
			client_secret {file.{{.Dir}}/secret}
			scopes https://{{.GraphHost}}/Mail.Read
		}
		key caller {
			hash {{.CallerHash}}
			account {{.Account}} {{.GraphAccount}}
		}
		key mailer {
			hash {{.MailerHash}}
			account {{.Account}}
			token
		}
	}
}
(access_log) {
	{{- if .Logging}}
	log {
		output file {{.Dir}}/access.log {
			roll_disabled
		}
	}
	{{- end}}
}
http://{{.Bellhop}} {
	bind 127.0.0.1
	bellhop {
		token_endpoint
		proxy {
			upstream {{.APIHost}} https://{{.API.API}}
			upstream {{.GraphHost}} https://{{.API.API}}
			transport http {
				tls_trust_pool file {{.API.CA}}
			}
		}
	}
}
http://{{.ReverseProxy}} {
	bind 127.0.0.1
	import access_log
	reverse_proxy https://{{.API.API}} {
		header_up Host {{.APIHost}}
		header_up Authorization "Bearer {{.AccessToken}}"
		transport http {
			versions 1.1
			keepalive_idle_conns_per_host 256
			tls_trust_pool file {{.API.CA}}
			tls_server_name {{.APIHost}}
		}
	}
}
http://{{.Respond}} {
	bind 127.0.0.1
	import access_log
	header Content-Type application/json
	header Cache-Control no-store
	respond ` + "`" + `{"account":"bench","user":"bench@example.com","accessToken":"{{.AccessToken}}","provider":"oauth2","registeredScopes":["bench"],"expires":"2030-01-01T00:00:00.000Z","cached":true,"app":"bench"}` + "`" + `
}
`))

// server is the binary under test in a process of its own.
type server struct {
	process

	Dir          string
	Store        string // with its arguments
	API          *apiProcess
	APIHost      string
	AccessToken  string
	GraphHost    string
	Account      string
	GraphAccount string
	Logging      bool
	CallerHash   string
	MailerHash   string
	Bellhop      string
	ReverseProxy string
	Respond      string

	callerKey, mailerKey string
}

// startServer configures and starts the binary, registers the account, and
// waits until the first call passes. The store is a directory's unless it is
// named.
func startServer(ctx context.Context, binary, dir, store string, api *apiProcess, logging bool) (*server, error) {
	if store == "" {
		store = "badger " + filepath.Join(dir, "store")
	}
	caller, callerHash := policy.NewKey()
	mailer, mailerHash := policy.NewKey()
	s := &server{
		Dir: dir, Store: store, API: api, APIHost: apiHost, GraphHost: graphHost, AccessToken: accessToken, Account: account, GraphAccount: graphAccount, Logging: logging,
		CallerHash: policy.FormatHash(callerHash), MailerHash: policy.FormatHash(mailerHash),
		callerKey: caller.Reveal(), mailerKey: mailer.Reveal(),
	}
	if err := freeAddresses(ctx, &s.Bellhop, &s.ReverseProxy, &s.Respond); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := caddyfile.Execute(&text, s); err != nil {
		return nil, err
	}
	var err error
	s.process, err = launch(ctx, binary, dir, text.Bytes(), []string{account, graphAccount},
		s.proxied(), s.reverseProxied(), s.token(), s.respond(), s.rewritten(), s.passedOn())
	return s, err
}

// launch starts the binary in a directory of its own, registers the accounts,
// and checks that each target answers.
func launch(ctx context.Context, binary, dir string, caddyfile []byte, accounts []string, targets ...target) (process, error) {
	config := filepath.Join(dir, "Caddyfile")
	err := errors.Join(
		os.Mkdir(dir, 0o700),
		os.WriteFile(filepath.Join(dir, "secret"), []byte("bench-client-secret"), 0o600),
		os.WriteFile(config, caddyfile, 0o600),
	)
	if err != nil {
		return process{}, err
	}
	stderr, err := os.Create(filepath.Join(dir, "stderr.log")) //nolint:gosec // a directory of our own
	if err != nil {
		return process{}, err
	}
	defer stderr.Close()

	cmd := exec.CommandContext(ctx, binary, "run", "--config", config, "--adapter", "caddyfile") //nolint:gosec // what whoever measures names
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "HOME="+dir)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return process{}, err
	}
	p := process{cmd}
	if err := register(ctx, binary, dir, accounts, targets); err != nil {
		p.stop()
		said, _ := os.ReadFile(stderr.Name())
		return process{}, fmt.Errorf("%w\n%s", err, said)
	}
	return p, nil
}

// register adds the accounts as soon as the server has started, and checks
// that each target answers.
func register(ctx context.Context, binary, dir string, accounts []string, targets []target) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, name := range accounts {
		if err := addAccount(ctx, binary, filepath.Join(dir, "Caddyfile"), name); err != nil {
			return err
		}
	}
	for _, t := range targets {
		if err := t.check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// addAccount registers an account of the provider of the same name; that fails
// until the server has started.
func addAccount(ctx context.Context, binary, config, name string) error {
	for {
		cmd := exec.CommandContext(ctx, binary, "oauth", "account", "add", name, "--provider", name, //nolint:gosec // what whoever measures names
			"--refresh-token-file", "-", "--config", config)
		cmd.Stdin = strings.NewReader("bench-refresh-token")
		output, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[1:], " "), err, output)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *server) proxied() target {
	return target{process: s.process, address: s.Bellhop, path: "/proxy/" + account + "/" + apiHost + "/messages", key: s.callerKey}
}

func (s *server) reverseProxied() target {
	return target{process: s.process, address: s.ReverseProxy, path: "/messages", key: s.callerKey}
}

// rewritten is an answer in which a URL is rewritten; passedOn is the same as
// the API gave it.
func (s *server) rewritten() target {
	base := "/proxy/" + graphAccount + "/" + graphHost
	return target{
		process: s.process, address: s.Bellhop, path: base + fakeprovider.LargePath, key: s.callerKey,
		contains: `"@odata.nextLink":"http://` + s.Bellhop + base,
	}
}

func (s *server) passedOn() target {
	return target{process: s.process, address: s.ReverseProxy, path: fakeprovider.LargePath, key: s.callerKey}
}

func (s *server) token() target {
	return target{process: s.process, address: s.Bellhop, path: "/v1/account/" + account + "/oauth-token", key: s.mailerKey}
}

func (s *server) respond() target {
	return target{process: s.process, address: s.Respond, path: "/v1/account/" + account + "/oauth-token", key: s.mailerKey}
}

// checkLogs fails where fewer lines were logged than calls made: a server that
// writes no line must not win.
func (s *server) checkLogs(audited, accessed int) error {
	for _, log := range []struct {
		name string
		want int
	}{{"audit.log", audited}, {"access.log", accessed}} {
		text, err := os.ReadFile(filepath.Join(s.Dir, log.name))
		if err != nil {
			return err
		}
		if lines := bytes.Count(text, []byte("\n")); lines < log.want {
			return fmt.Errorf("%s has %d lines after %d calls", log.name, lines, log.want)
		}
	}
	return nil
}

// freeAddresses finds loopback addresses that nothing listens on.
func freeAddresses(ctx context.Context, addresses ...*string) error {
	var listen net.ListenConfig
	for _, address := range addresses {
		l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close() // not before all are found, so that they differ
		*address = l.Addr().String()
	}
	return nil
}

// process is a child process.
type process struct{ cmd *exec.Cmd }

// stop ends the process and waits for it.
func (p process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// cpu returns the processor time that the process has used, and 0 where the
// system has no /proc.
func (p process) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// The second field is a name in parentheses, which may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime, stime, ticksPerSecond = 11, 12, 100
	user, _ := strconv.Atoi(fields[utime])
	system, _ := strconv.Atoi(fields[stime])
	return time.Duration(user+system) * time.Second / ticksPerSecond
}

// newRequest returns a request for net/http's client.
func (t target) newRequest(ctx context.Context) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.address+t.path, nil)
	if err == nil {
		r.Header.Set("Authorization", "Bearer "+t.key)
	}
	return r, err
}
