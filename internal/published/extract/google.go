package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/published"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

const googlePreface = `# The methods of Google's APIs, from the discovery documents of those at the
# hosts that a google provider lists by itself.
#
# api <name>/<version> <host> <revision>
# <verb> <path> <ID> <paths at which it takes media>
#
# A path is servicePath and flatPath. Where flatPath has one segment for what is
# any number of them, it is servicePath and path, with {+name}.
`

// discoveryDocument is what is read of a discovery document.
type discoveryDocument struct {
	Name, Version, Revision, RootURL, ServicePath string
	discoveryResource
}

type discoveryResource struct {
	Methods   map[string]discoveryMethod
	Resources map[string]discoveryResource
}

type discoveryMethod struct {
	ID, HTTPMethod, Path, FlatPath string
	Parameters                     map[string]struct{ Pattern string }
	MediaUpload                    struct {
		Protocols map[string]struct{ Path string }
	}
}

// extractGoogle reads the discovery documents of a directory.
func extractGoogle(dir string) ([]api, error) {
	hosts, err := googleHosts()
	if err != nil {
		return nil, err
	}
	var apis []api
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "-api.json") {
			return err
		}
		a, err := readDiscovery(path, hosts)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if len(a.methods) > 0 {
			apis = append(apis, *a)
		}
		return nil
	})
	return apis, err
}

// googleHosts are those that a provider lists to which nothing was added.
func googleHosts() ([]string, error) {
	p, err := provider.New(provider.Config{
		Name: "google", Type: provider.TypeGoogle, ClientID: "none", ClientSecrets: []secret.String{secret.New("none")},
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("the hosts of a google provider: %w", err)
	}
	return p.Hosts(), nil
}

// rootOf finds a document's host without reading the document.
var rootOf = regexp.MustCompile(`"rootUrl":\s*"https://([^/"]+)/`)

// readDiscovery reads a document, of which nothing is of interest where the host
// is none of those.
func readDiscovery(path string, hosts []string) (*api, error) {
	text, err := os.ReadFile(path) //nolint:gosec // a file of the module
	if err != nil {
		return nil, err
	}
	if root := rootOf.FindSubmatch(text); root != nil && !slices.Contains(hosts, string(root[1])) {
		return new(api), nil
	}
	var d discoveryDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	root, err := url.Parse(d.RootURL)
	if err != nil || !slices.Contains(hosts, root.Host) {
		return nil, fmt.Errorf("its root is %q", d.RootURL)
	}
	a := &api{name: d.Name + "/" + d.Version, host: root.Host, revision: d.Revision}
	return a, a.add(&d, d.discoveryResource)
}

// add adds the methods of a resource and those below it.
func (a *api) add(d *discoveryDocument, r discoveryResource) error {
	for _, name := range slices.Sorted(maps.Keys(r.Methods)) {
		m := r.Methods[name]
		path := m.template()
		if m.ID == "" || m.HTTPMethod == "" || path == "" && d.ServicePath == "" {
			return errors.New("a method has no ID, verb or path")
		}
		method := published.Method{
			API: a.name, ID: m.ID, Verb: m.HTTPMethod, Host: a.host,
			Path: "/" + strings.TrimPrefix(d.ServicePath+path, "/"),
		}
		for _, protocol := range slices.Sorted(maps.Keys(m.MediaUpload.Protocols)) {
			method.Uploads = append(method.Uploads, m.MediaUpload.Protocols[protocol].Path)
		}
		a.methods = append(a.methods, method)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Resources)) {
		if err := a.add(d, r.Resources[name]); err != nil {
			return err
		}
	}
	return nil
}

// reserved is a parameter that may stand for several segments.
var reserved = regexp.MustCompile(`\{\+(\w+)\}`)

// template is the flat path, in which each segment of a resource's name is
// written out, but where the name may have any number of segments.
func (m *discoveryMethod) template() string {
	if m.FlatPath == "" {
		return m.Path
	}
	for _, name := range reserved.FindAllStringSubmatch(m.Path, -1) {
		if pattern := m.Parameters[name[1]].Pattern; pattern == "" || strings.Contains(pattern, ".*") {
			return m.Path
		}
	}
	return m.FlatPath
}
