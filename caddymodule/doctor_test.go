package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// examinedCaddyfile is standardCaddyfile with all that the doctor asks at the
// fake provider.
func examinedCaddyfile(t *testing.T, p providerProcess) string {
	t.Helper()
	caddyfile := standardCaddyfile(p)
	for _, path := range []string{"/token\n\t\t\trevocation_endpoint", "/organizations/oauth2/v2.0/token\n", "/token\n\t\t\tscopes mail.read"} {
		caddyfile = changed(t, caddyfile, "token_endpoint "+p.URL+path, "authorization_endpoint "+p.URL+"/authorize\n\t\t\ttoken_endpoint "+p.URL+path)
	}
	return caddyfile
}

// examine runs the doctor.
func (b *bellhop) examine() []checked {
	b.t.Helper()
	r := b.adminReply(http.MethodGet, "/v1/doctor", nil)
	var answer struct{ Checks []checked }
	if err := json.Unmarshal(r.body, &answer); err != nil || r.status != http.StatusOK {
		b.t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return answer.Checks
}

// finds sees that a check came to a result, and that what it says and what
// mends it have the words.
func (b *bellhop) finds(check, subject, status string, words ...string) {
	b.t.Helper()
	all := b.examine()
	for _, c := range all {
		if c.Check != check || subject != "" && c.Subject != subject {
			continue
		}
		text := c.Says + " → " + c.Mend
		for _, word := range words {
			if c.Status != status || !strings.Contains(text, word) {
				b.t.Errorf("%s %s is %s: %s; want %s with %q", c.Check, c.Subject, c.Status, text, status, word)
			}
		}
		return
	}
	b.t.Errorf("no check %s of %q in %+v", check, subject, all)
}

func TestDoctorFindsNothingWhereAllIsWell(t *testing.T) {
	p := startProvider(t)
	p.registerMicrosoft(t)
	t.Setenv("SECRET", "bellhop-secret")
	b := start(t, strings.ReplaceAll(examinedCaddyfile(t, p), "client_secret bellhop-secret", "client_secret {env.SECRET}"))
	b.connect(p, "alice", "google")
	b.addKey("ci", map[string]any{"accounts": []string{"alice"}})
	before := p.tokenRequests(t)
	for _, c := range b.examine() {
		reviewed := c.Check == "scopes" && c.Subject == "google" // mail.google.com is restricted
		if c.Status != checkOK && !reviewed {
			t.Errorf("%+v", c)
		}
	}
	requests, err := p.TokenRequests(t.Context(), true)
	if err != nil || len(requests) == before {
		t.Fatal(len(requests), err)
	}
	for _, r := range requests[before:] {
		if r.RefreshToken != "" {
			t.Errorf("a refresh token was sent: %+v", r)
		}
	}
}

// TestDoctorKnowsTheMistakesOfTheFirstHour is about what a provider says.
func TestDoctorKnowsTheMistakesOfTheFirstHour(t *testing.T) {
	p := startProvider(t)
	p.registerMicrosoft(t)
	b := start(t, examinedCaddyfile(t, p))
	for name, test := range map[string]struct {
		provider string
		fault    fakeprovider.Fault
		status   string
		words    []string
	}{
		"secret ID for its value": {"microsoft", fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "invalid_client", Codes: []int{7000215}}, checkFail, []string{"ID instead of its value", "AADSTS7000215", "column Value", "entra.microsoft.com"}},
		"unknown app":             {"microsoft", fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "unauthorized_client", Codes: []int{700016}}, checkFail, []string{"not known in this tenant", "AADSTS700016", "tenant"}},
		"no such tenant":          {"microsoft", fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "invalid_request", Codes: []int{90002}}, checkFail, []string{"tenant does not exist", "AADSTS90002"}},
		"ended secret":            {"microsoft", fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "invalid_client", Codes: []int{7000222}}, checkFail, []string{"has expired", "Create a new client secret"}},
		"public client":           {"microsoft", fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "invalid_client", Codes: []int{700025}}, checkFail, []string{"public client", "platform Web"}},
		"code looked at first":    {"microsoft", fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "invalid_grant", Codes: []int{9002313}}, checkOK, []string{"only with a real consent"}},
		"wrong secret":            {"google", fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "invalid_client", Description: "Unauthorized"}, checkFail, []string{"does not belong to the client ID", "console.cloud.google.com/auth/clients"}},
		"generic":                 {"acme", fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "invalid_client"}, checkFail, []string{"client ID or its credentials", "client_id"}},
		"provider is down":        {"acme", fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 503, Body: "no"}, checkFail, []string{"no OAuth answer"}},
		"broken off":              {"acme", fakeprovider.Fault{Kind: fakeprovider.Drop}, checkFail, []string{"broke the connection off", "firewall"}},
		"known client":            {"acme", fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "invalid_grant"}, checkOK, []string{"knows the client"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.fault.Times = -1
			if test.provider == "microsoft" {
				test.fault.PathPrefix = "/organizations/"
			}
			if _, err := p.QueueFaults(t.Context(), test.fault); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.ClearFaults(context.WithoutCancel(t.Context())) }()
			sub := *b
			sub.t = t
			sub.finds("client", test.provider, test.status, test.words...)
		})
	}
	b.finds("redirect_uri", "google", checkOK, "http://127.0.0.1:<port>/oauth/callback", "redirect_uri_mismatch", "console.cloud.google.com")
	b.finds("redirect_uri", "microsoft", checkOK, "http://localhost:<port>/oauth/callback", "AADSTS50011", "entra.microsoft.com")
	b.finds("scopes", "google", checkWarn, "https://mail.google.com/", "auth/verification")
	b.finds("device", "google", checkOK, "cannot be used", "https://mail.google.com/", "--paste")
	b.finds("secrets", "provider google", checkWarn, "written out", "{env.NAME}")
	b.finds("key", "", checkWarn, "no caller has a key")
	b.finds("accounts", "", checkOK, "no account yet", "oauth connect")
}

