package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// figure is one measured value and its target.
type figure struct {
	name   string
	value  float64
	unit   string
	target float64
	// least is whether the target is the least that is good, not the most.
	least bool
	// detail says what the value was made of.
	detail string
	// machine is whether the target is out of reach on a machine where plain
	// Caddy misses it too: then missing it is told and no more.
	machine bool
}

// met reports whether the figure meets its target.
func (f figure) met() bool {
	if f.least {
		return f.value >= f.target
	}
	return f.value <= f.target
}

// halfMet reports whether it misses its target by no more than a factor of two.
func (f figure) halfMet() bool {
	if f.machine {
		return true
	}
	if f.least {
		return f.value >= f.target/2
	}
	return f.value <= f.target*2
}

// report collects figures.
type report struct{ figures []figure }

func (r *report) add(f figure) { r.figures = append(r.figures, f) }

// pair adds the ratios of Bellhop to what it is compared with.
func (r *report) pair(name string, ours, theirs *result, proxied bool) {
	rate := figure{
		name: name + ": requests/s", value: ours.rateRatio(theirs), unit: "x", target: 0.7, least: true,
		detail: fmt.Sprintf("%.0f / %.0f", ours.perSecond(), theirs.perSecond()),
	}
	if !proxied {
		r.add(rate)
		return
	}
	rate.target = 0.95
	r.add(rate)
	if theirs.cpu > 0 {
		r.add(figure{
			name: name + ": CPU per call", value: float64(ours.cpuPerCall()) / float64(theirs.cpuPerCall()), unit: "x", target: 1.10,
			detail: fmt.Sprintf("%v / %v", ours.cpuPerCall().Round(time.Microsecond), theirs.cpuPerCall().Round(time.Microsecond)),
		})
	}
	oursP99, theirsP99 := ours.percentile(0.99), theirs.percentile(0.99)
	r.add(figure{
		name: name + ": p99", value: float64(oursP99) / float64(theirsP99), unit: "x", target: 1.1,
		detail: fmt.Sprintf("%v / %v", oursP99.Round(time.Microsecond), theirsP99.Round(time.Microsecond)),
	})
}

// latency adds what Bellhop adds to a direct call, and what that is beyond what
// reverse_proxy adds: the former depends on the machine more than on Bellhop.
func (r *report) latency(direct, through, plain *result) {
	for _, p := range []struct {
		name         string
		p, milliTops float64
	}{{"p50", 0.50, 0.3}, {"p99", 0.99, 1.5}} {
		with, caddy, without := through.percentile(p.p), plain.percentile(p.p), direct.percentile(p.p)
		r.add(figure{
			name:  fmt.Sprintf("latency added to a direct call at %d/s: %s", pace, p.name),
			value: milliseconds(with - without), unit: " ms", target: p.milliTops,
			machine: milliseconds(caddy-without) > p.milliTops,
			detail:  fmt.Sprintf("%v - %v; reverse_proxy adds %v", with.Round(time.Microsecond), without.Round(time.Microsecond), (caddy - without).Round(time.Microsecond)),
		})
		r.add(figure{
			name:  fmt.Sprintf("latency added to reverse_proxy's at %d/s: %s", pace, p.name),
			value: milliseconds(with - caddy), unit: " ms", target: p.milliTops,
			detail: fmt.Sprintf("%v - %v", with.Round(time.Microsecond), caddy.Round(time.Microsecond)),
		})
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

var benchmarkLine = regexp.MustCompile(`(?m)^BenchmarkToken\S*\s+\d+\s+([\d.]+) ns/op.*?\s(\d+) allocs/op$`)

// measureLookup runs the broker's own benchmark of a lookup that finds a valid
// token.
func measureLookup(ctx context.Context, report *report) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkToken$", "-benchmem", "./internal/broker")
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd, err, output)
	}
	match := benchmarkLine.FindSubmatch(output)
	if match == nil {
		return fmt.Errorf("%v printed no result of BenchmarkToken:\n%s", cmd, output)
	}
	nanoseconds, err := strconv.ParseFloat(string(match[1]), 64)
	if err != nil {
		return err
	}
	allocations, err := strconv.ParseFloat(string(match[2]), 64)
	if err != nil {
		return err
	}
	report.add(figure{name: "lookup of a valid token in the broker", value: nanoseconds, unit: " ns", target: 150})
	report.add(figure{name: "lookup of a valid token in the broker: allocations", value: allocations, target: 0})
	return nil
}

// print writes the figures, and reports whether none misses half its target.
func (r *report) print(w io.Writer) bool {
	good := true
	for _, f := range r.figures {
		bound, verdict := "<=", "ok"
		if f.least {
			bound = ">="
		}
		switch {
		case !f.halfMet():
			verdict, good = "FAILED: beyond half the target", false
		case !f.met():
			verdict = "missed"
		}
		fmt.Fprintf(w, "%-66s %8.2f%-3s  target %s %g%s  %-7s %s\n", f.name, f.value, f.unit, bound, f.target, f.unit, verdict, f.detail)
	}
	return good
}
