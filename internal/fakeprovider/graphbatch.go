package fakeprovider

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

const graphBatchParts = 20

// graphPart is a request inside a Graph batch.
type graphPart struct {
	ID        string            `json:"id"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	Body      json.RawMessage   `json:"body"`
	DependsOn []string          `json:"dependsOn"`

	request *http.Request
}

// graphResponse is an answer inside a Graph batch. The ID stands first, as in
// Graph's own answers.
type graphResponse struct {
	ID      string            `json:"id"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    json.RawMessage   `json:"body,omitempty"`
}

// graphBatch executes a JSON batch, each part with the token of the batch. One
// part that is not as documented, that has a token of its own, or whose URL is
// no path refuses the whole batch.
func (s *Server) graphBatch(w http.ResponseWriter, r *http.Request, _ caller) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBatch+1))
	if err != nil || len(body) > maxBatch || !isJSON(r.Header.Get("Content-Type")) {
		graphError(w, r, http.StatusBadRequest, "BadRequest", "Invalid batch payload format.")
		return
	}
	if mentionsKey(string(body)) {
		s.refuseLeak(w)
		return
	}
	parts, err := parseGraphBatch(r, body)
	if err != nil {
		graphError(w, r, http.StatusBadRequest, "BadRequest", "Invalid batch payload format: "+err.Error())
		return
	}
	responses := make([]graphResponse, 0, len(parts))
	failed := map[string]bool{}
	for _, part := range parts {
		var response graphResponse
		if slices.ContainsFunc(part.DependsOn, func(id string) bool { return failed[id] }) {
			response = failedDependency(part.ID)
		} else {
			response = s.executePart(part)
		}
		failed[part.ID] = response.Status >= http.StatusBadRequest
		responses = append(responses, response)
	}
	graphJSON(w, map[string]any{"responses": responses})
}

func failedDependency(id string) graphResponse {
	return graphResponse{
		ID: id, Status: http.StatusFailedDependency, Headers: map[string]string{"Content-Type": "application/json"},
		Body: json.RawMessage(`{"error":{"code":"FailedDependency","message":"One of the dependsOn requests failed."}}`),
	}
}

// executePart answers JSON as JSON and all else as a string in base64.
func (s *Server) executePart(part graphPart) graphResponse {
	answer := newRecording()
	s.api.ServeHTTP(answer, part.request)
	response := graphResponse{ID: part.ID, Status: max(answer.status, http.StatusOK), Headers: map[string]string{}}
	for name, values := range answer.header {
		response.Headers[name] = strings.Join(values, ",")
	}
	switch content := bytes.TrimSpace(answer.body.Bytes()); {
	case len(content) == 0:
	case strings.HasPrefix(answer.header.Get("Content-Type"), "application/json"):
		response.Body = content
	default:
		response.Body, _ = json.Marshal(base64.StdEncoding.EncodeToString(answer.body.Bytes())) // letters
	}
	return response
}

// versionTwice is what becomes of a part whose URL has the version in it,
// instead of being relative to it.
func versionTwice(w http.ResponseWriter, r *http.Request, _ caller) {
	graphError(w, r, http.StatusBadRequest, "BadRequest", "Resource not found for the segment 'v1.0'.")
}

func parseGraphBatch(outer *http.Request, body []byte) ([]graphPart, error) {
	if err := checkMembers(body, "requests"); err != nil {
		return nil, err
	}
	var batch struct {
		Requests []json.RawMessage `json:"requests"`
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		return nil, errors.New("requests is no array")
	}
	if n := len(batch.Requests); n == 0 || n > graphBatchParts {
		return nil, fmt.Errorf("there are %d requests; 1 to %d are allowed", n, graphBatchParts)
	}
	var parts []graphPart
	for _, raw := range batch.Requests {
		part, err := parseGraphPart(outer, raw)
		if err != nil {
			return nil, fmt.Errorf("request %d: %w", len(parts)+1, err)
		}
		for _, id := range part.DependsOn {
			if !slices.ContainsFunc(parts, func(p graphPart) bool { return p.ID == id }) {
				return nil, fmt.Errorf("request %d: it depends on none before it", len(parts)+1)
			}
		}
		if slices.ContainsFunc(parts, func(p graphPart) bool { return p.ID == part.ID }) {
			return nil, fmt.Errorf("request %d: its id was there before", len(parts)+1)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func parseGraphPart(outer *http.Request, raw json.RawMessage) (part graphPart, err error) {
	if err := checkMembers(raw, "id", "method", "url", "headers", "body", "dependsOn"); err != nil {
		return part, err
	}
	if json.Unmarshal(raw, &part) != nil || part.ID == "" || part.Method == "" || part.URL == "" {
		return part, errors.New("id, method and url must be strings that are not empty")
	}
	header := http.Header{}
	for name, value := range part.Headers {
		if header.Get(name) != "" {
			return part, errors.New("a header is there twice")
		}
		header.Set(name, value)
	}
	content, err := partBody(part.Body, header)
	if err != nil {
		return part, err
	}
	target := part.URL
	if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "/$batch") {
		return part, errors.New("its url must be a path relative to the version, and of no batch")
	}
	part.request, err = innerRequest(outer, part.Method, "/v1.0"+target, header, content)
	return part, err
}

// partBody is the body of a part: JSON, or a string of base64 for another type.
func partBody(body json.RawMessage, header http.Header) ([]byte, error) {
	switch {
	case len(body) == 0:
		return nil, nil
	case header.Get("Content-Type") == "":
		return nil, errors.New("a body needs a Content-Type in headers")
	case isJSON(header.Get("Content-Type")):
		return body, nil
	}
	var encoded string
	if json.Unmarshal(body, &encoded) != nil {
		return nil, errors.New("a body that is not JSON must be a string")
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("a body that is not JSON must be base64")
	}
	return decoded, nil
}

// checkMembers refuses a document that is not one object with some of the
// members, each spelt so and there once.
func checkMembers(raw []byte, members ...string) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return errors.New("it is no object")
	}
	var seen []string
	for decoder.More() {
		token, err := decoder.Token()
		name, _ := token.(string)
		if err != nil || !slices.Contains(members, name) || slices.Contains(seen, name) {
			return fmt.Errorf("the member %q is unknown or there twice", name)
		}
		seen = append(seen, name)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return errors.New("it is no JSON")
		}
	}
	if _, err := decoder.Token(); err != nil {
		return errors.New("it is no JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows it")
	}
	return nil
}
