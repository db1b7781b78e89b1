package provider

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

func TestRefreshTokenSurvivesOddExpiry(t *testing.T) {
	const hour = time.Hour
	tests := []struct {
		expiry  string // the member, with its comma, or nothing
		life    time.Duration
		assumed bool
	}{
		{`,"expires_in":3600`, hour, false},
		{`,"expires_in":"3600"`, hour, false},
		{`,"expires_in":" 3600 "`, hour, false},
		{`,"expires_in":3600.0`, hour, false},
		{`,"expires_in":"3600.0"`, hour, false},
		{`,"expires_in":3.6e3`, hour, false},
		{`,"expires_in":"3.6E3"`, hour, false},
		{`,"expires_in":7200`, 2 * hour, false},
		{`,"expires_in":0.5`, 500 * time.Millisecond, false},
		{``, hour, true},
		{`,"expires_in":""`, hour, true},
		{`,"expires_in":null`, hour, true},
		{`,"expires_in":0`, hour, true},
		{`,"expires_in":-5`, hour, true},
		{`,"expires_in":"-5"`, hour, true},
		{`,"expires_in":1e30`, hour, true},
		{`,"expires_in":1e999`, hour, true},
		{`,"expires_in":1e-30`, hour, true},
		{`,"expires_in":"3600s"`, hour, true},
		{`,"expires_in":"0x10"`, hour, true},
		{`,"expires_in":"NaN"`, hour, true},
		{`,"expires_in":"Inf"`, hour, true},
		{`,"expires_in":true`, hour, true},
		{`,"expires_in":[]`, hour, true},
		{`,"expires_in":{"s":3600}`, hour, true},
		{`,"expires_in":315360001`, hour, true},
	}
	for _, tt := range tests {
		t.Run(tt.expiry, func(t *testing.T) {
			server := newFakeServer(t, says(200, `{"access_token":"at-1","refresh_token":"rt-1"`+tt.expiry+`}`))
			answer, failure := refresh(t, mustNew(t, oauth2Config(server.URL)), account.RefreshRequest{})
			if failure != nil {
				t.Fatalf("refresh failed: %v", failure)
			}
			if got := answer.RefreshToken.Reveal(); got != "rt-1" {
				t.Errorf("refresh token is %q, want rt-1", got)
			}
			if answer.Life != tt.life || answer.Assumed != tt.assumed {
				t.Errorf("life is %v, assumed %v; want %v, %v", answer.Life, answer.Assumed, tt.life, tt.assumed)
			}
		})
	}
}

func TestAnswerWithoutRefreshTokenHasNone(t *testing.T) {
	for _, member := range []string{``, `,"refresh_token":""`, `,"refresh_token":null`, `,"refresh_token":7`} {
		t.Run(member, func(t *testing.T) {
			server := newFakeServer(t, says(200, `{"access_token":"at-1"`+member+`}`))
			answer, failure := refresh(t, mustNew(t, oauth2Config(server.URL)), account.RefreshRequest{})
			if failure != nil {
				t.Fatalf("refresh failed: %v", failure)
			}
			if !answer.RefreshToken.IsZero() {
				t.Errorf("refresh token is %q, want none", answer.RefreshToken.Reveal())
			}
			if answer.Scopes != nil {
				t.Errorf("scopes are %v, want nil for unknown", answer.Scopes)
			}
		})
	}
}

