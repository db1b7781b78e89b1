package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// microsoft is an OAuth client at Microsoft's identity platform. An access
// token is for one resource; one refresh token brings those of all resources
// that were consented to. The audience is the resource's URI.
type microsoft struct {
	*common
	cloud  microsoftCloud
	meta   Metadata
	keys   *keyring
	tenant tenantFinder
}

// openIDScopes belong to no resource and may stand beside those of any.
var openIDScopes = []string{"openid", "profile", "email", "offline_access", "address", "phone"}

var (
	guid = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
	// tenantIn finds the tenant in an issuer.
	tenantIn = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`)
	// domain is one of a tenant's domains, which can name it in URLs.
	domain = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]([a-zA-Z0-9-]*[a-zA-Z0-9])?$`)
)

func newMicrosoft(cfg Config, transport http.RoundTripper) (Provider, error) {
	if cfg.Tenant == "" {
		return nil, errors.New("tenant: is missing")
	}
	if !slices.Contains([]string{"organizations", "consumers", "common"}, cfg.Tenant) && !guid.MatchString(cfg.Tenant) && !domain.MatchString(cfg.Tenant) {
		return nil, fmt.Errorf("tenant: %q is none of organizations, consumers, common, a tenant ID and a domain", cfg.Tenant)
	}
	if cfg.Cloud == "" {
		cfg.Cloud = "global"
	}
	cloud, ok := microsoftClouds[cfg.Cloud]
	if !ok {
		return nil, fmt.Errorf("cloud: %q is none of global, usgov, usgov-dod and china", cfg.Cloud)
	}
	if cfg.Issuer != "" {
		return nil, errors.New("issuer: belongs to providers of type oauth2")
	}
	if err := microsoftAuth(&cfg); err != nil {
		return nil, err
	}
	if cfg.Rotation.Kind == "" {
		cfg.Rotation.Kind = account.RotationKeepsOld
	}
	c, err := newCommon(cfg, transport, own(append([]string{cloud.graph}, cloud.outlook...)...))
	if err != nil {
		return nil, err
	}
	m := &microsoft{common: c, cloud: cloud, meta: microsoftMetadata(cfg, cloud), keys: newKeyring(c.client)}
	m.tenant = newTenantFinder(c.client, m.meta.TokenEndpoint, cfg.Tenant)
	if len(m.resources()) == 0 {
		return nil, errors.New("scopes: is missing a scope of a resource, such as https://" + cloud.graph + "/Mail.Read")
	}
	if err := m.checkHosts(); err != nil {
		return nil, err
	}
	return m, nil
}

// microsoftAuth settles the style: a certificate, a secret, or by explicit wish
// none.
func microsoftAuth(cfg *Config) error {
	withCertificate := !cfg.ClientCertificate.IsZero()
	switch {
	case withCertificate && len(cfg.ClientSecrets) > 0:
		return errors.New("client_certificate: stands beside client_secret; one of them is needed")
	case withCertificate:
		cfg.AuthStyle = StylePrivateKeyJWT
	case cfg.AuthStyle == "" && len(cfg.ClientSecrets) == 0:
		return errors.New("client_secret: is missing, and so is client_certificate")
	case cfg.AuthStyle == "":
		cfg.AuthStyle = StylePost
	}
	return nil
}

func microsoftMetadata(cfg Config, cloud microsoftCloud) Metadata {
	authority := "https://" + cloud.login + "/" + cfg.Tenant
	issuerTenant := "{tenantid}"
	if guid.MatchString(cfg.Tenant) {
		issuerTenant = strings.ToLower(cfg.Tenant)
	}
	return Metadata{
		Issuer:                      "https://" + cloud.login + "/" + issuerTenant + "/v2.0",
		AuthorizationEndpoint:       authority + "/oauth2/v2.0/authorize",
		TokenEndpoint:               authority + "/oauth2/v2.0/token",
		DeviceAuthorizationEndpoint: authority + "/oauth2/v2.0/devicecode",
		UserinfoEndpoint:            "https://" + cloud.graph + "/oidc/userinfo",
		JWKSURI:                     authority + "/discovery/v2.0/keys",
	}.overridden(cfg)
}

func (m *microsoft) Scopes() []string { return withSignIn(m.cfg.Scopes) }

// withSignIn adds what makes Microsoft say who consented and give a refresh
// token.
func withSignIn(scopes []string) []string {
	return withAdded(scopes, "openid", "profile", "offline_access")
}

