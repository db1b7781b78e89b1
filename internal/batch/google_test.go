package batch

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

func readGoogle(text string, o Options) (*Envelope, error) {
	return readGoogleOf(call("www.googleapis.com", "/batch/drive/v3"), text, o)
}

func readGoogleOf(q *target.Request, text string, o Options) (*Envelope, error) {
	return Read(q, Google, http.Header{"Content-Type": {`multipart/mixed; boundary="b"`}}, strings.NewReader(text), o)
}

// mixed makes a multipart of the contents of parts, each below the header of a
// part of the batch with a number for its Content-ID.
func mixed(contents ...string) string {
	var b strings.Builder
	for i, content := range contents {
		fmt.Fprintf(&b, "--b\r\nContent-Type: application/http\r\nContent-ID: <%d>\r\n\r\n%s\r\n", i+1, content)
	}
	return b.String() + "--b--\r\n"
}

// written is what is sent, with our boundary made the tests'.
func written(t testing.TB, e *Envelope) string {
	t.Helper()
	contentType, body := e.Body()
	return unbound(t, contentType, string(body))
}

func unbound(t testing.TB, contentType, body string) string {
	t.Helper()
	boundary, ok := strings.CutPrefix(contentType, "multipart/mixed; boundary=")
	if !ok || !isBoundary(boundary) || strings.ContainsAny(boundary, "'()+,/:=? ") {
		t.Fatalf("the Content-Type is %q", contentType)
	}
	return strings.ReplaceAll(body, boundary, "b")
}

