package links

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/handle"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// listing is a provider that lists some hosts, the default one first. Those
// with a port are spoken to without TLS.
type listing struct {
	kind  string
	hosts []string
}

func (l listing) Type() string         { return l.kind }
func (l listing) DefaultHost() string  { return l.hosts[0] }
func (l listing) DAV(_, _ string) bool { return false }
func (l listing) Scheme(h string) string {
	if strings.Contains(h, ":") {
		return "http"
	}
	return "https"
}

func (l listing) AllowsHost(host, path string) error {
	for _, listed := range l.hosts {
		if host == listed && !strings.HasPrefix(path, "/oauth2/") {
			return nil
		}
	}
	return errors.New("not listed")
}

var (
	google    = listing{provider.TypeGoogle, []string{"www.googleapis.com", "gmail.googleapis.com", "photoslibrary.googleapis.com", "127.0.0.1:8443"}}
	microsoft = listing{provider.TypeMicrosoft, []string{"graph.microsoft.com", "outlook.office.com", "127.0.0.1:8443"}}
	acme      = listing{provider.TypeOAuth2, []string{"api.acme.example"}}
)

// The ways in which a caller can reach an API.
var (
	pathBase    = target.Base{Scheme: "https", Host: "bellhop.internal:8443", Prefix: "/proxy", Account: "megan"}
	escapedBase = target.Base{Scheme: "http", Host: "127.0.0.1:2080", Prefix: "/api/proxy", Account: "user%2Fmegan%40contoso.com"}
	originBase  = target.Base{Scheme: "https", Host: "localhost:8444"}
)

const (
	pathRoot    = "https://bellhop.internal:8443/proxy/megan"
	escapedRoot = "http://127.0.0.1:2080/api/proxy/user%2Fmegan%40contoso.com"
	originRoot  = "https://localhost:8444"
)

// callOf makes a call of an API's URL that names its host.
func callOf(p Provider, method, raw string) *Call {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err)
	}
	return &Call{
		Request: &target.Request{
			Method: method, Account: "megan", Host: u.Host, Path: u.EscapedPath(), RawQuery: u.RawQuery,
			Base: pathBase,
		},
		Provider: p,
		Seal: func(kind handle.Kind, url string, expires time.Time) (string, error) {
			link := "sealed " + kind.String() + " " + url
			if !expires.IsZero() {
				link += " until " + expires.UTC().Format(time.RFC3339)
			}
			return link, nil
		},
	}
}

const (
	messages = "https://graph.microsoft.com/v1.0/me/messages"
	nextPage = messages + "?$top=10&$skiptoken=AQ%3d%3d&%24filter=a+eq+'b'"
	download = "https://contoso-my.sharepoint.com/personal/megan_contoso_com/_layouts/15/download.aspx?UniqueId=30773b25-1106-435f-9b2d-19673db13ae9&Translate=false&tempauth=v1.eyJzaXRlaWQiOiJkN2&ApiVersion=2.0"
	upload   = "https://contoso-my.sharepoint.com/personal/megan_contoso_com/_api/v2.0/drives/b!abc/items/01ABC/uploadSession?guid='1b2c'&overwrite=True&rename=False&dc=0&tempauth=v1.eyJz"
	outlook  = "https://outlook.office.com/api/v2.0/Users('a8e8e219@72aa88bf')/Messages('AAMkADI5MAAIT3drCAAA=')/AttachmentSessions('AAMkADI5MAAIT3k0tAAA=')?authtoken=eyJhbGciOiJSUzI1NiIsImtpZCI6"
)

