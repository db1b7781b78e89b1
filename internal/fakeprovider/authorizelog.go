package fakeprovider

import (
	"net/http"
	"slices"
	"time"
)

// The outcomes of authorization requests, beside error codes.
const (
	// OutcomePage: the consent page was shown.
	OutcomePage = "page"
	// OutcomeCode: a code was issued.
	OutcomeCode = "code"
	// OutcomeAdminConsent: an administrator consented for a tenant.
	OutcomeAdminConsent = "admin_consent"
)

// hidden stands where a value was left out of a log.
const hidden = "hidden"

// AuthorizeRequest is an entry of the log of authorization requests. The page
// and what was decided on it are two entries.
type AuthorizeRequest struct {
	Time   time.Time `json:"time"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Client string    `json:"client_id"`
	// Params are the request's. The values of state, nonce and code_challenge
	// are hidden unless values were asked for, credentials always.
	Params map[string]string `json:"params"`
	// Outcome is an Outcome constant or an error code.
	Outcome string `json:"outcome"`
}

// AuthorizeRequests returns the last authorization requests, oldest first, with
// what binds them to a browser if values is set.
func (s *Server) AuthorizeRequests(values bool) []AuthorizeRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := make([]AuthorizeRequest, 0, len(s.authorizations))
	for _, entry := range s.authorizations {
		shown := *entry
		shown.Params = map[string]string{}
		for name, value := range entry.Params {
			if !values && slices.Contains([]string{"state", "nonce", "code_challenge"}, name) {
				value = hidden
			}
			shown.Params[name] = value
		}
		entries = append(entries, shown)
	}
	return entries
}

// logAuthorization adds an entry. The caller holds mu.
func (s *Server) logAuthorization(r *http.Request, a authorization) *AuthorizeRequest {
	entry := &AuthorizeRequest{
		Time: s.clock(), Method: r.Method, Path: r.URL.Path, Client: a.client.ID, Params: map[string]string{},
	}
	for name, values := range r.URL.Query() {
		entry.Params[name] = values[0]
		if slices.Contains([]string{"client_secret", "client_assertion", "id_token_hint"}, name) {
			entry.Params[name] = hidden
		}
	}
	if len(s.authorizations) == maxLog {
		s.authorizations = slices.Delete(s.authorizations, 0, maxLog/2)
	}
	s.authorizations = append(s.authorizations, entry)
	return entry
}
