package batch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// googleAnswer is the answer to a batch of which nothing is sent.
func (e *Envelope) googleAnswer() (contentType string, text []byte) {
	boundary := newBoundary()
	var b bytes.Buffer
	for _, p := range e.parts {
		e.writeGoogleRefusal(&b, boundary, p)
	}
	b.WriteString("--" + boundary + "--\r\n")
	return multipartType(boundary), b.Bytes()
}

// writeGoogleRefusal writes the answer to a refused part.
func (e *Envelope) writeGoogleRefusal(b *bytes.Buffer, boundary string, p *part) {
	header, body := e.options.Refusal(p.refused)
	writeGooglePart(b, boundary, responseID(p.id))
	fmt.Fprintf(b, "HTTP/1.1 %d %s\r\n", p.refused.Status, http.StatusText(p.refused.Status))
	writeMessage(b, header, body)
}

// responseID is the Content-ID of the answer to a part; empty if the part has
// none.
func responseID(id string) string {
	if id == "" {
		return ""
	}
	if rest, ok := strings.CutPrefix(id, "<"); ok {
		return "<response-" + rest
	}
	return "response-" + id
}

// googleResponse rewrites each part of the API's answer, and puts the answers to
// refused parts where the parts stood: some clients go by the order alone.
func (e *Envelope) googleResponse(
	resp *http.Response,
	rules func(*target.Request) *rewrite.Rules,
	replace func(*target.Request) rewrite.Func,
	header func(*target.Request, int, http.Header),
) error {
	refused := len(e.sent()) < len(e.parts)
	mediaType, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/mixed" || params["boundary"] == "" {
		if refused && resp.StatusCode == http.StatusOK {
			return unexpected().Because(errors.Join(err, errors.New("the answer is no multipart/mixed")))
		}
		return nil
	}
	if err := checkUncoded(resp); err != nil {
		if refused {
			return err
		}
		return nil
	}
	a := &googleAnswerReader{
		envelope: e,
		parts:    multipart.NewReader(resp.Body, params["boundary"]),
		boundary: newBoundary(),
		rules:    rules,
		replace:  replace,
		header:   header,
	}
	resp.Body = &answerBody{a, resp.Body}
	changed(resp)
	resp.Header.Set("Content-Type", multipartType(a.boundary))
	return nil
}

// googleAnswerReader writes an answer anew, one part after the other.
type googleAnswerReader struct {
	envelope *Envelope
	parts    *multipart.Reader
	boundary string
	rules    func(*target.Request) *rewrite.Rules
	replace  func(*target.Request) rewrite.Func
	header   func(*target.Request, int, http.Header)

	// next is the part of the envelope whose answer comes next.
	next int
	text bytes.Buffer
	err  error
}

// Read implements [io.Reader].
func (a *googleAnswerReader) Read(p []byte) (int, error) {
	for a.text.Len() == 0 && a.err == nil {
		a.text.Reset()
		a.err = a.readPart()
	}
	if a.text.Len() == 0 {
		return 0, a.err
	}
	return a.text.Read(p)
}

// readPart makes the next part, and whatever belongs before it, ready to be
// read. It returns [io.EOF] when all is.
func (a *googleAnswerReader) readPart() error {
	answer, err := a.parts.NextRawPart()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer to a batch: %w", err)
	}
	all := a.envelope.parts
	for a.next < len(all) && all[a.next].refused != nil {
		a.envelope.writeGoogleRefusal(&a.text, a.boundary, all[a.next])
		a.next++
	}
	if err != nil && a.next < len(all) {
		a.next++ // the API left this one out
		return nil
	}
	if err != nil {
		a.text.WriteString("--" + a.boundary + "--\r\n")
		return io.EOF
	}
	content, err := io.ReadAll(answer)
	if err != nil {
		return fmt.Errorf("reading the answer to a batch: %w", err)
	}
	answered := a.answered(answer.Header.Get("Content-ID"))
	answer.Header.Del("Content-Length")
	a.text.WriteString("--" + a.boundary + "\r\n")
	return a.writeAnswer(http.Header(answer.Header), answered, content)
}

// answered is the part that an answer is to: by its Content-ID, else the next
// one; nil if there is none.
func (a *googleAnswerReader) answered(id string) *part {
	all := a.envelope.parts
	var next *part
	if a.next < len(all) {
		next = all[a.next]
		a.next++
	}
	if id == "" || next != nil && responseID(next.id) == id {
		return next
	}
	for _, p := range all {
		if p.refused == nil && p.id != "" && responseID(p.id) == id {
			return p
		}
	}
	return next
}

// writeAnswer writes one answer, rewritten if it can be read.
func (a *googleAnswerReader) writeAnswer(partHeader http.Header, answered *part, content []byte) error {
	id := partHeader.Get("Content-ID")
	partHeader.Del("Content-ID")
	for _, name := range slices.Sorted(maps.Keys(partHeader)) {
		for _, value := range partHeader[name] {
			a.text.WriteString(name + ": " + value + "\r\n")
		}
	}
	if id != "" {
		a.text.WriteString("Content-ID: " + id + "\r\n")
	}
	a.text.WriteString("\r\n")
	inner, statusLine, ok := readAnswer(content)
	if answered == nil || !ok {
		a.text.Write(content)
		a.text.WriteString("\r\n")
		return nil
	}
	defer func() { _ = inner.Body.Close() }()
	// What is added for browsers is in the header of the whole answer.
	target.IncomingTrailer(inner.Header)
	a.header(&answered.judged, inner.StatusCode, inner.Header)
	if rules := a.rules(&answered.judged); rules != nil {
		if err := rewrite.Response(inner, rules, a.replace(&answered.judged)); err != nil {
			return fmt.Errorf("rewriting the answer to a part of a batch: %w", err)
		}
	}
	body, err := io.ReadAll(inner.Body)
	if err != nil {
		return fmt.Errorf("rewriting the answer to a part of a batch: %w", err)
	}
	if len(body) == 0 && inner.ContentLength < 0 {
		body = nil
	}
	a.text.WriteString(statusLine + "\r\n")
	writeMessage(&a.text, inner.Header, body)
	return nil
}

// readAnswer reads the response in a part of an answer, with its status line.
func readAnswer(content []byte) (resp *http.Response, statusLine string, ok bool) {
	statusLine, rest, err := readLine(content)
	if err != nil || !strings.HasPrefix(statusLine, "HTTP/1.") {
		return nil, "", false
	}
	_, status, _ := strings.Cut(statusLine, " ")
	status, _, _ = strings.Cut(status, " ")
	code, err := strconv.Atoi(status)
	if err != nil || len(status) != 3 {
		return nil, "", false
	}
	f, rest, err := readHeader(rest)
	if err != nil {
		return nil, "", false
	}
	length := int64(-1)
	if written, ok, err := one(f.header, "Content-Length"); err == nil && ok {
		n, err := strconv.ParseUint(written, 10, 31)
		if err != nil || int(n) > len(rest) || !onlyLineEnds(rest[n:]) {
			return nil, "", false
		}
		rest, length = rest[:n], int64(n)
	} else if onlyLineEnds(rest) {
		rest = nil
	}
	return &http.Response{
		Status:        strings.TrimPrefix(statusLine, "HTTP/1.1 "),
		StatusCode:    code,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        f.header,
		Body:          io.NopCloser(bytes.NewReader(rest)),
		ContentLength: length,
	}, statusLine, true
}
