package fakeprovider

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// googleHost is the host of links in Drive's answers.
const googleHost = "www.googleapis.com"

// driveFile is a file as Drive v3 shows it: all of it if fields were asked
// for, whichever they are, and four members if not.
func driveFile(r *http.Request, f *file) map[string]any {
	shown := map[string]any{"kind": "drive#file", "id": f.ID, "name": f.Name, "mimeType": f.MIMEType}
	if r.URL.Query().Has("fields") {
		shown["size"] = strconv.FormatInt(f.size, 10)
		shown["sha256Checksum"] = f.sha256
		shown["createdTime"] = f.created.Format(time.RFC3339)
		shown["webContentLink"] = "https://drive.google.com/uc?id=" + f.ID + "&export=download"
		// Other people choose these keys.
		shown["appProperties"] = map[string]string{"nextLink": "https://" + googleHost + "/drive/v3/files?theirs"}
	}
	return shown
}

// drivePage reads the parameters of a list.
func drivePage(w http.ResponseWriter, r *http.Request, size string) (skip, top int, wanted func(*file) bool, ok bool) {
	query := r.URL.Query()
	top, topOK := count(query, size, 100)
	skip, skipOK := count(query, "pageToken", 0)
	wanted, queryOK := driveQuery(query.Get("q"))
	if !topOK || !skipOK || !queryOK || top == 0 || top > 1000 {
		googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "invalid", "Invalid Value")
		return 0, 0, nil, false
	}
	return skip, top, wanted, true
}

var (
	nameTerm  = regexp.MustCompile(`^name *= *'([^'\\]*)'$`)
	otherTerm = regexp.MustCompile(`^(trashed *= *false|'root' in parents)$`)
)

// driveQuery understands as much of Drive's search terms as clients are likely
// to begin with.
func driveQuery(q string) (wanted func(*file) bool, ok bool) {
	wanted = everyFile
	if q == "" {
		return wanted, true
	}
	for term := range strings.SplitSeq(q, " and ") {
		term = strings.TrimSpace(term)
		if m := nameTerm.FindStringSubmatch(term); m != nil {
			wanted = func(f *file) bool { return f.Name == m[1] }
		} else if !otherTerm.MatchString(term) {
			return nil, false
		}
	}
	return wanted, true
}

func (s *Server) driveList(w http.ResponseWriter, r *http.Request, who caller) {
	skip, top, wanted, ok := drivePage(w, r, "pageSize")
	if !ok {
		return
	}
	page, size := s.driveFiles(who.grant, skip, top, wanted)
	files := make([]any, 0, len(page))
	for _, f := range page {
		files = append(files, driveFile(r, f))
	}
	answer := map[string]any{"kind": "drive#fileList", "incompleteSearch": false, "files": files}
	if skip+top < size {
		answer["nextPageToken"] = strconv.Itoa(skip + top)
	}
	writeJSON(w, http.StatusOK, answer)
}

// driveListV2 is Drive v2's list, which has a nextLink beside the token, as
// several of Google's older APIs do.
func (s *Server) driveListV2(w http.ResponseWriter, r *http.Request, who caller) {
	skip, top, wanted, ok := drivePage(w, r, "maxResults")
	if !ok {
		return
	}
	page, size := s.driveFiles(who.grant, skip, top, wanted)
	items := make([]any, 0, len(page))
	for _, f := range page {
		items = append(items, map[string]any{
			"kind": "drive#file", "id": f.ID, "title": f.Name, "mimeType": f.MIMEType,
			"properties": []map[string]string{{"key": "nextLink", "value": "https://" + googleHost + "/theirs"}},
		})
	}
	answer := map[string]any{"kind": "drive#fileList", "items": items}
	if next := strconv.Itoa(skip + top); skip+top < size {
		answer["nextPageToken"] = next
		answer["nextLink"] = "https://" + googleHost + "/drive/v2/files?maxResults=" + strconv.Itoa(top) + "&pageToken=" + next
	}
	writeJSON(w, http.StatusOK, answer)
}

