package broker

import (
	"context"
	"errors"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// Imported is what became of an import.
type Imported string

// What an import comes to.
const (
	// ImportAdded: the account is new.
	ImportAdded Imported = "added"
	// ImportUnchanged: the account is there with the same grant.
	ImportUnchanged Imported = "unchanged"
	// ImportConflict: the account is there with another grant, and was left
	// alone.
	ImportConflict Imported = "conflict"
)

// Import adds an account whose grant another program may still renew: it is
// not renewed here until it is adopted, and serves the access token that came
// with it until that ends. An account that exists is left as it is. The
// provider is not asked for anything.
func (b *Broker) Import(ctx context.Context, r Registration) (Imported, error) {
	g, _, err := b.grant(r)
	if err != nil {
		return "", err
	}
	if !g.RefreshToken.IsZero() {
		g.State, g.Unadopted = account.Restored, true
	}
	h, err := b.own(ctx, g.ID, true)
	if err != nil {
		return "", err
	}
	defer b.disown(h)
	if err := b.saveWaiting(ctx, g.ID); err != nil {
		return "", err
	}
	for {
		outcome, err := b.compare(ctx, g)
		if err != nil || outcome != ImportAdded {
			return outcome, err
		}
		version, err := b.vault.Save(ctx, nil, g, 0, b.due(g), time.Time{})
		if errors.Is(err, store.ErrConflict) {
			continue // another process was quicker
		}
		if err != nil {
			return "", storeProblem(err)
		}
		b.remember(g, version)
		return ImportAdded, nil
	}
}

// Preview returns what [Broker.Import] would come to now, and changes nothing.
func (b *Broker) Preview(ctx context.Context, r Registration) (Imported, error) {
	g, _, err := b.grant(r)
	if err != nil {
		return "", err
	}
	return b.compare(ctx, g)
}

// compare tells what importing the grant comes to. Times do not count, nor
// what an operator calls the account.
func (b *Broker) compare(ctx context.Context, g *account.Grant) (Imported, error) {
	old, _, err := b.vault.Grant(ctx, g.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ImportAdded, nil
	case err != nil:
		return "", storeProblem(err)
	case old.Provider == g.Provider && old.RefreshToken.Equal(g.RefreshToken) && sameIdentity(old, g):
		return ImportUnchanged, nil
	}
	return ImportConflict, nil
}

// sameIdentity reports whether two grants are one person's, as far as is known:
// by the subject, and where either has none, by the refresh token. Without
// refresh tokens the login must do.
func sameIdentity(a, b *account.Grant) bool {
	switch {
	case a.Subject != "" && b.Subject != "":
		return a.Subject == b.Subject
	case !a.RefreshToken.IsZero():
		return true
	}
	return a.User == b.User
}
