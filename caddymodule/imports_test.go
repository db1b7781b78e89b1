package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/policy"
)

// imported calls POST /v1/import on the admin endpoint.
func (b *bellhop) imported(body importRequest) importAnswer {
	b.t.Helper()
	var answer importAnswer
	to := adminFlags{address: "unix/" + b.dir + "/admin.sock"}
	if err := to.call(http.MethodPost, "/v1/import", body, &answer); err != nil {
		b.t.Fatal(err)
	}
	return answer
}

// results are those of an answer, by account and key.
func (a *importAnswer) results() map[string]importResult {
	found := make(map[string]importResult)
	for _, account := range a.Accounts {
		found["account "+account.Account] = account.Result
	}
	for _, key := range a.Keys {
		found["key "+key.Name] = key.Result
	}
	return found
}

func TestImportNeedsAnAdminKey(t *testing.T) {
	p := startProvider(t)
	b := start(t, withAPI(standardCaddyfile(p)))
	plain := b.addKey("plain", map[string]any{"accounts": []string{"*"}, "token": true, "connect": true})
	admin := b.addKey("admin", map[string]any{"admin": true})
	send := func(body, key string) reply {
		return b.do("POST", "/v1/import", strings.NewReader(body), "Content-Type", "application/json", "Authorization", "Bearer "+key)
	}
	refusedWith(t, b.do("POST", "/v1/import", strings.NewReader("{}")), http.StatusUnauthorized, "MissingKey")
	refusedWith(t, send(`{"accounts":[{"account":"a","provider":"google","refreshToken":"x"}]}`, plain), http.StatusForbidden, "NotAllowed")
	refusedWith(t, send(`{"accounts":[{"account":"a","refreshtokn":"x"}]}`, admin), http.StatusBadRequest, "InvalidRequest")
	refusedWith(t, send(`{"accounts":["`+strings.Repeat("x", maxManagementBody)+`"]}`, admin), http.StatusRequestEntityTooLarge, "TooLarge")
	refusedWith(t, b.do("GET", "/v1/import", nil, "Authorization", "Bearer "+admin), http.StatusMethodNotAllowed, "MethodNotAllowed")
	if r := send(`{}`, admin); r.status != http.StatusOK || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if list := b.admin("GET", "/v1/accounts", nil); list["total"] != 0. {
		t.Errorf("%v", list)
	}
}

func TestImportServesWhatCameAndRenewsNothing(t *testing.T) {
	clock := useFakeClock(t)
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	_, refreshToken := p.grant(t, fakeprovider.Grant{Email: "alice@example.com", Scope: mailScope})
	expires := clock.Now().Add(time.Hour).UTC().Truncate(time.Second)
	_, hash := policy.NewKey()
	token := strings.Repeat("5a", 32)
	body := importRequest{
		Accounts: []importAccount{
			{Account: "alice", Name: "Alice", User: "alice@example.com", Provider: "google", Scopes: []string{mailScope}, RefreshToken: refreshToken, AccessToken: "ya29.imported", Expires: expires},
			{Account: "by-client", ClientID: "bellhop-microsoft", RefreshToken: "M.one"},
		},
		Keys: []importKey{
			{Name: "ci", Hash: policy.HashKey(token), Accounts: []string{"alice"}, Token: true, CIDRs: []string{"127.0.0.0/8"}},
			{Name: "none", Hash: hash, Accounts: []string{"alice"}, Allow: []string{nothing}},
		},
	}
	want := map[string]importResult{"account alice": importAdded, "account by-client": importAdded, "key ci": importAdded, "key none": importAdded}

	dry := body
	dry.DryRun = true
	planned := b.imported(dry)
	if diff := cmp.Diff(want, planned.results()); diff != "" || !planned.DryRun {
		t.Errorf("a dry run (-want +got):\n%s", diff)
	}
	if accounts, keys := b.admin("GET", "/v1/accounts", nil), b.admin("GET", "/v1/tokens", nil); accounts["total"] != 0. || keys["total"] != 0. {
		t.Errorf("a dry run left %v and %v", accounts, keys)
	}

	done := b.imported(body)
	if diff := cmp.Diff(want, done.results()); diff != "" {
		t.Errorf("the import (-want +got):\n%s", diff)
	}
	if done.Accounts[1].Provider != "microsoft" {
		t.Errorf("a client's provider: %+v", done.Accounts[1])
	}
	before := b.admin("GET", "/v1/account/alice", nil)
	if before["state"] != "restored" || before["name"] != "Alice" {
		t.Errorf("%v", before)
	}
	again := b.imported(body)
	for record, result := range again.results() {
		if result != importUnchanged {
			t.Errorf("%s, imported twice: %s", record, result)
		}
	}
	if diff := cmp.Diff(before, b.admin("GET", "/v1/account/alice", nil)); diff != "" {
		t.Errorf("a second import changed (-before +after):\n%s", diff)
	}

	if r := b.get(tokenURL("alice"), token); r.status != http.StatusOK || !strings.Contains(string(r.body), `"ya29.imported"`) {
		t.Errorf("the imported key and token: %d %s", r.status, r.body)
	}
	clock.Advance(2 * time.Hour)
	if r := b.get(tokenURL("alice"), token); r.status == http.StatusOK {
		t.Errorf("after the token's end: %s", r.body)
	}
	if n := p.tokenRequests(t); n != 0 {
		t.Errorf("%d token requests by an import", n)
	}
	b.admin("POST", "/v1/account/alice/adopt", nil)
	if r := b.get(tokenURL("alice"), token); r.status != http.StatusOK {
		t.Errorf("once adopted: %d %s", r.status, r.body)
	}
}

