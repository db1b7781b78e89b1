package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// shownApp is a configured provider as EmailEngine shows an OAuth2 application.
// Secrets are shown to be there, and not what they are.
type shownApp struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Provider     string `json:"provider"`
	Enabled      bool   `json:"enabled"`
	ClientID     string `json:"clientId,omitempty"`
	ClientSecret string `json:"clientSecret,omitempty"`
	// ExtraScopes are all that are asked for: there are no base scopes here.
	ExtraScopes []string `json:"extraScopes,omitempty"`
	Authority   string   `json:"authority,omitempty"`
	Cloud       string   `json:"cloud,omitempty"`
	RedirectURL string   `json:"redirectUrl,omitempty"`

	ServiceClient      string `json:"serviceClient,omitempty"`
	ServiceClientEmail string `json:"serviceClientEmail,omitempty"`
	ServiceKey         string `json:"serviceKey,omitempty"`
	ExternalAccount    string `json:"externalAccount,omitempty"`
	AuthMethod         string `json:"authMethod,omitempty"`

	IncludeInListing bool `json:"includeInListing"`
	// Accounts is how many there are, told for one application alone.
	Accounts *int `json:"accounts,omitempty"`
}

// serviceAccount is what a provider of that type knows beside the others.
type serviceAccount interface {
	// ServiceClientID is the number that the Admin console knows it by.
	ServiceClientID() string
	// Keyless reports whether it signs without a key of its own.
	Keyless() bool
}

// emailEngineClouds are EmailEngine's names of Microsoft's clouds by ours, where
// the default one is written as none.
var emailEngineClouds = map[string]string{"": "global", "usgov": "gcc-high", "usgov-dod": "dod", "china": "china"}

func (a *App) shownApp(configured *Provider) (shownApp, error) {
	p := a.run.providers[configured.Name]
	_, attended := p.(provider.Attended)
	app := shownApp{
		ID: p.Name(), Name: p.Name(), Provider: emailEngineProvider(p.Type()), Enabled: true,
		ExtraScopes: p.Scopes(), IncludeInListing: attended,
	}
	if attended && a.run.publicURL != nil {
		app.RedirectURL = a.redirectURI()
	}
	switch p.Type() {
	case provider.TypeGoogleServiceAccount:
		app.ServiceClientEmail, app.AuthMethod, app.ServiceKey = p.ClientID(), "serviceKey", masked
		if s, ok := p.(serviceAccount); ok {
			app.ServiceClient = s.ServiceClientID()
			if s.Keyless() {
				app.AuthMethod, app.ServiceKey, app.ExternalAccount = "externalAccount", "", masked
			}
		}
		return app, nil
	case provider.TypeEmailEngine:
		return app, nil // it has no client
	}
	app.ClientID = p.ClientID()
	if len(configured.ClientSecrets) > 0 {
		app.ClientSecret = masked
	}
	if p.Type() == provider.TypeMicrosoft || p.Type() == provider.TypeMicrosoftApp {
		var err error
		if app.Authority, err = newResolver().optional("provider "+p.Name(), "tenant", configured.Tenant); err != nil {
			return app, err
		}
		app.Cloud = configured.Cloud
		if name, ok := emailEngineClouds[app.Cloud]; ok {
			app.Cloud = name
		}
	}
	return app, nil
}

// listApps lists the configured providers by name.
func (a *App) listApps(_ *service, r *http.Request) (any, error) {
	page, size, err := parsePage(r.URL.Query())
	if err != nil {
		return nil, err
	}
	configured := slices.SortedFunc(slices.Values(a.Providers), func(a, b *Provider) int { return strings.Compare(a.Name, b.Name) })
	shown := []shownApp{}
	for _, p := range pageOf(configured, page, size) {
		app, err := a.shownApp(p)
		if err != nil {
			return nil, err
		}
		shown = append(shown, app)
	}
	return answer("total", len(configured), "pages", pageCount(len(configured), size), "page", page, "apps", shown), nil
}

// showApp shows one configured provider, and how many accounts it has.
func (a *App) showApp(s *service, r *http.Request) (any, error) {
	name := r.PathValue("app")
	i := slices.IndexFunc(a.Providers, func(p *Provider) bool { return p.Name == name })
	if i < 0 {
		return nil, &problem.Problem{Code: "NotFound", Status: http.StatusNotFound, Message: "Document was not found"}
	}
	app, err := a.shownApp(a.Providers[i])
	if err != nil {
		return nil, err
	}
	counts, err := s.vault.Counts(r.Context())
	if err != nil {
		return nil, problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(fmt.Errorf("counting accounts: %w", err))
	}
	app.Accounts = new(int)
	for _, count := range counts {
		if count.Provider == name {
			*app.Accounts += count.Accounts
		}
	}
	return app, nil
}
