package caddymodule

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

const (
	gmailScope      = "https://mail.google.com/"
	postmasterScope = "https://www.googleapis.com/auth/postmaster.domain"
)

func TestAPersonConnectsAnAccount(t *testing.T) {
	s := startConnectSite(t)
	for _, provider := range []string{"google", "microsoft", "acme"} {
		t.Run(provider, func(t *testing.T) {
			id := "alice-" + provider
			v := s.visitor()
			link := s.invites(consent.Link{Account: id, Provider: provider, Name: "Alice's mail", Email: "alice@example.com", AnyMailbox: provider == "microsoft"})
			s.shows(v.visit(http.MethodGet, link, nil), http.StatusOK, "Acme Mail", "Alice's mail", "alice@example.com")
			done := v.consents(link, fakeprovider.Decision{Person: "alice@example.com"})
			s.shows(done, http.StatusOK, "Your account is connected", "Granted by alice@example.com", "This was not me")
			if len(v.cookies) != 0 {
				t.Errorf("the browser keeps %d cookies", len(v.cookies))
			}
			g := s.grant(id)
			if g == nil || g.State != account.Connected || g.Subject == "" || g.RefreshToken.IsZero() || len(g.Missing) != 0 {
				t.Errorf("the account is %+v", g)
			}
		})
	}
	if s.metric(`bellhop_consents_total{provider="acme",result="connected"}`) < 1 {
		t.Error("the consent was not counted")
	}
	access, err := os.ReadFile(filepath.Join(s.dir, "logs", "access.log"))
	if err == nil && bytes.Contains(access, []byte("handled request")) {
		t.Errorf("the access log has %s", access)
	}
	audit, err := os.ReadFile(filepath.Join(s.dir, "logs", "caddy.log"))
	if err != nil || !regexp.MustCompile(`"route":"connect","decision":"allowed","key":"","account":"alice-acme","method":"GET","host":"","path":"/oauth/callback".*"result":"connected"`).Match(audit) {
		t.Errorf("the audit has no line of the consent: %v", err)
	}
	s.inNoLog()
}

func TestALinkIsOpenedByScannersAndUsedOnce(t *testing.T) {
	s := startConnectSite(t)
	link := s.invites(consent.Link{Account: "alice", Provider: "google", ReturnTo: s.application.URL + "/done?from=mail"})
	for range 20 {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r := s.do(method, link, nil, "User-Agent", "a scanner")
			if r.status != http.StatusOK || len(r.header.Values("Set-Cookie")) > 0 {
				t.Fatalf("%s: %d with cookies %q", method, r.status, r.header.Values("Set-Cookie"))
			}
		}
	}
	if n := s.provider.tokenRequests(t); n != 0 {
		t.Errorf("%d token requests", n)
	}
	v := s.visitor()
	query := s.sentOn(v.consents(link, fakeprovider.Decision{}), s.application.URL+"/done")
	if query.Get("account") != "alice" || query.Get("state") != "new" || query.Get("from") != "mail" || query.Has("confirm") {
		t.Errorf("the application is told %v", query)
	}
	s.shows(v.visit(http.MethodGet, link, nil), http.StatusGone, "This link has been used")
	s.shows(v.visit(http.MethodPost, link, url.Values{}), http.StatusGone, "This link has been used")

	again := s.invites(consent.Link{Account: "alice", Provider: "google", ReturnTo: s.application.URL + "/"})
	if query := s.sentOn(v.consents(again, fakeprovider.Decision{}), s.application.URL+"/"); query.Get("state") != "existing" {
		t.Errorf("the application is told %v", query)
	}
	s.inNoLog()
}

func TestTwoAttemptsOfOneBrowserDoNotDisturbEachOther(t *testing.T) {
	s := startConnectSite(t)
	v := s.visitor()
	link := s.invites(consent.Link{Account: "alice", Provider: "google"})
	first, second := v.begin(link), v.begin(link)
	if len(v.cookies) != 2 {
		t.Fatalf("the browser keeps %d cookies", len(v.cookies))
	}
	s.shows(v.visit(http.MethodGet, v.decide(first, fakeprovider.Decision{}), nil), http.StatusOK, "Your account is connected")
	s.shows(v.visit(http.MethodGet, v.decide(second, fakeprovider.Decision{}), nil), http.StatusGone, "This link has been used")
	if g := s.grant("alice"); g.State != account.Connected {
		t.Errorf("the account is %s", g.State)
	}
}

