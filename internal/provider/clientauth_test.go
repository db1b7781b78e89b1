package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func TestBasicFormEncodesBothParts(t *testing.T) {
	server := newFakeServer(t, says(200, freshToken))
	cfg := oauth2Config(server.URL)
	cfg.ClientID, cfg.ClientSecrets = "bell:hop", []secret.String{secret.New("s/3+c ret%")}
	if _, failure := refresh(t, mustNew(t, cfg), account.RefreshRequest{}); failure != nil {
		t.Fatal(failure)
	}
	got := server.only(t)
	encoded, ok := strings.CutPrefix(got.Header.Get("Authorization"), "Basic ")
	pair, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || string(pair) != "bell%3Ahop:s%2F3%2Bc+ret%25" {
		t.Errorf("Authorization is %q, in clear %q", got.Header.Get("Authorization"), pair)
	}
	if got.Form.Has("client_id") || got.Form.Has("client_secret") {
		t.Errorf("credentials stand in the form too: %v", got.Form)
	}
}

func TestPublicGrantsAreRenewedWithoutASecret(t *testing.T) {
	for _, style := range []string{StyleBasic, StylePost, StyleNone} {
		t.Run(style, func(t *testing.T) {
			server := newFakeServer(t, says(400, `{"error":"invalid_client"}`))
			cfg := oauth2Config(server.URL)
			cfg.AuthStyle = style
			_, _ = refresh(t, mustNew(t, cfg), account.RefreshRequest{ClientAuth: account.ClientNone})
			got := server.only(t)
			if got.Form.Get("client_id") != "bellhop" || got.Form.Has("client_secret") || got.Header.Get("Authorization") != "" {
				t.Errorf("the request had form %v and Authorization %q", got.Form, got.Header.Get("Authorization"))
			}
		})
	}
}

// pemOf writes a key as PKCS #8.
func pemOf(t *testing.T, key crypto.Signer) secret.String {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// claimsOfAssertion verifies an assertion and returns its header and claims.
func claimsOfAssertion(t *testing.T, form url.Values, algorithm jose.SignatureAlgorithm, key crypto.PublicKey) (jose.Header, map[string]any) {
	t.Helper()
	if got := form.Get("client_assertion_type"); got != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		t.Errorf("client_assertion_type is %q", got)
	}
	signed, err := jose.ParseSigned(form.Get("client_assertion"), []jose.SignatureAlgorithm{algorithm})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := signed.Verify(key)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return signed.Signatures[0].Header, claims
}

func TestPrivateKeyJWT(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	pkcs1 := secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})))
	sec1DER, err := x509.MarshalECPrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	sec1 := secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1DER})))

	tests := []struct {
		name      string
		key       crypto.Signer
		pem       secret.String
		algorithm string
		want      jose.SignatureAlgorithm
	}{
		{"RSA", rsaKey, pemOf(t, rsaKey), "", jose.RS256},
		{"RSA in PKCS 1", rsaKey, pkcs1, "PS384", jose.PS384},
		{"P-256", p256, pemOf(t, p256), "", jose.ES256},
		{"P-256 in SEC 1", p256, sec1, "ES256", jose.ES256},
		{"P-384", p384, pemOf(t, p384), "", jose.ES384},
		{"Ed25519", edKey, pemOf(t, edKey), "", jose.EdDSA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newFakeServer(t, says(200, freshToken))
			cfg := oauth2Config(server.URL + "/token")
			cfg.AuthStyle, cfg.PrivateKey, cfg.KeyID, cfg.Algorithm = StylePrivateKeyJWT, tt.pem, "key-1", tt.algorithm
			p := mustNew(t, cfg)
			for range 2 {
				if _, failure := refresh(t, p, account.RefreshRequest{}); failure != nil {
					t.Fatal(failure)
				}
			}
			ids := map[any]bool{}
			for _, r := range server.all() {
				header, claims := claimsOfAssertion(t, r.Form, tt.want, tt.key.Public())
				if header.KeyID != "key-1" {
					t.Errorf("kid is %q", header.KeyID)
				}
				if claims["iss"] != "bellhop" || claims["sub"] != "bellhop" || claims["aud"] != server.URL+"/token" {
					t.Errorf("claims are %v", claims)
				}
				if life := claims["exp"].(float64) - claims["iat"].(float64); life != assertionLife.Seconds() {
					t.Errorf("the assertion lives %v s", life)
				}
				ids[claims["jti"]] = true
				if r.Form.Has("client_secret") || r.Header.Get("Authorization") != "" {
					t.Error("a secret went along")
				}
			}
			if len(ids) != 2 {
				t.Error("two assertions share a jti")
			}
		})
	}

	for name, algorithm := range map[string]string{"symmetric": "HS256", "of another key": "RS256", "none": "none"} {
		t.Run("algorithm "+name, func(t *testing.T) {
			cfg := oauth2Config("https://acme.example/token")
			cfg.AuthStyle, cfg.PrivateKey, cfg.Algorithm = StylePrivateKeyJWT, pemOf(t, p256), algorithm
			if _, err := New(cfg, nil); err == nil || !strings.HasPrefix(err.Error(), "private_key: ") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestMicrosoftClientCertificate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bellhop"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))

	for name, edit := range map[string]func(*Config){
		"in one file": func(c *Config) { c.ClientCertificate = secret.New(certificate + pemOf(t, key).Reveal()) },
		"in two files": func(c *Config) {
			c.ClientCertificate, c.PrivateKey = secret.New(certificate), pemOf(t, key)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := newFakeServer(t, says(200, freshToken))
			cfg := microsoftConfig(server.URL + "/organizations/oauth2/v2.0/token")
			cfg.ClientSecrets = nil
			edit(&cfg)
			if _, failure := refresh(t, mustNew(t, cfg), account.RefreshRequest{ClientAuth: account.ClientCertificate}); failure != nil {
				t.Fatal(failure)
			}
			header, claims := claimsOfAssertion(t, server.only(t).Form, jose.PS256, key.Public())
			sum := sha256.Sum256(der)
			if got, want := header.ExtraHeaders["x5t#S256"], base64.RawURLEncoding.EncodeToString(sum[:]); got != want {
				t.Errorf("x5t#S256 is %v, want %s", got, want)
			}
			if claims["iss"] != cfg.ClientID || claims["aud"] != cfg.TokenEndpoint {
				t.Errorf("claims are %v", claims)
			}
		})
	}

	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Config){
		"key of another": func(c *Config) { c.ClientCertificate, c.PrivateKey = secret.New(certificate), pemOf(t, other) },
		"no key":         func(c *Config) { c.ClientCertificate = secret.New(certificate) },
		"no certificate": func(c *Config) { c.ClientCertificate = pemOf(t, key) },
		"neither":        func(c *Config) { c.ClientCertificate = secret.New("nonsense") },
		"broken": func(c *Config) {
			c.ClientCertificate = secret.New(strings.ReplaceAll(certificate, "M", "A") + pemOf(t, key).Reveal())
		},
		"encrypted key": func(c *Config) {
			c.ClientCertificate = secret.New(certificate + "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
		},
		"unreadable block": func(c *Config) {
			c.ClientCertificate = secret.New(certificate + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := microsoftConfig("")
			cfg.ClientSecrets = nil
			edit(&cfg)
			if _, err := New(cfg, nil); err == nil || !strings.HasPrefix(err.Error(), "client_certificate: ") {
				t.Errorf("error is %v", err)
			}
		})
	}
}
