package fakeprovider

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	callback     = "https://bellhop.example/oauth/callback"
	testVerifier = "verifier-verifier-verifier-verifier-verifier-1"
)

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// webClients are one client of each dialect.
var webClients = []Client{
	{ID: "web-oauth2", Secrets: []string{"s"}, RedirectURIs: []string{callback}},
	{ID: "web-google", Secrets: []string{"s"}, RedirectURIs: []string{callback}, Dialect: Google},
	{ID: "web-ms", Secrets: []string{"s"}, RedirectURIs: []string{callback}, Dialect: Microsoft},
}

func (f fixture) register(clients ...Client) {
	f.t.Helper()
	for _, client := range clients {
		if err := f.RegisterClient(client); err != nil {
			f.t.Fatal(err)
		}
	}
}

// authorizeURL is a good request of one of webClients, changed by pairs of
// names and values; an empty value takes a parameter away.
func (f fixture) authorizeURL(client string, changes ...string) string {
	f.t.Helper()
	query := url.Values{
		"client_id": {client}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"st"}, "nonce": {"no"},
		"code_challenge": {challenge(testVerifier)}, "code_challenge_method": {"S256"},
	}
	path := "/authorize"
	switch client {
	case "web-google":
		path = "/o/oauth2/v2/auth"
		query.Set("scope", "openid email https://mail.google.com/ https://www.googleapis.com/auth/drive")
		query.Set("access_type", "offline")
		query.Set("prompt", "consent select_account")
	case "web-ms":
		path = "/organizations/oauth2/v2.0/authorize"
		query.Set("scope", "openid profile offline_access https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All")
		query.Set("prompt", "select_account")
	default:
		query.Set("scope", "openid email offline_access mail.read")
		query.Set("prompt", "consent")
	}
	for i := 0; i < len(changes); i += 2 {
		switch {
		case changes[i] == "path":
			path = changes[i+1]
		case changes[i+1] == "":
			query.Del(changes[i])
		default:
			query.Set(changes[i], changes[i+1])
		}
	}
	return f.URL + path + "?" + query.Encode()
}

// consent runs a request and returns the query of the redirect.
func (f fixture) consent(authorizeURL string, d Decision) url.Values {
	f.t.Helper()
	location, err := f.Consent(f.t.Context(), authorizeURL, d)
	if err != nil {
		f.t.Fatal(err)
	}
	u, err := url.Parse(location)
	if err != nil {
		f.t.Fatal(err)
	}
	return u.Query()
}

func (f fixture) code(client string, d Decision, changes ...string) string {
	f.t.Helper()
	answer := f.consent(f.authorizeURL(client, changes...), d)
	if answer.Get("code") == "" || answer.Get("state") != "st" {
		f.t.Fatalf("no code, or another state: %v", answer)
	}
	return answer.Get("code")
}

// redeemForm is a good exchange of a code of one of webClients.
func redeemForm(client, code string) url.Values {
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback},
		"code_verifier": {testVerifier}, "client_id": {client}, "client_secret": {"s"},
	}
	if client == "web-ms" {
		form.Set("scope", "https://graph.microsoft.com/Mail.Read offline_access openid profile")
	}
	return form
}

func tokenPath(client string) string {
	if client == "web-ms" {
		return "/organizations/oauth2/v2.0/token"
	}
	return "/token"
}

func (f fixture) redeem(client string, form url.Values) tokenAnswer {
	f.t.Helper()
	answer, err := f.doToken(tokenPath(client), form)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer
}

