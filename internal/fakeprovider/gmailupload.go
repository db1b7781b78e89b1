package fakeprovider

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/mail"
	"strings"
)

// maxMessage is Gmail's limit on an uploaded message, 35 MiB.
const maxMessage = 36_700_160

// checkMessage refuses all but an RFC 5322 message with a recipient.
func checkMessage(w http.ResponseWriter, raw io.Reader) (*mail.Message, bool) {
	parsed, err := mail.ReadMessage(raw)
	if err != nil || parsed.Header.Get("To")+parsed.Header.Get("Cc")+parsed.Header.Get("Bcc") == "" {
		googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "invalidArgument", "Recipient address required")
		return nil, false
	}
	return parsed, true
}

// gmailUpload is the target of uploads of a message, which take hands on.
func (s *Server) gmailUpload(take func(http.ResponseWriter, caller)) uploadTarget {
	return func(w http.ResponseWriter, r *http.Request, who caller, metadata []byte, mimeType string) commit {
		if !gmailUser(w, r, who) {
			return nil
		}
		if len(metadata) > 0 && !json.Valid(metadata) {
			badUpload(w, "Parse Error")
			return nil
		}
		if media, _, err := mime.ParseMediaType(mimeType); err != nil || !strings.HasPrefix(media, "message/") {
			badUpload(w, fmt.Sprintf("Media type '%s' is not supported. Valid media types: [message/*]", mimeType))
			return nil
		}
		path := r.URL.Path
		return func(w http.ResponseWriter, _ *http.Request, c content) {
			if c.size > maxMessage {
				googleError(w, http.StatusRequestEntityTooLarge, "INVALID_ARGUMENT", "uploadTooLarge", "The message exceeds 35 MiB")
				return
			}
			parsed, ok := checkMessage(w, bytes.NewReader(c.head))
			if !ok {
				return
			}
			s.saveUpload(who.grant, file{
				File:    File{Name: parsed.Header.Get("Subject"), MIMEType: "message/rfc822", Path: path},
				content: c,
			})
			take(w, who)
		}
	}
}

func (s *Server) answerSent(w http.ResponseWriter, who caller) {
	m := s.send(who.grant)
	writeJSON(w, http.StatusOK, map[string]any{"id": m.id, "threadId": m.id, "labelIds": labels(m)})
}

func (s *Server) answerDraft(w http.ResponseWriter, who caller) {
	s.mu.Lock()
	id := fmt.Sprintf("r%018d", len(s.drafts)+1)
	s.drafts[id] = who.grant
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"id": id, "message": map[string]any{"id": id, "labelIds": []string{"DRAFT"}}})
}

// readRaw reads a message in the member raw of JSON, as base64url.
func readRaw(w http.ResponseWriter, raw string) bool {
	message, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(raw, "="))
	if err != nil {
		googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "invalidArgument", "Invalid value for ByteString")
		return false
	}
	_, ok := checkMessage(w, bytes.NewReader(message))
	return ok
}

func (s *Server) gmailDraft(w http.ResponseWriter, r *http.Request, who caller) {
	var body struct {
		Message struct {
			Raw string `json:"raw"`
		} `json:"message"`
	}
	if gmailUser(w, r, who) && readGoogleJSON(w, r, &body) && readRaw(w, body.Message.Raw) {
		s.answerDraft(w, who)
	}
}

// gmailSendDraft sends a draft, once.
func (s *Server) gmailSendDraft(w http.ResponseWriter, r *http.Request, who caller) {
	var body struct {
		ID string `json:"id"`
	}
	if !gmailUser(w, r, who) || !readGoogleJSON(w, r, &body) {
		return
	}
	s.mu.Lock()
	known := s.drafts[body.ID] == who.grant
	if known {
		s.drafts[body.ID] = nil // its number stays taken
	}
	s.mu.Unlock()
	if !known {
		notFound(w, r, who)
		return
	}
	s.answerSent(w, who)
}

func readGoogleJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "parseError", "Parse Error")
		return false
	}
	return true
}

// attachmentID is that of the one attachment of every message.
const attachmentID = "ANGjdJ-attachment"

func attachment(m message) []byte {
	return fmt.Appendf(nil, "This is the attachment of message number %d.\n", m.number)
}

func (s *Server) gmailAttachment(w http.ResponseWriter, r *http.Request, who caller) {
	if !gmailUser(w, r, who) {
		return
	}
	m, found := s.findMessage(who.grant, r.PathValue("id"))
	if !found || r.PathValue("attachment") != attachmentID {
		notFound(w, r, who)
		return
	}
	data := attachment(m)
	writeJSON(w, http.StatusOK, map[string]any{
		"attachmentId": attachmentID, "size": len(data), "data": base64.URLEncoding.EncodeToString(data),
	})
}
