package fakeprovider

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
)

// idToken consents to a request and returns the raw ID token.
func (f fixture) idToken(client string, changes ...string) string {
	f.t.Helper()
	answer := f.redeem(client, redeemForm(client, f.code(client, Decision{}, changes...)))
	answer.wantIssued(f.t)
	var body struct {
		IDToken string `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(answer.Raw), &body); err != nil {
		f.t.Fatal(err)
	}
	return body.IDToken
}

// verifyID verifies an ID token as a client does, with the keys of a JWKS
// endpoint.
func (f fixture) verifyID(raw, issuer, audience, keys string) (*oidc.IDToken, error) {
	f.t.Helper()
	ctx := oidc.ClientContext(f.t.Context(), &http.Client{Transport: f.transport})
	verifier := oidc.NewVerifier(issuer, oidc.NewRemoteKeySet(ctx, f.URL+keys), &oidc.Config{
		ClientID: audience, Now: func() time.Time { return f.Advance(0) },
	})
	return verifier.Verify(ctx, raw)
}

func TestIDTokensOfEachDialect(t *testing.T) {
	alice := DefaultPeople[0]
	tests := []struct {
		client, keys, issuer string
		changes              []string
		want                 map[string]any
	}{
		{
			"web-oauth2", "/jwks", "",
			[]string{"scope", "openid email profile"},
			map[string]any{"sub": alice.Subject, "email": alice.Email, "email_verified": true, "name": alice.Name},
		},
		{
			"web-google", "/oauth2/v3/certs", "", nil,
			map[string]any{"sub": alice.Subject, "email": alice.Email, "email_verified": true, "hd": "example.com", "azp": "web-google"},
		},
		{
			"web-ms", "/common/discovery/v2.0/keys", "/" + DefaultTenant.ID + "/v2.0", nil,
			map[string]any{
				"tid": DefaultTenant.ID, "oid": derivedUUID("oid", alice.Subject), "preferred_username": alice.Email,
				"name": alice.Name, "ver": "2.0",
			},
		},
		{
			"web-ms", "/common/discovery/v2.0/keys", "/" + DefaultTenant.ID + "/v2.0",
			[]string{"scope", "openid email https://graph.microsoft.com/Mail.Read"},
			map[string]any{"tid": DefaultTenant.ID, "email": alice.Email, "ver": "2.0"},
		},
	}
	for _, test := range tests {
		t.Run(test.client, func(t *testing.T) {
			f := start(t, Options{})
			f.register(webClients...)
			client := test.client
			token, err := f.verifyID(f.idToken(client, test.changes...), f.URL+test.issuer, client, test.keys)
			if err != nil {
				t.Fatal(err)
			}
			if token.Nonce != "no" || !token.Expiry.Equal(clockStart.Add(time.Hour)) || !token.IssuedAt.Equal(clockStart) || token.Subject == "" {
				t.Errorf("token is %+v", token)
			}
			var got map[string]any
			if err := token.Claims(&got); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"iss", "aud", "iat", "exp", "nonce", "at_hash"} {
				delete(got, name)
			}
			if client == "web-ms" {
				delete(got, "sub") // the client's own
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoIDTokenWithoutOpenID(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	if got := f.idToken("web-oauth2", "scope", "mail.read"); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestFlawsOfIDTokens(t *testing.T) {
	for _, test := range []struct {
		flaw Flaw
		want string // in the error of who verifies
	}{
		{WrongAudience, "audience"},
		{WrongIssuer, "different provider"},
		{Expired, "expired"},
		{BadSignature, "signature"},
		{AlgNone, "malformed"},
		{Missing, "malformed"},
	} {
		t.Run(string(test.flaw), func(t *testing.T) {
			f := start(t, Options{})
			f.register(webClients...)
			f.queue(Fault{Kind: FlawedIDToken, Flaw: test.flaw, GrantType: "authorization_code"})
			raw := f.idToken("web-google")
			if (raw == "") != (test.flaw == Missing) {
				t.Errorf("token is %q", raw)
			}
			if _, err := f.verifyID(raw, f.URL, "web-google", "/jwks"); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one about %q", err, test.want)
			}
			if _, err := f.verifyID(f.idToken("web-google"), f.URL, "web-google", "/jwks"); err != nil {
				t.Errorf("the next one: %v", err)
			}
		})
	}
	f := start(t, Options{})
	f.register(webClients...)
	for _, flaw := range []Flaw{WrongNonce, WrongTenant} {
		f.queue(Fault{Kind: FlawedIDToken, Flaw: flaw})
		token, err := f.verifyID(f.idToken("web-ms"), f.URL+"/"+DefaultTenant.ID+"/v2.0", "web-ms", "/jwks")
		if err != nil {
			t.Fatal(err)
		}
		var claims struct{ Nonce, TID string }
		if err := token.Claims(&claims); err != nil {
			t.Fatal(err)
		}
		if (claims.Nonce == "no") == (flaw == WrongNonce) || (claims.TID == DefaultTenant.ID) == (flaw == WrongTenant) {
			t.Errorf("%s: claims are %+v", flaw, claims)
		}
	}
	for _, fault := range []Fault{{Kind: FlawedIDToken}, {Kind: FlawedIDToken, Flaw: "odd"}, {Kind: FlawedIDToken, Flaw: Expired, On: EndpointAPI}, {Kind: Drop, Flaw: Expired}} {
		if _, err := f.QueueFaults(fault); err == nil {
			t.Errorf("%+v was queued", fault)
		}
	}
}

func TestRotatedKeysSignFromThenOn(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	before := f.idToken("web-oauth2")
	f.RotateKeys()
	if _, err := f.verifyID(before, f.URL, "web-oauth2", "/jwks"); err == nil {
		t.Error("the old key is still published")
	}
	if _, err := f.verifyID(f.idToken("web-oauth2"), f.URL, "web-oauth2", "/jwks"); err != nil {
		t.Error(err)
	}
}

func TestDiscoveryLeadsAClient(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	ctx := oidc.ClientContext(t.Context(), &http.Client{Transport: f.transport})
	found, err := oidc.NewProvider(ctx, f.URL)
	if err != nil {
		t.Fatal(err)
	}
	if endpoint := found.Endpoint(); endpoint.AuthURL != f.URL+"/authorize" || endpoint.TokenURL != f.URL+"/token" || endpoint.DeviceAuthURL != f.URL+"/device_authorization" {
		t.Errorf("endpoints are %+v", endpoint)
	}
	if err := f.Configure(func(s *Settings) error { s.Issuer = "https://id.example/realm"; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.verifyID(f.idToken("web-oauth2"), "https://id.example/realm", "web-oauth2", "/jwks"); err != nil {
		t.Error(err)
	}
	_, body := f.call(http.MethodGet, "/.well-known/oauth-authorization-server", "", nil)
	if !strings.Contains(body, `"issuer":"https://id.example/realm"`) {
		t.Errorf("metadata is %s", body)
	}
}

func TestMicrosoftDiscoveryNamesTheTenant(t *testing.T) {
	f := start(t, Options{})
	for tenant, want := range map[string]string{
		"common":          "{tenantid}",
		"organizations":   "{tenantid}",
		"consumers":       ConsumersTenant,
		"example.com":     DefaultTenant.ID,
		"EXAMPLE.com":     DefaultTenant.ID,
		DefaultTenant.ID:  DefaultTenant.ID,
		"nowhere.example": "",
	} {
		for _, path := range []string{"/" + tenant + "/v2.0/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/" + tenant + "/v2.0"} {
			response, body := f.call(http.MethodGet, path, "", nil)
			if want == "" {
				if response.StatusCode != http.StatusBadRequest || !strings.Contains(body, "AADSTS90002") {
					t.Errorf("%s: %d %s", path, response.StatusCode, body)
				}
				continue
			}
			if !strings.Contains(body, `"issuer":"`+f.URL+"/"+want+`/v2.0"`) {
				t.Errorf("%s: %s", path, body)
			}
		}
	}
}

func TestUserinfo(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	if err := f.Configure(func(s *Settings) error { s.LeanIDTokens = true; return nil }); err != nil {
		t.Fatal(err)
	}
	answer := f.redeem("web-oauth2", redeemForm("web-oauth2", f.code("web-oauth2", Decision{})))
	var claims struct {
		Sub, Email string
		Verified   bool `json:"email_verified"`
	}
	token, err := f.verifyID(f.idToken("web-oauth2"), f.URL, "web-oauth2", "/jwks")
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Claims(&claims); err != nil || claims.Email != "" {
		t.Errorf("lean token has %+v (%v)", claims, err)
	}
	response, body := f.call(http.MethodGet, "/userinfo", answer.AccessToken, nil)
	if err := json.Unmarshal([]byte(body), &claims); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", response.StatusCode, body)
	}
	if claims.Sub != DefaultPeople[0].Subject || claims.Email != DefaultPeople[0].Email || !claims.Verified {
		t.Errorf("got %s", body)
	}
	if response, _ := f.call(http.MethodGet, "/userinfo", "x", nil); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("unknown token: %d", response.StatusCode)
	}
	plain := f.redeem("web-oauth2", redeemForm("web-oauth2", f.code("web-oauth2", Decision{}, "scope", "mail.read")))
	if response, _ := f.call(http.MethodGet, "/userinfo", plain.AccessToken, nil); response.StatusCode != http.StatusForbidden {
		t.Errorf("token without openid: %d", response.StatusCode)
	}
}

func TestRefreshRenewsTheIDToken(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	answer := f.redeem("web-google", redeemForm("web-google", f.code("web-google", Decision{})))
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {answer.RefreshToken}, "client_id": {"web-google"}, "client_secret": {"s"}}
	if got := f.redeem("web-google", form); !strings.Contains(got.Raw, `"id_token":`) {
		t.Errorf("got %s", got.Raw)
	}
}
