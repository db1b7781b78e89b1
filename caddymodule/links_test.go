package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
	"github.com/bellhop-proxy/bellhop/internal/handle"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// graphAtAPI has the test's own API stand for Graph and for the hosts that its
// answers point to.
var graphAtAPI = []string{
	"upstream graph.microsoft.com {{provider}}", "upstream graph.microsoft.com {{api}}\n\t\t\tupstream contoso.sharepoint.com {{api}}",
}

// answering has the API answer with the JSON text, and remember who asked.
func (a *api) answering(status int, text string, header ...string) {
	a.handle(func(w http.ResponseWriter, r *http.Request) {
		a.record(r)
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	})
}

// member is a string member at the top of a JSON answer.
func member(t *testing.T, r reply, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(r.body, &m); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	text, ok := m[name].(string)
	if !ok {
		t.Fatalf("no member %s in %s", name, r.body)
	}
	return text
}

// local takes the site's own address off a URL that was handed out.
func (s *proxied) local(link string) string {
	s.t.Helper()
	path, ok := strings.CutPrefix(link, s.url)
	if !ok {
		s.t.Fatalf("%s does not lead to %s", link, s.url)
	}
	return path
}

func TestLinksLeadBackTheWayTheCallCame(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	const next = "https://graph.microsoft.com/v1.0/me/messages?$skiptoken=a%2Fb&$top=2"
	for _, c := range []struct{ path, link string }{
		{"/proxy/carol/graph.microsoft.com/v1.0/me/messages", "/proxy/carol/graph.microsoft.com/v1.0/me/messages?$skiptoken=a%2Fb&$top=2"},
		{"/proxy/carol/v1.0/me/messages", "/proxy/carol/v1.0/me/messages?$skiptoken=a%2Fb&$top=2"},
		{"/proxy/%63arol/v1.0/me/messages", "/proxy/%63arol/v1.0/me/messages?$skiptoken=a%2Fb&$top=2"},
	} {
		s.api.answering(http.StatusOK, `{"@odata.nextLink": "`+next+`", "value": [ ]}`, "Location", "https://graph.microsoft.com/v1.0/x")
		r := s.call(http.MethodGet, c.path, nil)
		if got := member(t, r, "@odata.nextLink"); s.local(got) != c.link {
			t.Errorf("%s: nextLink is %s, want %s", c.path, got, c.link)
		}
		if !strings.HasPrefix(r.header.Get("Location"), s.url+"/proxy/") {
			t.Errorf("%s: Location is %s", c.path, r.header.Get("Location"))
		}
		s.api.take()
		s.call(http.MethodGet, c.link, nil)
		if got := s.api.only(t); got.Target != strings.TrimPrefix(next, "https://graph.microsoft.com") || got.Host != "graph.microsoft.com" {
			t.Errorf("%s: the link led to %s%s", c.path, got.Host, got.Target)
		}
	}
}

func TestLinksInEarlyHintsLeadBack(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	s.api.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "<https://graph.microsoft.com/v1.0/x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	})
	var hint string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		hint = h.Get("Link")
		return nil
	}})
	s.open(ctx, client, http.MethodGet, "/proxy/carol/v1.0/me", nil)
	if want := "<" + s.url + "/proxy/carol/v1.0/x>; rel=preload"; hint != want {
		t.Errorf("got %q, want %q", hint, want)
	}
}

func TestLinksNameTheAddressThatTrustedProxiesName(t *testing.T) {
	trusting := append([]string{"grace_period 5s", "grace_period 5s\n\tservers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}"}, graphAtAPI...)
	for name, c := range map[string]struct {
		changes []string
		base    string
	}{
		"trusted":     {trusting, "https://bellhop.example/proxy/carol/v1.0/me"},
		"not trusted": {graphAtAPI, "http://"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startProxied(t, c.changes...)
			s.api.answering(http.StatusOK, `{"@odata.nextLink":"https://graph.microsoft.com/v1.0/me","value":[]}`)
			r := s.call(http.MethodGet, "/proxy/carol/v1.0/me", nil, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "bellhop.example", "X-Forwarded-For", "192.0.2.1")
			if got := member(t, r, "@odata.nextLink"); !strings.HasPrefix(got, c.base) {
				t.Errorf("nextLink is %s, want %s", got, c.base)
			}
		})
	}
}

