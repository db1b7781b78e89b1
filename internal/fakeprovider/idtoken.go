package fakeprovider

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// idTokenLife is how long ID tokens are good for.
const idTokenLife = time.Hour

// Flaw is what is wrong with an ID token, see [FlawedIDToken].
type Flaw string

// The flaws.
const (
	WrongNonce    Flaw = "wrong_nonce"
	WrongAudience Flaw = "wrong_aud"
	WrongIssuer   Flaw = "wrong_iss"
	Expired       Flaw = "expired"
	BadSignature  Flaw = "bad_signature"
	AlgNone       Flaw = "alg_none"
	Missing       Flaw = "missing"
	NoSubject     Flaw = "no_sub"
	// WrongTenant has the "tid" of another tenant than "iss" (Microsoft).
	WrongTenant Flaw = "wrong_tid"
)

var flaws = []Flaw{
	WrongNonce, WrongAudience, WrongIssuer, Expired, BadSignature, AlgNone, Missing, NoSubject, WrongTenant,
}

// idToken is the ID token beside an access token (OpenID Connect Core section
// 2), or empty where there is none. The caller holds mu.
func (s *Server) idToken(r *http.Request, client Client, issued issue, flaw Flaw) string {
	person := issued.grant.person
	if person == nil || flaw == Missing || !slices.Contains(issued.scopes, "openid") {
		return ""
	}
	now := s.clock()
	claims := map[string]any{
		"iss": s.issuer(r, client.Dialect, person.Tenant),
		"aud": client.ID,
		"iat": now.Unix(),
		"exp": now.Add(idTokenLife).Unix(),
	}
	if issued.nonce != "" {
		claims["nonce"] = issued.nonce
	}
	if client.Dialect == Google {
		claims["azp"] = client.ID
		sum := sha256.Sum256([]byte(issued.access.value))
		claims["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:16])
	}
	maps.Copy(claims, person.claims(client, issued.scopes, s.settings.LeanIDTokens))
	flaw.spoil(claims, now)
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(fmt.Sprintf("encoding claims: %v", err)) // never fails
	}
	keyID := signingKeys.jwk(s.keyNumber).KeyID
	switch flaw {
	case AlgNone:
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." +
			base64.RawURLEncoding.EncodeToString(payload) + "."
	case BadSignature:
		return signingKeys.sign(forged, keyID, payload)
	}
	return signingKeys.sign(s.keyNumber, keyID, payload)
}

// spoil changes the claim that the flaw is about.
func (f Flaw) spoil(claims map[string]any, now time.Time) {
	switch f {
	case WrongNonce:
		claims["nonce"] = "another-nonce"
	case WrongAudience:
		claims["aud"] = "another-client"
		if claims["azp"] != nil {
			claims["azp"] = "another-client"
		}
	case WrongIssuer:
		claims["iss"] = "https://issuer.invalid"
	case Expired:
		claims["iat"], claims["exp"] = now.Add(-2*idTokenLife).Unix(), now.Add(-idTokenLife).Unix()
	case NoSubject:
		delete(claims, "sub")
	case WrongTenant:
		claims["tid"] = derivedUUID("tid", "another tenant")
	}
}

// claims are what the dialect says of a person for these scopes. Lean are those
// of a server that says all but the subject at its userinfo endpoint.
func (p *Person) claims(client Client, scopes []string, lean bool) map[string]any {
	claims := map[string]any{"sub": p.Subject}
	profile, email := slices.Contains(scopes, "profile"), slices.Contains(scopes, "email")
	switch client.Dialect {
	case Google:
		profile = profile || slices.Contains(scopes, googleScope("profile"))
		email = email || slices.Contains(scopes, googleScope("email"))
		if p.HostedDomain != "" {
			claims["hd"] = p.HostedDomain
		}
	case Microsoft:
		// Each client sees a subject of its own.
		sum := sha256.Sum256([]byte(client.ID + " " + p.Object))
		claims["sub"] = base64.RawURLEncoding.EncodeToString(sum[:])
		claims["tid"], claims["ver"] = p.Tenant, "2.0"
		if profile {
			claims["oid"], claims["preferred_username"], claims["name"] = p.Object, p.Email, p.Name
		}
		if email {
			claims["email"] = p.Email
		}
		return claims
	default:
		if lean {
			return claims
		}
	}
	if email {
		claims["email"], claims["email_verified"] = p.Email, p.EmailVerified
	}
	if profile && p.Name != "" {
		claims["name"] = p.Name
	}
	return claims
}

// issuer is the "iss" of a dialect. By the names of its real endpoints Google
// has another one than they.
func (s *Server) issuer(r *http.Request, d Dialect, tenant string) string {
	base := baseURL(r)
	switch {
	case d == Microsoft:
		return base + "/" + tenant + "/v2.0"
	case s.settings.Issuer != "":
		return s.settings.Issuer
	case d == Google && strings.HasSuffix(hostname(r), ".googleapis.com"):
		return "https://accounts.google.com"
	}
	return base
}

// derivedUUID is the same for the same name.
func derivedUUID(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + " " + name))
	return formatUUID([16]byte(sum[:16]))
}
