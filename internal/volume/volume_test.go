package volume

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

var (
	binary = flag.String("volume.bellhop", "", "the bellhop `file` to judge")
	size   = flag.Int64("volume.size", 2<<30, "`bytes` of each body")
)

const (
	mib = 1 << 20
	// growthAtMost is how much more memory than at rest streaming may take.
	growthAtMost = 32 * mib
	// transferAtMost bounds one body. It is generous: no speed is judged here.
	transferAtMost = 5 * time.Minute
	warmUp         = 64 * mib
)

// TestBodiesPassInLittleMemory streams each way, with a length and without,
// between plain HTTP and both versions of HTTP over TLS.
func TestBodiesPassInLittleMemory(t *testing.T) {
	if *binary == "" {
		t.Skip("-volume.bellhop names no binary")
	}
	s := startSubject(t)
	transfers := []struct {
		name string
		run  func(t *testing.T, host string, size int64)
	}{
		{"up with a length", func(t *testing.T, host string, size int64) { s.upload(t, host, size, true) }},
		{"up in chunks", func(t *testing.T, host string, size int64) { s.upload(t, host, size, false) }},
		{"down with a length", func(t *testing.T, host string, size int64) { s.download(t, host, size, true) }},
		{"down in chunks", func(t *testing.T, host string, size int64) { s.download(t, host, size, false) }},
	}
	for _, host := range []string{http1Host, http2Host} {
		for _, transfer := range transfers {
			transfer.run(t, host, warmUp)
		}
	}
	idle := s.memory(t)
	for _, host := range []string{http1Host, http2Host} {
		for _, transfer := range transfers {
			t.Run(transfer.name+", "+host, func(t *testing.T) {
				peak := s.watch(t)
				begun := time.Now()
				transfer.run(t, host, *size)
				took := time.Since(begun)
				grown := max(peak()-idle, 0)
				t.Logf("%d MiB in %.1f s (%.0f MiB/s), %.1f MiB above the %.1f MiB at rest",
					*size/mib, took.Seconds(), float64(*size)/mib/took.Seconds(), float64(grown)/mib, float64(idle)/mib)
				if grown > growthAtMost {
					t.Errorf("memory grew by %d MiB", grown/mib)
				}
			})
		}
	}
}

// The API's hosts, by the version of HTTP that is spoken to them.
const (
	http1Host = "http1.example.com"
	http2Host = "http2.example.com"
)

// subject is a Bellhop in a process of its own, and the API behind it.
type subject struct {
	url, key string
	process  *os.Process
	api      *api
}

func startSubject(t *testing.T) *subject {
	t.Helper()
	dir := t.TempDir()
	provider := fakeprovider.New(fakeprovider.Options{TokenLife: time.Hour})
	authority, err := provider.Listen(fakeprovider.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = authority.Close() })
	s := &subject{api: new(api)}
	var trusted bytes.Buffer
	addresses := map[string]string{}
	for host, http2 := range map[string]bool{http1Host: false, http2Host: true} {
		server := httptest.NewUnstartedServer(s.api)
		server.EnableHTTP2 = http2
		server.StartTLS()
		t.Cleanup(server.Close)
		addresses[host] = server.URL
		if err := pem.Encode(&trusted, &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}); err != nil {
			t.Fatal(err)
		}
	}
	addr := freeAddr(t)
	s.url = "http://" + addr
	caddyfile := strings.NewReplacer("DIR", dir, "ADDR", addr, "PROVIDER", authority.URL, "HTTP1", addresses[http1Host], "HTTP2", addresses[http2Host]).Replace(`{
	admin unix/DIR/admin.sock|0600
	persist_config off
	auto_https off
	bellhop {
		store badger DIR/store
		keyset DIR/keyset.json
		provider acme oauth2 {
			client_id bellhop
			client_secret bellhop-secret
			token_endpoint PROVIDER/token
			scopes mail.read
			api_host http1.example.com
			api_host http2.example.com
		}
	}
}

http://ADDR {
	bind 127.0.0.1
	bellhop {
		proxy {
			upstream http1.example.com HTTP1
			upstream http2.example.com HTTP2
			transport http {
				versions 1.1 2
				tls_trust_pool file DIR/ca.pem
			}
		}
	}
}
`)
	for name, text := range map[string]string{"Caddyfile": caddyfile, "ca.pem": trusted.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.run(t, dir)
	grant, err := provider.CreateGrant(fakeprovider.Grant{Scope: "mail.read"})
	if err != nil {
		t.Fatal(err)
	}
	admin := adminClient(dir)
	post(t, admin, "/account", map[string]any{
		"account": "bob", "oauth2": map[string]any{"provider": "acme", "auth": map[string]any{"user": "bob@example.com"}, "refreshToken": grant.RefreshToken},
	})
	s.key, _ = post(t, admin, "/token", map[string]any{"name": "all", "accounts": []string{"*"}})["token"].(string)
	return s
}

