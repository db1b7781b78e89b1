package provider

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func tokenRequests(p *idp) []seen {
	var requests []seen
	for _, r := range p.all() {
		if strings.HasSuffix(r.Path, "/token") {
			requests = append(requests, r)
		}
	}
	return requests
}

func TestExchange(t *testing.T) {
	code := func(more url.Values) url.Values {
		form := url.Values{
			"grant_type": {"authorization_code"}, "code": {"code-1"}, "redirect_uri": {"https://bellhop.example/oauth/callback"},
			"code_verifier": {exchangeRequest.Verifier},
		}
		maps.Copy(form, more)
		return form
	}
	tests := []struct {
		name  string
		setup func(*testing.T, *idp) Config
		form  url.Values
		want  account.Consent
	}{
		{
			"google", func(t *testing.T, p *idp) Config {
				p.grants(t, p.sign(t, googleClaims()), map[string]any{"scope": "https://www.googleapis.com/auth/userinfo.email openid"})
				return ownGoogle()
			},
			code(url.Values{"client_id": {"id.apps.googleusercontent.com"}, "client_secret": {"GOCSPX-s3cret"}}),
			account.Consent{
				Answer:     account.Answer{Scopes: []string{"email", "openid"}},
				Identity:   account.Identity{Subject: "110169484474386276334", Issuer: "https://accounts.google.com", Email: "ann@gmail.com", Proven: true, Name: "Ann Example"},
				ClientAuth: account.ClientSecret, Scopes: []string{"https://mail.google.com/", "openid", "email"}, Missing: []string{"https://mail.google.com/"},
			},
		},
		{
			"microsoft asks for one resource", func(t *testing.T, p *idp) Config {
				p.grants(t, p.sign(t, microsoftClaims()), map[string]any{"scope": "Mail.Read openid profile"})
				return ownMicrosoft()
			},
			code(url.Values{
				"client_id": {"11111111-1111-1111-1111-111111111111"}, "client_secret": {"s3cret"},
				"scope": {"https://graph.microsoft.com/Mail.Read openid profile offline_access"},
			}),
			account.Consent{
				Answer:   account.Answer{Scopes: []string{"https://graph.microsoft.com/Mail.Read", "openid", "profile"}},
				Audience: "https://graph.microsoft.com",
				Identity: account.Identity{
					Subject: tid + "/" + oid, Issuer: "https://login.microsoftonline.com/" + tid + "/v2.0", Email: "ann@contoso.example", Name: "Ann Example",
				},
				ClientAuth: account.ClientSecret,
				Scopes:     []string{"https://graph.microsoft.com/Mail.Read", "https://outlook.office.com/IMAP.AccessAsUser.All", "openid", "profile", "offline_access"},
			},
		},
		{
			"oauth2 with an issuer", func(t *testing.T, p *idp) Config {
				p.grants(t, p.sign(t, p.claims()), map[string]any{"scope": "mail.read"})
				return p.oidcConfig(t, nil)
			},
			code(url.Values{}),
			account.Consent{
				Answer:     account.Answer{Scopes: []string{"mail.read"}},
				Identity:   account.Identity{Subject: "user-1", Email: "ann@acme.example", Proven: true},
				ClientAuth: account.ClientSecret, Scopes: []string{"openid", "mail.read"},
			},
		},
		{
			"oauth2 without a client's authentication", func(t *testing.T, p *idp) Config {
				p.grants(t, p.sign(t, p.claims()), nil)
				cfg := p.oidcConfig(t, nil)
				cfg.AuthStyle, cfg.ClientSecrets = StyleNone, nil
				return cfg
			},
			code(url.Values{"client_id": {"bellhop"}}),
			account.Consent{
				Identity:   account.Identity{Subject: "user-1", Email: "ann@acme.example", Proven: true},
				ClientAuth: account.ClientNone, Scopes: []string{"openid", "mail.read"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			before := time.Now()
			got, failure := exchange(t, attended(t, tt.setup(t, p), p), exchangeRequest)
			if failure != nil {
				t.Fatal(failure)
			}
			requests := tokenRequests(p)
			if len(requests) != 1 {
				t.Fatalf("%d token requests, want 1", len(requests))
			}
			if diff := cmp.Diff(tt.form, requests[0].Form); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
			if got.Answer.RefreshToken.Reveal() != "rt-1" || got.Answer.AccessToken.Reveal() != "at-1" || got.Answer.Life != time.Hour {
				t.Errorf("the answer's tokens are not the server's")
			}
			if got.Asked.Before(before) || got.Asked.After(time.Now()) {
				t.Errorf("asked at %s", got.Asked)
			}
			got.Answer, got.Asked = account.Answer{Scopes: got.Answer.Scopes}, time.Time{}
			if tt.want.Identity.Issuer == "" {
				tt.want.Identity.Issuer = p.URL
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("consent (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKeysAreFetchedOnceAndAnewForAnUnknownOne(t *testing.T) {
	p := newIDP(t)
	p.grants(t, p.sign(t, p.claims()), nil)
	provider := attended(t, p.oidcConfig(t, nil), p)
	for range 3 {
		if _, failure := exchange(t, provider, exchangeRequest); failure != nil {
			t.Fatal(failure)
		}
	}
	if got := p.asks("/jwks"); got != 1 {
		t.Errorf("keys were fetched %d times, want once", got)
	}
	rotated := newRSAKey(t)
	p.answer("/jwks", says(200, jwks(t, map[string]any{"kty": "unheard-of", "kid": "k0"}, publicJWK(rotated, "k2"))))
	p.grants(t, sign(t, rotated, "RS256", "k2", p.claims()), nil)
	if _, failure := exchange(t, provider, exchangeRequest); failure != nil {
		t.Fatal(failure)
	}
	if got := p.asks("/jwks"); got != 2 {
		t.Errorf("keys were fetched %d times, want twice", got)
	}
}

func TestNothingIsSpentWhereTheKeysAreMissing(t *testing.T) {
	for name, keys := range map[string]http.HandlerFunc{
		"down": says(503, ""), "none": says(200, `{"keys":[]}`), "redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/keys", http.StatusFound)
		}, "endless": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxBody+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			p.grants(t, p.sign(t, googleClaims()), nil)
			p.answer("/certs", keys)
			_, failure := exchange(t, attended(t, ownGoogle(), p), exchangeRequest)
			if failure == nil || failure.Meaning != account.ProviderDown {
				t.Errorf("failure is %v, want provider down", failure)
			}
			if got := len(tokenRequests(p)); got != 0 {
				t.Errorf("the code was sent %d times", got)
			}
		})
	}
}

func TestIssParameterIsComparedBeforeTheCodeIsSent(t *testing.T) {
	acme := func(t *testing.T, p *idp) Config { return p.oidcConfig(t, nil) }
	advertised := func(t *testing.T, p *idp) Config {
		return p.oidcConfig(t, map[string]any{"authorization_response_iss_parameter_supported": true})
	}
	pointSix := func(_ *testing.T, p *idp) Config { return oauth2Config(p.URL + "/token") }
	tests := []struct {
		name       string
		setup      func(*testing.T, *idp) Config
		claims     func(*idp) map[string]any
		iss, known string
		sent, ok   bool
	}{
		{"right", acme, (*idp).claims, "self", "", true, true},
		{"another's", acme, (*idp).claims, "https://evil.example", "", false, false},
		{"none", acme, (*idp).claims, "", "", true, true},
		{"advertised and right", advertised, (*idp).claims, "self", "", true, true},
		{"advertised and missing", advertised, (*idp).claims, "", "", false, false},
		{"google", func(*testing.T, *idp) Config { return ownGoogle() }, func(*idp) map[string]any { return googleClaims() }, "https://accounts.google.com", "", true, true},
		{"google's from elsewhere", func(*testing.T, *idp) Config { return ownGoogle() }, func(*idp) map[string]any { return googleClaims() }, "https://accounts.goog1e.com", "", false, false},
		{"microsoft", func(*testing.T, *idp) Config { return ownMicrosoft() }, func(*idp) map[string]any { return microsoftClaims() }, "https://login.microsoftonline.com/" + tid + "/v2.0", "", true, true},
		{"microsoft of no tenant", func(*testing.T, *idp) Config { return ownMicrosoft() }, func(*idp) map[string]any { return microsoftClaims() }, "https://login.microsoftonline.com/organizations/v2.0", "", false, false},
		{"microsoft of another tenant than the token", func(*testing.T, *idp) Config { return ownMicrosoft() }, func(*idp) map[string]any { return microsoftClaims() }, "https://login.microsoftonline.com/" + consumersTenant + "/v2.0", "", true, false},
		{"first consent", pointSix, (*idp).claims, "self", "", true, true},
		{"first consent, token of another", pointSix, (*idp).claims, "https://evil.example", "", true, false},
		{"known", pointSix, (*idp).claims, "self", "self", true, true},
		{"other than known", pointSix, (*idp).claims, "https://evil.example", "self", false, false},
		{"token other than known", pointSix, (*idp).claims, "", "https://was.example", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			cfg := tt.setup(t, p)
			p.grants(t, p.sign(t, tt.claims(p)), nil)
			r := exchangeRequest
			r.Issuer, r.KnownIssuer = strings.ReplaceAll(tt.iss, "self", p.URL), strings.ReplaceAll(tt.known, "self", p.URL)
			consent, failure := exchange(t, attended(t, cfg, p), r)
			if (failure == nil) != tt.ok {
				t.Errorf("failure is %v", failure)
			}
			if got := len(tokenRequests(p)) > 0; got != tt.sent {
				t.Errorf("the code was sent: %t, want %t", got, tt.sent)
			}
			if failure != nil && (consent.Identity.Subject != "" || !consent.Answer.RefreshToken.IsZero()) {
				t.Error("a refused consent has tokens or a subject")
			}
		})
	}
}

func TestRefusedConsentLeavesNothingInSilence(t *testing.T) {
	stranger := func(claims map[string]any) map[string]any { return with(claims, map[string]any{"nonce": "another"}) }
	t.Run("oauth2 revokes", func(t *testing.T) {
		p := newIDP(t)
		cfg := p.oidcConfig(t, nil)
		p.grants(t, p.sign(t, stranger(p.claims())), nil)
		p.answer("/revoke", says(200, ""))
		_, failure := exchange(t, attended(t, cfg, p), exchangeRequest)
		if failure == nil {
			t.Fatal("no failure")
		}
		last := p.all()[len(p.all())-1]
		if last.Path != "/revoke" || last.Form.Get("token") != "rt-1" {
			t.Errorf("the last request went to %s, want the refresh token revoked", last.Path)
		}
		if strings.Contains(failure.Mend, "not kept") {
			t.Errorf("it says that something is left: %q", failure.Mend)
		}
	})
	t.Run("oauth2 that does not let it be revoked", func(t *testing.T) {
		p := newIDP(t)
		cfg := p.oidcConfig(t, nil)
		p.grants(t, p.sign(t, stranger(p.claims())), nil)
		p.answer("/revoke", says(503, ""))
		if _, failure := exchange(t, attended(t, cfg, p), exchangeRequest); failure == nil || !strings.Contains(failure.Mend, "could not be revoked") {
			t.Errorf("failure is %+v", failure)
		}
	})
	t.Run("google keeps the person's other grants", func(t *testing.T) {
		p := newIDP(t)
		p.grants(t, p.sign(t, stranger(googleClaims())), nil)
		p.answer("/revoke", says(200, ""))
		_, failure := exchange(t, attended(t, ownGoogle(), p), exchangeRequest)
		if failure == nil || !strings.Contains(failure.Mend, "https://myaccount.google.com/connections") {
			t.Errorf("failure is %+v", failure)
		}
		if p.asks("/revoke") != 0 {
			t.Error("Google was asked to revoke, which ends every grant of that person's")
		}
	})
	t.Run("microsoft has nothing to revoke with", func(t *testing.T) {
		p := newIDP(t)
		p.grants(t, p.sign(t, stranger(microsoftClaims())), nil)
		if _, failure := exchange(t, attended(t, ownMicrosoft(), p), exchangeRequest); failure == nil || !strings.Contains(failure.Mend, "https://account.live.com/consent/Manage") {
			t.Errorf("failure is %+v", failure)
		}
	})
}

func TestAnswerWithoutRefreshTokenSaysWhatIsMissing(t *testing.T) {
	p := newIDP(t)
	p.grants(t, p.sign(t, googleClaims()), map[string]any{"refresh_token": ""})
	_, failure := exchange(t, attended(t, ownGoogle(), p), exchangeRequest)
	if failure == nil || !strings.Contains(failure.Reads, "refresh token") || !strings.Contains(failure.Mend, "access_type=offline") {
		t.Errorf("failure is %+v", failure)
	}
}

func TestPublicRedirectURIIsRedeemedWithoutTheSecret(t *testing.T) {
	p := newIDP(t)
	granted := p.sign(t, microsoftClaims())
	p.answer("/token", func(w http.ResponseWriter, r *http.Request) {
		if r.Form.Has("client_secret") {
			says(401, `{"error":"invalid_client","error_description":"AADSTS700025: Client is public so neither 'client_assertion' nor 'client_secret' should be presented.","error_codes":[700025]}`)(w, r)
			return
		}
		says(200, `{"access_token":"at-1","refresh_token":"rt-1","expires_in":3600,"id_token":"`+granted+`"}`)(w, r)
	})
	cfg := ownMicrosoft()
	cfg.ClientSecrets = append(cfg.ClientSecrets, secret.New("older"))
	consent, failure := exchange(t, attended(t, cfg, p), exchangeRequest)
	if failure != nil {
		t.Fatal(failure)
	}
	if consent.ClientAuth != account.ClientNone {
		t.Errorf("the client authenticated by %q, want none", consent.ClientAuth)
	}
	if got := len(tokenRequests(p)); got != 2 {
		t.Errorf("%d token requests, want 2: the older secret is no better", got)
	}
}

func TestOlderSecretRedeemsACode(t *testing.T) {
	p := newIDP(t)
	cfg := p.oidcConfig(t, nil)
	cfg.AuthStyle, cfg.ClientSecrets = StylePost, []secret.String{secret.New("new"), secret.New("old")}
	granted := p.sign(t, p.claims())
	p.answer("/token", func(w http.ResponseWriter, r *http.Request) {
		if r.Form.Get("client_secret") == "new" {
			says(401, `{"error":"invalid_client"}`)(w, r)
			return
		}
		says(200, `{"access_token":"at-1","refresh_token":"rt-1","id_token":"`+granted+`"}`)(w, r)
	})
	if consent, failure := exchange(t, attended(t, cfg, p), exchangeRequest); failure != nil || consent.ClientAuth != account.ClientSecret {
		t.Errorf("failure is %v, client authentication %q", failure, consent.ClientAuth)
	}
}

func TestCodeIsNotRepeatedByFailures(t *testing.T) {
	p := newIDP(t)
	cfg := p.oidcConfig(t, nil)
	r := exchangeRequest
	r.Code = secret.New("SplxlOBeZQQYbYS6WxSbIA")
	p.answer("/token", says(400, `{"error":"invalid_grant","error_description":"code SplxlOBeZQQYbYS6WxSbIA with `+r.Verifier+` is spent"}`))
	_, failure := exchange(t, attended(t, cfg, p), r)
	if failure == nil || failure.Code != "invalid_grant" || failure.Description != "" {
		t.Errorf("failure is %+v, want it without a description", failure)
	}
}

func TestExchangeGoesOnWhenTheBrowserLeaves(t *testing.T) {
	p := newIDP(t)
	cfg := p.oidcConfig(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	granted := p.sign(t, with(p.claims(), map[string]any{"email": nil}))
	p.answer("/token", func(w http.ResponseWriter, r *http.Request) {
		leave()
		says(200, `{"access_token":"at-1","refresh_token":"rt-1","id_token":"`+granted+`"}`)(w, r)
	})
	p.answer("/userinfo", says(200, `{"sub":"user-1","email":"ann@acme.example"}`))
	consent, err := attended(t, cfg, p).Exchange(ctx, exchangeRequest)
	if err != nil || consent.Identity.Email != "ann@acme.example" {
		t.Errorf("the code is spent and its grant is lost: %v", err)
	}
}
