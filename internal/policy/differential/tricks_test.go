package differential

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/published"
)

// trick is a way to do what a key must not do, and beside it what the key may
// do in the same way. Both are a method and what stands behind the account; the
// lines behind the first one are of the header, and what follows an empty one is
// the body.
type trick struct{ name, try, plain string }

const (
	jsonBody = "\nContent-Type: application/json\n\n"
	formBody = "\nContent-Type: application/x-www-form-urlencoded\n\n"
)

// graphBatch and googleBatch are batches with one part, or several.
func graphBatch(host string, requests ...string) string {
	return "POST " + host + "/v1.0/$batch" + jsonBody + `{"requests":[` + strings.Join(requests, ",") + `]}`
}

func googleBatch(requests ...string) string {
	var b strings.Builder
	b.WriteString("POST www.googleapis.com/batch/gmail/v1\nContent-Type: multipart/mixed; boundary=b\n\n")
	for _, request := range requests {
		b.WriteString("--b\r\nContent-Type: application/http\r\n\r\n" + request + "\r\n\r\n")
	}
	return b.String() + "--b--\r\n"
}

const (
	gmail = "gmail.googleapis.com/gmail/v1/users/me"
	graph = "graph.microsoft.com/v1.0/me"

	draftOK    = "POST " + gmail + "/drafts"
	getOK      = "GET " + gmail + "/messages/18c2f0a1b2c3d4e5"
	messageOK  = "POST " + graph + "/messages"
	createOK   = "POST " + graph + "/messages/AAMk=/createReply"
	aliceReads = "GET graph.microsoft.com/v1.0/users/alice@example.com/messages"
)

// gmailSendTricks are those of keys that must not send by Gmail.
var gmailSendTricks = []trick{
	{"plainly", "POST " + gmail + "/messages/send", draftOK},
	{"a draft that is there", "POST " + gmail + "/drafts/send", draftOK},
	{"the upload's path", "POST gmail.googleapis.com/upload/gmail/v1/users/me/messages/send?uploadType=media", "POST gmail.googleapis.com/upload/gmail/v1/users/me/drafts?uploadType=media"},
	{"a draft by the upload's path", "POST gmail.googleapis.com/upload/gmail/v1/users/me/drafts/send?uploadType=multipart", "POST gmail.googleapis.com/upload/gmail/v1/users/me/drafts?uploadType=multipart"},
	{"a resumable upload", "POST gmail.googleapis.com/resumable/upload/gmail/v1/users/me/messages/send?uploadType=resumable", "POST gmail.googleapis.com/resumable/upload/gmail/v1/users/me/drafts?uploadType=resumable"},
	{"the media prefix in another case", "POST gmail.googleapis.com/UPLOAD/gmail/v1/users/me/messages/send", draftOK},
	{"the media prefix escaped", "POST gmail.googleapis.com/%75pload/gmail/v1/users/me/messages/send", draftOK},
	{"the media prefix twice", "POST gmail.googleapis.com/upload/upload/gmail/v1/users/me/messages/send", draftOK},
	{"another of Google's hosts", "POST www.googleapis.com/gmail/v1/users/me/messages/send", "POST www.googleapis.com/gmail/v1/users/me/drafts"},
	{"the host for browsers", "POST content-gmail.googleapis.com/gmail/v1/users/me/messages/send", "POST content-gmail.googleapis.com/gmail/v1/users/me/drafts"},
	{"the host for certificates", "POST gmail.mtls.googleapis.com/gmail/v1/users/me/messages/send", "POST gmail.mtls.googleapis.com/gmail/v1/users/me/drafts"},
	{"the host with a dot, a port and capitals", "POST Gmail.GoogleAPIs.com.:443/gmail/v1/users/me/messages/send", "POST Gmail.GoogleAPIs.com.:443/gmail/v1/users/me/drafts"},
	{"the user by address", "POST gmail.googleapis.com/gmail/v1/users/alice%40example.com/messages/send", draftOK},
	{"another case", "POST " + gmail + "/messages/SEND", draftOK},
	{"a letter escaped", "POST " + gmail + "/messages/s%65nd", "POST " + gmail + "/dr%61fts"},
	{"a letter escaped twice", "POST " + gmail + "/messages/s%2565nd", draftOK},
	{"a slash escaped", "POST " + gmail + "/messages%2Fsend", draftOK},
	{"a slash escaped twice", "POST " + gmail + "/messages%252Fsend", draftOK},
	{"a backslash escaped", "POST " + gmail + "/messages%5Csend", draftOK},
	{"a wide slash", "POST " + gmail + "/messages%EF%BC%8Fsend", draftOK},
	{"a slash more", "POST " + gmail + "/messages//send", draftOK},
	{"a slash at the end", "POST " + gmail + "/messages/send/", draftOK + "/"},
	{"dot segments", "POST " + gmail + "/drafts/../messages/send", draftOK},
	{"dot segments escaped", "POST " + gmail + "/drafts/%2e%2e/messages/send", draftOK},
	{"dot segments with a parameter", "POST " + gmail + "/drafts/..;/messages/send", draftOK},
	{"a parameter at the end", "POST " + gmail + "/messages/send;x=1", draftOK},
	{"a question mark escaped", "POST " + gmail + "/messages/send%3Fx", draftOK},
	{"a zero byte", "POST " + gmail + "/messages/send%00", draftOK},
	{"an invisible character", "POST " + gmail + "/messages/send%E2%80%8B", draftOK},
	{"a look-alike", "POST " + gmail + "/messages/%C5%BFend", draftOK},
	{"a method override in the header", "GET " + gmail + "/messages/send\nX-HTTP-Method-Override: POST", getOK},
	{"a method override in a field with underscores", "GET " + gmail + "/drafts/send\nX_HTTP_Method_Override: POST", getOK},
	{"a method override in the query", "GET " + gmail + "/messages/send?$httpMethod=POST", getOK},
	{"a method override behind a semicolon", "GET " + gmail + "/messages/send?a;$httpMethod=POST", getOK},
	{"a method override escaped twice", "GET " + gmail + "/messages/send?%2524httpMethod=POST", getOK},
	{"a remote procedure call", "POST gmail.googleapis.com/google.gmail.v1.Gmail/SendMessage", draftOK},
	{"in a batch", googleBatch("POST /gmail/v1/users/me/messages/send"), googleBatch("POST /gmail/v1/users/me/drafts")},
	{"in a batch by the upload's path", googleBatch("POST /upload/gmail/v1/users/me/messages/send"), googleBatch("POST /upload/gmail/v1/users/me/drafts")},
	{"in a batch as a whole URL", googleBatch("POST https://www.googleapis.com/gmail/v1/users/me/messages/send"), googleBatch("POST https://www.googleapis.com/gmail/v1/users/me/drafts")},
	{"in a batch behind another request", googleBatch("GET /gmail/v1/users/me/labels\r\n\r\n", "POST /gmail/v1/users/me/messages/send"), googleBatch("GET /gmail/v1/users/me/labels\r\n\r\n", "POST /gmail/v1/users/me/drafts")},
	{"in a batch in a batch", googleBatch("POST /batch/gmail/v1"), googleBatch("POST /gmail/v1/users/me/drafts")},
	{"in the body of a part", googleBatch("GET /gmail/v1/users/me/labels\r\n\r\nPOST /gmail/v1/users/me/messages/send HTTP/1.1\r\n\r\n"), googleBatch("GET /gmail/v1/users/me/labels")},
}

