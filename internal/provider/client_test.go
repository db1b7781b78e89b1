package provider

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func TestRedirectsAreNeverFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			canary := newFakeServer(t, says(200, freshToken))
			server := newFakeServer(t, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, canary.URL+"/token", status)
			})
			_, failure := refresh(t, mustNew(t, oauth2Config(server.URL)), account.RefreshRequest{})
			if failure == nil || failure.Meaning != account.ProviderDown || failure.Lost {
				t.Errorf("failure is %+v, want provider down and not lost", failure)
			}
			if failure != nil && !strings.Contains(failure.Reads, "redirect") {
				t.Errorf("failure reads %q, want the reason", failure.Reads)
			}
			if got := len(canary.all()); got != 0 {
				t.Errorf("the other host got %d requests", got)
			}
		})
	}
}

func TestBodyIsReadToItsLimitOnly(t *testing.T) {
	var written int
	server := newFakeServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"access_token":"a","x":"`)
		chunk := []byte(strings.Repeat("x", 64<<10))
		for written < 50<<20 {
			n, err := w.Write(chunk)
			if err != nil {
				return
			}
			written += n
		}
	})
	_, failure := refresh(t, mustNew(t, oauth2Config(server.URL)), account.RefreshRequest{})
	server.Close()
	if failure == nil || failure.Meaning != account.ProviderDown || failure.Lost {
		t.Errorf("failure is %+v, want provider down and not lost", failure)
	}
	if written >= 50<<20 {
		t.Error("the whole body was taken in")
	}
}

// hijack answers on the raw connection and closes it.
func hijack(t *testing.T, answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, answer)
		_ = conn.Close()
	}
}

func TestAnswerThatNeverCameWholeIsLost(t *testing.T) {
	tests := []struct{ name, answer string }{
		{"closed without a byte", ""},
		{"half a header", "HTTP/1.1 200 OK\r\nContent-Ty"},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + `{"access_token":"a","refr`},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + `{"access_token":"a"`},
		{"half a form", "HTTP/1.1 200 OK\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\naccess_token=a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newFakeServer(t, hijack(t, tt.answer))
			answer, failure := refresh(t, mustNew(t, oauth2Config(server.URL)), account.RefreshRequest{})
			if failure == nil || failure.Meaning != account.ProviderDown || !failure.Lost {
				t.Errorf("failure is %+v, want provider down and lost", failure)
			}
			if !answer.AccessToken.IsZero() {
				t.Error("half an answer gave a token")
			}
			server.only(t)
		})
	}
}

func TestRefreshTokenInABrokenAnswerIsKept(t *testing.T) {
	const rotated = `{"access_token":"a","refresh_token":"rotated","scope":"`
	cut := func(body string) http.HandlerFunc {
		return hijack(t, "HTTP/1.1 200 OK\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"+body)
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
		lost   bool
	}{
		"cut off behind it":          {cut(rotated), "rotated", false},
		"cut off inside it":          {cut(`{"access_token":"a","refresh_token":"rot`), "", true},
		"form, whose values may end": {cut("access_token=a&refresh_token=rot"), "", true},
		"too large":                  {says(200, rotated+strings.Repeat("x", 2<<20)+`"}`), "rotated", false},
	} {
		t.Run(name, func(t *testing.T) {
			server := newFakeServer(t, test.answer)
			answer, failure := refresh(t, mustNew(t, oauth2Config(server.URL)), account.RefreshRequest{})
			if failure == nil || failure.Meaning != account.ProviderDown || failure.Lost != test.lost {
				t.Errorf("failure is %+v, want provider down and lost %t", failure, test.lost)
			}
			if got := answer.RefreshToken.Reveal(); got != test.want {
				t.Errorf("kept refresh token %q, want %q", got, test.want)
			}
			if !answer.AccessToken.IsZero() {
				t.Error("a broken answer gave a token")
			}
		})
	}
}

