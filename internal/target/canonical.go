package target

// CanonicalHost gives a host the form of [Request.Host]. It is not ok for what
// is no host.
func CanonicalHost(s string) (host string, ok bool) {
	host, kind := parseHost(s)
	return host, kind != notHost
}