func TestGoogleBatchIsWrittenAnew(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{
			"plain",
			mixed("GET /drive/v3/files?a=b HTTP/1.1\r\nAccept: x\r\n\r\n", "DELETE /drive/v3/files/1\r\n\r\n"),
			mixed("GET /drive/v3/files?a=b HTTP/1.1\r\nAccept: x\r\n\r\n", "DELETE /drive/v3/files/1 HTTP/1.1\r\n\r\n"),
		},
		{
			"client for Python",
			"--b\n" +
				"Content-Type: application/http\nMIME-Version: 1.0\nContent-Transfer-Encoding: binary\nContent-ID: <6c9e-1 + 1>\n\n" +
				"GET /proxy/alice/www.googleapis.com/drive/v3/files/1?alt=json HTTP/1.1\nContent-Type: application/json\nMIME-Version: 1.0\naccept: application/json\naccept-encoding: gzip, deflate\nuser-agent: (gzip)\nHost: bellhop.internal\n\n\n" +
				"--b\n" +
				"Content-Type: application/http\nMIME-Version: 1.0\nContent-Transfer-Encoding: binary\nContent-ID: <6c9e-1 + 2>\n\n" +
				"POST /drive/v3/files?alt=json HTTP/1.1\nContent-Type: application/json\nMIME-Version: 1.0\ncontent-length: 13\nHost: www.googleapis.com\nauthorization: Bearer " + key + "\n\n{\"name\": \"a\"}\n" +
				"--b--",
			"--b\r\nContent-Type: application/http\r\nContent-ID: <6c9e-1 + 1>\r\n\r\n" +
				"GET /drive/v3/files/1?alt=json HTTP/1.1\r\nAccept: application/json\r\nContent-Type: application/json\r\nMime-Version: 1.0\r\nUser-Agent: (gzip)\r\n\r\n\r\n" +
				"--b\r\nContent-Type: application/http\r\nContent-ID: <6c9e-1 + 2>\r\n\r\n" +
				"POST /drive/v3/files?alt=json HTTP/1.1\r\nContent-Type: application/json\r\nMime-Version: 1.0\r\nContent-Length: 13\r\n\r\n{\"name\": \"a\"}\r\n" +
				"--b--\r\n",
		},
		{
			"client for Java",
			"--b\r\nContent-Length: 91\r\nContent-Type: application/http\r\ncontent-id: 1\r\ncontent-transfer-encoding: binary\r\n\r\n" +
				"GET https://www.googleapis.com/drive/v3/files/1 HTTP/1.1\r\nx-goog-api-client: gl-java/17\r\n\r\n" +
				"--b\r\nContent-Length: 91\r\nContent-Type: application/http\r\ncontent-id: 2\r\ncontent-transfer-encoding: binary\r\n\r\n" +
				"POST https://www.googleapis.com/drive/v3/files HTTP/1.1\r\nContent-Length: 2\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{}\r\n" +
				"--b--\r\n",
			"--b\r\nContent-Type: application/http\r\nContent-ID: 1\r\n\r\n" +
				"GET /drive/v3/files/1 HTTP/1.1\r\nX-Goog-Api-Client: gl-java/17\r\n\r\n\r\n" +
				"--b\r\nContent-Type: application/http\r\nContent-ID: 2\r\n\r\n" +
				"POST /drive/v3/files HTTP/1.1\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: 2\r\n\r\n{}\r\n" +
				"--b--\r\n",
		},
		{
			"client for .NET, on Linux",
			"--b\r\nContent-Type: application/http\r\n\r\n" +
				"GET https://bellhop.internal/proxy/alice/www.googleapis.com/drive/v3/files\nUser-Agent: google-api-dotnet-client\n\r\n" +
				"--b\r\nContent-Type: application/http\r\n\r\n" +
				"POST https://www.googleapis.com/drive/v3/files\nContent-Type: application/json; charset=utf-8\nContent-Length:  15\n\n{\"name\":\"ü日😀\"}\n\r\n" +
				"--b--\r\n",
			"--b\r\nContent-Type: application/http\r\n\r\n" +
				"GET /drive/v3/files HTTP/1.1\r\nUser-Agent: google-api-dotnet-client\r\n\r\n\r\n" +
				"--b\r\nContent-Type: application/http\r\n\r\n" +
				"POST /drive/v3/files HTTP/1.1\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 20\r\n\r\n{\"name\":\"ü日😀\"}\r\n" +
				"--b--\r\n",
		},
		{
			"client for .NET, on Windows",
			"--b\r\nContent-Type: application/http\r\n\r\n" +
				"POST https://www.googleapis.com/drive/v3/files\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length:  12\r\n\r\n{\"name\":\"ü\"}\r\n\r\n" +
				"--b--\r\n",
			"--b\r\nContent-Type: application/http\r\n\r\n" +
				"POST /drive/v3/files HTTP/1.1\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 13\r\n\r\n{\"name\":\"ü\"}\r\n" +
				"--b--\r\n",
		},
		{
			"client for PHP",
			"--b\nContent-Type: application/http\nContent-Transfer-Encoding: binary\nMIME-Version: 1.0\nContent-ID: 123\n\n" +
				"GET /drive/v3/files?q=x HTTP/1.1\nHost:www.googleapis.com\r\ncontent-type:application/json\r\n\n\n" +
				"--b\nContent-Type: application/http\nContent-Transfer-Encoding: binary\nMIME-Version: 1.0\nContent-ID: 456\n\n" +
				"POST /drive/v3/files HTTP/1.1\nHost:www.googleapis.com\r\ncontent-type:application/json\r\n\n{}\n\n" +
				"--b--",
			"--b\r\nContent-Type: application/http\r\nContent-ID: 123\r\n\r\n" +
				"GET /drive/v3/files?q=x HTTP/1.1\r\nContent-Type: application/json\r\n\r\n\r\n" +
				"--b\r\nContent-Type: application/http\r\nContent-ID: 456\r\n\r\n" +
				"POST /drive/v3/files HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}\n\r\n" +
				"--b--\r\n",
		},
		{
			"client for JavaScript in browsers",
			"--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <batch1+gapiRequest@googleapis.com>\r\n\r\n" +
				"PATCH /calendar/v3/x?alt=json&key=AIza\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n\r\n" +
				"--b--",
			"--b\r\nContent-Type: application/http\r\nContent-ID: <batch1+gapiRequest@googleapis.com>\r\n\r\n" +
				"PATCH /calendar/v3/x?alt=json&key=AIza HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"a\":1}\r\n\r\n" +
				"--b--\r\n",
		},
		{
			"preamble and epilogue",
			"hello\r\n" + mixed("GET /x\r\n\r\n") + "bye",
			mixed("GET /x HTTP/1.1\r\n\r\n"),
		},
		{
			"what is stripped",
			mixed("POST /x?access_token=y&$httpMethod=DELETE&a=b HTTP/1.1\r\nAuthorization: Bearer y\r\nX-HTTP-Method-Override: DELETE\r\nx_http_method: DELETE\r\nX-Goog-User-Project: p\r\nX-Goog-Api-Key: " + key + "\r\nCookie: y\r\nConnection: close\r\nExpect: 100-continue\r\nIf-Match: \"z\"\r\nAccept: y\r\nAccept: z\r\nContent-Length: 0\r\n\r\n"),
			mixed("POST /x?a=b HTTP/1.1\r\nAccept: y\r\nAccept: z\r\nIf-Match: \"z\"\r\nContent-Length: 0\r\n\r\n"),
		},
		{
			"boundary of ours inside a line",
			mixed("POST /x HTTP/1.1\r\nContent-Length: 7\r\n\r\na --b--"),
			mixed("POST /x HTTP/1.1\r\nContent-Length: 7\r\n\r\na --b--"),
		},
		{
			"body of line ends",
			mixed("POST /x HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\n", "POST /x HTTP/1.1\r\n\r\n\r\n\r\n"),
			mixed("POST /x HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\n", "POST /x HTTP/1.1\r\n\r\n"),
		},
		{
			"question mark alone",
			mixed("GET /x? HTTP/1.0\r\n\r\n"),
			mixed("GET /x? HTTP/1.1\r\n\r\n"),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := readGoogle(c.text, options(google))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, written(t, e)); diff != "" {
				t.Error(diff, outcomes(e))
			}
			again, err := readGoogle(c.want, options(google))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, written(t, again)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMalformedGoogleBatchIsRefused(t *testing.T) {
	const part = "--b\r\nContent-Type: application/http\r\n\r\nGET /x\r\n\r\n\r\n"
	many := make([]string, 1001)
	for i := range many {
		many[i] = "GET /x\r\n\r\n"
	}
	if _, err := readGoogle(mixed(many[:1000]...), options(google)); err != nil {
		t.Errorf("1000 parts: %v", err)
	}
	withHeader := func(h string) string {
		return "--b\r\n" + h + "\r\n\r\nGET /x\r\n\r\n\r\n--b--\r\n"
	}
	for name, text := range map[string]string{
		"nothing":                           "",
		"no boundary":                       "GET /x\r\n\r\n",
		"no parts":                          "--b--\r\n",
		"too many parts":                    mixed(many...),
		"breaks off":                        part,
		"breaks off in the boundary":        part + "--",
		"goes on behind the end":            part + "--b--\r\n" + part + "--b--\r\n",
		"goes on in the last line":          part + "--b--x\r\n",
		"boundary goes on":                  part + "--bc\r\n" + part + "--b--\r\n",
		"white space behind a boundary":     "--b \r\nContent-Type: application/http\r\n\r\nGET /x\r\n\r\n\r\n--b--\r\n",
		"boundary with LF among CRLF":       part + "--b\nContent-Type: application/http\r\n\r\nGET /x\r\n\r\n\r\n--b--\r\n",
		"line feed before a boundary":       "--b\r\nContent-Type: application/http\r\n\r\nGET /x\r\n\r\n\n--b--\r\n",
		"CRLF before a boundary among LF":   "--b\nContent-Type: application/http\n\nGET /x\n\n\r\n--b--\n",
		"empty part":                        "--b\r\n--b--\r\n",
		"part without a header":             "--b\r\n\r\nGET /x\r\n\r\n\r\n--b--\r\n",
		"part of another type":              withHeader("Content-Type: application/json"),
		"part with two types":               withHeader("Content-Type: application/http\r\nContent-Type: application/http"),
		"part in base64":                    withHeader("Content-Type: application/http\r\nContent-Transfer-Encoding: base64"),
		"part in quoted-printable":          withHeader("Content-Type: application/http\r\nContent-Transfer-Encoding: Quoted-Printable"),
		"two encodings":                     withHeader("Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: base64"),
		"two IDs":                           withHeader("Content-Type: application/http\r\nContent-ID: 1\r\nContent-ID: 2"),
		"two IDs, folded":                   withHeader("Content-Type: application/http\r\nContent-ID: 1\r\nContent_ID: 2"),
		"empty ID":                          withHeader("Content-Type: application/http\r\nContent-ID:"),
		"folded header":                     withHeader("Content-Type: application/http\r\nContent-ID: 1\r\n 2"),
		"carriage return in a header":       withHeader("Content-Type: application/http\r\nContent-ID: 1\rX: y"),
		"null in a header":                  withHeader("Content-Type: application/http\r\nContent-ID: 1\x00"),
		"space before a colon":              withHeader("Content-Type: application/http\r\nContent-ID : 1"),
		"line without a colon":              withHeader("Content-Type: application/http\r\nContent-ID"),
		"IDs twice":                         "--b\r\nContent-Type: application/http\r\nContent-ID: 1\r\n\r\nGET /x\r\n\r\n--b\r\nContent-Type: application/http\r\nContent-ID: 1\r\n\r\nGET /y\r\n\r\n--b--\r\n",
		"no request":                        mixed(""),
		"line before the request":           mixed("\r\nGET /x HTTP/1.1\r\n\r\n"),
		"request without a target":          mixed("GET\r\n\r\n"),
		"request with two spaces":           mixed("GET  /x HTTP/1.1\r\n\r\n"),
		"request with a tab":                mixed("GET\t/x\r\n\r\n"),
		"request with four words":           mixed("GET /x y HTTP/1.1\r\n\r\n"),
		"space behind the target":           mixed("GET /x \r\n\r\n"),
		"method that is no token":           mixed("G(T /x HTTP/1.1\r\n\r\n"),
		"HTTP/2":                            mixed("GET /x HTTP/2\r\n\r\n"),
		"no HTTP":                           mixed("GET /x FTP/1.1\r\n\r\n"),
		"carriage return in the request":    mixed("GET /x\r HTTP/1.1\r\n\r\n"),
		"carriage return in a request's":    mixed("GET /x HTTP/1.1\r\nA: b\rAuthorization: c\r\n\r\n"),
		"folded field in a request":         mixed("GET /x HTTP/1.1\r\nA: b\r\n c\r\n\r\n"),
		"field without a colon":             mixed("GET /x HTTP/1.1\r\nA\r\n\r\n"),
		"field with an empty name":          mixed("GET /x HTTP/1.1\r\n: b\r\n\r\n"),
		"two types in a request":            mixed("GET /x HTTP/1.1\r\nContent-Type: a/b\r\ncontent-type: c/d\r\n\r\n"),
		"two lengths":                       mixed("POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na"),
		"two lengths, folded":               mixed("POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent_Length: 2\r\n\r\na"),
		"two hosts":                         mixed("GET /x HTTP/1.1\r\nHost: www.googleapis.com\r\nHost: evil.example\r\n\r\n"),
		"length too long":                   mixed("POST /x HTTP/1.1\r\nContent-Length: 99\r\n\r\na"),
		"length too short":                  mixed("POST /x HTTP/1.1\r\nContent-Length: 1\r\n\r\naGET /y HTTP/1.1"),
		"length below nothing":              mixed("POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\na"),
		"length with a sign":                mixed("POST /x HTTP/1.1\r\nContent-Length: +1\r\n\r\na"),
		"length that is enormous":           mixed("POST /x HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\na"),
		"length that is no number":          mixed("POST /x HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\na"),
		"transfer encoding":                 mixed("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		"key in a header field":             mixed("GET /x HTTP/1.1\r\nX-Other: " + key + "\r\n\r\n"),
		"key in an ID":                      withHeader("Content-Type: application/http\r\nContent-ID: " + key),
		"key in a body":                     mixed("POST /x HTTP/1.1\r\n\r\na=" + key),
		"key in a body, with JSON's escape": mixed("POST /x HTTP/1.1\r\n\r\n{\"a\":\"\\u0062" + key[1:] + "\"}"),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := readGoogle(text, options(google))
			if err == nil {
				t.Fatalf("it was taken for %q", outcomes(e))
			}
			p := problem.From(err)
			if p.Code != problem.InvalidRequest || strings.Contains(p.Error(), key) {
				t.Error(err)
			}
		})
	}
}

