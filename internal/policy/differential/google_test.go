package differential

import (
	"regexp"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

// googleRouter says what Google could take a call for.
type googleRouter struct{ root *node }

func newGoogleRouter() *googleRouter {
	r := &googleRouter{newNode()}
	methods := published.Google()
	for i := range methods {
		n := r.root.at(methods[i].Path)
		n.methods = append(n.methods, &methods[i])
	}
	description := r.root.at("/$discovery/rest")
	description.methods = append(description.methods, &published.Method{ID: describes, Verb: "GET", Path: "/$discovery/rest"})
	return r
}

// route gives the methods in all readings, and whether the usual one has any.
func (r *googleRouter) route(s *sent) (methods []*published.Method, known bool) {
	verbs := s.verbs()
	for _, reading := range readingsOf(s.path) {
		segments := reading.segments
		for len(segments) > 0 && slices.Contains([]string{"upload", "download", "resumable"}, fold(decodeOnce(segments[0]))) {
			segments = segments[1:]
		}
		var path [][]alternative
		for _, segment := range segments {
			var ways []alternative
			for _, text := range reading.spellings(segment) {
				ways = append(ways, alternative{{name, text}})
			}
			path = append(path, ways)
		}
		for _, m := range methodsAt(follow(r.root, path), verbs) {
			if !servedAt(m, s.host) {
				continue
			}
			known = known || reading.usual
			if !slices.Contains(methods, m) {
				methods = append(methods, m)
			}
		}
	}
	return methods, known
}

var versionSegment = regexp.MustCompile(`^/v[0-9][^/]*/`)

// servedAt reports whether a method may be served at a host: its own under any of
// its names, one of those in front of all services, and, where the path names
// the service, at any.
func servedAt(m *published.Method, host string) bool {
	plain, _, _ := strings.Cut(strings.TrimSuffix(strings.ToLower(host), "."), ":")
	label, ok := strings.CutSuffix(plain, ".googleapis.com")
	if !ok {
		return plain == "googleapis.com" || strings.HasSuffix(plain, ".clients6.google.com")
	}
	label = strings.TrimPrefix(label, "content-")
	label, _, _ = strings.Cut(label, ".")
	switch {
	case label == "www", label == "content":
		return true
	case !versionSegment.MatchString(m.Path):
		return true
	}
	return m.Host == label+".googleapis.com"
}