// IdleLife is Microsoft's default lifetime of a refresh token; each use gives
// a new one ("Refresh tokens in the Microsoft identity platform").
func (m *microsoft) IdleLife() time.Duration { return 90 * 24 * time.Hour }

func (m *microsoft) Metadata(context.Context) (Metadata, error) { return m.meta, nil }

// resourceOf is the canonical URI of the resource that a scope belongs to:
// what stands before the last "/", Graph for a bare name, and nothing for the
// scopes of OpenID Connect.
func (m *microsoft) resourceOf(scope string) string {
	if slices.Contains(openIDScopes, strings.ToLower(scope)) {
		return ""
	}
	i := strings.LastIndexByte(scope, '/')
	if i < 0 {
		return "https://" + m.cloud.graph
	}
	return m.canonicalResource(scope[:i])
}

// canonicalResource writes the spellings of a resource as one. The names of
// Exchange Online are one resource, whose tokens are good at all of them.
func (m *microsoft) canonicalResource(resource string) string {
	resource = strings.TrimRight(strings.ToLower(resource), "/")
	if name, ok := strings.CutPrefix(resource, "https://"); ok && slices.Contains(m.cloud.outlook, name) {
		return "https://" + m.cloud.outlook[0]
	}
	return resource
}

// canonicalScope is a scope's full name. Microsoft compares scopes without
// regard to case, and its answers leave out the resource of Graph's.
func (m *microsoft) canonicalScope(scope string) string {
	resource := m.resourceOf(scope)
	if resource == "" {
		return strings.ToLower(scope)
	}
	return resource + "/" + strings.ToLower(scope[strings.LastIndexByte(scope, '/')+1:])
}

// resources are those of the configured scopes, in order.
func (m *microsoft) resources() []string {
	var resources []string
	for _, scope := range m.cfg.Scopes {
		if r := m.resourceOf(scope); r != "" && !slices.Contains(resources, r) {
			resources = append(resources, r)
		}
	}
	return resources
}

func (m *microsoft) DefaultAudience() string { return m.resources()[0] }

func (m *microsoft) Audience(resourceOrHost string) (string, error) {
	if resourceOrHost == "" {
		return m.DefaultAudience(), nil
	}
	if r := m.canonicalResource(resourceOrHost); slices.Contains(m.resources(), r) {
		return r, nil
	}
	host := hostOf(resourceOrHost)
	if _, ok := m.hosts.find(host); !ok {
		return "", fmt.Errorf("%q is not among the API hosts of provider %s", host, m.cfg.Name)
	}
	return m.hostAudience(host)
}

// hostAudience derives the audience of a listed host: the resource of its
// name; else the only resource there is, if that is an identifier which names
// no host; and for a loopback host, which stands in for another, the default
// one.
func (m *microsoft) hostAudience(host string) (string, error) {
	resource := m.canonicalResource("https://" + host)
	resources := m.resources()
	name, _ := hostname.SplitPort(host)
	switch {
	case slices.Contains(resources, resource), host == m.cloud.graph, slices.Contains(m.cloud.outlook, host):
		return resource, nil
	case len(resources) == 1 && !strings.HasPrefix(resources[0], "https://"):
		return resources[0], nil
	case hostname.IsLoopback(name):
		return resources[0], nil
	}
	return "", fmt.Errorf("%q: no scope of provider %s names it as its resource, so no token can be asked for it", host, m.cfg.Name)
}

// checkHosts finds every listed host an audience. A wildcard's hosts are judged
// when they are called.
func (m *microsoft) checkHosts() error {
	for _, h := range m.hosts.hosts {
		if h.wildcard {
			continue
		}
		if _, err := m.hostAudience(h.name); err != nil {
			return fmt.Errorf("api_host: %w", err)
		}
	}
	return nil
}

func (m *microsoft) AudienceScopes(audience string, grantScopes []string) []string {
	scopes := grantScopes
	if len(scopes) == 0 {
		scopes = m.cfg.Scopes
	}
	if audience == "" {
		audience = m.DefaultAudience()
	}
	audience = m.canonicalResource(audience)
	var own []string
	for _, scope := range scopes {
		if m.resourceOf(scope) == audience {
			own = append(own, scope)
		}
	}
	if len(own) == 0 {
		return nil
	}
	return withSignIn(own)
}

