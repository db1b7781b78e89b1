package provider

import (
	"context"
	"maps"
	"net/http"
	"net/url"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// noRevocationError says where the person ends the grant instead.
type noRevocationError struct{ where string }

func (e *noRevocationError) Error() string { return ErrNoRevocation.Error() + ": " + e.where }
func (e *noRevocationError) Unwrap() error { return ErrNoRevocation }

// revoke asks the endpoint to end the token's grant (RFC 7009 section 2). The
// client authenticates as it does for a grant of that kind.
func (c *common) revoke(ctx context.Context, endpoint string, token secret.String, grant account.ClientAuth) error {
	form := url.Values{"token": {token.Reveal()}, "token_type_hint": {"refresh_token"}}
	var first *account.Failure
	for _, clientSecret := range c.auth.credentials(grant) {
		failure := c.revokeOnce(ctx, endpoint, form, grant, clientSecret)
		if failure == nil {
			return nil
		}
		if first == nil {
			first = failure
		}
		if failure.Code != "invalid_client" {
			break
		}
	}
	return first
}

func (c *common) revokeOnce(ctx context.Context, endpoint string, form url.Values, grant account.ClientAuth, clientSecret secret.String) *account.Failure {
	form, header := maps.Clone(form), http.Header{}
	if err := c.auth.apply(form, header, endpoint, grant, clientSecret); err != nil {
		return &account.Failure{Meaning: account.ClientMisconfigured, Reads: "The client could not be authenticated.", Err: err}
	}
	resp, err := c.client.post(ctx, endpoint, form, header)
	if err != nil {
		return unanswered(err)
	}
	if resp.status >= 200 && resp.status < 300 {
		return nil
	}
	m := parseMembers(resp.body, resp.header)
	// RFC 7009 has a server answer 200 to a token that it does not know, since
	// the purpose is reached. Google answers 400 with this code.
	if m.text("error") == "invalid_token" {
		return nil
	}
	failure := sortError(c.cfg.Type, resp, m)
	withhold(failure, resp, form, clientSecret)
	return failure
}
