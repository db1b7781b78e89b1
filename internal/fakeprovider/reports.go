package fakeprovider

import (
	"net/http"
	"net/url"
	"strings"
)

// reportsHost is where Graph's usage reports are.
const reportsHost = "reports.office.com"

// graphReport redirects to a report.
func (s *Server) graphReport(w http.ResponseWriter, r *http.Request, who caller) {
	name, _, _ := strings.Cut(r.PathValue("report"), "(")
	secret := s.newLink(link{kind: kindDownload, file: &file{
		File:    File{ID: name, Grant: who.grant.ID, Name: name + ".csv", MIMEType: "application/octet-stream"},
		content: contentOf(strings.NewReader("Report Refresh Date,User Principal Name\n2026-01-01," + who.grant.Email + "\n")),
		created: s.time(),
	}})
	w.Header().Set("Location", "https://"+reportsHost+"/data/download/"+name+"?tempauth="+secret)
	w.WriteHeader(http.StatusFound)
}

// report answers what a redirect of graphReport led to.
func (s *Server) report(w http.ResponseWriter, r *http.Request) {
	query := url.Values{"UniqueId": {r.PathValue("report")}, "tempauth": {r.URL.Query().Get("tempauth")}}
	f := s.linked(&url.URL{RawQuery: query.Encode()}, kindDownload)
	if f == nil {
		accessDenied(w, r)
		return
	}
	_ = sendFile(w, r, f) // short enough to be kept
}
