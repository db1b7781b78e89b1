package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Rotate gives each purpose a new key, which seals from then on; the old ones
// stay to open what they sealed. Every [Sealer] of the keyset takes the new key
// up, wherever it is held.
//
// The file is replaced first, whole (0600): what is sealed with a key that no
// file has could never be opened again. Then before is called with the new key
// for records, and only if it returns nil does anything seal with the new keys.
// With its error the new keys stay in the file, as the next start finds them.
func (k *Keyset) Rotate(before func(records uint32) error) error {
	k.rotating.Lock()
	defer k.rotating.Unlock()
	file, err := readFile(k.path)
	if err != nil {
		return err
	}
	rotated := make(map[Purpose]*sealingKeys, len(purposes))
	for _, p := range purposes {
		if err := k.sealers[p].within(file[p]); err != nil {
			return fmt.Errorf("rotating keyset %s: %q: %w", k.path, p, err)
		}
		if file[p], err = withNewPrimary(file[p]); err == nil {
			rotated[p], err = parseKeys(file[p])
		}
		if err != nil {
			return fmt.Errorf("rotating keyset %s: %q: %w", k.path, p, err)
		}
	}
	text, err := encodeFile(file)
	if err == nil {
		err = replace(k.path, text)
	}
	if err != nil {
		return fmt.Errorf("rotating keyset %s: %w", k.path, err)
	}
	if err := before(rotated[Records].ids[0]); err != nil {
		return fmt.Errorf("rotating keyset %s: %w: the file has the new keys, and nothing is sealed with them before the next start", k.path, err)
	}
	for p, keys := range rotated {
		k.sealers[p].keys.Store(keys)
	}
	return nil
}

// within reports why a file's keys cannot take the place of the Sealer's.
func (s *Sealer) within(text json.RawMessage) error {
	keys, err := parseKeys(text)
	if err != nil {
		return err
	}
	for _, id := range s.keys.Load().ids {
		if !slices.Contains(keys.ids, id) {
			return fmt.Errorf("the file lacks key %d, which is in use: somebody else has written it; put back the file that the server was started with", id)
		}
	}
	return nil
}

// withNewPrimary adds a key to a Tink keyset.
func withNewPrimary(text json.RawMessage) (json.RawMessage, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, errors.New("not a Tink keyset")
	}
	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, err
	}
	if handle, err = manager.Handle(); err != nil {
		return nil, err
	}
	return writeKeys(handle)
}

// replace writes a file in the place of another. A symbolic link stays one.
func replace(path string, text []byte) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if len(text) > maxKeysetFile {
		return errors.New("the file would become too large")
	}
	return writeBeside(real, text, os.Rename)
}
