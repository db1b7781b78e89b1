package batch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

func readGraph(text string, o Options) (*Envelope, error) {
	return Read(call("graph.microsoft.com", "/v1.0/$batch"), Graph, http.Header{"Content-Type": {"application/json"}}, strings.NewReader(text), o)
}

// requests makes an envelope of the text of parts.
func requests(parts ...string) string { return `{"requests":[` + strings.Join(parts, ",") + `]}` }

func TestGraphBatchIsWrittenAnew(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{
			"plain",
			` { "requests" : [ { "id" : "1" , "method" : "GET" , "url" : "/me" }, { "id" : "2" , "method" : "GET" , "url" : "/v1.0/me" } ] } `,
			`{"requests":[{"id":"1","method":"GET","url":"/me"},{"id":"2","method":"GET","url":"/me"}]}`,
		},
		{
			"client for JavaScript",
			`{"requests":[{"method":"GET","url":"/me/photo/$value","id":"1"},{"method":"POST","headers":{"content-type":"application/json","authorization":"Bearer ` + key + `"},"body":{"displayName":"My Notebook"},"url":"/me/onenote/notebooks","id":"2","dependsOn":["1"]}]}`,
			`{"requests":[{"id":"1","method":"GET","url":"/me/photo/$value"},{"id":"2","method":"POST","url":"/me/onenote/notebooks","headers":{"Content-Type":"application/json"},"body":{"displayName":"My Notebook"},"dependsOn":["1"]}]}`,
		},
		{
			"client for .NET",
			`{"requests":[{"id":"0c5a","url":"/me/messages?$filter=subject eq \u0027x y\u0027","method":"GET"},{"id":"1d","url":"/me/events","method":"POST","dependsOn":["0c5a"],"headers":{"SdkVersion":"graph-dotnet-5.0","Content-Type":"application/json","Content-Length":"17"},"body":{"subject":"Lunch"}}]}`,
			`{"requests":[{"id":"0c5a","method":"GET","url":"/me/messages?$filter=subject%20eq%20'x%20y'"},{"id":"1d","method":"POST","url":"/me/events","headers":{"Content-Type":"application/json","Sdkversion":"graph-dotnet-5.0"},"body":{"subject":"Lunch"},"dependsOn":["0c5a"]}]}`,
		},
		{
			"client for Python",
			`{"requests": [{"id": "a-b", "method": "GET", "url": "https://graph.microsoft.com/v1.0/me", "depends_on": [], "headers": {"accept": "application/json"}}, {"id": "c", "method": "PUT", "url": "https://graph.microsoft.com/v1.0/me/photo/$value", "depends_on": ["a-b"], "headers": {}, "body": "aGVsbG8="}]}`,
			`{"requests":[{"id":"a-b","method":"GET","url":"/me","headers":{"Accept":"application/json"}},{"id":"c","method":"PUT","url":"/me/photo/$value","body":"aGVsbG8="}]}`,
		},
		{
			"client for Go",
			`{"requests":[{"id":"7","method":"GET","url":"/me","headers":{"Accept":"application/json"},"body":null,"dependsOn":[]}]}`,
			`{"requests":[{"id":"7","method":"GET","url":"/me","headers":{"Accept":"application/json"}}]}`,
		},
		{
			"documentation's example, with spaces and without a slash",
			requests(`{"id":"5","url":"users?$select=id,displayName&$filter=city eq null&$count=true","method":"GET","headers":{"ConsistencyLevel":"eventual"}}`),
			`{"requests":[{"id":"5","method":"GET","url":"/users?$select=id,displayName&$filter=city%20eq%20null&$count=true","headers":{"Consistencylevel":"eventual"}}]}`,
		},
		{
			"body byte for byte",
			requests(`{"id":"1","method":"PATCH","url":"/x","body": {"a" : 1e400, "a":"\u00e9\/", "b":[ 9223372036854775808 ]} }`),
			requests(`{"id":"1","method":"PATCH","url":"/x","body":{"a" : 1e400, "a":"\u00e9\/", "b":[ 9223372036854775808 ]}}`),
		},
		{
			"names and strings with escapes",
			`{"req\u0075ests":[{"\u0069d":"\u0031","method":"\u0047ET","url":"\/me\u003F$top=1"}]}`,
			`{"requests":[{"id":"1","method":"GET","url":"/me?$top=1"}]}`,
		},
		{
			"our own URLs",
			requests(
				`{"id":"1","method":"GET","url":"https://bellhop.internal/proxy/alice/graph.microsoft.com/v1.0/me?$skiptoken=x%2Fy"}`,
				`{"id":"2","method":"GET","url":"/proxy/alice/v1.0/me"}`,
				`{"id":"3","method":"GET","url":"https://bellhop.internal/proxy/alice/V1.0/me"}`,
			),
			requests(
				`{"id":"1","method":"GET","url":"/me?$skiptoken=x%2Fy"}`,
				`{"id":"2","method":"GET","url":"/me"}`,
				`{"id":"3","method":"GET","url":"/me"}`,
			),
		},
		{
			"what is stripped",
			requests(`{"id":"1","method":"POST","url":"/me?access_token=x&$httpMethod=DELETE&a=b","headers":{"authorization":"Bearer x","X-HTTP-Method-Override":"DELETE","x_http_method":"PUT","Cookie":"a","Host":"evil.example","Connection":"close","Transfer_Encoding":"chunked","X-Bellhop-Key":"` + key + `","Prefer":"a,\t b"}}`),
			requests(`{"id":"1","method":"POST","url":"/me?a=b","headers":{"Prefer":"a,\t b"}}`),
		},
		{
			"characters beyond ASCII",
			requests(`{"id":"é<&>","method":"GET","url":"/me/drive/root:/ü \"x\".txt?a=日"}`),
			requests(`{"id":"é<&>","method":"GET","url":"/me/drive/root:/%C3%BC%20%22x%22.txt?a=%E6%97%A5"}`),
		},
		{
			"URL of the version alone",
			requests(`{"id":"1","method":"GET","url":"https://graph.microsoft.com/v1.0"}`, `{"id":"2","method":"GET","url":"/"}`, `{"id":"3","method":"GET","url":"/?a"}`),
			requests(`{"id":"1","method":"GET","url":"/"}`, `{"id":"2","method":"GET","url":"/"}`, `{"id":"3","method":"GET","url":"/?a"}`),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := readGraph(c.text, options(microsoft))
			if err != nil {
				t.Fatal(err)
			}
			contentType, got := e.Body()
			if contentType != "application/json" {
				t.Error(contentType)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Error(diff)
			}
			again, err := readGraph(c.want, options(microsoft))
			if err != nil {
				t.Fatal(err)
			}
			if _, second := again.Body(); string(second) != c.want {
				t.Errorf("read again it is %s", second)
			}
		})
	}
}

