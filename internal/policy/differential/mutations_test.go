package differential

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// mutation is a way to write a call differently, or to make another of it.
type mutation struct {
	name string
	// apply reports whether it changed anything.
	apply func(*generator, *call) bool
}

// mutations are those of calls.
var mutations = slices.Concat(spellingMutations, shapeMutations, odataMutations, requestMutations)

// at is a random segment, and where it is.
func (c *call) at() (i int, segment string) {
	i = c.random.IntN(len(c.segments))
	return i, c.segments[i]
}

// replace puts others in the place of some of the segments.
func (c *call) replace(i, n int, others ...string) {
	c.segments = slices.Replace(slices.Clone(c.segments), i, min(i+n, len(c.segments)), others...)
}

// respell changes a random segment, if anything in it changes.
func respell(change func(*rand.Rand, string) string) func(*generator, *call) bool {
	return func(_ *generator, c *call) bool {
		i, s := c.at()
		changed := change(c.random, s)
		c.replace(i, 1, changed)
		return changed != s
	}
}

// join writes two segments as one.
func join(separators ...string) func(*generator, *call) bool {
	return func(_ *generator, c *call) bool {
		i := c.random.IntN(len(c.segments))
		if i+1 >= len(c.segments) {
			return false
		}
		c.replace(i, 2, c.segments[i]+pick(c.random, separators)+c.segments[i+1])
		return true
	}
}

// append writes something behind a segment, mostly the last.
func appended(texts ...string) func(*generator, *call) bool {
	return func(_ *generator, c *call) bool {
		i := len(c.segments) - 1
		if c.random.IntN(3) == 0 {
			i = c.random.IntN(len(c.segments))
		}
		c.replace(i, 1, c.segments[i]+pick(c.random, texts))
		return true
	}
}

// inserted puts a segment somewhere.
func inserted(texts ...string) func(*generator, *call) bool {
	return func(_ *generator, c *call) bool {
		c.replace(c.random.IntN(len(c.segments)+1), 0, pick(c.random, texts))
		return true
	}
}

func escapeLetter(r *rand.Rand, s, percent string) string {
	if s == "" || strings.Contains(s, "%") {
		return s
	}
	i := r.IntN(len(s))
	return s[:i] + fmt.Sprintf("%s%02x", percent, s[i]) + s[i+1:]
}

