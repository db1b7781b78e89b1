package fakeprovider

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// outlookHost is where large attachments are uploaded to.
	outlookHost = "outlook.office.com"

	graphSessionLife = 24 * time.Hour

	// driveFragment is what all fragments but the last must be a multiple of,
	// 320 KiB; maxDriveFragment is less than 60 MiB.
	driveFragment    = 320 << 10
	maxDriveFragment = 60 << 20

	// Attachments of upload sessions are larger than 3 MB and at most 150 MB,
	// in fragments of at most 4 MiB.
	minAttachment         = 3 << 20
	maxAttachment         = 150 << 20
	maxAttachmentFragment = 4 << 20
)

// createUploadSession answers with a URL to upload a file to.
func (s *Server) createUploadSession(w http.ResponseWriter, r *http.Request, who caller, old *file, name string) {
	var body struct {
		Item struct {
			Name     string `json:"name"`
			Conflict string `json:"@microsoft.graph.conflictBehavior"`
		} `json:"item"`
		DeferCommit bool `json:"deferCommit"`
	}
	if r.ContentLength != 0 && !readGraphJSON(w, r, &body) {
		return
	}
	switch body.Item.Conflict {
	case "", "replace":
	case "rename":
		old = nil
	case "fail":
		if old != nil {
			graphError(w, r, http.StatusConflict, "nameAlreadyExists", "An item with the same name already exists under the parent.")
			return
		}
	default:
		badGraph(w, r, "The conflictBehavior must be fail, replace or rename.")
		return
	}
	if body.DeferCommit {
		badGraph(w, r, "deferCommit is not supported.")
		return
	}
	if body.Item.Name != "" {
		name = name[:strings.LastIndex(name, "/")+1] + body.Item.Name
	}
	path := r.URL.Path
	opened := s.openSession(who.grant, "/_api/v2.0/drive/items/01FAKEDRIVEROOT/uploadSession", -1, graphSessionLife,
		func(w http.ResponseWriter, r *http.Request, c content) {
			s.answerItem(w, r, who, old, file{File: File{Name: name, Path: path}, content: c})
		})
	graphJSON(w, s.uploadAnswer(opened, "https://"+sharePointHost+opened.path+"?guid='"+randomUUID()+
		"'&path='"+url.QueryEscape(name)+"'&overwrite=True&rename=False&dc=0&tempauth="+opened.id))
}

func (s *Server) uploadAnswer(opened *session, uploadURL string) map[string]any {
	answer := opened.graphProgress(true)
	answer["@odata.context"] = "https://" + graphHost + "/v1.0/$metadata#microsoft.graph.uploadSession"
	answer["uploadUrl"] = uploadURL
	return answer
}

// graphSession serves upload URLs. What is left to send is told with its end, or
// with its beginning alone; take takes a fragment, with the session locked.
func (s *Server) graphSession(end bool, take func(*session, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		found := s.findSession(secretOf(r), r.URL.Path)
		if found == nil {
			itemNotFound(w, r)
			return
		}
		found.mu.Lock()
		defer found.mu.Unlock()
		switch {
		case found.over:
			itemNotFound(w, r)
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			graphJSON(w, found.graphProgress(end))
		case r.Method == http.MethodDelete:
			found.over = true
			w.WriteHeader(http.StatusNoContent)
		case r.Method != http.MethodPut:
			notFound(w, r, caller{})
		default:
			take(found, w, r)
		}
	}
}

// takeDrive takes a fragment in OneDrive's manner. The caller holds mu.
func (x *session) takeDrive(w http.ResponseWriter, r *http.Request) {
	piece, ok := x.graphPiece(w, r, maxDriveFragment)
	if !ok {
		return
	}
	if piece.last+1 != x.total && piece.length()%driveFragment != 0 {
		badGraph(w, r, "The length of a fragment but the last must be a multiple of 320 KiB.")
		return
	}
	if err := x.intake.receive(r.Body, piece.length(), driveFragment); err != nil {
		badGraph(w, r, "The fragment broke off or is too long: "+err.Error())
		return
	}
	if x.whole() {
		x.finish(w, r)
		x.over = true
		return
	}
	graphHeader(w)
	w.WriteHeader(http.StatusAccepted)
	encodeJSON(w, x.graphProgress(true))
}

