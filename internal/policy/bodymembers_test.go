package policy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/target"
)

// checkGraphBody judges a body by a check of Graph's.
func checkGraphBody(check BodyCheck, contentType, body string) error {
	decision := Decision{Allowed: true, Body: check}
	q := &target.Request{Method: http.MethodPost, Host: "graph.microsoft.com", Path: "/v1.0/me/messages"}
	return decision.CheckBody(q, http.Header{"Content-Type": {contentType}}, []byte(body))
}

func TestBodiesOfMessagesThatAreAllowed(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":          "",
		"an empty object":  " {} ",
		"a mark":           `{"isRead":true}`,
		"categories":       `{"categories":["Red category"],"flag":{"flagStatus":"flagged","dueDateTime":{"dateTime":"2026-01-01T00:00:00","timeZone":"UTC"}}}`,
		"a draft":          `{"@odata.type":"#microsoft.graph.message","subject":"x","importance":"low","body":{"contentType":"html","content":"<b>x</b> \"singleValueExtendedProperties\""},"toRecipients":[{"emailAddress":{"name":"B","address":"b@example.com"}}],"internetMessageHeaders":[{"name":"x-a","value":"b"}]}`,
		"its attachments":  `{"subject":"x","attachments":[{"@odata.type":"#microsoft.graph.fileAttachment","name":"a.txt","contentType":"text/plain","contentBytes":"SGVsbG8=","isInline":false,"contentId":"a"}]}`,
		"another's type":   `{"toRecipients@odata.type":"#Collection(microsoft.graph.recipient)","toRecipients":[]}`,
		"an attached mail": `{"@odata.type":"#microsoft.graph.itemAttachment","name":"x","item":{"@odata.type":"microsoft.graph.message","subject":"x","body":{"content":"y"}}}`,
		"an answer":        `{"message":{"toRecipients":[{"emailAddress":{"address":"a@example.com"}}]},"comment":"hello"}`,
		"a forward":        `{"Comment":"hello","ToRecipients":[{"emailAddress":{"address":"a@example.com"}}],"Message":{"isDeliveryReceiptRequested":true}}`,
		"numbers and null": `{"size":1e400,"from":null,"isRead":false}`,
		"a large one":      `{"body":{"content":"` + strings.Repeat("a", 3<<20) + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkGraphBody(GraphMessage, "application/json; charset=utf-8", body); err != nil {
				t.Error(err)
			}
		})
	}
	for _, body := range []string{
		`{"displayName":"a","isHidden":true}`,
		`{"@odata.type":"microsoft.graph.mailSearchFolder","displayName":"a","includeNestedFolders":true,"sourceFolderIds":["x"],"filterQuery":"contains(subject, 'x')"}`,
	} {
		if err := checkGraphBody(GraphMailFolder, "application/json", body); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestBodiesOfMessagesThatAreRefused(t *testing.T) {
	const property = `[{"id":"String 0x001A","value":"IPM.ExtendedRule.Message"}]`
	for name, c := range map[string]struct{ body, want string }{
		"an extended property":          {`{"subject":"x","singleValueExtendedProperties":` + property + `}`, `leave out the member "singleValueExtendedProperties"`},
		"several values":                {`{"multiValueExtendedProperties":[]}`, `leave out the member "multiValueExtendedProperties"`},
		"in another case":               {`{"SingleValueExtendedProperties":` + property + `}`, "leave out"},
		"escaped":                       {`{"single\u0056alueExtendedProperties":` + property + `}`, `leave out the member "singleValueExtendedProperties"`},
		"of an answer's message":        {`{"comment":"x","message":{"subject":"x","singleValueExtendedProperties":` + property + `}}`, "leave out"},
		"of an attached mail":           {`{"item":{"singleValueExtendedProperties":` + property + `}}`, "leave out"},
		"behind a type":                 {`{"singleValueExtendedProperties@odata.type":"x"}`, "leave out"},
		"by reference":                  {`{"singleValueExtendedProperties@odata.bind":["x"]}`, "leave out"},
		"a reference of a known member": {`{"attachments@odata.bind":["x"]}`, "leave out"},
		"a delta of a known member":     {`{"attachments@delta":[]}`, "leave out"},
		"an ID of OData's":              {`{"@odata.id":"https://graph.microsoft.com/v1.0/me/events/x"}`, "leave out"},
		"extensions":                    {`{"extensions":[{"extensionName":"x"}]}`, "leave out"},
		"no draft any more":             {`{"isDraft":false}`, "leave out"},
		"a member in another case":      {`{"Subject":"x"}`, "leave out"},
		"an unknown one":                {`{"x":1}`, "leave out"},
		"none":                          {`{"":1}`, "leave out"},
		"a type of nothing":             {`{"@odata.type@odata.type@odata.type":"x"}`, "leave out"},
		"a long one":                    {`{"` + strings.Repeat("é", 100) + `":1}`, "leave out the member \"" + strings.Repeat("é", 32) + "…\""},
		"a rule":                        {`{"messageRules":[{"displayName":"x"}]}`, "leave out"},
		"one twice":                     {`{"subject":"a","subject":"b"}`, `send the member "subject" once`},
		"one twice below":               {`{"body":{"content":"a","content":"b"}}`, `send the member "content" once`},
		"a list":                        {`[]`, "send a JSON object"},
		"a text":                        {`"c3ViamVjdDogeA=="`, "send a JSON object"},
		"no JSON":                       {`subject=x`, "send a JSON object"},
		"JSON with a mark in front":     {"\ufeff{}", "send a JSON object"},
		"half of it":                    {`{"subject":"a"`, "well formed"},
		"half of a list":                {`{"categories":["a"`, "well formed"},
		"a comment":                     {`{/**/"subject":"a"}`, "well formed"},
		"a name that is no text":        {`{1:2}`, "well formed"},
		"a second object":               {`{}{"singleValueExtendedProperties":1}`, "nothing behind it"},
		"no UTF-8":                      {"{\"subject\":\"\xff\"}", "UTF-8"},
		"too deep":                      {strings.Repeat(`{"item":`, 17) + "{}" + strings.Repeat("}", 17), "at most 16 levels"},
		"lists too deep":                {`{"categories":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}", "at most 16 levels"},
		"too long":                      {`{"body":{"content":"` + strings.Repeat("a", 4<<20) + `"}}`, "send at most 4096 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkGraphBody(GraphMessage, "application/json", c.body)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	for _, contentType := range []string{"", "text/plain", "application/json, text/plain", "application/json; charset=utf-16", "multipart/form-data", "application/xml"} {
		if checkGraphBody(GraphMessage, contentType, `{"subject":"x"}`) == nil {
			t.Errorf("%q is allowed", contentType)
		}
	}
}

func TestBodiesOfMailFoldersThatAreRefused(t *testing.T) {
	for _, body := range []string{
		`{"displayName":"x","messageRules":[{"displayName":"f","actions":{"forwardTo":[{"emailAddress":{"address":"a@example.com"}}]}}]}`,
		`{"MessageRules":[]}`, `{"messageRules@delta":[]}`, `{"childFolders":[{"messageRules":[]}]}`, `{"messages":[]}`, `{"singleValueExtendedProperties":[]}`,
		`{"userConfigurations":[]}`, `{"subject":"x"}`, `{"displayName":"` + strings.Repeat("a", 64<<10) + `"}`,
	} {
		if checkGraphBody(GraphMailFolder, "application/json", body) == nil {
			t.Errorf("%.100s is allowed", body)
		}
	}
}

func TestQueriesThatMayDoWhatABodyMayNot(t *testing.T) {
	for query, want := range map[string]bool{
		"": true, "$select=id,subject&$expand=attachments": true, "select=id": true, "%24select=id": true,
		"MessageDisposition=SendAndSaveCopy": false, "$select=id&messagedisposition=SendOnly": false, "Message%44isposition=SendOnly": false,
		"$filter=x": false, "a;b": false, "%zz": false, "=": false,
	} {
		q := &target.Request{Method: http.MethodPost, Host: "graph.microsoft.com", Path: "/v1.0/me/mailFolders/sentitems/messages", RawQuery: query}
		for _, check := range []BodyCheck{GraphMessage, GraphMailFolder} {
			for _, body := range []string{"", "{}"} {
				err := Decision{Allowed: true, Body: check}.CheckBody(q, http.Header{"Content-Type": {"application/json"}}, []byte(body))
				if want != (err == nil) {
					t.Errorf("%q with the body %q: %v", query, body, err)
				}
			}
		}
	}
}
