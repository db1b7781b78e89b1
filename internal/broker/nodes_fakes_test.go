package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// watch is how a node hears of changes, while it is not deaf.
type watch struct {
	vault *memVault
	deaf  atomic.Bool
	last  atomic.Int64
}

func (w *watch) FollowGrants(ctx context.Context, changed func(id string, version uint64)) error {
	w.vault.set(func(v *memVault) {
		if v.changed == nil {
			v.changed = make(map[*watch]func(string, uint64))
		}
		v.changed[w] = changed
	})
	changed("", 0)
	<-ctx.Done()
	return ctx.Err()
}

func (w *watch) Heard() time.Time {
	if !w.deaf.Load() {
		w.last.Store(time.Now().UnixNano())
	}
	return time.Unix(0, w.last.Load())
}

// step is where a node can be stopped.
type step string

const (
	leased   step = "with the lease"
	intends  step = "before its intent is written"
	writes   step = "before the request is written"
	answered step = "before the answer is saved"
)

// node is a process on a vault that others write to as well.
type node struct {
	*Broker
	name    string
	t       *testing.T
	vault   *nodeVault
	watch   *watch
	watcher *watcher
	end     context.CancelFunc
	ended   chan struct{}
}

// nodeVault is the vault as a node sees it that can be stopped as a whole, and
// cut off.
type nodeVault struct {
	*memVault
	mu   sync.Mutex
	at   step
	gate chan struct{} // nil unless the node is to be stopped
	hit  chan struct{} // closed when it was
	away atomic.Bool
}

var errAway = errors.New("the store is away")

// stop has the node stopped when it comes to the step.
func (v *nodeVault) stop(at step) (stopped <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at, v.gate, v.hit = at, make(chan struct{}), make(chan struct{})
	return v.hit
}

// resume lets it go on.
func (v *nodeVault) resume() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.gate)
	v.gate = nil
}

// come is called at each step; it returns when the node runs.
func (v *nodeVault) come(at step) {
	v.mu.Lock()
	if v.gate != nil && at == v.at {
		v.at = ""
		close(v.hit)
	}
	v.mu.Unlock()
	v.wait()
}

// wait is called before all that a stopped process does not do.
func (v *nodeVault) wait() {
	v.mu.Lock()
	var gate chan struct{}
	if v.at == "" {
		gate = v.gate
	}
	v.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

func (v *nodeVault) Acquire(ctx context.Context, id, owner string, life time.Duration) (store.Lease, error) {
	if v.away.Load() {
		return store.Lease{}, errAway
	}
	l, err := v.memVault.Acquire(ctx, id, owner, life)
	if err == nil {
		v.come(leased)
	}
	return l, err
}

func (v *nodeVault) Renew(ctx context.Context, l store.Lease, life time.Duration) (store.Lease, error) {
	v.wait()
	if v.away.Load() {
		return store.Lease{}, errAway
	}
	return v.memVault.Renew(ctx, l, life)
}

func (v *nodeVault) Release(ctx context.Context, l store.Lease) error {
	if v.away.Load() {
		return errAway
	}
	return v.memVault.Release(ctx, l)
}

func (v *nodeVault) Grant(ctx context.Context, id string) (*account.Grant, uint64, error) {
	v.wait()
	if v.away.Load() {
		return nil, 0, errAway
	}
	return v.memVault.Grant(ctx, id)
}

func (v *nodeVault) Save(ctx context.Context, l *store.Lease, g *account.Grant, version uint64, due, used time.Time) (uint64, error) {
	if g.Intent != nil {
		v.come(intends)
	} else {
		v.come(answered)
	}
	if v.away.Load() {
		return 0, errAway
	}
	return v.memVault.Save(ctx, l, g, version, due, used)
}

func (v *nodeVault) Ready(ctx context.Context) error {
	if v.away.Load() {
		return errAway
	}
	return v.memVault.Ready(ctx)
}

func (v *nodeVault) Unresolved(ctx context.Context) ([]string, error) {
	v.wait()
	if v.away.Load() {
		return nil, errAway
	}
	return v.memVault.Unresolved(ctx)
}

// stoppingProvider is the provider as a node that can be stopped reaches it.
type stoppingProvider struct {
	*fakeProvider
	vault *nodeVault
}

func (p stoppingProvider) Refresh(ctx context.Context, r account.RefreshRequest) (account.Answer, error) {
	p.vault.come(writes)
	if p.vault.away.Load() {
		return account.Answer{}, &account.Failure{Meaning: account.ProviderDown, Err: errAway}
	}
	return p.fakeProvider.Refresh(ctx, r)
}

// cluster is some nodes with one provider.
type cluster struct {
	t        *testing.T
	vault    *memVault
	provider *fakeProvider
	settings Settings
	a, b     *node
}

func newCluster(t *testing.T, kind account.RotationKind) *cluster {
	j := &journal{}
	c := &cluster{t: t, vault: newMemVault(j), provider: newFakeProvider("fake", kind, j), settings: testSettings}
	c.settings.Keepalive = 24 * time.Hour
	c.a, c.b = c.node("a"), c.node("b")
	c.a.news.begun, c.b.news.begun = time.Time{}, time.Time{} // they have run for long
	return c
}

// node starts one.
func (c *cluster) node(name string) *node {
	n := &node{t: c.t, name: name, vault: &nodeVault{memVault: c.vault}, watch: &watch{vault: c.vault}, watcher: &watcher{}}
	log := slog.New(slog.DiscardHandler)
	shared := NewShared(n.vault, name, clockwork.NewRealClock(), log)
	shared.Follow(n.watch)
	n.Broker = New(shared, []Provider{stoppingProvider{c.provider, n.vault}}, c.settings, n.watcher, log)
	c.t.Cleanup(n.Close)
	return n
}

// run does the node's background work until the test ends, or it is killed.
func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.end, n.ended = cancel, make(chan struct{})
	go func() { defer close(n.ended); n.Run(ctx) }()
	n.t.Cleanup(func() { cancel(); <-n.ended })
	synctest.Wait()
}

