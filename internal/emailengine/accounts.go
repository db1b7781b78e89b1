package emailengine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// Account is an account of the instance, as far as it concerns its grant.
type Account struct {
	ID   string
	Name string
	// User is the login at the provider.
	User string
	// App is the ID of the OAuth2 app whose grant it has; empty for an account
	// with a password.
	App string
	// AuthServer is set for an account whose tokens the instance asks another
	// server for.
	AuthServer bool
	// DelegatedUser is the shared mailbox that it is for, DelegatedAccount the
	// account whose grant it borrows.
	DelegatedUser, DelegatedAccount string
	// State is the instance's; Disabled is set where it does not synchronise the
	// mailbox.
	State    string
	Disabled bool

	RefreshToken secret.String
	AccessToken  secret.String
	Expires      time.Time
	// Scopes are those that the provider granted; nil where that is not stored.
	Scopes []string

	// Err is why the record cannot be read; it names the field. There are no
	// tokens then.
	Err error
}

// accountFields are those read of an account's record.
var accountFields = []string{"account", "name", "email", "state", "oauth2", "imap"}

// Accounts reads the accounts, some at a time. What it keeps of those that it
// has read is their IDs: Redis may name one twice.
func (i *Instance) Accounts(ctx context.Context, each func([]Account) error) error {
	seen := make(map[string]bool)
	for cursor := uint64(0); ; {
		ids, next, err := i.redis.SScan(ctx, i.key("ia:accounts"), cursor, "", page).Result()
		if err != nil {
			return fmt.Errorf("reading accounts: %w", err)
		}
		fresh := ids[:0]
		for _, id := range ids {
			if !seen[id] {
				seen[id] = true
				fresh = append(fresh, id)
			}
		}
		// Redis gives a small set whole, whatever is asked for.
		for len(fresh) > 0 {
			some := fresh[:min(page, len(fresh))]
			fresh = fresh[len(some):]
			accounts, err := i.accounts(ctx, some)
			if err != nil {
				return err
			}
			if err := each(accounts); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// accounts reads the records, and opens them on all processors.
func (i *Instance) accounts(ctx context.Context, ids []string) ([]Account, error) {
	answers := make([]*redis.SliceCmd, len(ids))
	_, err := i.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for n, id := range ids {
			answers[n] = pipe.HMGet(ctx, i.key("iad:"+id), accountFields...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading accounts: %w", err)
	}
	accounts := make([]Account, len(ids))
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for n, id := range ids {
		fields := make(map[string]string, len(accountFields))
		for f, value := range answers[n].Val() {
			if text, ok := value.(string); ok {
				fields[accountFields[f]] = text
			}
		}
		work.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			accounts[n] = i.opener.account(id, fields)
			return nil
		})
	}
	return accounts, work.Wait()
}

// oauth2Record is the JSON of an account's grant. Records of older versions hold
// the tokens below auth.
type oauth2Record struct {
	Provider     string            `json:"provider"`
	Auth         *authRecord       `json:"auth"`
	UseAuth      bool              `json:"useAuthServer"`
	AccessToken  string            `json:"accessToken"`
	RefreshToken string            `json:"refreshToken"`
	Expires      moment            `json:"expires"`
	Scope        account.ScopeList `json:"scope"`
}

type authRecord struct {
	User             string `json:"user"`
	DelegatedUser    string `json:"delegatedUser"`
	DelegatedAccount string `json:"delegatedAccount"`
	AccessToken      string `json:"accessToken"`
	RefreshToken     string `json:"refreshToken"`
	Expires          moment `json:"expires"`
}

// account reads one record.
func (o *opener) account(id string, fields map[string]string) Account {
	a := Account{ID: id, Name: fields["name"], User: fields["email"], State: fields["state"]}
	if fields["account"] == "" {
		a.Err = errors.New("is listed, and has no record")
		return a
	}
	for _, text := range fields {
		if len(text) > maxRecord {
			a.Err = fmt.Errorf("has a record of more than %d KiB", maxRecord>>10)
			return a
		}
	}
	var imap struct {
		Disabled      bool `json:"disabled"`
		UseAuthServer bool `json:"useAuthServer"`
	}
	if json.Unmarshal([]byte(fields["imap"]), &imap) == nil { // it is no part of the grant
		a.Disabled, a.AuthServer = imap.Disabled, imap.UseAuthServer
	}
	if fields["oauth2"] == "" {
		return a
	}
	var record oauth2Record
	if err := json.Unmarshal([]byte(fields["oauth2"]), &record); err != nil {
		a.Err = errors.New("oauth2: is not the JSON that EmailEngine writes") // err may quote it
		return a
	}
	if record.Auth == nil {
		record.Auth = new(authRecord)
	}
	a.App, a.AuthServer = record.Provider, record.UseAuth
	a.DelegatedUser, a.DelegatedAccount = record.Auth.DelegatedUser, record.Auth.DelegatedAccount
	if record.Auth.User != "" {
		a.User = record.Auth.User
	}
	a.Expires, a.Scopes = time.Time(record.Expires), record.Scope
	if a.Expires.IsZero() {
		a.Expires = time.Time(record.Auth.Expires)
	}
	if err := o.tokens(&a, &record); err != nil {
		a.RefreshToken, a.AccessToken, a.Err = secret.String{}, secret.String{}, err
	}
	return a
}

// tokens opens a record's tokens.
func (o *opener) tokens(a *Account, record *oauth2Record) error {
	for _, token := range []struct {
		name         string
		value, older string
		into         *secret.String
	}{
		{"refreshToken", record.RefreshToken, record.Auth.RefreshToken, &a.RefreshToken},
		{"accessToken", record.AccessToken, record.Auth.AccessToken, &a.AccessToken},
	} {
		if token.value == "" {
			token.value, token.name = token.older, "auth."+token.name
		}
		opened, err := o.open(token.value)
		if err != nil {
			return fmt.Errorf("oauth2.%s: %w", token.name, err)
		}
		*token.into = opened
	}
	return nil
}

// moment is a time, written as ISO 8601 or in milliseconds, as a number or a
// string. What is none of these is no time.
type moment time.Time

// UnmarshalJSON implements [json.Unmarshaler].
func (m *moment) UnmarshalJSON(text []byte) error {
	*m = moment(parseMoment(string(bytes.Trim(text, `"`))))
	return nil
}

func parseMoment(text string) time.Time {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.UTC()
	}
	ms, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return time.Time{}
	}
	return fromMilliseconds(ms)
}

// fromMilliseconds reads what ECMAScript calls a time value, with its bounds.
func fromMilliseconds(ms float64) time.Time {
	if !(ms > 0 && ms <= 8.64e15) || ms != math.Trunc(ms) {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}
