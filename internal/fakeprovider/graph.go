package fakeprovider

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// LargePath answers a page of messages of about 100 KiB with a nextLink at its
// end, for benchmarks.
const LargePath = "/v1.0/me/mailFolders/inbox/messages"

const largeSize = 100 << 10

// graphError is an error in Microsoft Graph's shape.
func graphError(w http.ResponseWriter, r *http.Request, status int, code, text string) {
	request := randomUUID()
	clientRequest := r.Header.Get("Client-Request-Id")
	if clientRequest == "" {
		clientRequest = request
	}
	w.Header().Set("Request-Id", request)
	w.Header().Set("Client-Request-Id", clientRequest)
	writeJSON(w, status, map[string]any{"error": map[string]any{
		"code": code, "message": text,
		"innerError": map[string]string{
			"date":       time.Now().UTC().Format("2006-01-02T15:04:05"),
			"request-id": request, "client-request-id": clientRequest,
		},
	}})
}

func (s *Server) graphMe(w http.ResponseWriter, _ *http.Request, who caller) {
	graphJSON(w, map[string]any{
		"@odata.context": "https://" + graphHost + "/v1.0/$metadata#users/$entity",
		"id":             who.grant.Subject, "mail": who.grant.Email, "userPrincipalName": who.grant.Email,
		"displayName": who.grant.Subject,
	})
}

func (s *Server) graphMessages(w http.ResponseWriter, r *http.Request, who caller) {
	query := r.URL.Query()
	top, topOK := count(query, "$top", 10)
	skip, skipOK := count(query, "$skip", 0)
	if !topOK || !skipOK || top == 0 || top > 1000 {
		graphError(w, r, http.StatusBadRequest, "BadRequest", "Invalid $top or $skip.")
		return
	}
	size, page := s.mailbox(who.grant, skip, top)
	value := make([]map[string]any, 0, len(page))
	for _, m := range page {
		if query.Get("$expand") == "attachments" {
			value = append(value, expanded(m))
		} else {
			value = append(value, graphMessage(m))
		}
	}
	answer := map[string]any{
		"@odata.context": graphContext,
		"value":          value,
	}
	if skip+top < size {
		answer["@odata.nextLink"] = linkTo(r.URL, "$skip", strconv.Itoa(skip+top))
	}
	graphJSON(w, answer)
}

const graphContext = "https://" + graphHost + "/v1.0/$metadata#users('me')/messages"

func graphMessage(m message) map[string]any {
	return map[string]any{
		"@odata.etag":      `W/"` + m.id + `"`,
		"id":               m.id,
		"subject":          m.subject,
		"bodyPreview":      m.preview,
		"isRead":           m.number%2 == 0,
		"receivedDateTime": m.date.Format(time.RFC3339),
		"from":             map[string]any{"emailAddress": map[string]string{"name": "Sender", "address": "sender@example.com"}},
	}
}

// linkTo is u with a parameter, whose name begins with "$", set anew. It is at
// Graph's real host, wherever this server listens, because that is what a proxy
// has to cope with. All other parameters are kept as they were.
func linkTo(u *url.URL, name, value string) string {
	var parameters []string
	for parameter := range strings.SplitSeq(u.RawQuery, "&") {
		key, _, _ := strings.Cut(parameter, "=")
		if key != "" && key != name && !strings.EqualFold(key, "%24"+name[1:]) {
			parameters = append(parameters, parameter)
		}
	}
	parameters = append(parameters, name+"="+value)
	return "https://" + graphHost + u.EscapedPath() + "?" + strings.Join(parameters, "&")
}

// graphSend takes a message only if it has a recipient.
func (s *Server) graphSend(w http.ResponseWriter, r *http.Request, who caller) {
	var body struct {
		Message struct {
			ToRecipients []any `json:"toRecipients"`
		} `json:"message"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		graphError(w, r, http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload.")
		return
	}
	if len(body.Message.ToRecipients) == 0 {
		graphError(w, r, http.StatusBadRequest, "ErrorInvalidRecipients", "At least one recipient isn't valid.")
		return
	}
	s.send(who.grant)
	w.WriteHeader(http.StatusAccepted)
}

var largeBody = sync.OnceValue(func() []byte {
	var value []map[string]any
	for size := 0; size < largeSize; {
		m := graphMessage(newMessage(len(value)))
		m["body"] = map[string]string{"contentType": "text", "content": strings.Repeat("All work and no play. ", 40)}
		encoded, _ := json.Marshal(m) // strings and numbers alone
		size += len(encoded) + 1
		value = append(value, m)
	}
	body, _ := json.Marshal(map[string]any{
		"@odata.context":  graphContext,
		"@odata.nextLink": "https://" + graphHost + LargePath + "?$skip=" + strconv.Itoa(len(value)),
		"value":           value,
	})
	return body
})

func graphLarge(w http.ResponseWriter, _ *http.Request, _ caller) {
	body := largeBody()
	graphHeader(w)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

func graphHeader(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	w.Header().Set("OData-Version", "4.0")
	w.Header().Set("Request-Id", randomUUID())
}

func graphJSON(w http.ResponseWriter, body any) {
	graphHeader(w)
	encodeJSON(w, body)
}
