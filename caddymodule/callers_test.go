package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/policy"
)

// apiCalls is how many calls have reached the API, with a good token or not.
func (p providerProcess) apiCalls(t *testing.T) int {
	t.Helper()
	stats, err := p.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stats.APICalls + stats.APIUnauthorized
}

// Calls that the fake API answers, through the proxy as an account.
const (
	gmailCall = "/gmail.googleapis.com/gmail/v1/users/me/profile"
	graphCall = "/graph.microsoft.com/v1.0/me"
)

// refusedWith checks an answer of Bellhop's own.
func refusedWith(t *testing.T, r reply, status int, code string) {
	t.Helper()
	if r.status != status || r.header.Get("Bellhop-Error") != code {
		t.Errorf("%d, Bellhop-Error: %q: %s; want %d %s", r.status, r.header.Get("Bellhop-Error"), r.body, status, code)
	}
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %q", got)
	}
	if got := r.header.Get("Content-Type"); got != "application/json; charset=utf-8" || !json.Valid(r.body) {
		t.Errorf("Content-Type: %q: %s", got, r.body)
	}
	if (status == http.StatusUnauthorized) != strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("WWW-Authenticate: %q with %d", r.header.Get("WWW-Authenticate"), status)
	}
}

// declared is a Caddyfile's key block.
func declared(name, key, lines string) string {
	watched.Load().hides("key", key)
	return "\t\tkey " + name + " {\n\t\t\thash " + policy.FormatHash(policy.HashKey(key)) + "\n" + lines + "\t\t}\n"
}

// withKeys adds key blocks to standardCaddyfile.
func withKeys(caddyfile string, blocks ...string) string {
	return strings.Replace(caddyfile, "\t\tprovider google {\n", strings.Join(blocks, "")+"\t\tprovider google {\n", 1)
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestKeyIsTakenFromTheFirstPlaceThatHasOne(t *testing.T) {
	p := startProvider(t)
	plain, _ := policy.NewKey()
	inFile := plain.Reveal()
	b := start(t, withKeys(standardCaddyfile(p), declared("file", inFile, "\t\t\taccount *\n")))
	b.connect(p, "gmail", "google")
	good := b.addKey("good", map[string]any{"accounts": []string{"*"}})
	other, _ := policy.NewKey()
	bad := other.Reveal()

	for name, test := range map[string]struct {
		header []string
		want   int
	}{
		"X-Bellhop-Key":                    {[]string{"X-Bellhop-Key", good}, 200},
		"X-Goog-Api-Key":                   {[]string{"X-Goog-Api-Key", good}, 200},
		"bearer token":                     {[]string{"Authorization", "Bearer " + good}, 200},
		"scheme in other letters":          {[]string{"Authorization", "bEARER " + good}, 200},
		"Basic password":                   {[]string{"Authorization", basic("anyone", good)}, 200},
		"key of the Caddyfile":             {[]string{"Authorization", "Bearer " + inFile}, 200},
		"X-Bellhop-Key before Google's":    {[]string{"X-Bellhop-Key", good, "X-Goog-Api-Key", bad, "Authorization", "Bearer " + bad}, 200},
		"X-Bellhop-Key first, and wrong":   {[]string{"X-Bellhop-Key", bad, "Authorization", "Bearer " + good}, 401},
		"Google's before Authorization":    {[]string{"X-Goog-Api-Key", good, "Authorization", "Bearer " + bad}, 200},
		"Google's own key is none of ours": {[]string{"X-Goog-Api-Key", "AIzaSy", "Authorization", "Bearer " + good}, 200},
		"Google's own key alone":           {[]string{"X-Goog-Api-Key", "AIzaSy"}, 401},
		"X-Bellhop-Key twice":              {[]string{"X-Bellhop-Key", good, "X-Bellhop-Key", good}, 400},
		"Authorization twice":              {[]string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + bad}, 400},
		"another scheme":                   {[]string{"Authorization", "Digest " + good}, 401},
		"key as Basic user":                {[]string{"Authorization", basic(good, "")}, 401},
		"nothing":                          {nil, 401},
		"empty bearer":                     {[]string{"Authorization", "Bearer "}, 401},
		"cookies are no place":             {[]string{"Cookie", "key=" + good}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			before := p.apiCalls(t)
			r := b.do(http.MethodGet, "/proxy/gmail"+gmailCall, nil, test.header...)
			if r.status != test.want {
				t.Fatalf("%d %s, want %d", r.status, r.body, test.want)
			}
			if reached := p.apiCalls(t) - before; (reached == 1) != (test.want == http.StatusOK) || reached > 1 {
				t.Errorf("%d calls reached the API", reached)
			}
		})
	}
	t.Run("key in the query", func(t *testing.T) {
		before := p.apiCalls(t)
		for _, path := range []string{"/proxy/gmail" + gmailCall + "?key=" + good, "/proxy/gmail" + gmailCall + "?alt=json&key=bh_short"} {
			for _, header := range [][]string{nil, {"Authorization", "Bearer " + good}} {
				r := b.do(http.MethodGet, path, nil, header...)
				refusedWith(t, r, http.StatusBadRequest, "InvalidRequest")
				if !strings.Contains(string(r.body), "header") || strings.Contains(string(r.body), good) {
					t.Errorf("no hint to use a header, or the key itself: %s", r.body)
				}
			}
		}
		if n := p.apiCalls(t); n != before {
			t.Errorf("%d calls reached the API", n-before)
		}
	})
}

