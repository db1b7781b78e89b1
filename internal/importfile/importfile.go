// Package importfile reads the files in which other programs keep OAuth grants:
// Google's credentials of an authorised user, the token.json of Google's quick
// starts, rclone's configuration, and a plain list. Which of them a file is, its
// content says.
//
// Errors quote no value of a file: any of them may be a secret.
package importfile

import (
	"bytes"
	"errors"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// Account is one grant of a file.
type Account struct {
	// ID is the account's; empty where the file names none.
	ID string
	// Provider is the configured provider's name, where the file says it;
	// ClientID the OAuth client that the grant was given to, where it says that.
	Provider, ClientID string
	Name, User         string
	Scopes             []string
	RefreshToken       secret.String
	AccessToken        secret.String
	Expires            time.Time

	// Err is why this grant cannot be used.
	Err error
}

// Format is what a file was recognised as.
type Format string

// The formats.
const (
	AuthorizedUser Format = "credentials of an authorised user (Google)"
	TokenFile      Format = "token file (Google's quick starts)" //nolint:gosec // prose
	Rclone         Format = "rclone's configuration"
	List           Format = "list of accounts"
)

// errUnknown says what is read.
var errUnknown = errors.New("the file is nothing that is known here: Google's authorized_user credentials, a token.json with a refresh token, rclone's configuration (rclone.conf), or a list of accounts as a JSON array or JSON lines")

// Read reads a file.
func Read(text []byte) (Format, []Account, error) {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))
	switch {
	case len(text) == 0:
		return "", nil, errors.New("the file is empty")
	case text[0] == '{', isArray(text):
		return readJSON(text)
	case bytes.Contains(text, []byte(rcloneSealed)):
		return Rclone, nil, errRcloneSealed
	case bytes.ContainsRune(text, '['):
		return readRclone(text)
	}
	return "", nil, errUnknown
}

// isArray tells a list in JSON from a section of rclone's.
func isArray(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, []byte("["))
	rest = bytes.TrimSpace(rest)
	return ok && (len(rest) == 0 || rest[0] == '{' || rest[0] == ']')
}
