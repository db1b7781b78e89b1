package fakeprovider

import "net/http"

// revoke is the revocation endpoint (RFC 7009). A refresh token takes its
// whole grant along. Google asks for no client authentication, takes the token
// from the query too, and ends all grants of its subject to the client.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	value := r.FormValue("token") // reads r.PostForm too
	s.mu.Lock()
	g, access := s.tokenOwner(value)
	call := faultCall{endpoint: EndpointRevoke, path: r.URL.Path}
	dialect := OAuth2
	if g != nil {
		call.grant = g.ID
		dialect = s.clients[g.Client].Dialect
	}
	fault := s.takeFault(call)
	s.mu.Unlock()
	s.serve(w, r, fault, dialect, func(w http.ResponseWriter, r *http.Request) {
		if no := s.revokeToken(presentedCredentials(r, r.PostForm), g, access, value); no != nil {
			no.write(w, dialect, s.time())
			return
		}
		writeJSON(w, http.StatusOK, struct{}{})
	})
}

// tokenOwner finds the grant that a token of either kind belongs to; access is
// nil if it is a refresh token. The caller holds mu.
func (s *Server) tokenOwner(value string) (g *grant, access *accessToken) {
	if refresh := s.refresh[value]; refresh != nil {
		return refresh.grant, nil
	}
	if access := s.access[value]; access != nil {
		return access.grant, access
	}
	return nil, nil
}

func (s *Server) revokeToken(c credentials, g *grant, access *accessToken, value string) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == "" {
		return refusedRequest("token is missing")
	}
	if g != nil && s.clients[g.Client].Dialect == Google {
		if g.cause != "" {
			return unknownToken
		}
		for _, other := range s.grants {
			if other.Client == g.Client && other.Subject == g.Subject {
				s.kill(other, causeRevoked)
			}
		}
		return nil
	}
	client, no := s.authenticate(c)
	switch {
	case no != nil:
		return no
	case g == nil || g.Client != client.ID:
		// Unknown tokens count as revoked: RFC 7009 section 2.2.
		return nil
	case access != nil:
		access.revoked = true
	default:
		s.kill(g, causeRevoked)
	}
	return nil
}
