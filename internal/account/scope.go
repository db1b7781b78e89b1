package account

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// ScopeList is scopes as other programs write them in JSON: a list, or one
// string with spaces between.
type ScopeList []string

// UnmarshalJSON implements [json.Unmarshaler].
func (l *ScopeList) UnmarshalJSON(text []byte) error {
	var list []string
	var one string
	switch {
	case json.Unmarshal(text, &list) == nil:
	case json.Unmarshal(text, &one) == nil:
		list = strings.Fields(one)
	default:
		return errors.New("scopes: are neither a list nor a string")
	}
	*l = list
	return nil
}

// ParseScopes splits a scope value (RFC 6749 section 3.3) at its spaces and
// drops repetitions, keeping the order.
func ParseScopes(s string) []string {
	var scopes []string
	for scope := range strings.FieldsSeq(s) {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// ScopeKey writes a scope set so that equal sets give equal strings: sorted,
// without repetitions, one space between.
func ScopeKey(scopes []string) string {
	if len(scopes) == 0 {
		return ""
	}
	sorted := slices.Clone(scopes)
	slices.Sort(sorted)
	return strings.Join(slices.Compact(sorted), " ")
}

// IsSignInScope reports whether a scope is one of OpenID Connect's that are about
// the person and the grant, and no resource's: a server may add them unasked.
func IsSignInScope(scope string) bool {
	switch scope {
	case "openid", "profile", "email", "offline_access":
		return true
	}
	return false
}
