package policy

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
)

func FuzzRule(f *testing.F) {
	for _, rule := range []string{
		"* *", "!GET,HEAD gmail.googleapis.com/gmail/v1/**", "POST */v1/*:batchGet", "GET api.example.com/a%20b/%25/é",
		"!PUT graph.microsoft.com/v1.0/me/drive/root:/a/**:/content", "GET graph.microsoft.com/*/users('x')/messages(id='y')",
		"GET www.googleapis.com/webmasters/v3/sites/https%3A%2F%2Fa%2F", "GET [::1]:8080/a", "GET Example.COM.:443",
	} {
		f.Add(rule)
	}
	f.Fuzz(func(t *testing.T, written string) {
		rule, err := ParseRule(written)
		if err != nil {
			if !rule.Equal(Rule{}) {
				t.Errorf("%q: both %q and %v", written, rule, err)
			}
			return
		}
		again, err := ParseRule(rule.String())
		if err != nil || again.String() != rule.String() || again.Denies() != strings.HasPrefix(written, "!") {
			t.Errorf("%q: prints %q, which is read as %q, %v", written, rule, again, err)
		}
		if !strings.HasPrefix(rule.Sentence(), "may ") {
			t.Errorf("%q is no sentence: %q", written, rule.Sentence())
		}
	})
}

// The operations of the differential test. A key that must not send may do
// those that do not.
var fuzzOperations = []struct {
	method, host string
	path         []string
	sends        bool
}{
	{"POST", "gmail.googleapis.com", []string{"gmail", "v1", "users", "me", "messages", "send"}, true},
	{"POST", "gmail.googleapis.com", []string{"gmail", "v1", "users", "me", "drafts", "send"}, true},
	{"POST", "gmail.googleapis.com", []string{"gmail", "v1", "users", "me", "drafts"}, false},
	{"GET", "gmail.googleapis.com", []string{"gmail", "v1", "users", "me", "messages", "18c2f0a1b2c3d4e5"}, false},
	{"POST", "gmail.googleapis.com", []string{"gmail", "v1", "users", "me", "messages", "batchModify"}, false},
	{"POST", "graph.microsoft.com", []string{"v1.0", "me", "sendMail"}, true},
	{"POST", "graph.microsoft.com", []string{"v1.0", "me", "messages", "AAMkAGI2=", "send"}, true},
	{"POST", "graph.microsoft.com", []string{"v1.0", "me", "messages", "AAMkAGI2=", "reply"}, true},
	{"POST", "graph.microsoft.com", []string{"v1.0", "me", "messages", "AAMkAGI2=", "move"}, false},
	{"GET", "graph.microsoft.com", []string{"v1.0", "me", "messages", "AAMkAGI2="}, false},
	{"POST", "graph.microsoft.com", []string{"v1.0", "me", "messages"}, false},
	{"PUT", "graph.microsoft.com", []string{"v1.0", "me", "drive", "root:", "send", "reply:", "content"}, false},
	{"POST", "graph.microsoft.com", []string{"v1.0", "me", "drive", "root:", "me", "sendMail:", "createUploadSession"}, false},
}

var fuzzRules = mustParse(
	"* gmail.googleapis.com/gmail/v1/**",
	"* graph.microsoft.com/v1.0/**",
	"* graph.microsoft.com/beta/**",
	"!POST gmail.googleapis.com/gmail/v1/users/me/**/send",
	"!POST graph.microsoft.com/v1.0/me/sendMail",
	"!POST graph.microsoft.com/v1.0/me/messages/*/send",
	"!POST graph.microsoft.com/v1.0/me/messages/*/reply",
)

// fuzzAllowing allow all operations that do not send, and forbid nothing.
var fuzzAllowing = mustParse(
	"GET *",
	"POST gmail.googleapis.com/gmail/v1/users/me/drafts",
	"POST gmail.googleapis.com/gmail/v1/users/*/messages/batchModify",
	"POST graph.microsoft.com/v1.0/me/messages",
	"POST graph.microsoft.com/*/users/*/messages/*/move",
	"PUT,POST graph.microsoft.com/v1.0/me/drive/**",
	"POST graph.microsoft.com/*/users/*/drive/root:/**:/*",
)

// fuzzCall is a call under mutation.
type fuzzCall struct {
	host string
	path []string
	// clear is unset by what need not be understood, so that it may be refused.
	clear bool
}

func (c *fuzzCall) isGraph() bool { return c.host == "graph.microsoft.com" }

// named reports whether a segment is part of a name between colons.
func (c *fuzzCall) named(i int) bool {
	inside := false
	for j := range i {
		switch {
		case inside && strings.HasSuffix(c.path[j], ":"):
			inside = false
		case strings.HasPrefix(c.path[j], "root:"):
			inside = true
		}
	}
	return inside || i < len(c.path) && strings.HasSuffix(c.path[i], ":")
}

