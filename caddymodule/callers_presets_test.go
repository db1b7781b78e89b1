package caddymodule

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// withPresets makes a key for all accounts that has nothing but presets.
func (s *proxied) withPresets(presets ...string) string {
	s.t.Helper()
	return s.addKey("presets", map[string]any{"accounts": []string{"*"}, "presets": presets})
}

func TestKeyWithPresetsThatDoNotSendTriesInVain(t *testing.T) {
	text, err := os.ReadFile("../internal/policy/testdata/no-send.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := startRuled(t)
	key := s.withPresets("gmail-draft-only", "graph-mail-no-send")
	tricks := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "-" {
			continue
		}
		tricks++
		account := "alice"
		if strings.Contains(strings.ToLower(fields[2]), "microsoft") {
			account = "carol"
		}
		r := s.raw(fields[1]+" /proxy/"+account+"/"+fields[2]+" HTTP/1.1", "Host: "+s.addr, "Authorization: Bearer "+key, "Content-Length: 0")
		if reached := s.api.take(); len(reached) != 0 || r.status < 400 || r.status > 499 {
			t.Errorf("%s: %d %s, and %+v reached the API", line, r.status, r.body, reached)
		}
	}
	if tricks < 60 {
		t.Errorf("only %d tricks", tricks)
	}
}

func TestPresetsThroughCaddy(t *testing.T) {
	s := startRuled(t)
	key := s.withPresets("gmail-draft-only", "drive-readonly", "calendar-readonly", "graph-mail-readonly")
	for call, want := range map[string]bool{
		"GET /proxy/alice/gmail/v1/users/me/messages?q=x":                                                  true,
		"HEAD /proxy/alice/gmail/v1/users/me/messages/18c2f0a1":                                            true,
		"POST /proxy/alice/gmail/v1/users/me/drafts":                                                       true,
		"POST /proxy/alice/gmail.googleapis.com/upload/gmail/v1/users/me/drafts?uploadType=multipart":      true,
		"PUT /proxy/alice/www.googleapis.com/upload/gmail/v1/users/me/drafts/r-1?uploadType=media":         true,
		"DELETE /proxy/alice/www.googleapis.com/gmail/v1/users/alice%40example.com/drafts/r-1":             true,
		"GET /proxy/alice/www.googleapis.com/download/drive/v3/files/x?alt=media":                          true,
		"POST /proxy/alice/www.googleapis.com/calendar/v3/freeBusy":                                        true,
		"GET /proxy/carol/v1.0/me/messages":                                                                true,
		"GET /proxy/carol/beta/users('carol@example.com')/messages":                                        true,
		"POST /proxy/alice/gmail.googleapis.com/upload/gmail/v1/users/me/drafts/send?uploadType=multipart": false,
		"POST /proxy/alice/www.googleapis.com/upload/gmail/v1/users/me/messages/send":                      false,
		"POST /proxy/alice/gmail/v1/users/me/messages/18c2f0a1/modify":                                     false,
		"PUT /proxy/alice/gmail/v1/users/me/settings/autoForwarding":                                       false,
		"GET /proxy/alice/www.googleapis.com/drive/v3/files/generateCseToken":                              false,
		"POST /proxy/alice/www.googleapis.com/upload/drive/v3/files?uploadType=multipart":                  false,
		"POST /proxy/alice/www.googleapis.com/calendar/v3/calendars/primary/events/watch":                  false,
		"GET /proxy/alice/people.googleapis.com/v1/people/me?personFields=names":                           false,
		"POST /proxy/carol/v1.0/me/sendMail":                                                               false,
		"GET /proxy/carol/v1.0/me/drive":                                                                   false,
		"GET /proxy/bob/v2/x":                                                                              false,
	} {
		method, path, _ := strings.Cut(call, " ")
		body := ""
		if method == http.MethodPost || method == http.MethodPut {
			body = `{"message":{"raw":"eA"}}`
		}
		r := s.do(method, path, strings.NewReader(body), "Authorization", "Bearer "+key, "Content-Type", "application/json")
		reached := s.api.take()
		switch {
		case want && (r.status != http.StatusOK || len(reached) != 1 || reached[0].Body != body):
			t.Errorf("%s: %d %s, and %+v reached the API", call, r.status, r.body, reached)
		case !want && len(reached) != 0:
			t.Errorf("%s: %+v reached the API", call, reached)
		case !want:
			wantProblem(t, r, problem.NotAllowed)
		}
	}
	r := s.do(http.MethodPost, "/proxy/alice/gmail/v1/users/me/messages/send", nil, "Authorization", "Bearer "+key)
	if want := "does not: it sends mail"; strings.Contains(string(r.body), want) || !strings.Contains(string(r.body), "do not: it sends mail") || !strings.Contains(string(r.body), "PERMISSION_DENIED") {
		t.Errorf("%s", r.body)
	}
}

