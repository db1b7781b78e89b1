package fakeprovider

import (
	"crypto"
	"crypto/sha1" //nolint:gosec // "x5t" is defined with it
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
)

// assertionType is the client_assertion_type of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// clientKey is what a client assertion may be signed for. The thumbprints are
// those of a certificate (RFC 7515 sections 4.1.7 and 4.1.8).
type clientKey struct {
	public       crypto.PublicKey
	x5t, x5tS256 string
}

// parseClientKey reads a certificate or a public key in PEM.
func parseClientKey(text string) (clientKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return clientKey{}, errors.New("key is not in PEM")
	}
	if block.Type != "CERTIFICATE" {
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return clientKey{}, fmt.Errorf("reading public key: %w", err)
		}
		return clientKey{public: public}, nil
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return clientKey{}, fmt.Errorf("reading certificate: %w", err)
	}
	thumbprint, sum := sha1.Sum(block.Bytes), sha256.Sum256(block.Bytes) //nolint:gosec // as above
	return clientKey{
		public:  certificate.PublicKey,
		x5t:     base64.RawURLEncoding.EncodeToString(thumbprint[:]),
		x5tS256: base64.RawURLEncoding.EncodeToString(sum[:]),
	}, nil
}

// assertionAlgorithms leaves out the symmetric ones and "none".
var assertionAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// claims are those of a JWT that somebody presents.
type claims struct {
	Issuer   string          `json:"iss"`
	Subject  string          `json:"sub"`
	Audience json.RawMessage `json:"aud"`
	Scope    string          `json:"scope"`
	ID       string          `json:"jti"`
	Expires  *float64        `json:"exp"`
	Issued   *float64        `json:"iat"`
	Earliest *float64        `json:"nbf"`
}

// isFor reports whether one of audiences is the only one named.
func (c *claims) isFor(audiences ...string) bool {
	var one string
	if json.Unmarshal(c.Audience, &one) != nil {
		var several []string
		if json.Unmarshal(c.Audience, &several) != nil || len(several) != 1 {
			return false
		}
		one = several[0]
	}
	return slices.Contains(audiences, one)
}

// after is how far the moment that a claim names lies behind now; ok is false
// without the claim.
func after(claim *float64, now time.Time) (d time.Duration, ok bool) {
	if claim == nil {
		return 0, false
	}
	return time.Unix(int64(*claim), 0).Sub(now), true
}

// audiencesOf are what a client assertion may be made out to: the token
// endpoint's URL (RFC 7523 section 3), which also serves at the endpoints
// beside it.
func audiencesOf(r *http.Request) []string {
	base := baseURL(r)
	if tenant := r.PathValue("tenant"); tenant != "" {
		return []string{base + "/" + tenant + "/oauth2/v2.0/token"}
	}
	return []string{base + "/token"}
}

// assertedClient is whom an assertion names, before it is believed.
func assertedClient(form url.Values) string {
	if id := form.Get("client_id"); id != "" {
		return id
	}
	signed, err := jose.ParseSigned(form.Get("client_assertion"), assertionAlgorithms)
	if err != nil {
		return ""
	}
	var c claims
	_ = json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &c)
	return c.Subject
}

// checkAssertion authenticates a client by its assertion (RFC 7523 section 3).
// The caller holds mu.
func (s *Server) checkAssertion(client Client, c credentials) *refusal {
	signed, err := jose.ParseSigned(c.assertion, assertionAlgorithms)
	if c.assertionType != assertionType || err != nil {
		return assertionRefused("The client assertion is malformed, or of another type.", 50027)
	}
	payload, ok := client.verifyAssertion(signed)
	if !ok {
		return assertionRefused("The client assertion is not signed with a registered key.", 700027)
	}
	var got claims
	if json.Unmarshal(payload, &got) != nil {
		return assertionRefused("The client assertion is malformed.", 50027)
	}
	now := s.clock()
	left, expires := after(got.Expires, now)
	early, _ := after(got.Earliest, now)
	ahead, _ := after(got.Issued, now)
	used := client.ID + " " + got.ID
	switch {
	case got.Issuer != client.ID || got.Subject != client.ID:
		return assertionRefused("iss and sub of the client assertion have to be the client.", 50027)
	case !got.isFor(c.audiences...):
		return assertionRefused("The client assertion is for another audience.", 700023)
	case !expires || left <= 0 || left > 24*time.Hour || early > 0 || ahead > 0:
		return assertionRefused("The client assertion is not within its valid time range.", 700024)
	case got.ID == "" || s.assertionIDs[used]:
		return assertionRefused("The client assertion has no jti, or one that was used before.", 50027)
	}
	s.assertionIDs[used] = true
	return nil
}

// verifyAssertion returns the payload if one of the client's keys signed it.
// Microsoft finds the certificate by its thumbprint alone.
func (c Client) verifyAssertion(signed *jose.JSONWebSignature) ([]byte, bool) {
	header := signed.Signatures[0].Protected
	thumbprint := func(name jose.HeaderKey) string {
		value, _ := header.ExtraHeaders[name].(string)
		return value
	}
	x5t, x5tS256 := thumbprint("x5t"), thumbprint("x5t#S256")
	for _, key := range c.keys {
		if x5t != "" && x5t != key.x5t || x5tS256 != "" && x5tS256 != key.x5tS256 {
			continue
		}
		if c.Dialect == Microsoft && (key.x5tS256 == "" || x5t+x5tS256 == "") {
			continue
		}
		if payload, err := signed.Verify(key.public); err == nil {
			return payload, true
		}
	}
	return nil, false
}

func assertionRefused(description string, aadsts int) *refusal {
	return &refusal{
		status: http.StatusUnauthorized, code: "invalid_client",
		description: description, google: "Unauthorized", aadsts: []int{aadsts},
	}
}
