package policy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/operation"
	"github.com/bellhop-proxy/bellhop/internal/published"
)

// judgedByPreset judges "METHOD host/path[?query]" by presets alone.
func judgedByPreset(call string, names ...string) Decision {
	return judgedByKey(&Key{Accounts: []string{"*"}, Presets: names}, call)
}

// sample puts an ID into each parameter of a template.
func sample(template string) string {
	var b strings.Builder
	for n := 0; ; n++ {
		literal, rest, more := strings.Cut(template, "{")
		b.WriteString(literal)
		if !more {
			return b.String()
		}
		b.WriteString("18c2f0a1b2c3d4e5"[:8+n%8])
		_, template, _ = strings.Cut(rest, "}")
	}
}

// googleMethods are the published methods of an API, by the ID.
func googleMethods(t *testing.T, api string) map[string]published.Method {
	t.Helper()
	methods := map[string]published.Method{}
	for _, m := range published.Google() {
		if m.API == api {
			methods[m.ID] = m
		}
	}
	if len(methods) < 30 {
		t.Fatalf("%s has %d methods", api, len(methods))
	}
	return methods
}

// callsOf are all the ways to call a published method of Google's.
func callsOf(m *published.Method) []string {
	var calls []string
	for _, path := range append([]string{m.Path}, m.Uploads...) {
		path = sample(path)
		calls = append(calls, m.Verb+" "+m.Host+path, m.Verb+" www.googleapis.com"+path, m.Verb+" content.googleapis.com"+path+"/")
		if m.Verb == "GET" {
			calls = append(calls, "HEAD "+m.Host+path)
		}
	}
	return calls
}

// draftMethods are what a key may do that writes drafts, besides reading.
var draftMethods = []string{"gmail.users.drafts.create", "gmail.users.drafts.update", "gmail.users.drafts.delete"}

// keepingMethods are what a key may do that must not delete, besides reading.
var keepingMethods = []string{
	"gmail.users.drafts.create", "gmail.users.drafts.send", "gmail.users.drafts.update",
	"gmail.users.labels.create", "gmail.users.labels.patch", "gmail.users.labels.update",
	"gmail.users.messages.batchModify", "gmail.users.messages.modify", "gmail.users.threads.modify",
	"gmail.users.messages.import", "gmail.users.messages.insert", "gmail.users.messages.send",
	"gmail.users.messages.untrash", "gmail.users.threads.untrash",
	"gmail.users.settings.updateLanguage", "gmail.users.settings.updateVacation",
	"gmail.users.stop", "gmail.users.watch",
}

// TestPresetsOfGoogleAllowWhatTheyShould compares each preset with what is
// published, and not with the tables: every GET, but for exceptions that are
// named here, and what else is named here.
func TestPresetsOfGoogleAllowWhatTheyShould(t *testing.T) {
	for _, c := range []struct {
		preset, api string
		// besides are no GET and allowed; except are GET and refused.
		besides, except []string
	}{
		{"gmail-readonly", "gmail/v1", nil, nil},
		{"gmail-draft-only", "gmail/v1", draftMethods, nil},
		{"gmail-no-delete", "gmail/v1", keepingMethods, nil},
		// The body of freebusy.query says which calendars; nothing changes.
		{"calendar-readonly", "calendar/v3", []string{"calendar.freebusy.query"}, nil},
		// The token is for writing encrypted files.
		{"drive-readonly", "drive/v3", nil, []string{"drive.files.generateCseToken"}},
		{"drive-readonly", "drive/v2", nil, []string{"drive.files.generateCseToken"}},
	} {
		t.Run(c.preset+" "+c.api, func(t *testing.T) {
			methods := googleMethods(t, c.api)
			for _, id := range slices.Concat(c.besides, c.except) {
				if _, ok := methods[id]; !ok {
					t.Errorf("there is no %s", id)
				}
			}
			for _, id := range slices.Sorted(maps.Keys(methods)) {
				m := methods[id]
				want := m.Verb == "GET" && !slices.Contains(c.except, id) || slices.Contains(c.besides, id)
				for _, call := range callsOf(&m) {
					got := judgedByPreset(call, c.preset)
					if got.Allowed != want {
						t.Errorf("%s, %s: %+v", id, call, got)
					}
					if checked := strings.HasSuffix(id, "odify") && want; checked != (got.Body == GmailLabels) {
						t.Errorf("%s, %s: its body is judged: %v", id, call, got.Body)
					}
				}
			}
		})
	}
}

