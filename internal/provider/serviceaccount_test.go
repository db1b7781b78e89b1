package provider

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

const (
	robot     = "robot@project.iam.gserviceaccount.com"
	gmailRead = "https://www.googleapis.com/auth/gmail.readonly"
	calendars = "https://www.googleapis.com/auth/calendar"
)

// testKey is a service account's; making one takes a while.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// googleStandIn is as much of Google as service accounts need: the token
// endpoint, which verifies assertions (RFC 7523 section 3), the exchange of
// federated tokens, and signJwt.
type googleStandIn struct {
	*httptest.Server
	key       *rsa.PrivateKey
	delegated []string // the scopes of the domain's delegation

	mu       sync.Mutex
	claims   []map[string]any
	headers  []jose.Header
	exchange []url.Values
	// refuse answers in the place of an endpoint.
	refuse map[string]http.HandlerFunc
}

func newGoogleStandIn(t *testing.T) *googleStandIn {
	t.Helper()
	g := &googleStandIn{key: testKey(), delegated: []string{gmailRead, calendars}, refuse: map[string]http.HandlerFunc{}}
	mux := http.NewServeMux()
	for pattern, handler := range map[string]http.HandlerFunc{
		"/token": g.token, "/v1/token": g.sts, "/v1/projects/-/serviceAccounts/" + robot + ":signJwt": g.signJWT,
	} {
		mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if refuse := g.refuse[pattern]; refuse != nil {
				refuse(w, r)
				return
			}
			handler(w, r)
		})
	}
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

func (g *googleStandIn) token(w http.ResponseWriter, r *http.Request) {
	refuse := func(code, description string) {
		says(400, `{"error":"`+code+`","error_description":"`+description+`"}`)(w, r)
	}
	if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		refuse("unsupported_grant_type", "Invalid grant_type: "+r.FormValue("grant_type"))
		return
	}
	signed, err := jose.ParseSigned(r.FormValue("assertion"), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		refuse("invalid_grant", "Bad Request")
		return
	}
	payload, err := signed.Verify(g.key.Public())
	if err != nil {
		refuse("invalid_grant", "Invalid JWT Signature.")
		return
	}
	var claims struct {
		Iss, Sub, Scope, Aud string
		Iat, Exp             int64
	}
	var all map[string]any
	if json.Unmarshal(payload, &claims) != nil || json.Unmarshal(payload, &all) != nil || claims.Iss != robot || claims.Aud != g.URL+"/token" {
		refuse("invalid_grant", "Bad Request")
		return
	}
	now := time.Now().Unix()
	if claims.Exp <= now || claims.Iat > now || claims.Exp-claims.Iat > 3600 {
		refuse("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.")
		return
	}
	g.claims, g.headers = append(g.claims, all), append(g.headers, signed.Signatures[0].Header)
	if claims.Sub == "nobody@example.com" {
		refuse("invalid_grant", "Invalid email or User ID")
		return
	}
	for scope := range strings.SplitSeq(claims.Scope, " ") {
		if claims.Sub != "" && !slices.Contains(g.delegated, scope) {
			refuse("unauthorized_client", "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.")
			return
		}
	}
	says(200, `{"access_token":"ya29.for-`+claims.Sub+`","expires_in":3599,"token_type":"Bearer"}`)(w, r)
}

func (g *googleStandIn) sts(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	g.exchange = append(g.exchange, r.PostForm)
	says(200, `{"access_token":"federated-1","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3600}`)(w, r)
}

func (g *googleStandIn) signJWT(w http.ResponseWriter, r *http.Request) {
	if a := r.Header.Get("Authorization"); a != "Bearer federated-1" && a != "Bearer ya29.for-" {
		says(401, `{"error":{"code":401,"message":"no","status":"UNAUTHENTICATED"}}`)(w, r)
		return
	}
	var body struct{ Payload string }
	text, _ := io.ReadAll(r.Body)
	if json.Unmarshal(text, &body) != nil {
		says(400, `{"error":{"code":400,"status":"INVALID_ARGUMENT"}}`)(w, r)
		return
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: g.key}, (&jose.SignerOptions{}).WithHeader("kid", "google-managed"))
	if err != nil {
		panic(err)
	}
	signed, _ := signer.Sign([]byte(body.Payload))
	assertion, _ := signed.CompactSerialize()
	says(200, `{"keyId":"google-managed","signedJwt":"`+assertion+`"}`)(w, r)
}

