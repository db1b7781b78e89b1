package caddymodule

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// What the grammar knows and this version does not serve is refused when it is
// loaded: an option that is written and does nothing misleads.

// errNotYet marks what a later version will serve.
var errNotYet = errors.New("not yet: this version does not serve it")

func notYet(what string) error { return fmt.Errorf("%s: %w", what, errNotYet) }

func (a *App) refuseUnserved() error {
	if a.Keyset != nil && a.Keyset.KMS != "" {
		return notYet("keyset kms")
	}
	if len(a.Webhooks) > 0 {
		return notYet("webhook")
	}
	return nil
}

func (h *Handler) refuseUnserved() error {
	if h.Console {
		return notYet("console")
	}
	return nil
}

// warn says what will surprise the operator of a configuration that is right.
func (a *App) warn() {
	log := a.run.log.Sugar()
	for _, p := range a.Providers {
		for _, s := range p.ClientSecrets {
			if !hasPlaceholder(s) {
				log.Warnf("provider %s: client_secret: is written out in the configuration, where the admin endpoint shows it; write {env.NAME} or {file.path}", p.Name)
			}
		}
		if p.AccessToken != "" && !hasPlaceholder(p.AccessToken) {
			log.Warnf("provider %s: access_token: is written out in the configuration, where the admin endpoint shows it; write {env.NAME} or {file.path}", p.Name)
		}
	}
	if s := a.Store; s != nil && (literalPassword(s.DSN) || literalPassword(s.DirectDSN)) {
		log.Warn("store: dsn: has a password written out in the configuration, where the admin endpoint shows it; write {env.NAME} or {file.path}")
	}
	for _, host := range a.run.store.unverified() {
		log.Warnf("store: dsn: %s need not prove who it is, and may be spoken to in clear: add sslmode=verify-full to the connection string, and sslrootcert where its certificate is of a private authority", host)
	}
	if listen, tcp := a.adminOnTCP(); tcp {
		log.Warnf("Caddy's admin endpoint is on TCP (%s): every call of `bellhop oauth` needs an admin key there. Put it on a unix socket (admin unix//run/bellhop/admin.sock|0600), or make the first key with `bellhop oauth key new --admin`", listen)
	}
}

// adminOnTCP reports where Caddy's admin endpoint listens, if that is a port.
// A module's context keeps the admin section to itself, so it is looked up by
// reflection; where that finds nothing, nothing is said.
func (a *App) adminOnTCP() (listen string, tcp bool) {
	config := reflect.Indirect(reflect.ValueOf(a.run.ctx).FieldByName("cfg"))
	if config.Kind() != reflect.Struct || config.FieldByName("Admin").Kind() != reflect.Pointer {
		return "", false
	}
	listen = caddy.DefaultAdminListen
	if admin := config.FieldByName("Admin").Elem(); admin.Kind() == reflect.Struct {
		if disabled := admin.FieldByName("Disabled"); disabled.Kind() != reflect.Bool || disabled.Bool() {
			return "", false
		}
		if written := admin.FieldByName("Listen"); written.Kind() == reflect.String && written.String() != "" {
			listen = written.String()
		}
	}
	return listen, !strings.HasPrefix(listen, "unix") && !strings.HasPrefix(listen, "fd")
}