// gmailDeleteTricks are those of keys that must not delete.
var gmailDeleteTricks = []trick{
	{"plainly", "DELETE " + gmail + "/messages/x", getOK},
	{"several at once", "POST " + gmail + "/messages/batchDelete" + jsonBody + `{"ids":["x"]}`, "POST " + gmail + "/messages/batchModify" + jsonBody + `{"ids":["x"],"removeLabelIds":["INBOX"]}`},
	{"into the trash", "POST " + gmail + "/messages/x/trash", "POST " + gmail + "/messages/x/untrash"},
	{"a thread into the trash", "POST " + gmail + "/threads/x/trash", "POST " + gmail + "/threads/x/untrash"},
	{"the label of the trash", "POST " + gmail + "/messages/x/modify" + jsonBody + `{"addLabelIds":["TRASH"]}`, "POST " + gmail + "/messages/x/modify" + jsonBody + `{"addLabelIds":["STARRED"]}`},
	{"the label of spam", "POST " + gmail + "/threads/x/modify" + jsonBody + `{"addLabelIds":["Label_1","SPAM"]}`, "POST " + gmail + "/threads/x/modify" + jsonBody + `{"removeLabelIds":["SPAM"]}`},
	{"a label with an escape", "POST " + gmail + "/messages/x/modify" + jsonBody + `{"addLabelIds":["TR\u0041SH"]}`, "POST " + gmail + "/messages/x/modify" + jsonBody + `{"addLabelIds":["ST\u0041RRED"]}`},
	{"a member with an escape", "POST " + gmail + "/messages/x/modify" + jsonBody + `{"addLabel\u0049ds":["TRASH"]}`, "POST " + gmail + "/messages/x/modify" + jsonBody + `{"addLabelIds":[]}`},
	{"a member with underscores", "POST " + gmail + "/messages/x/modify" + jsonBody + `{"add_label_ids":["TRASH"]}`, "POST " + gmail + "/messages/x/modify" + jsonBody + `{"addLabelIds":["INBOX"]}`},
	{"a member twice", "POST " + gmail + "/messages/x/modify" + jsonBody + `{"addLabelIds":["INBOX"],"addLabelIds":["TRASH"]}`, "POST " + gmail + "/messages/x/modify" + jsonBody + `{"addLabelIds":["INBOX"]}`},
	{"another type of body", "POST " + gmail + "/messages/x/modify" + formBody + "addLabelIds=TRASH", "POST " + gmail + "/messages/x/modify" + jsonBody + "{}"},
	{"a coding", "POST " + gmail + "/messages/x/modify\nContent-Encoding: gzip" + jsonBody + "{}", "POST " + gmail + "/messages/x/modify" + jsonBody + "{}"},
	{"a label in the query", "POST " + gmail + "/messages/x/modify?addLabelIds=TRASH" + jsonBody + "{}", "POST " + gmail + "/messages/x/modify?prettyPrint=false" + jsonBody + "{}"},
	{"a filter that deletes", "POST " + gmail + "/settings/filters" + jsonBody + `{"action":{"addLabelIds":["TRASH"]}}`, "GET " + gmail + "/settings/filters"},
	{"forwarding that deletes", "PUT " + gmail + "/settings/autoForwarding" + jsonBody + `{"disposition":"trash"}`, "GET " + gmail + "/settings/autoForwarding"},
	{"POP that deletes", "PUT " + gmail + "/settings/pop" + jsonBody + `{"disposition":"trash"}`, "GET " + gmail + "/settings/pop"},
	{"a label with all that has it", "DELETE " + gmail + "/labels/x", "PATCH " + gmail + "/labels/x" + jsonBody + "{}"},
	{"a method override", "POST " + gmail + "/messages/x\nX-HTTP-Method-Override: DELETE", getOK},
	{"in a batch", googleBatch("DELETE /gmail/v1/users/me/messages/x"), googleBatch("GET /gmail/v1/users/me/messages/x")},
	{
		"the label of the trash in a batch",
		googleBatch("POST /gmail/v1/users/me/messages/x/modify\r\nContent-Type: application/json\r\n\r\n" + `{"addLabelIds":["TRASH"]}`),
		googleBatch("POST /gmail/v1/users/me/messages/x/modify\r\nContent-Type: application/json\r\n\r\n" + `{"addLabelIds":["INBOX"]}`),
	},
}

