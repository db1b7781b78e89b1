package secret

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Errors of [Sealer.Open], to be tested with errors.Is.
var (
	// ErrUnknownKey: the value was sealed with a key that the keyset lacks. The
	// error names the key as the keyset file would.
	ErrUnknownKey = errors.New("keyset lacks the key")
	// ErrNotAuthentic: the value was not sealed by this keyset for this purpose
	// and this associated data, or was changed since.
	ErrNotAuthentic = errors.New("sealed value is not authentic")
)

// Tink puts a 1 and the ID of the key before what it seals.
const (
	tinkPrefix     = 1
	tinkPrefixSize = 5
)

// Sealer encrypts and authenticates values for one [Purpose], with AES-256-GCM.
// It may be used by many goroutines, also while its keys are rotated.
type Sealer struct {
	purpose Purpose
	keys    atomic.Pointer[sealingKeys]
}

// sealingKeys are a Sealer's keys, which are replaced as one.
type sealingKeys struct {
	aead tink.AEAD
	// ids names them, the primary one first.
	ids []uint32
}

// newSealer makes a Sealer of a Tink keyset in JSON.
func newSealer(p Purpose, text []byte) (*Sealer, error) {
	keys, err := parseKeys(text)
	if err != nil {
		return nil, err
	}
	s := &Sealer{purpose: p}
	s.keys.Store(keys)
	return s, nil
}

// parseKeys reads a Tink keyset in JSON. Its errors leave out what Tink says
// of the text, for that could quote it.
func parseKeys(keys []byte) (*sealingKeys, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(keys)))
	if err != nil {
		return nil, errors.New("not a Tink keyset")
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("not a Tink keyset for AEAD")
	}
	info := handle.KeysetInfo()
	s := &sealingKeys{aead: primitive}
	for _, key := range info.GetKeyInfo() {
		if key.GetOutputPrefixType() != tinkpb.OutputPrefixType_TINK {
			return nil, fmt.Errorf("key %d has no prefix of type TINK", key.GetKeyId())
		}
		if key.GetStatus() == tinkpb.KeyStatusType_ENABLED && key.GetKeyId() != info.GetPrimaryKeyId() {
			s.ids = append(s.ids, key.GetKeyId())
		}
	}
	slices.Sort(s.ids)
	s.ids = slices.Insert(s.ids, 0, info.GetPrimaryKeyId())
	return s, nil
}

// Fixed is a Sealer that keeps the keys of this moment: what it seals is opened
// by the keys that are known now, whatever rotation brings.
func (s *Sealer) Fixed() *Sealer {
	fixed := &Sealer{purpose: s.purpose}
	fixed.keys.Store(s.keys.Load())
	return fixed
}

// Primary is the ID of the key that seals.
func (s *Sealer) Primary() uint32 { return s.keys.Load().ids[0] }

// Seal encrypts plaintext with the primary key. The same associated text must
// be given to open it; it binds the value to a place, such as the key of its
// record, and is not part of the result.
func (s *Sealer) Seal(plaintext []byte, associated string) ([]byte, error) {
	sealed, err := s.keys.Load().aead.Encrypt(plaintext, []byte(associated))
	if err != nil {
		return nil, fmt.Errorf("sealing for %s: %w", s.purpose, err)
	}
	return sealed, nil
}

// Open gives back what [Sealer.Seal] was given, or an error that wraps
// [ErrUnknownKey] or [ErrNotAuthentic].
func (s *Sealer) Open(sealed []byte, associated string) ([]byte, error) {
	id, ok := s.KeyID(sealed)
	if !ok {
		return nil, fmt.Errorf("opening for %s: %w", s.purpose, ErrNotAuthentic)
	}
	keys := s.keys.Load()
	if !slices.Contains(keys.ids, id) {
		return nil, fmt.Errorf("opening for %s: %w %d", s.purpose, ErrUnknownKey, id)
	}
	plaintext, err := keys.aead.Decrypt(sealed, []byte(associated))
	if err != nil {
		return nil, fmt.Errorf("opening for %s with key %d: %w", s.purpose, id, ErrNotAuthentic)
	}
	return plaintext, nil
}

// KeyID names the key that sealed was sealed with; ok is false for what no
// Sealer made.
func (s *Sealer) KeyID(sealed []byte) (id uint32, ok bool) {
	if len(sealed) < tinkPrefixSize || sealed[0] != tinkPrefix {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:tinkPrefixSize]), true
}
