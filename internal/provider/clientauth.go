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
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// The styles of client authentication. The style is configured and never
// probed: a refused probe would spend a single-use refresh token.
const (
	// StyleBasic: HTTP Basic (RFC 6749 section 2.3.1).
	StyleBasic = "basic"
	// StylePost: client_id and client_secret in the form.
	StylePost = "post"
	// StyleNone: a public client, client_id alone.
	StyleNone = "none"
	// StylePrivateKeyJWT: a signed assertion (RFC 7523 section 2.2).
	StylePrivateKeyJWT = "private_key_jwt"
)

// assertionLife is how long a client assertion is good for.
const assertionLife = 5 * time.Minute

// assertionType is the client_assertion_type of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// authenticator adds the client's authentication to requests.
type authenticator struct {
	style    string
	clientID string
	secrets  []secret.String
	signer   jose.Signer
}

func newAuthenticator(cfg Config) (*authenticator, error) {
	a := &authenticator{style: cfg.AuthStyle, clientID: cfg.ClientID, secrets: cfg.ClientSecrets}
	switch a.style {
	case StyleBasic, StylePost:
		if len(a.secrets) == 0 {
			return nil, errors.New("client_secret: is missing")
		}
		if slices.ContainsFunc(a.secrets, secret.String.IsZero) {
			return nil, errors.New("client_secret: is empty")
		}
		return a, nil
	case StyleNone:
		return a, nil
	case StylePrivateKeyJWT:
		signer, err := newAssertionSigner(cfg)
		if err != nil {
			return nil, err
		}
		a.signer = signer
		return a, nil
	}
	return nil, fmt.Errorf("auth_style: %q is none of basic, post, none and private_key_jwt", a.style)
}

// credentials are the ways to try, in order. There is more than one only with
// several client secrets, and a later one is tried only after invalid_client.
// With single-use refresh tokens that is safe: a server authenticates the
// client before it looks at the grant (RFC 6749 section 3.2.1), so a refused
// client spent nothing.
func (a *authenticator) credentials(grant account.ClientAuth) []secret.String {
	if a.usesSecret(grant) {
		return a.secrets
	}
	return []secret.String{{}}
}

func (a *authenticator) usesSecret(grant account.ClientAuth) bool {
	return grant != account.ClientNone && (a.style == StyleBasic || a.style == StylePost)
}

// apply adds the authentication to a request's form and header. A grant that
// was given to the client without authentication is renewed without it.
func (a *authenticator) apply(form url.Values, header http.Header, endpoint string, grant account.ClientAuth, clientSecret secret.String) error {
	switch {
	case grant == account.ClientNone || a.style == StyleNone:
		form.Set("client_id", a.clientID)
	case a.style == StyleBasic:
		// RFC 6749 section 2.3.1: both parts are form-encoded first.
		pair := url.QueryEscape(a.clientID) + ":" + url.QueryEscape(clientSecret.Reveal())
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case a.style == StylePost:
		form.Set("client_id", a.clientID)
		form.Set("client_secret", clientSecret.Reveal())
	case a.style == StylePrivateKeyJWT:
		assertion, err := a.assertion(endpoint, time.Now())
		if err != nil {
			return fmt.Errorf("signing client assertion: %w", err)
		}
		form.Set("client_id", a.clientID)
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	}
	return nil
}

// assertion is the JWT of RFC 7523 section 3, good for one endpoint.
func (a *authenticator) assertion(audience string, now time.Time) (string, error) {
	payload, err := json.Marshal(map[string]any{
		"iss": a.clientID,
		"sub": a.clientID,
		"aud": audience,
		"jti": rand.Text(),
		"iat": now.Unix(),
		"nbf": now.Unix(),
		"exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", err
	}
	signed, err := a.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// newAssertionSigner makes the signer of private_key_jwt, or of a client
// certificate, which the server finds by its thumbprint (x5t#S256, RFC 7515
// section 4.1.8).
func newAssertionSigner(cfg Config) (jose.Signer, error) {
	keyName, keyPEM := "private_key", cfg.PrivateKey
	withCertificate := !cfg.ClientCertificate.IsZero()
	if withCertificate {
		keyName = "client_certificate"
		if keyPEM.IsZero() {
			keyPEM = cfg.ClientCertificate
		}
	}
	if keyPEM.IsZero() {
		return nil, errors.New("private_key: is missing")
	}
	key, err := parsePrivateKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyName, err)
	}

	options := (&jose.SignerOptions{}).WithType("JWT")
	algorithm := jose.SignatureAlgorithm(cfg.Algorithm)
	if withCertificate {
		thumbprint, err := certificateThumbprint(cfg.ClientCertificate, key)
		if err != nil {
			return nil, fmt.Errorf("client_certificate: %w", err)
		}
		options = options.WithHeader("x5t#S256", thumbprint)
		if _, ok := key.(*rsa.PrivateKey); ok && algorithm == "" {
			algorithm = jose.PS256
		}
	}
	if algorithm == "" {
		if algorithm, err = usualAlgorithm(key); err != nil {
			return nil, fmt.Errorf("%s: %w", keyName, err)
		}
	}
	if !slices.Contains(assertionAlgorithms, algorithm) {
		return nil, fmt.Errorf("%s: algorithm %q is not supported", keyName, cfg.Algorithm)
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: algorithm,
		Key:       jose.JSONWebKey{Key: key, KeyID: cfg.KeyID},
	}, options)
	if err != nil {
		return nil, fmt.Errorf("%s: algorithm %s does not fit the key", keyName, algorithm)
	}
	a := &authenticator{clientID: cfg.ClientID, signer: signer}
	if _, err := a.assertion("", time.Now()); err != nil {
		return nil, fmt.Errorf("%s: algorithm %s does not fit the key", keyName, algorithm)
	}
	return signer, nil
}

// assertionAlgorithms leaves out the symmetric ones: an assertion proves
// possession of a private key.
var assertionAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512,
	jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

func usualAlgorithm(key crypto.Signer) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return jose.RS256, nil
	case ed25519.PrivateKey:
		return jose.EdDSA, nil
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		}
	}
	return "", errors.New("no JWS algorithm fits this kind of key")
}

// parsePrivateKey reads the first private key of a PEM text. Its errors say
// nothing of the text.
func parsePrivateKey(text secret.String) (crypto.Signer, error) {
	for rest := []byte(text.Reveal()); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("no private key in PEM form found")
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("the private key is encrypted; a plain one is needed")
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the %s block cannot be read", block.Type)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, errors.New("the private key cannot sign")
		}
		return signer, nil
	}
}

// certificateThumbprint is the SHA-256 thumbprint of the first certificate in
// the text, which must belong to the key.
func certificateThumbprint(text secret.String, key crypto.Signer) (string, error) {
	for rest := []byte(text.Reveal()); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return "", errors.New("no certificate in PEM form found")
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", errors.New("the certificate cannot be read")
		}
		public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if !ok || !public.Equal(key.Public()) {
			return "", errors.New("the private key does not belong to the certificate")
		}
		sum := sha256.Sum256(cert.Raw)
		return base64.RawURLEncoding.EncodeToString(sum[:]), nil
	}
}
