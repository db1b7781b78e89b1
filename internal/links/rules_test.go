package links

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/rewrite"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

func TestRulesOfMicrosoft(t *testing.T) {
	names := map[*rewrite.Rules]string{
		microsoftRules: "pages", microsoftUploadRules: "upload", microsoftOpenRules: "list", nil: "none",
	}
	const graph = "https://graph.microsoft.com"
	for _, c := range []struct{ method, url, want string }{
		{"GET", graph + "/v1.0/me/messages", "pages"},
		{"GET", graph + "/v1.0/me/messages?alt=media", "pages"},
		{"GET", graph + "/v1.0/me/drive/root/children", "pages"},
		{"GET", graph + "/v1.0/me/drive/root/delta(token='x')", "pages"},
		{"POST", graph + "/v1.0/search/query", "pages"},
		{"GET", graph + "/v1.0/me/messages/AAMk/attachments", "pages"},
		{"GET", graph + "/v1.0/sites/contoso.sharepoint.com,1,2/lists/3/items?$expand=fields", "pages"},
		{"GET", "https://outlook.office.com/api/v2.0/me/messages", "pages"},

		{"POST", graph + "/v1.0/me/drive/root:/big.bin:/createUploadSession", "upload"},
		{"POST", graph + "/v1.0/me/drive/items/01ABC:/big.bin:/createuploadsession", "upload"},
		{"POST", graph + "/v1.0/me/drive/items/01ABC/CreateUploadSession/", "upload"},
		{"POST", graph + "/v1.0/me/messages/AAMk/attachments/createUploadSession", "upload"},
		{"POST", graph + "/v1.0/me/messages/AAMk/attachments/microsoft.graph.createUploadSession", "upload"},
		{"GET", graph + "/v1.0/me/drive/root:/big.bin:/createUploadSession", "pages"},
		{"PUT", graph + "/v1.0/me/drive/root:/big.bin:/createUploadSession", "pages"},
		{"POST", graph + "/v1.0/me/drive/root:/createUploadSession:/copy", "pages"},
		{"POST", graph + "/v1.0/me/drive/root:/a/createUploadSession", "pages"},

		{"GET", graph + "/v1.0/me/photo/$value", "none"},
		{"GET", graph + "/v1.0/me/photo/%24value", "none"},
		{"GET", graph + "/v1.0/me/messages/AAMk/$value", "none"},
		{"GET", graph + "/v1.0/me/messages/AAMk/attachments/AAMk2/$value", "none"},
		{"GET", graph + "/v1.0/me/messages/AAMk/attachments/AAMk2", "none"},
		{"GET", graph + "/v1.0/me/drive/items/01ABC/content", "none"},
		{"GET", graph + "/v1.0/me/drive/items/01ABC/content?format=pdf", "none"},
		{"GET", graph + "/v1.0/me/drive/root:/a/b.json:/content", "none"},
		{"GET", graph + "/v1.0/me/drive/items/01ABC/contentStream", "none"},
		{"GET", graph + "/v1.0/me/drive/items/01ABC/thumbnails/0/medium/content", "none"},
		{"GET", graph + "/v1.0/me/onenote/pages/1/Content", "none"},
		{"PUT", graph + "/v1.0/me/drive/root:/a/b.json:/content", "pages"},
		{"GET", graph + "/v1.0/me/drive/root:/a/content", "pages"},
		{"GET", graph + "/v1.0/me/drive/root:/a/content:/children", "pages"},

		{"GET", graph + "/v1.0/me/messages/AAMk/extensions", "list"},
		{"GET", graph + "/v1.0/me/messages/AAMk/extensions/com.contoso", "none"},
		{"GET", graph + "/v1.0/me/messages/AAMk/extensions('com.contoso')", "none"},
		{"POST", graph + "/v1.0/me/messages/AAMk/extensions", "none"},
		{"PATCH", graph + "/v1.0/me/messages/AAMk/Extensions/com.contoso", "none"},
		{"GET", graph + "/v1.0/sites/contoso.sharepoint.com:/sites/a:/lists/b/items/3/fields", "none"},
		{"PATCH", graph + "/v1.0/sites/x/lists/b/items/3/fields", "none"},
		{"GET", graph + "/v1.0/me/drive/root:/a/fields:/listItem/fields", "none"},
		{"GET", graph + "/v1.0/me/drive/root:/extensions/a", "pages"},
		{"GET", graph + "/v1.0/me/drive/root:/a/fields", "pages"},
		{"GET", graph + "/v1.0/storage/fileStorage/containers/x/customProperties", "none"},
		{"POST", graph + "/v1.0/security/microsoft.graph.security.runHuntingQuery", "none"},
		{"POST", graph + "/v1.0/security/runHuntingQuery", "none"},
	} {
		t.Run(c.method+" "+c.url, func(t *testing.T) {
			if got := names[callOf(microsoft, c.method, c.url).Rules()]; got != c.want {
				t.Errorf("rules are %q, want %q", got, c.want)
			}
		})
	}
}

