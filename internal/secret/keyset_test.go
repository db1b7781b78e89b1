package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

func newKeyset(t *testing.T) *Keyset {
	t.Helper()
	ks, err := CreateKeyset(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

func load(t *testing.T, path string) *Keyset {
	t.Helper()
	ks, err := LoadKeyset(path)
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

// edit changes the purposes in a keyset's file.
func edit(t *testing.T, path string, change func(file map[string]json.RawMessage)) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	change(file)
	if text, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// manage changes the Tink keyset in text.
func manage(t *testing.T, text json.RawMessage, change func(*keyset.Manager) error) json.RawMessage {
	t.Helper()
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	manager := keyset.NewManagerFromHandle(handle)
	if err := change(manager); err != nil {
		t.Fatal(err)
	}
	if handle, err = manager.Handle(); err != nil {
		t.Fatal(err)
	}
	return jsonOf(t, handle)
}

func jsonOf(t *testing.T, handle *keyset.Handle) json.RawMessage {
	t.Helper()
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func newTinkKeyset(t *testing.T, template *tinkpb.KeyTemplate) json.RawMessage {
	t.Helper()
	handle, err := keyset.NewHandle(template)
	if err != nil {
		t.Fatal(err)
	}
	return jsonOf(t, handle)
}

func addPrimary(m *keyset.Manager) error {
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return err
	}
	return m.SetPrimary(id)
}

func TestCreateKeysetWritesAPrivateFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	path := filepath.Join(dir, "keyset.json")
	ks, err := CreateKeyset(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{path: 0o600, dir: 0o700} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("mode of %s is %v, want %v", name, info.Mode().Perm(), want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("directory holds %v, want the keyset alone", entries)
	}
	if ks.Path() != path {
		t.Errorf("Path is %s", ks.Path())
	}
	again := load(t, path)
	for _, p := range purposes {
		if len(ks.KeyIDs(p)) != 1 {
			t.Errorf("%s has keys %v, want one", p, ks.KeyIDs(p))
		}
		if diff := cmp.Diff(ks.KeyIDs(p), again.KeyIDs(p)); diff != "" {
			t.Errorf("keys for %s (-created +loaded):\n%s", p, diff)
		}
	}
}

func TestCreateKeysetNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keyset.json")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateKeyset(path); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("CreateKeyset: %v, want one that names the file and wraps fs.ErrExist", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestLoadKeysetRefusesFilesOpenToOthers(t *testing.T) {
	ks := newKeyset(t)
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o644, 0o620, 0o602, 0o610, 0o777} {
		if err := os.Chmod(ks.Path(), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeyset(ks.Path()); err == nil || !strings.Contains(err.Error(), "chmod 600 "+ks.Path()) {
			t.Errorf("mode %04o: %v, want an error that says what to do", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		if err := os.Chmod(ks.Path(), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeyset(ks.Path()); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestLoadKeysetNamesAFileThatIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.json")
	if _, err := LoadKeyset(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("LoadKeyset: %v", err)
	}
}

func TestLoadKeysetRefusesADirectory(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadKeyset(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("LoadKeyset: %v", err)
	}
}

func TestLoadKeysetRefusesUnreadableFiles(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("nothing is unreadable for the superuser")
	}
	ks := newKeyset(t)
	if err := os.Chmod(ks.Path(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeyset(ks.Path()); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), ks.Path()) {
		t.Errorf("LoadKeyset: %v", err)
	}
}

func TestLoadKeysetRefusesWhatIsNoKeyset(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	for name, text := range map[string]string{
		"empty":      "",
		"no JSON":    canary,
		"no object":  `["` + canary + `"]`,
		"cut short":  `{"records": {"primaryKeyId": 1, "key": [{"value": "` + canary,
		"null":       "null",
		"too large":  strings.Repeat(" ", maxKeysetFile+1),
		"no purpose": "{}",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKeyset(path)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error that names the file", name, err)
			continue
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error quotes the file: %v", name, err)
		}
	}
}

func TestLoadKeysetRefusesKeysThatCannotServe(t *testing.T) {
	for name, change := range map[string]func(file map[string]json.RawMessage){
		"missing purpose": func(file map[string]json.RawMessage) { delete(file, "links") },
		"unknown purpose": func(file map[string]json.RawMessage) { file["link"] = file["links"] },
		"no Tink keyset":  func(file map[string]json.RawMessage) { file["links"] = json.RawMessage(`"` + canary + `"`) },
		"null":            func(file map[string]json.RawMessage) { file["links"] = json.RawMessage("null") },
		"no keys":         func(file map[string]json.RawMessage) { file["links"] = json.RawMessage("{}") },
		"keys of a MAC": func(file map[string]json.RawMessage) {
			file["links"] = newTinkKeyset(t, mac.HMACSHA256Tag256KeyTemplate())
		},
		"keys without ID": func(file map[string]json.RawMessage) {
			file["links"] = newTinkKeyset(t, aead.AES256GCMNoPrefixKeyTemplate())
		},
	} {
		ks := newKeyset(t)
		edit(t, ks.Path(), change)
		_, err := LoadKeyset(ks.Path())
		if err == nil || !strings.Contains(err.Error(), ks.Path()) || !strings.Contains(err.Error(), `"link`) {
			t.Errorf("%s: %v, want an error that names file and purpose", name, err)
			continue
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error quotes the file: %v", name, err)
		}
	}
}

func TestKeyIDsListsThePrimaryFirst(t *testing.T) {
	ks := newKeyset(t)
	first := ks.KeyIDs(Records)[0]
	edit(t, ks.Path(), func(file map[string]json.RawMessage) {
		file["records"] = manage(t, file["records"], addPrimary)
		file["records"] = manage(t, file["records"], addPrimary)
	})
	ids := load(t, ks.Path()).KeyIDs(Records)
	if len(ids) != 3 || ids[0] == first || !slices.Contains(ids[1:], first) || !slices.IsSorted(ids[1:]) {
		t.Errorf("keys are %v, want three with %d not first", ids, first)
	}
	ids[0] = 0
	if load(t, ks.Path()).KeyIDs(Records)[0] == 0 {
		t.Error("KeyIDs gives away its own slice")
	}
}

func TestOpenGivesBackWhatWasSealed(t *testing.T) {
	ks := newKeyset(t)
	for _, p := range purposes {
		for _, plaintext := range []string{"", "x", canary, strings.Repeat("long", 10_000)} {
			s := ks.Sealer(p)
			sealed, err := s.Seal([]byte(plaintext), "grant/alice")
			if err != nil {
				t.Fatal(err)
			}
			if plaintext == canary && bytes.Contains(sealed, []byte(canary)) {
				t.Error("sealed value holds the plaintext")
			}
			if id, ok := s.KeyID(sealed); !ok || id != ks.KeyIDs(p)[0] {
				t.Errorf("KeyID is %d, %v, want %v", id, ok, ks.KeyIDs(p))
			}
			opened, err := load(t, ks.Path()).Sealer(p).Open(sealed, "grant/alice")
			if err != nil || string(opened) != plaintext {
				t.Errorf("%s: opened %d bytes, %v, want %d", p, len(opened), err, len(plaintext))
			}
		}
	}
}

func TestSealNeverRepeatsItself(t *testing.T) {
	s := newKeyset(t).Sealer(Records)
	one, err1 := s.Seal([]byte(canary), "k")
	two, err2 := s.Seal([]byte(canary), "k")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one, two) {
		t.Error("the same plaintext was sealed alike twice")
	}
}

func TestOpenRefusesAnotherPlaceOrPurpose(t *testing.T) {
	ks := newKeyset(t)
	sealed, err := ks.Sealer(Records).Seal([]byte(canary), "grant/alice")
	if err != nil {
		t.Fatal(err)
	}
	for _, associated := range []string{"", "grant/bob", "grant/alice/"} {
		if got, err := ks.Sealer(Records).Open(sealed, associated); !errors.Is(err, ErrNotAuthentic) || got != nil {
			t.Errorf("as %q: %q, %v, want ErrNotAuthentic", associated, got, err)
		}
	}
	if _, err := ks.Sealer(Handles).Open(sealed, "grant/alice"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("for another purpose: %v, want ErrUnknownKey", err)
	}
}

func TestOpenRefusesWhatWasTamperedWith(t *testing.T) {
	s := newKeyset(t).Sealer(Records)
	sealed, err := s.Seal([]byte(canary), "k")
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		tampered := slices.Clone(sealed)
		tampered[i] ^= 1
		if got, err := s.Open(tampered, "k"); err == nil || got != nil {
			t.Errorf("byte %d changed: opened %q, %v", i, got, err)
		}
	}
	for n := range sealed {
		if _, err := s.Open(sealed[:n], "k"); !errors.Is(err, ErrNotAuthentic) {
			t.Errorf("cut to %d bytes: %v, want ErrNotAuthentic", n, err)
		}
	}
	for name, value := range map[string][]byte{"nothing": nil, "plaintext": []byte(canary), "longer": append(slices.Clone(sealed), 0)} {
		_, err := s.Open(value, "k")
		if !errors.Is(err, ErrNotAuthentic) {
			t.Errorf("%s: %v, want ErrNotAuthentic", name, err)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error quotes the value: %v", name, err)
		}
	}
}

func TestOpenNamesAKeyThatIsMissing(t *testing.T) {
	here, elsewhere := newKeyset(t), newKeyset(t)
	sealed, err := elsewhere.Sealer(Records).Seal([]byte(canary), "k")
	if err != nil {
		t.Fatal(err)
	}
	_, err = here.Sealer(Records).Open(sealed, "k")
	if !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), fmt.Sprint(elsewhere.KeyIDs(Records)[0])) {
		t.Errorf("Open: %v, want ErrUnknownKey with the ID", err)
	}
}

