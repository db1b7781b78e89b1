package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// channel is where nodes tell each other that there are changes to read.
const channel = "bellhop"

const (
	// beginning does not depend on the default of the database: what is checked
	// after a lock was waited for must be what was committed meanwhile. Whether
	// writes are allowed is left to the database's default: an administrator
	// may have turned them off.
	beginning = "BEGIN ISOLATION LEVEL READ COMMITTED"
	// durably makes the transaction's commit wait for the disk where the
	// database would not. Settings that wait for more are left alone.
	durably = "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
)

// errUnknown: the server was asked to commit, and what it answered was not
// heard.
var errUnknown = errors.New("the outcome is unknown")

// Commit implements [store.Store].
//
// Once the batch is on its way it is not given up when ctx ends: who waits a
// little longer knows the outcome.
func (s *Store) Commit(ctx context.Context, lease *store.Lease, writes ...store.Write) ([]uint64, error) {
	if err := errors.Join(ctx.Err(), store.CheckWrites(writes)); err != nil {
		return nil, err
	}
	keys, values, expects := make([]string, len(writes)), make([][]byte, len(writes)), make([]int64, len(writes))
	for i, w := range writes {
		keys[i], values[i], expects[i] = w.Key, w.Value, signed(w.Expect)
	}
	args := []any{nil, nil, nil, keys, values, expects}
	if lease != nil {
		args[0], args[1], args[2] = lease.Key, lease.Owner, signed(lease.Fence)
	}
	var version uint64
	err := s.transact(ctx, "SELECT bellhop.commit($1::text, $2::text, $3::bigint, $4::text[], $5::bytea[], $6::bigint[])", args, &version)
	if err != nil {
		return nil, commitError(ctx, lease, err)
	}
	s.changes.ring()
	versions := make([]uint64, len(writes))
	for i, w := range writes {
		if w.Value != nil {
			versions[i] = version
		}
	}
	return versions, nil
}

// signed is a version or a fence as the database has it. [store.AnyVersion] is
// -1; what was never given out matches nothing.
func signed(n uint64) int64 { return int64(n) } //nolint:gosec // see above

func commitError(ctx context.Context, lease *store.Lease, err error) error {
	answer, _ := errors.AsType[*pgconn.PgError](err)
	switch code, _ := sqlState(err); code {
	case codeConflict:
		return fmt.Errorf("%w: %s", store.ErrConflict, answer.Message)
	case codeFenced:
		return fmt.Errorf("%w: %s", store.ErrFenced, lease.Key)
	}
	return unavailable(ctx, "committing", err)
}

// transact runs a statement as a transaction of its own, in one round trip,
// and tells other nodes. It is durable when there is no error; one that wraps
// errUnknown leaves open whether it was done, after any other it was not.
//
// The notification is a transaction of its own, behind: within the first one
// it would keep all nodes' commits from being made durable together, for the
// server lets one transaction at a time commit notifications.
func (s *Store) transact(ctx context.Context, sql string, args []any, dest ...any) error {
	return s.try(ctx, undone, func(ctx context.Context) error {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return notSentError{err}
		}
		defer conn.Release()
		// It is on its way: from here on the caller waits for the outcome.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.patience)
		defer cancel()
		var batch pgx.Batch
		for _, statement := range []string{beginning, durably} {
			batch.Queue(statement)
		}
		batch.Queue(sql, args...)
		batch.Queue("COMMIT")
		batch.Queue("SELECT pg_notify($1::text, '')", channel)
		return outcome(ctx, conn, &batch, dest)
	})
}

// outcome sends the batch and reads what became of it.
func outcome(ctx context.Context, conn *pgxpool.Conn, batch *pgx.Batch, dest []any) error {
	results := conn.SendBatch(ctx, batch)
	found, err := committed(results, dest)
	// What comes after the commit is not worth an error.
	_ = results.Close()
	switch {
	case err == nil:
		return found
	case refused(err):
		// The connection is as good as before once its transaction has ended.
		_, _ = conn.Exec(ctx, "ROLLBACK")
		return err
	case pgconn.SafeToRetry(err):
		return notSentError{err}
	default:
		return unknownError{err}
	}
}

// committed reads the results up to that of COMMIT. found is [pgx.ErrNoRows]
// where the statement gave no row.
func committed(results pgx.BatchResults, dest []any) (found, err error) {
	for range 2 {
		if _, err := results.Exec(); err != nil {
			return nil, err
		}
	}
	found = results.QueryRow().Scan(dest...)
	if found != nil && !errors.Is(found, pgx.ErrNoRows) {
		return nil, found
	}
	tag, err := results.Exec()
	if err == nil && tag.String() != "COMMIT" {
		err = fmt.Errorf("the database answered %s to COMMIT", tag)
	}
	return found, err
}

// notSentError: the server never got the statement.
type notSentError struct{ error }

func (e notSentError) Unwrap() error { return e.error }

// unknownError is errUnknown for the reason that it wraps.
type unknownError struct{ error }

func (e unknownError) Unwrap() error { return e.error }

func (unknownError) Is(target error) bool { return target == errUnknown }

// undone reports errors after which a transaction may be tried again, because
// it was certainly not committed.
func undone(err error) bool {
	_, unsent := errors.AsType[notSentError](err)
	return again(err) || unsent && !unconnected(err) && !errors.Is(err, context.DeadlineExceeded)
}
