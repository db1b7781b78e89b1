package caddymodule

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

func TestPresetsOfGraphThroughCaddy(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	mail := s.addKey("mail", map[string]any{"accounts": []string{"*"}, "presets": []string{"graph-mail-no-send"}})
	reader := s.addKey("reader", map[string]any{"accounts": []string{"*"}, "presets": []string{"graph-mail-readonly", "graph-calendar-readonly", "graph-files-readonly"}})
	for _, c := range []struct {
		call, body         string
		forMail, forReader bool
	}{
		{"GET /me/mailFolders/inbox/messages?$top=5", "", true, true},
		{"GET /me/messages/AAMk=/$value", "", true, true},
		{"GET /users/carol@example.com/mailFolders('inbox')/messages/delta()", "", true, true},
		{"POST /me/getMailTips", `{"EmailAddresses":["a@example.com"]}`, true, true},
		{"POST /me/messages", `{"subject":"x","toRecipients":[{"emailAddress":{"address":"a@example.com"}}]}`, true, false},
		{"POST /me/messages", `{"subject":"x","singleValueExtendedProperties":[{"id":"String 0x001A","value":"IPM.ExtendedRule.Message"}]}`, false, false},
		{"POST /me/messages/AAMk=/createReply", "", true, false},
		{"POST /me/messages/AAMk=/createReply", `{"message":{"singleValueExtendedProperties":[]}}`, false, false},
		{"PATCH /me/messages/AAMk=", `{"isRead":true}`, true, false},
		{"POST /me/messages/AAMk=/move", `{"destinationId":"archive"}`, true, false},
		{"DELETE /me/messages/AAMk=", "", true, false},
		{"POST /me/mailFolders", `{"displayName":"a"}`, true, false},
		{"POST /me/mailFolders", `{"displayName":"a","messageRules":[{"actions":{"forwardTo":[]}}]}`, false, false},
		{"POST /me/mailFolders/inbox/messageRules", `{}`, false, false},
		{"POST /me/sendMail", `{"message":{}}`, false, false},
		{"POST /me/messages/AAMk=/microsoft.graph.reply", `{"comment":"x"}`, false, false},
		{"PATCH /me/mailboxSettings", `{"automaticRepliesSetting":{"status":"alwaysEnabled"}}`, false, false},
		{"POST /me/events", `{"attendees":[]}`, false, false},
		{"GET /me/calendarView?startDateTime=a&endDateTime=b", "", false, true},
		{"POST /me/calendar/getSchedule", `{"schedules":[]}`, false, true},
		{"GET /me/drive/root:/a%20b/c.txt:/content", "", false, true},
		{"GET /sites/contoso.sharepoint.com:/sites/team:/drive/items/01AB/search(q='x')", "", false, true},
		{"PUT /me/drive/root:/a.txt:/content", "x", false, false},
		{"POST /me/drive/items/01AB/createLink", `{"type":"view"}`, false, false},
		{"GET /me", "", false, false},
	} {
		method, path, _ := strings.Cut(c.call, " ")
		for key, want := range map[string]bool{mail: c.forMail, reader: c.forReader} {
			r := s.do(method, "/proxy/carol/v1.0"+path, strings.NewReader(c.body), "Authorization", "Bearer "+key, "Content-Type", "application/json")
			reached := s.api.take()
			if !want {
				wantProblem(t, r, problem.NotAllowed)
			}
			if want != (r.status == http.StatusOK) || want != (len(reached) == 1) {
				t.Errorf("%s %s, by the key for mail: %t: %d %s, and %+v reached the API", c.call, c.body, key == mail, r.status, r.body, reached)
			} else if want && reached[0].Body != c.body {
				t.Errorf("%s: the body %q reached the API", c.call, reached[0].Body)
			}
		}
	}
}

func TestABodyThatWasLookedAtGoesOutAsWhatItWas(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	key := s.addKey("mail", map[string]any{"accounts": []string{"*"}, "presets": []string{"graph-mail-no-send"}})
	for call, body := range map[string]string{
		"/me/messages": `{"subject":"x"}`,
		"/$batch":      `{"requests":[{"id":"1","method":"GET","url":"/me/messages"}]}`,
	} {
		for _, connection := range []string{"Content-Type", "close, content-type", "Upgrade, Content-Type"} {
			r := s.do(http.MethodPost, "/proxy/carol/v1.0"+call, strings.NewReader(body), "Authorization", "Bearer "+key,
				"Content-Type", "application/json", "Connection", connection, "Upgrade", "websocket")
			if r.status != http.StatusOK {
				t.Fatalf("%s: %d %s", call, r.status, r.body)
			}
			if got := s.api.only(t); got.Body != body || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Upgrade") != "" {
				t.Errorf("%s, with Connection: %s, reached the API as %v %s", call, connection, got.Header, got.Body)
			}
		}
	}
}