func TestGraphBatchOfOtherVersions(t *testing.T) {
	for path, root := range map[string]string{"/beta/$batch": "/beta", "/Beta/%24batch": "/Beta"} {
		e, err := Read(call("graph.microsoft.com", path), Graph, http.Header{"Content-Type": {"application/json"}},
			strings.NewReader(requests(`{"id":"1","method":"GET","url":"/me"}`, `{"id":"2","method":"GET","url":"https://graph.microsoft.com/BETA/me"}`, `{"id":"3","method":"GET","url":"https://graph.microsoft.com/v1.0/me"}`)),
			options(microsoft))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"GET " + root + "/me", "GET " + root + "/me", "InvalidRequest"}, outcomes(e)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

func TestMalformedGraphBatchIsRefused(t *testing.T) {
	const part = `{"id":"1","method":"GET","url":"/me"}`
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf(`{"id":"%d","method":"GET","url":"/me"}`, i)
	}
	if _, err := readGraph(requests(many[:20]...), options(microsoft)); err != nil {
		t.Errorf("20 parts: %v", err)
	}
	for name, text := range map[string]string{
		"nothing":                        "",
		"no JSON":                        "x",
		"byte order mark":                "\ufeff" + requests(part),
		"another document behind":        requests(part) + requests(part),
		"comma at the end":               `{"requests":[` + part + `,]}`,
		"comment":                        `{"requests":[` + part + `/**/]}`,
		"invalid UTF-8":                  requests(`{"id":"1","method":"GET","url":"/me","body":"` + "\xff" + `"}`),
		"UTF-16":                         "\xff\xfe{\x00",
		"control character in a string":  requests("{\"id\":\"1\n\",\"method\":\"GET\",\"url\":\"/me\"}"),
		"an array":                       `[` + requests(part) + `]`,
		"null":                           `null`,
		"no requests":                    `{}`,
		"requests is null":               `{"requests":null}`,
		"requests is an object":          `{"requests":` + part + `}`,
		"no parts":                       `{"requests":[]}`,
		"too many parts":                 requests(many...),
		"Requests":                       `{"Requests":[` + part + `]}`,
		"requests twice":                 `{"requests":[` + part + `],"requests":[` + part + `]}`,
		"requests twice, with an escape": `{"requests":[` + part + `],"request\u0073":[` + part + `]}`,
		"another member":                 `{"requests":[` + part + `],"x":1}`,
		"a part is null":                 requests("null"),
		"a part is an array":             requests("[]"),
		"a part is a string":             requests(`"x"`),
		"no id":                          requests(`{"method":"GET","url":"/me"}`),
		"id is empty":                    requests(`{"id":"","method":"GET","url":"/me"}`),
		"id is a number":                 requests(`{"id":1,"method":"GET","url":"/me"}`),
		"id is half a character":         requests(`{"id":"\ud800","method":"GET","url":"/me"}`),
		"ids twice":                      requests(part, part),
		"ids twice but for case":         requests(`{"id":"a","method":"GET","url":"/me"}`, `{"id":"A","method":"GET","url":"/me"}`),
		"no method":                      requests(`{"id":"1","url":"/me"}`),
		"method is null":                 requests(`{"id":"1","method":null,"url":"/me"}`),
		"no url":                         requests(`{"id":"1","method":"GET"}`),
		"url is empty":                   requests(`{"id":"1","method":"GET","url":""}`),
		"url is half a character":        requests(`{"id":"1","method":"GET","url":"/me/\udc00"}`),
		"url twice":                      requests(`{"id":"1","method":"GET","url":"/me","url":"/you"}`),
		"url twice, with an escape":      requests(`{"id":"1","method":"GET","url":"/me","\u0075rl":"/you"}`),
		"URL":                            requests(`{"id":"1","method":"GET","URL":"/me"}`),
		"URL beside url":                 requests(`{"id":"1","method":"GET","url":"/me","URL":"/you"}`),
		"url with a null":                requests(`{"id":"1","method":"GET","url":"/me","url\u0000":"/you"}`),
		"unknown member":                 requests(`{"id":"1","method":"GET","url":"/me","atomicityGroup":"g"}`),
		"headers is an array":            requests(`{"id":"1","method":"GET","url":"/me","headers":[]}`),
		"a header field is a number":     requests(`{"id":"1","method":"GET","url":"/me","headers":{"A":1}}`),
		"a header field is an array":     requests(`{"id":"1","method":"GET","url":"/me","headers":{"A":["b"]}}`),
		"a header field twice":           requests(`{"id":"1","method":"GET","url":"/me","headers":{"A":"b","A":"b"}}`),
		"a header field twice, in case":  requests(`{"id":"1","method":"GET","url":"/me","headers":{"Prefer":"b","PREFER":"c"}}`),
		"a header field twice, folded":   requests(`{"id":"1","method":"GET","url":"/me","headers":{"If-Match":"b","If_Match":"c"}}`),
		"a header field without a name":  requests(`{"id":"1","method":"GET","url":"/me","headers":{"":"b"}}`),
		"a header field with a colon":    requests(`{"id":"1","method":"GET","url":"/me","headers":{"A:":"b"}}`),
		"a header field with a newline":  requests(`{"id":"1","method":"GET","url":"/me","headers":{"A":"b\r\nAuthorization: x"}}`),
		"a header name with a newline":   requests(`{"id":"1","method":"GET","url":"/me","headers":{"A: b\r\nB":"b"}}`),
		"dependsOn is a string":          requests(`{"id":"1","method":"GET","url":"/me","dependsOn":"2"}`),
		"dependsOn of numbers":           requests(part, `{"id":"2","method":"GET","url":"/me","dependsOn":[1]}`),
		"dependsOn twice the same":       requests(part, `{"id":"2","method":"GET","url":"/me","dependsOn":["1","1"]}`),
		"dependsOn what is not there":    requests(part, `{"id":"2","method":"GET","url":"/me","dependsOn":["3"]}`),
		"dependsOn in another case":      requests(`{"id":"a","method":"GET","url":"/me"}`, `{"id":"2","method":"GET","url":"/me","dependsOn":["A"]}`),
		"dependsOn itself":               requests(`{"id":"1","method":"GET","url":"/me","dependsOn":["1"]}`),
		"dependsOn in a circle":          requests(`{"id":"1","method":"GET","url":"/me","dependsOn":["3"]}`, `{"id":"2","method":"GET","url":"/me","dependsOn":["1"]}`, `{"id":"3","method":"GET","url":"/me","dependsOn":["2"]}`),
		"key in a header field":          requests(`{"id":"1","method":"GET","url":"/me","headers":{"X-Other":"` + key + `"}}`),
		"key in an id":                   requests(`{"id":"` + key + `","method":"GET","url":"/me"}`),
		"key in a body":                  requests(`{"id":"1","method":"POST","url":"/me","body":{"a":["` + key + `"]}}`),
		"key in a body, with escapes":    requests(`{"id":"1","method":"POST","url":"/me","body":{"a":["\u0062h_` + key[3:] + `"]}}`),
		"key in a member's name":         requests(`{"id":"1","method":"POST","url":"/me","body":{"` + key + `":1}}`),
		"very deep":                      requests(`{"id":"1","method":"POST","url":"/me","body":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := readGraph(text, options(microsoft))
			if err == nil {
				t.Fatalf("it was taken for %q", outcomes(e))
			}
			p := problem.From(err)
			if p.Code != problem.InvalidRequest || strings.Contains(p.Error(), key) {
				t.Error(err)
			}
		})
	}
}

func TestPartOfAGraphBatchIsRefusedByItself(t *testing.T) {
	for name, c := range map[string]struct {
		method, url string
		want        problem.Code
	}{
		"foreign host":           {"GET", "https://evil.example/v1.0/me", problem.InvalidRequest},
		"another listed host":    {"GET", "https://outlook.office.com/v1.0/me", problem.InvalidRequest},
		"user information":       {"GET", "https://graph.microsoft.com@evil.example/v1.0/me", problem.InvalidRequest},
		"without TLS":            {"GET", "http://graph.microsoft.com/v1.0/me", problem.InvalidRequest},
		"another account":        {"GET", "https://bellhop.internal/proxy/bob/graph.microsoft.com/v1.0/me", problem.InvalidRequest},
		"another version":        {"GET", "https://graph.microsoft.com/beta/me", problem.InvalidRequest},
		"no version":             {"GET", "https://graph.microsoft.com/me", problem.InvalidRequest},
		"beside the version":     {"GET", "https://graph.microsoft.com/v1.0x/me", problem.InvalidRequest},
		"out of the version":     {"GET", "/../beta/me", problem.InvalidRequest},
		"the version twice":      {"GET", "/v1.0/v1.0/me", problem.InvalidRequest},
		"two versions":           {"GET", "/v1.0/b%65ta/me", problem.InvalidRequest},
		"out of it, encoded":     {"GET", "/%2e%2e/beta/me", problem.InvalidRequest},
		"batch":                  {"POST", "/$batch", problem.InvalidRequest},
		"batch, encoded":         {"POST", "/%24batch", problem.InvalidRequest},
		"batch, absolute":        {"POST", "https://graph.microsoft.com/v1.0/$batch", problem.InvalidRequest},
		"batch by GET":           {"GET", "/$BATCH", problem.InvalidRequest},
		"batch below a resource": {"POST", "/me/$batch", problem.InvalidRequest},
		"two slashes":            {"GET", "//evil.example/me", problem.InvalidRequest},
		"backslash":              {"GET", `/\\evil.example`, problem.InvalidRequest},
		"fragment":               {"GET", "/me#x", problem.InvalidRequest},
		"control character":      {"GET", `/me\r\nX: y`, problem.InvalidRequest},
		"in the query":           {"GET", `/me?a=\r\nX: y`, problem.InvalidRequest},
		"malformed escape":       {"GET", "/me/%zz", problem.InvalidRequest},
		"key in the path":        {"GET", "/me/" + key, problem.InvalidRequest},
		"key in the query":       {"GET", "/me?a=" + key, problem.InvalidRequest},
		"unknown method":         {"TRACE", "/me", problem.MethodNotAllowed},
		"method in small":        {"delete", "/me", problem.MethodNotAllowed},
		"method with a newline":  {`GET\r\nX`, "/me", problem.MethodNotAllowed},
		"method with a space":    {`GET /x`, "/me", problem.MethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := readGraph(requests(
				`{"id":"bad","method":"`+c.method+`","url":"`+c.url+`"}`,
				`{"id":"good","method":"GET","url":"/me"}`), options(microsoft))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{string(c.want), "GET /v1.0/me"}, outcomes(e)); diff != "" {
				t.Error(diff)
			}
			if _, body := e.Body(); string(body) != requests(`{"id":"good","method":"GET","url":"/me"}`) {
				t.Errorf("%s", body)
			}
		})
	}
}

func TestPartIsJudgedAsItIsSent(t *testing.T) {
	var judged []string
	o := options(microsoft)
	o.Judge = func(q *target.Request, _ http.Header, _ []byte) error {
		judged = append(judged, q.Method+" "+q.Host+q.Path+query(q))
		if q.Method == "DELETE" {
			return problem.New(problem.NotAllowed, "no")
		}
		return nil
	}
	e, err := readGraph(requests(
		`{"id":"1","method":"GET","url":"https://bellhop.internal/proxy/alice/graph.microsoft.com/v1.0/me?a b&access_token=x"}`,
		`{"id":"2","method":"DELETE","url":"me"}`,
		`{"id":"3","method":"GET","url":"https://evil.example/"}`,
	), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"GET graph.microsoft.com/v1.0/me?a%20b", "DELETE graph.microsoft.com/v1.0/me"}, judged); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"GET /v1.0/me?a%20b", "NotAllowed", "InvalidRequest"}, outcomes(e)); diff != "" {
		t.Error(diff)
	}
}

func TestDependantsOfRefusedPartsAreNotSent(t *testing.T) {
	e, err := readGraph(requests(
		`{"id":"4","method":"GET","url":"/d","dependsOn":["3","5"]}`,
		`{"id":"3","method":"GET","url":"/c","dependsOn":["1"]}`,
		`{"id":"1","method":"GET","url":"https://evil.example/"}`,
		`{"id":"5","method":"GET","url":"/e"}`,
		`{"id":"6","method":"GET","url":"/f","dependsOn":["5"]}`,
	), options(microsoft))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"FailedDependency", "FailedDependency", "InvalidRequest", "GET /v1.0/e", "GET /v1.0/f"}, outcomes(e)); diff != "" {
		t.Error(diff)
	}
	if _, body := e.Body(); string(body) != requests(`{"id":"5","method":"GET","url":"/e"}`, `{"id":"6","method":"GET","url":"/f","dependsOn":["5"]}`) {
		t.Errorf("%s", body)
	}
	for _, p := range e.parts[:2] {
		if p.refused.Status != http.StatusFailedDependency {
			t.Errorf("status %d", p.refused.Status)
		}
	}
}

func TestHandleInASourceURLIsOpened(t *testing.T) {
	const handle = "https://bellhop.internal/proxy/.bellhop/h/abc"
	o := options(microsoft)
	o.OpenHandle = func(part *target.Request, url string) (string, bool) {
		return `https://x.example/"<&>`, url == handle && part.Path == "/v1.0/x"
	}
	for _, c := range []struct{ name, body, want string }{
		{"opened", `{ "a": 1, "@microsoft.graph.sourceUrl": "` + handle + `" ,"b":[]}`, `{ "a": 1, "@microsoft.graph.sourceUrl": "https://x.example/\"<&>" ,"b":[]}`},
		{"name and value with escapes", `{"@microsoft\u002Egraph.sourceUrl":"` + strings.ReplaceAll(handle, "/", `\/`) + `"}`, `{"@microsoft\u002Egraph.sourceUrl":"https://x.example/\"<&>"}`},
		{"each of two", `{"@microsoft.graph.sourceUrl":"` + handle + `","@microsoft.graph.sourceUrl":"` + handle + `"}`, `{"@microsoft.graph.sourceUrl":"https://x.example/\"<&>","@microsoft.graph.sourceUrl":"https://x.example/\"<&>"}`},
		{"another URL", `{"@microsoft.graph.sourceUrl":"https://y.example/"}`, `{"@microsoft.graph.sourceUrl":"https://y.example/"}`},
		{"another member", `{"sourceUrl":"` + handle + `"}`, `{"sourceUrl":"` + handle + `"}`},
		{"deeper", `{"a":{"@microsoft.graph.sourceUrl":"` + handle + `"}}`, `{"a":{"@microsoft.graph.sourceUrl":"` + handle + `"}}`},
		{"no string", `{"@microsoft.graph.sourceUrl":["` + handle + `"]}`, `{"@microsoft.graph.sourceUrl":["` + handle + `"]}`},
		{"no object", `"` + handle + `"`, `"` + handle + `"`},
		{"empty", `{}`, `{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := readGraph(requests(`{"id":"1","method":"POST","url":"/x","body":`+c.body+`}`), o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(e.parts[0].body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// someRefused is a batch whose first and third parts are refused.
func someRefused(t *testing.T) *Envelope {
	t.Helper()
	e, err := readGraph(requests(
		`{"id":"1","method":"GET","url":"https://evil.example/"}`,
		`{"id":"2","method":"GET","url":"/me"}`,
		`{"id":"é","method":"GET","url":"/x","dependsOn":["1"]}`,
	), options(microsoft))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const (
	refusedFirst = `{"id":"1","status":400,"headers":{"Bellhop-Error":"InvalidRequest","Content-Type":"application/json"},"body":{"error":"InvalidRequest"}}`
	refusedThird = `{"id":"é","status":424,"headers":{"Bellhop-Error":"FailedDependency","Content-Type":"application/json"},"body":{"error":"FailedDependency"}}`
)

// answer is an API's answer.
func answer(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode:    status,
		Header:        http.Header{"Content-Type": {contentType}, "Content-Length": {fmt.Sprint(len(body))}, "Etag": {`"x"`}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       &http.Request{Method: "POST"},
	}
}

func TestRefusedPartsAreAnsweredInTheEnvelope(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"one answer", `{"responses":[{"id":"2","status":200,"body":{"a": 1}}]}`, `{"responses":[` + refusedFirst + `,` + refusedThird + `,{"id":"2","status":200,"body":{"a": 1}}]}`},
		{"white space", " {\n\"responses\" : [ {\"id\":\"2\"} ] } \n", " {\n\"responses\" : [" + refusedFirst + "," + refusedThird + ", {\"id\":\"2\"} ] } \n"},
		{"no answer", `{"responses":[ ]}`, `{"responses":[` + refusedFirst + `,` + refusedThird + ` ]}`},
		{"a part with a Location", `{"responses":[{"id":"2","status":302,"headers":{"Location":"https://api/"}}]}`, `{"responses":[` + refusedFirst + `,` + refusedThird + `,{"id":"2","status":302,"headers":{"Location":"https://api/"}}]}`},
		{"other members before", `{"@odata.context":{"responses":[1]},"responses":[{"id":"2"}],"x":1}`, `{"@odata.context":{"responses":[1]},"responses":[` + refusedFirst + `,` + refusedThird + `,{"id":"2"}],"x":1}`},
		{"long", `{"responses":[{"id":"2","body":"` + strings.Repeat("a", 1<<20) + `"}]}`, `{"responses":[` + refusedFirst + `,` + refusedThird + `,{"id":"2","body":"` + strings.Repeat("a", 1<<20) + `"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := answer(http.StatusOK, "application/json", c.body)
			if err := someRefused(t).Response(resp, nil, nil, nil); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Error(diff)
			}
			if resp.Header.Get("Content-Length") != "" || resp.Header.Get("Etag") != "" || resp.ContentLength >= 0 {
				t.Errorf("%v, %d", resp.Header, resp.ContentLength)
			}
		})
	}
}

func TestAnswerThatRefusesTheWholeBatchStays(t *testing.T) {
	const body = `{"error":{"code":"TooManyRequests"}}`
	resp := answer(http.StatusTooManyRequests, "application/json", body)
	if err := someRefused(t).Response(resp, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
		t.Errorf("%s, %v", got, err)
	}
}

func TestAnswerOfAnotherFormIsAnError(t *testing.T) {
	coded := answer(http.StatusOK, "application/json", `{"responses":[]}`)
	coded.Header.Set("Content-Encoding", "gzip")
	for name, resp := range map[string]*http.Response{
		"coded":        coded,
		"no JSON":      answer(http.StatusOK, "text/html", "<html>"),
		"an array":     answer(http.StatusOK, "application/json", "[]"),
		"no responses": answer(http.StatusOK, "application/json", `{"x":[]}`),
		"no array":     answer(http.StatusOK, "application/json", `{"responses":{}}`),
		"breaks off":   answer(http.StatusOK, "application/json", `{"responses":[`),
		"endless":      answer(http.StatusOK, "application/json", `{"responses":[`+strings.Repeat(" ", 1<<20)+`{}]}`),
		"empty":        answer(http.StatusOK, "application/json", ``),
	} {
		t.Run(name, func(t *testing.T) {
			err := someRefused(t).Response(resp, nil, nil, nil)
			if problem.From(err).Code != problem.UpstreamError {
				t.Error(err)
			}
		})
	}
}

func TestGraphBatchWithoutSentPartsIsAnswered(t *testing.T) {
	e, err := readGraph(requests(
		`{"id":"1","method":"GET","url":"https://evil.example/"}`,
		`{"id":"é","method":"GET","url":"/x","dependsOn":["1"]}`,
	), options(microsoft))
	if err != nil {
		t.Fatal(err)
	}
	if _, body := e.Body(); !e.Empty() || body != nil {
		t.Errorf("%s is sent", body)
	}
	status, contentType, body := e.Answer()
	if status != http.StatusOK || contentType != "application/json" || !json.Valid(body) {
		t.Error(status, contentType)
	}
	if diff := cmp.Diff(`{"responses":[`+refusedFirst+`,`+refusedThird+`]}`, string(body)); diff != "" {
		t.Error(diff)
	}
}

func TestJudgeErrorThatIsNoProblemIsInternal(t *testing.T) {
	o := options(microsoft)
	o.Judge = func(*target.Request, http.Header, []byte) error { return errors.New("secret") }
	e, err := readGraph(requests(`{"id":"1","method":"GET","url":"/me"}`), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{string(problem.Internal)}, outcomes(e)); diff != "" {
		t.Error(diff)
	}
}

func TestLinksInAGraphAnswerAreRewritten(t *testing.T) {
	e, err := readGraph(requests(
		`{"id":"one","method":"GET","url":"/me"}`,
		`{"id":"two","method":"GET","url":"https://evil.example/"}`,
		`{"id":"three","method":"GET","url":"/x"}`,
	), options(microsoft))
	if err != nil {
		t.Fatal(err)
	}
	const link = `"@odata.nextLink":"https://api/1"`
	resp := answer(http.StatusOK, "application/json", `{"responses":[`+
		`{"id":"ONE","status":200,"headers":{"Location":"https://api/2"},"body":{`+link+`,"value":[1e400]}},`+
		`{"id":"three","status":302,"headers":{"Location":"https://api/2"},"body":{`+link+`}},`+
		`{"id":"four","status":200,"headers":{"Location":"https://api/2"},"body":{`+link+`}}]}`)
	rules := func(q *target.Request) *rewrite.Rules {
		if q.Path == "/v1.0/x" {
			return nil
		}
		return &rewrite.Rules{Members: []rewrite.Member{{Name: "@odata.nextLink", Kind: rewrite.Link, Places: rewrite.Top}}}
	}
	replace := func(q *target.Request) rewrite.Func {
		return func(f rewrite.Found) (string, bool) { return "to " + q.Path + " " + f.URL, true }
	}
	if err := e.Response(resp, rules, replace, nil); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"responses":[` + strings.ReplaceAll(refusedFirst, `"1"`, `"two"`) + `,` +
		`{"id":"ONE","status":200,"headers":{"Location":"to /v1.0/me https://api/2"},"body":{"@odata.nextLink":"to /v1.0/me https://api/1","value":[1e400]}},` +
		`{"id":"three","status":302,"headers":{"Location":"to /v1.0/x https://api/2"},"body":{` + link + `}},` +
		`{"id":"four","status":200,"headers":{"Location":"https://api/2"},"body":{` + link + `}}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// unlisting refuses all hosts with an error that is no problem.
type unlisting struct{ listed }

func (unlisting) AllowsHost(string, string) error { return errors.New("not listed") }

func TestPartAtAHostThatIsNotListedIsRefused(t *testing.T) {
	o := options(microsoft)
	o.Hosts = unlisting{microsoft}
	e, err := readGraph(requests(`{"id":"1","method":"GET","url":"/me"}`), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{string(problem.HostNotAllowed)}, outcomes(e)); diff != "" {
		t.Error(diff)
	}
}
