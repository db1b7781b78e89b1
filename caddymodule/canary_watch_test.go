package caddymodule

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// canaryMode has every test of this package watched: whatever Bellhop it starts
// logs all that it can, and when the test ends no secret that the test knows may
// stand in the logs, in the directory of that Bellhop, in an error that it answered,
// or in what a command said. `make canary` sets it.
const canaryMode = "BELLHOP_CANARY"

// canaryLogs is the directory that a command's process is to log to.
const canaryLogs = "BELLHOP_TEST_CANARY_LOGS"

// unwatched are the tests that put secrets where they do not belong, and why.
var unwatched = map[string]string{
	"TestSecretsStandNowhereAndPlantedOnesAreFound": "plants leaks, and looks for them itself",
	"TestWatchFindsWhatATestLeaks":                  "plants leaks, and looks for them itself",
}

// excuse is a kind of secret that stands in the logs of a test's Bellhop because
// Caddy logs a request before any module of Bellhop's sees it, or where none does.
type excuse struct{ kind, because string }

const (
	adminLogs  = "Caddy's admin endpoint logs its requests first"
	underscore = "Caddy logs fields with underscores, and takes them off before modules see them"
	elsewhere  = "requests end in Caddy that are for no site, or that a matcher keeps from Bellhop"
)

// excused are the only such tests.
var excused = map[string]excuse{
	"TestAdminEndpointOnTCPNeedsAnAdminKey":           {"key", adminLogs},
	"TestHandlesAreTheCredential":                     {"handle", adminLogs},
	"TestKeysLiveThroughTheManagementAPI":             {"key", adminLogs},
	"TestAmbiguousRequestsReachTheAPINeverOrAsJudged": {"key", underscore},
	"TestAmbiguousTargetsNeverArrive":                 {"key", elsewhere},
	"TestOddPseudoFieldsReachTheAPINeverOrAsJudged":   {"key", elsewhere},
	"TestLinksKeepWhatAnEarlierHandlerTookOffThePath": {"handle", "Caddy's rewrite logs URLs at DEBUG"},
}

// onPages are the secrets that a page may have for the browser that it is for.
var onPages = []string{"link", "state", "cookie", "undo", "confirm"}

// unasked are the commands that print a secret because they are asked for it.
var unasked = []string{"token", "curl", "key add", "key new"}

// watch is what a test is searched for. A nil watch watches nothing.
type watch struct {
	t   *testing.T
	dir string // of the logs

	mu       sync.Mutex
	canaries []canary
	sinks    sinks
}

// watched is the watch of the test that runs: none of this package runs beside
// another.
var watched atomic.Pointer[watch]

// watching begins to watch a test, or goes on with that of the test around it.
func watching(t *testing.T) *watch {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	if os.Getenv(canaryMode) == "" || unwatched[name] != "" {
		return nil
	}
	if w := watched.Load(); w != nil {
		return w
	}
	w := newWatch(t)
	watched.Store(w)
	t.Cleanup(func() {
		watched.Store(nil)
		for name, where := range w.find() {
			t.Errorf("canary: the %s stands in %v", name, where)
		}
	})
	return w
}

// isExcused reports whether a secret may stand in a sink.
func (w *watch) isExcused(name, sink string) bool {
	kind, _, _ := strings.Cut(name, " ")
	test, _, _ := strings.Cut(w.t.Name(), "/")
	return sink == errorPages && slices.Contains(onPages, kind) || strings.HasSuffix(sink, ".log") && excused[test].kind == kind
}

func newWatch(t *testing.T) *watch {
	w := &watch{t: t, dir: t.TempDir()}
	w.sinks = sinks{text: make(map[string][]byte), dirs: []string{w.dir}}
	w.canaries = []canary{ // how the fake provider's begin
		{"access token", "ya29.fake-"}, {"refresh token", "1//fake-"}, {"code of Google", "4/0fake-"}, {"client secret", "bellhop-secret"},
	}
	return w
}

// find looks for everything everywhere.
func (w *watch) find() map[string][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.sinks.find(w.t, w.canaries)
	for name, where := range found {
		found[name] = slices.DeleteFunc(where, func(sink string) bool { return w.isExcused(name, sink) })
	}
	maps.DeleteFunc(found, func(_ string, where []string) bool { return len(where) == 0 })
	return found
}

// hides remembers a secret.
func (w *watch) hides(name, value string) {
	if w == nil || len(value) < 16 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.ContainsFunc(w.canaries, func(c canary) bool { return c.value == value }) {
		w.canaries = append(w.canaries, canary{name + " " + strconv.Itoa(len(w.canaries)), value})
	}
}

// ends sweeps the directory of a Bellhop that has stopped, and which may be gone
// by the end of the test.
func (w *watch) ends(t *testing.T, dir string) {
	if w == nil {
		return
	}
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	left := sinks{dirs: []string{dir}, spare: []string{filepath.Join(dir, "keyset.json"), filepath.Join(dir, "Caddyfile")}}
	for name, where := range left.find(t, w.canaries) {
		t.Errorf("canary: the %s stands in %v", name, where)
	}
}

