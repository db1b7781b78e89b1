package links

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/handle"
	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

const (
	file       = "https://graph.microsoft.com/v1.0/me/drive/items/01ABC/content"
	monitor    = "https://contoso.sharepoint.com/_api/v2.0/monitor/4A3407B5-88FC-4504-8B21-0AABD3412717?tempAuth=eyJ0eXAi"
	report     = "https://graph.microsoft.com/v1.0/reports/getOffice365ActiveUserDetail(period='D7')"
	reportFile = "https://reports.office.com/data/download/JDFKdf2_eJXKS034dbc7e0t__XDe"
	resumable  = "https://www.googleapis.com/upload/drive/v3/files?uploadType=resumable"
	session    = "https://www.googleapis.com/upload/drive/v3/files?uploadType=resumable&upload_id=AEnB2Uo0n-X5vZAEaELiy2OfdbTD"
	photos     = "https://photoslibrary.googleapis.com/v1/uploads"
	photoFile  = "https://photoslibrary.googleapis.com/v1/uploads?upload_id=AHxI1nMkzatj&upload_protocol=resumable"
)

// headerTest is a header field of an answer, and what becomes of it.
type headerTest struct {
	provider    Provider
	method, url string
	status      int
	field       string
	value, want string // an empty want: the value stays as it is
}

func (test *headerTest) run(t *testing.T, change func(*Call)) {
	t.Helper()
	c := callOf(test.provider, test.method, test.url)
	c.Handles = []string{"*.contoso-files.example"}
	if change != nil {
		change(c)
	}
	want := test.want
	if want == "" {
		want = test.value
	}
	h := http.Header{test.field: {test.value}, "Content-Type": {"application/json"}}
	c.Header(test.status, h)
	if diff := cmp.Diff(http.Header{test.field: {want}, "Content-Type": {"application/json"}}, h); diff != "" {
		t.Error(diff)
	}
}

func TestLocationsWithAuthorityAreSealed(t *testing.T) {
	for name, test := range map[string]headerTest{
		"file":                         {microsoft, "GET", file, 302, "Location", download, "sealed download " + download},
		"file, asked for its header":   {microsoft, "HEAD", file, 302, "Location", download, "sealed download " + download},
		"thumbnail":                    {microsoft, "GET", "https://graph.microsoft.com/v1.0/me/drive/items/01ABC/thumbnails/0/medium/content", 302, "Location", "https://westeurope1-mediap.svc.ms/transform/thumbnail?provider=spo&cb=1&tempauth=x", "sealed download https://westeurope1-mediap.svc.ms/transform/thumbnail?provider=spo&cb=1&tempauth=x"},
		"report":                       {microsoft, "GET", report, 302, "Location", reportFile, "sealed download " + reportFile},
		"monitor":                      {microsoft, "POST", "https://graph.microsoft.com/v1.0/me/drive/items/01ABC/copy", 202, "Location", monitor, "sealed monitor " + monitor},
		"other redirects":              {microsoft, "GET", file, 307, "Location", download, "sealed download " + download},
		"added host":                   {acme, "GET", "https://api.acme.example/files/1", 303, "Location", "https://a.contoso-files.example/x", "sealed download https://a.contoso-files.example/x"},
		"session":                      {google, "POST", resumable, 200, "Location", session, "sealed session " + session},
		"session of an update":         {google, "PATCH", "https://www.googleapis.com/upload/drive/v3/files/1?uploadType=resumable", 200, "Location", session, "sealed session " + session},
		"session that was created":     {google, "PUT", resumable, 201, "Location", session, "sealed session " + session},
		"session below resumable":      {google, "POST", "https://gmail.googleapis.com/resumable/upload/gmail/v1/users/me/messages/send?uploadType=resumable", 200, "Location", "https://gmail.googleapis.com/resumable/upload/gmail/v1/users/me/messages/send?uploadType=resumable&upload_id=x", "sealed session https://gmail.googleapis.com/resumable/upload/gmail/v1/users/me/messages/send?uploadType=resumable&upload_id=x"},
		"newer protocol":               {google, "POST", photos, 200, "X-Goog-Upload-Url", photoFile, "sealed session " + photoFile},
		"newer protocol's control":     {google, "POST", photos, 200, "X-Goog-Upload-Control-Url", photoFile, "sealed session " + photoFile},
		"newer protocol, foreign host": {google, "POST", photos, 200, "X-Goog-Upload-Url", "https://evil.example/upload?upload_id=x", ""},
		"newer protocol, token's path": {google, "POST", photos, 200, "X-Goog-Upload-Url", "https://www.googleapis.com/oauth2/v4/token", ""},
		"newer protocol, no upload":    {google, "GET", photos, 200, "X-Goog-Upload-Url", photoFile, ""},
		"newer protocol, empty":        {google, "POST", photos, 200, "X-Goog-Upload-Control-Url", "", ""},
		"newer protocol, another API":  {acme, "POST", "https://api.acme.example/x", 200, "X-Goog-Upload-Url", "https://api.acme.example/y", ""},
		"foreign session":              {google, "POST", resumable, 200, "Location", "https://evil.example/upload/drive/v3/files?upload_id=x", ""},
		"session without TLS":          {google, "POST", resumable, 200, "Location", "http://www.googleapis.com/upload/drive/v3/files?upload_id=x", ""},
		"foreign host":                 {microsoft, "GET", file, 302, "Location", "https://evil.example/x", ""},
		"host in user information":     {microsoft, "GET", file, 302, "Location", "https://contoso.sharepoint.com@evil.example/x", ""},
		"plain http":                   {microsoft, "GET", file, 302, "Location", "http://contoso.sharepoint.com/x", ""},
		"status that says nothing":     {microsoft, "GET", file, 200, "Location", download, ""},
		"content's location":           {microsoft, "GET", file, 302, "Content-Location", download, ""},
	} {
		t.Run(name, func(t *testing.T) { test.run(t, nil) })
	}
}