func TestRotationOpensOldAndSealsNew(t *testing.T) {
	ks := newKeyset(t)
	old := ks.KeyIDs(Records)[0]
	sealed, err := ks.Sealer(Records).Seal([]byte(canary), "k")
	if err != nil {
		t.Fatal(err)
	}
	edit(t, ks.Path(), func(file map[string]json.RawMessage) {
		file["records"] = manage(t, file["records"], addPrimary)
	})
	rotated := load(t, ks.Path())
	if opened, err := rotated.Sealer(Records).Open(sealed, "k"); err != nil || string(opened) != canary {
		t.Errorf("old value: %q, %v", opened, err)
	}
	again, err := rotated.Sealer(Records).Seal([]byte(canary), "k")
	if err != nil {
		t.Fatal(err)
	}
	if id, _ := rotated.Sealer(Records).KeyID(again); id == old || id != rotated.KeyIDs(Records)[0] {
		t.Errorf("new value was sealed with key %d, want the new primary of %v", id, rotated.KeyIDs(Records))
	}

	edit(t, ks.Path(), func(file map[string]json.RawMessage) {
		file["records"] = manage(t, file["records"], func(m *keyset.Manager) error { return m.Disable(old) })
	})
	disabled := load(t, ks.Path())
	if slices.Contains(disabled.KeyIDs(Records), old) {
		t.Errorf("keys %v have the disabled %d", disabled.KeyIDs(Records), old)
	}
	if _, err := disabled.Sealer(Records).Open(sealed, "k"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("under a disabled key: %v, want ErrUnknownKey", err)
	}
}

