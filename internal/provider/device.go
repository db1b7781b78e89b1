package provider

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

const (
	// deviceInterval is how long to wait between polls where the server does
	// not say (RFC 8628 section 3.2).
	deviceInterval = 5 * time.Second
	// deviceLife is how long a device code is taken to work where the server
	// does not say, though it should.
	deviceLife = 10 * time.Minute
	// maxDeviceLife is the longest that people are kept waiting.
	maxDeviceLife = time.Hour
)

// deviceForm is the body of a token request with a device code (RFC 8628
// section 3.4).
func deviceForm(r DeviceRequest) url.Values {
	return url.Values{
		"grant_type":  {"urn:ietf:params:oauth:grant-type:device_code"},
		"device_code": {r.DeviceCode.Reveal()},
	}
}

// ofDevice adds what belongs to one attempt by device code. No authorization
// response brings an "iss" there, and the request has no nonce.
func (e expectation) ofDevice(r DeviceRequest) expectation {
	e.knownIssuer, e.proveEmail = r.KnownIssuer, r.ProveEmail
	return e
}

// googleDeviceScopes are all that Google admits for devices ("OAuth 2.0 for TV
// and Limited-Input Device Applications", allowed scopes,
// developers.google.com/identity/protocols/oauth2/limited-input-device).
var googleDeviceScopes = []string{
	"openid",
	"https://www.googleapis.com/auth/userinfo.email",
	"https://www.googleapis.com/auth/userinfo.profile",
	"https://www.googleapis.com/auth/drive.appdata",
	"https://www.googleapis.com/auth/drive.file",
	"https://www.googleapis.com/auth/youtube",
	"https://www.googleapis.com/auth/youtube.readonly",
}

// StartDevice implements [Attended]. Google wants the client's ID only.
func (g *google) StartDevice(ctx context.Context, scopes []string) (account.Device, error) {
	scopes = g.asked(scopes)
	if refused := missingScopes(scopes, googleDeviceScopes, googleScope); len(refused) > 0 {
		return account.Device{}, &account.Failure{
			Meaning: account.ClientMisconfigured,
			Reads:   "Google does not give " + strings.Join(refused, ", ") + " to devices.",
			Mend:    "Connect without --device: in a browser, or with --paste where this machine has none.",
		}
	}
	return g.startDevice(ctx, g.meta, scopes, account.ClientNone)
}

// PollDevice implements [Attended].
func (g *google) PollDevice(ctx context.Context, r DeviceRequest) (account.Consent, error) {
	e := g.expects().ofDevice(r)
	if failure := g.prepare(ctx, g.keys, e, Metadata{}); failure != nil {
		return account.Consent{}, failure
	}
	return g.consent(ctx, g.redemption(deviceForm(r), r.Scopes, e))
}

// StartDevice implements [Attended]. It asks for the scopes of one resource: of
// several the person may well agree to all, but the token request has no scope,
// and fails (AADSTS28000, MicrosoftDocs/azure-docs#42565). Microsoft wants the
// client's ID only ("Microsoft identity platform and the OAuth 2.0 device
// authorization grant flow").
func (m *microsoft) StartDevice(ctx context.Context, scopes []string) (account.Device, error) {
	_, own, failure := m.consentAudience(m.asked(scopes))
	if failure != nil {
		return account.Device{}, failure
	}
	return m.startDevice(ctx, m.meta, own, account.ClientNone)
}

// PollDevice implements [Attended].
func (m *microsoft) PollDevice(ctx context.Context, r DeviceRequest) (account.Consent, error) {
	e := m.expects().ofDevice(r)
	if failure := m.prepare(ctx, m.keys, e, Metadata{}); failure != nil {
		return account.Consent{}, failure
	}
	q, failure := m.redemption(ctx, deviceForm(r), r.Scopes, e)
	if failure != nil {
		return account.Consent{}, failure
	}
	q.unasked = m.MissingScopes(q.scopes, q.own)
	return m.consent(ctx, q)
}

// StartDevice implements [Attended].
func (p *oauth2Provider) StartDevice(ctx context.Context, scopes []string) (account.Device, error) {
	m, failure := p.metadata(ctx)
	if failure != nil {
		return account.Device{}, failure
	}
	return p.startDevice(ctx, m, p.asked(scopes), "")
}

