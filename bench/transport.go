package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/policy"
)

// way is a way for Bellhop to reach an API, which is a number of sites that the
// callers are dealt out to, each with connections of its own.
type way struct {
	name    string
	version string
	sites   []string // their addresses
}

// load is what callers do.
type load struct {
	name    string
	callers int
	large   string // the path of a large transfer beside them; empty for none
}

var loads = []load{
	{"1 caller", 1, ""},
	{"16 callers", 16, ""},
	{"64 callers", 64, ""},
	{"16 callers, upload", 16, uploadPath},
	{"16 callers, download", 16, downloadPath},
}

const (
	// transportRounds is how often each way bears each load, by turns.
	transportRounds = 5
	// headStart is for a large transfer on a new connection to find its speed
	// before a round begins.
	headStart = 2 * time.Second
)

// transportCaddyfile has sites that differ in their transport alone.
var transportCaddyfile = template.Must(template.New("Caddyfile").Parse(`{
	admin unix/{{.Dir}}/admin.sock|0600
	persist_config off
	auto_https off
	bellhop {
		store badger {{.Dir}}/store
		keyset {{.Dir}}/keyset.json
		audit off
		provider bench oauth2 {
			token_endpoint {{(index .APIs 0).Token}}
			client_id bench
			client_secret {file.{{.Dir}}/secret}
			scopes bench
			{{- range $i, $_ := .APIs}}
			api_host {{$.Host $i}}
			{{- end}}
		}
		key caller {
			hash {{.Hash}}
			account {{.Account}}
		}
	}
}
{{- range $way := .Ways}}
{{- range .Sites}}
http://{{.}} {
	bind 127.0.0.1
	bellhop {
		proxy {
			{{- range $i, $api := $.APIs}}
			upstream {{$.Host $i}} https://{{$api.API}}
			{{- end}}
			transport http {
				versions {{$way.Version}}
				keepalive_idle_conns_per_host 256
				tls_trust_pool file{{range $.APIs}} {{.CA}}{{end}}
			}
		}
	}
}
{{- end}}
{{- end}}
`))

// transports compares ways to reach an API.
type transports struct {
	process

	Dir, Account, Hash string
	APIs               []*apiProcess

	key      string
	networks []string // by API
	ways     []*way
	// outcomes are those of each network, load and way.
	outcomes map[cell]*outcome
}

// cell is a place in the table.
type cell struct{ network, load, way int }

// outcome is what one way came to under one load.
type outcome struct {
	result
	p99s     []time.Duration // of each round
	large    []float64       // megabytes a second of each round
	accepted int64           // connections that the API accepted
}

// Ways are for the template.
func (t *transports) Ways() []map[string]any {
	ways := make([]map[string]any, len(t.ways))
	for i, w := range t.ways {
		ways[i] = map[string]any{"Version": w.version, "Sites": w.sites}
	}
	return ways
}

// Host is the name of the API at the far end of a network. The certificates are
// for the parent of all.
func (*transports) Host(network int) string { return "n" + strconv.Itoa(network) + "." + apiHost }

// measureTransports prints how small calls fare, by themselves and beside a
// large one, over one HTTP/2 connection, over several, and over HTTP/1.1.
func measureTransports(ctx context.Context, binary string, total time.Duration, out io.Writer) (err error) {
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bellhop-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t, err := newTransports(ctx, binary, dir)
	if err != nil {
		return err
	}
	defer t.stop()
	round := total / time.Duration(len(t.networks)*len(loads)*len(t.ways)*(transportRounds+1))
	for network := range t.networks {
		for load := range loads {
			if err := t.compare(ctx, network, load, round); err != nil {
				return fmt.Errorf("%s, %s: %w", t.networks[network], loads[load].name, err)
			}
		}
	}
	return t.print(out)
}

