//go:build !unix

package postgrestest

import "os/exec"

// runAs does nothing where there is no root to avoid.
func runAs(*exec.Cmd, int, int) {}
