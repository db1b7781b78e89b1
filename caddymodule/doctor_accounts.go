package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

const (
	// accountsOpened is how many grants are opened to look for missing scopes.
	accountsOpened = 10_000
	// accountsTold is how many accounts of one kind are told of by name.
	accountsTold = 20
	// lapsesSoon is when a grant's end is told of.
	lapsesSoon = 7 * 24 * time.Hour
	// testingLife is the life of a grant to a Google app in testing ("Using
	// OAuth 2.0 to Access Google APIs", refresh token expiration).
	testingLife = 7 * 24 * time.Hour
)

// checkAccounts looks for accounts that need people.
func (a *App) checkAccounts(ctx context.Context, s *service) []checked {
	const check = "accounts"
	w := ward{app: a, service: s, told: make(map[string]int)}
	opened := 0
	err := eachSummary(ctx, s, func(summary vault.Summary) error {
		w.total++
		sound := summary.State == account.Connected || summary.State == account.Disabled
		if sound && opened >= accountsOpened && (summary.Lapses.IsZero() || clock.Until(summary.Lapses) > lapsesSoon) {
			return nil
		}
		opened++
		g, _, err := s.vault.Grant(ctx, summary.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		w.look(g)
		return nil
	})
	if err != nil {
		return append(w.found, failed(check, "", "the accounts could not be read: "+err.Error(), "See the check of the store."))
	}
	for kind, n := range w.told {
		if more := n - accountsTold; more > 0 {
			w.found = append(w.found, warned("account", "", fmt.Sprintf("%d more accounts: %s", more, kind), "List them with `bellhop oauth account list`."))
		}
	}
	bySubject(w.found)
	if len(w.found) == 0 {
		says := numberOf(w.total, "account") + "; none needs people"
		if w.total == 0 {
			says = "there is no account yet"
		}
		c := passed(check, "", says)
		if w.total == 0 {
			c.Mend = "Connect one with `bellhop oauth connect <provider> <id>`."
		}
		return []checked{c}
	}
	return w.found
}

// ward is where accounts are looked at one by one.
type ward struct {
	app     *App
	service *service
	total   int
	found   []checked
	told    map[string]int // by kind
}

// tell tells of an account, unless there are many of its kind.
func (w *ward) tell(kind string, c checked) {
	if w.told[kind]++; w.told[kind] <= accountsTold {
		w.found = append(w.found, c)
	}
}

// look tells the first thing that is wrong with an account.
func (w *ward) look(g *account.Grant) {
	const check = "account"
	p, configured := w.app.run.providers[g.Provider]
	_, unattended := p.(provider.Unattended)
	again := "Have the user consent again: `bellhop oauth connect " + shellWord(g.Provider) + " " + shellWord(g.ID) + "`, or a link from POST /v1/authentication/form."
	switch {
	case !configured:
		w.tell("not in the configuration", failed(check, g.ID, "its provider "+g.Provider+" is not in the configuration", "Write `provider "+g.Provider+" { … }`, or remove the account."))
	case g.State == account.Disabled:
	case g.State == account.Restored:
		w.tell("restored", warned(check, g.ID, "it came from a backup or an import, and is not renewed: another instance may still own its refresh token",
			"When that one is gone: `bellhop oauth account adopt "+shellWord(g.ID)+"`, or --all."))
	case g.State == account.Pending:
		w.tell("pending", warned(check, g.ID, "a consent waits to be confirmed by your application", "PUT /v1/account/"+g.ID+"/confirm with what the browser brought back, or have the user consent again."))
	case g.State == account.AuthenticationError:
		says, mend := "the provider ended its grant", again
		if f := g.Failed(account.WholeGrant); f != nil {
			says = f.Sentence()
		}
		if unattended {
			mend = "It is tried again each hour; `bellhop oauth account refresh " + shellWord(g.ID) + "` tries now."
		}
		w.tell("dead", failed(check, g.ID, says, mend))
	case !unattended && g.ClientID != "" && g.ClientID != p.ClientID():
		w.tell("of another client", failed(check, g.ID, "its grant was given to another client_id than the configured one", again))
	default:
		w.lookInto(g, p, again)
	}
}

// lookInto looks at an account that works.
func (w *ward) lookInto(g *account.Grant, p provider.Provider, again string) {
	const check = "account"
	refused := slices.IndexFunc(g.Failures, func(f account.Failed) bool { return f.Meaning == account.AudienceRefused && !f.Narrow() })
	switch left := clock.Until(g.Lapses); {
	case len(g.Missing) > 0:
		w.tell("scopes missing", warned(check, g.ID, "the user did not grant "+strings.Join(g.Missing, " "), again+" On Google's page each box is to be ticked."))
	case refused >= 0:
		f := g.Failures[refused]
		w.tell("refused", warned(check, g.ID, strings.TrimSpace(f.Audience+" "+f.Sentence()), again))
	case !g.Lapses.IsZero() && p.Type() == provider.TypeGoogle && g.Lapses.Sub(g.Refreshed) <= testingLife+time.Hour:
		w.tell("in testing", warned(check, g.ID, "its grant ends on "+g.Lapses.UTC().Format(time.DateOnly)+", a week after consent: the app's publishing status is Testing",
			"Publish the app, or make it Internal: "+googleAudience+". Then: "+again))
	case !g.Lapses.IsZero() && left < lapsesSoon:
		w.tell("lapsing", warned(check, g.ID, "its grant ends on "+g.Lapses.UTC().Format(time.DateOnly), again))
	}
}

// shellWord writes a value as a shell reads it.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./_-", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// checkKeys looks for keys that open nothing.
func (a *App) checkKeys(ctx context.Context, s *service) []checked {
	var found []checked
	keys := a.allKeys(s)
	for _, k := range keys {
		if c := a.checkKey(ctx, s, k); c.Status != "" {
			found = append(found, c)
		}
	}
	switch {
	case len(found) > 0:
		return found
	case len(keys) == 0:
		return []checked{warned("key", "", "no caller has a key yet", "Make one with `bellhop oauth key add <name> --account <id>`.")}
	}
	return []checked{passed("key", "", numberOf(len(keys), "key")+"; each reaches what it names")}
}

func (a *App) checkKey(ctx context.Context, s *service, k *policy.Key) checked {
	const check = "key"
	switch {
	case k.Expired(clock.Now()):
		return warned(check, k.Name, "it ended on "+k.Expires.UTC().Format(time.DateOnly), "Remove it, or make another.")
	case len(k.Accounts) == 0 && !k.Admin && !k.Connect:
		return warned(check, k.Name, "it reaches no account: callers that use it are told NotAllowed",
			"Make another with --account <id> (or --account '*'); a key of the configuration takes `account <id>`.")
	}
	var missing []string
	for _, id := range k.Accounts {
		if !strings.Contains(id, "*") && !a.exists(ctx, s, id) {
			missing = append(missing, strconv.Quote(id))
		}
	}
	if len(missing) > 0 {
		return warned(check, k.Name, "it is for accounts that do not exist: "+strings.Join(missing, ", "), "Connect them, or make a key with the IDs that `bellhop oauth account list` shows.")
	}
	return checked{}
}

// exists reports whether there is an account, registered or not.
func (a *App) exists(ctx context.Context, s *service, id string) bool {
	if _, err := s.vault.Summary(ctx, id); !errors.Is(err, store.ErrNotFound) {
		return true // also where that cannot be told now
	}
	for _, p := range a.run.providers {
		if u, ok := p.(provider.Unattended); ok && u.Covers(id) {
			return true
		}
	}
	return false
}
