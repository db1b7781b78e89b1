package consent

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// idp is an authorization server, as far as a client sees one.
type idp struct {
	provider.Provider // for what is not asked
	name, kind        string
	scopes            []string

	mu      sync.Mutex
	asked   []provider.AuthorizeRequest
	proofs  []bool
	known   []string
	codes   map[string]granted
	pending []error // what polls are answered before the person decides
	device  granted
	err     error
}

// granted is a code that was given out.
type granted struct {
	request provider.AuthorizeRequest
	who     account.Identity
	missing []string
}

func (p *idp) Name() string     { return p.name }
func (p *idp) Type() string     { return p.kind }
func (p *idp) Scopes() []string { return slices.Clone(p.scopes) }

func (p *idp) MissingScopes(requested, granted []string) []string {
	return slices.DeleteFunc(slices.Clone(requested), func(s string) bool { return slices.Contains(granted, s) })
}

func (p *idp) AuthorizeURL(_ context.Context, r provider.AuthorizeRequest) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return "", p.err
	}
	p.asked = append(p.asked, r)
	return "https://idp.example/authorize?state=" + r.State, nil
}

func (p *idp) Denied(answer url.Values) *account.Failure {
	return &account.Failure{Meaning: account.Unlisted, Code: answer.Get("error"), Number: answer.Get("number"), Reads: "It said no."}
}

func (p *idp) Exchange(_ context.Context, r provider.ExchangeRequest) (account.Consent, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return account.Consent{}, p.err
	}
	p.proofs, p.known = append(p.proofs, r.ProveEmail), append(p.known, r.KnownIssuer)
	code, ok := p.codes[r.Code.Reveal()]
	delete(p.codes, r.Code.Reveal())
	if !ok || r.Verifier != code.request.Verifier || r.RedirectURI != code.request.RedirectURI {
		return account.Consent{}, &account.Failure{Meaning: account.GrantDead, Status: 400, Code: "invalid_grant", Reads: "The code is not good."}
	}
	if r.Nonce != code.request.Nonce {
		return account.Consent{}, &account.Failure{Meaning: account.Unlisted, Reads: "The ID token is not for this request."}
	}
	return code.consent(r.Scopes), nil
}

func (g granted) consent(scopes []string) account.Consent {
	return account.Consent{
		Answer:   account.Answer{AccessToken: secret.New("access"), RefreshToken: secret.New("refresh"), Life: time.Hour},
		Identity: g.who, Scopes: scopes, Missing: g.missing,
	}
}

func (p *idp) StartDevice(context.Context, []string) (account.Device, error) {
	if p.err != nil {
		return account.Device{}, p.err
	}
	return account.Device{
		DeviceCode: secret.New(strings.Repeat("d", 1800)), UserCode: "BCDF-GHJK", VerificationURI: "https://idp.example/device",
		Expires: beginning.Add(10 * time.Minute), Interval: 5 * time.Second,
	}, nil
}

func (p *idp) PollDevice(_ context.Context, r provider.DeviceRequest) (account.Consent, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) > 0 {
		err := p.pending[0]
		p.pending = p.pending[1:]
		return account.Consent{}, err
	}
	if r.DeviceCode.Reveal() != strings.Repeat("d", 1800) {
		return account.Consent{}, errors.New("another device")
	}
	return p.device.consent(r.Scopes), nil
}

// last is the newest request for consent.
func (p *idp) last() provider.AuthorizeRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[len(p.asked)-1]
}

// consent lets somebody consent to the newest request, and returns the answer.
func (p *idp) consent(who account.Identity, missing ...string) url.Values {
	request := p.last()
	p.mu.Lock()
	defer p.mu.Unlock()
	code := random(8)
	p.codes[code] = granted{request, who, missing}
	return url.Values{"code": {code}, "state": {request.State}}
}

// keeper is the accounts' keeper and remembers which links were used.
type keeper struct {
	mu        sync.Mutex
	grants    map[string]*account.Grant
	spent     map[string]time.Time
	answered  map[string]time.Time
	connected []account.Connection
	withdrawn map[string]uint64
	// err is what the next calls end with.
	grantErr, connectErr, spendErr, isSpentErr error
}

func (k *keeper) Grant(_ context.Context, id string) (*account.Grant, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.grantErr != nil {
		return nil, k.grantErr
	}
	g, ok := k.grants[id]
	if !ok {
		return nil, problem.New(problem.AccountNotFound, "none")
	}
	return g.Clone(), nil
}

