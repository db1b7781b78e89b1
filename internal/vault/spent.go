package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// Spend marks a link, or an attempt's answer, as used until it would have
// expired anyway. It returns [store.ErrConflict] if it was used before.
func (v *Vault) Spend(ctx context.Context, link string, until time.Time) error {
	_, err := v.store.Commit(ctx, nil, store.Write{Key: spentPrefix + link, Value: []byte(until.UTC().Format(time.RFC3339Nano))})
	return err
}

// Unspend takes the mark back.
func (v *Vault) Unspend(ctx context.Context, link string) error {
	_, err := v.store.Commit(ctx, nil, store.Write{Key: spentPrefix + link, Expect: store.AnyVersion})
	return err
}

// IsSpent reports whether a link was used.
func (v *Vault) IsSpent(ctx context.Context, link string) (bool, error) {
	_, err := v.store.Get(ctx, spentPrefix+link)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// SweepSpent forgets the marks of links that have expired by now.
func (v *Vault) SweepSpent(ctx context.Context, now time.Time) error {
	for after := ""; ; {
		records, err := v.store.List(ctx, spentPrefix, after, sweepPage)
		if err != nil {
			return fmt.Errorf("sweeping spent links: %w", err)
		}
		var writes []store.Write
		for _, r := range records {
			// What cannot be read is kept: a link that opens twice is worse
			// than a record too many.
			if until, err := time.Parse(time.RFC3339Nano, string(r.Value)); err == nil && until.Before(now) {
				writes = append(writes, store.Write{Key: r.Key, Expect: store.AnyVersion})
			}
		}
		if len(writes) > 0 {
			if _, err := v.store.Commit(ctx, nil, writes...); err != nil {
				return fmt.Errorf("sweeping spent links: %w", err)
			}
		}
		if len(records) < sweepPage {
			return nil
		}
		after = records[len(records)-1].Key
	}
}

// sweepPage is how many marks are looked at together: no more than one batch
// may delete.
const sweepPage = store.MaxWrites / 2