// junk is what is put where a path does not expect it.
var junk = []string{
	"/", "%2F", "%252f", "\\", "%5C", ";", "%3B", ".", "%2E", "..", "/../", "(", ")", "'", "()", "('", ":", "%3A", ":/", "%20", "%00", "%09",
	"$value", "/$value", "/$ref", "/microsoft.graph.message", "graph.", "#", "%23", "%3F", "%E2%80%8B", "%EF%BC%8F", "%25", "~", ",", "=", "@p", "+", "*", "%C5%BF",
	"/me", "users/", "/upload", "batch/", "%", "&", "_", "-",
}

// mutate changes a call in one way; argument picks where, or how.
func (c *fuzzCall) mutate(kind, argument byte) {
	i := int(argument) % len(c.path)
	switch kind % 12 {
	case 0: // another case
		c.clear = c.clear && (c.isGraph() || c.path[i] == strings.ToUpper(c.path[i]))
		c.path[i] = strings.ToUpper(c.path[i])
	case 1: // an escape
		if s := c.path[i]; s != "" && s[0] != '%' && s[len(s)-1] != ':' && !c.named(i) {
			const digits = "0123456789abcdef"
			c.path[i] = "%" + string(digits[s[0]>>4]) + string(digits[s[0]&15]) + s[1:]
		}
	case 2: // Google's prefixes and hosts
		if !c.isGraph() {
			prefix := [][]string{{"upload"}, {"resumable", "upload"}, {"download"}}[int(argument)%3]
			c.path = append(append([]string{}, prefix...), c.path...)
		}
	case 3:
		if !c.isGraph() {
			c.host = []string{"www.googleapis.com", "gmail.googleapis.com", "content.googleapis.com"}[int(argument)%3]
		}
	case 4: // OData's keys
		if c.isGraph() {
			for j := 1; j+1 < len(c.path); j++ {
				if c.path[j] == "messages" && c.path[j+1] == "AAMkAGI2=" {
					c.path = append(append(c.path[:j:j], "messages("+[]string{"", "id="}[argument%2]+"'AAMkAGI2=')"), c.path[j+2:]...)
					return
				}
			}
		}
	case 5: // OData's namespaces
		if n := len(c.path) - 1; c.isGraph() && n > 1 && !strings.Contains(c.path[n], ".") && !strings.ContainsAny(c.path[n], "=%('") && !c.named(n) {
			c.path[n] = "microsoft.graph." + c.path[n]
			c.clear = false // a type or an operation
		}
	case 6: // a type
		if c.isGraph() && i > 0 && !c.named(i) && !c.named(i+1) {
			c.path = append(c.path[:i+1:i+1], append([]string{[]string{"microsoft.graph.message", "graph.user", "Microsoft.Graph.x"}[int(argument)%3]}, c.path[i+1:]...)...)
			c.clear = false
		}
	case 7: // another user
		for j, s := range c.path {
			switch {
			case c.isGraph() && j == 1 && strings.EqualFold(s, "me"):
				c.path = append(c.path[:1:1], append([][]string{{"users", "alice@example.com"}, {"users('alice')"}, {"users", "x"}}[int(argument)%3], c.path[2:]...)...)
				return
			case !c.isGraph() && s == "me" && j > 0:
				c.path[j] = []string{"alice@example.com", "alice%40example.com", "12345"}[int(argument)%3]
				return
			}
		}
	case 8: // another version
		if c.isGraph() && strings.EqualFold(c.path[0], "v1.0") {
			c.path[0] = "beta"
		}
	case 9: // a slash at the end
		if c.path[len(c.path)-1] != "" {
			c.path = append(c.path, "")
		}
	case 10: // an empty call
		if n := len(c.path) - 1; c.isGraph() && n > 1 && !strings.ContainsAny(c.path[n], "(=%") && !c.named(n) && c.path[n] != "" {
			c.path[n] += "()"
		}
	case 11: // anything
		c.clear = false
		s := c.path[i]
		at := 0
		if s != "" {
			at = int(argument/2) % (len(s) + 1)
		}
		c.path[i] = s[:at] + junk[int(argument)*7%len(junk)] + s[at:]
	}
}

// What the router of the test reads paths with.
var (
	routeParameters = regexp.MustCompile(`;[^/]*`)
	routeName       = regexp.MustCompile(`(^|/)root:(/[^:]+)(:|$)`)
	routeKey        = regexp.MustCompile(`\((?:[a-z]+=)?'?([^()']*)'?\)`)
	routeNamespace  = regexp.MustCompile(`/(microsoft\.graph|graph)\.`)
	routeType       = regexp.MustCompile(`/(microsoft\.graph|graph)\.(message|user|x)(/|$)`)
	routeSlashes    = regexp.MustCompile(` *(/|$)[/ ]*`)
	routeOption     = regexp.MustCompile(`(/\$(value|ref|count))+$`)
	routeGmail      = regexp.MustCompile(`^/((upload|resumable|download)/)*gmail/v[0-9]+/users/[^/]+/(messages|drafts)/send$`)
	routeGraph      = regexp.MustCompile(`^/(v1\.0|beta)/(me|users/[^/]+)/(sendmail|messages/[^/]+/(send|reply))$`)
)

