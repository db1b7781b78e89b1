package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/policy"
)

// commands runs `oauth …` against one server.
type commands struct {
	t *testing.T
	// flags say where the server is.
	flags []string
	stdin string
}

func (b *bellhop) commands() *commands {
	return &commands{t: b.t, flags: []string{"--address", "unix/" + filepath.Join(b.dir, "admin.sock")}}
}

// run runs a command and returns its standard output.
func (c *commands) run(args ...string) (string, error) {
	c.t.Helper()
	root := &cobra.Command{Use: "oauth", SilenceUsage: true, SilenceErrors: true}
	oauthCommand.CobraFunc(root)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(c.t.Output())
	root.SetIn(strings.NewReader(c.stdin))
	root.SetArgs(append(append([]string{}, c.flags...), args...))
	err := root.ExecuteContext(c.t.Context())
	watched.Load().said(args, fmt.Sprint(out.String(), err))
	return out.String(), err
}

func (c *commands) must(args ...string) string {
	c.t.Helper()
	out, err := c.run(args...)
	if err != nil {
		c.t.Fatalf("%v: %v", args, err)
	}
	return out
}

// process is the command as a process of its own.
func process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asCommand+"=", "HOME="+t.TempDir()), watching(t).environment()...)
	return cmd
}

func TestAccountCommands(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	c := b.commands()
	_, one := p.grant(t, fakeprovider.Grant{Email: "alice@example.com", Scope: mailScope})
	_, two := p.grant(t, fakeprovider.Grant{Email: "bob@example.com", Scope: mailScope})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(one+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	add := []string{"account", "add", "--provider", "google", "--refresh-token-file"}
	if out := c.must(append(add, file, "team/alice", "--user", "alice@example.com", "--name", "Alice A.")...); !strings.HasPrefix(out, "account team/alice is registered with google; its token ends at 2") {
		t.Errorf("%q", out)
	}
	c.stdin = two
	c.must(append(add, "-", "bob", "--user", "bob@example.com")...)

	for name, args := range map[string][]string{
		"exists":            append(add, file, "team/alice"),
		"no file":           append(add, file+".gone", "carol"),
		"empty":             append(add, os.DevNull, "carol"),
		"unknown provider":  {"account", "add", "carol", "--provider", "gogle", "--refresh-token-file", file},
		"file not given":    {"account", "add", "carol", "--provider", "google"},
		"token as argument": {"account", "add", "carol", one, "--provider", "google"},
		"unknown account":   {"account", "show", "carol"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := c.run(args...)
			if err == nil || out != "" || strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("%q, %v", out, err)
			}
			if err != nil && name != "token as argument" && strings.Contains(err.Error(), one) {
				t.Errorf("the refresh token stands in %v", err)
			}
		})
	}

	c.stdin = "wrong"
	if _, err := c.run(append(add, "-", "dave")...); err == nil || !strings.Contains(err.Error(), "account dave is registered, but there is no token for it") {
		t.Errorf("a refresh token that is none: %v", err)
	}
	c.must("account", "remove", "dave")

	if out := c.must("account", "refresh", "team/alice"); !strings.Contains(out, "a moment ago") {
		t.Errorf("%q", out)
	}
	if out := c.must("account", "disable", "bob"); out != "account bob is disabled\n" {
		t.Errorf("%q", out)
	}
	want := [][]string{
		{"ACCOUNT", "PROVIDER", "STATE", "USER", "NAME"},
		{"bob", "google", "disabled", "bob@example.com"},
		{"team/alice", "google", "connected", "alice@example.com", "Alice", "A."},
	}
	var got [][]string
	for line := range strings.Lines(c.must("account", "list")) {
		got = append(got, strings.Fields(line))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if out := c.must("account", "list", "--state", "disabled"); strings.Contains(out, "team/alice") || !strings.Contains(out, "bob") {
		t.Errorf("%q", out)
	}
	var listed []shownAccount
	if out := c.must("account", "list", "--provider", "google", "--json"); json.Unmarshal([]byte(out), &listed) != nil || len(listed) != 2 {
		t.Errorf("%q", out)
	}
	if out := c.must("account", "enable", "bob"); out != "account bob is connected\n" {
		t.Errorf("%q", out)
	}
	var shown shownAccount
	out := c.must("account", "show", "team/alice")
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Account != "team/alice" || shown.OAuth2.RefreshToken != masked {
		t.Errorf("%v: %s", err, out)
	}
	if strings.Contains(out, "fake-") {
		t.Errorf("a token stands in %s", out)
	}
	var removed map[string]any
	if out := c.must("account", "remove", "team/alice", "--json"); json.Unmarshal([]byte(out), &removed) != nil || removed["deleted"] != true {
		t.Errorf("%q", out)
	}
	if _, err := c.run("account", "remove", "team/alice"); err == nil {
		t.Error("removed twice")
	}
}

