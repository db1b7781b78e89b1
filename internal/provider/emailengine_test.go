package provider

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func emailEngineConfig(base string) Config {
	return Config{Name: "legacy", Type: TypeEmailEngine, URL: base, AccessToken: secret.New(strings.Repeat("ab", 32))}
}

const (
	eeGmail   = `{"account":"a/b c","user":"u@example.com","accessToken":"ya29.one","provider":"gmail","registeredScopes":["https://mail.google.com/","openid"],"expires":"EXPIRES","cached":true,"app":"AAAB"}`
	eeGraph   = `{"account":"a/b c","user":"u@example.com","accessToken":"ms-one","provider":"outlook","registeredScopes":["https://graph.microsoft.com/Mail.Read","offline_access"],"expires":"EXPIRES","cached":false,"app":"AAAC"}`
	eeImap    = `{"account":"a/b c","user":"u@example.com","accessToken":"ms-two","provider":"outlook","registeredScopes":["https://outlook.office365.com/IMAP.AccessAsUser.All","offline_access","openid"],"expires":"EXPIRES","cached":false,"app":"AAAC"}`
	eeUnsaid  = `{"account":"a/b c","user":"u@example.com","accessToken":"ms-three","provider":"outlook","expires":"EXPIRES","cached":true,"app":"AAAC"}`
	eeApp     = `{"account":"a/b c","user":"u@example.com","accessToken":"ms-four","provider":"outlookService","expires":"EXPIRES","cached":true,"app":"AAAD"}`
	eeService = `{"account":"a/b c","user":"u@example.com","accessToken":"ya29.two","provider":"gmailService","expires":"EXPIRES","cached":true,"app":"AAAE"}`
	eeMailRu  = `{"account":"a/b c","user":"u@example.com","accessToken":"mailru","provider":"mailRu","expires":"EXPIRES","cached":true,"app":"AAAF"}`
	eeNoEnd   = `{"account":"a/b c","user":"u@example.com","accessToken":"ya29.three","provider":"gmail","cached":false,"app":"AAAB"}`
)

func answers(body string, life time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		says(200, strings.Replace(body, "EXPIRES", time.Now().Add(life).UTC().Format("2006-01-02T15:04:05.000Z"), 1))(w, r)
	}
}

func TestEmailEngineIsAskedByTheAccountsID(t *testing.T) {
	var path, authorization string
	server := newFakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		path, authorization = r.RequestURI, r.Header.Get("Authorization")
		answers(eeGmail, 40*time.Minute)(w, r)
	})
	p := mustNew(t, emailEngineConfig(server.URL+"/ee/"))
	answer, failure := derive(t, p, account.RefreshRequest{Account: "a/b c", User: "another@example.com"})
	if failure != nil {
		t.Fatal(failure)
	}
	if path != "/ee/v1/account/a%2Fb%20c/oauth-token" || authorization != "Bearer "+strings.Repeat("ab", 32) {
		t.Errorf("%s, %s", path, authorization)
	}
	if answer.AccessToken.Reveal() != "ya29.one" || answer.Assumed || answer.Life < 39*time.Minute || answer.Life > 41*time.Minute || len(answer.Scopes) != 2 {
		t.Errorf("answer %+v", answer)
	}
	if id := p.ClientID(); id != server.URL+"/ee" || id == mustNew(t, emailEngineConfig(server.URL+"/other")).ClientID() {
		t.Errorf("tokens are those of %q", id)
	}
	if p.DefaultHost() != "" || p.DefaultAudience() != "" {
		t.Errorf("default host %q, audience %q", p.DefaultHost(), p.DefaultAudience())
	}
}

