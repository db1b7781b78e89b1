package provider

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// issuerServer serves metadata at one path and a token endpoint.
func issuerServer(t *testing.T, path string, metadata func(base string) string) *fakeServer {
	t.Helper()
	var base atomic.Value
	server := newFakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case path:
			says(200, metadata(base.Load().(string)))(w, r)
		case "/token":
			says(200, freshToken)(w, r)
		default:
			http.NotFound(w, r)
		}
	})
	base.Store(server.URL)
	return server
}

func issuerConfig(issuer string) Config {
	cfg := oauth2Config("")
	cfg.Issuer = issuer
	return cfg
}

func paths(server *fakeServer) []string {
	requests := server.all()
	paths := make([]string, 0, len(requests))
	for _, r := range requests {
		paths = append(paths, r.Path)
	}
	return paths
}

func TestDiscoveryKnowsBothPlaces(t *testing.T) {
	tests := []struct{ name, issuerPath, at string }{
		{"RFC 8414", "", "/.well-known/oauth-authorization-server"},
		{"RFC 8414 with path", "/tenant/a", "/.well-known/oauth-authorization-server/tenant/a"},
		{"RFC 8414 with slash", "/tenant/", "/.well-known/oauth-authorization-server/tenant"},
		{"OpenID Connect", "", "/.well-known/openid-configuration"},
		{"OpenID Connect with path", "/tenant/a", "/tenant/a/.well-known/openid-configuration"},
		{"OpenID Connect with slash", "/tenant/", "/tenant/.well-known/openid-configuration"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := issuerServer(t, tt.at, func(base string) string {
				return `{"issuer":"` + base + tt.issuerPath + `","token_endpoint":"` + base + `/token"}`
			})
			if _, failure := refresh(t, mustNew(t, issuerConfig(server.URL+tt.issuerPath)), account.RefreshRequest{}); failure != nil {
				t.Error(failure)
			}
		})
	}
}

