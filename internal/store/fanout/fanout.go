// Package fanout hands a store's events to everyone who watches it.
package fanout

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// buffer is how many events wait for a consumer before it counts as slow.
const buffer = 256

// FanOut hands events to everyone who watches. Nobody is waited for. The zero
// value is ready for use.
type FanOut struct {
	mu       sync.Mutex
	watchers map[*watcher]struct{}
	closed   bool
}

type watcher struct {
	prefix string
	// events has room for buffer events and the one that says that more were
	// lost.
	events chan store.Event
	// lost is set while that event has not been received.
	lost bool
	// stop ends the wait for the end of the watcher's context.
	stop func() bool
}

// Subscribe returns the events that are published from now on, as
// [store.Store] says of Watch.
func (f *FanOut) Subscribe(ctx context.Context, prefix string) (<-chan store.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("watching %q: %w: closed", prefix, store.ErrUnavailable)
	}
	w := &watcher{prefix: prefix, events: make(chan store.Event, buffer+1)}
	if f.watchers == nil {
		f.watchers = make(map[*watcher]struct{})
	}
	f.watchers[w] = struct{}{}
	w.stop = context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.end(w)
	})
	return w.events, nil
}

// end closes the channel of w, once; f.mu is held.
func (f *FanOut) end(w *watcher) {
	if _, ok := f.watchers[w]; ok {
		delete(f.watchers, w)
		close(w.events)
	}
}

// Publish hands out events in their order.
func (f *FanOut) Publish(events []store.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		for _, e := range events {
			if strings.HasPrefix(e.Key, w.prefix) {
				w.send(e)
			}
		}
	}
}

// Missed tells everyone that events may have been missed.
func (f *FanOut) Missed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w.send(store.Event{})
	}
}

// Watched reports whether anyone watches.
func (f *FanOut) Watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watchers) > 0
}

// send never blocks: only Publish and Missed send, so that what len shows can
// but shrink. A consumer that has yet to receive the event with the empty key
// will read this change when it does.
func (w *watcher) send(e store.Event) {
	if w.lost && len(w.events) > 0 {
		return
	}
	w.lost = len(w.events) == buffer
	if w.lost {
		e = store.Event{}
	}
	w.events <- e
}

// Close ends all subscriptions, and those to come.
func (f *FanOut) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for w := range f.watchers {
		w.stop()
		f.end(w)
	}
}