func TestAttemptsDoNotPileUp(t *testing.T) {
	s := startConnectSite(t)
	v := s.visitor()
	v.cookies["bellhop-other"], v.cookies["session"] = "x", "y"
	link := s.invites(consent.Link{Account: "alice", Provider: "google"})
	var at string
	for range 3 * maxAttempts {
		at = v.begin(link)
		if attempts := len(v.cookies) - 2; attempts < 1 || attempts > maxAttempts {
			t.Fatalf("the browser keeps %d attempts", attempts)
		}
	}
	if v.cookies["bellhop-other"] == "" || v.cookies["session"] == "" {
		t.Error("other cookies are gone")
	}
	s.shows(v.visit(http.MethodGet, v.decide(at, fakeprovider.Decision{}), nil), http.StatusOK, "Your account is connected")
}

func TestWhoeverDeclinesMayTryAgain(t *testing.T) {
	s := startConnectSite(t)
	v := s.visitor()
	link := s.invites(consent.Link{Account: "alice", Provider: "google"})
	declined := v.consents(link, fakeprovider.Decision{Deny: true})
	s.shows(declined, http.StatusForbidden, "Nothing was connected", "Try again", "access_denied")
	if declined.header.Get("Bellhop-Error") != "Declined" {
		t.Errorf("Bellhop-Error is %q", declined.header.Get("Bellhop-Error"))
	}
	if s.grant("alice") != nil {
		t.Error("there is an account")
	}
	s.shows(v.consents(s.tryAgain(declined), fakeprovider.Decision{}), http.StatusOK, "Your account is connected")
	s.inNoLog()
}

var againPattern = regexp.MustCompile(`<a class="button" rel="next" href="([^"]*)">`)

// tryAgain is the path that a refusal offers to try again at.
func (s *connectSite) tryAgain(page reply) string {
	s.t.Helper()
	found := againPattern.FindSubmatch(page.body)
	if found == nil {
		s.t.Fatalf("the page does not say where to try again: %s", page.body)
	}
	path := strings.TrimPrefix(string(found[1]), s.url)
	s.hides("link", strings.TrimPrefix(path, connectPrefix))
	return path
}

func TestLinksAndAttemptsEnd(t *testing.T) {
	now := useFakeClock(t)
	s := startConnectSite(t)
	v := s.visitor()
	link := s.invites(consent.Link{Account: "alice", Provider: "acme"})
	at := v.begin(link)
	callback := v.decide(at, fakeprovider.Decision{})
	now.Advance(consent.AttemptLife)
	late := v.visit(http.MethodGet, callback, nil)
	s.shows(late, http.StatusBadRequest, "That took too long", "Try again")
	if again := s.visitor().visit(http.MethodGet, s.tryAgain(late), nil); again.status != http.StatusOK {
		t.Errorf("trying again: %d", again.status)
	}
	now.Advance(consent.LinkLife)
	s.shows(v.visit(http.MethodGet, link, nil), http.StatusGone, "This link has expired", "Ask for a new one")
	s.shows(v.visit(http.MethodPost, link, url.Values{}), http.StatusGone, "This link has expired")
	for _, broken := range []string{link[:len(link)-1], link + "A", "/connect/x", "/connect/", "/connect/" + strings.Repeat("A", 4000), "/connect/a/b", "/connect/%2e%2e"} {
		s.shows(v.visit(http.MethodGet, broken, nil), http.StatusNotFound, "This link is not valid")
	}
	s.inNoLog()
}

