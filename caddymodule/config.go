package caddymodule

import "github.com/bellhop-proxy/bellhop/internal/provider"

// App keeps OAuth grants and hands out access tokens. It owns what is one for
// the whole process: the store, the keyset, the providers, the renewal of
// grants ahead of expiry, and the callers' keys. The `bellhop` HTTP handlers
// use it.
//
// Values of this configuration take Caddy's placeholders where a field says so.
// Prefer `{env.NAME}` and `{file./path}` for secrets: they are expanded when the
// configuration is provisioned and stand unexpanded in the configuration that
// Caddy's admin endpoint shows.
type App struct {
	// Where grants and keys are kept. Default: a Badger store in `bellhop/store`
	// below Caddy's data directory.
	Store *Store `json:"store,omitempty"`

	// The keys that seal what is stored. Default: the file `bellhop/keyset.json`
	// below Caddy's data directory, made (mode 0600) if the store is empty.
	Keyset *Keyset `json:"keyset,omitempty"`

	// The URL at which people reach the site with `connect`, without a path;
	// redirect URIs and consent links begin with it. `http` only for a loopback
	// address. Takes placeholders. Default: none, which is an error where consent
	// is served.
	PublicURL string `json:"public_url,omitempty"`

	// Which calls get an audit line: `on` (all), `denied` or `off`. Default: `on`.
	Audit string `json:"audit,omitempty"`

	// The OAuth clients. Their names are unique. Default: none.
	Providers []*Provider `json:"providers,omitempty"`

	// When and how grants are refreshed. Default: as its fields say.
	Refresh *Refresh `json:"refresh,omitempty"`

	// Callers' keys that are declared here and not kept in the store. Their
	// names are unique. Default: none.
	Keys []*Key `json:"keys,omitempty"`

	// Who is told about changes of accounts. Default: nobody.
	Webhooks []*Webhook `json:"webhooks,omitempty"`

	run appRuntime
}

// Which calls get an audit line.
const (
	AuditOn     = "on"
	AuditDenied = "denied"
	AuditOff    = "off"
)

// The types of store.
const (
	StoreBadger   = "badger"
	StorePostgres = "postgres"
)

// Store is where grants and keys are kept.
type Store struct {
	// The type of store: `badger`, a directory that one process uses at a time,
	// or `postgres`, a database that any number of nodes share.
	// Default: `badger`.
	Type string `json:"type,omitempty"`

	// The directory of a `badger` store. Takes placeholders. Default:
	// `bellhop/store` below Caddy's data directory.
	Dir string `json:"dir,omitempty"`

	// How much room a `badger` store leaves on its file system: with less free,
	// no grant is refreshed, because a refresh token that cannot be saved is
	// lost. Default: `64MiB`.
	Reserve Size `json:"reserve,omitzero"`

	// The connection string of a `postgres` store; a transaction pooler may
	// stand behind it. Takes placeholders; required.
	DSN string `json:"dsn,omitempty"`

	// A connection string past the pooler, on which a `postgres` store listens
	// for changes. Takes placeholders. Default: none, the store asks for changes
	// every 250 ms.
	DirectDSN string `json:"direct_dsn,omitempty"`
}

// Keyset names the keys that seal what is stored.
type Keyset struct {
	// The keyset's file. Takes placeholders. Default: `bellhop/keyset.json`
	// below Caddy's data directory.
	File string `json:"file,omitempty"`

	// The URI of the key in a key management service that the file is sealed
	// with. Takes placeholders. Default: none, the file is guarded by its mode
	// alone.
	KMS string `json:"kms,omitempty"`
}

// The types of provider.
const (
	ProviderGoogle               = provider.TypeGoogle
	ProviderMicrosoft            = provider.TypeMicrosoft
	ProviderOAuth2               = provider.TypeOAuth2
	ProviderGoogleServiceAccount = "google_service_account"
	ProviderMicrosoftApp         = "microsoft_app"
	ProviderEmailEngine          = "emailengine"
)

