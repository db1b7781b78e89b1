package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

const (
	// metadataLife is how long discovered metadata is used before it is
	// fetched anew.
	metadataLife = 24 * time.Hour
	// metadataPause is how long old metadata serves on after it could not be
	// fetched anew.
	metadataPause = time.Minute
)

// Metadata is what is known of an authorization server (RFC 8414 section 2,
// OpenID Connect Discovery 1.0 section 3). An empty member means that the
// server has no such thing, or that nobody said so.
type Metadata struct {
	// Issuer is the server's identifier. For Microsoft's multi-tenant
	// authorities it contains "{tenantid}" where the tenant's ID belongs.
	Issuer string `json:"issuer"`
	// The endpoints.
	AuthorizationEndpoint       string `json:"authorization_endpoint"`
	TokenEndpoint               string `json:"token_endpoint"`
	DeviceAuthorizationEndpoint string `json:"device_authorization_endpoint"`
	RevocationEndpoint          string `json:"revocation_endpoint"`
	UserinfoEndpoint            string `json:"userinfo_endpoint"`
	// JWKSURI is where the keys of ID tokens are.
	JWKSURI string `json:"jwks_uri"`
	// IssParameter is set when authorization responses carry "iss" (RFC 9207).
	IssParameter bool `json:"authorization_response_iss_parameter_supported"`
}

// overridden puts the configured endpoints in the place of others.
func (m Metadata) overridden(cfg Config) Metadata {
	for _, e := range []struct {
		to   *string
		from string
	}{
		{&m.AuthorizationEndpoint, cfg.AuthorizationEndpoint},
		{&m.TokenEndpoint, cfg.TokenEndpoint},
		{&m.DeviceAuthorizationEndpoint, cfg.DeviceAuthorizationEndpoint},
		{&m.RevocationEndpoint, cfg.RevocationEndpoint},
		{&m.UserinfoEndpoint, cfg.UserinfoEndpoint},
	} {
		if e.from != "" {
			*e.to = e.from
		}
	}
	return m
}

// discoverer finds a server's metadata at first use and keeps it.
type discoverer struct {
	client *client
	issuer string
	// turn holds one token: whoever has it may fetch. Others wait for as long
	// as their context lets them.
	turn chan struct{}
	// known and until are guarded by turn.
	known *Metadata
	until time.Time
}

func newDiscoverer(client *client, issuer string) *discoverer {
	d := &discoverer{client: client, issuer: issuer, turn: make(chan struct{}, 1)}
	d.turn <- struct{}{}
	return d
}

// metadata returns what is known, fetched first when there is nothing or it is
// old. What was known once outlives a server that does not answer.
func (d *discoverer) metadata(ctx context.Context) (Metadata, *account.Failure) {
	select {
	case <-d.turn:
	case <-ctx.Done():
		return Metadata{}, unanswered(ctx.Err())
	}
	defer func() { d.turn <- struct{}{} }()

	if d.known != nil && time.Now().Before(d.until) {
		return *d.known, nil
	}
	found, failure := d.fetch(ctx)
	switch {
	case failure == nil:
		d.known, d.until = found, time.Now().Add(metadataLife)
	case d.known == nil:
		return Metadata{}, failure
	default:
		d.until = time.Now().Add(metadataPause)
	}
	return *d.known, nil
}

// doubt has the metadata fetched anew at its next use, when the answer of an
// endpoint says that it is not there any more.
func (d *discoverer) doubt(status int) {
	moved := status >= 300 && status < 400 || status == http.StatusNotFound ||
		status == http.StatusMethodNotAllowed || status == http.StatusGone
	if !moved {
		return
	}
	select {
	case <-d.turn:
		d.until = time.Time{}
		d.turn <- struct{}{}
	default:
		// Somebody is fetching or reading; the next failure doubts again.
	}
}

// fetch tries the two well-known places in turn.
func (d *discoverer) fetch(ctx context.Context) (*Metadata, *account.Failure) {
	var failure *account.Failure
	for _, address := range wellKnown(d.issuer) {
		found, f := d.fetchFrom(ctx, address)
		if f == nil {
			return found, nil
		}
		// That the server names another issuer, or unsafe endpoints, says more
		// than that a place is empty.
		if failure == nil || f.Meaning == account.ClientMisconfigured {
			failure = f
		}
	}
	return nil, failure
}

func (d *discoverer) fetchFrom(ctx context.Context, address string) (*Metadata, *account.Failure) {
	resp, err := d.client.get(ctx, address)
	if err != nil {
		// Nothing was asked of a token endpoint yet, so nothing can be lost.
		return nil, &account.Failure{
			Meaning: account.ProviderDown,
			Reads:   "The provider's metadata could not be fetched.",
			Err:     fmt.Errorf("discovering %s: %w", d.issuer, err),
		}
	}
	found := &Metadata{}
	if resp.status != http.StatusOK || resp.tooLarge || json.Unmarshal(resp.body, found) != nil {
		f := oddAnswer(resp, account.ProviderDown, "The provider's metadata could not be fetched.")
		f.Err = fmt.Errorf("discovering %s: status %d without metadata", d.issuer, resp.status)
		return nil, f
	}
	if err := found.check(d.issuer); err != nil {
		return nil, &account.Failure{
			Meaning: account.ClientMisconfigured,
			Status:  resp.status,
			Reads:   "The provider's metadata does not belong to the configured issuer, or cannot be used.",
			Mend:    "Check issuer in the configuration: it must be written exactly as the provider writes it.",
			Err:     fmt.Errorf("discovering %s: %w", d.issuer, err),
		}
	}
	return found, nil
}

// check holds the metadata against the issuer it was fetched for: RFC 8414
// section 3.3 wants the two to be the same, character by character, and secrets
// go to no endpoint that is less protected than the issuer.
func (m *Metadata) check(issuer string) error {
	if m.Issuer != issuer {
		return fmt.Errorf("the metadata names the issuer %q", m.Issuer)
	}
	if m.TokenEndpoint == "" {
		return errors.New("the metadata has no token_endpoint")
	}
	for _, e := range []struct{ name, value string }{
		{"authorization_endpoint", m.AuthorizationEndpoint},
		{"token_endpoint", m.TokenEndpoint},
		{"device_authorization_endpoint", m.DeviceAuthorizationEndpoint},
		{"revocation_endpoint", m.RevocationEndpoint},
		{"userinfo_endpoint", m.UserinfoEndpoint},
		{"jwks_uri", m.JWKSURI},
	} {
		if e.value == "" {
			continue
		}
		if err := checkEndpoint(e.value); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if strings.HasPrefix(issuer, "https:") && !strings.HasPrefix(e.value, "https:") {
			return fmt.Errorf("%s: is plain http under an https issuer", e.name)
		}
	}
	return nil
}

// wellKnown are the places of an issuer's metadata: RFC 8414 section 3.1 puts
// its path between host and issuer path, OpenID Connect Discovery section 4
// behind the issuer.
func wellKnown(issuer string) []string {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	origin := u.Scheme + "://" + u.Host
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	return []string{
		origin + "/.well-known/oauth-authorization-server" + path,
		origin + path + "/.well-known/openid-configuration",
	}
}
