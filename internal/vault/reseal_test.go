package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// sealedWith counts the sealed records of st by key.
func sealedWith(t *testing.T, st store.Store, seal *secret.Sealer) map[uint32]int {
	t.Helper()
	n := map[uint32]int{}
	for _, prefix := range exported {
		records, err := st.List(t.Context(), prefix, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			id, _ := seal.KeyID(r.Value)
			n[id]++
		}
	}
	return n
}

func TestRotationSealsRecordsAnew(t *testing.T) {
	st, path := newStore(t), keysetPath(t)
	keys := openKeyset(t, st, path)
	v := New(st, keys.Sealer(secret.Records))
	for i := range 150 {
		save(t, v, fullGrant(fmt.Sprintf("account%03d", i)), 0)
	}
	ring, err := LoadKeyring(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Add(t.Context(), &policy.Key{Name: "ci", Hash: "h"}); err != nil {
		t.Fatal(err)
	}
	if n, err := v.Reseal(t.Context()); n != 0 || err != nil {
		t.Errorf("without a rotation: %d, %v", n, err)
	}
	old := keys.KeyIDs(secret.Records)[0]
	if err := RotateKeyset(t.Context(), st, keys); err != nil {
		t.Fatal(err)
	}
	primary := keys.KeyIDs(secret.Records)[0]
	if n := len(markers(t, st)); n != 2 {
		t.Errorf("%d markers, want one for each key", n)
	}
	if diff := cmp.Diff(map[uint32]int{old: 151}, sealedWith(t, st, keys.Sealer(secret.Records))); diff != "" {
		t.Error(diff)
	}
	// What is saved meanwhile is sealed anew by who saves it.
	g, version, err := v.Grant(t.Context(), "account007")
	if err != nil {
		t.Fatal(err)
	}
	save(t, v, g, version)

	// A process that ends meanwhile leaves the rest to the next.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Reseal(ctx); err == nil {
		t.Error("an ended context was not noticed")
	}
	again := New(st, openKeyset(t, st, path).Sealer(secret.Records))
	if n, err := again.Reseal(t.Context()); n != 150 || err != nil {
		t.Errorf("sealed %d anew, %v", n, err)
	}
	if diff := cmp.Diff(map[uint32]int{primary: 151}, sealedWith(t, st, keys.Sealer(secret.Records))); diff != "" {
		t.Error(diff)
	}
	if n, err := again.Reseal(t.Context()); n != 0 || err != nil {
		t.Errorf("once more: %d, %v", n, err)
	}
	if g, _, err := v.Grant(t.Context(), "account100"); err != nil || g.RefreshToken.Reveal() != "refresh token" {
		t.Errorf("%v, %v", g, err)
	}
}

func TestResealingTakesNothingFromWhoSavesMeanwhile(t *testing.T) {
	st := newStore(t)
	keys := openKeyset(t, st, keysetPath(t))
	busy := &busyStore{Store: st}
	v := New(busy, keys.Sealer(secret.Records))
	version := save(t, v, fullGrant("alice"), 0)
	old := keys.Sealer(secret.Records).Fixed()
	if err := RotateKeyset(t.Context(), st, keys); err != nil {
		t.Fatal(err)
	}
	// Between reading and writing somebody saves, who sealed before the rotation.
	busy.before = func() {
		newer := fullGrant("alice")
		newer.RefreshToken = secret.New("newer token")
		if _, err := New(st, old).Save(t.Context(), nil, newer, version, time.Time{}, time.Time{}); err != nil {
			t.Error(err)
		}
	}
	if n, err := v.Reseal(t.Context()); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	g, _, err := v.Grant(t.Context(), "alice")
	if err != nil || g.RefreshToken.Reveal() != "newer token" {
		t.Errorf("%v, %v", g, err)
	}
	r, err := st.Get(t.Context(), "grant/alice")
	if id, _ := old.KeyID(r.Value); err != nil || id != keys.KeyIDs(secret.Records)[0] {
		t.Errorf("sealed with %d, %v", id, err)
	}
}

// busyStore is changed once, before the first commit.
type busyStore struct {
	store.Store
	before func()
}

func (b *busyStore) Commit(ctx context.Context, lease *store.Lease, writes ...store.Write) ([]uint64, error) {
	if do := b.before; do != nil {
		b.before = nil
		do()
	}
	return b.Store.Commit(ctx, lease, writes...)
}

func TestARotationThatTheStoreCannotKnowSealsNothing(t *testing.T) {
	st := newStore(t)
	keys := openKeyset(t, st, keysetPath(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := keys.KeyIDs(secret.Records)
	if err := RotateKeyset(ctx, st, keys); err == nil {
		t.Error("nobody noticed")
	}
	if diff := cmp.Diff(before, keys.KeyIDs(secret.Records)); diff != "" {
		t.Error(diff)
	}
	// The next start finds keys that sealed nothing, and goes on with them.
	if _, err := os.Stat(keys.Path()); err != nil {
		t.Fatal(err)
	}
	if again := openKeyset(t, st, keys.Path()); len(again.KeyIDs(secret.Records)) != 2 {
		t.Errorf("keys %v", again.KeyIDs(secret.Records))
	}
}

// A process may end at each step of a rotation.
func TestRotationThatBrokeOffGoesOnAtTheNextStart(t *testing.T) {
	for name, after := range map[string]func(store.Store, uint32) error{
		"the file is replaced":    func(store.Store, uint32) error { return nil },
		"the store knows the key": func(st store.Store, id uint32) error { return introduce(t.Context(), st, id) },
	} {
		t.Run(name, func(t *testing.T) {
			st, path := newStore(t), keysetPath(t)
			keys := openKeyset(t, st, path)
			v := New(st, keys.Sealer(secret.Records))
			save(t, v, fullGrant("alice"), 0)
			ended := errors.New("ended")
			var fresh uint32
			err := keys.Rotate(func(id uint32) error {
				fresh = id
				if err := after(st, id); err != nil {
					t.Error(err)
				}
				// Whoever seals anew just now cannot have the new key yet.
				if n, err := v.Reseal(t.Context()); n != 0 || err != nil {
					t.Errorf("%d, %v", n, err)
				}
				return ended
			})
			if !errors.Is(err, ended) {
				t.Fatal(err)
			}
			again := New(st, openKeyset(t, st, path).Sealer(secret.Records))
			if n, err := again.Reseal(t.Context()); n != 1 || err != nil {
				t.Errorf("sealed %d anew, %v", n, err)
			}
			if diff := cmp.Diff(map[uint32]int{fresh: 1}, sealedWith(t, st, again.seal)); diff != "" {
				t.Error(diff)
			}
			openKeyset(t, st, path)
			if _, err := st.Get(t.Context(), resealKey); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a start like any other has records sealed anew: %v", err)
			}
		})
	}
}