func TestKeysThatAreNoneHaveOneAnswer(t *testing.T) {
	p := startProvider(t)
	clock := useFakeClock(t)
	b := start(t, standardCaddyfile(p))
	b.connect(p, "gmail", "google")
	expiring := b.addKey("expiring", map[string]any{"accounts": []string{"*"}, "token": true, "expires": "1h"})
	removed := b.addKey("removed", map[string]any{"accounts": []string{"*"}, "token": true})
	b.admin(http.MethodDelete, "/v1/token/removed", nil)
	if r := b.get("/proxy/gmail"+gmailCall, expiring); r.status != http.StatusOK {
		t.Fatalf("before its end: %d %s", r.status, r.body)
	}
	clock.Advance(time.Hour)
	unknown, _ := policy.NewKey()
	mistyped := []byte(unknown.Reveal())
	mistyped[10] ^= 1
	for _, path := range []string{"/proxy/gmail" + gmailCall, tokenURL("gmail")} {
		answers := make(map[string]bool)
		before := p.apiCalls(t)
		for _, key := range []string{"nonsense", string(mistyped), unknown.Reveal(), removed, expiring, strings.Repeat("a", 64), "ya29.a-token-of-the-api"} {
			r := b.get(path, key)
			refusedWith(t, r, http.StatusUnauthorized, "InvalidKey")
			answers[string(r.body)+r.header.Get("WWW-Authenticate")] = true
		}
		if len(answers) != 1 {
			t.Errorf("%s: %d answers: %v", path, len(answers), answers)
		}
		if n := p.apiCalls(t); n != before {
			t.Errorf("%d calls reached the API", n-before)
		}
	}
}

func TestKeyReachesWhatItsGlobsSay(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	for _, id := range []string{"alice", "team/alice", "team/bob"} {
		b.connect(p, id, "google")
	}
	keys := map[string]string{
		"none":   b.addKey("none", nil),
		"alice":  b.addKey("alice", map[string]any{"accounts": []string{"alice"}}),
		"team/*": b.addKey("team", map[string]any{"accounts": []string{"team/*"}}),
		"*":      b.addKey("all", map[string]any{"accounts": []string{"*"}}),
		"*b":     b.addKey("ends", map[string]any{"accounts": []string{"*b", "nobody*"}}),
		"admin":  b.addKey("admin", map[string]any{"admin": true}),
	}
	reach := map[string]string{
		"none": "", "alice": "alice", "team/*": "team%2Falice team%2Fbob", "*": "alice team%2Falice team%2Fbob", "*b": "team%2Fbob",
		// Who may manage accounts may not read their mail for that.
		"admin": "",
	}
	for name, key := range keys {
		for _, id := range []string{"alice", "team%2Falice", "team%2Fbob"} {
			before := p.apiCalls(t)
			r := b.get("/proxy/"+id+gmailCall, key)
			if strings.Contains(" "+reach[name]+" ", " "+id+" ") {
				if r.status != http.StatusOK {
					t.Errorf("key %s, account %s: %d %s", name, id, r.status, r.body)
				}
				continue
			}
			refusedWith(t, r, http.StatusForbidden, "NotAllowed")
			if n := p.apiCalls(t); n != before {
				t.Errorf("key %s, account %s: the call reached the API", name, id)
			}
		}
	}
	t.Run("outside its reach nothing is said of an account", func(t *testing.T) {
		there := b.get("/proxy/team%2Fbob"+gmailCall, keys["alice"])
		nobody := b.get("/proxy/team%2Fjim"+gmailCall, keys["alice"])
		if there.status != nobody.status || strings.ReplaceAll(string(there.body), "team/bob", "team/jim") != string(nobody.body) {
			t.Errorf("%d %s, and %d %s", there.status, there.body, nobody.status, nobody.body)
		}
	})
}

