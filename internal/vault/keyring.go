package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// ErrKeyExists is returned for a key whose name is taken.
var ErrKeyExists = errors.New("a key of that name exists")

// Keyring is the stored keys of callers, held in memory: a key is looked up at
// every call. It is safe for use by many goroutines.
type Keyring struct {
	vault *Vault

	mu     sync.RWMutex
	byHash map[string]*policy.Key
}

// LoadKeyring reads all keys of the vault.
func LoadKeyring(ctx context.Context, v *Vault) (*Keyring, error) {
	k := &Keyring{vault: v, byHash: make(map[string]*policy.Key)}
	for after := ""; ; {
		records, err := v.store.List(ctx, keyPrefix, after, listPage)
		if err != nil {
			return nil, fmt.Errorf("reading keys: %w", err)
		}
		for _, r := range records {
			key := new(policy.Key)
			if err := v.open(r, key); err != nil {
				return nil, err
			}
			k.byHash[key.Hash] = key
		}
		if len(records) < listPage {
			return k, nil
		}
		after = records[len(records)-1].Key
	}
}

// Find returns the key with the hash, or nil. The key is not to be changed.
func (k *Keyring) Find(hash string) *policy.Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.byHash[hash]
}

// List returns all keys in the order of their names.
func (k *Keyring) List() []*policy.Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.SortedFunc(maps.Values(k.byHash), func(a, b *policy.Key) int { return strings.Compare(a.Name, b.Name) })
}

// Add stores a key, or returns [ErrKeyExists].
func (k *Keyring) Add(ctx context.Context, key *policy.Key) error {
	name := keyPrefix + key.Name
	value, err := k.vault.sealed(name, key)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err = k.vault.store.Commit(ctx, nil, store.Write{Key: name, Value: value, Expect: 0})
	if errors.Is(err, store.ErrConflict) {
		return ErrKeyExists
	}
	if err != nil {
		return err
	}
	k.byHash[key.Hash] = key
	return nil
}

// Remove forgets the key with that name or hash and reports whether there was
// one. From then on it opens nothing.
func (k *Keyring) Remove(ctx context.Context, nameOrHash string) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for hash, key := range k.byHash {
		if key.Name != nameOrHash && hash != nameOrHash {
			continue
		}
		if _, err := k.vault.store.Commit(ctx, nil, store.Write{Key: keyPrefix + key.Name, Expect: store.AnyVersion}); err != nil {
			return false, err
		}
		delete(k.byHash, hash)
		return true, nil
	}
	return false, nil
}
