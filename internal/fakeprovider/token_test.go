package fakeprovider

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const twoAudiences = "openid offline_access https://graph.microsoft.com/Mail.Read https://graph.microsoft.com/Mail.Send https://outlook.office.com/IMAP.AccessAsUser.All"

func (f fixture) registerMicrosoft() {
	f.t.Helper()
	err := f.RegisterClient(Client{ID: "ms", Secrets: []string{"s"}, Dialect: Microsoft})
	if err != nil {
		f.t.Fatal(err)
	}
}

func microsoftForm(refreshToken, scope string) url.Values {
	form := refreshForm(refreshToken)
	form.Set("client_id", "ms")
	form.Set("client_secret", "s")
	if scope != "" {
		form.Set("scope", scope)
	}
	return form
}

func TestTokenAnswerKeepsToTheRFC(t *testing.T) {
	f := start(t, Options{})
	answer := f.refreshWith(f.grant(Grant{Scope: "mail.read mail.send"}).RefreshToken)
	answer.wantIssued(t)
	if answer.TokenType != "Bearer" || answer.ExpiresIn != 60 || answer.Scope != "mail.read mail.send" {
		t.Errorf("got %s", answer.Raw)
	}
	if got := answer.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
}

func TestClientAuthentication(t *testing.T) {
	odd := "s/+ %ü:"
	clients := []Client{
		{ID: "basic", Secrets: []string{odd, "second"}, AuthMethods: []AuthMethod{ClientSecretBasic}},
		{ID: "post", Secrets: []string{"s"}, AuthMethods: []AuthMethod{ClientSecretPost}},
		{ID: "public"},
	}
	tests := []struct {
		name             string
		client           string
		basicID, basicPW string
		form             url.Values
		want             string // error code, or empty
	}{
		{"basic", "basic", "basic", url.QueryEscape(odd), nil, ""},
		{"basic with the second secret", "basic", "basic", "second", nil, ""},
		{"basic with a wrong secret", "basic", "basic", "wrong", nil, "invalid_client"},
		{"basic not encoded", "basic", "basic", odd, nil, "invalid_request"},
		{"basic where post is registered", "post", "post", "s", nil, "invalid_client"},
		{"post", "post", "", "", url.Values{"client_id": {"post"}, "client_secret": {"s"}}, ""},
		{"post with a wrong secret", "post", "", "", url.Values{"client_id": {"post"}, "client_secret": {"x"}}, "invalid_client"},
		{"post where basic is registered", "basic", "", "", url.Values{"client_id": {"basic"}, "client_secret": {"second"}}, "invalid_client"},
		{"none", "public", "", "", url.Values{"client_id": {"public"}}, ""},
		{"none where a secret is registered", "post", "", "", url.Values{"client_id": {"post"}}, "invalid_client"},
		{"both at once", "basic", "basic", "second", url.Values{"client_id": {"basic"}, "client_secret": {"second"}}, "invalid_request"},
		{"unknown", "post", "", "", url.Values{"client_id": {"nobody"}}, "invalid_client"},
		{"not named", "post", "", "", url.Values{}, "invalid_request"},
		{"somebody else's grant", "basic", "", "", url.Values{"client_id": {"public"}}, "invalid_grant"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, Options{})
			for _, client := range clients {
				if err := f.RegisterClient(client); err != nil {
					t.Fatal(err)
				}
			}
			form := refreshForm(f.grant(Grant{Client: test.client}).RefreshToken)
			maps.Copy(form, test.form)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/token", strings.NewReader(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if test.basicID != "" {
				request.SetBasicAuth(test.basicID, test.basicPW)
			}
			response, err := f.transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var answer tokenAnswer
			if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
				t.Fatal(err)
			}
			if answer.Error != test.want || (answer.AccessToken != "") != (test.want == "") {
				t.Errorf("error is %q, want %q", answer.Error, test.want)
			}
			if (response.StatusCode == http.StatusUnauthorized) != (test.want == "invalid_client") {
				t.Errorf("status is %d", response.StatusCode)
			}
		})
	}
}