// kill ends the node's process while it is stopped: nothing that it has in hand
// gets anywhere any more.
func (n *node) kill() {
	n.vault.away.Store(true)
	n.watch.deaf.Store(true)
	if n.end != nil {
		n.end()
	}
	n.Shared.stop()
	n.vault.resume()
	synctest.Wait()
}

func (c *cluster) register(id string) {
	c.t.Helper()
	if err := c.a.Register(c.t.Context(), Registration{ID: id, Provider: c.provider.name, RefreshToken: c.provider.consent(id)}); err != nil {
		c.t.Fatalf("registering %s: %v", id, err)
	}
}

// token asks the node for a token, which must come and live.
func (n *node) token(id, audience string, o Options) Token {
	n.t.Helper()
	got, err := n.Token(n.t.Context(), id, audience, o)
	if err != nil {
		n.t.Fatalf("%s: token of %s for %q: %v", n.name, id, audience, err)
	}
	if !got.Expires.After(time.Now()) {
		n.t.Fatalf("%s: token of %s ended at %v", n.name, id, got.Expires)
	}
	return got
}

// refused asks the node for a token, which must be refused with the code.
func (n *node) refused(id, audience string, o Options, code problem.Code) {
	n.t.Helper()
	got, err := n.Token(n.t.Context(), id, audience, o)
	if problem.From(err).Code != code || err == nil {
		n.t.Fatalf("%s: token of %s for %q: got %v and error %v, want problem %s", n.name, id, audience, got.Result, err, code)
	}
}

// asking asks in the background; the function waits for the answer.
func (n *node) asking(id, audience string, o Options) func() (Token, error) {
	type result struct {
		token Token
		err   error
	}
	ch := make(chan result, 1)
	go func() {
		t, err := n.Token(context.Background(), id, audience, o)
		ch <- result{t, err}
	}()
	return func() (Token, error) { r := <-ch; return r.token, r.err }
}

// requests checks how many token requests were sent so far.
func (c *cluster) requests(want int) {
	c.t.Helper()
	if got := c.provider.count(); got != want {
		c.t.Fatalf("%d token requests were sent, want %d", got, want)
	}
}

// whole checks that nothing was spent twice, and that what is stored is what the
// provider honours.
func (c *cluster) whole(id string) {
	c.t.Helper()
	c.provider.mu.Lock()
	replays, current := c.provider.replays, c.provider.families[id].current
	c.provider.mu.Unlock()
	g := c.vault.stored(c.t, id)
	if replays != 0 || g.RefreshToken.Reveal() != current || g.Intent != nil {
		c.t.Errorf("%d replays; stored %s, intent %s; the provider honours %s", replays, g.RefreshToken.Reveal(), intentText(g), current)
	}
}

func intentText(g *account.Grant) string {
	if g.Intent == nil {
		return "none"
	}
	return fmt.Sprintf("%d of %s", g.Intent.Number, g.Intent.Owner)
}
