package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// hash is a key's hash in its right form.
var hash = "sha256:" + strings.Repeat("0", 64)

func TestAppOfJSONIsJudgedLikeACaddyfile(t *testing.T) {
	tests := []struct {
		name, json, want string
	}{
		{"audit", `{"audit":"loud"}`, `audit: "loud" is not one of on, denied, off`},
		{"public URL", `{"public_url":"http://example.com"}`, "plain http to another machine"},
		{"store type", `{"store":{"type":"redis"}}`, "store: unknown type redis"},
		{"badger with DSN", `{"store":{"dsn":"{env.DSN}"}}`, "store: badger takes a directory"},
		{"postgres with directory", `{"store":{"type":"postgres","dsn":"{env.DSN}","dir":"/a"}}`, "leave out dir and reserve"},
		{"malformed DSN", `{"store":{"type":"postgres","dsn":"postgres://u:hunter@2@db.example/bellhop"}}`, "store: dsn: is not a connection string: percent-encode"},
		{"malformed direct DSN", `{"store":{"type":"postgres","dsn":"{env.DSN}","direct_dsn":"db.example"}}`, "store: direct_dsn: is not a connection string"},
		{"negative workers", `{"refresh":{"workers":-1}}`, "refresh: workers: -1"},
		{"zero keepalive", `{"refresh":{"keepalive":"0s"}}`, "refresh: keepalive: 0 is too short"},
		{"null provider", `{"providers":[null]}`, "provider: null stands in the list"},
		{"provider without name", `{"providers":[{"type":"google"}]}`, `provider: "" is not a name`},
		{"provider type from its name", `{"providers":[{"name":"acme"}]}`, "provider: unknown type acme"},
		{"provider twice", `{"providers":[{"name":"google","client_id":"a","scopes":["b"]},{"name":"google"}]}`, "provider: google is declared twice"},
		{"field of another type", `{"providers":[{"name":"google","client_id":"a","scopes":["b"],"tenant":"common"}]}`, "provider google: tenant is not for type google"},
		{"missing field", `{"providers":[{"name":"microsoft","client_id":"a","scopes":["b"]}]}`, "provider microsoft: tenant is missing"},
		{"certificate without file", `{"providers":[{"name":"microsoft","client_id":"a","scopes":["b"],"tenant":"common","client_certificate":{"key":"k.pem"}}]}`, "client_certificate: certificate is missing"},
		{"private key without file", `{"providers":[{"name":"oauth2","client_id":"a","issuer":"https://id.example","auth_style":"private_key_jwt","private_key":{"kid":"1"}}]}`, "private_key: file is missing"},
		{"API host", `{"providers":[{"name":"google","client_id":"a","scopes":["b"],"api_hosts":["sts.googleapis.com"]}]}`, "provider google: api_host: "},
		{"authorize parameter of the protocol", `{"providers":[{"name":"google","client_id":"a","scopes":["b"],"authorize_params":{"state":"s"}}]}`, "authorize_param: state belongs to the protocol"},
		{"key without name", `{"keys":[{"hash":"` + hash + `"}]}`, `key: "" is not a name`},
		{"key without hash", `{"keys":[{"name":"ci"}]}`, "key ci: hash is missing"},
		{"key twice", `{"keys":[{"name":"ci","hash":"` + hash + `"},{"name":"ci","hash":"` + hash + `"}]}`, "key: ci is declared twice"},
		{"webhook without URL", `{"webhooks":[{"secret":"{env.S}"}]}`, "webhook 1: url is missing"},
		{"webhook twice", `{"webhooks":[{"url":"https://a.example"},{"url":"https://a.example"}]}`, "webhook 2: its URL is declared twice"},
		{"null webhook", `{"webhooks":[null]}`, "webhook: null stands in the list"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { refused(t, new(App), test.json, test.want) })
	}
}

