package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

const (
	apiHost     = "api.bench.example"
	graphHost   = "graph.microsoft.com"
	accessToken = "bench-access-token"
	answerSize  = 2 << 10 // a small answer, so that the cost per call shows
)

// apiAddresses is what the API's process says of itself.
type apiAddresses struct {
	// API is host and port of the API over TLS.
	API string `json:"api"`
	// Token is the token endpoint's URL.
	Token string `json:"token"`
	// CA is the PEM file of the API's certificate.
	CA string `json:"ca"`
}

// apiProcess is the API and the token endpoint in a process of their own.
type apiProcess struct {
	apiAddresses
	process
}

// startAPI starts this program again, as the API. The network leads there; nil
// is loopback.
func startAPI(ctx context.Context, dir string, n *network) (*apiProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-api", dir) //nolint:gosec // the program itself
	if n != nil {
		if err := n.lead(cmd); err != nil {
			return nil, err
		}
	}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	api := &apiProcess{process: process{cmd}}
	if err := json.NewDecoder(stdout).Decode(&api.apiAddresses); err != nil {
		api.stop()
		return nil, err
	}
	return api, nil
}

// serveAPI serves at the IP address until the context ends, and prints where.
func serveAPI(ctx context.Context, dir, ip string) error {
	certificate, ca, err := selfSigned()
	if err != nil {
		return err
	}
	if graphPage, err = newGraphPage(ctx); err != nil {
		return err
	}
	addresses := apiAddresses{CA: filepath.Join(dir, "api.pem")}
	if err := os.WriteFile(addresses.CA, ca, 0o600); err != nil {
		return err
	}
	var listen net.ListenConfig
	apiListener, err := listen.Listen(ctx, "tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return err
	}
	tokenListener, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addresses.API = apiListener.Addr().String()
	addresses.Token = "http://" + tokenListener.Addr().String() + "/token"
	if err := json.NewEncoder(os.Stdout).Encode(addresses); err != nil {
		return err
	}

	failed := make(chan error, 2)
	go func() {
		server := &http.Server{
			Handler:           http.HandlerFunc(answerCall),
			TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
			ReadHeaderTimeout: time.Minute,
			ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					accepted.Add(1)
				}
			},
		}
		failed <- server.ServeTLS(apiListener, "", "")
	}()
	go func() {
		server := &http.Server{Handler: http.HandlerFunc(answerToken), ReadHeaderTimeout: time.Minute}
		failed <- server.Serve(tokenListener)
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

var answerBody = bytes.Repeat([]byte("x"), answerSize)

// What the API has seen: bytes of uploads, and connections.
var received, accepted atomic.Int64

// seen is the answer that tells it.
type seen struct {
	Received int64 `json:"received"`
	Accepted int64 `json:"accepted"`
}

// The paths of large transfers, and of what was seen of them.
const (
	uploadPath   = "/upload"
	downloadPath = "/download"
	seenPath     = "/seen"
	largeSize    = 256 << 20
)

// answerCall is the API: it refuses calls without the token, so that a proxy
// that forgets it is not measured as a fast one.
func answerCall(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+accessToken {
		http.Error(w, "no token", http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	switch r.URL.Path {
	case fakeprovider.LargePath:
		w.Header().Set("Content-Type", "application/json;odata.metadata=minimal")
		w.Header().Set("Content-Length", strconv.Itoa(len(graphPage)))
		w.Write(graphPage)
	case uploadPath:
		countUpload(r.Body)
	case downloadPath:
		w.Header().Set("Content-Length", strconv.Itoa(largeSize))
		_, _ = io.CopyN(w, zeros{}, largeSize)
	case seenPath:
		_ = json.NewEncoder(w).Encode(seen{received.Load(), accepted.Load()})
	default:
		w.Write(answerBody)
	}
}

// graphPage is the answer at [fakeprovider.LargePath].
var graphPage []byte

func newGraphPage(ctx context.Context) ([]byte, error) {
	fake := fakeprovider.New(fakeprovider.Options{})
	grant, err := fake.CreateGrant(fakeprovider.Grant{})
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {grant.RefreshToken}}
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "/token", strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(fakeprovider.DefaultClient.ID, fakeprovider.DefaultClient.Secrets[0])
	answer := httptest.NewRecorder()
	fake.ServeHTTP(answer, request)
	var token struct {
		Value string `json:"access_token"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &token); err != nil {
		return nil, err
	}
	request = httptest.NewRequestWithContext(ctx, http.MethodGet, fakeprovider.LargePath, nil)
	request.Header.Set("Authorization", "Bearer "+token.Value)
	answer = httptest.NewRecorder()
	fake.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		return nil, fmt.Errorf("the fake provider answers %d to %s", answer.Code, fakeprovider.LargePath)
	}
	return answer.Body.Bytes(), nil
}

// countUpload reads a body as it comes.
func countUpload(body io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := body.Read(buffer)
		received.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// zeros is an endless reader.
type zeros struct{}

// Read implements [io.Reader].
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// answerToken is the token endpoint (RFC 6749 section 5.1).
func answerToken(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":86400,"refresh_token":"bench-refresh-token"}`, accessToken)
}

// selfSigned makes the API's certificate and its PEM.
func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: apiHost},
		DNSNames:              []string{apiHost, "*." + apiHost, graphHost},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	certificate := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// client returns a client that reaches the API directly, as an SDK would.
func (a *apiProcess) client() (*http.Client, error) {
	ca, err := os.ReadFile(a.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate in " + a.CA)
	}
	dialer := new(net.Dialer)
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, a.API)
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}}, nil
}

// fetch makes one call and reads its answer to the end.
func fetch(client *http.Client, request *http.Request) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || len(body) != answerSize) {
		err = fmt.Errorf("status %d with %d bytes", response.StatusCode, len(body))
	}
	return err
}
