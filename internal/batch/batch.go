// Package batch reads the envelopes in which several calls come to an API at
// once, Microsoft Graph's JSON and Google's multipart/mixed, and writes them
// anew. Each part becomes a canonical request of its own, so that it is judged
// like one. Nothing of the caller's envelope is passed on as it came: what is
// sent is what was understood.
package batch

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// Kind is a kind of envelope.
type Kind int

// The kinds of envelopes.
const (
	// None is a call that is no batch.
	None Kind = iota
	// Graph is Microsoft Graph's JSON.
	Graph
	// Google is a multipart/mixed of application/http.
	Google
	// Unsupported is a batch that cannot be read, and so is never sent.
	Unsupported
)

// MaxLength is how long an envelope may be, in bytes.
const MaxLength = 25 << 20

// TooLarge is the refusal of a longer one.
func TooLarge() *problem.Problem {
	return problem.New(problem.TooLarge, fmt.Sprintf("the batch is longer than %d MiB: send fewer parts at once", MaxLength>>20))
}

// The types of the providers whose APIs take batches.
const (
	typeGoogle    = "google"
	typeMicrosoft = "microsoft"
)

// KindOf says which kind of batch a call is, for an account of that type of
// provider.
func KindOf(q *target.Request, providerType string) Kind {
	kind := kindOfPath(q.Path, providerType)
	switch q.Method {
	case http.MethodPost:
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return None
	default:
		if kind != None {
			return Unsupported // whether the API minds the method is not known
		}
	}
	return kind
}

// kindOfPath judges a path as an API might read it, whatever is escaped in it.
func kindOfPath(path, providerType string) Kind {
	segments := strings.Split(strings.Trim(target.DecodeFully(path), "/"), "/")
	plain := true
	for i, segment := range segments {
		var parameter bool // to some servers, and no part of the segment then
		segments[i], _, parameter = strings.Cut(segment, ";")
		plain = plain && !parameter
	}
	switch providerType {
	case typeGoogle:
		if strings.EqualFold(segments[0], "batch") {
			return Google
		}
	case typeMicrosoft:
		switch {
		case !slices.ContainsFunc(segments, func(s string) bool { return strings.EqualFold(s, "$batch") }):
			return None
		case plain && len(segments) == 2 && isVersion(rootOf(path)[1:]):
			return Graph
		}
		return Unsupported
	}
	return None
}

// rootOf is the first segment of a path with the slash before it.
func rootOf(path string) string {
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[:i+1]
	}
	return path
}

// isVersion reports whether a segment is a version of Microsoft Graph.
func isVersion(segment string) bool {
	return strings.EqualFold(segment, "v1.0") || strings.EqualFold(segment, "beta")
}

// Options are what an envelope is read with.
type Options struct {
	// Hosts are the account's provider's.
	Hosts target.Hosts
	// Scheme is what an API host is spoken to with, "https" or "http".
	Scheme func(host string) string
	// Judge says why a part is not to be sent; nil lets all pass. It sees the
	// part as the API will take it, with the batch's own query where that
	// counts for the parts, and the part's own header and body. The error is a
	// [problem.Problem].
	Judge func(part *target.Request, header http.Header, body []byte) error
	// OpenHandle gives the URL behind a handle of ours in the JSON body of a
	// part, as the member "@microsoft.graph.sourceUrl" of its outermost object;
	// nil opens none.
	OpenHandle func(part *target.Request, url string) (opened string, ok bool)
	// Refusal prints a problem as the API would print one of its own: the header
	// with Content-Type and Bellhop-Error, and the body, which for Graph is
	// JSON.
	Refusal func(p *problem.Problem) (header http.Header, body []byte)
}

// Envelope is a batch that was read.
type Envelope struct {
	kind    Kind
	options Options
	parts   []*part

	contentType string
	body        []byte
}

// part is one call of a batch.
type part struct {
	// id is the "id", or the Content-ID as it was written; the latter may be
	// empty.
	id string
	// sent is the part as it is written.
	sent target.Request
	// judged is sent with what the API adds to it from the batch's own request.
	judged target.Request
	header http.Header
	body   []byte
	// dependsOn are the IDs of the parts that must succeed before it.
	dependsOn []string
	// refused is why the part is not sent; nil if it is.
	refused *problem.Problem
}

