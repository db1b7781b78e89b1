package provider

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func TestRefreshRequestForm(t *testing.T) {
	tests := []struct {
		name string
		cfg  func(string) Config
		req  account.RefreshRequest
		want url.Values
	}{
		{
			"google sends no scope of its own", googleConfig,
			account.RefreshRequest{},
			url.Values{"client_id": {"id.apps.googleusercontent.com"}, "client_secret": {"GOCSPX-s3cret"}},
		},
		{
			"google narrows", googleConfig,
			account.RefreshRequest{Scopes: []string{"openid", "email"}},
			url.Values{"client_id": {"id.apps.googleusercontent.com"}, "client_secret": {"GOCSPX-s3cret"}, "scope": {"openid email"}},
		},
		{
			"oauth2 leaves claims and its own scopes out", oauth2Config,
			account.RefreshRequest{Claims: `{"access_token":{}}`, GrantScopes: []string{"a", "b"}},
			url.Values{},
		},
		{"oauth2 narrows", oauth2Config, account.RefreshRequest{Scopes: []string{"a"}}, url.Values{"scope": {"a"}}},
		{
			"microsoft asks for the default resource", microsoftConfig,
			account.RefreshRequest{},
			url.Values{
				"client_id": {"11111111-1111-1111-1111-111111111111"}, "client_secret": {"s3cret"},
				"scope": {"https://graph.microsoft.com/Mail.Read openid profile offline_access"},
			},
		},
		{
			"microsoft asks for one resource", microsoftConfig,
			account.RefreshRequest{Audience: "https://outlook.office.com", ClientAuth: account.ClientNone},
			url.Values{
				"client_id": {"11111111-1111-1111-1111-111111111111"},
				"scope":     {"https://outlook.office.com/IMAP.AccessAsUser.All openid profile offline_access"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newFakeServer(t, says(200, freshToken))
			if _, failure := refresh(t, mustNew(t, tt.cfg(server.URL)), tt.req); failure != nil {
				t.Fatal(failure)
			}
			tt.want["grant_type"], tt.want["refresh_token"] = []string{"refresh_token"}, []string{"rt-0"}
			if diff := cmp.Diff(tt.want, server.only(t).Form); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOlderSecretIsTriedWhenTheClientIsRefused(t *testing.T) {
	server := newFakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Form.Get("client_secret") == "old" {
			says(200, freshToken)(w, r)
			return
		}
		says(401, `{"error":"invalid_client"}`)(w, r)
	})
	cfg := oauth2Config(server.URL)
	cfg.AuthStyle = StylePost
	cfg.ClientSecrets = []secret.String{secret.New("new"), secret.New("old"), secret.New("older")}
	if _, failure := refresh(t, mustNew(t, cfg), account.RefreshRequest{}); failure != nil {
		t.Fatal(failure)
	}
	requests := server.all()
	tried := make([]string, 0, len(requests))
	for _, r := range requests {
		tried = append(tried, r.Form.Get("client_secret"))
	}
	if diff := cmp.Diff([]string{"new", "old"}, tried); diff != "" {
		t.Errorf("secrets tried (-want +got):\n%s", diff)
	}
}

func TestOnlyInvalidClientTriesAnotherSecret(t *testing.T) {
	tests := []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"invalid_grant", says(400, `{"error":"invalid_grant"}`)},
		{"unauthorized_client", says(401, `{"error":"unauthorized_client"}`)},
		{"bare 401", says(401, ``)},
		{"server error", says(500, `{"error":"server_error"}`)},
		{"lost answer", hijack(t, "")},
		{"rotated token beside the error", says(400, `{"error":"invalid_client","refresh_token":"r"}`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newFakeServer(t, tt.answer)
			cfg := oauth2Config(server.URL)
			cfg.ClientSecrets = append(cfg.ClientSecrets, secret.New("old"))
			if _, failure := refresh(t, mustNew(t, cfg), account.RefreshRequest{}); failure == nil {
				t.Error("no failure")
			}
			server.only(t)
		})
	}
}

func TestScopesOfAnswersAreWrittenAsRequested(t *testing.T) {
	tests := []struct {
		name     string
		cfg      func(string) Config
		scopes   []string
		audience string
		answer   string
		want     []string
	}{
		{
			"google full names", googleConfig, nil, "",
			"https://mail.google.com/ https://www.googleapis.com/auth/userinfo.email openid",
			[]string{"https://mail.google.com/", "email", "openid"},
		},
		{
			"microsoft short names", microsoftConfig, nil, "https://graph.microsoft.com",
			"openid profile Mail.Read User.Read",
			[]string{"openid", "profile", "https://graph.microsoft.com/Mail.Read", "https://graph.microsoft.com/User.Read"},
		},
		{
			"microsoft bare name that was asked for", microsoftConfig,
			[]string{"Mail.Send"},
			"https://graph.microsoft.com",
			"mail.send",
			[]string{"Mail.Send"},
		},
		{
			"microsoft short names of another resource", microsoftConfig, nil, "https://outlook.office.com",
			"IMAP.AccessAsUser.All",
			[]string{"https://outlook.office.com/IMAP.AccessAsUser.All"},
		},
		{"oauth2 as they are", oauth2Config, nil, "", "mail.read Email", []string{"mail.read", "Email"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newFakeServer(t, says(200, `{"access_token":"a","scope":"`+tt.answer+`"}`))
			answer, failure := refresh(t, mustNew(t, tt.cfg(server.URL)), account.RefreshRequest{Audience: tt.audience, Scopes: tt.scopes})
			if failure != nil {
				t.Fatal(failure)
			}
			if diff := cmp.Diff(tt.want, answer.Scopes); diff != "" {
				t.Errorf("scopes (-want +got):\n%s", diff)
			}
		})
	}
}
