package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

// writer writes to a journal on a file system that can crash, and notes what was acknowledged.
type writer struct {
	t     *testing.T
	fs    *vfs.MemFS
	j     *embedded.Journal
	noted *acknowledged
	last  journal.Seq
	// epoch is the lowest that the journal may give out next.
	epoch journal.Epoch
	owned journal.Epoch
	quiet *slog.Logger
}

func newWriter(t *testing.T, fs *vfs.MemFS) *writer {
	t.Helper()
	w := &writer{t: t, quiet: slog.New(slog.DiscardHandler), noted: &acknowledged{
		events: map[journal.Seq]string{}, versions: map[string]journal.Revision{}, retries: map[journal.Seq]bool{},
	}}
	w.open(fs)

	return w
}

func (w *writer) options(fs vfs.FS) embedded.Options {
	o := options(w.t, fs, testDir, clockwork.NewFakeClockAt(began), &atomic.Bool{})
	o.BallastBytes, o.MemTableBytes, o.Log = -1, 256<<10, w.quiet

	return o
}

func (w *writer) open(fs *vfs.MemFS) {
	w.t.Helper()
	j, err := embedded.Open(w.t.Context(), w.options(fs))
	if err != nil {
		w.t.Fatalf("Opening what a crash left: %v", err)
	}
	w.fs, w.j = fs, j
	if err := w.lost(j); err != nil {
		w.t.Fatalf("After a crash: %v", err)
	}
	w.owned = epochOf(w.t, j)
	w.epoch = w.owned + 1
}

func epochOf(t *testing.T, j *embedded.Journal) journal.Epoch {
	t.Helper()
	owned, err := j.Own(t.Context())
	if err != nil {
		t.Fatalf("Own: %v", err)
	}

	return (<-owned).Epoch
}

func (w *writer) close() {
	w.t.Helper()
	if err := w.j.Close(); err != nil {
		w.t.Fatalf("Close: %v", err)
	}
}

func (w *writer) append(count, size int) {
	w.t.Helper()
	for range count {
		id := fmt.Sprint(w.last + 1)
		receipts, err := w.j.Append(w.t.Context(), []journal.Event{{Tenant: "acme", ID: id, Type: "x", Body: make([]byte, size)}})
		if err != nil {
			w.t.Fatalf("Append: %v", err)
		}
		w.last = receipts[0].Seq
		w.noted.events[w.last] = id
	}
}

func (w *writer) put() {
	w.t.Helper()
	version, err := w.j.PutSubscription(w.t.Context(), journal.Version{Tenant: "acme", ID: "sub", Name: "sub"}, w.noted.versions["sub"])
	if err != nil {
		w.t.Fatalf("PutSubscription: %v", err)
	}
	w.last = version.Seq
	w.noted.versions["sub"] = version.Revision
}

// settle makes the last position a retry, durably: the log itself does not grow by it.
func (w *writer) settle() {
	w.t.Helper()
	if err := w.j.Settle(w.t.Context(), 0, w.owned, journal.Batch{Durable: true, Outcomes: []journal.Outcome{{
		Ref: journal.Ref{Subscription: "sub", Seq: w.last}, Result: journal.Retry, NextAttempt: began,
	}}}); err != nil {
		w.t.Fatalf("Settle: %v", err)
	}
	w.noted.retries[w.last] = true
}

// lost tells of what was acknowledged and is not in a journal any more, and not told of by it.
func (w *writer) lost(j *embedded.Journal) error {
	ctx := w.t.Context()
	for seq, id := range w.noted.events {
		got, err := j.Get(ctx, []journal.Seq{seq})
		if errors.Is(err, journal.ErrCorrupt) && strings.Contains(err.Error(), testDir) {
			return nil // That is for other tests: it is told of.
		}
		if err != nil || got[0].ID != id {
			return fmt.Errorf("position %d was acknowledged as %s, found %+v, error %w", seq, id, got, err)
		}
	}
	for seq := range w.noted.retries {
		if pending, err := j.View().Pending(ctx, journal.Ref{Subscription: "sub", Seq: seq}); err != nil || !pending {
			return fmt.Errorf("position %d was settled for a retry and waits for none, error %w", seq, err)
		}
	}
	versions, err := j.Subscriptions(ctx, journal.LatestSeq)
	if err != nil {
		return err
	}
	for id, revision := range w.noted.versions {
		at := slices.IndexFunc(versions, func(v journal.Version) bool { return v.ID == id })
		if at < 0 || versions[at].Revision < revision {
			return fmt.Errorf("subscription %s was acknowledged at revision %d, found %+v", id, revision, versions)
		}
	}
	owned, err := j.Own(ctx)
	if err != nil {
		return err
	}
	if epoch := (<-owned).Epoch; epoch < w.epoch {
		return fmt.Errorf("epoch %d is given out again", epoch)
	}

	return nil
}

