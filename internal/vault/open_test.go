package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/badger"
)

func newStore(t *testing.T) store.Store {
	t.Helper()
	st, err := badger.Open(t.TempDir(), badger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

func openKeyset(t *testing.T, st store.Store, path string) *secret.Keyset {
	t.Helper()
	ks, err := OpenKeyset(t.Context(), st, path)
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

func keysetPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "keyset.json")
}

func markers(t *testing.T, st store.Store) []string {
	t.Helper()
	page, err := st.List(t.Context(), markerPrefix, "", markerPage)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, rec := range page {
		keys = append(keys, rec.Key)
	}
	return keys
}

func markerOf(ks *secret.Keyset) string {
	return fmt.Sprintf("keyset/records/%08x", ks.KeyIDs(secret.Records)[0])
}

func TestOpenKeysetCreatesOneForAnEmptyStore(t *testing.T) {
	st, path := newStore(t), keysetPath(t)
	created := openKeyset(t, st, path)
	if diff := cmp.Diff([]string{markerOf(created)}, markers(t, st)); diff != "" {
		t.Errorf("markers (-want +got):\n%s", diff)
	}
	again := openKeyset(t, st, path)
	if diff := cmp.Diff(created.KeyIDs(secret.Records), again.KeyIDs(secret.Records)); diff != "" {
		t.Errorf("keys (-created +opened):\n%s", diff)
	}
	if n := len(markers(t, st)); n != 1 {
		t.Errorf("%d markers after opening again, want 1", n)
	}
}

func TestOpenKeysetTakesAFileForAnEmptyStore(t *testing.T) {
	st, path := newStore(t), keysetPath(t)
	ks, err := secret.CreateKeyset(path)
	if err != nil {
		t.Fatal(err)
	}
	openKeyset(t, st, path)
	if diff := cmp.Diff([]string{markerOf(ks)}, markers(t, st)); diff != "" {
		t.Errorf("markers (-want +got):\n%s", diff)
	}
}

func TestOpenKeysetCreatesNothingForAStoreInUse(t *testing.T) {
	st := newStore(t)
	ks := openKeyset(t, st, keysetPath(t))
	missing := keysetPath(t)
	_, err := OpenKeyset(t.Context(), st, missing)
	mustName(t, err, missing, fmt.Sprint(ks.KeyIDs(secret.Records)[0]))
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a keyset was created: %v", err)
	}
}

func TestOpenKeysetCreatesNothingForRecordsWithoutMarker(t *testing.T) {
	st, path := newStore(t), keysetPath(t)
	if _, err := st.Commit(t.Context(), nil, store.Write{Key: "grant/alice", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	_, err := OpenKeyset(t.Context(), st, path)
	mustName(t, err, path, "not empty")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a keyset was created: %v", err)
	}
}

func TestOpenKeysetRefusesAKeysetOfAnotherStore(t *testing.T) {
	st, other := newStore(t), keysetPath(t)
	ks := openKeyset(t, st, keysetPath(t))
	stranger, err := secret.CreateKeyset(other)
	if err != nil {
		t.Fatal(err)
	}
	_, err = OpenKeyset(t.Context(), st, other)
	mustName(t, err, other, fmt.Sprint(ks.KeyIDs(secret.Records)[0]))
	for _, marker := range markers(t, st) {
		if marker == markerOf(stranger) {
			t.Error("the refused keyset was marked")
		}
	}
}

func TestOpenKeysetMarksANewPrimary(t *testing.T) {
	st, path := newStore(t), keysetPath(t)
	before := openKeyset(t, st, path)
	withOld, withoutOld := keysetPath(t), keysetPath(t)
	next, err := secret.CreateKeyset(withoutOld)
	if err != nil {
		t.Fatal(err)
	}
	addOldKeys(t, withOld, withoutOld, path)

	rotated := openKeyset(t, st, withOld)
	if rotated.KeyIDs(secret.Records)[0] != next.KeyIDs(secret.Records)[0] {
		t.Fatalf("keys are %v, want the new one first", rotated.KeyIDs(secret.Records))
	}
	for _, want := range []string{markerOf(before), markerOf(rotated)} {
		if _, err := st.Get(t.Context(), want); err != nil {
			t.Errorf("marker: %v", err)
		}
	}

	_, err = OpenKeyset(t.Context(), st, path)
	mustName(t, err, path, fmt.Sprint(rotated.KeyIDs(secret.Records)[0]))
	_, err = OpenKeyset(t.Context(), st, withoutOld)
	mustName(t, err, withoutOld, fmt.Sprint(before.KeyIDs(secret.Records)[0]))
}

// addOldKeys writes to path the keyset of the file next, with the records' keys
// of the file old besides.
func addOldKeys(t *testing.T, path, next, old string) {
	t.Helper()
	type tinkKeyset struct {
		PrimaryKeyID uint32            `json:"primaryKeyId"`
		Key          []json.RawMessage `json:"key"`
	}
	read := func(path string) map[string]tinkKeyset {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var file map[string]tinkKeyset
		if err := json.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		return file
	}
	file := read(next)
	records := file["records"]
	records.Key = append(records.Key, read(old)["records"].Key...)
	file["records"] = records
	text, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenKeysetRefusesABrokenFile(t *testing.T) {
	st, path := newStore(t), keysetPath(t)
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenKeyset(t.Context(), st, path)
	mustName(t, err, path)
	if text, err := os.ReadFile(path); err != nil || string(text) != "{}" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if len(markers(t, st)) != 0 {
		t.Error("a key was marked")
	}
}

func TestOpenKeysetRefusesAMarkerThatNamesNoKey(t *testing.T) {
	st, path := newStore(t), keysetPath(t)
	if _, err := st.Commit(t.Context(), nil, store.Write{Key: markerPrefix + "odd", Value: []byte{}}); err != nil {
		t.Fatal(err)
	}
	_, err := OpenKeyset(t.Context(), st, path)
	mustName(t, err, path, markerPrefix+"odd")
}

func TestOpenKeysetStopsForAnEndedContext(t *testing.T) {
	st, path := newStore(t), keysetPath(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenKeyset(ctx, st, path); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenKeyset: %v, want context.Canceled", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a keyset was created: %v", err)
	}
}

// mustName expects an error that says all parts.
func mustName(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not say %q: %v", part, err)
		}
	}
}

// blind shows no list, as a store does that another node has yet to write to.
type blind struct{ store.Store }

func (blind) List(context.Context, string, string, int) ([]store.Record, error) { return nil, nil }

func TestOpenKeysetLetsOneOfTwoNodesBegin(t *testing.T) {
	st, path := newStore(t), keysetPath(t)
	first := openKeyset(t, st, path)
	if _, err := OpenKeyset(t.Context(), blind{st}, path); err != nil {
		t.Errorf("the node with the same keyset: %v", err)
	}
	_, err := OpenKeyset(t.Context(), blind{st}, keysetPath(t))
	if id := fmt.Sprint(first.KeyIDs(secret.Records)[0]); err == nil || !strings.Contains(err.Error(), id) {
		t.Errorf("the node with a keyset of its own: %v, want one that names key %s", err, id)
	}
	if diff := cmp.Diff([]string{markerOf(first)}, markers(t, st)); diff != "" {
		t.Errorf("markers (-want +got):\n%s", diff)
	}
}
