package caddymodule

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/emailengine/emailenginetest"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// robotAddress is a service account's; its number is robotNumber.
const (
	robotAddress = "robot@project.iam.gserviceaccount.com"
	robotNumber  = "1032965183"
	readGmail    = "https://www.googleapis.com/auth/gmail.readonly"
	workloadPool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"
)

const unattendedProvidersCaddyfile = `{
	admin unix/{{dir}}/admin.sock|0600
	persist_config off
	auto_https off
	grace_period 5s
	bellhop {
		store badger {{dir}}/store
		keyset {{dir}}/keyset.json
		provider workspace google_service_account {
			credentials_file FILES/key.json
			subjects *@example.com
			subjects_except admin@example.com it-*@example.com
			scopes ` + readGmail + `
		}
		provider keyless google_service_account {
			credentials_file FILES/federation.json
			scopes ` + readGmail + `
			token_endpoint PROVIDER/token
		}
		provider daemon microsoft_app {
			tenant example.com
			client_id app
			client_certificate FILES/app.pem FILES/app-key.pem
			token_endpoint PROVIDER/example.com/oauth2/v2.0/token
		}
	}
}

http://{{addr}} {
	bind 127.0.0.1
	bellhop {
		token_endpoint
		proxy {
			upstream gmail.googleapis.com PROVIDER
			upstream graph.microsoft.com PROVIDER
		}
	}
	respond "not bellhop" 404
}
`

