package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bellhop-proxy/bellhop/internal/backup"
)

// backupCommand is `oauth backup`.
func backupCommand(to *adminFlags) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "backup <file>|-", Short: "Writes a sealed backup of all accounts and stored keys", Args: cobra.ExactArgs(1),
		Long: `Writes a backup of all accounts and stored keys, while the server runs. The file
(mode 0600) appears whole or not at all, and none is overwritten without --force;
- is standard output.

The backup is sealed: it opens only with the keyset file of the server. Keep a
copy of that file too, in another place than the backups.

Grants that are renewed while the backup is made are in it as they are at its
end. A grant that is renewed later has a newer refresh token: where the provider
accepts each but once (rotation single_use), take the last backup before a move
when callers have stopped, and stop the server right after it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" {
				_, err := to.takeBackup(cmd.Context(), cmd.OutOrStdout())
				return err
			}
			h, err := to.writeBackup(cmd.Context(), args[0], force)
			if err != nil {
				return err
			}
			return to.say(cmd.OutOrStdout(), map[string]any{"file": args[0], "backup": h.ID, "store": h.Store, "created": h.Created, "keys": h.Keys},
				"backup %s is written; it opens only with key %d of the server's keyset file: keep a copy of that file, in another place", args[0], h.Keys[0])
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "Overwrite a file that exists")
	return cmd
}

// takeBackup writes a backup to out and sees that it came whole.
func (f *adminFlags) takeBackup(ctx context.Context, out io.Writer) (backup.Header, error) {
	body, err := f.stream(ctx, http.MethodGet, "/v1/backup", "", http.NoBody)
	if err != nil {
		return backup.Header{}, err
	}
	defer body.Close()
	h, err := backup.Whole(io.TeeReader(body, out))
	if err != nil {
		return backup.Header{}, fmt.Errorf("taking the backup: %w; the server's log says why", err)
	}
	return h, nil
}

// writeBackup makes a file that holds a whole backup, or none.
func (f *adminFlags) writeBackup(ctx context.Context, path string, force bool) (_ backup.Header, err error) {
	exists := fmt.Errorf("%s exists: choose another name, or overwrite it with --force", path)
	if _, err := os.Lstat(path); err == nil && !force {
		return backup.Header{}, exists
	}
	// CreateTemp gives mode 0600.
	temp, err := os.CreateTemp(filepath.Dir(path), ".backup-*")
	if err != nil {
		return backup.Header{}, err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	h, err := f.takeBackup(ctx, temp)
	if err == nil {
		err = temp.Sync()
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return backup.Header{}, err
	}
	if force {
		return h, os.Rename(temp.Name(), path)
	}
	// A link is made instead of a rename because a rename overwrites.
	if err := os.Link(temp.Name(), path); errors.Is(err, fs.ErrExist) {
		return backup.Header{}, exists
	} else if err != nil {
		return h, os.Rename(temp.Name(), path) // a file system without links
	}
	return h, nil
}

// restoreCommand is `oauth restore`.
func restoreCommand(to *adminFlags) *cobra.Command {
	return &cobra.Command{
		Use: "restore <file>|-", Short: "Restores a backup into the running server", Args: cobra.ExactArgs(1),
		Long: `Restores a backup into the running server, whose keyset must have the key that
the backup is sealed with: start it with the keyset file that was kept with the
backup. Nothing is written unless the backup is whole and unchanged.

A backup of another store marks each grant with a refresh token restored: access
tokens that still live are handed out, and nothing is renewed until 'oauth
account adopt <id>' or 'oauth account adopt --all' says that the old instance is
gone. Two instances that renew one grant make its provider end it.

A backup of this very store brings back what is missing and replaces what it has
a newer consent for; everything else stays. Keys are added where their name is
free. Running it again changes nothing.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			from := cmd.InOrStdin()
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				from = file
			}
			var done restored
			if err := to.restore(cmd.Context(), from, &done); err != nil {
				return err
			}
			return to.say(cmd.OutOrStdout(), done, "%s", done.sentences())
		},
	}
}

// restore sends a backup.
func (f *adminFlags) restore(ctx context.Context, from io.Reader, into *restored) error {
	body, err := f.stream(ctx, http.MethodPost, "/v1/restore", backupType, from)
	if err != nil {
		return err
	}
	defer body.Close()
	return decodeAnswer(body, into)
}

// sentences say what was restored and what is to be done.
func (d *restored) sentences() string {
	lines := []string{fmt.Sprintf("%s restored, %d left as they are; %s added, %d left",
		numberOf(d.Accounts, "account"), d.AccountsKept, numberOf(d.Keys, "key"), d.KeysKept)}
	if len(d.KeyConflicts) > 0 {
		lines = append(lines, "not added, because the name or the key is taken: "+strings.Join(d.KeyConflicts, ", "))
	}
	if len(d.ProvidersMissing) > 0 {
		lines = append(lines, "not in the configuration, though accounts need them: provider "+strings.Join(d.ProvidersMissing, ", provider "))
	}
	if d.Unadopted > 0 {
		lines = append(lines, numberOf(d.Unadopted, "account")+" of another store: not renewed until `bellhop oauth account adopt <id>|--all` says that the old instance is gone")
	}
	return strings.Join(lines, "\n")
}

// numberOf writes a number of things.
func numberOf(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// keysetCommand is `oauth keyset`.
func keysetCommand(to *adminFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "keyset <command>", Short: "Manages the keys that seal what is stored"}
	var alone bool
	rotate := &cobra.Command{
		Use: "rotate", Short: "Makes new keys; the old ones stay to open what they sealed", Args: cobra.NoArgs,
		Long: `Makes a new key for each purpose (records, links, handles, state), writes it to
the keyset file and has the running server seal with it from then on. Stored
records are sealed anew in the background. The old keys stay in the file: they
open older backups, and links and handles that were handed out.

A copy of the keyset file that was made before lacks the new keys, and cannot
open what is sealed from now on: make a new copy.

Nodes on one database have a copy each. Stop all but this one, rotate with
--alone, copy the keyset file to the others, and start them.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var done struct {
				Keyset string   `json:"keyset"`
				Key    uint32   `json:"key"`
				Older  []uint32 `json:"older"`
			}
			path := "/v1/keyset/rotate"
			if alone {
				path += "?alone=true"
			}
			if err := to.call(http.MethodPost, path, nil, &done); err != nil {
				return err
			}
			return to.say(cmd.OutOrStdout(), done, "the keyset %s is rotated: key %d seals records now, %s open what was sealed before\nkeep a new copy of the file with your backups: without it they cannot be opened",
				done.Keyset, done.Key, numberOf(len(done.Older), "older key"))
		},
	}
	rotate.Flags().BoolVar(&alone, "alone", false, "no other node runs on the database of this one")
	cmd.AddCommand(rotate)
	return cmd
}
