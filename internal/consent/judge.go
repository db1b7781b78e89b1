package consent

import (
	"cmp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// expectation is whose consent an attempt accepts. The zero one accepts
// anybody's.
type expectation struct {
	// subject is the person who is known; nobody else will do.
	subject string
	// named asks that the provider says at all who consented: the account has
	// somebody's grant.
	named bool
	// email and domain are those that the person's mailbox must prove.
	email, domain string
	// proof asks for the mailbox to be proven, also where the account is to be
	// called by it.
	proof bool
	// shown is whom to tell the person at the browser of; empty for nobody.
	shown string
}

// expect says whom a link expects, given what is known of its account: the
// subject that is pinned; else whom the link names; else whose login the
// account has.
func expect(l *Link, g *account.Grant) expectation {
	if l.AnyMailbox {
		return expectation{proof: l.Account == ""}
	}
	e := expectation{named: connected(g)}
	if g != nil && g.Subject != "" {
		e.subject, e.shown = g.Subject, hint(g.User)
		if l.Email != "" && foldAddress(l.Email) == foldAddress(g.User) {
			e.shown = l.Email // the link told it already
		}
		return e
	}
	switch {
	case l.ExpectedEmail != "" || l.ExpectedDomain != "":
		e.email, e.domain = l.ExpectedEmail, l.ExpectedDomain
	case IsAddress(l.Email):
		e.email = l.Email
	case g != nil && IsAddress(g.User):
		e.email = g.User
	}
	e.proof = e.email != "" || e.domain != "" || l.Account == ""
	switch {
	case e.email == "" && e.domain != "":
		e.shown = "an address at " + e.domain
	case e.email == l.ExpectedEmail, e.email == l.Email:
		e.shown = e.email
	default:
		e.shown = hint(e.email)
	}
	return e
}

// hint is as much of an address as helps those who know it: the person at the
// browser need not be the one whose account it is.
func hint(address string) string {
	local, domain, ok := cutAddress(address)
	if !ok {
		return ""
	}
	first := []rune(local)[0]
	return string(first) + "…@" + domain
}

// judge returns why the person who consented is not the expected one, or nil.
func (e expectation) judge(providerType string, who account.Identity) *Refusal {
	switch {
	case e.subject != "" && who.Subject == e.subject:
		return nil
	case e.subject != "" && who.Subject != "":
		return e.otherMailbox(who)
	case e.named && who.Subject == "":
		return &Refusal{
			Reason: MailboxUnproven,
			Reads:  "Nobody can tell whether you are the same person as before.",
			Mend:   cmp.Or(who.Lacks, "The provider has to say who consented: the operator adds openid to its scopes, or a userinfo_endpoint."),
		}
	case e.email == "" && e.domain == "":
		return nil
	}
	_, domain, _ := cutAddress(foldAddress(who.Email))
	switch {
	case who.Email == "":
		return unproven(providerType, who)
	case e.email != "" && foldAddress(who.Email) != foldAddress(e.email):
		return e.otherMailbox(who)
	case e.domain != "" && domain != fold(e.domain):
		return e.otherMailbox(who)
	case !who.Proven:
		return unproven(providerType, who)
	}
	return nil
}

// otherMailbox refuses somebody else.
func (e expectation) otherMailbox(who account.Identity) *Refusal {
	r := &Refusal{
		Reason: OtherMailbox,
		Reads:  "You signed in with another account than the one that is expected.",
		Mend:   "Begin again and choose the right account. Nothing was changed.",
	}
	if who.Email != "" {
		r.Reads = "You signed in as " + who.Email + ", which is not the account that is expected."
	}
	if e.shown != "" {
		r.Mend = "Expected is " + e.shown + ". Begin again and choose that account. Nothing was changed."
	}
	return r
}

// unproven refuses an address that the provider does not prove to be the
// person's, and says what would help.
func unproven(providerType string, who account.Identity) *Refusal {
	address := who.Email
	if address == "" {
		address = "an address"
	}
	r := &Refusal{Reason: MailboxUnproven, Reads: "The provider does not prove that " + address + " is yours.", Mend: who.Lacks}
	if r.Mend != "" {
		return r // the provider did not even say who consented
	}
	switch providerType {
	case provider.TypeGoogle:
		r.Mend = "Verify the address in your Google account's settings, and begin again."
	case provider.TypeMicrosoft:
		r.Mend = "Sign in with your organisation's own account and not as a guest. The operator can also set tenant to the organisation's tenant ID, or accept any mailbox for this once."
	default:
		r.Mend = "The operator can have the provider prove it, with openid and email in the scopes so that it sends email_verified, or accept any mailbox for this once."
	}
	return r
}

// cutAddress cuts an address at its last "@".
func cutAddress(address string) (local, domain string, ok bool) {
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 {
		return "", "", false
	}
	return address[:at], address[at+1:], true
}

// foldAddress writes an address so that those which differ in case or in
// Unicode's spelling are equal, and no others.
func foldAddress(address string) string { return fold(strings.TrimSpace(address)) }

// fold is lower case in normalisation form C. What is not ASCII does not become
// it: a dotted capital I is no i, and the sign of kelvin, which is K in that
// form, is nothing that anybody is called by.
func fold(s string) string {
	s = strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII && norm.NFC.String(string(r))[0] <= unicode.MaxASCII {
			return unicode.ReplacementChar
		}
		return r
	}, s)
	return norm.NFC.String(strings.Map(func(r rune) rune {
		if lower := unicode.ToLower(r); r <= unicode.MaxASCII || lower > unicode.MaxASCII {
			return lower
		}
		return r
	}, norm.NFC.String(s)))
}
