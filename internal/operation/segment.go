package operation

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// content is what a segment may hold.
type content uint8

const (
	plainText content = iota
	// idText is an ID that may hold a "#", such as a holiday calendar's.
	idText
	// urlText is an ID that is a URL.
	urlText
	// nameText is part of a name that people gave.
	nameText
)

// decoded decodes a segment exactly once, and refuses what an API may read as
// more than one segment, or as the end of the path.
func decoded(raw string, holds content) (string, error) {
	if raw == "" {
		return "", errEmpty
	}
	text := raw
	if strings.IndexByte(raw, '%') >= 0 {
		var err error
		if text, err = url.PathUnescape(raw); err != nil {
			return "", errEscape
		}
		if looksEncoded(text) {
			return "", errEncoded
		}
	}
	if isHarmless(text) {
		return text, checkDots(text)
	}
	if !utf8.ValidString(text) {
		return "", errEscape
	}
	for _, r := range text {
		switch {
		case r == '\\', r == '/' && holds != urlText:
			return "", errSlash
		case r == '?' && holds != urlText,
			r == '#' && holds == plainText,
			r == ';' && holds == plainText,
			holds != nameText && strings.ContainsRune(slashes, r),
			unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return "", errCharacter
		}
	}
	switch {
	case strings.TrimSpace(text) != text:
		return "", errSpace
	case holds != nameText && punctuation(norm.NFKC.String(text)) != punctuation(text):
		return "", errCharacter // a wide slash or colon, or the like
	}
	return text, checkDots(text)
}

// slashes are what some servers write as a slash or a backslash, and Unicode's
// compatibility forms do not.
const slashes = "\u2044\u2215\u2216\u29f5\u29f8\u29f9"

// punctuation counts the characters of ASCII that may separate anything.
func punctuation(text string) int {
	n := 0
	for i := range len(text) {
		if c := text[i]; c < utf8.RuneSelf && !isLetter(c) && !isDigit(c) && c > ' ' {
			n++
		}
	}
	return n
}

func checkDots(text string) error {
	if text == "." || text == ".." {
		return errDots
	}
	return nil
}

// isHarmless reports whether a segment has no character that needs a look.
func isHarmless(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '/' || c == '\\' || c == '?' || c == '#' || c == ';' {
			return false
		}
	}
	return true
}

// looksEncoded reports whether decoding once more would change a text.
func looksEncoded(text string) bool {
	for i := 0; i+2 < len(text); i++ {
		if text[i] == '%' && isHex(text[i+1]) && isHex(text[i+2]) {
			return true
		}
	}
	return false
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// fold brings a text into a form in which those are equal that some server may
// take for equal: without regard to case, also that of letters beyond ASCII
// that stand for ASCII ones. It does not allocate for what is folded already.
func fold(text string) string {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return strings.ToLower(strings.ToUpper(norm.NFKC.String(text)))
		}
	}
	return strings.ToLower(text)
}
