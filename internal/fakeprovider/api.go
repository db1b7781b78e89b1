package fakeprovider

import (
	"net/http"
	"slices"
	"strings"
)

// graphHosts are the audiences of tokens that /v1.0/ accepts: Graph in each of
// Microsoft's clouds.
var graphHosts = []string{
	graphHost, "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn",
}

// caller is whose live access token an API call came with.
type caller struct {
	grant    *grant
	number   int
	audience string
}

type apiHandler func(http.ResponseWriter, *http.Request, caller)

// dialectOf says whose API a path belongs to.
func dialectOf(r *http.Request) Dialect {
	hasPrefix := func(prefix string) bool { return strings.HasPrefix(r.URL.Path, prefix) }
	switch {
	case slices.ContainsFunc([]string{"/gmail/", "/drive/", "/upload/", "/batch", "/discovery/", "/$discovery/"}, hasPrefix):
		return Google
	case slices.ContainsFunc([]string{"/v1.0/", "/_layouts/", "/_api/", "/api/v2.0/", "/data/"}, hasPrefix):
		return Microsoft
	}
	return OAuth2
}

// authenticated lets through calls with a live access token for the audience
// that the path belongs to, and applies faults.
func (s *Server) authenticated(next apiHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		who, live := s.identify(r)
		call := faultCall{endpoint: EndpointAPI, path: r.URL.Path, audience: who.audience}
		if who.grant != nil {
			call.grant = who.grant.ID
		}
		s.count(who.grant, func(c *Counters) {
			if live {
				c.APICalls++
			} else {
				c.APIUnauthorized++
			}
		})
		fault := s.takeFault(call)
		s.mu.Unlock()
		s.serve(w, r, fault, OAuth2, func(w http.ResponseWriter, r *http.Request) {
			if !live {
				unauthorized(w, r)
				return
			}
			if dialectOf(r) == Google && inflate(r) != nil {
				badUpload(w, "The body is not compressed as its Content-Encoding says")
				return
			}
			next(w, r, who)
		})
	}
}

// identify finds the grant of the request's access token, and whether the
// token is good for this request. The caller holds mu.
func (s *Server) identify(r *http.Request) (who caller, live bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return caller{}, false
	}
	scheme, value, _ := strings.Cut(values[0], " ")
	token := s.access[value]
	if token == nil || !strings.EqualFold(scheme, "Bearer") {
		return caller{}, false
	}
	who = caller{grant: token.grant, number: token.number, audience: token.audience}
	switch dialectOf(r) {
	case Google:
		live = token.audience == ""
	case Microsoft:
		live = token.audience == "" || slices.Contains(graphHosts, token.audience)
	default:
		live = true
	}
	return who, live && token.live(s.clock())
}

// unauthorized is a 401 as the called API words it.
func unauthorized(w http.ResponseWriter, r *http.Request) {
	switch dialectOf(r) {
	case Google:
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/", error="invalid_token"`)
		googleError(w, http.StatusUnauthorized, "UNAUTHENTICATED", "authError", "Invalid Credentials")
	case Microsoft:
		w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
		graphError(w, r, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="fakeprovider", error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
	}
}

func notFound(w http.ResponseWriter, r *http.Request, _ caller) {
	if dialectOf(r) == Google {
		googleError(w, http.StatusNotFound, "NOT_FOUND", "notFound", "Requested entity was not found.")
		return
	}
	graphError(w, r, http.StatusNotFound, "ResourceNotFound", "Resource not found for the segment.")
}
