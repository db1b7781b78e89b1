package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// expired is past the life of a token of the fake provider's.
const expired = fakeprovider.DefaultTokenLife + time.Second

// lifecycle is a Bellhop and a provider whose clocks the test moves.
type lifecycle struct {
	*bellhop
	provider providerProcess
	clock    *clockwork.FakeClock
	key      string // may have the tokens of every account
	grants   map[string]string
}

// startLifecycle runs both with standardCaddyfile after the changes, which are
// of old and new text.
func startLifecycle(t *testing.T, changes ...string) *lifecycle {
	t.Helper()
	l := &lifecycle{clock: useFakeClock(t), provider: startProvider(t), grants: map[string]string{}}
	l.provider.registerMicrosoft(t)
	l.bellhop = start(t, changed(t, standardCaddyfile(l.provider), changes...))
	l.key = l.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
	return l
}

// in is l for a sub-test.
func (l *lifecycle) in(t *testing.T) *lifecycle {
	sub, b := *l, *l.bellhop
	b.t, sub.bellhop = t, &b
	return &sub
}

// changed replaces text that must be there: a change that changes nothing
// would make a test pass for nothing.
func changed(t *testing.T, caddyfile string, changes ...string) string {
	t.Helper()
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(caddyfile, changes[i]) {
			t.Fatalf("%q is not in\n%s", changes[i], caddyfile)
		}
		caddyfile = strings.Replace(caddyfile, changes[i], changes[i+1], 1)
	}
	return caddyfile
}

// connect makes a grant and registers it as an account of provider google.
func (l *lifecycle) connect(id string) {
	l.t.Helper()
	grant, refreshToken := l.provider.grant(l.t, fakeprovider.Grant{Scope: "https://mail.google.com/ openid email"})
	l.addAccount(id, "google", id+"@example.com", refreshToken)
	l.grants[id] = grant
}

// advance moves both clocks.
func (l *lifecycle) advance(d time.Duration) {
	l.t.Helper()
	if _, err := l.provider.Advance(l.t.Context(), d); err != nil {
		l.t.Fatal(err)
	}
	l.clock.Advance(d)
}

// fault queues a fault for the next token request of the account's grant.
func (l *lifecycle) fault(id string, f fakeprovider.Fault) {
	l.t.Helper()
	f.Grant = l.grants[id]
	if _, err := l.provider.QueueFaults(l.t.Context(), f); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lifecycle) awaitHeld(gate string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
	defer cancel()
	if err := l.provider.AwaitHeld(ctx, gate, 1); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lifecycle) release(gate string) {
	l.t.Helper()
	if n, err := l.provider.Release(l.t.Context(), gate); err != nil || n != 1 {
		l.t.Fatalf("released %d token requests, %v", n, err)
	}
}

func tokenPath(id string) string { return "/v1/account/" + id + "/oauth-token" }

// answered is what the token endpoint says, of a token or of an error.
type answered struct {
	tokenAnswer
	Message              string
	AuthenticationFailed *bool `json:"authenticationFailed"`
}

