package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// failure is the first fault after which nothing may be written any more: what the disk
// holds is then not known, and the process must start again from it.
type failure struct {
	log  *slog.Logger
	once sync.Once
	// down is closed when the fault is there; err is set before.
	down chan struct{}
	err  error
	out  chan error
}

func newFailure(log *slog.Logger) *failure {
	return &failure{log: log, down: make(chan struct{}), out: make(chan error, 1)}
}

// set remembers the first fault, logs it and tells of it.
func (f *failure) set(err error) {
	f.once.Do(func() {
		f.err = fmt.Errorf("the journal failed and must be opened again: %w", err)
		f.log.Error("Journal failed", "error", err)
		f.out <- f.err
		close(f.out)
		close(f.down)
	})
}

// get is the fault, nil while there is none.
func (f *failure) get() error {
	select {
	case <-f.down:
		return f.err
	default:
		return nil
	}
}

// Failed sends one error when the journal cannot go on, such as after a failed fsync,
// and is closed then. All calls fail from then on; the process should stop, loudly.
// Nothing is sent while all is well, and the channel stays open after Close.
func (j *Journal) Failed() <-chan error { return j.failure.out }

// apply commits a batch. It is the only way in which this package writes to the store: a
// commit that fails makes Pebble call Fatalf, which comes back here as a panic.
func (j *Journal) apply(batch *pebble.Batch, options *pebble.WriteOptions) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			if _, ours := fault.(fatal); !ours {
				j.options.Log.Error("Store panicked", "panic", fault, "stack", string(debug.Stack()))
			}
			j.failure.set(fmt.Errorf("writing to the store: %v", fault))
			err = j.failure.get()
		}
	}()
	if err := j.failure.get(); err != nil {
		return err
	}
	if err := j.db.Apply(batch, options); err != nil {
		return fmt.Errorf("writing to the store: %w", err)
	}
	if j.space.reclaim.CompareAndSwap(true, false) {
		// Nobody waits for it: an error shows as one of the store's own tasks.
		_, _ = j.db.AsyncFlush()
	}

	return j.failure.get()
}

// applyName is how a stack trace names apply.
const applyName = ".(*Journal).apply"

// fatal is what storeLog.Fatalf panics with below apply.
type fatal struct{ message string }

// String is the store's own message.
func (f fatal) String() string { return f.message }

// storeLog is Pebble's logger. Pebble promises nothing after Fatalf returns, so it never
// does: below apply it panics, and on the store's own goroutines it stops them for good.
type storeLog struct{ failure *failure }

// Infof is left out: the store tells of every flush and compaction.
func (l storeLog) Infof(string, ...any) {}

// Errorf logs.
func (l storeLog) Errorf(format string, args ...any) {
	l.failure.log.Error("Store reported an error", "error", fmt.Sprintf(format, args...))
}

// Fatalf tells of the failure.
func (l storeLog) Fatalf(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	l.failure.set(fmt.Errorf("the store cannot go on: %s", message))
	if calledBelow(applyName) {
		panic(fatal{message})
	}
	select {}
}

// calledBelow tells whether a function of a name is among the callers.
func calledBelow(suffix string) bool {
	callers := make([]uintptr, 128)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, suffix) {
			return true
		}
		if !more {
			return false
		}
	}
}

// storeError wraps an error of the store: what its checksums found is ErrCorrupt.
func storeError(doing string, err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%s: %w: %w", doing, journal.ErrCorrupt, err)
	}

	return fmt.Errorf("%s: %w", doing, err)
}

// recordError says of a damaged store which record it took; other errors are not the record's.
func recordError(seq journal.Seq, err error) error {
	if !errors.Is(err, journal.ErrCorrupt) {
		return fmt.Errorf("position %d: %w", seq, err)
	}
	record := &journal.RecordError{Seq: seq, Err: err}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		record.File = info.Path
	}

	return record
}
