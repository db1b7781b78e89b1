package target

import (
	"net/http"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// outgoingRemoved are the header fields that never reach an API, in lower case.
// A name that ends in "*" stands for all that begin like it. A field whose name
// has underscores or dots for hyphens is the same field to many servers, and is
// removed too.
var outgoingRemoved = newFieldSet(
	// The caller's credentials; the account's token takes their place.
	"authorization",
	"x-goog-api-key",
	"x-bellhop-*",
	"proxy-*",
	// What browsers and proxies say of the caller and its network.
	"cookie",
	"origin",
	"referer",
	"forwarded",
	"x-forwarded*",
	"x-real-ip",
	"via",
	"cf-*",
	"traceparent",
	"tracestate",
	"baggage",
	// What makes another request of the one that was judged.
	"x-http-method-override",
	"x-http-method",
	"x-method-override",
	"x-original-method",
	"x-original-uri",
	"x-original-url",
	"x-rewrite-url",
)

// userProject bills a call to a project of the caller's choosing.
const userProject = "x-goog-user-project"

// incomingRemoved are the header fields of an API's answer that never reach a
// caller: they would act on Bellhop's origin instead of the API's, or pass for
// Bellhop's own. The last is the secret of an upload's URL once more, which is
// handed out sealed.
var incomingRemoved = newFieldSet(
	"set-cookie",
	"set-cookie2",
	"clear-site-data",
	"strict-transport-security",
	"public-key-pins*",
	"alt-svc",
	"nel",
	"report-to",
	"reporting-endpoints",
	"service-worker-allowed",
	"refresh",
	"access-control-*",
	"bellhop-*",
	"x-guploader-uploadid",
)

// incomingAdded keep what an API sent from running as a page of this origin.
var incomingAdded = [...]struct{ name, value string }{
	{"Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'"},
	{"X-Content-Type-Options", "nosniff"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
}

// vary names the request header fields that the answer depends on.
const vary = "Authorization, X-Bellhop-Key"

// Outgoing takes out of a caller's header what must not reach an API. It keeps
// X-Goog-User-Project only if asked to. It does not allocate.
func Outgoing(h http.Header, keepUserProject bool) {
	for name := range h {
		var buf [fieldNameLength]byte
		folded := fold(buf[:0], name)
		if outgoingRemoved.has(folded) || !keepUserProject && string(folded) == userProject {
			delete(h, name)
		}
	}
}

// Incoming takes out of an API's answer what must not reach a caller, and adds
// what keeps it from being cached for others or run as a page.
func Incoming(h http.Header) {
	IncomingTrailer(h)
	// One allocation for all values; they are this answer's own, because
	// whoever comes after may change them in place.
	values := new([len(incomingAdded) + 2]string)
	for i, field := range incomingAdded {
		values[i] = field.value
		h[field.name] = values[i : i+1 : i+1]
	}
	private, shared := values[len(incomingAdded):len(incomingAdded)+1:len(incomingAdded)+1], values[len(incomingAdded)+1:]
	setPrivate(h, private)
	if old := h["Vary"]; len(old) > 0 {
		h["Vary"] = append(old, vary)
		return
	}
	shared[0] = vary
	h["Vary"] = shared
}

// setPrivate makes the answer's Cache-Control private (RFC 9111 section
// 5.2.2.7), unless it forbids storing at all. Other directives stay, but for
// those that are for shared caches. The slot is where the value goes.
func setPrivate(h http.Header, slot []string) {
	old := strings.Join(h["Cache-Control"], ", ")
	if strings.EqualFold(old, "private") {
		return
	}
	slot[0] = "private"
	for directive := range strings.SplitSeq(old, ",") {
		directive = strings.TrimSpace(directive)
		name, _, _ := strings.Cut(directive, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "no-store":
			return
		case "", "public", "private", "s-maxage", "proxy-revalidate":
		default:
			slot[0] += ", " + directive
		}
	}
	h["Cache-Control"] = slot
}

// IncomingTrailer removes from an API's trailer what [Incoming] removes from its
// header.
func IncomingTrailer(h http.Header) {
	for name := range h {
		var buf [fieldNameLength]byte
		if incomingRemoved.has(fold(buf[:0], name)) {
			delete(h, name)
		}
	}
}

// CheckHeader refuses a header that still contains a Bellhop key after
// [Outgoing]. The error is a [problem.Problem].
func CheckHeader(h http.Header) error {
	for name, values := range h {
		if slices.ContainsFunc(values, MentionsKey) {
			return invalid("the header field " + name + " contains a Bellhop key: send the key in X-Bellhop-Key only")
		}
		if MentionsKey(name) {
			return invalid("the name of a header field contains a Bellhop key: send the key in X-Bellhop-Key only")
		}
	}
	return nil
}

// The form of a Bellhop key: a prefix, and that many base 62 digits.
const (
	keyPrefix = "bh_"
	keyDigits = 43
)

// MentionsKey reports whether s contains what has the form of a Bellhop key,
// whether its checksum is right or not.
func MentionsKey(s string) bool {
	for {
		i := strings.Index(s, keyPrefix)
		if i < 0 {
			return false
		}
		s = s[i+len(keyPrefix):]
		n := 0
		for n < len(s) && n < keyDigits && isAlphanumeric(s[n]) {
			n++
		}
		if n == keyDigits {
			return true
		}
	}
}

// CheckDestination refuses what a browser would show or run as a page of this
// origin, by the request's Sec-Fetch-Dest. The error is a [problem.Problem].
func CheckDestination(h http.Header) error {
	for _, value := range h["Sec-Fetch-Dest"] {
		for dest := range strings.SplitSeq(value, ",") {
			switch dest = strings.ToLower(strings.TrimSpace(dest)); dest {
			case "document", "frame", "iframe", "fencedframe", "embed", "object",
				"script", "worker", "sharedworker", "serviceworker",
				"audioworklet", "paintworklet", "xslt":
				return problem.New(problem.NotAllowed, "an API's answer is not served as a "+dest+": fetch it")
			}
		}
	}
	return nil
}

// fieldSet is a set of header field names.
type fieldSet struct {
	names    map[string]struct{}
	prefixes []string
}

func newFieldSet(names ...string) fieldSet {
	s := fieldSet{names: map[string]struct{}{}}
	for _, name := range names {
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			s.prefixes = append(s.prefixes, prefix)
			continue
		}
		s.names[name] = struct{}{}
	}
	return s
}

// has reports whether a folded name is in the set.
func (s *fieldSet) has(folded []byte) bool {
	if _, ok := s.names[string(folded)]; ok {
		return true
	}
	for _, prefix := range s.prefixes {
		if len(folded) >= len(prefix) && string(folded[:len(prefix)]) == prefix || string(folded) == strings.TrimSuffix(prefix, "-") {
			return true
		}
	}
	return false
}

// fieldNameLength is more than the longest name in a set. What a longer name
// has behind it changes no comparison.
const fieldNameLength = 64

// fold writes a field name as a [fieldSet] compares it: in lower case, with
// hyphens for underscores and dots and none at its end.
func fold(buf []byte, name string) []byte {
	for i := range min(len(name), fieldNameLength) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '_' || c == '.':
			c = '-'
		}
		buf = append(buf, c)
	}
	for len(buf) > 0 && buf[len(buf)-1] == '-' {
		buf = buf[:len(buf)-1]
	}
	return buf
}
