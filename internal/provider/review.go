package provider

import (
	"slices"
	"strings"
)

// restrictedScopes are those for which Google reviews an app that people
// outside its own organisation use, with a security assessment each year
// ("Restricted scopes", support.google.com/cloud/answer/13464325).
var restrictedScopes = []string{
	"https://mail.google.com/",
	"https://www.googleapis.com/auth/gmail.readonly",
	"https://www.googleapis.com/auth/gmail.metadata",
	"https://www.googleapis.com/auth/gmail.modify",
	"https://www.googleapis.com/auth/gmail.insert",
	"https://www.googleapis.com/auth/gmail.compose",
	"https://www.googleapis.com/auth/gmail.settings.basic",
	"https://www.googleapis.com/auth/gmail.settings.sharing",
	"https://www.googleapis.com/auth/drive",
	"https://www.googleapis.com/auth/drive.readonly",
	"https://www.googleapis.com/auth/drive.activity",
	"https://www.googleapis.com/auth/drive.activity.readonly",
	"https://www.googleapis.com/auth/drive.meet.readonly",
	"https://www.googleapis.com/auth/drive.metadata",
	"https://www.googleapis.com/auth/drive.metadata.readonly",
	"https://www.googleapis.com/auth/drive.scripts",
}

// administrators are delegated permissions of Microsoft Graph that only an
// administrator can consent to ("Microsoft Graph permissions reference",
// AdminConsentRequired).
var administrators = []string{
	"application.read.all", "application.readwrite.all", "auditlog.read.all",
	"channelmessage.read.all", "devicemanagementmanageddevices.read.all",
	"directory.accessasuser.all", "directory.read.all", "directory.readwrite.all",
	"group.read.all", "group.readwrite.all", "groupmember.read.all", "groupmember.readwrite.all",
	"onlinemeetingtranscript.read.all", "policy.read.all", "reports.read.all",
	"rolemanagement.read.directory", "rolemanagement.readwrite.directory",
	"securityevents.read.all", "sites.fullcontrol.all", "user.read.all", "user.readwrite.all",
}

// NeedsReview are those of the provider's scopes that a user's consent is not
// enough for: Google's that it reviews apps for, Microsoft's that an
// administrator consents to.
func NeedsReview(p Provider) []string {
	return slices.DeleteFunc(p.Scopes(), func(scope string) bool {
		switch p.Type() {
		case TypeGoogle:
			return !slices.Contains(restrictedScopes, scope)
		case TypeMicrosoft:
			return !slices.Contains(administrators, strings.ToLower(scope[strings.LastIndexByte(scope, '/')+1:]))
		}
		return true
	})
}
