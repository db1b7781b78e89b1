package fakeprovider

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Decision is what a person decides on the page of the authorization or of the
// device endpoint.
type Decision struct {
	// Person is who signs in, by subject or login. Default: whom the
	// login_hint names, else the first of the server's people.
	Person string `json:"person,omitempty"`
	// Scopes are those that are allowed. Default: all that were asked for.
	Scopes []string `json:"scopes,omitempty"`
	// Deny refuses.
	Deny bool `json:"deny,omitempty"`
	// Error and Description are sent back in the place of an answer: what the
	// server itself has against the request.
	Error       string `json:"error,omitempty"`
	Description string `json:"description,omitempty"`
}

// form is the decision as the page's form has it.
func (d Decision) form(requested []string) url.Values {
	form := url.Values{"person": {d.Person}, "decision": {"allow"}}
	if d.Deny {
		form.Set("decision", "deny")
	}
	if d.Error != "" {
		form.Set("error", d.Error)
		form.Set("error_description", d.Description)
	}
	form["scope"] = d.Scopes
	if len(d.Scopes) == 0 {
		form["scope"] = requested
	}
	return form
}

// decide carries out what the page's form says, and returns the outcome for the
// log. The caller holds mu.
func (s *Server) decide(w http.ResponseWriter, r *http.Request, a authorization) (outcome string) {
	person, known := s.chosenPerson(r.PostForm.Get("person"), a.hint)
	if !known {
		s.showRefusalLocked(w, r, a.client.Dialect, refusedRequest("Nobody of that name can sign in here."))
		return "invalid_request"
	}
	refuse := func(no *refusal, redirect bool) string {
		if redirect {
			s.redirectRefusal(w, a, no)
		} else {
			s.showRefusalLocked(w, r, a.client.Dialect, no)
		}
		return no.code
	}
	denied := r.PostForm.Get("decision") != "allow"
	if !denied && a.client.Dialect == Microsoft && !admits(a.tenant, person.Tenant) {
		return refuse(personNotInTenant, false)
	}
	if !denied && a.client.Dialect == Google && len(a.client.Testers) > 0 && !slices.Contains(a.client.Testers, person.Email) {
		return refuse(notATester, false)
	}
	granted, no := s.judgeDecision(r.PostForm, a, person)
	switch {
	case no != nil:
		return refuse(no, true)
	case a.admin:
		s.adminConsents[adminConsent{a.client.ID, person.Tenant}] = true
		a.redirect(w, url.Values{
			"admin_consent": {"True"}, "tenant": {person.Tenant}, "scope": {strings.Join(a.scopes, " ")},
		})
		return OutcomeAdminConsent
	}
	a.redirect(w, url.Values{"code": {s.issueCode(a, person, granted)}})
	return OutcomeCode
}

// adminConsent is whose administrator consented to what.
type adminConsent struct{ client, tenant string }

// chosenPerson is who sits before the page. The caller holds mu.
func (s *Server) chosenPerson(chosen, hint string) (Person, bool) {
	if chosen != "" {
		return s.person(chosen)
	}
	if person, known := s.person(hint); known {
		return person, true
	}
	if len(s.people) == 0 {
		return Person{}, false
	}
	return s.people[0], true
}

// judgeDecision returns what the person granted. The caller holds mu.
func (s *Server) judgeDecision(form url.Values, a authorization, person Person) (granted []string, no *refusal) {
	consented := s.adminConsents[adminConsent{a.client.ID, person.Tenant}]
	microsoft := a.client.Dialect == Microsoft
	switch {
	case form.Get("error") != "":
		return nil, &refusal{status: http.StatusBadRequest, code: form.Get("error"), description: form.Get("error_description")}
	case form.Get("decision") != "allow" && a.admin:
		return nil, adminDeclined
	case form.Get("decision") != "allow":
		return nil, declined
	case a.admin && !person.Admin, microsoft && person.NeedsAdmin && !consented:
		return nil, adminNeeded
	}
	for _, scope := range a.scopes {
		if slices.Contains(form["scope"], scope) || a.client.Dialect == Google && slices.Contains(googleIdentity, googleScope(scope)) {
			granted = append(granted, scope)
		}
	}
	if len(granted) == 0 {
		return nil, declined
	}
	return granted, nil
}