func TestAStateIsWorthNothingInAnotherBrowser(t *testing.T) {
	s := startConnectSite(t)
	mine, other := s.visitor(), s.visitor()
	link := s.invites(consent.Link{Account: "alice", Provider: "google"})
	callback := mine.decide(mine.begin(link), fakeprovider.Decision{})
	s.shows(other.visit(http.MethodGet, callback, nil), http.StatusBadRequest, "There is nothing to finish here")

	// With an attempt of its own it gets no further.
	other.begin(link)
	stolen, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range other.cookies { // under the name that the stolen state asks for
		other.cookies = map[string]string{"bellhop-" + stolen.Query().Get("state"): value}
	}
	s.shows(other.visit(http.MethodGet, callback, nil), http.StatusBadRequest, "There is nothing to finish here")
	if n := s.provider.tokenRequests(t); n != 0 {
		t.Errorf("%d token requests", n)
	}
	// It consumed nothing: who began can finish.
	s.shows(mine.visit(http.MethodGet, callback, nil), http.StatusOK, "Your account is connected")
	s.shows(mine.visit(http.MethodGet, callback, nil), http.StatusBadRequest, "If you were told that the account is connected, it is")
	s.inNoLog()
}

func TestSenselessCallbacksAreRefused(t *testing.T) {
	s := startConnectSite(t)
	v := s.visitor()
	for _, query := range []string{
		"", "?", "?code=x", "?state=", "?state=short", "?state=" + strings.Repeat("a", 200), "?state=aaaaaaaaaaaaaaaaaaaaaa",
		"?state=aaaaaaaaaaaaaaaaaaaaaa&state=aaaaaaaaaaaaaaaaaaaaaa", "?state=%zz", "?state=a%3D%3Baaaaaaaaaaaaaaaaaa", "?state=aaaaaaaaaaaaaaaaaaaaaa;code=x",
	} {
		s.shows(v.visit(http.MethodGet, callbackPath+query, nil, "Cookie", "bellhop-aaaaaaaaaaaaaaaaaaaaaa=x"), http.StatusBadRequest, "There is nothing to finish here")
	}
}

func TestAnotherMailboxIsRefused(t *testing.T) {
	s := startConnectSite(t)
	v := s.visitor()
	link := s.invites(consent.Link{Account: "alice", Provider: "google", ExpectedEmail: "alice@example.com"})
	wrong := v.consents(link, fakeprovider.Decision{Person: "bob@example.com"})
	s.shows(wrong, http.StatusForbidden, "That is another account than expected", "Try again")
	if s.grant("alice") != nil {
		t.Error("there is an account")
	}
	s.shows(v.consents(s.tryAgain(wrong), fakeprovider.Decision{Person: "alice@example.com"}), http.StatusOK, "Your account is connected")
	before := s.grant("alice")

	// The subject is pinned now.
	link = s.invites(consent.Link{Account: "alice", Provider: "google"})
	s.shows(v.consents(link, fakeprovider.Decision{Person: "bob@example.com"}), http.StatusForbidden, "That is another account than expected")
	if after := s.grant("alice"); after.Subject != before.Subject || after.Generation != before.Generation || after.State != account.Connected {
		t.Errorf("the account was %+v and is %+v", before, after)
	}
	link = s.invites(consent.Link{Account: "alice", Provider: "google", AnyMailbox: true})
	s.shows(v.consents(link, fakeprovider.Decision{Person: "bob@example.com"}), http.StatusOK, "bob@example.com")
	s.inNoLog()
}

func TestTheApplicationConfirms(t *testing.T) {
	s := startConnectSite(t)
	v := s.visitor()
	link := s.invites(consent.Link{Account: "alice", Provider: "google", Confirm: true, ReturnTo: s.application.URL + "/done"})
	s.shows(v.visit(http.MethodGet, link, nil), http.StatusOK, "has to confirm that it was you")
	query := s.sentOn(v.consents(link, fakeprovider.Decision{}), s.application.URL+"/done")
	if query.Get("account") != "alice" || query.Get("state") != "pending" || len(query.Get("confirm")) < 22 {
		t.Fatalf("the application is told %v", query)
	}
	if g := s.grant("alice"); g.State != account.Pending {
		t.Errorf("the account is %s", g.State)
	}
	if r := s.adminReply(http.MethodPut, "/v1/account/alice/confirm", map[string]any{"confirm": "guessed"}); r.status < 400 {
		t.Errorf("a guess: %d %s", r.status, r.body)
	}
	answer := s.admin(http.MethodPut, "/v1/account/alice/confirm", map[string]any{"confirm": query.Get("confirm")})
	if answer["account"] != "alice" || answer["state"] != "connected" {
		t.Errorf("confirming answers %v", answer)
	}
	if g := s.grant("alice"); g.State != account.Connected {
		t.Errorf("the account is %s", g.State)
	}
	s.inNoLog()
}

