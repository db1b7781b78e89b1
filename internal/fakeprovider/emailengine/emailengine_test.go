package emailengine

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func get(s *Server, target, token string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, target, nil)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, request)
	return recorder
}

// newServer knows the accounts whose answers were recorded.
func newServer() *Server {
	s := &Server{}
	s.SetTokens("api-token")
	s.SetAccount("g-ok", Account{
		User: "g-ok@example.com", AccessToken: "ya29.fresh-1", Provider: "gmail",
		Scopes: []string{"https://mail.google.com/", "openid"}, App: "AAABogFo9awAAAAB",
		Expires: time.Date(2026, 11, 22, 5, 5, 15, 872e6, time.UTC),
	})
	dead := RenewError("gmail", 400, "invalid_grant", "Token has been expired or revoked.")
	s.SetAccount("g-invalid", Account{Refusal: &dead})
	s.SetAccount("imaponly", Account{Refusal: &NotOAuth2})
	s.SetAccount("g-nort", Account{Refusal: &NoRefreshToken})
	return s
}

func TestAnswersAreEmailEngines(t *testing.T) {
	for _, test := range []struct {
		name, target, token string
		status              int
		want                string
	}{
		{
			"success", "/v1/account/g-ok/oauth-token", "api-token", 200,
			`{"account":"g-ok","user":"g-ok@example.com","accessToken":"ya29.fresh-1","provider":"gmail","registeredScopes":["https://mail.google.com/","openid"],"expires":"2026-11-22T05:05:15.872Z","cached":false,"app":"AAABogFo9awAAAAB"}`,
		},
		{
			"unknown account", "/v1/account/nosuch/oauth-token", "api-token", 404,
			`{"statusCode":404,"error":"Not Found","message":"Account record was not found for requested ID"}`,
		},
		{
			"no token", "/v1/account/g-ok/oauth-token", "", 401,
			`{"statusCode":401,"error":"Unauthorized","message":"Missing authentication"}`,
		},
		{
			"bad token", "/v1/account/g-ok/oauth-token", "x", 401,
			`{"statusCode":401,"error":"Unauthorized","message":"Bad token"}`,
		},
		{
			"password", "/v1/account/imaponly/oauth-token", "api-token", 403,
			`{"statusCode":403,"error":"Forbidden","message":"Not an OAuth2 account","code":"AccountNotOAuth2"}`,
		},
		{
			"no refresh token", "/v1/account/g-nort/oauth-token", "api-token", 403,
			`{"statusCode":403,"error":"Forbidden","message":"Refresh token not provided","code":"OauthRenewError","authenticationFailed":true}`,
		},
		{
			"dead grant", "/v1/account/g-invalid/oauth-token", "api-token", 403,
			`{"statusCode":403,"error":"Forbidden","message":"Token request failed for gmail (refresh_token, HTTP 400): invalid_grant - Token has been expired or revoked.","code":"OauthRenewError","authenticationFailed":true,"tokenRequest":{"url":"https://oauth2.googleapis.com/token","method":"post","grant":"refresh_token","provider":"gmail","status":400,"clientId":"cid","response":{"error":"invalid_grant","error_description":"Token has been expired or revoked."}}}`,
		},
		{
			"account ID too long", "/v1/account/" + strings.Repeat("a", 257) + "/oauth-token", "api-token", 400,
			`{"statusCode":400,"error":"Bad Request","message":"Invalid input","fields":[{"message":"\"account\" length must be less than or equal to 256 characters long","key":"account"}]}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := get(newServer(), test.target, test.token)
			if got.Code != test.status {
				t.Errorf("status is %d, want %d", got.Code, test.status)
			}
			if test.status == http.StatusOK && strings.TrimSpace(got.Body.String()) != test.want {
				t.Errorf("got %s", got.Body)
			}
			var body, want map[string]any
			if json.Unmarshal(got.Body.Bytes(), &body) != nil || json.Unmarshal([]byte(test.want), &want) != nil {
				t.Fatalf("got %s", got.Body)
			}
			if diff := cmp.Diff(want, body); diff != "" {
				t.Error(diff)
			}
			if (got.Header().Get("WWW-Authenticate") != "") != (test.status == http.StatusUnauthorized) {
				t.Errorf("WWW-Authenticate is %q", got.Header().Get("WWW-Authenticate"))
			}
		})
	}
}

func TestEndpointCanBeSwitchedOffAndThrottled(t *testing.T) {
	s := newServer()
	s.Disable(true)
	if got := get(s, "/v1/account/g-ok/oauth-token", "api-token"); got.Code != 403 || !strings.Contains(got.Body.String(), "ApiEndpointDisabled") {
		t.Errorf("switched off: %d %s", got.Code, got.Body)
	}
	s.Disable(false)
	s.Throttle(7 * time.Second)
	if got := get(s, "/v1/account/g-ok/oauth-token", "api-token"); got.Code != 429 || !strings.Contains(got.Body.String(), `"ttl":7`) {
		t.Errorf("throttled: %d %s", got.Code, got.Body)
	}
	s.Throttle(0)
	if got := get(s, "/v1/account/g-ok/oauth-token?access_token=api-token", ""); got.Code != 200 {
		t.Errorf("token in the query: %d %s", got.Code, got.Body)
	}
	if got := get(s, "/v1/account/g-ok/oauth-token/", "api-token"); got.Code != 200 {
		t.Errorf("with a slash: %d %s", got.Code, got.Body)
	}
	s.RemoveAccount("g-ok")
	get(s, "/v1/account/g-ok/oauth-token", "api-token")
	want := []Request{{"g-ok", 403}, {"g-ok", 429}, {"g-ok", 200}, {"g-ok", 200}, {"g-ok", 404}}
	if diff := cmp.Diff(want, s.Requests()); diff != "" {
		t.Error(diff)
	}
}
