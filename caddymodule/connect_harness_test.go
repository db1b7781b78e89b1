package caddymodule

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// connectCaddyfile is a Bellhop that people connect accounts at, with one
// provider of each type that asks them, all of them the fake one. It logs
// whatever Caddy can log. RETURN stands for the operator's application.
const connectCaddyfile = `{
	admin unix/{{dir}}/admin.sock|0600
	persist_config off
	auto_https off
	grace_period 5s
	log default {
		output file {{dir}}/logs/caddy.log
		format json
		level DEBUG
	}
	bellhop {
		store badger {{dir}}/store
		keyset {{dir}}/keyset.json
		public_url PUBLIC
		provider google {
			client_id bellhop-google
			client_secret bellhop-secret
			authorization_endpoint PROVIDER/authorize
			token_endpoint PROVIDER/token
			revocation_endpoint PROVIDER/revoke
			scopes https://mail.google.com/ https://www.googleapis.com/auth/postmaster.domain
		}
		provider microsoft {
			tenant organizations
			client_id bellhop-microsoft
			client_secret bellhop-secret
			authorization_endpoint PROVIDER/organizations/oauth2/v2.0/authorize
			token_endpoint PROVIDER/organizations/oauth2/v2.0/token
			scopes https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All
		}
		provider acme oauth2 {
			issuer PROVIDER
			client_id bellhop
			client_secret bellhop-secret
			scopes openid email profile offline_access mail.read
			api_host api.acme.example
		}
	}
}

http://{{addr}} {
	bind 127.0.0.1
	log {
		output file {{dir}}/logs/access.log
		format json
		level DEBUG
	}
	bellhop {
		connect {
			app_name "Acme Mail"
			return_to RETURN/*
		}
		token_endpoint
		proxy off
	}
	respond "not bellhop" 404
}
`

// connectSite is a Bellhop with connectCaddyfile, its provider, and the
// operator's application.
type connectSite struct {
	*bellhop
	provider providerProcess
	// application is where people are sent in the end; it shows what it is
	// told.
	application *httptest.Server
	// secrets are those that must not turn up in a log.
	mu      sync.Mutex
	secrets []canary
}

func startConnectSite(t *testing.T) *connectSite {
	t.Helper()
	s := &connectSite{provider: startProvider(t)}
	s.application = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>The application</title><link rel="icon" href="data:,"></head><body><h1>state is %s</h1></body></html>`,
			regexp.MustCompile("[^a-z]").ReplaceAllString(r.URL.Query().Get("state"), ""))
	}))
	t.Cleanup(s.application.Close)
	addr := freeAddr(t)
	caddyfile := strings.NewReplacer("PROVIDER", s.provider.URL, "PUBLIC", "http://"+addr, "RETURN", s.application.URL, "{{addr}}", addr).Replace(connectCaddyfile)
	s.bellhop = start(t, caddyfile)
	s.addr, s.url = addr, "http://"+addr
	for _, client := range []fakeprovider.Client{
		{ID: "bellhop", Secrets: []string{"bellhop-secret"}},
		{ID: "bellhop-google", Secrets: []string{"bellhop-secret"}, Dialect: fakeprovider.Google},
		{ID: "bellhop-microsoft", Secrets: []string{"bellhop-secret"}, Dialect: fakeprovider.Microsoft},
	} {
		client.RedirectURIs, client.RequirePKCE = []string{s.url + callbackPath}, true
		if err := s.provider.RegisterClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// runningApp is the app of the configuration that runs.
func runningApp(t *testing.T) *App {
	t.Helper()
	app, err := caddy.ActiveContext().App("bellhop")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App)
}

// invites makes a link, and returns its path.
func (s *connectSite) invites(l consent.Link) string {
	s.t.Helper()
	app := runningApp(s.t)
	opened, err := app.run.open()
	if err != nil {
		s.t.Fatal(err)
	}
	sealed, err := app.consent(opened).Invite(s.t.Context(), l)
	if err != nil {
		s.t.Fatal(err)
	}
	s.hides("link", sealed)
	return strings.TrimPrefix(app.linkURL(sealed), s.url)
}

// hides remembers a secret for inNoLog.
func (s *connectSite) hides(name, value string) {
	if value == "" {
		return
	}
	watched.Load().hides(name, value)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = append(s.secrets, canary{fmt.Sprintf("%s %d", name, len(s.secrets)), value})
}

// inNoLog stops the server and looks for the secrets in all that it logged.
func (s *connectSite) inNoLog() {
	s.t.Helper()
	s.stop()
	logs := sinks{text: map[string][]byte{}, dirs: []string{filepath.Join(s.dir, "logs")}}
	if where := logs.find(s.t, s.secrets); len(where) > 0 {
		s.t.Errorf("secrets stand in logs: %v", where)
	}
	// Whoever looks must be able to find.
	planted := logs.find(s.t, []canary{{"the audit", `"route":"connect"`}})
	if len(s.secrets) == 0 || len(planted) == 0 {
		s.t.Errorf("%d secrets were looked for; the audit stands in %v", len(s.secrets), planted)
	}
}

// grant is what is kept of an account; nil for nothing.
func (s *connectSite) grant(id string) *account.Grant {
	s.t.Helper()
	opened, err := runningApp(s.t).run.open()
	if err != nil {
		s.t.Fatal(err)
	}
	g, err := opened.broker.Grant(s.t.Context(), id)
	if err != nil {
		return nil
	}
	return g
}

// visitor is a browser without pictures: it keeps cookies and sends what tells
// a site's own forms from others'.
type visitor struct {
	*connectSite
	cookies map[string]string
}

func (s *connectSite) visitor() *visitor { return &visitor{s, make(map[string]string)} }

// visit requests a path of the site, and keeps its cookies.
func (v *visitor) visit(method, path string, form url.Values, header ...string) reply {
	v.t.Helper()
	for name, value := range v.cookies {
		header = append(header, "Cookie", name+"="+value)
	}
	var r reply
	if form != nil {
		header = append(header, "Content-Type", "application/x-www-form-urlencoded")
		r = v.do(method, path, strings.NewReader(form.Encode()), header...)
	} else {
		r = v.do(method, path, nil, header...)
	}
	for _, line := range r.header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			v.t.Fatal(err)
		}
		if c.MaxAge < 0 {
			delete(v.cookies, c.Name)
			continue
		}
		v.cookies[c.Name] = c.Value
		v.hides("cookie", c.Value)
	}
	return r
}

var (
	formPattern  = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)">(.*?)</form>`)
	inputPattern = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// submit sends the one form of a page of ours.