// newTransports starts the APIs and the binary.
func newTransports(ctx context.Context, binary, dir string) (t *transports, err error) {
	plain, hash := policy.NewKey()
	t = &transports{
		Dir: filepath.Join(dir, "bellhop"), Account: account, Hash: policy.FormatHash(hash), key: plain.Reveal(),
		ways: []*way{
			{"HTTP/2, 1 connection", "2", make([]string, 1)},
			{"HTTP/2, 4 connections", "2", make([]string, 4)},
			{"HTTP/1.1", "1.1", make([]string, 1)},
		},
		outcomes: make(map[cell]*outcome),
	}
	defer func() {
		if err != nil {
			t.stop()
		}
	}()
	for i, n := range append([]*network{nil}, farNetworks()...) {
		apiDir := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(apiDir, 0o700); err != nil {
			return nil, err
		}
		api, err := startAPI(ctx, apiDir, n)
		if err != nil {
			return nil, fmt.Errorf("starting an API: %w", err)
		}
		t.APIs = append(t.APIs, api)
		name := "loopback"
		if n != nil {
			name = n.name
		}
		t.networks = append(t.networks, name)
	}
	var addresses []*string
	for _, w := range t.ways {
		for i := range w.sites {
			addresses = append(addresses, &w.sites[i])
		}
	}
	if err := freeAddresses(ctx, addresses...); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := transportCaddyfile.Execute(&text, t); err != nil {
		return nil, err
	}
	var targets []target
	for _, w := range t.ways {
		for network := range t.networks {
			targets = append(targets, t.targets(w, network, "/messages")...)
		}
	}
	t.process, err = launch(ctx, binary, t.Dir, text.Bytes(), []string{account}, targets...)
	return t, err
}

func (t *transports) stop() {
	if t.cmd != nil {
		t.process.stop()
	}
	for _, api := range t.APIs {
		api.stop()
	}
}

// targets are a path of an API at each site of a way.
func (t *transports) targets(w *way, network int, path string) []target {
	targets := make([]target, len(w.sites))
	for i, site := range w.sites {
		targets[i] = target{address: site, path: "/proxy/" + account + "/" + t.Host(network) + path, key: t.key}
	}
	return targets
}

// compare has all ways bear a load, by turns. The first round only warms up.
func (t *transports) compare(ctx context.Context, network, load int, round time.Duration) error {
	order := make([]int, len(t.ways))
	for i := range order {
		order[i] = i
		t.outcomes[cell{network, load, i}] = new(outcome)
	}
	for i := range transportRounds + 1 {
		slices.Reverse(order)
		for _, way := range order {
			o := t.outcomes[cell{network, load, way}]
			if i == 0 {
				o = new(outcome)
			}
			if err := t.bear(ctx, t.ways[way], network, loads[load], round, o); err != nil {
				return fmt.Errorf("%s: %w", t.ways[way].name, err)
			}
		}
	}
	return nil
}

// bear adds one round to an outcome.
func (t *transports) bear(ctx context.Context, w *way, network int, l load, round time.Duration, o *outcome) error {
	var (
		wg         sync.WaitGroup
		downloaded atomic.Int64
		failed     error
	)
	during, stop := context.WithCancel(ctx)
	defer stop()
	if l.large != "" {
		wg.Go(func() { failed = transfer(during, t.targets(w, network, l.large)[0], &downloaded) })
		time.Sleep(headStart)
	}
	before, err := t.seen(ctx, w, network)
	if err != nil {
		return err
	}
	begin, transferred := time.Now(), -downloaded.Load()
	got, err := saturate(ctx, t.process, t.targets(w, network, "/messages"), l.callers, round)
	if err != nil {
		return err
	}
	after, err := t.seen(ctx, w, network) // which may take long, beside an upload
	took := time.Since(begin)
	transferred += downloaded.Load()
	stop()
	wg.Wait()
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if l.large == uploadPath {
		transferred = after.Received - before.Received // what has come, not what waits on the way
	}
	o.calls += got.calls
	o.elapsed += got.elapsed
	o.cpu += got.cpu
	o.latencies = append(o.latencies, got.latencies...)
	o.rates = append(o.rates, got.perSecond())
	o.p99s = append(o.p99s, got.percentile(0.99))
	o.large = append(o.large, float64(transferred)/1e6/took.Seconds())
	o.accepted += after.Accepted - before.Accepted
	return nil
}