// presetRows are the rows of a table, read apart from the tree: "verb
// host/template", its effect, and the presets that allow it.
func presetRows(t testing.TB, table string) (rows [][]string) {
	t.Helper()
	text, err := presetFiles.ReadFile("presets/" + table + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	host := ""
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "host":
			host = fields[1]
		case host != "" && len(fields) > 3:
			rows = append(rows, append([]string{fields[0] + " " + host + fields[1], fields[2]}, fields[3:]...))
		}
	}
	return rows
}

// TestRowsOfPresetTablesAreJudgedAsTheySay also shows that no literal hides an
// ID, and that no preset is there but by name.
func TestRowsOfPresetTablesAreJudgedAsTheySay(t *testing.T) {
	allows := map[string]int{}
	tables := map[string]bool{}
	for _, p := range Presets() {
		tables[p.table] = true
	}
	for table := range tables {
		for _, row := range presetRows(t, table) {
			for _, p := range Presets() {
				if p.table != table {
					continue
				}
				want := slices.Contains(row[2:], p.Name)
				got := judgedByPreset(sample(row[0]), p.Name)
				if got.Allowed != want {
					t.Errorf("%s, %s: %+v", p.Name, row[0], got)
				}
				if want {
					allows[p.Name]++
				}
			}
		}
	}
	for _, p := range Presets() {
		if allows[p.Name] < 10 {
			t.Errorf("%s allows %d methods", p.Name, allows[p.Name])
		}
	}
}

