package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// The consoles where clients are registered.
const (
	googleClients    = "Google Cloud console, Google Auth Platform, Clients (https://console.cloud.google.com/auth/clients)"
	googleAudience   = "Google Cloud console, Google Auth Platform, Audience (https://console.cloud.google.com/auth/audience)"
	googleDataAccess = "Google Cloud console, Google Auth Platform, Verification center (https://console.cloud.google.com/auth/verification)"
	entraApps        = "Microsoft Entra admin center, App registrations (https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationsListBlade)"
)

// The loopback redirect URIs of `oauth connect` (RFC 8252 section 7.3).
const (
	googleLoopback    = "http://127.0.0.1:<port>/oauth/callback"
	microsoftLoopback = "http://localhost:<port>/oauth/callback"
)

// checkProviders asks all providers at once.
func (a *App) checkProviders(ctx context.Context, _ *service) (all []checked) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, p := range a.run.providers {
		asking.Go(func() {
			found := a.checkProvider(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
		})
	}
	asking.Wait()
	return bySubject(all)
}

func (a *App) checkProvider(ctx context.Context, p provider.Provider) []checked {
	all := slices.Concat(a.checkClient(ctx, p), a.checkSecretEnd(p), checkHosts(p))
	if attended, ok := p.(provider.Attended); ok {
		all = slices.Concat(all, checkAuthorization(ctx, p), a.checkRedirect(attended), checkDevice(ctx, attended), checkScopes(p))
	}
	return all
}

// checkClient asks the token endpoint whether it knows the client, and what
// time it is.
func (a *App) checkClient(ctx context.Context, p provider.Provider) []checked {
	const check = "client"
	probed, ok := p.(provider.Probed)
	if !ok {
		return nil
	}
	f := probed.Probe(ctx)
	var all []checked
	switch {
	case f.Failure != nil && f.OlderAccepted:
		all = append(all, warned(check, p.Name(), f.Failure.Sentence()+" An older client_secret is accepted, and is used in its place.", consoleOf(p)))
	case f.Failure != nil:
		says, mend := explained(f.Failure)
		if f.Failure.Meaning == account.ClientMisconfigured {
			mend = strings.TrimSpace(mend + " " + consoleOf(p))
		}
		all = append(all, failed(check, p.Name(), says, mend))
	case f.Unsettled:
		all = append(all, passed(check, p.Name(), f.Endpoint+" answers; it looks at the client's secret only with a real consent, so the first one shows whether that is right"))
	default:
		all = append(all, passed(check, p.Name(), f.Endpoint+" knows the client"))
	}
	if c, ok := checkClock(p.Name(), f); ok {
		all = append(all, c)
	}
	return all
}

// explained is what a person reads of a failure, with the provider's name for it.
func explained(f *account.Failure) (says, mend string) {
	says = f.Reads
	if f.Code != "" || f.Number != "" {
		says = strings.TrimSpace(says + " The provider calls it " + f.Name() + ".")
	}
	return says, f.Mend
}

// consoleOf says where a client's registration is looked at.
func consoleOf(p provider.Provider) string {
	switch p.Type() {
	case provider.TypeGoogle:
		return "Where: " + googleClients + "."
	case provider.TypeMicrosoft, provider.TypeMicrosoftApp:
		return "Where: " + entraApps + ", the app, Certificates & secrets; the secret is the column Value, which is shown once, and not Secret ID."
	case provider.TypeGoogleServiceAccount:
		return "Where: Google Cloud console, IAM & Admin, Service Accounts (https://console.cloud.google.com/iam-admin/serviceaccounts), the account, Keys."
	}
	return ""
}

const (
	// clockNoticed is more than the provider's clock, told to the second, and
	// the way of its answer can be apart.
	clockNoticed = 10 * time.Second
	// clockHarmful is when assertions and ID tokens stop to be believed.
	clockHarmful = 2 * time.Minute
)

// checkClock compares the clock here with the provider's.
func checkClock(name string, f provider.Finding) (checked, bool) {
	const check, mend = "clock", "Let the server's machine keep its time by NTP (timedatectl set-ntp true)."
	if f.Date.IsZero() {
		return checked{}, false
	}
	var apart time.Duration
	switch {
	case f.Asked.Add(-clockNoticed).After(f.Date):
		apart = f.Asked.Sub(f.Date)
	case f.Answered.Add(clockNoticed).Before(f.Date):
		apart = f.Answered.Sub(f.Date)
	default:
		return passed(check, name, "the clock here and the provider's agree"), true
	}
	says := fmt.Sprintf("the clock here is %v ahead of the provider's", apart.Round(time.Second))
	if apart < 0 {
		says = fmt.Sprintf("the clock here is %v behind the provider's", -apart.Round(time.Second))
	}
	if apart.Abs() > clockHarmful {
		return failed(check, name, says+": tokens seem to end at other times than they do, and signatures are not believed", mend), true
	}
	return warned(check, name, says, mend), true
}

