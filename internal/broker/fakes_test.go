package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// journal is what the fakes saw, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

// memVault is a vault in memory whose parts can be made to fail.
type memVault struct {
	journal *journal

	mu       sync.Mutex
	grants   map[string]*account.Grant
	versions map[string]uint64
	due      map[string]time.Time
	leases   map[string]store.Lease
	last     uint64
	sweeps   int

	saveErr, readErr, readyErr, leaseErr error
	// lateErr is returned by a save that was made all the same.
	lateErr error
	// conflicts is how many saves meet somebody else's write first.
	conflicts int
	// onSave sees each grant before it is written.
	onSave func(*account.Grant) error
	// changed hear of each change.
	changed map[*watch]func(id string, version uint64)
}

func newMemVault(j *journal) *memVault {
	return &memVault{journal: j, grants: make(map[string]*account.Grant), versions: make(map[string]uint64), due: make(map[string]time.Time), leases: make(map[string]store.Lease)}
}

// set changes the vault's behaviour.
func (v *memVault) set(f func(*memVault)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f(v)
}

func (v *memVault) Grant(_ context.Context, id string) (*account.Grant, uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.readErr != nil {
		return nil, 0, v.readErr
	}
	g, ok := v.grants[id]
	if !ok {
		return nil, 0, store.ErrNotFound
	}
	return g.Clone(), v.versions[id], nil
}

func (v *memVault) Save(_ context.Context, lease *store.Lease, g *account.Grant, version uint64, due, _ time.Time) (uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.saveErr != nil {
		return 0, v.saveErr
	}
	if lease != nil && !v.holds(*lease) {
		return 0, store.ErrFenced
	}
	if v.onSave != nil {
		if err := v.onSave(g); err != nil {
			return 0, err
		}
	}
	if v.conflicts > 0 && version != 0 {
		v.conflicts--
		v.last++
		v.versions[g.ID] = v.last
	}
	if v.versions[g.ID] != version {
		return 0, store.ErrConflict
	}
	v.last++
	v.grants[g.ID], v.versions[g.ID], v.due[g.ID] = g.Clone(), v.last, due
	v.publish(g.ID, v.last)
	intent := "no intent"
	if g.Intent != nil {
		intent = fmt.Sprintf("intent %d", g.Intent.Number)
	}
	v.journal.add("save %s %s %s", g.ID, g.RefreshToken.Reveal(), intent)
	if err := v.lateErr; err != nil {
		return 0, err
	}
	return v.last, nil
}

func (v *memVault) Remove(_ context.Context, id string, version uint64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.saveErr != nil {
		return v.saveErr
	}
	if v.versions[id] != version {
		return store.ErrConflict
	}
	delete(v.grants, id)
	delete(v.versions, id)
	delete(v.due, id)
	v.publish(id, 0)
	return nil
}

// publish tells of a change; v.mu is held.
func (v *memVault) publish(id string, version uint64) {
	for w, changed := range v.changed {
		if !w.deaf.Load() {
			changed(id, version)
		}
	}
}

func (v *memVault) Due(_ context.Context, at time.Time, f func(id string) bool) error {
	v.mu.Lock()
	var ids []string
	for id, due := range v.due {
		if !due.IsZero() && !due.After(at) {
			ids = append(ids, id)
		}
	}
	v.mu.Unlock()
	slices.Sort(ids)
	for _, id := range ids {
		if !f(id) {
			break
		}
	}
	return nil
}

