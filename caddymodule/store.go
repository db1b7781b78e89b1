package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/badger"
	"github.com/bellhop-proxy/bellhop/internal/store/postgres"
)

// storeOptions say what is opened: a directory, or a database if there is a
// connection string. Two configurations that differ in them cannot share one
// store.
type storeOptions struct {
	dir     string
	reserve int64

	dsn, direct postgres.DSN

	keyset string
}

// provisionStore resolves where grants and keys are kept.
func (a *App) provisionStore(resolve resolver) error {
	data := filepath.Join(caddy.AppDataDir(), "bellhop")
	o := &a.run.store
	o.keyset = filepath.Join(data, "keyset.json")
	var err error
	if a.Keyset != nil && a.Keyset.File != "" {
		if o.keyset, err = resolve.one("keyset", "file", a.Keyset.File); err != nil {
			return err
		}
	}
	if a.Store != nil && a.Store.Type == StorePostgres {
		return o.provisionPostgres(resolve, a.Store)
	}
	o.dir, o.reserve = filepath.Join(data, "store"), badger.DefaultReserve
	if a.Store == nil {
		return nil
	}
	o.reserve = a.Store.Reserve.Or(badger.DefaultReserve)
	if a.Store.Dir != "" {
		o.dir, err = resolve.one("store", "directory", a.Store.Dir)
	}
	return err
}

func (o *storeOptions) provisionPostgres(resolve resolver, s *Store) error {
	text, err := resolve.one("store", "dsn", s.DSN)
	if err != nil {
		return err
	}
	if o.dsn, err = postgres.ParseDSN(text); err != nil {
		return fmt.Errorf("store: dsn: %w", err)
	}
	if text, err = resolve.optional("store", "direct_dsn", s.DirectDSN); err != nil || text == "" {
		return err
	}
	if o.direct, err = postgres.ParseDSN(text); err != nil {
		return fmt.Errorf("store: direct_dsn: %w", err)
	}
	return nil
}

// key is the one name of what is opened, without a secret.
func (o *storeOptions) key() (string, error) {
	if !o.dsn.IsZero() {
		return "postgres " + o.dsn.ID(), nil
	}
	return canonical(o.dir)
}

// String names what is opened, to people.
func (o *storeOptions) String() string {
	if !o.dsn.IsZero() {
		return o.dsn.String()
	}
	return o.dir
}

// same reports whether two configurations can share the store. Passwords may
// differ: they change while everything else goes on.
func (o *storeOptions) same(other *storeOptions) bool {
	return o.dir == other.dir && o.reserve == other.reserve && o.keyset == other.keyset &&
		o.dsn.SameButPassword(other.dsn) && o.direct.SameButPassword(other.direct)
}

// open opens the store.
func (o *storeOptions) open(ctx context.Context, log *slog.Logger) (store.Store, error) {
	if !o.dsn.IsZero() {
		return postgres.Open(ctx, o.dsn, postgres.Options{Direct: o.direct, Clock: clock, Logger: log})
	}
	return badger.Open(o.dir, badger.Options{Reserve: o.reserve, Clock: clock, Logger: log})
}

// unverified names the hosts that need not prove who they are.
func (o *storeOptions) unverified() (hosts []string) {
	for _, dsn := range []postgres.DSN{o.dsn, o.direct} {
		for _, host := range dsn.Unverified() {
			if !slices.Contains(hosts, host) {
				hosts = append(hosts, host)
			}
		}
	}
	return hosts
}

// checkDSN judges a connection string.
func checkDSN(value string) error {
	_, err := postgres.ParseDSN(value)
	return err
}

// passwordPattern finds a password in a connection string, a URL or keywords
// and values.
var passwordPattern = regexp.MustCompile(`://[^/@]*:[^/@]+@|\bpassword\s*=\s*\S`)

// literalPassword reports whether a connection string shows its password.
func literalPassword(dsn string) bool {
	return !hasPlaceholder(dsn) && passwordPattern.MatchString(dsn)
}
