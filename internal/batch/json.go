package batch

import (
	"bytes"
	"encoding/json"
	"iter"
	"strings"
	"unicode/utf8"
)

// member is a member of a JSON object, as it was written.
type member struct {
	name  string // decoded
	value []byte
	// start is where the value begins in the object's text.
	start int
}

// membersOf gives the members of a JSON object in valid JSON text, one by one:
// there may be millions. It is not ok if the text is another value.
func membersOf(text []byte) (members iter.Seq[member], ok bool) {
	begin := space(text, 0)
	if begin == len(text) || text[begin] != '{' {
		return nil, false
	}
	return func(yield func(member) bool) {
		for i := space(text, begin+1); text[i] != '}'; i = space(text, i) {
			if text[i] == ',' {
				i = space(text, i+1)
			}
			end := valueEnd(text, i)
			name := decodeString(text[i:end])
			start := space(text, space(text, end)+1) // behind the colon
			i = valueEnd(text, start)
			if !yield(member{name: name, value: text[start:i], start: start}) {
				return
			}
		}
	}, true
}

// elementsOf gives the elements of a JSON array in valid JSON text, of more than
// most of them one more than that. It is not ok if the text is another value.
func elementsOf(text []byte, most int) (elements [][]byte, ok bool) {
	i := space(text, 0)
	if i == len(text) || text[i] != '[' {
		return nil, false
	}
	for i = space(text, i+1); text[i] != ']' && len(elements) <= most; i = space(text, i) {
		if text[i] == ',' {
			i = space(text, i+1)
		}
		end := valueEnd(text, i)
		elements = append(elements, text[i:end])
		i = end
	}
	return elements, true
}

// stringOf decodes a JSON string in valid JSON text. It is not ok if the text is
// another value, or cannot be written in UTF-8.
func stringOf(text []byte) (s string, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return "", false
	}
	s = decodeString(text)
	// An unpaired surrogate (RFC 8259 section 8.2) would be sent as another
	// character.
	return s, !strings.ContainsRune(s, utf8.RuneError)
}

func decodeString(text []byte) (s string) {
	// The text is valid JSON already.
	_ = json.Unmarshal(text, &s)
	return s
}

func isNull(text []byte) bool { return string(text) == "null" }

// space gives the first place from i on that is not white space.
func space(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r') {
		i++
	}
	return i
}

// valueEnd gives the place behind the value that begins at i in valid JSON text.
func valueEnd(text []byte, i int) int {
	depth := 0
	for i < len(text) {
		switch text[i] {
		case '"':
			i = stringEnd(text, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		default:
			// A number or a word, or what stands between values.
			i += max(1, bytes.IndexAny(text[i:], `"{}[],: `+"\t\r\n"))
		}
		if depth == 0 {
			return i
		}
	}
	return i
}

// stringEnd gives the place behind the string that begins at i.
func stringEnd(text []byte, i int) int {
	for {
		i += 1 + bytes.IndexByte(text[i+1:], '"')
		escapes := 0
		for text[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}

// appendString appends a JSON string, without the escapes that only HTML needs.
func appendString(to []byte, s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string and a buffer never fail
	return append(to, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}
