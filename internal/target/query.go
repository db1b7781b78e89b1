package target

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// strippedParameters are taken out of a query, by their decoded names in lower
// case: other people's tokens, and what makes an API act on another method or
// other header fields than those that were judged. Google's are at
// https://cloud.google.com/apis/docs/system-parameters; its front ends take
// $httpHeaders as well.
var strippedParameters = []string{
	"access_token",
	"bearer_token",
	"oauth_token",
	"$httpmethod",
	"$httpheaders",
	"_method",
	"x-http-method-override",
	"x-http-method",
	"x-method-override",
}

// cleanQuery checks a raw query and takes out the parameters that are stripped.
// All else stays byte for byte; a query that needs nothing is returned as it is.
func cleanQuery(raw string) (string, error) {
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c == 0x7f || c == '#' {
			return "", invalid("the query contains a control character, a space or a #: percent-encode it")
		}
	}
	if raw == "" {
		return "", nil
	}
	strip := false
	for parameter := range strings.SplitSeq(raw, "&") {
		stripped, err := checkParameter(parameter)
		if err != nil {
			return "", err
		}
		strip = strip || stripped
	}
	if strip {
		return withoutStripped(raw), nil
	}
	return raw, nil
}

// checkParameter reports whether a parameter is to be stripped.
func checkParameter(parameter string) (strip bool, err error) {
	name, value, err := decodeParameter(parameter)
	switch {
	case err != nil:
		return false, invalid("the query has a malformed escape: write % as %25").Because(err)
	case strings.ContainsFunc(name, unicode.IsControl):
		return false, invalid("the query has a parameter whose name contains a control character: leave it out")
	case isStripped(name):
		return true, nil
	case strings.EqualFold(strings.TrimPrefix(name, "$"), "key") && strings.HasPrefix(value, keyPrefix),
		MentionsKey(name), MentionsKey(value), MentionsKey(decode(value)):
		return false, invalid("a Bellhop key does not belong into the query: send it in the X-Bellhop-Key header field")
	}
	// OData separates the options of $expand with ";"; for some servers it
	// separates parameters too, as a second "?" may. Only where that makes a
	// difference is it refused.
	if i := strings.IndexAny(parameter, ";?"); i >= 0 {
		for piece := range strings.FieldsFuncSeq(parameter[i:], func(r rune) bool { return r == ';' || r == '?' }) {
			if name, _, err := decodeParameter(piece); err != nil || isStripped(name) {
				return false, invalid("the query has a parameter behind a ; or a second ? that is not passed on: leave it out, or write ; as %3B and ? as %3F")
			}
		}
	}
	return false, nil
}

// decodeParameter decodes a name and its value; without escapes it allocates
// nothing.
func decodeParameter(parameter string) (name, value string, err error) {
	name, value, _ = strings.Cut(parameter, "=")
	if name, err = url.QueryUnescape(name); err != nil {
		return "", "", err
	}
	value, err = url.QueryUnescape(value)
	return name, value, err
}

// isStripped compares a decoded name also as a server reads it that decodes once
// more.
func isStripped(name string) bool {
	name = strings.TrimSpace(decode(name))
	return slices.ContainsFunc(strippedParameters, func(s string) bool { return strings.EqualFold(s, name) })
}

// withoutStripped takes the stripped parameters out of a query that was
// checked.
func withoutStripped(raw string) string {
	var b strings.Builder
	first := true
	for parameter := range strings.SplitSeq(raw, "&") {
		if name, _, _ := decodeParameter(parameter); isStripped(name) {
			continue
		}
		if !first {
			b.WriteByte('&')
		}
		first = false
		b.WriteString(parameter)
	}
	return b.String()
}
