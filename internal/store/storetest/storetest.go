// Package storetest is the contract of [store.Store] as tests.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// Place is where records are kept: a directory, a database.
type Place struct {
	// Open opens the store. The test closes it, and may open it again after.
	Open func(t *testing.T) store.Store
	// Advance moves on the clock by which the leases of this place end.
	Advance func(time.Duration)
}

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// Run tests one implementation. newPlace gives an empty place of its own to
// each test.
func Run(t *testing.T, newPlace func(t *testing.T) Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"GetFindsWhatWasCommitted":             getFindsWhatWasCommitted,
		"CommitComparesVersions":               commitComparesVersions,
		"CommitIsAllOrNothing":                 commitIsAllOrNothing,
		"CommitDeletes":                        commitDeletes,
		"CommitWithoutLookingAtVersions":       commitWithoutLookingAtVersions,
		"CommitRefusesWhatIsInvalid":           commitRefusesWhatIsInvalid,
		"AnEndedContextStopsEverything":        anEndedContextStopsEverything,
		"CommitTakesTheGreatestBatch":          commitTakesTheGreatestBatch,
		"VersionsGrowAcrossDeletion":           versionsGrowAcrossDeletion,
		"VersionsGrowAcrossReopening":          versionsGrowAcrossReopening,
		"ConcurrentIncrementsLoseNothing":      concurrentIncrementsLoseNothing,
		"ReturnedValuesAreTheCallers":          returnedValuesAreTheCallers,
		"ListOrdersKeysByBytes":                listOrdersKeysByBytes,
		"ListPagesWithoutGapOrRepeat":          listPagesWithoutGapOrRepeat,
		"ListStartsAfterAKeyThatIsGone":        listStartsAfterAKeyThatIsGone,
		"ListRefusesALimitBelowOne":            listRefusesALimitBelowOne,
		"RecordsSurviveReopening":              recordsSurviveReopening,
		"WatchSendsCommittedChanges":           watchSendsCommittedChanges,
		"WatchKeepsToItsPrefix":                watchKeepsToItsPrefix,
		"WatchTellsVersions":                   watchTellsVersions,
		"WatchSendsNothingForARefusedBatch":    watchSendsNothingForARefusedBatch,
		"WatchTellsSlowConsumersToReadAgain":   watchTellsSlowConsumersToReadAgain,
		"WatchEndsWithItsContext":              watchEndsWithItsContext,
		"WatchEndsWithTheStore":                watchEndsWithTheStore,
		"LeaseIsExclusive":                     leaseIsExclusive,
		"LeaseHasOneWinner":                    leaseHasOneWinner,
		"LeaseExpires":                         leaseExpires,
		"LeaseIsRenewed":                       leaseIsRenewed,
		"LeaseIsReleased":                      leaseIsReleased,
		"LeaseOfSomebodyElseIsNotReleased":     leaseOfSomebodyElseIsNotReleased,
		"LeaseRefusesWhatIsInvalid":            leaseRefusesWhatIsInvalid,
		"CommitUnderALeaseThatHolds":           commitUnderALeaseThatHolds,
		"CommitUnderAnEndedLeaseIsFenced":      commitUnderAnEndedLeaseIsFenced,
		"FencesGrow":                           fencesGrow,
		"FencesGrowAcrossReopening":            fencesGrowAcrossReopening,
		"ReadySaysYesWhenAWriteCouldBeDurable": readySaysYesWhenAWriteCouldBeDurable,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newPlace(t))
		})
	}
}

// opened opens the store and closes it when the test ends.
func opened(t *testing.T, place Place) store.Store {
	t.Helper()
	st := place.Open(t)
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return st
}

// during opens the store for the time of do.
func during(t *testing.T, place Place, do func(st store.Store)) {
	t.Helper()
	st := place.Open(t)
	do(st)
	if err := st.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// put commits one write and returns its version.
func put(t *testing.T, st store.Store, key, value string, expect uint64) uint64 {
	t.Helper()
	return commit(t, st, store.Write{Key: key, Value: []byte(value), Expect: expect})[0]
}

func commit(t *testing.T, st store.Store, writes ...store.Write) []uint64 {
	t.Helper()
	versions, err := st.Commit(t.Context(), nil, writes...)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	if len(versions) != len(writes) {
		t.Fatalf("Commit gave %d versions for %d writes", len(versions), len(writes))
	}
	return versions
}

func get(t *testing.T, st store.Store, key string) store.Record {
	t.Helper()
	rec, err := st.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	return rec
}

func acquire(t *testing.T, st store.Store, key, owner string, ttl time.Duration) store.Lease {
	t.Helper()
	lease, err := st.Acquire(t.Context(), key, owner, ttl)
	if err != nil {
		t.Fatalf("Acquire(%q, %q): %v", key, owner, err)
	}
	return lease
}

func watch(t *testing.T, ctx context.Context, st store.Store, prefix string) <-chan store.Event {
	t.Helper()
	events, err := st.Watch(ctx, prefix)
	if err != nil {
		t.Fatalf("Watch(%q): %v", prefix, err)
	}
	return events
}

// receive returns the next event, without its version; ok is false when the
// channel was closed.
func receive(t *testing.T, events <-chan store.Event) (e store.Event, ok bool) {
	t.Helper()
	select {
	case e, ok = <-events:
		e.Version = 0
		return e, ok
	case <-time.After(patience):
		t.Fatal("no event came")
		return store.Event{}, false
	}
}
