package embedded

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// checkStore looks at the files that Pebble reads up to the first fault: it takes what comes
// then for a write that a crash cut short, and deletes the files that it knows nothing of any
// more. It returns the seals of those that are needed, and were found to be true.
func (j *Journal) checkStore(store string) ([]fileSeal, error) {
	fs := j.options.FS
	lost := func() error {
		if j.tail.found.last == 0 {
			return nil
		}

		return fmt.Errorf("%w: %s has no current MANIFEST, but the log reached position %d: restore the folder from a backup",
			journal.ErrCorrupt, store, j.tail.found.last)
	}
	if _, err := fs.Stat(store); errors.Is(err, os.ErrNotExist) {
		return nil, lost()
	}
	sealed, err := j.readSeals()
	if err != nil {
		return nil, err
	}
	about, err := pebble.Peek(store, fs)
	if err != nil {
		return nil, storeError("opening the store "+suspect(fs, store, err), err)
	}
	if !about.Exists {
		return nil, lost()
	}
	manifest, err := j.checkManifest(store, about.ManifestFilename, sealed)
	if err != nil {
		return nil, err
	}
	needed := manifest.seals
	if log := j.tail.found.log; log.kind == sealLog {
		sealed[log.number] = longer(log, sealed[log.number])
	}
	for _, of := range sealed {
		// What is in tables already is nobody's, and may be gone or written over.
		if of.kind != sealLog || of.number < manifest.firstLog {
			continue
		}
		if err := of.check(fs, store); err != nil {
			return nil, fmt.Errorf("checking the write-ahead log: %w: restore the folder from a backup, or remove %s and %s "+
				"to go on without what follows the damage", err, fileTail, fileSeals)
		}
		needed = append(needed, of)
	}

	return needed, nil
}

func longer(a, b fileSeal) fileSeal {
	if a.bytes > b.bytes {
		return a
	}

	return b
}

// readSeals reads the file of the seals.
func (j *Journal) readSeals() (map[uint64]fileSeal, error) {
	fs, path := j.options.FS, j.options.FS.PathJoin(j.options.Dir, fileSeals)
	sealed := map[uint64]fileSeal{}
	stored, err := readStart(fs, path, sealsBytes)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return sealed, nil
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	list, ok := decodeSeals(stored)
	if !ok && len(stored) > 0 {
		j.options.Log.Warn("Found no seals in their file, so the end of the MANIFEST cannot be checked", "file", path)
	}
	for _, of := range list {
		sealed[of.number] = of
	}

	return sealed, nil
}

// manifestState is what a MANIFEST says.
type manifestState struct {
	// seals has its seal, where there is one.
	seals []fileSeal
	// firstLog is the number of the first write-ahead log whose content is not in tables yet.
	firstLog uint64
	// whole: it could be read to its end.
	whole bool
}

// checkManifest compares the current MANIFEST with its seal. What follows the seal is an edit
// that a crash cut short before anything came of it.
func (j *Journal) checkManifest(store, path string, sealed map[uint64]fileSeal) (manifestState, error) {
	fs := j.options.FS
	_, number, _ := sealedFileName(fs.PathBase(path))
	of, isSealed := sealed[number]
	if isSealed {
		if err := of.check(fs, store); err != nil {
			return manifestState{}, fmt.Errorf("checking the MANIFEST: %w: restore the folder from a backup", err)
		}
	}
	file, err := fs.Open(path)
	if err != nil {
		return manifestState{}, fmt.Errorf("opening the MANIFEST: %w", err)
	}
	state, err := readManifest(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return manifestState{}, fmt.Errorf("reading %s: %w", path, err)
	}
	if isSealed {
		state.seals = []fileSeal{of}
	} else if !state.whole {
		j.options.Log.Warn("Found the end of the MANIFEST unreadable and unsealed, and took it for a write that a crash cut short",
			"file", path)
	}

	return state, nil
}

// readManifest reads a MANIFEST as Pebble does, up to the first fault.
func readManifest(file io.Reader) (state manifestState, err error) {
	for reader := record.NewReader(file, 0); ; {
		edit, err := reader.Next()
		var content []byte
		if err == nil {
			content, err = io.ReadAll(edit)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			state.whole = true

			return state, nil
		case errors.Is(err, record.ErrInvalidChunk), errors.Is(err, record.ErrZeroedChunk), errors.Is(err, record.ErrUnexpectedEOF):
			return state, nil
		default:
			return state, err
		}
		if log := firstLogOf(content); log != 0 {
			state.firstLog = log
		}
	}
}

// The fields that begin an edit of a MANIFEST, up to the one wanted.
const (
	editComparer = 1
	editFirstLog = 2
)

// firstLogOf is the number of the first write-ahead log that is not in tables, 0 where an edit
// does not say so.
func firstLogOf(edit []byte) uint64 {
	from := &fields{left: edit}
	field := from.uvarint()
	if field == editComparer {
		from.take(from.uvarint())
		field = from.uvarint()
	}
	if field != editFirstLog {
		return 0
	}

	return from.uvarint()
}

// sealStore makes the seals of a store that nobody writes to, of its files as they are.
func sealStore(fs vfs.FS, store string) ([]fileSeal, error) {
	names, err := fs.List(store)
	if err != nil {
		return nil, err
	}
	all := seals{of: map[uint64]fileSeal{}}
	for _, name := range names {
		kind, number, ok := sealedFileName(name)
		if !ok {
			continue
		}
		file, err := fs.Open(fs.PathJoin(store, name))
		if err != nil {
			return nil, err
		}
		sum := crc32.New(castagnoli)
		length, err := io.Copy(sum, file)
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		all.note(fileSeal{kind: kind, number: number, bytes: uint64(length), sum: sum.Sum32()}) //nolint:gosec // Not negative.
	}

	return all.list(), nil
}
