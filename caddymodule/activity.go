package caddymodule

import (
	"cmp"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// activityKept is how many calls are remembered.
const activityKept = 4096

// activity remembers the last calls of the audit, in memory alone.
type activity struct {
	mu    sync.Mutex
	calls [activityKept]activeCall
	told  uint64 // how many there were
}

// activeCall is a call as the audit tells it. It holds no secret and no body.
type activeCall struct {
	Time     time.Time `json:"time"`
	Route    string    `json:"route"`
	Decision string    `json:"decision"`
	Key      string    `json:"key,omitempty"`
	Account  string    `json:"account,omitempty"`
	Provider string    `json:"provider,omitempty"`
	Method   string    `json:"method"`
	Host     string    `json:"host,omitempty"`
	// Path is the API's, without its query.
	Path   string `json:"path,omitempty"`
	Client string `json:"client,omitempty"`
	Status int    `json:"status"`
	Bytes  int    `json:"bytes"`
	// Duration is in milliseconds.
	Duration float64      `json:"duration"`
	Problem  problem.Code `json:"problem,omitempty"`
	Result   string       `json:"result,omitempty"`
}

func (a *activity) add(c activeCall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls[a.told%activityKept] = c
	a.told++
}

// last gives up to n calls that match, the newest first.
func (a *activity) last(n int, matches func(*activeCall) bool) []activeCall {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := []activeCall{}
	for i := a.told; i > 0 && a.told-i < activityKept && len(found) < n; i-- {
		if c := &a.calls[(i-1)%activityKept]; matches(c) {
			found = append(found, *c)
		}
	}
	return found
}

// listActivity answers GET /v1/activity: the last calls that were audited, the
// newest first; `key`, `account`, `host` and `decision` narrow it, `pageSize`
// bounds it.
func (a *App) listActivity(s *service, r *http.Request) (any, error) {
	query := r.URL.Query()
	n, err := pageNumber(query, "pageSize", defaultPageSize, 1, maxPageSize)
	if err != nil {
		return nil, err
	}
	key, account, host, decision := query.Get("key"), query.Get("account"), query.Get("host"), query.Get("decision")
	if decision != "" && decision != decisionAllowed && decision != decisionRefused {
		return nil, problem.New(problem.InvalidRequest, "decision: must be "+decisionAllowed+" or "+decisionRefused)
	}
	return answer("audit", cmp.Or(a.Audit, AuditOn), "activity", s.activity.last(n, func(c *activeCall) bool {
		return (key == "" || c.Key == key) && (account == "" || c.Account == account) &&
			(host == "" || strings.EqualFold(c.Host, host)) && (decision == "" || c.Decision == decision)
	})), nil
}
