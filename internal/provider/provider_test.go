package provider

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// seen is one request that a fakeServer got.
type seen struct {
	Path   string
	Header http.Header
	Form   url.Values
}

// fakeServer answers every request with what answer writes and remembers the
// requests.
type fakeServer struct {
	*httptest.Server
	mu       sync.Mutex
	requests []seen
}

func newFakeServer(t *testing.T, answer http.HandlerFunc) *fakeServer {
	t.Helper()
	f := &fakeServer{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		f.mu.Lock()
		f.requests = append(f.requests, seen{r.URL.Path, r.Header.Clone(), form})
		f.mu.Unlock()
		r.Form = form
		answer(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeServer) all() []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

func (f *fakeServer) only(t *testing.T) seen {
	t.Helper()
	requests := f.all()
	if len(requests) != 1 {
		t.Fatalf("the server got %d requests, want 1", len(requests))
	}
	return requests[0]
}

// says answers with a status and a JSON body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const freshToken = `{"access_token":"at-1","expires_in":3600,"token_type":"Bearer"}`

func oauth2Config(endpoint string) Config {
	return Config{
		Name: "acme", Type: TypeOAuth2, ClientID: "bellhop",
		ClientSecrets: []secret.String{secret.New("s3cret")},
		TokenEndpoint: endpoint,
		Scopes:        []string{"openid", "mail.read"},
	}
}

func microsoftConfig(endpoint string) Config {
	return Config{
		Name: "microsoft", Type: TypeMicrosoft, ClientID: "11111111-1111-1111-1111-111111111111",
		ClientSecrets: []secret.String{secret.New("s3cret")},
		Tenant:        "organizations",
		TokenEndpoint: endpoint,
		Scopes:        []string{"https://graph.microsoft.com/Mail.Read", "https://outlook.office.com/IMAP.AccessAsUser.All"},
	}
}

func googleConfig(endpoint string) Config {
	return Config{
		Name: "google", Type: TypeGoogle, ClientID: "id.apps.googleusercontent.com",
		ClientSecrets: []secret.String{secret.New("GOCSPX-s3cret")},
		TokenEndpoint: endpoint,
		Scopes:        []string{"https://mail.google.com/"},
	}
}

func mustNew(t *testing.T, cfg Config) Provider {
	t.Helper()
	p, err := New(cfg, nil)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return p
}

func refresh(t *testing.T, p Provider, req account.RefreshRequest) (account.Answer, *account.Failure) {
	t.Helper()
	if req.RefreshToken.IsZero() {
		req.RefreshToken = secret.New("rt-0")
	}
	answer, err := p.Refresh(t.Context(), req)
	if err == nil {
		return answer, nil
	}
	failure, ok := errors.AsType[*account.Failure](err)
	if !ok {
		t.Fatalf("Refresh returned a %T, want *account.Failure", err)
	}
	return answer, failure
}

func TestNewNamesTheSubdirectiveThatIsWrong(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		edit func(*Config)
		want string
	}{
		{"unknown type", googleConfig(""), func(c *Config) { c.Type = "gogle" }, "type: "},
		{"no client ID", googleConfig(""), func(c *Config) { c.ClientID = "" }, "client_id: is missing"},
		{"no secret", googleConfig(""), func(c *Config) { c.ClientSecrets = nil }, "client_secret: is missing"},
		{"empty older secret", googleConfig(""), func(c *Config) { c.ClientSecrets = append(c.ClientSecrets, secret.New("")) }, "client_secret: is empty"},
		{"plain http", googleConfig("http://oauth.example/token"), func(*Config) {}, "token_endpoint: "},
		{"no scheme", googleConfig("oauth.example/token"), func(*Config) {}, "token_endpoint: "},
		{"user information", oauth2Config("https://u:p@acme.example/token"), func(*Config) {}, "token_endpoint: "},
		{"fragment", oauth2Config("https://acme.example/token#x"), func(*Config) {}, "token_endpoint: "},
		{"bad revocation endpoint", oauth2Config("https://acme.example/token"), func(c *Config) { c.RevocationEndpoint = "ftp://acme.example" }, "revocation_endpoint: "},
		{"bad userinfo endpoint", oauth2Config("https://acme.example/token"), func(c *Config) { c.UserinfoEndpoint = "http://acme.example/me" }, "userinfo_endpoint: "},
		{"bad issuer", oauth2Config(""), func(c *Config) { c.Issuer = "http://acme.example" }, "issuer: "},
		{"neither issuer nor endpoint", oauth2Config(""), func(*Config) {}, "issuer: is missing"},
		{"unknown style", oauth2Config("https://acme.example/token"), func(c *Config) { c.AuthStyle = "guess" }, "auth_style: "},
		{"no private key", oauth2Config("https://acme.example/token"), func(c *Config) { c.AuthStyle = StylePrivateKeyJWT }, "private_key: is missing"},
		{"no key in the private key", oauth2Config("https://acme.example/token"), func(c *Config) {
			c.AuthStyle, c.PrivateKey = StylePrivateKeyJWT, secret.New("nonsense")
		}, "private_key: "},
		{"grace without duration", oauth2Config("https://acme.example/token"), func(c *Config) { c.Rotation.Kind = account.RotationGrace }, "rotation: "},
		{"unknown rotation", oauth2Config("https://acme.example/token"), func(c *Config) { c.Rotation.Kind = "sometimes" }, "rotation: "},
		{"issuer for google", googleConfig(""), func(c *Config) { c.Issuer = "https://accounts.google.com" }, "issuer: "},
		{"no tenant", microsoftConfig(""), func(c *Config) { c.Tenant = "" }, "tenant: is missing"},
		{"tenant with a slash", microsoftConfig(""), func(c *Config) { c.Tenant = "contoso.com/x" }, "tenant: "},
		{"tenant of one word", microsoftConfig(""), func(c *Config) { c.Tenant = "undefined" }, "tenant: "},
		{"unknown cloud", microsoftConfig(""), func(c *Config) { c.Cloud = "mars" }, "cloud: "},
		{"microsoft without credentials", microsoftConfig(""), func(c *Config) { c.ClientSecrets = nil }, "client_secret: is missing"},
		{"certificate beside secret", microsoftConfig(""), func(c *Config) { c.ClientCertificate = secret.New("x") }, "client_certificate: "},
		{"microsoft without scopes", microsoftConfig(""), func(c *Config) { c.Scopes = []string{"openid"} }, "scopes: "},
		{"microsoft host without audience", microsoftConfig(""), func(c *Config) { c.APIHosts = []APIHost{{Host: "files.contoso.example"}} }, "api_host: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.edit(&tt.cfg)
			_, err := New(tt.cfg, nil)
			if err == nil {
				t.Fatal("New accepted it")
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error is %q, want it to begin with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "u:p") {
				t.Errorf("error %q gives a secret away", err)
			}
		})
	}
}

