package fakeprovider

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"
)

const driveUploads = "https://www.googleapis.com/upload/drive/v3/files?uploadType="

// begin opens an upload session and returns where it is.
func (f fixture) begin(token string, header map[string]string) string {
	f.t.Helper()
	answer, _ := f.want(200, sent{
		method: "POST", target: driveUploads + "resumable&alt=json", token: token, header: header,
		body: strings.NewReader(`{"name":"up"}`),
	})
	location := answer.Header.Get("Location")
	if !strings.HasPrefix(location, driveUploads+"resumable&alt=json&upload_id=") {
		f.t.Fatalf("Location is %q", location)
	}
	return location
}

var metadataType = map[string]string{"Content-Type": "application/json"}

// piece is n bytes of [Bytes] from an offset.
func piece(from, n int64) io.Reader {
	reader := Bytes(from + n)
	_, _ = reader.Seek(from, io.SeekStart)
	return io.LimitReader(reader, n)
}

func TestResumableUploadInChunks(t *testing.T) {
	const chunk, size = 1 << 20, 3<<20 + 5
	for _, method := range []string{"PUT", "POST"} {
		for _, total := range []string{"*", fmt.Sprint(size)} {
			t.Run(method+" of "+total, func(t *testing.T) {
				f := start(t, Options{})
				token := f.live()
				location := f.begin(token, metadataType)
				for from := int64(0); from < 3<<20; from += chunk {
					answer, _ := f.want(308, sent{method: method, target: location, token: token, body: piece(from, chunk), header: map[string]string{
						"Content-Range": fmt.Sprintf("bytes %d-%d/%s", from, from+chunk-1, total),
					}})
					if got, want := answer.Header.Get("Range"), fmt.Sprintf("bytes=0-%d", from+chunk-1); got != want {
						t.Errorf("Range is %s, want %s", got, want)
					}
					if answer.Header.Get("Location") != "" || answer.ContentLength != 0 {
						t.Errorf("got %+v", answer)
					}
				}
				last := sent{method: method, target: location, token: token, body: piece(3<<20, 5), header: map[string]string{
					"Content-Range": fmt.Sprintf("bytes %d-%d/%d", 3<<20, size-1, size),
				}}
				_, body := f.want(200, last)
				if got := f.upload(); got.SHA256 != digest(size) || got.Size != size || got.Name != "up" {
					t.Errorf("uploaded %+v", got)
				}
				// Who did not hear the answer asks and gets it again.
				_, again := f.want(200, sent{method: method, target: location, token: token, header: map[string]string{"Content-Range": "bytes */*"}})
				if again != body || f.Stats().Uploads != 1 {
					t.Errorf("then got %s and %d uploads", again, f.Stats().Uploads)
				}
			})
		}
	}
}

func TestResumableUploadWithout308(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	location := f.begin(token, metadataType)
	answer, _ := f.want(200, sent{method: "POST", target: location, token: token, body: piece(0, googleChunk), header: map[string]string{
		"Content-Range": "bytes 0-262143/*", "X-GUploader-No-308": "yes",
	}})
	if answer.Header.Get("X-Http-Status-Code-Override") != "308" || answer.Header.Get("Range") != "bytes=0-262143" {
		t.Errorf("got %v", answer.Header)
	}
	// The end of an upload whose last chunk turned out to be full.
	answer, _ = f.want(200, sent{method: "POST", target: location, token: token, header: map[string]string{
		"Content-Range": "bytes */262144", "X-GUploader-No-308": "yes",
	}})
	if answer.Header.Get("X-Http-Status-Code-Override") != "" || f.upload().Size != googleChunk {
		t.Errorf("got %v and %+v", answer.Header, f.Files())
	}
}

func TestResumableUploadInOneRequestAndOfNothing(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	f.want(200, sent{method: "PUT", target: f.begin(token, metadataType), token: token, body: strings.NewReader("whole")})
	f.want(200, sent{method: "PUT", target: f.begin(token, metadataType), token: token, header: map[string]string{"Content-Range": "bytes */0"}})
	if files := f.Files(); len(files) != 2 || files[0].Size != 5 || files[1].Size != 0 {
		t.Errorf("uploaded %+v", files)
	}
}

func TestGoogleTakesCompressedMetadata(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed)
	fmt.Fprint(writer, `{"name":"zipped"}`)
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	header := map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"}
	begin := sent{method: "POST", target: driveUploads + "resumable", token: token, header: header, body: &compressed}
	answer, _ := f.want(200, begin)
	f.want(200, sent{method: "PUT", target: answer.Header.Get("Location"), token: token, body: strings.NewReader("x")})
	if got := f.upload().Name; got != "zipped" {
		t.Errorf("the name is %q", got)
	}
	begin.body = strings.NewReader("{}")
	f.want(400, begin)
}

