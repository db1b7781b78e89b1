package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// oauthCommand is `bellhop oauth`, with its commands below it.
var oauthCommand = caddycmd.Command{
	Name:  "oauth",
	Usage: "<command>",
	Short: "Manages OAuth accounts, keys and tokens of a running server",
	Long: `
Manages the accounts and keys of Bellhop, which keeps OAuth grants and hands out
their access tokens.

The commands talk to the admin endpoint of the running server: the one given
with --address, else the one that the configuration of --config names, else
Caddy's default. On a unix socket the socket's mode is the guard. On TCP every
call needs an admin key, in --key or in BELLHOP_KEY; the first one is made with
'oauth key new --admin'.

All take --json, and print no secret that was not asked for.`,
	CobraFunc: func(cmd *cobra.Command) {
		var to adminFlags
		flags := cmd.PersistentFlags()
		flags.StringVar(&to.address, "address", "", "Address of the administration API listener (if --config is not used)")
		flags.StringVarP(&to.config, "config", "c", "", "Configuration file (if --address is not used)")
		flags.StringVarP(&to.adapter, "adapter", "a", "", "Name of config adapter to apply (if --config is used)")
		flags.StringVar(&to.key, "key", "", "Admin key, for an admin endpoint on TCP; better kept in BELLHOP_KEY")
		flags.BoolVar(&to.json, "json", false, "Print JSON")
		cmd.AddCommand(
			connectCommand(&to), accountCommand(&to), keyCommand(&to), tokenCommand(&to), curlCommand(&to),
			backupCommand(&to), restoreCommand(&to), keysetCommand(&to), doctorCommand(&to), readyCommand(&to),
			importCommand(&to),
			demoCommand(), fakeProviderCommand(),
		)
	},
}

// accountCommand is `oauth account`.
func accountCommand(to *adminFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "account <command>", Short: "Manages accounts"}
	cmd.AddCommand(accountAddCommand(to), accountListCommand(to), accountRemoveCommand(to), adoptCommand(to),
		&cobra.Command{
			Use: "show <id>", Short: "Shows an account and its grant", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				var shown map[string]any
				if err := to.call("GET", accountURL(args[0]), nil, &shown); err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), shown)
			},
		},
		accountActionCommand(to, "refresh", "Renews an account's access token now (once a minute at most)"),
		accountActionCommand(to, "disable", "Switches an account off, and keeps all that it has"),
		accountActionCommand(to, "enable", "Switches an account on again"),
	)
	return cmd
}

func accountURL(id string) string { return "/v1/account/" + url.PathEscape(id) }

