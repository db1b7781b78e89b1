// Package account holds the nouns of Bellhop: accounts, their grants, the
// tokens of a grant and the ways in which renewing one fails. It does no I/O.
package account

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// MaxIDLength is the greatest length of an account ID, in characters.
const MaxIDLength = 256

// ErrIDTooLong is returned by [CheckID] for an ID over [MaxIDLength].
var ErrIDTooLong = errors.New("account ID is longer than 256 characters")

// CheckID reports why id cannot name an account: it takes 1 to 256 characters
// of NFC-normalised UTF-8 without control characters, is none of ".", ".." and
// ".bellhop", and has no "/" at either end.
func CheckID(id string) error {
	switch {
	case id == "":
		return errors.New("account ID is empty")
	case !utf8.ValidString(id):
		return errors.New("account ID is not valid UTF-8")
	case utf8.RuneCountInString(id) > MaxIDLength:
		return ErrIDTooLong
	case strings.ContainsFunc(id, unicode.IsControl):
		return errors.New("account ID contains a control character")
	case id == "." || id == ".." || id == ".bellhop":
		return fmt.Errorf("account ID %q is reserved", id)
	case strings.HasPrefix(id, "/") || strings.HasSuffix(id, "/"):
		return errors.New(`account ID begins or ends with "/"`)
	case !norm.NFC.IsNormalString(id):
		return errors.New("account ID is not in Unicode normalisation form C")
	}
	return nil
}

// State is where an account stands.
type State string

// The states of an account.
const (
	// Init: registered, and no token was obtained yet.
	Init State = "init"
	// Connected: the last renewal succeeded, or failed for reasons that are
	// not this account's.
	Connected State = "connected"
	// AuthenticationError: the provider ended the grant; a person must
	// reconnect.
	AuthenticationError State = "authenticationError"
	// Disabled: switched off by the operator; serves nothing, keeps all.
	Disabled State = "disabled"
	// Restored: from a backup or an import; not renewed until adopted, since
	// another instance may still own the refresh token.
	Restored State = "restored"
	// Pending: consent was given and waits for confirmation.
	Pending State = "pending"
)

// States lists all states in the order in which they are shown.
var States = []State{Init, Connected, AuthenticationError, Disabled, Restored, Pending}

// Grant is all that is kept of an account: who it is, and what its resource
// owner granted at the provider. One compare-and-swap saves it whole, so that
// a rotated refresh token and the access token that came with it are never
// apart.
type Grant struct {
	// ID is the account's ID, as [CheckID] allows.
	ID string
	// Provider is the configured provider's name.
	Provider string
	// Name is what the operator calls the account; may be empty.
	Name string
	// User is the login at the provider (an e-mail address as a rule).
	User string
	// State is where the account stands.
	State State
	// Generation counts consents: it grows when a person connects anew. A
	// renewal that began in an older generation never overwrites a newer one.
	Generation uint64
	// Subject is who consented, in the provider's own unchangeable terms.
	Subject string
	// Issuer is who said so at the first consent, where the provider's
	// configuration does not name it; another one is not believed later.
	Issuer string
	// ClientID is the OAuth client that the grant was given to. Another one
	// cannot renew it.
	ClientID string
	// ClientAuth is how the client authenticated when the grant was made.
	ClientAuth ClientAuth
	// Scopes are those that were asked for; empty means the provider's.
	Scopes []string
	// RefreshToken renews the grant; the newest one, always.
	RefreshToken secret.String
	// Refreshed is when RefreshToken was last received or used with success.
	Refreshed time.Time
	// Lapses is when the refresh token ends unless it is used before, or
	// whatever happens, as far as the provider lets us know; zero when unknown.
	Lapses time.Time
	// Foretold is the Lapses that people were told of.
	Foretold time.Time
	// Missing are the scopes that were asked for and not granted.
	Missing []string
	// Proposed is a consent that waits to be confirmed; nil for none. What the
	// grant has beside it goes on being served.
	Proposed *Proposal
	// Unadopted is set for a grant from a backup or an import that another
	// instance may still own, also while the account is disabled.
	Unadopted bool
	// Unregistered is set for a grant that no one registered: its provider
	// needs no one's consent. It lives in memory and is never written.
	Unregistered bool
	// Intent is a token request that was about to be sent and has no result
	// yet.
	Intent *Intent
	// Attempts numbers the token requests of this grant. The number of the
	// request that brought an access token is the token's Number.
	Attempts uint64
	// Access holds the newest access token of each audience and scope set.
	Access []AccessToken
	// Failures holds the last failure of each audience, and of the whole grant
	// under [WholeGrant].
	Failures []Failed
	// Created and Updated are when the account was registered and last written.
	Created, Updated time.Time
}

// ClientAuth is how an OAuth client proves who it is.
type ClientAuth string

// The kinds of client authentication that a grant remembers.
const (
	ClientSecret      ClientAuth = "secret"
	ClientCertificate ClientAuth = "certificate"
	ClientNone        ClientAuth = "none"
)

// Intent is written before a token request leaves, so that a crash can be told
// from a request that was never sent.
type Intent struct {
	// Number is the request's, counted by [Grant.Attempts].
	Number uint64 `json:"number"`
	// Owner is the process that sent it.
	Owner string `json:"owner"`
	// Since is when it was written.
	Since time.Time `json:"since"`
	// Audience is what the request asked a token for.
	Audience string `json:"audience,omitempty"`
	// Lost is set once the request, or one before it that nothing has settled
	// since, is known to have been sent without an answer that came back
	// whole.
	Lost bool `json:"lost,omitempty"`
}

// AccessToken is one access token and what it is for.
type AccessToken struct {
	// Value is the token.
	Value secret.String
	// Number is that of the token request which brought it; it tells two
	// tokens of one grant apart.
	Number uint64
	// Audience is the resource it is for; empty where the provider knows but
	// one.
	Audience string
	// Requested is the scope set it was asked with, as [ScopeKey] writes it;
	// empty for the provider's own.
	Requested string
	// Scopes are those that the provider said it granted; nil when unknown.
	Scopes []string
	// Issued is when the request for it was sent.
	Issued time.Time
	// Expires is counted from Issued.
	Expires time.Time
	// Assumed is set when the provider did not say when the token expires.
	Assumed bool
}

// Life is the token's whole life.
func (t *AccessToken) Life() time.Duration { return t.Expires.Sub(t.Issued) }

// FindAccess returns the access token for the audience and scope set, or nil.
func (g *Grant) FindAccess(audience, requested string) *AccessToken {
	for i := range g.Access {
		if g.Access[i].Audience == audience && g.Access[i].Requested == requested {
			return &g.Access[i]
		}
	}
	return nil
}

// SetAccess puts t in the place of the token with its audience and scope set.
func (g *Grant) SetAccess(t AccessToken) {
	if old := g.FindAccess(t.Audience, t.Requested); old != nil {
		*old = t
	} else {
		g.Access = append(g.Access, t)
	}
	g.forgetNarrowTokens()
}

// Clone returns a copy that shares nothing that can be changed.
func (g *Grant) Clone() *Grant {
	c := *g
	c.Scopes = append([]string(nil), g.Scopes...)
	c.Access = append([]AccessToken(nil), g.Access...)
	c.Failures = append([]Failed(nil), g.Failures...)
	c.Missing = append([]string(nil), g.Missing...)
	c.Proposed = g.Proposed.Clone()
	if g.Intent != nil {
		intent := *g.Intent
		c.Intent = &intent
	}
	return &c
}
