package main

import (
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

var graphTables = map[string]struct {
	table *table
	says  []graphSays
}{
	"mail":     {&graphMail, graphMailSays},
	"calendar": {&graphCalendar, graphCalendarSays},
	"files":    {&graphFiles, graphFilesSays},
}

func TestEachPatternOfGraphDecides(t *testing.T) {
	for name, c := range graphTables {
		t.Run(name, func(t *testing.T) {
			// Each pattern by itself, to see which of them is the first.
			var single []graphSays
			for _, s := range c.says {
				for pattern := range strings.FieldsSeq(s.patterns) {
					single = append(single, graphSays{s.verbs, pattern, s.effect})
				}
			}
			used := make([]bool, len(single))
			for _, m := range c.table.methods() {
				for i := range single {
					if single[i].isAbout(m.Verb, graphPath(m.Path)) {
						used[i] = true
						break
					}
				}
			}
			for i, s := range single {
				if !used[i] {
					t.Errorf("%s %s %s decides on no method", s.verbs, s.patterns, s.effect)
				}
			}
		})
	}
}

func TestMethodOfGraphThatNobodyLookedAtIsAnError(t *testing.T) {
	for name, c := range graphTables {
		for _, unknown := range []published.Method{
			{API: graphSource, Verb: "POST", Host: "graph.microsoft.com", Path: "/v1.0/users/{user-id}/messages/{message-id}/catapult"},
			{API: graphSource, Verb: "GET", Host: "graph.microsoft.com", Path: "/v1.0/drives/{drive-id}/items/{driveItem-id}/catapult(at='{at}')"},
			{API: graphSource, Verb: "PUT", Host: "graph.microsoft.com", Path: "/v1.0/users/{user-id}/events/{event-id}"},
		} {
			grown := *c.table
			grown.methods = func() []published.Method { return append(c.table.methods(), unknown) }
			text, err := grown.text()
			if err == nil || !strings.Contains(err.Error(), unknown.Verb+" "+unknown.Path) || strings.Count(err.Error(), "\n") > 0 || text != "" {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestGraphPatterns(t *testing.T) {
	for _, c := range []struct {
		patterns, path string
		want           bool
	}{
		{"messages", "/v1.0/users/{user-id}/messages", true},
		{"messages", "/v1.0/users/{user-id}/messages/{message-id}", false},
		{"messages", "/v1.0/users/{user-id}/messages/$count", false},
		{"messages/{}", "/v1.0/users/{user-id}/messages/{message-id}", true},
		{"messages/{}", "/v1.0/users/{user-id}/messages/delta()", false},
		{"delta()", "/v1.0/drives/{drive-id}/items/{driveItem-id}/delta(token='{token}')", true},
		{"delta", "/v1.0/drives/{drive-id}/items/{driveItem-id}/delta()", false},
		{"/users/{}/messages", "/v1.0/users/{user-id}/messages", true},
		{"/messages", "/v1.0/users/{user-id}/messages", false},
		{"/users/{}/messages/**", "/v1.0/users/{user-id}/messages", true},
		{"/users/{}/messages/**", "/v1.0/users/{user-id}/messages/{message-id}/$value", true},
		{"/users/{}/messages/**", "/v1.0/users/{user-id}/messagesX", false},
		{"/users/{}/messages/**", "/v1.0/groups/{group-id}/users/{}/messages", false},
		{"functions/**", "/v1.0/drives/{drive-id}/items/{driveItem-id}/workbook/functions/abs", true},
		{"a b messages", "/v1.0/users/{user-id}/messages", true},
		{"", "/v1.0/users", false},
	} {
		if got := graphMatches(c.patterns, graphPath(c.path)); got != c.want {
			t.Errorf("%q, %s: %v", c.patterns, c.path, got)
		}
	}
}