func TestDoctorComparesClocks(t *testing.T) {
	p := startProvider(t)
	b := start(t, examinedCaddyfile(t, p))
	for name, test := range map[string]struct {
		ahead  time.Duration
		status string
		word   string
	}{
		"ahead":  {-5 * time.Minute, checkFail, "ahead"},
		"behind": {5 * time.Minute, checkFail, "behind"},
		"slight": {time.Minute, checkWarn, "timedatectl"},
		"right":  {0, checkOK, "agree"},
	} {
		t.Run(name, func(t *testing.T) {
			date := time.Now().Add(test.ahead).UTC().Format(http.TimeFormat)
			fault := fakeprovider.Fault{Times: -1, Kind: fakeprovider.OAuthError, Error: "invalid_grant", Header: map[string]string{"Date": date}}
			if test.status == checkOK {
				fault.Header = nil
			} else {
				fault = fakeprovider.Fault{Times: -1, Kind: fakeprovider.Respond, Status: 400, Body: `{"error":"invalid_grant"}`, Header: map[string]string{"Date": date, "Content-Type": "application/json"}}
			}
			if _, err := p.QueueFaults(t.Context(), fault); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.ClearFaults(context.WithoutCancel(t.Context())) }()
			sub := *b
			sub.t = t
			sub.finds("clock", "acme", test.status, test.word)
		})
	}
}

func TestDoctorFindsAProviderThatCannotBeReached(t *testing.T) {
	p := startProvider(t)
	closed := "http://" + freeAddr(t)
	b := start(t, changed(t, examinedCaddyfile(t, p), "token_endpoint "+p.URL+"/token\n\t\t\tscopes mail.read", "token_endpoint "+closed+"/token\n\t\t\tscopes mail.read"))
	b.finds("client", "acme", checkFail, "No connection to "+strings.TrimPrefix(closed, "http://"), "HTTPS_PROXY")
	b.finds("client", "google", checkOK, "knows the client")
	b.finds("authorization_endpoint", "google", checkOK, p.URL+"/authorize")
	b.stop()
	b = start(t, changed(t, examinedCaddyfile(t, p), "authorization_endpoint "+p.URL, "authorization_endpoint "+closed))
	b.finds("authorization_endpoint", "google", checkWarn, "No connection to", "browsers may go another way")
}

func TestDoctorLooksAtSecretsThatEnd(t *testing.T) {
	p := startProvider(t)
	today := time.Now()
	caddyfile := examinedCaddyfile(t, p)
	for name, days := range map[string]int{"google": -1, "microsoft": 10, "acme": 400} {
		line := fmt.Sprintf("client_secret_expires %s", today.AddDate(0, 0, days).Format(time.DateOnly))
		head := "provider " + name + " {"
		if name == "acme" {
			head = "provider acme oauth2 {"
		}
		caddyfile = changed(t, caddyfile, head, head+"\n\t\t\t"+line)
	}
	b := start(t, caddyfile)
	b.finds("client_secret_expires", "google", checkFail, "ended on", "new client secret")
	b.finds("client_secret_expires", "microsoft", checkWarn, "ends on", "Certificates & secrets")
	b.finds("client_secret_expires", "acme", checkOK, "good until")
}

