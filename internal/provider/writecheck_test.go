package provider

import (
	"context"
	"errors"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// Whoever loses the right to send a refresh token while the connection is made
// sends nothing of it, and knows that.
func TestFormThatMayNotBeWrittenIsNotSent(t *testing.T) {
	lapsed := errors.New("lapsed")
	server := newFakeServer(t, says(200, freshToken))
	p := mustNew(t, oauth2Config(server.URL))
	asked := 0
	may := func(err error) context.Context {
		return account.WithWriteCheck(t.Context(), func() error { asked++; return err })
	}
	send := func(ctx context.Context) *account.Failure {
		_, err := p.Refresh(ctx, account.RefreshRequest{RefreshToken: secret.New("rt")})
		f, _ := errors.AsType[*account.Failure](err)
		return f
	}
	// The connection is new, is one that was used before, and is new again.
	for i, err := range []error{lapsed, nil, lapsed, nil} {
		f := send(may(err))
		switch {
		case err == nil && f != nil:
			t.Fatalf("request %d: %v", i, f)
		case err != nil && (f == nil || f.Lost || f.Meaning != account.ProviderDown || !errors.Is(f, lapsed)):
			t.Fatalf("request %d: failure %+v, want one that says that nothing was sent", i, f)
		}
	}
	if asked != 4 {
		t.Errorf("asked %d times for 4 requests", asked)
	}
	server.Close() // which waits for whatever came
	forms := 0
	for _, r := range server.all() {
		if r.Form.Has("refresh_token") {
			forms++
		}
	}
	if forms != 2 {
		t.Errorf("the server got %d refresh tokens, want 2", forms)
	}
}