func (v *visitor) submit(page reply) reply {
	v.t.Helper()
	forms := formPattern.FindAllSubmatch(page.body, -1)
	if len(forms) != 1 {
		v.t.Fatalf("%d forms on the page, want one: %d %s", len(forms), page.status, page.body)
	}
	fields := url.Values{}
	for _, input := range inputPattern.FindAllSubmatch(forms[0][2], -1) {
		fields.Set(string(input[1]), string(input[2]))
		if string(input[1]) == "undo" {
			v.hides("undo", string(input[2]))
		}
	}
	return v.visit(http.MethodPost, string(forms[0][1]), fields, "Origin", "null", "Sec-Fetch-Site", "same-origin")
}

// begin opens a link and goes on to the provider, whose address it returns.
func (v *visitor) begin(link string) (authorizeURL string) {
	v.t.Helper()
	page := v.visit(http.MethodGet, link, nil)
	if page.status != http.StatusOK {
		v.t.Fatalf("opening the link: %d %s", page.status, page.body)
	}
	r := v.submit(page)
	if r.status != http.StatusSeeOther {
		v.t.Fatalf("going on: %d %s", r.status, r.body)
	}
	location, err := url.Parse(r.header.Get("Location"))
	if err != nil {
		v.t.Fatal(err)
	}
	v.hides("state", location.Query().Get("state"))
	return location.String()
}

// decide decides at the provider, and returns the path that the browser is sent
// back to.
func (v *visitor) decide(authorizeURL string, d fakeprovider.Decision) (callback string) {
	v.t.Helper()
	location, err := v.provider.Consent(v.t.Context(), authorizeURL, d)
	if err != nil {
		v.t.Fatal(err)
	}
	path, ok := strings.CutPrefix(location, v.url)
	if !ok {
		v.t.Fatalf("the provider sends the browser to %s", location)
	}
	u, err := url.Parse(path)
	if err != nil {
		v.t.Fatal(err)
	}
	v.hides("code", u.Query().Get("code"))
	return path
}

// consents goes the whole way of a link, and returns its end.
func (v *visitor) consents(link string, d fakeprovider.Decision) reply {
	v.t.Helper()
	return v.visit(http.MethodGet, v.decide(v.begin(link), d), nil)
}

var tagPattern = regexp.MustCompile(`(?s)<(style|title)>.*?</(style|title)>|<[^>]*>`)

// shows checks a page's status and some of its text.
func (s *connectSite) shows(r reply, status int, texts ...string) {
	s.t.Helper()
	shown := strings.Join(strings.Fields(html.UnescapeString(tagPattern.ReplaceAllString(string(r.body), " "))), " ")
	if r.status != status {
		s.t.Errorf("status %d, want %d: %s", r.status, status, shown)
	}
	for _, text := range texts {
		if !strings.Contains(shown, text) {
			s.t.Errorf("the page does not say %q: %s", text, shown)
		}
	}
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		s.t.Errorf("Cache-Control is %q", got)
	}
}

// sentOn checks where the browser is sent, and returns the query.
func (s *connectSite) sentOn(r reply, to string) url.Values {
	s.t.Helper()
	location, err := url.Parse(r.header.Get("Location"))
	if err != nil || r.status != http.StatusSeeOther || !strings.HasPrefix(location.String(), to+"?") {
		s.t.Fatalf("%d to %q, want 303 to %s: %s", r.status, r.header.Get("Location"), to, r.body)
	}
	s.hides("confirm", location.Query().Get("confirm"))
	return location.Query()
}
