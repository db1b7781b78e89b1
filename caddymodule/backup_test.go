package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// takeBackup writes a backup with the command and returns its path.
func takeBackup(t *testing.T, b *bellhop) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup")
	b.commands().must("backup", file)
	return file
}

// sendBackup is restore without the command.
func (b *bellhop) sendBackup(text []byte, contentType string) (string, error) {
	b.t.Helper()
	body, err := (&adminFlags{address: "unix/" + filepath.Join(b.dir, "admin.sock")}).stream(b.t.Context(), http.MethodPost, "/v1/restore", contentType, bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	defer body.Close()
	var said bytes.Buffer
	_, err = said.ReadFrom(body)
	return said.String(), err
}

func TestBackupCommandWritesWholeFilesAlone(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	_, token := p.grant(t, fakeprovider.Grant{Email: "alice@example.com", Scope: mailScope})
	b.addAccount("alice", "google", "alice@example.com", token)
	key := b.addKey("ci", map[string]any{"accounts": []string{"alice"}})
	c := b.commands()
	dir := t.TempDir()
	file := filepath.Join(dir, "backup")
	if out := c.must("backup", file); !strings.Contains(out, "keep a copy of that file") {
		t.Errorf("%q", out)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{token, key, "alice@example.com"} {
		if bytes.Contains(text, []byte(hidden)) {
			t.Errorf("%s stands in the backup", hidden)
		}
	}
	if _, err := c.run("backup", file); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("over a file that exists: %v", err)
	}
	if again, _ := os.ReadFile(file); !bytes.Equal(again, text) {
		t.Error("the file was changed")
	}
	c.must("backup", file, "--force")
	if again, _ := os.ReadFile(file); bytes.Equal(again, text) {
		t.Error("the file was not overwritten")
	}
	if out := c.must("backup", "-"); !strings.HasPrefix(out, "BELLHOP-BACKUP 1\n") {
		t.Errorf("%.40q", out)
	}
	var said map[string]any
	if out := c.must("backup", file+".json", "--json"); json.Unmarshal([]byte(out), &said) != nil || said["backup"] == "" {
		t.Errorf("%q", out)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := c.run("backup", filepath.Join(dir, "no", "such")); err == nil {
		t.Error("written into a directory that is not there")
	}
}

func TestRestoreIntoTheSameStoreBringsBackWhatIsMissing(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	for _, id := range []string{"alice", "bob"} {
		_, token := p.grant(t, fakeprovider.Grant{Email: id + "@example.com", Scope: mailScope})
		b.addAccount(id, "google", id+"@example.com", token)
	}
	kept := b.addKey("kept", map[string]any{"accounts": []string{"*"}, "token": true})
	lost := b.addKey("lost", map[string]any{"accounts": []string{"*"}, "token": true})
	b.addKey("taken", map[string]any{"accounts": []string{"*"}})
	c := b.commands()
	c.must("account", "disable", "bob")
	file := takeBackup(t, b)

	c.must("account", "remove", "alice")
	c.must("account", "enable", "bob")
	c.must("key", "remove", "lost")
	c.must("key", "remove", "taken")
	b.addKey("taken", map[string]any{"accounts": []string{"bob"}})
	var done restored
	if out := c.must("restore", file, "--json"); json.Unmarshal([]byte(out), &done) != nil {
		t.Fatal(out)
	}
	if !done.SameStore || done.Accounts != 1 || done.AccountsKept != 1 || done.Unadopted != 0 || done.Keys != 1 || done.KeysKept != 1 || fmt.Sprint(done.KeyConflicts) != "[taken]" {
		t.Errorf("%+v", done)
	}
	if r := b.get(tokenURL("alice"), lost); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := b.get(tokenURL("bob"), kept); r.status != http.StatusOK {
		t.Errorf("an account was put back though nothing newer is in the backup: %d %s", r.status, r.body)
	}
	if out := c.must("key", "show", "taken"); !strings.Contains(out, `"bob"`) {
		t.Errorf("a key was replaced: %s", out)
	}
}

func TestRestoreWritesNothingOfABackupThatIsNotGood(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	_, token := p.grant(t, fakeprovider.Grant{Email: "alice@example.com", Scope: mailScope})
	b.addAccount("alice", "google", "alice@example.com", token)
	text, err := os.ReadFile(takeBackup(t, b))
	if err != nil {
		t.Fatal(err)
	}
	c := b.commands()
	c.must("account", "remove", "alice")
	changed := bytes.Clone(text)
	changed[len(changed)-1] ^= 1
	spools := filepath.Join(t.TempDir(), "spool")
	if err := os.Mkdir(spools, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", spools)
	for name, test := range map[string]struct {
		text       []byte
		kind, says string
	}{
		"cut short": {text[:len(text)-10], backupType, "cut short"},
		"changed":   {changed, backupType, "damaged"},
		"no backup": {[]byte("{}"), backupType, "not a backup"},
		"empty":     {nil, backupType, "not a backup"},
		"as a form": {text, "application/x-www-form-urlencoded", "Content-Type"},
	} {
		t.Run(name, func(t *testing.T) {
			if said, err := b.sendBackup(test.text, test.kind); err == nil || !strings.Contains(err.Error(), test.says) || strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("%q, %v", said, err)
			}
		})
	}
	if out := c.must("account", "list"); strings.Contains(out, "alice") {
		t.Errorf("something was written:\n%s", out)
	}
	if left, _ := os.ReadDir(spools); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if said, err := b.sendBackup(text, backupType); err != nil || !strings.Contains(said, `"accounts":1`) {
		t.Errorf("%q, %v", said, err)
	}
}

func TestRestoreNamesTheKeysetThatIsNeeded(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	file := takeBackup(t, b)
	theirs, err := secret.LoadKeyset(filepath.Join(b.dir, "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	b.stop()
	other := start(t, standardCaddyfile(p))
	ours, err := secret.LoadKeyset(filepath.Join(other.dir, "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.commands().run("restore", file)
	for _, want := range []string{fmt.Sprint(theirs.KeyIDs(secret.Records)[0]), fmt.Sprint(ours.KeyIDs(secret.Records)[0]), ours.Path()} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestBackupNeedsAnAdminKeyAtASite(t *testing.T) {
	p := startProvider(t)
	b := start(t, changed(t, standardCaddyfile(p), "\t\ttoken_endpoint\n", "\t\ttoken_endpoint\n\t\tapi\n"))
	caller := b.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	admin := b.addKey("admin", map[string]any{"admin": true})
	refusedWith(t, b.get("/v1/backup", caller), http.StatusForbidden, "NotAllowed")
	refusedWith(t, b.do(http.MethodPost, "/v1/restore", nil, "Authorization", "Bearer "+caller), http.StatusForbidden, "NotAllowed")
	if r := b.get("/v1/backup", admin); r.status != http.StatusOK || r.header.Get("Content-Type") != backupType || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", r.status, r.header)
	}
	// Whoever rotates must be able to copy the file.
	refusedWith(t, b.do(http.MethodPost, "/v1/keyset/rotate", nil, "Authorization", "Bearer "+admin), http.StatusForbidden, "NotAllowed")
}

func TestKeysetRotate(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	_, token := p.grant(t, fakeprovider.Grant{Email: "alice@example.com", Scope: mailScope})
	b.addAccount("alice", "google", "alice@example.com", token)
	key := b.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	b.get(tokenURL("alice"), key) // from here on its refresh token stays
	before := takeBackup(t, b)
	path := filepath.Join(b.dir, "keyset.json")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := b.commands()
	var done struct {
		Keyset string
		Key    uint32
		Older  []uint32
	}
	if out := c.must("keyset", "rotate", "--json"); json.Unmarshal([]byte(out), &done) != nil || done.Keyset != path || len(done.Older) != 1 {
		t.Fatalf("%q", out)
	}
	if out := c.must("keyset", "rotate"); !strings.Contains(out, path) || !strings.Contains(out, "keep a new copy") {
		t.Errorf("%q", out)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if r := b.get(tokenURL("alice"), key); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	// Another configuration uses the new keys too, and so does the next start;
	// older backups stay good.
	b.load(b.caddyfile)
	c.must("account", "remove", "alice")
	c.must("restore", before)
	if r := b.get(tokenURL("alice"), key); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	b.stop()
	b.load(b.caddyfile)
	if r := b.get(tokenURL("alice"), key); r.status != http.StatusOK {
		t.Errorf("after a restart: %d %s", r.status, r.body)
	}
	// A keyset file from before the rotation is refused by name.
	b.stop()
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := loadCaddyfile(b.caddyfile); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}

// deadlines keeps the read deadlines that a stream sets.
type deadlines struct {
	*httptest.ResponseRecorder
	read []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}

func TestWhatIsDoneWithAStreamHasNoDeadline(t *testing.T) {
	d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	if _, err := io.ReadAll(patient{Reader: strings.NewReader("a backup"), control: http.NewResponseController(d)}); err != nil {
		t.Fatal(err)
	}
	if n := len(d.read); n < 2 || d.read[0].IsZero() || !d.read[n-1].IsZero() {
		t.Errorf("deadlines %v", d.read)
	}
}

func TestBackupThatBreaksOffEndsItsConnection(t *testing.T) {
	p := startProvider(t)
	b := start(t, withAPI(standardCaddyfile(p)))
	admin := b.addKey("admin", map[string]any{"admin": true})
	app, err := caddy.ActiveContext().App("bellhop")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := app.(*App).run.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opened.store.Commit(t.Context(), nil, store.Write{Key: "grant/alice", Value: []byte("no key sealed this")}); err != nil {
		t.Fatal(err)
	}
	if r, err := b.send(t.Context(), http.MethodGet, "/v1/backup", nil, "Authorization", "Bearer "+admin); err == nil {
		t.Errorf("it seems to be whole: %d %q", r.status, r.body)
	}
	if r := b.get("/v1/accounts", admin); r.status == http.StatusUnauthorized {
		t.Errorf("%d %s", r.status, r.body)
	}
	dir := t.TempDir()
	if out, err := b.commands().run("backup", filepath.Join(dir, "backup")); err == nil {
		t.Error(out)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
