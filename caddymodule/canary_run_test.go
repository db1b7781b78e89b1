package caddymodule

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider/emailengine"
	"github.com/bellhop-proxy/bellhop/internal/policy"
)

// nameServer has a command of the test binary ask this name server alone.
const nameServer = "BELLHOP_TEST_NAME_SERVER"

// useNameServer is for the process that nameServer is set for.
func useNameServer() {
	if address, ok := os.LookupEnv(nameServer); ok {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", address)
		}}
	}
}

// canaryCaddyfile has a provider of each type and everything that Bellhop serves,
// logs whatever Caddy can log in both of its formats, and has a subscriber for
// every event.
const canaryCaddyfile = `{
	admin unix/{{dir}}/admin.sock|0600
	persist_config off
	auto_https off
	grace_period 5s
	metrics
	log default {
		output file {{dir}}/logs/caddy.log
		format json
		level DEBUG
	}
	log console {
		output file {{dir}}/logs/console.log
		format console
		level DEBUG
	}
	log events {
		output file {{dir}}/logs/events.log
		format json
		level DEBUG
		include events.handlers.write
	}
	events {
		on * write
	}
	bellhop {
		store badger {{dir}}/store
		keyset {{dir}}/keyset.json
		public_url http://{{addr}}
		provider google {
			client_id bellhop-google
			client_secret {env.CANARY_SECRET}
			authorization_endpoint RELAY/authorize
			token_endpoint RELAY/token
			revocation_endpoint RELAY/revoke
			rotation single_use
			scopes https://mail.google.com/
		}
		provider microsoft {
			tenant organizations
			client_id bellhop-microsoft
			client_secret {env.CANARY_SECRET}
			authorization_endpoint RELAY/organizations/oauth2/v2.0/authorize
			token_endpoint RELAY/organizations/oauth2/v2.0/token
			rotation single_use
			scopes https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All
		}
		provider acme oauth2 {
			issuer RELAY
			client_id bellhop
			client_secret {env.CANARY_SECRET}
			scopes openid email offline_access mail.read
			api_host api.acme.example
		}
		provider shaky oauth2 {
			client_id bellhop
			client_secret {env.CANARY_SECRET}
			token_endpoint RELAY/shaky/token
			scopes mail.read
			api_host api.shaky.example
		}
		provider moved oauth2 {
			client_id bellhop
			client_secret {env.CANARY_SECRET}
			token_endpoint RELAY/moved/token
			scopes mail.read
			api_host api.moved.example
		}
		provider misfit oauth2 {
			client_id bellhop
			client_secret {env.CANARY_EE_TOKEN}
			token_endpoint RELAY/misfit/token
			scopes mail.read
			api_host api.misfit.example
		}
		provider workspace google_service_account {
			credentials_file {{dir}}/given/robot.json
			subjects *@example.com
			scopes ` + readGmail + `
			token_endpoint RELAY/token
		}
		provider daemon microsoft_app {
			tenant example.com
			client_id app
			client_secret {file.{{dir}}/given/app-secret}
			token_endpoint RELAY/example.com/oauth2/v2.0/token
		}
		provider certified microsoft_app {
			tenant example.com
			client_id certified
			client_certificate {{dir}}/given/app.pem {{dir}}/given/app-key.pem
			token_endpoint RELAY/example.com/oauth2/v2.0/token
		}
		provider legacy emailengine {
			url RELAY
			access_token {env.CANARY_EE_TOKEN}
		}
KEYS	}
}

http://{{addr}} {
	bind 127.0.0.1
	log {
		output file {{dir}}/logs/access.log
		format json
		level DEBUG
	}
	bellhop {
		token_endpoint {
			query_key
		}
		api
		connect {
			app_name "Acme Mail"
			return_to http://127.0.0.1/*
		}
		proxy {
			upstream gmail.googleapis.com RELAY
			upstream www.googleapis.com RELAY
			upstream people.googleapis.com http://DEAD
			upstream graph.microsoft.com RELAY
			upstream outlook.office.com RELAY
			upstream contoso.sharepoint.com RELAY
			upstream api.acme.example RELAY
		}
	}
	respond "not bellhop" 404
}

http://PLANT {
	bind 127.0.0.1
	header X-Config "CONFIG"
	plant
}
`

// canaryRun is a Bellhop in a process of its own, whose every output is kept.
type canaryRun struct {
	*connectSite
	*sinks
	relay   *relay
	witness *witness
	keys    map[string]string
	own     []canary // secrets that do not come by the relay
	// Secrets that answers are made of.
	clientSecret, eeToken string
	plantURL              string
	ended                 chan struct{}
	stdout                bytes.Buffer
	stderr                bytes.Buffer
}

