package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
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
	form, header, failure := c.authenticated(form, endpoint, grant, clientSecret)
	if failure != nil {
		return account.Answer{}, failure
	}
	return c.ask(ctx, endpoint, form, header, clientSecret)
}

// authenticated is the form with the client's authentication, and the header
// that goes with it.
func (c *common) authenticated(form url.Values, endpoint string, grant account.ClientAuth, clientSecret secret.String) (url.Values, http.Header, *account.Failure) {
	form, header := maps.Clone(form), http.Header{}
	if err := c.auth.apply(form, header, endpoint, grant, clientSecret); err != nil {
		return nil, nil, &account.Failure{
			Meaning: account.ClientMisconfigured,
			Reads:   "The client could not be authenticated: its key signs nothing.",
			Mend:    "Check the configured private key or certificate.",
			Err:     err,
		}
	}
	return form, header, nil
}

// ask posts the form of a token request and sorts its answer.
func (c *common) ask(ctx context.Context, endpoint string, form url.Values, header http.Header, clientSecret secret.String) (account.Answer, *account.Failure) {
	_, answer, failure := c.converse(ctx, endpoint, form, header, clientSecret)
	return answer, failure
}

// converse is ask for who needs more of the answer than its tokens. Without a
// whole answer there is no response.
func (c *common) converse(ctx context.Context, endpoint string, form url.Values, header http.Header, clientSecret secret.String) (*response, account.Answer, *account.Failure) {
	resp, err := c.client.post(ctx, endpoint, form, header)
	if err != nil {
		var lost *transportError
		if !errors.As(err, &lost) || lost.partial == nil {
			return nil, account.Answer{}, unanswered(err)
		}
		if !json.Valid(lost.partial.body) {
			answer, failure := brokenOff(lost.partial.body, unanswered(err))
			return nil, answer, failure
		}
		// The connection broke after a complete JSON value: nothing of the
		// answer is missing.
		resp = lost.partial
	}
	answer, failure := sortAnswer(c.cfg.Type, resp)
	if failure != nil {
		withhold(failure, resp, form, clientSecret)
	}
	return resp, answer, failure
}

// sortAnswer tells a success from a failure. With a failure the answer holds
// no more than a refresh token that must be kept.
func sortAnswer(providerType string, resp *response) (account.Answer, *account.Failure) {
	if resp.tooLarge {
		return brokenOff(resp.body, oddAnswer(resp, account.ProviderDown, "The token endpoint's answer is larger than 1 MiB."))
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

// brokenOff is an answer that ends too early, with its failure. A refresh token
// in what came is the newest one, and with it nothing is lost. Only in JSON can
// be seen that it came whole.
func brokenOff(body []byte, f *account.Failure) (account.Answer, *account.Failure) {
	body = trimmed(body)
	if !bytes.HasPrefix(body, []byte("{")) {
		return account.Answer{}, f
	}
	kept := account.Answer{RefreshToken: secret.New(parseObject(body).text("refresh_token"))}
	if !kept.RefreshToken.IsZero() {
		f.Lost = false
	}
	return kept, f
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

// withhold takes out of a failure what repeats a secret of the request, or a
// token of the answer that it was read from, and shortens what may stay.
func withhold(f *account.Failure, resp *response, form url.Values, clientSecret secret.String) {
	answered := parseMembers(resp.body, resp.header)
	secrets := []string{
		form.Get("refresh_token"), form.Get("token"), form.Get("client_assertion"), form.Get("assertion"), clientSecret.Reveal(),
		form.Get("code"), form.Get("code_verifier"), form.Get("device_code"),
		answered.text("access_token"), answered.text("refresh_token"), answered.text("id_token"),
	}
	f.Description = f.Description[:min(len(f.Description), searchedWords)]
	for _, said := range []*string{&f.Code, &f.Suberror, &f.Description} {
		if slices.ContainsFunc(secrets, func(s string) bool { return repeats(*said, s) }) {
			*said = ""
		}
	}
	if slices.ContainsFunc(unbroken.FindAllString(f.Description, -1), tokenLike) {
		f.Description = ""
	}
	f.Description = shortened(f.Description)
}

// searchedWords is how much of a server's words is searched for secrets, in
// bytes: far more than is kept, and no more than can be searched at once.
const searchedWords = 8 << 10

// unbroken matches what a token could be (RFC 6750 section 2.1).
var unbroken = regexp.MustCompile(`[A-Za-z0-9._~+/-]{32,}`)

// tokenLike reports whether an unbroken run looks random: that could be an
// older token, of which nothing is known here. UUIDs, thumbprints and the names
// of scopes do not have letters of both cases and digits.
func tokenLike(run string) bool {
	return strings.ContainsAny(run, "0123456789") && strings.ToLower(run) != run && strings.ToUpper(run) != run
}

// tellingRun is how many bytes of a secret in a row count as the secret: a
// server may quote it in part.
const tellingRun = 16

// repeats reports whether words contain the secret, a long run of it, or either
// of them escaped as in a form.
func repeats(words, s string) bool {
	if words == "" || s == "" {
		return false
	}
	for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
		for i := 0; i == 0 || i+tellingRun <= len(form); i++ {
			if strings.Contains(words, form[i:min(i+tellingRun, len(form))]) {
				return true
			}
		}
	}
	return false
}
