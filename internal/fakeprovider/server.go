// Package fakeprovider is a small OAuth 2 and OpenID Connect authorization
// server (RFC 6749, 7009, 7523, 7636, 8414, 8628) with APIs behind it that look like Gmail's, Google Drive's and
// Microsoft Graph's. It serves the demo, runs as a process of its own, and lets
// tests script every way in which a real provider answers late, wrongly or not
// at all.
//
// People consent on its pages, or by [Server.Consent] and [Server.DecideDevice]
// where no browser is. Clients authenticate, and their requests are judged, as
// Google, Microsoft or a plain server would, each in its dialect; codes, device
// codes, verifiers and assertions are good once and for what they were made
// for.
//
// The APIs page, batch, and take uploads whole, resumable and by upload
// session; they hand out links at the real hosts and URLs that carry their own
// authority, and have discovery documents. They are told apart by path, and
// where they came by a name, that has to be the API's: a proxy keeps it.
//
// It is strict where real providers are: a refresh token that was rotated away
// and comes back ends its whole grant (RFC 9700 section 4.14.2), the APIs take
// none but live tokens of this server, and none at all where none belongs, and
// ranges, sizes and envelopes have to be as documented. A request with a key of
// the proxy in front is refused and counted. Everything is kept in memory, but
// of long files no more than their digests. The control interface needs no credentials, so serve it on loopback only.
package fakeprovider

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultTokenLife is how long access tokens live unless told otherwise.
const DefaultTokenLife = 60 * time.Second

// Options configure a [Server]. The zero value is useful.
type Options struct {
	// TokenLife is the life of access tokens. Default: [DefaultTokenLife].
	TokenLife time.Duration
	// Rotation says what happens to refresh tokens. Default: single use.
	Rotation Rotation
	// AccessTokenPrefix and RefreshTokenPrefix begin every token, so that a
	// test can search for them. Default: "ya29.fake-" and "1//fake-".
	AccessTokenPrefix, RefreshTokenPrefix string
	// RedirectURIs are [DefaultClient]'s, beside its own.
	RedirectURIs []string
	// RequirePKCE and IssParameter are as in [Settings].
	RequirePKCE, IssParameter bool
	// Now is the clock. Default: [time.Now].
	Now func() time.Time
}

// Settings are what may be changed while the server runs. They hold for tokens
// issued and presented from then on.
type Settings struct {
	TokenLife          Duration `json:"token_life"`
	Rotation           Rotation `json:"rotation"`
	AccessTokenPrefix  string   `json:"access_token_prefix"`
	RefreshTokenPrefix string   `json:"refresh_token_prefix"`
	// EchoAuthorization makes /echo/ show the Authorization header as it came
	// instead of a marker with the access token's number.
	EchoAuthorization bool `json:"echo_authorization"`
	// Compress makes the APIs answer JSON in gzip to who accepts it.
	Compress bool `json:"compress"`
	// RequirePKCE wants a code challenge of every client.
	RequirePKCE bool `json:"require_pkce"`
	// IssParameter adds "iss" to authorization answers and says so in the
	// metadata (RFC 9207).
	IssParameter bool `json:"iss_parameter"`
	// Issuer is the "iss" outside Microsoft's dialect. Default: where the
	// request came to.
	Issuer string `json:"issuer"`
	// LeanIDTokens leaves but the subject in ID tokens of the OAuth2 dialect;
	// the userinfo endpoint says the rest.
	LeanIDTokens bool `json:"lean_id_tokens"`
}

// Server is the authorization server, the API and the control interface, told
// apart by path. It is safe for concurrent use.
type Server struct {
	initial Settings
	first   Client
	now     func() time.Time
	auth    *http.ServeMux
	api     *http.ServeMux
	control *http.ServeMux
	gates   *gates

	mu       sync.Mutex
	settings Settings
	offset   time.Duration
	clients  map[string]Client
	grants   map[string]*grant
	order    []string // of grants, by creation
	refresh  map[string]*refreshToken
	access   map[string]*accessToken
	faults   []*Fault
	faultID  int
	totals   Counters
	log      []*TokenRequest
	drives   map[string]*drive // by grant
	uploads  []*file           // oldest first
	sessions map[string]*session
	links    map[string]*link // by the secret in them
	drafts   map[string]*grant

	people         []Person
	tenants        []Tenant
	codes          map[string]*authorizationCode
	authorizations []*AuthorizeRequest
	devices        map[string]*device
	adminConsents  map[adminConsent]bool
	assertionIDs   map[string]bool // that were used
	// serviceAccounts are by address, workloads by audience, federated by the
	// value of the token.
	serviceAccounts map[string]ServiceAccount
	workloads       map[string]Workload
	federated       map[string]federated
	keyNumber       int // of [signingKeys]
}

