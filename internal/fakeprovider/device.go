package fakeprovider

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// deviceInterval is how long a device waits between two polls at first, and
// how much longer after each that came too early (RFC 8628 section 3.5).
const deviceInterval = 5 * time.Second

// deviceLife is how long the codes of a device are good for.
var deviceLife = map[Dialect]time.Duration{
	OAuth2: 10 * time.Minute, Google: 30 * time.Minute, Microsoft: 15 * time.Minute,
}

// device is a device authorization.
type device struct {
	client   Client
	userCode string
	scopes   []string
	tenant   string
	expires  time.Time
	interval time.Duration
	polled   time.Time
	// refused or granted, once the person has decided.
	refused *refusal
	granted []string
	person  Person
	spent   bool
}

// googleDeviceScopes are the only ones that Google's device flow allows
// ("OAuth 2.0 for TV and Limited-Input Device Applications", allowed scopes).
var googleDeviceScopes = append(slices.Clone(googleIdentity),
	"https://www.googleapis.com/auth/drive.appdata",
	"https://www.googleapis.com/auth/drive.file",
	"https://www.googleapis.com/auth/youtube",
	"https://www.googleapis.com/auth/youtube.readonly",
)

// deviceAuthorization is the device authorization endpoint (RFC 8628 section
// 3.1).
func (s *Server) deviceAuthorization(w http.ResponseWriter, r *http.Request) {
	req := s.readTokenRequest(w, r)
	s.mu.Lock()
	fault := s.takeFault(faultCall{endpoint: EndpointDevice, path: r.URL.Path})
	s.mu.Unlock()
	s.serve(w, r, fault, req.dialect, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		body, no := s.startDevice(r, req)
		if no != nil {
			no.write(w, req.dialect, s.clock())
			return
		}
		writeJSON(w, http.StatusOK, body)
	})
}

// startDevice makes the two codes. The caller holds mu.
func (s *Server) startDevice(r *http.Request, req tokenRequest) (body map[string]any, no *refusal) {
	client, scopes, no := s.judgeDevice(req)
	if no != nil {
		return nil, no
	}
	d := &device{
		client: client, userCode: newUserCode(), scopes: scopes, interval: deviceInterval,
		expires: s.clock().Add(deviceLife[client.Dialect]),
	}
	d.tenant, _ = s.tenantID(req.tenant)
	deviceCode := "device-" + rand.Text()
	s.devices[deviceCode] = d

	address := baseURL(r) + "/device"
	body = map[string]any{
		"device_code": deviceCode,
		"user_code":   d.userCode,
		"expires_in":  int64(deviceLife[client.Dialect] / time.Second),
		"interval":    int64(deviceInterval / time.Second),
	}
	switch client.Dialect {
	case Google:
		// The name that drafts of RFC 8628 had.
		body["verification_url"] = address
	case Microsoft:
		body["verification_uri"] = address
		body["message"] = "To sign in, use a web browser to open the page " + address + " and enter the code " + d.userCode + " to authenticate."
	default:
		body["verification_uri"] = address
		body["verification_uri_complete"] = address + "?" + url.Values{"user_code": {d.userCode}}.Encode()
	}
	return body, nil
}

// judgeDevice authenticates the client, as RFC 8628 section 3.1 has it; Google
// and Microsoft do that at the token endpoint alone. The caller holds mu.
func (s *Server) judgeDevice(req tokenRequest) (client Client, scopes []string, no *refusal) {
	if req.malformed != nil {
		return client, nil, req.malformed
	}
	client, known := s.clients[req.credentials.id]
	if !known || client.Dialect == OAuth2 || req.credentials.method != ClientNone {
		client, no = s.authenticate(req.credentials)
	}
	scopes = strings.Fields(req.form.Get("scope"))
	switch {
	case no != nil:
		return client, nil, no
	case !client.DeviceFlow:
		return client, nil, deviceFlowNotAllowed(client.Dialect)
	case len(scopes) == 0:
		return client, nil, invalidAuthorization("scope is missing.", 900144)
	}
	if client.Dialect == Microsoft {
		if _, exists := s.tenantID(req.tenant); !exists {
			return client, nil, unknownTenant
		}
	}
	if client.Dialect == Google {
		for _, scope := range scopes {
			if !slices.Contains(googleDeviceScopes, googleScope(scope)) {
				return client, nil, scopeNotForDevices
			}
		}
	}
	return client, scopes, client.checkScopes(scopes)
}

