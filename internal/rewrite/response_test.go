package rewrite

import (
	"bytes"
	order "cmp"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

const (
	page      = `{"@odata.nextLink":"u","value":[]}`
	rewritten = `{"@odata.nextLink":"<1 @odata.nextLink u >","value":[]}`
	nothingIn = `{"displayName":"Adele","id":"1"}`
)

// answer is an API's answer without announced length.
func answer(body string, header ...string) *http.Response {
	resp := &http.Response{
		StatusCode:    http.StatusOK,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: -1,
	}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

// withLength announces the length.
func withLength(body string, header ...string) *http.Response {
	resp := answer(body, header...)
	resp.ContentLength = int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return resp
}

func respond(t *testing.T, resp *http.Response) {
	t.Helper()
	if err := Response(resp, graphRules, show); err != nil {
		t.Fatal(err)
	}
}

func readBody(t *testing.T, resp *http.Response) string {
	t.Helper()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the body: %v", err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatalf("closing the body: %v", err)
	}
	return string(out)
}

func TestOnlyWholeJSONAnswersAreRewritten(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*http.Response)
		want   bool
	}{
		{"plain", func(*http.Response) {}, true},
		{"created", func(r *http.Response) { r.StatusCode = 201 }, true},
		{"a part", func(r *http.Response) { r.StatusCode = 206 }, false},
		{"no content", func(r *http.Response) { r.StatusCode = 204 }, false},
		{"a redirect", func(r *http.Response) { r.StatusCode = 302 }, false},
		{"an error", func(r *http.Response) { r.StatusCode = 404 }, false},
		{"a range in 200", func(r *http.Response) { r.Header.Set("Content-Range", "bytes 0-1/2") }, false},
		{"parameters", func(r *http.Response) {
			r.Header.Set("Content-Type", "Application/JSON; odata.metadata=minimal;charset=utf-8")
		}, true},
		{"a suffix", func(r *http.Response) { r.Header.Set("Content-Type", "application/problem+json ;x=y") }, true},
		{"text", func(r *http.Response) { r.Header.Set("Content-Type", "text/plain") }, false},
		{"a sequence", func(r *http.Response) { r.Header.Set("Content-Type", "application/json-seq") }, false},
		{"no type", func(r *http.Response) { r.Header.Del("Content-Type") }, false},
		{"two types", func(r *http.Response) { r.Header.Add("Content-Type", "text/html") }, false},
		{"an unknown coding", func(r *http.Response) { r.Header.Set("Content-Encoding", "compress") }, false},
		{"an unknown coding among others", func(r *http.Response) { r.Header.Set("Content-Encoding", "identity, aes128gcm") }, false},
		{"too many codings", func(r *http.Response) { r.Header.Set("Content-Encoding", "gzip,gzip,gzip,gzip") }, false},
		{"no coding", func(r *http.Response) { r.Header.Set("Content-Encoding", "identity, ,Identity") }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp := withLength(page, "ETag", `"e"`, "Digest", "sha-256=x")
			tc.change(resp)
			before := resp.Header.Clone()
			respond(t, resp)
			got := readBody(t, resp)
			if tc.want != (got == rewritten) || !tc.want && got != page {
				t.Errorf("body is %s", got)
			}
			if same := cmp.Equal(before, resp.Header); same == tc.want {
				t.Errorf("header is %v", resp.Header)
			}
		})
	}
}

func TestWithoutRulesNothingIsTouched(t *testing.T) {
	resp := withLength(page)
	body := resp.Body
	if err := Response(resp, nil, show); err != nil {
		t.Fatal(err)
	}
	if resp.Body != body || readBody(t, resp) != page {
		t.Error("the body was touched")
	}
}

