package rewrite

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// plain counts the leading bytes of b that stand for themselves in a string:
// all but quotes, backslashes and control characters. It looks at eight bytes
// at a time.
func plain(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote := w ^ ('"' * lowBits)
		slash := w ^ ('\\' * lowBits)
		// The lowest byte whose high bit is set here is right; borrows spoil only
		// those above it.
		special := ((quote - lowBits) &^ quote) | ((slash - lowBits) &^ slash) | ((w - 0x20*lowBits) &^ w)
		if special &= highBits; special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 {
			break
		}
	}
	return i
}

// appendText appends what stands between the quotes of a valid string, decoded.
// Bytes that are not UTF-8 and lone surrogates become U+FFFD.
func appendText(dst, raw []byte) []byte {
	for len(raw) > 0 {
		if raw[0] == '\\' {
			var n int
			dst, n = appendEscaped(dst, raw)
			raw = raw[n:]
			continue
		}
		if raw[0] < utf8.RuneSelf {
			dst = append(dst, raw[0])
			raw = raw[1:]
			continue
		}
		r, n := utf8.DecodeRune(raw)
		dst = utf8.AppendRune(dst, r)
		raw = raw[n:]
	}
	return dst
}

// appendEscaped appends what the escape at the beginning of raw stands for, and
// returns its length.
func appendEscaped(dst, raw []byte) ([]byte, int) {
	switch c := raw[1]; c {
	case 'b':
		return append(dst, '\b'), 2
	case 'f':
		return append(dst, '\f'), 2
	case 'n':
		return append(dst, '\n'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 't':
		return append(dst, '\t'), 2
	case 'u':
		r := codeUnit(raw)
		if !utf16.IsSurrogate(r) {
			return utf8.AppendRune(dst, r), 6
		}
		if len(raw) >= 12 && raw[6] == '\\' && raw[7] == 'u' {
			if r = utf16.DecodeRune(r, codeUnit(raw[6:])); r != utf8.RuneError {
				return utf8.AppendRune(dst, r), 12
			}
		}
		return utf8.AppendRune(dst, utf8.RuneError), 6
	default: // a quote or a slash of either kind
		return append(dst, c), 2
	}
}

// codeUnit is the value of a \uXXXX escape.
func codeUnit(escape []byte) rune {
	var r rune
	for _, c := range escape[2:6] {
		switch {
		case c <= '9':
			c -= '0'
		case c <= 'F':
			c -= 'A' - 10
		default:
			c -= 'a' - 10
		}
		r = r<<4 | rune(c)
	}
	return r
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string, with no more escapes than RFC 8259
// section 7 asks for. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r >= 0x20:
			dst = utf8.AppendRune(dst, r)
		case r == '\b':
			dst = append(dst, `\b`...)
		case r == '\f':
			dst = append(dst, `\f`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&0xf])
		}
	}
	return append(dst, '"')
}
