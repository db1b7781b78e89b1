package fakeprovider

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// AuthMethod is a client authentication method, by its registered name
// (RFC 8414 section 2, RFC 7591 section 2).
type AuthMethod string

// The client authentication methods.
const (
	ClientSecretBasic AuthMethod = "client_secret_basic"
	ClientSecretPost  AuthMethod = "client_secret_post"
	ClientNone        AuthMethod = "none"
	PrivateKeyJWT     AuthMethod = "private_key_jwt"
)

var authMethods = []AuthMethod{ClientSecretBasic, ClientSecretPost, ClientNone, PrivateKeyJWT}

// Dialect is whose manners an answer has: the form of its errors, and whether
// one grant gives tokens for several audiences.
type Dialect string

// The dialects.
const (
	// OAuth2 keeps to RFC 6749.
	OAuth2 Dialect = "oauth2"
	// Google words its errors as Google does, and a revoked token takes all
	// of its subject's grants to the client along.
	Google Dialect = "google"
	// Microsoft answers errors with AADSTS numbers and binds each access token
	// to the one audience that its scopes name.
	Microsoft Dialect = "microsoft"
)

// Client is a registered OAuth client.
type Client struct {
	ID string `json:"client_id"`
	// Secrets are all valid. Empty for a public client.
	Secrets []string `json:"client_secrets,omitempty"`
	// Keys are certificates (Microsoft's dialect wants one) or public keys in
	// PEM that a client assertion may be signed for.
	Keys []string `json:"keys,omitempty"`
	// AuthMethods are those allowed. Default: basic and post with secrets,
	// private_key_jwt with keys, none without either.
	AuthMethods []AuthMethod `json:"auth_methods,omitempty"`
	// Dialect of the answers. Default: [OAuth2].
	Dialect Dialect `json:"dialect,omitempty"`
	// Rotation overrides the server's. Default: the server's.
	Rotation *Rotation `json:"rotation,omitempty"`
	// Narrowing is what a refresh request's scope does. Default: [NarrowingHonored].
	Narrowing Narrowing `json:"narrowing,omitempty"`

	// RedirectURIs are where codes may be sent.
	RedirectURIs []string `json:"redirect_uris,omitempty"`
	// Native is set for an application on the person's own machine: its
	// redirect URI is on the loopback interface with any port (RFC 8252
	// section 7.3). At Google it registers none: that is a desktop client. At
	// Microsoft any port of http://localhost will do without.
	Native bool `json:"native,omitempty"`
	// RequirePKCE wants a code challenge. Public clients need one always.
	RequirePKCE bool `json:"require_pkce,omitempty"`
	// Scopes are all that may be asked for. Default: anything.
	Scopes []string `json:"scopes,omitempty"`
	// DeviceFlow allows the device authorization grant (RFC 8628).
	DeviceFlow bool `json:"device_flow,omitempty"`
	// ClientCredentials allows the grant of that name.
	ClientCredentials bool `json:"client_credentials,omitempty"`
	// Tenant is the only one whose people may sign in, by its ID; none for an
	// application of many tenants (Microsoft).
	Tenant string `json:"tenant,omitempty"`
	// Testers are the addresses of the only people who may sign in: the
	// publishing status is "testing" (Google).
	Testers []string `json:"testers,omitempty"`

	keys []clientKey
}

// DefaultClient is registered from the start, and the client of grants that
// name none. It is sent its codes at any port of the loopback interface.
var DefaultClient = Client{
	ID:          "bellhop",
	Secrets:     []string{"bellhop-secret"},
	AuthMethods: []AuthMethod{ClientSecretBasic, ClientSecretPost},
	Dialect:     OAuth2,

	RedirectURIs: []string{"http://127.0.0.1/oauth/callback"},
	Native:       true,
	DeviceFlow:   true,
}

