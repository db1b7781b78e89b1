package broker

import (
	"context"
	"time"

	"github.com/jonboulle/clockwork"
)

const (
	// overslept is how late a deadline comes where the process was stopped, and
	// not merely busy.
	overslept = 500 * time.Millisecond
	// catchUp is how long is then left to read what has come in the meantime.
	catchUp = time.Second
)

// patience is a context that ends after the timeout. Where the process was
// stopped over it, an answer may have arrived that nobody could read, and with
// it the only valid refresh token: then it ends a little later.
func patience(clock clockwork.Clock, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	begun := clock.Now()
	end := func() { cancel(context.DeadlineExceeded) }
	timer := time.AfterFunc(timeout, func() {
		if clock.Since(begun) < timeout+overslept {
			end()
			return
		}
		time.AfterFunc(catchUp, end)
	})
	return ctx, func() {
		timer.Stop()
		cancel(context.Canceled)
	}
}
