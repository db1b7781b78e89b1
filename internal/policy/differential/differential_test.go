package differential

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/batch"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/published"
)

var (
	calls = flag.Uint64("differential.n", 30_000, "how many calls are made")
	seed  = flag.Uint64("differential.seed", 1, "what they are drawn from")
	limit = flag.Duration("differential.time", 30*time.Minute, "when to stop making calls")
)

// workers is how many calls are made at once.
const workers = 2

// routers are what the APIs may make of a call.
type routers struct {
	google *googleRouter
	graph  *graphRouter
}

func (r *routers) route(s *sent) ([]*published.Method, bool) {
	if isGoogle(strings.TrimSuffix(s.host, ".")) {
		return r.google.route(s)
	}
	return r.graph.route(s)
}

// finding is a call that left for an API and should not have.
type finding struct {
	subject string
	// kind is what is wrong with it.
	kind string
	call *call
	// sent is what left, what the API might take it for.
	sent *sent
	what string
}

func (f *finding) String() string {
	return fmt.Sprintf("%s: %s: %s\n\tasked: %s %s%s (%s of %s %s)\n\theader: %q\n\tbody: %.300q\n\tsent:  %s\n\tbody: %.300q\n\tis:    %s", f.subject, f.kind,
		strings.Join(f.call.changes, ", "), f.call.method, f.call.host, f.call.url(), f.call.seed.API, f.call.seed.Verb, f.call.seed.Path,
		f.call.fields, f.call.body, f.sent, f.sent.body, f.what)
}

// The kinds of findings.
const (
	kindRefused = "a method that the key must not call"
	kindUnknown = "nothing that is published"
)

// judge compares what left with a key with what the key is for.
func (r *routers) judge(s *subject, c *call, left *sent) *finding {
	methods, known := r.route(left)
	for _, m := range methods {
		if !s.allows(m, left) {
			return &finding{s.name, kindRefused, c, left, strings.TrimSpace(m.ID + " " + m.Verb + " " + m.Path)}
		}
	}
	if s.closed && !known {
		return &finding{s.name, kindUnknown, c, left, ""}
	}
	return nil
}

// score counts what happened.
type score struct {
	// made is how many calls were made, malformed how many of them were refused
	// for every key, and batches how many were batches that were read.
	made, malformed, batches uint64
	// allowed and refused are by subject, kinds are of the findings.
	allowed, refused, kinds map[string]int
	findings                []*finding
}

func newScore() *score {
	return &score{allowed: map[string]int{}, refused: map[string]int{}, kinds: map[string]int{}}
}

func (s *score) add(other *score) {
	s.made += other.made
	s.malformed += other.malformed
	s.batches += other.batches
	for _, pair := range [][2]map[string]int{{s.allowed, other.allowed}, {s.refused, other.refused}, {s.kinds, other.kinds}} {
		for name, n := range pair[1] {
			pair[0][name] += n
		}
	}
	s.findings = append(s.findings, other.findings...)
}

// found adds a finding, of which a few of each kind are kept.
func (s *score) found(f *finding) {
	kind := f.subject + ": " + f.kind
	if s.kinds[kind]++; s.kinds[kind] <= maxKept {
		s.findings = append(s.findings, f)
	}
}

const maxKept = 1000

func (s *score) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d calls, %d refused for every key, %d batches\n", s.made, s.malformed, s.batches)
	for _, name := range slices.Sorted(maps.Keys(s.refused)) {
		fmt.Fprintf(&b, "%-30s allowed %8d  refused %8d\n", name, s.allowed[name], s.refused[name])
	}
	for _, kind := range slices.Sorted(maps.Keys(s.kinds)) {
		fmt.Fprintf(&b, "finding: %s: %d\n", kind, s.kinds[kind])
	}
	if len(s.kinds) == 0 {
		b.WriteString("findings: none\n")
	}
	return b.String()
}

// contest is all that a run needs.
type contest struct {
	pipeline *pipeline
	routers  *routers
	subjects []*subject
	*generator
}

// Nothing changes these once they are made.
var (
	allRouters  = sync.OnceValue(func() *routers { return &routers{newGoogleRouter(), newGraphRouter()} })
	allSubjects = sync.OnceValues(subjects)
	generate    = sync.OnceValue(newGenerator)
)

