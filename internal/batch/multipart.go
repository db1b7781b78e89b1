package batch

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
)

// readParts splits a multipart body (RFC 2046 section 5.1.1). What stands before
// the first delimiter and behind the last is dropped. Google's clients end lines
// in two ways, so the first delimiter says how the others end: a line that
// begins like a delimiter and ends otherwise may be one to other readers. Of
// more than most parts it gives one more than that.
func readParts(text []byte, boundary string, most int) ([][]byte, error) {
	if !isBoundary(boundary) {
		return nil, malformed("the boundary of the batch is malformed (RFC 2046 section 5.1.1)")
	}
	delimiter := []byte("--" + boundary)
	var parts [][]byte
	newline := ""
	begun := -1 // where the part begins that the next delimiter ends
	for at := 0; ; {
		i := bytes.Index(text[at:], delimiter)
		if i < 0 {
			return nil, malformed("the batch does not end with its boundary: send it whole")
		}
		i += at
		if at = i + len(delimiter); i > 0 && text[i-1] != '\n' {
			continue // inside a line
		}
		rest := text[at:]
		last := bytes.HasPrefix(rest, []byte("--"))
		switch {
		case last:
		case newline == "" && bytes.HasPrefix(rest, []byte("\r\n")):
			newline = "\r\n"
		case newline == "" && bytes.HasPrefix(rest, []byte("\n")):
			newline = "\n"
		case newline == "" || !bytes.HasPrefix(rest, []byte(newline)):
			return nil, malformed("a line of the batch begins with its boundary and goes on: choose another boundary")
		}
		if begun >= 0 {
			part := text[begun:max(begun, i)]
			if !bytes.HasSuffix(part, []byte(newline)) || newline == "\n" && bytes.HasSuffix(part, []byte("\r\n")) {
				return nil, malformed("a line before a boundary of the batch ends otherwise than the boundary's: end all with CRLF")
			}
			parts = append(parts, part[:len(part)-len(newline)])
			if len(parts) > most {
				return parts, nil
			}
		}
		if last {
			return parts, checkEpilogue(rest[len("--"):], delimiter)
		}
		at += len(newline)
		begun = at
	}
}

// checkEpilogue refuses what would be further parts to another reader.
func checkEpilogue(text, delimiter []byte) error {
	if len(text) > 0 && text[0] != '\r' && text[0] != '\n' || bytes.Contains(text, delimiter) {
		return malformed("the batch goes on behind its last boundary: leave that out")
	}
	return nil
}

// isBoundary reports a boundary of RFC 2046 section 5.1.1.
func isBoundary(s string) bool {
	return s != "" && len(s) <= 70 && !strings.HasSuffix(s, " ") && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("'()+_,-./:=? ", c)
	})
}

// readHeader reads header fields up to an empty line, or to the end, and gives
// what follows.
func readHeader(text []byte) (fields, []byte, error) {
	f := newFields()
	for len(text) > 0 {
		line, rest, err := readLine(text)
		if err != nil {
			return f, nil, err
		}
		text = rest
		if line == "" {
			return f, text, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			// Also a line that begins with a space, which went on with the one
			// before it once (RFC 9112 section 5.2).
			return f, nil, malformed("a part of the batch has a line in its header that is no header field")
		}
		if err := f.add(name, value); err != nil {
			return f, nil, err
		}
	}
	return f, nil, nil
}

// readLine cuts a line off, which ends with CRLF, with LF, or with the text.
func readLine(text []byte) (line string, rest []byte, err error) {
	head, rest, ended := bytes.Cut(text, []byte("\n"))
	if ended {
		head = bytes.TrimSuffix(head, []byte("\r"))
	}
	if bytes.IndexByte(head, '\r') >= 0 {
		return "", nil, malformed("a header in the batch contains a carriage return that ends no line")
	}
	return string(head), rest, nil
}

// one gives the value of a field that may be there once, and whether it is.
func one(h http.Header, name string) (value string, ok bool, err error) {
	switch values := h[name]; len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	}
	return "", false, malformed(fmt.Sprintf("a part of the batch has the header field %s more than once", name))
}
