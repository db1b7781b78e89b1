package fakeprovider

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Person is somebody who can sign in at the authorization server.
type Person struct {
	// Subject names the person for good. Microsoft's dialect shows clients a
	// subject of their own derived from it.
	Subject string `json:"subject"`
	Name    string `json:"name,omitempty"`
	// Email is the person's login too. In Microsoft's dialect nothing proves
	// it, whatever EmailVerified says.
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	// HostedDomain is the Google Workspace domain ("hd"), if there is one.
	HostedDomain string `json:"hosted_domain,omitempty"`
	// Tenant and Object are the "tid" and "oid" in Microsoft's dialect.
	// Default: those of [DefaultTenant] and of the subject.
	Tenant string `json:"tenant,omitempty"`
	Object string `json:"object,omitempty"`
	// Admin may consent for the whole tenant. NeedsAdmin may consent to
	// nothing before an Admin did (Microsoft).
	Admin      bool `json:"admin,omitempty"`
	NeedsAdmin bool `json:"needs_admin,omitempty"`
}

// Tenant is a directory in Microsoft's dialect.
type Tenant struct {
	// ID is a GUID in lower case.
	ID string `json:"id"`
	// Domains name the tenant in URLs as well.
	Domains []string `json:"domains,omitempty"`
}

// ConsumersTenant is the tenant of all personal accounts at Microsoft.
const ConsumersTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// DefaultTenant exists from the start, beside that of the consumers.
var DefaultTenant = Tenant{ID: "5f0cd2b2-6f2b-4c4e-9a53-0f1b7a1f2c11", Domains: []string{"example.com"}}

// DefaultPeople are known from the start.
var DefaultPeople = []Person{
	{Subject: "110248495921238986420", Name: "Alice Example", Email: "alice@example.com", EmailVerified: true, HostedDomain: "example.com", Admin: true},
	{Subject: "104857600073741824000", Name: "Bob Example", Email: "bob@example.com", EmailVerified: true, HostedDomain: "example.com"},
}

var guidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// SetPeople replaces the people that the server knows. Their tenants exist from
// then on.
func (s *Server) SetPeople(people ...Person) error {
	complete := slices.Clone(people)
	for i := range complete {
		if err := complete[i].complete(); err != nil {
			return fmt.Errorf("person %d: %w", i, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.people = complete
	return nil
}

func (p *Person) complete() error {
	if p.Subject == "" || p.Email == "" {
		return errors.New("subject or email is empty")
	}
	if p.Tenant == "" {
		p.Tenant = DefaultTenant.ID
	}
	if p.Object == "" {
		p.Object = derivedUUID("oid", p.Subject)
	}
	if !guidForm.MatchString(p.Tenant) || !guidForm.MatchString(p.Object) {
		return errors.New("tenant or object is not a GUID in lower case")
	}
	return nil
}

// People returns the people that the server knows.
func (s *Server) People() []Person {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.people)
}

// SetTenants replaces the tenants that exist beside the people's own.
func (s *Server) SetTenants(tenants ...Tenant) error {
	for i, t := range tenants {
		if !guidForm.MatchString(t.ID) {
			return fmt.Errorf("tenant %d: id is not a GUID in lower case", i)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenants = slices.Clone(tenants)
	return nil
}

// person finds somebody by subject or by login. The caller holds mu.
func (s *Server) person(name string) (Person, bool) {
	i := slices.IndexFunc(s.people, func(p Person) bool {
		return p.Subject == name || strings.EqualFold(p.Email, name)
	})
	if i < 0 {
		return Person{}, false
	}
	return s.people[i], true
}

// anyTenant are the names that stand for more than one tenant.
var anyTenant = []string{"common", "organizations"}

// tenantID finds the tenant that a URL names. The names that stand for several
// are returned as they are. The caller holds mu.
func (s *Server) tenantID(name string) (id string, exists bool) {
	name = strings.ToLower(name)
	switch {
	case slices.Contains(anyTenant, name):
		return name, true
	case name == "consumers" || name == ConsumersTenant:
		return ConsumersTenant, true
	case slices.ContainsFunc(s.people, func(p Person) bool { return p.Tenant == name }):
		return name, true
	}
	for _, t := range s.tenants {
		if t.ID == name || slices.ContainsFunc(t.Domains, func(d string) bool { return strings.EqualFold(d, name) }) {
			return t.ID, true
		}
	}
	return "", false
}

// admits reports whether a tenant, as [Server.tenantID] gives it, lets in the
// people of another.
func admits(tenant, of string) bool {
	switch tenant {
	case "", "common":
		return true
	case "organizations":
		return of != ConsumersTenant
	}
	return tenant == of
}
