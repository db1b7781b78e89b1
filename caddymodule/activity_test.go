package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// activityOf asks for the last calls.
func (b *bellhop) activityOf(query string) []activeCall {
	b.t.Helper()
	r := b.adminReply("GET", "/v1/activity"+query, nil)
	var answer struct{ Activity []activeCall }
	if err := json.Unmarshal(r.body, &answer); err != nil || r.status != http.StatusOK {
		b.t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return answer.Activity
}

// awaitTunnels returns once so many calls that changed the protocol have ended:
// Caddy does not wait for the last bytes of one when it stops.
func (b *bellhop) awaitTunnels(n int) {
	b.t.Helper()
	s, err := runningApp(b.t).run.open()
	if err != nil {
		b.t.Fatal(err)
	}
	tunnel := func(c *activeCall) bool { return c.Status == http.StatusSwitchingProtocols }
	for deadline := time.Now().Add(10 * time.Second); len(s.activity.last(n, tunnel)) < n; runtime.Gosched() {
		if time.Now().After(deadline) {
			b.t.Fatalf("of %d tunnels some never ended", n)
		}
	}
}

func TestActivityTellsTheLastCalls(t *testing.T) {
	p := startProvider(t)
	b := start(t, withAPI(standardCaddyfile(p)))
	b.connect(p, "alice", "google")
	key := b.addKey("caller", map[string]any{"accounts": []string{"alice"}, "token": true})
	for _, path := range []string{tokenURL("alice"), tokenURL("bob") + "?q=searched", tokenURL("alice")} {
		b.get(path, key)
	}
	got := b.activityOf("?key=caller")
	if len(got) != 3 || got[0].Account != "alice" || got[0].Status != http.StatusOK || got[0].Provider != "google" || got[0].Time.IsZero() || !got[0].Time.After(got[2].Time) {
		t.Fatalf("%+v", got)
	}
	if got[1].Decision != decisionRefused || got[1].Problem != "NotAllowed" || got[1].Status != http.StatusForbidden {
		t.Errorf("%+v", got[1])
	}
	for query, want := range map[string]int{
		"?key=caller&decision=refused": 1, "?key=caller&decision=allowed": 2, "?key=caller&account=alice": 2,
		"?key=caller&pageSize=1": 1, "?key=nobody": 0, "?key=caller&host=gmail.googleapis.com": 0,
	} {
		if got := b.activityOf(query); len(got) != want {
			t.Errorf("%s: %+v", query, got)
		}
	}
	for _, query := range []string{"?decision=maybe", "?pageSize=0"} {
		refusedWith(t, b.adminReply("GET", "/v1/activity"+query, nil), http.StatusBadRequest, "InvalidRequest")
	}
	if r := b.adminReply("GET", "/v1/activity?pageSize=1000", nil); strings.Contains(string(r.body), key) || strings.Contains(string(r.body), "searched") {
		t.Errorf("a key or a query is told: %s", r.body)
	}

	b.load(changed(t, b.caddyfile, "\tbellhop {\n\t\tstore", "\tbellhop {\n\t\taudit denied\n\t\tstore"))
	b.get(tokenURL("alice"), key)
	b.get(tokenURL("bob"), key)
	if got := b.activityOf("?key=caller"); len(got) != 4 || got[0].Decision != decisionRefused {
		t.Errorf("after a reload to `audit denied`: %+v", got)
	}
}

func TestActivityForgetsTheOldest(t *testing.T) {
	a := new(activity)
	all := func(*activeCall) bool { return true }
	if got := a.last(10, all); len(got) != 0 {
		t.Errorf("before any: %v", got)
	}
	for i := range activityKept + 3 {
		a.add(activeCall{Key: fmt.Sprint(i)})
	}
	got := a.last(2*activityKept, all)
	if len(got) != activityKept || got[0].Key != fmt.Sprint(activityKept+2) || got[activityKept-1].Key != "3" {
		t.Errorf("%d from %s to %s", len(got), got[0].Key, got[len(got)-1].Key)
	}
}
