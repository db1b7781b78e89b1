package caddymodule

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// noSendRules are those of a key that reads mail and writes drafts.
var noSendRules = []string{
	"GET,HEAD gmail.googleapis.com/gmail/v1/**",
	"POST gmail.googleapis.com/gmail/v1/users/me/drafts",
	"GET,HEAD graph.microsoft.com/v1.0/**",
	"POST graph.microsoft.com/v1.0/me/messages",
	"PATCH graph.microsoft.com/v1.0/me/messages/*",
	"!POST gmail.googleapis.com/**/send",
	"!POST graph.microsoft.com/**/send",
}

// forbidSendRules allow everything but sending.
var forbidSendRules = []string{
	"!POST gmail.googleapis.com/gmail/v1/users/me/**/send",
	"!POST graph.microsoft.com/v1.0/me/sendMail",
	"!POST graph.microsoft.com/v1.0/me/**/send",
	"!POST graph.microsoft.com/v1.0/me/**/reply",
	"!POST graph.microsoft.com/v1.0/me/**/replyAll",
	"!POST graph.microsoft.com/v1.0/me/**/forward",
}

// startRuled runs a site whose APIs of Google and Microsoft are the test's own.
func startRuled(t *testing.T) *proxied {
	t.Helper()
	return startProxied(t,
		"upstream gmail.googleapis.com {{provider}}", "upstream gmail.googleapis.com {{api}}\n\t\t\tupstream people.googleapis.com {{api}}",
		"upstream www.googleapis.com {{provider}}", "upstream www.googleapis.com {{api}}",
		"upstream graph.microsoft.com {{provider}}", "upstream graph.microsoft.com {{api}}",
	)
}

func TestNoSendKeyTriesInVainThroughCaddy(t *testing.T) {
	text, err := os.ReadFile("../internal/policy/testdata/no-send.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := startRuled(t)
	for name, rules := range map[string][]string{"allowing": noSendRules, "forbidding": forbidSendRules} {
		key := s.addKey(name, map[string]any{"accounts": []string{"*"}, "allow": rules})
		tricks := 0
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) != 3 {
				continue
			}
			account := "alice"
			if strings.Contains(strings.ToLower(fields[2]), "microsoft") {
				account = "carol"
			}
			r := s.raw(fields[1]+" /proxy/"+account+"/"+fields[2]+" HTTP/1.1", "Host: "+s.addr, "Authorization: Bearer "+key, "Content-Length: 0")
			reached := s.api.take()
			if fields[0] == "+" {
				if r.status != http.StatusOK || len(reached) != 1 {
					t.Errorf("%s %s: %d %s", name, line, r.status, r.body)
				}
				continue
			}
			tricks++
			if len(reached) != 0 || r.status < 400 || r.status > 499 {
				t.Errorf("%s %s: %d %s, and %+v reached the API", name, line, r.status, r.body, reached)
			}
		}
		if tricks < 60 {
			t.Errorf("only %d tricks", tricks)
		}
	}
}

func TestMethodOfARuledCallIsTheOneThatWasJudged(t *testing.T) {
	s := startRuled(t)
	key := s.addKey("reader", map[string]any{"accounts": []string{"*"}, "allow": []string{"GET *"}})
	for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override", "X-Original-Method"} {
		r := s.raw("GET /proxy/alice/gmail.googleapis.com/gmail/v1/users/me/messages/send?$httpMethod=POST&_method=POST&a=b HTTP/1.1", "Host: "+s.addr, "Authorization: Bearer "+key, header+": POST")
		got := s.api.only(t)
		if r.status != http.StatusOK || got.Method != http.MethodGet || strings.Contains(got.Target, "ethod") || got.Header.Get(header) != "" || len(got.Header[header]) > 0 {
			t.Errorf("%s: %d, and %+v reached the API", header, r.status, got)
		}
	}
}

