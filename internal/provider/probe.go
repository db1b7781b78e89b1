package provider

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// Probed is a [Provider] that can be asked whether it knows its client, without
// any account and without harm.
type Probed interface {
	Provider
	// Probe asks the token endpoint to exchange an authorization code that was
	// made up. A server authenticates the client before it looks at the code
	// (RFC 6749 sections 3.2.1 and 4.1.3), so that invalid_grant is good news.
	// No refresh token is ever sent.
	Probe(ctx context.Context) Finding
}

// Finding is what a [Probed] provider answered.
type Finding struct {
	// Endpoint is the token endpoint that was asked; empty where none is known.
	Endpoint string
	// Date is what the server's clock said, to the second, when it answered;
	// zero where it did not say. Asked and Answered are the times by the clock
	// here.
	Date, Asked, Answered time.Time
	// Failure is what is wrong with the client or the way to the server; nil
	// where nothing is. The newest client secret is meant, also where an older
	// one is accepted: then OlderAccepted is set.
	Failure       *account.Failure
	OlderAccepted bool
	// Unsettled is set when the server refused the request before it looked at
	// the client: only a real consent shows whether it knows it.
	Unsettled bool
}

// probeForm asks for what nobody was ever given. The address is one that no
// code was sent to.
func probeForm() url.Values {
	return url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {"bellhop-probe-" + rand.Text()},
		"redirect_uri":  {"http://127.0.0.1/oauth/callback"},
		"code_verifier": {rand.Text() + rand.Text()},
	}
}

// probe sends the form with each of the client's secrets, the newest first,
// until one is accepted.
func (c *common) probe(ctx context.Context, endpoint string, form url.Values) Finding {
	f := Finding{Endpoint: endpoint}
	if endpoint == "" {
		f.Failure = &account.Failure{
			Meaning: account.ClientMisconfigured, Reads: "It is not known where tokens are requested.",
			Mend: "Configure token_endpoint, or issuer where the provider publishes its endpoints.",
		}
		return f
	}
	for i, clientSecret := range c.auth.credentials("") {
		failure := c.probeWith(ctx, &f, form, clientSecret)
		if i == 0 {
			f.Failure = failure
		} else if failure == nil {
			f.OlderAccepted = true
		}
		if failure == nil || failure.Code != "invalid_client" {
			break
		}
	}
	return f
}

func (c *common) probeWith(ctx context.Context, f *Finding, form url.Values, clientSecret secret.String) *account.Failure {
	form, header := maps.Clone(form), http.Header{}
	if err := c.auth.apply(form, header, f.Endpoint, "", clientSecret); err != nil {
		return &account.Failure{
			Meaning: account.ClientMisconfigured, Reads: "The client could not be authenticated: its key signs nothing.",
			Mend: "Check the configured private key or certificate.", Err: err,
		}
	}
	f.Asked = time.Now()
	resp, err := c.client.post(ctx, f.Endpoint, form, header)
	f.Answered = time.Now()
	if err != nil {
		return unreachable(f.Endpoint, err)
	}
	if date, err := http.ParseTime(resp.header.Get("Date")); err == nil {
		f.Date = date
	}
	_, failure := sortAnswer(c.cfg.Type, resp)
	if failure == nil {
		return nil // a token for who the client is, see microsoft.Probe
	}
	withhold(failure, resp, form, clientSecret)
	switch {
	case slices.Contains(codeRefusals, failure.Code) && failure.Number != malformed:
		return nil
	case failure.Meaning == account.ClientMisconfigured && failure.Code != "unsupported_grant_type",
		failure.Meaning == account.ProviderDown, failure.Meaning == account.Throttled:
		return failure
	}
	f.Unsettled = true
	return nil
}

// codeRefusals are the errors of a server that knows the client and not the
// code. The second is Google's.
var codeRefusals = []string{"invalid_grant", "redirect_uri_mismatch"}

// malformed is how Microsoft refuses a code that none of its own servers made,
// before it looks at the client.
const malformed = "AADSTS9002313"

// Probe implements [Probed].
func (g *google) Probe(ctx context.Context) Finding {
	return g.probe(ctx, g.meta.TokenEndpoint, probeForm())
}

// Probe implements [Probed]. Microsoft finds the tenant and the app first, but
// refuses a made-up code before it looks at the client's secret. Where the
// tenant is a certain one the app's own token is asked for then (RFC 6749
// section 4.4), and thrown away; "organizations" and its like have no such
// token ("OAuth 2.0 client credentials flow", tenant).
func (m *microsoft) Probe(ctx context.Context) Finding {
	f := m.probe(ctx, m.meta.TokenEndpoint, probeForm())
	if !f.Unsettled || m.auth.style == StyleNone || slices.Contains([]string{"organizations", "consumers", "common"}, m.cfg.Tenant) {
		return f
	}
	own := m.probe(ctx, m.meta.TokenEndpoint, url.Values{
		"grant_type": {"client_credentials"}, "scope": {m.DefaultAudience() + "/.default"},
	})
	if own.Failure != nil && own.Failure.Meaning != account.ClientMisconfigured {
		return f
	}
	return own
}

