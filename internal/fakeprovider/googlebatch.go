package fakeprovider

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

const (
	googleBatchParts = 100
	maxBatch         = 25 << 20
)

// batchPart is a call inside a batch.
type batchPart struct {
	contentID string
	request   *http.Request
}

// googleBatch executes a multipart/mixed batch of calls below root, each with
// the token of the batch. One part that is not as documented, that has a token
// of its own, or whose URL is no path refuses the whole batch.
func (s *Server) googleBatch(root string) apiHandler {
	return func(w http.ResponseWriter, r *http.Request, _ caller) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBatch+1))
		if err != nil || len(body) > maxBatch {
			googleError(w, http.StatusRequestEntityTooLarge, "INVALID_ARGUMENT", "batchSizeTooLarge", "The batch broke off or is too large")
			return
		}
		if mentionsKey(string(body)) {
			s.refuseLeak(w)
			return
		}
		parts, err := parseGoogleBatch(r, body, root)
		if err != nil {
			googleError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "badRequest", "Failed to parse batch request: "+err.Error())
			return
		}
		var answer bytes.Buffer
		writer := multipart.NewWriter(&answer)
		if err := writer.SetBoundary("batch_" + writer.Boundary()); err != nil {
			panic(err) // it is made of letters and digits
		}
		for _, part := range parts {
			s.answerPart(writer, part)
		}
		_ = writer.Close() // to memory
		w.Header().Set("Content-Type", "multipart/mixed; boundary="+writer.Boundary())
		w.Header().Set("Content-Length", strconv.Itoa(answer.Len()))
		_, _ = answer.WriteTo(w)
	}
}

// answerPart executes a part and writes what came of it.
func (s *Server) answerPart(writer *multipart.Writer, part batchPart) {
	answer := newRecording()
	s.api.ServeHTTP(answer, part.request)
	header := textproto.MIMEHeader{"Content-Type": {"application/http"}}
	if id := part.contentID; strings.HasPrefix(id, "<") {
		header.Set("Content-ID", "<response-"+id[1:])
	} else if id != "" {
		header.Set("Content-ID", "response-"+id)
	}
	out, _ := writer.CreatePart(header) // to memory
	status := max(answer.status, http.StatusOK)
	fmt.Fprintf(out, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	answer.header.Set("Content-Length", strconv.Itoa(answer.body.Len()))
	_ = answer.header.Write(out)
	fmt.Fprintf(out, "\r\n%s", answer.body.Bytes())
}

func parseGoogleBatch(outer *http.Request, body []byte, root string) ([]batchPart, error) {
	mediaType, parameters, err := mime.ParseMediaType(outer.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/mixed" || parameters["boundary"] == "" {
		return nil, errors.New("Content-Type must be multipart/mixed with a boundary")
	}
	if bytes.Contains(bytes.ReplaceAll(body, []byte("\r\n"), nil), []byte("\n")) {
		return nil, errors.New("a line ends without a carriage return")
	}
	reader := multipart.NewReader(bytes.NewReader(body), parameters["boundary"])
	var parts []batchPart
	seen := map[string]bool{}
	for {
		mimePart, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errors.New("a boundary is missing")
		}
		part, err := parseGooglePart(outer, mimePart, root)
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", len(parts)+1, err)
		}
		if part.contentID != "" && seen[part.contentID] {
			return nil, fmt.Errorf("part %d: its Content-ID was there before", len(parts)+1)
		}
		seen[part.contentID] = true
		parts = append(parts, part)
	}
	if len(parts) == 0 || len(parts) > googleBatchParts {
		return nil, fmt.Errorf("there are %d parts; 1 to %d are allowed", len(parts), googleBatchParts)
	}
	return parts, nil
}

func parseGooglePart(outer *http.Request, mimePart *multipart.Part, root string) (part batchPart, err error) {
	if mediaType, _, err := mime.ParseMediaType(mimePart.Header.Get("Content-Type")); err != nil || mediaType != "application/http" {
		return part, errors.New("its Content-Type must be application/http")
	}
	part.contentID = mimePart.Header.Get("Content-ID")
	reader := textproto.NewReader(bufio.NewReader(mimePart))
	line, err := reader.ReadLine()
	if err != nil {
		return part, errors.New("it is empty")
	}
	fields := strings.Split(line, " ")
	if len(fields) < 2 || len(fields) > 3 || len(fields) == 3 && fields[2] != "HTTP/1.1" {
		return part, errors.New("its first line must be a method, a path and perhaps HTTP/1.1")
	}
	header, err := reader.ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return part, errors.New("its header is malformed")
	}
	content, err := io.ReadAll(reader.R)
	if err != nil {
		return part, errors.New("it broke off")
	}
	if declared := header.Get("Content-Length"); declared != "" && declared != strconv.Itoa(len(bytes.TrimRight(content, "\r\n"))) && declared != strconv.Itoa(len(content)) {
		return part, errors.New("its Content-Length is not the length of its body")
	}
	part.request, err = innerRequest(outer, fields[0], fields[1], http.Header(header), content)
	if err == nil && !strings.HasPrefix(part.request.URL.Path, root) {
		err = fmt.Errorf("its path is not below %s", root)
	}
	return part, err
}

// innerRequest is a call inside a batch, made with the token of the batch.
func innerRequest(outer *http.Request, method, target string, header http.Header, body []byte) (*http.Request, error) {
	if host := header.Get("Host"); host != "" && host != outer.Host {
		return nil, errors.New("its Host is not that of the batch")
	}
	for _, name := range []string{"Authorization", "Cookie", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
		if _, there := header[name]; there {
			return nil, fmt.Errorf("%s is not allowed inside a batch", name)
		}
	}
	if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.Contains(target, "#") {
		return nil, errors.New("its URL must be a path")
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, errors.New("its URL is malformed")
	}
	if query := u.Query(); query.Has("access_token") || query.Has("oauth_token") {
		return nil, errors.New("its URL has a token")
	}
	inner, err := http.NewRequestWithContext(outer.Context(), method, target, bytes.NewReader(body)) //nolint:gosec // it is served here, not sent
	if err != nil {
		return nil, errors.New("its method is malformed")
	}
	inner.RequestURI, inner.Host, inner.TLS = target, outer.Host, outer.TLS
	inner.Header = header.Clone()
	if inner.Header == nil {
		inner.Header = http.Header{}
	}
	inner.Header["Authorization"] = outer.Header["Authorization"]
	return inner, nil
}
