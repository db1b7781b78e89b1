package policy

import (
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// judged judges "METHOD host/path[?query]" by rules.
func judged(rules []Rule, call string) Decision {
	return judgedByKey(&Key{Accounts: []string{"*"}, Rules: rules}, call)
}

func judgedByKey(key *Key, call string) Decision { return Judge(key, factsOf(call)) }

func factsOf(call string) *Facts {
	method, rest, _ := strings.Cut(call, " ")
	rest, query, _ := strings.Cut(rest, "?")
	i := strings.IndexByte(rest, '/')
	return &Facts{
		Account: "alice", Needs: Proxy, Now: now,
		Request: &target.Request{Method: method, Host: rest[:i], Path: rest[i:], RawQuery: query},
	}
}

func TestRulesJudge(t *testing.T) {
	const (
		gmail = "gmail.googleapis.com/gmail/v1/users/me"
		graph = "graph.microsoft.com/v1.0"
	)
	for _, c := range []struct {
		name, rules string
		allowed     []string
		refused     []string
	}{
		{
			"methods", "GET,HEAD api.example.com/a",
			[]string{"GET api.example.com/a", "HEAD api.example.com/a", "GET api.example.com/a/", "GET api.example.com/%61"},
			[]string{"POST api.example.com/a", "OPTIONS api.example.com/a", "GET api.example.com/A", "GET api.example.com/a/b", "GET api.example.com/", "GET other.example.com/a", "GET api.example.com:8443/a"},
		},
		{
			"everything", "* *",
			[]string{"POST api.example.com/", "GET gmail.googleapis.com/x", "REPORT api.example.com/a/b"},
			[]string{"GET api.example.com/a%2fb", "GET api.example.com/a;b", "GET api.example.com/%252e", "GET api.example.com/$batch", "GET api.example.com/a%3fb", "GET api.example.com/a%e2%80%8bb", "GET api.example.com/a%20"},
		},
		{
			"a whole host", "GET api.example.com",
			[]string{"GET api.example.com/", "GET api.example.com/a/b/c"},
			[]string{"GET example.com/", "POST api.example.com/"},
		},
		{
			"nothing but the root", "GET api.example.com/",
			[]string{"GET api.example.com/"},
			[]string{"GET api.example.com/a"},
		},
		{
			"any host", "GET */v1/a",
			[]string{"GET api.example.com/v1/a", "GET people.googleapis.com/v1/a"},
			[]string{"GET api.example.com/v1/b"},
		},
		{
			"below and itself", "GET api.example.com/a/**",
			[]string{"GET api.example.com/a", "GET api.example.com/a/", "GET api.example.com/a/b", "GET api.example.com/a/b/c"},
			[]string{"GET api.example.com/ab", "GET api.example.com/"},
		},
		{
			"any depth between", "GET api.example.com/a/**/z",
			[]string{"GET api.example.com/a/z", "GET api.example.com/a/b/z", "GET api.example.com/a/z/z"},
			[]string{"GET api.example.com/a/z/b", "GET api.example.com/z"},
		},
		{
			"one segment", "GET api.example.com/a/*/z*",
			[]string{"GET api.example.com/a/b/z", "GET api.example.com/a/b/zz"},
			[]string{"GET api.example.com/a/z", "GET api.example.com/a/b/c/z", "GET api.example.com/a/b/yz"},
		},
		{
			"forbidding wins", "!POST api.example.com/a/send\n* api.example.com/a/**",
			[]string{"GET api.example.com/a/send", "POST api.example.com/a/b"},
			[]string{"POST api.example.com/a/send", "POST api.example.com/a/SEND", "POST api.example.com/a/s%65nd/", "POST api.example.com/a/%ef%bd%93end", "POST api.example.com/a/%c5%bfend"},
		},
		{
			"only forbidding", "!POST *",
			[]string{"GET api.example.com/a", "DELETE gmail.googleapis.com/x"},
			[]string{"POST api.example.com/a", "GET api.example.com/a%2fb"},
		},
		{
			"twins of Google's", "POST " + gmail + "/messages/send",
			[]string{
				"POST " + gmail + "/messages/send",
				"POST gmail.googleapis.com/upload/gmail/v1/users/me/messages/send?uploadType=multipart",
				"POST gmail.googleapis.com/resumable/upload/gmail/v1/users/me/messages/send",
				"POST www.googleapis.com/gmail/v1/users/me/messages/send",
				"POST content.googleapis.com/upload/gmail/v1/users/me/messages/send",
				"POST gmail.mtls.googleapis.com/gmail/v1/users/me/messages/send",
				"POST content-gmail.googleapis.com/gmail/v1/users/me/messages/send",
			},
			[]string{
				"POST gmail.googleapis.com/gmail/v1/users/alice@example.com/messages/send",
				"POST gmail.googleapis.com/batch/gmail/v1", "POST gmail.googleapis.com/upload/batch/gmail/v1",
				"POST gmail.googleapis.com/v1/users/me/messages/send",
			},
		},
		{
			"a rule for the front", "GET www.googleapis.com/calendar/v3/**",
			[]string{"GET www.googleapis.com/calendar/v3/users/me/calendarList", "GET calendar.googleapis.com/calendar/v3/calendars/en.usa%23holiday%40group.v.calendar.google.com/events", "GET calendar-json.googleapis.com/calendar/v3/colors"},
			[]string{"GET www.googleapis.com/drive/v3/files", "GET www.googleapis.com/calendarx/v3"},
		},
		{
			"a service's own host", "GET drive.googleapis.com",
			[]string{"GET www.googleapis.com/drive/v3/files", "GET drive.googleapis.com/drive/v3/files"},
			[]string{"GET drive.googleapis.com/gmail/v1/users/me/messages", "GET www.googleapis.com/calendar/v3/colors"},
		},
		{
			"services in a path of none's", "* www.googleapis.com",
			[]string{"GET www.googleapis.com/discovery/v1/apis"},
			[]string{"GET www.googleapis.com/v1/people/me", "GET people.googleapis.com/v1/people/me"},
		},
		{
			"custom methods", "POST people.googleapis.com/v1/people/*\nGET people.googleapis.com/v1/*:batchGet",
			[]string{"POST people.googleapis.com/v1/people/c1", "GET people.googleapis.com/v1/people:batchGet", "GET people.googleapis.com/v1/people%3AbatchGet"},
			[]string{"POST people.googleapis.com/v1/people/c1:deleteContact", "GET people.googleapis.com/v1/people:searchContacts", "POST people.googleapis.com/v1/people:createContact", "POST people.googleapis.com/v1/people/c1%3adeleteContact"},
		},
		{
			"custom methods below", "POST docs.googleapis.com/v1/documents/**",
			[]string{"POST docs.googleapis.com/v1/documents/d:batchUpdate", "POST docs.googleapis.com/v1/documents"},
			[]string{"POST docs.googleapis.com/v1/documents:create"},
		},
		{
			"ranges are no methods", "GET sheets.googleapis.com/v4/spreadsheets/*/values/*",
			[]string{"GET sheets.googleapis.com/v4/spreadsheets/s/values/Sheet1!A1:B2", "GET sheets.googleapis.com/v4/spreadsheets/s/values/A:C"},
			[]string{"GET sheets.googleapis.com/v4/spreadsheets/s/values/A1:B2:clear"},
		},
		{
			"forbidden with its custom methods", "* *\n!POST people.googleapis.com/v1/people/*\n!GET people.googleapis.com/v1/contactGroups",
			[]string{"GET people.googleapis.com/v1/people/c1", "GET people.googleapis.com/v1/contactGroups/x"},
			[]string{"POST people.googleapis.com/v1/people/c1:deleteContact", "POST people.googleapis.com/v2/people/x", "GET people.googleapis.com/v1/contactGroups:batchGet"},
		},
		{
			"forbidden for every user", "* *\n!POST " + gmail + "/messages/send",
			[]string{"GET gmail.googleapis.com/gmail/v1/users/me/messages/send", "POST " + gmail + "/messages/import"},
			[]string{"POST gmail.googleapis.com/gmail/v1/users/alice@example.com/messages/send", "POST gmail.googleapis.com/GMAIL/V1/Users/me/Messages/Send", "POST gmail.googleapis.com/gmail/v2/users/me/messages/send"},
		},
		{
			"forbidden by another name", "* *\n!* www.googleapis.com/calendar/v3/calendars/primary/acl/**",
			[]string{"GET www.googleapis.com/calendar/v3/calendars/alice@example.com/events"},
			[]string{"POST www.googleapis.com/calendar/v3/calendars/alice@example.com/acl", "GET www.googleapis.com/calendar/v3/calendars/primary/acl/x"},
		},
		{
			"URLs as IDs", "GET www.googleapis.com/webmasters/v3/sites/*/sitemaps",
			[]string{"GET searchconsole.googleapis.com/webmasters/v3/sites/https%3A%2F%2Fexample.com%2F/sitemaps", "GET www.googleapis.com/webmasters/v3/sites/sc-domain%3Aexample.com/sitemaps"},
			[]string{"GET www.googleapis.com/webmasters/v3/sites/https%3A%2F%2Fexample.com%2F%252F/sitemaps", "GET www.googleapis.com/drive/v3/files/a%2Fb"},
		},
		{
			"forms of OData's", "GET " + graph + "/users/bob/messages/*",
			[]string{
				"GET " + graph + "/users/bob/messages/AAMk=", "GET " + graph + "/USERS/Bob/messages/AAMk", "GET " + graph + "/users('bob')/messages('AAMk=')",
				"GET " + graph + "/users(id='bob')/messages/x", "GET " + graph + "/users%28%27bob%27%29/messages/x", "GET " + graph + "/users(userPrincipalName='bob')/messages/x",
			},
			[]string{
				"GET " + graph + "/me/messages/x", "GET " + graph + "/users/eve/messages/x", "GET graph.microsoft.com/beta/users/bob/messages/x",
				"GET " + graph + "/users/bob/messages/x/$value", "GET " + graph + "/users/bob/messages/$count", "GET " + graph + "/users/bob/messages",
				"GET " + graph + "/users/bob/messages/microsoft.graph.eventMessage", "GET graph.microsoft.us/v1.0/users/bob/messages/x",
				"GET " + graph + "/users(immutableId='bob')/messages/x", "GET " + graph + "/users/bob/messages(@p)", "GET " + graph + "/users('bob'')/messages/x",
			},
		},
		{
			"operations with a namespace", "POST " + graph + "/me/sendMail",
			[]string{"POST " + graph + "/me/sendMail", "POST " + graph + "/me/microsoft.graph.sendMail", "POST " + graph + "/Me/SENDMAIL()", "POST " + graph + "/users/me/sendMail"},
			[]string{"POST " + graph + "/users/alice/sendMail", "POST " + graph + "/me/microsoft.graph.user/sendMail", "POST " + graph + "/me"},
		},
		{
			"arguments of functions", "GET " + graph + "/me/drive/root/search(q='*')\nGET " + graph + "/me/messages/delta",
			[]string{"GET " + graph + "/me/drive/root/search(q='a b')", "GET " + graph + "/me/messages/delta()", "GET " + graph + "/me/messages/microsoft.graph.delta()"},
			[]string{"GET " + graph + "/me/drive/root", "GET " + graph + "/me/messages/microsoft.graph.delta"},
		},
		{
			"no user of another reading", "GET " + graph + "/users/*",
			[]string{"GET " + graph + "/users/bob", "GET " + graph + "/me"},
			[]string{"GET " + graph + "/users(otherName='bob')/messages", "GET " + graph + "/users/bob/messages", "GET " + graph + "/users/$count"},
		},
		{
			"files by path", "GET " + graph + "/me/drive/root:/reports/**:/content\nGET " + graph + "/me/drive/items/*",
			[]string{"GET " + graph + "/me/drive/root:/reports/2026/send:/content", "GET " + graph + "/me/drive/root:/Reports/a;b%23c:/content", "GET " + graph + "/me/drive/items/01ABC"},
			[]string{
				"GET " + graph + "/me/drive/root:/private/a:/content", "GET " + graph + "/me/drive/root:/reports/a", "GET " + graph + "/me/drive/items/01ABC:/a",
				"GET " + graph + "/me/drive/root:/reports%2Fa:/content", "GET " + graph + "/me/drive/root:/reports/a:b:/content", "GET " + graph + "/me/drive/root:x/content",
				"GET " + graph + "/me/messages/x:/content", "GET " + graph + "/me/drive/root:/reports/a:/b:/content",
			},
		},
		{
			"forbidden by path", "* *\n!* " + graph + "/me/drive/root:/private/**",
			[]string{"GET " + graph + "/me/drive/root:/public/private:/content"},
			[]string{"GET " + graph + "/me/drive/root:/private", "GET " + graph + "/me/drive/root:/PRIVATE/a:/content", "DELETE graph.microsoft.com/beta/users/x/drive/root:/private/a"},
		},
		{
			"forbidden for every version and user", "* *\n!POST " + graph + "/me/sendMail\n!GET " + graph + "/me/messages/*",
			[]string{"GET " + graph + "/me/messages", "POST " + graph + "/me/messages"},
			[]string{
				"POST graph.microsoft.com/beta/me/sendMail", "POST " + graph + "/users/alice/sendMail", "POST " + graph + "/users(immutableId='x')/sendMail",
				"POST " + graph + "/me/microsoft.graph.user/microsoft.graph.sendMail", "POST " + graph + "/me/graph.sendMail", "POST " + graph + "/me/sendMail/$value",
				"GET " + graph + "/me/messages/x/$value", "GET " + graph + "/me/messages/x/$ref", "POST " + graph + "/me/sendmail.", "POST " + graph + "/me/sendMail%20",
				"POST " + graph + "/myorganization/me/sendMail", "POST " + graph + "/contoso.onmicrosoft.com/me/sendMail", "POST " + graph + "/$entity?$id=x", "POST graph.microsoft.com/me/sendMail",
				"DELETE " + graph + "/groups/g/members/$ref?$id=https://graph.microsoft.com/v1.0/users/x",
			},
		},
		{
			"any resource at the top", "* *\n!POST graph.microsoft.com/v1.0/*/sendMail",
			[]string{"GET " + graph + "/me/sendMail"},
			[]string{"POST " + graph + "/me/sendMail", "POST " + graph + "/me/microsoft.graph.sendMail"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := mustParse(strings.Split(c.rules, "\n")...)
			for _, call := range c.allowed {
				if got := judged(rules, call); !got.Allowed {
					t.Errorf("%s is refused: %s%s", call, got.Missing, got.Forbids)
				}
			}
			for _, call := range c.refused {
				if got := judged(rules, call); got.Allowed || got.Reason != ReasonRule {
					t.Errorf("%s: %+v", call, got)
				}
			}
		})
	}
}

func TestRefusalNamesTheSmallestRule(t *testing.T) {
	for _, c := range []struct{ call, want string }{
		{"POST gmail.googleapis.com/upload/gmail/v1/users/me/messages/send?uploadType=media", "POST gmail.googleapis.com/gmail/v1/users/me/messages/send"},
		{"GET api.example.com/a%20b/%25x/", "GET api.example.com/a%20b/%25x"},
		{"GET api.example.com/", "GET api.example.com/"},
		{"GET graph.microsoft.com/v1.0/me/messages('AAMk')/$value", "GET graph.microsoft.com/v1.0/me/messages/AAMk/$value"},
		{"GET graph.microsoft.com/v1.0/me/drive/root:/a%23/b:/content", "GET graph.microsoft.com/v1.0/me/drive/root:/a%23/b:/content"},
		{"GET graph.microsoft.com/v1.0/me/drive/root/search(q='x')", "GET graph.microsoft.com/v1.0/me/drive/root/search/**"},
		{"GET graph.microsoft.com/v1.0/users('o''brien')", "GET graph.microsoft.com/v1.0/users/*"},
		{"GET searchconsole.googleapis.com/webmasters/v3/sites/https%3A%2F%2Fexample.com%2F", "GET searchconsole.googleapis.com/webmasters/v3/sites/https:%2F%2Fexample.com%2F"},
	} {
		got := judged(mustParse("PUT x.example/y"), c.call)
		if got.Missing != "a rule that allows "+c.want {
			t.Errorf("%s: %q, want %s", c.call, got.Missing, c.want)
		}
		if got := judged(mustParse(c.want), c.call); !got.Allowed {
			t.Errorf("%s does not allow %s: %+v", c.want, c.call, got)
		}
	}
	if got := judged(mustParse("* *", "!POST *"), "POST api.example.com/a"); got.Missing != "" || !strings.Contains(got.Problem().Message, `its rule "!POST *" forbids it`) {
		t.Errorf("%+v", got)
	}
	if got := judged(mustParse("* *"), "POST api.example.com/a%2fb"); !strings.Contains(got.Problem().Message, "encoded slash") {
		t.Errorf("%+v", got)
	}
}

func TestEnvelopeIsNotJudgedButMayBeForbidden(t *testing.T) {
	for _, c := range []struct {
		rules, path string
		envelope    bool
		want        bool
	}{
		{"GET graph.microsoft.com/v1.0/me/messages", "/v1.0/$batch", true, true},
		{"GET graph.microsoft.com/v1.0/me/messages", "/v1.0/$batch", false, false},
		{"* *", "/v1.0/$batch", false, false},
		{"!POST graph.microsoft.com/v1.0/$batch", "/v1.0/%24Batch/", true, false},
		{"!POST graph.microsoft.com/v1.0/$batch", "/beta/$batch", true, false},
		{"* *", "/v1.0/$batch;x", true, false},
	} {
		key := Key{Accounts: []string{"*"}, Rules: mustParse(c.rules)}
		got := Judge(&key, &Facts{
			Account: "alice", Needs: Proxy, Now: now, Envelope: c.envelope,
			Request: &target.Request{Method: "POST", Host: "graph.microsoft.com", Path: c.path},
		})
		if got.Allowed != c.want {
			t.Errorf("%s by %s: %+v", c.path, c.rules, got)
		}
	}
}

var fiveRules = mustParse(
	"GET,HEAD gmail.googleapis.com/gmail/v1/users/me/messages/**",
	"GET,HEAD gmail.googleapis.com/gmail/v1/users/me/labels/**",
	"POST gmail.googleapis.com/gmail/v1/users/me/drafts",
	"!POST gmail.googleapis.com/**/send",
	"!* gmail.googleapis.com/gmail/v1/users/me/settings/**",
)

func TestJudgeByRulesDoesNotAllocateForAnAllowedCall(t *testing.T) {
	key := Key{Accounts: []string{"alice"}, Rules: fiveRules}
	request := target.Request{Method: "GET", Host: "gmail.googleapis.com", Path: "/gmail/v1/users/me/messages/18c2f0a1b2c3d4e5"}
	n := testing.AllocsPerRun(100, func() {
		if !Judge(&key, &Facts{Account: "alice", Needs: Proxy, Now: now, Request: &request}).Allowed {
			t.Fatal("not allowed")
		}
	})
	if n > 0 {
		t.Errorf("Judge allocates %v times", n)
	}
}

func BenchmarkJudgeByFiveRules(b *testing.B) {
	key := Key{Accounts: []string{"alice"}, Rules: fiveRules}
	request := target.Request{Method: "GET", Host: "gmail.googleapis.com", Path: "/gmail/v1/users/me/messages/18c2f0a1b2c3d4e5"}
	b.ReportAllocs()
	for b.Loop() {
		if !Judge(&key, &Facts{Account: "alice", Needs: Proxy, Now: now, Request: &request}).Allowed {
			b.Fatal("not allowed")
		}
	}
}
