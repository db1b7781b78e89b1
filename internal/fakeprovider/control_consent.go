package fakeprovider

import (
	"context"
	"errors"
	"net/http"
)

// consentControls are the control interface of all that has to do with consent.
func (s *Server) consentControls() map[string]controlHandler {
	return map[string]controlHandler{
		"GET /control/people":             s.controlPeople,
		"PUT /control/people":             s.controlSetPeople,
		"PUT /control/tenants":            s.controlSetTenants,
		"GET /control/authorize-requests": s.controlAuthorizeRequests,
		"POST /control/consent":           s.controlConsent,
		"POST /control/device":            s.controlDevice,
		"POST /control/service-accounts":  s.controlServiceAccount,
		"POST /control/workloads":         s.controlWorkload,
		"POST /control/keys":              s.controlRotateKeys,
	}
}

func (s *Server) controlPeople(*http.Request) (any, error) { return s.People(), nil }

func (s *Server) controlSetPeople(r *http.Request) (any, error) {
	var people []Person
	if err := decode(r.Body, &people); err != nil {
		return nil, err
	}
	return nil, s.SetPeople(people...)
}

func (s *Server) controlSetTenants(r *http.Request) (any, error) {
	var tenants []Tenant
	if err := decode(r.Body, &tenants); err != nil {
		return nil, err
	}
	return nil, s.SetTenants(tenants...)
}

func (s *Server) controlAuthorizeRequests(r *http.Request) (any, error) {
	return s.AuthorizeRequests(wantsValues(r)), nil
}

func (s *Server) controlRotateKeys(*http.Request) (any, error) {
	s.RotateKeys()
	return nil, nil
}

func (s *Server) controlServiceAccount(r *http.Request) (any, error) {
	var account ServiceAccount
	if err := decode(r.Body, &account); err != nil {
		return nil, err
	}
	return nil, s.RegisterServiceAccount(account)
}

func (s *Server) controlWorkload(r *http.Request) (any, error) {
	var workload Workload
	if err := decode(r.Body, &workload); err != nil {
		return nil, err
	}
	return nil, s.RegisterWorkload(workload)
}

// RegisterServiceAccount registers a Google service account.
func (c Control) RegisterServiceAccount(ctx context.Context, account ServiceAccount) error {
	return c.call(ctx, http.MethodPost, "/control/service-accounts", account, nil)
}

// RegisterWorkload registers a provider of a workload identity pool.
func (c Control) RegisterWorkload(ctx context.Context, w Workload) error {
	return c.call(ctx, http.MethodPost, "/control/workloads", w, nil)
}

type consentRequest struct {
	URL      string   `json:"url"`
	Decision Decision `json:"decision"`
}

// consentAnswer has a page's error beside the location, for [Control.Consent]
// to return as such.
type consentAnswer struct {
	Location string     `json:"location,omitempty"`
	Status   int        `json:"status,omitempty"`
	Page     *PageError `json:"page,omitempty"`
}

func (s *Server) controlConsent(r *http.Request) (any, error) {
	var request consentRequest
	if err := decode(r.Body, &request); err != nil {
		return nil, err
	}
	location, err := s.Consent(r.Context(), request.URL, request.Decision)
	if shown, ok := errors.AsType[*PageError](err); ok {
		return consentAnswer{Status: shown.Status, Page: shown}, nil
	}
	return consentAnswer{Location: location}, err
}

type deviceDecision struct {
	UserCode string   `json:"user_code"`
	Decision Decision `json:"decision"`
}

func (s *Server) controlDevice(r *http.Request) (any, error) {
	var request deviceDecision
	if err := decode(r.Body, &request); err != nil {
		return nil, err
	}
	return nil, s.DecideDevice(request.UserCode, request.Decision)
}

// DecideDevice does what a person does who enters the user code of a device.
func (c Control) DecideDevice(ctx context.Context, userCode string, d Decision) error {
	return c.call(ctx, http.MethodPost, "/control/device", deviceDecision{UserCode: userCode, Decision: d}, nil)
}

// People returns the people that the server knows.
func (c Control) People(ctx context.Context) (people []Person, err error) {
	err = c.call(ctx, http.MethodGet, "/control/people", nil, &people)
	return people, err
}

// SetPeople replaces the people that the server knows.
func (c Control) SetPeople(ctx context.Context, people ...Person) error {
	return c.call(ctx, http.MethodPut, "/control/people", people, nil)
}

// SetTenants replaces the tenants that exist beside the people's own.
func (c Control) SetTenants(ctx context.Context, tenants ...Tenant) error {
	return c.call(ctx, http.MethodPut, "/control/tenants", tenants, nil)
}

// AuthorizeRequests returns the log of authorization requests, with what binds
// them to a browser if values is set.
func (c Control) AuthorizeRequests(ctx context.Context, values bool) (entries []AuthorizeRequest, err error) {
	err = c.call(ctx, http.MethodGet, "/control/authorize-requests"+valuesQuery(values), nil, &entries)
	return entries, err
}

// RotateKeys makes the server sign ID tokens with a new key.
func (c Control) RotateKeys(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/control/keys", nil, nil)
}

// Consent does what a person with a browser does at authorizeURL; see
// [Server.Consent].
func (c Control) Consent(ctx context.Context, authorizeURL string, d Decision) (location string, err error) {
	var answer consentAnswer
	if err := c.call(ctx, http.MethodPost, "/control/consent", consentRequest{URL: authorizeURL, Decision: d}, &answer); err != nil {
		return "", err
	}
	if answer.Page != nil {
		answer.Page.Status = answer.Status
		return "", answer.Page
	}
	return answer.Location, nil
}
