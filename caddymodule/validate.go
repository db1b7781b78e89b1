package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// This file judges configuration as far as it can be judged without expanding
// placeholders. The Caddyfile parser calls it block by block, so that errors
// have a line; configuration that came as JSON gets the same judgement as a
// whole.

var (
	authStyles = []string{provider.StyleBasic, provider.StylePost, provider.StyleNone, provider.StylePrivateKeyJWT}

	signatureAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

	// protocolParams are made anew for each authorization request.
	protocolParams = []string{"response_type", "client_id", "redirect_uri", "state", "nonce", "code_challenge", "code_challenge_method"}
)

// providerType says what a type of provider takes and cannot do without.
type providerType struct {
	takes []string
	needs []string
}

var (
	clientFields = []string{
		"client_id", "client_secret", "client_secret_expires", "scopes", "authorization_endpoint", "token_endpoint",
		"device_authorization_endpoint", "revocation_endpoint", "rotation", "authorize_param",
		"api_host", "api_hosts_only",
	}

	providerTypes = map[string]providerType{
		ProviderGoogle: {
			takes: clientFields,
			needs: []string{"client_id", "scopes"},
		},
		ProviderMicrosoft: {
			takes: append([]string{"tenant", "cloud", "client_certificate", "continuous_access"}, clientFields...),
			needs: []string{"tenant", "client_id", "scopes"},
		},
		ProviderOAuth2: {
			takes: append([]string{"issuer", "userinfo_endpoint", "auth_style", "private_key"}, clientFields...),
			needs: []string{"client_id"},
		},
		ProviderGoogleServiceAccount: {
			takes: []string{"credentials_file", "subjects", "subjects_except", "scopes", "token_endpoint", "api_host", "api_hosts_only"},
			needs: []string{"credentials_file", "scopes"},
		},
		ProviderMicrosoftApp: {
			takes: []string{"tenant", "cloud", "client_id", "client_secret", "client_secret_expires", "client_certificate", "scopes", "token_endpoint", "api_host", "api_hosts_only"},
			needs: []string{"tenant", "client_id"},
		},
		ProviderEmailEngine: {
			takes: []string{"url", "access_token", "api_host", "api_hosts_only"},
			needs: []string{"url", "access_token"},
		},
	}
)