func TestBoundaryIsThatOfRFC2046(t *testing.T) {
	for boundary, want := range map[string]bool{
		"b":                                    true,
		"gc0p4Jq0M2Yt08jU534c0p":               true,
		"===============7330845974216740156==": true,
		"a b":                                  true,
		"'()+_,-./:=?":                         true,
		strings.Repeat("a", 70):                true,
		strings.Repeat("a", 71):                false,
		"":                                     false,
		"a ":                                   false,
		"a\r\nb":                               false,
		"a*b":                                  false,
		"é":                                    false,
	} {
		if got := isBoundary(boundary); got != want {
			t.Errorf("%q: got %t", boundary, got)
		}
	}
}

func TestPartOfAGoogleBatchIsRefusedByItself(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		want    problem.Code
	}{
		"foreign host":              {"GET https://evil.example/x HTTP/1.1", problem.InvalidRequest},
		"another listed host":       {"GET https://gmail.googleapis.com/x HTTP/1.1", problem.InvalidRequest},
		"user information":          {"GET https://www.googleapis.com@evil.example/x HTTP/1.1", problem.InvalidRequest},
		"without TLS":               {"GET http://www.googleapis.com/x HTTP/1.1", problem.InvalidRequest},
		"another account":           {"GET https://bellhop.internal/proxy/bob/www.googleapis.com/x HTTP/1.1", problem.InvalidRequest},
		"foreign Host":              {"GET /x HTTP/1.1\r\nHost: evil.example", problem.InvalidRequest},
		"empty Host":                {"GET /x HTTP/1.1\r\nHost:", problem.InvalidRequest},
		"batch":                     {"POST /batch HTTP/1.1", problem.InvalidRequest},
		"batch of an API":           {"POST /batch/drive/v3 HTTP/1.1", problem.InvalidRequest},
		"batch, encoded":            {"POST /%62atch/drive/v3 HTTP/1.1", problem.InvalidRequest},
		"batch, encoded slash":      {"POST /batch%2fdrive HTTP/1.1", problem.InvalidRequest},
		"batch by GET":              {"GET /Batch HTTP/1.1", problem.InvalidRequest},
		"batch, absolute":           {"POST https://www.googleapis.com/batch HTTP/1.1", problem.InvalidRequest},
		"two slashes":               {"GET //evil.example/x HTTP/1.1", problem.InvalidRequest},
		"dot segments":              {"GET /a/../b HTTP/1.1", problem.InvalidRequest},
		"encoded line end":          {"GET /a%0d%0aX:y HTTP/1.1", problem.InvalidRequest},
		"backslash":                 {`GET /a\b HTTP/1.1`, problem.InvalidRequest},
		"fragment":                  {"GET /a#b HTTP/1.1", problem.InvalidRequest},
		"bytes beyond ASCII":        {"GET /\xc3\xa9 HTTP/1.1", problem.InvalidRequest},
		"key in the path":           {"GET /" + key + " HTTP/1.1", problem.InvalidRequest},
		"key in the query":          {"GET /x?key=" + key + " HTTP/1.1", problem.InvalidRequest},
		"path that is not allowed":  {"POST /oauth2/v4/token HTTP/1.1", problem.HostNotAllowed},
		"unknown method":            {"CONNECT /x HTTP/1.1", problem.MethodNotAllowed},
		"method in small":           {"delete /x HTTP/1.1", problem.MethodNotAllowed},
		"method of another request": {"PROPFIND /x HTTP/1.1", problem.MethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := readGoogle(mixed(c.request+"\r\n\r\n", "GET /x\r\n\r\n"), options(google))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{string(c.want), "GET /x"}, outcomes(e)); diff != "" {
				t.Error(diff)
			}
			if got := written(t, e); strings.Count(got, "HTTP/1.1\r\n") != 1 || !strings.Contains(got, "Content-ID: <2>\r\n\r\nGET /x HTTP/1.1") {
				t.Error(got)
			}
		})
	}
}