// graphPiece reads which bytes a fragment brings, which must be the next. It
// answers if they are not. The caller holds mu.
func (x *session) graphPiece(w http.ResponseWriter, r *http.Request, most int64) (piece contentRange, ok bool) {
	values := r.Header.Values("Content-Range")
	if len(values) == 1 {
		piece, ok = parseContentRange(values[0])
	}
	switch {
	case !ok || piece.first < 0 || piece.total < 0:
		badGraph(w, r, "The Content-Range header is missing or malformed.")
	case r.ContentLength >= 0 && r.ContentLength != piece.length():
		badGraph(w, r, "The Content-Length does not fit to the Content-Range.")
	case x.total >= 0 && piece.total != x.total:
		badGraph(w, r, "The total size differs from that of the fragments before.")
	case piece.length() > most:
		graphError(w, r, http.StatusRequestEntityTooLarge, "fragmentTooLarge", "The fragment is too large.")
	case piece.first != x.intake.size:
		graphError(w, r, http.StatusRequestedRangeNotSatisfiable, "invalidRange", "The fragment is not the one that is expected next.")
	default:
		x.total = piece.total
		return piece, true
	}
	return piece, false
}

// graphAttachmentSession answers with a URL to upload an attachment to.
func (s *Server) graphAttachmentSession(w http.ResponseWriter, r *http.Request, who caller) {
	var body struct {
		Item struct {
			Type string `json:"attachmentType"`
			Name string `json:"name"`
			Size int64  `json:"size"`
			MIME string `json:"contentType"`
		} `json:"AttachmentItem"`
	}
	m, found := s.findMessage(who.grant, r.PathValue("id"))
	if !found || strings.TrimPrefix(r.PathValue("action"), "microsoft.graph.") != "createUploadSession" {
		notFound(w, r, who)
		return
	}
	if !readGraphJSON(w, r, &body) {
		return
	}
	item := body.Item
	switch {
	case item.Type != "file" || item.Name == "":
		graphError(w, r, http.StatusBadRequest, "ErrorInvalidArgument", "AttachmentItem needs attachmentType file, a name and a size.")
		return
	case item.Size < minAttachment:
		graphError(w, r, http.StatusBadRequest, "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize", "Attachment size must be greater than the minimum size of 3 MB.")
		return
	case item.Size > maxAttachment:
		graphError(w, r, http.StatusBadRequest, "ErrorAttachmentSizeLimitExceeded", "Attachment size must be at most 150 MB.")
		return
	}
	at := "/api/v2.0/Users('" + who.grant.Subject + "')/Messages('" + m.id + "')/"
	path := r.URL.Path
	opened := s.openSession(who.grant, at+"AttachmentSessions('AAMkSession')", item.Size, graphSessionLife,
		func(w http.ResponseWriter, _ *http.Request, c content) {
			s.saveUpload(who.grant, file{File: File{Name: item.Name, MIMEType: item.MIME, Path: path}, content: c})
			w.Header().Set("Location", "https://"+outlookHost+at+"Attachments('AAMkAttachment')")
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusCreated)
		})
	graphHeader(w)
	w.WriteHeader(http.StatusCreated)
	encodeJSON(w, s.uploadAnswer(opened, "https://"+outlookHost+opened.path+"?authtoken="+opened.id))
}

// takeAttachment takes a fragment in Outlook's manner. The caller holds mu.
func (x *session) takeAttachment(w http.ResponseWriter, r *http.Request) {
	piece, ok := x.graphPiece(w, r, maxAttachmentFragment)
	if !ok {
		return
	}
	if err := x.intake.receive(r.Body, piece.length(), driveFragment); err != nil {
		badGraph(w, r, "The fragment broke off or is too long: "+err.Error())
		return
	}
	if x.whole() {
		x.finish(w, r)
		x.over = true
		return
	}
	graphJSON(w, x.graphProgress(false))
}
