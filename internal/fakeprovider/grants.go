package fakeprovider

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Grant is what a resource owner gave to a client.
type Grant struct {
	// ID names the grant at the control interface. Default: g1, g2, …
	ID string `json:"id"`
	// Client is the client's ID. Default: that of [DefaultClient].
	Client string `json:"client_id"`
	// Subject and Email are the resource owner's. Default: the grant's ID, and
	// the subject at example.com.
	Subject string `json:"subject"`
	Email   string `json:"email"`
	// Scope is a space-separated list of scopes.
	Scope string `json:"scope"`
	// RefreshToken is the first refresh token. Default: a random one.
	RefreshToken string `json:"refresh_token,omitempty"`
}

// GrantState is a grant as it stands.
type GrantState struct {
	// Grant holds in RefreshToken the current refresh token, if values were
	// asked for.
	Grant
	// RefreshTokenNumber counts this grant's refresh tokens from 1; it is the
	// current one's, or 0 where there is none.
	RefreshTokenNumber int `json:"refresh_token_number"`
	// AccessTokenNumber counts access tokens from 1. It is that of the newest
	// that is live, or 0.
	AccessTokenNumber int `json:"access_token_number"`
	// AccessTokens are the live ones, oldest first.
	AccessTokens []AccessTokenState `json:"access_tokens"`
	// Dead says that the grant has ended, and Cause why: killed, revoked,
	// reuse_detected or code_reused.
	Dead     bool     `json:"dead"`
	Cause    string   `json:"cause,omitempty"`
	Counters Counters `json:"counters"`
}

// AccessTokenState is a live access token.
type AccessTokenState struct {
	Number   int       `json:"number"`
	Audience string    `json:"audience,omitempty"`
	Scope    string    `json:"scope"`
	Expires  time.Time `json:"expires"`
	// Value is empty unless values were asked for.
	Value string `json:"value,omitempty"`
}

// The causes for which a grant is dead.
const (
	causeKilled  = "killed"
	causeRevoked = "revoked"
	causeReuse   = "reuse_detected"
	// causeCodeReuse: its authorization code came back (RFC 6749 section 4.1.2).
	causeCodeReuse = "code_reused"
)

type grant struct {
	Grant
	// person is who consented; nil where nobody did. public is set where the
	// client did not authenticate then, machine where its own credentials are
	// all there is.
	person   *Person
	public   bool
	machine  bool
	cause    string // empty while the grant lives
	refresh  *refreshToken
	access   []*accessToken // those that may be live, oldest first
	issued   int            // access tokens ever
	counters Counters
}

// refreshToken remembers, once spent, what it was exchanged for.
type refreshToken struct {
	grant     *grant
	number    int
	value     string
	spent     time.Time
	successor *refreshToken
	answers   map[string]*accessToken // by audience and scope; for grace
}

type accessToken struct {
	grant    *grant
	number   int
	value    string
	audience string
	scopes   []string
	expires  time.Time
	revoked  bool
}

func (t *accessToken) live(now time.Time) bool {
	return t.grant.cause == "" && !t.revoked && now.Before(t.expires)
}

// CreateGrant adds a grant and returns it with its first refresh token. It
// refuses an ID or a refresh token that exists and a client that does not.
func (s *Server) CreateGrant(g Grant) (GrantState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.ID == "" {
		g.ID = s.newGrantID()
	}
	if strings.Contains(g.ID, "/") {
		return GrantState{}, errors.New("grant ID contains a slash")
	}
	if s.grants[g.ID] != nil {
		return GrantState{}, fmt.Errorf("grant %q exists", g.ID)
	}
	if g.Client == "" {
		g.Client = DefaultClient.ID
	}
	if _, known := s.clients[g.Client]; !known {
		return GrantState{}, fmt.Errorf("client %q is not registered", g.Client)
	}
	if s.refresh[g.RefreshToken] != nil {
		return GrantState{}, errors.New("refresh token exists")
	}
	if g.Subject == "" {
		g.Subject = g.ID
	}
	if g.Email == "" {
		g.Email = g.Subject + "@example.com"
	}
	created := &grant{Grant: g}
	s.addRefreshToken(created, g.RefreshToken)
	s.keepGrant(created)
	return s.stateOf(created, true), nil
}

// newGrantID is the first free one. The caller holds mu.
func (s *Server) newGrantID() string {
	for n := len(s.order) + 1; ; n++ {
		if id := "g" + strconv.Itoa(n); s.grants[id] == nil {
			return id
		}
	}
}

func (s *Server) keepGrant(g *grant) {
	s.grants[g.ID] = g
	s.order = append(s.order, g.ID)
}

// Grants returns all grants by creation, with token values if values is set.
func (s *Server) Grants(values bool) []GrantState {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make([]GrantState, 0, len(s.order))
	for _, id := range s.order {
		states = append(states, s.stateOf(s.grants[id], values))
	}
	return states
}

