package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// childPublish appends, puts and settles until it is killed, and prints what was acknowledged.
func childPublish(ctx context.Context, dir string) error {
	j, err := embedded.Open(ctx, embedded.Options{Dir: dir, BallastBytes: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	owned, err := j.Own(ctx)
	if err != nil {
		return err
	}
	epoch := (<-owned).Epoch
	var out sync.Mutex
	var group sync.WaitGroup
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	for p := range 8 {
		group.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", epoch, p, i)
				receipts, err := j.Append(ctx, []journal.Event{{Tenant: "acme", ID: id, Type: "x", Body: make([]byte, 500)}})
				if err != nil {
					say("error %v", err)

					return
				}
				say("event %d %s", receipts[0].Seq, id)
				if err := j.Settle(ctx, 0, epoch, journal.Batch{Cursor: receipts[0].Seq}); err != nil {
					say("error %v", err)
				}
			}
		})
	}
	for revision := journal.Revision(0); ; revision++ {
		id := fmt.Sprintf("sub-%d", epoch)
		version, err := j.PutSubscription(ctx, journal.Version{Tenant: "acme", ID: id, Name: id}, revision)
		if err != nil {
			return err
		}
		say("version %d %s", version.Revision, id)
	}
}

// TestKill kills a process that publishes, again and again, and looks for what it was told is durable.
func TestKill(t *testing.T) {
	t.Parallel()
	const rounds, lines = 6, 300
	dir := t.TempDir()
	events := map[journal.Seq]string{}
	versions := map[string]journal.Revision{}
	for range rounds {
		killAfter(t, child(t, "publish", dir), lines, events, versions)
		j := open(t, embedded.Options{Dir: dir, BallastBytes: -1, Log: slog.New(slog.DiscardHandler)})
		for seq, id := range events {
			got, err := j.Get(t.Context(), []journal.Seq{seq})
			if err != nil || got[0].ID != id {
				t.Fatalf("Position %d was acknowledged as %s, found %+v, error %v", seq, id, got, err)
			}
		}
		found, err := j.Subscriptions(t.Context(), journal.LatestSeq)
		if err != nil {
			t.Fatalf("Subscriptions: %v", err)
		}
		for id, revision := range versions {
			at := slices.IndexFunc(found, func(v journal.Version) bool { return v.ID == id })
			if at < 0 || found[at].Revision < revision {
				t.Fatalf("Subscription %s was acknowledged at revision %d, found %+v", id, revision, found)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if len(events) < rounds || len(versions) < rounds {
		t.Fatalf("%d events and %d subscriptions were acknowledged in %d rounds", len(events), len(versions), rounds)
	}
}

// killAfter runs a child, notes what it acknowledges, and kills it in the midst of it.
func killAfter(
	t *testing.T, command *exec.Cmd, lines int, events map[journal.Seq]string, versions map[string]journal.Revision,
) {
	t.Helper()
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatalf("StdoutPipe: %v", err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("Start: %v", err)
	}
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		var what, id string
		var number uint64
		if _, err := fmt.Sscanf(scanner.Text(), "%s %d %s", &what, &number, &id); err != nil {
			t.Fatalf("The child said %q", scanner.Text())
		}
		switch what {
		case "event":
			events[journal.Seq(number)] = id
		case "version":
			versions[id] = journal.Revision(number)
		}
		if n == lines {
			if err := command.Process.Kill(); err != nil {
				t.Fatalf("Kill: %v", err)
			}
		}
	}
	if err := command.Wait(); err == nil {
		t.Fatal("The child ended by itself")
	}
}

// childHold opens the journal and holds it until its input ends.
func childHold(ctx context.Context, dir string) error {
	j, err := embedded.Open(ctx, embedded.Options{Dir: dir, BallastBytes: -1})
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, err = io.Copy(io.Discard, os.Stdin)

	return errors.Join(err, j.Close())
}

// TestLock opens a journal that another process has open, and one that this process has.
func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holder := child(t, "hold", dir)
	release, err := holder.StdinPipe()
	if err != nil {
		t.Fatalf("StdinPipe: %v", err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatalf("StdoutPipe: %v", err)
	}
	if err := holder.Start(); err != nil {
		t.Fatalf("Start: %v", err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("The child said %q, error %v", line, err)
	}
	refused := func(reason string) {
		t.Helper()
		_, err := tryOpen(t, embedded.Options{Dir: dir, BallastBytes: -1})
		if err == nil || !strings.Contains(err.Error(), "another process has the journal in "+dir+" open") {
			t.Errorf("%s: error %v", reason, err)
		}
	}
	refused("while another process has it")
	if err := errors.Join(release.Close(), holder.Wait()); err != nil {
		t.Fatalf("The child ended: %v", err)
	}
	j := open(t, embedded.Options{Dir: dir, BallastBytes: -1})
	refused("while this process has it")
	if err := j.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	open(t, embedded.Options{Dir: dir, BallastBytes: -1})
}

// The ways in which childFail's disk fails.
const (
	failSync  = "sync"
	failWrite = "write"
)

// childFail runs a journal whose disk fails in a way, and prints what came of it.
func childFail(ctx context.Context, way string) error {
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !broken.Load() || !strings.HasSuffix(op.Path, ".log") {
			return nil
		}
		switch {
		case way == failSync && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData):
			return errors.New("input/output error")
		case way == failWrite && op.Kind == errorfs.OpFileWrite:
			return syscall.ENOSPC
		default:
			return nil
		}
	}))
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	j, err := embedded.Open(ctx, embedded.Options{Dir: testDir, FS: fs, Clock: clockwork.NewFakeClockAt(began), Log: log})
	if err != nil {
		return err
	}
	event := func(id string) []journal.Event { return []journal.Event{{Tenant: "acme", ID: id, Type: "x"}} }
	if _, err := j.Append(ctx, event("1")); err != nil {
		return err
	}
	broken.Store(true)
	_, err = j.Append(ctx, event("2"))
	fmt.Println("append:", err)
	select {
	case failure := <-j.Failed():
		fmt.Println("failed:", failure)
	case <-time.After(patience):
		fmt.Println("failed: nothing was sent")
	}
	_, err = j.Append(ctx, event("3"))
	fmt.Println("append again:", err)
	_, err = j.Read(ctx, 2, 1)
	fmt.Println("read:", err)
	fmt.Println("settle:", j.Settle(ctx, 0, 1, journal.Batch{Cursor: 1}))
	fmt.Println("close:", j.Close())

	return nil
}

// TestFailure lets the disk fail at an fsync, and have no room for a write, not even with the
// ballast's given back: nothing is acknowledged, and the journal says that it cannot go on.
// The process itself is not ended behind its owner's back.
func TestFailure(t *testing.T) {
	t.Parallel()
	for way, message := range map[string]string{failSync: "input/output error", failWrite: syscall.ENOSPC.Error()} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			testFailure(t, way, message)
		})
	}
}

func testFailure(t *testing.T, way, message string) {
	t.Helper()
	out, err := child(t, "fail", way).Output()
	if err != nil {
		t.Fatalf("The child ended: %v\n%s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	for _, what := range []string{"append: ", "failed: ", "append again: ", "read: ", "settle: ", "close: "} {
		at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, what) })
		if at < 0 || !strings.Contains(lines[at], "the journal failed and must be opened again") ||
			!strings.Contains(lines[at], message) {
			t.Errorf("%q is not answered with the failure:\n%s", what, out)
		}
	}
	if !strings.Contains(string(out), `msg="Journal failed"`) {
		t.Errorf("The failure was not logged:\n%s", out)
	}
}
