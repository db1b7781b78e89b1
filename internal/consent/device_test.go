package consent

import (
	"errors"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

func (w *world) beginDevice(l Link) *BegunDevice {
	w.t.Helper()
	opened, err := w.Open(w.t.Context(), w.invite(l))
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := w.BeginDevice(w.t.Context(), opened)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func TestDeviceIsAskedUntilThePersonDecides(t *testing.T) {
	w := newWorld(t)
	b := w.beginDevice(Link{Account: "alice"})
	if b.UserCode != "BCDF-GHJK" || b.Interval != 5*time.Second {
		t.Errorf("%+v", b.Device)
	}
	w.idp.device = granted{who: alice}
	w.idp.pending = []error{&account.Failure{Code: "authorization_pending"}, &account.Failure{Code: "slow_down"}}
	for _, code := range []string{"authorization_pending", "slow_down"} {
		_, err := w.PollDevice(t.Context(), b.Attempt.Reveal())
		if r := refusedAs(t, err, Undecided); r.Failure.Code != code {
			t.Errorf("%v", r.Failure)
		}
	}
	o, err := w.PollDevice(t.Context(), b.Attempt.Reveal())
	if err != nil || o.Link.Account != "alice" || w.keeper.has("alice") == nil {
		t.Fatalf("%+v, %v", o, err)
	}
	_, err = w.PollDevice(t.Context(), b.Attempt.Reveal())
	refusedAs(t, err, LinkSpent)
}

func TestDeviceEnds(t *testing.T) {
	w := newWorld(t)
	for code, reason := range map[string]Reason{"access_denied": Declined, "expired_token": AttemptExpired, "invalid_grant": ProviderRefused} {
		b := w.beginDevice(Link{Account: "alice"})
		w.idp.pending = []error{&account.Failure{Meaning: account.Unlisted, Code: code}}
		_, err := w.PollDevice(t.Context(), b.Attempt.Reveal())
		refusedAs(t, err, reason)
	}
	b := w.beginDevice(Link{Account: "alice"})
	_, err := w.PollDevice(t.Context(), flip(b.Attempt.Reveal()))
	refusedAs(t, err, AttemptMissing)
	_, err = w.PollDevice(t.Context(), w.begin(w.invite(Link{Account: "alice"})).Attempt.Reveal())
	refusedAs(t, err, AttemptMissing)
	w.clock.Advance(10 * time.Minute)
	_, err = w.PollDevice(t.Context(), b.Attempt.Reveal())
	refusedAs(t, err, AttemptExpired)
	if len(w.keeper.connected) != 0 {
		t.Error("something was stored")
	}
}

func TestDeviceOfSomebodyElse(t *testing.T) {
	w := newWorld(t)
	w.mustConnect(Link{Account: "alice"}, alice)
	b := w.beginDevice(Link{Account: "alice"})
	w.idp.device = granted{who: bob}
	_, err := w.PollDevice(t.Context(), b.Attempt.Reveal())
	refusedAs(t, err, OtherMailbox)
}

func TestProviderWithoutDeviceCodesSaysSoAtOnce(t *testing.T) {
	w := newWorld(t)
	l, err := w.Open(t.Context(), w.invite(Link{Account: "alice"}))
	if err != nil {
		t.Fatal(err)
	}
	w.idp.err = &account.Failure{Meaning: account.Unlisted, Reads: "It has no such flow."}
	_, err = w.BeginDevice(t.Context(), l)
	if r := refusedAs(t, err, ProviderRefused); r.Reads != "It has no such flow." || !errors.Is(err, w.idp.err) {
		t.Errorf("%+v", r)
	}
}