func TestResumableUploadTellsHowFarItIs(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	location := f.begin(token, metadataType)
	status := sent{method: "PUT", target: location, token: token, header: map[string]string{"Content-Range": "bytes */500000"}}
	if answer, _ := f.want(308, status); answer.Header.Get("Range") != "" {
		t.Errorf("Range is %q before the first byte", answer.Header.Get("Range"))
	}
	f.want(308, sent{method: "PUT", target: location, token: token, body: piece(0, googleChunk), header: map[string]string{"Content-Range": "bytes 0-262143/500000"}})
	if answer, _ := f.want(308, status); answer.Header.Get("Range") != "bytes=0-262143" {
		t.Errorf("Range is %q", answer.Header.Get("Range"))
	}
	// What is sent again is not taken twice.
	f.want(200, sent{method: "PUT", target: location, token: token, body: piece(0, 500_000), header: map[string]string{"Content-Range": "bytes 0-499999/500000"}})
	if got := f.upload(); got.SHA256 != digest(500_000) {
		t.Errorf("uploaded %+v", got)
	}
}

func TestResumableUploadRefusesWhatIsNotDocumented(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	header := map[string]string{"Content-Type": "application/json", "X-Upload-Content-Length": "1000000", "X-Upload-Content-Type": "text/plain"}
	for name, test := range map[string]struct {
		contentRange string
		n            int64
	}{
		"odd chunk":            {"bytes 0-99/1000000", 100},
		"gap":                  {"bytes 262144-524287/1000000", googleChunk},
		"other total":          {"bytes 0-262143/999999", googleChunk},
		"other length":         {"bytes 0-262143/1000000", 100},
		"beyond the total":     {"bytes 0-1048575/1000000", 1 << 20},
		"not a range":          {"bytes=0-262143", googleChunk},
		"negative":             {"bytes 5-4/1000000", 0},
		"a total that differs": {"bytes */7", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, body := f.want(400, sent{
				method: "PUT", target: f.begin(token, header), token: token, body: piece(0, test.n),
				header: map[string]string{"Content-Range": test.contentRange, "Content-Length": fmt.Sprint(test.n)},
			})
			wantReason(t, body, "badRequest")
		})
	}
	for name, header := range map[string]map[string]string{
		"metadata of another type": {"Content-Type": "text/plain"},
		"length that is none":      {"Content-Type": "application/json", "X-Upload-Content-Length": "many"},
	} {
		t.Run(name, func(t *testing.T) {
			f.want(400, sent{method: "POST", target: driveUploads + "resumable", token: token, header: header, body: strings.NewReader("{}")})
		})
	}
	if files := f.Files(); len(files) > 0 {
		t.Errorf("uploaded %+v", files)
	}
}

func TestResumableUploadBelongsToItsGrant(t *testing.T) {
	f := start(t, Options{})
	token, other := f.live(), f.live()
	location := f.begin(token, metadataType)
	whole := sent{method: "PUT", target: location, body: strings.NewReader("x")}
	f.want(401, whole)
	whole.token, whole.body = other, strings.NewReader("x")
	f.want(404, whole)
	f.want(404, sent{method: "PUT", target: strings.Replace(location, "/files?", "/files/x?", 1), token: token, body: strings.NewReader("x")})
	f.want(499, sent{method: "DELETE", target: location, token: token})
	f.want(499, sent{method: "PUT", target: location, token: token, body: strings.NewReader("x")})
}

func TestResumableUploadGoesOnAfterItBrokeOff(t *testing.T) {
	in := newIntake()
	if err := in.receive(io.LimitReader(Bytes(1<<20), 300_000), 1<<20, googleChunk); err == nil {
		t.Fatal("a torn chunk was taken for whole")
	}
	if in.size != googleChunk {
		t.Errorf("%d bytes were taken, want one granule", in.size)
	}
	if err := in.receive(piece(in.size, 1000), 1000, googleChunk); err != nil {
		t.Fatal(err)
	}
	if got := in.finish(); got.sha256 != digest(googleChunk+1000) {
		t.Error("the digest is of other bytes")
	}
	if err := newIntake().receive(Bytes(11), 10, googleChunk); err == nil {
		t.Error("a byte too many was not noticed")
	}
}

func TestMultipartUpload(t *testing.T) {
	const related = "multipart/related; boundary=b"
	part := func(contentType, content string) string {
		return "--b\r\nContent-Type: " + contentType + "\r\n\r\n" + content + "\r\n"
	}
	metadata, media := part("application/json", `{"name":"a"}`), part("text/plain", "bytes")
	for name, test := range map[string]struct {
		contentType, body string
		status            int
	}{
		"as documented":      {related, metadata + media + "--b--\r\n", 200},
		"lines without CR":   {related, strings.ReplaceAll(metadata+media+"--b--\r\n", "\r\n", "\n"), 200},
		"other type":         {"multipart/mixed; boundary=b", metadata + media + "--b--\r\n", 400},
		"media first":        {related, media + metadata + "--b--\r\n", 400},
		"no media":           {related, metadata + "--b--\r\n", 400},
		"three parts":        {related, metadata + media + media + "--b--\r\n", 400},
		"no end":             {related, metadata + media, 400},
		"metadata not JSON":  {related, part("application/json", "{") + media + "--b--\r\n", 400},
		"unknown uploadType": {"", "", 400},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, Options{})
			target := driveUploads + "multipart"
			if test.contentType == "" {
				target = driveUploads + "x"
			}
			f.want(test.status, sent{
				method: "POST", target: target, token: f.live(),
				header: map[string]string{"Content-Type": test.contentType}, body: strings.NewReader(test.body),
			})
			if test.status != 200 {
				return
			}
			if got := f.upload(); got.Name != "a" || got.Size != 5 || got.MIMEType != "text/plain" {
				t.Errorf("uploaded %+v", got)
			}
		})
	}
}

