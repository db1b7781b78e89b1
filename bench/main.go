// Command bench measures Bellhop against plain Caddy in one run on one machine.
//
// It starts an API over TLS and the given binary as processes of their own, and
// calls them by turns, so that what else the machine does meets both alike. One
// process of the binary serves Bellhop and the stock handlers that it is
// compared with, once without any log and once with a line per call. The exit
// status is 1 where a figure misses half of its target.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	binary := flag.String("bellhop", "bin/bellhop", "the `file` to measure")
	total := flag.Duration("time", 2*time.Minute, "how long to put load on it, in all")
	transports := flag.Bool("transport", false, "compare ways to reach an API instead, small calls beside large ones")
	stores := flag.Bool("stores", false, "compare PostgreSQL with the embedded store instead")
	asAPI := flag.String("api", "", "serve as the API, with files in this `directory` (bench starts itself so)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch {
	case *asAPI != "":
		ip, err := arrive(ctx)
		exitOn(err)
		exitOn(serveAPI(ctx, *asAPI, ip))
		return
	case *transports:
		exitOn(isolated(ctx, func() error { return measureTransports(ctx, *binary, *total, os.Stdout) }))
		return
	}
	report, of := new(report), measure
	if *stores {
		of = measureStores
	}
	err := of(ctx, *binary, *total, report)
	good := report.print(os.Stdout)
	exitOn(err)
	if !good {
		os.Exit(1)
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measure fills in the report.
func measure(ctx context.Context, binary string, total time.Duration, report *report) (err error) {
	binary, err = filepath.Abs(binary)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bellhop-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	api, err := startAPI(ctx, dir, nil)
	if err != nil {
		return fmt.Errorf("starting the API: %w", err)
	}
	defer api.stop()

	// Two pairs with each kind of logging, the answers that are rewritten, and
	// the latency: six equal shares.
	share := total / 6
	for _, logging := range []bool{false, true} {
		if err := measureServer(ctx, binary, filepath.Join(dir, fmt.Sprint("logging-", logging)), api, logging, share, report); err != nil {
			return err
		}
	}
	return measureLookup(ctx, report)
}

// measureServer measures one process of the binary.
func measureServer(ctx context.Context, binary, dir string, api *apiProcess, logging bool, share time.Duration, report *report) error {
	s, err := startServer(ctx, binary, dir, "", api, logging)
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	defer s.stop()

	suffix := ", silent"
	if logging {
		suffix = ", a log line per call"
	}
	proxied, plain, err := compare(ctx, s.proxied(), s.reverseProxied(), share)
	if err != nil {
		return fmt.Errorf("proxied calls%s: %w", suffix, err)
	}
	report.pair("proxied call / reverse_proxy"+suffix, proxied, plain, proxying)

	token, static, err := compare(ctx, s.token(), s.respond(), share)
	if err != nil {
		return fmt.Errorf("token endpoint%s: %w", suffix, err)
	}
	report.rate("token endpoint / respond"+suffix, token, static, 0.7)

	if logging {
		return s.checkLogs(token.calls+proxied.calls, static.calls+plain.calls)
	}
	rewritten, passedOn, err := compare(ctx, s.rewritten(), s.passedOn(), share)
	if err != nil {
		return fmt.Errorf("rewritten answers: %w", err)
	}
	report.pair("100 KiB of Graph JSON rewritten / reverse_proxy passing it", rewritten, passedOn, rewriting)

	direct, through, plain, err := paced(ctx, api, s, share)
	if err != nil {
		return fmt.Errorf("calls at %d a second: %w", pace, err)
	}
	report.latency(direct, through, plain)
	return nil
}
