package provider

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// ownDeniedRows and ownConsentRows are those that this side adds to the table
// of renewals.
var (
	ownDeniedRows  = slices.Concat(microsoftConsentRows, microsoftDeniedRows, googleDeniedRows, deniedCommonRows)
	ownConsentRows = slices.Concat(microsoftConsentRows, microsoftCodeRows, deviceRows, googleCodeRows, codeCommonRows)
)

// deniedAnswer writes the answer that a row is about the way its server does.
func deniedAnswer(r row) url.Values {
	answer := url.Values{"error": {cmp.Or(r.code, usualCode[r.meaning])}, "state": {"state-1"}}
	if r.suberror != "" {
		answer.Set("error_subcode", r.suberror)
	}
	if r.says != "" {
		answer.Set("error_description", r.says)
	}
	if r.number > 0 {
		answer.Set("error_description", fmt.Sprintf("AADSTS%d: %s\r\nTrace ID: 0000aaaa-11bb-cccc-dd33-eeeeee333333\r\nCorrelation ID: x", r.number, r.says))
	}
	return answer
}

func deniedBy(t *testing.T, providerType string) Attended {
	t.Helper()
	cfg := map[string]Config{TypeGoogle: ownGoogle(), TypeMicrosoft: ownMicrosoft(), TypeOAuth2: oauth2Config("https://acme.example/token")}
	return attended(t, cfg[cmp.Or(providerType, TypeOAuth2)], nil)
}

func TestEveryDeniedRowSortsItsOwnAnswer(t *testing.T) {
	for i, r := range ownDeniedRows {
		t.Run(fmt.Sprintf("%d_%s_%s_%d", i, cmp.Or(r.provider, "all"), r.code, r.number), func(t *testing.T) {
			failure := deniedBy(t, r.provider).Denied(deniedAnswer(r))
			if failure.Meaning != r.meaning || failure.Reads != r.reads || failure.Mend != r.mend {
				t.Errorf("%v is %s: %q, want %s: %q: another row comes first", deniedAnswer(r), failure.Meaning, failure.Reads, r.meaning, r.reads)
			}
			if r.number > 0 && failure.Number != fmt.Sprintf("AADSTS%d", r.number) {
				t.Errorf("number is %q", failure.Number)
			}
		})
	}
}

func TestEveryConsentRowSortsItsOwnAnswer(t *testing.T) {
	for i, r := range ownConsentRows {
		t.Run(fmt.Sprintf("%d_%s_%s_%d", i, cmp.Or(r.provider, "all"), r.code, r.number), func(t *testing.T) {
			p := newIDP(t)
			cfg := map[string]Config{TypeGoogle: ownGoogle(), TypeMicrosoft: ownMicrosoft(), TypeOAuth2: oauth2Config(p.URL + "/token")}
			p.answer("/token", says(400, bodyOf(t, r)))
			_, failure := exchange(t, attended(t, cfg[cmp.Or(r.provider, TypeOAuth2)], p), exchangeRequest)
			if failure == nil || failure.Meaning != r.meaning || failure.Reads != r.reads {
				t.Errorf("%s is %+v, want %s: %q", bodyOf(t, r), failure, r.meaning, r.reads)
			}
		})
	}
}

func TestEveryConsentRowNamesItsSourceAndItsClick(t *testing.T) {
	documents := []string{
		googleWebServer, googleDevices, googleAudience, googleAppAccess, googleErrorCodes, githubTokenErrors, slackAccess,
		entraCodes, entraCodeFlow, entraDeviceFlow, entraAdminConsent, entraRedirectURI, entraAccounts,
		rfc6749Token, rfc6749Authorization, rfc8628, rfc8707, oidcCore, oidcUnmet, unconfirmed,
	}
	thread := regexp.MustCompile(`^[A-Za-z0-9-]+/[A-Za-z0-9._-]+#[0-9]+$`)
	for _, r := range slices.Concat(ownDeniedRows, ownConsentRows) {
		if r.reads == "" || r.mend == "" {
			t.Errorf("%s %q %d tells people nothing", r.provider, r.code, r.number)
		}
		for source := range strings.SplitSeq(r.source, "; ") {
			if !slices.Contains(documents, source) && !thread.MatchString(source) {
				t.Errorf("%s %q %d: %q is neither a document nor a thread", r.provider, r.code, r.number, source)
			}
		}
	}
}

