package fakeprovider

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestGraphDeltaEndsWithALinkToWhatFollows(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	type page struct {
		Value []struct{ ID string }
		Next  string `json:"@odata.nextLink"`
		Delta string `json:"@odata.deltaLink"`
	}
	read := func(link string) (seen []string, delta string) {
		for link != "" {
			_, body := f.want(200, sent{method: "GET", target: link, token: token})
			got := decodeAs[page](t, body)
			for _, m := range got.Value {
				seen = append(seen, m.ID)
			}
			link, delta = got.Next, got.Delta
		}
		return seen, delta
	}
	seen, delta := read(graphAPI + "/me/messages/delta")
	unique := map[string]bool{}
	for _, id := range seen {
		unique[id] = true
	}
	if len(seen) != mailboxSize || len(unique) != mailboxSize || !strings.HasPrefix(delta, graphAPI+"/me/messages/delta?$deltatoken=") {
		t.Fatalf("saw %d messages, %d different, then %q", len(seen), len(unique), delta)
	}
	if seen, again := read(delta); len(seen) != 0 || again != delta {
		t.Errorf("then saw %v and %q", seen, again)
	}
	f.want(202, sent{method: "POST", target: graphAPI + "/me/sendMail", token: token, body: strings.NewReader(`{"message":{"toRecipients":[{}]}}`)})
	if seen, _ := read(delta); len(seen) != 1 || seen[0] != messageID(mailboxSize) {
		t.Errorf("after one was sent saw %v", seen)
	}
	_, body := f.want(410, sent{method: "GET", target: graphAPI + "/me/messages/delta?$deltatoken=x", token: token})
	wantReason(t, body, "syncStateNotFound")
}

func TestGraphExpandsAttachments(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	type expanded struct {
		Attachments []struct{ Name string }
		Next        string `json:"attachments@odata.nextLink"`
	}
	_, body := f.want(200, sent{method: "GET", target: graphAPI + "/me/messages?$expand=attachments&$top=2", token: token})
	first := decodeAs[struct{ Value []expanded }](t, body).Value[0]
	if len(first.Attachments) != 1 {
		t.Fatalf("got %s", body)
	}
	_, body = f.want(200, sent{method: "GET", target: first.Next, token: token})
	rest := decodeAs[struct{ Value []struct{ Name string } }](t, body).Value
	if len(rest) != 1 || rest[0].Name == first.Attachments[0].Name {
		t.Errorf("behind %s is %s", first.Next, body)
	}
	_, body = f.want(200, sent{method: "GET", target: graphAPI + "/me/messages/" + messageID(1) + "?$expand=attachments", token: token})
	if got := decodeAs[expanded](t, body); len(got.Attachments) != 1 || got.Next == "" {
		t.Errorf("got %s", body)
	}
}

func TestGraphValueIsAPageWithAScript(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	for _, target := range []string{"/$value", "/attachments/attachment.html/$value"} {
		answer, body := f.want(200, sent{method: "GET", target: graphAPI + "/me/messages/" + messageID(1) + target, token: token})
		if !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") || !strings.Contains(body, "<script>") {
			t.Errorf("%s: got %s", target, body)
		}
	}
	_, body := f.want(200, sent{method: "GET", target: graphAPI + "/me/messages/" + messageID(1) + "/attachments/attachment.txt/$value", token: token})
	if body != "This is the attachment of message number 1.\n" {
		t.Errorf("got %q", body)
	}
	f.want(404, sent{method: "GET", target: graphAPI + "/me/messages/none/$value", token: token})
}

func TestHostileAnswersArriveByteForByte(t *testing.T) {
	f := start(t, Options{})
	token := f.live()
	for target, want := range map[string][]byte{
		"/me/events/hostile":                       hostileEvent,
		"/sites/root/lists/l/items?$expand=fields": hostileItems,
	} {
		_, body := f.want(200, sent{method: "GET", target: graphAPI + target, token: token})
		if body != string(want) || !json.Valid(want) {
			t.Errorf("%s: got %s", target, body)
		}
	}
	f.want(200, sent{method: "GET", target: graphAPI + "/sites/root/lists/l/items?$expand=fields&$skiptoken=2", token: token})
}
