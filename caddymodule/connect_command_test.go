package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// startCommandSite is startConnectSite with clients for applications on the
// person's own machine. No browser is opened.
func startCommandSite(t *testing.T) *connectSite {
	t.Helper()
	t.Setenv("BROWSER", "")
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	s := startConnectSite(t)
	for _, client := range []fakeprovider.Client{
		{ID: "bellhop", RedirectURIs: []string{"http://127.0.0.1/oauth/callback"}, DeviceFlow: true},
		{ID: "bellhop-google", Dialect: fakeprovider.Google, DeviceFlow: true},
		{ID: "bellhop-microsoft", Dialect: fakeprovider.Microsoft, RedirectURIs: []string{"http://localhost/oauth/callback"}},
	} {
		client.Secrets, client.Native, client.RequirePKCE = []string{"bellhop-secret"}, true, true
		if err := s.provider.RegisterClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// session is a command that waits for somebody.
type session struct {
	*connectSite
	in     *io.PipeWriter
	out    *bufio.Reader
	screen strings.Builder
	// err is what the command ended with, once its output has ended.
	err  error
	stop context.CancelFunc
}

// runs begins a command, whose output is to be read to its end.
func (s *connectSite) runs(args ...string) *session {
	s.t.Helper()
	root := &cobra.Command{Use: "oauth", SilenceUsage: true, SilenceErrors: true}
	oauthCommand.CobraFunc(root)
	input, in := io.Pipe()
	out, output := io.Pipe()
	root.SetIn(input)
	root.SetOut(output)
	root.SetErr(output)
	root.SetArgs(append(slices.Clone(s.commands().flags), args...))
	ctx, stop := context.WithCancel(s.t.Context())
	session := &session{connectSite: s, in: in, out: bufio.NewReader(out), stop: stop}
	go func() {
		session.err = root.ExecuteContext(ctx)
		_ = output.Close()
	}()
	s.t.Cleanup(func() {
		stop()
		_ = in.Close()
		session.end()
	})
	return session
}

// reads goes on with the output until it has what is looked for, and returns the
// submatches.
func (s *session) reads(pattern string) []string {
	s.t.Helper()
	looked := regexp.MustCompile(pattern)
	for {
		if found := looked.FindStringSubmatch(s.screen.String()); found != nil {
			return found
		}
		line, err := s.out.ReadString('\n')
		s.screen.WriteString(line)
		if err != nil && !looked.MatchString(s.screen.String()) {
			s.t.Fatalf("the command ended (%v) without %q:\n%s", s.err, pattern, s.screen.String())
		}
	}
}

// end reads the rest of the output.
func (s *session) end() (string, error) {
	rest, _ := io.ReadAll(s.out)
	s.screen.Write(rest)
	return s.screen.String(), s.err
}

// link is the address that the command shows.
func (s *session) link() string {
	s.t.Helper()
	link := s.reads(`(?m)^  (http\S+/authorize\S*|http\S+/adminconsent\S*)$`)[1]
	u, err := url.Parse(link)
	if err != nil {
		s.t.Fatal(err)
	}
	s.hides("state", u.Query().Get("state"))
	return link
}

// decides has somebody decide at the provider, and returns where the browser is sent.
func (s *session) decides(link string, d fakeprovider.Decision) string {
	s.t.Helper()
	location, err := s.provider.Consent(s.t.Context(), link, d)
	if err != nil {
		s.t.Fatal(err)
	}
	u, err := url.Parse(location)
	if err != nil {
		s.t.Fatal(err)
	}
	s.hides("code", u.Query().Get("code"))
	return location
}

// browse opens an address and returns what is shown.
func (s *session) browse(address string) reply {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, body}
}

// tellsNoSecret checks all that was printed.
func (s *session) tellsNoSecret() {
	s.t.Helper()
	said, _ := s.end()
	grants, err := s.provider.Grants(s.t.Context(), true)
	if err != nil {
		s.t.Fatal(err)
	}
	secrets := []string{"bellhop-secret"}
	for _, g := range grants {
		secrets = append(secrets, g.RefreshToken)
	}
	for _, value := range s.secrets {
		if strings.HasPrefix(value.name, "code") {
			secrets = append(secrets, value.value)
		}
	}
	for _, value := range secrets {
		if value != "" && strings.Contains(said, value) {
			s.t.Errorf("a secret was printed:\n%s", said)
		}
	}
}

// commandsInNoLog is inNoLog for what commands call, which is on the admin
// endpoint.
func (s *connectSite) commandsInNoLog() {
	s.t.Helper()
	s.stop()
	logs := sinks{text: map[string][]byte{}, dirs: []string{filepath.Join(s.dir, "logs")}}
	if where := logs.find(s.t, s.secrets); len(where) > 0 {
		s.t.Errorf("secrets stand in logs: %v", where)
	}
	if len(s.secrets) == 0 || len(logs.find(s.t, []canary{{"the audit", `"route":"admin"`}})) == 0 {
		s.t.Errorf("%d secrets were looked for, and the audit was not found", len(s.secrets))
	}
}

func TestConnectOnLoopback(t *testing.T) {
	s := startCommandSite(t)
	for kind, want := range map[string]struct{ redirect, register string }{
		"google":    {`http://127\.0\.0\.1:\d+/oauth/callback`, "Desktop app"},
		"microsoft": {`http://localhost:\d+/oauth/callback`, "Mobile and desktop applications"},
		"acme":      {`http://127\.0\.0\.1:\d+/oauth/callback`, "--port"},
	} {
		t.Run(kind, func(t *testing.T) {
			c := s.runs("connect", kind, kind+"-alice", "--name", "Alice")
			redirectURI := c.reads(`Redirect URI: (` + want.redirect + `)\n`)[1]
			c.reads(regexp.QuoteMeta(want.register))
			link := c.link()
			c.reads(`Waiting for the answer`)
			location := c.decides(link, fakeprovider.Decision{Person: "alice@example.com"})
			if !strings.HasPrefix(location, redirectURI+"?") {
				t.Errorf("the browser is sent to %s", location)
			}
			s.shows(c.browse(location), http.StatusOK, "alice@example.com")
			out, err := c.end()
			if err != nil || !strings.Contains(out, "account "+kind+"-alice is connected with "+kind+" as alice@example.com\ngranted: ") || strings.Contains(out, "not granted") {
				t.Errorf("%v\n%s", err, out)
			}
			c.tellsNoSecret()
			g := s.grant(kind + "-alice")
			if g == nil || g.State != account.Connected || g.Subject == "" || g.Name != "Alice" || g.User != "alice@example.com" {
				t.Fatalf("%+v", g)
			}
			if token := s.commands().must("token", kind+"-alice"); token == "\n" {
				t.Error("there is no token")
			}
			at, err := url.Parse(redirectURI)
			if err != nil {
				t.Fatal(err)
			}
			if conn, err := net.Dial("tcp", at.Host); err == nil {
				_ = conn.Close()
				t.Error("it still listens")
			}
		})
	}
	if s.metric(`bellhop_consents_total{provider="microsoft",result="connected"}`) < 1 {
		t.Error("it was not counted")
	}
	s.commandsInNoLog()
}

func TestConnectWaitsForItsOwnAnswer(t *testing.T) {
	s := startCommandSite(t)
	c := s.runs("connect", "google", "alice")
	link := c.link()
	location := c.decides(link, fakeprovider.Decision{})
	at, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	other := *at
	query := other.Query()
	query.Set("state", "another")
	other.RawQuery = query.Encode()
	if r := c.browse(other.String()); r.status != http.StatusBadRequest {
		t.Errorf("another state: %d %s", r.status, r.body)
	}
	if r := c.browse(at.Scheme + "://" + at.Host + "/favicon.ico"); r.status != http.StatusNotFound {
		t.Errorf("another path: %d", r.status)
	}
	if n := s.provider.tokenRequests(t); n != 0 {
		t.Errorf("%d token requests", n)
	}
	s.shows(c.browse(location), http.StatusOK)
	if out, err := c.end(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestConnectAtAGivenPort(t *testing.T) {
	s := startCommandSite(t)
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	c := s.runs("connect", "google", "alice", "--port", port)
	c.reads(`Redirect URI: http://127\.0\.0\.1:` + port + `/oauth/callback\n`)
	if _, err := s.commands().run("connect", "google", "bob", "--port", port); err == nil || !strings.Contains(err.Error(), "--port") {
		t.Errorf("a port that is taken: %v", err)
	}
	c.succeeds(fakeprovider.Decision{})
}

// succeeds lets somebody consent, so that the command ends.
func (s *session) succeeds(d fakeprovider.Decision) {
	s.t.Helper()
	s.browse(s.decides(s.link(), d))
	if out, err := s.end(); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

func TestConnectByPasting(t *testing.T) {
	s := startCommandSite(t)
	c := s.runs("connect", "microsoft", "alice", "--paste")
	link := c.link()
	c.reads(`paste it here`)
	location := c.decides(link, fakeprovider.Decision{Person: "alice@example.com"})
	if _, err := net.Dial("tcp", strings.Split(strings.TrimPrefix(location, "http://"), "/")[0]); err == nil {
		t.Error("it listens")
	}
	for _, wrong := range []struct{ pasted, says string }{
		{link, "the link to open"},
		{"", "empty line"},
		{"https://login.example/error", "neither a code nor an error"},
		{regexp.MustCompile(`state=[^&]*`).ReplaceAllString(location, "state=other"), "another attempt"},
	} {
		if _, err := io.WriteString(c.in, wrong.pasted+"\n"); err != nil {
			t.Fatal(err)
		}
		c.reads(wrong.says)
	}
	if _, err := io.WriteString(c.in, location+"\n"); err != nil {
		t.Fatal(err)
	}
	if out, err := c.end(); err != nil || !strings.Contains(out, "account alice is connected with microsoft as alice@example.com") {
		t.Errorf("%v\n%s", err, out)
	}
	c.tellsNoSecret()

	t.Run("nothing is pasted", func(t *testing.T) {
		c := s.runs("connect", "google", "bob", "--paste")
		c.link()
		_ = c.in.Close()
		if out, err := c.end(); err == nil || !strings.Contains(err.Error(), "no address was pasted") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	s.commandsInNoLog()
}

func TestAnswerIsFoundInWhatWasPasted(t *testing.T) {
	begun := &begunConnect{AuthorizeURL: "https://idp.example/authorize?state=s", RedirectURI: "http://127.0.0.1:1234/oauth/callback", State: "s"}
	for pasted, want := range map[string]url.Values{
		"http://127.0.0.1:1234/oauth/callback?state=s&code=4%2F0a": {"state": {"s"}, "code": {"4/0a"}},
		`  "http://127.0.0.1:1234/x?code=c&state=s"  `:             {"state": {"s"}, "code": {"c"}},
		"?code=c&state=s&iss=i":                                    {"state": {"s"}, "code": {"c"}, "iss": {"i"}},
		"code=c&state=s":                                           {"state": {"s"}, "code": {"c"}},
		"http://127.0.0.1:1234/x#code=c&state=s":                   {"state": {"s"}, "code": {"c"}},
		"error=access_denied&state=s":                              {"state": {"s"}, "error": {"access_denied"}},
		"admin_consent=True&state=s":                               {"state": {"s"}, "admin_consent": {"True"}},
		"4/0abc-_.~":                                               {"state": {"s"}, "code": {"4/0abc-_.~"}},
	} {
		query, err := answerOf(pasted, begun)
		if err != nil {
			t.Errorf("%s: %v", pasted, err)
			continue
		}
		got, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", pasted, diff)
		}
	}
	for pasted, says := range map[string]string{
		"": "empty line", " ": "empty line",
		begun.AuthorizeURL:                        "the link to open",
		"https://idp.example/authorize?a=b":       "neither a code",
		"http://127.0.0.1:1234/x?code=c":          "no state",
		"http://127.0.0.1:1234/x?code=c&state=s2": "another attempt",
		"code=c&state=%zz":                        "not a whole address",
		"ht\x7ftp://[":                            "not an address",
	} {
		if _, err := answerOf(pasted, begun); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", pasted, err, says)
		}
	}
}

func TestConnectByDeviceCode(t *testing.T) {
	s := startCommandSite(t)
	var waited []time.Duration
	decide := make(chan string, 1)
	restore := pause
	t.Cleanup(func() { pause = restore })
	pause = func(ctx context.Context, d time.Duration) {
		waited = append(waited, d)
		switch len(waited) {
		case 2: // too early for the provider
			return
		case 4:
			if err := s.provider.DecideDevice(ctx, <-decide, fakeprovider.Decision{Person: "alice@example.com"}); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.provider.Advance(ctx, d); err != nil {
			t.Error(err)
		}
	}
	c := s.runs("connect", "acme", "alice", "--device")
	decide <- c.reads(`and enter the code\n\n  (\S+)\n`)[1]
	out, err := c.end()
	if err != nil || !strings.Contains(out, "account alice is connected with acme as alice@example.com") || !strings.Contains(out, "/device?user_code=") {
		t.Fatalf("%v\n%s", err, out)
	}
	if diff := cmp.Diff([]time.Duration{5 * time.Second, 5 * time.Second, 10 * time.Second, 10 * time.Second}, waited); diff != "" {
		t.Errorf("between the polls (-want +got):\n%s", diff)
	}
	c.tellsNoSecret()

	t.Run("denied", func(t *testing.T) {
		waited = nil
		pause = func(ctx context.Context, d time.Duration) {
			if err := s.provider.DecideDevice(ctx, <-decide, fakeprovider.Decision{Deny: true}); err != nil {
				t.Error(err)
			}
		}
		c := s.runs("connect", "acme", "bob", "--device")
		decide <- c.reads(`and enter the code\n\n  (\S+)\n`)[1]
		if out, err := c.end(); err == nil || s.grant("bob") != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("expired", func(t *testing.T) {
		pause = func(ctx context.Context, _ time.Duration) {
			if _, err := s.provider.Advance(ctx, time.Hour); err != nil {
				t.Error(err)
			}
		}
		c := s.runs("connect", "acme", "bob", "--device")
		if out, err := c.end(); err == nil || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("refused at once for these scopes", func(t *testing.T) {
		pause = func(context.Context, time.Duration) { t.Error("it waits") }
		c := s.runs("connect", "google", "bob", "--device")
		if out, err := c.end(); err == nil || !strings.Contains(err.Error(), "devices") || !strings.Contains(err.Error(), "--paste") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func TestConnectThatIsDeclined(t *testing.T) {
	s := startCommandSite(t)
	c := s.runs("connect", "google", "alice")
	s.shows(c.browse(c.decides(c.link(), fakeprovider.Decision{Deny: true})), http.StatusBadRequest, "Nothing was connected")
	out, err := c.end()
	if err == nil || !strings.Contains(err.Error(), "declined") || strings.Contains(out, "is connected") {
		t.Errorf("%v\n%s", err, out)
	}
	if s.grant("alice") != nil {
		t.Error("an account was made")
	}
	if s.metric(`bellhop_consents_total{provider="google",result="declined"}`) < 1 {
		t.Error("it was not counted")
	}
}

func TestConnectAsAnotherPerson(t *testing.T) {
	for _, test := range []struct {
		provider string
		// ended is set where revoking ends this grant and no other.
		ended bool
	}{{"google", false}, {"acme", true}} {
		t.Run(test.provider, func(t *testing.T) {
			s := startCommandSite(t)
			alice, bob := fakeprovider.Decision{Person: "alice@example.com"}, fakeprovider.Decision{Person: "bob@example.com"}
			c := s.runs("connect", test.provider, "alice", "--user", "alice@example.com")
			c.succeeds(alice)
			before := s.grant("alice")

			// What came for somebody else is given back.
			if _, err := s.provider.QueueFaults(t.Context(), fakeprovider.Fault{On: fakeprovider.EndpointRevoke, Gate: "revoking", Commit: true}); err != nil {
				t.Fatal(err)
			}
			c = s.runs("connect", test.provider, "alice")
			s.shows(c.browse(c.decides(c.link(), bob)), http.StatusBadRequest, "another account")
			if out, err := c.end(); err == nil || !strings.Contains(err.Error(), "a…@example.com") {
				t.Errorf("%v\n%s", err, out)
			}
			if g := s.grant("alice"); g.Subject != before.Subject || !g.RefreshToken.Equal(before.RefreshToken) || g.Generation != before.Generation {
				t.Error("the old grant was touched")
			}
			if test.ended {
				waiting, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				if err := s.provider.AwaitHeld(waiting, "revoking", 1); err != nil {
					t.Fatal(err)
				}
				if _, err := s.provider.Release(t.Context(), "revoking"); err != nil {
					t.Fatal(err)
				}
			}
			grants, err := s.provider.Grants(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range grants {
				if g.Dead != (test.ended && g.Email == "bob@example.com") {
					t.Errorf("%s: %+v", g.Email, g)
				}
			}

			c = s.runs("connect", test.provider, "alice", "--any-mailbox")
			c.browse(c.decides(c.link(), bob))
			if out, err := c.end(); err != nil || s.grant("alice").Subject == before.Subject {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestConnectWithoutAnID(t *testing.T) {
	s := startCommandSite(t)
	for range 2 {
		c := s.runs("connect", "google")
		c.browse(c.decides(c.link(), fakeprovider.Decision{Person: "alice@example.com"}))
		if out, err := c.end(); err != nil || !strings.Contains(out, "account alice@example.com is connected") {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if s.grant("alice@example.com") == nil {
		t.Error("there is no such account")
	}
}

func TestConnectSaysWhatIsMissing(t *testing.T) {
	s := startCommandSite(t)
	c := s.runs("connect", "google", "alice", "--json")
	granted := []string{"https://mail.google.com/", "openid", "email"}
	c.browse(c.decides(c.link(), fakeprovider.Decision{Scopes: granted}))
	out, err := c.end()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var said connected
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{\n"):]), &said); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := connected{
		Account: "alice", State: "new", AccountState: account.Connected, App: "google", ProviderType: provider.TypeGoogle,
		User: said.User, Name: said.Name, Granted: granted, Missing: []string{"https://www.googleapis.com/auth/postmaster.domain"},
	}
	slices.Sort(want.Granted)
	slices.Sort(said.Granted)
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error(diff)
	}
	c = s.runs("connect", "google", "alice")
	c.browse(c.decides(c.link(), fakeprovider.Decision{Scopes: granted}))
	if out, err := c.end(); err != nil || !strings.Contains(out, "not granted: https://www.googleapis.com/auth/postmaster.domain\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestConnectAdministrator(t *testing.T) {
	s := startCommandSite(t)
	c := s.runs("connect", "microsoft", "--admin")
	c.reads(`An administrator`)
	s.shows(c.browse(c.decides(c.link(), fakeprovider.Decision{Person: "alice@example.com"})), http.StatusOK)
	if out, err := c.end(); err != nil || !strings.Contains(out, "an administrator has consented") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := s.commands().run("connect", "google", "--admin"); err == nil || !strings.Contains(err.Error(), "admin") {
		t.Errorf("%v", err)
	}
}

func TestConnectRefusesWhatCannotBe(t *testing.T) {
	s := startCommandSite(t)
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"no provider":       {nil, "arg"},
		"unknown provider":  {[]string{"gogle", "alice"}, "gogle"},
		"two ways":          {[]string{"google", "alice", "--paste", "--device"}, "paste"},
		"a port for device": {[]string{"google", "alice", "--device", "--port", "1"}, "port"},
		"bad account":       {[]string{"google", "/alice"}, "account"},
		"bad scope":         {[]string{"google", "alice", "--scopes", `a"b`}, "scopes"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := s.commands().run(append([]string{"connect"}, test.args...)...)
			if err == nil || out != "" || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}

func TestCtrlCLeavesNothingBehind(t *testing.T) {
	s := startCommandSite(t)
	for _, how := range []string{"", "--paste", "--device"} {
		t.Run(how, func(t *testing.T) {
			args := append(append([]string{"oauth", "connect", "acme", "alice"}, s.commands().flags...), strings.Fields(how)...)
			cmd := process(t, args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines, said := bufio.NewReader(stdout), ""
			for !strings.Contains(said, "Waiting") && !strings.Contains(said, "paste it here") {
				line, err := lines.ReadString('\n')
				if said += line; err != nil {
					t.Fatalf("%v: %s%s", err, said, stderr.String())
				}
			}
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, lines)
			exit, ok := errors.AsType[*exec.ExitError](cmd.Wait())
			if !ok || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "interrupted; nothing was stored") || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("%v: %q", exit, stderr.String())
			}
			if found := regexp.MustCompile(`Redirect URI: http://([^/]+)/`).FindStringSubmatch(said); found != nil {
				if conn, err := net.Dial("tcp", found[1]); err == nil {
					_ = conn.Close()
					t.Error("it still listens")
				}
			}
		})
	}
	if s.grant("alice") != nil {
		t.Error("an account was made")
	}
}

func TestBrowserIsOpenedWhereThereIsOne(t *testing.T) {
	const address = "https://idp.example/authorize?a=b&c=d"
	for name, test := range map[string]struct {
		system string
		env    map[string]string
		want   []string
	}{
		"X":             {"linux", map[string]string{"DISPLAY": ":0"}, []string{"xdg-open", address}},
		"Wayland":       {"freebsd", map[string]string{"WAYLAND_DISPLAY": "w"}, []string{"xdg-open", address}},
		"no display":    {"linux", nil, nil},
		"macOS":         {"darwin", nil, []string{"open", address}},
		"Windows":       {"windows", nil, []string{"rundll32", "url.dll,FileProtocolHandler", address}},
		"BROWSER":       {"linux", map[string]string{"BROWSER": "firefox -P x:lynx", "DISPLAY": ":0"}, []string{"firefox", "-P", "x", address}},
		"BROWSER and %": {"darwin", map[string]string{"BROWSER": "b --url=%s"}, []string{"b", "--url=" + address}},
	} {
		t.Run(name, func(t *testing.T) {
			got := browserCommand(test.system, func(name string) string { return test.env[name] }, address)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("the command opens it", func(t *testing.T) {
		s := startCommandSite(t)
		dir := t.TempDir()
		opened := filepath.Join(dir, "opened")
		if err := syscall.Mkfifo(opened, 0o600); err != nil {
			t.Skip(err)
		}
		script := filepath.Join(dir, "browser")
		if err := os.WriteFile(script, []byte("#!/bin/sh\nprintf '%s' \"$1\" > "+opened+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("BROWSER", script)
		c := s.runs("connect", "google", "alice")
		link := c.link()
		c.reads("A browser should show it")
		shown, err := os.ReadFile(opened)
		if err != nil || string(shown) != link {
			t.Errorf("%q, %v; want %s", shown, err, link)
		}
		c.succeeds(fakeprovider.Decision{})
	})
	t.Run("one that cannot be run is no matter", func(t *testing.T) {
		t.Setenv("BROWSER", filepath.Join(t.TempDir(), "none"))
		if openBrowser(address) {
			t.Error("it ran")
		}
	})
}

func TestTroublesNameTheRedirectURI(t *testing.T) {
	for _, kind := range []string{provider.TypeGoogle, provider.TypeMicrosoft, provider.TypeOAuth2} {
		const redirectURI = "http://127.0.0.1:1234/oauth/callback"
		if all := troubles(kind, redirectURI); !strings.Contains(strings.Join(all, "\n"), redirectURI) {
			t.Errorf("%s: %q", kind, all)
		}
	}
}

func TestPendingConsentIsConfirmed(t *testing.T) {
	s := startConnectSite(t)
	v := s.visitor()
	link := s.invites(consent.Link{Account: "alice", Provider: "google", Confirm: true, ReturnTo: s.application.URL + "/done"})
	query := s.sentOn(v.consents(link, fakeprovider.Decision{}), s.application.URL+"/done")
	const path = "/v1/account/alice/confirm"
	for name, body := range map[string]any{
		"nothing": map[string]string{}, "another": map[string]string{"confirm": "x"}, "a field too many": map[string]string{"confirm": query.Get("confirm"), "x": "y"},
	} {
		if r := s.adminReply(http.MethodPut, path, body); r.status < 400 || r.status >= 500 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if g := s.grant("alice"); g.State != account.Pending {
		t.Errorf("%s", g.State)
	}
	if said := s.admin(http.MethodPut, path, map[string]string{"confirm": query.Get("confirm")}); said["account"] != "alice" || said["state"] != "connected" {
		t.Errorf("%v", said)
	}
	if r := s.adminReply(http.MethodPut, path, map[string]string{"confirm": query.Get("confirm")}); r.status == http.StatusOK {
		t.Error("confirmed twice")
	}
	s.inNoLog()
}

func TestRemoveSaysWhetherTheGrantIsEnded(t *testing.T) {
	s := startCommandSite(t)
	for id, want := range map[string]string{
		"alice --revoke": "account alice is removed, and its grant is ended at the provider\n",
		"bob":            "account bob is removed\n",
	} {
		args := strings.Fields(id)
		c := s.runs("connect", "google", args[0])
		c.succeeds(fakeprovider.Decision{})
		if out := s.commands().must(append([]string{"account", "remove"}, args...)...); out != want {
			t.Errorf("%s: %q, want %q", id, out, want)
		}
	}
}

func TestAdoptCommand(t *testing.T) {
	s := startCommandSite(t)
	opened, err := runningApp(t).run.open()
	if err != nil {
		t.Fatal(err)
	}
	for id, state := range map[string]account.State{"alice": account.Restored, "team/bob": account.Restored, "carol": account.Disabled} {
		c := s.runs("connect", "google", id, "--any-mailbox")
		c.succeeds(fakeprovider.Decision{})
		g := s.grant(id)
		g.State, g.Unadopted = state, true
		if err := opened.broker.Remove(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
		if done, err := opened.broker.Restore(t.Context(), g); err != nil || !done {
			t.Fatal(done, err)
		}
	}
	c := s.commands()
	for _, args := range [][]string{{}, {"alice", "--all"}, {"alice", "carol"}} {
		if _, err := c.run(append([]string{"account", "adopt"}, args...)...); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
	if _, err := c.run("account", "refresh", "team/bob"); err == nil || !strings.Contains(err.Error(), "account adopt") {
		t.Errorf("renewed before it was adopted, or said to be: %v", err)
	}
	if out := c.must("account", "adopt", "team/bob"); out != "account team/bob is adopted; it is connected\n" {
		t.Errorf("%q", out)
	}
	if s.grant("alice").State != account.Restored {
		t.Error("another one was adopted")
	}
	// One that was only switched off is none of theirs.
	s.runs("connect", "google", "dave", "--any-mailbox").succeeds(fakeprovider.Decision{})
	c.must("account", "disable", "dave")
	if out := c.must("account", "adopt", "--all"); strings.Count(out, "is adopted") != 2 {
		t.Errorf("%q", out)
	}
	if out := c.must("account", "adopt", "--all"); out != "there is no restored account\n" {
		t.Errorf("%q", out)
	}
	if _, err := c.run("account", "adopt", "nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("%v", err)
	}
}
