package caddymodule

import (
	"context"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/broker"
)

const (
	// secretForetold is how long before a client secret ends people are told.
	secretForetold = 30 * 24 * time.Hour
	// secretLooked is how often it is looked.
	secretLooked = 6 * time.Hour
)

// foresee tells of client secrets that end soon, once in the life of a
// configuration, until ctx ends. (Grants that lapse are the broker's to tell
// of.)
func (a *App) foresee(ctx context.Context) {
	ticker := clock.NewTicker(secretLooked)
	defer ticker.Stop()
	told := make(map[string]bool)
	for {
		for name, ends := range a.run.secretsEnd {
			if !told[name] && clock.Until(ends) < secretForetold {
				told[name] = true
				observer{a}.Happened(broker.Event{Name: broker.GrantExpiring, Provider: name, Expires: ends})
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
		}
	}
}
