package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"
)

func TestPatienceEndsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := patience(clockwork.NewRealClock(), time.Minute)
		defer cancel()
		advance(time.Minute - time.Millisecond)
		if ctx.Err() != nil {
			t.Errorf("it ended early: %v", context.Cause(ctx))
		}
		advance(2 * time.Millisecond)
		if cause := context.Cause(ctx); cause != context.DeadlineExceeded { //nolint:errorlint // as it is
			t.Errorf("the cause is %v", cause)
		}
	})
}

// A process that is stopped finds its deadline over when it goes on.
func TestPatienceLeavesTimeToReadAfterAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := clockwork.NewFakeClock()
		ctx, cancel := patience(stopped, time.Minute)
		defer cancel()
		stopped.Advance(2 * time.Minute)
		advance(time.Minute + catchUp - time.Millisecond)
		if ctx.Err() != nil {
			t.Errorf("it ended at once: %v", context.Cause(ctx))
		}
		advance(2 * time.Millisecond)
		if cause := context.Cause(ctx); cause != context.DeadlineExceeded { //nolint:errorlint // as it is
			t.Errorf("the cause is %v", cause)
		}
	})
}
