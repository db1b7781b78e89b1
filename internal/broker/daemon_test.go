package broker

import (
	"context"
	"fmt"
	"path"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// daemon is a provider whose tokens come by credentials of its own.
type daemon struct {
	*fakeProvider
	subjects string // a pattern of the accounts that it covers
	shared   bool
}

func newDaemon(name string, j *journal) *daemon {
	p := newFakeProvider(name, account.RotationNone, j)
	return &daemon{fakeProvider: p}
}

func (d *daemon) Covers(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	ok, err := path.Match(d.subjects, id)
	return ok && err == nil
}

func (d *daemon) Shared() bool { return d.shared }

// Refresh answers as for a family of the account's name.
func (d *daemon) Refresh(ctx context.Context, r account.RefreshRequest) (account.Answer, error) {
	if !r.RefreshToken.IsZero() {
		return account.Answer{}, fmt.Errorf("a refresh token was sent")
	}
	subject := r.Account
	if subject == "" {
		subject = "all"
	}
	d.mu.Lock()
	if d.families[subject] == nil {
		d.families[subject] = &family{current: subject + "#1", spent: make(map[string]time.Time)}
	}
	d.mu.Unlock()
	r.RefreshToken = secret.New(subject + "#1")
	return d.fakeProvider.Refresh(ctx, r)
}
