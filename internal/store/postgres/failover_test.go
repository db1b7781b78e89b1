package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/postgres/postgrestest"
)

func TestFailoverLosesNothingThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	primary := postgrestest.Run(t)
	dsn := primary.Database(t)
	standby := primary.Standby(t, "standby1")
	primary.Configure(t, "synchronous_standby_names = 'standby1'")
	awaitSetting(t, dsn, "synchronous_standby_names", "standby1")
	// The standby stands first: it must not be taken while it takes no writes.
	both := strings.Replace(dsn, primary.Addr(), standby.Addr()+","+primary.Addr(), 1)
	st := opened(t, both, Options{Direct: parsed(t, both)})
	events := watch(t, st, "last")
	lease, err := st.Acquire(t.Context(), "lease", "one", time.Hour)
	if err != nil {
		t.Fatal(err)
	}

	// Writers go on through the failover.
	ctx, stop := context.WithCancel(t.Context())
	const writers = 4
	acknowledged := make([]map[string]uint64, writers)
	var writing sync.WaitGroup
	for w := range writers {
		acknowledged[w] = make(map[string]uint64)
		writing.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprintf("w%d/%d", w, n)
				versions, err := st.Commit(context.Background(), nil, store.Write{Key: key, Value: []byte("v"), Expect: store.AnyVersion})
				if err == nil {
					acknowledged[w][key] = versions[0]
				} else if !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("Commit: %v", err)
				}
			}
		})
	}
	before := put(t, st, "before", "v")
	if err := primary.Stop(); err != nil {
		t.Fatal(err)
	}
	standby.Promote(t)
	for began := time.Now(); ; {
		_, err := st.Commit(t.Context(), nil, store.Write{Key: "after", Value: []byte("v"), Expect: store.AnyVersion})
		if err == nil {
			break
		}
		unavailableSaying(t, err)
		if time.Since(began) > soon {
			t.Fatalf("no write goes through after the failover: %v", err)
		}
	}
	stop()
	writing.Wait()

	for w := range acknowledged {
		for key, version := range acknowledged[w] {
			if rec, err := st.Get(t.Context(), key); err != nil || rec.Version != version {
				t.Errorf("%s was acknowledged at %d, and is %+v, %v", key, version, rec, err)
			}
		}
	}
	if version := put(t, st, "before", "v"); version <= before {
		t.Errorf("version went from %d to %d", before, version)
	}
	if _, err := st.Acquire(t.Context(), "lease", "two", time.Hour); !errors.Is(err, store.ErrLeased) {
		t.Errorf("the lease was lost: %v", err)
	}
	if _, err := st.Commit(t.Context(), &lease, store.Write{Key: "last", Value: []byte("v")}); err != nil {
		t.Errorf("Commit under the lease: %v", err)
	}
	expect(t, events, store.Event{}) // it is another server
	if err := st.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

func TestReadySaysWhyNot(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Run(t, postgrestest.Fast...)
	dsn := cluster.Database(t)
	name := parsed(t, dsn).pool.ConnConfig.Database
	clock := clockwork.NewFakeClock()
	st := opened(t, dsn, Options{Clock: clock})
	if err := st.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}

	// New connections get the setting: those that there are keep theirs.
	postgrestest.Exec(t, dsn, "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
	st.pool.Reset()
	if err := st.Ready(t.Context()); err != nil {
		t.Errorf("the database was asked twice within a second: %v", err)
	}
	clock.Advance(readyAge)
	unavailableSaying(t, st.Ready(t.Context()), "read-only")

	postgrestest.Exec(t, cluster.DSN("postgres"), "ALTER DATABASE "+name+" RESET default_transaction_read_only")
	if _, err := st.Commit(t.Context(), nil, store.Write{Key: "k", Value: []byte("v"), Expect: store.AnyVersion}); err == nil {
		t.Error("a write went over a connection that is read-only")
	}
	clock.Advance(readyAge)
	if err := st.Ready(t.Context()); err != nil {
		t.Errorf("after the end of read-only: %v", err)
	}

	standby := cluster.Standby(t, "standby1")
	asked := strings.Replace(dsn, cluster.Addr(), standby.Addr(), 1)
	reading := opened(t, asked, Options{})
	unavailableSaying(t, reading.Ready(t.Context()), "standby", standby.Addr())
	if _, err := reading.Get(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a standby is not read: %v", err)
	}

	_ = cluster.Stop()
	clock.Advance(readyAge)
	unavailableSaying(t, st.Ready(t.Context()), cluster.Addr())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	clock.Advance(readyAge)
	if err := st.Ready(ctx); err == nil {
		t.Error("ready, for a caller who has left, without a database")
	}
}
