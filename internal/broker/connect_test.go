package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// consented is a consent of the person with the subject, on its way to an
// account.
func (w *world) consented(id, subject string) account.Connection {
	token := w.provider.consent(fmt.Sprintf("consent %d", len(w.provider.families)+1))
	return account.Connection{
		ID: id, Provider: w.provider.name, Name: "Name of " + id,
		Consent: account.Consent{
			Answer: account.Answer{
				AccessToken: secret.New("consented " + token.Reveal()), RefreshToken: token, Scopes: []string{"read"}, Life: time.Hour,
			},
			Identity:   account.Identity{Subject: subject, Issuer: "https://fake", Email: subject + "@example.com"},
			ClientAuth: account.ClientNone, Scopes: []string{"read", "write"}, Missing: []string{"write"}, Asked: w.clock.Now(),
		},
	}
}

// connect stores the consent, which must be accepted.
func (w *world) connect(c account.Connection) account.ConnectResult {
	w.t.Helper()
	got, err := w.Connect(w.t.Context(), c)
	if err != nil {
		w.t.Fatalf("connecting %s: %v", c.ID, err)
	}
	synctest.Wait()
	return got
}

func TestConsentMakesAnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		c := w.consented("alice", "alice")
		c.Consent.Answer.RefreshTokenLife = 24 * time.Hour
		got := w.connect(c)
		if !got.New || got.State != account.Connected || got.Generation == 0 {
			t.Errorf("result %+v", got)
		}
		if token := w.token("alice", "", Options{}); token.Value.Reveal() != "consented consent 1#1" || token.Result != Hit {
			t.Errorf("the token is %q, a %s", token.Value.Reveal(), token.Result)
		}
		w.requests(0)
		now := w.clock.Now()
		want := &account.Grant{
			ID: "alice", Provider: "fake", Name: "Name of alice", User: "alice@example.com", State: account.Connected,
			Generation: got.Generation, Subject: "alice", Issuer: "https://fake", ClientID: "client-fake", ClientAuth: account.ClientNone,
			Scopes: []string{"read", "write"}, Missing: []string{"write"},
			RefreshToken: c.Consent.Answer.RefreshToken, Refreshed: now, Lapses: now.Add(24 * time.Hour), Attempts: 1,
			Access: []account.AccessToken{{
				Value: c.Consent.Answer.AccessToken, Number: 1, Audience: "main", Scopes: []string{"read"}, Issued: now, Expires: now.Add(time.Hour),
			}},
			Created: now, Updated: now,
		}
		if diff := cmp.Diff(want, w.vault.stored(t, "alice"), cmp.Transformer("reveal", secret.String.Reveal)); diff != "" {
			t.Errorf("the stored grant (-want +got):\n%s", diff)
		}
		if len(w.watcher.events) != 1 || w.watcher.events[0].Name != AccountConnected || !slices.Equal(w.watcher.events[0].Missing, []string{"write"}) {
			t.Errorf("events %+v", w.watcher.events)
		}
		if known, err := w.Account(t.Context(), "alice"); err != nil || !known.Registered {
			t.Errorf("%+v, %v", known, err)
		}

		advance(2 * time.Hour)
		w.token("alice", "", Options{})
		w.requests(1)
		if asked := w.provider.requests[0]; !slices.Equal(asked.GrantScopes, []string{"read"}) || asked.ClientAuth != account.ClientNone {
			t.Errorf("the renewal asked for %v as a client with %s", asked.GrantScopes, asked.ClientAuth)
		}
	})
}

func TestConsentIsRenewedAheadOfItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		w.connect(w.consented("alice", "alice"))
		w.token("alice", "", Options{})
		advance(56 * time.Minute)
		w.requests(1)
	})
}

func TestConsentReplacesAGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.connect(w.consented("alice", "alice"))
		w.token("alice", "files", Options{})
		w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
		advance(2 * time.Hour)
		w.refused("alice", "", Options{}, problem.OAuthRenewError)
		synctest.Wait()
		before := w.vault.stored(t, "alice")
		if before.State != account.AuthenticationError || w.watcher.count(AccountFailed) != 1 {
			t.Fatalf("state %s, told %d times", before.State, w.watcher.count(AccountFailed))
		}

		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		got := w.connect(w.consented("alice", "alice"))
		if got.New || got.State != account.Connected || got.Generation <= before.Generation {
			t.Errorf("result %+v after generation %d", got, before.Generation)
		}
		after := w.vault.stored(t, "alice")
		if len(after.Failures) != 0 || after.Intent != nil || after.Attempts != before.Attempts+1 || len(after.Access) != 1 || after.Access[0].Number != after.Attempts {
			t.Errorf("the stored grant is %+v", after)
		}
		if !after.Created.Equal(before.Created) {
			t.Error("the account is another one")
		}
		if w.watcher.count(AccountRecovered) != 1 || w.watcher.count(AccountConnected) != 1 {
			t.Errorf("events %+v", w.watcher.events)
		}
		w.token("alice", "", Options{})
		w.token("alice", "files", Options{})
		w.noReplay()
	})
}

