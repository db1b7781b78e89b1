package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// This file explores the life of one grant. From each state that was not seen
// before every event is tried, and within an event every way in which the
// store, the provider and the process may fail. What changes the grant is the
// broker itself; the model is only its surroundings: the clock, the store, the
// provider, and the memory that a crash takes away.

const (
	modelID      = "alice"
	modelDepth   = 3
	modelRim     = 3 // further steps in which nothing fails, to see where a state leads
	modelLife    = time.Hour
	modelGrace   = 3 * time.Minute
	modelMoments = 35 * time.Second // more than a wait that is counted in moments
)

// lifeState is all there is at one time. What its pointers and maps hold is
// never changed.
type lifeState struct {
	now time.Time

	// The store.
	stored  *account.Grant
	version uint64
	due     time.Time

	// The process; a crash empties it.
	known    *account.Grant
	used     int64
	renewing bool
	waiting  *unsavedGrant
	armed    map[renewal]time.Time

	// The provider.
	families map[int]lifeFamily
	newest   int // the newest consent's family

	// What the invariants remember: of the grant that is held, and of the
	// stored one while a new consent waits to be saved in its place.
	seen     lifeMemory
	replaced *lifeMemory
}

// lifeFamily is the refresh tokens of one consent, as the provider knows them.
type lifeFamily struct {
	current int
	spentAt map[int]time.Time
	revoked bool
}

// lifeMemory is what happened, as somebody knows who sees everything.
type lifeMemory struct {
	// received is the newest refresh token that reached the process and was
	// not lost by a crash.
	received string
	// unknown is set while nobody can know whether received is spent.
	unknown bool
	// durable is unset while the last answer is in memory only.
	durable bool
	// refused counts the definite refusals in a row, the last at refusedAt;
	// refusedKept is how many the store holds.
	refused, refusedKept     int
	refusedAt, refusedKeptAt time.Time
}

// A crash after a save is no other than one before what comes next.
var (
	lifeSaves   = []string{"saved", "save fails", "saved but told to fail", "crash before the save"}
	lesserSaves = []string{"saved", "crash before the save"} // where a failure tells nothing new
)

// lifeModel is the broker's surroundings during one event.
type lifeModel struct {
	*Broker
	rotation  account.Rotation
	audiences []string // the default one first

	s     lifeState
	prior lifeState
	// script says how each thing that may go one way or another goes; widths
	// is how many ways there were, names how they read.
	script, widths []int
	names          []string
	at             int

	crashed   bool
	saves     []string // how a save may go
	sent      bool     // a token request left
	replacing bool
	// connecting is the refresh token of a consent that is on its way to the
	// store.
	connecting string
	outside    *account.Grant // what another process wrote meanwhile
	overtaken  bool           // and it was a new consent
	definite   *account.Failure
	told       atomic.Int64
	worked     bool // a token was handed out that the provider honours
	smooth     bool // nothing failed
	broken     []string
}

func (m *lifeModel) violated(format string, args ...any) {
	m.broken = append(m.broken, fmt.Sprintf(format, args...))
}

// choose returns one of the ways, the first of which is that nothing fails.
func (m *lifeModel) choose(ways ...string) string {
	if m.at == len(m.script) {
		m.script, m.widths = append(m.script, 0), append(m.widths, 0)
	}
	m.widths[m.at] = len(ways)
	way := ways[m.script[m.at]]
	if m.script[m.at] != 0 {
		m.smooth = false
	}
	m.at++
	m.names = append(m.names, way)
	return way
}

// nextScript moves on to the next way through the event.
func (m *lifeModel) nextScript() bool {
	for n := len(m.script); n > 0; n-- {
		if m.script[n-1]++; m.script[n-1] < m.widths[n-1] {
			m.script, m.widths = m.script[:n], m.widths[:n]
			return true
		}
	}
	m.script, m.widths = nil, nil
	return false
}

// The clock.

type lifeClock struct {
	clockwork.Clock
	m *lifeModel
}

func (c lifeClock) Now() time.Time                  { return c.m.s.now }
func (c lifeClock) Since(t time.Time) time.Duration { return c.m.s.now.Sub(t) }

// The store.

var errModelStore = errors.New("the store fails")

func (m *lifeModel) Ready(context.Context) error {
	if m.crashed || m.choose("ready", "store not ready") != "ready" {
		return errModelStore
	}
	return nil
}

func (m *lifeModel) Grant(context.Context, string) (*account.Grant, uint64, error) {
	if m.crashed {
		return nil, 0, errModelStore
	}
	return m.s.stored.Clone(), m.s.version, nil
}