func TestRulesOfGoogle(t *testing.T) {
	names := map[*rewrite.Rules]string{googleRules: "pages", discoveryRules: "discovery", nil: "none"}
	for _, c := range []struct{ method, url, want string }{
		{"GET", "https://gmail.googleapis.com/gmail/v1/users/me/messages", "pages"},
		{"GET", "https://www.googleapis.com/drive/v2/files?maxResults=2", "pages"},
		{"GET", "https://www.googleapis.com/drive/v3/files/1?alt=json", "pages"},
		{"POST", "https://www.googleapis.com/upload/drive/v3/files?uploadType=multipart", "pages"},
		{"GET", "https://www.googleapis.com/drive/v2/files/1/export/x", "pages"},

		{"GET", "https://www.googleapis.com/drive/v3/files/1?alt=media", "none"},
		{"GET", "https://www.googleapis.com/drive/v3/files/1?fields=id&alt=media", "none"},
		{"GET", "https://www.googleapis.com/drive/v3/files/1?%61lt=med%69a", "none"},
		{"GET", "https://www.googleapis.com/drive/v3/files/1?$alt=MEDIA", "none"},
		{"GET", "https://www.googleapis.com/drive/v3/files/1?alt=json&alt=media", "none"},
		{"GET", "https://www.googleapis.com/drive/v3/files/1/export?mimeType=application/json", "none"},
		{"GET", "https://gmail.googleapis.com/gmail/v1/users/me/messages/1/attachments/ANGjdJ", "none"},
		{"GET", "https://www.googleapis.com/download/drive/v3/files/1", "none"},

		{"GET", "https://www.googleapis.com/discovery/v1/apis/gmail/v1/rest", "discovery"},
		{"GET", "https://gmail.googleapis.com/$discovery/rest?version=v1", "discovery"},
		{"GET", "https://www.googleapis.com/discovery/v1/apis", "pages"},
	} {
		t.Run(c.method+" "+c.url, func(t *testing.T) {
			if got := names[callOf(google, c.method, c.url).Rules()]; got != c.want {
				t.Errorf("rules are %q, want %q", got, c.want)
			}
		})
	}
}

func TestIsDiscovery(t *testing.T) {
	for _, c := range []struct {
		kind, method, url string
		want              bool
	}{
		{provider.TypeGoogle, "GET", "https://www.googleapis.com/discovery/v1/apis/drive/v3/rest", true},
		{provider.TypeGoogle, "HEAD", "https://www.googleapis.com/discovery/v1/apis/admin/directory_v1/rest", true},
		{provider.TypeGoogle, "GET", "https://people.googleapis.com/$discovery/rest?version=v1", true},
		{provider.TypeGoogle, "GET", "https://people.googleapis.com/%24discovery/rest", true},
		{provider.TypeGoogle, "POST", "https://people.googleapis.com/$discovery/rest", false},
		{provider.TypeGoogle, "GET", "https://people.googleapis.com/$discovery/rest/x", false},
		{provider.TypeGoogle, "GET", "https://people.googleapis.com/v1/$discovery/rest", false},
		{provider.TypeGoogle, "GET", "https://www.googleapis.com/discovery/v1/apis", false},
		{provider.TypeGoogle, "GET", "https://www.googleapis.com/discovery/v1/apis/drive/v3", false},
		{provider.TypeGoogle, "GET", "https://www.googleapis.com/discovery/v1/apis//v3/rest", false},
		{provider.TypeGoogle, "GET", "https://www.googleapis.com/discovery/v1/apis/drive/v3/rest/x", false},
		{provider.TypeGoogle, "GET", "https://gmail.googleapis.com/discovery/v1/apis/drive/v3/rest", false},
		{provider.TypeMicrosoft, "GET", "https://graph.microsoft.com/$discovery/rest", false},
		{provider.TypeOAuth2, "GET", "https://www.googleapis.com/discovery/v1/apis/drive/v3/rest", false},
		{provider.TypeGoogleServiceAccount, "GET", "https://www.googleapis.com/discovery/v1/apis/drive/v3/rest", true},
		{provider.TypeEmailEngine, "GET", "https://people.googleapis.com/$discovery/rest", true},
		{provider.TypeEmailEngine, "GET", "https://graph.microsoft.com/$discovery/rest", false},
	} {
		t.Run(c.kind+" "+c.method+" "+c.url, func(t *testing.T) {
			if got := IsDiscovery(callOf(google, c.method, c.url).Request, c.kind); got != c.want {
				t.Errorf("IsDiscovery = %t, want %t", got, c.want)
			}
		})
	}
}

