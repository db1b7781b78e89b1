package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// connectCommand is `oauth connect`.
func connectCommand(to *adminFlags) *cobra.Command {
	c := connector{to: to}
	var scopes string
	cmd := &cobra.Command{
		Use: "connect <provider> [<id>]", Args: cobra.RangeArgs(1, 2),
		Short: "Connects an account: a person consents, in a browser or on another device",
		Long: `Connects an account by a person's consent, and waits for it.

The person signs in at the provider, in a browser on this machine; the answer
comes back to a port of the loopback interface. The redirect URI that the
client's registration must allow is printed first. --paste is for machines
without a browser: open the link anywhere, and paste the address that it ends on.
With --device the person enters a code on whatever device they like, where the
provider allows that for these scopes. --admin asks a Microsoft administrator to
consent for the whole organisation; no account comes of it.

Without <id> the account is called by the address that the consent proves, in
lower case, unless that is somebody else's account. An account that exists is
connected anew, as the person who is known alone; --any-mailbox accepts anybody.
--user names whose consent is expected for an account that is new.

The exchange is the server's: the client's secret never comes to this command.
Until the consent is accepted nothing is stored, so Ctrl-C leaves nothing behind.`,
		Example: `  bellhop oauth connect google alice
  bellhop oauth connect microsoft --paste --user bob@example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.request.Provider, c.request.Scopes = args[0], strings.Fields(scopes)
			if len(args) > 1 {
				c.request.Account = args[1]
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			c.in, c.result, c.progress = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.OutOrStdout()
			if to.json {
				c.progress = cmd.ErrOrStderr()
			}
			return c.run(ctx)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&c.request.Port, "port", 0, "Port of the redirect URI (default: one that is free)")
	flags.BoolVar(&c.paste, "paste", false, "Do not listen: the address that the browser ends on is pasted")
	flags.BoolVar(&c.device, "device", false, "Let the person enter a code on another device")
	flags.BoolVar(&c.request.Admin, "admin", false, "Ask an administrator to consent for the organisation (Microsoft)")
	flags.StringVar(&c.request.Email, "user", "", "Login that is suggested, and expected for a new account")
	flags.StringVar(&c.request.Name, "name", "", "What to call the account")
	flags.StringVar(&scopes, "scopes", "", "Scopes to ask for, separated by spaces (default: the provider's)")
	flags.BoolVar(&c.request.AnyMailbox, "any-mailbox", false, "Accept anybody's consent, also in the place of the person who is known")
	cmd.MarkFlagsMutuallyExclusive("paste", "device")
	cmd.MarkFlagsMutuallyExclusive("port", "device")
	cmd.MarkFlagsMutuallyExclusive("admin", "device")
	return cmd
}

// connector connects one account.
type connector struct {
	to            *adminFlags
	request       connectRequest
	paste, device bool

	in io.Reader
	// progress is for whoever waits, result for what came of it.
	progress, result io.Writer
}

// errInterrupted ends the command at Ctrl-C.
var errInterrupted = errors.New("interrupted; nothing was stored")

func (c *connector) run(ctx context.Context) error {
	how := c.listen
	switch {
	case c.device:
		how = c.enterCode
	case c.paste:
		how = c.pasteAnswer
	}
	done, err := how(ctx)
	if err != nil {
		return err
	}
	return c.tell(done)
}

// begin begins an attempt with a redirect to the loopback interface.
func (c *connector) begin() (*begunConnect, error) {
	begun := new(begunConnect)
	return begun, c.to.call(http.MethodPost, "/v1/connect", c.request, begun)
}

// finish has the server judge the answer that came back.
func (c *connector) finish(begun *begunConnect, answer string) (*connected, error) {
	done := new(connected)
	return done, c.to.call(http.MethodPost, "/v1/connect/finish", finishRequest{begun.Attempt, answer}, done)
}

func (c *connector) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.progress, format+"\n", args...) // nobody is left to tell
}

// introduce prints what has to be registered, and where to consent.
func (c *connector) introduce(begun *begunConnect) {
	c.say("Redirect URI: %s", begun.RedirectURI)
	c.say("%s\n", begun.Register)
	if c.request.Admin {
		c.say("An administrator of the organisation opens:")
	} else {
		c.say("Open this address, sign in and agree:")
	}
	c.say("\n  %s\n", begun.AuthorizeURL)
}

// tell prints what was granted.
func (c *connector) tell(done *connected) error {
	if c.to.json {
		return printJSON(c.result, done)
	}
	var text strings.Builder
	switch {
	case done.State == "consented":
		fmt.Fprintf(&text, "an administrator has consented for the organisation: its people can be connected with %s now\n", done.App)
	case done.User != "":
		fmt.Fprintf(&text, "account %s is connected with %s as %s\n", done.Account, done.App, done.User)
	default:
		fmt.Fprintf(&text, "account %s is connected with %s\n", done.Account, done.App)
	}
	if len(done.Granted) > 0 {
		fmt.Fprintf(&text, "granted: %s\n", strings.Join(done.Granted, " "))
	}
	if len(done.Missing) > 0 {
		fmt.Fprintf(&text, "not granted: %s\n", strings.Join(done.Missing, " "))
		fmt.Fprintf(&text, "calls that need these are refused; to ask for them again: bellhop oauth connect %s %s\n", done.App, done.Account)
	}
	if done.AccountState == "disabled" {
		fmt.Fprintf(&text, "the account is switched off; to switch it on: bellhop oauth account enable %s\n", done.Account)
	}
	_, err := io.WriteString(c.result, text.String())
	return err
}

// patience is how long nothing may come back before the command says what may
// be the matter.
const patience = 45 * time.Second

// troubles are what goes wrong in the browser so that nothing comes back: the
// provider shows these on a page of its own.
func troubles(providerType, redirectURI string) []string {
	switch providerType {
	case provider.TypeGoogle:
		return []string{
			"\"Error 400: redirect_uri_mismatch\": the client is a \"Web application\": add " + redirectURI + " to it (Google Cloud console, APIs & Services > Credentials), or use one of the type \"Desktop app\".",
			"\"Error 403: access_denied\", \"has not completed the verification process\": add the person under Google Auth Platform > Audience > Test users, or publish the app.",
			"\"Error 403: org_internal\": the app is for its own organisation; make it External under Audience.",
			"\"Error 400: admin_policy_enforced\": the organisation's administrator has to trust the app (Admin console > Security > API controls).",
			"\"Error 401: invalid_client\": client_id is not that of a client there.",
		}
	case provider.TypeMicrosoft:
		return []string{
			"AADSTS50011: the redirect URI is not registered: add " + redirectURI + " (Microsoft Entra admin centre, App registrations > Authentication).",
			"AADSTS50194, AADSTS700016: the app is for one tenant, or another one's: set tenant to the tenant's ID, or make the app multi-tenant.",
			"\"Need admin approval\": run this with --admin once and let an administrator open the link.",
			"AADSTS50020: the account is not of this tenant: sign in with another one, or invite it as a guest.",
		}
	}
	return []string{
		"an error about the redirect URI: the client's registration has to allow " + redirectURI + " exactly.",
		"an error about the client: client_id, or the authorization endpoint, is another server's.",
	}
}

// remind says what may be the matter while nothing comes back.
func (c *connector) remind(begun *begunConnect) {
	c.say("Nothing has come back yet. If the browser shows an error:")
	for _, trouble := range troubles(begun.ProviderType, begun.RedirectURI) {
		c.say("  - %s", trouble)
	}
	c.say("Still waiting, until %s; Ctrl-C gives up.", begun.Expires.Local().Format(time.TimeOnly))
}

// errTooLate ends an attempt that nobody answered.
var errTooLate = errors.New("nobody answered in time; nothing was stored")

// answerOf finds the answer of an authorization server in what was pasted: a
// whole address, its query, or the code alone.
func answerOf(pasted string, begun *begunConnect) (string, error) {
	pasted = strings.Trim(strings.TrimSpace(pasted), `"'<>`)
	query := pasted
	switch u, err := url.Parse(pasted); {
	case pasted == "":
		return "", errors.New("that was an empty line; paste the whole address from the browser's address bar")
	case pasted == begun.AuthorizeURL:
		return "", errors.New("that is the link to open; sign in and agree there first, and paste the address that the browser ends on")
	case strings.Contains(pasted, "://") && err != nil:
		return "", errors.New("that is not an address; copy the whole of it from the browser's address bar")
	case strings.Contains(pasted, "://"):
		// Some providers answer in the fragment where they were told to.
		query = cmp.Or(u.RawQuery, u.Fragment)
	case !strings.ContainsAny(pasted, "=&"):
		return url.Values{"code": {strings.TrimPrefix(pasted, "?")}, "state": {begun.State}}.Encode(), nil
	}
	query = strings.TrimPrefix(query, "?")
	answer, err := url.ParseQuery(query)
	switch {
	case err != nil:
		return "", errors.New("that is not a whole address; copy all of it from the browser's address bar")
	case !answer.Has("code") && !answer.Has("error") && !answer.Has("admin_consent"):
		return "", errors.New("there is neither a code nor an error in that address; it should begin with " + begun.RedirectURI + "?")
	case !answer.Has("state"):
		return "", errors.New("there is no state in that address, so it is not a whole one; copy all of it")
	case answer.Get("state") != begun.State:
		return "", errors.New("that is the answer to another attempt; open the link above, and paste what it leads to")
	}
	return query, nil
}

// adoptCommand is `oauth account adopt`.
func adoptCommand(to *adminFlags) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "adopt <id>|--all", Args: cobra.MaximumNArgs(1),
		Short: "Takes over restored accounts: the instance that they came from is gone",
		Long: `Takes over accounts that were restored from a backup or imported. They are not
renewed until then: if another instance still used their refresh tokens, two
would spend the same ones, and a provider that rotates refresh tokens ends a
grant for that. Be sure that it is switched off.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return errors.New("adopt takes either an account's ID or --all")
			}
			ids := args
			if all {
				var err error
				if ids, err = to.unadopted(); err != nil {
					return err
				}
			}
			return adopt(to, cmd.OutOrStdout(), ids)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "Take over every restored account")
	return cmd
}

// adopt takes over accounts, each of them that can be.
func adopt(to *adminFlags, out io.Writer, ids []string) error {
	adopted := []accountDone{}
	var failed error
	failures := 0
	for _, id := range ids {
		var done accountDone
		if err := to.call(http.MethodPost, accountURL(id)+"/adopt", nil, &done); err != nil {
			failures++
			failed = cmp.Or(failed, fmt.Errorf("account %s: %w", id, err))
			continue
		}
		adopted = append(adopted, done)
		if !to.json {
			if _, err := fmt.Fprintf(out, "account %s is adopted; it is %s\n", done.Account, done.State); err != nil {
				return err
			}
		}
	}
	switch {
	case to.json:
		if err := printJSON(out, adopted); err != nil {
			return err
		}
	case len(ids) == 0:
		if _, err := fmt.Fprintln(out, "there is no restored account"); err != nil {
			return err
		}
	}
	if failures > 1 {
		return fmt.Errorf("%d of %d accounts could not be adopted, the first: %w", failures, len(ids), failed)
	}
	return failed
}

// unadopted lists the accounts that wait to be adopted: those that are restored,
// and those of them that were switched off.
func (f *adminFlags) unadopted() ([]string, error) {
	var ids []string
	for _, state := range []account.State{account.Restored, account.Disabled} {
		for page, pages := 0, 1; page < pages; page++ {
			var list struct {
				Pages    int
				Accounts []shownAccount
			}
			query := url.Values{"state": {string(state)}, "pageSize": {strconv.Itoa(maxPageSize)}, "page": {strconv.Itoa(page)}}
			if err := f.call(http.MethodGet, "/v1/accounts?"+query.Encode(), nil, &list); err != nil {
				return nil, err
			}
			for _, a := range list.Accounts {
				if a.Unadopted {
					ids = append(ids, a.Account)
				}
			}
			pages = list.Pages
		}
	}
	return ids, nil
}
