package embedded_test

import (
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/journaltest"
)

// testDir is the journal's folder on a file system in memory.
const testDir = "/var/lib/journal"

// began is when the tests' clocks begin.
var began = time.Date(2026, time.March, 1, 22, 0, 0, 0, time.UTC)

// TestConformance runs the suite on a file system in memory that tells what a crash leaves.
func TestConformance(t *testing.T) {
	t.Parallel()
	journaltest.Run(t, func(t *testing.T) journaltest.Harness {
		t.Helper()
		fs := vfs.NewCrashableMem()
		full := &atomic.Bool{}
		h := harness(t, fs, testDir, full)
		h.Crash = func(t *testing.T, rng *rand.Rand) journal.Journal {
			t.Helper()
			left := fs.CrashClone(vfs.CrashCloneCfg{
				UnsyncedDataPercent: []int{0, 50, 100}[rng.IntN(3)],
				RNG:                 rng,
			})

			// Not by open: hundreds of these would be held until the test ends.
			j, err := embedded.Open(t.Context(), options(t, left, testDir, h.Clock, full))
			if err != nil {
				t.Fatalf("Opening what a crash left: %v", err)
			}

			return j
		}

		return h
	})
}

// TestConformanceOnDisk runs the suite on a real file system, which cannot tell of crashes.
func TestConformanceOnDisk(t *testing.T) {
	t.Parallel()
	journaltest.Run(t, func(t *testing.T) journaltest.Harness {
		t.Helper()

		return harness(t, nil, t.TempDir(), &atomic.Bool{})
	})
}

func harness(t *testing.T, fs vfs.FS, dir string, full *atomic.Bool) journaltest.Harness {
	t.Helper()
	clock := clockwork.NewFakeClockAt(began)
	var limits journal.DeadLetterLimits

	return journaltest.Harness{
		Clock: clock,
		Open: func(t *testing.T) journal.Journal {
			t.Helper()
			o := options(t, fs, dir, clock, full)
			o.DeadLetters = limits

			return open(t, o)
		},
		SetDeadLetterLimits: func(to journal.DeadLetterLimits) { limits = to },
		SetFull:             full.Store,
		Damage: func(t *testing.T, j journal.Journal, seq journal.Seq, lose bool) {
			t.Helper()
			if err := j.(*embedded.Journal).DamageRecord(seq, lose); err != nil {
				t.Fatalf("Damaging position %d: %v", seq, err)
			}
		},
	}
}

// options are those of a journal in a test.
func options(t *testing.T, fs vfs.FS, dir string, clock clockwork.Clock, full *atomic.Bool) embedded.Options {
	t.Helper()

	return embedded.Options{
		Dir: dir, FS: fs, Clock: clock, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), BallastBytes: 1 << 20,
		FreeSpace: func() (embedded.Space, error) {
			if full.Load() {
				return embedded.Space{Free: 100 << 20, Total: 1 << 30}, nil
			}

			return embedded.Space{Free: 1 << 40, Total: 1 << 41}, nil
		},
	}
}

// open opens a journal and closes it with the test, should the test not have done so.
func open(t *testing.T, options embedded.Options) *embedded.Journal {
	t.Helper()
	j, err := tryOpen(t, options)
	if err != nil {
		t.Fatalf("Opening the journal: %v", err)
	}

	return j
}

func tryOpen(t *testing.T, options embedded.Options) (*embedded.Journal, error) {
	t.Helper()
	j, err := embedded.Open(t.Context(), options)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = j.Close() })

	return j, nil
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
