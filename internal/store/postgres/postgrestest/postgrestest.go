// Package postgrestest is PostgreSQL for tests: clusters of the tests' own, with
// standbys and poolers, in a temporary directory.
package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// requiredTools is "required" where a test may not skip for want of a program.
const requiredTools = "BELLHOP_TEST_TOOLS"

// User and Password are those of every cluster's superuser.
const (
	User     = "bellhop"
	Password = "correct horse/battery@staple"
)

// Fast are settings of a cluster that no test crashes.
var Fast = []string{"fsync = off", "full_page_writes = off"}

// starting is how long a server may take to answer.
const starting = 60 * time.Second

// Find returns the path of one of the programs: as PATH has it, or where Debian
// puts those that it does not offer to everybody, of the newest PostgreSQL.
func Find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	paths, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(paths) == 0 {
		if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
			return path, nil
		}
		return "", fmt.Errorf("%s is in neither PATH nor /usr/lib/postgresql/*/bin", name)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return slices.MaxFunc(paths, func(a, b string) int { return version(a) - version(b) }), nil
}

// Need skips the test unless the programs are there.
func Need(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := Find(name)
		if err == nil {
			continue
		}
		if os.Getenv(requiredTools) == "required" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// Cluster is a server with its data.
type Cluster struct {
	dir  string
	port int
}

// Start makes a cluster in dir, which must not exist, and runs it. Whoever
// starts one stops it.
func Start(dir string, settings ...string) (*Cluster, error) {
	c := &Cluster{dir: dir, port: freePort()}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(Password+"\n"), 0o600); err != nil {
		return nil, err
	}
	if err := handOver(password); err != nil {
		return nil, err
	}
	err := run(dir, "initdb", "--pgdata", c.data(), "--username", User, "--pwfile", password, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions")
	if err != nil {
		return nil, err
	}
	// A standby streams as any other client.
	if err := c.write("pg_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"); err != nil { //nolint:dupword // databases and users
		return nil, err
	}
	return c, c.configureAndStart(settings)
}

// Run is Start until the test ends.
func Run(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	Need(t, "initdb", "postgres", "pg_ctl")
	dir, err := tempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c, err := Start(filepath.Join(dir, "primary"), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() })
	return c
}

