package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/policy"
)

const wholeScope = "mail.read mail.send mail.delete"

// narrowing is a Bellhop with an account acme of three scopes.
type narrowing struct {
	*bellhop
	p     providerProcess
	grant string
}

func startNarrowing(t *testing.T, client fakeprovider.Client, blocks ...string) *narrowing {
	t.Helper()
	p := startProvider(t, "-token-life", "1h")
	if err := p.RegisterClient(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	n := &narrowing{p: p}
	n.bellhop = start(t, withKeys(strings.Replace(standardCaddyfile(p), "scopes mail.read\n", "scopes "+wholeScope+"\n", 1), blocks...))
	var refreshToken string
	n.grant, refreshToken = p.grant(t, fakeprovider.Grant{Email: "user@example.com", Scope: wholeScope})
	n.addAccount("acme", "acme", "user@example.com", refreshToken)
	return n
}

// narrowed makes a key of the account whose tokens are narrowed.
func (n *narrowing) narrowed(name string, token bool, scopes ...string) string {
	n.t.Helper()
	return n.addKey(name, map[string]any{"accounts": []string{"acme"}, "token": token, "tokenScopes": scopes})
}

// scopeAtAPI are the scopes of the token that a call with the key arrives with.
func (n *narrowing) scopeAtAPI(key string) string {
	n.t.Helper()
	r := n.get("/proxy/acme/echo/x", key)
	var echo fakeprovider.Echo
	if err := json.Unmarshal(r.body, &echo); r.status != http.StatusOK || err != nil {
		n.t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return n.scopeOf(func(s fakeprovider.AccessTokenState) bool { return s.Number == echo.AccessTokenNumber })
}

// scopeOf are the scopes of a live token, as the provider knows them.
func (n *narrowing) scopeOf(which func(fakeprovider.AccessTokenState) bool) string {
	n.t.Helper()
	state, err := n.p.Grant(n.t.Context(), n.grant, true)
	if err != nil {
		n.t.Fatal(err)
	}
	i := slices.IndexFunc(state.AccessTokens, which)
	if i < 0 {
		n.t.Fatal("the provider does not know the token")
	}
	return state.AccessTokens[i].Scope
}

func (n *narrowing) scopeOfToken(value string) string {
	n.t.Helper()
	return n.scopeOf(func(s fakeprovider.AccessTokenState) bool { return s.Value == value })
}

func (n *narrowing) revokeAccessTokens() {
	n.t.Helper()
	if err := n.p.RevokeAccessTokens(n.t.Context(), n.grant); err != nil {
		n.t.Fatal(err)
	}
}

func TestKeyIsServedWithNarrowerTokens(t *testing.T) {
	plain, _ := policy.NewKey()
	n := startNarrowing(t, fakeprovider.DefaultClient, declared("file", plain.Reveal(), "\t\t\taccount acme\n\t\t\tscopes mail.read mail.send\n"))
	whole := n.addKey("whole", map[string]any{"accounts": []string{"acme"}, "token": true})
	reader := n.narrowed("reader", true, "mail.read")
	want := map[string]string{whole: wholeScope, reader: "mail.read", plain.Reveal(): "mail.read mail.send"}

	t.Run("through the proxy", func(t *testing.T) {
		for range 2 {
			for key, scope := range want {
				if got := n.scopeAtAPI(key); got != scope {
					t.Errorf("called with the scopes %q, want %q", got, scope)
				}
			}
		}
		if got := n.p.tokenRequests(t); got != len(want) {
			t.Errorf("%d token requests, want one for each set of scopes", got)
		}
	})
	t.Run("when the API refuses the token", func(t *testing.T) {
		n.revokeAccessTokens()
		for key, scope := range want {
			if got := n.scopeAtAPI(key); got != scope {
				t.Errorf("called again with the scopes %q, want %q", got, scope)
			}
		}
	})
	t.Run("at the token endpoint", func(t *testing.T) {
		for _, query := range []string{"", "?min_ttl=60", "?force=true"} {
			answer := tokenOf(t, n.get(tokenURL("acme")+query, reader))
			if got := n.scopeOfToken(answer.AccessToken); got != "mail.read" || !cmp.Equal(answer.RegisteredScopes, []string{"mail.read"}) {
				t.Errorf("%q: a token with %q, said to have %q", query, got, answer.RegisteredScopes)
			}
		}
		answer := tokenOf(t, n.get(tokenURL("acme"), whole))
		if got := n.scopeOfToken(answer.AccessToken); got != wholeScope {
			t.Errorf("another key is given %q", got)
		}
		for _, key := range []string{whole, reader} {
			r := n.get(tokenURL("acme")+"?scopes=mail.send", key)
			refusedWith(t, r, http.StatusBadRequest, "InvalidRequest")
		}
	})
	t.Run("with scopes that the grant has not", func(t *testing.T) {
		other := n.narrowed("other", true, "mail.read", "mail.admin")
		before := n.p.tokenRequests(t)
		for _, path := range []string{"/proxy/acme/echo/x", tokenURL("acme")} {
			r := n.get(path, other)
			refusedWith(t, r, http.StatusForbidden, "InsufficientScope")
			if !strings.Contains(string(r.body), "does not have mail.admin") || strings.Contains(string(r.body), "consent") {
				t.Errorf("%s: %s", path, r.body)
			}
		}
		if got := n.p.tokenRequests(t); got != before {
			t.Errorf("%d token requests", got-before)
		}
	})
	t.Run("is told so", func(t *testing.T) {
		if r := n.get(whoamiPath, reader); !strings.Contains(string(r.body), "scopes of the account's alone: mail.read\"") {
			t.Errorf("whoami: %s", r.body)
		}
		if r := n.get(whoamiPath, whole); strings.Contains(string(r.body), "alone") {
			t.Errorf("whoami: %s", r.body)
		}
	})
}

func TestNarrowerTokensAtTheCommandLine(t *testing.T) {
	n := startNarrowing(t, fakeprovider.DefaultClient)
	c := n.commands()
	key := strings.TrimSpace(c.must("key", "add", "reader", "--account", "acme", "--scopes", " mail.read  mail.send"))
	if got := n.scopeAtAPI(key); got != "mail.read mail.send" {
		t.Errorf("called with the scopes %q", got)
	}
	var shown shownKey
	if err := json.Unmarshal([]byte(c.must("key", "show", "reader")), &shown); err != nil || !cmp.Equal(shown.TokenScopes, []string{"mail.read", "mail.send"}) {
		t.Errorf("shown with %q, %v", shown.TokenScopes, err)
	}
	if out := c.must("key", "list"); !strings.Contains(out, "proxy,narrower tokens") {
		t.Errorf("listed as %s", out)
	}
	if out := c.must("key", "list", "--json"); !strings.Contains(out, `"tokenScopes"`) {
		t.Errorf("listed as %s", out)
	}
	if out := c.must("key", "new", "reader", "--scopes", "mail.read mail.send"); !strings.Contains(out, "\n\tscopes mail.read mail.send\n") {
		t.Errorf("offline: %s", out)
	}
	if _, err := c.run("key", "add", "wrong", "--scopes", `mail"read`); err == nil || !strings.Contains(err.Error(), "scopes") {
		t.Errorf("what is no scope: %v", err)
	}
	token := strings.TrimSpace(c.must("token", "acme", "--scopes", "mail.send"))
	if got := n.scopeOfToken(token); got != "mail.send" {
		t.Errorf("the token has %q", got)
	}
	if got := n.scopeOfToken(strings.TrimSpace(c.must("token", "acme"))); got != wholeScope {
		t.Errorf("the token has %q", got)
	}
	for _, scopes := range []string{"mail.admin", `mail"send`} {
		if out, err := c.run("token", "acme", "--scopes", scopes); err == nil || out != "" {
			t.Errorf("%s: %q, %v", scopes, out, err)
		}
	}
}

func TestScopesOfKeysInEmailEnginesWords(t *testing.T) {
	n := startNarrowing(t, fakeprovider.DefaultClient)
	r := n.adminReply(http.MethodPost, "/v1/token", map[string]any{"account": "acme", "description": "x", "scopes": []string{"api"}, "tokenScopes": []string{"mail.read"}})
	refusedWith(t, r, http.StatusBadRequest, "InvalidRequest")
}

// Scopes of several keys, one refresh token that is good once.
func TestParallelCallersWithOtherScopesSpendNoRefreshTokenTwice(t *testing.T) {
	n := startNarrowing(t, fakeprovider.DefaultClient)
	keys := map[string]string{}
	for i, scopes := range []string{wholeScope, "mail.read", "mail.send", "mail.read mail.send", "mail.delete"} {
		keys[n.narrowed(fmt.Sprint("key", i), true, strings.Fields(scopes)...)] = scopes
	}
	for range 3 {
		var calls sync.WaitGroup
		for key, scopes := range keys {
			for range 5 {
				calls.Go(func() {
					r, err := n.send(t.Context(), http.MethodGet, tokenURL("acme")+"?force=true", nil, "Authorization", "Bearer "+key)
					var answer tokenAnswer
					if err != nil || r.status != http.StatusOK || json.Unmarshal(r.body, &answer) != nil {
						t.Errorf("%d %s: %v", r.status, r.body, err)
						return
					}
					if got := strings.Join(answer.RegisteredScopes, " "); len(got) != len(scopes) {
						t.Errorf("given %q, want %q", got, scopes)
					}
				})
				calls.Go(func() {
					r, err := n.send(t.Context(), http.MethodGet, "/proxy/acme/echo/x", nil, "Authorization", "Bearer "+key)
					if err != nil || r.status != http.StatusOK {
						t.Errorf("%d %s: %v", r.status, r.body, err)
					}
				})
			}
		}
		calls.Wait()
		n.revokeAccessTokens()
	}
	stats, err := n.p.Stats(t.Context())
	if err != nil || stats.ReuseDetections != 0 || stats.InFlightMax != 1 {
		t.Errorf("%d reuses, %d requests at once, %v", stats.ReuseDetections, stats.InFlightMax, err)
	}
}

func TestProviderThatIgnoresNarrowing(t *testing.T) {
	client := fakeprovider.DefaultClient
	client.Narrowing = fakeprovider.NarrowingIgnored
	n := startNarrowing(t, client)
	whole := n.addKey("whole", map[string]any{"accounts": []string{"acme"}, "token": true})
	reader := n.narrowed("reader", true, "mail.read")
	for range 5 {
		for _, path := range []string{"/proxy/acme/echo/x", tokenURL("acme")} {
			r := n.get(path, reader)
			refusedWith(t, r, http.StatusBadGateway, "ProviderError")
			if !strings.Contains(string(r.body), "ignores narrowing") || strings.Contains(string(r.body), "ya29.") {
				t.Errorf("%s: %s", path, r.body)
			}
		}
	}
	if got := n.p.tokenRequests(t); got != 1 {
		t.Errorf("%d token requests for one that is refused", got)
	}
	if n.p.apiCalls(t) != 0 {
		t.Error("a call with the broad token reached the API")
	}
	if got := n.scopeAtAPI(whole); got != wholeScope { // with the refresh token of the broad answer
		t.Errorf("another key calls with %q", got)
	}
	stats, err := n.p.Stats(t.Context())
	if err != nil || stats.ReuseDetections != 0 || stats.TokenRequests != 2 {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestAnswerWithoutScopesIsWhatWasAskedFor(t *testing.T) {
	client := fakeprovider.DefaultClient
	client.Narrowing = fakeprovider.NarrowingUnsaid
	n := startNarrowing(t, client)
	answer := tokenOf(t, n.get(tokenURL("acme"), n.narrowed("reader", true, "mail.read")))
	if got := n.scopeOfToken(answer.AccessToken); got != "mail.read" || !cmp.Equal(answer.RegisteredScopes, []string{"mail.read"}) {
		t.Errorf("a token with %q, said to have %q", got, answer.RegisteredScopes)
	}
}

func TestGoogleTokensAreNarrowed(t *testing.T) {
	client := fakeprovider.DefaultClient
	client.Dialect = fakeprovider.Google
	n := startNarrowing(t, client)
	n.connect(n.p, "gmail", "google") // of https://mail.google.com/ openid email
	asked := func() string {
		t.Helper()
		requests, err := n.p.TokenRequests(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		return requests[len(requests)-1].Scope
	}
	for i, scope := range []string{"email", "https://www.googleapis.com/auth/userinfo.email", "https://mail.google.com/"} {
		key := n.addKey(fmt.Sprint("key", i), map[string]any{"accounts": []string{"gmail"}, "tokenScopes": []string{scope}})
		if r := n.get("/proxy/gmail"+gmailCall, key); r.status != http.StatusOK || asked() != scope {
			t.Errorf("%s: %d %s, asked for %q", scope, r.status, r.body, asked())
		}
	}
	// A key reads no mail by a scope that implies another: the grant has its own.
	other := n.addKey("other", map[string]any{"accounts": []string{"gmail"}, "tokenScopes": []string{"https://www.googleapis.com/auth/gmail.readonly"}})
	refusedWith(t, n.get("/proxy/gmail"+gmailCall, other), http.StatusForbidden, "InsufficientScope")

	t.Run("in a resumable session", func(t *testing.T) {
		const scope = "https://mail.google.com/"
		key := n.addKey("uploads", map[string]any{"accounts": []string{"gmail"}, "tokenScopes": []string{scope}})
		r := n.do(http.MethodPost, "/proxy/gmail/www.googleapis.com/upload/drive/v3/files?uploadType=resumable", strings.NewReader("{}"),
			"X-Bellhop-Key", key, "Content-Type", "application/json", "X-Upload-Content-Length", "4")
		session, ok := strings.CutPrefix(r.header.Get("Location"), n.url)
		if r.status != http.StatusOK || !ok {
			t.Fatalf("%d %s, Location: %s", r.status, r.body, r.header.Get("Location"))
		}
		grants, err := n.p.Grants(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range grants {
			if err := n.p.RevokeAccessTokens(t.Context(), g.ID); err != nil {
				t.Fatal(err)
			}
		}
		before := n.p.tokenRequests(t)
		if r := n.do(http.MethodPut, session, strings.NewReader("0123"), "Content-Range", "bytes 0-3/4"); r.status != http.StatusOK && r.status != http.StatusCreated {
			t.Errorf("%d %s", r.status, r.body)
		}
		if n.p.tokenRequests(t) != before+1 || asked() != scope {
			t.Errorf("the session went on with a token for %q", asked())
		}
	})
}

func TestMicrosoftsTokensAreNotNarrowed(t *testing.T) {
	n := startNarrowing(t, fakeprovider.DefaultClient)
	n.p.registerMicrosoft(t)
	n.connect(n.p, "outlook", "microsoft")
	named := map[string]any{"name": "named", "accounts": []string{"acme", "outlook"}, "tokenScopes": []string{"Mail.Read"}}
	r := n.adminReply(http.MethodPost, "/v1/token", named)
	refusedWith(t, r, http.StatusBadRequest, "InvalidRequest")
	says := func(what, text string) {
		t.Helper()
		for _, word := range []string{"microsoft", "rules", "presets"} {
			if !strings.Contains(text, word) {
				t.Errorf("%s does not name %s: %s", what, word, text)
			}
		}
	}
	says("making the key", string(r.body))
	before := n.p.tokenRequests(t)
	pattern := n.addKey("pattern", map[string]any{"accounts": []string{"*", "not-there-yet"}, "token": true, "tokenScopes": []string{"Mail.Read"}})
	for _, path := range []string{"/proxy/outlook" + graphCall, tokenURL("outlook")} {
		r := n.get(path, pattern)
		refusedWith(t, r, http.StatusForbidden, "NotAllowed")
		says(path, string(r.body))
	}
	_, err := n.commands().run("token", "outlook", "--scopes", "Mail.Read")
	if err == nil {
		t.Error("the command gave a token")
	} else {
		says("the command", err.Error())
	}
	if got := n.p.tokenRequests(t); got != before {
		t.Errorf("%d token requests", got-before)
	}
}

func TestNarrowerTokensWithoutPeople(t *testing.T) {
	b, p := startUnattendedAtProvider(t)
	const sendGmail = "https://www.googleapis.com/auth/gmail.send"
	// More than was delegated: a token for all of it there is not.
	b.load(strings.Replace(b.caddyfile, "scopes "+readGmail, "scopes "+readGmail+" "+sendGmail, 1))
	reader := b.addKey("reader", map[string]any{"accounts": []string{"alice@example.com"}, "tokenScopes": []string{readGmail}})
	if r := b.get(gmailProfile("alice@example.com"), reader); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	other := b.addKey("other", map[string]any{"accounts": []string{"alice@example.com"}, "tokenScopes": []string{"openid"}})
	refusedWith(t, b.get(gmailProfile("alice@example.com"), other), http.StatusForbidden, "InsufficientScope")
	whole := b.addKey("whole", map[string]any{"accounts": []string{"alice@example.com"}})
	if r := b.get(gmailProfile("alice@example.com"), whole); r.status == http.StatusOK {
		t.Errorf("the assertion of a key without scopes was for fewer: %s", r.body)
	}

	b.admin(http.MethodPost, "/v1/account", unattended("app", "daemon"))
	r := b.adminReply(http.MethodPost, "/v1/token", map[string]any{"name": "app", "accounts": []string{"app"}, "tokenScopes": []string{"Mail.Read"}})
	refusedWith(t, r, http.StatusBadRequest, "InvalidRequest")
	before := p.tokenRequests(t)
	pattern := b.addKey("pattern", map[string]any{"accounts": []string{"*"}, "tokenScopes": []string{"Mail.Read"}})
	refusedWith(t, b.get("/proxy/app/graph.microsoft.com/v1.0/users", pattern), http.StatusForbidden, "NotAllowed")
	if got := p.tokenRequests(t); got != before {
		t.Errorf("%d token requests", got-before)
	}
}
