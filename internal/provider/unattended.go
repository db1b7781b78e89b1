package provider

import "github.com/bellhop-proxy/bellhop/internal/account"

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
