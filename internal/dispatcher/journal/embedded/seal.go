package embedded

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// The kinds of the store's files that Pebble reads up to the first fault.
const (
	sealManifest = 'm'
	sealLog      = 'l'
)

// fileSeal says of one of those files how many of its first bytes are durable, and their CRC32C.
// They are written in order and never again, so a seal that was true once stays true as long
// as the file is there: the store gives no number twice.
type fileSeal struct {
	kind   byte
	number uint64
	bytes  uint64
	sum    uint32
}

// sealBytes is the size of a stored seal.
const sealBytes = 1 + 8 + 8 + 4

// The file of the seals always has the size of a sector, so that it is written whole or not at
// all: how many there are, the seals, and a checksum of both, which bounds their number.
const (
	sealsBytes = 512
	maxSeals   = (sealsBytes - 1 - recordChecksum) / sealBytes
	// maxManifests are how many of them are of MANIFESTs: while a new one is made the old one is
	// still the current one.
	maxManifests = 2
)

const manifestPrefix, logSuffix = "MANIFEST-", ".log"

// sealedFileName takes a file's name in the store apart.
func sealedFileName(name string) (kind byte, number uint64, ok bool) {
	text, isManifest := strings.CutPrefix(name, manifestPrefix)
	kind = sealManifest
	if !isManifest {
		if text, ok = strings.CutSuffix(name, logSuffix); !ok {
			return 0, 0, false
		}
		kind = sealLog
	}
	number, err := strconv.ParseUint(text, 10, 64)

	return kind, number, err == nil
}

// name is the inverse of sealedFileName.
func (s fileSeal) name() string {
	if s.kind == sealManifest {
		return fmt.Sprintf("%s%06d", manifestPrefix, s.number)
	}

	return fmt.Sprintf("%06d%s", s.number, logSuffix)
}

func (s fileSeal) encode(to []byte) []byte {
	to = binary.BigEndian.AppendUint64(append(to, s.kind), s.number)
	to = binary.BigEndian.AppendUint64(to, s.bytes)

	return binary.BigEndian.AppendUint32(to, s.sum)
}

func decodeSeal(stored []byte) fileSeal {
	return fileSeal{
		kind: stored[0], number: binary.BigEndian.Uint64(stored[1:]),
		bytes: binary.BigEndian.Uint64(stored[9:]), sum: binary.BigEndian.Uint32(stored[17:]),
	}
}

// check compares what the file holds with the seal.
func (s fileSeal) check(fs vfs.FS, store string) error {
	path := fs.PathJoin(store, s.name())
	file, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", journal.ErrCorrupt, path)
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	sum := crc32.New(castagnoli)
	length, err := io.Copy(sum, io.LimitReader(file, int64(s.bytes))) //nolint:gosec // Files are not that long.
	switch err := errors.Join(err, file.Close()); {
	case err != nil:
		return fmt.Errorf("reading %s: %w", path, err)
	case uint64(length) < s.bytes: //nolint:gosec // A length is not negative.
		return fmt.Errorf("%w: %s ends after %d bytes, of which there were %d", journal.ErrCorrupt, path, length, s.bytes)
	case sum.Sum32() != s.sum:
		return fmt.Errorf("%w: the first %d bytes of %s are not those that were written", journal.ErrCorrupt, s.bytes, path)
	default:
		return nil
	}
}

func encodeSeals(of []fileSeal) []byte {
	to := append(make([]byte, 0, sealsBytes), byte(len(of))) //nolint:gosec // No more than maxSeals.
	for _, s := range of {
		to = s.encode(to)
	}
	to = binary.BigEndian.AppendUint32(to, crc32.Checksum(to, castagnoli))

	return to[:sealsBytes]
}

func decodeSeals(stored []byte) ([]fileSeal, bool) {
	if len(stored) != sealsBytes || stored[0] > maxSeals {
		return nil, false
	}
	length := 1 + int(stored[0])*sealBytes
	if binary.BigEndian.Uint32(stored[length:]) != crc32.Checksum(stored[:length], castagnoli) {
		return nil, false
	}
	var of []fileSeal
	for at := 1; at < length; at += sealBytes {
		of = append(of, decodeSeal(stored[at:]))
	}

	return of, true
}

// seals keeps the seals of the store's files, and writes them into a file beside the store
// whenever Pebble may go on to delete what it has written elsewhere: after every edit of a
// MANIFEST, and at the end of a write-ahead log. How far the current write-ahead log is
// durable stands in the tail.
type seals struct {
	log *slog.Logger
	// writing is held while the file is written, mu for what is in memory alone.
	writing sync.Mutex
	file    vfs.File
	failed  bool

	mu sync.Mutex
	of map[uint64]fileSeal
	// newest is the number of the newest write-ahead log.
	newest uint64
}

// open opens the file for writing, with the seals that were found to be true.
func (s *seals) open(fs vfs.FS, dir string, found []fileSeal) error {
	s.of = map[uint64]fileSeal{}
	for _, of := range found {
		s.note(of)
	}
	path := fs.PathJoin(dir, fileSeals)
	file, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	s.file = file

	return nil
}

