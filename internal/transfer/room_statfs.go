//go:build linux || darwin

package transfer

import (
	"fmt"
	"syscall"
)

// freeSpace is how many bytes may still be written in a folder.
func freeSpace(folder string) (int64, error) {
	var at syscall.Statfs_t
	if err := syscall.Statfs(folder, &at); err != nil {
		return 0, fmt.Errorf("look how much room there is: %w", err)
	}
	return int64(at.Bavail) * int64(at.Bsize), nil //nolint:unconvert // the types differ between systems
}
