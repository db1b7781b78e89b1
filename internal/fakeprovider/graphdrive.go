package fakeprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxSmallUpload is how much Graph takes in one request, 250 MB.
const maxSmallUpload = 250 << 20

const driveContext = "https://" + graphHost + "/v1.0/$metadata#users('me')/drive/root"

// driveItem is a file as Graph shows it, with a URL for its bytes in the member
// that download names, unless that is empty.
func (s *Server) driveItem(f *file, download string) map[string]any {
	item := map[string]any{
		"id": f.ID, "name": path.Base(f.Name), "size": f.size, "eTag": f.etag(),
		"createdDateTime": f.created.Format(time.RFC3339),
		"webUrl":          "https://" + sharePointHost + "/Documents/" + url.PathEscape(f.Name),
	}
	if f.folder {
		item["folder"] = map[string]int{"childCount": 0}
		return item
	}
	item["file"] = map[string]any{"mimeType": f.MIMEType, "hashes": map[string]string{"sha256Hash": strings.ToUpper(f.sha256)}}
	if download != "" {
		item[download] = s.downloadURL(f)
	}
	return item
}

const (
	graphDownload   = "@microsoft.graph.downloadUrl"
	contentDownload = "@content.downloadUrl"
)

func itemNotFound(w http.ResponseWriter, r *http.Request) {
	graphError(w, r, http.StatusNotFound, "itemNotFound", "The resource could not be found.")
}

func badGraph(w http.ResponseWriter, r *http.Request, text string) {
	graphError(w, r, http.StatusBadRequest, "invalidRequest", text)
}

// children is a page of a drive with its nextLink, if there is more.
func (s *Server) children(w http.ResponseWriter, r *http.Request, who caller, skip, top int, at *url.URL) (value []any, next string) {
	files, size := s.driveFiles(who.grant, skip, top, everyFile)
	value = make([]any, 0, len(files))
	for _, f := range files {
		value = append(value, s.driveItem(f, graphDownload))
	}
	if skip+top < size {
		next = linkTo(at, "$skiptoken", strconv.Itoa(skip+top))
	}
	return value, next
}

func (s *Server) graphChildren(w http.ResponseWriter, r *http.Request, who caller) {
	query := r.URL.Query()
	top, topOK := count(query, "$top", 50)
	skip, skipOK := count(query, "$skiptoken", 0)
	if !topOK || !skipOK || top == 0 || top > 999 {
		badGraph(w, r, "Invalid $top or $skiptoken.")
		return
	}
	value, next := s.children(w, r, who, skip, top, r.URL)
	answer := map[string]any{"@odata.context": driveContext + "/children", "value": value}
	if next != "" {
		answer["@odata.nextLink"] = next
	}
	graphJSON(w, answer)
}

// graphRoot is the drive's root, with its first children if they are asked for.
func (s *Server) graphRoot(w http.ResponseWriter, r *http.Request, who caller) {
	root := map[string]any{
		"@odata.context": driveContext + "/$entity", "id": "01FAKEDRIVEROOT", "name": "root",
		"root": map[string]any{}, "folder": map[string]int{"childCount": driveSize},
	}
	if r.URL.Query().Get("$expand") == "children" {
		value, next := s.children(w, r, who, 0, 20, &url.URL{Path: "/v1.0/me/drive/root/children"})
		root["children"], root["children@odata.nextLink"] = value, next
	}
	graphJSON(w, root)
}

// graphByID serves what is below an item's ID: the item itself, its content,
// copying it, and what begins with its ID and goes on with a path.
func (s *Server) graphByID(w http.ResponseWriter, r *http.Request, who caller) {
	id, rest := r.PathValue("id"), r.PathValue("rest")
	if parent, byPath := strings.CutSuffix(id, ":"); byPath {
		if parent != "root" && parent != "01FAKEDRIVEROOT" {
			itemNotFound(w, r)
			return
		}
		s.graphByPath(w, r, who)
		return
	}
	f := s.findFile(who.grant, id)
	if f == nil {
		itemNotFound(w, r)
		return
	}
	s.serveItem(w, r, who, f, f.Name, rest)
}

// graphByPath serves what is written <name>:/<rest> below the root.
func (s *Server) graphByPath(w http.ResponseWriter, r *http.Request, who caller) {
	name, rest, _ := strings.Cut(r.PathValue("rest"), ":")
	rest = strings.TrimPrefix(rest, "/")
	if name == "" {
		itemNotFound(w, r)
		return
	}
	files, _ := s.driveFiles(who.grant, 0, 1, func(f *file) bool { return f.Name == name })
	var f *file
	if len(files) > 0 {
		f = files[0]
	}
	s.serveItem(w, r, who, f, name, rest)
}

// serveItem serves an item, or one that is to be made if f is nil.
func (s *Server) serveItem(w http.ResponseWriter, r *http.Request, who caller, f *file, name, rest string) {
	action := strings.TrimPrefix(rest, "microsoft.graph.")
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case r.Method == http.MethodPut && rest == "content":
		s.putContent(w, r, who, f, name)
	case r.Method == http.MethodPost && action == "createUploadSession":
		s.createUploadSession(w, r, who, f, name)
	case f == nil:
		itemNotFound(w, r)
	case reading && rest == "":
		graphJSON(w, s.driveItem(f, graphDownload))
	case reading && (rest == "content" || strings.HasPrefix(rest, "thumbnails/") && strings.HasSuffix(rest, "/content")):
		w.Header().Set("Location", s.downloadURL(f))
		w.WriteHeader(http.StatusFound)
	case r.Method == http.MethodPost && action == "copy":
		s.copyItem(w, r, who, f)
	case r.Method == http.MethodDelete && rest == "":
		s.deleteFile(who.grant, f.ID)
		w.WriteHeader(http.StatusNoContent)
	default:
		notFound(w, r, who)
	}
}

func (s *Server) putContent(w http.ResponseWriter, r *http.Request, who caller, f *file, name string) {
	in := newIntake()
	if _, err := io.Copy(in, http.MaxBytesReader(w, r.Body, maxSmallUpload)); err != nil {
		graphError(w, r, http.StatusRequestEntityTooLarge, "invalidRequest", "The body broke off, or is larger than 250 MB: use an upload session.")
		return
	}
	s.answerItem(w, r, who, f, file{
		File:    File{Name: name, MIMEType: r.Header.Get("Content-Type"), Path: r.URL.Path},
		content: in.finish(),
	})
}

// answerItem saves a file in the place of old, or as a new one, and answers
// with it.
func (s *Server) answerItem(w http.ResponseWriter, _ *http.Request, who caller, old *file, f file) {
	if f.MIMEType == "" {
		f.MIMEType = "application/octet-stream"
	}
	status := http.StatusCreated
	if old != nil {
		f.ID, status = old.ID, http.StatusOK
	}
	graphHeader(w)
	w.WriteHeader(status)
	encodeJSON(w, s.driveItem(s.saveFile(who.grant, f), contentDownload))
}

// copyItem begins to copy, which SharePoint does in its own time.
func (s *Server) copyItem(w http.ResponseWriter, r *http.Request, who caller, f *file) {
	var body struct {
		Name            string         `json:"name"`
		ParentReference map[string]any `json:"parentReference"`
	}
	if !readGraphJSON(w, r, &body) {
		return
	}
	copied := *f
	copied.ID, copied.Path = "", ""
	copied.Name = "Copy of " + f.Name
	if body.Name != "" {
		copied.Name = body.Name
	}
	s.startOperation(w, who, "ItemCopy", copied)
}

// graphAddChild makes a folder, or a file of what is at a URL that the API
// fetches for itself.
func (s *Server) graphAddChild(w http.ResponseWriter, r *http.Request, who caller) {
	var body struct {
		Name      string          `json:"name"`
		File      json.RawMessage `json:"file"`
		Folder    json.RawMessage `json:"folder"`
		SourceURL string          `json:"@microsoft.graph.sourceUrl"`
	}
	if !readGraphJSON(w, r, &body) {
		return
	}
	made := file{File: File{Name: body.Name, MIMEType: "application/octet-stream"}, content: contentOf(strings.NewReader(""))}
	switch {
	case body.Name == "":
		badGraph(w, r, "The name is missing.")
	case body.SourceURL != "":
		source, err := s.fetchable(body.SourceURL, who.grant)
		if err != nil || !strings.Contains(r.Header.Get("Prefer"), "respond-async") {
			badGraph(w, r, "A file from a URL needs Prefer: respond-async and a URL that can be fetched. "+fmt.Sprint(err))
			return
		}
		if source != nil {
			made.content, made.MIMEType = source.content, source.MIMEType
		}
		s.startOperation(w, who, "DownloadUrl", made)
	case body.Folder != nil:
		made.folder = true
		s.answerItem(w, r, who, nil, made)
	default:
		badGraph(w, r, "Either folder or @microsoft.graph.sourceUrl must be present.")
	}
}

// fetchable judges a sourceUrl. Where it leads to a file of ours, the file is
// returned.
func (s *Server) fetchable(raw string, g *grant) (*file, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || !slices.Contains([]string{graphHost, sharePointHost}, u.Host) {
		return nil, errors.New("the source is not at a host of Microsoft's, over https")
	}
	if u.Host == graphHost {
		return nil, nil
	}
	f := s.linked(u, kindDownload)
	if f == nil || f.Grant != g.ID {
		return nil, errors.New("the source does not exist or has expired")
	}
	return f, nil
}

func readGraphJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	if !isJSON(r.Header.Get("Content-Type")) || json.NewDecoder(r.Body).Decode(into) != nil {
		graphError(w, r, http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.")
		return false
	}
	return true
}
