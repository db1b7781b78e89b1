package policy

import (
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/bellhop-proxy/bellhop/internal/operation"
)

//go:embed presets/*.txt
var presetFiles embed.FS

// presetTables are the tables by name, each read when it is first used: those of
// Microsoft Graph have thousands of rows.
var presetTables = func() map[string]func() (*presetTable, error) {
	tables := make(map[string]func() (*presetTable, error))
	for i := range presets {
		name := presets[i].table
		if tables[name] == nil {
			tables[name] = sync.OnceValues(func() (*presetTable, error) { return loadPresetTable(name) })
		}
	}
	return tables
}()

// presetTable says for each published method of an API which presets allow it.
type presetTable struct {
	// names are the presets; a bit of [presetRow.allowed] is one of them.
	names   []string
	effects []presetEffect
	// places are where the API is: the name of Google's service, or a host.
	places map[string]*presetNode
}

// presetEffect is what a method does.
type presetEffect struct {
	word string
	// does completes "it …".
	does string
	// check is what a call's body is judged by.
	check BodyCheck
}

// presetNode is a segment of the templates of an API's paths, with those that
// may stand behind it.
type presetNode struct {
	// text and kind are what the templates have, where it is no parameter.
	text string
	kind operation.Kind
	// literals are by their folded text.
	literals map[string]*presetNode
	// parameter is the name or the ID of one resource, and named the path of a
	// file between colons.
	parameter, named *presetNode
	// argument is what a function has in parentheses.
	argument *presetNode
	// custom are IDs with a custom method, by the folded method and its colon.
	custom map[string]*presetNode
	// rows are the methods whose path ends here.
	rows []presetRow
}

// presetRow is a published method.
type presetRow struct {
	verb    string
	effect  uint8
	allowed uint8
}

// graphPlace stands for all hosts of Microsoft Graph: its clouds have the same
// API.
const graphPlace = "graph"

// load gives the preset's table, and its bit in it.
func (p *Preset) load() (*presetTable, uint8, error) {
	t, err := presetTables[p.table]()
	if err != nil {
		return nil, 0, err
	}
	i := slices.Index(t.names, p.Name)
	if i < 0 {
		return nil, 0, fmt.Errorf("the table %s has no preset %s", p.table, p.Name)
	}
	return t, 1 << i, nil
}

func loadPresetTable(name string) (*presetTable, error) {
	text, err := presetFiles.ReadFile("presets/" + name + ".txt")
	if err != nil {
		return nil, fmt.Errorf("loading the table of presets %s: %w", name, err)
	}
	t, err := parsePresetTable(string(text))
	if err != nil {
		return nil, fmt.Errorf("loading the table of presets %s: %w", name, err)
	}
	return t, nil
}