func TestRefusalByRulesIsInTheDialectOfTheAPI(t *testing.T) {
	s := startRuled(t)
	key := s.addKey("reader", map[string]any{"accounts": []string{"*"}, "allow": noSendRules})
	r := s.do(http.MethodPost, "/proxy/alice/www.googleapis.com/upload/gmail/v1/users/me/labels", nil, "Authorization", "Bearer "+key)
	wantProblem(t, r, problem.NotAllowed)
	if want := "a rule that allows POST www.googleapis.com/gmail/v1/users/me/labels"; !strings.Contains(string(r.body), want) || !strings.Contains(string(r.body), "PERMISSION_DENIED") {
		t.Errorf("%s does not say %s", r.body, want)
	}
	r = s.do(http.MethodPost, "/proxy/carol/v1.0/users/x/messages/y/send", nil, "Authorization", "Bearer "+key)
	wantProblem(t, r, problem.NotAllowed)
	if want := `its rule \"!POST graph.microsoft.com/**/send\" forbids it`; !strings.Contains(string(r.body), want) {
		t.Errorf("%s does not say %s", r.body, want)
	}
	wantProblem(t, s.do(http.MethodGet, "/proxy/bob/v2/x", nil, "Authorization", "Bearer "+key), problem.NotAllowed)
}

