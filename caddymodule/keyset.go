package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// rotateKeyset is POST /v1/keyset/rotate of the admin endpoint alone: whoever
// rotates must be able to keep a copy of the file.
func (a *App) rotateKeyset(s *service, r *http.Request) (any, error) {
	if callOf(r.Context()).route != adminRoute {
		return nil, problem.New(problem.NotAllowed, "the keyset is rotated on Caddy's admin endpoint: run `bellhop oauth keyset rotate` on the machine of the server")
	}
	if err := refuseToRotateForOthers(s, r); err != nil {
		return nil, err
	}
	// Whoever hangs up must not leave it half done.
	if err := vault.RotateKeyset(context.WithoutCancel(r.Context()), s.store, s.keyset); err != nil {
		p := problem.New(problem.StoreUnavailable, fmt.Sprintf("the keyset %s could not be rotated; the server's log says why", s.keyset.Path()))
		return nil, p.Because(err)
	}
	s.resealing.again()
	ids := s.keyset.KeyIDs(secret.Records)
	return answer("keyset", s.keyset.Path(), "key", ids[0], "older", ids[1:]), nil
}

// refuseToRotateForOthers refuses a rotation that other nodes do not learn of:
// each has the keyset in a file of its own, and could not open what is sealed
// with keys that the file lacks.
func refuseToRotateForOthers(s *service, r *http.Request) error {
	alone, err := yesOrNo(r, "alone")
	if err != nil {
		return err
	}
	if s.following == nil || alone {
		return nil
	}
	return problem.New(problem.Conflict, "other nodes on this database could not open what is sealed with new keys: stop them, run `bellhop oauth keyset rotate --alone` here, copy "+
		s.keyset.Path()+" to them, and start them again")
}

// resealing seals anew, in the background, what older keys have sealed.
type resealing struct {
	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}
}

// resealPause is how long it waits after the store failed.
const resealPause = time.Minute

// startResealing goes on where the process before left off.
func startResealing(v *vault.Vault, log *slog.Logger) *resealing {
	ctx, stop := context.WithCancel(context.Background())
	r := &resealing{wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for {
			var again <-chan time.Time
			switch n, err := v.Reseal(ctx); {
			case ctx.Err() != nil:
				return
			case err != nil:
				log.Error("sealing records with the new key of the keyset; it is tried again", "error", err)
				again = clock.After(resealPause)
			case n > 0:
				log.Info("records are sealed with the new key of the keyset", "records", n)
			}
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			case <-again:
			}
		}
	}()
	return r
}

// again says that the keyset was rotated.
func (r *resealing) again() {
	select {
	case r.wake <- struct{}{}:
	default:
		// It has not yet begun to follow the last one.
	}
}

// end waits until it uses the store no more.
func (r *resealing) end() {
	r.stop()
	<-r.done
}
