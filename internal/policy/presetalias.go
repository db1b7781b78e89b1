package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/operation"
)

// addAlias adds "alias <path> <path>": what is served at the first, and below,
// is what is served at the second. Graph has a drive at many places, each with
// thousands of paths, and describes one of them in full. Both must be in the
// table already, or what is above the first.
func (t *presetTable) addAlias(host, at, of string) error {
	place, segments, err := templateAt(host, at)
	if err != nil {
		return err
	}
	targetPlace, targetSegments, err := templateAt(host, of)
	if err != nil {
		return err
	}
	root := t.places[place]
	if root == nil || place != targetPlace || len(segments) == 0 {
		return fmt.Errorf("there is no place for both of %s and %s", at, of)
	}
	parent, err := root.descend(segments[:len(segments)-1])
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	target, err := root.descend(targetSegments)
	if err != nil {
		return fmt.Errorf("%s: %w", of, err)
	}
	if old := parent.next(&segments[len(segments)-1]); old != nil {
		if err := target.covers(old, make(map[[2]*presetNode]bool)); err != nil {
			return fmt.Errorf("%s is not what %s is: %w", at, of, err)
		}
	}
	return parent.put(&segments[len(segments)-1], target)
}

func templateAt(host, template string) (place string, segments []operation.Segment, err error) {
	path, err := readTemplate(host, template)
	if err != nil {
		return "", nil, err
	}
	segments = path.Segments
	return placeOf(&path, &segments), segments, nil
}

// descend follows the segments of a template.
func (n *presetNode) descend(segments []operation.Segment) (*presetNode, error) {
	for i := range segments {
		if n = n.next(&segments[i]); n == nil {
			return nil, errors.New("no row has it")
		}
	}
	return n, nil
}

// next is the node behind a segment of a template, or nil.
func (n *presetNode) next(s *operation.Segment) *presetNode {
	switch {
	case s.Kind == operation.Name:
		return n.named
	case s.Text == anyName:
		return n.parameter
	}
	return n.literals[s.Folded]
}

// put makes a node the one behind a segment of a template.
func (n *presetNode) put(s *operation.Segment, behind *presetNode) error {
	switch {
	case s.Skip != operation.Never, s.Kind != operation.Plain && s.Kind != operation.Name,
		s.Text != anyName && (s.Kind == operation.Name || strings.Contains(s.Text, anyName)):
		return fmt.Errorf("the segment %q can be no alias", s.Text)
	case s.Kind == operation.Name:
		n.named = behind
	case s.Text == anyName:
		n.parameter = behind
	case n.literals == nil:
		n.literals = map[string]*presetNode{s.Folded: behind}
	default:
		n.literals[s.Folded] = behind
	}
	return nil
}

// covers reports what another node has, or has otherwise. What an alias is behind
// may be what it stands for, as an item is below an item by its path, so that a
// pair comes up again below itself: compared are those that were not before.
func (n *presetNode) covers(other *presetNode, compared map[[2]*presetNode]bool) error {
	pair := [2]*presetNode{n, other}
	if n == other || compared[pair] {
		return nil
	}
	compared[pair] = true
	for _, row := range other.rows {
		if !slices.Contains(n.rows, row) {
			return fmt.Errorf("it has no %s with the same effect", row.verb)
		}
	}
	pairs := []struct{ behind, other *presetNode }{{n.parameter, other.parameter}, {n.named, other.named}}
	for folded, behind := range other.literals {
		pairs = append(pairs, struct{ behind, other *presetNode }{n.literals[folded], behind})
	}
	for _, p := range pairs {
		switch {
		case p.other == nil:
		case p.behind == nil:
			return fmt.Errorf("it has no %q", p.other.text)
		default:
			if err := p.behind.covers(p.other, compared); err != nil {
				return err
			}
		}
	}
	return nil
}
