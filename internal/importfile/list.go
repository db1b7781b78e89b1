package importfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// listed is one account of a list: flat, or as POST /v1/account takes it.
type listed struct {
	Account string `json:"account"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	User    string `json:"user"`
	listedGrant
	OAuth2 *struct {
		Auth struct {
			User string `json:"user"`
		} `json:"auth"`
		listedGrant
	} `json:"oauth2"`
}

type listedGrant struct {
	Provider     string            `json:"provider"`
	ClientID     string            `json:"clientId"`
	Scopes       account.ScopeList `json:"scopes"`
	RefreshToken string            `json:"refreshToken"`
	AccessToken  string            `json:"accessToken"`
	Expires      time.Time         `json:"expires"`
}

// readJSON reads what begins as JSON does.
func readJSON(text []byte) (Format, []Account, error) {
	values, err := split(text)
	if err != nil {
		return "", nil, err
	}
	if len(values) == 1 && text[0] == '{' {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(values[0], &members); err != nil {
			return "", nil, describe(err)
		}
		if isGoogle(members) {
			return readGoogle(values[0])
		}
		if members["account"] == nil {
			return "", nil, errUnknown
		}
	}
	accounts := make([]Account, 0, len(values))
	for n, value := range values {
		a, err := readListed(value)
		if err != nil {
			return "", nil, fmt.Errorf("account %d of the list: %w", n+1, err)
		}
		accounts = append(accounts, a)
	}
	if len(accounts) == 0 {
		return "", nil, errors.New("the list is empty")
	}
	return List, accounts, nil
}

// split gives the members of an array, or the values that follow one another.
func split(text []byte) ([]json.RawMessage, error) {
	var values []json.RawMessage
	if text[0] == '[' {
		if err := json.Unmarshal(text, &values); err != nil {
			return nil, describe(err)
		}
		return values, nil
	}
	for dec := json.NewDecoder(bytes.NewReader(text)); ; {
		var value json.RawMessage
		if err := dec.Decode(&value); errors.Is(err, io.EOF) {
			return values, nil
		} else if err != nil {
			return nil, describe(err)
		}
		values = append(values, value)
	}
}

// readListed reads one account. A member that is not known is refused: what is
// misspelt must not be left out silently.
func readListed(text []byte) (Account, error) {
	var l listed
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return Account{}, describe(err)
	}
	if l.Account == "" {
		return Account{}, errors.New("account: is missing")
	}
	grant := l.listedGrant
	if l.OAuth2 != nil {
		grant = l.OAuth2.listedGrant
		if l.User == "" {
			l.User = l.OAuth2.Auth.User
		}
	}
	if l.User == "" {
		l.User = l.Email
	}
	a := Account{
		ID: l.Account, Provider: grant.Provider, ClientID: grant.ClientID, Name: l.Name, User: l.User, Scopes: grant.Scopes,
		RefreshToken: secret.New(grant.RefreshToken), AccessToken: secret.New(grant.AccessToken), Expires: grant.Expires,
	}
	if a.RefreshToken.IsZero() && a.AccessToken.IsZero() {
		a.Err = errors.New("refreshToken: is missing")
	}
	return a, nil
}

// describe is a decoder's error without what the file has in it.
func describe(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("the file is not valid JSON (at byte %d)", syntax.Offset)
	}
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: must be a %s", mistyped.Field, mistyped.Type)
	}
	if _, ok := errors.AsType[*time.ParseError](err); ok {
		return errors.New("expires: is not a time as 2006-01-02T15:04:05Z")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends in the middle of its JSON")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: ")) // an unknown field, by its name
}
