package consent

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

func TestConsentConnectsTheAccount(t *testing.T) {
	w := newWorld(t)
	sealed := w.invite(Link{Account: "alice", Name: "Alice A.", Email: "Alice@Example.com"})
	b := w.begin(sealed)
	if !strings.Contains(b.AuthorizeURL, b.State) || len(b.State) < 22 || !b.Expires.Equal(beginning.Add(AttemptLife)) {
		t.Errorf("%+v", b)
	}
	asked := w.idp.last()
	if asked.RedirectURI != redirectURI || len(asked.Verifier) < 43 || len(asked.Nonce) < 22 || asked.LoginHint != "Alice@Example.com" || asked.Reconnect || asked.Consent {
		t.Errorf("%+v", asked)
	}
	if strings.Contains(b.Attempt.Reveal(), asked.Verifier) || len(b.Attempt.Reveal()) > 3500 {
		t.Errorf("the attempt shows what is in it, or has %d characters", len(b.Attempt.Reveal()))
	}
	o, err := w.Finish(t.Context(), b.Attempt.Reveal(), w.idp.consent(alice, "email"))
	if err != nil {
		t.Fatal(err)
	}
	if !o.New || o.State != account.Connected || o.Identity != alice || o.Link.Account != "alice" || o.Pending || o.Undo.IsZero() || !o.Confirm.IsZero() {
		t.Errorf("%+v", o)
	}
	if diff := cmp.Diff([][]string{{"https://mail.google.com/", "openid"}, {"email"}}, [][]string{o.Granted, o.Missing}); diff != "" {
		t.Error(diff)
	}
	c := w.keeper.connected[0]
	if c.ID != "alice" || c.Provider != "google" || c.Name != "Alice A." || c.User != "alice@example.com" || c.AnySubject || !c.Confirm.IsZero() {
		t.Errorf("%+v", c)
	}
	_, err = w.Open(t.Context(), sealed)
	if r := refusedAs(t, err, LinkSpent); r.Link != nil {
		t.Error("it is said that it can be tried again")
	}
}

func TestAnswerWithoutItsAttemptConsumesNothing(t *testing.T) {
	w := newWorld(t)
	sealed := w.invite(Link{Account: "alice"})
	b := w.begin(sealed)
	answer := w.idp.consent(alice)
	other := w.begin(sealed) // another browser's
	foreign := newWorld(t)
	for name, test := range map[string]struct {
		attempt string
		answer  url.Values
	}{
		"no attempt":              {"", answer},
		"another browser's":       {other.Attempt.Reveal(), answer},
		"no state":                {b.Attempt.Reveal(), url.Values{"code": answer["code"]}},
		"two states":              {b.Attempt.Reveal(), url.Values{"code": answer["code"], "state": {b.State, b.State}}},
		"another state":           {b.Attempt.Reveal(), url.Values{"code": answer["code"], "state": {other.State}}},
		"changed":                 {flip(b.Attempt.Reveal()), answer},
		"another instance's":      {foreign.begin(foreign.invite(Link{Account: "alice"})).Attempt.Reveal(), answer},
		"a link in its place":     {sealed, answer},
		"an undo in its place":    {w.mustConnect(Link{Account: "x"}, bob).Undo.Reveal(), answer},
		"an error in code's name": {other.Attempt.Reveal(), url.Values{"error": {"access_denied"}, "state": {b.State}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.Finish(t.Context(), test.attempt, test.answer)
			refusedAs(t, err, AttemptMissing)
		})
	}
	if _, err := w.Finish(t.Context(), b.Attempt.Reveal(), answer); err != nil {
		t.Errorf("then its own browser comes: %v", err)
	}
}

func TestAttemptExpires(t *testing.T) {
	w := newWorld(t)
	b := w.begin(w.invite(Link{Account: "alice"}))
	answer := w.idp.consent(alice)
	w.clock.Advance(AttemptLife)
	_, err := w.Finish(t.Context(), b.Attempt.Reveal(), answer)
	if r := refusedAs(t, err, AttemptExpired); r.Link == nil || r.Link.Account != "alice" {
		t.Errorf("%+v", r)
	}
	if len(w.idp.codes) != 1 || len(w.keeper.spent) != 0 {
		t.Error("something was consumed")
	}
}