func TestCompleteJSONBeforeABrokenConnectionIsAnAnswer(t *testing.T) {
	server := newFakeServer(t, hijack(t, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"+`{"access_token":"a","refresh_token":"r"}`))
	answer, failure := refresh(t, mustNew(t, oauth2Config(server.URL)), account.RefreshRequest{})
	if failure != nil {
		t.Fatal(failure)
	}
	if answer.RefreshToken.Reveal() != "r" {
		t.Error("the rotated refresh token is lost")
	}
}

func TestTimeoutAfterSendingIsLost(t *testing.T) {
	release := make(chan struct{})
	server := newFakeServer(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	cfg := oauth2Config(server.URL)
	cfg.Timeout = 500 * time.Millisecond
	_, failure := refresh(t, mustNew(t, cfg), account.RefreshRequest{})
	if failure == nil || !failure.Lost || failure.Meaning != account.ProviderDown {
		t.Errorf("failure is %+v, want provider down and lost", failure)
	}
}

func TestCancellingWhileTheServerThinksIsLost(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := newFakeServer(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err := mustNew(t, oauth2Config(server.URL)).Refresh(ctx, account.RefreshRequest{RefreshToken: secret.New("rt-0")})
	failure, ok := errors.AsType[*account.Failure](err)
	if !ok || !failure.Lost {
		t.Errorf("error is %+v, want a lost answer", err)
	}
}

func TestRequestThatNeverLeftIsNotLost(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	// A server whose certificate nobody trusts.
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	// A listener that accepts and never speaks TLS.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })

	for name, endpoint := range map[string]string{
		"connection refused":     closed.URL,
		"certificate refused":    untrusted.URL,
		"handshake without end":  "https://" + silent.Addr().String(),
		"name that has no entry": "https://nowhere.invalid/token",
	} {
		t.Run(name, func(t *testing.T) {
			cfg := oauth2Config(endpoint)
			cfg.Timeout = 200 * time.Millisecond
			_, failure := refresh(t, mustNew(t, cfg), account.RefreshRequest{})
			if failure == nil || failure.Meaning != account.ProviderDown || failure.Lost {
				t.Errorf("failure is %+v, want provider down and not lost", failure)
			}
		})
	}
	t.Run("context that has ended", func(t *testing.T) {
		server := newFakeServer(t, says(200, freshToken))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := mustNew(t, oauth2Config(server.URL)).Refresh(ctx, account.RefreshRequest{RefreshToken: secret.New("rt-0")})
		failure, ok := errors.AsType[*account.Failure](err)
		if !ok || failure.Lost {
			t.Errorf("error is %+v, want a failure that is not lost", err)
		}
		if len(server.all()) != 0 {
			t.Error("the server was asked")
		}
	})
}

func TestIdleConnectionThatWasClosedIsReplaced(t *testing.T) {
	server := newFakeServer(t, says(200, freshToken))
	p := mustNew(t, oauth2Config(server.URL))
	if _, failure := refresh(t, p, account.RefreshRequest{}); failure != nil {
		t.Fatal(failure)
	}
	server.CloseClientConnections()
	// Whether the closed connection is noticed in time is a race that either
	// side may win; what matters is that the token is never sent twice.
	_, failure := refresh(t, p, account.RefreshRequest{})
	if got := len(server.all()); got > 2 {
		t.Errorf("the server got %d requests for two refreshes", got)
	}
	if failure != nil && !failure.Lost {
		t.Errorf("failure is %+v, want lost", failure)
	}
}

func TestRequestHeaders(t *testing.T) {
	server := newFakeServer(t, says(200, freshToken))
	if _, failure := refresh(t, mustNew(t, oauth2Config(server.URL)), account.RefreshRequest{}); failure != nil {
		t.Fatal(failure)
	}
	got := server.only(t)
	for name, want := range map[string]string{
		"Accept": "application/json", "User-Agent": "Bellhop", "Content-Type": "application/x-www-form-urlencoded",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Header.Get(name), want)
		}
	}
}

func TestTransportCanBeGiven(t *testing.T) {
	server := httptest.NewTLSServer(says(200, freshToken))
	t.Cleanup(server.Close)
	p, err := New(oauth2Config(server.URL), server.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	if _, failure := refresh(t, p, account.RefreshRequest{}); failure != nil {
		t.Error(failure)
	}
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"http://127.0.0.1:1/t": true, "http://localhost/t": true, "http://[::1]:8080/t": true, "http://127.9.9.9/t": true,
		"https://id.example/t": true,
		"http://id.example/t":  false, "http://10.0.0.1/t": false, "http://localhost.example/t": false, "http://0.0.0.0/t": false,
		"https:id.example": false, "//id.example/t": false, "https://": false, "": false, "https://id.example/%zz": false,
	} {
		if err := checkEndpoint(endpoint); (err == nil) != ok {
			t.Errorf("checkEndpoint(%q) = %v, want accepted %v", endpoint, err, ok)
		}
	}
}
