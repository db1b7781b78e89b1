package operation

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// graphHosts are Microsoft Graph's in all its clouds.
var graphHosts = []string{
	"graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn",
}

// outlookHosts are those of Outlook's own API.
var outlookHosts = []string{
	"outlook.office.com", "outlook.office365.com", "outlook.office365.us", "outlook-dod.office365.us", "partner.outlook.cn",
}

// IsGraph reports whether a host is Microsoft Graph's, so that its paths begin
// with a version.
func IsGraph(host string) bool { return slices.Contains(graphHosts, host) }

func isMicrosoft(host string) bool { return IsGraph(host) || slices.Contains(outlookHosts, host) }

// Names of OData's and Microsoft's, folded.
const (
	batchName = "$batch"
	me        = "me"
	users     = "users"
	root      = "root"
)

// alternateKeys are the properties by which Graph finds a resource besides its
// ID. Whatever else has a name and stands in parentheses may be the argument of
// a function.
var alternateKeys = []string{
	"id", "appid", "deviceid", "mail", "roletemplateid", "uniquename", "userprincipalname",
}

// readMicrosoft reads a path in the conventions of OData 4.01, part 2, without
// a schema. Letters count without regard to case all through.
func readMicrosoft(segments []Segment, source *Source) ([]Segment, error) {
	graph := IsGraph(source.Host)
	named := false   // between the colons of a name
	encoded := false // the first of them is percent-encoded
	name := ""
	rest := trimmed(source.Path)
	for more := rest != ""; more; {
		var raw string
		raw, rest, more = strings.Cut(rest, "/")
		var err error
		if named {
			var end bool
			if name, end, err = readName(name, raw); err != nil {
				return nil, err
			}
			if end && encodesColon(raw) != encoded {
				return nil, errColon // an API may take only one of the two for a colon
			}
			if named = !end && more; !named {
				segments = append(segments, Segment{Text: name, Folded: fold(name), Kind: Name})
				name = ""
			}
			continue
		}
		text, err := decoded(raw, plainText)
		if err != nil {
			return nil, err
		}
		if named, text, err = beginsName(segments, text); err != nil {
			return nil, err
		}
		named, encoded = named && more, encodesColon(raw)
		if segments, err = appendOData(segments, text, source, more); err != nil {
			return nil, err
		}
	}
	if graph {
		if err := checkVersion(segments, source.Mode); err != nil {
			return nil, err
		}
	}
	return segments, checkReference(segments, source.RawQuery)
}

// beginsName reports whether a segment ends with the colon behind which a name
// begins, and takes it off. Only of a drive's root, an item, a special folder
// and a site is there anything below by name; a colon at the end of another
// segment is nothing that an API could be trusted to read as we do.
func beginsName(before []Segment, text string) (named bool, resource string, err error) {
	i := strings.IndexByte(text, ':')
	if i < 0 {
		return false, text, nil
	}
	parent := ""
	if len(before) > 0 {
		parent = before[len(before)-1].Folded
	}
	holds := fold(text[:i]) == root && isDrive(before) || parent == "items" || parent == "special" || parent == "sites"
	switch ends := strings.HasSuffix(text, ":"); {
	case !holds && !ends:
		return false, text, nil // such as the ID of a chat
	case holds && ends && i > 0 && i == len(text)-1:
		return true, text[:i], nil
	}
	return false, "", errColon
}

// isDrive reports whether the segments may be the path of a drive, or of what is
// shared: they have a root.
func isDrive(segments []Segment) bool {
	n := len(segments)
	switch {
	case n == 0:
		return false
	case segments[n-1].Folded == "drive", strings.Contains(segments[n-1].Folded, "*"):
		return true
	}
	return n > 1 && (segments[n-2].Folded == "drives" || segments[n-2].Folded == "shares")
}