func (m *microsoft) MissingScopes(requested, granted []string) []string {
	// Answers list these or not, whether they were granted or not.
	requested = slices.DeleteFunc(slices.Clone(requested), func(scope string) bool {
		return m.resourceOf(scope) == "" || strings.HasSuffix(scope, "/.default")
	})
	return missingScopes(requested, granted, m.canonicalScope)
}

func (m *microsoft) TokenEndpoint(subject string) string {
	endpoint, err := m.tokenEndpoint(subject)
	if err != nil {
		return m.meta.TokenEndpoint
	}
	return endpoint
}

// tokenEndpoint is the configured authority's, with the subject's own tenant in
// the place of the configured one: a guest of several tenants would otherwise
// be renewed at home. A subject is the IDs of the tenant and of the user in it,
// "<tid>/<oid>" as in the claims of those names; what is none yields no URL at
// all.
func (m *microsoft) tokenEndpoint(subject string) (string, error) {
	if subject == "" {
		return m.meta.TokenEndpoint, nil
	}
	tid, oid, _ := strings.Cut(subject, "/")
	if !guid.MatchString(tid) || !guid.MatchString(oid) {
		return "", errors.New("the account's subject is not a tenant ID and an object ID")
	}
	u, err := url.Parse(m.meta.TokenEndpoint)
	if err != nil {
		return "", err
	}
	if rest, ok := strings.CutPrefix(u.Path, "/"+m.cfg.Tenant+"/"); ok {
		u.Path, u.RawPath = "/"+strings.ToLower(tid)+"/"+rest, ""
	}
	return u.String(), nil
}

func (m *microsoft) Refresh(ctx context.Context, req account.RefreshRequest) (account.Answer, error) {
	endpoint, err := m.tokenEndpoint(req.Subject)
	if err != nil {
		return account.Answer{}, &account.Failure{
			Meaning: account.Unlisted,
			Reads:   "The account's tenant is not known, so it cannot be asked.",
			Mend:    "Reconnect the account.",
			Err:     fmt.Errorf("choosing token endpoint: %w", err),
		}
	}
	if req.Audience == "" {
		req.Audience = m.DefaultAudience()
	}
	scopes := asked(m, req)
	if len(scopes) == 0 {
		return account.Answer{}, &account.Failure{
			Meaning: account.AudienceRefused,
			Reads:   "No scope of " + req.Audience + " was ever asked for.",
			Mend:    "Add its scopes to the provider's configuration and reconnect the account.",
		}
	}
	form := refreshForm(req, withSignIn(scopes))
	if m.cfg.ContinuousAccess {
		form.Set("claims", withClientCapability(req.Claims))
	}
	answer, err := m.refresh(ctx, endpoint, form, req.ClientAuth)
	answer.Scopes = m.granted(answer.Scopes, scopes)
	return answer, err
}

// granted writes an answer's scopes in full: bare names are of the resource
// that was asked for, whichever that is.
func (m *microsoft) granted(scopes, requested []string) []string {
	resource := ""
	for _, scope := range requested {
		if resource = m.resourceOf(scope); resource != "" {
			break
		}
	}
	if scopes == nil {
		return nil
	}
	full := make([]string, 0, len(scopes))
	for _, scope := range scopes {
		if !strings.Contains(scope, "/") && m.resourceOf(scope) != "" && resource != "" {
			scope = resource + "/" + scope
		}
		full = append(full, scope)
	}
	return respelled(full, requested, m.canonicalScope)
}

// withClientCapability declares cp1, that claims challenges are understood, and
// adds the challenge to answer. One that is not a JSON object is left out.
func withClientCapability(challenge string) string {
	type object map[string]json.RawMessage
	var claims map[string]object
	if challenge != "" && json.Unmarshal([]byte(challenge), &claims) != nil || claims == nil {
		claims = map[string]object{}
	}
	if claims["access_token"] == nil {
		claims["access_token"] = object{}
	}
	claims["access_token"]["xms_cc"] = json.RawMessage(`{"values":["cp1"]}`)
	// What came out of JSON always marshals.
	merged, _ := json.Marshal(claims)
	return string(merged)
}

func (m *microsoft) Revoke(ctx context.Context, token secret.String) error {
	if m.meta.RevocationEndpoint != "" {
		return m.revoke(ctx, m.meta.RevocationEndpoint, token, "")
	}
	return &noRevocationError{where: "a work or school account ends it at https://myapplications.microsoft.com " +
		"(the app's menu, Manage your application, Revoke permissions), a personal one at https://account.live.com/consent/Manage"}
}
