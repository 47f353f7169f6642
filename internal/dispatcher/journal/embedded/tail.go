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

// tail is a small file beside the store that says how far the log is durable: its last
// position, and the seal of the current write-ahead log, which covers the rows too. Pebble
// takes damage in the last 32 KiB of its write-ahead log for a write that a crash cut short,
// and lets go of all from there on; with the tail it is told apart. It is written after every
// commit, without an fsync: what the commit made durable is so before, so the tail never
// says too much, and what kills the process alone cannot take it back. It gets its fsync
// once a second, which bounds what a power cut together with damage may hide.
type tail struct {
	// found is what stood there at Open, current the seals' newest of a write-ahead log.
	found   tailState
	current func() fileSeal

	mu      sync.Mutex
	file    vfs.File
	written tailState
	synced  tailState
	failed  bool
}

// tailState is what stands in the tail.
type tailState struct {
	last uint64
	// log is the zero seal where there is none: a version of Hookline before seals wrote the
	// position alone, and leaves a seal as it is, which stays true.
	log fileSeal
}

// The tail's size: a position with its checksum, and a seal with its own.
const (
	tailPosition = 8 + recordChecksum
	tailBytes    = tailPosition + sealBytes + recordChecksum
)

// readTail reads what the tail says, before the store is opened.
func (j *Journal) readTail() error {
	fs, path := j.options.FS, j.options.FS.PathJoin(j.options.Dir, fileTail)
	stored, err := readStart(fs, path, tailBytes)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("reading %s: %w", path, err)
	}
	found, ok := decodeTail(stored)
	if !ok {
		j.options.Log.Warn("Found no position in the tail file, so the end of the log cannot be checked", "file", path)
	}
	j.tail.found = found

	return nil
}

// openTail checks that the log reaches as far as the tail says, and opens the tail for writing.
func (j *Journal) openTail(last uint64) error {
	fs, path := j.options.FS, j.options.FS.PathJoin(j.options.Dir, fileTail)
	if reached := j.tail.found.last; reached > last {
		return fmt.Errorf("%w: the log ends at position %d, but reached %d: restore the folder from a backup, or remove %s "+
			"to go on without the positions in between", journal.ErrCorrupt, last, reached, path)
	}
	file, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	j.tail.file, j.tail.current = file, j.seals.current
	j.tail.write(j, last)
	if err := errors.Join(file.Sync(), syncDir(fs, j.options.Dir)); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}

	return nil
}

func (t tailState) encode() []byte {
	stored := binary.BigEndian.AppendUint64(make([]byte, 0, tailBytes), t.last)
	stored = binary.BigEndian.AppendUint32(stored, crc32.Checksum(stored, castagnoli))
	stored = t.log.encode(stored)

	return binary.BigEndian.AppendUint32(stored, crc32.Checksum(stored[tailPosition:], castagnoli))
}

// decodeTail is the inverse; ok tells whether the position is there. Without a seal the state
// has none.
func decodeTail(stored []byte) (state tailState, ok bool) {
	position, ok := unsealed(stored, tailPosition)
	if !ok {
		return tailState{}, false
	}
	state.last = binary.BigEndian.Uint64(position)
	if log, ok := unsealed(stored[tailPosition:], sealBytes+recordChecksum); ok {
		state.log = decodeSeal(log)
	}

	return state, true
}

// unsealed is what stands before a checksum at the end of so many bytes.
func unsealed(stored []byte, length int) ([]byte, bool) {
	if len(stored) < length {
		return nil, false
	}
	content := stored[:length-recordChecksum]

	return content, binary.BigEndian.Uint32(stored[len(content):]) == crc32.Checksum(content, castagnoli)
}

// write notes that the log is durable up to a position at least. A fault is logged once: it takes a
// safeguard away, and nothing that was promised.
func (t *tail) write(j *Journal, last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	state := tailState{last: max(last, t.written.last), log: t.current()}
	if _, err := t.file.WriteAt(state.encode(), 0); err != nil {
		t.fault(j, err)

		return
	}
	t.written = state
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
