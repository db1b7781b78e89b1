package provider

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google/externalaccount"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/hostname"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// remoteSigner has Google sign as a service account whose key nobody has
// (signJwt of the IAM Service Account Credentials API). Who asks proves itself
// with a token of its own: a federated one, or another service account's.
type remoteSigner struct {
	client    *client
	endpoint  string
	email     string
	delegates []string
	// authority gives the token of who asks.
	authority func(ctx context.Context) (secret.String, *account.Failure)
}

// externalAccount is what is read of workload identity federation's
// configuration.
type externalAccount struct {
	Audience         string                            `json:"audience"`
	SubjectTokenType string                            `json:"subject_token_type"`
	TokenURL         string                            `json:"token_url"`
	CredentialSource *externalaccount.CredentialSource `json:"credential_source"`
}

const (
	cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"
	// googleSTS is where federated tokens come from (RFC 8693).
	googleSTS = "https://sts.googleapis.com/v1/token"
)

// impersonation is the URL by which a credentials file names the service
// account that is acted as.
var impersonation = regexp.MustCompile(`^(https?://[^/]+/v1/projects/-/serviceAccounts/([^/:]+@[^/:]+)):generateAccessToken$`)

// impersonated is the address of the service account in such a URL.
func impersonated(raw string) (string, error) {
	found := impersonation.FindStringSubmatch(raw)
	if found == nil {
		return "", errors.New("service_account_impersonation_url is not …/v1/projects/-/serviceAccounts/<address>:generateAccessToken")
	}
	return url.PathUnescape(found[2])
}

func newRemoteSigner(c *googleCredentials, client *client) (*remoteSigner, error) {
	if err := checkGoogleEndpoint(c.ImpersonationURL, "iamcredentials"); err != nil {
		return nil, fmt.Errorf("service_account_impersonation_url: %w", err)
	}
	email, err := impersonated(c.ImpersonationURL)
	if err != nil {
		return nil, err
	}
	s := &remoteSigner{
		client: client, email: email, delegates: c.Delegates,
		endpoint: impersonation.FindStringSubmatch(c.ImpersonationURL)[1] + ":signJwt",
	}
	source := c
	if c.Type == typeImpersonated {
		if source, err = parseGoogleCredentials(secret.New(string(c.SourceCredentials))); err != nil {
			return nil, fmt.Errorf("source_credentials: %w", err)
		}
	}
	switch source.Type {
	case typeExternalAccount:
		s.authority, err = newFederation(&source.externalAccount, client)
	case typeServiceAccountKey:
		s.authority, err = newKeyAuthority(source, client)
	default:
		err = fmt.Errorf("type %q is neither external_account nor service_account", source.Type)
	}
	if err != nil && source != c {
		err = fmt.Errorf("source_credentials: %w", err)
	}
	return s, err
}

// newKeyAuthority is a service account that asks with its own key.
func newKeyAuthority(c *googleCredentials, client *client) (func(context.Context) (secret.String, *account.Failure), error) {
	email, err := c.serviceAccount()
	if err != nil {
		return nil, err
	}
	signer, err := newKeySigner(c)
	if err != nil {
		return nil, err
	}
	endpoint := cmp.Or(c.TokenURI, googleMetadata.TokenEndpoint)
	if err := checkGoogleEndpoint(endpoint, "oauth2", "accounts"); err != nil {
		return nil, fmt.Errorf("token_uri: %w", err)
	}
	self := &serviceAccount{common: &common{cfg: Config{ClientID: email, Type: TypeGoogleServiceAccount}, client: client}, endpoint: endpoint, signer: signer}
	return func(ctx context.Context) (secret.String, *account.Failure) {
		answer, failure := self.bearer(ctx, "", []string{cloudPlatform})
		return answer.AccessToken, failure
	}, nil
}

// newFederation is workload identity federation: a token of another provider's
// is exchanged for one of Google's.
func newFederation(e *externalAccount, client *client) (func(context.Context) (secret.String, *account.Failure), error) {
	endpoint := cmp.Or(e.TokenURL, googleSTS)
	if err := checkGoogleEndpoint(endpoint, "sts"); err != nil {
		return nil, fmt.Errorf("token_url: %w", err)
	}
	if err := checkSource(e.CredentialSource); err != nil {
		return nil, fmt.Errorf("credential_source: %w", err)
	}
	last := &lastAnswer{base: client.http.Transport, endpoint: endpoint}
	// The token is kept until it ends, by a source that outlives the request
	// which happened to be the first.
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{
		Transport: last, CheckRedirect: client.http.CheckRedirect, Timeout: client.timeout,
	})
	source, err := externalaccount.NewTokenSource(ctx, externalaccount.Config{
		Audience: e.Audience, SubjectTokenType: e.SubjectTokenType, TokenURL: endpoint,
		CredentialSource: e.CredentialSource, Scopes: []string{cloudPlatform},
	})
	if err != nil {
		return nil, errors.New("audience, subject_token_type or credential_source is missing")
	}
	turn := make(chan struct{}, 1) // full while somebody has it
	return func(ctx context.Context) (secret.String, *account.Failure) {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return secret.String{}, &account.Failure{Meaning: account.ProviderDown, Reads: "Google's token exchange did not answer in time."}
		}
		last.asked, last.refusal = false, nil
		token, err := source.Token()
		if err == nil {
			return secret.New(token.AccessToken), nil
		}
		return secret.String{}, last.failure()
	}, nil
}

