package operation

import (
	"net/url"
	"slices"
	"strings"
)

const googleDomain = ".googleapis.com"

// fronts are the hosts at which all of Google's services answer that have their
// name in the path.
var fronts = []string{"www.googleapis.com", "content.googleapis.com", "googleapis.com"}

func isFront(host string) bool { return slices.Contains(fronts, host) }

// googleHost is a host without what leads to the same service: the name for
// client certificates, and the one for browsers.
func googleHost(host string) string {
	name, ok := strings.CutSuffix(host, googleDomain)
	if !ok {
		return host
	}
	plain := strings.TrimSuffix(strings.TrimPrefix(name, "content-"), ".mtls")
	if plain == name || plain == "" {
		return host
	}
	return plain + googleDomain
}

// services are those whose paths begin with their name and that answer at more
// hosts than one: at the front, and at their own. The hosts are those of the
// discovery documents, and those that clients have used. A service that is not
// here has its name for the first label of its own host.
var services = map[string][]string{
	"admin":      {"admin.googleapis.com"},
	"analytics":  {"analytics.googleapis.com"},
	"calendar":   {"calendar.googleapis.com", "calendar-json.googleapis.com"},
	"drive":      {"drive.googleapis.com"},
	"gmail":      {"gmail.googleapis.com"},
	"groups":     {"groupssettings.googleapis.com", "groupsmigration.googleapis.com"},
	"tasks":      {"tasks.googleapis.com"},
	"webmasters": {"searchconsole.googleapis.com", "webmasters.googleapis.com"},
	"youtube":    {"youtube.googleapis.com", "youtubeanalytics.googleapis.com"},
}

// service finds the service that a path names. At a front each path names one,
// so that one which begins with a version is not to be judged there.
func service(host string, segments []Segment) (string, error) {
	if len(segments) == 0 {
		return "", nil
	}
	first := segments[0].Folded
	_, known := services[first]
	switch {
	case strings.Contains(first, "*"), first == "batch":
		return "", nil
	case known:
		return first, nil
	case isFront(host) && IsVersion(first):
		return "", errFront
	case isFront(host):
		return first, nil
	}
	if label, ok := strings.CutSuffix(host, googleDomain); ok && label == first {
		return first, nil
	}
	return "", nil
}

// ServedAt reports whether a path is served at a host of Google's, which has
// been through the normal form of a [Path] itself.
func (p *Path) ServedAt(host string) bool {
	if p.Service == "" {
		return p.Host == host
	}
	if isFront(host) {
		return true
	}
	own, known := services[p.Service]
	if !known {
		return p.Host == host || host == p.Service+googleDomain
	}
	return slices.Contains(own, host)
}

// IsVersion reports whether a segment is an API's version, such as "v1",
// "v2.4", "v1beta1" or "beta".
func IsVersion(folded string) bool {
	if folded == "beta" {
		return true
	}
	return len(folded) > 1 && folded[0] == 'v' && '0' <= folded[1] && folded[1] <= '9'
}

// checkSession refuses a query that goes on with an upload: what that does was
// said when it began, perhaps by somebody who may do more, and at another path.
func checkSession(query string) error {
	for parameter := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' || r == '?' }) {
		name, _, _ := strings.Cut(parameter, "=")
		for range 2 { // as a server reads it that decodes once more
			if decoded, err := url.QueryUnescape(name); err == nil {
				name = decoded
			}
		}
		if strings.EqualFold(strings.TrimSpace(name), "upload_id") {
			return errSession
		}
	}
	return nil
}

// readGoogle reads a path of Google's. The ways to send and fetch media begin
// with a prefix, behind which the path is that of the operation; a rule is for
// both.
func readGoogle(segments []Segment, source *Source) ([]Segment, error) {
	for raw := range strings.SplitSeq(trimmed(source.Path), "/") {
		if raw == "" && source.Path == "/" {
			break
		}
		text, err := decoded(raw, googleContent(segments))
		if err != nil {
			return nil, err
		}
		folded := fold(text)
		if len(segments) == 0 && (folded == "upload" || folded == "download" || folded == "resumable") {
			continue
		}
		segments = append(segments, Segment{Text: text, Folded: folded})
	}
	if len(segments) == 0 {
		return segments, nil
	}
	switch first := segments[0].Folded; {
	case first == "batch" && source.Mode == Call:
		return nil, errBatch
	case first == "rpc", first == "$rpc", strings.HasPrefix(first, "google.") && len(segments) > 1:
		// The same operations by gRPC and its like, under other names or with
		// the name in the body.
		return nil, errRPC
	}
	if last := &segments[len(segments)-1]; VerbIn(last.Text) >= 0 {
		last.Kind = Verb
	}
	return segments, nil
}

// googleContent is the table of IDs that may hold what other segments may not:
// Search Console's siteUrl and feedpath, which are URLs, and the IDs of
// calendars.
func googleContent(before []Segment) content {
	n := len(before)
	switch {
	case n == 0:
		return plainText
	case n > 1 && before[0].Folded == "webmasters" && (before[n-1].Folded == "sites" || before[n-1].Folded == "sitemaps"):
		return urlText
	case before[n-1].Folded == "calendars" || before[n-1].Folded == "calendarlist":
		return idText
	}
	return plainText
}

// VerbIn is where in a last segment the colon of a custom method stands, or -1.
// The other side of a colon in a range of cells, "A1:B2", is none.
func VerbIn(text string) int {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || i+1 == len(text) {
		return -1
	}
	verb := text[i+1:]
	for j := range len(verb) {
		if c := verb[j]; !isLetter(c) && (j == 0 || !isDigit(c) && c != '_') {
			return -1
		}
	}
	if column := strings.TrimRight(verb, "0123456789"); len(column) <= 3 && column == strings.ToUpper(column) && !strings.Contains(column, "_") {
		return -1
	}
	return i
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
