package fakeprovider

import (
	"context"
	"sync"
)

// gates hold requests until they are released, by name.
type gates struct {
	mu      sync.Mutex
	closed  map[string]*gate
	changed chan struct{} // closed and replaced whenever a count changes
}

type gate struct {
	waiting int
	open    chan struct{}
}

func newGates() *gates {
	return &gates{closed: map[string]*gate{}, changed: make(chan struct{})}
}

func (g *gates) broadcast() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// wait holds its caller until the gate named name is released or ctx ends.
func (g *gates) wait(ctx context.Context, name string) error {
	g.mu.Lock()
	held := g.closed[name]
	if held == nil {
		held = &gate{open: make(chan struct{})}
		g.closed[name] = held
	}
	held.waiting++
	g.broadcast()
	g.mu.Unlock()
	select {
	case <-held.open:
		return nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		held.waiting--
		g.broadcast()
		return ctx.Err()
	}
}

// release lets go those who wait at the gate now, and says how many. Those who
// come later wait for the next release.
func (g *gates) release(name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := g.closed[name]
	if held == nil {
		return 0
	}
	delete(g.closed, name)
	close(held.open)
	g.broadcast()
	return held.waiting
}

func (g *gates) releaseAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, held := range g.closed {
		delete(g.closed, name)
		close(held.open)
	}
	g.broadcast()
}

// await returns once at least n wait at the gate.
func (g *gates) await(ctx context.Context, name string, n int) error {
	for {
		g.mu.Lock()
		held, changed := g.closed[name], g.changed
		enough := n <= 0 || (held != nil && held.waiting >= n)
		g.mu.Unlock()
		if enough {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
