package caddymodule

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// signIn is Caddy's own authentication of people, by the password "secret". What
// they were handed out is a credential by itself.
const signIn = `	@people not path /proxy/.bellhop/h/*
	basic_auth @people {
		alice $2a$04$eXLF6fLFebsEJcBGSDXKxeXK6vpMvilkghFMzvROca3hEKPdGZBoK
		boss $2a$04$eXLF6fLFebsEJcBGSDXKxeXK6vpMvilkghFMzvROca3hEKPdGZBoK
		carol $2a$04$eXLF6fLFebsEJcBGSDXKxeXK6vpMvilkghFMzvROca3hEKPdGZBoK
		eve $2a$04$eXLF6fLFebsEJcBGSDXKxeXK6vpMvilkghFMzvROca3hEKPdGZBoK
	}
`

// settings has the site of standardCaddyfile stand behind other handlers, with
// other settings than its token endpoint.
func settings(before, settings string) []string {
	return []string{"\tbellhop {\n\t\ttoken_endpoint\n", before + "\tbellhop {\n" + settings}
}

// as sends a request with somebody's password.
func (s *proxied) as(who, method, path string, body io.Reader, header ...string) reply {
	s.t.Helper()
	request := http.Request{Header: http.Header{}}
	request.SetBasicAuth(who, "secret")
	return s.do(method, path, body, append([]string{"Authorization", request.Header.Get("Authorization")}, header...)...)
}

// refusedAll expects that nothing has reached the API.
func (s *proxied) refusedAll() {
	s.t.Helper()
	if taken := s.api.take(); len(taken) != 0 {
		s.t.Errorf("refused calls reached the API: %+v", taken)
	}
}

func TestIdentitiesReachTheAccountsOfTheirGrants(t *testing.T) {
	s := startProxied(t, settings(signIn, `		auth caddy
		grant alice {
			account bob
			allow "GET,HEAD api.acme.example/v1/**"
		}
		grant carol* {
			account carol
		}
		grant boss {
			account alice
			preset gmail-readonly
		}
`)...)
	if r := s.as("boss", http.MethodGet, "/proxy/alice/gmail.googleapis.com/gmail/v1/users/me/profile", nil); r.status != http.StatusOK {
		t.Errorf("what a preset allows: %d %s", r.status, r.body)
	}
	wantProblem(t, s.as("boss", http.MethodPost, "/proxy/alice/gmail.googleapis.com/gmail/v1/users/me/messages/send", strings.NewReader("{}")), problem.NotAllowed)
	if r := s.as("alice", http.MethodGet, "/proxy/bob/api.acme.example/v1/x", nil); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if got := s.api.only(t).Header.Get("Authorization"); !strings.HasPrefix(got, "Bearer ") {
		t.Errorf("the API got %q", got)
	}
	e := echoed(t, s.as("carol", http.MethodGet, "/proxy/carol/graph.microsoft.com/echo/x", nil))
	if !strings.HasSuffix(e.Header.Get("Authorization"), "of grant "+s.grants["carol"]) {
		t.Errorf("carol's call went as %q", e.Header.Get("Authorization"))
	}
	for name, c := range map[string]struct{ who, method, path, says string }{
		"another account":   {"alice", http.MethodGet, "/proxy/carol/graph.microsoft.com/v1.0/me", `the identity's grant does not allow this call: it lacks an account pattern that matches "carol"`},
		"no such account":   {"alice", http.MethodGet, "/proxy/nobody/api.acme.example/v1/x", "it lacks an account pattern"},
		"no rule":           {"alice", http.MethodPost, "/proxy/bob/api.acme.example/v1/x", "it lacks a rule that allows POST"},
		"no grant":          {"eve", http.MethodGet, "/proxy/bob/api.acme.example/v1/x", `no grant of this site is for the identity "eve"`},
		"another's account": {"carol", http.MethodGet, "/proxy/bob/api.acme.example/v1/x", "it lacks an account pattern"},
	} {
		r := s.as(c.who, c.method, c.path, strings.NewReader(""))
		wantProblem(t, r, problem.NotAllowed)
		if !strings.Contains(string(r.body), strings.ReplaceAll(c.says, `"`, `\"`)) {
			t.Errorf("%s: %s", name, r.body)
		}
	}
	if r := s.do(http.MethodGet, "/proxy/bob/api.acme.example/v1/x", nil); r.status != http.StatusUnauthorized || r.header.Get("Bellhop-Error") != "" {
		t.Errorf("without a password: %d %s", r.status, r.header.Get("Bellhop-Error"))
	}
	s.refusedAll()
	for who, calls := range map[string]int{"alice": 4, "carol": 2, "eve": 1} {
		if got := s.activityOf("?key=" + who); len(got) != calls {
			t.Errorf("the audit has %d calls of %s, want %d: %+v", len(got), who, calls, got)
		}
	}
}