func (k *keeper) Connect(_ context.Context, c account.Connection) (account.ConnectResult, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.connectErr != nil {
		return account.ConnectResult{}, k.connectErr
	}
	k.connected = append(k.connected, c)
	result := account.ConnectResult{State: account.Connected, Generation: 7}
	old, ok := k.grants[c.ID]
	result.New = !ok
	if ok && old.Subject != "" && old.Subject != c.Consent.Identity.Subject && !c.AnySubject {
		return account.ConnectResult{}, broker.ErrOtherSubject
	}
	if !c.Confirm.IsZero() {
		result.State = account.Pending
		return result, nil
	}
	k.grants[c.ID] = &account.Grant{
		ID: c.ID, Provider: c.Provider, User: c.User, Subject: c.Consent.Identity.Subject, Scopes: c.Consent.Scopes,
		Issuer: c.Consent.Identity.Issuer, RefreshToken: c.Consent.Answer.RefreshToken, State: account.Connected,
	}
	return result, nil
}

func (k *keeper) Withdraw(_ context.Context, id string, generation uint64) error {
	k.withdrawn[id] = generation
	return k.connectErr
}

func (k *keeper) Spend(_ context.Context, link string, until time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.spendErr != nil {
		return k.spendErr
	}
	spent := k.spent
	if strings.HasPrefix(link, answerMark) {
		spent = k.answered
	}
	if _, ok := spent[link]; ok {
		return store.ErrConflict
	}
	spent[link] = until
	return nil
}

func (k *keeper) Unspend(_ context.Context, link string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.spent, link)
	return nil
}

func (k *keeper) IsSpent(_ context.Context, link string) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.spent[link]
	return ok, k.isSpentErr
}

func (k *keeper) has(id string) *account.Grant {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.grants[id]
}

var beginning = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// The people of the tests.
var (
	alice = account.Identity{Subject: "sub-alice", Email: "alice@example.com", Proven: true, Name: "Alice"}
	bob   = account.Identity{Subject: "sub-bob", Email: "bob@example.com", Proven: true}
)

const redirectURI = "https://connect.example.com/oauth/callback"

// world is a service and all around it.
type world struct {
	*Service
	t         *testing.T
	clock     *clockwork.FakeClock
	idp       *idp
	keeper    *keeper
	discarded []account.Consent
	providers map[string]provider.Provider
}

// unattended is a provider that asks nobody.
type unattended struct{ provider.Provider }

func (unattended) Type() string { return provider.TypeGoogleServiceAccount }

func newWorld(t testing.TB) *world {
	t.Helper()
	keys, err := secret.CreateKeyset(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		clock:  clockwork.NewFakeClockAt(beginning),
		idp:    &idp{name: "google", kind: provider.TypeGoogle, scopes: []string{"https://mail.google.com/", "openid", "email"}, codes: map[string]granted{}},
		keeper: &keeper{grants: map[string]*account.Grant{}, spent: map[string]time.Time{}, answered: map[string]time.Time{}, withdrawn: map[string]uint64{}},
	}
	w.t, _ = t.(*testing.T)
	microsoft := &idp{name: "microsoft", kind: provider.TypeMicrosoft, scopes: []string{"Mail.Read", "openid", "profile", "offline_access"}, codes: map[string]granted{}}
	w.providers = map[string]provider.Provider{"google": w.idp, "microsoft": microsoft, "workspace": unattended{}}
	w.Service = New(Config{
		Provider: func(name string) (provider.Provider, bool) { p, ok := w.providers[name]; return p, ok },
		Accounts: w.keeper, Spent: w.keeper,
		Discard: func(_ provider.Provider, c account.Consent) { w.discarded = append(w.discarded, c) },
		Links:   keys.Sealer(secret.Links), States: keys.Sealer(secret.State), Clock: w.clock,
	})
	return w
}

// invite makes a link.
func (w *world) invite(l Link) string {
	w.t.Helper()
	if l.Provider == "" {
		l.Provider = "google"
	}
	sealed, err := w.Invite(w.t.Context(), l)
	if err != nil {
		w.t.Fatal(err)
	}
	return sealed
}

// begin opens a link and begins an attempt.
func (w *world) begin(sealed string) *Begun {
	w.t.Helper()
	l, err := w.Open(w.t.Context(), sealed)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := w.Begin(w.t.Context(), l, redirectURI)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// connect goes all the way with a new link.
func (w *world) connect(l Link, who account.Identity) (*Outcome, error) {
	w.t.Helper()
	b := w.begin(w.invite(l))
	return w.Finish(w.t.Context(), b.Attempt.Reveal(), w.idp.consent(who))
}

func (w *world) mustConnect(l Link, who account.Identity) *Outcome {
	w.t.Helper()
	o, err := w.connect(l, who)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// refusedAs fails the test unless err is a refusal for the reason.
func refusedAs(t *testing.T, err error, reason Reason) *Refusal {
	t.Helper()
	r, ok := errors.AsType[*Refusal](err)
	if !ok || r.Reason != reason {
		t.Fatalf("%v, want %s", err, reason)
	}
	if r.Reads == "" || r.Mend == "" {
		t.Errorf("%s is without words: %+v", reason, r)
	}
	return r
}

func copyOf(v url.Values) url.Values { return maps.Clone(v) }