func TestHandlerOfJSONIsJudgedLikeACaddyfile(t *testing.T) {
	tests := []struct {
		name, json, want string
	}{
		{"auth type", `{"auth":{"type":"basic"}}`, `auth: "basic" is not one of keys, caddy, none`},
		{"identity without caddy", `{"auth":{"identity":"{http.auth.user.id}"}}`, "auth: a placeholder is for `auth caddy`"},
		{"grant without identity", `{"auth":{"type":"caddy"},"grants":[{"accounts":["a"]}]}`, "grant: identity is missing"},
		{"grant rule", `{"auth":{"type":"caddy"},"grants":[{"identity":"a","allow":["GET"]}]}`, "grant a: allow: "},
		{"console with auth caddy", `{"auth":{"type":"caddy"},"console":true}`, "console cannot be where the proxy has `auth caddy`"},
		{"identity that any caller writes", `{"auth":{"type":"caddy","identity":"{http.request.uri.query.user}"}}`, "auth: {http.request.uri.query.user} is what any caller writes"},
		{"auth caddy without grants", `{"auth":{"type":"caddy"}}`, "auth caddy serves nobody without a grant: write `grant <identity glob>`"},
		{"grants without auth caddy", `{"grants":[{"identity":"a"}]}`, "grant is for `auth caddy`: write that"},
		{"keys in the query of auth caddy", `{"auth":{"type":"caddy"},"grants":[{"identity":"a"}],"token_endpoint":{"query_key":true}}`, "query_key is for `auth keys`"},
		{"management with auth none", `{"auth":{"type":"none"},"api":true}`, "api cannot be where there is `auth none`"},
		{"console with auth none", `{"auth":{"type":"none"},"console":true,"proxy":{"off":true}}`, "console cannot be where there is `auth none`"},
		{"the key's account with auth none", `{"auth":{"type":"none"},"proxy":{"prefix":"/","account":"key","api_host":"a.example"}}`, "account key is for `auth keys`"},
		{"connect", `{"connect":{"return_to":["ftp://a.example"]}}`, "connect: return_to: "},
		{"prefix", `{"proxy":{"prefix":"proxy"}}`, "proxy: \"proxy\" is not a prefix"},
		{"null upstream", `{"proxy":{"upstreams":[null]}}`, "proxy: upstream: host: null stands in the list"},
		{"upstream without URL", `{"proxy":{"upstreams":[{"host":"a.example"}]}}`, "host and url are both needed"},
		{"rewrite without member", `{"proxy":{"rewrites":[{"path":"/a"}]}}`, "member is missing"},
		{"default host of a nameless provider", `{"proxy":{"default_hosts":{"":"a.example"}}}`, "proxy: default_host: "},
		{"default host by placeholder", `{"proxy":{"default_hosts":{"google":"{env.HOST}"}}}`, "proxy: default_host: "},
		{"transport of another kind", `{"proxy":{"transport":{"protocol":"fastcgi"}}}`, "proxy: transport: fastcgi does not speak to APIs"},
		{"transport with an unknown field", `{"proxy":{"transport":{"dial_timeuot":"5s"}}}`, "proxy: transport: reading Caddy's http transport"},
		{"transport that skips verification", `{"proxy":{"transport":{"protocol":"http","tls":{"insecure_skip_verify":true}}}}`, "proxy: transport: tls_insecure_skip_verify is refused"},
		{"origin form beside another endpoint", `{"token_endpoint":{},"proxy":{"prefix":"/","account":"key","api_host":"a.example"}}`, "proxy / stands alone"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { refused(t, new(Handler), test.json, test.want) })
	}
}

// refused expects that configuration decodes but is judged wrong, in one line.
func refused(t *testing.T, into interface{ validate() error }, config, want string) {
	t.Helper()
	if err := json.Unmarshal([]byte(config), into); err != nil {
		t.Fatalf("decoding %s: %v", config, err)
	}
	err := into.validate()
	if err == nil {
		t.Fatalf("%s was accepted", config)
	}
	if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error is %q, want one line with %q", err, want)
	}
}

func TestTransportThatCouldBetrayATokenIsRefused(t *testing.T) {
	tests := []struct {
		name, json, want string
	}{
		{"verification skipped", `{"tls":{"insecure_skip_verify":true}}`, "tls_insecure_skip_verify is refused"},
		{"server name", `{"tls":{"server_name":"example.com"}}`, "tls_server_name is refused"},
		{"ports without TLS", `{"tls":{"except_ports":["443"]}}`, "tls_except_ports is refused"},
		{"PROXY protocol", `{"proxy_protocol":"v2"}`, "proxy_protocol is refused"},
		{"HTTP/2 in clear", `{"versions":["h2c","2"]}`, "versions h2c is refused"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			transport := new(reverseproxy.HTTPTransport)
			if err := json.Unmarshal([]byte(test.json), transport); err != nil {
				t.Fatal(err)
			}
			err := checkTransport(transport)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
		})
	}
	if err := checkTransport(new(reverseproxy.HTTPTransport)); err != nil {
		t.Errorf("the default transport is refused: %v", err)
	}
}

func TestErrorsDoNotRepeatPasswordsOfURLs(t *testing.T) {
	for _, value := range []string{
		"https://user:hunter2@example.com",
		"user:hunter2@example.com",
		"https://user:hunter2@example.com:port",
		"http://user:hunter2@example.com/#f",
	} {
		for name, judge := range map[string]func(string) error{
			"endpoint": checkEndpoint, "base URL": checkBaseURL, "upstream": checkUpstreamURL, "return": checkReturnTo, "webhook": checkWebhookURL,
		} {
			if err := judge(value); err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: error of %s is %v", name, value, err)
			}
		}
	}
}