// parsePresetTable reads what presets/generate writes.
func parsePresetTable(text string) (*presetTable, error) {
	t := &presetTable{places: make(map[string]*presetNode)}
	host, number := "", 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		var err error
		switch rest := fields[1:]; {
		case fields[0] == "presets" && t.names == nil && 0 < len(rest) && len(rest) <= 8:
			t.names = rest
		case fields[0] == "effect" && len(rest) > 1:
			t.effects = append(t.effects, presetEffect{word: rest[0], does: strings.Join(rest[1:], " ")})
		case fields[0] == "check" && len(rest) == 2:
			err = t.addCheck(rest[0], rest[1])
		case fields[0] == "host" && len(rest) == 1:
			host = rest[0]
		case fields[0] == "alias" && len(rest) == 2 && host != "":
			err = t.addAlias(host, rest[0], rest[1])
		case len(rest) > 2 && host != "":
			err = t.addRow(host, fields)
		default:
			err = errors.New("is none that a table has there")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return t, nil
}

func (t *presetTable) effect(word string) int {
	return slices.IndexFunc(t.effects, func(e presetEffect) bool { return e.word == word })
}

func (t *presetTable) addCheck(word, name string) error {
	i, check := t.effect(word), bodyChecks[name]
	if i < 0 || check == NoBodyCheck {
		return fmt.Errorf("there is no effect %q, or no check %q", word, name)
	}
	t.effects[i].check = check
	return nil
}

// addRow adds "<verb> <template> <effect> <presets, or ->".
func (t *presetTable) addRow(host string, fields []string) error {
	effect := t.effect(fields[2])
	if effect < 0 || effect > 0xff {
		return fmt.Errorf("there is no effect %q", fields[2])
	}
	row := presetRow{verb: fields[0], effect: uint8(effect)}
	for _, name := range fields[3:] {
		i := slices.Index(t.names, name)
		if i < 0 && (name != "-" || len(fields) > 4) {
			return fmt.Errorf("there is no preset %q", name)
		}
		if i >= 0 {
			row.allowed |= 1 << i
		}
	}
	path, err := readTemplate(host, fields[1])
	if err != nil {
		return err
	}
	segments := path.Segments
	place := placeOf(&path, &segments)
	root := t.places[place]
	if root == nil {
		root = new(presetNode)
		t.places[place] = root
	}
	return root.add(segments, row)
}

// readTemplate reads a template of a published path like the path of a rule.
func readTemplate(host, template string) (operation.Path, error) {
	if strings.Contains(template, anyName) {
		return operation.Path{}, fmt.Errorf("the template %s has a star", template)
	}
	var b strings.Builder
	for rest := template; rest != ""; {
		literal, behind, parameter := strings.Cut(rest, "{")
		b.WriteString(literal)
		if !parameter {
			break
		}
		_, behind, closed := strings.Cut(behind, "}")
		if !closed || strings.Contains(rest, "{+") {
			return operation.Path{}, fmt.Errorf("the template %s has braces that do not stand for a segment", template)
		}
		b.WriteString(anyName)
		rest = behind
	}
	return operation.Read(nil, &operation.Source{
		Mode: operation.Pattern, Host: host, Family: operation.FamilyOf(host), Path: b.String(),
	})
}

// placeOf is the place of a path in a table. The versions of Microsoft Graph are
// one place; the version is taken off the segments.
func placeOf(path *operation.Path, segments *[]operation.Segment) string {
	switch {
	case operation.IsGraph(path.Host):
		if len(*segments) > 0 {
			*segments = (*segments)[1:]
		}
		return graphPlace
	case path.Service != "":
		return path.Service
	}
	return path.Host
}

// add adds a row below the node. The arguments of a function may be read as a
// segment behind it or not, so that it is added for both.
func (n *presetNode) add(segments []operation.Segment, row presetRow) error {
	if len(segments) == 0 {
		n.rows = append(n.rows, row)
		return nil
	}
	s := &segments[0]
	if s.Skip == operation.Ambiguous {
		if err := n.add(segments[1:], row); err != nil {
			return err
		}
		return child(&n.argument).add(segments[1:], row)
	}
	verb, isCustom := strings.CutPrefix(s.Folded, anyName+":")
	switch {
	case s.Kind == operation.Name && s.Text == anyName:
		return child(&n.named).add(segments[1:], row)
	case s.Kind == operation.Plain && s.Text == anyName:
		return child(&n.parameter).add(segments[1:], row)
	case s.Kind == operation.Verb && isCustom && !strings.Contains(verb, anyName):
		return childOf(&n.custom, ":"+verb, s).add(segments[1:], row)
	case s.Kind == operation.Name || strings.Contains(s.Text, anyName):
		return fmt.Errorf("a template has the segment %q, which is no literal and no parameter", s.Text)
	}
	return childOf(&n.literals, s.Folded, s).add(segments[1:], row)
}

func child(n **presetNode) *presetNode {
	if *n == nil {
		*n = new(presetNode)
	}
	return *n
}

func childOf(of *map[string]*presetNode, folded string, s *operation.Segment) *presetNode {
	if *of == nil {
		*of = make(map[string]*presetNode)
	}
	if (*of)[folded] == nil {
		(*of)[folded] = &presetNode{text: s.Text, kind: s.Kind}
	}
	return (*of)[folded]
}
