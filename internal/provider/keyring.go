package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// keysLife is how long keys serve before they are fetched anew. Unknown ones
// are looked for at once.
const keysLife = 24 * time.Hour

// signingKey is one public key of a server (RFC 7517 section 4).
type signingKey struct {
	jose.JSONWebKey
	// issuer is whose tokens the key signs. Only Microsoft says so, whose keys
	// for all tenants come from one place.
	issuer string
}

// keyring has the keys by which a server signs ID tokens, fetched at first use
// and kept.
type keyring struct {
	client *client
	// turn holds one token: whoever has it may fetch, as in discoverer.
	turn chan struct{}
	// These are guarded by turn.
	address string
	keys    []signingKey
	until   time.Time
}

func newKeyring(client *client) *keyring {
	k := &keyring{client: client, turn: make(chan struct{}, 1)}
	k.turn <- struct{}{}
	return k
}

// ready fetches the keys if there are none. It is called before a code is
// spent: a consent whose ID token cannot be verified afterwards would be lost.
func (k *keyring) ready(ctx context.Context, address string) *account.Failure {
	if _, err := k.at(ctx, address, false); err != nil {
		return &account.Failure{
			Meaning: account.ProviderDown,
			Reads:   "The keys by which the provider signs who consented could not be fetched.",
			Mend:    "Try again in a moment.",
			Err:     err,
		}
	}
	return nil
}

// at are the keys at an address; anew ones if those that are known do not do.
// Old ones serve on while the server does not answer.
func (k *keyring) at(ctx context.Context, address string, anew bool) ([]signingKey, error) {
	select {
	case <-k.turn:
	case <-ctx.Done():
		return nil, fmt.Errorf("fetching keys: %w", ctx.Err())
	}
	defer func() { k.turn <- struct{}{} }()

	known := k.address == address && len(k.keys) > 0
	if known && !anew && time.Now().Before(k.until) {
		return k.keys, nil
	}
	keys, err := fetchKeys(ctx, k.client, address)
	switch {
	case err == nil:
		k.address, k.keys, k.until = address, keys, time.Now().Add(keysLife)
	case !known || anew:
		return nil, err
	}
	return k.keys, nil
}

func fetchKeys(ctx context.Context, client *client, address string) ([]signingKey, error) {
	resp, err := client.get(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	if resp.status != http.StatusOK || resp.tooLarge {
		return nil, fmt.Errorf("fetching keys: status %d", resp.status)
	}
	keys := parseKeys(resp.body)
	if len(keys) == 0 {
		return nil, errors.New("fetching keys: the answer has none that can be used")
	}
	return keys, nil
}

// parseKeys reads a JWK Set, leaving out what cannot be used (RFC 7517 section
// 5): a secret key too, which has no business there.
func parseKeys(body []byte) []signingKey {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil {
		return nil
	}
	var keys []signingKey
	for _, raw := range set.Keys {
		var key signingKey
		if key.UnmarshalJSON(raw) != nil || !key.IsPublic() || key.Use == "enc" {
			continue
		}
		key.issuer = parseObject(raw).text("issuer")
		keys = append(keys, key)
	}
	return keys
}

// keySet verifies one ID token with a keyring. It is an [oidc.KeySet], which
// the verifier calls after it has judged the algorithm.
type keySet struct {
	keyring *keyring
	address string
}

// VerifySignature returns the token's payload if one of the server's keys
// signed it. A token by an unknown key has the keys fetched anew (OpenID
// Connect Core section 10.1.1).
func (s keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSigned(token, assertionAlgorithms)
	if err != nil {
		return nil, err
	}
	for _, anew := range []bool{false, true} {
		keys, err := s.keyring.at(ctx, s.address, anew)
		if err != nil {
			return nil, err
		}
		if payload, ok := verify(jws, keys); ok {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the issuer's signed the token")
}

func verify(jws *jose.JSONWebSignature, keys []signingKey) ([]byte, bool) {
	header := jws.Signatures[0].Header
	for _, key := range keys {
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		payload, err := jws.Verify(key.JSONWebKey)
		if err == nil && key.signsFor(parseObject(trimmed(payload))) {
			return payload, true
		}
	}
	return nil, false
}

// signsFor reports whether the key signs the tokens of the claims' issuer.
func (k *signingKey) signsFor(claims members) bool {
	return k.issuer == "" || ofTenant(k.issuer, claims.text("tid")) == claims.text("iss")
}
