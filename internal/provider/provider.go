// Package provider is one OAuth client at one authorization server: how it asks
// for a fresh access token, which hosts that token may be sent to, and what the
// server's errors mean.
//
// A [Provider] keeps nothing of the accounts that it serves: what a token
// request needs comes with it, and what its answer brought goes back with it.
package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// The types of provider.
const (
	TypeGoogle    = "google"
	TypeMicrosoft = "microsoft"
	TypeOAuth2    = "oauth2"

	// These ask for tokens with credentials of their own: no person grants
	// anything to them, see [Unattended].
	TypeGoogleServiceAccount = "google_service_account"
	TypeMicrosoftApp         = "microsoft_app"
	TypeEmailEngine          = "emailengine"
)

// DefaultTimeout bounds one request to an authorization server.
const DefaultTimeout = 15 * time.Second

// usualLife is the life that an access token is taken to have when the answer
// does not say, or not sensibly. All three types issue hour-long tokens by
// default; an API's 401 corrects the assumption where it is wrong.
const usualLife = time.Hour

// Config is a provider as it was configured, every placeholder expanded.
type Config struct {
	// Name is the operator's; Type is one of the Type constants.
	Name, Type string
	// ClientID is the OAuth client's ID. Required.
	ClientID string
	// ClientSecrets holds the client's secrets, newest first. The older ones
	// are tried when the server refuses the newer.
	ClientSecrets []secret.String
	// ClientCertificate is the PEM certificate (chain) of a microsoft client
	// that authenticates with one; its key may stand in the same text.
	ClientCertificate secret.String
	// PrivateKey is the PEM private key of ClientCertificate or of the
	// private_key_jwt style (PKCS #8, PKCS #1 or SEC 1).
	PrivateKey secret.String
	// KeyID is the "kid" of private_key_jwt; may be empty.
	KeyID string
	// Algorithm is the JWS algorithm of client assertions (RFC 7518). Default:
	// PS256 with a certificate, else what the key suggests (RS256, ES256,
	// ES384, ES512 or EdDSA).
	Algorithm string
	// AuthStyle is how the client authenticates: one of the Style constants.
	// Default: basic for oauth2, post for google, and for microsoft post or
	// private_key_jwt, by what is configured.
	AuthStyle string

	// Tenant is organizations, consumers, common, a tenant ID or one of the
	// tenant's domains. Required for microsoft.
	Tenant string
	// Cloud is one of global (default), usgov, usgov-dod and china; microsoft
	// only.
	Cloud string

	// Issuer is where an oauth2 provider's endpoints are discovered
	// (RFC 8414, OpenID Connect Discovery 1.0).
	Issuer string
	// The endpoints, where they are configured; they win over defaults and
	// discovery.
	AuthorizationEndpoint       string
	TokenEndpoint               string
	DeviceAuthorizationEndpoint string
	RevocationEndpoint          string
	// UserinfoEndpoint says who consented where an oauth2 server sends no ID
	// token (OpenID Connect Core section 5.3).
	UserinfoEndpoint string

	// Credentials is the JSON text of a google_service_account's credentials
	// file: a service account's key, or an external account's configuration
	// (workload identity federation).
	Credentials secret.String
	// Subjects and SubjectsExcept are globs of account IDs: those that match
	// the first and not the second exist without registration;
	// google_service_account only.
	Subjects, SubjectsExcept []string
	// URL is an EmailEngine's base URL, AccessToken what it is called with;
	// emailengine only.
	URL         string
	AccessToken secret.String

	// Rotation is what the server does with used refresh tokens. Default:
	// none for google, keeps_old for microsoft, single_use for oauth2.
	Rotation account.Rotation
	// Scopes as the operator wrote them.
	Scopes []string
	// AuthorizeParams are added to authorization requests, in order.
	AuthorizeParams []Param
	// APIHosts are the hosts that tokens may be sent to besides the type's
	// own.
	APIHosts []APIHost
	// APIHostsOnly, where there are any, replace the type's own.
	APIHostsOnly []APIHost
	// ContinuousAccess declares the cp1 client capability and honours claims
	// challenges; microsoft only.
	ContinuousAccess bool
	// Timeout bounds one request. Default: [DefaultTimeout].
	Timeout time.Duration
}

// Param is one parameter of an authorization request.
type Param struct{ Name, Value string }

