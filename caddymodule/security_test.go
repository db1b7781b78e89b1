package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// SECURITY.md says that whoever may load a configuration owns every account.
// That is how Caddy works; this keeps the sentence true.
func TestWhoeverConfiguresOwnsEveryAccount(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	b.connect(p, "alice", "acme")

	var taken string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		taken = r.FormValue("refresh_token")
		http.Error(w, "{}", http.StatusServiceUnavailable)
	}))
	defer elsewhere.Close()

	// As POST /load of the admin endpoint does, whose guard is its socket's mode.
	acme := strings.Index(b.caddyfile, "provider acme")
	b.load(b.caddyfile[:acme] + strings.Replace(b.caddyfile[acme:], p.URL+"/token", elsewhere.URL+"/token", 1))
	b.adminReply(http.MethodPost, "/v1/account/alice/refresh", nil)
	if taken == "" {
		t.Error("the refresh token went nowhere else")
	}
}

// A key is worth what it may do, and nothing that another is for.
func TestAStolenKeyDoesWhatItMayAndNoMore(t *testing.T) {
	p := startProvider(t)
	b := start(t, strings.Replace(standardCaddyfile(p), "\t\ttoken_endpoint\n", "\t\ttoken_endpoint\n\t\tapi\n", 1))
	b.connect(p, "alice", "google")
	b.connect(p, "bob", "google")
	stolen := b.addKey("app", map[string]any{"accounts": []string{"alice"}, "allow": []string{"GET gmail.googleapis.com/gmail/v1/**"}})

	if r := b.get("/proxy/alice"+gmailCall, stolen); r.status != http.StatusOK {
		t.Errorf("its own call: %d %s", r.status, r.body)
	}
	before := p.apiCalls(t)
	for name, call := range map[string][2]string{
		"the access token":   {http.MethodGet, "/v1/account/alice/oauth-token"},
		"another account":    {http.MethodGet, "/proxy/bob" + gmailCall},
		"another method":     {http.MethodDelete, "/proxy/alice/gmail.googleapis.com/gmail/v1/users/me/messages/1"},
		"another API":        {http.MethodGet, "/proxy/alice/www.googleapis.com/drive/v3/files"},
		"the list":           {http.MethodGet, "/v1/accounts"},
		"the other keys":     {http.MethodGet, "/v1/tokens"},
		"a new key":          {http.MethodPost, "/v1/token"},
		"its own account":    {http.MethodDelete, "/v1/account/alice"},
		"a backup":           {http.MethodGet, "/v1/backup"},
		"what others called": {http.MethodGet, "/v1/activity"},
	} {
		refusedWith(t, b.do(call[0], call[1], nil, "Authorization", "Bearer "+stolen), http.StatusForbidden, "NotAllowed")
		if t.Failed() {
			t.Fatalf("%s is not refused", name)
		}
	}
	if n := p.apiCalls(t); n != before {
		t.Errorf("%d calls reached the API", n-before)
	}
	b.admin(http.MethodDelete, "/v1/token/app", nil)
	if r := b.get("/proxy/alice"+gmailCall, stolen); r.status != http.StatusUnauthorized {
		t.Errorf("once it is removed: %d", r.status)
	}
}

func TestLongTargetsAreAnsweredAsSuch(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	b.connect(p, "alice", "google")
	key := b.addKey("app", map[string]any{"accounts": []string{"alice"}})
	before := p.apiCalls(t)
	refusedWith(t, b.get("/proxy/alice"+gmailCall+"?q="+strings.Repeat("a", target.MaxTarget), key), http.StatusRequestURITooLong, "TooLarge")
	if n := p.apiCalls(t); n != before {
		t.Error("the call reached the API")
	}
	// What is larger than the server reads, it answers itself.
	if r := b.get("/proxy/alice"+gmailCall+"?q="+strings.Repeat("a", 2*target.MaxTarget), key); r.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a large header: %d", r.status)
	}
	// In the management API, beyond what is kept.
	r := b.adminReply(http.MethodPost, "/v1/account", map[string]any{
		"account": "carol", "name": strings.Repeat("a", 300<<10), "oauth2": map[string]any{"provider": "google", "refreshToken": "r"},
	})
	refusedWith(t, r, http.StatusBadRequest, "InvalidRequest")
	r = b.adminReply(http.MethodPost, "/v1/account", map[string]any{"account": "carol", "name": strings.Repeat("a", 1<<20)})
	refusedWith(t, r, http.StatusRequestEntityTooLarge, "TooLarge")
}
