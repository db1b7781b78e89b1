package account

import (
	"time"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// Rotation is what a provider does with a refresh token when it is used, and
// so what an answer that was lost means.
type Rotation struct {
	// Kind is one of the Rotation constants.
	Kind RotationKind
	// Grace is how long a spent refresh token is honoured, with
	// [RotationGrace].
	Grace time.Duration
}

// RotationKind names a rotation.
type RotationKind string

// The rotations that can be configured.
const (
	// RotationNone: the refresh token stays (Google).
	RotationNone RotationKind = "none"
	// RotationKeepsOld: a new one may come, the old one goes on working
	// (Microsoft).
	RotationKeepsOld RotationKind = "keeps_old"
	// RotationSingleUse: each works once; a replay ends the whole family.
	RotationSingleUse RotationKind = "single_use"
	// RotationGrace: as RotationSingleUse, but a replay within Grace is
	// answered.
	RotationGrace RotationKind = "grace"
)

// RefreshRequest is one token request: with a refresh token (RFC 6749 section
// 6), or for a provider that needs none with what it has of its own.
type RefreshRequest struct {
	// RefreshToken is the grant's; zero where the provider needs none.
	RefreshToken secret.String
	// Account and User are the grant's, for providers that ask by name.
	Account, User string
	// Audience is what [Answer] is to be good for.
	Audience string
	// Scopes narrow the token; empty asks for what the provider's
	// configuration says of the audience.
	Scopes []string
	// GrantScopes are the account's own, where it was registered with some.
	GrantScopes []string
	// Claims is a claims challenge to answer (Microsoft's continuous access
	// evaluation).
	Claims string
	// ClientAuth is how the grant's client authenticated.
	ClientAuth ClientAuth
	// Subject is the grant's, for providers whose endpoint depends on it.
	Subject string
}

// Answer is a token endpoint's successful answer.
type Answer struct {
	AccessToken secret.String
	// RefreshToken is zero when the answer had none, or an empty one: the old
	// one stays.
	RefreshToken secret.String
	// User is the login that the token is for, where the answer says it.
	User string
	// Scopes as granted; nil when the answer did not say.
	Scopes []string
	// ScopesUnread is set when the answer did say, and not in words.
	ScopesUnread bool
	// Life is expires_in; when the answer had none that makes sense it is the
	// provider's usual life, and Assumed is set.
	Life    time.Duration
	Assumed bool
	// RefreshTokenLife is refresh_token_expires_in; 0 when not sent.
	RefreshTokenLife time.Duration
	// Date is the provider's own clock; zero when not sent.
	Date time.Time
}
