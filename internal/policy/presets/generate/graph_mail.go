package main

// The mail of users and of groups. What creates, changes and answers events
// sends mail too; it stands in the calendar's table, which no preset for mail
// allows anything of.
var graphMail = table{
	name:    "graph-mail",
	title:   "Mail in Microsoft Graph",
	sources: []string{graphSource},
	methods: graphMethods(`
		/users/{}/messages/** /users/{}/mailFolders/** /users/{}/sendMail
		/users/{}/mailboxSettings/** /users/{}/inferenceClassification/** /users/{}/outlook/**
		/users/{}/getMailTips /users/{}/translateExchangeIds
		/groups/{}/conversations/** /groups/{}/threads/**`),
	effectOf: graphEffect(graphMailSays),
	effects: []effect{
		{word: "read", does: "reads"},
		{word: "draft", does: "writes a draft, or changes a message", check: "graph-message"},
		{word: "upload", does: "begins the upload of an attachment"},
		{word: "mime", does: "replaces a draft by one in MIME, which may hold any property"},
		{word: "move", does: "moves or copies within the mailbox"},
		{word: "delete", does: "deletes"},
		{word: "folder", does: "creates or changes a folder", check: "graph-mail-folder"},
		{word: "sort", does: "changes categories, or what is sorted as important"},
		{word: "annotate", does: "changes the data of an app at a message"},
		{word: "send", does: "sends mail"},
		{word: "post", does: "changes what the members of a group are sent"},
		{word: "rule", does: "changes the rules by which mail is forwarded, answered and deleted"},
		{word: "settings", does: "changes the mailbox's settings, of which the automatic answer is one"},
	},
	presets: []preset{
		{"graph-mail-readonly", []string{"read"}},
		{"graph-mail-no-send", []string{"read", "draft", "upload", "move", "delete", "folder", "sort", "annotate"}},
	},
	also: graphReads(
		// The bytes of an attachment, and settings one by one.
		"/users/{user-id}/messages/{message-id}/attachments/{attachment-id}/$value",
		"/users/{user-id}/mailFolders/{mailFolder-id}/messages/{message-id}/attachments/{attachment-id}/$value",
		"/users/{user-id}/mailFolders/{mailFolder-id}/childFolders/{mailFolder-id1}/messages/{message-id}/attachments/{attachment-id}/$value",
		"/users/{user-id}/mailboxSettings/automaticRepliesSetting",
		"/users/{user-id}/mailboxSettings/dateFormat",
		"/users/{user-id}/mailboxSettings/delegateMeetingMessageDeliveryOptions",
		"/users/{user-id}/mailboxSettings/language",
		"/users/{user-id}/mailboxSettings/timeFormat",
		"/users/{user-id}/mailboxSettings/timeZone",
		"/users/{user-id}/mailboxSettings/userPurpose",
		"/users/{user-id}/mailboxSettings/workingHours",
	),
}

// graphMailSays is what the methods do, by the worst that they can.
var graphMailSays = []graphSays{
	{"GET", `messages messages/{} messages/{}/$value attachments attachments/{} extensions extensions/{}
		mailFolders mailFolders/{} childFolders childFolders/{} messageRules messageRules/{}
		conversations conversations/{} threads threads/{} posts posts/{} posts/{}/inReplyTo
		inferenceClassification overrides overrides/{} mailboxSettings
		outlook masterCategories masterCategories/{} supportedLanguages() supportedTimeZones()
		$count delta()`, "read"},
	// They look up, and take what they look for in a body.
	{"POST", "/users/{}/getMailTips /users/{}/translateExchangeIds", "read"},

	{"POST", "/users/{}/sendMail messages/{}/send messages/{}/reply messages/{}/replyAll messages/{}/forward", "send"},
	// A post goes to the members of its group. That of a thread's or a
	// conversation's creation is in the body, as it may be in that of a change.
	{"POST", `/groups/{}/conversations /groups/{}/conversations/{}/threads /groups/{}/threads
		threads/{}/reply posts/{}/reply posts/{}/forward inReplyTo/reply inReplyTo/forward`, "send"},
	{"PATCH", "threads/{}", "send"},
	{"POST,PATCH,DELETE", "/groups/{}/conversations/{}/threads/{}/posts/** /groups/{}/threads/{}/posts/**", "post"},
	{"DELETE", "conversations/{} threads/{}", "delete"},

	// A message with extended properties may be a rule that the server obeys
	// (MS-OXORULE, section 2.2.4), so the bodies are looked at. Creating or moving
	// a message into the Outbox does not submit it.
	{"POST", "messages messages/{}/createReply messages/{}/createReplyAll messages/{}/createForward messages/{}/attachments", "draft"},
	{"PATCH", "messages/{}", "draft"},
	{"POST", "messages/{}/attachments/createUploadSession", "upload"},
	// By way of TNEF, MIME carries properties too.
	{"PUT", "messages/{}/$value", "mime"},

	{"POST", "messages/{}/copy messages/{}/move mailFolders/{}/copy mailFolders/{}/move childFolders/{}/copy childFolders/{}/move", "move"},
	{"DELETE", "messages/{} messages/{}/$value messages/{}/attachments/{} mailFolders/{} childFolders/{}", "delete"},
	{"POST", "messages/{}/permanentDelete mailFolders/{}/permanentDelete childFolders/{}/permanentDelete", "delete"},

	// The rules of a folder may come with it in a body, which is looked at.
	{"POST", "mailFolders childFolders", "folder"},
	{"PATCH", "mailFolders/{} childFolders/{}", "folder"},
	{"POST,PATCH,DELETE", "messageRules messageRules/{}", "rule"},

	{"POST,PATCH,DELETE", "masterCategories masterCategories/{} overrides overrides/{} inferenceClassification", "sort"},
	{"POST,PATCH,DELETE", "messages/{}/extensions messages/{}/extensions/{}", "annotate"},
	{"PATCH", "/users/{}/mailboxSettings", "settings"},
}
