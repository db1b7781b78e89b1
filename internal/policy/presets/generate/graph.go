package main

import (
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

// graphSource is Microsoft Graph in package published.
const graphSource = "graph/v1.0"

// graphSays says what methods do, by what their paths look like: Graph names a
// resource alike wherever it stands, and no method has a name of its own.
//
// A pattern is the end of a path, or all of it behind the version where it
// begins with "/". "{}" is a parameter, "name()" a function whatever its
// arguments, and "/**" at the end is what stands there and all below it.
type graphSays struct {
	// verbs have commas between.
	verbs string
	// patterns have blanks between.
	patterns string
	effect   string
}

// graphEffect is what the first says that is about a method; empty if none is.
func graphEffect(says []graphSays) func(m *published.Method) string {
	return func(m *published.Method) string {
		path := graphPath(m.Path)
		for i := range says {
			if says[i].isAbout(m.Verb, path) {
				return says[i].effect
			}
		}
		return ""
	}
}

func (s *graphSays) isAbout(verb string, path []string) bool {
	return slices.Contains(strings.Split(s.verbs, ","), verb) && graphMatches(s.patterns, path)
}

// graphMethods gives the published methods whose paths some patterns are about.
func graphMethods(patterns string) func() []published.Method {
	return func() []published.Method {
		return slices.DeleteFunc(slices.Clone(published.Microsoft()), func(m published.Method) bool {
			return m.API != graphSource || !graphMatches(patterns, graphPath(m.Path))
		})
	}
}

// graphPath are the segments of a template behind the version, as patterns have
// them.
func graphPath(template string) []string {
	segments := strings.Split(strings.TrimPrefix(template, "/v1.0/"), "/")
	for i, s := range segments {
		if name, _, called := strings.Cut(s, "("); called {
			segments[i] = name + "()"
		} else if strings.HasPrefix(s, "{") {
			segments[i] = "{}"
		}
	}
	return segments
}

// graphMatches reports whether one of the patterns is about a path.
func graphMatches(patterns string, path []string) bool {
	for pattern := range strings.FieldsSeq(patterns) {
		whole, fromTop := strings.CutPrefix(pattern, "/")
		above, deep := strings.CutSuffix(whole, "/**")
		want := strings.Split(above, "/")
		for at := range len(path) - len(want) + 1 {
			behind := path[at:]
			if (at == 0 || !fromTop) && (deep || len(behind) == len(want)) && slices.Equal(behind[:len(want)], want) {
				return true
			}
		}
	}
	return false
}

// graphReads are rows of calls that only Microsoft's reference has, and that
// read.
func graphReads(paths ...string) []row {
	var rows []row
	for _, path := range paths {
		rows = append(rows, row{"GET", "graph.microsoft.com", "/v1.0" + path, "read"})
	}
	return rows
}
