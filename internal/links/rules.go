package links

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/glob"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// closed are the members in which other people choose the names.
var closed = []string{
	"additionalData",           // Graph: what a type does not declare
	"appProperties",            // Drive: an app's own properties of a file
	"attributes",               // Pub/Sub: of a message
	"auditData",                // Graph: what a service wrote to the audit log
	"contentInfo",              // Graph: an activity's content, in JSON-LD
	"customProperties",         // Graph: of a file storage container
	"customSchemas",            // Admin SDK: fields of users
	"customSecurityAttributes", // Graph: sets of attributes
	"extendedProperties",       // Calendar: of an event
	"extensions",               // Graph: open extensions
	"fields",                   // Graph: columns of a list item; Drive: fields of a label
	"properties",               // Drive: of a file; Graph: of an external item
}

// The rules that calls share.
var (
	microsoftRules = &rewrite.Rules{Members: microsoftMembers, Closed: closed}

	// microsoftUploadRules are for the answer to a createUploadSession.
	microsoftUploadRules = &rewrite.Rules{
		Members: slices.Concat(microsoftMembers, []rewrite.Member{
			{Name: "uploadUrl", Kind: rewrite.Upload, Places: rewrite.Top, Beside: "expirationDateTime"},
		}),
		Closed: closed,
	}

	// microsoftOpenRules are for a list of objects in which other people choose
	// the names.
	microsoftOpenRules = &rewrite.Rules{
		Members: []rewrite.Member{
			{Name: "@odata.nextLink", Kind: rewrite.Link, Places: rewrite.Top},
			{Name: "@odata.deltaLink", Kind: rewrite.Link, Places: rewrite.Top},
		},
		Closed: append([]string{"value"}, closed...),
	}

	googleRules = &rewrite.Rules{
		Members: []rewrite.Member{{Name: "nextLink", Kind: rewrite.Link, Places: rewrite.Top}},
		Closed:  closed,
	}

	discoveryRules = &rewrite.Rules{
		Members: []rewrite.Member{
			{Name: "rootUrl", Kind: rewrite.Link, Places: rewrite.Top},
			{Name: "baseUrl", Kind: rewrite.Link, Places: rewrite.Top},
			{Name: mtlsRoot, Kind: rewrite.Link, Places: rewrite.Top},
		},
	}

	// noRules are those of an API of which nothing is known.
	noRules = &rewrite.Rules{Closed: closed}
)

var microsoftMembers = []rewrite.Member{
	{Name: "@odata.nextLink", Kind: rewrite.Link, Places: rewrite.Top | rewrite.Paged},
	{Name: "@odata.deltaLink", Kind: rewrite.Link, Places: rewrite.Top | rewrite.Paged},
	{Name: "*@odata.nextLink", Kind: rewrite.Link, Places: rewrite.Paged},
	{Name: "@microsoft.graph.downloadUrl", Kind: rewrite.Download, Places: rewrite.Items},
	{Name: "@content.downloadUrl", Kind: rewrite.Download, Places: rewrite.Items},
}

// Rules say where the body of the answer has URLs. They are shared and not to
// be changed. Without rules the body is never touched: it is a file, somebody
// else's document, or of an API of which nothing is known.
func (c *Call) Rules() *rewrite.Rules {
	switch c.apis() {
	case provider.TypeGoogle:
		switch {
		case IsDiscovery(c.Request, provider.TypeGoogle):
			return discoveryRules
		case isGoogleContent(c.Request):
			return nil
		}
		return c.withExtra(googleRules)
	case provider.TypeMicrosoft:
		if rules := microsoftRulesOf(c.Request); rules != nil {
			return c.withExtra(rules)
		}
		return nil
	}
	if rules := c.withExtra(noRules); rules != noRules {
		return rules
	}
	return nil
}

// withExtra adds the operator's members to rules. Without any for this path it
// returns the rules themselves.
func (c *Call) withExtra(rules *rewrite.Rules) *rewrite.Rules {
	var members []rewrite.Member
	for _, e := range c.Extra {
		if e.Path == "" || glob.Match(e.Path, c.Request.Path) {
			members = append(members, rewrite.Member{Name: e.Member, Kind: rewrite.Link, Places: rewrite.Top | rewrite.Paged})
		}
	}
	if members == nil {
		return rules
	}
	with := *rules
	with.Members = slices.Concat(rules.Members, members)
	return &with
}

