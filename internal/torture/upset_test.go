package torture

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// upsets are what happens between kills.
var upsets = []struct {
	name   string
	weight int
	do     func(*lane, context.Context) error
}{
	{"provider's fault", 5, (*lane).fault},
	{"reload", 3, (*lane).reload},
	{"SIGTERM", 3, (*lane).terminate},
	{"full disk", 1, (*lane).fillDisk},
}

// upset draws one of the upsets and does it.
func (l *lane) upset(ctx context.Context) error {
	n := 0
	for _, u := range upsets {
		n += u.weight
	}
	n = l.rng.IntN(n)
	for _, u := range upsets {
		if n -= u.weight; n < 0 {
			if err := u.do(l, ctx); err != nil {
				return fmt.Errorf("before kill %d: %s: %w", l.kills.Load(), u.name, err)
			}
			return nil
		}
	}
	return nil
}

// faults are the provider's.
var faults = []struct {
	name string
	fakeprovider.Fault
}{
	{"drops the connection", fakeprovider.Fault{Kind: fakeprovider.Drop}},
	{"drops the connection after committing", fakeprovider.Fault{Kind: fakeprovider.Drop, Commit: true}},
	{"breaks its answer off", fakeprovider.Fault{Kind: fakeprovider.Truncate}},
	{"answers 429", fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 429, Header: map[string]string{"Retry-After": "1"}}},
	{"answers 500", fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 500}},
	{"answers 503 after committing", fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 503, Commit: true}},
	{"answers HTML", fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 200, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>Please log in</html>"}},
	{"redirects", fakeprovider.Redirect(307, "https://elsewhere.example/token")},
	{"hangs", fakeprovider.Fault{Kind: fakeprovider.Hang}},
	{"hangs after committing", fakeprovider.Fault{Kind: fakeprovider.Hang, Commit: true}},
}

// fault has one token request meet a fault, and sometimes the kill comes
// before that is over.
func (l *lane) fault(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	f, target := faults[l.rng.IntN(len(faults))], l.pick(l.rng)
	l.report.upset("the provider " + f.name)
	f.Grant = target
	l.expectTrouble()
	if _, err := l.wire.QueueFaults(f.Fault); err != nil {
		return err
	}
	for len(l.wire.Faults()) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.call(ctx, target, time.Hour)
		sleep(ctx, 10*time.Millisecond)
	}
	if l.rng.IntN(2) == 0 {
		return nil
	}
	return l.recover(ctx, false)
}

// holdUp brings an account's renewal to a point and leaves it there.
func (l *lane) holdUp(ctx context.Context) (*hold, error) {
	target := l.pick(l.rng)
	h := l.wire.points.arm(target, l.somewhere())
	for {
		called := make(chan struct{})
		go func() {
			defer close(called)
			l.call(ctx, target, time.Hour)
		}()
		select {
		case <-h.arrived:
			return h, nil
		case <-called:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		sleep(ctx, 10*time.Millisecond)
	}
}

// reload changes the configuration in the middle of a renewal.
func (l *lane) reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l.report.upset("reload")
	h, err := l.holdUp(ctx)
	if err != nil {
		return err
	}
	loaded := make(chan error, 1)
	go func() { loaded <- l.running().reload(ctx) }()
	sleep(ctx, time.Duration(l.rng.IntN(50))*time.Millisecond)
	l.wire.points.release(h)
	if err := <-loaded; err != nil {
		return err
	}
	return l.recover(ctx, false)
}

// terminate asks the process to end in the middle of a renewal: nothing at all
// may be lost by that.
func (l *lane) terminate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l.report.upset("SIGTERM")
	h, err := l.holdUp(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.stopping = true
	l.mu.Unlock()
	p := l.running()
	if err := p.terminate(); err != nil {
		return err
	}
	sleep(ctx, time.Duration(l.rng.IntN(50))*time.Millisecond)
	l.wire.points.release(h)
	select {
	case <-p.exited:
	case <-ctx.Done():
		return fmt.Errorf("the process has not ended: %w\n%s", ctx.Err(), p.lastWords())
	}
	l.leave()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		l.wrong(h.account, "the process ended with %d when it was asked to:\n%s", code, p.lastWords())
	}
	p.client.CloseIdleConnections()
	if err := l.drain(ctx); err != nil {
		return err
	}
	lasts := l.wire.lasts()
	next, found, err := l.start(ctx)
	if err != nil {
		return err
	}
	l.admit(next)
	for id, h := range found {
		last := lasts[id]
		switch {
		case last.arrived.Before(p.began):
			// This process has not renewed it.
		case h.Intent != nil && !h.Intent.Lost && !last.arrived.Before(h.Intent.Since):
			l.wrong(id, "the token request with refresh token %d has no result after a termination", last.presented)
		case h.Intent == nil && !last.answered.IsZero() && !slices.Contains(h.Access, last.access):
			l.wrong(id, "the answer to refresh token %d is not in the store after a termination", last.presented)
		}
	}
	return l.recover(ctx, false)
}
