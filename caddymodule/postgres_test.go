package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/store/postgres/postgrestest"
)

// testDSN is the variable that has the connection string in these tests.
const testDSN = "BELLHOP_TEST_DSN"

// onPostgres is a Caddyfile with its store in the database that testDSN leads
// to.
func onPostgres(t *testing.T, caddyfile string) string {
	t.Helper()
	return changed(t, caddyfile, "store badger {{dir}}/store", "store postgres {env."+testDSN+"}")
}

// noPassword expects that a text shows no part of the database's password.
func noPassword(t *testing.T, what, text string) {
	t.Helper()
	for _, part := range []string{"battery", url.QueryEscape("horse/battery")} {
		if strings.Contains(text, part) {
			t.Errorf("%s shows the password: %s", what, text)
		}
	}
}

func TestPostgresKeepsAccounts(t *testing.T) {
	cluster := postgrestest.Run(t, postgrestest.Fast...)
	dsn := cluster.Database(t)
	t.Setenv(testDSN, dsn)
	p := startProvider(t)
	fake := useFakeClock(t)
	b := start(t, onPostgres(t, standardCaddyfile(p)))
	_, token := p.grant(t, fakeprovider.Grant{Email: "alice@example.com", Scope: mailScope})
	b.addAccount("alice", "google", "alice@example.com", token)
	key := b.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	if r := b.get(tokenURL("alice"), key); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}

	// A reload shares the pool, and takes another password from it on.
	other := strings.Replace(dsn, url.UserPassword(postgrestest.User, postgrestest.Password).String(), postgrestest.User+":another", 1)
	postgrestest.Exec(t, dsn, "ALTER ROLE "+postgrestest.User+" PASSWORD 'another'")
	t.Setenv(testDSN, other)
	b.load(b.caddyfile)
	postgrestest.Exec(t, other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bellhop'")
	if r := b.get(tokenURL("alice"), key); r.status != http.StatusOK {
		t.Errorf("after a reload: %d %s", r.status, r.body)
	}
	fake.Advance(2 * time.Second)
	if r := b.do(http.MethodGet, "/readyz", nil); r.status != http.StatusOK {
		t.Errorf("with the new password: %d %s", r.status, r.body)
	}
	// What differs in more is another pool.
	t.Setenv(testDSN, other+"?pool_max_conns=3")
	if err := loadCaddyfile(b.caddyfile); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("loading with other options: %v", err)
	}
	t.Setenv(testDSN, other)

	// Whatever was kept is there after a restart.
	b.stop()
	b.load(b.caddyfile)
	if r := b.get(tokenURL("alice"), key); r.status != http.StatusOK {
		t.Errorf("after a restart: %d %s", r.status, r.body)
	}

	// Without a database tokens that live are served, and it shows.
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	fake.Advance(2 * time.Second)
	r := b.do(http.MethodGet, "/readyz", nil)
	if r.status != http.StatusServiceUnavailable {
		t.Errorf("readiness without a database: %d %s", r.status, r.body)
	}
	noPassword(t, "readiness", string(r.body))
	if r := b.get(tokenURL("alice"), key); r.status != http.StatusOK {
		t.Errorf("without a database: %d %s", r.status, r.body)
	}
	if err := cluster.Restart(); err != nil {
		t.Fatal(err)
	}
	fake.Advance(2 * time.Second)
	if r := b.do(http.MethodGet, "/readyz", nil); r.status != http.StatusOK {
		t.Errorf("readiness after a restart of the database: %d %s", r.status, r.body)
	}
}

func TestPostgresThatCannotBeOpenedIsNamedWithoutItsPassword(t *testing.T) {
	p := startProvider(t)
	caddyfile := strings.NewReplacer("{{dir}}", t.TempDir(), "{{addr}}", freeAddr(t)).Replace(onPostgres(t, standardCaddyfile(p)))
	for name, test := range map[string]struct{ dsn, says string }{
		"not set":      {"", "store: dsn: "},
		"malformed":    {"postgres://bellhop:horse/battery@127.0.0.1:1/bellhop", "percent-encode"},
		"out of reach": {"postgres://bellhop:horse%2Fbattery@127.0.0.1:1/bellhop", "postgres 127.0.0.1:1/bellhop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(testDSN, test.dsn)
			err := loadCaddyfile(caddyfile)
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%v", err)
			}
			noPassword(t, "the error", err.Error())
		})
	}
}

func TestBackupMovesAccountsBetweenStores(t *testing.T) {
	cluster := postgrestest.Run(t, postgrestest.Fast...)
	t.Setenv(testDSN, cluster.Database(t))
	p := startProvider(t)
	onBadger := standardCaddyfile(p)
	b := start(t, onBadger)
	keyset, err := os.ReadFile(filepath.Join(b.dir, "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	const accounts = 50
	for i := range accounts {
		id := fmt.Sprintf("user%d@example.com", i)
		_, token := p.grant(t, fakeprovider.Grant{Email: id, Scope: mailScope})
		b.addAccount(id, "google", id, token)
	}
	key := b.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	for _, next := range []string{onPostgres(t, onBadger), onBadger} {
		file := takeBackup(t, b)
		b.stop()
		b = newPlaceFor(t, next, keyset)
		c := b.commands()
		var done restored
		if out := c.must("restore", file, "--json"); json.Unmarshal([]byte(out), &done) != nil {
			t.Fatal(out)
		}
		if done.SameStore || done.Accounts != accounts || done.Unadopted != accounts || done.Keys != 1 {
			t.Errorf("%+v", done)
		}
		c.must("account", "adopt", "--all")
		for i := range accounts {
			id := fmt.Sprintf("user%d@example.com", i)
			if r := b.get(tokenURL(id)+"?force=true", key); r.status != http.StatusOK {
				t.Errorf("%s: %d %s", id, r.status, r.body)
			}
		}
		if again := c.must("restore", file, "--json"); json.Unmarshal([]byte(again), &done) != nil || done.Accounts != 0 || done.AccountsKept != accounts {
			t.Errorf("restored again: %s", again)
		}
	}
}

// newPlaceFor runs a Caddyfile in another directory with a keyset that was kept.
func newPlaceFor(t *testing.T, caddyfile string, keyset []byte) *bellhop {
	t.Helper()
	b := &bellhop{t: t, dir: t.TempDir(), addr: freeAddr(t)}
	b.url = "http://" + b.addr
	if err := os.WriteFile(filepath.Join(b.dir, "keyset.json"), keyset, 0o600); err != nil {
		t.Fatal(err)
	}
	b.caddyfile = b.expand(caddyfile)
	b.load(b.caddyfile)
	t.Cleanup(b.stop)
	return b
}

func TestPasswordsThatAreWrittenOutAreFound(t *testing.T) {
	for dsn, want := range map[string]bool{
		"postgres://u:p@db.example/x":                 true,
		"postgresql://u:p@db.example/x":               true,
		"host=db.example user=u password=p":           true,
		"host=db.example user=u password = 'p q'":     true,
		"postgres://u@db.example:5432/x":              false,
		"postgres://db.example:5432/x?sslmode=prefer": false,
		"host=db.example user=u sslpassword={env.P}":  false,
		"postgres://u:{env.PASSWORD}@db.example/x":    false,
		"{env.DATABASE_URL}":                          false,
		"":                                            false,
	} {
		if got := literalPassword(dsn); got != want {
			t.Errorf("%q: %v, want %v", dsn, got, want)
		}
	}
}