// byHeader is a site that believes what callers say of themselves, for what no
// authentication would let through.
func byHeader(grants string) []string {
	return settings("", "\t\tauth caddy {header.X-User}\n"+grants)
}

func TestCallsWithoutAnIdentityAreRefused(t *testing.T) {
	s := startProxied(t, byHeader("\t\tgrant * {\n\t\t\taccount *\n\t\t}\n")...)
	const path = "/proxy/bob/api.acme.example/v1/x"
	for name, header := range map[string][]string{
		"none": nil, "an empty one": {"X-User", ""}, "a key": {"Authorization", "Bearer " + s.key}, "another header": {"X-Users", "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.do(http.MethodGet, path, nil, header...)
			wantProblem(t, r, problem.MissingKey)
			if r.header.Get("Www-Authenticate") != "Bearer" {
				t.Errorf("the challenge is %q", r.header.Get("Www-Authenticate"))
			}
		})
	}
	for name, identity := range map[string]string{
		"a control character": "al\tice", "not UTF-8": "al\xffice", "too long": strings.Repeat("x", maxIdentity+1), "a key": s.key,
	} {
		t.Run(name, func(t *testing.T) {
			r := s.do(http.MethodGet, path, nil, "X-User", identity)
			wantProblem(t, r, problem.NotAllowed)
			if strings.Contains(string(r.body), identity) {
				t.Errorf("the answer repeats it: %s", r.body)
			}
		})
	}
	s.refusedAll()
	if r := s.do(http.MethodGet, path, nil, "X-User", strings.Repeat("x", maxIdentity)); r.status != http.StatusOK {
		t.Errorf("the longest one: %d %s", r.status, r.body)
	}
}

func TestAnIdentityIsNoPatternAndNoPlaceholder(t *testing.T) {
	t.Setenv("BELLHOP_TEST_ACCOUNT", "bob")
	s := startProxied(t, byHeader("\t\tgrant * {\n\t\t\taccount {header.X-User} team/{header.X-User}\n\t\t}\n")...)
	const path = "/proxy/bob/api.acme.example/v1/x"
	if r := s.do(http.MethodGet, path, nil, "X-User", "bob"); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	s.api.take()
	for _, identity := range []string{"*", "b*", "bo?", "Bob", "BOB", "bob.", "bobb", "{env.BELLHOP_TEST_ACCOUNT}", "{http.request.header.X-Other}", "{header.X-User}"} {
		wantProblem(t, s.do(http.MethodGet, path, nil, "X-User", identity, "X-Other", "bob"), problem.NotAllowed)
	}
	s.refusedAll()
	// What stands around the identity is the configuration's.
	wantProblem(t, s.do(http.MethodGet, "/proxy/team%2Fbob/api.acme.example/v1/x", nil, "X-User", "bob"), problem.AccountNotFound)
}

func TestTheFirstGrantThatMatchesCounts(t *testing.T) {
	s := startProxied(t, byHeader(`		grant mallory
		grant a* {
			account bob
			allow "GET api.acme.example/**"
		}
		grant * {
			account bob
		}
`)...)
	const path = "/proxy/bob/api.acme.example/v1/x"
	for who, want := range map[string][2]int{"mallory": {403, 403}, "alice": {200, 403}, "eve": {200, 200}} {
		for i, method := range []string{http.MethodGet, http.MethodDelete} {
			if r := s.do(method, path, nil, "X-User", who); r.status != want[i] {
				t.Errorf("%s %s: %d %s, want %d", who, method, r.status, r.body, want[i])
			}
		}
	}
}