func TestLocationsAtListedHostsLeadBack(t *testing.T) {
	const created = "https://graph.microsoft.com/v1.0/users('8b0b')/messages('AAMk')"
	for name, test := range map[string]headerTest{
		"what was created":               {microsoft, "POST", messages, 201, "Location", created, pathRoot + "/graph.microsoft.com/v1.0/users('8b0b')/messages('AAMk')"},
		"operation":                      {microsoft, "POST", "https://graph.microsoft.com/v1.0/teams", 202, "Location", "https://graph.microsoft.com/v1.0/teams('1')/operations('2')", pathRoot + "/graph.microsoft.com/v1.0/teams('1')/operations('2')"},
		"content's location":             {microsoft, "POST", messages, 201, "Content-Location", created, pathRoot + "/graph.microsoft.com/v1.0/users('8b0b')/messages('AAMk')"},
		"redirect":                       {google, "GET", "https://gmail.googleapis.com/a", 301, "Location", "https://www.googleapis.com/b?c=d", pathRoot + "/www.googleapis.com/b?c=d"},
		"upload that was answered":       {google, "POST", "https://www.googleapis.com/upload/drive/v3/files?uploadType=multipart", 201, "Location", "https://www.googleapis.com/drive/v3/files/1", pathRoot + "/www.googleapis.com/drive/v3/files/1"},
		"upload_id on another path":      {google, "POST", "https://www.googleapis.com/drive/v3/files", 200, "Location", session, pathRoot + "/www.googleapis.com/upload/drive/v3/files?uploadType=resumable&upload_id=AEnB2Uo0n-X5vZAEaELiy2OfdbTD"},
		"absolute path":                  {google, "GET", "https://gmail.googleapis.com/a/b", 302, "Location", "/c/d?e=%2F#f", pathRoot + "/gmail.googleapis.com/c/d?e=%2F#f"},
		"absolute path behind a version": {microsoft, "GET", messages, 302, "Location", "/v1.0/x", pathRoot + "/graph.microsoft.com/v1.0/x"},
		"relative path":                  {google, "GET", "https://gmail.googleapis.com/a/b?c=d", 302, "Location", "e%2Ff?g", pathRoot + "/gmail.googleapis.com/a/e%2Ff?g"},
		"relative path upwards":          {google, "GET", "https://gmail.googleapis.com/a/b/c", 302, "Location", "../d", pathRoot + "/gmail.googleapis.com/a/d"},
		"query":                          {google, "GET", "https://gmail.googleapis.com/a/b?c=d", 302, "Location", "?page=2", pathRoot + "/gmail.googleapis.com/a/b?page=2"},
		"plain http":                     {google, "GET", "http://127.0.0.1:8443/a", 302, "Location", "/b", pathRoot + "/127.0.0.1:8443/b"},
		"listed host without a scheme":   {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "//www.googleapis.com/b", pathRoot + "/www.googleapis.com/b"},
		"foreign host without a scheme":  {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "//evil.example/b", ""},
		"path that Graph writes":         {microsoft, "POST", "https://graph.microsoft.com/v1.0/teams", 202, "Location", "/teams('1')/operations('2')", ""},
		"its content's location":         {microsoft, "POST", "https://graph.microsoft.com/beta/teams", 202, "Content-Location", "/teams('1')", ""},
		"absolute path out of the host":  {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "/../../bob/x", ""},
		"a backslash":                    {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", `/\evil.example/`, ""},
		"a script":                       {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "javascript:alert(1)", ""},
		"no host":                        {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "https:///b", ""},
		"scheme and path":                {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "https:b", ""},
		"user information":               {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "https://a:b@gmail.googleapis.com/", ""},
		"another port":                   {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "https://gmail.googleapis.com:8443/", ""},
		"fragment":                       {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "#b", ""},
		"nothing":                        {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "", ""},
		"malformed":                      {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "https://%zz/", ""},
	} {
		t.Run(name, func(t *testing.T) { test.run(t, nil) })
	}
}

// TestLocationOnAnAPIsOwnHost is about a SharePoint host that the operator lists
// as an API: what is a file's there needs no token, and the rest does.
func TestLocationOnAnAPIsOwnHost(t *testing.T) {
	sharepoint := listing{"microsoft", []string{"contoso.sharepoint.com"}}
	const page = "https://contoso.sharepoint.com/_api/web/lists"
	for name, test := range map[string]headerTest{
		"page":                {sharepoint, "GET", "https://contoso.sharepoint.com/_api/web/lists('a')", 302, "Location", page, pathRoot + "/contoso.sharepoint.com/_api/web/lists"},
		"file":                {sharepoint, "GET", "https://contoso.sharepoint.com/_api/v2.0/drive/items/1/content", 302, "Location", page, "sealed download " + page},
		"file, relative":      {sharepoint, "GET", "https://contoso.sharepoint.com/_api/v2.0/drive/items/1/content", 302, "Location", "/_api/web/lists", "sealed download " + page},
		"handle that goes on": {microsoft, "GET", "https://contoso.sharepoint.com/a", 302, "Location", "/b?tempauth=c", "sealed download https://contoso.sharepoint.com/b?tempauth=c"},
	} {
		t.Run(name, func(t *testing.T) { test.run(t, nil) })
	}
}

func TestLocationsInTheOriginForm(t *testing.T) {
	for name, test := range map[string]headerTest{
		"the site's own host":   {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "https://gmail.googleapis.com/b", originRoot + "/b"},
		"absolute path":         {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "/b", originRoot + "/b"},
		"another listed host":   {google, "GET", "https://gmail.googleapis.com/a", 302, "Location", "https://www.googleapis.com/b", ""},
		"session":               {google, "POST", resumable, 200, "Location", session, "sealed session " + session},
		"file":                  {microsoft, "GET", file, 302, "Location", download, "sealed download " + download},
		"link":                  {google, "GET", "https://gmail.googleapis.com/a", 200, "Link", "<https://gmail.googleapis.com/b>; rel=next", "<" + originRoot + "/b>; rel=next"},
		"link to another host ": {google, "GET", "https://gmail.googleapis.com/a", 200, "Link", "<https://www.googleapis.com/b>; rel=next", ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.run(t, func(c *Call) { c.Request.Base = originBase })
		})
	}
}

