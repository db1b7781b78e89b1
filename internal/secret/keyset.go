package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Purpose says what a key seals. Each purpose has keys of its own, so that
// what was sealed for one is worthless to another.
type Purpose string

// The purposes of a [Keyset].
const (
	// Records are the grants and whatever else the store keeps.
	Records Purpose = "records"
	// Links are those that invite somebody to consent.
	Links Purpose = "links"
	// Handles are URLs that carry their own authority.
	Handles Purpose = "handles"
	// State is what a consent carries through the browser.
	State Purpose = "state"
)

var purposes = []Purpose{Records, Links, Handles, State}

// maxKeysetFile is far beyond what years of rotation add up to.
const maxKeysetFile = 1 << 20

// Keyset is the keys of a file: a JSON object with a Tink keyset (AES-256-GCM)
// for each [Purpose].
type Keyset struct {
	path    string
	sealers map[Purpose]*Sealer

	// rotating is held while the file is written anew.
	rotating sync.Mutex
}

// CreateKeyset makes a keyset with a new key for each purpose and writes it to
// path (0600), with missing parent directories (0700). The file appears whole
// or not at all; one that exists is never overwritten, but is an error that
// wraps [fs.ErrExist].
func CreateKeyset(path string) (*Keyset, error) {
	file := make(map[Purpose]json.RawMessage, len(purposes))
	for _, p := range purposes {
		handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
		if err == nil {
			file[p], err = writeKeys(handle)
		}
		if err != nil {
			return nil, fmt.Errorf("creating keyset %s: %w", path, err)
		}
	}
	text, err := encodeFile(file)
	if err == nil {
		err = writeNew(path, text)
	}
	if err != nil {
		return nil, fmt.Errorf("creating keyset %s: %w", path, err)
	}
	return LoadKeyset(path)
}

// writeKeys writes a Tink keyset as JSON.
func writeKeys(handle *keyset.Handle) (json.RawMessage, error) {
	var keys bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&keys)); err != nil {
		return nil, err
	}
	return keys.Bytes(), nil
}

func encodeFile(file map[Purpose]json.RawMessage) ([]byte, error) {
	text, err := json.MarshalIndent(file, "", "\t")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// writeNew makes a durable file that holds text, or none. A link is made
// instead of a rename because a rename overwrites.
func writeNew(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeBeside(path, text, os.Link)
}

// writeBeside makes a durable file that holds text, and has place put it at
// path.
func writeBeside(path string, text []byte, place func(temp, path string) error) error {
	dir := filepath.Dir(path)
	// CreateTemp gives mode 0600.
	temp, err := os.CreateTemp(dir, ".keyset-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(text)
	if err == nil {
		err = temp.Sync()
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err := place(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		// Windows cannot flush a directory and does not need it.
		return nil
	}
	d, err := os.Open(dir) //nolint:gosec // where the configuration puts the file
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// LoadKeyset reads the keyset in the file path. It refuses a file that others
// than its owner may read, that lacks a purpose or has an unknown one. A
// missing file is an error that wraps [fs.ErrNotExist].
func LoadKeyset(path string) (*Keyset, error) {
	file, err := readFile(path)
	if err != nil {
		return nil, err
	}
	ks := &Keyset{path: path, sealers: make(map[Purpose]*Sealer, len(purposes))}
	for _, p := range purposes {
		if ks.sealers[p], err = newSealer(p, file[p]); err != nil {
			return nil, fmt.Errorf("loading keyset %s: %q: %w: restore the file from a backup", path, p, err)
		}
	}
	return ks, nil
}

// readFile reads a keyset's file, which has keys for each purpose and for no
// other.
func readFile(path string) (map[Purpose]json.RawMessage, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("loading keyset: %w", err)
	}
	var file map[Purpose]json.RawMessage
	if err := json.Unmarshal(text, &file); err != nil {
		// What the decoder says could quote the file.
		return nil, fmt.Errorf("loading keyset %s: the file is not a JSON object: restore it from a backup", path)
	}
	for _, p := range purposes {
		if _, ok := file[p]; !ok {
			return nil, fmt.Errorf("loading keyset %s: there are no keys for %q: restore the file from a backup", path, p)
		}
	}
	for p := range file {
		if !slices.Contains(purposes, p) {
			return nil, fmt.Errorf("loading keyset %s: purpose %q is unknown: remove it, or use the version of Bellhop that wrote it", path, p)
		}
	}
	return file, nil
}

// readPrivate reads a file that only its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the configuration names the file
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("%w: make it readable for the user that runs Bellhop", err)
		}
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	// Windows has access lists, of which the mode tells nothing.
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s is open to others than its owner (mode %04o): run chmod 600 %s", path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeysetFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeysetFile {
		return nil, fmt.Errorf("%s is too large for a keyset", path)
	}
	return text, nil
}

// Path is the file that the keyset was read from.
func (k *Keyset) Path() string { return k.path }

// Sealer seals for p, which is one of the purposes that are constants here.
func (k *Keyset) Sealer(p Purpose) *Sealer { return k.sealers[p] }

// KeyIDs lists the keys that open what was sealed for p: the primary one,
// which seals, first, then the others in ascending order.
func (k *Keyset) KeyIDs(p Purpose) []uint32 { return slices.Clone(k.sealers[p].keys.Load().ids) }