func TestMalformedTokenRequestsAreRefusedAndSpendNothing(t *testing.T) {
	f := start(t, Options{})
	refreshToken := f.grant(Grant{Scope: "a b"}).RefreshToken
	good := refreshForm(refreshToken).Encode()
	const formType = "application/x-www-form-urlencoded"
	tests := []struct {
		name, method, target, contentType, body string
		want                                    string
	}{
		{"GET", http.MethodGet, "/token", formType, "", "invalid_request"},
		{"JSON", http.MethodPost, "/token", "application/json", good, "invalid_request"},
		{"parameters in the URL", http.MethodPost, "/token?" + good, formType, "", "invalid_request"},
		{"repeated parameter", http.MethodPost, "/token", formType, good + "&scope=a&scope=b", "invalid_request"},
		{"no grant type", http.MethodPost, "/token", formType, "refresh_token=" + url.QueryEscape(refreshToken), "invalid_request"},
		{"no refresh token", http.MethodPost, "/token", formType, "grant_type=refresh_token", "invalid_request"},
		{"other grant type", http.MethodPost, "/token", formType, "grant_type=password", "unsupported_grant_type"},
		{"unknown refresh token", http.MethodPost, "/token", formType, refreshForm("x").Encode(), "invalid_grant"},
		{"scope outside the grant", http.MethodPost, "/token", formType, good + "&scope=a+c", "invalid_scope"},
		{"too large", http.MethodPost, "/token", formType, good + "&x=" + strings.Repeat("x", maxForm), "invalid_request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, f.URL+test.target, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", test.contentType)
			request.SetBasicAuth(DefaultClient.ID, DefaultClient.Secrets[0])
			response, err := f.transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var answer tokenAnswer
			if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
				t.Fatal(err)
			}
			if answer.Error != test.want {
				t.Errorf("error is %q, want %q", answer.Error, test.want)
			}
		})
	}
	f.refreshWith(refreshToken).wantIssued(t)
	if got := f.Stats().ReuseDetections; got != 0 {
		t.Errorf("%d reuse detections", got)
	}
}

func TestRequestedScopeNarrowsTheAccessToken(t *testing.T) {
	f := start(t, Options{})
	answer := f.token(with(refreshForm(f.grant(Grant{Scope: "a b c"}).RefreshToken), "scope", "c a"))
	if answer.Scope != "c a" {
		t.Errorf("scope is %q, want %q", answer.Scope, "c a")
	}
	if answer = f.refreshWith(answer.RefreshToken); answer.Scope != "a b c" {
		t.Errorf("scope of the next is %q, want the whole grant's", answer.Scope)
	}
}

func TestNarrowingOfAClient(t *testing.T) {
	for narrowing, want := range map[Narrowing]struct{ token, answer string }{
		NarrowingHonored: {"mail.read", "mail.read"},
		NarrowingIgnored: {"mail.read mail.send", "mail.read mail.send"},
		NarrowingUnsaid:  {"mail.read", ""},
	} {
		f := start(t, Options{})
		client := DefaultClient
		client.Narrowing = narrowing
		if err := f.RegisterClient(client); err != nil {
			t.Fatal(err)
		}
		g := f.grant(Grant{Scope: "mail.read mail.send"})
		form := refreshForm(g.RefreshToken)
		form.Set("scope", "mail.admin")
		f.token(form).wantError(t, http.StatusBadRequest, "invalid_scope")
		form.Set("scope", "mail.read")
		answer := f.token(form)
		answer.wantIssued(t)
		state, err := f.Grant(g.ID, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := state.AccessTokens[0].Scope; got != want.token || answer.Scope != want.answer {
			t.Errorf("%q: a token with %q, said to have %q", narrowing, got, answer.Scope)
		}
	}
	if New(Options{}).RegisterClient(Client{ID: "c", Narrowing: "wrong"}) == nil {
		t.Error("a narrowing that there is none of passes")
	}
}

func TestMicrosoftBindsAccessTokensToOneAudience(t *testing.T) {
	tests := []struct {
		name, scope          string
		audience, wantScope  string
		wantError, wantSuber string
	}{
		{"named", "https://outlook.office.com/IMAP.AccessAsUser.All", "outlook.office.com", "https://outlook.office.com/IMAP.AccessAsUser.All openid", "", ""},
		{"Graph's prefix is dropped", "https://graph.microsoft.com/Mail.Send", "graph.microsoft.com", "Mail.Send openid", "", ""},
		{"bare names are Graph's", "mail.read openid", "graph.microsoft.com", "mail.read openid", "", ""},
		{"default", "https://outlook.office.com/.default", "outlook.office.com", "openid https://outlook.office.com/IMAP.AccessAsUser.All", "", ""},
		{"missing is the first", "", "graph.microsoft.com", "openid Mail.Read Mail.Send", "", ""},
		{"two at once", "https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All", "", "", "invalid_scope", ""},
		{"outside the grant", "https://graph.microsoft.com/Files.Read", "", "", "invalid_grant", "consent_required"},
		{"audience outside the grant", "https://vault.azure.net/.default", "", "", "invalid_grant", "consent_required"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, Options{})
			f.registerMicrosoft()
			refreshToken := f.grant(Grant{Client: "ms", Scope: twoAudiences}).RefreshToken
			answer, err := f.doToken("/contoso.example/oauth2/v2.0/token", microsoftForm(refreshToken, test.scope))
			if err != nil {
				t.Fatal(err)
			}
			if test.wantError != "" {
				answer.wantError(t, http.StatusBadRequest, test.wantError)
				if answer.Suberror != test.wantSuber {
					t.Errorf("suberror is %q, want %q", answer.Suberror, test.wantSuber)
				}
				f.token(microsoftForm(refreshToken, "")).wantIssued(t)
				return
			}
			answer.wantIssued(t)
			if answer.Scope != test.wantScope {
				t.Errorf("scope is %q, want %q", answer.Scope, test.wantScope)
			}
			state, err := f.Grant("g1", false)
			if err != nil {
				t.Fatal(err)
			}
			if got := state.AccessTokens[0].Audience; got != test.audience {
				t.Errorf("audience is %q, want %q", got, test.audience)
			}
			if got := f.TokenRequests(false)[0]; got.Audience != test.audience || got.Path != "/contoso.example/oauth2/v2.0/token" {
				t.Errorf("logged %+v", got)
			}
		})
	}
}

