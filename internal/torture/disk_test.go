package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store/badger"
)

// disk is a small file system that can be filled.
type disk struct{ dir string }

// diskSize leaves a store room for its files and its reserve.
const diskSize = badger.DefaultReserve + 128<<20

// mountDisk puts a file system of its own at dir; nil where that is not
// allowed.
func mountDisk(t *testing.T, dir string) *disk {
	t.Helper()
	if syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", diskSize)) != nil {
		return nil
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return &disk{dir}
}

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill leaves free bytes.
func (d *disk) fill(free int64) (err error) {
	file, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &stat); err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for left := int64(stat.Bavail)*stat.Bsize - free; left > 0; left -= int64(len(block)) {
		if _, err := file.Write(block[:min(left, int64(len(block)))]); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) clear() error { return os.Remove(d.ballast()) }

// fillDisk leaves less room than the reserve for a while: the process must
// live and spend no refresh token.
func (l *lane) fillDisk(ctx context.Context) error {
	if l.disk == nil {
		return nil
	}
	l.report.upset("disk nearly full")
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l.expectTrouble()
	if err := l.disk.fill(badger.DefaultReserve / 2); err != nil {
		return errors.Join(err, l.disk.clear())
	}
	// What the process knows of its room may be a second old, and what it has
	// begun it may finish.
	sleep(ctx, time.Second+requestTimeout)
	spent := l.wire.spent()
	id := l.pick(l.rng)
	for l.wire.spent() == spent {
		_, a, err := l.call(ctx, id, time.Hour)
		if err != nil {
			l.wrong(id, "with a disk nearly full: %v\n%s", err, l.running().lastWords())
			break
		}
		if a.code == "StoreUnavailable" {
			break
		}
		sleep(ctx, 50*time.Millisecond)
	}
	if l.wire.spent() != spent {
		l.wrong(id, "a token request was sent though its answer might not be saved")
	}
	if err := l.disk.clear(); err != nil {
		return err
	}
	return l.recover(ctx, false)
}
