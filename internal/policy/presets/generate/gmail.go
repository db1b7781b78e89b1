package main

import "github.com/bellhop-proxy/bellhop/internal/published"

var gmail = table{
	name:     "gmail",
	title:    "Gmail",
	sources:  []string{"gmail/v1"},
	methods:  ofGoogle("gmail/v1"),
	effectOf: func(m *published.Method) string { return gmailEffects[m.ID] },
	also:     discovery("gmail/v1", "gmail.googleapis.com"),
	effects: []effect{
		document,
		{word: "read", does: "reads"},
		{word: "draft", does: "writes a draft"},
		{word: "delete-draft", does: "deletes a draft for good"},
		{word: "send", does: "sends mail"},
		{word: "insert", does: "puts mail into the mailbox"},
		{word: "label", does: "changes the labels of mail, as moving it to the trash does", check: "gmail-labels"},
		{word: "untrash", does: "takes mail out of the trash"},
		{word: "organize", does: "changes labels themselves"},
		{word: "trash", does: "moves mail to the trash"},
		{word: "delete", does: "deletes for good"},
		{word: "preference", does: "changes the language or the automatic answer"},
		{word: "route", does: "changes where mail goes, who reads it or what becomes of it"},
		{word: "keys", does: "changes the keys with which mail is encrypted and signed"},
		{word: "notify", does: "changes whom Gmail tells of changes"},
	},
	presets: []preset{
		{"gmail-readonly", []string{"document", "read"}},
		{"gmail-draft-only", []string{"document", "read", "draft", "delete-draft"}},
		{"gmail-no-delete", []string{"document", "read", "draft", "send", "insert", "label", "untrash", "organize", "preference", "notify"}},
	},
}

// gmailEffects is what each method of Gmail's does, by the worst that it can.
var gmailEffects = map[string]string{
	"gmail.users.getProfile":   "read",
	"gmail.users.history.list": "read",

	// The notifications hold the address and a number, and go to a topic in the
	// project of the OAuth client. But the topic is of the caller's choice: no
	// reading.
	"gmail.users.watch": "notify",
	"gmail.users.stop":  "notify",

	"gmail.users.messages.get":             "read",
	"gmail.users.messages.list":            "read",
	"gmail.users.messages.attachments.get": "read",
	// Both put a message into this mailbox alone, without sending it to anybody.
	"gmail.users.messages.import": "insert",
	"gmail.users.messages.insert": "insert",
	// Adding the labels TRASH and SPAM deletes after 30 days.
	"gmail.users.messages.modify":      "label",
	"gmail.users.messages.batchModify": "label",
	"gmail.users.messages.send":        "send",
	"gmail.users.messages.trash":       "trash",
	"gmail.users.messages.untrash":     "untrash",
	"gmail.users.messages.delete":      "delete",
	"gmail.users.messages.batchDelete": "delete",

	"gmail.users.threads.get":     "read",
	"gmail.users.threads.list":    "read",
	"gmail.users.threads.modify":  "label",
	"gmail.users.threads.trash":   "trash",
	"gmail.users.threads.untrash": "untrash",
	"gmail.users.threads.delete":  "delete",

	"gmail.users.drafts.get":    "read",
	"gmail.users.drafts.list":   "read",
	"gmail.users.drafts.create": "draft",
	// It replaces the draft's message, whose former text is gone. A draft is
	// what the writer of drafts writes: this is no deletion.
	"gmail.users.drafts.update": "draft",
	"gmail.users.drafts.delete": "delete-draft",
	"gmail.users.drafts.send":   "send",

	"gmail.users.labels.get":    "read",
	"gmail.users.labels.list":   "read",
	"gmail.users.labels.create": "organize",
	"gmail.users.labels.patch":  "organize",
	"gmail.users.labels.update": "organize",
	// It takes the label off all mail, and nothing tells which had it.
	"gmail.users.labels.delete": "delete",

	"gmail.users.settings.getLanguage":    "read",
	"gmail.users.settings.updateLanguage": "preference",
	"gmail.users.settings.getVacation":    "read",
	// The answer is sent by Gmail; whoever may do this may send anyway.
	"gmail.users.settings.updateVacation": "preference",

	"gmail.users.settings.getAutoForwarding": "read",
	"gmail.users.settings.getImap":           "read",
	"gmail.users.settings.getPop":            "read",
	// Forwarding can trash what it forwards; IMAP's expungeBehavior and POP's
	// disposition delete or trash mail.
	"gmail.users.settings.updateAutoForwarding": "route",
	"gmail.users.settings.updateImap":           "route",
	"gmail.users.settings.updatePop":            "route",

	"gmail.users.settings.filters.get":  "read",
	"gmail.users.settings.filters.list": "read",
	// A filter trashes and forwards. Without one, mail stays where it hid.
	"gmail.users.settings.filters.create": "route",
	"gmail.users.settings.filters.delete": "route",

	"gmail.users.settings.forwardingAddresses.get":    "read",
	"gmail.users.settings.forwardingAddresses.list":   "read",
	"gmail.users.settings.forwardingAddresses.create": "route",
	"gmail.users.settings.forwardingAddresses.delete": "route",

	// A delegate reads, sends and deletes.
	"gmail.users.settings.delegates.get":    "read",
	"gmail.users.settings.delegates.list":   "read",
	"gmail.users.settings.delegates.create": "route",
	"gmail.users.settings.delegates.delete": "route",

	// An alias has an address for answers, and may have an SMTP server with its
	// password, through which mail then leaves.
	"gmail.users.settings.sendAs.get":    "read",
	"gmail.users.settings.sendAs.list":   "read",
	"gmail.users.settings.sendAs.create": "route",
	"gmail.users.settings.sendAs.patch":  "route",
	"gmail.users.settings.sendAs.update": "route",
	"gmail.users.settings.sendAs.delete": "route",
	// It sends a message to the alias, after which mail may be sent as it.
	"gmail.users.settings.sendAs.verify": "route",

	"gmail.users.settings.sendAs.smimeInfo.get":        "read",
	"gmail.users.settings.sendAs.smimeInfo.list":       "read",
	"gmail.users.settings.sendAs.smimeInfo.insert":     "keys",
	"gmail.users.settings.sendAs.smimeInfo.setDefault": "keys",
	"gmail.users.settings.sendAs.smimeInfo.delete":     "keys",

	// Client-side encryption: without its keys nobody reads the mail again, and
	// with others somebody else does. What is read here is public.
	"gmail.users.settings.cse.identities.get":      "read",
	"gmail.users.settings.cse.identities.list":     "read",
	"gmail.users.settings.cse.identities.create":   "keys",
	"gmail.users.settings.cse.identities.patch":    "keys",
	"gmail.users.settings.cse.identities.delete":   "keys",
	"gmail.users.settings.cse.keypairs.get":        "read",
	"gmail.users.settings.cse.keypairs.list":       "read",
	"gmail.users.settings.cse.keypairs.create":     "keys",
	"gmail.users.settings.cse.keypairs.enable":     "keys",
	"gmail.users.settings.cse.keypairs.disable":    "keys",
	"gmail.users.settings.cse.keypairs.obliterate": "keys",
}
