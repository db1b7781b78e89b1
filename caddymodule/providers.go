package caddymodule

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// provisionProviders builds the configured OAuth clients.
func (a *App) provisionProviders(resolve resolver) error {
	a.run.providers = make(map[string]provider.Provider, len(a.Providers))
	a.run.listed = make(map[string]bool)
	a.run.continuousAccess = make(map[string]bool)
	a.run.secretsEnd = make(map[string]time.Time)
	timeout := a.Refresh.settings().Timeout
	for _, configured := range a.Providers {
		p, err := configured.build(resolve, provider.Config{Timeout: timeout})
		if err != nil {
			return err
		}
		a.run.providers[p.Name()] = p
		a.run.continuousAccess[p.Name()] = configured.ContinuousAccess
		if !configured.ClientSecretExpires.IsZero() {
			a.run.secretsEnd[p.Name()] = configured.ClientSecretExpires.At(time.Time{})
		}
		for _, host := range p.Hosts() {
			a.run.listed[host] = true
		}
		a.run.brokered = append(a.run.brokered, broker.Provider(p))
	}
	return nil
}

// build makes the provider, with its placeholders expanded.
func (p *Provider) build(resolve resolver, cfg provider.Config) (provider.Provider, error) {
	owner := "provider " + p.Name
	cfg.Name, cfg.Type = p.Name, p.Type
	if cfg.Type == "" {
		cfg.Type = p.Name
	}
	cfg.Cloud, cfg.AuthStyle, cfg.ContinuousAccess = p.Cloud, p.AuthStyle, p.ContinuousAccess
	cfg.Rotation = account.Rotation{Kind: account.RotationKind(p.Rotation.Mode()), Grace: p.Rotation.Grace()}
	for _, name := range slices.Sorted(maps.Keys(p.AuthorizeParams)) {
		cfg.AuthorizeParams = append(cfg.AuthorizeParams, provider.Param{Name: name, Value: p.AuthorizeParams[name]})
	}
	for _, value := range []struct {
		name string
		from string
		into *string
	}{
		{"client_id", p.ClientID, &cfg.ClientID},
		{"tenant", p.Tenant, &cfg.Tenant},
		{"issuer", p.Issuer, &cfg.Issuer},
		{"authorization_endpoint", p.AuthorizationEndpoint, &cfg.AuthorizationEndpoint},
		{"token_endpoint", p.TokenEndpoint, &cfg.TokenEndpoint},
		{"device_authorization_endpoint", p.DeviceAuthorizationEndpoint, &cfg.DeviceAuthorizationEndpoint},
		{"revocation_endpoint", p.RevocationEndpoint, &cfg.RevocationEndpoint},
		{"userinfo_endpoint", p.UserinfoEndpoint, &cfg.UserinfoEndpoint},
		{"url", p.URL, &cfg.URL},
	} {
		var err error
		if *value.into, err = resolve.optional(owner, value.name, value.from); err != nil {
			return nil, err
		}
	}
	var err error
	if cfg.ClientSecrets, err = resolve.secrets(owner, "client_secret", p.ClientSecrets); err != nil {
		return nil, err
	}
	if cfg.Scopes, err = resolve.all(owner, "scopes", p.Scopes); err != nil {
		return nil, err
	}
	if cfg.Subjects, err = resolve.all(owner, "subjects", p.Subjects); err != nil {
		return nil, err
	}
	if cfg.SubjectsExcept, err = resolve.all(owner, "subjects_except", p.SubjectsExcept); err != nil {
		return nil, err
	}
	if cfg.APIHosts, err = apiHosts(resolve, owner, "api_host", p.APIHosts); err != nil {
		return nil, err
	}
	if cfg.APIHostsOnly, err = apiHosts(resolve, owner, "api_hosts_only", p.APIHostsOnly); err != nil {
		return nil, err
	}
	if err := p.readKeys(resolve, owner, &cfg); err != nil {
		return nil, err
	}
	built, err := provider.New(cfg, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", owner, err)
	}
	return built, nil
}

// readKeys reads what clients prove with who they are, but for their secrets.
func (p *Provider) readKeys(resolve resolver, owner string, cfg *provider.Config) (err error) {
	if p.CredentialsFile != "" {
		if cfg.Credentials, err = readSecret(resolve, owner, "credentials_file", p.CredentialsFile); err != nil {
			return err
		}
	}
	accessToken, err := resolve.optional(owner, "access_token", p.AccessToken)
	if err != nil {
		return err
	}
	cfg.AccessToken = secret.New(accessToken)
	if p.ClientCertificate != nil {
		if cfg.ClientCertificate, err = readSecret(resolve, owner, "client_certificate", p.ClientCertificate.Certificate); err != nil {
			return err
		}
		if p.ClientCertificate.Key != "" {
			if cfg.PrivateKey, err = readSecret(resolve, owner, "client_certificate", p.ClientCertificate.Key); err != nil {
				return err
			}
		}
	}
	if p.PrivateKey != nil {
		cfg.KeyID, cfg.Algorithm = p.PrivateKey.KID, p.PrivateKey.Alg
		if cfg.PrivateKey, err = readSecret(resolve, owner, "private_key", p.PrivateKey.File); err != nil {
			return err
		}
	}
	return nil
}

func readSecret(resolve resolver, owner, name, file string) (secret.String, error) {
	path, err := resolve.one(owner, name, file)
	if err != nil {
		return secret.String{}, err
	}
	text, err := os.ReadFile(path) //nolint:gosec // the configuration names the file
	if err != nil {
		return secret.String{}, fmt.Errorf("%s: %s: %w", owner, name, err)
	}
	return secret.New(string(text)), nil
}

func apiHosts(resolve resolver, owner, name string, hosts []APIHost) ([]provider.APIHost, error) {
	var resolved []provider.APIHost
	for _, h := range hosts {
		var err error
		if h.Host, err = resolve.one(owner, name, h.Host); err != nil {
			return nil, err
		}
		resolved = append(resolved, provider.APIHost(h))
	}
	return resolved, nil
}
