package emailengine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bellhop-proxy/bellhop/internal/emailengine/emailenginetest"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// open opens the database for reading.
func open(t *testing.T, r *emailenginetest.Redis, prefix, sealed string) *Instance {
	t.Helper()
	i, err := Open(t.Context(), r.URL, prefix, secret.New(sealed))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

// all reads all accounts, by their IDs.
func all(t *testing.T, i *Instance) map[string]Account {
	t.Helper()
	found := make(map[string]Account)
	err := i.Accounts(t.Context(), func(some []Account) error {
		if len(some) > page {
			t.Errorf("%d accounts at a time", len(some))
		}
		for _, a := range some {
			if _, twice := found[a.ID]; twice {
				t.Errorf("account %s comes twice", a.ID)
			}
			found[a.ID] = a
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// revealed compares accounts with their tokens and errors.
var revealed = cmp.Options{
	cmp.Comparer(secret.String.Equal),
	cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) || errors.Is(b, a) }),
	cmpopts.EquateEmpty(),
}

func TestAccountsAreReadAsTheyAreLaidOut(t *testing.T) {
	expires := time.Date(2026, 11, 22, 5, 5, 15, 872e6, time.UTC)
	for name, sealed := range map[string]string{"plain": "", "sealed": "an instance's secret"} {
		t.Run(name, func(t *testing.T) {
			r := emailenginetest.Start(t)
			r.Secret = sealed
			r.Account("g-ok", map[string]string{"name": "Gee", "email": "g@example.com"}, map[string]any{
				"provider": "AAABogFo9awAAAAB", "auth": map[string]any{"user": "g-ok@example.com"},
				"accessToken": "ya29.one", "refreshToken": "1//0gOne", "expires": "2026-11-22T05:05:15.872Z",
				"generated": "2026-11-22T04:05:15.872Z", "scope": []string{"https://mail.google.com/", "openid"}, "tokenType": "Bearer",
			})
			r.Account("old", nil, map[string]any{
				"provider": "gmail", "expires": fmt.Sprint(expires.UnixMilli()),
				"auth": map[string]any{"user": "old@example.com", "accessToken": "ya29.old", "refreshToken": "1//0gOld"},
			})
			r.Account("oldest", map[string]string{"email": "oldest@example.com"}, map[string]any{
				"provider": "outlook", "auth": map[string]any{}, "refreshToken": "M.old", "expires": expires.UnixMilli(), "scope": "a b",
			})
			r.Account("shared", nil, map[string]any{
				"provider": "X", "auth": map[string]any{"user": "me@example.com", "delegatedUser": "sales@example.com"}, "refreshToken": "M.shared",
			})
			r.Account("borrows", nil, map[string]any{"auth": map[string]any{"user": "me@example.com", "delegatedAccount": "shared"}, "provider": "X"})
			r.Account("server", nil, map[string]any{"useAuthServer": true, "auth": map[string]any{"user": "me@example.com"}})
			r.Account("password", map[string]string{"imap": `{"auth":{"user":"p","pass":"$wd01$x"},"host":"imap.example.com"}`, "state": "authenticationError"}, nil)
			r.Account("off", map[string]string{"imap": `{"disabled":true}`}, map[string]any{"provider": "X", "auth": map[string]any{"user": "off@example.com"}, "refreshToken": "M.off"})
			r.Account("team/jörg", nil, map[string]any{"provider": "X", "auth": map[string]any{"user": "j@example.com"}, "refreshToken": "M.j", "expires": "nonsense"})
			r.Do("SADD", "ia:accounts", "ghost")
			changes := r.Changes()
			want := map[string]Account{
				"g-ok": {
					ID: "g-ok", Name: "Gee", User: "g-ok@example.com", App: "AAABogFo9awAAAAB", State: "connected",
					RefreshToken: secret.New("1//0gOne"), AccessToken: secret.New("ya29.one"), Expires: expires, Scopes: []string{"https://mail.google.com/", "openid"},
				},
				"old":       {ID: "old", User: "old@example.com", App: "gmail", State: "connected", RefreshToken: secret.New("1//0gOld"), AccessToken: secret.New("ya29.old"), Expires: expires},
				"oldest":    {ID: "oldest", User: "oldest@example.com", App: "outlook", State: "connected", RefreshToken: secret.New("M.old"), Expires: expires, Scopes: []string{"a", "b"}},
				"shared":    {ID: "shared", User: "me@example.com", App: "X", State: "connected", DelegatedUser: "sales@example.com", RefreshToken: secret.New("M.shared")},
				"borrows":   {ID: "borrows", User: "me@example.com", App: "X", State: "connected", DelegatedAccount: "shared"},
				"server":    {ID: "server", User: "me@example.com", State: "connected", AuthServer: true},
				"password":  {ID: "password", State: "authenticationError"},
				"off":       {ID: "off", User: "off@example.com", App: "X", State: "connected", Disabled: true, RefreshToken: secret.New("M.off")},
				"team/jörg": {ID: "team/jörg", User: "j@example.com", App: "X", State: "connected", RefreshToken: secret.New("M.j")},
			}
			got := all(t, open(t, r, "", sealed))
			if ghost := got["ghost"]; ghost.Err == nil {
				t.Errorf("an account without a record: %+v", ghost)
			}
			delete(got, "ghost")
			if diff := cmp.Diff(want, got, revealed); diff != "" {
				t.Errorf("accounts (-want +got):\n%s", diff)
			}
			if now := r.Changes(); now != changes {
				t.Errorf("Redis was written to: %s changes, and %s before", now, changes)
			}
		})
	}
}

func TestHundredsOfAccountsAreReadInPages(t *testing.T) {
	r := emailenginetest.Start(t)
	const accounts = 2*page + 17
	sealed := emailenginetest.Seal(t, "s3cret", "M.token") // one salt, so that the test takes no minute
	for n := range accounts {
		r.Account(fmt.Sprintf("account-%d", n), nil, map[string]any{"provider": "X", "auth": map[string]any{"user": "u"}, "refreshToken": sealed})
	}
	got := all(t, open(t, r, "", "s3cret"))
	if len(got) != accounts {
		t.Errorf("%d accounts, want %d", len(got), accounts)
	}
	for id, a := range got {
		if a.Err != nil || a.RefreshToken.Reveal() != "M.token" {
			t.Fatalf("account %s: %q, %v", id, a.RefreshToken.Reveal(), a.Err)
		}
	}
	t.Run("and no more once the reader has enough", func(t *testing.T) {
		enough := errors.New("enough")
		times := 0
		err := open(t, r, "", "s3cret").Accounts(t.Context(), func([]Account) error { times++; return enough })
		if !errors.Is(err, enough) || times != 1 {
			t.Errorf("%d times, %v", times, err)
		}
	})
	t.Run("nor once the context has ended", func(t *testing.T) {
		i := open(t, r, "", "s3cret")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := i.Accounts(ctx, func([]Account) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestWhatCannotBeReadNamesAccountAndFieldAndGivesNoToken(t *testing.T) {
	const token = "1//0gSECRET"
	r := emailenginetest.Start(t)
	auth := map[string]any{"user": "u@example.com"}
	r.Account("sealed", nil, map[string]any{"provider": "X", "auth": auth, "accessToken": "ya29.plain", "refreshToken": emailenginetest.Seal(t, "right", token)})
	r.Account("half", nil, map[string]any{"provider": "X", "auth": auth, "accessToken": emailenginetest.Seal(t, "right", token), "refreshToken": token})
	r.Account("nested", nil, map[string]any{"provider": "X", "auth": map[string]any{"user": "u", "refreshToken": emailenginetest.Seal(t, "right", token)}})
	r.Account("garbage", map[string]string{"oauth2": `{"provider":"X","refreshToken":["` + token + `"]}`}, nil)
	r.Account("truncated", map[string]string{"oauth2": `{"provider":"X","refreshToken":"` + token}, nil)
	r.Account("huge", map[string]string{"oauth2": `{"provider":"X","refreshToken":"` + strings.Repeat("x", maxRecord) + `"}`}, nil)
	says := map[string]string{
		"sealed": "oauth2.refreshToken: ", "half": "oauth2.accessToken: ", "nested": "oauth2.auth.refreshToken: ",
		"garbage": "oauth2: ", "truncated": "oauth2: ", "huge": "256 KiB",
	}
	for _, given := range []string{"", "wrong"} {
		for id, a := range all(t, open(t, r, "", given)) {
			if a.Err == nil || !strings.Contains(a.Err.Error(), says[id]) || !a.RefreshToken.IsZero() || !a.AccessToken.IsZero() {
				t.Errorf("%s, secret %q: %v, %q", id, given, a.Err, a.RefreshToken.Reveal())
			}
			if a.Err != nil && strings.Contains(a.Err.Error(), "0gSECRET") {
				t.Errorf("%s: %v quotes the token", id, a.Err)
			}
		}
	}
}

func TestOpenFindsTheDatabase(t *testing.T) {
	r := emailenginetest.Start(t)
	r.Prefix = "ee"
	r.Account("alice", nil, nil)
	for _, prefix := range []string{"ee", "ee:"} {
		if got := all(t, open(t, r, prefix, "")); len(got) != 1 {
			t.Errorf("prefix %q: %v", prefix, got)
		}
	}
	for name, from := range map[string]struct{ url, prefix, says string }{
		"another prefix":   {r.URL, "", "another prefix"},
		"another database": {r.URL + "?db=3", "ee", "database 3 has no EmailEngine"},
		"nobody there":     {"unix://" + r.Socket + ".gone", "ee", "reaching Redis"},
		"no URL":           {"redis.example.com:6379", "ee", "cannot be read"},
		"not Redis":        {"https://:hunter2@redis.example.com", "ee", "cannot be read"},
		"a raw password":   {"redis://:hunter2#/x@127.0.0.1:6379", "ee", "cannot be read"},
		"a control byte":   {"redis://:hunter2\x7f@127.0.0.1", "ee", "cannot be read"},
		"no number":        {"redis://:hunter2@127.0.0.1/eight", "ee", "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			i, err := Open(t.Context(), from.url, from.prefix, secret.String{})
			if err == nil {
				_ = i.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), from.says) || strings.Contains(err.Error(), "hunter2") {
				t.Error(err)
			}
		})
	}
}

func TestURLsNameTheDatabase(t *testing.T) {
	for written, want := range map[string]struct {
		network string
		db      int
		tls     bool
	}{
		"redis://127.0.0.1:6379":           {"tcp", 8, false},
		"redis://127.0.0.1:6379/":          {"tcp", 8, false},
		"redis://127.0.0.1:6379/0":         {"tcp", 0, false},
		"redis://u:p@127.0.0.1/5":          {"tcp", 5, false},
		"rediss://redis.example.com":       {"tcp", 8, true},
		"rediss://redis.example.com/2":     {"tcp", 2, true},
		"redis://127.0.0.1:6379?db=3":      {"tcp", 3, false},
		"unix:///run/redis.sock":           {"unix", 8, false},
		"unix://u:p@/run/redis.sock?db=11": {"unix", 11, false},
	} {
		options, err := parseURL(written)
		if err != nil || options.Network != want.network || options.DB != want.db || (options.TLSConfig != nil) != want.tls {
			t.Errorf("%s: %+v, %v", written, options, err)
		}
	}
}

func TestPasswordOfRedis(t *testing.T) {
	r := emailenginetest.Start(t)
	r.Account("alice", nil, nil)
	r.Do("CONFIG", "SET", "requirepass", "hunter2")
	at := func(password string) string { return "unix://:" + password + "@" + r.Socket }
	if _, err := Open(t.Context(), at("wrong-one"), "", secret.String{}); err == nil || strings.Contains(err.Error(), "wrong-one") {
		t.Errorf("a wrong password: %v", err)
	}
	r.URL = at("hunter2")
	if got := all(t, open(t, r, "", "")); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestUnguarded(t *testing.T) {
	r := emailenginetest.Start(t)
	r.Setting("serviceUrl", "https://ee.example.com")
	i := open(t, r, "", "")
	for _, want := range []bool{false, true} {
		if want {
			r.Setting("disableTokens", true)
		}
		if got, err := i.Unguarded(t.Context()); err != nil || got != want {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func FuzzAccount(f *testing.F) {
	f.Add(`{"provider":"X","auth":{"user":"u"},"refreshToken":"$wd01$","expires":1e999,"scope":[1]}`, `{"disabled":"yes"}`)
	f.Add(`{"provider":"X","auth":null,"accessToken":"a","expires":"8640000000000001"}`, "")
	o := newOpener(secret.String{})
	f.Fuzz(func(t *testing.T, oauth2, imap string) {
		a := o.account("id", map[string]string{"account": "id", "oauth2": oauth2, "imap": imap})
		if a.Err != nil && (!a.RefreshToken.IsZero() || !a.AccessToken.IsZero()) {
			t.Errorf("tokens beside %v", a.Err)
		}
		if strings.HasPrefix(a.RefreshToken.Reveal(), "$wd01$") || strings.HasPrefix(a.AccessToken.Reveal(), "$wd01$") {
			t.Error("a ciphertext became a token")
		}
		if y := a.Expires.Year(); y < 0 || y > 275760 {
			t.Errorf("year %d", y)
		}
	})
}
