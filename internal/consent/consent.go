// Package consent is how a person connects an account: the link that invites
// them, one attempt from that link through the provider and back, and the
// judgement of who came back.
//
// Nothing is kept of an attempt but in what travels with it, sealed: the link
// in its URL, the attempt in the cookie of the browser that began it (or in the
// hands of the command that did). So a callback may come to any node, and one
// without its attempt is worth nothing.
package consent

import (
	"context"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// Link invites a person to connect one account.
type Link struct {
	// ID is spent with the first success.
	ID string `json:"id"`
	// Account is the account's ID; it need not exist yet. Empty means the
	// address that the person's consent proves, in lower case. Provider is whom
	// it is asked from.
	Account  string `json:"account,omitempty"`
	Provider string `json:"provider"`
	// Name is what the operator calls the account.
	Name string `json:"name,omitempty"`
	// Email is the login that is suggested at the provider.
	Email string `json:"email,omitempty"`
	// ExpectedEmail and ExpectedDomain say whose consent is accepted, where the
	// account's subject is not known yet; AnyMailbox accepts anybody's, also in
	// the place of the one who is known.
	ExpectedEmail  string `json:"expected_email,omitempty"`
	ExpectedDomain string `json:"expected_domain,omitempty"`
	AnyMailbox     bool   `json:"any_mailbox,omitempty"`
	// Scopes are those to ask for; empty means the provider's.
	Scopes []string `json:"scopes,omitempty"`
	// Claims is a claims challenge that the consent is to meet.
	Claims string `json:"claims,omitempty"`
	// Confirm keeps the consent from being used until the operator's
	// application confirms it.
	Confirm bool `json:"confirm,omitempty"`
	// Admin asks an administrator to consent for the tenant; no grant comes of
	// it.
	Admin bool `json:"admin,omitempty"`
	// ReturnTo is where the browser goes afterwards; empty for a page of our
	// own.
	ReturnTo string `json:"return_to,omitempty"`
	// Issued and Expires bound the link in time.
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

// How long what travels is good for.
const (
	// LinkLife is how long a link can be opened, AttemptLife how long a person
	// may take at the provider.
	LinkLife    = 24 * time.Hour
	AttemptLife = 15 * time.Minute
	// ConfirmLife is how long a pending consent can be confirmed, UndoLife how
	// long one can be withdrawn.
	ConfirmLife = time.Hour
	UndoLife    = time.Hour
)

// Accounts is what consent asks of the accounts' keeper.
type Accounts interface {
	// Grant returns what is known of an account, or an error that is the
	// problem AccountNotFound.
	Grant(ctx context.Context, id string) (*account.Grant, error)
	// Connect stores a consent. It refuses one of another person than the one
	// who is known, see broker.ErrOtherSubject.
	Connect(ctx context.Context, c account.Connection) (account.ConnectResult, error)
	// Withdraw switches an account off whose consent somebody says was not
	// theirs, if it still has that consent.
	Withdraw(ctx context.Context, id string, generation uint64) error
}

// Spent remembers which links were used, and which attempts' codes.
type Spent interface {
	// Spend marks a link as used until it would have expired anyway, or returns
	// store.ErrConflict if it was.
	Spend(ctx context.Context, link string, until time.Time) error
	// Unspend takes the mark back.
	Unspend(ctx context.Context, link string) error
	// IsSpent reports whether a link was used.
	IsSpent(ctx context.Context, link string) (bool, error)
}

// Config is what a [Service] is made of.
type Config struct {
	// Provider finds a configured provider by its name.
	Provider func(name string) (provider.Provider, bool)
	Accounts Accounts
	Spent    Spent
	// Discard gives tokens back to the provider that nobody keeps, because
	// another person consented than the one who is expected. It returns at once.
	// Nil keeps the service from it.
	Discard func(p provider.Provider, c account.Consent)
	// Links and States seal what travels: see [secret.Links], [secret.State].
	Links, States *secret.Sealer
	Clock         clockwork.Clock
}

// Begun is an attempt that began.
type Begun struct {
	// AuthorizeURL is where the person goes now.
	AuthorizeURL string
	// State is the request's, which the answer brings back: it tells the
	// attempts of one browser apart.
	State string
	// Attempt is the attempt itself, sealed: a secret of the browser or command
	// that began it.
	Attempt secret.String
	// Expires is when it ends.
	Expires time.Time
}

// BegunDevice is an attempt by device code.
type BegunDevice struct {
	account.Device
	Attempt secret.String
}

// Outcome is a consent that was accepted.
type Outcome struct {
	// Link is the attempt's, with the account's ID in it.
	Link *Link
	// State is the account's now.
	State account.State
	// New is set for an account that did not exist.
	New bool
	// Identity is who gave it, Granted and Missing what.
	Identity account.Identity
	Granted  []string
	Missing  []string
	// Pending is set while the consent waits to be confirmed with Confirm.
	Pending bool
	Confirm secret.String
	// Undo, sealed, is good for [Service.Withdraw] for an hour. It is zero while
	// the consent is pending: not to confirm it is enough.
	Undo secret.String
	// AdminConsent is set when an administrator consented for the tenant and no
	// grant came of it.
	AdminConsent bool
}

// Service carries consents from a link to a stored grant. Its errors are
// [*Refusal]s.
type Service struct {
	cfg Config
}

// New makes a service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }
