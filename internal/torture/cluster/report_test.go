package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// report is what came of a run.
type report struct {
	settings settings
	begun    time.Time
	took     time.Duration
	events   *chronicle

	mu     sync.Mutex
	wrong  []string
	silent int            // wrong answers that are not kept word for word
	about  map[string]int // by what they say
	// Answers to callers, and those of nodes that did not reach the database.
	tokens, tokensAway int
	codes, codesAway   map[string]int
	keys               int
	keyTimes           map[keyCase]spans

	// What is judged in the end.
	first, due, dead int
	extra, lost      []string
}

// keyCase is what a node came to know of a key.
type keyCase struct{ honoured, disturbed bool }

// spans are lengths of time.
type spans struct {
	n    int
	most time.Duration
}

func newReport(s settings) *report {
	return &report{
		settings: s, begun: time.Now(), about: make(map[string]int),
		codes: make(map[string]int), codesAway: make(map[string]int), keyTimes: make(map[keyCase]spans),
	}
}

// mostWrong is how many wrong answers of a kind are kept.
const mostWrong = 5

func (r *report) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.about[format]++; r.about[format] > mostWrong {
		r.silent++
		return
	}
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// served counts a token that was given, by a node that was away from the
// database or not.
func (r *report) served(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens++
	if away {
		r.tokensAway++
	}
}

func (r *report) refused(code string, away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.codes[code]++
	if away {
		r.codesAway[code]++
	}
}

func (r *report) triedKey() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys++
}

func (r *report) keyTook(honoured, disturbed bool, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.keyTimes[keyCase{honoured, disturbed}]
	r.keyTimes[keyCase{honoured, disturbed}] = spans{s.n + 1, max(s.most, took)}
}

// judged ends the report.
func (r *report) judged(c *chronicle) {
	r.took, r.events = time.Since(r.begun), c
	if r.silent > 0 {
		r.wrong = append(r.wrong, fmt.Sprintf("and %d more of these", r.silent))
	}
}

// String is the report as it is printed.
func (r *report) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	s := r.settings
	fmt.Fprintf(&b, "seed %d: %d nodes, %d accounts, tokens of %s, %s in all\n", *seed, s.nodes, s.accounts, s.life, r.took.Round(time.Second))
	if s.pooled {
		b.WriteString("  with PgBouncer before the database\n")
	}
	if s.broken != whole {
		fmt.Fprintf(&b, "  broken: %s\n", s.broken)
	}
	r.writeEvents(&b)
	fmt.Fprintf(&b, "  tokens that fell due: %d; token requests: %d = %d first + %d due + %d extra + %d that ended the grant\n",
		r.due, r.first+r.due+len(r.extra)+r.dead, r.first, r.due, len(r.extra), r.dead)
	writeLines(&b, "extra token requests", r.extra)
	writeLines(&b, "accounts lost", r.lost)
	fmt.Fprintf(&b, "  calls: %d tokens;%s\n", r.tokens, counts(r.codes))
	fmt.Fprintf(&b, "  of those at nodes away from the database: %d tokens;%s\n", r.tokensAway, counts(r.codesAway))
	fmt.Fprintf(&b, "  keys made and removed: %d\n", r.keys)
	for _, row := range []struct {
		what string
		keyCase
	}{
		{"made, honoured by nodes that reach the database", keyCase{true, false}},
		{"made, honoured by others", keyCase{true, true}},
		{"removed, refused by nodes that reach the database", keyCase{false, false}},
		{"removed, refused by others", keyCase{false, true}},
	} {
		if s := r.keyTimes[row.keyCase]; s.n > 0 {
			fmt.Fprintf(&b, "    %s: %d times, %s at most\n", row.what, s.n, s.most.Round(time.Millisecond))
		}
	}
	writeLines(&b, "wrong", r.wrong)
	verdict := "no account was lost, no token spent twice and no key honoured but as the events above explain"
	if len(r.wrong) > 0 {
		verdict = "FAILED"
	}
	fmt.Fprintf(&b, "  verdict: %s\n", verdict)
	return b.String()
}

// writeEvents prints events by their outcomes, and then each.
func (r *report) writeEvents(b *strings.Builder) {
	if r.events == nil {
		return
	}
	fmt.Fprintf(b, "  %-36s %6s %9s %6s %6s %12s\n", "event", "times", "in flight", "lost", "extra", "well after")
	for _, kind := range happenings {
		var sum event
		var longest time.Duration
		for _, e := range r.events.all() {
			if e.kind != kind {
				continue
			}
			sum.number++
			sum.inFlight += e.inFlight
			sum.lost += e.lost
			sum.extra += e.extra
			longest = max(longest, e.ended.Sub(e.over))
		}
		if sum.number > 0 {
			fmt.Fprintf(b, "  %-36s %6d %9d %6d %6d %12s\n", kind, sum.number, sum.inFlight, sum.lost, sum.extra, longest.Round(time.Millisecond))
		}
	}
	for _, e := range r.events.all() {
		fmt.Fprintf(b, "    %s: %d in flight, %d lost, %d extra\n", r.events.describe(e), e.inFlight, e.lost, e.extra)
	}
}

func writeLines(b *strings.Builder, name string, lines []string) {
	fmt.Fprintf(b, "  %s: %d\n", name, len(lines))
	for _, line := range lines {
		fmt.Fprintf(b, "    %s\n", line)
	}
}

func counts(m map[string]int) string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, " %s %d;", what, m[what])
	}
	return b.String()
}
