package operation

import (
	"errors"
	"strings"
	"testing"
)

// written is a path for comparing: a segment's kind and its readings are marks
// before it.
func written(segments []Segment) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString([...]string{"", "verb!", "option!", "name!"}[s.Kind])
		b.WriteString([...]string{"", "synonym?", "seldom?", "ambiguous?"}[s.Skip])
		b.WriteString(s.Text)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	const (
		gmail = "gmail.googleapis.com"
		graph = "graph.microsoft.com"
		other = "api.example.com"
	)
	for _, c := range []struct{ host, method, path, want, service string }{
		{other, "GET", "/", "", ""},
		{other, "GET", "/a/b/", "/a/b", ""},
		{other, "GET", "/%61%20b/100%25", "/a b/100%", ""},
		{other, "GET", "/people:send/upload/x", "/people:send/upload/x", ""},
		{gmail, "GET", "/", "", ""},
		{gmail, "POST", "/upload/gmail/v1/users/me/messages/send", "/gmail/v1/users/me/messages/send", "gmail"},
		{gmail, "POST", "/resumable/upload/gmail/v1/x", "/gmail/v1/x", "gmail"},
		{gmail, "GET", "/gmail/v1/upload/x", "/gmail/v1/upload/x", "gmail"},
		{gmail, "GET", "/v1/x", "/v1/x", ""},
		{"www.googleapis.com", "GET", "/Calendar/v3/calendars/a%23b@c/events", "/Calendar/v3/calendars/a#b@c/events", "calendar"},
		{"www.googleapis.com", "GET", "/discovery/v1/apis", "/discovery/v1/apis", "discovery"},
		{"storage.googleapis.com", "GET", "/storage/v1/b", "/storage/v1/b", "storage"},
		{"drive.googleapis.com", "GET", "/gmail/v1/x", "/gmail/v1/x", "gmail"},
		{"people.googleapis.com", "POST", "/v1/people:createContact", "/v1/verb!people:createContact", ""},
		{"people.googleapis.com", "POST", "/v1/a:b/c", "/v1/a:b/c", ""},
		{"searchconsole.googleapis.com", "GET", "/webmasters/v3/sites/https%3A%2F%2Fa.example%2F/sitemaps/https%3A%2F%2Fa.example%2Fs.xml", "/webmasters/v3/sites/https://a.example//sitemaps/https://a.example/s.xml", "webmasters"},
		{graph, "GET", "/v1.0/me/messages", "/v1.0/synonym?users/me/messages", ""},
		{graph, "GET", "/V1.0/Me('x')", "/V1.0/synonym?users/Me/x", ""},
		{graph, "GET", "/v1.0/users/me/drive/me", "/v1.0/users/me/drive/me", ""},
		{graph, "GET", "/v1.0/users('o''brien')/messages(AAMk=)", "/v1.0/users/o'brien/messages/AAMk=", ""},
		{graph, "GET", "/v1.0/users(Id='x')", "/v1.0/users/x", ""},
		{graph, "GET", "/v1.0/users(other='x')", "/v1.0/users/ambiguous?x", ""},
		{graph, "GET", "/v1.0/me/reminderView(a='1,2',b=3)", "/v1.0/synonym?users/me/reminderView/ambiguous?a='1,2',b=3", ""},
		{graph, "GET", "/v1.0/me/drive/root/search(q='')", "/v1.0/synonym?users/me/drive/root/search/ambiguous?''", ""},
		{graph, "GET", "/v1.0/me/outlook/supportedTimeZones(TimeZoneStandard=microsoft.graph.timeZoneStandard'Iana')", "/v1.0/synonym?users/me/outlook/supportedTimeZones/ambiguous?Iana", ""},
		{graph, "GET", "/v1.0/me/messages/delta()", "/v1.0/synonym?users/me/messages/delta", ""},
		{graph, "GET", "/v1.0/me/messages/microsoft.graph.delta()", "/v1.0/synonym?users/me/messages/seldom?delta", ""},
		{graph, "GET", "/v1.0/me/messages/microsoft.graph.eventMessage", "/v1.0/synonym?users/me/messages/ambiguous?eventMessage", ""},
		{graph, "POST", "/v1.0/me/microsoft.graph.user/Microsoft.Graph.sendMail", "/v1.0/synonym?users/me/ambiguous?user/seldom?sendMail", ""},
		{graph, "GET", "/v1.0/me/messages/x/$value", "/v1.0/synonym?users/me/messages/x/option!seldom?$value", ""},
		{graph, "GET", "/v1.0/me/drive/root:/a%20b/c;d%23:/content", "/v1.0/synonym?users/me/drive/root/name!a b/c;d#/content", ""},
		{graph, "GET", "/v1.0/me/drive/root%3A/a/b%3a/content", "/v1.0/synonym?users/me/drive/root/name!a/b/content", ""},
		{graph, "GET", "/v1.0/me/drive/root:/a/b", "/v1.0/synonym?users/me/drive/root/name!a/b", ""},
		{graph, "GET", "/v1.0/drives/b!x/Root:/a:/children", "/v1.0/drives/b!x/Root/name!a/children", ""},
		{graph, "GET", "/v1.0/drives('b!x')/root:/a", "/v1.0/drives/b!x/root/name!a", ""},
		{graph, "GET", "/v1.0/shares/u!x/root:/a", "/v1.0/shares/u!x/root/name!a", ""},
		{graph, "GET", "/v1.0/sites/root:/sites/b", "/v1.0/sites/root/name!sites/b", ""},
		{graph, "GET", "/v1.0/me/drive/root:", "/v1.0/synonym?users/me/drive/root", ""},
		{graph, "GET", "/v1.0/sites/a.example:/sites/b:/drive/items/x%3A/y", "/v1.0/sites/a.example/name!sites/b/drive/items/x/name!y", ""},
		{graph, "GET", "/v1.0/chats/19:a@thread.v2/messages", "/v1.0/chats/19:a@thread.v2/messages", ""},
		{"outlook.office.com", "POST", "/api/v2.0/me/sendmail", "/api/v2.0/synonym?users/me/sendmail", ""},
		{graph, "POST", "/v1.0/me/sendMail('x')", "/v1.0/synonym?users/me/sendMail/ambiguous?x", ""},
		{graph, "POST", "/v1.0/me/messages('x')/send", "/v1.0/synonym?users/me/messages/x/send", ""},
		{graph, "GET", "/v1.0/me/messages('x')", "/v1.0/synonym?users/me/messages/x", ""},
		{"outlook.office.com", "POST", "/api/microsoft.x/v2.0/me/sendmail", "/api/ambiguous?x/v2.0/synonym?users/me/sendmail", ""},
		{graph, "GET", "/v1.0/users/me/me", "/v1.0/users/me/me", ""},
	} {
		path, err := Read(nil, &Source{Method: c.method, Host: c.host, Family: FamilyOf(c.host), Path: c.path})
		if err != nil || written(path.Segments) != c.want || path.Service != c.service {
			t.Errorf("%s%s is %s of %q, %v; want %s of %q", c.host, c.path, written(path.Segments), path.Service, err, c.want, c.service)
		}
		for _, s := range path.Segments {
			if s.Folded != strings.ToLower(s.Text) {
				t.Errorf("%s%s: %q is folded to %q", c.host, c.path, s.Text, s.Folded)
			}
		}
	}
}

