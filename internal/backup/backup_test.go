package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

const canary = "canary-71a0"

func newKeyset(t *testing.T) *secret.Keyset {
	t.Helper()
	ks, err := secret.CreateKeyset(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

func numbered(n int) []vault.Entry {
	entries := make([]vault.Entry, n)
	for i := range entries {
		text := fmt.Sprintf(`{"id":"%06d","refresh_token":"%s %s"}`, i, canary, strings.Repeat("x", 500))
		entries[i] = vault.Entry{Key: fmt.Sprintf("grant/%06d", i), Text: secret.New(text)}
	}
	return entries
}

var created = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func written(t *testing.T, keys *secret.Keyset, id string, entries []vault.Entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, keys.Sealer(secret.Records), Header{ID: id, Store: "store", Created: created})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(text []byte, keys *secret.Keyset) (entries []vault.Entry, h Header, err error) {
	h, err = Read(bytes.NewReader(text), keys, func(e vault.Entry) error {
		entries = append(entries, e)
		return nil
	})
	return entries, h, err
}

// reveal lets cmp compare secrets.
var reveal = cmp.Transformer("reveal", secret.String.Reveal)

func TestReadGivesBackWhatWasWritten(t *testing.T) {
	keys := newKeyset(t)
	for _, n := range []int{0, 1, 500} {
		text := written(t, keys, "id", numbered(n))
		if bytes.Contains(text, []byte(canary)) {
			t.Error("the backup holds a secret in the clear")
		}
		got, h, err := read(text, keys)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(numbered(n), append([]vault.Entry{}, got...), reveal); diff != "" {
			t.Errorf("%d entries (-written +read):\n%s", n, diff)
		}
		want := Header{Format: format, ID: "id", Store: "store", Created: created, Keys: keys.KeyIDs(secret.Records)}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Error(diff)
		}
		if whole, err := Whole(bytes.NewReader(text)); err != nil || !cmp.Equal(whole, want) {
			t.Errorf("Whole: %v, %v", whole, err)
		}
	}
}

// split takes a backup apart: its beginning, and its chunks with their frames.
func split(t *testing.T, text []byte) (begins []byte, chunks [][]byte) {
	t.Helper()
	begins = text[:len(magic)+bytes.IndexByte(text[len(magic):], '\n')+1]
	for rest := text[len(begins):]; len(rest) > 0; {
		n := frameSize + int(binary.BigEndian.Uint32(rest[1:]))
		chunks = append(chunks, rest[:n])
		rest = rest[n:]
	}
	if len(chunks) < 3 {
		t.Fatalf("%d chunks are too few for this test", len(chunks))
	}
	return begins, chunks
}

func TestReadNoticesWhatWasDone(t *testing.T) {
	keys := newKeyset(t)
	text := written(t, keys, "one", numbered(500))
	begins, chunks := split(t, text)
	otherBegins, otherChunks := split(t, written(t, keys, "two", numbered(500)))
	join := func(begins []byte, chunks ...[]byte) []byte {
		return append(bytes.Clone(begins), bytes.Join(chunks, nil)...)
	}
	last := len(chunks) - 1
	notLast := bytes.Clone(chunks[last])
	notLast[0] = 0
	early := bytes.Clone(chunks[last-1])
	early[0] = 1
	var reordered [][]byte
	reordered = append(reordered, chunks[1], chunks[0])
	reordered = append(reordered, chunks[2:]...)

	for name, test := range map[string]struct {
		text []byte
		want error
	}{
		"nothing":           {nil, ErrNotBackup},
		"something else":    {[]byte(`{"accounts":[]}` + "\n"), ErrNotBackup},
		"another version":   {[]byte("BELLHOP-BACKUP 2\n{}\n"), ErrNotBackup},
		"header alone":      {begins, ErrCutShort},
		"half a header":     {begins[:len(begins)-5], ErrCutShort},
		"last chunk gone":   {join(begins, chunks[:last]...), ErrCutShort},
		"cut in a chunk":    {text[:len(text)-1], ErrCutShort},
		"cut in a frame":    {join(begins, chunks[0], chunks[1][:2]), ErrCutShort},
		"called the last":   {join(begins, append(append([][]byte{}, chunks[:last-1]...), early)...), ErrDamaged},
		"not the last":      {join(begins, append(append([][]byte{}, chunks[:last]...), notLast)...), ErrDamaged},
		"something follows": {append(bytes.Clone(text), 'x'), ErrDamaged},
		"other order":       {join(begins, reordered...), ErrDamaged},
		"a chunk left out":  {join(begins, chunks[1:]...), ErrDamaged},
		"a chunk twice":     {join(begins, append([][]byte{chunks[0]}, chunks...)...), ErrDamaged},
		"another's chunk":   {join(begins, append([][]byte{otherChunks[0]}, chunks[1:]...)...), ErrDamaged},
		"another's header":  {join(otherBegins, chunks...), ErrDamaged},
		"another store":     {bytes.Replace(text, []byte(`"store":"store"`), []byte(`"store":"other"`), 1), ErrDamaged},
		"no JSON":           {join([]byte(magic+"{\n"), chunks...), ErrDamaged},
		"huge chunk":        {join(begins, []byte{0, 255, 255, 255, 255}), ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := read(test.text, keys)
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the error quotes an entry: %v", err)
			}
		})
	}
	for i := range 200 {
		changed := bytes.Clone(text)
		changed[(i*7919)%len(text)] ^= 1
		if _, _, err := read(changed, keys); err == nil {
			t.Errorf("byte %d changed: nobody noticed", (i*7919)%len(text))
		}
	}
}

