package caddymodule

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// returnPattern is a `return_to` line: to where people may be sent.
type returnPattern struct {
	origin string
	path   string
	rest   bool // any rest may follow the path
}

// parseReturnPattern reads what a `return_to` line says once its placeholders
// are expanded.
func parseReturnPattern(value string) (returnPattern, error) {
	if err := checkReturnTo(value); err != nil {
		return returnPattern{}, err
	}
	value, rest := strings.CutSuffix(value, "*")
	u, err := parseReturnURL(value)
	if err != nil {
		return returnPattern{}, err
	}
	return returnPattern{origin: origin(u), path: writtenPath(u), rest: rest}, nil
}

// allows reports whether people may be sent to u, which parseReturnURL gave.
// Its query is the operator's application's own.
func (p returnPattern) allows(u *url.URL) bool {
	if origin(u) != p.origin {
		return false
	}
	if p.rest {
		return strings.HasPrefix(writtenPath(u), p.path)
	}
	return writtenPath(u) == p.path
}

// parseReturnURL parses a URL that a browser is sent to. What a browser reads
// in another way than this does is refused.
func parseReturnURL(value string) (*url.URL, error) {
	u, err := parseHTTPURL(value)
	if err != nil {
		return nil, err
	}
	for _, c := range []byte(value) {
		if c <= ' ' || c == '\\' || c >= 0x7f {
			return nil, fmt.Errorf("%q has a character that belongs into no URL: percent-encode it", value)
		}
	}
	// Browsers go up at %2e%2e too.
	if u.Path != "" && u.Path != "/" && path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") {
		return nil, fmt.Errorf("%q has dot segments or empty ones in its path: write where it leads", value)
	}
	return u, nil
}

// writtenPath is a URL's path as it is written, "/" where it has none.
func writtenPath(u *url.URL) string {
	if escaped := u.EscapedPath(); escaped != "" {
		return escaped
	}
	return "/"
}

// origin is a URL's scheme, host and port, in one way.
func origin(u *url.URL) string { return u.Scheme + "://" + authority(u) }

// authority is a URL's host in lower case, with its port where it is not the
// scheme's own.
func authority(u *url.URL) string {
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":")
	switch u.Scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}

// checkReturnTo reports why people may not be sent to a URL when they have
// consented: it must be one of those that a site with `connect` lists.
func (a *App) checkReturnTo(value string) error {
	u, err := parseReturnURL(value)
	if err != nil {
		return err
	}
	a.run.used.mu.Lock()
	defer a.run.used.mu.Unlock()
	for _, c := range a.run.used.connects {
		for _, p := range c.returns {
			if p.allows(u) {
				return nil
			}
		}
	}
	return fmt.Errorf("no site with `connect` sends people to %s: write `return_to %s` into its block", value, origin(u)+writtenPath(u))
}