func TestLinksLeadBackTheWayTheCallerCame(t *testing.T) {
	tests := map[string]struct {
		base    target.Base
		implied bool
		url     string
		want    string // empty: stays as it is
	}{
		"path form":                              {pathBase, false, nextPage, pathRoot + "/graph.microsoft.com/v1.0/me/messages?$top=10&$skiptoken=AQ%3d%3d&%24filter=a+eq+'b'"},
		"default host":                           {pathBase, true, nextPage, pathRoot + "/v1.0/me/messages?$top=10&$skiptoken=AQ%3d%3d&%24filter=a+eq+'b'"},
		"another listed host beside the default": {pathBase, true, "https://outlook.office.com/api/v2.0/me", pathRoot + "/outlook.office.com/api/v2.0/me"},
		"escaped account":                        {escapedBase, false, nextPage, escapedRoot + "/graph.microsoft.com/v1.0/me/messages?$top=10&$skiptoken=AQ%3d%3d&%24filter=a+eq+'b'"},
		"origin form":                            {originBase, false, nextPage, originRoot + "/v1.0/me/messages?$top=10&$skiptoken=AQ%3d%3d&%24filter=a+eq+'b'"},
		"another listed host in the origin form": {originBase, false, "https://outlook.office.com/api/v2.0/me", ""},
		"capitals and port 443":                  {pathBase, false, "https://Graph.Microsoft.com:443/v1.0/me", pathRoot + "/graph.microsoft.com/v1.0/me"},
		"plain http where it is configured so":   {pathBase, false, "http://127.0.0.1:8443/v1.0/me", pathRoot + "/127.0.0.1:8443/v1.0/me"},
		"a fragment":                             {pathBase, false, messages + "#part", pathRoot + "/graph.microsoft.com/v1.0/me/messages#part"},
		"foreign host":                           {pathBase, false, "https://evil.example/v1.0/me", ""},
		"host that only begins so":               {pathBase, false, "https://graph.microsoft.com.evil.example/", ""},
		"path that is not allowed":               {pathBase, false, "https://graph.microsoft.com/oauth2/token", ""},
		"path that is not allowed, escaped":      {pathBase, false, "https://graph.microsoft.com/%6fauth2/token", ""},
		"plain http":                             {pathBase, false, "http://graph.microsoft.com/v1.0/me", ""},
		"https where http is configured":         {pathBase, false, "https://127.0.0.1:8443/v1.0/me", ""},
		"user information":                       {pathBase, false, "https://graph.microsoft.com@evil.example/", ""},
		"user information before the host":       {pathBase, false, "https://evil@graph.microsoft.com/", ""},
		"another port":                           {pathBase, false, "https://graph.microsoft.com:8443/", ""},
		"protocol-relative":                      {pathBase, false, "//graph.microsoft.com/v1.0/me", ""},
		"relative":                               {pathBase, false, "/v1.0/me", ""},
		"a backslash":                            {pathBase, false, `https://graph.microsoft.com\@evil.example/`, ""},
		"a backslash in the path":                {pathBase, false, `https://graph.microsoft.com/v1.0\..\x`, ""},
		"a line break":                           {pathBase, false, "https://graph.microsoft.com/v1.0\r\nX-Evil: 1", ""},
		"a space":                                {pathBase, false, messages + "?$filter=a eq 'b'", pathRoot + "/graph.microsoft.com/v1.0/me/messages?$filter=a%20eq%20'b'"},
		"a backslash in the query":               {pathBase, false, messages + `?a=\b`, pathRoot + "/graph.microsoft.com/v1.0/me/messages?a=%5Cb"},
		"a script":                               {pathBase, false, "javascript:alert(1)//https://graph.microsoft.com/", ""},
		"no slashes":                             {pathBase, false, "https:graph.microsoft.com/v1.0", ""},
		"dot segments":                           {pathBase, false, "https://graph.microsoft.com/../../bob/graph.microsoft.com/v1.0/me", ""},
		"escaped dot segments":                   {pathBase, false, "https://graph.microsoft.com/%2e%2e/%2e%2e/bob/v1.0/me", ""},
		"nothing":                                {pathBase, false, "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := callOf(microsoft, "GET", messages)
			c.Request.Base, c.Request.Implied = test.base, test.implied
			got, ok := c.Replace(rewrite.Found{Kind: rewrite.Link, Name: "@odata.nextLink", URL: test.url})
			if got != test.want || ok != (test.want != "") {
				t.Errorf("Replace gave %q, %t; want %q", got, ok, test.want)
			}
		})
	}
}