func newContest(t testing.TB) *contest {
	t.Helper()
	p, err := newPipeline()
	if err != nil {
		t.Fatal(err)
	}
	all, err := allSubjects()
	if err != nil {
		t.Fatal(err)
	}
	return &contest{p, allRouters(), all, generate()}
}

// one makes a call and judges what becomes of it with each key.
func (x *contest) one(c *call, s *score) {
	s.made++
	a, err := x.pipeline.receive(c.proxied(), c.api())
	if err != nil {
		s.malformed++
		return
	}
	if a.kind != batch.None {
		s.batches++
	}
	for _, subject := range x.subjects {
		if subject.api != c.api() {
			continue
		}
		left := x.pipeline.send(&subject.key, a)
		if len(left) == 0 {
			s.refused[subject.name]++
			continue
		}
		s.allowed[subject.name]++
		for i := range left {
			if f := x.routers.judge(subject, c, &left[i]); f != nil {
				s.found(f)
				break
			}
		}
	}
}

// nth is a call of a seed, each sixth a batch.
func (x *contest) nth(seed, i uint64) *call {
	if i%6 == 0 {
		return x.batchOf(seed, i)
	}
	return x.new(seed, i)
}

// run makes the first n calls of a seed.
func (x *contest) run(seed, n uint64, end time.Time) *score {
	total := newScore()
	var next atomic.Uint64
	var mutex sync.Mutex
	var wait sync.WaitGroup
	for range min(workers, runtime.GOMAXPROCS(0)) {
		wait.Go(func() {
			s := newScore()
			for {
				i := next.Add(1) - 1
				if i >= n || i%256 == 0 && time.Now().After(end) {
					break
				}
				x.one(x.nth(seed, i), s)
			}
			mutex.Lock()
			defer mutex.Unlock()
			total.add(s)
		})
	}
	wait.Wait()
	return total
}

// TestPlainCallsAreJudgedByTheTables makes each published method's call as its
// publisher writes it: a preset allows exactly what its table does.
func TestPlainCallsAreJudgedByTheTables(t *testing.T) {
	x := newContest(t)
	tables, err := readTables("../presets")
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]int{}
	for _, list := range [][]published.Method{published.Google(), published.Microsoft()} {
		for i := range list {
			m := &list[i]
			for _, template := range append([]string{m.Path}, m.Uploads...) {
				call := &proxied{method: m.Verb, hostAndPath: m.Host + parameterName.ReplaceAllString(template, "x1")}
				a, err := x.pipeline.receive(call, publisherOf(m))
				if err != nil {
					continue // such as what answers with tokens
				}
				facts := policy.Facts{Account: "alice", Needs: policy.Proxy, Now: now, Request: &a.request}
				for _, preset := range policy.Presets() {
					key := policy.Key{Accounts: []string{"*"}, Presets: []string{preset.Name}}
					got := x.pipeline.judge(&key, &facts).Allowed
					if want := tables[preset.Name].allows(m); got != want {
						t.Errorf("%s: %s %s: allowed is %v", preset.Name, call.method, call.hostAndPath, got)
					} else if want {
						allowed[preset.Name]++
					}
				}
			}
		}
	}
	for _, preset := range policy.Presets() {
		if allowed[preset.Name] == 0 {
			t.Errorf("%s allows nothing", preset.Name)
		}
	}
}

func TestPolicyAndAPIsAgree(t *testing.T) {
	x := newContest(t)
	s := x.run(*seed, *calls, time.Now().Add(*limit))
	t.Logf("seed %d: %s", *seed, s)
	for i, f := range s.findings {
		if i == 20 {
			t.Errorf("and %d more", len(s.findings)-i)
			break
		}
		t.Error(f)
	}
	for _, subject := range x.subjects {
		if s.allowed[subject.name] == 0 || s.refused[subject.name] == 0 {
			t.Errorf("%s: %d calls allowed and %d refused show nothing", subject.name, s.allowed[subject.name], s.refused[subject.name])
		}
	}
	if s.made < *calls {
		t.Logf("out of time after %d calls", s.made)
	}
}
