package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

// maxClaims is the longest claims challenge that is answered.
const maxClaims = 8 << 10

var challengeParam = regexp.MustCompile(`(?i)[\s,](error|claims)="([^"]*)"`)

// claimsChallenge reads what an API wants the next token to prove (Microsoft
// identity platform, "Claims challenges, claims requests, and client
// capabilities"): the JSON of the claims, or "" where it asks for none.
func claimsChallenge(h http.Header) string {
	for _, challenge := range h.Values("WWW-Authenticate") {
		params := make(map[string]string)
		for _, found := range challengeParam.FindAllStringSubmatch(challenge, -1) {
			params[strings.ToLower(found[1])] = found[2]
		}
		encoded := strings.TrimRight(params["claims"], "=")
		if params["error"] != "insufficient_claims" || len(encoded) > maxClaims {
			continue
		}
		// Services differ in which of the two alphabets they use.
		encoded = strings.NewReplacer("+", "-", "/", "_").Replace(encoded)
		claims, err := base64.RawURLEncoding.DecodeString(encoded)
		if err == nil && len(claims) > 0 && json.Valid(claims) {
			return string(claims)
		}
	}
	return ""
}