func TestMissingScopesAreOnThePage(t *testing.T) {
	s := startConnectSite(t)
	v := s.visitor()
	link := s.invites(consent.Link{Account: "alice", Provider: "google", ReturnTo: s.application.URL + "/done"})
	done := v.consents(link, fakeprovider.Decision{Scopes: []string{gmailScope}})
	s.shows(done, http.StatusOK, "Your account is connected", "Not granted", postmasterScope, "Continue to "+strings.TrimPrefix(s.application.URL, "http://"))
	if next := `href="` + s.application.URL + `/done?account=alice&amp;state=new"`; !strings.Contains(string(done.body), next) {
		t.Errorf("the page leads not to %s: %s", next, done.body)
	}
	if g := s.grant("alice"); len(g.Missing) != 1 || g.Missing[0] != postmasterScope {
		t.Errorf("missing are %q", g.Missing)
	}
}

func TestAnAdministratorApproves(t *testing.T) {
	s := startConnectSite(t)
	if err := s.provider.SetPeople(t.Context(),
		fakeprovider.Person{Subject: "1", Name: "Ann", Email: "ann@example.com", Admin: true},
		fakeprovider.Person{Subject: "2", Name: "Carl", Email: "carl@example.com", NeedsAdmin: true},
	); err != nil {
		t.Fatal(err)
	}
	carl, ann := s.visitor(), s.visitor()
	link := s.invites(consent.Link{Account: "carl", Provider: "microsoft"})
	needed := carl.consents(link, fakeprovider.Decision{Person: "2"})
	s.shows(needed, http.StatusForbidden, "An administrator has to approve this first", "Hand this link to an administrator", "AADSTS90094")
	approve := s.tryAgain(needed) + "?admin=1"
	if !strings.Contains(string(needed.body), `href="`+s.url+approve+`"`) {
		t.Errorf("the page has no link for the administrator: %s", needed.body)
	}
	s.shows(ann.visit(http.MethodGet, approve, nil), http.StatusOK, "for your organisation")
	at := ann.begin(approve)
	if !strings.Contains(at, "/v2.0/adminconsent?") {
		t.Errorf("the administrator is sent to %s", at)
	}
	s.shows(ann.visit(http.MethodGet, ann.decide(at, fakeprovider.Decision{Person: "1"}), nil), http.StatusOK, "is approved for your organisation")
	if s.grant("carl") != nil {
		t.Error("there is an account")
	}
	// The approval has not used the person's own link.
	s.shows(carl.consents(link, fakeprovider.Decision{Person: "2"}), http.StatusOK, "Your account is connected", "carl@example.com")
	s.shows(ann.visit(http.MethodGet, approve, nil), http.StatusGone, "This link has been used")

	google := s.invites(consent.Link{Account: "x", Provider: "google"})
	s.shows(ann.visit(http.MethodGet, google+"?admin=1", nil), http.StatusNotFound, "Administrators approve apps at Microsoft only")
	s.inNoLog()
}

func TestThisWasNotMe(t *testing.T) {
	s := startConnectSite(t)
	v := s.visitor()
	done := v.consents(s.invites(consent.Link{Account: "alice", Provider: "google"}), fakeprovider.Decision{})
	gone := v.submit(done)
	s.shows(gone, http.StatusOK, "The account is switched off", "https://myaccount.google.com/connections")
	if g := s.grant("alice"); g.State != account.Disabled {
		t.Errorf("the account is %s", g.State)
	}
	s.shows(v.visit(http.MethodPost, withdrawPath, url.Values{"undo": {"guessed"}}, "Sec-Fetch-Site", "same-origin"), http.StatusNotFound)
	s.inNoLog()
}

