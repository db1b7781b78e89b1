package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/quick"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/postgres/postgrestest"
)

func TestCommitsThatMeetDoNotDeadlock(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	st, err := Open(t.Context(), parsed(t, dsn), Options{})
	if err != nil {
		t.Fatal(err)
	}
	between := session(t, dsn)
	// The first round finds no records, the second those of the first.
	for range 2 {
		execute(t, between, "BEGIN")
		execute(t, between, commitOne, "m")
		var both sync.WaitGroup
		for i, keys := range [][]string{{"z", "m", "a"}, {"a", "z"}} {
			both.Go(func() {
				writes := make([]store.Write, len(keys))
				for i, key := range keys {
					writes[i] = store.Write{Key: key, Value: []byte("v"), Expect: store.AnyVersion}
				}
				if _, err := st.Commit(t.Context(), nil, writes...); err != nil {
					t.Errorf("Commit: %v", err)
				}
			})
			awaitBlocked(t, dsn, i+1)
		}
		execute(t, between, "COMMIT")
		both.Wait()
	}
	if n := counted(t, st, dsn, "deadlocks"); n > 0 {
		t.Errorf("%d deadlocks", n)
	}
}

func TestCommitLeavesNoPlaceholders(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	st := opened(t, dsn, Options{})
	put(t, st, "c", "v")
	for _, expect := range []uint64{0, 7} {
		_, _ = st.Commit(t.Context(), nil, store.Write{Key: "a"}, store.Write{Key: "b", Value: []byte("v"), Expect: expect}, store.Write{Key: "c", Expect: store.AnyVersion})
	}
	var left string
	postgrestest.Scan(t, dsn, "SELECT string_agg(key, ',') FROM bellhop.records", &left)
	if left != "b" {
		t.Errorf("left are %s", left)
	}
	var changes string
	postgrestest.Scan(t, dsn, "SELECT array_to_string(keys, ',') FROM bellhop.changes ORDER BY number DESC LIMIT 1", &changes)
	if changes != "b,c" {
		t.Errorf("the last batch changed %s", changes)
	}
}

func TestVersionsGrowThoughAnotherTransactionWaited(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	st := opened(t, dsn, Options{})
	first := session(t, dsn)
	execute(t, first, "BEGIN")
	execute(t, first, commitOne, "k")
	committed := make(chan uint64)
	go func() {
		versions, err := st.Commit(context.Background(), nil, store.Write{Key: "k", Value: []byte("v"), Expect: store.AnyVersion})
		if err != nil {
			t.Errorf("Commit: %v", err)
			versions = []uint64{0}
		}
		committed <- versions[0]
	}()
	awaitBlocked(t, dsn, 1)
	// The one that waits must not have taken its number yet.
	execute(t, first, "SELECT bellhop.commit(NULL, NULL, NULL, ARRAY['k'], ARRAY[NULL::bytea], ARRAY[-1::bigint])") //nolint:dupword // no lease
	execute(t, first, commitOne, "k")
	var version uint64
	if err := first.QueryRow(t.Context(), "SELECT version FROM bellhop.records WHERE key = 'k'").Scan(&version); err != nil {
		t.Fatal(err)
	}
	execute(t, first, "COMMIT")
	if second := <-committed; second <= version {
		t.Errorf("version went from %d to %d", version, second)
	}
}

// awaitBlocked returns when so many wait for locks in the database.
func awaitBlocked(t *testing.T, dsn string, want int) {
	t.Helper()
	for began := time.Now(); ; {
		var n int
		postgrestest.Scan(t, dsn, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", &n)
		if n >= want {
			return
		}
		if time.Since(began) > soon {
			t.Fatalf("%d wait, want %d", n, want)
		}
	}
}

func TestFenceIsCheckedInTheTransactionOfTheWrite(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	st := opened(t, dsn, Options{})
	lease, err := st.Acquire(t.Context(), "grant/a", "one", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	// A write under the lease is under way when the lease ends.
	writing := session(t, dsn)
	execute(t, writing, "BEGIN")
	execute(t, writing, "SELECT bellhop.commit($1::text, $2::text, $3::bigint, ARRAY['k'], ARRAY['old'::bytea], ARRAY[-1::bigint])", lease.Key, lease.Owner, int64(lease.Fence))
	taken := make(chan error)
	go func() {
		_, err := opened(t, dsn, Options{}).Acquire(context.Background(), "grant/a", "two", time.Minute)
		taken <- err
	}()
	select {
	case err := <-taken:
		if !errors.Is(err, store.ErrLeased) {
			t.Fatalf("Acquire: %v", err)
		}
	case <-time.After(soon):
		t.Fatal("Acquire of a lease that holds waits")
	}
	ending := make(chan struct{})
	go func() {
		defer close(ending)
		postgrestest.Exec(t, dsn, "UPDATE bellhop.leases SET expires = '-infinity'")
	}()
	awaitBlocked(t, dsn, 1) // nobody gets at the lease before the write has ended
	execute(t, writing, "COMMIT")
	<-ending
	if _, err := st.Commit(t.Context(), &lease, store.Write{Key: "k", Value: []byte("new"), Expect: store.AnyVersion}); !errors.Is(err, store.ErrFenced) {
		t.Errorf("Commit under a lease that has ended: %v, want ErrFenced", err)
	}
	if rec, err := st.Get(t.Context(), "k"); err != nil || string(rec.Value) != "old" {
		t.Errorf("%s, %v", rec.Value, err)
	}
}

func TestCommitDoesNotDependOnTheDefaultIsolation(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	postgrestest.Exec(t, dsn, "ALTER DATABASE "+parsed(t, dsn).pool.ConnConfig.Database+" SET default_transaction_isolation = 'serializable'")
	st, err := Open(t.Context(), parsed(t, dsn), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 5 {
				put(t, st, "k", "v")
			}
		})
	}
	workers.Wait()
	if n := counted(t, st, dsn, "xact_rollback"); n > 0 {
		t.Errorf("%d transactions were undone", n)
	}
}

