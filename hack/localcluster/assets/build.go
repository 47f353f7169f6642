package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

const (
	// lockRetry is how often a run that waits for another one's build asks whether that is done.
	lockRetry = 200 * time.Millisecond
	// heartbeat is how often a step that is still going says so.
	heartbeat = 30 * time.Second
	// interruptGrace is how long the go command has to end its compilers after an interrupt.
	interruptGrace = 5 * time.Second
	// logTail is how much of a failed build's output goes into the error.
	logTail = 4 << 10
	// scratchSuffix is what the names of build folders have after Dir's; the star stands for anything.
	scratchSuffix = ".build-*"
)

// Builder builds programs from Go modules into a folder, each once. Any number of builders, in any
// number of processes, may work on one folder at the same time.
type Builder struct {
	// Dir is where the binaries go. A file lock stands beside it.
	Dir string
	// GoMod and GoSum are the files of the module whose requirements decide the versions.
	GoMod, GoSum []byte
	// Binaries is what to build, in this order.
	Binaries []Binary
	// LDFlags is given to the linker.
	LDFlags string
	// Notice is said once, before the first step, when there is anything to build.
	Notice string
	// Progress receives a line at the begin and the end of each step.
	Progress io.Writer
}

// Ensure returns Dir once it holds every binary, having built what was missing. A binary appears
// there complete or not at all, also when the build is killed.
func (b *Builder) Ensure(ctx context.Context) (string, error) {
	if len(missingFrom(b.Dir, b.Binaries)) == 0 {
		return b.Dir, nil
	}

	if err := os.MkdirAll(b.Dir, 0o755); err != nil { //nolint:gosec // Anybody may run these programs.
		return "", fmt.Errorf("making the cache folder: %w", err)
	}

	unlock, err := b.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()

	// Asked again under the lock: who held it has most likely built everything.
	missing := missingFrom(b.Dir, b.Binaries)
	if len(missing) == 0 {
		return b.Dir, nil
	}

	if err := b.build(ctx, missing); err != nil {
		return "", err
	}

	return b.Dir, nil
}

func (b *Builder) lock(ctx context.Context) (unlock func(), err error) {
	lock := flock.New(b.Dir + ".lock")

	locked, err := lock.TryLock()
	if err == nil && !locked {
		b.sayf("waiting for another run that is building the same")

		_, err = lock.TryLockContext(ctx, lockRetry)
	}

	if err != nil {
		return nil, fmt.Errorf("locking the cache folder: %w", err)
	}

	// The lock's file stays: removing it would let two runs hold locks on two files of one name.
	return func() { _ = lock.Close() }, nil
}

// build makes the named binaries; the caller holds the lock.
func (b *Builder) build(ctx context.Context, names []string) error {
	b.sayf("%s", b.Notice)

	scratch, err := b.prepareScratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	began := time.Now()
	step := 0

	for _, binary := range b.Binaries {
		for _, name := range names {
			if name != binary.Name {
				continue
			}

			step++

			label := fmt.Sprintf("[%d/%d] %s", step, len(names), name)
			if err := b.buildOne(ctx, scratch, label, binary); err != nil {
				return err
			}
		}
	}

	b.sayf("built in %s: %s", elapsed(began), b.Dir)

	return nil
}

// prepareScratch lays out a module for the go command to work in. It stands beside Dir, so that a
// finished binary can be renamed into place. Its name is new each time: when a run is killed, its go
// command may live on for a while, and must not write where this one does.
func (b *Builder) prepareScratch() (string, error) {
	pattern := filepath.Base(b.Dir) + scratchSuffix

	// The lock is held, so whatever is there was left by a run that was killed.
	left, err := filepath.Glob(filepath.Join(filepath.Dir(b.Dir), pattern))
	if err != nil {
		return "", fmt.Errorf("looking for what an interrupted build left: %w", err)
	}

	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("clearing what an interrupted build left: %w", err)
		}
	}

	scratch, err := os.MkdirTemp(filepath.Dir(b.Dir), pattern)
	if err != nil {
		return "", fmt.Errorf("making the build folder: %w", err)
	}

	for name, content := range map[string][]byte{"go.mod": b.GoMod, "go.sum": b.GoSum} {
		if err := os.WriteFile(filepath.Join(scratch, name), content, 0o600); err != nil {
			return "", fmt.Errorf("laying out the build folder: %w", err)
		}
	}

	return scratch, nil
}

func (b *Builder) buildOne(ctx context.Context, scratch, label string, binary Binary) error {
	began := time.Now()

	b.sayf("%s: building", label)

	stopBeat := b.beat(label, began)
	defer stopBeat()

	out := filepath.Join(scratch, binary.fileName())

	args := []string{"build", "-mod=readonly", "-trimpath", "-ldflags", b.LDFlags, "-o", out, binary.Package}

	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = scratch
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH, "GOWORK=off", "GOFLAGS=")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptGrace

	if output, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("building %s: %w", binary.Name, ctx.Err())
		}

		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("building %s: there is no go command on the PATH: install Go, or set %s", binary.Name, EnvDir)
		}

		return fmt.Errorf("building %s: %w; go build said:\n%s", binary.Name, err, tail(output))
	}

	if err := os.Rename(out, filepath.Join(b.Dir, binary.fileName())); err != nil {
		return fmt.Errorf("placing %s: %w", binary.Name, err)
	}

	stopBeat()
	b.sayf("%s: built in %s", label, elapsed(began))

	return nil
}

// beat says every half minute that a step is still going, until the returned function is called.
func (b *Builder) beat(label string, began time.Time) (stop func()) {
	done := make(chan struct{})
	ended := make(chan struct{})

	go func() {
		defer close(ended)

		ticker := time.NewTicker(heartbeat)
		defer ticker.Stop()

		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				b.sayf("%s: still building after %s", label, elapsed(began))
			}
		}
	}()

	return sync.OnceFunc(func() {
		close(done)
		<-ended
	})
}

func (b *Builder) sayf(format string, args ...any) {
	// Progress is a courtesy: a closed terminal must not fail the build.
	_, _ = fmt.Fprintf(b.Progress, "localcluster: "+format+"\n", args...)
}

func elapsed(since time.Time) time.Duration {
	return time.Since(since).Round(100 * time.Millisecond)
}

func tail(output []byte) string {
	if len(output) > logTail {
		output = output[len(output)-logTail:]
	}

	return strings.TrimSpace(string(output))
}
