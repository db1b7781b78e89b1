package pages

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// samples are pages with all that can be on them, every text of which is given.
func samples(text string) map[string]Page {
	of := Provider{Name: text, Type: "oauth2"}
	scopes := []string{text, "openid"}
	return map[string]Page{
		"invite": Invite{
			App: text, Provider: of, Account: text, Name: text, Expected: text, Suggested: text, Scopes: scopes,
			Confirm: true, Action: "/connect/" + text, Expires: time.Unix(1800000000, 0),
		},
		"invite to a domain": Invite{App: text, Provider: of, Name: text, Domain: text, Action: "/connect/x"},
		"invite of an administrator": Invite{
			App: text, Provider: of, Account: text, Scopes: scopes, Admin: true, Action: "/connect/" + text,
		},
		"done": Done{
			App: text, Provider: of, Account: text, Label: text, Email: text, Name: text, Granted: scopes,
			Missing: scopes, New: true, Undo: text, WithdrawPath: "/connect/withdraw",
		},
		"done, going on":      Done{App: text, Provider: of, Account: text, Name: text, Continue: "https://app.example/" + text},
		"done, to confirm":    Done{App: text, Provider: of, Account: text, Pending: true},
		"done, at a terminal": Done{App: text, Provider: of, Account: text, Terminal: true},
		"done for all":        Done{App: text, Provider: of, Admin: true},
		"refused": Refused{
			App: text, Provider: of, Reason: "provider_refused", Reads: text, Mend: text, Said: text,
			Again: "https://connect.example/connect/" + text, AdminLink: "https://connect.example/connect/" + text + "?admin=1",
		},
		"refused at a terminal": Refused{Reason: text, Reads: text, Terminal: true},
		"withdrawn":             Withdrawn{App: text, Provider: of, Account: text},
	}
}

func write(t *testing.T, p Page) (*httptest.ResponseRecorder, *html.Node) {
	t.Helper()
	rec := httptest.NewRecorder()
	Write(rec, 200, p)
	if rec.Code != 200 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	doc, err := html.Parse(strings.NewReader(rec.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	return rec, doc
}

// elements are all elements of a document, in order.
func elements(doc *html.Node) (all []*html.Node) {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			all = append(all, n)
		}
	}
	return all
}

func attribute(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

func TestPagesHaveNothingButWhatTheirPolicyAllows(t *testing.T) {
	for name, p := range samples("Acme & Söhne") {
		t.Run(name, func(t *testing.T) {
			rec, doc := write(t, p)
			policy := rec.Header().Get("Content-Security-Policy")
			headings := 0
			for _, e := range elements(doc) {
				switch e.Data {
				case "script", "img", "iframe", "object", "embed", "base", "audio", "video", "svg":
					t.Errorf("there is a <%s>", e.Data)
				case "link":
					if href, _ := attribute(e, "href"); href != "data:," {
						t.Errorf("there is a link to %q", href)
					}
				case "style":
					digest := sha256.Sum256([]byte(e.FirstChild.Data))
					if hash := "'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'"; !strings.Contains(policy, hash) {
						t.Errorf("the policy %s does not allow the style, %s", policy, hash)
					}
				case "html":
					if lang, _ := attribute(e, "lang"); lang != "en" {
						t.Errorf("lang is %q", lang)
					}
				case "h1":
					headings++
				case "title":
					if e.FirstChild == nil || strings.TrimSpace(e.FirstChild.Data) == "" {
						t.Error("the title is empty")
					}
				case "form":
					if method, _ := attribute(e, "method"); method != "post" {
						t.Errorf("the method of a form is %q", method)
					}
					if strings.Contains(policy, "form-action 'none'") {
						t.Error("the policy keeps the form from being sent")
					}
				}
				for _, a := range e.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
						t.Errorf("<%s> has the attribute %s", e.Data, a.Key)
					}
				}
			}
			if headings != 1 {
				t.Errorf("%d h1", headings)
			}
		})
	}
}

func TestPagesAreSentSoThatNothingKeepsThem(t *testing.T) {
	rec, _ := write(t, Withdrawn{App: "Acme", Account: "alice"})
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8",
	} {
		if got := rec.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	policy := rec.Header().Get("Content-Security-Policy")
	for _, directive := range []string{"default-src 'none'", "form-action 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, directive) {
			t.Errorf("the policy is %s, without %s", policy, directive)
		}
	}
	body, err := io.ReadAll(rec.Result().Body)
	if err != nil || rec.Result().ContentLength != int64(len(body)) {
		t.Errorf("%d bytes, Content-Length %d: %v", len(body), rec.Result().ContentLength, err)
	}
}

