package rewrite

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// graphList is 100 KiB of messages as Microsoft Graph lists them.
func graphList() []byte {
	var b bytes.Buffer
	b.WriteString(`{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#users('48d31887')/messages","value":[`)
	for i := 0; b.Len() < 100<<10; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"@odata.etag":"W/\"CQAAABYAAAAiIsqMbYjsT5e/T7KzowPTAAAYb%d\"","id":"AAMkAGI2TG%dAAA=","createdDateTime":"2026-07-08T%02d:12:41Z",`+
			`"subject":"Minutes of meeting %d","bodyPreview":"%s","isRead":%t,"importance":"normal","hasAttachments":false,`+
			`"webLink":"https://outlook.office365.com/owa/?ItemID=AAMkAGI2TG%d&exvsurl=1&viewmodel=ReadMessageItem",`+
			`"sender":{"emailAddress":{"name":"Adele Vance","address":"adele@example.com"}},"toRecipients":[{"emailAddress":{"name":"Alex Wilber","address":"alex@example.com"}}],"size":%d}`,
			i, i, i%24, i, strings.Repeat("What was said there, in short. ", 8), i%2 == 0, i, i*977)
	}
	b.WriteString(`],"@odata.nextLink":"https://graph.microsoft.com/v1.0/me/messages?$skip=100"}`)
	return b.Bytes()
}

func prefix(f Found) (string, bool) { return "https://proxy.example/work/" + f.URL, true }

// onlyReader hides the other methods of a reader, as an upstream body has none.
type onlyReader struct{ io.Reader }

func BenchmarkReader(b *testing.B) {
	text := graphList()
	buffer := make([]byte, 32<<10)
	run := func(name string, open func(io.Reader) io.Reader) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{open(bytes.NewReader(text))}, buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("copy", func(r io.Reader) io.Reader { return r })
	for name, rules := range map[string]*Rules{"graph": graphRules, "top": googleRules} {
		run(name, func(r io.Reader) io.Reader { return NewReader(r, rules, prefix) })
	}
}

type onlyWriter struct{ io.Writer }

func BenchmarkResponse(b *testing.B) {
	text := graphList()
	buffer := make([]byte, 32<<10)
	for _, coding := range []string{"", "gzip", "br", "zstd"} {
		name := coding
		if name == "" {
			name = "identity"
		}
		b.Run(name, func(b *testing.B) {
			coded := stdEncode(b, text, coding)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: -1}
				resp.Body = io.NopCloser(bytes.NewReader(coded))
				if coding != "" {
					resp.Header["Content-Encoding"] = []string{coding}
				}
				if err := Response(resp, graphRules, prefix); err != nil {
					b.Fatal(err)
				}
				if _, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{resp.Body}, buffer); err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
		})
	}
}
