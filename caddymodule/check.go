package caddymodule

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/policy"
)

// The judges of this file get values without placeholders: as they were
// written, or expanded.

// hasPlaceholder reports whether a value can only be judged once it is expanded.
func hasPlaceholder(value string) bool {
	_, rest, found := strings.Cut(value, "{")
	return found && strings.Contains(rest, "}")
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// checkName judges the names of providers and keys, which stand in paths, logs
// and metrics.
func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%q is not a name: use up to 64 letters, digits, dots, hyphens and underscores, a letter or digit first", name)
	}
	return nil
}

// parseHTTPURL parses an absolute URL that tokens, secrets or people travel to:
// https, or http to a loopback address.
func parseHTTPURL(value string) (*url.URL, error) {
	u, err := parseAbsoluteURL(value)
	switch {
	case err != nil:
		return nil, err
	case u.Fragment != "":
		return nil, fmt.Errorf("%q has a fragment: leave out what follows the #", value)
	case u.Scheme == "http" && !hostname.IsLoopback(u.Hostname()):
		return nil, fmt.Errorf("%q is plain http to another machine: use https, http is for loopback addresses", value)
	}
	return u, nil
}

// parseAbsoluteURL parses an http or https URL. Its errors do not repeat the
// value, which may hold a password.
func parseAbsoluteURL(value string) (*url.URL, error) {
	u, err := url.Parse(value)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return nil, errors.New("not an absolute URL: write one like https://example.com/path")
	case u.User != nil:
		return nil, errors.New("a URL must not hold a user name or password: leave them out")
	}
	return u, nil
}

// checkEndpoint judges the URL of an authorization server's endpoint.
func checkEndpoint(value string) error {
	_, err := parseHTTPURL(value)
	return err
}

// checkBaseURL judges a URL that others are made from: an issuer (RFC 8414
// section 2).
func checkBaseURL(value string) error {
	u, err := parseHTTPURL(value)
	if err == nil && (u.RawQuery != "" || u.ForceQuery) {
		return fmt.Errorf("%q has a query: leave out what follows the ?", value)
	}
	return err
}

// checkPublicURL judges the URL at which people reach consent, whose paths are
// at the root of its host.
func checkPublicURL(value string) error {
	if err := checkBaseURL(value); err != nil {
		return err
	}
	if u, _ := url.Parse(value); u.Path != "" && u.Path != "/" {
		return fmt.Errorf("%q has a path: people must reach /connect/ and /oauth/callback at the root of its host, so write %s://%s", value, u.Scheme, u.Host)
	}
	return nil
}

// checkUpstreamURL judges the address of an API host.
func checkUpstreamURL(value string) error {
	u, err := parseHTTPURL(value)
	if err != nil {
		return err
	}
	if u.Path != "" || u.RawQuery != "" || u.ForceQuery {
		return fmt.Errorf("%q is more than scheme, address and port: write %s://%s", value, u.Scheme, u.Host)
	}
	return nil
}

// checkReturnTo judges a URL to which people may be sent. Only its path has
// globs, so that the host is always one that was written.
func checkReturnTo(value string) error {
	u, err := parseHTTPURL(value)
	switch {
	case err != nil:
		return err
	case strings.Contains(u.Host, "*"):
		return fmt.Errorf("%q has a wildcard in its host: write each host, and * in the path only", value)
	case strings.Contains(strings.TrimSuffix(value, "*"), "*"):
		return fmt.Errorf("%q has a * before its end: write one, as the last character, for any rest", value)
	case u.RawQuery != "" || u.ForceQuery:
		return fmt.Errorf("%q has a query: leave out what follows the ?, any query goes", value)
	}
	return nil
}

// checkWebhookURL judges where events are posted to. They hold no tokens, so
// plain http is the operator's choice.
func checkWebhookURL(value string) error {
	_, err := parseAbsoluteURL(value)
	return err
}

// checkHash judges a key's hash.
func checkHash(value string) error {
	_, err := policy.ParseHash(value)
	return err
}

// checkCIDR judges an address or a network.
func checkCIDR(value string) error {
	_, err := policy.ParseCIDR(value)
	return err
}

// checkTenant judges a Microsoft tenant.
func checkTenant(value string) error {
	if !hostPattern.MatchString(strings.ToLower(value)) {
		return fmt.Errorf("%q is not a tenant: write organizations, consumers, common, or a tenant's ID or domain", value)
	}
	return nil
}

var (
	hostPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9_-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	portPattern = regexp.MustCompile(`:[0-9]{1,5}$`)
)

// checkHost judges a host name or address with an optional port.
func checkHost(value string) error {
	host := portPattern.ReplaceAllString(strings.ToLower(value), "")
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		if _, err := netip.ParseAddr(host[1 : len(host)-1]); err == nil {
			return nil
		}
	}
	if !hostPattern.MatchString(host) {
		return fmt.Errorf("%q is not a host: write its full name, without scheme and path", value)
	}
	return nil
}

// checkHostGlob judges a host name that may begin with `*.`.
func checkHostGlob(value string) error {
	domain, wild := strings.CutPrefix(value, "*.")
	if err := checkHost(domain); err != nil || wild && !strings.Contains(domain, ".") {
		return fmt.Errorf("%q is not a host: write its full name, or *. and a domain", value)
	}
	return nil
}

// checkRule judges a rule.
func checkRule(value string) error {
	_, err := policy.ParseRule(value)
	return err
}

func checkPreset(value string) error { return policy.CheckPreset(value) }

func checkScope(value string) error { return policy.CheckScope(value) }

// reservedPaths are the paths of a site that the proxy cannot be at.
var reservedPaths = []string{"/v1", "/connect", "/oauth", "/console", "/healthz", "/readyz", "/.bellhop"}

// checkPrefix judges where the proxy is.
func checkPrefix(value string) error {
	if !strings.HasPrefix(value, "/") || path.Clean(value) != value || strings.ContainsAny(value, "*?#%{}\\ ") {
		return fmt.Errorf("%q is not a prefix: write a plain path like /proxy, without a slash at its end", value)
	}
	for _, reserved := range reservedPaths {
		if value == reserved || strings.HasPrefix(value, reserved+"/") {
			return fmt.Errorf("%s is reserved: choose a prefix outside it", reserved)
		}
	}
	return nil
}

// checkPathGlob judges the glob of an API's path.
func checkPathGlob(value string) error {
	if !strings.HasPrefix(value, "/") {
		return fmt.Errorf("%q is not a path: begin it with /", value)
	}
	return nil
}
