package fakeprovider

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

const (
	graphAPI   = "https://graph.microsoft.com/v1.0"
	graphDrive = graphAPI + "/me/drive"
)

type driveItem struct {
	ID, Name string
	Size     int64
	Download string `json:"@microsoft.graph.downloadUrl"`
	Content  string `json:"@content.downloadUrl"`
}

type driveItems struct {
	Value    []driveItem
	Children []driveItem
	Next     string `json:"@odata.nextLink"`
	More     string `json:"children@odata.nextLink"`
}

type uploadSession struct {
	UploadURL          string   `json:"uploadUrl"`
	ExpirationDateTime string   `json:"expirationDateTime"`
	NextExpectedRanges []string `json:"nextExpectedRanges"`
}

func TestGraphChildrenHaveLinksForTheirBytes(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	seen := map[string]bool{}
	for link := graphDrive + "/root/children?$top=50"; link != ""; {
		_, body := f.want(200, sent{method: "GET", target: link, token: token})
		page := decodeAs[driveItems](t, body)
		for _, item := range page.Value {
			seen[item.ID] = true
			if !strings.HasPrefix(item.Download, "https://contoso.sharepoint.com/_layouts/15/download.aspx?UniqueId=") {
				t.Fatalf("downloadUrl is %q", item.Download)
			}
		}
		if link = page.Next; link != "" && !strings.HasPrefix(link, graphDrive+"/root/children?$top=50&$skiptoken=") {
			t.Fatalf("nextLink is %q", link)
		}
	}
	if len(seen) != driveSize {
		t.Errorf("saw %d items, want %d", len(seen), driveSize)
	}
}

func TestGraphRootExpandsItsChildren(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	_, body := f.want(200, sent{method: "GET", target: graphDrive + "/root?$expand=children", token: token})
	root := decodeAs[driveItems](t, body)
	if len(root.Children) != 20 || root.Children[0].Download == "" {
		t.Fatalf("got %s", body)
	}
	_, body = f.want(200, sent{method: "GET", target: root.More, token: token})
	if next := decodeAs[driveItems](t, body); len(next.Value) != 50 || next.Value[0].ID != fileID(21) {
		t.Errorf("behind %s is %s", root.More, body)
	}
}

func TestGraphContentRedirectsToBytes(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	for _, target := range []string{"/items/" + fileID(7) + "/content", "/root:/file-007.txt:/content", "/items/root:/file-007.txt:/content", "/items/" + fileID(7) + "/thumbnails/0/medium/content"} {
		answer, _ := f.want(302, sent{method: "GET", target: graphDrive + target, token: token})
		location := answer.Header.Get("Location")
		answer, body := f.want(200, sent{method: "GET", target: location})
		if body != "This is file number 7.\n" || !strings.Contains(answer.Header.Get("Content-Disposition"), "file-007.txt") {
			t.Errorf("%s: got %q, %v", target, body, answer.Header)
		}
		if _, body := f.want(206, sent{method: "GET", target: location, header: map[string]string{"Range": "bytes=0-3"}}); body != "This" {
			t.Errorf("%s: got %q", target, body)
		}
	}
	_, body := f.want(404, sent{method: "GET", target: graphDrive + "/items/none/content", token: token})
	wantReason(t, body, "itemNotFound")
}

func TestLinksForBytesNeedTheirSecretAndNoToken(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	_, body := f.want(200, sent{method: "GET", target: graphDrive + "/items/" + fileID(1), token: token})
	link := decodeAs[driveItem](t, body).Download
	f.want(200, sent{method: "GET", target: link})
	f.want(401, sent{method: "GET", target: link, token: token})
	f.want(401, sent{method: "GET", target: link, header: map[string]string{"Authorization": "Basic x"}})
	f.want(401, sent{method: "GET", target: strings.Replace(link, fileID(1), fileID(2), 1)})
	f.want(401, sent{method: "GET", target: strings.Replace(link, "tempauth=", "tempauth=x", 1)})
	f.want(404, sent{method: "GET", target: strings.Replace(link, "contoso.sharepoint.com", "graph.microsoft.com", 1)})
	f.want(404, sent{method: "PUT", target: link})
	if got := f.Stats(); got.UnwantedTokens != 2 || got.PublicCalls != 5 {
		t.Errorf("counted %d unwanted tokens and %d calls without, want 2 and 5", got.UnwantedTokens, got.PublicCalls)
	}
	f.Advance(linkLife)
	f.want(401, sent{method: "GET", target: link})
}

