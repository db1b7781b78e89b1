package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store/badger"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// world is a vault with accounts.
type world struct {
	*vault.Vault
	t    *testing.T
	keys *secret.Keyset
	ring *vault.Keyring
}

func newWorld(t *testing.T, accounts int) *world {
	t.Helper()
	st, err := badger.Open(t.TempDir(), badger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	w := &world{t: t, keys: newKeyset(t)}
	w.Vault = vault.New(st, w.keys.Sealer(secret.Records))
	if w.ring, err = vault.LoadKeyring(t.Context(), w.Vault); err != nil {
		t.Fatal(err)
	}
	for i := range accounts {
		w.renew(fmt.Sprintf("account%04d", i), "first")
	}
	return w
}

// renew saves the account with another refresh token.
func (w *world) renew(id, refreshToken string) {
	w.t.Helper()
	g, version, err := w.Grant(w.t.Context(), id)
	if err != nil {
		g = &account.Grant{ID: id, Provider: "p", State: account.Connected, Name: string(bytes.Repeat([]byte("n"), 2000))}
	}
	g.RefreshToken = secret.New(refreshToken)
	if _, err := w.Save(w.t.Context(), nil, g, version, time.Time{}, time.Time{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(id string) {
	w.t.Helper()
	_, version, err := w.Grant(w.t.Context(), id)
	if err == nil {
		err = w.Remove(w.t.Context(), id, version)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// during calls do once, when so many bytes of the backup were written.
type during struct {
	bytes.Buffer
	at int
	do func()
}

func (d *during) Write(p []byte) (int, error) {
	if d.do != nil && d.Len()+len(p) > d.at {
		do := d.do
		d.do = nil
		do()
	}
	return d.Buffer.Write(p)
}

// final reads a backup: of each entry the last one.
func (w *world) final(text []byte) (grants map[string]string, keys []string) {
	w.t.Helper()
	grants = make(map[string]string)
	last := make(map[string]vault.Entry)
	if _, err := Read(bytes.NewReader(text), w.keys, func(e vault.Entry) error { last[e.Key] = e; return nil }); err != nil {
		w.t.Fatal(err)
	}
	for _, e := range last {
		if Removed(e) {
			continue
		}
		g, k, err := e.Decode()
		switch {
		case err != nil:
			w.t.Fatal(err)
		case g != nil:
			grants[g.ID] = g.RefreshToken.Reveal()
		default:
			keys = append(keys, k.Name)
		}
	}
	return grants, keys
}

func (w *world) take(out io.Writer) {
	w.t.Helper()
	if err := Take(w.t.Context(), w.Vault, w.keys.Sealer(secret.Records), created, out); err != nil {
		w.t.Fatal(err)
	}
}

func TestWhatChangesMeanwhileIsInTheBackup(t *testing.T) {
	// More than a watcher's events are changed, while the reader is slow.
	const accounts = 300
	w := newWorld(t, accounts)
	out := &during{at: 100 << 10, do: func() {
		for i := range accounts {
			w.renew(fmt.Sprintf("account%04d", i), "second")
		}
		w.remove("account0003")
		w.remove("account0299")
		w.renew("account9999", "second")
		w.renew("a", "second")
		if err := w.ring.Add(t.Context(), &policy.Key{Name: "ci", Hash: "h"}); err != nil {
			t.Fatal(err)
		}
	}}
	w.take(out)
	grants, keys := w.final(out.Bytes())
	if len(grants) != accounts || len(keys) != 1 {
		t.Errorf("%d grants, keys %v", len(grants), keys)
	}
	for id, token := range grants {
		if token != "second" {
			t.Errorf("%s has its %s token", id, token)
		}
	}
	if _, there := grants["account0003"]; there {
		t.Error("an account that was removed meanwhile is in the backup")
	}
}

func TestABackupEndsThoughSomethingAlwaysChanges(t *testing.T) {
	w := newWorld(t, 1)
	n := 0
	busy := &busySource{Vault: w.Vault, changes: func() {
		n++
		w.renew("account0000", fmt.Sprint(n))
	}}
	var out bytes.Buffer
	if err := Take(t.Context(), busy, w.keys.Sealer(secret.Records), created, &out); err != nil {
		t.Fatal(err)
	}
	if grants, _ := w.final(out.Bytes()); grants["account0000"] == "first" || n < rounds {
		t.Errorf("%v after %d changes", grants, n)
	}
}

// busySource changes whenever an entry of it is read.
type busySource struct {
	*vault.Vault
	changes func()
}

func (b *busySource) Export(ctx context.Context, after string, limit int) ([]vault.Entry, bool, error) {
	defer b.changes()
	return b.Vault.Export(ctx, after, limit)
}

func (b *busySource) ExportOne(ctx context.Context, key string) (vault.Entry, bool, error) {
	defer b.changes()
	return b.Vault.ExportOne(ctx, key)
}

func TestABackupThatCannotBeWrittenSaysSo(t *testing.T) {
	w := newWorld(t, 100)
	failed := errors.New("no room")
	for _, after := range []int{0, 50 << 10} {
		err := Take(t.Context(), w.Vault, w.keys.Sealer(secret.Records), created, &failing{after, failed})
		if !errors.Is(err, failed) {
			t.Errorf("after %d bytes: %v", after, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Take(ctx, w.Vault, w.keys.Sealer(secret.Records), created, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

type failing struct {
	left int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.err
	}
	return len(p), nil
}
