package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// given is a token as a caller got it.
type given struct {
	good  bool // the API takes it, or it has ended as was said
	value string
}

// callAllTheWhile asks for tokens until ctx ends.
func (l *lane) callAllTheWhile(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		l.call(ctx, l.pick(rng), 0)
		sleep(ctx, time.Duration(10+rng.IntN(30))*time.Millisecond)
	}
}

// call asks for an account's token, and judges the answer.
func (l *lane) call(ctx context.Context, id string, minTTL time.Duration) (given, answer, error) {
	p := l.running()
	if p == nil {
		return given{}, answer{}, context.Canceled
	}
	asking, cancel := context.WithTimeout(ctx, patience/2)
	defer cancel()
	token, a, err := p.token(asking, id, minTTL)
	switch {
	case err != nil:
		l.count("no answer from a process that was ended")
		if ctx.Err() == nil && l.running() == p && !l.isStopping() {
			l.wrong(id, "no answer: %v", err)
		}
		return given{}, a, err
	case a.status == http.StatusOK:
		l.count("200")
		return l.receive(id, token), a, nil
	}
	l.count(a.code)
	switch {
	case a.code == "OauthRenewError" && l.cause(id) != "":
	case a.status == http.StatusServiceUnavailable && (l.troubled() || l.inDoubt(id)):
	case a.code == "NotFound" && l.isStopping():
		// Caddy's admin endpoint outlives the configuration.
	default:
		l.wrong(id, "answered %d %s: %s; %s", a.status, a.code, a.body, l.standing(id))
	}
	return given{}, a, nil
}

// receive looks at a token that a caller got.
func (l *lane) receive(id string, token tokenReply) given {
	l.mu.Lock()
	l.served[token.AccessToken] = true
	l.mu.Unlock()
	owner, live := l.wire.accepts(token.AccessToken)
	switch {
	case live && owner != id:
		l.wrong(id, "got a token of %s", owner)
	case !live && l.cause(id) != "":
		// The grant may have ended, and its access tokens with it.
	case !live && time.Now().Before(token.Expires):
		l.wrong(id, "got a token that the API refuses, though it lives for another %s; %s", time.Until(token.Expires), l.standing(id))
	default:
		return given{good: true, value: token.AccessToken}
	}
	return given{}
}

// wrong notes something wrong about an account.
func (l *lane) wrong(id, format string, args ...any) {
	l.report.fail(fmt.Sprintf("%s, %s", l.name, id), "around kill %d: %s", l.kills.Load(), fmt.Sprintf(format, args...))
}

func (l *lane) count(what string) { l.report.call(what) }

// expectTrouble makes refusals with 503 no surprise until the process is
// killed.
func (l *lane) expectTrouble() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = true
}

func (l *lane) troubled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopping || l.trouble
}

func (l *lane) isStopping() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopping
}