func startCanaryRun(t *testing.T, planted string) *canaryRun {
	t.Helper()
	b := &bellhop{t: t, dir: t.TempDir(), addr: freeAddr(t)}
	b.url = "http://" + b.addr
	run := &canaryRun{
		connectSite: &connectSite{bellhop: b, provider: startProvider(t, "-token-life", "10m")},
		sinks: &sinks{
			text: map[string][]byte{}, dirs: []string{b.dir},
			spare: []string{filepath.Join(b.dir, "keyset.json"), filepath.Join(b.dir, "given"), filepath.Join(b.dir, "Caddyfile")},
		},
		witness: startWitness(t), keys: make(map[string]string), plantURL: "http://" + freeAddr(t), ended: make(chan struct{}),
	}
	for _, dir := range []string{"given", "backups", "logs"} {
		if err := os.Mkdir(filepath.Join(b.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	emailEngine := newEmailEngine()
	run.eeToken = run.make("token of EmailEngine", strings.Repeat("e", 20)+randomText())
	emailEngine.SetTokens(run.eeToken)
	emailEngine.SetAccount("g", emailengine.Account{
		User: "u@example.com", AccessToken: "ya29.ee-" + randomText(), Provider: "gmail", Scopes: []string{mailScope}, Expires: time.Now().Add(time.Hour),
	})
	run.relay = startRelay(t, run.provider.URL, "http://"+run.witness.conns.String()+"/", emailEngine)
	run.clientSecret = run.make("client secret", "Canary/client+secret="+randomText())
	run.registerClients()

	admin, _ := policy.NewKey()
	run.keys["admin"] = admin.Reveal()
	mistyped, _ := policy.NewKey()
	run.keys["mistyped"] = mistyped.Reveal()
	text := strings.NewReplacer(
		"RELAY", run.relay.URL, "DEAD", freeAddr(t), "PLANT", strings.TrimPrefix(run.plantURL, "http://"), "CONFIG", planted,
		"KEYS", declared("admin", admin.Reveal(), "\t\t\tadmin\n"),
	).Replace(canaryCaddyfile)
	run.serve(run.write(b.expand(text)))
	return run
}

// make remembers a secret that the test made.
func (run *canaryRun) make(name, value string) string {
	run.own = append(run.own, canary{name, value})
	return value
}

func randomText() string {
	key, _ := policy.NewKey()
	return key.Reveal()[3:25]
}

// registerClients makes the provider know the clients of canaryCaddyfile, and
// writes their files.
func (run *canaryRun) registerClients() {
	t, ctx, p := run.t, run.t.Context(), run.provider
	t.Helper()
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	der := must(x509.MarshalPKCS8PrivateKey(key))
	run.make("private key", string(der[len(der)/2:len(der)/2+longestNeedle]))
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	run.make("line of the private key", strings.Split(string(private), "\n")[5])
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key.Public()))})
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))})
	run.writeFile("given/robot.json", must(json.Marshal(map[string]string{
		"type": "service_account", "client_email": robotAddress, "client_id": robotNumber, "private_key_id": "k1",
		"private_key": string(private), "token_uri": "https://oauth2.googleapis.com/token",
	})))
	appSecret := run.make("secret of an app", "app~"+randomText())
	run.writeFile("given/app-secret", []byte(appSecret))
	run.writeFile("given/app.pem", certificate)
	run.writeFile("given/app-key.pem", private)

	if err := p.Configure(ctx, fakeprovider.Settings{
		TokenLife: fakeprovider.Duration(10 * time.Minute), Rotation: fakeprovider.Rotation{Policy: fakeprovider.SingleUse},
		AccessTokenPrefix: run.make("access token", "ya29.canary-"+randomText()), RefreshTokenPrefix: run.make("refresh token", "1//canary-"+randomText()),
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.RegisterServiceAccount(ctx, fakeprovider.ServiceAccount{
		Email: robotAddress, ClientID: robotNumber, Key: string(public), KeyID: "k1",
		Subjects: []string{"robot-user@example.com"}, Scopes: []string{readGmail},
	}); err != nil {
		t.Fatal(err)
	}
	redirect := []string{run.url + callbackPath}
	for _, client := range []fakeprovider.Client{
		{ID: "bellhop", Secrets: []string{run.clientSecret}, RedirectURIs: append(redirect, "http://127.0.0.1/oauth/callback"), Native: true, DeviceFlow: true},
		{ID: "bellhop-google", Secrets: []string{run.clientSecret}, RedirectURIs: redirect, Dialect: fakeprovider.Google},
		{ID: "bellhop-microsoft", Secrets: []string{run.clientSecret}, RedirectURIs: redirect, Dialect: fakeprovider.Microsoft},
		{ID: "app", Secrets: []string{appSecret}, Dialect: fakeprovider.Microsoft, ClientCredentials: true},
		{ID: "certified", Keys: []string{string(certificate)}, Dialect: fakeprovider.Microsoft, ClientCredentials: true},
	} {
		if err := p.RegisterClient(ctx, client); err != nil {
			t.Fatal(err)
		}
	}
}

// serve runs the server until it crashes or the test ends.
func (run *canaryRun) serve(config string) {
	run.t.Helper()
	ready, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		run.t.Fatal(err)
	}
	defer ready.Close()
	cmd := process(run.t, "run", "--config", config, "--adapter", "caddyfile", "--pingback", ready.Addr().String())
	cmd.Env = append(cmd.Env, "CANARY_SECRET="+run.clientSecret, "CANARY_EE_TOKEN="+run.eeToken, "GOTRACEBACK=all", nameServer+"="+run.witness.names.String())
	cmd.Stdin = strings.NewReader("ready")
	cmd.Stdout, cmd.Stderr = &run.stdout, &run.stderr
	if err := cmd.Start(); err != nil {
		run.t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		ready.Close()
		close(run.ended)
	}()
	run.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-run.ended
	})
	connection, err := ready.Accept()
	if err != nil {
		<-run.ended
		run.t.Fatalf("the server did not start: %s%s", run.stdout.Bytes(), run.stderr.Bytes())
	}
	_ = connection.Close()
}

