package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

// The modules weigh a hundred megabytes, so that a test has them only where
// `make published` left them.
func TestExtractingAgainGivesTheSame(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	for _, s := range sources {
		t.Run(s.file, func(t *testing.T) {
			m, err := download(s.module)
			if err != nil {
				t.Skip(err)
			}
			got, err := s.text(m)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join("..", s.file))
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("run make published: %s", cmp.Diff(string(want), got))
			}
		})
	}
}

func TestModuleThatIsNone(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	if m, err := download("example.invalid/none@v1.0.0"); err == nil {
		t.Errorf("%+v", m)
	}
}

func TestPathOfATemplate(t *testing.T) {
	for template, want := range map[string]string{
		"{+baseurl}/users/{user%2Did}/sendMail":                  "/v1.0/users/{user-id}/sendMail",
		"{+baseurl}/users{?%24count,%24filter}":                  "/v1.0/users",
		"{+baseurl}/groups/{group%2Did}/owners/$ref?@id={%40id}": "/v1.0/groups/{group-id}/owners/$ref",
		"{+baseurl}/a(from='{from}',to={to})?x={x}{&%24count}":   "/v1.0/a(from='{from}',to={to})",
		"{+baseurl}":                 "/v1.0",
		"{+baseurl}{?%24select}":     "/v1.0",
		"https://graph/users":        "",
		"{+baseurl}users":            "",
		"{+baseurl}/users/{user id}": "",
		"{+baseurl}/a/{b%2Fc}":       "",
		"{+baseurl}/a/{b%2}":         "",
	} {
		got, err := templatePath(template)
		if (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%s: %q, %v", template, got, err)
		}
	}
}

// builder is a request builder of Kiota's, cut down to what is read of it.
const builder = `
func NewBInternal(requestAdapter R)(*B) { return x.NewBaseRequestBuilder(requestAdapter, "{+baseurl}/a{?%24top}", p) }
func (m *B) ToGetRequestInformation(ctx C)(R) {
    requestInfo := x.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(x.GET, m.BaseRequestBuilder.UrlTemplate, p)
}
func (m *B) ToPostRequestInformation(ctx C)(R) {
    requestInfo := x.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(x.POST, "{+baseurl}/a/b", p)
}
`

func TestRequestBuilder(t *testing.T) {
	got, err := readBuilder(builder)
	want := []published.Method{
		{Verb: "GET", Host: "graph.microsoft.com", Path: "/v1.0/a"},
		{Verb: "POST", Host: "graph.microsoft.com", Path: "/v1.0/a/b"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for name, other := range map[string]string{
		"two templates":            builder + builder,
		"a request without method": strings.Replace(builder, "ToPostRequest", "PostRequest", 1),
		"a request of another way": strings.Replace(builder, "(x.POST, ", "(verb, ", 1),
		"another verb":             strings.Replace(builder, "x.POST", "x.PUT", 1),
		"no path":                  strings.Replace(builder, "{+baseurl}/a/b", "/a/b", 1),
	} {
		if got, err := readBuilder(other); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestPathOfADiscoveredMethod(t *testing.T) {
	text := `{"path": "v1/{+name}", "flatPath": "v1/labels/{labelsId}", "parameters": {"name": {"pattern": "%s"}}}`
	for pattern, want := range map[string]string{
		"^labels/[^/]+$": "v1/labels/{labelsId}",
		"^labels/.*$":    "v1/{+name}",
		"":               "v1/{+name}",
	} {
		var m discoveryMethod
		if err := json.Unmarshal(fmt.Appendf(nil, text, pattern), &m); err != nil {
			t.Fatal(err)
		}
		if got := m.template(); got != want {
			t.Errorf("%s: %s", pattern, got)
		}
	}
}