func TestKeyCommands(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	b.connect(p, "gmail", "google")
	c := b.commands()
	key := strings.TrimSuffix(c.must("key", "add", "ci", "--account", "gmail", "--account", "team/*", "--token", "--expires", "30d", "--cidr", "127.0.0.0/8"), "\n")
	if policy.CheckKey(key) != nil {
		t.Fatalf("not a key alone: %q", key)
	}
	if r := b.get(tokenURL("gmail"), key); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	if _, err := c.run("key", "add", "ci"); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("%v", err)
	}
	list := c.must("key", "list")
	if !strings.Contains(list, "ci   gmail team/*  proxy,token") || strings.Contains(list, key) {
		t.Errorf("%q", list)
	}
	var shown shownKey
	if out := c.must("key", "show", "ci"); json.Unmarshal([]byte(out), &shown) != nil || !cmp.Equal(shown.Accounts, []string{"gmail", "team/*"}) {
		t.Errorf("%q", out)
	}
	if out := c.must("key", "remove", "ci"); out != "key ci is removed\n" {
		t.Errorf("%q", out)
	}
	refusedWith(t, b.get(tokenURL("gmail"), key), http.StatusUnauthorized, "InvalidKey")
	for _, verb := range []string{"add", "show", "remove"} {
		if _, err := c.run("key", verb, key); err == nil || strings.Contains(err.Error(), key) {
			t.Errorf("key %s with a key for its name: %v", verb, err)
		}
	}
	c.must("key", "add", "ruled", "--account", "gmail", "--allow", "HEAD,GET gmail.googleapis.com/**", "--allow", "!GET */x")
	if out := c.must("key", "show", "ruled"); json.Unmarshal([]byte(out), &shown) != nil || !cmp.Equal(shown.Allow, []string{"GET,HEAD gmail.googleapis.com/**", "!GET */x"}) || !strings.Contains(out, "may not GET any host/x") {
		t.Errorf("%q", out)
	}
	if list := c.must("key", "list"); !strings.Contains(list, "proxy,2 rules") {
		t.Errorf("%q", list)
	}
	// Who gives a limit must not get a key without it.
	for _, limit := range [][]string{{"--allow", "GET"}, {"--token", "--allow", "GET *"}, {"--preset", "gmail-read"}, {"--token", "--preset", "gmail-readonly"}, {"--rate", "10/day"}} {
		if out, err := c.run(append([]string{"key", "add", "limited", "--account", "*"}, limit...)...); err == nil || out != "" {
			t.Errorf("%v: %q", limit, out)
		}
	}
}