func TestPartOfAGoogleBatchIsJudgedWithTheBatchsQuery(t *testing.T) {
	var judged []string
	o := options(google)
	o.Judge = func(q *target.Request, _ http.Header, _ []byte) error {
		judged = append(judged, q.Path+query(q))
		return nil
	}
	q := call("www.googleapis.com", "/batch")
	q.RawQuery = "alt=media"
	e, err := readGoogleOf(q, mixed("GET /x?a=b\r\n\r\n", "GET /y\r\n\r\n"), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/x?a=b&alt=media", "/y?alt=media"}, judged); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"GET /x?a=b", "GET /y"}, outcomes(e)); diff != "" {
		t.Error(diff)
	}
}

// answered passes an API's answer through an envelope.
func answered(t *testing.T, e *Envelope, resp *http.Response) string {
	t.Helper()
	if err := e.Response(resp, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return unbound(t, resp.Header.Get("Content-Type"), string(body))
}

// answers makes an API's answer of the contents of parts, by Content-ID.
func answers(parts ...[2]string) *http.Response {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString("--api\r\nContent-Type: application/http\r\n")
		if part[0] != "" {
			b.WriteString("Content-ID: " + part[0] + "\r\n")
		}
		b.WriteString("\r\n" + part[1] + "\r\n")
	}
	return answer(http.StatusOK, "multipart/mixed; boundary=api", b.String()+"--api--\r\n")
}

