package postgrestest

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Pooler is a PgBouncer that hands out connections for each transaction.
type Pooler struct{ port int }

// Pool runs a PgBouncer before the cluster until the test ends.
func (c *Cluster) Pool(t testing.TB) *Pooler {
	t.Helper()
	Need(t, "pgbouncer")
	base, err := tempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	dir := filepath.Join(base, "pgbouncer")
	if err := makeDir(dir); err != nil {
		t.Fatal(err)
	}
	p := &Pooler{port: freePort()}
	files := map[string]string{
		"users.txt": fmt.Sprintf("%q %q\n", User, Password),
		"pgbouncer.ini": strings.Join([]string{
			"[databases]",
			"* = host=127.0.0.1 port=" + strconv.Itoa(c.port),
			"[pgbouncer]",
			"listen_addr = 127.0.0.1",
			"listen_port = " + strconv.Itoa(p.port),
			"unix_socket_dir =",
			"auth_type = scram-sha-256",
			"auth_file = " + filepath.Join(dir, "users.txt"),
			"pool_mode = transaction",
			// Fewer servers than clients: whoever keeps something in a session
			// finds it changed.
			"default_pool_size = 3",
			"max_client_conn = 1000",
			"max_db_connections = 0",
			"logfile =",
			"",
		}, "\n"),
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := handOver(path); err != nil {
			t.Fatal(err)
		}
	}
	cmd, err := command(dir, "pgbouncer", filepath.Join(dir, "pgbouncer.ini"))
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var said strings.Builder
	lines := bufio.NewScanner(stderr)
	for !strings.Contains(said.String(), "process up") {
		if !lines.Scan() {
			t.Fatalf("pgbouncer does not start:\n%s", said.String())
		}
		said.WriteString(lines.Text() + "\n")
	}
	go func() { // what it says later is nobody's, and must not block it
		for lines.Scan() {
			continue
		}
	}()
	return p
}

func (p *Pooler) addr() string { return "127.0.0.1:" + strconv.Itoa(p.port) }

// DSN is the connection string of one of the cluster's databases.
func (p *Pooler) DSN(database string) string { return dsn(p.addr(), database) }
