package fakeprovider

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
)

// Answers whose content looks as if it held links for the next call. Other
// people wrote it, and nothing in it must be touched, except for the one
// nextLink that stands at the end of hostileItems.
var (
	//go:embed hostile/event.json
	hostileEvent []byte
	//go:embed hostile/items.json
	hostileItems []byte
)

func hostile(body []byte) apiHandler {
	return func(w http.ResponseWriter, r *http.Request, _ caller) {
		if r.URL.Query().Has("$skiptoken") {
			graphJSON(w, map[string]any{"value": []any{}})
			return
		}
		graphHeader(w)
		w.Header().Set("ETag", `W/"hostile"`)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}
}

// deltaPage is how many messages a page of changes has.
const deltaPage = 100

// graphDelta pages through all messages and ends with a link to what changes
// from then on, which is nothing until messages are sent.
func (s *Server) graphDelta(w http.ResponseWriter, r *http.Request, who caller) {
	query := r.URL.Query()
	seen, seenOK := count(query, "$skiptoken", 0)
	known, knownOK := count(query, "$deltatoken", 0)
	size, _ := s.mailbox(who.grant, 0, 0)
	if !seenOK || !knownOK || seen > size || known > size {
		graphError(w, r, http.StatusGone, "syncStateNotFound", "The sync state is not found.")
		return
	}
	from := max(seen, known)
	_, page := s.mailbox(who.grant, max(size-from-deltaPage, 0), min(size-from, deltaPage))
	value := make([]any, 0, len(page))
	for _, m := range page {
		value = append(value, graphMessage(m))
	}
	answer := map[string]any{"@odata.context": graphContext, "value": value}
	at := &url.URL{Path: r.URL.Path}
	if until := from + len(page); until < size {
		answer["@odata.nextLink"] = linkTo(at, "$skiptoken", strconv.Itoa(until))
	} else {
		answer["@odata.deltaLink"] = linkTo(at, "$deltatoken", strconv.Itoa(size))
	}
	graphJSON(w, answer)
}

// expanded adds the first of a message's two attachments, and where the other
// is.
func expanded(m message) map[string]any {
	shown := graphMessage(m)
	shown["hasAttachments"] = true
	shown["attachments"] = []any{graphAttachment(m, 0)}
	shown["attachments@odata.nextLink"] = linkTo(&url.URL{Path: "/v1.0/me/messages/" + m.id + "/attachments"}, "$skip", "1")
	return shown
}

// attachmentNames are those of every message's attachments in Graph.
var attachmentNames = []string{"attachment.txt", "attachment.html"}

func graphAttachment(m message, number int) map[string]any {
	data := attachment(m)
	return map[string]any{
		"@odata.type": "#microsoft.graph.fileAttachment", "id": attachmentNames[number], "name": attachmentNames[number],
		"contentType": "text/plain", "size": len(data), "contentBytes": base64.StdEncoding.EncodeToString(data),
	}
}

// graphMailbox finds the message in the path, or answers that there is none.
func (s *Server) graphMailbox(w http.ResponseWriter, r *http.Request, who caller) (message, bool) {
	m, found := s.findMessage(who.grant, r.PathValue("id"))
	if !found {
		graphError(w, r, http.StatusNotFound, "ErrorItemNotFound", "The specified object was not found in the store.")
	}
	return m, found
}

func (s *Server) graphMessageByID(w http.ResponseWriter, r *http.Request, who caller) {
	m, found := s.graphMailbox(w, r, who)
	switch {
	case !found:
	case r.URL.Query().Get("$expand") == "attachments":
		graphJSON(w, expanded(m))
	default:
		graphJSON(w, graphMessage(m))
	}
}

func (s *Server) graphAttachments(w http.ResponseWriter, r *http.Request, who caller) {
	m, found := s.graphMailbox(w, r, who)
	if !found {
		return
	}
	skip, ok := count(r.URL.Query(), "$skip", 0)
	if !ok {
		graphError(w, r, http.StatusBadRequest, "BadRequest", "Invalid $skip.")
		return
	}
	value := []any{}
	for number := skip; number < len(attachmentNames); number++ {
		value = append(value, graphAttachment(m, number))
	}
	graphJSON(w, map[string]any{"@odata.context": graphContext + "('" + m.id + "')/attachments", "value": value})
}

// script is a page that tells by its title whether its script ran.
const script = `<!doctype html>
<title>script did not run</title>
<p>This is an HTML mail, with {"@odata.nextLink":"https://graph.microsoft.com/v1.0/me/messages"} in it.</p>
<script>
document.title = "script ran";
fetch("/v1/whoami").then(function (r) { document.title = "script read " + r.status; });
</script>
`

// graphMessageValue answers a message's bytes, as a page with a script.
func (s *Server) graphMessageValue(w http.ResponseWriter, r *http.Request, who caller) {
	if _, found := s.graphMailbox(w, r, who); found {
		sendPage(w, r)
	}
}

func (s *Server) graphAttachmentValue(w http.ResponseWriter, r *http.Request, who caller) {
	m, found := s.graphMailbox(w, r, who)
	switch name := r.PathValue("name"); {
	case !found:
	case name == attachmentNames[0]:
		f := &file{File: File{MIMEType: "text/plain"}, content: contentOf(bytes.NewReader(attachment(m))), created: m.date}
		_ = sendFile(w, r, f) // small enough to be kept
	case name == attachmentNames[1]:
		sendPage(w, r)
	default:
		graphError(w, r, http.StatusNotFound, "ErrorItemNotFound", "The specified object was not found in the store.")
	}
}

func sendPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(script)))
	_, _ = w.Write([]byte(script))
}
