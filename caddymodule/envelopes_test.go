package caddymodule

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// graphPart is a part of a $batch, or the answer to one.
type graphPart struct {
	ID        string            `json:"id"`
	Method    string            `json:"method,omitempty"`
	URL       string            `json:"url,omitempty"`
	Status    int               `json:"status,omitempty"`
	DependsOn []string          `json:"dependsOn,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Body      json.RawMessage   `json:"body,omitempty"`
}

func TestGraphBatchesAreRebuilt(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	s.api.answering(http.StatusOK, `{"responses":[{"id":"1","status":200,"headers":{"Content-Type":"application/json"},"body":{"@odata.nextLink":"https://graph.microsoft.com/v1.0/me/messages?$skip=1","value":[]}},`+
		`{"id":"2","status":302,"headers":{"Location":"https://contoso.sharepoint.com/dl?tempauth=x"}}]}`)
	envelope := map[string]any{"requests": []graphPart{
		{ID: "1", Method: "GET", URL: s.url + "/proxy/carol/v1.0/me/messages?$top=1&access_token=stray", Headers: map[string]string{"Authorization": "Bearer " + s.key, "Prefer": "x"}},
		{ID: "2", Method: "GET", URL: "/me/drive/items/1/content", Headers: map[string]string{"x-http-method-override": "DELETE"}},
		{ID: "3", Method: "GET", URL: "https://evil.example/x"},
		{ID: "4", Method: "GET", URL: s.url + "/proxy/alice/gmail.googleapis.com/x"},
		{ID: "5", Method: "POST", URL: "/me/sendMail", DependsOn: []string{"3"}},
	}}
	text, err := json.Marshal(envelope)
	if err != nil {
		t.Fatal(err)
	}
	r := s.call(http.MethodPost, "/proxy/carol/v1.0/$batch", strings.NewReader(string(text)), "Content-Type", "application/json", "Accept-Encoding", "br")
	got := s.api.only(t)
	if !strings.HasPrefix(got.Header.Get("Authorization"), "Bearer ") || strings.Contains(got.Header.Get("Authorization"), s.key) {
		t.Errorf("the batch went out with %q", got.Header.Get("Authorization"))
	}
	var sent struct{ Requests []graphPart }
	if err := json.Unmarshal([]byte(got.Body), &sent); err != nil || len(sent.Requests) != 2 {
		t.Fatalf("sent %s, %v", got.Body, err)
	}
	if p := sent.Requests[0]; p.URL != "/me/messages?$top=1" || len(p.Headers) != 1 || p.Headers["Prefer"] != "x" {
		t.Errorf("part 1 is %+v", p)
	}
	if p := sent.Requests[1]; p.URL != "/me/drive/items/1/content" || len(p.Headers) != 0 {
		t.Errorf("part 2 is %+v", p)
	}
	var answer struct{ Responses []graphPart }
	if err := json.Unmarshal(r.body, &answer); err != nil || r.status != http.StatusOK {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	status, parts := map[string]int{}, map[string]graphPart{}
	for _, p := range answer.Responses {
		status[p.ID], parts[p.ID] = p.Status, p
	}
	if len(answer.Responses) != 5 || status["1"] != 200 || status["2"] != 302 || status["3"] != 400 || status["4"] != 400 || status["5"] != 424 {
		t.Errorf("answers: %v", status)
	}
	var page struct {
		Next string `json:"@odata.nextLink"`
	}
	if err := json.Unmarshal(parts["1"].Body, &page); err != nil || s.local(page.Next) != "/proxy/carol/v1.0/me/messages?$skip=1" {
		t.Errorf("part 1 was answered with %s", parts["1"].Body)
	}
	if link := s.local(parts["2"].Headers["Location"]); !strings.HasPrefix(link, "/proxy/.bellhop/h/") {
		t.Errorf("part 2 was answered with %s", link)
	}
}

func TestGoogleBatchesAreRebuilt(t *testing.T) {
	s := startProxied(t, "upstream gmail.googleapis.com {{provider}}", "upstream gmail.googleapis.com {{api}}")
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		s.api.record(r)
		w.Header().Set("Content-Type", "multipart/mixed; boundary=b")
		_, _ = io.WriteString(w, "--b\r\nContent-Type: application/http\r\nContent-ID: <response-a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}\r\n--b--\r\n")
	})
	body := strings.Join([]string{
		"--x", "Content-Type: application/http", "Content-ID: <a>", "", "GET " + s.url + "/proxy/alice/gmail.googleapis.com/gmail/v1/users/me/profile HTTP/1.1", "Authorization: Bearer " + s.key, "", "",
		"--x", "Content-Type: application/http", "Content-ID: <b>", "", "GET https://people.googleapis.com/v1/people/me", "", "",
		"--x--", "",
	}, "\r\n")
	r := s.call(http.MethodPost, "/proxy/alice/gmail.googleapis.com/batch/gmail/v1", strings.NewReader(body), "Content-Type", "multipart/mixed; boundary=x")
	got := s.api.only(t)
	if strings.Contains(got.Body, s.key) || strings.Contains(got.Body, "people.googleapis.com") || !strings.Contains(got.Body, "GET /gmail/v1/users/me/profile") || !strings.Contains(got.Body, "<a>") {
		t.Errorf("sent %s", got.Body)
	}
	_, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil || r.status != http.StatusOK {
		t.Fatalf("%d %v %s", r.status, r.header, r.body)
	}
	answers := map[string]string{}
	for parts := multipart.NewReader(strings.NewReader(string(r.body)), params["boundary"]); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, r.body)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		answers[part.Header.Get("Content-ID")] = string(text)
	}
	if len(answers) != 2 || !strings.Contains(answers["<response-a>"], "200 OK") || !strings.Contains(answers["<response-b>"], "HTTP/1.1 400") {
		t.Errorf("answers: %q", answers)
	}
}

func TestBatchesThatAreRefusedWhole(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	for name, c := range map[string]struct{ path, media, body string }{
		"no JSON":              {"/proxy/carol/v1.0/$batch", "application/json", "{"},
		"two lists":            {"/proxy/carol/v1.0/$batch", "application/json", `{"requests":[],"requests":[]}`},
		"another case":         {"/proxy/carol/v1.0/%24batch", "application/json", `{"Requests":[{"id":"1","method":"GET","url":"/me"}]}`},
		"a key in a part":      {"/proxy/carol/v1.0/$batch", "application/json", `{"requests":[{"id":"1","method":"POST","url":"/me","headers":{"X-A":"KEY"}}]}`},
		"a key in the body":    {"/proxy/carol/v1.0/$batch", "application/json", `{"requests":[{"id":"1","method":"POST","url":"/me","body":{"a":"KEY"}}]}`},
		"another kind":         {"/proxy/carol/outlook.office.com/api/v2.0/$batch", "multipart/mixed; boundary=x", "--x--"},
		"Google's, unreadable": {"/proxy/alice/gmail.googleapis.com/batch/gmail/v1", "multipart/mixed; boundary=x", "--x\r\nContent-Type: application/http\r\n\r\nGET /x\n--x--"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.call(http.MethodPost, c.path, strings.NewReader(strings.ReplaceAll(c.body, "KEY", s.key)), "Content-Type", c.media)
			wantProblem(t, r, problem.InvalidRequest)
			if strings.Contains(string(r.body), s.key) {
				t.Errorf("the key is told: %s", r.body)
			}
		})
	}
	if taken := s.api.take(); len(taken) != 0 {
		t.Errorf("%+v reached the API", taken)
	}
	r := s.call(http.MethodPost, "/proxy/carol/v1.0/$batch", strings.NewReader(`{"requests":[{"id":"1","method":"GET","url":"https://evil.example/"}]}`), "Content-Type", "application/json")
	if r.status != http.StatusOK || !strings.Contains(string(r.body), `"status":400`) {
		t.Errorf("a batch of which no part may be sent: %d %s", r.status, r.body)
	}
}

func TestLargeBatchesAtOnceAreBounded(t *testing.T) {
	of := envelopes
	envelopes = newEnvelopeMemory(2500, 2000)
	t.Cleanup(func() { envelopes = of })
	s := startProxied(t, graphAtAPI...)
	other := *s
	other.key = s.addKey("other", map[string]any{"accounts": []string{"*"}})
	batch := func(s *proxied, size int) reply {
		body := `{"requests":[{"id":"1","method":"POST","url":"/me","headers":{"Content-Type":"application/json"},"body":{"a":"` + strings.Repeat("x", size) + `"}}]}`
		return s.call(http.MethodPost, "/proxy/carol/v1.0/$batch", strings.NewReader(body), "Content-Type", "application/json")
	}
	arrived, answer := make(chan struct{}), make(chan struct{})
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-answer
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"responses":[]}`)
	})
	first := make(chan reply)
	go func() { first <- batch(s, 1300) }()
	<-arrived
	refused := batch(s, 1300)
	wantProblem(t, refused, problem.RateLimited)
	if refused.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", refused.header.Get("Retry-After"))
	}
	wantProblem(t, batch(&other, 1300), problem.RateLimited)
	second := make(chan reply)
	go func() { second <- batch(&other, 700) }() // another caller has a share of its own
	<-arrived
	close(answer)
	for _, r := range []reply{<-first, <-second} {
		if r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	go func() { <-arrived }()
	r := batch(s, 1300)
	for begun := time.Now(); r.status == http.StatusTooManyRequests && time.Since(begun) < 10*time.Second; {
		r = batch(s, 1300) // what an answered batch held is given back behind its answer
	}
	if r.status != http.StatusOK {
		t.Errorf("after the others were answered: %d %s", r.status, r.body)
	}
	s.stop()
	defer s.load(s.caddyfile) // for the end of the test
	if envelopes.held != 0 || len(envelopes.of) != 0 {
		t.Errorf("%d bytes are still counted, of %d callers", envelopes.held, len(envelopes.of))
	}
}