// crash is what a crash leaves.
func (w *writer) crash(percent int, rng *rand.Rand) *vfs.MemFS {
	return w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
}

// damage flips a bit of a file and opens the journal: it must be refused with the file's name
// and every file as it was, or have all that was acknowledged. It tells which.
func (w *writer) damage(left *vfs.MemFS, file string, content []byte, at, bit int) (found bool) {
	w.t.Helper()
	flipped := slices.Clone(content)
	flipped[at] ^= 1 << bit
	again := left.CrashClone(vfs.CrashCloneCfg{})
	write(w.t, again, file, flipped)
	where := fmt.Sprintf("bit %d of byte %d of the %d of %s", bit, at, len(content), file)
	before := names(w.t, again)
	j, err := embedded.Open(w.t.Context(), w.options(again))
	if err == nil {
		if err := w.lost(j); err != nil {
			w.t.Errorf("%s: the journal opened: %v", where, err)
		}
		if err := j.Close(); err != nil {
			w.t.Errorf("%s: Close: %v", where, err)
		}

		return false
	}
	if !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), file) {
		w.t.Errorf("%s: error %v does not name the file as damaged", where, err)
	}
	if diff := cmp.Diff(before, names(w.t, again)); diff != "" {
		w.t.Errorf("%s: the journal was refused, but its files changed: -before, +after:\n%s", where, diff)
	}

	return true
}

// names are the store's files.
func names(t *testing.T, fs vfs.FS) []string {
	t.Helper()
	list, err := fs.List(path.Join(testDir, "store"))
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	slices.Sort(list)

	return slices.DeleteFunc(list, func(name string) bool { return name == "LOCK" })
}

// newest is the name of the store's newest file of a kind, and its content.
func newest(t *testing.T, fs vfs.FS, is func(name string) bool) (file string, content []byte) {
	t.Helper()
	all := files(t, fs, path.Join(testDir, "store"))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if is(path.Base(name)) {
			file = name
		}
	}
	if file == "" {
		t.Fatalf("There is no such file among %v", slices.Sorted(maps.Keys(all)))
	}

	return file, all[file]
}

func isManifest(name string) bool { return strings.HasPrefix(name, "MANIFEST-") }

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// TestLastEdit flips every bit of a MANIFEST whose last edit alone names the table that holds
// what was written before the last start.
func TestLastEdit(t *testing.T) {
	t.Parallel()
	w := newWriter(t, vfs.NewCrashableMem())
	w.put()
	w.append(50, 10)
	w.close()
	w.open(w.fs)
	w.append(50, 10)
	left := w.crash(100, rand.New(rand.NewPCG(1, 1)))
	w.close()
	file, content := newest(t, left, isManifest)
	for at := range content {
		for bit := range 8 {
			if found := w.damage(left, file, content, at, bit); !found {
				t.Errorf("bit %d of byte %d of %s was not found", bit, at, file)
			}
		}
	}
	for length := range content {
		short := left.CrashClone(vfs.CrashCloneCfg{})
		write(t, short, file, content[:length])
		if _, err := embedded.Open(t.Context(), w.options(short)); !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("%s was cut to %d bytes: error %v, want %v", file, length, err, journal.ErrCorrupt)
		}
	}
}

// TestSettledTail flips every byte of a write-ahead log that ends in rows which are durable
// and have no position of their own.
func TestSettledTail(t *testing.T) {
	t.Parallel()
	w := newWriter(t, vfs.NewCrashableMem())
	w.put()
	w.append(3, 10)
	w.settle()
	left := w.crash(100, rand.New(rand.NewPCG(1, 1)))
	w.close()
	file, content := newest(t, left, isLog)
	content = []byte(strings.TrimRight(string(content), "\x00"))
	for at := range content {
		if found := w.damage(left, file, content, at, at%8); !found {
			t.Errorf("bit %d of byte %d of %s was not found", at%8, at, file)
		}
	}
}

