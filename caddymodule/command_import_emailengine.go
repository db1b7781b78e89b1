package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/emailengine"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// emailEngineFlags say where an EmailEngine's database is, and what to do with
// it.
type emailEngineFlags struct {
	redis, prefix      string
	secret, secretFile string
	providers          map[string]string
	dryRun             bool
}

// importEmailEngineCommand is `oauth import emailengine`.
func importEmailEngineCommand(to *adminFlags) *cobra.Command {
	var from emailEngineFlags
	cmd := &cobra.Command{
		Use: "emailengine --redis <url>", Args: cobra.NoArgs,
		Short: "Imports an EmailEngine's accounts and API tokens from its Redis",
		Long: `Imports an EmailEngine's accounts and API tokens from its Redis, and prints its
OAuth2 apps as lines for the Caddyfile where no configured provider has their
client. Redis is only read; EmailEngine may be running.

  accounts  each with its grant, scopes and access token. The provider is the one
            that has the client ID of the account's OAuth2 app.
  tokens    go on working, within the accounts that they reached: callers change
            nothing but the address. They manage nothing here.

Where EmailEngine has a secret (EENGINE_SECRET), give it in --secret-file or in
the environment, under EmailEngine's own names: EENGINE_SECRET, or
EENGINE_SECRET_FILE. What --secret and --redis hold can be seen by every process
of the machine; EENGINE_REDIS is read in the place of --redis.`,
		Example: `  bellhop oauth import emailengine --redis redis://127.0.0.1:6379/8 --secret-file /run/secrets/eengine --dry-run`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return from.run(cmd, to)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&from.redis, "redis", "", "URL of EmailEngine's Redis (default: EENGINE_REDIS, REDIS_URL; database 8 unless the URL names one)")
	flags.StringVar(&from.prefix, "prefix", "", "Prefix of its keys (default: EENGINE_REDIS_PREFIX)")
	flags.StringVar(&from.secret, "secret", "", "EmailEngine's secret; better kept in a file")
	flags.StringVar(&from.secretFile, "secret-file", "", "File with EmailEngine's secret")
	flags.StringToStringVar(&from.providers, "provider", nil, "Provider of an OAuth2 app, by the app's ID: <app>=<provider> (repeatable; default: the one with its client ID)")
	flags.BoolVar(&from.dryRun, "dry-run", false, "Show what would be done, and change nothing")
	return cmd
}

// environment is the first of the variables that is set.
func environment(names ...string) string {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return ""
}

// sealed is EmailEngine's secret; zero if there is none.
func (f *emailEngineFlags) sealed() (secret.String, error) {
	file := f.secretFile
	switch {
	case f.secret != "" && file != "":
		return secret.String{}, errors.New("--secret and --secret-file exclude each other")
	case f.secret != "":
		return secret.New(f.secret), nil
	case file == "" && os.Getenv("EENGINE_SECRET") != "":
		return secret.New(os.Getenv("EENGINE_SECRET")), nil
	case file == "":
		file = os.Getenv("EENGINE_SECRET_FILE")
	}
	if file == "" {
		return secret.String{}, nil
	}
	text, err := os.ReadFile(file) //nolint:gosec // the user names the file, and it is read as that user
	if err != nil {
		return secret.String{}, fmt.Errorf("reading EmailEngine's secret: %w", err)
	}
	written := strings.TrimRight(string(text), "\r\n")
	if written == "" {
		return secret.String{}, fmt.Errorf("reading EmailEngine's secret: %s is empty", file)
	}
	return secret.New(written), nil
}

func (f *emailEngineFlags) run(cmd *cobra.Command, to *adminFlags) error {
	sealed, err := f.sealed()
	if err != nil {
		return err
	}
	if f.redis == "" {
		f.redis = environment("EENGINE_REDIS", "REDIS_URL")
	}
	if f.redis == "" {
		return errors.New("--redis is missing: give the URL of EmailEngine's Redis, as redis://127.0.0.1:6379/8")
	}
	if f.prefix == "" {
		f.prefix = os.Getenv("EENGINE_REDIS_PREFIX")
	}
	instance, err := emailengine.Open(cmd.Context(), f.redis, f.prefix, sealed)
	if err != nil {
		return err
	}
	defer instance.Close()
	i := emailEngineImport{importRun: newImportRun(to, cmd.ErrOrStderr(), f.dryRun), now: clock.Now()}
	apps, err := instance.Apps(cmd.Context())
	if err != nil {
		return err
	}
	if err := i.findApps(apps, f.providers); err != nil {
		return err
	}
	if err := instance.Accounts(cmd.Context(), i.accounts); err != nil {
		return err
	}
	if err := i.flush(); err != nil {
		return err
	}
	// Tokens after the accounts that they may be bound to.
	i.noteAccounts()
	if err := instance.Tokens(cmd.Context(), i.tokens); err != nil {
		return err
	}
	if err := i.flush(); err != nil {
		return err
	}
	unguarded, err := instance.Unguarded(cmd.Context())
	if err != nil {
		return err
	}
	if unguarded {
		i.report.Notes = append(i.report.Notes, "This EmailEngine answers callers without an API token (disableTokens). Here every call needs a key: make one with `bellhop oauth key add`.")
	}
	return i.report.print(cmd.OutOrStdout(), to.json)
}

