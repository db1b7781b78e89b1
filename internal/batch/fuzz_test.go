package batch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// taken is a part as another reader takes it, or as it was judged.
type taken struct {
	ID, Method, URL, Body string
	Header                map[string]string
}

// neverSent are header fields that no part carries.
var neverSent = []string{
	"Authorization", "X-Goog-Api-Key", "X-Goog-User-Project", "X-Bellhop-Key", "Cookie", "Host", "Connection",
	"Transfer-Encoding", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "Forwarded", "X-Forwarded-For",
}

// compare fails if what another reader takes is not what was judged.
func compare(t *testing.T, text string, judged []target.Request, e *Envelope, read []taken) {
	t.Helper()
	var want []taken
	for _, p := range e.sent() {
		header := map[string]string{}
		for name, values := range p.header {
			header[name] = strings.Join(values, ", ")
		}
		want = append(want, taken{ID: p.id, Method: p.sent.Method, URL: p.sent.Path + query(&p.sent), Body: string(p.body), Header: header})
	}
	if diff := cmp.Diff(want, read); diff != "" {
		t.Fatalf("%q: what is sent is read as something else: %s", text, diff)
	}
	if len(judged) != len(read) {
		t.Fatalf("%q: %d parts were judged, %d are sent", text, len(judged), len(read))
	}
	for i, part := range read {
		u, err := url.ParseRequestURI(part.URL)
		if err != nil || u.EscapedPath() != judged[i].Path || u.RawQuery != judged[i].RawQuery || part.Method != judged[i].Method || judged[i].Account != "alice" {
			t.Fatalf("%q: judged %+v, sent %+v, %v", text, judged[i], part, err)
		}
		for name := range part.Header {
			for _, never := range neverSent {
				if strings.EqualFold(strings.ReplaceAll(name, "_", "-"), never) {
					t.Fatalf("%q: %s is sent", text, name)
				}
			}
		}
		for name := range u.Query() {
			if strings.EqualFold(name, "access_token") || strings.EqualFold(name, "$httpMethod") {
				t.Fatalf("%q: the parameter %s is sent", text, name)
			}
		}
	}
}

// atOrigin is a batch of a caller that uses the origin form, for which no path
// is Bellhop's own.
func atOrigin(q *target.Request) *target.Request {
	again := *q
	again.Base = target.Base{Scheme: "https", Host: "origin.internal"}
	return &again
}

// judgeInto lets all parts pass and keeps what it judged.
func judgeInto(judged *[]target.Request) func(*target.Request, http.Header, []byte) error {
	return func(q *target.Request, _ http.Header, _ []byte) error {
		*judged = append(*judged, *q)
		return nil
	}
}

// graphReader reads a Graph batch as a lenient server might.
type graphReader struct {
	Requests []struct {
		ID        string
		Method    string
		URL       string
		Headers   map[string]string
		Body      json.RawMessage
		DependsOn []string
	}
}

