package fakeprovider

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"regexp"
)

var (
	challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	verifierForm  = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)
)

// challengeOf reads the code challenge of an authorization request (RFC 7636
// section 4.3). Only S256 is supported: RFC 9700 section 2.1.1.
func challengeOf(query url.Values, required bool) (string, *refusal) {
	challenge := query.Get("code_challenge")
	switch {
	case challenge == "" && query.Has("code_challenge_method"):
		return "", invalidAuthorization("code_challenge is missing beside code_challenge_method.", 50147)
	case challenge == "" && required:
		return "", invalidAuthorization("Code challenge required.", 9002325)
	case challenge == "":
		return "", nil
	case query.Get("code_challenge_method") != "S256":
		return "", invalidAuthorization("Transform algorithm not supported: code_challenge_method has to be S256.", 50147)
	case !challengeForm.MatchString(challenge):
		return "", invalidAuthorization("code_challenge is not a SHA-256 in base64url.", 50147)
	}
	return challenge, nil
}

// verify holds the verifier of a token request against the challenge of its
// authorization request. One that answers no challenge is refused too: somebody
// may have taken the challenge away (RFC 9700 section 4.8.2).
func verify(challenge, verifier string) *refusal {
	sum := sha256.Sum256([]byte(verifier))
	switch {
	case challenge == "" && verifier == "":
		return nil
	case challenge == "":
		return codeRefused("There was no code_challenge for this code_verifier.", "Invalid code verifier.", 50148)
	case verifier == "":
		return codeRefused("code_verifier is missing.", "Missing code verifier.", 50148)
	case !verifierForm.MatchString(verifier):
		return codeRefused("code_verifier is malformed.", "Invalid code verifier.", 501481)
	case base64.RawURLEncoding.EncodeToString(sum[:]) != challenge:
		return codeRefused("The code_verifier does not match the code_challenge.", "Invalid code verifier.", 501481)
	}
	return nil
}
