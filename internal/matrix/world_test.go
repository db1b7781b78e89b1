package matrix

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// The accounts: carol exists, but no key reaches her.
const (
	alice = "alice" // at Google
	bob   = "bob"   // at Microsoft
	carol = "carol"
)

// world is a Bellhop that runs, and the provider and APIs behind it.
type world struct {
	Dir      string
	Provider fakeprovider.Ready
	fake     fakeprovider.Control
	grants   map[string]string // by account
	// keys are bound to the account of that name; wide is bound to all.
	keys map[string]string
	// root is the file with the certificate of Caddy's own authority.
	root string
	// client trusts it.
	client  *http.Client
	witness *witness
}

const wide = "wide"

// sites are where Bellhop listens. In the path form the base URL of an API has
// the account and the API's host behind the site's address, in the origin form
// there is a site for each.
var sites = struct{ Path, Gmail, Drive, Graph string }{
	"https://localhost:8443", "https://localhost:8444", "https://localhost:8445", "https://localhost:8446",
}

var caddyfile = template.Must(template.New("").Parse(`{
	admin unix/{{.Dir}}/admin.sock|0600
	persist_config off
	skip_install_trust
	storage file_system {{.Dir}}/caddy
	log {
		output file {{.Dir}}/log
	}
	bellhop {
		store badger {{.Dir}}/store
		keyset {{.Dir}}/keyset.json
		provider google {
			client_id matrix-google
			client_secret {file.{{.Dir}}/secret}
			token_endpoint {{.Provider.URL}}/token
			scopes https://mail.google.com/ https://www.googleapis.com/auth/drive
		}
		provider microsoft {
			tenant organizations
			client_id matrix-microsoft
			client_secret {file.{{.Dir}}/secret}
			token_endpoint {{.Provider.URL}}/organizations/oauth2/v2.0/token
			scopes https://graph.microsoft.com/Mail.Read https://graph.microsoft.com/Files.ReadWrite
		}
	}
}

(upstreams) {
	upstream gmail.googleapis.com {{.Provider.URL}}
	upstream www.googleapis.com {{.Provider.URL}}
	upstream graph.microsoft.com {{.Provider.URL}}
	upstream contoso.sharepoint.com {{.Provider.URL}}
}

(site) {
	bind 127.0.0.1
	tls internal
}

https://localhost:8443 {
	import site
	bellhop {
		proxy {
			import upstreams
		}
	}
	respond 404
}

https://localhost:8444 {
	import site
	bellhop {
		proxy / {
			account key
			api_host gmail.googleapis.com
			import upstreams
		}
	}
}

https://localhost:8445 {
	import site
	bellhop {
		proxy / {
			account key
			api_host www.googleapis.com
			import upstreams
		}
	}
}

https://localhost:8446 {
	import site
	bellhop {
		proxy / {
			account key
			api_host graph.microsoft.com
			import upstreams
		}
	}
}
`))

// startWorld starts it, with everything in it, until the test ends.
func startWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Dir: t.TempDir(), witness: startWitness(t), grants: map[string]string{}, keys: map[string]string{}}
	w.root = filepath.Join(w.Dir, "caddy", "pki", "authorities", "local", "root.crt")
	w.startProvider(t)
	w.startBellhop(t)
	for _, a := range []struct{ id, provider, email, scope string }{
		{alice, "google", "alice@example.com", "https://mail.google.com/ https://www.googleapis.com/auth/drive openid email"},
		{bob, "microsoft", "bob@example.com", "https://graph.microsoft.com/Mail.Read https://graph.microsoft.com/Files.ReadWrite openid profile offline_access"},
		{carol, "google", "carol@example.com", "https://mail.google.com/ https://www.googleapis.com/auth/drive openid email"},
	} {
		grant, err := w.fake.CreateGrant(t.Context(), fakeprovider.Grant{Client: "matrix-" + a.provider, Email: a.email, Scope: a.scope})
		if err != nil {
			t.Fatal(err)
		}
		w.grants[a.id] = grant.ID
		w.command(t, grant.RefreshToken, "account", "add", a.id, "--provider", a.provider, "--user", a.email, "--refresh-token-file", "-")
	}
	w.keys[alice] = w.command(t, "", "key", "add", alice, "--account", alice)
	w.keys[bob] = w.command(t, "", "key", "add", bob, "--account", bob)
	w.keys[wide] = w.command(t, "", "key", "add", wide, "--account", alice, "--account", bob)
	return w
}

const clientSecret = "matrix-client-secret"

// startProvider runs the fake provider, in a process of its own.
func (w *world) startProvider(t *testing.T) {
	t.Helper()
	cmd := exec.Command(*bellhop, "oauth", "fake-provider")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.run(t, cmd)
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatalf("starting the fake provider: %v", err)
	}
	if err := json.Unmarshal(line, &w.Provider); err != nil {
		t.Fatalf("starting the fake provider: %s: %v", line, err)
	}
	w.fake = fakeprovider.Control{BaseURL: w.Provider.URL}
	for _, dialect := range []fakeprovider.Dialect{fakeprovider.Google, fakeprovider.Microsoft} {
		client := fakeprovider.Client{ID: "matrix-" + string(dialect), Secrets: []string{clientSecret}, Dialect: dialect}
		if err := w.fake.RegisterClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
}

// startBellhop runs Bellhop, and returns once it serves.
func (w *world) startBellhop(t *testing.T) {
	t.Helper()
	var text bytes.Buffer
	if err := caddyfile.Execute(&text, w); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"Caddyfile": text.Bytes(), "secret": []byte(clientSecret)} {
		if err := os.WriteFile(filepath.Join(w.Dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.run(t, exec.Command(*bellhop, "run", "--config", filepath.Join(w.Dir, "Caddyfile")))

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := w.connect(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(w.Dir, "log"))
			t.Fatalf("starting bellhop: %v\n%s", err, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// connect makes a client that trusts Caddy's authority, if Bellhop serves.
func (w *world) connect(ctx context.Context) error {
	certificate, err := os.ReadFile(w.root)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(certificate) {
		return fmt.Errorf("%s holds no certificate", w.root)
	}
	w.client = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, sites.Path+"/healthz", nil)
	if err != nil {
		return err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// run starts a process that ends with the test.
func (w *world) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.Dir}
	var words bytes.Buffer
	cmd.Stderr = &words
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() && words.Len() > 0 {
			t.Logf("%s said:\n%s", strings.Join(cmd.Args[1:], " "), words.Bytes()[max(0, words.Len()-3000):])
		}
	})
}

// command runs `bellhop oauth` and returns what it printed.
func (w *world) command(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	args = append([]string{"oauth"}, args...)
	cmd := exec.CommandContext(t.Context(), *bellhop, append(args, "--address", "unix/"+filepath.Join(w.Dir, "admin.sock"))...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.Dir}
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bellhop %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}