func (g *googleStandIn) last() (map[string]any, jose.Header) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.claims) == 0 {
		return nil, jose.Header{}
	}
	return g.claims[len(g.claims)-1], g.headers[len(g.headers)-1]
}

// jsonText writes a credentials file.
func jsonText(t *testing.T, v map[string]any) secret.String {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return secret.New(string(text))
}

// keyFile is a service account's, as the Google Cloud console hands it out.
func (g *googleStandIn) keyFile(t *testing.T, key *rsa.PrivateKey) map[string]any {
	return map[string]any{
		"type": "service_account", "project_id": "project", "private_key_id": "key-1", "private_key": pemOf(t, key).Reveal(),
		"client_email": robot, "client_id": "103296518315821565203", "token_uri": g.URL + "/token",
		"auth_uri": "https://accounts.google.com/o/oauth2/auth", "universe_domain": "googleapis.com",
	}
}

func serviceAccountConfig(t *testing.T, credentials map[string]any) Config {
	return Config{
		Name: "workspace", Type: TypeGoogleServiceAccount, Credentials: jsonText(t, credentials),
		Subjects: []string{"*@example.com"}, SubjectsExcept: []string{"admin@example.com"},
		Scopes: []string{gmailRead, calendars},
	}
}

// derive asks for a token as the broker does of an unattended provider.
func derive(t *testing.T, p Provider, req account.RefreshRequest) (account.Answer, *account.Failure) {
	t.Helper()
	answer, err := p.Refresh(t.Context(), req)
	failure, _ := err.(*account.Failure) //nolint:errorlint // it is promised to be one
	if err != nil && failure == nil {
		t.Fatalf("Refresh returned a %T, want *account.Failure", err)
	}
	return answer, failure
}

func TestServiceAccountActsForTheUser(t *testing.T) {
	g := newGoogleStandIn(t)
	p := mustNew(t, serviceAccountConfig(t, g.keyFile(t, g.key)))
	for name, test := range map[string]struct {
		req            account.RefreshRequest
		subject, scope string
	}{
		"registered, by its user":    {account.RefreshRequest{Account: "alice", User: "alice@example.com"}, "alice@example.com", gmailRead + " " + calendars},
		"unregistered, by its ID":    {account.RefreshRequest{Account: "bob@example.com"}, "bob@example.com", gmailRead + " " + calendars},
		"with scopes of its own":     {account.RefreshRequest{Account: "bob@example.com", GrantScopes: []string{calendars}}, "bob@example.com", calendars},
		"narrowed":                   {account.RefreshRequest{Account: "bob@example.com", Scopes: []string{gmailRead}}, "bob@example.com", gmailRead},
		"whatever the audience says": {account.RefreshRequest{Account: "bob@example.com", Audience: ""}, "bob@example.com", gmailRead + " " + calendars},
	} {
		t.Run(name, func(t *testing.T) {
			answer, failure := derive(t, p, test.req)
			if failure != nil {
				t.Fatal(failure)
			}
			if answer.AccessToken.Reveal() != "ya29.for-"+test.subject || answer.Life != 3599*time.Second {
				t.Errorf("answer %q for %s", answer.AccessToken.Reveal(), answer.Life)
			}
			claims, header := g.last()
			if claims["sub"] != test.subject || claims["scope"] != test.scope || claims["iss"] != robot {
				t.Errorf("claims %v", claims)
			}
			if header.KeyID != "key-1" {
				t.Errorf("kid %q", header.KeyID)
			}
		})
	}
	if g := p.DefaultHost(); g != "www.googleapis.com" {
		t.Errorf("default host %q", g)
	}
	if err := p.AllowsHost("gmail.googleapis.com", "/"); err != nil {
		t.Error(err)
	}
}

func TestServiceAccountNeverAsksForItself(t *testing.T) {
	g := newGoogleStandIn(t)
	p := mustNew(t, serviceAccountConfig(t, g.keyFile(t, g.key)))
	if _, failure := derive(t, p, account.RefreshRequest{}); failure == nil || failure.Meaning != account.GrantDead {
		t.Errorf("failure %v", failure)
	}
	if claims, _ := g.last(); claims != nil {
		t.Errorf("a token was asked for with %v", claims)
	}
}

