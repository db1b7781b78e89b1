// Package emailenginetest is an EmailEngine's database for tests: a Redis of the
// test's own, with records laid out and sealed as EmailEngine does.
package emailenginetest

import (
	"bufio"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/vmihailenco/msgpack/v5"
	"golang.org/x/crypto/scrypt"
)

// requiredTools is "required" where a test may not skip for want of a program.
const requiredTools = "BELLHOP_TEST_TOOLS"

// Redis is a database that nothing else uses.
type Redis struct {
	t      testing.TB
	client *redis.Client
	// Socket is where it listens, URL what a client is given.
	Socket, URL string
	// Prefix stands before the keys, Secret seals tokens; both may be empty.
	Prefix, Secret string
}

// Start runs a redis-server until the test ends, or skips the test.
func Start(t testing.TB, args ...string) *Redis {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv(requiredTools) == "required" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	r := &Redis{t: t, Socket: filepath.Join(dir, "redis.sock")}
	r.URL = "unix://" + r.Socket
	cmd := exec.Command(path, append([]string{"--port", "0", "--unixsocket", r.Socket, "--save", "", "--appendonly", "no", "--dir", dir}, args...)...) //nolint:gosec // tests alone start it
	stdout, err := cmd.StdoutPipe()
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
	lines := bufio.NewScanner(stdout)
	for !strings.Contains(said.String(), "eady to accept connections") {
		if !lines.Scan() {
			t.Fatalf("redis-server does not start:\n%s", said.String())
		}
		said.WriteString(lines.Text() + "\n")
	}
	go func() { // what it says later is nobody's, and must not block it
		for lines.Scan() {
			continue
		}
	}()
	r.client = redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket, DB: 8})
	t.Cleanup(func() { _ = r.client.Close() })
	return r
}

// Do sends one command.
func (r *Redis) Do(args ...any) any {
	r.t.Helper()
	answer, err := r.client.Do(context.Background(), args...).Result()
	if err != nil {
		r.t.Fatalf("%v: %v", args[0], err)
	}
	return answer
}

func (r *Redis) key(name string) string {
	if r.Prefix == "" {
		return name
	}
	return r.Prefix + ":" + name
}

// Account puts an account there; oauth2 may be nil. The tokens of its oauth2 are
// sealed if there is a secret.
func (r *Redis) Account(id string, fields map[string]string, oauth2 map[string]any) {
	r.t.Helper()
	args := []any{"HSET", r.key("iad:" + id), "account", id, "runIndex", "12", "state", "connected"}
	for name, value := range fields {
		args = append(args, name, value)
	}
	if oauth2 != nil {
		r.sealTokens(oauth2)
		if auth, ok := oauth2["auth"].(map[string]any); ok {
			r.sealTokens(auth)
		}
		text, err := json.Marshal(oauth2)
		if err != nil {
			r.t.Fatal(err)
		}
		args = append(args, "oauth2", string(text))
	}
	r.Do(args...)
	r.Do("SADD", r.key("ia:accounts"), id)
}

func (r *Redis) sealTokens(record map[string]any) {
	for _, name := range []string{"accessToken", "refreshToken"} {
		if value, ok := record[name].(string); ok && r.Secret != "" && !strings.HasPrefix(value, "$") {
			record[name] = Seal(r.t, r.Secret, value)
		}
	}
}

// App puts an OAuth2 app there.
func (r *Redis) App(id string, fields map[string]any) {
	r.t.Helper()
	r.Do("SADD", r.key("oapp:i"), id)
	r.Do("HSET", r.key("oapp:c"), id+":data", r.pack(fields))
}

// Token puts an API token there and returns its ID.
func (r *Redis) Token(token string, record map[string]any) (id string) {
	r.t.Helper()
	raw, err := hex.DecodeString(token)
	if err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	id = hex.EncodeToString(sum[:])
	r.Do("HSET", r.key("tokens"), id, r.pack(record))
	return id
}

// Setting puts a setting there, as JSON.
func (r *Redis) Setting(name string, value any) {
	r.t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Do("HSET", r.key("settings"), name, string(text))
}

func (r *Redis) pack(record map[string]any) []byte {
	r.t.Helper()
	packed, err := msgpack.Marshal(record)
	if err != nil {
		r.t.Fatal(err)
	}
	return packed
}

// Changes is how often anything was written, by whomever.
func (r *Redis) Changes() string {
	r.t.Helper()
	info, _ := r.Do("INFO", "persistence").(string)
	_, rest, _ := strings.Cut(info, "rdb_changes_since_last_save:")
	changes, _, found := strings.Cut(rest, "\r\n")
	if !found {
		r.t.Fatal("redis-server does not count its changes")
	}
	return changes
}

// Seal seals a value as EmailEngine does with a secret.
func Seal(t testing.TB, secret, value string) string {
	t.Helper()
	nonce, salt := make([]byte, 12), make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	_, _ = rand.Read(salt)
	key, err := scrypt.Key([]byte(secret), salt, 1<<14, 8, 1, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	sealed := aead.Seal(nil, nonce, []byte(value), nil)
	ciphertext, tag := sealed[:len(sealed)-16], sealed[len(sealed)-16:]
	return fmt.Sprintf("$wd01$aes-256-gcm$%x$%x$%x$%x", tag, nonce, salt, ciphertext)
}