// TestTrailingDotIsTheSameHost: a link is made to the canonical name, while a
// handle is never made of such a URL.
func TestTrailingDotIsTheSameHost(t *testing.T) {
	c := callOf(microsoft, "GET", messages)
	got, _ := c.Replace(rewrite.Found{Kind: rewrite.Link, URL: "https://graph.microsoft.com./v1.0/me"})
	if want := pathRoot + "/graph.microsoft.com/v1.0/me"; got != want {
		t.Errorf("link is %q, want %q", got, want)
	}
	if got, ok := c.Replace(rewrite.Found{Kind: rewrite.Download, URL: "https://contoso.sharepoint.com./x"}); ok {
		t.Errorf("handle is %q, want none", got)
	}
}

func TestURLsWithAuthorityAreSealed(t *testing.T) {
	tests := map[string]struct {
		provider Provider
		kind     rewrite.Kind
		url      string
		sealed   bool
	}{
		"download of OneDrive for work":      {microsoft, rewrite.Download, download, true},
		"download of OneDrive for persons":   {microsoft, rewrite.Download, "https://my.microsoftpersonalcontent.com/personal/76ddca7c70c999ac/_layouts/15/download.aspx?UniqueId=3f76e8d8&Translate=false&tempauth=v1e.eyJzaXRlaWQiOiJkN2MwYzU4NS0x", true},
		"download of older OneDrive":         {microsoft, rewrite.Download, "https://public.sn.files.1drv.com/y4mXyz/report.docx", true},
		"upload to OneDrive for work":        {microsoft, rewrite.Upload, upload, true},
		"upload to older OneDrive":           {microsoft, rewrite.Upload, "https://sn3302.up.1drv.com/up/fe6987415ace7X4e1eF866337", true},
		"upload to Outlook":                  {microsoft, rewrite.Upload, outlook, true},
		"upload to the API without TLS":      {microsoft, rewrite.Upload, "http://127.0.0.1:8443/upload/1", true},
		"download at the API's host":         {microsoft, rewrite.Download, "https://graph.microsoft.com/v1.0/me", false},
		"a host that the operator added":     {microsoft, rewrite.Download, "https://a.contoso-files.example/x?sig=1", true},
		"that, of another type":              {acme, rewrite.Download, "https://a.contoso-files.example/x?sig=1", true},
		"Microsoft's hosts, of another type": {google, rewrite.Download, download, false},
		"loopback that the operator added":   {microsoft, rewrite.Download, "http://127.0.0.1:9000/x", true},
		"IPv6 loopback":                      {microsoft, rewrite.Download, "http://[::1]:9000/x", true},
		"another port of it":                 {microsoft, rewrite.Download, "http://127.0.0.1:9001/x", false},
		"it without a port":                  {microsoft, rewrite.Download, "http://127.0.0.1/x", false},
		"plain http of an added host":        {microsoft, rewrite.Download, "http://plain.contoso-files.example/x", false},
		"plain http":                         {microsoft, rewrite.Download, "http://contoso-my.sharepoint.com/x", false},
		"foreign host":                       {microsoft, rewrite.Download, "https://evil.example/x", false},
		"foreign host for an upload":         {microsoft, rewrite.Upload, "https://evil.example/x", false},
		"host that only ends so":             {microsoft, rewrite.Download, "https://evilsharepoint.com/x", false},
		"the domain itself":                  {microsoft, rewrite.Download, "https://sharepoint.com/x", false},
		"user information":                   {microsoft, rewrite.Download, "https://a@contoso.sharepoint.com/x", false},
		"a host in user information":         {microsoft, rewrite.Download, "https://contoso.sharepoint.com@evil.example/x", false},
		"another port":                       {microsoft, rewrite.Download, "https://contoso.sharepoint.com:8443/x", false},
		"protocol-relative":                  {microsoft, rewrite.Download, "//contoso.sharepoint.com/x", false},
		"a backslash":                        {microsoft, rewrite.Download, `https://evil.example\.sharepoint.com/x`, false},
		"a backslash before an @":            {microsoft, rewrite.Download, `https://contoso.sharepoint.com\@evil.example/x`, false},
		"a line break":                       {microsoft, rewrite.Download, "https://contoso.sharepoint.com/x\r\ny", false},
		"a script":                           {microsoft, rewrite.Download, "javascript://contoso.sharepoint.com/%0aalert(1)", false},
		"an address":                         {microsoft, rewrite.Download, "https://169.254.169.254/x", false},
		"an escaped host":                    {microsoft, rewrite.Download, "https://evil.example%2f.sharepoint.com/x", false},
		"nothing":                            {microsoft, rewrite.Download, "", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := callOf(test.provider, "GET", "https://graph.microsoft.com/v1.0/me/drive/root/children")
			c.Handles = []string{"*.contoso-files.example", "127.0.0.1:9000", "[::1]:9000"}
			got, ok := c.Replace(rewrite.Found{Kind: test.kind, URL: test.url})
			want := ""
			if test.sealed {
				kind := handle.Download
				if test.kind == rewrite.Upload {
					kind = handle.Upload
				}
				want = "sealed " + kind.String() + " " + test.url
			}
			if got != want || ok != test.sealed {
				t.Errorf("Replace gave %q, %t; want %q", got, ok, want)
			}
		})
	}
}

