package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

// acknowledged is what a load was told is written.
type acknowledged struct {
	mu       sync.Mutex
	events   map[journal.Seq]string
	versions map[string]journal.Revision
	retries  map[journal.Seq]bool
}

// snapshot copies it.
func (a *acknowledged) snapshot() *acknowledged {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := &acknowledged{events: map[journal.Seq]string{}, versions: map[string]journal.Revision{}, retries: map[journal.Seq]bool{}}
	maps.Copy(out.events, a.events)
	maps.Copy(out.versions, a.versions)
	maps.Copy(out.retries, a.retries)

	return out
}

func (a *acknowledged) note(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// load appends, puts and settles until the context ends, and notes what was acknowledged.
// Every event becomes a retry of "sub".
func load(ctx context.Context, t *testing.T, j *embedded.Journal, noted *acknowledged) *sync.WaitGroup {
	t.Helper()
	var group sync.WaitGroup
	for p := range 4 {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", p, i)
				receipts, err := j.Append(t.Context(), []journal.Event{{Tenant: "acme", ID: id, Type: "x", Body: make([]byte, 2000)}})
				if err != nil {
					t.Errorf("Append: %v", err)

					return
				}
				seq := receipts[0].Seq
				noted.note(func() { noted.events[seq] = id })
				if err := j.Settle(t.Context(), 0, 1, journal.Batch{Outcomes: []journal.Outcome{{
					Ref: journal.Ref{Subscription: "sub", Seq: seq}, Result: journal.Retry, NextAttempt: began,
				}}}); err != nil {
					t.Errorf("Settle: %v", err)

					return
				}
				noted.note(func() { noted.retries[seq] = true })
			}
		})
	}
	group.Go(func() {
		for revision := journal.Revision(0); ctx.Err() == nil; revision++ {
			version, err := j.PutSubscription(t.Context(), journal.Version{Tenant: "acme", ID: "sub", Name: "sub"}, revision)
			if err != nil {
				t.Errorf("PutSubscription: %v", err)

				return
			}
			noted.note(func() { noted.versions["sub"] = version.Revision })
		}
	})

	return &group
}

// has sees to it that a journal has what was acknowledged.
func (a *acknowledged) has(t *testing.T, j *embedded.Journal) {
	t.Helper()
	for seq, id := range a.events {
		got, err := j.Get(t.Context(), []journal.Seq{seq})
		if err != nil || got[0].ID != id {
			t.Fatalf("Position %d was acknowledged as %s, found %+v, error %v", seq, id, got, err)
		}
	}
	for seq := range a.retries {
		pending, err := j.View().Pending(t.Context(), journal.Ref{Subscription: "sub", Seq: seq})
		if err != nil || !pending {
			t.Fatalf("Position %d was settled for a retry, and waits for none, error %v", seq, err)
		}
	}
	versions, err := j.Subscriptions(t.Context(), journal.LatestSeq)
	if err != nil || len(versions) != 1 || versions[0].Revision < a.versions["sub"] {
		t.Fatalf("Subscription at revision %d was acknowledged, found %+v, error %v", a.versions["sub"], versions, err)
	}
}