// newUserCode has no vowels, which would make words (RFC 8628 section 6.1).
func newUserCode() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	code := make([]byte, 0, 9)
	for i, b := range random {
		if i == 4 {
			code = append(code, '-')
		}
		code = append(code, letters[int(b)%len(letters)])
	}
	return string(code)
}

// pollDevice answers a device that asks for its tokens (RFC 8628 sections 3.4
// and 3.5). The caller holds mu.
func (s *Server) pollDevice(req tokenRequest, client Client) (issued issue, no *refusal) {
	if req.form.Get("device_code") == "" {
		return issue{}, refusedRequest("device_code is missing")
	}
	d := s.devices[req.form.Get("device_code")]
	if d == nil || d.client.ID != client.ID || d.spent {
		return issue{}, unknownDeviceCode(client.Dialect)
	}
	now := s.clock()
	early := !d.polled.IsZero() && now.Sub(d.polled) < d.interval
	d.polled = now
	switch {
	case !now.Before(d.expires):
		return issue{}, deviceCodeExpired
	case early:
		d.interval += deviceInterval
		return issue{}, slowDown(client.Dialect)
	case d.refused != nil:
		d.spent = true
		return issue{}, d.refused
	case d.granted == nil:
		return issue{}, authorizationPending(client.Dialect)
	case client.Dialect == Microsoft && !s.tenantFits(req.tenant, d.person.Tenant):
		return issue{}, wrongTenant
	}
	d.spent = true
	c := consent{person: d.person, granted: d.granted}
	c.refreshable = client.Dialect == Google || slices.Contains(d.granted, "offline_access") ||
		client.Dialect == OAuth2 && !slices.Contains(d.scopes, "openid")
	if client.Dialect == Microsoft && req.form.Get("scope") == "" {
		// Unlike a code's, a device's token is for the first resource if none
		// is named.
		req.form = url.Values{"scope": {strings.Join(firstResource(d.granted), " ")}}
	}
	return s.newConsentGrant(req, client, c)
}

// firstResource leaves out the scopes of all resources but the first.
func firstResource(scopes []string) []string {
	resources := resourcesOf(scopes)
	return slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool {
		return !slices.Contains(identityScopes, scope) && audienceOf(scope) != resources[0]
	})
}

// ErrNoDevice is returned for a user code that is unknown, decided or expired.
var ErrNoDevice = errors.New("no device waits with this code")

// DecideDevice does what a person does who enters the user code of a device.
func (s *Server) DecideDevice(userCode string, decision Decision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.waitingDevice(userCode)
	if d == nil {
		return fmt.Errorf("%w: %q", ErrNoDevice, userCode)
	}
	if no := s.decideDevice(d, decision.form(d.scopes)); no != nil {
		return &PageError{Status: no.status, Code: no.code, Description: no.description}
	}
	return nil
}

// waitingDevice finds a device by its user code, which people write as they
// like (RFC 8628 section 6.1). The caller holds mu.
func (s *Server) waitingDevice(userCode string) *device {
	bare := func(code string) string {
		return strings.NewReplacer("-", "", " ", "").Replace(strings.ToUpper(code))
	}
	for _, d := range s.devices {
		if bare(d.userCode) == bare(userCode) && d.granted == nil && d.refused == nil && s.clock().Before(d.expires) {
			return d
		}
	}
	return nil
}

