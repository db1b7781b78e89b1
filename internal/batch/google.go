package batch

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// maxGoogleParts is how many parts Google takes in one batch, of the APIs that
// take most.
const maxGoogleParts = 1000

// readGoogle reads a multipart/mixed batch.
func (e *Envelope) readGoogle(q *target.Request, text []byte, boundary string) error {
	parts, err := readParts(text, boundary, maxGoogleParts)
	if err != nil {
		return err
	}
	if len(parts) == 0 || len(parts) > maxGoogleParts {
		return malformed(fmt.Sprintf("the batch has no parts, or too many: send 1 to %d", maxGoogleParts))
	}
	ids := make(map[string]bool, len(parts))
	for _, text := range parts {
		id, content, err := readGooglePart(text)
		if err != nil {
			return err
		}
		if id != "" && ids[id] {
			return malformed("two parts of the batch have the same Content-ID")
		}
		ids[id] = true
		if err := e.readGoogleRequest(q, id, content); err != nil {
			return err
		}
	}
	return nil
}

// readGooglePart reads the header of a part, of which only the Content-ID goes
// on.
func readGooglePart(text []byte) (id string, content []byte, err error) {
	f, content, err := readHeader(text)
	if err != nil {
		return "", nil, err
	}
	contentType, _, err := one(f.header, "Content-Type")
	if err != nil {
		return "", nil, err
	}
	if mediaType, _, err := mime.ParseMediaType(contentType); err != nil || mediaType != "application/http" {
		return "", nil, malformed("a part of the batch has not the Content-Type application/http")
	}
	encoding, ok, err := one(f.header, "Content-Transfer-Encoding")
	if err != nil {
		return "", nil, err
	}
	if ok && !slices.Contains([]string{"binary", "7bit", "8bit"}, strings.ToLower(encoding)) {
		return "", nil, malformed("a part of the batch has another Content-Transfer-Encoding than binary, 8bit or 7bit")
	}
	id, ok, err = one(f.header, "Content-Id")
	if err != nil {
		return "", nil, err
	}
	if ok && id == "" {
		return "", nil, malformed("a part of the batch has an empty Content-ID")
	}
	return id, content, nil
}

// readGoogleRequest reads the request in a part.
func (e *Envelope) readGoogleRequest(q *target.Request, id string, content []byte) error {
	line, rest, err := readLine(content)
	if err != nil {
		return err
	}
	method, url, version, ok := requestLine(line)
	if !ok {
		return malformed(`a part of the batch does not begin with a request line: write "GET /path", with HTTP/1.1 behind it or without`)
	}
	if version != "" && version != "HTTP/1.1" && version != "HTTP/1.0" {
		return malformed("a part of the batch has another version of HTTP than HTTP/1.1")
	}
	f, rest, err := readHeader(rest)
	if err != nil {
		return err
	}
	p := &part{id: id, header: f.header}
	if p.body, err = readBody(f.header, rest); err != nil {
		return err
	}
	host, named, err := one(f.header, "Host")
	if err != nil {
		return err
	}
	if p.sent, err = e.target(q, method, url, ""); err == nil {
		switch {
		case named && !strings.EqualFold(host, q.Base.Host) && !strings.EqualFold(strings.TrimSuffix(host, ":443"), q.Host):
			err = malformed("a part of the batch names another Host than the batch: send it by itself")
		case kindOfPath(p.sent.Path, typeGoogle) != None:
			err = malformed("a part of the batch is a batch itself: send its parts by themselves")
		}
	}
	p.judged = p.sent
	if p.judged.RawQuery == "" {
		p.judged.RawQuery = q.RawQuery
	} else if q.RawQuery != "" {
		// The API takes the batch's own parameters for its parts too.
		p.judged.RawQuery += "&" + q.RawQuery
	}
	return e.add(p, err)
}

// requestLine reads the request line of a part; clients leave the version out.
func requestLine(line string) (method, url, version string, ok bool) {
	method, rest, _ := strings.Cut(line, " ")
	url, version, versioned := strings.Cut(rest, " ")
	return method, url, version, isToken(method) && url != "" && versioned == (version != "")
}

// readBody cuts a part's body out of what follows its header: by the
// Content-Length, behind which only line ends may stand, or else all of it.
func readBody(h http.Header, text []byte) ([]byte, error) {
	if _, coded := h["Transfer-Encoding"]; coded {
		return nil, malformed("a part of the batch has a Transfer-Encoding: send its body as it is")
	}
	if _, _, err := one(h, "Content-Type"); err != nil {
		return nil, err
	}
	written, ok, err := one(h, "Content-Length")
	if err != nil {
		return nil, err
	}
	if !ok {
		if onlyLineEnds(text) {
			return nil, nil
		}
		return text, nil
	}
	n, err := strconv.ParseUint(written, 10, 31)
	if err != nil {
		return nil, malformed("a part of the batch has a malformed Content-Length").Because(err)
	}
	if int(n) <= len(text) && onlyLineEnds(text[n:]) {
		return text[:n], nil
	}
	// Google's client for .NET counts characters instead of bytes, and ends the
	// body with a line end.
	body := bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if utf8.Valid(body) && len(utf16.Encode([]rune(string(body)))) == int(n) {
		return body, nil
	}
	return nil, malformed("the body of a part of the batch has another length than its Content-Length says")
}

func onlyLineEnds(text []byte) bool { return len(bytes.Trim(text, "\r\n")) == 0 }

// writeGoogle writes the parts that are sent, below a boundary of our own.
func (e *Envelope) writeGoogle() (contentType string, text []byte) {
	boundary := newBoundary()
	var b bytes.Buffer
	for _, p := range e.sent() {
		writeGooglePart(&b, boundary, p.id)
		fmt.Fprintf(&b, "%s %s%s HTTP/1.1\r\n", p.sent.Method, p.sent.Path, query(&p.sent))
		writeMessage(&b, p.header, p.body)
	}
	b.WriteString("--" + boundary + "--\r\n")
	return multipartType(boundary), b.Bytes()
}

// newBoundary makes a boundary that no part contains: nobody can know it.
func newBoundary() string { return "batch_" + rand.Text() }

func multipartType(boundary string) string { return "multipart/mixed; boundary=" + boundary }

// writeGooglePart writes a delimiter and the header of a part; the ID may be
// empty.
func writeGooglePart(b *bytes.Buffer, boundary, id string) {
	b.WriteString("--" + boundary + "\r\nContent-Type: application/http\r\n")
	if id != "" {
		b.WriteString("Content-ID: " + id + "\r\n")
	}
	b.WriteString("\r\n")
}

// writeMessage writes what follows the first line of a message inside a part.
func writeMessage(b *bytes.Buffer, h http.Header, body []byte) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if name == "Content-Length" {
			continue
		}
		for _, value := range h[name] {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	if body != nil {
		b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	b.WriteString("\r\n")
}
