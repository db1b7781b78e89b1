package internal_test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// limit is a row of docs/limits.md that names a constant.
type limit struct {
	value int64
	at    string // package and name
}

var (
	limitRow = regexp.MustCompile("^\\| .* \\| (\\d+)(?: (KiB|MiB|bytes|characters))? \\| .* \\| `([a-z0-9]+\\.\\w+)` \\|$")
	units    = map[string]int64{"": 1, "bytes": 1, "characters": 1, "KiB": 1 << 10, "MiB": 1 << 20}
)

func readLimits(t *testing.T) []limit {
	t.Helper()
	text, err := os.ReadFile("../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	var limits []limit
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		row := limitRow.FindStringSubmatch(line)
		if row == nil {
			if strings.HasSuffix(line, "` |") {
				t.Errorf("docs/limits.md: the limit is not read: %s", line)
			}
			continue
		}
		n, err := strconv.ParseInt(row[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		limits = append(limits, limit{n * units[row[2]], row[3]})
	}
	return limits
}

// constantOf is the value of a constant that is written without others, such as
// 1 << 20, in a package of this module.
func constantOf(t *testing.T, at string) (int64, bool) {
	t.Helper()
	pkg, name, _ := strings.Cut(at, ".")
	dir := filepath.Join("..", "internal", pkg)
	if pkg == "caddymodule" {
		dir = filepath.Join("..", pkg)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range file.Decls {
			group, ok := declared.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				spec := spec.(*ast.ValueSpec)
				for i, ident := range spec.Names {
					if ident.Name != name || i >= len(spec.Values) {
						continue
					}
					value, err := types.Eval(fset, nil, token.NoPos, types.ExprString(spec.Values[i]))
					if err != nil {
						t.Fatalf("%s: %v", at, err)
					}
					n, exact := constant.Int64Val(constant.ToInt(value.Value))
					return n, exact
				}
			}
		}
	}
	return 0, false
}

func TestLimitsAreDocumented(t *testing.T) {
	limits := readLimits(t)
	if len(limits) < 25 {
		t.Errorf("docs/limits.md has %d limits that name a constant", len(limits))
	}
	for _, l := range limits {
		switch n, ok := constantOf(t, l.at); {
		case !ok:
			t.Errorf("docs/limits.md names %s, which is no constant", l.at)
		case n != l.value:
			t.Errorf("docs/limits.md says %d for %s, which is %d", l.value, l.at, n)
		}
	}
}
