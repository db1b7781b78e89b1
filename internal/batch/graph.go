package batch

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// maxGraphParts is how many parts Graph takes in one batch.
const maxGraphParts = 20

// sourceURL is a member of a request's body by which Graph is told to fetch a
// file from elsewhere.
const sourceURL = "@microsoft.graph.sourceUrl"

// readGraph reads a JSON batch. Names are compared as they are: a reader that
// takes "URL" for "url", or the last of two for the first, must not come after
// this one.
func (e *Envelope) readGraph(q *target.Request, text []byte) error {
	if !utf8.Valid(text) || !json.Valid(text) {
		return malformed("the batch is not JSON in UTF-8 without a byte order mark (RFC 8259)")
	}
	members, err := graphMembers(text, "the batch", "requests")
	if err != nil {
		return err
	}
	requests, ok := elementsOf(members["requests"], maxGraphParts)
	if !ok {
		return malformed(`the batch needs the member "requests", an array`)
	}
	if len(requests) == 0 || len(requests) > maxGraphParts {
		return malformed(fmt.Sprintf(`"requests" has no parts, or too many: send 1 to %d`, maxGraphParts))
	}
	for _, request := range requests {
		if err := e.readGraphPart(q, request); err != nil {
			return err
		}
	}
	return e.checkGraphIDs()
}

// graphMembers reads an object that has no other members than those, each at
// most once.
func graphMembers(text []byte, what string, known ...string) (map[string][]byte, error) {
	members, ok := membersOf(text)
	if !ok {
		return nil, malformed(what + " is not a JSON object")
	}
	read := make(map[string][]byte, len(known))
	for m := range members {
		if _, twice := read[m.name]; twice {
			return nil, malformed(fmt.Sprintf("%s has the member %q twice", what, m.name))
		}
		if !slices.Contains(known, m.name) {
			return nil, malformed(fmt.Sprintf("%s has the member %q: it may have %s, written so", what, m.name, strings.Join(known, ", ")))
		}
		read[m.name] = m.value
	}
	return read, nil
}

// readGraphPart reads an element of "requests".
func (e *Envelope) readGraphPart(q *target.Request, text []byte) error {
	// A client library of Microsoft's writes "depends_on", which Graph does not
	// know.
	members, err := graphMembers(text, "a part of the batch", "id", "method", "url", "headers", "body", "dependsOn", "depends_on")
	if err != nil {
		return err
	}
	p := new(part)
	var method, url string
	for _, required := range []struct {
		name  string
		value *string
	}{{"id", &p.id}, {"method", &method}, {"url", &url}} {
		var ok bool
		if *required.value, ok = stringOf(members[required.name]); !ok || *required.value == "" {
			return malformed(fmt.Sprintf("a part of the batch needs the member %q, a string that is not empty", required.name))
		}
	}
	if p.header, err = graphHeader(members["headers"]); err != nil {
		return err
	}
	if p.dependsOn, err = graphDependencies(members["dependsOn"]); err != nil {
		return err
	}
	p.sent, err = e.graphTarget(q, method, url)
	p.judged = p.sent
	if body := members["body"]; !isNull(body) {
		p.body = e.openSource(&p.sent, body)
	}
	return e.add(p, err)
}

// graphTarget maps the URL of a part to the API's path, and keeps it below the
// batch's version: that is where the API puts it.
func (e *Envelope) graphTarget(q *target.Request, method, url string) (target.Request, error) {
	root := rootOf(q.Path)
	sent, err := e.target(q, method, escapeIRI(url), root)
	if err != nil {
		return sent, err
	}
	if !strings.EqualFold(rootOf(sent.Path), root) {
		return sent, malformed("the URL of a part is of another version of the API than the batch (" + root[1:] + "): send it in a batch of its own")
	}
	rest := sent.Path[len(root):]
	if rest == "" {
		rest = "/"
	}
	if isVersion(target.DecodeFully(rootOf(rest))[1:]) {
		return sent, malformed("the URL of a part names the version of the API twice: leave it out") // the API might leave one out itself
	}
	sent.Path = root + rest
	if kindOfPath(sent.Path, typeMicrosoft) != None {
		return sent, malformed("a part of the batch is a batch itself: send its parts by themselves")
	}
	return sent, nil
}

