package provider

import (
	"errors"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func TestRevoke(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		ok     bool
	}{
		{"done", 200, "", true},
		{"done already, as Google says it", 400, `{"error":"invalid_token","error_description":"Token expired or revoked"}`, true},
		{"client refused", 401, `{"error":"invalid_client"}`, false},
		{"type of token not supported", 400, `{"error":"unsupported_token_type"}`, false},
		{"server down", 503, "", false},
		{"redirect", 302, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newFakeServer(t, says(tt.status, tt.body))
			cfg := oauth2Config("https://acme.example/token")
			cfg.RevocationEndpoint = server.URL + "/revoke"
			err := mustNew(t, cfg).Revoke(t.Context(), secret.New("rt-0"))
			if (err == nil) != tt.ok {
				t.Errorf("Revoke: %v, want success %v", err, tt.ok)
			}
			got := server.only(t)
			if got.Form.Get("token") != "rt-0" || got.Form.Get("token_type_hint") != "refresh_token" || got.Header.Get("Authorization") == "" {
				t.Errorf("request was %v", got)
			}
			if err != nil && strings.Contains(err.Error(), "rt-0") {
				t.Error("the error gives the token away")
			}
		})
	}
}

func TestRevokeTriesTheOlderSecret(t *testing.T) {
	server := newFakeServer(t, says(401, `{"error":"invalid_client"}`))
	cfg := oauth2Config("https://acme.example/token")
	cfg.RevocationEndpoint = server.URL
	cfg.ClientSecrets = append(cfg.ClientSecrets, secret.New("old"))
	failure, ok := errors.AsType[*account.Failure](mustNew(t, cfg).Revoke(t.Context(), secret.New("rt-0")))
	if !ok || failure.Meaning != account.ClientMisconfigured {
		t.Errorf("error is %v", failure)
	}
	if got := len(server.all()); got != 2 {
		t.Errorf("the server got %d requests, want 2", got)
	}
}

func TestRevokeAtGoogleSendsNoSecret(t *testing.T) {
	server := newFakeServer(t, says(200, `{}`))
	cfg := googleConfig("")
	cfg.RevocationEndpoint = server.URL
	if err := mustNew(t, cfg).Revoke(t.Context(), secret.New("rt-0")); err != nil {
		t.Fatal(err)
	}
	if got := server.only(t); got.Form.Has("client_secret") || got.Form.Get("token") != "rt-0" {
		t.Errorf("form is %v", got.Form)
	}
}

func TestNoRevocationSaysWhereElse(t *testing.T) {
	for name, tt := range map[string]struct {
		p    Provider
		want string
	}{
		"microsoft": {mustNew(t, microsoftConfig("")), "https://myapplications.microsoft.com"},
		"oauth2":    {mustNew(t, oauth2Config("https://acme.example/token")), "settings"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.p.Revoke(t.Context(), secret.New("rt-0"))
			if !errors.Is(err, ErrNoRevocation) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