func TestKeyComesFromItsAddresses(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	b.connect(p, "gmail", "google")
	for cidrs, allowed := range map[string]bool{"127.0.0.0/8": true, "127.0.0.1": true, "192.0.2.0/24": false, "192.0.2.1 127.0.0.1/32": true, "::1": false} {
		key := b.addKey("from-"+strings.NewReplacer("/", "-", " ", "-", ":", "-").Replace(cidrs), map[string]any{"accounts": []string{"*"}, "cidrs": strings.Fields(cidrs)})
		r := b.get("/proxy/gmail"+gmailCall, key)
		if allowed && r.status != http.StatusOK {
			t.Errorf("%s: %d %s", cidrs, r.status, r.body)
		}
		if !allowed {
			refusedWith(t, r, http.StatusForbidden, "NotAllowed")
		}
	}
	key := b.addKey("spoofed", map[string]any{"accounts": []string{"*"}, "cidrs": []string{"192.0.2.0/24"}})
	r := b.do(http.MethodGet, "/proxy/gmail"+gmailCall, nil, "Authorization", "Bearer "+key, "X-Forwarded-For", "192.0.2.7", "X-Real-IP", "192.0.2.7", "Forwarded", "for=192.0.2.7")
	refusedWith(t, r, http.StatusForbidden, "NotAllowed")
}

// inDialect checks that an error has the form of the API that was called.
func inDialect(t *testing.T, r reply, d dialect, status int, code string) {
	t.Helper()
	var said struct {
		StatusCode int
		Message    string
		Error      json.RawMessage
	}
	if err := json.Unmarshal(r.body, &said); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	switch d {
	case dialectGoogle:
		var e struct {
			Code            int
			Message, Status string
			Errors          []struct{ Domain, Reason, Message string }
		}
		if err := json.Unmarshal(said.Error, &e); err != nil {
			t.Fatalf("%s: %v", r.body, err)
		}
		if e.Code != status || e.Message == "" || e.Status != googleStatus(status) || len(e.Errors) != 1 || e.Errors[0].Domain != "bellhop" || e.Errors[0].Reason != code {
			t.Errorf("not as Google: %s", r.body)
		}
	case dialectGraph:
		var e struct {
			Code, Message string
			InnerError    map[string]string
		}
		if err := json.Unmarshal(said.Error, &e); err != nil {
			t.Fatalf("%s: %v", r.body, err)
		}
		if e.Code != code || e.Message == "" || e.InnerError["request-id"] == "" || e.InnerError["client-request-id"] == "" || e.InnerError["date"] == "" {
			t.Errorf("not as Graph: %s", r.body)
		}
	default:
		if said.StatusCode != status || said.Message == "" || string(said.Error) != `"`+http.StatusText(status)+`"` {
			t.Errorf("not as EmailEngine: %s", r.body)
		}
	}
}

// A code of the HTTP API, and a call that is answered with it.
type refusedCall struct {
	status int
	code   string
	key    string
	path   string
	// reaches is set where the API itself is asked in vain.
	reaches bool
}

