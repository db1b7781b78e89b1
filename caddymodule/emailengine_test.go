package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// expected is an answer of EmailEngine's, from testdata/emailengine.
type expected struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header"`
	Body   json.RawMessage   `json:"body"`
}

// What an expected answer holds in place of values that differ from run to run.
var anything = map[string]bool{"TOKEN": true, "APP": true, "SCOPE": true, "TEXT": true}

// Where Bellhop answers otherwise on purpose: what a token request sent is
// nobody's business but the operator's, and no cache keeps a token.
var (
	deliberatelyLeftOut = []string{
		"tokenRequest.url", "tokenRequest.method", "tokenRequest.authority", "tokenRequest.clientId", "tokenRequest.scopes",
		"tokenRequest.response.error_codes", "tokenRequest.response.timestamp", "tokenRequest.response.trace_id",
		"tokenRequest.response.correlation_id", "tokenRequest.userFlag.code",
	}
	deliberatelyOtherHeader = map[string]string{"Cache-Control": "no-store"}
)

// field is a member of a JSON answer, by its path. An array of strings is one.
type field struct {
	Path, Value string
}

// fields are the members of a JSON value in their order.
func fields(t *testing.T, text []byte) []field {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var found []field
	var value func(path string)
	value = func(path string) {
		token, err := dec.Token()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		switch token {
		case json.Delim('{'):
			for dec.More() {
				name, err := dec.Token()
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				value(strings.TrimPrefix(path+"."+name.(string), "."))
			}
			_, _ = dec.Token()
		case json.Delim('['):
			for dec.More() {
				value(path + "[]")
			}
			_, _ = dec.Token()
		default:
			found = append(found, field{path, fmt.Sprintf("%T %v", token, token)})
		}
	}
	value("")
	// Of the values of an array the first stands for all.
	return slices.CompactFunc(found, func(a, b field) bool { return a.Path == b.Path && strings.HasSuffix(a.Path, "[]") })
}

