package fakeprovider

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// googleChunk is what all pieces of an upload but the last must be a multiple
// of.
const googleChunk = 256 << 10

// googleSessionLife is how long an upload can be resumed.
const googleSessionLife = 7 * 24 * time.Hour

// maxMetadata is how much JSON may come along with an upload.
const maxMetadata = 1 << 20

// uploadTarget judges an upload by its metadata, which may be empty, and its
// media type, which may be too. It answers and returns nil if it refuses.
type uploadTarget func(w http.ResponseWriter, r *http.Request, who caller, metadata []byte, mimeType string) commit

func badUpload(w http.ResponseWriter, text string) {
	googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "badRequest", text)
}

// googleUpload serves an upload URI of Google's: what begins an upload with
// method, whole or resumable, and what goes on with one.
func (s *Server) googleUpload(method string, target uploadTarget) apiHandler {
	return func(w http.ResponseWriter, r *http.Request, who caller) {
		query := r.URL.Query()
		if query.Has("upload_id") {
			s.continueUpload(w, r, who)
			return
		}
		if r.Method != method {
			notFound(w, r, who)
			return
		}
		switch query.Get("uploadType") {
		case "media":
			mediaUpload(w, r, who, target)
		case "multipart":
			multipartUpload(w, r, who, target)
		case "resumable":
			s.beginUpload(w, r, who, target)
		default:
			badUpload(w, "uploadType must be media, multipart or resumable")
		}
	}
}

func mediaUpload(w http.ResponseWriter, r *http.Request, who caller, target uploadTarget) {
	mimeType := r.Header.Get("Content-Type")
	if mimeType == "" {
		badUpload(w, "Content-Type is missing")
		return
	}
	done := target(w, r, who, nil, mimeType)
	if done == nil {
		return
	}
	in := newIntake()
	if _, err := io.Copy(in, r.Body); err != nil {
		badUpload(w, "The body broke off")
		return
	}
	done(w, r, in.finish())
}

// multipartUpload reads multipart/related (RFC 2387) of exactly two parts, the
// metadata as JSON and the media.
func multipartUpload(w http.ResponseWriter, r *http.Request, who caller, target uploadTarget) {
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/related" || parameters["boundary"] == "" {
		badUpload(w, "Content-Type must be multipart/related with a boundary")
		return
	}
	parts := multipart.NewReader(r.Body, parameters["boundary"])
	part, err := parts.NextRawPart()
	if err != nil || !isJSON(part.Header.Get("Content-Type")) {
		badUpload(w, "The first part must be metadata as application/json")
		return
	}
	metadata, err := io.ReadAll(io.LimitReader(part, maxMetadata+1))
	if err != nil || len(metadata) > maxMetadata {
		badUpload(w, "The metadata broke off or is too long")
		return
	}
	if part, err = parts.NextRawPart(); err != nil {
		badUpload(w, "The media part is missing")
		return
	}
	done := target(w, r, who, metadata, part.Header.Get("Content-Type"))
	if done == nil {
		return
	}
	in := newIntake()
	if _, err := io.Copy(in, part); err != nil {
		badUpload(w, "The media part broke off")
		return
	}
	if _, err := parts.NextRawPart(); !errors.Is(err, io.EOF) {
		badUpload(w, "There must be two parts")
		return
	}
	done(w, r, in.finish())
}

func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/json"
}

// beginUpload opens a session and answers where it is.
func (s *Server) beginUpload(w http.ResponseWriter, r *http.Request, who caller, target uploadTarget) {
	metadata, err := io.ReadAll(io.LimitReader(r.Body, maxMetadata+1))
	if err != nil || len(metadata) > maxMetadata || len(metadata) > 0 && !isJSON(r.Header.Get("Content-Type")) {
		badUpload(w, "The body of a request that begins an upload is metadata as application/json, or empty")
		return
	}
	total := int64(-1)
	if declared := r.Header.Get("X-Upload-Content-Length"); declared != "" {
		if total, err = strconv.ParseInt(declared, 10, 64); err != nil || total < 0 {
			badUpload(w, "X-Upload-Content-Length is invalid")
			return
		}
	}
	done := target(w, r, who, metadata, r.Header.Get("X-Upload-Content-Type"))
	if done == nil {
		return
	}
	opened := s.openSession(who.grant, r.URL.Path, total, googleSessionLife, done)
	w.Header().Set("Location", origin(r)+r.URL.EscapedPath()+"?"+r.URL.RawQuery+"&upload_id="+opened.id)
	w.Header().Set("X-Guploader-Uploadid", opened.id)
	w.Header().Set("Content-Length", "0")
}

