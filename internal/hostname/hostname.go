// Package hostname writes the hosts of URLs in one way, so that they can be
// compared.
package hostname

import (
	"net"
	"strings"
)

// Canonical is a host in lower case and without the port 443, which is what none
// means over TLS.
func Canonical(host string) string {
	return strings.TrimSuffix(strings.ToLower(host), ":443")
}

// SplitPort cuts a port off, which may be missing. The brackets of an IPv6
// address stay with it.
func SplitPort(host string) (name, port string) {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i], host[i+1:]
	}
	return host, ""
}

// IsLoopback takes addresses, with or without brackets, and "localhost", and no
// port.
func IsLoopback(name string) bool {
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return ip != nil && ip.IsLoopback()
}