func TestPartsOfABatchAreJudgedOneByOne(t *testing.T) {
	s := startRuled(t)
	key := s.addKey("reader", map[string]any{"accounts": []string{"*"}, "allow": noSendRules})
	s.api.answering(http.StatusOK, `{"responses":[{"id":"1","status":200,"body":{}}]}`)
	envelope, err := json.Marshal(map[string]any{"requests": []graphPart{
		{ID: "1", Method: "GET", URL: "/me/messages"},
		{ID: "2", Method: "POST", URL: "/me/sendMail"},
		{ID: "3", Method: "POST", URL: "/users('carol@example.com')/microsoft.graph.sendMail"},
		{ID: "4", Method: "POST", URL: "/ME/Messages/AAMk=/s%65nd"},
		{ID: "5", Method: "POST", URL: "/me/messages", DependsOn: []string{"2"}},
		{ID: "6", Method: "POST", URL: "/me/messages/AAMk=%2Fsend"},
		{ID: "7", Method: "DELETE", URL: "/me/messages/AAMk="},
		{ID: "8", Method: "POST", URL: s.url + "/proxy/carol/graph.microsoft.com/v1.0/me/messages/AAMk=/send"},
		{ID: "9", Method: "POST", URL: "/$batch"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := s.do(http.MethodPost, "/proxy/carol/v1.0/$batch", strings.NewReader(string(envelope)), "Authorization", "Bearer "+key, "Content-Type", "application/json")
	got := s.api.only(t)
	var sent struct{ Requests []graphPart }
	if err := json.Unmarshal([]byte(got.Body), &sent); err != nil || len(sent.Requests) != 1 || sent.Requests[0].ID != "1" {
		t.Fatalf("sent %s, %v", got.Body, err)
	}
	var answer struct{ Responses []graphPart }
	if err := json.Unmarshal(r.body, &answer); err != nil || len(answer.Responses) != 9 {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	for _, p := range answer.Responses {
		want := http.StatusForbidden
		switch p.ID {
		case "1":
			want = http.StatusOK
		case "5":
			want = http.StatusFailedDependency
		case "9":
			want = http.StatusBadRequest
		}
		if p.Status != want {
			t.Errorf("part %s was answered %d %s, want %d", p.ID, p.Status, p.Body, want)
		}
	}

	body := strings.Join([]string{
		"--x", "Content-Type: application/http", "Content-ID: <a>", "", "POST /gmail/v1/users/me/messages/send", "", "{}",
		"--x", "Content-Type: application/http", "Content-ID: <b>", "", "POST /upload/gmail/v1/users/me/drafts/send", "", "{}",
		"--x", "Content-Type: application/http", "Content-ID: <c>", "", "GET /gmail/v1/users/me/messages/send", "X-HTTP-Method-Override: POST", "", "",
		"--x--", "",
	}, "\r\n")
	s.api.handle(nil)
	r = s.do(http.MethodPost, "/proxy/alice/www.googleapis.com/batch/gmail/v1", strings.NewReader(body), "Authorization", "Bearer "+key, "Content-Type", "multipart/mixed; boundary=x")
	got = s.api.only(t)
	if strings.Contains(got.Body, "POST") || !strings.Contains(got.Body, "GET /gmail/v1/users/me/messages/send HTTP/1.1") {
		t.Errorf("sent %s, answered %d", got.Body, r.status)
	}

	unbatched := s.addKey("unbatched", map[string]any{"accounts": []string{"*"}, "allow": []string{"* *", "!POST graph.microsoft.com/v1.0/$batch"}})
	r = s.do(http.MethodPost, "/proxy/carol/beta/$batch", strings.NewReader(string(envelope)), "Authorization", "Bearer "+unbatched, "Content-Type", "application/json")
	wantProblem(t, r, problem.NotAllowed)
	if reached := s.api.take(); len(reached) != 0 {
		t.Errorf("%+v reached the API", reached)
	}
}

func TestRulesAreDeclaredAndShown(t *testing.T) {
	p := startProvider(t)
	declaredKey := "declared-key-of-the-test"
	s := start(t, withKeys(standardCaddyfile(p), declared("ci", declaredKey, "\t\t\taccount alice\n\t\t\tallow \"HEAD,GET Gmail.googleapis.com/gmail/v1/**\" \"!POST gmail.googleapis.com/**/send\"\n")))
	s.addKey("agent", map[string]any{"accounts": []string{"alice"}, "allow": []string{"GET */a"}})
	for name, want := range map[string]struct{ allow, may []string }{
		"ci": {
			[]string{"GET,HEAD gmail.googleapis.com/gmail/v1/**", "!POST gmail.googleapis.com/**/send"},
			[]string{"may GET and HEAD everything below gmail.googleapis.com/gmail/v1", "may not POST anything that matches gmail.googleapis.com/**/send"},
		},
		"agent": {[]string{"GET */a"}, []string{"may GET any host/a"}},
	} {
		shown := s.admin(http.MethodGet, "/v1/token/"+name, nil)
		for member, want := range map[string][]string{"allow": want.allow, "may": want.may} {
			got, _ := shown[member].([]any)
			if len(got) != len(want) {
				t.Errorf("%s: %s is %v", name, member, shown[member])
				continue
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("%s: %s is %v, want %q", name, member, got, want)
				}
			}
		}
	}
	for body, want := range map[string]string{
		`GET`:                     "not a rule",
		`GET https://x.example/a`: "leave out https://",
	} {
		r := s.adminReply(http.MethodPost, "/v1/token", map[string]any{"name": "wrong", "accounts": []string{"alice"}, "allow": []string{body}})
		if r.status != http.StatusBadRequest || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	r := s.adminReply(http.MethodPost, "/v1/token", map[string]any{"name": "wrong", "accounts": []string{"alice"}, "token": true, "allow": []string{"GET *"}})
	if r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "whole scope") {
		t.Errorf("token beside rules: %d %s", r.status, r.body)
	}
}

func TestRulesOutliveARestart(t *testing.T) {
	s := startRuled(t)
	key := s.addKey("reader", map[string]any{"accounts": []string{"*"}, "allow": []string{"GET gmail.googleapis.com/a/**"}})
	s.stop()
	s.load(s.caddyfile)
	if r := s.get("/proxy/alice/gmail.googleapis.com/a/b", key); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	wantProblem(t, s.get("/proxy/alice/gmail.googleapis.com/b", key), problem.NotAllowed)
}

func TestURLsThatARuledCallWasGivenLeadOn(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	key := s.addKey("files", map[string]any{"accounts": []string{"*"}, "allow": []string{"GET graph.microsoft.com/v1.0/me/drive/root:/reports/**:/content"}})
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		s.api.record(r)
		if r.Host == "graph.microsoft.com" {
			w.Header().Set("Location", "https://contoso.sharepoint.com/dl?tempauth=x")
			w.WriteHeader(http.StatusFound)
		}
	})
	wantProblem(t, s.get("/proxy/carol/v1.0/me/drive/root:/private/a:/content", key), problem.NotAllowed)
	r := s.get("/proxy/carol/v1.0/me/drive/root:/reports/a:/content", key)
	link := s.local(r.header.Get("Location"))
	if r.status != http.StatusFound || !strings.HasPrefix(link, "/proxy/.bellhop/h/") {
		t.Fatalf("%d %v", r.status, r.header)
	}
	if r := s.do(http.MethodGet, link, nil); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	if reached := s.api.take(); len(reached) != 2 || reached[1].Host != "contoso.sharepoint.com" {
		t.Errorf("%+v reached the API", reached)
	}
}