func TestEmailEnginesTokenGoesToItsOwnAPIsOnly(t *testing.T) {
	const google, graph, outlook = "gmail.googleapis.com", "graph.microsoft.com", "outlook.office.com"
	for name, test := range map[string]struct {
		body string
		may  map[string]bool
	}{
		"Google's":              {eeGmail, map[string]bool{"": true, google: true, graph: false, outlook: false}},
		"a service account's":   {eeService, map[string]bool{"": true, google: true, graph: false, outlook: false}},
		"Graph's":               {eeGraph, map[string]bool{"": true, google: false, graph: true, outlook: false}},
		"Exchange's":            {eeImap, map[string]bool{"": true, google: false, graph: false, outlook: true, "outlook.office365.com": true}},
		"of unknown scopes":     {eeUnsaid, map[string]bool{"": true, google: false, graph: true, outlook: true}},
		"an app's":              {eeApp, map[string]bool{"": true, google: false, graph: true, outlook: false}},
		"another provider's":    {eeMailRu, map[string]bool{"": true, google: false, graph: false, outlook: false}},
		"without an end, known": {eeNoEnd, map[string]bool{"": true, google: true, graph: false}},
	} {
		t.Run(name, func(t *testing.T) {
			server := newFakeServer(t, answers(test.body, time.Hour))
			p := mustNew(t, emailEngineConfig(server.URL))
			for host, may := range test.may {
				audience, err := p.Audience(host)
				if err != nil {
					t.Fatal(err)
				}
				answer, failure := derive(t, p, account.RefreshRequest{Account: "a/b c", Audience: audience})
				if (failure == nil) != may {
					t.Errorf("%q: %v", host, failure)
				}
				if failure != nil && (failure.Meaning != account.AudienceRefused || failure.Reads == "" || failure.Mend == "" || !answer.AccessToken.IsZero()) {
					t.Errorf("%q: %+v, token %t", host, failure, !answer.AccessToken.IsZero())
				}
			}
		})
	}
	server := newFakeServer(t, answers(eeNoEnd, 0))
	if answer, _ := derive(t, mustNew(t, emailEngineConfig(server.URL)), account.RefreshRequest{Account: "a/b c"}); !answer.Assumed || answer.Life != usualLife {
		t.Errorf("a token without an end lives %s, assumed %t", answer.Life, answer.Assumed)
	}
}

