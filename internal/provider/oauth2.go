package provider

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// oauth2Provider is an OAuth client at any authorization server. What it knows
// of the server is what was configured or discovered; its tokens have one
// audience, the empty one.
type oauth2Provider struct {
	*common
	// discovery is nil without an issuer.
	discovery *discoverer
	keys      *keyring
}

func newOAuth2(cfg Config, transport http.RoundTripper) (Provider, error) {
	if cfg.AuthStyle == "" {
		cfg.AuthStyle = StyleBasic
	}
	if cfg.Rotation.Kind == "" {
		cfg.Rotation.Kind = account.RotationSingleUse
	}
	if cfg.Issuer == "" && cfg.TokenEndpoint == "" {
		return nil, errors.New("issuer: is missing, and so is token_endpoint; one of them is needed")
	}
	c, err := newCommon(cfg, transport, nil)
	if err != nil {
		return nil, err
	}
	p := &oauth2Provider{common: c, keys: newKeyring(c.client)}
	if cfg.Issuer != "" {
		p.discovery = newDiscoverer(c.client, cfg.Issuer)
	}
	return p, nil
}

func (p *oauth2Provider) Scopes() []string        { return slices.Clone(p.cfg.Scopes) }
func (p *oauth2Provider) DefaultAudience() string { return "" }

func (p *oauth2Provider) Audience(resourceOrHost string) (string, error) {
	return p.soleAudience(resourceOrHost)
}

func (p *oauth2Provider) AudienceScopes(_ string, grantScopes []string) []string {
	if len(grantScopes) > 0 {
		return grantScopes
	}
	return p.Scopes()
}

func (p *oauth2Provider) MissingScopes(requested, granted []string) []string {
	return missingScopes(requested, granted, func(scope string) string { return scope })
}

func (p *oauth2Provider) Metadata(ctx context.Context) (Metadata, error) {
	m, failure := p.metadata(ctx)
	if failure != nil {
		return Metadata{}, failure
	}
	return m, nil
}

func (p *oauth2Provider) metadata(ctx context.Context) (Metadata, *account.Failure) {
	if p.discovery == nil {
		return Metadata{}.overridden(p.cfg), nil
	}
	m, failure := p.discovery.metadata(ctx)
	if failure != nil {
		return Metadata{}, failure
	}
	return m.overridden(p.cfg), nil
}

func (p *oauth2Provider) TokenEndpoint(string) string {
	if p.cfg.TokenEndpoint != "" {
		return p.cfg.TokenEndpoint
	}
	return p.cfg.Issuer
}

func (p *oauth2Provider) Refresh(ctx context.Context, req account.RefreshRequest) (account.Answer, error) {
	endpoint := p.cfg.TokenEndpoint
	if endpoint == "" {
		m, failure := p.metadata(ctx)
		if failure != nil {
			return account.Answer{}, failure
		}
		endpoint = m.TokenEndpoint
	}
	answer, err := p.refresh(ctx, endpoint, refreshForm(req, req.Scopes), req.ClientAuth)
	if failure, ok := errors.AsType[*account.Failure](err); ok && p.discovery != nil {
		p.discovery.doubt(failure.Status)
	}
	return answer, err
}

func (p *oauth2Provider) Revoke(ctx context.Context, token secret.String) error {
	m, failure := p.metadata(ctx)
	if failure != nil {
		return failure
	}
	if m.RevocationEndpoint == "" {
		return &noRevocationError{where: "the account's own settings at the provider, if it has any"}
	}
	return p.revoke(ctx, m.RevocationEndpoint, token, "")
}
