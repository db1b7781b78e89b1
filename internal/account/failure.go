package account

import "time"

// Meaning is what a failed token request says about whom.
type Meaning string

// The five meanings, and one for what no table lists.
const (
	// GrantDead: the provider ended the grant; a person must reconnect.
	GrantDead Meaning = "grant_dead"
	// AudienceRefused: consent or policy is missing for this resource only.
	AudienceRefused Meaning = "audience_refused"
	// ClientMisconfigured: the client's ID, secret, certificate or tenant is
	// wrong; no account is to blame.
	ClientMisconfigured Meaning = "client_misconfigured"
	// ProviderDown: no answer, or none that says anything of the grant.
	ProviderDown Meaning = "provider_down"
	// Throttled: the provider asks to wait.
	Throttled Meaning = "throttled"
	// Unlisted: an OAuth error that no table knows, or one whose meaning is not
	// certain. It ends nothing and asks nobody for consent.
	Unlisted Meaning = "unlisted"
)

// Failure is a failed token request, sorted. It carries no secret: of the
// provider's answer only what names the error is kept.
type Failure struct {
	// Meaning decides what happens next.
	Meaning Meaning `json:"meaning"`
	// Status is the HTTP status of the provider's answer; 0 without one.
	Status int `json:"status,omitempty"`
	// Code is the answer's "error" (RFC 6749 section 5.2).
	Code string `json:"error,omitempty"`
	// Suberror is the answer's "suberror" (Microsoft).
	Suberror string `json:"suberror,omitempty"`
	// Number is the vendor's own error number, such as AADSTS50173.
	Number string `json:"number,omitempty"`
	// Description is the answer's "error_description", shortened; empty where
	// it repeats anything that was sent as a secret.
	Description string `json:"description,omitempty"`
	// Reads is what a person reads: what happened, in a sentence.
	Reads string `json:"reads,omitempty"`
	// Mend is what a person does about it, in a sentence; may be empty.
	Mend string `json:"mend,omitempty"`
	// RetryAfter is how long the provider asked to wait; 0 if it did not.
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	// Lost is set when the request was sent and no whole answer came: the
	// provider may have acted on it.
	Lost bool `json:"lost,omitempty"`
	// Claims is the claims challenge that came with the refusal (Microsoft
	// Conditional Access), to be sent with the next authorization.
	Claims string `json:"claims,omitempty"`
	// Err is the cause where there was no answer, for logs. It is not kept.
	Err error `json:"-"`
}

// Name is what the error is called: the provider's own words where it has some.
func (f *Failure) Name() string {
	name := f.Code
	if name == "" {
		name = string(f.Meaning)
	}
	for _, more := range []string{f.Suberror, f.Number} {
		if more != "" {
			name += " (" + more + ")"
		}
	}
	return name
}

// Sentence is what a person reads, and what mends it.
func (f *Failure) Sentence() string {
	s := f.Reads
	if s == "" {
		s = f.Name()
	}
	if f.Mend != "" {
		s += " " + f.Mend
	}
	return s
}

// Error implements error.
func (f *Failure) Error() string {
	s := f.Name()
	if f.Reads != "" {
		s += ": " + f.Reads
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// WholeGrant stands for all audiences of a grant among its failures. It is no
// audience: those are empty or URIs.
const WholeGrant = "*"

// Failed is a failure as a grant remembers it.
type Failed struct {
	Failure
	// Audience is what was asked for, with the scopes where it was narrowed;
	// WholeGrant where the failure is about all of them.
	Audience string `json:"audience,omitempty"`
	// At is when it failed, Times how often in a row.
	At    time.Time `json:"at"`
	Times int       `json:"times"`
	// Retry is when it may be tried again; zero means not without a person.
	Retry time.Time `json:"retry,omitzero"`
}

// Failed returns what the grant remembers of the audience's last failure.
func (g *Grant) Failed(audience string) *Failed {
	for i := range g.Failures {
		if g.Failures[i].Audience == audience {
			return &g.Failures[i]
		}
	}
	return nil
}

// SetFailed remembers f in the place of the failure of the same audience.
func (g *Grant) SetFailed(f Failed) {
	if old := g.Failed(f.Audience); old != nil {
		*old = f
		return
	}
	g.Failures = append(g.Failures, f)
	g.forgetNarrowFailures()
}

// Forgive forgets the failures of the audience.
func (g *Grant) Forgive(audience string) {
	kept := g.Failures[:0]
	for _, f := range g.Failures {
		if f.Audience != audience {
			kept = append(kept, f)
		}
	}
	g.Failures = kept
}
