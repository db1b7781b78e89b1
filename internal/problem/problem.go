// Package problem is how Bellhop says no: one value that every part can return
// and every dialect can print.
package problem

import (
	"errors"
	"net/http"
	"time"
)

// Code names a problem; it is the value of the Bellhop-Error header.
type Code string

// The codes of the HTTP API.
const (
	InvalidRequest        Code = "InvalidRequest"
	MissingKey            Code = "MissingKey"
	InvalidKey            Code = "InvalidKey"
	NotAllowed            Code = "NotAllowed"
	HostNotAllowed        Code = "HostNotAllowed"
	APIEndpointDisabled   Code = "ApiEndpointDisabled"
	AccountNotOAuth2      Code = "AccountNotOAuth2"
	AccountDisabled       Code = "AccountDisabled"
	OAuthRenewError       Code = "OauthRenewError"
	InsufficientScope     Code = "InsufficientScope"
	AccountNotFound       Code = "AccountNotFound"
	MethodNotAllowed      Code = "MethodNotAllowed"
	Conflict              Code = "Conflict"
	TooLarge              Code = "TooLarge"
	FailedDependency      Code = "FailedDependency"
	TooEarly              Code = "TooEarly"
	RateLimited           Code = "RateLimited"
	ProviderMisconfigured Code = "ProviderMisconfigured"
	ProviderError         Code = "ProviderError"
	UpstreamError         Code = "UpstreamError"
	ProviderUnavailable   Code = "ProviderUnavailable"
	StoreUnavailable      Code = "StoreUnavailable"
	UpstreamTimeout       Code = "UpstreamTimeout"
	Internal              Code = "InternalError"
)

var statuses = map[Code]int{
	InvalidRequest:        http.StatusBadRequest,
	MissingKey:            http.StatusUnauthorized,
	InvalidKey:            http.StatusUnauthorized,
	NotAllowed:            http.StatusForbidden,
	HostNotAllowed:        http.StatusForbidden,
	APIEndpointDisabled:   http.StatusForbidden,
	AccountNotOAuth2:      http.StatusForbidden,
	AccountDisabled:       http.StatusForbidden,
	OAuthRenewError:       http.StatusForbidden,
	InsufficientScope:     http.StatusForbidden,
	AccountNotFound:       http.StatusNotFound,
	MethodNotAllowed:      http.StatusMethodNotAllowed,
	Conflict:              http.StatusConflict,
	TooLarge:              http.StatusRequestEntityTooLarge,
	FailedDependency:      http.StatusFailedDependency,
	TooEarly:              http.StatusTooEarly,
	RateLimited:           http.StatusTooManyRequests,
	ProviderMisconfigured: http.StatusInternalServerError,
	ProviderError:         http.StatusBadGateway,
	UpstreamError:         http.StatusBadGateway,
	ProviderUnavailable:   http.StatusServiceUnavailable,
	StoreUnavailable:      http.StatusServiceUnavailable,
	UpstreamTimeout:       http.StatusGatewayTimeout,
	Internal:              http.StatusInternalServerError,
}

// Problem is one refusal or failure of Bellhop's own. It never carries a
// secret: whatever is in it may be shown to the caller, but for Err.
type Problem struct {
	// Code names the problem.
	Code Code
	// Message is for the caller: what is wrong and what mends it.
	Message string
	// Status is the HTTP status.
	Status int
	// RetryAfter is when to come back; 0 says nothing.
	RetryAfter time.Duration
	// Limit is how many calls the caller's rate allows at once; 0 says nothing.
	Limit int
	// Challenge is the value of WWW-Authenticate; empty for none.
	Challenge string
	// Details are further members of the JSON answer, in order.
	Details []Detail
	// Err is the cause, for the log only.
	Err error
}

// Detail is one further member of a problem's JSON.
type Detail struct {
	Name  string
	Value any
}

// New makes a problem with its code's usual status.
func New(code Code, message string) *Problem {
	return &Problem{Code: code, Message: message, Status: statuses[code]}
}

// With adds a member to the JSON answer.
func (p *Problem) With(name string, value any) *Problem {
	p.Details = append(p.Details, Detail{Name: name, Value: value})
	return p
}

// Because sets the cause for the log.
func (p *Problem) Because(err error) *Problem {
	p.Err = err
	return p
}

// Error implements error.
func (p *Problem) Error() string {
	if p.Err != nil {
		return string(p.Code) + ": " + p.Message + ": " + p.Err.Error()
	}
	return string(p.Code) + ": " + p.Message
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// From finds the problem in err; what is none becomes [Internal], its text for
// the log alone.
func From(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	return New(Internal, "An internal server error occurred").Because(err)
}
