package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/emailengine/emailenginetest"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// live goes through all that happens to accounts and callers, good and bad.
func (run *canaryRun) live() {
	run.registered()
	run.keys["caller"] = run.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	run.keys["reader"] = run.addKey("reader", map[string]any{"accounts": []string{"*"}, "allow": []string{"GET *"}})
	run.keys["connects"] = run.addKey("connects", map[string]any{"accounts": []string{"*"}, "connect": true, "token": true})
	run.consenting()
	run.calling()
	run.narrowing()
	run.misplacedKeys()
	run.batches()
	run.handles()
	run.withoutPeople()
	run.refused()
	run.administering()
	run.commanding()
	run.looking()
}

// grants makes a grant at the provider.
func (run *canaryRun) grants(provider, user string) (id, refreshToken string) {
	run.t.Helper()
	g := fakeprovider.Grant{Email: user, Scope: "https://mail.google.com/ openid email", Client: "bellhop-google"}
	switch provider {
	case "microsoft":
		g.Client, g.Scope = "bellhop-microsoft", "https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All"
	case "acme", "shaky", "moved", "misfit":
		g.Client, g.Scope = "bellhop", "mail.read"
	}
	return run.provider.grant(run.t, g)
}

func (run *canaryRun) faults(faults ...fakeprovider.Fault) {
	run.t.Helper()
	if _, err := run.provider.QueueFaults(run.t.Context(), faults...); err != nil {
		run.t.Fatal(err)
	}
}

// registered are accounts whose provider answers well, and others at which it
// tells what it was sent.
func (run *canaryRun) registered() {
	for id, provider := range map[string]string{
		"alice": "google", "bob": "acme", "graph": "microsoft",
		"dead": "google", "down": "shaky", "moved": "moved", "misfit": "misfit", "odd": "acme",
	} {
		grant, refreshToken := run.grants(provider, id+"@example.com")
		run.addAccount(id, provider, id+"@example.com", refreshToken)
		echo := "not good: " + refreshToken + " of " + run.clientSecret
		switch id {
		case "dead":
			run.faults(fakeprovider.Fault{Grant: grant, Times: -1, Kind: fakeprovider.OAuthError, Error: "invalid_grant", Description: echo, Suberror: refreshToken})
		case "odd":
			run.faults(fakeprovider.Fault{Grant: grant, Times: -1, Kind: fakeprovider.OAuthError, Error: refreshToken, Description: echo})
		case "down":
			run.faults(fakeprovider.Fault{Grant: grant, Times: -1, Kind: fakeprovider.Respond, Status: 503, Body: "<html>" + echo})
		case "alice":
			run.faults(
				fakeprovider.Fault{On: fakeprovider.EndpointAPI, PathPrefix: "/status/201", Kind: fakeprovider.Drop, Times: -1},
				fakeprovider.Fault{On: fakeprovider.EndpointAPI, PathPrefix: "/status/202", Kind: fakeprovider.Truncate, Body: strings.Repeat("x", 4096), Times: -1},
				fakeprovider.Fault{On: fakeprovider.EndpointRevoke, Kind: fakeprovider.Respond, Status: 500, Body: echo, Times: -1},
			)
		}
	}
}

// link asks for a link, and returns its path.
func (run *canaryRun) link(fields map[string]any) string {
	run.t.Helper()
	link := run.admin(http.MethodPost, formPath, fields)["url"].(string)
	run.hides("link", link[strings.LastIndexByte(link, '/')+1:])
	return strings.TrimPrefix(link, run.url)
}