func TestErrorsSpeakTheClientsDialect(t *testing.T) {
	bodies := map[Dialect]map[string]any{}
	for _, dialect := range []Dialect{OAuth2, Google, Microsoft} {
		f := start(t, Options{})
		if err := f.RegisterClient(Client{ID: "c", Secrets: []string{"s"}, Dialect: dialect}); err != nil {
			t.Fatal(err)
		}
		form := refreshForm(f.grant(Grant{Client: "c"}).RefreshToken)
		form.Set("client_id", "c")
		form.Set("client_secret", "s")
		if err := f.KillGrant("g1"); err != nil {
			t.Fatal(err)
		}
		answer := f.token(form)
		answer.wantError(t, http.StatusBadRequest, "invalid_grant")
		var body map[string]any
		if err := json.Unmarshal([]byte(answer.Raw), &body); err != nil {
			t.Fatal(err)
		}
		bodies[dialect] = body
	}
	if got := bodies[Google]["error_description"]; got != "Token has been expired or revoked." {
		t.Errorf("Google describes it as %q", got)
	}
	if len(bodies[Google]) != 2 || len(bodies[OAuth2]) != 2 {
		t.Errorf("Google and OAuth2 have members of others: %v, %v", bodies[Google], bodies[OAuth2])
	}
	microsoft := bodies[Microsoft]
	description, _ := microsoft["error_description"].(string)
	if !strings.HasPrefix(description, "AADSTS50173: ") || microsoft["suberror"] != "bad_token" {
		t.Errorf("Microsoft answers %v", microsoft)
	}
	for _, member := range []string{"error_codes", "timestamp", "trace_id", "correlation_id", "error_uri"} {
		if microsoft[member] == nil {
			t.Errorf("Microsoft's answer has no %s", member)
		}
	}
}

func TestLogTellsWhatWasPresentedAndWhatBecameOfIt(t *testing.T) {
	f := start(t, Options{})
	first := f.grant(Grant{ID: "alice", Scope: "a b"}).RefreshToken
	second := f.token(with(refreshForm(first), "scope", "a")).RefreshToken
	f.refreshWith(second)
	f.refreshWith(first)
	type line struct {
		Number, Presented, Issued int
		Grant, Scope, Outcome     string
	}
	entries := f.TokenRequests(false)
	got := make([]line, 0, len(entries))
	for _, entry := range entries {
		got = append(got, line{entry.Number, entry.RefreshTokenNumber, entry.AccessTokenNumber, entry.Grant, entry.Scope, entry.Outcome})
		if !entry.Time.Equal(clockStart) || entry.InFlight != 1 || entry.AuthMethod != ClientSecretBasic || entry.Client != "bellhop" {
			t.Errorf("logged %+v", entry)
		}
	}
	want := []line{
		{1, 1, 1, "alice", "a", OutcomeRotated},
		{2, 2, 2, "alice", "", OutcomeRotated},
		{3, 1, 0, "alice", "", OutcomeReuseDetected},
	}
	if !slices.Equal(got, want) {
		t.Errorf("logged %+v, want %+v", got, want)
	}
}