func TestConsentOfSomebodyElse(t *testing.T) {
	for name, test := range map[string]struct {
		known, comes string
		any          bool
		other        bool
	}{
		"the same person":                 {known: "alice", comes: "alice"},
		"another person":                  {known: "alice", comes: "bob", other: true},
		"another person, who is allowed":  {known: "alice", comes: "bob", any: true},
		"nobody knew, now it is known":    {known: "", comes: "bob"},
		"it was known, and is not proven": {known: "alice", comes: "", other: true},
		"nobody ever knows":               {known: "", comes: "", other: true},
		"nobody ever knows, and need not": {known: "", comes: "", any: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationSingleUse)
				w.connect(w.consented("account", test.known))
				before := w.vault.stored(t, "account")
				for _, confirm := range []string{"value", ""} {
					c := w.consented("account", test.comes)
					c.AnySubject, c.Confirm, c.ConfirmBy = test.any, secret.New(confirm), w.clock.Now().Add(time.Hour)
					_, err := w.Connect(t.Context(), c)
					if errors.Is(err, ErrOtherSubject) != test.other || (err != nil) != test.other {
						t.Fatalf("connecting: %v", err)
					}
					if err != nil && code(err) != problem.Conflict {
						t.Errorf("the problem is %s", code(err))
					}
				}
				after := w.vault.stored(t, "account")
				if test.other {
					if diff := cmp.Diff(before, after, cmp.Transformer("reveal", secret.String.Reveal)); diff != "" {
						t.Errorf("the refused consent changed (-before +after):\n%s", diff)
					}
					return
				}
				if after.Subject != test.comes || after.Generation <= before.Generation {
					t.Errorf("subject %q, generation %d after %d", after.Subject, after.Generation, before.Generation)
				}
				if test.known != "" && test.comes != test.known && after.User != "bob@example.com" {
					t.Errorf("the login is still %s", after.User)
				}
			})
		})
	}
}

func TestConsentThatDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		other := newFakeProvider("other", account.RotationNone, w.journal)
		w.Broker = New(w.Shared, []Provider{w.provider, other, newDaemon("daemon", w.journal)}, testSettings, w.watcher, slog.New(slog.DiscardHandler))
		w.register("alice")
		for name, test := range map[string]struct {
			change func(*account.Connection)
			want   problem.Code
		}{
			"an ID that cannot be":                {func(c *account.Connection) { c.ID = "/" }, problem.InvalidRequest},
			"a provider that is not there":        {func(c *account.Connection) { c.Provider = "nobody" }, problem.ProviderMisconfigured},
			"another provider than the account's": {func(c *account.Connection) { c.Provider = "other" }, problem.Conflict},
			"a provider nobody consents to":       {func(c *account.Connection) { c.Provider = "daemon" }, problem.InvalidRequest},
		} {
			c := w.consented("alice", "alice")
			test.change(&c)
			if _, err := w.Connect(t.Context(), c); code(err) != test.want {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestConsentWithoutRefreshToken(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*world)
		change  func(*account.Connection)
		refused bool
	}{
		"the old one is good for it": {},
		"a new account":              {prepare: func(w *world) { _ = w.Remove(w.t.Context(), "alice", false) }, refused: true},
		"another person":             {change: func(c *account.Connection) { c.AnySubject, c.Consent.Identity.Subject = true, "bob" }, refused: true},
		"another client":             {prepare: func(w *world) { w.provider.client = "another" }, refused: true},
		"the old one was refused": {prepare: func(w *world) {
			w.provider.set(func(p *fakeProvider) { p.fail = failing(*invalidGrant()) })
			advance(2 * time.Hour)
			w.refused("alice", "", Options{}, problem.OAuthRenewError)
			w.provider.set(func(p *fakeProvider) { p.fail = nil })
		}, refused: true},
		"the old one is somebody else's to renew": {prepare: func(w *world) {
			g := w.vault.stored(w.t, "alice")
			g.State = account.Restored
			if err := w.Remove(w.t.Context(), "alice", false); err != nil {
				w.t.Fatal(err)
			}
			if done, err := w.Restore(w.t.Context(), g); err != nil || !done {
				w.t.Fatal(done, err)
			}
		}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, account.RotationKeepsOld)
				first := w.consented("alice", "alice")
				w.connect(first)
				if test.prepare != nil {
					test.prepare(w)
				}
				c := w.consented("alice", "alice")
				c.Consent.Answer.RefreshToken = secret.String{}
				if test.change != nil {
					test.change(&c)
				}
				_, err := w.Connect(t.Context(), c)
				if errors.Is(err, ErrNoRefreshToken) != test.refused || (err != nil) != test.refused {
					t.Fatalf("connecting: %v", err)
				}
				if test.refused {
					return
				}
				g := w.vault.stored(t, "alice")
				if !g.RefreshToken.Equal(first.Consent.Answer.RefreshToken) || !g.Access[0].Value.Equal(c.Consent.Answer.AccessToken) {
					t.Error("the grant is not the old refresh token with the new access token")
				}
			})
		})
	}
}

