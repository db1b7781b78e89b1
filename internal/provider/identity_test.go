package provider

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

func newRSAKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicJWK(key *rsa.PrivateKey, kid string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key.Public(), KeyID: kid, Algorithm: "RS256", Use: "sig"}
}

func unsigned(t *testing.T, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
}

func TestIDTokenFaultsAreRefused(t *testing.T) {
	types := map[string]struct {
		setup  func(*testing.T, *idp) Config
		claims func(*idp) map[string]any
		// bySource is set where the token is believed for where it came from.
		bySource bool
	}{
		"google":           {func(*testing.T, *idp) Config { return ownGoogle() }, func(*idp) map[string]any { return googleClaims() }, false},
		"microsoft":        {func(*testing.T, *idp) Config { return ownMicrosoft() }, func(*idp) map[string]any { return microsoftClaims() }, false},
		"oauth2":           {func(t *testing.T, p *idp) Config { return p.oidcConfig(t, nil) }, (*idp).claims, false},
		"oauth2 no issuer": {func(_ *testing.T, p *idp) Config { return oauth2Config(p.URL + "/token") }, (*idp).claims, true},
		"google elsewhere": {func(_ *testing.T, p *idp) Config { return googleConfig(p.URL + "/token") }, func(*idp) map[string]any { return googleClaims() }, true},
	}
	faults := []struct {
		name string
		make func(*testing.T, *idp, map[string]any) string
		// signature is set for what only a signature tells.
		signature bool
	}{
		{"another nonce", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"nonce": "x"}))
		}, false},
		{"no nonce", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"nonce": nil}))
		}, false},
		{"another audience", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"aud": "x"}))
		}, false},
		{"no audience", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"aud": nil}))
		}, false},
		{"another authorized party", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"azp": "x"}))
		}, false},
		{"several audiences and no authorized party", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"aud": []any{c["aud"], "x"}, "azp": nil}))
		}, false},
		{"expired", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"exp": at(-time.Minute)}))
		}, false},
		{"no expiry", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"exp": nil}))
		}, false},
		{"no subject", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"sub": nil}))
		}, false},
		{"no issuer", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"iss": nil}))
		}, false},
		{"another issuer", func(t *testing.T, p *idp, c map[string]any) string {
			return p.sign(t, with(c, map[string]any{"iss": "https://evil.example"}))
		}, true},
		{"alg none", func(t *testing.T, _ *idp, c map[string]any) string { return unsigned(t, c) }, false},
		{"no token at all", func(*testing.T, *idp, map[string]any) string { return "x.y.z" }, false},
		{"another key", func(t *testing.T, _ *idp, c map[string]any) string { return sign(t, newRSAKey(t), jose.RS256, "k1", c) }, true},
		{"a secret for a key", func(t *testing.T, _ *idp, c map[string]any) string {
			return sign(t, []byte(strings.Repeat("s3cret", 8)), jose.HS256, "k1", c)
		}, true},
		{"a key of another kind", func(t *testing.T, _ *idp, c map[string]any) string {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return sign(t, key, jose.ES256, "k1", c)
		}, true},
		{"another payload", func(t *testing.T, p *idp, c map[string]any) string {
			parts := strings.Split(p.sign(t, c), ".")
			parts[1] = strings.Split(p.sign(t, with(c, map[string]any{"email": "other@example.com"})), ".")[1]
			return strings.Join(parts, ".")
		}, true},
	}
	for name, kind := range types {
		for _, fault := range faults {
			t.Run(name+"/"+fault.name, func(t *testing.T) {
				p := newIDP(t)
				cfg := kind.setup(t, p)
				p.grants(t, fault.make(t, p, kind.claims(p)), nil)
				consent, failure := exchange(t, attended(t, cfg, p), exchangeRequest)
				if refused := failure != nil; refused == (fault.signature && kind.bySource) {
					t.Errorf("refused: %t (%v)", refused, failure)
				}
				if failure != nil && consent.Identity != (account.Identity{}) {
					t.Errorf("a refused identity is returned: %+v", consent.Identity)
				}
				if failure != nil && fault.name == "expired" && !strings.Contains(failure.Mend, "clock") {
					t.Errorf("it is mended by %q, want the clock named", failure.Mend)
				}
			})
		}
	}
}

