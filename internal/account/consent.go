package account

import (
	"slices"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// Identity is who consented, as far as the provider proves it.
type Identity struct {
	// Subject names the person in the provider's own unchangeable terms:
	// Google's "sub", Microsoft's "<tid>/<oid>", the "sub" of an ID token or of
	// the userinfo endpoint elsewhere. Empty when the provider says nothing.
	Subject string
	// Issuer is who says so ("iss" of the ID token); empty without one.
	Issuer string
	// Email is the mailbox's address or login as the provider writes it, for
	// people to read. It may be compared with an expected address only if
	// Proven is set.
	Email  string
	Proven bool
	// Name is what the person calls themselves; may be empty.
	Name string
	// Lacks says, where Subject is empty, why the provider did not name the
	// person and what makes it.
	Lacks string
}

// Consent is what a person granted: the answer to an authorization code or a
// device code, and who gave it.
type Consent struct {
	// Answer is the token endpoint's, for Audience.
	Answer   Answer
	Audience string
	// Identity is who consented.
	Identity Identity
	// ClientAuth is how the client authenticated; the grant is renewed alike.
	ClientAuth ClientAuth
	// Scopes are those that were asked for, of all audiences.
	Scopes []string
	// Missing are those of Scopes that were not granted, as far as the answer
	// says.
	Missing []string
	// Asked is when the token request was sent.
	Asked time.Time
}

// Proposal is a consent that waits to be confirmed by who knows which person
// sits at the browser. It serves nothing.
type Proposal struct {
	Consent
	// AnySubject is the [Connection]'s.
	AnySubject bool
	// Generation is what the grant's will be once this is confirmed.
	Generation uint64
	// Confirm is the SHA-256 of what confirms it, in hexadecimal.
	Confirm string
	// Expires is when it is given up.
	Expires time.Time
}

// Clone returns a copy that shares nothing that can be changed.
func (p *Proposal) Clone() *Proposal {
	if p == nil {
		return nil
	}
	c := *p
	c.Scopes, c.Missing = slices.Clone(p.Scopes), slices.Clone(p.Missing)
	c.Answer.Scopes = slices.Clone(p.Answer.Scopes)
	return &c
}

// Device is a device authorization (RFC 8628 section 3.2): what the person is
// told, and what the client asks with meanwhile.
type Device struct {
	DeviceCode secret.String
	UserCode   string
	// VerificationURI is where the person enters UserCode;
	// VerificationURIComplete, which may be empty, has it in it.
	VerificationURI         string
	VerificationURIComplete string
	// Expires is when both codes end.
	Expires time.Time
	// Interval is how long to wait between two polls, at least.
	Interval time.Duration
}

// Connection is a consent on its way to an account's record.
type Connection struct {
	// ID is the account's; it need not exist yet. Provider is whose consent it
	// is, Name and User what the account is called where it has no name or
	// login yet.
	ID, Provider, Name, User string
	Consent                  Consent
	// AnySubject accepts another person than the one who is known.
	AnySubject bool
	// Confirm, where it is not zero, keeps the consent as a [Proposal] until
	// the same value confirms it, until ConfirmBy at the latest.
	Confirm   secret.String
	ConfirmBy time.Time
}

// ConnectResult is what became of a [Connection].
type ConnectResult struct {
	// New is set for an account that did not exist before.
	New bool
	// State is the account's now.
	State State
	// Generation is that of the consent: of the grant, or of the [Proposal]
	// that waits.
	Generation uint64
}
