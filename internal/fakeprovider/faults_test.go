package fakeprovider

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRespondAnswersVerbatimWithoutProcessing(t *testing.T) {
	tests := map[string]Fault{
		"server error": {Kind: Respond, Status: 500, Body: "oops"},
		"throttled":    {Kind: Respond, Status: 429, Header: map[string]string{"Retry-After": "17"}},
		"HTML":         {Kind: Respond, Status: 200, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>log in"},
		"moved 301":    Redirect(301, "http://127.0.0.1:1/else"),
		"found 302":    Redirect(302, "http://127.0.0.1:1/else"),
		"kept 307":     Redirect(307, "http://127.0.0.1:1/else"),
		"kept 308":     Redirect(308, "http://127.0.0.1:1/else"),
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			f := start(t, Options{})
			refreshToken := f.grant(Grant{}).RefreshToken
			f.queue(fault)
			answer := f.refreshWith(refreshToken)
			if answer.Status != fault.Status || answer.Raw != fault.Body {
				t.Errorf("got %d %q", answer.Status, answer.Raw)
			}
			for field, value := range fault.Header {
				if got := answer.Header.Get(field); got != value {
					t.Errorf("%s is %q, want %q", field, got, value)
				}
			}
			if got := f.Stats(); got.Rotations != 0 || got.Faults != 1 {
				t.Errorf("counted %+v", got)
			}
			f.refreshWith(refreshToken).wantIssued(t)
		})
	}
}

func TestOAuthErrorSpeaksTheClientsDialect(t *testing.T) {
	f := start(t, Options{})
	f.registerMicrosoft()
	refreshToken := f.grant(Grant{Client: "ms"}).RefreshToken
	f.queue(
		Fault{Kind: OAuthError, Error: "invalid_grant", Description: "Session lapsed.", Suberror: "basic_action", Codes: []int{50078, 1}},
		Fault{Kind: OAuthError, Error: "invalid_client"},
		Fault{Kind: OAuthError, Error: "temporarily_unavailable", Status: 503},
	)
	answer := f.token(microsoftForm(refreshToken, ""))
	answer.wantError(t, http.StatusBadRequest, "invalid_grant")
	if answer.Suberror != "basic_action" || !strings.HasPrefix(answer.Description, "AADSTS50078: Session lapsed.") || len(answer.Codes) != 2 {
		t.Errorf("got %s", answer.Raw)
	}
	f.token(microsoftForm(refreshToken, "")).wantError(t, http.StatusUnauthorized, "invalid_client")
	f.token(microsoftForm(refreshToken, "")).wantError(t, http.StatusServiceUnavailable, "temporarily_unavailable")
	f.token(microsoftForm(refreshToken, "")).wantIssued(t)
}

func TestOAuthErrorOddForms(t *testing.T) {
	f := start(t, Options{})
	refreshToken := f.grant(Grant{}).RefreshToken
	f.queue(
		Fault{Kind: OAuthError, Error: "bad_refresh_token", Status: 200},
		Fault{Kind: OAuthError, Error: "invalid_grant", FormEncoded: true},
	)
	f.refreshWith(refreshToken).wantError(t, http.StatusOK, "bad_refresh_token")
	if got := f.refreshWith(refreshToken).Raw; got != "error=invalid_grant" {
		t.Errorf("got %q, want a form", got)
	}
}

func TestGoogleErrorCarriesItsSubtype(t *testing.T) {
	f := start(t, Options{})
	client := DefaultClient
	client.Dialect = Google
	if err := f.RegisterClient(client); err != nil {
		t.Fatal(err)
	}
	f.queue(Fault{Kind: OAuthError, Error: "invalid_grant", Suberror: "invalid_rapt"})
	if got := f.refreshWith(f.grant(Grant{}).RefreshToken).Raw; !strings.Contains(got, `"error_subtype":"invalid_rapt"`) {
		t.Errorf("got %s", got)
	}
}