func TestMissingIDToken(t *testing.T) {
	for name, cfg := range map[string]Config{"google": ownGoogle(), "microsoft": ownMicrosoft()} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			p.grants(t, "", nil)
			if _, failure := exchange(t, attended(t, cfg, p), exchangeRequest); failure == nil {
				t.Error("accepted though nobody knows who consented")
			}
		})
	}
}

func TestMicrosoftTenants(t *testing.T) {
	const other = "0f0f0f0f-0000-4000-8000-0123456789ab"
	issuer := func(tenant string) string { return "https://login.microsoftonline.com/" + tenant + "/v2.0" }
	tests := []struct {
		name, tenant string
		changed      map[string]any
		keyIssuer    string
		prove, ok    bool
		proven       bool
	}{
		{name: "any organisation", tenant: "organizations", ok: true},
		{name: "personal at organizations", tenant: "organizations", changed: map[string]any{"tid": consumersTenant, "iss": issuer(consumersTenant)}},
		{name: "personal at common", tenant: "common", changed: map[string]any{"tid": consumersTenant, "iss": issuer(consumersTenant)}, ok: true, proven: true},
		{name: "organisation at consumers", tenant: "consumers"},
		{name: "own tenant", tenant: tid, ok: true, proven: true},
		{name: "own tenant, written large", tenant: strings.ToUpper(tid), changed: map[string]any{"tid": strings.ToUpper(tid)}, ok: true, proven: true},
		{name: "another tenant", tenant: other},
		{name: "another tenant under this one's issuer", tenant: tid, changed: map[string]any{"tid": other}},
		{name: "another issuer than the tenant's", tenant: "organizations", changed: map[string]any{"iss": issuer(other)}},
		{name: "the issuer as discovery writes it", tenant: "organizations", changed: map[string]any{"iss": issuer("{tenantid}")}},
		{name: "no tenant", tenant: "organizations", changed: map[string]any{"tid": nil}},
		{name: "no tenant, and its empty place", tenant: "organizations", changed: map[string]any{"tid": "", "iss": issuer("")}},
		{name: "no object", tenant: "organizations", changed: map[string]any{"oid": nil}},
		{name: "tenant by domain", tenant: "contoso.example", ok: true, proven: true},
		{name: "tenant by another domain", tenant: "fabrikam.example"},
		{name: "guest of the own tenant", tenant: tid, changed: map[string]any{"idp": issuer(other), "preferred_username": "ann@fabrikam.example"}, prove: true, ok: true},
		{name: "guest by account type", tenant: tid, changed: map[string]any{"acct": 1}, ok: true},
		{name: "login of the tenant's domain", tenant: "organizations", prove: true, ok: true, proven: true},
		{name: "login of another's domain", tenant: "organizations", changed: map[string]any{"preferred_username": "ann@fabrikam.example"}, prove: true, ok: true},
		{name: "login of nobody's domain", tenant: "organizations", changed: map[string]any{"preferred_username": "ann@nobody.example"}, prove: true, ok: true},
		{name: "login with a path for a domain", tenant: "organizations", changed: map[string]any{"preferred_username": "ann@contoso.example/../x"}, prove: true, ok: true},
		{name: "telephone number", tenant: tid, changed: map[string]any{"preferred_username": "+49 30 1234"}, ok: true},
		{name: "key of another issuer", tenant: "organizations", keyIssuer: issuer(consumersTenant)},
		{name: "key of all issuers", tenant: "organizations", keyIssuer: issuer("{tenantid}"), ok: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			if tt.keyIssuer != "" {
				raw, _ := publicJWK(p.key, "k1").MarshalJSON()
				key := map[string]any{}
				if err := json.Unmarshal(raw, &key); err != nil {
					t.Fatal(err)
				}
				key["issuer"] = tt.keyIssuer
				p.answer("/keys", says(200, jwks(t, key)))
			}
			for name, owner := range map[string]string{"contoso.example": tid, "fabrikam.example": other} {
				p.answer("/"+name+"/v2.0/.well-known/openid-configuration", says(200, `{"issuer":"`+issuer(owner)+`"}`))
			}
			p.grants(t, p.sign(t, with(microsoftClaims(), tt.changed)), nil)
			cfg := ownMicrosoft()
			cfg.Tenant = tt.tenant
			r := exchangeRequest
			r.ProveEmail = tt.prove
			consent, failure := exchange(t, attended(t, cfg, p), r)
			if (failure == nil) != tt.ok {
				t.Fatalf("failure is %v", failure)
			}
			id := consent.Identity
			if id.Proven != tt.proven {
				t.Errorf("the login is proven: %t, want %t", id.Proven, tt.proven)
			}
			if failure == nil && (!strings.HasSuffix(id.Subject, "/"+oid) || id.Subject != strings.ToLower(id.Subject)) {
				t.Errorf("subject is %q", id.Subject)
			}
			if strings.Contains(id.Email, "victim") {
				t.Errorf("login is %q, which anybody's tenant may write", id.Email)
			}
		})
	}
}

