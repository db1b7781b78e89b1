package vault

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/store"
)

// gateStore is a store that can be slow to read, and whose reads can fail.
type gateStore struct {
	store.Store
	fails atomic.Bool
	// asked, unless it is nil, is told of each commit, which waits for answer.
	asked, answer chan struct{}
}

var errGate = errors.New("the store is away")

func (s *gateStore) Get(ctx context.Context, key string) (store.Record, error) {
	if s.fails.Load() {
		return store.Record{}, errGate
	}
	return s.Store.Get(ctx, key)
}

func (s *gateStore) Commit(ctx context.Context, l *store.Lease, writes ...store.Write) ([]uint64, error) {
	if s.asked != nil {
		s.asked <- struct{}{}
		<-s.answer
	}
	return s.Store.Commit(ctx, l, writes...)
}

// rings are the keyrings of two processes on one store.
func rings(t *testing.T) (mine, others *Keyring, st *gateStore) {
	t.Helper()
	v := newVault(t)
	others, err := LoadKeyring(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	st = &gateStore{Store: v.store}
	if mine, err = LoadKeyring(t.Context(), New(st, v.seal)); err != nil {
		t.Fatal(err)
	}
	return mine, others, st
}

// TestLargestKeyFitsTheStore holds that a key which is valid can be kept, also
// where its text is six times as long as JSON.
func TestLargestKeyFitsTheStore(t *testing.T) {
	keys, _, _ := rings(t)
	_, hash := policy.NewKey()
	key := &policy.Key{Name: "large", Hash: hash, Description: strings.Repeat("\x01", 4<<10)}
	for i := range 256 {
		key.CIDRs = append(key.CIDRs, netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:ffff:ffff:ffff:ffff:ffff:ff%02x", i)), 128))
	}
	rule, err := policy.ParseRule("GET gmail.googleapis.com/" + strings.Repeat("&", 2000))
	if err != nil {
		t.Fatal(err)
	}
	for _, grow := range []func(){
		func() { key.Rules = append(key.Rules, rule) },
		func() { key.Accounts = append(key.Accounts, strings.Repeat("<", 200)) },
		func() { key.Accounts = append(key.Accounts, "a") },
	} {
		for {
			before := *key
			if grow(); key.Validate() != nil {
				*key = before
				break
			}
		}
	}
	if len(key.Rules) == 0 || len(key.Accounts) == 0 {
		t.Fatalf("%d rules, %d account patterns", len(key.Rules), len(key.Accounts))
	}
	add(t, keys, key)
}

func add(t *testing.T, k *Keyring, key *policy.Key) {
	t.Helper()
	if err := k.Add(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, k *Keyring, name string) {
	t.Helper()
	if ok, err := k.Remove(t.Context(), name); !ok || err != nil {
		t.Fatalf("%t %v", ok, err)
	}
}

// becomes waits for the key with the hash to be of the name; empty for none.
func becomes(t *testing.T, k *Keyring, hash, name string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		got := ""
		if key := k.Find(hash); key != nil {
			got = key.Name
		}
		if got == name {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("hash %s is of key %q, want %q", hash, got, name)
		}
		<-time.After(time.Millisecond)
	}
}

func TestKeyringFollowsWhatOthersDo(t *testing.T) {
	mine, others, st := rings(t)
	add(t, others, &policy.Key{Name: "before", Hash: "hash before"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mine.Follow(ctx) }()
	becomes(t, mine, "hash before", "before")
	add(t, others, &policy.Key{Name: "added", Hash: "hash 1"})
	becomes(t, mine, "hash 1", "added")
	remove(t, others, "added")
	becomes(t, mine, "hash 1", "")
	// Under the same name another key: the old one opens nothing any more.
	add(t, others, &policy.Key{Name: "added", Hash: "hash 2"})
	becomes(t, mine, "hash 2", "added")
	remove(t, others, "added")
	add(t, others, &policy.Key{Name: "added", Hash: "hash 3"})
	becomes(t, mine, "hash 3", "added")
	becomes(t, mine, "hash 2", "")
	cancel()
	if err := <-ended; err == nil {
		t.Error("it ended without an error")
	}

	// What cannot be read ends it, and is read when it begins anew.
	go func() { ended <- mine.Follow(t.Context()) }()
	add(t, others, &policy.Key{Name: "last but one", Hash: "hash 4"})
	becomes(t, mine, "hash 4", "last but one")
	st.fails.Store(true)
	add(t, others, &policy.Key{Name: "last", Hash: "hash 5"})
	if err := <-ended; !errors.Is(err, errGate) {
		t.Errorf("it ended with %v", err)
	}
	st.fails.Store(false)
	ctx, cancel = context.WithCancel(t.Context())
	go func() { ended <- mine.Follow(ctx) }()
	becomes(t, mine, "hash 5", "last")
	cancel()
	<-ended
}

// Nothing was heard yet of what another process has just added.
func TestKeyOfAnotherProcessCanBeRemoved(t *testing.T) {
	for _, by := range []string{"other", "other's hash"} {
		mine, others, _ := rings(t)
		add(t, others, &policy.Key{Name: "other", Hash: "other's hash"})
		if mine.Find("other's hash") != nil {
			t.Fatal("it is known")
		}
		remove(t, mine, by)
		if ok, err := mine.Remove(t.Context(), by); ok || err != nil {
			t.Errorf("once more: %t, %v", ok, err)
		}
		if err := mine.Add(t.Context(), &policy.Key{Name: "other", Hash: "another"}); err != nil {
			t.Error(err)
		}
	}
}

// Lookups are on every call's way: a store that hangs must not hold them up.
func TestKeysAreFoundWhileTheStoreHangs(t *testing.T) {
	mine, _, st := rings(t)
	add(t, mine, &policy.Key{Name: "known", Hash: "hash"})
	add(t, mine, &policy.Key{Name: "other", Hash: "other's hash"})
	st.asked, st.answer = make(chan struct{}), make(chan struct{})
	for name, change := range map[string]func() error{
		"adding":   func() error { return mine.Add(t.Context(), &policy.Key{Name: "new", Hash: "hash 2"}) },
		"removing": func() error { _, err := mine.Remove(t.Context(), "other"); return err },
	} {
		changed := make(chan error)
		go func() { changed <- change() }()
		<-st.asked
		found := make(chan *policy.Key, 1)
		go func() { found <- mine.Find("hash") }()
		select {
		case key := <-found:
			if key == nil {
				t.Errorf("%s: the key is gone", name)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the lookup waits for the store", name)
		}
		st.answer <- struct{}{}
		if err := <-changed; err != nil {
			t.Fatal(err)
		}
	}
}

func TestGrantsAreFollowed(t *testing.T) {
	v := newVault(t)
	type change struct {
		id      string
		version uint64
	}
	changes := make(chan change, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- v.FollowGrants(ctx, func(id string, version uint64) { changes <- change{id, version} })
	}()
	if got := <-changes; got != (change{}) {
		t.Errorf("first %v, want that all is to be read", got)
	}
	g := &account.Grant{ID: "team/alice", Provider: "p", State: account.Connected}
	version := save(t, v, g, 0)
	if got := <-changes; got != (change{"team/alice", version}) {
		t.Errorf("%v, want version %d", got, version)
	}
	if err := v.Remove(t.Context(), "team/alice", version); err != nil {
		t.Fatal(err)
	}
	if got := <-changes; got != (change{"team/alice", 0}) {
		t.Errorf("%v, want that it is gone", got)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("it ended without an error")
	}
}

func TestGrantIsSavedUnderALeaseThatHolds(t *testing.T) {
	v := newVault(t)
	g := &account.Grant{ID: "alice", Provider: "p", State: account.Connected}
	l, err := v.Acquire(t.Context(), "alice", "me", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Acquire(t.Context(), "alice", "another", time.Minute); !errors.Is(err, store.ErrLeased) {
		t.Errorf("acquired twice: %v", err)
	}
	if l, err = v.Renew(t.Context(), l, time.Minute); err != nil {
		t.Fatal(err)
	}
	version, err := v.Save(t.Context(), &l, g, 0, at, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Save(t.Context(), &l, g, version, at, at); !errors.Is(err, store.ErrFenced) {
		t.Errorf("saved under a lease that has ended: %v", err)
	}
}

// A record that cannot be read opens nothing, and keeps no other key from being
// removed.
func TestKeyThatCannotBeReadKeepsNoOtherAlive(t *testing.T) {
	mine, others, st := rings(t)
	add(t, others, &policy.Key{Name: "broken", Hash: "broken's hash"})
	add(t, others, &policy.Key{Name: "removed", Hash: "removed's hash"})
	ended := make(chan error, 1)
	go func() { ended <- mine.Follow(t.Context()) }()
	becomes(t, mine, "broken's hash", "broken")
	becomes(t, mine, "removed's hash", "removed")
	broken := store.Write{Key: keyPrefix + "broken", Value: []byte("not sealed"), Expect: store.AnyVersion}
	if _, err := st.Store.Commit(t.Context(), nil, broken); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("it is not told")
	}
	becomes(t, mine, "broken's hash", "")
	remove(t, others, "removed")
	if err := mine.Follow(t.Context()); err == nil { // as it is tried again
		t.Error("it is not told")
	}
	becomes(t, mine, "removed's hash", "")
	if _, err := LoadKeyring(t.Context(), others.vault); err == nil {
		t.Error("a process may start with it")
	}
}
