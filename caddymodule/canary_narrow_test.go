package caddymodule

import (
	"net/http"
	"strconv"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// narrowing is what keys do whose tokens are narrowed, also at a provider that
// ignores it and writes what it was sent among the scopes.
func (run *canaryRun) narrowing() {
	run.keys["narrowed"] = run.addKey("narrowed", map[string]any{"accounts": []string{"*"}, "token": true, "tokenScopes": []string{"mail.read"}})
	run.keys["google-narrowed"] = run.addKey("google-narrowed", map[string]any{"accounts": []string{"*"}, "token": true, "tokenScopes": []string{"email"}})
	run.manage(http.MethodPost, "/v1/token", map[string]any{"name": "scopes", "tokenScopes": []string{run.keys["narrowed"]}})
	calls := func() {
		for _, key := range []string{"narrowed", "google-narrowed"} {
			for _, id := range []string{"alice", "bob", "graph", "dead"} {
				run.call(http.MethodGet, tokenURL(id)+"?force=true", "", "X-Bellhop-Key", run.keys[key])
				run.call(http.MethodGet, "/proxy/"+id+"/status/200", "", "X-Bellhop-Key", run.keys[key])
			}
		}
	}
	calls()
	for _, grant := range must(run.provider.Grants(run.t.Context(), true)) {
		if grant.Email != "bob@example.com" || grant.Dead {
			continue
		}
		run.faults(fakeprovider.Fault{
			Grant: grant.ID, Kind: fakeprovider.Alter,
			Members: map[string]string{"scope": strconv.Quote("mail.read mail.send " + grant.RefreshToken)},
		})
		if err := run.provider.RevokeAccessTokens(run.t.Context(), grant.ID); err != nil {
			run.t.Fatal(err)
		}
	}
	calls()
	run.adminReply(http.MethodGet, tokenURL("bob")+"?scopes=mail.read", nil)
	run.manage(http.MethodGet, "/v1/account/bob", nil)
}
