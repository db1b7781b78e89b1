package matrix

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// google is how Google's libraries for Java and .NET call Drive. What they have
// in common: calls below the path of the base URL, uploads at its origin, request
// bodies in gzip, the key with every request, chunks of a session included.
type google struct {
	// part writes the numbered part of a batch that is a call to a URL.
	part func(number int, url, key string) string
	// direct is whether small files go in one request.
	direct bool
	// quoted is whether the boundary of a batch is.
	quoted bool
}

func (g google) replay(ctx context.Context, c *caller, args ...string) error {
	base := c.env["BELLHOP_DRIVE"] + "/drive/v3/"
	switch operation(args[0]) {
	case plain:
		var page struct{ Files []struct{ Name string } }
		if err := c.get(ctx, base+"files?pageSize=1", &page); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.stdout, page.Files[0].Name)
		return err
	case pages:
		return g.pages(ctx, c, base+"files")
	case upload:
		if g.direct {
			return g.upload(ctx, c, base, args[1])
		}
		return g.resumable(ctx, c, base, args[1])
	case resumable:
		return g.resumable(ctx, c, base, args[1])
	case batch:
		return g.batch(ctx, c, base)
	case download:
		a, err := c.send(ctx, request{method: http.MethodGet, url: base + "files/" + args[1] + "?alt=media"})
		if err != nil {
			return err
		}
		return os.WriteFile(args[2], a.body, 0o600)
	}
	return fmt.Errorf("no operation %q", args[0])
}

func (g google) pages(ctx context.Context, c *caller, files string) error {
	count, token := 0, ""
	for {
		var page struct {
			Files         []struct{}
			NextPageToken string
		}
		if err := c.get(ctx, files+token, &page); err != nil {
			return err
		}
		count += len(page.Files)
		if page.NextPageToken == "" {
			break
		}
		token = "?pageToken=" + url.QueryEscape(page.NextPageToken)
	}
	_, err := fmt.Fprintln(c.stdout, count, "files")
	return err
}

func (g google) upload(ctx context.Context, c *caller, base, name string) error {
	target, err := resolve(base, "/upload/drive/v3/files?uploadType=multipart")
	if err != nil {
		return err
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, part := range []struct{ mimeType, content string }{
		{"application/json; charset=UTF-8", fmt.Sprintf(`{"name":%q}`, filepath.Base(name))},
		{"application/octet-stream", string(content)},
	} {
		header := textproto.MIMEHeader{
			"Content-Type":              {part.mimeType},
			"Content-Transfer-Encoding": {"binary"},
			"Content-Length":            {fmt.Sprint(len(part.content))},
		}
		p, err := w.CreatePart(header)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(p, part.content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	a, err := c.send(ctx, request{
		method: http.MethodPost, url: target, body: &body, gzip: true,
		header: http.Header{"Content-Type": {"multipart/related; boundary=" + w.Boundary()}},
	})
	if err != nil {
		return err
	}
	return c.printID(a.body)
}

func (g google) resumable(ctx context.Context, c *caller, base, name string) error {
	target, err := resolve(base, "/upload/drive/v3/files?uploadType=resumable")
	if err != nil {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	header := jsonHeader()
	header.Set("X-Upload-Content-Type", "application/octet-stream")
	a, err := c.send(ctx, request{
		method: http.MethodPost, url: target, header: header, gzip: true,
		body: strings.NewReader(fmt.Sprintf(`{"name":%q}`, filepath.Base(name))),
	})
	if err != nil {
		return err
	}
	last, err := c.putChunks(ctx, a.header.Get("Location"), file, 16<<20, http.StatusPermanentRedirect, false)
	if err != nil {
		return err
	}
	return c.printID(last.body)
}

// batch prints the statuses of the parts in their order, since that is how both
// libraries find out which answer is whose.
func (g google) batch(ctx context.Context, c *caller, base string) error {
	const boundary = "__END_OF_PART__2fb513ce-6d57-4a42-9430-81682844b67e__"
	var body strings.Builder
	for i, call := range []string{"files?pageSize=1", "files?pageSize=2"} {
		body.WriteString("--" + boundary + "\r\n" + g.part(i+1, base+call, c.env["BELLHOP_KEY"]))
	}
	body.WriteString("--" + boundary + "--\r\n")
	contentType := "multipart/mixed; boundary=" + boundary
	if g.quoted {
		contentType = `multipart/mixed; boundary="` + boundary + `"`
	}
	a, err := c.send(ctx, request{
		method: http.MethodPost, url: c.env["BELLHOP_DRIVE"] + "/batch/drive/v3",
		header: http.Header{"Content-Type": {contentType}}, body: strings.NewReader(body.String()),
	})
	if err != nil {
		return err
	}
	_, parameters, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if !strings.HasSuffix(a.header.Get("Content-Type"), "boundary="+parameters["boundary"]) {
		return fmt.Errorf("the library for .NET reads no boundary with quotes or with anything behind it: %s", a.header.Get("Content-Type"))
	}
	parts := multipart.NewReader(bytes.NewReader(a.body), parameters["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		response, err := http.ReadResponse(bufio.NewReader(part), nil)
		if err != nil {
			return err
		}
		response.Body.Close()
		if _, err := fmt.Fprintln(c.stdout, response.StatusCode); err != nil {
			return err
		}
	}
}

// javaPart is a part of the library for Java: the whole URL, and the key in the
// part.
func javaPart(number int, url, key string) string {
	call := "GET " + url + " HTTP/1.1\r\nAuthorization: Bearer " + key + "\r\nx-goog-api-client: gl-java/17\r\n\r\n\r\n"
	return fmt.Sprintf("Content-Length: %d\r\nContent-Type: application/http\r\ncontent-id: %d\r\n"+
		"content-transfer-encoding: binary\r\n\r\n%s", len(call), number, call)
}

// dotnetPart is a part of the library for .NET: no version, the line ends of the
// operating system, and no empty line at the end.
func dotnetPart(_ int, url, _ string) string {
	return "Content-Type: application/http\r\n\r\nGET " + url + "\nUser-Agent: google-api-dotnet-client/1.75.0.0\n\r\n"
}