func TestServiceAccountFailuresBlameWhoIsToBlame(t *testing.T) {
	g := newGoogleStandIn(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	undelegated := serviceAccountConfig(t, g.keyFile(t, g.key))
	undelegated.Scopes = []string{gmailRead, "https://mail.google.com/"}
	for name, test := range map[string]struct {
		cfg     Config
		account string
		meaning account.Meaning
		mend    []string
	}{
		"no such user": {serviceAccountConfig(t, g.keyFile(t, g.key)), "nobody@example.com", account.GrantDead, []string{"primary address"}},
		"another key":  {serviceAccountConfig(t, g.keyFile(t, other)), "bob@example.com", account.ClientMisconfigured, []string{"Create a new key"}},
		"not delegated": {
			undelegated, "bob@example.com", account.ClientMisconfigured,
			[]string{"API controls > Domain-wide delegation", "103296518315821565203", gmailRead + ",https://mail.google.com/"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, failure := derive(t, mustNew(t, test.cfg), account.RefreshRequest{Account: test.account})
			if failure == nil || failure.Meaning != test.meaning || failure.Lost {
				t.Fatalf("failure %+v, want %s", failure, test.meaning)
			}
			for _, words := range test.mend {
				if !strings.Contains(failure.Mend, words) {
					t.Errorf("mend %q does not say %q", failure.Mend, words)
				}
			}
		})
	}
	t.Run("answer that never came", func(t *testing.T) {
		g.refuse["/token"] = hijack(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
		_, failure := derive(t, mustNew(t, serviceAccountConfig(t, g.keyFile(t, g.key))), account.RefreshRequest{Account: "bob@example.com"})
		if failure == nil || failure.Meaning != account.ProviderDown || failure.Lost {
			t.Errorf("failure %+v: nothing was spent", failure)
		}
	})
	t.Run("answer that repeats the assertion", func(t *testing.T) {
		g.refuse["/token"] = func(w http.ResponseWriter, r *http.Request) {
			says(400, `{"error":"invalid_grant","error_description":"`+r.FormValue("assertion")+`"}`)(w, r)
		}
		_, failure := derive(t, mustNew(t, serviceAccountConfig(t, g.keyFile(t, g.key))), account.RefreshRequest{Account: "bob@example.com"})
		if failure == nil || failure.Description != "" || failure.Meaning != account.Unlisted {
			t.Errorf("failure %+v", failure)
		}
	})
}

func TestSubjectsThatNeedNoRegistration(t *testing.T) {
	g := newGoogleStandIn(t)
	cfg := serviceAccountConfig(t, g.keyFile(t, g.key))
	cfg.Subjects = []string{"*@Example.com", "sales-*@example.org"}
	cfg.SubjectsExcept = []string{"admin@example.com", "root*"}
	p := mustNew(t, cfg).(Unattended)
	for id, want := range map[string]bool{
		"bob@example.com": true, "Bob@EXAMPLE.com": false, "bob@Example.com": false, "o'neil_j.r-2@example.com": true, "sales-eu@example.org": true,
		"admin@example.com": false, "Admin@example.COM": false, "rootkit@example.com": false,
		"bob@example.org": false, "bob@sub.example.com": false, "bob@example.com.evil.example": false, "bob@notexample.com": false,
		"bob": false, "": false, "@example.com": false, "a@b@example.com": false, "bob@example.com.": false,
		"admin+x@example.com": false, "\"admin\"@example.com": false, "admın@example.com": false, "admin @example.com": false, "a/b@example.com": false,
	} {
		if got := p.Covers(id); got != want {
			t.Errorf("Covers(%q) is %t", id, got)
		}
	}
	if p.Shared() {
		t.Error("users share a token")
	}
}

func TestServiceAccountRefusesAtLoad(t *testing.T) {
	g := newGoogleStandIn(t)
	with := func(member string, value any) map[string]any {
		file := g.keyFile(t, g.key)
		file[member] = value
		return file
	}
	for name, test := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"star alone":           {func(c *Config) { c.Subjects = []string{"*"} }, "subjects: \"*\" does not name a whole domain"},
		"star for the domain":  {func(c *Config) { c.Subjects = []string{"bob@*"} }, "subjects: "},
		"star in the domain":   {func(c *Config) { c.Subjects = []string{"*@*.example.com"} }, "subjects: "},
		"domain without a dot": {func(c *Config) { c.Subjects = []string{"*@com"} }, "subjects: "},
		"empty exception":      {func(c *Config) { c.SubjectsExcept = []string{""} }, "subjects_except: is empty"},
		"no credentials":       {func(c *Config) { c.Credentials = secret.New("") }, "credentials_file: is missing"},
		"no JSON":              {func(c *Config) { c.Credentials = secret.New("hello") }, "credentials_file: is not a JSON"},
		"no scopes":            {func(c *Config) { c.Scopes = nil }, "scopes: is missing"},
		"no key":               {func(c *Config) { c.Credentials = jsonText(t, with("private_key", "")) }, "credentials_file: private_key is missing"},
		"broken key":           {func(c *Config) { c.Credentials = jsonText(t, with("private_key", "-----BEGIN")) }, "credentials_file: private_key: "},
		"no address":           {func(c *Config) { c.Credentials = jsonText(t, with("client_email", "")) }, "credentials_file: client_email is missing"},
		"token_uri elsewhere":  {func(c *Config) { c.Credentials = jsonText(t, with("token_uri", "https://evil.example/token")) }, "credentials_file: token_uri: "},
		"token_uri that looks so": {func(c *Config) {
			c.Credentials = jsonText(t, with("token_uri", "https://oauth2.googleapis.com.evil.example/token"))
		}, "credentials_file: token_uri: "},
		"token_uri with a port": {func(c *Config) {
			c.Credentials = jsonText(t, with("token_uri", "https://oauth2.googleapis.com:8443/token"))
		}, "credentials_file: token_uri: "},
		"a person's":       {func(c *Config) { c.Credentials = jsonText(t, with("type", "authorized_user")) }, "credentials_file: type authorized_user is a person's"},
		"another type":     {func(c *Config) { c.Credentials = jsonText(t, with("type", "gdch_service_account")) }, "credentials_file: type "},
		"another universe": {func(c *Config) { c.Credentials = jsonText(t, with("universe_domain", "s3nsapis.fr")) }, "credentials_file: universe_domain "},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := serviceAccountConfig(t, g.keyFile(t, g.key))
			test.edit(&cfg)
			_, err := New(cfg, nil)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("error %v, want %s…", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Errorf("the error has the key: %v", err)
			}
		})
	}
	for _, uri := range []string{"https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/token", "https://www.googleapis.com/oauth2/v4/token"} {
		cfg := serviceAccountConfig(t, with("token_uri", uri))
		if p := mustNew(t, cfg); p.TokenEndpoint("") != uri {
			t.Errorf("token endpoint %s, want %s", p.TokenEndpoint(""), uri)
		}
	}
}