// ask asks for the account's token and returns the reply, read.
func (l *lifecycle) ask(id string) (reply, answered) {
	l.t.Helper()
	r := l.get(tokenPath(id), l.key)
	var a answered
	if err := json.Unmarshal(r.body, &a); err != nil {
		l.t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return r, a
}

// token asks for the account's token, which must be one that the API takes.
func (l *lifecycle) token(id string) answered {
	l.t.Helper()
	r, a := l.ask(id)
	if r.status != http.StatusOK || a.AccessToken == "" {
		l.t.Fatalf("token endpoint: %d %s", r.status, r.body)
	}
	state := l.grantState(id)
	for _, live := range state.AccessTokens {
		if live.Value == a.AccessToken {
			return a
		}
	}
	l.t.Fatalf("the token of account %s does not live at the provider: %+v", id, state.Counters)
	return a
}

// refused asks for the account's token, which must be refused with status and
// code. authenticationFailed must be present.
func (l *lifecycle) refused(id string, status int, code string, authenticationFailed bool) reply {
	l.t.Helper()
	r, a := l.ask(id)
	if r.status != status || r.header.Get("Bellhop-Error") != code {
		l.t.Fatalf("got %d %s %s, want %d %s", r.status, r.header.Get("Bellhop-Error"), r.body, status, code)
	}
	if a.AuthenticationFailed == nil || *a.AuthenticationFailed != authenticationFailed {
		l.t.Errorf("authenticationFailed is not %t in %s", authenticationFailed, r.body)
	}
	return r
}

func (l *lifecycle) grantState(id string) fakeprovider.GrantState {
	l.t.Helper()
	state, err := l.provider.Grant(l.t.Context(), l.grants[id], true)
	if err != nil {
		l.t.Fatal(err)
	}
	return state
}

// alive fails the test if the account's grant has ended at the provider, or if
// Bellhop does not call the account connected.
func (l *lifecycle) alive(id string) {
	l.t.Helper()
	if g := l.grantState(id); g.Dead {
		l.t.Errorf("the grant of account %s is dead: %s", id, g.Cause)
	}
	l.state(id, "connected")
}

func (l *lifecycle) state(id, want string) {
	l.t.Helper()
	if got := l.bellhop.admin(http.MethodGet, "/v1/account/"+id, nil)["state"]; got != want {
		l.t.Errorf("account %s is %v, want %s", id, got, want)
	}
}

// requests fails the test unless the provider has got so many token requests
// for the account.
func (l *lifecycle) requests(id string, want int) {
	l.t.Helper()
	if got := l.grantState(id).Counters.TokenRequests; got != want {
		l.t.Errorf("%d token requests for account %s, want %d", got, id, want)
	}
}

func TestCallersOfAnExpiredAccountShareOneTokenRequest(t *testing.T) {
	const callers = 1_000
	l := startLifecycle(t)
	l.connect("alice")
	first := l.token("alice")
	l.advance(expired)
	// Held until every caller has asked.
	l.fault("alice", fakeprovider.Fault{Gate: "gate"})

	var asked atomic.Int32
	all := make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) {
			if asked.Add(1) == int32(callers) {
				close(all)
			}
		},
	})
	tokens := make([]string, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			r, err := l.send(ctx, http.MethodGet, tokenPath("alice"), nil, "Authorization", "Bearer "+l.key)
			var a answered
			if err == nil {
				err = json.Unmarshal(r.body, &a)
			}
			if err != nil || r.status != http.StatusOK {
				t.Errorf("%d %s: %v", r.status, r.body, err)
			}
			tokens[i] = a.AccessToken
		})
	}
	<-all
	l.awaitHeld("gate")
	l.release("gate")
	wg.Wait()

	want := l.token("alice").AccessToken
	if want == first.AccessToken {
		t.Error("the token is still the first")
	}
	for i, got := range tokens {
		if got != want {
			t.Fatalf("caller %d was given another token", i)
		}
	}
	l.requests("alice", 2)
	l.alive("alice")
}

func TestFiftyExpiriesLoseNothing(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	seen := map[string]bool{}
	const expiries = 50
	for range expiries {
		seen[l.token("alice").AccessToken] = true
		l.advance(expired)
	}
	l.token("alice")
	if len(seen) != expiries {
		t.Errorf("%d tokens, want %d", len(seen), expiries)
	}
	l.requests("alice", expiries+1)
	l.alive("alice")
}

func TestCallerWhoHangsUpChangesNothing(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	l.fault("alice", fakeprovider.Fault{Gate: "gate", Commit: true})
	ctx, hangUp := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := l.send(ctx, http.MethodGet, tokenPath("alice"), nil, "Authorization", "Bearer "+l.key)
		left <- err
	}()
	l.awaitHeld("gate")
	hangUp()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Fatalf("the caller ended with %v", err)
	}
	l.release("gate")
	l.token("alice")
	l.requests("alice", 1)
	l.alive("alice")
}

func TestStopSavesTheAnswerThatIsUnderWay(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	l.fault("alice", fakeprovider.Fault{Gate: "gate", Commit: true})
	ctx, hangUp := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() {
		defer close(left)
		_, _ = l.send(ctx, http.MethodGet, tokenPath("alice"), nil, "Authorization", "Bearer "+l.key)
	}()
	l.awaitHeld("gate")
	hangUp() // else Caddy would wait for the caller
	<-left
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		l.stop()
	}()
	for err := error(nil); err == nil; { // until nobody listens any more
		var connection net.Conn
		if connection, err = net.Dial("tcp", l.addr); err == nil {
			connection.Close()
		}
	}
	l.release("gate")
	<-stopped
	l.load(l.caddyfile)
	l.token("alice")
	l.requests("alice", 1)
	l.alive("alice")
}

func TestRestartLosesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		pause    time.Duration
		requests int
	}{
		"the token lives on":        {0, 0},
		"the token ended meanwhile": {expired, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLifecycle(t)
			l.connect("alice")
			before := l.token("alice")
			l.stop()
			l.advance(test.pause)
			l.load(l.caddyfile)
			after := l.token("alice")
			if same := after.AccessToken == before.AccessToken; same != (test.requests == 0) {
				t.Errorf("the token is the same: %t", same)
			}
			l.requests("alice", 1+test.requests)
			l.alive("alice")
		})
	}
}

func TestAudiencesOfOneGrantNeverSpendARefreshTokenTwice(t *testing.T) {
	l := startLifecycle(t)
	grant, refreshToken := l.provider.grant(t, fakeprovider.Grant{
		Client: "bellhop-microsoft",
		Scope:  "https://graph.microsoft.com/Mail.Read https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid profile",
	})
	l.grants["carol"] = grant
	l.addAccount("carol", "microsoft", "carol@example.com", refreshToken)
	key := l.addKey("proxy", map[string]any{"accounts": []string{"carol"}})
	const expiries, callers = 6, 20
	for round := range expiries {
		if round > 0 {
			l.advance(expired)
		}
		var wg sync.WaitGroup
		for range callers {
			for host, path := range map[string]string{"graph.microsoft.com": "/v1.0/me", "outlook.office.com": "/echo/"} {
				wg.Go(func() {
					r, err := l.send(t.Context(), http.MethodGet, "/proxy/carol/"+host+path, nil, "Authorization", "Bearer "+key)
					if err != nil || r.status != http.StatusOK {
						t.Errorf("%s: %d %s, %v", host, r.status, r.body, err)
					}
				})
			}
		}
		wg.Wait()
	}

	log, err := l.provider.TokenRequests(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	presented, audiences := map[int]bool{}, map[string]int{}
	for _, request := range log {
		if presented[request.RefreshTokenNumber] || request.Outcome != fakeprovider.OutcomeRotated || request.InFlight != 1 {
			t.Errorf("token request %+v", request)
		}
		presented[request.RefreshTokenNumber] = true
		audiences[request.Audience]++
	}
	if want := map[string]int{"graph.microsoft.com": expiries, "outlook.office.com": expiries}; !maps.Equal(audiences, want) {
		t.Errorf("token requests by audience: %v, want %v", audiences, want)
	}
	l.alive("carol")
}

// odd is a token endpoint's answer that costs no grant, and what the caller
// sees who asked for it.
type odd struct {
	fault  fakeprovider.Fault
	status int
	code   string // of the error; empty for a token
	life   time.Duration
}

func alter(member, raw string) fakeprovider.Fault {
	return fakeprovider.Fault{Kind: fakeprovider.Alter, Members: map[string]string{member: raw}}
}

func oddAnswers() map[string]odd {
	const minute, hour = time.Minute, time.Hour // told, and assumed
	token := func(life time.Duration, f fakeprovider.Fault) odd { return odd{f, http.StatusOK, "", life} }
	unavailable := func(f fakeprovider.Fault) odd { return odd{f, http.StatusServiceUnavailable, "ProviderUnavailable", 0} }
	answers := map[string]odd{
		"token_type missing":               token(minute, alter("token_type", "")),
		"token_type empty":                 token(minute, alter("token_type", `""`)),
		"token_type in lower case":         token(minute, alter("token_type", `"bearer"`)),
		"token_type unknown":               {alter("token_type", `"mac"`), http.StatusBadGateway, "ProviderError", 0},
		"scope missing":                    token(minute, alter("scope", "")),
		"refresh_token twice":              token(minute, alter("refresh_token_expires_in", `"nonsense","refresh_token":""`)),
		"form encoded":                     token(minute, fakeprovider.Fault{Kind: fakeprovider.Alter, FormEncoded: true}),
		"access_token missing":             unavailable(alter("access_token", "")),
		"access_token for no header":       unavailable(alter("access_token", `"a\r\nb"`)),
		"broken off in the end":            token(minute, fakeprovider.Fault{Kind: fakeprovider.Alter, Members: map[string]string{"zz": "nonsense"}}),
		"too large":                        unavailable(fakeprovider.Fault{Kind: fakeprovider.Alter, Pad: 2 << 20}),
		"cut off behind the refresh token": unavailable(fakeprovider.Fault{Kind: fakeprovider.Truncate, Keep: 160}),
		"HTML":                             unavailable(fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 200, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>Sign in to the network"}),
		"nothing":                          unavailable(fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 200}),
		"a list":                           unavailable(fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 200, Body: "[]"}),
		"redirect":                         unavailable(fakeprovider.Redirect(http.StatusTemporaryRedirect, "/elsewhere")),
		"server error":                     unavailable(fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 500, Body: "oops"}),
		"bad gateway in HTML":              unavailable(fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 502, Body: "<html>"}),
		"request timeout":                  unavailable(fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 408}),
		"server_error":                     unavailable(fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "server_error"}),
		"unknown error":                    {fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "full_moon"}, http.StatusBadGateway, "ProviderError", 0},
		"connection dropped":               unavailable(fakeprovider.Fault{Kind: fakeprovider.Drop}),
	}
	for name, raw := range map[string]string{
		"string": `"60"`, "float": "60.0", "exponent": "6e1", "string of a float": `" 60.5 "`,
	} {
		answers["expires_in as "+name] = token(minute, alter("expires_in", raw))
	}
	for name, raw := range map[string]string{
		"missing": "", "null": "null", "empty": `""`, "with a unit": `"60s"`, "zero": "0", "negative": "-60",
		"huge": "1e30", "true": "true", "a list": "[]", "an object": "{}",
	} {
		answers["expires_in "+name] = token(hour, alter("expires_in", raw))
	}
	return answers
}