func TestConsentBringsAGrantInEachDialect(t *testing.T) {
	for _, test := range []struct{ client, scope, grantScope string }{
		{
			"web-oauth2",
			"openid email offline_access mail.read",
			"openid email offline_access mail.read",
		},
		{
			"web-google",
			"openid https://www.googleapis.com/auth/userinfo.email https://mail.google.com/ https://www.googleapis.com/auth/drive",
			"openid https://www.googleapis.com/auth/userinfo.email https://mail.google.com/ https://www.googleapis.com/auth/drive",
		},
		{
			"web-ms",
			"Mail.Read openid profile",
			"openid profile offline_access https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All",
		},
	} {
		t.Run(test.client, func(t *testing.T) {
			f := start(t, Options{})
			f.register(webClients...)
			answer := f.redeem(test.client, redeemForm(test.client, f.code(test.client, Decision{Person: "bob@example.com"})))
			answer.wantIssued(t)
			if answer.Scope != test.scope || answer.RefreshToken == "" {
				t.Errorf("got %s", answer.Raw)
			}
			g := f.Grants(true)[0]
			if g.Scope != test.grantScope || g.Email != "bob@example.com" || g.Client != test.client || g.RefreshToken != answer.RefreshToken {
				t.Errorf("grant is %+v", g)
			}
			form := refreshForm(answer.RefreshToken)
			form.Set("client_id", test.client)
			form.Set("client_secret", "s")
			f.redeem(test.client, form).wantIssued(t)
			if got := f.TokenRequests(false)[0]; got.Grant != g.ID || got.Outcome != OutcomeGranted || got.GrantType != "authorization_code" {
				t.Errorf("logged as %+v", got)
			}
		})
	}
}

func TestAuthorizationRequestsThatLeadNowhere(t *testing.T) {
	tests := []struct {
		name, client string
		changes      []string
		want         string
	}{
		{"unknown client", "web-oauth2", []string{"client_id", "nobody"}, "invalid_client"},
		{"no client", "web-oauth2", []string{"client_id", ""}, "invalid_request"},
		{"no redirect URI", "web-oauth2", []string{"redirect_uri", ""}, "invalid_request"},
		{"another path", "web-oauth2", []string{"redirect_uri", callback + "/x"}, "invalid_request"},
		{"a query", "web-oauth2", []string{"redirect_uri", callback + "?x=1"}, "invalid_request"},
		{"another case", "web-ms", []string{"redirect_uri", strings.ToUpper(callback)}, "invalid_request"},
		{"Google's word for it", "web-google", []string{"redirect_uri", "http://127.0.0.1:9/oauth/callback"}, "redirect_uri_mismatch"},
		{"a secret in the URL", "web-oauth2", []string{"client_secret", "s"}, "invalid_request"},
		{"a tenant at Google", "web-google", []string{"path", "/common/oauth2/v2.0/authorize"}, "invalid_client"},
		{"no tenant at Microsoft", "web-ms", []string{"path", "/authorize"}, "invalid_tenant"},
		{"unknown tenant", "web-ms", []string{"path", "/nowhere.example/oauth2/v2.0/authorize"}, "invalid_tenant"},
		{"a Google page", "web-google", []string{"response_type", "token"}, "unsupported_response_type"},
		{"Google without scope", "web-google", []string{"scope", ""}, "invalid_request"},
		{"Google with a scope of others", "web-google", []string{"scope", "Mail.Read"}, "invalid_scope"},
		{"Google with a prompt of others", "web-google", []string{"prompt", "login"}, "invalid_request"},
		{"Google with an odd access type", "web-google", []string{"access_type", "permanent"}, "invalid_request"},
		{"Google with an old parameter", "web-google", []string{"approval_prompt", "force"}, "invalid_request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, Options{})
			f.register(webClients...)
			location, err := f.Consent(t.Context(), f.authorizeURL(test.client, test.changes...), Decision{})
			var shown *PageError
			if !errors.As(err, &shown) || shown.Code != test.want {
				t.Errorf("led to %q, %v; want a page with %s", location, err, test.want)
			}
		})
	}
}

