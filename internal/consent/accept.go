package consent

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// accept judges who consented, and stores the consent.
func (s *Service) accept(ctx context.Context, p provider.Provider, l *Link, e expectation, c account.Consent) (*Outcome, error) {
	if refusal := e.judge(p.Type(), c.Identity); refusal != nil {
		refusal.Link = l
		s.discard(p, c)
		return nil, refusal
	}
	named := *l
	if l.Account == "" {
		if err := s.name(ctx, p, &named, c.Identity); err != nil {
			if refusal, ok := errors.AsType[*Refusal](err); ok && refusal.Reason != StoreFailed {
				s.discard(p, c)
			}
			return nil, err
		}
	}
	if err := s.spend(ctx, l); err != nil {
		if refusal, ok := errors.AsType[*Refusal](err); ok && refusal.Reason == LinkSpent {
			s.discard(p, c) // another answer to the same link was faster
		}
		return nil, err
	}
	outcome, err := s.connect(ctx, &named, c)
	if err == nil {
		return outcome, nil
	}
	if unspendErr := s.cfg.Spent.Unspend(ctx, l.ID); unspendErr != nil {
		err = errors.Join(err, unspendErr)
	}
	return nil, s.notStored(p, l, e, c, err)
}

// name gives the account of a link that has none the address that the consent
// proves, if no one else's account is called so.
func (s *Service) name(ctx context.Context, p provider.Provider, l *Link, who account.Identity) error {
	id := foldAddress(who.Email)
	if !who.Proven || account.CheckID(id) != nil || strings.ContainsRune(id, unicode.ReplacementChar) {
		r := unproven(p.Type(), who)
		r.Link = l
		r.Mend = "Begin again with an account ID: without one, the account would be called by its address."
		return r
	}
	l.Account = id
	g, err := s.grantOf(ctx, l)
	if err != nil {
		return err
	}
	if g != nil && (g.Subject == "" || g.Subject != who.Subject) {
		return &Refusal{
			Reason: AccountTaken, Link: l,
			Reads: "There is an account " + strconv.Quote(l.Account) + " already, and it is not known to be this person's.",
			Mend:  "Begin again with another account ID, or with that one if it is meant.",
		}
	}
	return nil
}

// spend marks the link as used. Attempts that began before it expires may end
// later.
func (s *Service) spend(ctx context.Context, l *Link) error {
	err := s.cfg.Spent.Spend(ctx, l.ID, l.Expires.Add(AttemptLife))
	switch {
	case errors.Is(err, store.ErrConflict):
		return linkSpent()
	case err != nil:
		return storeFailed(l, err)
	}
	return nil
}

// connect hands the consent to the accounts' keeper.
func (s *Service) connect(ctx context.Context, l *Link, c account.Consent) (*Outcome, error) {
	now := s.cfg.Clock.Now()
	connection := account.Connection{
		ID: l.Account, Provider: l.Provider, Name: l.Name, User: c.Identity.Email,
		Consent: c, AnySubject: l.AnyMailbox,
	}
	if connection.User == "" {
		connection.User = l.Email
	}
	if l.Confirm {
		connection.Confirm, connection.ConfirmBy = secret.New(random(32)), now.Add(ConfirmLife)
	}
	result, err := s.cfg.Accounts.Connect(ctx, connection)
	if err != nil {
		return nil, err
	}
	o := &Outcome{
		Link: l, State: result.State, New: result.New, Identity: c.Identity, Missing: c.Missing,
		Granted: slices.DeleteFunc(slices.Clone(c.Scopes), func(scope string) bool { return slices.Contains(c.Missing, scope) }),
		Pending: l.Confirm, Confirm: connection.Confirm,
	}
	if !l.Confirm {
		// Without it the person can still tell the operator.
		sealed, _ := seal(s.cfg.States, undoSeal, maxAttempt, undo{l.Account, result.Generation, now.Add(UndoLife).Unix()})
		o.Undo = secret.New(sealed)
	}
	return o, nil
}

// notStored is the refusal of a consent that the accounts' keeper did not take.
func (s *Service) notStored(p provider.Provider, l *Link, e expectation, c account.Consent, err error) *Refusal {
	if errors.Is(err, broker.ErrOtherSubject) {
		s.discard(p, c)
		r := e.otherMailbox(c.Identity)
		r.Link, r.Err = l, err
		return r
	}
	if errors.Is(err, broker.ErrNoRefreshToken) {
		return noRefreshToken(p.Type(), l, err)
	}
	if refused, ok := errors.AsType[*problem.Problem](err); ok && refused.Status < 500 {
		return &Refusal{Reason: LinkInvalid, Link: l, Err: err, Reads: refused.Message, Mend: "Tell whoever sent you the link."}
	}
	return storeFailed(l, err)
}

func (s *Service) discard(p provider.Provider, c account.Consent) {
	if s.cfg.Discard != nil {
		s.cfg.Discard(p, c)
	}
}

// undo is what a [Service.Withdraw] needs to know.
type undo struct {
	Account    string `json:"a"`
	Generation uint64 `json:"g"`
	// Expires is in seconds since 1970.
	Expires int64 `json:"e"`
}

// Withdraw is for the person who says "this was not me": the account serves
// nothing from then on, until the operator enables it again.
func (s *Service) Withdraw(ctx context.Context, sealed string) (accountID string, err error) {
	var u undo
	if err := open(s.cfg.States, undoSeal, sealed, &u); err != nil {
		return "", linkInvalid(err)
	}
	if s.cfg.Clock.Now().Unix() >= u.Expires {
		return "", &Refusal{
			Reason: LinkExpired,
			Reads:  "It is more than " + strconv.Itoa(int(UndoLife/time.Minute)) + " minutes ago that this account was connected.",
			Mend:   "Tell whoever sent you the link; access can also be taken back in the provider's own account settings.",
		}
	}
	err = s.cfg.Accounts.Withdraw(ctx, u.Account, u.Generation)
	if gone, ok := errors.AsType[*problem.Problem](err); ok && gone.Status < 500 {
		return "", &Refusal{
			Reason: LinkInvalid, Err: err,
			Reads: "The account has been connected anew since then, or was removed: this consent is not used any more.",
			Mend:  "Tell whoever sent you the link.",
		}
	}
	if err != nil {
		return "", storeFailed(nil, err)
	}
	return u.Account, nil
}