func TestDiscoveryHappensOnceAndNotAtLoad(t *testing.T) {
	server := issuerServer(t, "/.well-known/oauth-authorization-server", func(base string) string {
		return `{"issuer":"` + base + `","token_endpoint":"` + base + `/token"}`
	})
	p := mustNew(t, issuerConfig(server.URL))
	if got := p.TokenEndpoint(""); got != server.URL {
		t.Errorf("token endpoint before discovery is %q, want the issuer", got)
	}
	if len(server.all()) != 0 {
		t.Error("loading asked the server")
	}
	for range 3 {
		if _, failure := refresh(t, p, account.RefreshRequest{}); failure != nil {
			t.Fatal(failure)
		}
	}
	want := []string{"/.well-known/oauth-authorization-server", "/token", "/token", "/token"}
	if diff := cmp.Diff(want, paths(server)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestDiscoveredMetadataIsHeldAgainstTheIssuer(t *testing.T) {
	tests := []struct {
		name     string
		metadata func(base string) string
		meaning  account.Meaning
	}{
		{"other issuer", func(base string) string {
			return `{"issuer":"https://evil.example","token_endpoint":"` + base + `/token"}`
		}, account.ClientMisconfigured},
		{"slash too many", func(base string) string {
			return `{"issuer":"` + base + `/","token_endpoint":"` + base + `/token"}`
		}, account.ClientMisconfigured},
		{"no token endpoint", func(base string) string { return `{"issuer":"` + base + `"}` }, account.ClientMisconfigured},
		{"plain http endpoint", func(base string) string {
			return `{"issuer":"` + base + `","token_endpoint":"http://id.example/token"}`
		}, account.ClientMisconfigured},
		{"plain http keys", func(base string) string {
			return `{"issuer":"` + base + `","token_endpoint":"` + base + `/token","jwks_uri":"http://id.example/jwks"}`
		}, account.ClientMisconfigured},
		{"HTML", func(string) string { return `<html>` }, account.ProviderDown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := issuerServer(t, "/.well-known/oauth-authorization-server", tt.metadata)
			_, failure := refresh(t, mustNew(t, issuerConfig(server.URL)), account.RefreshRequest{})
			if failure == nil || failure.Meaning != tt.meaning || failure.Lost {
				t.Errorf("failure is %+v, want %s", failure, tt.meaning)
			}
			for _, path := range paths(server) {
				if path == "/token" {
					t.Error("the refresh token was sent")
				}
			}
		})
	}
	t.Run("plain http under https", func(t *testing.T) {
		m := Metadata{Issuer: "https://id.example", TokenEndpoint: "http://127.0.0.1/token"}
		if err := m.check("https://id.example"); err == nil || !strings.Contains(err.Error(), "token_endpoint") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestRedirectedDiscoveryIsRefused(t *testing.T) {
	canary := newFakeServer(t, says(200, `{}`))
	server := newFakeServer(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, canary.URL, http.StatusFound) })
	if _, failure := refresh(t, mustNew(t, issuerConfig(server.URL)), account.RefreshRequest{}); failure == nil {
		t.Error("no failure")
	}
	if len(canary.all()) != 0 {
		t.Error("the redirect was followed")
	}
}

func TestConfiguredEndpointsWinOverDiscoveredOnes(t *testing.T) {
	server := issuerServer(t, "/.well-known/openid-configuration", func(base string) string {
		return `{"issuer":"` + base + `","token_endpoint":"` + base + `/other","authorization_endpoint":"` + base + `/auth","authorization_response_iss_parameter_supported":true}`
	})
	cfg := issuerConfig(server.URL)
	cfg.TokenEndpoint = server.URL + "/token"
	p := mustNew(t, cfg)
	if _, failure := refresh(t, p, account.RefreshRequest{}); failure != nil {
		t.Fatal(failure)
	}
	if diff := cmp.Diff([]string{"/token"}, paths(server)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	m, err := p.Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Metadata{Issuer: server.URL, TokenEndpoint: server.URL + "/token", AuthorizationEndpoint: server.URL + "/auth", IssParameter: true}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

func TestMovedTokenEndpointIsDiscoveredAnew(t *testing.T) {
	var base, endpoint atomic.Value
	var down atomic.Bool
	endpoint.Store("/old")
	server := newFakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/.well-known/") && !down.Load():
			says(200, `{"issuer":"`+base.Load().(string)+`","token_endpoint":"`+base.Load().(string)+endpoint.Load().(string)+`"}`)(w, r)
		case r.URL.Path == endpoint.Load().(string):
			says(200, freshToken)(w, r)
		default:
			http.NotFound(w, r)
		}
	})
	base.Store(server.URL)
	p := mustNew(t, issuerConfig(server.URL))
	if _, failure := refresh(t, p, account.RefreshRequest{}); failure != nil {
		t.Fatal(failure)
	}
	endpoint.Store("/new")
	if _, failure := refresh(t, p, account.RefreshRequest{}); failure == nil {
		t.Fatal("the old endpoint still answers")
	}
	if _, failure := refresh(t, p, account.RefreshRequest{}); failure != nil {
		t.Errorf("the new endpoint was not found: %v", failure)
	}

	// What is known outlives metadata that cannot be fetched.
	down.Store(true)
	endpoint.Store("/newer")
	if _, failure := refresh(t, p, account.RefreshRequest{}); failure == nil {
		t.Fatal("the old endpoint still answers")
	}
	endpoint.Store("/new")
	if _, failure := refresh(t, p, account.RefreshRequest{}); failure != nil {
		t.Errorf("the known endpoint was forgotten: %v", failure)
	}
}

func TestWaitingForDiscoveryEndsWithTheContext(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := newFakeServer(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	p := mustNew(t, issuerConfig(server.URL))
	first, stopFirst := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _, _ = p.Metadata(first); close(done) }()
	<-arrived
	waiting, stop := context.WithCancel(t.Context())
	stop()
	if _, err := p.Metadata(waiting); err == nil {
		t.Error("no error")
	}
	stopFirst()
	<-done
	close(release)
}

func TestBuiltInMetadata(t *testing.T) {
	cfg := microsoftConfig("")
	cfg.Tenant = tid
	m, err := mustNew(t, cfg).Metadata(t.Context())
	if err != nil || m.Issuer != "https://login.microsoftonline.com/"+tid+"/v2.0" {
		t.Errorf("issuer is %q, %v", m.Issuer, err)
	}
	cfg.Tenant = "common"
	if m, _ := mustNew(t, cfg).Metadata(t.Context()); m.Issuer != "https://login.microsoftonline.com/{tenantid}/v2.0" {
		t.Errorf("issuer of many tenants is %q", m.Issuer)
	}
	google := googleConfig("")
	google.AuthorizationEndpoint = "https://other.example/auth"
	m, err = mustNew(t, google).Metadata(t.Context())
	if err != nil || m.AuthorizationEndpoint != "https://other.example/auth" || m.Issuer != "https://accounts.google.com" {
		t.Errorf("metadata is %+v, %v", m, err)
	}
}

func TestMetadataErrorIsAFailure(t *testing.T) {
	server := newFakeServer(t, says(404, ``))
	p := mustNew(t, issuerConfig(server.URL))
	_, err := p.Metadata(t.Context())
	if _, ok := errors.AsType[*account.Failure](err); !ok {
		t.Errorf("error is %T", err)
	}
	if err := p.Revoke(t.Context(), secret.New("rt")); err == nil {
		t.Error("revoking without metadata succeeded")
	}
}
