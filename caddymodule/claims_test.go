package caddymodule

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestClaimsChallengeIsRead(t *testing.T) {
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"},"x":"???>>>"}}`
	padded := base64.StdEncoding.EncodeToString([]byte(claims))
	for name, c := range map[string]struct {
		challenges []string
		want       string
	}{
		"none":          {nil, ""},
		"other error":   {[]string{`Bearer error="invalid_token", claims="` + padded + `"`}, ""},
		"padded":        {[]string{`Bearer realm="", authorization_uri="https://login.example/authorize", error="insufficient_claims", claims="` + padded + `"`}, claims},
		"url alphabet":  {[]string{`Bearer error="insufficient_claims", claims="` + base64.RawURLEncoding.EncodeToString([]byte(claims)) + `"`}, claims},
		"second header": {[]string{`Basic realm="x"`, `Bearer claims="` + padded + `", error="insufficient_claims"`}, claims},
		"no base64":     {[]string{`Bearer error="insufficient_claims", claims="%%%"`}, ""},
		"no JSON":       {[]string{`Bearer error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte("claims")) + `"`}, ""},
		"too long":      {[]string{`Bearer error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte(`"`+strings.Repeat("a", maxClaims)+`"`)) + `"`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := claimsChallenge(http.Header{"Www-Authenticate": c.challenges}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestClaimsChallengeGoesIntoTheNextTokenRequest(t *testing.T) {
	const challenge = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`
	for setting, want := range map[string]string{"on": "1700000000", "off": ""} {
		t.Run("continuous_access "+setting, func(t *testing.T) {
			var asked []string // the claims of each token request
			authority := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.FormValue("claims"))
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"access_token":"token-%d","refresh_token":"rt","expires_in":3600,"token_type":"Bearer"}`, len(asked))
			}))
			defer authority.Close()
			graph := newAPI(t)
			graph.handle(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer token-2" {
					w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="`+base64.StdEncoding.EncodeToString([]byte(challenge))+`"`)
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			b := start(t, strings.NewReplacer("AUTHORITY", authority.URL, "GRAPH", graph.URL, "SETTING", setting).Replace(`{
	admin unix/{{dir}}/admin.sock|0600
	persist_config off
	auto_https off
	bellhop {
		store badger {{dir}}/store
		keyset {{dir}}/keyset.json
		provider microsoft {
			tenant organizations
			client_id c
			client_secret {$NONE:literal}
			token_endpoint AUTHORITY/token
			scopes https://graph.microsoft.com/Mail.Read
			continuous_access SETTING
		}
	}
}

http://{{addr}} {
	bind 127.0.0.1
	bellhop {
		proxy {
			upstream graph.microsoft.com GRAPH
		}
	}
}
`))
			b.addAccount("carol", "microsoft", "carol@example.com", "rt-0")
			key := b.addKey("k", map[string]any{"accounts": []string{"carol"}})
			if r := b.get("/proxy/carol/v1.0/me", key); r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if len(asked) != 2 {
				t.Fatalf("%d token requests, want 2", len(asked))
			}
			if got := asked[1]; (want == "") != (got == "") || !strings.Contains(got, want) {
				t.Errorf("the second token request had the claims %q", got)
			}
			if declared := strings.Contains(asked[0], "cp1"); declared != (setting == "on") {
				t.Errorf("the first token request had the claims %q", asked[0])
			}
		})
	}
}
