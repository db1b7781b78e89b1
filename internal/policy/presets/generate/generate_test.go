package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

func TestTablesAreThoseOfTheGenerator(t *testing.T) {
	var want []string
	for _, table := range tables {
		file := filepath.Join("..", table.name+".txt")
		want = append(want, file)
		text, err := table.text()
		if err != nil {
			t.Error(err)
			continue
		}
		committed, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		} else if string(committed) != text {
			t.Errorf("%s is not what the generator writes: run `make presets`, and look at what changes", file)
		}
	}
	slices.Sort(want)
	if files, err := filepath.Glob("../*.txt"); err != nil || !slices.Equal(files, want) {
		t.Errorf("there are %v, want %v: %v", files, want, err)
	}
}

func TestWriteWritesAllTablesOrNone(t *testing.T) {
	all := tables
	t.Cleanup(func() { tables = all })
	wrong := small()
	wrong.effectOf = func(*published.Method) string { return "" }
	tables = []*table{small(), wrong}
	dir := t.TempDir()
	if err := write(dir); err == nil {
		t.Error("a table that is wrong is written")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("%v, %v", files, err)
	}
	tables = []*table{small()}
	if err := write(dir); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "small.txt")); err != nil || !strings.Contains(string(text), "\nGET /gmail/v1/a read small-readonly\n") {
		t.Errorf("%s, %v", text, err)
	}
}

// small is a table with one method.
func small() *table {
	return &table{
		name: "small", title: "Small", sources: []string{"gmail/v1"},
		methods: func() []published.Method {
			return []published.Method{{ID: "small.get", Verb: "GET", Host: "gmail.googleapis.com", Path: "/gmail/v1/a", Uploads: []string{"/upload/gmail/v1/a"}}}
		},
		effectOf: func(*published.Method) string { return "read" },
		effects:  []effect{{word: "read", does: "reads"}},
		presets:  []preset{{"small-readonly", []string{"read"}}},
	}
}

func TestTablesThatNobodyHasThoughtThrough(t *testing.T) {
	if text, err := small().text(); err != nil || text == "" {
		t.Fatalf("the table itself: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*table)
		want   string
	}{
		"a new method":       {func(t *table) { t.effectOf = func(*published.Method) string { return "" } }, "nobody has said what small.get does: GET /gmail/v1/a"},
		"no such effect":     {func(t *table) { t.effectOf = func(*published.Method) string { return "send" } }, `no effect "send"`},
		"effect of none":     {func(t *table) { t.effects = append(t.effects, effect{word: "send", does: "sends"}) }, `no method has the effect "send"`},
		"allowed for nobody": {func(t *table) { t.presets[0].allows = []string{"read", "sendd"} }, `"sendd"`},
		"no such API":        {func(t *table) { t.sources = []string{"gmail/v0"} }, "gmail/v0"},
		"media elsewhere": {func(t *table) {
			t.methods = func() []published.Method {
				return []published.Method{{ID: "a.b", Verb: "GET", Host: "gmail.googleapis.com", Path: "/gmail/v1/a", Uploads: []string{"/upload/gmail/v1/b"}}}
			}
		}, "takes media at /upload/gmail/v1/b"},
	} {
		t.Run(name, func(t *testing.T) {
			table := small()
			c.change(table)
			if text, err := table.text(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q, %v, want %s", text, err, c.want)
			}
		})
	}
}

func TestPageOfThePresetsHasThemAndTheirSources(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/presets.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, table := range tables {
		for _, p := range table.presets {
			want = append(want, "`"+p.name+"`")
		}
		for _, api := range table.sources {
			source, err := published.Source(api)
			if err != nil {
				t.Fatal(err)
			}
			api, source, _ = strings.Cut(source, ", revision ")
			revision, source, _ := strings.Cut(source, ", in ")
			if len(revision) == len("20060102") {
				revision = revision[:4] + "-" + revision[4:6] + "-" + revision[6:]
			}
			module, _, _ := strings.Cut(source, " (")
			want = append(want, module)
			if api != graphSource { // whose revision is its version
				want = append(want, api+", revision "+revision)
			}
		}
	}
	for _, part := range want {
		if !strings.Contains(string(page), part) {
			t.Errorf("docs/presets.md does not have %q", part)
		}
	}
}

func TestEffectsOfGoogleAreThoseOfPublishedMethods(t *testing.T) {
	for api, effects := range map[string]map[string]string{
		"gmail/v1": gmailEffects, "calendar/v3": calendarEffects, "drive/v2": driveV2Effects, "drive/v3": driveV3Effects,
	} {
		var ids []string
		for _, m := range ofGoogle(api)() {
			ids = append(ids, m.ID)
		}
		slices.Sort(ids)
		if want := slices.Sorted(maps.Keys(effects)); !slices.Equal(ids, want) {
			t.Errorf("%s has %v, and effects are known of %v", api, ids, want)
		}
	}
}