func TestBatchesComeByPOSTOnly(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	for _, path := range []string{"/proxy/carol/v1.0/$batch", "/proxy/alice/gmail.googleapis.com/batch/gmail/v1"} {
		wantProblem(t, s.call(http.MethodPut, path, strings.NewReader(`{"requests":[]}`), "Content-Type", "application/json"), problem.InvalidRequest)
	}
	if taken := s.api.take(); len(taken) != 0 {
		t.Errorf("%+v reached the API", taken)
	}
}

func TestBatchesAreRefusedBeforeTheyAreSent(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	for name, c := range map[string]struct {
		media, length string
		code          problem.Code
	}{
		"too long":     {"application/json", "50000000", problem.TooLarge},
		"another type": {"text/plain", "1000", problem.InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.raw("POST /proxy/carol/v1.0/$batch HTTP/1.1", "Host: "+s.addr, "Authorization: Bearer "+s.key, "Content-Type: "+c.media, "Content-Length: "+c.length, "Expect: 100-continue")
			wantProblem(t, r, c.code)
		})
	}
}

func TestBatchesAreSentAgainWithANewToken(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	var first bool
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		s.api.record(r)
		if first = !first; first {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"responses":[]}`)
	})
	large := strings.Repeat("x", 2*defaultReplayLimit)
	r := s.call(http.MethodPost, "/proxy/carol/v1.0/$batch", strings.NewReader(`{"requests":[{"id":"1","method":"POST","url":"/me","headers":{"Content-Type":"application/json"},"body":{"a":"`+large+`"}}]}`), "Content-Type", "application/json")
	got := s.api.take()
	if r.status != http.StatusOK || len(got) != 2 || got[0].Body != got[1].Body || got[0].Header.Get("Authorization") == got[1].Header.Get("Authorization") {
		t.Errorf("%d %s after %d calls", r.status, r.body, len(got))
	}
}

func TestHandlesAreOpenedWhereGraphFetchesFromThem(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	link := s.url + s.handedOut("tempauth=1")
	for _, c := range []struct{ media, path, body, want string }{
		{"application/json", "/proxy/carol/v1.0/me/drive/root/children", `{"name":"a", "@microsoft.graph.sourceUrl" : "LINK"}`, `{"name":"a", "@microsoft.graph.sourceUrl" : "https://contoso.sharepoint.com/_layouts/15/download.aspx?tempauth=1"}`},
		{"", "/proxy/carol/v1.0/me/drive/root/children", `{"@microsoft.graph.sourceUrl":"LINK"}`, `{"@microsoft.graph.sourceUrl":"https://contoso.sharepoint.com/_layouts/15/download.aspx?tempauth=1"}`},
		{"application/json", "/proxy/carol/v1.0/me/drive/root/children", `{"name":"a","@microsoft.graph.sourceUrl":"https://files.example/a"}`, `{"name":"a","@microsoft.graph.sourceUrl":"https://files.example/a"}`},
		{"application/json", "/proxy/carol/v1.0/me/messages", `{"@microsoft.graph.sourceUrl":"x"}`, `{"@microsoft.graph.sourceUrl":"x"}`},
		{"application/json", "/proxy/carol/v1.0/$batch", `{"requests":[{"id":"1","method":"POST","url":"/me/drive/root/children","body":{"@microsoft.graph.sourceUrl":"LINK"}}]}`, `{"requests":[{"id":"1","method":"POST","url":"/me/drive/root/children","body":{"@microsoft.graph.sourceUrl":"https://contoso.sharepoint.com/_layouts/15/download.aspx?tempauth=1"}}]}`},
		{"application/json", "/proxy/carol/v1.0/$batch", `{"requests":[{"id":"1","method":"POST","url":"/me/messages","body":{"@microsoft.graph.sourceUrl":"LINK"}}]}`, `{"requests":[{"id":"1","method":"POST","url":"/me/messages","body":{"@microsoft.graph.sourceUrl":"` + link + `"}}]}`},
	} {
		s.call(http.MethodPost, c.path, strings.NewReader(strings.ReplaceAll(c.body, "LINK", link)), "Content-Type", c.media)
		if got := s.api.only(t); got.Body != c.want || got.Length != int64(len(c.want)) {
			t.Errorf("sent %s, want %s", got.Body, c.want)
		}
	}
}