func TestImportRefusesEachRecordForItself(t *testing.T) {
	p := startProvider(t)
	configured, _ := policy.NewKey()
	twins := strings.Replace(withKeys(standardCaddyfile(p), declared("declared", configured.Reveal(), "\t\t\taccount *\n")), "\t\tprovider acme oauth2 {", "\t\tprovider twin google {\n\t\t\tclient_id bellhop\n\t\t\tclient_secret bellhop-secret\n\t\t\tscopes https://mail.google.com/\n\t\t}\n\t\tprovider acme oauth2 {", 1)
	b := start(t, twins)
	b.connect(p, "there", "google")
	b.addKey("taken", nil)
	key, hash := policy.NewKey()
	const secretToken = "1//0gCANARY"
	answer := b.imported(importRequest{
		Accounts: []importAccount{
			{Account: "there", Provider: "google", RefreshToken: secretToken},
			{Account: "a", Provider: "gogle", RefreshToken: secretToken},
			{Account: "b", RefreshToken: secretToken},
			{Account: "c", ClientID: "nobody's", RefreshToken: secretToken},
			{Account: "d", ClientID: "bellhop", RefreshToken: secretToken},
			{Account: "e", Provider: "google", ClientID: "another", RefreshToken: secretToken},
			{Account: "/f", Provider: "google", RefreshToken: secretToken},
			{Account: "g", Provider: "google"},
			{Account: "h", Provider: "google", RefreshToken: secretToken + " x"},
			{Account: key.Reveal(), Provider: "google", RefreshToken: secretToken},
			{Account: "good", Provider: "google", ClientID: "bellhop", RefreshToken: secretToken},
		},
		Keys: []importKey{
			{Name: "taken", Hash: hash},
			{Name: "other name", Hash: hash},
			{Name: "no-hash", Hash: "xyz"},
			{Name: "no-range", Hash: hash, CIDRs: []string{"10.0.0.1/8"}},
			{Name: "no-rule", Hash: hash, Allow: []string{"GET"}},
			{Name: "both", Hash: hash, Token: true, Allow: []string{nothing}},
			{Name: key.Reveal(), Hash: hash},
			{Name: "declared-again", Hash: policy.HashKey(configured.Reveal())},
		},
	})
	var got []string
	for _, a := range answer.Accounts {
		got = append(got, a.Account+": "+string(a.Result)+" "+a.Reason)
		if strings.Contains(a.Reason, "CANARY") {
			t.Errorf("%s: %s quotes a token", a.Account, a.Reason)
		}
	}
	for _, k := range answer.Keys {
		got = append(got, k.Name+": "+string(k.Result)+" "+k.Reason)
	}
	for i, want := range [][]string{
		{"there: conflict ", "another grant"},
		{"a: refused ", `no provider "gogle"`},
		{"b: refused ", "provider: is missing"},
		{"c: refused ", `"nobody's"`, "only with the client"},
		{"d: refused ", "google, twin", "--provider"},
		{"e: refused ", `"another"`, "google has another"},
		{"/f: refused ", "begins or ends"},
		{"g: refused ", "refreshToken"},
		{"h: refused ", "white space"},
		{": refused ", "API key"},
		{"good: added "},
		{"taken: conflict ", "has this name"},
		{"other name: refused ", "key name"},
		{"no-hash: refused ", "hash"},
		{"no-range: refused ", "cidrs"},
		{"no-rule: refused ", "allow"},
		{"both: refused ", "token does not go with rules"},
		{": refused ", "is a key itself"},
		{"declared: unchanged "},
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want[0]) || slices.ContainsFunc(want, func(says string) bool { return !strings.Contains(got[i], says) }) {
			t.Errorf("record %d: %q, want %q", i, got[min(i, len(got)-1)], want)
		}
	}
	if list := b.admin("GET", "/v1/accounts", nil); list["total"] != 2. {
		t.Errorf("%v", list)
	}
}

func TestImportFindsTheProviderOfAClient(t *testing.T) {
	p := startProvider(t)
	b := start(t, standardCaddyfile(p))
	answer := b.imported(importRequest{Clients: []importClient{
		{Type: "gmail", ClientID: "bellhop"},
		{Type: "outlook", ClientID: "bellhop-microsoft"},
		{Type: "mailRu", ClientID: "bellhop"},
		{Type: "outlook", ClientID: "bellhop"},
		{Type: "google", ClientID: "bellhop"},
		{Type: "outlookService", ClientID: "bellhop-microsoft"},
		{Type: "gmailService"},
	}})
	var got []string
	for _, c := range answer.Clients {
		if (c.Provider == "") != (c.Reason != "") {
			t.Errorf("%+v", c)
		}
		got = append(got, c.Provider)
	}
	if diff := cmp.Diff([]string{"google", "microsoft", "acme", "", "google", "", ""}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"acme", "google", "microsoft"}, answer.Providers); diff != "" {
		t.Error(diff)
	}
}
