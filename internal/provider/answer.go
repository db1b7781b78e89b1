package provider

import (
	"bytes"
	"encoding/json"
	"math"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// maxLife is the longest life of a token that is believed.
const maxLife = 10 * 365 * 24 * time.Hour

// members are the top-level members of an answer, still in JSON.
type members map[string]json.RawMessage

// parseMembers reads an answer's body, a JSON object as RFC 6749 section 5
// wants it or the form that some servers write instead. What is neither, such
// as a captive portal's HTML, has no members.
//
// What came before the place where the text breaks is kept: the server has
// rotated the refresh token by then.
func parseMembers(body []byte, header http.Header) members {
	body = trimmed(body)
	if len(body) == 0 {
		return nil
	}
	if body[0] == '{' {
		return parseObject(body)
	}
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if mediaType == "application/x-www-form-urlencoded" || mediaType == "text/plain" {
		return parseForm(body)
	}
	return nil
}

// trimmed is a body without white space and a byte order mark around it.
func trimmed(body []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
}

// parseObject reads an object member by member. Names are compared exactly; of
// a repeated one the last value that is not empty counts, so that an empty
// "refresh_token" after a real one does not hide it.
func parseObject(body []byte) members {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if _, err := decoder.Token(); err != nil {
		return nil
	}
	m := members{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return m
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return m
		}
		key, _ := name.(string)
		if _, seen := m[key]; seen && (string(value) == `""` || string(value) == "null") {
			continue
		}
		m[key] = value
	}
	return m
}

// parseForm reads a form-encoded answer.
func parseForm(body []byte) members {
	form, err := url.ParseQuery(string(body))
	if err != nil || (form.Get("access_token") == "" && form.Get("error") == "") {
		return nil
	}
	m := members{}
	for name, values := range form {
		// Strings always marshal.
		m[name], _ = json.Marshal(values[len(values)-1])
	}
	return m
}

// text is a member's value if it is a string, else empty.
func (m members) text(name string) string {
	var s string
	if json.Unmarshal(m[name], &s) != nil {
		return ""
	}
	return s
}

// number matches the numbers of JSON, and the same in a string.
var number = regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$`)

// seconds reads a member as a duration in seconds: a number, or a string that
// holds one. ok is false for what is missing, no number, not above zero or
// beyond [maxLife].
func (m members) seconds(name string) (d time.Duration, ok bool) {
	raw := string(m[name])
	if s := m.text(name); s != "" {
		raw = strings.TrimSpace(s)
	}
	if !number.MatchString(raw) {
		return 0, false
	}
	value, err := strconv.ParseFloat(raw, 64)
	if err != nil || math.IsNaN(value) || value <= 0 || value > maxLife.Seconds() {
		return 0, false
	}
	d = time.Duration(value * float64(time.Second))
	return d, d > 0
}

// scopes reads the "scope" member: a string, or as some servers have it a list.
// nil means that the answer did not say, as "null" does; unread is set for
// anything else.
func (m members) scopes() (scopes []string, unread bool) {
	raw, ok := m["scope"]
	if !ok || string(raw) == "null" {
		return nil, false
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return account.ParseScopes(text), false
	}
	var list []*string // a null among them is no scope
	if json.Unmarshal(raw, &list) != nil || slices.Contains(list, nil) {
		return nil, true
	}
	for _, scope := range list {
		scopes = append(scopes, *scope)
	}
	return account.ParseScopes(strings.Join(scopes, " ")), false
}

// answer puts the members together. It always has what can be kept, also of an
// answer that is no success.
func (m members) answer(header http.Header) account.Answer {
	a := account.Answer{
		AccessToken:  secret.New(m.text("access_token")),
		RefreshToken: secret.New(m.text("refresh_token")),
	}
	a.Scopes, a.ScopesUnread = m.scopes()
	var ok bool
	if a.Life, ok = m.seconds("expires_in"); !ok {
		a.Life, a.Assumed = usualLife, true
	}
	// The second name is Keycloak's.
	if a.RefreshTokenLife, ok = m.seconds("refresh_token_expires_in"); !ok {
		a.RefreshTokenLife, _ = m.seconds("refresh_expires_in")
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		a.Date = date
	}
	return a
}

// isBearer reports whether the answer's token type is Bearer (RFC 6750), which
// is also what a missing one means.
func (m members) isBearer() bool {
	raw, ok := m["token_type"]
	if !ok || string(raw) == "null" || string(raw) == `""` {
		return true
	}
	return strings.EqualFold(m.text("token_type"), "bearer")
}

// canBeSent reports whether token can stand in an Authorization header.
func canBeSent(token string) bool {
	for _, b := range []byte(token) {
		if b <= ' ' || b >= 0x7f {
			return false
		}
	}
	return token != ""
}
