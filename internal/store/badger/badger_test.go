package badger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		dir, clock := t.TempDir(), clockwork.NewFakeClock()
		return storetest.Place{
			Open:    func(t *testing.T) store.Store { return mustOpen(t, dir, Options{Clock: clock}) },
			Advance: clock.Advance,
		}
	})
}

func mustOpen(t testing.TB, dir string, opts Options) *Store {
	t.Helper()
	st, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func closeStore(t testing.TB, st *Store) {
	t.Helper()
	if err := st.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestOpenMakesDirectoryForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	closeStore(t, mustOpen(t, dir, Options{}))
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode is %v, want 0700", info.Mode().Perm())
	}
}

func TestOpenRefusesADirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	st := mustOpen(t, dir, Options{})
	defer closeStore(t, st)

	_, err := Open(dir, Options{})
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Open in the same process: %v", err)
	}

	out, err := helper(t, "open", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), dir) || !strings.Contains(string(out), "in use") {
		t.Errorf("Open in another process: %v: %s", err, out)
	}
}

func TestOpenRefusesANegativeReserve(t *testing.T) {
	if st, err := Open(t.TempDir(), Options{Reserve: -1}); err == nil {
		closeStore(t, st)
		t.Error("no error")
	}
}

func TestOpenNeedsRoomToOpenAtAll(t *testing.T) {
	full := func(string) (uint64, error) { return 1 << 20, nil }
	opts := Options{Reserve: DefaultReserve, Clock: clockwork.NewFakeClock(), Logger: slog.New(slog.DiscardHandler)}
	dir := t.TempDir()
	st, err := open(dir, opts, full)
	if err == nil {
		closeStore(t, st)
	}
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("on a full disk: %v, want ErrUnavailable", err)
	}

	nearlyFull := func(string) (uint64, error) { return openingRoom, nil }
	st, err = open(dir, opts, nearlyFull)
	if err != nil {
		t.Fatalf("below the reserve, with room to open: %v", err)
	}
	defer closeStore(t, st)
	if err := st.Ready(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Ready below the reserve: %v, want ErrUnavailable", err)
	}
}

func TestReadyComparesFreeSpaceWithTheReserve(t *testing.T) {
	const reserve = 100 << 20
	clock := clockwork.NewFakeClock()
	free, looks := uint64(reserve), 0
	statfs := func(string) (uint64, error) {
		looks++
		return free, nil
	}
	dir := t.TempDir()
	st, err := open(dir, Options{Reserve: reserve, Clock: clock, Logger: slog.New(slog.DiscardHandler)}, statfs)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, st)
	looks = 0

	if err := st.Ready(t.Context()); err != nil {
		t.Errorf("with just the reserve: %v", err)
	}
	free = reserve - 10<<20
	if err := st.Ready(t.Context()); err != nil || looks != 1 {
		t.Errorf("within a second: %v after %d looks, want the first answer after 1", err, looks)
	}
	clock.Advance(time.Second)
	err = st.Ready(t.Context())
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("below the reserve: %v, want ErrUnavailable", err)
	}
	for _, part := range []string{dir, "90.0 MiB", "100.0 MiB", "make room"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not say %q: %v", part, err)
		}
	}
	if _, err := st.Commit(t.Context(), nil, store.Write{Key: "k", Value: []byte("v")}); err != nil {
		t.Errorf("Commit below the reserve: %v", err)
	}
	free = math.MaxUint64
	clock.Advance(time.Second)
	if err := st.Ready(t.Context()); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestReadyReportsAFileSystemThatDoesNotAnswer(t *testing.T) {
	answer := error(nil)
	st, err := open(t.TempDir(), Options{Reserve: 1, Clock: clockwork.NewFakeClock(), Logger: slog.New(slog.DiscardHandler)},
		func(string) (uint64, error) { return 1, answer })
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, st)
	answer = fs.ErrPermission
	if err := st.Ready(t.Context()); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Ready: %v", err)
	}
}

func TestReadySaysNoOnceClosed(t *testing.T) {
	st := mustOpen(t, t.TempDir(), Options{})
	closeStore(t, st)
	if err := st.Ready(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Ready: %v, want ErrUnavailable", err)
	}
	if _, err := st.Get(t.Context(), "k"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Get: %v, want ErrUnavailable", err)
	}
	if _, err := st.Watch(t.Context(), ""); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Watch: %v, want ErrUnavailable", err)
	}
}

