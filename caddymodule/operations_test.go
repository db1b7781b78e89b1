package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Every operation of the management API is for who manages accounts and keys,
// however narrow or wide another key is; one is for who connects people, too.
func TestOperationsNeedAnAdminKey(t *testing.T) {
	p := startProvider(t)
	b := start(t, withAPI(standardCaddyfile(p)))
	b.connect(p, "alice", "google")
	caller := b.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	ruled := b.addKey("ruled", map[string]any{"accounts": []string{"*"}, "allow": []string{"* *"}})
	connects := b.addKey("connects", map[string]any{"accounts": []string{"*"}, "connect": true, "token": true})
	admin := b.addKey("admin", map[string]any{"admin": true})
	elsewhere := b.addKey("elsewhere", map[string]any{"admin": true, "cidrs": []string{"192.0.2.0/24"}})

	operations := new(App).operations()
	if len(operations) < 20 {
		t.Fatalf("%d paths", len(operations))
	}
	for pattern, methods := range operations {
		path := strings.NewReplacer("{account}", "alice", "{id}", "caller", "{app}", "google").Replace(pattern)
		for method := range methods {
			send := func(key, path string) reply {
				header := []string{"Content-Type", "text/plain"} // so that nothing is done
				if key != "" {
					header = append(header, "Authorization", "Bearer "+key)
				}
				return b.do(method, path, strings.NewReader("x"), header...)
			}
			name := method + " " + path
			const unknown, forbidden = http.StatusUnauthorized, http.StatusForbidden
			for _, as := range []struct {
				name, key string
				status    int
			}{
				{"nobody", "", unknown},
				{"a caller", caller, forbidden},
				{"one with rules", ruled, forbidden},
				{"who connects", connects, forbidden},
				{"an admin elsewhere", elsewhere, forbidden},
				{"a stranger", strings.Repeat("x", len(caller)), unknown},
			} {
				for _, spelt := range []string{path, path + "/", strings.Replace(path, "/v1/", "/v1//", 1), strings.Replace(path, "/v1/", "/v1/%2e/", 1), strings.Replace(path, "v1", "V1", 1)} {
					if as.key == connects && (spelt == formPath || strings.HasSuffix(path, "/confirm")) {
						continue
					}
					r := send(as.key, spelt)
					if r.status < http.StatusBadRequest || spelt == path && r.status != as.status {
						t.Errorf("%s as %s, %s: %d %s", method, as.name, spelt, r.status, r.body)
					}
				}
			}
			if slices.Contains([]string{"GET /v1/backup", "DELETE /v1/account/alice", "DELETE /v1/tokens/caller", "DELETE /v1/token/caller", "POST /v1/account/alice/disable"}, name) {
				continue // which need no body
			}
			if r := send(admin, path); r.status == http.StatusUnauthorized || r.status == http.StatusForbidden && pattern != "/v1/keyset/rotate" {
				t.Errorf("%s as an admin: %d %s", name, r.status, r.body)
			}
		}
	}
	if r := b.post("POST", "/v1/keyset/rotate", admin, nil); r.status != http.StatusForbidden {
		t.Errorf("the keyset is rotated from a site: %d %s", r.status, r.body)
	}
	// Who connects people needs a form that is one.
	r := b.post("POST", formPath, connects, map[string]any{})
	if r.status == http.StatusForbidden || r.status == http.StatusUnauthorized {
		t.Errorf("%d %s", r.status, r.body)
	}
	// They confirm what comes of it, for their accounts.
	others := b.addKey("connects-others", map[string]any{"accounts": []string{"bob", "alice/*"}, "connect": true})
	const confirm = "/v1/account/alice/confirm"
	if r := b.post("PUT", confirm, connects, map[string]any{"confirm": "x"}); r.status == http.StatusForbidden || r.status == http.StatusUnauthorized {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := b.post("PUT", confirm, others, map[string]any{"confirm": "x"}); r.status != http.StatusForbidden {
		t.Errorf("another's account: %d %s", r.status, r.body)
	}
	if now := b.admin("GET", "/v1/account/alice", nil); now["state"] == "disabled" {
		t.Errorf("%v", now)
	}
	if r := b.get(tokenURL("alice"), caller); r.status != http.StatusOK {
		t.Errorf("the caller's key and account are left alone: %d %s", r.status, r.body)
	}
}
