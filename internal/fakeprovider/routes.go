package fakeprovider

import (
	"net/http"
	"slices"
)

// The hosts of the APIs. Whoever comes by an address instead of a name is let
// through everywhere.
var (
	gmailHosts      = []string{"gmail.googleapis.com", googleHost}
	driveHosts      = []string{googleHost, "drive.googleapis.com"}
	discoveryNames  = []string{googleHost, "gmail.googleapis.com", "drive.googleapis.com"}
	sharePointHosts = []string{sharePointHost}
	outlookHosts    = []string{outlookHost}
	reportHosts     = []string{reportsHost}
)

// apiPrefixes are the paths of the APIs.
var apiPrefixes = []string{
	"/gmail/", "/drive/", "/upload/", "/batch", "/discovery/", "/$discovery/",
	"/v1.0/", "/_layouts/", "/_api/", "/api/v2.0/", "/data/",
	"/bytes/", "/sse", "/status/",
}

// apiRoutes are the calls with a token, and those that must come without.
func (s *Server) apiRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, routes := range []map[string]apiHandler{s.plainRoutes(), s.gmailRoutes(), s.driveRoutes(), s.graphRoutes()} {
		for pattern, handler := range routes {
			mux.HandleFunc(pattern, s.authenticated(handler))
		}
	}
	for pattern, handler := range map[string]http.HandlerFunc{
		"GET /discovery/v1/apis/{api}/{version}/rest": at(discoveryNames, discover),
		"GET /$discovery/rest":                        at(discoveryNames, discover),
		"/_layouts/15/download.aspx":                  at(sharePointHosts, s.download),
		"/_api/v2.0/drive/items/{item}/uploadSession": at(sharePointHosts, s.graphSession(true, (*session).takeDrive)),
		"/_api/v2.0/monitor/{id}":                     at(sharePointHosts, s.monitor),
		"/api/v2.0/{user}/{message}/{session}":        at(outlookHosts, s.graphSession(false, (*session).takeAttachment)),
		"/_layouts/":                                  at(sharePointHosts, publicNotFound),
		"/_api/":                                      at(sharePointHosts, publicNotFound),
		"/api/v2.0/":                                  at(outlookHosts, publicNotFound),
		"GET /data/download/{report}":                 at(reportHosts, s.report),
		"/data/":                                      at(reportHosts, publicNotFound),
	} {
		mux.HandleFunc(pattern, s.public(handler))
	}
	return mux
}

func (s *Server) plainRoutes() map[string]apiHandler {
	return map[string]apiHandler{
		"GET /bytes/{n}":              sendBytes,
		"GET /sse":                    sendEvents,
		"/status/{code}":              sendStatus,
		"/status/{code}/{ignored...}": sendStatus,
	}
}

func (s *Server) gmailRoutes() map[string]apiHandler {
	send := s.googleUpload(http.MethodPost, s.gmailUpload(s.answerSent))
	draft := s.googleUpload(http.MethodPost, s.gmailUpload(s.answerDraft))
	return map[string]apiHandler{
		"GET /gmail/v1/users/{user}/profile":                                s.gmailProfile,
		"GET /gmail/v1/users/{user}/messages":                               s.gmailMessages,
		"GET /gmail/v1/users/{user}/messages/{id}":                          s.gmailMessage,
		"GET /gmail/v1/users/{user}/messages/{id}/attachments/{attachment}": s.gmailAttachment,
		"POST /gmail/v1/users/{user}/messages/send":                         s.gmailSend,
		"POST /gmail/v1/users/{user}/drafts":                                s.gmailDraft,
		"POST /gmail/v1/users/{user}/drafts/send":                           s.gmailSendDraft,
		"/upload/gmail/v1/users/{user}/messages/send":                       tokenAt(gmailHosts, send),
		"/upload/gmail/v1/users/{user}/drafts":                              tokenAt(gmailHosts, draft),
		"POST /batch":                                                       tokenAt(gmailHosts[:1], s.googleBatch("/gmail/v1/")),
		"POST /batch/gmail/v1":                                              tokenAt(gmailHosts, s.googleBatch("/gmail/v1/")),
		"/gmail/":                                                           notFound,
		"/batch/":                                                           notFound,
		"/upload/":                                                          notFound,
	}
}

