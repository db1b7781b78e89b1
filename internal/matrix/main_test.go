package matrix

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var (
	bellhop  = flag.String("matrix.bellhop", "", "the bellhop `file` to run; without it the tests are skipped")
	goRecipe = flag.String("matrix.go", "", "the Go recipe, built: an absolute `file`")
	output   = flag.String("matrix.table", "", "a `file` for the table")
	update   = flag.Bool("matrix.update", false, "write the table to docs/sdk.md")
)

// inNamespace tells a process that it is the one in the namespace.
const inNamespace = "BELLHOP_MATRIX_NAMESPACE"

func TestMain(m *testing.M) {
	flag.Parse()
	if *bellhop == "" {
		os.Exit(m.Run())
	}
	if dir, ok := os.LookupEnv(inNamespace); ok {
		if err := furnishNamespace(dir); err != nil {
			fmt.Fprintln(os.Stderr, "furnishing the network namespace:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "bellhop-matrix-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code, err := runInNamespace(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "the matrix needs a network namespace of its own, which root may make, and others where the kernel lets them:", err)
		code = 1
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}
