package secret

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func rotate(t *testing.T, ks *Keyset) {
	t.Helper()
	if err := ks.Rotate(func(uint32) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestRotateSealsWithNewKeysAtOnce(t *testing.T) {
	ks := newKeyset(t)
	held := make(map[Purpose]*Sealer)
	sealed := make(map[Purpose][]byte)
	before := make(map[Purpose]uint32)
	for _, p := range purposes {
		held[p], before[p] = ks.Sealer(p), ks.KeyIDs(p)[0]
		var err error
		if sealed[p], err = held[p].Seal([]byte(canary), "k"); err != nil {
			t.Fatal(err)
		}
	}
	asked := uint32(0)
	err := ks.Rotate(func(records uint32) error {
		asked = records
		// The file must have the key before anything is sealed with it.
		if id := load(t, ks.Path()).KeyIDs(Records)[0]; id != records {
			t.Errorf("the file's primary key is %d, the new one %d", id, records)
		}
		if held[Records].Primary() != before[Records] {
			t.Error("the new key seals before it is known")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if asked != ks.KeyIDs(Records)[0] {
		t.Errorf("asked for %d, rotated to %d", asked, ks.KeyIDs(Records)[0])
	}
	again := load(t, ks.Path())
	for _, p := range purposes {
		ids := ks.KeyIDs(p)
		if len(ids) != 2 || ids[0] == before[p] || ids[1] != before[p] {
			t.Errorf("%s has keys %v after %d", p, ids, before[p])
		}
		if diff := cmp.Diff(ids, again.KeyIDs(p)); diff != "" {
			t.Errorf("%s (-running +file):\n%s", p, diff)
		}
		if opened, err := held[p].Open(sealed[p], "k"); err != nil || string(opened) != canary {
			t.Errorf("%s: what the old key sealed: %q, %v", p, opened, err)
		}
		value, err := held[p].Seal([]byte(canary), "k")
		if err != nil {
			t.Fatal(err)
		}
		if id, _ := held[p].KeyID(value); id != ids[0] {
			t.Errorf("%s seals with %d", p, id)
		}
		if opened, err := again.Sealer(p).Open(value, "k"); err != nil || string(opened) != canary {
			t.Errorf("%s: from the file: %q, %v", p, opened, err)
		}
	}
}

func TestRotateLeavesAPrivateFileAlone(t *testing.T) {
	dir := t.TempDir()
	if _, err := CreateKeyset(filepath.Join(dir, "real.json")); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "keyset.json")
	if err := os.Symlink("real.json", link); err != nil {
		t.Fatal(err)
	}
	rotate(t, load(t, link))
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	if info, err = os.Stat(link); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestRotateRefusesAFileThatIsNotTheOneInUse(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, path string){
		"another keyset": func(t *testing.T, path string) {
			text, err := os.ReadFile(newKeyset(t).Path())
			if err == nil {
				err = os.WriteFile(path, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"gone": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"open to others": func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"a purpose is broken": func(t *testing.T, path string) {
			edit(t, path, func(file map[string]json.RawMessage) { file["links"] = json.RawMessage(`"` + canary + `"`) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			ks := newKeyset(t)
			change(t, ks.Path())
			before, text := ks.KeyIDs(Records), ""
			if read, err := os.ReadFile(ks.Path()); err == nil {
				text = string(read)
			}
			err := ks.Rotate(func(uint32) error { t.Error("asked"); return nil })
			if err == nil || !strings.Contains(err.Error(), ks.Path()) || strings.Contains(err.Error(), canary) {
				t.Errorf("%v, want an error that names the file", err)
			}
			if diff := cmp.Diff(before, ks.KeyIDs(Records)); diff != "" {
				t.Errorf("keys changed:\n%s", diff)
			}
			if read, _ := os.ReadFile(ks.Path()); string(read) != text {
				t.Error("the file was changed")
			}
		})
	}
}

func TestRotateSealsNothingThatTheStoreDoesNotKnow(t *testing.T) {
	ks := newKeyset(t)
	before, refused := ks.KeyIDs(Records), errors.New("the store is gone")
	if err := ks.Rotate(func(uint32) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(before, ks.KeyIDs(Records)); diff != "" {
		t.Errorf("keys changed:\n%s", diff)
	}
	// The keys of the file are kept by the next rotation.
	left := load(t, ks.Path()).KeyIDs(Records)
	rotate(t, ks)
	for _, id := range left {
		if !slices.Contains(ks.KeyIDs(Records), id) {
			t.Errorf("key %d is lost", id)
		}
	}
}

func TestFixedKeepsItsKeys(t *testing.T) {
	ks := newKeyset(t)
	fixed := ks.Sealer(Records).Fixed()
	rotate(t, ks)
	if fixed.Primary() == ks.Sealer(Records).Primary() {
		t.Error("rotation reached a Sealer that is fixed")
	}
	sealed, err := fixed.Seal([]byte(canary), "k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ks.Sealer(Records).Open(sealed, "k"); err != nil {
		t.Error(err)
	}
}

func TestSealingGoesOnWhileKeysAreRotated(t *testing.T) {
	ks := newKeyset(t)
	var sealing sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		sealing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				sealed, err := ks.Sealer(Handles).Seal([]byte(canary), "k")
				if err == nil {
					_, err = ks.Sealer(Handles).Open(sealed, "k")
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		rotate(t, ks)
	}
	close(stop)
	sealing.Wait()
	if n := len(ks.KeyIDs(Handles)); n != 6 {
		t.Errorf("%d keys after five rotations", n)
	}
}
