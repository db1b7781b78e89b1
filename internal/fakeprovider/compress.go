package fakeprovider

import (
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// gzipped compresses answers in JSON, and lets all others through.
type gzipped struct {
	http.ResponseWriter
	began bool
	body  *gzip.Writer // nil for an answer that is let through
}

// compressed serves by next, in gzip if the settings and the request want it.
func (s *Server) compressed(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if !acceptsGzip(r.Header) || r.Method == http.MethodHead || !s.Settings().Compress {
		next.ServeHTTP(w, r)
		return
	}
	g := &gzipped{ResponseWriter: w}
	next.ServeHTTP(g, r)
	if g.body != nil {
		_ = g.body.Close() // the client may have left
	}
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3) as far as a
// refusal by a weight of 0.
func acceptsGzip(h http.Header) bool {
	for coding := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			return strings.TrimRight(strings.ReplaceAll(weight, " ", ""), ".0") != "q="
		}
	}
	return false
}

// WriteHeader implements [http.ResponseWriter].
func (g *gzipped) WriteHeader(status int) {
	h := g.Header()
	if !g.began && strings.HasPrefix(h.Get("Content-Type"), "application/json") && h.Get("Content-Encoding") == "" {
		h.Set("Content-Encoding", "gzip")
		h.Del("Content-Length")
		g.body = gzip.NewWriter(g.ResponseWriter)
	}
	g.began = true
	g.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (g *gzipped) Write(p []byte) (int, error) {
	if !g.began {
		g.WriteHeader(http.StatusOK)
	}
	if g.body != nil {
		return g.body.Write(p)
	}
	return g.ResponseWriter.Write(p)
}

// FlushError is for [http.ResponseController].
func (g *gzipped) FlushError() error {
	var err error
	if g.body != nil {
		err = g.body.Flush()
	}
	return cmp.Or(err, http.NewResponseController(g.ResponseWriter).Flush())
}

// inflate undoes the coding of a request's body. Google's clients for Java and
// .NET compress their JSON.
func inflate(r *http.Request) error {
	if !strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		return nil
	}
	plain, err := gzip.NewReader(r.Body)
	if err != nil {
		return fmt.Errorf("reading body: %w", err)
	}
	r.Body, r.ContentLength = inflated{plain, r.Body}, -1
	return nil
}

// inflated is a body that is read through gzip.
type inflated struct {
	io.Reader
	io.Closer
}
