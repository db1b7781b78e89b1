package fakeprovider

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

const graphDefault = "https://graph.microsoft.com/.default"

// certificate is one for key, in DER.
func certificate(t *testing.T, key *rsa.PrivateKey) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: clockStart, NotAfter: clockStart.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func appForm() url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {"app"}, "scope": {graphDefault}}
}

func (f fixture) app(tenant string, form url.Values) tokenAnswer {
	f.t.Helper()
	answer, err := f.doToken("/"+tenant+"/oauth2/v2.0/token", form)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer
}

func TestClientCredentialsBySecret(t *testing.T) {
	f := start(t, Options{})
	f.register(
		Client{ID: "app", Secrets: []string{"s"}, Dialect: Microsoft, ClientCredentials: true},
		Client{ID: "may-not", Secrets: []string{"s"}, Dialect: Microsoft},
	)
	good := with(appForm(), "client_secret", "s")
	for _, tenant := range []string{DefaultTenant.ID, "example.com"} {
		answer := f.app(tenant, good)
		answer.wantIssued(t)
		if answer.RefreshToken != "" || answer.Scope != "" {
			t.Errorf("got %s", answer.Raw)
		}
	}
	if got := f.Grants(false); len(got) != 1 || got[0].Subject != DefaultTenant.ID || len(got[0].AccessTokens) != 2 {
		t.Errorf("grants are %+v", got)
	}
	for name, test := range map[string]struct {
		tenant, field, value string
		status               int
		code                 string
	}{
		"no specific tenant":  {"organizations", "", "", 400, "invalid_request"},
		"consumers":           {"consumers", "", "", 400, "invalid_request"},
		"unknown tenant":      {"nowhere.example", "", "", 400, "invalid_tenant"},
		"a scope by name":     {"example.com", "scope", "https://graph.microsoft.com/Mail.Read", 400, "invalid_scope"},
		"two resources":       {"example.com", "scope", graphDefault + " https://outlook.office.com/.default", 400, "invalid_scope"},
		"no scope":            {"example.com", "scope", "", 400, "invalid_scope"},
		"wrong secret":        {"example.com", "client_secret", "x", 401, "invalid_client"},
		"a client of another": {"example.com", "client_id", "may-not", 400, "unauthorized_client"},
	} {
		t.Run(name, func(t *testing.T) {
			form := with(appForm(), "client_secret", "s")
			if test.field != "" {
				form.Set(test.field, test.value)
			}
			f.app(test.tenant, form).wantError(t, test.status, test.code)
		})
	}
}

func TestClientCredentialsByAssertion(t *testing.T) {
	der := certificate(t, testKey())
	s1, s256 := sha1.Sum(der), sha256.Sum256(der)
	x5t := map[string]any{"x5t": base64.RawURLEncoding.EncodeToString(s1[:])}
	x5tS256 := map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(s256[:])}
	now := clockStart.Unix()
	tests := []struct {
		name   string
		header map[string]any
		change func(map[string]any)
		key    func() *rsa.PrivateKey
		want   string // in the description, or empty
	}{
		{"x5t", x5t, nil, nil, ""},
		{"x5t#S256", x5tS256, nil, nil, ""},
		{"no thumbprint", nil, nil, nil, "AADSTS700027"},
		{"another thumbprint", map[string]any{"x5t": "AAAA"}, nil, nil, "AADSTS700027"},
		{"another key", x5t, nil, otherKey, "AADSTS700027"},
		{"another issuer", x5t, claim("iss", "x"), nil, "AADSTS50027"},
		{"another subject", x5t, claim("sub", "x"), nil, "AADSTS50027"},
		{"another audience", x5t, claim("aud", "https://login.microsoftonline.com/"), nil, "AADSTS700023"},
		{"two audiences", x5t, claim("aud", []string{"a", "b"}), nil, "AADSTS700023"},
		{"expired", x5t, claim("exp", now), nil, "AADSTS700024"},
		{"not yet", x5t, claim("nbf", now+60), nil, "AADSTS700024"},
		{"without exp", x5t, claim("exp", nil), nil, "AADSTS700024"},
		{"without jti", x5t, claim("jti", nil), nil, "AADSTS50027"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, Options{})
			f.register(Client{
				ID: "app", Dialect: Microsoft, ClientCredentials: true,
				Keys: []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))},
			})
			claims := map[string]any{
				"iss": "app", "sub": "app", "aud": f.URL + "/example.com/oauth2/v2.0/token",
				"jti": "j" + strconv.Itoa(i), "iat": now, "nbf": now, "exp": now + 300,
			}
			if test.change != nil {
				test.change(claims)
			}
			key := testKey
			if test.key != nil {
				key = test.key
			}
			form := with(appForm(), "client_assertion", signed(t, key(), test.header, claims))
			form.Set("client_assertion_type", assertionType)
			answer := f.app("example.com", form)
			if test.want != "" {
				answer.wantError(t, http.StatusUnauthorized, "invalid_client")
				if !strings.Contains(answer.Description, test.want+":") {
					t.Errorf("description is %q, want %s", answer.Description, test.want)
				}
				return
			}
			answer.wantIssued(t)
			f.app("example.com", form).wantError(t, http.StatusUnauthorized, "invalid_client") // the jti
			f.app("example.com", with(form, "client_secret", "s")).wantError(t, http.StatusBadRequest, "invalid_request")
		})
	}
}

func TestPrivateKeyJWTForAnyGrant(t *testing.T) {
	f := start(t, Options{})
	f.register(Client{ID: "jwt", Keys: []string{publicPEM(t, testKey())}, RedirectURIs: []string{callback}})
	assertion := func(jti string) string {
		return signed(t, testKey(), nil, map[string]any{
			"iss": "jwt", "sub": "jwt", "aud": f.URL + "/token", "jti": jti, "exp": clockStart.Add(time.Minute).Unix(),
		})
	}
	form := redeemForm("jwt", f.code("jwt", Decision{}))
	form.Del("client_secret")
	form.Set("client_assertion_type", assertionType)
	answer := f.token(with(form, "client_assertion", assertion("1")))
	answer.wantIssued(t)
	refresh := with(refreshForm(answer.RefreshToken), "client_id", "jwt")
	f.token(refresh).wantError(t, http.StatusUnauthorized, "invalid_client")
	refresh.Set("client_assertion_type", assertionType)
	f.token(with(refresh, "client_assertion", assertion("2"))).wantIssued(t)
	if log := f.TokenRequests(false); log[0].AuthMethod != PrivateKeyJWT {
		t.Errorf("logged as %+v", log[0])
	}
}
