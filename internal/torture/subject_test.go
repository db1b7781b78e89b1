package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/badger"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// requestTimeout is one token request's, in every process.
const requestTimeout = 1500 * time.Millisecond

// subjectConfig is what the harness tells its child.
type subjectConfig struct {
	Dir      string
	Wire     string // base URL
	Rotation string
	Broken   breakage
}

func (c subjectConfig) store() string  { return filepath.Join(c.Dir, "store") }
func (c subjectConfig) keyset() string { return filepath.Join(c.Dir, "keyset.json") }
func (c subjectConfig) socket() string { return filepath.Join(c.Dir, "admin.sock") }

// subject is the least of Bellhop that can lose a token: a broker, its store
// and its client, behind the paths of the admin endpoint.
type subject struct {
	shared *broker.Shared
	config subjectConfig
	log    *slog.Logger

	current atomic.Pointer[broker.Broker]
	mu      sync.Mutex
	stopRun func()
}

// runSubject is the child. It prints what it found in the store, and serves
// until it is told to terminate.
func runSubject(text string) (err error) {
	s := &subject{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if err := json.Unmarshal([]byte(text), &s.config); err != nil {
		return err
	}
	terminated, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	clock := clockwork.NewRealClock()
	st, err := badger.Open(s.config.store(), badger.Options{Clock: clock, Logger: s.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	keys, err := vault.OpenKeyset(context.Background(), st, s.config.keyset())
	if err != nil {
		return err
	}
	v := vault.New(st, keys.Sealer(secret.Records))
	found, err := inventory(context.Background(), v)
	if err != nil {
		return err
	}
	s.shared = broker.NewShared(&pausingVault{
		Vault: breakVault(v, s.config.Broken), wire: s.config.Wire, unfinished: make(map[string]bool),
	}, "torture/"+strconv.Itoa(os.Getpid()), clock, s.log)
	if err := s.reload(); err != nil {
		return err
	}
	_ = os.Remove(s.config.socket()) // the one before was killed
	listener, err := net.Listen("unix", s.config.socket())
	if err != nil {
		return err
	}
	web := &http.Server{Handler: s.routes(), ReadHeaderTimeout: time.Second}
	serving := make(chan error, 1)
	go func() { serving <- web.Serve(listener) }()
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		return err
	}
	select {
	case <-terminated.Done():
	case err := <-serving:
		return err
	}
	s.stopRun()
	_ = web.Shutdown(context.Background())
	s.shared.Close()
	return nil
}

// reload puts a new configuration's broker in the place of the running one.
func (s *subject) reload() error {
	rotation, err := fakeprovider.ParseRotation(s.config.Rotation)
	if err != nil {
		return err
	}
	p, err := provider.New(provider.Config{
		Name: "acme", Type: provider.TypeOAuth2, ClientID: fakeprovider.DefaultClient.ID,
		ClientSecrets: []secret.String{secret.New(fakeprovider.DefaultClient.Secrets[0])},
		TokenEndpoint: s.config.Wire + "/token", Scopes: []string{scope},
		Rotation: account.Rotation{Kind: account.RotationKind(rotation.Policy), Grace: rotation.Window},
	}, nil)
	if err != nil {
		return err
	}
	next := broker.New(s.shared, []broker.Provider{breakProvider(p, s.config.Broken)}, broker.Settings{
		Ahead: broker.DefaultAhead, MinTTL: broker.DefaultMinTTL, Timeout: requestTimeout, Workers: broker.DefaultWorkers,
	}, noObserver{}, s.log)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		next.Run(ctx)
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.Store(next)
	if s.stopRun != nil {
		s.stopRun()
	}
	s.stopRun = func() {
		cancel()
		<-stopped
	}
	return nil
}

func (s *subject) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bellhop/v1/account/{account}/oauth-token", func(w http.ResponseWriter, r *http.Request) {
		seconds, _ := strconv.Atoi(r.URL.Query().Get("min_ttl"))
		token, err := s.current.Load().Token(r.Context(), r.PathValue("account"), "", broker.Options{MinTTL: time.Duration(seconds) * time.Second})
		reply(w, err, tokenReply{AccessToken: token.Value.Reveal(), Expires: token.Expires})
	})
	mux.HandleFunc("POST /bellhop/v1/account", func(w http.ResponseWriter, r *http.Request) {
		var body registration
		err := json.NewDecoder(r.Body).Decode(&body)
		if err == nil {
			err = s.current.Load().Register(r.Context(), broker.Registration{
				ID: body.Account, Provider: body.OAuth2.Provider, RefreshToken: secret.New(body.OAuth2.RefreshToken),
			})
		}
		reply(w, err, struct{}{})
	})
	mux.HandleFunc("POST /load", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.reload(), struct{}{}) })
	return mux
}

