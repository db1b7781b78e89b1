package main

import "github.com/bellhop-proxy/bellhop/internal/published"

var calendar = table{
	name:     "calendar",
	title:    "Google Calendar",
	sources:  []string{"calendar/v3"},
	methods:  ofGoogle("calendar/v3"),
	effectOf: func(m *published.Method) string { return calendarEffects[m.ID] },
	also:     discovery("calendar/v3", "calendar.googleapis.com", "calendar-json.googleapis.com"),
	effects: []effect{
		document,
		{word: "read", does: "reads"},
		{word: "event", does: "changes events, and may tell those who are invited"},
		{word: "delete", does: "deletes"},
		{word: "calendar", does: "changes a calendar"},
		{word: "list", does: "changes which calendars are shown, and how"},
		{word: "share", does: "changes who may see or change a calendar"},
		{word: "notify", does: "changes whom Calendar tells of changes"},
	},
	presets: []preset{{"calendar-readonly", []string{"document", "read"}}},
}

// calendarEffects is what each method of Calendar's does, by the worst that it
// can.
var calendarEffects = map[string]string{
	"calendar.acl.get":    "read",
	"calendar.acl.list":   "read",
	"calendar.acl.insert": "share",
	"calendar.acl.patch":  "share",
	"calendar.acl.update": "share",
	"calendar.acl.delete": "share",

	"calendar.calendarList.get":    "read",
	"calendar.calendarList.list":   "read",
	"calendar.calendarList.insert": "list",
	"calendar.calendarList.patch":  "list",
	"calendar.calendarList.update": "list",
	"calendar.calendarList.delete": "list",

	"calendar.calendars.get":    "read",
	"calendar.calendars.insert": "calendar",
	"calendar.calendars.patch":  "calendar",
	"calendar.calendars.update": "calendar",
	// It deletes all events of the primary calendar.
	"calendar.calendars.clear":             "delete",
	"calendar.calendars.delete":            "delete",
	"calendar.calendars.transferOwnership": "share",

	"calendar.colors.get": "read",

	"calendar.events.get":       "read",
	"calendar.events.instances": "read",
	"calendar.events.list":      "read",
	"calendar.events.import":    "event",
	"calendar.events.insert":    "event",
	"calendar.events.move":      "event",
	"calendar.events.patch":     "event",
	"calendar.events.quickAdd":  "event",
	"calendar.events.update":    "event",
	"calendar.events.delete":    "delete",

	// A reading by POST: its body says which calendars, and when.
	"calendar.freebusy.query": "read",

	"calendar.settings.get":  "read",
	"calendar.settings.list": "read",

	// They make Calendar call an address of the caller's choice, or stop doing
	// so for somebody else: no reading, though Google takes a token for it that
	// may only read.
	"calendar.acl.watch":          "notify",
	"calendar.calendarList.watch": "notify",
	"calendar.events.watch":       "notify",
	"calendar.settings.watch":     "notify",
	"calendar.channels.stop":      "notify",
}