func TestUploadExpiresWhenTheAPISays(t *testing.T) {
	c := callOf(microsoft, "POST", "https://graph.microsoft.com/v1.0/me/drive/root:/a.bin:/createUploadSession")
	for beside, want := range map[string]string{
		"2000-01-02T01:09:30.7671707Z":  "2000-01-02T01:09:30Z",
		"2000-01-01T02:00:00+01:00":     "2000-01-01T01:00:00Z",
		"Sat, 01 Jan 2000 01:00:00 GMT": "",
		"":                              "",
	} {
		got, ok := c.Replace(rewrite.Found{Kind: rewrite.Upload, URL: upload, Beside: beside})
		expected := "sealed upload " + upload
		if want != "" {
			expected += " until " + want
		}
		if !ok || got != expected {
			t.Errorf("beside %q Replace gave %q, want %q", beside, got, expected)
		}
	}
	if got, _ := c.Replace(rewrite.Found{Kind: rewrite.Download, URL: download, Beside: "2000-01-02T00:00:00Z"}); strings.Contains(got, "until") {
		t.Errorf("a download is sealed as %q, want its usual life", got)
	}
}

func TestDiscoveryRootsLeadBack(t *testing.T) {
	tests := map[string]struct {
		base      target.Base
		implied   bool
		name, url string
		want      string
	}{
		"root":                             {pathBase, false, "rootUrl", "https://gmail.googleapis.com/", pathRoot + "/gmail.googleapis.com/"},
		"base with a path":                 {pathBase, false, "baseUrl", "https://www.googleapis.com/drive/v3/", pathRoot + "/www.googleapis.com/drive/v3/"},
		"base at the default host":         {pathBase, true, "baseUrl", "https://www.googleapis.com/drive/v3/", pathRoot + "/drive/v3/"},
		"another root than the document's": {pathBase, true, "rootUrl", "https://gmail.googleapis.com/", pathRoot + "/gmail.googleapis.com/"},
		"root with a client certificate":   {pathBase, false, "mtlsRootUrl", "https://gmail.mtls.googleapis.com/", pathRoot + "/gmail.googleapis.com/"},
		"that of the default host":         {pathBase, true, "mtlsRootUrl", "https://www.mtls.googleapis.com/", pathRoot + "/"},
		"that without a slash":             {pathBase, false, "mtlsRootUrl", "https://gmail.mtls.googleapis.com", pathRoot + "/gmail.googleapis.com/"},
		"origin form":                      {originBase, false, "rootUrl", "https://www.googleapis.com/", originRoot + "/"},
		"client certificate, origin form":  {originBase, false, "mtlsRootUrl", "https://www.mtls.googleapis.com/", originRoot + "/"},
		"another root in the origin form":  {originBase, false, "rootUrl", "https://gmail.googleapis.com/", ""},
		"root that is not listed":          {pathBase, false, "rootUrl", "https://storage.googleapis.com/", ""},
		"client certificate, not listed":   {pathBase, false, "mtlsRootUrl", "https://storage.mtls.googleapis.com/", ""},
		"client certificate, foreign":      {pathBase, false, "mtlsRootUrl", "https://gmail.mtls.googleapis.com.evil.example/", ""},
		"a host with it in another member": {pathBase, false, "rootUrl", "https://gmail.mtls.googleapis.com/", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := callOf(google, "GET", "https://www.googleapis.com/discovery/v1/apis/gmail/v1/rest")
			c.Request.Base, c.Request.Implied = test.base, test.implied
			got, ok := c.Replace(rewrite.Found{Kind: rewrite.Link, Name: test.name, URL: test.url})
			if got != test.want || ok != (test.want != "") {
				t.Errorf("Replace gave %q, %t; want %q", got, ok, test.want)
			}
		})
	}
}