// APIHost is one host that tokens may be sent to.
type APIHost struct {
	// Host is a full name, with a port where it is not 443. A name that
	// begins with "*." covers every name below it and needs InsecureWildcard.
	// A loopback host may be written as a URL, "http://127.0.0.1:8080", to be
	// spoken to without TLS.
	Host string
	// InsecureWildcard admits a wildcard.
	InsecureWildcard bool
	// TokenMinting admits a host that answers with tokens or runs code as the
	// user, and on www.googleapis.com the paths that do.
	TokenMinting bool
}

// Provider is one OAuth client at one authorization server. It is safe for
// concurrent use.
type Provider interface {
	// Name is the operator's name for it, Type one of the Type constants.
	Name() string
	Type() string
	// ClientID is the OAuth client's.
	ClientID() string
	// Scopes are those to ask a new account for: as configured, and after them
	// those that the type adds.
	Scopes() []string
	// AuthorizeParams are the operator's further authorization parameters.
	AuthorizeParams() []Param
	// Rotation is what the server does with used refresh tokens.
	Rotation() account.Rotation
	// Metadata says where the server's endpoints are. It is discovered at
	// first use where the operator configured an issuer; an error is a
	// *[account.Failure].
	Metadata(ctx context.Context) (Metadata, error)

	// DefaultAudience is the audience of the first scope that was written;
	// empty where a token is good for every resource of the server.
	DefaultAudience() string
	// Audience is the audience that an API host ("gmail.googleapis.com") or a
	// resource ("https://graph.microsoft.com") belongs to; "" gives the
	// default one.
	Audience(resourceOrHost string) (string, error)
	// AudienceScopes are the scopes, of the account's own or else of the
	// provider's, that a refresh for this audience stands for. None means that
	// the audience was never asked for.
	AudienceScopes(audience string, grantScopes []string) []string
	// MissingScopes are those of requested, scopes of one audience, that are
	// not among granted, whatever way the server spells them.
	MissingScopes(requested, granted []string) []string

	// AllowsHost reports why a token may not be sent to this host and path;
	// nil when it may. The path is the decoded one.
	AllowsHost(host, decodedPath string) error
	// Hosts are the listed API hosts, the default one first.
	Hosts() []string
	// DefaultHost is the API host of a path that names none; may be empty.
	DefaultHost() string
	// Scheme is "https", or "http" for a loopback host configured so.
	Scheme(host string) string
	// DAV reports whether WebDAV's methods make sense at this host and path.
	DAV(host, decodedPath string) bool

	// IdleLife is how long a refresh token lasts that nobody uses, as the
	// provider documents it; 0 when it is not known.
	IdleLife() time.Duration
	// TokenEndpoint names the endpoint that renews the subject's grants, for
	// back-off and logs. Where it is discovered the issuer stands for it.
	TokenEndpoint(subject string) string
	// Refresh sends one token request with a refresh token (RFC 6749
	// section 6).
	//
	// An error is always a *[account.Failure]. Even with an error, a refresh
	// token in the Answer is the grant's newest and must be kept: servers
	// rotate it before they write the rest of an answer that makes no sense.
	Refresh(ctx context.Context, req account.RefreshRequest) (account.Answer, error)
	// Revoke ends the grant that the token belongs to (RFC 7009). Revoking
	// what is already revoked succeeds. An error matches [ErrNoRevocation]
	// when the server offers no revocation.
	Revoke(ctx context.Context, token secret.String) error
}

// ErrNoRevocation is matched by the error of [Provider.Revoke] when the
// authorization server has no revocation endpoint. The error's text says where
// the person ends the grant.
var ErrNoRevocation = errors.New("the provider offers no revocation")

// New checks cfg and makes its provider. The error begins with the
// subdirective that it is about ("client_id: is missing"). Requests go out by
// transport; nil stands for a shared one with the system's certificates and
// the proxies of the environment.
func New(cfg Config, transport http.RoundTripper) (Provider, error) {
	switch cfg.Type {
	case TypeGoogle:
		return newGoogle(cfg, transport)
	case TypeMicrosoft:
		return newMicrosoft(cfg, transport)
	case TypeOAuth2:
		return newOAuth2(cfg, transport)
	case TypeGoogleServiceAccount:
		return newServiceAccount(cfg, transport)
	case TypeMicrosoftApp:
		return newMicrosoftApp(cfg, transport)
	case TypeEmailEngine:
		return newEmailEngine(cfg, transport)
	}
	return nil, fmt.Errorf("type: %q is none of google, microsoft, oauth2, google_service_account, microsoft_app and emailengine", cfg.Type)
}

