package handle

import (
	"net/netip"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/hostname"
)

// Microsoft are the hosts of the URLs with their own authority that Microsoft
// Graph and Outlook hand out, as [Lists] reads them.
var Microsoft = []string{
	"*.sharepoint.com",               // SharePoint and OneDrive for work or school
	"*.sharepoint.us",                // the same, US government (GCC High)
	"*.sharepoint-mil.us",            // the same, US government (DoD)
	"*.sharepoint.cn",                // the same, operated by 21Vianet in China
	"*.svc.ms",                       // media services: thumbnails, conversions, progress of copies
	"*.microsoftpersonalcontent.com", // OneDrive of persons, since its move to SharePoint's platform
	"*.1drv.com",                     // OneDrive of persons before: uploads, downloads
	"*.onedrive.com",                 // OneDrive of persons before: uploads, progress of copies
	"*.livefilestore.com",            // OneDrive of persons, the oldest downloads
	"reports.office.com",             // usage reports
	"reportsncu.office.com",          // usage reports of tenants in America
	"reportsweu.office.com",          // usage reports of tenants in Europe
}

// Lists reports whether one of the patterns is for the host: "*." and a domain
// is for every name below the domain, and anything else for itself. No port is
// port 443; another one must stand in the pattern. No wildcard is for an
// address.
func Lists(patterns []string, host string) bool {
	host = hostname.Canonical(host)
	name, port := hostname.SplitPort(host)
	if !validName(name) || strings.HasSuffix(host, ":") {
		return false
	}
	for _, pattern := range patterns {
		pattern = hostname.Canonical(pattern)
		domain, wild := strings.CutPrefix(pattern, "*.")
		if !wild {
			if pattern == host {
				return true
			}
			continue
		}
		domain, wantPort := hostname.SplitPort(domain)
		below, ok := strings.CutSuffix(name, "."+domain)
		if ok && below != "" && domain != "" && port == wantPort && !isAddress(name) {
			return true
		}
	}
	return false
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil
}

// validName takes addresses, and the names of RFC 1123 section 2.1 with
// underscores: no empty label, and so no dot at the end.
func validName(name string) bool {
	if strings.HasPrefix(name, "[") {
		return isAddress(name)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
