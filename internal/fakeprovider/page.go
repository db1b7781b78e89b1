package fakeprovider

import (
	"embed"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

//go:embed pages/*.html
var pageFiles embed.FS

// pages are what people see; consent.html is that of the authorization
// endpoint, device.html where a user code is entered.
var pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// consentPage is what a person decides about.
type consentPage struct {
	Brand, Client string
	People        []Person
	// Chosen is the subject of who is selected already.
	Chosen string
	// Scopes are offered for choice, Fixed come with any consent.
	Scopes, Fixed []string
	Admin         bool
	// UserCode is set on the page of a device.
	UserCode string
}

// brands name the authorization server on its pages.
var brands = map[Dialect]string{OAuth2: "Example ID", Google: "Google (stand-in)", Microsoft: "Microsoft (stand-in)"}

// showConsent shows the page of an authorization request. The caller holds mu.
func (s *Server) showConsent(w http.ResponseWriter, a authorization) {
	page := s.consentPage(a)
	page.People = slices.DeleteFunc(page.People, func(p Person) bool {
		return a.client.Dialect == Microsoft && !admits(a.tenant, p.Tenant)
	})
	showPage(w, http.StatusOK, "consent.html", page)
}

// consentPage fills the page for a request. The caller holds mu.
func (s *Server) consentPage(a authorization) consentPage {
	page := consentPage{
		Brand: brands[a.client.Dialect], Client: a.client.ID, People: slices.Clone(s.people), Admin: a.admin,
	}
	if person, known := s.chosenPerson("", a.hint); known {
		page.Chosen = person.Subject
	}
	for _, scope := range a.scopes {
		// Microsoft's page is for all or nothing.
		if a.client.Dialect == Microsoft || a.client.Dialect == Google && slices.Contains(googleIdentity, googleScope(scope)) {
			page.Fixed = append(page.Fixed, scope)
		} else {
			page.Scopes = append(page.Scopes, scope)
		}
	}
	return page
}

func (s *Server) showRefusal(w http.ResponseWriter, r *http.Request, d Dialect, no *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.showRefusalLocked(w, r, d, no)
}

// showRefusalLocked shows an error to the person: as JSON to who asks for that.
// The caller holds mu.
func (s *Server) showRefusalLocked(w http.ResponseWriter, r *http.Request, d Dialect, no *refusal) {
	body := no.body(d, s.clock())
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		writeJSON(w, no.status, body)
		return
	}
	showPage(w, no.status, "error.html", map[string]any{
		"Brand": brands[d], "Status": no.status, "Code": body["error"], "Description": body["error_description"],
	})
}

func showPage(w http.ResponseWriter, status int, name string, data any) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	w.WriteHeader(status)
	_ = pages.ExecuteTemplate(w, name, data) // the client may have left
}
