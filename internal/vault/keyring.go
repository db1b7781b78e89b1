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

	// changing is held from reading or writing the store until memory has what
	// that came to, so that memory never goes back. Lookups do not wait for it.
	changing sync.Mutex

	mu     sync.RWMutex
	byHash map[string]*policy.Key
}

// LoadKeyring reads all keys of the vault.
func LoadKeyring(ctx context.Context, v *Vault) (*Keyring, error) {
	k := &Keyring{vault: v}
	if err := k.load(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// load reads all keys; changing is held, or nobody else has k yet. One that
// cannot be opened is an error, but the others are known then: else it would
// keep keys alive that were removed.
func (k *Keyring) load(ctx context.Context) error {
	byHash := make(map[string]*policy.Key)
	var unopened error
	for after := ""; ; {
		records, err := k.vault.store.List(ctx, keyPrefix, after, listPage)
		if err != nil {
			return fmt.Errorf("reading keys: %w", err)
		}
		for _, r := range records {
			key := new(policy.Key)
			if err := k.vault.open(r, key); err != nil {
				unopened = errors.Join(unopened, err)
				continue
			}
			byHash[key.Hash] = key
		}
		if len(records) < listPage {
			break
		}
		after = records[len(records)-1].Key
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.byHash = byHash
	return unopened
}

// Follow keeps the keys those of the store, whoever changes them, until ctx ends
// or the store fails.
func (k *Keyring) Follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := k.vault.store.Watch(ctx, keyPrefix)
	if err != nil {
		return err
	}
	if err := k.Reload(ctx); err != nil {
		return err
	}
	for e := range events {
		if e.Key == "" {
			err = k.Reload(ctx)
		} else {
			err = k.reread(ctx, e.Key)
		}
		if err != nil {
			return err
		}
	}
	return errWatchEnded
}

// Reload reads all keys anew.
func (k *Keyring) Reload(ctx context.Context) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	return k.load(ctx)
}

// reread reads the record of one key.
func (k *Keyring) reread(ctx context.Context, record string) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	r, err := k.vault.store.Get(ctx, record)
	if errors.Is(err, store.ErrNotFound) {
		k.put(strings.TrimPrefix(record, keyPrefix), nil)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading key: %w", err)
	}
	key := new(policy.Key)
	if err := k.vault.open(r, key); err != nil {
		k.put(strings.TrimPrefix(record, keyPrefix), nil) // whatever it is, it is not what is known
		return err
	}
	k.put(key.Name, key)
	return nil
}

// put makes key the one of that name, or nil: there is none.
func (k *Keyring) put(name string, key *policy.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.byHash, func(_ string, old *policy.Key) bool { return old.Name == name })
	if key != nil {
		k.byHash[key.Hash] = key
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
	k.changing.Lock()
	defer k.changing.Unlock()
	_, err = k.vault.store.Commit(ctx, nil, store.Write{Key: name, Value: value, Expect: 0})
	if errors.Is(err, store.ErrConflict) {
		return ErrKeyExists
	}
	if err != nil {
		return err
	}
	k.put(key.Name, key)
	return nil
}

// Remove forgets the key with that name or hash and reports whether there was
// one. From then on it opens nothing.
func (k *Keyring) Remove(ctx context.Context, nameOrHash string) (bool, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	key := k.find(nameOrHash)
	if key == nil {
		// Another process may have added it a moment ago.
		if err := k.load(ctx); err != nil {
			return false, err
		}
		if key = k.find(nameOrHash); key == nil {
			return false, nil
		}
	}
	if _, err := k.vault.store.Commit(ctx, nil, store.Write{Key: keyPrefix + key.Name, Expect: store.AnyVersion}); err != nil {
		return false, err
	}
	k.put(key.Name, nil)
	return true, nil
}

// find returns the key with that name or hash, or nil.
func (k *Keyring) find(nameOrHash string) *policy.Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for hash, key := range k.byHash {
		if key.Name == nameOrHash || hash == nameOrHash {
			return key
		}
	}
	return nil
}