func (v *memVault) Unresolved(context.Context) ([]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var ids []string
	for id, g := range v.grants {
		if g.Intent != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (v *memVault) Acquire(_ context.Context, id, owner string, life time.Duration) (store.Lease, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.leaseErr != nil {
		return store.Lease{}, v.leaseErr
	}
	if held, ok := v.leases[id]; ok && time.Now().Before(held.Expires) {
		return store.Lease{}, store.ErrLeased
	}
	v.last++
	v.leases[id] = store.Lease{Key: id, Owner: owner, Fence: v.last, Expires: time.Now().Add(life)}
	return v.leases[id], nil
}

func (v *memVault) Renew(_ context.Context, lease store.Lease, life time.Duration) (store.Lease, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.leaseErr != nil {
		return store.Lease{}, v.leaseErr
	}
	if !v.holds(lease) {
		return store.Lease{}, store.ErrFenced
	}
	lease.Expires = time.Now().Add(life)
	v.leases[lease.Key] = lease
	return lease, nil
}

func (v *memVault) Release(_ context.Context, lease store.Lease) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if held := v.leases[lease.Key]; held.Fence == lease.Fence {
		delete(v.leases, lease.Key)
	}
	return v.leaseErr
}

// holds reports whether the lease has not ended; v.mu is held.
func (v *memVault) holds(lease store.Lease) bool {
	held := v.leases[lease.Key]
	return held.Fence == lease.Fence && time.Now().Before(held.Expires)
}

func (v *memVault) SweepSpent(context.Context, time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sweeps++
	return nil
}

func (v *memVault) Ready(context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.readyErr
}

// stored returns what the vault has of the account.
func (v *memVault) stored(t testing.TB, id string) *account.Grant {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	g, ok := v.grants[id]
	if !ok {
		t.Fatalf("the vault has no account %q", id)
	}
	return g.Clone()
}

// family is the refresh tokens that one consent leads to.
type family struct {
	current string
	issued  int
	spent   map[string]time.Time
	revoked bool
}

// fakeProvider is an authorization server that rotates refresh tokens and
// detects their reuse. Refresh tokens are "<family>#<n>".
type fakeProvider struct {
	name, client, audience string
	rotation               account.Rotation
	life, idleLife         time.Duration
	journal                *journal

	mu       sync.Mutex
	families map[string]*family
	requests []account.RefreshRequest
	at       []time.Time
	replays  int // presented tokens that had been spent, out of their grace
	inFlight int
	most     int // requests under way at once
	revokes  int

	// delay is how long each request takes.
	delay time.Duration
	// gate holds requests until something is received from it.
	gate chan struct{}
	// lose makes so many answers be lost after they were acted on.
	lose int
	// fail, when it returns an error, answers instead; nothing is acted on.
	fail func(account.RefreshRequest) error
	// dress changes an answer.
	dress func(account.RefreshRequest, *account.Answer) error
	// revokeErr is what Revoke returns.
	revokeErr error
	// scopes are those of grants that have none of their own.
	scopes []string
}

func newFakeProvider(name string, kind account.RotationKind, j *journal) *fakeProvider {
	return &fakeProvider{
		name: name, client: "client-" + name, audience: "main", life: time.Hour, journal: j,
		rotation: account.Rotation{Kind: kind, Grace: 10 * time.Second},
		families: make(map[string]*family),
	}
}

func (p *fakeProvider) set(f func(*fakeProvider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

func (p *fakeProvider) Name() string            { return p.name }
func (p *fakeProvider) ClientID() string        { return p.client }
func (p *fakeProvider) DefaultAudience() string { return p.audience }
func (p *fakeProvider) IdleLife() time.Duration { return p.idleLife }
func (p *fakeProvider) TokenEndpoint(subject string) string {
	return "https://" + p.name + "/" + subject
}
func (p *fakeProvider) Rotation() account.Rotation { return p.rotation }
func (p *fakeProvider) Revoke(_ context.Context, _ secret.String) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revokes++
	return p.revokeErr
}

func (p *fakeProvider) AudienceScopes(_ string, own []string) []string {
	if len(own) > 0 {
		return own
	}
	return p.scopes
}

func (p *fakeProvider) MissingScopes(requested, granted []string) []string {
	return slices.DeleteFunc(slices.Clone(requested), func(s string) bool { return slices.Contains(granted, s) })
}

func (p *fakeProvider) UnaskedScopes(requested, granted []string) []string {
	return p.MissingScopes(granted, requested)
}

// consent starts a family and returns its first refresh token.
func (p *fakeProvider) consent(name string) secret.String {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &family{spent: make(map[string]time.Time), issued: 1, current: name + "#1"}
	p.families[name] = f
	return secret.New(f.current)
}

func (p *fakeProvider) Refresh(ctx context.Context, r account.RefreshRequest) (account.Answer, error) {
	if check := account.WriteCheck(ctx); check != nil {
		if err := check(); err != nil {
			return account.Answer{}, &account.Failure{Meaning: account.ProviderDown, Err: err}
		}
	}
	p.mu.Lock()
	p.requests = append(p.requests, r)
	p.at = append(p.at, time.Now())
	p.inFlight++
	p.most = max(p.most, p.inFlight)
	delay, gate, fail, dress := p.delay, p.gate, p.fail, p.dress
	p.mu.Unlock()
	p.journal.add("request %s", r.RefreshToken.Reveal())
	defer p.set(func(p *fakeProvider) { p.inFlight-- })

	lost := &account.Failure{Meaning: account.ProviderDown, Lost: true, Reads: "No answer came."}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return account.Answer{}, lost
		}
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return account.Answer{}, lost
		}
	}
	if fail != nil {
		if err := fail(r); err != nil {
			return account.Answer{}, err
		}
	}
	answer, err := p.act(r)
	if err != nil {
		return answer, err
	}
	p.mu.Lock()
	losing := p.lose > 0
	if losing {
		p.lose--
	}
	p.mu.Unlock()
	if losing {
		return account.Answer{}, lost
	}
	if dress != nil {
		if err := dress(r, &answer); err != nil {
			return answer, err
		}
	}
	return answer, nil
}

// act spends the refresh token, as the rotation says.
func (p *fakeProvider) act(r account.RefreshRequest) (account.Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	token := r.RefreshToken.Reveal()
	name, _, _ := strings.Cut(token, "#")
	f := p.families[name]
	if f == nil || f.revoked {
		return account.Answer{}, invalidGrant()
	}
	answer := account.Answer{Life: p.life}
	if token != f.current {
		spent, known := f.spent[token]
		switch {
		case !known:
			return account.Answer{}, invalidGrant()
		case p.rotation.Kind == account.RotationKeepsOld:
		case p.rotation.Kind == account.RotationGrace && time.Since(spent) <= p.rotation.Grace:
		default:
			p.replays++
			f.revoked = true
			return account.Answer{}, invalidGrant()
		}
	}
	if p.rotation.Kind != account.RotationNone {
		if _, again := f.spent[token]; !again {
			f.spent[token] = time.Now()
		}
		f.issued++
		f.current = fmt.Sprintf("%s#%d", name, f.issued)
		answer.RefreshToken = secret.New(f.current)
	}
	answer.AccessToken = secret.New(fmt.Sprintf("at-%s-%s-%d", name, r.Audience, len(p.requests)))
	return answer, nil
}