// New returns a server that knows one client, [DefaultClient], and no grant.
func New(opts Options) *Server {
	s := &Server{
		initial: Settings{
			TokenLife:          Duration(opts.TokenLife),
			Rotation:           opts.Rotation,
			AccessTokenPrefix:  opts.AccessTokenPrefix,
			RefreshTokenPrefix: opts.RefreshTokenPrefix,
			RequirePKCE:        opts.RequirePKCE,
			IssParameter:       opts.IssParameter,
		},
		now:   opts.Now,
		gates: newGates(),
	}
	if s.initial.TokenLife <= 0 {
		s.initial.TokenLife = Duration(DefaultTokenLife)
	}
	if s.initial.Rotation == (Rotation{}) {
		s.initial.Rotation = Rotation{Policy: SingleUse}
	}
	if s.initial.AccessTokenPrefix == "" {
		s.initial.AccessTokenPrefix = "ya29.fake-"
	}
	if s.initial.RefreshTokenPrefix == "" {
		s.initial.RefreshTokenPrefix = "1//fake-"
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.first = DefaultClient
	s.first.RedirectURIs = slices.Concat(DefaultClient.RedirectURIs, opts.RedirectURIs)
	s.auth = s.authorizationRoutes()
	s.api = s.apiRoutes()
	s.control = s.controlRoutes()
	s.Reset()
	return s
}

// ServeHTTP implements [http.Handler]. A fault that breaks the connection
// panics with [http.ErrAbortHandler], as net/http wants it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	hasPrefix := func(prefix string) bool { return strings.HasPrefix(path, prefix) }
	switch {
	case hasPrefix("/control/") && addressedByIP(r):
		s.control.ServeHTTP(w, r)
	case leaksKey(r):
		s.refuseLeak(w)
	case hasPrefix("/echo/") || path == "/echo":
		// Past the mux, which would clean the path that is to be echoed.
		s.compressed(w, r, s.authenticated(s.echo))
	case slices.ContainsFunc(apiPrefixes, hasPrefix):
		s.compressed(w, r, s.api)
	default:
		s.auth.ServeHTTP(w, r)
	}
}

// addressedByIP keeps the control interface from who reaches the server under
// an API's name, through a proxy: it has no other guard.
func addressedByIP(r *http.Request) bool {
	host := hostname(r)
	return host == "localhost" || net.ParseIP(strings.Trim(host, "[]")) != nil
}

// hostname is the host that the request came to, without a port.
func hostname(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// Reset forgets grants, clients, people, tokens, files, faults, counters and
// settings made since [New], puts the clock back, and lets every held request go.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = s.initial
	s.offset = 0
	s.clients = map[string]Client{s.first.ID: s.first}
	s.grants = map[string]*grant{}
	s.order = nil
	s.refresh = map[string]*refreshToken{}
	s.access = map[string]*accessToken{}
	s.faults = nil
	s.totals = Counters{}
	s.log = nil
	s.drives = map[string]*drive{}
	s.uploads = nil
	s.sessions = map[string]*session{}
	s.links = map[string]*link{}
	s.drafts = map[string]*grant{}
	s.people = nil
	for _, person := range DefaultPeople {
		_ = person.complete() // they are complete enough
		s.people = append(s.people, person)
	}
	s.tenants = []Tenant{DefaultTenant}
	s.codes = map[string]*authorizationCode{}
	s.authorizations = nil
	s.devices = map[string]*device{}
	s.adminConsents = map[adminConsent]bool{}
	s.assertionIDs = map[string]bool{}
	s.serviceAccounts = map[string]ServiceAccount{}
	s.workloads = map[string]Workload{}
	s.federated = map[string]federated{}
	s.keyNumber = 0
	s.gates.releaseAll()
}

// Settings returns the settings in force.
func (s *Server) Settings() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

// Configure changes the settings by change, which sees those in force. The
// error is change's own, and then nothing changes.
func (s *Server) Configure(change func(*Settings) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.settings
	if err := change(&next); err != nil {
		return err
	}
	s.settings = next
	return nil
}

// Advance moves the server's clock by d, which may be negative, and returns
// the new time. Held and delayed requests wait in real time all the same.
func (s *Server) Advance(d time.Duration) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
	return s.clock()
}

// clock is the server's time. The caller holds mu.
func (s *Server) clock() time.Time { return s.now().Add(s.offset) }