// registration is the body of POST /v1/account, as far as it is needed here.
type registration struct {
	Account string `json:"account"`
	OAuth2  struct {
		Provider     string `json:"provider"`
		RefreshToken string `json:"refreshToken"`
	} `json:"oauth2"`
}

// tokenReply is the token endpoint's answer, likewise.
type tokenReply struct {
	AccessToken string    `json:"accessToken"`
	Expires     time.Time `json:"expires"`
}

func reply(w http.ResponseWriter, err error, answer any) {
	if err != nil {
		p := problem.From(err)
		w.Header().Set("Bellhop-Error", string(p.Code))
		w.WriteHeader(p.Status)
		_, _ = io.WriteString(w, p.Error())
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// pausingVault waits at the points between a renewal's writes.
type pausingVault struct {
	broker.Vault
	wire string

	mu         sync.Mutex
	unfinished map[string]bool // accounts with an intent that was written here
}

// Save writes g, and calls at the point before or behind it.
func (v *pausingVault) Save(ctx context.Context, lease *store.Lease, g *account.Grant, version uint64, due, used time.Time) (uint64, error) {
	v.mu.Lock()
	result := v.unfinished[g.ID]
	v.unfinished[g.ID] = g.Intent != nil && !g.Intent.Lost
	v.mu.Unlock()
	if result {
		v.pause(g.ID, answered)
	}
	next, err := v.Vault.Save(ctx, lease, g, version, due, used)
	switch {
	case err != nil:
	case result:
		v.pause(g.ID, saved)
	case g.Intent != nil:
		v.pause(g.ID, intended)
	}
	return next, err
}

func (v *pausingVault) pause(id string, at point) {
	resp, err := http.Get(v.wire + pointPath + "?" + url.Values{"account": {id}, "at": {string(at)}}.Encode())
	if err == nil {
		_ = resp.Body.Close()
	}
}

type noObserver struct{}

func (noObserver) Refreshed(string, string, time.Duration) {}
func (noObserver) Skewed(string, time.Duration)            {}
func (noObserver) Happened(broker.Event)                   {}

// held is what a store has of an account.
type held struct {
	RefreshToken string
	Access       []string
	Intent       *account.Intent
	State        account.State
}

// inventory lists what is in a store.
func inventory(ctx context.Context, v *vault.Vault) (map[string]held, error) {
	found := make(map[string]held)
	for after := ""; ; {
		page, err := v.Summaries(ctx, after, 1000)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return found, nil
		}
		for _, summary := range page {
			g, _, err := v.Grant(ctx, summary.ID)
			if err != nil {
				return nil, fmt.Errorf("reading account %s: %w", summary.ID, err)
			}
			h := held{RefreshToken: g.RefreshToken.Reveal(), Intent: g.Intent, State: g.State}
			for _, t := range g.Access {
				h.Access = append(h.Access, t.Value.Reveal())
			}
			found[g.ID] = h
			after = g.ID
		}
	}
}

// inspect opens the store of a process that is dead.
func inspect(ctx context.Context, c subjectConfig) (_ map[string]held, err error) {
	st, err := badger.Open(c.store(), badger.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	keys, err := vault.OpenKeyset(ctx, st, c.keyset())
	if err != nil {
		return nil, err
	}
	return inventory(ctx, vault.New(st, keys.Sealer(secret.Records)))
}

// caddyfile configures the whole of Bellhop as subject does its least part. n
// makes it another configuration.
func (c subjectConfig) caddyfile(n int) string {
	return strings.NewReplacer("DIR", c.Dir, "WIRE", c.Wire, "ROTATION", c.Rotation, "TIMEOUT", requestTimeout.String(),
		"ID", fakeprovider.DefaultClient.ID, "SECRET", fakeprovider.DefaultClient.Secrets[0], "SCOPE", scope, "NUMBER", strconv.Itoa(n),
	).Replace(`{
	admin unix/DIR/admin.sock|0600
	persist_config off
	grace_period 5s
	bellhop {
		store badger DIR/store
		keyset DIR/keyset.json
		audit off
		provider acme oauth2 {
			client_id ID
			client_secret SECRET
			token_endpoint WIRE/token
			rotation ROTATION
			scopes SCOPE
			authorize_param number NUMBER
			api_host api.acme.example
		}
		refresh {
			timeout TIMEOUT
		}
	}
}
`)
}
