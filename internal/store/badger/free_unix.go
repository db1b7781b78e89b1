//go:build linux || darwin || freebsd

package badger

import "golang.org/x/sys/unix"

// freeBytes is what the file system of dir has left for ordinary users.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	// FreeBSD counts below zero once only the superuser may write.
	return uint64(max(0, int64(st.Bavail))) * uint64(st.Bsize), nil //nolint:gosec // a count below zero is the reason for the conversion
}
