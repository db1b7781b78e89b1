package fakeprovider

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
)

// aKey has the form of a key of the proxy in front.
var aKey = "bh_" + strings.Repeat("a1B", 14) + "c"

// googleParts is a batch of parts, each given as its Content-ID and the call.
func googleParts(parts ...[2]string) string {
	var batch strings.Builder
	for _, part := range parts {
		fmt.Fprintf(&batch, "--b\r\nContent-Type: application/http\r\nContent-ID: %s\r\n\r\n%s\r\n", part[0], part[1])
	}
	return batch.String() + "--b--\r\n"
}

func googleBatch(target, token, body string) sent {
	return sent{
		method: "POST", target: target, token: token, body: strings.NewReader(body),
		header: map[string]string{"Content-Type": "multipart/mixed; boundary=b"},
	}
}

func TestGoogleBatchAnswersEveryPart(t *testing.T) {
	const send = "POST /gmail/v1/users/me/messages/send HTTP/1.1\r\nContent-Type: application/json\r\n\r\n" + `{"raw":"VG86IGFAZXhhbXBsZS5jb20NCg0KaGk"}`
	f := start(t, Options{})
	token := f.live()
	body := googleParts(
		[2]string{"<one+1>", "GET /gmail/v1/users/me/profile HTTP/1.1\r\nAccept: application/json\r\n\r\n"},
		[2]string{"two", "GET /gmail/v1/users/me/messages/none\r\n\r\n"},
		[2]string{"<three>", send},
	)
	for _, target := range []string{"https://gmail.googleapis.com/batch/gmail/v1", "https://gmail.googleapis.com/batch", "https://www.googleapis.com/batch/gmail/v1"} {
		answer, text := f.want(200, googleBatch(target, token, body))
		_, parameters, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		reader := multipart.NewReader(strings.NewReader(text), parameters["boundary"])
		for _, want := range []struct {
			id     string
			status int
		}{{"<response-one+1>", 200}, {"response-two", 404}, {"<response-three>", 200}} {
			part, err := reader.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			inner, err := http.ReadResponse(bufio.NewReader(part), nil)
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(inner.Body)
			if err != nil || !json.Valid(content) {
				t.Errorf("part %s has %q, %v", want.id, content, err)
			}
			inner.Body.Close()
			if got := part.Header.Get("Content-ID"); got != want.id || inner.StatusCode != want.status {
				t.Errorf("got part %s with %d, want %s with %d", got, inner.StatusCode, want.id, want.status)
			}
		}
		if _, err := reader.NextPart(); err != io.EOF {
			t.Errorf("after the last part: %v", err)
		}
	}
	if got := f.Stats().Sent; got != 3 {
		t.Errorf("%d messages were sent, want 3", got)
	}
}

func TestGoogleBatchRefusesWhatIsNotDocumented(t *testing.T) {
	const profile = "GET /gmail/v1/users/me/profile HTTP/1.1\r\n\r\n"
	good := [2]string{"<1>", profile}
	many := make([][2]string, googleBatchParts+1)
	for i := range many {
		many[i] = [2]string{fmt.Sprintf("<%d>", i), profile}
	}
	call := func(text string) string { return googleParts([2]string{"<1>", text}) }
	for name, body := range map[string]string{
		"no parts":          "--b--\r\n",
		"too many parts":    googleParts(many...),
		"same Content-ID":   googleParts(good, good),
		"lines without CR":  strings.ReplaceAll(googleParts(good), "\r\n", "\n"),
		"no end":            strings.TrimSuffix(googleParts(good), "--b--\r\n"),
		"part of no type":   "--b\r\n\r\n" + profile + "\r\n--b--\r\n",
		"absolute URL":      call("GET https://gmail.googleapis.com/gmail/v1/users/me/profile HTTP/1.1\r\n\r\n"),
		"network path":      call("GET //gmail.googleapis.com/gmail/v1/users/me/profile HTTP/1.1\r\n\r\n"),
		"path of a proxy":   call("GET /proxy/a/gmail/v1/users/me/profile HTTP/1.1\r\n\r\n"),
		"other API":         call("GET /drive/v3/files HTTP/1.1\r\n\r\n"),
		"token in a header": call("GET /gmail/v1/users/me/profile HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n"),
		"token in the URL":  call("GET /gmail/v1/users/me/profile?access_token=x HTTP/1.1\r\n\r\n"),
		"other host":        call("GET /gmail/v1/users/me/profile HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"),
		"method override":   call("POST /gmail/v1/users/me/profile HTTP/1.1\r\nX-HTTP-Method-Override: GET\r\n\r\n"),
		"wrong length":      call("POST /gmail/v1/users/me/drafts HTTP/1.1\r\nContent-Length: 99\r\n\r\n{}"),
		"no request":        call(""),
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, Options{})
			_, answer := f.want(400, googleBatch("https://gmail.googleapis.com/batch/gmail/v1", f.live(), body))
			wantReason(t, answer, "badRequest")
			if got := f.Stats().APICalls; got != 1 {
				t.Errorf("%d calls were made, want that of the batch alone", got)
			}
		})
	}
}

func graphBatch(token, requests string) sent {
	return sent{method: "POST", target: graphAPI + "/$batch", token: token, header: metadataType, body: strings.NewReader(requests)}
}

