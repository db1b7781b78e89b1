package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/badger"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// kept is what outlives a configuration: during a reload the old and the new
// one use it side by side. It is pooled under its store's directory, which is
// what only one of them can have open.
type kept struct {
	opened storeOptions
	store  store.Store
	vault  *vault.Vault
	keys   *vault.Keyring
	shared *broker.Shared
	// keyset seals, for each purpose apart.
	keyset *secret.Keyset
	// resealing follows its rotations.
	resealing *resealing
	// handles seals URLs that carry their own authority.
	handles *secret.Sealer
	// activity is of the last calls.
	activity *activity
	// rates counts calls of keys that may make only so many.
	rates rates
}

// storeOptions say what is opened. Two configurations that differ in them
// cannot share one store.
type storeOptions struct {
	dir     string
	reserve int64
	keyset  string
}

var pool = caddy.NewUsagePool()

// clock is the time that everything which is kept goes by. Tests put another
// in its place before they load a configuration.
var clock clockwork.Clock = clockwork.NewRealClock()

// acquire opens the store, or joins the configuration that has it open. What
// it returns as key is to be given to release.
func acquire(o storeOptions, log *slog.Logger) (k *kept, key string, err error) {
	key, err = canonical(o.dir)
	if err != nil {
		return nil, "", fmt.Errorf("opening store: %w", err)
	}
	value, loaded, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) { return open(o, log) })
	if err != nil {
		if loaded {
			_, _ = pool.Delete(key)
		}
		return nil, "", err
	}
	k = value.(*kept)
	if k.opened != o {
		release(key)
		return nil, "", fmt.Errorf("store %s is open with another reserve or keyset; restart to change them", o.dir)
	}
	return k, key, nil
}

// release gives back what acquire gave.
func release(key string) {
	_, _ = pool.Delete(key)
}

// canonical is the one name of a directory, which need not exist yet.
func canonical(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real, nil
	}
	return abs, nil
}

func open(o storeOptions, log *slog.Logger) (_ *kept, err error) {
	ctx := context.Background()
	st, err := badger.Open(o.dir, badger.Options{Reserve: o.reserve, Clock: clock, Logger: log})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = st.Close()
		}
	}()
	keyset, err := vault.OpenKeyset(ctx, st, o.keyset)
	if err != nil {
		return nil, err
	}
	v := vault.New(st, keyset.Sealer(secret.Records))
	keys, err := vault.LoadKeyring(ctx, v)
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // only tells intents apart
	owner := host + "/" + strconv.Itoa(os.Getpid())
	return &kept{
		opened: o, store: st, vault: v, keys: keys, keyset: keyset,
		resealing: startResealing(v, log),
		shared:    broker.NewShared(v, owner, clock, log),
		handles:   keyset.Sealer(secret.Handles),
		activity:  new(activity),
	}, nil
}

// Destruct closes the store after the last configuration that used it. Token
// requests under way are waited for: what they bring is saved first.
func (k *kept) Destruct() error {
	k.resealing.end()
	k.shared.Close()
	return k.store.Close()
}
