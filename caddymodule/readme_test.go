package caddymodule

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// readme is the README's section on a first account, to be followed word for
// word, but for where things are on this machine.
type readme struct {
	t        *testing.T
	sections map[string]string // by heading
	provider providerProcess
	dir      string
	// here puts this machine's places in those of the README.
	here *strings.Replacer
}

func openReadme(t *testing.T) *readme {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	r := &readme{t: t, sections: map[string]string{}, provider: startProvider(t), dir: t.TempDir()}
	_, section, _ := strings.Cut(string(text), "\n## Connect your first account\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, part := range strings.Split(section, "\n### ")[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		r.sections[heading] = body
	}
	_, site, _ := net.SplitHostPort(freeAddr(t))
	_, callback, _ := net.SplitHostPort(freeAddr(t))
	r.here = strings.NewReplacer(
		"unix//run/bellhop/", "unix/"+r.dir+"/", "{file./run/secrets/acme}", "{file."+r.dir+"/acme}",
		"localhost:8080", "localhost:"+site, "8085", callback, "https://id.acme.example", r.provider.URL,
	)
	if err := os.Mkdir(filepath.Join(r.dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(os.Args[0], filepath.Join(r.dir, "bin", "bellhop")); err != nil {
		t.Fatal(err)
	}
	r.write("acme", "bellhop-secret")
	return r
}

// blocks are the section's code blocks in a language, without their indentation.
func (r *readme) blocks(heading, language string) []string {
	r.t.Helper()
	var blocks []string
	for _, found := range regexp.MustCompile("(?ms)^( *)```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(r.sections[heading], -1) {
		blocks = append(blocks, r.here.Replace(regexp.MustCompile("(?m)^"+found[1]).ReplaceAllString(found[2], "")))
	}
	if len(blocks) == 0 {
		r.t.Fatalf("README.md has no %s below %q", language, heading)
	}
	return blocks
}

func (r *readme) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// command is a line of the README, in a shell.
func (r *readme) command(line string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", "exec "+line)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), asCommand+"=1", "HOME="+r.dir, "XDG_DATA_HOME="+r.dir, "XDG_CONFIG_HOME="+r.dir, "BROWSER=", "DISPLAY=", "WAYLAND_DISPLAY=",
		"GOOGLE_CLIENT_ID=google-client", "GOOGLE_CLIENT_SECRET=bellhop-secret", "MS_CLIENT_ID=microsoft-client", "MS_CLIENT_SECRET=bellhop-secret")
	return cmd
}

// runs gives what a command prints.
func (r *readme) runs(line string) string {
	r.t.Helper()
	out, err := r.command(line).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// serve starts the server with a Caddyfile until the test ends.
func (r *readme) serve(line, caddyfile string) {
	r.t.Helper()
	r.write("Caddyfile", caddyfile)
	cmd := r.command(line)
	log, err := cmd.StderrPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	lines, over := bufio.NewReader(log), make(chan struct{})
	r.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-over
		if err := cmd.Wait(); err != nil {
			r.t.Errorf("%s ended with %v", line, err)
		}
	})
	for said := ""; ; {
		text, err := lines.ReadString('\n')
		said += text
		if err != nil {
			close(over)
			r.t.Fatalf("%s ended:\n%s", line, said)
		}
		if strings.Contains(text, "serving initial configuration") {
			go func() {
				defer close(over)
				_, _ = io.Copy(io.Discard, lines)
			}()
			return
		}
	}
}

// connects runs the command that waits for a consent, and consents.
func (r *readme) connects(line string) {
	r.t.Helper()
	cmd := r.command(line)
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	lines, said, link := bufio.NewReader(out), "", ""
	for !strings.Contains(said, "Waiting for the answer") {
		text, err := lines.ReadString('\n')
		said += text
		if err != nil {
			r.t.Fatalf("%s ended:\n%s", line, said)
		}
		if trimmed := strings.TrimSpace(text); strings.HasPrefix(trimmed, r.provider.URL) {
			link = trimmed
		}
	}
	location, err := r.provider.Consent(r.t.Context(), link, fakeprovider.Decision{Person: "alice@example.com"})
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", line, err, said)
	}
	if status, _, err := get(r.t.Context(), client, location, ""); err != nil || status != http.StatusOK {
		r.t.Errorf("the browser ends on %d, %v", status, err)
	}
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err != nil || !strings.Contains(string(rest), "is connected with") {
		r.t.Errorf("%s: %v\n%s%s", line, err, said, rest)
	}
}

