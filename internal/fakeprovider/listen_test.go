package fakeprovider

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func trusting(t *testing.T, caPEM []byte) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caPEM) {
		t.Fatal("CA certificate is no PEM")
	}
	return &tls.Config{RootCAs: roots}
}

func TestListenServesTLSForEveryNameItIsAskedFor(t *testing.T) {
	listening, err := New(Options{}).Listen(ListenOptions{TLSAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	address := strings.TrimPrefix(listening.TLSURL, "https://")
	for _, http2 := range []bool{true, false} {
		for _, url := range []string{listening.TLSURL, "https://graph.microsoft.com", "https://localhost"} {
			transport := &http.Transport{
				TLSClientConfig:   trusting(t, listening.CAPEM),
				ForceAttemptHTTP2: http2,
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, address)
				},
			}
			response, err := (&http.Client{Transport: transport}).Get(url + "/.well-known/openid-configuration")
			if err != nil {
				t.Errorf("%s: %v", url, err)
				continue
			}
			var metadata struct{ Issuer string }
			err = json.NewDecoder(response.Body).Decode(&metadata)
			response.Body.Close()
			transport.CloseIdleConnections()
			if err != nil || metadata.Issuer != url {
				t.Errorf("issuer is %q, want %q (%v)", metadata.Issuer, url, err)
			}
			if (response.ProtoMajor == 2) != http2 {
				t.Errorf("%s: got %s", url, response.Proto)
			}
		}
	}
}

func TestDroppedConnectionOverHTTP2(t *testing.T) {
	server := New(Options{})
	listening, err := server.Listen(ListenOptions{TLSAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	if _, err := server.QueueFaults(Fault{On: EndpointMetadata, Kind: Drop}); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: trusting(t, listening.CAPEM), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if response, err := client.Get(listening.TLSURL + "/.well-known/openid-configuration"); err == nil {
		response.Body.Close()
		t.Errorf("got %s, want a broken stream", response.Status)
	}
}

func TestListenOnATakenAddressFails(t *testing.T) {
	f := start(t, Options{})
	if _, err := New(Options{}).Listen(ListenOptions{Addr: strings.TrimPrefix(f.URL, "http://")}); err == nil {
		t.Error("no error for HTTP")
	}
	if _, err := New(Options{}).Listen(ListenOptions{TLSAddr: strings.TrimPrefix(f.URL, "http://")}); err == nil {
		t.Error("no error for HTTPS")
	}
}

func TestMainServesUntilItsContextEnds(t *testing.T) {
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- Main(ctx, []string{"-tls-listen", "127.0.0.1:0", "-ca-file", caFile, "-token-life", "5m", "-rotation", "grace 10s"}, write)
	}()
	line, err := bufio.NewReader(read).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var ready Ready
	if err := json.Unmarshal(line, &ready); err != nil {
		t.Fatal(err)
	}
	settings, err := Control{BaseURL: ready.URL}.Settings(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if settings.Rotation.String() != "grace 10s" || settings.TokenLife != Duration(300e9) {
		t.Errorf("settings are %+v", settings)
	}
	if ready.TokenEndpoint != ready.URL+"/token" || ready.CAFile != caFile {
		t.Errorf("printed %s", line)
	}
	certificate, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: trusting(t, certificate)}
	defer transport.CloseIdleConnections()
	overTLS := Control{BaseURL: ready.TLSURL, HTTP: &http.Client{Transport: transport}}
	if _, err := overTLS.Stats(ctx); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := overTLS.Stats(t.Context()); err == nil {
		t.Error("still serving after its context ended")
	}
}

func TestMainRemovesItsTemporaryCAFile(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Main(ctx, []string{"-tls-listen", "127.0.0.1:0"}, write) }()
	var ready Ready
	if err := json.NewDecoder(read).Decode(&ready); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ready.CAFile); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ready.CAFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("CA file is still there: %v", err)
	}
}

func TestMainRefusesBadArguments(t *testing.T) {
	for name, args := range map[string][]string{
		"flag":     {"-nonsense"},
		"argument": {"serve"},
		"rotation": {"-rotation", "often"},
		"address":  {"-listen", "nowhere:x"},
	} {
		if err := Main(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := Main(t.Context(), []string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("error is %v, want flag.ErrHelp", err)
	}
}