func TestOriginFormServesPeopleTheirOwnAccount(t *testing.T) {
	origin := []string{"\t\tproxy {\n", "\t\tproxy / {\n\t\t\taccount {http.auth.user.id}\n\t\t\tapi_host graph.microsoft.com\n"}
	for name, grants := range map[string]string{
		"by name":        "\t\tgrant carol {\n\t\t\taccount carol\n\t\t}\n\t\tgrant eve {\n\t\t\taccount alice\n\t\t}\n\t\tgrant * {\n\t\t\taccount *\n\t\t}\n",
		"each their own": "\t\tgrant eve {\n\t\t\taccount alice\n\t\t}\n\t\tgrant * {\n\t\t\taccount {http.auth.user.id}\n\t\t}\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := startProxied(t, append(settings(signIn, "\t\tauth caddy\n"+grants), origin...)...)
			e := echoed(t, s.as("carol", http.MethodGet, "/echo/x", nil))
			if e.Host != "graph.microsoft.com" || !strings.HasSuffix(e.Header.Get("Authorization"), "of grant "+s.grants["carol"]) {
				t.Errorf("%s, as %s", e.Host, e.Header.Get("Authorization"))
			}
			wantProblem(t, s.as("alice", http.MethodGet, "/echo/x", nil), problem.HostNotAllowed) // hers is no Microsoft account
			wantProblem(t, s.as("boss", http.MethodGet, "/echo/x", nil), problem.AccountNotFound)
			wantProblem(t, s.as("eve", http.MethodGet, "/echo/x", nil), problem.NotAllowed)
		})
	}
}

func TestAnIdentityCopiedFromAnAuthenticatorCannotBeSpoofed(t *testing.T) {
	sessions := map[string]string{"a": "alice", "e": "eve", "nobody": ""}
	authenticator := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := r.Cookie("session")
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if who := sessions[session.Value]; who != "" {
			w.Header().Set("Remote-User", who)
		}
	}))
	t.Cleanup(authenticator.Close)
	s := startProxied(t, settings("\tforward_auth "+authenticator.URL+" {\n\t\turi /auth\n\t\tcopy_headers Remote-User\n\t}\n",
		"\t\tauth caddy {header.Remote-User}\n\t\tgrant alice {\n\t\t\taccount bob\n\t\t}\n")...)
	const path = "/proxy/bob/api.acme.example/v1/x"
	if r := s.do(http.MethodGet, path, nil, "Cookie", "session=a"); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if got := s.api.only(t); got.Header.Get("Cookie") != "" || got.Header.Get("Remote-User") != "" {
		t.Errorf("the API was told who calls: %v", got.Header)
	}
	wantProblem(t, s.do(http.MethodGet, path, nil, "Cookie", "session=e", "Remote-User", "alice"), problem.NotAllowed)
	wantProblem(t, s.do(http.MethodGet, path, nil, "Cookie", "session=nobody", "Remote-User", "alice"), problem.MissingKey)
	if r := s.do(http.MethodGet, path, nil, "Remote-User", "alice"); r.status != http.StatusUnauthorized {
		t.Errorf("without a session: %d", r.status)
	}
	s.refusedAll()
}

