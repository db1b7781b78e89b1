package consent

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// attempt is all that is known of one attempt. It travels sealed, with the
// browser or command that began it.
type attempt struct {
	Link        Link   `json:"l"`
	State       string `json:"s"`
	Nonce       string `json:"n"`
	Verifier    string `json:"v"`
	RedirectURI string `json:"r"`
	// Expires is in seconds since 1970.
	Expires int64 `json:"e"`
}

// finishing bounds what comes after a person's answer. It goes on if the
// browser hangs up: the code is worth nothing a second time.
const finishing = time.Minute

// Begin begins an attempt of a link that [Service.Open] gave.
func (s *Service) Begin(ctx context.Context, l *Link, redirectURI string) (*Begun, error) {
	p, err := s.usable(ctx, l)
	if err != nil {
		return nil, err
	}
	g, err := s.grantOf(ctx, l)
	if err != nil {
		return nil, err
	}
	expires := s.cfg.Clock.Now().Add(AttemptLife)
	a := attempt{
		Link: *l, RedirectURI: redirectURI, Expires: expires.Unix(),
		State: random(16), Nonce: random(16), Verifier: random(32),
	}
	sealed, err := seal(s.cfg.States, attemptSeal, maxAttempt, a)
	if err != nil {
		return nil, linkInvalid(err)
	}
	request := request(p, l, g)
	request.RedirectURI, request.State, request.Nonce, request.Verifier = redirectURI, a.State, a.Nonce, a.Verifier
	location, err := p.AuthorizeURL(ctx, request)
	if err != nil {
		return nil, refused(ctx, l, err)
	}
	return &Begun{AuthorizeURL: location, State: a.State, Attempt: secret.New(sealed), Expires: time.Unix(a.Expires, 0).UTC()}, nil
}

// request is what is asked of the person, given what is known of the account.
func request(p provider.Provider, l *Link, g *account.Grant) provider.AuthorizeRequest {
	r := provider.AuthorizeRequest{Scopes: scopes(p, l, g), LoginHint: l.Email, Claims: l.Claims, Admin: l.Admin}
	if r.LoginHint == "" {
		r.LoginHint = l.ExpectedEmail
	}
	if g == nil || l.AnyMailbox {
		// Whoever may be anybody is to choose.
		return r
	}
	if r.LoginHint == "" && l.ExpectedDomain == "" {
		r.LoginHint = g.User
	}
	if !connected(g) {
		return r
	}
	r.Reconnect = true
	had := g.Scopes
	if len(had) == 0 {
		had = p.Scopes()
	}
	r.Consent = len(g.Missing) > 0 || len(p.MissingScopes(r.Scopes, had)) > 0
	for i := range g.Failures {
		if g.Failures[i].Narrow() {
			continue // to consent once more makes no token narrower
		}
		f := &g.Failures[i].Failure
		r.Consent = r.Consent || f.Suberror == "consent_required" || f.Code == "consent_required" || f.Number == "AADSTS65001"
		if r.Claims == "" {
			r.Claims = f.Claims
		}
	}
	return r
}

// connected reports whether somebody consented to the account before.
func connected(g *account.Grant) bool {
	return g != nil && (g.Subject != "" || !g.RefreshToken.IsZero())
}

// scopes are those to ask for: the link's; else those that the account has of
// its own; else, for an account that has what was configured when it was
// connected, what is configured now.
func scopes(p provider.Provider, l *Link, g *account.Grant) []string {
	own := l.Scopes
	if len(own) == 0 && g != nil && len(p.MissingScopes(g.Scopes, p.Scopes())) > 0 {
		own = g.Scopes
	}
	if len(own) == 0 {
		return p.Scopes()
	}
	// Without these nobody knows who consented, or no refresh token comes.
	asked := slices.Clone(own)
	for _, scope := range p.Scopes() {
		if account.IsSignInScope(scope) && !slices.Contains(asked, scope) {
			asked = append(asked, scope)
		}
	}
	return asked
}