// decideDevice takes down what a person decided; a refusal of it keeps the
// device waiting. The caller holds mu.
func (s *Server) decideDevice(d *device, form url.Values) *refusal {
	person, known := s.chosenPerson(form.Get("person"), "")
	switch {
	case !known:
		return refusedRequest("Nobody of that name can sign in here.")
	case form.Get("decision") == "allow" && d.client.Dialect == Microsoft && !admits(d.tenant, person.Tenant):
		return personNotInTenant
	}
	granted, no := s.judgeDecision(form, d.authorization(), person)
	if no == declined {
		no = deviceDeclined(d.client.Dialect)
	}
	d.person, d.granted, d.refused = person, granted, no
	return nil
}

// authorization is what the device asks for, as if by a browser.
func (d *device) authorization() authorization {
	return authorization{client: d.client, scopes: d.scopes, tenant: d.tenant}
}

// devicePage is where a person enters the user code and decides (RFC 8628
// section 3.3).
func (s *Server) devicePage(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	userCode := r.FormValue("user_code") // reads r.PostForm too
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.waitingDevice(userCode)
	if d == nil {
		page := consentPage{Brand: brands[OAuth2], UserCode: userCode}
		showPage(w, http.StatusOK, "device.html", page)
		return
	}
	if r.Method == http.MethodPost && r.PostForm.Has("decision") {
		if no := s.decideDevice(d, r.PostForm); no != nil {
			s.showRefusalLocked(w, r, d.client.Dialect, no)
			return
		}
		showPage(w, http.StatusOK, "done.html", brands[d.client.Dialect])
		return
	}
	page := s.consentPage(d.authorization())
	page.UserCode = d.userCode
	showPage(w, http.StatusOK, "device.html", page)
}

// noConsent is the answer to a poll that brings none, for which Google has
// statuses of its own.
func noConsent(d Dialect, google int, no refusal) *refusal {
	no.status = http.StatusBadRequest
	if d == Google {
		no.status = google
	}
	return &no
}

func authorizationPending(d Dialect) *refusal {
	return noConsent(d, http.StatusPreconditionRequired, refusal{
		code: "authorization_pending", description: "The person has not decided yet.", google: "Precondition Required", aadsts: []int{70016},
	})
}

func slowDown(d Dialect) *refusal {
	return noConsent(d, http.StatusForbidden, refusal{
		code: "slow_down", description: "The polls come too fast.", google: "Forbidden", aadsts: []int{90055},
	})
}

// deviceDeclined is access_denied, for which Microsoft has a name of its own.
func deviceDeclined(d Dialect) *refusal {
	no := noConsent(d, http.StatusForbidden, refusal{
		code: "access_denied", description: "The person refused.", google: "Forbidden", aadsts: []int{70017},
	})
	if d == Microsoft {
		no.code = "authorization_declined"
	}
	return no
}

func unknownDeviceCode(d Dialect) *refusal {
	no := &refusal{
		status: http.StatusBadRequest, code: "invalid_grant",
		description: "The device code is unknown, another client's, or was used.", google: "Malformed auth code.", aadsts: []int{70019},
	}
	if d == Microsoft {
		no.code = "bad_verification_code"
	}
	return no
}

func deviceFlowNotAllowed(d Dialect) *refusal {
	no := &refusal{
		status: http.StatusBadRequest, code: "unauthorized_client",
		description: "The client may not use the device flow.", aadsts: []int{7000218},
		google: "Only clients of type 'TVs and Limited Input devices' can use the OAuth 2.0 flow for TV and Limited-Input Device Applications.",
	}
	if d != OAuth2 {
		no.code, no.status = "invalid_client", http.StatusUnauthorized
	}
	return no
}

var (
	deviceCodeExpired = &refusal{
		status: http.StatusBadRequest, code: "expired_token",
		description: "The device code has expired.", aadsts: []int{70020},
	}
	scopeNotForDevices = &refusal{
		status: http.StatusBadRequest, code: "invalid_scope",
		google: "Invalid device flow scope.",
	}
)
