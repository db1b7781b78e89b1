package hostname

import "testing"

func TestLoopbackIsKnownByNameAndAddress(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "gmail.localhost": false, "localhost.": false,
		"127.0.0.1": true, "127.8.9.1": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"localhost.example.com": false, "notlocalhost": false, "10.0.0.1": false, "0.0.0.0": false, "": false,
	} {
		if got := IsLoopback(host); got != want {
			t.Errorf("IsLoopback(%q) is %v, want %v", host, got, want)
		}
	}
}

func TestCanonical(t *testing.T) {
	for host, want := range map[string]string{
		"Gmail.GoogleAPIs.com": "gmail.googleapis.com", "a.example:443": "a.example", "a.example:8443": "a.example:8443",
		"[::1]:443": "[::1]", "a.example.": "a.example.", "": "",
	} {
		if got := Canonical(host); got != want {
			t.Errorf("Canonical(%q) is %q, want %q", host, got, want)
		}
	}
}

func TestSplitPort(t *testing.T) {
	for host, want := range map[string][2]string{
		"a.example": {"a.example", ""}, "a.example:8443": {"a.example", "8443"}, "a.example:": {"a.example", ""},
		"[::1]": {"[::1]", ""}, "[::1]:8443": {"[::1]", "8443"}, "": {"", ""},
	} {
		if name, port := SplitPort(host); name != want[0] || port != want[1] {
			t.Errorf("SplitPort(%q) is %q and %q, want %q", host, name, port, want)
		}
	}
}