func TestGraphSmallUpload(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	put := sent{method: "PUT", target: graphDrive + "/root:/a%20b/c.html:/content", token: token, header: map[string]string{"Content-Type": "text/html"}, body: strings.NewReader("one")}
	_, body := f.want(201, put)
	first := decodeAs[driveItem](t, body)
	if first.Name != "c.html" || first.Content == "" || first.Download != "" {
		t.Errorf("got %s", body)
	}
	put.body = strings.NewReader("two")
	if _, body = f.want(200, put); decodeAs[driveItem](t, body).ID != first.ID {
		t.Errorf("got %s, want the item of before", body)
	}
	answer, body := f.want(200, sent{method: "GET", target: decodeAs[driveItem](t, body).Content})
	if body != "two" || answer.Header.Get("Content-Type") != "text/html" {
		t.Errorf("got %q, %v", body, answer.Header)
	}
}

// createUploadSession opens a session for a file of a name.
func (f fixture) createUploadSession(token, name, body string) uploadSession {
	f.t.Helper()
	_, answer := f.want(200, sent{
		method: "POST", target: graphDrive + "/root:/" + name + ":/createUploadSession", token: token,
		header: metadataType, body: strings.NewReader(body),
	})
	session := decodeAs[uploadSession](f.t, answer)
	if !strings.HasPrefix(session.UploadURL, "https://contoso.sharepoint.com/") || session.ExpirationDateTime != "2026-03-02T12:00:00Z" {
		f.t.Fatalf("got %s", answer)
	}
	return session
}

func fragment(target string, from, n, total int64) sent {
	return sent{method: "PUT", target: target, body: piece(from, n), header: map[string]string{
		"Content-Range": fmt.Sprintf("bytes %d-%d/%d", from, from+n-1, total), "Content-Length": fmt.Sprint(n),
	}}
}

func TestGraphUploadSession(t *testing.T) {
	const size = 2*driveFragment + 9
	f := start(t, Options{})
	token := f.live()
	target := f.createUploadSession(token, "dir/x", `{"item":{"@microsoft.graph.conflictBehavior":"replace","name":"up.bin"}}`).UploadURL
	_, body := f.want(202, fragment(target, 0, driveFragment, size))
	want := fmt.Sprintf("[%d-%d]", driveFragment, size-1)
	if got := decodeAs[uploadSession](t, body); fmt.Sprint(got.NextExpectedRanges) != want || got.ExpirationDateTime == "" {
		t.Errorf("got %s, want %s", body, want)
	}
	if _, body = f.want(200, sent{method: "GET", target: target}); fmt.Sprint(decodeAs[uploadSession](t, body).NextExpectedRanges) != want {
		t.Errorf("the status is %s", body)
	}
	f.want(202, fragment(target, driveFragment, driveFragment, size))
	_, body = f.want(201, fragment(target, 2*driveFragment, 9, size))
	item := decodeAs[driveItem](t, body)
	if got := f.upload(); item.Name != "up.bin" || item.Size != size || got.SHA256 != digest(size) || got.Name != "dir/up.bin" {
		t.Errorf("got %s and %+v", body, got)
	}
	if _, body = f.want(200, sent{method: "GET", target: item.Content}); len(body) != size {
		t.Errorf("%d bytes came back, want %d", len(body), size)
	}
	f.want(404, sent{method: "GET", target: target})
}

