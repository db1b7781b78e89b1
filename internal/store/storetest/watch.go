package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

func watchSendsCommittedChanges(t *testing.T, place Place) {
	st := opened(t, place)
	put(t, st, "g/before", "v", 0)
	first, second := watch(t, t.Context(), st, "g/"), watch(t, t.Context(), st, "g/")
	version := put(t, st, "g/a", "1", 0)
	put(t, st, "g/a", "2", version)
	commit(t, st, store.Write{Key: "g/a", Expect: store.AnyVersion}, store.Write{Key: "g/b", Value: []byte("v")})
	want := []store.Event{{Key: "g/a"}, {Key: "g/a"}, {Key: "g/a", Deleted: true}, {Key: "g/b"}}
	for _, events := range []<-chan store.Event{first, second} {
		if diff := cmp.Diff(want, receiveN(t, events, len(want))); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	}
}

func watchKeepsToItsPrefix(t *testing.T, place Place) {
	st := opened(t, place)
	narrow, all := watch(t, t.Context(), st, "g/a"), watch(t, t.Context(), st, "")
	commit(t, st, store.Write{Key: "f", Value: []byte("v")})
	commit(t, st, store.Write{Key: "g/b", Value: []byte("v")}, store.Write{Key: "g/ab", Value: []byte("v")})
	commit(t, st, store.Write{Key: "g/a", Value: []byte("v")})
	if diff := cmp.Diff([]store.Event{{Key: "g/ab"}, {Key: "g/a"}}, receiveN(t, narrow, 2)); diff != "" {
		t.Errorf("events under g/a (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]store.Event{{Key: "f"}, {Key: "g/b"}, {Key: "g/ab"}, {Key: "g/a"}}, receiveN(t, all, 4)); diff != "" {
		t.Errorf("all events (-want +got):\n%s", diff)
	}
}

func watchTellsVersions(t *testing.T, place Place) {
	st := opened(t, place)
	events := watch(t, t.Context(), st, "g/")
	first := put(t, st, "g/a", "1", 0)
	second := put(t, st, "g/a", "2", first)
	commit(t, st, store.Write{Key: "g/a", Expect: store.AnyVersion}, store.Write{Key: "f", Value: []byte("v")})
	for _, want := range []store.Event{{Key: "g/a", Version: first}, {Key: "g/a", Version: second}, {Key: "g/a", Deleted: true}} {
		select {
		case got := <-events:
			if got != want {
				t.Errorf("event %+v, want %+v", got, want)
			}
		case <-time.After(patience):
			t.Fatal("no event came")
		}
	}
}

func watchSendsNothingForARefusedBatch(t *testing.T, place Place) {
	st := opened(t, place)
	events := watch(t, t.Context(), st, "")
	_, err := st.Commit(t.Context(), nil, store.Write{Key: "a", Value: []byte("v")}, store.Write{Key: "b", Value: []byte("v"), Expect: 7})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Commit: %v, want ErrConflict", err)
	}
	put(t, st, "c", "v", 0)
	if e, _ := receive(t, events); e != (store.Event{Key: "c"}) {
		t.Errorf("first event is %+v, want that of c", e)
	}
}

func watchTellsSlowConsumersToReadAgain(t *testing.T, place Place) {
	const batches, perBatch = 20, 500
	st := opened(t, place)
	events := watch(t, t.Context(), st, "slow/")
	for i := range batches {
		writes := make([]store.Write, perBatch)
		for j := range writes {
			writes[j] = store.Write{Key: fmt.Sprintf("slow/%d/%d", i, j), Value: []byte("v")}
		}
		commit(t, st, writes...)
	}
	for range batches * perBatch {
		e, ok := receive(t, events)
		if !ok {
			t.Fatal("the channel of a slow consumer was closed")
		}
		if e.Key == "" {
			break
		}
	}
	// Where events come behind their commits, those of before may be too many
	// once more.
	for e := (store.Event{}); e.Key != "slow/after"; {
		if e.Key == "" {
			put(t, st, "slow/after", "v", store.AnyVersion)
		}
		var ok bool
		if e, ok = receive(t, events); !ok {
			t.Fatal("the channel of a slow consumer was closed")
		}
	}
}

func watchEndsWithItsContext(t *testing.T, place Place) {
	st := opened(t, place)
	ctx, cancel := context.WithCancel(t.Context())
	ending, staying := watch(t, ctx, st, ""), watch(t, t.Context(), st, "")
	cancel()
	if e, ok := receive(t, ending); ok {
		t.Errorf("got %+v instead of the end", e)
	}
	put(t, st, "k", "v", 0)
	if e, ok := receive(t, staying); !ok || e.Key != "k" {
		t.Errorf("the other watch got %+v, %v", e, ok)
	}
}

func watchEndsWithTheStore(t *testing.T, place Place) {
	var events <-chan store.Event
	during(t, place, func(st store.Store) { events = watch(t, t.Context(), st, "") })
	if e, ok := receive(t, events); ok {
		t.Errorf("got %+v instead of the end", e)
	}
}

func receiveN(t *testing.T, events <-chan store.Event, n int) []store.Event {
	t.Helper()
	got := make([]store.Event, n)
	for i := range got {
		got[i], _ = receive(t, events)
	}
	return got
}
