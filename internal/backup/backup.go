// Package backup is the form of a backup: a header that can be read by anybody,
// and entries sealed in chunks with the keys for records.
//
//	BELLHOP-BACKUP 1\n
//	{header}\n                          JSON, see Header
//	<last: 1 byte><length: 4 bytes><sealed>   a chunk, as often as needed
//
// A chunk holds whole entries, one on each line. Associated data binds each to
// its header, its number and to being the last or not: a backup that was cut
// short, put in another order or together from two does not open.
//
// An entry that stands in it twice was changed while the backup was made: the
// last one counts. One that is null was removed.
package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

const (
	// magic is the first line.
	magic = "BELLHOP-BACKUP 1\n"
	// format is what magic says.
	format = 1
	// maxHeader bounds the header's line.
	maxHeader = 4 << 10
	// chunkSize is how much a chunk holds before it is sealed.
	chunkSize = 64 << 10
	// maxEntry is the greatest length of an entry's text. It is more than a
	// store takes.
	maxEntry = 512 << 10
	// maxChunk bounds a sealed chunk: chunkSize, an entry and its key on top of
	// it, and what sealing adds.
	maxChunk = chunkSize + maxEntry + 16<<10
	// frameSize is what stands before a sealed chunk.
	frameSize = 5
)

// Errors of reading, to be tested with errors.Is.
var (
	// ErrNotBackup: the text does not begin as a backup does.
	ErrNotBackup = errors.New("this is not a backup of Bellhop's")
	// ErrCutShort: the last chunk is missing.
	ErrCutShort = errors.New("the backup is cut short: its end is missing")
	// ErrDamaged: a chunk was changed, or is not where it belongs.
	ErrDamaged = errors.New("the backup is damaged or was changed")
)

// Header is what a backup says of itself in the clear.
type Header struct {
	Format int `json:"format"`
	// ID tells backups apart, Store is the store that it is of.
	ID    string `json:"backup"`
	Store string `json:"store"`
	// Created is when it was begun.
	Created time.Time `json:"created"`
	// Keys are the IDs of the keys that open it: those of the keyset's
	// "records".
	Keys []uint32 `json:"keys"`
}

// line is an entry as it stands in a chunk.
type line struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// associated binds a chunk to its backup and its place.
func associated(header []byte, number uint64, last bool) string {
	return fmt.Sprintf("backup/%d/%x/%d/%t", format, sha256.Sum256(header), number, last)
}

// Writer writes a backup. It is whole once Close has returned nil.
type Writer struct {
	out    io.Writer
	seal   *secret.Sealer
	header []byte
	chunk  bytes.Buffer
	number uint64
}

// NewWriter begins a backup that is sealed with one key from its first chunk to
// its last, whatever becomes of the keyset meanwhile. The header's Format and
// Keys are filled in.
func NewWriter(out io.Writer, seal *secret.Sealer, h Header) (*Writer, error) {
	w := &Writer{out: out, seal: seal.Fixed()}
	h.Format, h.Keys = format, []uint32{w.seal.Primary()}
	var err error
	if w.header, err = json.Marshal(h); err != nil {
		return nil, fmt.Errorf("writing backup: %w", err)
	}
	w.header = append(w.header, '\n')
	if _, err := io.WriteString(out, magic+string(w.header)); err != nil {
		return nil, fmt.Errorf("writing backup: %w", err)
	}
	return w, nil
}

// Write adds an entry.
func (w *Writer) Write(e vault.Entry) error {
	text := e.Text.Reveal()
	if len(text) > maxEntry {
		return fmt.Errorf("writing backup: entry %s has %d bytes, at most %d are allowed", e.Key, len(text), maxEntry)
	}
	encoded, err := json.Marshal(line{e.Key, json.RawMessage(text)})
	if err != nil {
		// The encoder's error could quote the text.
		return fmt.Errorf("writing backup: entry %s is not JSON", e.Key)
	}
	w.chunk.Write(encoded)
	w.chunk.WriteByte('\n')
	if w.chunk.Len() < chunkSize {
		return nil
	}
	return w.flush(false)
}

// Close writes the last chunk.
func (w *Writer) Close() error { return w.flush(true) }

func (w *Writer) flush(last bool) error {
	sealed, err := w.seal.Seal(w.chunk.Bytes(), associated(w.header, w.number, last))
	if err != nil {
		return fmt.Errorf("writing backup: %w", err)
	}
	w.chunk.Reset()
	w.number++
	frame := make([]byte, frameSize, frameSize+len(sealed))
	if last {
		frame[0] = 1
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(sealed))) //nolint:gosec // at most maxChunk
	if _, err := w.out.Write(append(frame, sealed...)); err != nil {
		return fmt.Errorf("writing backup: %w", err)
	}
	return nil
}

// frames reads a backup without opening it.
type frames struct {
	in     *bufio.Reader
	header []byte
	number uint64
	ended  bool
}

