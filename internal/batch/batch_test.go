package batch

import (
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

const key = "bh_0000000000000000000000000000000000003kJqdi0"

// listed is a provider that lists some hosts; the first one is its default.
type listed []string

func (l listed) DefaultHost() string { return l[0] }

func (l listed) AllowsHost(host, path string) error {
	for _, allowed := range l {
		if host == allowed && !strings.HasPrefix(path, "/oauth2/") {
			return nil
		}
	}
	return problem.New(problem.HostNotAllowed, "not listed: "+host)
}

func (listed) DAV(string, string) bool { return false }

var (
	microsoft = listed{"graph.microsoft.com", "outlook.office.com"}
	google    = listed{"www.googleapis.com", "gmail.googleapis.com"}
)

func https(string) string { return "https" }

// call is a batch at a host, of a caller that uses the path form.
func call(host, path string) *target.Request {
	return &target.Request{
		Method:  "POST",
		Account: "alice",
		Host:    host,
		Path:    path,
		Base:    target.Base{Scheme: "https", Host: "bellhop.internal", Prefix: "/proxy", Account: "alice"},
	}
}

// refusal prints a problem as the tests compare it.
func refusal(p *problem.Problem) (http.Header, []byte) {
	body, err := json.Marshal(map[string]string{"error": string(p.Code)})
	if err != nil {
		panic(err)
	}
	return http.Header{"Content-Type": {"application/json"}, "Bellhop-Error": {string(p.Code)}}, body
}

func options(hosts listed) Options {
	return Options{Hosts: hosts, Scheme: https, Refusal: refusal}
}

// outcome is a part as a test compares it: the request line as it is sent, or
// the code of the problem.
func outcome(p *part) string {
	if p.refused != nil {
		return string(p.refused.Code)
	}
	return p.sent.Method + " " + p.sent.Path + query(&p.sent)
}

func outcomes(e *Envelope) []string {
	var all []string
	for _, p := range e.parts {
		all = append(all, outcome(p))
	}
	return all
}

func TestKindOfBatch(t *testing.T) {
	for _, c := range []struct {
		providerType, method, host, path string
		want                             Kind
	}{
		{"microsoft", "POST", "graph.microsoft.com", "/v1.0/$batch", Graph},
		{"microsoft", "POST", "graph.microsoft.com", "/beta/$batch", Graph},
		{"microsoft", "POST", "graph.microsoft.com", "/V1.0/$BATCH", Graph},
		{"microsoft", "POST", "graph.microsoft.com", "/v1.0/%24batch", Graph},
		{"microsoft", "POST", "graph.microsoft.com", "/v1.0/%2524batch", Graph},
		{"microsoft", "POST", "graph.microsoft.com", "/v1.0/$batch/", Graph},
		{"microsoft", "POST", "graph.microsoft.us", "/v1.0/$batch", Graph},
		{"microsoft", "POST", "graph.microsoft.com", "/v1.0/$batch;x=y", Unsupported},
		{"microsoft", "POST", "graph.microsoft.com", "/v1.0/$batch%3Bx=y", Unsupported},
		{"microsoft", "POST", "graph.microsoft.com", "/v1%2E0/$batch", Unsupported},
		{"microsoft", "POST", "graph.microsoft.com", "/v1.0%2F$batch", Unsupported},
		{"microsoft", "POST", "graph.microsoft.com", "/v2.0/$batch", Unsupported},
		{"microsoft", "POST", "graph.microsoft.com", "/$batch", Unsupported},
		{"microsoft", "POST", "graph.microsoft.com", "/v1.0/me/$batch", Unsupported},
		{"microsoft", "POST", "outlook.office.com", "/api/v2.0/$batch", Unsupported},
		{"microsoft", "POST", "contoso.sharepoint.com", "/_api/$batch", Unsupported},
		{"microsoft", "GET", "graph.microsoft.com", "/v1.0/$batch", None},
		{"microsoft", "PUT", "graph.microsoft.com", "/v1.0/$batch", Unsupported},
		{"microsoft", "PATCH", "graph.microsoft.com", "/v1.0/me", None},
		{"microsoft", "POST", "graph.microsoft.com", "/v1.0/batch", None},
		{"microsoft", "POST", "graph.microsoft.com", "/v1.0/me/messages", None},
		{"microsoft", "POST", "graph.microsoft.com", "/", None},
		{"google", "POST", "www.googleapis.com", "/batch", Google},
		{"google", "POST", "www.googleapis.com", "/batch/drive/v3", Google},
		{"google", "POST", "gmail.googleapis.com", "/batch/gmail/v1", Google},
		{"google", "POST", "www.googleapis.com", "/%62atch/drive/v3", Google},
		{"google", "POST", "www.googleapis.com", "/batch%2Fdrive", Google},
		{"google", "POST", "www.googleapis.com", "/batch;a/drive", Google},
		{"google", "GET", "www.googleapis.com", "/batch/drive/v3", None},
		{"google", "PUT", "www.googleapis.com", "/batch/drive/v3", Unsupported},
		{"google", "POST", "www.googleapis.com", "/batches", None},
		{"google", "POST", "www.googleapis.com", "/gmail/v1/users/me/messages/batchModify", None},
		{"google", "POST", "www.googleapis.com", "/v1.0/$batch", None},
		{"oauth2", "POST", "www.googleapis.com", "/batch", None},
		{"oauth2", "POST", "graph.microsoft.com", "/v1.0/$batch", None},
	} {
		q := call(c.host, c.path)
		q.Method = c.method
		if got := KindOf(q, c.providerType); got != c.want {
			t.Errorf("%s %s %s: got %d, want %d", c.providerType, c.method, c.path, got, c.want)
		}
	}
}

func TestBatchOfAnotherFormIsRefused(t *testing.T) {
	multipartBody := "--b\r\nContent-Type: application/http\r\n\r\nGET /x\r\n\r\n\r\n--b--\r\n"
	jsonBody := `{"requests":[{"id":"1","method":"GET","url":"/me"}]}`
	for _, c := range []struct {
		name   string
		kind   Kind
		header http.Header
		body   string
		ok     bool
	}{
		{"JSON", Graph, http.Header{"Content-Type": {"application/json"}}, jsonBody, true},
		{"JSON with a charset", Graph, http.Header{"Content-Type": {"Application/JSON; charset=utf-8"}}, jsonBody, true},
		{"identity", Graph, http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"identity"}}, jsonBody, true},
		{"multipart", Google, http.Header{"Content-Type": {`multipart/mixed; boundary="b"`}}, multipartBody, true},
		{"unsupported", Unsupported, http.Header{"Content-Type": {"application/json"}}, jsonBody, false},
		{"no type", Graph, http.Header{}, jsonBody, false},
		{"two types", Graph, http.Header{"Content-Type": {"application/json", "application/json"}}, jsonBody, false},
		{"malformed type", Graph, http.Header{"Content-Type": {"application/json; a"}}, jsonBody, false},
		{"text", Graph, http.Header{"Content-Type": {"text/plain"}}, jsonBody, false},
		{"multipart to Graph", Graph, http.Header{"Content-Type": {"multipart/mixed; boundary=b"}}, multipartBody, false},
		{"JSON to Google", Google, http.Header{"Content-Type": {"application/json"}}, jsonBody, false},
		{"another multipart", Google, http.Header{"Content-Type": {"multipart/related; boundary=b"}}, multipartBody, false},
		{"no boundary", Google, http.Header{"Content-Type": {"multipart/mixed"}}, multipartBody, false},
		{"coded", Graph, http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, jsonBody, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, hosts := call("graph.microsoft.com", "/v1.0/$batch"), microsoft
			if c.kind == Google {
				q, hosts = call("www.googleapis.com", "/batch"), google
			}
			_, err := Read(q, c.kind, c.header, strings.NewReader(c.body), options(hosts))
			if c.ok != (err == nil) || err != nil && problem.From(err).Code != problem.InvalidRequest {
				t.Error(err)
			}
		})
	}
}