// transfer uploads or downloads large files, one behind the other, until the
// context ends, and counts what it downloads.
func transfer(ctx context.Context, t target, downloaded *atomic.Int64) error {
	client := &http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	for {
		request, err := t.newRequest(ctx)
		if err != nil {
			return err
		}
		if strings.HasSuffix(t.path, uploadPath) {
			request.Method, request.ContentLength = http.MethodPost, largeSize
			request.Body = io.NopCloser(io.LimitReader(zeros{}, largeSize))
		}
		response, err := client.Do(request)
		if err == nil {
			_, err = io.Copy(counter{downloaded}, response.Body)
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: status %d", t.path, response.StatusCode)
			}
		}
		if ctx.Err() != nil {
			return nil // so was it meant
		}
		if err != nil {
			return fmt.Errorf("%s broke off: %w", t.path, err)
		}
	}
}

// counter counts what is written to it.
type counter struct{ n *atomic.Int64 }

// Write implements [io.Writer].
func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// seen asks the API what it has seen, on the connection that small calls take.
func (t *transports) seen(ctx context.Context, w *way, network int) (s seen, err error) {
	request, err := t.targets(w, network, seenPath)[0].newRequest(ctx)
	if err != nil {
		return s, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	return s, json.NewDecoder(response.Body).Decode(&s)
}

// print writes the table and what follows from it. Ratios are to the first way,
// the medians of rounds that followed each other.
func (t *transports) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "network\tload\ttransport\tcalls/s\tp50\tp99\tCPU s/1000\tlarge MB/s\tconns\tx calls/s\tx p99\tx CPU\tx large")
	for network, name := range t.networks {
		for load, l := range loads {
			first := t.outcomes[cell{network, load, 0}]
			for i, way := range t.ways {
				o := t.outcomes[cell{network, load, i}]
				fmt.Fprintf(w, "%s\t%s\t%s\t%.0f\t%v\t%v\t%.3f\t%.1f\t%d\t%.2f\t%.2f\t%.2f\t%.2f\n",
					name, l.name, way.name, o.perSecond(),
					o.percentile(0.5).Round(10*time.Microsecond), o.percentile(0.99).Round(10*time.Microsecond),
					o.cpuPerCall().Seconds()*1000, median(o.large), o.accepted,
					medianRatio(o.rates, first.rates), medianRatio(o.p99s, first.p99s),
					float64(o.cpuPerCall())/float64(first.cpuPerCall()), medianRatio(o.large, first.large))
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(t.networks) == 1 {
		fmt.Fprintln(out, "\nfar networks were left out: they need Linux, user namespaces and /dev/net/tun")
	}
	return t.conclude(out)
}

// leastShare is how much of the best way's small calls a default must serve
// where nothing large stands beside them.
const leastShare = 0.9

// conclude names the way that should be the default: the one where large
// transfers hurt small calls least, among those that serve enough small calls by
// themselves.
func (t *transports) conclude(out io.Writer) error {
	chosen, least := "", math.Inf(1)
	fmt.Fprintln(out)
	for i, way := range t.ways {
		var alone, beside, large []float64
		for c, o := range t.outcomes {
			if first := t.outcomes[cell{c.network, c.load, 0}]; c.way == i {
				if loads[c.load].large == "" {
					alone = append(alone, medianRatio(o.rates, first.rates))
				} else {
					beside = append(beside, medianRatio(o.p99s, first.p99s))
					large = append(large, medianRatio(o.large, first.large))
				}
			}
		}
		fmt.Fprintf(out, "%-22s small calls alone x %.2f; beside a large one: their p99 x %.2f, the large one's speed x %.2f\n",
			way.name, mean(alone), mean(beside), mean(large))
		if p99 := mean(beside); mean(alone) >= leastShare && p99 < least {
			chosen, least = way.name, p99
		}
	}
	_, err := fmt.Fprintf(out, "default: %s (least p99 beside a large transfer, with at least %g of the small calls)\n", chosen, leastShare)
	return err
}

// mean is the geometric one, since it is of ratios.
func mean(ratios []float64) float64 {
	sum := 0.0
	for _, r := range ratios {
		sum += math.Log(r)
	}
	return math.Exp(sum / float64(len(ratios)))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// medianRatio is the median of the ratios of values that belong together, and 1
// where there is nothing to compare.
func medianRatio[T time.Duration | float64](of, to []T) float64 {
	ratios := make([]float64, len(of))
	for i := range ratios {
		if ratios[i] = 1; to[i] != 0 {
			ratios[i] = float64(of[i]) / float64(to[i])
		}
	}
	return median(ratios)
}
