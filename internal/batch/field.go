package batch

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// connectionFields are about the connection or the length of a body (RFC 9110
// section 7.6.1), which a part has none of or which is written anew. A part's
// answer is to come uncoded, since it stands inside another text.
var connectionFields = []string{
	"Accept-Encoding",
	"Connection",
	"Content-Length",
	"Expect",
	"Host",
	"Keep-Alive",
	"Te",
	"Trailer",
	"Transfer-Encoding",
	"Upgrade",
}

func removeConnectionFields(h http.Header) {
	for name := range h {
		// A server may take an underscore for a hyphen.
		canonical := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if slices.Contains(connectionFields, canonical) {
			delete(h, name)
		}
	}
}

// maxFields is how many header fields a part may have.
const maxFields = 100

// fields collects the header fields of a part.
type fields struct {
	header http.Header
	folded map[string]string
	n      int
}

func newFields() fields {
	return fields{header: http.Header{}, folded: map[string]string{}}
}

// add adds a field. The error is a [problem.Problem].
func (f *fields) add(name, value string) error {
	if f.n++; f.n > maxFields {
		return malformed(fmt.Sprintf("a part of the batch has more than %d header fields", maxFields))
	}
	if !isToken(name) {
		return malformed("the name of a header field in a part of the batch is malformed (RFC 9110 section 5.1)")
	}
	if strings.ContainsFunc(value, isControl) {
		return malformed("the header field " + name + " in a part of the batch contains a control character: leave it out")
	}
	canonical := http.CanonicalHeaderKey(name)
	folded := strings.ReplaceAll(canonical, "_", "-")
	if other, ok := f.folded[strings.ToLower(folded)]; ok && other != canonical {
		return malformed("the header fields " + other + " and " + canonical + " in a part of the batch can be taken for one: leave one out")
	}
	f.folded[strings.ToLower(folded)] = canonical
	f.header[canonical] = append(f.header[canonical], strings.Trim(value, " \t"))
	return nil
}

// isControl reports what no field value contains (RFC 9110 section 5.5).
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// isToken reports a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

// mentionsKey reports whether a text contains a Bellhop key, as it is or behind
// the escapes of JSON.
func mentionsKey(text []byte) bool {
	const prefix = "bh_"
	if bytes.Contains(text, []byte(prefix)) && target.MentionsKey(string(text)) {
		return true
	}
	if !bytes.Contains(text, []byte(`\u00`)) {
		return false
	}
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch rest := text[i:]; {
		case len(rest) >= 6 && string(rest[:4]) == `\u00` && hexValue(rest[4]) >= 0 && hexValue(rest[5]) >= 0:
			plain = append(plain, byte(hexValue(rest[4])<<4|hexValue(rest[5]))) //nolint:gosec // two digits are a byte
			i += 5
		case len(rest) >= 2 && rest[0] == '\\':
			plain = append(plain, rest[:2]...)
			i++
		default:
			plain = append(plain, rest[0])
		}
	}
	return target.MentionsKey(string(plain))
}

// hexValue is -1 for what is no hexadecimal digit.
func hexValue(c byte) int {
	if c < 0x40 {
		return strings.IndexByte("0123456789", c)
	}
	return strings.IndexByte("..........abcdef", c|0x20)
}
