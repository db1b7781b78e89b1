package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/bellhop-proxy/bellhop/internal/emailengine/emailenginetest"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// said is what a command printed.
type said struct {
	stdout, stderr string
	err            error
}

// all is everything that a person would see.
func (s *said) all() string { return s.stdout + s.stderr + fmt.Sprint(s.err) }

// say runs a command and keeps both of its outputs.
func (c *commands) say(args ...string) said {
	c.t.Helper()
	root := &cobra.Command{Use: "oauth", SilenceUsage: true, SilenceErrors: true}
	oauthCommand.CobraFunc(root)
	var stdout, stderr bytes.Buffer
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetIn(strings.NewReader(c.stdin))
	root.SetArgs(append(append([]string{}, c.flags...), args...))
	err := root.ExecuteContext(c.t.Context())
	s := said{stdout.String(), stderr.String(), err}
	watched.Load().said(args, s.all())
	return s
}

// report runs an import with --json.
func (c *commands) report(args ...string) (importReport, said) {
	c.t.Helper()
	s := c.say(append(args, "--json")...)
	var r importReport
	if err := json.Unmarshal([]byte(s.stdout), &r); err != nil {
		c.t.Fatalf("%v: %s%s%v", err, s.stdout, s.stderr, s.err)
	}
	return r, s
}

// remarks are results and reasons, by account and key.
func (r *importReport) remarks() map[string]string {
	found := make(map[string]string)
	for _, a := range r.Accounts {
		found[a.Account] = string(a.Result) + ": " + a.Reason
	}
	for _, k := range r.Keys {
		found["key "+k.Name] = string(k.Result) + ": " + k.Reason
	}
	return found
}

// The secrets of an EmailEngine all have this in them.
const eengineCanary = "CANARY"

// emailEngineToken is one of its API tokens.
func emailEngineToken(digits string) string { return strings.Repeat(digits, 64/len(digits)) }

// anEmailEngine fills a database: with accounts of all kinds, apps and tokens.
func anEmailEngine(t *testing.T, r *emailenginetest.Redis, p providerProcess) {
	t.Helper()
	expires := time.Now().Add(time.Hour).UTC().Format(timestamp)
	r.App("AAAG", map[string]any{"name": "Gmail", "provider": "gmail", "clientId": "bellhop", "clientSecret": eengineCanary, "baseScopes": "imap"})
	r.App("AAAM", map[string]any{"name": "Office", "provider": "outlook", "clientId": "bellhop-microsoft", "clientSecret": eengineCanary, "authority": "organizations"})
	r.App("AAAN", map[string]any{
		"name": "Größe 2", "provider": "gmail", "clientId": "new.apps.googleusercontent.com", "clientSecret": eengineCanary, "baseScopes": "api",
		"extraScopes": []string{"https://www.googleapis.com/auth/calendar"}, "skipScopes": []string{"none"},
	})
	r.App("AAAS", map[string]any{"name": "Domain", "provider": "gmailService", "serviceClient": "1034", "serviceClientEmail": "sa@p.iam.gserviceaccount.com", "serviceKey": eengineCanary})
	_, refreshToken := p.grant(t, fakeprovider.Grant{Email: "alice@example.com", Scope: mailScope})
	oauth2 := func(app, user string, more map[string]any) map[string]any {
		record := map[string]any{
			"provider": app, "auth": map[string]any{"user": user}, "accessToken": "ya29." + eengineCanary, "refreshToken": "1//0g" + eengineCanary,
			"expires": expires, "scope": []string{mailScope, "openid"}, "tokenType": "Bearer",
		}
		maps.Copy(record, more)
		return record
	}
	r.Account("alice", map[string]string{"name": "Alice A."}, oauth2("AAAG", "alice@example.com", map[string]any{"refreshToken": refreshToken}))
	r.Account("team/jörg", nil, oauth2("AAAM", "j@example.com", map[string]any{"scope": []string{"https://outlook.office.com/IMAP.AccessAsUser.All"}}))
	r.Account("shared", map[string]string{"state": "authenticationError", "imap": `{"disabled":true}`}, oauth2("AAAM", "me@example.com", map[string]any{"auth": map[string]any{"user": "me@example.com", "delegatedUser": "sales@example.com"}}))
	r.Account("new", nil, oauth2("AAAN", "n@example.com", nil))
	r.Account("subject", nil, map[string]any{"provider": "AAAS", "auth": map[string]any{"user": "s@example.com"}})
	r.Account("gone", nil, oauth2("AAAX", "g@example.com", nil))
	r.Account("password", map[string]string{"imap": `{"auth":{"user":"p","pass":"` + eengineCanary + `"}}`}, nil)
	r.Account("server", nil, map[string]any{"useAuthServer": true, "auth": map[string]any{"user": "x@example.com"}})
	r.Account("borrows", nil, map[string]any{"provider": "AAAM", "auth": map[string]any{"user": "x@example.com", "delegatedAccount": "shared"}})
	r.Account("unfinished", nil, map[string]any{"provider": "AAAG", "auth": map[string]any{"user": "x@example.com"}})
	r.Account("slash/", nil, oauth2("AAAG", "x@example.com", nil))
	r.Account("all*", nil, oauth2("AAAG", "x@example.com", nil))

	r.Token(emailEngineToken("c1"), map[string]any{"created": uint64(1), "scopes": []string{"api"}, "description": "CI: Größe!", "account": "alice"})
	r.Token(emailEngineToken("c2"), map[string]any{"scopes": []string{"*"}, "restrictions": map[string]any{"addresses": []string{"127.0.0.1"}, "referrers": []string{"x"}, "rateLimit": map[string]any{"maxRequests": 1}}})
	r.Token(emailEngineToken("c3"), map[string]any{"scopes": []string{"api", "smtp"}, "description": "narrow", "permissions": map[string]any{"actions": []string{"read"}}})
	r.Token(emailEngineToken("c4"), map[string]any{"scopes": []string{"smtp"}, "description": "mail"})
	r.Token(emailEngineToken("c5"), map[string]any{"scopes": []string{"api"}, "description": "past", "expires": uint64(1795000000)})
	r.Token(emailEngineToken("c6"), map[string]any{"scopes": []string{"api"}, "description": "wild", "account": "all*"})
	r.Token(emailEngineToken("c7"), map[string]any{"scopes": []string{"api"}, "description": "other", "account": "password"})
	r.Token(emailEngineToken("c8"), map[string]any{"scopes": []string{"api"}, "description": "here", "restrictions": map[string]any{"addresses": []string{"somewhere"}}})
	r.Token(emailEngineToken("c9"), map[string]any{"scopes": "api", "description": "odd", "restrictions": 7})
	r.Setting("disableTokens", true)
}