func TestAuthoritiesThatWouldBreakLinksAreRefused(t *testing.T) {
	for host, ok := range map[string]bool{
		"bellhop.internal": true, "Bellhop.Internal:8443": true, "127.0.0.1:80": true, "[::1]:8443": true,
		"bellhop.internal:8443/x": false, "a>; rel=x, <b": false, `a"b`: false, "a@b": false, "a?b": false, "a#b": false, "a b": false,
	} {
		if err := checkAuthority(host); (err == nil) != ok {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestLinksKeepWhatAnEarlierHandlerTookOffThePath(t *testing.T) {
	s := startProxied(t, append([]string{
		"\tbellhop {\n\t\ttoken_endpoint", "\thandle_path /mount/* {\n\tbellhop {\n\t\ttoken_endpoint",
		"\trespond \"not bellhop\" 404", "\t}\n\trespond \"not bellhop\" 404",
	}, graphAtAPI...)...)
	s.api.answering(http.StatusOK, `{"@odata.nextLink":"https://graph.microsoft.com/v1.0/me?$skip=1","value":[{"@microsoft.graph.downloadUrl":"https://contoso.sharepoint.com/x"}]}`)
	r := s.call(http.MethodGet, "/mount/proxy/carol/v1.0/me", nil)
	next := s.local(member(t, r, "@odata.nextLink"))
	if next != "/mount/proxy/carol/v1.0/me?$skip=1" || !strings.Contains(string(r.body), s.url+"/mount/proxy/.bellhop/h/") {
		t.Fatalf("%s", r.body)
	}
	s.api.take()
	_, sealed, _ := strings.Cut(string(r.body), "/h/")
	sealed, _, _ = strings.Cut(sealed, `"`)
	s.api.handle(nil)
	s.call(http.MethodGet, next, nil)
	s.do(http.MethodGet, "/mount/proxy/.bellhop/h/"+sealed, nil)
	if got := s.api.take(); len(got) != 2 || got[0].Target != "/v1.0/me?$skip=1" || got[1].Target != "/x" {
		t.Errorf("the links led to %+v", got)
	}
}

func TestContentIsNeverTouched(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	const text = `{"@odata.nextLink":"https://graph.microsoft.com/v1.0/me","value":[{"@microsoft.graph.downloadUrl":"https://contoso.sharepoint.com/x"}],` +
		`"n":9223372036854775808,"n":1e400}`
	for _, path := range []string{"/v1.0/me/drive/items/1/content", "/v1.0/me/messages/1/$value", "/v1.0/me/messages/1/attachments/2/$value"} {
		s.api.answering(http.StatusOK, text, "ETag", `"strong"`, "Content-MD5", "x")
		r := s.call(http.MethodGet, "/proxy/carol"+path, nil)
		if string(r.body) != text || r.header.Get("ETag") != `"strong"` || r.header.Get("Content-MD5") != "x" {
			t.Errorf("%s: %v %s", path, r.header, r.body)
		}
	}
	s.api.answering(http.StatusPartialContent, text, "Content-Range", "bytes 0-9/10")
	if r := s.call(http.MethodGet, "/proxy/carol/v1.0/me", nil); string(r.body) != text {
		t.Errorf("a part of a document: %s", r.body)
	}
	const hostile = `{"subject":"\"@odata.nextLink\":\"https://graph.microsoft.com/v1.0/me\"","fields":{"uploadUrl":"https://contoso.sharepoint.com/x","@odata.nextLink":"https://graph.microsoft.com/v1.0/me","value":[1]},` +
		`"extensions":[{"value":[{"@microsoft.graph.downloadUrl":"https://contoso.sharepoint.com/x"}],"@odata.nextLink":"https://graph.microsoft.com/v1.0/me"}],"uploadUrl":"https://contoso.sharepoint.com/x"}`
	s.api.answering(http.StatusOK, hostile)
	if r := s.call(http.MethodGet, "/proxy/carol/v1.0/me/events/1", nil); string(r.body) != hostile {
		t.Errorf("a hostile event: %s", r.body)
	}
}

func TestCodingsThatCannotBeOpenedAreNotAskedFor(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	for path, want := range map[string]string{
		"/proxy/carol/v1.0/me":                       "br, gzip;q=0.5",
		"/proxy/carol/v1.0/me/drive/items/1/content": "br, dcb, gzip;q=0.5",
	} {
		s.call(http.MethodGet, path, nil, "Accept-Encoding", "br, dcb, gzip;q=0.5")
		if got := s.api.only(t).Header.Get("Accept-Encoding"); got != want {
			t.Errorf("%s: asked for %q, want %q", path, got, want)
		}
	}
}

func TestOperatorsMayNameMoreMembersAndHosts(t *testing.T) {
	s := startProxied(t, append([]string{
		"upstream api.acme.example {{api}}",
		"upstream api.acme.example {{api}}\n\t\t\trewrite next /reports/**\n\t\t\thandle_host *.files.example\n\t\t\tupstream a.files.example {{api}}",
	}, graphAtAPI...)...)
	s.api.answering(http.StatusOK, `{"next":"https://api.acme.example/reports/2"}`)
	if got := member(t, s.call(http.MethodGet, "/proxy/bob/reports/1", nil), "next"); s.local(got) != "/proxy/bob/reports/2" {
		t.Errorf("a member that the operator named: %s", got)
	}
	if got := member(t, s.call(http.MethodGet, "/proxy/bob/other", nil), "next"); got != "https://api.acme.example/reports/2" {
		t.Errorf("on another path: %s", got)
	}
	s.api.answering(http.StatusOK, `{"@microsoft.graph.downloadUrl":"https://a.files.example/x?t=1"}`)
	link := member(t, s.call(http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1", nil), "@microsoft.graph.downloadUrl")
	s.api.take()
	s.do(http.MethodGet, s.local(link), nil)
	if got := s.api.only(t); got.Host != "a.files.example" || got.Target != "/x?t=1" {
		t.Errorf("the handle led to %s%s", got.Host, got.Target)
	}
}

func TestDiscoveryDocumentsNeedNoToken(t *testing.T) {
	s := startProxied(t, "upstream gmail.googleapis.com {{provider}}", "upstream gmail.googleapis.com {{api}}")
	s.revoke("alice") // no token could be had, and none is asked for
	before := s.provider.tokenRequests(t)
	s.api.answering(http.StatusOK, `{"rootUrl":"https://gmail.googleapis.com/","baseUrl":"https://gmail.googleapis.com/","mtlsRootUrl":"https://gmail.mtls.googleapis.com/","batchPath":"batch"}`)
	r := s.call(http.MethodGet, "/proxy/alice/gmail.googleapis.com/$discovery/rest?version=v1", nil)
	root := s.url + "/proxy/alice/gmail.googleapis.com/"
	if want := fmt.Sprintf(`{"rootUrl":%q,"baseUrl":%q,"mtlsRootUrl":%q,"batchPath":"batch"}`, root, root, root); string(r.body) != want {
		t.Errorf("got %s, want %s", r.body, want)
	}
	if got := s.api.only(t); got.Header.Get("Authorization") != "" {
		t.Error("an account's token went along")
	}
	if n := s.provider.tokenRequests(t) - before; n != 0 {
		t.Errorf("%d token requests", n)
	}
	wantProblem(t, s.do(http.MethodGet, "/proxy/alice/gmail.googleapis.com/$discovery/rest?version=v1", nil), problem.MissingKey)
}

// handedOut has the API hand out a URL of its own authority, and returns the
// handle that the caller gets for it.
func (s *proxied) handedOut(query string) string {
	s.t.Helper()
	s.api.answering(http.StatusOK, `{"id":"1","@microsoft.graph.downloadUrl":"https://contoso.sharepoint.com/_layouts/15/download.aspx?`+query+`"}`)
	r := s.call(http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1", nil)
	s.api.take()
	s.api.handle(nil)
	return s.local(member(s.t, r, "@microsoft.graph.downloadUrl"))
}

func TestHandlesAreTheCredential(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	path := s.handedOut("UniqueId=1&tempauth=v1.ey%2B")
	if !strings.HasPrefix(path, "/proxy/.bellhop/h/") || strings.Contains(path, "tempauth") {
		t.Fatalf("the handle is %s", path)
	}
	for name, header := range map[string][]string{
		"nothing":     nil,
		"the key":     {"Authorization", "Bearer " + s.key},
		"a wrong key": {"X-Bellhop-Key", "bh_wrong", "Authorization", "Basic eDp5", "Cookie", "a=b"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.do(http.MethodGet, path, nil, append(header, "Range", "bytes=0-3")...)
			got := s.api.only(t)
			if r.status != http.StatusOK || got.Host != "contoso.sharepoint.com" || got.Target != "/_layouts/15/download.aspx?UniqueId=1&tempauth=v1.ey%2B" {
				t.Errorf("%d, reached %s%s", r.status, got.Host, got.Target)
			}
			for _, field := range []string{"Authorization", "X-Bellhop-Key", "Cookie"} {
				if got.Header.Get(field) != "" {
					t.Errorf("%s went along: %s", field, got.Header.Get(field))
				}
			}
			if got.Header.Get("Range") != "bytes=0-3" {
				t.Errorf("Range is %q", got.Header.Get("Range"))
			}
			if r.header.Get("Content-Security-Policy") == "" {
				t.Error("the answer could run as a page")
			}
		})
	}
	wantProblem(t, s.do(http.MethodPut, path, strings.NewReader("x")), problem.MethodNotAllowed)
	wantProblem(t, s.do(http.MethodGet, path+"?a=b", nil), problem.InvalidRequest)
	wantProblem(t, s.do(http.MethodGet, path+"A", nil), problem.InvalidRequest)
	wantProblem(t, s.do(http.MethodGet, path[:len(path)-9], nil), problem.InvalidRequest)
	wantProblem(t, s.adminReply(http.MethodGet, path, nil), problem.InvalidRequest)
	wantProblem(t, s.do(http.MethodGet, path, nil, "Sec-Fetch-Dest", "document"), problem.NotAllowed)
	if taken := s.api.take(); len(taken) != 0 {
		t.Errorf("refused calls reached the API: %+v", taken)
	}
}

func TestHandlesEndWithWhatTheyWereHandedOutFor(t *testing.T) {
	clock := useFakeClock(t)
	s := startProxied(t, graphAtAPI...)
	path := s.handedOut("tempauth=1")
	working := func(want int) {
		t.Helper()
		if r := s.do(http.MethodGet, path, nil); r.status != want {
			t.Errorf("%d %s, want %d", r.status, r.body, want)
		}
	}
	working(http.StatusOK)
	s.load(s.caddyfile) // and after a reload
	working(http.StatusOK)
	s.stop() // and after a restart
	s.load(s.caddyfile)
	working(http.StatusOK)

	s.admin(http.MethodPost, "/v1/account/carol/disable", nil)
	working(http.StatusForbidden)
	s.admin(http.MethodPost, "/v1/account/carol/enable", nil)
	working(http.StatusOK)

	clock.Advance(time.Hour)
	working(http.StatusForbidden)

	path = s.handedOut("tempauth=2")
	working(http.StatusOK)
	_, again := s.provider.grant(t, fakeprovider.Grant{Client: "bellhop-microsoft", Email: "carol@example.com", Scope: "https://graph.microsoft.com/Mail.Read"})
	replace := registration("carol", "microsoft", again)
	replace["replace"] = true
	s.admin(http.MethodPost, "/v1/account", replace)
	working(http.StatusForbidden)

	path = s.handedOut("tempauth=3")
	working(http.StatusOK)
	s.admin(http.MethodDelete, "/v1/token/all", nil)
	working(http.StatusForbidden)
}

func TestUploadSessionsCarryNoToken(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	ends := time.Now().Add(30 * time.Minute).UTC().Format(time.RFC3339)
	s.api.answering(http.StatusOK, `{"expirationDateTime":"`+ends+`","uploadUrl":"https://contoso.sharepoint.com/up?guid=1&tempauth=x"}`)
	r := s.call(http.MethodPost, "/proxy/carol/v1.0/me/drive/root:/a.bin:/createUploadSession", strings.NewReader("{}"), "Content-Type", "application/json")
	path := s.local(member(t, r, "uploadUrl"))
	s.api.take()
	s.api.handle(nil)
	for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodDelete, http.MethodPost} {
		s.do(method, path, strings.NewReader("0123"), "Authorization", "Bearer "+s.key, "Content-Range", "bytes 0-3/10")
		got := s.api.only(t)
		if got.Target != "/up?guid=1&tempauth=x" || got.Header.Get("Authorization") != "" || got.Header.Get("Content-Range") != "bytes 0-3/10" || got.Body != "0123" {
			t.Errorf("%s: %+v", method, got)
		}
	}
	s.api.answering(http.StatusOK, `{"uploadUrl":"https://contoso.sharepoint.com/up?guid=1"}`)
	if got := member(t, s.call(http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1", nil), "uploadUrl"); got != "https://contoso.sharepoint.com/up?guid=1" {
		t.Errorf("a member of that name in another answer became %s", got)
	}
}

func TestResumableSessionsGoOutWithTheToken(t *testing.T) {
	s := startProxied(t, "upstream www.googleapis.com {{provider}}", "upstream www.googleapis.com {{api}}")
	s.api.answering(http.StatusOK, `{}`, "Location", "https://www.googleapis.com/upload/drive/v3/files?uploadType=resumable&upload_id=abc")
	r := s.call(http.MethodPost, "/proxy/alice/www.googleapis.com/upload/drive/v3/files?uploadType=resumable", strings.NewReader("{}"))
	path := s.local(r.header.Get("Location"))
	s.api.take()
	s.api.handle(func(w http.ResponseWriter, r *http.Request) {
		s.api.record(r)
		w.Header().Set("Range", "bytes=0-3")
		w.WriteHeader(http.StatusPermanentRedirect) // "Resume Incomplete"
	})
	for _, method := range []string{http.MethodPut, http.MethodPost} {
		r := s.do(method, path, strings.NewReader("0123"), "Content-Range", "bytes 0-3/10", "X-GUploader-No-308", "yes")
		got := s.api.only(t)
		if r.status != http.StatusPermanentRedirect || r.header.Get("Range") != "bytes=0-3" {
			t.Errorf("%s: %d %v", method, r.status, r.header)
		}
		if got.Target != "/upload/drive/v3/files?uploadType=resumable&upload_id=abc" || !strings.HasPrefix(got.Header.Get("Authorization"), "Bearer ya29.") || got.Body != "0123" {
			t.Errorf("%s: %+v", method, got)
		}
	}
	wantProblem(t, s.do(http.MethodGet, path, nil), problem.MethodNotAllowed)
	// A session that goes on at another URL stays one.
	s.api.answering(http.StatusPermanentRedirect, "", "Location", "https://www.googleapis.com/upload/drive/v3/files?upload_id=def")
	if link := s.do(http.MethodPut, path, strings.NewReader("0123")).header.Get("Location"); !strings.HasPrefix(s.local(link), "/proxy/.bellhop/h/") {
		t.Errorf("the session goes on at %s", link)
	}
}

func TestRedirectsToDownloadsBecomeHandles(t *testing.T) {
	s := startProxied(t, graphAtAPI...)
	s.api.answering(http.StatusFound, "", "Location", "https://contoso.sharepoint.com/dl?tempauth=secret-in-location")
	r := s.call(http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1/content", nil)
	if r.status != http.StatusFound {
		t.Fatalf("%d %s", r.status, r.body)
	}
	path := s.local(r.header.Get("Location"))
	if got := s.api.only(t); got.Target != "/v1.0/me/drive/items/1/content" {
		t.Errorf("the redirect was followed: %+v", got)
	}
	// What a handle leads to may redirect again.
	s.api.answering(http.StatusFound, "", "Location", "/dl2?tempauth=more")
	r = s.do(http.MethodGet, path, nil)
	s.api.take()
	s.api.handle(nil)
	s.do(http.MethodGet, s.local(r.header.Get("Location")), nil)
	if got := s.api.only(t); got.Host != "contoso.sharepoint.com" || got.Target != "/dl2?tempauth=more" || got.Header.Get("Authorization") != "" {
		t.Errorf("%+v", got)
	}
	s.api.answering(http.StatusFound, "", "Location", "https://evil.example/?a=b")
	if r := s.call(http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1/content", nil); r.header.Get("Location") != "https://evil.example/?a=b" {
		t.Errorf("a host that nobody lists: %s", r.header.Get("Location"))
	}
}

func TestHandlesOfPrivateAddressesAreNotDialled(t *testing.T) {
	for far, dialled := range map[string]bool{
		"192.0.2.1:443": true, "[2606:4700::1]:443": true,
		"127.0.0.1:443": false, "10.1.2.3:443": false, "169.254.169.254:443": false, "100.64.1.1:443": false,
		"[::1]:443": false, "[::ffff:10.0.0.1]:443": false, "[fd00::1]:443": false, "[fe80::1]:443": false, "0.0.0.0:443": false,
		"[64:ff9b::a00:1]:443": false, "[2002:a00:1::1]:443": false, "[::10.0.0.1]:443": false, "[fec0::1]:443": false, "0.1.2.3:443": false, "198.18.0.1:443": false,
	} {
		dial := guardHandles(func(context.Context, string, string) (net.Conn, error) { return connTo(far), nil })
		out := &outbound{Request: &target.Request{Host: "contoso.sharepoint.com"}, address: address{dial: "contoso.sharepoint.com:443"}, handle: new(handle.Handle)}
		ctx := context.WithValue(t.Context(), outboundKey{}, out)
		if _, err := dial(ctx, "tcp", "contoso.sharepoint.com:443"); (err == nil) != dialled {
			t.Errorf("%s: %v", far, err)
		}
		if _, err := dial(ctx, "tcp", "forward-proxy.example:3128"); err != nil {
			t.Errorf("%s, of a forward proxy: %v", far, err)
		}
		out.address.direct = true
		if _, err := dial(ctx, "tcp", "contoso.sharepoint.com:443"); err != nil {
			t.Errorf("%s, which the operator wrote: %v", far, err)
		}
		out.address.direct, out.handle = false, nil
		if _, err := dial(ctx, "tcp", "contoso.sharepoint.com:443"); err != nil {
			t.Errorf("%s, of an API host: %v", far, err)
		}
	}
}

func TestAHandleThatLeadsIntoOwnNetworkIsNotCalled(t *testing.T) {
	private, caFile := secureAPI(t)
	host := strings.TrimPrefix(private.URL, "https://")
	settings := "proxy {\n\t\t\thandle_host " + host + "\n\t\t\ttransport http {\n\t\t\t\ttls_trust_pool file " + caFile + "\n\t\t\t}"
	for name, c := range map[string]struct {
		upstream string
		status   int
	}{
		"by its own address": {"", http.StatusBadGateway},
		"by the operator's":  {"\n\t\t\tupstream " + host + " " + private.URL, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			s := startProxied(t, append([]string{"proxy {", settings + c.upstream}, graphAtAPI...)...)
			s.api.answering(http.StatusOK, `{"@microsoft.graph.downloadUrl":"`+private.URL+`/x"}`)
			link := member(t, s.call(http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1", nil), "@microsoft.graph.downloadUrl")
			if r := s.do(http.MethodGet, s.local(link), nil); r.status != c.status {
				t.Errorf("%d %s, want %d", r.status, r.body, c.status)
			}
		})
	}
}

// connTo is a connection of which only the far end's address is known.
type connTo string

// The parts of [net.Conn] that a guard looks at.
func (c connTo) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(string(c)))
}
func (c connTo) LocalAddr() net.Addr              { return nil }
func (c connTo) Close() error                     { return nil }
func (c connTo) Read([]byte) (int, error)         { return 0, io.EOF }
func (c connTo) Write([]byte) (int, error)        { return 0, io.EOF }
func (c connTo) SetDeadline(time.Time) error      { return nil }
func (c connTo) SetReadDeadline(time.Time) error  { return nil }
func (c connTo) SetWriteDeadline(time.Time) error { return nil }

func TestHandlesAreNotLogged(t *testing.T) {
	logs := filepath.Join(t.TempDir(), "log")
	s := startProxied(t, append([]string{
		"grace_period 5s", "grace_period 5s\n\tlog default {\n\t\tlevel DEBUG\n\t\toutput file " + logs + "\n\t}",
		"bind 127.0.0.1", "bind 127.0.0.1\n\tlog",
	}, graphAtAPI...)...)
	s.api.answering(http.StatusFound, "", "Location", "https://contoso.sharepoint.com/dl?tempauth=secret-in-location")
	r := s.call(http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1/content", nil)
	path := s.local(r.header.Get("Location"))
	const elsewhere = "https://files.elsewhere.example/dl?tempauth=secret-in-location"
	s.api.answering(http.StatusFound, "", "Location", elsewhere)
	if r := s.call(http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1/content", nil); r.header.Get("Location") != elsewhere {
		t.Errorf("a Location that leads elsewhere: %v", r.header)
	}
	if r := s.adminReply(http.MethodGet, "/proxy/carol/v1.0/me/drive/items/1/content", nil); r.header.Get("Location") != elsewhere {
		t.Errorf("the same for an operator: %v", r.header)
	}
	s.api.handle(nil)
	s.do(http.MethodGet, path, nil)
	s.do(http.MethodGet, path+"A", nil)
	s.call(http.MethodGet, "/proxy/carol/v1.0/me", nil)
	s.stop()
	text, err := os.ReadFile(logs)
	if err != nil {
		t.Fatal(err)
	}
	sealed := path[strings.LastIndexByte(path, '/')+1:]
	for name, secret := range map[string]string{"the handle": sealed[:40], "its URL": "secret-in-location"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%s is in the log", name)
		}
	}
	for _, want := range []string{`"route":"handle"`, `"host":"contoso.sharepoint.com"`, `/v1.0/me`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the log has no %s", want)
		}
	}
	s.load(s.caddyfile) // for the end of the test
}

func TestUpstreamsThatNoCallReachesAreWarnedOf(t *testing.T) {
	logs := filepath.Join(t.TempDir(), "log")
	s := startProxied(
		t, "grace_period 5s", "grace_period 5s\n\tlog default {\n\t\toutput file "+logs+"\n\t}",
		graphAtAPI[0], graphAtAPI[1]+"\n\t\t\tupstream stray.example {{api}}\n\t\t\tupstream files.example {{api}}\n\t\t\thandle_host *.example.net files.example",
	)
	s.stop()
	defer s.load(s.caddyfile) // for the end of the test
	text, err := os.ReadFile(logs)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"stray.example": true, "files.example": false, "contoso.sharepoint.com": false, "graph.microsoft.com": false} {
		if got := strings.Contains(string(text), `"subdirective":"upstream","host":"`+host+`"`); got != want {
			t.Errorf("warned of %s: %t, want %t", host, got, want)
		}
	}
}
