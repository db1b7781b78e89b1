package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// Entry is a record as a backup has it: a grant or a caller's key, under the
// name and in the form in which the store has it, but open.
type Entry struct {
	// Key is the record's.
	Key string
	// Text is JSON with secrets in the clear.
	Text secret.String
}

// exported are the prefixes of the records that a backup needs, in its order.
// What stands beside the grants follows from them.
var exported = []string{grantPrefix, keyPrefix}

// Export returns up to limit entries after the given key (empty: from the
// start), and whether those were the last.
func (v *Vault) Export(ctx context.Context, after string, limit int) (entries []Entry, last bool, err error) {
	for i, prefix := range exported {
		if !strings.HasPrefix(after, prefix) && after >= prefix {
			continue // this part was read before
		}
		start := after
		if !strings.HasPrefix(after, prefix) {
			start = ""
		}
		records, err := v.store.List(ctx, prefix, start, limit-len(entries))
		if err != nil {
			return nil, false, err
		}
		for _, r := range records {
			e, err := v.entry(r)
			if err != nil {
				return nil, false, err
			}
			entries = append(entries, e)
		}
		if len(entries) == limit {
			return entries, false, nil
		}
		last = i == len(exported)-1
	}
	return entries, last, nil
}

// ExportOne returns the entry under the key; ok is false when there is none.
func (v *Vault) ExportOne(ctx context.Context, key string) (e Entry, ok bool, err error) {
	r, err := v.store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return Entry{}, false, nil
	}
	if err != nil {
		return Entry{}, false, err
	}
	e, err = v.entry(r)
	return e, err == nil, err
}

func (v *Vault) entry(r store.Record) (Entry, error) {
	plain, err := v.seal.Open(r.Value, r.Key)
	if err != nil {
		return Entry{}, fmt.Errorf("opening record %s: %w", r.Key, err)
	}
	return Entry{Key: r.Key, Text: secret.New(string(plain))}, nil
}

// Changed watches the entries, grants and keys apart, until ctx ends. An event
// without a key says that some may have been missed.
func (v *Vault) Changed(ctx context.Context) (grants, keys <-chan store.Event, err error) {
	if grants, err = v.store.Watch(ctx, grantPrefix); err != nil {
		return nil, nil, err
	}
	if keys, err = v.store.Watch(ctx, keyPrefix); err != nil {
		return nil, nil, err
	}
	return grants, keys, nil
}

// Decode reads the entry: one of the two results is not nil.
func (e Entry) Decode() (*account.Grant, *policy.Key, error) {
	text := []byte(e.Text.Reveal())
	switch {
	case strings.HasPrefix(e.Key, grantPrefix):
		var s sealedGrant
		// The decoder's error could quote a token.
		if json.Unmarshal(text, &s) != nil || grantPrefix+s.ID != e.Key {
			return nil, nil, fmt.Errorf("decoding entry %s: not a grant of that account", e.Key)
		}
		return s.grant(), nil, nil
	case strings.HasPrefix(e.Key, keyPrefix):
		key := new(policy.Key)
		if json.Unmarshal(text, key) != nil || keyPrefix+key.Name != e.Key {
			return nil, nil, fmt.Errorf("decoding entry %s: not a key of that name", e.Key)
		}
		return nil, key, nil
	}
	return nil, nil, fmt.Errorf("decoding entry %s: neither a grant nor a key: use the version of Bellhop that wrote it", e.Key)
}