func TestAuthorizationRequestsThatAreSentBack(t *testing.T) {
	tests := []struct {
		name, client string
		changes      []string
		want         string
	}{
		{"no response type", "web-oauth2", []string{"response_type", ""}, "invalid_request"},
		{"implicit flow", "web-ms", []string{"response_type", "id_token"}, "unsupported_response_type"},
		{"a form post", "web-ms", []string{"response_mode", "form_post"}, "invalid_request"},
		{"plain PKCE", "web-oauth2", []string{"code_challenge_method", "plain"}, "invalid_request"},
		{"PKCE of no method", "web-oauth2", []string{"code_challenge_method", ""}, "invalid_request"},
		{"a method without challenge", "web-oauth2", []string{"code_challenge", ""}, "invalid_request"},
		{"a challenge that is none", "web-oauth2", []string{"code_challenge", "short"}, "invalid_request"},
		{"no scope", "web-oauth2", []string{"scope", ""}, "invalid_request"},
		{"none beside another prompt", "web-oauth2", []string{"prompt", "none consent"}, "invalid_request"},
		{"an unknown prompt", "web-oauth2", []string{"prompt", "please"}, "invalid_request"},
		{"nobody signed in", "web-google", []string{"prompt", "none"}, "login_required"},
		{"claims that are none", "web-ms", []string{"claims", "x"}, "invalid_request"},
		{"two prompts at Microsoft", "web-ms", []string{"prompt", "consent select_account"}, "invalid_request"},
		{"defaults beside others", "web-ms", []string{"scope", "https://graph.microsoft.com/.default Mail.Read"}, "invalid_scope"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, Options{})
			f.register(webClients...)
			answer := f.consent(f.authorizeURL(test.client, test.changes...), Decision{})
			if answer.Get("error") != test.want || answer.Get("state") != "st" || answer.Has("code") {
				t.Errorf("sent back %v, want %s", answer, test.want)
			}
		})
	}
}

