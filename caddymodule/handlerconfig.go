package caddymodule

import "encoding/json"

// Handler serves the endpoints of a site: the token endpoint, the proxy that
// injects access tokens, consent, the management API and the console. What it
// does not serve goes to the next handler.
type Handler struct {
	// Serves consent: the links that people open and the redirect that they come
	// back to. Default: off.
	Connect *Connect `json:"connect,omitempty"`

	// Hands out access tokens at `GET /v1/account/{account}/oauth-token`.
	// Default: off.
	TokenEndpoint *TokenEndpoint `json:"token_endpoint,omitempty"`

	// Whether to serve the management API under `/v1`. Default: `false`.
	API bool `json:"api,omitempty"`

	// Whether to serve the console at `/console`. Default: `false`.
	Console bool `json:"console,omitempty"`

	// How callers prove who they are. Default: with keys.
	Auth *Auth `json:"auth,omitempty"`

	// What the identities of `auth caddy` may do; required there.
	Grants []*Grant `json:"grants,omitempty"`

	// The proxy. Default: on, at `/proxy`.
	Proxy *Proxy `json:"proxy,omitempty"`

	run handlerRuntime
}

// Connect is the consent that a site serves.
type Connect struct {
	// The name of the application that people are told they connect to. Takes
	// placeholders. Default: the host of the public URL.
	AppName string `json:"app_name,omitempty"`

	// The URLs to which people may be sent afterwards: scheme, host and path,
	// where `*` at the end is any rest; any query goes. Take placeholders.
	// Default: none.
	ReturnTo []string `json:"return_to,omitempty"`
}

// TokenEndpoint hands out access tokens in EmailEngine's dialect.
type TokenEndpoint struct {
	// Whether the key may also come as `?access_token=`, as with EmailEngine.
	// Default: `false`.
	QueryKey bool `json:"query_key,omitempty"`
}

// How callers prove who they are.
const (
	AuthKeys  = "keys"
	AuthCaddy = "caddy"
	AuthNone  = "none"
)

// Auth is how callers prove who they are.
type Auth struct {
	// `keys` (Bellhop's own), `caddy` (whom another handler of the site
	// authenticated; `grants` say what they may do) or `none` (every program on
	// this machine; the site must listen on a loopback address or a unix socket).
	// Default: `keys`.
	Type string `json:"type,omitempty"`

	// The placeholder that holds the identity of `caddy`, as a handler before this
	// one sets it. It is compared byte for byte; an empty one is refused.
	// Default: `{http.auth.user.id}`.
	Identity string `json:"identity,omitempty"`
}

// Grant is what the identities of `auth caddy` that match may do. Of several
// grants that match, the first counts and no other.
type Grant struct {
	// The identities, as a glob: `*` is any run of characters. Takes placeholders;
	// required.
	Identity string `json:"identity,omitempty"`

	// The accounts that they reach, as globs. Take placeholders of the
	// configuration, and the one that holds the identity: its text is put in as
	// it is, and is no glob. Default: none.
	Accounts []string `json:"accounts,omitempty"`

	// What they may call, as rules: `<methods> <host>/<path>`, with `!` in front
	// what they may not. Default: everything, where there are no presets.
	Allow []string `json:"allow,omitempty"`

	// What they may call, as names of presets. Default: none.
	Presets []string `json:"presets,omitempty"`

	// Whether they may use the management API and the console.
	// Default: `false`.
	Admin bool `json:"admin,omitempty"`
}

// Proxy passes calls on to APIs with the account's access token.
//
// In the path form, which is every prefix but `/`, a call names its account and
// its API host in the path: `<prefix>/<account>/<api-host>/<path>`. In the
// origin form, which is the prefix `/`, both are configured, and the proxy is
// alone on its site.
type Proxy struct {
	// Whether there is no proxy. Default: `false`.
	Off bool `json:"off,omitempty"`

	// The path that the proxy is at. Default: `/proxy`.
	Prefix string `json:"prefix,omitempty"`

	// Addresses at which API hosts are reached, in place of what DNS says.
	// Default: none.
	Upstreams []*Upstream `json:"upstreams,omitempty"`

	// The API host of calls that name none, by provider. Default:
	// `www.googleapis.com` for Google, the cloud's Graph host for Microsoft, the
	// only API host of an `oauth2` provider.
	DefaultHosts map[string]string `json:"default_hosts,omitempty"`

	// How large a request body may be to be sent again after a 401.
	// Default: `64KiB`.
	ReplayLimit Size `json:"replay_limit,omitzero"`

	// More response members whose URLs are rewritten. Default: none.
	Rewrites []*Rewrite `json:"rewrites,omitempty"`

	// More hosts of URLs that carry their own authority, for uploads, downloads
	// and the progress of a call: callers get handles in the place of such URLs.
	// `*.` at the beginning is any name below; a port other than 443 must be
	// written, and `http` is for a loopback address that is written in full.
	// Default: none, beside Microsoft's own.
	HandleHosts []string `json:"handle_hosts,omitempty"`

	// The transport to the APIs: Caddy's own `http` transport, with
	// `"protocol": "http"`. It must not skip the verification of certificates,
	// leave ports without TLS, set the server name, send the PROXY protocol, or
	// speak `h2c` or HTTP/3. Default: that transport's defaults, but for these:
	// `versions` is `["1.1"]`, so that no call waits behind a large body or a lost
	// packet of another, as it does where all share one HTTP/2 connection; up to
	// 256 idle connections for each host, kept for a minute;
	// `expect_continue_timeout` is `1s`; `compression` is `false`.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	// The account of the origin form: `key` for the one account that the key is
	// bound to, or an account's ID. Takes placeholders, those of the request
	// included: what they come to must be within the key's or the identity's
	// reach. Required in the origin form, refused in the path form.
	Account string `json:"account,omitempty"`

	// The API host of the origin form. Takes placeholders; required in the
	// origin form, refused in the path form.
	APIHost string `json:"api_host,omitempty"`
}

// Upstream is the address at which an API host is reached. Server name,
// certificate and `Host` stay the API host's.
type Upstream struct {
	// The API host; required. Takes placeholders.
	Host string `json:"host,omitempty"`

	// Scheme, address and port; `http` only to a loopback address. Takes
	// placeholders; required.
	URL string `json:"url,omitempty"`
}

// Rewrite names a response member whose URL is rewritten to go through the
// proxy, in JSON, at top level or in an object that has an array `value`.
type Rewrite struct {
	// The member's name; required.
	Member string `json:"member,omitempty"`

	// The API paths on which it is rewritten, percent-encoded as callers write
	// them, as a glob: `*` is any run of characters without `/`, `**` any run.
	// Default: every path.
	Path string `json:"path,omitempty"`
}
