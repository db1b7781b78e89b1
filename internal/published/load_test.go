package published

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListsAreRead(t *testing.T) {
	for _, list := range []struct {
		name string
		text string
		got  func() []Method
		want int
	}{
		{"google.txt", googleText, Google, 2699},
		{"microsoft.txt", microsoftText, Microsoft, 14014},
	} {
		t.Run(list.name, func(t *testing.T) {
			methods, err := parse(list.text)
			if err != nil {
				t.Fatal(err)
			}
			if len(methods) != list.want {
				t.Errorf("%d methods, not %d", len(methods), list.want)
			}
			if diff := cmp.Diff(methods, list.got()); diff != "" {
				t.Error(diff)
			}
			if !slices.IsSortedFunc(methods, Compare) {
				t.Error("not sorted")
			}
			if !strings.Contains(list.text, "\n# Written by `make published`.\n") {
				t.Error("it does not say where it comes from")
			}
			checkMethods(t, methods)
		})
	}
}

// checkMethods checks what everybody who uses a list relies on.
func checkMethods(t *testing.T, methods []Method) {
	t.Helper()
	type operation struct{ api, verb, path, id string }
	seen := map[operation]bool{}
	for _, m := range methods {
		o := operation{m.API, m.Verb, m.Path, m.ID}
		if seen[o] {
			t.Errorf("twice: %+v", o)
		}
		seen[o] = true
		for _, path := range append([]string{m.Path}, m.Uploads...) {
			if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#% ") || strings.Contains(path, "//") ||
				strings.Count(path, "{") != strings.Count(path, "}") {
				t.Errorf("%s %s: %q is no path", m.API, m.Verb, path)
			}
		}
		if m.API == "" || m.Host == "" || strings.ContainsAny(m.Host, "/: ") {
			t.Errorf("%+v", m)
		}
	}
}

func TestListsHaveWhatIsDocumented(t *testing.T) {
	for _, want := range []Method{
		{
			API: "gmail/v1", ID: "gmail.users.messages.send", Verb: "POST", Host: "gmail.googleapis.com",
			Path: "/gmail/v1/users/{userId}/messages/send",
			Uploads: []string{
				"/resumable/upload/gmail/v1/users/{userId}/messages/send",
				"/upload/gmail/v1/users/{userId}/messages/send",
			},
		},
		{API: "gmail/v1", ID: "gmail.users.messages.batchDelete", Verb: "POST", Host: "gmail.googleapis.com", Path: "/gmail/v1/users/{userId}/messages/batchDelete"},
		{API: "calendar/v3", ID: "calendar.events.insert", Verb: "POST", Host: "www.googleapis.com", Path: "/calendar/v3/calendars/{calendarId}/events"},
		{API: "drive/v3", ID: "drive.files.emptyTrash", Verb: "DELETE", Host: "www.googleapis.com", Path: "/drive/v3/files/trash"},
		{API: "drive/v2", ID: "drive.files.trash", Verb: "POST", Host: "www.googleapis.com", Path: "/drive/v2/files/{fileId}/trash"},
		{API: "people/v1", ID: "people.people.createContact", Verb: "POST", Host: "people.googleapis.com", Path: "/v1/people:createContact"},
		{API: "people/v1", ID: "people.people.deleteContact", Verb: "DELETE", Host: "people.googleapis.com", Path: "/v1/people/{peopleId}:deleteContact"},
		{API: "admin/directory_v1", ID: "directory.users.delete", Verb: "DELETE", Host: "admin.googleapis.com", Path: "/admin/directory/v1/users/{userKey}"},
		{API: "admin/directory_v1", ID: "directory.orgunits.get", Verb: "GET", Host: "admin.googleapis.com", Path: "/admin/directory/v1/customer/{customerId}/orgunits/{+orgUnitPath}"},
		{API: "chat/v1", ID: "chat.media.download", Verb: "GET", Host: "chat.googleapis.com", Path: "/v1/media/{+resourceName}"},
		{API: "groupssettings/v1", ID: "groupsSettings.groups.get", Verb: "GET", Host: "www.googleapis.com", Path: "/groups/v1/groups/{groupUniqueId}"},
		{API: "graph/v1.0", Verb: "POST", Host: "graph.microsoft.com", Path: "/v1.0/users/{user-id}/sendMail"},
		{API: "graph/v1.0", Verb: "POST", Host: "graph.microsoft.com", Path: "/v1.0/users/{user-id}/messages/{message-id}/replyAll"},
		{API: "graph/v1.0", Verb: "PUT", Host: "graph.microsoft.com", Path: "/v1.0/users/{user-id}/messages/{message-id}/$value"},
		{API: "graph/v1.0", Verb: "GET", Host: "graph.microsoft.com", Path: "/v1.0/users/{user-id}/calendarView"},
		{API: "graph/v1.0", Verb: "GET", Host: "graph.microsoft.com", Path: "/v1.0/users/{user-id}/mailFolders/{mailFolder-id}/messages/delta()"},
		{API: "graph/v1.0", Verb: "GET", Host: "graph.microsoft.com", Path: "/v1.0/users/{user-id}/messages/{message-id}/attachments/$count"},
		{API: "graph/v1.0", Verb: "DELETE", Host: "graph.microsoft.com", Path: "/v1.0/groups/{group-id}/members/$ref"},
		{API: "graph/v1.0", Verb: "GET", Host: "graph.microsoft.com", Path: "/v1.0/users/{user-id}/reminderView(StartDateTime='{StartDateTime}',EndDateTime='{EndDateTime}')"},
		{API: "graph/v1.0", Verb: "PUT", Host: "graph.microsoft.com", Path: "/v1.0/drives/{drive-id}/items/{driveItem-id}/content"},
		{API: "graph/v1.0", Verb: "POST", Host: "graph.microsoft.com", Path: "/v1.0/groups/{group-id}/conversations/{conversation-id}/threads/{conversationThread-id}/posts/{post-id}/inReplyTo/attachments/createUploadSession"},
	} {
		methods := Google()
		if want.API == "graph/v1.0" {
			methods = Microsoft()
		}
		i := slices.IndexFunc(methods, func(m Method) bool { return m.Verb == want.Verb && m.Path == want.Path && m.ID == want.ID })
		if i < 0 {
			t.Errorf("missing: %s %s %s", want.ID, want.Verb, want.Path)
			continue
		}
		if diff := cmp.Diff(want, methods[i]); diff != "" {
			t.Errorf("%s %s: %s", want.Verb, want.Path, diff)
		}
	}
}

func TestListsThatAreNone(t *testing.T) {
	const api = "api gmail/v1 gmail.googleapis.com 1\n"
	for _, test := range []struct{ text, want string }{
		{"GET /a -\n", "line 1: stands before any API"},
		{api + "GET /a\n", "line 2: is not verbs, a path and an ID"},
		{api + "GET a -\n", "line 2: is not verbs, a path and an ID"},
		{api + "GET,, /a -\n", `line 2: has "GET,," where verbs belong`},
		{api + "get /a -\n", `line 2: has "get" where verbs belong`},
	} {
		if _, err := parse(test.text); err == nil || err.Error() != test.want {
			t.Errorf("%q: %v, not %q", test.text, err, test.want)
		}
	}
}