// TestDamagedSchedules crashes at points of seeded schedules, on top of each other. What is
// left opens with all that was acknowledged. Of every file that Pebble reads with patience
// bits are flipped, and of the current MANIFEST a bit of every byte.
func TestDamagedSchedules(t *testing.T) {
	t.Parallel()
	const seeds, crashes, flips = 4, 5, 40
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 7))
			w := newWriter(t, vfs.NewCrashableMem())
			w.put()
			found, harmless := map[bool]int{}, map[bool]int{}
			for range crashes {
				w.schedule(rng)
				percent := []int{0, 50, 100}[rng.IntN(3)]
				left := w.crash(percent, rng)
				w.close()
				marker, _ := newest(t, left, func(name string) bool { return strings.HasPrefix(name, "marker.manifest.") })
				for file, content := range files(t, left, path.Join(testDir, "store")) {
					content = []byte(strings.TrimRight(string(content), "\x00"))
					step := 1 + len(content)/flips
					switch name := path.Base(file); {
					case strings.HasSuffix(marker, name):
						step = 1
					case isManifest(name):
					case isLog(name) && percent == 100: // A power cut may take the tail back by up to a second.
					default:
						continue
					}
					for at := rng.IntN(step); at < len(content); at += step {
						if w.damage(left, file, content, at, rng.IntN(8)) {
							found[isLog(file)]++
						} else {
							harmless[isLog(file)]++
						}
					}
				}
				w.open(left)
			}
			w.close()
			t.Logf("Found in MANIFESTs %d, in logs %d; harmless %d, %d", found[false], found[true], harmless[false], harmless[true])
			if found[false] == 0 {
				t.Error("No damage was found, which cannot be")
			}
		})
	}
}

// schedule does some of what a journal does, in any order.
func (w *writer) schedule(rng *rand.Rand) {
	w.t.Helper()
	for range 5 + rng.IntN(15) {
		switch rng.IntN(8) {
		case 0:
			w.put()
		case 1, 2:
			w.settle()
		case 3:
			if err := w.j.Flush(); err != nil {
				w.t.Fatalf("Flush: %v", err)
			}
		case 4:
			if err := w.j.Compact(w.t.Context()); err != nil {
				w.t.Fatalf("Compact: %v", err)
			}
		case 5:
			w.close()
			w.open(w.fs)
		case 6:
			w.append(20, 4000)
		default:
			w.append(1+rng.IntN(30), rng.IntN(300))
		}
	}
}

// TestCutAtEveryStep cuts the power before every write and fsync of the store's files and of
// the seals. Whatever is left opens, with what was acknowledged before.
func TestCutAtEveryStep(t *testing.T) {
	t.Parallel()
	type cut struct {
		before string
		left   *vfs.MemFS
		last   uint64
	}
	var (
		mu    sync.Mutex
		cuts  []cut
		acked atomic.Uint64
	)
	rng := rand.New(rand.NewPCG(3, 3))
	mem := vfs.NewCrashableMem()
	w := &writer{t: t, quiet: slog.New(slog.DiscardHandler), noted: &acknowledged{
		events: map[journal.Seq]string{}, versions: map[string]journal.Revision{}, retries: map[journal.Seq]bool{},
	}}
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpRemove,
			errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpCreate:
		default:
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		last := acked.Load()
		left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[rng.IntN(3)], RNG: rng})
		cuts = append(cuts, cut{fmt.Sprint(op), left, last})

		return nil
	}))
	for round := range 3 {
		j, err := embedded.Open(t.Context(), w.options(fs))
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		w.j, w.owned = j, epochOf(t, j)
		for range 6 {
			w.append(3, 20)
			acked.Store(uint64(w.last))
			if round > 0 {
				if err := j.Flush(); err != nil {
					t.Fatalf("Flush: %v", err)
				}
			}
		}
		w.close()
	}
	mu.Lock()
	defer mu.Unlock()
	for i, cut := range cuts {
		j, err := embedded.Open(t.Context(), w.options(cut.left))
		if err != nil {
			t.Errorf("cut %d, before %s: %v", i, cut.before, err)

			continue
		}
		if _, last, err := j.View().Bounds(t.Context()); err != nil || uint64(last) < cut.last {
			t.Errorf("cut %d, before %s: the log ends at %d, error %v, and reached %d", i, cut.before, last, err, cut.last)
		}
		if err := j.Close(); err != nil {
			t.Errorf("cut %d: Close: %v", i, err)
		}
	}
	t.Logf("The power was cut %d times", len(cuts))
}

