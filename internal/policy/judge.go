package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// Permission is what a call needs of its key.
type Permission string

// The permissions.
const (
	// Any key will do, whatever it reaches.
	Any Permission = ""
	// Reach is using the account in ways that a key's rules are not for: before
	// it is known which API is called, and with a URL that an API handed out.
	// Every key has it for the accounts that it reaches.
	Reach Permission = "reach"
	// Proxy is calling an API as the account. A key without rules has it for
	// the accounts that it reaches.
	Proxy Permission = "proxy"
	// Token is being given the account's access token.
	Token Permission = "token"
	// Admin is managing accounts and keys.
	Admin Permission = "admin"
	// Connect is making consent links for the account. Admin includes it.
	Connect Permission = "connect"
)

// Facts are what a call is judged by, besides its key.
type Facts struct {
	// Account is the ID of the account that it is for. Whether there is one
	// does not matter here.
	Account string
	// Unregistered is set for an account that exists because its provider covers
	// its ID, see [Key.Names].
	Unregistered bool
	// Needs is the permission.
	Needs Permission
	// Request is what goes to an API, where [Proxy] is needed.
	Request *target.Request
	// Envelope is set for a batch whose parts are judged each by itself: it need
	// not be allowed, but may be forbidden.
	Envelope bool
	// Client is the caller's address; invalid where it has none (a unix
	// socket), which is in no range.
	Client netip.Addr
	// Now is the time.
	Now time.Time
}

// Reason says which of a key's limits forbids a call.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	ReasonExpired    Reason = "expired"
	ReasonAddress    Reason = "address"
	ReasonPermission Reason = "permission"
	ReasonAccount    Reason = "account"
	ReasonRule       Reason = "rule"
)

// Decision is the judgement of one call.
type Decision struct {
	Allowed bool
	// Reason is why not; empty if allowed.
	Reason Reason
	// Missing says in words what the key would need; empty if allowed, or if
	// nothing that could be added would help.
	Missing string
	// Forbids says in words what forbids the call where nothing is missing.
	Forbids string
	// Body is what the body of an allowed call must be, see [Decision.CheckBody].
	Body BodyCheck
	// label is the key's, see [Key.Label].
	label string
}

// Judge decides whether the key may make the call. It does not allocate for a
// call that is allowed to a key without rules.
func Judge(key *Key, facts *Facts) Decision {
	decision := judge(key, facts)
	decision.label = key.Label
	return decision
}

func judge(key *Key, facts *Facts) Decision {
	switch {
	case key.Expired(facts.Now):
		return Decision{Reason: ReasonExpired, Missing: "a later end than " + key.Expires.UTC().Format(time.RFC3339)}
	case !key.admits(facts.Client):
		return Decision{Reason: ReasonAddress, Missing: fmt.Sprintf("an address range with %s in it", facts.Client)}
	case !key.has(facts.Needs):
		return Decision{Reason: ReasonPermission, Missing: fmt.Sprintf("the permission %q", string(facts.Needs))}
	case key.needsReach(facts.Needs) && !key.Reaches(facts.Account):
		return Decision{Reason: ReasonAccount, Missing: fmt.Sprintf("an account pattern that matches %q", facts.Account)}
	case facts.Unregistered && key.needsReach(facts.Needs) && !key.Names(facts.Account):
		return Decision{Reason: ReasonAccount, Missing: fmt.Sprintf("an account pattern that names %q or its whole domain, as *@example.com does: the account is not registered", facts.Account)}
	case !key.limited():
	case facts.Needs == Token:
		return Decision{Reason: ReasonRule, Forbids: "it has rules or presets, which nobody could enforce on who holds an access token"}
	case facts.Needs == Proxy && facts.Request == nil:
		return Decision{Reason: ReasonRule, Missing: "a rule for this call"}
	case facts.Needs == Proxy:
		return judgeByRules(key, facts)
	}
	return Decision{Allowed: true}
}

// Problem is the caller's answer to a call that is not allowed; nil if it is.
// An expired key is answered as one that never was.
func (d Decision) Problem() *problem.Problem {
	switch {
	case d.Allowed:
		return nil
	case d.Reason == ReasonExpired:
		return InvalidKey()
	case d.Forbids != "":
		return problem.New(problem.NotAllowed, cmp.Or(d.label, "the API key")+" does not allow this call: "+d.Forbids)
	}
	return problem.New(problem.NotAllowed, cmp.Or(d.label, "the API key")+" does not allow this call: it lacks "+d.Missing)
}

// admits reports whether a caller at the address may use the key.
func (k *Key) admits(client netip.Addr) bool {
	if len(k.CIDRs) == 0 {
		return true
	}
	// A range contains no address with a zone, and no IPv4 address that is
	// written in IPv6.
	client = client.Unmap().WithZone("")
	for _, cidr := range k.CIDRs {
		if cidr.Contains(client) {
			return true
		}
	}
	return false
}

// has reports whether the key has the permission. One that is not known is
// nobody's.
func (k *Key) has(needs Permission) bool {
	switch needs {
	case Any, Reach, Proxy:
		return true
	case Token:
		return k.Token
	case Admin:
		return k.Admin
	case Connect:
		return k.Connect || k.Admin
	}
	return false
}

// needsReach reports whether the account must be within the key's reach. Who
// manages keys can make one that reaches every account, so that a limit would
// only seem to be one there.
func (k *Key) needsReach(needs Permission) bool {
	switch needs {
	case Any, Admin:
		return false
	case Connect:
		return !k.Admin
	}
	return true
}