const graphHost = "graph.microsoft.com"

// graphSendTricks are those of keys that must not send by Microsoft Graph.
var graphSendTricks = []trick{
	{"plainly", "POST " + graph + "/sendMail", messageOK},
	{"a draft that is there", "POST " + graph + "/messages/AAMk=/send", createOK},
	{"an answer", "POST " + graph + "/messages/AAMk=/reply", createOK},
	{"an answer to all", "POST " + graph + "/messages/AAMk=/replyAll", createOK},
	{"forwarding", "POST " + graph + "/messages/AAMk=/forward", createOK},
	{"a draft in a folder", "POST " + graph + "/mailFolders/drafts/messages/AAMk=/send", "GET " + graph + "/mailFolders/drafts/messages/AAMk="},
	{"a folder in a folder", "POST " + graph + "/mailFolders/a/childFolders/b/messages/AAMk=/reply", "GET " + graph + "/mailFolders/a/childFolders/b/messages/AAMk="},
	{"the other version", "POST graph.microsoft.com/beta/me/sendMail", messageOK},
	{"the version in capitals", "POST graph.microsoft.com/V1.0/me/sendMail", "POST graph.microsoft.com/V1.0/me/messages"},
	{"no version", "POST graph.microsoft.com/me/sendMail", messageOK},
	{"a version that is none", "POST graph.microsoft.com/v2.0/me/sendMail", messageOK},
	{"the tenant", "POST graph.microsoft.com/v1.0/myorganization/me/sendMail", messageOK},
	{"the tenant's domain", "POST graph.microsoft.com/v1.0/contoso.onmicrosoft.com/me/sendMail", messageOK},
	{"the user by address", "POST graph.microsoft.com/v1.0/users/alice@example.com/sendMail", aliceReads},
	{"the user by ID", "POST graph.microsoft.com/v1.0/users/48d31887-5fad-4d73-a9f5-3c356e68a038/sendMail", aliceReads},
	{"the user as a key", "POST graph.microsoft.com/v1.0/users('alice@example.com')/sendMail", "GET graph.microsoft.com/v1.0/users('alice@example.com')/messages"},
	{"the user as a key, escaped", "POST graph.microsoft.com/v1.0/users%28%27alice%40example.com%27%29/sendMail", "GET graph.microsoft.com/v1.0/users%28%27alice%40example.com%27%29/messages"},
	{"the user as a key with a name", "POST graph.microsoft.com/v1.0/users(userPrincipalName='alice@example.com')/sendMail", "GET graph.microsoft.com/v1.0/users(userPrincipalName='alice@example.com')/messages"},
	{"the user by an alias", "POST graph.microsoft.com/v1.0/users(@p)/sendMail?@p='x'", aliceReads},
	{"the message as a key", "POST " + graph + "/messages('AAMk=')/send", "POST " + graph + "/messages('AAMk=')/createReply"},
	{"the name with its namespace", "POST " + graph + "/microsoft.graph.sendMail", "POST " + graph + "/messages/AAMk=/microsoft.graph.createReply"},
	{"the namespace by its alias", "POST " + graph + "/graph.sendMail", "POST " + graph + "/messages/AAMk=/graph.createReply"},
	{"a type between", "POST " + graph + "/microsoft.graph.user/sendMail", messageOK},
	{"a type before", "POST graph.microsoft.com/v1.0/microsoft.graph.user/me/sendMail", messageOK},
	{"a type and a namespace", "POST " + graph + "/messages/AAMk=/microsoft.graph.message/microsoft.graph.send", createOK},
	{"parentheses", "POST " + graph + "/sendMail()", createOK + "()"},
	{"arguments", "POST " + graph + "/sendMail(x=1)", createOK},
	{"a key that is none", "POST " + graph + "/sendMail('x')", createOK},
	{"an option", "POST " + graph + "/sendMail/$value", "GET " + graph + "/messages/AAMk=/$value"},
	{"another case", "POST graph.microsoft.com/v1.0/ME/SENDMAIL", "POST graph.microsoft.com/v1.0/ME/MESSAGES"},
	{"a letter escaped", "POST " + graph + "/send%4Dail", "POST " + graph + "/m%65ssages"},
	{"a letter escaped twice", "POST " + graph + "/send%254Dail", messageOK},
	{"a slash escaped", "POST graph.microsoft.com/v1.0/me%2FsendMail", messageOK},
	{"a slash more", "POST " + graph + "//sendMail", messageOK},
	{"a slash at the end", "POST " + graph + "/sendMail/", messageOK + "/"},
	{"a dot at the end", "POST " + graph + "/sendMail.", messageOK},
	{"a blank at the end", "POST " + graph + "/sendMail%20", messageOK},
	{"a parameter at the end", "POST " + graph + "/sendMail;x", messageOK},
	{"a colon at the end", "POST " + graph + "/sendMail:", messageOK},
	{"dot segments", "POST " + graph + "/messages/../sendMail", messageOK},
	{"dot segments in a name", "POST " + graph + "/drive/root:/a/%2e%2e:/../sendMail", "GET " + graph + "/messages"},
	{"a look-alike", "POST " + graph + "/sendMa%C4%B1l", messageOK},
	{"an entity by its ID", "POST graph.microsoft.com/v1.0/$entity/sendMail?$id=users('x')", messageOK},
	{"a method override in the header", "GET " + graph + "/sendMail\nX-HTTP-Method: POST", "GET " + graph + "/messages"},
	{"a method override in a field with dots", "GET " + graph + "/sendMail\nX.HTTP.Method.Override: POST", "GET " + graph + "/messages"},
	{"in a batch", graphBatch(graphHost, `{"id":"1","method":"POST","url":"/me/sendMail"}`), graphBatch(graphHost, `{"id":"1","method":"POST","url":"/me/messages"}`)},
	{"in a batch without a slash", graphBatch(graphHost, `{"id":"1","method":"POST","url":"me/sendMail"}`), graphBatch(graphHost, `{"id":"1","method":"POST","url":"me/messages"}`)},
	{"in a batch with the version", graphBatch(graphHost, `{"id":"1","method":"POST","url":"/v1.0/me/sendMail"}`), graphBatch(graphHost, `{"id":"1","method":"POST","url":"/v1.0/me/messages"}`)},
	{"in a batch as a whole URL", graphBatch(graphHost, `{"id":"1","method":"POST","url":"https://graph.microsoft.com/v1.0/me/sendMail"}`), graphBatch(graphHost, `{"id":"1","method":"POST","url":"https://graph.microsoft.com/v1.0/me/messages"}`)},
	{"in a batch with an escape of JSON", graphBatch(graphHost, `{"id":"1","method":"POST","url":"/me/send\u004dail"}`), graphBatch(graphHost, `{"id":"1","method":"POST","url":"/me/m\u0065ssages"}`)},
	{"in a batch with two URLs", graphBatch(graphHost, `{"id":"1","method":"POST","url":"/me/messages","url":"/me/sendMail"}`), graphBatch(graphHost, `{"id":"1","method":"POST","url":"/me/messages"}`)},
	{"in a batch with a URL in capitals", graphBatch(graphHost, `{"id":"1","method":"POST","url":"/me/messages","URL":"/me/sendMail"}`), graphBatch(graphHost, `{"id":"1","method":"POST","url":"/me/messages"}`)},
	{"in a batch with an override", graphBatch(graphHost, `{"id":"1","method":"GET","url":"/me/sendMail","headers":{"X-HTTP-Method-Override":"POST"}}`), graphBatch(graphHost, `{"id":"1","method":"GET","url":"/me/messages"}`)},
	{"in a batch in a batch", graphBatch(graphHost, `{"id":"1","method":"POST","url":"/$batch","body":{"requests":[]}}`), graphBatch(graphHost, `{"id":"1","method":"POST","url":"/me/messages"}`)},
	{"in a batch below something", "POST " + graph + "/$batch" + jsonBody + `{"requests":[{"id":"1","method":"POST","url":"/me/sendMail"}]}`, graphBatch(graphHost, `{"id":"1","method":"POST","url":"/me/messages"}`)},
}

