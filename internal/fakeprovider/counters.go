package fakeprovider

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Counters count what happened to one grant, or to all.
type Counters struct {
	TokenRequests int `json:"token_requests"`
	// Issued counts answers with an access token, Rotations those of them with
	// a new refresh token, Reissues those repeated inside a grace window.
	Issued          int `json:"issued"`
	Rotations       int `json:"rotations"`
	Reissues        int `json:"reissues"`
	Refused         int `json:"refused"`
	ReuseDetections int `json:"reuse_detections"`
	// Faults counts scripted faults on any endpoint.
	Faults int `json:"faults"`
	// InFlight and InFlightMax are token requests at the same time.
	InFlight    int `json:"in_flight"`
	InFlightMax int `json:"in_flight_max"`
	// APICalls are calls with a live token; APIUnauthorized those without.
	APICalls        int `json:"api_calls"`
	APIUnauthorized int `json:"api_unauthorized"`
	// PublicCalls are calls without a token of what needs none: discovery
	// documents and URLs that carry their own authority. UnwantedTokens are
	// those with one, which are refused.
	PublicCalls    int `json:"public_calls"`
	UnwantedTokens int `json:"unwanted_tokens"`
	// LeakedKeys counts requests that were refused because a key of the proxy
	// in front was in them.
	LeakedKeys int `json:"leaked_keys"`
	// Sent counts messages sent through the API.
	Sent int `json:"sent"`
	// Uploads counts files, messages and attachments that were uploaded whole.
	Uploads int `json:"uploads"`
}

// The outcomes of token requests, beside the error codes of RFC 6749.
const (
	// OutcomePending: not processed, or not yet: held back, or a fault came
	// first.
	OutcomePending = "pending"
	// OutcomeIssued: an access token alone.
	OutcomeIssued = "issued"
	// OutcomeRotated: an access token and a new refresh token.
	OutcomeRotated = "rotated"
	// OutcomeReissued: the same answer as before, inside the grace window.
	OutcomeReissued = "reissued"
	// OutcomeGranted: the first tokens of a grant.
	OutcomeGranted = "granted"
	// OutcomeReuseDetected: a spent refresh token ended the grant.
	OutcomeReuseDetected = "reuse_detected"
)

// maxLog is how many token requests are remembered.
const maxLog = 10_000

// TokenRequest is an entry of the log of token requests.
type TokenRequest struct {
	// Number counts token requests from 1.
	Number int       `json:"number"`
	Time   time.Time `json:"time"`
	Path   string    `json:"path"`
	// GrantType is as presented.
	GrantType string `json:"grant_type"`
	// Grant is that of the refresh token presented, or the one that a code or
	// an assertion brought; empty for neither.
	Grant  string `json:"grant,omitempty"`
	Client string `json:"client_id"`
	// AuthMethod is how the client tried to authenticate.
	AuthMethod AuthMethod `json:"auth_method"`
	// RefreshTokenNumber is that of the token presented, 0 if unknown.
	RefreshTokenNumber int `json:"refresh_token_number"`
	// RefreshToken is empty unless values were asked for.
	RefreshToken string `json:"refresh_token,omitempty"`
	// Scope is as requested.
	Scope    string `json:"scope,omitempty"`
	Audience string `json:"audience,omitempty"`
	// Outcome is an Outcome constant or an error code.
	Outcome string `json:"outcome"`
	// AccessTokenNumber is that of the token issued, or 0.
	AccessTokenNumber int `json:"access_token_number"`
	// Fault is the kind of the fault that was applied, "delay" for one that
	// only waited.
	Fault string `json:"fault,omitempty"`
	// InFlight is how many token requests of the grant (of all, if unknown)
	// were in flight once this one had come, itself included.
	InFlight int `json:"in_flight"`

	grant *grant
}

// Stats returns the counters of everything.
func (s *Server) Stats() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totals
}

// TokenRequests returns the last token requests, oldest first, with the
// refresh tokens that they presented if values is set.
func (s *Server) TokenRequests(values bool) []TokenRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := make([]TokenRequest, 0, len(s.log))
	for _, entry := range s.log {
		shown := *entry
		shown.grant = nil
		if !values {
			shown.RefreshToken = ""
		}
		entries = append(entries, shown)
	}
	return entries
}

// count applies add to the totals and to g's counters, if there is a g. The
// caller holds mu.
func (s *Server) count(g *grant, add func(*Counters)) {
	add(&s.totals)
	if g != nil {
		add(&g.counters)
	}
}

// beginTokenRequest logs a token request as pending, before anything is done
// about it, and takes the fault that it is to meet.
func (s *Server) beginTokenRequest(req tokenRequest, r *http.Request) (*TokenRequest, *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := &TokenRequest{
		Time: s.clock(), Path: r.URL.Path, GrantType: req.form.Get("grant_type"), Client: req.credentials.id, AuthMethod: req.credentials.method,
		RefreshToken: req.form.Get("refresh_token"), Scope: req.form.Get("scope"), Outcome: OutcomePending,
	}
	if presented := s.refresh[entry.RefreshToken]; presented != nil {
		entry.grant = presented.grant
		entry.Grant = presented.grant.ID
		entry.RefreshTokenNumber = presented.number
		entry.Audience, _, _ = req.dialect.resolveScope(strings.Fields(presented.grant.Scope), strings.Fields(entry.Scope))
	}
	s.count(entry.grant, func(c *Counters) {
		c.TokenRequests++
		c.InFlight++
		c.InFlightMax = max(c.InFlightMax, c.InFlight)
		entry.InFlight = c.InFlight
	})
	entry.Number = s.totals.TokenRequests
	if len(s.log) == maxLog {
		s.log = slices.Delete(s.log, 0, maxLog/2)
	}
	s.log = append(s.log, entry)
	fault := s.takeFault(faultCall{
		endpoint: EndpointToken, grant: entry.Grant, audience: entry.Audience, path: entry.Path, grantType: entry.GrantType,
	})
	if fault != nil {
		entry.Fault = fault.name()
	}
	return entry, fault
}

func (s *Server) endTokenRequest(entry *TokenRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(entry.grant, func(c *Counters) {
		// A reset may have come in between.
		c.InFlight = max(c.InFlight-1, 0)
	})
}
