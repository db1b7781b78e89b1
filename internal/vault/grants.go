package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// Summary is what can be known of an account without opening its grant.
type Summary struct {
	ID       string        `json:"-"`
	Provider string        `json:"provider"`
	State    account.State `json:"state"`
	// Due is when the account is to be looked after though nobody uses it;
	// zero when it need not be.
	Due time.Time `json:"due,omitzero"`
	// Lapses is the grant's.
	Lapses time.Time `json:"lapses,omitzero"`
	// Used is when a token of it was last handed out, as far as that was
	// recorded.
	Used time.Time `json:"used,omitzero"`
}

// sealedGrant is a grant as it is written: with its secrets in the clear, for
// the whole record is sealed.
type sealedGrant struct {
	ID           string             `json:"id"`
	Provider     string             `json:"provider"`
	Name         string             `json:"name,omitempty"`
	User         string             `json:"user,omitempty"`
	State        account.State      `json:"state"`
	Generation   uint64             `json:"generation"`
	Subject      string             `json:"subject,omitempty"`
	Issuer       string             `json:"issuer,omitempty"`
	ClientID     string             `json:"client_id,omitempty"`
	ClientAuth   account.ClientAuth `json:"client_auth,omitempty"`
	Scopes       []string           `json:"scopes,omitempty"`
	RefreshToken string             `json:"refresh_token,omitempty"`
	Refreshed    time.Time          `json:"refreshed,omitzero"`
	Lapses       time.Time          `json:"lapses,omitzero"`
	Foretold     time.Time          `json:"foretold,omitzero"`
	Missing      []string           `json:"missing,omitempty"`
	Proposed     *sealedProposal    `json:"proposed,omitempty"`
	Unadopted    bool               `json:"unadopted,omitempty"`
	Intent       *account.Intent    `json:"intent,omitempty"`
	Attempts     uint64             `json:"attempts,omitempty"`
	Access       []sealedToken      `json:"access,omitempty"`
	Failures     []account.Failed   `json:"failures,omitempty"`
	Created      time.Time          `json:"created"`
	Updated      time.Time          `json:"updated"`
}

type sealedToken struct {
	Value     string    `json:"value"`
	Number    uint64    `json:"number"`
	Audience  string    `json:"audience,omitempty"`
	Requested string    `json:"requested,omitempty"`
	Scopes    []string  `json:"scopes,omitempty"`
	Issued    time.Time `json:"issued"`
	Expires   time.Time `json:"expires"`
	Assumed   bool      `json:"assumed,omitempty"`
}

func toSealed(g *account.Grant) sealedGrant {
	s := sealedGrant{
		ID: g.ID, Provider: g.Provider, Name: g.Name, User: g.User,
		State: g.State, Generation: g.Generation, Subject: g.Subject, Issuer: g.Issuer,
		ClientID: g.ClientID, ClientAuth: g.ClientAuth, Scopes: g.Scopes,
		RefreshToken: g.RefreshToken.Reveal(), Refreshed: g.Refreshed, Lapses: g.Lapses, Foretold: g.Foretold,
		Missing: g.Missing, Proposed: sealProposal(g.Proposed), Unadopted: g.Unadopted,
		Intent: g.Intent, Attempts: g.Attempts, Failures: g.Failures,
		Created: g.Created, Updated: g.Updated,
	}
	for _, t := range g.Access {
		s.Access = append(s.Access, sealedToken{
			Value: t.Value.Reveal(), Number: t.Number, Audience: t.Audience,
			Requested: t.Requested, Scopes: t.Scopes, Issued: t.Issued,
			Expires: t.Expires, Assumed: t.Assumed,
		})
	}
	return s
}

func (s *sealedGrant) grant() *account.Grant {
	g := &account.Grant{
		ID: s.ID, Provider: s.Provider, Name: s.Name, User: s.User,
		State: s.State, Generation: s.Generation, Subject: s.Subject, Issuer: s.Issuer,
		ClientID: s.ClientID, ClientAuth: s.ClientAuth, Scopes: s.Scopes,
		RefreshToken: secret.New(s.RefreshToken), Refreshed: s.Refreshed, Lapses: s.Lapses, Foretold: s.Foretold,
		Missing: s.Missing, Proposed: s.Proposed.proposal(), Unadopted: s.Unadopted,
		Intent: s.Intent, Attempts: s.Attempts, Failures: s.Failures,
		Created: s.Created, Updated: s.Updated,
	}
	for _, t := range s.Access {
		g.Access = append(g.Access, account.AccessToken{
			Value: secret.New(t.Value), Number: t.Number, Audience: t.Audience,
			Requested: t.Requested, Scopes: t.Scopes, Issued: t.Issued,
			Expires: t.Expires, Assumed: t.Assumed,
		})
	}
	return g
}