// consenting is what people do with links: one consents at each provider, others
// refuse, come twice, or with the answer of another browser.
func (run *canaryRun) consenting() {
	const back = "http://127.0.0.1/done"
	everybody := map[string]any{"redirectUrl": back, "anyMailbox": true}
	ask := func(account, provider string, more map[string]any) string {
		fields := map[string]any{"account": account, "type": provider}
		for _, m := range []map[string]any{everybody, more} {
			maps.Copy(fields, m)
		}
		return run.link(fields)
	}
	for _, provider := range []string{"google", "microsoft", "acme"} {
		v := run.visitor()
		link := ask("person-"+provider, provider, nil)
		r := v.consents(link, fakeprovider.Decision{Person: "alice@example.com"})
		if run.sentOn(r, back).Get("state") != "new" {
			run.t.Fatalf("%s: consent answers %d, %s: %s", provider, r.status, r.header.Get("Location"), r.body)
		}
		v.visit(http.MethodGet, link, nil) // again
		run.call(http.MethodGet, "/proxy/person-"+provider+"/echo", "", "Authorization", "Bearer "+run.keys["caller"])
	}
	v := run.visitor()
	v.consents(ask("refused", "google", nil), fakeprovider.Decision{Deny: true})
	v.consents(ask("refused", "microsoft", nil), fakeprovider.Decision{Error: "server_error", Description: run.clientSecret})
	pending := v.consents(ask("confirmed", "google", map[string]any{"confirm": true}), fakeprovider.Decision{Person: "bob@example.com"})
	confirm := run.sentOn(pending, back).Get("confirm")
	run.manage(http.MethodPut, "/v1/account/confirmed/confirm", map[string]any{"confirm": confirm + "x"})
	run.manage(http.MethodPut, "/v1/account/confirmed/confirm", map[string]any{"confirm": confirm})

	callback := v.decide(v.begin(ask("stolen", "google", nil)), fakeprovider.Decision{})
	run.visitor().visit(http.MethodGet, callback, nil) // another browser's
	run.faults(fakeprovider.Fault{GrantType: "authorization_code", Kind: fakeprovider.OAuthError, Error: "invalid_request", Description: "code " + callback})
	v.visit(http.MethodGet, callback, nil)
	v.visit(http.MethodGet, callback, nil)
	link := ask("someone-else", "google", map[string]any{"anyMailbox": false, "expectedEmail": "alice@example.com"})
	v.consents(link, fakeprovider.Decision{Person: "bob@example.com"})
	run.call(http.MethodGet, link+"x", "")
	run.call(http.MethodPost, callback, "")
	run.call(http.MethodGet, "/v1/account/dead/oauth-token", "", "Authorization", "Bearer "+run.keys["caller"])
}

// calling is what callers with a key do.
func (run *canaryRun) calling() {
	caller := run.keys["caller"]
	for _, id := range []string{"alice", "bob", "graph", "dead", "down", "moved", "misfit", "odd", "nobody"} {
		run.call(http.MethodGet, tokenURL(id), "", "Authorization", "Bearer "+caller)
		run.call(http.MethodGet, tokenURL(id)+"?force=true", "", "X-Bellhop-Key", caller)
		run.call(http.MethodGet, tokenURL(id)+"?access_token="+caller, "")
		run.call(http.MethodGet, "/proxy/"+id+"/status/200", "", "Authorization", "Bearer "+caller)
		run.call(http.MethodPost, "/proxy/"+id+"/status/200", "{}", "Authorization", "Bearer "+run.keys["reader"])
		run.manage(http.MethodGet, "/v1/account/"+id, nil)
		run.manage(http.MethodPost, "/v1/account/"+id+"/refresh", nil)
	}
	for _, path := range []string{"/proxy/alice/gmail.googleapis.com/echo", "/proxy/graph/v1.0/me/echo", "/proxy/bob/echo"} {
		for _, status := range []string{"200", "400", "403", "404", "429", "500", "503"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				if r := run.call(method, path+"?status="+status, "a body", "X-Bellhop-Key", caller); fmt.Sprint(r.status) != status {
					run.t.Errorf("%s: the echo of %s was not passed on: %d %s", path, status, r.status, r.body)
				}
			}
		}
	}
	for _, path := range []string{"/status/201", "/status/202"} {
		_, _ = run.send(run.t.Context(), http.MethodGet, "/proxy/alice/www.googleapis.com"+path, nil, "X-Bellhop-Key", caller)
	}
	run.call(http.MethodGet, "/proxy/alice/people.googleapis.com/v1/people/me", "", "X-Bellhop-Key", caller, "X-Other", caller)
	run.call(http.MethodGet, "/proxy/alice/people.googleapis.com/v1/people/me", "", "X-Bellhop-Key", caller)      // nobody listens
	run.call(http.MethodGet, "/proxy/alice/sheets.googleapis.com/v4/spreadsheets/1", "", "X-Bellhop-Key", caller) // nor there
	run.call(http.MethodGet, "/proxy/alice/evil.example/", "", "X-Bellhop-Key", caller)
	run.call(http.MethodGet, "/proxy/alice/oauth2.googleapis.com/token", "", "X-Bellhop-Key", caller)
	elsewhere := "http://" + run.witness.conns.String() + "/"
	run.call(http.MethodGet, "/proxy/alice/www.googleapis.com/status/302?location="+url.QueryEscape(elsewhere), "", "X-Bellhop-Key", caller)
	for _, grant := range must(run.provider.Grants(run.t.Context(), false)) {
		if err := run.provider.RevokeAccessTokens(run.t.Context(), grant.ID); err != nil {
			run.t.Fatal(err)
		}
	}
	for _, id := range []string{"alice", "graph", "bob"} { // 401, and once more
		if r := run.call(http.MethodPost, "/proxy/"+id+"/status/200", "{}", "X-Bellhop-Key", caller); r.status != http.StatusOK {
			run.t.Errorf("%s, whose access token was revoked: %d %s", id, r.status, r.body)
		}
	}
}