// counted closes the store and returns what the server has counted in the
// database: it counts a connection's transactions when that ends.
func counted(t *testing.T, st *Store, dsn, what string) (n int) {
	t.Helper()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; {
		var left int
		postgrestest.Scan(t, dsn, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'bellhop'", &left)
		if left == 0 {
			break
		}
		if time.Since(began) > soon {
			t.Fatal("connections stay open")
		}
	}
	postgrestest.Scan(t, dsn, "SELECT "+what+" FROM pg_stat_database WHERE datname = current_database()", &n)
	return n
}

func TestCommitIsAcknowledgedOnlyWhenItIsDurable(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Run(t, postgrestest.Fast...)
	dsn := cluster.Database(t)
	// Asynchronous commits do not wait for the standby that is missing.
	postgrestest.Exec(t, dsn, "ALTER DATABASE "+parsed(t, dsn).pool.ConnConfig.Database+" SET synchronous_commit = off")
	st := opened(t, dsn, Options{})
	put(t, st, "k", "before")
	events := watch(t, st, "")
	cluster.Configure(t, "synchronous_standby_names = 'missing'")
	awaitSetting(t, dsn, "synchronous_standby_names", "missing")
	hasty, err := open(t.Context(), parsed(t, dsn), Options{}, 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hasty.Close() })
	_, err = hasty.Commit(t.Context(), nil, store.Write{Key: "k", Value: []byte("after"), Expect: store.AnyVersion})
	unavailableSaying(t, err, "the outcome is unknown")
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	// It was committed in this server all the same, as was said it could be.
	cluster.Configure(t, "synchronous_standby_names = ''")
	expect(t, events, store.Event{Key: "k"})
	if rec, err := st.Get(t.Context(), "k"); err != nil || string(rec.Value) != "after" {
		t.Errorf("%s, %v", rec.Value, err)
	}
}

func awaitSetting(t *testing.T, dsn, name, want string) {
	t.Helper()
	for began := time.Now(); ; {
		var got string
		if postgrestest.Scan(t, dsn, "SELECT current_setting('"+name+"')", &got); got == want {
			return
		}
		if time.Since(began) > soon {
			t.Fatalf("%s is %q", name, got)
		}
	}
}

