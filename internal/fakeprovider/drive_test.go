package fakeprovider

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const driveAPI = "https://www.googleapis.com/drive/v3/files"

type driveList struct {
	Files         []struct{ ID, Name string }
	Items         []struct{ ID, Title string }
	NextPageToken string
	NextLink      string
}

// digest is the SHA-256 of n bytes of [Bytes].
func digest(n int64) string {
	sum := sha256.New()
	_, _ = io.Copy(sum, Bytes(n))
	return hex.EncodeToString(sum.Sum(nil))
}

func TestDriveListReachesEveryFileOnce(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	seen := map[string]bool{}
	for page := ""; ; {
		_, body := f.want(200, sent{method: "GET", target: driveAPI + "?pageSize=50&pageToken=" + page, token: token})
		list := decodeAs[driveList](t, body)
		for _, file := range list.Files {
			seen[file.ID] = true
		}
		if page = list.NextPageToken; page == "" {
			break
		}
	}
	if len(seen) != driveSize {
		t.Errorf("saw %d files, want %d", len(seen), driveSize)
	}
}

func TestDriveListV2LinksToTheRealHost(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	link, seen := "https://www.googleapis.com/drive/v2/files?maxResults=50", 0
	for link != "" {
		if !strings.HasPrefix(link, "https://www.googleapis.com/drive/v2/files?") {
			t.Fatalf("nextLink is %s", link)
		}
		_, body := f.want(200, sent{method: "GET", target: link, token: token})
		list := decodeAs[driveList](t, body)
		seen += len(list.Items)
		link = list.NextLink
	}
	if seen != driveSize {
		t.Errorf("saw %d files, want %d", seen, driveSize)
	}
}

func TestDriveUnderstandsSimpleSearches(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	for q, want := range map[string]int{
		"name='file-007.txt'":                       1,
		"name+=+'file-007.txt'+and+trashed+=+false": 1,
		"name='none'":                               0,
		"'root'+in+parents":                         100,
	} {
		_, body := f.want(200, sent{method: "GET", target: driveAPI + "?q=" + q, token: token})
		if got := decodeAs[driveList](t, body); len(got.Files) != want {
			t.Errorf("%s: %d files, want %d", q, len(got.Files), want)
		}
	}
	f.want(400, sent{method: "GET", target: driveAPI + "?q=nonsense", token: token})
}

func TestDriveIsAtItsOwnHosts(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	f.want(404, sent{method: "GET", target: "https://gmail.googleapis.com/drive/v3/files", token: token})
	f.want(200, sent{method: "GET", target: f.URL + "/drive/v3/files", token: token})
}

func TestDriveDownloadsWholeAndInParts(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	const size = 3 << 20
	big, err := f.AddFile(File{Grant: "g1", Name: "big", Size: size})
	if err != nil {
		t.Fatal(err)
	}
	if big.SHA256 != digest(size) {
		t.Errorf("digest is %s", big.SHA256)
	}
	media := driveAPI + "/" + big.ID + "?alt=media"
	answer, body := f.want(200, sent{method: "GET", target: media, token: token})
	if sum := sha256.Sum256([]byte(body)); hex.EncodeToString(sum[:]) != big.SHA256 {
		t.Errorf("got %d other bytes", len(body))
	}
	etag := answer.Header.Get("ETag")
	if etag == "" || !strings.HasPrefix(answer.Header.Get("X-Goog-Hash"), "crc32c=") {
		t.Errorf("header is %v", answer.Header)
	}
	answer, part := f.want(206, sent{method: "GET", target: media, token: token, header: map[string]string{"Range": "bytes=1048570-1048580"}})
	if part != body[1048570:1048581] || answer.Header.Get("Content-Range") != fmt.Sprintf("bytes 1048570-1048580/%d", size) {
		t.Errorf("got %q of %s", part, answer.Header.Get("Content-Range"))
	}
	f.want(416, sent{method: "GET", target: media, token: token, header: map[string]string{"Range": "bytes=9999999-"}})
	f.want(304, sent{method: "GET", target: media, token: token, header: map[string]string{"If-None-Match": etag}})
	f.want(404, sent{method: "GET", target: driveAPI + "/none?alt=media", token: token})
}

