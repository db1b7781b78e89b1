package provider

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// idp is an OpenID provider for one test: whatever host it is asked as, it
// answers by path.
type idp struct {
	*fakeServer
	key *rsa.PrivateKey
	mu  sync.Mutex
	// answers are by the end of the path; what has none is 404.
	answers map[string]http.HandlerFunc
	asked   []string
}

var idpKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newIDP(t *testing.T) *idp {
	t.Helper()
	p := &idp{key: idpKey(), answers: map[string]http.HandlerFunc{}}
	p.fakeServer = newFakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.Header.Get("X-Original-Host")+r.URL.Path)
		var answer http.HandlerFunc
		for end, a := range p.answers {
			if strings.HasSuffix(r.URL.Path, end) {
				answer = a
			}
		}
		p.mu.Unlock()
		if answer == nil {
			http.NotFound(w, r)
			return
		}
		answer(w, r)
	})
	keys := says(200, jwks(t, jose.JSONWebKey{Key: p.key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}))
	p.answer("/keys", keys)
	p.answer("/certs", keys)
	p.answer("/jwks", keys)
	return p
}

func (p *idp) answer(end string, with http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[end] = with
}

// asks counts the requests whose address ends so.
func (p *idp) asks(end string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, address := range p.asked {
		if strings.HasSuffix(address, end) {
			n++
		}
	}
	return n
}

// RoundTrip leads every host here.
func (p *idp) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(p.URL)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("X-Original-Host", r.URL.Host)
	r.URL.Scheme, r.URL.Host, r.Host = to.Scheme, to.Host, to.Host
	return http.DefaultTransport.RoundTrip(r)
}

func jwks(t *testing.T, keys ...any) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sign makes an ID token.
func sign(t *testing.T, key any, algorithm jose.SignatureAlgorithm, kid string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
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
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (p *idp) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	return sign(t, p.key, jose.RS256, "k1", claims)
}

// grants has the token endpoint answer with this ID token.
func (p *idp) grants(t *testing.T, idToken string, with map[string]any) {
	t.Helper()
	answer := map[string]any{"access_token": "at-1", "refresh_token": "rt-1", "expires_in": 3600, "token_type": "Bearer"}
	if idToken != "" {
		answer["id_token"] = idToken
	}
	maps.Copy(answer, with)
	text, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	p.answer("/token", says(200, string(text)))
}

// with is a copy of claims, changed; nil takes a claim away.
func with(claims, changed map[string]any) map[string]any {
	claims = maps.Clone(claims)
	for name, value := range changed {
		if value == nil {
			delete(claims, name)
			continue
		}
		claims[name] = value
	}
	return claims
}

func at(d time.Duration) int64 { return time.Now().Add(d).Unix() }

func attended(t *testing.T, cfg Config, transport http.RoundTripper) Attended {
	t.Helper()
	p, err := New(cfg, transport)
	if err != nil {
		t.Fatal(err)
	}
	return p.(Attended)
}

var exchangeRequest = ExchangeRequest{
	Code: secret.New("code-1"), RedirectURI: "https://bellhop.example/oauth/callback",
	Verifier: "a-verifier-of-at-least-forty-three-characters-in-all", Nonce: "nonce-1",
}

// exchange returns the consent or its failure.
func exchange(t *testing.T, p Attended, r ExchangeRequest) (account.Consent, *account.Failure) {
	t.Helper()
	consent, err := p.Exchange(t.Context(), r)
	return consent, failureOf(t, err)
}

func failureOf(t *testing.T, err error) *account.Failure {
	t.Helper()
	if err == nil {
		return nil
	}
	failure, ok := errors.AsType[*account.Failure](err)
	if !ok {
		t.Fatalf("the error is a %T, want *account.Failure", err)
	}
	if failure == nil {
		t.Fatal("the error is a nil failure")
	}
	if failure.Reads == "" || failure.Mend == "" {
		t.Errorf("the failure tells people nothing: %+v", failure)
	}
	return failure
}

func ownGoogle() Config { return googleConfig("") }

func googleClaims() map[string]any {
	return map[string]any{
		"iss": "https://accounts.google.com", "aud": "id.apps.googleusercontent.com", "azp": "id.apps.googleusercontent.com",
		"sub": "110169484474386276334", "exp": at(time.Hour), "iat": at(0), "nonce": "nonce-1",
		"email": "ann@gmail.com", "email_verified": true, "name": "Ann Example",
	}
}

func ownMicrosoft() Config { return microsoftConfig("") }

func microsoftClaims() map[string]any {
	return map[string]any{
		"iss": "https://login.microsoftonline.com/" + tid + "/v2.0", "aud": "11111111-1111-1111-1111-111111111111",
		"sub": "pairwise", "tid": tid, "oid": oid, "exp": at(time.Hour), "iat": at(0), "nonce": "nonce-1", "ver": "2.0",
		"preferred_username": "ann@contoso.example", "email": "boss@victim.example", "name": "Ann Example",
	}
}

// oidcConfig is an oauth2 provider with an issuer, whose metadata p serves.
func (p *idp) oidcConfig(t *testing.T, changed map[string]any) Config {
	t.Helper()
	metadata := with(map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"jwks_uri": p.URL + "/jwks", "userinfo_endpoint": p.URL + "/userinfo", "revocation_endpoint": p.URL + "/revoke",
		"device_authorization_endpoint": p.URL + "/device",
	}, changed)
	text, err := json.Marshal(metadata)
	if err != nil {
		t.Fatal(err)
	}
	p.answer("/.well-known/oauth-authorization-server", says(200, string(text)))
	cfg := oauth2Config("")
	cfg.Issuer = p.URL
	return cfg
}

func (p *idp) claims() map[string]any {
	return map[string]any{
		"iss": p.URL, "aud": "bellhop", "sub": "user-1", "exp": at(time.Hour), "iat": at(0), "nonce": "nonce-1",
		"email": "ann@acme.example", "email_verified": true,
	}
}
