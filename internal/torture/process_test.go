package torture

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a Bellhop that runs, and will not for long.
type process struct {
	config subjectConfig
	binary string // of the whole Bellhop; empty for the child
	cmd    *exec.Cmd
	client *http.Client
	began  time.Time
	exited chan struct{}
	loads  int
}

// start runs a process and returns, once it serves, what its store held.
func start(ctx context.Context, c subjectConfig, binary string) (*process, map[string]held, error) {
	p := &process{config: c, binary: binary, began: time.Now(), exited: make(chan struct{})}
	p.client = &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 20,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.socket())
		},
	}}
	if binary != "" {
		return p.startWhole(ctx)
	}
	config, err := json.Marshal(c)
	if err != nil {
		return nil, nil, err
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), asSubject+"="+string(config))
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := p.run(); err != nil {
		return nil, nil, err
	}
	overdue := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	overdue()
	go p.wait()
	if err != nil {
		p.kill()
		return nil, nil, fmt.Errorf("starting the child: %w\n%s", err, p.lastWords())
	}
	found := make(map[string]held)
	return p, found, json.Unmarshal(line, &found)
}

// startWhole runs `bellhop run`. What the store held is read before.
func (p *process) startWhole(ctx context.Context) (*process, map[string]held, error) {
	found, err := inspect(ctx, p.config)
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(p.config.Dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(p.config.caddyfile(0)), 0o600); err != nil {
		return nil, nil, err
	}
	p.cmd = exec.Command(p.binary, "run", "--config", file, "--adapter", "caddyfile")
	p.cmd.Env = append(os.Environ(), "HOME="+p.config.Dir, "XDG_DATA_HOME="+p.config.Dir, "XDG_CONFIG_HOME="+p.config.Dir)
	if err := p.run(); err != nil {
		return nil, nil, err
	}
	go p.wait()
	for {
		resp, err := p.send(ctx, http.MethodGet, "/bellhop/healthz", nil)
		if err == nil && resp.status == http.StatusOK {
			return p, found, nil
		}
		select {
		case <-p.exited:
			return nil, nil, fmt.Errorf("starting %s: it ended\n%s", p.binary, p.lastWords())
		case <-ctx.Done():
			p.kill()
			return nil, nil, fmt.Errorf("starting %s: %w\n%s", p.binary, ctx.Err(), p.lastWords())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// run starts the command; what it says goes to a file.
func (p *process) run() error {
	words, err := os.Create(filepath.Join(p.config.Dir, "stderr"))
	if err != nil {
		return err
	}
	defer words.Close()
	p.cmd.Stderr = words
	return p.cmd.Start()
}

func (p *process) wait() {
	_ = p.cmd.Wait()
	close(p.exited)
}

// kill ends the process at once and returns when it was.
func (p *process) kill() (at time.Time) {
	at = time.Now()
	_ = p.cmd.Process.Kill()
	<-p.exited
	p.client.CloseIdleConnections()
	return at
}

// terminate asks the process to end.
func (p *process) terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// lastWords is the end of what the process said.
func (p *process) lastWords() string {
	text, _ := os.ReadFile(filepath.Join(p.config.Dir, "stderr"))
	const most = 3000
	return string(text[max(0, len(text)-most):])
}

// token asks for an account's token as a caller does.
func (p *process) token(ctx context.Context, account string, minTTL time.Duration) (tokenReply, answer, error) {
	path := "/bellhop/v1/account/" + url.PathEscape(account) + "/oauth-token"
	if minTTL > 0 {
		path += fmt.Sprintf("?min_ttl=%d", int(minTTL.Seconds()))
	}
	a, err := p.send(ctx, http.MethodGet, path, nil)
	if err != nil || a.status != http.StatusOK {
		return tokenReply{}, a, err
	}
	var t tokenReply
	err = json.Unmarshal(a.body, &t)
	return t, a, err
}

func (p *process) register(ctx context.Context, account, refreshToken string) error {
	var body registration
	body.Account = account
	body.OAuth2.Provider, body.OAuth2.RefreshToken = "acme", refreshToken
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return p.want(ctx, http.MethodPost, "/bellhop/v1/account", text)
}

// reload gives the process a configuration that differs from the last.
func (p *process) reload(ctx context.Context) error {
	p.loads++
	return p.want(ctx, http.MethodPost, "/load", []byte(p.config.caddyfile(p.loads)))
}

func (p *process) want(ctx context.Context, method, path string, body []byte) error {
	a, err := p.send(ctx, method, path, body)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return err
}

// answer is what came back.
type answer struct {
	status int
	code   string // Bellhop-Error
	body   []byte
}

func (p *process) send(ctx context.Context, method, path string, body []byte) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1"+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
		if strings.HasPrefix(path, "/load") {
			r.Header.Set("Content-Type", "text/caddyfile")
		}
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Bellhop-Error"), text}, err
}