var ecmaTime = regexp.MustCompile(`^string \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

// sameAsEmailEngine compares an answer with EmailEngine's own: the status, the
// header, and each member of the body, in order. The account is what the
// expected answer calls "example".
func sameAsEmailEngine(t *testing.T, r reply, name, account string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "emailengine", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var want expected
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if r.status != want.Status {
		t.Errorf("status %d, want %d: %s", r.status, want.Status, r.body)
	}
	maps.Copy(want.Header, deliberatelyOtherHeader)
	for _, name := range []string{"Content-Type", "Cache-Control", "WWW-Authenticate"} {
		if got := r.header.Get(name); got != want.Header[name] {
			t.Errorf("%s: %q, want %q", name, got, want.Header[name])
		}
	}
	if hasCode := r.header.Get("Bellhop-Error") != ""; hasCode != (want.Status >= 400) {
		t.Errorf("Bellhop-Error: %q with status %d", r.header.Get("Bellhop-Error"), r.status)
	}
	wanted := slices.DeleteFunc(fields(t, want.Body), func(f field) bool {
		return slices.Contains(deliberatelyLeftOut, strings.TrimSuffix(f.Path, "[]"))
	})
	got := fields(t, r.body)
	for i := range min(len(got), len(wanted)) {
		kind, value, _ := strings.Cut(wanted[i].Value, " ")
		switch {
		case wanted[i].Path == "account":
			wanted[i].Value = kind + " " + account
		case wanted[i].Path == "expires" && ecmaTime.MatchString(got[i].Value),
			anything[value] && strings.HasPrefix(got[i].Value, kind+" ") && got[i].Value != kind+" ":
			wanted[i].Value = got[i].Value
		}
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("body differs from EmailEngine's (-) in (+):\n%s", diff)
	}
}

const (
	mailScope  = "https://mail.google.com/ openid email"
	graphScope = "https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All openid profile offline_access"
)

// connect makes a grant at the provider and registers it.
func (b *bellhop) connect(p providerProcess, id, provider string) (grant string) {
	b.t.Helper()
	g := fakeprovider.Grant{Email: "user@example.com", Scope: mailScope}
	switch provider {
	case "microsoft":
		g.Client, g.Scope = "bellhop-microsoft", graphScope
	case "acme":
		g.Scope = "mail.read"
	}
	grant, refreshToken := p.grant(b.t, g)
	b.addAccount(id, provider, "user@example.com", refreshToken)
	return grant
}

// refuse has the provider refuse a grant's token requests with a body.
func (p providerProcess) refuse(t *testing.T, grant string, status int, body string) {
	t.Helper()
	_, err := p.QueueFaults(t.Context(), fakeprovider.Fault{
		Grant: grant, Times: -1, Kind: fakeprovider.Respond, Status: status, Body: body,
		Header: map[string]string{"Content-Type": "application/json"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func tokenURL(escapedAccount string) string {
	return "/v1/account/" + escapedAccount + "/oauth-token"
}

func TestTokenEndpointAnswersAsEmailEngineDoes(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	p.registerMicrosoft(t)
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	bound := b.addKey("bound", map[string]any{"accounts": []string{"gmail"}, "token": true})
	elsewhere := b.addKey("elsewhere", map[string]any{"accounts": []string{"*"}, "token": true, "cidrs": []string{"192.0.2.0/24"}})
	proxyOnly := b.addKey("proxy-only", map[string]any{"accounts": []string{"*"}})

	b.connect(p, "gmail", "google")
	b.connect(p, "outlook", "microsoft")
	p.refuse(t, b.connect(p, "gmail-dead", "google"), 400,
		`{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`)
	p.refuse(t, b.connect(p, "outlook-dead", "microsoft"), 400,
		`{"error":"invalid_grant","error_description":"AADSTS70000: The provided value for the input parameter 'refresh_token' is not valid. Trace ID: x Correlation ID: y Timestamp: z","error_codes":[70000],"timestamp":"z","trace_id":"x","correlation_id":"y"}`)
	for id, expires := range map[string]time.Time{"cached": time.Now().Add(time.Hour), "ended": time.Now().Add(-time.Hour)} {
		oauth2 := map[string]any{"provider": "google", "auth": map[string]any{"user": "user@example.com"}, "accessToken": "ya29.registered", "expires": expires}
		b.admin(http.MethodPost, "/v1/account", map[string]any{"account": id, "oauth2": oauth2})
	}

	for name, test := range map[string]struct {
		key, account, want string
	}{
		"token at hand":             {key, "cached", "ok-cached"},
		"renewed at Google":         {key, "gmail", "gmail-refreshed"},
		"renewed at Microsoft":      {key, "outlook", "outlook-refreshed"},
		"no key":                    {"", "gmail", "no-auth"},
		"malformed key":             {"nonsense", "gmail", "bad-api-token"},
		"token of EmailEngine's":    {strings.Repeat("0", 64), "gmail", "bad-api-token"},
		"key of another account":    {bound, "outlook", "other-account"},
		"key without that account":  {bound, "nobody", "other-account"},
		"unknown account":           {key, "nobody", "unknown-account"},
		"account ID too long":       {key, strings.Repeat("a", 257), "account-id-too-long"},
		"address not allowed":       {elsewhere, "gmail", "address-restricted"},
		"permission missing":        {proxyOnly, "gmail", "permission-missing"},
		"dead grant at Google":      {key, "gmail-dead", "gmail-invalid-grant"},
		"dead grant at Microsoft":   {key, "outlook-dead", "outlook-invalid-grant"},
		"refresh token never given": {key, "ended", "no-refresh-token"},
	} {
		t.Run(name, func(t *testing.T) {
			header := []string{"Authorization", "Bearer " + test.key}
			if test.key == "" {
				header = nil
			}
			sameAsEmailEngine(t, b.do(http.MethodGet, tokenURL(test.account), nil, header...), test.want, test.account)
		})
	}
	t.Run("dead grant is told the same again", func(t *testing.T) {
		before := p.tokenRequests(t)
		sameAsEmailEngine(t, b.get(tokenURL("gmail-dead"), key), "gmail-invalid-grant", "gmail-dead")
		if n := p.tokenRequests(t); n != before {
			t.Errorf("%d more token requests", n-before)
		}
	})
}

func TestComparisonWithEmailEngineNoticesWhatDiffers(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "emailengine", "ok-cached.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want expected
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	got := fields(t, want.Body)
	swapped := fields(t, []byte(`{"user":"user@example.com","account":"example","accessToken":"TOKEN","provider":"gmail","expires":"2036-01-01T00:00:00.000Z","cached":true,"app":"APP"}`))
	if cmp.Equal(got, swapped) {
		t.Error("the order of members is not compared")
	}
	quoted := fields(t, bytes.Replace(want.Body, []byte("true"), []byte(`"true"`), 1))
	if cmp.Equal(got, quoted) {
		t.Error("the types of members are not compared")
	}
}

func TestTokenEndpointThatIsNotWrittenIsDisabled(t *testing.T) {
	p := startProvider(t)
	b := start(t, strings.Replace(standardCaddyfile(p), "\t\ttoken_endpoint\n", "", 1))
	b.connect(p, "gmail", "google")
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	for _, account := range []string{"gmail", "nobody"} {
		r := b.get(tokenURL(account), key)
		sameAsEmailEngine(t, r, "disabled", account)
		if code := r.header.Get("Bellhop-Error"); code != "ApiEndpointDisabled" {
			t.Errorf("Bellhop-Error: %q", code)
		}
	}
	sameAsEmailEngine(t, b.do(http.MethodGet, tokenURL("gmail"), nil), "no-auth", "gmail")
	sameAsEmailEngine(t, b.get(tokenURL("gmail"), "nonsense"), "bad-api-token", "gmail")
	if n := p.tokenRequests(t); n != 0 {
		t.Errorf("%d token requests by a disabled endpoint", n)
	}
}

// tokenOf reads a token that was handed out.
func tokenOf(t *testing.T, r reply) tokenAnswer {
	t.Helper()
	var a tokenAnswer
	if r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if err := json.Unmarshal(r.body, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTokenEndpointFormsOfTheRequest(t *testing.T) {
	p := startProvider(t)
	b := start(t, strings.Replace(standardCaddyfile(p), "\t\ttoken_endpoint\n", "\t\ttoken_endpoint {\n\t\t\tquery_key\n\t\t}\n", 1))
	b.connect(p, "team/jörg 50%", "google")
	key := b.addKey("all", map[string]any{"accounts": []string{"team/*"}, "token": true})
	path := tokenURL("team%2Fj%C3%B6rg%2050%25")
	got := b.get(path, key)
	if a := tokenOf(t, got); a.Account != "team/jörg 50%" {
		t.Errorf("account %q", a.Account)
	}
	t.Run("HEAD is GET without the body", func(t *testing.T) {
		cached := b.get(path, key)
		r := b.do(http.MethodHead, path, nil, "Authorization", "Bearer "+key)
		if r.status != http.StatusOK || len(r.body) != 0 {
			t.Errorf("%d %q", r.status, r.body)
		}
		for _, name := range []string{"Content-Type", "Content-Length", "Cache-Control"} {
			if r.header.Get(name) == "" || r.header.Get(name) != cached.header.Get(name) {
				t.Errorf("%s: %q, and %q for GET", name, r.header.Get(name), cached.header.Get(name))
			}
		}
	})
	for name, request := range map[string]struct{ path, key string }{
		"trailing slash":                  {path + "/", key},
		"unknown parameters are ignored":  {path + "?foo=bar&foo=baz&cached=false", key},
		"key in the query":                {path + "?access_token=" + key, ""},
		"header wins over query":          {path + "?access_token=nonsense", key},
		"empty parameters are left aside": {path + "?min_ttl=&force=&audience=", key},
	} {
		t.Run(name, func(t *testing.T) {
			header := []string{"Authorization", "Bearer " + request.key}
			if request.key == "" {
				header = nil
			}
			if a := tokenOf(t, b.do(http.MethodGet, request.path, nil, header...)); !a.Cached {
				t.Errorf("%+v", a)
			}
		})
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		r := b.do(method, path, strings.NewReader("{}"), "Authorization", "Bearer "+key)
		if r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != "GET, HEAD" || !json.Valid(r.body) {
			t.Errorf("%s: %d, Allow: %q: %s", method, r.status, r.header.Get("Allow"), r.body)
		}
	}
	for query, named := range map[string]string{"?min_ttl=soon": "min_ttl", "?min_ttl=-1": "min_ttl", "?force=perhaps": "force", "?audience=api.example.org": "audience"} {
		r := b.get(path+query, key)
		got := fields(t, r.body)
		if r.status != http.StatusBadRequest || got[len(got)-1] != (field{"fields[].key", "string " + named}) {
			t.Errorf("%s: %d %s", query, r.status, r.body)
		}
	}
}

func TestQueryKeyMustBeSwitchedOn(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	b.connect(p, "gmail", "google")
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	r := b.do(http.MethodGet, tokenURL("gmail")+"?access_token="+key, nil)
	sameAsEmailEngine(t, r, "no-auth", "gmail")
}

func TestMinTTLAsksForATokenThatLivesLongEnough(t *testing.T) {
	p := startProvider(t)
	clock := useFakeClock(t)
	b := start(t, standardCaddyfile(p))
	b.connect(p, "gmail", "google")
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	ask := func(query string) tokenAnswer {
		t.Helper()
		return tokenOf(t, b.get(tokenURL("gmail")+query, key))
	}
	first := ask("") // lives a minute
	clock.Advance(25 * time.Second)
	for _, query := range []string{"", "?min_ttl=30"} {
		if a := ask(query); !a.Cached || a.AccessToken != first.AccessToken {
			t.Errorf("%s: a new token although the old one lives 35 s", query)
		}
	}
	second := ask("?min_ttl=40")
	if second.Cached || second.AccessToken == first.AccessToken {
		t.Error("the old token although it lives 35 s")
	}
	// More than three quarters of its life no token can be asked to have left.
	if a := ask("?min_ttl=1000000"); !a.Cached || a.AccessToken != second.AccessToken {
		t.Error("a new token for a wish that none fulfils")
	}
}

func TestForceRenewsOnceAMinuteForAllCallers(t *testing.T) {
	p := startProvider(t)
	if err := p.SetTokenLife(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	clock := useFakeClock(t)
	b := start(t, standardCaddyfile(p))
	b.connect(p, "gmail", "google")
	one := b.addKey("one", map[string]any{"accounts": []string{"*"}, "token": true})
	other := b.addKey("other", map[string]any{"accounts": []string{"*"}, "token": true})
	force := func(key string) tokenAnswer {
		t.Helper()
		return tokenOf(t, b.get(tokenURL("gmail")+"?force=true", key))
	}
	first := tokenOf(t, b.get(tokenURL("gmail"), one))
	if a := force(one); !a.Cached || a.AccessToken != first.AccessToken {
		t.Error("renewed within the minute after the first consent")
	}
	clock.Advance(61 * time.Second)
	second := force(one)
	if second.Cached || second.AccessToken == first.AccessToken {
		t.Error("not renewed")
	}
	for _, key := range []string{one, other} {
		if a := force(key); !a.Cached || a.AccessToken != second.AccessToken {
			t.Error("renewed twice within a minute")
		}
	}
	if n := p.tokenRequests(t); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
}

func TestAudienceChoosesTheTokenAndItsScopes(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	p.registerMicrosoft(t)
	b.connect(p, "outlook", "microsoft")
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	tokens := make(map[string]bool)
	for audience, scope := range map[string]string{
		"graph.microsoft.com":        "https://graph.microsoft.com/Mail.Read",
		"outlook.office.com":         "https://outlook.office.com/IMAP.AccessAsUser.All",
		"outlook.office365.com":      "https://outlook.office.com/IMAP.AccessAsUser.All",
		"https://outlook.office.com": "https://outlook.office.com/IMAP.AccessAsUser.All",
	} {
		a := tokenOf(t, b.get(tokenURL("outlook")+"?audience="+audience, key))
		tokens[a.AccessToken] = true
		if !slices.Contains(a.RegisteredScopes, scope) {
			t.Errorf("%s: scopes %v, want %s among them", audience, a.RegisteredScopes, scope)
		}
		for _, other := range a.RegisteredScopes {
			if strings.Contains(other, "graph") != strings.Contains(scope, "graph") && strings.HasPrefix(other, "https://") {
				t.Errorf("%s: scope %s is another audience's", audience, other)
			}
		}
	}
	if len(tokens) != 2 {
		t.Errorf("%d tokens for two audiences", len(tokens))
	}
}

// Provider trouble is nobody's dead grant: EmailEngine's clients are told to
// come back instead of to ask the user.
func TestProviderTroubleIsNotTheAccounts(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	for name, test := range map[string]struct {
		provider, body string
		status         int
		want           int
		code           string
	}{
		"down":          {"google", "<html>Service Unavailable</html>", 503, http.StatusServiceUnavailable, "ProviderUnavailable"},
		"unknown error": {"microsoft", `{"error":"odd_error","error_description":"no such thing"}`, 400, http.StatusBadGateway, "ProviderError"},
		"wrong client":  {"acme", `{"error":"invalid_client"}`, 401, http.StatusInternalServerError, "ProviderMisconfigured"},
	} {
		t.Run(name, func(t *testing.T) {
			p.registerMicrosoft(t)
			p.refuse(t, b.connect(p, name, test.provider), test.status, test.body)
			r := b.get(tokenURL(strings.ReplaceAll(name, " ", "%20")), key)
			var said struct {
				StatusCode           int
				Code                 string
				AuthenticationFailed *bool
			}
			if err := json.Unmarshal(r.body, &said); err != nil {
				t.Fatal(err)
			}
			if r.status != test.want || said.StatusCode != test.want || said.Code != test.code || r.header.Get("Bellhop-Error") != test.code {
				t.Errorf("%d %s", r.status, r.body)
			}
			if said.AuthenticationFailed == nil || *said.AuthenticationFailed {
				t.Errorf("authenticationFailed is not false: %s", r.body)
			}
			if test.want == http.StatusInternalServerError {
				return
			}
			if wait, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || wait < 1 || wait > 30 {
				t.Errorf("Retry-After: %q", r.header.Get("Retry-After"))
			}
		})
	}
}