func TestDoctorLooksAtTheConfiguration(t *testing.T) {
	p := startProvider(t)
	socket := start(t, changed(t, examinedCaddyfile(t, p), "|0600", "|0660", "\t\ttoken_endpoint\n", ""))
	socket.finds("admin", "", checkWarn, "0660", "|0600")
	socket.finds("sites", "", checkOK, "ApiEndpointDisabled")
	socket.stop()

	public := func(url string) *bellhop {
		return start(t, changed(t, examinedCaddyfile(t, p), "\t\tkeyset {{dir}}", "\t\tpublic_url "+url+"\n\t\tkeyset {{dir}}", "\t\ttoken_endpoint\n", "\t\ttoken_endpoint\n\t\tconnect\n"))
	}
	b := public("https://connect.example.com")
	b.finds("public_url", "https://connect.example.com", checkFail, "the site with `connect` is 127.0.0.1", "Make public_url")
	b.finds("redirect_uri", "google", checkOK, "https://connect.example.com/oauth/callback")
	b.stop()
	b = public("http://127.0.0.1:8080")
	b.finds("public_url", "", checkOK, "127.0.0.1")
	b.stop()

	b = start(t, changed(t, examinedCaddyfile(t, p), "\t\tkeyset {{dir}}", "\t\tpublic_url https://connect.example.com\n\t\tkeyset {{dir}}"))
	b.finds("public_url", "", checkWarn, "no site has `connect`")
	b.stop()
}

func TestDoctorLooksAtTheKeyset(t *testing.T) {
	p := startProvider(t)
	b := start(t, examinedCaddyfile(t, p))
	path := filepath.Join(b.dir, "keyset.json")
	b.finds("keyset", path, checkOK, "Keep a copy")
	b.finds("store", filepath.Join(b.dir, "store"), checkOK, "reserve of 64 MiB")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	b.finds("keyset", path, checkFail, "0644", "chmod 600", "keyset rotate")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	b.finds("keyset", path, checkFail, "gone", "Put it back")
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
}

func TestDoctorLooksAtAccountsAndKeys(t *testing.T) {
	p := startProvider(t)
	b := start(t, examinedCaddyfile(t, p))
	loaded, err := caddy.ActiveContext().AppIfConfigured("bellhop")
	if err != nil {
		t.Fatal(err)
	}
	s, err := loaded.(*App).run.open()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for id, change := range map[string]func(*account.Grant){
		"dead": func(g *account.Grant) {
			g.State = account.AuthenticationError
			g.SetFailed(account.Failed{Audience: account.WholeGrant, Failure: account.Failure{Meaning: account.GrantDead, Reads: "The user ended it."}})
		},
		"restored": func(g *account.Grant) { g.State = account.Restored },
		"pending":  func(g *account.Grant) { g.State = account.Pending },
		"unticked": func(g *account.Grant) { g.Missing = []string{"https://mail.google.com/"} },
		"testing":  func(g *account.Grant) { g.Refreshed, g.Lapses = now, now.Add(7*24*time.Hour) },
		"lapsing":  func(g *account.Grant) { g.Refreshed, g.Lapses = now.AddDate(0, 0, -60), now.AddDate(0, 0, 3) },
		"orphan":   func(g *account.Grant) { g.Provider = "gone" },
		"moved":    func(g *account.Grant) { g.ClientID = "another" },
		"off":      func(g *account.Grant) { g.State = account.Disabled },
		"it's":     func(g *account.Grant) { g.State = account.Restored },
	} {
		g := &account.Grant{ID: id, Provider: "google", State: account.Connected, ClientID: "bellhop", Generation: 1}
		change(g)
		if _, err := s.vault.Save(t.Context(), nil, g, 0, time.Time{}, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	b.addKey("none", map[string]any{})
	b.addKey("typo", map[string]any{"accounts": []string{"ded", "off"}})
	b.addKey("all", map[string]any{"accounts": []string{"*"}})

	b.finds("account", "dead", checkFail, "The user ended it.", "`bellhop oauth connect google dead`")
	b.finds("account", "restored", checkWarn, "another instance", "`bellhop oauth account adopt restored`")
	b.finds("account", "it's", checkWarn, `adopt 'it'\''s'`)
	b.finds("account", "pending", checkWarn, "confirmed", "/confirm")
	b.finds("account", "unticked", checkWarn, "did not grant https://mail.google.com/", "each box")
	b.finds("account", "testing", checkWarn, "Testing", "auth/audience")
	b.finds("account", "lapsing", checkWarn, "ends on")
	b.finds("account", "orphan", checkFail, "gone is not in the configuration")
	b.finds("account", "moved", checkFail, "another client_id")
	b.finds("key", "none", checkWarn, "reaches no account", "--account")
	b.finds("key", "typo", checkWarn, `"ded"`)
	for _, c := range b.examine() {
		if c.Subject == "off" || c.Subject == "all" {
			t.Errorf("%+v", c)
		}
	}
	c := b.commands()
	out, err := c.run("doctor")
	if err == nil || !strings.Contains(err.Error(), "checks failed") || !strings.HasPrefix(out, "fail  ") || !strings.Contains(out, "      → ") {
		t.Errorf("%v\n%s", err, out)
	}
	var found struct{ Fail int }
	if out, err := c.run("doctor", "--json"); err == nil || json.Unmarshal([]byte(out), &found) != nil || found.Fail == 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
