package caddymodule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// The words that may stand behind an API host.
const (
	tokenMinting     = "token_minting"
	insecureWildcard = "insecure_wildcard"
)

// APIHost is a host that a provider's tokens may be sent to. In JSON it is a
// string: the host, then the words `token_minting` and `insecure_wildcard`
// where they apply, separated by spaces.
type APIHost struct {
	// Host is the host's full name, or `*.` and a domain, with an optional port.
	// A loopback host may be a URL, `http://127.0.0.1:8080`, to be spoken to
	// without TLS. Takes placeholders.
	Host string

	// InsecureWildcard is whether Host may be a wildcard.
	InsecureWildcard bool

	// TokenMinting is whether the host may be one that answers with tokens or
	// runs code as the user.
	TokenMinting bool
}

// String returns the host and its words.
func (h APIHost) String() string {
	text := h.Host
	if h.TokenMinting {
		text += " " + tokenMinting
	}
	if h.InsecureWildcard {
		text += " " + insecureWildcard
	}
	return text
}

// MarshalText implements [encoding.TextMarshaler].
func (h APIHost) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *APIHost) UnmarshalText(text []byte) error {
	hosts, err := parseAPIHosts(strings.Fields(string(text)))
	if err != nil {
		return err
	}
	if len(hosts) != 1 {
		return fmt.Errorf("%q is not one API host: each is a string of its own", text)
	}
	*h = hosts[0]
	return nil
}

// check judges a host that holds no placeholder.
func (h APIHost) check() error {
	if h.InsecureWildcard && !strings.HasPrefix(h.Host, "*") {
		return fmt.Errorf("%s is no wildcard: leave out %s", h.Host, insecureWildcard)
	}
	return provider.APIHost(h).Validate()
}

// parseAPIHosts reads hosts, each with the words that follow it.
func parseAPIHosts(words []string) ([]APIHost, error) {
	var hosts []APIHost
	for _, word := range words {
		if word != tokenMinting && word != insecureWildcard {
			hosts = append(hosts, APIHost{Host: word})
			continue
		}
		if len(hosts) == 0 {
			return nil, fmt.Errorf("%s stands behind a host: write `<host> %s`", word, word)
		}
		last := &hosts[len(hosts)-1]
		last.TokenMinting = last.TokenMinting || word == tokenMinting
		last.InsecureWildcard = last.InsecureWildcard || word == insecureWildcard
	}
	return hosts, nil
}

// apiHostLine is a line with hosts, at most the given number of words long.
func apiHostLine(usage string, field *[]APIHost, limit int) subdirective {
	return subdirective{
		usage: usage, min: 1, max: limit, repeat: true,
		set: func(args []string) error {
			hosts, err := parseAPIHosts(args)
			if err == nil && limit >= 0 && len(hosts) > 1 {
				return fmt.Errorf("%s follows the host: write each host on a line of its own", hosts[1].Host)
			}
			*field = append(*field, hosts...)
			return err
		},
		given: func() bool { return len(*field) > 0 },
		check: func() error {
			for i, host := range *field {
				if slices.ContainsFunc((*field)[:i], func(other APIHost) bool { return strings.EqualFold(other.Host, host.Host) }) {
					return fmt.Errorf("%s is written twice: keep one", host.Host)
				}
				if hasPlaceholder(host.Host) {
					continue
				}
				if err := host.check(); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
