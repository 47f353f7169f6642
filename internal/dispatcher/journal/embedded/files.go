package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// The files in the journal's folder.
const (
	fileFormat  = "FORMAT"
	fileLock    = "LOCK"
	fileBallast = "BALLAST"
	fileTail    = "TAIL"
	fileSeals   = "SEALS"
	dirStore    = "store"
)

// The format stamp: a line that no other program writes, with the version of all below.
const (
	formatPrefix  = "hookline-journal "
	formatVersion = "1"
	maxFormatSize = 64
)

// makeDir makes the folder, and sees to it that it is there after a crash too.
func makeDir(fs vfs.FS, dir string) error {
	var made []string
	for at := dir; ; {
		if _, err := fs.Stat(at); err == nil {
			break
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		made = append(made, at)
		up := fs.PathDir(at)
		if up == at {
			break
		}
		at = up
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, folder := range made {
		if err := syncDir(fs, fs.PathDir(folder)); err != nil {
			return err
		}
	}

	return nil
}

// syncDir makes the entries of a folder durable.
func syncDir(fs vfs.FS, dir string) error {
	folder, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}

	return errors.Join(folder.Sync(), folder.Close())
}

// lockDir keeps every other process out until the lock is closed.
func lockDir(fs vfs.FS, dir string) (io.Closer, error) {
	lock, err := fs.Lock(fs.PathJoin(dir, fileLock))
	if err != nil {
		return nil, fmt.Errorf("another process has the journal in %s open (its lock file cannot be locked: %w): "+
			"stop it, or give this one a folder of its own", dir, err)
	}

	return lock, nil
}

// checkFormat refuses a folder of a format this program does not know, and stamps a new one.
func checkFormat(fs vfs.FS, dir string) error {
	path := fs.PathJoin(dir, fileFormat)
	stamp, err := readStart(fs, path, maxFormatSize)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return stampFormat(fs, dir)
	case err != nil:
		return fmt.Errorf("reading the format stamp: %w", err)
	}
	version, ours := strings.CutPrefix(strings.TrimSuffix(string(stamp), "\n"), formatPrefix)
	if !ours {
		return fmt.Errorf("%w: %s is not a journal's format stamp: restore it from a backup, or name another folder",
			journal.ErrCorrupt, path)
	}
	if version != formatVersion {
		return fmt.Errorf("the journal in %s has format %q and this program knows format %q: "+
			"run the version of Hookline that wrote it, or a newer one", dir, version, formatVersion)
	}

	return nil
}

// stampFormat stamps a folder that has no store yet.
func stampFormat(fs vfs.FS, dir string) error {
	switch _, err := fs.Stat(fs.PathJoin(dir, dirStore)); {
	case err == nil:
		return fmt.Errorf("%w: %s holds a store without a format stamp: restore %s from a backup",
			journal.ErrCorrupt, dir, fileFormat)
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	next := fs.PathJoin(dir, fileFormat+".new")
	if err := writeFile(fs, next, []byte(formatPrefix+formatVersion+"\n")); err != nil {
		return fmt.Errorf("writing the format stamp: %w", err)
	}
	if err := fs.Rename(next, fs.PathJoin(dir, fileFormat)); err != nil {
		return fmt.Errorf("writing the format stamp: %w", err)
	}

	return syncDir(fs, dir)
}

// readStart reads the first bytes of a file.
func readStart(fs vfs.FS, path string, most int64) ([]byte, error) {
	file, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, most))

	return content, errors.Join(err, file.Close())
}

// suspect is the file that an error of opening the store is about: it names each but its
// options, so where it names none it is these.
func suspect(fs vfs.FS, store string, err error) string {
	if strings.Contains(err.Error(), store) {
		return store
	}
	names, listErr := fs.List(store)
	if listErr != nil {
		return store
	}
	at := ""
	for _, name := range names {
		if strings.HasPrefix(name, "OPTIONS-") {
			at = max(at, name)
		}
	}

	return fs.PathJoin(store, at)
}