func TestOperatorsMembersAreAdded(t *testing.T) {
	extra := []Extra{{Member: "next", Path: "/reports/**"}, {Member: "more", Path: "/*/pages"}, {Member: "everywhere"}}
	link := func(name string) rewrite.Member {
		return rewrite.Member{Name: name, Kind: rewrite.Link, Places: rewrite.Top | rewrite.Paged}
	}
	for _, c := range []struct {
		name     string
		provider Provider
		url      string
		extra    []Extra
		want     []rewrite.Member
	}{
		{"all paths", acme, "https://api.acme.example/x", extra, []rewrite.Member{link("everywhere")}},
		{"path", acme, "https://api.acme.example/reports/a/b", extra, []rewrite.Member{link("next"), link("everywhere")}},
		{"segment", acme, "https://api.acme.example/a/pages", extra, []rewrite.Member{link("more"), link("everywhere")}},
		{"case of the path", acme, "https://api.acme.example/Reports/a", extra[:2], nil},
		{"escaped path", acme, "https://api.acme.example/%72eports/a", extra[:2], nil},
		{"no path matches", acme, "https://api.acme.example/x", extra[:2], nil},
		{"nothing configured", acme, "https://api.acme.example/x", nil, nil},
		{"behind Google's", google, "https://www.googleapis.com/reports/a", extra[:1], append(googleRules.Members[:1:1], link("next"))},
		{"not in a file", google, "https://www.googleapis.com/reports/a?alt=media", extra[:1], nil},
		{"not in somebody's document", microsoft, "https://graph.microsoft.com/reports/fields", extra[:1], nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			call := callOf(c.provider, "GET", c.url)
			call.Extra = c.extra
			rules := call.Rules()
			if c.want == nil {
				if rules != nil {
					t.Fatalf("rules are %+v, want none", rules)
				}
				return
			}
			if diff := cmp.Diff(c.want, rules.Members); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(closed, rules.Closed); diff != "" {
				t.Error(diff)
			}
		})
	}
	if len(googleRules.Members) != 1 || len(noRules.Members) != 0 {
		t.Error("the shared rules were changed")
	}
}

func TestUploadURLIsForOneAnswerOnly(t *testing.T) {
	for _, rules := range []*rewrite.Rules{microsoftRules, microsoftOpenRules, googleRules, discoveryRules, noRules} {
		for _, m := range rules.Members {
			if m.Kind == rewrite.Upload {
				t.Errorf("%s is looked for in every answer", m.Name)
			}
		}
	}
}

func TestRulesOfPlainCallsAllocateNothing(t *testing.T) {
	for _, c := range []*Call{
		callOf(google, "GET", "https://gmail.googleapis.com/gmail/v1/users/me/messages/18c2f3?format=full"),
		callOf(microsoft, "GET", nextPage),
		callOf(acme, "GET", "https://api.acme.example/x"),
	} {
		if n := testing.AllocsPerRun(100, func() { c.Rules() }); n != 0 {
			t.Errorf("%s%s: %v allocations, want none", c.Request.Host, c.Request.Path, n)
		}
	}
}

func BenchmarkRules(b *testing.B) {
	for name, c := range map[string]*Call{
		"Gmail": callOf(google, "GET", "https://gmail.googleapis.com/gmail/v1/users/me/messages/18c2f3?format=full"),
		"Graph": callOf(microsoft, "GET", nextPage),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Rules()
			}
		})
	}
}

// FuzzRules holds that no path is too odd, and that a file is never looked into.
func FuzzRules(f *testing.F) {
	f.Add("GET", "/v1.0/me/drive/root:/a:/content", "alt=media")
	f.Add("POST", "/v1.0/::/%2f/createUploadSession", "%61lt=%")
	f.Add("GET", "", "&=&")
	f.Fuzz(func(t *testing.T, method, path, query string) {
		for _, p := range []Provider{google, microsoft, acme} {
			c := &Call{Request: &target.Request{Method: method, Host: p.DefaultHost(), Path: path, RawQuery: query}, Provider: p}
			c.Rules()
			c.Request.Method, c.Request.Path = "GET", "/v1.0/x/$value"
			if p.Type() == provider.TypeMicrosoft && c.Rules() != nil {
				t.Fatalf("a file is looked into with query %q", query)
			}
		}
	})
}
