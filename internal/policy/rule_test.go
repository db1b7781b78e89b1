package policy

import (
	"encoding/json"
	"strings"
	"testing"
)

// mustParse reads rules that are right.
func mustParse(written ...string) []Rule {
	rules, err := ParseRules(written)
	if err != nil {
		panic(err)
	}
	return rules
}

func TestParseRule(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"* *", "* *"},
		{"!* *", "!* *"},
		{"GET *", "GET *"},
		{"HEAD,GET gmail.googleapis.com/gmail/v1/**", "GET,HEAD gmail.googleapis.com/gmail/v1/**"},
		{"GET,GET Gmail.GoogleAPIs.com:443", "GET gmail.googleapis.com"},
		{"GET api.example.com./a", "GET api.example.com/a"},
		{"REPORT apidata.googleusercontent.com/caldav/**", "REPORT apidata.googleusercontent.com/caldav/**"},
		{"GET */v1/**", "GET */v1/**"},
		{"GET api:443/a", "GET api:443/a"},
		{"GET localhost:8080/a", "GET localhost:8080/a"},
		{"GET people.googleapis.com/v1/people:batchGet", "GET people.googleapis.com/v1/people:batchGet"},
		{"GET searchconsole.googleapis.com/webmasters/v3/sites/https%3A%2F%2Fexample.com%2F/sitemaps", "GET searchconsole.googleapis.com/webmasters/v3/sites/https%3A%2F%2Fexample.com%2F/sitemaps"},
		{"PUT graph.microsoft.com/v1.0/me/drive/root:/reports/**:/content", "PUT graph.microsoft.com/v1.0/me/drive/root:/reports/**:/content"},
		{"POST graph.microsoft.com/*/me/sendMail", "POST graph.microsoft.com/*/me/sendMail"},
		{"GET outlook.office.com/api/v2.0/me/messages", "GET outlook.office.com/api/v2.0/me/messages"},
		{"GET api.example.com/é%20b/", "GET api.example.com/é%20b/"},
	} {
		got, err := ParseRule(c.in)
		if err != nil || got.String() != c.want {
			t.Errorf("ParseRule(%q) = %q, %v", c.in, got, err)
			continue
		}
		if again, err := ParseRule(got.String()); err != nil || !again.Equal(got) {
			t.Errorf("%q is read again as %q, %v", got, again, err)
		}
	}
}

func TestParseRuleNamesTheMistakeAndTheFix(t *testing.T) {
	for _, c := range []struct{ in, mistake, fix string }{
		{"", "not a rule", "GET,HEAD gmail"},
		{"GET", "not a rule", "one space"},
		{"GET ", "not a rule", "one space"},
		{" *", "not a rule", "methods"},
		{"! GET *", "not a rule", "methods"},
		{"GET  *", "not a rule", "one space"},
		{"GET api.example.com /a", "not a rule", "one space"},
		{"GET api.example.com/a\n", "not a rule", "one space"},
		{"get *", "capitals", "GET"},
		{"GET,post *", "capitals", "GET,POST"},
		{"GET, *", "not a list of methods", "commas"},
		{"TRACE *", "not a list of methods", "PATCH"},
		{"GET,* *", "not a list of methods", "write *"},
		{"GET https://api.example.com/a", "scheme", "leave out"},
		{"GET /a", "no host", "write *"},
		{"GET *.googleapis.com/a", "part of a host", "full name"},
		{"GET exa*mple.com", "part of a host", "full name"},
		{"GET me@api.example.com/a", "not a host", "full name"},
		{"GET example/a", "not a host", "full name"},
		{"GET api.example.com/a?b=c", "query", "leave out"},
		{"GET api.example.com/a#b", "#", "%23"},
		{"GET api.example.com/users/{id}", "braces", "write *"},
		{"GET api.example.com/a%2ab", "encoded star", "write *"},
		{"GET api.example.com//a", "empty segment", "single /"},
		{"GET api.example.com/a**", "no segment", "segment of its own"},
		{"GET api.example.com/***", "no segment", "segment of its own"},
		{"GET api.example.com/a%2fb", "encoded slash", ""},
		{"GET api.example.com/a%5cb", "backslash", ""},
		{`GET api.example.com/a\b`, "backslash", ""},
		{"GET api.example.com/a%252f", "twice", ""},
		{"GET api.example.com/a/../b", "dot segment", ""},
		{"GET api.example.com/%2e%2e/b", "dot segment", ""},
		{"GET api.example.com/a;b", "a semicolon", ""},
		{"GET api.example.com/a%zz", "malformed escape", ""},
		{"GET api.example.com/a%00", "invisible", ""},
		{"GET graph.microsoft.com/me/messages", "/v1.0 or /beta", "/v1.0/me/messages"},
		{"GET graph.microsoft.com/v1.0/myorganization/users", "/v1.0 or /beta", ""},
		{"GET graph.microsoft.com/v1.0/me/messages:/a", "colon", ""},
		{"GET graph.microsoft.com/v1.0/users('a", "parentheses", ""},
		{"GET www.googleapis.com/v1/people", "names no service", ""},
		{"GET api.example.com/" + strings.Repeat("a/", 61), "more than 60", "write **"},
		{"GET api.example.com/" + strings.Repeat("a", 2048), "longer than 2048", "several"},
	} {
		_, err := ParseRule(c.in)
		if err == nil || !strings.Contains(err.Error(), c.mistake) || !strings.Contains(err.Error(), c.fix) {
			t.Errorf("ParseRule(%q) says %v, not %q and %q", c.in, err, c.mistake, c.fix)
		}
	}
}

func TestRuleIsASentence(t *testing.T) {
	for rule, want := range map[string]string{
		"* *":                        "may call everything",
		"!* *":                       "may not call anything",
		"GET */**":                   "may GET everything",
		"GET,HEAD,POST *":            "may GET, HEAD and POST everything",
		"!DELETE api.example.com":    "may not DELETE anything at api.example.com",
		"GET api.example.com/**":     "may GET everything at api.example.com",
		"GET api.example.com/":       "may GET api.example.com/",
		"GET api.example.com/a/b/":   "may GET api.example.com/a/b",
		"GET */a":                    "may GET any host/a",
		"GET api.example.com/a/*/b":  "may GET everything that matches api.example.com/a/*/b",
		"!POST api.example.com/**/b": "may not POST anything that matches api.example.com/**/b",
		"GET,HEAD gmail.googleapis.com/gmail/v1/users/me/messages/**": "may GET and HEAD everything below gmail.googleapis.com/gmail/v1/users/me/messages",
	} {
		if got := mustParse(rule)[0].Sentence(); got != want {
			t.Errorf("%s: %q, want %q", rule, got, want)
		}
	}
}

func TestRuleSurvivesJSON(t *testing.T) {
	want := mustParse("GET,HEAD gmail.googleapis.com/gmail/**", "!POST *")
	data, err := json.Marshal(want)
	if err != nil || string(data) != `["GET,HEAD gmail.googleapis.com/gmail/**","!POST *"]` {
		t.Fatalf("%s, %v", data, err)
	}
	var got []Rule
	if err := json.Unmarshal(data, &got); err != nil || len(got) != 2 || !got[0].Equal(want[0]) || !got[1].Denies() {
		t.Errorf("%v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`["GET"]`), &got); err == nil {
		t.Error("a key with a rule that cannot be read is read")
	}
}