func TestHeaderOfAnAnswer(t *testing.T) {
	long := `{"p":"` + strings.Repeat("p", maxHeld) + `","@odata.nextLink":"u"}`
	digests := []string{"Content-MD5", "x", "Digest", "x", "Repr-Digest", "x", "Content-Digest", "x", "X-Goog-Hash", "x", "X-Goog-Stored-Content-Length", "9", "X-Goog-Stored-Content-Encoding", "identity"}
	for _, tc := range []struct {
		name string
		resp *http.Response
		want map[string]string // beside the media type
		body string            // empty: longer than what is held back
	}{
		{"nothing replaced", withLength(nothingIn, append(digests, "ETag", `"e"`)...), map[string]string{
			"Content-Length": "32", "Etag": `"e"`, "Content-Md5": "x", "Digest": "x", "Repr-Digest": "x", "Content-Digest": "x",
			"X-Goog-Hash": "x", "X-Goog-Stored-Content-Length": "9", "X-Goog-Stored-Content-Encoding": "identity",
		}, nothingIn},
		{"a length", withLength(page), map[string]string{"Content-Length": strconv.Itoa(len(rewritten))}, rewritten},
		{"a strong tag", answer(page, "ETag", `"e"`), map[string]string{"Etag": `W/"e"`}, rewritten},
		{"a weak tag", answer(page, "ETag", `W/"e"`), map[string]string{"Etag": `W/"e"`}, rewritten},
		{"digests", answer(page, digests...), map[string]string{}, rewritten},
		{"nothing of these", answer(page, "Last-Modified", "x"), map[string]string{"Last-Modified": "x"}, rewritten},
		{"a long body", withLength(long, "ETag", `"e"`, "Digest", "x"), map[string]string{"Etag": `W/"e"`}, ""},
		{"a long body without length", answer(long, "ETag", `"e"`, "Digest", "x"), map[string]string{"Etag": `W/"e"`}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			respond(t, tc.resp)
			got := make(map[string]string)
			for name, values := range tc.resp.Header {
				got[name] = strings.Join(values, ", ")
			}
			delete(got, "Content-Type")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error("header (-want +got):\n", diff)
			}
			length := int64(-1)
			if text, ok := got["Content-Length"]; ok {
				length, _ = strconv.ParseInt(text, 10, 64)
			}
			if tc.resp.ContentLength != length {
				t.Errorf("ContentLength is %d, want %d", tc.resp.ContentLength, length)
			}
			body := readBody(t, tc.resp)
			if want := order.Or(tc.body, strings.Replace(long, `"u"`, `"<1 @odata.nextLink u >"`, 1)); body != want {
				t.Errorf("body of %d bytes is not as wanted", len(body))
			}
		})
	}
}

func TestHeadChangesTheHeaderOnly(t *testing.T) {
	resp := answer("", "Content-Length", "12", "ETag", `"e"`, "Digest", "x")
	resp.ContentLength = 12
	resp.Body = http.NoBody
	resp.Request = httptest.NewRequest(http.MethodHead, "/", nil)
	respond(t, resp)
	want := http.Header{"Content-Type": {"application/json"}, "Etag": {`W/"e"`}}
	if diff := cmp.Diff(want, resp.Header); diff != "" {
		t.Error("header (-want +got):\n", diff)
	}
	if resp.Body != http.NoBody || resp.ContentLength != -1 {
		t.Errorf("body is %v, of length %d", resp.Body, resp.ContentLength)
	}
}

// stdEncode applies codings with encoders that are set otherwise than those of
// the package; the standard library's where it has them.
func stdEncode(t testing.TB, text []byte, codings string) []byte {
	t.Helper()
	for coding := range strings.SplitSeq(codings, ",") {
		var b bytes.Buffer
		var w io.WriteCloser
		switch strings.TrimSpace(coding) {
		case "gzip", "x-gzip":
			w = gzip.NewWriter(&b)
		case "deflate":
			w = zlib.NewWriter(&b)
		case "raw":
			w, _ = flate.NewWriter(&b, 5)
		case "br":
			w = brotli.NewWriter(&b)
		case "zstd":
			w, _ = zstd.NewWriter(&b)
		default:
			continue
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		text = b.Bytes()
	}
	return text
}

// stdDecode takes the codings off.
func stdDecode(t testing.TB, r io.Reader, codings string) io.Reader {
	t.Helper()
	names := strings.Split(codings, ",")
	for _, coding := range slices.Backward(names) {
		var err error
		switch strings.TrimSpace(coding) {
		case "gzip", "x-gzip":
			r, err = gzip.NewReader(r)
		case "deflate":
			r, err = zlib.NewReader(r)
		case "raw":
			r = flate.NewReader(r)
		case "br":
			r = brotli.NewReader(r)
		case "zstd":
			r, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// codingMatrix are codings as they are applied; "raw" goes as "deflate".
var codingMatrix = []string{
	"identity", "gzip", "x-gzip", "deflate", "raw", "br", "zstd", "gzip, br", "raw,identity,gzip", "zstd, deflate, br", "deflate, raw",
}

func coded(t testing.TB, text, codings string) *http.Response {
	t.Helper()
	return answer(string(stdEncode(t, []byte(text), codings)), "Content-Encoding", strings.ReplaceAll(codings, "raw", "deflate"))
}

func TestContentCodings(t *testing.T) {
	long := string(graphList())
	for _, codings := range codingMatrix {
		for name, text := range map[string]string{"short": page, "long": long, "nothing": nothingIn} {
			want := string(referenceRewrite([]byte(text), graphRules, tell))
			for _, announced := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s %t", codings, name, announced), func(t *testing.T) {
					resp := coded(t, text, codings)
					header := resp.Header.Clone()
					if announced {
						resp.Header.Set("ETag", `"e"`)
					}
					if err := Response(resp, graphRules, tell); err != nil {
						t.Fatal(err)
					}
					decoded, err := io.ReadAll(stdDecode(t, resp.Body, codings))
					if err != nil || string(decoded) != want {
						t.Errorf("%d bytes (%v), want %d", len(decoded), err, len(want))
					}
					if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
						t.Errorf("%d bytes behind the text (%v)", len(rest), err)
					}
					resp.Header.Del("ETag")
					if diff := cmp.Diff(header, resp.Header); diff != "" {
						t.Error("header (-want +got):\n", diff)
					}
				})
			}
		}
	}
}