func TestNewKeyIsMadeOfflineAndItsLinesAreACaddyfile(t *testing.T) {
	c := &commands{t: t, flags: []string{"--address", "unix//nowhere/admin.sock"}}
	out := c.must("key", "new", "boot", "--admin", "--connect", "--token", "--account", "team one/*", "--account", "{x", "--expires", "2030-01-02", "--cidr", "10.0.0.0/8")
	ruled := c.must("key", "new", "ruled", "--allow", "HEAD,GET *", "--allow", "!* */a%20b")
	_, ruledBlock, _ := strings.Cut(ruled, "\n\n")
	key, block, found := strings.Cut(out, "\n\n")
	if !found || policy.CheckKey(key) != nil {
		t.Fatalf("%q", out)
	}
	config, err := adapted("{\n\tbellhop {\n\t\tprovider acme oauth2 {\n\t\t\tclient_id a\n\t\t\tclient_secret {env.A}\n\t\t\ttoken_endpoint https://a.example/token\n\t\t\tscopes a\n\t\t\tapi_host a.example\n\t\t}\n" + block + ruledBlock + "\t}\n}\n")
	if err != nil {
		t.Fatalf("%v\n%s", err, block)
	}
	var adaptedConfig struct {
		Apps struct {
			Bellhop struct{ Keys []map[string]any } `json:"bellhop"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &adaptedConfig); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{
		"name": "boot", "hash": policy.FormatHash(policy.HashKey(key)), "accounts": []any{"team one/*", "{x"},
		"admin": true, "connect": true, "token": true, "expires": "2030-01-02", "cidrs": []any{"10.0.0.0/8"},
	}}
	keys := adaptedConfig.Apps.Bellhop.Keys
	if diff := cmp.Diff(want, keys[:1]); diff != "" {
		t.Errorf("%s\n%s", diff, block)
	}
	if diff := cmp.Diff([]any{"GET,HEAD *", "!* */a%20b"}, keys[1]["allow"]); diff != "" {
		t.Errorf("%s\n%s", diff, ruledBlock)
	}
	t.Run("a duration ends when it ends, however often the lines are loaded", func(t *testing.T) {
		out := c.must("key", "new", "--expires", "30d")
		_, ends, found := strings.Cut(out, "\texpires ")
		ends, _, _ = strings.Cut(ends, "\n")
		if at, err := time.Parse(time.RFC3339, ends); !found || err != nil || time.Until(at) > 30*24*time.Hour || time.Until(at) < 29*24*time.Hour {
			t.Errorf("%q: %v", out, err)
		}
	})
	t.Run("JSON", func(t *testing.T) {
		var made struct{ Token, Name, Hash string }
		if err := json.Unmarshal([]byte(c.must("key", "new", "--json")), &made); err != nil || made.Hash != policy.FormatHash(policy.HashKey(made.Token)) {
			t.Errorf("%v: %+v", err, made)
		}
	})
	t.Run("only an admin's is called so", func(t *testing.T) {
		for name, args := range map[string][]string{"app": nil, "admin": {"--admin"}} {
			if out := c.must(append([]string{"key", "new"}, args...)...); !strings.Contains(out, "\n\nkey "+name+" {\n") {
				t.Errorf("%v: %q", args, out)
			}
		}
	})
}

func TestTokenCommandPrintsTheTokenAlone(t *testing.T) {
	p := startProvider(t)
	// The command needs no token_endpoint on any site.
	b := start(t, strings.Replace(standardCaddyfile(p), "\t\ttoken_endpoint\n", "", 1))
	p.registerMicrosoft(t)
	b.connect(p, "graph", "microsoft")
	c := b.commands()
	token := c.must("token", "graph")
	if !strings.HasPrefix(token, "ya29.fake-") || strings.Count(token, "\n") != 1 {
		t.Errorf("%q", token)
	}
	if again := c.must("token", "graph", "--min-ttl", "10s"); again != token {
		t.Error("another token")
	}
	if other := c.must("token", "graph", "--audience", "outlook.office.com"); other == token {
		t.Error("one token for two audiences")
	}
	var said tokenAnswer
	if out := c.must("token", "graph", "--json"); json.Unmarshal([]byte(out), &said) != nil || said.AccessToken+"\n" != token || said.Account != "graph" {
		t.Errorf("%q", out)
	}
	if out, err := c.run("token", "nobody"); err == nil || out != "" {
		t.Errorf("%q, %v", out, err)
	}
}

func needCurl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
}

func TestCurlCommandCallsTheAPI(t *testing.T) {
	needCurl(t)
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	b.connect(p, "team/jörg", "google")
	c := b.commands()
	out := c.must("curl", "team/jörg", "https://gmail.googleapis.com/gmail/v1/users/me/profile", "--", "-sS", "--fail-with-body")
	if !strings.Contains(out, "user@example.com") {
		t.Errorf("%q", out)
	}
	for _, up := range []string{"/../../..", "/%2e%2e/%2e%2e/%2e%2e", "/.%2e/%2E./.."} {
		leading := "https://gmail.googleapis.com" + up + "/v1/account/" + url.PathEscape("team/jörg") + "/oauth-token"
		if out, err := c.run("curl", "team/jörg", leading, "--", "-sSL", "--fail-with-body"); err == nil || strings.Contains(out, "accessToken") {
			t.Errorf("%s leads out of the proxy: %q, %v", up, out, err)
		}
	}
	if out, err := c.run("curl", "team/jörg", "https://evil.example/", "--", "-sS", "--fail-with-body"); err == nil || !strings.Contains(out, "HostNotAllowed") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestKeyForTCPIsInNoArgumentAndNoLog(t *testing.T) {
	needCurl(t)
	key, _ := policy.NewKey()
	p := startProvider(t)
	addr := freeAddr(t)
	logged := strings.Replace(standardCaddyfile(p), "\tbellhop {\n\t\tstore", "\tlog default {\n\t\toutput file {{dir}}/caddy.log\n\t\tlevel DEBUG\n\t}\n\tbellhop {\n\t\tstore", 1)
	b := start(t, onTCP(withKeys(logged, declared("admin", key.Reveal(), "\t\t\tadmin\n")), addr))
	_, refreshToken := p.grant(t, fakeprovider.Grant{Email: "user@example.com", Scope: mailScope})
	c := &commands{t: b.t, flags: []string{"--address", addr}, stdin: refreshToken}
	if _, err := c.run("account", "list"); err == nil || !strings.Contains(err.Error(), "oauth key new") {
		t.Errorf("without a key: %v", err)
	}
	t.Setenv(keyVariable, key.Reveal())
	t.Setenv("http_proxy", "http://"+freeAddr(t)) // nobody's: no key goes there
	c.must("account", "add", "alice", "--provider", "google", "--user", "user@example.com", "--refresh-token-file", "-")

	// A curl that tells its arguments, and passes them on.
	dir := t.TempDir()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nprintf '%s\\n' \"$@\" > " + dir + "/arguments\nexec " + curl + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "curl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	out := c.must("curl", "alice", "https://gmail.googleapis.com/gmail/v1/users/me/profile", "--", "-sS")
	if !strings.Contains(out, "user@example.com") {
		t.Errorf("%q", out)
	}
	arguments, err := os.ReadFile(filepath.Join(dir, "arguments"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(arguments), key.Reveal()) || !strings.Contains(string(arguments), "/proxy/alice/gmail") {
		t.Errorf("%s", arguments)
	}
	log, err := os.ReadFile(filepath.Join(b.dir, "caddy.log"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), key.Reveal()) || !strings.Contains(string(log), "/bellhop/proxy/alice/gmail") {
		t.Errorf("the key, or no call at all, stands in the log:\n%s", log)
	}
}

func TestCommandsFailWithOneLine(t *testing.T) {
	gone := "unix/" + filepath.Join(t.TempDir(), "admin.sock")
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"server not running": {[]string{"account", "list", "--address", gone}, "is the server running?"},
		"unknown flag":       {[]string{"account", "list", "--nonsense"}, "--nonsense"},
		"argument missing":   {[]string{"token"}, "arg"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := process(t, append([]string{"oauth"}, test.args...)...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != 1 {
				t.Errorf("%v, want exit code 1", err)
			}
			if said := stderr.String(); stdout.Len() > 0 || strings.Count(said, "\n") != 1 || !strings.Contains(said, test.says) {
				t.Errorf("stdout %q, stderr %q", stdout.String(), said)
			}
		})
	}
}

var curlLine = regexp.MustCompile(`(?m)^  curl -H "Authorization: Bearer (\S+)" (\S+)$`)

func TestDemoWorksAndLeavesNothingBehind(t *testing.T) {
	temp := t.TempDir()
	cmd := process(t, "oauth", "demo", "--listen", freeAddr(t))
	cmd.Env = append(cmd.Env, "TMPDIR="+temp)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	var screen strings.Builder
	lines := bufio.NewReader(stdout)
	for !strings.Contains(screen.String(), "Ctrl-C") {
		line, err := lines.ReadString('\n')
		screen.WriteString(line)
		if err != nil {
			t.Fatalf("%v\n%s%s", err, screen.String(), stderr.String())
		}
	}
	found := curlLine.FindAllStringSubmatch(screen.String(), -1)
	if len(found) < 2 {
		t.Fatalf("%d calls to paste in\n%s", len(found), screen.String())
	}
	for _, paste := range found {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, paste[2], nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+paste[1])
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK || !json.Valid(body) {
			t.Errorf("%s: %d %s", paste[2], response.StatusCode, body)
		}
	}
	if left, _ := os.ReadDir(temp); len(left) == 0 {
		t.Error("the demo keeps its files somewhere else")
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, lines)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		ended = true
		if err != nil {
			t.Errorf("%v: %s", err, stderr.String())
		}
	case <-ctx.Done():
		t.Fatal("Ctrl-C does not end it")
	}
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("left behind: %s", entry.Name())
	}
}
