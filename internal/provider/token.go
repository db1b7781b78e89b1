package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// refreshForm is the body of a token request with a refresh token (RFC 6749
// section 6). Without scopes the server gives what it gave before.
func refreshForm(req account.RefreshRequest, scopes []string) url.Values {
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {req.RefreshToken.Reveal()},
	}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	return form
}

// refresh sends the form with each of the client's credentials until the
// server knows the client. An error is always a *account.Failure; of several
// the one that the newest secret met, since that is the one to mend.
func (c *common) refresh(ctx context.Context, endpoint string, form url.Values, grant account.ClientAuth) (account.Answer, error) {
	var first *account.Failure
	for _, clientSecret := range c.auth.credentials(grant) {
		answer, failure := c.exchange(ctx, endpoint, form, grant, clientSecret)
		if failure == nil {
			return answer, nil
		}
		if failure.Code != "invalid_client" || !answer.RefreshToken.IsZero() {
			return answer, failure
		}
		if first == nil {
			first = failure
		}
	}
	return account.Answer{}, first
}

// exchange sends one token request and sorts its answer.
func (c *common) exchange(ctx context.Context, endpoint string, form url.Values, grant account.ClientAuth, clientSecret secret.String) (account.Answer, *account.Failure) {
	form, header := maps.Clone(form), http.Header{}
	if err := c.auth.apply(form, header, endpoint, grant, clientSecret); err != nil {
		return account.Answer{}, &account.Failure{
			Meaning: account.ClientMisconfigured,
			Reads:   "The client could not be authenticated: its key signs nothing.",
			Mend:    "Check the configured private key or certificate.",
			Err:     err,
		}
	}
	resp, err := c.client.post(ctx, endpoint, form, header)
	if err != nil {
		var lost *transportError
		if !errors.As(err, &lost) || lost.partial == nil || !json.Valid(lost.partial.body) {
			return account.Answer{}, unanswered(err)
		}
		// The connection broke after a complete JSON value: nothing of the
		// answer is missing.
		resp = lost.partial
	}
	answer, failure := sortAnswer(c.cfg.Type, resp)
	if failure != nil && echoes(failure, form, clientSecret) {
		failure.Code, failure.Suberror = "", ""
	}
	return answer, failure
}

// sortAnswer tells a success from a failure. With a failure the answer holds
// no more than a refresh token that must be kept.
func sortAnswer(providerType string, resp *response) (account.Answer, *account.Failure) {
	if resp.tooLarge {
		return account.Answer{}, oddAnswer(resp, account.ProviderDown, "The token endpoint's answer is larger than 1 MiB.")
	}
	if resp.status >= 300 && resp.status < 400 {
		return account.Answer{}, oddAnswer(resp, account.ProviderDown,
			"The token endpoint answered with a redirect, which is refused: it would carry secrets to another address.")
	}
	m := parseMembers(resp.body, resp.header)
	answer := m.answer(resp.header)
	kept := account.Answer{RefreshToken: answer.RefreshToken}
	success := resp.status >= 200 && resp.status < 300
	switch {
	case !success || answer.AccessToken.IsZero():
		return kept, sortError(providerType, resp, m)
	case !m.isBearer():
		return kept, oddAnswer(resp, account.Unlisted, "The token endpoint answered with a token of another type than Bearer.")
	case !canBeSent(answer.AccessToken.Reveal()):
		return kept, oddAnswer(resp, account.ProviderDown, "The token endpoint answered with an access token that no header can carry.")
	}
	return answer, nil
}

// oddAnswer is a failure that no OAuth error describes.
func oddAnswer(resp *response, meaning account.Meaning, reads string) *account.Failure {
	return &account.Failure{
		Meaning:    meaning,
		Status:     resp.status,
		Reads:      reads,
		RetryAfter: retryAfter(resp.header),
	}
}

// unanswered is the failure of a request without a whole answer.
func unanswered(err error) *account.Failure {
	f := &account.Failure{
		Meaning: account.ProviderDown,
		Reads:   "The provider could not be reached.",
		Err:     fmt.Errorf("requesting token: %w", err),
	}
	var lost *transportError
	if errors.As(err, &lost) && lost.sent {
		f.Lost = true
		f.Reads = "The provider was asked, and its answer did not come whole."
		if lost.partial != nil {
			f.Status = lost.partial.status
		}
	}
	return f
}

// echoes reports whether the error that is about to be kept repeats a secret
// of the request.
func echoes(f *account.Failure, form url.Values, clientSecret secret.String) bool {
	secrets := []string{form.Get("refresh_token"), form.Get("token"), form.Get("client_assertion"), clientSecret.Reveal()}
	return slices.ContainsFunc(secrets, func(s string) bool {
		return s != "" && (strings.Contains(f.Code, s) || strings.Contains(f.Suberror, s))
	})
}