func TestOddAnswersCostNoGrant(t *testing.T) {
	l := startLifecycle(t)
	for name, odd := range oddAnswers() {
		t.Run(name, func(t *testing.T) {
			l := l.in(t)
			id := strings.ReplaceAll(name, " ", "-")
			l.connect(id)
			l.fault(id, odd.fault)
			r, a := l.ask(id)
			if r.status != odd.status || r.header.Get("Bellhop-Error") != odd.code {
				t.Errorf("got %d %s, want %d %s", r.status, r.body, odd.status, odd.code)
			}
			if odd.status == http.StatusOK {
				expires, err := time.Parse(timestamp, a.Expires)
				if left := expires.Sub(l.clock.Now()); err != nil || (left-odd.life).Abs() > 2*time.Second {
					t.Errorf("expires in %v, want %v", left, odd.life)
				}
			} else if a.AuthenticationFailed == nil || *a.AuthenticationFailed {
				t.Errorf("the account is blamed: %s", r.body)
			}
			l.advance(odd.life + 2*time.Minute) // past its token, and past any wait
			l.token(id)
			l.alive(id)
			l.bellhop.admin(http.MethodDelete, "/v1/account/"+id, nil)
		})
	}
}

// What a provider without rotation leaves out is no loss: the refresh token
// stays.
func TestAnswerWithoutRefreshTokenKeepsTheOldOne(t *testing.T) {
	l := startLifecycle(t)
	if err := l.provider.SetRotation(t.Context(), fakeprovider.Rotation{Policy: fakeprovider.KeepsOld}); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{"missing": "", "empty": `""`, "null": "null", "number": "1"} {
		t.Run(name, func(t *testing.T) {
			l := l.in(t)
			l.connect(name)
			l.fault(name, alter("refresh_token", raw))
			l.token(name)
			l.advance(expired)
			l.token(name)
			l.requests(name, 2)
			l.alive(name)
		})
	}
}

