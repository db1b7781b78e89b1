package account

import (
	"slices"
	"strings"
)

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
