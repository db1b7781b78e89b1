package differential

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// fold is for comparing as carelessly as any server might: without regard to
// case and to what looks alike or is not seen.
func fold(text string) string {
	for i := range len(text) {
		if text[i] >= 0x80 || text[i] <= ' ' {
			text = strings.Map(func(r rune) rune {
				if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
					return -1
				}
				return r
			}, norm.NFKC.String(text))
			text = strings.ReplaceAll(strings.ToLower(strings.ToUpper(text)), "ı", "i")
			return text
		}
	}
	return strings.ToLower(text)
}

// reading is a path in one of the ways to decode and split it.
type reading struct {
	segments []string
	// usual is set for the way of RFC 3986: split, and decoded once.
	usual bool
}

// maxDecodings is how many times a server may decode a path.
const maxDecodings = 2

// readingsOf are the readings of an escaped path.
func readingsOf(escaped string) []reading {
	usual := reading{usual: true}
	for segment := range strings.SplitSeq(strings.Trim(escaped, "/"), "/") {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			decoded = segment
		}
		usual.segments = append(usual.segments, decoded)
	}
	all := []reading{usual}
	path := escaped
	for i := range maxDecodings + 1 {
		if i > 0 {
			again := decodeOnce(path)
			if again == path {
				break
			}
			path = again
		}
		all = append(all, careless(path)...)
	}
	return all
}

// decodeOnce decodes what is an escape and leaves what is none.
func decodeOnce(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if decoded, err := url.PathUnescape(text[i : i+3]); err == nil {
				b.WriteString(decoded)
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// careless are the readings of servers that end a path where a URL would end,
// take other characters for slashes, collapse slashes, and resolve dots.
func careless(path string) []reading {
	var all []reading
	wide := strings.Map(func(r rune) rune {
		if strings.ContainsRune("\\\u2044\u2215\u2216\u29f5\u29f8\u29f9", r) {
			return '/'
		}
		return r
	}, norm.NFKC.String(path))
	for _, text := range []string{path, strings.ReplaceAll(path, `\`, "/"), wide} {
		for _, end := range []string{"", "?#", "\x00\r\n", ";"} {
			cut := text
			if i := strings.IndexAny(text, end); i >= 0 {
				cut = text[:i]
			} else if end != "" {
				continue
			}
			segments := strings.Split(cut, "/")
			collapsed := slices.DeleteFunc(slices.Clone(segments), func(s string) bool { return s == "" })
			all = append(all, reading{segments: collapsed})
			if resolved := resolve(segments); !slices.Equal(resolved, collapsed) {
				all = append(all, reading{segments: resolved})
			}
		}
	}
	return all
}

// resolve resolves dot segments, with parameters or without.
func resolve(segments []string) []string {
	var out []string
	for _, s := range segments {
		bare, _, _ := strings.Cut(s, ";")
		switch strings.TrimSpace(decodeOnce(bare)) {
		case "", ".":
		case "..":
			out = out[:max(len(out)-1, 0)]
		default:
			out = append(out, s)
		}
	}
	return out
}

// spellings are the texts that a segment may stand for.
func (r *reading) spellings(segment string) []string {
	all := []string{fold(segment)}
	if r.usual {
		return all
	}
	add := func(text string) {
		if text = fold(text); !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	bare, _, _ := strings.Cut(segment, ";")
	add(bare)
	add(strings.TrimSpace(bare))
	again := decodeOnce(segment)
	add(again)
	add(decodeOnce(again))
	return all
}

// trimmed are the texts that stand for a segment where its end does not count, as
// for servers that keep files on Windows.
func (r *reading) trimmed(segment string) []string {
	all := r.spellings(segment)
	if r.usual {
		return all
	}
	for _, text := range slices.Clone(all) {
		if bare := strings.TrimSpace(strings.TrimRight(text, ".: '\"")); !slices.Contains(all, bare) {
			all = append(all, bare)
		}
	}
	if i := slices.IndexFunc(all, func(text string) bool { return strings.HasPrefix(text, "$") }); i >= 0 {
		return all[i : i+1] // never an ID
	}
	return all
}

// verbs are the methods that a server may act on, by header fields and
// parameters that override the request line's.
func (s *sent) verbs() []string {
	verbs := []string{strings.ToUpper(s.method)}
	add := func(verb string) {
		verb = strings.ToUpper(strings.TrimSpace(verb))
		if !slices.Contains(verbs, verb) {
			verbs = append(verbs, verb)
		}
	}
	for field, values := range s.header {
		if isOverride(field) {
			for _, v := range values {
				add(v)
			}
		}
	}
	for parameter := range strings.FieldsFuncSeq(s.query, func(r rune) bool { return r == '&' || r == ';' || r == '?' }) {
		field, value, _ := strings.Cut(parameter, "=")
		for range maxDecodings {
			if unescaped, err := url.QueryUnescape(field); err == nil {
				field = unescaped
			}
		}
		if isOverride(strings.TrimSpace(field)) {
			add(decodeOnce(value))
		}
	}
	if slices.Contains(verbs, http.MethodHead) {
		add(http.MethodGet)
	}
	return verbs
}

// isOverride reports whether a field or parameter names another method.
func isOverride(name string) bool {
	switch strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name)) {
	case "x-http-method-override", "x-http-method", "x-method-override", "$httpmethod", "-method":
		return true
	}
	return false
}
