package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// probedServer is a token endpoint that answers with answer, and remembers what
// it was asked.
func probedServer(t *testing.T, answer func(form url.Values) (status int, body string)) (address string, asked func() []url.Values) {
	t.Helper()
	var forms []url.Values
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if _, clientSecret, ok := r.BasicAuth(); ok {
			r.PostForm.Set("client_secret", clientSecret)
		}
		forms = append(forms, r.PostForm)
		status, body := answer(r.PostForm)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []url.Values { return forms }
}

func probe(t *testing.T, cfg Config) Finding {
	t.Helper()
	if len(cfg.ClientSecrets) == 0 {
		cfg.ClientSecrets = []secret.String{secret.New("new-secret"), secret.New("old-secret")}
	}
	p, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.(Probed).Probe(t.Context())
}

func TestProbeSendsNothingThatAnybodyHas(t *testing.T) {
	address, asked := probedServer(t, func(url.Values) (int, string) { return 400, `{"error":"invalid_grant"}` })
	f := probe(t, Config{Name: "g", Type: TypeGoogle, ClientID: "id", TokenEndpoint: address, Scopes: []string{"a"}})
	if f.Failure != nil || f.Unsettled || f.Endpoint != address || time.Since(f.Date) > time.Minute {
		t.Errorf("%+v", f)
	}
	forms := asked()
	if len(forms) != 1 {
		t.Fatalf("%d requests", len(forms))
	}
	if form := forms[0]; form.Get("grant_type") != "authorization_code" || form.Has("refresh_token") || !strings.HasPrefix(form.Get("code"), "bellhop-probe-") {
		t.Errorf("%v", form)
	}
}

func TestProbeTriesOlderSecrets(t *testing.T) {
	address, asked := probedServer(t, func(form url.Values) (int, string) {
		if form.Get("client_secret") == "old-secret" {
			return 400, `{"error":"invalid_grant"}`
		}
		return 401, `{"error":"invalid_client"}`
	})
	f := probe(t, Config{Name: "o", Type: TypeOAuth2, ClientID: "id", TokenEndpoint: address})
	if f.Failure == nil || f.Failure.Code != "invalid_client" || !f.OlderAccepted || len(asked()) != 2 {
		t.Errorf("%+v, %d requests", f, len(asked()))
	}
}

// TestMicrosoftIsAskedForTheAppsOwnTokenWhereACodeSaysNothing: a made-up code is
// refused before the secret is looked at.
func TestMicrosoftIsAskedForTheAppsOwnTokenWhereACodeSaysNothing(t *testing.T) {
	const unread = `{"error":"invalid_grant","error_description":"AADSTS9002313: Invalid request. Request is malformed or invalid.","error_codes":[9002313]}`
	const wrong = `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.","error_codes":[7000215]}`
	const token = `{"access_token":"t","token_type":"Bearer","expires_in":3599}`
	for name, test := range map[string]struct {
		tenant, own       string
		failed, unsettled bool
		requests          int
	}{
		"wrong secret":        {"contoso.example", wrong, true, false, 3},
		"right secret":        {"contoso.example", token, false, false, 2},
		"no certain tenant":   {"organizations", wrong, false, true, 1},
		"refused for another": {"contoso.example", `{"error":"invalid_scope"}`, false, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			address, asked := probedServer(t, func(form url.Values) (int, string) {
				switch {
				case form.Get("grant_type") == "authorization_code":
					return 400, unread
				case test.own == token:
					return 200, token
				}
				return 401, test.own
			})
			f := probe(t, Config{
				Name: "m", Type: TypeMicrosoft, ClientID: "id", Tenant: test.tenant, TokenEndpoint: address,
				Scopes: []string{"https://graph.microsoft.com/Mail.Read"},
			})
			if (f.Failure != nil) != test.failed || f.Unsettled != test.unsettled || len(asked()) != test.requests {
				t.Errorf("%+v, %d requests", f, len(asked()))
			}
			if test.failed && f.Failure.Number != "AADSTS7000215" {
				t.Errorf("%+v", f.Failure)
			}
			if len(asked()) > 1 && asked()[1].Get("scope") != "https://graph.microsoft.com/.default" {
				t.Errorf("%v", asked()[1])
			}
		})
	}
}

func TestUnreachableSaysWhereTheWayEnds(t *testing.T) {
	for name, test := range map[string]struct {
		err         error
		reads, mend string
	}{
		"DNS":           {&net.OpError{Op: "dial", Err: &net.DNSError{Name: "id.example", IsNotFound: true}}, "id.example is not found in the DNS", "resolver"},
		"refused":       {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, "No connection to id.example", "firewall"},
		"proxy":         {&net.OpError{Op: "proxyconnect", Err: errors.New("no")}, "forward proxy", "HTTPS_PROXY"},
		"firewall":      {x509.UnknownAuthorityError{}, "not of an authority that this machine trusts", "firewall opens TLS"},
		"other name":    {x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}, "for another name", "captive portal"},
		"expired":       {x509.CertificateInvalidError{Reason: x509.Expired}, "has expired, or is not valid yet", "clock"},
		"plain":         {tls.RecordHeaderError{}, "does not speak TLS", "endpoint"},
		"slow":          {context.DeadlineExceeded, "did not answer in time", "firewall"},
		"anything else": {errors.New("unexpected EOF"), "broke the connection off", "proxy"},
	} {
		f := unreachable("https://id.example/token", fmt.Errorf("asking: %w", test.err))
		if !strings.Contains(f.Reads, test.reads) || !strings.Contains(f.Mend, test.mend) || f.Meaning != account.ProviderDown {
			t.Errorf("%s: %q, %q", name, f.Reads, f.Mend)
		}
	}
}

func TestNeedsReview(t *testing.T) {
	google, err := New(Config{Name: "g", Type: TypeGoogle, ClientID: "id", ClientSecrets: []secret.String{secret.New("s")}, Scopes: []string{"https://mail.google.com/", "https://www.googleapis.com/auth/calendar"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := NeedsReview(google); fmt.Sprint(got) != "[https://mail.google.com/]" {
		t.Errorf("%v", got)
	}
	microsoft, err := New(Config{Name: "m", Type: TypeMicrosoft, Tenant: "common", ClientID: "id", ClientSecrets: []secret.String{secret.New("s")}, Scopes: []string{"Mail.Read", "https://graph.microsoft.com/User.Read.All"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := NeedsReview(microsoft); fmt.Sprint(got) != "[https://graph.microsoft.com/User.Read.All]" {
		t.Errorf("%v", got)
	}
}
