package policy

import (
	"fmt"
	"strings"
)

// maxScopes is the greatest number of scopes that a key's tokens are narrowed
// to.
const maxScopes = 64

// CheckScope refuses what cannot be a scope (RFC 6749 section 3.3).
func CheckScope(scope string) error {
	other := func(r rune) bool { return r <= ' ' || r == '"' || r == '\\' || r > '~' }
	if scope == "" || strings.ContainsFunc(scope, other) {
		return fmt.Errorf("%q is not a scope: one has no spaces, quotes, backslashes and non-ASCII characters", scope)
	}
	return nil
}

// CheckScopes judges the scopes that tokens are narrowed to.
func CheckScopes(scopes []string) error {
	if len(scopes) > maxScopes {
		return fmt.Errorf("there are more than %d scopes", maxScopes)
	}
	for _, scope := range scopes {
		if err := CheckScope(scope); err != nil {
			return err
		}
	}
	return nil
}
