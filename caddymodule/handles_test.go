package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// opening is a call that is answered with a URL that carries its own authority.
type opening struct {
	call, body string
	// status, answer and header are what the API says.
	status         int
	answer, header string
	// use is the method of the handle.
	use string
}

// The calls that handles come of, by what is asked for.
var openings = map[string]opening{
	"sending mail": {
		call: "POST /proxy/alice/gmail.googleapis.com/upload/gmail/v1/users/me/messages/send?uploadType=resumable", body: "{}",
		status: http.StatusOK, header: "https://gmail.googleapis.com/upload/gmail/v1/users/me/messages/send?uploadType=resumable&upload_id=sending",
		use: http.MethodPut,
	},
	"a draft": {
		call: "POST /proxy/alice/www.googleapis.com/upload/gmail/v1/users/me/drafts?uploadType=resumable", body: "{}",
		status: http.StatusOK, header: "https://www.googleapis.com/upload/gmail/v1/users/me/drafts?uploadType=resumable&upload_id=draft",
		use: http.MethodPut,
	},
	"a file of the drive": {
		call: "POST /proxy/carol/v1.0/me/drive/root:/a.bin:/createUploadSession", body: "{}",
		status: http.StatusOK, answer: `{"uploadUrl":"https://contoso.sharepoint.com/up?tempauth=file"}`,
		use: http.MethodPut,
	},
	"a file of the drive, in a batch": {
		call: "POST /proxy/carol/v1.0/$batch", body: `{"requests":[{"id":"1","method":"POST","url":"/me/drive/root:/a.bin:/createUploadSession","headers":{"Content-Type":"application/json"},"body":{}}]}`,
		status: http.StatusOK, answer: `{"responses":[{"id":"1","status":200,"headers":{"Content-Type":"application/json"},"body":{"uploadUrl":"https://contoso.sharepoint.com/up?tempauth=part"}}]}`,
		use: http.MethodPut,
	},
	"content": {
		call:   "GET /proxy/carol/v1.0/me/drive/items/1/content",
		status: http.StatusFound, header: "https://contoso.sharepoint.com/dl?tempauth=content",
		use: http.MethodGet,
	},
}

// openHandles makes the calls with the key, and gives the handles.
func (s *proxied) openHandles(key string) map[string]string {
	s.t.Helper()
	links := map[string]string{}
	for name, o := range openings {
		s.api.answering(o.status, o.answer, "Location", o.header)
		method, path, _ := strings.Cut(o.call, " ")
		r := s.do(method, path, strings.NewReader(o.body), "Authorization", "Bearer "+key, "Content-Type", "application/json")
		link := r.header.Get("Location")
		if o.header == "" {
			_, link, _ = strings.Cut(string(r.body), `"uploadUrl":"`)
			link, _, _ = strings.Cut(link, `"`)
		}
		if links[name] = s.local(link); !strings.HasPrefix(links[name], "/proxy/.bellhop/h/") {
			s.t.Fatalf("%s: %d %s, and not a handle", name, r.status, link)
		}
	}
	s.api.take()
	s.api.handle(nil)
	return links
}

// reload loads a configuration and leaves behind the connections that the one
// before is about to close, on which no body is sent twice.
func (s *proxied) reload(caddyfile string) {
	s.t.Helper()
	s.load(caddyfile)
	client.CloseIdleConnections()
}

