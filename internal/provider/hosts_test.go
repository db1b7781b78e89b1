package provider

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAllowsHost(t *testing.T) {
	cfg := googleConfig("")
	cfg.APIHosts = []APIHost{
		{Host: "API.Acme.example:8443"},
		{Host: "*.wild.example", InsecureWildcard: true},
		{Host: "*.googleapis.com", InsecureWildcard: true},
		{Host: "script.googleapis.com", TokenMinting: true},
		{Host: "http://127.0.0.1:1234"},
	}
	p := mustNew(t, cfg)
	tests := []struct {
		host, path string
		ok         bool
	}{
		{"gmail.googleapis.com", "/gmail/v1/users/me", true},
		{"Gmail.GoogleAPIs.com", "/", true},
		{"gmail.googleapis.com:443", "/", true},
		{"gmail.googleapis.com:8443", "/", false},
		{"gmail.googleapis.com.", "/", false},
		{"www.googleapis.com", "/drive/v3/files", true},
		{"www.googleapis.com", "/oauth2/v3/tokeninfo", false},
		{"www.googleapis.com", "/OAuth2/v3/tokeninfo", false},
		{"WWW.googleapis.com:443", "/oauth2", false},
		{"www.googleapis.com", "/identitytoolkit/v3/relyingparty", false},
		{"www.googleapis.com", "/oauth2x/", true},
		{"oauth2.googleapis.com", "/token", false},
		{"oauth2.mtls.googleapis.com", "/token", false},
		{"sts.googleapis.com", "/", false},
		{"iamcredentials.googleapis.com", "/", false},
		{"securetoken.googleapis.com", "/", false},
		{"identitytoolkit.googleapis.com", "/", false},
		{"accounts.googleapis.com", "/", false},
		{"script.googleapis.com", "/v1/scripts", true},
		{"storage.googleapis.com", "/", true},
		{"accounts.google.com", "/", false},
		{"login.microsoftonline.com", "/", false},
		{"api.acme.example:8443", "/", true},
		{"api.acme.example", "/", false},
		{"a.wild.example", "/", true},
		{"a.b.wild.example", "/", true},
		{"wild.example", "/", false},
		{".wild.example", "/", false},
		{"evilwild.example", "/", false},
		{"127.0.0.1:1234", "/", true},
		{"127.0.0.1", "/", false},
		{"", "/", false},
		{"evil.example", "/", false},
	}
	for _, tt := range tests {
		t.Run(tt.host+tt.path, func(t *testing.T) {
			err := p.AllowsHost(tt.host, tt.path)
			if (err == nil) != tt.ok {
				t.Errorf("AllowsHost: %v, want allowed %v", err, tt.ok)
			}
		})
	}
	for host, want := range map[string]string{"127.0.0.1:1234": "http", "gmail.googleapis.com": "https", "evil.example": "https"} {
		if got := p.Scheme(host); got != want {
			t.Errorf("scheme of %s is %s, want %s", host, got, want)
		}
	}
}

func TestTokenMintingPathsNeedLeave(t *testing.T) {
	cfg := googleConfig("")
	cfg.APIHosts = []APIHost{{Host: "www.googleapis.com", TokenMinting: true}}
	p := mustNew(t, cfg)
	if err := p.AllowsHost("www.googleapis.com", "/oauth2/v3/tokeninfo"); err != nil {
		t.Error(err)
	}
	if got := p.DefaultHost(); got != "www.googleapis.com" {
		t.Errorf("default host is %q", got)
	}
}