func (m *lifeModel) Save(_ context.Context, _ *store.Lease, g *account.Grant, version uint64, due, _ time.Time) (uint64, error) {
	if m.crashed {
		return 0, errModelStore
	}
	if version != m.s.version {
		return 0, store.ErrConflict
	}
	if m.connecting != "" && g.RefreshToken.Reveal() == m.connecting {
		before := m.s.seen
		m.s.replaced, m.s.seen, m.connecting = &before, lifeMemory{received: m.connecting}, ""
	}
	way := m.choose(m.saves...)
	m.crashed = strings.HasPrefix(way, "crash")
	if way == "save fails" || m.crashed {
		return 0, errModelStore
	}
	m.checkWrite(m.s.stored, g)
	m.s.stored, m.s.due = g.Clone(), due
	m.s.version++
	m.s.seen.durable = true
	m.s.seen.refusedKept, m.s.seen.refusedKeptAt = m.s.seen.refused, m.s.seen.refusedAt
	m.s.replaced = nil
	if way != "saved" {
		return 0, errModelStore
	}
	return m.s.version, nil
}

func (m *lifeModel) Remove(context.Context, string, uint64) error { return errModelStore }

func (m *lifeModel) Unresolved(context.Context) ([]string, error) {
	if m.s.stored.Intent == nil {
		return nil, nil
	}
	return []string{modelID}, nil
}

// One process has every lease. What others do is in the tests of nodes.
func (m *lifeModel) Acquire(context.Context, string, string, time.Duration) (store.Lease, error) {
	if m.crashed {
		return store.Lease{}, errModelStore
	}
	return store.Lease{}, nil
}

func (m *lifeModel) Renew(_ context.Context, l store.Lease, _ time.Duration) (store.Lease, error) {
	return l, nil
}
func (m *lifeModel) Release(context.Context, store.Lease) error { return nil }

func (m *lifeModel) SweepSpent(context.Context, time.Time) error { return nil }

func (m *lifeModel) Due(_ context.Context, at time.Time, f func(string) bool) error {
	if !m.s.due.IsZero() && !m.s.due.After(at) {
		f(modelID)
	}
	return nil
}

// checkWrite looks at what a write takes away.
func (m *lifeModel) checkWrite(old, next *account.Grant) {
	if next.RefreshToken.Reveal() != m.s.seen.received {
		m.violated("refresh token %s was written, and %s is the newest", next.RefreshToken.Reveal(), m.s.seen.received)
	}
	if next.Generation < old.Generation || next.Generation == old.Generation && next.Attempts < old.Attempts {
		m.violated("an older grant was written over a newer one")
	}
	if next.Name != old.Name || next.ClientID != old.ClientID || next.Provider != old.Provider || !slices.Equal(next.Scopes, old.Scopes) {
		m.violated("a write took something away that was stored")
	}
	if next.State == account.AuthenticationError && m.s.seen.refused == 0 {
		m.violated("the account was called dead, and the provider had not refused the grant")
	}
	if m.s.replaced != nil {
		return
	}
	for i := range old.Access {
		t := &old.Access[i]
		if kept := next.FindAccess(t.Audience, t.Requested); t.Expires.After(m.s.now) && (kept == nil || kept.Number < t.Number) {
			m.violated("a write took a living access token away")
		}
	}
}

// The provider.

func (m *lifeModel) Name() string                                { return "fake" }
func (m *lifeModel) ClientID() string                            { return "client" }
func (m *lifeModel) DefaultAudience() string                     { return m.audiences[0] }
func (m *lifeModel) TokenEndpoint(string) string                 { return "https://fake" }
func (m *lifeModel) Rotation() account.Rotation                  { return m.rotation }
func (m *lifeModel) IdleLife() time.Duration                     { return 0 }
func (m *lifeModel) Revoke(context.Context, secret.String) error { return nil }