// origin is where the caller would have reached the API itself: under its name
// over TLS, however the request came here, or at our address if it used that.
func origin(r *http.Request) string {
	if addressedByIP(r) {
		return baseURL(r)
	}
	return "https://" + r.Host
}

// continueUpload takes a piece of an upload, or tells how far it is. Google
// wants the token here too, and takes POST for PUT.
func (s *Server) continueUpload(w http.ResponseWriter, r *http.Request, who caller) {
	query := r.URL.Query()
	found := s.findSession(query.Get("upload_id"), r.URL.Path)
	if found == nil || found.grant != who.grant || query.Get("uploadType") != "resumable" {
		googleError(w, http.StatusNotFound, "NOT_FOUND", "notFound", "The upload session does not exist or has expired")
		return
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	w.Header().Set("X-Guploader-Uploadid", found.id)
	switch {
	case found.over || r.Method == http.MethodDelete:
		found.over = true
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(499)
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		found.takeGoogle(w, r)
	default:
		notFound(w, r, who)
	}
}

// takeGoogle takes a piece in Google's manner. The caller holds mu.
func (x *session) takeGoogle(w http.ResponseWriter, r *http.Request) {
	piece, ok := x.googlePiece(r)
	switch {
	case !ok:
		badUpload(w, "Invalid Content-Range")
		return
	case piece.total >= 0 && (x.total >= 0 && piece.total != x.total || piece.total < x.intake.size):
		badUpload(w, "The length differs from what was declared before")
		return
	case r.ContentLength >= 0 && r.ContentLength != piece.length():
		badUpload(w, "The Content-Length does not fit to the Content-Range")
		return
	case piece.first > x.intake.size:
		badUpload(w, "The chunk does not begin where the last one ended")
		return
	}
	if piece.total >= 0 {
		x.total = piece.total
	}
	if piece.first < 0 || x.answer != nil {
		x.tellGoogle(w, r)
		return
	}
	if piece.last+1 != x.total && (piece.last+1)%googleChunk != 0 {
		badUpload(w, "The length of a chunk but the last must be a multiple of 256 KiB")
		return
	}
	// What is here already is sent again by who did not hear the answer.
	overlap := min(x.intake.size-piece.first, piece.length())
	if _, err := io.CopyN(io.Discard, r.Body, overlap); err != nil {
		badUpload(w, "The chunk broke off")
		return
	}
	if err := x.intake.receive(r.Body, piece.length()-overlap, googleChunk); err != nil {
		badUpload(w, "The chunk broke off or is too long: "+err.Error())
		return
	}
	x.tellGoogle(w, r)
}

// googlePiece reads which bytes a request brings. Without a Content-Range they
// are all.
func (x *session) googlePiece(r *http.Request) (piece contentRange, ok bool) {
	values := r.Header.Values("Content-Range")
	switch {
	case len(values) == 1:
		return parseContentRange(values[0])
	case len(values) > 1 || r.ContentLength < 0:
		return contentRange{}, false
	}
	return contentRange{first: 0, last: r.ContentLength - 1, total: r.ContentLength}, true
}

// tellGoogle answers with what was made of the upload, or 308 and how far it
// is; as 200 for clients that take a 308 for a redirect. The caller holds mu.
func (x *session) tellGoogle(w http.ResponseWriter, r *http.Request) {
	if x.whole() {
		x.finish(w, r)
		return
	}
	if x.intake.size > 0 {
		w.Header().Set("Range", "bytes=0-"+strconv.FormatInt(x.intake.size-1, 10))
	}
	w.Header().Set("Content-Length", "0")
	if strings.EqualFold(r.Header.Get("X-Guploader-No-308"), "yes") {
		w.Header().Set("X-Http-Status-Code-Override", "308")
		return
	}
	w.WriteHeader(http.StatusPermanentRedirect)
}