// validate judges the whole app.
func (a *App) validate() error {
	if err := checkAll(a.subdirectives()); err != nil {
		return err
	}
	if a.Store != nil {
		if err := a.Store.validate(); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	if a.Refresh != nil {
		if err := checkAll(a.Refresh.subdirectives()); err != nil {
			return fmt.Errorf("refresh: %w", err)
		}
	}
	if err := validateNamed("provider", a.Providers, func(p *Provider) string { return p.Name }); err != nil {
		return err
	}
	if err := validateNamed("key", a.Keys, func(k *Key) string { return k.Name }); err != nil {
		return err
	}
	return a.validateWebhooks()
}

// validateWebhooks judges the webhooks. Its errors do not repeat a URL, which
// may be a secret by itself.
func (a *App) validateWebhooks() error {
	for i, hook := range a.Webhooks {
		if hook == nil {
			return errors.New("webhook: null stands in the list: leave it out")
		}
		if slices.ContainsFunc(a.Webhooks[:i], func(h *Webhook) bool { return h.URL == hook.URL }) {
			return fmt.Errorf("webhook %d: %w", i+1, errWebhookTwice)
		}
		if err := hook.validate(); err != nil {
			return fmt.Errorf("webhook %d: %w", i+1, err)
		}
	}
	return nil
}

var errWebhookTwice = errors.New("its URL is declared twice: keep one")

// validateNamed judges the members of a list, whose names are unique.
func validateNamed[T interface {
	comparable
	validate() error
}](kind string, list []T, name func(T) string) error {
	var zero T
	seen := make(map[string]bool, len(list))
	for _, member := range list {
		if member == zero {
			return fmt.Errorf("%s: null stands in the list: leave it out", kind)
		}
		if seen[name(member)] {
			return fmt.Errorf("%s: %s is declared twice: give each its own name", kind, name(member))
		}
		seen[name(member)] = true
		if err := member.validate(); err != nil {
			return err
		}
	}
	return nil
}

// validate judges the store.
func (s *Store) validate() error {
	switch s.Type {
	case "", StoreBadger:
		if s.DSN != "" || s.DirectDSN != "" {
			return errors.New("badger takes a directory: leave out dsn and direct_dsn")
		}
	case StorePostgres:
		if s.DSN == "" {
			return errors.New("postgres needs a connection string: write `store postgres <dsn> [<direct dsn>]`")
		}
		if s.Dir != "" || !s.Reserve.IsZero() {
			return errors.New("postgres takes a connection string: leave out dir and reserve")
		}
		if err := expandable(checkDSN)(s.DSN); err != nil {
			return fmt.Errorf("dsn: %w", err)
		}
		if s.DirectDSN != "" {
			if err := expandable(checkDSN)(s.DirectDSN); err != nil {
				return fmt.Errorf("direct_dsn: %w", err)
			}
		}
	default:
		return fmt.Errorf("unknown type %s: write `store badger [<dir>]` or `store postgres <dsn> [<direct dsn>]`", s.Type)
	}
	return nil
}

// kind returns the provider's type, which defaults to its name.
func (p *Provider) kind() string {
	if p.Type == "" {
		return p.Name
	}
	return p.Type
}

// checkType judges a provider's name and type.
func (p *Provider) checkType() error {
	if err := checkName(p.Name); err != nil {
		return err
	}
	if _, found := providerTypes[p.kind()]; !found {
		types := strings.Join(slices.Sorted(maps.Keys(providerTypes)), ", ")
		return fmt.Errorf("unknown type %s: write `provider %s <type>` with one of %s", p.kind(), p.Name, types)
	}
	return nil
}

// validate judges one provider.
func (p *Provider) validate() error {
	if err := p.checkType(); err != nil {
		return fmt.Errorf("provider: %w", err)
	}
	if err := p.checkFields(); err != nil {
		return fmt.Errorf("provider %s: %w", p.Name, err)
	}
	return nil
}

// checkFields judges a provider's fields by its type.
func (p *Provider) checkFields() error {
	kind := providerTypes[p.kind()]
	table := p.subdirectives()
	for _, line := range table {
		if line.given() && !slices.Contains(kind.takes, line.name()) {
			return fmt.Errorf("%s is not for type %s: leave it out", line.name(), p.kind())
		}
		if !line.given() && slices.Contains(kind.needs, line.name()) {
			return fmt.Errorf("%s is missing: write `%s`", line.name(), line.usage)
		}
	}
	if err := checkAll(table); err != nil {
		return err
	}
	switch p.kind() {
	case ProviderOAuth2:
		return p.checkOAuth2()
	case ProviderMicrosoft, ProviderMicrosoftApp:
		return p.checkMicrosoft()
	}
	return nil
}

// checkOAuth2 judges what depends on each other in an oauth2 provider.
func (p *Provider) checkOAuth2() error {
	signs := p.AuthStyle == provider.StylePrivateKeyJWT
	switch {
	case p.Issuer == "" && p.TokenEndpoint == "":
		return errors.New("issuer is missing: write `issuer <url>`, or the endpoints by hand")
	case signs && p.PrivateKey == nil:
		return errors.New("private_key is missing: auth_style private_key_jwt needs `private_key <pem>`")
	case !signs && p.PrivateKey != nil:
		return errors.New("private_key is for `auth_style private_key_jwt`: write that, or leave the key out")
	case (signs || p.AuthStyle == provider.StyleNone) && len(p.ClientSecrets) > 0:
		return fmt.Errorf("client_secret is not for `auth_style %s`: leave it out", p.AuthStyle)
	case !signs && p.AuthStyle != provider.StyleNone && len(p.ClientSecrets) == 0:
		return errors.New("client_secret is missing: write it, or `auth_style none` for a public client")
	}
	return nil
}

// checkMicrosoft judges what depends on each other in Microsoft's providers.
func (p *Provider) checkMicrosoft() error {
	if len(p.ClientSecrets) > 0 && p.ClientCertificate != nil {
		return errors.New("client_secret and client_certificate exclude each other: keep one")
	}
	if p.kind() == ProviderMicrosoft {
		return nil
	}
	if len(p.ClientSecrets) == 0 && p.ClientCertificate == nil {
		return errors.New("client_secret is missing: write it, or `client_certificate <cert pem> [<key pem>]`")
	}
	if slices.Contains([]string{"organizations", "consumers", "common"}, p.Tenant) {
		return fmt.Errorf("tenant %s has no application of its own: write the tenant's ID or domain", p.Tenant)
	}
	return nil
}

// validate judges one key.
func (k *Key) validate() error {
	if err := checkName(k.Name); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	err := checkAll(k.subdirectives())
	switch {
	case err != nil:
	case k.Hash == "":
		err = errors.New("hash is missing: write `hash sha256:<hex>`, as `oauth key new` prints it")
	case k.Token && len(k.Allow)+len(k.Presets) > 0:
		err = errors.New("token excludes allow and preset: who holds the token has its whole scope")
	}
	if err != nil {
		return fmt.Errorf("key %s: %w", k.Name, err)
	}
	return nil
}

// validate judges one webhook.
func (w *Webhook) validate() error {
	if w.URL == "" {
		return errors.New("url is missing: write `webhook <url>`")
	}
	return judgeAll([]string{w.URL}, expandable(checkWebhookURL))
}

// validate judges the whole handler.
func (h *Handler) validate() error {
	if err := h.checkParts(); err != nil {
		return err
	}
	auth := h.authType()
	proxied := h.Proxy == nil || !h.Proxy.Off
	origin := proxied && h.Proxy != nil && h.Proxy.Prefix == "/"
	switch {
	case len(h.Grants) > 0 && auth != AuthCaddy:
		return errors.New("grant is for `auth caddy`: write that, or leave the grants out")
	case h.Console && proxied && auth != AuthKeys:
		return fmt.Errorf("console cannot be where the proxy has `auth %s`: write `proxy off`, or put the console on a site of its own", auth)
	case origin && (h.TokenEndpoint != nil || h.API || h.Console || h.Connect != nil):
		return errors.New("proxy / stands alone on its site: move the other endpoints to another site")
	}
	return h.checkAuth(auth)
}

// checkAuth judges what the site has by how its callers prove who they are.
func (h *Handler) checkAuth(auth string) error {
	switch {
	case auth == AuthCaddy && len(h.Grants) == 0:
		return errors.New("auth caddy serves nobody without a grant: write `grant <identity glob>` blocks beside it")
	case auth != AuthKeys && h.TokenEndpoint != nil && h.TokenEndpoint.QueryKey:
		return fmt.Errorf("query_key is for `auth keys`: leave it out where there is `auth %s`", auth)
	case auth == AuthNone && h.API:
		return errors.New("api cannot be where there is `auth none`: every program on the machine would manage accounts and keys; put it on a site of its own")
	case auth == AuthNone && h.Console:
		return errors.New("console cannot be where there is `auth none`: nobody could sign in")
	case auth == AuthNone && h.Proxy != nil && h.Proxy.Account == accountOfKey:
		return errors.New("account key is for `auth keys`: with `auth none` write the account's ID")
	}
	return nil
}

// checkParts judges each part of the handler by itself.
func (h *Handler) checkParts() error {
	if h.Connect != nil {
		if err := checkAll(h.Connect.subdirectives()); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
	}
	if h.Auth != nil {
		if err := h.Auth.validate(); err != nil {
			return fmt.Errorf("auth: %w", err)
		}
	}
	if err := validateNamed("grant", h.Grants, func(g *Grant) string { return g.Identity }); err != nil {
		return err
	}
	if h.Proxy != nil {
		if err := h.Proxy.validate(); err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
	}
	return nil
}

// validate judges how callers prove who they are.
func (a *Auth) validate() error {
	if a.Type != "" {
		if err := oneOf(AuthKeys, AuthCaddy, AuthNone)(a.Type); err != nil {
			return err
		}
	}
	switch {
	case a.Identity == "":
		return nil
	case a.Type != AuthCaddy:
		return errors.New("a placeholder is for `auth caddy`: leave it out")
	}
	return checkIdentityPlaceholder(a.Identity)
}

// validate judges one grant.
func (g *Grant) validate() error {
	if g.Identity == "" {
		return errors.New("grant: identity is missing: write `grant <identity glob>`")
	}
	if err := checkAll(g.subdirectives()); err != nil {
		return fmt.Errorf("grant %s: %w", g.Identity, err)
	}
	return nil
}

// validate judges the proxy.
func (p *Proxy) validate() error {
	if p.Prefix != "" {
		if err := checkPrefix(p.Prefix); err != nil {
			return err
		}
	}
	if err := checkAll(p.subdirectives()); err != nil {
		return err
	}
	switch origin := p.Prefix == "/"; {
	case p.Off:
		return nil
	case origin && p.Account == "":
		return errors.New("account is missing: with the prefix / write `account key|<id>`")
	case origin && p.APIHost == "":
		return errors.New("api_host is missing: with the prefix / write `api_host <host>`")
	case !origin && p.Account != "":
		return errors.New("account is for the prefix /: elsewhere the path names it")
	case !origin && p.APIHost != "":
		return errors.New("api_host is for the prefix /: elsewhere the path names it")
	case origin && len(p.DefaultHosts) > 0:
		return errors.New("default_host is not for the prefix /: api_host names the host")
	}
	return nil
}

// checkTransportJSON judges the configuration of the transport, which is Caddy's
// own and no other.
func checkTransportJSON(raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	var module struct {
		Protocol string `json:"protocol"`
		reverseproxy.HTTPTransport
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&module); err != nil {
		return fmt.Errorf("reading Caddy's http transport: %w", err)
	}
	if module.Protocol != "" && module.Protocol != "http" {
		return fmt.Errorf("%s does not speak to APIs: write \"protocol\": \"http\"", module.Protocol)
	}
	return checkTransport(&module.HTTPTransport)
}

// checkTransport refuses settings with which a token could reach another machine
// than the API's, or travel in clear.
func checkTransport(transport *reverseproxy.HTTPTransport) error {
	switch tls := transport.TLS; {
	case transport.ProxyProtocol != "":
		return refusedTransport("proxy_protocol")
	case tls != nil && tls.InsecureSkipVerify:
		return refusedTransport("tls_insecure_skip_verify")
	case tls != nil && tls.ServerName != "":
		return refusedTransport("tls_server_name")
	case tls != nil && len(tls.ExceptPorts) > 0:
		return refusedTransport("tls_except_ports")
	case slices.Contains(transport.Versions, "h2c"):
		return errors.New("versions h2c is refused: tokens travel over TLS only")
	case slices.Contains(transport.Versions, "3"):
		return errors.New("versions 3 is refused: it goes to the address that DNS says, whatever that is")
	}
	return nil
}

// transportRefusals says why a setting of Caddy's transport is refused.
var transportRefusals = map[string]string{
	"tls_insecure_skip_verify": "the API's certificate must hold: trust its issuer with tls_trust_pool",
	"tls_server_name":          "the server name is the API host's: use upstream to reach it elsewhere",
	"tls_except_ports":         "tokens travel over TLS only",
	"proxy_protocol":           "APIs do not speak it",
}

// refusedTransport returns the error for a refused setting.
func refusedTransport(name string) error {
	return fmt.Errorf("%s is refused: %s", name, transportRefusals[name])
}