// handedOutTo is a handle of a download of carol's for somebody.
func (s *proxied) handedOutTo(who string) string {
	s.t.Helper()
	s.api.answering(http.StatusOK, `{"@microsoft.graph.downloadUrl":"https://contoso.sharepoint.com/download?tempauth=1"}`)
	r := s.as(who, http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1", nil)
	s.api.take()
	s.api.handle(nil)
	return s.local(member(s.t, r, "@microsoft.graph.downloadUrl"))
}

func TestHandlesFollowTheGrantOfTheirIdentity(t *testing.T) {
	const grant = "\t\tgrant alice {\n\t\t\taccount carol\n\t\t}\n"
	s := startProxied(t, slices.Concat(graphAtAPI, settings(signIn, "\t\tauth caddy\n"+grant))...)
	path := s.handedOutTo("alice")
	working := func(path string, want int) {
		t.Helper()
		if r := s.do(http.MethodGet, path, nil); r.status != want {
			t.Errorf("%d %s, want %d", r.status, r.body, want)
		}
	}
	working(path, http.StatusOK) // without a password
	if got := s.activityOf("?key=alice"); len(got) != 2 || got[0].Route != "handle" {
		t.Errorf("the audit has %+v", got)
	}
	for name, left := range map[string]string{
		"gone":               "\t\tgrant bob {\n\t\t\taccount carol\n\t\t}\n",
		"for another's":      "\t\tgrant alice {\n\t\t\taccount bob\n\t\t}\n",
		"their own":          "\t\tgrant * {\n\t\t\taccount {http.auth.user.id}\n\t\t}\n",
		"taken from her":     "\t\tgrant alice\n\t\tgrant * {\n\t\t\taccount *\n\t\t}\n",
		"narrowed by a rule": "\t\tgrant alice {\n\t\t\taccount carol\n\t\t\tallow \"POST graph.microsoft.com/**\"\n\t\t}\n",
		"narrowed by preset": "\t\tgrant alice {\n\t\t\taccount carol\n\t\t\tpreset graph-mail-readonly\n\t\t}\n",
		"in another's place": "\t\tgrant identity:alice {\n\t\t\taccount carol\n\t\t}\n",
	} {
		t.Run(name, func(t *testing.T) {
			s.load(changed(t, s.caddyfile, grant, left))
			wantProblem(t, s.do(http.MethodGet, path, nil), problem.NotAllowed)
		})
	}
	s.load(s.caddyfile)
	working(path, http.StatusOK)

	// What stands for one kind of caller stands for no other.
	keys := changed(t, s.caddyfile, "\t\tauth caddy\n"+grant, "", signIn, "")
	s.load(keys)
	wantProblem(t, s.do(http.MethodGet, path, nil), problem.NotAllowed)
	ofKey := s.handedOut("tempauth=2")
	working(ofKey, http.StatusOK)
	s.load(changed(t, s.caddyfile, "\t\tgrant alice {", "\t\tgrant * {"))
	wantProblem(t, s.do(http.MethodGet, ofKey, nil), problem.NotAllowed)
	s.load(changed(t, keys, "\tbellhop {\n\t\tproxy {", "\tbellhop {\n\t\tauth none\n\t\tproxy {"))
	wantProblem(t, s.do(http.MethodGet, ofKey, nil), problem.NotAllowed)
	wantProblem(t, s.do(http.MethodGet, path, nil), problem.NotAllowed)
	s.api.only(t) // that of the key's, while keys counted
}

func TestWhatPathMatchersTakeForAHandleIsOneOrRefused(t *testing.T) {
	// Whoever leaves handles out of forward_auth leaves out what Caddy's matcher
	// takes for them, and there the header is the caller's.
	s := startProxied(t, slices.Concat(byHeader("\t\tgrant * {\n\t\t\taccount *\n\t\t}\n"),
		[]string{"\t\tproxy {\n", "\t\tproxy / {\n\t\t\taccount bob\n\t\t\tapi_host api.acme.example\n"})...)
	for _, path := range []string{
		"/.BELLHOP/h/x", "/.bellhop/H/x", "/%2ebellhop/h/x", "/.bellhop%2fh/x", "/x/../.bellhop/h/x", "//.bellhop/h/x", "/.bellhop/h/x",
		"/%2f.bellhop/h/x", "/.bellhop%2f/h/x", "/.bellhop/%2fh/x", "/.bellhop/h%2f%2fx",
	} {
		wantProblem(t, s.raw("GET "+path+" HTTP/1.1", "Host: "+s.addr, "X-User: eve"), problem.InvalidRequest)
	}
	s.refusedAll()
	if r := s.do(http.MethodGet, "/files/.bellhop/h/x", nil, "X-User", "eve"); r.status != http.StatusOK {
		t.Errorf("an API's own path: %d %s", r.status, r.body)
	}
}

func TestNobodyGetsPastASignInThatLeavesHandlesOut(t *testing.T) {
	// Who comes past it writes the header like an admin's.
	s := startProxied(t, settings("\t@people not path /proxy/.bellhop/h/*\n\trequest_header @people X-User eve\n",
		"\t\tauth caddy {header.X-User}\n\t\tapi\n\t\tgrant boss {\n\t\t\taccount *\n\t\t\tadmin\n\t\t}\n\t\tgrant eve\n")...)
	call := func(path string) reply { return s.raw("GET "+path+" HTTP/1.1", "Host: "+s.addr, "X-User: boss") }
	wantProblem(t, call("/v1/accounts"), problem.NotAllowed)
	for _, path := range []string{
		"/v1/account/..%2f..%2f..%2fproxy%2f.bellhop%2fh%2fx",
		"/v1/account/x%2F..%2F..%2F..%2F..%2Fproxy%2F.Bellhop%2Fh%2Fx/oauth-token",
		"/v1/token/..%2f..%2f..%2fproxy%2f.bellhop%2fh%2fx",
		"/v1/whoami/../../proxy/.bellhop/h/x",
		"/proxy/..%2fproxy%2f.bellhop%2fh%2fx/api.acme.example/v1/x",
		"/proxy/.%2f.bellhop%2fh%2fx/api.acme.example/v1/x",
		"/proxy/.bellhop%2f.%2fh%2fx/api.acme.example/v1/x",
		"/proxy/bob/../.bellhop/h/x",
		"/elsewhere/../proxy/.bellhop/h/x",
	} {
		wantProblem(t, call(path), problem.InvalidRequest)
	}
	if calls := s.activityOf("?key=boss"); len(calls) != 0 {
		t.Errorf("the audit has calls of who wrote the header: %+v", calls)
	}
}

func TestKeysAreRefusedWhereIdentitiesCount(t *testing.T) {
	s := startProxied(t, byHeader("\t\tgrant * {\n\t\t\taccount *\n\t\t}\n")...)
	const path = "/proxy/bob/api.acme.example/v1/x"
	for _, header := range [][]string{{"X-Bellhop-Key", s.key}, {"X-Goog-Api-Key", s.key}, {"Authorization", "Bearer " + s.key}, {"X-Bellhop-Key", "anything"}} {
		wantProblem(t, s.do(http.MethodGet, path, nil, append(header, "X-User", "eve")...), problem.InvalidRequest)
	}
	s.refusedAll()
	// Libraries send what they need to have.
	for _, header := range [][]string{{"Authorization", "Bearer anything"}, {"X-Goog-Api-Key", "anything"}} {
		if r := s.do(http.MethodGet, path, nil, append(header, "X-User", "eve")...); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.body)
		}
		if got := s.api.only(t).Header; got.Get("Authorization") == "Bearer anything" || got.Get("X-Goog-Api-Key") != "" {
			t.Errorf("it went to the API: %v", got)
		}
	}
}