func TestLargeDraftsAreLookedAtWhole(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	key := s.addKey("mail", map[string]any{"accounts": []string{"*"}, "presets": []string{"graph-mail-no-send"}})
	draft := func(bytes int, member string) string {
		return `{"subject":"x","attachments":[{"name":"a","contentBytes":"` + strings.Repeat("A", bytes) + `"}],"` + member + `":null}`
	}
	limit := policy.GraphMessage.Limit()
	for name, c := range map[string]struct {
		body string
		want bool
	}{
		"large":                     {draft(limit-200, "body"), true},
		"with a member at its end":  {draft(limit-200, "singleValueExtendedProperties"), false},
		"larger than Graph's limit": {draft(limit, "body"), false},
	} {
		t.Run(name, func(t *testing.T) {
			// A reader of which no length is known is sent in chunks.
			for _, body := range []io.Reader{strings.NewReader(c.body), io.MultiReader(strings.NewReader(c.body))} {
				r := s.do(http.MethodPost, "/proxy/carol/v1.0/me/messages", body, "Authorization", "Bearer "+key, "Content-Type", "application/json")
				reached := s.api.take()
				if c.want && (r.status != http.StatusOK || len(reached) != 1 || reached[0].Body != c.body) {
					t.Errorf("%d %s, and %d calls reached the API", r.status, r.body, len(reached))
				}
				if !c.want {
					wantProblem(t, r, problem.NotAllowed)
					if len(reached) != 0 {
						t.Error("it reached the API")
					}
				}
			}
		})
	}
}

func TestBodiesThatAreLookedAtAreLentLittleMemory(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	key := s.addKey("mail", map[string]any{"accounts": []string{"*"}, "presets": []string{"graph-mail-no-send"}})
	lent := envelopes
	envelopes = newEnvelopeMemory(100, 100)
	t.Cleanup(func() { envelopes = lent })
	for range 3 {
		if r := s.do(http.MethodPost, "/proxy/carol/v1.0/me/messages", strings.NewReader(`{"subject":"`+strings.Repeat("a", 60)+`"}`), "Authorization", "Bearer "+key, "Content-Type", "application/json"); r.status != http.StatusOK {
			t.Errorf("%d %s: the memory is not given back", r.status, r.body)
		}
	}
	s.api.take()
	r := s.do(http.MethodPost, "/proxy/carol/v1.0/me/messages", strings.NewReader(`{"subject":"`+strings.Repeat("a", 100)+`"}`), "Authorization", "Bearer "+key, "Content-Type", "application/json")
	wantProblem(t, r, problem.RateLimited)
	if reached := s.api.take(); len(reached) != 0 {
		t.Errorf("%+v reached the API", reached)
	}
}

func TestPresetsOfGraphJudgeThePartsOfABatch(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	key := s.addKey("mail", map[string]any{"accounts": []string{"*"}, "presets": []string{"graph-mail-no-send", "graph-files-readonly"}})
	asJSON := map[string]string{"Content-Type": "application/json"}
	parts := []graphPart{
		{ID: "1", Method: "GET", URL: "/me/mailFolders/inbox/messages"},
		{ID: "2", Method: "POST", URL: "/me/messages", Headers: asJSON, Body: json.RawMessage(`{"subject":"x"}`)},
		{ID: "3", Method: "POST", URL: "/me/messages/AAMk=/createReplyAll"},
		{ID: "4", Method: "GET", URL: "/me/drive/root:/a/b:/children"},
		{ID: "5", Method: "PATCH", URL: "/me/messages/AAMk=", Headers: asJSON, Body: json.RawMessage(`{"isRead":true}`)},
		{ID: "6", Method: "POST", URL: "/me/sendMail", Headers: asJSON, Body: json.RawMessage(`{"message":{}}`)},
		{ID: "7", Method: "POST", URL: "/users('carol@example.com')/messages/AAMk=/microsoft.graph.forward"},
		{ID: "8", Method: "POST", URL: "/me/messages", Headers: asJSON, Body: json.RawMessage(`{"multiValueExtendedProperties":[]}`)},
		{ID: "9", Method: "POST", URL: "/me/messages", Headers: map[string]string{"Content-Type": "text/plain"}, Body: json.RawMessage(`"c3ViamVjdDogeA=="`)},
		{ID: "10", Method: "POST", URL: "/me/mailFolders", Headers: asJSON, Body: json.RawMessage(`{"displayName":"a","messageRules":[]}`)},
		{ID: "11", Method: "PATCH", URL: "/me/mailboxSettings", Headers: asJSON, Body: json.RawMessage(`{}`)},
		{ID: "12", Method: "POST", URL: "/me/events", Headers: asJSON, Body: json.RawMessage(`{}`)},
		{ID: "13", Method: "GET", URL: "/me/drive/items/x/lastModifiedByUser"},
		{ID: "14", Method: "POST", URL: "/me/drive/items/x/workbook/functions/abs", Headers: asJSON, Body: json.RawMessage(`{"number":-1}`)},
	}
	envelope, err := json.Marshal(map[string]any{"requests": parts})
	if err != nil {
		t.Fatal(err)
	}
	s.api.answering(http.StatusOK, `{"responses":[{"id":"1","status":200,"body":{}}]}`)
	for _, version := range []string{"v1.0", "beta"} {
		r := s.do(http.MethodPost, "/proxy/carol/"+version+"/$batch", strings.NewReader(string(envelope)), "Authorization", "Bearer "+key, "Content-Type", "application/json")
		var sent struct{ Requests []graphPart }
		if err := json.Unmarshal([]byte(s.api.only(t).Body), &sent); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, p := range sent.Requests {
			ids = append(ids, p.ID)
		}
		if want := []string{"1", "2", "3", "4", "5"}; !slices.Equal(ids, want) {
			t.Errorf("%s: the parts %v reached the API, not %v", version, ids, want)
		}
		var answer struct{ Responses []graphPart }
		if err := json.Unmarshal(r.body, &answer); err != nil {
			t.Fatal(err)
		}
		refused := 0
		for _, p := range answer.Responses {
			if p.Status == http.StatusForbidden {
				refused++
			}
		}
		if refused != 9 {
			t.Errorf("%s: %d parts were refused: %s", version, refused, r.body)
		}
	}
}
