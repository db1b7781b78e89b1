package fakeprovider

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// checkRedirectURI refuses to register what no server would.
func checkRedirectURI(uri string) error {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return fmt.Errorf("redirect URI: %w", err)
	case u.Scheme == "" || u.Host == "":
		return fmt.Errorf("redirect URI %q is not absolute", uri)
	case u.Fragment != "" || strings.Contains(uri, "#"):
		return fmt.Errorf("redirect URI %q has a fragment", uri)
	case strings.Contains(uri, "*"):
		return errors.New("redirect URI has a wildcard")
	}
	return nil
}

// redirectsTo reports whether uri is registered: character by character (RFC
// 9700 section 2.1), but for the port where the loopback interface may have
// any (RFC 8252 section 7.3), each dialect in its own way.
func (c Client) redirectsTo(uri string) bool {
	if slices.Contains(c.RedirectURIs, uri) {
		return true
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.User != nil || strings.Contains(uri, "#") {
		return false
	}
	loopback := u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
	switch c.Dialect {
	case Google:
		// A desktop client registers none at all.
		return c.Native && loopback
	case Microsoft:
		return u.Hostname() == "localhost" && c.redirectsToAnyPort(u)
	}
	return c.Native && loopback && c.redirectsToAnyPort(u)
}

func (c Client) redirectsToAnyPort(u *url.URL) bool {
	return slices.ContainsFunc(c.RedirectURIs, func(registered string) bool {
		r, err := url.Parse(registered)
		return err == nil && r.Scheme == u.Scheme && r.Hostname() == u.Hostname() &&
			r.EscapedPath() == u.EscapedPath() && r.RawQuery == u.RawQuery
	})
}

// withQuery is uri with parameters added to the query that it may have (RFC
// 6749 section 3.1.2).
func withQuery(uri string, added url.Values) string {
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
	}
	return uri + separator + added.Encode()
}
