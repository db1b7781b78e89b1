package fakeprovider

import (
	"net/http"
	"slices"
	"strings"
)

// userinfo says who gave an access token (OpenID Connect Core section 5.3).
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token := s.access[value]
	call := faultCall{endpoint: EndpointUserinfo, path: r.URL.Path}
	if token != nil {
		call.grant = token.grant.ID
	}
	fault := s.takeFault(call)
	s.mu.Unlock()
	s.serve(w, r, fault, OAuth2, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case token == nil || !strings.EqualFold(scheme, "Bearer") || !token.live(s.clock()):
			w.Header().Set("WWW-Authenticate", `Bearer realm="fakeprovider", error="invalid_token"`)
			writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		case !slices.Contains(token.scopes, "openid"):
			w.Header().Set("WWW-Authenticate", `Bearer realm="fakeprovider", error="insufficient_scope", scope="openid"`)
			writeJSON(w, http.StatusForbidden, map[string]string{"error": "insufficient_scope"})
		default:
			writeJSON(w, http.StatusOK, token.grant.owner().claims(s.clients[token.grant.Client], token.scopes, false))
		}
	})
}

// owner is who gave the grant, as far as it is known of one that no consent
// brought.
func (g *grant) owner() *Person {
	if g.person != nil {
		return g.person
	}
	return &Person{Subject: g.Subject, Email: g.Email, Tenant: DefaultTenant.ID, Object: derivedUUID("oid", g.Subject)}
}
