package caddymodule

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/policy"
)

// likeEmailEngine compares an answer of the management API with EmailEngine's
// own: the status, and that each member of the body is there with a value of
// the same type. Objects have no order that a client could rely on, and further
// members disturb none. What is about mail is left out.
func likeEmailEngine(t *testing.T, r reply, name string, leftOut ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "emailengine", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var want expected
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if r.status != want.Status {
		t.Fatalf("status %d, want %d: %s", r.status, want.Status, r.body)
	}
	if got := r.header.Get("Cache-Control"); got != "no-store" || r.header.Get("Content-Type") != want.Header["Content-Type"] {
		t.Errorf("header %v", r.header)
	}
	got := make(map[string][]string)
	for _, f := range fields(t, r.body) {
		kind, value, _ := strings.Cut(f.Value, " ")
		got[f.Path] = append(got[f.Path], kind, value)
	}
	for _, f := range fields(t, want.Body) {
		kind, value, _ := strings.Cut(f.Value, " ")
		switch has := got[f.Path]; {
		case slices.ContainsFunc(leftOut, func(prefix string) bool { return f.Path == prefix || strings.HasPrefix(f.Path, prefix+".") }):
		case has == nil:
			t.Errorf("%s is missing in %s", f.Path, r.body)
		case !slices.Contains(has, kind):
			t.Errorf("%s is a %s, and EmailEngine's a %s", f.Path, has[0], kind)
		case want.Status >= 400 && !slices.Contains(has, value):
			t.Errorf("%s is %q, and EmailEngine's %q", f.Path, has[1], value)
		}
	}
}

// post sends JSON to the site with a key.
func (b *bellhop) post(method, path, key string, body any) reply {
	b.t.Helper()
	return b.do(method, path, jsonOf(b.t, body), "Authorization", "Bearer "+key, "Content-Type", "application/json")
}

// startManagement is a site with the management API, consent, and a key that
// manages.
func startManagement(t *testing.T) (*connectSite, string) {
	t.Helper()
	s := startConnectSite(t)
	admin, _ := policy.NewKey()
	s.caddyfile = withAPI(withKeys(s.caddyfile, declared("admin", admin.Reveal(), "\t\t\tadmin\n")))
	s.load(s.caddyfile)
	return s, admin.Reveal()
}

const mailAlone = "logs imap notifyFrom syncFrom path imapIndexer connections smtpStatus baseScopes counters"

