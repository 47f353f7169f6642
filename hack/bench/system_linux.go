package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes end a subject when the benchmark dies without having stopped it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// dropCache asks the kernel to forget the pages of all files below a folder, which needs no
// rights: they are read from the disk again.
func dropCache(dir string) error {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}

		file, err := os.Open(path) //nolint:gosec // A folder of the benchmark's own.
		if err != nil {
			return fmt.Errorf("opening a file of the journal: %w", err)
		}

		defer func() { _ = file.Close() }()

		// Dirty pages cannot be dropped.
		if err := file.Sync(); err != nil {
			return fmt.Errorf("syncing a file of the journal: %w", err)
		}

		if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			return fmt.Errorf("dropping a file of the journal from the cache: %w", err)
		}

		return nil
	})
	if err != nil {
		return fmt.Errorf("dropping the page cache: %w", err)
	}

	return nil
}
