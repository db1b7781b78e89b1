package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

// table is what is written into one file: the methods of an API, what each does,
// and which presets allow it.
type table struct {
	// name is the file's, without .txt.
	name string
	// title is the API's name for people.
	title string
	// sources are the APIs in package published that the methods are from.
	sources []string
	// methods gives the published methods that the table is about.
	methods func() []published.Method
	// effectOf is the word for what a method does; empty for one that nobody has
	// looked at.
	effectOf func(m *published.Method) string
	// effects are the words that effectOf uses.
	effects []effect
	// presets are the columns.
	presets []preset
	// also are rows that no description has.
	also []row
	// aliases are paths at which the API serves what it serves at others.
	aliases []alias
}

// effect is a thing that methods do.
type effect struct {
	// word is one, of small letters and hyphens.
	word string
	// does completes "it …": "sends mail".
	does string
	// check names what a call's body is judged by where a preset allows the
	// effect; empty: it is not looked at.
	check string
}

// preset says which effects a key may have.
type preset struct {
	name   string
	allows []string
}

// alias says that what is served at a path, and below, is what is served at
// another.
type alias struct{ at, of string }

// row is one method of a table.
type row struct{ verb, host, path, effect string }

// text is the whole table as it stands in its file.
func (t *table) text() (string, error) {
	if err := t.checkEffects(); err != nil {
		return "", err
	}
	rows, err := t.rows()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: what each of its methods does, and which presets allow it.\n#\n", t.title)
	for _, api := range t.sources {
		source, err := published.Source(api)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "# From %s.\n", source)
	}
	b.WriteString("# Written by `make presets`.\n#\n")
	b.WriteString("# effect <word> <what it does>\n")
	b.WriteString("# check <effect> <what a call's body is judged by>\n")
	b.WriteString("# <verb> <path> <effect> <presets that allow it, or ->\n")
	if t.aliases != nil {
		b.WriteString("# alias <path> <path at which the same is served>\n")
	}
	b.WriteByte('\n')
	b.WriteString("presets")
	for _, p := range t.presets {
		b.WriteString(" " + p.name)
	}
	b.WriteString("\n\n")
	for _, e := range t.effects {
		fmt.Fprintf(&b, "effect %s %s\n", e.word, e.does)
	}
	for _, e := range t.effects {
		if e.check != "" {
			fmt.Fprintf(&b, "check %s %s\n", e.word, e.check)
		}
	}
	host := ""
	var lines *tabwriter.Writer
	for i := range rows {
		if rows[i].host != host {
			if lines != nil {
				_ = lines.Flush() // into memory
			}
			host = rows[i].host
			fmt.Fprintf(&b, "\nhost %s\n", host)
			lines = tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
		}
		fmt.Fprintf(lines, "%s\t%s\t%s\t%s\n", rows[i].verb, rows[i].path, rows[i].effect, t.allowing(rows[i].effect))
	}
	if lines != nil {
		_ = lines.Flush()
	}
	for i, a := range t.aliases {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "alias %s %s\n", a.at, a.of)
	}
	return b.String(), nil
}

// rows are the table's, those of a host together.
func (t *table) rows() ([]row, error) {
	rows := slices.Clone(t.also)
	var errs []error
	for _, m := range t.methods() {
		word := t.effectOf(&m)
		if word == "" {
			errs = append(errs, fmt.Errorf("%s: nobody has said what %s does: %s %s", t.name, m.ID, m.Verb, m.Path))
		}
		if err := checkUploads(&m); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.name, err))
		}
		rows = append(rows, row{m.Verb, m.Host, m.Path, word})
	}
	used := map[string]bool{}
	for i := range rows {
		used[rows[i].effect] = true
		if rows[i].effect != "" && !t.has(rows[i].effect) {
			errs = append(errs, fmt.Errorf("%s: there is no effect %q, of %s %s", t.name, rows[i].effect, rows[i].verb, rows[i].path))
		}
	}
	for _, e := range t.effects {
		if !used[e.word] {
			errs = append(errs, fmt.Errorf("%s: no method has the effect %q", t.name, e.word))
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		for _, pair := range [][2]string{{a.host, b.host}, {a.path, b.path}, {a.verb, b.verb}} {
			if c := strings.Compare(pair[0], pair[1]); c != 0 {
				return c
			}
		}
		return strings.Compare(a.effect, b.effect)
	})
	return slices.Compact(rows), errors.Join(errs...)
}

// checkUploads refuses a method that takes media at a path which is not its own
// with a prefix: calls are judged without the prefix.
func checkUploads(m *published.Method) error {
	for _, path := range m.Uploads {
		if path != "/upload"+m.Path && path != "/resumable/upload"+m.Path {
			return fmt.Errorf("%s takes media at %s, which is not its path %s", m.ID, path, m.Path)
		}
	}
	return nil
}

func (t *table) checkEffects() error {
	var errs []error
	for _, p := range t.presets {
		for _, word := range p.allows {
			if !t.has(word) {
				errs = append(errs, fmt.Errorf("%s: the preset %s allows an effect that there is not: %q", t.name, p.name, word))
			}
		}
	}
	return errors.Join(errs...)
}

func (t *table) has(word string) bool {
	return slices.ContainsFunc(t.effects, func(e effect) bool { return e.word == word })
}

// allowing are the names of the presets that allow an effect.
func (t *table) allowing(word string) string {
	var names []string
	for _, p := range t.presets {
		if slices.Contains(p.allows, word) {
			names = append(names, p.name)
		}
	}
	if names == nil {
		return "-"
	}
	return strings.Join(names, " ")
}
