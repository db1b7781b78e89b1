package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store/postgres/postgrestest"
)

// measureStores compares the token endpoint with both stores. Tokens that are
// valid come from memory, so that it makes little difference which one it is.
func measureStores(ctx context.Context, binary string, total time.Duration, report *report) (err error) {
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bellhop-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // PostgreSQL runs as another user than root
		return err
	}
	database, err := postgrestest.Start(filepath.Join(dir, "postgres"))
	if err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	defer func() { _ = database.Stop() }()
	api, err := startAPI(ctx, dir, nil)
	if err != nil {
		return fmt.Errorf("starting the API: %w", err)
	}
	defer api.stop()

	var servers [2]*server
	for i, store := range []string{"postgres " + database.DSN("postgres"), ""} {
		s, err := startServer(ctx, binary, filepath.Join(dir, fmt.Sprint("server-", i)), store, api, false)
		if err != nil {
			return fmt.Errorf("starting the server: %w", err)
		}
		defer s.stop()
		servers[i] = s
	}
	postgres, badger, err := compare(ctx, servers[0].token(), servers[1].token(), total)
	if err != nil {
		return err
	}
	report.pair("token endpoint with PostgreSQL / with Badger", postgres, badger, bounds{rate: 0.9})
	return nil
}
