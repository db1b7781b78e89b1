package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// patience is how long anything may take that must come to pass.
	patience = 60 * time.Second
	// callerKey is the name of the callers' key.
	callerKey = "caller"
)

// cluster is a run.
type cluster struct {
	settings
	t      *testing.T
	binary string
	rng    *rand.Rand
	events *chronicle
	wire   *wire
	db     *database
	nodes  []*node
	report *report

	key      string
	accounts []string

	mu       sync.Mutex
	refusals []refusal
	// thorough is when it was begun to ask for a new token of every account.
	thorough time.Time
}

// begin runs the database and the nodes, and fills them.
func (c *cluster) begin() {
	t := c.t
	c.db = newDatabase(t, c.pooled)
	if len(c.settings.events) > 0 {
		c.db.addStandby()
	} else {
		c.db.servers[1] = c.db.servers[0]
	}
	servers := [2]string{c.db.addr(0), c.db.addr(1)}
	for i := range c.settings.nodes {
		c.addNode(i+1, servers)
	}
	first := c.nodes[0]
	c.must(first.start(t.Context()))
	keyset, err := os.ReadFile(first.path("keyset.json"))
	c.must(err)
	c.key, err = first.addKey(t.Context(), callerKey)
	c.must(err)
	for i := range c.settings.accounts {
		c.accounts = append(c.accounts, fmt.Sprintf("a%d", i+1))
	}
	c.each(8, func(id string) {
		token, err := c.wire.create(id)
		if err == nil {
			err = first.register(t.Context(), id, token)
		}
		if err != nil {
			c.report.fail("registering %s: %v", id, err)
		}
	})
	c.spoil()
	for _, n := range c.nodes[1:] {
		c.must(os.WriteFile(n.path("keyset.json"), keyset, 0o600))
		c.must(n.start(t.Context()))
	}
}