// provides looks whether a key has reached the provider's APIs.
func (w *watch) provides(t *testing.T, p providerProcess) {
	if w == nil {
		return
	}
	t.Cleanup(func() {
		stats, err := p.Stats(context.WithoutCancel(t.Context()))
		if err == nil && stats.LeakedKeys > 0 {
			t.Errorf("canary: %d requests with a key of Bellhop's reached an API", stats.LeakedKeys)
		}
	})
}

var (
	keyPattern       = regexp.MustCompile(`bh_[0-9A-Za-z]{43}`)
	reconnectPattern = regexp.MustCompile(`"reconnectUrl":"[^"]*"`)
)

// The sinks of what was answered.
const errorAnswers, errorPages = "error answers", "error pages"

// harvested is how much of an answer is read for secrets.
const harvested = 64 << 10

// answered learns the secrets of an answer, and keeps an error of ours. The link
// of one is there for whoever may make links.
func (w *watch) answered(r reply) {
	if w == nil {
		return
	}
	body := r.body[:min(len(r.body), harvested)]
	if r.header.Get("Bellhop-Error") != "" {
		w.mu.Lock()
		defer w.mu.Unlock()
		sink := errorAnswers
		if strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
			sink = errorPages
		}
		w.sinks.remember(sink, reply{r.status, r.header, reconnectPattern.ReplaceAll(body, nil)})
		return
	}
	for _, key := range keyPattern.FindAllString(string(body), -1) {
		w.hides("key", key)
	}
	for _, handle := range handlePattern.FindAllStringSubmatch(r.header.Get("Location")+string(body), -1) {
		w.hides("handle", handle[1])
	}
}

// said keeps what a command printed, but for one that was asked for a secret.
func (w *watch) said(args []string, text string) {
	if w == nil || slices.ContainsFunc(unasked, func(command string) bool { return strings.HasPrefix(strings.Join(args, " "), command) }) {
		for _, key := range keyPattern.FindAllString(text, -1) {
			w.hides("key", key)
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sinks.text["commands"] = append(w.sinks.text["commands"], text+"\n"...)
}

// environment is what the process of a command is to have beside its own.
func (w *watch) environment() []string {
	if w == nil {
		return nil
	}
	return []string{canaryLogs + "=" + w.dir}
}

// listens has a configuration log everything, and tell of every event.
func (w *watch) listens(config []byte) ([]byte, error) {
	if w == nil {
		return config, nil
	}
	return loggingAll(config, w.dir, "here")
}

// loggingAll adds to a configuration what logs: the default logger, to which alone
// Caddy's admin endpoint speaks, unless the configuration has one, in JSON; all
// others in the other format; and access logs of every server.
func loggingAll(config []byte, dir, name string) ([]byte, error) {
	var root map[string]any
	if err := json.Unmarshal(config, &root); err != nil {
		return nil, err
	}
	to := func(file, format string) map[string]any {
		return map[string]any{
			"level": "DEBUG", "encoder": map[string]any{"format": format},
			"writer": map[string]any{"output": "file", "filename": filepath.Join(dir, name+file), "roll": false},
		}
	}
	logs := nested(root, "logging", "logs")
	if logs["default"] == nil {
		logs["default"] = to(".json.log", "json")
	}
	logs["canary"] = to(".console.log", "console")
	events := nested(root, "apps", "events")
	subscriptions, _ := events["subscriptions"].([]any)
	events["subscriptions"] = append(subscriptions, map[string]any{"handlers": []any{map[string]any{"handler": "write"}}})
	for _, server := range nested(root, "apps", "http", "servers") {
		if server := server.(map[string]any); server["logs"] == nil {
			server["logs"] = map[string]any{}
		}
	}
	return json.Marshal(root)
}

// nested is the object at a path, made where there is none.
func nested(object map[string]any, path ...string) map[string]any {
	for _, name := range path {
		inner, ok := object[name].(map[string]any)
		if !ok {
			inner = make(map[string]any)
			object[name] = inner
		}
		object = inner
	}
	return object
}

func init() { caddyconfig.RegisterAdapter("canary", canaryAdapter{}) }

// canaryAdapter is the Caddyfile's, for a process that is to log everything.
type canaryAdapter struct{}

func (canaryAdapter) Adapt(text []byte, options map[string]any) ([]byte, []caddyconfig.Warning, error) {
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, options)
	if err == nil {
		config, err = loggingAll(config, os.Getenv(canaryLogs), strconv.Itoa(os.Getpid()))
	}
	return config, warnings, err
}

// listenAsCommand has `run` use that adapter in the process of a watched test.
func listenAsCommand() {
	if os.Getenv(canaryLogs) == "" || len(os.Args) < 2 || os.Args[1] != "run" {
		return
	}
	if i := slices.Index(os.Args, "--adapter"); i > 0 {
		os.Args = slices.Delete(os.Args, i, min(i+2, len(os.Args)))
	}
	os.Args = append(os.Args, "--adapter", "canary")
}
