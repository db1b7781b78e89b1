package fakeprovider

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestControlConsents(t *testing.T) {
	f := start(t, Options{RedirectURIs: []string{callback}})
	control, ctx := f.control(), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(control.SetPeople(ctx, Person{Subject: "carol", Email: "carol@example.com"}))
	people, err := control.People(ctx)
	must(err)
	if diff := cmp.Diff(f.People(), people); diff != "" || len(people) != 1 {
		t.Errorf("people differ: %s", diff)
	}
	location, err := control.Consent(ctx, f.authorizeURL(DefaultClient.ID), Decision{Person: "carol", Scopes: []string{"openid"}})
	must(err)
	answer, err := url.Parse(location)
	must(err)
	form := redeemForm(DefaultClient.ID, answer.Query().Get("code"))
	f.token(with(form, "client_secret", DefaultClient.Secrets[0])).wantIssued(t)

	var shown *PageError
	_, err = control.Consent(ctx, f.authorizeURL(DefaultClient.ID, "redirect_uri", "https://evil.example/"), Decision{})
	if !errors.As(err, &shown) || shown.Status != 400 || shown.Code != "invalid_request" {
		t.Errorf("got %v", err)
	}
	log, err := control.AuthorizeRequests(ctx, true)
	must(err)
	if diff := cmp.Diff(f.AuthorizeRequests(true), log); diff != "" || len(log) != 3 {
		t.Errorf("log differs: %s", diff)
	}

	must(control.SetTenants(ctx, Tenant{ID: "11111111-2222-4333-8444-555555555555", Domains: []string{"other.example"}}))
	if _, body := f.call("GET", "/other.example/v2.0/.well-known/openid-configuration", "", nil); !strings.Contains(body, "11111111-2222-4333-8444-555555555555") {
		t.Errorf("metadata is %s", body)
	}
	before := f.idTokenKeys()
	must(control.RotateKeys(ctx))
	if f.idTokenKeys() == before {
		t.Error("the keys are the same")
	}
	f.register(deviceClients...)
	must(control.DecideDevice(ctx, f.startDeviceOf("tv-oauth2").UserCode, Decision{Deny: true}))
	if err := control.DecideDevice(ctx, "none", Decision{}); err == nil {
		t.Error("a device that is none was decided")
	}
	must(control.RegisterServiceAccount(ctx, ServiceAccount{Email: robot, Key: publicPEM(t, testKey()), Subjects: []string{"alice@example.com"}, Scopes: []string{mailScope}}))
	f.bearer(signed(t, testKey(), nil, f.robotClaims())).wantIssued(t)
	must(control.RegisterWorkload(ctx, Workload{Audience: pool, SubjectTokens: []string{"x"}}))
	if answer, err := f.doToken("/v1/token", exchangeForm("x")); err != nil || answer.AccessToken == "" {
		t.Errorf("got %s, %v", answer.Raw, err)
	}
	for name, err := range map[string]error{
		"person":          control.SetPeople(ctx, Person{Subject: "x"}),
		"tenant":          control.SetTenants(ctx, Tenant{ID: "example.com"}),
		"service account": control.RegisterServiceAccount(ctx, ServiceAccount{}),
		"workload":        control.RegisterWorkload(ctx, Workload{}),
	} {
		if err == nil {
			t.Errorf("an impossible %s was taken", name)
		}
	}
}

func (f fixture) idTokenKeys() string {
	_, body := f.call("GET", "/jwks", "", nil)
	return body
}

func TestCommandTakesRedirectURIs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- Main(ctx, []string{"-redirect-uri", callback, "-require-pkce", "-iss-parameter"}, writer)
	}()
	var ready Ready
	if err := json.NewDecoder(reader).Decode(&ready); err != nil {
		t.Fatal(err)
	}
	query := url.Values{
		"client_id": {ready.ClientID}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid"},
	}
	consent := func() string {
		t.Helper()
		location, err := Control{BaseURL: ready.URL}.Consent(ctx, ready.AuthorizationEndpoint+"?"+query.Encode(), Decision{})
		if err != nil {
			t.Fatal(err)
		}
		return location
	}
	if got := consent(); !strings.HasPrefix(got, callback+"?error=invalid_request") {
		t.Errorf("without a challenge: %s", got)
	}
	query.Set("code_challenge", challenge(testVerifier))
	query.Set("code_challenge_method", "S256")
	if got := consent(); !strings.Contains(got, "code=") || !strings.Contains(got, "iss="+url.QueryEscape(ready.Issuer)) {
		t.Errorf("with a challenge: %s", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := Main(t.Context(), []string{"-redirect-uri", "/callback"}, io.Discard); err == nil {
		t.Error("a relative redirect URI was taken")
	}
}

func TestResetForgetsConsents(t *testing.T) {
	f := start(t, Options{RedirectURIs: []string{callback}})
	code := f.code(DefaultClient.ID, Decision{})
	if err := f.SetPeople(Person{Subject: "x", Email: "x@example.com"}); err != nil {
		t.Fatal(err)
	}
	f.Reset()
	if got := f.People(); len(got) != len(DefaultPeople) || len(f.AuthorizeRequests(false)) != 0 {
		t.Errorf("left: %+v", got)
	}
	form := with(redeemForm(DefaultClient.ID, code), "client_secret", DefaultClient.Secrets[0])
	f.token(form).wantError(t, 400, "invalid_grant")
	f.code(DefaultClient.ID, Decision{})
}