// labelled are bodies of calls that change labels, and whether a key may send
// them that must not delete mail.
var labelled = []struct {
	name, body string
	want       bool
	header     []string
	query      string
}{
	{"archiving", `{"removeLabelIds":["INBOX","UNREAD"]}`, true, nil, "?alt=json&prettyPrint=false"},
	{"a label", "\n{ \"addLabelIds\" : [ \"Label_12\", \"STARRED\" ] ,\t\"removeLabelIds\":[] }\r\n", true, []string{"Content-Type", "application/json; charset=UTF-8"}, ""},
	{"out of the trash", `{"removeLabelIds":["TRASH","SPAM"],"ids":["a","b"]}`, true, nil, ""},
	{"an escape", `{"addLabelIds":["\u0053TARRED"]}`, true, nil, ""},
	{"nothing", `{}`, true, nil, ""},
	{"the trash", `{"addLabelIds":["TRASH"]}`, false, nil, ""},
	{"spam", `{"ids":["a"],"addLabelIds":["STARRED","SPAM"]}`, false, nil, ""},
	{"an escaped label", `{"addLabelIds":["\u0054RASH"]}`, false, nil, ""},
	{"another case", `{"addLabelIds":["Trash"]}`, false, nil, ""},
	{"white space", `{"addLabelIds":["TRASH "]}`, false, nil, ""},
	{"a name of Gmail's own", `{"addLabelIds":["^k"]}`, false, nil, ""},
	{"an escaped member", `{"addLabelId\u0073":["TRASH"]}`, false, nil, ""},
	{"a member of another case", `{"AddLabelIds":["TRASH"]}`, false, nil, ""},
	{"the member's other name", `{"add_label_ids":["TRASH"]}`, false, nil, ""},
	{"a member twice", `{"addLabelIds":["TRASH"],"addLabelIds":[]}`, false, nil, ""},
	{"one that is not known", `{"addLabelIds":[],"classificationLabels":[]}`, false, nil, ""},
	{"a string for a list", `{"addLabelIds":"TRASH"}`, false, nil, ""},
	{"a list in a list", `{"addLabelIds":[["TRASH"]]}`, false, nil, ""},
	{"null", `{"addLabelIds":null}`, false, nil, ""},
	{"a number", `{"ids":[1]}`, false, nil, ""},
	{"no object", `[{"addLabelIds":["TRASH"]}]`, false, nil, ""},
	{"two objects", `{}{"addLabelIds":["TRASH"]}`, false, nil, ""},
	{"no JSON", `{'addLabelIds':['TRASH']}`, false, nil, ""},
	{"a comment", `{/**/}`, false, nil, ""},
	{"a byte order mark", "\ufeff{}", false, nil, ""},
	{"no UTF-8", "{\"addLabelIds\":[\"\xc0\xd4RASH\"]}", false, nil, ""},
	{"no body", ``, false, nil, ""},
	{"a form", `addLabelIds=TRASH`, false, []string{"Content-Type", "application/x-www-form-urlencoded"}, ""},
	{"two types", `{}`, false, []string{"Content-Type", "application/json", "Content-Type", "text/plain"}, ""},
	{"no type", `{}`, false, []string{"Content-Type", ""}, ""},
	{"another JSON", `{}`, false, []string{"Content-Type", "application/json+protobuf"}, ""},
	{"another charset", `{}`, false, []string{"Content-Type", "application/json; charset=utf-7"}, ""},
	{"a coding", `{}`, false, []string{"Content-Encoding", "gzip"}, ""},
	{"in the query", `{}`, false, nil, "?addLabelIds=TRASH"},
	{"a body in the query", `{}`, false, nil, "?$req=%7B%7D"},
	{"in a query that is malformed", `{}`, false, nil, "?a=%zz"},
	{"too long", `{"ids":["` + strings.Repeat("a", policy.GmailLabels.Limit()) + `"]}`, false, nil, ""},
}