func TestLocationsWithoutAHostInThePath(t *testing.T) {
	test := headerTest{microsoft, "POST", messages, 201, "Location", messages + "('AAMk')", pathRoot + "/v1.0/me/messages('AAMk')"}
	test.run(t, func(c *Call) { c.Request.Implied = true })
	test.want = escapedRoot + "/v1.0/me/messages('AAMk')"
	test.run(t, func(c *Call) { c.Request.Base, c.Request.Implied = escapedBase, true })
}

func TestLinkFieldChangesTargetsOnly(t *testing.T) {
	const own, away = "https://gmail.googleapis.com/a?page=2", "https://evil.example/a"
	const back = pathRoot + "/gmail.googleapis.com/a?page=2"
	for name, test := range map[string]struct{ value, want string }{
		"one":                         {"<" + own + `>; rel="next"`, "<" + back + `>; rel="next"`},
		"none to a listed host":       {"<" + away + `>; rel="next"`, ""},
		"several":                     {"<" + own + ">; rel=next,<" + away + ">;rel=prev ,\t<" + own + ">", "<" + back + ">; rel=next,<" + away + ">;rel=prev ,\t<" + back + ">"},
		"comma in a target":           {"<" + own + ",3>; rel=next", "<" + back + ",3>; rel=next"},
		"target in quotes":            {"<" + away + `>; title="a, <` + own + `>; b"; rel=next`, ""},
		"escaped quote":               {"<" + away + `>; title="\", <` + own + `>", <` + own + ">", "<" + away + `>; title="\", <` + own + `>", <` + back + ">"},
		"target in a parameter":       {"<" + away + ">; anchor=<" + own + ">", ""},
		"relative":                    {"</b>; rel=preload, <?page=3>; rel=next", "<" + pathRoot + "/gmail.googleapis.com/b>; rel=preload, <" + pathRoot + "/gmail.googleapis.com/a?page=3>; rel=next"},
		"empty members":               {", ,<" + own + ">,", ", ,<" + back + ">,"},
		"what follows a mistake":      {"<" + own + ">; rel=next, oops, <" + own + ">", "<" + back + ">; rel=next, oops, <" + own + ">"},
		"no end":                      {"<" + own, ""},
		"no target":                   {"rel=next", ""},
		"a script":                    {"<javascript:alert(1)>; rel=next", ""},
		"space in a target":           {"<" + own + " x>; rel=next", ""},
		"nothing":                     {"", ""},
		"nothing in angle brackets":   {"<>; rel=self", ""},
		"quotes that are never ended": {"<" + own + `>; title="a, <` + own + ">", "<" + back + `>; title="a, <` + own + ">"},
	} {
		t.Run(name, func(t *testing.T) {
			test := headerTest{google, "GET", "https://gmail.googleapis.com/a", 200, "Link", test.value, test.want}
			test.run(t, nil)
		})
	}
}

