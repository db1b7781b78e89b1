package target

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// decodings is how many times an API is thought to decode a path at most: once,
// and once more by mistake.
const decodings = 2

// rawTarget is a request target in origin form (RFC 9112 section 3.2.1) as it
// was received.
type rawTarget struct {
	path, query string
	question    bool
}

// received takes the request target as it came, and refuses it where Go's
// reading of it, which is what other handlers see, is another.
func received(r *http.Request) (rawTarget, error) {
	target := r.RequestURI
	if target == "" {
		target = r.URL.RequestURI()
	}
	if err := checkSize(target); err != nil {
		return rawTarget{}, err
	}
	switch {
	case target == "*":
		return rawTarget{}, invalid(`the request target is "*": name a path`)
	case strings.Contains(r.Host, "@") || r.URL.User != nil:
		return rawTarget{}, invalid("the request carries user information in its authority: leave out what stands before the @")
	case !strings.HasPrefix(target, "/"):
		return rawTarget{}, invalid("the request target is not a path (RFC 9112 section 3.2.1): send the path, and the host in the Host header field")
	}
	var raw rawTarget
	raw.path, raw.query, raw.question = strings.Cut(target, "?")
	if err := checkRaw(raw.path); err != nil {
		return rawTarget{}, err
	}
	if r.URL.EscapedPath() != raw.path {
		return rawTarget{}, invalid("the path has characters that must be percent-encoded (RFC 3986 section 3.3)")
	}
	if r.URL.RawQuery != raw.query {
		return rawTarget{}, invalid("the query can be read in two ways: percent-encode it")
	}
	return raw, checkLength(r)
}

// MaxTarget is how long a request's path and query may be together, in bytes. The
// longest handle fits, and where it is exceeded by little, Go's server still lets
// the request come here to be answered.
const MaxTarget = 16 << 10

// checkSize refuses a request target that is longer than [MaxTarget].
func checkSize(target string) error {
	if len(target) <= MaxTarget {
		return nil
	}
	p := problem.New(problem.TooLarge, fmt.Sprintf("the path and the query have %d bytes together, at most %d are taken: send in the body what may stand there", len(target), MaxTarget))
	p.Status = http.StatusRequestURITooLong
	return p
}

// checkLength refuses a length that is none, or not the one that Go has read:
// of several, over HTTP/2, Go takes the first, and what is no number for 0.
func checkLength(r *http.Request) error {
	for i, value := range r.Header["Content-Length"] {
		n, err := strconv.ParseInt(value, 10, 64)
		if i > 0 || err != nil || n != r.ContentLength {
			return invalid("the length of the request can be read in two ways (RFC 9110 section 8.6): send one Content-Length, a number")
		}
	}
	return nil
}

// mustBeEscaped has the printable characters that a path cannot contain (RFC
// 3986 section 3.3).
var mustBeEscaped = [utf8.RuneSelf]bool{
	'"': true, '#': true, '<': true, '>': true, '^': true, '`': true, '{': true, '|': true, '}': true,
}

// checkRaw refuses what is wrong in a path whatever its escapes mean.
func checkRaw(path string) error {
	for i := range len(path) {
		switch c := path[i]; {
		case c < ' ' || c == 0x7f:
			return invalid(fmt.Sprintf("the path contains the control character 0x%02x: leave it out", c))
		case c == '\\':
			return invalid("the path contains a backslash: separate segments with /")
		case c == ' ' || c >= utf8.RuneSelf || mustBeEscaped[c]:
			return invalid(fmt.Sprintf("the path contains the character %q, which must be percent-encoded (RFC 3986 section 3.3)", c))
		}
	}
	if strings.Contains(path, "//") {
		return invalid("the path contains an empty segment (//): write a single /")
	}
	return nil
}

// CheckPath refuses an escaped path that an API could read as another one. The
// error is a [problem.Problem].
func CheckPath(escaped string) error {
	if err := checkRaw(escaped); err != nil {
		return err
	}
	return checkPath(escaped)
}

// checkPath refuses an escaped path, or the part behind the account, that an
// API could read as another one.
func checkPath(escaped string) error {
	path := escaped
	for range decodings {
		if err := checkSegments(path); err != nil {
			return err
		}
		if !strings.Contains(path, "%") {
			return nil
		}
		path = decode(path)
		if err := checkDecoded(path); err != nil {
			return err
		}
	}
	return checkSegments(path)
}

// checkDecoded refuses what must not come out of an escape.
func checkDecoded(path string) error {
	switch {
	case strings.ContainsFunc(path, unicode.IsControl):
		return invalid("the path contains an encoded control character: leave it out")
	case strings.Contains(path, `\`):
		return invalid("the path contains an encoded backslash: separate segments with /")
	case !utf8.ValidString(path):
		return invalid("the path is not UTF-8 when decoded: encode its characters as UTF-8")
	}
	return nil
}

// checkSegments refuses dot segments (RFC 3986 section 5.2.4). What follows a
// ";" is a parameter to some servers, and no part of the segment then.
func checkSegments(path string) error {
	if !strings.Contains(path, ".") {
		return nil
	}
	for segment := range strings.SplitSeq(path, "/") {
		name, _, _ := strings.Cut(segment, ";")
		if name == "." || name == ".." {
			return invalid("the path contains a dot segment (. or .., plain or encoded): write the path that it leads to")
		}
	}
	return nil
}

// DecodeFully decodes a path as often as an API might. What is no escape stays
// as it is.
func DecodeFully(path string) string {
	for range decodings {
		path = decode(path)
	}
	return path
}

// decode decodes once, and leaves what is no escape as it is: once decoded, a
// path may well hold a plain percent sign beside what looks like an escape.
func decode(s string) string {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	b.WriteString(s[:i])
	for ; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b.WriteByte(fromHex(s[i+1])<<4 | fromHex(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func fromHex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