func TestGraphBatchAnswersEveryPart(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	_, body := f.want(200, graphBatch(token, `{"requests":[
		{"id":"1","method":"GET","url":"/me"},
		{"id":"2","method":"GET","url":"/me/drive/items/`+fileID(1)+`/content"},
		{"id":"3","method":"GET","url":"/nowhere"},
		{"id":"4","method":"GET","url":"/me","dependsOn":["3"]},
		{"id":"5","method":"GET","url":"/me/messages/`+messageID(1)+`/$value","dependsOn":["1"]},
		{"id":"6","method":"POST","url":"/me/sendMail","headers":{"Content-Type":"application/json"},"body":{"message":{"toRecipients":[{}]}}},
		{"id":"7","method":"PUT","url":"/me/drive/root:/x:/content","headers":{"content-type":"text/plain"},"body":"aGVsbG8="},
		{"id":"8","method":"GET","url":"/v1.0/me"}
	]}`))
	responses := decodeAs[struct{ Responses []graphResponse }](t, body).Responses
	statuses := ""
	for _, response := range responses {
		statuses += fmt.Sprintf("%s:%d ", response.ID, response.Status)
	}
	if want := "1:200 2:302 3:404 4:424 5:200 6:202 7:201 8:400 "; statuses != want {
		t.Fatalf("got %s, want %s", statuses, want)
	}
	if got := responses[1].Headers["Location"]; !strings.HasPrefix(got, "https://contoso.sharepoint.com/") {
		t.Errorf("Location is %q", got)
	}
	var page []byte
	if err := json.Unmarshal(responses[4].Body, &page); err != nil || string(page) != script {
		t.Errorf("the page is %s, %v", responses[4].Body, err)
	}
	if !strings.Contains(string(responses[6].Body), `"@content.downloadUrl":"https://contoso.sharepoint.com/`) || f.upload().Size != 5 {
		t.Errorf("the uploaded item is %s", responses[6].Body)
	}
}

func TestGraphBatchRefusesWhatIsNotDocumented(t *testing.T) {
	part := func(members string) string { return `{"requests":[{"id":"1","method":"GET",` + members + `}]}` }
	const me = `{"id":"%d","method":"GET","url":"/me"}`
	many := fmt.Sprintf(me, 0)
	for i := range graphBatchParts {
		many += "," + fmt.Sprintf(me, i+1)
	}
	for name, body := range map[string]string{
		"no requests":         `{"requests":[]}`,
		"too many":            `{"requests":[` + many + `]}`,
		"same id":             `{"requests":[` + fmt.Sprintf(me, 1) + "," + fmt.Sprintf(me, 1) + `]}`,
		"another member":      `{"requests":[` + fmt.Sprintf(me, 1) + `],"x":1}`,
		"odd case":            part(`"URL":"/me"`),
		"duplicate member":    part(`"url":"/me","url":"/me/messages"`),
		"no url":              part(`"headers":{}`),
		"absolute URL":        part(`"url":"https://graph.microsoft.com/v1.0/me"`),
		"URL without slash":   part(`"url":"me"`),
		"nested batch":        part(`"url":"/$batch"`),
		"token in headers":    part(`"url":"/me","headers":{"authorization":"Bearer x"}`),
		"header there twice":  part(`"url":"/me","headers":{"Prefer":"a","prefer":"b"}`),
		"unknown dependency":  part(`"url":"/me","dependsOn":["2"]`),
		"body of no type":     part(`"url":"/me","body":{}`),
		"body not in base64":  part(`"url":"/me","headers":{"Content-Type":"text/plain"},"body":"%"`),
		"something behind it": part(`"url":"/me"`) + "{}",
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, Options{})
			_, answer := f.want(400, graphBatch(f.live(), body))
			wantReason(t, answer, "BadRequest")
			if got := f.Stats().APICalls; got != 1 {
				t.Errorf("%d calls were made, want that of the batch alone", got)
			}
		})
	}
}

func TestKeysOfTheProxyAreRefusedAndCounted(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	me := graphAPI + "/me"
	for name, m := range map[string]sent{
		"header":        {method: "GET", target: me, token: token, header: map[string]string{"X-Any": "Bearer " + aKey}},
		"token":         {method: "GET", target: me, token: aKey},
		"basic":         {method: "GET", target: me, header: map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+aKey))}},
		"query":         {method: "GET", target: me + "?key=" + aKey, token: token},
		"encoded query": {method: "GET", target: me + "?key=b%2568_" + aKey[3:], token: token},
		"path":          {method: "GET", target: graphAPI + "/" + aKey, token: token},
		"public call":   {method: "GET", target: "https://contoso.sharepoint.com/_layouts/15/download.aspx?tempauth=" + aKey},
		"token request": {method: "POST", target: "https://login.microsoftonline.com/token?x=" + aKey},
		"Graph batch":   graphBatch(token, `{"requests":[{"id":"1","method":"GET","url":"/me","headers":{"X":"`+aKey+`"}}]}`),
		"Google batch": googleBatch("https://gmail.googleapis.com/batch/gmail/v1", token,
			googleParts([2]string{"<1>", "GET /gmail/v1/users/me/profile HTTP/1.1\r\nX: " + aKey + "\r\n\r\n"})),
	} {
		t.Run(name, func(t *testing.T) {
			before := f.Stats().LeakedKeys
			_, body := f.want(400, m)
			wantReason(t, body, "leaked_key")
			if got := f.Stats().LeakedKeys - before; got != 1 {
				t.Errorf("counted %d, want 1", got)
			}
		})
	}
	f.want(200, sent{method: "GET", target: me + "?key=" + aKey[:45], token: token})
}