func TestEveryValueOfAFieldIsReplaced(t *testing.T) {
	h := http.Header{"Link": {"<https://gmail.googleapis.com/a>", "<https://evil.example/>", "</b>"}}
	callOf(google, "GET", "https://gmail.googleapis.com/a").Header(200, h)
	want := http.Header{"Link": {"<" + pathRoot + "/gmail.googleapis.com/a>", "<https://evil.example/>", "<" + pathRoot + "/gmail.googleapis.com/b>"}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
}

func TestLocationThatCannotBeSealedIsTakenOut(t *testing.T) {
	c := callOf(microsoft, "GET", file)
	c.Seal = func(handle.Kind, string, time.Time) (string, error) { return "", errors.New("too long") }
	h := http.Header{"Location": {download}, "Etag": {"x"}}
	c.Header(302, h)
	if diff := cmp.Diff(http.Header{"Etag": {"x"}}, h); diff != "" {
		t.Error(diff)
	}
}

func TestFieldsOfABatchAnswer(t *testing.T) {
	for name, test := range map[string]headerTest{
		"file":               {microsoft, "GET", file, 0, "Location", download, "sealed download " + download},
		"copy":               {microsoft, "POST", "https://graph.microsoft.com/v1.0/me/drive/items/01ABC/copy", 0, "location", monitor, "sealed monitor " + monitor},
		"what was created":   {microsoft, "POST", messages, 0, "LOCATION", messages + "('A')", pathRoot + "/graph.microsoft.com/v1.0/me/messages('A')"},
		"content's location": {microsoft, "POST", messages, 0, "content-location", messages + "('A')", pathRoot + "/graph.microsoft.com/v1.0/me/messages('A')"},
		"link":               {microsoft, "GET", messages, 0, "link", "<" + messages + ">; rel=next", "<" + pathRoot + "/graph.microsoft.com/v1.0/me/messages>; rel=next"},
		"session":            {google, "POST", resumable, 0, "Location", session, "sealed session " + session},
		"another field":      {microsoft, "GET", messages, 0, "Refresh", messages, ""},
		"foreign host":       {microsoft, "GET", file, 0, "Location", "https://evil.example/", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := callOf(test.provider, test.method, test.url)
			got, ok := c.Replace(rewrite.Found{Kind: rewrite.Location, Name: test.field, URL: test.value, Part: "1"})
			if got != test.want || ok != (test.want != "") {
				t.Errorf("Replace gave %q, %t; want %q", got, ok, test.want)
			}
		})
	}
}

func TestHeaderWithoutURLsStays(t *testing.T) {
	h := http.Header{"Content-Type": {"application/json"}, "Refresh": {"0; url=https://gmail.googleapis.com/"}}
	want := h.Clone()
	c := callOf(google, "GET", "https://gmail.googleapis.com/a")
	if n := testing.AllocsPerRun(100, func() { c.Header(200, h) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
}

// FuzzField holds that nothing leads to a host that is not listed, and that no
// value breaks out of its field.
func FuzzField(f *testing.F) {
	for _, seed := range []string{download, monitor, session, nextPage, "//evil.example", `/\evil`, "a/../b", "<" + messages + ">; rel=next, </a>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c := &Call{
			Request:  &target.Request{Method: "GET", Host: "graph.microsoft.com", Path: "/v1.0/me/content", Base: pathBase},
			Provider: listing{"microsoft", []string{"graph.microsoft.com"}},
			Seal:     func(handle.Kind, string, time.Time) (string, error) { return pathRoot + "/h", nil },
		}
		for _, name := range []string{"Location", "Content-Location"} {
			got, ok := c.field(302, name, value)
			if !ok {
				continue
			}
			u, err := http.NewRequest(http.MethodGet, got, nil)
			if err != nil || u.URL.Host != pathBase.Host || u.URL.JoinPath().EscapedPath()[:len("/proxy/megan/")] != "/proxy/megan/" {
				t.Fatalf("%s %q became %q (%v)", name, value, got, err)
			}
		}
		c.field(200, "Link", value)
	})
}
