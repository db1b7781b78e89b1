package provider

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/hostname"
)

// googleHosts are the API hosts of Google's that a user's token is for, as the
// discovery directory gives their roots. Calendar, Drive, Groups settings and
// Search Console's older API are at www.googleapis.com.
var googleHosts = []string{
	googleDefaultHost,
	"admin.googleapis.com",                // Admin SDK: directory, reports, data transfer
	"analytics.googleapis.com",            // Analytics v3
	"analyticsadmin.googleapis.com",       // Analytics admin
	"analyticsdata.googleapis.com",        // Analytics data
	"analyticsreporting.googleapis.com",   // Analytics reporting v4
	"apidata.googleusercontent.com",       // Calendar over CalDAV
	"chat.googleapis.com",                 // Chat
	"classroom.googleapis.com",            // Classroom
	"cloudidentity.googleapis.com",        // Cloud Identity
	"docs.googleapis.com",                 // Docs
	"driveactivity.googleapis.com",        // Drive activity
	"drivelabels.googleapis.com",          // Drive labels
	"forms.googleapis.com",                // Forms
	"gmail.googleapis.com",                // Gmail
	"gmailpostmastertools.googleapis.com", // Postmaster Tools
	"meet.googleapis.com",                 // Meet
	"people.googleapis.com",               // People
	"photoslibrary.googleapis.com",        // Photos library
	"photospicker.googleapis.com",         // Photos picker
	"pubsub.googleapis.com",               // Pub/Sub
	"searchconsole.googleapis.com",        // Search Console
	"sheets.googleapis.com",               // Sheets
	"slides.googleapis.com",               // Slides
	"tasks.googleapis.com",                // Tasks
	"youtube.googleapis.com",              // YouTube data
	"youtubeanalytics.googleapis.com",     // YouTube analytics
	"youtubereporting.googleapis.com",     // YouTube reporting
}

const (
	googleDefaultHost = "www.googleapis.com"
	googleDAVHost     = "apidata.googleusercontent.com"
	googleCardDAVPath = "/carddav/"
)

// microsoftCloud is one of Microsoft's separate clouds.
type microsoftCloud struct {
	// login is the host of the authorization server.
	login string
	// graph is the host of Microsoft Graph.
	graph string
	// outlook are the names of Exchange Online, which are one resource; its
	// scopes are usually written with the first.
	outlook []string
}

var microsoftClouds = map[string]microsoftCloud{
	"global": {
		login:   "login.microsoftonline.com",
		graph:   "graph.microsoft.com",
		outlook: []string{"outlook.office.com", "outlook.office365.com"},
	},
	"usgov": {
		login:   "login.microsoftonline.us",
		graph:   "graph.microsoft.us",
		outlook: []string{"outlook.office365.us"},
	},
	"usgov-dod": {
		login:   "login.microsoftonline.us",
		graph:   "dod-graph.microsoft.us",
		outlook: []string{"outlook.office365.us", "outlook-dod.office365.us"},
	},
	"china": {
		login:   "login.partner.microsoftonline.cn",
		graph:   "microsoftgraph.chinacloudapi.cn",
		outlook: []string{"partner.outlook.cn"},
	},
}

// APIsAt is the type of provider, google or microsoft, whose APIs are called at
// a host with the tokens of a provider of some type; else that type. Only an
// emailengine's hosts are of both.
func APIsAt(providerType, host string) string {
	switch providerType {
	case TypeGoogleServiceAccount:
		return TypeGoogle
	case TypeMicrosoftApp:
		return TypeMicrosoft
	case TypeEmailEngine:
	default:
		return providerType
	}
	global := microsoftClouds["global"]
	switch host = strings.ToLower(host); {
	case strings.HasSuffix(host, ".googleapis.com"), slices.Contains(googleHosts, host):
		return TypeGoogle
	case host == global.graph, slices.Contains(global.outlook, host):
		return TypeMicrosoft
	}
	return providerType
}

