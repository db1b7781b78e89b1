package provider

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

const deviceAnswer = `{"device_code":"dc-1","user_code":"WDJB-MJHT","verification_uri":"https://acme.example/device",` +
	`"verification_uri_complete":"https://acme.example/device?user_code=WDJB-MJHT","expires_in":1800,"interval":7}`

func TestStartDevice(t *testing.T) {
	basic := "Basic YmVsbGhvcDpzM2NyZXQ="
	tests := []struct {
		name   string
		setup  func(*testing.T, *idp) Config
		path   string
		scopes []string
		form   url.Values
		auth   string
	}{
		{
			"google, client ID only", func(*testing.T, *idp) Config { return ownGoogle() }, "/code",
			[]string{"https://www.googleapis.com/auth/drive.file"},
			url.Values{"client_id": {"id.apps.googleusercontent.com"}, "scope": {"https://www.googleapis.com/auth/drive.file openid email"}},
			"",
		},
		{
			"microsoft, one resource", func(*testing.T, *idp) Config { return ownMicrosoft() }, "/devicecode", nil,
			url.Values{"client_id": {"11111111-1111-1111-1111-111111111111"}, "scope": {"https://graph.microsoft.com/Mail.Read openid profile offline_access"}},
			"",
		},
		{
			"oauth2 authenticates", func(t *testing.T, p *idp) Config { return p.oidcConfig(t, nil) }, "/device", nil,
			url.Values{"client_id": {"bellhop"}, "scope": {"openid mail.read"}},
			basic,
		},
		{
			"oauth2 at a configured endpoint", func(t *testing.T, p *idp) Config {
				cfg := oauth2Config(p.URL + "/token")
				cfg.DeviceAuthorizationEndpoint = p.URL + "/elsewhere"
				return cfg
			}, "/elsewhere",
			[]string{"a"},
			url.Values{"client_id": {"bellhop"}, "scope": {"a"}},
			basic,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			cfg := tt.setup(t, p)
			p.answer(tt.path, says(200, deviceAnswer))
			before := time.Now()
			d, err := attended(t, cfg, p).StartDevice(t.Context(), tt.scopes)
			if err != nil {
				t.Fatal(err)
			}
			sent := p.all()[len(p.all())-1]
			if diff := cmp.Diff(tt.form, sent.Form); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
			if got := sent.Header.Get("Authorization"); got != tt.auth {
				t.Errorf("authenticated by %q, want %q", got, tt.auth)
			}
			if d.DeviceCode.Reveal() != "dc-1" || d.UserCode != "WDJB-MJHT" || d.VerificationURI != "https://acme.example/device" ||
				d.VerificationURIComplete != "https://acme.example/device?user_code=WDJB-MJHT" || d.Interval != 7*time.Second {
				t.Errorf("device is %+v", d)
			}
			if d.Expires.Before(before.Add(30*time.Minute)) || d.Expires.After(time.Now().Add(30*time.Minute)) {
				t.Errorf("it expires at %s", d.Expires)
			}
		})
	}
}

func TestDeviceAnswers(t *testing.T) {
	tests := []struct {
		name, body string
		ok         bool
		interval   time.Duration
		uri        string
	}{
		{"no interval", `{"device_code":"d","user_code":"u","verification_uri":"https://a.example","expires_in":900}`, true, 5 * time.Second, "https://a.example"},
		{"google's word", `{"device_code":"d","user_code":"u","verification_url":"https://www.google.com/device","interval":"3"}`, true, 3 * time.Second, "https://www.google.com/device"},
		{"interval of zero", `{"device_code":"d","user_code":"u","verification_uri":"https://a.example","interval":0}`, true, 5 * time.Second, "https://a.example"},
		{"interval beyond the code's life", `{"device_code":"d","user_code":"u","verification_uri":"https://a.example","expires_in":60,"interval":3600}`, true, 5 * time.Second, "https://a.example"},
		{"no device code", `{"user_code":"u","verification_uri":"https://a.example"}`, false, 0, ""},
		{"no user code", `{"device_code":"d","verification_uri":"https://a.example"}`, false, 0, ""},
		{"no address", `{"device_code":"d","user_code":"u"}`, false, 0, ""},
		{"an address to run", `{"device_code":"d","user_code":"u","verification_uri":"javascript:alert(1)"}`, false, 0, ""},
		{"a code that moves the cursor", `{"device_code":"d","user_code":"\u001b[2Ju","verification_uri":"https://a.example"}`, false, 0, ""},
		{"a page", `<html>`, false, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			cfg := p.oidcConfig(t, nil)
			p.answer("/device", says(200, tt.body))
			d, err := attended(t, cfg, p).StartDevice(t.Context(), nil)
			if (err == nil) != tt.ok || d.Interval != tt.interval || d.VerificationURI != tt.uri {
				t.Errorf("device is %+v, %v", d, err)
			}
		})
	}
}

