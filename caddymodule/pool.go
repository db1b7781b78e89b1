package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/postgres"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// kept is what outlives a configuration: during a reload the old and the new
// one use it side by side. It is pooled under its store's directory, which only
// one of them can have open, or database.
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
	// following keeps keys those that other nodes leave; nil where there are
	// none.
	following *following
	// handles seals URLs that carry their own authority.
	handles *secret.Sealer
	// activity is of the last calls.
	activity *activity
	// rates counts calls of keys that may make only so many.
	rates rates
}

var pool = caddy.NewUsagePool()

// clock is the time that everything which is kept goes by. Tests put another
// in its place before they load a configuration.
var clock clockwork.Clock = clockwork.NewRealClock()

// acquire opens the store, or joins the configuration that has it open. What
// it returns as key is to be given to release.
func acquire(o storeOptions, log *slog.Logger) (k *kept, key string, err error) {
	key, err = o.key()
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
	if !k.opened.same(&o) {
		release(key)
		return nil, "", fmt.Errorf("store %s is open with other settings or another keyset; restart to change them", &o)
	}
	if shared, ok := k.store.(*postgres.Store); ok {
		shared.SetPasswords(o.dsn, o.direct)
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
	st, err := o.open(ctx, log)
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
	k := &kept{
		opened: o, store: st, vault: v, keys: keys, keyset: keyset,
		resealing: startResealing(v, log),
		shared:    broker.NewShared(v, owner(), clock, log),
		handles:   keyset.Sealer(secret.Handles),
		activity:  new(activity),
	}
	if shared, ok := st.(*postgres.Store); ok {
		k.shared.Follow(changes{v, shared})
		k.following = startFollowing(keys, log)
	}
	return k, nil
}

// Destruct closes the store after the last configuration that used it. Token
// requests under way are waited for: what they bring is saved first.
func (k *kept) Destruct() error {
	k.resealing.end()
	k.following.end()
	k.shared.Close()
	return k.store.Close()
}