func (s *Server) driveRoutes() map[string]apiHandler {
	upload := tokenAt(driveHosts, s.googleUpload(http.MethodPost, s.driveUpload))
	update := tokenAt(driveHosts, s.googleUpload(http.MethodPatch, s.driveUpload))
	return map[string]apiHandler{
		"GET /drive/v3/files":         tokenAt(driveHosts, s.driveList),
		"POST /drive/v3/files":        tokenAt(driveHosts, s.driveCreate),
		"GET /drive/v3/files/{id}":    tokenAt(driveHosts, s.driveGet),
		"PATCH /drive/v3/files/{id}":  tokenAt(driveHosts, s.driveUpdate),
		"DELETE /drive/v3/files/{id}": tokenAt(driveHosts, s.driveDelete),
		"GET /drive/v2/files":         tokenAt(driveHosts, s.driveListV2),
		"/upload/drive/v3/files":      upload,
		"/upload/drive/v3/files/{id}": update,
		"POST /batch/drive/v3":        tokenAt(driveHosts, s.googleBatch("/drive/v3/")),
		"/drive/":                     notFound,
	}
}

func (s *Server) graphRoutes() map[string]apiHandler {
	return map[string]apiHandler{
		"GET /v1.0/me":                                         s.graphMe,
		"POST /v1.0/me/sendMail":                               s.graphSend,
		"GET /v1.0/me/messages":                                s.graphMessages,
		"GET /v1.0/me/messages/delta":                          s.graphDelta,
		"GET /v1.0/me/messages/{id}":                           s.graphMessageByID,
		"GET /v1.0/me/messages/{id}/$value":                    s.graphMessageValue,
		"GET /v1.0/me/messages/{id}/attachments":               s.graphAttachments,
		"POST /v1.0/me/messages/{id}/attachments/{action}":     s.graphAttachmentSession,
		"GET /v1.0/me/messages/{id}/attachments/{name}/$value": s.graphAttachmentValue,
		"GET /v1.0/me/events/{id}":                             hostile(hostileEvent),
		"GET /v1.0/sites/root/lists/{list}/items":              hostile(hostileItems),
		"GET /v1.0/me/drive/root":                              s.graphRoot,
		"GET /v1.0/me/drive/root/children":                     s.graphChildren,
		"POST /v1.0/me/drive/root/children":                    s.graphAddChild,
		"/v1.0/me/drive/root:/{rest...}":                       s.graphByPath,
		"/v1.0/me/drive/items/{id}/{rest...}":                  s.graphByID,
		"/v1.0/me/drive/items/{id}":                            s.graphByID,
		"POST /v1.0/$batch":                                    s.graphBatch,
		"GET /v1.0/reports/{report}":                           s.graphReport,
		"/v1.0/v1.0/":                                          versionTwice,
		"GET " + LargePath:                                     graphLarge,
		"/v1.0/":                                               notFound,
	}
}

// at lets through what came to one of the hosts, as at the real ones.
func at(hosts []string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !addressedByIP(r) && !slices.Contains(hosts, hostname(r)) {
			notFound(w, r, caller{})
			return
		}
		next(w, r)
	}
}

func tokenAt(hosts []string, next apiHandler) apiHandler {
	return func(w http.ResponseWriter, r *http.Request, who caller) {
		at(hosts, func(w http.ResponseWriter, r *http.Request) { next(w, r, who) })(w, r)
	}
}

// public lets through calls of what carries its own authority or needs none.
// One with a token is refused, as SharePoint does, and counted.
func (s *Server) public(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, unwanted := r.Header["Authorization"]
		s.mu.Lock()
		if unwanted {
			s.totals.UnwantedTokens++
		} else {
			s.totals.PublicCalls++
		}
		fault := s.takeFault(faultCall{endpoint: EndpointAPI, path: r.URL.Path})
		s.mu.Unlock()
		s.serve(w, r, fault, OAuth2, func(w http.ResponseWriter, r *http.Request) {
			if unwanted {
				unauthorized(w, r)
				return
			}
			next(w, r)
		})
	}
}

func publicNotFound(w http.ResponseWriter, r *http.Request) { notFound(w, r, caller{}) }