// A lost answer is asked for again with the refresh token that is at hand.
// What that means is the provider's affair.
func TestLostAnswer(t *testing.T) {
	const single, grace = "single_use", "grace 30s"
	for name, test := range map[string]struct {
		rotation string
		fault    fakeprovider.Fault
		lives    bool
	}{
		"grace, dropped after the rotation":      {grace, fakeprovider.Fault{Kind: fakeprovider.Drop, Commit: true}, true},
		"grace, cut off":                         {grace, fakeprovider.Fault{Kind: fakeprovider.Truncate}, true},
		"single use, dropped before":             {single, fakeprovider.Fault{Kind: fakeprovider.Drop}, true},
		"single use, dropped after the rotation": {single, fakeprovider.Fault{Kind: fakeprovider.Drop, Commit: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLifecycle(t, "rotation single_use", "rotation "+test.rotation)
			rotation, err := fakeprovider.ParseRotation(test.rotation)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.provider.SetRotation(t.Context(), rotation); err != nil {
				t.Fatal(err)
			}
			l.connect("alice")
			l.fault("alice", test.fault)
			l.refused("alice", http.StatusServiceUnavailable, "ProviderUnavailable", false)
			l.advance(2 * time.Second) // past the endpoint's first wait
			if test.lives {
				l.token("alice")
				l.alive("alice")
				return
			}
			l.refused("alice", http.StatusForbidden, "OauthRenewError", true)
			l.state("alice", "authenticationError")
		})
	}
}

// With single-use refresh tokens a replay would end the access token too: it
// is used up first.
func TestLivingTokenIsServedWhileTheOutcomeIsUnknown(t *testing.T) {
	l := startLifecycle(t)
	l.connect("alice")
	first := l.token("alice")
	l.fault("alice", fakeprovider.Fault{Kind: fakeprovider.Drop, Commit: true})
	l.advance(fakeprovider.DefaultTokenLife - 7*time.Second) // less than min_ttl comes to
	for range 3 {
		if got := l.token("alice"); got.AccessToken != first.AccessToken {
			t.Error("another token is served")
		}
		l.advance(time.Second)
	}
	l.requests("alice", 2)
	if g := l.grantState("alice"); g.Dead {
		t.Errorf("the grant is dead while its token lives: %s", g.Cause)
	}
}

func TestDeadGrantIsBelievedAfterASecondTry(t *testing.T) {
	refused := fakeprovider.Fault{Kind: fakeprovider.OAuthError, Error: "invalid_grant", Description: "Token has been expired or revoked."}
	for name, test := range map[string]struct {
		times int
		lives bool
	}{
		"the provider changes its mind": {1, true},
		"the provider stays with it":    {2, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLifecycle(t)
			l.connect("alice")
			refused.Times = test.times
			l.fault("alice", refused)
			for range 3 {
				l.refused("alice", http.StatusForbidden, "OauthRenewError", true)
			}
			l.state("alice", "authenticationError")
			l.requests("alice", 1)
			l.advance(4 * time.Minute)
			l.refused("alice", http.StatusForbidden, "OauthRenewError", true)
			l.requests("alice", 1)

			l.advance(2 * time.Minute)
			if test.lives {
				l.token("alice")
				l.alive("alice")
				return
			}
			l.refused("alice", http.StatusForbidden, "OauthRenewError", true)
			l.advance(24 * time.Hour)
			l.refused("alice", http.StatusForbidden, "OauthRenewError", true)
			l.requests("alice", 2)
			l.state("alice", "authenticationError")
		})
	}
}

func TestRefusedClientBlamesNoAccount(t *testing.T) {
	l := startLifecycle(t, "client_secret bellhop-secret", "client_secret out-of-date")
	for _, id := range []string{"alice", "bob"} {
		l.connect(id)
		l.refused(id, http.StatusInternalServerError, "ProviderMisconfigured", false)
		l.state(id, "init")
	}
	l.requests("bob", 0) // the client is the same
	l.load(changed(t, l.caddyfile, "client_secret out-of-date", "client_secret bellhop-secret"))
	for _, id := range []string{"alice", "bob"} {
		l.token(id)
		l.alive(id)
	}
}

