package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/bellhop-proxy/bellhop/internal/importfile"
)

// importCommand is `oauth import`.
func importCommand(to *adminFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "import <from>", Short: "Imports grants that another program keeps",
		Long: `Imports grants that another program keeps. No provider is asked for anything.

An imported account is served until the access token that came with it ends, and
is not renewed: its refresh token may still be in use elsewhere, and where the
provider lets each be used once, two who use one end the grant. When the other
program has stopped for good, say so with 'oauth account adopt'.

What is imported already is left as it is: an import can be run again.`,
	}
	cmd.AddCommand(importEmailEngineCommand(to), importJSONCommand(to))
	return cmd
}

// importJSONCommand is `oauth import json`.
func importJSONCommand(to *adminFlags) *cobra.Command {
	var override importfile.Account
	var dryRun bool
	cmd := &cobra.Command{
		Use: "json <file>|-", Args: cobra.ExactArgs(1),
		Short: "Imports Google's and rclone's files, or a list of accounts",
		Long: `Imports the grants of a file, which is recognised by its content:

  - credentials of an authorised user (gcloud's application default credentials,
    google-auth, Google's quick starts for Node.js)
  - token.json of Google's quick starts (Python, Node.js, Go)
  - rclone.conf: each remote that has a token becomes an account of its name
  - a list of accounts, as a JSON array or one JSON object to a line, each with
    account, provider or clientId, refreshToken and, if known, user, name, scopes,
    accessToken and expires; or as POST /v1/account takes it

A grant works only with the OAuth client that it was given to: the provider is
the one that has the file's client ID. A file that holds no client ID needs
--provider, and one that names no account needs --account.`,
		Example: `  bellhop oauth import json token.json --account alice --provider google
  bellhop oauth import json ~/.config/rclone/rclone.conf --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readInput(cmd, args[0])
			if err != nil {
				return err
			}
			format, accounts, err := importfile.Read(text)
			if err != nil {
				return fmt.Errorf("reading %s: %w", args[0], err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", args[0], format)
			if err := overrideAccounts(accounts, override); err != nil {
				return err
			}
			run := newImportRun(to, cmd.ErrOrStderr(), dryRun)
			for _, a := range accounts {
				if a.Err != nil {
					run.report.account(importedAccount{Account: a.ID, Provider: a.Provider, Result: importRefused, Reason: a.Err.Error()})
					continue
				}
				err := run.account(importAccount{
					Account: a.ID, Name: a.Name, User: a.User, Provider: a.Provider, ClientID: a.ClientID, Scopes: a.Scopes,
					RefreshToken: a.RefreshToken.Reveal(), AccessToken: a.AccessToken.Reveal(), Expires: a.Expires,
				}, "")
				if err != nil {
					return err
				}
			}
			if err := run.flush(); err != nil {
				return err
			}
			return run.report.print(cmd.OutOrStdout(), to.json)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&override.ID, "account", "", "ID of the account, where the file holds one grant")
	flags.StringVar(&override.Provider, "provider", "", "Provider whose grants these are (default: the one with the file's client ID)")
	flags.StringVar(&override.User, "user", "", "Login at the provider, where the file holds one grant")
	flags.BoolVar(&dryRun, "dry-run", false, "Show what would be done, and change nothing")
	return cmd
}

func readInput(cmd *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	return os.ReadFile(name) //nolint:gosec // the user names the file, and it is read as that user
}

// overrideAccounts puts what was said at the command line in the place of what
// the file says.
func overrideAccounts(accounts []importfile.Account, said importfile.Account) error {
	if len(accounts) > 1 && (said.ID != "" || said.User != "") {
		return fmt.Errorf("--account and --user are for a file with one grant; this one has %d", len(accounts))
	}
	for i := range accounts {
		a := &accounts[i]
		if said.ID != "" {
			a.ID = said.ID
		}
		if said.User != "" {
			a.User = said.User
		}
		if said.Provider != "" {
			a.Provider = said.Provider
		}
		if a.ID == "" {
			return errors.New("the file does not say which account it is: give --account <id>")
		}
		if a.Err == nil && a.Provider == "" && a.ClientID == "" {
			return errors.New("the file does not say which OAuth client its grant was given to: give --provider <name>")
		}
	}
	return nil
}

// importPage is how much of a body of POST /v1/import is filled before it is
// sent: less than the server reads.
const importPage = maxManagementBody / 2

// importRun sends what is imported to the server, a page at a time.
type importRun struct {
	to       *adminFlags
	progress io.Writer
	page     importRequest
	size     int
	// notes are those of the page's accounts and keys.
	notes, keyNotes []string
	sent            int
	report          importReport
}

func newImportRun(to *adminFlags, progress io.Writer, dryRun bool) *importRun {
	return &importRun{to: to, progress: progress, page: importRequest{DryRun: dryRun}, report: importReport{DryRun: dryRun, Accounts: []importedAccount{}, Keys: []importedKey{}}}
}

// account adds an account to the page. The note is for who reads the report.
func (r *importRun) account(a importAccount, note string) error {
	if err := r.makeRoom(a); err != nil {
		return err
	}
	r.page.Accounts, r.notes = append(r.page.Accounts, a), append(r.notes, note)
	return nil
}

func (r *importRun) key(k importKey, note string) error {
	if err := r.makeRoom(k); err != nil {
		return err
	}
	r.page.Keys, r.keyNotes = append(r.page.Keys, k), append(r.keyNotes, note)
	return nil
}

// makeRoom sends the page if the record does not fit into it.
func (r *importRun) makeRoom(record any) error {
	text, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if r.size+len(text) > importPage {
		if err := r.flush(); err != nil {
			return err
		}
	}
	r.size += len(text) + 1
	return nil
}

// flush sends the page.
func (r *importRun) flush() error {
	if len(r.page.Accounts)+len(r.page.Keys) == 0 {
		return nil
	}
	var answer importAnswer
	if err := r.to.call("POST", "/v1/import", r.page, &answer); err != nil {
		return fmt.Errorf("importing, after %d records (what was imported stays; run it again): %w", r.sent, err)
	}
	if len(answer.Accounts) != len(r.page.Accounts) || len(answer.Keys) != len(r.page.Keys) {
		return errors.New("the server answered for other records than were sent: use the same version here and there")
	}
	for i, a := range answer.Accounts {
		a.Reason = joinReasons(a.Reason, r.notes[i])
		r.report.account(a)
	}
	for i, k := range answer.Keys {
		k.Reason = joinReasons(k.Reason, r.keyNotes[i])
		r.report.key(k)
	}
	r.sent += len(answer.Accounts) + len(answer.Keys)
	fmt.Fprintf(r.progress, "%s sent\n", numberOf(r.sent, "record"))
	r.page.Accounts, r.page.Keys, r.size = nil, nil, 0
	r.notes, r.keyNotes = nil, nil
	return nil
}

// joinReasons puts sentences together, without those that are empty.
func joinReasons(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(s string) bool { return s == "" }), "; ")
}

// importReport is what an import came to. It holds no secret.
type importReport struct {
	DryRun   bool              `json:"dryRun"`
	Accounts []importedAccount `json:"accounts"`
	Keys     []importedKey     `json:"keys"`
	// Apps are those that no configured provider stands for.
	Apps []missingApp `json:"missingApps,omitempty"`
	// Notes are about the whole of it.
	Notes []string `json:"notes,omitempty"`
}

func (r *importReport) account(a importedAccount) { r.Accounts = append(r.Accounts, a) }
func (r *importReport) key(k importedKey)         { r.Keys = append(r.Keys, k) }

// print prints the report. It is an error if anything was refused.
func (r *importReport) print(w io.Writer, asJSON bool) error {
	if asJSON {
		if err := printJSON(w, r); err != nil {
			return err
		}
		return r.failure()
	}
	rows := [][]string{{"ACCOUNT", "RESULT", "PROVIDER", "REMARK"}}
	for _, a := range r.Accounts {
		rows = append(rows, []string{printable(a.Account), string(a.Result), printable(a.Provider), printable(a.Reason)})
	}
	if err := printTable(w, rows); err != nil {
		return err
	}
	if len(r.Keys) > 0 {
		rows = [][]string{{"KEY", "RESULT", "REMARK"}}
		for _, k := range r.Keys {
			rows = append(rows, []string{printable(k.Name), string(k.Result), printable(k.Reason)})
		}
		fmt.Fprintln(w)
		if err := printTable(w, rows); err != nil {
			return err
		}
	}
	r.printApps(w)
	fmt.Fprintln(w)
	for _, note := range r.Notes {
		fmt.Fprintln(w, printable(note))
	}
	fmt.Fprintln(w, r.summary())
	return r.failure()
}

// printable is text for a terminal and a table, whoever wrote it.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// counts are how many accounts and keys came to each result.
func (r *importReport) counts() (accounts, keys map[importResult]int) {
	accounts, keys = make(map[importResult]int), make(map[importResult]int)
	for _, a := range r.Accounts {
		accounts[a.Result]++
	}
	for _, k := range r.Keys {
		keys[k.Result]++
	}
	return accounts, keys
}

func (r *importReport) summary() string {
	accounts, keys := r.counts()
	said := fmt.Sprintf("Accounts: %s.", countResults(accounts))
	if len(r.Keys) > 0 {
		said += fmt.Sprintf(" Keys: %s.", countResults(keys))
	}
	switch {
	case r.DryRun:
		return said + " This was a dry run: nothing was changed."
	case accounts[importAdded]+accounts[importUnchanged] > 0:
		said += "\nNone of them is renewed yet. When the program that they come from has stopped for good: bellhop oauth account adopt --all"
	}
	return said
}

func countResults(of map[importResult]int) string {
	var counts []string
	for _, result := range []importResult{importAdded, importUnchanged, importConflict, importRefused, importSkipped} {
		if of[result] > 0 || result == importAdded {
			counts = append(counts, fmt.Sprintf("%d %s", of[result], result))
		}
	}
	return strings.Join(counts, ", ")
}

// failure is the error of an import that left something out that it was to
// bring.
func (r *importReport) failure() error {
	accounts, keys := r.counts()
	refused := accounts[importRefused] + keys[importRefused]
	conflicts := accounts[importConflict] + keys[importConflict]
	if refused+conflicts == 0 {
		return nil
	}
	said := "not everything was imported"
	if r.DryRun {
		said = "not everything would be imported"
	}
	return fmt.Errorf("%s: %d refused, %d in conflict; the reasons stand beside them", said, refused, conflicts)
}
