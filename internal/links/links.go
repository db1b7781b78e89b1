// Package links knows which URLs Google and Microsoft hand out in answers, and
// what becomes of them: those of next calls lead back through the proxy, and
// those that carry their own authority are sealed.
package links

import (
	"net/http"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/handle"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// Provider is what must be known of the account's provider.
type Provider interface {
	target.Hosts
	// Type is one of the types of package provider.
	Type() string
	// Scheme is "https", or "http" for a host that is spoken to so.
	Scheme(host string) string
}

// Call is a call whose answer may have URLs.
type Call struct {
	// Request is the call as it was sent.
	Request *target.Request
	// Provider is that of the call's account.
	Provider Provider
	// Extra are the operator's further members of answers.
	Extra []Extra
	// Handles are the operator's further hosts of URLs with their own
	// authority, as [handle.Lists] reads them.
	Handles []string
	// Seal makes the URL of a handle. The time is when the API says that the URL
	// expires, and zero where it does not say. Where it fails, the URL is taken
	// out of the answer.
	Seal func(kind handle.Kind, url string, expires time.Time) (link string, err error)
}

// apis is the type of provider whose APIs the call is one of.
func (c *Call) apis() string { return provider.APIsAt(c.Provider.Type(), c.Request.Host) }

// Extra is a member of answers that holds the URL of a next call: at top level,
// or beside an array "value".
type Extra struct {
	// Member is the member's name.
	Member string
	// Path is a pattern of the API's paths, as [glob.Match] reads it; empty for
	// every path.
	Path string
}

// Replace gives what stands for a URL in an answer. It is not ok where the URL
// stays as it is.
func (c *Call) Replace(f rewrite.Found) (string, bool) {
	switch f.Kind {
	case rewrite.Link:
		if f.Name == mtlsRoot {
			return c.link(withoutMTLS(f.URL))
		}
		return c.link(f.URL)
	case rewrite.Upload:
		return c.sealed(handle.Upload, f.URL, expiry(f.Beside))
	case rewrite.Download:
		return c.sealed(handle.Download, f.URL, time.Time{})
	case rewrite.Location:
		return c.field(anyStatus, http.CanonicalHeaderKey(f.Name), f.URL)
	}
	return "", false
}

// link leads to an API's URL through the proxy.
func (c *Call) link(raw string) (string, bool) {
	raw = escaper.Replace(raw)
	if !plain(raw) {
		return "", false
	}
	return c.Request.Link(raw, c.Provider, c.Provider.Scheme)
}

// escaper escapes what APIs write plainly into the query of a next call, and some
// readers of URLs take for something else. A URL that it makes another one of, as
// with a backslash in the host, is none that leads back.
var escaper = strings.NewReplacer(" ", "%20", `\`, "%5C")

// plain reports that a URL has nothing that readers of URLs disagree about:
// some take a backslash for a slash, and drop control characters and spaces.
func plain(raw string) bool {
	return !strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' })
}

// mtlsRoot is the member of a discovery document that names the host to reach
// with a client certificate, which no provider lists.
const mtlsRoot = "mtlsRootUrl"

// withoutMTLS names the host without client certificates in the place of the
// one with them.
func withoutMTLS(raw string) string {
	scheme, rest, _ := strings.Cut(raw, "://")
	host, path, slash := strings.Cut(rest, "/")
	name, ok := strings.CutSuffix(host, ".mtls.googleapis.com")
	if !ok {
		return raw
	}
	raw = scheme + "://" + name + ".googleapis.com"
	if slash {
		raw += "/" + path
	}
	return raw
}

// expiry is the time that an API names (RFC 3339); none where it names none.
func expiry(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t
}