func TestCallbackComesOnce(t *testing.T) {
	w := newWorld(t)
	sealed := w.invite(Link{Account: "alice"})
	b, second := w.begin(sealed), (*Begun)(nil)
	first := w.idp.consent(alice)
	if _, err := w.Finish(t.Context(), b.Attempt.Reveal(), copyOf(first)); err != nil {
		t.Fatal(err)
	}
	_, err := w.Finish(t.Context(), b.Attempt.Reveal(), first)
	refusedAs(t, err, LinkSpent)

	t.Run("whatever became of it", func(t *testing.T) {
		sealed := w.invite(Link{Account: "bob"})
		b := w.begin(sealed)
		answer := w.idp.consent(bob)
		w.keeper.connectErr = errors.New("away")
		_, err := w.Finish(t.Context(), b.Attempt.Reveal(), copyOf(answer))
		refusedAs(t, err, StoreFailed)
		w.keeper.connectErr = nil
		sent := len(w.idp.proofs)
		_, err = w.Finish(t.Context(), b.Attempt.Reveal(), answer)
		refusedAs(t, err, AttemptMissing)
		if len(w.idp.proofs) != sent {
			t.Error("the code was sent again")
		}
		if until := w.keeper.answered[(&attempt{State: b.State}).mark()]; until.Before(b.Expires) {
			t.Errorf("that is forgotten at %s, before the attempt ends at %s", until, b.Expires)
		}
		if _, err := w.Open(t.Context(), sealed); err != nil {
			t.Error(err)
		}
	})

	t.Run("a code in another attempt", func(t *testing.T) {
		sealed = w.invite(Link{Account: "alice"})
		b, second = w.begin(sealed), nil
		answer := w.idp.consent(alice)
		second = w.begin(sealed)
		stolen := url.Values{"code": answer["code"], "state": {second.State}}
		_, err := w.Finish(t.Context(), second.Attempt.Reveal(), stolen)
		if r := refusedAs(t, err, ProviderRefused); r.Failure.Code != "invalid_grant" || r.Link == nil {
			t.Errorf("%+v", r)
		}
		if len(w.keeper.spent) != 1 {
			t.Error("the link is spent without a success")
		}
	})
}

func TestOneOfManyCallbacksWins(t *testing.T) {
	w := newWorld(t)
	w.cfg.Discard = nil
	sealed := w.invite(Link{Account: "alice"})
	const browsers = 8
	begun, answers := make([]*Begun, browsers), make([]url.Values, browsers)
	for i := range browsers {
		begun[i] = w.begin(sealed)
		answers[i] = w.idp.consent(alice)
	}
	results := make([]error, browsers)
	var all sync.WaitGroup
	for i := range browsers {
		all.Go(func() { _, results[i] = w.Finish(t.Context(), begun[i].Attempt.Reveal(), answers[i]) })
	}
	all.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
			continue
		}
		refusedAs(t, err, LinkSpent)
	}
	if won != 1 || len(w.keeper.connected) != 1 {
		t.Errorf("%d won, %d connected", won, len(w.keeper.connected))
	}
}

func TestUsedLinkIsRememberedUntilItsLastAttemptHasEnded(t *testing.T) {
	w := newWorld(t)
	w.mustConnect(Link{ID: "l1", Account: "alice"}, alice)
	if until := w.keeper.spent["l1"]; until.Before(beginning.Add(LinkLife + AttemptLife)) {
		t.Errorf("until %s", until)
	}
}

