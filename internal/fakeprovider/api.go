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

func (s *Server) apiRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, handler := range map[string]apiHandler{
		"GET /gmail/v1/users/{user}/profile":        s.gmailProfile,
		"GET /gmail/v1/users/{user}/messages":       s.gmailMessages,
		"GET /gmail/v1/users/{user}/messages/{id}":  s.gmailMessage,
		"POST /gmail/v1/users/{user}/messages/send": s.gmailSend,
		"/gmail/":                     notFound,
		"GET /v1.0/me":                s.graphMe,
		"GET /v1.0/me/messages":       s.graphMessages,
		"POST /v1.0/me/sendMail":      s.graphSend,
		"GET " + LargePath:            graphLarge,
		"/v1.0/":                      notFound,
		"GET /bytes/{n}":              sendBytes,
		"GET /sse":                    sendEvents,
		"/status/{code}":              sendStatus,
		"/status/{code}/{ignored...}": sendStatus,
	} {
		mux.HandleFunc(pattern, s.authenticated(handler))
	}
	return mux
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
	switch {
	case strings.HasPrefix(r.URL.Path, "/gmail/"):
		live = token.audience == ""
	case strings.HasPrefix(r.URL.Path, "/v1.0/"):
		live = token.audience == "" || slices.Contains(graphHosts, token.audience)
	default:
		live = true
	}
	return who, live && token.live(s.clock())
}

// unauthorized is a 401 as the called API words it.
func unauthorized(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/gmail/"):
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/", error="invalid_token"`)
		googleError(w, http.StatusUnauthorized, "UNAUTHENTICATED", "authError", "Invalid Credentials")
	case strings.HasPrefix(r.URL.Path, "/v1.0/"):
		w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
		graphError(w, r, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="fakeprovider", error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
	}
}

func notFound(w http.ResponseWriter, r *http.Request, _ caller) {
	if strings.HasPrefix(r.URL.Path, "/gmail/") {
		googleError(w, http.StatusNotFound, "NOT_FOUND", "notFound", "Requested entity was not found.")
		return
	}
	graphError(w, r, http.StatusNotFound, "ResourceNotFound", "Resource not found for the segment.")
}
