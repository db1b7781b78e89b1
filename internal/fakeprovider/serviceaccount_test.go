package fakeprovider

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// testKey and otherKey belong to the tests' clients; making keys takes long.
var testKey, otherKey = sync.OnceValue(newTestKey), sync.OnceValue(newTestKey)

func newTestKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func publicPEM(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func signed(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	for name, value := range header {
		options = options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

const (
	robot     = "robot@project.iam.gserviceaccount.com"
	mailScope = "https://mail.google.com/"
)

func (f fixture) registerRobot() {
	f.t.Helper()
	err := f.RegisterServiceAccount(ServiceAccount{
		Email: robot, ClientID: "1066", Key: publicPEM(f.t, testKey()), KeyID: "k1",
		Subjects: []string{"alice@example.com"}, Scopes: []string{mailScope},
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) robotClaims() map[string]any {
	now := f.Advance(0).Unix()
	return map[string]any{
		"iss": robot, "sub": "alice@example.com", "aud": f.URL + "/token", "scope": mailScope, "iat": now, "exp": now + 3600,
	}
}

func (f fixture) bearer(assertion string) tokenAnswer {
	f.t.Helper()
	return f.token(url.Values{"grant_type": {grantTypeJWTBearer}, "assertion": {assertion}, "client_id": {""}})
}

func TestServiceAccountActsForPeople(t *testing.T) {
	f := start(t, Options{})
	f.registerRobot()
	for _, issuer := range []string{robot, "1066"} {
		claims := f.robotClaims()
		claims["iss"] = issuer
		answer := f.bearer(signed(t, testKey(), nil, claims))
		answer.wantIssued(t)
		if answer.RefreshToken != "" || answer.Scope != "" {
			t.Errorf("got %s", answer.Raw)
		}
		if _, body := f.call(http.MethodGet, "/gmail/v1/users/me/profile", answer.AccessToken, nil); !strings.Contains(body, "alice@example.com") {
			t.Errorf("profile is %s", body)
		}
	}
	if grants := f.Grants(true); len(grants) != 1 || grants[0].RefreshToken != "" {
		t.Errorf("grants are %+v", grants)
	}
}

func TestServiceAccountAssertionIsJudged(t *testing.T) {
	tests := []struct {
		name          string
		change        func(claims map[string]any)
		key           func() *rsa.PrivateKey
		code, message string
	}{
		{"another key", nil, otherKey, "invalid_grant", "Invalid JWT Signature."},
		{"unknown account", claim("iss", "nobody@example.com"), nil, "invalid_grant", "account not found"},
		{"another audience", claim("aud", "https://other.example/token"), nil, "invalid_grant", "audience"},
		{"no audience", claim("aud", nil), nil, "invalid_grant", "audience"},
		{"expired", claim("exp", clockStart.Unix()), nil, "invalid_grant", "short-lived"},
		{"too long", claim("exp", clockStart.Add(61*time.Minute).Unix()), nil, "invalid_grant", "short-lived"},
		{"from the future", claim("iat", clockStart.Add(time.Minute).Unix()), nil, "invalid_grant", "short-lived"},
		{"without iat", claim("iat", nil), nil, "invalid_grant", "short-lived"},
		{"without exp", claim("exp", nil), nil, "invalid_grant", "short-lived"},
		{"unknown person", claim("sub", "bob@example.com"), nil, "invalid_grant", "Invalid email or User ID"},
		{"scope not delegated", claim("scope", mailScope+" https://www.googleapis.com/auth/drive"), nil, "unauthorized_client", "not authorized"},
		{"no scope", claim("scope", ""), nil, "invalid_scope", "Invalid OAuth scope"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, Options{})
			f.registerRobot()
			claims, key := f.robotClaims(), testKey
			if test.change != nil {
				test.change(claims)
			}
			if test.key != nil {
				key = test.key
			}
			answer := f.bearer(signed(t, key(), nil, claims))
			if answer.Error != test.code || !strings.Contains(answer.Description, test.message) || answer.AccessToken != "" {
				t.Errorf("got %d %s", answer.Status, answer.Raw)
			}
		})
	}
	f := start(t, Options{})
	f.registerRobot()
	f.bearer("").wantError(t, http.StatusBadRequest, "invalid_request")
	f.bearer("a.b.c").wantError(t, http.StatusBadRequest, "invalid_grant")
	f.bearer(signed(t, testKey(), map[string]any{"kid": "k2"}, f.robotClaims())).wantError(t, http.StatusBadRequest, "invalid_grant")
}

func claim(name string, value any) func(map[string]any) {
	return func(claims map[string]any) {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
}

const pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"

func exchangeForm(subjectToken string) url.Values {
	return url.Values{
		"grant_type": {grantTypeExchange}, "audience": {pool}, "scope": {cloudPlatform},
		"requested_token_type": {tokenTypeAccess}, "subject_token_type": {tokenTypeJWT}, "subject_token": {subjectToken},
		"client_id": {""},
	}
}

func (f fixture) signAs(account, federatedToken string, payload any) (status int, answer struct{ KeyID, SignedJwt string }) {
	f.t.Helper()
	text, _ := json.Marshal(payload)
	body, _ := json.Marshal(map[string]string{"payload": string(text)})
	response, raw := f.call(http.MethodPost, "/v1/projects/-/serviceAccounts/"+account+":signJwt", federatedToken, strings.NewReader(string(body)))
	_ = json.Unmarshal([]byte(raw), &answer)
	return response.StatusCode, answer
}

func TestWorkloadSignsWithoutAKey(t *testing.T) {
	f := start(t, Options{})
	f.registerRobot()
	f.RegisterWorkload(Workload{Audience: pool, SubjectTokens: []string{"workload-jwt"}, ServiceAccounts: []string{robot}})
	exchange := func(form url.Values) tokenAnswer {
		answer, err := f.doToken("/v1/token", form)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	exchange(exchangeForm("forged")).wantError(t, http.StatusBadRequest, "invalid_grant")
	exchange(with(exchangeForm("workload-jwt"), "audience", "//other")).wantError(t, http.StatusBadRequest, "invalid_target")
	exchange(with(exchangeForm("workload-jwt"), "grant_type", "refresh_token")).wantError(t, http.StatusBadRequest, "unsupported_grant_type")
	exchange(with(exchangeForm("workload-jwt"), "scope", "")).wantError(t, http.StatusBadRequest, "invalid_request")
	exchange(with(exchangeForm("workload-jwt"), "requested_token_type", "")).wantError(t, http.StatusBadRequest, "invalid_request")
	got := exchange(exchangeForm("workload-jwt"))
	got.wantIssued(t)

	if status, _ := f.signAs(robot, "x", f.robotClaims()); status != http.StatusUnauthorized {
		t.Errorf("signed for a stranger: %d", status)
	}
	if status, _ := f.signAs("other@example.com", got.AccessToken, f.robotClaims()); status != http.StatusForbidden {
		t.Errorf("signed as another account: %d", status)
	}
	if status, _ := f.signAs(robot, got.AccessToken, map[string]any{"exp": f.Advance(0).Add(13 * time.Hour).Unix()}); status != http.StatusBadRequest {
		t.Errorf("signed for too long: %d", status)
	}
	status, answer := f.signAs(robot, got.AccessToken, f.robotClaims())
	if status != http.StatusOK || answer.KeyID == "" {
		t.Fatalf("%d %+v", status, answer)
	}
	f.bearer(answer.SignedJwt).wantIssued(t)
	f.Advance(time.Hour)
	if status, _ := f.signAs(robot, got.AccessToken, f.robotClaims()); status != http.StatusUnauthorized {
		t.Errorf("signed for an expired token: %d", status)
	}
}