// checkSource refuses sources that run a program, and those whose request would
// go out in clear: but to this machine, or to the metadata service of its cloud.
func checkSource(s *externalaccount.CredentialSource) error {
	switch {
	case s == nil:
		return errors.New("is missing")
	case s.Executable != nil:
		return errors.New("executable: programs are not run; have one write the token to a file, and name that")
	case s.File == "" && s.URL == "" && !strings.HasPrefix(s.EnvironmentID, "aws"):
		return errors.New("has neither a file nor a url, nor environment_id aws1")
	}
	for _, e := range []struct{ name, value string }{
		{"url", s.URL},
		{"region_url", s.RegionURL},
		{"imdsv2_session_token_url", s.IMDSv2SessionTokenURL},
		{"regional_cred_verification_url", strings.ReplaceAll(s.RegionalCredVerificationURL, "{region}", "region")},
	} {
		if e.value == "" {
			continue
		}
		if u, err := url.Parse(e.value); err == nil && u.Scheme == "http" && u.User == nil && isMetadataService(u.Hostname()) {
			continue
		}
		if err := checkEndpoint(e.value); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return nil
}

// isMetadataService reports whether a host is that of a cloud's metadata
// service, which is never further than the machine's own host.
func isMetadataService(host string) bool {
	return host == "169.254.169.254" || host == "fd00:ec2::254" || hostname.IsLoopback(host)
}

// lastAnswer remembers the last answer of the token exchange, since the library
// makes a text of it. It serves one exchange at a time.
type lastAnswer struct {
	base     http.RoundTripper
	endpoint string

	asked   bool
	refusal *response
}

// RoundTrip implements [http.RoundTripper].
func (l *lastAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.base.RoundTrip(r)
	if r.URL.String() != l.endpoint {
		return resp, err
	}
	if l.asked, l.refusal = true, nil; err != nil || resp.StatusCode/100 == 2 {
		return resp, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	l.refusal = &response{status: resp.StatusCode, header: resp.Header, body: body}
	return resp, err
}

// failure sorts why there is no federated token. What the library says of it
// may quote what the other provider answered, tokens included.
func (l *lastAnswer) failure() *account.Failure {
	switch {
	case !l.asked:
		return &account.Failure{
			Meaning: account.ClientMisconfigured,
			Reads:   "There is no token to exchange: the file or URL of credential_source gave none.",
			Mend:    "Check credential_source in the credentials file, and who writes or serves that token.",
		}
	case l.refusal == nil:
		return &account.Failure{Meaning: account.ProviderDown, Reads: "Google's token exchange could not be reached, or its answer made no sense."}
	}
	f := sortError(TypeGoogleServiceAccount, l.refusal, parseMembers(l.refusal.body, l.refusal.header))
	f.Description = "" // what it quotes is not known here
	if f.Meaning != account.Throttled && f.Code != "" {
		f.Meaning = account.ClientMisconfigured
		f.Reads = "Google does not take the token of credential_source in exchange."
		f.Mend = "Check audience and subject_token_type in the credentials file against the workload identity pool's provider, and the attribute condition there."
	}
	return f
}

// sign implements [jwtSigner].
func (s *remoteSigner) sign(ctx context.Context, claims []byte) (string, *account.Failure) {
	token, failure := s.authority(ctx)
	if failure != nil {
		return "", failure
	}
	// Strings always marshal.
	body, _ := json.Marshal(struct {
		Payload   string   `json:"payload"`
		Delegates []string `json:"delegates,omitempty"`
	}{string(claims), s.delegates})
	req, err := http.NewRequest(http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		return "", &account.Failure{Meaning: account.ClientMisconfigured, Reads: "The URL of signJwt is none.", Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	resp, err := s.client.do(ctx, req)
	if err != nil {
		return "", unanswered(err)
	}
	signed := parseMembers(resp.body, resp.header).text("signedJwt")
	if resp.status != http.StatusOK || signed == "" {
		return "", s.refused(resp)
	}
	return signed, nil
}

// refused sorts an error of Google's APIs (google.rpc.Status).
func (s *remoteSigner) refused(resp *response) *account.Failure {
	var said struct {
		Error struct {
			Status string `json:"status"`
		} `json:"error"`
	}
	_ = json.Unmarshal(resp.body, &said) // without a status the HTTP status decides
	f := oddAnswer(resp, account.ProviderDown, "Google's signJwt did not sign.")
	f.Code, f.Mend = readable(strings.ToLower(said.Error.Status)), nothingToDo
	switch resp.status {
	case http.StatusTooManyRequests:
		f.Meaning = account.Throttled
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		f.Meaning = account.ClientMisconfigured
		f.Reads = "Google does not let these credentials sign as " + s.email + "."
		f.Mend = "Grant them the role Service Account Token Creator (roles/iam.serviceAccountTokenCreator) on " + s.email +
			", and enable the IAM Service Account Credentials API (iamcredentials.googleapis.com) in its project."
	}
	return f
}
