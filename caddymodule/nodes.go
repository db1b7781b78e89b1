package caddymodule

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store/postgres"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// owner names this process as no other on its store is: containers may have
// one host name and process ID.
func owner() string {
	host, _ := os.Hostname()
	return host + "/" + strconv.Itoa(os.Getpid()) + "/" + rand.Text()[:8]
}

// changes are those of grants in a database that several nodes share.
type changes struct {
	*vault.Vault
	store *postgres.Store
}

func (c changes) Heard() time.Time { return c.store.Heard() }

// following keeps the stored keys those of the store, whichever node changes
// them.
type following struct {
	stop context.CancelFunc
	done chan struct{}
}

// followAgain is how long it waits after the store failed.
const followAgain = time.Second

func startFollowing(keys *vault.Keyring, log *slog.Logger) *following {
	ctx, stop := context.WithCancel(context.Background())
	f := &following{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		for {
			err := keys.Follow(ctx)
			if ctx.Err() != nil {
				return
			}
			log.Warn("following what other nodes do with keys; it is tried again", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-clock.After(followAgain):
			}
		}
	}()
	return f
}

// end waits until it uses the store no more.
func (f *following) end() {
	if f == nil {
		return
	}
	f.stop()
	<-f.done
}