// misplacedKeys puts keys of all kinds in every place and shape.
func (run *canaryRun) misplacedKeys() {
	for _, path := range []string{"/proxy/alice" + gmailCall, "/proxy/graph" + graphCall, tokenURL("alice"), "/v1/accounts", "/elsewhere", "/v1/account/alice"} {
		for _, name := range []string{"caller", "admin", "mistyped"} {
			key := run.keys[name]
			escaped := url.QueryEscape(key)
			for _, header := range [][]string{
				{"Authorization", "Bearer " + key},
				{"Authorization", basic("user", key)},
				{"X-Bellhop-Key", key},
				{"X-Goog-Api-Key", key},
				{"X-Bellhop-Key", key, "X-Bellhop-Key", key},
				{"Authorization", "Bearer " + key, "Authorization", "Bearer " + key},
				{"Cookie", "key=" + key},
				{"X-Other", "see " + key},
				{"Referer", "https://app.example/?k=b%68_" + key[3:]},
			} {
				run.call(http.MethodGet, path, "", header...)
				run.call(http.MethodPost, path, "{}", header...)
			}
			for _, query := range []string{"access_token=", "key=", "oauth_token=", "Access_Token=", "access%5Ftoken=", "alt=json&key=", "code="} {
				run.call(http.MethodGet, path+"?"+query+escaped, "")
				run.call(http.MethodGet, path+"?"+query+escaped, "", "Authorization", "Bearer "+key)
			}
			for _, written := range []string{key, "b%68_" + key[3:], "b%2568_" + key[3:]} {
				run.call(http.MethodGet, path+"/"+written, "", "Authorization", "Bearer "+run.keys["caller"])
				run.call(http.MethodGet, path+"?q="+written, "", "Authorization", "Bearer "+run.keys["caller"])
			}
		}
	}
}

// batches sends envelopes with keys in their parts.
func (run *canaryRun) batches() {
	caller := run.keys["caller"]
	parts := must(json.Marshal(map[string]any{"requests": []graphPart{
		{ID: "1", Method: "GET", URL: "/me?access_token=" + caller, Headers: map[string]string{"Authorization": "Bearer " + caller, "X-Bellhop-Key": caller}},
		{ID: "2", Method: "GET", URL: "/me/messages/" + caller},
		{ID: "3", Method: "GET", URL: "https://evil.example/"},
		{ID: "4", Method: "POST", URL: "/me/sendMail", Headers: map[string]string{"Content-Type": "application/json"}, Body: json.RawMessage(`{"a":"` + caller + `"}`)},
		{ID: "5", Method: "GET", URL: "/me"},
	}}))
	for _, body := range []string{string(parts), strings.ReplaceAll(string(parts), caller, "x"), `{"requests":"` + caller} {
		run.call(http.MethodPost, "/proxy/graph/v1.0/$batch", body, "Authorization", "Bearer "+caller, "Content-Type", "application/json")
	}
	part := func(id, line, more string) string {
		return "--x\r\nContent-Type: application/http\r\nContent-ID: <" + id + ">\r\n\r\nGET " + line + " HTTP/1.1\r\n" + more + "\r\n\r\n"
	}
	envelope := part("1", "/gmail/v1/users/me/profile?access_token="+caller, "Authorization: Bearer "+caller) +
		part("2", "/gmail/v1/users/me/messages/"+caller, "") + part("3", "https://evil.example/", "X-Bellhop-Key: "+caller) + part("4", "/gmail/v1/users/me/profile", "") + "--x--\r\n"
	for _, body := range []string{envelope, strings.ReplaceAll(envelope, caller, "x"), envelope[:len(envelope)/2]} {
		run.call(http.MethodPost, "/proxy/alice/gmail.googleapis.com/batch/gmail/v1", body, "Authorization", "Bearer "+caller, "Content-Type", "multipart/mixed; boundary=x")
	}
}