// Probe implements [Probed].
func (p *oauth2Provider) Probe(ctx context.Context) Finding {
	endpoint := p.cfg.TokenEndpoint
	if endpoint == "" {
		m, failure := p.metadata(ctx)
		if failure != nil {
			if failure.Err != nil && failure.Meaning == account.ProviderDown && failure.Status == 0 {
				failure = unreachable(p.cfg.Issuer, failure.Err)
			}
			return Finding{Endpoint: p.cfg.Issuer, Failure: failure}
		}
		endpoint = m.TokenEndpoint
	}
	return p.probe(ctx, endpoint, probeForm())
}

// Probe implements [Probed]: the app's own token is what there is to ask for.
func (m *microsoftApp) Probe(ctx context.Context) Finding {
	return m.probe(ctx, m.TokenEndpoint(""), url.Values{
		"grant_type": {"client_credentials"}, "scope": {m.AudienceScopes("", nil)[0]},
	})
}

// Probe implements [Probed]: it asks for a token of the service account's own,
// which no user has a part in. Whether an administrator has delegated the scopes
// is shown by a user's first token alone.
func (s *serviceAccount) Probe(ctx context.Context) Finding {
	f := Finding{Endpoint: s.TokenEndpoint(""), Asked: time.Now()}
	answer, failure := s.bearer(ctx, "", s.Scopes())
	f.Date, f.Answered, f.Failure = answer.Date, time.Now(), failure
	return f
}

// DeviceRefusal says why people cannot consent by device code for the
// provider's scopes; nil where they can.
func DeviceRefusal(ctx context.Context, p Provider) *account.Failure {
	if g, ok := p.(*google); ok {
		if refused := missingScopes(g.Scopes(), googleDeviceScopes, googleScope); len(refused) > 0 {
			return &account.Failure{Meaning: account.ClientMisconfigured, Reads: "Google does not give " + strings.Join(refused, ", ") + " to devices."}
		}
	}
	m, err := p.Metadata(ctx)
	if failure, ok := errors.AsType[*account.Failure](err); ok {
		return failure
	}
	if m.DeviceAuthorizationEndpoint == "" {
		return &account.Failure{Meaning: account.ClientMisconfigured, Reads: "The provider has no device authorization endpoint, or none is known."}
	}
	return nil
}

// Reach asks for an address and reports why nobody answers there; whatever the
// answer is, it will do. An error is an *[account.Failure].
func (c *common) Reach(ctx context.Context, address string) error {
	if _, err := c.client.get(ctx, address); err != nil {
		return unreachable(address, err)
	}
	return nil
}

// unreachable says in which step the way to an address ends.
func unreachable(address string, err error) *account.Failure {
	f := &account.Failure{Meaning: account.ProviderDown, Err: fmt.Errorf("asking %s: %w", address, err)}
	host := address
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		host = u.Host
	}
	dns, noName := errors.AsType[*net.DNSError](err)
	authority, untrusted := errors.AsType[x509.UnknownAuthorityError](err)
	_, otherName := errors.AsType[x509.HostnameError](err)
	invalid, outOfDate := errors.AsType[x509.CertificateInvalidError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	operation, network := errors.AsType[*net.OpError](err)
	switch {
	case network && operation.Op == "proxyconnect":
		f.Reads = "The forward proxy of the environment (HTTPS_PROXY) did not lead to " + host + "."
		f.Mend = "Check HTTPS_PROXY and NO_PROXY in the server's environment."
	case noName:
		f.Reads = "The name " + dns.Name + " is not found in the DNS."
		f.Mend = "Check the endpoint's spelling in the configuration, and the resolver of the server's machine."
	case untrusted:
		f.Reads = "The certificate of " + host + " is not of an authority that this machine trusts"
		if authority.Cert != nil && authority.Cert.Issuer.CommonName != "" {
			f.Reads += "; its issuer calls itself " + authority.Cert.Issuer.CommonName
		}
		f.Reads += "."
		f.Mend = "If a firewall opens TLS, add its certificate to the machine's trusted ones, or exempt " + host + " from it."
	case otherName:
		f.Reads, f.Mend = "The certificate of "+host+" is for another name.", "Check the endpoint in the configuration, and whether a captive portal or firewall answers in its place."
	case outOfDate && invalid.Reason == x509.Expired:
		f.Reads, f.Mend = "The certificate of "+host+" has expired, or is not valid yet.", "Check the clock of the server's machine first."
	case noTLS:
		f.Reads, f.Mend = host+" does not speak TLS.", "Check the endpoint in the configuration."
	case errors.Is(err, context.DeadlineExceeded), network && operation.Timeout():
		f.Reads, f.Mend = host+" did not answer in time.", "Let the server's machine reach it: check firewall and HTTPS_PROXY."
	case network && operation.Op == "dial":
		f.Reads, f.Mend = "No connection to "+host+" can be made.", "Let the server's machine reach it: check firewall and HTTPS_PROXY."
	case strings.Contains(err.Error(), "tls:"), strings.Contains(err.Error(), "x509:"):
		f.Reads, f.Mend = "No TLS connection to "+host+" can be made.", "Check whether a firewall stands in between."
	default:
		f.Reads, f.Mend = host+" broke the connection off.", "Check whether a firewall or proxy stands in between."
	}
	return f
}

// Interface guards
var (
	_ Probed = (*google)(nil)
	_ Probed = (*microsoft)(nil)
	_ Probed = (*oauth2Provider)(nil)
	_ Probed = (*microsoftApp)(nil)
	_ Probed = (*serviceAccount)(nil)
)