func TestUploadReplacesAFile(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	target := "https://www.googleapis.com/upload/drive/v3/files/" + fileID(1) + "?uploadType=media"
	text := map[string]string{"Content-Type": "text/plain"}
	f.want(404, sent{method: "POST", target: target, token: token, header: text, body: strings.NewReader("new")})
	f.want(200, sent{method: "PATCH", target: target, token: token, header: text, body: strings.NewReader("new")})
	if _, body := f.want(200, sent{method: "GET", target: driveAPI + "/" + fileID(1) + "?alt=media", token: token}); body != "new" {
		t.Errorf("got %q", body)
	}
	f.want(404, sent{
		method: "PATCH", target: "https://www.googleapis.com/upload/drive/v3/files/none?uploadType=media",
		token: token, header: text, body: strings.NewReader("new"),
	})
}

func TestGmailUploads(t *testing.T) {
	const (
		message = "To: a@example.com\r\nSubject: hello\r\n\r\nbody"
		send    = "https://gmail.googleapis.com/upload/gmail/v1/users/me/messages/send?uploadType="
		drafts  = "https://gmail.googleapis.com/upload/gmail/v1/users/me/drafts?uploadType="
	)
	rfc822 := map[string]string{"Content-Type": "message/rfc822"}
	for name, test := range map[string]struct {
		target, body string
		header       map[string]string
		status       int
	}{
		"media":           {send + "media", message, rfc822, 200},
		"draft":           {drafts + "media", message, rfc822, 200},
		"no recipient":    {send + "media", "Subject: x\r\n\r\n", rfc822, 400},
		"text":            {send + "media", message, map[string]string{"Content-Type": "text/plain"}, 400},
		"somebody else":   {strings.Replace(send, "/me/", "/you@example.com/", 1) + "media", message, rfc822, 403},
		"at Drive's host": {strings.Replace(send, "gmail.", "drive.", 1) + "media", message, rfc822, 404},
		"multipart": {
			send + "multipart",
			"--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + message + "\r\n--b--",
			map[string]string{"Content-Type": `multipart/related; boundary="b"`},
			200,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, Options{})
			f.want(test.status, sent{method: "POST", target: test.target, token: f.live(), header: test.header, body: strings.NewReader(test.body)})
			if test.status != 200 {
				if got := f.Stats(); got.Sent+got.Uploads > 0 {
					t.Errorf("counted %+v", got)
				}
				return
			}
			if got := f.upload(); got.Name != "hello" || got.Size != int64(len(message)) {
				t.Errorf("uploaded %+v", got)
			}
		})
	}
	t.Run("resumable", func(t *testing.T) {
		f := start(t, Options{})
		token := f.live()
		answer, _ := f.want(200, sent{
			method: "POST", target: send + "resumable", token: token,
			header: map[string]string{"X-Upload-Content-Type": "message/rfc822"},
		})
		f.want(200, sent{method: "PUT", target: answer.Header.Get("Location"), token: token, body: strings.NewReader(message)})
		if got := f.Stats(); got.Sent != 1 {
			t.Errorf("%d messages were sent, want 1", got.Sent)
		}
	})
}

func TestGmailDraftsAreSentOnce(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	const api = "https://gmail.googleapis.com/gmail/v1/users/me/drafts"
	_, body := f.want(200, sent{method: "POST", target: api, token: token, header: metadataType, body: strings.NewReader(`{"message":{"raw":"VG86IGFAZXhhbXBsZS5jb20NCg0KaGk"}}`)})
	id := decodeAs[struct{ ID string }](t, body).ID
	again := func() io.Reader { return strings.NewReader(`{"id":"` + id + `"}`) }
	f.want(200, sent{method: "POST", target: api + "/send", token: token, header: metadataType, body: again()})
	f.want(404, sent{method: "POST", target: api + "/send", token: token, header: metadataType, body: again()})
	if got := f.Stats().Sent; got != 1 {
		t.Errorf("%d messages were sent, want 1", got)
	}
}

func TestGmailAttachments(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	api := "https://gmail.googleapis.com/gmail/v1/users/me/messages/" + messageID(3) + "/attachments/"
	_, body := f.want(200, sent{method: "GET", target: api + attachmentID, token: token})
	if got := decodeAs[struct{ Data []byte }](t, body); string(got.Data) != "This is the attachment of message number 3.\n" {
		t.Errorf("got %q", got.Data)
	}
	f.want(404, sent{method: "GET", target: api + "none", token: token})
}
