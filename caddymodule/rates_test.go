package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/policy"
)

func TestKeysCallAsOftenAsTheirRateSays(t *testing.T) {
	fake := useFakeClock(t)
	p := startProvider(t)
	plain, hash := policy.NewKey()
	declared := plain.Reveal()
	caddyfile := changed(t, withAPI(standardCaddyfile(p)), "\t\tprovider google {",
		"\t\tkey declared {\n\t\t\thash "+policy.FormatHash(hash)+"\n\t\t\taccount *\n\t\t\ttoken\n\t\t\trate 3/h\n\t\t}\n\t\tprovider google {")
	b := start(t, caddyfile)
	b.connect(p, "alice", "google")
	limited := b.addKey("limited", map[string]any{"accounts": []string{"alice"}, "token": true, "rate": "2/m"})
	free := b.addKey("free", map[string]any{"accounts": []string{"alice"}, "token": true})

	calls := func(key string, want ...int) reply {
		t.Helper()
		var r reply
		for i, status := range want {
			if r = b.get(tokenURL("alice"), key); r.status != status {
				t.Fatalf("call %d: %d %s, want %d", i+1, r.status, r.body, status)
			}
		}
		return r
	}
	const ok, tooMany = http.StatusOK, http.StatusTooManyRequests
	r := calls(limited, ok, ok, tooMany)
	for name, want := range map[string]string{
		"Retry-After": "30", "X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30", "Bellhop-Error": "RateLimited",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := string(r.body); got != `{"statusCode":429,"error":"Too Many Requests","message":"Rate limit exceeded","ttl":30}` {
		t.Errorf("%s", got)
	}
	if r := b.get("/proxy/alice/gmail.googleapis.com/gmail/v1/users/me/profile", limited); r.status != tooMany || !strings.Contains(string(r.body), "RESOURCE_EXHAUSTED") {
		t.Errorf("proxied: %d %s", r.status, r.body)
	}
	calls(free, ok, ok, ok, ok)
	calls(declared, ok, ok, ok, tooMany)

	fake.Advance(29 * time.Second)
	calls(limited, tooMany)
	fake.Advance(time.Second)
	calls(limited, ok, tooMany)

	b.load(changed(t, b.caddyfile, `"not bellhop"`, `"reloaded"`))
	calls(limited, tooMany)
	calls(declared, tooMany)
	b.load(changed(t, b.caddyfile, "rate 3/h", "rate 3/s"))
	calls(declared, ok, ok, ok, tooMany)
	fake.Advance(time.Second)
	if r := b.get(whoamiPath, declared); r.status != ok || !strings.Contains(string(r.body), "may call 3 times a second") {
		t.Errorf("%d %s", r.status, r.body)
	}
	if shown := b.admin("GET", "/v1/token/limited", nil); shown["rate"] != "2/m" {
		t.Errorf("%v", shown)
	}
}