// Finish judges the answer of the authorization server (the query of the
// callback) to the attempt, and stores the consent.
func (s *Service) Finish(ctx context.Context, sealed string, answer url.Values) (*Outcome, error) {
	var a attempt
	if err := open(s.cfg.States, attemptSeal, sealed, &a); err != nil {
		return nil, attemptMissing(err)
	}
	if answered := answer["state"]; len(answered) != 1 || subtle.ConstantTimeCompare([]byte(answered[0]), []byte(a.State)) != 1 {
		return nil, attemptMissing(errors.New("the answer is to another attempt"))
	}
	l := &a.Link
	p, err := s.usable(ctx, l)
	if err != nil {
		return nil, err
	}
	if s.cfg.Clock.Now().Unix() >= a.Expires {
		return nil, attemptExpired(l)
	}
	for name, values := range answer {
		if len(values) != 1 {
			return nil, senseless(l, "the answer has "+strings.ToValidUTF8(name, "?")+" more than once")
		}
	}
	if answer.Get("error") != "" {
		return nil, refused(ctx, l, p.Denied(answer))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishing)
	defer cancel()
	if l.Admin {
		return s.finishAdmin(ctx, l, answer)
	}
	if answer.Get("code") == "" {
		return nil, senseless(l, "the answer has neither code nor error")
	}
	g, err := s.grantOf(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := s.takeAnswer(ctx, &a); err != nil {
		return nil, err
	}
	expected := expect(l, g)
	consent, err := p.Exchange(ctx, provider.ExchangeRequest{
		Code: secret.New(answer.Get("code")), RedirectURI: a.RedirectURI, Verifier: a.Verifier, Nonce: a.Nonce,
		Scopes: scopes(p, l, g), Issuer: answer.Get("iss"), KnownIssuer: knownIssuer(l, g), ProveEmail: expected.proof,
	})
	if err != nil {
		return nil, refused(ctx, l, err)
	}
	return s.accept(ctx, p, l, expected, consent)
}

// answerMark begins the marks of attempts whose code was taken. No link's ID
// begins so.
const answerMark = "answer."

// mark is what is remembered of the attempt. It stands in the store as it is, so
// it is not the state, which is secret as long as the attempt lives.
func (a *attempt) mark() string {
	digest := sha256.Sum256([]byte(a.State))
	return answerMark + hex.EncodeToString(digest[:])
}

// takeAnswer sees to it that the code of an attempt is sent once, however often
// its answer comes, as when a page is reloaded that takes its time. Whoever sees
// a code again ends what it brought (RFC 6749 section 4.1.2).
func (s *Service) takeAnswer(ctx context.Context, a *attempt) error {
	err := s.cfg.Spent.Spend(ctx, a.mark(), time.Unix(a.Expires, 0))
	switch {
	case errors.Is(err, store.ErrConflict):
		return answerTaken()
	case err != nil:
		return storeFailed(&a.Link, err)
	}
	return nil
}

// knownIssuer is who is believed about the account's person.
func knownIssuer(l *Link, g *account.Grant) string {
	if g == nil || l.AnyMailbox {
		return ""
	}
	return g.Issuer
}

// senseless refuses an answer that no authorization server gives.
func senseless(l *Link, why string) *Refusal {
	return &Refusal{
		Reason: ProviderFailed, Link: l, Err: errors.New(why),
		Reads: "The provider's answer makes no sense: " + why + ".", Mend: "Begin again.",
	}
}

// finishAdmin takes the answer to an administrator's consent ("Admin consent on
// the Microsoft identity platform"): there is no code, and so no grant.
func (s *Service) finishAdmin(ctx context.Context, l *Link, answer url.Values) (*Outcome, error) {
	if !strings.EqualFold(answer.Get("admin_consent"), "true") {
		return nil, senseless(l, "it does not say that an administrator consented")
	}
	if err := s.spend(ctx, l); err != nil {
		return nil, err
	}
	return &Outcome{Link: l, AdminConsent: true, Granted: account.ParseScopes(answer.Get("scope"))}, nil
}
