package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// incomplete ends the name of a checkpoint that is not finished.
const incomplete = ".incomplete"

// File is a small file that is to stand in a checkpoint beside the journal's own.
type File struct {
	// Name has no folder in it.
	Name    string
	Content []byte
}

// Checkpoint makes a copy of the journal in a folder that must not exist yet, while the
// journal goes on. All that was acknowledged and settled before the call is in it; of what
// came meanwhile a part may be. The copy is durable on return and opens like any journal;
// it is there whole or not at all, under another name until then.
//
// On the file system of the journal its tables are hard links, made in moments, which take
// room once the journal itself has let go of them; on another one they are copies. The copy
// holds what the journal holds, signing secrets too: guard it alike. Of files that are not
// the journal's own, those given alone are in it.
func (j *Journal) Checkpoint(ctx context.Context, dir string, files ...File) error {
	if err := j.checkpoint(ctx, dir, files); err != nil {
		return fmt.Errorf("making a checkpoint in %s: %w", dir, err)
	}
	j.options.Log.Info("Made a checkpoint", "dir", dir)

	return nil
}

func (j *Journal) checkpoint(ctx context.Context, dir string, files []File) (err error) {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	fs := j.options.FS
	if fs == vfs.Default {
		if dir, err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	if err := j.checkTarget(dir); err != nil {
		return err
	}
	next := dir + incomplete
	if err := fs.RemoveAll(next); err != nil {
		return fmt.Errorf("removing what another checkpoint left: %w", err)
	}
	if err := makeDir(fs, next); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, fs.RemoveAll(next))
		}
	}()
	// Before the store is copied, so that the tail never says more than the copy has.
	reached := j.durable.Load()
	if err := j.db.Checkpoint(fs.PathJoin(next, dirStore), pebble.WithFlushedWAL()); err != nil {
		return storeError("copying the store", err)
	}
	sealed, err := sealStore(fs, fs.PathJoin(next, dirStore))
	if err != nil {
		return fmt.Errorf("sealing the copy: %w", err)
	}
	files = append([]File{
		{fileFormat, []byte(formatPrefix + formatVersion + "\n")},
		{fileTail, tailState{last: reached}.encode()}, {fileSeals, encodeSeals(sealed)},
	}, files...)
	for _, file := range files {
		if err := writeFile(fs, fs.PathJoin(next, file.Name), file.Content); err != nil {
			return fmt.Errorf("writing %s: %w", file.Name, err)
		}
	}
	if err := errors.Join(ctx.Err(), syncDir(fs, next)); err != nil {
		return err
	}
	if err := fs.Rename(next, dir); err != nil {
		return err
	}

	return syncDir(fs, fs.PathDir(dir))
}

// checkTarget refuses a folder that is there, and one in the store.
func (j *Journal) checkTarget(dir string) error {
	fs := j.options.FS
	store := fs.PathJoin(j.options.Dir, dirStore)
	if dir == store || strings.HasPrefix(dir, store+string(os.PathSeparator)) {
		return errors.New("it lies in the journal's own store: name a folder elsewhere")
	}
	switch _, err := fs.Stat(dir); {
	case err == nil:
		return errors.New("it exists: name a new folder")
	case !errors.Is(err, os.ErrNotExist):
		return err
	default:
		return nil
	}
}

// writeFile writes a new file whole, and makes its content durable.
func writeFile(fs vfs.FS, path string, content []byte) error {
	file, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(content)

	return errors.Join(err, file.Sync(), file.Close())
}
