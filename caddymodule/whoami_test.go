package caddymodule

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// whoAmI asks what a key is good for.
func (s *proxied) whoAmI(key string) whoami {
	s.t.Helper()
	r := s.get(whoamiPath, key)
	var answer whoami
	if err := json.Unmarshal(r.body, &answer); err != nil || r.status != http.StatusOK || r.header.Get("Cache-Control") != "no-store" {
		s.t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return answer
}

func TestWhoamiIsAMapOfWhatAKeyReaches(t *testing.T) {
	s := startProxied(t)
	key := s.addKey("agent", map[string]any{
		"accounts": []string{"carol", "nobody", "a*"}, "allow": []string{"GET,HEAD graph.microsoft.com/v1.0/me/messages/**", "!POST *"},
	})
	got := s.whoAmI(key)
	if got.Key != "agent" || got.More || len(got.Accounts) != 2 || got.Accounts[0].Account != "carol" || got.Accounts[1].Account != "alice" {
		t.Fatalf("%+v", got)
	}
	want := []string{"may GET and HEAD everything below graph.microsoft.com/v1.0/me/messages", "may not POST anything"}
	if !slices.Equal(got.May, want) {
		t.Errorf("may is %q, want %q", got.May, want)
	}
	carol := got.Accounts[0]
	if carol.Provider != "microsoft" || carol.Type != "microsoft" || carol.BaseURL != s.url+"/proxy/carol" || carol.APIHosts[0] != "graph.microsoft.com" {
		t.Errorf("%+v", carol)
	}
	for _, library := range carol.SDKs {
		if !strings.HasPrefix(library.BaseURL, carol.BaseURL+"/graph.microsoft.com") || library.Name == "" || library.Set == "" {
			t.Errorf("%+v", library)
		}
	}
	// What is told works.
	base := strings.TrimPrefix(carol.SDKs[0].BaseURL, s.url)
	if r := s.get(base+"/v1.0/me/messages", key); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	wantProblem(t, s.do(http.MethodPost, base+"/v1.0/me/sendMail", strings.NewReader("{}"), "Authorization", "Bearer "+key), problem.NotAllowed)
}

func TestWhoamiSaysWhatKeysWithoutRulesMayDo(t *testing.T) {
	s := startProxied(t)
	for name, c := range map[string]struct {
		fields map[string]any
		may    []string
	}{
		"plain": {map[string]any{"accounts": []string{"alice"}}, []string{"may call every API of its accounts"}},
		"token": {map[string]any{"accounts": []string{"alice"}, "token": true}, []string{"may call every API of its accounts", "may be given access tokens of its accounts"}},
		"admin": {map[string]any{"admin": true}, []string{"reaches no account", "may make consent links", "may manage accounts and keys"}},
		"narrow": {map[string]any{"accounts": []string{"alice"}, "tokenScopes": []string{"openid", "email"}}, []string{
			"may call every API of its accounts", "calls with access tokens that have these scopes of the account's alone: openid email",
		}},
		"denials": {map[string]any{"accounts": []string{"*"}, "allow": []string{"!DELETE *"}}, []string{"may not DELETE anything", "may call everything else of its accounts' APIs"}},
	} {
		if got := s.whoAmI(s.addKey(name, c.fields)); !slices.Equal(got.May, c.may) {
			t.Errorf("%s: may is %q, want %q", name, got.May, c.may)
		}
		var shown shownKey
		if r := s.adminReply(http.MethodGet, "/v1/token/"+name, nil); json.Unmarshal(r.body, &shown) != nil || !slices.Equal(shown.May, c.may) {
			t.Errorf("%s: shown is %s, want %q", name, r.body, c.may)
		}
	}
}

func TestWhoamiIsForKeysAlone(t *testing.T) {
	s := startProxied(t)
	wantProblem(t, s.do(http.MethodGet, whoamiPath, nil), problem.MissingKey)
	wantProblem(t, s.get(whoamiPath, "bh_wrong"), problem.InvalidKey)
	wantProblem(t, s.call(http.MethodPost, whoamiPath, strings.NewReader("{}")), problem.MethodNotAllowed)
	elsewhere := s.addKey("elsewhere", map[string]any{"accounts": []string{"alice"}, "cidrs": []string{"192.0.2.0/24"}})
	wantProblem(t, s.get(whoamiPath, elsewhere), problem.NotAllowed)
}
