package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

func getFindsWhatWasCommitted(t *testing.T, place Place) {
	st := opened(t, place)
	if _, err := st.Get(t.Context(), "grant/alice"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get of a missing record: %v, want ErrNotFound", err)
	}
	for _, key := range []string{"grant/alice", "grant/büro@例え.jp", "grant/a//b", "grant/" + strings.Repeat("k", store.MaxKey-6), "!badger!txn"} {
		version := put(t, st, key, "value of "+key, 0)
		want := store.Record{Key: key, Value: []byte("value of " + key), Version: version}
		if diff := cmp.Diff(want, get(t, st, key)); diff != "" {
			t.Errorf("record (-want +got):\n%s", diff)
		}
	}
	put(t, st, "empty", "", 0)
	if rec := get(t, st, "empty"); len(rec.Value) != 0 {
		t.Errorf("empty value came back as %q", rec.Value)
	}
}

func commitComparesVersions(t *testing.T, place Place) {
	st := opened(t, place)
	first := put(t, st, "k", "1", 0)
	if first == 0 || first == store.AnyVersion {
		t.Fatalf("version %d is reserved", first)
	}
	second := put(t, st, "k", "2", first)
	if second <= first {
		t.Errorf("version went from %d to %d", first, second)
	}
	for name, w := range map[string]store.Write{
		"create what exists":    {Key: "k", Value: []byte("x")},
		"update an old version": {Key: "k", Value: []byte("x"), Expect: first},
		"update the future":     {Key: "k", Value: []byte("x"), Expect: second + 1},
		"delete an old version": {Key: "k", Expect: first},
		"update what is not":    {Key: "none", Value: []byte("x"), Expect: first},
		"delete what is not":    {Key: "none", Expect: first},
	} {
		if _, err := st.Commit(t.Context(), nil, w); !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v, want ErrConflict", name, err)
		}
	}
	if rec := get(t, st, "k"); string(rec.Value) != "2" || rec.Version != second {
		t.Errorf("after refused writes: %q at %d", rec.Value, rec.Version)
	}
}

func commitIsAllOrNothing(t *testing.T, place Place) {
	st := opened(t, place)
	version := put(t, st, "b", "old", 0)
	_, err := st.Commit(
		t.Context(), nil,
		store.Write{Key: "a", Value: []byte("new")},
		store.Write{Key: "b", Value: []byte("new"), Expect: version + 1},
		store.Write{Key: "c", Value: []byte("new"), Expect: store.AnyVersion},
	)
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Commit: %v, want ErrConflict", err)
	}
	page, err := st.List(t.Context(), "", "", 10)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Record{{Key: "b", Value: []byte("old"), Version: version}}, page); diff != "" {
		t.Errorf("a refused batch left (-want +got):\n%s", diff)
	}

	versions := commit(
		t, st,
		store.Write{Key: "a", Value: []byte("new")},
		store.Write{Key: "b", Expect: version},
		store.Write{Key: "c", Value: []byte("new"), Expect: store.AnyVersion},
	)
	got := []uint64{get(t, st, "a").Version, 0, get(t, st, "c").Version}
	if diff := cmp.Diff(got, versions); diff != "" {
		t.Errorf("versions (-stored +returned):\n%s", diff)
	}
	if _, err := st.Get(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the batch did not delete: %v", err)
	}
}

func commitDeletes(t *testing.T, place Place) {
	st := opened(t, place)
	version := put(t, st, "k", "v", 0)
	if got := commit(t, st, store.Write{Key: "k", Expect: version}); got[0] != 0 {
		t.Errorf("deletion gave version %d, want 0", got[0])
	}
	if _, err := st.Get(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after deletion: %v, want ErrNotFound", err)
	}
	commit(t, st, store.Write{Key: "k", Expect: store.AnyVersion}, store.Write{Key: "never", Expect: 0})
}

func commitWithoutLookingAtVersions(t *testing.T, place Place) {
	st := opened(t, place)
	first := put(t, st, "k", "1", store.AnyVersion)
	second := put(t, st, "k", "2", store.AnyVersion)
	if second <= first {
		t.Errorf("version went from %d to %d", first, second)
	}
	if rec := get(t, st, "k"); string(rec.Value) != "2" {
		t.Errorf("value is %q", rec.Value)
	}
}