// Provider is an OAuth client at an authorization server. Which fields it takes
// and needs depends on its type.
type Provider struct {
	// The type of provider: `google`, `microsoft`, `oauth2` (any OAuth 2 or
	// OpenID Connect server), `google_service_account` (domain-wide delegation),
	// `microsoft_app` (client credentials) or `emailengine` (tokens from an
	// EmailEngine's token endpoint). Default: the provider's name.
	Type string `json:"type,omitempty"`

	// The name by which accounts, metrics and answers call this provider;
	// required.
	Name string `json:"name,omitempty"`

	// The client's identifier at the authorization server. Takes placeholders;
	// required for `google`, `microsoft`, `oauth2` and `microsoft_app`.
	ClientID string `json:"client_id,omitempty"`

	// The client's secrets, the newest first. Take placeholders; a literal
	// secret is warned about. Default: none, the client is public.
	ClientSecrets []string `json:"client_secrets,omitempty"`

	// When the newest client secret ends, where the provider's console says so:
	// people are told 30 days before. A date (`2027-01-31`) or a time (RFC 3339).
	// Default: not known.
	ClientSecretExpires Expiry `json:"client_secret_expires,omitzero"`

	// The certificate that a Microsoft client proves itself with, in place of a
	// secret. Default: none.
	ClientCertificate *ClientCertificate `json:"client_certificate,omitempty"`

	// What accounts are asked to grant. The resource of the first is the default
	// audience. Take placeholders. `google` adds `openid email`, `microsoft` adds
	// `openid profile offline_access` where missing; both need at least one.
	// Default: none.
	Scopes []string `json:"scopes,omitempty"`

	// Whose accounts a Microsoft client accepts: `organizations`, `consumers`,
	// `common`, or a tenant's ID or domain. Takes placeholders; required for
	// `microsoft` and `microsoft_app`.
	Tenant string `json:"tenant,omitempty"`

	// The Microsoft cloud: `global`, `usgov`, `usgov-dod` or `china`.
	// Default: `global`.
	Cloud string `json:"cloud,omitempty"`

	// Whether a Microsoft client declares that it honours claims challenges
	// (`cp1`, Continuous Access Evaluation). Default: `false`.
	ContinuousAccess bool `json:"continuous_access,omitempty"`

	// The issuer of an `oauth2` server, from which its endpoints are discovered
	// (RFC 8414, OpenID Connect Discovery) and by which its ID tokens are
	// verified. Takes placeholders. Default: none, the endpoints are given by
	// hand.
	Issuer string `json:"issuer,omitempty"`

	// Where people consent (RFC 6749 section 3.1). Takes placeholders. Default:
	// what the issuer publishes, or the type's public one.
	AuthorizationEndpoint string `json:"authorization_endpoint,omitempty"`

	// Where tokens are requested (RFC 6749 section 3.2). Takes placeholders.
	// Default: what the issuer publishes, or the type's public one.
	TokenEndpoint string `json:"token_endpoint,omitempty"`

	// Where device codes are requested (RFC 8628 section 3.1). Takes
	// placeholders. Default: what the issuer publishes, or the type's public one.
	DeviceAuthorizationEndpoint string `json:"device_authorization_endpoint,omitempty"`

	// Where grants are revoked (RFC 7009). Takes placeholders. Default: what the
	// issuer publishes, or the type's public one.
	RevocationEndpoint string `json:"revocation_endpoint,omitempty"`

	// Where an `oauth2` server says who consented, if it sends no ID token
	// (OpenID Connect Core section 5.3). Takes placeholders. Default: what the
	// issuer publishes.
	UserinfoEndpoint string `json:"userinfo_endpoint,omitempty"`

	// How an `oauth2` client authenticates at the token endpoint: `basic`,
	// `post`, `none` or `private_key_jwt`. Default: `basic`.
	AuthStyle string `json:"auth_style,omitempty"`

	// The key that `private_key_jwt` signs with (RFC 7523). Default: none.
	PrivateKey *PrivateKey `json:"private_key,omitempty"`

	// What the server does with a refresh token that was used: `none`,
	// `keeps_old`, `single_use` or `grace <duration>`. Default: `none` for
	// `google`, `keeps_old` for `microsoft`, `single_use` for `oauth2`.
	Rotation Rotation `json:"rotation,omitzero"`

	// More parameters of the authorization request. Default: none.
	AuthorizeParams map[string]string `json:"authorize_params,omitempty"`

	// Hosts that this provider's tokens may be sent to, besides the type's own.
	// Take placeholders. Default: none.
	APIHosts []APIHost `json:"api_hosts,omitempty"`

	// Hosts that this provider's tokens may be sent to, in place of the type's
	// own. Take placeholders. Default: the type's own.
	APIHostsOnly []APIHost `json:"api_hosts_only,omitempty"`

	// The credentials file of a `google_service_account`, in JSON: the service
	// account's key; or without a key, the configuration of workload identity
	// federation that impersonates the service account. Takes placeholders;
	// required there.
	CredentialsFile string `json:"credentials_file,omitempty"`

	// Accounts of a `google_service_account` that exist without registration, as
	// globs of the users' addresses that name a whole domain: `*@example.com`. A
	// key reaches them only if it names the address or the domain as well.
	// Default: none.
	Subjects []string `json:"subjects,omitempty"`

	// Exceptions from `subjects`, as globs. Upper and lower case are the same in
	// both. Default: none.
	SubjectsExcept []string `json:"subjects_except,omitempty"`

	// The base URL of an `emailengine`, which knows the accounts by the same IDs.
	// Takes placeholders; required there.
	URL string `json:"url,omitempty"`

	// The access token for an `emailengine`'s API: of all accounts, with the scope
	// `api` or `*` and without permissions. Takes placeholders; required there. A
	// literal one is warned about.
	AccessToken string `json:"access_token,omitempty"`
}