func TestOnlyOurOwnPagesSendForms(t *testing.T) {
	s := startConnectSite(t)
	link := s.invites(consent.Link{Account: "alice", Provider: "google"})
	for name, c := range map[string]struct {
		header []string
		allow  bool
	}{
		"Chromium":               {[]string{"Origin", "null", "Sec-Fetch-Site", "same-origin"}, true},
		"with its origin":        {[]string{"Origin", s.url, "Sec-Fetch-Site", "same-origin"}, true},
		"reloaded":               {[]string{"Origin", "null", "Sec-Fetch-Site", "none"}, true},
		"no browser":             {nil, true},
		"its origin alone":       {[]string{"Origin", s.url}, true},
		"another site":           {[]string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, false},
		"another site, hidden":   {[]string{"Origin", "null", "Sec-Fetch-Site", "cross-site"}, false},
		"a sister site":          {[]string{"Origin", "null", "Sec-Fetch-Site", "same-site"}, false},
		"another origin alone":   {[]string{"Origin", "https://evil.example"}, false},
		"an origin that is none": {[]string{"Origin", "null"}, false},
		"two that differ":        {[]string{"Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"}, false},
	} {
		v := s.visitor()
		begun := v.visit(http.MethodPost, link, url.Values{}, c.header...)
		if allowed := begun.status == http.StatusSeeOther; allowed != c.allow {
			t.Errorf("%s: beginning: %d", name, begun.status)
		}
		if !c.allow && len(v.cookies) > 0 {
			t.Errorf("%s: the browser gets a cookie", name)
		}
		withdrawn := v.visit(http.MethodPost, withdrawPath, url.Values{"undo": {"x"}}, c.header...)
		if refused := withdrawn.status == http.StatusForbidden; refused == c.allow {
			t.Errorf("%s: withdrawing: %d", name, withdrawn.status)
		}
	}
	s.shows(s.visitor().visit(http.MethodPost, link, url.Values{"x": {strings.Repeat("x", maxConnectForm)}}), http.StatusNotFound, "The form could not be read")
}

func TestConsentTakesItsMethodsAlone(t *testing.T) {
	s := startConnectSite(t)
	link := s.invites(consent.Link{Account: "alice", Provider: "google"})
	for path, allowed := range map[string]string{link: "GET, HEAD, POST", callbackPath + "?state=x": "GET", withdrawPath: "POST"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch} {
			r := s.do(method, path, nil)
			if taken := strings.Contains(allowed, method); taken != (r.status != http.StatusMethodNotAllowed) {
				t.Errorf("%s %s: %d", method, path, r.status)
			} else if !taken && r.header.Get("Allow") != allowed {
				t.Errorf("%s %s: Allow is %q", method, path, r.header.Get("Allow"))
			}
		}
	}
	for _, path := range []string{"/connect", "/oauth", "/oauth/callback/", "/Connect/x"} {
		if r := s.do(http.MethodGet, path, nil); r.status != http.StatusNotFound || string(r.body) != "not bellhop" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

func TestConsentIsSentSoThatNothingKeepsIt(t *testing.T) {
	s := startConnectSite(t)
	v := s.visitor()
	link := s.invites(consent.Link{Account: "alice", Provider: "google"})
	answers := map[string]reply{
		"the link":        v.visit(http.MethodGet, link, nil),
		"a wrong link":    v.visit(http.MethodGet, "/connect/x", nil),
		"a wrong method":  v.visit(http.MethodPut, link, nil),
		"a lost callback": v.visit(http.MethodGet, callbackPath+"?state=x", nil),
	}
	answers["the way on"] = v.submit(answers["the link"])
	at := answers["the way on"].header.Get("Location")
	answers["the end"] = v.visit(http.MethodGet, v.decide(at, fakeprovider.Decision{}), nil)
	answers["the regret"] = v.submit(answers["the end"])
	for name, r := range answers {
		for field, want := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
			"X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := r.header.Get(field); got != want {
				t.Errorf("%s: %s is %q, want %q", name, field, got, want)
			}
		}
		policy := r.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action "} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy is %q", name, policy)
			}
		}
	}
	cookie, err := http.ParseSetCookie(answers["the way on"].header.Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	state, _ := url.Parse(at)
	if cookie.Name != "bellhop-"+state.Query().Get("state") || !cookie.HttpOnly || cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" ||
		time.Duration(cookie.MaxAge)*time.Second > consent.AttemptLife || time.Duration(cookie.MaxAge)*time.Second < consent.AttemptLife-time.Minute {
		t.Errorf("the cookie is %+v", cookie)
	}
}

