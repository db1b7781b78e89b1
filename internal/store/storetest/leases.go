package storetest

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

const ttl = 10 * time.Second

func leaseIsExclusive(t *testing.T, place Place) {
	st := opened(t, place)
	lease := acquire(t, st, "grant/a", "one", ttl)
	if lease.Key != "grant/a" || lease.Owner != "one" || lease.Fence == 0 || lease.Expires.IsZero() {
		t.Errorf("lease is %+v", lease)
	}
	for _, owner := range []string{"two", "one"} {
		if _, err := st.Acquire(t.Context(), "grant/a", owner, ttl); !errors.Is(err, store.ErrLeased) {
			t.Errorf("Acquire by %s: %v, want ErrLeased", owner, err)
		}
	}
	acquire(t, st, "grant/b", "two", ttl)
}

func leaseHasOneWinner(t *testing.T, place Place) {
	st := opened(t, place)
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			switch _, err := st.Acquire(t.Context(), "k", strconv.Itoa(i), ttl); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrLeased):
				t.Errorf("Acquire: %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have the lease", won.Load())
	}
}

func leaseExpires(t *testing.T, place Place) {
	st := opened(t, place)
	old := acquire(t, st, "k", "one", ttl)
	place.Advance(ttl - time.Second)
	if _, err := st.Acquire(t.Context(), "k", "two", ttl); !errors.Is(err, store.ErrLeased) {
		t.Errorf("a second before the end: %v, want ErrLeased", err)
	}
	place.Advance(2 * time.Second)
	if _, err := st.Renew(t.Context(), old, ttl); !errors.Is(err, store.ErrFenced) {
		t.Errorf("Renew after the end: %v, want ErrFenced", err)
	}
	acquire(t, st, "k", "two", ttl)
	if _, err := st.Renew(t.Context(), old, ttl); !errors.Is(err, store.ErrFenced) {
		t.Errorf("Renew of an overtaken lease: %v, want ErrFenced", err)
	}
}

func leaseIsRenewed(t *testing.T, place Place) {
	st := opened(t, place)
	first := acquire(t, st, "k", "one", ttl)
	place.Advance(ttl - time.Second)
	second, err := st.Renew(t.Context(), first, ttl)
	if err != nil {
		t.Fatalf("Renew: %v", err)
	}
	if second.Fence != first.Fence || !second.Expires.After(first.Expires) {
		t.Errorf("renewed from %+v to %+v", first, second)
	}
	place.Advance(ttl - time.Second)
	if _, err := st.Acquire(t.Context(), "k", "two", ttl); !errors.Is(err, store.ErrLeased) {
		t.Errorf("Acquire of a renewed lease: %v, want ErrLeased", err)
	}
	// The copy from before the renewal names the same lease.
	if _, err := st.Commit(t.Context(), &first, store.Write{Key: "k", Value: []byte("v")}); err != nil {
		t.Errorf("Commit under the copy from before the renewal: %v", err)
	}
}

func leaseIsReleased(t *testing.T, place Place) {
	st := opened(t, place)
	lease := acquire(t, st, "k", "one", ttl)
	for range 2 {
		if err := st.Release(t.Context(), lease); err != nil {
			t.Errorf("Release: %v", err)
		}
	}
	if _, err := st.Renew(t.Context(), lease, ttl); !errors.Is(err, store.ErrFenced) {
		t.Errorf("Renew after Release: %v, want ErrFenced", err)
	}
	acquire(t, st, "k", "two", ttl)
}

func leaseOfSomebodyElseIsNotReleased(t *testing.T, place Place) {
	st := opened(t, place)
	old := acquire(t, st, "k", "one", ttl)
	place.Advance(ttl + time.Second)
	current := acquire(t, st, "k", "one", ttl)
	stranger := current
	stranger.Owner = "two"
	for _, lease := range []store.Lease{old, stranger} {
		if err := st.Release(t.Context(), lease); err != nil {
			t.Errorf("Release: %v", err)
		}
	}
	if _, err := st.Acquire(t.Context(), "k", "three", ttl); !errors.Is(err, store.ErrLeased) {
		t.Errorf("somebody else's lease was released: %v", err)
	}
}