// common is what the types share.
type common struct {
	cfg    Config
	client *client
	auth   *authenticator
	hosts  hostList
}

func newCommon(cfg Config, transport http.RoundTripper, ownHosts []apiHost) (*common, error) {
	if cfg.ClientID == "" {
		return nil, errors.New("client_id: is missing")
	}
	for _, e := range []struct{ name, value string }{
		{"issuer", cfg.Issuer},
		{"authorization_endpoint", cfg.AuthorizationEndpoint},
		{"token_endpoint", cfg.TokenEndpoint},
		{"device_authorization_endpoint", cfg.DeviceAuthorizationEndpoint},
		{"revocation_endpoint", cfg.RevocationEndpoint},
		{"userinfo_endpoint", cfg.UserinfoEndpoint},
	} {
		if e.value == "" {
			continue
		}
		if err := checkEndpoint(e.value); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	if err := checkRotation(cfg.Rotation); err != nil {
		return nil, fmt.Errorf("rotation: %w", err)
	}
	auth, err := newAuthenticator(cfg)
	if err != nil {
		return nil, err
	}
	hosts, err := newHostList(cfg, ownHosts)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	cfg.Scopes = slices.Clone(cfg.Scopes)
	return &common{cfg: cfg, client: newClient(transport, cfg.Timeout), auth: auth, hosts: hosts}, nil
}

func checkRotation(r account.Rotation) error {
	switch r.Kind {
	case account.RotationNone, account.RotationKeepsOld, account.RotationSingleUse:
		return nil
	case account.RotationGrace:
		if r.Grace <= 0 {
			return errors.New("grace needs a duration above zero")
		}
		return nil
	}
	return fmt.Errorf("%q is none of none, keeps_old, single_use and grace", r.Kind)
}

func (c *common) Name() string                       { return c.cfg.Name }
func (c *common) Type() string                       { return c.cfg.Type }
func (c *common) ClientID() string                   { return c.cfg.ClientID }
func (c *common) AuthorizeParams() []Param           { return slices.Clone(c.cfg.AuthorizeParams) }
func (c *common) IdleLife() time.Duration            { return 0 }
func (c *common) Rotation() account.Rotation         { return c.cfg.Rotation }
func (c *common) Hosts() []string                    { return c.hosts.names() }
func (c *common) DefaultHost() string                { return c.hosts.fallback }
func (c *common) Scheme(host string) string          { return c.hosts.scheme(host) }
func (c *common) DAV(host, decodedPath string) bool  { return dav(host, decodedPath) }
func (c *common) AllowsHost(host, path string) error { return c.hosts.allows(host, path) }

// withAdded appends those of added that scopes lacks.
func withAdded(scopes []string, added ...string) []string {
	all := slices.Clone(scopes)
	for _, scope := range added {
		if !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	return all
}

// missingScopes compares by canon, which maps every spelling of a scope to one.
func missingScopes(requested, granted []string, canon func(string) string) []string {
	have := make(map[string]bool, len(granted))
	for _, scope := range granted {
		have[canon(scope)] = true
	}
	var missing []string
	for _, scope := range requested {
		if !have[canon(scope)] {
			missing = append(missing, scope)
		}
	}
	return missing
}

// respelled writes granted scopes the way requested writes them, so that the
// two can be compared and shown side by side. Scopes that were not asked for
// stay as the server wrote them.
func respelled(granted, requested []string, canon func(string) string) []string {
	if granted == nil {
		return nil
	}
	spelling := make(map[string]string, len(requested))
	for _, scope := range requested {
		spelling[canon(scope)] = scope
	}
	scopes := make([]string, 0, len(granted))
	for _, scope := range granted {
		if own, ok := spelling[canon(scope)]; ok {
			scope = own
		}
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// asked are the scopes that a token request stands for.
func asked(p Provider, req account.RefreshRequest) []string {
	if len(req.Scopes) > 0 {
		return req.Scopes
	}
	return p.AudienceScopes(req.Audience, req.GrantScopes)
}
