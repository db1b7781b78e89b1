// Command extract writes down which methods Google and Microsoft publish, from
// the descriptions that come with their Go modules.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

// The modules whose descriptions are read. The tables are for a person to look
// at again whenever a version changes.
const (
	googleModule    = "google.golang.org/api@v0.311.0"
	microsoftModule = "github.com/microsoftgraph/msgraph-sdk-go@v1.89.0"
)

// source is a list and where it comes from.
type source struct {
	file, module string
	extract      func(dir string) ([]api, error)
	// preface says what the list holds.
	preface string
}

var sources = []source{
	{"google.txt", googleModule, extractGoogle, googlePreface},
	{"microsoft.txt", microsoftModule, extractMicrosoft, microsoftPreface},
}

// api is one API of a list.
type api struct {
	name, host string
	// revision is the publisher's name for the state of the description.
	revision string
	methods  []published.Method
}

func main() {
	dir := flag.String("dir", ".", "the directory to write the lists into")
	flag.Parse()
	for _, s := range sources {
		if err := write(&s, *dir); err != nil {
			fmt.Fprintf(os.Stderr, "extract: %s: %v\n", s.file, err)
			os.Exit(1)
		}
	}
}

func write(s *source, dir string) error {
	m, err := download(s.module)
	if err != nil {
		return err
	}
	text, err := s.text(m)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, s.file), []byte(text), 0o644) //nolint:gosec // as published as what is in it
}

// module is what the Go command says of a module that it has.
type module struct {
	Path, Version, Dir, Sum, Info, Error string
}

// download fetches a module into the module cache, where the Go command has not
// got it.
func download(name string) (*module, error) {
	cmd := exec.Command("go", "mod", "download", "-json", name) //nolint:gosec // one of those above
	cmd.Dir = os.TempDir()                                      // outside of every module, so that no go.sum changes
	out, err := cmd.Output()
	var m module
	if jsonErr := json.Unmarshal(out, &m); jsonErr == nil && m.Error != "" {
		return nil, fmt.Errorf("downloading %s: %s", name, m.Error)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return nil, fmt.Errorf("downloading %s: %w: %s", name, err, exit.Stderr)
	case err != nil:
		return nil, fmt.Errorf("downloading %s: %w", name, err)
	case m.Dir == "":
		return nil, fmt.Errorf("downloading %s: the Go command did not say where it is", name)
	}
	return &m, nil
}

// date is when the module's version was made.
func (m *module) date() (string, error) {
	text, err := os.ReadFile(m.Info)
	if err != nil {
		return "", err
	}
	var info struct{ Time time.Time }
	if err := json.Unmarshal(text, &info); err != nil {
		return "", fmt.Errorf("%s: %w", m.Info, err)
	}
	return info.Time.UTC().Format(time.DateOnly), nil
}

// text is the whole of a list.
func (s *source) text(m *module) (string, error) {
	apis, err := s.extract(m.Dir)
	if err != nil {
		return "", err
	}
	date, err := m.date()
	if err != nil {
		return "", err
	}
	slices.SortFunc(apis, func(a, b api) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	fmt.Fprintf(&b, "%s#\n# From %s %s (%s,\n# %s).\n# Written by `make published`.\n", s.preface, m.Path, m.Version, date, m.Sum)
	for i := range apis {
		a := &apis[i]
		fmt.Fprintf(&b, "\napi %s %s %s\n", a.name, a.host, a.revision)
		if err := a.write(&b); err != nil {
			return "", fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return b.String(), nil
}

// write writes the methods, those of no name at one path on one line.
func (a *api) write(b *strings.Builder) error {
	slices.SortFunc(a.methods, published.Compare)
	for i := 0; i < len(a.methods); i++ {
		m := &a.methods[i]
		verbs := []string{m.Verb}
		for m.ID == "" && i+1 < len(a.methods) && a.methods[i+1].Path == m.Path {
			i++
			if a.methods[i].Verb != a.methods[i-1].Verb {
				verbs = append(verbs, a.methods[i].Verb)
			}
		}
		fields := append([]string{strings.Join(verbs, ","), m.Path, m.ID}, m.Uploads...)
		if m.ID == "" {
			fields[2] = "-"
		}
		for _, f := range fields {
			if f == "" || strings.ContainsAny(f, " \t\n") {
				return fmt.Errorf("%s %s: has an empty or a divided column", m.Verb, m.Path)
			}
		}
		b.WriteString(strings.Join(fields, " ") + "\n")
	}
	return nil
}
