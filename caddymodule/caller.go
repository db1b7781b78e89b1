package caddymodule

import (
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// clientAddr is the caller's address: behind trusted proxies the one that they
// name, as Caddy's servers find it. It is invalid on a unix socket.
func clientAddr(r *http.Request) netip.Addr {
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if address == "" {
		address = r.RemoteAddr
	}
	ip, err := netip.ParseAddr(address) // Caddy gives it without a port
	if err != nil {
		host, _, _ := net.SplitHostPort(address)
		if ip, err = netip.ParseAddr(host); err != nil {
			return netip.Addr{}
		}
	}
	return ip.Unmap().WithZone("")
}

// reachedAt is the scheme and host that the caller used: behind trusted proxies
// those that they name.
func reachedAt(r *http.Request) (scheme, host string) {
	scheme, host = "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return scheme, host
	}
	if s := lastOf(r.Header, "X-Forwarded-Proto"); s == "http" || s == "https" {
		scheme = s
	}
	if h := lastOf(r.Header, "X-Forwarded-Host"); h != "" && strings.Trim(strings.ToLower(h), hostCharacters) == "" {
		host = h
	}
	return scheme, host
}

// checkAuthority refuses an authority that would not stay one where it is put
// into the links of an answer: over HTTP/3 nobody before has looked at it.
func checkAuthority(host string) error {
	if strings.Trim(strings.ToLower(host), hostCharacters) == "" {
		return nil
	}
	return problem.New(problem.InvalidRequest, "the Host of the request has characters that belong into no host")
}

// stripped is the beginning of the path that handlers before this one have taken
// off, as handle_path does.
func stripped(r *http.Request) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil {
		return ""
	}
	prefix, ok := strings.CutSuffix(original.URL.EscapedPath(), r.URL.EscapedPath())
	if !ok {
		return "" // the path was changed otherwise
	}
	return prefix
}

// hostCharacters are those of names, addresses and ports.
const hostCharacters = "abcdefghijklmnopqrstuvwxyz0123456789-_.:[]"

// lastOf is the last element of a list field, which the nearest proxy wrote.
func lastOf(h http.Header, name string) string {
	values := h[name]
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	return strings.ToLower(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]))
}

// keepOutOfLogs has Caddy write no access log of a request that carries a
// secret where Caddy does not hide it: in the URL, or in a header field other
// than Authorization and Cookie. The audit has its line.
func keepOutOfLogs(r *http.Request) {
	if r.Header.Get("X-Bellhop-Key") != "" || r.Header.Get("X-Goog-Api-Key") != "" || secretInURL(r) || strayKey(r.Header) {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
}

// strayKey reports whether a key stands in a header field where none belongs
// and Caddy would print it.
func strayKey(h http.Header) bool {
	for name, values := range h {
		switch name {
		case "Authorization", "Proxy-Authorization", "Cookie":
			continue
		}
		if slices.ContainsFunc(values, mentionsKey) {
			return true
		}
	}
	return false
}

// secretParams are the names of query parameters that hold secrets.
var secretParams = []string{"access_token", "oauth_token", "key", "code", "state"}

// mentionsHandles reports whether what may be a handle stands in a URL, whatever
// the case.
func mentionsHandles(uri string) bool {
	const segment = ".bellhop"
	for {
		_, behind, found := strings.Cut(uri, "/.")
		if !found {
			return false
		}
		if uri = "." + behind; len(uri) >= len(segment) && strings.EqualFold(uri[:len(segment)], segment) {
			return true
		}
	}
}

// holdsConsent reports whether a path is one of consent's, whose links and
// answers are secrets, at whatever site and however it is written.
func holdsConsent(path string) bool {
	path = strings.ToLower(path)
	return strings.HasPrefix(path, connectPrefix) || strings.HasPrefix(path, callbackPath)
}

// mentionsKey reports whether a key stands in text, also escaped as in URLs, once
// or twice.
func mentionsKey(text string) bool {
	for range 3 {
		if target.MentionsKey(text) {
			return true
		}
		if !strings.Contains(text, "%") {
			return false
		}
		text = escapePattern.ReplaceAllStringFunc(text, func(escape string) string {
			decoded, _ := hex.DecodeString(escape[1:])
			return string(decoded)
		})
	}
	return false
}

// escapePattern finds escapes, whatever else of the URL is malformed.
var escapePattern = regexp.MustCompile("%[0-9A-Fa-f]{2}")

func secretInURL(r *http.Request) bool {
	if mentionsKey(r.RequestURI) || mentionsHandles(r.RequestURI) || holdsConsent(r.URL.Path) {
		return true
	}
	for parameter := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, _, _ := strings.Cut(parameter, "=")
		for _, secret := range secretParams {
			if strings.EqualFold(name, secret) {
				return true
			}
		}
		if strings.Contains(name, "%") {
			return true // whatever it is, it is not worth a secret
		}
	}
	return false
}