func TestAlterChangesMembersOfTheTrueAnswer(t *testing.T) {
	tests := []struct {
		name    string
		members map[string]string
		want    string // part of the body
		absent  string
	}{
		{"string expiry", map[string]string{"expires_in": `"3600"`}, `"expires_in":"3600"`, ""},
		{"float expiry", map[string]string{"expires_in": `3.6e3`}, `"expires_in":3.6e3`, ""},
		{"nonsense expiry", map[string]string{"expires_in": `soon!`}, `"expires_in":soon!`, ""},
		{"missing expiry", map[string]string{"expires_in": ""}, `"access_token"`, "expires_in"},
		{"missing refresh token", map[string]string{"refresh_token": ""}, `"access_token"`, "refresh_token"},
		{"empty refresh token", map[string]string{"refresh_token": `""`}, `"refresh_token":""`, ""},
		{"narrower scope", map[string]string{"scope": `"a"`}, `"scope":"a"`, ""},
		{"missing scope", map[string]string{"scope": ""}, `"access_token"`, "scope"},
		{"other token type", map[string]string{"token_type": `"mac"`}, `"token_type":"mac"`, ""},
		{"new member", map[string]string{"id_token": `null`}, `"id_token":null`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, Options{})
			f.queue(Fault{Kind: Alter, Members: test.members})
			answer := f.refreshWith(f.grant(Grant{Scope: "a b"}).RefreshToken)
			if answer.Status != http.StatusOK || !strings.Contains(answer.Raw, test.want) {
				t.Errorf("got %d %s", answer.Status, answer.Raw)
			}
			if test.absent != "" && strings.Contains(answer.Raw, test.absent) {
				t.Errorf("%s is in %s", test.absent, answer.Raw)
			}
			if !strings.HasPrefix(answer.Raw, "{") || !strings.HasSuffix(answer.Raw, "}") {
				t.Errorf("%s is no object", answer.Raw)
			}
			if got := f.Stats().Rotations; got != 1 {
				t.Errorf("%d rotations, want 1", got)
			}
		})
	}
}

func TestAlterWritesForms(t *testing.T) {
	f := start(t, Options{})
	f.queue(Fault{Kind: Alter, FormEncoded: true})
	answer := f.refreshWith(f.grant(Grant{}).RefreshToken)
	form, err := url.ParseQuery(answer.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if form.Get("expires_in") != "60" || f.apiStatus(form.Get("access_token")) != http.StatusOK {
		t.Errorf("got %s", answer.Raw)
	}
	if got := answer.Header.Get("Content-Type"); got != "application/x-www-form-urlencoded" {
		t.Errorf("Content-Type is %q", got)
	}
}

func TestPadMakesAnAnswerTooLarge(t *testing.T) {
	const pad = 3 << 20
	f := start(t, Options{})
	f.queue(Fault{Kind: Alter, Pad: pad})
	answer := f.refreshWith(f.grant(Grant{}).RefreshToken)
	answer.wantIssued(t)
	if len(answer.Raw) < pad {
		t.Errorf("body has %d bytes, want over %d", len(answer.Raw), pad)
	}
}

func TestTruncateBreaksOffInTheBody(t *testing.T) {
	f := start(t, Options{})
	f.queue(Fault{Kind: Truncate, Keep: 20})
	answer, err := f.doToken("/token", refreshForm(f.grant(Grant{}).RefreshToken))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v, want an unexpected EOF", err)
	}
	if answer.Status != http.StatusOK || len(answer.Raw) != 20 {
		t.Errorf("got %d with %d bytes, want 200 with 20", answer.Status, len(answer.Raw))
	}
	if got := f.Stats().Rotations; got != 1 {
		t.Errorf("%d rotations, want 1", got)
	}
}

func TestDropBeforeProcessingSpendsNothing(t *testing.T) {
	f := start(t, Options{})
	refreshToken := f.grant(Grant{}).RefreshToken
	f.queue(Fault{Kind: Drop})
	if answer, err := f.doToken("/token", refreshForm(refreshToken)); err == nil {
		t.Fatalf("got %d %s, want a broken connection", answer.Status, answer.Raw)
	}
	if got := f.TokenRequests(false)[0]; got.Outcome != OutcomePending || got.Fault != "drop" {
		t.Errorf("logged %+v", got)
	}
	f.refreshWith(refreshToken).wantIssued(t)
}

func TestDropAfterCommitLosesTheRotatedToken(t *testing.T) {
	f := start(t, Options{})
	refreshToken := f.grant(Grant{}).RefreshToken
	f.queue(Fault{Kind: Drop, Commit: true})
	if answer, err := f.doToken("/token", refreshForm(refreshToken)); err == nil {
		t.Fatalf("got %d %s, want a broken connection", answer.Status, answer.Raw)
	}
	if got := f.TokenRequests(false)[0]; got.Outcome != OutcomeRotated || got.Fault != "drop" {
		t.Errorf("logged %+v", got)
	}
	f.refreshWith(refreshToken).wantError(t, http.StatusBadRequest, "invalid_grant")
	if got := f.Stats().ReuseDetections; got != 1 {
		t.Errorf("%d reuse detections, want 1", got)
	}
}

func TestServerErrorAfterCommitLosesTheRotatedToken(t *testing.T) {
	f := start(t, Options{})
	refreshToken := f.grant(Grant{}).RefreshToken
	f.queue(Fault{Kind: Respond, Status: 502, Commit: true})
	if answer := f.refreshWith(refreshToken); answer.Status != http.StatusBadGateway || answer.Raw != "" {
		t.Fatalf("got %d %s", answer.Status, answer.Raw)
	}
	if got := f.Stats().Rotations; got != 1 {
		t.Errorf("%d rotations, want 1", got)
	}
}

