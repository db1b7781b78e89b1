package fakeprovider

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Endpoint is what a [Fault] befalls.
type Endpoint string

// The endpoints with faults.
const (
	EndpointToken    Endpoint = "token"
	EndpointRevoke   Endpoint = "revoke"
	EndpointMetadata Endpoint = "metadata"
	EndpointAPI      Endpoint = "api"
	// EndpointAuthorize is the consent page, that of administrators too.
	EndpointAuthorize Endpoint = "authorize"
	EndpointDevice    Endpoint = "device"
	EndpointKeys      Endpoint = "keys"
	EndpointUserinfo  Endpoint = "userinfo"
	// EndpointSTS and EndpointSignJWT are Google's for keyless signing.
	EndpointSTS     Endpoint = "sts"
	EndpointSignJWT Endpoint = "sign_jwt"
)

var endpoints = []Endpoint{
	EndpointToken, EndpointRevoke, EndpointMetadata, EndpointAPI,
	EndpointAuthorize, EndpointDevice, EndpointKeys, EndpointUserinfo,
	EndpointSTS, EndpointSignJWT,
}

// FaultKind is what goes wrong.
type FaultKind string

// The kinds of faults.
const (
	// Delay, the zero kind: the true answer, after Gate and Delay.
	Delay FaultKind = ""
	// Respond answers with Status, Header and Body: server errors, throttling,
	// redirects, a captive portal's HTML.
	Respond FaultKind = "respond"
	// OAuthError answers with Error, Description, Suberror and Codes in the
	// client's dialect, with Status (default 400, 401 for invalid_client).
	OAuthError FaultKind = "error"
	// Alter changes members of the true answer: Members, FormEncoded, Status.
	Alter FaultKind = "alter"
	// Truncate announces the whole true answer (or Body, if set), sends Keep
	// bytes of it and breaks the connection.
	Truncate FaultKind = "truncate"
	// Drop breaks the connection without an answer.
	Drop FaultKind = "drop"
	// Hang answers nothing until the client leaves.
	Hang FaultKind = "hang"
	// FlawedIDToken is the true answer but for what Flaw does to its ID token.
	FlawedIDToken FaultKind = "id_token"
)

var faultKinds = []FaultKind{Delay, Respond, OAuthError, Alter, Truncate, Drop, Hang, FlawedIDToken}

// Fault is a scripted failure. Faults are queued; a request meets the first in
// the queue that matches it and is not used up.
type Fault struct {
	// ID is assigned when the fault is queued.
	ID int `json:"id,omitempty"`
	// On is the endpoint. Default: token.
	On Endpoint `json:"on,omitempty"`
	// Times is how many requests meet it; -1 for all. Default: 1.
	Times int `json:"times,omitempty"`
	// Grant, Audience, PathPrefix and GrantType ("authorization_code") restrict
	// it to matching requests.
	Grant      string `json:"grant,omitempty"`
	GrantType  string `json:"grant_type,omitempty"`
	Audience   string `json:"audience,omitempty"`
	PathPrefix string `json:"path_prefix,omitempty"`

	// Gate holds the request until [Server.Release] is called with its name,
	// and Delay then for a time. A client that leaves meanwhile is noticed once
	// its request body was read.
	Delay Duration `json:"delay,omitempty"`
	Gate  string   `json:"gate,omitempty"`
	// Commit carries the request out first: tokens are rotated, messages sent,
	// and then the answer is held, replaced or lost.
	Commit bool `json:"commit,omitempty"`

	Kind   FaultKind         `json:"kind,omitempty"`
	Status int               `json:"status,omitempty"`
	Header map[string]string `json:"header,omitempty"`
	Body   string            `json:"body,omitempty"`
	// Pad is how many spaces follow the body, to make it too large.
	Pad int64 `json:"pad,omitempty"`
	// Keep is how many bytes Truncate sends. Default: half of the body.
	Keep int `json:"keep,omitempty"`

	// Error, Description, Suberror (Google's error_subtype) and Codes (AADSTS
	// numbers) are for OAuthError.
	Error       string `json:"error,omitempty"`
	Description string `json:"description,omitempty"`
	Suberror    string `json:"suberror,omitempty"`
	Codes       []int  `json:"codes,omitempty"`

	// Members are for Alter: raw text by the name of a member of the answer,
	// put there verbatim, so that it need not even be JSON: `"3600"`, `3.6e3`,
	// `nonsense`. Empty text removes the member.
	Members map[string]string `json:"members,omitempty"`
	// FormEncoded writes the answer of Alter or OAuthError form-encoded
	// instead of as JSON.
	FormEncoded bool `json:"form_encoded,omitempty"`

	// Flaw is for FlawedIDToken.
	Flaw Flaw `json:"flaw,omitempty"`
}

func (f *Fault) name() string { return cmp.Or(string(f.Kind), "delay") }

