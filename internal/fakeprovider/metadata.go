package fakeprovider

import (
	"net/http"
	"slices"
	"strings"
)

// metadata is the authorization server's metadata (RFC 8414, OpenID Connect
// Discovery). Its URLs have the scheme and host that the request came to.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault := s.takeFault(faultCall{endpoint: EndpointMetadata, path: r.URL.Path})
	s.mu.Unlock()
	s.serve(w, r, fault, OAuth2, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if tenant := r.PathValue("tenant"); tenant != "" {
			s.tenantMetadata(w, r, tenant)
			return
		}
		base := baseURL(r)
		document := s.commonMetadata(base)
		document["issuer"] = s.issuer(r, OAuth2, "")
		document["authorization_endpoint"] = base + "/authorize"
		document["token_endpoint"] = base + "/token"
		document["device_authorization_endpoint"] = base + "/device_authorization"
		document["userinfo_endpoint"] = base + "/userinfo"
		document["jwks_uri"] = base + "/jwks"
		document["code_challenge_methods_supported"] = []string{"S256"}
		document["subject_types_supported"] = []string{"public"}
		document["authorization_response_iss_parameter_supported"] = s.settings.IssParameter
		writeJSON(w, http.StatusOK, document)
	})
}

// tenantMetadata is Microsoft's document of one tenant. For several tenants it
// has "{tenantid}" in the issuer, word for word, and a domain's has the ID of
// the tenant that the domain belongs to.
func (s *Server) tenantMetadata(w http.ResponseWriter, r *http.Request, tenant string) {
	id, exists := s.tenantID(tenant)
	if !exists {
		unknownTenant.write(w, Microsoft, s.clock())
		return
	}
	if slices.Contains(anyTenant, id) {
		id = "{tenantid}"
	}
	base := baseURL(r)
	at := base + "/" + strings.ToLower(tenant)
	document := s.commonMetadata(base)
	document["issuer"] = base + "/" + id + "/v2.0"
	document["authorization_endpoint"] = at + "/oauth2/v2.0/authorize"
	document["token_endpoint"] = at + "/oauth2/v2.0/token"
	document["device_authorization_endpoint"] = at + "/oauth2/v2.0/devicecode"
	document["userinfo_endpoint"] = base + "/oidc/userinfo"
	document["jwks_uri"] = at + "/discovery/v2.0/keys"
	document["subject_types_supported"] = []string{"pairwise"}
	writeJSON(w, http.StatusOK, document)
}

func (s *Server) commonMetadata(base string) map[string]any {
	return map[string]any{
		"token_endpoint_auth_methods_supported":            authMethods,
		"token_endpoint_auth_signing_alg_values_supported": assertionAlgorithms,
		"revocation_endpoint":                              base + "/revoke",
		"revocation_endpoint_auth_methods_supported":       authMethods,
		"grant_types_supported": []string{
			"authorization_code", "refresh_token", grantTypeDevice, "client_credentials", grantTypeJWTBearer,
		},
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported":                      identityScopes,
	}
}

func baseURL(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
