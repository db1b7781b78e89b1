package fakeprovider

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Echo is what /echo/ answers: the request as it arrived.
type Echo struct {
	Method string `json:"method"`
	// Target is the request target, byte for byte (RFC 9112 section 3.2).
	Target string `json:"target"`
	Proto  string `json:"proto"`
	TLS    bool   `json:"tls"`
	Host   string `json:"host"`
	// Header holds all fields, with Authorization replaced by a marker such as
	// "access token 3 of grant g1" unless the settings say otherwise.
	Header           http.Header `json:"header"`
	TransferEncoding []string    `json:"transfer_encoding,omitempty"`
	// ContentLength is as declared, -1 if it was not.
	ContentLength int64 `json:"content_length"`
	// BodyLength and BodySHA256 (hexadecimal) are of the body as received.
	BodyLength int64       `json:"body_length"`
	BodySHA256 string      `json:"body_sha256"`
	Trailer    http.Header `json:"trailer,omitempty"`
	// Grant and AccessTokenNumber say whose token it was.
	Grant             string `json:"grant"`
	AccessTokenNumber int    `json:"access_token_number"`
}

func (s *Server) echo(w http.ResponseWriter, r *http.Request, who caller) {
	digest := sha256.New()
	length, err := io.Copy(digest, r.Body)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "reading body: " + err.Error()})
		return
	}
	header := r.Header.Clone()
	if !s.Settings().EchoAuthorization {
		header.Set("Authorization", fmt.Sprintf("access token %d of grant %s", who.number, who.grant.ID))
	}
	writeJSON(w, http.StatusOK, Echo{
		Method: r.Method, Target: r.RequestURI, Proto: r.Proto, TLS: r.TLS != nil, Host: r.Host,
		Header: header, TransferEncoding: r.TransferEncoding, ContentLength: r.ContentLength,
		BodyLength: length, BodySHA256: hex.EncodeToString(digest.Sum(nil)), Trailer: r.Trailer,
		Grant: who.grant.ID, AccessTokenNumber: who.number,
	})
}

// pattern is what /bytes/ repeats.
var pattern = bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz\n"), 1024)

// endless repeats its bytes for ever.
type endless []byte

// ReadAt implements [io.ReaderAt].
func (e endless) ReadAt(p []byte, offset int64) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e[(offset+int64(n))%int64(len(e)):])
	}
	return n, nil
}

// Bytes reads the body that /bytes/{n} answers.
func Bytes(n int64) io.ReadSeeker { return io.NewSectionReader(endless(pattern), 0, n) }

// sendBytes answers n bytes, or the ranges of them that were asked for.
func sendBytes(w http.ResponseWriter, r *http.Request, _ caller) {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
	if err != nil || n < 0 {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "length is not a number"})
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, Bytes(n))
}

// sendEvents sends count server-sent events (default 10), every interval
// (default 100ms) one, or until the client leaves if count is 0.
func sendEvents(w http.ResponseWriter, r *http.Request, _ caller) {
	query := r.URL.Query()
	events, ok := count(query, "count", 10)
	interval := 100 * time.Millisecond
	var err error
	if query.Has("interval") {
		interval, err = time.ParseDuration(query.Get("interval"))
	}
	if !ok || err != nil || interval <= 0 {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "count or interval is invalid"})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		fmt.Fprintf(w, "id: %d\ndata: event %d\n\n", n, n)
		if http.NewResponseController(w).Flush() != nil || n == events {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// sentFields are the header fields of /status/ by the parameters that fill them.
var sentFields = map[string]string{
	"location": "Location", "content_location": "Content-Location", "link": "Link",
	"upload_url": "X-Goog-Upload-Url", "upload_control_url": "X-Goog-Upload-Control-Url",
	"retry_after": "Retry-After",
}

// sendStatus answers the status in the path, with header fields as the
// parameters say.
func sendStatus(w http.ResponseWriter, r *http.Request, _ caller) {
	status, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || status < 200 || status > 999 {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "status is not a final one"})
		return
	}
	query := r.URL.Query()
	for parameter, field := range sentFields {
		if query.Has(parameter) {
			w.Header().Set(field, query.Get(parameter))
		}
	}
	if status == http.StatusNoContent || status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	writeJSON(w, status, map[string]int{"status": status})
}
