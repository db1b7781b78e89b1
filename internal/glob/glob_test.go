package glob

import (
	"regexp"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"", "", true},
		{"", "/", false},
		{"/a", "/a", true},
		{"/a", "/A", false},
		{"/a", "/a/", false},
		{"/a", "/ab", false},
		{"/a/", "/a", false},
		{"*", "", true},
		{"*", "a", true},
		{"*", "/", false},
		{"**", "", true},
		{"**", "/a/b", true},
		{"/*", "/a", true},
		{"/*", "/", true},
		{"/*", "/a/b", false},
		{"/**", "/a/b", true},
		{"/**", "a", false},
		{"/reports/**", "/reports/a/b", true},
		{"/reports/**", "/reports/", true},
		{"/reports/**", "/reports", false},
		{"/reports/**", "/v1/reports/a", false},
		{"**/reports/**", "/v1/reports/a", true},
		{"/a/*/c", "/a/b/c", true},
		{"/a/*/c", "/a/b/b/c", false},
		{"/a/**/c", "/a/b/b/c", true},
		{"/a/**/c", "/a/c", false},
		{"/a*c", "/abbc", true},
		{"/a*c", "/a/c", false},
		{"/a**c", "/a/b/c", true},
		{"/*.json", "/a.json.json", true},
		{"/*.json", "/a.jsonx", false},
		{"/**/x*", "/a/b/xy", true},
		{"/**/x*", "/a/x/b/xy", true},
		{"/**/x*", "/a/xy/b", false},
		{"/**a*b", "/xa/yazb", true},
		{"/**/*/z", "/a/b/z", true},
		{"/*/**/z", "/a/b/c/z", true},
		{"/*/**/z", "/z", false},
		{"***", "/a", true},
		{"/a/*%2F*", "/a/b%2Fc", true},
		{"/a?", "/ab", false},
		{"/[ab]", "/a", false},
		{`/\*`, "/*", false},
		{"/é*", "/éa", true},
	} {
		t.Run(c.pattern+" "+c.path, func(t *testing.T) {
			if got := Match(c.pattern, c.path); got != c.want {
				t.Errorf("Match(%q, %q) = %t", c.pattern, c.path, got)
			}
		})
	}
}

func TestMatchIsNotSlowOnManyStars(t *testing.T) {
	pattern := strings.Repeat("**a*", 200) + "b"
	if Match(pattern, strings.Repeat("a/", 2000)) {
		t.Error("a path without b matches")
	}
}

// FuzzMatch compares with a regular expression that says the same.
func FuzzMatch(f *testing.F) {
	f.Add("/a/**/b*c", "/a/x/y/bzc")
	f.Add("***/*", "/a/b")
	f.Add("a*a**a*", "aa/aaa")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if strings.Count(pattern, "*") > 20 || len(path) > 200 {
			return
		}
		expression := regexp.QuoteMeta(pattern)
		expression = strings.ReplaceAll(expression, `\*\*`, `(?s:.*)`)
		expression = strings.ReplaceAll(expression, `\*`, `[^/]*`)
		compiled, err := regexp.Compile(`^(?:` + expression + `)$`)
		if err != nil || strings.ToValidUTF8(path, "") != path || strings.ToValidUTF8(pattern, "") != pattern {
			return
		}
		if got, want := Match(pattern, path), compiled.MatchString(path); got != want {
			t.Errorf("Match(%q, %q) = %t, want %t", pattern, path, got, want)
		}
	})
}