func TestPKCECanBeRequired(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	f.register(Client{ID: "public", RedirectURIs: []string{callback}}, Client{ID: "strict", Secrets: []string{"s"}, RedirectURIs: []string{callback}, RequirePKCE: true})
	without := []string{"code_challenge", "", "code_challenge_method", ""}
	if got := f.consent(f.authorizeURL("web-oauth2", without...), Decision{}); !got.Has("code") {
		t.Errorf("refused where it is not required: %v", got)
	}
	for _, client := range []string{"public", "strict"} {
		if got := f.consent(f.authorizeURL(client, without...), Decision{}); got.Get("error") != "invalid_request" {
			t.Errorf("%s was not refused: %v", client, got)
		}
	}
	if err := f.Configure(func(s *Settings) error { s.RequirePKCE = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if got := f.consent(f.authorizeURL("web-oauth2", without...), Decision{}); got.Get("error") != "invalid_request" {
		t.Errorf("not refused: %v", got)
	}
}

func TestLoopbackRedirects(t *testing.T) {
	clients := []Client{
		{ID: "google", Native: true, Dialect: Google},
		{ID: "google-web", Secrets: []string{"s"}, RedirectURIs: []string{"http://127.0.0.1:8080/cb"}, Dialect: Google},
		{ID: "ms", RedirectURIs: []string{"http://localhost/cb"}, Dialect: Microsoft},
		{ID: "native", Native: true, RedirectURIs: []string{"http://127.0.0.1/cb"}},
		{ID: "web", Secrets: []string{"s"}, RedirectURIs: []string{"http://127.0.0.1/cb"}},
	}
	for _, test := range []struct {
		client, uri string
		want        bool
	}{
		{"google", "http://127.0.0.1:1234/any", true},
		{"google", "http://[::1]:1234/", true},
		{"google", "http://localhost:1234/", false},
		{"google", "https://127.0.0.1:1234/", false},
		{"google", "http://127.0.0.1.evil.example/", false},
		{"google-web", "http://127.0.0.1:8080/cb", true},
		{"google-web", "http://127.0.0.1:8081/cb", false},
		{"ms", "http://localhost:5/cb", true},
		{"ms", "http://localhost:5/other", false},
		{"ms", "http://127.0.0.1:5/cb", false},
		{"native", "http://127.0.0.1:5/cb", true},
		{"native", "http://127.0.0.1:5/cb?x", false},
		{"web", "http://127.0.0.1:5/cb", false},
	} {
		i := slices.IndexFunc(clients, func(c Client) bool { return c.ID == test.client })
		if got := clients[i].redirectsTo(test.uri); got != test.want {
			t.Errorf("%s to %s: %v, want %v", test.client, test.uri, got, test.want)
		}
	}
	f := start(t, Options{})
	for _, uri := range []string{"/cb", "https://a.example/*", "https://a.example/#x"} {
		if f.RegisterClient(Client{ID: "x", RedirectURIs: []string{uri}}) == nil {
			t.Errorf("redirect URI %s was registered", uri)
		}
	}
}

func TestPeopleDecide(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	for _, client := range []string{"web-oauth2", "web-google", "web-ms"} {
		if got := f.consent(f.authorizeURL(client), Decision{Deny: true}); got.Get("error") != "access_denied" || got.Get("state") != "st" {
			t.Errorf("%s: refusal sent back %v", client, got)
		}
		got := f.consent(f.authorizeURL(client), Decision{Error: "temporarily_unavailable", Description: "later"})
		if got.Get("error") != "temporarily_unavailable" || !strings.Contains(got.Get("error_description"), "later") {
			t.Errorf("%s: the server's own error sent back %v", client, got)
		}
	}
	answer := f.redeem("web-google", redeemForm("web-google", f.code("web-google", Decision{Scopes: []string{"https://mail.google.com/"}})))
	answer.wantIssued(t)
	if answer.Scope != "openid https://www.googleapis.com/auth/userinfo.email https://mail.google.com/" {
		t.Errorf("scope of a partial consent is %q", answer.Scope)
	}
	if answer = f.redeem("web-oauth2", redeemForm("web-oauth2", f.code("web-oauth2", Decision{Scopes: []string{"mail.read"}}))); answer.Scope != "mail.read" {
		t.Errorf("scope of a partial consent is %q", answer.Scope)
	}
	if _, err := f.Consent(t.Context(), f.authorizeURL("web-google"), Decision{Person: "nobody"}); err == nil {
		t.Error("a stranger consented")
	}
	f.code("web-google", Decision{}, "login_hint", "bob@example.com")
	f.redeem("web-google", redeemForm("web-google", f.code("web-google", Decision{}, "login_hint", "bob@example.com"))).wantIssued(t)
	if grants := f.Grants(false); grants[len(grants)-1].Email != "bob@example.com" {
		t.Errorf("login_hint led to %s", grants[len(grants)-1].Email)
	}
}

func TestGoogleLetsInTestersAlone(t *testing.T) {
	f := start(t, Options{})
	f.register(Client{ID: "web-google", Secrets: []string{"s"}, RedirectURIs: []string{callback}, Dialect: Google, Testers: []string{"alice@example.com"}})
	f.code("web-google", Decision{Person: "alice@example.com"})
	_, err := f.Consent(t.Context(), f.authorizeURL("web-google"), Decision{Person: "bob@example.com"})
	var shown *PageError
	if !errors.As(err, &shown) || shown.Code != "access_denied" || shown.Status != http.StatusForbidden {
		t.Errorf("got %v", err)
	}
}

func TestMicrosoftTenants(t *testing.T) {
	const other = "11111111-2222-4333-8444-555555555555"
	f := start(t, Options{})
	f.register(webClients...)
	if err := f.SetPeople(
		Person{Subject: "home", Email: "home@example.com"},
		Person{Subject: "other", Email: "other@other.example", Tenant: other},
		Person{Subject: "own", Email: "own@outlook.example", Tenant: ConsumersTenant},
	); err != nil {
		t.Fatal(err)
	}
	single := webClients[2]
	single.Tenant = other
	for _, test := range []struct {
		tenant, person string
		client         Client
		want           string // AADSTS number on a page, or empty
	}{
		{"common", "own", webClients[2], ""},
		{"organizations", "other", webClients[2], ""},
		{"organizations", "own", webClients[2], "AADSTS50020"},
		{"consumers", "own", webClients[2], ""},
		{"consumers", "home", webClients[2], "AADSTS50020"},
		{"example.com", "home", webClients[2], ""},
		{"example.com", "other", webClients[2], "AADSTS50020"},
		{other, "other", webClients[2], ""},
		{other, "other", single, ""},
		{"common", "other", single, "AADSTS50194"},
		{"example.com", "home", single, "AADSTS700016"},
	} {
		f.register(test.client)
		location, err := f.Consent(t.Context(), f.authorizeURL("web-ms", "path", "/"+test.tenant+"/oauth2/v2.0/authorize"), Decision{Person: test.person})
		if test.want == "" {
			if err != nil || !strings.Contains(location, "code=") {
				t.Errorf("%s at %s: %s, %v", test.person, test.tenant, location, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want+":") {
			t.Errorf("%s at %s: %s, %v, want %s", test.person, test.tenant, location, err, test.want)
		}
	}
}

func TestMicrosoftAdministratorConsents(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	if err := f.SetPeople(
		Person{Subject: "admin", Email: "admin@example.com", Admin: true},
		Person{Subject: "clerk", Email: "clerk@example.com", NeedsAdmin: true},
	); err != nil {
		t.Fatal(err)
	}
	clerk := Decision{Person: "clerk"}
	got := f.consent(f.authorizeURL("web-ms"), clerk)
	if got.Get("error") != "access_denied" || !strings.HasPrefix(got.Get("error_description"), "AADSTS90094:") {
		t.Errorf("consent without administrator sent back %v", got)
	}
	adminURL := f.authorizeURL("web-ms", "path", "/organizations/v2.0/adminconsent", "scope", "https://graph.microsoft.com/.default")
	if got := f.consent(adminURL, clerk); got.Get("error") != "access_denied" {
		t.Errorf("the clerk consented for all: %v", got)
	}
	if got := f.consent(adminURL, Decision{Person: "admin", Deny: true}); got.Get("error") != "consent_required" || got.Get("admin_consent") != "True" {
		t.Errorf("refusal sent back %v", got)
	}
	got = f.consent(adminURL, Decision{Person: "admin"})
	if got.Get("admin_consent") != "True" || got.Get("tenant") != DefaultTenant.ID || got.Get("state") != "st" || got.Has("code") {
		t.Errorf("administrator's consent sent back %v", got)
	}
	f.code("web-ms", clerk)
}

func TestAuthorizationCodeIsHeldToItsRequest(t *testing.T) {
	tests := []struct {
		name, client string
		change       func(fixture, url.Values)
		status       int
		want         string
	}{
		{"wrong verifier", "web-oauth2", set("code_verifier", strings.Repeat("x", 43)), 400, "invalid_grant"},
		{"no verifier", "web-google", set("code_verifier", ""), 400, "invalid_grant"},
		{"short verifier", "web-ms", set("code_verifier", "short"), 400, "invalid_grant"},
		{"other redirect URI", "web-oauth2", set("redirect_uri", callback+"/"), 400, "invalid_grant"},
		{"other redirect URI at Google", "web-google", set("redirect_uri", callback+"/"), 400, "redirect_uri_mismatch"},
		{"other redirect URI at Microsoft", "web-ms", set("redirect_uri", callback+"/"), 401, "invalid_client"},
		{"no redirect URI", "web-oauth2", set("redirect_uri", ""), 400, "invalid_grant"},
		{"wrong secret", "web-oauth2", set("client_secret", "x"), 401, "invalid_client"},
		{"no secret", "web-google", set("client_secret", ""), 401, "invalid_client"},
		{"no code", "web-oauth2", set("code", ""), 400, "invalid_request"},
		{"another code", "web-oauth2", set("code", "x"), 400, "invalid_grant"},
		{"another client", "web-oauth2", set("client_id", "web-google"), 400, "invalid_grant"},
		{"too late", "web-oauth2", func(f fixture, _ url.Values) { f.Advance(time.Minute) }, 400, "invalid_grant"},
		{"two resources", "web-ms", set("scope", "https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All"), 400, "invalid_scope"},
		{"no resource of two", "web-ms", set("scope", ""), 400, "invalid_request"},
		{"scope without consent", "web-ms", set("scope", "https://graph.microsoft.com/Files.Read"), 400, "invalid_grant"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, Options{})
			f.register(webClients...)
			form := redeemForm(test.client, f.code(test.client, Decision{}))
			test.change(f, form)
			f.redeem(test.client, form).wantError(t, test.status, test.want)
			if len(f.Grants(false)) != 0 {
				t.Error("there is a grant")
			}
		})
	}
}

func set(name, value string) func(fixture, url.Values) {
	return func(_ fixture, form url.Values) {
		form.Set(name, value)
		if value == "" {
			form.Del(name)
		}
	}
}

func TestAuthorizationCodeIsRefusedForAnotherTenant(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	for _, tenant := range []string{"consumers", "nowhere.example"} {
		answer, err := f.doToken("/"+tenant+"/oauth2/v2.0/token", redeemForm("web-ms", f.code("web-ms", Decision{})))
		if err != nil {
			t.Fatal(err)
		}
		answer.wantError(t, http.StatusBadRequest, "invalid_grant")
	}
	answer, err := f.doToken("/"+DefaultTenant.ID+"/oauth2/v2.0/token", redeemForm("web-ms", f.code("web-ms", Decision{})))
	if err != nil {
		t.Fatal(err)
	}
	answer.wantIssued(t)
	answer, err = f.doToken("/consumers/oauth2/v2.0/token", with(with(refreshForm(answer.RefreshToken), "client_id", "web-ms"), "client_secret", "s"))
	if err != nil {
		t.Fatal(err)
	}
	answer.wantError(t, http.StatusBadRequest, "invalid_grant")
}

func TestVerifierWithoutChallengeIsRefused(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	code := f.code("web-oauth2", Decision{}, "code_challenge", "", "code_challenge_method", "")
	f.redeem("web-oauth2", redeemForm("web-oauth2", code)).wantError(t, http.StatusBadRequest, "invalid_grant")
}

func TestReplayedCodeRevokesItsTokens(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	form := redeemForm("web-google", f.code("web-google", Decision{}))
	answer := f.redeem("web-google", form)
	answer.wantIssued(t)
	if got := f.apiStatus(answer.AccessToken); got != http.StatusOK {
		t.Fatalf("API call: %d", got)
	}
	f.redeem("web-google", form).wantError(t, http.StatusBadRequest, "invalid_grant")
	if g := f.Grants(false)[0]; g.Cause != causeCodeReuse {
		t.Errorf("grant is %+v", g)
	}
	if got := f.apiStatus(answer.AccessToken); got != http.StatusUnauthorized {
		t.Errorf("API call after the replay: %d", got)
	}
	// A code that did not pass once is spent as well.
	form = redeemForm("web-oauth2", f.code("web-oauth2", Decision{}))
	f.redeem("web-oauth2", with(form, "code_verifier", strings.Repeat("x", 43))).wantError(t, http.StatusBadRequest, "invalid_grant")
	f.redeem("web-oauth2", with(form, "code_verifier", testVerifier)).wantError(t, http.StatusBadRequest, "invalid_grant")
}

func TestRefreshTokenIsGivenAsEachDialectWants(t *testing.T) {
	tests := []struct {
		name, client string
		changes      []string
		second       bool // a consent by the same person went before
		want         bool
	}{
		{"OAuth 2", "web-oauth2", []string{"scope", "mail.read", "prompt", ""}, false, true},
		{"OpenID Connect", "web-oauth2", nil, false, true},
		{"OpenID Connect without offline_access", "web-oauth2", []string{"scope", "openid"}, false, false},
		{"offline_access without prompt", "web-oauth2", []string{"prompt", ""}, false, false},
		{"Google", "web-google", nil, false, true},
		{"Google online", "web-google", []string{"access_type", ""}, false, false},
		{"Google, first consent", "web-google", []string{"prompt", ""}, false, true},
		{"Google, second consent", "web-google", []string{"prompt", "select_account"}, true, false},
		{"Google, second consent asked for", "web-google", nil, true, true},
		{"Microsoft", "web-ms", nil, false, true},
		{"Microsoft without offline_access", "web-ms", []string{"scope", "openid https://graph.microsoft.com/Mail.Read"}, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, Options{})
			f.register(webClients...)
			if test.second {
				f.redeem(test.client, redeemForm(test.client, f.code(test.client, Decision{}))).wantIssued(t)
			}
			answer := f.redeem(test.client, redeemForm(test.client, f.code(test.client, Decision{}, test.changes...)))
			answer.wantIssued(t)
			if got := answer.RefreshToken != ""; got != test.want {
				t.Errorf("refresh token: %v, want %v", got, test.want)
			}
		})
	}
}

