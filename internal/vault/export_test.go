package vault

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func TestExportGivesEachGrantAndKeyOnce(t *testing.T) {
	v := newVault(t)
	want := map[string]bool{}
	for i := range 7 {
		g := fullGrant(fmt.Sprintf("account%d", i))
		save(t, v, g, 0)
		want["grant/"+g.ID] = true
	}
	ring, err := LoadKeyring(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		k := &policy.Key{Name: fmt.Sprintf("key%d", i), Hash: fmt.Sprint(i), Accounts: []string{"*"}}
		if err := ring.Add(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		want["key/"+k.Name] = true
	}
	for limit := 1; limit <= 12; limit++ {
		got := map[string]bool{}
		for after := ""; ; {
			entries, last, err := v.Export(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if got[e.Key] {
					t.Errorf("pages of %d: %s twice", limit, e.Key)
				}
				got[e.Key] = true
			}
			if last {
				break
			}
			after = entries[len(entries)-1].Key
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d:\n%s", limit, diff)
		}
	}
	if entries, last, err := newVault(t).Export(t.Context(), "", 5); err != nil || len(entries) > 0 || !last {
		t.Errorf("an empty store: %v, %v, %v", entries, last, err)
	}
}

func TestDecodeGivesBackTheWholeGrant(t *testing.T) {
	v := newVault(t)
	save(t, v, fullGrant("alice"), 0)
	e, ok, err := v.ExportOne(t.Context(), "grant/alice")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), "refresh token") {
		t.Error("an entry prints its secrets")
	}
	g, k, err := e.Decode()
	if err != nil || k != nil {
		t.Fatal(k, err)
	}
	if diff := cmp.Diff(fullGrant("alice"), g, reveal); diff != "" {
		t.Errorf("(-saved +decoded):\n%s", diff)
	}
	if _, ok, err := v.ExportOne(t.Context(), "grant/bob"); ok || err != nil {
		t.Errorf("an account that is not there: %v, %v", ok, err)
	}
}

func TestDecodeRefusesWhatIsNotItsName(t *testing.T) {
	for _, e := range []Entry{
		{Key: "grant/bob", Text: secret.New(`{"id":"alice"}`)},
		{Key: "grant/bob", Text: secret.New(`"canary`)},
		{Key: "key/ci", Text: secret.New(`{"name":"other"}`)},
		{Key: "key/ci", Text: secret.New(`canary`)},
		{Key: "index/bob", Text: secret.New(`{}`)},
		{},
	} {
		if g, k, err := e.Decode(); err == nil || g != nil || k != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, %v, %v", e.Key, g, k, err)
		}
	}
}

func TestChangedTellsOfEntriesAlone(t *testing.T) {
	v := newVault(t)
	grants, _, err := v.Changed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	save(t, v, &account.Grant{ID: "alice", Provider: "p", State: account.Init}, 0)
	if e := <-grants; e.Key != "grant/alice" {
		t.Errorf("%+v", e)
	}
	if len(grants) != 0 {
		t.Errorf("%d more", len(grants))
	}
}
