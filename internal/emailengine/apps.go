package emailengine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// The kinds of OAuth2 app.
const (
	Gmail          = "gmail"
	GmailService   = "gmailService"
	Outlook        = "outlook"
	OutlookService = "outlookService"
	MailRu         = "mailRu"
)

// App is an OAuth2 app of the instance, without its secrets.
type App struct {
	ID   string
	Name string
	// Type is one of the kinds above.
	Type     string
	ClientID string
	// ServiceClient and ServiceEmail are a service account's ID and address.
	ServiceClient, ServiceEmail string
	// Authority is Microsoft's tenant, Cloud EmailEngine's word for the cloud.
	Authority, Cloud string
	// BaseScopes is the kind of access: imap, api or pubsub.
	BaseScopes              string
	ExtraScopes, SkipScopes []string
	// Workspace is set for a client that only takes accounts of Google Workspace.
	Workspace bool

	// Err is why the record cannot be read.
	Err error
}

// Apps reads the OAuth2 apps, of which an instance has a handful.
func (i *Instance) Apps(ctx context.Context) ([]App, error) {
	ids, err := i.redis.SMembers(ctx, i.key("oapp:i")).Result()
	if err != nil {
		return nil, fmt.Errorf("reading OAuth2 apps: %w", err)
	}
	slices.Sort(ids)
	apps := make([]App, 0, len(ids))
	for _, id := range ids {
		packed, err := i.redis.HGet(ctx, i.key("oapp:c"), id+":data").Result()
		switch {
		case err == nil:
			apps = append(apps, readApp(id, packed))
			continue
		case !errors.Is(err, redis.Nil):
			return nil, fmt.Errorf("reading OAuth2 apps: %w", err)
		}
		app, err := i.settingsApp(ctx, id)
		if err != nil {
			return nil, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

func readApp(id, packed string) App {
	a := App{ID: id, Name: id}
	record, err := readRecord(packed)
	if err != nil {
		a.Err = err
		return a
	}
	if name := text(record, "name"); name != "" {
		a.Name = name
	}
	a.Type = text(record, "provider")
	a.ClientID = text(record, "clientId")
	a.ServiceClient, a.ServiceEmail = text(record, "serviceClient"), text(record, "serviceClientEmail")
	a.Authority, a.Cloud, a.BaseScopes = text(record, "authority"), text(record, "cloud"), text(record, "baseScopes")
	if a.Authority == "" {
		a.Authority = text(record, "tenant") // as older records have it
	}
	a.Workspace, _ = record["googleWorkspaceAccounts"].(bool)
	var extra, skip bool
	a.ExtraScopes, extra = list(record, "extraScopes")
	a.SkipScopes, skip = list(record, "skipScopes")
	_, cloud := microsoftClouds[a.Cloud]
	switch {
	case !extra:
		a.Err = errors.New("extraScopes: is not a list")
	case !skip:
		a.Err = errors.New("skipScopes: is not a list")
	case !cloud:
		a.Err = fmt.Errorf("cloud: %q is not known", a.Cloud)
	}
	return a
}

// settingsApp is an app of an older version, whose fields are settings.
func (i *Instance) settingsApp(ctx context.Context, id string) (App, error) {
	a := App{ID: id, Name: id, Type: id}
	if !slices.Contains([]string{Gmail, GmailService, Outlook, MailRu}, id) {
		a.Err = errors.New("is listed, and has no record")
		return a, nil
	}
	values, err := i.redis.HMGet(ctx, i.key("settings"),
		id+"ClientId", id+"Client", id+"ClientEmail", id+"Authority", id+"ExtraScopes").Result()
	if err != nil {
		return a, fmt.Errorf("reading settings: %w", err)
	}
	for n, into := range []any{&a.ClientID, &a.ServiceClient, &a.ServiceEmail, &a.Authority, &a.ExtraScopes} {
		if value, ok := values[n].(string); ok && json.Unmarshal([]byte(value), into) != nil {
			a.Err = errors.New("its settings cannot be read")
		}
	}
	if a.ClientID == "" && a.ServiceClient == "" && a.Err == nil {
		a.Err = errors.New("is listed, and has no client ID")
	}
	return a, nil
}

// microsoftCloud is where the scopes of one of Microsoft's clouds lead.
type microsoftCloud struct{ graph, outlook string }

var microsoftClouds = map[string]microsoftCloud{
	"":         {"https://graph.microsoft.com", "https://outlook.office.com"},
	"global":   {"https://graph.microsoft.com", "https://outlook.office.com"},
	"gcc-high": {"https://graph.microsoft.us", "https://outlook.office365.us"},
	"dod":      {"https://dod-graph.microsoft.us", "https://outlook.office365.us"},
	"china":    {"https://microsoftgraph.chinacloudapi.cn", "https://partner.outlook.cn"},
}

// Scopes are those that EmailEngine asks people for: of the kind of access, and
// the app's own, without those that it leaves out. Those that are about signing
// in are not among them.
func (a *App) Scopes() []string {
	base := a.base()
	var scopes []string
	for _, scope := range slices.Concat(base, a.ExtraScopes) {
		if scope != "" && !slices.Contains(scopes, scope) && !slices.ContainsFunc(a.SkipScopes, func(skip string) bool { return sameScope(skip, scope) }) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

func (a *App) base() []string {
	api := a.BaseScopes == "api"
	switch a.Type {
	case Gmail, GmailService:
		switch a.BaseScopes {
		case "api":
			return []string{"https://www.googleapis.com/auth/gmail.modify"}
		case "pubsub":
			return []string{"https://www.googleapis.com/auth/pubsub"}
		}
		return []string{"https://mail.google.com/"}
	case Outlook:
		cloud := microsoftClouds[a.Cloud]
		if api {
			return []string{cloud.graph + "/Mail.ReadWrite", cloud.graph + "/Mail.Send", cloud.graph + "/User.Read"}
		}
		return []string{cloud.outlook + "/IMAP.AccessAsUser.All", cloud.outlook + "/SMTP.Send"}
	case MailRu:
		return []string{"userinfo", "mail.imap"}
	}
	return nil
}

// bareScopes are what a scope may be written without where it is left out.
var bareScopes = []string{"https://outlook.office.com/", "https://graph.microsoft.com/", "https://www.googleapis.com/auth/"}

// sameScope reports whether skip names the scope.
func sameScope(skip, scope string) bool {
	return skip == scope || slices.ContainsFunc(bareScopes, func(prefix string) bool {
		bare, ok := strings.CutPrefix(scope, prefix)
		return ok && bare == skip
	})
}
