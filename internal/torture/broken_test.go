package torture

import (
	"context"
	"sync"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// breakage is how a broker is broken, to show that the harness sees it.
type breakage string

const (
	whole          breakage = ""
	savesLate      breakage = "saves late"
	spendsTwice    breakage = "two requests per grant"
	forgetsRotated breakage = "forgets the rotated token"
)

// late is by how much a broker saves too late.
const late = 100 * time.Millisecond

// breakVault makes v one that says it has saved a result before it has.
func breakVault(v broker.Vault, how breakage) broker.Vault {
	if how != savesLate {
		return v
	}
	return &lateVault{Vault: v, pending: make(map[string]*account.Grant)}
}

// lateVault keeps results to itself for a while.
type lateVault struct {
	broker.Vault
	mu      sync.Mutex
	pending map[string]*account.Grant
}

// Grant shows what is about to be saved as if it were.
func (v *lateVault) Grant(ctx context.Context, id string) (*account.Grant, uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	g, version, err := v.Vault.Grant(ctx, id)
	if p := v.pending[id]; p != nil && err == nil {
		return p.Clone(), version, nil
	}
	return g, version, err
}

// Save writes a result behind its caller's back, and all else at once.
func (v *lateVault) Save(ctx context.Context, lease *store.Lease, g *account.Grant, version uint64, due, used time.Time) (uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.pending, g.ID)
	if g.Intent != nil || g.Attempts == 0 {
		return v.Vault.Save(ctx, lease, g, version, due, used)
	}
	kept := g.Clone()
	v.pending[g.ID] = kept
	time.AfterFunc(late, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.pending[kept.ID] == kept {
			delete(v.pending, kept.ID)
			_, _ = v.Vault.Save(context.Background(), nil, kept, version, due, used)
		}
	})
	return version, nil
}

// breakProvider makes p one whose client errs.
func breakProvider(p broker.Provider, how breakage) broker.Provider {
	switch how {
	case spendsTwice:
		return twiceProvider{p}
	case forgetsRotated:
		return forgetfulProvider{p}
	}
	return p
}

// twiceProvider asks twice and takes the answer that comes first.
type twiceProvider struct{ broker.Provider }

func (p twiceProvider) Refresh(ctx context.Context, r account.RefreshRequest) (account.Answer, error) {
	answers := make(chan func() (account.Answer, error), 2)
	for range 2 {
		go func() {
			answer, err := p.Provider.Refresh(ctx, r)
			answers <- func() (account.Answer, error) { return answer, err }
		}()
	}
	return (<-answers)()
}

// forgetfulProvider loses the refresh token of every answer.
type forgetfulProvider struct{ broker.Provider }

func (p forgetfulProvider) Refresh(ctx context.Context, r account.RefreshRequest) (account.Answer, error) {
	answer, err := p.Provider.Refresh(ctx, r)
	answer.RefreshToken = secret.String{}
	return answer, err
}