func TestGateHoldsRequestsUntilReleased(t *testing.T) {
	for _, commit := range []bool{false, true} {
		name := map[bool]string{false: "before processing", true: "after processing"}[commit]
		t.Run(name, func(t *testing.T) {
			f := start(t, Options{Rotation: Rotation{Policy: NoRotation}})
			refreshToken := f.grant(Grant{}).RefreshToken
			f.queue(Fault{Gate: "g", Times: 3, Commit: commit})
			answers := make(chan tokenAnswer, 3)
			for range cap(answers) {
				go func() {
					answer, err := f.doToken("/token", refreshForm(refreshToken))
					if err != nil {
						t.Error(err)
					}
					answers <- answer
				}()
			}
			if err := f.AwaitHeld(t.Context(), "g", 3); err != nil {
				t.Fatal(err)
			}
			stats := f.Stats()
			if stats.InFlight != 3 || stats.InFlightMax != 3 || (stats.Issued == 3) != commit {
				t.Errorf("counted %+v while held", stats)
			}
			if got := len(answers); got != 0 {
				t.Errorf("%d answers came through the gate", got)
			}
			if got := f.Release("g"); got != 3 {
				t.Errorf("released %d, want 3", got)
			}
			for range cap(answers) {
				answer := <-answers
				answer.wantIssued(t)
			}
			// The gate's fault is used up.
			f.refreshWith(refreshToken).wantIssued(t)
		})
	}
}

func TestClientThatLeavesAGateIsNotProcessed(t *testing.T) {
	f := start(t, Options{})
	f.queue(Fault{Gate: "g"})
	ctx, leave := context.WithCancel(t.Context())
	form := refreshForm(f.grant(Grant{}).RefreshToken)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(DefaultClient.ID, DefaultClient.Secrets[0])
	done := make(chan error, 1)
	go func() {
		response, err := f.transport.RoundTrip(request)
		if err == nil {
			response.Body.Close()
		}
		done <- err
	}()
	if err := f.AwaitHeld(t.Context(), "g", 1); err != nil {
		t.Fatal(err)
	}
	leave()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want a cancellation", err)
	}
	f.awaitIdle()
	if got := f.Stats().Rotations; got != 0 {
		t.Errorf("%d rotations, want none", got)
	}
	if got := f.Release("g"); got != 0 {
		t.Errorf("released %d, want none", got)
	}
}

// awaitIdle waits until no token request is in flight.
func (f fixture) awaitIdle() {
	f.t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for f.Stats().InFlight > 0 {
		select {
		case <-ticker.C:
		case <-f.t.Context().Done():
			f.t.Fatal("a request is still in flight")
		}
	}
}

func TestHangAnswersNothingUntilTheClientLeaves(t *testing.T) {
	f := start(t, Options{})
	f.queue(Fault{Kind: Hang})
	form := refreshForm(f.grant(Grant{}).RefreshToken)
	f.transport.ResponseHeaderTimeout = 50 * time.Millisecond
	if answer, err := f.doToken("/token", form); err == nil {
		t.Fatalf("got %d %s, want a time-out", answer.Status, answer.Raw)
	}
	f.transport.ResponseHeaderTimeout = 0
	f.awaitIdle()
	if got := f.Stats().Rotations; got != 0 {
		t.Errorf("%d rotations, want none", got)
	}
}