func TestOddAnswersHaveADefinedResult(t *testing.T) {
	tests := []struct {
		name        string
		status      int
		contentType string
		body        string
		meaning     account.Meaning // empty: a token
		kept        string          // the refresh token in the answer
	}{
		{"bearer in lower case", 200, "application/json", `{"access_token":"a","token_type":"bearer","refresh_token":"r"}`, "", "r"},
		{"bearer in upper case", 200, "application/json", `{"access_token":"a","token_type":"BEARER"}`, "", ""},
		{"no token type", 200, "application/json", `{"access_token":"a"}`, "", ""},
		{"null token type", 200, "application/json", `{"access_token":"a","token_type":null}`, "", ""},
		{"other token type", 200, "application/json", `{"access_token":"a","token_type":"DPoP","refresh_token":"r"}`, account.Unlisted, "r"},
		{"token type that is no string", 200, "application/json", `{"access_token":"a","token_type":7,"refresh_token":"r"}`, account.Unlisted, "r"},
		{"repeated members", 200, "application/json", `{"access_token":"a","refresh_token":"r1","refresh_token":"r2"}`, "", "r2"},
		{"empty repetition", 200, "application/json", `{"access_token":"a","refresh_token":"r","refresh_token":""}`, "", "r"},
		{"other case", 200, "application/json", `{"access_token":"a","Refresh_Token":"x"}`, "", ""},
		{"byte order mark", 200, "application/json", "\ufeff" + `{"access_token":"a","refresh_token":"r"}`, "", "r"},
		{"wrong content type", 200, "text/html", `{"access_token":"a","refresh_token":"r"}`, "", "r"},
		{"something behind it", 200, "application/json", `{"access_token":"a","refresh_token":"r"}<!-- x -->`, "", "r"},
		{"broken behind the tokens", 200, "application/json", `{"access_token":"a","refresh_token":"r","x":tru}`, "", "r"},
		{"broken before the access token", 200, "application/json", `{"refresh_token":"r","x":tru,"access_token":"a"}`, account.ProviderDown, "r"},
		{"status 201", 201, "application/json", `{"access_token":"a"}`, "", ""},
		{"empty access token", 200, "application/json", `{"access_token":"","refresh_token":"r"}`, account.ProviderDown, "r"},
		{"access token that is no string", 200, "application/json", `{"access_token":["a"],"refresh_token":"r"}`, account.ProviderDown, "r"},
		{"access token with a line break", 200, "application/json", `{"access_token":"a\nX: y","refresh_token":"r"}`, account.ProviderDown, "r"},
		{"access token beside an error status", 400, "application/json", `{"access_token":"a","refresh_token":"r"}`, account.ProviderDown, "r"},
		{"error with status 200", 200, "application/json", `{"error":"invalid_grant"}`, account.GrantDead, ""},
		{"error and ok false", 200, "application/json", `{"ok":false,"error":"invalid_refresh_token"}`, account.GrantDead, ""},
		{"form", 200, "application/x-www-form-urlencoded; charset=utf-8", `access_token=a&refresh_token=r&token_type=bearer&expires_in=28800`, "", "r"},
		{"form with error", 200, "application/x-www-form-urlencoded", `error=bad_refresh_token&error_description=The+refresh+token+passed+is+incorrect+or+expired.`, account.GrantDead, ""},
		{"form as plain text", 200, "text/plain", `access_token=a`, "", ""},
		{"HTML", 200, "text/html", `<html><body>access_token=a invalid_grant</body></html>`, account.ProviderDown, ""},
		{"HTML with status 400", 400, "text/html", `<html>invalid_grant</html>`, account.ProviderDown, ""},
		{"HTML with status 502", 502, "text/html", `<html>Bad Gateway</html>`, account.ProviderDown, ""},
		{"nothing", 200, "application/json", ``, account.ProviderDown, ""},
		{"no content", 204, "", ``, account.ProviderDown, ""},
		{"a list", 200, "application/json", `[{"access_token":"a"}]`, account.ProviderDown, ""},
		{"a string", 200, "application/json", `"access_token"`, account.ProviderDown, ""},
		{"null", 200, "application/json", `null`, account.ProviderDown, ""},
		{"error as object", 403, "application/json", `{"error":{"code":403,"status":"PERMISSION_DENIED"}}`, account.ProviderDown, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newFakeServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tt.contentType)
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			})
			answer, failure := refresh(t, mustNew(t, oauth2Config(server.URL)), account.RefreshRequest{})
			if tt.meaning == "" {
				if failure != nil {
					t.Fatalf("refresh failed: %v", failure)
				}
				if got := answer.AccessToken.Reveal(); got != "a" {
					t.Errorf("access token is %q, want a", got)
				}
			} else {
				if failure == nil {
					t.Fatal("refresh succeeded")
				}
				if failure.Meaning != tt.meaning {
					t.Errorf("meaning is %s, want %s", failure.Meaning, tt.meaning)
				}
				if failure.Lost {
					t.Error("a whole answer counts as lost")
				}
				if !answer.AccessToken.IsZero() {
					t.Error("a failure came with an access token")
				}
			}
			if got := answer.RefreshToken.Reveal(); got != tt.kept {
				t.Errorf("refresh token is %q, want %q", got, tt.kept)
			}
		})
	}
}

