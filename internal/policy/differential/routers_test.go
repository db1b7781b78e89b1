package differential

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestRoutersKnowWhatAServerMayTakeACallFor(t *testing.T) {
	const (
		send      = "gmail.users.messages.send"
		sendMail  = "POST /v1.0/users/{user-id}/sendMail"
		reply     = "POST /v1.0/users/{user-id}/messages/{message-id}/reply"
		itemWrite = "PUT /v1.0/drives/{drive-id}/items/{driveItem-id}/content"
	)
	r := &routers{newGoogleRouter(), newGraphRouter()}
	for _, test := range []struct{ call, want string }{
		{"POST gmail.googleapis.com/gmail/v1/users/me/messages/send", send},
		{"POST gmail.googleapis.com/upload/gmail/v1/users/me/messages/send", send},
		{"POST www.googleapis.com/resumable/upload/gmail/v1/users/me/messages/send", send},
		{"POST content-gmail.mtls.googleapis.com/gmail/v1/users/me/messages/send", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me/messages/s%65nd", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me/messages/s%2565nd", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me/messages%2Fsend", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me/messages%252Fsend", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me//messages/./send/", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me/drafts/%2e%2e/messages/send", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me/drafts/..;x/messages/send", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me/messages/send;x=1", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me/messages/SEND", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me/messages%5Csend", send},
		{"POST gmail.googleapis.com/gmail/v1/users/me/messages/%EF%BD%93end", send},
		{"GET gmail.googleapis.com/gmail/v1/users/me/messages/send?$httpMethod=POST", send},
		{"GET gmail.googleapis.com/gmail/v1/users/me/messages/send?a=b;%24httpMethod=POST", send},
		{"POST people.googleapis.com/v1/people/c1:deleteContact", ""},
		{"DELETE people.googleapis.com/v1/people/c1:deleteContact", "people.people.deleteContact"},
		{"DELETE drive.googleapis.com/v1/people/c1:deleteContact", ""},
		{"GET chat.googleapis.com/v1/media/a/b/c", "chat.media.download"},
		{"HEAD www.googleapis.com/drive/v3/files/x", "drive.files.get"},
		{"POST gmail.googleapis.com/gmail/v1/users/me/messages/x/send", ""},
		{"POST gmail.googleapis.com/google.gmail.v1.Gmail/SendMessage", ""},

		{"POST graph.microsoft.com/v1.0/me/sendMail", sendMail},
		{"POST graph.microsoft.com/BETA/ME/SENDMAIL", sendMail},
		{"POST graph.microsoft.com/v1.0/users('x')/sendMail", sendMail},
		{"POST graph.microsoft.com/v1.0/users%28id=%27x%27%29/sendMail", sendMail},
		{"POST graph.microsoft.com/v1.0/users(userPrincipalName='a@example.com')/microsoft.graph.sendMail()", sendMail},
		{"POST graph.microsoft.com/v1.0/me/microsoft.graph.user/graph.sendMail", sendMail},
		{"POST graph.microsoft.com/v1.0/myorganization/me/sendMail", sendMail},
		{"POST graph.microsoft.com/v1.0/contoso.onmicrosoft.com/me/sendMail", sendMail},
		{"POST graph.microsoft.com/v1.0/me/sendMail/$value", sendMail},
		{"POST graph.microsoft.com/v1.0/me/sendMail.%20", sendMail},
		{"POST graph.microsoft.com/v1.0/me/sendMa%C4%B1l", sendMail},
		{"POST graph.microsoft.com/v1.0/me/drive/root:/a%2F..%2F..:/../sendMail", ""},
		{"POST graph.microsoft.com/v1.0/users/root:/messages/x/reply", reply},
		{"POST graph.microsoft.com/v1.0/me/messages('x')/reply", reply},
		{"POST graph.microsoft.com/v1.0/me/mailFolders('inbox')/childFolders/y/childFolders/z/messages/x/reply", reply},
		{"PUT graph.microsoft.com/v1.0/me/drive/root:/a/b/sendMail:/content", itemWrite},
		{"PUT graph.microsoft.com/v1.0/sites/contoso.sharepoint.com:/teams/x:/drive/special/photos:/a:/content", itemWrite},
		{"PUT graph.microsoft.com/v1.0/drives/x/items/y/content", itemWrite},
		{"GET graph.microsoft.com/v1.0/me/messages/$count", "GET /v1.0/users/{user-id}/messages/$count"},
		{"GET graph.microsoft.com/v1.0/me/mailFolders/x/messages/delta", "GET /v1.0/users/{user-id}/mailFolders/{mailFolder-id}/messages/delta()"},
		{"POST graph.microsoft.com/v1.0/me/messages/sendMail", ""},
		{"POST graph.microsoft.com/v1.0/$batch", ""},
		{"POST outlook.office.com/v1.0/me/sendMail", ""},
	} {
		method, rest, _ := strings.Cut(test.call, " ")
		host, rest, _ := strings.Cut(rest, "/")
		path, query, _ := strings.Cut("/"+rest, "?")
		methods, _ := r.route(&sent{method: method, host: host, path: path, query: query, header: http.Header{}})
		var got []string
		for _, m := range methods {
			if m.ID == "" {
				got = append(got, m.Verb+" "+m.Path)
			} else {
				got = append(got, m.ID)
			}
		}
		if test.want == "" && len(got) > 0 || test.want != "" && !slices.Contains(got, test.want) {
			t.Errorf("%s: %q, and not %q", test.call, got, test.want)
		}
	}
}

func TestRoutersMindFieldsThatNameAnotherMethod(t *testing.T) {
	r := newGoogleRouter()
	for _, field := range overrideNames[:6] {
		s := &sent{method: "POST", host: "gmail.googleapis.com", path: "/gmail/v1/users/me/messages/x", header: http.Header{field: {"delete"}}}
		methods, known := r.route(s)
		if len(methods) != 1 || methods[0].ID != "gmail.users.messages.delete" || !known {
			t.Errorf("%s: %v %v", field, methods, known)
		}
	}
}

func TestUsualReadingDecodesOnce(t *testing.T) {
	r := newGraphRouter()
	for path, want := range map[string]bool{
		"/v1.0/me/messages":             true,
		"/v1.0/me/m%65ssages":           true,
		"/v1.0/me/m%2565ssages":         false,
		"/v1.0/me%2Fmessages":           false,
		"/v1.0/me/x/../messages":        false,
		"/v1.0/me/messages('x')/$value": true,
	} {
		if _, known := r.route(&sent{method: "GET", host: "graph.microsoft.com", path: path}); known != want {
			t.Errorf("%s: %v", path, known)
		}
	}
}
