package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// markerPrefix begins the keys of records that say which keys have sealed
// records here; the ID of the key follows in hexadecimal. They are not sealed
// and have no value. A marker is written before its key seals anything, so
// that nobody need read all records to learn which keys they need.
const markerPrefix = "keyset/records/"

// firstKey names the first of these keys. Of nodes that start together on an
// empty store, each with a keyset that it has just made, one can write it.
const firstKey = "keyset/first"

// markerPage is far beyond the number of keys that rotation leaves.
const markerPage = 1000

// OpenKeyset loads the keyset in the file path and makes sure that it fits st:
// it must have every key that sealed a record there. Where the file is missing
// it is created, but only for a store without any record: otherwise the
// records could never be opened again. The errors name the file and the keys
// that are missing, by the IDs that a keyset file has.
func OpenKeyset(ctx context.Context, st store.Store, path string) (*secret.Keyset, error) {
	needed, err := markedKeys(ctx, st)
	if err != nil {
		return nil, fmt.Errorf("opening keyset %s: %w", path, err)
	}
	keys, err := secret.LoadKeyset(path)
	if errors.Is(err, fs.ErrNotExist) {
		keys, err = createFor(ctx, st, path, needed)
	}
	if err != nil {
		return nil, err
	}
	has := keys.KeyIDs(secret.Records)
	missing := slices.DeleteFunc(slices.Clone(needed), func(id uint32) bool { return slices.Contains(has, id) })
	if len(missing) > 0 {
		return nil, fmt.Errorf("opening keyset %s: the store has records sealed with %s, which the file lacks: restore the keyset that belongs to this store",
			path, named(missing))
	}
	switch {
	case slices.Contains(needed, has[0]):
	case len(needed) == 0:
		err = markFirst(ctx, st, has[0])
	default: // a rotation ended after it had written the file
		err = introduce(ctx, st, has[0])
	}
	if err != nil {
		return nil, fmt.Errorf("opening keyset %s: %w", path, err)
	}
	return keys, nil
}

// createFor makes a keyset in the file path for a store without records.
func createFor(ctx context.Context, st store.Store, path string, needed []uint32) (*secret.Keyset, error) {
	if len(needed) > 0 {
		return nil, fmt.Errorf("opening keyset %s: the file is missing, and the store has records sealed with %s: restore the keyset that belongs to this store",
			path, named(needed))
	}
	records, err := st.List(ctx, "", "", 1)
	if err != nil {
		return nil, fmt.Errorf("opening keyset %s: %w", path, err)
	}
	if len(records) > 0 {
		return nil, fmt.Errorf("opening keyset %s: the file is missing, and the store is not empty: restore the keyset that belongs to this store", path)
	}
	return secret.CreateKeyset(path)
}

// markedKeys lists the keys that have sealed records in st.
func markedKeys(ctx context.Context, st store.Store) ([]uint32, error) {
	markers, err := st.List(ctx, markerPrefix, "", markerPage)
	if err != nil {
		return nil, err
	}
	ids := make([]uint32, 0, len(markers))
	for _, marker := range markers {
		id, err := strconv.ParseUint(strings.TrimPrefix(marker.Key, markerPrefix), 16, 32)
		if err != nil {
			return nil, fmt.Errorf("record %q does not name a key", marker.Key)
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}

// markFirst says that the key id is about to seal records, before any other
// has.
func markFirst(ctx context.Context, st store.Store, id uint32) error {
	key := strconv.FormatUint(uint64(id), 10)
	_, err := st.Commit(ctx, nil, store.Write{Key: markerKey(id), Value: []byte{}}, store.Write{Key: firstKey, Value: []byte(key)})
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	first, err := st.Get(ctx, firstKey)
	if err == nil && string(first.Value) != key {
		err = fmt.Errorf("another node has just begun to seal records with key %s, which the file lacks: copy that node's keyset here", first.Value)
	}
	return err
}

func markerKey(id uint32) string { return fmt.Sprintf("%s%08x", markerPrefix, id) }

func named(ids []uint32) string {
	var b strings.Builder
	b.WriteString("key ")
	for i, id := range ids {
		if i > 0 {
			b.WriteString(" and key ")
		}
		b.WriteString(strconv.FormatUint(uint64(id), 10))
	}
	return b.String()
}
