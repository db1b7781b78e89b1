package matrix

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The outcomes of a cell; every other is a reason why it does not work.
const (
	works  = "works"
	failed = "FAILED"
)

// titles are the columns' heads.
var titles = map[operation]string{
	plain: "plain call", pages: "paged listing", upload: "media upload", resumable: "resumable upload, 64 MiB",
	batch: "batch", download: "download", denied: "our own 403",
}

// table is what was found, in the order in which it was.
type table struct {
	rows []row
	// words are how libraries word a refusal of ours.
	words map[string]string
}

type row struct {
	library string
	form    form
	cells   map[operation]string
}

func (b *table) set(library string, f form, op operation, outcome string) {
	at := slices.IndexFunc(b.rows, func(r row) bool { return r.library == library && r.form == f })
	if at < 0 {
		at = len(b.rows)
		b.rows = append(b.rows, row{library, f, map[operation]string{}})
	}
	b.rows[at].cells[op] = outcome
}

// String is the table in Markdown; below it are the reasons, and the words.
func (b *table) String() string {
	var text strings.Builder
	var reasons []string
	text.WriteString("| library | form |")
	for _, op := range operations {
		fmt.Fprintf(&text, " %s |", titles[op])
	}
	text.WriteString("\n|---|---|" + strings.Repeat("---|", len(operations)) + "\n")
	for _, r := range b.rows {
		fmt.Fprintf(&text, "| %s | %s |", r.library, r.form)
		for _, op := range operations {
			outcome, ok := r.cells[op]
			switch {
			case !ok:
				outcome = failed
			case outcome != works && outcome != failed:
				at := slices.Index(reasons, outcome)
				if at < 0 {
					at = len(reasons)
					reasons = append(reasons, outcome)
				}
				outcome = fmt.Sprintf("documented no (%d)", at+1)
			}
			fmt.Fprintf(&text, " %s |", outcome)
		}
		text.WriteString("\n")
	}
	text.WriteString("\n")
	for i, reason := range reasons {
		fmt.Fprintf(&text, "%d. %s\n", i+1, reason)
	}
	text.WriteString("\nWhat the recipes print of our own 403:\n\n```\n")
	for i, r := range b.rows {
		if words, ok := b.words[r.library]; ok && r.form == path {
			if i > 0 {
				text.WriteString("\n")
			}
			fmt.Fprintf(&text, "%s:\n  %s\n", strings.ReplaceAll(r.library, "`", ""), strings.ReplaceAll(words, "\n", "\n  "))
		}
	}
	text.WriteString("```\n")
	return text.String()
}

// document is where the table stands, between two marks.
var document = filepath.Join("..", "..", "docs", "sdk.md")

const begin, end = "<!-- The table is written by make sdk. -->\n", "<!-- End of the table. -->\n"

// check prints the table, and compares it with the one that is written down.
func (b *table) check(t *testing.T) {
	t.Helper()
	if *output != "" {
		if err := os.WriteFile(*output, []byte(b.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
	if len(b.rows) < len(libraries)*len(forms) {
		return // some were left out
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), begin)
	written, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s has no place for the table", document)
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(document, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(written, b.String()); diff != "" {
		t.Errorf("%s says otherwise (-written +found):\n%s", document, diff)
	}
}