func TestBatchThatIsTooLongIsRefused(t *testing.T) {
	const before, behind = "--b\r\nContent-Type: application/http\r\n\r\nPOST /x\r\n\r\n", "\r\n--b--"
	longest := before + strings.Repeat("a", MaxLength-len(before)-len(behind)) + behind
	for _, c := range []struct {
		name string
		body io.Reader
		ok   bool
	}{
		{"just not", strings.NewReader(longest), true},
		{"by one byte", strings.NewReader("\n" + longest), false},
		{"endless", endless{}, false},
		{"by the limit of the server", http.MaxBytesReader(nil, endless{}, 10), false},
	} {
		_, err := Read(call("www.googleapis.com", "/batch"), Google, http.Header{"Content-Type": {"multipart/mixed; boundary=b"}}, c.body, options(google))
		if c.ok {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if p := problem.From(err); p.Code != problem.TooLarge || p.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// endless reads as zeros without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (endless) Close() error { return nil }

func TestLongListsCostNoMoreThanTheirText(t *testing.T) {
	const n = 1 << 17
	var ids, jsonFields, fields strings.Builder
	for i := range n {
		name := strconv.FormatInt(n+int64(i), 36)
		ids.WriteString(`"` + name + `",`)
		jsonFields.WriteString(`"` + name + `":"",`)
		fields.WriteString(name + ":\n")
	}
	for name, c := range map[string]struct {
		kind Kind
		text string
	}{
		"parts":                           {Graph, `{"requests":[` + strings.Repeat("0,", n) + `0]}`},
		"dependencies":                    {Graph, requests(`{"id":"1","method":"GET","url":"/me","dependsOn":[` + ids.String() + `"x"]}`)},
		"header fields":                   {Graph, requests(`{"id":"1","method":"GET","url":"/me","headers":{` + jsonFields.String() + `"X":""}}`)},
		"members":                         {Graph, requests(`{` + jsonFields.String() + `"id":"1"}`)},
		"Google's parts":                  {Google, strings.Repeat("--b\n\n", n) + "--b--"},
		"Google's header fields":          {Google, "--b\nContent-Type: application/http\n" + fields.String() + "\nGET /x\n\n--b--"},
		"header fields of Google's calls": {Google, "--b\nContent-Type: application/http\n\nGET /x\n" + fields.String() + "\n\n--b--"},
	} {
		t.Run(name, func(t *testing.T) {
			media, q, o := "application/json", call("graph.microsoft.com", "/v1.0/$batch"), options(microsoft)
			if c.kind == Google {
				media, q, o = "multipart/mixed; boundary=b", call("www.googleapis.com", "/batch"), options(google)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := Read(q, c.kind, http.Header{"Content-Type": {media}}, strings.NewReader(c.text), o); err == nil {
				t.Fatal("it was taken")
			}
			runtime.ReadMemStats(&after)
			if cost := after.Mallocs - before.Mallocs; cost > 10_000 {
				t.Errorf("%d allocations", cost)
			}
			if cost := after.TotalAlloc - before.TotalAlloc; cost > uint64(6*len(c.text))+1<<20 {
				t.Errorf("%d bytes for a text of %d", cost, len(c.text))
			}
		})
	}
}

func TestBatchThatBreaksOffIsRefused(t *testing.T) {
	_, err := Read(call("graph.microsoft.com", "/v1.0/$batch"), Graph, http.Header{"Content-Type": {"application/json"}}, broken{}, options(microsoft))
	if problem.From(err).Code != problem.InvalidRequest {
		t.Error(err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, http.ErrBodyReadAfterClose }

func TestKeyIsFoundBehindEscapes(t *testing.T) {
	for text, want := range map[string]bool{
		key:                                   true,
		`"x` + key + `y"`:                     true,
		`\u0062` + key[1:]:                    true,
		`\u0062\u0068\u005F` + key[3:]:        true,
		`bh\u005f` + key[3:]:                  true,
		`\\u0062` + key[1:]:                   false,
		`\\\u0062` + key[1:]:                  true,
		`\n\u0062` + key[1:]:                  true,
		key[:45]:                              false,
		`\u00zz` + key[1:]:                    false,
		`\u00`:                                false,
		`\`:                                   false,
		`\u0062`:                              false,
		strings.Repeat(`\u0041`, 50) + key:    true,
		key[:10] + `\u003` + `0` + key[11:45]: false,
		key[:10] + `\u0030` + key[11:]:        true,
	} {
		if got := mentionsKey([]byte(text)); got != want {
			t.Errorf("%s: got %t", text, got)
		}
	}
}