// mintingLabels are the first labels, below googleapis.com, of hosts that
// answer with tokens or run code as the user.
var mintingLabels = []string{
	"accounts", "iamcredentials", "identitytoolkit", "oauth2", "script", "securetoken", "sts",
}

// mintingHosts are further hosts of that kind.
var mintingHosts = []string{
	"accounts.google.com", "login.live.com", "login.windows.net", "login.microsoft.com",
	"login.chinacloudapi.cn", "login.partner.microsoftonline.cn",
}

// mintingPrefixes are paths at www.googleapis.com of that kind.
var mintingPrefixes = []string{"/oauth2/", "/identitytoolkit/"}

// mintsTokens reports whether a token sent to host could come back as another
// token, which would leave Bellhop's hands.
func mintsTokens(host string) bool {
	if strings.HasPrefix(host, "login.microsoftonline.") || slices.Contains(mintingHosts, host) {
		return true
	}
	label, ok := strings.CutSuffix(host, ".googleapis.com")
	if !ok {
		return false
	}
	label, _, _ = strings.Cut(label, ".")
	return slices.Contains(mintingLabels, label)
}

// mintsTokensAt reports the same of a decoded path at host. Case does not
// count: refusing a path that the API would not know does no harm.
func mintsTokensAt(host, decodedPath string) bool {
	if host != googleDefaultHost {
		return false
	}
	path := strings.ToLower(decodedPath) + "/"
	return slices.ContainsFunc(mintingPrefixes, func(prefix string) bool {
		return strings.HasPrefix(path, prefix)
	})
}

// dav reports whether WebDAV's methods make sense at host and path.
func dav(host, decodedPath string) bool {
	host = hostname.Canonical(host)
	return host == googleDAVHost ||
		host == googleDefaultHost && strings.HasPrefix(decodedPath, googleCardDAVPath)
}

// apiHost is a listed host.
type apiHost struct {
	// name is in lower case, with a port unless it is 443; of a wildcard it is
	// what stands behind the "*", dot included.
	name     string
	wildcard bool
	minting  bool
	plain    bool
}

// hostList is what a provider's tokens may be sent to.
type hostList struct {
	provider string
	hosts    []apiHost
	fallback string
}

// own makes host entries of a type's built-in names.
func own(names ...string) []apiHost {
	hosts := make([]apiHost, len(names))
	for i, name := range names {
		hosts[i] = apiHost{name: name}
	}
	return hosts
}

// newHostList puts the configured hosts before or in the place of the type's.
// The fallback, the host of a path that names none, is the first of the type's
// own, or else the only one there is.
func newHostList(cfg Config, typeHosts []apiHost) (hostList, error) {
	l := hostList{provider: cfg.Name}
	added, err := parseAPIHosts(cfg.APIHosts)
	if err != nil {
		return l, fmt.Errorf("api_host: %w", err)
	}
	only, err := parseAPIHosts(cfg.APIHostsOnly)
	if err != nil {
		return l, fmt.Errorf("api_hosts_only: %w", err)
	}
	l.hosts = slices.Concat(added, only)
	if len(only) == 0 {
		l.hosts = append(l.hosts, typeHosts...)
	}
	if len(typeHosts) > 0 && slices.ContainsFunc(l.hosts, func(h apiHost) bool { return h.name == typeHosts[0].name }) {
		l.fallback = typeHosts[0].name
	} else if names := l.names(); len(l.hosts) == 1 && len(names) == 1 {
		l.fallback = names[0]
	}
	return l, nil
}