func TestMicrosoftGrantKeepsToItsKindOfClient(t *testing.T) {
	f := start(t, Options{})
	f.register(Client{
		ID: "web-ms", Secrets: []string{"s"}, RedirectURIs: []string{callback}, Dialect: Microsoft,
		AuthMethods: []AuthMethod{ClientNone, ClientSecretPost},
	})
	form := redeemForm("web-ms", f.code("web-ms", Decision{}))
	form.Del("client_secret")
	answer := f.redeem("web-ms", form)
	answer.wantIssued(t)
	refresh := with(refreshForm(answer.RefreshToken), "client_id", "web-ms")
	f.redeem("web-ms", with(refresh, "client_secret", "s")).wantError(t, http.StatusUnauthorized, "invalid_client")
	refresh.Del("client_secret")
	f.redeem("web-ms", refresh).wantIssued(t)
}

func TestIssParameter(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	if got := f.consent(f.authorizeURL("web-oauth2"), Decision{}); got.Has("iss") {
		t.Errorf("sent back %v", got)
	}
	if err := f.Configure(func(s *Settings) error { s.IssParameter = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, d := range []Decision{{}, {Deny: true}} {
		if got := f.consent(f.authorizeURL("web-oauth2"), d); got.Get("iss") != f.URL {
			t.Errorf("sent back %v", got)
		}
	}
}

func TestAuthorizationRequestsAreLoggedWithoutSecrets(t *testing.T) {
	f := start(t, Options{})
	f.register(webClients...)
	f.code("web-google", Decision{})
	_, _ = f.Consent(t.Context(), f.authorizeURL("web-google", "client_secret", "topsecret"), Decision{})
	log := f.AuthorizeRequests(false)
	if len(log) != 3 {
		t.Fatalf("log is %+v", log)
	}
	if log[0].Outcome != OutcomePage || log[1].Outcome != OutcomeCode || log[2].Outcome != "invalid_request" {
		t.Errorf("outcomes are %s, %s, %s", log[0].Outcome, log[1].Outcome, log[2].Outcome)
	}
	if p := log[0].Params; p["prompt"] != "consent select_account" || p["state"] != hidden || p["nonce"] != hidden {
		t.Errorf("params are %v", p)
	}
	if log[2].Params["client_secret"] != hidden {
		t.Error("the log has a secret")
	}
	if f.AuthorizeRequests(true)[0].Params["state"] != "st" {
		t.Error("the state cannot be had")
	}
}