func TestURLThatCannotBeSealedIsTakenOut(t *testing.T) {
	c := callOf(microsoft, "GET", messages)
	c.Seal = func(handle.Kind, string, time.Time) (string, error) { return "", errors.New("too long") }
	if got, ok := c.Replace(rewrite.Found{Kind: rewrite.Download, URL: download}); got != "" || !ok {
		t.Errorf("Replace gave %q, %t; want nothing in its place", got, ok)
	}
}

func TestUnknownKindStays(t *testing.T) {
	if got, ok := callOf(microsoft, "GET", messages).Replace(rewrite.Found{URL: messages}); ok {
		t.Errorf("Replace gave %q", got)
	}
}

func TestHandleTargetHoldsSessionsToTheProvidersHosts(t *testing.T) {
	tests := map[string]struct {
		kind     handle.Kind
		provider Provider
		url      string
		want     bool
	}{
		"session":                            {handle.Session, google, "https://www.googleapis.com/upload/drive/v3/files?upload_id=1", true},
		"session at a token's path":          {handle.Session, google, "https://www.googleapis.com/oauth2/v4/token?upload_id=1", false},
		"session at a token's path, escaped": {handle.Session, google, "https://www.googleapis.com/%256fauth2/v4/token?upload_id=1", false},
		"session behind two slashes":         {handle.Session, google, "https://www.googleapis.com//oauth2/v4/token?upload_id=1", false},
		"session behind a dot segment":       {handle.Session, google, "https://www.googleapis.com/upload/../oauth2/v4/token?upload_id=1", false},
		"session at an added host":           {handle.Session, google, "https://files.example/?upload_id=1", false},
		"session without TLS":                {handle.Session, google, "http://www.googleapis.com/upload/drive/v3/files?upload_id=1", false},
		"download at an added host":          {handle.Download, google, "https://files.example/", true},
		"monitor":                            {handle.Monitor, microsoft, "https://contoso.sharepoint.com/_api/v2.0/monitor/4A3407B5", true},
		"monitor at the API's host":          {handle.Monitor, microsoft, "https://graph.microsoft.com/v1.0/me", false},
		"upload at the API's host":           {handle.Upload, microsoft, outlook, true},
		"download of an app's":               {handle.Download, listing{provider.TypeMicrosoftApp, microsoft.hosts}, "https://contoso.sharepoint.com/x", true},
		"download through an EmailEngine":    {handle.Download, listing{provider.TypeEmailEngine, microsoft.hosts}, "https://contoso.sharepoint.com/x", true},
		"download of a service account's":    {handle.Download, listing{provider.TypeGoogleServiceAccount, google.hosts}, "https://contoso.sharepoint.com/x", false},
		"no kind":                            {0, microsoft, download, false},
		"user information":                   {handle.Session, google, "https://a:b@www.googleapis.com/upload/", false},
		"no host":                            {handle.Session, google, "https:///upload/", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			u, err := url.Parse(test.url)
			if err != nil {
				t.Fatal(err)
			}
			if got := HandleTarget(test.kind, u, test.provider, []string{"files.example"}); got != test.want {
				t.Errorf("HandleTarget = %t, want %t", got, test.want)
			}
		})
	}
}
