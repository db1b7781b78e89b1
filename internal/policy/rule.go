package policy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/operation"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

const (
	// maxRule is how long a rule may be, in bytes.
	maxRule = 2048
	// maxRules is how many a key may have.
	maxRules = 256
)

// anyName is the wildcard of methods, hosts and names; anyDepth that of paths.
const (
	anyName  = "*"
	anyDepth = "**"
)

// Rule says which calls a key may make, or may not. It is written
//
//	[!]<methods> <target>
//
// Methods are "*", or names in capitals with commas between. The target is "*",
// which is every call; a host, which is every path there; or a host or "*", and
// a path. In a path "*" is any run of characters within a segment, and "**", a
// segment of its own, any number of segments, none included: "/a/**" is /a and
// everything below it, "/**/b" is every b. Everything else is literal. A "!" in
// front makes a rule that forbids.
//
// A rule is compared with what a call means, whatever way it is written: see
// [operation.Read]. In a rule that allows, a "*" is the name or the ID of one
// resource and nothing more. It does not stand for a custom method of Google's
// ("*:batchGet"), an option of OData's ("$value") or a name between colons
// ("root:/*"): these are written out, or covered by "**". In a rule that
// forbids, it stands for all of them; such a rule counts without regard to case,
// for every version of an API, and for every user where it names one, because
// users have more names than one. A resource of Google's that is forbidden is so
// with its custom methods.
//
// A key with rules may make the calls that one of them allows and none forbids.
// If all of them forbid, it may make every other call. A call whose path could
// mean several things must be allowed for each of them.
//
// The zero Rule allows nothing.
type Rule struct {
	text    string
	deny    bool
	methods methodSet
	// host is canonical; empty for every host.
	host string
	// family is that of the host.
	family operation.Family
	// patterns are the path, for each family of hosts that the rule is for.
	patterns [operation.Families]*pattern
}

// ParseRule reads a rule. The error names the mistake and what to write instead.
func ParseRule(s string) (Rule, error) {
	if len(s) > maxRule {
		return Rule{}, fmt.Errorf("a rule is longer than %d bytes: write several", maxRule)
	}
	written, deny := strings.CutPrefix(s, "!")
	methods, where, _ := strings.Cut(written, " ")
	if methods == "" || where == "" || strings.ContainsFunc(where, isSpaceOrControl) {
		return Rule{}, fmt.Errorf("%q is not a rule: write methods, one space, and host and path, all in quotes, like \"GET,HEAD gmail.googleapis.com/gmail/v1/**\"", s)
	}
	r := Rule{deny: deny}
	var err error
	if r.methods, err = parseMethods(methods); err != nil {
		return Rule{}, err
	}
	path, err := r.parseTarget(where)
	if err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", s, err)
	}
	r.text = r.methods.String() + " " + where
	if r.host != "" {
		r.text = r.methods.String() + " " + writtenHost(r.host) + path
	}
	if deny {
		r.text = "!" + r.text
	}
	return r, nil
}

func isSpaceOrControl(r rune) bool { return r <= ' ' || r == 0x7f }

// parseTarget reads what stands behind the methods, and gives the path.
func (r *Rule) parseTarget(where string) (path string, err error) {
	if strings.Contains(where, "://") {
		return "", errors.New("it has a scheme: leave out https://")
	}
	host, path := where, ""
	if i := strings.IndexByte(where, '/'); i >= 0 {
		host, path = where[:i], where[i:]
	}
	if host != anyName {
		canonical, ok := target.CanonicalHost(host)
		switch {
		case host == "":
			return "", errors.New("it has no host: write * or the host's full name before the path")
		case strings.Contains(host, anyName):
			return "", fmt.Errorf("%q is a part of a host: write * for every host, or one host's full name", host)
		case !ok:
			return "", fmt.Errorf("%q is not a host: write * or its full name, without scheme and user", host)
		}
		r.host, r.family = canonical, operation.FamilyOf(canonical)
	}
	if err := checkPathPattern(path); err != nil {
		return "", err
	}
	families := []operation.Family{r.family}
	if r.host == "" {
		families = []operation.Family{operation.Other, operation.Google, operation.Microsoft}
	}
	for _, family := range families {
		if r.patterns[family], err = newPattern(r.host, family, path, r.deny); err != nil {
			return "", err
		}
	}
	return path, nil
}

