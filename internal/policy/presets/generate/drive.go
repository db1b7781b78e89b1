package main

import "github.com/bellhop-proxy/bellhop/internal/published"

var drive = table{
	name:    "drive",
	title:   "Google Drive",
	sources: []string{"drive/v2", "drive/v3"},
	methods: ofGoogle("drive/v2", "drive/v3"),
	effectOf: func(m *published.Method) string {
		if m.API == "drive/v2" {
			return driveV2Effects[m.ID]
		}
		return driveV3Effects[m.ID]
	},
	also: append(discovery("drive/v3", "drive.googleapis.com"), discovery("drive/v2")...),
	effects: []effect{
		document,
		{word: "read", does: "reads"},
		{word: "token", does: "hands out a token"},
		{word: "download", does: "starts an operation, and makes a URL that outlives the call"},
		{word: "write", does: "changes files"},
		{word: "delete", does: "trashes or deletes"},
		{word: "comment", does: "changes comments, and tells those who take part"},
		{word: "approve", does: "changes approvals, and tells those who take part"},
		{word: "share", does: "changes who may see or change files"},
		{word: "drive", does: "changes shared drives"},
		{word: "notify", does: "changes whom Drive tells of changes"},
	},
	presets: []preset{{"drive-readonly", []string{"document", "read"}}},
}

// driveV3Effects is what each method of Drive v3 does, by the worst that it can.
var driveV3Effects = map[string]string{
	"drive.about.get": "read",
	"drive.apps.get":  "read",
	"drive.apps.list": "read",

	"drive.accessproposals.get":  "read",
	"drive.accessproposals.list": "read",
	// It gives access, or refuses it.
	"drive.accessproposals.resolve": "share",

	"drive.approvals.get":      "read",
	"drive.approvals.list":     "read",
	"drive.approvals.approve":  "approve",
	"drive.approvals.cancel":   "approve",
	"drive.approvals.comment":  "approve",
	"drive.approvals.decline":  "approve",
	"drive.approvals.reassign": "approve",
	"drive.approvals.start":    "approve",

	"drive.changes.getStartPageToken": "read",
	"drive.changes.list":              "read",

	"drive.comments.get":    "read",
	"drive.comments.list":   "read",
	"drive.comments.create": "comment",
	"drive.comments.update": "comment",
	"drive.comments.delete": "delete",
	"drive.replies.get":     "read",
	"drive.replies.list":    "read",
	"drive.replies.create":  "comment",
	"drive.replies.update":  "comment",
	"drive.replies.delete":  "delete",

	"drive.drives.get":    "read",
	"drive.drives.list":   "read",
	"drive.drives.create": "drive",
	"drive.drives.update": "drive",
	"drive.drives.hide":   "drive",
	"drive.drives.unhide": "drive",
	"drive.drives.delete": "delete",

	"drive.files.get":  "read",
	"drive.files.list": "read",
	// The export of a document of Google's in another form, in the answer.
	"drive.files.export":     "read",
	"drive.files.listLabels": "read",
	// IDs that are set aside and belong to no file.
	"drive.files.generateIds": "read",
	// The token is for making encrypted files: no scope that only reads is
	// enough for it.
	"drive.files.generateCseToken": "token",
	// It starts an operation at whose end there is a URL with the content. Google
	// takes a token for it that may only read; files.get and files.export read
	// without leaving anything behind.
	"drive.files.download": "download",
	"drive.operations.get": "read",

	"drive.files.create":       "write",
	"drive.files.copy":         "write",
	"drive.files.update":       "write", // trashes, too
	"drive.files.modifyLabels": "write",
	"drive.files.delete":       "delete",
	"drive.files.emptyTrash":   "delete",

	"drive.permissions.get":    "read",
	"drive.permissions.list":   "read",
	"drive.permissions.create": "share",
	"drive.permissions.update": "share",
	"drive.permissions.delete": "share",

	"drive.revisions.get":    "read",
	"drive.revisions.list":   "read",
	"drive.revisions.update": "share", // it publishes, too
	"drive.revisions.delete": "delete",

	"drive.teamdrives.get":    "read",
	"drive.teamdrives.list":   "read",
	"drive.teamdrives.create": "drive",
	"drive.teamdrives.update": "drive",
	"drive.teamdrives.delete": "delete",

	// They make Drive call an address of the caller's choice, or stop doing so
	// for somebody else: no reading, though Google takes a token for it that may
	// only read.
	"drive.changes.watch": "notify",
	"drive.files.watch":   "notify",
	"drive.channels.stop": "notify",
}

