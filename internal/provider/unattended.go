package provider

import "github.com/bellhop-proxy/bellhop/internal/account"

// Unattended is a [Provider] whose tokens come by credentials of its own: there
// is no refresh token, and nobody consents.
type Unattended interface {
	Provider
	// Covers reports whether an account exists under this ID though it was not
	// registered.
	Covers(accountID string) bool
	// Shared reports whether all accounts have the same tokens, so that one
	// token request serves them all.
	Shared() bool
}

// spentNothing is the failure of a request that no refresh token went with:
// answered or not, it can be sent again.
func spentNothing(f *account.Failure) *account.Failure {
	if f != nil {
		f.Lost = false
	}
	return f
}

// asError is f as an error: nil where f is.
func asError(f *account.Failure) error {
	if f == nil {
		return nil
	}
	return f
}