// Where the endpoints are overridden nothing is known of issuers but who spoke
// at the first consent. A colleague elsewhere is somebody else, and no forger.
func TestMicrosoftIssuerByHandMayNameAnotherTenant(t *testing.T) {
	const other = "0f0f0f0f-0000-4000-8000-0123456789ab"
	for name, tt := range map[string]struct {
		known string
		ok    bool
	}{
		"the same":               {"https://login.microsoftonline.com/" + tid + "/v2.0", true},
		"of another tenant":      {"https://login.microsoftonline.com/" + other + "/v2.0", true},
		"of another host":        {"https://login.evil.example/" + tid + "/v2.0", false},
		"of another version":     {"https://login.microsoftonline.com/" + tid + "/v1.0", false},
		"first consent, unknown": {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			p.grants(t, p.sign(t, microsoftClaims()), nil)
			r := exchangeRequest
			r.KnownIssuer = tt.known
			consent, failure := exchange(t, attended(t, microsoftConfig(p.URL+"/token"), p), r)
			if (failure == nil) != tt.ok {
				t.Fatalf("failure is %v", failure)
			}
			if failure == nil && consent.Identity.Subject != tid+"/"+oid {
				t.Errorf("subject is %q", consent.Identity.Subject)
			}
		})
	}
}

func TestMicrosoftTenantIsAskedForBeforeTheCodeIsSpent(t *testing.T) {
	p := newIDP(t)
	p.grants(t, p.sign(t, microsoftClaims()), nil)
	cfg := ownMicrosoft()
	cfg.Tenant = "contoso.example"
	if _, failure := exchange(t, attended(t, cfg, p), exchangeRequest); failure == nil || failure.Meaning != account.ProviderDown {
		t.Errorf("failure is %v, want provider down", failure)
	}
	if got := len(tokenRequests(p)); got != 0 {
		t.Errorf("the code was sent %d times", got)
	}
}

func TestMailboxIsProvenByVerificationOnly(t *testing.T) {
	for _, tt := range []struct {
		changed map[string]any
		want    bool
	}{
		{nil, true},
		{map[string]any{"email_verified": "true"}, true},
		{map[string]any{"email_verified": false}, false},
		{map[string]any{"email_verified": "yes"}, false},
		{map[string]any{"email_verified": 1}, false},
		{map[string]any{"email_verified": nil}, false},
		{map[string]any{"email": nil}, false},
		{map[string]any{"email": "ann@gmail.com\nbcc: x"}, false},
		{map[string]any{"email": []string{"ann@gmail.com"}}, false},
	} {
		for name, claims := range map[string]func(*idp) map[string]any{"google": func(*idp) map[string]any { return googleClaims() }, "oauth2": (*idp).claims} {
			p := newIDP(t)
			cfg := ownGoogle()
			if name == "oauth2" {
				cfg = p.oidcConfig(t, map[string]any{"userinfo_endpoint": nil})
			}
			p.grants(t, p.sign(t, with(claims(p), tt.changed)), nil)
			consent, failure := exchange(t, attended(t, cfg, p), exchangeRequest)
			if failure != nil || consent.Identity.Proven != tt.want {
				t.Errorf("%s with %v: proven %t, want %t (%v)", name, tt.changed, consent.Identity.Proven, tt.want, failure)
			}
		}
	}
}