// TempDir is a directory that servers' users may enter, as those of tests are
// not when root runs them.
func tempDir() (string, error) {
	dir, err := os.MkdirTemp("", "bellhop-postgres-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755) //nolint:gosec // the server's user must enter it
}

// Standby makes a hot standby that streams from the cluster, and runs it until
// the test ends. Its name is that for synchronous_standby_names.
func (c *Cluster) Standby(t testing.TB, name string) *Cluster {
	t.Helper()
	Need(t, "pg_basebackup")
	s := &Cluster{dir: filepath.Join(filepath.Dir(c.dir), name), port: freePort()}
	if err := makeDir(s.dir); err != nil {
		t.Fatal(err)
	}
	from := c.DSN("postgres")
	if err := run(s.dir, "pg_basebackup", "--pgdata", s.data(), "--dbname", from, "--checkpoint", "fast", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	if err := s.write("standby.signal", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.configureAndStart([]string{"primary_conninfo = " + quoted(from+"?application_name="+name)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

// configureAndStart writes the settings of a server that tests wait for.
func (c *Cluster) configureAndStart(settings []string) error {
	own := []string{
		"listen_addresses = '127.0.0.1'",
		"unix_socket_directories = ''",
		"port = " + strconv.Itoa(c.port),
		"max_connections = 200",
		"max_wal_senders = 4",
		"shared_buffers = '16MB'",
		"autovacuum = off",
		"log_min_messages = fatal",
	}
	if err := c.write("postgresql.conf", strings.Join(append(own, settings...), "\n")+"\n"); err != nil {
		return err
	}
	return c.Restart()
}

// Configure adds settings and makes the running server take them.
func (c *Cluster) Configure(t testing.TB, settings ...string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(c.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(strings.Join(settings, "\n") + "\n")
		err = errors.Join(err, file.Close())
	}
	if err == nil {
		err = run(c.dir, "pg_ctl", "reload", "--pgdata", c.data())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Restart starts the server, after stopping it if it runs.
func (c *Cluster) Restart() error {
	_ = c.Stop()
	return run(c.dir, "pg_ctl", "start", "--wait", "--timeout", strconv.Itoa(int(starting.Seconds())), "--pgdata", c.data(), "--log", filepath.Join(c.dir, "log"))
}

// Stop ends the server at once, as a crash would.
func (c *Cluster) Stop() error {
	return run(c.dir, "pg_ctl", "stop", "--mode", "immediate", "--wait", "--pgdata", c.data())
}

// Promote makes a standby the primary.
func (c *Cluster) Promote(t testing.TB) {
	t.Helper()
	if err := run(c.dir, "pg_ctl", "promote", "--wait", "--timeout", strconv.Itoa(int(starting.Seconds())), "--pgdata", c.data()); err != nil {
		t.Fatal(err)
	}
}

// lastDatabase tells the databases of one process apart.
var lastDatabase atomic.Uint32

// Database makes an empty database and returns its connection string.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", lastDatabase.Add(1))
	Exec(t, c.DSN("postgres"), "CREATE DATABASE "+name)
	return c.DSN(name)
}

// DSN is the connection string of a database.
func (c *Cluster) DSN(database string) string { return dsn(c.Addr(), database) }

func dsn(addr, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(User, Password), Host: addr, Path: "/" + database}
	return u.String()
}

// Addr is where the server listens.
func (c *Cluster) Addr() string { return "127.0.0.1:" + strconv.Itoa(c.port) }

// Exec runs a statement on a connection of its own.
func Exec(t testing.TB, dsn, sql string, args ...any) {
	t.Helper()
	connected(t, dsn, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql, args...)
		return err
	})
}

// Scan runs a query of one row on a connection of its own.
func Scan(t testing.TB, dsn, sql string, dest ...any) {
	t.Helper()
	connected(t, dsn, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sql).Scan(dest...)
	})
}

func connected(t testing.TB, dsn string, do func(ctx context.Context, conn *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), starting)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := do(ctx, conn); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) write(name, text string) error {
	path := filepath.Join(c.data(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return handOver(path)
}

// quoted is a value of postgresql.conf.
func quoted(value string) string { return "'" + strings.ReplaceAll(value, "'", "''") + "'" }

// servant is whom servers run as: PostgreSQL refuses root. Nil is who runs the
// test.
func servant() (*user.User, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return u, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it")
}

// ids are the numbers of the servant; ok is false where there is none.
func ids() (uid, gid int, ok bool, err error) {
	u, err := servant()
	if u == nil || err != nil {
		return 0, 0, false, err
	}
	uid, err = strconv.Atoi(u.Uid)
	if err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	return uid, gid, err == nil, err
}

// handOver makes the servant own a file.
func handOver(path string) error {
	uid, gid, ok, err := ids()
	if err != nil || !ok {
		return err
	}
	return os.Chown(path, uid, gid)
}

func makeDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return handOver(dir)
}

// run runs one of PostgreSQL's programs to its end.
func run(dir, name string, args ...string) error {
	cmd, err := command(dir, name, args...)
	if err != nil {
		return err
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	// A server that pg_ctl starts inherits what it says goes to: it must not be
	// waited for.
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s: %w\n%s", name, err, &said)
	}
	return nil
}

func command(dir, name string, args ...string) (*exec.Cmd, error) {
	path, err := Find(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...) //nolint:gosec // it is one of PostgreSQL's programs
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	uid, gid, ok, err := ids()
	if err != nil {
		return nil, err
	}
	if ok {
		runAs(cmd, uid, gid)
	}
	return cmd, nil
}

var lastPort atomic.Uint32

// freePort is one that nobody listens on, below those that connections are
// given.
func freePort() int {
	const first, ports = 10_000, 9_000
	for {
		port := first + int((uint32(os.Getpid())*131+lastPort.Add(1))%ports) //nolint:gosec // whatever it comes to
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
}