func TestBodiesThatAPresetLooksAt(t *testing.T) {
	s := startRuled(t)
	key := s.withPresets("gmail-no-delete")
	const path = "/proxy/alice/gmail/v1/users/me/messages/batchModify"
	for _, c := range labelled {
		t.Run(c.name, func(t *testing.T) {
			header := append([]string{"Authorization", "Bearer " + key}, c.header...)
			if !slices.Contains(header, "Content-Type") {
				header = append(header, "Content-Type", "application/json")
			}
			// A reader of which no length is known is sent in chunks.
			for name, body := range map[string]io.Reader{"whole": strings.NewReader(c.body), "chunked": io.MultiReader(strings.NewReader(c.body))} {
				r := s.do(http.MethodPost, path+c.query, body, header...)
				reached := s.api.take()
				switch {
				case c.want && (r.status != http.StatusOK || len(reached) != 1 || reached[0].Body != c.body || reached[0].Length != int64(len(c.body))):
					t.Errorf("%s: %d %s, and %+v reached the API", name, r.status, r.body, reached)
				case !c.want && (len(reached) != 0 || r.status < 400):
					t.Errorf("%s: %d, and %+v reached the API", name, r.status, reached)
				case !c.want && r.status == http.StatusForbidden && !strings.Contains(string(r.body), "does not allow this call with this body, by which its preset judges it: "):
					t.Errorf("%s: %s", name, r.body)
				}
			}
		})
	}
	for _, path := range []string{"messages/18c2/modify", "threads/18c2/modify"} {
		for body, want := range map[string]int{`{"addLabelIds":["STARRED"]}`: http.StatusOK, `{"addLabelIds":["TRASH"]}`: http.StatusForbidden} {
			r := s.do(http.MethodPost, "/proxy/alice/gmail/v1/users/me/"+path, strings.NewReader(body), "Authorization", "Bearer "+key, "Content-Type", "application/json")
			if reached := s.api.take(); r.status != want || len(reached) != map[int]int{http.StatusOK: 1}[want] {
				t.Errorf("%s with %s: %d %s", path, body, r.status, r.body)
			}
		}
	}
	r := s.do(http.MethodPost, "/proxy/alice/gmail.googleapis.com/upload/gmail/v1/users/me/messages/batchModify", strings.NewReader(`{}`), "Authorization", "Bearer "+key, "Content-Type", "application/json")
	wantProblem(t, r, problem.NotAllowed)
	// What the preset allows without a look is not read.
	r = s.do(http.MethodPost, "/proxy/alice/gmail/v1/users/me/messages/send", strings.NewReader(strings.Repeat("x", 2*policy.GmailLabels.Limit())), "Authorization", "Bearer "+key, "Content-Type", "message/rfc822")
	if got := s.api.only(t); r.status != http.StatusOK || len(got.Body) != 2*policy.GmailLabels.Limit() {
		t.Errorf("%d %s", r.status, r.body)
	}
	beside := s.addKey("beside", map[string]any{"accounts": []string{"*"}, "presets": []string{"gmail-no-delete"}, "allow": []string{"POST gmail.googleapis.com/gmail/v1/users/me/threads/*/modify"}})
	r = s.do(http.MethodPost, "/proxy/alice/gmail/v1/users/me/threads/18c2/modify", strings.NewReader(`{"addLabelIds":["TRASH"]}`), "Authorization", "Bearer "+beside, "Content-Type", "application/json")
	if got := s.api.only(t); r.status != http.StatusOK || !strings.Contains(got.Body, "TRASH") {
		t.Errorf("what a rule allows: %d %s", r.status, r.body)
	}
}