// federated is the configuration of workload identity federation.
func (g *googleStandIn) federated(t *testing.T, source map[string]any) map[string]any {
	t.Helper()
	if source == nil {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte("token-of-the-cluster"), 0o600); err != nil {
			t.Fatal(err)
		}
		source = map[string]any{"file": file}
	}
	return map[string]any{
		"type": "external_account", "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster",
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": g.URL + "/v1/token", "credential_source": source,
		"service_account_impersonation_url": g.URL + "/v1/projects/-/serviceAccounts/" + robot + ":generateAccessToken",
	}
}

func federatedConfig(t *testing.T, g *googleStandIn, credentials map[string]any) Config {
	cfg := serviceAccountConfig(t, credentials)
	cfg.TokenEndpoint = g.URL + "/token"
	return cfg
}

func TestServiceAccountSignsWithoutAKey(t *testing.T) {
	g := newGoogleStandIn(t)
	served := newFakeServer(t, says(200, `{"value":"token-of-the-cluster"}`))
	for name, credentials := range map[string]map[string]any{
		"federated, token in a file": g.federated(t, nil),
		"federated, token at a URL": g.federated(t, map[string]any{
			"url": served.URL, "headers": map[string]string{"Metadata": "True"}, "format": map[string]string{"type": "json", "subject_token_field_name": "value"},
		}),
		"impersonated by another's federation": {
			"type": "impersonated_service_account", "source_credentials": g.federated(t, nil),
			"service_account_impersonation_url": g.URL + "/v1/projects/-/serviceAccounts/" + robot + ":generateAccessToken",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustNew(t, federatedConfig(t, g, credentials))
			g.exchange = nil
			for _, user := range []string{"bob@example.com", "eve@example.com"} {
				answer, failure := derive(t, p, account.RefreshRequest{Account: user})
				if failure != nil {
					t.Fatal(failure)
				}
				if answer.AccessToken.Reveal() != "ya29.for-"+user {
					t.Errorf("token %q", answer.AccessToken.Reveal())
				}
			}
			if claims, header := g.last(); claims["sub"] != "eve@example.com" || header.KeyID != "google-managed" {
				t.Errorf("claims %v, kid %q", claims, header.KeyID)
			}
			if len(g.exchange) != 1 || g.exchange[0].Get("subject_token") != "token-of-the-cluster" {
				t.Errorf("the token was exchanged %d times: %v", len(g.exchange), g.exchange)
			}
			if p.ClientID() != robot {
				t.Errorf("client ID %q", p.ClientID())
			}
		})
	}
	t.Run("impersonated by another's key", func(t *testing.T) {
		p := mustNew(t, federatedConfig(t, g, map[string]any{
			"type": "impersonated_service_account", "source_credentials": g.keyFile(t, g.key),
			"service_account_impersonation_url": g.URL + "/v1/projects/-/serviceAccounts/" + robot + ":generateAccessToken",
		}))
		if _, failure := derive(t, p, account.RefreshRequest{Account: "bob@example.com"}); failure != nil {
			t.Fatal(failure)
		}
		if len(g.claims) < 2 || g.claims[len(g.claims)-2]["sub"] != nil {
			t.Errorf("who asks did not ask for itself: %v", g.claims)
		}
	})
}