func TestUserinfo(t *testing.T) {
	tests := []struct {
		name           string
		idToken        map[string]any // nil for none
		answer         http.HandlerFunc
		subject, email string
		lacks          bool
		asks           int
	}{
		{"instead of an ID token", nil, says(200, `{"sub":"user-1","email":"ann@acme.example","email_verified":true}`), "user-1", "ann@acme.example", false, 1},
		{"down", nil, says(503, ``), "", "", true, 2},
		{"without sub", nil, says(200, `{"email":"ann@acme.example"}`), "", "ann@acme.example", true, 1},
		{"with sub of a wrong kind", nil, says(200, `{"sub":7}`), "", "", true, 1},
		{"cut off", nil, says(200, `{"sub":"user-1"`), "", "", true, 2},
		{"adds the address", map[string]any{"email": nil}, says(200, `{"sub":"user-1","email":"ann@acme.example"}`), "user-1", "ann@acme.example", false, 1},
		{"of somebody else", map[string]any{"email": nil}, says(200, `{"sub":"user-2","email":"bob@acme.example"}`), "user-1", "", false, 1},
		{"down beside an ID token", map[string]any{"email": nil}, says(503, ``), "user-1", "", false, 1},
		{"not needed", map[string]any{}, says(500, ``), "user-1", "ann@acme.example", false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			cfg := p.oidcConfig(t, nil)
			p.answer("/userinfo", func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "Bearer at-1" {
					t.Errorf("asked with %q", got)
				}
				tt.answer(w, r)
			})
			idToken := ""
			if tt.idToken != nil {
				idToken = p.sign(t, with(p.claims(), tt.idToken))
			}
			p.grants(t, idToken, nil)
			consent, failure := exchange(t, attended(t, cfg, p), exchangeRequest)
			if failure != nil {
				t.Fatalf("a good token answer was lost: %v", failure)
			}
			if consent.Answer.RefreshToken.Reveal() != "rt-1" {
				t.Error("the refresh token is lost")
			}
			id := consent.Identity
			if id.Subject != tt.subject || id.Email != tt.email || (id.Lacks != "") != tt.lacks {
				t.Errorf("identity is %+v", id)
			}
			if got := p.asks("/userinfo"); got != tt.asks {
				t.Errorf("asked %d times, want %d", got, tt.asks)
			}
		})
	}
}

func TestNobodySaysWhoConsented(t *testing.T) {
	p := newIDP(t)
	p.grants(t, "", nil)
	r := exchangeRequest
	r.Issuer = "https://acme.example"
	consent, failure := exchange(t, attended(t, oauth2Config(p.URL+"/token"), p), r)
	if failure != nil {
		t.Fatal(failure)
	}
	if id := consent.Identity; id.Subject != "" || !strings.Contains(id.Lacks, "userinfo_endpoint") || id.Issuer != r.Issuer {
		t.Errorf("identity is %+v", id)
	}
}

func TestIssuerWithoutKeysIsBelievedForWhereItsTokensComeFrom(t *testing.T) {
	for name, iss := range map[string]string{"own": "", "another": "https://evil.example"} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			cfg := p.oidcConfig(t, map[string]any{"jwks_uri": nil})
			claims := p.claims()
			if iss != "" {
				maps.Copy(claims, map[string]any{"iss": iss})
			}
			p.grants(t, p.sign(t, claims), nil)
			if _, failure := exchange(t, attended(t, cfg, p), exchangeRequest); (failure == nil) != (iss == "") {
				t.Errorf("failure is %v", failure)
			}
		})
	}
}

func FuzzKeysAndClaims(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Add([]byte(`{"sub":"1","email":"a@b","email_verified":"true","name":"\u0000"}`))
	f.Add([]byte(`{"device_code":"d","user_code":"u","verification_uri":"https://a.example","interval":1e99}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, key := range parseKeys(body) {
			if !key.IsPublic() {
				t.Error("a key is not public")
			}
		}
		var id account.Identity
		m := parseObject(body)
		m.describe(&id)
		if strings.ContainsAny(id.Email+id.Name, "\r\n\x00") {
			t.Errorf("identity has control characters: %+v", id)
		}
		now := time.Now()
		if d, err := m.device(now); err == nil && (d.Interval < time.Second || d.Expires.After(now.Add(maxDeviceLife)) || checkEndpoint(d.VerificationURI) != nil) {
			t.Errorf("device is %+v", d)
		}
	})
}
