package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

func init() { children["full"] = childFull } //nolint:gochecknoinits // The other children do not need Linux.

// What the disk of TestFullDisk is like.
const (
	fullDiskSize = 96 << 20
	fullMinFree  = 24 << 20
	fullBallast  = 12 << 20
)

// TestFullDisk fills a real file system of its own to the last byte and frees it again: events
// are refused and taken again, settling goes on, and the journal is never opened again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	command := child(t, "full", t.TempDir())
	// Namespaces of its own let it mount a file system, whoever runs the test.
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := command.Output()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit), strings.Contains(string(out), errNoMount.Error()):
		t.Skipf("No file system can be mounted here: %v\n%s", err, out)
	case err != nil:
		t.Fatalf("The child ended: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	for _, want := range []string{
		`msg="Disk became nearly full, events are refused"`, `msg="Disk is full, events are refused" ballastRemoved=true`,
		`msg="Disk has room again, events are accepted"`, "done",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("The child did not say %q", want)
		}
	}
}

var errNoMount = errors.New("mounting is not allowed")

// fullDisk is the child's journal, on a file system that it fills.
type fullDisk struct {
	dir    string
	j      *embedded.Journal
	random *rand.ChaCha8
	next   int
	kept   map[journal.Seq]string
}

func childFull(ctx context.Context, dir string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", fullDiskSize)); err != nil {
		return fmt.Errorf("%w: %w", errNoMount, err)
	}
	options := embedded.Options{
		Dir: filepath.Join(dir, "journal"), Log: slog.New(slog.NewTextHandler(os.Stdout, nil)),
		MinFreeBytes: fullMinFree, MinFreePercent: -1, BallastBytes: fullBallast, MemTableBytes: 1 << 20,
	}
	j, err := embedded.Open(ctx, options)
	if err != nil {
		return err
	}
	d := &fullDisk{dir: dir, j: j, random: rand.NewChaCha8([32]byte{}), kept: map[journal.Seq]string{}}
	for round := range 2 {
		if err := d.round(ctx); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	if err := j.Close(); err != nil {
		return err
	}
	if d.j, err = embedded.Open(ctx, options); err != nil {
		return err
	}
	if err := errors.Join(d.check(ctx), d.j.Close()); err != nil {
		return err
	}
	fmt.Println("done")

	return nil
}

// append appends one event of 16 kB.
func (d *fullDisk) append(ctx context.Context) error {
	id := fmt.Sprint(d.next)
	body := make([]byte, 16<<10)
	if _, err := d.random.Read(body); err != nil { // So that it cannot be compressed.
		return err
	}
	receipts, err := d.j.Append(ctx, []journal.Event{{Tenant: "acme", ID: id, Type: "x", Body: body}})
	if err == nil {
		d.kept[receipts[0].Seq] = id
		d.next++
	}

	return err
}

// settle settles outcomes of deliveries, with attempts.
func (d *fullDisk) settle(ctx context.Context, count int) error {
	for range count {
		outcome := journal.Outcome{
			Ref: journal.Ref{Subscription: "sub", Seq: 1}, Tenant: "acme", Result: journal.Delivered,
			Attempt: &journal.Attempt{EventType: "x", At: time.Now(), Success: true, ResponseCode: 200},
		}
		if err := d.j.Settle(ctx, 0, 1, journal.Batch{Outcomes: []journal.Outcome{outcome}}); err != nil {
			return fmt.Errorf("settling: %w", err)
		}
	}

	return nil
}

// round fills the disk, first with events and then with a stranger's file, and frees it.
func (d *fullDisk) round(ctx context.Context) error {
	var err error
	for err == nil {
		err = d.append(ctx)
	}
	if !errors.Is(err, journal.ErrFull) {
		return fmt.Errorf("filling the disk with events: %w", err)
	}
	if err := d.settle(ctx, 1000); err != nil {
		return fmt.Errorf("nearly full: %w", err)
	}
	stranger := filepath.Join(d.dir, "stranger")
	if err := fillUp(stranger); err != nil {
		return err
	}
	for i := range 40 {
		if err := d.settle(ctx, 100); err != nil {
			return fmt.Errorf("full to the last byte, %d: %w", i, err)
		}
		if err := d.append(ctx); !errors.Is(err, journal.ErrFull) {
			return fmt.Errorf("appending to a full disk: error %w, want %w", err, journal.ErrFull)
		}
		time.Sleep(time.Millisecond)
	}
	if err := d.check(ctx); err != nil {
		return fmt.Errorf("full to the last byte: %w", err)
	}
	if err := os.Remove(stranger); err != nil {
		return err
	}
	// Most of what is left was delivered, and goes by age.
	_, last, err := d.j.View().Bounds(ctx)
	if err != nil {
		return err
	}
	before := last - 10
	if err := errors.Join(d.j.Settle(ctx, 0, 1, journal.Batch{Cursor: last}), d.j.Trim(ctx, before)); err != nil {
		return fmt.Errorf("letting go of events: %w", err)
	}
	for seq := range d.kept {
		if seq < before {
			delete(d.kept, seq)
		}
	}

	return d.accepts(ctx)
}

// accepts waits until events are accepted again. Where a compaction of the store failed for
// want of room, that takes the half minute for which it does not try the same again.
func (d *fullDisk) accepts(ctx context.Context) error {
	for deadline := time.Now().Add(3 * patience); ; time.Sleep(10 * time.Millisecond) {
		err := d.append(ctx)
		if err == nil {
			return nil
		}
		if !errors.Is(err, journal.ErrFull) || time.Now().After(deadline) {
			return fmt.Errorf("with room again: %w", err)
		}
	}
}

// fillUp writes a file until the disk has no room.
func fillUp(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	for size := 1 << 20; size > 0 && err == nil; {
		if _, err = file.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size, err = size/2, nil
		}
	}

	return errors.Join(err, file.Close())
}

// check looks for every event that was acknowledged and not trimmed.
func (d *fullDisk) check(ctx context.Context) error {
	for seq, id := range d.kept {
		events, err := d.j.Get(ctx, []journal.Seq{seq})
		if err != nil {
			return err
		}
		if events[0].ID != id {
			return fmt.Errorf("position %d holds %s, want %s", seq, events[0].ID, id)
		}
	}

	return nil
}