func parseAPIHosts(configured []APIHost) ([]apiHost, error) {
	var hosts []apiHost
	for _, c := range configured {
		h, err := parseAPIHost(c)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// hostName is a DNS name or an address, without a port.
var hostName = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

func parseAPIHost(c APIHost) (apiHost, error) {
	if c.Host == "" {
		return apiHost{}, errors.New("is empty")
	}
	h := apiHost{name: c.Host, minting: c.TokenMinting}
	if strings.Contains(c.Host, "://") {
		if err := checkEndpoint(c.Host); err != nil {
			return h, err
		}
		u, err := url.Parse(c.Host)
		if err != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return h, fmt.Errorf("%q has more than a scheme, a host and a port", c.Host)
		}
		h.name, h.plain = u.Host, u.Scheme == "http"
	}
	h.name = hostname.Canonical(h.name)
	if rest, ok := strings.CutPrefix(h.name, "*"); ok {
		if !c.InsecureWildcard {
			return h, fmt.Errorf("%q is a wildcard; tokens would go to every name below it, so it needs insecure_wildcard behind it", c.Host)
		}
		h.name, h.wildcard = rest, true
		if !strings.HasPrefix(rest, ".") || !strings.Contains(rest[1:], ".") {
			return h, fmt.Errorf("%q: a wildcard is \"*.\" and a domain of two labels or more", c.Host)
		}
	}
	name, port := hostname.SplitPort(strings.TrimPrefix(h.name, "."))
	if !hostName.MatchString(name) && net.ParseIP(strings.Trim(name, "[]")) == nil {
		return h, fmt.Errorf("%q is not a host name", c.Host)
	}
	if port != "" && !validPort(port) {
		return h, fmt.Errorf("%q has no valid port", c.Host)
	}
	if !h.minting && mintsTokens(name) {
		return h, fmt.Errorf("%q answers with tokens or runs code as the user, so it needs token_minting behind it", c.Host)
	}
	return h, nil
}

func validPort(port string) bool {
	n, err := net.LookupPort("tcp", port)
	return err == nil && n > 0 && port[0] >= '0' && port[0] <= '9'
}

// find returns the entry that lists host: by its full name, else by a
// wildcard.
func (l hostList) find(host string) (apiHost, bool) {
	var found apiHost
	ok := false
	for _, h := range l.hosts {
		if !h.wildcard && h.name == host {
			// The same host may be listed twice, once with more leave.
			if !ok || found.wildcard || h.minting {
				found, ok = h, true
			}
		} else if h.wildcard && !ok && strings.HasSuffix(host, h.name) && len(host) > len(h.name) {
			found, ok = h, true
		}
	}
	return found, ok
}

func (l hostList) allows(host, decodedPath string) error {
	host = hostname.Canonical(host)
	h, ok := l.find(host)
	if !ok {
		return fmt.Errorf("%q is not among the API hosts of provider %s", host, l.provider)
	}
	name, _ := hostname.SplitPort(host)
	if !h.minting && mintsTokens(name) {
		return fmt.Errorf("%q answers with tokens or runs code as the user; provider %s does not list it with token_minting", host, l.provider)
	}
	if !h.minting && mintsTokensAt(host, decodedPath) {
		return fmt.Errorf("this path of %q answers with tokens; provider %s does not list the host with token_minting", host, l.provider)
	}
	return nil
}

func (l hostList) scheme(host string) string {
	if h, ok := l.find(hostname.Canonical(host)); ok && h.plain {
		return "http"
	}
	return "https"
}

// names are the hosts that have full names, the fallback first.
func (l hostList) names() []string {
	var names []string
	if l.fallback != "" {
		names = append(names, l.fallback)
	}
	for _, h := range l.hosts {
		if !h.wildcard && !slices.Contains(names, h.name) {
			names = append(names, h.name)
		}
	}
	return names
}

// hostOf takes the host out of what may be a URL.
func hostOf(resourceOrHost string) string {
	if strings.Contains(resourceOrHost, "//") {
		if u, err := url.Parse(resourceOrHost); err == nil && u.Host != "" {
			return hostname.Canonical(u.Host)
		}
	}
	return hostname.Canonical(resourceOrHost)
}
