package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

const microsoftPreface = `# The methods of Microsoft Graph v1.0, from the description that Microsoft makes
# its SDK for Go from.
#
# api <name> <host> <version>
# <verbs> <path> -
`

const (
	graphHost    = "graph.microsoft.com"
	graphVersion = "v1.0"
)

// The parts of a generated request builder that name what is called.
var (
	builderTemplate = regexp.MustCompile(`NewBaseRequestBuilder\(requestAdapter, "([^"]*)"`)
	builderVerb     = regexp.MustCompile(`(?m)^func \(m \*\w+\) To(\w+)RequestInformation\(`)
	requestOf       = regexp.MustCompile(`NewRequestInformationWithMethodAndUrlTemplateAndPathParameters\(\w+\.([A-Z]+), (?:m\.BaseRequestBuilder\.UrlTemplate|"([^"]*)"),`)
	hashedName      = regexp.MustCompile(`^[0-9a-f]{64}\.go$`)
	templateName    = regexp.MustCompile(`\{[^{}]*\}`)
)

// extractMicrosoft reads the request builders of a directory. Those whose names
// are long are in files named by a hash.
func extractMicrosoft(dir string) ([]api, error) {
	a := api{name: "graph/" + graphVersion, host: graphHost, revision: graphVersion}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !isBuilderFile(entry.Name()) {
			return err
		}
		source, err := os.ReadFile(path) //nolint:gosec // a file of the module
		if err != nil {
			return err
		}
		if hashedName.MatchString(entry.Name()) && !builderTemplate.Match(source) {
			return nil // the parameters of another
		}
		methods, err := readBuilder(string(source))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for i := range methods {
			methods[i].API = a.name
		}
		a.methods = append(a.methods, methods...)
		return nil
	})
	if err == nil && len(a.methods) == 0 {
		err = errors.New("there are no request builders")
	}
	return []api{a}, err
}

// isBuilderFile reports whether a file has the name of a request builder, or a
// hash for its name.
func isBuilderFile(name string) bool {
	return strings.HasSuffix(name, "_request_builder.go") || hashedName.MatchString(name)
}

// readBuilder reads the source of one request builder: the template that its
// requests have, unless one brings its own.
func readBuilder(source string) ([]published.Method, error) {
	source = telling(source)
	templates := builderTemplate.FindAllStringSubmatch(source, -1)
	if len(templates) != 1 {
		return nil, fmt.Errorf("it has %d templates", len(templates))
	}
	verbs := builderVerb.FindAllStringSubmatch(source, -1)
	requests := requestOf.FindAllStringSubmatch(source, -1)
	if len(verbs) != len(requests) {
		return nil, fmt.Errorf("it has %d methods and %d requests", len(verbs), len(requests))
	}
	var methods []published.Method
	for i, request := range requests {
		verb, template := request[1], request[2]
		if verb != strings.ToUpper(verbs[i][1]) {
			return nil, fmt.Errorf("To%sRequestInformation makes a %s", verbs[i][1], verb)
		}
		if template == "" {
			template = templates[0][1]
		}
		path, err := templatePath(template)
		if err != nil {
			return nil, err
		}
		methods = append(methods, published.Method{Verb: verb, Host: graphHost, Path: path})
	}
	return methods, nil
}

// telling are the lines that the expressions above may match, which are few.
func telling(source string) string {
	var b strings.Builder
	for line := range strings.Lines(source) {
		if strings.Contains(line, "RequestInformation") || strings.Contains(line, "NewBaseRequestBuilder(") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// templatePath is the path of a URL template (RFC 6570), with names as Microsoft
// writes them: they are escaped in the template, "{user%2Did}".
func templatePath(template string) (string, error) {
	path, ok := strings.CutPrefix(template, "{+baseurl}")
	path, _, _ = strings.Cut(path, "{?")
	path, _, _ = strings.Cut(path, "?")
	if !ok || path != "" && path[0] != '/' {
		return "", fmt.Errorf("%q is no template of a path", template)
	}
	var bad error
	path = templateName.ReplaceAllStringFunc(path, func(name string) string {
		plain, err := url.PathUnescape(name)
		if err != nil || strings.Trim(plain[1:len(plain)-1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			bad = fmt.Errorf("%q has a name that is none: %q", template, name)
		}
		return plain
	})
	return "/" + graphVersion + path, bad
}