func TestAnswerCarriesScopesLivesAndDate(t *testing.T) {
	date := time.Date(2026, 7, 8, 14, 25, 27, 0, time.UTC)
	server := newFakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", date.Format(http.TimeFormat))
		says(200, `{"access_token":"a","scope":"b a b","refresh_token_expires_in":"604799"}`)(w, r)
	})
	answer, failure := refresh(t, mustNew(t, oauth2Config(server.URL)), account.RefreshRequest{})
	if failure != nil {
		t.Fatal(failure)
	}
	if diff := cmp.Diff([]string{"b", "a"}, answer.Scopes); diff != "" {
		t.Errorf("scopes (-want +got):\n%s", diff)
	}
	if want := 604799 * time.Second; answer.RefreshTokenLife != want {
		t.Errorf("refresh token's life is %v, want %v", answer.RefreshTokenLife, want)
	}
	if !answer.Date.Equal(date) {
		t.Errorf("date is %v, want %v", answer.Date, date)
	}
}

func TestScopesAsListAreRead(t *testing.T) {
	m := parseMembers([]byte(`{"scope":["a","b"],"refresh_expires_in":1800}`), nil)
	answer := m.answer(nil)
	if diff := cmp.Diff([]string{"a", "b"}, answer.Scopes); diff != "" {
		t.Errorf("scopes (-want +got):\n%s", diff)
	}
	if answer.RefreshTokenLife != 30*time.Minute {
		t.Errorf("refresh token's life is %v, want 30m", answer.RefreshTokenLife)
	}
}

func TestScopesThatAreNoTextAreNotTakenForNone(t *testing.T) {
	for scope, unread := range map[string]bool{
		`"read"`: false, `["read"]`: false, `""`: false, `[]`: false, `null`: false,
		`{"read":true}`: true, `7`: true, `true`: true, `[["read"]]`: true, `["read",7]`: true, `["read",null]`: true, `[{"value":"read"}]`: true,
	} {
		answer := parseMembers([]byte(`{"access_token":"a","scope":`+scope+`}`), nil).answer(nil)
		if answer.ScopesUnread != unread || unread && answer.Scopes != nil {
			t.Errorf("%s: %q, unread is %t", scope, answer.Scopes, answer.ScopesUnread)
		}
	}
	if parseMembers([]byte(`{"access_token":"a"}`), nil).answer(nil).ScopesUnread {
		t.Error("an answer that does not say has scopes that were not read")
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		freshToken, `{"access_token":"a","expires_in":"3.6e3","scope":["x"]}`, `{"error":"invalid_grant","error_codes":[70008]}`,
		`access_token=a&error=b`, `{"access_token":"a","refresh_token":"r","x":tru}`, `{"claims":"{\"access_token\":{}}","error":"interaction_required"}`,
		`{"error_codes":"50173","error":"invalid_grant","error_description":"AADSTS50173: x Trace ID: y"}`, "\ufeff{", `{"a":1,"a"`, `<html>`,
	} {
		for _, status := range []int{200, 400, 429, 503} {
			f.Add(status, "application/json", []byte(seed))
			f.Add(status, "application/x-www-form-urlencoded", []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		resp := &response{status: status, header: http.Header{"Content-Type": {contentType}, "Retry-After": {contentType}}, body: body}
		for _, providerType := range []string{TypeGoogle, TypeMicrosoft, TypeOAuth2} {
			answer, failure := sortAnswer(providerType, resp)
			if failure == nil {
				if !canBeSent(answer.AccessToken.Reveal()) {
					t.Errorf("%s: success with access token %q", providerType, answer.AccessToken.Reveal())
				}
				if answer.Life <= 0 || answer.Life > maxLife {
					t.Errorf("%s: life of %v", providerType, answer.Life)
				}
				continue
			}
			if failure.Meaning == "" || failure.Reads == "" {
				t.Errorf("%s: failure %+v says nothing", providerType, failure)
			}
			if failure.RetryAfter < 0 || failure.RetryAfter > maxRetryAfter {
				t.Errorf("%s: retry after %v", providerType, failure.RetryAfter)
			}
			if len(failure.Code) > 64 || strings.ContainsAny(failure.Code+failure.Suberror+failure.Number, "\r\n \"<") {
				t.Errorf("%s: unreadable error %q %q %q", providerType, failure.Code, failure.Suberror, failure.Number)
			}
			if !answer.AccessToken.IsZero() {
				t.Errorf("%s: a failure came with an access token", providerType)
			}
		}
	})
}