// Redirect is a fault that redirects to location with status.
func Redirect(status int, location string) Fault {
	return Fault{Kind: Respond, Status: status, Header: map[string]string{"Location": location}}
}

func (f *Fault) check() error {
	f.On = cmp.Or(f.On, EndpointToken)
	f.Times = cmp.Or(f.Times, 1)
	switch {
	case !slices.Contains(endpoints, f.On):
		return fmt.Errorf("unknown endpoint %q", f.On)
	case !slices.Contains(faultKinds, f.Kind):
		return fmt.Errorf("unknown fault %q", f.Kind)
	case f.Times < -1 || f.Delay < 0 || f.Pad < 0 || f.Keep < 0:
		return errors.New("fault has a negative number")
	case f.Status != 0 && (f.Status < 200 || f.Status > 999):
		return fmt.Errorf("status %d is not a final one", f.Status)
	case f.Kind == Respond && f.Status == 0:
		return errors.New("status is missing")
	case f.Kind == OAuthError && f.Error == "":
		return errors.New("error is missing")
	case f.Kind == FlawedIDToken && (f.On != EndpointToken || !slices.Contains(flaws, f.Flaw)):
		return fmt.Errorf("unknown flaw %q of an ID token, or not on the token endpoint", f.Flaw)
	}
	return f.checkUse()
}

// checkUse refuses what the fault's kind would ignore: a test that relies on
// it would pass for nothing.
func (f *Fault) checkUse() error {
	for _, option := range []struct {
		name string
		set  bool
		of   []FaultKind
	}{
		{"status", f.Status != 0, []FaultKind{Respond, OAuthError, Alter}},
		{"header", len(f.Header) > 0, []FaultKind{Respond, OAuthError, Alter, Truncate}},
		{"body", f.Body != "", []FaultKind{Respond, Truncate}},
		{"pad", f.Pad != 0, []FaultKind{Respond, OAuthError, Alter}},
		{"keep", f.Keep != 0, []FaultKind{Truncate}},
		{"error", f.Error+f.Description+f.Suberror != "" || len(f.Codes) > 0, []FaultKind{OAuthError}},
		{"members", len(f.Members) > 0, []FaultKind{Alter}},
		{"form_encoded", f.FormEncoded, []FaultKind{Alter, OAuthError}},
		{"flaw", f.Flaw != "", []FaultKind{FlawedIDToken}},
	} {
		if option.set && !slices.Contains(option.of, f.Kind) {
			return fmt.Errorf("%s is not for fault %q", option.name, f.name())
		}
	}
	return nil
}

// QueueFaults appends faults to the queue, all or none, and returns them with
// their IDs.
func (s *Server) QueueFaults(faults ...Fault) ([]Fault, error) {
	queued := slices.Clone(faults)
	for i := range queued {
		if err := queued[i].check(); err != nil {
			return nil, fmt.Errorf("fault %d: %w", i, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range queued {
		s.faultID++
		queued[i].ID = s.faultID
		kept := queued[i]
		s.faults = append(s.faults, &kept)
	}
	return queued, nil
}

// Faults returns the queue. Times counts down.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	faults := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		faults = append(faults, *f)
	}
	return faults
}

// ClearFaults empties the queue. Requests that are already held stay so.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// faultCall is what a fault is matched with.
type faultCall struct {
	endpoint              Endpoint
	grant, audience, path string
	grantType             string
}

func (f *Fault) matches(c faultCall) bool {
	return f.On == c.endpoint &&
		(f.Grant == "" || f.Grant == c.grant) &&
		(f.Audience == "" || f.Audience == c.audience) &&
		(f.GrantType == "" || f.GrantType == c.grantType) &&
		strings.HasPrefix(c.path, f.PathPrefix)
}

// takeFault uses up one of the times of the first fault that matches. The
// caller holds mu.
func (s *Server) takeFault(c faultCall) *Fault {
	i := slices.IndexFunc(s.faults, func(f *Fault) bool { return f.matches(c) })
	if i < 0 {
		return nil
	}
	taken := *s.faults[i]
	if s.faults[i].Times > 0 {
		s.faults[i].Times--
	}
	if s.faults[i].Times == 0 {
		s.faults = slices.Delete(s.faults, i, i+1)
	}
	s.count(s.grants[c.grant], func(counters *Counters) { counters.Faults++ })
	return &taken
}

// serve answers by next, or as the fault f wants if there is one. Where the
// client leaves while it is held, nothing is answered.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, f *Fault, d Dialect, next http.HandlerFunc) {
	if f == nil {
		next(w, r)
		return
	}
	answer := newRecording()
	if f.Commit {
		next(answer, r)
	}
	s.hold(r, f)
	if !f.Commit && (f.Kind == Delay || f.Kind == FlawedIDToken) {
		next(w, r)
		return
	}
	if !f.Commit && (f.Kind == Alter || f.Kind == Truncate) {
		next(answer, r)
	}
	switch f.Kind {
	case Delay, FlawedIDToken:
	case Drop:
		panic(http.ErrAbortHandler)
	case Hang:
		// Only behind the body does net/http notice that a client leaves.
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case Respond:
		answer = newRecording()
		answer.status = f.Status
		answer.body.WriteString(f.Body)
	case OAuthError:
		answer = s.oauthError(f, d)
	case Alter:
		answer.alter(f)
	case Truncate:
		if f.Body != "" {
			answer.body.Reset()
			answer.body.WriteString(f.Body)
		}
	}
	for name, value := range f.Header {
		answer.header.Set(name, value)
	}
	answer.send(w, f)
}