// PollDevice implements [Attended].
func (p *oauth2Provider) PollDevice(ctx context.Context, r DeviceRequest) (account.Consent, error) {
	m, failure := p.metadata(ctx)
	if failure != nil {
		return account.Consent{}, failure
	}
	e := trust(m, p.discovery != nil).ofDevice(r)
	if failure := p.prepare(ctx, p.keys, e, Metadata{}); failure != nil {
		return account.Consent{}, failure
	}
	return p.consent(ctx, p.redemption(deviceForm(r), r.Scopes, e, m))
}

// startDevice sends a device authorization request (RFC 8628 section 3.1). The
// client authenticates as in token requests, unless the type wants none of it.
func (c *common) startDevice(ctx context.Context, m Metadata, scopes []string, grant account.ClientAuth) (account.Device, error) {
	if m.DeviceAuthorizationEndpoint == "" {
		return account.Device{}, &account.Failure{
			Meaning: account.ClientMisconfigured,
			Reads:   "The provider has no device authorization endpoint, or none is known.",
			Mend:    "Connect without --device: in a browser, or with --paste where this machine has none. If it has one, configure device_authorization_endpoint.",
		}
	}
	form := url.Values{}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	var first *account.Failure
	for _, clientSecret := range c.auth.credentials(grant) {
		device, failure := c.startDeviceOnce(ctx, m.DeviceAuthorizationEndpoint, form, grant, clientSecret)
		if failure == nil {
			return device, nil
		}
		if first == nil {
			first = failure
		}
		if failure.Code != "invalid_client" {
			break
		}
	}
	return account.Device{}, first
}

func (c *common) startDeviceOnce(ctx context.Context, endpoint string, form url.Values, grant account.ClientAuth, clientSecret secret.String) (account.Device, *account.Failure) {
	form, header, failure := c.authenticated(form, endpoint, grant, clientSecret)
	if failure != nil {
		return account.Device{}, failure
	}
	// Beside a header it is optional, and some servers want it all the same.
	form.Set("client_id", c.cfg.ClientID)
	asked := time.Now()
	resp, err := c.client.post(ctx, endpoint, form, header)
	if err != nil {
		return account.Device{}, spentNothing(unanswered(err))
	}
	m := parseMembers(resp.body, resp.header)
	device, err := m.device(asked)
	switch {
	case resp.status >= 200 && resp.status < 300 && !resp.tooLarge && err == nil:
		return device, nil
	case resp.status >= 200 && resp.status < 400:
		f := oddAnswer(resp, account.ProviderDown, "The device authorization endpoint's answer makes no sense.")
		f.Err = err
		return account.Device{}, f
	}
	failure = sortError(c.cfg.Type, resp, m)
	sortAnew(failure, c.cfg.Type, consentRows, m)
	withhold(failure, resp, form, clientSecret)
	return account.Device{}, failure
}

// device reads a device authorization response (RFC 8628 section 3.2).
func (m members) device(asked time.Time) (account.Device, error) {
	d := account.Device{
		DeviceCode:              secret.New(m.text("device_code")),
		UserCode:                legible(m.text("user_code")),
		VerificationURI:         m.text("verification_uri"),
		VerificationURIComplete: m.text("verification_uri_complete"),
		Interval:                deviceInterval,
	}
	if d.VerificationURI == "" {
		// Google's name for it.
		d.VerificationURI = m.text("verification_url")
	}
	if d.DeviceCode.IsZero() || d.UserCode == "" {
		return account.Device{}, errors.New("the answer has no code")
	}
	// People are sent there, so it must be a place to send them to.
	if legible(d.VerificationURI) == "" || checkEndpoint(d.VerificationURI) != nil {
		return account.Device{}, errors.New("the answer has no verification_uri that can be opened")
	}
	if legible(d.VerificationURIComplete) == "" || checkEndpoint(d.VerificationURIComplete) != nil {
		d.VerificationURIComplete = ""
	}
	life, ok := m.seconds("expires_in")
	if !ok {
		life = deviceLife
	}
	d.Expires = asked.Add(min(life, maxDeviceLife))
	if interval, ok := m.seconds("interval"); ok && interval < life {
		d.Interval = max(interval, time.Second)
	}
	return d, nil
}