func TestACodedBodyWithoutMatchesPassesAsItCame(t *testing.T) {
	for _, codings := range codingMatrix {
		resp := coded(t, nothingIn, codings)
		came := string(stdEncode(t, []byte(nothingIn), codings))
		resp.Header.Set("ETag", `"e"`)
		respond(t, resp)
		if got := readBody(t, resp); got != came || resp.Header.Get("ETag") != `"e"` {
			t.Errorf("%s: %q with tag %s, want %q", codings, got, resp.Header.Get("ETag"), came)
		}
	}
}

func TestAnEmptyCodedBodyStaysEmpty(t *testing.T) {
	for _, codings := range codingMatrix {
		for _, tag := range []string{"", `"e"`} {
			resp := answer("", "Content-Encoding", strings.ReplaceAll(codings, "raw", "deflate"))
			if tag != "" {
				resp.Header.Set("ETag", tag)
			}
			respond(t, resp)
			if got := readBody(t, resp); got != "" {
				t.Errorf("%s: %q", codings, got)
			}
		}
	}
}

func TestATruncatedBodyIsAnError(t *testing.T) {
	long := string(graphList())
	for _, codings := range codingMatrix[1:] {
		for name, text := range map[string]string{"short": page, "long": long} {
			whole := string(stdEncode(t, []byte(text), codings))
			for _, header := range [][]string{nil, {"ETag", `"e"`}} {
				for at := 1; at < len(whole); at += 1 + len(whole)/50 {
					resp := answer(whole[:at], append(header, "Content-Encoding", strings.ReplaceAll(codings, "raw", "deflate"))...)
					respond(t, resp)
					if out, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatalf("%s %s: broken off at %d of %d: %d bytes and %v", name, codings, at, len(whole), len(out), err)
					}
					resp.Body.Close()
				}
			}
		}
	}
}

func TestACorruptBodyIsAnError(t *testing.T) {
	for _, codings := range []string{"gzip", "deflate", "zstd"} { // these have checksums
		whole := stdEncode(t, []byte(page), codings)
		whole[len(whole)-2] ^= 0x55
		resp := answer(string(whole), "Content-Encoding", codings)
		respond(t, resp)
		if out, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: %q without an error", codings, out)
		}
	}
}

func TestABodyThatCannotBeReadAtAllIsAnErrorOfResponse(t *testing.T) {
	broken := errors.New("broken")
	resp := withLength(page)
	resp.Body = io.NopCloser(iotest.ErrReader(broken))
	if err := Response(resp, graphRules, show); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	resp = withLength(page)
	resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(page[:20]), iotest.ErrReader(broken)))
	respond(t, resp)
	if out, err := io.ReadAll(resp.Body); string(out) != page[:20] || !errors.Is(err, broken) {
		t.Errorf("got %q and %v", out, err)
	}
	if resp.ContentLength != -1 || resp.Header.Get("Content-Length") != "" {
		t.Error("a length is announced for a body that breaks off")
	}
}

// piecewise gives one piece when it is asked to, and tells when it is read.
type piecewise struct {
	pieces chan []byte
	closed chan struct{}
	rest   []byte
}

func (p *piecewise) Read(b []byte) (int, error) {
	if len(p.rest) > 0 {
		n := copy(b, p.rest)
		p.rest = p.rest[n:]
		return n, nil
	}
	select {
	case piece, ok := <-p.pieces:
		if !ok {
			return 0, io.EOF
		}
		n := copy(b, piece)
		p.rest = piece[n:]
		return n, nil
	case <-p.closed:
		return 0, errors.New("closed")
	}
}

