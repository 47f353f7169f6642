package embedded_test

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

var damageStep = flag.Int("damage-step", 0, "flip a bit of every so many bytes; 0 is what each case says")

// TestDamage flips bits in every file of a journal. Whatever is flipped: either it is told
// of, when opening or when reading, or nothing that was acknowledged is missing or changed.
func TestDamage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		events int
		size   int
		// closed: the journal was closed, and opened again so that the log is in tables.
		closed bool
		step   int
	}{
		"Killed":     {"A short log that is in the write-ahead log alone, a bit of every seventh byte.", 8, 10, false, 7},
		"KilledLong": {"A write-ahead log of several blocks.", 120, 1000, false, 2999},
		"Tables":     {"A log that is in tables.", 200, 300, true, 1009},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewCrashableMem()
			want := fillForDamage(t, fs, tc.events, tc.size)
			if tc.closed {
				j := open(t, options(t, fs, testDir, clockwork.NewFakeClockAt(began), &atomic.Bool{}))
				if err := j.Close(); err != nil {
					t.Fatalf("%s\nClose: %v", tc.reason, err)
				}
			}
			found := 0
			for path, content := range files(t, fs, testDir) {
				for at := 0; at < len(content); at += cmp.Or(*damageStep, tc.step) {
					if damaged(t, fs, path, content, at, want, tc.reason) {
						found++
					}
				}
			}
			t.Logf("Damage was told of %d times", found)
			if found == 0 {
				t.Errorf("%s\nNo damage was found, which cannot be", tc.reason)
			}
		})
	}
}

// fillForDamage appends events, and leaves what a killed process leaves.
func fillForDamage(t *testing.T, fs *vfs.MemFS, count, size int) []journal.Event {
	t.Helper()
	killed := vfs.NewCrashableMem()
	j := open(t, options(t, killed, testDir, clockwork.NewFakeClockAt(began), &atomic.Bool{}))
	var want []journal.Event
	for i := range count {
		body := make([]byte, size)
		for b := range body {
			body[b] = byte(i*b + b*b)
		}
		event := journal.Event{Tenant: "acme", Source: "s", ID: fmt.Sprint(i), Type: "x", Accepted: began, Body: body}
		if _, err := j.Append(t.Context(), []journal.Event{event}); err != nil {
			t.Fatalf("Append: %v", err)
		}
		want = append(want, event)
	}
	left := killed.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1)), // All of it is left, whatever the numbers.
	})
	if err := j.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	copyTree(t, left, fs, testDir)

	return want
}

// damaged flips one bit and tells whether that was told of.
func damaged(t *testing.T, fs *vfs.MemFS, path string, content []byte, at int, want []journal.Event, reason string) bool {
	t.Helper()
	bad := vfs.NewMem()
	copyTree(t, fs, bad, testDir)
	flipped := slices.Clone(content)
	flipped[at] ^= 1 << (at % 8)
	write(t, bad, path, flipped)
	got, err := readWhole(t, bad, len(want))
	where := fmt.Sprintf("%s\nbit %d of byte %d of %s", reason, at%8, at, path)
	switch {
	case err == nil && slices.EqualFunc(want, got, func(a, b journal.Event) bool {
		return a.ID == b.ID && a.Type == b.Type && a.Tenant == b.Tenant && string(a.Body) == string(b.Body)
	}):
		return false
	case err == nil:
		t.Fatalf("%s: %d events are read, %d were written, and no error", where, len(got), len(want))
	case !strings.Contains(err.Error(), testDir):
		t.Errorf("%s: the error names no file: %v", where, err)
	}

	return true
}

// readWhole opens a journal and reads what should be there.
func readWhole(t *testing.T, fs vfs.FS, count int) ([]journal.Event, error) {
	t.Helper()
	j, err := embedded.Open(t.Context(), options(t, fs, testDir, clockwork.NewFakeClockAt(began), &atomic.Bool{}))
	if err != nil {
		return nil, err
	}
	defer func() { _ = j.Close() }()
	first, last, err := j.View().Bounds(t.Context())
	if err != nil {
		return nil, fmt.Errorf("bounds: %w", err)
	}
	var events []journal.Event
	for next := first; next != 0 && next <= last; {
		records, err := j.Read(t.Context(), next, count)
		if err != nil {
			return nil, fmt.Errorf("reading: %w", err)
		}
		for _, record := range records {
			events = append(events, *record.Event)
		}
		next += journal.Seq(len(records))
	}

	return events, nil
}

// files are the contents of all files below a folder.
func files(t *testing.T, fs vfs.FS, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	names, err := fs.List(dir)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			t.Fatalf("Stat: %v", err)
		}
		if info.IsDir() {
			maps.Copy(out, files(t, fs, path))

			continue
		}
		file, err := fs.Open(path)
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		content, err := io.ReadAll(file)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatalf("Reading %s: %v", path, err)
		}
		out[path] = content
	}

	return out
}

func copyTree(t *testing.T, from, to vfs.FS, dir string) {
	t.Helper()
	for path, content := range files(t, from, dir) {
		if err := to.MkdirAll(to.PathDir(path), 0o700); err != nil {
			t.Fatalf("MkdirAll: %v", err)
		}
		write(t, to, path, content)
	}
}

func write(t *testing.T, fs vfs.FS, path string, content []byte) {
	t.Helper()
	file, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		t.Fatalf("Writing %s: %v", path, err)
	}
}
