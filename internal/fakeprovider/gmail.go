package fakeprovider

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// googleError is an error in the shape of Google's JSON APIs.
func googleError(w http.ResponseWriter, status int, code, reason, text string) {
	writeJSON(w, status, map[string]any{"error": map[string]any{
		"code": status, "message": text, "status": code,
		"errors": []map[string]string{{"message": text, "domain": "global", "reason": reason}},
	}})
}

// gmailUser refuses every user but the token's own.
func gmailUser(w http.ResponseWriter, r *http.Request, who caller) bool {
	if user := r.PathValue("user"); user == "me" || strings.EqualFold(user, who.grant.Email) {
		return true
	}
	googleError(w, http.StatusForbidden, "PERMISSION_DENIED", "forbidden", "Delegation denied for "+who.grant.Email)
	return false
}

func (s *Server) gmailProfile(w http.ResponseWriter, r *http.Request, who caller) {
	if !gmailUser(w, r, who) {
		return
	}
	size, _ := s.mailbox(who.grant, 0, 0)
	writeJSON(w, http.StatusOK, map[string]any{
		"emailAddress": who.grant.Email, "messagesTotal": size, "threadsTotal": size,
		"historyId": strconv.Itoa(1000 + size),
	})
}

func (s *Server) gmailMessages(w http.ResponseWriter, r *http.Request, who caller) {
	if !gmailUser(w, r, who) {
		return
	}
	query := r.URL.Query()
	top, topOK := count(query, "maxResults", 100)
	skip, skipOK := count(query, "pageToken", 0)
	if !topOK || !skipOK || top == 0 {
		googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "invalidArgument", "Invalid pageToken or maxResults value")
		return
	}
	top = min(top, 500)
	size, page := s.mailbox(who.grant, skip, top)
	answer := map[string]any{"resultSizeEstimate": size}
	messages := make([]map[string]string, 0, len(page))
	for _, m := range page {
		messages = append(messages, map[string]string{"id": m.id, "threadId": m.id})
	}
	if len(messages) > 0 {
		answer["messages"] = messages
	}
	if skip+top < size {
		answer["nextPageToken"] = strconv.Itoa(skip + top)
	}
	writeJSON(w, http.StatusOK, answer)
}

// count reads a number that is not negative from a query parameter. An empty
// one counts as missing.
func count(query url.Values, name string, missing int) (n int, ok bool) {
	if query.Get(name) == "" {
		return missing, true
	}
	n, err := strconv.Atoi(query.Get(name))
	return n, err == nil && n >= 0
}

func (s *Server) gmailMessage(w http.ResponseWriter, r *http.Request, who caller) {
	if !gmailUser(w, r, who) {
		return
	}
	m, found := s.findMessage(who.grant, r.PathValue("id"))
	if !found {
		notFound(w, r, who)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"id": m.id, "threadId": m.id, "labelIds": labels(m), "snippet": m.preview,
		"historyId": strconv.Itoa(1000 + m.number), "internalDate": strconv.FormatInt(m.date.UnixMilli(), 10),
		"sizeEstimate": 2048,
		"payload": map[string]any{
			"mimeType": "multipart/mixed",
			"parts": []map[string]any{
				{"partId": "0", "mimeType": "text/plain", "body": map[string]any{
					"size": len(m.preview), "data": base64.URLEncoding.EncodeToString([]byte(m.preview)),
				}},
				{"partId": "1", "mimeType": "text/plain", "filename": "attachment.txt", "body": map[string]any{
					"size": len(attachment(m)), "attachmentId": attachmentID,
				}},
			},
			"headers": []map[string]string{
				{"name": "Subject", "value": m.subject},
				{"name": "From", "value": "sender@example.com"},
				{"name": "To", "value": who.grant.Email},
			},
		},
	})
}

func labels(m message) []string {
	if m.sent {
		return []string{"SENT"}
	}
	return []string{"INBOX"}
}

// gmailSend takes a message only if it is one: JSON with a base64url member
// raw that holds an RFC 5322 message with a recipient.
func (s *Server) gmailSend(w http.ResponseWriter, r *http.Request, who caller) {
	if !gmailUser(w, r, who) {
		return
	}
	var body struct {
		Raw string `json:"raw"`
	}
	if readGoogleJSON(w, r, &body) && readRaw(w, body.Raw) {
		s.answerSent(w, who)
	}
}