// The refresh token stays, and so does the doubt whether it was spent.
func TestConsentWithTheOldRefreshTokenSettlesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationKeepsOld)
		w.connect(w.consented("alice", "alice"))
		advance(2 * time.Hour)
		w.provider.set(func(p *fakeProvider) { p.lose = 1 })
		w.refused("alice", "", Options{}, problem.ProviderUnavailable)
		c := w.consented("alice", "alice")
		c.Consent.Answer.RefreshToken = secret.String{}
		w.connect(c)
		if g := w.vault.stored(t, "alice"); g.Intent == nil || !g.Intent.Lost {
			t.Errorf("the intent is %+v", g.Intent)
		}
		w.connect(w.consented("alice", "alice"))
		if g := w.vault.stored(t, "alice"); g.Intent != nil {
			t.Errorf("with a new refresh token the intent is %+v", g.Intent)
		}
	})
}

func TestConsentForADisabledAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.connect(w.consented("alice", "alice"))
		if err := w.Disable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		c := w.consented("alice", "alice")
		if got := w.connect(c); got.State != account.Disabled {
			t.Errorf("result %+v", got)
		}
		w.refused("alice", "", Options{}, problem.AccountDisabled)
		if err := w.Enable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if token := w.token("alice", "", Options{}); !token.Value.Equal(c.Consent.Answer.AccessToken) {
			t.Error("enabled, it does not serve the newest consent's token")
		}
	})
}

func TestConsentDuringARefresh(t *testing.T) {
	t.Run("of this process", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, account.RotationSingleUse)
			w.connect(w.consented("alice", "alice"))
			advance(2 * time.Hour)
			w.provider.set(func(p *fakeProvider) { p.delay = time.Second })
			go func() { _, _ = w.Token(t.Context(), "alice", "", Options{}) }()
			synctest.Wait()
			c := w.consented("alice", "alice")
			w.connect(c) // waits until the request is over
			w.requests(1)
			if g := w.vault.stored(t, "alice"); !g.RefreshToken.Equal(c.Consent.Answer.RefreshToken) || g.Intent != nil {
				t.Errorf("stored is refresh token %s, intent %+v", g.RefreshToken.Reveal(), g.Intent)
			}
		})
	})
	t.Run("of another process", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, account.RotationSingleUse)
			w.connect(w.consented("alice", "alice"))
			advance(2 * time.Hour)
			w.provider.set(func(p *fakeProvider) { p.delay = time.Second })
			overtaken := make(chan Token)
			go func() {
				token, _ := w.Token(t.Context(), "alice", "", Options{})
				overtaken <- token
			}()
			synctest.Wait()
			second := NewShared(w.vault, "second", w.clock, slog.New(slog.DiscardHandler))
			defer second.Close()
			c := w.consented("alice", "alice")
			if _, err := w.reload(second).Connect(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if token := <-overtaken; !token.Value.Equal(c.Consent.Answer.AccessToken) {
				t.Error("who waited for the refresh that was overtaken does not get the newest consent's token")
			}
			if g := w.vault.stored(t, "alice"); !g.RefreshToken.Equal(c.Consent.Answer.RefreshToken) || g.Intent != nil || len(g.Access) != 1 {
				t.Errorf("stored is refresh token %s, intent %+v", g.RefreshToken.Reveal(), g.Intent)
			}
			if token := w.token("alice", "", Options{}); !token.Value.Equal(c.Consent.Answer.AccessToken) {
				t.Error("the newest consent's token is not served")
			}
		})
	})
}

