package vault

import (
	"context"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// Acquire takes the lease of the account's grant for owner, or
// [store.ErrLeased].
func (v *Vault) Acquire(ctx context.Context, id, owner string, life time.Duration) (store.Lease, error) {
	return v.store.Acquire(ctx, grantPrefix+id, owner, life)
}

// Renew makes a lease that still holds last a life from now, or
// [store.ErrFenced].
func (v *Vault) Renew(ctx context.Context, lease store.Lease, life time.Duration) (store.Lease, error) {
	return v.store.Renew(ctx, lease, life)
}

// Release ends a lease.
func (v *Vault) Release(ctx context.Context, lease store.Lease) error {
	return v.store.Release(ctx, lease)
}
