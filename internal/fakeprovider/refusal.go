package fakeprovider

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// refusal is an error answer of the authorization server (RFC 6749 section
// 5.2) with what the dialects add to it.
type refusal struct {
	status      int
	code        string
	description string
	google      string // description in Google's words, if it has some
	googleCode  string // in the place of code, likewise
	suberror    string // Microsoft's alone
	subcode     string // Microsoft's alone, in redirects
	subtype     string // a scripted one, in every dialect
	aadsts      []int  // Microsoft's numbers
	outcome     string // for the log; the code if empty
}

var (
	deadGrant = &refusal{
		status: http.StatusBadRequest, code: "invalid_grant",
		description: "The refresh token is invalid, expired or revoked.", google: "Token has been expired or revoked.",
		suberror: "bad_token", aadsts: []int{50173},
	}
	unknownGrant = &refusal{
		status: http.StatusBadRequest, code: "invalid_grant",
		description: "The refresh token is invalid, expired or revoked.", google: "Bad Request",
		aadsts: []int{9002313},
	}
	reuseDetected = &refusal{
		status: http.StatusBadRequest, code: "invalid_grant",
		description: "The refresh token was used before; the grant is revoked.", google: "Token has been expired or revoked.",
		suberror: "bad_token", aadsts: []int{50173}, outcome: OutcomeReuseDetected,
	}
	unknownClient = &refusal{
		status: http.StatusUnauthorized, code: "invalid_client",
		description: "Client authentication failed.", google: "The OAuth client was not found.",
		aadsts: []int{700016},
	}
	wrongSecret = &refusal{
		status: http.StatusUnauthorized, code: "invalid_client",
		description: "Client authentication failed.", google: "Unauthorized",
		aadsts: []int{7000215},
	}
	scopeNotGranted = &refusal{
		status: http.StatusBadRequest, code: "invalid_scope",
		description: "The requested scope exceeds the scope granted by the resource owner.", google: "Bad Request",
		aadsts: []int{70011},
	}
	severalAudiences = &refusal{
		status: http.StatusBadRequest, code: "invalid_scope",
		description: "The scope contains more than one resource.", aadsts: []int{28000},
	}
	// consentRequired is how Microsoft refuses a scope outside the grant: the
	// code of a dead grant, told apart by the suberror alone.
	consentRequired = &refusal{
		status: http.StatusBadRequest, code: "invalid_grant",
		description: "The user or administrator has not consented to use the application.",
		suberror:    "consent_required", aadsts: []int{65001},
	}
	unsupportedGrantType = &refusal{
		status: http.StatusBadRequest, code: "unsupported_grant_type",
		description: "The grant type is not supported.", aadsts: []int{70003},
	}
	unknownToken = &refusal{
		status: http.StatusBadRequest, code: "invalid_token",
		description: "The token is unknown.", google: "Token expired or revoked",
	}
)

