package published

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed google.txt
var googleText string

//go:embed microsoft.txt
var microsoftText string

var (
	google    = sync.OnceValues(func() ([]Method, error) { return parse(googleText) })
	microsoft = sync.OnceValues(func() ([]Method, error) { return parse(microsoftText) })
)

// Google gives the methods of Google's APIs at the hosts that a user's token is
// for, sorted by API, path and verb. The caller must not change them.
func Google() []Method { return must("google.txt", google) }

// Microsoft gives the methods of Microsoft Graph, sorted likewise. What is below
// /me is not listed: it is what stands below /users/{user-id}. Nor are the
// paths by name between colons, and $batch.
func Microsoft() []Method { return must("microsoft.txt", microsoft) }

// must gives what a list has that is part of the program, and was tested.
func must(name string, load func() ([]Method, error)) []Method {
	methods, err := load()
	if err != nil {
		panic(fmt.Sprintf("published: %s: %v", name, err))
	}
	return methods
}

// parse reads a list. A line "api <name> <host>" begins an API; each line behind
// it is of a path: verbs with commas between, the path, an ID or "-", and
// templates of uploads.
func parse(text string) ([]Method, error) {
	var methods []Method
	api, host := "", ""
	number := 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
			continue
		case fields[0] == "api" && len(fields) >= 3:
			api, host = fields[1], fields[2]
			continue
		}
		read, err := parsePath(fields)
		if err == nil && api == "" {
			err = errors.New("stands before any API")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		for _, m := range read {
			m.API, m.Host = api, host
			methods = append(methods, m)
		}
	}
	slices.SortStableFunc(methods, Compare)
	return methods, nil
}

// parsePath reads the line of a path.
func parsePath(fields []string) ([]Method, error) {
	if len(fields) < 3 || !strings.HasPrefix(fields[1], "/") {
		return nil, errors.New("is not verbs, a path and an ID")
	}
	id := strings.TrimPrefix(fields[2], "-")
	var uploads []string
	if len(fields) > 3 {
		uploads = fields[3:]
	}
	var methods []Method
	for verb := range strings.SplitSeq(fields[0], ",") {
		if verb == "" || strings.Trim(verb, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return nil, fmt.Errorf("has %q where verbs belong", fields[0])
		}
		methods = append(methods, Method{ID: id, Verb: verb, Path: fields[1], Uploads: uploads})
	}
	return methods, nil
}

// Compare orders methods by API, path, verb and ID.
func Compare(a, b Method) int {
	for _, pair := range [][2]string{{a.API, b.API}, {a.Path, b.Path}, {a.Verb, b.Verb}} {
		if c := strings.Compare(pair[0], pair[1]); c != 0 {
			return c
		}
	}
	return strings.Compare(a.ID, b.ID)
}