func TestGraphUploadSessionRefusesWhatIsNotDocumented(t *testing.T) {
	const size = 4 * driveFragment
	f := start(t, Options{})
	token := f.live()
	target := f.createUploadSession(token, "up.bin", "{}").UploadURL
	f.want(202, fragment(target, 0, driveFragment, size))
	odd := fragment(target, driveFragment, 100, size)
	withToken := fragment(target, driveFragment, driveFragment, size)
	withToken.token = token
	unknownTotal := fragment(target, driveFragment, driveFragment, size)
	unknownTotal.header["Content-Range"] = fmt.Sprintf("bytes %d-%d/*", driveFragment, 2*driveFragment-1)
	short := fragment(target, driveFragment, driveFragment, size)
	short.header["Content-Length"], short.body = "5", piece(0, 5)
	for name, test := range map[string]struct {
		sent   sent
		status int
	}{
		"odd fragment":  {odd, 400},
		"token":         {withToken, 401},
		"unknown total": {unknownTotal, 400},
		"other length":  {short, 400},
		"other total":   {fragment(target, driveFragment, driveFragment, size-1), 400},
		"sent again":    {fragment(target, 0, driveFragment, size), 416},
		"gap":           {fragment(target, 2*driveFragment, driveFragment, size), 416},
		"no range":      {sent{method: "PUT", target: target, body: strings.NewReader("x")}, 400},
		"other method":  {sent{method: "PATCH", target: target}, 404},
		"other secret":  {fragment(target+"x", driveFragment, driveFragment, size), 404},
		"other host":    {fragment(strings.Replace(target, "contoso.sharepoint.com", "outlook.office.com", 1), driveFragment, driveFragment, size), 404},
	} {
		t.Run(name, func(t *testing.T) { f.want(test.status, test.sent) })
	}
	f.want(204, sent{method: "DELETE", target: target})
	f.want(404, fragment(target, driveFragment, driveFragment, size))
	if files := f.Files(); len(files) > 0 {
		t.Errorf("uploaded %+v", files)
	}
}

func TestGraphUploadSessionKnowsConflicts(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	for behaviour, status := range map[string]int{"fail": 409, "rename": 200, "replace": 200, "nonsense": 400} {
		f.want(status, sent{
			method: "POST", target: graphDrive + "/root:/file-001.txt:/createUploadSession", token: token, header: metadataType,
			body: strings.NewReader(`{"item":{"@microsoft.graph.conflictBehavior":"` + behaviour + `"}}`),
		})
	}
	target := f.createUploadSession(token, "file-001.txt", "{}").UploadURL
	if _, body := f.want(200, fragment(target, 0, 5, 5)); decodeAs[driveItem](t, body).ID != fileID(1) {
		t.Errorf("got %s, want the item of before", body)
	}
}

func TestGraphAttachmentSession(t *testing.T) {
	const size = 5 << 20
	f := start(t, Options{})
	token := f.live()
	create := func(status int, item string) string {
		t.Helper()
		_, body := f.want(status, sent{
			method: "POST", target: graphAPI + "/me/messages/" + messageID(1) + "/attachments/createUploadSession", token: token,
			header: metadataType, body: strings.NewReader(`{"AttachmentItem":` + item + `}`),
		})
		return body
	}
	create(400, `{"attachmentType":"file","name":"a","size":1000}`)
	create(400, `{"attachmentType":"item","name":"a","size":5000000}`)
	target := decodeAs[uploadSession](t, create(201, fmt.Sprintf(`{"attachmentType":"file","name":"a","size":%d}`, size))).UploadURL
	if !strings.HasPrefix(target, "https://outlook.office.com/api/v2.0/Users('g1')/Messages('"+messageID(1)+"')/AttachmentSessions('") {
		t.Fatalf("uploadUrl is %s", target)
	}
	f.want(413, fragment(target, 0, size, size))
	_, body := f.want(200, fragment(target, 0, 4<<20, size))
	if got := decodeAs[uploadSession](t, body).NextExpectedRanges; fmt.Sprint(got) != "[4194304]" {
		t.Errorf("next is %v", got)
	}
	answer, _ := f.want(201, fragment(target, 4<<20, 1<<20, size))
	if got := answer.Header.Get("Location"); !strings.HasPrefix(got, "https://outlook.office.com/api/v2.0/Users('g1')/Messages('") {
		t.Errorf("Location is %s", got)
	}
	if got := f.upload(); got.SHA256 != digest(size) || got.Name != "a" {
		t.Errorf("uploaded %+v", got)
	}
}