// Grant returns the account's grant and the version of its record, or
// [store.ErrNotFound].
func (v *Vault) Grant(ctx context.Context, id string) (*account.Grant, uint64, error) {
	r, err := v.store.Get(ctx, grantPrefix+id)
	if err != nil {
		return nil, 0, err
	}
	var s sealedGrant
	if err := v.open(r, &s); err != nil {
		return nil, 0, err
	}
	return s.grant(), r.Version, nil
}

// Save writes the grant if its record still has the given version (0: if there
// is none yet), and with it what stands beside it; of used and what was recorded
// the later one stays. It returns the new version, or [store.ErrConflict]. With
// a lease it is [store.ErrFenced] where that does not hold any more.
func (v *Vault) Save(ctx context.Context, lease *store.Lease, g *account.Grant, version uint64, due, used time.Time) (uint64, error) {
	value, err := v.sealed(grantPrefix+g.ID, toSealed(g))
	if err != nil {
		return 0, err
	}
	before, err := v.Summary(ctx, g.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	if before.Used.After(used) {
		used = before.Used // by another process
	}
	summary := Summary{ID: g.ID, Provider: g.Provider, State: g.State, Due: due, Lapses: g.Lapses, Used: used}
	index, err := json.Marshal(summary)
	if err != nil {
		return 0, fmt.Errorf("encoding index of account %q: %w", g.ID, err)
	}
	writes := []store.Write{
		{Key: grantPrefix + g.ID, Value: value, Expect: version},
		{Key: indexPrefix + g.ID, Value: index, Expect: store.AnyVersion},
		{Key: intentPrefix + g.ID, Expect: store.AnyVersion},
	}
	if g.Intent != nil {
		writes[2].Value = []byte{}
	}
	return v.commit(ctx, lease, before, summary, append(writes, timeWrites(before, summary)...))
}

// Remove deletes the account with all that stands beside it, if its record has
// the given version.
func (v *Vault) Remove(ctx context.Context, id string, version uint64) error {
	before, err := v.Summary(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	_, err = v.commit(ctx, nil, before, Summary{}, append([]store.Write{
		{Key: grantPrefix + id, Expect: version},
		{Key: indexPrefix + id, Expect: store.AnyVersion},
		{Key: intentPrefix + id, Expect: store.AnyVersion},
	}, timeWrites(before, Summary{})...))
	return err
}

// timeWrites moves an account to where it stands by its times.
func timeWrites(before, after Summary) []store.Write {
	var writes []store.Write
	for _, key := range []func(Summary) string{dueKey, lapseKey} {
		from, to := key(before), key(after)
		if from == to {
			continue
		}
		if from != "" {
			writes = append(writes, store.Write{Key: from, Expect: store.AnyVersion})
		}
		if to != "" {
			writes = append(writes, store.Write{Key: to, Value: []byte{}, Expect: store.AnyVersion})
		}
	}
	return writes
}

// dueKey is where the account stands in the order of due times.
func dueKey(s Summary) string {
	if s.Due.IsZero() {
		return ""
	}
	return duePrefix + timeKey(s.Due) + "/" + s.ID
}

// lapseKey is where the account stands among its provider's that lapse.
func lapseKey(s Summary) string {
	if s.Lapses.IsZero() {
		return ""
	}
	return lapsePrefix + s.Provider + "/" + timeKey(s.Lapses) + "/" + s.ID
}

// timeKey writes a time, to the second, so that keys sort by it.
func timeKey(t time.Time) string { return fmt.Sprintf("%011d", max(t.Unix(), 0)) }

// Due calls f with the ID of each account that is due at the time, the longest
// due first, until f returns false.
func (v *Vault) Due(ctx context.Context, at time.Time, f func(id string) bool) error {
	end := duePrefix + timeKey(at.Add(time.Second))
	for after := ""; ; {
		records, err := v.store.List(ctx, duePrefix, after, listPage)
		if err != nil {
			return err
		}
		for _, r := range records {
			_, id, _ := strings.Cut(strings.TrimPrefix(r.Key, duePrefix), "/")
			if r.Key >= end || !f(id) {
				return nil
			}
		}
		if len(records) < listPage {
			return nil
		}
		after = records[len(records)-1].Key
	}
}

// NextLapse returns when the first grant of the provider lapses that has not
// lapsed at the given time; zero when none is known to.
func (v *Vault) NextLapse(ctx context.Context, provider string, at time.Time) (time.Time, error) {
	prefix := lapsePrefix + provider + "/"
	records, err := v.store.List(ctx, prefix, prefix+timeKey(at), 1)
	if err != nil || len(records) == 0 {
		return time.Time{}, err
	}
	written, _, _ := strings.Cut(strings.TrimPrefix(records[0].Key, prefix), "/")
	seconds, err := strconv.ParseInt(written, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading record %s: %w", records[0].Key, err)
	}
	return time.Unix(seconds, 0), nil
}

// commit writes a batch that begins with an account's grant, and with it the
// counts that change as the account's summary does (zero: there is none). A
// count that somebody else changed in between is no conflict of the caller's:
// it is read again.
func (v *Vault) commit(ctx context.Context, lease *store.Lease, before, after Summary, writes []store.Write) (uint64, error) {
	grant := writes[0]
	for {
		counts, err := v.countWrites(ctx, before, after)
		if err != nil {
			return 0, err
		}
		versions, err := v.store.Commit(ctx, lease, append(writes[:len(writes):len(writes)], counts...)...)
		if err == nil {
			return versions[0], nil
		}
		if !errors.Is(err, store.ErrConflict) || len(counts) == 0 {
			return 0, err
		}
		now, verr := v.version(ctx, grant.Key)
		if verr != nil {
			return 0, verr
		}
		if now != grant.Expect {
			return 0, err
		}
	}
}

func (v *Vault) version(ctx context.Context, key string) (uint64, error) {
	r, err := v.store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return r.Version, err
}

func (v *Vault) countWrites(ctx context.Context, before, after Summary) ([]store.Write, error) {
	from, to := countKey(before), countKey(after)
	if from == to {
		return nil, nil
	}
	var writes []store.Write
	for key, delta := range map[string]int{from: -1, to: 1} {
		if key == "" {
			continue
		}
		r, err := v.store.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		n, _ := strconv.Atoi(string(r.Value)) // an absent count is 0
		writes = append(writes, store.Write{Key: key, Value: strconv.AppendInt(nil, int64(max(n+delta, 0)), 10), Expect: r.Version})
	}
	return writes, nil
}

// countKey is where accounts like s are counted; empty for none.
func countKey(s Summary) string {
	if s.Provider == "" {
		return ""
	}
	return countPrefix + s.Provider + "/" + string(s.State)
}

// Summary returns what stands beside the account's grant, or
// [store.ErrNotFound].
func (v *Vault) Summary(ctx context.Context, id string) (Summary, error) {
	r, err := v.store.Get(ctx, indexPrefix+id)
	if err != nil {
		return Summary{}, err
	}
	return decodeSummary(r)
}

func decodeSummary(r store.Record) (Summary, error) {
	s := Summary{ID: strings.TrimPrefix(r.Key, indexPrefix)}
	if err := json.Unmarshal(r.Value, &s); err != nil {
		return Summary{}, fmt.Errorf("decoding record %s: %w", r.Key, err)
	}
	return s, nil
}

// Summaries returns up to limit accounts after the given ID, in the order of
// their IDs.
func (v *Vault) Summaries(ctx context.Context, after string, limit int) ([]Summary, error) {
	if after != "" {
		after = indexPrefix + after
	}
	records, err := v.store.List(ctx, indexPrefix, after, limit)
	if err != nil {
		return nil, err
	}
	summaries := make([]Summary, 0, len(records))
	for _, r := range records {
		s, err := decodeSummary(r)
		if err != nil {
			return nil, err
		}
		summaries = append(summaries, s)
	}
	return summaries, nil
}

// Unresolved returns the accounts whose last token request has no result.
func (v *Vault) Unresolved(ctx context.Context) ([]string, error) {
	var ids []string
	for after := ""; ; {
		records, err := v.store.List(ctx, intentPrefix, after, listPage)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			ids = append(ids, strings.TrimPrefix(r.Key, intentPrefix))
		}
		if len(records) < listPage {
			return ids, nil
		}
		after = records[len(records)-1].Key
	}
}

// Count is how many accounts of a provider are in a state.
type Count struct {
	Provider string
	State    account.State
	Accounts int
}

// Counts returns the accounts by provider and state. They are kept, not
// computed.
func (v *Vault) Counts(ctx context.Context) ([]Count, error) {
	const limit = 10_000 // providers times states
	records, err := v.store.List(ctx, countPrefix, "", limit)
	if err != nil {
		return nil, err
	}
	counts := make([]Count, 0, len(records))
	for _, r := range records {
		provider, state, ok := strings.Cut(strings.TrimPrefix(r.Key, countPrefix), "/")
		n, err := strconv.Atoi(string(r.Value))
		if !ok || err != nil {
			return nil, fmt.Errorf("decoding record %s: not a count", r.Key)
		}
		if n > 0 {
			counts = append(counts, Count{Provider: provider, State: account.State(state), Accounts: n})
		}
	}
	return counts, nil
}
