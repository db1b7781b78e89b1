package differential

import (
	"regexp"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

// graphRouter says what Microsoft Graph could take a call for.
type graphRouter struct{ root *node }

func newGraphRouter() *graphRouter {
	r := &graphRouter{newNode()}
	methods := published.Microsoft()
	top := r.root.at("v1.0")
	for i := range methods {
		n := top.at(strings.TrimPrefix(methods[i].Path, "/v1.0"))
		n.methods = append(n.methods, &methods[i])
	}
	for i := range graphToo {
		n := top.at(strings.TrimPrefix(graphToo[i].Path, "/v1.0"))
		n.methods = append(n.methods, &graphToo[i])
	}
	r.root.literals["beta"] = top
	top.literals["me"] = top.at("users/{}")
	top.below("myorganization").also = append(top.below("myorganization").also, top)
	for _, same := range graphSame {
		from, to := top.at(same[0]), top.at(same[1])
		from.also = append(from.also, to)
	}
	return r
}

// graphToo are methods that Microsoft documents and does not describe: the
// properties of settings by themselves, the content of an attachment, and a
// thumbnail of one size.
var graphToo = func() []published.Method {
	var methods []published.Method
	for _, path := range []string{
		"/v1.0/users/{user-id}/mailboxSettings/{property}",
		"/v1.0/drives/{drive-id}/items/{driveItem-id}/thumbnails/{thumbnailSet-id}/{size}",
		"/v1.0/drives/{drive-id}/items/{driveItem-id}/thumbnails/{thumbnailSet-id}/{size}/content",
		"/v1.0/users/{user-id}/messages/{message-id}/attachments/{attachment-id}/$value",
		"/v1.0/users/{user-id}/mailFolders/{mailFolder-id}/messages/{message-id}/attachments/{attachment-id}/$value",
		"/v1.0/users/{user-id}/events/{event-id}/attachments/{attachment-id}/$value",
		"/v1.0/groups/{group-id}/events/{event-id}/attachments/{attachment-id}/$value",
	} {
		methods = append(methods, published.Method{API: "graph/v1.0", ID: reads, Verb: "GET", Host: "graph.microsoft.com", Path: path})
	}
	return methods
}()

// graphSame are places of Graph's from which on the paths are the same as from
// others, where Microsoft documents it or describes it in part only.
var graphSame = [][2]string{
	{"drive", "drives/{}"},
	{"users/{}/drive", "drives/{}"},
	{"groups/{}/drive", "drives/{}"},
	{"sites/{}/drive", "drives/{}"},
	{"users/{}/drives/{}", "drives/{}"},
	{"groups/{}/drives/{}", "drives/{}"},
	{"sites/{}/drives/{}", "drives/{}"},
	{"shares/{}/driveItem", "drives/{}/items/{}"},
	{"shares/{}/root", "drives/{}/items/{}"},
	{"shares/{}/items/{}", "drives/{}/items/{}"},
	{"drives/{}/root", "drives/{}/items/{}"},
	{"drives/{}/special/{}", "drives/{}/items/{}"},
	{"drives/{}/bundles/{}", "drives/{}/items/{}"},
	{"drives/{}/following/{}", "drives/{}/items/{}"},
	{"drives/{}/items/{}/children/{}", "drives/{}/items/{}"},
	{"sites/{}/lists/{}/drive", "drives/{}"},
	{"sites/{}/lists/{}/items/{}/driveItem", "drives/{}/items/{}"},
	{"sites/root", "sites/{}"},
	{"sites/{}/sites/{}", "sites/{}"},
	{"groups/{}/sites/{}", "sites/{}"},
	{"users/{}/mailFolders/{}/childFolders/{}", "users/{}/mailFolders/{}"},
	{"users/{}/mailFolders/{}/messages/{}", "users/{}/messages/{}"},
	{"users/{}/calendar", "users/{}/calendars/{}"},
	{"users/{}/calendarGroups/{}/calendars/{}", "users/{}/calendars/{}"},
	{"users/{}/calendars/{}/events/{}", "users/{}/events/{}"},
	{"users/{}/calendars/{}/calendarView/{}", "users/{}/events/{}"},
	{"users/{}/calendarView/{}", "users/{}/events/{}"},
	{"users/{}/events/{}/instances/{}", "users/{}/events/{}"},
	{"users/{}/events/{}/calendar", "users/{}/calendars/{}"},
	{"groups/{}/calendar/events/{}", "groups/{}/events/{}"},
	{"groups/{}/calendar/calendarView/{}", "groups/{}/events/{}"},
	{"groups/{}/calendarView/{}", "groups/{}/events/{}"},
	{"groups/{}/events/{}/instances/{}", "groups/{}/events/{}"},
}

// route gives the methods in all readings, and whether the usual one has any.
func (r *graphRouter) route(s *sent) (methods []*published.Method, known bool) {
	if !strings.Contains(s.host, "graph") {
		return nil, false
	}
	verbs := s.verbs()
	for _, reading := range readingsOf(s.path) {
		for _, segments := range namesIn(reading.segments) {
			var path [][]alternative
			for i, segment := range segments {
				path = append(path, odata(reading.trimmed(segment), i == len(segments)-1, slices.Contains(verbs, "POST")))
			}
			path = withoutTenant(path, segments)
			for _, m := range methodsAt(follow(r.root, path), verbs) {
				known = known || reading.usual
				if !slices.Contains(methods, m) {
					methods = append(methods, m)
				}
			}
		}
	}
	return methods, known
}

// tenant is an ID or a domain.
var tenant = regexp.MustCompile(`^([0-9a-f]{8}-[0-9a-f-]{27}|[a-z0-9-]+(\.[a-z0-9-]+)+)$`)

// withoutTenant lets a tenant behind the version be there or not.
func withoutTenant(path [][]alternative, segments []string) [][]alternative {
	if len(path) > 1 && tenant.MatchString(fold(segments[1])) {
		path[1] = append(path[1], alternative{})
	}
	return path
}

// namesIn are the readings of what stands between colons: as the path of a file
// or a site, which is about what stands before the first colon, and, where that
// has no files for certain, as segments like others.
func namesIn(segments []string) [][]string {
	var without []string
	named, doubtful := false, false
	for i, s := range segments {
		if named {
			named = !strings.HasSuffix(s, ":")
			continue
		}
		before, behind, colon := strings.Cut(s, ":")
		if i > 0 && colon && behind == "" {
			above := slices.Clone(segments[:i])
			for j := range above {
				above[j], _, _ = strings.Cut(fold(above[j]), "(")
			}
			named = fold(before) == "root" || slices.Contains([]string{"items", "special", "sites"}, above[i-1])
			doubtful = doubtful || named && !hasFiles(above, fold(before))
		}
		if named {
			s = before
		}
		without = append(without, s)
	}
	if doubtful {
		return [][]string{segments, without}
	}
	return [][]string{without}
}

// hasFiles reports whether what stands behind the segments has files or sites.
func hasFiles(above []string, name string) bool {
	n := len(above)
	switch above[n-1] {
	case "sites":
		return n == 2
	case "items", "special":
		return slices.ContainsFunc(above[:n-1], func(s string) bool { return s == "drive" || s == "drives" || s == "shares" })
	}
	return name == "root" && (above[n-1] == "drive" || above[n-1] == "drives" || n > 1 && (above[n-2] == "drives" || above[n-2] == "shares"))
}

// odata are the ways to read the texts of a segment by OData's rules, and against them.
func odata(texts []string, last, posts bool) []alternative {
	var ways []alternative
	for _, text := range texts {
		ways = append(ways, odataText(text, last, posts)...)
	}
	return ways
}

func odataText(text string, last, posts bool) []alternative {
	if strings.HasPrefix(text, "$") {
		return optionText(text, last)
	}
	called, arguments, parentheses := strings.Cut(text, "(")
	ways := []alternative{{{name, text}}}
	if parentheses {
		ways = nil // an ID has none
		arguments = strings.TrimRight(arguments, ")'\". ")
	}
	names := []string{called}
	if short, ok := unqualified(called); ok {
		ways = append(ways, alternative{{name, short}})
		if keyText := keyOf(arguments); !parentheses {
			ways = append(ways, alternative{{cast, short}}, alternative{})
		} else if keyText != "" {
			ways = append(ways, alternative{{cast, short}, {key, keyText}})
		}
		names = append(names, short)
	}
	if !parentheses {
		return ways
	}
	for _, n := range names {
		ways = append(ways, alternative{{function, n}})
		if keyText := keyOf(arguments); keyText != "" {
			ways = append(ways, alternative{{name, n}, {key, keyText}})
		}
		if arguments == "" || last && posts {
			ways = append(ways, alternative{{name, n}})
		}
	}
	return ways
}

// optionText is what OData appends to the path of a resource: a way of its own,
// or, where it means the resource itself, none.
func optionText(text string, last bool) []alternative {
	text = strings.TrimRight(text, "()")
	ways := []alternative{{{option, text}}}
	if last && slices.Contains([]string{"$value", "$ref", "$query"}, text) {
		ways = append(ways, alternative{})
	}
	return ways
}

// identifier is a name of OData's, with a namespace or without.
var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_.]*$`)

// unqualified is a name without Microsoft's namespace.
func unqualified(name string) (string, bool) {
	if !identifier.MatchString(name) {
		return "", false
	}
	for _, namespace := range []string{"microsoft.graph.", "graph.", "microsoft."} {
		if short, ok := strings.CutPrefix(name, namespace); ok {
			return short[strings.LastIndexByte(short, '.')+1:], true
		}
	}
	return "", false
}

// keyOf is the value of a key, with a name or without.
func keyOf(arguments string) string {
	if before, value, ok := strings.Cut(arguments, "="); ok && strings.Trim(before, "abcdefghijklmnopqrstuvwxyz ") == "" && value != "" {
		arguments = value
	}
	return strings.Trim(arguments, "'\" ")
}
