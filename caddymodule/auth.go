package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// authenticator tells who calls a site, as its `auth` says.
type authenticator interface {
	// authenticate finds what the caller of r may do, and tells c whose call it
	// is as far as that is known.
	authenticate(r *http.Request, c *call) (*policy.Key, error)
	// holder finds what may be done by whom a handle was handed out to: holder
	// is the hash of the key that authenticate gave then.
	holder(r *http.Request, holder string) (*policy.Key, error)
}

// newAuthenticator makes what `auth` says.
func newAuthenticator(ctx caddy.Context, app *App, h *Handler) (authenticator, error) {
	switch h.authType() {
	case AuthCaddy:
		return newIdentityAuth(ctx, h)
	case AuthNone:
		return newLocalAuth(ctx, h)
	}
	return keyAuth{app: app, query: h.TokenEndpoint != nil && h.TokenEndpoint.QueryKey}, nil
}

// authType is how the site's callers prove who they are.
func (h *Handler) authType() string {
	if h.Auth == nil || h.Auth.Type == "" {
		return AuthKeys
	}
	return h.Auth.Type
}

// keyAuth is `auth keys`: callers have keys of Bellhop's own.
type keyAuth struct {
	app *App
	// query is whether the token endpoint takes a key from the query. A call
	// that goes on to an API never has one there.
	query bool
}

// authenticate finds the key that a request comes with. Which of malformed,
// unknown and expired a key is, a caller is not told.
func (k keyAuth) authenticate(r *http.Request, c *call) (*policy.Key, error) {
	plain, _, err := policy.Bearer(r, k.query && isTokenPath(r.URL.EscapedPath()))
	if err != nil {
		return nil, err
	}
	if policy.CheckKey(plain) != nil {
		return nil, policy.InvalidKey()
	}
	key, err := k.app.findKey(policy.HashKey(plain))
	if err != nil {
		return nil, err
	}
	if key == nil || key.Expired(clock.Now()) {
		return nil, policy.InvalidKey()
	}
	c.by(key)
	if key.Rate != "" {
		if err := k.app.countCall(key); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// holder finds the key that a handle was handed out to.
func (k keyAuth) holder(_ *http.Request, holder string) (*policy.Key, error) {
	key, err := k.app.findKey(holder)
	if err != nil {
		return nil, err
	}
	if key == nil || key.Expired(clock.Now()) {
		return nil, problem.New(problem.NotAllowed, "the API key that this URL was handed out to is no longer valid")
	}
	return key, nil
}

// countCall returns the problem of a call that is more than the key's rate.
func (a *App) countCall(key *policy.Key) error {
	s, err := a.run.open()
	if err != nil {
		return err
	}
	return errorOf(s.rates.take(key, clock.Now()))
}

// refuseKeys refuses a key on a site that takes none. Whoever sends one counts
// on its limits, which would not hold.
func refuseKeys(r *http.Request, auth string) error {
	key, source, err := policy.Bearer(r, false)
	if err != nil && problem.From(err).Code != problem.MissingKey {
		return err
	}
	if source == policy.KeyHeader || target.MentionsKey(key) {
		return problem.New(problem.InvalidRequest, fmt.Sprintf("this site has `auth %s` and takes no API keys: leave the key out", auth))
	}
	return nil
}

// Interface guards
var (
	_ authenticator = keyAuth{}
	_ authenticator = (*identityAuth)(nil)
	_ authenticator = (*localAuth)(nil)
)
