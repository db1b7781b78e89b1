package batch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// maxBeforeResponses is how far into Graph's answer its "responses" may begin,
// in bytes.
const maxBeforeResponses = 64 << 10

// graphRefusals are the answers to refused parts, as elements of "responses".
func (e *Envelope) graphRefusals() []byte {
	var text []byte
	for _, p := range e.parts {
		if p.refused == nil {
			continue
		}
		if len(text) > 0 {
			text = append(text, ',')
		}
		header, body := e.options.Refusal(p.refused)
		text = appendString(append(text, `{"id":`...), p.id)
		text = strconv.AppendInt(append(text, `,"status":`...), int64(p.refused.Status), 10)
		text = appendGraphHeader(append(text, `,"headers":`...), header)
		text = append(append(text, `,"body":`...), body...)
		text = append(text, '}')
	}
	return text
}

// graphAnswer is the answer to a batch of which nothing is sent.
func (e *Envelope) graphAnswer() []byte {
	return append(append([]byte(`{"responses":[`), e.graphRefusals()...), `]}`...)
}

// graphResponse adds the answers to refused parts and rewrites links.
func (e *Envelope) graphResponse(resp *http.Response, rules func(*target.Request) *rewrite.Rules, replace func(*target.Request) rewrite.Func) error {
	if err := e.addGraphRefusals(resp); err != nil {
		return err
	}
	byID := make(map[string]*part, len(e.parts))
	for _, p := range e.sent() {
		byID[strings.ToLower(p.id)] = p // the API compares IDs so
	}
	all := &rewrite.Rules{Parts: func(id string) *rewrite.Rules {
		if p := byID[strings.ToLower(id)]; p != nil {
			return rules(&p.judged)
		}
		return nil
	}}
	return rewrite.Response(resp, all, func(f rewrite.Found) (string, bool) {
		if p := byID[strings.ToLower(f.Part)]; p != nil {
			return replace(&p.judged)(f)
		}
		return "", false
	})
}

// addGraphRefusals puts the answers to refused parts at the beginning of
// "responses". An answer that fails the whole batch stays as it is.
func (e *Envelope) addGraphRefusals(resp *http.Response) error {
	if len(e.sent()) == len(e.parts) || resp.StatusCode != http.StatusOK {
		return nil
	}
	if err := checkUncoded(resp); err != nil {
		return err
	}
	read := new(bytes.Buffer)
	head := &io.LimitedReader{R: resp.Body, N: maxBeforeResponses}
	end, more, err := responsesAt(io.TeeReader(head, read))
	if err != nil {
		return unexpected().Because(err)
	}
	refusals := e.graphRefusals()
	if more {
		refusals = append(refusals, ',')
	}
	resp.Body = &answerBody{
		Reader: io.MultiReader(bytes.NewReader(read.Bytes()[:end]), bytes.NewReader(refusals), bytes.NewReader(read.Bytes()[end:]), resp.Body),
		Closer: resp.Body,
	}
	changed(resp)
	return nil
}

// responsesAt finds the place behind the "[" of the member "responses" of the
// outermost object, and reports whether elements follow.
func responsesAt(r io.Reader) (end int64, more bool, err error) {
	dec := json.NewDecoder(r)
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return 0, false, errors.Join(err, errors.New("the answer is no object"))
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return 0, false, err
		}
		if name != "responses" {
			var skipped json.RawMessage
			if err := dec.Decode(&skipped); err != nil {
				return 0, false, err
			}
			continue
		}
		if token, err := dec.Token(); err != nil || token != json.Delim('[') {
			return 0, false, errors.Join(err, errors.New(`"responses" is no array`))
		}
		end = dec.InputOffset()
		if dec.More() {
			return end, true, nil
		}
		_, err = dec.Token() // "]", or it was not to be seen
		return end, false, err
	}
	return 0, false, errors.New(`the answer has no "responses"`)
}

// Response makes the API's answer to the envelope the caller's: as if each part
// had been answered by itself. Links are rewritten by what the functions give
// for a part, the fields of a part's header, for Google, by header; and the
// answers to refused parts are added. A function that is nil changes nothing.
// The body is read as it is passed on. The error is a [problem.Problem] where
// the answer is not one to a batch.
func (e *Envelope) Response(
	resp *http.Response,
	rules func(part *target.Request) *rewrite.Rules,
	replace func(part *target.Request) rewrite.Func,
	header func(part *target.Request, status int, h http.Header),
) error {
	if rules == nil {
		rules = func(*target.Request) *rewrite.Rules { return nil }
	}
	if replace == nil {
		replace = func(*target.Request) rewrite.Func {
			return func(rewrite.Found) (string, bool) { return "", false }
		}
	}
	if header == nil {
		header = func(*target.Request, int, http.Header) {}
	}
	if e.kind == Graph {
		return e.graphResponse(resp, rules, replace)
	}
	return e.googleResponse(resp, rules, replace, header)
}

// answerBody reads an answer that was put together anew.
type answerBody struct {
	io.Reader
	io.Closer
}

// changed takes out of a header what was said of a body that is another now.
func changed(resp *http.Response) {
	resp.ContentLength = -1
	resp.Header.Del("Content-Length")
	resp.Header.Del("ETag")
	rewrite.DropDigests(resp.Header)
}

// checkUncoded refuses a coding: none was asked for.
func checkUncoded(resp *http.Response) error {
	if isCoded(resp.Header) {
		return unexpected()
	}
	return nil
}

func unexpected() *problem.Problem {
	return problem.New(problem.UpstreamError, "The API's answer to the batch has another form than expected")
}