func TestAccountsAreManagedInEmailEnginesDialect(t *testing.T) {
	s, admin := startManagement(t)
	register := func(id, refreshToken string, more map[string]any) map[string]any {
		oauth2 := map[string]any{"provider": "google", "auth": map[string]any{"user": id + "@example.com"}, "accessToken": "ya29.old", "refreshToken": refreshToken, "expires": "2020-01-01T00:00:00.000Z"}
		body := map[string]any{"account": id, "name": id, "email": id + "@example.com", "oauth2": oauth2}
		for name, value := range more {
			if inner, ok := strings.CutPrefix(name, "oauth2."); ok {
				oauth2[inner] = value
				continue
			}
			body[name] = value
		}
		return body
	}
	grant := func() string {
		_, refreshToken := s.provider.grant(t, fakeprovider.Grant{Client: "bellhop-google", Email: "good@example.com", Scope: "https://mail.google.com/ openid email"})
		return refreshToken
	}
	first := grant()
	created := s.post("POST", "/v1/account", admin, register("good", first, nil))
	likeEmailEngine(t, created, "account-created")
	likeEmailEngine(t, s.post("POST", "/v1/account", admin, register("bad", "x", map[string]any{"oauth2.provider": "nosuchapp"})), "account-unknown-provider")
	t.Run("the same grant again", func(t *testing.T) {
		body := register("good", first, nil)
		delete(body["oauth2"].(map[string]any), "accessToken")
		r := s.post("POST", "/v1/account", admin, body)
		if r.status != http.StatusOK || !strings.Contains(string(r.body), `"state":"existing"`) {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	t.Run("another grant does not take its place unasked", func(t *testing.T) {
		refusedWith(t, s.post("POST", "/v1/account", admin, register("good", "1//another", nil)), http.StatusConflict, "Conflict")
	})
	t.Run("without an ID", func(t *testing.T) {
		body := register("x", grant(), nil)
		body["account"] = nil
		var answer struct{ Account, State string }
		r := s.post("POST", "/v1/account", admin, body)
		if json.Unmarshal(r.body, &answer) != nil || !regexp.MustCompile(`^[0-9a-z]{16}$`).MatchString(answer.Account) || answer.State != "new" {
			t.Fatalf("%d %s", r.status, r.body)
		}
		s.post("DELETE", "/v1/account/"+answer.Account, admin, nil)
	})
	t.Run("reconnect tries at once", func(t *testing.T) {
		if r := s.post("PUT", "/v1/account/good/reconnect", admin, map[string]any{"reconnect": true}); r.status != http.StatusOK || string(r.body) != `{"reconnect":true}` {
			t.Fatalf("%d %s", r.status, r.body)
		}
		before := s.provider.tokenRequests(t)
		if r := s.post("PUT", "/v1/account/good/reconnect", admin, map[string]any{"reconnect": false}); string(r.body) != `{"reconnect":false}` {
			t.Errorf("%d %s", r.status, r.body)
		}
		if s.provider.tokenRequests(t) != before {
			t.Error("tried though it was not asked to")
		}
	})
	t.Run("shown and listed", func(t *testing.T) {
		likeEmailEngine(t, s.get("/v1/account/good", admin), "account-shown", append(strings.Fields(mailAlone), "lastError")...)
		likeEmailEngine(t, s.get("/v1/accounts?page=0&pageSize=3", admin), "accounts-listed", "accounts[].counters", "accounts[].lastError")
		likeEmailEngine(t, s.post("DELETE", "/v1/account/nosuch", admin, nil), "account-delete-unknown")
	})
	t.Run("update merges", func(t *testing.T) {
		next := grant()
		r := s.post("PUT", "/v1/account/good", admin, map[string]any{"name": "Good", "oauth2": map[string]any{"partial": true, "refreshToken": next}})
		if r.status != http.StatusOK || string(r.body) != `{"account":"good"}` {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if shown := s.admin("GET", "/v1/account/good", nil); shown["name"] != "Good" || shown["email"] != "good@example.com" {
			t.Errorf("%v", shown)
		}
		for field, value := range map[string]any{"accessToken": "ya29.x", "refreshToken": "******", "provider": "acme", "scopes": []string{"a"}} {
			r := s.post("PUT", "/v1/account/good", admin, map[string]any{"oauth2": map[string]any{field: value}})
			refusedWith(t, r, http.StatusBadRequest, "InvalidRequest")
			if !strings.Contains(message(t, r), field) {
				t.Errorf("%s is not named: %s", field, r.body)
			}
		}
	})
	t.Run("fields that make no sense here", func(t *testing.T) {
		for field, value := range map[string]any{
			"imap": map[string]any{"host": "x"}, "smtp": true, "path": "*", "syncFrom": "2020-01-01T00:00:00Z", "webhooks": "https://x.example",
			"oauth2.useAuthServer": true, "oauth2.auth": map[string]any{"user": "u", "delegatedUser": "shared@example.com"}, "nonsense": 1,
			"expectedEmail": "x@example.com", "oauth2.redirectUrl": "https://x.example",
		} {
			r := s.post("POST", "/v1/account", admin, register("odd", "x", map[string]any{field: value}))
			refusedWith(t, r, http.StatusBadRequest, "InvalidRequest")
			if name := strings.Replace(field, "oauth2.auth", "oauth2.auth.delegatedUser", 1); !strings.Contains(message(t, r), name[strings.LastIndexByte(name, '.')+1:]) {
				t.Errorf("%s is not named: %s", name, r.body)
			}
		}
		if r := s.post("POST", "/v1/account", admin, register("even", grant(), map[string]any{"imap": false, "syncFrom": nil, "logs": false})); r.status != http.StatusOK {
			t.Errorf("what asks for nothing is refused: %s", r.body)
		}
	})
	t.Run("deleted with the keys that are bound to it", func(t *testing.T) {
		bound := s.addKey("bound", map[string]any{"accounts": []string{"good"}, "token": true})
		wide := s.addKey("wide", map[string]any{"accounts": []string{"good", "even"}, "token": true})
		if r := s.post("DELETE", "/v1/account/good", admin, nil); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
		refusedWith(t, s.get(tokenURL("good"), bound), http.StatusUnauthorized, "InvalidKey")
		refusedWith(t, s.get(tokenURL("good"), wide), http.StatusNotFound, "AccountNotFound")
	})
}

func TestFormMakesLinksForWhoMayConnect(t *testing.T) {
	s, admin := startManagement(t)
	connects := s.addKey("connects", map[string]any{"accounts": []string{"team-*"}, "connect": true})
	other := s.addKey("other", map[string]any{"accounts": []string{"*"}, "token": true})
	form := map[string]any{"account": "team-form", "name": "Form", "email": "form@example.com", "redirectUrl": s.application.URL + "/done", "type": "google"}
	with := func(name string, value any) map[string]any {
		changed := make(map[string]any)
		maps.Copy(changed, form)
		changed[name] = value
		return changed
	}
	made := s.post("POST", formPath, connects, form)
	likeEmailEngine(t, made, "form")
	var link struct{ URL string }
	if err := json.Unmarshal(made.body, &link); err != nil || !strings.HasPrefix(link.URL, s.url+"/connect/") {
		t.Fatalf("%s", made.body)
	}
	if r := s.do(http.MethodGet, strings.TrimPrefix(link.URL, s.url), nil); r.status != http.StatusOK || !strings.Contains(string(r.body), "form@example.com") {
		t.Errorf("the link leads to %d %s", r.status, r.body)
	}
	for name, test := range map[string]struct {
		key    string
		body   map[string]any
		status int
		code   string
		names  string
	}{
		"by the admin":                 {admin, with("account", nil), 200, "", ""},
		"outside the key's reach":      {connects, with("account", "alice"), 403, "NotAllowed", ""},
		"an ID outside its reach":      {connects, with("account", nil), 403, "NotAllowed", ""},
		"without the permission":       {other, form, 403, "NotAllowed", ""},
		"without a key":                {"nonsense", form, 401, "InvalidKey", ""},
		"elsewhere":                    {connects, with("redirectUrl", "https://evil.example/"), 400, "InvalidRequest", "redirectUrl"},
		"of an unknown provider":       {connects, with("type", "imap"), 400, "InvalidRequest", "Invalid or missing OAuth2 provider"},
		"of one of several providers":  {connects, with("type", ""), 400, "InvalidRequest", "Invalid or missing OAuth2 provider"},
		"delegated":                    {connects, with("delegated", true), 400, "InvalidRequest", "delegated"},
		"expecting what is no address": {connects, with("email", "form @example.com"), 400, "InvalidRequest", "email"},
		"with a folder":                {connects, with("path", "INBOX"), 400, "InvalidRequest", "path"},
		"confirmed to nobody":          {connects, map[string]any{"account": "team-x", "type": "google", "confirm": true}, 400, "InvalidRequest", "confirm"},
		"contradicting itself":         {connects, map[string]any{"account": "team-x", "type": "google", "anyMailbox": true, "expectedEmail": "a@example.com"}, 400, "InvalidRequest", "anyMailbox"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.post("POST", formPath, test.key, test.body)
			if test.status == http.StatusOK {
				likeEmailEngine(t, r, "form")
				return
			}
			refusedWith(t, r, test.status, test.code)
			if !strings.Contains(message(t, r), test.names) {
				t.Errorf("%q is not named: %s", test.names, r.body)
			}
		})
	}
	t.Run("only the form is for connect keys", func(t *testing.T) {
		refusedWith(t, s.get("/v1/accounts", connects), http.StatusForbidden, "NotAllowed")
	})
	t.Run("an account that authorizes", func(t *testing.T) {
		r := s.post("POST", "/v1/account", admin, map[string]any{
			"account": "auth", "name": "Auth", "email": "auth@example.com",
			"oauth2": map[string]any{"provider": "microsoft", "authorize": true, "redirectUrl": s.application.URL + "/done"},
		})
		var answer struct{ Redirect string }
		if json.Unmarshal(r.body, &answer) != nil || !strings.HasPrefix(answer.Redirect, s.url+"/connect/") {
			t.Fatalf("%d %s", r.status, r.body)
		}
		refusedWith(t, s.post("POST", "/v1/account", admin, map[string]any{
			"account": "auth", "oauth2": map[string]any{"provider": "google", "authorize": true, "refreshToken": "x"},
		}), http.StatusBadRequest, "InvalidRequest")
		refusedWith(t, s.get("/v1/account/auth", admin), http.StatusNotFound, "AccountNotFound")
	})
}

func TestConsentThatNoSiteServesIsNoLink(t *testing.T) {
	b := start(t, standardCaddyfile(startProvider(t)))
	r := b.adminReply("POST", formPath, map[string]any{"account": "a", "type": "google"})
	refusedWith(t, r, http.StatusInternalServerError, "MissingServiceURLSetup")
}

func TestDeadAccountsTellWhoMayConnectWhere(t *testing.T) {
	s, admin := startManagement(t)
	s.load(strings.Replace(s.caddyfile, "\t\tproxy off\n", "\t\tproxy {\n\t\t\tupstream gmail.googleapis.com "+s.provider.URL+"\n\t\t\tupstream graph.microsoft.com "+s.provider.URL+"\n\t\t}\n", 1))
	for id, g := range map[string]fakeprovider.Grant{
		"gone": {Client: "bellhop-google", Scope: "https://mail.google.com/ openid email"},
		"away": {Client: "bellhop-microsoft", Scope: graphScope},
	} {
		g.Email = id + "@example.com"
		grant, refreshToken := s.provider.grant(t, g)
		s.addAccount(id, map[string]string{"gone": "google", "away": "microsoft"}[id], g.Email, refreshToken)
		s.provider.refuse(t, grant, 400, `{"error":"invalid_grant"}`)
	}
	plain := s.addKey("plain", map[string]any{"accounts": []string{"*"}, "token": true})
	connects := s.addKey("connects", map[string]any{"accounts": []string{"*"}, "token": true, "connect": true})
	for _, path := range []string{tokenURL("gone"), "/proxy/gone/gmail.googleapis.com/gmail/v1/users/me/profile", "/proxy/away/graph.microsoft.com/v1.0/me"} {
		r := s.get(path, plain)
		refusedWith(t, r, http.StatusForbidden, "OauthRenewError")
		if strings.Contains(string(r.body), "/connect/") {
			t.Errorf("%s: a link for who may make none: %s", path, r.body)
		}
		r = s.get(path, connects)
		refusedWith(t, r, http.StatusForbidden, "OauthRenewError")
		link := regexp.MustCompile(`"(?:reconnectUrl|url)":"([^"]+)"`).FindSubmatch(r.body)
		if link == nil {
			t.Errorf("%s: no link: %s", path, r.body)
			continue
		}
		if page := s.do(http.MethodGet, strings.TrimPrefix(string(link[1]), s.url), nil); page.status != http.StatusOK {
			t.Errorf("the link leads to %d", page.status)
		}
	}
	if r := s.post("POST", "/v1/account/gone/refresh", admin, nil); !strings.Contains(string(r.body), `"reconnectUrl":"`) {
		t.Errorf("no link for the admin: %s", r.body)
	}
}

func TestKeysAreManagedInEmailEnginesDialect(t *testing.T) {
	s, admin := startManagement(t)
	made := s.post("POST", "/v1/tokens", admin, map[string]any{"account": "good", "description": "Bound to one", "scopes": []string{"api"}, "restrictions": map[string]any{"addresses": []string{"192.0.2.0/24"}, "rateLimit": nil, "referrers": nil}})
	likeEmailEngine(t, made, "key-created")
	var key struct{ Token, ID, Name string }
	if err := json.Unmarshal(made.body, &key); err != nil || policy.CheckKey(key.Token) != nil || key.ID != policy.HashKey(key.Token) || !strings.HasPrefix(key.Name, "bound-to-one-") {
		t.Fatalf("%s", made.body)
	}
	s.addKey("wide", map[string]any{"accounts": []string{"*"}, "token": true, "description": "all of them"})
	listed := s.get("/v1/tokens?account=good", admin)
	likeEmailEngine(t, listed, "keys-listed", "account", "tokens[].remoteAddress", "tokens[].permissions", "tokens[].access", "tokens[].account")
	var list struct {
		Account string
		Total   int
		Tokens  []shownKey
	}
	if err := json.Unmarshal(listed.body, &list); err != nil || list.Account != "good" || list.Total != 1 || *list.Tokens[0].Account != "good" ||
		!list.Tokens[0].Token || list.Tokens[0].Restrictions.Addresses[0] != "192.0.2.0/24" || list.Tokens[0].Description != "Bound to one" {
		t.Errorf("%s", listed.body)
	}
	if all := s.admin("GET", "/v1/tokens", nil); all["account"] != nil || all["total"] != 3.0 {
		t.Errorf("%v", all)
	}
	for name, body := range map[string]map[string]any{
		"account":    {"description": "of no account"},
		"*":          {"account": "g*", "description": "of a pattern"},
		"smtp":       {"account": "good", "scopes": []string{"api", "smtp"}},
		"referrers":  {"account": "good", "restrictions": map[string]any{"referrers": []string{"https://x.example/*"}}},
		"rateLimit":  {"account": "good", "restrictions": map[string]any{"rateLimit": map[string]any{"maxRequests": 2, "timeWindow": 10}}},
		"permission": {"account": "good", "permissions": map[string]any{"actions": []string{"read"}}},
		"name":       {"account": "good", "admin": true},
		"accounts":   {"name": "mixed", "account": "good"},
		"metadata":   {"account": "good", "metadata": "{}"},
	} {
		r := s.post("POST", "/v1/token", admin, body)
		refusedWith(t, r, http.StatusBadRequest, "InvalidRequest")
		if said := message(t, r); !strings.Contains(said, name) || strings.Contains(said, "no mail is read") {
			t.Errorf("%s is not named, or a limit of keys is taken for one of mail: %s", name, r.body)
		}
	}
	if r := s.post("DELETE", "/v1/tokens/"+key.Token, admin, nil); r.status != http.StatusOK || !strings.Contains(string(r.body), `"deleted":true`) {
		t.Errorf("by the token itself: %d %s", r.status, r.body)
	}
	refusedWith(t, s.post("DELETE", "/v1/tokens/"+key.ID, admin, nil), http.StatusNotFound, "NotFound")
}

func TestProvidersAreShownAsEmailEnginesApplications(t *testing.T) {
	s, admin := startManagement(t)
	likeEmailEngine(t, s.get("/v1/oauth2/nosuch", admin), "app-unknown")
	r := s.get("/v1/oauth2", admin)
	likeEmailEngine(t, r, "apps-listed", "apps[].baseScopes", "apps[].created", "apps[].serviceClient", "apps[].serviceClientEmail", "apps[].serviceKey", "apps[].authMethod")
	var list struct {
		Total int
		Apps  []shownApp
	}
	if err := json.Unmarshal(r.body, &list); err != nil || list.Total != 3 || list.Apps[0].ID != "acme" {
		t.Fatalf("%s", r.body)
	}
	microsoft := list.Apps[2]
	if microsoft.Provider != "outlook" || microsoft.Authority != "organizations" || microsoft.Cloud != "global" || microsoft.ClientSecret != masked || microsoft.RedirectURL != s.url+"/oauth/callback" {
		t.Errorf("%+v", microsoft)
	}
	if strings.Contains(string(r.body), "bellhop-secret") {
		t.Errorf("the secret stands in %s", r.body)
	}
	s.admin("POST", "/v1/account", registration("a", "google", "rt"))
	if one := s.admin("GET", "/v1/oauth2/google", nil); one["accounts"] != 1.0 || one["provider"] != "gmail" {
		t.Errorf("%v", one)
	}
	if page := s.admin("GET", "/v1/oauth2?page=1&pageSize=2", nil); len(page["apps"].([]any)) != 1 || page["pages"] != 2.0 {
		t.Errorf("%v", page)
	}
}

func TestReconnectForgivesWhatFailed(t *testing.T) {
	s, admin := startManagement(t)
	grant, refreshToken := s.provider.grant(t, fakeprovider.Grant{Client: "bellhop-google", Scope: "https://mail.google.com/ openid email"})
	s.addAccount("shaken", "google", "u@example.com", refreshToken)
	_, err := s.provider.QueueFaults(t.Context(), fakeprovider.Fault{
		Grant: grant, Times: 1, Kind: fakeprovider.Respond, Status: 400, Body: `{"error":"invalid_grant"}`, Header: map[string]string{"Content-Type": "application/json"},
	})
	if err != nil {
		t.Fatal(err)
	}
	key := s.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	for range 2 { // it is not asked again so soon
		refusedWith(t, s.get(tokenURL("shaken"), key), http.StatusForbidden, "OauthRenewError")
	}
	if r := s.post("PUT", "/v1/account/shaken/reconnect", admin, map[string]any{"reconnect": true}); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if shown := s.admin("GET", "/v1/account/shaken", nil); shown["state"] != "connected" || shown["lastError"] != nil {
		t.Errorf("%v", shown)
	}
	s.admin("POST", "/v1/account/shaken/disable", nil)
	refusedWith(t, s.post("PUT", "/v1/account/shaken/reconnect", admin, map[string]any{"reconnect": true}), http.StatusForbidden, "AccountDisabled")
	refusedWith(t, s.post("PUT", "/v1/account/nobody/reconnect", admin, map[string]any{"reconnect": true}), http.StatusNotFound, "AccountNotFound")
}
