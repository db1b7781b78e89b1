package broker

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// Half of the accounts fall due together, the others one by one, so that an
// outage meets tokens of every age.
func TestOutageEndsNoAccountAndMakesNoStorm(t *testing.T) {
	const (
		accounts = 100
		lasts    = 30 * time.Minute
		// A probe comes at most a fifth sooner than 15 s after the last one,
		// but for the first four; before the first failure all workers may be
		// at it.
		requestsAtMost = int(lasts/(12*time.Second)) + 4 + DefaultWorkers
		// Until then every account works again: a probe that is under way hangs
		// for 15 s, the next comes 18 s later, callers ask each 10 s.
		recoveredAfter = 45 * time.Second
	)
	for name, outage := range map[string]func(*fakeProvider){
		"connections are refused": func(p *fakeProvider) {
			p.fail = failing(account.Failure{Meaning: account.ProviderDown})
		},
		"requests hang": func(p *fakeProvider) { p.delay = time.Hour },
		"503": func(p *fakeProvider) {
			p.fail = failing(account.Failure{Meaning: account.ProviderDown, Status: 503})
		},
		"503 with Retry-After": func(p *fakeProvider) {
			p.fail = failing(account.Failure{Meaning: account.ProviderDown, Status: 503, RetryAfter: 30 * time.Second})
		},
		"429": func(p *fakeProvider) {
			p.fail = failing(account.Failure{Meaning: account.Throttled, Status: 429})
		},
	} {
		for _, kind := range []account.RotationKind{account.RotationSingleUse, account.RotationNone} {
			t.Run(fmt.Sprint(name, ", ", kind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, kind)
					w.run()
					c := gather(w, accounts/2, 0)
					c.more(accounts/2, time.Minute)
					works := func(p *fakeProvider) { p.fail, p.delay = nil, 200*time.Millisecond }
					w.provider.set(works)
					c.callEvery(10*time.Second, problem.ProviderUnavailable)
					advance(3*time.Minute + 59*time.Second)
					w.requests(accounts)

					sent := c.tally()
					w.provider.set(outage)
					advance(lasts)
					_, all, most := sent()
					told := c.told(problem.ProviderUnavailable)
					t.Logf("%d requests in the outage, %d at once; callers were told of it %d times", all, most, told)
					if all > requestsAtMost || most > testSettings.Workers {
						t.Errorf("%d requests in an outage of %v, %d at once, want %d and %d at most", all, lasts, most, requestsAtMost, testSettings.Workers)
					}
					if told == 0 {
						t.Error("no caller was told of the outage, although tokens ended")
					}

					sent = c.tally()
					w.provider.set(works)
					advance(recoveredAfter)
					c.allServed()
					each, all, most := sent()
					t.Logf("%d requests after the outage, %d at once", all, most)
					if most > testSettings.Workers {
						t.Errorf("%d requests at once after the outage, want %d at most", most, testSettings.Workers)
					}
					for id, n := range each {
						if n > 1 {
							t.Errorf("%d requests for %s after the outage", n, id)
						}
					}
					told = c.told(problem.ProviderUnavailable)

					// And so it stays, whatever was left behind.
					advance(time.Hour)
					if n := c.told(problem.ProviderUnavailable); n != told {
						t.Errorf("callers were told of an outage %d times more after it was over", n-told)
					}
					c.nothingLost()
				})
			})
		}
	}
}

func TestWrongClientSecretForAnHourMarksNoAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const accounts = 100
		w := newWorld(t, account.RotationSingleUse)
		ctx, retire := context.WithCancel(t.Context())
		retired := make(chan struct{})
		go func() { defer close(retired); w.Broker.Run(ctx) }()
		c := gather(w, accounts/2, 0)
		c.more(accounts/2, time.Minute)
		w.vault.set(func(v *memVault) {
			v.onSave = func(g *account.Grant) error {
				if g.State != account.Connected || len(g.Failures) > 0 {
					t.Errorf("%s was marked: state %s, failures %v", g.ID, g.State, g.Failures)
				}
				return nil
			}
		})
		w.provider.set(func(p *fakeProvider) {
			p.delay = 200 * time.Millisecond
			p.fail = failing(account.Failure{Meaning: account.ClientMisconfigured, Status: 401, Code: "invalid_client"})
		})
		sent := c.tally()
		hangUp := c.callEvery(10*time.Second, problem.ProviderMisconfigured)
		advance(time.Hour)
		hangUp()
		_, all, most := sent()
		t.Logf("%d requests in the hour, %d at once; callers were told %d times", all, most, c.told(problem.ProviderMisconfigured))
		// One a minute, and at first as many as may be under way.
		if atMost := 60 + testSettings.Workers; all > atMost {
			t.Errorf("%d requests in an hour, want %d at most", all, atMost)
		}
		if c.told(problem.ProviderMisconfigured) == 0 {
			t.Error("no caller was told, although tokens ended")
		}

		w.provider.set(func(p *fakeProvider) { p.fail = nil })
		w.Broker = w.reload(w.Shared)
		w.run()
		retire()
		<-retired
		for _, id := range c.ids {
			w.token(id, "", Options{})
		}
		w.vault.set(func(v *memVault) { v.onSave = nil })
		advance(time.Minute)
		c.nothingLost()
	})
}

func TestAudienceThatWasRefusedWorksAgainAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, account.RotationSingleUse)
		w.register("alice")
		w.run()
		w.provider.set(func(p *fakeProvider) {
			p.life = 10 * time.Minute // the others are renewed all the while
			p.delay = 200 * time.Millisecond
			p.fail = func(r account.RefreshRequest) error {
				if r.Audience == "files" {
					return &account.Failure{Meaning: account.AudienceRefused, Status: 400, Code: "invalid_grant", Suberror: "consent_required"}
				}
				return nil
			}
		})
		asked := func() (n int) {
			w.provider.mu.Lock()
			defer w.provider.mu.Unlock()
			for _, r := range w.provider.requests {
				if r.Audience == "files" {
					n++
				}
			}
			return n
		}
		others := []string{"", "mail", "calendar"}
		for _, audience := range others {
			w.token("alice", audience, Options{})
		}
		w.refused("alice", "files", Options{}, problem.InsufficientScope)
		began := time.Now()
		for time.Since(began) < audienceAgain-time.Second {
			for _, audience := range others {
				if got := w.token("alice", audience, Options{}); got.Result != Hit {
					t.Errorf("%v on, the token for %q is %s", time.Since(began), audience, got.Result)
				}
			}
			w.refused("alice", "files", Options{}, problem.InsufficientScope)
			advance(10 * time.Second)
		}
		if g := w.vault.stored(t, "alice"); g.State != account.Connected {
			t.Errorf("the account is %s", g.State)
		}
		if n := asked(); n != 1 {
			t.Errorf("%d requests for the audience that is refused", n)
		}

		w.provider.set(func(p *fakeProvider) { p.fail = nil }) // somebody has consented
		advance(15 * time.Second)
		for _, audience := range append(others, "files") {
			w.token("alice", audience, Options{})
		}
		if n := asked(); n != 2 {
			t.Errorf("%d requests for the audience, want 2", n)
		}
		w.noReplay()
		if g := w.vault.stored(t, "alice"); len(g.Failures) > 0 {
			t.Errorf("failures %v are kept", g.Failures)
		}
	})
}