func TestGraphCopyIsWatched(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	answer, _ := f.want(202, sent{
		method: "POST", target: graphDrive + "/items/" + fileID(1) + "/copy", token: token, header: metadataType, body: strings.NewReader(`{"name":"copied"}`),
	})
	f.watch(token, answer.Header.Get("Location"), "copied", "This is file number 1.\n")
}

// watch waits for an operation and for the file that it makes.
func (f fixture) watch(token, monitor, name, content string) {
	f.t.Helper()
	if !strings.HasPrefix(monitor, "https://contoso.sharepoint.com/_api/v2.0/monitor/") {
		f.t.Fatalf("Location is %q", monitor)
	}
	f.want(401, sent{method: "GET", target: monitor, token: token})
	f.want(202, sent{method: "GET", target: monitor})
	for range 2 {
		_, body := f.want(200, sent{method: "GET", target: monitor})
		id := decodeAs[struct{ ResourceID string }](f.t, body).ResourceID
		if _, body = f.want(200, sent{method: "GET", target: graphDrive + "/items/" + id, token: token}); decodeAs[driveItem](f.t, body).Name != name {
			f.t.Errorf("got %s, want %s", body, name)
		}
		if _, body = f.want(200, sent{method: "GET", target: decodeAs[driveItem](f.t, body).Download}); body != content {
			f.t.Errorf("got %q, want %q", body, content)
		}
	}
}

func TestGraphFetchesASourceURL(t *testing.T) {
	f := start(t, Options{})
	token, other := f.live(), f.live()
	link := func(token string) string {
		_, body := f.want(200, sent{method: "GET", target: graphDrive + "/items/" + fileID(3), token: token})
		return decodeAs[driveItem](t, body).Download
	}
	add := func(status int, source string, async bool) apiAnswer {
		t.Helper()
		m := sent{
			method: "POST", target: graphDrive + "/root/children", token: token, header: map[string]string{"Content-Type": "application/json"},
			body: strings.NewReader(`{"name":"fetched","file":{},"@microsoft.graph.sourceUrl":"` + source + `"}`),
		}
		if async {
			m.header["Prefer"] = "respond-async"
		}
		answer, _ := f.want(status, m)
		return answer
	}
	answer := add(202, link(token), true)
	f.watch(token, answer.Header.Get("Location"), "fetched", "This is file number 3.\n")
	add(202, graphAPI+"/me/drive/items/x/content", true)
	add(400, link(token), false)
	add(400, link(other), true)
	for _, source := range []string{"/me/drive", "http://graph.microsoft.com/x", "https://proxy.example/.bellhop/h/x", "https://contoso.sharepoint.com/x"} {
		add(400, source, true)
	}
}

func TestGraphReportsAreElsewhere(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	answer, _ := f.want(302, sent{method: "GET", target: graphAPI + "/reports/getEmailActivityUserDetail(period='D7')", token: token})
	location := answer.Header.Get("Location")
	if !strings.HasPrefix(location, "https://reports.office.com/data/download/") {
		t.Errorf("Location is %s", location)
	}
	if _, body := f.want(200, sent{method: "GET", target: location}); !strings.Contains(body, "g1@example.com") {
		t.Errorf("got %s", body)
	}
	f.want(401, sent{method: "GET", target: location, token: token})
	f.want(401, sent{method: "GET", target: location + "x"})
}

func TestGraphMakesFolders(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	for body, status := range map[string]int{`{"name":"d","folder":{}}`: 201, `{"folder":{}}`: 400, `{"name":"d"}`: 400, `{`: 400} {
		f.want(status, sent{method: "POST", target: graphDrive + "/root/children", token: token, header: metadataType, body: strings.NewReader(body)})
	}
}

func TestLinksKeepWhatIsNotTheirs(t *testing.T) {
	u, err := url.Parse("/v1.0/x%20y?$top=5&a=%2F&$SKIP=1&%24skip=2&$skip=3")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := linkTo(u, "$skip", "10"), "https://graph.microsoft.com/v1.0/x%20y?$top=5&a=%2F&$SKIP=1&$skip=10"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