// Read reads the body of a call that [KindOf] took for a batch. The error, a
// [problem.Problem], is for an envelope that is malformed as a whole, or that
// would bring a Bellhop key to the API. A part that is refused for itself is
// answered by [Envelope.Response] or [Envelope.Answer].
func Read(q *target.Request, kind Kind, header http.Header, body io.Reader, o Options) (*Envelope, error) {
	if kind == Unsupported {
		return nil, malformed("this kind of batch is not passed on: send its calls one by one")
	}
	mediaType, params, err := mediaTypeOf(header)
	switch {
	case err != nil:
		return nil, err
	case kind == Graph && mediaType != "application/json":
		return nil, malformed("a batch of Microsoft Graph is JSON: send it with Content-Type application/json")
	case kind == Google && mediaType != "multipart/mixed":
		return nil, malformed("a batch of Google's is a multipart/mixed of application/http: send it with that Content-Type and a boundary")
	}
	text, err := io.ReadAll(io.LimitReader(body, MaxLength+1))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok || len(text) > MaxLength {
		return nil, TooLarge()
	}
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return nil, p
	}
	if err != nil {
		return nil, malformed("the batch did not come whole: send it again").Because(err)
	}
	e := &Envelope{kind: kind, options: o}
	if kind == Graph {
		err = e.readGraph(q, text)
	} else {
		err = e.readGoogle(q, text, params["boundary"])
	}
	if err != nil {
		return nil, err
	}
	e.refuseDependants()
	if e.Empty() {
		return e, nil
	}
	if e.kind == Graph {
		e.contentType, e.body = "application/json", e.writeGraph()
	} else {
		e.contentType, e.body = e.writeGoogle()
	}
	if mentionsKey(e.body) {
		return nil, malformed("the batch contains a Bellhop key: send the key in the batch's own X-Bellhop-Key header field only")
	}
	return e, nil
}

// mediaTypeOf reads the batch's own Content-Type and refuses a coding.
func mediaTypeOf(header http.Header) (mediaType string, params map[string]string, err error) {
	if isCoded(header) {
		return "", nil, malformed("the batch has a Content-Encoding: send it without")
	}
	if len(header["Content-Type"]) != 1 {
		return "", nil, malformed("the batch needs one Content-Type: application/json for Microsoft Graph, multipart/mixed for Google")
	}
	mediaType, params, err = mime.ParseMediaType(header["Content-Type"][0])
	if err != nil {
		return "", nil, malformed("the Content-Type of the batch is malformed (RFC 9110 section 8.3.1)").Because(err)
	}
	return mediaType, params, nil
}

// isCoded reports whether a body has a content coding (RFC 9110 section 8.4).
func isCoded(header http.Header) bool {
	return slices.ContainsFunc(header["Content-Encoding"], func(coding string) bool {
		return coding != "" && !strings.EqualFold(coding, "identity")
	})
}

// add adds a part, judged by itself. The error is for the whole envelope.
func (e *Envelope) add(p *part, err error) error {
	if err == nil && e.options.Judge != nil {
		err = e.options.Judge(&p.judged, p.header, p.body)
	}
	if err == nil {
		target.Outgoing(p.header, false)
		removeConnectionFields(p.header)
		if err := target.CheckHeader(p.header); err != nil {
			return err
		}
	} else {
		p.refused = problem.From(err)
	}
	e.parts = append(e.parts, p)
	return nil
}

// target maps the URL of a part back to the API's.
func (e *Envelope) target(q *target.Request, method, raw, root string) (target.Request, error) {
	sent, err := q.Part(method, raw, root, e.options.Hosts, e.options.Scheme)
	if err == nil {
		return sent, nil
	}
	if _, ok := errors.AsType[*problem.Problem](err); ok {
		return sent, err
	}
	return sent, problem.New(problem.HostNotAllowed, err.Error())
}

// refuseDependants refuses the parts that depend on a refused one, and those
// that depend on them.
func (e *Envelope) refuseDependants() {
	refused := map[string]bool{}
	for again := true; again; {
		again = false
		for _, p := range e.parts {
			if p.refused == nil && slices.ContainsFunc(p.dependsOn, func(id string) bool { return refused[id] }) {
				p.refused = problem.New(problem.FailedDependency, "a part of the batch that this one depends on was refused")
			}
			if p.refused != nil && !refused[p.id] {
				refused[p.id], again = true, true
			}
		}
	}
}

// Empty reports whether every part was refused, so that there is nothing to
// send.
func (e *Envelope) Empty() bool { return len(e.sent()) == 0 }

// sent are the parts that are sent, in order.
func (e *Envelope) sent() []*part {
	return slices.DeleteFunc(slices.Clone(e.parts), func(p *part) bool { return p.refused != nil })
}

// Body is the envelope as it is sent to the API; nil if it is [Envelope.Empty].
func (e *Envelope) Body() (contentType string, body []byte) { return e.contentType, e.body }

// Answer is the answer to an envelope that is [Envelope.Empty].
func (e *Envelope) Answer() (status int, contentType string, body []byte) {
	if e.kind == Graph {
		return http.StatusOK, "application/json", e.graphAnswer()
	}
	contentType, body = e.googleAnswer()
	return http.StatusOK, contentType, body
}

func malformed(message string) *problem.Problem {
	return problem.New(problem.InvalidRequest, message)
}
