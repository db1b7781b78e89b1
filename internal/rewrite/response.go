package rewrite

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Response rewrites the body of an API's answer in place, if rules is not nil:
// one of status 2xx but 204 and 206, whose media type is JSON (application/json
// or a +json), and whose content codings are known: up to three of gzip,
// deflate, br and zstd, which are taken off and applied again.
//
// The body streams, and what the API flushes passes at once. Where the header
// tells a length, an entity tag or a digest, up to 64 KiB are held back: if the
// body ends within them, and nothing in it is replaced, it passes as it came.
// In any other case the length is corrected or dropped, a strong entity tag
// becomes weak (RFC 9110 section 8.8.1), and digests are dropped. An answer to
// HEAD has its header changed as if its body were longer than that.
//
// A coded body that is corrupt or ends too early is an error of Read. The error
// of Response says that nothing could be read of a body that is held back:
// another answer may still be given in its stead.
func Response(resp *http.Response, rules *Rules, replace Func) error {
	if rules == nil || !rewritable(resp) {
		return nil
	}
	codings, ok := contentCodings(resp.Header)
	if !ok {
		return nil
	}
	if resp.Request != nil && resp.Request.Method == http.MethodHead {
		dropValidity(resp)
		return nil
	}
	if resp.Body == nil || resp.Body == http.NoBody {
		return nil
	}
	b := newBody(resp, codings, rules, replace)
	resp.Body = b
	if !hasValidity(resp) {
		return nil
	}
	if resp.ContentLength <= maxHeld {
		whole, err := b.hold()
		if err != nil {
			return fmt.Errorf("reading an answer: %w", err)
		}
		if whole {
			if b.rewriter.replaced > 0 {
				correctLength(resp, len(b.held))
			}
			return nil
		}
	}
	b.changed = true
	dropValidity(resp)
	return nil
}

func rewritable(resp *http.Response) bool {
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
	case resp.StatusCode == http.StatusNoContent, resp.StatusCode == http.StatusPartialContent:
	case len(resp.Header["Content-Range"]) > 0:
	default:
		return IsJSON(resp.Header)
	}
	return false
}

// IsJSON reports whether a message's media type is JSON: application/json, or one
// with the suffix +json (RFC 6839 section 3.1).
func IsJSON(h http.Header) bool {
	contentType := h["Content-Type"]
	if len(contentType) != 1 {
		return false
	}
	media, _, _ := strings.Cut(contentType[0], ";")
	media = strings.ToLower(strings.Trim(media, " \t"))
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

// hasValidity reports whether the header tells something that holds for the
// body as it came only.
func hasValidity(resp *http.Response) bool {
	if resp.ContentLength >= 0 || len(resp.Header["Content-Length"]) > 0 || len(resp.Header["Etag"]) > 0 {
		return true
	}
	for _, h := range []http.Header{resp.Header, resp.Trailer} {
		for name := range h {
			if isDigest(name) {
				return true
			}
		}
	}
	return false
}

// isDigest reports whether a field, by its canonical name, describes the bytes
// of a body: RFC 1864, RFC 3230, RFC 9530, and Google's own.
func isDigest(name string) bool {
	switch name {
	case "Content-Md5", "Digest", "Repr-Digest", "Content-Digest", "X-Goog-Hash":
		return true
	}
	return strings.HasPrefix(name, "X-Goog-Stored-Content-")
}

// DropDigests takes out of a header what describes the bytes of a body that is
// another now.
func DropDigests(h http.Header) {
	for name := range h {
		if isDigest(name) {
			delete(h, name)
		}
	}
}

// dropValidity changes the header for a body that differs from the one that
// came, by a length that is not known.
func dropValidity(resp *http.Response) {
	delete(resp.Header, "Content-Length")
	resp.ContentLength = -1
	weaken(resp)
}

// correctLength changes the header for a body that differs from the one that
// came.
func correctLength(resp *http.Response, length int) {
	if resp.ContentLength >= 0 || len(resp.Header["Content-Length"]) > 0 {
		resp.Header["Content-Length"] = []string{strconv.Itoa(length)}
		resp.ContentLength = int64(length)
	}
	weaken(resp)
}

// weaken says that the body means the same as the one that came, but is another.
func weaken(resp *http.Response) {
	DropDigests(resp.Header)
	DropDigests(resp.Trailer)
	tags := resp.Header["Etag"]
	if len(tags) == 0 {
		return
	}
	weak := make([]string, len(tags))
	for i, tag := range tags {
		if weak[i] = tag; strings.HasPrefix(tag, `"`) {
			weak[i] = "W/" + tag
		}
	}
	resp.Header["Etag"] = weak
}
