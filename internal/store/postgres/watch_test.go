package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/postgres/postgrestest"
)

// soon is how long a test waits for what should come at once.
const soon = 20 * time.Second

func watch(t *testing.T, st store.Store, prefix string) <-chan store.Event {
	t.Helper()
	events, err := st.Watch(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func receive(t *testing.T, events <-chan store.Event) store.Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the watch ended")
		}
		e.Version = 0 // the store's contract test looks at it
		return e
	case <-time.After(soon):
		t.Fatal("no event came")
		return store.Event{}
	}
}

func expect(t *testing.T, events <-chan store.Event, want store.Event) {
	t.Helper()
	if got := receive(t, events); got != want {
		t.Fatalf("event %+v, want %+v", got, want)
	}
}

// session is a connection on which transactions stay open.
func session(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

//nolint:dupword // no lease
const commitOne = "SELECT bellhop.commit(NULL, NULL, NULL, ARRAY[$1::text], ARRAY['v'::bytea], ARRAY[-1::bigint])"

func TestWatchMissesNothingThatIsCommittedOutOfOrder(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	st := opened(t, dsn, Options{})
	events := watch(t, st, "")
	slow := session(t, dsn)
	execute(t, slow, "BEGIN")
	execute(t, slow, commitOne, "early") // takes the lower number, and is committed last
	put(t, st, "late", "v")
	expect(t, events, store.Event{Key: "late"})
	execute(t, slow, "COMMIT")
	expect(t, events, store.Event{Key: "early"})
	put(t, st, "last", "v")
	expect(t, events, store.Event{Key: "last"})
}

func TestWatchDoesNotWaitForOthersTransactions(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	st := opened(t, dsn, Options{})
	events := watch(t, st, "")
	other := session(t, shared.DSN("postgres")) // in another database of the server
	execute(t, other, "BEGIN")
	execute(t, other, "SELECT pg_current_xact_id()")
	for i := range 3 {
		key := fmt.Sprint("k", i)
		put(t, st, key, "v")
		expect(t, events, store.Event{Key: key})
	}
}

func TestWatchGetsChangesOfOtherNodesByNotification(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	clock := clockwork.NewFakeClock() // no pause ends
	here := opened(t, dsn, Options{Direct: parsed(t, dsn), Clock: clock})
	there := opened(t, dsn, Options{})
	events := watch(t, here, "")
	awaitListener(t, dsn)
	put(t, there, "k", "v")
	expect(t, events, store.Event{Key: "k"})
}

// awaitListener returns when somebody listens in the database.
func awaitListener(t *testing.T, dsn string) {
	t.Helper()
	for began := time.Now(); ; {
		var n int
		postgrestest.Scan(t, dsn, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN bellhop' AND state = 'idle'", &n)
		if n > 0 {
			return
		}
		if time.Since(began) > soon {
			t.Fatal("nobody listens")
		}
	}
}

func TestWatchGetsChangesOfOtherNodesByAsking(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	clock := clockwork.NewFakeClock()
	here := opened(t, dsn, Options{Clock: clock})
	there := opened(t, dsn, Options{})
	events := watch(t, here, "")
	if err := clock.BlockUntilContext(t.Context(), 2); err != nil { // the question's pause and the trimming's
		t.Fatal(err)
	}
	put(t, there, "k", "v")
	clock.Advance(pollPause - time.Millisecond)
	select {
	case e := <-events:
		t.Errorf("%+v came before anybody asked", e)
	default:
	}
	clock.Advance(time.Millisecond)
	expect(t, events, store.Event{Key: "k"})
}

func TestWatchListensAgainAfterItsConnectionWasLost(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	here := opened(t, dsn, Options{Direct: parsed(t, dsn)})
	there := opened(t, dsn, Options{})
	events := watch(t, here, "")
	for i := range 3 {
		awaitListener(t, dsn)
		postgrestest.Exec(t, dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		key := fmt.Sprint("k", i)
		// The connections that were ended are those of both stores' pools too.
		for _, err := there.Commit(t.Context(), nil, store.Write{Key: key, Value: []byte("v"), Expect: store.AnyVersion}); err != nil; {
			_, err = there.Commit(t.Context(), nil, store.Write{Key: key, Value: []byte("v"), Expect: store.AnyVersion})
		}
		for e := receive(t, events); e.Key != key; {
			e = receive(t, events)
		}
	}
}

func TestWatchSaysToReadAgainWhenItIsFarBehind(t *testing.T) {
	dsn := database(t)
	st := opened(t, dsn, Options{Clock: clockwork.NewFakeClock()})
	for name, behind := range map[string]func(){
		"by time": func() { st.changes.at.taken -= (horizon + time.Second).Microseconds() },
		"by batches": func() {
			conn := session(t, dsn)
			for i := range maxBatches + 1 {
				execute(t, conn, commitOne, fmt.Sprint("k", i))
			}
		},
		"of another server": func() { st.changes.at.server-- },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			events, err := st.Watch(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			st.changes.mu.Lock()
			behind()
			st.changes.mu.Unlock()
			put(t, st, "k", "v") // rings the bell
			expect(t, events, store.Event{})
			put(t, st, "k", "v")
			expect(t, events, store.Event{Key: "k"})
		})
	}
}

func TestWatchSaysToReadAgainAfterARestartOfTheServer(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Run(t)
	dsn := cluster.Database(t)
	st := opened(t, dsn, Options{})
	version := put(t, st, "k", "v")
	events := watch(t, st, "")
	if err := cluster.Restart(); err != nil {
		t.Fatal(err)
	}
	expect(t, events, store.Event{})
	if rec, err := st.Get(t.Context(), "k"); err != nil || rec.Version != version {
		t.Errorf("%+v, %v after a crash", rec, err)
	}
	if again := put(t, st, "k", "v"); again <= version {
		t.Errorf("version went from %d to %d", version, again)
	}
	expect(t, events, store.Event{Key: "k"})
}

// Whoever goes by what was heard knows since when nothing is.
func TestHeardStandsStillWithoutADatabase(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Run(t, postgrestest.Fast...)
	st := opened(t, cluster.Database(t), Options{})
	if at := st.Heard(); !at.IsZero() {
		t.Errorf("heard up to %v, and nobody watches", at)
	}
	_ = watch(t, st, "")
	moves := func(from time.Time, within time.Duration) bool {
		for deadline := time.Now().Add(within); time.Now().Before(deadline); <-time.After(time.Millisecond) {
			if st.Heard().After(from) {
				return true
			}
		}
		return false
	}
	if !moves(time.Time{}, soon) || !moves(st.Heard(), soon) {
		t.Fatal("nothing was heard")
	}
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	if moves(stopped, 4*pollPause) {
		t.Errorf("heard up to %v of a database that was gone at %v", st.Heard(), stopped)
	}
	if err := cluster.Restart(); err != nil {
		t.Fatal(err)
	}
	if !moves(stopped, soon) {
		t.Error("nothing was heard after it was back")
	}
}

func TestWatchFailsWithoutADatabase(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Run(t, postgrestest.Fast...)
	st := opened(t, cluster.Database(t), Options{})
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	_, err := st.Watch(t.Context(), "k")
	unavailableSaying(t, err, "watching")
}

// unavailableSaying expects an error of a store that cannot be reached, in one
// line and without the password.
func unavailableSaying(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	secretFree(t, err)
	for _, part := range append(parts, store.ErrUnavailable.Error()) {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func changesKept(t *testing.T, dsn string) (n int) {
	t.Helper()
	postgrestest.Scan(t, dsn, "SELECT count(*) FROM bellhop.changes", &n)
	return n
}

func TestTrimRemovesWhatEverybodyHasHadTimeToRead(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	st := opened(t, dsn, Options{})
	trim := func(last position) position {
		t.Helper()
		next, err := st.trim(t.Context(), last)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	slow := session(t, dsn)
	execute(t, slow, "BEGIN")
	execute(t, slow, commitOne, "slow") // is older than all, and visible to nobody yet
	put(t, st, "k", "v")
	last := trim(position{})
	put(t, st, "k", "v")
	execute(t, slow, "COMMIT")
	if trim(last); changesKept(t, dsn) != 3 {
		t.Errorf("%d changes are left within the horizon, want 3", changesKept(t, dsn))
	}
	st.changes.horizon = 0
	other := last
	other.server--
	if trim(other); changesKept(t, dsn) != 3 {
		t.Errorf("a snapshot of another server was used")
	}
	if trim(last); changesKept(t, dsn) != 2 {
		t.Errorf("%d changes are left, want those two that nobody saw at the last trimming", changesKept(t, dsn))
	}
}

func TestTrimHappensByItself(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	clock := clockwork.NewFakeClock()
	st := opened(t, dsn, Options{Clock: clock})
	st.changes.horizon = 0
	for range 2 {
		if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		put(t, st, "k", "v")
		clock.Advance(trimPause)
	}
	if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if n := changesKept(t, dsn); n != 1 {
		t.Errorf("%d changes are left, want 1", n)
	}
}

func TestTrimForgetsLeasesThatEndedLongAgo(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	st := opened(t, dsn, Options{})
	for _, key := range []string{"long ago", "today"} {
		if _, err := st.Acquire(t.Context(), key, "one", time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	postgrestest.Exec(t, dsn, "UPDATE bellhop.leases SET expires = clock_timestamp() - interval '25 hours' WHERE key = 'long ago'")
	if _, err := st.trim(t.Context(), position{}); err != nil {
		t.Fatal(err)
	}
	var left string
	postgrestest.Scan(t, dsn, "SELECT string_agg(key, ',') FROM bellhop.leases", &left)
	if left != "today" {
		t.Errorf("left are %q", left)
	}
}
