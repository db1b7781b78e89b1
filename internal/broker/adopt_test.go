package broker

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

var revealed = cmp.Transformer("reveal", secret.String.Reveal)

// imported is a grant that another program has.
func (w *world) imported(id string) Registration {
	return Registration{
		ID: id, Provider: w.provider.name, User: id + "@example.com", RefreshToken: w.provider.consent(id),
		AccessToken: secret.New("theirs"), AccessExpires: w.clock.Now().Add(time.Hour),
	}
}

func (w *world) imports(r Registration, want Imported) {
	w.t.Helper()
	preview, err := w.Preview(w.t.Context(), r)
	if err != nil || preview != want {
		w.t.Errorf("a preview says %q (%v), want %q", preview, err, want)
	}
	if got, err := w.Import(w.t.Context(), r); err != nil || got != want {
		w.t.Fatalf("importing %s: %q (%v), want %q", r.ID, got, err, want)
	}
}

func TestImportedGrantIsNotRenewedUntilItIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.settings.Keepalive = time.Hour
		w.run()
		w.imports(w.imported("alice"), ImportAdded)
		if token := w.token("alice", "", Options{}); token.Value.Reveal() != "theirs" {
			t.Errorf("the token is %q", token.Value.Reveal())
		}
		advance(59 * time.Minute) // and renewal ahead is due
		w.token("alice", "", Options{})
		w.token("alice", "", Options{Force: true})
		advance(time.Hour)
		w.refused("alice", "", Options{}, problem.AccountDisabled)
		advance(48 * time.Hour)
		w.requests(0)

		// Switched off and on it is not adopted either.
		if err := w.Disable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if err := w.Enable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if g := w.vault.stored(t, "alice"); g.State != account.Restored {
			t.Errorf("state %s", g.State)
		}

		for range 2 {
			if err := w.Adopt(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
		}
		advance(time.Second) // nobody asks for a token
		w.requests(1)
		if g := w.vault.stored(t, "alice"); g.State != account.Connected || g.Unadopted || g.Intent != nil {
			t.Errorf("stored is %+v", g)
		}
		w.token("alice", "", Options{})
		w.noReplay()
	})
}

// The program that had the grant before may have spent the refresh token: sent
// again it would end the access token too.
func TestAdoptedGrantUsesUpItsAccessToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		w.imports(w.imported("alice"), ImportAdded)
		if err := w.Adopt(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		advance(59 * time.Minute)
		if token := w.token("alice", "", Options{}); token.Value.Reveal() != "theirs" {
			t.Errorf("the token is %q", token.Value.Reveal())
		}
		w.requests(0)
		w.restart()
		w.run()
		advance(2 * time.Minute)
		w.requests(1)
	})
}

func TestAdoptingManyMakesNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		w.provider.set(func(p *fakeProvider) { p.delay = time.Second })
		const accounts = 200
		for i := range accounts {
			r := w.imported(fmt.Sprint(i))
			r.AccessToken = secret.String{}
			w.imports(r, ImportAdded)
		}
		var wg sync.WaitGroup
		for i := range accounts {
			wg.Go(func() {
				if err := w.Adopt(t.Context(), fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		advance(accounts * time.Second)
		w.requests(accounts)
		if w.provider.most > DefaultWorkers {
			t.Errorf("%d requests at once", w.provider.most)
		}
		w.noReplay()
	})
}

func TestAdoptingWhatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		if err := w.Adopt(t.Context(), "alice"); err != nil {
			t.Errorf("an account that is ours: %v", err)
		}
		if g := w.vault.stored(t, "alice"); g.Intent != nil || g.Attempts != 0 {
			t.Errorf("it was changed: %+v", g)
		}
		if err := w.Adopt(t.Context(), "nobody"); code(err) != problem.AccountNotFound {
			t.Errorf("an account that is not there: %v", err)
		}
	})
}

func TestImportingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		r := w.imported("alice")
		r.Subject = "sub"
		w.imports(r, ImportAdded)
		if err := w.Rename(t.Context(), "alice", "Alice", ""); err != nil {
			t.Fatal(err)
		}
		before := w.vault.stored(t, "alice")
		advance(time.Minute)
		r.AccessToken, r.AccessExpires = secret.New("a newer one"), r.AccessExpires.Add(time.Hour)
		w.imports(r, ImportUnchanged)
		r.Subject = ""
		w.imports(r, ImportUnchanged)
		r.Subject = "another"
		w.imports(r, ImportConflict)
		r.Subject, r.RefreshToken = "sub", secret.New("another")
		w.imports(r, ImportConflict)
		if diff := cmp.Diff(before, w.vault.stored(t, "alice"), revealed); diff != "" {
			t.Errorf("the account changed (-before +after):\n%s", diff)
		}
		r.ID, r.Provider = "bob", "nobody"
		if _, err := w.Import(t.Context(), r); code(err) != problem.InvalidRequest {
			t.Errorf("a provider that is not there: %v", err)
		}
		w.requests(0)
	})
}

func TestRestoringABackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		w.register("alice")
		w.token("alice", "", Options{})
		backup := w.vault.stored(t, "alice")
		restore := func(want bool) {
			t.Helper()
			if got, err := w.Restore(t.Context(), backup); err != nil || got != want {
				t.Fatalf("restored %t (%v), want %t", got, err, want)
			}
		}
		advance(2 * time.Hour)
		w.token("alice", "", Options{})
		restore(false) // an older record of the same consent would lose a refresh token

		if err := w.Remove(t.Context(), "alice", false); err != nil {
			t.Fatal(err)
		}
		backup.State = account.Restored
		restore(true)
		g := w.vault.stored(t, "alice")
		if !g.Unadopted || !g.RefreshToken.Equal(backup.RefreshToken) || g.Generation != backup.Generation || !g.Created.Equal(backup.Created) {
			t.Errorf("stored is %+v", g)
		}
		w.refused("alice", "", Options{}, problem.AccountDisabled)

		backup.Generation++
		backup.State, backup.Name = account.Connected, "Newer"
		backup.Intent = &account.Intent{Number: backup.Attempts, Owner: "gone", Since: w.clock.Now(), Audience: "main", Lost: true}
		restore(true)
		requests := w.provider.count()
		if known, err := w.Account(t.Context(), "alice"); err != nil || known.Name != "Newer" || known.State != account.Connected {
			t.Errorf("memory knows %+v (%v)", known, err)
		}
		advance(time.Second)
		w.requests(requests + 1) // what was left is taken up

		theirs := *backup.Clone() // what another instance was given later
		theirs.Generation++
		theirs.Unadopted, theirs.RefreshToken = true, secret.New("theirs")
		backup = &theirs
		restore(false)
		if g := w.vault.stored(t, "alice"); g.Unadopted || g.RefreshToken.Reveal() == "theirs" {
			t.Errorf("stored is %+v", g)
		}
		backup.ID = "/"
		if _, err := w.Restore(t.Context(), backup); code(err) != problem.InvalidRequest {
			t.Errorf("an ID that cannot be: %v", err)
		}
	})
}

func TestRestoredAccountThatWasDisabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		g := &account.Grant{
			ID: "alice", Provider: "fake", State: account.Disabled, Unadopted: true, Generation: 1, ClientID: w.provider.client,
			RefreshToken: w.provider.consent("alice"), Created: w.clock.Now(),
		}
		if ok, err := w.Restore(t.Context(), g); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if err := w.Enable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		w.refused("alice", "", Options{}, problem.AccountDisabled)
		w.requests(0)
		if err := w.Adopt(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		w.token("alice", "", Options{})
	})
}

// Whatever operators do at the same time, under two configurations: no refresh
// token is spent twice, and the newest one is kept.
func TestOperatorsAndRenewalsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		next := w.reload(w.Shared)
		ids := []string{"alice", "bob", "carol"}
		backups := make(map[string]*account.Grant)
		for _, id := range ids {
			w.register(id)
			w.token(id, "", Options{})
			backups[id] = w.vault.stored(t, id)
		}
		w.provider.set(func(p *fakeProvider) { p.delay = 30 * time.Millisecond })
		for range 20 {
			var all sync.WaitGroup
			for _, id := range ids {
				for i, b := range []*Broker{w.Broker, next} {
					old := backups[id].Clone()
					theirs := backups[id].Clone()
					theirs.Generation, theirs.Unadopted, theirs.RefreshToken = theirs.Generation+1, true, secret.New(id+"#0")
					for n, do := range []func() error{
						func() error { _, err := b.Token(t.Context(), id, "", Options{Force: true}); return err },
						func() error { _, err := b.Token(t.Context(), id, "files", Options{Force: true}); return err },
						func() error { _, err := b.Restore(t.Context(), old); return err },
						func() error { _, err := b.Restore(t.Context(), theirs); return err },
						func() error {
							_, err := b.Import(t.Context(), Registration{ID: id, Provider: "fake", RefreshToken: old.RefreshToken})
							return err
						},
						func() error { return b.Adopt(t.Context(), id) },
						func() error { return b.Disable(t.Context(), id) },
						func() error { return b.Enable(t.Context(), id) },
						func() error { return b.Rename(t.Context(), id, "name", "user") },
						func() error { _, err := b.Reconnect(t.Context(), id); return err },
					} {
						all.Go(func() {
							<-time.After(time.Duration((n*7+i*5)%17) * 5 * time.Millisecond)
							if err := do(); err != nil && code(err) != problem.AccountDisabled {
								t.Errorf("operation %d: %v", n, err)
							}
						})
					}
				}
			}
			all.Wait()
			advance(2 * time.Minute)
		}
		w.noReplay()
		for _, id := range ids {
			if err := w.Enable(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			w.token(id, "", Options{Force: true})
			g := w.vault.stored(t, id)
			w.provider.mu.Lock()
			current := w.provider.families[id].current
			w.provider.mu.Unlock()
			if g.RefreshToken.Reveal() != current || g.Unadopted || g.Intent != nil {
				t.Errorf("kept %s, and the provider's newest is %s; %+v", g.RefreshToken.Reveal(), current, g)
			}
		}
		if n := w.provider.count(); n < 40 {
			t.Errorf("only %d token requests were among them", n)
		}
	})
}
