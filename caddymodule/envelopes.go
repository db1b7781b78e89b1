package caddymodule

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/batch"
	"github.com/bellhop-proxy/bellhop/internal/links"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// unpack reads what a call has in its body that is judged or changed before it
// leaves, and gives the request that goes out: a batch, written anew, or the
// source that an API is told to fetch from.
func unpack(r *http.Request, out *outbound) (*http.Request, error) {
	switch {
	case out.kind != batch.None:
		return unpackBatch(r, out)
	case out.decision.Body != policy.NoBodyCheck:
		return unpackChecked(r, out)
	case out.handle == nil && provider.APIsAt(out.provider.Type(), out.Host) == provider.TypeMicrosoft && fetches(out.Request) && mayBeJSON(r.Header):
		return unpackSource(r, out)
	}
	return r, nil
}

func unpackBatch(r *http.Request, out *outbound) (*http.Request, error) {
	if r.ContentLength > batch.MaxLength {
		return nil, batch.TooLarge() // without reading it
	}
	body := &envelopeBody{source: r.Body, memory: envelopes, key: out.key}
	out.release = body.release
	envelope, err := batch.Read(out.Request, out.kind, r.Header, body, batch.Options{
		Hosts:  out.provider,
		Scheme: out.provider.Scheme,
		Judge:  out.judgePart,
		OpenHandle: func(part *target.Request, link string) (string, bool) {
			if !fetches(part) {
				return "", false
			}
			return out.openSource(link)
		},
		Refusal: func(refused *problem.Problem) (http.Header, []byte) {
			header := make(http.Header)
			return header, printProblem(header, r, refused, dialectOf(out.Host))
		},
	})
	if err != nil {
		return nil, err
	}
	out.envelope = envelope
	if envelope.Empty() {
		return r, nil
	}
	contentType, text := envelope.Body()
	whole := withBody(r, text)
	whole.Header.Set("Content-Type", contentType)
	whole.Header.Del("Accept-Encoding") // refused parts are put among the answers
	return whole, nil
}

// partJudge judges the calls in a batch like the batch itself, each by itself.
func partJudge(key *policy.Key, facts policy.Facts) func(*target.Request, http.Header, []byte) error {
	facts.Envelope = false
	return func(part *target.Request, header http.Header, body []byte) error {
		of := facts
		of.Request = part
		decision := policy.Judge(key, &of)
		if refused := decision.Problem(); refused != nil {
			return refused
		}
		return decision.CheckBody(part, header, body)
	}
}

// unpackChecked reads a body by which the call is judged, and sends on what was
// judged.
func unpackChecked(r *http.Request, out *outbound) (*http.Request, error) {
	body := &envelopeBody{source: r.Body, memory: envelopes, key: out.key}
	out.release = body.release
	text, err := io.ReadAll(io.LimitReader(body, int64(out.decision.Body.Limit())+1))
	if refused := new(problem.Problem); errors.As(err, &refused) {
		return nil, refused
	}
	if err != nil {
		return nil, problem.New(problem.InvalidRequest, "the body did not come whole").Because(err)
	}
	if err := out.decision.CheckBody(out.Request, r.Header, text); err != nil {
		return nil, err
	}
	return withBody(r, text), nil
}

// sourceRules find the URL that Graph is told to fetch a new file from.
var sourceRules = &rewrite.Rules{Members: []rewrite.Member{{Name: "@microsoft.graph.sourceUrl", Kind: rewrite.Download, Places: rewrite.Top}}}

// fetches reports whether a call may tell Graph to fetch a new file. Elsewhere
// Graph might show what it was told.
func fetches(q *target.Request) bool {
	return q.Method == http.MethodPost && strings.HasSuffix(strings.ToLower(q.Path), "/children")
}

// mayBeJSON reports whether a body is JSON as it stands, or does not say what it
// is.
func mayBeJSON(h http.Header) bool {
	return (rewrite.IsJSON(h) || h.Get("Content-Type") == "") && h.Get("Content-Encoding") == ""
}

// sourceLimit is far beyond what describes a file that is fetched from
// somewhere else.
const sourceLimit = 1 << 20

func unpackSource(r *http.Request, out *outbound) (*http.Request, error) {
	opened := rewrite.NewReader(io.LimitReader(r.Body, sourceLimit+1), sourceRules, func(f rewrite.Found) (string, bool) {
		return out.openSource(f.URL)
	})
	body, err := io.ReadAll(opened)
	if err != nil {
		return nil, problem.New(problem.InvalidRequest, "the body did not come whole").Because(err)
	}
	if len(body) > sourceLimit {
		return nil, problem.New(problem.TooLarge, "the description of a new item is larger than 1 MiB: upload its content by itself")
	}
	return withBody(r, body), nil
}

// withBody is r with another body, which is at hand whole. A Connection would
// have Caddy's proxy take out what it names, such as the type of the body.
func withBody(r *http.Request, body []byte) *http.Request {
	whole := r.WithContext(r.Context())
	whole.Header = r.Header.Clone()
	rewrite.DropDigests(whole.Header)
	for _, name := range []string{"Connection", "Content-Encoding", "Expect", "Trailer", "Transfer-Encoding", "Upgrade"} {
		whole.Header.Del(name)
	}
	whole.Header.Set("Content-Length", strconv.Itoa(len(body)))
	whole.Body, whole.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	whole.TransferEncoding, whole.Trailer = nil, nil
	return whole
}

// relinkParts makes the URLs in the answers to a batch's parts lead back
// through this proxy, and adds the answers to the parts that were refused.
func (o *outbound) relinkParts(response *http.Response) error {
	of := func(part *target.Request) *links.Call {
		answered := *o.links
		answered.Request, answered.Seal = part, o.sealFor(part)
		return &answered
	}
	if o.links == nil {
		return o.envelope.Response(response, nil, nil, nil)
	}
	return o.envelope.Response(response,
		func(part *target.Request) *rewrite.Rules { return of(part).Rules() },
		func(part *target.Request) rewrite.Func { return of(part).Replace },
		func(part *target.Request, status int, h http.Header) { of(part).Header(status, h) })
}

// answerParts answers a batch of which no part may be sent.
func answerParts(w http.ResponseWriter, envelope *batch.Envelope) {
	status, contentType, body := envelope.Answer()
	ownHeader(w.Header(), contentType, len(body))
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // an envelope with a type that no browser runs; and nobody is left to tell of an error
}
