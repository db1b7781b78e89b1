package policy

import (
	"net/http"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/operation"
)

// verdict is what presets say of a call in one of its readings.
type verdict struct {
	allowed bool
	check   BodyCheck
	// does is what the call does that none of them allows; empty if no table has
	// it.
	does string
}

// judgeByPresets decides on a path in one of its readings. The first preset that
// allows it says what its body must be: that is up to what the call does, and
// not to who allows it.
func judgeByPresets(names []string, method string, path *operation.Path, leave uint) verdict {
	var said verdict
	for _, name := range names {
		p := findPreset(name)
		if p == nil {
			continue // it allows nothing
		}
		t, bit, err := p.load()
		if err != nil {
			continue
		}
		f := t.find(bit, method, path, leave)
		switch {
		case f.found && !f.refused:
			return verdict{allowed: true, check: f.check}
		case said.does == "":
			said.does = f.does
		}
	}
	return said
}

// finding is what the rows of a table say of a path.
type finding struct {
	preset uint8
	verb   string
	// folded is set where letters count without regard to case.
	folded bool
	leave  uint

	// found is set where a row matches, and refused where one does that the
	// preset does not allow: which of several methods an API takes a path for is
	// up to the API.
	found, refused bool
	check          BodyCheck
	does           string
}

// find looks a path up in one of its readings.
func (t *presetTable) find(preset uint8, method string, path *operation.Path, leave uint) finding {
	f := finding{preset: preset, verb: method, folded: path.Family == operation.Microsoft, leave: leave}
	if method == http.MethodHead {
		f.verb = http.MethodGet
	}
	segments := path.Segments
	if root := t.places[placeOf(path, &segments)]; root != nil {
		f.walk(t, root, segments, 0, true)
	}
	return f
}

// walk visits all nodes below n that the segments lead to. Ambiguous is how many
// ambiguous segments were before, and exact whether all literals were written
// as the templates have them.
func (f *finding) walk(t *presetTable, n *presetNode, segments []operation.Segment, ambiguous uint, exact bool) {
	if len(segments) == 0 {
		f.end(t, n, exact)
		return
	}
	s, rest := &segments[0], segments[1:]
	if s.Skip == operation.Ambiguous {
		ambiguous++
		if f.leave&(1<<(ambiguous-1)) != 0 {
			f.walk(t, n, rest, ambiguous, exact)
			return
		}
	}
	if s.Kind == operation.Name {
		if n.named != nil {
			f.walk(t, n.named, rest, ambiguous, exact)
		}
		return
	}
	if literal := n.literals[s.Folded]; literal != nil && literal.kind == s.Kind && !s.Quoted {
		f.walk(t, literal, rest, ambiguous, exact && (f.folded || literal.text == s.Text))
	}
	switch s.Kind {
	case operation.Plain:
		if n.parameter != nil && s.Text[0] != '$' {
			f.walk(t, n.parameter, rest, ambiguous, exact)
		}
		if n.argument != nil && s.Quoted {
			f.walk(t, n.argument, rest, ambiguous, exact)
		}
	case operation.Verb:
		i := operation.VerbIn(s.Folded)
		if i <= 0 || len(n.custom) == 0 || strings.Contains(s.Folded[:i], ":") {
			return
		}
		if custom := n.custom[s.Folded[i:]]; custom != nil {
			f.walk(t, custom, rest, ambiguous, exact && (f.folded || custom.text[1:] == s.Text[operation.VerbIn(s.Text):]))
		}
	}
}

// end takes the rows of a node to which a path led.
func (f *finding) end(t *presetTable, n *presetNode, exact bool) {
	for i := range n.rows {
		row := &n.rows[i]
		if row.verb != f.verb {
			continue
		}
		f.found = true
		effect := &t.effects[row.effect]
		check := effect.check
		if exact && row.allowed&f.preset != 0 && (check == NoBodyCheck || f.check == NoBodyCheck || check == f.check) {
			f.check = max(f.check, check)
			continue
		}
		if !f.refused {
			f.does = effect.does
		}
		f.refused = true
	}
}

// refusalOf says behind the rule that is missing why presets do not do; empty
// without any.
func (v *verdict) refusalOf(names []string) string {
	does := "it " + v.does
	if v.does == "" {
		does = "it is no method that they know"
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return " (its preset " + names[0] + " does not: " + strings.Replace(does, "they know", "it knows", 1) + ")"
	}
	return " (its presets " + strings.Join(names, ", ") + " do not: " + does + ")"
}
