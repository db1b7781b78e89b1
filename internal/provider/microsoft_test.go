package provider

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

const (
	tid = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	oid = "00000000-0000-0000-66f3-3332eca7ea81"
)

func TestMicrosoftAccountsRefreshAtTheirOwnTenant(t *testing.T) {
	for path, want := range map[string]string{
		"/organizations/oauth2/v2.0/token": "/" + tid + "/oauth2/v2.0/token",
		"/token":                           "/token",
		"/x/organizations/token":           "/x/organizations/token",
		"/organizationsx/token":            "/organizationsx/token",
	} {
		t.Run(path, func(t *testing.T) {
			server := newFakeServer(t, says(200, freshToken))
			p := mustNew(t, microsoftConfig(server.URL+path))
			if _, failure := refresh(t, p, account.RefreshRequest{Subject: tid + "/" + oid}); failure != nil {
				t.Fatal(failure)
			}
			if got := server.only(t).Path; got != want {
				t.Errorf("asked at %s, want %s", got, want)
			}
			if got := p.TokenEndpoint(tid + "/" + oid); got != server.URL+want {
				t.Errorf("token endpoint is %s, want %s", got, server.URL+want)
			}
		})
	}
}

func TestMicrosoftSubjectThatIsNoneReachesNoURL(t *testing.T) {
	for _, subject := range []string{"undefined", "undefined/" + oid, tid, tid + "/", "/" + oid, tid + "/" + oid + "/x", "../" + oid, tid + "?x/" + oid, tid + "\n/" + oid} {
		t.Run(subject, func(t *testing.T) {
			server := newFakeServer(t, says(200, freshToken))
			p := mustNew(t, microsoftConfig(server.URL+"/organizations/oauth2/v2.0/token"))
			_, failure := refresh(t, p, account.RefreshRequest{Subject: subject})
			if failure == nil || failure.Meaning != account.Unlisted {
				t.Errorf("failure is %+v", failure)
			}
			if got := len(server.all()); got != 0 {
				t.Errorf("the server got %d requests", got)
			}
		})
	}
}

