package fakeprovider

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// sent is a request of an API, to be sent by [fixture.send].
type sent struct {
	method string
	// target is a path, or an absolute URL, whose host is then the Host.
	target string
	token  string // empty for none
	header map[string]string
	body   io.Reader
}

// send does what a proxy does: it goes to the server's address and keeps the
// name of the API's host.
func (f fixture) send(m sent) (answer apiAnswer, body string) {
	f.t.Helper()
	u, err := url.Parse(m.target)
	if err != nil {
		f.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(f.t.Context(), m.method, f.URL, m.body)
	if err != nil {
		f.t.Fatal(err)
	}
	request.Host = u.Host
	u.Scheme, u.Host = request.URL.Scheme, request.URL.Host
	request.URL = u
	if m.token != "" {
		request.Header.Set("Authorization", "Bearer "+m.token)
	}
	for name, value := range m.header {
		request.Header.Set(name, value)
	}
	if value := request.Header.Get("Content-Length"); value != "" {
		request.Header.Del("Content-Length")
		request.ContentLength = number(value)
	}
	response, err := f.transport.RoundTrip(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return apiAnswer{response.StatusCode, response.Header, response.ContentLength}, string(read)
}

// want fails the test unless the answer has a status.
func (f fixture) want(status int, m sent) (answer apiAnswer, body string) {
	f.t.Helper()
	answer, body = f.send(m)
	if answer.StatusCode != status {
		f.t.Fatalf("%s %s: got %d %s, want %d", m.method, m.target, answer.StatusCode, body, status)
	}
	return answer, body
}

// upload returns the only upload.
func (f fixture) upload() File {
	f.t.Helper()
	files := f.Files()
	if len(files) != 1 {
		f.t.Fatalf("uploads are %v, want one", files)
	}
	return files[0]
}

func wantReason(t *testing.T, body, reason string) {
	t.Helper()
	if !strings.Contains(body, `"`+reason+`"`) {
		t.Errorf("got %s, want %s", body, reason)
	}
}