// emailEngineImport is one import from an EmailEngine.
type emailEngineImport struct {
	*importRun
	apps map[string]appProvider
	// here are the accounts that are in Bellhop with the grant that they have
	// there.
	here map[string]bool
	now  time.Time
}

// appProvider is the provider that stands for an OAuth2 app; its name is empty,
// and missing says why, where there is none.
type appProvider struct {
	emailengine.App
	provider string
	missing  string
}

// unattended reports whether the app's tokens come without any person's grant.
func (p *appProvider) unattended() bool {
	return p.Type == emailengine.GmailService || p.Type == emailengine.OutlookService
}

// findApps asks the server which of its providers have the apps' clients.
func (i *emailEngineImport) findApps(apps []emailengine.App, said map[string]string) error {
	var ask importRequest
	for _, app := range apps {
		c := importClient{Type: app.Type, ClientID: app.ClientID}
		if app.Type == emailengine.GmailService {
			c.ClientID, c.Email = app.ServiceClient, app.ServiceEmail
		}
		ask.Clients = append(ask.Clients, c)
	}
	var answer importAnswer
	// Also without any app: whether the server is there is known first.
	if err := i.to.call("POST", "/v1/import", ask, &answer); err != nil {
		return err
	}
	if len(answer.Clients) != len(apps) {
		return errors.New("the server answered for other apps than were asked about: use the same version here and there")
	}
	i.apps = make(map[string]appProvider, len(apps))
	for n, app := range apps {
		found := appProvider{App: app, provider: answer.Clients[n].Provider, missing: answer.Clients[n].Reason}
		if name := said[app.ID]; name != "" {
			found.provider = name
		}
		i.apps[app.ID] = found
		if found.provider == "" {
			i.report.missing(app, found.missing, answer.Providers)
		}
	}
	for id := range said {
		if _, ok := i.apps[id]; !ok {
			return fmt.Errorf("--provider %s=…: EmailEngine has no OAuth2 app of this ID", id)
		}
	}
	return nil
}

// accounts imports some accounts, or says why not.
func (i *emailEngineImport) accounts(some []emailengine.Account) error {
	for _, a := range some {
		in, note, err := i.readAccount(a)
		if err == nil {
			if err := i.account(in, note); err != nil {
				return err
			}
			continue
		}
		i.report.account(importedAccount{Account: a.ID, Provider: in.Provider, Result: unused(err), Reason: err.Error()})
	}
	return nil
}

// notCarried is why there is nothing of a record to import.
type notCarried string

// Error implements error.
func (n notCarried) Error() string { return string(n) }

// unused is the result of a record that is not imported for err.
func unused(err error) importResult {
	if _, ok := errors.AsType[notCarried](err); ok {
		return importSkipped
	}
	return importRefused
}

// readAccount is what becomes of an account of EmailEngine's.
func (i *emailEngineImport) readAccount(a emailengine.Account) (in importAccount, note string, err error) {
	app, known := i.apps[a.App]
	in.Provider = app.provider
	switch {
	case a.Err != nil:
		return in, "", a.Err
	case a.AuthServer:
		return in, "", notCarried("EmailEngine has no grant of it: it asks an authentication server for its tokens (useAuthServer)")
	case a.App == "":
		return in, "", notCarried("it has no OAuth2 grant (a password, or nothing yet)")
	case a.DelegatedAccount != "":
		return in, "", notCarried(fmt.Sprintf("it has no grant of its own (delegatedAccount): call as account %q", a.DelegatedAccount))
	case !known:
		return in, "", fmt.Errorf("its OAuth2 app %q does not exist any more", a.App)
	case app.provider == "" && app.Err != nil:
		return in, "", fmt.Errorf("its OAuth2 app %q: %w", app.Name, app.Err)
	case app.provider == "":
		return in, "", fmt.Errorf("its OAuth2 app %q (%s): %s", app.Name, app.ID, app.missing)
	}
	if err := account.CheckID(a.ID); err != nil {
		return in, "", err
	}
	in.Account, in.Name, in.User = a.ID, a.Name, a.User
	if app.unattended() {
		return in, remarks(a), nil // it has no refresh token, and needs none
	}
	if a.RefreshToken.IsZero() {
		return in, "", notCarried("it has no refresh token")
	}
	in.ClientID, in.Scopes = app.ClientID, a.Scopes
	in.RefreshToken = a.RefreshToken.Reveal()
	if !a.Expires.IsZero() {
		in.AccessToken, in.Expires = a.AccessToken.Reveal(), a.Expires
	}
	return in, remarks(a), nil
}

// remarks are what an imported account loses, or brings along.
func remarks(a emailengine.Account) string {
	var said []string
	if a.DelegatedUser != "" {
		said = append(said, fmt.Sprintf("the shared mailbox %q is not carried: name it in calls (/users/{mailbox})", a.DelegatedUser))
	}
	if a.Disabled {
		said = append(said, "its mailbox was not synchronised there (imap.disabled)")
	}
	if a.State == "authenticationError" {
		said = append(said, "EmailEngine could not authenticate it (authenticationError): it may need to be connected anew")
	}
	return joinReasons(said...)
}

