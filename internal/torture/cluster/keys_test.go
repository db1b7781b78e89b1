package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	// settling is how long a node may take for that once it reaches the database
	// again, and keyTrial how long it is looked at.
	settling = 5 * time.Second
	keyTrial = 30 * time.Second
	keyPoll  = 25 * time.Millisecond
)

// tryKeys makes and removes keys, each on one node, and tries them on all.
func (c *cluster) tryKeys(ctx context.Context, rng *rand.Rand) {
	for n := 1; ctx.Err() == nil; n++ {
		sleep(ctx, c.keyEvery/2+upTo(rng, c.keyEvery))
		maker, remover := c.pick(rng), c.pick(rng)
		if maker != nil && remover != nil {
			c.tryKey(ctx, fmt.Sprintf("k%d", n), maker, remover)
		}
	}
}

// pick draws a node that nothing befalls just now.
func (c *cluster) pick(rng *rand.Rand) *node {
	for _, i := range rng.Perm(len(c.nodes)) {
		if now := time.Now(); !c.events.disturbed(c.nodes[i].number, now.Add(-time.Second), now) {
			return c.nodes[i]
		}
	}
	return nil
}

func (c *cluster) tryKey(ctx context.Context, name string, maker, remover *node) {
	ctx, cancel := context.WithTimeout(ctx, keyTrial)
	defer cancel()
	begun := time.Now()
	key, err := maker.addKey(ctx, name)
	if err != nil {
		c.failKey(ctx, maker, begun, "making key %s: %v", name, err)
		return
	}
	made := time.Now()
	c.onAll(func(n *node) { c.becomes(ctx, n, name, key, true, made) })
	begun = time.Now()
	if err := remover.removeKey(ctx, name); err != nil {
		c.failKey(ctx, remover, begun, "removing key %s: %v", name, err)
		return
	}
	removed := time.Now()
	c.onAll(func(n *node) { c.becomes(ctx, n, name, key, false, removed) })
	c.report.triedKey()
}

func (c *cluster) failKey(ctx context.Context, n *node, since time.Time, format string, args ...any) {
	if ctx.Err() == nil && !c.events.disturbed(n.number, since, time.Now()) {
		c.report.fail(format, args...)
	}
}

func (c *cluster) onAll(do func(n *node)) {
	var wg sync.WaitGroup
	for _, n := range c.nodes {
		wg.Go(func() { do(n) })
	}
	wg.Wait()
}

// becomes waits until a node honours a key that was made, or refuses one that
// was removed, or is too late in doing so.
func (c *cluster) becomes(ctx context.Context, n *node, name, key string, honoured bool, since time.Time) {
	for ; ctx.Err() == nil; sleep(ctx, keyPoll) {
		if n.running() == 0 {
			continue
		}
		begun := time.Now()
		_, a, err := n.token(ctx, key, c.accounts[0], 0)
		if err != nil {
			continue
		}
		took, disturbed := begun.Sub(since), c.events.disturbed(n.number, since, begun)
		if (a.status != http.StatusUnauthorized) == honoured {
			c.report.keyTook(honoured, disturbed, max(took, 0))
			return
		}
		late := took > c.keyBound && !disturbed ||
			took > c.keyBound && !c.events.disturbed(n.number, begun.Add(-settling), begun)
		if !late {
			continue
		}
		if honoured {
			c.report.fail("key %s, made %s ago, is still refused by %v: %d %s", name, took.Round(time.Millisecond), n, a.status, a.body)
		} else {
			c.report.fail("key %s, removed %s ago, is still honoured by %v: %d", name, took.Round(time.Millisecond), n, a.status)
		}
		return
	}
}