func TestConsentThatCannotBeSaved(t *testing.T) {
	for _, existing := range []bool{false, true} {
		for name, fail := range map[string]func(*memVault){
			"the store fails":          func(v *memVault) { v.saveErr = errors.New("disk") },
			"it is saved all the same": func(v *memVault) { v.lateErr = errors.New("network") },
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, account.RotationSingleUse)
					w.run()
					if existing {
						w.connect(w.consented("alice", "alice"))
						advance(time.Minute)
					}
					w.vault.set(fail)
					c := w.consented("alice", "alice")
					got := w.connect(c)
					if got.New == existing || got.State != account.Connected {
						t.Errorf("result %+v", got)
					}
					if token := w.token("alice", "", Options{}); !token.Value.Equal(c.Consent.Answer.AccessToken) {
						t.Error("another token is served")
					}
					if w.Ready(t.Context()) == nil {
						t.Error("ready, though a consent is in memory only")
					}
					w.vault.set(func(v *memVault) { v.saveErr, v.lateErr = nil, nil })
					advance(2 * saveEvery)
					if err := w.Ready(t.Context()); err != nil {
						t.Errorf("still not ready: %v", err)
					}
					if g := w.vault.stored(t, "alice"); !g.RefreshToken.Equal(c.Consent.Answer.RefreshToken) || g.Generation != got.Generation {
						t.Errorf("stored is refresh token %s of generation %d", g.RefreshToken.Reveal(), g.Generation)
					}
				})
			})
		}
	}
}

// A consent that waits in memory is older than one that was stored meanwhile.
func TestConsentThatWaitsNeverOverwritesANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.run()
		w.vault.set(func(v *memVault) { v.saveErr = errors.New("disk") })
		w.connect(w.consented("alice", "alice"))
		w.connect(w.consented("bob", "bob"))
		w.vault.set(func(v *memVault) { v.saveErr = nil })
		second := NewShared(w.vault, "second", w.clock, slog.New(slog.DiscardHandler))
		defer second.Close()
		<-time.After(time.Millisecond)
		newer, foreign := w.consented("alice", "alice"), w.consented("bob", "carol")
		for _, c := range []account.Connection{newer, foreign} {
			if _, err := w.reload(second).Connect(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		advance(2 * saveEvery)
		for _, c := range []account.Connection{newer, foreign} {
			if g := w.vault.stored(t, c.ID); !g.RefreshToken.Equal(c.Consent.Answer.RefreshToken) {
				t.Errorf("%s: stored is refresh token %s", c.ID, g.RefreshToken.Reveal())
			}
		}
		if err := w.Ready(t.Context()); err != nil {
			t.Errorf("still not ready: %v", err)
		}
	})
}

func TestWithdrawnConsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		first := w.connect(w.consented("alice", "alice"))
		second := w.connect(w.consented("alice", "alice"))
		if err := w.Withdraw(t.Context(), "alice", first.Generation); code(err) != problem.Conflict {
			t.Errorf("withdrawing a consent that was replaced: %v", err)
		}
		w.token("alice", "", Options{})
		for range 2 {
			if err := w.Withdraw(t.Context(), "alice", second.Generation); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		w.refused("alice", "", Options{}, problem.AccountDisabled)
		g := w.vault.stored(t, "alice")
		if f := g.Failed(account.WholeGrant); f == nil || f.Reads == "" || g.State != account.Disabled {
			t.Errorf("state %s, failures %+v", g.State, g.Failures)
		}
		if n := w.watcher.count(AccountFailed); n != 1 {
			t.Errorf("told %d times", n)
		}
		if err := w.Enable(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if g := w.vault.stored(t, "alice"); g.State != account.Connected || len(g.Failures) != 0 {
			t.Errorf("enabled: state %s, failures %+v", g.State, g.Failures)
		}
		w.token("alice", "", Options{})
		if err := w.Withdraw(t.Context(), "nobody", 1); code(err) != problem.AccountNotFound {
			t.Errorf("of an account that is not there: %v", err)
		}
	})
}