func TestEveryCodeInTheDialectOfTheAPICalled(t *testing.T) {
	p := startProvider(t)
	caddyfile := strings.Replace(standardCaddyfile(p), "\t\t\tupstream api.acme.example", "\t\t\tupstream people.googleapis.com http://"+freeAddr(t)+"\n\t\t\tupstream outlook.office365.com http://"+freeAddr(t)+"\n\t\t\tupstream api.acme.example", 1)
	b := start(t, caddyfile)
	p.registerMicrosoft(t)
	all := b.addKey("all", map[string]any{"accounts": []string{"*"}})
	bound := b.addKey("bound", map[string]any{"accounts": []string{"bound"}})
	for name, provider := range map[string]string{"gmail": "google", "graph": "microsoft", "acme": "acme"} {
		b.connect(p, name, provider)
		for state, body := range map[string]string{
			"dead":    `{"error":"invalid_grant"}`,
			"refused": `{"error":"invalid_scope"}`,
			"odd":     `{"error":"odd_error"}`,
		} {
			p.refuse(t, b.connect(p, name+"-"+state, provider), 400, body)
		}
		b.connect(p, name+"-off", provider)
		b.admin(http.MethodPost, "/v1/account/"+name+"-off/disable", nil)
	}
	for _, api := range []struct {
		name, host, path, down string
		dialect                dialect
	}{
		{"gmail", "/gmail.googleapis.com", "/gmail/v1/users/me/profile", "/people.googleapis.com/v1/people/me", dialectGoogle},
		{"graph", "/graph.microsoft.com", "/v1.0/me", "/outlook.office365.com/v1.0/me", dialectGraph},
		{"acme", "/api.acme.example", "/status/204", "", dialectEmailEngine},
	} {
		call := api.host + api.path
		for name, test := range map[string]refusedCall{
			"ambiguous path":      {400, "InvalidRequest", all, "/" + api.name + api.host + "/a/%2e%2e/b", false},
			"key missing":         {401, "MissingKey", "", "/" + api.name + call, false},
			"key wrong":           {401, "InvalidKey", "bh_wrong", "/" + api.name + call, false},
			"account not reached": {403, "NotAllowed", bound, "/" + api.name + call, false},
			"account off":         {403, "AccountDisabled", all, "/" + api.name + "-off" + call, false},
			"grant dead":          {403, "OauthRenewError", all, "/" + api.name + "-dead" + call, false},
			"scope refused":       {403, "InsufficientScope", all, "/" + api.name + "-refused" + call, false},
			"account unknown":     {404, "AccountNotFound", all, "/nobody" + call, false},
			"provider's nonsense": {502, "ProviderError", all, "/" + api.name + "-odd" + call, false},
			"API not reached":     {502, "UpstreamError", all, "/" + api.name + api.down, false},
		} {
			if name == "API not reached" && api.down == "" {
				continue
			}
			t.Run(api.name+": "+name, func(t *testing.T) {
				before := p.apiCalls(t)
				header := []string{"Authorization", "Bearer " + test.key}
				if test.key == "" {
					header = nil
				}
				r := b.do(http.MethodGet, "/proxy"+test.path, nil, header...)
				refusedWith(t, r, test.status, test.code)
				inDialect(t, r, api.dialect, test.status, test.code)
				if n := p.apiCalls(t); n != before {
					t.Errorf("%d calls reached the API", n-before)
				}
			})
		}
	}
	t.Run("host not listed", func(t *testing.T) {
		before := p.apiCalls(t)
		for path, d := range map[string]dialect{
			"/proxy/gmail/evil.example/x":                      dialectGoogle,
			"/proxy/gmail/graph.microsoft.com/v1.0/me":         dialectGraph,
			"/proxy/graph/gmail.googleapis.com/gmail/v1/users": dialectGoogle,
			"/proxy/acme/evil.example/x":                       dialectEmailEngine,
			"/proxy/gmail/oauth2.googleapis.com/token":         dialectGoogle,
		} {
			r := b.get(path, all)
			refusedWith(t, r, http.StatusForbidden, "HostNotAllowed")
			inDialect(t, r, d, http.StatusForbidden, "HostNotAllowed")
		}
		if n := p.apiCalls(t); n != before {
			t.Errorf("%d calls reached the API", n-before)
		}
	})
}

