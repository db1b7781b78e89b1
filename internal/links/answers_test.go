package links

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/rewrite"
)

// TestAnswersOfAPIs has answers as Graph, Outlook and Google write them, and as
// somebody might who wants a URL rewritten or sealed. In want, an empty string
// stands for the answer as it came.
func TestAnswersOfAPIs(t *testing.T) {
	const (
		graph = "https://graph.microsoft.com/v1.0"
		back  = pathRoot + "/graph.microsoft.com/v1.0"
		www   = "https://www.googleapis.com"
		away  = "https://graph.microsoft.com/v1.0/me/messages?$skip=10"
	)
	for _, c := range []struct {
		name        string
		provider    Provider
		method, url string
		body, want  string
	}{
		{
			"page of messages", microsoft, "GET", messages,
			`{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#users('8b0b')/messages","value":[{"id":"AAMk","subject":"see ` + away + `","body":{"content":"{\"@odata.nextLink\":\"` + away + `\"}"}}],"@odata.nextLink":"` + messages + `?%24top=10&%24skip=10"}`,
			`{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#users('8b0b')/messages","value":[{"id":"AAMk","subject":"see ` + away + `","body":{"content":"{\"@odata.nextLink\":\"` + away + `\"}"}}],"@odata.nextLink":"` + back + `/me/messages?%24top=10&%24skip=10"}`,
		},
		{
			"end of a delta", microsoft, "GET", graph + "/me/mailFolders/inbox/messages/delta",
			`{"value":[],"@odata.deltaLink":"https://graph.microsoft.com/v1.0/me/mailFolders/inbox/messages/delta?$deltatoken=x"}`,
			`{"value":[],"@odata.deltaLink":"` + back + `/me/mailFolders/inbox/messages/delta?$deltatoken=x"}`,
		},
		{
			"expanded property", microsoft, "GET", graph + "/me/drive/root?$expand=children",
			`{"id":"1","children":[{"id":"2"}],"children@odata.nextLink":"` + graph + `/me/drive/root/children?$skiptoken=a"}`,
			`{"id":"1","children":[{"id":"2"}],"children@odata.nextLink":"` + back + `/me/drive/root/children?$skiptoken=a"}`,
		},
		{
			"files", microsoft, "GET", graph + "/me/drive/root/children",
			`{"value":[{"@microsoft.graph.downloadUrl":"` + download + `","id":"1","webUrl":"https://contoso-my.sharepoint.com/personal/a"},{"@microsoft.graph.downloadUrl":"https://evil.example/x"}]}`,
			`{"value":[{"@microsoft.graph.downloadUrl":"sealed download ` + download + `","id":"1","webUrl":"https://contoso-my.sharepoint.com/personal/a"},{"@microsoft.graph.downloadUrl":"https://evil.example/x"}]}`,
		},
		{
			"file that was uploaded", microsoft, "PUT", graph + "/me/drive/root:/a.txt:/content",
			`{"@microsoft.graph.downloadUrl":"` + download + `"}`,
			`{"@microsoft.graph.downloadUrl":"sealed download ` + download + `"}`,
		},
		{
			"upload session", microsoft, "POST", graph + "/me/messages/AAMk/attachments/createUploadSession",
			`{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.uploadSession","uploadUrl":"` + outlook + `","expirationDateTime":"2019-09-25T01:09:30.7671707Z","nextExpectedRanges":["0-"]}`,
			`{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.uploadSession","uploadUrl":"sealed upload ` + outlook + ` until 2019-09-25T01:09:30Z","expirationDateTime":"2019-09-25T01:09:30.7671707Z","nextExpectedRanges":["0-"]}`,
		},
		{
			"upload session that was not asked for", microsoft, "GET", graph + "/me/events/1",
			`{"uploadUrl":"` + outlook + `"}`, "",
		},
		{
			"page of Drive", google, "GET", www + "/drive/v2/files",
			`{"kind":"drive#fileList","nextLink":"https://www.googleapis.com/drive/v2/files?maxResults=2&pageToken=x","items":[{"nextLink":"https://www.googleapis.com/drive/v2/files"}]}`,
			`{"kind":"drive#fileList","nextLink":"` + pathRoot + `/www.googleapis.com/drive/v2/files?maxResults=2&pageToken=x","items":[{"nextLink":"https://www.googleapis.com/drive/v2/files"}]}`,
		},
		{
			"discovery document", google, "GET", www + "/discovery/v1/apis/gmail/v1/rest",
			`{"mtlsRootUrl":"https://gmail.mtls.googleapis.com/","rootUrl":"https://gmail.googleapis.com/","servicePath":"","baseUrl":"https://gmail.googleapis.com/","batchPath":"batch","documentationLink":"https://developers.google.com/gmail/","auth":{"oauth2":{"scopes":{"https://mail.google.com/":{}}}},"resources":{"rootUrl":"https://gmail.googleapis.com/"}}`,
			`{"mtlsRootUrl":"` + pathRoot + `/gmail.googleapis.com/","rootUrl":"` + pathRoot + `/gmail.googleapis.com/","servicePath":"","baseUrl":"` + pathRoot + `/gmail.googleapis.com/","batchPath":"batch","documentationLink":"https://developers.google.com/gmail/","auth":{"oauth2":{"scopes":{"https://mail.google.com/":{}}}},"resources":{"rootUrl":"https://gmail.googleapis.com/"}}`,
		},
		{
			"columns of a list", microsoft, "GET", graph + "/sites/x/lists/y/items?$expand=fields",
			`{"value":[{"id":"1","fields":{"@microsoft.graph.downloadUrl":"` + download + `","value":[],"@odata.nextLink":"` + away + `"}}]}`, "",
		},
		{
			"columns of an item", microsoft, "GET", graph + "/sites/x/lists/y/items/1/fields",
			`{"@microsoft.graph.downloadUrl":"` + download + `","@odata.nextLink":"` + away + `"}`, "",
		},
		{
			"open extension", microsoft, "GET", graph + "/me/messages/1/extensions/a.b",
			`{"@microsoft.graph.downloadUrl":"` + download + `","@odata.nextLink":"` + away + `"}`, "",
		},
		{
			"open extensions", microsoft, "GET", graph + "/me/messages/1/extensions",
			`{"value":[{"@microsoft.graph.downloadUrl":"` + download + `","value":[],"@odata.nextLink":"` + away + `"}],"@odata.nextLink":"` + messages + `"}`,
			`{"value":[{"@microsoft.graph.downloadUrl":"` + download + `","value":[],"@odata.nextLink":"` + away + `"}],"@odata.nextLink":"` + back + `/me/messages"}`,
		},
		{
			"expanded open extension", microsoft, "GET", graph + "/me/events/1?$expand=extensions",
			`{"extensions":[{"value":[],"@odata.nextLink":"` + away + `"}]}`, "",
		},
		{
			"external item that was found", microsoft, "POST", graph + "/search/query",
			`{"value":[{"hitsContainers":[{"hits":[{"resource":{"@microsoft.graph.downloadUrl":"` + download + `","properties":{"value":[],"@odata.nextLink":"` + away + `"}}}]}]}]}`, "",
		},
		{
			"event with properties of others", google, "GET", www + "/calendar/v3/calendars/primary/events/1",
			`{"summary":"nextLink","extendedProperties":{"shared":{"nextLink":"https://www.googleapis.com/x"}}}`, "",
		},
		{
			"file in JSON", google, "GET", www + "/drive/v3/files/1?alt=media",
			`{"nextLink":"https://www.googleapis.com/drive/v2/files"}`, "",
		},
		{
			"file in JSON at Graph", microsoft, "GET", graph + "/me/drive/root:/a.json:/content",
			`{"@odata.nextLink":"` + away + `","@microsoft.graph.downloadUrl":"` + download + `"}`, "",
		},
		{
			"links that lead elsewhere", microsoft, "GET", messages,
			`{"value":[],"@odata.nextLink":"https://evil.example/v1.0/me","@odata.deltaLink":"//graph.microsoft.com/v1.0/me"}`, "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := c.want
			if want == "" {
				want = c.body
			}
			call := callOf(c.provider, c.method, c.url)
			var body io.Reader = strings.NewReader(c.body)
			if rules := call.Rules(); rules != nil {
				body = rewrite.NewReader(body, rules, call.Replace)
			}
			got, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