func TestWholeNoticesACutWithoutKeys(t *testing.T) {
	text := written(t, newKeyset(t), "one", numbered(500))
	for n := range len(text) / 100 {
		if _, err := Whole(bytes.NewReader(text[:n*100])); err == nil {
			t.Fatalf("cut to %d bytes: nobody noticed", n*100)
		}
	}
}

func TestReadNamesTheKeysThatAreMissing(t *testing.T) {
	theirs, ours := newKeyset(t), newKeyset(t)
	_, _, err := read(written(t, theirs, "one", numbered(1)), ours)
	missing, ok := errors.AsType[*MissingKeyError](err)
	if !ok {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{fmt.Sprint(theirs.KeyIDs(secret.Records)[0]), fmt.Sprint(ours.KeyIDs(secret.Records)[0]), ours.Path()} {
		if !strings.Contains(missing.Error(), want) {
			t.Errorf("%q does not name %s", missing, want)
		}
	}
}

func TestABackupIsOfOneKeyThoughItIsRotated(t *testing.T) {
	keys := newKeyset(t)
	before := keys.KeyIDs(secret.Records)
	var out bytes.Buffer
	w, err := NewWriter(&out, keys.Sealer(secret.Records), Header{ID: "one"})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range numbered(500) {
		if i == 250 {
			if err := keys.Rotate(func(uint32) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, chunks := split(t, out.Bytes())
	for i, chunk := range chunks {
		if id, _ := keys.Sealer(secret.Records).KeyID(chunk[frameSize:]); id != before[0] {
			t.Errorf("chunk %d is sealed with %d, the header names %v", i, id, before)
		}
	}
	if got, _, err := read(out.Bytes(), keys); err != nil || len(got) != 500 {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

func TestWriteRefusesWhatNobodyCouldRead(t *testing.T) {
	w, err := NewWriter(io.Discard, newKeyset(t).Sealer(secret.Records), Header{ID: "one"})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"too long": `"` + strings.Repeat("x", maxEntry) + `"`, "no JSON": canary} {
		if err := w.Write(vault.Entry{Key: "grant/a", Text: secret.New(text)}); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
