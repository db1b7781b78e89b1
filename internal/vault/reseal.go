package vault

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// resealKey is there while records may be sealed with older keys than the
// primary one, whose ID it has, so that a restart goes on with sealing them anew.
const resealKey = "keyset/reseal"

// resealPage is how many records are read at a time. Each is written by itself:
// one that changes meanwhile holds up no other.
const resealPage = 100

// RotateKeyset gives the keyset new keys, which st is told of before they seal
// anything there. [Vault.Reseal] then seals anew what is kept.
func RotateKeyset(ctx context.Context, st store.Store, keys *secret.Keyset) error {
	return keys.Rotate(func(records uint32) error {
		if err := introduce(ctx, st, records); err != nil {
			return fmt.Errorf("marking the new key: %w", err)
		}
		return nil
	})
}

// introduce says that a new key is about to seal records, among others that
// older keys have sealed.
func introduce(ctx context.Context, st store.Store, id uint32) error {
	_, err := st.Commit(ctx, nil,
		store.Write{Key: markerKey(id), Value: []byte{}, Expect: store.AnyVersion},
		store.Write{Key: resealKey, Value: strconv.AppendUint(nil, uint64(id), 10), Expect: store.AnyVersion})
	return err
}

// Reseal seals with the primary key what older keys have sealed, if a rotation
// asked for it: whoever has an older keyset and a newer copy of the store can
// then open nothing. It returns how many records it wrote. Older keys are still
// needed for older backups, and for what is sealed outside the store.
func (v *Vault) Reseal(ctx context.Context) (int, error) {
	written := 0
	for {
		asked, err := v.store.Get(ctx, resealKey)
		if errors.Is(err, store.ErrNotFound) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		if string(asked.Value) != strconv.FormatUint(uint64(v.seal.Primary()), 10) {
			return written, nil // the rotation is under way: who rotates calls again
		}
		for _, prefix := range exported {
			n, err := v.resealAll(ctx, prefix)
			written += n
			if err != nil {
				return written, fmt.Errorf("sealing records anew: %w", err)
			}
		}
		_, err = v.store.Commit(ctx, nil, store.Write{Key: resealKey, Expect: asked.Version})
		if errors.Is(err, store.ErrConflict) {
			continue // the keyset was rotated once more
		}
		return written, err
	}
}

func (v *Vault) resealAll(ctx context.Context, prefix string) (int, error) {
	written := 0
	for after := ""; ; {
		records, err := v.store.List(ctx, prefix, after, resealPage)
		if err != nil {
			return written, err
		}
		for _, r := range records {
			done, err := v.reseal(ctx, r)
			if err != nil {
				return written, err
			}
			if done {
				written++
			}
		}
		if len(records) < resealPage {
			return written, nil
		}
		after = records[len(records)-1].Key
	}
}

// reseal seals one record anew. What somebody changes meanwhile is sealed by
// them.
func (v *Vault) reseal(ctx context.Context, r store.Record) (bool, error) {
	for {
		if id, ok := v.seal.KeyID(r.Value); ok && id == v.seal.Primary() {
			return false, nil
		}
		plain, err := v.seal.Open(r.Value, r.Key)
		if err != nil {
			return false, fmt.Errorf("opening record %s: %w", r.Key, err)
		}
		sealed, err := v.seal.Seal(plain, r.Key)
		if err != nil {
			return false, err
		}
		_, err = v.store.Commit(ctx, nil, store.Write{Key: r.Key, Value: sealed, Expect: r.Version})
		if !errors.Is(err, store.ErrConflict) {
			return err == nil, err
		}
		// Who changed it may have sealed it just before the rotation.
		if r, err = v.store.Get(ctx, r.Key); errors.Is(err, store.ErrNotFound) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
}