// ClientCertificate is what a Microsoft client proves itself with.
type ClientCertificate struct {
	// The certificate's PEM file. Takes placeholders; required.
	Certificate string `json:"certificate,omitempty"`

	// The PEM file of its private key. Takes placeholders. Default: the
	// certificate's file.
	Key string `json:"key,omitempty"`
}

// PrivateKey is what `private_key_jwt` signs with.
type PrivateKey struct {
	// The key's PEM file. Takes placeholders; required.
	File string `json:"file,omitempty"`

	// The key's ID in the assertion's header. Default: none.
	KID string `json:"kid,omitempty"`

	// The signature algorithm (RFC 7518 section 3.1): `RS256`, `RS384`,
	// `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `ES512` or `EdDSA`.
	// Default: what suits the key, `RS256` for RSA.
	Alg string `json:"alg,omitempty"`
}

// Refresh says when and how grants are refreshed.
type Refresh struct {
	// Renew a token this long before it expires, but never more than a quarter
	// of its life. Default: `5m`.
	Ahead Duration `json:"ahead,omitzero"`

	// The least life of a token that is handed out or injected, but never more
	// than half of what `ahead` comes to. Default: `30s`.
	MinTTL Duration `json:"min_ttl,omitzero"`

	// How long one token request may take. Default: `15s`.
	Timeout Duration `json:"timeout,omitzero"`

	// How many token requests may be in flight at once, per provider.
	// Default: `16`.
	Workers int `json:"workers,omitempty"`

	// Renew an idle grant at least this often, so that it does not lapse.
	// Default: `20d`.
	Keepalive Duration `json:"keepalive,omitzero"`
}

// Key is a caller's key. Only its hash is written.
type Key struct {
	// The name by which logs and answers call the key; required.
	Name string `json:"name,omitempty"`

	// `sha256:` and the SHA-256 of the whole key in hexadecimal. Takes
	// placeholders; required.
	Hash string `json:"hash,omitempty"`

	// The accounts that the key reaches, as globs: `*` is any run of characters,
	// `/` included. Take placeholders. Default: none.
	Accounts []string `json:"accounts,omitempty"`

	// What the key may call, as rules: `<methods> <host>/<path>`, with `!` in
	// front what it may not. Default: everything, where there are no presets.
	Allow []string `json:"allow,omitempty"`

	// What the key may call, as names of presets. Default: none.
	Presets []string `json:"presets,omitempty"`

	// The scopes that the access tokens are narrowed to which the key's calls are
	// made with, and which it is handed. Default: none, they are as the account's
	// grant has them.
	Scopes []string `json:"scopes,omitempty"`

	// Whether the key is handed access tokens. Default: `false`.
	Token bool `json:"token,omitempty"`

	// Whether the key may use the management API. Default: `false`.
	Admin bool `json:"admin,omitempty"`

	// Whether the key may ask for consent links. Default: `false`.
	Connect bool `json:"connect,omitempty"`

	// When the key ends: a date (`2027-01-31`), a time (RFC 3339), or a duration
	// (`30d`) that counts from each load of the configuration. Default: never.
	Expires Expiry `json:"expires,omitzero"`

	// The addresses that the key may come from, as addresses or networks.
	// Default: any.
	CIDRs []string `json:"cidrs,omitempty"`

	// How often the key may call: `10/s`, `600/m`, `5000/h`. Default: no limit.
	Rate Rate `json:"rate,omitzero"`
}

// Webhook is told about changes of accounts.
type Webhook struct {
	// Where to POST. Takes placeholders; required.
	URL string `json:"url,omitempty"`

	// The secret that signs what is posted. Takes placeholders; a literal one is
	// warned about. Default: none, nothing is signed.
	Secret string `json:"secret,omitempty"`
}