func TestDriveFilesAreMadeChangedAndDeleted(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	asJSON := map[string]string{"Content-Type": "application/json; charset=utf-8"}
	_, body := f.want(200, sent{method: "POST", target: driveAPI, token: token, header: asJSON, body: strings.NewReader(`{"name":"a"}`)})
	made := decodeAs[struct{ ID, Name string }](t, body)
	if made.Name != "a" {
		t.Errorf("got %s", body)
	}
	target := driveAPI + "/" + made.ID
	f.want(200, sent{method: "PATCH", target: target, token: token, header: asJSON, body: strings.NewReader(`{"name":"b"}`)})
	_, body = f.want(200, sent{method: "GET", target: target + "?fields=*", token: token})
	if got := decodeAs[map[string]any](t, body); got["name"] != "b" || got["size"] != "0" {
		t.Errorf("got %s", body)
	}
	f.want(204, sent{method: "DELETE", target: target, token: token})
	f.want(404, sent{method: "GET", target: target, token: token})
	_, body = f.want(400, sent{method: "POST", target: driveAPI, token: token, header: asJSON, body: strings.NewReader(`{`)})
	wantReason(t, body, "parseError")
	if got := f.Stats().Uploads; got != 0 {
		t.Errorf("%d uploads, want none", got)
	}
}

func TestDriveKeepsGrantsApart(t *testing.T) {
	f := start(t, Options{})
	one, two := f.live(), f.live()
	_, body := f.want(200, sent{
		method: "POST", target: "https://www.googleapis.com/upload/drive/v3/files?uploadType=media", token: one,
		header: map[string]string{"Content-Type": "text/plain"}, body: strings.NewReader("mine"),
	})
	target := driveAPI + "/" + decodeAs[struct{ ID string }](t, body).ID + "?alt=media"
	if _, body := f.want(200, sent{method: "GET", target: target, token: one}); body != "mine" {
		t.Errorf("got %q", body)
	}
	f.want(404, sent{method: "GET", target: target, token: two})
}

func TestFilesAreShownByTheControlInterface(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	added, err := f.control().AddFile(t.Context(), File{Grant: "g1", Name: "big", Size: 5})
	if err != nil {
		t.Fatal(err)
	}
	f.want(200, sent{method: "GET", target: driveAPI + "/" + added.ID, token: token})
	f.want(200, sent{
		method: "POST", target: "https://www.googleapis.com/upload/drive/v3/files?uploadType=media", token: token,
		header: map[string]string{"Content-Type": "text/plain"}, body: Bytes(7),
	})
	files, err := f.control().Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := File{
		ID: files[0].ID, Grant: "g1", Name: "Untitled", Size: 7, SHA256: digest(7),
		MIMEType: "text/plain", Path: "/upload/drive/v3/files",
	}
	if len(files) != 1 || files[0] != want {
		t.Errorf("got %+v, want %+v", files, want)
	}
	if _, err := f.AddFile(File{Grant: "none", Name: "x"}); err == nil {
		t.Error("a file was added to no grant")
	}
}

func TestContentThatWasNotKeptIsNotMadeUp(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	for name, test := range map[string]struct {
		byteAt int64 // -1 to leave all as it is
		status int
	}{
		"repeats":              {-1, http.StatusOK},
		"differs at the end":   {keepLimit + 5000, http.StatusForbidden},
		"differs at the start": {30_000, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			data, _ := io.ReadAll(Bytes(keepLimit + 10_000))
			if test.byteAt >= 0 {
				data[test.byteAt]++
			}
			_, body := f.want(200, sent{
				method: "POST", target: "https://www.googleapis.com/upload/drive/v3/files?uploadType=media", token: token,
				header: map[string]string{"Content-Type": "text/plain"}, body: strings.NewReader(string(data)),
			})
			var made struct{ ID string }
			if err := json.Unmarshal([]byte(body), &made); err != nil {
				t.Fatal(err)
			}
			answer, body := f.want(test.status, sent{method: "GET", target: driveAPI + "/" + made.ID + "?alt=media", token: token})
			if answer.StatusCode == http.StatusOK && body != string(data) {
				t.Error("other bytes came back")
			}
		})
	}
}