func TestWhatStandsInParenthesesIsNoName(t *testing.T) {
	path := "/v1.0/users('me')/messages/f(x='messages')/messages"
	read, err := Read(nil, &Source{Method: "GET", Host: "graph.microsoft.com", Family: Microsoft, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	want := []bool{false, false, true, false, false, true, false}
	for i, s := range read.Segments {
		if s.Quoted != want[i] {
			t.Errorf("%q: %v", s.Text, s.Quoted)
		}
	}
}

func TestReadRefusesWhatCanBeReadInTwoWays(t *testing.T) {
	const graph = "graph.microsoft.com"
	for _, c := range []struct {
		host, path string
		want       error
	}{
		{"a.example", "/a//b", errEmpty},
		{"a.example", "/a%2Fb", errSlash},
		{"a.example", "/a%5cb", errSlash},
		{"a.example", "/a%252fb", errEncoded},
		{"a.example", "/a%25%36%31", errEncoded},
		{"a.example", "/a%zz", errEscape},
		{"a.example", "/a%ff", errEscape},
		{"a.example", "/a;b", errCharacter},
		{"a.example", "/a%3fb", errCharacter},
		{"a.example", "/a%23b", errCharacter},
		{"a.example", "/a%0ab", errCharacter},
		{"a.example", "/a%e2%80%8bb", errCharacter},
		{"a.example", "/a%ef%bc%8fb", errCharacter},
		{"a.example", "/a%e2%88%95b", errCharacter},
		{"a.example", "/a%20", errSpace},
		{"a.example", "/a/%2e%2e", errDots},
		{"a.example", "/x/$Batch", errBatch},
		{"a.example", "/" + strings.Repeat("a/", 4096), errLong},
		{"gmail.googleapis.com", "/batch/gmail/v1", errBatch},
		{"gmail.googleapis.com", "/upload/Batch", errBatch},
		{"www.googleapis.com", "/v1/people/me", errFront},
		{"chat.googleapis.com", "/google.chat.v1.ChatService/CreateMessage", errRPC},
		{"www.googleapis.com", "/drive/v3/files/a%2Fb", errSlash},
		{graph, "/me", errVersion},
		{graph, "/v1.0/myOrganization/me", errVersion},
		{graph, "/v1.0/a.example/me", errVersion},
		{graph, "/graph.beta/me/messages", errVersion},
		{graph, "/v1.0/graph.user/me/sendMail", errVersion},
		{graph, "/v1.0/graph.user/myorganization/me/sendMail", errVersion},
		{graph, "/v1.0/$batch", errBatch},
		{graph, "/v1.0/$entity", errSystem},
		{graph, "/v1.0/me/messages/$filter(a)/x", errSystem},
		{graph, "/v1.0/users(@p)", errAlias},
		{graph, "/v1.0/users(id=@p)", errAlias},
		{graph, "/v1.0/users('a'", errParentheses},
		{graph, "/v1.0/users('a')b", errParentheses},
		{graph, "/v1.0/users('a'')", errParentheses},
		{graph, "/v1.0/users('a','b')", errParentheses},
		{graph, "/v1.0/users('')", errParentheses},
		{graph, "/v1.0/users(id='')", errParentheses},
		{graph, "/v1.0/users(id=graph.a'x')", errParentheses},
		{graph, "/v1.0/f(x=a'b')", errParentheses},
		{graph, "/v1.0/f(x=graph.a'b'c')", errParentheses},
		{graph, "/v1.0/users(f(x))", errParentheses},
		{graph, "/v1.0/o'brien", errParentheses},
		{graph, "/v1.0/graph.()", errParentheses},
		{graph, "/v1.0/me/messages/x.", errDotAtEnd},
		{graph, "/v1.0/me/messages/x:/send", errColon},
		{graph, "/v1.0/me/drive/root:x/send", errColon},
		{graph, "/v1.0/users/root:/messages/x/send", errColon},
		{graph, "/v1.0/root:/messages/x/send", errColon},
		{graph, "/v1.0/me/drive/root:/a:b:/content", errColon},
		{graph, "/v1.0/me/drive/root:/:/content", errColon},
		{graph, "/v1.0/me/drive/root:/a%3A/content", errColon},
		{graph, "/v1.0/me/drive/root%3a/a:/content", errColon},
		{graph, "/v1.0/me/drive/root:/a%2Fb:/content", errSlash},
	} {
		path, err := Read(nil, &Source{Method: "POST", Host: c.host, Family: FamilyOf(c.host), Path: c.path})
		if !errors.Is(err, c.want) {
			t.Errorf("%s%s is %s, %v; want %v", c.host, c.path, written(path.Segments), err, c.want)
		}
	}
	source := Source{Method: "DELETE", Host: graph, Family: Microsoft, Path: "/v1.0/groups/g/members/$ref", RawQuery: "a=b&%24ID=x"}
	if _, err := Read(nil, &source); !errors.Is(err, errReference) {
		t.Errorf("a reference in the query: %v", err)
	}
	source.RawQuery = "a=b"
	if _, err := Read(nil, &source); err != nil {
		t.Errorf("no reference in the query: %v", err)
	}
}

func TestUploadsGoOnAtNoPath(t *testing.T) {
	const upload = "/upload/gmail/v1/users/me/messages/send"
	for query, refused := range map[string]bool{
		"upload_id=x": true, "uploadType=resumable&upload_id=x": true, "UPLOAD_ID=x": true, "upload%5Fid=x": true, "upload%255Fid": true,
		"a=b;upload_id=x": true, "a=b?upload_id=x": true, "+upload_id=x": true, "upload_id": true,
		"": false, "uploadType=resumable": false, "upload_ids=x": false, "q=upload_id": false, "q=upload_id%3Dx": false, "upload=id": false, "a=%zz": false,
	} {
		for _, path := range []string{upload, "/v1/uploads"} {
			_, err := Read(nil, &Source{Method: "PUT", Host: "gmail.googleapis.com", Family: Google, Path: path, RawQuery: query})
			if errors.Is(err, errSession) != refused {
				t.Errorf("%s?%s: %v", path, query, err)
			}
		}
	}
	for _, family := range []Family{Microsoft, Other} {
		if _, err := Read(nil, &Source{Method: "PUT", Host: "api.acme.example", Family: family, Path: "/v1.0/me", RawQuery: "upload_id=x"}); err != nil {
			t.Errorf("another API's parameter: %v", err)
		}
	}
}

func TestVerbIn(t *testing.T) {
	for text, want := range map[string]int{
		"people:batchGet": 6, "documents/d:batchUpdate": 11, ":x": 0, "a:setV2": 1, "a:B2:clear": 4, "a:snake_case": 1,
		"people": -1, "Sheet1!A1:B2": -1, "A:C": -1, "A:ZZZ": -1, "a:": -1, "user:a@b.example": -1, "a:1": -1, "a:é": -1, "a:_x": -1,
	} {
		if got := VerbIn(text); got != want {
			t.Errorf("VerbIn(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestServedAt(t *testing.T) {
	for _, c := range []struct {
		host, path string
		at         string
		want       bool
	}{
		{"www.googleapis.com", "/drive/v3/files", "drive.googleapis.com", true},
		{"www.googleapis.com", "/drive/v3/files", "gmail.googleapis.com", false},
		{"gmail.googleapis.com", "/gmail/v1/users", "www.googleapis.com", true},
		{"drive.googleapis.com", "/gmail/v1/users", "drive.googleapis.com", false},
		{"people.googleapis.com", "/v1/people/me", "www.googleapis.com", false},
		{"people.mtls.googleapis.com", "/v1/people/me", "people.googleapis.com", true},
		{"content-people.googleapis.com", "/v1/people/me", "people.googleapis.com", true},
		{"content.googleapis.com", "/storage/v1/b", "storage.googleapis.com", true},
	} {
		path, err := Read(nil, &Source{Method: "GET", Host: c.host, Family: Google, Path: c.path})
		if err != nil || path.ServedAt(c.at) != c.want {
			t.Errorf("%s%s at %s: %t, %v", c.host, c.path, c.at, path.ServedAt(c.at), err)
		}
	}
}

func TestFamilyOf(t *testing.T) {
	for host, want := range map[string]Family{
		"gmail.googleapis.com": Google, "googleapis.com": Google, "gmail.clients6.google.com": Google, "googleapis.com.example": Other, "xgoogleapis.com": Other,
		"graph.microsoft.com": Microsoft, "microsoftgraph.chinacloudapi.cn": Microsoft, "outlook.office365.us": Microsoft, "graph.microsoft.com.example": Other,
	} {
		if got := FamilyOf(host); got != want {
			t.Errorf("%s is of family %d", host, got)
		}
	}
}
