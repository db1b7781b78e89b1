package provider

import (
	"context"
	"net/url"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// Attended is a [Provider] that people consent to: every one but those that are
// [Unattended].
type Attended interface {
	Provider
	// AuthorizeURL is where the person is sent (RFC 6749 section 4.1.1, RFC
	// 7636 section 4.3). An error is an *[account.Failure].
	AuthorizeURL(ctx context.Context, r AuthorizeRequest) (string, error)
	// Denied sorts what an authorization server sent back in the place of a
	// code (RFC 6749 section 4.1.2.1): what happened, and the click that mends
	// it.
	Denied(answer url.Values) *account.Failure
	// Exchange turns an authorization code into a consent (RFC 6749 section
	// 4.1.3). The answer's "iss" is compared first (RFC 9207), and the ID token
	// verified, before anything is believed. Of a provider that does not name
	// the person the consent comes all the same, with an empty subject and the
	// reason in Identity.Lacks. With an error, an *[account.Failure], nothing is
	// kept, and its Mend says what is left at the provider. Who refuses a
	// consent afterwards calls [Discard].
	Exchange(ctx context.Context, r ExchangeRequest) (account.Consent, error)
	// StartDevice asks for a device code (RFC 8628 section 3.1). An error is an
	// *[account.Failure]; it says why where the provider has no such flow, or
	// not for these scopes.
	StartDevice(ctx context.Context, scopes []string) (account.Device, error)
	// PollDevice asks once whether the person has consented. While they have
	// not, the error is an *[account.Failure] whose Code is
	// "authorization_pending" or "slow_down" (RFC 8628 section 3.5).
	PollDevice(ctx context.Context, r DeviceRequest) (account.Consent, error)
}

// AuthorizeRequest is one request for a person's consent.
type AuthorizeRequest struct {
	// RedirectURI is where the answer goes.
	RedirectURI string
	// State and Nonce bind the answer and the ID token to this request.
	State, Nonce string
	// Verifier is PKCE's code verifier (RFC 7636 section 4.1); its S256
	// challenge goes into the URL.
	Verifier string
	// Scopes are those to ask for; empty means [Provider.Scopes].
	Scopes []string
	// LoginHint is the person's login, where it is known.
	LoginHint string
	// Reconnect is set for an account that was connected before.
	Reconnect bool
	// Consent asks for consent anew: scopes were added, or a missing consent
	// was the last error.
	Consent bool
	// Claims is a claims challenge that the consent is to meet.
	Claims string
	// Admin asks an administrator to consent for the whole tenant (Microsoft).
	Admin bool
}

// ExchangeRequest is the exchange of one authorization code.
type ExchangeRequest struct {
	Code secret.String
	// RedirectURI, Verifier, Nonce and Scopes are those of the
	// [AuthorizeRequest].
	RedirectURI, Verifier, Nonce string
	Scopes                       []string
	// Issuer is the answer's "iss"; empty if it had none.
	Issuer string
	// KnownIssuer is that of the account's first consent, see
	// [account.Grant].Issuer; empty for none.
	KnownIssuer string
	// ProveEmail asks for a proof that the mailbox is the person's, where that
	// takes a request more (Microsoft: that the tenant is the address's own).
	ProveEmail bool
}

// DeviceRequest is one poll of a device authorization.
type DeviceRequest struct {
	DeviceCode  secret.String
	Scopes      []string
	KnownIssuer string
	ProveEmail  bool
}
