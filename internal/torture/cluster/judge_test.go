package cluster

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	// leaseHolds is for how long a node that has gone still keeps others from
	// its request, at least.
	leaseHolds = 3 * time.Second
	// saveSoon is how long a node takes to save an answer, and saveAgain how
	// long after an outage.
	saveSoon, saveAgain = 1500 * time.Millisecond, 12 * time.Second
	// before is what a node does of a request before it arrives.
	before = 500 * time.Millisecond
)

// judge finds what every lost account and every extra token request is owed to.
func (c *cluster) judge() {
	events := c.events.all()
	for _, id := range c.accounts {
		c.judgeAccount(events, id)
	}
	if unknown := c.wire.exchanges(""); len(unknown) > 0 {
		c.report.fail("%d token requests had a refresh token that was never issued, the first from node %d", len(unknown), unknown[0].node)
	}
	for i := range c.refusals {
		c.judgeRefusal(events, &c.refusals[i])
	}
	if detected := c.wire.Stats().ReuseDetections; detected != c.report.dead {
		c.report.fail("the provider detected reuse %d times, and %d accounts were looked at for it", detected, c.report.dead)
	}
	c.report.judged(c.events)
}

func (c *cluster) judgeAccount(events []*event, id string) {
	list := c.wire.exchanges(id)
	for i := range list {
		ex := &list[i]
		if e := interruption(events, ex); e != nil && ex.ended.After(e.begun) && ex.arrived.Before(e.begun.Add(before)) {
			e.inFlight++
		}
		if ex.fatal {
			c.judgeDeath(events, id, list, ex)
			return
		}
		if c.thorough.IsZero() || ex.arrived.Before(c.thorough) {
			c.judgeRequest(events, id, list[:i], ex)
		}
	}
	if c.wire.dead(id) {
		c.report.fail("%s: the provider ended the grant, and no token request did it", id)
	}
}

// judgeRequest counts a token request: for the first token, for one that ended,
// or extra.
func (c *cluster) judgeRequest(events []*event, id string, earlier []exchange, ex *exchange) {
	if len(earlier) == 0 {
		c.report.first++
		return
	}
	last := &earlier[len(earlier)-1]
	// A token falls due in the last quarter of its life, and a fifth of that
	// sooner, so that those of many accounts part; and a request may have been
	// a while on its way.
	due := last.arrived.Add(c.life / 2)
	if !last.committed.IsZero() && !ex.arrived.Before(due) {
		c.report.due++
		return
	}
	e := explain(events, last, ex)
	if e == nil {
		c.report.fail("%s: node %d sent a token request %s after node %d did, whose token was not due; no event explains it",
			id, ex.node, ex.arrived.Sub(last.arrived).Round(time.Millisecond), last.node)
	} else {
		e.extra++
	}
	c.report.extra = append(c.report.extra, c.because(e, fmt.Sprintf("%s: node %d asked %s after node %d",
		id, ex.node, ex.arrived.Sub(last.arrived).Round(time.Millisecond), last.node)))
}

// judgeDeath finds the request whose answer was lost, so that its refresh token
// was sent again.
func (c *cluster) judgeDeath(events []*event, id string, list []exchange, ex *exchange) {
	c.report.dead++
	var spent *exchange
	for i := range list {
		// It may have come later, and been quicker.
		if !list[i].committed.IsZero() && list[i].presented == ex.presented {
			spent = &list[i]
		}
	}
	if spent == nil {
		c.report.fail("%s: the provider ended the grant for refresh token %d, which was not spent", id, ex.presented)
		return
	}
	e := explain(events, spent, ex)
	what := fmt.Sprintf("%s: refresh token %d was spent by node %d at %.1fs (answered %.1fs) and sent again by node %d at %.1fs, %.1fs before the last access token ended",
		id, ex.presented, spent.node, c.at(spent.committed), c.at(spent.answered), ex.node, c.at(ex.arrived), c.left(list, ex).Seconds())
	if e == nil {
		c.report.fail("%s; the provider ended the grant, and no event explains it", what)
	} else {
		e.lost++
	}
	c.report.lost = append(c.report.lost, c.because(e, what))
}