func FuzzGraphBatch(f *testing.F) {
	for _, text := range []string{
		`{"requests":[{"id":"1","method":"GET","url":"/me?$top=1"},{"id":"2","method":"POST","url":"https://graph.microsoft.com/v1.0/me","headers":{"content-type":"application/json","Authorization":"x"},"body":{"a":[1,"b"]},"dependsOn":["1"]}]}`,
		`{"requests":[{"id":"1","method":"GET","url":"/proxy/alice/v1.0/me?access_token=x&$httpMethod=y"},{"id":"2","method":"GET","url":"//evil.example"}]}`,
		`{"requests":[{"id":"1","url":"a b","URL":"/x","method":"GET"}]}`,
		`{"requests":[{"id":"\u0031","\u0075rl":"\/x\ud800","method":"GET","headers":{"a_b":"c","A-B":"d"},"body":null}]}`,
		`{"requests":[{"id":"1","method":"PUT","url":"/x","body":"` + "\u2028" + `\u2028<&>"},{"id":"é","method":"GET","url":"/$batch","depends_on":[]}]}`,
		`{"requests":[{"id":"1","method":"PATCH","url":"/x","body":{"@microsoft.graph.sourceUrl":"https://handle"}}]}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var judged []target.Request
		o := options(microsoft)
		o.Judge = judgeInto(&judged)
		e, err := readGraph(text, o)
		if err != nil {
			return
		}
		if e.Empty() {
			if _, _, body := e.Answer(); !json.Valid(body) {
				t.Fatalf("%q is answered %q", text, body)
			}
			return
		}
		_, body := e.Body()
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		var r graphReader
		if err := dec.Decode(&r); err != nil {
			t.Fatalf("%q was written as %q: %v", text, body, err)
		}
		var read []taken
		for _, part := range r.Requests {
			if part.Headers == nil {
				part.Headers = map[string]string{}
			}
			read = append(read, taken{ID: part.ID, Method: part.Method, URL: "/v1.0" + part.URL, Body: string(part.Body), Header: part.Headers})
		}
		// What depends on a refused part was judged and is not sent.
		kept := judged[:0]
		for _, q := range judged {
			for _, p := range e.sent() {
				if p.judged == q {
					kept = append(kept, q)
					break
				}
			}
		}
		compare(t, text, kept, e, read)

		q := atOrigin(call("graph.microsoft.com", "/v1.0/$batch"))
		again, err := Read(q, Graph, http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(body), options(microsoft))
		if err != nil {
			t.Fatalf("%q was written as %q, which is refused: %v", text, body, err)
		}
		if _, second := again.Body(); !bytes.Equal(body, second) {
			t.Fatalf("%q was written as %q, and that as %q", text, body, second)
		}
	})
}

func FuzzGoogleBatch(f *testing.F) {
	for _, text := range []string{
		mixed("GET /x?a=b HTTP/1.1\r\nHost: www.googleapis.com\r\nAuthorization: x\r\n\r\n", "POST https://www.googleapis.com/y?access_token=z\r\nContent-Length: 3\r\n\r\n{}\n"),
		mixed("DELETE /proxy/alice/www.googleapis.com/x?$httpMethod=GET\r\n\r\n", "GET //evil.example HTTP/1.1\r\n\r\n"),
		strings.ReplaceAll(mixed("PUT /x\r\nA_B: c\r\nA-B: d\r\n\r\na --b\r", "GET /batch\r\n\r\n"), "\r\n", "\n"),
		"--b\r\nContent-Type: application/http\r\n\r\nPOST /x\r\nContent-Length: 4\r\n\r\nüüüü\n\r\n--b--",
		"--b\nContent-Type: application/http\nContent-ID: a\n\nGET /x\r\nA:b\r\n\n\n--bc\n\n--b--",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var judged []target.Request
		o := options(google)
		o.Judge = judgeInto(&judged)
		e, err := readGoogle(text, o)
		if err != nil || e.Empty() {
			return
		}
		contentType, body := e.Body()
		read, err := lenientGoogle(contentType, body)
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, body, err)
		}
		compare(t, text, judged, e, read)

		q := atOrigin(call("www.googleapis.com", "/batch/drive/v3"))
		again, err := Read(q, Google, http.Header{"Content-Type": {contentType}}, bytes.NewReader(body), options(google))
		if err != nil {
			t.Fatalf("%q was written as %q, which is refused: %v", text, body, err)
		}
		if first, second := written(t, e), written(t, again); first != second {
			t.Fatalf("%q was written as %q, and that as %q", text, first, second)
		}
	})
}

// lenientGoogle reads a Google batch by the standard library alone.
func lenientGoogle(contentType string, body []byte) ([]taken, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	var read []taken
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return read, nil
		}
		if err != nil {
			return nil, err
		}
		buffered := bufio.NewReader(part)
		r, err := http.ReadRequest(buffered)
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if rest, err := io.ReadAll(buffered); err != nil || len(rest) > 0 {
			return nil, fmt.Errorf("%q follows the body, %w", rest, err)
		}
		header := map[string]string{}
		for name, values := range r.Header {
			if name != "Content-Length" {
				header[name] = strings.Join(values, ", ")
			}
		}
		if r.Host != "" {
			header["Host"] = r.Host
		}
		read = append(read, taken{ID: part.Header.Get("Content-Id"), Method: r.Method, URL: r.RequestURI, Body: string(content), Header: header})
	}
}
