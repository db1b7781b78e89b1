package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// StoreID is the store's own name, by which a backup of it is told from one of
// another. It is made up when it is first asked for.
func (v *Vault) StoreID(ctx context.Context) (string, error) {
	for {
		r, err := v.store.Get(ctx, storeIDKey)
		if err == nil {
			return string(r.Value), nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return "", fmt.Errorf("reading the store's ID: %w", err)
		}
		id := rand.Text()
		_, err = v.store.Commit(ctx, nil, store.Write{Key: storeIDKey, Value: []byte(id)})
		if err == nil {
			return id, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return "", fmt.Errorf("writing the store's ID: %w", err)
		}
		// Somebody else was quicker: theirs counts.
	}
}