// run starts the binary, ends it with the test, and returns once it serves.
func (s *subject) run(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(*binary, "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	words, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer words.Close()
	cmd.Stderr = words
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.process = cmd.Process
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-exited
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			return
		}
		select {
		case <-tick.C:
		case <-exited:
			text, _ := os.ReadFile(words.Name())
			t.Fatalf("it ended: %s", text)
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func adminClient(dir string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "admin.sock"))
		},
	}}
}

// post calls the management API.
func post(t *testing.T, admin *http.Client, path string, body map[string]any) (answer map[string]any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/bellhop/v1"+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := admin.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v, %v", path, response.StatusCode, answer, err)
	}
	return answer
}

// memory is what the process has in memory, in bytes.
func (s *subject) memory(t *testing.T) int64 {
	t.Helper()
	n, err := s.resident()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *subject) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	n, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.ParseInt(n, 10, 64)
	return kib << 10, err
}

// watch returns a function that ends watching and tells how much memory the
// process has had at most.
func (s *subject) watch(t *testing.T) func() int64 {
	t.Helper()
	peak := s.memory(t)
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n, err := s.resident()
				if err != nil {
					<-stop
					stopped <- err
					return
				}
				peak = max(peak, n)
			case <-stop:
				stopped <- nil
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		return peak
	}
}

// open sends a request and returns the answer unread.
func (s *subject) open(t *testing.T, method, host string, body io.Reader, length int64) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), transferAtMost)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, method, s.url+"/proxy/bob/"+host+"/x", body)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = length
	request.Header.Set("Authorization", "Bearer "+s.key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// upload sends the first bytes, and the others once those have arrived.
func (s *subject) upload(t *testing.T, host string, size int64, sized bool) {
	t.Helper()
	first := make(chan struct{})
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		if (r.ContentLength == size) != sized {
			t.Errorf("announced as %d bytes", r.ContentLength)
		}
		checked := &checker{first: func() { close(first) }}
		n, err := io.Copy(checked, r.Body)
		fmt.Fprintf(w, "%d %v", n, err)
	})
	length := int64(-1)
	if sized {
		length = size
	}
	text, err := io.ReadAll(s.open(t, http.MethodPut, host, &halting{Reader: fakeprovider.Bytes(size), until: first}, length).Body)
	if want := fmt.Sprintf("%d <nil>", size); err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
}

// download has the API send the first bytes, and the others once those have
// arrived.
func (s *subject) download(t *testing.T, host string, size int64, sized bool) {
	t.Helper()
	first := make(chan struct{})
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		if sized {
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		}
		_ = http.NewResponseController(w).Flush()
		body := &halting{Reader: fakeprovider.Bytes(size), until: first, before: func() { _ = http.NewResponseController(w).Flush() }}
		_, _ = io.Copy(struct{ io.Writer }{w}, body)
	})
	response := s.open(t, http.MethodGet, host, nil, 0)
	if (response.ContentLength == size) != sized {
		t.Errorf("announced as %d bytes", response.ContentLength)
	}
	n, err := io.Copy(&checker{first: func() { close(first) }}, response.Body)
	if err != nil || n != size {
		t.Errorf("%d bytes of %d came, %v", n, size, err)
	}
}

// halting is a body that pauses behind its first bytes.
type halting struct {
	io.Reader
	until  <-chan struct{}
	before func() // what is called then; may be nil
	read   bool
}

// Read implements [io.Reader].
func (h *halting) Read(p []byte) (int, error) {
	if h.read && h.until != nil {
		if h.before != nil {
			h.before()
		}
		select {
		case <-h.until:
		case <-time.After(transferAtMost):
			return 0, errors.New("the first bytes have not arrived")
		}
		h.until = nil
	}
	h.read = true
	return h.Reader.Read(p)
}

// checker compares what is written to it with what was sent.
type checker struct {
	first  func()
	offset int64
	want   [64 << 10]byte
}

// Write implements [io.Writer].
func (c *checker) Write(p []byte) (int, error) {
	if c.first != nil && len(p) > 0 {
		c.first()
		c.first = nil
	}
	for written := 0; written < len(p); {
		piece := p[written:min(len(p), written+len(c.want))]
		sent := fakeprovider.Bytes(c.offset + int64(len(piece)))
		if _, err := sent.Seek(c.offset, io.SeekStart); err != nil {
			return written, err
		}
		if _, err := io.ReadFull(sent, c.want[:len(piece)]); err != nil {
			return written, err
		}
		if !bytes.Equal(piece, c.want[:len(piece)]) {
			return written, fmt.Errorf("other bytes arrived than were sent, behind %d", c.offset)
		}
		written += len(piece)
		c.offset += int64(len(piece))
	}
	return len(p), nil
}

// api answers as the transfer under way wants it.
type api struct {
	mu      sync.Mutex
	handler http.HandlerFunc
}

func (a *api) handle(f http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handler = f
}

// ServeHTTP implements [http.Handler].
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	handler := a.handler
	a.mu.Unlock()
	handler(w, r)
}