func TestPagesOfOtherOriginsCannotUseASignIn(t *testing.T) {
	s := startProxied(t, settings(signIn, "\t\tauth caddy\n\t\tapi\n\t\tgrant boss {\n\t\t\taccount bob\n\t\t\tadmin\n\t\t}\n")...)
	const path = "/proxy/bob/api.acme.example/v1/x"
	elsewhere := map[string][]string{
		"its origin":       {"Origin", "https://evil.example"},
		"no origin":        {"Origin", "null"},
		"another port":     {"Origin", "http://127.0.0.1:1"},
		"across sites":     {"Sec-Fetch-Site", "cross-site"},
		"within a site":    {"Sec-Fetch-Site", "same-site"},
		"both":             {"Sec-Fetch-Site", "cross-site", "Origin", s.url},
		"opens a tunnel":   {"Origin", "https://evil.example", "Connection", "Upgrade", "Upgrade", "websocket"},
		"something unsaid": {"Sec-Fetch-Site", "new-value"},
	}
	for name, header := range elsewhere {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
				wantProblem(t, s.as("boss", method, path, nil, header...), problem.NotAllowed)
			}
			wantProblem(t, s.as("boss", http.MethodDelete, "/v1/account/bob", nil, header...), problem.NotAllowed)
			wantProblem(t, s.as("boss", http.MethodGet, whoamiPath, nil, header...), problem.NotAllowed)
		})
	}
	s.refusedAll()
	for name, header := range map[string][]string{
		"a program": nil, "its own page": {"Sec-Fetch-Site", "same-origin", "Origin", s.url}, "an older browser's own page": {"Origin", s.url}, "the address bar": {"Sec-Fetch-Site", "none"},
	} {
		if r := s.as("boss", http.MethodPost, path, strings.NewReader("x"), header...); r.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
}

