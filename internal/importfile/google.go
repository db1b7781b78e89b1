package importfile

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// googleFile are the members of the files that Google's libraries write, each
// in its own way.
type googleFile struct {
	// Type is that of credentials files.
	Type string `json:"type"`
	// Installed and Web are there in the file of a client.
	Installed json.RawMessage `json:"installed"`
	Web       json.RawMessage `json:"web"`

	ClientID     string            `json:"client_id"`
	RefreshToken string            `json:"refresh_token"`
	Scopes       account.ScopeList `json:"scopes"`
	Scope        account.ScopeList `json:"scope"`
	// Token is google-auth's name (Python), AccessToken everybody else's.
	Token       string `json:"token"`
	AccessToken string `json:"access_token"`
	// Expiry is google-auth's and Go's, TokenExpiry that of oauth2client,
	// ExpiryDate that of Node.js, in milliseconds.
	Expiry      clock   `json:"expiry"`
	TokenExpiry clock   `json:"token_expiry"`
	ExpiryDate  float64 `json:"expiry_date"`
	// Account is the person's address, where the library knows it.
	Account string `json:"account"`
}

// isGoogle reports whether a JSON object is one of Google's files: they are
// written with underscores, and ours are not.
func isGoogle(members map[string]json.RawMessage) bool {
	for _, name := range []string{"type", "installed", "web", "client_id", "refresh_token", "access_token", "token_uri"} {
		if _, ok := members[name]; ok {
			return true
		}
	}
	return false
}

func readGoogle(text []byte) (Format, []Account, error) {
	var file googleFile
	if err := json.Unmarshal(text, &file); err != nil {
		return "", nil, describe(err)
	}
	switch {
	case file.Installed != nil || file.Web != nil:
		return "", nil, errors.New("the file is an OAuth client and no grant: configure a provider with it, and connect accounts with `bellhop oauth connect`")
	case file.Type == "service_account" || file.Type == "external_account" || file.Type == "impersonated_service_account":
		return "", nil, errors.New("the file is a service account's and no person's grant: configure it with `provider <name> google_service_account` and credentials_file")
	case file.Type != "" && file.Type != "authorized_user":
		return "", nil, errors.New("the file's type is not authorized_user")
	case file.RefreshToken == "":
		return "", nil, errors.New("refresh_token: is missing; the program that wrote the file was not given one (it needs access_type=offline and prompt=consent)")
	}
	format := TokenFile
	if file.Type != "" {
		format = AuthorizedUser
	}
	return format, []Account{file.account()}, nil
}

func (f *googleFile) account() Account {
	a := Account{
		ClientID: f.ClientID, User: f.Account, Scopes: f.Scopes,
		RefreshToken: secret.New(f.RefreshToken), AccessToken: secret.New(f.Token),
		Expires: time.Time(f.Expiry),
	}
	if f.Token == "" {
		a.AccessToken = secret.New(f.AccessToken)
	}
	if len(a.Scopes) == 0 {
		a.Scopes = f.Scope
	}
	if a.Expires.IsZero() {
		a.Expires = time.Time(f.TokenExpiry)
	}
	if a.Expires.IsZero() && f.ExpiryDate > 0 && f.ExpiryDate < 8.64e15 {
		a.Expires = time.UnixMilli(int64(f.ExpiryDate)).UTC()
	}
	return a
}

// clock is a time as these libraries write it: with a zone, or in UTC without
// one. What is neither is no time: an access token is not worth an error.
type clock time.Time

// UnmarshalJSON implements [json.Unmarshaler].
func (c *clock) UnmarshalJSON(text []byte) error {
	var written string
	_ = json.Unmarshal(text, &written) // null, or a number
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"} {
		// The zero time is how Go writes that there is none.
		if at, err := time.Parse(layout, written); err == nil && at.Year() > 1970 {
			*c = clock(at.UTC())
		}
	}
	return nil
}
