package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const folderPrefix = "cardea-postgres-"

// makeFolder makes a folder for a cluster, closed to other users, and locks it for
// as long as this process lives.
func makeFolder(durable bool) (string, error) {
	parent := parentFolder(durable)
	sweep(parent)
	dir, err := os.MkdirTemp(parent, folderPrefix)
	if err != nil {
		return "", err
	}
	if !lockFolder(dir) {
		return "", errors.Join(fmt.Errorf("lock %s", dir), os.RemoveAll(dir))
	}
	return dir, nil
}

// parentFolder is the system's folder for temporary files or, where durability is
// not asked for, one in memory if the system has it with room to spare. That makes
// databases come and go ten times faster: ext4 hesitates for seconds to use a file
// number again, and each PostgreSQL database has hundreds of files.
func parentFolder(durable bool) string {
	const memory, room = "/dev/shm", 4 << 30
	var fs syscall.Statfs_t
	if durable || syscall.Statfs(memory, &fs) != nil || uint64(fs.Bavail)*uint64(fs.Bsize) < room {
		return os.TempDir()
	}
	return memory
}

// sweep removes what keepers left behind in parent that were killed with all they
// had started. A folder that is not ours, or still in use, stays.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, folderPrefix+"*")) // the only error is a bad pattern
	for _, dir := range dirs {
		// A young folder's owner may be about to lock it.
		if info, err := os.Lstat(dir); err != nil || time.Since(info.ModTime()) < time.Hour {
			continue
		}
		if lockFolder(dir) {
			os.RemoveAll(dir) // fails on another user's, rightly
		}
	}
}

// lockFolder takes the lock on dir, unless somebody has it. The end of the process
// gives it back.
func lockFolder(dir string) bool {
	fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	return err == nil && syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