// readName adds a segment to a name, which ends with a colon or the path.
func readName(name, raw string) (longer string, end bool, err error) {
	text, err := decoded(raw, nameText)
	if err != nil {
		return "", false, err
	}
	text, end = strings.CutSuffix(text, ":")
	switch {
	case text == "" || strings.Contains(text, ":"):
		return "", false, errColon
	case text == "." || text == "..":
		return "", false, errDots
	case text[len(text)-1] == '.':
		return "", false, errDotAtEnd
	case name != "":
		text = name + "/" + text
	}
	return text, end, nil
}

// encodesColon reports whether the colon that a segment ends with is
// percent-encoded.
func encodesColon(raw string) bool { return !strings.HasSuffix(raw, ":") }

// appendOData appends what a segment says: a name, and what stands behind it in
// parentheses.
func appendOData(segments []Segment, text string, source *Source, more bool) ([]Segment, error) {
	if text[len(text)-1] == '.' {
		return nil, errDotAtEnd
	}
	if !strings.ContainsAny(text, "()'") {
		return appendName(segments, text, source, more, false)
	}
	name, arguments, err := splitArguments(text)
	if err != nil {
		return nil, err
	}
	key, isKey, err := readArguments(arguments)
	if err != nil {
		return nil, err
	}
	if segments, err = appendName(segments, name, source, more, !isKey); err != nil || key == "" {
		return segments, err
	}
	value := Segment{Text: key, Folded: fold(key), Quoted: true}
	if !isKey || !more && source.Method == http.MethodPost {
		// Arguments; and what is posted to with a key may be an operation.
		value.Skip = Ambiguous
	}
	return append(segments, value), nil
}

// appendName appends a name without its namespace. What has one is a type, which
// changes nothing of what the path is about, or an operation.
func appendName(segments []Segment, name string, source *Source, more, called bool) ([]Segment, error) {
	s := Segment{Text: name, Folded: fold(name)}
	if strings.HasPrefix(s.Folded, "$") {
		switch s.Folded {
		case "$value", "$ref", "$count":
			s.Kind, s.Skip = Option, Seldom
		case "$metadata":
			s.Kind = Option
		case batchName:
			if source.Mode == Call {
				return nil, errBatch
			}
		default:
			return nil, errSystem
		}
		return append(segments, s), nil
	}
	if isQualified(s.Folded) {
		s.Text = s.Text[strings.LastIndexByte(s.Text, '.')+1:]
		s.Folded = s.Folded[strings.LastIndexByte(s.Folded, '.')+1:]
		switch {
		case source.Mode == Pattern:
		case called, !more && source.Method == http.MethodPost:
			s.Skip = Seldom
		default:
			s.Skip = Ambiguous
		}
	}
	if s.Folded == me && isTop(segments) {
		segments = append(segments, Segment{Text: users, Folded: users, Skip: Synonym})
	}
	return append(segments, s), nil
}

// isTop reports whether the next segment may be the first behind the version:
// "/v1.0/me", and Outlook's "/api/v2.0/me".
func isTop(before []Segment) bool {
	always := 0
	for i := range before {
		if before[i].Skip == Never {
			always++
		}
	}
	return always == 1 || always == 2 && before[0].Folded == "api"
}

// isQualified reports whether a folded name has a namespace before it, or the
// alias of one.
func isQualified(folded string) bool {
	if !strings.HasPrefix(folded, "microsoft.") && !strings.HasPrefix(folded, "graph.") {
		return false
	}
	for i := range len(folded) {
		if c := folded[i]; !isLetter(c) && !isDigit(c) && c != '_' && c != '.' && c != '*' {
			return false
		}
	}
	return true
}

// splitArguments splits "users('x')" into its name and what is in parentheses.
func splitArguments(text string) (name, arguments string, err error) {
	name, arguments, _ = strings.Cut(text, "(")
	arguments, closed := strings.CutSuffix(arguments, ")")
	if name == "" || !closed || strings.ContainsAny(name, ")'=,@") || strings.TrimRight(name, ". ") != name {
		return "", "", errParentheses
	}
	return name, arguments, nil
}