func TestCommitSaysThatItWasNotMadeWhereThatIsCertain(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Run(t, postgrestest.Fast...)
	dsn := cluster.Database(t)
	st := opened(t, dsn, Options{})
	postgrestest.Exec(t, dsn, "ALTER DATABASE "+parsed(t, dsn).pool.ConnConfig.Database+" SET default_transaction_read_only = on")
	postgrestest.Exec(t, cluster.DSN("postgres"), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bellhop'")
	for _, stop := range []func(){func() {}, func() { _ = cluster.Stop() }} {
		stop()
		var err error
		for range 20 { // those of connections that ended meanwhile are not certain
			_, err = st.Commit(t.Context(), nil, store.Write{Key: "k", Value: []byte("v")})
			if !errors.Is(err, errUnknown) {
				break
			}
		}
		unavailableSaying(t, err, "committing")
		if errors.Is(err, errUnknown) {
			t.Errorf("%v", err)
		}
	}
}

func TestReadsGoOnOverConnectionsThatWereLost(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	st := opened(t, dsn, Options{})
	put(t, st, "k", "v")
	for range 5 {
		postgrestest.Exec(t, dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		if rec, err := st.Get(t.Context(), "k"); err != nil || string(rec.Value) != "v" {
			t.Errorf("%+v, %v", rec, err)
		}
	}
}

func TestNewPasswordIsTaken(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	name := "role" + parsed(t, dsn).pool.ConnConfig.Database
	postgrestest.Exec(t, dsn, fmt.Sprintf("CREATE ROLE %s LOGIN SUPERUSER PASSWORD 'one'", name))
	as := func(password string) DSN {
		return parsed(t, strings.Replace(dsn, dsn[len("postgres://"):strings.LastIndex(dsn, "@")], name+":"+password, 1))
	}
	st, err := Open(t.Context(), as("one"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	postgrestest.Exec(t, dsn, fmt.Sprintf("ALTER ROLE %s PASSWORD 'two'", name))
	st.pool.Reset()
	if _, err := st.Get(t.Context(), "k"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("the old password opens a connection: %v", err)
	}
	st.SetPasswords(as("two"), DSN{})
	if _, err := st.Get(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("with the new password: %v", err)
	}
}

func TestListRefusesWhatIsNoPartOfAKey(t *testing.T) {
	t.Parallel()
	st := opened(t, database(t), Options{})
	for _, part := range []string{"a\x00", "a\xff"} {
		if _, err := st.List(t.Context(), part, "", 1); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("prefix %q: %v", part, err)
		}
		if _, err := st.List(t.Context(), "", part, 1); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("after %q: %v", part, err)
		}
	}
}

func TestSuccessorIsBehindAllThatBeginsWithThePrefix(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{
		"": "", "a": "b", "a/": "a0", "é": "ê", "a\U0010ffff": "b", "\U0010ffff": "", "\ud7ff": "\ue000", "\uffff": "\U00010000",
	} {
		if got := successor(prefix); got != want {
			t.Errorf("successor(%q) is %q, want %q", prefix, got, want)
		}
	}
	err := quick.Check(func(prefix, rest, other string) bool {
		prefix, rest, other = strings.ToValidUTF8(prefix, ""), strings.ToValidUTF8(rest, ""), strings.ToValidUTF8(other, "")
		next := successor(prefix)
		between := func(key string) bool { return key >= prefix && (next == "" || key < next) }
		return between(prefix+rest) && between(other) == strings.HasPrefix(other, prefix)
	}, nil)
	if err != nil {
		t.Error(err)
	}
}

func TestNodesThatStartTogetherMigrateOnce(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	var nodes sync.WaitGroup
	for range 6 {
		nodes.Go(func() {
			st, err := Open(t.Context(), parsed(t, dsn), Options{})
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			_ = st.Close()
		})
	}
	nodes.Wait()
	texts, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	var version int
	if postgrestest.Scan(t, dsn, "SELECT version FROM bellhop.schema", &version); version != len(texts) {
		t.Errorf("schema is at %d, want %d", version, len(texts))
	}
}

func TestOpenRefusesANewerSchema(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	_ = opened(t, dsn, Options{})
	postgrestest.Exec(t, dsn, "UPDATE bellhop.schema SET version = version + 1")
	_, err := Open(t.Context(), parsed(t, dsn), Options{})
	if err == nil || !strings.Contains(err.Error(), "newer") || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Open: %v", err)
	}
}

func TestOpenNeedsNoRightsBeyondASchemaOfItsOwn(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	name := "owner" + parsed(t, dsn).pool.ConnConfig.Database
	postgrestest.Exec(t, dsn, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'p'", name))
	own := strings.Replace(dsn, dsn[len("postgres://"):strings.LastIndex(dsn, "@")], name+":p", 1)
	if _, err := Open(t.Context(), parsed(t, own), Options{}); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("without a schema: %v", err)
	}
	postgrestest.Exec(t, dsn, "CREATE SCHEMA bellhop AUTHORIZATION "+name)
	st := opened(t, own, Options{})
	put(t, st, "k", "v")
	if err := st.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := st.trim(t.Context(), position{}); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesADatabaseOfAnotherEncoding(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	postgrestest.Exec(t, dsn, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
	if _, err := Open(t.Context(), parsed(t, shared.DSN("latin")), Options{}); err == nil || !strings.Contains(err.Error(), "ENCODING 'UTF8'") {
		t.Errorf("Open: %v", err)
	}
}

func TestStoreKeepsNothingInSessions(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	st := opened(t, dsn+"?pool_max_conns=1", Options{})
	lease, err := st.Acquire(t.Context(), "k", "one", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), &lease, store.Write{Key: "k", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.List(t.Context(), "", "", 10); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, what := range []string{
		"SELECT count(*)::text FROM pg_prepared_statements",
		"SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
		"SELECT count(*)::text FROM pg_listening_channels()",
		"SELECT count(*)::text FROM pg_settings WHERE source = 'session' AND name NOT LIKE 'transaction%'",
		"SELECT count(*)::text FROM pg_class WHERE relpersistence = 't'",
	} {
		var n string
		if err := st.pool.QueryRow(t.Context(), what).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n != "0" {
			left = append(left, what+": "+n)
		}
	}
	if len(left) > 0 {
		t.Errorf("left in the session:\n%s", strings.Join(slices.Sorted(slices.Values(left)), "\n"))
	}
}