func TestWhatTheProviderRefusesConsumesNothing(t *testing.T) {
	w := newWorld(t)
	sealed := w.invite(Link{Account: "alice"})
	for name, test := range map[string]struct {
		answer url.Values
		reason Reason
	}{
		"declined":              {url.Values{"error": {"access_denied"}}, Declined},
		"declined at Microsoft": {url.Values{"error": {"consent_required"}, "number": {"AADSTS65004"}}, Declined},
		"administrator needed":  {url.Values{"error": {"access_denied"}, "number": {"AADSTS90094"}}, AdminNeeded},
		"administrator's rules": {url.Values{"error": {"admin_policy_enforced"}}, AdminNeeded},
		"other":                 {url.Values{"error": {"invalid_scope"}}, ProviderRefused},
		"error beside a code":   {url.Values{"error": {"access_denied"}, "code": {"c"}}, Declined},
		"nothing at all":        {url.Values{}, ProviderFailed},
		"two codes":             {url.Values{"code": {"a", "b"}}, ProviderFailed},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.begin(sealed)
			test.answer.Set("state", b.State)
			_, err := w.Finish(t.Context(), b.Attempt.Reveal(), test.answer)
			if r := refusedAs(t, err, test.reason); r.Link == nil || r.Link.Account != "alice" {
				t.Errorf("%+v", r)
			}
		})
	}
	for name, test := range map[string]struct {
		err    error
		reason Reason
	}{
		"down":           {&account.Failure{Meaning: account.ProviderDown}, ProviderFailed},
		"throttled":      {&account.Failure{Meaning: account.Throttled}, ProviderFailed},
		"client refused": {&account.Failure{Meaning: account.ClientMisconfigured, Reads: "The secret is wrong."}, ProviderRefused},
		"no failure":     {errors.New("?"), ProviderFailed},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.begin(sealed)
			answer := w.idp.consent(alice)
			w.idp.err = test.err
			defer func() { w.idp.err = nil }()
			_, err := w.Finish(t.Context(), b.Attempt.Reveal(), answer)
			if r := refusedAs(t, err, test.reason); r.Link == nil || r.Failure == nil {
				t.Errorf("%+v", r)
			}
			l, err := w.Open(t.Context(), sealed)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Begin(t.Context(), l, redirectURI)
			refusedAs(t, err, test.reason)
		})
	}
	if len(w.keeper.spent) != 0 || len(w.keeper.connected) != 0 || len(w.discarded) != 0 {
		t.Error("something was consumed")
	}
	if _, err := w.Open(t.Context(), sealed); err != nil {
		t.Error(err)
	}
}

