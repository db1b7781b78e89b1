package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// report is what came of a run.
type report struct {
	run   run
	begun time.Time
	took  time.Duration
	disk  bool // a lane has a disk that can be filled

	mu     sync.Mutex
	steps  map[point]int // of each kill's target
	others map[point]int // of the other accounts
	upsets map[string]int
	calls  map[string]int
	lost   []string
	wrong  []string
	silent int            // wrong answers that are not kept word for word
	about  map[string]int // wrong answers by what they are about
}

func newReport(r run) *report {
	return &report{
		run: r, begun: time.Now(), steps: make(map[point]int), others: make(map[point]int),
		upsets: make(map[string]int), calls: make(map[string]int), about: make(map[string]int),
	}
}

// mostWrong is how many wrong answers about one account are kept.
const mostWrong = 3

// fail notes something wrong about an account of a lane.
func (r *report) fail(about, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.about[about]++; r.about[about] > mostWrong {
		r.silent++
		return
	}
	r.wrong = append(r.wrong, about+": "+fmt.Sprintf(format, args...))
}

func (r *report) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.wrong) > 0
}

func (r *report) landed(step point, target bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if target {
		r.steps[step]++
	} else {
		r.others[step]++
	}
}

func (r *report) upset(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.upsets[what]++
}

func (r *report) call(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[what]++
}

func (r *report) lose(cause string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = append(r.lost, cause)
}

// kills is how many kills there were.
func (r *report) kills() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, landed := range r.steps {
		n += landed
	}
	return n
}

// steps, in their order.
var allSteps = []point{idle, intended, sent, committed, answered, saved}

// checkSteps wants that every step was met often enough, in a run long enough
// to tell.
func (r *report) checkSteps(t *testing.T) {
	t.Helper()
	kills := r.kills()
	if kills < 200 {
		return
	}
	for _, step := range allSteps {
		if least := kills * 30 / 1000; r.steps[step] < least {
			t.Errorf("%d of %d kills landed in %q, which is less than %d", r.steps[step], kills, step, least)
		}
	}
}

// String is the report as it is printed.
func (r *report) String() string {
	kills := r.kills()
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d kills with rotation %s in %s\n", *seed, kills, r.run.rotation, r.took.Round(time.Second))
	if r.run.broken != whole {
		fmt.Fprintf(&b, "  broken broker: %s\n", r.run.broken)
	}
	for _, row := range []struct {
		name   string
		counts map[point]int
	}{{"kills by the step that they landed in", r.steps}, {"other accounts at a kill", r.others}} {
		fmt.Fprintf(&b, "  %s:", row.name)
		for _, step := range allSteps {
			fmt.Fprintf(&b, " %s %d;", step, row.counts[step])
		}
		b.WriteByte('\n')
	}
	writeCounts(&b, "besides", r.upsets)
	if !r.disk {
		b.WriteString("  no disk was filled: a file system could not be mounted\n")
	}
	writeCounts(&b, "calls", r.calls)
	fmt.Fprintf(&b, "  accounts lost, each told so: %d\n", len(r.lost))
	for _, cause := range r.lost {
		fmt.Fprintf(&b, "    %s\n", cause)
	}
	fmt.Fprintf(&b, "  wrong: %d\n", len(r.wrong)+r.silent)
	for _, wrong := range r.wrong {
		fmt.Fprintf(&b, "    %s\n", wrong)
	}
	return b.String()
}

func writeCounts(b *strings.Builder, name string, counts map[string]int) {
	fmt.Fprintf(b, "  %s:", name)
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(b, " %s %d;", what, counts[what])
	}
	b.WriteByte('\n')
}
