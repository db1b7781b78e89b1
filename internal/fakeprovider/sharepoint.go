package fakeprovider

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// sharePointHost is where Graph sends callers for bytes. Its URLs carry their
// own authority, and it refuses requests that bring another.
const sharePointHost = "contoso.sharepoint.com"

// linkLife is how long a download URL works.
const linkLife = time.Hour

type linkKind int

const (
	kindDownload linkKind = iota + 1
	kindMonitor
)

// link is a URL that carries its own authority.
type link struct {
	kind    linkKind
	grant   *grant
	file    *file
	expires time.Time
	// For a monitor: what it is of, and how often it was asked for.
	operation string
	asked     int
}

// newLink remembers a link and returns the secret for its URL. The links of a
// list are many, so those that expired are forgotten.
func (s *Server) newLink(l link) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	if len(s.links)%1000 == 999 {
		for secret, old := range s.links {
			if !now.Before(old.expires) {
				delete(s.links, secret)
			}
		}
	}
	l.expires = now.Add(linkLife)
	secret := "v1." + rand.Text() + "_" + rand.Text()
	s.links[secret] = &l
	return secret
}

// downloadURL is where the bytes of f are for an hour.
func (s *Server) downloadURL(f *file) string {
	secret := s.newLink(link{kind: kindDownload, file: f})
	return "https://" + sharePointHost + "/_layouts/15/download.aspx?UniqueId=" + f.ID +
		"&Translate=false&tempauth=" + secret + "&ApiVersion=2.0"
}

// linked returns the file that a URL is good for, or nil.
func (s *Server) linked(u *url.URL, kind linkKind) *file {
	query := u.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.links[query.Get("tempauth")]
	if found == nil || found.kind != kind || !s.clock().Before(found.expires) || found.file.ID != query.Get("UniqueId") {
		return nil
	}
	return found.file
}

func accessDenied(w http.ResponseWriter, r *http.Request) {
	graphError(w, r, http.StatusUnauthorized, "unauthenticated", "The URL does not exist or has expired.")
}

func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	f := s.linked(r.URL, kindDownload)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		notFound(w, r, caller{})
	case f == nil:
		accessDenied(w, r)
	default:
		w.Header().Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(f.Name))
		if err := sendFile(w, r, f); err != nil {
			w.Header().Del("Content-Disposition")
			graphError(w, r, http.StatusForbidden, "accessDenied", err.Error())
		}
	}
}

// startOperation answers that something goes on, and where to look.
func (s *Server) startOperation(w http.ResponseWriter, who caller, operation string, made file) {
	secret := s.newLink(link{kind: kindMonitor, grant: who.grant, file: &made, operation: operation})
	w.Header().Set("Location", "https://"+sharePointHost+"/_api/v2.0/monitor/4A3407B5-88FC-4504-8B21-0AABD3412717?tempauth="+secret)
	w.WriteHeader(http.StatusAccepted)
}

// monitor says at the first call that an operation goes on, and then that it is
// done.
func (s *Server) monitor(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	found := s.links[r.URL.Query().Get("tempauth")]
	if found == nil || found.kind != kindMonitor || !s.clock().Before(found.expires) {
		s.mu.Unlock()
		accessDenied(w, r)
		return
	}
	found.asked++
	asked := found.asked
	s.mu.Unlock()
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		notFound(w, r, caller{})
	case asked == 1:
		graphHeader(w)
		w.WriteHeader(http.StatusAccepted)
		encodeJSON(w, map[string]any{"operation": found.operation, "percentageComplete": 27.8, "status": "inProgress"})
	default:
		s.mu.Lock()
		if found.file.ID == "" {
			made := *found.file
			made.Grant, made.created = found.grant.ID, s.clock()
			found.file = s.driveOf(found.grant).put(made)
		}
		id := found.file.ID
		s.mu.Unlock()
		graphJSON(w, map[string]any{"operation": found.operation, "percentageComplete": 100.0, "resourceId": id, "status": "completed"})
	}
}

// secretOf is what opens the session of an upload URL.
func secretOf(r *http.Request) string {
	query := r.URL.Query()
	if query.Has("authtoken") {
		return query.Get("authtoken")
	}
	return query.Get("tempauth")
}

// expected are the ranges that an upload lacks, as Graph writes them.
func (x *session) expected(to bool) []string {
	next := strconv.FormatInt(x.intake.size, 10)
	if to {
		next += "-"
		if x.total > 0 {
			next += strconv.FormatInt(x.total-1, 10)
		}
	}
	return []string{next}
}

// graphProgress is how far an upload is.
func (x *session) graphProgress(to bool) map[string]any {
	return map[string]any{"expirationDateTime": x.expires.Format(time.RFC3339), "nextExpectedRanges": x.expected(to)}
}
