package provider

import (
	"cmp"
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

	"github.com/go-jose/go-jose/v4"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/glob"
	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// serviceAccount is a service account of Google's that acts for the users of a
// Google Workspace: domain-wide delegation, by assertions that name the user
// (RFC 7523 section 2.1).
type serviceAccount struct {
	*common
	endpoint string
	// clientID is the number that the Admin console knows the service account
	// by; empty where the credentials do not say it. The address is in cfg.
	clientID string
	signer   jwtSigner
	// subjects and except are globs of addresses in lower case.
	subjects, except []string
}

// jwtSigner signs the claims of an assertion as the service account.
type jwtSigner interface {
	sign(ctx context.Context, claims []byte) (string, *account.Failure)
}

const (
	// jwtBearer is the grant type of RFC 7523 section 2.1.
	jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer" //nolint:gosec // the name of a grant type
	// jwtBearerLife is the longest that Google accepts. The access token lives
	// as long.
	jwtBearerLife = time.Hour
	// jwtBearerSlack is how far the server's clock may be ahead of Google's.
	jwtBearerSlack = 10 * time.Second
)

// googleCredentials is a credentials file of Google's, of whichever type.
type googleCredentials struct {
	Type           string `json:"type"`
	UniverseDomain string `json:"universe_domain"`

	// A service account's key.
	ClientEmail  string        `json:"client_email"`
	ClientID     string        `json:"client_id"`
	PrivateKey   secret.String `json:"-"`
	PrivateKeyID string        `json:"private_key_id"`
	TokenURI     string        `json:"token_uri"`

	// Workload identity federation, and the impersonation of a service account.
	externalAccount
	ImpersonationURL  string          `json:"service_account_impersonation_url"`
	Delegates         []string        `json:"delegates"`
	SourceCredentials json.RawMessage `json:"source_credentials"`
}

// The types of credentials files.
const (
	typeServiceAccountKey = "service_account"
	typeExternalAccount   = "external_account"
	typeImpersonated      = "impersonated_service_account"
)

// parseGoogleCredentials reads a credentials file. Its errors say nothing of
// what is secret in it.
func parseGoogleCredentials(text secret.String) (*googleCredentials, error) {
	c := new(googleCredentials)
	var key struct {
		PrivateKey string `json:"private_key"`
	}
	if json.Unmarshal([]byte(text.Reveal()), c) != nil || json.Unmarshal([]byte(text.Reveal()), &key) != nil {
		return nil, errors.New("is not a JSON credentials file of Google's")
	}
	c.PrivateKey = secret.New(key.PrivateKey)
	if c.UniverseDomain != "" && c.UniverseDomain != "googleapis.com" {
		return nil, fmt.Errorf("universe_domain %q: users are at googleapis.com only", c.UniverseDomain)
	}
	return c, nil
}

func newServiceAccount(cfg Config, transport http.RoundTripper) (Provider, error) {
	if cfg.Credentials.IsZero() {
		return nil, errors.New("credentials_file: is missing")
	}
	if len(cfg.Scopes) == 0 {
		return nil, errors.New("scopes: is missing")
	}
	credentials, err := parseGoogleCredentials(cfg.Credentials)
	if err != nil {
		return nil, fmt.Errorf("credentials_file: %w", err)
	}
	s := &serviceAccount{}
	if s.subjects, s.except, err = parseSubjects(cfg); err != nil {
		return nil, err
	}
	cfg.AuthStyle, cfg.Rotation.Kind = StyleNone, account.RotationNone
	// The address, which every kind of credentials has: whoever goes over from
	// a key to federation keeps the accounts.
	if cfg.ClientID, err = credentials.serviceAccount(); err != nil {
		return nil, fmt.Errorf("credentials_file: %w", err)
	}
	if s.common, err = newCommon(cfg, transport, own(googleHosts...)); err != nil {
		return nil, err
	}
	s.clientID = credentials.ClientID
	s.endpoint = cmp.Or(cfg.TokenEndpoint, credentials.TokenURI, googleMetadata.TokenEndpoint)
	if cfg.TokenEndpoint == "" {
		if err := checkGoogleEndpoint(s.endpoint, "oauth2", "accounts"); err != nil {
			return nil, fmt.Errorf("credentials_file: token_uri: %w", err)
		}
	}
	if s.signer, err = newJWTSigner(credentials, s.client); err != nil {
		return nil, fmt.Errorf("credentials_file: %w", err)
	}
	return s, nil
}

// serviceAccount is the address of the service account that signs.
func (c *googleCredentials) serviceAccount() (string, error) {
	switch {
	case c.Type == typeServiceAccountKey && c.ClientEmail == "":
		return "", errors.New("client_email is missing")
	case c.Type == typeServiceAccountKey:
		return c.ClientEmail, nil
	case c.Type == typeExternalAccount && c.ImpersonationURL == "":
		return "", errors.New("service_account_impersonation_url is missing: only a service account can be delegated a domain's users, so grant the federated identity the impersonation of one")
	case c.Type == typeExternalAccount, c.Type == typeImpersonated:
		return impersonated(c.ImpersonationURL)
	case c.Type == "authorized_user":
		return "", errors.New("type authorized_user is a person's grant: import it with `oauth import json`, to a provider of type google")
	}
	return "", fmt.Errorf("type %q is none of service_account, external_account and impersonated_service_account", c.Type)
}

func newJWTSigner(c *googleCredentials, client *client) (jwtSigner, error) {
	if c.Type == typeServiceAccountKey {
		return newKeySigner(c)
	}
	return newRemoteSigner(c, client)
}

// keySigner signs with the service account's own key.
type keySigner struct{ jose.Signer }

func newKeySigner(c *googleCredentials) (*keySigner, error) {
	if c.PrivateKey.IsZero() {
		return nil, errors.New("private_key is missing")
	}
	key, err := parsePrivateKey(c.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("private_key: %w", err)
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if c.PrivateKeyID != "" {
		options = options.WithHeader("kid", c.PrivateKeyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, options)
	if err != nil {
		return nil, errors.New("private_key: is no RSA key")
	}
	return &keySigner{signer}, nil
}

func (s *keySigner) sign(_ context.Context, claims []byte) (string, *account.Failure) {
	signed, err := s.Sign(claims)
	var assertion string
	if err == nil {
		assertion, err = signed.CompactSerialize()
	}
	if err != nil {
		return "", &account.Failure{
			Meaning: account.ClientMisconfigured,
			Reads:   "The service account's key signs nothing.", Mend: fixKey,
			Err: fmt.Errorf("signing assertion: %w", err),
		}
	}
	return assertion, nil
}

// subjectPattern is a glob of addresses that names their whole domain: "*"
// alone would be whichever domain is delegated one day.
var subjectPattern = regexp.MustCompile(`^[^@\s]+@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$`)

// address is the primary address of a user of a Google Workspace, in lower case.
// Other spellings are not taken for subjects: who is excepted might be meant by
// one, or who is registered under the address and switched off.
var address = regexp.MustCompile(`^[a-z0-9._'-]+@[a-z0-9.-]+$`)

func parseSubjects(cfg Config) (subjects, except []string, err error) {
	for _, pattern := range cfg.Subjects {
		folded := strings.ToLower(pattern)
		if !subjectPattern.MatchString(folded) {
			return nil, nil, fmt.Errorf("subjects: %q does not name a whole domain, as *@example.com does", pattern)
		}
		subjects = append(subjects, folded)
	}
	for _, pattern := range cfg.SubjectsExcept {
		if pattern == "" {
			return nil, nil, errors.New("subjects_except: is empty")
		}
		except = append(except, strings.ToLower(pattern))
	}
	return subjects, except, nil
}

func (s *serviceAccount) Covers(accountID string) bool {
	matches := func(pattern string) bool { return glob.Match(pattern, accountID) }
	return address.MatchString(accountID) && slices.ContainsFunc(s.subjects, matches) && !slices.ContainsFunc(s.except, matches)
}

func (s *serviceAccount) Shared() bool { return false }

// ServiceClientID is the number by which the Admin console knows the service
// account; empty where it is not known.
func (s *serviceAccount) ServiceClientID() string { return s.clientID }

// Keyless reports whether Google signs, with a key that nobody has.
func (s *serviceAccount) Keyless() bool {
	_, ok := s.signer.(*remoteSigner)
	return ok
}

func (s *serviceAccount) Scopes() []string            { return slices.Clone(s.cfg.Scopes) }
func (s *serviceAccount) TokenEndpoint(string) string { return s.endpoint }
func (s *serviceAccount) DefaultAudience() string     { return "" }

func (s *serviceAccount) Metadata(context.Context) (Metadata, error) {
	return Metadata{Issuer: googleMetadata.Issuer, TokenEndpoint: s.endpoint}, nil
}

func (s *serviceAccount) Audience(resourceOrHost string) (string, error) {
	return s.soleAudience(resourceOrHost)
}

func (s *serviceAccount) AudienceScopes(_ string, grantScopes []string) []string {
	if len(grantScopes) > 0 {
		return grantScopes
	}
	return s.Scopes()
}

func (s *serviceAccount) MissingScopes(requested, granted []string) []string {
	return missingScopes(requested, granted, googleScope)
}

func (s *serviceAccount) Refresh(ctx context.Context, req account.RefreshRequest) (account.Answer, error) {
	subject := cmp.Or(req.User, req.Account)
	if subject == "" {
		// Without one the token would be the service account's own.
		return account.Answer{}, &account.Failure{Meaning: account.GrantDead, Reads: "The account names no user.", Mend: fixSubject}
	}
	scopes := asked(s, req)
	answer, failure := s.bearer(ctx, subject, scopes)
	if failure != nil && failure.Mend == fixDelegated {
		failure.Mend = s.delegation(scopes)
	}
	answer.Scopes = respelled(answer.Scopes, scopes, googleScope)
	return answer, asError(failure)
}

// bearer exchanges an assertion for an access token: the subject's, or without
// one the service account's own.
func (s *serviceAccount) bearer(ctx context.Context, subject string, scopes []string) (account.Answer, *account.Failure) {
	assertion, failure := s.signer.sign(ctx, s.claims(subject, scopes, time.Now()))
	if failure != nil {
		return account.Answer{}, spentNothing(failure)
	}
	form := url.Values{"grant_type": {jwtBearer}, "assertion": {assertion}}
	answer, failure := s.ask(ctx, s.endpoint, form, http.Header{}, secret.String{})
	answer.RefreshToken = secret.String{}
	return answer, spentNothing(failure)
}

// claims are those of an assertion (RFC 7523 section 3), with Google's own
// "scope".
func (s *serviceAccount) claims(subject string, scopes []string, now time.Time) []byte {
	issued := now.Add(-jwtBearerSlack)
	claims := map[string]any{
		"iss":   s.cfg.ClientID,
		"scope": strings.Join(scopes, " "),
		"aud":   s.endpoint,
		"iat":   issued.Unix(),
		"exp":   issued.Add(jwtBearerLife).Unix(),
	}
	if subject != "" {
		claims["sub"] = subject
	}
	// Strings and numbers always marshal.
	text, _ := json.Marshal(claims)
	return text
}

// delegation is the click that lets the service account act for users.
func (s *serviceAccount) delegation(scopes []string) string {
	client := s.clientID
	if client == "" {
		client = "of " + s.cfg.ClientID + " (its Unique ID in the Google Cloud console)"
	}
	return "In the Admin console, Security > Access and data control > API controls > Domain-wide delegation, add the client ID " +
		client + " with the scopes " + strings.Join(scopes, ",") + "; it can take some minutes, at most a day."
}

func (s *serviceAccount) Revoke(context.Context, secret.String) error {
	return &noRevocationError{where: "an administrator takes the service account's client ID out in the Admin console (Security > Access and data control > API controls > Domain-wide delegation)"}
}

// checkGoogleEndpoint refuses an endpoint that is not at one of Google's
// services, by its public name or a region's. A credentials file says where its
// own secrets are sent: one that was tampered with must not have a say.
// Loopback is for tests.
func checkGoogleEndpoint(raw string, services ...string) error {
	if err := checkEndpoint(raw); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("is not a URL")
	}
	if hostname.IsLoopback(u.Hostname()) {
		return nil
	}
	host := strings.ToLower(u.Host)
	for _, service := range services {
		if host == service+".googleapis.com" || host == service+".google.com" && service == "accounts" ||
			regionalHost.MatchString(host) && strings.HasPrefix(host, service+".") {
			return nil
		}
	}
	if host == googleDefaultHost && slices.Contains(services, "oauth2") {
		return nil // where older key files have it
	}
	return fmt.Errorf("%q is not Google's", host)
}

// regionalHost is a service's endpoint in one region.
var regionalHost = regexp.MustCompile(`^[a-z]+\.[a-z0-9-]+\.rep\.googleapis\.com$`)

// Interface guards
var _ Unattended = (*serviceAccount)(nil)
