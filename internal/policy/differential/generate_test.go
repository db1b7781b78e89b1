package differential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/published"
)

// call is a call that is being made.
type call struct {
	random *rand.Rand
	// seed is the method that it began as.
	seed   *published.Method
	method string
	host   string
	// segments are the path's, escaped.
	segments []string
	query    []string
	fields   []string
	body     []byte
	// changes are the names of what was changed.
	changes []string
}

func (c *call) isGoogle() bool { return isGoogle(c.seed.Host) }

func (c *call) api() string { return publisherOf(c.seed) }

func (c *call) path() string { return "/" + strings.Join(c.segments, "/") }

func (c *call) url() string {
	if len(c.query) == 0 {
		return c.path()
	}
	return c.path() + "?" + strings.Join(c.query, "&")
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// generator makes calls.
type generator struct {
	// near are the methods of each API that there are presets for, and what is
	// beside it; the last are all others.
	near [][]*published.Method
	// names are the names in templates, by the type of provider.
	names map[string][]string
}

// areas are what is near to each other.
var areas = []*regexp.Regexp{
	regexp.MustCompile(`^/gmail/`),
	regexp.MustCompile(`^/calendar/`),
	regexp.MustCompile(`^/drive/`),
	regexp.MustCompile(`^/v1\.0/users/\{user-id\}/(messages|mailFolders|sendMail|mailboxSettings|inference|outlook|getMailTips)|^/v1\.0/groups/\{group-id\}/(threads|conversations)`),
	regexp.MustCompile(`^/v1\.0/users/\{user-id\}/(events|calendar|reminderView|findMeetingTimes)|^/v1\.0/groups/\{group-id\}/(calendar|events)|^/v1.0/places`),
	regexp.MustCompile(`^/v1\.0/(drives|shares|sites|users/\{user-id\}/drive|groups/\{group-id\}/(drive|sites))[^()]*$`),
	regexp.MustCompile(``),
}

func newGenerator() *generator {
	g := &generator{near: make([][]*published.Method, len(areas)), names: map[string][]string{}}
	for _, list := range [][]published.Method{published.Google(), published.Microsoft()} {
		for i := range list {
			m := &list[i]
			area := slices.IndexFunc(areas, func(r *regexp.Regexp) bool { return r.MatchString(m.Path) })
			g.near[area] = append(g.near[area], m)
			if area < len(areas)-1 {
				g.addNames(m)
			}
		}
	}
	return g
}

// addNames remembers the names in a template.
func (g *generator) addNames(m *published.Method) {
	publisher := publisherOf(m)
	for segment := range strings.SplitSeq(m.Path, "/") {
		if segment != "" && !strings.ContainsAny(segment, "{(") && !slices.Contains(g.names[publisher], segment) {
			g.names[publisher] = append(g.names[publisher], segment)
		}
	}
}

// like gives names that stand in templates of the same publisher.
func (g *generator) like(c *call) []string { return g.names[c.api()] }

// publisherOf is the type of provider for a method.
func publisherOf(m *published.Method) string {
	if isGoogle(m.Host) {
		return provider.TypeGoogle
	}
	return provider.TypeMicrosoft
}

// ids are what stands for parameters: some of them are names of something else
// somewhere.
var ids = []string{
	"18c2f0a1b2c3d4e5", "18c2f0a1b2c3d4e5", "AAMkAGI2=", "AAMkAGI2=", "me", "primary", "root", "inbox", "drafts", "send", "trash", "sendMail", "x",
	"alice@example.com", "alice%40example.com", "48d31887-5fad-4d73-a9f5-3c356e68a038", "a.b", "b!x-y_z", "Label_1", "01ABC", "send:send", "a:b", "o''brien", "TRASH", "1,2",
}

// new makes the n-th call of a seed.
func (g *generator) new(seed, n uint64) *call {
	r := rand.New(rand.NewPCG(seed, n)) //nolint:gosec // to be repeated, not to be secret
	c := g.plain(r, pick(r, pick(r, g.near)))
	for range 1 + r.IntN(4) {
		change := pick(r, mutations)
		if change.apply(g, c) {
			c.changes = append(c.changes, change.name)
		}
	}
	return c
}

// plain is a call of a method as its publisher describes it.
func (g *generator) plain(r *rand.Rand, m *published.Method) *call {
	c := &call{random: r, seed: m, method: m.Verb, host: m.Host}
	template := m.Path
	if len(m.Uploads) > 0 && r.IntN(3) == 0 {
		template = pick(r, m.Uploads)
		c.query = append(c.query, "uploadType="+pick(r, []string{"media", "multipart", "resumable"}))
	}
	path := parameterName.ReplaceAllStringFunc(template, func(parameter string) string {
		if strings.HasPrefix(parameter, "{user") && r.IntN(2) == 0 {
			return "me"
		}
		return pick(r, ids)
	})
	if rest, ok := strings.CutPrefix(path, "/v1.0/users/me/"); ok && r.IntN(4) > 0 {
		path = "/v1.0/me/" + rest
	}
	c.segments = strings.Split(path[1:], "/")
	if m.Verb != "GET" && m.Verb != "DELETE" {
		c.fields = append(c.fields, "Content-Type: application/json")
		c.body = []byte("{}")
		if slices.Contains(labelled, m.ID) {
			c.body = labelBody(r)
		}
		if writesMail.MatchString(m.Verb + " " + m.Path) {
			c.body = messageBody(r)
		}
	}
	return c
}

// labelBody is one of modify and its like, which deletes mail or does not.
func labelBody(r *rand.Rand) []byte {
	label := func() string {
		return pick(r, []string{`"TRASH"`, `"SPAM"`, `"INBOX"`, `"STARRED"`, `"Label_1"`, `"trash"`, `"TR\u0041SH"`, `" TRASH"`, `["TRASH"]`, `{"a":"SPAM"}`, `null`})
	}
	list := func() string { return "[" + label() + pick(r, []string{"", "," + label()}) + "]" }
	member := func() string {
		return pick(r, []string{`"addLabelIds"`, `"addLabelIds"`, `"removeLabelIds"`, `"removeLabelIds"`, `"ids"`, `"AddLabelIds"`, `"add_label_ids"`, `"addLab\u0065lIds"`, `"addLabelIds "`, `"x"`})
	}
	var b bytes.Buffer
	b.WriteString(pick(r, []string{"", "", "", "", "\ufeff", "[", " "}) + "{" + member() + ":" + list())
	for range r.IntN(3) {
		b.WriteString("," + member() + ":" + list())
	}
	b.WriteString("}" + pick(r, []string{"", "", "", "", "{}", `{"addLabelIds":["TRASH"]}`, "\n"}))
	return b.Bytes()
}

// messageBody is one of a message or a folder, which makes a rule or does not.
func messageBody(r *rand.Rand) []byte {
	member := func() string {
		return pick(r, []string{
			`"subject":"a"`, `"displayName":"a"`, `"toRecipients":[{"emailAddress":{"address":"a@example.com"}}]`, `"comment":"b"`,
			`"message":{"subject":"c"}`, `"singleValueExtendedProperties":[]`, `"SingleValueExtendedProperties":[]`, `"message":{"multiValueExtendedProperties":[]}`,
			`"isDraft":false`, `"messageRules":[]`, `"mess\u0061geRules":[]`, `"item":{"multiValueExtendedProperties":[]}`,
		})
	}
	text := pick(r, []string{"", "", "", "[", "\ufeff"}) + "{" + member()
	for range r.IntN(2) {
		text += "," + member()
	}
	return []byte(text + "}" + pick(r, []string{"", "", "", "{}", "]"}))
}

// proxied is the call as a caller sends it.
func (c *call) proxied() *proxied {
	return &proxied{method: c.method, hostAndPath: c.host + c.url(), fields: c.fields, body: c.body}
}

// batchOf makes a batch of calls to the APIs of one publisher.
func (g *generator) batchOf(seed, n uint64) *call {
	first := g.new(seed, n)
	r := first.random
	parts := []*call{first}
	for i := range uint64(r.IntN(3)) {
		part := g.new(seed^0xba7c, n*8+i)
		if part.api() == first.api() {
			parts = append(parts, part)
		}
	}
	c := &call{random: r, seed: first.seed, method: "POST", host: first.seed.Host, changes: []string{"batch"}}
	for _, part := range parts {
		c.changes = append(c.changes, part.changes...)
	}
	if first.isGoogle() {
		g.googleBatch(c, parts)
	} else {
		g.graphBatch(c, parts)
	}
	if r.IntN(6) == 0 {
		change := pick(r, envelopeMutations)
		if change.apply(g, c) {
			c.changes = append(c.changes, change.name)
		}
	}
	return c
}

func (g *generator) graphBatch(c *call, parts []*call) {
	r := c.random
	c.segments = []string{pick(r, []string{"v1.0", "v1.0", "v1.0", "beta", "V1.0"}), "$batch"}
	c.fields = []string{"Content-Type: application/json"}
	var requests []string
	for i, part := range parts {
		u := part.url()
		switch r.IntN(8) {
		case 0: // as it is
		case 1:
			u = "https://" + part.host + u
		case 2:
			u = "/proxy/alice/" + part.host + u
		default:
			u = strings.TrimPrefix(u, "/v1.0")
		}
		members := []string{
			fmt.Sprintf(`"id":"%d"`, i+1), `"method":` + quoted(part.method), `"url":` + quoted(u),
		}
		if part.body != nil && json.Valid(part.body) {
			members = append(members, `"body":`+string(part.body), `"headers":`+headersOf(part.fields))
		} else if len(part.fields) > 0 {
			members = append(members, `"headers":`+headersOf(part.fields))
		}
		if r.IntN(10) == 0 {
			members = append(members, pick(r, []string{`"url":"/me/sendMail"`, `"URL":"/me/sendMail"`, `"method":"POST"`, `"Method":"DELETE"`, `"u\u0072l":"/me/sendMail"`, `"dependsOn":["1"]`}))
			c.changes = append(c.changes, "second member")
		}
		requests = append(requests, "{"+strings.Join(members, ",")+"}")
	}
	c.body = []byte(`{"requests":[` + strings.Join(requests, ",") + `]}`)
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

func headersOf(fields []string) string {
	members := map[string]string{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		members[name] = strings.TrimSpace(value)
	}
	text, _ := json.Marshal(members)
	return string(text)
}

func (g *generator) googleBatch(c *call, parts []*call) {
	r := c.random
	c.segments = pick(r, [][]string{{"batch"}, {"batch", "gmail", "v1"}, {"batch", "drive", "v3"}, {"batch", "calendar", "v3"}})
	boundary := pick(r, []string{"b", "batch_1", "--b"})
	c.fields = []string{"Content-Type: multipart/mixed; boundary=" + boundary}
	end := pick(r, []string{"\r\n", "\r\n", "\r\n", "\n"})
	var b strings.Builder
	for i, part := range parts {
		u := part.url()
		switch r.IntN(8) {
		case 0:
			u = "https://" + part.host + u
		case 1:
			u = "/proxy/alice/" + part.host + u
		}
		fmt.Fprintf(&b, "--%s%sContent-Type: application/http%sContent-ID: <%d>%s%s", boundary, end, end, i, end, end)
		b.WriteString(part.method + " " + u + pick(r, []string{" HTTP/1.1", ""}) + end)
		for _, f := range part.fields {
			b.WriteString(f + end)
		}
		body := string(part.body)
		if r.IntN(10) == 0 {
			body += end + pick(r, []string{
				"POST /gmail/v1/users/me/messages/send HTTP/1.1" + end + end,
				"--" + boundary + end + "Content-Type: application/http" + end + end + "POST /gmail/v1/users/me/messages/send" + end + end,
				" --" + boundary + end + "Content-Type: application/http" + end + end + "DELETE /gmail/v1/users/me/messages/1" + end + end,
			})
			c.changes = append(c.changes, "second request")
		}
		if body != "" {
			fmt.Fprintf(&b, "Content-Length: %d%s", len(body)-r.IntN(20)/19*3, end)
		}
		b.WriteString(end + body + end)
	}
	b.WriteString("--" + boundary + "--" + end)
	c.body = []byte(b.String())
}