func TestStartDeviceIsRefused(t *testing.T) {
	p := newIDP(t)
	p.answer("/code", says(401, `{"error":"invalid_client","error_description":"Only clients of type 'TVs and Limited Input devices' can use the OAuth 2.0 flow for TV and Limited-Input Device Applications. Please create and use an appropriate client."}`))
	tests := []struct {
		name   string
		cfg    Config
		scopes []string
		words  string
		asks   int
	}{
		{"google's mail", ownGoogle(), nil, "https://mail.google.com/", 0},
		{"google's client of another type", ownGoogle(), []string{"openid"}, "TVs and Limited Input devices", 1},
		{"no endpoint", oauth2Config("https://acme.example/token"), nil, "device_authorization_endpoint", 0},
		{"no resource", ownMicrosoft(), []string{"openid"}, "None of the scopes", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(p.all())
			_, err := attended(t, tt.cfg, p).StartDevice(t.Context(), tt.scopes)
			failure := failureOf(t, err)
			if failure == nil || failure.Meaning == account.ProviderDown || !strings.Contains(failure.Sentence(), tt.words) {
				t.Errorf("failure is %+v, want %q in it", failure, tt.words)
			}
			if got := len(p.all()) - before; got != tt.asks {
				t.Errorf("%d requests, want %d", got, tt.asks)
			}
		})
	}
}

func TestPollDevice(t *testing.T) {
	p := newIDP(t)
	cfg := p.oidcConfig(t, nil)
	provider := attended(t, cfg, p)
	request := DeviceRequest{DeviceCode: secret.New("dc-1"), Scopes: []string{"openid"}}
	for _, answer := range []struct {
		status  int
		code    string
		reads   string
		meaning account.Meaning
	}{
		{400, "authorization_pending", "Nobody has agreed yet", account.Unlisted},
		{428, "authorization_pending", "Nobody has agreed yet", account.Unlisted},
		{400, "slow_down", "Nobody has agreed yet", account.Unlisted},
		{429, "slow_down", "Nobody has agreed yet", account.Unlisted},
		{403, "access_denied", "Consent was declined", account.AudienceRefused},
		{400, "expired_token", "expired", account.GrantDead},
		{400, "invalid_grant", "does not accept the code", account.GrantDead},
		{429, "something_else", "too many requests", account.Throttled},
	} {
		p.answer("/token", says(answer.status, fmt.Sprintf(`{"error":%q}`, answer.code)))
		_, err := provider.PollDevice(t.Context(), request)
		failure := failureOf(t, err)
		if failure == nil || failure.Code != answer.code || failure.Meaning != answer.meaning || !strings.Contains(failure.Reads, answer.reads) {
			t.Errorf("%s: failure is %+v", answer.code, failure)
		}
	}
	// Without an authorization request there is no nonce to come back.
	p.grants(t, p.sign(t, with(p.claims(), map[string]any{"nonce": nil})), nil)
	consent, err := provider.PollDevice(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if consent.Identity.Subject != "user-1" || consent.ClientAuth != account.ClientSecret {
		t.Errorf("consent is %+v", consent)
	}
	want := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {"dc-1"}}
	requests := tokenRequests(p)
	if diff := cmp.Diff(want, requests[len(requests)-1].Form); diff != "" {
		t.Errorf("form (-want +got):\n%s", diff)
	}
}

func TestMicrosoftDeviceSaysWhatItCouldNotAskFor(t *testing.T) {
	p := newIDP(t)
	granted := p.sign(t, with(microsoftClaims(), map[string]any{"nonce": nil}))
	p.answer("/token", func(w http.ResponseWriter, r *http.Request) {
		if r.Form.Has("client_secret") {
			says(401, `{"error":"invalid_client","error_description":"AADSTS700025: Client is public.","error_codes":[700025]}`)(w, r)
			return
		}
		says(200, `{"access_token":"at-1","refresh_token":"rt-1","scope":"Mail.Read openid","id_token":"`+granted+`"}`)(w, r)
	})
	consent, err := attended(t, ownMicrosoft(), p).PollDevice(t.Context(), DeviceRequest{DeviceCode: secret.New("dc-1")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"https://outlook.office.com/IMAP.AccessAsUser.All"}, consent.Missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if consent.ClientAuth != account.ClientNone || consent.Audience != "https://graph.microsoft.com" {
		t.Errorf("client authentication is %q, audience %q", consent.ClientAuth, consent.Audience)
	}
}
