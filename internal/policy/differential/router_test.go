package differential

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

// sent is a call as an API gets it.
type sent struct {
	method string
	// host is what it is sent to, in lower case.
	host string
	// path is escaped.
	path, query string
	header      http.Header
	body        []byte
}

func (s *sent) String() string {
	url := s.method + " " + s.host + s.path
	if s.query != "" {
		url += "?" + s.query
	}
	return url
}

// node is a place in the tree of the templates of paths.
type node struct {
	// literals are the names below it, casts the names of types, and calls those
	// of functions with parentheses; all folded.
	literals, casts, calls map[string]*node
	// parameter is one segment of any text, and deep one or more.
	parameter, deep *node
	// mixed are segments of text and parameters.
	mixed []mixed
	// loops is set of what a deep parameter leads to.
	loops bool
	// also are nodes that are at the same place in the API.
	also []*node
	// methods are those of the path that ends here.
	methods []*published.Method
}

type mixed struct {
	template string
	match    *regexp.Regexp
	next     *node
}

func newNode() *node {
	return &node{literals: map[string]*node{}, casts: map[string]*node{}, calls: map[string]*node{}}
}

// child finds or makes what is below a node by a name.
func child(of map[string]*node, name string) *node {
	if of[name] == nil {
		of[name] = newNode()
	}
	return of[name]
}

var parameterName = regexp.MustCompile(`\{\+?[^{}]*\}`)

// below finds or makes what is below a node by a segment of a template.
func (n *node) below(segment string) *node {
	name, _, called := strings.Cut(segment, "(")
	switch {
	case called:
		return child(n.calls, fold(name))
	case !strings.Contains(segment, "{"):
		if _, ok := strings.CutPrefix(segment, "graph."); ok {
			return child(n.casts, fold(segment[len("graph."):]))
		}
		return child(n.literals, fold(segment))
	case parameterName.FindString(segment) != segment:
		return n.belowMixed(segment)
	case segment[1] == '+':
		if n.deep == nil {
			n.deep = newNode()
			n.deep.loops = true
		}
		return n.deep
	}
	if n.parameter == nil {
		n.parameter = newNode()
	}
	return n.parameter
}

func (n *node) belowMixed(segment string) *node {
	template := parameterName.ReplaceAllString(segment, "{}")
	for _, m := range n.mixed {
		if m.template == template {
			return m.next
		}
	}
	quoted := strings.ReplaceAll(regexp.QuoteMeta(fold(template)), `\{\}`, ".+")
	m := mixed{template, regexp.MustCompile("^" + quoted + "$"), newNode()}
	n.mixed = append(n.mixed, m)
	return m.next
}

// at walks down by a template from a node.
func (n *node) at(template string) *node {
	for segment := range strings.SplitSeq(strings.Trim(template, "/"), "/") {
		if segment != "" {
			n = n.below(segment)
		}
	}
	return n
}

// step is what a segment of a path does.
type step struct {
	kind stepKind
	text string // folded
}

type stepKind int

const (
	name     stepKind = iota // a name or an ID, whichever there is
	key                      // an ID and no name
	option                   // a name that is no ID
	cast                     // the name of a type
	function                 // the name of a function with parentheses
)

// alternative is one way in which a segment may be read: any number of steps.
type alternative []step

// places are where in the tree a path may have led.
type places []*node

func (p places) with(n *node) places {
	if n == nil || slices.Contains(p, n) {
		return p
	}
	p = append(p, n)
	for _, other := range n.also {
		p = p.with(other)
	}
	return p
}

// take goes one step on from each place.
func (p places) take(s step) places {
	var next places
	for _, n := range p {
		if n.loops {
			next = next.with(n)
		}
		switch s.kind {
		case cast:
			next = next.with(n.casts[s.text])
			continue
		case function:
			next = next.with(n.calls[s.text])
			continue
		case name, option:
			// A lenient server takes a function for one without its parentheses.
			next = next.with(n.literals[s.text]).with(n.calls[s.text])
		}
		if s.text == "" || s.kind == option {
			continue
		}
		next = next.with(n.parameter).with(n.deep)
		for _, m := range n.mixed {
			if m.match.MatchString(s.text) {
				next = next.with(m.next)
			}
		}
	}
	return next
}

// follow goes along a path whose segments may each be read in several ways.
func follow(root *node, path [][]alternative) places {
	at := places{}.with(root)
	for _, segment := range path {
		var next places
		for _, way := range segment {
			led := at
			for _, s := range way {
				led = led.take(s)
			}
			for _, n := range led {
				next = next.with(n)
			}
		}
		if at = next; len(at) == 0 {
			return nil
		}
	}
	return at
}

// methodsAt are those of the verbs at the places.
func methodsAt(at places, verbs []string) []*published.Method {
	var found []*published.Method
	for _, n := range at {
		for _, m := range n.methods {
			if slices.Contains(verbs, m.Verb) && !slices.Contains(found, m) {
				found = append(found, m)
			}
		}
	}
	return found
}