// readHeader reads the beginning of a backup.
func readHeader(in io.Reader) (*frames, Header, error) {
	f := &frames{in: bufio.NewReaderSize(in, chunkSize)}
	begins := make([]byte, len(magic))
	if _, err := io.ReadFull(f.in, begins); err != nil && !cut(err) {
		return nil, Header{}, fmt.Errorf("reading backup: %w", err)
	}
	if string(begins) != magic {
		if strings.HasPrefix(string(begins), magic[:len(magic)-2]) {
			return nil, Header{}, fmt.Errorf("%w of this version: use the version that wrote it, or a newer one", ErrNotBackup)
		}
		return nil, Header{}, ErrNotBackup
	}
	for len(f.header) < maxHeader {
		b, err := f.in.ReadByte()
		if err != nil {
			return nil, Header{}, broken(err)
		}
		if f.header = append(f.header, b); b == '\n' {
			break
		}
	}
	var h Header
	if json.Unmarshal(f.header, &h) != nil || h.Format != format || h.ID == "" || len(h.Keys) == 0 {
		return nil, Header{}, fmt.Errorf("%w: its header cannot be read", ErrDamaged)
	}
	return f, h, nil
}

// next returns the next sealed chunk, whether it is the last, and io.EOF after
// that.
func (f *frames) next() (sealed []byte, last bool, err error) {
	if f.ended {
		if _, err := f.in.ReadByte(); err == nil {
			return nil, false, fmt.Errorf("%w: something follows its end", ErrDamaged)
		} else if !errors.Is(err, io.EOF) {
			return nil, false, broken(err)
		}
		return nil, false, io.EOF
	}
	frame := make([]byte, frameSize)
	if _, err := io.ReadFull(f.in, frame); err != nil {
		return nil, false, broken(err)
	}
	size := binary.BigEndian.Uint32(frame[1:])
	if frame[0] > 1 || size > maxChunk {
		return nil, false, ErrDamaged
	}
	sealed = make([]byte, size)
	if _, err := io.ReadFull(f.in, sealed); err != nil {
		return nil, false, broken(err)
	}
	f.ended = frame[0] == 1
	return sealed, f.ended, nil
}

func cut(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func broken(err error) error {
	if cut(err) {
		return ErrCutShort
	}
	return fmt.Errorf("reading backup: %w", err)
}

// Whole reads a backup to its end and reports why it is none, or not whole. It
// needs no keys, so it does not notice what was changed inside.
func Whole(in io.Reader) (Header, error) {
	f, h, err := readHeader(in)
	if err != nil {
		return Header{}, err
	}
	for {
		if _, _, err := f.next(); errors.Is(err, io.EOF) {
			return h, nil
		} else if err != nil {
			return Header{}, err
		}
	}
}

// MissingKeyError is returned for a backup that is sealed with a key which the
// keyset lacks.
type MissingKeyError struct {
	// Needs are the keys of the backup, Has those of the keyset in the file
	// Keyset.
	Needs, Has []uint32
	Keyset     string
}

// Error implements error.
func (e *MissingKeyError) Error() string {
	return fmt.Sprintf("the backup is sealed with key %s, and the keyset %s has key %s: start the server with the keyset file that was kept with the backup",
		list(e.Needs), e.Keyset, list(e.Has))
}

func list(ids []uint32) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(ids), "[]"), " ", " and key ")
}

// Read opens a backup with the keys and calls each with its entries, in their
// order. What each has seen counts only once Read has returned nil: the backup
// may yet turn out to be damaged.
func Read(in io.Reader, keys *secret.Keyset, each func(vault.Entry) error) (Header, error) {
	f, h, err := readHeader(in)
	if err != nil {
		return Header{}, err
	}
	seal := keys.Sealer(secret.Records).Fixed()
	for {
		sealed, last, err := f.next()
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil {
			return Header{}, err
		}
		plain, err := seal.Open(sealed, associated(f.header, f.number, last))
		switch {
		case errors.Is(err, secret.ErrUnknownKey):
			return Header{}, &MissingKeyError{Needs: h.Keys, Has: keys.KeyIDs(secret.Records), Keyset: keys.Path()}
		case err != nil:
			return Header{}, ErrDamaged
		}
		f.number++
		if err := entries(plain, each); err != nil {
			return Header{}, err
		}
	}
}

// entries calls each with the entries of a chunk.
func entries(plain []byte, each func(vault.Entry) error) error {
	for encoded := range bytes.Lines(plain) {
		var l line
		if json.Unmarshal(encoded, &l) != nil || l.Key == "" {
			return fmt.Errorf("%w: an entry cannot be read", ErrDamaged)
		}
		if err := each(vault.Entry{Key: l.Key, Text: secret.New(string(l.Value))}); err != nil {
			return err
		}
	}
	return nil
}

// Removed reports whether the entry says that there is none any more.
func Removed(e vault.Entry) bool { return e.Text.Equal(removed) }
