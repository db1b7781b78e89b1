package caddymodule

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// dialect is how an error is put into JSON: so that the client library of the
// API that was called shows it.
type dialect int

const (
	// dialectEmailEngine is for Bellhop's own endpoints, and for APIs whose
	// errors have no known form.
	dialectEmailEngine dialect = iota
	dialectGoogle
	dialectGraph
)

// dialectOf is the dialect of the API at a host.
func dialectOf(host string) dialect {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	switch {
	case host == "googleapis.com", strings.HasSuffix(host, ".googleapis.com"), strings.HasSuffix(host, ".googleusercontent.com"):
		return dialectGoogle
	case strings.HasPrefix(host, "graph.microsoft."), strings.HasPrefix(host, "dod-graph.microsoft."),
		strings.HasPrefix(host, "microsoftgraph."), strings.HasPrefix(host, "outlook.office"):
		return dialectGraph
	}
	return dialectEmailEngine
}

// writeProblem answers with p.
func writeProblem(w http.ResponseWriter, r *http.Request, p *problem.Problem, d dialect) {
	text := printProblem(w.Header(), r, p, d)
	w.WriteHeader(p.Status)
	_, _ = w.Write(text) //nolint:gosec // the answer is JSON, and says so; and nobody is left to tell of an error
}

// printProblem fills in the header of the answer to r, and gives its body.
func printProblem(h http.Header, r *http.Request, p *problem.Problem, d dialect) []byte {
	h.Set("Bellhop-Error", string(p.Code))
	if p.Challenge != "" {
		h.Set("WWW-Authenticate", p.Challenge)
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	if p.Limit > 0 {
		h.Set("X-Ratelimit-Limit", strconv.Itoa(p.Limit))
		h.Set("X-Ratelimit-Remaining", "0")
		h.Set("X-Ratelimit-Reset", h.Get("Retry-After"))
	}
	var body any
	switch d {
	case dialectGoogle:
		body = googleError(p)
	case dialectGraph:
		body = graphError(p, r)
	default:
		body = emailEngineError(p)
	}
	text, err := encode(body)
	if err != nil {
		text = []byte("{}") // the status says enough
	}
	ownHeader(h, typeJSON, len(text))
	return text
}

// writeJSON answers with an answer of Bellhop's own.
func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := encode(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte("{}")
	}
	ownHeader(w.Header(), typeJSON, len(text))
	w.WriteHeader(status)
	_, _ = w.Write(text) //nolint:gosec // the answer is JSON, and says so; and nobody is left to tell of an error
}

const typeJSON = "application/json; charset=utf-8"

// ownHeader fills in the header of an answer of Bellhop's own.
func ownHeader(h http.Header, contentType string, length int) {
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(length))
	h.Set("X-Content-Type-Options", "nosniff")
}

// encode is json.Marshal without escapes for HTML, which no client of an API
// expects in messages and URLs.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// members is a JSON object whose members keep their order.
type members []problem.Detail

// MarshalJSON implements [json.Marshaler].
func (m members) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteByte('{')
	for i, member := range m {
		if i > 0 {
			buf.WriteByte(',')
		}
		name, err := encode(member.Name)
		if err != nil {
			return nil, err
		}
		value, err := encode(member.Value)
		if err != nil {
			return nil, err
		}
		buf.Write(name)
		buf.WriteByte(':')
		buf.Write(value)
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

// uncoded are the problems that have no "code" in EmailEngine's dialect.
var uncoded = map[problem.Code]bool{
	problem.MissingKey:      true,
	problem.InvalidKey:      true,
	problem.NotAllowed:      true,
	problem.InvalidRequest:  true,
	problem.AccountNotFound: true,
	problem.RateLimited:     true,
}

func emailEngineError(p *problem.Problem) members {
	m := members{
		{Name: "statusCode", Value: p.Status},
		{Name: "error", Value: http.StatusText(p.Status)},
		{Name: "message", Value: p.Message},
	}
	if !uncoded[p.Code] {
		m = append(m, problem.Detail{Name: "code", Value: p.Code})
	}
	return append(m, p.Details...)
}

// googleStatus is the canonical code (google.rpc.Code) of an HTTP status.
func googleStatus(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "INVALID_ARGUMENT"
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusConflict:
		return "ABORTED"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusMethodNotAllowed:
		return "UNIMPLEMENTED"
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	case http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	}
	if status >= http.StatusInternalServerError {
		return "INTERNAL"
	}
	return "FAILED_PRECONDITION"
}

func googleError(p *problem.Problem) members {
	said := members{
		{Name: "code", Value: p.Status},
		{Name: "message", Value: p.Message},
		{Name: "status", Value: googleStatus(p.Status)},
		{Name: "errors", Value: []members{{
			{Name: "domain", Value: "bellhop"},
			{Name: "reason", Value: p.Code},
			{Name: "message", Value: p.Message},
		}}},
	}
	if url := detail(p, reconnectURL); url != nil {
		said = append(said, problem.Detail{Name: "details", Value: []members{{
			{Name: "@type", Value: "type.googleapis.com/google.rpc.Help"},
			{Name: "links", Value: []members{{{Name: "description", Value: "Reconnect the account"}, {Name: "url", Value: url}}}},
		}}})
	}
	return members{{Name: "error", Value: said}}
}

// detail is a further member of a problem; nil if it has none of that name.
func detail(p *problem.Problem, name string) any {
	for _, d := range p.Details {
		if d.Name == name {
			return d.Value
		}
	}
	return nil
}

func graphError(p *problem.Problem, r *http.Request) members {
	id := uuid.NewString()
	client := r.Header.Get("Client-Request-Id")
	if _, err := uuid.Parse(client); err != nil {
		client = id
	}
	inner := members{
		{Name: "date", Value: time.Now().UTC().Format("2006-01-02T15:04:05")},
		{Name: "request-id", Value: id},
		{Name: "client-request-id", Value: client},
	}
	if url := detail(p, reconnectURL); url != nil {
		inner = append(inner, problem.Detail{Name: reconnectURL, Value: url})
	}
	return members{{Name: "error", Value: members{
		{Name: "code", Value: p.Code},
		{Name: "message", Value: p.Message},
		{Name: "innerError", Value: inner},
	}}}
}