// checkSecretEnd looks when the client secret ends, where that is written.
func (a *App) checkSecretEnd(p provider.Provider) []checked {
	const check, mend = "client_secret_expires", "Make a new client secret and write it before the old one. "
	ends, known := a.run.secretsEnd[p.Name()]
	if !known {
		return nil
	}
	date := ends.UTC().Format(time.DateOnly)
	switch left := clock.Until(ends); {
	case left <= 0:
		return []checked{failed(check, p.Name(), "the client secret ended on "+date, mend+consoleOf(p))}
	case left < secretForetold:
		return []checked{warned(check, p.Name(), "the client secret ends on "+date, mend+consoleOf(p))}
	}
	return []checked{passed(check, p.Name(), "the client secret is good until "+date)}
}

// checkHosts looks for listed API hosts that no token can be asked for.
func checkHosts(p provider.Provider) (all []checked) {
	for _, host := range p.Hosts() {
		if strings.HasPrefix(host, "*.") {
			continue // judged when one below it is called
		}
		if _, err := p.Audience(host); err != nil {
			all = append(all, warned("api_host", p.Name(), err.Error(), "Add a scope of that resource, or leave the host out."))
		}
	}
	return all
}

// checkAuthorization sees whether the way that people go can be gone from here.
func checkAuthorization(ctx context.Context, p provider.Provider) []checked {
	const check = "authorization_endpoint"
	reaching, ok := p.(interface {
		Reach(ctx context.Context, address string) error
	})
	m, err := p.Metadata(ctx)
	if err != nil || !ok {
		return nil // it is told as the client's
	}
	if m.AuthorizationEndpoint == "" {
		return []checked{warned(check, p.Name(), "it is not known where people consent", "Write authorization_endpoint, or issuer where the provider publishes its endpoints.")}
	}
	if failure, ok := errors.AsType[*account.Failure](reaching.Reach(ctx, m.AuthorizationEndpoint)); ok {
		says, mend := explained(failure)
		return []checked{warned(check, p.Name(), says+" People's browsers may go another way.", mend)}
	}
	return []checked{passed(check, p.Name(), m.AuthorizationEndpoint+" answers")}
}

// checkRedirect tells what is to be registered. Whether it is, a provider tells
// nobody but the person who wants to consent.
func (a *App) checkRedirect(p provider.Attended) []checked {
	browser := ""
	if a.run.publicURL != nil {
		browser = a.redirectURI()
	}
	c := passed("redirect_uri", p.Name(), "")
	switch p.Type() {
	case provider.TypeGoogle:
		c.Says = both(browser, "under Authorized redirect URIs of a client of type Web application",
			googleLoopback, "with the port of --port there too, or with a client of type Desktop app, for which nothing is registered")
		c.Mend = "Where: " + googleClients + ". Google's page says Error 400: redirect_uri_mismatch where it is not registered."
	case provider.TypeMicrosoft:
		c.Says = both(browser, "under Authentication as a redirect URI of the platform Web",
			microsoftLoopback, "without the port, which Microsoft ignores, under the platform Web too, or Mobile and desktop applications for a client without secret")
		c.Mend = "Where: " + entraApps + ", the app, Authentication. Microsoft's page says AADSTS50011 where it is not registered."
	default:
		c.Says = both(browser, "as a redirect URI of the client", googleLoopback, "with the port of --port")
		c.Mend = "Where: at the provider, in the client's registration. Its page says that the redirect URI is wrong where it is not registered."
	}
	return []checked{c}
}

// both says what is to be registered for the browser and for `oauth connect`.
func both(browser, browserHow, loopback, loopbackHow string) string {
	says := "for `oauth connect` register " + loopback + " " + loopbackHow
	if browser != "" {
		says = "for consent in the browser register " + browser + " " + browserHow + "; " + says
	}
	return says
}

// checkDevice tells whether `oauth connect --device` can be used.
func checkDevice(ctx context.Context, p provider.Attended) []checked {
	if refusal := provider.DeviceRefusal(ctx, p); refusal != nil {
		return []checked{passed("device", p.Name(), "`oauth connect --device` cannot be used: "+refusal.Reads+" --paste can, where there is no browser")}
	}
	says := "`oauth connect --device` can be used"
	switch p.Type() {
	case provider.TypeGoogle:
		says += " with a client of type TVs and Limited Input devices"
	case provider.TypeMicrosoft:
		says += " if the app allows public client flows (Authentication, Settings)"
	}
	return []checked{passed("device", p.Name(), says)}
}

// checkScopes looks for scopes that a user's own consent is not enough for.
func checkScopes(p provider.Provider) []checked {
	const check = "scopes"
	scopes := provider.NeedsReview(p)
	if len(scopes) == 0 {
		return nil
	}
	list := strings.Join(scopes, " ")
	if p.Type() == provider.TypeMicrosoft {
		return []checked{warned(check, p.Name(), "only an administrator can consent to "+list,
			"Have one do so with `bellhop oauth connect "+p.Name()+" --admin`, or leave these scopes out.")}
	}
	return []checked{warned(check, p.Name(), "Google reviews apps that ask for "+list+": until then people see a warning, and 100 may consent at most",
		"Nothing, if all users are of your organisation and the app is Internal ("+googleAudience+"); else have it verified: "+googleDataAccess+".")}
}
