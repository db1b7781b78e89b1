package caddymodule

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider/emailengine"
)

// unattendedServer stands in for Google's and Microsoft's token endpoints, with
// a fake EmailEngine beside them, and for the APIs, which echo the token that
// they get.
type unattendedServer struct {
	*httptest.Server
	key    *rsa.PrivateKey
	tokens atomic.Int64 // token requests
}

func newUnattendedServer(t *testing.T) *unattendedServer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	u := &unattendedServer{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /google/token", u.google)
	mux.HandleFunc("POST /microsoft/token", func(w http.ResponseWriter, r *http.Request) {
		n := u.tokens.Add(1)
		if r.FormValue("grant_type") != "client_credentials" || r.FormValue("client_secret") != "app-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"error":"invalid_client"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"app-%d","expires_in":3600,"token_type":"Bearer"}`, n)
	})
	mux.Handle("GET /v1/account/{account}/oauth-token", newEmailEngine())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"token": r.Header.Get("Authorization"), "path": r.URL.Path})
	})
	u.Server = httptest.NewServer(mux)
	t.Cleanup(u.Close)
	return u
}

// google verifies an assertion: its signature, "aud", "exp" and "sub".
func (u *unattendedServer) google(w http.ResponseWriter, r *http.Request) {
	u.tokens.Add(1)
	refuse := func(code, description string) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": description})
	}
	signed, err := jose.ParseSigned(r.FormValue("assertion"), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		refuse("invalid_grant", "Bad Request")
		return
	}
	payload, err := signed.Verify(u.key.Public())
	var claims struct {
		Sub, Aud string
		Exp      int64
	}
	switch {
	case err != nil || json.Unmarshal(payload, &claims) != nil:
		refuse("invalid_grant", "Invalid JWT Signature.")
	case claims.Aud != u.URL+"/google/token" || claims.Exp <= time.Now().Unix():
		refuse("invalid_grant", "Bad Request")
	case !strings.HasSuffix(claims.Sub, "@example.com"):
		refuse("unauthorized_client", "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.")
	case strings.HasPrefix(claims.Sub, "nobody"):
		refuse("invalid_grant", "Invalid email or User ID")
	default:
		_, _ = fmt.Fprintf(w, `{"access_token":"ya29.%s","expires_in":3599,"token_type":"Bearer"}`, claims.Sub)
	}
}

// newEmailEngine is an EmailEngine with accounts at Google and at Microsoft.
func newEmailEngine() *emailengine.Server {
	e := new(emailengine.Server)
	e.SetTokens(strings.Repeat("e", 64))
	for id, at := range map[string]struct{ provider, scope string }{
		"g":    {"gmail", "https://mail.google.com/"},
		"said": {"gmail", "https://mail.google.com/"},
		"ms":   {"outlook", "https://graph.microsoft.com/Mail.Read"},
	} {
		e.SetAccount(id, emailengine.Account{
			User: "u@example.com", AccessToken: "ee-" + id, Provider: at.provider, Scopes: []string{at.scope},
			Expires: time.Now().Add(time.Hour), Cached: true, App: "AAAB",
		})
	}
	return e
}

const unattendedCaddyfile = `{
	admin unix/{{dir}}/admin.sock|0600
	persist_config off
	auto_https off
	grace_period 5s
	bellhop {
		store badger {{dir}}/store
		keyset {{dir}}/keyset.json
		provider workspace google_service_account {
			credentials_file FILE
			subjects *@example.com
			subjects_except admin@example.com
			scopes https://www.googleapis.com/auth/gmail.readonly
			token_endpoint SERVER/google/token
		}
		provider daemon microsoft_app {
			tenant aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee
			client_id app
			client_secret app-secret
			token_endpoint SERVER/microsoft/token
		}
		provider legacy emailengine {
			url SERVER
			access_token EETOKEN
		}
	}
}

http://{{addr}} {
	bind 127.0.0.1
	bellhop {
		token_endpoint
		proxy {
			upstream gmail.googleapis.com SERVER
			upstream www.googleapis.com SERVER
			upstream graph.microsoft.com SERVER
		}
	}
	respond "not bellhop" 404
}
`

func startUnattended(t *testing.T) (*bellhop, *unattendedServer) {
	t.Helper()
	u := newUnattendedServer(t)
	der, err := x509.MarshalPKCS8PrivateKey(u.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "robot@project.iam.gserviceaccount.com", "client_id": "1032965183", "private_key_id": "k",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sa.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, strings.NewReplacer("SERVER", u.URL, "FILE", file, "EETOKEN", strings.Repeat("e", 64)).Replace(unattendedCaddyfile)), u
}