// Refresh is a token request. The ways in which it can go are tried at each.
func (m *lifeModel) Refresh(_ context.Context, r account.RefreshRequest) (account.Answer, error) {
	lost := &account.Failure{Meaning: account.ProviderDown, Lost: true}
	if m.crashed {
		return account.Answer{}, lost
	}
	token := r.RefreshToken.Reveal()
	m.checkRequest(token, r.Audience)
	before := m.s.seen
	m.sent = true
	m.s.seen.durable = false
	if m.replacing {
		m.s.replaced = &before
		m.s.seen = before
	}
	ways := []string{
		"answered", "lost before the provider saw it", "lost after the provider acted", "rotated, but the rest makes no sense",
		"invalid_grant", "unlisted", "crash before the provider saw it", "crash after the provider acted",
	}
	if !m.replacing {
		ways = append(ways, "invalid_client", "down", "audience refused", "grant throttled", "new consent meanwhile", "disabled meanwhile")
	}
	way := m.choose(ways...)
	if i := slices.Index(ways, way); i >= 8 {
		m.saves = lesserSaves
	}
	switch way {
	case "lost before the provider saw it", "crash before the provider saw it":
		m.crashed = strings.HasPrefix(way, "crash")
		m.s.seen.unknown = m.s.seen.unknown || !m.replacing
		return account.Answer{}, lost
	case "invalid_grant":
		return account.Answer{}, m.refuse()
	case "down":
		return account.Answer{}, &account.Failure{Meaning: account.ProviderDown, Status: 502}
	case "invalid_client":
		return account.Answer{}, &account.Failure{Meaning: account.ClientMisconfigured, Status: 401, Code: way}
	case "unlisted":
		return account.Answer{}, &account.Failure{Meaning: account.Unlisted, Status: 400, Code: "odd"}
	case "audience refused":
		return account.Answer{}, &account.Failure{Meaning: account.AudienceRefused, Status: 400, Code: "invalid_scope"}
	case "grant throttled":
		return account.Answer{}, &account.Failure{Meaning: account.Throttled, Status: 400}
	case "new consent meanwhile":
		defer m.consentOutside()
	case "disabled meanwhile":
		defer m.disableOutside()
	}
	answer, ok := m.act(token, r.Audience)
	switch {
	case way == "lost after the provider acted" || way == "crash after the provider acted":
		m.crashed = strings.HasPrefix(way, "crash")
		m.s.seen.unknown = m.s.seen.unknown || !m.replacing
		return account.Answer{}, lost
	case !ok:
		return account.Answer{}, m.refuse()
	}
	if !m.replacing {
		m.s.seen.unknown = false
		if !answer.RefreshToken.IsZero() {
			m.s.seen.received = answer.RefreshToken.Reveal()
		}
	}
	if way == "rotated, but the rest makes no sense" {
		answer.AccessToken = secret.String{}
		return answer, &account.Failure{Meaning: account.ProviderDown, Status: 200}
	}
	m.s.seen.refused = 0
	if m.replacing {
		m.s.seen = lifeMemory{received: token}
		if !answer.RefreshToken.IsZero() {
			m.s.seen.received = answer.RefreshToken.Reveal()
		}
	}
	return answer, nil
}

// checkRequest looks at whether a request may be sent now.
func (m *lifeModel) checkRequest(token, audience string) {
	if m.replacing {
		return // a person's, with a refresh token that is not stored yet
	}
	g := m.s.stored
	_, waits := m.unsaved.get(modelID)
	if g.Intent == nil || g.Intent.Number != g.Attempts || g.Intent.Audience != audience || waits {
		m.violated("a request was sent without a durable intent: %+v", g.Intent)
	}
	if token != m.s.seen.received {
		m.violated("refresh token %s was sent, and %s is the newest", token, m.s.seen.received)
	}
	switch seen := m.s.seen; {
	case seen.refused >= 2:
		m.violated("a grant was asked for that the provider had called dead twice")
	case seen.refused == 1 && m.s.now.Before(seen.refusedAt.Add(doubt)):
		m.violated("a grant that was called dead was asked for too soon")
	}
	if g.State == account.Disabled {
		m.violated("a request was sent for a disabled account")
	}
	f, n := m.family(token)
	if m.rotation.Kind != account.RotationSingleUse || f.revoked || n == f.current || m.s.seen.refused > 0 {
		return // not spent, or the one more try that a refused grant is owed
	}
	for i := range g.Access {
		if t := &g.Access[i]; t.Expires.After(m.s.now) && !m.refusedByAPI(t) {
			m.violated("a spent refresh token was sent, and the access token for %q still lives", t.Audience)
		}
	}
}

// refusedByAPI reports whether this event is about an API's refusal of t.
func (m *lifeModel) refusedByAPI(t *account.AccessToken) bool {
	return t.Audience == m.audiences[0] && len(m.names) > 0 && m.names[0] == "call with a refused token"
}

func parseModelToken(token string) (family, n int) {
	a, b, _ := strings.Cut(token, "#")
	family, _ = strconv.Atoi(a)
	n, _ = strconv.Atoi(b)
	return family, n
}

func (m *lifeModel) family(token string) (lifeFamily, int) {
	family, n := parseModelToken(token)
	return m.s.families[family], n
}

func (m *lifeModel) setFamily(family int, f lifeFamily) {
	m.s.families = maps.Clone(m.s.families)
	m.s.families[family] = f
}

