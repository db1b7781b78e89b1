package target

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

func TestOutgoingRemoves(t *testing.T) {
	for _, name := range []string{
		"Authorization", "X-Goog-Api-Key", "X-Bellhop-Key", "X-Bellhop-Anything",
		"Cookie", "Origin", "Referer",
		"Proxy-Authorization", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Whatever",
		"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded", "X-Forwarded-Client-Cert",
		"X-Real-Ip", "Via", "Cf-Connecting-Ip", "Cf-Ray", "Traceparent", "Tracestate", "Baggage",
		"X-Goog-User-Project", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
		"X-Original-Url", "X-Original-Uri", "X-Original-Method", "X-Rewrite-Url", "X_Original_URL", "x-rewrite_url-",
		"X_Forwarded_For", "x_forwarded_host", "X-Forwarded_For", "authorization_", "Authorization_", "AUTHORIZATION", "authorization",
		"Authorization-", "Proxy_Authorization", "X_Bellhop_Key", "X_Goog_Api_Key", "X_Goog_User_Project", "X_HTTP_Method_Override",
		"X-HTTP-METHOD-OVERRIDE", "Cookie_", "cf_connecting_ip", "X_Real_IP", "Authorization" + strings.Repeat("_", 80),
		"X-Forwarded-" + strings.Repeat("a", 80), "X-Forwarded.For", "Authorization.", "X.Real.IP", "X-Bellhop-", "Proxy", "Proxy_",
	} {
		h := http.Header{name: {"value"}, "Accept": {"*/*"}}
		Outgoing(h, false)
		if diff := cmp.Diff(http.Header{"Accept": {"*/*"}}, h); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestOutgoingPassesEverythingElse(t *testing.T) {
	h := http.Header{}
	for _, name := range []string{
		"Prefer", "Consistencylevel", "If-Match", "If-None-Match", "X-Upload-Content-Type", "X-Upload-Content-Length",
		"X-Goog-Upload-Protocol", "X-Goog-Upload-Command", "X-Guploader-No-308", "X-Goog-Fieldmask", "X-Goog-Api-Client",
		"Client-Request-Id", "Return-Client-Request-Id", "Range", "Content-Range", "Expect", "Content-Type", "Content-Encoding",
		"Accept", "Accept-Encoding", "Accept-Language", "User-Agent", "Te", "Upgrade", "Connection", "Sec-Websocket-Key",
		"X-Anchormailbox", "Depth", "Destination", "Overwrite", "X-Original", "Authorization-Info", "X-Real-Ipx", "Viaduct",
		"Forwarded-Not", "X-Goog-Request-Params", "Cfx", "Proxyish", "Origins", "Cookies", "X_custom_header", "-",
	} {
		h[name] = []string{"a", "b"}
	}
	want := h.Clone()
	Outgoing(h, false)
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
}

func TestUserProjectIsKeptOnRequest(t *testing.T) {
	h := http.Header{"X-Goog-User-Project": {"p"}, "Cookie": {"c"}}
	Outgoing(h, true)
	if diff := cmp.Diff(http.Header{"X-Goog-User-Project": {"p"}}, h); diff != "" {
		t.Error(diff)
	}
}

func TestOutgoingDoesNotAllocate(t *testing.T) {
	h := http.Header{"Accept": {"*/*"}, "User-Agent": {"x"}, "Content-Type": {"y"}, "X-Goog-Fieldmask": {"z"}}
	value := []string{"Bearer x"}
	n := testing.AllocsPerRun(100, func() {
		h["Authorization"] = value
		Outgoing(h, false)
		if err := CheckHeader(h); err != nil || len(h) != 4 {
			t.Fatal(h, err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestIncomingRemoves(t *testing.T) {
	for _, name := range []string{
		"Set-Cookie", "Set-Cookie2", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc", "Nel", "Report-To",
		"Reporting-Endpoints", "Service-Worker-Allowed", "Refresh", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials",
		"Access-Control-Expose-Headers", "Public-Key-Pins", "Public-Key-Pins-Report-Only", "Bellhop-Error", "X-Guploader-Uploadid", "set-cookie", "SET-COOKIE",
	} {
		h := http.Header{name: {"value"}}
		Incoming(h)
		if _, ok := h[name]; ok {
			t.Errorf("%s stays", name)
		}
	}
}

func TestIncomingPassesEverythingElseAndAddsItsOwn(t *testing.T) {
	h := http.Header{}
	for _, name := range []string{
		"Content-Type", "Content-Length", "Etag", "Location", "Link", "Retry-After", "Www-Authenticate", "Request-Id", "Client-Request-Id",
		"X-Goog-Upload-Status", "Range", "Content-Range", "Accept-Ranges", "Preference-Applied", "Warning", "Date",
		"Content-Disposition", "X-Ms-Ags-Diagnostic", "Deprecation", "Sunset", "Server", "Refreshed",
	} {
		h[name] = []string{"v"}
	}
	want := h.Clone()
	want["Vary"] = []string{"Authorization, X-Bellhop-Key"}
	want["Cache-Control"] = []string{"private"}
	want["Content-Security-Policy"] = []string{"sandbox; default-src 'none'; frame-ancestors 'none'"}
	want["X-Content-Type-Options"] = []string{"nosniff"}
	want["Cross-Origin-Resource-Policy"] = []string{"same-origin"}
	Incoming(h)
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
}

func TestIncomingReplacesPoliciesOfTheAPI(t *testing.T) {
	h := http.Header{
		"Content-Security-Policy": {"default-src *", "script-src *"}, "Cross-Origin-Resource-Policy": {"cross-origin"},
		"X-Content-Type-Options": {"sniff"}, "Vary": {"Origin", "Referer"},
	}
	Incoming(h)
	want := http.Header{
		"Content-Security-Policy":      {"sandbox; default-src 'none'; frame-ancestors 'none'"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
		"X-Content-Type-Options":       {"nosniff"},
		"Vary":                         {"Origin", "Referer", "Authorization, X-Bellhop-Key"},
		"Cache-Control":                {"private"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
}

func TestAnswersAreNotForSharedCaches(t *testing.T) {
	for _, c := range []struct{ from, want []string }{
		{nil, []string{"private"}},
		{[]string{"private"}, []string{"private"}},
		{[]string{"Private"}, []string{"Private"}},
		{[]string{""}, []string{"private"}},
		{[]string{"no-store"}, []string{"no-store"}},
		{[]string{"No-Store, max-age=0"}, []string{"No-Store, max-age=0"}},
		{[]string{"no-cache", "no-store"}, []string{"no-cache", "no-store"}},
		{[]string{"public, max-age=3600"}, []string{"private, max-age=3600"}},
		{[]string{"no-cache", "must-revalidate"}, []string{"private, no-cache, must-revalidate"}},
		{[]string{"private, max-age=0, must-revalidate, no-transform"}, []string{"private, max-age=0, must-revalidate, no-transform"}},
		{[]string{"s-maxage=10, proxy-revalidate, max-age=5"}, []string{"private, max-age=5"}},
		{[]string{`private="set-cookie", public`}, []string{"private"}},
		{[]string{"x-no-store"}, []string{"private, x-no-store"}},
	} {
		h := http.Header{}
		if c.from != nil {
			h["Cache-Control"] = slices.Clone(c.from)
		}
		Incoming(h)
		if diff := cmp.Diff(c.want, h["Cache-Control"]); diff != "" {
			t.Errorf("%q: %s", c.from, diff)
		}
	}
}

func TestAddedValuesAreEachAnswersOwn(t *testing.T) {
	first, second := http.Header{}, http.Header{}
	Incoming(first)
	want := maps.Clone(first)
	for name, values := range want {
		want[name] = slices.Clone(values)
	}
	Incoming(second)
	for name := range second {
		second[name][0] = "changed"
		second.Add(name, "added")
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	third := http.Header{}
	Incoming(third)
	if diff := cmp.Diff(want, third); diff != "" {
		t.Error(diff)
	}
}

func TestIncomingAllocatesOnce(t *testing.T) {
	h := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"private"}}
	Incoming(h)
	n := testing.AllocsPerRun(100, func() {
		delete(h, "Vary")
		Incoming(h)
	})
	if n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestKeysInAHeaderAreRefused(t *testing.T) {
	digits := strings.Repeat("a1B", 15)[:43]
	for _, c := range []struct {
		value string
		bad   bool
	}{
		{"bh_" + digits, true},
		{"x bh_" + digits + " y", true},
		{"bh_" + digits + "z", true},
		{"bh_bh_" + digits, true},
		{"bh_" + digits[1:], false},
		{"bh_" + digits[1:] + "-", false},
		{"BH_" + digits, false},
		{"bh_", false},
		{"", false},
		{digits, false},
	} {
		err := CheckHeader(http.Header{"X-Custom": {"fine", c.value}})
		if (err != nil) != c.bad || c.bad && (problem.From(err).Code != problem.InvalidRequest || strings.Contains(err.Error(), digits)) {
			t.Errorf("%q: %v", c.value, err)
		}
	}
	if err := CheckHeader(http.Header{"bh_" + digits: {"x"}}); err == nil || strings.Contains(err.Error(), digits) {
		t.Errorf("a key as a name: %v", err)
	}
}

func TestPagesAndScriptsAreRefused(t *testing.T) {
	for dest, refused := range map[string]bool{
		"document": true, "frame": true, "iframe": true, "fencedframe": true, "embed": true, "object": true,
		"script": true, "worker": true, "sharedworker": true, "serviceworker": true, "audioworklet": true, "paintworklet": true, "xslt": true,
		"Document": true, " script ": true, "empty, document": true,
		"empty": false, "image": false, "audio": false, "video": false, "font": false, "style": false, "json": false, "": false,
	} {
		err := CheckDestination(http.Header{"Sec-Fetch-Dest": {dest}})
		if (err != nil) != refused || refused && problem.From(err).Code != problem.NotAllowed {
			t.Errorf("%q: %v", dest, err)
		}
	}
	if err := CheckDestination(http.Header{}); err != nil {
		t.Errorf("without the field: %v", err)
	}
	if err := CheckDestination(http.Header{"Sec-Fetch-Dest": {"empty", "document"}}); err == nil {
		t.Error("a second value is overlooked")
	}
}