func TestPresetsJudgeThePartsOfABatch(t *testing.T) {
	s := startRuled(t)
	key := s.withPresets("gmail-no-delete")
	var b strings.Builder
	part := func(line string, header ...string) {
		b.WriteString("--x\r\nContent-Type: application/http\r\n\r\n" + line + "\r\n")
		body := ""
		if len(header) > 0 {
			body, header = header[len(header)-1], header[:len(header)-1]
		}
		for _, field := range header {
			b.WriteString(field + "\r\n")
		}
		b.WriteString("\r\n" + body + "\r\n")
	}
	const asJSON = "Content-Type: application/json"
	part("POST /gmail/v1/users/me/messages/1/modify", asJSON, `{"addLabelIds":["STARRED"]}`)
	part("POST /gmail/v1/users/me/messages/2/modify", asJSON, `{"addLabelIds":["TRASH"]}`)
	part("POST /gmail/v1/users/me/messages/3/modify", asJSON, `{"addLabelIds":["\u0054RASH"]}`)
	part("POST /gmail/v1/users/me/messages/4/modify", `{"addLabelIds":["STARRED"]}`)
	part("POST /gmail/v1/users/me/messages/5/modify?addLabelIds=TRASH", asJSON, `{}`)
	part("POST /gmail/v1/users/me/messages/6/trash", asJSON, `{}`)
	part("DELETE /gmail/v1/users/me/messages/7")
	part("GET /gmail/v1/users/me/messages/8")
	part("POST /upload/gmail/v1/users/me/messages/9/modify", asJSON, `{}`)
	b.WriteString("--x--\r\n")
	r := s.do(http.MethodPost, "/proxy/alice/www.googleapis.com/batch/gmail/v1", strings.NewReader(b.String()), "Authorization", "Bearer "+key, "Content-Type", "multipart/mixed; boundary=x")
	got := s.api.only(t)
	for _, id := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		if sent, want := strings.Contains(got.Body, "/messages/"+id), id == "1" || id == "8"; sent != want {
			t.Errorf("part %s was sent: %t, answered %d", id, sent, r.status)
		}
	}
	// The batch's own query is the parts' too.
	r = s.do(http.MethodPost, "/proxy/alice/www.googleapis.com/batch/gmail/v1?addLabelIds=TRASH",
		strings.NewReader("--x\r\nContent-Type: application/http\r\n\r\nPOST /gmail/v1/users/me/messages/1/modify\r\n"+asJSON+"\r\n\r\n{}\r\n--x--\r\n"),
		"Authorization", "Bearer "+key, "Content-Type", "multipart/mixed; boundary=x")
	if reached := s.api.take(); len(reached) != 0 || !strings.Contains(string(r.body), "addLabelIds") {
		t.Errorf("%d %s, and %+v reached the API", r.status, r.body, reached)
	}
}

func TestKeyWithAPresetReadsTheDescriptionOfItsAPI(t *testing.T) {
	s := startRuled(t)
	key := s.withPresets("gmail-readonly")
	for path, want := range map[string]bool{
		"/proxy/alice/gmail.googleapis.com/$discovery/rest?version=v1":    true,
		"/proxy/alice/gmail.googleapis.com/%24discovery/rest?version=v1":  true,
		"/proxy/alice/www.googleapis.com/discovery/v1/apis/gmail/v1/rest": true,
		"/proxy/alice/www.googleapis.com/discovery/v1/apis/drive/v3/rest": false,
		"/proxy/alice/www.googleapis.com/discovery/v1/apis":               false,
		"/proxy/alice/people.googleapis.com/$discovery/rest?version=v1":   false,
	} {
		r := s.get(path, key)
		reached := s.api.take()
		if want && (r.status != http.StatusOK || len(reached) != 1 || reached[0].Header.Get("Authorization") != "") {
			t.Errorf("%s: %d %s, and %+v reached the API", path, r.status, r.body, reached)
		}
		if !want {
			wantProblem(t, r, problem.NotAllowed)
		}
	}
}

