package importfile

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"gopkg.in/ini.v1"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// rcloneSealed stands in a configuration that rclone has encrypted.
const rcloneSealed = "RCLONE_ENCRYPT_V0"

var errRcloneSealed = errors.New("rclone's configuration is encrypted: write it out with `rclone config show > <file>`, import that, and delete it")

// The types of remote that are Google's or Microsoft's.
const (
	rcloneDrive    = "drive"
	rclonePhotos   = "google photos"
	rcloneStorage  = "google cloud storage"
	rcloneOneDrive = "onedrive"
)

// oneDriveScopes are what rclone asks for unless it is told otherwise.
var oneDriveScopes = []string{"Files.Read", "Files.ReadWrite", "Files.Read.All", "Files.ReadWrite.All", "Sites.Read.All", "offline_access"}

// readRclone reads the remotes that have a token, each an account of its name.
func readRclone(text []byte) (Format, []Account, error) {
	file, err := ini.LoadSources(ini.LoadOptions{
		// As rclone reads it: a value is the rest of its line.
		IgnoreInlineComment: true, IgnoreContinuation: true, PreserveSurroundedQuote: true,
		SkipUnrecognizableLines: true, KeyValueDelimiters: "=",
		ChildSectionDelimiter: "\x00", // a dot in a name means nothing
	}, text)
	if err != nil {
		return "", nil, errUnknown // err quotes lines
	}
	var accounts []Account
	remotes := 0
	for _, section := range file.Sections() {
		values := make(map[string]string)
		for _, key := range section.Keys() {
			values[key.Name()] = key.Value()
		}
		if values["type"] == "" {
			continue
		}
		remotes++
		known := slices.Contains([]string{rcloneDrive, rclonePhotos, rcloneStorage, rcloneOneDrive}, values["type"])
		if known || values["token"] != "" {
			accounts = append(accounts, readRemote(section.Name(), values))
		}
	}
	switch {
	case remotes == 0:
		return "", nil, errUnknown
	case len(accounts) == 0:
		return "", nil, errors.New("none of the remotes of rclone's configuration has an OAuth token")
	}
	return Rclone, accounts, nil
}

func readRemote(name string, values map[string]string) Account {
	a := Account{ID: name, ClientID: values["client_id"], Scopes: rcloneScopes(values)}
	if values["token"] == "" {
		a.Err = errors.New("the remote has no OAuth token (a service account's has none)")
		return a
	}
	var token struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		Expiry       clock  `json:"expiry"`
	}
	err := json.Unmarshal([]byte(values["token"]), &token)
	switch {
	case err != nil:
		a.Err = errors.New("token: is not the JSON that rclone writes")
	case token.RefreshToken == "":
		a.Err = errors.New("token: has no refresh_token")
	case a.ClientID == "":
		a.Err = errors.New("client_id: is empty, so the grant was given to rclone's own client, and works with no other: connect the account anew with `bellhop oauth connect`")
	default:
		a.RefreshToken, a.AccessToken, a.Expires = secret.New(token.RefreshToken), secret.New(token.AccessToken), time.Time(token.Expiry)
	}
	return a
}

// rcloneScopes are those that rclone asked for.
func rcloneScopes(values map[string]string) []string {
	switch values["type"] {
	case rcloneDrive:
		written := values["scope"]
		if written == "" {
			written = "drive"
		}
		var scopes []string
		for name := range strings.SplitSeq(written, ",") {
			if name = strings.TrimSpace(name); name != "" {
				scopes = append(scopes, "https://www.googleapis.com/auth/"+name)
			}
		}
		return scopes
	case rcloneOneDrive:
		if written := strings.Fields(values["access_scopes"]); len(written) > 0 {
			return written
		}
		if values["disable_site_permission"] == "true" {
			return slices.DeleteFunc(slices.Clone(oneDriveScopes), func(scope string) bool { return strings.HasPrefix(scope, "Sites.") })
		}
		return slices.Clone(oneDriveScopes)
	}
	return nil // as the provider's configuration says
}