// Grant returns the grant named id, with token values if values is set.
func (s *Server) Grant(id string, values bool) (GrantState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.lookup(id)
	if err != nil {
		return GrantState{}, err
	}
	return s.stateOf(g, values), nil
}

// KillGrant ends the grant named id with all of its tokens, as when its owner
// withdraws consent.
func (s *Server) KillGrant(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.lookup(id)
	if err != nil {
		return err
	}
	s.kill(g, causeKilled)
	return nil
}

// RevokeAccessTokens ends all access tokens of the grant named id before their
// time; its refresh token goes on working.
func (s *Server) RevokeAccessTokens(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.lookup(id)
	if err != nil {
		return err
	}
	for _, token := range g.access {
		token.revoked = true
	}
	return nil
}

// ErrNoGrant is returned for an ID without a grant.
var ErrNoGrant = errors.New("no such grant")

func (s *Server) lookup(id string) (*grant, error) {
	g := s.grants[id]
	if g == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoGrant, id)
	}
	return g, nil
}

func (s *Server) stateOf(g *grant, values bool) GrantState {
	now := s.clock()
	state := GrantState{
		Grant: g.Grant,
		Dead:  g.cause != "", Cause: g.cause, Counters: g.counters,
		AccessTokens: []AccessTokenState{},
	}
	state.RefreshToken = ""
	if g.refresh != nil {
		state.RefreshTokenNumber = g.refresh.number
		if values {
			state.RefreshToken = g.refresh.value
		}
	}
	for _, token := range g.access {
		if !token.live(now) {
			continue
		}
		live := AccessTokenState{
			Number: token.number, Audience: token.audience,
			Scope: strings.Join(token.scopes, " "), Expires: token.expires,
		}
		if values {
			live.Value = token.value
		}
		state.AccessTokens = append(state.AccessTokens, live)
		state.AccessTokenNumber = token.number
	}
	return state
}

// kill ends a grant: its refresh tokens are refused and its access tokens are
// no longer live. The first cause stays. The caller holds mu.
func (s *Server) kill(g *grant, cause string) {
	if g.cause == "" {
		g.cause = cause
	}
}

// addRefreshToken makes value, or a random one, g's current refresh token. The
// caller holds mu.
func (s *Server) addRefreshToken(g *grant, value string) *refreshToken {
	if value == "" {
		value = s.settings.RefreshTokenPrefix + rand.Text()
	}
	number := 1
	if g.refresh != nil {
		number = g.refresh.number + 1
	}
	token := &refreshToken{grant: g, number: number, value: value}
	g.refresh = token
	s.refresh[value] = token
	return token
}

// addAccessToken issues an access token and forgets those that have expired,
// so that a long run does not grow. The caller holds mu.
func (s *Server) addAccessToken(g *grant, audience string, scopes []string) *accessToken {
	now := s.clock()
	g.access = slices.DeleteFunc(g.access, func(t *accessToken) bool {
		if t.live(now) {
			return false
		}
		delete(s.access, t.value)
		return true
	})
	g.issued++
	token := &accessToken{
		grant: g, number: g.issued, audience: audience, scopes: scopes,
		value:   s.settings.AccessTokenPrefix + rand.Text() + rand.Text(),
		expires: now.Add(time.Duration(s.settings.TokenLife)),
	}
	g.access = append(g.access, token)
	s.access[token.value] = token
	return token
}

// exchange gives the pair that the presented refresh token is good for under
// rotation: next is nil if there is no new refresh token. The caller holds mu
// and has checked that the grant lives.
func (s *Server) exchange(presented *refreshToken, rotation Rotation, audience string, scopes []string) (pair tokenPair, no *refusal) {
	g := presented.grant
	key := audience + " " + strings.Join(scopes, " ")
	spent := !presented.spent.IsZero()
	switch {
	case rotation.Policy == NoRotation:
		return tokenPair{access: s.addAccessToken(g, audience, scopes), outcome: OutcomeIssued}, nil
	case rotation.Policy == KeepsOld || !spent:
		if !spent {
			presented.spent = s.clock()
		}
		pair = tokenPair{
			refresh: s.addRefreshToken(g, ""),
			access:  s.addAccessToken(g, audience, scopes),
			outcome: OutcomeRotated,
		}
		presented.successor = pair.refresh
		presented.answers = map[string]*accessToken{key: pair.access}
		return pair, nil
	case rotation.Policy == Grace && s.clock().Sub(presented.spent) <= rotation.Window:
		pair = tokenPair{refresh: presented.successor, access: presented.answers[key], outcome: OutcomeReissued}
		if pair.access == nil || !pair.access.live(s.clock()) {
			pair.access = s.addAccessToken(g, audience, scopes)
			presented.answers[key] = pair.access
		}
		return pair, nil
	}
	s.kill(g, causeReuse)
	return tokenPair{}, reuseDetected
}

type tokenPair struct {
	refresh *refreshToken
	access  *accessToken
	outcome string
}
