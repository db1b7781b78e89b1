// Package internal_test checks who may import whom.
package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/bellhop-proxy/bellhop"

// goPackage is what `go list -json` tells about a package. Deps has every
// import, direct or not, without those of the package's tests.
type goPackage struct {
	ImportPath string
	Deps       []string
}

// importRule forbids some packages of this module some imports.
type importRule struct {
	name string

	// of are the packages that the rule is for, below the module's path; a name
	// that ends in `/...` is for those below it too.
	of []string

	// except are packages that the rule is not for, written alike.
	except []string

	// never are import paths; those below them are forbidden as well.
	never []string
}

var importRules = []importRule{
	{
		name:  "internal packages never import Caddy, nor its logger",
		of:    []string{"internal/..."},
		never: []string{"github.com/caddyserver", "go.uber.org/zap"},
	},
	{
		name:   "one package below internal imports Badger",
		of:     []string{"internal/..."},
		except: []string{"internal/store/badger", "internal/fakeprovider/..."},
		never:  []string{"github.com/dgraph-io/badger/v4"},
	},
	{
		name:   "one package below internal imports PostgreSQL's driver",
		of:     []string{"internal/..."},
		except: []string{"internal/store/postgres/..."},
		never:  []string{"github.com/jackc/pgx"},
	},
	{
		name:  "arrows point from the Caddy modules to internal, and not back",
		of:    []string{"internal/..."},
		never: []string{module + "/caddymodule", module + "/cmd", module + "/bench"},
	},
	{
		name:  "the broker knows neither stores nor the wire",
		of:    []string{"internal/broker"},
		never: []string{module + "/internal/store/badger", module + "/internal/store/postgres", module + "/internal/target", module + "/internal/policy", module + "/internal/consent", module + "/internal/backup"},
	},
	{
		name:  "consent knows neither how accounts are kept nor the pages that people see",
		of:    []string{"internal/consent"},
		never: []string{module + "/internal/store/badger", module + "/internal/store/postgres", module + "/internal/vault", module + "/internal/target", module + "/internal/policy", module + "/internal/pages"},
	},
	{
		name:  "the nouns know no one who uses them",
		of:    []string{"internal/account", "internal/secret", "internal/problem"},
		never: []string{module + "/internal/broker", module + "/internal/provider", module + "/internal/consent", module + "/internal/store", module + "/internal/vault"},
	},
	{
		name:  "a provider knows neither store nor broker",
		of:    []string{"internal/provider"},
		never: []string{module + "/internal/store", module + "/internal/vault", module + "/internal/broker", module + "/internal/consent", module + "/internal/policy", module + "/internal/target"},
	},
	{
		name:  "a backup knows what is kept, and nobody who uses it",
		of:    []string{"internal/backup"},
		never: []string{module + "/internal/broker", module + "/internal/provider", module + "/internal/store/badger", module + "/internal/store/postgres"},
	},
	{
		name:  "what judges a request is pure",
		of:    []string{"internal/target", "internal/policy", "internal/operation", "internal/glob"},
		never: []string{"golang.org/x/oauth2", module + "/internal/broker", module + "/internal/provider", module + "/internal/store", module + "/internal/vault"},
	},
	{
		name:  "what reads and writes messages knows neither accounts' grants nor who judges",
		of:    []string{"internal/rewrite", "internal/handle", "internal/batch", "internal/replay"},
		never: []string{"golang.org/x/oauth2", module + "/internal/broker", module + "/internal/provider", module + "/internal/store", module + "/internal/vault", module + "/internal/policy"},
	},
	{
		name:  "links know a provider's kind and hosts, and nothing of grants",
		of:    []string{"internal/links"},
		never: []string{module + "/internal/broker", module + "/internal/store", module + "/internal/vault", module + "/internal/policy"},
	},
	{
		name:  "what matches and rewrites text knows nothing else of this module",
		of:    []string{"internal/glob", "internal/hostname", "internal/operation", "internal/pages", "internal/rewrite"},
		never: []string{module},
	},
	{
		name:  "importers read what others wrote, and know nothing of what is kept here",
		of:    []string{"internal/emailengine/...", "internal/importfile"},
		never: []string{module + "/internal/broker", module + "/internal/provider", module + "/internal/store", module + "/internal/vault", module + "/internal/policy"},
	},
	{
		name:   "one package below internal imports Redis's client",
		of:     []string{"internal/..."},
		except: []string{"internal/emailengine/..."},
		never:  []string{"github.com/redis/go-redis"},
	},
	{
		name:   "the fake provider is for the demo and tests",
		of:     []string{"internal/..."},
		except: []string{"internal/fakeprovider/..."},
		never:  []string{module + "/internal/fakeprovider"},
	},
	{
		name:   "what is published is for making tables and for tests",
		of:     []string{"internal/...", "caddymodule", "cmd/..."},
		except: []string{"internal/published/...", "internal/policy/presets/..."},
		never:  []string{module + "/internal/published"},
	},
	{
		name:  "the fake provider shares no code with what it tests",
		of:    []string{"internal/fakeprovider/..."},
		never: []string{module + "/internal/account", module + "/internal/broker", module + "/internal/consent", module + "/internal/provider", module + "/internal/secret"},
	},
}

func TestImportRules(t *testing.T) {
	openSources(t)
	packages := listPackages(t)
	for _, rule := range importRules {
		t.Run(rule.name, func(t *testing.T) {
			judged := 0
			for _, pkg := range packages {
				path := strings.TrimPrefix(pkg.ImportPath, module+"/")
				if !matches(rule.of, path) || matches(rule.except, path) {
					continue
				}
				judged++
				for _, dep := range pkg.Deps {
					if forbidden(rule.never, dep) {
						t.Errorf("%s imports %s, itself or through another package", path, dep)
					}
				}
			}
			if judged == 0 {
				t.Error("the rule is for no package: correct its names")
			}
		})
	}
}

// openSources opens every Go file: the go command takes a test's last result for
// its next one unless a file that the test itself has opened has changed, and
// those that go list opens do not count.
func openSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		return file.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// listPackages returns the packages of the module.
func listPackages(t *testing.T) []goPackage {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Deps", "-tags", "nobadger,nomysql,nopgx", module+"/internal/...")
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var pkg goPackage
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("reading go list's answer: %v", err)
		}
		packages = append(packages, pkg)
	}
}

// matches reports whether a package is among those named.
func matches(names []string, path string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		tree, all := strings.CutSuffix(name, "/...")
		return path == tree || all && strings.HasPrefix(path, tree+"/")
	})
}

// forbidden reports whether an import stands at or below one of the paths.
func forbidden(never []string, dep string) bool {
	return slices.ContainsFunc(never, func(path string) bool {
		return dep == path || strings.HasPrefix(dep, path+"/")
	})
}
