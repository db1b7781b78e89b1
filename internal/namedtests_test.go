package internal_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
)

// writtenTests are the names of all tests of this module.
func writtenTests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range testFunc.FindAllStringSubmatch(string(text), -1) {
			names[found[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestClaimsNameTestsThatExist(t *testing.T) {
	written := writtenTests(t)
	for file, least := range map[string]int{"SECURITY.md": 90, "docs/rfc9700.md": 40} {
		text, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			t.Fatal(err)
		}
		found := testName.FindAllStringSubmatch(string(text), -1)
		if len(found) < least {
			t.Errorf("%s names %d tests", file, len(found))
		}
		for _, name := range found {
			if !written[name[1]] {
				t.Errorf("%s names %s, which does not exist", file, name[1])
			}
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "| ") && !strings.HasSuffix(line, "| tests |") && !testName.MatchString(line) {
				t.Errorf("%s: no test for: %s", file, line)
			}
		}
	}
}