func TestLivingTokenOutlastsAnOutage(t *testing.T) {
	for name, test := range map[string]struct {
		fault fakeprovider.Fault
		wait  time.Duration // until the provider is asked again
	}{
		"down":      {fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 503}, 20 * time.Second},
		"throttled": {fakeprovider.Fault{Kind: fakeprovider.Respond, Status: 429, Header: map[string]string{"Retry-After": "300"}}, 301 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLifecycle(t)
			l.connect("alice")
			first := l.token("alice")
			test.fault.Times = -1
			l.fault("alice", test.fault)
			l.advance(fakeprovider.DefaultTokenLife - 7*time.Second)
			if got := l.token("alice"); got.AccessToken != first.AccessToken {
				t.Error("another token is served")
			}
			l.advance(8 * time.Second)
			r := l.refused("alice", http.StatusServiceUnavailable, "ProviderUnavailable", false)
			var seconds int
			if _, err := fmt.Sscan(r.header.Get("Retry-After"), &seconds); err != nil || seconds < 1 || seconds > 30 {
				t.Errorf("Retry-After: %q", r.header.Get("Retry-After"))
			}
			if err := l.provider.ClearFaults(t.Context()); err != nil {
				t.Fatal(err)
			}
			l.advance(test.wait)
			l.token("alice")
			l.alive("alice")
		})
	}
}

// run runs the command as a process of its own, with b's configuration, and
// returns once it serves.
func (b *bellhop) run() *exec.Cmd {
	b.t.Helper()
	started, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	defer started.Close()
	cmd := b.command("run", "--config", b.write(b.caddyfile), "--pingback", started.Addr().String())
	cmd.Stdin = strings.NewReader("started")
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() {
		exited <- cmd.Wait()
		started.Close()
	}()
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	connection, err := started.Accept()
	if err != nil {
		b.t.Fatalf("the process ended before it served:\n%s", cmd.Stderr)
	}
	connection.Close()
	return cmd
}

// command is the command as a process of its own, which keeps to b's directory.
func (b *bellhop) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=", "HOME="+b.dir, "XDG_DATA_HOME="+b.dir, "XDG_CONFIG_HOME="+b.dir)
	cmd.Env = append(cmd.Env, watching(b.t).environment()...)
	cmd.Stderr = new(bytes.Buffer)
	return cmd
}

// write writes a Caddyfile into b's directory and returns its path.
func (b *bellhop) write(caddyfile string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func TestKillWhileTheProviderHoldsTheAnswer(t *testing.T) {
	const single, grace = "single_use", "grace 30s"
	for name, test := range map[string]struct {
		rotation string
		rotated  bool // when the process is killed
		lives    bool
	}{
		"grace":                      {grace, true, true},
		"single use, before":         {single, false, true},
		"single use, after rotation": {single, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			rotation, err := fakeprovider.ParseRotation(test.rotation)
			if err != nil {
				t.Fatal(err)
			}
			l := &lifecycle{provider: startProvider(t), grants: map[string]string{}}
			if err := l.provider.SetRotation(t.Context(), rotation); err != nil {
				t.Fatal(err)
			}
			l.bellhop = &bellhop{t: t, dir: t.TempDir(), addr: freeAddr(t)}
			l.url = "http://" + l.addr
			l.caddyfile = l.expand(changed(t, standardCaddyfile(l.provider), "rotation single_use", "rotation "+test.rotation))

			process := l.run()
			l.key = l.addKey("caller", map[string]any{"accounts": []string{"*"}, "token": true})
			l.connect("alice")
			l.fault("alice", fakeprovider.Fault{Gate: "gate", Commit: test.rotated})
			ended := make(chan error)
			go func() {
				_, err := l.send(t.Context(), http.MethodGet, tokenPath("alice"), nil, "Authorization", "Bearer "+l.key)
				ended <- err
			}()
			l.awaitHeld("gate")
			if err := process.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil {
				t.Fatal("the caller was answered by a process that was killed")
			}

			// It is taken up at the start, with no caller to wait for it.
			l.fault("alice", fakeprovider.Fault{Gate: "resumed"})
			l.run()
			l.awaitHeld("resumed")
			l.release("resumed")
			if test.lives {
				l.token("alice")
				l.alive("alice")
				return
			}
			l.refused("alice", http.StatusForbidden, "OauthRenewError", true)
			l.state("alice", "authenticationError")
		})
	}
}