// left is how long the access token had to live, that the last answer which
// was saved brought, when a request was sent.
func (c *cluster) left(list []exchange, ex *exchange) time.Duration {
	var left time.Duration
	for i := range list {
		if list[i].presented < ex.presented && !list[i].committed.IsZero() {
			left = list[i].arrived.Add(c.life).Sub(ex.arrived)
		}
	}
	return left
}

// at is a time as the report shows it; 0 for none.
func (c *cluster) at(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return t.Sub(c.events.begun).Seconds()
}

func (c *cluster) because(e *event, what string) string {
	if e == nil {
		return what + ": NOT EXPLAINED"
	}
	return what + ": " + c.events.describe(e)
}

// explain is the event for which a request was sent though another had been:
// one that befell while the answer to the first was under way, or the second's
// node in the gap between its last look at its lease and the sending.
func explain(events []*event, first, second *exchange) *event {
	if e := interruption(events, first); e != nil {
		return e
	}
	for _, e := range events {
		if e.kind == paused && e.node == second.node && !e.over.IsZero() &&
			second.arrived.After(e.over) && second.arrived.Before(e.over.Add(time.Second)) {
			return e
		}
	}
	return nil
}

// interruption is the last event that befell the request's node, or the
// database, before what the provider answered was saved for sure.
func interruption(events []*event, ex *exchange) *event {
	from, to := ex.arrived.Add(-before), settled(events, ex)
	for _, e := range slices.Backward(events) {
		if !e.concerns(ex.node) {
			continue
		}
		long := e.kind == killed || e.kind.ofDatabase() || e.over.Sub(e.begun) > leaseHolds
		if long && !e.begun.After(to) && !e.over.Before(from) {
			return e
		}
	}
	return nil
}

// settled is when the request's answer was saved for sure.
func settled(events []*event, ex *exchange) time.Time {
	at := ex.ended.Add(saveSoon)
	switch {
	case !ex.served.IsZero():
		at = ex.served // nobody is given what is not saved, if it can be
	case ex.ended.IsZero():
		at = ex.arrived.Add(patience)
	}
	for _, e := range events {
		if e.concerns(ex.node) && e.kind != killed && !e.begun.After(at) && !e.ended.Before(ex.arrived) {
			at = later(at, e.ended.Add(saveAgain))
		}
	}
	if !ex.shared.IsZero() && ex.shared.Before(at) {
		return ex.shared
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// judgeRefusal decides whether a caller may have been refused.
func (c *cluster) judgeRefusal(events []*event, r *refusal) {
	unknown := bytes.Contains(r.answer.body, []byte("outcome of the last token request is unknown"))
	switch {
	case r.answer.code == deadCode && c.wire.dead(r.account):
		return // which was looked at
	case r.answer.status == http.StatusServiceUnavailable && (c.events.cutOff(r.node, r.begun.Add(-time.Second), r.ended) || c.inDoubt(events, r)):
		return
	case unknown && c.events.cutOff(r.node, r.begun.Add(-saveAgain), r.ended):
		// Its sender may have gone before it sent anything: nobody can know, and
		// who was away, or has just started, is slow to judge.
		return
	case c.events.any(func(e *event) bool {
		since := r.begun
		if unknown {
			since = since.Add(-saveAgain)
		}
		return e.concerns(r.node) && e.kind == killed && e.during(since, r.ended, settling)
	}):
		return
	}
	c.report.fail("node %d refuses %s at %.1fs with %d %s: %s", r.node, r.account, c.at(r.begun), r.answer.status, r.answer.code, r.answer.body)
}

// inDoubt reports whether the account's last token request may have had no
// result when a caller was refused.
func (c *cluster) inDoubt(events []*event, r *refusal) bool {
	list := c.wire.exchanges(r.account)
	for i := len(list) - 1; i >= 0; i-- {
		ex := &list[i]
		if ex.arrived.After(r.ended) {
			continue
		}
		return (ex.served.IsZero() || ex.served.After(r.begun)) && interruption(events, ex) != nil
	}
	return false
}