// partly are tricks of which a harmless part is sent, without what makes tricks
// of them.
var partly = []string{"override", "in the body of a part", "behind another request"}

func TestTricksAreTriedInVain(t *testing.T) {
	tries := 0
	for _, group := range []struct {
		what   string
		api    string
		keys   []string
		tricks []trick
	}{
		{"sending by Gmail", provider.TypeGoogle, []string{"gmail-draft-only", "no-send, allowing, google", "no-send, forbidding, google"}, gmailSendTricks},
		{"deleting in Gmail", provider.TypeGoogle, []string{"gmail-no-delete"}, gmailDeleteTricks},
		{"sending by Graph", provider.TypeMicrosoft, []string{"graph-mail-no-send", "no-send, allowing, microsoft", "no-send, forbidding, microsoft"}, graphSendTricks},
	} {
		x := newContest(t)
		for _, name := range group.keys {
			i := slices.IndexFunc(x.subjects, func(s *subject) bool { return s.name == name })
			if i < 0 {
				t.Fatalf("there is no key %s", name)
			}
			for _, trick := range group.tricks {
				t.Run(fmt.Sprintf("%s: %s: %s", name, group.what, trick.name), func(t *testing.T) {
					x.tryInVain(t, x.subjects[i], group.api, trick)
				})
			}
		}
		tries += len(group.tricks)
	}
	if tries < 60 {
		t.Errorf("only %d tricks", tries)
	}
}

