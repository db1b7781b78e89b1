package provider

import (
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

var authorizeRequest = AuthorizeRequest{
	RedirectURI: "https://bellhop.example/oauth/callback", State: "state-1", Nonce: "nonce-1",
	Verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
}

// everyRequest is what all requests have. The challenge is that of RFC 7636
// appendix B.
func everyRequest(clientID, scope string, more url.Values) url.Values {
	v := url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {"https://bellhop.example/oauth/callback"},
		"state": {"state-1"}, "nonce": {"nonce-1"}, "scope": {scope},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}
	maps.Copy(v, more)
	return v
}

func TestAuthorizeURL(t *testing.T) {
	const (
		googleID    = "id.apps.googleusercontent.com"
		googleURL   = "https://accounts.google.com/o/oauth2/v2/auth"
		googleScope = "https://mail.google.com/ openid email"
		msID        = "11111111-1111-1111-1111-111111111111"
		msURL       = "https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize"
		msScope     = "https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All openid profile offline_access"
		acmeURL     = "https://acme.example/authorize"
	)
	acme := func() Config {
		cfg := oauth2Config("https://acme.example/token")
		cfg.AuthorizationEndpoint = acmeURL
		return cfg
	}
	tests := []struct {
		name string
		cfg  Config
		edit func(*Config, *AuthorizeRequest)
		url  string
		want url.Values
	}{
		{
			"google lets the person choose", ownGoogle(), func(*Config, *AuthorizeRequest) {}, googleURL,
			everyRequest(googleID, googleScope, url.Values{"access_type": {"offline"}, "prompt": {"consent select_account"}}),
		},
		{
			"google with a hint", ownGoogle(), func(_ *Config, r *AuthorizeRequest) { r.LoginHint, r.Reconnect = "ann@gmail.com", true }, googleURL,
			everyRequest(googleID, googleScope, url.Values{"access_type": {"offline"}, "prompt": {"consent"}, "login_hint": {"ann@gmail.com"}}),
		},
		{
			"google with scopes of the account's own", ownGoogle(), func(_ *Config, r *AuthorizeRequest) {
				r.Scopes = []string{"https://www.googleapis.com/auth/drive.file"}
			}, googleURL,
			everyRequest(googleID, "https://www.googleapis.com/auth/drive.file openid email", url.Values{"access_type": {"offline"}, "prompt": {"consent select_account"}}),
		},
		{
			"google with the operator's parameters", ownGoogle(), func(cfg *Config, _ *AuthorizeRequest) {
				cfg.AuthorizeParams = []Param{{"hd", "contoso.example"}, {"prompt", "consent"}}
			}, googleURL,
			everyRequest(googleID, googleScope, url.Values{"access_type": {"offline"}, "prompt": {"consent"}, "hd": {"contoso.example"}}),
		},
		{
			"microsoft lets the person choose", ownMicrosoft(), func(*Config, *AuthorizeRequest) {}, msURL,
			everyRequest(msID, msScope, url.Values{"response_mode": {"query"}, "prompt": {"select_account"}}),
		},
		{
			"microsoft with a hint for a new account", ownMicrosoft(), func(_ *Config, r *AuthorizeRequest) { r.LoginHint = "ann@contoso.example" }, msURL,
			everyRequest(msID, msScope, url.Values{"response_mode": {"query"}, "prompt": {"select_account"}, "login_hint": {"ann@contoso.example"}}),
		},
		{
			"microsoft with a hint at a reconnect", ownMicrosoft(), func(_ *Config, r *AuthorizeRequest) { r.LoginHint, r.Reconnect = "ann@contoso.example", true }, msURL,
			everyRequest(msID, msScope, url.Values{"response_mode": {"query"}, "login_hint": {"ann@contoso.example"}}),
		},
		{
			"microsoft at a reconnect without a hint", ownMicrosoft(), func(_ *Config, r *AuthorizeRequest) { r.Reconnect = true }, msURL,
			everyRequest(msID, msScope, url.Values{"response_mode": {"query"}, "prompt": {"select_account"}}),
		},
		{
			"microsoft consents anew", ownMicrosoft(), func(_ *Config, r *AuthorizeRequest) {
				r.LoginHint, r.Reconnect, r.Consent = "ann@contoso.example", true, true
			}, msURL,
			everyRequest(msID, msScope, url.Values{"response_mode": {"query"}, "prompt": {"consent"}, "login_hint": {"ann@contoso.example"}}),
		},
		{
			"microsoft meets a challenge", ownMicrosoft(), func(_ *Config, r *AuthorizeRequest) {
				r.Claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
			}, msURL,
			everyRequest(msID, msScope, url.Values{"response_mode": {"query"}, "prompt": {"select_account"}, "claims": {`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`}}),
		},
		{
			"microsoft meets a challenge with continuous access", ownMicrosoft(), func(cfg *Config, r *AuthorizeRequest) {
				cfg.ContinuousAccess, r.Claims = true, `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
			}, msURL,
			everyRequest(msID, msScope, url.Values{"response_mode": {"query"}, "prompt": {"select_account"}, "claims": {`{"access_token":{"acrs":{"essential":true,"value":"c1"},"xms_cc":{"values":["cp1"]}}}`}}),
		},
		{
			"microsoft leaves out what is no challenge", ownMicrosoft(), func(_ *Config, r *AuthorizeRequest) { r.Claims = "null" }, msURL,
			everyRequest(msID, msScope, url.Values{"response_mode": {"query"}, "prompt": {"select_account"}}),
		},
		{
			"microsoft for administrators", ownMicrosoft(), func(cfg *Config, r *AuthorizeRequest) { cfg.Tenant, r.Admin = "common", true },
			"https://login.microsoftonline.com/organizations/v2.0/adminconsent",
			url.Values{"client_id": {msID}, "redirect_uri": {"https://bellhop.example/oauth/callback"}, "scope": {msScope}, "state": {"state-1"}},
		},
		{
			"microsoft for the administrators of one tenant", ownMicrosoft(), func(cfg *Config, r *AuthorizeRequest) { cfg.Tenant, r.Admin = "contoso.example", true },
			"https://login.microsoftonline.com/contoso.example/v2.0/adminconsent",
			url.Values{"client_id": {msID}, "redirect_uri": {"https://bellhop.example/oauth/callback"}, "scope": {msScope}, "state": {"state-1"}},
		},
		{
			"oauth2", acme(), func(*Config, *AuthorizeRequest) {}, acmeURL,
			everyRequest("bellhop", "openid mail.read", nil),
		},
		{
			"oauth2 with offline_access", acme(), func(cfg *Config, _ *AuthorizeRequest) { cfg.Scopes = []string{"openid", "offline_access"} }, acmeURL,
			everyRequest("bellhop", "openid offline_access", url.Values{"prompt": {"consent"}}),
		},
		{
			"oauth2 with a prompt of the operator's", acme(), func(cfg *Config, r *AuthorizeRequest) {
				cfg.AuthorizeParams, r.LoginHint = []Param{{"prompt", "login"}}, "ann"
				r.Scopes = []string{"offline_access"}
			}, acmeURL,
			everyRequest("bellhop", "offline_access", url.Values{"prompt": {"login"}, "login_hint": {"ann"}}),
		},
		{
			"oauth2 at an endpoint with a query", acme(), func(cfg *Config, _ *AuthorizeRequest) { cfg.AuthorizationEndpoint += "?tenant=7" }, acmeURL,
			everyRequest("bellhop", "openid mail.read", url.Values{"tenant": {"7"}}),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := authorizeRequest
			tt.edit(&tt.cfg, &r)
			got, err := attended(t, tt.cfg, nil).AuthorizeURL(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			address, query, _ := strings.Cut(got, "?")
			if address != tt.url {
				t.Errorf("address is %s, want %s", address, tt.url)
			}
			values, err := url.ParseQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, values); diff != "" {
				t.Errorf("parameters (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAuthorizeURLIsRefused(t *testing.T) {
	personal := ownMicrosoft()
	personal.Tenant = "consumers"
	odd := ownMicrosoft()
	odd.AuthorizationEndpoint = "https://gateway.example/authorize"
	tests := []struct {
		name    string
		cfg     Config
		request AuthorizeRequest
		reads   string
	}{
		{"administrators at google", ownGoogle(), AuthorizeRequest{Admin: true}, "type microsoft"},
		{"administrators at oauth2", oauth2Config("https://acme.example/token"), AuthorizeRequest{Admin: true}, "type microsoft"},
		{"administrators of personal accounts", personal, AuthorizeRequest{Admin: true}, "no administrator"},
		{"administrators at another endpoint", odd, AuthorizeRequest{Admin: true}, "authorization_endpoint"},
		{"no resource", ownMicrosoft(), AuthorizeRequest{Scopes: []string{"openid"}}, "None of the scopes"},
		{"no endpoint", oauth2Config("https://acme.example/token"), AuthorizeRequest{}, "not known where"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := attended(t, tt.cfg, nil).AuthorizeURL(t.Context(), tt.request)
			failure := failureOf(t, err)
			if failure == nil || got != "" {
				t.Fatalf("got %q and no failure", got)
			}
			if !strings.Contains(failure.Reads, tt.reads) {
				t.Errorf("it reads %q, want %q in it", failure.Reads, tt.reads)
			}
		})
	}
}

func TestAuthorizeURLIsDiscovered(t *testing.T) {
	p := newIDP(t)
	got, err := attended(t, p.oidcConfig(t, nil), nil).AuthorizeURL(t.Context(), authorizeRequest)
	if err != nil || !strings.HasPrefix(got, p.URL+"/authorize?") {
		t.Errorf("got %s, %v", got, err)
	}
	down := oauth2Config("")
	down.Issuer = newFakeServer(t, says(503, "")).URL
	_, err = attended(t, down, nil).AuthorizeURL(t.Context(), authorizeRequest)
	if failure, ok := err.(*account.Failure); !ok || failure.Meaning != account.ProviderDown { //nolint:errorlint // what is promised is this type
		t.Errorf("error is %v, want provider down", err)
	}
}
