package links

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/handle"
	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// anyStatus stands for the status of an answer that is not known.
const anyStatus = 0

// The fields with URLs. The last two are those of Google's newer protocol of
// resumable uploads.
const (
	location        = "Location"
	contentLocation = "Content-Location"
	linkField       = "Link"
	uploadURL       = "X-Goog-Upload-Url"
	uploadControl   = "X-Goog-Upload-Control-Url"
)

var fields = []string{location, contentLocation, linkField, uploadURL, uploadControl}

// Header replaces the URLs in the header of the answer: Location,
// Content-Location, Link (RFC 8288), X-Goog-Upload-URL and
// X-Goog-Upload-Control-URL.
func (c *Call) Header(status int, h http.Header) {
	for _, name := range fields {
		if values, ok := h[name]; ok {
			c.replaceAll(h, status, name, values)
		}
	}
}

// replaceAll replaces the URLs in a field's values, and leaves out a value that
// could not be sealed.
func (c *Call) replaceAll(h http.Header, status int, name string, values []string) {
	var kept []string
	for _, value := range values {
		if replaced, ok := c.field(status, name, value); ok {
			value = replaced
			if value == "" {
				continue
			}
		}
		kept = append(kept, value)
	}
	if kept == nil {
		delete(h, name)
		return
	}
	h[name] = kept
}

// field gives what stands for a field's value; it is not ok where the value
// stays as it is.
func (c *Call) field(status int, name, value string) (string, bool) {
	switch name {
	case location:
		return c.location(status, value)
	case contentLocation:
		if absolute, ok := c.resolve(value); ok {
			return c.link(absolute)
		}
	case linkField:
		return c.links(value)
	case uploadURL, uploadControl:
		if c.apis() == provider.TypeGoogle && sends(c.Request.Method) {
			return c.sealed(handle.Session, value, time.Time{})
		}
	}
	return "", false
}

// location gives what stands for a Location.
func (c *Call) location(status int, value string) (string, bool) {
	absolute, ok := c.resolve(value)
	if !ok {
		return "", false
	}
	u, err := url.Parse(absolute)
	if err != nil {
		return "", false
	}
	if c.startsSession(status, u) {
		return c.sealed(handle.Session, absolute, time.Time{})
	}
	// At the API's own host a URL is the API's, unless it is that of a file.
	if hostname.Canonical(u.Host) == c.Request.Host && !isMicrosoftContent(c.Request) {
		if link, ok := c.link(absolute); ok {
			return link, true
		}
	}
	if kind, ok := c.kindOf(status); ok {
		if link, ok := c.sealed(kind, absolute, time.Time{}); ok {
			return link, true
		}
	}
	return c.link(absolute)
}

// kindOf says what a Location with its own authority is for.
func (c *Call) kindOf(status int) (handle.Kind, bool) {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return handle.Download, true
	case http.StatusAccepted:
		return handle.Monitor, true
	case anyStatus:
		if reads(c.Request.Method) {
			return handle.Download, true
		}
		return handle.Monitor, true
	}
	return 0, false
}

// startsSession reports whether a Location is that of a resumable upload of
// Google's.
func (c *Call) startsSession(status int, u *url.URL) bool {
	switch status {
	case http.StatusOK, http.StatusCreated, http.StatusPermanentRedirect, anyStatus: // 308 is Resume Incomplete
	default:
		return false
	}
	return c.apis() == provider.TypeGoogle && sends(c.Request.Method) &&
		(strings.HasPrefix(c.Request.Path, "/upload/") || strings.HasPrefix(c.Request.Path, "/resumable/")) &&
		u.Query().Has("upload_id")
}

func sends(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// resolve makes a reference absolute, as if the API's host were its origin
// (RFC 3986 section 5.2). It is not ok for what has no host.
func (c *Call) resolve(reference string) (string, bool) {
	if reference == "" || reference[0] == '#' || !plain(reference) {
		return "", false
	}
	u, err := url.Parse(reference)
	if err != nil || u.Opaque != "" {
		return "", false
	}
	if u.Scheme != "" {
		return reference, u.Host != ""
	}
	scheme := c.Provider.Scheme(c.Request.Host)
	switch {
	case u.Host != "":
		return scheme + ":" + reference, true
	case strings.HasPrefix(reference, "/"):
		if c.isServiceRelative(reference) {
			return "", false
		}
		return scheme + "://" + c.Request.Host + reference, true
	}
	base := c.Request.URL()
	base.Scheme = scheme
	return base.ResolveReference(u).String(), true
}

// isServiceRelative reports a path that Graph writes behind its version, such as
// "/teams/{id}/operations/{id}": SDKs put it behind their base URL.
func (c *Call) isServiceRelative(path string) bool {
	if c.apis() != provider.TypeMicrosoft {
		return false
	}
	version := firstSegment(c.Request.Path)
	return (version == "v1.0" || version == "beta") && firstSegment(path) != version
}

func firstSegment(path string) string {
	segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return segment
}

// links replaces the targets in a Link field (RFC 8288 section 3). Everything
// else stays, and so does what follows a mistake.
func (c *Call) links(value string) (string, bool) {
	var b strings.Builder
	copied := 0
	for i := 0; i < len(value); {
		if strings.IndexByte(" \t,", value[i]) >= 0 {
			i++
			continue
		}
		if value[i] != '<' {
			break
		}
		length := strings.IndexByte(value[i:], '>')
		if length < 0 {
			break
		}
		if absolute, ok := c.resolve(value[i+1 : i+length]); ok {
			if link, ok := c.link(absolute); ok {
				b.WriteString(value[copied : i+1])
				b.WriteString(link)
				copied = i + length
			}
		}
		i += length + 1
		i += parametersEnd(value[i:])
	}
	if copied == 0 {
		return "", false
	}
	b.WriteString(value[copied:])
	return b.String(), true
}

// parametersEnd is where the parameters of a link end: at a comma outside
// quotes, or at the end.
func parametersEnd(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == ',' && !quoted:
			return i
		}
	}
	return len(s)
}