// honours reports whether the provider would answer a request with the token.
func (m *lifeModel) honours(token string) bool {
	f, n := m.family(token)
	switch {
	case f.revoked || f.current == 0:
		return false
	case n == f.current || m.rotation.Kind == account.RotationKeepsOld:
		return true
	}
	return m.rotation.Kind == account.RotationGrace && !m.s.now.After(f.spentAt[n].Add(modelGrace))
}

// act answers a request as the rotation says.
func (m *lifeModel) act(token, audience string) (account.Answer, bool) {
	family, n := parseModelToken(token)
	f := m.s.families[family]
	if !m.honours(token) {
		f.revoked = true // a replay ends the family
		m.setFamily(family, f)
		return account.Answer{}, false
	}
	answer := account.Answer{AccessToken: secret.New("at " + token), Life: modelLife}
	if m.rotation.Kind != account.RotationNone {
		f.spentAt = maps.Clone(f.spentAt)
		if f.spentAt == nil {
			f.spentAt = make(map[int]time.Time)
		}
		if _, again := f.spentAt[n]; !again {
			f.spentAt[n] = m.s.now
		}
		f.current++
		m.setFamily(family, f)
		answer.RefreshToken = secret.New(fmt.Sprintf("%d#%d", family, f.current))
	}
	return answer, true
}

// refuse is the provider's invalid_grant.
func (m *lifeModel) refuse() *account.Failure {
	f := &account.Failure{Meaning: account.GrantDead, Status: 400, Code: "invalid_grant"}
	if !m.replacing {
		m.s.seen.unknown = false
		m.s.seen.refused++
		m.s.seen.refusedAt = m.s.now
		m.definite = f
	}
	return f
}

// consent is a person's: a new family at the provider.
func (m *lifeModel) consent() secret.String {
	m.s.newest++
	m.setFamily(m.s.newest, lifeFamily{current: 1})
	return secret.New(fmt.Sprintf("%d#1", m.s.newest))
}

// consentOutside is a consent that another process wrote.
func (m *lifeModel) consentOutside() {
	g := m.s.stored.Clone()
	g.RefreshToken = m.consent()
	g.Generation++
	g.Attempts++
	g.Intent, g.Failures, g.State = nil, nil, account.Connected
	g.Access = []account.AccessToken{{
		Value: secret.New("at " + g.RefreshToken.Reveal()), Number: g.Attempts, Audience: m.audiences[0],
		Issued: m.s.now, Expires: m.s.now.Add(modelLife),
	}}
	m.s.stored, m.outside, m.overtaken = g, g, true
	m.s.version++
	m.s.seen = lifeMemory{received: g.RefreshToken.Reveal(), durable: true}
}

// disableOutside is an operator's doing in another process.
func (m *lifeModel) disableOutside() {
	g := m.s.stored.Clone()
	g.State = account.Disabled
	m.s.stored, m.outside = g, g
	m.s.version++
}

// The observer.

func (m *lifeModel) Refreshed(string, string, time.Duration) {}
func (m *lifeModel) Skewed(string, time.Duration)            {}
func (m *lifeModel) Happened(e Event) {
	if e.Name == AccountFailed {
		m.told.Add(1)
	}
}

// The process.

func newLifeModel(t *testing.T, kind account.RotationKind, audiences ...string) *lifeModel {
	m := &lifeModel{rotation: account.Rotation{Kind: kind, Grace: modelGrace}, audiences: audiences}
	log := slog.New(slog.DiscardHandler)
	shared := NewShared(m, "model", lifeClock{clockwork.NewRealClock(), m}, log)
	m.Broker = New(shared, []Provider{m}, testSettings, m, log)
	t.Cleanup(func() { shared.cache.StopAllGoroutines() })
	return m
}

// begin is the state after an account was registered.
func (m *lifeModel) begin() lifeState {
	m.s = lifeState{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), version: 1, families: make(map[int]lifeFamily)}
	token := m.consent()
	g, _, err := m.grant(Registration{ID: modelID, Provider: "fake", Name: "Alice", RefreshToken: token})
	if err != nil {
		panic(err)
	}
	m.s.stored, m.s.due = g, m.due(g)
	m.s.seen = lifeMemory{received: token.Reveal(), durable: true}
	return m.s
}