// TestLostFiles takes files away, or damages what is nobody's.
func TestLostFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		// change changes what a crash left.
		change func(t *testing.T, left vfs.FS)
		// want is in the error, empty where the journal must open.
		want string
	}{
		"Log": {"The rows and records that are not in tables are gone.", func(t *testing.T, left vfs.FS) {
			t.Helper()
			file, _ := newest(t, left, isLog)
			remove(t, left, file)
		}, ".log is missing"},
		"Manifest": {"Without it nobody knows the tables.", func(t *testing.T, left vfs.FS) {
			t.Helper()
			file, _ := newest(t, left, isManifest)
			remove(t, left, file)
		}, "MANIFEST-"},
		"Marker": {"Pebble takes a store without one for a new one.", func(t *testing.T, left vfs.FS) {
			t.Helper()
			file, _ := newest(t, left, func(name string) bool { return strings.HasPrefix(name, "marker.manifest.") })
			remove(t, left, file)
		}, "no current MANIFEST"},
		"Store": {"A journal that held something has one.", func(t *testing.T, left vfs.FS) {
			t.Helper()
			if err := left.RemoveAll(path.Join(testDir, "store")); err != nil {
				t.Fatalf("RemoveAll: %v", err)
			}
		}, "no current MANIFEST"},
		"FlushedLog": {"What is in tables is not needed any more.", func(t *testing.T, left vfs.FS) {
			t.Helper()
			all := files(t, left, path.Join(testDir, "store"))
			for _, file := range slices.Sorted(maps.Keys(all)) {
				if isLog(file) {
					all[file][20] ^= 1
					write(t, left, file, all[file])

					return
				}
			}
		}, ""},
		"Seals": {"A version before seals wrote none.", func(t *testing.T, left vfs.FS) {
			t.Helper()
			remove(t, left, path.Join(testDir, "SEALS"))
		}, ""},
		"DamagedSeals": {"They are a safeguard, and nothing that was promised.", func(t *testing.T, left vfs.FS) {
			t.Helper()
			write(t, left, path.Join(testDir, "SEALS"), make([]byte, 512))
		}, ""},
		"OldTail": {"A version before seals wrote the position alone.", func(t *testing.T, left vfs.FS) {
			t.Helper()
			write(t, left, path.Join(testDir, "TAIL"), files(t, left, testDir)[path.Join(testDir, "TAIL")][:12])
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWriter(t, vfs.NewCrashableMem())
			w.put()
			w.append(20, 100)
			if err := w.j.Flush(); err != nil {
				t.Fatalf("Flush: %v", err)
			}
			w.append(20, 100)
			w.settle()
			left := w.crash(100, rand.New(rand.NewPCG(1, 1)))
			w.close()
			if logs := slices.DeleteFunc(names(t, left), func(name string) bool { return !isLog(name) }); len(logs) != 2 {
				t.Fatalf("The logs are %v, want two, one of which is in tables", logs)
			}
			tc.change(t, left)
			if tc.want == "" {
				w.open(left)
				w.close()

				return
			}
			_, err := embedded.Open(t.Context(), w.options(left))
			if !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nOpen: error %v, want %v with %q", tc.reason, err, journal.ErrCorrupt, tc.want)
			}
		})
	}
}

func remove(t *testing.T, fs vfs.FS, file string) {
	t.Helper()
	if err := fs.Remove(file); err != nil {
		t.Fatalf("Remove: %v", err)
	}
}

// TestCheckpointSealed flips bits of a copy's MANIFEST and write-ahead log.
func TestCheckpointSealed(t *testing.T) {
	t.Parallel()
	w := newWriter(t, vfs.NewCrashableMem())
	w.put()
	w.append(20, 100)
	if err := w.j.Flush(); err != nil {
		t.Fatalf("Flush: %v", err)
	}
	w.append(20, 100)
	w.settle()
	const copied = "/copy"
	if err := w.j.Checkpoint(context.Background(), copied); err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
	w.close()
	moved := vfs.NewCrashableMem()
	for file, content := range files(t, w.fs, copied) {
		file = path.Join(testDir, strings.TrimPrefix(file, copied))
		if err := moved.MkdirAll(path.Dir(file), 0o700); err != nil {
			t.Fatalf("MkdirAll: %v", err)
		}
		write(t, moved, file, content)
	}
	for _, dir := range []string{"/", "/var", "/var/lib", testDir, path.Join(testDir, "store")} {
		folder, err := moved.OpenDir(dir)
		if err := errors.Join(err, folder.Sync(), folder.Close()); err != nil {
			t.Fatalf("Sync: %v", err)
		}
	}
	for _, is := range []func(string) bool{isManifest, isLog} {
		file, content := newest(t, moved, is)
		for at := 0; at < len(content); at += 1 + len(content)/200 {
			if found := w.damage(moved, file, content, at, at%8); !found {
				t.Errorf("bit %d of byte %d of %s was not found", at%8, at, file)
			}
		}
	}
	w.open(moved)
	w.close()
}
