package fakeprovider

import (
	"net/http"
	"slices"
	"strings"
)

// clientCredentials gives a client a token of its own (RFC 6749 section 4.4).
// Microsoft gives it for one resource of one tenant, with what an administrator
// allowed there beforehand. The caller holds mu.
func (s *Server) clientCredentials(req tokenRequest, client Client) (issued issue, no *refusal) {
	requested := strings.Fields(req.form.Get("scope"))
	subject, audience := "", ""
	switch {
	case !client.ClientCredentials || req.credentials.method == ClientNone:
		return issue{}, &refusal{
			status: http.StatusBadRequest, code: "unauthorized_client",
			description: "The client may not use client credentials.", aadsts: []int{7000218},
		}
	case client.Dialect == Microsoft:
		tenant, exists := s.tenantID(req.tenant)
		switch {
		case !exists:
			return issue{}, unknownTenant
		case slices.Contains(anyTenant, tenant) || tenant == ConsumersTenant:
			return issue{}, tenantNotSpecific
		case client.Tenant != "" && client.Tenant != tenant:
			return issue{}, appNotInTenant
		case len(requested) != 1 || !strings.HasSuffix(requested[0], "/.default"):
			return issue{}, scopeNotDefault
		}
		subject, audience = tenant, audienceOf(requested[0])
	default:
		if no := client.checkScopes(requested); no != nil {
			return issue{}, no
		}
	}
	g := s.machineGrant(client.ID, subject, client.ID)
	pair := tokenPair{access: s.addAccessToken(g, audience, requested), outcome: OutcomeIssued}
	return issue{tokenPair: pair, grant: g, scopes: requested}, nil
}

var (
	tenantNotSpecific = &refusal{
		status: http.StatusBadRequest, code: "invalid_request",
		description: "The tenant is not specific: client credentials need the ID or a domain of a tenant.", aadsts: []int{50059},
	}
	scopeNotDefault = &refusal{
		status: http.StatusBadRequest, code: "invalid_scope",
		description: "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).",
		aadsts:      []int{1002012},
	}
)