func TestHandlesFollowWhatTheirKeyMayCall(t *testing.T) {
	plain, hash := policy.NewKey()
	configured := func(limits string) string {
		return "\tbellhop {\n\t\tkey agent {\n\t\t\thash " + policy.FormatHash(hash) + "\n\t\t\taccount *\n" + limits + "\t\t}\n\t\tstore "
	}
	s := startProxied(t,
		"\tbellhop {\n\t\tstore ", configured(""),
		"upstream gmail.googleapis.com {{provider}}", "upstream gmail.googleapis.com {{api}}",
		"upstream www.googleapis.com {{provider}}", "upstream www.googleapis.com {{api}}",
		graphAtAPI[0], graphAtAPI[1])
	links := s.openHandles(plain.Reveal())
	for name, c := range map[string]struct {
		limits  string
		allowed []string
	}{
		"no limits":           {"", []string{"sending mail", "a draft", "a file of the drive", "a file of the drive, in a batch", "content"}},
		"drafts":              {"\t\t\tpreset gmail-draft-only\n", []string{"a draft"}},
		"files to be read":    {"\t\t\tpreset graph-files-readonly\n", []string{"content"}},
		"files to be written": {"\t\t\tallow \"POST graph.microsoft.com/v1.0/me/drive/**\"\n", []string{"a file of the drive", "a file of the drive, in a batch"}},
		"nothing to be sent":  {"\t\t\tallow \"!POST gmail.googleapis.com/**/send\"\n", []string{"a draft", "a file of the drive", "a file of the drive, in a batch", "content"}},
		"another API":         {"\t\t\tallow \"GET,PUT,POST api.acme.example/**\"\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s.reload(changed(t, s.caddyfile, configured(""), configured(c.limits)))
			allowed := map[string]bool{}
			for _, opened := range c.allowed {
				allowed[opened] = true
			}
			for opened, link := range links {
				r := s.do(openings[opened].use, link, strings.NewReader("0123"))
				reached := s.api.take()
				if allowed[opened] {
					if r.status != http.StatusOK || len(reached) != 1 {
						t.Errorf("%s: %d %s, want it allowed", opened, r.status, r.body)
					}
					continue
				}
				wantProblem(t, r, problem.NotAllowed)
				if len(reached) != 0 {
					t.Errorf("%s: a refused call reached the API: %+v", opened, reached)
				}
				// Whoever has a handle need not know what it came of.
				if strings.Contains(string(r.body), "users/me") || strings.Contains(string(r.body), "me/drive") {
					t.Errorf("%s: the refusal names the call: %s", opened, r.body)
				}
			}
		})
	}
	s.reload(s.caddyfile)
	if r := s.do(http.MethodPut, links["sending mail"], strings.NewReader("0123")); r.status != http.StatusOK {
		t.Errorf("with the limits gone: %d %s", r.status, r.body)
	}
}

func TestKeysWithLimitsGoOnWithUploadsByHandlesAlone(t *testing.T) {
	s := startRuled(t)
	const draft = "/proxy/alice/gmail.googleapis.com/upload/gmail/v1/users/me/drafts"
	for name, limits := range map[string]map[string]any{
		"preset":          {"accounts": []string{"*"}, "presets": []string{"gmail-draft-only"}},
		"rule":            {"accounts": []string{"*"}, "allow": []string{"POST,PUT gmail.googleapis.com/gmail/v1/users/me/drafts"}},
		"rule to forbid":  {"accounts": []string{"*"}, "allow": []string{"!POST gmail.googleapis.com/gmail/v1/users/me/messages/send"}},
		"no limit at all": {"accounts": []string{"*"}},
	} {
		key := s.addKey(strings.ReplaceAll(name, " ", "-"), limits)
		s.api.answering(http.StatusOK, "", "Location", "https://gmail.googleapis.com/upload/gmail/v1/users/me/drafts?uploadType=resumable&upload_id=x")
		opened := s.do(http.MethodPost, draft+"?uploadType=resumable", nil, "Authorization", "Bearer "+key)
		s.api.answering(http.StatusOK, "{}")
		if r := s.do(http.MethodPut, s.local(opened.header.Get("Location")), strings.NewReader("0123")); r.status != http.StatusOK {
			t.Errorf("%s, by the handle: %d %s", name, r.status, r.body)
		}
		s.api.take()
		r := s.do(http.MethodPost, draft+"?uploadType=resumable&upload_id=of-another-key", strings.NewReader("0123"), "Authorization", "Bearer "+key)
		if reached := s.api.take(); (len(limits) == 1) != (r.status == http.StatusOK) || len(reached) != 2-len(limits) {
			t.Errorf("%s: %d %s, and %+v reached the API", name, r.status, r.body, reached)
		}
		if len(limits) > 1 {
			wantProblem(t, r, problem.NotAllowed)
			if !strings.Contains(string(r.body), "as it was handed out") {
				t.Errorf("%s: the way is not named: %s", name, r.body)
			}
		}
	}
}