// IsDiscovery reports whether a call asks for a discovery document of Google's,
// which needs no token.
func IsDiscovery(q *target.Request, providerType string) bool {
	if provider.APIsAt(providerType, q.Host) != provider.TypeGoogle || !reads(q.Method) {
		return false
	}
	if q.Path == "/$discovery/rest" || q.Path == "/%24discovery/rest" {
		return true
	}
	rest, ok := strings.CutPrefix(q.Path, "/discovery/v1/apis/")
	if !ok || q.Host != discoveryHost {
		return false
	}
	api, rest, _ := strings.Cut(rest, "/")
	version, rest, _ := strings.Cut(rest, "/")
	return api != "" && version != "" && rest == "rest"
}

// discoveryHost has the discovery documents of all of Google's APIs.
const discoveryHost = "www.googleapis.com"

func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// isGoogleContent reports whether the answer is a file.
func isGoogleContent(q *target.Request) bool {
	if asksForMedia(q.RawQuery) {
		return true
	}
	if !reads(q.Method) {
		return false
	}
	parent, last := lastSegments(decoded(q.Path))
	return last == "export" || parent == "attachments" || strings.HasPrefix(q.Path, "/download/")
}

// asksForMedia finds alt=media, which is $alt=media too
// (https://cloud.google.com/apis/docs/system-parameters).
func asksForMedia(query string) bool {
	for parameter := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(parameter, "=")
		if name, err := url.QueryUnescape(name); err != nil || name != "alt" && name != "$alt" {
			continue
		}
		if value, err := url.QueryUnescape(value); err == nil && strings.EqualFold(value, "media") {
			return true
		}
	}
	return false
}

// microsoftRulesOf are the rules for a call of Graph's or Outlook's; nil for an
// answer that is a file, or an object in which other people choose the names.
func microsoftRulesOf(q *target.Request) *rewrite.Rules {
	if isMicrosoftContent(q) {
		return nil
	}
	parent, last := lastSegments(withoutNames(decoded(q.Path)))
	last = unqualified(last)
	switch name, _, byKey := strings.Cut(last, "("); {
	case isOneOf(last, "fields", "customProperties", "customSecurityAttributes", "runHuntingQuery"),
		strings.EqualFold(parent, "extensions"),
		byKey && strings.EqualFold(name, "extensions"):
		return nil
	case strings.EqualFold(last, "extensions"):
		if !reads(q.Method) {
			return nil // the answer is the one that was made
		}
		return microsoftOpenRules
	case q.Method == http.MethodPost && strings.EqualFold(last, "createUploadSession"):
		return microsoftUploadRules
	}
	return microsoftRules
}

// isMicrosoftContent reports whether the answer is a file, or leads to one.
func isMicrosoftContent(q *target.Request) bool {
	if !reads(q.Method) {
		return false // an upload is answered with what is known of the file
	}
	parent, last := lastSegments(withoutNames(decoded(q.Path)))
	return isOneOf(last, "$value", "content", "contentStream") || strings.EqualFold(parent, "attachments")
}

func isOneOf(name string, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// unqualified is the name of an operation without its namespace.
func unqualified(name string) string {
	const namespace = "microsoft.graph."
	if len(name) < len(namespace) || !strings.EqualFold(name[:len(namespace)], namespace) {
		return name
	}
	return name[strings.LastIndexByte(name, '.')+1:]
}

// decoded is a path as an API reads it.
func decoded(path string) string {
	if plain, err := url.PathUnescape(path); err == nil {
		return plain
	}
	return path
}

// withoutNames takes out what a path of Graph's has between colons, the path of
// a file or site that anybody may have named: "/drive/root:/a/fields:/children"
// is about the children of a file.
func withoutNames(path string) string {
	if !strings.Contains(path, ":/") && !strings.HasSuffix(path, ":") {
		return path
	}
	var b strings.Builder
	inside := false
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		name, colon := strings.CutSuffix(segment, ":")
		if !inside {
			b.WriteByte('/')
			b.WriteString(name)
		}
		inside = inside != colon
	}
	return b.String()
}

// lastSegments are the last two segments of a path.
func lastSegments(path string) (parent, last string) {
	path = strings.TrimSuffix(path, "/")
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	path, last = path[:i], path[i+1:]
	return path[strings.LastIndexByte(path, '/')+1:], last
}