// shape is a document's elements and attributes, without their text.
func shape(doc *html.Node) string {
	var b strings.Builder
	for _, e := range elements(doc) {
		b.WriteString(" " + e.Data)
		for _, a := range e.Attr {
			b.WriteString(" " + a.Key)
		}
	}
	return b.String()
}

func TestHostileTextStaysText(t *testing.T) {
	harmless := samples("harmless")
	for _, hostile := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'><form action=https://evil.example>`,
		`</title></style><base href=https://evil.example>`, `javascript:alert(1)`, "\x00<\u2028a>", `{{.App}}`, `PROVIDER`,
	} {
		for name, p := range samples(hostile) {
			_, doc := write(t, p)
			_, want := write(t, harmless[name])
			if got, want := shape(doc), shape(want); got != want {
				t.Errorf("%s with %q: elements are\n%s, want\n%s", name, hostile, got, want)
			}
			for _, e := range elements(doc) {
				for _, at := range []string{"href", "action"} {
					if to, ok := attribute(e, at); ok && strings.HasPrefix(to, "javascript:") {
						t.Errorf("%s with %q: <%s> leads to %q", name, hostile, e.Data, to)
					}
				}
			}
		}
	}
	_, doc := write(t, Done{App: "a", Account: "b", Continue: "javascript:alert(1)"})
	for _, e := range elements(doc) {
		if to, ok := attribute(e, "href"); ok && strings.HasPrefix(to, "javascript:") {
			t.Errorf("<%s> leads to %q", e.Data, to)
		}
	}
}

func TestEveryRefusalHasATitle(t *testing.T) {
	for _, reason := range []consent.Reason{
		consent.LinkInvalid, consent.LinkExpired, consent.LinkSpent, consent.AttemptMissing, consent.AttemptExpired,
		consent.Undecided, consent.Declined, consent.AdminNeeded, consent.OtherMailbox, consent.MailboxUnproven,
		consent.AccountTaken, consent.ProviderRefused, consent.ProviderFailed, consent.NotConfigured, consent.StoreFailed,
	} {
		title := Refused{Reason: string(reason), Provider: Provider{Name: "acme"}}.Title()
		if title == (Refused{}).Title() || strings.Contains(title, "PROVIDER") {
			t.Errorf("%s is called %q", reason, title)
		}
	}
}

func TestScopesAreReadAsTheirOwnProviderMeansThem(t *testing.T) {
	if google != provider.TypeGoogle || microsoft != provider.TypeMicrosoft {
		t.Fatal("the types are called otherwise")
	}
	for _, c := range []struct{ providerType, scope, words string }{
		{google, "https://mail.google.com/", "Read, write, send and permanently delete all your mail"},
		{google, "openid", "Know that it is you"},
		{google, "Mail.Read", ""},
		{microsoft, "Mail.Read", "Read your mail"},
		{microsoft, "https://graph.microsoft.com/Mail.Read", "Read your mail"},
		{microsoft, "https://GRAPH.microsoft.us/Mail.Read", "Read your mail"},
		{microsoft, "https://outlook.office.com/SMTP.Send", "Send mail as you (SMTP)"},
		{microsoft, "https://evil.example/Mail.Read", ""},
		{microsoft, "api://our-own/Mail.Read", ""},
		{microsoft, "https://mail.google.com/", ""},
		{"oauth2", "offline_access", "Go on while you are away"},
		{"oauth2", "Mail.Read", ""},
		{"oauth2", "https://mail.google.com/", ""},
	} {
		got := Provider{Name: "acme", Type: c.providerType}.scopes([]string{c.scope})
		if len(got) != 1 || got[0].Name != c.scope || got[0].Words != c.words {
			t.Errorf("%s at %s: %+v, want %q", c.scope, c.providerType, got, c.words)
		}
	}
	spaced := regexp.MustCompile(`^[A-Z][^.]*[^. ]$`)
	for _, table := range []map[string]string{identityScopes, googleScopes, microsoftScopes} {
		for name, words := range table {
			if !spaced.MatchString(words) {
				t.Errorf("%s: %q is not in the form of the others", name, words)
			}
		}
	}
}

func TestInviteSaysWhoseConsentIsAccepted(t *testing.T) {
	for want, p := range map[string]Invite{
		"Sign in as|alice@example.com":       {Expected: "alice@example.com", Domain: "example.com"},
		"Sign in as|somebody at example.com": {Domain: "example.com"},
		"Suggested|alice@example.com":        {Suggested: "alice@example.com"},
	} {
		_, doc := write(t, p)
		label, value, _ := strings.Cut(want, "|")
		if got := text(doc); !strings.Contains(got, label+value) {
			t.Errorf("there is no %q in %q", want, got)
		}
	}
}

func text(doc *html.Node) string {
	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	}
	return b.String()
}
