package provider

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// usualCode is the "error" that Microsoft sends with a number of that meaning,
// where the row does not say.
var usualCode = map[account.Meaning]string{
	account.GrantDead:           "invalid_grant",
	account.AudienceRefused:     "interaction_required",
	account.ClientMisconfigured: "invalid_client",
	account.ProviderDown:        "temporarily_unavailable",
	account.Throttled:           "invalid_grant",
}

// bodyOf writes the answer that a row is about the way its server does.
func bodyOf(t *testing.T, r row) string {
	t.Helper()
	body := map[string]any{"error": cmp.Or(r.code, usualCode[r.meaning])}
	if r.says != "" {
		body["error_description"] = r.says
	}
	if r.provider == TypeGoogle && r.suberror != "" {
		body["error_subtype"] = r.suberror
	} else if r.suberror != "" {
		body["suberror"] = r.suberror
	}
	if r.number > 0 {
		body["error_description"] = fmt.Sprintf("AADSTS%d: %s Trace ID: 0000aaaa-11bb-cccc-dd33-eeeeee333333 Correlation ID: aaaa0000-bb11-2222-33cc-444444dddddd Timestamp: 2024-06-01 12:00:00Z", r.number, r.says)
		body["error_codes"] = []int{r.number}
		body["timestamp"] = "2024-06-01 12:00:00Z"
		body["trace_id"] = "0000aaaa-11bb-cccc-dd33-eeeeee333333"
		body["correlation_id"] = "aaaa0000-bb11-2222-33cc-444444dddddd"
		body["error_uri"] = fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", r.number)
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func sorted(t *testing.T, providerType string, status int, body string) *account.Failure {
	t.Helper()
	_, failure := sortAnswer(providerType, &response{status: status, header: http.Header{}, body: []byte(body)})
	if failure == nil {
		t.Fatalf("%s is no failure", body)
	}
	return failure
}

func TestEveryRowSortsItsOwnAnswer(t *testing.T) {
	for i, r := range rows {
		t.Run(fmt.Sprintf("%d_%s_%s_%d", i, cmp.Or(r.provider, "all"), cmp.Or(r.code, usualCode[r.meaning]), r.number), func(t *testing.T) {
			body := bodyOf(t, r)
			failure := sorted(t, cmp.Or(r.provider, TypeOAuth2), 400, body)
			if failure.Meaning != r.meaning {
				t.Errorf("meaning of %s is %s, want %s", body, failure.Meaning, r.meaning)
			}
			if failure.Reads != r.reads {
				t.Errorf("%s reads %q, want %q: another row comes first", body, failure.Reads, r.reads)
			}
			if r.reads == "" || r.mend == "" {
				t.Error("the row tells people nothing")
			}
		})
	}
}

func TestEveryRowNamesItsSource(t *testing.T) {
	documents := []string{
		entraCodes, msalClassification, googleErrorCodes, googleRateLimits, googleJWTErrors, githubTokenErrors, slackAccess,
		rfc6749Token, rfc6749Authorization, rfc6750, rfc8628, rfc8707, oidcCore, oidcUnmet,
	}
	thread := regexp.MustCompile(`^[A-Za-z0-9-]+/[A-Za-z0-9._-]+#[0-9]+$`)
	confirmed := 0
	for _, r := range rows {
		if r.source == unconfirmed {
			if r.meaning == account.GrantDead && r.code != "invalid_grant" {
				t.Errorf("%s %q ends accounts, unconfirmed", r.provider, r.code)
			}
			continue
		}
		confirmed++
		for source := range strings.SplitSeq(r.source, "; ") {
			if !slices.Contains(documents, source) && !thread.MatchString(source) {
				t.Errorf("%s %q %d: %q is neither a document nor a thread", r.provider, r.code, r.number, source)
			}
		}
	}
	if confirmed < 60 {
		t.Errorf("%d rows are confirmed, want 60 or more", confirmed)
	}
	// A row more or less is a decision: say here what it came to.
	if len(rows) != 169 || confirmed != 162 {
		t.Errorf("of %d rows %d are confirmed, want 162 of 169", len(rows), confirmed)
	}
}

// realAnswers are as users of other software published them.
var realAnswers = []struct {
	name, provider string
	status         int
	body           string
	meaning        account.Meaning
	number         string
}{
	{
		"google revoked", TypeGoogle, 400,
		"{\n  \"error\": \"invalid_grant\",\n  \"error_description\": \"Token has been expired or revoked.\"\n}", account.GrantDead, "",
	},
	{
		"google bad request", TypeGoogle, 400,
		"{\n  \"error\": \"invalid_grant\",\n  \"error_description\": \"Bad Request\"\n}", account.GrantDead, "",
	},
	{
		"google session control", TypeGoogle, 400,
		`{"error":"invalid_grant","error_description":"reauth related error (invalid_rapt)","error_uri":"https://support.google.com/a/answer/9368756","error_subtype":"invalid_rapt"}`, account.GrantDead, "",
	},
	{
		"google deleted client", TypeGoogle, 401,
		"{\n  \"error\" : \"deleted_client\",\n  \"error_description\" : \"The OAuth client was deleted.\"\n}", account.ClientMisconfigured, "",
	},
	{
		"google unknown client", TypeGoogle, 401,
		`{ "error": "invalid_client", "error_description": "The OAuth client was not found." }`, account.ClientMisconfigured, "",
	},
	{"google wrong secret", TypeGoogle, 401, `{"error": "invalid_client", "error_description": "Unauthorized"}`, account.ClientMisconfigured, ""},
	{"google bare", TypeGoogle, 400, `{ "error" : "invalid_client" }`, account.ClientMisconfigured, ""},
	{
		"microsoft malformed refresh token", TypeMicrosoft, 400,
		`{"error":"invalid_grant","error_description":"AADSTS9002313: Invalid request. Request is malformed or invalid.\r\nTrace ID: f3cac613-d5ed-454b-abd4-a487a7f28800\r\nCorrelation ID: 1dae1d49-c950-4fad-9e97-62ae3d11ebf3\r\nTimestamp: 2020-10-05 13:08:18Z","error_codes":[9002313],"timestamp":"2020-10-05 13:08:18Z","error_uri":"https://login.microsoftonline.com/error?code=9002313"}`,
		account.GrantDead, "AADSTS9002313",
	},
	{
		"microsoft malformed request", TypeMicrosoft, 400,
		`{"error":"invalid_request","error_description":"AADSTS9002313: Invalid request. Request is malformed or invalid.","error_codes":[9002313]}`,
		account.Unlisted, "AADSTS9002313",
	},
	{
		"microsoft sign-in frequency", TypeMicrosoft, 400,
		`{"error": "invalid_grant", "error_description": "AADSTS70043: The refresh token has expired or is invalid due to sign-in frequency checks by conditional access. The token was issued on 2023-06-02T14:27:05.8405153Z and the maximum allowed lifetime for this request is 86400.\r\nTrace ID: x\r\nCorrelation ID: x\r\nTimestamp: 2023-07-06 13:35:42Z", "error_codes": [70043], "timestamp": "2023-07-06 13:35:42Z", "suberror": "token_expired"}`,
		account.GrantDead, "AADSTS70043",
	},
	{
		"microsoft sign-in frequency of one resource, without numbers", TypeMicrosoft, 400,
		`{"error":"interaction_required","error_description":"AADSTS70043: The refresh token has expired or is invalid due to sign-in frequency checks by conditional access. The token was issued on 2021-11-10T02:49:07.6225734Z and the maximum allowed lifetime for this request is 3600."}`,
		account.AudienceRefused, "AADSTS70043",
	},
	{
		"microsoft expired secret", TypeMicrosoft, 401,
		`{ "error": "invalid_client", "error_description": "AADSTS7000222: The provided client secret keys are expired. Visit the Azure Portal to create new keys for your app, or consider using certificate credentials for added security: https:\/\/docs.microsoft.com\/azure\/active-directory\/develop\/active-directory-certificate-credentials\r\nTrace ID: 3427eb4d-866e-4a3c-9048-6ab375960e00", "error_codes": [ 7000222 ], "timestamp": "2020-09-04 13:52:05Z" }`,
		account.ClientMisconfigured, "AADSTS7000222",
	},
	{
		"microsoft two numbers", TypeMicrosoft, 401,
		`{"error":"invalid_client","error_description":"AADSTS70002: Error validating credentials. AADSTS50012: Invalid client secret is provided.\r\nTrace ID: f8002e35","error_codes":[70002,50012]}`,
		account.ClientMisconfigured, "AADSTS50012",
	},
	{
		"microsoft two numbers, grant", TypeMicrosoft, 400,
		`{"error":"invalid_grant","error_description":"AADSTS70002: Error validating credentials. AADSTS70008: The refresh token has expired due to inactivity.\r\nTrace ID: x","error_codes":[70002,70008]}`,
		account.GrantDead, "AADSTS70008",
	},
	{
		"microsoft number that nobody listed", TypeMicrosoft, 400,
		`{"error":"invalid_grant","error_description":"AADSTS70002: Error validating credentials. AADSTS500133: Assertion is not within its valid time range\r\nTrace ID: 34a47217","error_codes":[70002,500133]}`,
		account.Unlisted, "AADSTS70002",
	},
	{
		"microsoft personal account, scopes", TypeMicrosoft, 400,
		`{"error":"invalid_grant","error_description":"AADSTS70000: The request was denied because one or more scopes requested are unauthorized or expired. The user must first sign in and grant the client application access to the requested scope. Trace ID: 1 Correlation ID: 2 Timestamp: 2024-01-01 00:00:00Z","error_codes":[70000]}`,
		account.AudienceRefused, "AADSTS70000",
	},
	{
		"microsoft personal account, refresh token", TypeMicrosoft, 400,
		`{"error":"invalid_grant","error_description":"AADSTS70000: The provided value for the input parameter 'refresh_token' or 'assertion' is not valid. Trace ID: 91af4011 Correlation ID: ee3f808b Timestamp: 2024-04-15 18:41:56Z","error_codes":[70000]}`,
		account.GrantDead, "AADSTS70000",
	},
	{
		"microsoft loop", TypeMicrosoft, 400,
		`{"error":"invalid_grant","error_description":"AADSTS50196: The server terminated an operation because it encountered a client request loop. Please contact your app vendor.\r\nTrace ID: f63402a6","error_codes":[50196]}`,
		account.Throttled, "AADSTS50196",
	},
	{
		"microsoft numbers as strings", TypeMicrosoft, 400,
		`{"error":"invalid_grant","error_description":"AADSTS700082: The refresh token has expired due to inactivity. Trace ID: x","error_codes":["700082"]}`,
		account.GrantDead, "AADSTS700082",
	},
	{
		"microsoft number in the midst of prose", TypeMicrosoft, 400,
		`{"error":"invalid_grant","error_description":"Something else happened, see AADSTS50173: revoked","error_codes":[99999]}`,
		account.Unlisted, "AADSTS99999",
	},
	{
		"microsoft personal account, expired grant", TypeMicrosoft, 400,
		`{"error":"invalid_grant","error_description":"AADSTS70000: The user could not be authenticated as the grant is expired. The user must sign in again.","error_codes":[70000],"suberror":"bad_token"}`,
		account.GrantDead, "AADSTS70000",
	},
	{
		"microsoft conditional access", TypeMicrosoft, 400,
		`{"error":"interaction_required","error_description":"AADSTS53003: Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.\r\nTrace ID: 36a9bfd2","error_codes":[53003],"suberror":"message_only"}`,
		account.AudienceRefused, "AADSTS53003",
	},
	{
		"microsoft other cloud", TypeMicrosoft, 400,
		`{"error":"invalid_request","error_description":"AADSTS900382: Confidential Client is not supported in Cross Cloud request.\r\nTrace ID: 7765f5e1","error_codes":[900382]}`,
		account.ClientMisconfigured, "AADSTS900382",
	},
	{"slack", TypeOAuth2, 200, `{"ok":false,"error":"invalid_refresh_token"}`, account.GrantDead, ""},
	{"slack, another token", TypeOAuth2, 200, `{"ok":false,"error":"token_revoked"}`, account.Unlisted, ""},
	{"github", TypeOAuth2, 200, `{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired.","error_uri":"https://docs.github.com"}`, account.GrantDead, ""},
}

func TestRealAnswersAreSorted(t *testing.T) {
	for _, tt := range realAnswers {
		t.Run(tt.name, func(t *testing.T) {
			failure := sorted(t, tt.provider, tt.status, tt.body)
			if failure.Meaning != tt.meaning || failure.Number != tt.number || failure.Status != tt.status {
				t.Errorf("sorted as %s %s %d, want %s %s %d", failure.Meaning, failure.Number, failure.Status, tt.meaning, tt.number, tt.status)
			}
		})
	}
}

func TestStatusAloneDecidesNothing(t *testing.T) {
	const description = `,"error_description":"invalid_grant: the token is expired, invalid_client"`
	tests := []struct {
		error string
		want  map[int]account.Meaning
	}{
		{"invalid_grant", map[int]account.Meaning{
			200: account.GrantDead, 400: account.GrantDead, 401: account.GrantDead, 403: account.GrantDead, 500: account.GrantDead,
			408: account.ProviderDown, 425: account.ProviderDown, 429: account.Throttled,
		}},
		{"invalid_client", map[int]account.Meaning{400: account.ClientMisconfigured, 401: account.ClientMisconfigured, 429: account.Throttled}},
		{"server_error", map[int]account.Meaning{200: account.ProviderDown, 400: account.ProviderDown, 401: account.ProviderDown, 500: account.ProviderDown}},
		{"temporarily_unavailable", map[int]account.Meaning{400: account.ProviderDown, 503: account.ProviderDown}},
		{"slow_down", map[int]account.Meaning{400: account.Throttled}},
		{"invalid_request", map[int]account.Meaning{400: account.Unlisted, 401: account.Unlisted}},
		{"vendor_hiccup", map[int]account.Meaning{400: account.Unlisted, 401: account.Unlisted, 403: account.Unlisted, 500: account.Unlisted}},
	}
	for _, providerType := range []string{TypeGoogle, TypeMicrosoft, TypeOAuth2} {
		for _, tt := range tests {
			for status, want := range tt.want {
				t.Run(fmt.Sprintf("%s %s %d", providerType, tt.error, status), func(t *testing.T) {
					failure := sorted(t, providerType, status, `{"error":"`+tt.error+`"`+description+`}`)
					if failure.Meaning != want {
						t.Errorf("meaning is %s, want %s", failure.Meaning, want)
					}
				})
			}
		}
	}
}

func TestUnlistedNumbersEndNothing(t *testing.T) {
	listed := map[int]bool{}
	for _, r := range rows {
		listed[r.number] = true
	}
	for number := 50000; number < 60000; number++ {
		if listed[number] {
			continue
		}
		failure := sorted(t, TypeMicrosoft, 400, fmt.Sprintf(`{"error":"invalid_grant","error_codes":[%d]}`, number))
		if failure.Meaning != account.Unlisted {
			t.Fatalf("AADSTS%d is %s", number, failure.Meaning)
		}
	}
}

func TestClaimsOfARefusalAreKept(t *testing.T) {
	const challenge = `{"access_token":{"capolids":{"essential":true,"values":["86e2f8b3"]}}}`
	quoted, err := json.Marshal(challenge)
	if err != nil {
		t.Fatal(err)
	}
	failure := sorted(t, TypeMicrosoft, 400, `{"error":"invalid_grant","error_codes":[50076],"suberror":"basic_action","claims":`+string(quoted)+`}`)
	if failure.Claims != challenge || failure.Suberror != "basic_action" {
		t.Errorf("claims are %q, suberror %q", failure.Claims, failure.Suberror)
	}
	for name, claims := range map[string]string{
		"no JSON": `"{"`, "no object": `"[]"`, "no string": `{}`, "too long": `"{\"x\":\"` + strings.Repeat("x", maxClaims) + `\"}"`,
	} {
		if got := sorted(t, TypeMicrosoft, 400, `{"error":"interaction_required","claims":`+claims+`}`).Claims; got != "" {
			t.Errorf("%s: claims of %d bytes were kept", name, len(got))
		}
	}
}

func TestRetryAfterIsObeyedUpToAnHour(t *testing.T) {
	now := time.Date(2026, 7, 8, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "30": 30 * time.Second, " 30 ": 30 * time.Second, "-1": 0, "soon": 0, "0": 0, "1.5": 0,
		"86400": time.Hour, "99999999999999999999": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(24 * time.Hour).Format(http.TimeFormat):   time.Hour,
		now.Add(-time.Minute).Format(http.TimeFormat):     0,
	} {
		header := http.Header{"Retry-After": {value}, "Date": {now.Format(http.TimeFormat)}}
		if got := retryAfter(header); got != want {
			t.Errorf("Retry-After %q is %v, want %v", value, got, want)
		}
	}
}

func TestFailureGivesNoSecretAway(t *testing.T) {
	const refreshToken, clientSecret = "rt-5up3r53cr3t", "cs-5up3r53cr3t"
	bodies := map[string]string{
		"token as error":      `{"error":"` + refreshToken + `","error_description":"` + refreshToken + `"}`,
		"secret as suberror":  `{"error":"invalid_grant","suberror":"` + clientSecret + `"}`,
		"token in prose":      `{"error":"invalid_grant","error_description":"bad token ` + refreshToken + ` of ` + clientSecret + `"}`,
		"sentence as error":   `{"error":"the token ` + refreshToken + ` is bad"}`,
		"token in HTML":       `<html>` + refreshToken + clientSecret + `</html>`,
		"token in broken":     `{"error":"` + refreshToken,
		"token in token type": `{"access_token":"` + refreshToken + `","token_type":"` + clientSecret + `"}`,
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			server := newFakeServer(t, says(400, body))
			cfg := oauth2Config(server.URL)
			cfg.ClientSecrets = []secret.String{secret.New(clientSecret)}
			_, failure := refresh(t, mustNew(t, cfg), account.RefreshRequest{RefreshToken: secret.New(refreshToken)})
			if failure == nil {
				t.Fatal("no failure")
			}
			kept, err := json.Marshal(failure)
			if err != nil {
				t.Fatal(err)
			}
			if text := failure.Error() + fmt.Sprintf("%+v", *failure) + string(kept); strings.Contains(text, "5up3r53cr3t") {
				t.Errorf("a secret stands in %s", text)
			}
		})
	}
}