func (x *contest) tryInVain(t *testing.T, by *subject, api string, tried trick) {
	harmless := slices.ContainsFunc(partly, func(of string) bool { return strings.Contains(tried.name, of) })
	for _, left := range x.leaving(t, by, api, tried.try) {
		methods, _ := x.routers.route(&left)
		for _, m := range methods {
			if !by.allows(m, &left) {
				t.Errorf("%s reaches %s %s %s", &left, m.ID, m.Verb, m.Path)
			}
		}
		if !harmless {
			t.Errorf("%s leaves", &left)
		}
	}
	plain := x.leaving(t, by, api, tried.plain)
	if len(plain) == 0 {
		t.Errorf("beside it, this is refused: %s", tried.plain)
	}
	for _, left := range plain {
		methods, known := x.routers.route(&left)
		if !known || slices.ContainsFunc(methods, func(m *published.Method) bool { return !by.allows(m, &left) }) {
			t.Errorf("beside it, this is no call to something allowed: %s", tried.plain)
		}
	}
}

// leaving is what is sent of a written call.
func (x *contest) leaving(t *testing.T, by *subject, api, written string) []sent {
	t.Helper()
	head, body, _ := strings.Cut(written, "\n\n")
	lines := strings.Split(head, "\n")
	method, where, _ := strings.Cut(lines[0], " ")
	call := &proxied{method: method, hostAndPath: where, fields: lines[1:]}
	if body != "" {
		call.body = []byte(body)
	}
	a, err := x.pipeline.receive(call, api)
	if err != nil {
		return nil
	}
	return x.pipeline.send(&by.key, a)
}
