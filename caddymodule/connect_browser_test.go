package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// screenshotDir names the directory that screenshots are kept in.
const screenshotDir = "BELLHOP_SCREENSHOTS"

// window is a real browser with cookies of its own. It notes whom it asks and
// what it complains of.
type window struct {
	*connectSite
	ctx context.Context
	dir string

	mu         sync.Mutex
	asked      []string // hosts
	complaints []string
}

// startChromium runs a browser until the test ends.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	path := chromium(t)
	dir := t.TempDir()
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(dir), chromedp.Env("HOME=" + dir)}
	for _, flag := range []string{
		"headless", "no-sandbox", "disable-gpu", "disable-quic", "disable-dev-shm-usage", "no-first-run", "no-default-browser-check", "no-proxy-server",
		"disable-background-networking", "disable-component-update", "disable-sync", "disable-default-apps", "disable-extensions", "hide-scrollbars",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	t.Cleanup(closeBrowser)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// window opens a browser window of its own.
func (s *connectSite) window(browser context.Context) *window {
	s.t.Helper()
	w := &window{connectSite: s, dir: os.Getenv(screenshotDir)}
	if w.dir == "" {
		w.dir = s.t.TempDir()
	}
	var stop context.CancelFunc
	w.ctx, stop = chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	s.t.Cleanup(stop)
	w.ctx, stop = context.WithTimeout(w.ctx, 2*time.Minute)
	s.t.Cleanup(stop)
	err := chromedp.Listen(w.ctx, func(event any) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(e.Request.URL); err == nil && u.Host != "" {
				w.asked = append(w.asked, u.Host)
			}
		case *log.EventEntryAdded:
			// A page with an error status is one too.
			if e.Entry.Source != log.EntrySourceNetwork || !strings.Contains(e.Entry.Text, "the server responded with a status of") {
				w.complaints = append(w.complaints, e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			w.complaints = append(w.complaints, e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			w.complaints = append(w.complaints, fmt.Sprintf("console: %v", e.Args))
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	w.wears(360, false)
	return w
}

// asks runs an action on the page that is open, and returns its value.
func asks[T any](w *window, action chromedp.Action[T]) T {
	w.t.Helper()
	value, err := chromedp.Run(w.ctx, action)
	if err != nil {
		w.t.Fatal(err)
	}
	return value
}

// goes runs what makes the browser go to another page, and waits for that page.
func (w *window) goes(actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	if _, err := chromedp.RunResponse(w.ctx, actions...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *window) opens(path string) {
	w.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = w.url + path
	}
	w.goes(chromedp.Navigate(path))
}

func (w *window) clicks(selector string) {
	w.t.Helper()
	w.goes(chromedp.Click(chromedp.CSS(selector)))
}

// signsIn decides on the provider's page.
func (w *window) signsIn(person string, without []string, button string) {
	w.t.Helper()
	if person != "" {
		asks(w, chromedp.Click(chromedp.CSS(fmt.Sprintf(`input[name=person][value=%q]`, person))))
	}
	for _, scope := range without {
		asks(w, chromedp.Click(chromedp.CSS(fmt.Sprintf(`input[name=scope][value=%q]`, scope))))
	}
	w.clicks(button)
}

// reads checks the heading and some text of the page that is open.
func (w *window) reads(heading string, texts ...string) {
	w.t.Helper()
	h1, text := asks(w, chromedp.Text(chromedp.CSS("h1"))), asks(w, chromedp.Text(chromedp.CSS("body")))
	if h1 != heading {
		w.t.Errorf("the heading is %q, want %q", h1, heading)
	}
	for _, want := range texts {
		if !strings.Contains(text, want) {
			w.t.Errorf("the page does not say %q: %s", want, text)
		}
	}
}

// wears sets the width, and whether the person prefers dark pages.
func (w *window) wears(width int64, dark bool) {
	w.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	_, err := chromedp.Call(w.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: 740, DeviceScaleFactor: 1, Mobile: width < 500,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = chromedp.Call(w.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// looks takes screenshots of the page that is open, on a phone and a desk, by
// day and by night, and sees that nothing sticks out.
func (w *window) looks(name string) {
	w.t.Helper()
	grounds := make(map[string]bool)
	for _, width := range []int64{320, 360, 1280} {
		for _, dark := range []bool{false, true} {
			w.wears(width, dark)
			wide := asks(w, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`))
			ground := asks(w, chromedp.Evaluate[string](`getComputedStyle(document.querySelector("main")).backgroundColor`))
			picture := asks(w, chromedp.FullScreenshot(100))
			grounds[ground] = true
			if wide > width {
				w.t.Errorf("%s: %d pixels on a screen of %d", name, wide, width)
			}
			if width == 320 {
				continue
			}
			scheme := map[bool]string{false: "light", true: "dark"}[dark]
			file := filepath.Join(w.dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme))
			if err := os.WriteFile(file, picture, 0o600); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if len(grounds) != 2 {
		w.t.Errorf("%s: the grounds are %v, want one for the day and one for the night", name, grounds)
	}
	w.wears(360, false)
}

// behaved checks that no page asked anybody who is not named, and that the
// browser had nothing to complain of.
func (w *window) behaved(hosts ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.asked) == 0 {
		w.t.Error("the browser asked nobody")
	}
	for _, host := range w.asked {
		if !slices.Contains(hosts, host) {
			w.t.Errorf("the browser asked %s", host)
		}
	}
	if len(w.complaints) > 0 {
		w.t.Errorf("the browser complains: %q", w.complaints)
	}
}

const wayOn = "main form button"

// TestConsentInABrowser clicks through consent as people do.
func TestConsentInABrowser(t *testing.T) {
	browser := startChromium(t)
	now := useFakeClock(t)
	s := startConnectSite(t)
	setPeople(t, s)
	hosts := []string{s.addr, hostOf(t, s.provider.URL), hostOf(t, s.application.URL)}

	for _, flow := range []struct {
		name string
		run  func(t *testing.T, w *window)
	}{
		{"consent and regret", func(t *testing.T, w *window) {
			link := s.invites(consent.Link{Account: "alice", Provider: "google", Name: "Alice's mail", Email: "alice@example.com"})
			for range 5 { // a scanner was here
				s.do(http.MethodGet, link, nil)
				s.do(http.MethodHead, link, nil)
			}
			w.opens(link)
			w.reads("Connect your Google account to Acme Mail", "Read, write, send and permanently delete all your mail", gmailScope, "alice@example.com")
			w.looks("invite")
			w.clicks(wayOn)
			w.signsIn("", nil, "#allow")
			w.reads("Your account is connected", "alice@example.com", "Alice's mail")
			w.looks("done")
			if g := s.grant("alice"); g == nil || g.State != account.Connected {
				t.Fatalf("the account is %+v", g)
			}
			w.clicks(wayOn)
			w.reads("The account is switched off")
			w.looks("withdrawn")
			if g := s.grant("alice"); g.State != account.Disabled {
				t.Errorf("the account is %s", g.State)
			}
			w.opens(link)
			w.reads("This link has been used")
			w.looks("used")
		}},
		{"denial", func(t *testing.T, w *window) {
			w.opens(s.invites(consent.Link{Account: "denied", Provider: "google"}))
			w.clicks(wayOn)
			w.signsIn("", nil, "#deny")
			w.reads("Nothing was connected")
			w.looks("declined")
			w.clicks("a.button")
			w.reads("Connect your Google account to Acme Mail")
			w.clicks(wayOn)
			w.signsIn("", nil, "#allow")
			w.reads("Your account is connected")
		}},
		{"an expired link", func(t *testing.T, w *window) {
			link := s.invites(consent.Link{Account: "late", Provider: "google", Expires: now.Now().Add(time.Minute)})
			w.opens(link)
			now.Advance(time.Minute)
			w.clicks(wayOn)
			w.reads("This link has expired")
			w.looks("expired")
		}},
		{"another mailbox", func(t *testing.T, w *window) {
			w.opens(s.invites(consent.Link{Account: "expected", Provider: "acme", ExpectedEmail: "alice@example.com"}))
			w.clicks(wayOn)
			w.signsIn("bob", nil, "#allow")
			w.reads("That is another account than expected", "alice@example.com")
			w.looks("other-mailbox")
			if s.grant("expected") != nil {
				t.Error("there is an account")
			}
			w.clicks("a.button")
			w.clicks(wayOn)
			w.signsIn("alice", nil, "#allow")
			w.reads("Your account is connected")
		}},
		{"confirmation", func(t *testing.T, w *window) {
			w.opens(s.invites(consent.Link{Account: "pending", Provider: "google", Confirm: true, ReturnTo: s.application.URL + "/done"}))
			w.looks("invite-confirm")
			w.clicks(wayOn)
			w.signsIn("bob", nil, "#allow")
			w.reads("state is pending")
			at := asks(w, chromedp.Location())
			u, err := url.Parse(at)
			if err != nil || u.Query().Get("confirm") == "" {
				t.Fatalf("the browser is at %s", at)
			}
			s.admin(http.MethodPut, "/v1/account/pending/confirm", map[string]any{"confirm": u.Query().Get("confirm")})
			if g := s.grant("pending"); g.State != account.Connected {
				t.Errorf("the account is %s", g.State)
			}
		}},
		{"missing scopes", func(t *testing.T, w *window) {
			w.opens(s.invites(consent.Link{Account: "partly", Provider: "google", Confirm: true, ReturnTo: s.application.URL + "/done"}))
			w.clicks(wayOn)
			w.signsIn("bob", []string{postmasterScope}, "#allow")
			w.reads("One step is left", "Not granted", postmasterScope)
			w.looks("missing-pending")
			w.clicks("a.button")
			w.reads("state is pending")
		}},
		{"administrator needed", func(t *testing.T, w *window) {
			link := s.invites(consent.Link{Account: "carl", Provider: "microsoft"})
			w.opens(link)
			w.looks("invite-microsoft")
			w.clicks(wayOn)
			w.signsIn("carl", nil, "#allow")
			w.reads("An administrator has to approve this first")
			w.looks("admin-needed")
			approve := asks(w, chromedp.AttributeValue(chromedp.CSS(".copy a"), "href")).Value
			ann := s.window(browser)
			ann.opens(approve)
			ann.reads("Approve Acme Mail for your organisation")
			ann.looks("invite-admin")
			ann.clicks(wayOn)
			ann.signsIn("ann", nil, "#allow")
			ann.reads("Acme Mail is approved for your organisation")
			ann.looks("admin-done")
			ann.behaved(hosts...)
			w.clicks("a.button")
			w.clicks(wayOn)
			w.signsIn("carl", nil, "#allow")
			w.reads("Your account is connected", "carl@example.com")
		}},
		{"a stolen state", func(t *testing.T, w *window) {
			link := s.invites(consent.Link{Account: "stolen", Provider: "google"})
			w.opens(link)
			w.clicks(wayOn)
			at := asks(w, chromedp.Location())
			callback, err := s.provider.Consent(t.Context(), at, fakeprovider.Decision{Person: "alice"})
			if err != nil {
				t.Fatal(err)
			}
			thief := s.window(browser)
			thief.opens(link)
			thief.clicks(wayOn)
			thief.opens(callback)
			thief.reads("There is nothing to finish here")
			thief.looks("stolen")
			thief.behaved(hosts...)
			if s.grant("stolen") != nil {
				t.Error("there is an account")
			}
			w.opens(callback)
			w.reads("Your account is connected")
		}},
		{"long words", func(t *testing.T, w *window) {
			long := strings.Repeat("Donaudampfschifffahrtsgesellschaft", 4)
			w.opens(s.invites(consent.Link{Account: long, Provider: "acme", Name: "\u202e" + long, ExpectedEmail: long + "@example.com"}))
			w.looks("long-words")
		}},
	} {
		t.Run(flow.name, func(t *testing.T) {
			site := *s.bellhop
			site.t = t
			w := (&connectSite{bellhop: &site, provider: s.provider, application: s.application}).window(browser)
			flow.run(t, w)
			w.behaved(hosts...)
		})
	}
}

// setPeople makes the provider know people by short names, one of whom needs an
// administrator.
func setPeople(t *testing.T, s *connectSite) {
	t.Helper()
	if err := s.provider.SetPeople(t.Context(),
		fakeprovider.Person{Subject: "alice", Name: "Alice Example", Email: "alice@example.com", EmailVerified: true},
		fakeprovider.Person{Subject: "bob", Name: "Bob Example", Email: "bob@example.com", EmailVerified: true},
		fakeprovider.Person{Subject: "carl", Name: "Carl Example", Email: "carl@example.com", NeedsAdmin: true},
		fakeprovider.Person{Subject: "ann", Name: "Ann Example", Email: "ann@example.com", Admin: true},
	); err != nil {
		t.Fatal(err)
	}
}

func hostOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// TestAFormLeadsPastTheProvider sends a browser to a provider that has people
// sign in elsewhere and, knowing them already, sends them back at once.
// Chromium holds all of these redirects against the policy of the first page.
func TestAFormLeadsPastTheProvider(t *testing.T) {
	browser := startChromium(t)
	s := startConnectSite(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		http.Redirect(w, r, query.Get("redirect_uri")+"?error=access_denied&state="+query.Get("state"), http.StatusFound)
	}))
	t.Cleanup(elsewhere.Close)
	there := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, there+"/?"+r.URL.RawQuery, http.StatusFound)
	}))
	t.Cleanup(front.Close)
	s.load(strings.Replace(s.caddyfile, "authorization_endpoint "+s.provider.URL+"/authorize", "authorization_endpoint "+front.URL+"/authorize", 1))
	w := s.window(browser)
	w.opens(s.invites(consent.Link{Account: "alice", Provider: "google"}))
	w.clicks(wayOn)
	w.reads("Nothing was connected")
	w.behaved(s.addr, hostOf(t, front.URL), hostOf(t, there))
}
