package caddymodule

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// relay stands between Bellhop and the fake provider, as all of its hosts. It
// knows every secret that goes either way, and keeps what it was asked.
type relay struct {
	*httptest.Server
	provider    string
	elsewhere   string // where a provider that has moved sends whoever asks
	emailEngine http.Handler

	mu      sync.Mutex
	secrets map[string]string // what each is, by its value
	asked   map[string][]byte // requests by whom they were for
}

// Whom requests are for.
const (
	forAPIs    = "requests to APIs"
	forServers = "requests to authorization servers"
	forStorage = "requests to upload and download hosts"
)

func startRelay(t *testing.T, provider, elsewhere string, emailEngine http.Handler) *relay {
	t.Helper()
	r := &relay{provider: provider, elsewhere: elsewhere, emailEngine: emailEngine, secrets: make(map[string]string), asked: make(map[string][]byte)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP implements [http.Handler].
func (r *relay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	r.keep(request, body)
	switch {
	case strings.HasPrefix(request.URL.Path, "/v1/account/"):
		recorded := httptest.NewRecorder()
		r.emailEngine.ServeHTTP(recorded, request)
		r.learn(recorded.Header(), recorded.Body.Bytes())
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(recorded.Body.Bytes())
	case strings.HasPrefix(request.URL.Path, "/moved/"):
		http.Redirect(w, request, r.elsewhere, http.StatusTemporaryRedirect)
	case strings.HasSuffix(request.URL.Path, "/echo"):
		r.echo(w, request, body)
	default:
		r.forward(w, request, body)
	}
}

// echo answers with all that the request had, the token as well. It is for
// whoever asked; what is looked at is that nobody else sees it.
func (r *relay) echo(w http.ResponseWriter, request *http.Request, body []byte) {
	var text bytes.Buffer
	_ = request.Header.Write(&text)
	text.Write(body)
	w.Header().Set("Content-Type", "application/json")
	status := http.StatusOK
	_, _ = fmt.Sscan(request.URL.Query().Get("status"), &status)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": text.String()}})
}

var relaying = &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 20}

func (r *relay) forward(w http.ResponseWriter, request *http.Request, body []byte) {
	// A provider that does not answer, or knows another secret, has an endpoint
	// of its own.
	target := strings.TrimPrefix(strings.TrimPrefix(request.RequestURI, "/shaky"), "/misfit")
	onward, err := http.NewRequestWithContext(request.Context(), request.Method, r.provider+target, bytes.NewReader(body))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	onward.Header, onward.Host = request.Header, request.Host
	response, err := relaying.RoundTrip(onward)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	r.learn(response.Header, text)
	maps.Copy(w.Header(), response.Header)
	w.WriteHeader(response.StatusCode)
	_, _ = w.Write(text)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// keep keeps a request, and what is secret in it. Of the bodies of API calls only
// envelopes are kept: streams are not Bellhop's.
func (r *relay) keep(request *http.Request, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	whose, text := forServers, body
	if host, _, _ := net.SplitHostPort(request.Host); net.ParseIP(host) == nil {
		whose, text = forAPIs, nil
		if strings.Contains(request.URL.Path, "batch") {
			text = body
		}
		if strings.HasSuffix(request.Host, ".sharepoint.com") {
			whose = forStorage
		}
	}
	kept := bytes.NewBuffer(r.asked[whose])
	fmt.Fprintf(kept, "%s %s HTTP/1.1\r\nHost: %s\r\n", request.Method, request.RequestURI, request.Host)
	_ = request.Header.Write(kept)
	fmt.Fprintf(kept, "\r\n%s\r\n", text)
	r.asked[whose] = kept.Bytes()

	scheme, credentials, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	switch {
	case scheme == "Basic":
		plain, _ := base64.StdEncoding.DecodeString(credentials)
		_, password, _ := strings.Cut(string(plain), ":")
		if password, err := url.QueryUnescape(password); err == nil {
			r.remember("client_secret", password)
		}
	case whose == forServers:
		r.remember("access_token", credentials)
		form, _ := url.ParseQuery(string(body))
		for name := range form {
			if slices.Contains(secretNames, name) {
				r.remember(name, form.Get(name))
			}
		}
	}
}

// secretNames are the parameters and members that are secret.
var secretNames = []string{
	"access_token", "refresh_token", "id_token", "code", "code_verifier", "device_code", "client_secret",
	"client_assertion", "assertion", "subject_token", "accessToken", "keyId", "signedJwt",
}

// signedURL finds the secrets in URLs that carry their own authority.
var signedURL = regexp.MustCompile(`(tempauth|upload_id)=([A-Za-z0-9._-]{20,})`)

// learn notes the secrets of an answer.
func (r *relay) learn(header http.Header, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var members map[string]any
	if json.Unmarshal(body, &members) == nil {
		for _, name := range secretNames {
			if value, ok := members[name].(string); ok {
				r.remember(name, value)
			}
		}
	}
	for _, text := range []string{string(body), header.Get("Location")} {
		for _, found := range signedURL.FindAllStringSubmatch(text, -1) {
			r.remember(found[1], found[2])
		}
	}
}

// remember is to be called with the lock held.
func (r *relay) remember(name, value string) {
	if len(value) >= 12 && r.secrets[value] == "" {
		r.secrets[value] = name
	}
}

// canaries are what has come by, numbered by what it is.
func (r *relay) canaries() (all []canary) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for value, name := range r.secrets {
		all = append(all, canary{fmt.Sprintf("%s %d", name, len(all)), value})
	}
	return all
}

// witness is everywhere else: the only name server that the process has, and where
// redirects lead. Whoever asks it, or comes to it, went where nobody was to go.
type witness struct {
	names, conns net.Addr

	mu    sync.Mutex
	asked []string // names, without their last dot
	came  []byte   // what connections brought
}

func startWitness(t *testing.T) *witness {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{names: server.LocalAddr(), conns: listener.Addr()}
	var running sync.WaitGroup
	running.Go(func() { w.resolve(server) })
	running.Go(func() { w.accept(listener) })
	t.Cleanup(func() {
		_, _ = server.Close(), listener.Close()
		running.Wait()
	})
	return w
}

// resolve answers every question with this machine.
func (w *witness) resolve(server net.PacketConn) {
	packet := make([]byte, 4096)
	for {
		n, from, err := server.ReadFrom(packet)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(packet[:n]) != nil || len(message.Questions) != 1 {
			continue
		}
		question := message.Questions[0]
		w.mu.Lock()
		w.asked = append(w.asked, strings.TrimSuffix(question.Name.String(), "."))
		w.mu.Unlock()
		message.Response, message.RecursionAvailable = true, true
		message.Additionals = nil
		if question.Type == dnsmessage.TypeA {
			message.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr("127.0.0.1").As4()},
			}}
		}
		if answer, err := message.Pack(); err == nil {
			_, _ = server.WriteTo(answer, from)
		}
	}
}

// accept takes what is sent first on each connection, and closes it.
func (w *witness) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		first := make([]byte, 64<<10)
		n, _ := conn.Read(first)
		_ = conn.Close()
		w.mu.Lock()
		w.came = append(append(w.came, first[:n]...), '\n')
		w.mu.Unlock()
	}
}

// saw tells which names were asked for, and what came, so far.
func (w *witness) saw() (names []string, came []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	names = slices.Clone(w.asked)
	slices.Sort(names)
	return slices.Compact(names), slices.Clone(w.came)
}