// readArguments reads what stands in parentheses: nothing; the value of a key;
// the value of a key with its name; or else arguments.
func readArguments(arguments string) (value string, isKey bool, err error) {
	if arguments == "" {
		return "", false, nil
	}
	quoted, names, commas, equals := false, 0, 0, -1
	for i := range len(arguments) {
		switch c := arguments[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(' || c == ')':
			return "", false, errParentheses
		case c == '@' && (i == 0 || arguments[i-1] == '=' || arguments[i-1] == ',' || arguments[i-1] == ' '):
			return "", false, errAlias
		case c == ',':
			commas++
		case c == '=' && i+1 < len(arguments) && arguments[i+1] != '=':
			// An ID in base 64 ends with equals signs.
			if equals < 0 {
				equals = i
			}
			names++
		}
	}
	switch {
	case quoted || names > 0 && names != commas+1 || names == 0 && commas > 0:
		return "", false, errParentheses
	case names == 0:
		value, err = unquoted(arguments)
		return value, true, err
	case names == 1:
		isKey = slices.Contains(alternateKeys, fold(strings.TrimSpace(arguments[:equals])))
		value = strings.TrimSpace(arguments[equals+1:])
		if !isKey {
			value = withoutType(value)
			if value == "''" {
				return value, false, nil // an empty text, such as search(q='')
			}
		}
		value, err = unquoted(value)
		return value, isKey, err
	}
	return arguments, false, nil
}

// withoutType takes the name of an enumeration off one of its values:
// "microsoft.graph.timeZoneStandard'Iana'".
func withoutType(value string) string {
	if i := strings.IndexByte(value, '\''); i > 0 && isQualified(fold(value[:i])) {
		return value[i:]
	}
	return value
}

// unquoted is the value of a key: a string in quotes, in which a quote is
// doubled, or a number or the like.
func unquoted(value string) (string, error) {
	inner, opened := strings.CutPrefix(value, "'")
	inner, closed := strings.CutSuffix(inner, "'")
	switch {
	case !opened && !strings.Contains(value, "'"):
		inner = value
	case !opened || !closed || strings.Contains(strings.ReplaceAll(inner, "''", ""), "'"):
		return "", errParentheses
	}
	inner = strings.ReplaceAll(inner, "''", "'")
	if inner == "" || strings.TrimSpace(inner) != inner {
		return "", errParentheses
	}
	return inner, nil
}

// checkVersion refuses paths that do not begin with a version and the name of a
// resource. Graph reads a tenant in the second place, and what the path is
// about behind it.
func checkVersion(segments []Segment, mode Mode) error {
	if len(segments) == 0 {
		return nil // of no resource
	}
	version := segments[0].Folded
	if segments[0].Skip != Never {
		return errVersion // a type of that name
	}
	if version != "v1.0" && version != "beta" && (mode != Pattern || !strings.Contains(version, "*")) {
		return errVersion
	}
	if len(segments) == 1 {
		return nil
	}
	name := segments[1].Folded
	qualified := segments[1].Kind == Plain && (segments[1].Skip == Seldom || segments[1].Skip == Ambiguous)
	if qualified || name == "myorganization" {
		return errVersion // a type of nothing, behind which anything may stand
	}
	for i := range len(name) {
		c := name[i]
		if !isLetter(c) && !isDigit(c) && c != '_' && (c != '$' || i > 0) && (c != '*' || mode != Pattern) {
			return errVersion
		}
	}
	return nil
}

// checkReference refuses a reference that the query names, and not the path:
// "DELETE …/members/$ref?$id=…" is about one of the members.
func checkReference(segments []Segment, query string) error {
	if query == "" || len(segments) == 0 || segments[len(segments)-1].Folded != "$ref" {
		return nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return errReference
	}
	for name := range values {
		if name := fold(strings.TrimSpace(name)); name == "$id" || name == "id" {
			return errReference
		}
	}
	return nil
}
