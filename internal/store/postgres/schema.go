package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/jackc/pgx/v5"
)

// The migrations, in the order of their names. One that was released is never
// changed, and none goes back.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

// oldestServer has what the change log needs: 64-bit transaction IDs.
const oldestServer = 13_00_00

// migrationLock keeps nodes that start together from migrating together. The
// number is any that nobody else uses in this database.
const migrationLock int64 = 0x62656c6c686f70 // "bellhop"

// migrations are the texts of the files; the first makes version 1.
func migrations() ([]string, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	texts := make([]string, len(names))
	for i, name := range names {
		if want := fmt.Sprintf("%04d.sql", i+1); path.Base(name) != want {
			return nil, fmt.Errorf("migration %s stands where %s should", name, want)
		}
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		texts[i] = string(text)
	}
	return texts, nil
}

// migrate brings the schema to this version's. All that is missing is one
// transaction: a node that dies in it leaves nothing half done, and others
// that start meanwhile wait.
func migrate(ctx context.Context, db beginner) error {
	texts, err := migrations()
	if err != nil {
		return err
	}
	if err := checkServer(ctx, db); err != nil {
		return err
	}
	// Most starts find nothing to do, and need neither the lock nor the right
	// to create.
	version, err := schemaVersion(ctx, db)
	if err != nil || version == len(texts) {
		return err
	}
	return pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1::bigint)", migrationLock); err != nil {
			return err
		}
		version, err := schemaVersion(ctx, tx)
		if err != nil {
			return err
		}
		if version > len(texts) {
			return newerSchemaError(version, len(texts))
		}
		for i := version; i < len(texts); i++ {
			// Several statements in one go are for the simple protocol.
			if _, err := tx.Conn().PgConn().Exec(ctx, texts[i]).ReadAll(); err != nil {
				return fmt.Errorf("migrating the schema to version %d: %w", i+1, err)
			}
		}
		_, err = tx.Exec(ctx, "UPDATE bellhop.schema SET version = $1::int", len(texts))
		return err
	})
}

// beginner is a pool or a transaction.
type beginner interface {
	queryer
	Begin(ctx context.Context) (pgx.Tx, error)
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// schemaVersion is 0 where there is no schema yet.
func schemaVersion(ctx context.Context, db queryer) (int, error) {
	texts, err := migrations()
	if err != nil {
		return 0, err
	}
	// to_regclass would go by what this session remembers of before it waited
	// for the lock.
	const looking = `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'bellhop' AND c.relname = 'schema')`
	var exists bool
	if err := db.QueryRow(ctx, looking).Scan(&exists); err != nil || !exists {
		return 0, err
	}
	var version int
	if err := db.QueryRow(ctx, "SELECT version FROM bellhop.schema").Scan(&version); err != nil {
		return 0, err
	}
	if version > len(texts) {
		return 0, newerSchemaError(version, len(texts))
	}
	return version, nil
}

func newerSchemaError(version, known int) error {
	return unfit("the schema has version %d and this Bellhop knows %d: run the version of Bellhop that migrated it, or a newer one", version, known)
}

// unfitError: the database answers, and cannot be used.
type unfitError struct{ says string }

func (e *unfitError) Error() string { return e.says }

func unfit(format string, args ...any) error { return &unfitError{fmt.Sprintf(format, args...)} }

// checkServer reports what the schema could not live with.
func checkServer(ctx context.Context, db queryer) error {
	var (
		version  int
		encoding string
	)
	err := db.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')").Scan(&version, &encoding)
	switch {
	case err != nil:
		return err
	case version < oldestServer:
		return unfit("the server is PostgreSQL %d: at least %d is needed", version/1_00_00, oldestServer/1_00_00)
	case encoding != "UTF8":
		return unfit("the database's encoding is %s: make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	return nil
}