// noteAccounts remembers which accounts keys may be bound to.
func (i *emailEngineImport) noteAccounts() {
	i.here = make(map[string]bool)
	for _, a := range i.report.Accounts {
		if a.Result == importAdded || a.Result == importUnchanged {
			i.here[a.Account] = true
		}
	}
}

// tokens imports some API tokens, or says why not.
func (i *emailEngineImport) tokens(some []emailengine.Token) error {
	for _, t := range some {
		in, note, err := i.readToken(t)
		if err == nil {
			if err := i.key(in, note); err != nil {
				return err
			}
			continue
		}
		i.report.key(importedKey{Name: in.Name, ID: in.Hash, Result: unused(err), Reason: err.Error()})
	}
	return nil
}

// nothing is the rule of a key that may call no API.
const nothing = "!* *"

// readToken is what becomes of an API token. It never opens more than it did.
func (i *emailEngineImport) readToken(t emailengine.Token) (in importKey, note string, err error) {
	in = importKey{Name: keyName(t), Hash: t.ID, Accounts: []string{"*"}, Token: true, Expires: t.Expires}
	switch {
	case t.Err != nil:
		return in, "", t.Err
	case !t.API:
		return in, "", notCarried("it is not for the HTTP API, but for " + strings.Join(t.OtherScopes, ", "))
	case !t.Expires.IsZero() && !t.Expires.After(i.now):
		return in, "", notCarried("it ended at " + t.Expires.Format(time.RFC3339))
	case strings.Contains(t.Account, "*"):
		return in, "", fmt.Errorf("it is bound to account %q, and * means any here", t.Account)
	case t.Account != "" && !i.here[t.Account]:
		return in, "", notCarried(fmt.Sprintf("it is bound to account %q, which was not imported", t.Account))
	case t.Account != "":
		in.Accounts = []string{t.Account}
	}
	var said []string
	for _, address := range t.Addresses {
		cidr, err := policy.ParseCIDR(address)
		if err != nil {
			return in, "", fmt.Errorf("restrictions.addresses: %w", err)
		}
		in.CIDRs = append(in.CIDRs, cidr.String())
	}
	if t.Narrowed {
		// EmailEngine hands it no access token, and its permissions are about
		// calls that do not exist here. Through the proxy it would do more.
		in.Token, in.Allow = false, []string{nothing}
		said = append(said, "it has permissions: it may be handed no access token, as there, and call nothing through the proxy")
	}
	if len(t.OtherScopes) > 0 {
		said = append(said, "not carried: its scopes "+strings.Join(t.OtherScopes, ", "))
	}
	if len(t.Referrers) > 0 {
		said = append(said, "not carried: its referrers")
	}
	if t.RateLimited {
		said = append(said, "not carried: its rate limit")
	}
	return in, joinReasons(said...), nil
}

// keyName makes a name of a token's description; a part of its ID makes it its
// own, each time the same.
func keyName(t emailengine.Token) string {
	name := slug(t.Description, 48)
	if name == "" {
		name = "emailengine"
	}
	return name + "-" + t.ID[:min(8, len(t.ID))]
}

// slug is text in lower case with hyphens for what no name has in it.
func slug(text string, longest int) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	name := strings.Join(words, "-")
	return strings.Trim(name[:min(longest, len(name))], "-")
}

// missingApp is an OAuth2 app that no configured provider stands for.
type missingApp struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Reason string `json:"reason"`
	// Caddyfile is the block that configures it; empty where that cannot be
	// written. Environment are the variables that it reads, and what they hold.
	Caddyfile   string            `json:"caddyfile,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
}

// missing notes an app without a provider.
func (r *importReport) missing(app emailengine.App, reason string, taken []string) {
	m := missingApp{ID: app.ID, Name: app.Name, Reason: reason}
	if app.Err != nil {
		m.Reason = app.Err.Error()
	} else if block, err := providerBlock(app, r.freeName(app, taken)); err != nil {
		m.Reason = joinReasons(reason, err.Error())
	} else {
		m.Caddyfile, m.Environment = block.text, block.environment
	}
	r.Apps = append(r.Apps, m)
}

// printApps prints the blocks of apps that no provider stands for.
func (r *importReport) printApps(w io.Writer) {
	for _, app := range r.Apps {
		fmt.Fprintf(w, "\nEmailEngine's OAuth2 app %s (%s): %s\n", printable(app.Name), printable(app.ID), printable(app.Reason))
		if app.Caddyfile == "" {
			continue
		}
		fmt.Fprintf(w, "To configure it, in the global option bellhop:\n\n%s", app.Caddyfile)
		for _, name := range sortedKeys(app.Environment) {
			fmt.Fprintf(w, "\n%s holds %s", name, app.Environment[name])
		}
		fmt.Fprintln(w)
	}
}