func TestRevocation(t *testing.T) {
	revoke := func(f fixture, form url.Values, authenticate bool) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/revoke", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if authenticate {
			request.SetBasicAuth(DefaultClient.ID, DefaultClient.Secrets[0])
		}
		response, err := f.transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	dead := func(f fixture, id string) bool {
		state, err := f.Grant(id, false)
		if err != nil {
			t.Fatal(err)
		}
		return state.Dead
	}

	t.Run("of a refresh token ends the grant", func(t *testing.T) {
		f := start(t, Options{})
		answer := f.refreshWith(f.grant(Grant{}).RefreshToken)
		if status, body := revoke(f, url.Values{"token": {answer.RefreshToken}}, true); status != http.StatusOK {
			t.Fatalf("got %d %s", status, body)
		}
		if !dead(f, "g1") || f.apiStatus(answer.AccessToken) != http.StatusUnauthorized {
			t.Error("grant or access token lives")
		}
	})
	t.Run("of an access token ends that one", func(t *testing.T) {
		f := start(t, Options{})
		answer := f.refreshWith(f.grant(Grant{}).RefreshToken)
		if status, body := revoke(f, url.Values{"token": {answer.AccessToken}}, true); status != http.StatusOK {
			t.Fatalf("got %d %s", status, body)
		}
		if dead(f, "g1") || f.apiStatus(answer.AccessToken) != http.StatusUnauthorized {
			t.Error("grant is dead, or the access token lives")
		}
	})
	t.Run("needs the client", func(t *testing.T) {
		f := start(t, Options{})
		state := f.grant(Grant{})
		if status, body := revoke(f, url.Values{"token": {state.RefreshToken}}, false); status != http.StatusBadRequest {
			t.Errorf("got %d %s, want 400", status, body)
		}
		if dead(f, "g1") {
			t.Error("grant is dead")
		}
	})
	t.Run("of an unknown token succeeds", func(t *testing.T) {
		f := start(t, Options{})
		if status, body := revoke(f, url.Values{"token": {"unknown"}}, true); status != http.StatusOK {
			t.Errorf("got %d %s, want 200", status, body)
		}
	})
	t.Run("at Google ends all grants of the subject", func(t *testing.T) {
		f := start(t, Options{})
		if err := f.RegisterClient(Client{ID: "g", Secrets: []string{"s"}, Dialect: Google}); err != nil {
			t.Fatal(err)
		}
		state := f.grant(Grant{ID: "first", Client: "g", Subject: "alice"})
		f.grant(Grant{ID: "second", Client: "g", Subject: "alice"})
		f.grant(Grant{ID: "other", Client: "g", Subject: "bob"})
		if status, body := revoke(f, url.Values{"token": {state.RefreshToken}}, false); status != http.StatusOK {
			t.Fatalf("got %d %s", status, body)
		}
		if !dead(f, "first") || !dead(f, "second") || dead(f, "other") {
			t.Error("not exactly the subject's grants are dead")
		}
	})
}

func TestMetadataNamesItsOwnEndpoints(t *testing.T) {
	f := start(t, Options{})
	for path, want := range map[string][2]string{
		"/.well-known/openid-configuration":             {f.URL, f.URL + "/token"},
		"/.well-known/oauth-authorization-server":       {f.URL, f.URL + "/token"},
		"/common/v2.0/.well-known/openid-configuration": {f.URL + "/{tenantid}/v2.0", f.URL + "/common/oauth2/v2.0/token"},
	} {
		_, body := f.call(http.MethodGet, path, "", nil)
		var got struct {
			Issuer string `json:"issuer"`
			Token  string `json:"token_endpoint"`
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if (got.Issuer != want[0]) || (got.Token != want[1]) {
			t.Errorf("%s: got %+v, want %v", path, got, want)
		}
	}
}
