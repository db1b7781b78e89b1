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
)

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
	// AuthMethods are those allowed. Default: basic and post with secrets,
	// none without.
	AuthMethods []AuthMethod `json:"auth_methods,omitempty"`
	// Dialect of the answers. Default: [OAuth2].
	Dialect Dialect `json:"dialect,omitempty"`
	// Rotation overrides the server's. Default: the server's.
	Rotation *Rotation `json:"rotation,omitempty"`
}

// DefaultClient is registered from the start, and the client of grants that
// name none.
var DefaultClient = Client{
	ID:          "bellhop",
	Secrets:     []string{"bellhop-secret"},
	AuthMethods: []AuthMethod{ClientSecretBasic, ClientSecretPost},
	Dialect:     OAuth2,
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
	if len(client.AuthMethods) == 0 {
		client.AuthMethods = []AuthMethod{ClientSecretBasic, ClientSecretPost}
		if len(client.Secrets) == 0 {
			client.AuthMethods = []AuthMethod{ClientNone}
		}
	}
	for _, method := range client.AuthMethods {
		if !slices.Contains([]AuthMethod{ClientSecretBasic, ClientSecretPost, ClientNone}, method) {
			return fmt.Errorf("unknown client authentication method %q", method)
		}
	}
	client.Secrets = slices.Clone(client.Secrets)
	client.AuthMethods = slices.Clone(client.AuthMethods)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[client.ID] = client
	return nil
}

// credentials are what a request presented to authenticate its client.
type credentials struct {
	id, secret string
	method     AuthMethod
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
		return c
	}
	// Both halves are form-encoded inside the Basic value: section 2.3.1.
	decodedID, idErr := url.QueryUnescape(id)
	decodedSecret, secretErr := url.QueryUnescape(secret)
	return credentials{
		id: decodedID, secret: decodedSecret, method: ClientSecretBasic,
		malformed: idErr != nil || secretErr != nil || form.Has("client_secret") ||
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
	}
	for _, secret := range client.Secrets {
		if subtle.ConstantTimeCompare([]byte(secret), []byte(c.secret)) == 1 {
			return client, nil
		}
	}
	return client, wrongSecret
}