func TestHandlesOfHandlesFollowTheFirstCall(t *testing.T) {
	plain, hash := policy.NewKey()
	const wide, narrow = "\t\t\tpreset gmail-no-delete\n", "\t\t\tpreset gmail-draft-only\n"
	s := startProxied(t,
		"\tbellhop {\n\t\tstore ", "\tbellhop {\n\t\tkey agent {\n\t\t\thash "+policy.FormatHash(hash)+"\n\t\t\taccount *\n"+wide+"\t\t}\n\t\tstore ",
		"upstream gmail.googleapis.com {{provider}}", "upstream gmail.googleapis.com {{api}}")
	session := func(id string) string {
		return "https://gmail.googleapis.com/upload/gmail/v1/users/me/messages/send?uploadType=resumable&upload_id=" + id
	}
	s.api.answering(http.StatusOK, "", "Location", session("a"))
	r := s.do(http.MethodPost, "/proxy/alice/gmail.googleapis.com/upload/gmail/v1/users/me/messages/send?uploadType=resumable", nil, "Authorization", "Bearer "+plain.Reveal())
	first := s.local(r.header.Get("Location"))
	s.api.answering(http.StatusPermanentRedirect, "", "Location", session("b"))
	second := s.local(s.do(http.MethodPut, first, strings.NewReader("0123")).header.Get("Location"))
	s.api.answering(http.StatusOK, "{}")
	if r := s.do(http.MethodPut, second, strings.NewReader("0123")); r.status != http.StatusOK {
		t.Errorf("while the key may: %d %s", r.status, r.body)
	}
	s.reload(changed(t, s.caddyfile, wide, narrow))
	wantProblem(t, s.do(http.MethodPut, second, strings.NewReader("0123")), problem.NotAllowed)
}

func TestHandlesThatOnlyAJudgedBodyAllowsAreRefused(t *testing.T) {
	plain, hash := policy.NewKey()
	const rule = "\t\t\tallow \"POST graph.microsoft.com/v1.0/me/messages\"\n"
	s := startProxied(t, append([]string{
		"\tbellhop {\n\t\tstore ", "\tbellhop {\n\t\tkey agent {\n\t\t\thash " + policy.FormatHash(hash) + "\n\t\t\taccount *\n" + rule + "\t\t}\n\t\tstore ",
	}, graphAtAPI...)...)
	s.api.answering(http.StatusAccepted, "{}", "Location", "https://contoso.sharepoint.com/monitor?tempauth=x")
	r := s.do(http.MethodPost, "/proxy/carol/v1.0/me/messages", strings.NewReader(`{"isDraft":false}`), "Authorization", "Bearer "+plain.Reveal(), "Content-Type", "application/json")
	link := s.local(r.header.Get("Location"))
	if r := s.do(http.MethodGet, link, nil); r.status != http.StatusAccepted {
		t.Errorf("while a rule allows it whatever its body: %d %s", r.status, r.body)
	}
	s.reload(changed(t, s.caddyfile, rule, "\t\t\tpreset graph-mail-no-send\n"))
	wantProblem(t, s.do(http.MethodGet, link, nil), problem.NotAllowed)
}

func TestHandlesThatAreNoLongerAllowedAreNoSource(t *testing.T) {
	plain, hash := policy.NewKey()
	const wide, narrow = "\t\t\tallow \"GET,POST graph.microsoft.com/v1.0/me/**\"\n", "\t\t\tallow \"POST graph.microsoft.com/v1.0/me/**\"\n"
	s := startProxied(t, append([]string{
		"\tbellhop {\n\t\tstore ", "\tbellhop {\n\t\tkey agent {\n\t\t\thash " + policy.FormatHash(hash) + "\n\t\t\taccount *\n" + wide + "\t\t}\n\t\tstore ",
	}, graphAtAPI...)...)
	s.api.answering(http.StatusFound, "", "Location", "https://contoso.sharepoint.com/dl?tempauth=x")
	link := s.get("/proxy/carol/v1.0/me/drive/items/1/content", plain.Reveal()).header.Get("Location")
	item, err := json.Marshal(map[string]string{"name": "a", "@microsoft.graph.sourceUrl": link})
	if err != nil {
		t.Fatal(err)
	}
	s.api.take()
	s.api.answering(http.StatusOK, `{"responses":[]}`)
	for name, c := range map[string]struct {
		limits string
		opened bool
	}{"allowed": {wide, true}, "not allowed": {narrow, false}} {
		s.reload(changed(t, s.caddyfile, wide, c.limits))
		for path, body := range map[string]string{
			"/proxy/carol/v1.0/me/drive/root/children": string(item),
			"/proxy/carol/v1.0/$batch":                 `{"requests":[{"id":"1","method":"POST","url":"/me/drive/root/children","headers":{"Content-Type":"application/json"},"body":` + string(item) + `}]}`,
		} {
			s.do(http.MethodPost, path, strings.NewReader(body), "Authorization", "Bearer "+plain.Reveal(), "Content-Type", "application/json")
			if got := s.api.only(t); strings.Contains(got.Body, "tempauth=x") != c.opened {
				t.Errorf("%s, %s: sent %s", name, path, got.Body)
			}
		}
	}
}