func (c *cluster) addNode(number int, servers [2]string) {
	t := c.t
	// A unix socket's path must be short.
	dir, err := os.MkdirTemp("", "cluster-") //nolint:usetesting // t.TempDir's path is too long
	c.must(err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	relays := [2]*relay{newRelay(t, servers[0]), newRelay(t, servers[1])}
	dsn := strings.Replace(c.db.dsn(), c.db.servers[c.db.primary].Addr(), relays[0].addr()+","+relays[1].addr(), 1)
	n := newNode(number, dir, c.binary, relays, dsn+"?sslmode=disable")
	c.must(os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(n.caddyfile(c.wire.web.URL)), 0o600))
	t.Cleanup(n.kill)
	c.nodes = append(c.nodes, n)
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// each does something about every account, some at a time.
func (c *cluster) each(atOnce int, do func(id string)) {
	var wg sync.WaitGroup
	queue := make(chan string)
	for range atOnce {
		wg.Go(func() {
			for id := range queue {
				do(id)
			}
		})
	}
	for _, id := range c.accounts {
		queue <- id
	}
	close(queue)
	wg.Wait()
}

// run has callers ask all nodes while things happen.
func (c *cluster) run() {
	ctx, stop := context.WithCancel(c.t.Context())
	defer stop()
	// The first time all nodes are asked at once.
	c.each(8, func(id string) {
		var wg sync.WaitGroup
		for _, n := range c.nodes {
			wg.Go(func() { c.call(ctx, n, id, 0) })
		}
		wg.Wait()
	})
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()
	for _, n := range c.nodes {
		c.callAllTheWhile(ctx, &background, n)
	}
	keys := rand.New(rand.NewPCG(*seed, 1))
	background.Go(func() { c.tryKeys(ctx, keys) })
	if len(c.settings.events) == 0 {
		sleep(ctx, c.time)
		return
	}
	var deck []happening
	for begun := time.Now(); time.Since(begun) < c.time; {
		sleep(ctx, 500*time.Millisecond+upTo(c.rng, 3*time.Second))
		if len(deck) == 0 {
			deck = append(deck, c.settings.events...)
			c.rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		kind := deck[0]
		deck = deck[1:]
		c.happen(ctx, kind)
	}
	sleep(ctx, 2*time.Second)
}

// happen lets something happen; sometimes something else befalls a node
// meanwhile.
func (c *cluster) happen(ctx context.Context, kind happening) {
	order := c.rng.Perm(len(c.nodes))
	var beside sync.WaitGroup
	defer beside.Wait()
	befall := func(kind happening, n *node) {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
		beside.Go(func() {
			if err := c.befall(ctx, rng, kind, n); err != nil {
				c.report.fail("%s: %v", kind, err)
			}
		})
	}
	if c.rng.IntN(4) == 0 {
		befall([]happening{killed, paused, refused, silenced}[c.rng.IntN(4)], c.nodes[order[1]])
	}
	if kind.ofDatabase() {
		c.failOver(ctx, kind)
		return
	}
	befall(kind, c.nodes[order[0]])
}

// befall has an event befall a node, and returns when the node is well again.
func (c *cluster) befall(ctx context.Context, rng *rand.Rand, kind happening, n *node) error {
	c.aim(ctx, rng, n.number)
	e := c.events.begin(kind, n.number)
	defer c.events.end(e)
	switch kind {
	case killed:
		n.kill()
		c.events.isOver(e)
		if rng.IntN(2) == 0 {
			sleep(ctx, upTo(rng, 6*time.Second))
		}
		return c.restart(ctx, n)
	case paused:
		if err := n.signal(syscall.SIGSTOP, false); err != nil {
			return err
		}
		sleep(ctx, 4500*time.Millisecond+upTo(rng, 4*time.Second))
		err := n.signal(syscall.SIGCONT, true)
		c.events.isOver(e)
		if err != nil {
			return err
		}
	case refused, silenced:
		for _, r := range n.relays {
			if kind == refused {
				r.refuse()
			} else {
				r.hold()
			}
		}
		sleep(ctx, 500*time.Millisecond+upTo(rng, 8*time.Second))
		for _, r := range n.relays {
			r.restore()
		}
		c.events.isOver(e)
	}
	return n.ready(ctx)
}

// aim waits, more often than not, for a token request of the node to be under
// way.
func (c *cluster) aim(ctx context.Context, rng *rand.Rand, node int) {
	if rng.IntN(4) == 0 {
		return
	}
	for begun := time.Now(); !c.wire.busy(node) && time.Since(begun) < time.Second; {
		sleep(ctx, time.Millisecond)
	}
	sleep(ctx, upTo(rng, 60*time.Millisecond))
}

// restart starts a node again. It does not start without the database.
func (c *cluster) restart(ctx context.Context, n *node) error {
	for {
		begun := time.Now()
		err := n.start(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !c.events.cutOff(n.number, begun, time.Now()) {
			return err
		}
		n.kill()
		sleep(ctx, 200*time.Millisecond)
	}
}

// failOver ends the primary and promotes the standby, and makes another one.
func (c *cluster) failOver(ctx context.Context, kind happening) {
	c.aim(ctx, c.rng, 0)
	e := c.events.begin(kind, 0)
	c.must(c.db.end(kind == murdered))
	sleep(ctx, upTo(c.rng, 2*time.Second))
	c.db.promote()
	c.events.isOver(e)
	for _, n := range c.nodes {
		// Who is stopped, killed or cut off is waited for where that ends.
		if n.running() == 0 || c.beset(n) {
			continue
		}
		if err := n.ready(ctx); err != nil && n.running() != 0 && !c.beset(n) {
			c.report.fail("%s: %v", kind, err)
		}
	}
	c.events.end(e)
	c.db.addStandby()
	addr := c.db.addr(1 - c.db.primary)
	for _, n := range c.nodes {
		n.relays[1-c.db.primary].lead(addr)
	}
}

// beset reports whether something befalls the node just now.
func (c *cluster) beset(n *node) bool {
	return c.events.any(func(e *event) bool { return e.node == n.number && e.ended.IsZero() })
}

// finish wants a new token of every account that is not dead.
func (c *cluster) finish() {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience+2*c.life)
	defer cancel()
	for _, n := range c.nodes {
		if err := n.ready(ctx); err != nil {
			c.report.fail("in the end: %v", err)
		}
	}
	c.mu.Lock()
	c.thorough = time.Now()
	c.mu.Unlock()
	c.each(16, func(id string) {
		for n := 0; ; n++ {
			at := c.nodes[n%len(c.nodes)]
			// Before three quarters of its life are over a token is new.
			t, a, err := c.call(ctx, at, id, time.Hour)
			switch {
			case err == nil && time.Until(t.Expires) >= c.life/4*3-2*time.Second:
				return
			case a.code == deadCode && c.wire.dead(id):
				return
			case ctx.Err() != nil:
				c.report.fail("%s does not work in the end: %d %s %v", id, a.status, a.body, err)
				return
			}
			sleep(ctx, 250*time.Millisecond)
		}
	})
	for _, n := range c.nodes {
		if said := n.alarm(); said != "" {
			c.report.fail("%v said: %s", n, said)
		}
	}
}