// escapeIRI percent-encodes what stands in a URL inside JSON and not on the
// wire (RFC 3987 section 3.1). Microsoft's examples have spaces there.
func escapeIRI(url string) string {
	var b strings.Builder
	for i := range len(url) {
		if c := url[i]; c >= utf8.RuneSelf || strings.IndexByte(" \"<>^`{|}", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// graphHeader reads a part's "headers"; text is nil if there are none.
func graphHeader(text []byte) (http.Header, error) {
	f := newFields()
	if text == nil || isNull(text) {
		return f.header, nil
	}
	members, ok := membersOf(text)
	if !ok {
		return nil, malformed(`the member "headers" of a part of the batch is not an object`)
	}
	for m := range members {
		value, ok := stringOf(m.value)
		if !ok {
			return nil, malformed(fmt.Sprintf("the header field %q of a part of the batch is not a string", m.name))
		}
		if err := f.add(m.name, value); err != nil {
			return nil, err
		}
		if len(f.header[http.CanonicalHeaderKey(m.name)]) > 1 {
			return nil, malformed(fmt.Sprintf("a part of the batch has the header field %q twice", m.name))
		}
	}
	return f.header, nil
}

// graphDependencies reads a part's "dependsOn"; text is nil if there is none.
func graphDependencies(text []byte) ([]string, error) {
	if text == nil || isNull(text) {
		return nil, nil
	}
	elements, ok := elementsOf(text, maxGraphParts)
	if len(elements) > maxGraphParts {
		return nil, malformed(fmt.Sprintf(`the member "dependsOn" of a part of the batch has more than %d IDs`, maxGraphParts))
	}
	var ids []string
	for _, element := range elements {
		id, isString := stringOf(element)
		ok = ok && isString && !slices.Contains(ids, id)
		ids = append(ids, id)
	}
	if !ok {
		return nil, malformed(`the member "dependsOn" of a part of the batch is not an array of IDs, each once`)
	}
	return ids, nil
}

// checkGraphIDs refuses IDs that are not unique, without regard to case as the
// API compares them, and dependencies that cannot be met.
func (e *Envelope) checkGraphIDs() error {
	parts := make(map[string]*part, len(e.parts))
	folded := make(map[string]bool, len(e.parts))
	for _, p := range e.parts {
		if folded[strings.ToLower(p.id)] {
			return malformed(fmt.Sprintf("two parts of the batch have the ID %q", p.id))
		}
		parts[p.id], folded[strings.ToLower(p.id)] = p, true
	}
	done := make(map[string]bool, len(e.parts))
	for range e.parts { // each round does all whose dependencies are done
		for _, p := range e.parts {
			met := true
			for _, id := range p.dependsOn {
				if parts[id] == nil {
					return malformed(fmt.Sprintf("a part of the batch depends on %q, which is not in it", id))
				}
				met = met && done[id]
			}
			done[p.id] = done[p.id] || met
		}
	}
	for id, met := range done {
		if !met {
			return malformed(fmt.Sprintf("the part %q of the batch depends on itself, by way of others or not", id))
		}
	}
	return nil
}

// openSource replaces a handle of ours in a body by the URL that it stands for.
func (e *Envelope) openSource(part *target.Request, body []byte) []byte {
	if e.options.OpenHandle == nil {
		return body
	}
	members, ok := membersOf(body)
	if !ok {
		return body
	}
	var opened []byte
	copied := 0
	for m := range members {
		if m.name != sourceURL {
			continue
		}
		handle, ok := stringOf(m.value)
		if !ok {
			continue
		}
		if url, ok := e.options.OpenHandle(part, handle); ok {
			opened = appendString(append(opened, body[copied:m.start]...), url)
			copied = m.start + len(m.value)
		}
	}
	return append(opened, body[copied:]...)
}

// writeGraph writes the parts that are sent.
func (e *Envelope) writeGraph() []byte {
	text := []byte(`{"requests":[`)
	for i, p := range e.sent() {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendString(append(text, `{"id":`...), p.id)
		text = appendString(append(text, `,"method":`...), p.sent.Method)
		url := p.sent.Path[len(rootOf(p.sent.Path)):] + query(&p.sent)
		text = appendString(append(text, `,"url":`...), url)
		if len(p.header) > 0 {
			text = appendGraphHeader(append(text, `,"headers":`...), p.header)
		}
		if p.body != nil {
			text = append(append(text, `,"body":`...), p.body...)
		}
		if len(p.dependsOn) > 0 {
			text = append(text, `,"dependsOn":[`...)
			for i, id := range p.dependsOn {
				if i > 0 {
					text = append(text, ',')
				}
				text = appendString(text, id)
			}
			text = append(text, ']')
		}
		text = append(text, '}')
	}
	return append(text, `]}`...)
}

// appendGraphHeader appends a header as an object of strings.
func appendGraphHeader(text []byte, h http.Header) []byte {
	text = append(text, '{')
	for i, name := range slices.Sorted(maps.Keys(h)) {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(appendString(text, name), ':')
		text = appendString(text, strings.Join(h[name], ", "))
	}
	return append(text, '}')
}

// query is the query of a request with its "?".
func query(q *target.Request) string {
	if q.RawQuery == "" && !q.ForceQuery {
		return ""
	}
	return "?" + q.RawQuery
}
