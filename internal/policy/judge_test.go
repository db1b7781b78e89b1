package policy

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func TestJudge(t *testing.T) {
	reaching := func(change func(*Key)) Key {
		key := Key{Name: "ci", Accounts: []string{"alice", "team/*"}}
		change(&key)
		return key
	}
	plain := reaching(func(*Key) {})
	token := reaching(func(k *Key) { k.Token = true })
	admin := Key{Name: "ops", Admin: true}
	connect := reaching(func(k *Key) { k.Connect = true })
	expiring := reaching(func(k *Key) { k.Expires = now })
	living := reaching(func(k *Key) { k.Expires = now.Add(time.Nanosecond) })
	ranged := reaching(func(k *Key) {
		k.CIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("fe80::/10")}
	})
	ruled := reaching(func(k *Key) { k.Rules = mustParse("GET *") })
	ruledToken := reaching(func(k *Key) { k.Rules, k.Token = mustParse("* *"), true })
	preset := reaching(func(k *Key) { k.Presets = []string{"gmail-readonly"} })
	presetToken := reaching(func(k *Key) { k.Presets, k.Token = []string{"gmail-readonly"}, true })
	for _, c := range []struct {
		name    string
		key     Key
		account string
		needs   Permission
		client  string
		want    Reason
		missing string
	}{
		{"proxy within reach", plain, "alice", Proxy, "", "", ""},
		{"proxy by pattern", plain, "team/bob/x", Proxy, "", "", ""},
		{"proxy out of reach", plain, "mallory", Proxy, "", ReasonAccount, `"mallory"`},
		{"no account", plain, "", Proxy, "", ReasonAccount, `""`},
		{"key without accounts", Key{}, "alice", Proxy, "", ReasonAccount, "alice"},
		{"token not granted", plain, "alice", Token, "", ReasonPermission, `"token"`},
		{"token granted", token, "alice", Token, "", "", ""},
		{"token out of reach", token, "mallory", Token, "", ReasonAccount, "mallory"},
		{"admin not granted", token, "alice", Admin, "", ReasonPermission, `"admin"`},
		{"admin manages every account", admin, "alice", Admin, "", "", ""},
		{"admin does not reach APIs", admin, "alice", Proxy, "", ReasonAccount, "alice"},
		{"admin is not given tokens", admin, "alice", Token, "", ReasonPermission, `"token"`},
		{"admin makes links", admin, "anyone", Connect, "", "", ""},
		{"connect within reach", connect, "alice", Connect, "", "", ""},
		{"connect out of reach", connect, "mallory", Connect, "", ReasonAccount, "mallory"},
		{"connect not granted", plain, "alice", Connect, "", ReasonPermission, `"connect"`},
		{"any key", Key{}, "", Any, "", "", ""},
		{"unknown permission", admin, "alice", "root", "", ReasonPermission, `"root"`},
		{"expired this instant", expiring, "alice", Proxy, "", ReasonExpired, "2026-05-04T03:02:01Z"},
		{"expired for any use", expiring, "", Any, "", ReasonExpired, "later end"},
		{"not yet expired", living, "alice", Proxy, "", "", ""},
		{"address in range", ranged, "alice", Proxy, "10.9.8.7", "", ""},
		{"IPv4 written in IPv6", ranged, "alice", Proxy, "::ffff:10.9.8.7", "", ""},
		{"IPv6 in range", ranged, "alice", Proxy, "2001:db8::5", "", ""},
		{"address with a zone", ranged, "alice", Proxy, "fe80::5%eth0", "", ""},
		{"address out of range", ranged, "alice", Proxy, "11.0.0.1", ReasonAddress, "11.0.0.1"},
		{"no address", ranged, "alice", Proxy, "", ReasonAddress, "address range"},
		{"address before permission", ranged, "alice", Token, "11.0.0.1", ReasonAddress, "11.0.0.1"},
		{"rules are not ignored", ruled, "alice", Proxy, "", ReasonRule, "POST gmail.googleapis.com/send"},
		{"presets are not ignored", preset, "alice", Proxy, "", ReasonRule, "its preset gmail-readonly"},
		{"a preset that is not known allows nothing", reaching(func(k *Key) { k.Presets = []string{"read"} }), "alice", Proxy, "", ReasonRule, "its preset read"},
		{"rules are not for reaching the account", ruled, "alice", Reach, "", "", ""},
		{"out of reach", ruled, "mallory", Reach, "", ReasonAccount, "mallory"},
		{"rules are not for calls of our own", ruled, "alice", Any, "", "", ""},
		{"no token beside rules", ruledToken, "alice", Token, "", ReasonRule, "who holds"},
		{"no token beside presets", presetToken, "alice", Token, "", ReasonRule, "who holds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts := Facts{
				Account: c.account, Needs: c.needs, Now: now,
				Request: &target.Request{Method: "POST", Host: "gmail.googleapis.com", Path: "/send"},
			}
			if c.client != "" {
				facts.Client = netip.MustParseAddr(c.client)
			}
			got := Judge(&c.key, &facts)
			if got.Reason != c.want || got.Allowed != (c.want == "") {
				t.Fatalf("got %+v, want reason %q", got, c.want)
			}
			if says := got.Missing + got.Forbids; !strings.Contains(says, c.missing) || (c.want == "") != (says == "") || got.Missing != "" && got.Forbids != "" {
				t.Errorf("what is missing reads %q, what forbids %q", got.Missing, got.Forbids)
			}
		})
	}
}

func TestJudgeDoesNotAllocateForAnAllowedCall(t *testing.T) {
	key := Key{
		Accounts: []string{"bob", "team/*", "alice"}, Token: true, Expires: now.Add(time.Hour),
		CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	client := netip.MustParseAddr("::ffff:10.1.2.3")
	n := testing.AllocsPerRun(100, func() {
		if !Judge(&key, &Facts{Account: "alice", Needs: Token, Client: client, Now: now}).Allowed {
			t.Fatal("not allowed")
		}
	})
	if n > 0 {
		t.Errorf("Judge allocates %v times", n)
	}
}

func TestRulesRefuseACallThatIsNotKnown(t *testing.T) {
	key := Key{Accounts: []string{"*"}, Rules: mustParse("* *")}
	if got := Judge(&key, &Facts{Account: "alice", Needs: Proxy, Now: now}); got.Allowed || got.Reason != ReasonRule {
		t.Errorf("%+v", got)
	}
}

func TestExpiredKeyIsAnsweredAsAnUnknownOne(t *testing.T) {
	expired := Judge(&Key{Expires: now}, &Facts{Now: now}).Problem()
	unknown := InvalidKey()
	if expired.Error() != unknown.Error() || expired.Challenge != unknown.Challenge || expired.Status != http.StatusUnauthorized {
		t.Errorf("expired: %+v, unknown: %+v", expired, unknown)
	}
}

func TestRefusalNamesWhatIsMissing(t *testing.T) {
	if p := (Decision{Allowed: true}).Problem(); p != nil {
		t.Errorf("an allowed call is a problem: %v", p)
	}
	p := Judge(&Key{}, &Facts{Account: "alice", Needs: Proxy, Now: now}).Problem()
	if p.Code != problem.NotAllowed || p.Status != http.StatusForbidden || !strings.Contains(p.Message, `"alice"`) {
		t.Errorf("got %+v", p)
	}
}