func TestBadgerSpeaksThroughTheLoggerAtDebugLevel(t *testing.T) {
	for level, wantLines := range map[slog.Level]bool{slog.LevelInfo: false, slog.LevelDebug: true} {
		var out strings.Builder
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
		st := mustOpen(t, t.TempDir(), Options{Logger: log})
		if _, err := st.Commit(t.Context(), nil, store.Write{Key: "k", Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
		closeStore(t, st)
		if got := out.Len() > 0; got != wantLines {
			t.Errorf("at %v: lines: %v, want %v:\n%s", level, got, wantLines, out.String())
		}
	}
}

func TestCommitsWaitForTheDisk(t *testing.T) {
	st := mustOpen(t, t.TempDir(), Options{})
	defer closeStore(t, st)
	if !st.db.Opts().SyncWrites {
		t.Error("Badger does not flush its log at each commit")
	}
}

func TestTheGreatestValuesStayOutOfTheValueLog(t *testing.T) {
	dir := t.TempDir()
	st := mustOpen(t, dir, Options{})
	value := bytes.Repeat([]byte("v"), store.MaxValue)
	for i := range 20 {
		if _, err := st.Commit(t.Context(), nil, store.Write{Key: strconv.Itoa(i), Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, st)
	logs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("value logs: %v, %v", logs, err)
	}
	for _, name := range logs {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() >= store.MaxValue {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
	}
}

// TestBatchesThatWaitShareATransaction holds the store back until many batches
// wait, some of which must be refused.
func TestBatchesThatWaitShareATransaction(t *testing.T) {
	st := mustOpen(t, t.TempDir(), Options{})
	defer closeStore(t, st)
	events, err := st.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	group := []*pending{
		{writes: []store.Write{{Key: "a", Value: []byte("1")}}},
		{writes: []store.Write{{Key: "b", Value: []byte("1")}, {Key: "a", Value: []byte("taken")}}},
		{writes: []store.Write{{Key: "c", Value: []byte("1")}}, ended: ended.Err},
		{writes: []store.Write{{Key: "d", Value: []byte("1")}}, lease: &store.Lease{Key: "d", Fence: 1}},
		{writes: []store.Write{{Key: "a", Value: []byte("2"), Expect: store.AnyVersion}}},
		{writes: []store.Write{{Key: "a", Expect: store.AnyVersion}}},
		{writes: []store.Write{{Key: "a", Value: []byte("3")}, {Key: "none", Expect: store.AnyVersion}}},
	}
	wants := []error{nil, store.ErrConflict, context.Canceled, store.ErrFenced, nil, nil, nil}
	for _, p := range group {
		if p.ended == nil {
			p.ended = t.Context().Err
		}
		st.queue.add(p)
	}
	if _, err := st.Commit(t.Context(), nil, store.Write{Key: "last", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	for i, p := range group {
		if !p.done || !errors.Is(p.err, wants[i]) {
			t.Errorf("batch %d: done %v, error %v, want %v", i, p.done, p.err, wants[i])
		}
	}

	rec, err := st.Get(t.Context(), "a")
	if err != nil || string(rec.Value) != "3" || rec.Version != group[6].versions[0] {
		t.Errorf("a is %+v, %v, want what was written last", rec, err)
	}
	if first, second := group[0].versions[0], group[4].versions[0]; second <= first {
		t.Errorf("version went from %d to %d", first, second)
	}
	for _, key := range []string{"b", "c", "d"} {
		if _, err := st.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s of a refused batch: %v, want ErrNotFound", key, err)
		}
	}
	for _, want := range []store.Event{{Key: "a"}, {Key: "a"}, {Key: "a", Deleted: true}, {Key: "a"}, {Key: "last"}} {
		got := <-events
		if got.Deleted == (got.Version != 0) {
			t.Errorf("event is %+v, want the version of a record that is there", got)
		}
		if got.Version = 0; got != want {
			t.Errorf("event is %+v, want %+v", got, want)
		}
	}
}

func TestQueueKeepsToTheLimitsOfABatch(t *testing.T) {
	large := func() *pending {
		return &pending{writes: []store.Write{{Key: "k", Value: make([]byte, store.MaxBatch*2/5)}}}
	}
	var q queue
	for range 5 {
		q.add(large())
	}
	q.add(&pending{writes: make([]store.Write, store.MaxWrites)})
	q.add(&pending{writes: make([]store.Write, 1)})
	for _, want := range []int{2, 2, 1, 1, 1} {
		if got := len(q.take()); got != want {
			t.Errorf("took %d batches, want %d", got, want)
		}
	}
}

// TestVersionsGrowAfterTheHighestWasCompactedAway takes away everything from
// which Badger could tell how far its own versions went.
func TestVersionsGrowAfterTheHighestWasCompactedAway(t *testing.T) {
	dir := t.TempDir()
	last := uint64(0)
	for range 3 {
		st := mustOpen(t, dir, Options{})
		versions, err := st.Commit(t.Context(), nil, store.Write{Key: "k", Value: []byte("v")})
		if err != nil {
			t.Fatal(err)
		}
		if versions[0] <= last {
			t.Errorf("version went from %d to %d", last, versions[0])
		}
		last = versions[0]
		if _, err := st.Commit(t.Context(), nil, store.Write{Key: "k", Expect: last}); err != nil {
			t.Fatal(err)
		}
		if err := st.db.Flatten(1); err != nil {
			t.Fatal(err)
		}
		closeStore(t, st)
	}
}

// TestAcknowledgedCommitsSurviveKill kills a process in the middle of its
// writes and looks for all that it was told is safe.
func TestAcknowledgedCommitsSurviveKill(t *testing.T) {
	dir := t.TempDir()
	next := 0
	for round, acknowledged := range []int{1, 40, 300} {
		cmd := helper(t, "write", dir, strconv.Itoa(next))
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for i := 0; lines.Scan(); i++ {
			if i == acknowledged {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatalf("round %d: the writer says %q", round, lines.Text())
			}
			if n != next {
				t.Fatalf("round %d: acknowledged %d, want %d", round, n, next)
			}
			next = n + 1
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		}
		next = checkPairs(t, dir, next)
	}
}

// checkPairs expects all pairs below next, lets the one pair that may not have
// been acknowledged be there or not, but not by half, and returns how many
// there are.
func checkPairs(t *testing.T, dir string, next int) int {
	t.Helper()
	st := mustOpen(t, dir, Options{})
	defer closeStore(t, st)
	for i := range next {
		for _, side := range []string{"left", "right"} {
			rec, err := st.Get(t.Context(), pairKey(side, i))
			if err != nil {
				t.Fatalf("acknowledged record was lost: %v", err)
			}
			if string(rec.Value) != pairValue(i) {
				t.Fatalf("%s holds something else", rec.Key)
			}
		}
	}
	_, left := st.Get(t.Context(), pairKey("left", next))
	_, right := st.Get(t.Context(), pairKey("right", next))
	if (left == nil) != (right == nil) {
		t.Errorf("half of pair %d is there: %v, %v", next, left, right)
	}
	if left == nil {
		next++
	}
	return next
}

func pairKey(side string, i int) string { return fmt.Sprintf("%s/%06d", side, i) }

func pairValue(i int) string { return strings.Repeat(strconv.Itoa(i)+",", 400) }

// helperEnv marks the test binary as a process to be killed.
const helperEnv = "BELLHOP_STORE_HELPER"

func helper(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	return cmd
}

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) == "" {
		os.Exit(m.Run())
	}
	if err := help(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func help(what, dir string, args []string) error {
	st, err := Open(dir, Options{})
	if err != nil || what == "open" {
		return err
	}
	i, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for ; ; i++ {
		value := []byte(pairValue(i))
		_, err := st.Commit(context.Background(), nil,
			store.Write{Key: pairKey("left", i), Value: value}, store.Write{Key: pairKey("right", i), Value: value})
		if err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		st := mustOpen(b, dir, Options{})
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&after)
		closeStore(b, st)
		b.StartTimer()
	}
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "heap-MiB")
}

func BenchmarkGet(b *testing.B) {
	const records = 10_000
	st := mustOpen(b, b.TempDir(), Options{})
	defer closeStore(b, st)
	value := make([]byte, 2500)
	for i := 0; i < records; i += 200 {
		writes := make([]store.Write, 200)
		for j := range writes {
			writes[j] = store.Write{Key: fmt.Sprintf("grant/%d", i+j), Value: value}
		}
		if _, err := st.Commit(b.Context(), nil, writes...); err != nil {
			b.Fatal(err)
		}
	}
	for i := 0; b.Loop(); i++ {
		if _, err := st.Get(b.Context(), fmt.Sprintf("grant/%d", i*7919%records)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	st := mustOpen(b, b.TempDir(), Options{})
	defer closeStore(b, st)
	value := make([]byte, 2500)
	b.SetBytes(int64(len(value)))
	for i := 0; b.Loop(); i++ {
		write := store.Write{Key: fmt.Sprintf("grant/%d", i%1000), Value: value, Expect: store.AnyVersion}
		if _, err := st.Commit(b.Context(), nil, write); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommitFromManyCallers(b *testing.B) {
	st := mustOpen(b, b.TempDir(), Options{})
	defer closeStore(b, st)
	value := make([]byte, 2500)
	b.SetBytes(int64(len(value)))
	b.SetParallelism(32)
	var callers atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		write := store.Write{Key: fmt.Sprintf("grant/%d", callers.Add(1)), Value: value, Expect: store.AnyVersion}
		for pb.Next() {
			if _, err := st.Commit(b.Context(), nil, write); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
