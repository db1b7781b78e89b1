package account

import (
	"slices"
	"strings"
)

// A grant of many scopes has any number of narrower sets, and is saved whole:
// of their tokens and failures so many are kept, and so many bytes.
const (
	MaxNarrow      = 16
	maxNarrowBytes = 64 << 10
)

// Subject names what a failure is about, among the failures of a grant: the
// audience, with the scope set where the token was to be narrower. No audience
// has a space in it.
func Subject(audience, requested string) string {
	if requested == "" {
		return audience
	}
	return audience + " " + requested
}

// Narrow reports whether the failure is about a narrower token than the
// grant's own.
func (f *Failed) Narrow() bool { return strings.Contains(f.Audience, " ") }

// forgetNarrowTokens forgets the oldest narrower tokens where there are too
// many. The newest one stays, whatever its size.
func (g *Grant) forgetNarrowTokens() {
	for {
		oldest, number, size := -1, 0, 0
		for i := range g.Access {
			t := &g.Access[i]
			if t.Requested == "" {
				continue
			}
			number++
			size += len(t.Value.Reveal())
			if oldest < 0 || t.Number < g.Access[oldest].Number {
				oldest = i
			}
		}
		if number <= 1 || number <= MaxNarrow && size <= maxNarrowBytes {
			return
		}
		g.Access = slices.Delete(g.Access, oldest, oldest+1)
	}
}

// forgetNarrowFailures forgets the oldest failures of narrower tokens where
// there are too many.
func (g *Grant) forgetNarrowFailures() {
	for {
		oldest, number := -1, 0
		for i := range g.Failures {
			f := &g.Failures[i]
			if !f.Narrow() {
				continue
			}
			number++
			if oldest < 0 || f.At.Before(g.Failures[oldest].At) {
				oldest = i
			}
		}
		if number <= MaxNarrow {
			return
		}
		g.Failures = slices.Delete(g.Failures, oldest, oldest+1)
	}
}