// note remembers a seal instead of the one before it, and tells whether there was none.
func (s *seals) note(of fileSeal) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, again := s.of[of.number]
	s.of[of.number] = of
	if of.kind == sealLog {
		s.newest = max(s.newest, of.number)
	}

	return !again
}

// forget lets go of a file's seal.
func (s *seals) forget(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, number)
}

// current is the seal of the newest write-ahead log, the zero seal where there is none.
func (s *seals) current() fileSeal {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.of[s.newest]
}

// list are the seals to write, the newest first.
func (s *seals) list() []fileSeal {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.SortedFunc(maps.Values(s.of), func(a, b fileSeal) int {
		return cmp.Or(-cmp.Compare(a.kind, b.kind), -cmp.Compare(a.number, b.number))
	})
	manifests := 0
	list = slices.DeleteFunc(list, func(of fileSeal) bool {
		if of.kind == sealManifest {
			manifests++
		}

		return of.kind == sealManifest && manifests > maxManifests
	})

	return list[:min(len(list), maxSeals)]
}

// write makes the seals durable. A fault is logged once: it takes a safeguard away, and
// nothing that was promised.
func (s *seals) write() {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.file == nil {
		return
	}
	_, err := s.file.WriteAt(encodeSeals(s.list()), 0)
	if err = errors.Join(err, s.file.Sync()); err != nil {
		if !s.failed {
			s.log.Warn("Seals could not be written, so damage in the store may go unseen", "error", err)
		}
		s.failed = true
	}
}

// close closes the file.
func (s *seals) close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.file == nil {
		return nil
	}
	var file io.Closer
	file, s.file = s.file, nil

	return file.Close()
}

// sealingFS is the file system that Pebble gets: it watches what becomes durable of the files
// that are sealed.
type sealingFS struct {
	vfs.FS

	store string
	seals *seals
}

// Unwrap implements vfs.FS.
func (f sealingFS) Unwrap() vfs.FS { return f.FS }

// sealed tells whether a file is one of the store's that are sealed.
func (f sealingFS) sealed(path string) (kind byte, number uint64, ok bool) {
	if f.PathDir(path) != f.store {
		return 0, 0, false
	}

	return sealedFileName(f.PathBase(path))
}

// Create implements vfs.FS.
func (f sealingFS) Create(path string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(path, category)

	return f.watch(path, file, err)
}

// ReuseForWrite implements vfs.FS.
func (f sealingFS) ReuseForWrite(old, path string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if _, number, ok := f.sealed(old); ok {
		f.seals.forget(number)
	}
	file, err := f.FS.ReuseForWrite(old, path, category)

	return f.watch(path, file, err)
}

func (f sealingFS) watch(path string, file vfs.File, err error) (vfs.File, error) {
	kind, number, ok := f.sealed(path)
	if err != nil || !ok {
		return file, err
	}

	f.seals.forget(number)

	return &sealedFile{File: file, fs: f, written: fileSeal{kind: kind, number: number}}, nil
}

// Remove implements vfs.FS.
func (f sealingFS) Remove(path string) error {
	if _, number, ok := f.sealed(path); ok {
		f.seals.forget(number)
	}

	return f.FS.Remove(path)
}

// sealedFile is a file that is written from its beginning to its end.
type sealedFile struct {
	vfs.File

	fs sealingFS
	// mu guards written: a file may be synced while it is written to.
	mu      sync.Mutex
	written fileSeal
}

// Write implements vfs.File.
func (f *sealedFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Before, since a file may change what it is given to write.
	sum := crc32.Update(f.written.sum, castagnoli, p)
	n, err := f.File.Write(p)
	if n < len(p) {
		sum = crc32.Update(f.written.sum, castagnoli, p[:n])
	}
	f.written.bytes += uint64(n) //nolint:gosec // A length is not negative.
	f.written.sum = sum

	return n, err
}

// Sync implements vfs.File.
func (f *sealedFile) Sync() error { return f.sync(f.File.Sync) }

// SyncData implements vfs.File.
func (f *sealedFile) SyncData() error { return f.sync(f.File.SyncData) }

// sync notes what was written before an fsync once that is over.
func (f *sealedFile) sync(sync func() error) error {
	f.mu.Lock()
	written := f.written
	f.mu.Unlock()
	if err := sync(); err != nil {
		return err
	}
	first := f.fs.seals.note(written)
	if written.kind != sealManifest {
		return nil
	}
	if first {
		// Pebble makes a new MANIFEST the current one by the name of a file, and syncs the folder
		// with both names in it: it must not be that the second is kept and the first is not.
		if err := syncDir(f.fs.FS, f.fs.store); err != nil {
			return err
		}
	}
	f.fs.seals.write()

	return nil
}

// Close implements vfs.File.
func (f *sealedFile) Close() error {
	err := f.File.Close()
	if f.written.kind == sealLog {
		f.fs.seals.write()
	}

	return err
}
