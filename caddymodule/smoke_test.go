package caddymodule

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

func TestTokenEndpointAndProxyServeAFreshToken(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	_, refreshToken := p.grant(t, fakeprovider.Grant{Email: "alice@example.com", Scope: "https://mail.google.com/ openid email"})
	b.addAccount("alice", "google", "alice@example.com", refreshToken)
	key := b.addKey("ci", map[string]any{"accounts": []string{"alice"}, "token": true})

	r := b.get("/v1/account/alice/oauth-token", key)
	if r.status != http.StatusOK {
		t.Fatalf("token endpoint: %d %s", r.status, r.body)
	}
	var first tokenAnswer
	if err := json.Unmarshal(r.body, &first); err != nil {
		t.Fatal(err)
	}
	if first.Cached || first.User != "alice@example.com" || first.Provider != "gmail" || first.App != "google" {
		t.Errorf("first answer: %+v", first)
	}
	for path, status := range map[string]int{
		"/proxy/alice/gmail.googleapis.com/gmail/v1/users/me/messages": http.StatusOK,
		"/proxy/alice/gmail/v1/users/me/messages":                      http.StatusOK, // default host
		"/elsewhere": http.StatusNotFound,
	} {
		if r := b.get(path, key); r.status != status {
			t.Errorf("%s: %d %s, want %d", path, r.status, r.body, status)
		}
	}
	if n := p.tokenRequests(t); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}
