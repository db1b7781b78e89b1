package fakeprovider

import "net/http"

// metadata is the authorization server's metadata (RFC 8414, OpenID Connect
// Discovery). Its URLs have the scheme and host that the request came to.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault := s.takeFault(faultCall{endpoint: EndpointMetadata, path: r.URL.Path})
	s.mu.Unlock()
	s.serve(w, r, fault, OAuth2, func(w http.ResponseWriter, r *http.Request) {
		base := baseURL(r)
		issuer, token := base, base+"/token"
		if tenant := r.PathValue("tenant"); tenant != "" {
			issuer, token = base+"/"+tenant+"/v2.0", base+"/"+tenant+"/oauth2/v2.0/token"
		}
		methods := []AuthMethod{ClientSecretBasic, ClientSecretPost, ClientNone}
		writeJSON(w, http.StatusOK, map[string]any{
			"issuer":                                     issuer,
			"token_endpoint":                             token,
			"token_endpoint_auth_methods_supported":      methods,
			"revocation_endpoint":                        base + "/revoke",
			"revocation_endpoint_auth_methods_supported": methods,
			"grant_types_supported":                      []string{"refresh_token"},
			"response_types_supported":                   []string{},
		})
	})
}

func baseURL(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