// load makes the broker's memory that of the state.
func (m *lifeModel) load(s lifeState) {
	m.s, m.prior = s, s
	m.at, m.names = 0, m.names[:0]
	m.saves = lifeSaves
	m.crashed, m.sent, m.replacing, m.worked, m.smooth = false, false, false, false, true
	m.connecting = ""
	m.overtaken, m.outside, m.definite, m.broken = false, nil, nil, nil
	m.told.Store(0)

	m.cache.Invalidate(modelID)
	if s.known != nil {
		e := m.remember(s.known, s.version)
		e.used.Store(s.used)
		e.renewing.Store(s.renewing)
	}
	m.unsaved.grants = nil
	if s.waiting != nil {
		m.unsaved.put(modelID, *s.waiting)
	}
	m.renewal = newSchedule()
	for r, at := range s.armed {
		m.renewal.set(r, at)
	}
	m.endpoints = make(map[string]*endpoint)
	m.client.clients = nil
	m.insist.limiters = nil
}

// keep takes the broker's memory back into the state.
func (m *lifeModel) keep() {
	s := &m.s
	s.known, s.used, s.renewing, s.waiting = nil, 0, false, nil
	if e, ok := m.cache.GetEntryQuietly(modelID); ok {
		s.known, s.used, s.renewing = e.Value.grant, e.Value.used.Load(), e.Value.renewing.Load()
	}
	if u, ok := m.unsaved.get(modelID); ok {
		s.waiting = &u
	}
	s.armed = make(map[renewal]time.Time, len(m.renewal.items))
	for r, item := range m.renewal.items {
		s.armed[r] = item.at
	}
}

// crash takes the process's memory away and starts another process, which
// takes up what the gone one left.
func (m *lifeModel) crash() {
	s := &m.s
	if s.replaced != nil {
		s.seen, s.replaced = *s.replaced, nil // the new grant is gone with the process
	}
	if !s.seen.durable {
		s.seen.unknown, s.seen.durable = true, true
	}
	s.seen.refused, s.seen.refusedAt = s.seen.refusedKept, s.seen.refusedKeptAt
	s.seen.received = s.stored.RefreshToken.Reveal()
	s.known, s.used, s.renewing, s.waiting = nil, 0, false, nil
	s.armed = nil
	after, names, sent := m.s, m.names, m.sent
	broken, prior := m.broken, m.prior
	m.load(after)
	m.names, m.sent, m.broken, m.prior = names, sent, broken, prior
	m.resume(context.Background())
	m.keep()
}

// lifeEvent is something that happens.
type lifeEvent struct {
	name string
	// person is set for what only a person does, aside for what happens soon
	// whether or not somebody asks for a token.
	person, aside bool
	run           func(*lifeModel)
}

// call is a caller's request for a token.
func (m *lifeModel) call(audience string, o Options) {
	token, err := m.Token(context.Background(), modelID, audience, o)
	m.work.Wait()
	if m.crashed {
		return
	}
	if m.definite != nil && m.outside == nil && err != nil && problem.From(err).Code != problem.OAuthRenewError {
		m.violated("a caller was told %v of a grant that the provider had just ended", err)
	}
	if err != nil {
		return
	}
	held := m.held()
	t := held.FindAccess(audience, "")
	if audience == "" {
		t = held.FindAccess(m.audiences[0], "")
	}
	switch {
	case t == nil || t.Value.Reveal() != token.Value.Reveal():
		m.violated("a token was handed out that is neither durable nor waits to be saved")
	case !token.Expires.After(m.s.now):
		m.violated("a token was handed out that had ended")
	case o.NotNumber != 0 && token.Number <= o.NotNumber:
		m.violated("the token was handed out that the API refused")
	}
	f, _ := m.family(strings.TrimPrefix(token.Value.Reveal(), "at "))
	m.worked = !f.revoked
}

// connect is a person's consent that came back from the provider.
func (m *lifeModel) connect() {
	token := m.consent()
	m.connecting = token.Reveal()
	_, _ = m.Connect(context.Background(), account.Connection{ID: modelID, Provider: "fake", AnySubject: true, Consent: account.Consent{
		Answer: account.Answer{AccessToken: secret.New("at " + token.Reveal()), RefreshToken: token, Life: modelLife}, Asked: m.s.now,
	}})
}

// held is the grant as it stands: durable, or waiting to be saved.
func (m *lifeModel) held() *account.Grant {
	if u, ok := m.unsaved.get(modelID); ok {
		return u.grant
	}
	return m.s.stored
}

