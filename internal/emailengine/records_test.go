package emailengine

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/bellhop-proxy/bellhop/internal/emailengine/emailenginetest"
)

func TestTokensAreReadAsTheyAreLaidOut(t *testing.T) {
	r := emailenginetest.Start(t)
	r.Account("alice", nil, nil)
	value := func(digit string) string { return strings.Repeat(digit, 64) }
	ends := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	want := map[string]Token{}
	expect := func(id string, t Token) { t.ID = id; want[id] = t }
	created := uint64(1795000000000)
	expect(r.Token(value("1"), map[string]any{"created": created, "scopes": []string{"api"}, "description": "CI", "account": "alice", "ip": "127.0.0.1"}),
		Token{Description: "CI", Account: "alice", API: true})
	expect(r.Token(value("2"), map[string]any{"created": created, "scopes": []string{"*"}}), Token{API: true})
	expect(r.Token(value("3"), map[string]any{"created": created, "description": "all"}), Token{Description: "all", API: true})
	expect(r.Token(value("4"), map[string]any{"scopes": []string{"smtp", "imap-proxy"}}), Token{OtherScopes: []string{"smtp", "imap-proxy"}})
	expect(r.Token(value("5"), map[string]any{"scopes": []string{"api", "mcp"}, "expires": uint64(ends.UnixMilli())}), Token{API: true, OtherScopes: []string{"mcp"}, Expires: ends})
	expect(r.Token(value("6"), map[string]any{"scopes": []string{"api"}, "expires": ends.Format(time.RFC3339), "permissions": map[string]any{"actions": []string{"read"}}}), Token{API: true, Narrowed: true, Expires: ends})
	expect(r.Token(value("7"), map[string]any{"scopes": []string{"api"}, "permissions": "nonsense"}), Token{API: true, Narrowed: true})
	expect(r.Token(value("8"), map[string]any{"scopes": []string{"api"}, "restrictions": map[string]any{
		"addresses": []string{"10.0.0.0/8", "2001:db8::1"}, "referrers": []string{"*.example.com"}, "rateLimit": map[string]any{"maxRequests": 10, "timeWindow": 60},
	}}), Token{API: true, Addresses: []string{"10.0.0.0/8", "2001:db8::1"}, Referrers: []string{"*.example.com"}, RateLimited: true})
	expect(r.Token(value("9"), map[string]any{"scopes": []string{}}), Token{})

	got := map[string]Token{}
	err := open(t, r, "", "").Tokens(t.Context(), func(some []Token) error {
		for _, token := range some {
			got[token.ID] = token
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, revealed); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
}

func TestHundredsOfTokens(t *testing.T) {
	r := emailenginetest.Start(t)
	const tokens = 3*page + 1
	for n := range tokens {
		r.Token(strings.Repeat("0", 60)+string("0123456789abcdef"[n>>12&15])+string("0123456789abcdef"[n>>8&15])+string("0123456789abcdef"[n>>4&15])+string("0123456789abcdef"[n&15]), map[string]any{"scopes": []string{"api"}})
	}
	r.Setting("run", 1)
	seen := map[string]bool{}
	err := open(t, r, "", "").Tokens(t.Context(), func(some []Token) error {
		for _, token := range some {
			if seen[token.ID] || token.Err != nil {
				t.Errorf("%+v", token)
			}
			seen[token.ID] = true
		}
		return nil
	})
	if err != nil || len(seen) != tokens {
		t.Errorf("%d tokens, %v", len(seen), err)
	}
}

// A limit that cannot be read must not be left out.
func TestTokensWhoseLimitsCannotBeReadAreErrors(t *testing.T) {
	id := strings.Repeat("ab", 32)
	pack := func(record any) string {
		packed, err := msgpack.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		return string(packed)
	}
	for name, test := range map[string]struct{ id, packed, says string }{
		"account":      {id, pack(map[string]any{"account": 7}), "account"},
		"scopes":       {id, pack(map[string]any{"scopes": []any{"api", 7}}), "scopes"},
		"scopes map":   {id, pack(map[string]any{"scopes": map[string]any{}}), "scopes"},
		"expires":      {id, pack(map[string]any{"expires": "soon"}), "expires"},
		"expires bool": {id, pack(map[string]any{"expires": false}), "expires"},
		"restrictions": {id, pack(map[string]any{"restrictions": "none"}), "restrictions"},
		"addresses":    {id, pack(map[string]any{"restrictions": map[string]any{"addresses": 1}}), "addresses"},
		"referrers":    {id, pack(map[string]any{"restrictions": map[string]any{"referrers": 1}}), "referrers"},
		"no map":       {id, pack("text"), "MessagePack"},
		"truncated":    {id, pack(map[string]any{"account": "alice"})[:10], "MessagePack"},
		"empty":        {id, "", "MessagePack"},
		"too deep":     {id, strings.Repeat("\x91", 100000), "MessagePack"},
		"too many":     {id, "\xdf\xff\xff\xff\xff", "MessagePack"},
		"too many, 16": {id, "\x81\xa1a\xdc\xff\xff", "MessagePack"},
		"trailing":     {id, pack(map[string]any{}) + "x", "MessagePack"},
		"too large":    {id, strings.Repeat("x", maxRecord+1), "MessagePack"},
		"ID":           {"nonsense", pack(map[string]any{}), "ID"},
		"ID in caps":   {strings.ToUpper(id), pack(map[string]any{}), "ID"},
	} {
		t.Run(name, func(t *testing.T) {
			if token := readToken(test.id, test.packed); token.Err == nil || !strings.Contains(token.Err.Error(), test.says) {
				t.Errorf("%+v", token)
			}
		})
	}
}

func TestAppsAreReadAsTheyAreLaidOut(t *testing.T) {
	r := emailenginetest.Start(t)
	r.App("AAAB1", map[string]any{
		"id": "AAAB1", "name": "Work", "provider": "gmail", "enabled": true, "clientId": "1.apps.googleusercontent.com", "clientSecret": "$wd01$x",
		"redirectUrl": "https://ee/oauth", "baseScopes": "api", "extraScopes": []string{"https://www.googleapis.com/auth/calendar"}, "skipScopes": []string{"gmail.modify"},
		"googleWorkspaceAccounts": true,
	})
	r.App("AAAB2", map[string]any{"name": "Office", "provider": "outlook", "clientId": "2", "authority": "organizations", "cloud": "gcc-high", "baseScopes": "imap", "extraScopes": []string{"https://graph.microsoft.us/Mail.Read"}})
	r.App("AAAB3", map[string]any{"name": "Domain", "provider": "gmailService", "serviceClient": "103", "serviceClientEmail": "sa@p.iam.gserviceaccount.com", "serviceKey": "$wd01$x", "authMethod": "externalAccount"})
	r.App("AAAB4", map[string]any{"provider": "outlook", "clientId": "4", "cloud": "moon"})
	r.App("AAAB5", map[string]any{"provider": "outlook", "clientId": "5", "extraScopes": 5})
	r.Do("SADD", "oapp:i", "gmail", "mailRu", "AAAB6")
	r.Setting("gmailClientId", "legacy.apps.googleusercontent.com")
	r.Setting("gmailExtraScopes", []string{"x"})
	want := []App{
		{
			ID: "AAAB1", Name: "Work", Type: Gmail, ClientID: "1.apps.googleusercontent.com", BaseScopes: "api", Workspace: true,
			ExtraScopes: []string{"https://www.googleapis.com/auth/calendar"}, SkipScopes: []string{"gmail.modify"},
		},
		{ID: "AAAB2", Name: "Office", Type: Outlook, ClientID: "2", Authority: "organizations", Cloud: "gcc-high", BaseScopes: "imap", ExtraScopes: []string{"https://graph.microsoft.us/Mail.Read"}},
		{ID: "AAAB3", Name: "Domain", Type: GmailService, ServiceClient: "103", ServiceEmail: "sa@p.iam.gserviceaccount.com"},
	}
	apps, err := open(t, r, "", "").Apps(t.Context())
	if err != nil || len(apps) != 8 {
		t.Fatalf("%+v, %v", apps, err)
	}
	if diff := cmp.Diff(want, apps[:3], revealed); diff != "" {
		t.Errorf("apps (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(App{ID: "gmail", Name: "gmail", Type: Gmail, ClientID: "legacy.apps.googleusercontent.com", ExtraScopes: []string{"x"}}, apps[6], revealed); diff != "" {
		t.Errorf("an app in the settings (-want +got):\n%s", diff)
	}
	for n, says := range map[int]string{3: "cloud", 4: "extraScopes", 5: "has no record", 7: "no client ID"} {
		if apps[n].Err == nil || !strings.Contains(apps[n].Err.Error(), says) {
			t.Errorf("%s: %v", apps[n].ID, apps[n].Err)
		}
	}
}

func TestScopesOfAnApp(t *testing.T) {
	for name, test := range map[string]struct {
		app  App
		want string
	}{
		"gmail":            {App{Type: Gmail}, "https://mail.google.com/"},
		"gmail api, skip":  {App{Type: Gmail, BaseScopes: "api", ExtraScopes: []string{"https://www.googleapis.com/auth/gmail.send"}, SkipScopes: []string{"gmail.modify"}}, "https://www.googleapis.com/auth/gmail.send"},
		"pubsub":           {App{Type: GmailService, BaseScopes: "pubsub"}, "https://www.googleapis.com/auth/pubsub"},
		"outlook":          {App{Type: Outlook, SkipScopes: []string{"SMTP.Send"}}, "https://outlook.office.com/IMAP.AccessAsUser.All"},
		"outlook api":      {App{Type: Outlook, BaseScopes: "api", Cloud: "global"}, "https://graph.microsoft.com/Mail.ReadWrite https://graph.microsoft.com/Mail.Send https://graph.microsoft.com/User.Read"},
		"china":            {App{Type: Outlook, Cloud: "china"}, "https://partner.outlook.cn/IMAP.AccessAsUser.All https://partner.outlook.cn/SMTP.Send"},
		"bare skip, gov":   {App{Type: Outlook, Cloud: "dod", SkipScopes: []string{"SMTP.Send"}}, "https://outlook.office365.us/IMAP.AccessAsUser.All https://outlook.office365.us/SMTP.Send"},
		"twice":            {App{Type: Gmail, ExtraScopes: []string{"https://mail.google.com/", "a", "a", ""}}, "https://mail.google.com/ a"},
		"mail.ru":          {App{Type: MailRu}, "userinfo mail.imap"},
		"application only": {App{Type: OutlookService}, ""},
	} {
		if got := strings.Join(test.app.Scopes(), " "); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func FuzzRecord(f *testing.F) {
	packed, err := msgpack.Marshal(map[string]any{"account": "alice", "scopes": []string{"api"}, "expires": uint64(1795000000000), "restrictions": map[string]any{"addresses": []string{"10.0.0.0/8"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(packed))
	f.Add("\xdf\xff\xff\xff\xff")
	f.Add(strings.Repeat("\x81\xa1a", 1000))
	id := strings.Repeat("ab", 32)
	f.Fuzz(func(t *testing.T, packed string) {
		if token := readToken(id, packed); token.ID != id {
			t.Errorf("%+v", token)
		}
		if app := readApp("id", packed); app.Name == "" {
			t.Errorf("%+v", app)
		}
	})
}