func TestPresetsAndTheTricksOfCallers(t *testing.T) {
	const gmail = "gmail.googleapis.com/gmail/v1/users/me"
	for _, c := range []struct {
		name, presets    string
		allowed, refused []string
	}{
		{
			"reading", "gmail-readonly",
			[]string{
				"GET " + gmail + "/messages", "HEAD " + gmail + "/messages?q=x", "GET " + gmail + "/messages/", "GET " + gmail + "/m%65ssages",
				"GET gmail.googleapis.com/gmail/v1/users/alice@example.com/messages/18c2f0a1b2c3d4e5?format=raw",
				"GET gmail.mtls.googleapis.com/gmail/v1/users/me/profile", "GET www.googleapis.com/gmail/v1/users/me/labels/Label_1",
				"GET gmail.googleapis.com/download/gmail/v1/users/me/messages/x",
			},
			[]string{
				"POST " + gmail + "/messages", "OPTIONS " + gmail + "/messages", "QUERY " + gmail + "/messages", "get " + gmail + "/messages",
				"GET " + gmail + "/Messages", "GET gmail.googleapis.com/gmail/v2/users/me/messages", "GET " + gmail, "GET gmail.googleapis.com/", "GET gmail.googleapis.com/gmail/v1",
				"GET " + gmail + "/messages/x:y/attachments/a:b", "GET " + gmail + "/messages/a%2Fb", "GET " + gmail + "/messages//x", "GET " + gmail + "/messages/%252e",
				"GET evil.example.com/gmail/v1/users/me/messages", "GET www.googleapis.com/calendar/v3/colors", "GET graph.microsoft.com/v1.0/me/messages",
				"POST gmail.googleapis.com/batch/gmail/v1", "GET gmail.googleapis.com/rpc/x", "POST gmail.googleapis.com/google.gmail.v1.Gmail/ListMessages",
				"POST gmail.googleapis.com/upload/gmail/v1/users/me/messages/send", "GET www.googleapis.com/v1/users/me/messages",
			},
		},
		{
			"drafts", "gmail-draft-only",
			[]string{
				"POST " + gmail + "/drafts", "POST gmail.googleapis.com/upload/gmail/v1/users/me/drafts?uploadType=multipart", "POST www.googleapis.com/resumable/upload/gmail/v1/users/me/drafts?uploadType=resumable",
				"PUT gmail.googleapis.com/upload/gmail/v1/users/me/drafts/r-1", "DELETE www.googleapis.com/gmail/v1/users/me/drafts/r-1",
			},
			[]string{
				"POST " + gmail + "/drafts/send", "POST gmail.googleapis.com/upload/gmail/v1/users/me/drafts/send", "POST " + gmail + "/drafts/SEND", "POST " + gmail + "/drafts/s%65nd", "POST " + gmail + "/drafts/send/",
				"POST " + gmail + "/drafts/x", "PUT " + gmail + "/drafts", "DELETE " + gmail + "/drafts", "POST " + gmail + "/drafts/x/send", "DELETE " + gmail + "/messages/x", "PATCH " + gmail + "/drafts/x",
			},
		},
		{
			"literals are no IDs", "drive-readonly",
			[]string{"GET www.googleapis.com/drive/v3/files/generateIds", "GET drive.googleapis.com/drive/v2/files/x?alt=media", "GET www.googleapis.com/download/drive/v3/files/x?alt=media"},
			[]string{
				"GET www.googleapis.com/drive/v3/files/generateCseToken", "GET www.googleapis.com/drive/v3/files/GenerateCSEtoken", "GET www.googleapis.com/drive/v3/files/generat%65CseToken", "GET www.googleapis.com/drive/v2/files/generateCseToken/",
				"DELETE www.googleapis.com/drive/v3/files/trash", "POST www.googleapis.com/drive/v3/files/x/approvals:start", "POST www.googleapis.com/upload/drive/v3/files",
				"GET www.googleapis.com/drive/v3/files/x:y", "GET www.googleapis.com/drive/v3/files/$x", "POST www.googleapis.com/drive/v3/files/x/download", "GET www.googleapis.com/drive/v2internal/files/x", "GET www.googleapis.com/drive/v3beta/files",
			},
		},
		{
			"calendars' IDs", "calendar-readonly",
			[]string{
				"GET www.googleapis.com/calendar/v3/calendars/en.usa%23holiday%40group.v.calendar.google.com/events", "GET calendar-json.googleapis.com/calendar/v3/calendars/primary/acl/user:alice@example.com",
				"POST www.googleapis.com/calendar/v3/freeBusy", "GET calendar.googleapis.com/calendar/v3/users/me/calendarList",
			},
			[]string{
				"POST www.googleapis.com/calendar/v3/freebusy", "POST www.googleapis.com/calendar/v3/calendars/primary/events/watch", "POST www.googleapis.com/calendar/v3/calendars/primary/clear",
				"GET www.googleapis.com/calendar/v3/users/alice/calendarList", "GET apidata.googleusercontent.com/caldav/v2/x/events", "POST www.googleapis.com/batch/calendar/v3",
			},
		},
		{
			"descriptions of the same API", "gmail-readonly",
			[]string{"GET gmail.googleapis.com/$discovery/rest?version=v1", "HEAD gmail.googleapis.com/%24discovery/rest", "GET www.googleapis.com/discovery/v1/apis/gmail/v1/rest"},
			[]string{
				"GET calendar-json.googleapis.com/$discovery/rest", "GET www.googleapis.com/discovery/v1/apis/drive/v3/rest", "GET www.googleapis.com/discovery/v1/apis/gmail/v2/rest",
				"GET www.googleapis.com/discovery/v1/apis", "POST gmail.googleapis.com/$discovery/rest",
			},
		},
		{
			"several", "gmail-readonly calendar-readonly gmail-draft-only",
			[]string{"GET " + gmail + "/profile", "POST " + gmail + "/drafts", "GET www.googleapis.com/calendar/v3/colors", "GET www.googleapis.com/discovery/v1/apis/calendar/v3/rest"},
			[]string{"POST " + gmail + "/messages/send", "GET www.googleapis.com/drive/v3/files"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, call := range c.allowed {
				if got := judgedByPreset(call, strings.Fields(c.presets)...); !got.Allowed {
					t.Errorf("%s is refused: %s%s", call, got.Missing, got.Forbids)
				}
			}
			for _, call := range c.refused {
				if got := judgedByPreset(call, strings.Fields(c.presets)...); got.Allowed || got.Reason != ReasonRule {
					t.Errorf("%s: %+v", call, got)
				}
			}
		})
	}
}

func TestPresetsBesideRules(t *testing.T) {
	const gmail = "gmail.googleapis.com/gmail/v1/users/me"
	for _, c := range []struct {
		name, rules string
		call        string
		want        bool
		body        BodyCheck
	}{
		{"the preset", "GET api.example.com", "POST " + gmail + "/drafts", true, 0},
		{"a rule", "GET api.example.com", "GET api.example.com/x", true, 0},
		{"neither", "GET api.example.com", "POST api.example.com/x", false, 0},
		{"a rule that forbids", "!POST " + gmail + "/drafts", "POST " + gmail + "/drafts", false, 0},
		{"rules that forbid allow nothing more", "!POST api.example.com", "GET api.example.com/x", false, 0},
		{"rules that forbid leave what the preset has", "!POST api.example.com", "GET " + gmail + "/profile", true, 0},
		{"the body is looked at", "GET *", "POST " + gmail + "/messages/x/modify", true, GmailLabels},
		{"the body is not looked at where a rule allows", "POST " + gmail + "/messages/*/modify", "POST " + gmail + "/messages/x/modify", true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := Key{Accounts: []string{"*"}, Rules: mustParse(c.rules), Presets: []string{"gmail-draft-only", "gmail-no-delete"}}
			if got := judgedByKey(&key, c.call); got.Allowed != c.want || got.Body != c.body {
				t.Errorf("%s: %+v", c.call, got)
			}
		})
	}
}