// lifeEvents are those that can happen in the state.
func (m *lifeModel) lifeEvents(s lifeState) []lifeEvent {
	var events []lifeEvent
	for _, audience := range m.audiences {
		events = append(events, lifeEvent{name: "call for " + strconv.Quote(audience), run: func(m *lifeModel) { m.call(audience, Options{}) }})
	}
	if g := s.known; g != nil {
		if t := g.FindAccess(m.audiences[0], ""); t != nil && left(t, s.now) > 0 {
			number := t.Number
			events = append(events, lifeEvent{name: "call with a refused token", run: func(m *lifeModel) { m.call("", Options{NotNumber: number}) }})
		}
	}
	for _, at := range s.armed {
		if !at.After(s.now) {
			events = append(events, lifeEvent{name: "renewals in the background", aside: true, run: func(m *lifeModel) {
				for _, r := range m.renewal.due(m.s.now) {
					m.renew(r)
				}
			}})
			break
		}
	}
	if !s.due.IsZero() && !s.due.After(s.now) {
		events = append(events, lifeEvent{name: "accounts that are due", aside: true, run: func(m *lifeModel) { m.attend(context.Background()) }})
	}
	if s.waiting != nil {
		events = append(events, lifeEvent{name: "saving what waits", aside: true, run: func(m *lifeModel) { m.saveUnsaved(context.Background()) }})
	}
	events = append(events,
		lifeEvent{name: "crash", run: func(m *lifeModel) { m.crashed = true }},
		lifeEvent{name: "disable", person: true, run: func(m *lifeModel) { _ = m.Disable(context.Background(), modelID) }},
		lifeEvent{name: "enable", person: true, run: func(m *lifeModel) { _ = m.Enable(context.Background(), modelID) }},
		lifeEvent{name: "consent", person: true, run: func(m *lifeModel) {
			m.replacing = true
			_ = m.Replace(context.Background(), Registration{ID: modelID, Provider: "fake", RefreshToken: m.consent()})
		}},
		lifeEvent{name: "consent in the browser", person: true, run: func(m *lifeModel) { m.connect() }},
	)
	if s.waiting == nil {
		events = append(events, lifeEvent{name: "the provider revokes", run: func(m *lifeModel) {
			family, _ := parseModelToken(m.s.seen.received)
			f := m.s.families[family]
			f.revoked = true
			m.setFamily(family, f)
		}})
	}
	for name, at := range m.landmarks(s) {
		events = append(events, lifeEvent{name: name, aside: name == "moments pass", run: func(m *lifeModel) { m.s.now = at }})
	}
	slices.SortFunc(events, func(a, b lifeEvent) int { return strings.Compare(a.name, b.name) })
	return events
}

// landmarks are the times ahead at which something becomes different.
func (m *lifeModel) landmarks(s lifeState) map[string]time.Time {
	at := make(map[string]time.Time)
	mark := func(name string, t time.Time) {
		if t.After(s.now) {
			if t.Sub(s.now) <= modelMoments {
				name = "moments pass"
			}
			at[name] = later(at[name], t)
		}
	}
	for r, t := range s.armed {
		mark("renewal due for "+strconv.Quote(r.audience), t)
	}
	mark("keepalive due", s.due)
	g := s.stored
	if s.waiting != nil {
		g = s.waiting.grant
	}
	for _, f := range g.Failures {
		mark("retry of "+strconv.Quote(f.Audience), f.Retry)
	}
	for i := range g.Access {
		t := &g.Access[i]
		mark("token short for "+strconv.Quote(t.Audience), t.Expires.Add(-DefaultMinTTL))
		at[fmt.Sprintf("token ends for %q", t.Audience)] = t.Expires
		if !t.Expires.After(s.now) {
			delete(at, fmt.Sprintf("token ends for %q", t.Audience))
		}
	}
	f, n := m.familyIn(s, g.RefreshToken.Reveal())
	if spent, ok := f.spentAt[n]; ok && m.rotation.Kind == account.RotationGrace {
		mark("grace passes", spent.Add(modelGrace+time.Second))
	}
	return at
}

func (m *lifeModel) familyIn(s lifeState, token string) (lifeFamily, int) {
	family, n := parseModelToken(token)
	return s.families[family], n
}

// run lets the event happen in the state, the way the script says.
func (m *lifeModel) run(s lifeState, e lifeEvent) {
	m.load(s)
	m.names = append(m.names, e.name)
	e.run(m)
	m.work.Wait()
	if m.crashed {
		m.smooth = false
		m.crash()
	} else {
		m.keep()
	}
	m.check()
	m.forget()
}