// reads checks that each record's remark begins and goes on as it should, and
// that there are no others.
func reads(t *testing.T, got map[string]string, want map[string][]string) {
	t.Helper()
	for record, parts := range want {
		found := ""
		for name, remark := range got {
			if name == record || strings.HasPrefix(record, "key ") && strings.HasPrefix(name, record+"-") {
				found = remark
				delete(got, name)
			}
		}
		for i, part := range parts {
			if i == 0 && !strings.HasPrefix(found, part) || !strings.Contains(found, part) {
				t.Errorf("%s: %q, want %q", record, found, parts)
			}
		}
	}
	for name, remark := range got {
		t.Errorf("unexpected: %s: %s", name, remark)
	}
}

func TestImportOfAnEmailEngine(t *testing.T) {
	for name, sealed := range map[string]string{"plain": "", "sealed": eengineCanary + "-eengine-secret"} {
		t.Run(name, func(t *testing.T) {
			p := startProvider(t)
			p.registerMicrosoft(t)
			b := start(t, standardCaddyfile(p))
			r := emailenginetest.Start(t)
			r.Secret = sealed
			anEmailEngine(t, r, p)
			changes := r.Changes()
			c := b.commands()
			args := []string{"import", "emailengine", "--redis", r.URL}
			if sealed != "" {
				file := filepath.Join(t.TempDir(), "secret")
				if err := os.WriteFile(file, []byte(sealed+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--secret-file", file)
			}
			want := func(result string) map[string][]string {
				return map[string][]string{
					"alice":           {result + ": "},
					"team/jörg":       {result + ": "},
					"shared":          {result + ": ", `"sales@example.com"`, "imap.disabled", "authenticationError"},
					"all*":            {result + ": "},
					"new":             {"refused: ", `"Größe 2"`, "new.apps.googleusercontent.com"},
					"subject":         {"refused: ", `"Domain"`},
					"gone":            {"refused: ", `"AAAX"`},
					"slash/":          {"refused: ", `begins or ends with "/"`},
					"password":        {"skipped: ", "password"},
					"server":          {"skipped: ", "useAuthServer"},
					"borrows":         {"skipped: ", "delegatedAccount", `"shared"`},
					"unfinished":      {"skipped: ", "no refresh token"},
					"key ci-gr-e":     {result + ": "},
					"key emailengine": {result + ": ", "referrers", "rate limit"},
					"key narrow":      {result + ": ", "no access token", "smtp"},
					"key mail":        {"skipped: ", "smtp"},
					"key past":        {"skipped: ", "ended at"},
					"key wild":        {"refused: ", "*"},
					"key other":       {"skipped: ", `"password"`},
					"key here":        {"refused: ", "addresses"},
					"key odd":         {"refused: ", "restrictions"},
				}
			}
			check := func(what, result string, report importReport, s said) {
				t.Helper()
				if s.err == nil || !strings.Contains(s.err.Error(), ": 7 refused, 0 in conflict") {
					t.Errorf("%s: %v, want it to fail for what was refused", what, s.err)
				}
				reads(t, report.remarks(), want(result))
				if strings.Contains(s.all(), eengineCanary) || strings.Contains(s.all(), "$wd01$") {
					t.Errorf("%s prints a secret:\n%s", what, s.all())
				}
			}
			planned, s := c.report(append(args, "--dry-run")...)
			check("a dry run", "added", planned, s)
			if accounts, keys := b.admin("GET", "/v1/accounts", nil), b.admin("GET", "/v1/tokens", nil); accounts["total"] != 0. || keys["total"] != 0. {
				t.Errorf("a dry run left %v and %v", accounts, keys)
			}
			done, s := c.report(args...)
			check("the import", "added", done, s)
			before := b.admin("GET", "/v1/accounts", nil)
			again, s := c.report(args...)
			check("the second import", "unchanged", again, s)
			if diff := cmp.Diff(before, b.admin("GET", "/v1/accounts", nil)); diff != "" {
				t.Errorf("the second import changed (-before +after):\n%s", diff)
			}
			if len(planned.Notes) != 1 || !strings.Contains(planned.Notes[0], "disableTokens") {
				t.Errorf("notes: %v", planned.Notes)
			}

			// EmailEngine's tokens go on working, and open what they opened.
			ci, all, narrow := emailEngineToken("c1"), emailEngineToken("c2"), emailEngineToken("c3")
			if r := b.get(tokenURL("alice"), ci); r.status != http.StatusOK || !strings.Contains(string(r.body), `"accessToken":"ya29.`+eengineCanary+`"`) || !strings.Contains(string(r.body), `"user":"alice@example.com"`) {
				t.Errorf("%d %s", r.status, r.body)
			}
			refusedWith(t, b.get(tokenURL("team%2Fj%C3%B6rg"), ci), http.StatusForbidden, "NotAllowed")
			if r := b.get(tokenURL("alice"), all); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
			refusedWith(t, b.get(tokenURL("alice"), narrow), http.StatusForbidden, "NotAllowed")
			refusedWith(t, b.get("/proxy/alice"+gmailCall, narrow), http.StatusForbidden, "NotAllowed")
			for _, digits := range []string{"c4", "c5", "c6", "c7", "c8", "c9"} {
				refusedWith(t, b.get(tokenURL("alice"), emailEngineToken(digits)), http.StatusUnauthorized, "InvalidKey")
			}
			if n := p.tokenRequests(t); n != 0 {
				t.Errorf("%d token requests by imports", n)
			}
			if now := r.Changes(); now != changes {
				t.Error("EmailEngine's database was written to")
			}

			// For people.
			s = c.say(args...)
			for _, line := range []string{
				"ACCOUNT ", "alice ", "KEY ", "4 unchanged, ", "4 refused, 4 skipped", "oauth account adopt --all", "disableTokens",
				"provider gr-e-2 google {\n\tclient_id new.apps.googleusercontent.com\n\tclient_secret {env.GR_E_2_CLIENT_SECRET}\n\tscopes https://www.googleapis.com/auth/gmail.modify https://www.googleapis.com/auth/calendar\n}\n",
				"provider domain google_service_account {\n\tcredentials_file {env.DOMAIN_CREDENTIALS_FILE}\n\tscopes https://mail.google.com/\n}\n",
			} {
				if !strings.Contains(s.stdout, line) {
					t.Errorf("%q is not in\n%s", line, s.stdout)
				}
			}
			if strings.Contains(s.all(), eengineCanary) || strings.Contains(s.all(), refreshTokenOf(t, r)) {
				t.Errorf("a secret stands in\n%s", s.all())
			}
		})
	}
}

// refreshTokenOf is alice's, as it is stored.
func refreshTokenOf(t *testing.T, r *emailenginetest.Redis) string {
	t.Helper()
	var record struct{ RefreshToken string }
	text, _ := r.Do("HGET", "iad:alice", "oauth2").(string)
	if err := json.Unmarshal([]byte(text), &record); err != nil || record.RefreshToken == "" {
		t.Fatal(err)
	}
	return record.RefreshToken
}

func TestImportOfHundredsOfAccountsGoesInPages(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	r := emailenginetest.Start(t)
	r.App("AAAG", map[string]any{"name": "Gmail", "provider": "gmail", "clientId": "bellhop"})
	const accounts = 600
	long := emailenginetest.Seal(t, "s", strings.Repeat("x", 4000)) // one salt, so that the test takes no minute
	for n := range accounts {
		r.Account(fmt.Sprintf("account-%d", n), nil, map[string]any{
			"provider": "AAAG", "auth": map[string]any{"user": "u@example.com"}, "refreshToken": long, "accessToken": long, "expires": time.Now().Add(time.Hour).Format(time.RFC3339),
		})
	}
	t.Setenv("EENGINE_SECRET", "s")
	t.Setenv("EENGINE_REDIS", r.URL)
	report, s := b.commands().report("import", "emailengine")
	if s.err != nil || len(report.Accounts) != accounts || strings.Count(s.stderr, "records sent") < accounts*8000/maxManagementBody {
		t.Errorf("%d accounts, %v, %s", len(report.Accounts), s.err, s.stderr)
	}
	if list := b.admin("GET", "/v1/accounts?state=restored", nil); list["total"] != float64(accounts) {
		t.Errorf("%v accounts are there", list["total"])
	}
}

func TestImportWithAnotherSecretImportsNothing(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	r := emailenginetest.Start(t)
	r.Secret = "right"
	r.App("AAAG", map[string]any{"name": "Gmail", "provider": "gmail", "clientId": "bellhop"})
	r.Account("alice", nil, map[string]any{"provider": "AAAG", "auth": map[string]any{"user": "u@example.com"}, "refreshToken": "1//0g" + eengineCanary})
	for given, says := range map[string]string{"wrong": "another secret", "": "no secret was given"} {
		report, s := b.commands().report("import", "emailengine", "--redis", r.URL, "--secret", given)
		reads(t, report.remarks(), map[string][]string{"alice": {"refused: oauth2.refreshToken: ", says}})
		if s.err == nil || strings.Contains(s.all(), "$wd01$") {
			t.Errorf("%v\n%s", s.err, s.stdout)
		}
	}
	if list := b.admin("GET", "/v1/accounts", nil); list["total"] != 0. {
		t.Errorf("%v", list)
	}
	t.Run("an app's provider can be said", func(t *testing.T) {
		report, s := b.commands().report("import", "emailengine", "--redis", r.URL, "--secret", "right", "--provider", "AAAG=google")
		if s.err != nil || report.Accounts[0].Provider != "google" {
			t.Errorf("%v %+v", s.err, report)
		}
		if s := b.commands().say("import", "emailengine", "--redis", r.URL, "--provider", "AAAX=google"); s.err == nil || !strings.Contains(s.err.Error(), "AAAX") {
			t.Error(s.err)
		}
	})
}

func TestImportFailsBeforeItReads(t *testing.T) {
	gone := []string{"--address", "unix/" + filepath.Join(t.TempDir(), "admin.sock")}
	c := &commands{t: t, flags: gone}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"no database":  {nil, "--redis is missing"},
		"two secrets":  {[]string{"--redis", "redis://127.0.0.1", "--secret", eengineCanary, "--secret-file", empty}, "exclude each other"},
		"no file":      {[]string{"--redis", "redis://127.0.0.1", "--secret-file", empty + ".gone"}, "EmailEngine's secret"},
		"empty secret": {[]string{"--redis", "redis://127.0.0.1", "--secret-file", empty}, "is empty"},
		"no URL":       {[]string{"--redis", "redis://:" + eengineCanary + "#@127.0.0.1"}, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.say(append([]string{"import", "emailengine"}, test.args...)...)
			if s.err == nil || !strings.Contains(s.err.Error(), test.says) || strings.Contains(s.all(), eengineCanary) || s.stdout != "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestImportOfFiles(t *testing.T) {
	p := startProvider(t)
	p.registerMicrosoft(t)
	b := start(t, standardCaddyfile(p))
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	python := file(`{"token":"ya29.` + eengineCanary + `","refresh_token":"1//0g` + eengineCanary + `","token_uri":"u","client_id":"bellhop-microsoft","client_secret":"` + eengineCanary + `","scopes":["a"],"expiry":"2001-01-01T00:00:00Z"}`)
	elsewhere := file(`{"type":"authorized_user","client_id":"another","client_secret":"` + eengineCanary + `","refresh_token":"1//0g` + eengineCanary + `"}`)
	golang := file(`{"access_token":"ya29.` + eengineCanary + `","refresh_token":"1//0g` + eengineCanary + `","token_type":"Bearer","expiry":"2001-01-01T00:00:00Z"}`)
	rclone := file("[work]\ntype = onedrive\nclient_id = bellhop-microsoft\ntoken = {\"access_token\":\"x\",\"refresh_token\":\"M." + eengineCanary + "\"}\n\n[own]\ntype = drive\ntoken = {\"refresh_token\":\"1//0g" + eengineCanary + "\"}\n")
	list := file(`{"account":"one","provider":"google","user":"one@example.com","refreshToken":"1//0g` + eengineCanary + `"}` + "\n" + `{"account":"two","provider":"gogle","refreshToken":"1//0g` + eengineCanary + `"}`)
	for name, test := range map[string]struct {
		args []string
		want map[string][]string
		says string
	}{
		"google-auth":      {[]string{python, "--account", "py", "--user", "py@example.com"}, map[string][]string{"py": {"added: "}}, ""},
		"another client":   {[]string{elsewhere, "--account", "x"}, map[string][]string{"x": {"refused: ", `"another"`}}, "1 refused"},
		"not this client":  {[]string{elsewhere, "--account", "x", "--provider", "google"}, map[string][]string{"x": {"refused: ", `"another"`, "google has another"}}, "1 refused"},
		"Go":               {[]string{golang, "--account", "go", "--provider", "google"}, map[string][]string{"go": {"added: "}}, ""},
		"Go, no provider":  {[]string{golang, "--account", "go"}, nil, "--provider"},
		"Go, no account":   {[]string{golang, "--provider", "google"}, nil, "--account"},
		"rclone":           {[]string{rclone}, map[string][]string{"work": {"added: "}, "own": {"refused: ", "rclone's own client"}}, "1 refused"},
		"rclone, account":  {[]string{rclone, "--account", "x"}, nil, "this one has 2"},
		"list":             {[]string{list}, map[string][]string{"one": {"added: "}, "two": {"refused: ", "gogle"}}, "1 refused"},
		"list, dry":        {[]string{list, "--dry-run", "--provider", "google"}, map[string][]string{"one": nil, "two": {"added: "}}, ""},
		"no file":          {[]string{list + ".gone"}, nil, "no such file"},
		"not a known file": {[]string{file(eengineCanary)}, nil, "nothing that is known"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"import", "json"}, test.args...)
			s := b.commands().say(append(args, "--json")...)
			if (s.err == nil) != (test.says == "") || s.err != nil && !strings.Contains(s.err.Error(), test.says) {
				t.Errorf("%v, want %q", s.err, test.says)
			}
			if strings.Contains(s.all(), eengineCanary) {
				t.Errorf("a secret stands in\n%s", s.all())
			}
			if test.want == nil {
				return
			}
			var report importReport
			if err := json.Unmarshal([]byte(s.stdout), &report); err != nil {
				t.Fatal(err)
			}
			reads(t, report.remarks(), test.want)
		})
	}
	if shown := b.admin("GET", "/v1/account/py", nil); shown["state"] != "restored" || shown["app"] != "microsoft" || shown["email"] != "py@example.com" {
		t.Errorf("%v", shown)
	}
	if n := p.tokenRequests(t); n != 0 {
		t.Errorf("%d token requests by imports", n)
	}
	t.Run("from standard input", func(t *testing.T) {
		c := b.commands()
		c.stdin = `[{"account":"piped","provider":"google","refreshToken":"1//0gX"}]`
		if s := c.say("import", "json", "-"); s.err != nil || !strings.Contains(s.stdout, "piped    added   google") {
			t.Errorf("%+v", s)
		}
	})
}