// RegisterClient registers client, or replaces the one with its ID: so secrets
// are changed while the server runs.
func (s *Server) RegisterClient(client Client) error {
	if client.ID == "" {
		return errors.New("client_id is empty")
	}
	if client.Dialect == "" {
		client.Dialect = OAuth2
	}
	if !slices.Contains([]Dialect{OAuth2, Google, Microsoft}, client.Dialect) {
		return fmt.Errorf("unknown dialect %q", client.Dialect)
	}
	if !slices.Contains([]Narrowing{NarrowingHonored, NarrowingIgnored, NarrowingUnsaid}, client.Narrowing) {
		return fmt.Errorf("unknown narrowing %q", client.Narrowing)
	}
	for _, uri := range client.RedirectURIs {
		if err := checkRedirectURI(uri); err != nil {
			return err
		}
	}
	if client.Tenant != "" && !guidForm.MatchString(client.Tenant) {
		return errors.New("tenant is not a GUID in lower case")
	}
	client.keys = nil
	for _, text := range client.Keys {
		key, err := parseClientKey(text)
		if err != nil {
			return err
		}
		client.keys = append(client.keys, key)
	}
	if len(client.AuthMethods) == 0 {
		client.AuthMethods = client.usualMethods()
	}
	for _, method := range client.AuthMethods {
		if !slices.Contains(authMethods, method) {
			return fmt.Errorf("unknown client authentication method %q", method)
		}
	}
	client.Secrets = slices.Clone(client.Secrets)
	client.RedirectURIs = slices.Clone(client.RedirectURIs)
	client.Scopes, client.Testers = slices.Clone(client.Scopes), slices.Clone(client.Testers)
	client.AuthMethods = slices.Clone(client.AuthMethods)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[client.ID] = client
	return nil
}

func (c Client) usualMethods() (methods []AuthMethod) {
	if len(c.Secrets) > 0 {
		methods = append(methods, ClientSecretBasic, ClientSecretPost)
	}
	if len(c.keys) > 0 {
		methods = append(methods, PrivateKeyJWT)
	}
	if len(methods) == 0 {
		methods = []AuthMethod{ClientNone}
	}
	return methods
}

// credentials are what a request presented to authenticate its client.
type credentials struct {
	id, secret string
	method     AuthMethod
	// assertion and its type are for private_key_jwt, audiences what it may be
	// made out to.
	assertion, assertionType string
	audiences                []string
	// malformed is set for more than one method at once (RFC 6749 section
	// 2.3) and for a Basic header that does not decode.
	malformed bool
}

func presentedCredentials(r *http.Request, form url.Values) credentials {
	id, secret, basic := r.BasicAuth()
	if !basic {
		c := credentials{id: form.Get("client_id"), method: ClientNone}
		if form.Has("client_secret") {
			c.secret, c.method = form.Get("client_secret"), ClientSecretPost
		}
		c.malformed = r.Header.Get("Authorization") != ""
		if form.Has("client_assertion") {
			c.malformed = c.malformed || form.Has("client_secret")
			c.id, c.method = assertedClient(form), PrivateKeyJWT
			c.assertion, c.assertionType = form.Get("client_assertion"), form.Get("client_assertion_type")
			c.audiences = audiencesOf(r)
		}
		return c
	}
	// Both halves are form-encoded inside the Basic value: section 2.3.1.
	decodedID, idErr := url.QueryUnescape(id)
	decodedSecret, secretErr := url.QueryUnescape(secret)
	return credentials{
		id: decodedID, secret: decodedSecret, method: ClientSecretBasic,
		malformed: idErr != nil || secretErr != nil || form.Has("client_secret") || form.Has("client_assertion") ||
			(form.Has("client_id") && form.Get("client_id") != decodedID),
	}
}

// authenticate returns the client that presented c. The caller holds mu.
func (s *Server) authenticate(c credentials) (Client, *refusal) {
	client, known := s.clients[c.id]
	switch {
	case c.malformed:
		return client, refusedRequest("client authentication is malformed or given twice")
	case c.id == "":
		return client, refusedRequest("client_id is missing")
	case !known:
		return client, unknownClient
	case !slices.Contains(client.AuthMethods, c.method):
		return client, wrongSecret
	case c.method == ClientNone:
		return client, nil
	case c.method == PrivateKeyJWT:
		return client, s.checkAssertion(client, c)
	}
	for _, secret := range client.Secrets {
		if subtle.ConstantTimeCompare([]byte(secret), []byte(c.secret)) == 1 {
			return client, nil
		}
	}
	return client, wrongSecret
}
