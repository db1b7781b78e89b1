package store

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of every implementation. They are what the strictest one can do:
// MaxKey fits an index entry of PostgreSQL, MaxBatch and MaxWrites one
// transaction of a Badger with small memtables.
const (
	// MaxKey is the greatest length of a key in bytes.
	MaxKey = 2048
	// MaxValue is the greatest length of a value in bytes.
	MaxValue = 256 << 10
	// MaxWrites is the greatest number of writes in a batch.
	MaxWrites = 1000
	// MaxBatch is the greatest sum of the lengths of keys and values in a
	// batch, in bytes.
	MaxBatch = 1 << 20
)

// CheckKey returns an error that wraps [ErrInvalid] for what cannot be a key.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: key is empty", ErrInvalid)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: key has %d bytes, at most %d are allowed", ErrInvalid, len(key), MaxKey)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w: key %q is not UTF-8", ErrInvalid, key)
	case strings.ContainsRune(key, 0):
		return fmt.Errorf("%w: key %q contains NUL", ErrInvalid, key)
	}
	return nil
}

// CheckWrites returns an error that wraps [ErrInvalid] for what cannot be a
// batch.
func CheckWrites(writes []Write) error {
	if len(writes) == 0 || len(writes) > MaxWrites {
		return fmt.Errorf("%w: batch has %d writes, 1 to %d are allowed", ErrInvalid, len(writes), MaxWrites)
	}
	size := 0
	seen := make(map[string]struct{}, len(writes))
	for _, w := range writes {
		if err := CheckKey(w.Key); err != nil {
			return err
		}
		if len(w.Value) > MaxValue {
			return fmt.Errorf("%w: value of %q has %d bytes, at most %d are allowed", ErrInvalid, w.Key, len(w.Value), MaxValue)
		}
		if _, twice := seen[w.Key]; twice {
			return fmt.Errorf("%w: batch writes %q twice", ErrInvalid, w.Key)
		}
		seen[w.Key] = struct{}{}
		size += len(w.Key) + len(w.Value)
	}
	if size > MaxBatch {
		return fmt.Errorf("%w: batch has %d bytes, at most %d are allowed", ErrInvalid, size, MaxBatch)
	}
	return nil
}

// CheckLimit returns an error that wraps [ErrInvalid] for what cannot be the
// limit of a page.
func CheckLimit(limit int) error {
	if limit < 1 {
		return fmt.Errorf("%w: limit %d is less than 1", ErrInvalid, limit)
	}
	return nil
}

// CheckTTL returns an error that wraps [ErrInvalid] for what cannot be the
// life of a lease.
func CheckTTL(ttl time.Duration) error {
	if ttl <= 0 {
		return fmt.Errorf("%w: lease of %v", ErrInvalid, ttl)
	}
	return nil
}