// writtenHost is a canonical host as it is read again: a single label is a host
// only with its port.
func writtenHost(host string) string {
	if _, ok := target.CanonicalHost(host); !ok {
		return host + ":443"
	}
	return host
}

// checkPathPattern refuses what people write into paths and means something else
// here, and wildcards that are none.
func checkPathPattern(path string) error {
	switch {
	case strings.Contains(path, "?"):
		return errors.New("it has a query: leave out what begins with ?, rules are about paths")
	case strings.Contains(path, "#"):
		return errors.New("its path has a #: write %23")
	case strings.ContainsAny(path, "{}"):
		return errors.New("its path has braces: write * for a name that may be any")
	case strings.Contains(strings.ToUpper(path), "%2A"):
		return errors.New("its path has an encoded star: write *, which is any name")
	case strings.Contains(path, "//"):
		return errors.New("its path has an empty segment (//): write a single /")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if strings.Contains(strings.Trim(segment, ":"), anyDepth) && strings.Trim(segment, ":") != anyDepth {
			return fmt.Errorf("%q is no segment: write ** as a segment of its own, and * within one", segment)
		}
	}
	return nil
}

// String is the rule as [ParseRule] reads it.
func (r Rule) String() string { return r.text }

// Denies reports whether the rule forbids.
func (r Rule) Denies() bool { return r.deny }

// Equal reports whether both are the same rule.
func (r Rule) Equal(other Rule) bool { return r.text == other.text }

// MarshalText implements [encoding.TextMarshaler].
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.text), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Rule) UnmarshalText(text []byte) error {
	parsed, err := ParseRule(string(text))
	if err == nil {
		*r = parsed
	}
	return err
}

// ParseRules reads several rules.
func ParseRules(written []string) ([]Rule, error) {
	var rules []Rule
	for _, w := range written {
		r, err := ParseRule(w)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// Sentence says what the rule does, for people: "may GET and HEAD everything
// below gmail.googleapis.com/gmail/v1/users/me/messages".
func (r Rule) Sentence() string {
	may, all := "may ", "everything"
	if r.deny {
		may, all = "may not ", "anything"
	}
	_, where, _ := strings.Cut(r.text, " ")
	host, path, slash := strings.Cut(where, "/")
	path = strings.TrimSuffix(path, "/")
	below, deep := strings.CutSuffix("/"+path, "/"+anyDepth)
	at := host
	if host == anyName {
		at = "any host"
	}
	switch {
	case where == anyName || host == anyName && deep && below == "":
		return may + r.methods.sentence() + " " + all
	case !slash || deep && below == "":
		return may + r.methods.sentence() + " " + all + " at " + at
	case deep && !strings.Contains(below, anyName):
		return may + r.methods.sentence() + " " + all + " below " + at + below
	case strings.Contains(path, anyName):
		return may + r.methods.sentence() + " " + all + " that matches " + at + "/" + path
	}
	return may + r.methods.sentence() + " " + at + "/" + path
}

// methodSet is a set of methods.
type methodSet uint32

// ruleMethods are the methods that go to APIs, in the order in which rules name
// them.
var ruleMethods = [...]string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
	"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "MKCALENDAR", "REPORT",
}

// everyMethod holds those too that are not known.
const everyMethod = ^methodSet(0)

func parseMethods(written string) (methodSet, error) {
	if written == anyName {
		return everyMethod, nil
	}
	var set methodSet
	for method := range strings.SplitSeq(written, ",") {
		i := slices.Index(ruleMethods[:], method)
		switch {
		case i < 0 && slices.Contains(ruleMethods[:], strings.ToUpper(method)):
			return 0, fmt.Errorf("%q is not a list of methods: write them in capitals, %s", written, strings.ToUpper(written))
		case i < 0:
			return 0, fmt.Errorf("%q is not a list of methods: write * for all, or some of %s with commas between", written, strings.Join(ruleMethods[:], ", "))
		}
		set |= 1 << i
	}
	return set, nil
}

func (s methodSet) has(method string) bool {
	if s == everyMethod {
		return true
	}
	for i, name := range ruleMethods {
		if name == method {
			return s&(1<<i) != 0
		}
	}
	return false
}

func (s methodSet) names() []string {
	var names []string
	for i, name := range ruleMethods {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

func (s methodSet) String() string {
	if s == everyMethod {
		return anyName
	}
	return strings.Join(s.names(), ",")
}

// sentence is what may be done, as a verb.
func (s methodSet) sentence() string {
	if s == everyMethod {
		return "call"
	}
	names := s.names()
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