func TestRefusalByPresetsSaysWhy(t *testing.T) {
	for _, c := range []struct{ call, presets, want string }{
		{"POST gmail.googleapis.com/upload/gmail/v1/users/me/messages/send", "gmail-draft-only", "a rule that allows POST gmail.googleapis.com/gmail/v1/users/me/messages/send (its preset gmail-draft-only does not: it sends mail)"},
		{"DELETE gmail.googleapis.com/gmail/v1/users/me/drafts/x", "calendar-readonly gmail-no-delete", "a rule that allows DELETE gmail.googleapis.com/gmail/v1/users/me/drafts/x (its presets calendar-readonly, gmail-no-delete do not: it deletes a draft for good)"},
		{"GET api.example.com/x", "gmail-draft-only", "a rule that allows GET api.example.com/x (its preset gmail-draft-only does not: it is no method that it knows)"},
		{"GET gmail.googleapis.com/gmail/v3/x", "gmail-draft-only calendar-readonly", "a rule that allows GET gmail.googleapis.com/gmail/v3/x (its presets gmail-draft-only, calendar-readonly do not: it is no method that they know)"},
		{"GET www.googleapis.com/drive/v3/files/generateCseToken", "drive-readonly", "a rule that allows GET www.googleapis.com/drive/v3/files/generateCseToken (its preset drive-readonly does not: it hands out a token)"},
	} {
		if got := judgedByPreset(c.call, strings.Fields(c.presets)...); got.Missing != c.want {
			t.Errorf("%s: %q, want %q", c.call, got.Missing, c.want)
		}
	}
}

func TestEnvelopesOfKeysWithPresets(t *testing.T) {
	key := Key{Accounts: []string{"*"}, Presets: []string{"gmail-readonly"}}
	facts := factsOf("POST gmail.googleapis.com/batch/gmail/v1")
	facts.Envelope = true
	if got := Judge(&key, facts); !got.Allowed {
		t.Errorf("a batch: %+v", got)
	}
	key.Rules = mustParse("!POST gmail.googleapis.com/batch/**")
	if got := Judge(&key, facts); got.Allowed {
		t.Error("a batch that is forbidden is allowed")
	}
}

func TestCheckPreset(t *testing.T) {
	for _, p := range Presets() {
		if err := CheckPreset(p.Name); err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(p.Sentence, "may read ") || !strings.Contains(p.Sentence, "may not ") {
			t.Errorf("%s: %q", p.Name, p.Sentence)
		}
	}
	err := CheckPreset("gmail-read-only")
	if err == nil || !strings.Contains(err.Error(), `"gmail-read-only"`) || !strings.Contains(err.Error(), "gmail-readonly, gmail-draft-only, ") {
		t.Errorf("gmail-read-only: %v", err)
	}
}