var handlePattern = regexp.MustCompile(`/proxy/\.bellhop/h/([A-Za-z0-9_~.-]+)`)

// handles are handed out for uploads and downloads, and used well and badly.
func (run *canaryRun) handles() {
	caller := run.keys["caller"]
	handed := func(method, path, body string, header ...string) {
		r := run.call(method, path, body, append([]string{"Authorization", "Bearer " + caller, "Content-Type", "application/json"}, header...)...)
		found := handlePattern.FindStringSubmatch(r.header.Get("Location") + string(r.body))
		if found == nil {
			run.t.Fatalf("%s hands out no handle: %d %v %s", path, r.status, r.header, r.body)
		}
		run.hides("handle", found[1])
		run.call(http.MethodPut, found[0], "0123", "Authorization", "Bearer "+caller, "Content-Range", "bytes 0-3/10")
		run.call(http.MethodGet, found[0], "", "Authorization", "Bearer "+caller)
		run.call(http.MethodPatch, found[0], "x")
		run.call(http.MethodGet, found[0][:len(found[0])-5], "")
		run.call(http.MethodGet, found[0]+"?x="+caller, "")
		run.call(http.MethodPost, "/proxy/graph/v1.0/me/drive/root/children", `{"name":"b","@microsoft.graph.sourceUrl":"`+run.url+found[0]+`","file":{}}`, "Authorization", "Bearer "+caller, "Content-Type", "application/json")
	}
	handed(http.MethodPost, "/proxy/graph/v1.0/me/drive/root:/a.bin:/createUploadSession", "{}")
	run.call(http.MethodPut, "/proxy/graph/v1.0/me/drive/root:/small.bin:/content", "small", "Authorization", "Bearer "+caller)
	handed(http.MethodGet, "/proxy/graph/v1.0/me/drive/root:/small.bin", "")
	handed(http.MethodGet, "/proxy/graph/v1.0/me/drive/root:/small.bin:/content", "")
	handed(http.MethodPost, "/proxy/alice/www.googleapis.com/upload/drive/v3/files?uploadType=resumable", "{}", "X-Upload-Content-Length", "10")
}

// withoutPeople are accounts of service accounts, of apps, and of an EmailEngine.
func (run *canaryRun) withoutPeople() {
	run.keys["domain"] = run.addKey("domain", map[string]any{"accounts": []string{"*@example.com", "app", "certified", "g", "x"}, "token": true})
	for account, provider := range map[string]string{"app": "daemon", "certified": "certified", "g": "legacy", "x": "legacy"} {
		run.manage(http.MethodPost, "/v1/account", unattended(account, provider))
	}
	for _, account := range []string{"robot-user@example.com", "nobody@example.com", "app", "certified", "g", "x"} {
		r := run.call(http.MethodGet, tokenURL(account), "", "Authorization", "Bearer "+run.keys["domain"])
		if given := r.header.Get("Bellhop-Error") == ""; given != (account != "nobody@example.com" && account != "x") {
			run.t.Errorf("%s: %d %s", account, r.status, r.body)
		}
		run.call(http.MethodGet, "/proxy/"+account+"/echo?status=500", "", "Authorization", "Bearer "+run.keys["domain"])
	}
}

// refused are registrations with mistakes, and what is wrong is a secret.
func (run *canaryRun) refused() {
	_, replaced := run.grants("google", "alice@example.com")
	_, late := run.grants("google", "late@example.com")
	run.manage(http.MethodPost, "/v1/account", registration("alice", "google", late))
	for _, token := range []string{replaced, late + "-mistyped"} {
		body := registration("alice", "google", token)
		body["replace"] = true
		run.manage(http.MethodPost, "/v1/account", body)
	}
	for _, body := range []any{
		registration(late+"/", "google", late),
		map[string]any{"account": "x", "refreshTokn": late},
		map[string]any{"account": "x", "oauth2": map[string]any{"provider": "google", "refreshToken": late + " y", "expires": late}},
		map[string]any{"account": "x", "oauth2": map[string]any{"provider": []string{late}}},
		late,
	} {
		run.manage(http.MethodPost, "/v1/account", body)
	}
	key := run.keys["caller"]
	run.manage(http.MethodPost, "/v1/token", map[string]any{"name": key})
	run.manage(http.MethodPost, "/v1/token", map[string]any{"name": "x", "accounts": []string{key}, "allow": []string{"GET " + key}, "presets": []string{key}, "cidrs": []string{key}})
	run.manage(http.MethodPost, "/v1/token", map[string]any{"name": "x", "cidrs": []string{key}})
	run.manage(http.MethodPost, "/v1/connect/finish", map[string]any{"attempt": late, "answer": "http://127.0.0.1/?code=" + late})
	run.manage(http.MethodPost, "/v1/import", map[string]any{"accounts": []map[string]any{{"account": "y", "provider": "google", "refreshToken": late, "expires": late}}})
	run.manage(http.MethodPost, formPath, map[string]any{"account": "x", "type": late, "redirectUrl": "http://127.0.0.1/" + key})
}