func (p *piecewise) Close() error {
	close(p.closed)
	return nil
}

// TestWhatTheAPIFlushesPassesAtOnce reads each event before the next is sent.
func TestWhatTheAPIFlushesPassesAtOnce(t *testing.T) {
	events := []string{`{"value":[{"a":1},` + "\n", `{"messages":[],"messages@odata.nextLink":"u"},` + "\n", `{"b":2}]}` + "\n"}
	for _, codings := range []string{"identity", "gzip", "deflate", "raw", "br", "zstd", "gzip, br"} {
		t.Run(codings, func(t *testing.T) {
			upstream := &piecewise{pieces: make(chan []byte, 1), closed: make(chan struct{})}
			resp := answer("", "Content-Encoding", strings.ReplaceAll(codings, "raw", "deflate"))
			resp.Body = upstream
			respond(t, resp)
			encode := flushing(t, codings)
			upstream.pieces <- encode(events[0], false)
			decoded := stdDecode(t, resp.Body, codings)
			for i, event := range events {
				want := strings.Replace(event, `"u"`, `"<1 messages@odata.nextLink u >"`, 1)
				got := make([]byte, len(want))
				if _, err := io.ReadFull(decoded, got); err != nil || string(got) != want {
					t.Fatalf("event %d: %q (%v)", i, got, err)
				}
				if i+1 < len(events) {
					upstream.pieces <- encode(events[i+1], i+2 == len(events))
				}
			}
			close(upstream.pieces)
			if rest, err := io.ReadAll(decoded); len(rest) > 0 || err != nil {
				t.Errorf("%q behind the last event (%v)", rest, err)
			}
			resp.Body.Close()
		})
	}
}

// flushing returns a function that gives what an encoder has for a text that it
// flushes, or that is the last.
func flushing(t *testing.T, codings string) func(text string, last bool) []byte {
	t.Helper()
	type flusher interface {
		io.WriteCloser
		Flush() error
	}
	var out bytes.Buffer
	var w io.Writer = &out
	var encoders []flusher
	names := strings.Split(codings, ",")
	for _, coding := range slices.Backward(names) {
		var f flusher
		switch strings.TrimSpace(coding) {
		case "gzip":
			f = gzip.NewWriter(w)
		case "deflate":
			f = zlib.NewWriter(w)
		case "raw":
			f, _ = flate.NewWriter(w, 5)
		case "br":
			f = brotli.NewWriter(w)
		case "zstd":
			f, _ = zstd.NewWriter(w)
		default:
			continue
		}
		encoders = append([]flusher{f}, encoders...)
		w = f
	}
	return func(text string, last bool) []byte {
		_, _ = io.WriteString(w, text)
		for _, f := range encoders {
			err := f.Flush()
			if last {
				err = f.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
		defer out.Reset()
		return bytes.Clone(out.Bytes())
	}
}

func TestCloseEndsAReadThatWaits(t *testing.T) {
	for _, codings := range []string{"identity", "gzip"} {
		upstream := &piecewise{pieces: make(chan []byte), closed: make(chan struct{})}
		resp := answer("", "Content-Encoding", codings)
		resp.Body = upstream
		respond(t, resp)
		read := make(chan error)
		go func() {
			_, err := io.ReadAll(resp.Body)
			read <- err
		}()
		upstream.pieces <- []byte{0x1f} // somebody reads
		resp.Body.Close()
		select {
		case err := <-read:
			if err == nil {
				t.Errorf("%s: the body ended without an error", codings)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: Read goes on after Close", codings)
		}
		if n, err := resp.Body.Read(make([]byte, 1)); n > 0 || err == nil || err == io.EOF {
			t.Errorf("%s: Read after Close gave %d bytes and %v", codings, n, err)
		}
	}
}

func TestABodyClosedEarlyLeavesItsBuffersInOrder(t *testing.T) {
	text := string(graphList())
	want := string(referenceRewrite([]byte(text), graphRules, show))
	for range 3 {
		for _, codings := range codingMatrix {
			resp := coded(t, text, codings)
			respond(t, resp)
			_, _ = resp.Body.Read(make([]byte, 100))
			closed := resp.Body
			closed.Close()
			resp = coded(t, text, codings)
			if err := Response(resp, graphRules, tell); err != nil {
				t.Fatal(err)
			}
			decoded := stdDecode(t, resp.Body, codings)
			_, _ = closed.Read(make([]byte, 100))
			if got, err := io.ReadAll(decoded); err != nil || len(got) < len(want) {
				t.Fatalf("%s: %d bytes and %v", codings, len(got), err)
			}
		}
	}
}

func TestEncodersAndDecodersAreGivenBackOnce(t *testing.T) {
	text := string(graphList())
	for name, use := range map[string]func(io.ReadCloser){
		"to the end": func(b io.ReadCloser) { _, _ = io.ReadAll(b) },
		"to the end and closed twice": func(b io.ReadCloser) {
			_, _ = io.ReadAll(b)
			b.Close()
			b.Close()
		},
		"closed early": func(b io.ReadCloser) {
			_, _ = b.Read(make([]byte, 10))
			b.Close()
			_, _ = b.Read(make([]byte, 10))
			b.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp := coded(t, text, "gzip, br")
			respond(t, resp)
			b := resp.Body.(*body)
			use(b)
			if b.buffer != nil || b.piece != nil || b.rewriter.window != nil || b.rewriter.scanner != nil || b.encoding.encoders != nil {
				t.Error("a buffer or an encoder is still held")
			}
			for _, d := range b.decodings {
				if d.decoder != nil {
					t.Error("a decoder is still held")
				}
			}
		})
	}
}

func TestTrailersArriveWithTheEnd(t *testing.T) {
	for _, codings := range []string{"identity", "gzip"} {
		for _, tag := range []string{"", `"e"`} {
			for _, text := range []string{page, string(graphList())} {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					w.Header().Set("Content-Encoding", codings)
					w.Header().Set("Trailer", "X-Checked, Repr-Digest")
					if tag != "" {
						w.Header().Set("ETag", tag)
					}
					w.Write(stdEncode(t, []byte(text), codings))
					w.(http.Flusher).Flush()
					w.Header().Set("X-Checked", "yes")
					w.Header().Set("Repr-Digest", "sha-256=:x:")
				}))
				resp, err := server.Client().Get(server.URL)
				if err != nil {
					t.Fatal(err)
				}
				respond(t, resp)
				readBody(t, resp)
				if got := resp.Trailer.Get("X-Checked"); got != "yes" {
					t.Errorf("%s: trailer %q", codings, got)
				}
				if slices.Contains(slices.Collect(maps.Keys(resp.Trailer)), "Repr-Digest") {
					t.Errorf("%s: the digest of another body came in the trailer", codings)
				}
				server.Close()
			}
		}
	}
}

