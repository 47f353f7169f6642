package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// tail is a small file beside the store that says how far the log is durable. Pebble takes
// damage in the last 32 KiB of its write-ahead log for a write that a crash cut short, and
// lets go of all from there on; with the tail it is told apart. It is written after every
// commit, without an fsync: what the commit made durable is so before, so the tail never
// says too much, and what kills the process alone cannot take it back. It gets its fsync
// once a second, which bounds what a power cut together with damage may hide.
type tail struct {
	mu      sync.Mutex
	file    vfs.File
	written uint64
	synced  uint64
	failed  bool
}

// tailBytes is the tail's size: a position and its checksum.
const tailBytes = 8 + 4

// openTail checks that the log reaches as far as the tail says, and opens the tail for writing.
func (j *Journal) openTail(last uint64) error {
	fs, path := j.options.FS, j.options.FS.PathJoin(j.options.Dir, fileTail)
	stored, err := readStart(fs, path, tailBytes)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("reading %s: %w", path, err)
	default:
		if reached, ok := decodeTail(stored); !ok {
			j.options.Log.Warn("Found no position in the tail file, so the end of the log cannot be checked", "file", path)
		} else if reached > last {
			return fmt.Errorf("%w: the log ends at position %d, but reached %d: restore the folder from a backup, or remove %s "+
				"to go on without the positions in between", journal.ErrCorrupt, last, reached, path)
		}
	}
	file, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	j.tail.file = file
	j.tail.write(j, last)
	if err := errors.Join(file.Sync(), syncDir(fs, j.options.Dir)); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}

	return nil
}

func encodeTail(last uint64) []byte {
	stored := binary.BigEndian.AppendUint64(make([]byte, 0, tailBytes), last)

	return binary.BigEndian.AppendUint32(stored, crc32.Checksum(stored, castagnoli))
}

func decodeTail(stored []byte) (uint64, bool) {
	if len(stored) != tailBytes {
		return 0, false
	}
	position := stored[:tailBytes-recordChecksum]

	return binary.BigEndian.Uint64(position), binary.BigEndian.Uint32(stored[len(position):]) == crc32.Checksum(position, castagnoli)
}

// write notes that the log is durable up to a position. A fault is logged once: it takes a
// safeguard away, and nothing that was promised.
func (t *tail) write(j *Journal, last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.file.WriteAt(encodeTail(last), 0); err != nil {
		t.fault(j, err)

		return
	}
	t.written = last
}

func (t *tail) fault(j *Journal, err error) {
	if !t.failed {
		j.options.Log.Warn("Tail file could not be written, so damage at the end of the log may go unseen", "error", err)
	}
	t.failed = true
}

// sync makes the tail durable, where it changed.
func (t *tail) sync(j *Journal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil || t.written == t.synced {
		return
	}
	if err := t.file.SyncData(); err != nil {
		t.fault(j, err)

		return
	}
	t.synced = t.written
}

// close closes the file.
func (t *tail) close() error {
	if t.file == nil {
		return nil
	}
	var file io.Closer
	file, t.file = t.file, nil

	return file.Close()
}