// administering is what an operator does.
func (run *canaryRun) administering() {
	run.manage(http.MethodGet, "/v1/token/nobody", nil)
	run.manage(http.MethodPost, "/v1/account/graph/disable", nil)
	run.call(http.MethodGet, tokenURL("graph"), "", "X-Bellhop-Key", run.keys["caller"])
	run.manage(http.MethodPost, "/v1/account/graph/enable", nil)
	run.manage(http.MethodPut, "/v1/account/bob", map[string]any{"name": "Bob"})
	run.call(http.MethodGet, "/v1/whoami", "", "X-Bellhop-Key", run.keys["caller"])
	_, imported := run.grants("google", "imported@example.com")
	run.manage(http.MethodPost, "/v1/import", importRequest{
		Accounts: []importAccount{{Account: "imported", User: "imported@example.com", Provider: "google", RefreshToken: imported, AccessToken: "ya29." + imported, Expires: time.Now().Add(time.Hour)}},
	})
	run.manage(http.MethodGet, tokenURL("nobody"), nil)
}

// commanding runs the commands.
func (run *canaryRun) commanding() {
	t := run.t
	_, added := run.grants("google", "added@example.com")
	run.writeFile("given/token", []byte(added))
	run.writeFile("given/import.json", must(json.Marshal(map[string]any{"accounts": []map[string]any{{"account": "from-file", "provider": "google", "refreshToken": added, "user": "u@example.com"}}})))
	backup := filepath.Join(run.dir, "backups", "before")
	given := func(name string) string { return filepath.Join(run.dir, "given", name) }
	for _, args := range [][]string{
		{"account", "add", "added", "--provider", "google", "--user", "added@example.com", "--refresh-token-file", given("token")},
		{"account", "add", "added", "--provider", "google", "--refresh-token-file", given("token")},
		{"account", "add", "again", "--provider", "gogle", "--refresh-token-file", given("token")},
		{"account", "list"},
		{"account", "list", "--json"},
		{"account", "show", "alice"},
		{"account", "show", "dead", "--json"},
		{"account", "refresh", "added"},
		{"account", "disable", "added"},
		{"account", "enable", "added"},
		{"key", "list"},
		{"key", "list", "--json"},
		{"key", "show", "caller"},
		{"key", "remove", "nobody"},
		{"token", "dead"},
		{"token", "nobody"},
		{"token", "added", "--audience", "evil.example"},
		{"curl", "added", "https://evil.example/", "--", "-sS"},
		{"import", "json", given("import.json"), "--dry-run"},
		{"import", "json", given("import.json")},
		{"import", "json", given("token")},
		{"backup", backup},
		{"keyset", "rotate"},
		{"backup", filepath.Join(run.dir, "backups", "after")},
		{"account", "remove", "added"},
		{"restore", backup},
		{"restore", given("token")},
		{"account", "adopt", "--all"},
		{"doctor"},
		{"doctor", "--json"},
		{"account", "remove", "graph", "--revoke"},
		{"account", "remove", "alice", "--revoke", "--all"},
	} {
		run.says(args...)
	}
	run.make("made key", strings.TrimSpace(run.commands().must("key", "add", "made", "--account", "*"))) // which prints it, as it was asked to
	run.byDevice()
	run.byPasting()
	if _, err := exec.LookPath("redis-server"); err == nil || os.Getenv("BELLHOP_TEST_TOOLS") == "required" {
		redis := emailenginetest.Start(t)
		redis.Secret = run.make("secret of EmailEngine", "eengine-"+randomText())
		_, sealed := run.grants("google", "sealed@example.com")
		redis.App("AAAG", map[string]any{"name": "Gmail", "provider": "gmail", "clientId": "bellhop-google", "clientSecret": run.clientSecret, "baseScopes": "imap"})
		redis.Account("sealed", nil, map[string]any{
			"provider": "AAAG", "auth": map[string]any{"user": "sealed@example.com"}, "accessToken": "ya29." + sealed, "refreshToken": sealed,
			"expires": time.Now().Add(time.Hour).UTC().Format(timestamp), "scope": []string{mailScope}, "tokenType": "Bearer",
		})
		token := run.make("imported token of EmailEngine", strings.Repeat(fmt.Sprintf("%08x", time.Now().Unix()), 8))
		redis.Token(token, map[string]any{"scopes": []string{"api"}, "description": "old", "account": "sealed"})
		run.writeFile("given/secret", []byte(redis.Secret))
		run.writeFile("given/wrong", []byte(redis.Secret+"x"))
		for _, file := range []string{"wrong", "secret"} {
			run.says("import", "emailengine", "--redis", redis.URL, "--secret-file", given(file))
		}
		run.says("import", "emailengine", "--redis", redis.URL)
		run.call(http.MethodGet, tokenURL("sealed"), "", "Authorization", "Bearer "+token)
		run.call(http.MethodGet, tokenURL("sealed")+"?access_token="+token, "")
		run.call(http.MethodGet, tokenURL("alice")+"?access_token="+token, "")
	}
}

