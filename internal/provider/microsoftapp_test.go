package provider

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

const appTenant = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

func microsoftAppConfig(endpoint string) Config {
	return Config{
		Name: "daemon", Type: TypeMicrosoftApp, Tenant: appTenant, ClientID: "11111111-2222-3333-4444-555555555555",
		ClientSecrets: []secret.String{secret.New("new-s3cret"), secret.New("old-s3cret")}, TokenEndpoint: endpoint,
	}
}

func TestAppAsksForAllItWasGrantedAtOneResource(t *testing.T) {
	server := newFakeServer(t, says(200, `{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"app-token"}`))
	for name, test := range map[string]struct {
		scopes        []string
		host, scope   string
		audience      string
		refusedAtLoad string
	}{
		"Graph by default":               {nil, "", "https://graph.microsoft.com/.default", "https://graph.microsoft.com", ""},
		"Graph by its host":              {nil, "graph.microsoft.com", "https://graph.microsoft.com/.default", "https://graph.microsoft.com", ""},
		"Exchange though not written":    {nil, "outlook.office365.com", "https://outlook.office.com/.default", "https://outlook.office.com", ""},
		"Exchange as it is written":      {[]string{"https://outlook.office365.com/.default"}, "outlook.office.com", "https://outlook.office365.com/.default", "https://outlook.office.com", ""},
		"an API of the organisation's":   {[]string{"api://acme/.default"}, "", "api://acme/.default", "api://acme", ""},
		"a permission by its name":       {[]string{"https://graph.microsoft.com/Mail.Read"}, "", "", "", "scopes: "},
		"all permissions of no resource": {[]string{"/.default"}, "", "", "", "scopes: "},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := microsoftAppConfig(server.URL)
			cfg.Scopes = test.scopes
			p, err := New(cfg, nil)
			if test.refusedAtLoad != "" {
				if err == nil || !strings.HasPrefix(err.Error(), test.refusedAtLoad) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			audience, err := p.Audience(test.host)
			if err != nil || audience != test.audience {
				t.Fatalf("audience %q, %v", audience, err)
			}
			answer, failure := derive(t, p, account.RefreshRequest{Account: "whoever", Audience: audience, Subject: "no/guid", ClientAuth: account.ClientNone})
			if failure != nil {
				t.Fatal(failure)
			}
			if answer.AccessToken.Reveal() != "app-token" || answer.Scopes != nil {
				t.Errorf("answer %+v", answer)
			}
			all := server.all()
			form := all[len(all)-1].Form
			if form.Get("grant_type") != "client_credentials" || form.Get("scope") != test.scope || form.Get("client_secret") != "new-s3cret" {
				t.Errorf("form %v", form)
			}
		})
	}
	p := mustNew(t, microsoftAppConfig(server.URL)).(Unattended)
	if !p.Shared() || p.Covers("whoever") {
		t.Error("an app's tokens are one for all registered accounts")
	}
	if _, failure := derive(t, p, account.RefreshRequest{Scopes: []string{"https://graph.microsoft.com/Mail.Read"}}); failure == nil || failure.Meaning != account.AudienceRefused {
		t.Errorf("a narrowed token: %v", failure)
	}
}

func TestAppActsInOneTenant(t *testing.T) {
	cfg := microsoftAppConfig("")
	if got := mustNew(t, cfg).TokenEndpoint("x/y"); got != "https://login.microsoftonline.com/"+appTenant+"/oauth2/v2.0/token" {
		t.Errorf("token endpoint %s", got)
	}
	cfg.Cloud = "usgov"
	if p := mustNew(t, cfg); p.DefaultAudience() != "https://graph.microsoft.us" || !strings.HasPrefix(p.TokenEndpoint(""), "https://login.microsoftonline.us/") {
		t.Errorf("audience %s, endpoint %s", p.DefaultAudience(), p.TokenEndpoint(""))
	}
	for _, tenant := range []string{"", "organizations", "common", "consumers", "a b"} {
		cfg.Tenant = tenant
		if _, err := New(cfg, nil); err == nil || !strings.HasPrefix(err.Error(), "tenant: ") {
			t.Errorf("tenant %q: %v", tenant, err)
		}
	}
}

func TestAppTriesItsOlderSecret(t *testing.T) {
	server := newFakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Form.Get("client_secret") == "old-s3cret" {
			says(200, freshToken)(w, r)
			return
		}
		says(401, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided. Trace ID: x","error_codes":[7000215]}`)(w, r)
	})
	if _, failure := derive(t, mustNew(t, microsoftAppConfig(server.URL)), account.RefreshRequest{}); failure != nil {
		t.Error(failure)
	}
	if n := len(server.all()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestAppProvesItselfWithACertificate(t *testing.T) {
	server := newFakeServer(t, says(200, freshToken))
	key := testKey()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "daemon"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := microsoftAppConfig(server.URL + "/token")
	cfg.ClientSecrets = nil
	cfg.ClientCertificate = secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	cfg.PrivateKey = pemOf(t, key)
	if _, failure := derive(t, mustNew(t, cfg), account.RefreshRequest{}); failure != nil {
		t.Fatal(failure)
	}
	_, claims := claimsOfAssertion(t, server.only(t).Form, jose.PS256, key.Public())
	end, _ := claims["exp"].(float64)
	if claims["iss"] != cfg.ClientID || claims["sub"] != cfg.ClientID || claims["aud"] != server.URL+"/token" || time.Until(time.Unix(int64(end), 0)) > 10*time.Minute {
		t.Errorf("claims %v", claims)
	}
}

func TestAppsFailuresAreSortedAsMicrosofts(t *testing.T) {
	for body, want := range map[string]account.Meaning{
		`{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys are expired. Trace ID: x","error_codes":[7000222]}`:                                account.ClientMisconfigured,
		`{"error":"unauthorized_client","error_description":"AADSTS700016: Application with identifier 'x' was not found in the directory 'y'. Trace ID: x","error_codes":[700016]}`:      account.ClientMisconfigured,
		`{"error":"invalid_resource","error_description":"AADSTS500011: The resource principal named https://x was not found in the tenant named y. Trace ID: x","error_codes":[500011]}`: account.AudienceRefused,
		`{"error":"invalid_grant","error_description":"AADSTS53003: Access has been blocked by Conditional Access policies. Trace ID: x","error_codes":[53003]}`:                          account.AudienceRefused,
		`{"error":"temporarily_unavailable","error_description":"AADSTS90033: A transient error has occurred. Please try again. Trace ID: x","error_codes":[90033]}`:                      account.ProviderDown,
		`{"error":"server_error"}`: account.ProviderDown,
		`{"error":"odd"}`:          account.Unlisted,
	} {
		server := newFakeServer(t, says(400, body))
		cfg := microsoftAppConfig(server.URL)
		cfg.ClientSecrets = cfg.ClientSecrets[:1]
		if _, failure := derive(t, mustNew(t, cfg), account.RefreshRequest{}); failure == nil || failure.Meaning != want || failure.Lost {
			t.Errorf("%s: %+v, want %s", body, failure, want)
		}
	}
}