func TestConsentThatCannotBeStoredLeavesTheLink(t *testing.T) {
	w := newWorld(t)
	sealed := w.invite(Link{Account: "alice"})
	for name, test := range map[string]struct {
		err    error
		reason Reason
	}{
		"no refresh token":  {fmt.Errorf("connecting: %w", broker.ErrNoRefreshToken), ProviderRefused},
		"store away":        {problem.New(problem.StoreUnavailable, "away"), StoreFailed},
		"refused in words":  {problem.New(problem.Conflict, "not this one"), LinkInvalid},
		"something unknown": {errors.New("?"), StoreFailed},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.begin(sealed)
			w.keeper.connectErr = test.err
			defer func() { w.keeper.connectErr = nil }()
			_, err := w.Finish(t.Context(), b.Attempt.Reveal(), w.idp.consent(alice))
			if r := refusedAs(t, err, test.reason); r.Link == nil || !errors.Is(err, test.err) {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("the link cannot be claimed", func(t *testing.T) {
		b := w.begin(sealed)
		w.keeper.spendErr = errors.New("away")
		defer func() { w.keeper.spendErr = nil }()
		_, err := w.Finish(t.Context(), b.Attempt.Reveal(), w.idp.consent(alice))
		refusedAs(t, err, StoreFailed)
	})
	if len(w.discarded) != 0 {
		t.Error("the tokens of the right person were thrown away")
	}
	b := w.begin(sealed)
	if _, err := w.Finish(t.Context(), b.Attempt.Reveal(), w.idp.consent(alice)); err != nil {
		t.Error(err)
	}
}

func TestReconnectAsksForWhatIsMissing(t *testing.T) {
	all := []string{"https://mail.google.com/", "openid", "email"}
	had := func(change func(*account.Grant)) *account.Grant {
		g := &account.Grant{ID: "alice", Provider: "google", User: "alice@example.com", Subject: alice.Subject, Scopes: all}
		change(g)
		return g
	}
	type request struct {
		Hint               string
		Reconnect, Consent bool
		Claims             string
		Scopes             []string
	}
	for name, test := range map[string]struct {
		grant *account.Grant
		link  Link
		want  request
	}{
		"a new account":               {nil, Link{}, request{Scopes: all}},
		"hint of the expected one":    {nil, Link{ExpectedEmail: "a@example.com"}, request{Hint: "a@example.com", Scopes: all}},
		"nothing changed":             {had(func(*account.Grant) {}), Link{}, request{"alice@example.com", true, false, "", all}},
		"another login is suggested":  {had(func(*account.Grant) {}), Link{Email: "al@example.com"}, request{"al@example.com", true, false, "", all}},
		"anybody":                     {had(func(*account.Grant) {}), Link{AnyMailbox: true}, request{Scopes: all}},
		"registered, nobody is known": {had(func(g *account.Grant) { g.Subject = "" }), Link{}, request{Hint: "alice@example.com", Scopes: all}},
		"scopes were added":           {had(func(g *account.Grant) { g.Scopes = all[1:] }), Link{}, request{"alice@example.com", true, true, "", all}},
		"the link adds scopes":        {had(func(*account.Grant) {}), Link{Scopes: []string{"more"}}, request{"alice@example.com", true, true, "", []string{"more", "openid", "email"}}},
		"scopes of its own":           {had(func(g *account.Grant) { g.Scopes = []string{"own", "openid", "email"} }), Link{}, request{"alice@example.com", true, false, "", []string{"own", "openid", "email"}}},
		"some were not granted":       {had(func(g *account.Grant) { g.Missing = all[:1] }), Link{}, request{"alice@example.com", true, true, "", all}},
		"consent was the last error": {had(func(g *account.Grant) {
			g.SetFailed(account.Failed{Failure: account.Failure{Meaning: account.AudienceRefused, Number: "AADSTS65001"}})
		}), Link{}, request{"alice@example.com", true, true, "", all}},
		"a claims challenge was": {had(func(g *account.Grant) {
			g.SetFailed(account.Failed{Failure: account.Failure{Meaning: account.AudienceRefused, Claims: `{"a":1}`}})
		}), Link{}, request{"alice@example.com", true, false, `{"a":1}`, all}},
		"the link's own challenge": {had(func(*account.Grant) {}), Link{Claims: `{"b":1}`}, request{"alice@example.com", true, false, `{"b":1}`, all}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.grant != nil {
				w.keeper.grants["alice"] = test.grant
			}
			test.link.Account = "alice"
			w.begin(w.invite(test.link))
			r := w.idp.last()
			if diff := cmp.Diff(test.want, request{r.LoginHint, r.Reconnect, r.Consent, r.Claims, r.Scopes}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAdministratorsConsent(t *testing.T) {
	w := newWorld(t)
	microsoft := w.providers["microsoft"].(*idp)
	sealed := w.invite(Link{Provider: "microsoft", Admin: true})
	b := w.begin(sealed)
	if !microsoft.last().Admin {
		t.Error("no administrator is asked")
	}
	answers := map[string]url.Values{
		"a code":   {"code": {"c"}, "state": {b.State}},
		"not true": {"admin_consent": {"False"}, "state": {b.State}},
		"refused":  {"admin_consent": {"True"}, "error": {"access_denied"}, "state": {b.State}},
	}
	for name, answer := range answers {
		if _, err := w.Finish(t.Context(), b.Attempt.Reveal(), answer); err == nil {
			t.Errorf("%s is taken for consent", name)
		}
	}
	o, err := w.Finish(t.Context(), b.Attempt.Reveal(), url.Values{"admin_consent": {"True"}, "tenant": {"t"}, "scope": {"Mail.Read openid"}, "state": {b.State}})
	if err != nil {
		t.Fatal(err)
	}
	if !o.AdminConsent || !slices.Equal(o.Granted, []string{"Mail.Read", "openid"}) || len(w.keeper.connected) != 0 {
		t.Errorf("%+v", o)
	}
	_, err = w.Open(t.Context(), sealed)
	refusedAs(t, err, LinkSpent)

	// What an administrator may say is nothing in an attempt of a person.
	b = w.begin(w.invite(Link{Provider: "microsoft", Account: "a"}))
	_, err = w.Finish(t.Context(), b.Attempt.Reveal(), url.Values{"admin_consent": {"True"}, "state": {b.State}})
	refusedAs(t, err, ProviderFailed)
}

func TestConfirmKeepsTheConsentPending(t *testing.T) {
	w := newWorld(t)
	o := w.mustConnect(Link{Account: "alice", Confirm: true}, alice)
	c := w.keeper.connected[0]
	if !o.Pending || o.State != account.Pending || len(o.Confirm.Reveal()) < 43 || !o.Undo.IsZero() {
		t.Errorf("%+v", o)
	}
	if !c.Confirm.Equal(o.Confirm) || !c.ConfirmBy.Equal(beginning.Add(ConfirmLife)) {
		t.Errorf("%+v", c)
	}
}

func TestLongestLinkMakesAnAttemptThatFitsACookie(t *testing.T) {
	w := newWorld(t)
	l := Link{Account: strings.Repeat("é", account.MaxIDLength), Provider: "google", ReturnTo: "https://app.example.com/"}
	for text, err := "", error(nil); err == nil; text += "x" {
		l.Name = text
		_, err = w.Invite(t.Context(), l)
	}
	l.Name = l.Name[1:]
	opened, err := w.Open(t.Context(), w.invite(l))
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.Begin(t.Context(), opened, "https://"+strings.Repeat("c", 200)+".example.com/oauth/callback")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.Attempt.Reveal()); n > 3500 {
		t.Errorf("%d characters", n)
	}
}

func TestWithdraw(t *testing.T) {
	w := newWorld(t)
	undo := w.mustConnect(Link{Account: "alice"}, alice).Undo.Reveal()
	w.clock.Advance(UndoLife - time.Second)
	id, err := w.Withdraw(t.Context(), undo)
	if err != nil || id != "alice" || w.keeper.withdrawn["alice"] != 7 {
		t.Errorf("%q, %v, %v", id, err, w.keeper.withdrawn)
	}
	w.keeper.connectErr = errors.New("away")
	_, err = w.Withdraw(t.Context(), undo)
	refusedAs(t, err, StoreFailed)
	w.keeper.connectErr = problem.New(problem.Conflict, "connected anew since then")
	_, err = w.Withdraw(t.Context(), undo)
	if r := refusedAs(t, err, LinkInvalid); !strings.Contains(r.Reads, "not used any more") {
		t.Errorf("%q", r.Reads)
	}
	w.clock.Advance(time.Second)
	_, err = w.Withdraw(t.Context(), undo)
	refusedAs(t, err, LinkExpired)
	_, err = w.Withdraw(t.Context(), flip(undo))
	refusedAs(t, err, LinkInvalid)
}

func TestKnownIssuerGoesAlong(t *testing.T) {
	w := newWorld(t)
	w.keeper.grants["alice"] = &account.Grant{ID: "alice", Provider: "google", Subject: alice.Subject, Issuer: "https://id.example"}
	w.mustConnect(Link{Account: "alice"}, alice)
	w.mustConnect(Link{Account: "alice", AnyMailbox: true}, alice)
	if diff := cmp.Diff([]string{"https://id.example", ""}, w.idp.known); diff != "" {
		t.Error(diff)
	}
}

var _ provider.Attended = (*idp)(nil)
