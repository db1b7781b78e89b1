package secret

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

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
// It may be used by many goroutines.
type Sealer struct {
	purpose Purpose
	aead    tink.AEAD
	ids     []uint32
}

// newSealer reads a Tink keyset in JSON. Its errors leave out what Tink says
// of the text, for that could quote it.
func newSealer(p Purpose, keys []byte) (*Sealer, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(keys)))
	if err != nil {
		return nil, errors.New("not a Tink keyset")
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("not a Tink keyset for AEAD")
	}
	info := handle.KeysetInfo()
	s := &Sealer{purpose: p, aead: primitive}
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

// Seal encrypts plaintext with the primary key. The same associated text must
// be given to open it; it binds the value to a place, such as the key of its
// record, and is not part of the result.
func (s *Sealer) Seal(plaintext []byte, associated string) ([]byte, error) {
	sealed, err := s.aead.Encrypt(plaintext, []byte(associated))
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
	if !slices.Contains(s.ids, id) {
		return nil, fmt.Errorf("opening for %s: %w %d", s.purpose, ErrUnknownKey, id)
	}
	plaintext, err := s.aead.Decrypt(sealed, []byte(associated))
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
