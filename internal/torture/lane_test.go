package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

const (
	// trueLife is how long an access token lives; the answer rounds it down to
	// a second.
	trueLife = 1100 * time.Millisecond
	scope    = "mail.read"
	// patience is how long anything may take that must come to pass.
	patience = 30 * time.Second
	// accountsOfLane are enough for several renewals to be under way at a kill.
	accountsOfLane = 5
	callersOfLane  = 2
)

// run is what to do.
type run struct {
	rotation fakeprovider.Rotation
	kills    int
	lanes    int
	binary   string
	broken   breakage
}

// torture does it, and returns what came of it.
func torture(t *testing.T, r run) *report {
	rep := newReport(r)
	var wg sync.WaitGroup
	for i := range r.lanes {
		l := newLane(t, rep, r, i)
		share := r.kills / r.lanes
		if i < r.kills%r.lanes {
			share++
		}
		wg.Go(func() {
			if err := l.torture(t.Context(), share); err != nil {
				rep.fail(l.name, "%v", err)
			}
		})
	}
	wg.Wait()
	rep.took = time.Since(rep.begun)
	return rep
}

// lane is one process, killed again and again, with its provider and callers.
type lane struct {
	name   string
	run    run
	rng    *rand.Rand
	wire   *wire
	config subjectConfig
	binary string
	disk   *disk
	report *report
	kills  atomic.Int64

	mu       sync.Mutex
	process  *process // nil while there is none
	accounts []string // those that are called for
	created  int
	lost     map[string]string // by account: what it may be dead of
	served   map[string]bool   // access tokens that callers were given
	doubts   map[string]bool   // accounts whose last token request has no result
	trouble  bool              // refusals with 503 are no surprise
	stopping bool              // the process was told to terminate
}

func newLane(t *testing.T, rep *report, r run, i int) *lane {
	t.Helper()
	// A unix socket's path must be short.
	dir, err := os.MkdirTemp("", "torture-") //nolint:usetesting // t.TempDir's path is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l := &lane{
		name: fmt.Sprintf("lane %d", i), run: r, rng: rand.New(rand.NewPCG(*seed, uint64(i))),
		wire: newWire(t, r.rotation), report: rep,
		lost: make(map[string]string), served: make(map[string]bool), doubts: make(map[string]bool),
	}
	if r.binary != "" && i%4 == 3 {
		l.binary = r.binary
	}
	if i%4 == 0 {
		l.disk = mountDisk(t, dir)
		rep.disk = rep.disk || l.disk != nil
	}
	l.wire.wrong = l.wrong
	l.wire.lost = l.mayBeLost
	l.config = subjectConfig{Dir: dir, Wire: l.wire.web.URL, Rotation: r.rotation.String(), Broken: r.broken}
	return l
}

// torture kills the lane's process n times.
func (l *lane) torture(ctx context.Context, n int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, _, err := l.start(ctx)
	if err != nil {
		return err
	}
	l.admit(p)
	defer func() {
		if p := l.running(); p != nil {
			p.kill()
		}
	}()
	if err := l.fill(ctx, nil); err != nil {
		return err
	}
	var callers sync.WaitGroup
	defer callers.Wait()
	defer cancel()
	for range callersOfLane {
		rng := rand.New(rand.NewPCG(l.rng.Uint64(), 0))
		callers.Go(func() { l.callAllTheWhile(ctx, rng) })
	}
	for range n {
		l.kills.Add(1)
		if l.rng.IntN(100) < 35 {
			if err := l.upset(ctx); err != nil {
				return err
			}
		}
		if err := l.round(ctx); err != nil {
			return err
		}
		if l.run.broken != whole && l.report.failed() {
			return nil // it is found out
		}
	}
	return l.recover(ctx, true)
}

// start starts the process, and returns what its store held.
func (l *lane) start(ctx context.Context) (*process, map[string]held, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return start(ctx, l.config, l.binary)
}

// admit lets the callers at a process.
func (l *lane) admit(p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.process, l.stopping, l.trouble = p, false, false
}

// running is the process; nil while there is none.
func (l *lane) running() *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.process
}

// leave takes the process away from the callers.
func (l *lane) leave() *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.process
	l.process = nil
	return p
}