// check looks at the invariants of every state, after an event.
func (m *lifeModel) check() {
	s := &m.s
	held := s.stored
	if s.waiting != nil {
		held = s.waiting.grant
	}
	if held.RefreshToken.Reveal() != s.seen.received {
		m.violated("refresh token %s is held, and %s is the newest", held.RefreshToken.Reveal(), s.seen.received)
	}
	if s.waiting == nil {
		s.seen.durable = true // nothing was to be saved, or it was superseded
		s.replaced = nil
	}
	if s.seen.unknown && held.Intent == nil {
		m.violated("the outcome of a request is unknown, and no intent says so")
	}
	if s.known != nil && s.known.RefreshToken.Reveal() != held.RefreshToken.Reveal() {
		m.violated("memory knows refresh token %s, and %s is held", s.known.RefreshToken.Reveal(), held.RefreshToken.Reveal())
	}
	if m.overtaken && !sameGrant(s.stored, m.outside) {
		m.violated("the result of an older generation changed a newer grant")
	}
	if m.outside != nil && s.stored.State != m.outside.State {
		m.violated("a result undid what an operator had done")
	}
	before := m.prior.stored
	if m.prior.waiting != nil {
		before = m.prior.waiting.grant
	}
	want := int64(0)
	if m.definite != nil && !m.overtaken && before.State != account.AuthenticationError {
		want = 1
	}
	if got := m.told.Load(); got != want && !slices.ContainsFunc(m.names, func(n string) bool { return strings.HasPrefix(n, "crash") }) {
		m.violated("the end of the grant was told %d times, want %d", got, want)
	}
}