func TestKeylessFailuresBlameTheConfiguration(t *testing.T) {
	g := newGoogleStandIn(t)
	signJWT := "/v1/projects/-/serviceAccounts/" + robot + ":signJwt"
	down := says(503, "<html>")
	for name, test := range map[string]struct {
		source  map[string]any
		refuse  string
		answer  http.HandlerFunc
		meaning account.Meaning
		reads   string
	}{
		"file is missing":      {map[string]any{"file": filepath.Join(t.TempDir(), "none")}, "", nil, account.ClientMisconfigured, "credential_source gave none"},
		"exchange refused":     {nil, "/v1/token", says(400, `{"error":"invalid_grant","error_description":"token-of-the-cluster has expired"}`), account.ClientMisconfigured, "does not take the token"},
		"exchange down":        {nil, "/v1/token", down, account.ProviderDown, ""},
		"exchange throttled":   {nil, "/v1/token", says(429, `{}`), account.Throttled, ""},
		"exchange redirects":   {nil, "/v1/token", http.RedirectHandler("https://evil.example/", http.StatusTemporaryRedirect).ServeHTTP, account.ProviderDown, ""},
		"may not sign":         {nil, signJWT, says(403, `{"error":{"code":403,"message":"Permission 'iam.serviceAccounts.signJwt' denied","status":"PERMISSION_DENIED"}}`), account.ClientMisconfigured, "sign as " + robot},
		"signing is throttled": {nil, signJWT, says(429, `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}`), account.Throttled, ""},
		"signing is down":      {nil, signJWT, down, account.ProviderDown, ""},
		"signed nothing":       {nil, signJWT, says(200, `{}`), account.ProviderDown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustNew(t, federatedConfig(t, g, g.federated(t, test.source)))
			g.refuse = map[string]http.HandlerFunc{test.refuse: test.answer}
			_, failure := derive(t, p, account.RefreshRequest{Account: "bob@example.com"})
			if failure == nil || failure.Meaning != test.meaning || failure.Lost || !strings.Contains(failure.Reads, test.reads) {
				t.Fatalf("failure %+v", failure)
			}
			if strings.Contains(failure.Error(), "token-of-the-cluster") {
				t.Errorf("the failure has the token: %v", failure)
			}
			if failure.Meaning == account.ClientMisconfigured && failure.Mend == "" {
				t.Error("nothing says how to mend it")
			}
		})
	}
}