func TestProvidersOwnWordsAreKeptUnlessTheyTellASecret(t *testing.T) {
	const (
		refreshToken = "1//0g+refresh/token=of-some-length"
		clientSecret = "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"
	)
	for name, test := range map[string]struct{ body, want string }{
		"plain words":            {`{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`, "Token has been expired or revoked."},
		"several lines":          {`{"error":"invalid_grant","error_description":"one\r\n two\u0000\u001b[31m\tthree "}`, "one two [31m three"},
		"too long":               {`{"error":"invalid_grant","error_description":"` + strings.Repeat("é", 600) + `"}`, strings.Repeat("é", 499) + "…"},
		"refresh token":          {`{"error":"invalid_grant","error_description":"unknown token ` + refreshToken + `"}`, ""},
		"refresh token behind":   {`{"error":"invalid_grant","error_description":"` + strings.Repeat("x", 490) + refreshToken + `"}`, ""},
		"refresh token in part":  {`{"error":"invalid_grant","error_description":"unknown token ` + refreshToken[:20] + `..."}`, ""},
		"refresh token escaped":  {`{"error":"invalid_grant","error_description":"in ` + url.QueryEscape(refreshToken) + `"}`, ""},
		"client secret":          {`{"error":"invalid_grant","error_description":"not the secret ` + clientSecret + `"}`, ""},
		"access token beside it": {`{"error":"invalid_grant","access_token":"ya29.beside-the-error","error_description":"no ya29.beside-the-error"}`, ""},
		"an older access token":  {`{"error":"invalid_grant","error_description":"seen ya29.a0AfB1byCdEfGhIjKlMnOpQrStUvWxYz"}`, ""},
		"UUIDs and scopes":       {`{"error":"invalid_grant","error_description":"AADSTS70000: Trace ID: 0aa1b2c3-d4e5-46f7-8899-aabbccddeeff https://www.googleapis.com/auth/gmail.settings.sharing"}`, "AADSTS70000: Trace ID: 0aa1b2c3-d4e5-46f7-8899-aabbccddeeff https://www.googleapis.com/auth/gmail.settings.sharing"},
		"no OAuth error":         {`{"error_description":"words without an error"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := newFakeServer(t, says(400, test.body))
			cfg := googleConfig(server.URL)
			cfg.ClientSecrets = []secret.String{secret.New(clientSecret)}
			_, failure := refresh(t, mustNew(t, cfg), account.RefreshRequest{RefreshToken: secret.New(refreshToken)})
			if failure == nil || failure.Description != test.want {
				t.Errorf("description of %+v, want %q", failure, test.want)
			}
		})
	}
}
