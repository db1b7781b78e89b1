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
	// told is whether there is no target.
	told bool
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
	if f.machine || f.told {
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

// bounds are what is good of a pair: the least ratio of requests a second, and
// the greatest of CPU per call and of the 99th percentile. Without a bound, the
// figure is told.
type bounds struct{ rate, cpu, p99 float64 }

var (
	proxying  = bounds{0.95, 1.10, 1.1}
	rewriting = bounds{}
)

// pair adds the ratios of Bellhop to what it is compared with.
func (r *report) pair(name string, ours, theirs *result, good bounds) {
	r.rate(name, ours, theirs, good.rate)
	if theirs.cpu > 0 {
		r.add(figure{
			name: name + ": CPU per call", value: float64(ours.cpuPerCall()) / float64(theirs.cpuPerCall()), unit: "x",
			target: good.cpu, told: good.cpu == 0,
			detail: fmt.Sprintf("%v / %v", ours.cpuPerCall().Round(time.Microsecond), theirs.cpuPerCall().Round(time.Microsecond)),
		})
	}
	oursP99, theirsP99 := ours.percentile(0.99), theirs.percentile(0.99)
	r.add(figure{
		name: name + ": p99", value: float64(oursP99) / float64(theirsP99), unit: "x",
		target: good.p99, told: good.p99 == 0,
		detail: fmt.Sprintf("%v / %v", oursP99.Round(time.Microsecond), theirsP99.Round(time.Microsecond)),
	})
}

// rate adds the ratio of requests a second alone.
func (r *report) rate(name string, ours, theirs *result, least float64) {
	r.add(figure{
		name: name + ": requests/s", value: ours.rateRatio(theirs), unit: "x",
		target: least, least: true, told: least == 0,
		detail: fmt.Sprintf("%.0f / %.0f", ours.perSecond(), theirs.perSecond()),
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
		target := fmt.Sprintf("target %s %g%s", bound, f.target, f.unit)
		switch {
		case f.told:
			target, verdict = "no target", ""
		case !f.halfMet():
			verdict, good = "FAILED: beyond half the target", false
		case !f.met():
			verdict = "missed"
		}
		fmt.Fprintf(w, "%-66s %8.2f%-3s  %-16s  %-7s %s\n", f.name, f.value, f.unit, target, verdict, f.detail)
	}
	return good
}
