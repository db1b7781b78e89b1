package pages

import "strings"

// Scope is a scope as people read it.
type Scope struct {
	// Name is the scope itself, Words what it lets an app do; empty where that
	// is not known.
	Name, Words string
}

// scopes puts scopes into words. Those of a provider's own are only known where
// the provider is: anybody's server may call anything "Mail.Read".
func (p Provider) scopes(names []string) []Scope {
	read := make([]Scope, 0, len(names))
	for _, name := range names {
		words := identityScopes[name]
		switch {
		case words != "":
		case p.Type == google:
			words = googleScopes[name]
		case p.Type == microsoft:
			words = microsoftScopes[microsoftScope(name)]
		}
		read = append(read, Scope{Name: name, Words: words})
	}
	return read
}

// microsoftScope is the scope's bare name where it is one of Graph's or of
// Exchange Online's.
func microsoftScope(name string) string {
	resource, bare, ok := cutLast(name, "/")
	if !ok {
		return name // Graph's
	}
	if host, ok := strings.CutPrefix(strings.ToLower(resource), "https://"); ok && microsoftHosts[host] {
		return bare
	}
	return ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// microsoftHosts are the resources whose scopes microsoftScopes explains, in
// each of Microsoft's clouds.
var microsoftHosts = map[string]bool{
	"graph.microsoft.com":             true,
	"graph.microsoft.us":              true,
	"dod-graph.microsoft.us":          true,
	"microsoftgraph.chinacloudapi.cn": true,
	"outlook.office.com":              true,
	"outlook.office365.com":           true,
	"outlook.office365.us":            true,
	"partner.outlook.cn":              true,
	"outlook-dod.office365.us":        true,
}

// identityScopes are those of OpenID Connect.
var identityScopes = map[string]string{
	"openid":         "Know that it is you",
	"email":          "See your email address",
	"profile":        "See your name and profile",
	"address":        "See your postal address",
	"phone":          "See your phone number",
	"offline_access": "Go on while you are away",
}

// googleScopes are in the words of Google's own consent page, or shorter.
var googleScopes = map[string]string{
	"https://mail.google.com/":                                    "Read, write, send and permanently delete all your mail",
	"https://www.googleapis.com/auth/gmail.readonly":              "Read all your mail and its settings",
	"https://www.googleapis.com/auth/gmail.modify":                "Read, write and send mail, and move it to the bin",
	"https://www.googleapis.com/auth/gmail.compose":               "Write drafts and send mail",
	"https://www.googleapis.com/auth/gmail.send":                  "Send mail as you",
	"https://www.googleapis.com/auth/gmail.insert":                "Add mail to your mailbox",
	"https://www.googleapis.com/auth/gmail.labels":                "See and change your labels",
	"https://www.googleapis.com/auth/gmail.metadata":              "See headers and labels of your mail, not its text",
	"https://www.googleapis.com/auth/gmail.settings.basic":        "See and change your mail settings and filters",
	"https://www.googleapis.com/auth/gmail.settings.sharing":      "Change who else can use your mailbox",
	"https://www.googleapis.com/auth/postmaster":                  "Manage your domains in Postmaster Tools and see their figures",
	"https://www.googleapis.com/auth/postmaster.domain":           "Manage your domains in Postmaster Tools",
	"https://www.googleapis.com/auth/postmaster.readonly":         "See the figures of your domains in Postmaster Tools",
	"https://www.googleapis.com/auth/postmaster.traffic.readonly": "See the traffic figures of your domains in Postmaster Tools",
	"https://www.googleapis.com/auth/calendar":                    "See, change, share and permanently delete all your calendars",
	"https://www.googleapis.com/auth/calendar.readonly":           "See all your calendars",
	"https://www.googleapis.com/auth/calendar.events":             "See and change events in all your calendars",
	"https://www.googleapis.com/auth/calendar.events.readonly":    "See events in all your calendars",
	"https://www.googleapis.com/auth/calendar.freebusy":           "See when you are free or busy",
	"https://www.googleapis.com/auth/contacts":                    "See, change and permanently delete your contacts",
	"https://www.googleapis.com/auth/contacts.readonly":           "See your contacts",
	"https://www.googleapis.com/auth/contacts.other.readonly":     "See people whom you have written with",
	"https://www.googleapis.com/auth/directory.readonly":          "See your organisation's directory",
	"https://www.googleapis.com/auth/drive":                       "See, change and delete all your files in Drive",
	"https://www.googleapis.com/auth/drive.readonly":              "See and download all your files in Drive",
	"https://www.googleapis.com/auth/drive.file":                  "See and change the files in Drive that you use with this app",
	"https://www.googleapis.com/auth/drive.appdata":               "Keep its own data in your Drive",
	"https://www.googleapis.com/auth/drive.metadata":              "See and change the names and details of your files in Drive",
	"https://www.googleapis.com/auth/drive.metadata.readonly":     "See the names and details of your files in Drive",
	"https://www.googleapis.com/auth/documents":                   "See, change and delete all your documents",
	"https://www.googleapis.com/auth/documents.readonly":          "See all your documents",
	"https://www.googleapis.com/auth/spreadsheets":                "See, change and delete all your spreadsheets",
	"https://www.googleapis.com/auth/spreadsheets.readonly":       "See all your spreadsheets",
	"https://www.googleapis.com/auth/presentations":               "See, change and delete all your presentations",
	"https://www.googleapis.com/auth/presentations.readonly":      "See all your presentations",
	"https://www.googleapis.com/auth/tasks":                       "See, change and delete your tasks",
	"https://www.googleapis.com/auth/tasks.readonly":              "See your tasks",
	"https://www.googleapis.com/auth/webmasters":                  "See and change your sites in Search Console",
	"https://www.googleapis.com/auth/webmasters.readonly":         "See your sites in Search Console",
	"https://www.googleapis.com/auth/userinfo.email":              "See your email address",
	"https://www.googleapis.com/auth/userinfo.profile":            "See your name and profile",
}

// microsoftScopes are in the words of Microsoft's own consent page, or shorter.
var microsoftScopes = map[string]string{
	"Mail.Read":                  "Read your mail",
	"Mail.ReadBasic":             "See headers of your mail, not its text",
	"Mail.ReadWrite":             "Read, change and delete your mail",
	"Mail.Send":                  "Send mail as you",
	"Mail.Read.Shared":           "Read your mail and mail that is shared with you",
	"Mail.ReadWrite.Shared":      "Read, change and delete your mail and mail that is shared with you",
	"Mail.Send.Shared":           "Send mail as you, or as others who let you",
	"MailboxSettings.Read":       "See your mailbox settings",
	"MailboxSettings.ReadWrite":  "See and change your mailbox settings",
	"IMAP.AccessAsUser.All":      "Read, change and delete all your mail (IMAP)",
	"POP.AccessAsUser.All":       "Read and delete all your mail (POP)",
	"SMTP.Send":                  "Send mail as you (SMTP)",
	"EWS.AccessAsUser.All":       "Do all that you can do in your mailbox (Exchange Web Services)",
	"Calendars.Read":             "See your calendars",
	"Calendars.Read.Shared":      "See your calendars and those that are shared with you",
	"Calendars.ReadBasic":        "See your calendars without the text of events",
	"Calendars.ReadWrite":        "See, change and delete what is in your calendars",
	"Calendars.ReadWrite.Shared": "See, change and delete what is in your calendars and in those that are shared with you",
	"Contacts.Read":              "See your contacts",
	"Contacts.ReadWrite":         "See, change and delete your contacts",
	"People.Read":                "See people whom you work with",
	"Files.Read":                 "See your files",
	"Files.Read.All":             "See all files that you can see",
	"Files.ReadWrite":            "See, change and delete your files",
	"Files.ReadWrite.All":        "See, change and delete all files that you can",
	"Files.ReadWrite.AppFolder":  "Keep its own files in your OneDrive",
	"Sites.Read.All":             "See all SharePoint sites that you can see",
	"Sites.ReadWrite.All":        "See and change all SharePoint sites that you can",
	"Tasks.Read":                 "See your tasks",
	"Tasks.ReadWrite":            "See, change and delete your tasks",
	"Notes.Read":                 "See your notebooks",
	"Notes.ReadWrite":            "See and change your notebooks",
	"Chat.Read":                  "Read your chats",
	"Chat.ReadWrite":             "Read your chats and write in them",
	"OnlineMeetings.Read":        "See your online meetings",
	"OnlineMeetings.ReadWrite":   "See and change your online meetings",
	"User.Read":                  "Know that it is you and see your profile",
	"User.ReadBasic.All":         "See names and addresses in your organisation",
	"User.Read.All":              "See all profiles in your organisation",
	"Directory.Read.All":         "See your organisation's directory",
	"Group.Read.All":             "See all groups in your organisation",
}