func TestEmailEngineListsBothProvidersHosts(t *testing.T) {
	p := mustNew(t, emailEngineConfig("http://127.0.0.1:3000"))
	for host, ok := range map[string]bool{
		"gmail.googleapis.com": true, "www.googleapis.com": true, "graph.microsoft.com": true, "outlook.office365.com": true,
		"oauth2.googleapis.com": false, "login.microsoftonline.com": false, "api.example.com": false, "graph.microsoft.us": false,
	} {
		if err := p.AllowsHost(host, "/"); (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
	}
	for name, test := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"a host of nobody's":  {func(c *Config) { c.APIHosts = []APIHost{{Host: "api.example.com"}} }, "api_host: "},
		"no URL":              {func(c *Config) { c.URL = "" }, "url: is missing"},
		"in clear":            {func(c *Config) { c.URL = "http://ee.example.com" }, "url: "},
		"no access token":     {func(c *Config) { c.AccessToken = secret.New("") }, "access_token: is missing"},
		"broken access token": {func(c *Config) { c.AccessToken = secret.New("a\nb") }, "access_token: "},
	} {
		cfg := emailEngineConfig("https://ee.example.com")
		test.edit(&cfg)
		if _, err := New(cfg, nil); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	only := emailEngineConfig("https://ee.example.com")
	only.APIHostsOnly = []APIHost{{Host: "gmail.googleapis.com"}}
	if p := mustNew(t, only); p.DefaultHost() != "gmail.googleapis.com" {
		t.Errorf("default host %q", p.DefaultHost())
	}
}

// Answers of EmailEngine 2.79.2, as recorded.
func TestEmailEnginesFailuresAreSorted(t *testing.T) {
	const renew = `{"statusCode":403,"error":"Forbidden","message":"m","code":"OauthRenewError","authenticationFailed":true`
	for name, test := range map[string]struct {
		status  int
		body    string
		meaning account.Meaning
		code    string
	}{
		"no such account":      {404, `{"statusCode":404,"error":"Not Found","message":"Account record was not found for requested ID"}`, account.Unlisted, "AccountNotFound"},
		"access token":         {401, `{"statusCode":401,"error":"Unauthorized","message":"Bad token"}`, account.ClientMisconfigured, ""},
		"scope of it":          {403, `{"statusCode":403,"error":"Forbidden","message":"Unauthorized scope","requestedScope":"api"}`, account.ClientMisconfigured, ""},
		"permissions of it":    {403, `{"statusCode":403,"error":"Forbidden","message":"Unauthorized permission","requiredPermission":{"action":"read","group":"admin"}}`, account.ClientMisconfigured, ""},
		"address":              {403, `{"statusCode":403,"error":"Forbidden","message":"Unauthorized address","remoteAddress":"127.0.0.1"}`, account.ClientMisconfigured, ""},
		"bound elsewhere":      {403, `{"statusCode":403,"error":"Forbidden","message":"Unauthorized account"}`, account.ClientMisconfigured, ""},
		"switched off":         {403, `{"statusCode":403,"error":"Forbidden","message":"Disabled API endpoint","code":"ApiEndpointDisabled"}`, account.ClientMisconfigured, "ApiEndpointDisabled"},
		"password":             {403, `{"statusCode":403,"error":"Forbidden","message":"Not an OAuth2 account","code":"AccountNotOAuth2"}`, account.GrantDead, "AccountNotOAuth2"},
		"grant dead":           {403, renew + `,"tokenRequest":{"status":400,"response":{"error":"invalid_grant","error_description":"Token has been expired or revoked."}}}`, account.GrantDead, "invalid_grant"},
		"its client":           {403, renew + `,"tokenRequest":{"status":401,"clientSecret":"csecret-... (18B)","response":{"error":"invalid_client"}}}`, account.ProviderDown, "invalid_client"},
		"its provider":         {403, renew + `,"tokenRequest":{"status":503,"response":{"error":"Failed to parse response"}}}`, account.ProviderDown, "unreadable_error"},
		"its network":          {403, renew + `}`, account.ProviderDown, "OauthRenewError"},
		"too often":            {429, `{"statusCode":429,"error":"Too Many Requests","message":"Rate limit exceeded","ttl":7}`, account.Throttled, ""},
		"its own mistake":      {500, `{"statusCode":500,"error":"Internal Server Error","message":"An internal server error occurred"}`, account.ProviderDown, ""},
		"not itself":           {200, `<html>`, account.ProviderDown, ""},
		"redirect":             {302, ``, account.ProviderDown, ""},
		"ciphertext":           {200, `{"account":"a/b c","accessToken":"$wd01$aes-256-gcm$e91e$0001$1011$6642","provider":"gmail"}`, account.ClientMisconfigured, ""},
		"another's token":      {200, `{"account":"b","accessToken":"ya29.x","provider":"gmail"}`, account.Unlisted, ""},
		"password instead":     {200, `{"account":"a/b c","user":"u","provider":"gmail"}`, account.Unlisted, ""},
		"token that cannot be": {200, `{"account":"a/b c","accessToken":"a\r\nb","provider":"gmail"}`, account.ProviderDown, ""},
		"token that ended":     {200, `{"account":"a/b c","accessToken":"ya29.x","provider":"gmail","expires":"2020-01-01T00:00:00.000Z"}`, account.ProviderDown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := newFakeServer(t, says(test.status, test.body))
			answer, failure := derive(t, mustNew(t, emailEngineConfig(server.URL)), account.RefreshRequest{Account: "a/b c"})
			if failure == nil || failure.Meaning != test.meaning || failure.Code != test.code || failure.Lost {
				t.Fatalf("failure %+v", failure)
			}
			if failure.Reads == "" || !answer.AccessToken.IsZero() {
				t.Errorf("failure %+v, answer %+v", failure, answer)
			}
			if name == "too often" && failure.RetryAfter != 7*time.Second {
				t.Errorf("retry after %s", failure.RetryAfter)
			}
			if strings.Contains(failure.Error()+failure.Description, "csecret") {
				t.Errorf("the failure has a piece of a secret: %v", failure)
			}
		})
	}
}

func TestAPIsAreToldByHostForEmailEngine(t *testing.T) {
	for _, test := range []struct{ kind, host, want string }{
		{TypeEmailEngine, "gmail.googleapis.com", TypeGoogle},
		{TypeEmailEngine, "apidata.googleusercontent.com", TypeGoogle},
		{TypeEmailEngine, "graph.microsoft.com", TypeMicrosoft},
		{TypeEmailEngine, "outlook.office365.com", TypeMicrosoft},
		{TypeEmailEngine, "127.0.0.1:80", TypeEmailEngine},
		{TypeGoogleServiceAccount, "127.0.0.1:80", TypeGoogle},
		{TypeMicrosoftApp, "127.0.0.1:80", TypeMicrosoft},
		{TypeOAuth2, "graph.microsoft.com", TypeOAuth2},
		{TypeGoogle, "graph.microsoft.com", TypeGoogle},
	} {
		if got := APIsAt(test.kind, test.host); got != test.want {
			t.Errorf("APIsAt(%s, %s) is %s", test.kind, test.host, got)
		}
	}
}
