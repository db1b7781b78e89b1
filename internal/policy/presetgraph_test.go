package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

// graphAreas are the parts of Graph that the presets are about: what is at these
// paths and below.
var graphAreas = map[string][]string{
	"graph-mail": {
		"/users/{}/messages", "/users/{}/mailFolders", "/users/{}/sendMail", "/users/{}/mailboxSettings",
		"/users/{}/inferenceClassification", "/users/{}/outlook", "/users/{}/getMailTips", "/users/{}/translateExchangeIds",
		"/groups/{}/conversations", "/groups/{}/threads",
	},
	"graph-calendar": {
		"/users/{}/calendar", "/users/{}/calendars", "/users/{}/calendarGroups", "/users/{}/calendarView", "/users/{}/events",
		"/users/{}/findMeetingTimes", "/users/{}/reminderView", "/users/{}/outlook",
		"/groups/{}/calendar", "/groups/{}/calendarView", "/groups/{}/events",
	},
	"graph-files": {
		"/drives", "/shares", "/users/{}/drive", "/users/{}/drives", "/users/{}/followedSites",
		"/groups/{}/drive", "/groups/{}/drives", "/sites/{}/drive", "/sites/{}/drives",
		"/sites/{}/getByPath/drive", "/sites/{}/getByPath/drives", "/sites/{}/lists/{}/drive", "/sites/{}/lists/{}/items/{}/driveItem",
	},
}

