package target

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// hostKind is how sure it is that a path segment is meant as a host.
type hostKind int

const (
	// notHost: it cannot be one.
	notHost hostKind = iota
	// maybeHost: it is one if the provider lists it (localhost:8443,
	// 127.0.0.1).
	maybeHost
	// isHost: it has the form of one.
	isHost
)

// cutHost splits a host off the path, where the first segment is one. Without,
// it returns the path as it is and no host.
func cutHost(path string, hosts Hosts) (host, rest string, err error) {
	segment := strings.TrimPrefix(path, "/")
	if i := strings.IndexByte(segment, '/'); i >= 0 {
		segment, rest = segment[:i], segment[i:]
	}
	if hidesHost(segment) {
		return "", "", invalid("the first segment of the path hides a host name behind an escape or user information: " +
			"write the API's host plainly, and behind it the path")
	}
	host, kind := parseHost(segment)
	switch kind {
	case isHost:
		return host, rest, nil
	case maybeHost:
		if hosts.AllowsHost(host, DecodeFully(rest)) == nil {
			return host, rest, nil
		}
	}
	if looksLikeHost(segment) {
		return "", "", invalid("the host in the path is malformed: write it as gmail.googleapis.com, with a port or without")
	}
	return "", path, nil
}

// CanonicalHost gives a host the form of [Request.Host]. It is not ok for what
// is no host.
func CanonicalHost(s string) (host string, ok bool) {
	host, kind := parseHost(s)
	return host, kind != notHost
}

// parseHost reads a host with or without a port and gives its canonical form:
// lower case, no trailing dot, and no port 443, which is what none means.
func parseHost(s string) (host string, kind hostKind) {
	name, port, hasPort := s, "", false
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		name, port, hasPort = s[:i], s[i:], true
		if !validPort(port[1:]) {
			return "", notHost
		}
		port = strings.TrimSuffix(port, ":443")
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(name, "]") {
			return "", notHost
		}
		return "[" + addr.String() + "]" + port, isHost
	}
	name = strings.TrimSuffix(name, ".")
	if !validName(name) {
		return "", notHost
	}
	host = strings.ToLower(name) + port
	if hasHostForm(name) {
		return host, isHost
	}
	if addr, err := netip.ParseAddr(name); err == nil && addr.Is4() {
		if hasPort {
			return host, isHost
		}
		return host, maybeHost
	}
	if hasPort || strings.EqualFold(name, "localhost") {
		return host, maybeHost
	}
	return "", notHost
}

// validPort takes 1 to 65535 without leading zeros, so that a port has one
// spelling.
func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// validName takes the names of RFC 1123 section 2.1, and underscores.
func validName(s string) bool {
	if s == "" || len(s) > 253 || strings.ContainsFunc(s, isForeignToHosts) {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// hasHostForm reports a dot, and letters behind the last one: "v1.0" is no
// host. The other full stops of IDNA (RFC 3490 section 3.1) count.
func hasHostForm(s string) bool {
	i := strings.LastIndexAny(s, ".\u3002\uff0e\uff61")
	return i >= 0 && strings.ContainsFunc(s[i+1:], unicode.IsLetter)
}

// looksLikeHost finds what was meant as a host and is none, such as
// "evil.example..", "evil.example:" or "-evil.example".
func looksLikeHost(s string) bool {
	if strings.HasPrefix(s, "[") {
		return true
	}
	name, port, _ := strings.Cut(s, ":")
	return strings.Trim(port, "0123456789") == "" &&
		!strings.ContainsFunc(name, isForeignToHosts) &&
		hasHostForm(strings.TrimRight(name, "."))
}

// hidesHost reports whether decoding the segment, or cutting off what stands
// before an "@", would bring a host to light.
func hidesHost(segment string) bool {
	if !strings.ContainsAny(segment, "%@") {
		return false
	}
	for range decodings + 1 {
		for piece := range strings.FieldsFuncSeq(segment, isDelimiter) {
			if hasHostForm(strings.TrimRight(piece, ".")) {
				return true
			}
		}
		segment = decode(segment)
	}
	return false
}

// isDelimiter splits at what ends a host in one reading of a URL or another.
func isDelimiter(c rune) bool { return strings.ContainsRune(`/\@:?#%`, c) }

// isForeignToHosts reports what no host name contains.
func isForeignToHosts(c rune) bool {
	return c > unicode.MaxASCII || !isAlphanumeric(byte(c)) && c != '-' && c != '_' && c != '.' //nolint:gosec // a byte, as looked at before it
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