func TestPresetsAreDeclaredShownAndTold(t *testing.T) {
	sentence := map[string]string{}
	for _, p := range policy.Presets() {
		sentence[p.Name] = p.Sentence
	}
	p := startProvider(t)
	plain, _ := policy.NewKey()
	declaredKey := plain.Reveal()
	s := &proxied{bellhop: start(t, withKeys(standardCaddyfile(p), declared("ci", declaredKey, "\t\t\taccount alice\n\t\t\tpreset calendar-readonly gmail-readonly\n\t\t\tallow \"!GET *\"\n")))}
	c := s.commands()
	added := strings.TrimSpace(c.must("key", "add", "agent", "--account", "alice", "--preset", "gmail-draft-only", "--preset", "drive-readonly", "--admin"))
	for name, want := range map[string]struct {
		key          string
		presets, may []string
	}{
		"ci":    {declaredKey, []string{"calendar-readonly", "gmail-readonly"}, []string{sentence["gmail-readonly"], sentence["calendar-readonly"], "may not GET anything"}},
		"agent": {added, []string{"gmail-draft-only", "drive-readonly"}, []string{sentence["gmail-draft-only"], sentence["drive-readonly"]}},
	} {
		var shown shownKey
		if err := json.Unmarshal([]byte(c.must("key", "show", name)), &shown); err != nil || !slices.Equal(shown.Presets, want.presets) {
			t.Errorf("%s: %+v, %v", name, shown, err)
		}
		told := s.whoAmI(want.key)
		if !slices.Equal(shown.May, told.May) {
			t.Errorf("%s is told %q, and shown as %q", name, told.May, shown.May)
		}
		if !slices.Equal(told.May[:min(len(want.may), len(told.May))], want.may) || slices.ContainsFunc(told.May, func(may string) bool { return strings.Contains(may, "every") }) {
			t.Errorf("%s is told %q, want %q", name, told.May, want.may)
		}
		refusedWith(t, s.get(tokenURL("alice"), want.key), http.StatusForbidden, "NotAllowed")
	}
	list := s.admin(http.MethodGet, "/v1/tokens", nil)
	if text, err := json.Marshal(list); err != nil || !strings.Contains(string(text), `"presets":["gmail-draft-only","drive-readonly"]`) {
		t.Errorf("%s, %v", text, err)
	}
	if text := c.must("key", "list"); !strings.Contains(text, "proxy,admin,gmail-draft-only,drive-readonly") {
		t.Errorf("%s", text)
	}
	r := s.adminReply(http.MethodPost, "/v1/token", map[string]any{"name": "wrong", "accounts": []string{"alice"}, "presets": []string{"gmail-readonly", "gmail"}})
	if r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "graph-mail-no-send") {
		t.Errorf("%d %s", r.status, r.body)
	}
	r = s.adminReply(http.MethodPost, "/v1/token", map[string]any{"name": "wrong", "accounts": []string{"alice"}, "token": true, "presets": []string{"gmail-readonly"}})
	if r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "whole scope") {
		t.Errorf("token beside presets: %d %s", r.status, r.body)
	}
	// What is printed for a Caddyfile is read from one.
	_, block, _ := strings.Cut(c.must("key", "new", "new", "--account", "alice", "--preset", "gmail-readonly", "--preset", "drive-readonly"), "\n\n")
	if _, err := adapted("{\n\tbellhop {\n" + block + "\t}\n}\n"); err != nil || strings.Count(block, "\tpreset ") != 2 {
		t.Errorf("%s: %v", block, err)
	}
}

func TestPresetsOutliveARestart(t *testing.T) {
	s := startRuled(t)
	key := s.withPresets("gmail-readonly")
	s.stop()
	s.load(s.caddyfile)
	if r := s.get("/proxy/alice/gmail/v1/users/me/messages", key); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	wantProblem(t, s.do(http.MethodPost, "/proxy/alice/gmail/v1/users/me/messages/send", nil, "Authorization", "Bearer "+key), problem.NotAllowed)
}