// driveGet answers a file's metadata, or its bytes for alt=media.
func (s *Server) driveGet(w http.ResponseWriter, r *http.Request, who caller) {
	f := s.findFile(who.grant, r.PathValue("id"))
	if f == nil {
		fileNotFound(w, r)
		return
	}
	switch r.URL.Query().Get("alt") {
	case "", "json":
		writeJSON(w, http.StatusOK, driveFile(r, f))
	case "media":
		var sum [4]byte
		binary.BigEndian.PutUint32(sum[:], f.crc32c)
		w.Header().Set("X-Goog-Hash", "crc32c="+base64.StdEncoding.EncodeToString(sum[:]))
		if err := sendFile(w, r, f); err != nil {
			googleError(w, http.StatusForbidden, "PERMISSION_DENIED", "fileNotDownloadable", err.Error())
		}
	default:
		googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "invalidParameter", "Invalid value for alt")
	}
}

// sendFile answers with the bytes of f or the ranges of them that were asked
// for, or 304. Nothing is answered if there is an error.
func sendFile(w http.ResponseWriter, r *http.Request, f *file) error {
	bytes, err := f.reader()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", f.MIMEType)
	w.Header().Set("ETag", f.etag())
	http.ServeContent(w, r, "", f.created, bytes)
	return nil
}

func fileNotFound(w http.ResponseWriter, r *http.Request) {
	googleError(w, http.StatusNotFound, "NOT_FOUND", "notFound", fmt.Sprintf("File not found: %s.", r.PathValue("id")))
}

// driveMetadata is what is read of the metadata of a file.
type driveMetadata struct {
	Name     *string `json:"name"`
	MIMEType *string `json:"mimeType"`
}

// apply changes f by what is set.
func (m driveMetadata) apply(f *file) {
	if m.Name != nil {
		f.Name = *m.Name
	}
	if m.MIMEType != nil {
		f.MIMEType = *m.MIMEType
	}
}

// readDriveMetadata reads the metadata in a body.
func readDriveMetadata(w http.ResponseWriter, r *http.Request) (m driveMetadata, ok bool) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxMetadata))
	if err != nil || len(body) > 0 && !isJSON(r.Header.Get("Content-Type")) {
		googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "parseError", "The body must be application/json")
		return m, false
	}
	return parseDriveMetadata(w, body)
}

func parseDriveMetadata(w http.ResponseWriter, body []byte) (m driveMetadata, ok bool) {
	if len(body) > 0 && json.Unmarshal(body, &m) != nil {
		googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "parseError", "Parse Error")
		return m, false
	}
	return m, true
}

func (s *Server) driveCreate(w http.ResponseWriter, r *http.Request, who caller) {
	m, ok := readDriveMetadata(w, r)
	if !ok {
		return
	}
	f := file{File: File{Name: "Untitled", MIMEType: "application/octet-stream"}, content: contentOf(strings.NewReader(""))}
	m.apply(&f)
	f.folder = f.MIMEType == "application/vnd.google-apps.folder"
	writeJSON(w, http.StatusOK, driveFile(r, s.saveFile(who.grant, f)))
}

func (s *Server) driveUpdate(w http.ResponseWriter, r *http.Request, who caller) {
	f := s.findFile(who.grant, r.PathValue("id"))
	if f == nil {
		fileNotFound(w, r)
		return
	}
	m, ok := readDriveMetadata(w, r)
	if !ok {
		return
	}
	changed := *f
	changed.Path = "" // no upload
	m.apply(&changed)
	writeJSON(w, http.StatusOK, driveFile(r, s.saveFile(who.grant, changed)))
}

func (s *Server) driveDelete(w http.ResponseWriter, r *http.Request, who caller) {
	if !s.deleteFile(who.grant, r.PathValue("id")) {
		fileNotFound(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// driveUpload is the target of uploads to a drive: a new file, or that in the
// path.
func (s *Server) driveUpload(w http.ResponseWriter, r *http.Request, who caller, metadata []byte, mimeType string) commit {
	m, ok := parseDriveMetadata(w, metadata)
	if !ok {
		return nil
	}
	f := file{File: File{Name: "Untitled", MIMEType: "application/octet-stream"}}
	if id := r.PathValue("id"); id != "" {
		old := s.findFile(who.grant, id)
		if old == nil {
			fileNotFound(w, r)
			return nil
		}
		f = *old
	}
	if mimeType != "" {
		f.MIMEType = mimeType
	}
	m.apply(&f)
	f.Path = r.URL.Path
	return func(w http.ResponseWriter, r *http.Request, c content) {
		f.content = c
		writeJSON(w, http.StatusOK, driveFile(r, s.saveFile(who.grant, f)))
	}
}