func TestHostsThatCannotBeListed(t *testing.T) {
	tests := []struct {
		host APIHost
		want string
	}{
		{APIHost{}, "is empty"},
		{APIHost{Host: "*.example.com"}, "insecure_wildcard"},
		{APIHost{Host: "*", InsecureWildcard: true}, "wildcard"},
		{APIHost{Host: "*.com", InsecureWildcard: true}, "wildcard"},
		{APIHost{Host: "a.*.com", InsecureWildcard: true}, "not a host name"},
		{APIHost{Host: "http://api.example"}, "plain http"},
		{APIHost{Host: "https://api.example/v1"}, "more than"},
		{APIHost{Host: "api.example/v1"}, "not a host name"},
		{APIHost{Host: "u@api.example"}, "not a host name"},
		{APIHost{Host: "api.example:http"}, "port"},
		{APIHost{Host: "api.example:70000"}, "port"},
		{APIHost{Host: "oauth2.googleapis.com"}, "token_minting"},
		{APIHost{Host: "login.microsoftonline.us"}, "token_minting"},
		{APIHost{Host: "STS.googleapis.com:443"}, "token_minting"},
	}
	for _, tt := range tests {
		t.Run(tt.host.Host, func(t *testing.T) {
			for name, edit := range map[string]func(*Config){
				"api_host: ":       func(c *Config) { c.APIHosts = []APIHost{tt.host} },
				"api_hosts_only: ": func(c *Config) { c.APIHostsOnly = []APIHost{tt.host} },
			} {
				cfg := oauth2Config("https://acme.example/token")
				edit(&cfg)
				_, err := New(cfg, nil)
				if err == nil || !strings.HasPrefix(err.Error(), name) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error is %v, want %s… %s", err, name, tt.want)
				}
			}
		})
	}
}

func TestDefaultHost(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		edit func(*Config)
		want string
	}{
		{"added hosts change nothing", googleConfig(""), func(c *Config) { c.APIHosts = []APIHost{{Host: "a.example"}} }, "www.googleapis.com"},
		{"one host instead", googleConfig(""), func(c *Config) { c.APIHostsOnly = []APIHost{{Host: "gmail.googleapis.com"}} }, "gmail.googleapis.com"},
		{"two hosts instead", googleConfig(""), func(c *Config) {
			c.APIHostsOnly = []APIHost{{Host: "gmail.googleapis.com"}, {Host: "people.googleapis.com"}}
		}, ""},
		{"the usual one among those instead", microsoftConfig(""), func(c *Config) {
			c.APIHostsOnly = []APIHost{{Host: "outlook.office.com"}, {Host: "graph.microsoft.com"}}
		}, "graph.microsoft.com"},
		{"no host", oauth2Config("https://acme.example/t"), func(*Config) {}, ""},
		{"only host", oauth2Config("https://acme.example/t"), func(c *Config) { c.APIHosts = []APIHost{{Host: "api.acme.example"}} }, "api.acme.example"},
		{"wildcard", oauth2Config("https://acme.example/t"), func(c *Config) {
			c.APIHosts = []APIHost{{Host: "*.acme.example", InsecureWildcard: true}}
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.edit(&tt.cfg)
			if got := mustNew(t, tt.cfg).DefaultHost(); got != tt.want {
				t.Errorf("default host is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestHostsOnlyReplaceTheTypesOwn(t *testing.T) {
	cfg := googleConfig("")
	cfg.APIHosts = []APIHost{{Host: "extra.example"}}
	cfg.APIHostsOnly = []APIHost{{Host: "gmail.googleapis.com"}}
	p := mustNew(t, cfg)
	if diff := cmp.Diff([]string{"extra.example", "gmail.googleapis.com"}, p.Hosts()); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if p.AllowsHost("people.googleapis.com", "/") == nil {
		t.Error("a host of the type's own is still allowed")
	}
}

func TestBuiltInHostsMintNoTokens(t *testing.T) {
	for _, host := range googleHosts {
		if mintsTokens(host) {
			t.Errorf("%s is listed and mints tokens", host)
		}
	}
	for name, cloud := range microsoftClouds {
		if !mintsTokens(cloud.login) {
			t.Errorf("the login host of %s is not known to mint tokens", name)
		}
		for _, host := range append(cloud.outlook, cloud.graph) {
			if mintsTokens(host) {
				t.Errorf("%s is listed and mints tokens", host)
			}
		}
	}
}

func TestDAVHosts(t *testing.T) {
	p := mustNew(t, googleConfig(""))
	for _, tt := range []struct {
		host, path string
		want       bool
	}{
		{"apidata.googleusercontent.com", "/caldav/v2/", true},
		{"www.googleapis.com", "/carddav/v1/principals", true},
		{"WWW.googleapis.com:443", "/carddav/v1/", true},
		{"www.googleapis.com", "/drive/v3/files", false},
		{"gmail.googleapis.com", "/carddav/", false},
	} {
		if got := p.DAV(tt.host, tt.path); got != tt.want {
			t.Errorf("DAV(%s, %s) = %v, want %v", tt.host, tt.path, got, tt.want)
		}
	}
}
