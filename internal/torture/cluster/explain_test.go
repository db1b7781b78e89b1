package cluster

import (
	"testing"
	"time"
)

// A judge that finds a reason for everything says nothing either.
func TestOnlyAnAnswerUnderWayAtAnEventIsAReason(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time {
		return start.Add(time.Duration(seconds * float64(time.Second)))
	}
	on := func(kind happening, node int, from, to float64) *event {
		return &event{kind: kind, node: node, begun: at(from), over: at(to), ended: at(to + 0.5)}
	}
	// Node 1 asks at 10 and is answered soon.
	answered := exchange{node: 1, arrived: at(10), committed: at(10.05), answered: at(10.1), ended: at(10.1)}
	served, shared := answered, answered
	served.served = at(10.2)
	shared.served, shared.shared = at(10.2), at(15)
	again := exchange{node: 2, arrived: at(30)}
	for name, test := range map[string]struct {
		event  *event
		first  exchange
		second exchange
		is     bool
	}{
		"killed while it waits":                  {on(killed, 1, 10.05, 10.05), answered, again, true},
		"killed before it has saved":             {on(killed, 1, 11, 11), answered, again, true},
		"killed long before":                     {on(killed, 1, 9, 9), answered, again, false},
		"killed long after":                      {on(killed, 1, 13, 13), answered, again, false},
		"killed when a caller had the token":     {on(killed, 1, 10.5, 10.5), served, again, false},
		"another node killed":                    {on(killed, 2, 10.05, 10.05), answered, again, false},
		"stopped past its lease":                 {on(paused, 1, 10.05, 16), answered, again, true},
		"stopped for a moment":                   {on(paused, 1, 10.05, 11), answered, again, false},
		"stopped when a caller had the token":    {on(paused, 1, 10.5, 16), served, again, false},
		"the other stopped in the gap":           {on(paused, 2, 22, 29.5), served, again, true},
		"the other stopped, and not in the gap":  {on(paused, 2, 20, 28), served, again, false},
		"cut off past its lease":                 {on(refused, 1, 10.05, 16), answered, again, true},
		"cut off when a caller had the token":    {on(silenced, 1, 10.5, 16), served, again, false},
		"failed over":                            {on(crashed, 0, 10.05, 11), answered, again, true},
		"failed over when another node gave it":  {on(murdered, 0, 15.5, 16), shared, again, false},
		"failed over when a caller had it":       {on(murdered, 0, 12, 13), served, again, false},
		"failed over while it could not be told": {on(murdered, 0, 9.8, 13), shared, again, true},
	} {
		t.Run(name, func(t *testing.T) {
			if e := explain([]*event{test.event}, &test.first, &test.second); (e != nil) != test.is {
				t.Errorf("a reason: %v, want %v", e != nil, test.is)
			}
		})
	}
}
