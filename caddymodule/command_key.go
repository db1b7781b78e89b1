package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// keyCommand is `oauth key`.
func keyCommand(to *adminFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "key <command>", Short: "Manages callers' keys"}
	cmd.AddCommand(keyAddCommand(to), keyNewCommand(), keyListCommand(to),
		&cobra.Command{
			Use: "show <name>", Short: "Shows what a key may do", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				path, err := keyPath(args[0])
				if err != nil {
					return err
				}
				var shown shownKey
				if err := to.call("GET", path, nil, &shown); err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), shown)
			},
		},
		&cobra.Command{
			Use: "remove <name>", Short: "Removes a key; it opens nothing from then on", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				path, err := keyPath(args[0])
				if err != nil {
					return err
				}
				var removed map[string]any
				if err := to.call("DELETE", path, nil, &removed); err != nil {
					return err
				}
				return to.say(cmd.OutOrStdout(), removed, "key %s is removed", args[0])
			},
		},
	)
	return cmd
}

// keyPath is where a key is shown and removed, by its name. A key itself would
// stand in the server's log of calls.
func keyPath(name string) (string, error) {
	if target.MentionsKey(name) {
		return "", errors.New("that is a key itself; give its name, which `oauth key list` shows")
	}
	return "/v1/token/" + url.PathEscape(name), nil
}

// keyFlags are what a key may be given.
func keyFlags(cmd *cobra.Command, k *keyRequest) {
	flags := cmd.Flags()
	flags.StringArrayVar(&k.Accounts, "account", nil, "Accounts that the key reaches: an ID, or a glob with * (repeatable; none: no account)")
	flags.BoolVar(&k.Token, "token", false, "May be handed access tokens")
	flags.BoolVar(&k.Admin, "admin", false, "May manage accounts and keys")
	flags.BoolVar(&k.Connect, "connect", false, "May make consent links")
	flags.TextVar(&k.Expires, "expires", Expiry{}, "When the key ends: a duration (30d), a date or a time (default: never)")
	flags.StringArrayVar(&k.CIDRs, "cidr", nil, "Addresses that the key may come from (repeatable; default: any)")
	flags.StringArrayVar(&k.Allow, "allow", nil, `Rule of what may be called: "GET,HEAD host/path", with * and **; "!" in front forbids (repeatable; default: everything)`)
	flags.StringArrayVar(&k.Presets, "preset", nil, "Named set of calls that may be made, such as gmail-readonly (repeatable)")
	flags.Func("scopes", "`Scopes` that its access tokens are narrowed to, separated by spaces; not of Microsoft's (default: all that the grant has)", func(scopes string) error {
		k.TokenScopes = strings.Fields(scopes)
		return nil
	})
	flags.TextVar(&k.Rate, "rate", Rate{}, "How often the key may call: 10/s, 600/m, 5000/h")
}

func keyAddCommand(to *adminFlags) *cobra.Command {
	var body keyRequest
	cmd := &cobra.Command{
		Use: "add <name>", Args: cobra.ExactArgs(1),
		Short: "Makes a key and prints it, once and alone",
		RunE: func(cmd *cobra.Command, args []string) error {
			body.Name = args[0]
			var added struct {
				Token string `json:"token"`
				ID    string `json:"id"`
				Name  string `json:"name"`
			}
			if err := to.call("POST", "/v1/token", body, &added); err != nil {
				return err
			}
			return to.say(cmd.OutOrStdout(), added, "%s", added.Token)
		},
	}
	keyFlags(cmd, &body)
	return cmd
}

// keyNewCommand makes a key without any server: the way in where the admin
// endpoint asks for a key that nobody has yet.
func keyNewCommand() *cobra.Command {
	var body keyRequest
	cmd := &cobra.Command{
		Use: "new [<name>]", Args: cobra.MaximumNArgs(1),
		Short: "Makes a key offline, and the lines that declare it in a Caddyfile",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				body.Name = args[0]
			case body.Admin:
				body.Name = "admin"
			default:
				body.Name = "app"
			}
			key, plain, err := body.build(time.Now())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return printJSON(out, map[string]any{"token": plain, "name": key.Name, "hash": policy.FormatHash(key.Hash)})
			}
			_, err = fmt.Fprintf(out, "%s\n\n%s", plain, body.caddyfile(key))
			return err
		},
	}
	keyFlags(cmd, &body)
	return cmd
}

// caddyfile is the block that declares the key.
func (k *keyRequest) caddyfile(made *policy.Key) string {
	var b strings.Builder
	line := func(name string, values ...string) {
		fmt.Fprintf(&b, "\t%s\n", strings.Join(append([]string{name}, values...), " "))
	}
	fmt.Fprintf(&b, "key %s {\n", k.Name)
	line("hash", policy.FormatHash(made.Hash))
	for _, account := range k.Accounts {
		line("account", quoteToken(account))
	}
	for name, set := range map[string]bool{"token": k.Token, "admin": k.Admin, "connect": k.Connect} {
		if set {
			line(name)
		}
	}
	switch {
	case k.Expires.after > 0:
		// In a configuration a duration begins anew with each load.
		line("expires", made.Expires.UTC().Format(time.RFC3339))
	case !k.Expires.IsZero():
		line("expires", k.Expires.String())
	}
	for _, cidr := range k.CIDRs {
		line("cidr", cidr)
	}
	for _, rule := range made.Rules {
		line("allow", quoteToken(rule.String()))
	}
	for _, preset := range made.Presets {
		line("preset", preset)
	}
	if len(k.TokenScopes) > 0 {
		line("scopes", k.TokenScopes...)
	}
	b.WriteString("}\n")
	return b.String()
}

// quoteToken writes a value so that a Caddyfile reads it as one.
func quoteToken(s string) string {
	if strings.ContainsAny(s, " \t\"`{}#") {
		return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
	}
	return s
}

func keyListCommand(to *adminFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Lists keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []shownKey
			for page := 0; ; page++ {
				var list struct {
					Pages  int
					Tokens []shownKey
				}
				if err := to.call("GET", fmt.Sprintf("/v1/tokens?pageSize=1000&page=%d", page), nil, &list); err != nil {
					return err
				}
				all = append(all, list.Tokens...)
				if page+1 >= list.Pages {
					break
				}
			}
			if to.json {
				return printJSON(cmd.OutOrStdout(), all)
			}
			rows := [][]string{{"KEY", "ACCOUNTS", "MAY", "EXPIRES", "SOURCE"}}
			for _, k := range all {
				rows = append(rows, []string{k.Name, strings.Join(k.Accounts, " "), k.may(), k.ends(), k.Source})
			}
			return printTable(cmd.OutOrStdout(), rows)
		},
	}
}

func (k *shownKey) may() string {
	may := []string{"proxy"}
	if k.Token {
		may = append(may, "token")
	}
	if k.Admin {
		may = append(may, "admin")
	}
	if k.Connect {
		may = append(may, "connect")
	}
	if n := len(k.Allow); n == 1 {
		may = append(may, "1 rule")
	} else if n > 1 {
		may = append(may, fmt.Sprintf("%d rules", n))
	}
	may = append(may, k.Presets...)
	if len(k.TokenScopes) > 0 {
		may = append(may, "narrower tokens")
	}
	return strings.Join(may, ",")
}

func (k *shownKey) ends() string {
	if k.Expires.IsZero() {
		return "never"
	}
	return k.Expires.UTC().Format(time.RFC3339)
}

func printTable(w io.Writer, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}
