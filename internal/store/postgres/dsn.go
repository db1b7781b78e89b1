package postgres

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What a connection string does not say.
const (
	defaultMaxConns = 10
	connectTimeout  = 3 * time.Second // of each host: several are tried in turn
	pingTimeout     = 2 * time.Second
	lifetimeJitter  = 10 * time.Minute
)

// DSN is a connection string that was understood. It is not printed: it holds
// a password.
type DSN struct{ pool *pgxpool.Config }

// ParseDSN reads a connection string, a URL or keywords and values, as libpq
// does: with the environment's PG variables and a password file for what it
// leaves out. Its errors repeat nothing of the string: where that is malformed,
// any part of it may be of the password.
func ParseDSN(text string) (DSN, error) {
	if err := checkURLForm(text); err != nil {
		return DSN{}, err
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		return DSN{}, parseError(err)
	}
	c := config.ConnConfig
	// Nothing may be kept in a session that a pooler hands to somebody else
	// after each transaction.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 0
	c.RuntimeParams["application_name"] = cmp.Or(c.RuntimeParams["application_name"], "bellhop")
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, connectTimeout)
	if len(hosts(c.Config)) > 1 && c.ValidateConnect == nil {
		// A standby among several hosts would be taken as well.
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if !strings.Contains(text, "pool_max_conns") {
		config.MaxConns = defaultMaxConns
	}
	config.PingTimeout = cmp.Or(config.PingTimeout, pingTimeout)
	config.MaxConnLifetimeJitter = cmp.Or(config.MaxConnLifetimeJitter, lifetimeJitter)
	return DSN{config}, nil
}

// checkURLForm refuses a URL that is read otherwise than it was meant, so that
// a part of the password would be taken for a host or a database, which errors
// name.
func checkURLForm(text string) error {
	_, rest, isURL := strings.Cut(text, "://")
	if !isURL || strings.ContainsAny(text[:len(text)-len(rest)], " =") {
		return nil
	}
	at := strings.LastIndexByte(rest, '@')
	if at >= 0 && strings.ContainsAny(rest[:at], "@/?#") {
		return errors.New("is not a connection string: percent-encode @, /, ?, # and % in user, password and parameters (@ is %40)")
	}
	return nil
}

// parseError says what is wrong with a connection string, as far as it can be
// said without a part of it. The driver's own errors hold the whole string.
func parseError(err error) error {
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("names a file that cannot be read: %w", file)
	}
	for _, parameter := range []string{
		"sslmode", "sslcertmode", "connect_timeout", "target_session_attrs", "invalid port", "port numbers",
		"pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime_jitter", "pool_max_conn_lifetime",
		"pool_max_conn_idle_time", "pool_health_check_period", "pool_ping_timeout", "channel_binding", "require_auth",
	} {
		// Everything after the string itself is the driver's own words.
		text := err.Error()
		if _, said, ok := lastCut(text, "`: "); ok && strings.Contains(said, parameter) {
			return fmt.Errorf("is not a connection string: look at its %s", strings.TrimPrefix(parameter, "invalid "))
		}
	}
	return errors.New("is not a connection string: write postgres://<user>:<password>@<host>:5432/<database>?sslmode=verify-full, " +
		"with special characters of the password percent-encoded, or keywords and values as in host=<host> user=<user>")
}

func lastCut(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// endpoint is a server that a connection string names.
type endpoint struct {
	host string // or the directory of a unix socket
	port uint16
}

func (e endpoint) String() string {
	if e.local() {
		return filepath.Join(e.host, ".s.PGSQL."+strconv.Itoa(int(e.port)))
	}
	return e.host + ":" + strconv.Itoa(int(e.port))
}

// local reports a unix socket.
func (e endpoint) local() bool { return filepath.IsAbs(e.host) || strings.HasPrefix(e.host, "@") }

// hosts are the servers in the order in which they are tried. The driver lists
// one twice where it may be tried with and without TLS.
func hosts(c pgconn.Config) []endpoint {
	list := []endpoint{{c.Host, c.Port}}
	for _, f := range c.Fallbacks {
		if e := (endpoint{f.Host, f.Port}); !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	return list
}

// String names the place: hosts and database, without user or password.
func (d DSN) String() string {
	if d.pool == nil {
		return ""
	}
	c := d.pool.ConnConfig.Config
	names := make([]string, 0, 1)
	for _, e := range hosts(c) {
		names = append(names, e.String())
	}
	return "postgres " + strings.Join(names, ",") + "/" + c.Database
}

// ID tells places apart: two connection strings with one ID lead to the same
// records, whatever their password or options.
func (d DSN) ID() string {
	c := d.pool.ConnConfig.Config
	list := hosts(c)
	slices.SortFunc(list, func(a, b endpoint) int { return cmp.Or(strings.Compare(a.host, b.host), cmp.Compare(a.port, b.port)) })
	return digest(fmt.Sprintf("%q %q", list, c.Database))
}

// SameButPassword reports whether the other connection string asks for the
// same in all but the password.
func (d DSN) SameButPassword(other DSN) bool { return d.options() == other.options() }

// options is all that a connection string says but its password, hashed.
func (d DSN) options() string {
	if d.pool == nil {
		return ""
	}
	p, c := d.pool, d.pool.ConnConfig.Config
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %q %v %v %v %v %v %v %v %v", hosts(c), c.Database, c.User, c.ConnectTimeout, p.MaxConns, p.MinConns,
		p.MinIdleConns, p.MaxConnLifetime, p.MaxConnIdleTime, p.HealthCheckPeriod, c.ValidateConnect != nil)
	for _, name := range slices.Sorted(maps.Keys(c.RuntimeParams)) {
		fmt.Fprintf(&b, " %q=%q", name, c.RuntimeParams[name])
	}
	for _, t := range tlsConfigs(c) {
		fmt.Fprintf(&b, " tls %v %v", t != nil, verifies(t))
	}
	return digest(b.String())
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func tlsConfigs(c pgconn.Config) []*tls.Config {
	list := []*tls.Config{c.TLSConfig}
	for _, f := range c.Fallbacks {
		list = append(list, f.TLSConfig)
	}
	return list
}

// verifies reports whether a connection with t is to a server that has proved
// itself.
func verifies(t *tls.Config) bool {
	return t != nil && (!t.InsecureSkipVerify || t.VerifyPeerCertificate != nil || t.VerifyConnection != nil)
}

// Unverified names the hosts on other machines that need not prove who they
// are, or may be spoken to without TLS.
func (d DSN) Unverified() []string {
	if d.pool == nil {
		return nil
	}
	c := d.pool.ConnConfig.Config
	attempts := append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
	var names []string
	for _, a := range attempts {
		e := endpoint{a.Host, a.Port}
		if !e.local() && !loopback(a.Host) && !verifies(a.TLSConfig) && !slices.Contains(names, e.String()) {
			names = append(names, e.String())
		}
	}
	return names
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}

// IsZero reports that there is no connection string.
func (d DSN) IsZero() bool { return d.pool == nil }
