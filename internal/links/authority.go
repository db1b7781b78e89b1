package links

import (
	"net/url"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/handle"
	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// HandleTarget reports whether a handle of this kind may lead to the URL: to a
// host of the provider's for a session, to one of those that URLs with their
// own authority are at, and of either for an upload. Further hosts are the
// operator's, as [handle.Lists] reads them. Only a loopback address that they
// name in full may be spoken to without TLS.
func HandleTarget(kind handle.Kind, u *url.URL, p Provider, further []string) bool {
	if u.Host == "" || u.User != nil || u.Opaque != "" {
		return false
	}
	switch kind {
	case handle.Session:
		return isOwn(u, p)
	case handle.Upload:
		// Outlook's upload sessions are at its API's host, with a token of
		// their own in the query.
		return isListed(u, p, further) || isOwn(u, p)
	case handle.Download, handle.Monitor:
		return isListed(u, p, further)
	}
	return false
}

// isOwn reports whether the provider's tokens may be sent to the URL.
func isOwn(u *url.URL, p Provider) bool {
	host, path := hostname.Canonical(u.Host), u.EscapedPath()
	return u.Scheme == p.Scheme(host) && target.CheckPath(path) == nil && p.AllowsHost(host, target.DecodeFully(path)) == nil
}

// isListed reports whether URLs with their own authority are at the URL's host.
func isListed(u *url.URL, p Provider, further []string) bool {
	switch u.Scheme {
	case "https":
		return callsMicrosoft(p) && handle.Lists(handle.Microsoft, u.Host) || handle.Lists(further, u.Host)
	case "http":
		return hostname.IsLoopback(u.Hostname()) && handle.Lists(further, u.Host)
	}
	return false
}

// callsMicrosoft reports whether accounts of the provider may call Microsoft's
// APIs, whichever host a URL was handed out by.
func callsMicrosoft(p Provider) bool {
	return provider.APIsAt(p.Type(), "graph.microsoft.com") == provider.TypeMicrosoft
}

// sealed makes a handle of a URL. Where that fails, nothing stands for the URL:
// it is a credential, and not to be handed out.
func (c *Call) sealed(kind handle.Kind, raw string, expires time.Time) (string, bool) {
	if !plain(raw) {
		return "", false
	}
	u, err := url.Parse(raw)
	if err != nil || !HandleTarget(kind, u, c.Provider, c.Handles) {
		return "", false
	}
	link, err := c.Seal(kind, raw, expires)
	if err != nil {
		return "", true
	}
	return link, true
}
