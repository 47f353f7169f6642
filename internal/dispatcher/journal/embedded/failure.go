package embedded

import (
	"context"
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

// apply commits a batch. It and reclaim are the only ways in which this package writes to the
// store: a commit that fails makes Pebble call Fatalf, which comes back in write as a panic.
func (j *Journal) apply(batch *pebble.Batch, options *pebble.WriteOptions) error {
	return j.write(func() error { return j.db.Apply(batch, options) })
}

// write calls the store.
func (j *Journal) write(call func() error) (err error) {
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
	if err := call(); err != nil {
		return fmt.Errorf("writing to the store: %w", err)
	}

	return j.failure.get()
}

// reclaim has the store flush what it holds in memory, and with that look for other tasks of
// its own: it does so by itself only as it is written to, and while events are refused it is
// hardly. So room would not be given back that a trim let go of, or that a task had failed to
// give back for want of room, which the store leaves alone for half a minute then. It asks for
// some room first, and goes on until the disk is full no more.
func (j *Journal) reclaim() error {
	if !j.space.full.Load() {
		j.space.wanted.Store(false)
	}
	if !j.space.wanted.Load() || j.space.free.Load() < reclaimTables*j.options.MemTableBytes {
		return nil
	}
	now := j.options.Clock.Now()
	if now.Sub(j.space.reclaimed).Abs() < reclaimInterval {
		return nil
	}
	j.space.reclaimed = now
	batch := j.db.NewBatch()
	defer func() { _ = batch.Close() }()
	must(batch.LogData([]byte("reclaim"), nil))
	var flushed <-chan struct{}
	err := j.write(func() (err error) {
		if err = j.db.Apply(batch, pebble.NoSync); err == nil {
			flushed, err = j.db.AsyncFlush()
		}

		return err
	})
	if err != nil {
		return err
	}
	j.compactTrimmed(flushed)

	return nil
}

// compactTrimmed takes the trimmed records out of the store's tables. Their deletion alone is no reason for the
// store to do so while it has few tables. What goes wrong the store tells of itself, and it is tried again.
func (j *Journal) compactTrimmed(flushed <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), reclaimTimeout)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-j.stop:
		case <-j.failure.down:
		case <-ended:
		}
		cancel()
	}()
	select {
	case <-ctx.Done():
		return
	case <-flushed:
	}
	if first := journal.Seq(j.first.Load()); first > 1 {
		_ = j.db.Compact(ctx, keyEvent(0), keyEvent(first), false)
	}
}

// writeName is how a stack trace names write.
const writeName = ".(*Journal).write"

// fatal is what storeLog.Fatalf panics with below write.
type fatal struct{ message string }

// String is the store's own message.
func (f fatal) String() string { return f.message }

// storeLog is Pebble's logger. Pebble promises nothing after Fatalf returns, so it never
// does: below write it panics, and on the store's own goroutines it stops them for good.
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
	if calledBelow(writeName) {
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
		if info := pebble.ExtractDataCorruptionInfo(err); info != nil && !strings.Contains(err.Error(), info.Path) {
			doing += ": " + info.Path
		}

		return fmt.Errorf("%s: %w: %w", doing, journal.ErrCorrupt, err)
	}

	return fmt.Errorf("%s: %w", doing, err)
}

// recordError says of a damaged store which record it took; other errors are not the record's.
func recordError(seq journal.Seq, err error) error {
	if !errors.Is(err, journal.ErrCorrupt) {
		return fmt.Errorf("position %d: %w", seq, err)
	}
	record := &journal.RecordError{Seq: seq, Err: err, Altered: true}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		record.File = info.Path
	}

	return record
}