func TestCloseEndsRequestsThatHang(t *testing.T) {
	server := New(Options{})
	listening, err := server.Listen(ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.QueueFaults(Fault{On: EndpointMetadata, Gate: "never"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		response, err := http.Get(listening.URL + "/.well-known/openid-configuration")
		if err == nil {
			response.Body.Close()
		}
		done <- err
	}()
	if err := server.AwaitHeld(t.Context(), "never", 1); err != nil {
		t.Fatal(err)
	}
	if err := listening.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("held request was answered")
	}
}

func TestDelayAnswersLater(t *testing.T) {
	const delay = 30 * time.Millisecond
	f := start(t, Options{})
	refreshToken := f.grant(Grant{}).RefreshToken
	f.queue(Fault{Delay: Duration(delay)})
	began := time.Now()
	f.refreshWith(refreshToken).wantIssued(t)
	if took := time.Since(began); took < delay {
		t.Errorf("answered after %v, want at least %v", took, delay)
	}
	if got := f.TokenRequests(false)[0].Fault; got != "delay" {
		t.Errorf("logged fault %q", got)
	}
}

func TestFaultsAreMetInOrderByWhatTheyMatch(t *testing.T) {
	f := start(t, Options{Rotation: Rotation{Policy: NoRotation}})
	f.registerMicrosoft()
	alice := f.grant(Grant{ID: "alice"}).RefreshToken
	bob := f.grant(Grant{ID: "bob", Client: "ms", Scope: twoAudiences}).RefreshToken
	f.queue(
		Fault{Kind: Respond, Status: 501, Grant: "alice", Times: 2},
		Fault{Kind: Respond, Status: 502, Audience: "outlook.office.com"},
		Fault{Kind: Respond, Status: 503, PathPrefix: "/common/", Times: -1},
		Fault{Kind: Respond, Status: 504},
	)
	status := func(path string, form url.Values) int {
		t.Helper()
		answer, err := f.doToken(path, form)
		if err != nil {
			t.Fatal(err)
		}
		return answer.Status
	}
	graph, outlook := "https://graph.microsoft.com/Mail.Read", "https://outlook.office.com/.default"
	got := []int{
		status("/token", refreshForm(alice)),
		status("/token", microsoftForm(bob, graph)),
		status("/token", microsoftForm(bob, outlook)),
		status("/common/oauth2/v2.0/token", microsoftForm(bob, graph)),
		status("/token", refreshForm(alice)),
		status("/common/oauth2/v2.0/token", microsoftForm(bob, outlook)),
		status("/token", refreshForm(alice)),
	}
	want := []int{501, 504, 502, 503, 501, 503, 200}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if left := f.Faults(); len(left) != 1 || left[0].Status != 503 {
		t.Errorf("left are %+v, want the unlimited one", left)
	}
	f.ClearFaults()
	if got := status("/common/oauth2/v2.0/token", microsoftForm(bob, graph)); got != http.StatusOK {
		t.Errorf("got %d after clearing", got)
	}
}

func TestFaultsOfOtherEndpoints(t *testing.T) {
	f := start(t, Options{})
	live := f.refreshWith(f.grant(Grant{ID: "alice"}).RefreshToken).AccessToken
	f.queue(
		Fault{On: EndpointAPI, Kind: Respond, Status: 401, Header: map[string]string{"WWW-Authenticate": `Bearer claims="e30="`}, Grant: "alice"},
		Fault{On: EndpointAPI, Kind: Drop, Commit: true, PathPrefix: "/v1.0/me/sendMail"},
		Fault{On: EndpointMetadata, Kind: Alter, Members: map[string]string{"issuer": `"https://evil.example"`}},
		Fault{On: EndpointRevoke, Kind: Respond, Status: 503},
	)
	f.refreshWith(f.grant(Grant{}).RefreshToken).wantIssued(t)

	response, _ := f.call(http.MethodGet, "/v1.0/me", live, nil)
	if response.StatusCode != http.StatusUnauthorized || response.Header.Get("WWW-Authenticate") != `Bearer claims="e30="` {
		t.Errorf("API answers %d %v", response.StatusCode, response.Header)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/v1.0/me/sendMail",
		strings.NewReader(`{"message":{"toRecipients":[{}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+live)
	if response, err := f.transport.RoundTrip(request); err == nil {
		response.Body.Close()
		t.Errorf("API answers %d, want a broken connection", response.StatusCode)
	}
	if got := f.Stats().Sent; got != 1 {
		t.Errorf("%d messages were sent, want 1 behind the lost answer", got)
	}
	_, body := f.call(http.MethodGet, "/.well-known/openid-configuration", "", nil)
	var metadata struct{ Issuer string }
	if err := json.Unmarshal([]byte(body), &metadata); err != nil || metadata.Issuer != "https://evil.example" {
		t.Errorf("metadata is %s (%v)", body, err)
	}
	if response, _ := f.call(http.MethodPost, "/revoke", "", nil); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("revocation answers %d, want 503", response.StatusCode)
	}
}

func TestQueueRefusesFaultsThatMeanNothing(t *testing.T) {
	f := start(t, Options{})
	for name, fault := range map[string]Fault{
		"endpoint":       {On: "elsewhere"},
		"kind":           {Kind: "explode"},
		"times":          {Times: -2},
		"status":         {Kind: Respond, Status: 101},
		"missing status": {Kind: Respond},
		"missing error":  {Kind: OAuthError},
		"idle members":   {Members: map[string]string{"scope": ""}},
		"idle status":    {Kind: Drop, Status: 500},
		"idle error":     {Kind: Respond, Status: 400, Error: "invalid_grant"},
	} {
		if _, err := f.QueueFaults(Fault{Kind: Drop}, fault); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := f.Faults(); len(got) != 0 {
		t.Errorf("%d faults are queued, want none", len(got))
	}
}
