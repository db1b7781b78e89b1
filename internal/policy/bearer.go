package policy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// Source is where in a request a key stood.
type Source string

// The sources, in the order in which they are looked at.
const (
	KeyHeader    Source = "X-Bellhop-Key"
	GoogleHeader Source = "X-Goog-Api-Key"
	BearerToken  Source = "bearer"
	BasicAuth    Source = "basic"
	QueryKey     Source = "query"
)

// challenge is the WWW-Authenticate of what is answered with 401.
const challenge = "Bearer"

// Bearer takes the caller's key from a request: the first of X-Bellhop-Key,
// X-Goog-Api-Key where it begins with "bh_", Authorization (a Bearer token or a
// Basic password), and, where the endpoint takes it, the query's access_token.
// The key's form is not checked. The error is a [problem.Problem]: there is no
// key, or more than one at the same place.
func Bearer(r *http.Request, queryKey bool) (key string, source Source, err error) {
	for _, name := range []string{string(KeyHeader), string(GoogleHeader), "Authorization"} {
		if len(r.Header[name]) > 1 {
			return "", "", problem.New(problem.InvalidRequest, "the header field "+name+" comes more than once: send one")
		}
	}
	if key = r.Header.Get(string(KeyHeader)); key != "" {
		return key, KeyHeader, nil
	}
	if key = r.Header.Get(string(GoogleHeader)); strings.HasPrefix(key, keyPrefix) {
		return key, GoogleHeader, nil
	}
	if key, source = fromAuthorization(r); key != "" {
		return key, source, nil
	}
	if queryKey {
		if key, err = fromQuery(r.URL.RawQuery); key != "" || err != nil {
			return key, QueryKey, err
		}
	}
	missing := problem.New(problem.MissingKey, "this call needs an API key: send it as Authorization: Bearer <key> or in X-Bellhop-Key")
	missing.Challenge = challenge
	return "", "", missing
}

// InvalidKey is the one answer to keys that are malformed, unknown or expired:
// a caller is not told which.
func InvalidKey() *problem.Problem {
	p := problem.New(problem.InvalidKey, "the API key is not valid")
	p.Challenge = challenge
	return p
}

// fromAuthorization takes a key from Authorization (RFC 6750 section 2.1, RFC
// 7617 section 2).
func fromAuthorization(r *http.Request) (string, Source) {
	scheme, credentials, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.Trim(credentials, " "), BearerToken
	}
	if _, password, ok := r.BasicAuth(); ok {
		return password, BasicAuth
	}
	return "", ""
}

// fromQuery takes a key from access_token (RFC 6750 section 2.3).
func fromQuery(raw string) (string, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return "", problem.New(problem.InvalidRequest, "the query is malformed: percent-encode it")
	}
	switch values := query["access_token"]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", problem.New(problem.InvalidRequest, "access_token comes more than once: send one")
}
