package vault

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

func isSpent(t *testing.T, v *Vault, link string) bool {
	t.Helper()
	spent, err := v.IsSpent(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	return spent
}

func TestLinkIsSpentOnce(t *testing.T) {
	v := newVault(t)
	if isSpent(t, v, "link") {
		t.Error("spent before it was used")
	}
	var mu sync.Mutex
	won := 0
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			err := v.Spend(t.Context(), "link", at)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, store.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || !isSpent(t, v, "link") {
		t.Errorf("%d spent it", won)
	}
	if isSpent(t, v, "another") {
		t.Error("another link is spent")
	}
	if err := v.Unspend(t.Context(), "link"); err != nil {
		t.Fatal(err)
	}
	if isSpent(t, v, "link") {
		t.Error("spent after that was taken back")
	}
	if err := v.Spend(t.Context(), "link", at); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func TestSweepForgetsLinksThatAreOver(t *testing.T) {
	v := newVault(t)
	const links = 2*sweepPage + 10
	for i := range links {
		until := at.Add(-time.Minute)
		if i%3 == 0 {
			until = at.Add(time.Nanosecond)
		}
		if err := v.Spend(t.Context(), fmt.Sprintf("%04d", i), until); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.store.Commit(t.Context(), nil, store.Write{Key: spentPrefix + "odd", Value: []byte("no time")}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := v.SweepSpent(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}
	for i := range links {
		if got, want := isSpent(t, v, fmt.Sprintf("%04d", i)), i%3 == 0; got != want {
			t.Fatalf("link %d: spent %t, want %t", i, got, want)
		}
	}
	if !isSpent(t, v, "odd") {
		t.Error("a link was forgotten whose end nobody knows")
	}
}

func TestStoreHasOneID(t *testing.T) {
	v := newVault(t)
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			var err error
			if ids[i], err = v.StoreID(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("IDs %q", ids)
		}
	}
	if again, err := v.StoreID(t.Context()); err != nil || again != ids[0] {
		t.Errorf("later %q (%v), want %q", again, err, ids[0])
	}
	if other, err := newVault(t).StoreID(t.Context()); err != nil || other == ids[0] {
		t.Errorf("another store has %q too (%v)", other, err)
	}
}