// hold waits as long as f says. It does not return if the client leaves.
func (s *Server) hold(r *http.Request, f *Fault) {
	if f.Gate != "" {
		if s.gates.wait(r.Context(), f.Gate) != nil {
			panic(http.ErrAbortHandler)
		}
	}
	if f.Delay > 0 {
		timer := time.NewTimer(time.Duration(f.Delay))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

func (s *Server) oauthError(f *Fault, d Dialect) *recording {
	status := f.Status
	if status == 0 {
		status = http.StatusBadRequest
		if f.Error == "invalid_client" {
			status = http.StatusUnauthorized
		}
	}
	no := refusal{
		status: status, code: f.Error, description: f.Description,
		subtype: f.Suberror, aadsts: f.Codes,
	}
	answer := newRecording()
	no.write(answer, d, s.time())
	if f.FormEncoded {
		answer.formEncode()
	}
	return answer
}

// Release lets go the requests held at gate, and returns how many there were.
func (s *Server) Release(gate string) int { return s.gates.release(gate) }

// AwaitHeld returns once at least n requests are held at gate, or with ctx's
// error.
func (s *Server) AwaitHeld(ctx context.Context, gate string, n int) error {
	return s.gates.await(ctx, gate, n)
}

// recording is an answer that was not sent yet.
type recording struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecording() *recording { return &recording{header: http.Header{}} }

// Header implements [http.ResponseWriter].
func (r *recording) Header() http.Header { return r.header }

// WriteHeader implements [http.ResponseWriter].
func (r *recording) WriteHeader(status int) { r.status = cmp.Or(r.status, status) }

// Write implements [http.ResponseWriter].
func (r *recording) Write(p []byte) (int, error) { return r.body.Write(p) }

// Flush implements [http.Flusher]; there is nobody to flush to.
func (r *recording) Flush() {}

// alter rewrites a JSON object, member by member. What is no object stays.
func (r *recording) alter(f *Fault) {
	r.status = cmp.Or(f.Status, r.status)
	var members map[string]json.RawMessage
	if json.Unmarshal(r.body.Bytes(), &members) != nil {
		return
	}
	for name, raw := range f.Members {
		if raw == "" {
			delete(members, name)
			continue
		}
		members[name] = json.RawMessage(raw)
	}
	// Written by hand, because the encoder would refuse what is not JSON.
	r.body.Reset()
	separator := "{"
	for _, name := range slices.Sorted(maps.Keys(members)) {
		fmt.Fprintf(&r.body, "%s%s:%s", separator, strconv.Quote(name), members[name])
		separator = ","
	}
	if len(members) == 0 {
		r.body.WriteString("{")
	}
	r.body.WriteString("}")
	r.header.Del("Content-Length")
	if f.FormEncoded {
		r.formEncode()
	}
}

// formEncode writes the members of a JSON object as a form.
func (r *recording) formEncode() {
	decoder := json.NewDecoder(bytes.NewReader(r.body.Bytes()))
	decoder.UseNumber()
	var members map[string]any
	if decoder.Decode(&members) != nil {
		return
	}
	form := url.Values{}
	for name, value := range members {
		form.Set(name, fmt.Sprint(value))
	}
	r.body.Reset()
	r.body.WriteString(form.Encode())
	r.header.Set("Content-Type", "application/x-www-form-urlencoded")
}

// send answers w with what was recorded, cut or padded as f says.
func (r *recording) send(w http.ResponseWriter, f *Fault) {
	maps.Copy(w.Header(), r.header)
	body := r.body.Bytes()
	if f.Kind == Truncate {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(cmp.Or(r.status, http.StatusOK))
	if f.Kind == Truncate {
		keep := cmp.Or(f.Keep, len(body)/2)
		_, _ = w.Write(body[:min(keep, len(body))]) //nolint:gosec // a stand-in for servers whose answers are what tests say
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if _, err := w.Write(body); err != nil { //nolint:gosec // a stand-in for servers whose answers are what tests say
		return // the client left
	}
	_, _ = io.CopyN(w, spaces{}, f.Pad)
}

// spaces is an endless reader of spaces.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
