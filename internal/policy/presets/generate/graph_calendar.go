package main

// The calendars of users and of groups, and what a calendar's client looks up.
var graphCalendar = table{
	name:    "graph-calendar",
	title:   "Calendars in Microsoft Graph",
	sources: []string{graphSource},
	methods: graphMethods(`
		/users/{}/calendar/** /users/{}/calendars/** /users/{}/calendarGroups/** /users/{}/calendarView/**
		/users/{}/events/** /users/{}/findMeetingTimes /users/{}/reminderView() /users/{}/outlook/**
		/groups/{}/calendar/** /groups/{}/calendarView/** /groups/{}/events/**`),
	effectOf: graphEffect(graphCalendarSays),
	effects: []effect{
		{word: "read", does: "reads"},
		{word: "event", does: "creates, changes or deletes an event, and tells who is invited"},
		{word: "answer", does: "answers, cancels or forwards an invitation"},
		{word: "attach", does: "changes what is attached to an event"},
		{word: "annotate", does: "changes the data of an app at an event"},
		{word: "remind", does: "changes a reminder"},
		{word: "calendar", does: "creates, changes or deletes a calendar"},
		{word: "share", does: "changes who may see or change a calendar"},
		{word: "sort", does: "changes categories"},
	},
	presets: []preset{{"graph-calendar-readonly", []string{"read"}}},
	also: graphReads(
		// The bytes of an attachment.
		"/users/{user-id}/events/{event-id}/attachments/{attachment-id}/$value",
		"/users/{user-id}/calendar/events/{event-id}/attachments/{attachment-id}/$value",
		"/users/{user-id}/calendars/{calendar-id}/events/{event-id}/attachments/{attachment-id}/$value",
		"/users/{user-id}/calendarGroups/{calendarGroup-id}/calendars/{calendar-id}/events/{event-id}/attachments/{attachment-id}/$value",
		"/groups/{group-id}/events/{event-id}/attachments/{attachment-id}/$value",
		"/groups/{group-id}/calendar/events/{event-id}/attachments/{attachment-id}/$value",
	),
}

// graphCalendarSays is what the methods do, by the worst that they can.
var graphCalendarSays = []graphSays{
	{"GET", `calendar calendars calendars/{} calendarGroups calendarGroups/{} calendarView
		events events/{} instances attachments attachments/{} extensions extensions/{}
		calendarPermissions calendarPermissions/{} allowedCalendarSharingRoles() reminderView()
		outlook masterCategories masterCategories/{} supportedLanguages() supportedTimeZones()
		$count delta()`, "read"},
	// They look up, and take what they look for in a body.
	{"POST", "getSchedule /users/{}/findMeetingTimes", "read"},

	{"POST", "events events/{}/permanentDelete", "event"},
	{"PATCH,DELETE", "events/{}", "event"},
	{"POST", "events/{}/accept events/{}/cancel events/{}/decline events/{}/forward events/{}/tentativelyAccept", "answer"},
	{"POST,DELETE", "attachments attachments/{} attachments/createUploadSession", "attach"},
	{"POST,PATCH,DELETE", "extensions extensions/{}", "annotate"},
	{"POST", "events/{}/dismissReminder events/{}/snoozeReminder", "remind"},
	{"POST,PATCH,DELETE", `calendar calendar/permanentDelete calendars calendars/{} calendars/{}/permanentDelete
		calendarGroups calendarGroups/{}`, "calendar"},
	{"POST,PATCH,DELETE", "calendarPermissions calendarPermissions/{}", "share"},
	{"POST,PATCH,DELETE", "masterCategories masterCategories/{}", "sort"},
}
