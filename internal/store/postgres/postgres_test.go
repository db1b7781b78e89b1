package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/postgres/postgrestest"
	"github.com/bellhop-proxy/bellhop/internal/store/storetest"
)

// shared is the cluster of all tests that do not stop it; nil without the
// programs.
var shared *postgrestest.Cluster

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if _, err := postgrestest.Find("initdb"); err == nil {
		dir, err := os.MkdirTemp("", "bellhop-postgres-")
		if err == nil {
			defer os.RemoveAll(dir)
			err = os.Chmod(dir, 0o755)
		}
		if err == nil {
			shared, err = postgrestest.Start(filepath.Join(dir, "primary"), postgrestest.Fast...)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = shared.Stop() }()
	}
	return m.Run()
}

// database is the connection string of an empty database of the shared
// cluster.
func database(t *testing.T) string {
	t.Helper()
	postgrestest.Need(t, "initdb", "postgres", "pg_ctl")
	return shared.Database(t)
}

func parsed(t *testing.T, text string) DSN {
	t.Helper()
	dsn, err := ParseDSN(text)
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

// opened is a store until the test ends.
func opened(t *testing.T, dsn string, opts Options) *Store {
	t.Helper()
	st, err := Open(t.Context(), parsed(t, dsn), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func put(t *testing.T, st store.Store, key, value string) uint64 {
	t.Helper()
	versions, err := st.Commit(t.Context(), nil, store.Write{Key: key, Value: []byte(value), Expect: store.AnyVersion})
	if err != nil {
		t.Fatal(err)
	}
	return versions[0]
}

// place is a database as the contract wants it. Its leases end by the
// database's clock, so that moving it on is moving their ends back.
func place(t *testing.T, direct, dsn string, opts Options) storetest.Place {
	return storetest.Place{
		Open: func(t *testing.T) store.Store {
			st, err := Open(t.Context(), parsed(t, dsn), opts)
			if err != nil {
				t.Fatal(err)
			}
			return st
		},
		Advance: func(d time.Duration) {
			postgrestest.Exec(t, direct, "UPDATE bellhop.leases SET expires = expires - $1::bigint * interval '1 microsecond'", d.Microseconds())
		},
	}
}

func TestStoreThatPolls(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		dsn := database(t)
		return place(t, dsn, dsn, Options{})
	})
}

func TestStoreThatListens(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		dsn := database(t)
		return place(t, dsn, dsn, Options{Direct: parsed(t, dsn)})
	})
}

func TestStoreBehindAPooler(t *testing.T) {
	postgrestest.Need(t, "initdb", "postgres", "pg_ctl")
	pooler := shared.Pool(t)
	storetest.Run(t, func(t *testing.T) storetest.Place {
		direct := database(t)
		dsn := parsed(t, direct)
		return place(t, direct, pooler.DSN(dsn.pool.ConnConfig.Database), Options{Direct: dsn})
	})
}