// inPEM is DER as files hold it.
func inPEM(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// startUnattendedAtProvider has the fake provider, which judges assertions, in
// the place of Google's and Microsoft's servers.
func startUnattendedAtProvider(t *testing.T) (*bellhop, providerProcess) {
	t.Helper()
	p := startProvider(t, "-token-life", "1h")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	privatePEM := inPEM(t, "PRIVATE KEY", private, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	publicPEM := inPEM(t, "PUBLIC KEY", public, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	certificatePEM := inPEM(t, "CERTIFICATE", certificate, err)

	files := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inJSON := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write("key.json", inJSON(map[string]string{
		"type": "service_account", "client_email": robotAddress, "client_id": robotNumber, "private_key_id": "k1",
		"private_key": privatePEM, "token_uri": p.URL + "/token",
	}))
	write("federation.json", inJSON(map[string]any{
		"type": "external_account", "audience": workloadPool, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": p.URL + "/v1/token",
		"service_account_impersonation_url": p.URL + "/v1/projects/-/serviceAccounts/" + robotAddress + ":generateAccessToken",
		"credential_source":                 map[string]string{"file": filepath.Join(files, "workload.jwt")},
	}))
	write("workload.jwt", "workload-jwt")
	write("app.pem", certificatePEM)
	write("app-key.pem", privatePEM)

	ctx := t.Context()
	if err := p.RegisterServiceAccount(ctx, fakeprovider.ServiceAccount{
		Email: robotAddress, ClientID: robotNumber, Key: publicPEM, KeyID: "k1",
		Subjects: []string{"alice@example.com", "bob@example.com", "admin@example.com", "it-1@example.com", "carol@example.org"}, Scopes: []string{readGmail},
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.RegisterWorkload(ctx, fakeprovider.Workload{Audience: workloadPool, SubjectTokens: []string{"workload-jwt"}, ServiceAccounts: []string{robotAddress}}); err != nil {
		t.Fatal(err)
	}
	if err := p.RegisterClient(ctx, fakeprovider.Client{ID: "app", Keys: []string{certificatePEM}, Dialect: fakeprovider.Microsoft, ClientCredentials: true}); err != nil {
		t.Fatal(err)
	}
	return start(t, strings.NewReplacer("PROVIDER", p.URL, "FILES", files).Replace(unattendedProvidersCaddyfile)), p
}

func gmailProfile(id string) string {
	return "/proxy/" + id + "/gmail.googleapis.com/gmail/v1/users/me/profile"
}

func TestServiceAccountActsForADomainsUsers(t *testing.T) {
	b, p := startUnattendedAtProvider(t)
	domain := b.addKey("domain", map[string]any{"accounts": []string{"*@example.com"}, "token": true})
	all := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})

	answer := tokenOf(t, b.get(tokenURL("alice@example.com"), domain))
	if answer.AccessToken == "" || answer.User != "alice@example.com" || answer.Provider != "gmailService" {
		t.Errorf("%+v", answer)
	}
	for _, id := range []string{"alice@example.com", "bob@example.com"} {
		if r := b.get(gmailProfile(id), domain); r.status != http.StatusOK || !strings.Contains(string(r.body), id) {
			t.Errorf("%s: %d %s", id, r.status, r.body)
		}
	}
	if n := p.tokenRequests(t); n != 2 {
		t.Errorf("%d token requests for two users", n)
	}
	for _, path := range []string{tokenURL("alice@example.com"), gmailProfile("alice@example.com")} {
		refusedWith(t, b.get(path, all), http.StatusForbidden, "NotAllowed")
		refusedWith(t, b.get(strings.Replace(path, "alice", "Alice", 1), domain), http.StatusNotFound, "AccountNotFound")
	}
	// The service account may act for these too; the configuration says not to.
	for _, id := range []string{"admin@example.com", "it-1@example.com"} {
		refusedWith(t, b.get(tokenURL(id), domain), http.StatusNotFound, "AccountNotFound")
		refusedWith(t, b.get(gmailProfile(id), domain), http.StatusNotFound, "AccountNotFound")
	}
	elsewhere := b.addKey("elsewhere", map[string]any{"accounts": []string{"carol@example.org"}, "token": true})
	refusedWith(t, b.get(tokenURL("carol@example.org"), elsewhere), http.StatusNotFound, "AccountNotFound")
	if n := p.tokenRequests(t); n != 2 {
		t.Errorf("%d token requests, some for users that are not served", n)
	}
	refusedWith(t, b.get(tokenURL("nobody@example.com"), domain), http.StatusForbidden, "OauthRenewError")

	t.Run("whom a link would put somebody else in the place of", func(t *testing.T) {
		b.load(withAPI(b.caddyfile))
		body := map[string]any{"account": "alice@example.com", "type": "workspace", "redirectUrl": "https://app.example/"}
		wide := b.addKey("connects-all", map[string]any{"accounts": []string{"*"}, "connect": true})
		refusedWith(t, b.post("POST", formPath, wide, body), http.StatusForbidden, "NotAllowed")
		named := b.addKey("connects-domain", map[string]any{"accounts": []string{"*@example.com"}, "connect": true})
		if r := b.post("POST", formPath, named, body); r.status == http.StatusForbidden {
			t.Errorf("%s", r.body)
		}
	})
	t.Run("one who is registered and switched off", func(t *testing.T) {
		b.admin("POST", "/v1/account", unattended("bob@example.com", "workspace"))
		b.admin("POST", "/v1/account/bob@example.com/disable", nil)
		for _, id := range []string{"bob@example.com", "Bob@example.com", "bob@EXAMPLE.com"} {
			if r := b.get(tokenURL(id), domain); r.status == http.StatusOK {
				t.Errorf("%s: %s", id, r.body)
			}
		}
	})
	t.Run("one whom the next configuration excepts", func(t *testing.T) {
		b.load(strings.Replace(b.caddyfile, "subjects_except admin@example.com", "subjects_except admin@example.com alice@example.com", 1))
		for _, path := range []string{tokenURL("alice@example.com"), gmailProfile("alice@example.com")} {
			refusedWith(t, b.get(path, domain), http.StatusNotFound, "AccountNotFound")
		}
	})
}

func TestAssertionsAreJudged(t *testing.T) {
	b, p := startUnattendedAtProvider(t)
	domain := b.addKey("domain", map[string]any{"accounts": []string{"*@example.com"}, "token": true})
	if _, err := p.Advance(t.Context(), 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	r := b.get(tokenURL("alice@example.com"), domain)
	refusedWith(t, r, http.StatusInternalServerError, "ProviderMisconfigured")
	if !strings.Contains(message(t, r), "clock") {
		t.Errorf("an assertion that has ended: %s", r.body)
	}
}

func TestServiceAccountSignsWithoutAKey(t *testing.T) {
	b, p := startUnattendedAtProvider(t)
	body := unattended("alice", "keyless")
	body["oauth2"].(map[string]any)["auth"] = map[string]any{"user": "alice@example.com"}
	b.admin("POST", "/v1/account", body)
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	if r := b.get(gmailProfile("alice"), key); r.status != http.StatusOK || !strings.Contains(string(r.body), "alice@example.com") {
		t.Errorf("%d %s", r.status, r.body)
	}
	requests, err := p.TokenRequests(t.Context(), false)
	if err != nil || len(requests) != 1 || requests[0].Scope != readGmail && requests[0].Scope != "" {
		t.Errorf("%+v, %v", requests, err)
	}
}

func TestAppWithACertificateHasOneTokenForAHundredAccounts(t *testing.T) {
	b, p := startUnattendedAtProvider(t)
	const accounts = 100
	for i := range accounts {
		b.admin("POST", "/v1/account", unattended(fmt.Sprintf("mailbox%d", i), "daemon"))
	}
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	var mu sync.Mutex
	tokens := make(map[string]int)
	var calling sync.WaitGroup
	for i := range accounts {
		calling.Go(func() {
			r, err := b.send(t.Context(), http.MethodGet, tokenURL(fmt.Sprintf("mailbox%d", i)), nil, "Authorization", "Bearer "+key)
			var answer tokenAnswer
			if err != nil || r.status != http.StatusOK || json.Unmarshal(r.body, &answer) != nil {
				t.Errorf("mailbox%d: %v %d %s", i, err, r.status, r.body)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			tokens[answer.AccessToken]++
		})
	}
	calling.Wait()
	if len(tokens) != 1 {
		t.Errorf("%d tokens", len(tokens))
	}
	requests, err := p.TokenRequests(t.Context(), false)
	if err != nil || len(requests) != 1 || requests[0].AuthMethod != fakeprovider.PrivateKeyJWT || requests[0].GrantType != "client_credentials" || requests[0].Outcome != fakeprovider.OutcomeIssued {
		t.Fatalf("%+v, %v", requests, err)
	}
	if r := b.get("/proxy/mailbox7/graph.microsoft.com/v1.0/me/messages", key); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	b.admin("POST", "/v1/account/mailbox7/disable", nil)
	refusedWith(t, b.get(tokenURL("mailbox7"), key), http.StatusForbidden, "AccountDisabled")
	if r := b.get("/proxy/mailbox7/graph.microsoft.com/v1.0/me/messages", key); r.status == http.StatusOK {
		t.Errorf("an account that is switched off: %s", r.body)
	}
	if n := p.tokenRequests(t); n != 1 {
		t.Errorf("%d token requests", n)
	}

	// Another app takes the accounts over, and nobody need consent again.
	b.load(strings.Replace(b.caddyfile, "client_id app\n", "client_id other\n", 1))
	for _, c := range b.examine() {
		if c.Check == "account" {
			t.Errorf("%+v", c)
		}
	}
	refusedWith(t, b.get(tokenURL("mailbox8"), key), http.StatusInternalServerError, "ProviderMisconfigured")
}

// EmailEngine's applications of services are found by the number or the address
// of the service account, and by the app's client ID.
func TestImportOfAnEmailEnginesServiceApplications(t *testing.T) {
	b, p := startUnattendedAtProvider(t)
	before, after, _ := strings.Cut(b.caddyfile, "\t\tprovider keyless ")
	_, after, _ = strings.Cut(after, "\t\t}\n")
	b.load(before + after) // the same service account twice would be ambiguous

	r := emailenginetest.Start(t)
	r.App("AAAS", map[string]any{"name": "Domain", "provider": "gmailService", "serviceClient": robotNumber, "serviceClientEmail": robotAddress, "serviceKey": eengineCanary})
	r.App("AAAT", map[string]any{"name": "Federated", "provider": "gmailService", "serviceClientEmail": robotAddress, "authMethod": "externalAccount"})
	r.App("AAAO", map[string]any{"name": "App", "provider": "outlookService", "clientId": "app", "clientSecret": eengineCanary, "authority": "example.com"})
	r.App("AAAX", map[string]any{"name": "Other", "provider": "gmailService", "serviceClient": "1", "serviceClientEmail": "other@project.iam.gserviceaccount.com"})
	for id, record := range map[string]map[string]any{
		"alice": {"provider": "AAAS", "auth": map[string]any{"user": "alice@example.com"}, "accessToken": "ya29." + eengineCanary, "expires": time.Now().Add(time.Hour).UTC().Format(timestamp)},
		"bob":   {"provider": "AAAT", "auth": map[string]any{"user": "bob@example.com"}},
		"box":   {"provider": "AAAO", "auth": map[string]any{"user": "box@example.com"}},
		"other": {"provider": "AAAX", "auth": map[string]any{"user": "alice@example.com"}},
	} {
		r.Account(id, nil, record)
	}
	r.Token(emailEngineToken("c1"), map[string]any{"scopes": []string{"api"}, "description": "all"})
	c := b.commands()
	args := []string{"import", "emailengine", "--redis", r.URL}
	for _, run := range []struct {
		result string
		more   []string
	}{{"added", []string{"--dry-run"}}, {"added", nil}, {"unchanged", nil}} {
		report, s := c.report(append(args, run.more...)...)
		reads(t, report.remarks(), map[string][]string{
			"alice": {run.result + ": "}, "bob": {run.result + ": "}, "box": {run.result + ": "}, "key all": {run.result + ": "},
			"other": {"refused: ", `"Other"`},
		})
		if strings.Contains(s.all(), eengineCanary) {
			t.Errorf("a secret stands in\n%s", s.all())
		}
	}
	if n := p.tokenRequests(t); n != 0 {
		t.Errorf("%d token requests by imports", n)
	}
	for id, user := range map[string]string{"alice": "alice@example.com", "bob": "bob@example.com"} {
		if r := b.get(gmailProfile(id), emailEngineToken("c1")); r.status != http.StatusOK || !strings.Contains(string(r.body), user) {
			t.Errorf("%s: %d %s", id, r.status, r.body)
		}
	}
	if answer := tokenOf(t, b.get(tokenURL("box"), emailEngineToken("c1"))); answer.Provider != "outlookService" || answer.User != "box@example.com" {
		t.Errorf("%+v", answer)
	}
	// An EmailEngine's token for all its accounts is none for all of a domain.
	refusedWith(t, b.get(tokenURL("alice@example.com"), emailEngineToken("c1")), http.StatusForbidden, "NotAllowed")
	report, _ := c.report(args...)
	if got := report.remarks()["alice"]; !strings.HasPrefix(got, "unchanged") {
		t.Errorf("once it had a token: %s", got)
	}
}
