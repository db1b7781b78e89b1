package emailengine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Token is an API token of the instance. The token itself is not there: ID is
// the SHA-256 of its bytes, in hexadecimal.
type Token struct {
	ID          string
	Description string
	// Account is the one that it is bound to; empty for all of them.
	Account string
	// API is set for a token that may call the HTTP API. OtherScopes are what
	// else it is for.
	API         bool
	OtherScopes []string
	// Narrowed is set for a token with permissions, which allow less than all of
	// the API and never what hands out access tokens.
	Narrowed bool
	Expires  time.Time
	// Addresses are where its caller must be; none: anywhere.
	Addresses []string
	// Referrers and RateLimited are restrictions of other kinds.
	Referrers   []string
	RateLimited bool

	// Err is why the record cannot be read.
	Err error
}

// Tokens reads the API tokens, some at a time. What it keeps of those that it
// has read is their IDs: Redis may name one twice.
func (i *Instance) Tokens(ctx context.Context, each func([]Token) error) error {
	seen := make(map[string]bool)
	for cursor := uint64(0); ; {
		found, next, err := i.redis.HScan(ctx, i.key("tokens"), cursor, "", page).Result()
		if err != nil {
			return fmt.Errorf("reading API tokens: %w", err)
		}
		for pairs := range slices.Chunk(found, 2*page) {
			tokens := make([]Token, 0, len(pairs)/2)
			for n := 0; n+1 < len(pairs); n += 2 {
				if id := pairs[n]; !seen[id] {
					seen[id] = true
					tokens = append(tokens, readToken(id, pairs[n+1]))
				}
			}
			if err := each(tokens); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// readToken reads one record. What limits a token and cannot be read is an
// error: without it the token would open more than it did.
func readToken(id, packed string) Token {
	t := Token{ID: id}
	if digest, err := hex.DecodeString(id); err != nil || len(digest) != 32 || hex.EncodeToString(digest) != id {
		t.Err = errors.New("its ID is not a SHA-256 in hexadecimal")
		return t
	}
	record, err := readRecord(packed)
	if err != nil {
		t.Err = err
		return t
	}
	t.Description = text(record, "description")
	if t.Err = t.read(record); t.Err != nil {
		t.Err = fmt.Errorf("its record cannot be read: %w", t.Err)
	}
	return t
}

func (t *Token) read(record map[string]any) error {
	var ok bool
	if t.Account, ok = record["account"].(string); !ok && record["account"] != nil {
		return errors.New("account: is not a string")
	}
	scopes, ok := list(record, "scopes")
	if !ok {
		return errors.New("scopes: is not a list")
	}
	t.API = scopes == nil // which is every scope
	for _, scope := range scopes {
		switch scope {
		case "*", "api":
			t.API = true
		default:
			t.OtherScopes = append(t.OtherScopes, scope)
		}
	}
	// Also one that is malformed: EmailEngine lets such a token do nothing.
	t.Narrowed = record["permissions"] != nil
	if t.Expires, ok = at(record, "expires"); !ok {
		return errors.New("expires: is not a time")
	}
	restrictions, ok := record["restrictions"].(map[string]any)
	if !ok && record["restrictions"] != nil {
		return errors.New("restrictions: is not a map")
	}
	if t.Addresses, ok = list(restrictions, "addresses"); !ok {
		return errors.New("restrictions.addresses: is not a list")
	}
	if t.Referrers, ok = list(restrictions, "referrers"); !ok {
		return errors.New("restrictions.referrers: is not a list")
	}
	t.RateLimited = restrictions["rateLimit"] != nil
	return nil
}