// byDevice connects with a code that a person enters elsewhere.
func (run *canaryRun) byDevice() {
	was := pause
	defer func() { pause = was }()
	codes := make(chan string, 1)
	pause = func(ctx context.Context, d time.Duration) {
		select {
		case code := <-codes:
			if err := run.provider.DecideDevice(ctx, code, fakeprovider.Decision{Person: "alice@example.com"}); err != nil {
				run.t.Error(err)
			}
		default:
		}
		if _, err := run.provider.Advance(ctx, d); err != nil {
			run.t.Error(err)
		}
	}
	c := run.runs("connect", "acme", "device", "--device")
	codes <- c.reads(`and enter the code\n\n  (\S+)\n`)[1]
	out, err := c.end()
	if err != nil {
		run.t.Errorf("by device: %v\n%s", err, out)
	}
	run.text["commands"] = append(run.text["commands"], out...)
}

// byPasting connects with an answer that is pasted, and shows a link with a
// state, which is for the person who pastes.
func (run *canaryRun) byPasting() {
	c := run.runs("connect", "acme", "pasted", "--paste")
	link := c.link()
	c.reads(`paste it here`)
	location := c.decides(link, fakeprovider.Decision{Person: "alice@example.com"})
	for _, pasted := range []struct{ text, says string }{{strings.Replace(location, "state=", "state=x", 1), "another attempt"}, {location, "is connected"}} {
		if _, err := io.WriteString(c.in, pasted.text+"\n"); err != nil {
			run.t.Fatal(err)
		}
		c.reads(pasted.says)
	}
	out, err := c.end()
	if err != nil {
		run.t.Errorf("by pasting: %v\n%s", err, out)
	}
	run.text["commands"] = append(run.text["commands"], strings.ReplaceAll(out, link, "")...)
}

// looking keeps what Bellhop and Caddy tell about themselves.
func (run *canaryRun) looking() {
	for _, path := range []string{"/v1/accounts", "/v1/tokens", "/v1/oauth2", "/v1/doctor", "/readyz", "/healthz"} {
		run.manage(http.MethodGet, path, nil)
	}
	for _, path := range []string{"/config/", "/debug/pprof/cmdline", "/reverse_proxy/upstreams"} {
		run.remember(path, run.ofCaddy(http.MethodGet, path, ""))
	}
	run.remember("/adapt", run.ofCaddy(http.MethodPost, "/adapt", string(must(os.ReadFile(filepath.Join(run.dir, "Caddyfile")))), "Content-Type", "text/caddyfile"))
}

// lookingLast keeps what grows with what happens.
func (run *canaryRun) lookingLast() {
	for _, path := range []string{"/metrics", "/debug/vars", "/debug/pprof/goroutine"} {
		run.remember(path, run.ofCaddy(http.MethodGet, path+"?debug=1", ""))
	}
	run.remember("activity", run.adminReply(http.MethodGet, "/v1/activity?pageSize=1000", nil))
}