// gather keeps what there is to search once the process has crashed.
func (run *canaryRun) gather() {
	<-run.ended
	before, crash, _ := strings.Cut(run.stderr.String(), "\npanic: ")
	run.text["stdout"], run.text["stderr"], run.text["crash"] = run.stdout.Bytes(), []byte(before), []byte(crash)
	names, came := run.witness.saw()
	run.text["names looked up"], run.text["requests to other hosts"] = []byte(strings.Join(names, "\n")), came
	run.relay.mu.Lock()
	defer run.relay.mu.Unlock()
	maps.Copy(run.text, run.relay.asked)
}

// call makes a call, and keeps the answer if it is an error of ours: what an API
// answers is passed on, whatever is in it.
func (run *canaryRun) call(method, path string, body string, header ...string) reply {
	run.t.Helper()
	r := run.do(method, path, strings.NewReader(body), header...)
	if r.header.Get("Bellhop-Error") != "" {
		run.remember("error answers", r)
	}
	return r
}

// manage calls the management API.
func (run *canaryRun) manage(method, path string, body any) reply {
	run.t.Helper()
	r := run.adminReply(method, path, body)
	run.remember("management answers", r)
	return r
}

// says runs a command whose output must not hold a secret.
func (run *canaryRun) says(args ...string) said {
	run.t.Helper()
	s := run.commands().say(args...)
	run.text["commands"] = append(run.text["commands"], s.all()+"\n"...)
	return s
}

// ofCaddy calls Caddy's own admin endpoint.
func (run *canaryRun) ofCaddy(method, path, body string, header ...string) reply {
	run.t.Helper()
	request, err := http.NewRequestWithContext(run.t.Context(), method, "http://127.0.0.1"+path, strings.NewReader(body))
	if err != nil {
		run.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	socket := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(run.dir, "admin.sock"))
		},
	}}
	response, err := socket.Do(request)
	if err != nil {
		run.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		run.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, text}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// keyCanaries are the callers' keys.
func (run *canaryRun) keyCanaries() (all []canary) {
	for name, key := range run.keys {
		all = append(all, canary{name + " key", key})
	}
	return all
}

// canaries are all secrets of the run.
func (run *canaryRun) canaries() []canary {
	run.t.Helper()
	all := append(append(append(run.keyCanaries(), run.own...), run.secrets...), run.relay.canaries()...)
	var file map[string]struct {
		Key []struct {
			KeyData struct{ Value []byte } `json:"keyData"`
		} `json:"key"`
	}
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(run.dir, "keyset.json"))), &file); err != nil {
		run.t.Fatal(err)
	}
	for purpose, set := range file {
		for _, key := range set.Key {
			// The key itself comes last in its message.
			all = append(all, canary{purpose + " key of the keyset", string(key.KeyData.Value[len(key.KeyData.Value)-32:])})
		}
	}
	return all
}