const refusedPart = "HTTP/1.1 400 Bad Request\r\nBellhop-Error: InvalidRequest\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n{\"error\":\"InvalidRequest\"}"

func TestRefusedPartsAreAnsweredInTheirPlaces(t *testing.T) {
	const foreign = "GET https://evil.example/\r\n\r\n"
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	read := func(text string) *Envelope {
		e, err := readGoogle(text, options(google))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	responses := func(parts ...[2]string) string {
		resp := answers(parts...)
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(body), "--api", "--b")
	}
	batch := mixed(foreign, "GET /x\r\n\r\n", foreign, "GET /y\r\n\r\n", foreign)
	for _, c := range []struct {
		name, batch string
		from, want  [][2]string
	}{
		{
			"in order", batch,
			[][2]string{{"<response-2>", ok}, {"<response-4>", ok}},
			[][2]string{{"<response-1>", refusedPart}, {"<response-2>", ok}, {"<response-3>", refusedPart}, {"<response-4>", ok}, {"<response-5>", refusedPart}},
		},
		{
			"without IDs in the answer", batch,
			[][2]string{{"", ok}, {"", ok}},
			[][2]string{{"<response-1>", refusedPart}, {"", ok}, {"<response-3>", refusedPart}, {"", ok}, {"<response-5>", refusedPart}},
		},
		{
			"an answer is missing", batch,
			[][2]string{{"<response-2>", ok}},
			[][2]string{{"<response-1>", refusedPart}, {"<response-2>", ok}, {"<response-3>", refusedPart}, {"<response-5>", refusedPart}},
		},
		{
			"an answer too many", batch,
			[][2]string{{"<response-2>", ok}, {"<response-4>", ok}, {"<response-6>", ok}},
			[][2]string{{"<response-1>", refusedPart}, {"<response-2>", ok}, {"<response-3>", refusedPart}, {"<response-4>", ok}, {"<response-5>", refusedPart}, {"<response-6>", ok}},
		},
		{
			"IDs without brackets, and none", strings.Replace(strings.NewReplacer("<1>", "1", "<2>", "2").Replace(mixed(foreign, "GET /x\r\n\r\n", foreign)), "Content-ID: <3>\r\n", "", 1),
			[][2]string{{"response-2", ok}},
			[][2]string{{"response-1", refusedPart}, {"response-2", ok}, {"", refusedPart}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(responses(c.want...), answered(t, read(c.batch), answers(c.from...))); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("nothing is sent", func(t *testing.T) {
		e := read(mixed(foreign, foreign))
		if !e.Empty() {
			t.Fatal("something is sent")
		}
		status, contentType, body := e.Answer()
		if status != http.StatusOK {
			t.Fatal(status)
		}
		if diff := cmp.Diff(responses([2]string{"<response-1>", refusedPart}, [2]string{"<response-2>", refusedPart}), unbound(t, contentType, string(body))); diff != "" {
			t.Error(diff)
		}
	})
}

func TestPartsOfAGoogleAnswerAreReadAsTheyCome(t *testing.T) {
	for _, c := range []struct{ name, from, want string }{
		{
			"header", "HTTP/1.1 201 Created\r\nSet-Cookie: a=b\r\nX-Other: c\r\nContent-Length: 1\r\n\r\n1",
			"HTTP/1.1 201 Created\r\nLocation: /x 201\r\nX-Other: c\r\nContent-Length: 1\r\n\r\n1",
		},
		{
			"no body", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 204 No Content\r\nLocation: /x 204\r\nContent-Length: 0\r\n\r\n",
		},
		{
			"no body and no length", "HTTP/1.1 204 No Content\r\n\r\n\r\n",
			"HTTP/1.1 204 No Content\r\nLocation: /x 204\r\n\r\n",
		},
		{
			"no length", "HTTP/1.1 404 Not Found\r\n\r\n{}",
			"HTTP/1.1 404 Not Found\r\nLocation: /x 404\r\nContent-Length: 2\r\n\r\n{}",
		},
		{"length of a body that is not there", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", ""},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n1", "HTTP/1.1 200 OK\r\nLocation: /x 200\r\nContent-Length: 1\r\n\r\n1"},
		{"no status", "HTTP/1.1 OK\r\n\r\n", ""},
		{"no answer", "hello", ""},
		{"nothing", "", ""},
		{"malformed header", "HTTP/1.1 200 OK\r\nA\r\n\r\n", ""},
		{"carriage return", "HTTP/1.1 200\rOK\r\n\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := readGoogle(mixed("GET /x\r\n\r\n"), options(google))
			if err != nil {
				t.Fatal(err)
			}
			resp := answers([2]string{"<response-1>", c.from})
			err = e.Response(resp, nil, nil, func(q *target.Request, status int, h http.Header) {
				h.Set("Location", fmt.Sprint(q.Path, " ", status))
			})
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			if want == "" {
				want = c.from // as it came
			}
			want = "--b\r\nContent-Type: application/http\r\nContent-ID: <response-1>\r\n\r\n" + want + "\r\n--b--\r\n"
			if diff := cmp.Diff(want, unbound(t, resp.Header.Get("Content-Type"), string(body))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGoogleAnswerThatIsNoneToABatch(t *testing.T) {
	whole := mixed("GET /x\r\n\r\n")
	some := mixed("GET https://evil.example/\r\n\r\n", "GET /x\r\n\r\n")
	for _, c := range []struct {
		name, batch string
		resp        *http.Response
		change      func(http.Header)
		ok          bool
	}{
		{"error", some, answer(http.StatusUnauthorized, "application/json", "{}"), nil, true},
		{"JSON", whole, answer(http.StatusOK, "application/json", "{}"), nil, true},
		{"JSON, and there is something to add", some, answer(http.StatusOK, "application/json", "{}"), nil, false},
		{"no boundary", some, answer(http.StatusOK, "multipart/mixed", "{}"), nil, false},
		{"coded", whole, answer(http.StatusOK, "multipart/mixed; boundary=b", "x"), func(h http.Header) { h.Set("Content-Encoding", "gzip") }, true},
		{"coded, and there is something to add", some, answer(http.StatusOK, "multipart/mixed; boundary=b", "x"), func(h http.Header) { h.Set("Content-Encoding", "gzip") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := readGoogle(c.batch, options(google))
			if err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(c.resp.Header)
			}
			before, length := c.resp.Header.Clone(), c.resp.ContentLength
			err = e.Response(c.resp, nil, nil, nil)
			if !c.ok {
				if problem.From(err).Code != problem.UpstreamError {
					t.Error(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(c.resp.Body)
			if err != nil || int64(len(body)) != length || !cmp.Equal(before, c.resp.Header) {
				t.Errorf("%s, %v, %v", body, c.resp.Header, err)
			}
		})
	}
}

func TestGoogleAnswerThatBreaksOffIsAnError(t *testing.T) {
	e, err := readGoogle(mixed("GET /x\r\n\r\n"), options(google))
	if err != nil {
		t.Fatal(err)
	}
	resp := answer(http.StatusOK, "multipart/mixed; boundary=api", "--api\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{")
	if err := e.Response(resp, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%s, %v", body, err)
	}
}

func TestLinksInAGoogleAnswerAreRewritten(t *testing.T) {
	e, err := readGoogle(mixed("GET /x\r\n\r\n", "GET https://evil.example/\r\n\r\n", "GET /y\r\n\r\n"), options(google))
	if err != nil {
		t.Fatal(err)
	}
	const before = `{"nextLink": "https://api/1", "n":1e400}`
	part := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(before), before)
	resp := answers([2]string{"<response-3>", part}, [2]string{"<response-1>", part})
	rules := func(q *target.Request) *rewrite.Rules {
		return &rewrite.Rules{Members: []rewrite.Member{{Name: "nextLink", Kind: rewrite.Link, Places: rewrite.Top}}}
	}
	replace := func(q *target.Request) rewrite.Func {
		return func(f rewrite.Found) (string, bool) { return "https://longer.example" + q.Path + "?" + f.URL, true }
	}
	if err := e.Response(resp, rules, replace, nil); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := unbound(t, resp.Header.Get("Content-Type"), string(body))
	for _, path := range []string{"/x", "/y"} {
		after := `{"nextLink": "https://longer.example` + path + `?https://api/1", "n":1e400}`
		if !strings.Contains(got, fmt.Sprintf("Content-Length: %d\r\n\r\n%s\r\n", len(after), after)) {
			t.Errorf("%s: %s", path, got)
		}
	}
}
