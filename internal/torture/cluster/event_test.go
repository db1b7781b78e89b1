package cluster

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// happening is what may befall a node or the database.
type happening string

const (
	killed   happening = "kill -9 of a node"
	paused   happening = "SIGSTOP of a node"
	refused  happening = "a node's connections broken"
	silenced happening = "a node's connections silent"
	crashed  happening = "primary stopped, standby promoted"
	murdered happening = "primary killed, standby promoted"
)

// everyEvent has each as often as it weighs.
var everyEvent = []happening{killed, killed, killed, paused, paused, refused, silenced, crashed, murdered}

var happenings = []happening{killed, paused, refused, silenced, crashed, murdered}

func (h happening) ofDatabase() bool { return h == crashed || h == murdered }

// cutsOff reports that nodes do not reach the database meanwhile.
func (h happening) cutsOff() bool { return h == refused || h == silenced || h.ofDatabase() }

// event is one that happened.
type event struct {
	number int
	kind   happening
	node   int // 0: the database
	begun  time.Time
	over   time.Time // its cause was
	ended  time.Time // and all was well again; zero until then

	// What was owed to it, as judged.
	inFlight, lost, extra int
}

func (e *event) concerns(node int) bool { return e.node == node || e.node == 0 }

// during reports whether the event was on in that time, and for long after.
func (e *event) during(from, to time.Time, after time.Duration) bool {
	return !e.begun.After(to) && (e.ended.IsZero() || !e.ended.Add(after).Before(from))
}

// chronicle is what happened.
type chronicle struct {
	begun time.Time

	mu     sync.Mutex
	events []*event
}

func (c *chronicle) begin(kind happening, node int) *event {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &event{number: len(c.events) + 1, kind: kind, node: node, begun: time.Now()}
	c.events = append(c.events, e)
	return e
}

func (c *chronicle) isOver(e *event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.over = time.Now()
}

func (c *chronicle) end(e *event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.ended = time.Now()
}

func (c *chronicle) all() []*event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*event(nil), c.events...)
}

// disturbed reports whether anything befell the node, or the database, in that
// time.
func (c *chronicle) disturbed(node int, from, to time.Time) bool {
	return c.any(func(e *event) bool { return e.concerns(node) && e.during(from, to, 0) })
}

// cutOff reports whether the node may not have reached the database in that
// time, or has only just again.
func (c *chronicle) cutOff(node int, from, to time.Time) bool {
	return c.any(func(e *event) bool { return e.concerns(node) && e.kind.cutsOff() && e.during(from, to, settling) })
}

func (c *chronicle) any(is func(e *event) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.events, is)
}

// describe names an event.
func (c *chronicle) describe(e *event) string {
	where := "the database"
	if e.node != 0 {
		where = fmt.Sprintf("node %d", e.node)
	}
	return fmt.Sprintf("event %d (%s; %s, %.1fs to %.1fs)", e.number, e.kind, where, e.begun.Sub(c.begun).Seconds(), e.over.Sub(c.begun).Seconds())
}