func TestPurposesHaveKeysOfTheirOwn(t *testing.T) {
	ks := newKeyset(t)
	ids := make(map[uint32]bool)
	for _, p := range purposes {
		ids[ks.KeyIDs(p)[0]] = true
	}
	if len(ids) != len(purposes) {
		t.Errorf("%d keys for %d purposes", len(ids), len(purposes))
	}
}

func TestKeysetPrintsNoKeys(t *testing.T) {
	ks := newKeyset(t)
	text, err := os.ReadFile(ks.Path())
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]struct {
		Key []struct {
			KeyData struct{ Value []byte }
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, p := range slices.Sorted(maps.Keys(file)) {
		// The value is a protobuf message that ends with the key.
		value := file[p].Key[0].KeyData.Value
		key := value[len(value)-8:]
		for _, held := range []any{ks, ks.Sealer(Purpose(p)), ks.Sealer(Purpose(p)).keys.Load()} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%q"} {
				got := fmt.Sprintf(verb, held)
				if strings.Contains(got, string(key)) || strings.Contains(got, fmt.Sprintf("%x", key)) ||
					strings.Contains(got, strings.Trim(fmt.Sprint(key), "[]")) {
					t.Errorf("%s of %T prints the key", verb, held)
				}
			}
		}
	}
}