// driveV2Effects is the same for v2.
var driveV2Effects = map[string]string{
	"drive.about.get": "read",
	"drive.apps.get":  "read",
	"drive.apps.list": "read",

	"drive.changes.get":               "read",
	"drive.changes.getStartPageToken": "read",
	"drive.changes.list":              "read",

	// A child taken out of its last folder may be out of reach.
	"drive.children.get":    "read",
	"drive.children.list":   "read",
	"drive.children.insert": "write",
	"drive.children.delete": "delete",
	"drive.parents.get":     "read",
	"drive.parents.list":    "read",
	"drive.parents.insert":  "write",
	"drive.parents.delete":  "delete",

	"drive.comments.get":    "read",
	"drive.comments.list":   "read",
	"drive.comments.insert": "comment",
	"drive.comments.patch":  "comment",
	"drive.comments.update": "comment",
	"drive.comments.delete": "delete",
	"drive.replies.get":     "read",
	"drive.replies.list":    "read",
	"drive.replies.insert":  "comment",
	"drive.replies.patch":   "comment",
	"drive.replies.update":  "comment",
	"drive.replies.delete":  "delete",

	"drive.drives.get":    "read",
	"drive.drives.list":   "read",
	"drive.drives.insert": "drive",
	"drive.drives.update": "drive",
	"drive.drives.hide":   "drive",
	"drive.drives.unhide": "drive",
	"drive.drives.delete": "delete",

	// With updateViewedDate=true in the query it changes when the file was last
	// viewed, and nothing else.
	"drive.files.get":              "read",
	"drive.files.list":             "read",
	"drive.files.export":           "read",
	"drive.files.listLabels":       "read",
	"drive.files.generateIds":      "read",
	"drive.files.generateCseToken": "token",

	"drive.files.insert":       "write",
	"drive.files.copy":         "write",
	"drive.files.patch":        "write",
	"drive.files.update":       "write",
	"drive.files.touch":        "write",
	"drive.files.untrash":      "write",
	"drive.files.modifyLabels": "write",
	"drive.files.trash":        "delete",
	"drive.files.delete":       "delete",
	"drive.files.emptyTrash":   "delete",

	"drive.permissions.get":           "read",
	"drive.permissions.list":          "read",
	"drive.permissions.getIdForEmail": "read",
	"drive.permissions.insert":        "share",
	"drive.permissions.patch":         "share",
	"drive.permissions.update":        "share",
	"drive.permissions.delete":        "share",

	"drive.properties.get":    "read",
	"drive.properties.list":   "read",
	"drive.properties.insert": "write",
	"drive.properties.patch":  "write",
	"drive.properties.update": "write",
	"drive.properties.delete": "delete",

	"drive.revisions.get":    "read",
	"drive.revisions.list":   "read",
	"drive.revisions.patch":  "share", // it publishes, too
	"drive.revisions.update": "share",
	"drive.revisions.delete": "delete",

	"drive.teamdrives.get":    "read",
	"drive.teamdrives.list":   "read",
	"drive.teamdrives.insert": "drive",
	"drive.teamdrives.update": "drive",
	"drive.teamdrives.delete": "delete",

	"drive.changes.watch": "notify",
	"drive.files.watch":   "notify",
	"drive.channels.stop": "notify",
}
