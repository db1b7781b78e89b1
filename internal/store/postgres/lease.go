package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// acquiring takes a lease that nobody holds. Whoever finds that somebody does
// need not wait for what is being written under it. The fence is taken anew once
// the row is locked: the one of the insertion may be older than that of a lease
// that was given out while it waited.
const acquiring = `INSERT INTO bellhop.leases AS l (key, owner, fence, expires)
	SELECT $1::text, $2::text, nextval('bellhop.numbers'), clock_timestamp() + $3::bigint * interval '1 microsecond'
	WHERE NOT EXISTS (SELECT FROM bellhop.leases WHERE key = $1::text AND expires > clock_timestamp())
	ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, fence = nextval('bellhop.numbers'),
		expires = clock_timestamp() + $3::bigint * interval '1 microsecond'
	WHERE l.expires <= clock_timestamp()
	RETURNING fence, expires`

// Acquire implements [store.Store].
func (s *Store) Acquire(ctx context.Context, key, owner string, ttl time.Duration) (store.Lease, error) {
	if err := errors.Join(ctx.Err(), store.CheckKey(key), checkPart("owner", owner), store.CheckTTL(ttl)); err != nil {
		return store.Lease{}, err
	}
	lease := store.Lease{Key: key, Owner: owner}
	err := s.transact(ctx, acquiring, []any{key, owner, ttl.Microseconds()}, &lease.Fence, &lease.Expires)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return store.Lease{}, fmt.Errorf("%w: %s", store.ErrLeased, key)
	case err != nil:
		return store.Lease{}, unavailable(ctx, "acquiring the lease of "+key, err)
	}
	return lease, nil
}

const renewing = `UPDATE bellhop.leases SET expires = clock_timestamp() + $4::bigint * interval '1 microsecond'
	WHERE key = $1::text AND owner = $2::text AND fence = $3::bigint AND expires > clock_timestamp()
	RETURNING expires`

// Renew implements [store.Store].
func (s *Store) Renew(ctx context.Context, lease store.Lease, ttl time.Duration) (store.Lease, error) {
	if err := errors.Join(ctx.Err(), store.CheckTTL(ttl)); err != nil {
		return store.Lease{}, err
	}
	if checkPart("lease", lease.Key+lease.Owner) != nil {
		return store.Lease{}, fmt.Errorf("%w: %q", store.ErrFenced, lease.Key)
	}
	err := s.transact(ctx, renewing, []any{lease.Key, lease.Owner, signed(lease.Fence), ttl.Microseconds()}, &lease.Expires)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return store.Lease{}, fmt.Errorf("%w: %s", store.ErrFenced, lease.Key)
	case err != nil:
		return store.Lease{}, unavailable(ctx, "renewing the lease of "+lease.Key, err)
	}
	return lease, nil
}

// releasing leaves the row: see the table.
const releasing = `UPDATE bellhop.leases SET owner = '', expires = '-infinity'
	WHERE key = $1::text AND owner = $2::text AND fence = $3::bigint
	RETURNING fence`

// Release implements [store.Store]. It goes on when ctx ends: whoever gives up
// because its context has ended should still release.
func (s *Store) Release(ctx context.Context, lease store.Lease) error {
	var fence uint64
	ctx = context.WithoutCancel(ctx)
	err := s.transact(ctx, releasing, []any{lease.Key, lease.Owner, signed(lease.Fence)}, &fence)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return unavailable(ctx, "releasing the lease of "+lease.Key, err)
	}
	return nil
}