func leaseRefusesWhatIsInvalid(t *testing.T, place Place) {
	st := opened(t, place)
	if _, err := st.Acquire(t.Context(), "", "one", ttl); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("empty key: %v, want ErrInvalid", err)
	}
	if _, err := st.Acquire(t.Context(), "k", "one", 0); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no time to live: %v, want ErrInvalid", err)
	}
	lease := acquire(t, st, "k", "one", ttl)
	if _, err := st.Renew(t.Context(), lease, -ttl); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("renewal into the past: %v, want ErrInvalid", err)
	}
}

func commitUnderALeaseThatHolds(t *testing.T, place Place) {
	st := opened(t, place)
	lease := acquire(t, st, "lock", "one", ttl)
	if _, err := st.Commit(t.Context(), &lease, store.Write{Key: "k", Value: []byte("v")}); err != nil {
		t.Errorf("Commit: %v", err)
	}
	_, err := st.Commit(t.Context(), &lease, store.Write{Key: "k", Value: []byte("v")})
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("a lease does not spare the comparison of versions: %v, want ErrConflict", err)
	}
}

func commitUnderAnEndedLeaseIsFenced(t *testing.T, place Place) {
	for name, end := range map[string]func(t *testing.T, st store.Store, lease *store.Lease){
		"expired": func(*testing.T, store.Store, *store.Lease) { place.Advance(ttl + time.Second) },
		"overtaken": func(t *testing.T, st store.Store, lease *store.Lease) {
			place.Advance(ttl + time.Second)
			acquire(t, st, lease.Key, "two", ttl)
		},
		"overtaken by its own owner": func(t *testing.T, st store.Store, lease *store.Lease) {
			place.Advance(ttl + time.Second)
			acquire(t, st, lease.Key, lease.Owner, ttl)
		},
		"released": func(t *testing.T, st store.Store, lease *store.Lease) {
			if err := st.Release(t.Context(), *lease); err != nil {
				t.Fatal(err)
			}
		},
		"never given out": func(_ *testing.T, _ store.Store, lease *store.Lease) { lease.Fence++ },
		"of another":      func(_ *testing.T, _ store.Store, lease *store.Lease) { lease.Owner = "two" },
	} {
		t.Run(name, func(t *testing.T) {
			during(t, place, func(st store.Store) {
				lease := acquire(t, st, "lock", "one", ttl)
				end(t, st, &lease)
				_, err := st.Commit(
					t.Context(), &lease,
					store.Write{Key: "a", Value: []byte("v"), Expect: store.AnyVersion},
					store.Write{Key: "b", Value: []byte("v"), Expect: 7},
				)
				if !errors.Is(err, store.ErrFenced) {
					t.Errorf("Commit: %v, want ErrFenced", err)
				}
				if _, err := st.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("a fenced batch was written: %v", err)
				}
				// Whoever has the lease now must not keep it for the next test.
				place.Advance(ttl + time.Second)
			})
		})
	}
}

func fencesGrow(t *testing.T, place Place) {
	st := opened(t, place)
	last := uint64(0)
	for i := range 6 {
		lease := acquire(t, st, "k", "one", ttl)
		if lease.Fence <= last {
			t.Errorf("fence went from %d to %d", last, lease.Fence)
		}
		last = lease.Fence
		if i%2 == 0 {
			place.Advance(ttl + time.Second)
		} else if err := st.Release(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
	}
}

func fencesGrowAcrossReopening(t *testing.T, place Place) {
	var old store.Lease
	for range 3 {
		during(t, place, func(st store.Store) {
			lease := acquire(t, st, "k", "one", ttl)
			if lease.Fence <= old.Fence {
				t.Errorf("fence went from %d to %d", old.Fence, lease.Fence)
			}
			if _, err := st.Renew(t.Context(), old, ttl); !errors.Is(err, store.ErrFenced) {
				t.Errorf("a lease from before reopening was renewed: %v", err)
			}
			old = lease
			place.Advance(ttl + time.Second)
		})
	}
}