var spellingMutations = []mutation{
	{"escape", respell(func(r *rand.Rand, s string) string { return escapeLetter(r, s, "%") })},
	{"escape all", respell(func(_ *rand.Rand, s string) string {
		if strings.Contains(s, "%") {
			return s
		}
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
		return b.String()
	})},
	{"escape twice", respell(func(r *rand.Rand, s string) string { return escapeLetter(r, s, "%25") })},
	{"another case", respell(func(r *rand.Rand, s string) string {
		if strings.Contains(s, "%") {
			return s
		}
		switch r.IntN(3) {
		case 0:
			return strings.ToUpper(s)
		case 1:
			return strings.ToLower(s)
		}
		return strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):]
	})},
	{"look-alike", respell(func(r *rand.Rand, s string) string {
		pairs := []string{"s", "%C5%BF", "k", "%E2%84%AA", "i", "%C4%B1", "s", "%EF%BD%93", "e", "%EF%BD%85", "m", "%EF%BC%AD"}
		i := r.IntN(len(pairs)/2) * 2
		return strings.Replace(s, pairs[i], pairs[i+1], 1)
	})},
	{"joined by a slash", join("%2F", "%2f", "%252F", "%252f", "%25252f")},
	{"joined by a look-alike", join("%5C", "%5c", "%255C", `\`, "%EF%BC%8F", "%E2%81%84", "%E2%88%95", "%00", "//", "/./", "%2F%2F", ";/", "%3B/", "/%2e/", "?", "#")},
	{"end", appended(";x=1", ";", "%3B", "%3Bx", "%253Bx", ".", "%2E", "..", "%20", "+", "%09", "%00", "%0A", "%0d%0a", "%23", "%23x", "%3F", "%3Fx", "%253Fx", "%E2%80%8B", "%C2%AD", "%EF%BB%BF", "/", "//", ":", "%3A", "~", "'", "%27", ",", "&", "=", "*", "@", "!", ".json", "%2523", "%26")},
	{"dots", inserted(".", "..", "%2e", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "..;", "..;x", ".;", "x/..", "x/../..", "..%2f", "%2e%2e%2f", "..%5c", "...")},
	{"empty", inserted("", "", "%20", "%00", ";", ";x=1")},
}

var shapeMutations = []mutation{
	{"another name", func(g *generator, c *call) bool {
		i := c.random.IntN(len(c.segments))
		c.replace(i, 1, pick(c.random, g.like(c)))
		return true
	}},
	{"another end", func(g *generator, c *call) bool {
		c.replace(len(c.segments)-1, 1, pick(c.random, g.like(c)))
		return true
	}},
	{"a name more", func(g *generator, c *call) bool {
		c.replace(c.random.IntN(len(c.segments)+1), 0, pick(c.random, g.like(c)))
		return true
	}},
	{"an end more", func(g *generator, c *call) bool {
		c.segments = append(slices.Clone(c.segments), pick(c.random, g.like(c)))
		return true
	}},
	{"the end of another", func(g *generator, c *call) bool {
		other := g.plain(c.random, pick(c.random, pick(c.random, g.near)))
		n := c.random.IntN(len(c.segments)) + 1
		c.segments = append(slices.Clone(c.segments[:n]), other.segments[min(n, len(other.segments)):]...)
		return true
	}},
	{"a segment less", func(_ *generator, c *call) bool {
		if len(c.segments) < 2 {
			return false
		}
		i, _ := c.at()
		c.replace(i, 1)
		return true
	}},
	{"a segment twice", func(_ *generator, c *call) bool {
		i, s := c.at()
		c.replace(i, 0, s)
		return true
	}},
	{"another ID", func(_ *generator, c *call) bool {
		i, _ := c.at()
		c.replace(i, 1, pick(c.random, ids))
		return true
	}},
	{"another user", func(_ *generator, c *call) bool {
		for i, s := range c.segments {
			switch {
			case s == "users" && i+1 < len(c.segments):
				c.replace(i+1, 1, pick(c.random, []string{"me", "alice%40example.com", "x", "Me", "%6De", "send", "me;x"}))
				return true
			case s == "me" && i == 1:
				c.replace(1, 1, pick(c.random, [][]string{{"users", "x"}, {"users", "me"}, {"users('x')"}, {"ME"}, {"me()"}, {"users", "alice@example.com"}})...)
				return true
			}
		}
		return false
	}},
	{"a custom method", appended(":send", ":batchDelete", ":modify", "%3Asend", ":x", ":A1", ":Trash")},
	{"media prefix", func(_ *generator, c *call) bool {
		if !c.isGoogle() {
			return false
		}
		c.replace(0, 0, pick(c.random, [][]string{{"upload"}, {"resumable", "upload"}, {"download"}, {"resumable"}, {"Upload"}, {"%75pload"}, {"upload", "upload"}, {"upload", "download"}})...)
		return true
	}},
	{"batch in the path", func(_ *generator, c *call) bool {
		texts := []string{"batch", "Batch", "%62atch"}
		if !c.isGoogle() {
			texts = []string{"$batch", "%24batch", "$BATCH", "$batch;x"}
		}
		return inserted(texts...)(nil, c)
	}},
	{"remote procedure", func(_ *generator, c *call) bool {
		if !c.isGoogle() {
			return false
		}
		c.segments = pick(c.random, [][]string{{"google.gmail.v1.Gmail", "SendMessage"}, {"$rpc", "google.gmail.v1.Gmail", "SendMessage"}, {"rpc"}, {"gmail", "v1", "rpc"}, {"$discovery", "rest"}, {"discovery", "v1", "apis", "gmail", "v1", "rest"}})
		return true
	}},
}

var idBehindName = regexp.MustCompile(`^[A-Za-z]+$`)

var odataMutations = []mutation{
	{"key in parentheses", func(_ *generator, c *call) bool {
		i := c.random.IntN(len(c.segments))
		if c.isGoogle() || i+1 >= len(c.segments) || !idBehindName.MatchString(c.segments[i]) {
			return false
		}
		format := pick(c.random, []string{"%s('%s')", "%s(%s)", "%s(id='%s')", "%s(userPrincipalName='%s')", "%s(x='%s')", "%s%%28%%27%s%%27%%29", "%s( '%s' )", "%s(%%27%s%%27)", "%s('%s'", "%s()%s", "%s(@p)%s", "%s(id='%s',x=1)", "%s('%s')()"})
		c.replace(i, 2, fmt.Sprintf(format, c.segments[i], c.segments[i+1]))
		return true
	}},
	{"namespace", func(_ *generator, c *call) bool {
		i, s := c.at()
		if c.random.IntN(2) == 0 {
			i = len(c.segments) - 1
			s = c.segments[i]
		}
		c.replace(i, 1, pick(c.random, []string{"microsoft.graph.", "graph.", "Microsoft.Graph.", "microsoft.", "microsoft.graph.x.", "%6Dicrosoft.graph.", "x."})+s)
		return !c.isGoogle()
	}},
	{"type", inserted("microsoft.graph.message", "graph.user", "Microsoft.Graph.x", "microsoft.graph.driveItem", "graph.send", "microsoft.graph.sendMail")},
	{"parentheses", appended("()", "(x=1)", "(", ")", "('x')", "%28%29", "(id='x')", "(@p)", "(1)", "( )")},
	{"option", func(_ *generator, c *call) bool {
		c.segments = append(slices.Clone(c.segments), pick(c.random, []string{"$value", "$ref", "$count", "$VALUE", "%24value", "$links", "$entity", "$metadata", "$query", "content"}))
		return true
	}},
	{"version", func(_ *generator, c *call) bool {
		if c.isGoogle() {
			for i, s := range c.segments {
				if len(s) == 2 && s[0] == 'v' {
					c.replace(i, 1, pick(c.random, []string{"v1", "v2", "v3", "V1", "v4", "v1beta", "v1internal", "v01"}))
					return true
				}
			}
			return false
		}
		c.replace(0, 1, pick(c.random, [][]string{{"beta"}, {"V1.0"}, {"v1.0", "myorganization"}, {"v1.0", "contoso.onmicrosoft.com"}, {"v1.0", "48d31887-5fad-4d73-a9f5-3c356e68a038"}, {"v2.0"}, {"v1.0", "v1.0"}, {"BETA"}, {"v1.0."}, {"api", "v2.0"}})...)
		return true
	}},
	{"name between colons", func(_ *generator, c *call) bool {
		if c.isGoogle() {
			return false
		}
		name := pick(c.random, [][]string{{"a"}, {"a", "send"}, {"me", "sendMail"}, {"a%3A", "b"}, {"a", ".."}, {"messages", "x", "reply"}, {"a:", "b"}, {"%2e%2e"}})
		var path []string
		path = append(path, pick(c.random, [][]string{{"v1.0", "me", "drive", "root:"}, {"v1.0", "drives", "b!x", "root:"}, {"v1.0", "drives", "x", "items", "01ABC:"}, {"v1.0", "me", "drive", "special", "photos:"}, {"v1.0", "sites", "contoso.sharepoint.com:"}, {"v1.0", "me", "messages:"}})...)
		path = append(path, name...)
		if c.random.IntN(4) > 0 {
			path[len(path)-1] += ":"
			path = append(path, pick(c.random, [][]string{{"children"}, {"content"}, {"createUploadSession"}, {"delta"}, {"lists"}, {"drive", "root"}, {"permissions"}, {"createLink"}, {"copy"}, c.segments[min(2, len(c.segments)-1):]})...)
		}
		c.segments = path
		return true
	}},
	{"drive by another way", func(_ *generator, c *call) bool {
		if c.isGoogle() || !slices.Contains(c.segments, "items") {
			return false
		}
		i := slices.Index(c.segments, "items")
		way := pick(c.random, [][]string{{"v1.0", "me", "drive"}, {"v1.0", "users", "x", "drive"}, {"v1.0", "groups", "g", "drive"}, {"v1.0", "sites", "root", "drive"}, {"v1.0", "sites", "s", "drives", "d"}, {"v1.0", "shares", "u!x"}})
		c.replace(0, i, way...)
		return true
	}},
	{"folder", func(_ *generator, c *call) bool {
		i := slices.Index(c.segments, "messages")
		if c.isGoogle() || i < 0 {
			return false
		}
		c.replace(i, 0, pick(c.random, [][]string{{"mailFolders", "inbox"}, {"mailFolders('inbox')"}, {"mailFolders", "x", "childFolders", "y"}, {"mailFolders", "x", "childFolders", "y", "childFolders", "z"}, {"mailfolders", "drafts"}})...)
		return true
	}},
	{"alias", func(_ *generator, c *call) bool {
		c.query = append(c.query, pick(c.random, []string{"@p='x'", "$id=users('x')", "$expand=messages", "$select=id", "%24id=x", "@odata.id=x"}))
		i, _ := c.at()
		c.replace(i, 1, pick(c.random, []string{"@p", c.segments[i] + "(@p)", "$entity", "$ref", c.segments[i]}))
		return true
	}},
}

var verbs = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}

var overrideNames = []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override", "X_HTTP_Method_Override", "X-Http-Method_Override", "X.HTTP.Method.Override", "X-HTTP-Method-Override-"}

var requestMutations = []mutation{
	{"another method", func(_ *generator, c *call) bool {
		before := c.method
		c.method = pick(c.random, append([]string{"post", "Post", "SEND", "MOVE", "COPY", "REPORT", "PROPFIND", "TRACE", "CONNECT"}, slices.Repeat(verbs, 4)...))
		return before != c.method
	}},
	{"override in the header", func(_ *generator, c *call) bool {
		verb := c.method
		c.fields = append(slices.Clone(c.fields), pick(c.random, overrideNames)+": "+verb)
		c.method = pick(c.random, []string{"GET", "POST"})
		return true
	}},
	{"override in the query", func(_ *generator, c *call) bool {
		verb := c.method
		parameter := pick(c.random, []string{"$httpMethod", "%24httpMethod", "$HttpMethod", "_method", "x-http-method-override", "X-HTTP-Method", "%2524httpMethod", "$httpMethod%20", "a;$httpMethod", "a%3B$httpMethod", "a;_method", "$httpMetho%64", "_METHOD", "$httpHeaders"})
		c.query = append(slices.Clone(c.query), parameter+"="+verb)
		c.method = pick(c.random, []string{"GET", "POST"})
		return true
	}},
	{"query", func(_ *generator, c *call) bool {
		c.query = append(slices.Clone(c.query), pick(c.random, []string{"alt=media", "uploadType=media", "fields=*", "key=x", "$top=1", "$count=true", "q=is:unread", "a=b;c=d", "addLabelIds=TRASH", "x=%0d%0a", "prettyPrint=false", "upload_protocol=resumable", "?", ""}))
		return true
	}},
	{"another host", func(_ *generator, c *call) bool {
		hosts := []string{"graph.microsoft.com", "GRAPH.microsoft.com", "graph.microsoft.com.", "graph.microsoft.com:443", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn", "outlook.office.com", "outlook.office365.com", "graph.microsoft.com:8443"}
		if c.isGoogle() {
			label, _, _ := strings.Cut(c.host, ".")
			hosts = []string{
				"www.googleapis.com", "WWW.googleapis.com", "content.googleapis.com", "googleapis.com", "gmail.googleapis.com", "drive.googleapis.com", "calendar.googleapis.com", "calendar-json.googleapis.com",
				"people.googleapis.com", "content-" + label + ".googleapis.com", label + ".mtls.googleapis.com", label + ".googleapis.com.", label + ".googleapis.com:443", "content-" + label + ".mtls.googleapis.com", "gmail.clients6.google.com", "content-gmail.googleapis.com", "gmail.mtls.googleapis.com", "www.mtls.googleapis.com",
			}
		}
		c.host = pick(c.random, hosts)
		return true
	}},
	{"another body", func(_ *generator, c *call) bool {
		if c.body == nil {
			return false
		}
		switch c.random.IntN(4) {
		case 0:
			c.fields = []string{"Content-Type: " + pick(c.random, []string{"application/x-protobuf", "application/json; charset=utf-16", "text/plain", "application/x-www-form-urlencoded", "application/json, text/plain", "multipart/related"})}
		case 1:
			c.fields = append(slices.Clone(c.fields), pick(c.random, []string{"Content-Encoding: gzip", "Content-Encoding: identity", "Content-Encoding: , gzip", "Content-Type: text/plain"}))
		case 2:
			c.fields = nil
		case 3:
			c.body = pick(c.random, []func(*rand.Rand) []byte{labelBody, messageBody})(c.random)
		}
		return true
	}},
}

// envelopeMutations are those of batches as a whole.
var envelopeMutations = []mutation{
	{"query of the batch", func(_ *generator, c *call) bool {
		c.query = append(c.query, pick(c.random, []string{"$httpMethod=POST", "%24httpMethod=DELETE", "_method=POST", "$id=x", "a=b", "addLabelIds=TRASH"}))
		return true
	}},
	{"header of the batch", func(_ *generator, c *call) bool {
		c.fields = append(c.fields, pick(c.random, overrideNames)+": "+pick(c.random, verbs))
		return true
	}},
	{"path of the batch", func(_ *generator, c *call) bool {
		i := len(c.segments) - 1
		c.segments[i] = pick(c.random, []string{url.PathEscape(c.segments[i]), strings.ToUpper(c.segments[i]), c.segments[i] + ";x", c.segments[i] + "/", escapeLetter(c.random, c.segments[i], "%")})
		return true
	}},
	{"coding of the batch", func(_ *generator, c *call) bool {
		c.fields = append(c.fields, pick(c.random, []string{"Content-Encoding: gzip", "Content-Type: multipart/mixed; boundary=other", "Content-Type: application/json"}))
		return true
	}},
	{"bytes of the batch", func(_ *generator, c *call) bool {
		i := c.random.IntN(len(c.body))
		c.body = slices.Concat(c.body[:i], []byte(pick(c.random, []string{"\r\n", "\n", "\"", ",", "\x00", "--", " ", "{", "\\u0000", "\ufeff"})), c.body[i:])
		return true
	}},
	{"method of the batch", func(_ *generator, c *call) bool {
		c.method = pick(c.random, verbs)
		return true
	}},
}