// fill makes as many accounts as a lane has, beside those that live.
func (l *lane) fill(ctx context.Context, accounts []string) error {
	for len(accounts) < accountsOfLane {
		l.created++
		id := fmt.Sprintf("a%d", l.created)
		g, err := l.wire.CreateGrant(fakeprovider.Grant{ID: id, Scope: scope})
		if err != nil {
			return err
		}
		l.wire.learn(id)
		if err := l.running().register(ctx, id, g.RefreshToken); err != nil {
			return err
		}
		accounts = append(accounts, id)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts = accounts
	return nil
}

// pick draws an account.
func (l *lane) pick(rng *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accounts[rng.IntN(len(l.accounts))]
}

// plan is where to kill.
type plan struct {
	at    point // where to hold the target's renewal; empty: nowhere
	idle  bool  // wait for no renewal at all
	delay time.Duration
	carry bool // requests on their way arrive at the provider after the kill
}

func (l *lane) plan() plan {
	p := plan{carry: l.rng.IntN(2) == 0}
	if l.rng.IntN(3) == 0 {
		p.delay = time.Duration(l.rng.IntN(3000)) * time.Microsecond
	}
	switch n := l.rng.IntN(100); {
	case n < 10:
		p.idle = true
		p.delay = time.Duration(l.rng.IntN(100)) * time.Millisecond
	case n < 35:
		// Anywhere in the few milliseconds of a renewal.
		p.delay = time.Duration(l.rng.IntN(8000)) * time.Microsecond
	default:
		p.at = l.somewhere()
	}
	return p
}

// somewhere draws a point of a renewal. The whole Bellhop can be held up at
// the provider's end alone.
func (l *lane) somewhere() point {
	at := []point{sent, committed}
	if l.binary == "" {
		at = append(at, intended, answered, saved)
	}
	return at[l.rng.IntN(len(at))]
}

// round kills the process once, judges, starts it again and sees that every
// account works.
func (l *lane) round(ctx context.Context) error {
	target, plan := l.pick(l.rng), l.plan()
	held := l.wait(ctx, plan, target)
	if err := ctx.Err(); err != nil {
		return err
	}
	l.wire.goDown(plan.carry)
	p := l.leave()
	killed := p.kill()
	l.wire.points.openAll()
	err := l.drain(ctx)
	if err != nil {
		return err
	}
	k := killing{
		number: l.kills.Load(), at: killed, target: target, held: held, plan: plan,
		grants: l.wire.Grants(true), last: l.wire.lasts(),
	}
	l.wire.goUp()
	if p, k.found, err = l.start(ctx); err != nil {
		return fmt.Errorf("after kill %d: starting again: %w", k.number, err)
	}
	l.judge(k)
	l.admit(p)
	return l.recover(ctx, false)
}

// wait brings the target's renewal to where it is to be killed, and reports
// whether it is held there.
func (l *lane) wait(ctx context.Context, plan plan, target string) (held bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if plan.idle {
		sleep(ctx, plan.delay)
		return false
	}
	before := l.wire.exchanged(target)
	var h *hold
	if plan.at != "" {
		h = l.wire.points.arm(target, plan.at)
	}
	// A call that asks for a long life brings on a renewal, as soon as the
	// token at hand is no longer quite new.
	for ctx.Err() == nil {
		called := make(chan struct{})
		go func() {
			defer close(called)
			l.call(ctx, target, time.Hour)
		}()
		if h == nil {
			// The sleep begins when the call does, in whatever step it ends.
			sleep(ctx, plan.delay)
			if l.wire.exchanged(target) > before || plan.delay < time.Millisecond {
				return false
			}
		} else {
			select {
			case <-h.arrived:
				sleep(ctx, plan.delay)
				return !l.troubled()
			case <-called:
			case <-ctx.Done():
			}
		}
		<-called
		if l.cause(target) != "" {
			return false // there may be no renewal any more
		}
		sleep(ctx, 10*time.Millisecond)
	}
	l.wrong(target, "no renewal came to %q in %s", plan.at, patience)
	return false
}

func (l *lane) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.wire.drain(ctx)
}

// recover returns when every account works again, or is dead and may be, and
// puts new ones in the place of those. thorough wants of each account a token
// that was issued from now on.
func (l *lane) recover(ctx context.Context, thorough bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l.mu.Lock()
	accounts := append([]string(nil), l.accounts...)
	l.mu.Unlock()
	alive := make([]bool, len(accounts))
	var wg sync.WaitGroup
	for i, id := range accounts {
		fresh := thorough || l.inDoubt(id) || l.rng.IntN(4) == 0
		wg.Go(func() { alive[i] = l.works(ctx, id, fresh) })
	}
	wg.Wait()
	var living []string
	for i, id := range accounts {
		if alive[i] {
			living = append(living, id)
		}
	}
	return l.fill(ctx, living)
}

// inDoubt reports whether only a new token shows that the account lives.
func (l *lane) inDoubt(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost[id] != "" || l.doubts[id]
}

// works asks for the account's token until a good one comes (that was asked
// for from now on, if fresh), and reports whether one did: an account that
// may be lost may say that it is.
func (l *lane) works(ctx context.Context, id string, fresh bool) bool {
	var minTTL time.Duration
	if fresh {
		minTTL = time.Hour
	}
	begun := time.Now()
	for {
		token, a, err := l.call(ctx, id, minTTL)
		switch {
		case err == nil && a.status == http.StatusOK:
			last := l.wire.last(id)
			if token.good && (!fresh || token.value == last.access && last.arrived.After(begun)) {
				if fresh {
					l.trust(id)
				}
				return true
			}
		case a.code == "OauthRenewError":
			// Where it must not be dead, call has said so.
			if cause := l.cause(id); cause != "" {
				l.report.lose(cause)
			}
			return false
		}
		if ctx.Err() != nil {
			l.wrong(id, "does not work: %s (%v); %s", a.body, err, l.standing(id))
			return false
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// standing says how an account stands at the provider.
func (l *lane) standing(id string) string {
	g, err := l.wire.Grant(id, false)
	if err != nil {
		return err.Error()
	}
	last := l.wire.last(id)
	if g.Dead {
		return fmt.Sprintf("the provider ended the grant: %s, when refresh token %d came while %d was the newest", g.Cause, last.presented, g.RefreshTokenNumber)
	}
	return fmt.Sprintf("the provider honours the grant, whose refresh token %d is the newest; %d came last", g.RefreshTokenNumber, last.presented)
}

// mayBeLost notes that an account may be dead, where the provider's rotation
// makes that so.
func (l *lane) mayBeLost(id, cause string) {
	if l.run.rotation.Policy != fakeprovider.SingleUse {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost[id] == "" {
		l.lost[id] = fmt.Sprintf("%s, %s: %s", l.name, id, cause)
	}
}

func (l *lane) cause(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost[id]
}

// trust is called when an account that might have been dead is not.
func (l *lane) trust(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.lost, id)
	delete(l.doubts, id)
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
