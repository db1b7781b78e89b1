package caddymodule

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/emailengine"
)

func TestBlocksOfMissingAppsAreACaddyfile(t *testing.T) {
	var r importReport
	taken := []string{"work"}
	for _, app := range []emailengine.App{
		{ID: "1", Name: "Work", Type: emailengine.Gmail, ClientID: "1.apps.googleusercontent.com", Workspace: true},
		{ID: "2", Name: "Work!", Type: emailengine.Outlook, ClientID: "2", Authority: "contoso.example", Cloud: "dod", ExtraScopes: []string{"https://dod-graph.microsoft.us/Mail.Read"}},
		{ID: "3", Name: "日本", Type: emailengine.GmailService, ServiceClient: "3", ServiceEmail: "sa@p.iam.gserviceaccount.com"},
		{ID: "4", Name: "365 app", Type: emailengine.OutlookService, ClientID: "4", Authority: "00000000-0000-0000-0000-000000000000"},
		{ID: "5", Name: "Mail.ru", Type: emailengine.MailRu, ClientID: "5"},
	} {
		r.missing(app, "", taken)
	}
	blocks, variables := "", []string{}
	for _, app := range r.Apps {
		blocks += app.Caddyfile
		variables = append(variables, sortedKeys(app.Environment)...)
	}
	config, err := adapted("{\n\tbellhop {\n" + blocks + "\t}\n}\n")
	if err != nil {
		t.Fatalf("%v\n%s", err, blocks)
	}
	var read struct {
		Apps struct {
			Bellhop struct{ Providers []Provider } `json:"bellhop"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &read); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range read.Apps.Bellhop.Providers {
		got = append(got, strings.Join(slices.Concat([]string{p.Name, p.kind(), p.ClientID, p.Tenant, p.Cloud, p.TokenEndpoint, p.AuthorizeParams["hd"]}, p.Scopes), " "))
	}
	if want := []string{
		"work-2 google 1.apps.googleusercontent.com    * https://mail.google.com/",
		"work-3 microsoft 2 contoso.example usgov-dod   https://outlook.office365.us/IMAP.AccessAsUser.All https://outlook.office365.us/SMTP.Send https://dod-graph.microsoft.us/Mail.Read",
		"emailengine google_service_account      https://mail.google.com/",
		"365-app microsoft_app 4 00000000-0000-0000-0000-000000000000   ",
		"mail-ru oauth2 5   https://oauth.mail.ru/token  userinfo mail.imap",
	}; !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
	if want := []string{"WORK_2_CLIENT_SECRET", "WORK_3_CLIENT_SECRET", "EMAILENGINE_CREDENTIALS_FILE", "APP_CLIENT_SECRET", "MAIL_RU_CLIENT_SECRET"}; !slices.Equal(variables, want) {
		t.Errorf("%q, want %q", variables, want)
	}
}

// EmailEngine takes any text; it must not become lines of a Caddyfile.
func TestAppsThatCannotBeWrittenAreNot(t *testing.T) {
	for _, app := range []emailengine.App{
		{Name: "a", Type: emailengine.Gmail, ClientID: "1\n}\nimport /etc/passwd"},
		{Name: "a", Type: emailengine.Gmail, ClientID: "{env.HOME}"},
		{Name: "a", Type: emailengine.Gmail, ClientID: ""},
		{Name: "a", Type: emailengine.Gmail, ClientID: "1", ExtraScopes: []string{"a b {"}},
		{Name: "a", Type: emailengine.Outlook, ClientID: "1", Authority: "x`y"},
		{Name: "a", Type: "carrier pigeon", ClientID: "1"},
	} {
		var r importReport
		r.missing(app, "no provider has it", nil)
		if m := r.Apps[0]; m.Caddyfile != "" || !strings.Contains(m.Reason, "no provider has it; its ") {
			t.Errorf("%+v", m)
		}
	}
}