func TestDefaultsOfTheTypes(t *testing.T) {
	tests := []struct {
		name     string
		cfg      Config
		rotation account.RotationKind
		scopes   []string
		host     string
		endpoint string
	}{
		{
			"google", googleConfig(""), account.RotationNone,
			[]string{"https://mail.google.com/", "openid", "email"},
			"www.googleapis.com", "https://oauth2.googleapis.com/token",
		},
		{
			"microsoft", microsoftConfig(""), account.RotationKeepsOld,
			[]string{"https://graph.microsoft.com/Mail.Read", "https://outlook.office.com/IMAP.AccessAsUser.All", "openid", "profile", "offline_access"},
			"graph.microsoft.com", "https://login.microsoftonline.com/organizations/oauth2/v2.0/token",
		},
		{
			"oauth2", oauth2Config("https://acme.example/token"), account.RotationSingleUse,
			[]string{"openid", "mail.read"},
			"", "https://acme.example/token",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := mustNew(t, tt.cfg)
			if got := p.Rotation().Kind; got != tt.rotation {
				t.Errorf("rotation is %s, want %s", got, tt.rotation)
			}
			if diff := cmp.Diff(tt.scopes, p.Scopes()); diff != "" {
				t.Errorf("scopes (-want +got):\n%s", diff)
			}
			if got := p.DefaultHost(); got != tt.host {
				t.Errorf("default host is %q, want %q", got, tt.host)
			}
			if got := p.TokenEndpoint(""); got != tt.endpoint {
				t.Errorf("token endpoint is %q, want %q", got, tt.endpoint)
			}
		})
	}
}

func TestGoogleEmailScopeIsNotAddedTwice(t *testing.T) {
	cfg := googleConfig("")
	cfg.Scopes = []string{"https://www.googleapis.com/auth/userinfo.email"}
	want := []string{"https://www.googleapis.com/auth/userinfo.email", "openid"}
	if diff := cmp.Diff(want, mustNew(t, cfg).Scopes()); diff != "" {
		t.Errorf("scopes (-want +got):\n%s", diff)
	}
}

func TestMissingScopesKnowsEverySpelling(t *testing.T) {
	tests := []struct {
		name               string
		p                  Provider
		requested, granted []string
		want               []string
	}{
		{
			"google short names", mustNew(t, googleConfig("")),
			[]string{"openid", "email", "profile"},
			[]string{"https://www.googleapis.com/auth/userinfo.email", "openid", "https://www.googleapis.com/auth/userinfo.profile"},
			nil,
		},
		{"google unticked", mustNew(t, googleConfig("")), []string{"openid", "https://mail.google.com/"}, []string{"openid"}, []string{"https://mail.google.com/"}},
		{
			"microsoft without prefix, in other case", mustNew(t, microsoftConfig("")),
			[]string{"https://graph.microsoft.com/Mail.Read", "User.Read", "offline_access"},
			[]string{"mail.read", "https://graph.microsoft.com/User.Read"},
			nil,
		},
		{
			"microsoft same name at another resource", mustNew(t, microsoftConfig("")),
			[]string{"https://outlook.office.com/Mail.Read"},
			[]string{"Mail.Read"},
			[]string{"https://outlook.office.com/Mail.Read"},
		},
		{
			"microsoft names of Exchange", mustNew(t, microsoftConfig("")),
			[]string{"https://outlook.office365.com/SMTP.Send"},
			[]string{"https://outlook.office.com/SMTP.Send"},
			nil,
		},
		{"oauth2 exactly", mustNew(t, oauth2Config("https://acme.example/t")), []string{"Read", "write"}, []string{"read", "write"}, []string{"Read"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.p.MissingScopes(tt.requested, tt.granted)); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRotationIsTakenFromTheConfiguration(t *testing.T) {
	cfg := oauth2Config("https://acme.example/token")
	cfg.Rotation = account.Rotation{Kind: account.RotationGrace, Grace: time.Minute}
	if got := mustNew(t, cfg).Rotation(); got != cfg.Rotation {
		t.Errorf("rotation is %v, want %v", got, cfg.Rotation)
	}
}
