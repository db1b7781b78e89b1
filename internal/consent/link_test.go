package consent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

func TestLinkOpensAsItWasMade(t *testing.T) {
	w := newWorld(t)
	made := Link{
		ID: "l1", Account: "team/jörg <&>", Provider: "google", Name: "Jörg", Email: "joerg@example.com",
		ExpectedDomain: "example.com", Scopes: []string{"a", "b"}, Claims: `{"id_token":{}}`, Confirm: true,
		ReturnTo: "https://app.example.com/done?x=1", Issued: beginning, Expires: beginning.Add(time.Hour),
	}
	sealed := w.invite(made)
	if strings.ContainsAny(sealed, "+/=.") || strings.Contains(sealed, "example") {
		t.Errorf("%q does not fit into a URL, or tells what is in it", sealed)
	}
	for range 3 { // mail scanners open links as well
		l, err := w.Open(t.Context(), sealed)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&made, l); diff != "" {
			t.Error(diff)
		}
	}
	if len(w.keeper.spent) != 0 || len(w.keeper.connected) != 0 {
		t.Error("opening it changed something")
	}
	if other := w.invite(made); other == sealed {
		t.Error("two links are the same text")
	}
}

func TestLinkIsCompleted(t *testing.T) {
	w := newWorld(t)
	one, err := w.Open(t.Context(), w.invite(Link{Account: "a"}))
	if err != nil {
		t.Fatal(err)
	}
	two, err := w.Open(t.Context(), w.invite(Link{Account: "a"}))
	if err != nil {
		t.Fatal(err)
	}
	if len(one.ID) < 22 || one.ID == two.ID {
		t.Errorf("IDs %q and %q", one.ID, two.ID)
	}
	if !one.Issued.Equal(beginning) || !one.Expires.Equal(beginning.Add(LinkLife)) {
		t.Errorf("from %s to %s", one.Issued, one.Expires)
	}
}

func TestLinkExpires(t *testing.T) {
	w := newWorld(t)
	sealed := w.invite(Link{Account: "a"})
	w.clock.Advance(LinkLife - time.Second)
	l, err := w.Open(t.Context(), sealed)
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Second)
	_, err = w.Open(t.Context(), sealed)
	if r := refusedAs(t, err, LinkExpired); r.Link != nil {
		t.Error("it is said that it can be tried again")
	}
	// Who opened it in time may go on.
	if _, err := w.Begin(t.Context(), l, redirectURI); err != nil {
		t.Error(err)
	}
}

func TestInviteNamesTheFieldThatIsWrong(t *testing.T) {
	w := newWorld(t)
	w.keeper.grants["theirs"] = &account.Grant{ID: "theirs", Provider: "microsoft"}
	for field, l := range map[string]Link{
		"account:":                        {Account: "/a", Provider: "google"},
		"account: The account \"theirs\"": {Account: "theirs", Provider: "google"},
		"provider: there is no":           {Account: "a", Provider: "gogle"},
		"provider: accounts of":           {Account: "a", Provider: "workspace"},
		"admin:":                          {Provider: "google", Admin: true},
		"name:":                           {Account: "a", Provider: "google", Name: "a\nb"},
		"email:":                          {Account: "a", Provider: "google", Email: "a\x00b"},
		"expectedEmail:":                  {Account: "a", Provider: "google", ExpectedEmail: "alice"},
		"expectedDomain:":                 {Account: "a", Provider: "google", ExpectedDomain: "exa mple.com"},
		"anyMailbox:":                     {Account: "a", Provider: "google", ExpectedDomain: "example.com", AnyMailbox: true},
		"scopes:":                         {Account: "a", Provider: "google", Scopes: []string{"a b"}},
		"redirectUrl: must be a whole":    {Account: "a", Provider: "google", ReturnTo: "javascript:alert(1)"},
		"redirectUrl: must be a whole h":  {Account: "a", Provider: "google", ReturnTo: "/done"},
		"redirectUrl: must be a whole ht": {Account: "a", Provider: "google", ReturnTo: "https://u@app.example.com/"},
		"expires: lies":                   {Account: "a", Provider: "google", Expires: beginning},
		"expires: a link lives":           {Account: "a", Provider: "google", Expires: beginning.Add(31 * 24 * time.Hour)},
		"the link has":                    {Account: "a", Provider: "google", Name: strings.Repeat("n", maxLink)},
	} {
		_, err := w.Invite(t.Context(), l)
		p, ok := errors.AsType[*problem.Problem](err)
		if !ok || p.Status >= 500 || !strings.HasPrefix(p.Message, field) {
			t.Errorf("%s %v", field, err)
		}
	}
}

func TestInviteWhileTheStoreIsAway(t *testing.T) {
	w := newWorld(t)
	w.keeper.grantErr = problem.New(problem.StoreUnavailable, "away")
	_, err := w.Invite(t.Context(), Link{Account: "a", Provider: "google"})
	if p := problem.From(err); p.Code != problem.StoreUnavailable {
		t.Errorf("%v", err)
	}
}

func TestLinkThatIsNotOursIsRefused(t *testing.T) {
	w := newWorld(t)
	sealed := w.invite(Link{Account: "a"})
	attempt := w.begin(sealed).Attempt.Reveal()
	other := newWorld(t).invite(Link{Account: "a"})
	for name, text := range map[string]string{
		"empty": "", "no base64": sealed + "=", "cut short": sealed[:len(sealed)-2], "longer": sealed + "AA",
		"changed": flip(sealed), "another keyset's": other, "an attempt": attempt, "far too long": strings.Repeat("A", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.Open(t.Context(), text)
			refusedAs(t, err, LinkInvalid)
		})
	}
}

// flip changes one character in the middle.
func flip(s string) string {
	b := []byte(s)
	i := len(b) / 2
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

func TestLinkOfAProviderThatIsGone(t *testing.T) {
	w := newWorld(t)
	sealed := w.invite(Link{Account: "a"})
	b := w.begin(sealed)
	answer := w.idp.consent(alice)
	delete(w.providers, "google")
	_, err := w.Open(t.Context(), sealed)
	refusedAs(t, err, NotConfigured)
	_, err = w.Finish(t.Context(), b.Attempt.Reveal(), answer)
	refusedAs(t, err, NotConfigured)
}

func TestLinkWhileTheStoreIsAway(t *testing.T) {
	w := newWorld(t)
	sealed := w.invite(Link{Account: "a"})
	w.keeper.isSpentErr = errors.New("away")
	_, err := w.Open(t.Context(), sealed)
	if r := refusedAs(t, err, StoreFailed); r.Link == nil || !errors.Is(err, w.keeper.isSpentErr) {
		t.Errorf("%+v", r)
	}
}
