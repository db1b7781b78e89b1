package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store/postgres/postgrestest"
)

// database is a PostgreSQL with a synchronous standby, which takes its place.
type database struct {
	t      *testing.T
	name   string
	pooled bool
	// servers are in the order of the nodes' relays; primary is which of them
	// takes writes.
	servers  [2]*postgrestest.Cluster
	primary  int
	standbys int
}

// newDatabase runs one. A process that is killed leaves to the system what it
// wrote, so nothing is lost by not waiting for the disk.
func newDatabase(t *testing.T, pooled bool) *database {
	t.Helper()
	d := &database{t: t, pooled: pooled}
	d.servers[0] = postgrestest.Run(t, postgrestest.Fast...)
	dsn := d.servers[0].Database(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	d.name = strings.TrimPrefix(u.Path, "/")
	return d
}

// dsn leads to the primary, past everything.
func (d *database) dsn() string { return d.servers[d.primary].DSN(d.name) }

// copied is the address of the database and the name of a copy of it.
func (d *database) copied() string {
	name := d.name + "copy"
	postgrestest.Exec(d.t, d.servers[d.primary].DSN("postgres"), "CREATE DATABASE "+name+" TEMPLATE "+d.name)
	return name
}

// addr is where a server, or its pooler, is reached.
func (d *database) addr(i int) string {
	if !d.pooled {
		return d.servers[i].Addr()
	}
	u, err := url.Parse(d.servers[i].Pool(d.t).DSN(d.name))
	if err != nil {
		d.t.Fatal(err)
	}
	return u.Host
}

// addStandby puts a synchronous standby beside the primary, and returns once no
// commit is acknowledged without it.
func (d *database) addStandby() {
	d.standbys++
	name := "standby" + strconv.Itoa(d.standbys)
	primary := d.servers[d.primary]
	d.servers[1-d.primary] = primary.Standby(d.t, name)
	primary.Configure(d.t, "synchronous_standby_names = '"+name+"'")
	d.await("SELECT coalesce((SELECT sync_state FROM pg_stat_replication WHERE application_name = '"+name+"'), '')", "sync")
	// The setting is in force once a session has it that began after it.
	d.await("SELECT current_setting('synchronous_standby_names')", name)
}

// await returns once the primary answers a query with what is wanted.
func (d *database) await(query, want string) {
	for begun := time.Now(); ; sleep(d.t.Context(), 20*time.Millisecond) {
		var is string
		if postgrestest.Scan(d.t, d.dsn(), query, &is); is == want {
			return
		}
		if time.Since(begun) > patience {
			d.t.Fatalf("%s: is %q, want %q", query, is, want)
		}
	}
}

// end ends the primary, as a crash of it would or of all that it runs.
func (d *database) end(kill bool) error {
	primary := d.servers[d.primary]
	if !kill {
		return primary.Stop()
	}
	var data string
	postgrestest.Scan(d.t, primary.DSN("postgres"), "SELECT setting FROM pg_settings WHERE name = 'data_directory'", &data)
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || pid <= 1 {
		return fmt.Errorf("%s has no process ID", filepath.Join(data, "postmaster.pid"))
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// promote makes the standby the primary.
func (d *database) promote() {
	d.primary = 1 - d.primary
	d.servers[d.primary].Promote(d.t)
}

// exec runs a statement at the primary.
func (d *database) exec(sql string) { postgrestest.Exec(d.t, d.dsn(), sql) }

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// upTo draws a time of less than d.
func upTo(rng *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(d)))
}