func TestDenied(t *testing.T) {
	tests := []struct {
		name, provider, query string
		meaning               account.Meaning
		code, number, words   string
	}{
		{
			"microsoft declined", TypeMicrosoft,
			"error=access_denied&error_subcode=cancel&error_description=AADSTS65004%3a+The+resource+owner+or+authorization+server+denied+the+request.%0d%0aTrace+ID%3a+0000&state=1",
			account.AudienceRefused, "access_denied", "AADSTS65004", "declined",
		},
		{
			"administrator needed, written as access_denied", TypeMicrosoft,
			"error=access_denied&error_description=AADSTS90094%3A+Administrator+consent+is+required.",
			account.AudienceRefused, "access_denied", "AADSTS90094", "administrator",
		},
		{
			"number in the address only", TypeMicrosoft,
			"error=unauthorized_client&error_uri=https%3A%2F%2Flogin.microsoftonline.com%2Ferror%3Fcode%3D50194",
			account.ClientMisconfigured, "unauthorized_client", "AADSTS50194", "one tenant",
		},
		{
			"an address elsewhere", TypeMicrosoft,
			"error=unauthorized_client&error_uri=https%3A%2F%2Fevil.example%2Ferror%3Fcode%3D50194",
			account.ClientMisconfigured, "unauthorized_client", "", "not registered",
		},
		{
			"conditional access", TypeMicrosoft,
			"error=access_denied&error_description=AADSTS53003%3A+Access+has+been+blocked+by+Conditional+Access+policies.",
			account.AudienceRefused, "access_denied", "AADSTS53003", "Conditional Access",
		},
		{"a number of another provider", TypeGoogle, "error=server_error&error_description=AADSTS65004%3A+x", account.ProviderDown, "server_error", "", "error of its own"},
		{"google declined", TypeGoogle, "error=access_denied", account.AudienceRefused, "access_denied", "", "test users"},
		{"oauth2 declined", TypeOAuth2, "error=access_denied", account.AudienceRefused, "access_denied", "", "declined"},
		{"not available", TypeOAuth2, "error=temporarily_unavailable", account.ProviderDown, "temporarily_unavailable", "", "not available"},
		{"unknown", TypeOAuth2, "error=vendor_oddity", account.Unlisted, "vendor_oddity", "", "not known here"},
		{"not a code", TypeOAuth2, "error=%3Cscript%3E", account.Unlisted, "unreadable_error", "", "not known here"},
		{"nothing", TypeOAuth2, "state=1", account.Unlisted, "", "", "neither a code nor an error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer, err := url.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			f := deniedBy(t, tt.provider).Denied(answer)
			if f.Meaning != tt.meaning || f.Code != tt.code || f.Number != tt.number || !strings.Contains(f.Sentence(), tt.words) || f.Mend == "" {
				t.Errorf("failure is %+v", f)
			}
		})
	}
}

func FuzzDenied(f *testing.F) {
	f.Add("error=access_denied&error_description=AADSTS65004%3A+x&error_uri=https%3A%2F%2Flogin.microsoftonline.com%2Ferror%3Fcode%3D1", "code-1")
	f.Add("error_description=\r\n&error=a", "x")
	f.Fuzz(func(t *testing.T, query, state string) {
		answer, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		answer.Set("state", state)
		for _, providerType := range []string{TypeGoogle, TypeMicrosoft, TypeOAuth2} {
			failure := deniedBy(t, providerType).Denied(answer)
			if failure.Reads == "" || failure.Mend == "" || failure.Meaning == "" {
				t.Errorf("%q tells people nothing: %+v", query, failure)
			}
			if strings.ContainsAny(failure.Error(), "\r\n\x00") {
				t.Errorf("%q gets into a log line: %q", query, failure.Error())
			}
			if len(state) >= tellingRun && strings.Contains(failure.Description, state) {
				t.Errorf("the state is repeated: %q", failure.Description)
			}
		}
	})
}