func TestMicrosoftClouds(t *testing.T) {
	for cloud, want := range map[string][3]string{
		"":          {"https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token", "graph.microsoft.com", "https://graph.microsoft.com"},
		"global":    {"https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token", "graph.microsoft.com", "https://graph.microsoft.com"},
		"usgov":     {"https://login.microsoftonline.us/contoso.example/oauth2/v2.0/token", "graph.microsoft.us", "https://graph.microsoft.us"},
		"usgov-dod": {"https://login.microsoftonline.us/contoso.example/oauth2/v2.0/token", "dod-graph.microsoft.us", "https://dod-graph.microsoft.us"},
		"china":     {"https://login.partner.microsoftonline.cn/contoso.example/oauth2/v2.0/token", "microsoftgraph.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn"},
	} {
		t.Run(cloud, func(t *testing.T) {
			cfg := microsoftConfig("")
			cfg.Cloud, cfg.Tenant, cfg.Scopes = cloud, "contoso.example", []string{"Mail.Read"}
			p := mustNew(t, cfg)
			if got := [3]string{p.TokenEndpoint(""), p.DefaultHost(), p.DefaultAudience()}; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestMicrosoftAudiences(t *testing.T) {
	cfg := microsoftConfig("")
	cfg.Scopes = append(cfg.Scopes, "https://contoso.sharepoint.com/.default", "api://5f1c/read")
	cfg.APIHosts = []APIHost{{Host: "contoso.sharepoint.com"}, {Host: "http://127.0.0.1:1234"}, {Host: "*.sharepoint.com", InsecureWildcard: true}}
	p := mustNew(t, cfg)
	tests := []struct{ of, want string }{
		{"", "https://graph.microsoft.com"},
		{"graph.microsoft.com", "https://graph.microsoft.com"},
		{"Graph.Microsoft.com:443", "https://graph.microsoft.com"},
		{"https://graph.microsoft.com", "https://graph.microsoft.com"},
		{"https://graph.microsoft.com/", "https://graph.microsoft.com"},
		{"https://graph.microsoft.com/v1.0/me", "https://graph.microsoft.com"},
		{"outlook.office.com", "https://outlook.office.com"},
		{"outlook.office365.com", "https://outlook.office.com"},
		{"https://outlook.office365.com", "https://outlook.office.com"},
		{"contoso.sharepoint.com", "https://contoso.sharepoint.com"},
		{"api://5f1c", "api://5f1c"},
		{"127.0.0.1:1234", "https://graph.microsoft.com"},
		{"fabrikam.sharepoint.com", ""},
		{"evil.example", ""},
		{"https://evil.example", ""},
		{"api://other", ""},
	}
	for _, tt := range tests {
		t.Run(tt.of, func(t *testing.T) {
			got, err := p.Audience(tt.of)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("audience is %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestMicrosoftHostOfTheOnlyNamelessResource(t *testing.T) {
	cfg := microsoftConfig("")
	cfg.Scopes = []string{"api://5f1c/read"}
	cfg.APIHostsOnly = []APIHost{{Host: "api.contoso.example"}}
	got, err := mustNew(t, cfg).Audience("api.contoso.example")
	if got != "api://5f1c" || err != nil {
		t.Errorf("audience is %q, %v", got, err)
	}
}

func TestOtherTypesHaveOneAudience(t *testing.T) {
	cfg := oauth2Config("https://acme.example/token")
	cfg.APIHosts = []APIHost{{Host: "api.acme.example"}}
	for name, tt := range map[string]struct {
		p    Provider
		host string
	}{"google": {mustNew(t, googleConfig("")), "gmail.googleapis.com"}, "oauth2": {mustNew(t, cfg), "api.acme.example"}} {
		t.Run(name, func(t *testing.T) {
			for _, of := range []string{"", tt.host, "https://" + tt.host + "/x"} {
				if got, err := tt.p.Audience(of); got != "" || err != nil {
					t.Errorf("audience of %q is %q, %v", of, got, err)
				}
			}
			if _, err := tt.p.Audience("evil.example"); err == nil {
				t.Error("a host that is not listed has an audience")
			}
		})
	}
}

func TestAudienceScopes(t *testing.T) {
	p := mustNew(t, microsoftConfig(""))
	tests := []struct {
		name, audience string
		own, want      []string
	}{
		{"default", "", nil, []string{"https://graph.microsoft.com/Mail.Read", "openid", "profile", "offline_access"}},
		{"other resource", "https://outlook.office.com", nil, []string{"https://outlook.office.com/IMAP.AccessAsUser.All", "openid", "profile", "offline_access"}},
		{
			"the account's own", "https://graph.microsoft.com",
			[]string{"offline_access", "Mail.Send", "https://graph.microsoft.com/User.Read", "https://outlook.office365.com/SMTP.Send"},
			[]string{"Mail.Send", "https://graph.microsoft.com/User.Read", "openid", "profile", "offline_access"},
		},
		{
			"the account's own by another name", "https://outlook.office.com",
			[]string{"https://outlook.office365.com/SMTP.Send"},
			[]string{"https://outlook.office365.com/SMTP.Send", "openid", "profile", "offline_access"},
		},
		{"never asked for", "https://contoso.sharepoint.com", nil, nil},
		{"never asked of this account", "https://outlook.office.com", []string{"Mail.Send"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, p.AudienceScopes(tt.audience, tt.own)); diff != "" {
				t.Errorf("scopes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMicrosoftResourceThatWasNeverAskedForIsRefusedUnasked(t *testing.T) {
	server := newFakeServer(t, says(200, freshToken))
	_, failure := refresh(t, mustNew(t, microsoftConfig(server.URL)), account.RefreshRequest{Audience: "https://contoso.sharepoint.com"})
	if failure == nil || failure.Meaning != account.AudienceRefused {
		t.Errorf("failure is %+v", failure)
	}
	if len(server.all()) != 0 {
		t.Error("the server was asked")
	}
}

func TestClientCapabilityIsDeclaredWhereContinuousAccessIsOn(t *testing.T) {
	const cp1 = `{"access_token":{"xms_cc":{"values":["cp1"]}}}`
	tests := []struct {
		name       string
		on         bool
		claims     string
		want       string
		wantClaims bool
	}{
		{"off", false, "", "", false},
		{"off with challenge", false, `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`, "", false},
		{"on", true, "", cp1, true},
		{
			"on with challenge", true, `{"access_token":{"nbf":{"essential":true,"value":"1604106651"}},"id_token":{"x":null}}`,
			`{"access_token":{"nbf":{"essential":true,"value":"1604106651"},"xms_cc":{"values":["cp1"]}},"id_token":{"x":null}}`, true,
		},
		{"on with large number", true, `{"access_token":{"n":9007199254740993}}`, `{"access_token":{"n":9007199254740993,"xms_cc":{"values":["cp1"]}}}`, true},
		{"on with null", true, `null`, cp1, true},
		{"on with null inside", true, `{"access_token":null}`, cp1, true},
		{"on with nonsense", true, `{"access_token":`, cp1, true},
		{"on with a list", true, `[]`, cp1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newFakeServer(t, says(200, freshToken))
			cfg := microsoftConfig(server.URL)
			cfg.ContinuousAccess = tt.on
			if _, failure := refresh(t, mustNew(t, cfg), account.RefreshRequest{Claims: tt.claims}); failure != nil {
				t.Fatal(failure)
			}
			form := server.only(t).Form
			if form.Get("claims") != tt.want || form.Has("claims") != tt.wantClaims {
				t.Errorf("claims are %q, want %q", form.Get("claims"), tt.want)
			}
		})
	}
}

func TestPublicMicrosoftClient(t *testing.T) {
	server := newFakeServer(t, says(200, freshToken))
	cfg := microsoftConfig(server.URL)
	cfg.ClientSecrets, cfg.AuthStyle = nil, StyleNone
	if _, failure := refresh(t, mustNew(t, cfg), account.RefreshRequest{RefreshToken: secret.New("rt")}); failure != nil {
		t.Fatal(failure)
	}
	if form := server.only(t).Form; form.Has("client_secret") || form.Get("client_id") != cfg.ClientID {
		t.Errorf("form is %v", form)
	}
}
