package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2/endpoints"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// google is an OAuth client at Google. One access token is good for all of the
// grant's scopes, so there is one audience, the empty one.
type google struct {
	*common
	meta Metadata
	keys *keyring
}

var googleMetadata = Metadata{ //nolint:gosec // endpoints, no credentials
	Issuer:                      "https://accounts.google.com",
	AuthorizationEndpoint:       "https://accounts.google.com/o/oauth2/v2/auth",
	TokenEndpoint:               endpoints.Google.TokenURL,
	DeviceAuthorizationEndpoint: endpoints.Google.DeviceAuthURL,
	RevocationEndpoint:          "https://oauth2.googleapis.com/revoke",
	UserinfoEndpoint:            "https://openidconnect.googleapis.com/v1/userinfo",
	JWKSURI:                     "https://www.googleapis.com/oauth2/v3/certs",
}

func newGoogle(cfg Config, transport http.RoundTripper) (Provider, error) {
	if cfg.AuthStyle == "" {
		cfg.AuthStyle = StylePost
	}
	if cfg.Rotation.Kind == "" {
		cfg.Rotation.Kind = account.RotationNone
	}
	if cfg.Issuer != "" {
		return nil, errors.New("issuer: belongs to providers of type oauth2")
	}
	c, err := newCommon(cfg, transport, own(googleHosts...))
	if err != nil {
		return nil, err
	}
	return &google{common: c, meta: googleMetadata.overridden(cfg), keys: newKeyring(c.client)}, nil
}

func (g *google) Scopes() []string { return withIdentity(g.cfg.Scopes) }

// withIdentity adds what makes Google say who consented.
func withIdentity(scopes []string) []string {
	// Either spelling of the address's scope will do.
	if len(missingScopes([]string{"email"}, scopes, googleScope)) == 0 {
		return withAdded(scopes, "openid")
	}
	return withAdded(scopes, "openid", "email")
}

// IdleLife is Google's: a refresh token that was not used for six months stops
// working ("Using OAuth 2.0 to Access Google APIs", refresh token expiration).
func (g *google) IdleLife() time.Duration { return 180 * 24 * time.Hour }

func (g *google) Metadata(context.Context) (Metadata, error) { return g.meta, nil }
func (g *google) TokenEndpoint(string) string                { return g.meta.TokenEndpoint }
func (g *google) DefaultAudience() string                    { return "" }

func (g *google) Audience(resourceOrHost string) (string, error) {
	return g.soleAudience(resourceOrHost)
}

func (g *google) AudienceScopes(_ string, grantScopes []string) []string {
	if len(grantScopes) > 0 {
		return grantScopes
	}
	return g.Scopes()
}

func (g *google) MissingScopes(requested, granted []string) []string {
	return missingScopes(requested, granted, googleScope)
}

// googleScope is the spelling in which Google's answers have a scope: the two
// short names of OpenID Connect are asked for as such and granted in full.
func googleScope(scope string) string {
	switch scope {
	case "email", "profile":
		return "https://www.googleapis.com/auth/userinfo." + scope
	}
	return scope
}

func (g *google) Refresh(ctx context.Context, req account.RefreshRequest) (account.Answer, error) {
	answer, err := g.refresh(ctx, g.meta.TokenEndpoint, refreshForm(req, req.Scopes), req.ClientAuth)
	answer.Scopes = respelled(answer.Scopes, asked(g, req), googleScope)
	return answer, err
}

func (g *google) Revoke(ctx context.Context, token secret.String) error {
	// Google wants no authentication here, so no secret goes along.
	return g.revoke(ctx, g.meta.RevocationEndpoint, token, account.ClientNone)
}

// soleAudience is the empty audience for what is listed, where tokens have no
// other.
func (c *common) soleAudience(resourceOrHost string) (string, error) {
	if resourceOrHost == "" {
		return "", nil
	}
	host := hostOf(resourceOrHost)
	if _, ok := c.hosts.find(host); !ok {
		return "", fmt.Errorf("%q is not among the API hosts of provider %s", host, c.cfg.Name)
	}
	return "", nil
}