// sends is a slow router of the test's own, which reads a path as generously as
// any server might: it reports whether one of the readings is an operation that
// sends.
func sends(method string, graph bool, path string) bool {
	if method != "POST" {
		return false
	}
	for range 3 {
		if routed(graph, path) {
			return true
		}
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return false
		}
		path = decoded
	}
	return false
}

func routed(graph bool, path string) bool {
	path = strings.ToLower(strings.ReplaceAll(path, `\`, "/"))
	path = strings.NewReplacer("ſ", "s", "\u200b", "", "／", "/", "\x00", "", "\t", "").Replace(path)
	path, _, _ = strings.Cut(path, "?")
	path, _, _ = strings.Cut(path, "#")
	path = routeParameters.ReplaceAllString(path, "")
	if !graph {
		path = strings.TrimRight(routeSlashes.ReplaceAllString(path, "/"), "/")
		return routeGmail.MatchString(path)
	}
	path = routeName.ReplaceAllString(path, "$1/root/name/")
	path = routeKey.ReplaceAllString(path, "/$1")
	for routeType.MatchString(path) {
		path = routeType.ReplaceAllString(path, "/")
	}
	path = routeNamespace.ReplaceAllString(path, "/")
	path = strings.TrimRight(routeSlashes.ReplaceAllString(path, "/"), "/")
	path = strings.TrimRight(routeOption.ReplaceAllString(path, ""), ".")
	return routeGraph.MatchString(path)
}

// FuzzJudge compares the decision on mutated calls with that of a router which
// knows nothing of ours.
func FuzzJudge(f *testing.F) {
	for i := range fuzzOperations {
		f.Add(byte(i), []byte{})
		for kind := range byte(12) {
			f.Add(byte(i), []byte{kind, 3, kind, 7})
			f.Add(byte(i), []byte{kind, 4, 11, kind * 3, 1, 5})
		}
	}
	f.Fuzz(func(t *testing.T, which byte, mutations []byte) {
		if len(mutations) > 16 {
			return
		}
		o := fuzzOperations[int(which)%len(fuzzOperations)]
		c := fuzzCall{host: o.host, path: append([]string{}, o.path...), clear: true}
		for i := 0; i+1 < len(mutations); i += 2 {
			c.mutate(mutations[i], mutations[i+1])
		}
		path := "/" + strings.Join(c.path, "/")
		sending := sends(o.method, c.isGraph(), path)
		if c.clear && sending != o.sends {
			t.Fatalf("the test's own router takes %s %s%s for sending: %t", o.method, c.host, path, sending)
		}
		request, err := canonical(o.method, c.host+path)
		if err != nil {
			if c.clear {
				t.Fatalf("%s %s%s: %v", o.method, c.host, path, err)
			}
			return
		}
		key := Key{Accounts: []string{"*"}, Rules: fuzzRules}
		facts := Facts{Account: "alice", Needs: Proxy, Now: now, Request: &request}
		got := Judge(&key, &facts)
		switch {
		case got.Allowed && sending:
			t.Fatalf("%s %s%s is allowed", o.method, c.host, path)
		case c.clear && got.Allowed != !o.sends:
			t.Fatalf("%s %s%s: %+v", o.method, c.host, path, got)
		}
		if got := Judge(&Key{Accounts: []string{"*"}, Rules: fuzzAllowing}, &facts); got.Allowed && sending {
			t.Fatalf("%s %s%s is allowed without being named", o.method, c.host, path)
		}
		checkSmallestRule(t, &facts)
	})
}

// checkSmallestRule checks that the rule which a refusal names is one, and
// allows the call.
func checkSmallestRule(t *testing.T, facts *Facts) {
	t.Helper()
	refused := Judge(&Key{Accounts: []string{"*"}, Rules: mustParse("GET nowhere.example/x")}, facts)
	named, ok := strings.CutPrefix(refused.Missing, "a rule that allows ")
	if !ok {
		return
	}
	rule, err := ParseRule(named)
	if err != nil {
		t.Fatalf("%s%s is missing a rule that is none: %v", facts.Request.Host, facts.Request.Path, err)
	}
	if got := Judge(&Key{Accounts: []string{"*"}, Rules: []Rule{rule}}, facts); !got.Allowed {
		t.Fatalf("%s%s is missing %s, and with it %+v", facts.Request.Host, facts.Request.Path, rule, got)
	}
}