// unattended registers an account that comes without a refresh token.
func unattended(id, provider string) map[string]any {
	return map[string]any{"account": id, "oauth2": map[string]any{"provider": provider, "auth": map[string]any{"user": ""}}}
}

func TestSubjectsNeedAKeyThatNamesThem(t *testing.T) {
	b, _ := startUnattended(t)
	domain := b.addKey("domain", map[string]any{"accounts": []string{"*@example.com"}, "token": true})
	exact := b.addKey("exact", map[string]any{"accounts": []string{"bob@example.com"}, "token": true})
	all := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	profile := func(id string) string { return "/proxy/" + id + "/gmail.googleapis.com/gmail/v1/users/me/profile" }
	for _, key := range []string{domain, exact} {
		answer := tokenOf(t, b.get(tokenURL("bob@example.com"), key))
		if answer.AccessToken != "ya29.bob@example.com" || answer.Provider != "gmailService" || answer.App != "workspace" || answer.User != "bob@example.com" {
			t.Errorf("%+v", answer)
		}
		if r := b.get(profile("bob@example.com"), key); r.status != http.StatusOK || !strings.Contains(string(r.body), "Bearer ya29.bob@example.com") {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	for _, path := range []string{tokenURL("bob@example.com"), profile("bob@example.com")} {
		r := b.get(path, all)
		refusedWith(t, r, http.StatusForbidden, "NotAllowed")
	}
	if answer := b.admin("GET", "/v1/account/bob@example.com/oauth-token", nil); answer["accessToken"] != "ya29.bob@example.com" {
		t.Errorf("%v", answer)
	}
	for _, id := range []string{"admin@example.com", "Admin@example.com", "bob@example.org"} {
		r := b.get(tokenURL(id), b.addKey("of-"+strings.NewReplacer("@", "-").Replace(id), map[string]any{"accounts": []string{id}, "token": true}))
		refusedWith(t, r, http.StatusNotFound, "AccountNotFound")
	}
	refusedWith(t, b.get(tokenURL("nobody@example.com"), domain), http.StatusForbidden, "OauthRenewError")
	t.Run("whoami tells of the one that is named", func(t *testing.T) {
		var told whoami
		if err := json.Unmarshal(b.get(whoamiPath, exact).body, &told); err != nil || len(told.Accounts) != 1 || told.Accounts[0].Provider != "workspace" || len(told.Accounts[0].SDKs) < 2 {
			t.Errorf("%+v, %v", told, err)
		}
	})
	t.Run("once registered it is as any other", func(t *testing.T) {
		body := unattended("alice", "workspace")
		body["oauth2"].(map[string]any)["auth"] = map[string]any{"user": "alice@example.com"}
		b.admin("POST", "/v1/account", body)
		if answer := tokenOf(t, b.get(tokenURL("alice"), all)); answer.AccessToken != "ya29.alice@example.com" {
			t.Errorf("%+v", answer)
		}
	})
}

func TestMissingDelegationNamesTheClick(t *testing.T) {
	b, _ := startUnattended(t)
	body := unattended("out", "workspace")
	body["oauth2"].(map[string]any)["auth"] = map[string]any{"user": "out@elsewhere.example"}
	b.admin("POST", "/v1/account", body)
	r := b.adminReply("POST", "/v1/account/out/refresh", nil)
	refusedWith(t, r, http.StatusInternalServerError, "ProviderMisconfigured")
	for _, words := range []string{"Domain-wide delegation", "1032965183", "https://www.googleapis.com/auth/gmail.readonly"} {
		if !strings.Contains(message(t, r), words) {
			t.Errorf("%q is not said: %s", words, r.body)
		}
	}
}

func TestAppsTokenIsAskedForOnceForAllAccounts(t *testing.T) {
	b, u := startUnattended(t)
	c := b.commands()
	for _, id := range []string{"one", "two", "three"} {
		c.must("account", "add", id, "--provider", "daemon")
	}
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	var first string
	for _, id := range []string{"one", "two", "three"} {
		answer := tokenOf(t, b.get(tokenURL(id), key))
		if first == "" {
			first = answer.AccessToken
		}
		if answer.AccessToken != first || answer.Provider != "outlookService" {
			t.Errorf("%+v", answer)
		}
	}
	if n := u.tokens.Load(); n != 1 {
		t.Errorf("%d token requests", n)
	}
	if answer := tokenOf(t, b.get(tokenURL("one")+"?audience=outlook.office.com", key)); answer.AccessToken == first {
		t.Error("the same token for another resource")
	}
}

func TestEmailEnginesAccountsCallTheirOwnProvidersAPIs(t *testing.T) {
	b, _ := startUnattended(t)
	for _, id := range []string{"g", "ms", "unknown"} {
		b.admin("POST", "/v1/account", unattended(id, "legacy"))
	}
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	if answer := tokenOf(t, b.get(tokenURL("g"), key)); answer.AccessToken != "ee-g" || answer.App != "legacy" || answer.User != "u@example.com" {
		t.Errorf("%+v", answer)
	}
	// Who the account is, is known from the first answer on, unless it was said.
	if shown := b.admin("GET", "/v1/account/g", nil); shown["email"] != "u@example.com" {
		t.Errorf("%v", shown)
	}
	if list := b.admin("GET", "/v1/accounts?query=u@example", nil); list["total"] == 0.0 {
		t.Errorf("%v", list)
	}
	said := unattended("said", "legacy")
	said["oauth2"].(map[string]any)["auth"] = map[string]any{"user": "said@example.com"}
	b.admin("POST", "/v1/account", said)
	if answer := tokenOf(t, b.get(tokenURL("said"), key)); answer.User != "said@example.com" {
		t.Errorf("%+v", answer)
	}
	for path, want := range map[string]string{
		"/proxy/g/gmail.googleapis.com/gmail/v1/users/me/profile": "Bearer ee-g",
		"/proxy/ms/graph.microsoft.com/v1.0/me":                   "Bearer ee-ms",
	} {
		if r := b.get(path, key); r.status != http.StatusOK || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	inDialect(t, b.get("/proxy/g/graph.microsoft.com/v1.0/me", key), dialectGraph, http.StatusForbidden, "InsufficientScope")
	inDialect(t, b.get("/proxy/ms/gmail.googleapis.com/gmail/v1/users/me/profile", key), dialectGoogle, http.StatusForbidden, "InsufficientScope")
	inDialect(t, b.get("/proxy/g/gmail/v1/users/me/profile", key), dialectEmailEngine, http.StatusBadRequest, "InvalidRequest")
	refusedWith(t, b.get(tokenURL("unknown"), key), http.StatusBadGateway, "ProviderError")
}

// A batch is judged part by part, whoever keeps the account's grant.
func TestBatchesOfEveryTypeOfProviderAreJudged(t *testing.T) {
	b, _ := startUnattended(t)
	b.admin("POST", "/v1/account", unattended("ms", "legacy"))
	b.admin("POST", "/v1/account", unattended("app", "daemon"))
	key := b.addKey("reads", map[string]any{"accounts": []string{"ms", "app"}, "allow": []string{"GET graph.microsoft.com/v1.0/me"}})
	for _, id := range []string{"ms", "app"} {
		body := strings.NewReader(`{"requests":[{"id":"1","method":"DELETE","url":"/me/messages/x"}]}`)
		r := b.do(http.MethodPost, "/proxy/"+id+"/graph.microsoft.com/v1.0/$batch", body, "Authorization", "Bearer "+key, "Content-Type", "application/json")
		if r.status != http.StatusOK || !strings.Contains(string(r.body), `"status":403`) || strings.Contains(string(r.body), "Bearer") {
			t.Errorf("%s: %d %s", id, r.status, r.body)
		}
	}
}

func TestUnattendedProvidersAreShownAsEmailEnginesServiceApplications(t *testing.T) {
	b, _ := startUnattended(t)
	r := b.adminReply("GET", "/v1/oauth2/workspace", nil)
	var app shownApp
	if err := json.Unmarshal(r.body, &app); err != nil {
		t.Fatal(err)
	}
	if app.Provider != "gmailService" || app.ServiceClient != "1032965183" || app.ServiceClientEmail != "robot@project.iam.gserviceaccount.com" ||
		app.ServiceKey != masked || app.AuthMethod != "serviceKey" || app.IncludeInListing || app.RedirectURL != "" || app.ClientID != "" {
		t.Errorf("%s", r.body)
	}
	if app := b.admin("GET", "/v1/oauth2/daemon", nil); app["provider"] != "outlookService" || app["clientSecret"] != masked || app["authority"] == nil {
		t.Errorf("%v", app)
	}
	if app := b.admin("GET", "/v1/oauth2/legacy", nil); app["provider"] != "emailengine" {
		t.Errorf("%v", app)
	}
}
