package consent

import (
	"context"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// alreadyThere is the refresh token of accounts that were registered.
var alreadyThere = secret.New("refresh")

// between is a keeper before whose Connect something happens.
type between struct {
	*keeper
	then func()
}

func (b *between) Connect(ctx context.Context, c account.Connection) (account.ConnectResult, error) {
	b.then()
	return b.keeper.Connect(ctx, c)
}

func TestWhoseConsentIsAccepted(t *testing.T) {
	known := &account.Grant{ID: "a", Provider: "google", User: "alice@example.com", Subject: alice.Subject}
	registered := &account.Grant{ID: "a", Provider: "google", User: "alice@example.com", RefreshToken: alreadyThere}
	unnamed := &account.Grant{ID: "a", Provider: "google", RefreshToken: alreadyThere}
	unproven := func(who account.Identity) account.Identity { who.Proven = false; return who }
	who := func(email string) account.Identity {
		return account.Identity{Subject: "s", Email: email, Proven: true}
	}
	for name, test := range map[string]struct {
		grant *account.Grant
		link  Link
		who   account.Identity
		want  Reason
	}{
		"new, nobody is expected":                {nil, Link{}, bob, ""},
		"new, expected":                          {nil, Link{ExpectedEmail: "alice@example.com"}, alice, ""},
		"new, another":                           {nil, Link{ExpectedEmail: "alice@example.com"}, bob, OtherMailbox},
		"new, expected but not proven":           {nil, Link{ExpectedEmail: "alice@example.com"}, unproven(alice), MailboxUnproven},
		"new, another and not proven":            {nil, Link{ExpectedEmail: "alice@example.com"}, unproven(bob), OtherMailbox},
		"new, no address at all":                 {nil, Link{ExpectedEmail: "alice@example.com"}, account.Identity{Subject: "s", Proven: true}, MailboxUnproven},
		"the form's email counts":                {nil, Link{Email: "alice@example.com"}, bob, OtherMailbox},
		"a login that is no address does not":    {nil, Link{Email: "alice"}, bob, ""},
		"expectedEmail before email":             {nil, Link{Email: "bob@example.com", ExpectedEmail: "alice@example.com"}, alice, ""},
		"case":                                   {nil, Link{ExpectedEmail: "ALICE@example.COM"}, alice, ""},
		"case beyond ASCII":                      {nil, Link{ExpectedEmail: "ÉMILE@example.com"}, who("émile@example.com"), ""},
		"Unicode's spellings":                    {nil, Link{ExpectedEmail: "e\u0301mile@example.com"}, who("émile@example.com"), ""},
		"white space around":                     {nil, Link{Email: " alice@example.com"}, alice, ""},
		"a letter that looks alike":              {nil, Link{ExpectedEmail: "alice@example.com"}, who("аlice@example.com"), OtherMailbox},
		"a dotted I is no i":                     {nil, Link{ExpectedEmail: "alice@example.com"}, who("alİce@example.com"), OtherMailbox},
		"a sign of kelvin is no K":               {nil, Link{ExpectedEmail: "kate@example.com"}, who("\u212aate@example.com"), OtherMailbox},
		"nor in a domain":                        {nil, Link{ExpectedDomain: "kelvin.example"}, who("a@\u212aelvin.example"), OtherMailbox},
		"full width":                             {nil, Link{ExpectedEmail: "alice@example.com"}, who("ａlice@example.com"), OtherMailbox},
		"longer":                                 {nil, Link{ExpectedEmail: "alice@example.com"}, who("alice@example.com.evil.example"), OtherMailbox},
		"with a tag":                             {nil, Link{ExpectedEmail: "alice@example.com"}, who("alice+x@example.com"), OtherMailbox},
		"domain":                                 {nil, Link{ExpectedDomain: "Example.com"}, bob, ""},
		"another domain":                         {nil, Link{ExpectedDomain: "example.com"}, who("a@example.org"), OtherMailbox},
		"a domain below it":                      {nil, Link{ExpectedDomain: "example.com"}, who("a@x.example.com"), OtherMailbox},
		"a domain that ends in it":               {nil, Link{ExpectedDomain: "example.com"}, who("a@evilexample.com"), OtherMailbox},
		"a domain before the last @":             {nil, Link{ExpectedDomain: "example.com"}, who(`"a@example.com"@evil.example`), OtherMailbox},
		"domain, not proven":                     {nil, Link{ExpectedDomain: "example.com"}, unproven(bob), MailboxUnproven},
		"both, one fails":                        {nil, Link{ExpectedEmail: "alice@example.com", ExpectedDomain: "example.org"}, alice, OtherMailbox},
		"anybody":                                {nil, Link{AnyMailbox: true, Email: "alice@example.com"}, unproven(bob), ""},
		"known":                                  {known, Link{}, alice, ""},
		"known, with a new address":              {known, Link{}, account.Identity{Subject: alice.Subject, Email: "married@example.com"}, ""},
		"known, another with the address":        {known, Link{}, account.Identity{Subject: "s2", Email: "alice@example.com", Proven: true}, OtherMailbox},
		"known, whatever the link expects":       {known, Link{ExpectedEmail: "bob@example.com"}, bob, OtherMailbox},
		"known, and the provider is silent":      {known, Link{}, account.Identity{Email: "alice@example.com", Proven: true}, MailboxUnproven},
		"known, anybody":                         {known, Link{AnyMailbox: true}, bob, ""},
		"registered: its login is expected":      {registered, Link{}, bob, OtherMailbox},
		"registered: its login":                  {registered, Link{}, alice, ""},
		"registered: its login, not proven":      {registered, Link{}, unproven(alice), MailboxUnproven},
		"registered: the link says another":      {registered, Link{ExpectedEmail: "bob@example.com"}, bob, ""},
		"registered: the link says a domain":     {registered, Link{ExpectedDomain: "example.com"}, bob, ""},
		"registered without login":               {unnamed, Link{}, bob, ""},
		"registered, and the provider is silent": {unnamed, Link{}, account.Identity{}, MailboxUnproven},
		"silent, but anybody will do":            {unnamed, Link{AnyMailbox: true}, account.Identity{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.grant != nil {
				w.keeper.grants["a"] = test.grant.Clone()
			}
			test.link.Account = "a"
			o, err := w.connect(test.link, test.who)
			if test.want == "" {
				if err != nil || o.Identity != test.who {
					t.Errorf("%+v, %v", o, err)
				}
				return
			}
			if r := refusedAs(t, err, test.want); r.Link == nil {
				t.Errorf("%+v", r)
			}
			if len(w.keeper.connected)+len(w.keeper.spent) != 0 {
				t.Error("something was stored")
			}
			if len(w.discarded) != 1 {
				t.Error("the tokens that came were not given back")
			}
		})
	}
}

func TestPersonIsToldWhomTheLinkNamesAndNoMoreOfOthers(t *testing.T) {
	w := newWorld(t)
	w.keeper.grants["known"] = &account.Grant{ID: "known", Provider: "google", User: "alice@example.com", Subject: alice.Subject}
	w.keeper.grants["registered"] = &account.Grant{ID: "registered", Provider: "google", User: "alice@example.com", RefreshToken: alreadyThere}
	for name, test := range map[string]struct {
		link      Link
		says, not string
	}{
		"the link names an address":  {Link{Account: "new", ExpectedEmail: "alice@example.com"}, "alice@example.com", ""},
		"the link names a domain":    {Link{Account: "new", ExpectedDomain: "example.org"}, "an address at example.org", ""},
		"the link suggests a login":  {Link{Account: "known", Email: "Alice@example.com"}, "Alice@example.com", ""},
		"the account's known person": {Link{Account: "known"}, "a…@example.com", "alice"},
		"the account's login":        {Link{Account: "registered"}, "a…@example.com", "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.connect(test.link, bob)
			r := refusedAs(t, err, OtherMailbox)
			text := r.Reads + " " + r.Mend
			if !strings.Contains(text, test.says) || !strings.Contains(text, "bob@example.com") || test.not != "" && strings.Contains(text, test.not) {
				t.Errorf("%q", text)
			}
		})
	}
}

