package caddymodule

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

// doctorCommand is `oauth doctor`.
func doctorCommand(to *adminFlags) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Looks for what is wrong, and says what mends it", Args: cobra.NoArgs,
		Long: `Has the running server look at its configuration, store, keyset and clock, ask
each provider whether it knows the client (with an authorization code that was
made up: no refresh token is ever used for it), and look for accounts and keys
that need people. Each finding comes with the click or command that mends it.

Whether a redirect URI is registered, a provider tells nobody but the person who
wants to consent: what to register is printed.

Exits 1 if anything fails.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var found struct {
				Fail   int       `json:"fail"`
				Warn   int       `json:"warn"`
				OK     int       `json:"ok"`
				Checks []checked `json:"checks"`
			}
			if err := to.call(http.MethodGet, "/v1/doctor", nil, &found); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if to.json {
				if err := printJSON(out, found); err != nil {
					return err
				}
			} else if err := printChecks(out, found.Checks); err != nil {
				return err
			}
			if found.Fail > 0 {
				return fmt.Errorf("%s failed", numberOf(found.Fail, "check"))
			}
			return nil
		},
	}
}

// printChecks prints what failed first: it is what was asked for.
func printChecks(w io.Writer, checks []checked) error {
	for _, status := range []string{checkFail, checkWarn, checkOK} {
		for _, c := range checks {
			if c.Status != status {
				continue
			}
			about := c.Check
			if c.Subject != "" {
				about += " " + c.Subject
			}
			if _, err := fmt.Fprintf(w, "%-4s  %s: %s\n", c.Status, about, c.Says); err != nil {
				return err
			}
			if c.Mend == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "      → %s\n", c.Mend); err != nil {
				return err
			}
		}
	}
	return nil
}
