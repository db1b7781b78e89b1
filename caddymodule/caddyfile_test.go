package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/google/go-cmp/cmp"

	_ "github.com/caddyserver/caddy/v2/modules/standard" // respond, tls and what else the golden files use
)

var update = flag.Bool("update", false, "write what adapting gives to testdata/adapt")

// separator stands between a golden file's Caddyfile and what it adapts to.
const separator = "----------\n"

// adapt turns a Caddyfile into JSON, printed with tabs, or an error.
func adapt(caddyfile string) (string, error) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	config, _, err := adapter.Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, config, "", "\t"); err != nil {
		return "", err
	}
	return pretty.String(), nil
}

// goldens returns the golden files' Caddyfiles and expectations by name.
func goldens(t *testing.T) map[string][2]string {
	t.Helper()
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("listing golden files: %d found, error %v", len(files), err)
	}
	all := make(map[string][2]string, len(files))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		caddyfile, want, found := strings.Cut(string(content), separator)
		if !found {
			t.Fatalf("%s has no line of ten dashes", file)
		}
		all[file] = [2]string{caddyfile, strings.TrimSpace(want)}
	}
	return all
}

func TestCaddyfileAdapts(t *testing.T) {
	for file, golden := range goldens(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			got, err := adapt(golden[0])
			if err != nil {
				got = err.Error()
			}
			if *update {
				if err := os.WriteFile(file, []byte(golden[0]+separator+got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(golden[1], got); diff != "" {
				t.Errorf("adapted (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCaddyfileErrorsAreOneLineWithFileAndLine(t *testing.T) {
	for file, golden := range goldens(t) {
		_, err := adapt(golden[0])
		if err == nil {
			continue
		}
		if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "at Caddyfile:") {
			t.Errorf("%s: error is not one line with a position: %v", file, err)
		}
	}
}

// parts returns the JSON of the app and of the handlers in an adapted
// configuration.
func parts(t *testing.T, config string) (app json.RawMessage, handlers []json.RawMessage) {
	t.Helper()
	var decoded struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal([]byte(config), &decoded); err != nil {
		t.Fatal(err)
	}
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case []any:
			for _, child := range node {
				walk(child)
			}
		case map[string]any:
			if node["handler"] == "bellhop" {
				delete(node, "handler") // Caddy takes the inline key out too
				raw, err := json.Marshal(node)
				if err != nil {
					t.Fatal(err)
				}
				handlers = append(handlers, raw)
				return
			}
			for _, child := range node {
				walk(child)
			}
		}
	}
	if raw, found := decoded.Apps["http"]; found {
		var http any
		if err := json.Unmarshal(raw, &http); err != nil {
			t.Fatal(err)
		}
		walk(http)
	}
	return decoded.Apps["bellhop"], handlers
}

// roundTrip decodes JSON as strictly as Caddy does, and encodes it again.
func roundTrip(t *testing.T, raw json.RawMessage, into interface{ validate() error }) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("decoding %s: %v", raw, err)
	}
	if err := into.validate(); err != nil {
		t.Errorf("judging what the Caddyfile parser accepted: %v", err)
	}
	again, err := json.Marshal(into)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(again, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON after decoding and encoding (-want +got):\n%s", diff)
	}
}

func TestAdaptedJSONDecodesStrictly(t *testing.T) {
	var apps, handlers int
	for file, golden := range goldens(t) {
		config, err := adapt(golden[0])
		if err != nil {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			appRaw, handlersRaw := parts(t, config)
			if appRaw != nil {
				apps++
				roundTrip(t, appRaw, new(App))
			}
			for _, raw := range handlersRaw {
				handlers++
				roundTrip(t, raw, new(Handler))
			}
		})
	}
	if apps < 10 || handlers < 10 {
		t.Errorf("golden files cover %d apps and %d handlers, want at least 10 of each", apps, handlers)
	}
}

func TestAdaptedConfigurationShowsNoExpandedSecret(t *testing.T) {
	secrets := map[string]string{
		"GOOGLE_CLIENT_ID": "canary-1", "GOOGLE_CLIENT_SECRET": "canary-2", "GOOGLE_CLIENT_SECRET_OLD": "canary-3",
		"MS_CLIENT_ID": "canary-4", "MS_CLIENT_SECRET": "canary-5", "MS_APP_ID": "canary-6", "MS_APP_SECRET": "canary-7",
		"EE_TOKEN": "canary-8", "HOOK_SECRET": "canary-9",
	}
	for name, value := range secrets {
		t.Setenv(name, value)
	}
	content, err := os.ReadFile("testdata/adapt/whole.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	caddyfile, _, _ := strings.Cut(string(content), separator)
	config, err := adapt(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(config, "canary-") {
		t.Error("the adapted configuration holds the value of an environment variable")
	}
	for name := range secrets {
		if !strings.Contains(config, "{env."+name+"}") {
			t.Errorf("the placeholder {env.%s} is gone", name)
		}
	}
}