func commitRefusesWhatIsInvalid(t *testing.T, place Place) {
	st := opened(t, place)
	ok := store.Write{Key: "fine", Value: []byte("v")}
	for name, writes := range map[string][]store.Write{
		"no write":            {},
		"empty key":           {ok, {Key: "", Value: []byte("v")}},
		"key that is long":    {ok, {Key: strings.Repeat("k", store.MaxKey+1), Value: []byte("v")}},
		"key that is no UTF8": {ok, {Key: "grant/\xff", Value: []byte("v")}},
		"key with NUL":        {ok, {Key: "grant/\x00", Value: []byte("v")}},
		"value that is large": {ok, {Key: "k", Value: make([]byte, store.MaxValue+1)}},
		"key written twice":   {ok, ok},
		"too many writes":     manyWrites(store.MaxWrites + 1),
		"batch that is large": append(largestBatch(), store.Write{Key: "k"}),
	} {
		_, err := st.Commit(t.Context(), nil, writes...)
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if _, err := st.Commit(t.Context(), nil, store.Write{Key: "k", Value: make([]byte, store.MaxValue+1)}); !strings.Contains(err.Error(), strconv.Itoa(store.MaxValue)) {
		t.Errorf("the error for a large value does not name the limit: %v", err)
	}
	if _, err := st.Get(t.Context(), ""); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("Get of the empty key: %v, want ErrInvalid", err)
	}
	if page, err := st.List(t.Context(), "", "", 10); err != nil || len(page) != 0 {
		t.Errorf("refused batches left %v, %v", page, err)
	}
}

func anEndedContextStopsEverything(t *testing.T, place Place) {
	st := opened(t, place)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := st.Commit(ctx, nil, store.Write{Key: "k", Value: []byte("v")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit: %v, want context.Canceled", err)
	}
	if _, err := st.Get(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v, want context.Canceled", err)
	}
	if _, err := st.List(ctx, "", "", 10); !errors.Is(err, context.Canceled) {
		t.Errorf("List: %v, want context.Canceled", err)
	}
	if _, err := st.Acquire(ctx, "k", "one", ttl); !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire: %v, want context.Canceled", err)
	}
	if _, err := st.Get(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("something was written: %v", err)
	}
}

func commitTakesTheGreatestBatch(t *testing.T, place Place) {
	st := opened(t, place)
	writes := largestBatch()
	commit(t, st, writes...)
	for _, w := range writes {
		if !bytes.Equal(get(t, st, w.Key).Value, w.Value) {
			t.Errorf("value of %d bytes came back changed", len(w.Value))
		}
	}
	commit(t, st, manyWrites(store.MaxWrites)...)
}

// largestBatch has store.MaxBatch bytes, with values of store.MaxValue.
func largestBatch() []store.Write {
	writes := make([]store.Write, store.MaxBatch/store.MaxValue)
	left := store.MaxBatch
	for i := range writes {
		key := fmt.Sprintf("large/%d", i)
		size := min(store.MaxValue, left-len(key))
		writes[i] = store.Write{Key: key, Value: bytes.Repeat([]byte{byte(i)}, size), Expect: store.AnyVersion}
		left -= len(key) + size
	}
	return writes
}

func manyWrites(n int) []store.Write {
	writes := make([]store.Write, n)
	for i := range writes {
		writes[i] = store.Write{Key: fmt.Sprintf("many/%d", i), Value: []byte("v")}
	}
	return writes
}

func versionsGrowAcrossDeletion(t *testing.T, place Place) {
	st := opened(t, place)
	last := uint64(0)
	for range 3 {
		version := put(t, st, "k", "v", 0)
		if version <= last {
			t.Errorf("version went from %d to %d", last, version)
		}
		last = version
		commit(t, st, store.Write{Key: "k", Expect: version})
	}
}

func versionsGrowAcrossReopening(t *testing.T, place Place) {
	last := uint64(0)
	for range 3 {
		during(t, place, func(st store.Store) {
			version := put(t, st, "k", "v", 0)
			if version <= last {
				t.Errorf("version went from %d to %d", last, version)
			}
			last = version
			commit(t, st, store.Write{Key: "k", Expect: version})
		})
	}
}

func concurrentIncrementsLoseNothing(t *testing.T, place Place) {
	const workers = 64
	st := opened(t, place)
	put(t, st, "counter", "0", 0)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				rec, err := st.Get(t.Context(), "counter")
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				n, err := strconv.Atoi(string(rec.Value))
				if err != nil {
					t.Errorf("counter: %v", err)
					return
				}
				_, err = st.Commit(t.Context(), nil, store.Write{Key: "counter", Value: []byte(strconv.Itoa(n + 1)), Expect: rec.Version})
				if errors.Is(err, store.ErrConflict) {
					continue
				}
				if err != nil {
					t.Errorf("Commit: %v", err)
				}
				return
			}
		})
	}
	wg.Wait()
	if got := string(get(t, st, "counter").Value); got != strconv.Itoa(workers) {
		t.Errorf("counter is %s, want %d", got, workers)
	}
}