func TestFederationGoesToGoogleOnly(t *testing.T) {
	g := newGoogleStandIn(t)
	for name, test := range map[string]struct {
		member string
		value  any
		want   string
	}{
		"exchange elsewhere":         {"token_url", "https://evil.example/v1/token", "credentials_file: token_url: "},
		"exchange in a subdomain":    {"token_url", "https://sts.googleapis.com.evil.example/v1/token", "credentials_file: token_url: "},
		"another of Google's":        {"token_url", "https://storage.googleapis.com/evil/token", "credentials_file: token_url: "},
		"metadata service":           {"token_url", "http://169.254.169.254/token", "credentials_file: token_url: "},
		"signing elsewhere":          {"service_account_impersonation_url", "https://evil.example/v1/projects/-/serviceAccounts/" + robot + ":generateAccessToken", "credentials_file: service_account_impersonation_url: "},
		"no impersonation":           {"service_account_impersonation_url", "", "credentials_file: service_account_impersonation_url is missing"},
		"odd impersonation":          {"service_account_impersonation_url", "https://iamcredentials.googleapis.com/v1/x", "credentials_file: service_account_impersonation_url is not"},
		"program":                    {"credential_source", map[string]any{"executable": map[string]any{"command": "/bin/sh"}}, "credentials_file: credential_source: executable: "},
		"no source":                  {"credential_source", nil, "credentials_file: credential_source: is missing"},
		"source of another kind":     {"credential_source", map[string]any{"certificate": map[string]any{}}, "credentials_file: credential_source: has neither"},
		"source in clear":            {"credential_source", map[string]any{"url": "http://10.0.0.1/token"}, "credentials_file: credential_source: url: "},
		"source with user and host":  {"credential_source", map[string]any{"url": "http://169.254.169.254@evil.example/"}, "credentials_file: credential_source: url: "},
		"AWS's metadata in the wild": {"credential_source", map[string]any{"environment_id": "aws1", "region_url": "http://evil.example/"}, "credentials_file: credential_source: region_url: "},
	} {
		t.Run(name, func(t *testing.T) {
			file := g.federated(t, nil)
			file[test.member] = test.value
			if _, err := New(federatedConfig(t, g, file), nil); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("error %v, want %s…", err, test.want)
			}
		})
	}
	for _, member := range []map[string]any{
		{"token_url": "https://sts.googleapis.com/v1/token"},
		{"token_url": "https://sts.us-east7.rep.googleapis.com/v1/token"},
		{"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + robot + ":generateAccessToken"},
		{"credential_source": map[string]any{"url": "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01", "headers": map[string]string{"Metadata": "True"}}},
		{"credential_source": map[string]any{"environment_id": "aws1", "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone", "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"}},
	} {
		file := g.federated(t, nil)
		maps.Copy(file, member)
		if _, err := New(federatedConfig(t, g, file), nil); err != nil {
			t.Errorf("%v: %v", member, err)
		}
	}
}

// Whoever is unattended is nobody's to consent to.
func TestUnattendedProvidersAreNotAttended(t *testing.T) {
	g := newGoogleStandIn(t)
	for _, cfg := range []Config{
		serviceAccountConfig(t, g.keyFile(t, g.key)),
		{Name: "daemon", Type: TypeMicrosoftApp, Tenant: "contoso.example", ClientID: "app", ClientSecrets: []secret.String{secret.New("s3cret")}},
		{Name: "legacy", Type: TypeEmailEngine, URL: "http://127.0.0.1:3000", AccessToken: secret.New("t")},
	} {
		p := mustNew(t, cfg)
		if _, ok := p.(Unattended); !ok {
			t.Errorf("%s is attended", cfg.Type)
		}
		if _, ok := p.(Attended); ok {
			t.Errorf("%s takes people's consent", cfg.Type)
		}
		if err := p.Revoke(context.Background(), secret.New("x")); err == nil {
			t.Errorf("%s revoked something", cfg.Type)
		}
	}
}

// Whoever waits for a token exchange that hangs waits no longer than their own
// request may take.
func TestTokenExchangeIsNotWaitedForBeyondTheRequest(t *testing.T) {
	g := newGoogleStandIn(t)
	asked, release := make(chan struct{}, 10), make(chan struct{})
	g.refuse["/v1/token"] = func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-release
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	p := mustNew(t, federatedConfig(t, g, g.federated(t, nil)))
	first := make(chan error)
	go func() {
		_, err := p.Refresh(t.Context(), account.RefreshRequest{Account: "bob@example.com"})
		first <- err
	}()
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := p.Refresh(ctx, account.RefreshRequest{Account: "eve@example.com"})
	failure, ok := errors.AsType[*account.Failure](err)
	if !ok || failure.Meaning != account.ProviderDown || failure.Lost {
		t.Errorf("%+v", err)
	}
	close(release)
	if err := <-first; err == nil {
		t.Error("an exchange that failed was not noticed")
	}
	if n := len(asked); n != 0 {
		t.Errorf("%d more exchanges", n)
	}
}