func TestTheReadmeConnectsAFirstAccount(t *testing.T) {
	for _, test := range []struct {
		heading string
		client  fakeprovider.Client
		// standIn are lines of the provider's block, and proxy of the site's, that
		// have the fake provider stand in for the real one.
		standIn, proxy string
	}{
		{
			heading: "Google",
			client:  fakeprovider.Client{ID: "google-client", Dialect: fakeprovider.Google, Native: true},
			standIn: "authorization_endpoint PROVIDER/o/oauth2/v2/auth\ntoken_endpoint PROVIDER/token",
			proxy:   "gmail.googleapis.com",
		},
		{
			heading: "Microsoft",
			client:  fakeprovider.Client{ID: "microsoft-client", Dialect: fakeprovider.Microsoft, RedirectURIs: []string{"http://localhost/oauth/callback"}},
			standIn: "authorization_endpoint PROVIDER/organizations/oauth2/v2.0/authorize\ntoken_endpoint PROVIDER/organizations/oauth2/v2.0/token",
		},
		{
			heading: "Any other server",
			client:  fakeprovider.Client{ID: "bellhop", RedirectURIs: []string{"http://127.0.0.1:8085/oauth/callback"}},
		},
	} {
		t.Run(test.heading, func(t *testing.T) {
			r := openReadme(t)
			test.client.Secrets, test.client.RequirePKCE = []string{"bellhop-secret"}, true
			for i, uri := range test.client.RedirectURIs {
				test.client.RedirectURIs[i] = r.here.Replace(uri)
			}
			if err := r.provider.RegisterClient(t.Context(), test.client); err != nil {
				t.Fatal(err)
			}
			caddyfile := r.blocks("Google", "caddyfile")[0]
			whole := regexp.MustCompile(`(?s)\t\tprovider google \{\n.*?\n\t\t\}\n`)
			block := whole.FindString(caddyfile)
			if test.heading != "Google" {
				block = r.blocks(test.heading, "caddyfile")[0]
			}
			standIn := strings.ReplaceAll(test.standIn, "PROVIDER", r.provider.URL)
			block = strings.TrimSuffix(strings.TrimSpace(block), "}") + standIn + "\n}\n"
			caddyfile = whole.ReplaceAllLiteralString(caddyfile, block)
			if test.proxy != "" {
				caddyfile = changed(t, caddyfile, "token_endpoint\n\t}", "token_endpoint\n\t\tproxy {\n\t\t\tupstream "+test.proxy+" "+r.provider.URL+"\n\t\t}\n\t}")
			}
			google := r.blocks("Google", "sh")
			serve, connect := google[0], google[1]
			if test.heading != "Google" {
				connect = r.blocks(test.heading, "sh")[0]
			}
			r.serve(strings.TrimSpace(serve), caddyfile)
			r.connects(strings.TrimSpace(connect))
			if test.heading == "Google" {
				key := strings.TrimSpace(r.runs(google[2]))
				key = key[strings.LastIndexByte(key, '\n')+1:]
				if _, err := exec.LookPath("curl"); err != nil {
					t.Skip("curl is not installed")
				}
				if said := r.runs(strings.NewReplacer("bh_…", key, "curl ", "curl -sS --fail ").Replace(google[3])); !strings.Contains(said, "alice@example.com") {
					t.Errorf("the call answers %s", said)
				}
			}
			if said := r.runs(r.blocks("When it does not work", "sh")[0]); !strings.Contains(said, "redirect") {
				t.Errorf("the doctor says nothing of redirect URIs:\n%s", said)
			}
		})
	}
}
