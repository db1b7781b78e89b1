package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/policy"
)

// withAPI is standardCaddyfile with the management API on its site.
func withAPI(caddyfile string) string {
	return strings.Replace(caddyfile, "\t\ttoken_endpoint\n", "\t\ttoken_endpoint\n\t\tapi\n", 1)
}

// message is what an answer of Bellhop's own says.
func message(t *testing.T, r reply) string {
	t.Helper()
	var said struct{ Message string }
	if err := json.Unmarshal(r.body, &said); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	return said.Message
}

func registration(id, provider, refreshToken string) map[string]any {
	return map[string]any{"account": id, "oauth2": map[string]any{
		"provider": provider, "auth": map[string]any{"user": "user@example.com"}, "refreshToken": refreshToken,
	}}
}

// jsonOf is a JSON body.
func jsonOf(t *testing.T, v any) *strings.Reader {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReader(string(text))
}

func TestManagementNeedsAnAdminKeyOnASite(t *testing.T) {
	p := startProvider(t)
	b := start(t, withAPI(standardCaddyfile(p)))
	b.connect(p, "alice", "google")
	plain := b.addKey("plain", map[string]any{"accounts": []string{"*"}, "token": true, "connect": true})
	admin := b.addKey("admin", map[string]any{"admin": true})
	elsewhere := b.addKey("elsewhere", map[string]any{"admin": true, "cidrs": []string{"192.0.2.0/24"}})
	for _, call := range []struct{ method, path string }{
		{"POST", "/v1/account"},
		{"GET", "/v1/accounts"},
		{"GET", "/v1/account/alice"},
		{"PUT", "/v1/account/alice"},
		{"DELETE", "/v1/account/alice"},
		{"DELETE", "/v1/account/nobody"},
		{"POST", "/v1/account/alice/refresh"},
		{"POST", "/v1/account/alice/disable"},
		{"POST", "/v1/token"},
		{"GET", "/v1/tokens"},
		{"DELETE", "/v1/token/plain"},
		{"GET", "/v1/nothing"},
	} {
		t.Run(call.method+" "+call.path, func(t *testing.T) {
			refusedWith(t, b.do(call.method, call.path, nil), http.StatusUnauthorized, "MissingKey")
			for _, key := range []string{plain, elsewhere} {
				refusedWith(t, b.do(call.method, call.path, nil, "Authorization", "Bearer "+key), http.StatusForbidden, "NotAllowed")
			}
		})
	}
	if r := b.get("/v1/accounts", admin); r.status != http.StatusOK || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", r.status, r.header, r.body)
	}
	refusedWith(t, b.get("/v1/nothing", admin), http.StatusNotFound, "NotFound")
	r := b.do("PATCH", "/v1/account/alice", nil, "Authorization", "Bearer "+admin)
	refusedWith(t, r, http.StatusMethodNotAllowed, "MethodNotAllowed")
	if allow := r.header.Get("Allow"); allow != "DELETE, GET, PUT" {
		t.Errorf("Allow: %q", allow)
	}
	for _, path := range []string{"/v1/account/nobody/../alice", "/v1//account/alice", "/v1/account//alice", "/v1/account/."} {
		refusedWith(t, b.do("DELETE", path, nil, "Authorization", "Bearer "+admin), http.StatusBadRequest, "InvalidRequest")
	}
	b.admin("GET", "/v1/account/alice", nil) // still there
	t.Run("without api the site has none", func(t *testing.T) {
		b.load(b.expand(standardCaddyfile(p)))
		if r := b.get("/v1/accounts", admin); r.status != http.StatusNotFound || string(r.body) != "not bellhop" {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
}

// onTCP puts Caddy's admin endpoint on an address.
func onTCP(caddyfile, addr string) string {
	return strings.Replace(caddyfile, "admin unix/{{dir}}/admin.sock|0600", "admin "+addr, 1)
}

func TestAdminEndpointOnTCPNeedsAnAdminKey(t *testing.T) {
	p := startProvider(t)
	adminKey, _ := policy.NewKey()
	plainKey, _ := policy.NewKey()
	addr := freeAddr(t)
	b := start(t, onTCP(withKeys(standardCaddyfile(p),
		declared("admin", adminKey.Reveal(), "\t\t\tadmin\n"), declared("plain", plainKey.Reveal(), "\t\t\taccount *\n\t\t\ttoken\n")), addr))
	b.url = "http://" + addr
	for _, path := range []string{"/v1/accounts", tokenURL("alice"), "/proxy/alice" + gmailCall, "/v1/nothing"} {
		for key, want := range map[string]struct {
			status int
			code   string
		}{"": {401, "MissingKey"}, "nonsense": {401, "InvalidKey"}, plainKey.Reveal(): {403, "NotAllowed"}} {
			header := []string{"Authorization", "Bearer " + key}
			if key == "" {
				header = nil
			}
			r := b.do(http.MethodGet, adminPrefix+path, nil, header...)
			refusedWith(t, r, want.status, want.code)
			if !strings.Contains(message(t, r), "oauth key new") {
				t.Errorf("%s: the way in is not named: %s", path, r.body)
			}
		}
	}
	_, refreshToken := p.grant(t, fakeprovider.Grant{Email: "user@example.com", Scope: mailScope})
	r := b.do(http.MethodPost, adminPrefix+"/v1/account", jsonOf(t, registration("alice", "google", refreshToken)),
		"Content-Type", "application/json", "Authorization", "Bearer "+adminKey.Reveal())
	if r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for _, path := range []string{"/v1/accounts", tokenURL("alice"), "/proxy/alice" + gmailCall} {
		if r := b.get(adminPrefix+path, adminKey.Reveal()); r.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	for _, name := range []string{"X-Bellhop-Key", "X-Goog-Api-Key"} { // which Caddy logs there
		r := b.do(http.MethodGet, adminPrefix+"/v1/accounts", nil, name, adminKey.Reveal())
		refusedWith(t, r, 400, "InvalidRequest")
		if strings.Contains(string(r.body), adminKey.Reveal()) || !strings.Contains(message(t, r), name) {
			t.Errorf("%s: %s", name, r.body)
		}
	}
	// Health is for load balancers, which have no key.
	if r := b.do(http.MethodGet, adminPrefix+"/healthz", nil); r.status != http.StatusOK {
		t.Errorf("/healthz: %d %s", r.status, r.body)
	}
}

func TestAccountsLiveThroughTheManagementAPI(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	const escaped = "/v1/account/team%2Fj%C3%B6rg%2050%25"
	const id = "team/jörg 50%"
	_, refreshToken := p.grant(t, fakeprovider.Grant{Email: "user@example.com", Scope: mailScope})
	state := func() string { return b.admin("GET", escaped, nil)["state"].(string) }

	if answer := b.admin("POST", "/v1/account", registration(id, "google", refreshToken)); answer["account"] != id || answer["state"] != "new" {
		t.Errorf("%v", answer)
	}
	if state() != "init" {
		t.Errorf("state %s", state())
	}
	t.Run("add twice", func(t *testing.T) {
		r := b.adminReply("POST", "/v1/account", registration(id, "google", "another"))
		refusedWith(t, r, http.StatusConflict, "Conflict")
		if strings.Contains(string(r.body), "another") {
			t.Errorf("the refresh token stands in %s", r.body)
		}
	})
	t.Run("refresh", func(t *testing.T) {
		if answer := b.admin("POST", escaped+"/refresh", nil); answer["cached"] != false || answer["expires"] == "" {
			t.Errorf("%v", answer)
		}
		if state() != "connected" {
			t.Errorf("state %s", state())
		}
		if answer := b.admin("POST", escaped+"/refresh", nil); answer["cached"] != true {
			t.Errorf("%v", answer)
		}
	})
	t.Run("show masks secrets", func(t *testing.T) {
		r := b.adminReply("GET", escaped, nil)
		var shown shownAccount
		if err := json.Unmarshal(r.body, &shown); err != nil {
			t.Fatal(err)
		}
		if shown.Account != id || shown.Type != "gmail" || shown.App != "google" || shown.Email != "user@example.com" ||
			shown.OAuth2.RefreshToken != masked || shown.OAuth2.AccessToken != masked || len(shown.OAuth2.Tokens) != 1 {
			t.Errorf("%s", r.body)
		}
		for _, secret := range []string{"1//fake-", "ya29.fake-"} {
			if strings.Contains(string(r.body), secret) {
				t.Errorf("%s stands in %s", secret, r.body)
			}
		}
	})
	t.Run("update keeps what is absent", func(t *testing.T) {
		b.admin("PUT", escaped, map[string]any{"name": "Jörg"})
		b.admin("PUT", escaped, map[string]any{"email": "new@example.com"})
		if shown := b.admin("GET", escaped, nil); shown["name"] != "Jörg" || shown["email"] != "new@example.com" {
			t.Errorf("%v", shown)
		}
	})
	t.Run("disable and enable", func(t *testing.T) {
		b.admin("POST", escaped+"/disable", nil)
		refusedWith(t, b.adminReply("GET", escaped+"/oauth-token", nil), http.StatusForbidden, "AccountDisabled")
		if state() != "disabled" {
			t.Errorf("state %s", state())
		}
		if answer := b.admin("POST", escaped+"/enable", nil); answer["state"] != "connected" {
			t.Errorf("%v", answer)
		}
		if answer := b.admin("GET", escaped+"/oauth-token", nil); answer["cached"] != true {
			t.Errorf("the token was lost: %v", answer)
		}
	})
	t.Run("replace asks the provider first", func(t *testing.T) {
		body := registration(id, "google", "1//never-given")
		body["replace"] = true
		r := b.adminReply("POST", "/v1/account", body)
		refusedWith(t, r, http.StatusForbidden, "OauthRenewError")
		if strings.Contains(string(r.body), "never-given") {
			t.Errorf("the refresh token stands in %s", r.body)
		}
		if answer := b.admin("GET", escaped+"/oauth-token", nil); answer["cached"] != true {
			t.Errorf("the old grant is lost: %v", answer)
		}
		old := b.admin("GET", escaped+"/oauth-token", nil)["accessToken"]
		_, next := p.grant(t, fakeprovider.Grant{Email: "user@example.com", Scope: mailScope})
		body = registration(id, "google", next)
		body["replace"] = true
		if answer := b.admin("POST", "/v1/account", body); answer["state"] != "existing" {
			t.Errorf("%v", answer)
		}
		if b.admin("GET", escaped+"/oauth-token", nil)["accessToken"] == old {
			t.Error("the old grant's token is still served")
		}
		body["account"] = "nobody"
		refusedWith(t, b.adminReply("POST", "/v1/account", body), http.StatusNotFound, "AccountNotFound")
	})
	t.Run("delete", func(t *testing.T) {
		if answer := b.admin("DELETE", escaped, nil); answer["deleted"] != true || answer["revoked"] != false {
			t.Errorf("%v", answer)
		}
		for _, call := range []struct{ method, path string }{
			{"GET", escaped}, {"DELETE", escaped}, {"POST", escaped + "/refresh"}, {"POST", escaped + "/disable"}, {"GET", escaped + "/oauth-token"},
		} {
			refusedWith(t, b.adminReply(call.method, call.path, nil), http.StatusNotFound, "AccountNotFound")
		}
	})
}

func TestAccountsAreListedByPage(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	for i := range 25 {
		b.admin("POST", "/v1/account", registration(fmt.Sprintf("g%02d", i), "google", fmt.Sprintf("rt-%d", i)))
	}
	b.admin("POST", "/v1/account", registration("ümläut", "acme", "rt-u"))
	b.admin("POST", "/v1/account/g03/disable", nil)
	b.admin("PUT", "/v1/account/g04", map[string]any{"name": "Zebra"})
	for query, want := range map[string]struct {
		total, pages int
		accounts     string
	}{
		"?pageSize=3":                     {26, 9, "g00 g01 g02"},
		"?pageSize=3&page=8":              {26, 9, "g24 ümläut"},
		"?pageSize=3&page=9":              {26, 9, ""},
		"?page=1":                         {26, 2, "g20 g21 g22 g23 g24 ümläut"},
		"?state=disabled":                 {1, 1, "g03"},
		"?state=*&provider=acme":          {1, 1, "ümläut"},
		"?query=ZEB":                      {1, 1, "g04"},
		"?query=g1&pageSize=2&page=1":     {10, 5, "g12 g13"},
		"?query=%C3%9CML":                 {1, 1, "ümläut"},
		"?query=nowhere":                  {0, 0, ""},
		"?provider=google&state=disabled": {1, 1, "g03"},
	} {
		r := b.adminReply("GET", "/v1/accounts"+query, nil)
		var list struct {
			Total, Pages int
			Accounts     []shownAccount
		}
		if err := json.Unmarshal(r.body, &list); err != nil {
			t.Fatalf("%s: %v", r.body, err)
		}
		var ids []string
		for _, a := range list.Accounts {
			ids = append(ids, a.Account)
		}
		if got := strings.Join(ids, " "); got != want.accounts || list.Total != want.total || list.Pages != want.pages {
			t.Errorf("%s: %d in %d pages: %s", query, list.Total, list.Pages, got)
		}
	}
	for _, query := range []string{"?page=-1", "?page=x", "?pageSize=0", "?pageSize=1001", "?state=odd"} {
		refusedWith(t, b.adminReply("GET", "/v1/accounts"+query, nil), http.StatusBadRequest, "InvalidRequest")
	}
}

func TestRevokingTellsTheProvider(t *testing.T) {
	p := startProvider(t)
	caddyfile := standardCaddyfile(p)
	block := regexp.MustCompile(`(?s)\t\tprovider google \{\n.*?\n\t\t\}\n`).FindString(caddyfile)
	b := start(t, changed(t, caddyfile, block, block+strings.Replace(block, "provider google", "provider again google", 1)))
	p.registerMicrosoft(t)
	google := fakeprovider.DefaultClient
	google.Dialect = fakeprovider.Google
	if err := p.RegisterClient(t.Context(), google); err != nil {
		t.Fatal(err)
	}
	dead := func(grant string) bool {
		t.Helper()
		state, err := p.Grant(t.Context(), grant, false)
		if err != nil {
			t.Fatal(err)
		}
		return state.Dead
	}
	t.Run("one account", func(t *testing.T) {
		grant := b.connect(p, "alone", "google")
		for _, query := range []string{"revoke=yes", "revoke=True", "revoke=true&all=1"} {
			r := b.adminReply("DELETE", "/v1/account/alone?"+query, nil)
			refusedWith(t, r, http.StatusBadRequest, "InvalidRequest")
		}
		if answer := b.admin("DELETE", "/v1/account/alone?revoke=true", nil); answer["revoked"] != true || !dead(grant) {
			t.Errorf("%v, dead: %v", answer, dead(grant))
		}
	})
	t.Run("several accounts of one user at Google", func(t *testing.T) {
		one, two := b.connect(p, "one", "google"), b.connect(p, "two", "google")
		r := b.adminReply("DELETE", "/v1/account/one?revoke=true", nil)
		refusedWith(t, r, http.StatusConflict, "Conflict")
		if said := message(t, r); !strings.Contains(said, `"two"`) || strings.Contains(said, `"one"`) || !strings.Contains(said, "all=true") {
			t.Errorf("%s", said)
		}
		three := b.connect(p, "three", "again")
		if said := message(t, b.adminReply("DELETE", "/v1/account/three?revoke=true", nil)); !strings.Contains(said, `"one", "two"`) {
			t.Errorf("of a client under another name: %s", said)
		}
		if dead(one) || dead(two) || dead(three) {
			t.Error("revoked all the same")
		}
		b.admin("DELETE", "/v1/account/three", nil)
		b.admin("GET", "/v1/account/one", nil)
		b.admin("DELETE", "/v1/account/one?revoke=true&all=true", nil)
		if !dead(one) {
			t.Error("not revoked")
		}
	})
	t.Run("Microsoft has no revocation", func(t *testing.T) {
		grant := b.connect(p, "graph", "microsoft")
		r := b.adminReply("DELETE", "/v1/account/graph?revoke=true", nil)
		if r.status != http.StatusConflict || !strings.Contains(message(t, r), "https://") {
			t.Errorf("where the user does it is not said: %d %s", r.status, r.body)
		}
		if dead(grant) {
			t.Error("revoked")
		}
		b.admin("GET", "/v1/account/graph", nil) // it stays
		b.admin("DELETE", "/v1/account/graph", nil)
	})
	t.Run("the account stays when the provider does not answer", func(t *testing.T) {
		b.connect(p, "stays", "google")
		b.admin("DELETE", "/v1/account/two", nil)
		if _, err := p.QueueFaults(t.Context(), fakeprovider.Fault{On: fakeprovider.EndpointRevoke, Kind: fakeprovider.Respond, Status: 503}); err != nil {
			t.Fatal(err)
		}
		if r := b.adminReply("DELETE", "/v1/account/stays?revoke=true", nil); r.status != http.StatusServiceUnavailable {
			t.Errorf("%d %s", r.status, r.body)
		}
		b.admin("GET", "/v1/account/stays", nil)
	})
}

func TestManagementRefusesWhatItDoesNotUnderstand(t *testing.T) {
	const secret = "1//a-refresh-token-in-the-wrong-place"
	p := startProvider(t)
	key, _ := policy.NewKey()
	b := start(t, withAPI(withKeys(standardCaddyfile(p), declared("admin", key.Reveal(), "\t\t\tadmin\n"))))
	for name, test := range map[string]struct {
		path, kind, body string
		status           int
		code, names      string
	}{
		"unknown field":         {"/v1/account", "application/json", `{"account":"a","refresh_token":"` + secret + `"}`, 400, "InvalidRequest", "refresh_token"},
		"unknown nested field":  {"/v1/account", "application/json", `{"account":"a","oauth2":{"refreshTokn":"` + secret + `"}}`, 400, "InvalidRequest", "refreshTokn"},
		"misspelt limit":        {"/v1/token", "application/json", `{"name":"a","cidr":["10.0.0.0/8"]}`, 400, "InvalidRequest", "cidr"},
		"twice":                 {"/v1/token", "application/json", `{"name":"a","accounts":["alice"],"token":false,"accounts":["*"]}`, 400, "InvalidRequest", "accounts: is there twice"},
		"twice, in other case":  {"/v1/token", "application/json", `{"name":"a","allow":["GET *"],"Allow":[]}`, 400, "InvalidRequest", "Allow: is there twice"},
		"twice, nested":         {"/v1/account", "application/json", `{"account":"a","oauth2":{"provider":"google","refreshToken":"` + secret + `","refreshToken":"` + secret + `2"}}`, 400, "InvalidRequest", "refreshToken: is there twice"},
		"wrong type":            {"/v1/account", "application/json", `{"account":"a","oauth2":{"refreshToken":["` + secret + `"]}}`, 400, "InvalidRequest", "refreshToken"},
		"wrong type of expiry":  {"/v1/account", "application/json", `{"account":"a","oauth2":{"refreshToken":"` + secret + `","expires":"` + secret + `"}}`, 400, "InvalidRequest", ""},
		"no JSON":               {"/v1/account", "application/json", secret, 400, "InvalidRequest", ""},
		"broken JSON":           {"/v1/account", "application/json", `{"account":"a","oauth2":{"refreshToken":"` + secret, 400, "InvalidRequest", ""},
		"two values":            {"/v1/account", "application/json", `{"account":"a"} {"b":"` + secret + `"}`, 400, "InvalidRequest", ""},
		"form":                  {"/v1/account", "application/x-www-form-urlencoded", "account=a&refreshToken=" + secret, 400, "InvalidRequest", "Content-Type"},
		"text of a page":        {"/v1/account", "text/plain", `{"account":"a"}`, 400, "InvalidRequest", "Content-Type"},
		"no Content-Type":       {"/v1/account", "", `{"account":"a"}`, 400, "InvalidRequest", "Content-Type"},
		"too large":             {"/v1/account", "application/json", `{"account":"` + strings.Repeat("a", maxManagementBody) + `"}`, 413, "TooLarge", ""},
		"account ID":            {"/v1/account", "application/json", `{"account":"..","oauth2":{"provider":"google","refreshToken":"` + secret + `"}}`, 400, "InvalidRequest", ""},
		"provider":              {"/v1/account", "application/json", `{"account":"a","oauth2":{"provider":"gogle","refreshToken":"` + secret + `"}}`, 400, "InvalidRequest", "google"},
		"no grant":              {"/v1/account", "application/json", `{"account":"a","oauth2":{"provider":"google"}}`, 400, "InvalidRequest", "refreshToken"},
		"white space in token":  {"/v1/account", "application/json", `{"account":"a","oauth2":{"provider":"google","refreshToken":"` + secret + ` x"}}`, 400, "InvalidRequest", "refreshToken"},
		"key without a name":    {"/v1/token", "application/json", `{}`, 400, "InvalidRequest", "name"},
		"bad range":             {"/v1/token", "application/json", `{"name":"a","cidrs":["10.0.0.0/64"]}`, 400, "InvalidRequest", "cidrs"},
		"rule without methods":  {"/v1/token", "application/json", `{"name":"a","allow":["gmail.googleapis.com/**"]}`, 400, "InvalidRequest", "allow"},
		"unknown preset":        {"/v1/token", "application/json", `{"name":"a","presets":["gmail"]}`, 400, "InvalidRequest", "write one of gmail-readonly, "},
		"no object":             {"/v1/account", "application/json", `["` + secret + `"]`, 400, "InvalidRequest", "the body: must be an object and not an array"},
		"kind of JSON":          {"/v1/account", "application/json", `{"account":"a","oauth2":{"refreshToken":{"a":"` + secret + `"}}}`, 400, "InvalidRequest", "must be a string and not an object"},
		"key that has ended":    {"/v1/token", "application/json", `{"name":"a","expires":"2020-01-01T00:00:00Z"}`, 400, "InvalidRequest", "expires"},
		"end in the odd future": {"/v1/token", "application/json", `{"name":"a","expires":"someday"}`, 400, "InvalidRequest", ""},
	} {
		t.Run(name, func(t *testing.T) {
			header := []string{"Authorization", "Bearer " + key.Reveal()}
			if test.kind != "" {
				header = append(header, "Content-Type", test.kind)
			}
			r := b.do(http.MethodPost, test.path, strings.NewReader(test.body), header...)
			refusedWith(t, r, test.status, test.code)
			if !strings.Contains(string(r.body), test.names) {
				t.Errorf("%q is not named: %s", test.names, r.body)
			}
			if strings.Contains(string(r.body), secret) {
				t.Errorf("the secret stands in %s", r.body)
			}
		})
	}
	if list := b.admin("GET", "/v1/accounts", nil); list["total"] != 0.0 {
		t.Errorf("an account came of it: %v", list)
	}
}

func TestKeysLiveThroughTheManagementAPI(t *testing.T) {
	p := startProvider(t)
	inFile, _ := policy.NewKey()
	b := start(t, withKeys(standardCaddyfile(p), declared("file", inFile.Reveal(), "\t\t\taccount alice\n")))
	plain := b.addKey("ci", map[string]any{"accounts": []string{"a*"}, "token": true, "cidrs": []string{"10.0.0.0/8"}, "expires": "30d"})
	if policy.CheckKey(plain) != nil {
		t.Errorf("%q is no key", plain)
	}
	for _, name := range []string{"ci", "file"} {
		refusedWith(t, b.adminReply("POST", "/v1/token", map[string]any{"name": name}), http.StatusConflict, "Conflict")
	}
	r := b.adminReply("GET", "/v1/tokens", nil)
	var list struct {
		Total  int
		Tokens []shownKey
	}
	if err := json.Unmarshal(r.body, &list); err != nil {
		t.Fatal(err)
	}
	sources := make(map[string]string)
	for _, k := range list.Tokens {
		sources[k.Name] = k.Source
	}
	if list.Total != 2 || sources["ci"] != "store" || sources["file"] != "configuration" || strings.Contains(string(r.body), plain) {
		t.Errorf("%s", r.body)
	}
	shown := b.admin("GET", "/v1/token/ci", nil)
	if shown["id"] != policy.HashKey(plain) || shown["token"] != true || shown["admin"] != false || !slices.Equal(shown["cidrs"].([]any), []any{"10.0.0.0/8"}) {
		t.Errorf("%v", shown)
	}
	refusedWith(t, b.adminReply("DELETE", "/v1/token/file", nil), http.StatusConflict, "Conflict")
	missing := b.adminReply("GET", "/v1/token/"+plain, nil)
	refusedWith(t, missing, http.StatusNotFound, "NotFound")
	if strings.Contains(string(missing.body), plain) {
		t.Errorf("the key stands in %s", missing.body)
	}
	if answer := b.admin("DELETE", "/v1/token/"+policy.HashKey(plain), nil); answer["deleted"] != true {
		t.Errorf("%v", answer)
	}
	refusedWith(t, b.adminReply("DELETE", "/v1/token/ci", nil), http.StatusNotFound, "NotFound")
}

func TestHealthInPlainTextAndJSON(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	for _, path := range []string{"/healthz", "/readyz"} {
		for accept, want := range map[string]struct{ kind, body string }{
			"":                 {"text/plain; charset=utf-8", "ok\n"},
			"application/json": {"application/json; charset=utf-8", `{"status":"ok"}`},
		} {
			r := b.do(http.MethodGet, path, nil, "Accept", accept)
			if r.status != http.StatusOK || string(r.body) != want.body || r.header.Get("Content-Type") != want.kind || r.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, Accept: %q: %d %v %q", path, accept, r.status, r.header, r.body)
			}
		}
		if r := b.adminReply("GET", path, nil); r.status != http.StatusOK {
			t.Errorf("admin endpoint, %s: %d %s", path, r.status, r.body)
		}
	}
}
