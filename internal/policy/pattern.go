package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/glob"
	"github.com/bellhop-proxy/bellhop/internal/operation"
)

// maxSegments is how many segments a rule's path may have: a state of the
// matching is a bit.
const maxSegments = 60

// pattern is the path of a rule, for one family of APIs.
type pattern struct {
	segments []segment
	// host and service are where the path is, as [operation.Path] has them;
	// empty for every host.
	host, service string
	family        operation.Family
	deny          bool
	folded        bool // compared without regard to case
}

// segment is a segment of a pattern.
type segment struct {
	text  string
	kind  operation.Kind
	deep  bool // any number of segments
	any   bool // any one
	stars bool // text has wildcards
}

// newPattern makes the pattern of a path, escaped, with wildcards. An empty one
// is every path.
func newPattern(host string, family operation.Family, path string, deny bool) (*pattern, error) {
	p := &pattern{family: family, deny: deny, folded: deny || family == operation.Microsoft}
	if path == "" {
		path = "/" + anyDepth
	}
	read, err := operation.Read(nil, &operation.Source{Mode: operation.Pattern, Host: host, Family: family, Path: path})
	switch {
	case err != nil && operation.IsGraph(host):
		return nil, fmt.Errorf("its path %w; write it like /v1.0/me/messages", err)
	case err != nil:
		return nil, fmt.Errorf("its path %w", err)
	case len(read.Segments) > maxSegments:
		return nil, fmt.Errorf("its path has more than %d segments: write ** for some of them", maxSegments)
	}
	p.host, p.service = read.Host, read.Service
	for i := range read.Segments {
		s := newSegment(&read.Segments[i], p.folded)
		if deny {
			s.any = s.any || namesAnything(read.Segments[:i+1], family)
		}
		p.segments = append(p.segments, s)
	}
	if n := len(p.segments); deny && n > 0 && p.segments[n-1].kind == operation.Name {
		// What is named is forbidden with all that is below it.
		p.segments = append(p.segments, segment{deep: true})
	}
	return p, nil
}

func newSegment(read *operation.Segment, folded bool) segment {
	s := segment{text: read.Text, kind: read.Kind}
	if folded {
		s.text = read.Folded
	}
	s.stars = strings.Contains(s.text, anyName)
	switch {
	case s.kind == operation.Plain && s.text == anyDepth, read.Skip == operation.Ambiguous:
		s.deep = true
	case s.kind == operation.Plain && s.text == anyName:
		s.any = true
	}
	return s
}

// namesAnything reports whether the last of the segments, in a rule that
// forbids, is a name that others may stand for: a version, a user, or what
// Google calls by another name for whoever asks.
func namesAnything(segments []operation.Segment, family operation.Family) bool {
	n := len(segments) - 1
	last := &segments[n]
	if last.Kind != operation.Plain || strings.Contains(last.Folded, anyName) {
		return false
	}
	switch {
	case n > 0 && segments[n-1].Folded == "users":
		return family != operation.Other
	case n < 2 && operation.IsVersion(last.Folded):
		return family != operation.Other
	}
	return family == operation.Google && isAlias(last.Folded)
}

// isAlias reports whether Google takes a name for whatever the caller has one
// of: the caller, the first calendar, the topmost folder, the first list of
// tasks.
func isAlias(folded string) bool {
	switch folded {
	case "me", "primary", "root", "@default", "~all", "my_customer":
		return true
	}
	return false
}

// at reports whether the pattern is about the host of a call.
func (p *pattern) at(path *operation.Path) bool {
	switch {
	case p.host == "":
		return true
	case path.Family != operation.Google:
		return p.host == path.Host
	case p.service != "":
		return p.service == path.Service
	}
	return path.ServedAt(p.host)
}

// matches reports whether the pattern is about a path, in the reading in which
// those of its ambiguous segments are left out whose bit is set. A rule that
// forbids is about a path if one of its readings is.
func (p *pattern) matches(path []operation.Segment, leave uint) bool {
	// A bit of states is how many segments of the pattern have been matched.
	states := p.afterDeep(1)
	ambiguous := uint(0)
	for i := range path {
		s := &path[i]
		left := s.Skip == operation.Synonym || p.deny && s.Skip != operation.Never
		if s.Skip == operation.Ambiguous {
			if !p.deny && leave&(1<<ambiguous) != 0 {
				ambiguous++
				continue
			}
			ambiguous++
		}
		next := uint64(0)
		if left {
			next = states
		}
		for j := range p.segments {
			switch {
			case states&(1<<j) == 0:
			case p.segments[j].deep:
				next |= 1 << j
			case p.segments[j].matches(s, p):
				next |= 1 << (j + 1)
			}
		}
		if states = p.afterDeep(next); states == 0 {
			return false
		}
	}
	return states&(1<<len(p.segments)) != 0
}

// afterDeep adds the states behind each "**", which may stand for nothing.
func (p *pattern) afterDeep(states uint64) uint64 {
	for j := range p.segments {
		if p.segments[j].deep && states&(1<<j) != 0 {
			states |= 1 << (j + 1)
		}
	}
	return states
}

// matches reports whether a segment of a pattern is one of a path.
func (s *segment) matches(of *operation.Segment, p *pattern) bool {
	text := of.Text
	if p.folded {
		text = of.Folded
	}
	switch {
	case p.deny:
		return s.forbids(of, text, p.family)
	case s.kind == operation.Name || of.Kind == operation.Name:
		return s.kind == of.Kind && s.matchesName(text)
	case of.Kind == operation.Option:
		return s.kind == operation.Option && s.text == text
	case of.Kind == operation.Verb && !strings.Contains(s.text, ":"):
		return false
	}
	return s.any || s.matchesText(text)
}

// forbids is for rules that forbid, which take a wildcard for all that there is.
func (s *segment) forbids(of *operation.Segment, text string, family operation.Family) bool {
	switch {
	case s.any:
		return true
	case of.Kind == operation.Name || s.kind == operation.Name:
		return s.kind == of.Kind && s.matchesName(text)
	case s.matchesText(text), family == operation.Google && !s.stars && isAlias(text):
		return true
	case of.Kind == operation.Verb:
		return s.matchesText(text[:operation.VerbIn(text)])
	}
	return false
}

func (s *segment) matchesText(text string) bool {
	if s.stars {
		return Match(s.text, text)
	}
	return s.text == text
}

// matchesName compares names between colons, which have segments themselves.
func (s *segment) matchesName(text string) bool {
	if !s.stars {
		return s.text == text
	}
	above, deep := strings.CutSuffix(s.text, "/"+anyDepth)
	return glob.Match(s.text, text) || deep && glob.Match(above, text)
}

// errReadings is why a path with too many readings is refused.
var errReadings = errors.New("can be read in too many ways: leave out types and names of keys")

// maxAmbiguous is how many ambiguous segments a path may have.
const maxAmbiguous = 3

// readings is how many ways there are to read a path.
func readings(path []operation.Segment) (uint, error) {
	n := 0
	for i := range path {
		if path[i].Skip == operation.Ambiguous {
			n++
		}
	}
	if n > maxAmbiguous {
		return 0, errReadings
	}
	return 1 << n, nil
}
