package consent

import (
	"context"
	"errors"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// Refusal is why a link or an attempt leads nowhere, in words for the person at
// the browser. It carries no secret.
type Refusal struct {
	// Reason names it, for programs, metrics and logs.
	Reason Reason
	// Reads is what happened, Mend what the person can do about it.
	Reads, Mend string
	// Link is the link of the attempt, where it is known and can be tried
	// again: nothing was consumed.
	Link *Link
	// Failure is the provider's, where it was the one who refused.
	Failure *account.Failure
	// Err is the cause, for the log.
	Err error
}

// Error implements error.
func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Reads }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Reason names a refusal.
type Reason string

// The reasons.
const (
	LinkInvalid     Reason = "link_invalid"
	LinkExpired     Reason = "link_expired"
	LinkSpent       Reason = "link_spent"
	AttemptMissing  Reason = "attempt_missing" // no cookie: another browser began it
	AttemptExpired  Reason = "attempt_expired"
	Undecided       Reason = "undecided" // the person at the device has not answered yet
	Declined        Reason = "declined"
	AdminNeeded     Reason = "admin_needed"
	OtherMailbox    Reason = "other_mailbox"
	MailboxUnproven Reason = "mailbox_unproven"
	AccountTaken    Reason = "account_taken" // the ID that the address gives is somebody else's
	ProviderRefused Reason = "provider_refused"
	ProviderFailed  Reason = "provider_failed"
	NotConfigured   Reason = "not_configured"
	StoreFailed     Reason = "store_failed"
)

func linkInvalid(err error) *Refusal {
	return &Refusal{
		Reason: LinkInvalid, Err: err,
		Reads: "This link is not complete, or was not made here.",
		Mend:  "Open it exactly as it was sent to you, or ask for a new one.",
	}
}

func linkExpired() *Refusal {
	return &Refusal{Reason: LinkExpired, Reads: "This link has expired.", Mend: "Ask for a new one."}
}

func linkSpent() *Refusal {
	return &Refusal{
		Reason: LinkSpent,
		Reads:  "This link was used already: the account is connected.",
		Mend:   "If it was not you who used it, tell whoever sent it to you. To connect again, ask for a new one.",
	}
}

func attemptMissing(err error) *Refusal {
	return &Refusal{
		Reason: AttemptMissing, Err: err,
		Reads: "This answer belongs to no attempt that was begun here.",
		Mend:  "Open the link again, in the same browser and with cookies allowed, and finish there.",
	}
}

func answerTaken() *Refusal {
	return &Refusal{
		Reason: AttemptMissing,
		Reads:  "This answer came before, and is being looked at or was.",
		Mend:   "Open the link again in a moment: if it is used, the account is connected. Otherwise begin again.",
	}
}

func attemptExpired(l *Link) *Refusal {
	return &Refusal{Reason: AttemptExpired, Link: l, Reads: "This attempt took too long and has ended.", Mend: "Begin again."}
}

func notConfigured(name string) *Refusal {
	return &Refusal{
		Reason: NotConfigured,
		Reads:  "The provider " + name + " is not configured here any more, or asks nobody for consent.",
		Mend:   "Tell whoever sent you the link.",
	}
}

func otherProvider(id, has, wants string) *Refusal {
	return &Refusal{
		Reason: LinkInvalid,
		Reads:  "The account " + id + " is one of the provider " + has + " and not of " + wants + ".",
		Mend:   "Ask for a link to another account ID, or for the account to be removed first.",
	}
}

func storeFailed(l *Link, err error) *Refusal {
	return &Refusal{
		Reason: StoreFailed, Link: l, Err: err,
		Reads: "The consent could not be saved just now.",
		Mend:  "Try again in a moment.",
	}
}

// noRefreshToken refuses a consent that would end with its first access token.
func noRefreshToken(providerType string, l *Link, err error) *Refusal {
	r := &Refusal{
		Reason: ProviderRefused, Link: l, Err: err,
		Reads: "The provider gave access for a short while only: no refresh token came with it.",
		Mend:  "The operator has to ask it for one: with offline_access in the provider's scopes, or as its documentation says, with an authorize_param.",
	}
	if providerType == provider.TypeGoogle {
		r.Mend = "Remove the app at https://myaccount.google.com/connections, and begin again."
	}
	return r
}

// refused sorts an error of the provider by what the person can do about it.
func refused(ctx context.Context, l *Link, err error) *Refusal {
	f, ok := errors.AsType[*account.Failure](err)
	if !ok {
		f = &account.Failure{Meaning: account.ProviderDown, Err: err}
	}
	r := &Refusal{Reason: ProviderRefused, Link: l, Failure: f, Err: err, Reads: f.Reads, Mend: f.Mend}
	switch {
	case ctx.Err() != nil, f.Meaning == account.ProviderDown, f.Meaning == account.Throttled:
		r.Reason = ProviderFailed
	case needsAdmin(f):
		r.Reason = AdminNeeded
	case f.Code == "access_denied", f.Number == "AADSTS65004":
		r.Reason = Declined
	case f.Code == "authorization_pending", f.Code == "slow_down":
		r.Reason = Undecided
	case f.Code == "expired_token":
		r.Reason = AttemptExpired
	}
	if r.Reads == "" {
		r.Reads = defaultReads[r.Reason]
	}
	if r.Mend == "" {
		r.Mend = "Begin again."
	}
	return r
}

var defaultReads = map[Reason]string{
	Declined:        "You did not agree.",
	AdminNeeded:     "Only an administrator can agree to this.",
	AttemptExpired:  "The code has expired.",
	Undecided:       "Nobody has agreed yet.",
	ProviderRefused: "The provider refused.",
	ProviderFailed:  "The provider gave no answer that makes sense.",
}

// needsAdmin reports whether only an administrator of the person's organisation
// can consent. Microsoft writes some of these as access_denied.
func needsAdmin(f *account.Failure) bool {
	switch f.Number {
	case "AADSTS90093", "AADSTS90094", "AADSTS90095", "AADSTS900941":
		return true
	}
	return f.Code == "admin_policy_enforced"
}
