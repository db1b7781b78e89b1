// Package emailengine reads the Redis database of an EmailEngine: its accounts
// with their grants, its OAuth2 apps and its API tokens. It writes nothing there,
// and asks no provider for anything.
//
// What cannot be read is an error of the record that it stands in, never a value
// that only looks like one: a ciphertext that cannot be opened is no token.
package emailengine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

const (
	// defaultDatabase is the one that EmailEngine uses unless it is told of
	// another.
	defaultDatabase = 8
	// page is how many records are read at a time.
	page = 250
	// maxRecord bounds one record: what is larger is none of EmailEngine's.
	maxRecord = 256 << 10
)

// Instance is an EmailEngine's database.
type Instance struct {
	redis  *redis.Client
	prefix string
	opener *opener
}

// Open connects to the database at a redis, rediss or unix URL. The prefix is
// EENGINE_REDIS_PREFIX; sealed is EENGINE_SECRET, zero where the instance has
// none. An error quotes nothing of the URL, which may hold a password.
func Open(ctx context.Context, redisURL, prefix string, sealed secret.String) (*Instance, error) {
	options, err := parseURL(redisURL)
	if err != nil {
		return nil, err
	}
	i := &Instance{redis: redis.NewClient(options), opener: newOpener(sealed)}
	if prefix != "" {
		// EmailEngine adds the colon, and takes it where it is there already.
		i.prefix = strings.TrimSuffix(prefix, ":") + ":"
	}
	found, err := i.redis.Exists(ctx, i.key("ia:accounts"), i.key("settings"), i.key("oapp:i")).Result()
	if err == nil && found == 0 {
		err = fmt.Errorf("database %d has no EmailEngine in it, or one with another prefix: name the database in the URL (redis://host:6379/8), and the prefix (EENGINE_REDIS_PREFIX) if it has one", options.DB)
	} else if err != nil {
		err = fmt.Errorf("reaching Redis: %w", err)
	}
	if err != nil {
		_ = i.Close()
		return nil, err
	}
	return i, nil
}

// Close ends the connections.
func (i *Instance) Close() error { return i.redis.Close() }

func (i *Instance) key(name string) string { return i.prefix + name }

// errURL says nothing of the URL itself.
var errURL = errors.New("the Redis URL cannot be read: write redis://[user:password@]host[:port][/database], rediss:// for TLS or unix:///path/to/socket[?db=<database>], with special characters percent-encoded")

func parseURL(redisURL string) (*redis.Options, error) {
	written, err := url.Parse(redisURL)
	if err != nil {
		return nil, errURL
	}
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return nil, errURL
	}
	named := written.Query().Has("db") || written.Scheme != "unix" && strings.Trim(written.Path, "/") != ""
	if !named {
		options.DB = defaultDatabase
	}
	if options.TLSConfig != nil {
		options.TLSConfig.MinVersion = tls.VersionTLS12
	}
	// It is read, and not changed: not even by a name for the connection.
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	options.ContextTimeoutEnabled = true
	options.PoolSize = 2
	return options, nil
}

// Unguarded reports whether the instance answers callers who have no API token
// (its setting disableTokens).
func (i *Instance) Unguarded(ctx context.Context) (bool, error) {
	value, err := i.redis.HGet(ctx, i.key("settings"), "disableTokens").Result()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading settings: %w", err)
	}
	return value == "true", nil
}