// sameGrant reports whether two records differ in nothing but when they were
// written.
func sameGrant(a, b *account.Grant) bool {
	a, b = a.Clone(), b.Clone()
	a.Updated, b.Updated = time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

// forget drops families that nobody holds a refresh token of, and the parts of
// waits that are drawn by lot.
func (m *lifeModel) forget() {
	s := &m.s
	kept := make(map[int]lifeFamily)
	for _, token := range []string{s.stored.RefreshToken.Reveal(), s.seen.received} {
		family, n := parseModelToken(token)
		f := s.families[family]
		if at, ok := f.spentAt[n]; ok {
			f.spentAt = map[int]time.Time{n: at}
		} else {
			f.spentAt = nil
		}
		kept[family] = f
	}
	s.families = kept
}

// key tells states apart: what is ahead of its time from what is past it, and
// never by how much.
func (m *lifeModel) key(s lifeState) string {
	var b strings.Builder
	if s.waiting == nil {
		m.writeGrant(&b, s, s.stored)
	} else {
		fmt.Fprintf(&b, "stored %t %t, waiting ", s.replaced != nil, s.stored.Intent != nil)
		m.writeGrant(&b, s, s.waiting.grant)
		fmt.Fprintf(&b, " durable %t refused %d", s.seen.durable, s.seen.refusedKept)
	}
	for _, audience := range m.audiences {
		if at, ok := s.armed[renewal{id: modelID, audience: audience}]; ok && s.waiting == nil {
			fmt.Fprintf(&b, " armed %q %s", audience, class(at, s.now))
		}
	}
	if s.waiting == nil {
		fmt.Fprintf(&b, " due %s", class(s.due, s.now))
	}
	f, n := m.familyIn(s, s.seen.received)
	fmt.Fprintf(&b, " revoked %t spent %t", f.revoked, n != f.current)
	if m.rotation.Kind == account.RotationGrace && n != f.current {
		fmt.Fprintf(&b, " forgiven %t", !s.now.After(f.spentAt[n].Add(modelGrace)))
	}
	fmt.Fprintf(&b, " unknown %t refused %d", s.seen.unknown, s.seen.refused)
	return b.String()
}

func class(at, now time.Time) string {
	switch {
	case at.IsZero():
		return "never"
	case at.After(now):
		return "ahead"
	}
	return "past"
}

func (m *lifeModel) writeGrant(b *strings.Builder, s lifeState, g *account.Grant) {
	b.WriteString(string(g.State))
	if g.Intent != nil {
		fmt.Fprintf(b, " intent %t %q", g.Intent.Lost, g.Intent.Audience)
	}
	for i := range g.Access {
		t := &g.Access[i]
		switch left := left(t, s.now); {
		case left > DefaultMinTTL:
			fmt.Fprintf(b, " living %q", t.Audience)
		case left > 0:
			fmt.Fprintf(b, " short %q", t.Audience)
		}
	}
	for i := range g.Failures {
		f := &g.Failures[i]
		if f.Meaning == account.GrantDead {
			b.WriteString(" dead")
		}
		fmt.Fprintf(b, " %q %s", f.Audience, class(f.Retry, s.now))
	}
}

// lifeStep is one way from a state to another.
type lifeStep struct {
	from, to              int
	person, aside, worked bool
	smooth                bool
}

// lifeGraph is what was explored.
type lifeGraph struct {
	states []lifeState
	depth  []int
	parent []int
	how    []string
	steps  []lifeStep
}

// path is how the state was come to.
func (g *lifeGraph) path(i int) string {
	var lines []string
	for ; i > 0; i = g.parent[i] {
		lines = append(lines, g.how[i])
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n\t")
}

// explore tries every event in every state up to the depth.
func (m *lifeModel) explore(t *testing.T, depth int) *lifeGraph {
	begin := m.begin()
	g := &lifeGraph{states: []lifeState{begin}, depth: []int{0}, parent: []int{-1}, how: []string{""}}
	seen := map[string]int{m.key(begin): 0}
	for from := 0; from < len(g.states); from++ {
		if g.depth[from] == depth+modelRim {
			continue
		}
		for _, e := range m.lifeEvents(g.states[from]) {
			for more := true; more; more = g.depth[from] < depth && m.nextScript() {
				if g.depth[from] >= depth {
					m.script, m.widths = nil, nil
				}
				m.run(g.states[from], e)
				if m.broken != nil {
					t.Fatalf("%s\nafter\n\t%s\n\t%s", strings.Join(m.broken, "\n"), g.path(from), strings.Join(m.names, ", "))
				}
				if g.depth[from] >= depth && !m.smooth {
					continue // from the rim on, nothing fails any more
				}
				key := m.key(m.s)
				to, known := seen[key]
				if !known {
					to = len(g.states)
					seen[key] = to
					g.states, g.depth, g.parent = append(g.states, m.s), append(g.depth, g.depth[from]+1), append(g.parent, from)
					g.how = append(g.how, strings.Join(m.names, ", "))
				}
				g.steps = append(g.steps, lifeStep{from: from, to: to, person: e.person, aside: e.aside, worked: m.worked, smooth: m.smooth})
			}
		}
	}
	return g
}

// dead ends returns the states that want and from which no way of the steps
// that may be gone leads to one that is a goal.
func (g *lifeGraph) deadEnds(wants func(lifeState) bool, may, goal func(lifeStep) bool) []int {
	back := make([][]int, len(g.states))
	good := make([]bool, len(g.states))
	var queue []int
	for _, s := range g.steps {
		switch {
		case !may(s):
		case goal(s):
			if !good[s.from] {
				good[s.from] = true
				queue = append(queue, s.from)
			}
		default:
			back[s.to] = append(back[s.to], s.from)
		}
	}
	for len(queue) > 0 {
		to := queue[0]
		queue = queue[1:]
		for _, from := range back[to] {
			if !good[from] {
				good[from] = true
				queue = append(queue, from)
			}
		}
	}
	var ends []int
	for i, s := range g.states {
		// Of a state near the rim too little was explored.
		if !good[i] && g.depth[i] <= modelDepth && wants(s) {
			ends = append(ends, i)
		}
	}
	return ends
}

// heldIn is the grant as it stands in the state.
func heldIn(s lifeState) *account.Grant {
	if s.waiting != nil {
		return s.waiting.grant
	}
	return s.stored
}

// served reports whether the state's account is to serve tokens: the provider
// honours what is held, and nobody switched it off or was refused twice.
func (m *lifeModel) served(s lifeState) bool {
	m.s = s
	g := heldIn(s)
	if f, n := m.family(g.RefreshToken.Reveal()); m.rotation.Kind == account.RotationGrace && s.seen.refused > 0 && n != f.current {
		return false // the one more try comes when the grace is over
	}
	return serves(g.State) == nil && m.honours(g.RefreshToken.Reveal()) && s.seen.refused < 2
}

func TestLifeOfAGrant(t *testing.T) {
	t.Parallel()
	for _, kind := range []account.RotationKind{account.RotationNone, account.RotationKeepsOld, account.RotationSingleUse, account.RotationGrace} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			m := newLifeModel(t, kind, "")
			g := m.explore(t, modelDepth)
			t.Logf("%d states, %d transitions", len(g.states), len(g.steps))

			for _, i := range g.deadEnds(m.served,
				func(s lifeStep) bool { return !s.person },
				func(s lifeStep) bool { return s.worked },
			) {
				t.Fatalf("without a person no token comes any more after\n\t%s\n%s", g.path(i), m.key(g.states[i]))
			}
			for _, i := range g.deadEnds(
				func(s lifeState) bool {
					return m.served(s) && s.waiting == nil && s.seen.unknown && !slices.ContainsFunc(heldIn(s).Failures, func(f account.Failed) bool { return s.now.Before(f.Retry) }) &&
						(kind != account.RotationSingleUse || lastExpiry(heldIn(s), need{}).Before(s.now))
				},
				func(s lifeStep) bool { return s.aside },
				func(s lifeStep) bool { return s.smooth && !g.states[s.to].seen.unknown },
			) {
				t.Fatalf("unless somebody calls, an unknown outcome stays so after\n\t%s\n%s", g.path(i), m.key(g.states[i]))
			}
		})
	}
}