func TestADecompressionBombCostsNoMemory(t *testing.T) {
	const size = 32 << 20
	for _, codings := range []string{"gzip", "br", "zstd", "gzip, gzip"} {
		t.Run(codings, func(t *testing.T) {
			bomb := bombs(t, codings, size)
			resp := answer(string(bomb), "Content-Encoding", codings)
			resp.Header.Set("ETag", `"e"`)
			respond(t, resp)
			if grown := heapGrowth(t, resp.Body); grown > 16<<20 {
				t.Errorf("%d KiB of memory in use", grown>>10)
			}
			resp.Body.Close()
		})
	}
}

func bombs(t *testing.T, codings string, size int) []byte {
	t.Helper()
	var out bytes.Buffer
	first, rest, _ := strings.Cut(codings, ", ")
	var w io.WriteCloser
	switch first {
	case "gzip":
		w, _ = gzip.NewWriterLevel(&out, gzip.BestSpeed)
	case "br":
		w = brotli.NewWriterLevel(&out, brotli.BestSpeed)
	case "zstd":
		w, _ = zstd.NewWriter(&out)
	}
	_, _ = io.WriteString(w, `{"x":"`)
	block := bytes.Repeat([]byte("b"), 1<<20)
	for range size >> 20 {
		_, _ = w.Write(block)
	}
	_, _ = io.WriteString(w, `"}`)
	w.Close()
	return stdEncode(t, out.Bytes(), rest)
}

func TestAZstdWindowIsBounded(t *testing.T) {
	var out bytes.Buffer
	w, _ := zstd.NewWriter(&out, zstd.WithWindowSize(16<<20))
	_, _ = w.Write(bytes.Repeat([]byte(nothingIn), 1<<20))
	w.Close()
	resp := answer(out.String(), "Content-Encoding", "zstd")
	respond(t, resp)
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, zstd.ErrWindowSizeExceeded) {
		t.Errorf("error is %v", err)
	}
}