func (p *fakeProvider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests)
}

func invalidGrant() *account.Failure {
	return &account.Failure{Meaning: account.GrantDead, Status: 400, Code: "invalid_grant"}
}

func failing(f account.Failure) func(account.RefreshRequest) error {
	return func(account.RefreshRequest) error { c := f; return &c }
}

// watcher is an observer that keeps what it is told.
type watcher struct {
	mu     sync.Mutex
	events []Event
	skew   time.Duration
}

func (w *watcher) Refreshed(string, string, time.Duration) {}

func (w *watcher) Skewed(_ string, by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skew = by
}

func (w *watcher) Happened(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (w *watcher) count(name EventName) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events {
		if e.Name == name {
			n++
		}
	}
	return n
}

// skewed is a wall clock that can be set; it gives no monotonic time.
type skewed struct {
	clockwork.Clock
	by atomic.Int64
}

func (c *skewed) Now() time.Time {
	return c.Clock.Now().Round(0).Add(time.Duration(c.by.Load()))
}

func (c *skewed) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// world is a broker among fakes, within a synctest bubble: its clock stands
// still while anything can run.
type world struct {
	*Broker
	t        *testing.T
	journal  *journal
	vault    *memVault
	provider *fakeProvider
	watcher  *watcher
	clock    *skewed
}

var testSettings = Settings{Ahead: DefaultAhead, MinTTL: DefaultMinTTL, Timeout: DefaultTimeout, Workers: DefaultWorkers}

func newWorld(t *testing.T, kind account.RotationKind) *world {
	j := &journal{}
	w := &world{t: t, journal: j, vault: newMemVault(j), provider: newFakeProvider("fake", kind, j), watcher: &watcher{}, clock: &skewed{Clock: clockwork.NewRealClock()}}
	w.start()
	t.Cleanup(func() { w.Close() })
	return w
}

// start makes a process on the world's vault: what was in memory is gone.
func (w *world) start() {
	w.Broker = w.reload(NewShared(w.vault, "test", w.clock, slog.New(slog.DiscardHandler)))
}

// reload makes the broker of a new configuration.
func (w *world) reload(s *Shared) *Broker {
	return New(s, []Provider{w.provider}, testSettings, w.watcher, slog.New(slog.DiscardHandler))
}

// restart ends the process as a kill does, and starts another.
func (w *world) restart() {
	w.Shared.stop()
	w.start()
}

// run runs the broker's background work until the test ends.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
}

// register adds an account with a consent of its own.
func (w *world) register(id string) {
	w.t.Helper()
	if err := w.Register(w.t.Context(), Registration{ID: id, Provider: w.provider.name, RefreshToken: w.provider.consent(id)}); err != nil {
		w.t.Fatalf("registering %s: %v", id, err)
	}
}

// token asks for a token, which must come.
func (w *world) token(id, audience string, o Options) Token {
	w.t.Helper()
	got, err := w.Token(w.t.Context(), id, audience, o)
	if err != nil {
		w.t.Fatalf("token of %s for %q: %v", id, audience, err)
	}
	if !got.Expires.After(w.clock.Now()) {
		w.t.Fatalf("token of %s ended at %v, and it is %v", id, got.Expires, w.clock.Now())
	}
	return got
}

// refused asks for a token, which must be refused with the code.
func (w *world) refused(id, audience string, o Options, code problem.Code) *problem.Problem {
	w.t.Helper()
	got, err := w.Token(w.t.Context(), id, audience, o)
	p, ok := errors.AsType[*problem.Problem](err)
	if !ok || p.Code != code {
		w.t.Fatalf("token of %s for %q: got %v and error %v, want problem %s", id, audience, got.Result, err, code)
	}
	return p
}

// requests checks how many token requests were sent so far.
func (w *world) requests(want int) {
	w.t.Helper()
	if got := w.provider.count(); got != want {
		w.t.Fatalf("%d token requests were sent, want %d", got, want)
	}
}

func (w *world) noReplay() {
	w.t.Helper()
	w.provider.mu.Lock()
	defer w.provider.mu.Unlock()
	if w.provider.replays != 0 {
		w.t.Fatalf("the provider saw %d spent refresh tokens", w.provider.replays)
	}
}

// advance lets the bubble's clock go on by d and everything due run.
func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// named is the world's provider as its broker knows it.
func (w *world) named() *named {
	w.t.Helper()
	p, ok := w.Broker.provider(w.provider.name)
	if !ok {
		w.t.Fatal("the broker does not know its provider")
	}
	return p
}