func TestOldGrantStaysWhenSomebodyElseConsents(t *testing.T) {
	w := newWorld(t)
	w.mustConnect(Link{Account: "a"}, alice)
	_, err := w.connect(Link{Account: "a"}, bob)
	refusedAs(t, err, OtherMailbox)
	if g := w.keeper.has("a"); g.Subject != alice.Subject {
		t.Errorf("%+v", g)
	}
	t.Run("also one who comes between", func(t *testing.T) {
		// The account is not there when bob's answer is judged, and is when it
		// is stored.
		sealed := w.invite(Link{Account: "b"})
		b := w.begin(sealed)
		answer := w.idp.consent(bob)
		racing := &between{keeper: w.keeper, then: func() { w.keeper.grants["b"] = &account.Grant{ID: "b", Provider: "google", Subject: alice.Subject} }}
		w.cfg.Accounts = racing
		before := len(w.discarded)
		_, err := w.Finish(t.Context(), b.Attempt.Reveal(), answer)
		refusedAs(t, err, OtherMailbox)
		if len(w.discarded) != before+1 {
			t.Error("the tokens that came were not given back")
		}
		if _, err := w.Open(t.Context(), sealed); err != nil {
			t.Errorf("the link is used up: %v", err)
		}
	})
}

func TestUnprovenMailboxSaysWhatHelps(t *testing.T) {
	for kind, says := range map[string]string{
		provider.TypeGoogle: "Verify the address", provider.TypeMicrosoft: "tenant", provider.TypeOAuth2: "email_verified",
	} {
		if r := unproven(kind, account.Identity{}); !strings.Contains(r.Mend, says) {
			t.Errorf("%s: %q", kind, r.Mend)
		}
	}
	// What the provider knows of it is nearer to the cause.
	silent := account.Identity{Lacks: "Connect again when the userinfo endpoint answers."}
	for name, e := range map[string]expectation{"new": {email: "alice@example.com"}, "known": {subject: "alice", named: true}} {
		if r := e.judge(provider.TypeOAuth2, silent); r == nil || r.Reason != MailboxUnproven || r.Mend != silent.Lacks {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestAccountWithoutIDIsCalledByItsAddress(t *testing.T) {
	upper := account.Identity{Subject: "s", Email: "Alice@Example.com", Proven: true}
	t.Run("new", func(t *testing.T) {
		w := newWorld(t)
		o := w.mustConnect(Link{}, upper)
		if o.Link.Account != "alice@example.com" || !o.New || w.keeper.has("alice@example.com") == nil {
			t.Errorf("%+v", o)
		}
		if !w.idp.proofs[0] {
			t.Error("no proof of the address was asked for")
		}
		// The same person again.
		if o := w.mustConnect(Link{}, upper); o.New {
			t.Errorf("%+v", o)
		}
	})
	for name, test := range map[string]struct {
		grant *account.Grant
		who   account.Identity
		want  Reason
	}{
		"not proven":              {nil, account.Identity{Subject: "s", Email: "alice@example.com"}, MailboxUnproven},
		"no address":              {nil, account.Identity{Subject: "s"}, MailboxUnproven},
		"somebody else's":         {&account.Grant{Provider: "google", Subject: "other"}, upper, AccountTaken},
		"nobody knows whose":      {&account.Grant{Provider: "google", User: "alice@example.com"}, upper, AccountTaken},
		"of another provider":     {&account.Grant{Provider: "microsoft", Subject: "s"}, upper, LinkInvalid},
		"a letter that is none":   {nil, account.Identity{Subject: "s", Email: "\u212aate@example.com", Proven: true}, MailboxUnproven},
		"an address that is none": {nil, account.Identity{Subject: "s", Email: "a/", Proven: true}, MailboxUnproven},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.grant != nil {
				w.keeper.grants["alice@example.com"] = test.grant
			}
			_, err := w.connect(Link{}, test.who)
			refusedAs(t, err, test.want)
			if len(w.discarded) != 1 || len(w.keeper.spent) != 0 {
				t.Errorf("%d discarded, %d spent", len(w.discarded), len(w.keeper.spent))
			}
		})
	}
}