// TestCheckpoint copies a journal under load again and again, and opens each copy while the
// journal goes on: what was acknowledged before is there, and every record can be read.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	const rounds = 5
	root := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	j := open(t, embedded.Options{Dir: filepath.Join(root, "journal"), BallastBytes: -1, Log: quiet, MemTableBytes: 256 << 10})
	noted := &acknowledged{events: map[journal.Seq]string{}, versions: map[string]journal.Revision{}, retries: map[journal.Seq]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	group := load(ctx, t, j, noted)
	count := func() int { return len(noted.snapshot().retries) }
	for round := range rounds {
		before := count()
		eventually(t, "the load goes on", func() bool { return count() >= before+200 && len(noted.snapshot().versions) > 0 })
		want := noted.snapshot()
		dir := filepath.Join(root, "backups", fmt.Sprint(round))
		if err := j.Checkpoint(t.Context(), dir, embedded.File{Name: "IDENTITY", Content: []byte("me\n")}); err != nil {
			t.Fatalf("Checkpoint: %v", err)
		}
		if content, err := os.ReadFile(filepath.Join(dir, "IDENTITY")); err != nil || string(content) != "me\n" {
			t.Errorf("The file that was given holds %q, error %v", content, err)
		}
		backup := open(t, embedded.Options{Dir: dir, BallastBytes: -1, Log: quiet})
		want.has(t, backup)
		readAll(t, backup)
		if _, err := backup.Append(t.Context(), []journal.Event{{Tenant: "acme", ID: "restored", Type: "x"}}); err != nil {
			t.Errorf("Append to the copy: %v", err)
		}
		if err := backup.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	stop()
	group.Wait()
	// What was done to the copies is nothing to the journal.
	noted.has(t, j)
	readAll(t, j)
	if err := j.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// readAll reads the whole log.
func readAll(t *testing.T, j *embedded.Journal) {
	t.Helper()
	_, last, err := j.View().Bounds(t.Context())
	if err != nil {
		t.Fatalf("Bounds: %v", err)
	}
	for next := journal.Seq(1); next <= last; {
		records, err := j.Read(t.Context(), next, 1000)
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		next += journal.Seq(len(records))
	}
}

// TestCheckpointDurable cuts the power right after a checkpoint, and opens the copy.
func TestCheckpointDurable(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	clock := clockwork.NewFakeClockAt(began)
	j := open(t, options(t, mem, testDir, clock, &atomic.Bool{}))
	for i := range 10 {
		if _, err := j.Append(t.Context(), []journal.Event{{Tenant: "acme", ID: fmt.Sprint(i), Type: "x"}}); err != nil {
			t.Fatalf("Append: %v", err)
		}
	}
	if err := j.Settle(t.Context(), 0, 1, journal.Batch{Cursor: 7}); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	if err := j.Checkpoint(t.Context(), "/backup/one"); err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
	left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	backup := open(t, options(t, left, "/backup/one", clock, &atomic.Bool{}))
	_, last, err := backup.View().Bounds(t.Context())
	if err != nil || last != 10 {
		t.Errorf("The copy ends at %d, error %v, want 10", last, err)
	}
	cursor, err := backup.View().Cursor(t.Context(), 0)
	if err != nil || cursor != 7 {
		t.Errorf("The cursor of the copy is %d, error %v, want 7", cursor, err)
	}
}

// TestCheckpointRefused asks for checkpoints that cannot be made, which leave nothing.
func TestCheckpointRefused(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "journal")
	j := open(t, embedded.Options{Dir: dir, BallastBytes: -1})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		reason string
		ctx    context.Context //nolint:containedctx // A case's own.
		dir    string
		ok     bool
	}{
		"There":    {"A folder that exists is not written to.", t.Context(), root, false},
		"Store":    {"The store is not a place for copies.", t.Context(), filepath.Join(dir, "store", "backup"), false},
		"Canceled": {"Who went away gets none.", canceled, filepath.Join(root, "one"), false},
		"Good":     {"What another one left is in nobody's way.", t.Context(), filepath.Join(root, "two"), true},
	} {
		if err := os.MkdirAll(filepath.Join(root, "two.incomplete", "store"), 0o700); err != nil {
			t.Fatalf("MkdirAll: %v", err)
		}
		err := j.Checkpoint(tc.ctx, tc.dir)
		if (err == nil) != tc.ok {
			t.Errorf("%s: %s\nerror %v", name, tc.reason, err)
		}
		if _, err := os.Stat(tc.dir + ".incomplete"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %s\nsomething is left: %v", name, tc.reason, err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if err := j.Checkpoint(t.Context(), filepath.Join(root, "late")); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Checkpoint of a closed journal: error %v, want %v", err, journal.ErrClosed)
	}
}

// TestCheckpointElsewhere copies onto another file system, where the machine has one at hand.
func TestCheckpointElsewhere(t *testing.T) {
	t.Parallel()
	const memory = "/dev/shm"
	elsewhere, err := os.MkdirTemp(memory, "hookline-") //nolint:usetesting // It must be on the other file system.
	if err != nil {
		t.Skipf("There is no file system in %s: %v", memory, err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(elsewhere) })
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "probe"), nil, 0o600); err != nil {
		t.Fatalf("WriteFile: %v", err)
	}
	if err := os.Link(filepath.Join(dir, "probe"), filepath.Join(elsewhere, "probe")); err == nil {
		t.Skip("Both folders are on one file system")
	}
	o := embedded.Options{Dir: filepath.Join(dir, "journal"), BallastBytes: -1}
	j := open(t, o)
	for i := range 100 {
		if _, err := j.Append(t.Context(), []journal.Event{{Tenant: "acme", ID: fmt.Sprint(i), Type: "x", Accepted: time.Now()}}); err != nil {
			t.Fatalf("Append: %v", err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	j = open(t, o) // Now the log is in tables.
	backup := filepath.Join(elsewhere, "backup")
	if err := j.Checkpoint(t.Context(), backup); err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
	restored := open(t, embedded.Options{Dir: backup, BallastBytes: -1})
	readAll(t, restored)
	if _, last, err := restored.View().Bounds(t.Context()); err != nil || last != 100 {
		t.Errorf("The copy ends at %d, error %v", last, err)
	}
}