func accountAddCommand(to *adminFlags) *cobra.Command {
	var body accountRequest
	var scopes, tokenFile string
	cmd := &cobra.Command{
		Use: "add <id> --provider <name> [--refresh-token-file <file>|-]", Args: cobra.ExactArgs(1),
		Short: "Registers a grant that exists",
		Long: `Registers a grant that exists, from its refresh token, and asks the provider
for an access token, so that a wrong one is noticed at once.

From then on Bellhop owns the refresh token: whoever else goes on using it makes
a provider that rotates refresh tokens end the grant.

A google_service_account, a microsoft_app or an emailengine takes no refresh
token: it gives tokens by credentials of its own.

An account that exists is left as it is, unless --replace says to swap its
grant; that is done only if the provider gives a token for the new one.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if tokenFile != "" {
				token, err := readToken(cmd.InOrStdin(), tokenFile)
				if err != nil {
					return err
				}
				body.OAuth2.RefreshToken = token
			}
			body.Account, body.OAuth2.Scopes = args[0], strings.Fields(scopes)
			var added struct{ Account, State string }
			if err := to.call("POST", "/v1/account", body, &added); err != nil {
				return err
			}
			var renewed accountDone
			if err := to.call("POST", accountURL(args[0])+"/refresh", nil, &renewed); err != nil {
				return fmt.Errorf("account %s is registered, but there is no token for it: %w", added.Account, err)
			}
			return to.say(cmd.OutOrStdout(), renewed, "account %s is registered with %s; its token ends at %s", added.Account, body.OAuth2.Provider, renewed.Expires)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&body.OAuth2.Provider, "provider", "", "Name of the configured provider")
	flags.StringVar(&body.OAuth2.Auth.User, "user", "", "Login at the provider, an e-mail address as a rule")
	flags.StringVar(&body.Name, "name", "", "What to call the account")
	flags.StringVar(&scopes, "scopes", "", "Scopes of the grant, separated by spaces (default: the provider's)")
	flags.StringVar(&tokenFile, "refresh-token-file", "", "File with the refresh token; - reads it from standard input")
	flags.BoolVar(&body.Replace, "replace", false, "Swap the grant of an account that exists")
	_ = cmd.MarkFlagRequired("provider")
	return cmd
}

// readToken reads a refresh token that never stands in arguments, which every
// process of the machine can read.
func readToken(stdin io.Reader, file string) (string, error) {
	const most = 64 << 10
	source := stdin
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the user names the file, and it is read as that user
		if err != nil {
			return "", fmt.Errorf("--refresh-token-file: %w", err)
		}
		defer f.Close()
		source = f
	}
	text, err := io.ReadAll(io.LimitReader(source, most))
	if err != nil {
		return "", fmt.Errorf("--refresh-token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", errors.New("--refresh-token-file: is empty; it must hold the refresh token and nothing else")
	}
	return token, nil
}

func accountListCommand(to *adminFlags) *cobra.Command {
	query := url.Values{}
	var state, provider string
	cmd := &cobra.Command{
		Use: "list", Short: "Lists accounts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query.Set("state", state)
			query.Set("provider", provider)
			query.Set("pageSize", "1000")
			var all []shownAccount
			for page := 0; ; page++ {
				query.Set("page", fmt.Sprint(page))
				var list struct {
					Pages    int
					Accounts []shownAccount
				}
				if err := to.call("GET", "/v1/accounts?"+query.Encode(), nil, &list); err != nil {
					return err
				}
				all = append(all, list.Accounts...)
				if page+1 >= list.Pages {
					break
				}
			}
			if to.json {
				return printJSON(cmd.OutOrStdout(), all)
			}
			rows := [][]string{{"ACCOUNT", "PROVIDER", "STATE", "USER", "NAME"}}
			for _, a := range all {
				rows = append(rows, []string{a.Account, a.App, string(a.State), a.Email, a.Name})
			}
			return printTable(cmd.OutOrStdout(), rows)
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "Only accounts in this state")
	cmd.Flags().StringVar(&provider, "provider", "", "Only accounts of this provider")
	return cmd
}

func accountRemoveCommand(to *adminFlags) *cobra.Command {
	var revoke, all bool
	cmd := &cobra.Command{
		Use: "remove <id> [--revoke [--all]]", Short: "Forgets an account and its grant", Args: cobra.ExactArgs(1),
		Long: `Forgets an account and its grant. With --revoke the grant is ended at the
provider first; if that fails, the account stays.

Google ends all grants of the user to the client at once: where other accounts
are the same user's, they are named, and --all is needed. Microsoft offers no
revocation: the user does it at https://myaccount.microsoft.com/ or
https://account.live.com/consent/Manage.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if revoke {
				query.Set("revoke", "true")
			}
			if all {
				query.Set("all", "true")
			}
			var removed map[string]any
			if err := to.call("DELETE", accountURL(args[0])+"?"+query.Encode(), nil, &removed); err != nil {
				return err
			}
			if removed["revoked"] == true {
				return to.say(cmd.OutOrStdout(), removed, "account %s is removed, and its grant is ended at the provider", args[0])
			}
			return to.say(cmd.OutOrStdout(), removed, "account %s is removed", args[0])
		},
	}
	cmd.Flags().BoolVar(&revoke, "revoke", false, "End the grant at the provider first")
	cmd.Flags().BoolVar(&all, "all", false, "With --revoke: also where that ends other accounts' grants")
	return cmd
}

// accountDone is what was done to an account.
type accountDone struct {
	Account string `json:"account"`
	State   string `json:"state,omitempty"`
	Expires string `json:"expires,omitempty"`
	Cached  bool   `json:"cached,omitempty"`
}

// accountActionCommand is a command that does one thing to one account.
func accountActionCommand(to *adminFlags, action, short string) *cobra.Command {
	return &cobra.Command{
		Use: action + " <id>", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var done accountDone
			if err := to.call("POST", accountURL(args[0])+"/"+action, nil, &done); err != nil {
				return err
			}
			switch {
			case done.Cached:
				return to.say(cmd.OutOrStdout(), done, "account %s was renewed a moment ago; its token ends at %s", done.Account, done.Expires)
			case done.Expires != "":
				return to.say(cmd.OutOrStdout(), done, "account %s is renewed; its token ends at %s", done.Account, done.Expires)
			}
			return to.say(cmd.OutOrStdout(), done, "account %s is %s", done.Account, done.State)
		},
	}
}

// tokenCommand is `oauth token`.
func tokenCommand(to *adminFlags) *cobra.Command {
	var minTTL Duration
	var audience, scopes string
	cmd := &cobra.Command{
		Use: "token <id>", Short: "Prints an account's access token", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if !minTTL.IsZero() {
				query.Set("min_ttl", fmt.Sprint(int64(minTTL.Or(0).Seconds())))
			}
			if audience != "" {
				query.Set("audience", audience)
			}
			if scopes != "" {
				query.Set("scopes", scopes)
			}
			var answer tokenAnswer
			if err := to.call("GET", accountURL(args[0])+"/oauth-token?"+query.Encode(), nil, &answer); err != nil {
				return err
			}
			return to.say(cmd.OutOrStdout(), answer, "%s", answer.AccessToken)
		},
	}
	cmd.Flags().TextVar(&minTTL, "min-ttl", Duration{}, "Least life that the token must have left")
	cmd.Flags().StringVar(&audience, "audience", "", "API host or resource that the token is for (default: the provider's)")
	cmd.Flags().StringVar(&scopes, "scopes", "", "Scopes that the token is narrowed to, separated by spaces (default: all that the grant has)")
	return cmd
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