func TestIdentitiesManageOnlyWithAdmin(t *testing.T) {
	s := startProxied(t, settings(signIn, `		auth caddy
		api
		token_endpoint
		grant boss {
			admin
		}
		grant * {
			account {http.auth.user.id} bob
			allow "GET,HEAD *"
		}
`)...)
	for _, path := range []string{"/v1/accounts", "/v1/activity", "/v1/tokens", "/v1/account/alice"} {
		wantProblem(t, s.as("alice", http.MethodGet, path, nil), problem.NotAllowed)
		if r := s.as("boss", http.MethodGet, path, nil); r.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	wantProblem(t, s.as("alice", http.MethodPost, formPath, strings.NewReader(`{"account":"alice"}`), "Content-Type", "application/json"), problem.NotAllowed)
	if got := s.activityOf("?key=boss&decision=allowed"); len(got) != 4 {
		t.Errorf("the audit has %d calls of boss: %+v", len(got), got)
	}
	for _, who := range []string{"alice", "boss"} { // no grant can allow it
		wantProblem(t, s.as(who, http.MethodGet, tokenPath("alice"), nil), problem.NotAllowed)
	}

	for who, want := range map[string]whoami{
		"alice": {May: []string{"may GET and HEAD everything"}, Accounts: []reached{{Account: "alice"}, {Account: "bob"}}},
		"boss":  {May: []string{"reaches no account", "may make consent links", "may manage accounts and keys"}},
	} {
		var got whoami
		if r := s.as(who, http.MethodGet, whoamiPath, nil); json.Unmarshal(r.body, &got) != nil {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if got.Identity != who || got.Key != who || !slices.Equal(got.May, want.May) || len(got.Accounts) != len(want.Accounts) {
			t.Errorf("%s: %+v", who, got)
			continue
		}
		for _, account := range want.Accounts {
			if !slices.ContainsFunc(got.Accounts, func(a reached) bool {
				return a.Account == account.Account && a.BaseURL == s.url+"/proxy/"+account.Account
			}) {
				t.Errorf("%s: %s is missing in %+v", who, account.Account, got.Accounts)
			}
		}
	}
	if r := s.get(whoamiPath, s.key); r.status != http.StatusUnauthorized {
		t.Errorf("a key: %d", r.status)
	}
}

func TestAReloadTakesAGrantAway(t *testing.T) {
	const grant = "\t\tgrant alice {\n\t\t\taccount bob\n\t\t}\n"
	s := startProxied(t, settings(signIn, "\t\tauth caddy\n"+grant)...)
	const path = "/proxy/bob/api.acme.example/v1/x"
	if r := s.as("alice", http.MethodGet, path, nil); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	s.api.take()
	s.load(changed(t, s.caddyfile, grant, "\t\tgrant eve {\n\t\t\taccount bob\n\t\t}\n"))
	wantProblem(t, s.as("alice", http.MethodGet, path, nil), problem.NotAllowed)
	s.refusedAll()
}

// provisioned makes `auth caddy` of a handler's settings.
func provisioned(t *testing.T, h *Handler) (*identityAuth, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if h.Auth == nil {
		h.Auth = &Auth{Type: AuthCaddy}
	}
	return newIdentityAuth(ctx, h)
}

func TestGrantsThatCannotBeMeantAreRefused(t *testing.T) {
	t.Setenv("BELLHOP_TEST_EVERYBODY", "*")
	for name, c := range map[string]struct {
		grants []*Grant
		want   string
	}{
		"after one for all":          {[]*Grant{{Identity: "*"}, {Identity: "alice"}}, "grant alice: never counts, since `grant *` above it"},
		"after a wider one":          {[]*Grant{{Identity: "*@a.example"}, {Identity: "x*@a.example"}}, "grant x*@a.example: never counts"},
		"after a placeholder's":      {[]*Grant{{Identity: "{env.BELLHOP_TEST_EVERYBODY}"}, {Identity: "alice"}}, "grant alice: never counts"},
		"an unknown placeholder":     {[]*Grant{{Identity: "{http.auth.user.id}"}}, "grant {http.auth.user.id}: identity: glob: unrecognized placeholder"},
		"an empty placeholder":       {[]*Grant{{Identity: "{env.BELLHOP_TEST_NOTHING}"}}, "is empty"},
		"another of the request":     {[]*Grant{{Identity: "a", Accounts: []string{"{http.auth.user.email}"}}}, "grant a: account: unrecognized placeholder {http.auth.user.email}: an account takes placeholders of the configuration, and the caller's identity as {http.auth.user.id}"},
		"a star beside the identity": {[]*Grant{{Identity: "a", Accounts: []string{"{http.auth.user.id}*"}}}, "leave the * out"},
		"a star of a placeholder's":  {[]*Grant{{Identity: "a", Accounts: []string{"{env.BELLHOP_TEST_EVERYBODY}{http.auth.user.id}"}}}, "leave the * out"},
		"no account":                 {[]*Grant{{Identity: "a", Accounts: []string{"/a"}}}, `grant a: account pattern "/a"`},
		"no account of one's own":    {[]*Grant{{Identity: "a", Accounts: []string{"/{http.auth.user.id}"}}}, "grant a: account /{http.auth.user.id}: account ID begins or ends"},
		"no rule":                    {[]*Grant{{Identity: "a", Allow: []string{"GET"}}}, "grant a: allow: "},
		"no preset":                  {[]*Grant{{Identity: "a", Presets: []string{"no-such"}}}, "grant a: "},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := provisioned(t, &Handler{Grants: c.grants}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestGrantsTakePlaceholdersOfTheConfiguration(t *testing.T) {
	t.Setenv("BELLHOP_TEST_DOMAIN", "a.example")
	a, err := provisioned(t, &Handler{
		Auth: &Auth{Type: AuthCaddy, Identity: "{http.auth.user.id}@{env.BELLHOP_TEST_DOMAIN}"},
		Grants: []*Grant{{
			Identity: "*@{env.BELLHOP_TEST_DOMAIN}",
			Accounts: []string{"shared-{env.BELLHOP_TEST_DOMAIN}", "b", "c", "d", "e", "{env.BELLHOP_TEST_DOMAIN}/{http.auth.user.id}@{env.BELLHOP_TEST_DOMAIN}", "{http.auth.user.id}@{env.BELLHOP_TEST_DOMAIN}"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for identity, want := range map[string][]string{
		"alice@a.example":                        {"shared-a.example", "b", "c", "d", "e", "a.example/alice@a.example", "alice@a.example"},
		"{env.HOME}@a.example":                   {"shared-a.example", "b", "c", "d", "e", "a.example/{env.HOME}@a.example", "{env.HOME}@a.example"},
		"*@a.example":                            {"shared-a.example", "b", "c", "d", "e"},
		strings.Repeat("x", 250) + "@a.example":  {"shared-a.example", "b", "c", "d", "e"},
		"e\u0301@a.example":                      {"shared-a.example", "b", "c", "d", "e"}, // no account has such an ID
		"alice/@a.example":                       {"shared-a.example", "b", "c", "d", "e", "a.example/alice/@a.example", "alice/@a.example"},
		"CN=*.a.example,O=Everybody's@a.example": {"shared-a.example", "b", "c", "d", "e"},
	} {
		key := a.key(identity)
		if key == nil || !slices.Equal(key.Accounts, want) || key.Name != identity {
			t.Errorf("%s: %+v, want the accounts %q", identity, key, want)
		}
	}
	if key := a.key("alice@b.example"); key != nil {
		t.Errorf("%+v", key)
	}
	// Two callers at once must not write into each other's accounts.
	one, other := a.key("alice@a.example"), a.key("carol@a.example")
	if one.Reaches("carol@a.example") || other.Reaches("alice@a.example") || !one.Reaches("alice@a.example") {
		t.Errorf("%q, %q", one.Accounts, other.Accounts)
	}
}

func TestPlaceholdersThatProveNothingAreNoIdentity(t *testing.T) {
	for placeholder, want := range map[string]string{
		"alice":                          "is the same for every caller",
		"{env.USER}":                     "is the same for every caller",
		"{http.request.uri.query.user}":  "is what any caller writes",
		"{http.request.uri}":             "is what any caller writes",
		"{http.request.host}":            "is what any caller writes",
		"{http.request.tls.server_name}": "is what any caller writes",
		"{http.auth.user.id}/{http.request.uri.path.0}": "is what any caller writes",
		"{http.request.cookie.user}":                    "is a credential",
		"{http.request.header.Authorization}":           "is a credential",
		"{http.request.header.x-bellhop-key}":           "is a credential",
		"{http.auth.user.id}":                           "",
		"{http.auth.user.email}@{env.HOSTNAME}":         "",
		"{http.request.header.Remote-User}":             "",
		"{http.request.tls.client.subject}":             "",
		"{http.vars.identity}":                          "",
	} {
		err := checkIdentityPlaceholder(placeholder)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", placeholder, err, want)
		}
	}
}