func TestPresetTablesThatAreWrong(t *testing.T) {
	const head = "presets a b\neffect read reads\nhost www.googleapis.com\n"
	for text, want := range map[string]string{
		"presets a\npresets b\n":                              "line 2",
		"GET /a read -\n":                                     "line 1",
		"effect read reads\ncheck send gmail-labels\n":        `no effect "send"`,
		"effect read reads\ncheck read x\n":                   `no check "x"`,
		head + "GET /drive/v3/a write a\n":                    `no effect "write"`,
		head + "GET /drive/v3/a read c\n":                     `no preset "c"`,
		head + "GET /drive/v3/a read a -\n":                   `no preset "-"`,
		head + "GET /drive/v3/a\n":                            "line 4",
		head + "GET /drive/v3/{+a} read a\n":                  "braces",
		head + "GET /drive/v3/{a read a\n":                    "braces",
		head + "GET /drive/v3/* read a\n":                     "star",
		head + "GET /drive/v3/x{a} read a\n":                  "no literal and no parameter",
		head + "GET /drive/v3/%2e read a\n":                   "dot segment",
		head + "GET /v1/a read a\n":                           "names no service",
		head + "host graph.microsoft.com\nGET /a read a\n":    "/v1.0",
		"presets a b c d e f g h i\n" + "effect read reads\n": "line 1",
	} {
		if _, err := parsePresetTable(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// graphTable stands for the tables of Microsoft Graph, which may change.
const graphTable = `presets reader all
effect read reads
effect send sends
effect write writes
host graph.microsoft.com
GET  /v1.0/users/{user-id}/messages                                read  reader all
GET  /v1.0/users/{user-id}/messages/{message-id}                   read  reader all
GET  /v1.0/users/{user-id}/messages/{message-id}/$value            read  reader all
GET  /v1.0/users/{user-id}/messages/delta()                        read  reader all
GET  /v1.0/users/{user-id}/messages/graph.eventMessage             read  reader all
GET  /v1.0/users/{user-id}/messages/secret                         send  all
GET  /v1.0/users/{user-id}/reminderView(StartDateTime='{s}',EndDateTime='{e}') read reader all
POST /v1.0/users/{user-id}/messages/{message-id}                   write all
POST /v1.0/users/{user-id}/messages/{message-id}/microsoft.graph.send send -
GET  /v1.0/drives/{drive-id}/root:/{path}:/content                 read  reader all
`

func TestPresetTablesOfGraph(t *testing.T) {
	table, err := parsePresetTable(graphTable)
	if err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]string{
		"GET graph.microsoft.com/v1.0/me/messages":                                                             "reader all",
		"GET graph.microsoft.com/beta/me/messages":                                                             "reader all",
		"GET graph.microsoft.us/v1.0/Users('a@b.example')/Messages":                                            "reader all",
		"GET graph.microsoft.com/v1.0/users/me/messages/AAMk=":                                                 "reader all",
		"GET graph.microsoft.com/v1.0/me/messages/AAMk=/$value":                                                "reader all",
		"GET graph.microsoft.com/v1.0/me/messages/$value":                                                      "",
		"GET graph.microsoft.com/v1.0/me/messages/$count":                                                      "",
		"GET graph.microsoft.com/v1.0/me/messages/delta":                                                       "reader all",
		"GET graph.microsoft.com/v1.0/me/messages/microsoft.graph.delta()":                                     "reader all",
		"GET graph.microsoft.com/v1.0/me/messages/microsoft.graph.eventMessage":                                "reader all",
		"GET graph.microsoft.com/v1.0/me/messages/microsoft.graph.eventMessage/AAMk=":                          "",
		"GET graph.microsoft.com/v1.0/me/messages/SECRET":                                                      "all",
		"GET graph.microsoft.com/v1.0/me/reminderView(StartDateTime='2026-01-01',EndDateTime='2026-01-02')":    "reader all",
		"GET graph.microsoft.com/v1.0/me/reminderView(StartDateTime='2026-01-01',EndDateTime='2026-01-02')/$x": "",
		"POST graph.microsoft.com/v1.0/me/messages/AAMk=":                                                      "all",
		"POST graph.microsoft.com/v1.0/me/messages/AAMk=/send":                                                 "",
		"POST graph.microsoft.com/v1.0/me/messages/AAMk=/microsoft.graph.send":                                 "",
		"GET graph.microsoft.com/v1.0/drives/d/root:/reports/2026/a.pdf:/content":                              "reader all",
		"GET graph.microsoft.com/v1.0/drives/d/root/content":                                                   "",
		"GET graph.microsoft.com/v1.0/drives/d/root:/reports":                                                  "",
		"GET outlook.office.com/v1.0/me/messages":                                                              "",
		"GET gmail.googleapis.com/v1.0/me/messages":                                                            "",
	} {
		var allowed []string
		for i, name := range table.names {
			if judgedByTable(t, table, 1<<i, call) {
				allowed = append(allowed, name)
			}
		}
		if got := strings.Join(allowed, " "); got != want {
			t.Errorf("%s is allowed by %q, want %q", call, got, want)
		}
	}
}

// judgedByTable reports whether a preset allows a call in each of its readings.
func judgedByTable(t *testing.T, table *presetTable, preset uint8, call string) bool {
	t.Helper()
	q := factsOf(call).Request
	path, err := operation.Read(nil, &operation.Source{Method: q.Method, Host: q.Host, Family: operation.FamilyOf(q.Host), Path: q.Path})
	if err != nil {
		return false
	}
	ways, err := readings(path.Segments)
	if err != nil {
		return false
	}
	for leave := range ways {
		if f := table.find(preset, q.Method, &path, leave); !f.found || f.refused {
			return false
		}
	}
	return true
}
