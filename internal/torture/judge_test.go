package torture

import (
	"fmt"
	"slices"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// idle is the step of an account that nothing is done about.
const idle point = "idle"

// killing is a kill and what was found after it.
type killing struct {
	number int64
	at     time.Time
	target string
	held   bool // the target's renewal stood at plan.at
	plan   plan
	found  map[string]held           // by account: in the store
	grants []fakeprovider.GrantState // at the provider
	last   map[string]exchange       // by account: the last token request
}

// judge finds in which step of each account the kill landed, and which
// accounts may be lost for it.
func (l *lane) judge(k killing) {
	l.mu.Lock()
	accounts := slices.Clone(l.accounts)
	l.mu.Unlock()
	for _, g := range k.grants {
		if !slices.Contains(accounts, g.ID) {
			continue // dead and buried
		}
		h, ok := k.found[g.ID]
		if !ok {
			l.wrong(g.ID, "is not in the store")
			continue
		}
		step := l.step(k, h, g)
		l.report.landed(step, g.ID == k.target)
		if g.ID == k.target {
			l.checkAim(k, step)
		}
		l.judgeAccount(k, h, g, step)
	}
}

// step is where a renewal stood when the kill came, by what it left behind.
func (l *lane) step(k killing, h held, g fakeprovider.GrantState) point {
	last := k.last[g.ID]
	switch {
	case h.Intent == nil && last.access != "" && slices.Contains(h.Access, last.access) && !l.wasServed(last.access):
		return saved
	case h.Intent == nil:
		return idle
	case h.Intent.Lost:
		return idle // its answer was lost before, and nothing was under way
	case last.arrived.Before(h.Intent.Since):
		return intended
	case last.committed.IsZero() || last.posthumous || last.committed.After(k.at):
		return sent
	case last.answered.IsZero() || last.answered.After(k.at):
		return committed
	}
	return answered
}

// checkAim compares where a kill landed with the point at which the renewal
// was held.
func (l *lane) checkAim(k killing, step point) {
	if k.held && step != k.plan.at {
		l.wrong(k.target, "its renewal was held at %q, but what is left of it says %q", k.plan.at, step)
	}
}

// judgeAccount decides whether the account may be lost.
func (l *lane) judgeAccount(k killing, h held, g fakeprovider.GrantState, step point) {
	last := k.last[g.ID]
	// The provider may act on a request that its sender no longer waits for, so
	// that the wire does not see it commit.
	underWay := h.Intent != nil && !last.arrived.IsZero() && !last.arrived.Before(h.Intent.Since)
	unsaved := underWay && !last.committed.IsZero()
	if last.access != "" && l.wasServed(last.access) && unsaved {
		l.wrong(g.ID, "a caller was given a token whose renewal was not saved")
	}
	l.doubt(g.ID, h.Intent != nil)
	stored := l.wire.number(h.RefreshToken)
	behind := stored < g.RefreshTokenNumber
	switch {
	case g.Dead && l.cause(g.ID) == "":
		l.wrong(g.ID, "the provider ended the grant: %s, when refresh token %d came", g.Cause, last.presented)
	case stored == 0:
		l.wrong(g.ID, "the store holds a refresh token that was never issued")
	case l.run.rotation.Policy == fakeprovider.NoRotation || !behind:
	case underWay:
		l.mayBeLost(g.ID, fmt.Sprintf("kill %d landed in %q: the answer to refresh token %d was under way", k.number, step, last.presented))
	case l.cause(g.ID) == "" && l.run.rotation.Policy == fakeprovider.SingleUse:
		l.wrong(g.ID, "the store holds refresh token %d, the provider's newest is %d, and no answer was under way (kill at %v; intent %+v; last request with token %d: arrived %v, committed %v, answered %v, posthumous %v)",
			stored, g.RefreshTokenNumber, k.at, h.Intent, last.presented, last.arrived, last.committed, last.answered, last.posthumous)
	}
}

func (l *lane) wasServed(accessToken string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.served[accessToken]
}

// doubt notes whether the account's last token request has no result.
func (l *lane) doubt(id string, doubt bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubts[id] = doubt
}
