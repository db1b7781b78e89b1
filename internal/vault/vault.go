// Package vault keeps grants and keys in a store: each record sealed under its
// own name, and beside the grants the little that must be found without
// opening them.
//
//	grant/<account>             sealed: the whole grant
//	index/<account>             plain: provider, state, due time, last use
//	intent/<account>            plain, empty: a token request has no result yet
//	due/<time>/<account>        plain, empty: when it is to be looked after
//	lapse/<provider>/<time>/<account>
//	                            plain, empty: when the grant lapses
//	count/<provider>/<state>    plain: how many accounts
//	key/<name>                  sealed: a caller's key
//	spent/<link>                plain: until when a used link is remembered
//	store/id                    plain: what tells this store from another
//	keyset/records/<key ID>     plain, empty: a key that sealed records
//	keyset/first                plain: the first of them
//
// The lease of grant/<account> is the right to send a token request for it.
package vault

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// The prefixes of the records.
const (
	grantPrefix  = "grant/"
	indexPrefix  = "index/"
	intentPrefix = "intent/"
	duePrefix    = "due/"
	lapsePrefix  = "lapse/"
	countPrefix  = "count/"
	keyPrefix    = "key/"
	spentPrefix  = "spent/"
	storeIDKey   = "store/id"
)

// listPage is how many records are read at a time.
const listPage = 1000

// Vault is safe for use by many goroutines.
type Vault struct {
	store store.Store
	seal  *secret.Sealer
}

// New makes a vault of st whose records are sealed by seal.
func New(st store.Store, seal *secret.Sealer) *Vault {
	return &Vault{store: st, seal: seal}
}

// Ready is the store's: nil if a write could be made durable now.
func (v *Vault) Ready(ctx context.Context) error { return v.store.Ready(ctx) }

func (v *Vault) sealed(key string, record any) ([]byte, error) {
	plain, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encoding record %s: %w", key, err)
	}
	sealed, err := v.seal.Seal(plain, key)
	if err != nil {
		return nil, fmt.Errorf("sealing record %s: %w", key, err)
	}
	return sealed, nil
}

func (v *Vault) open(r store.Record, into any) error {
	plain, err := v.seal.Open(r.Value, r.Key)
	if err != nil {
		return fmt.Errorf("opening record %s: %w", r.Key, err)
	}
	if err := json.Unmarshal(plain, into); err != nil {
		return fmt.Errorf("decoding record %s: %w", r.Key, err)
	}
	return nil
}
