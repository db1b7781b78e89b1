package postgres

import (
	"context"
	"errors"
)

// trimming removes the changes that were visible at a position, if that is
// older than the horizon. By age alone it could remove one that was long in
// being committed before anybody had read it.
const trimming = `DELETE FROM bellhop.changes
	WHERE txid < pg_snapshot_xmax($1::pg_snapshot) AND pg_visible_in_snapshot(txid, $1::pg_snapshot)
	AND (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint = $2::bigint
	AND (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $3::bigint >= $4::bigint`

// sweeping forgets leases that ended so long ago that nobody can still be at
// their rows.
const sweeping = "DELETE FROM bellhop.leases WHERE expires < clock_timestamp() - interval '1 day'"

// trimNowAndThen removes what nobody needs until ctx ends.
func (s *Store) trimNowAndThen(ctx context.Context) {
	var last position
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.clock.After(trimPause):
		}
		next, err := s.trim(ctx, last)
		if err != nil && ctx.Err() == nil {
			s.log.Debug("trimming the changes", "store", s.dsn.String(), "error", flat(err))
		}
		last = next
	}
}

// trim removes what was visible at last, and returns the position from which
// the next trim may go on.
func (s *Store) trim(ctx context.Context, last position) (position, error) {
	var err error
	if last.snapshot != "" {
		err = s.try(ctx, again, func(ctx context.Context) error {
			_, err := s.pool.Exec(ctx, trimming, last.snapshot, last.server, last.taken, s.changes.horizon.Microseconds())
			return err
		})
	}
	err = errors.Join(err, s.try(ctx, again, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, sweeping)
		return err
	}))
	next, locating := s.locate(ctx)
	return next, errors.Join(err, locating)
}