func returnedValuesAreTheCallers(t *testing.T, place Place) {
	st := opened(t, place)
	value := []byte("value")
	commit(t, st, store.Write{Key: "k", Value: value})
	value[0] = 'X'
	got := get(t, st, "k").Value
	got[0] = 'Y'
	page, err := st.List(t.Context(), "k", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	page[0].Value[0] = 'Z'
	if got := get(t, st, "k").Value; string(got) != "value" {
		t.Errorf("changing a slice outside changed the record to %q", got)
	}
}

// unorderedKeys has keys that are prefixes of each other, characters around
// the slash and letters beyond ASCII.
var unorderedKeys = []string{
	"g/b", "g/a", "g/aa", "g/a/b", "g/a-b", "g/a!b", "g/a0", "g/ä", "g/z", "g/é", "g/例え", "g/😀", "g/\uffff",
	"g/A", "g/", "g", "g0", "f/x", "h/x", "g/a b", "g/a/", "g/~",
}

func listOrdersKeysByBytes(t *testing.T, place Place) {
	st := opened(t, place)
	for _, key := range unorderedKeys {
		put(t, st, key, "of "+key, 0)
	}
	for _, prefix := range []string{"", "g", "g/", "g/a", "g/a/", "g/例", "nothing"} {
		page, err := st.List(t.Context(), prefix, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(expectedKeys(prefix), keysOf(page)); diff != "" {
			t.Errorf("List(%q) (-want +got):\n%s", prefix, diff)
		}
		for _, rec := range page {
			if diff := cmp.Diff(get(t, st, rec.Key), rec); diff != "" {
				t.Errorf("listed record (-Get +List):\n%s", diff)
			}
		}
	}
}

func listPagesWithoutGapOrRepeat(t *testing.T, place Place) {
	st := opened(t, place)
	for _, key := range unorderedKeys {
		put(t, st, key, "v", 0)
	}
	for _, prefix := range []string{"", "g/", "g/a"} {
		for _, limit := range []int{1, 2, 3, 7, 100} {
			var keys []string
			for after := ""; ; {
				page, err := st.List(t.Context(), prefix, after, limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) > limit {
					t.Fatalf("page has %d records, limit is %d", len(page), limit)
				}
				if len(page) == 0 {
					break
				}
				keys = append(keys, keysOf(page)...)
				after = page[len(page)-1].Key
			}
			if diff := cmp.Diff(expectedKeys(prefix), keys); diff != "" {
				t.Errorf("List(%q) in pages of %d (-want +got):\n%s", prefix, limit, diff)
			}
		}
	}
}

func listStartsAfterAKeyThatIsGone(t *testing.T, place Place) {
	st := opened(t, place)
	for _, key := range []string{"p/a", "p/b", "p/c"} {
		put(t, st, key, "v", 0)
	}
	commit(t, st, store.Write{Key: "p/b", Expect: store.AnyVersion})
	for after, want := range map[string][]string{
		"a":    {"p/a", "p/c"},
		"p/b":  {"p/c"},
		"p/bb": {"p/c"},
		"p/c":  nil,
		"q":    nil,
	} {
		page, err := st.List(t.Context(), "p/", after, 10)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, keysOf(page)); diff != "" {
			t.Errorf("List after %q (-want +got):\n%s", after, diff)
		}
	}
}

func listRefusesALimitBelowOne(t *testing.T, place Place) {
	st := opened(t, place)
	for _, limit := range []int{0, -1} {
		if _, err := st.List(t.Context(), "", "", limit); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("limit %d: %v, want ErrInvalid", limit, err)
		}
	}
}

func recordsSurviveReopening(t *testing.T, place Place) {
	var before []store.Record
	during(t, place, func(st store.Store) {
		for _, key := range unorderedKeys {
			put(t, st, key, "of "+key, 0)
		}
		commit(t, st, largestBatch()[0], store.Write{Key: "g/b", Expect: store.AnyVersion})
		var err error
		if before, err = st.List(t.Context(), "", "", 100); err != nil {
			t.Fatal(err)
		}
	})
	if len(before) != len(unorderedKeys) {
		t.Fatalf("%d records before reopening, want %d", len(before), len(unorderedKeys))
	}
	after, err := opened(t, place).List(t.Context(), "", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("records (-before +after):\n%s", diff)
	}
}

func readySaysYesWhenAWriteCouldBeDurable(t *testing.T, place Place) {
	if err := opened(t, place).Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// expectedKeys are those of unorderedKeys under prefix, in order.
func expectedKeys(prefix string) []string {
	keys := slices.DeleteFunc(slices.Sorted(slices.Values(unorderedKeys)), func(key string) bool {
		return !strings.HasPrefix(key, prefix)
	})
	if len(keys) == 0 {
		return nil
	}
	return keys
}

func keysOf(page []store.Record) []string {
	var keys []string
	for _, rec := range page {
		keys = append(keys, rec.Key)
	}
	return keys
}
