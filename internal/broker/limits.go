package broker

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// What a grant is registered with is bounded, so that its record always fits the
// store, with what renewals bring.
const (
	// maxName is how long a name and a login may be, in characters.
	maxName = 256
	// maxScopes is how many scopes a grant may have.
	maxScopes = 256
	// maxScope is how long one may be, in bytes.
	maxScope = 256
	// maxToken is how long a token may be, in bytes.
	maxToken = 16 << 10
)

// checkSizes reports what of a registration is too long.
func (r *Registration) checkSizes() error {
	if err := checkNames(r.Name, r.User); err != nil {
		return err
	}
	if len(r.Scopes) > maxScopes {
		return problem.New(problem.InvalidRequest, fmt.Sprintf("scopes: are %d; at most %d are kept", len(r.Scopes), maxScopes))
	}
	for _, scope := range r.Scopes {
		if len(scope) > maxScope {
			return problem.New(problem.InvalidRequest, fmt.Sprintf("scopes: one has %d bytes; a scope has at most %d", len(scope), maxScope))
		}
	}
	for _, token := range []struct {
		field string
		size  int
	}{{"refreshToken", len(r.RefreshToken.Reveal())}, {"accessToken", len(r.AccessToken.Reveal())}} {
		if token.size > maxToken {
			return problem.New(problem.InvalidRequest, fmt.Sprintf("%s: has %d bytes; a token has at most %d", token.field, token.size, maxToken))
		}
	}
	return nil
}

// checkNames reports which of an account's name and login cannot be.
func checkNames(name, user string) error {
	for _, text := range []struct{ field, value string }{{"name", name}, {"user", user}} {
		switch {
		case !utf8.ValidString(text.value):
			return problem.New(problem.InvalidRequest, text.field+": is not UTF-8")
		case utf8.RuneCountInString(text.value) > maxName:
			return problem.New(problem.InvalidRequest, fmt.Sprintf("%s: is longer than %d characters", text.field, maxName))
		case strings.ContainsFunc(text.value, unicode.IsControl):
			return problem.New(problem.InvalidRequest, text.field+": contains a control character")
		}
	}
	return nil
}
