package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// deadCode is what a caller reads of an account that needs a new consent.
const deadCode = "OauthRenewError"

// callersOfNode ask a node at the same time.
const callersOfNode = 8

// errNotAsked: the node does not run, or was not up all the while.
var errNotAsked = errors.New("the node was not there")

// refusal is an answer without a token.
type refusal struct {
	node         int
	account      string
	begun, ended time.Time
	answer       answer
}

// callAllTheWhile has callers ask a node until ctx ends.
func (c *cluster) callAllTheWhile(ctx context.Context, wg *sync.WaitGroup, n *node) {
	pause := time.Second * callersOfNode / time.Duration(c.calls)
	for range callersOfNode {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _, _ = c.call(ctx, n, c.accounts[rng.IntN(len(c.accounts))], 0)
				sleep(ctx, pause/2+upTo(rng, pause))
			}
		})
	}
}

// call asks a node for an account's token, and judges the answer as far as that
// can be done at once.
func (c *cluster) call(ctx context.Context, n *node, id string, minTTL time.Duration) (token, answer, error) {
	process := n.running()
	if process == 0 {
		return token{}, answer{}, errNotAsked
	}
	asking, cancel := context.WithTimeout(ctx, patience/2)
	defer cancel()
	had, has := n.gave(process, id)
	begun := time.Now()
	t, a, err := n.token(asking, c.key, id, minTTL)
	ended := time.Now()
	away := c.events.cutOff(n.number, begun, ended)
	switch {
	case err != nil:
		if ctx.Err() == nil && n.running() == process && !c.events.disturbed(n.number, begun, ended) {
			c.report.fail("%v gives no answer for %s: %v", n, id, err)
		}
		return token{}, a, errNotAsked
	case a.status == http.StatusOK:
		c.receive(n, process, id, t, begun)
		c.report.served(away)
		return t, a, nil
	}
	c.report.refused(a.code, away)
	if has && had.Expires.After(ended.Add(1500*time.Millisecond)) && !c.wire.dead(id) {
		c.report.fail("%v refuses %s with %d %s: %s, though the token that it gave lives for another %s",
			n, id, a.status, a.code, a.body, had.Expires.Sub(ended).Round(time.Millisecond))
	}
	c.mu.Lock()
	c.refusals = append(c.refusals, refusal{n.number, id, begun, ended, a})
	c.mu.Unlock()
	return token{}, a, errors.New("refused")
}

// receive looks at a token that a caller got.
func (c *cluster) receive(n *node, process int, id string, t token, begun time.Time) {
	ex, first, known := c.wire.receive(n.number, t.Value)
	switch {
	case !known:
		c.report.fail("%v gives for %s a token that was never issued", n, id)
	case ex.account != id:
		c.report.fail("%v gives for %s a token of %s", n, id, ex.account)
	case t.Expires.Before(begun):
		c.report.fail("%v gives for %s a token that ended %s ago", n, id, begun.Sub(t.Expires))
	case first && !c.wire.accepts(t.Value) && !c.wire.dead(id) && t.Expires.After(time.Now()):
		c.report.fail("%v gives for %s a token that the API refuses", n, id)
	default:
		n.remember(process, id, t)
	}
}
