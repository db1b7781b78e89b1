package consent

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// maxLinkLife bounds how long a link can be made to live: until then it must be
// remembered that it was used.
const maxLinkLife = 30 * 24 * time.Hour

// Invite completes a link (ID, times), judges it and seals it for a URL. An
// error is a problem that names the field which is wrong.
func (s *Service) Invite(ctx context.Context, l Link) (sealed string, err error) {
	now := s.cfg.Clock.Now()
	if l.ID == "" {
		l.ID = random(16)
	}
	if l.Issued.IsZero() {
		l.Issued = now
	}
	if l.Expires.IsZero() {
		l.Expires = now.Add(LinkLife)
	}
	// What is compared later comes back as whole seconds.
	l.Issued, l.Expires = l.Issued.UTC().Truncate(time.Second), l.Expires.UTC().Truncate(time.Second)
	if err := s.check(&l, now); err != nil {
		return "", problem.New(problem.InvalidRequest, err.Error())
	}
	if _, err := s.grantOf(ctx, &l); err != nil {
		if refusal, ok := errors.AsType[*Refusal](err); ok && refusal.Reason == LinkInvalid {
			return "", problem.New(problem.Conflict, "account: "+refusal.Reads)
		}
		return "", problem.From(err)
	}
	return seal(s.cfg.Links, linkSeal, maxLink, &l)
}

// check returns what is wrong with a link, by the name that requests call the
// field.
func (s *Service) check(l *Link, now time.Time) error {
	if l.Account != "" {
		if err := account.CheckID(l.Account); err != nil {
			return fmt.Errorf("account: %w", err)
		}
	}
	p, ok := s.cfg.Provider(l.Provider)
	if !ok {
		return fmt.Errorf("provider: there is no provider %s in the configuration", strconv.Quote(l.Provider))
	}
	if _, ok := p.(provider.Attended); !ok {
		return fmt.Errorf("provider: accounts of %s need nobody's consent: their tokens come by credentials of its own", strconv.Quote(l.Provider))
	}
	if l.Admin && p.Type() != provider.TypeMicrosoft {
		return fmt.Errorf("admin: only Microsoft asks an administrator to consent for a tenant, and %s is a provider of type %s", strconv.Quote(l.Provider), p.Type())
	}
	if err := checkExpectation(l); err != nil {
		return err
	}
	for _, scope := range l.Scopes {
		if !isScope(scope) {
			return fmt.Errorf("scopes: %q is not a scope (RFC 6749 section 3.3)", scope)
		}
	}
	if err := checkReturn(l.ReturnTo); err != nil {
		return err
	}
	switch life := l.Expires.Sub(now); {
	case life <= 0:
		return errors.New("expires: lies in the past")
	case life > maxLinkLife:
		return errors.New("expires: a link lives for 30 days at most")
	}
	text, err := encode(l)
	if err != nil {
		return err
	}
	if len(text) > maxLink {
		return fmt.Errorf("the link has %d bytes and no more than %d fit into a browser's cookie: shorten account, name, scopes or redirectUrl", len(text), maxLink)
	}
	return nil
}

func checkExpectation(l *Link) error {
	for _, text := range []struct{ field, value string }{{"name", l.Name}, {"email", l.Email}} {
		if strings.ContainsFunc(text.value, unicode.IsControl) {
			return fmt.Errorf("%s: contains a control character", text.field)
		}
	}
	if l.ExpectedEmail != "" && !IsAddress(l.ExpectedEmail) {
		return fmt.Errorf("expectedEmail: %q is not an e-mail address", l.ExpectedEmail)
	}
	if l.ExpectedDomain != "" && !IsAddress("x@"+l.ExpectedDomain) {
		return fmt.Errorf("expectedDomain: %q is not a domain, such as example.com", l.ExpectedDomain)
	}
	if l.AnyMailbox && (l.ExpectedEmail != "" || l.ExpectedDomain != "") {
		return errors.New("anyMailbox: contradicts expectedEmail and expectedDomain")
	}
	return nil
}

func checkReturn(to string) error {
	if to == "" {
		return nil
	}
	u, err := url.Parse(to)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("redirectUrl: must be a whole http or https URL")
	}
	return nil
}

// isScope reports whether s is a scope-token of RFC 6749 section 3.3.
func isScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '\\' || r > '~'
	})
}

// IsAddress reports whether s may be an e-mail address: one that a person can be
// held against.
func IsAddress(s string) bool {
	at := strings.LastIndexByte(s, '@')
	return at > 0 && at < len(s)-1 && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r)
	})
}

// Open reads a link without changing anything: scanners open links too.
func (s *Service) Open(ctx context.Context, sealed string) (*Link, error) {
	l := new(Link)
	if err := open(s.cfg.Links, linkSeal, sealed, l); err != nil {
		return nil, linkInvalid(err)
	}
	if !s.cfg.Clock.Now().Before(l.Expires) {
		return nil, linkExpired()
	}
	if _, err := s.usable(ctx, l); err != nil {
		return nil, err
	}
	return l, nil
}

// usable returns the link's provider, if that is configured and the link is
// not used up.
func (s *Service) usable(ctx context.Context, l *Link) (provider.Attended, error) {
	if l.ID == "" {
		return nil, linkInvalid(errors.New("the link has no ID"))
	}
	p, _ := s.cfg.Provider(l.Provider)
	attended, ok := p.(provider.Attended)
	if !ok {
		return nil, notConfigured(l.Provider)
	}
	spent, err := s.cfg.Spent.IsSpent(ctx, l.ID)
	if err != nil {
		return nil, storeFailed(l, err)
	}
	if spent {
		return nil, linkSpent()
	}
	return attended, nil
}

// grantOf returns what is known of the link's account; nil for nothing.
func (s *Service) grantOf(ctx context.Context, l *Link) (*account.Grant, error) {
	if l.Account == "" {
		return nil, nil
	}
	g, err := s.cfg.Accounts.Grant(ctx, l.Account)
	if p, ok := errors.AsType[*problem.Problem](err); ok && p.Code == problem.AccountNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, storeFailed(l, err)
	}
	if g.Provider != l.Provider {
		return nil, otherProvider(strconv.Quote(l.Account), g.Provider, l.Provider)
	}
	return g, nil
}
