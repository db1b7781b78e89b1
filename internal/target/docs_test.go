package target

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var codeSpan = regexp.MustCompile("`([^`]+)`")

// documented reads the tables of docs/proxy.md: below each heading, the code
// spans of a row's first column, each with the first of the second column.
func documented(t *testing.T) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]map[string]string{}
	heading := ""
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			heading = strings.TrimSpace(title)
			tables[heading] = map[string]string{}
			continue
		}
		columns := strings.Split(line, "|")
		if len(columns) != 4 {
			continue
		}
		value := ""
		if found := codeSpan.FindStringSubmatch(columns[2]); found != nil {
			value = found[1]
		}
		for _, found := range codeSpan.FindAllStringSubmatch(columns[1], -1) {
			if _, twice := tables[heading][found[1]]; twice && heading != "What is refused" {
				t.Errorf("%s: %s stands there twice", heading, found[1])
			}
			tables[heading][found[1]] = value
		}
	}
	return tables
}

// written are the names of a documented table, in lower case and in order.
func written(table map[string]string) []string {
	var names []string
	for name := range table {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	return names
}

// listed are the names of a set as a table writes them, in order.
func (s *fieldSet) listed(more ...string) []string {
	names := slices.Concat(slices.Collect(maps.Keys(s.names)), more)
	for _, prefix := range s.prefixes {
		names = append(names, prefix+"*")
	}
	slices.Sort(names)
	return names
}

func TestListsAreDocumented(t *testing.T) {
	tables := documented(t)
	for heading, want := range map[string][]string{
		"Request fields that are removed":   outgoingRemoved.listed(userProject),
		"Query parameters that are removed": slices.Sorted(slices.Values(strippedParameters)),
		"Answer fields that are removed":    incomingRemoved.listed(),
		"Request fields that are set":       {"authorization", "host"},
	} {
		if diff := cmp.Diff(want, written(tables[heading])); diff != "" {
			t.Errorf("docs/proxy.md: %s: %s", heading, diff)
		}
	}
	added := map[string]string{"Vary": vary, "Cache-Control": "private"}
	for _, field := range incomingAdded {
		added[field.name] = field.value
	}
	if diff := cmp.Diff(added, tables["Answer fields that are set"]); diff != "" {
		t.Errorf("docs/proxy.md: answer fields that are set: %s", diff)
	}
}
