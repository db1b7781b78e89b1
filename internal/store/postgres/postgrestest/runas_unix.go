//go:build unix

package postgrestest

import (
	"os/exec"
	"syscall"
)

// runAs makes a program run as somebody else.
func runAs(cmd *exec.Cmd, uid, gid int) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}} //nolint:gosec // they are of the user database
}
