package matrix

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
)

// caller is what a replay has in place of a process.
type caller struct {
	client *http.Client
	env    map[string]string
	stdout io.Writer
}

// request is one that a library sends. With its zero values it has the key, and
// no body.
type request struct {
	method, url string
	header      http.Header
	body        io.Reader
	gzip        bool // the body is compressed, its length unknown
	keyless     bool
}

// answer is what came back, with no error in it.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (c *caller) send(ctx context.Context, r request) (answer, error) {
	if r.gzip {
		var compressed bytes.Buffer
		w := gzip.NewWriter(&compressed)
		if _, err := io.Copy(w, r.body); err != nil {
			return answer{}, err
		}
		if err := w.Close(); err != nil {
			return answer{}, err
		}
		r.body = struct{ io.Reader }{&compressed} // hides the length
	}
	out, err := http.NewRequestWithContext(ctx, r.method, r.url, r.body)
	if err != nil {
		return answer{}, err
	}
	maps.Copy(out.Header, r.header)
	if r.gzip {
		out.Header.Set("Content-Encoding", "gzip")
	}
	if !r.keyless {
		out.Header.Set("Authorization", "Bearer "+c.env["BELLHOP_KEY"])
	}
	response, err := c.client.Do(out)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return answer{}, fmt.Errorf("%d %s", response.StatusCode, body)
	}
	return answer{response.StatusCode, response.Header, body}, nil
}

// get sends a GET and decodes what comes back.
func (c *caller) get(ctx context.Context, url string, into any) error {
	a, err := c.send(ctx, request{method: http.MethodGet, url: url})
	if err != nil {
		return err
	}
	return json.Unmarshal(a.body, into)
}

// resolve is what a URL that a library has refers to at a base URL: what begins
// with a slash at its origin, and anything else below its path.
func resolve(base, reference string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	u, err = u.Parse(reference)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// jsonHeader is for a body that is JSON.
func jsonHeader() http.Header {
	return http.Header{"Content-Type": {"application/json; charset=UTF-8"}}
}

// printID prints the ID of what was made.
func (c *caller) printID(body []byte) error {
	var made struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &made); err != nil {
		return fmt.Errorf("%w: %s", err, body)
	}
	_, err := fmt.Fprintln(c.stdout, made.ID)
	return err
}

// putChunks sends a file to a session of its own, and returns the last answer.
// That a chunk is in, and what comes next, is said by 308 at Google and by 202 at
// Microsoft.
func (c *caller) putChunks(ctx context.Context, session string, file *os.File, chunk int64, next int, keyless bool) (last answer, err error) {
	info, err := file.Stat()
	if err != nil {
		return answer{}, err
	}
	for from := int64(0); from < info.Size(); from += chunk {
		length := min(chunk, info.Size()-from)
		last, err = c.send(ctx, request{
			method: http.MethodPut, url: session, keyless: keyless,
			body: bytes.NewReader(readAt(file, from, length)),
			header: http.Header{
				"Content-Type":  {"application/octet-stream"},
				"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", from, from+length-1, info.Size())},
			},
		})
		if err != nil {
			return answer{}, err
		}
		if done := from+length == info.Size(); !done && last.status != next {
			return answer{}, fmt.Errorf("%d for a chunk that is not the last: %s", last.status, last.body)
		}
	}
	return last, nil
}

// readAt reads what is there of a file.
func readAt(file io.ReaderAt, from, length int64) []byte {
	chunk := make([]byte, length)
	n, _ := file.ReadAt(chunk, from)
	return chunk[:n]
}
