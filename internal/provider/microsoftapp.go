package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// microsoftApp is an app at Microsoft's identity platform that acts for itself
// (RFC 6749 section 4.4): one access token for each resource, whoever's mailbox
// is called with it.
type microsoftApp struct {
	*common
	// delegated knows resources, hosts and endpoints as for people's accounts.
	// It is not embedded: what is for people is not for this type.
	delegated *microsoft
}

// allPermissions ends a scope that stands for all permissions which the app was
// granted at a resource. Client credentials take no other.
const allPermissions = "/.default"

func newMicrosoftApp(cfg Config, transport http.RoundTripper) (Provider, error) {
	if slices.Contains([]string{"organizations", "consumers", "common"}, cfg.Tenant) {
		return nil, fmt.Errorf("tenant: %q is no tenant, and an app acts in one: write its ID or one of its domains", cfg.Tenant)
	}
	if cfg.ContinuousAccess {
		return nil, errors.New("continuous_access: belongs to providers of type microsoft")
	}
	cfg.Scopes = slices.Clone(cfg.Scopes)
	for _, scope := range cfg.Scopes {
		if !strings.HasSuffix(scope, allPermissions) || scope == allPermissions {
			return nil, fmt.Errorf("scopes: %q: client credentials take <resource>%s and no other scope", scope, allPermissions)
		}
	}
	if cloud, ok := microsoftClouds[cfg.Cloud]; len(cfg.Scopes) == 0 && (ok || cfg.Cloud == "") {
		if !ok {
			cloud = microsoftClouds["global"]
		}
		cfg.Scopes = []string{"https://" + cloud.graph + allPermissions}
	}
	cfg.Rotation.Kind = account.RotationNone
	delegated, err := newMicrosoft(cfg, transport)
	if err != nil {
		return nil, err
	}
	m := delegated.(*microsoft)
	return &microsoftApp{common: m.common, delegated: m}, nil
}

func (m *microsoftApp) Covers(string) bool { return false }
func (m *microsoftApp) Shared() bool       { return true }

func (m *microsoftApp) Scopes() []string            { return slices.Clone(m.cfg.Scopes) }
func (m *microsoftApp) TokenEndpoint(string) string { return m.delegated.meta.TokenEndpoint }
func (m *microsoftApp) DefaultAudience() string     { return m.delegated.DefaultAudience() }

func (m *microsoftApp) Metadata(context.Context) (Metadata, error) {
	return Metadata{Issuer: m.delegated.meta.Issuer, TokenEndpoint: m.delegated.meta.TokenEndpoint}, nil
}

func (m *microsoftApp) Audience(resourceOrHost string) (string, error) {
	return m.delegated.Audience(resourceOrHost)
}

// AudienceScopes are the audience's own of those that are configured, or what
// stands for all permissions there: the app's registration says which it has.
func (m *microsoftApp) AudienceScopes(audience string, _ []string) []string {
	if audience == "" {
		audience = m.DefaultAudience()
	}
	audience = m.delegated.canonicalResource(audience)
	for _, scope := range m.cfg.Scopes {
		if m.delegated.resourceOf(scope) == audience {
			return []string{scope}
		}
	}
	return []string{audience + allPermissions}
}

// MissingScopes is none: what the app was granted, no answer says.
func (m *microsoftApp) MissingScopes(_, _ []string) []string { return nil }

func (m *microsoftApp) Refresh(ctx context.Context, req account.RefreshRequest) (account.Answer, error) {
	scopes := m.AudienceScopes(req.Audience, nil)
	if len(req.Scopes) > 0 && !slices.Equal(req.Scopes, scopes) {
		return account.Answer{}, &account.Failure{
			Meaning: account.AudienceRefused,
			Reads:   "An app's token always has all permissions that the app was granted, and cannot be narrowed.",
			Mend:    "Register another app with fewer permissions.",
		}
	}
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {scopes[0]}}
	// How a person's grant was made says nothing of the app.
	answer, err := m.refresh(ctx, m.TokenEndpoint(""), form, "")
	answer.RefreshToken = secret.String{}
	if failure, ok := errors.AsType[*account.Failure](err); ok {
		return answer, spentNothing(failure)
	}
	return answer, err
}

func (m *microsoftApp) Revoke(context.Context, secret.String) error {
	return &noRevocationError{where: "an administrator takes the app's permissions back in the Entra admin center (Enterprise applications, the app, Permissions)"}
}

// Interface guards
var _ Unattended = (*microsoftApp)(nil)
