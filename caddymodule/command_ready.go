package caddymodule

import (
	"net/http"

	"github.com/spf13/cobra"
)

// readyCommand is `oauth ready`: what asks a container, which has no shell and
// no curl, whether it is well.
func readyCommand(to *adminFlags) *cobra.Command {
	return &cobra.Command{
		Use: "ready", Short: "Says whether the server can renew tokens and keep them", Args: cobra.NoArgs,
		Long: `Asks the running server what its /readyz answers: whether tokens can be renewed
and what comes back be kept. Exits 1, with the reason, if not.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var said struct {
				Status string `json:"status"`
			}
			if err := to.call(http.MethodGet, "/readyz", nil, &said); err != nil {
				return err
			}
			return to.say(cmd.OutOrStdout(), said, "%s", said.Status)
		},
	}
}