// Refusals of the authorization endpoint.
var (
	redirectMismatch = &refusal{
		status: http.StatusBadRequest, code: "invalid_request", googleCode: "redirect_uri_mismatch",
		description: "The redirect URI specified in the request does not match the redirect URIs configured for the application.",
		google:      "You can't sign in to this app because it doesn't comply with Google's OAuth 2.0 policy. If you're the app developer, register the redirect URI in the Google Cloud Console.",
		aadsts:      []int{50011},
	}
	unsupportedResponseType = &refusal{
		status: http.StatusBadRequest, code: "unsupported_response_type",
		description: "The response type is not supported.", aadsts: []int{700051},
	}
	scopeUnknown = &refusal{
		status: http.StatusBadRequest, code: "invalid_scope",
		description: "The requested scope is unknown, or not the client's to ask for.",
		google:      "Some requested scopes were invalid.", aadsts: []int{650053},
	}
	defaultBesideOthers = &refusal{
		status: http.StatusBadRequest, code: "invalid_scope",
		description: ".default scope can't be combined with resource-specific scopes.", aadsts: []int{70011},
	}
	loginRequired = &refusal{
		status: http.StatusBadRequest, code: "login_required",
		description: "Nobody is signed in, and prompt=none allows no page.", aadsts: []int{50058},
	}
	unknownTenant = &refusal{
		status: http.StatusBadRequest, code: "invalid_tenant",
		description: "Tenant not found. Check to make sure you have the correct tenant ID.", aadsts: []int{90002},
	}
	notMultiTenant = &refusal{
		status: http.StatusBadRequest, code: "invalid_request",
		description: "Application is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps. Use a tenant-specific endpoint or configure the application to be multi-tenant.",
		aadsts:      []int{50194},
	}
	appNotInTenant = &refusal{
		status: http.StatusBadRequest, code: "unauthorized_client",
		description: "Application was not found in the directory.", aadsts: []int{700016},
	}
	personNotInTenant = &refusal{
		status: http.StatusBadRequest, code: "invalid_request",
		description: "User account does not exist in tenant and cannot access the application in that tenant. The account needs to be added as an external user in the tenant first.",
		aadsts:      []int{50020},
	}
	notATester = &refusal{
		status: http.StatusForbidden, code: "access_denied",
		google: "The app is currently being tested, and can only be accessed by developer-approved testers.",
	}
	declined = &refusal{
		status: http.StatusBadRequest, code: "access_denied", subcode: "cancel",
		description: "The resource owner refused.", aadsts: []int{65004},
	}
	adminDeclined = &refusal{
		status: http.StatusBadRequest, code: "consent_required",
		description: "The resource owner or authorization server denied the request.", aadsts: []int{65004},
	}
	adminNeeded = &refusal{
		status: http.StatusBadRequest, code: "access_denied",
		description: "The grant requires admin permission.", aadsts: []int{90094},
	}
)

// Refusals of the token endpoint that have to do with consent.
var (
	wrongTenant = &refusal{
		status: http.StatusBadRequest, code: "invalid_grant",
		description: "The grant was issued for another tenant than that of the token endpoint.", aadsts: []int{700005},
	}
	scopeMissingAtToken = &refusal{
		status: http.StatusBadRequest, code: "invalid_request",
		description: "Provided value for the input parameter scope cannot be empty when requesting an access token using the provided authorization code.",
		aadsts:      []int{28003},
	}
	publicWithSecret = &refusal{
		status: http.StatusUnauthorized, code: "invalid_client",
		description: "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
		aadsts:      []int{700025},
	}
)

func refusedRequest(description string) *refusal {
	return &refusal{
		status: http.StatusBadRequest, code: "invalid_request",
		description: description, aadsts: []int{900144},
	}
}

// body is the error answer as d words it, at the time now.
func (r *refusal) body(d Dialect, now time.Time) map[string]any {
	code := r.code
	if d == Google {
		code = cmp.Or(r.googleCode, code)
	}
	body := map[string]any{"error": code}
	set := func(key, value string) {
		if value != "" {
			body[key] = value
		}
	}
	set("error_description", r.description)
	switch d {
	case Google:
		if r.google != "" {
			body["error_description"] = r.google
		}
		set("error_subtype", r.subtype)
	case Microsoft:
		trace, correlation := randomUUID(), randomUUID()
		stamp := now.UTC().Format("2006-01-02 15:04:05Z")
		description := r.description
		if len(r.aadsts) > 0 {
			description = fmt.Sprintf("AADSTS%d: %s", r.aadsts[0], description)
			body["error_codes"] = r.aadsts
			body["error_uri"] = fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", r.aadsts[0])
		}
		body["error_description"] = fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", description, trace, correlation, stamp)
		body["timestamp"], body["trace_id"], body["correlation_id"] = stamp, trace, correlation
		set("suberror", cmp.Or(r.subtype, r.suberror))
	default:
		set("suberror", r.subtype)
	}
	return body
}

func (r *refusal) write(w http.ResponseWriter, d Dialect, now time.Time) {
	if r.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="fakeprovider"`)
	}
	writeJSON(w, r.status, r.body(d, now))
}

// writeJSON answers with body as JSON that no cache keeps.
func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	encodeJSON(w, body)
}

func encodeJSON(w http.ResponseWriter, body any) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // the client may have left
}

func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return formatUUID(b)
}

// formatUUID makes a UUID of version 4 of random bytes, or what is to look so.
func formatUUID(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