// graphPath is a template of Graph's without the version, the names of its
// parameters and the arguments of its functions.
func graphPath(template string) string {
	segments := strings.Split(strings.TrimPrefix(template, "/v1.0/"), "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, "(")
		if strings.HasPrefix(s, "{") {
			segments[i] = "{}"
		}
	}
	return "/" + strings.Join(segments, "/")
}

func isBelow(path, above string) bool { return path == above || strings.HasPrefix(path, above+"/") }

// noSendWrites are the ends of the paths of what a key may do that must not
// send, besides reading.
var noSendWrites = map[string][]string{
	"POST": {
		"/messages", "/messages/{}/createReply", "/messages/{}/createReplyAll", "/messages/{}/createForward",
		"/messages/{}/attachments", "/messages/{}/attachments/createUploadSession",
		"/messages/{}/copy", "/messages/{}/move", "/messages/{}/permanentDelete", "/messages/{}/extensions",
		"/mailFolders", "/mailFolders/{}/copy", "/mailFolders/{}/move", "/mailFolders/{}/permanentDelete",
		"/childFolders", "/childFolders/{}/copy", "/childFolders/{}/move", "/childFolders/{}/permanentDelete",
		"/masterCategories", "/inferenceClassification/overrides", "/users/{}/getMailTips", "/users/{}/translateExchangeIds",
	},
	"PATCH": {
		"/messages/{}", "/messages/{}/extensions/{}", "/mailFolders/{}", "/childFolders/{}", "/masterCategories/{}",
		"/inferenceClassification", "/inferenceClassification/overrides/{}",
	},
	"DELETE": {
		"/messages/{}", "/messages/{}/$value", "/messages/{}/attachments/{}", "/messages/{}/extensions/{}", "/mailFolders/{}", "/childFolders/{}",
		"/masterCategories/{}", "/inferenceClassification/overrides/{}", "/threads/{}", "/conversations/{}",
	},
}

// TestPresetsOfGraphAllowWhatTheyShould compares each preset with what is
// published, and not with the tables: every GET, but for exceptions that are
// named here, and what else is named here.
func TestPresetsOfGraphAllowWhatTheyShould(t *testing.T) {
	for _, c := range []struct {
		preset, area string
		besides      map[string][]string
		// except are GET and refused: what is at these paths, or has these names.
		except []string
	}{
		{"graph-mail-readonly", "graph-mail", map[string][]string{"POST": {"/users/{}/getMailTips", "/users/{}/translateExchangeIds"}}, nil},
		{"graph-mail-no-send", "graph-mail", noSendWrites, nil},
		{"graph-calendar-readonly", "graph-calendar", map[string][]string{"POST": {"/getSchedule", "/users/{}/findMeetingTimes"}}, nil},
		{"graph-files-readonly", "graph-files", nil, []string{
			// A person's profile and the settings of the mailbox are no files.
			"createdByUser", "lastModifiedByUser",
			// Nor are the lists of SharePoint and their sites.
			"/drives/{}/list", "/shares/{}/list", "/shares/{}/site",
			// Whom Graph tells of changes is not in a file either.
			"subscriptions",
		}},
	} {
		t.Run(c.preset, func(t *testing.T) {
			seen, excepted := 0, make(map[string]bool)
			for _, m := range published.Microsoft() {
				path := graphPath(m.Path)
				if !slices.ContainsFunc(graphAreas[c.area], func(above string) bool { return isBelow(path, above) }) {
					continue
				}
				seen++
				want := slices.ContainsFunc(c.besides[m.Verb], func(end string) bool { return strings.HasSuffix(path, end) })
				if m.Verb == "GET" {
					i := slices.IndexFunc(c.except, func(name string) bool {
						return isBelow(path, name) || strings.Contains(path+"/", "/"+name+"/")
					})
					want = i < 0 || strings.HasSuffix(path, "/list/drive") || strings.Contains(path, "/list/items/{}/driveItem")
					if i >= 0 {
						excepted[c.except[i]] = true
					}
				}
				for _, call := range graphCalls(&m) {
					if got := judgedByPreset(call, c.preset); got.Allowed != want {
						t.Errorf("%s: %+v", call, got)
					}
				}
			}
			if seen < 200 || len(excepted) != len(c.except) {
				t.Errorf("%d methods were looked at, and exceptions met: %v", seen, excepted)
			}
		})
	}
}

// graphCalls are several ways to call a published method.
func graphCalls(m *published.Method) []string {
	path := sample(m.Path)
	calls := []string{
		m.Verb + " graph.microsoft.com" + path,
		m.Verb + " graph.microsoft.us/beta" + strings.ToUpper(strings.TrimPrefix(path, "/v1.0")) + "/",
	}
	if me, ok := strings.CutPrefix(path, "/v1.0/users/18c2f0a1"); ok {
		calls = append(calls, m.Verb+" graph.microsoft.com/v1.0/me"+me, m.Verb+" graph.microsoft.com/v1.0/users('a@example.com')"+me)
	}
	if m.Verb == "GET" {
		calls = append(calls, "HEAD graph.microsoft.com"+path)
	}
	return calls
}

// TestKeyThatMustNotSendMailInGraphCannot has what sends mail, sets rules by
// which it is sent or answers by itself, in the ways that a call can be written.
func TestKeyThatMustNotSendMailInGraphCannot(t *testing.T) {
	const me = "graph.microsoft.com/v1.0/me"
	refused := []string{
		"POST " + me + "/sendMail", "POST " + me + "/SENDMAIL", "POST " + me + "/sendMail/", "POST " + me + "/s%65ndMail", "POST " + me + "/sendMail()", "POST " + me + "/microsoft.graph.sendMail",
		"POST graph.microsoft.com/beta/me/sendMail", "POST graph.microsoft.us/v1.0/me/sendMail", "POST microsoftgraph.chinacloudapi.cn/v1.0/me/sendMail",
		"POST graph.microsoft.com/v1.0/users/a@example.com/sendMail", "POST graph.microsoft.com/v1.0/users('a@example.com')/sendMail",
		"POST graph.microsoft.com/v1.0/users(userPrincipalName='a@example.com')/microsoft.graph.sendMail",
		"POST outlook.office.com/api/v2.0/me/sendmail", "POST outlook.office365.com/api/v2.0/me/messages/x/send",

		"POST " + me + "/messages/AAMk=/send", "POST " + me + "/messages/AAMk=/reply", "POST " + me + "/messages/AAMk=/replyAll", "POST " + me + "/messages/AAMk=/forward",
		"POST " + me + "/messages/AAMk=/Reply", "POST " + me + "/messages('AAMk=')/microsoft.graph.forward", "POST " + me + "/messages/AAMk=/graph.send()", "POST " + me + "/messages/AAMk=/%73end",
		"POST " + me + "/messages/AAMk=/microsoft.graph.message/send", "POST " + me + "/messages/AAMk=/microsoft.graph.message/microsoft.graph.send",
		"POST " + me + "/mailFolders/drafts/messages/x/send", "POST " + me + "/mailFolders('drafts')/messages('x')/replyAll",
		"POST " + me + "/mailFolders/inbox/childFolders/a/messages/x/forward", "POST " + me + "/mailFolders/a/childFolders/b/childFolders/c/messages/x/send",
		"POST " + me + "/messages/AAMk=/unsubscribe", "POST graph.microsoft.com/beta/me/messages/AAMk=/unsubscribe", "POST " + me + "/messages/AAMk=/markAsJunk",

		"POST " + me + "/messages/x/microsoft.graph.eventMessage/accept", "POST " + me + "/messages/x/microsoft.graph.eventMessageRequest/decline",
		"POST " + me + "/messages/x/microsoft.graph.eventMessageRequest/tentativelyAccept", "POST " + me + "/messages/x/accept",
		"POST " + me + "/messages/x/microsoft.graph.eventMessage/event/accept", "PATCH " + me + "/messages/x/microsoft.graph.eventMessage/event",

		"POST " + me + "/events", "PATCH " + me + "/events/x", "DELETE " + me + "/events/x", "POST " + me + "/calendar/events", "POST " + me + "/calendars/c/events",
		"POST " + me + "/events/x/accept", "POST " + me + "/events/x/decline", "POST " + me + "/events/x/tentativelyAccept", "POST " + me + "/events/x/cancel", "POST " + me + "/events/x/forward",
		"POST " + me + "/events/x/proposeNewTime", "POST " + me + "/calendar/calendarPermissions", "POST " + me + "/onlineMeetings", "POST " + me + "/onlineMeetings/x/sendVirtualAppointmentReminderSms",
		"POST graph.microsoft.com/v1.0/invitations", "POST graph.microsoft.com/v1.0/groups/g/events", "POST graph.microsoft.com/v1.0/groups/g/calendar/events/x/forward",

		"PATCH " + me + "/mailboxSettings", "PUT " + me + "/mailboxSettings/automaticRepliesSetting", "PATCH " + me + "/mailboxSettings/automaticRepliesSetting", "PATCH graph.microsoft.com/v1.0/me",
		"POST " + me + "/mailFolders/inbox/messageRules", "PATCH " + me + "/mailFolders/inbox/messageRules/x", "DELETE " + me + "/mailFolders/inbox/messageRules/x",
		"PUT " + me + "/mailFolders/inbox/messageRules/x", "POST " + me + "/mailFolders/inbox/childFolders/a/messageRules", "POST " + me + "/mailFolders('inbox')/microsoft.graph.messageRules",
		"PATCH " + me + "/mailFolders/inbox/messageRules",

		"PUT " + me + "/messages/x/$value", "PUT " + me + "/mailFolders/drafts/messages/x/$value", "PUT " + me + "/messages/x", "POST " + me + "/messages/x",
		"POST " + me + "/messages/x/singleValueExtendedProperties", "POST graph.microsoft.com/beta/me/mailFolders/inbox/userConfigurations",

		"POST graph.microsoft.com/v1.0/groups/g/conversations", "POST graph.microsoft.com/v1.0/groups/g/threads", "POST graph.microsoft.com/v1.0/groups/g/threads/t/reply", "PATCH graph.microsoft.com/v1.0/groups/g/threads/t",
		"POST graph.microsoft.com/v1.0/groups/g/conversations/c/threads", "POST graph.microsoft.com/v1.0/groups/g/conversations/c/threads/t/reply",
		"POST graph.microsoft.com/v1.0/groups/g/threads/t/posts/p/reply", "POST graph.microsoft.com/v1.0/groups/g/threads/t/posts/p/forward", "POST graph.microsoft.com/v1.0/groups/g/threads/t/posts/p/inReplyTo/reply",
		"POST graph.microsoft.com/v1.0/groups/g/threads/t/posts/p/attachments",

		"POST " + me + "/chats", "POST graph.microsoft.com/v1.0/chats/c/messages", "POST graph.microsoft.com/v1.0/teams/t/channels/c/messages", "POST " + me + "/teamwork/sendActivityNotification",
		"POST graph.microsoft.com/v1.0/subscriptions", "POST graph.microsoft.com/v1.0/$batch", "POST " + me + "/exportPersonalData",
	}
	for _, call := range refused {
		for _, presets := range [][]string{
			{"graph-mail-no-send"},
			{"graph-mail-readonly", "graph-mail-no-send", "graph-calendar-readonly", "graph-files-readonly"},
		} {
			if got := judgedByPreset(call, presets...); got.Allowed {
				t.Errorf("%v: %s is allowed", presets, call)
			}
		}
	}
}

func TestPresetsOfGraphAllowWhatClientsCall(t *testing.T) {
	const (
		me    = "graph.microsoft.com/v1.0/me"
		graph = "graph.microsoft.com/v1.0"
	)
	mailReads := []string{
		"GET " + me + "/messages", "GET " + me + "/messages?$select=subject,from&$top=50&$orderby=receivedDateTime%20desc", "GET " + me + "/messages/AAMkAGI2=", "GET " + me + "/messages('AAMkAGI2=')",
		"GET " + graph + "/users/a@example.com/messages", "GET " + graph + "/users('a@example.com')/messages?$skip=10", "GET " + me + "/messages/$count", "HEAD " + me + "/messages",
		"GET " + me + "/mailFolders", "GET " + me + "/mailFolders?includeHiddenFolders=true", "GET " + me + "/mailFolders/inbox", "GET " + me + "/mailFolders/inbox/messages", "GET " + me + "/mailFolders('Inbox')/messages",
		"GET " + me + "/mailFolders/inbox/childFolders", "GET " + me + "/mailFolders/a/childFolders/b/messages", "GET " + me + "/mailFolders/delta", "GET " + me + "/mailFolders/delta?$skiptoken=x",
		"GET " + me + "/mailFolders/inbox/messages/delta", "GET " + me + "/mailFolders('inbox')/messages/delta()", "GET " + me + "/mailFolders('inbox')/messages/microsoft.graph.delta()?$deltatoken=x", "GET " + me + "/messages/microsoft.graph.delta",
		"GET " + me + "/messages/AAMk=/$value", "GET " + me + "/messages/AAMk=/attachments", "GET " + me + "/messages/AAMk=/attachments/BBMk=", "GET " + me + "/messages/AAMk=/attachments/BBMk=/$value",
		"GET " + me + "/messages/AAMk=/attachments/BBMk=?$expand=microsoft.graph.itemAttachment/item", "GET " + me + "/messages/microsoft.graph.eventMessage", "GET " + me + "/messages/AAMk=/extensions",
		"GET " + me + "/mailFolders/inbox/messageRules", "GET " + me + "/mailboxSettings", "GET " + me + "/mailboxSettings/timeZone", "GET " + me + "/mailboxSettings/automaticRepliesSetting",
		"GET " + me + "/outlook/masterCategories", "GET " + me + "/outlook/supportedTimeZones", "GET " + me + "/outlook/supportedTimeZones(TimeZoneStandard=microsoft.graph.timeZoneStandard'Iana')", "GET " + me + "/inferenceClassification/overrides",
		"POST " + me + "/getMailTips", "POST " + me + "/translateExchangeIds", "POST " + graph + "/users/x/microsoft.graph.getMailTips",
		"GET " + graph + "/groups/g/threads/t/posts", "GET " + graph + "/groups/g/conversations", "GET graph.microsoft.com/beta/me/messages", "GET graph.microsoft.us/v1.0/me/messages",
	}
	mailWrites := []string{
		"POST " + me + "/messages", "POST " + me + "/mailFolders/drafts/messages", "PATCH " + me + "/messages/AAMk=", "PATCH " + graph + "/users/x/mailFolders/inbox/messages/AAMk=",
		"POST " + me + "/messages/AAMk=/createReply", "POST " + me + "/messages/AAMk=/createReplyAll", "POST " + me + "/messages/AAMk=/microsoft.graph.createForward",
		"POST " + me + "/messages/AAMk=/move", "POST " + me + "/messages/AAMk=/copy", "POST " + me + "/mailFolders/a/messages/AAMk=/move", "DELETE " + me + "/messages/AAMk=", "POST " + me + "/messages/AAMk=/permanentDelete",
		"POST " + me + "/messages/AAMk=/attachments", "POST " + me + "/messages/AAMk=/attachments/createUploadSession", "DELETE " + me + "/messages/AAMk=/attachments/BBMk=",
		"POST " + me + "/mailFolders", "POST " + me + "/mailFolders/inbox/childFolders", "PATCH " + me + "/mailFolders/a", "DELETE " + me + "/mailFolders/a", "POST " + me + "/mailFolders/a/move",
		"POST " + me + "/outlook/masterCategories", "DELETE " + me + "/outlook/masterCategories/x", "POST " + me + "/messages/AAMk=/extensions", "PATCH graph.microsoft.com/beta/me/messages/AAMk=",
	}
	calendarReads := []string{
		"GET " + me + "/calendar", "GET " + me + "/calendars", "GET " + me + "/calendarGroups/g/calendars", "GET " + me + "/events", "GET " + me + "/events/AAMk=", "GET " + me + "/calendar/events", "GET " + me + "/calendars/c/events/AAMk=",
		"GET " + me + "/calendarView?startDateTime=2026-01-01T00:00:00Z&endDateTime=2026-02-01T00:00:00Z", "GET " + me + "/calendars/c/calendarView?startDateTime=a&endDateTime=b", "GET " + me + "/calendarView/delta?$deltatoken=x", "GET " + me + "/events/delta",
		"GET " + me + "/events/AAMk=/instances?startDateTime=a&endDateTime=b", "GET " + me + "/events/AAMk=/attachments", "GET " + me + "/events/AAMk=/attachments/x/$value",
		"GET " + me + "/reminderView(startDateTime='2026-01-01T00:00:00',endDateTime='2026-02-01T00:00:00')", "GET " + me + "/calendar/allowedCalendarSharingRoles(User='a@example.com')", "GET " + me + "/calendar/calendarPermissions",
		"POST " + me + "/calendar/getSchedule", "POST " + graph + "/users/x/calendar/getSchedule", "POST " + me + "/findMeetingTimes", "GET " + me + "/outlook/masterCategories", "GET " + me + "/outlook/supportedTimeZones",
		"GET " + graph + "/groups/g/events", "GET " + graph + "/groups/g/calendarView?startDateTime=a&endDateTime=b", "GET " + graph + "/users/x/calendar/events/$count",
	}
	var fileReads []string
	for _, drive := range []string{
		me + "/drive", me + "/drives/b!x", graph + "/drives/b!x", graph + "/users/a@example.com/drive", graph + "/groups/g/drive", graph + "/groups/g/drives/d",
		graph + "/sites/contoso.sharepoint.com,1,2/drive", graph + "/sites/root/drives/d", graph + "/sites/contoso.sharepoint.com:/sites/team/a:/drive", graph + "/sites/s/lists/l/drive",
	} {
		fileReads = append(fileReads, "GET "+drive, "GET "+drive+"/recent", "GET "+drive+"/sharedWithMe()", "GET "+drive+"/search(q='a report')", "GET "+drive+"/items/01AB!2", "GET "+drive+"/special/documents", "GET "+drive+"/bundles")
		for _, item := range []string{
			"/root", "/items/01AB!2", "/root:/a/b.txt:", "/root:/ö (1):", "/items/01AB!2:/b:", "/special/approot", "/special/approot:/a/b:",
		} {
			for _, read := range []string{
				"/children", "/children?$top=5", "/content", "/content?format=pdf", "/delta", "/delta()", "/delta(token='latest')", "/microsoft.graph.delta(token='x')", "/search(q='x')", "/search(q='')", "/microsoft.graph.search(q='it''s')",
				"/thumbnails", "/thumbnails/0/medium", "/thumbnails/0/c300x400/content", "/versions", "/versions/1.0/content", "/permissions", "/permissions/x", "/listItem", "/analytics/lastSevenDays",
				"/workbook/worksheets", "/workbook/worksheets('Sheet1')/range(address='A1:B2')", "/workbook/worksheets/Sheet1/usedRange(valuesOnly=true)", "/workbook/tables/1/rows",
				"/workbook/worksheets/Sheet1/range(address='A1')/cell(row=1,column=2)",
			} {
				fileReads = append(fileReads, "GET "+drive+item+read)
			}
		}
	}
	fileReads = append(
		fileReads,
		"GET "+me+"/drives", "GET "+graph+"/sites/s/drives", "GET "+me+"/drive/root:/a/b", "GET "+me+"/drive/root:/a/b:", "GET "+me+"/drive/root:/a.txt:/content", "GET "+me+"/followedSites",
		"GET "+graph+"/shares/u!aHR0", "GET "+graph+"/shares/u!aHR0/driveItem", "GET "+graph+"/shares/u!aHR0/driveItem/content", "GET "+graph+"/shares/u!aHR0/driveItem/children", "GET "+graph+"/shares/u!aHR0/root/children",
		"GET "+graph+"/shares/u!aHR0/items/x/thumbnails", "GET graph.microsoft.com/beta/me/drive/root/children", "HEAD "+me+"/drive/items/x/content", "GET "+graph+"/sites/s/lists/l/items/1/driveItem/content",
	)
	for presets, calls := range map[string][]string{
		"graph-mail-readonly":     mailReads,
		"graph-mail-no-send":      append(mailWrites, mailReads...),
		"graph-calendar-readonly": calendarReads,
		"graph-files-readonly":    fileReads,
		"graph-files-readonly graph-calendar-readonly graph-mail-no-send": slices.Concat(mailWrites, mailReads, calendarReads, fileReads),
	} {
		for _, call := range calls {
			if got := judgedByPreset(call, strings.Fields(presets)...); !got.Allowed {
				t.Errorf("%s: %s is refused: %s%s", presets, call, got.Missing, got.Forbids)
			}
		}
	}
	for _, call := range mailWrites {
		if judgedByPreset(call, "graph-mail-readonly", "graph-calendar-readonly", "graph-files-readonly").Allowed {
			t.Errorf("%s is allowed for reading", call)
		}
	}
}

func TestPresetsOfGraphRefuseWhatIsNotReading(t *testing.T) {
	const (
		me    = "graph.microsoft.com/v1.0/me"
		graph = "graph.microsoft.com/v1.0"
	)
	var calls []string
	for _, item := range []string{me + "/drive/root", me + "/drive/items/x", me + "/drive/root:/a/b:", graph + "/drives/d/items/x:/a:", graph + "/shares/u!a/driveItem", graph + "/sites/s/drive/special/documents"} {
		for _, write := range []string{
			"POST /children", "PUT /content", "DELETE /content", "PATCH ", "DELETE ", "PUT ", "POST /createLink", "POST /invite", "POST /preview", "POST /permissions", "POST /copy", "POST /createUploadSession",
			"POST /microsoft.graph.createUploadSession", "POST /checkin", "POST /checkout", "POST /permanentDelete", "POST /restore", "POST /follow", "POST /versions/1.0/restoreVersion", "DELETE /permissions/p", "PATCH /permissions/p",
			"POST /workbook/createSession", "POST /workbook/functions/abs", "POST /workbook/worksheets/add", "POST /workbook/tables/1/rows/add", "PATCH /workbook/worksheets/1/range(address='A1')", "POST /workbook/worksheets/1/range(address='A1')/clear",
			"POST /workbook/application/calculate", "POST /workbook/refreshSession", "POST /delta", "POST /search(q='x')", "POST /assignSensitivityLabel", "POST /subscriptions", "GET /subscriptions",
			"GET /createdByUser", "GET /lastModifiedByUser/mailboxSettings", "GET /contentStream", "GET /x/content",
		} {
			method, path, _ := strings.Cut(write, " ")
			calls = append(calls, method+" "+item+path)
		}
	}
	calls = append(
		calls,
		"GET "+me, "GET "+graph+"/users", "GET "+graph+"/users/x", "GET "+me+"/contacts", "GET "+me+"/people", "GET "+me+"/chats", "GET "+me+"/onenote/notebooks", "GET "+graph+"/sites", "GET "+graph+"/sites/s", "GET "+graph+"/sites/s/lists",
		"GET "+graph+"/sites/s/lists/l/items", "GET "+graph+"/sites/contoso.sharepoint.com:/sites/a", "GET "+graph+"/drives/d/list", "GET "+graph+"/drives/d/list/items", "GET "+graph+"/shares/u!a/site", "GET "+graph+"/shares/u!a/list/items",
		"POST "+graph+"/drives", "POST "+graph+"/shares", "POST "+me+"/followedSites/add", "POST "+graph+"/search/query", "POST "+graph+"/sites/s/drives", "POST "+graph+"/shares/u!a/permission/grant",
		"GET "+me+"/drive/root:/a:b:/content", "GET "+me+"/drive/x:/a:/content", "GET "+me+"/messages:/a:/content", "GET "+me+"/drive/items/x/delta(token=@t)", "GET "+graph+"/me/drive/root:/a:/b",
		"POST "+me+"/events", "PATCH "+me+"/events/x", "DELETE "+me+"/events/x", "POST "+me+"/events/x/accept", "POST "+me+"/events/x/dismissReminder", "POST "+me+"/calendars", "DELETE "+me+"/calendars/c", "POST "+me+"/calendar/calendarPermissions",
		"POST "+me+"/events/x/attachments", "POST "+me+"/events/x/permanentDelete", "POST "+graph+"/groups/g/events", "POST "+me+"/calendarView", "GET "+me+"/calendar/getSchedule", "POST "+me+"/reminderView(startDateTime='a',endDateTime='b')",
		"POST "+me+"/messages", "PATCH "+me+"/messages/x", "DELETE "+me+"/messages/x", "POST "+me+"/messages/x/move", "PATCH "+me+"/mailboxSettings", "POST "+me+"/messages/$count", "GET "+me+"/messages/x/$ref", "GET "+me+"/messages/$metadata",
		"POST "+me+"/messages/x/microsoft.graph.getMailTips", "GET "+me+"/messages/x/y", "GET "+me+"/mailFolders/a/x", "GET graph.microsoft.com/v2.0/me/messages", "GET graph.microsoft.com/me/messages", "GET outlook.office.com/api/v2.0/me/messages",
	)
	for _, call := range calls {
		if judgedByPreset(call, "graph-mail-readonly", "graph-calendar-readonly", "graph-files-readonly").Allowed {
			t.Errorf("%s is allowed", call)
		}
	}
}

func TestBodiesOfGraphAreLookedAt(t *testing.T) {
	for call, want := range map[string]BodyCheck{
		"POST /messages":                                  GraphMessage,
		"PATCH /messages/x":                               GraphMessage,
		"POST /messages/x/createReply":                    GraphMessage,
		"POST /messages/x/microsoft.graph.createReplyAll": GraphMessage,
		"POST /messages/x/createForward":                  GraphMessage,
		"POST /messages/x/attachments":                    GraphMessage,
		"POST /mailFolders/drafts/messages":               GraphMessage,
		"PATCH /mailFolders/a/childFolders/b/messages/x":  GraphMessage,
		"POST /mailFolders":                               GraphMailFolder,
		"PATCH /mailFolders/a":                            GraphMailFolder,
		"POST /mailFolders('a')/childFolders":             GraphMailFolder,
		"PATCH /mailFolders/a/childFolders/b":             GraphMailFolder,
		"POST /messages/x/move":                           NoBodyCheck,
		"GET /messages":                                   NoBodyCheck,
		"DELETE /messages/x":                              NoBodyCheck,
	} {
		method, path, _ := strings.Cut(call, " ")
		if got := judgedByPreset(method+" graph.microsoft.com/v1.0/me"+path, "graph-mail-no-send"); !got.Allowed || got.Body != want {
			t.Errorf("%s: %+v", call, got)
		}
	}
}
