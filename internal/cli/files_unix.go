//go:build linux || darwin || freebsd

package cli

import "syscall"

// keepsModes says that files have modes here.
const keepsModes = true

// keepFilesPrivate lets nobody else read what the program writes: databases,
// exports, files of secrets.
func keepFilesPrivate() { syscall.Umask(0o077) }

// freeBytes is what an account that is not root can still write to the disk of a
// folder.
func freeBytes(folder string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}