func TestAPIsOwnErrorsPassWithoutOurs(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	p.registerMicrosoft(t)
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}})
	b.connect(p, "gmail", "google")
	b.connect(p, "graph", "microsoft")
	for path, status := range map[string]int{
		"/proxy/gmail/gmail.googleapis.com/gmail/v1/nothing": 404,
		"/proxy/graph/graph.microsoft.com/v1.0/nothing":      404,
		"/proxy/gmail/www.googleapis.com/status/403":         403,
		"/proxy/gmail/www.googleapis.com/status/429":         429,
		"/proxy/gmail/www.googleapis.com/status/503":         503,
	} {
		r := b.get(path, key)
		if r.status != status || r.header["Bellhop-Error"] != nil || strings.Contains(string(r.body), "bellhop") {
			t.Errorf("%s: %d %v %s", path, r.status, r.header, r.body)
		}
	}
	t.Run("an API cannot pass its error off as ours", func(t *testing.T) {
		_, err := p.QueueFaults(t.Context(), fakeprovider.Fault{
			On: fakeprovider.EndpointAPI, Kind: fakeprovider.Respond, Status: 418, Body: "{}", Header: map[string]string{"Bellhop-Error": "InvalidKey"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if r := b.get("/proxy/gmail"+gmailCall, key); r.status != 418 || r.header["Bellhop-Error"] != nil {
			t.Errorf("%d %v", r.status, r.header)
		}
	})
}

// Trouble that ends: each kind in the dialect of the API that was called.
func TestPassingTroubleInTheDialectOfTheAPICalled(t *testing.T) {
	p := startProvider(t)
	caddyfile := strings.Replace(standardCaddyfile(p), "\t\tproxy {\n", "\t\tproxy {\n\t\t\ttransport http {\n\t\t\t\tresponse_header_timeout 200ms\n\t\t\t}\n", 1)
	b := start(t, caddyfile)
	p.registerMicrosoft(t)
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}})
	for _, api := range []struct {
		provider, call string
		dialect        dialect
	}{
		{"google", gmailCall, dialectGoogle},
		{"microsoft", graphCall, dialectGraph},
		{"acme", "/api.acme.example/status/204", dialectEmailEngine},
	} {
		t.Run(api.provider, func(t *testing.T) {
			refused := func(account string, status int, code string) {
				t.Helper()
				r := b.get("/proxy/"+account+api.call, key)
				refusedWith(t, r, status, code)
				inDialect(t, r, api.dialect, status, code)
				if status == http.StatusServiceUnavailable && r.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			}
			slow := api.provider + "-slow"
			grant := b.connect(p, slow, api.provider)
			if _, err := p.QueueFaults(t.Context(), fakeprovider.Fault{On: fakeprovider.EndpointAPI, Grant: grant, Kind: fakeprovider.Hang}); err != nil {
				t.Fatal(err)
			}
			refused(slow, http.StatusGatewayTimeout, "UpstreamTimeout")

			down := api.provider + "-down"
			p.refuse(t, b.connect(p, down, api.provider), 503, "")
			refused(down, http.StatusServiceUnavailable, "ProviderUnavailable")
		})
	}
	for _, api := range []struct {
		provider, call string
		dialect        dialect
	}{{"google", gmailCall, dialectGoogle}, {"microsoft", graphCall, dialectGraph}} {
		t.Run(api.provider+" refuses its client", func(t *testing.T) {
			clientOf := map[string]string{"google": "bellhop", "microsoft": "bellhop-microsoft"}[api.provider]
			if err := p.RegisterClient(t.Context(), fakeprovider.Client{ID: clientOf, Secrets: []string{"another"}}); err != nil {
				t.Fatal(err)
			}
			// The endpoint was just called down: loading anew forgets that.
			b := start(t, standardCaddyfile(p))
			key := b.addKey("all", map[string]any{"accounts": []string{"*"}})
			b.connect(p, "client", api.provider)
			r := b.get("/proxy/client"+api.call, key)
			refusedWith(t, r, http.StatusInternalServerError, "ProviderMisconfigured")
			inDialect(t, r, api.dialect, http.StatusInternalServerError, "ProviderMisconfigured")
		})
	}
}

func TestNothingIsRenewedThatCannotBeKept(t *testing.T) {
	p := startProvider(t)
	b := start(t, strings.Replace(standardCaddyfile(p), "store badger {{dir}}/store\n", "store badger {{dir}}/store {\n\t\t\treserve 1000000GiB\n\t\t}\n", 1))
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	b.connect(p, "gmail", "google")
	r := b.get("/proxy/gmail"+gmailCall, key)
	refusedWith(t, r, http.StatusServiceUnavailable, "StoreUnavailable")
	inDialect(t, r, dialectGoogle, http.StatusServiceUnavailable, "StoreUnavailable")
	refusedWith(t, b.get(tokenURL("gmail"), key), http.StatusServiceUnavailable, "StoreUnavailable")
	if r := b.do(http.MethodGet, "/readyz", nil); r.status != http.StatusServiceUnavailable || r.header.Get("Bellhop-Error") != "StoreUnavailable" {
		t.Errorf("/readyz: %d %v", r.status, r.header)
	}
	if n := p.tokenRequests(t); n != 0 {
		t.Errorf("%d token requests", n)
	}
}

func TestAccountOfAProviderThatIsGone(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	key := b.addKey("all", map[string]any{"accounts": []string{"*"}, "token": true})
	b.connect(p, "acme", "acme")
	before, rest, _ := strings.Cut(b.caddyfile, "\t\tprovider acme")
	_, after, _ := strings.Cut(rest, "\t\t}\n")
	b.load(before + after)
	refusedWith(t, b.get(tokenURL("acme"), key), http.StatusForbidden, "AccountNotOAuth2")
	r := b.get("/proxy/acme/api.acme.example/status/204", key)
	refusedWith(t, r, http.StatusInternalServerError, "ProviderMisconfigured")
	inDialect(t, r, dialectEmailEngine, http.StatusInternalServerError, "ProviderMisconfigured")
	// It works again as soon as its provider is back.
	b.load(b.caddyfile)
	if r := b.get(tokenURL("acme"), key); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
}