func TestOverTLSTheCookieIsTheHostsAlone(t *testing.T) {
	s := startConnectSite(t)
	// The site stands behind a proxy that ends TLS.
	s.load(strings.Replace(s.caddyfile, "public_url "+s.url, "public_url https://Connect.Example.com:443/", 1))
	link := s.invites(consent.Link{Account: "alice", Provider: "google"})
	path := strings.TrimPrefix(link, "https://connect.example.com")
	begun := s.visitor().visit(http.MethodPost, path, url.Values{}, "Sec-Fetch-Site", "same-origin", "Origin", "https://connect.example.com")
	cookie, err := http.ParseSetCookie(begun.header.Get("Set-Cookie"))
	if err != nil {
		t.Fatalf("%v: %d %s", err, begun.status, begun.body)
	}
	if !strings.HasPrefix(cookie.Name, "__Host-bellhop-") || !cookie.Secure || cookie.Path != "/" || cookie.Domain != "" || len(cookie.Value) > 3500 {
		t.Errorf("the cookie is %+v", cookie)
	}
	if at := begun.header.Get("Location"); !strings.Contains(at, "redirect_uri="+url.QueryEscape("https://connect.example.com/oauth/callback")) {
		t.Errorf("the provider is to answer at %s", at)
	}
}

func TestConnectNeedsAPublicURL(t *testing.T) {
	const caddyfile = `{
	admin off
	persist_config off
	bellhop {
		store badger {{dir}}/store
		PUBLIC
		provider google {
			client_id a
			client_secret {env.HOME}
			scopes https://mail.google.com/
		}
	}
}
http://127.0.0.1:1 {
	bellhop {
		connect {
			CONNECT
		}
		proxy off
	}
}
`
	t.Setenv("NOTHING", "")
	t.Setenv("PUBLIC_URL", "http://connect.example.com")
	for _, c := range []struct{ public, connect, reason string }{
		{"", "", "connect: needs public_url"},
		{"public_url http://connect.example.com", "", "plain http to another machine"},
		{"public_url https://connect.example.com/bellhop", "", "has a path"},
		{"public_url https://connect.example.com?a=b", "", "has a query"},
		{"public_url {env.PUBLIC_URL}", "", "public_url: \"http://connect.example.com\" is plain http"},
		{"public_url {env.NOTHING}", "", "public_url"},
		{"public_url https://connect.example.com", "app_name {env.NOTHING}", "connect: app_name: "},
		{"public_url https://connect.example.com", "return_to {env.PUBLIC_URL}/*", "connect: return_to: "},
		{"public_url https://connect.example.com", "return_to https://a.example/*/b", "has a * before its end"},
		{"public_url https://connect.example.com", "return_to https://a.example/x?y=*", "has a query"},
		{"public_url https://connect.example.com", "return_to https://*.example/", "has a wildcard in its host"},
	} {
		b := &bellhop{t: t, dir: t.TempDir()}
		err := loadCaddyfile(strings.NewReplacer("PUBLIC", c.public, "CONNECT", c.connect).Replace(b.expand(caddyfile)))
		if err == nil {
			b.stop()
		}
		if err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s, %s: %v, want %q", c.public, c.connect, err, c.reason)
		}
	}
}
