package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

// TestFormat opens folders of formats that are not this program's.
func TestFormat(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason  string
		stamp   string
		remove  bool
		want    string
		corrupt bool
	}{
		"Newer":   {"A newer format is refused, with both versions in the message.", "hookline-journal 2\n", false, `format "2" and this program knows format "1"`, false},
		"Foreign": {"A stamp that is none is damage.", "something else", false, "not a journal's format stamp", true},
		"Empty":   {"An empty stamp is damage.", "", false, "not a journal's format stamp", true},
		"Missing": {"A store without a stamp is damage.", "", true, "a store without a format stamp", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewMem()
			o := options(t, fs, testDir, clockwork.NewFakeClockAt(began), &atomic.Bool{})
			if err := open(t, o).Close(); err != nil {
				t.Fatalf("%s\nClose: %v", tc.reason, err)
			}
			stamp := fs.PathJoin(testDir, "FORMAT")
			if tc.remove {
				if err := fs.Remove(stamp); err != nil {
					t.Fatalf("Remove: %v", err)
				}
			} else {
				write(t, fs, stamp, []byte(tc.stamp))
			}
			_, err := tryOpen(t, o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nOpen: error %v, want one with %q", tc.reason, err, tc.want)
			}
			if got := errors.Is(err, journal.ErrCorrupt); got != tc.corrupt {
				t.Errorf("%s\nOpen: error %v is ErrCorrupt: %t, want %t", tc.reason, err, got, tc.corrupt)
			}
			write(t, fs, stamp, []byte("hookline-journal 1\n"))
			open(t, o)
		})
	}
}

// TestOpenDir refuses to open nowhere.
func TestOpenDir(t *testing.T) {
	t.Parallel()
	if _, err := tryOpen(t, embedded.Options{}); err == nil || !strings.Contains(err.Error(), "Dir is empty") {
		t.Errorf("Open without Dir: error %v", err)
	}
}

// gate is a file system whose write-ahead log waits for its fsyncs while it is shut.
type gate struct {
	shut atomic.Bool
	open chan struct{}
	held chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{}), held: make(chan struct{}, 16)} }

func (g *gate) fs() vfs.FS {
	return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if g.shut.Load() && strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			g.held <- struct{}{}
			<-g.open
		}

		return nil
	}))
}

// TestNotYetDurable looks at the journal while an fsync is under way: what waits for it is
// not shown to anyone, not acknowledged, and its publisher may go away.
func TestNotYetDurable(t *testing.T) {
	t.Parallel()
	g := newGate()
	j := open(t, options(t, g.fs(), testDir, clockwork.NewFakeClockAt(began), &atomic.Bool{}))
	event := func(id string) []journal.Event { return []journal.Event{{Tenant: "acme", ID: id, Type: "x"}} }
	if _, err := j.Append(t.Context(), event("1")); err != nil {
		t.Fatalf("Append: %v", err)
	}
	g.shut.Store(true)
	release := sync.OnceFunc(func() {
		g.shut.Store(false)
		close(g.open)
	})
	t.Cleanup(release)
	type answer struct {
		id       string
		receipts []journal.Receipt
		err      error
	}
	const twins = 4
	answers := make(chan answer, 2*twins)
	appendOne := func(id string) {
		receipts, err := j.Append(t.Context(), event(id))
		answers <- answer{id, receipts, err}
	}
	go appendOne("2")
	select {
	case <-g.held:
	case early := <-answers:
		t.Fatalf("Append answered %+v without an fsync", early)
	}
	// The same event waits until the first one is durable; twins of another meet in the next group.
	for range twins - 1 {
		go appendOne("2")
	}
	for range twins {
		go appendOne("4")
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if records, err := j.Read(ctx, 2, 1); err == nil {
		t.Errorf("Read returned %+v, which is not durable", records)
	}
	if _, err := j.Append(ctx, event("3")); err == nil {
		t.Error("Append answered before its event was durable")
	}
	if _, err := j.Get(t.Context(), []journal.Seq{2}); !errors.Is(err, journal.ErrTrimmed) {
		t.Errorf("Get of what is not durable: error %v, want %v", err, journal.ErrTrimmed)
	}
	if _, last, err := j.View().Bounds(t.Context()); err != nil || last != 1 {
		t.Errorf("Bounds end at %d, error %v, want 1", last, err)
	}
	select {
	case early := <-answers:
		t.Errorf("Append answered %+v before the fsync ended", early)
	default:
	}
	if err := j.Settle(t.Context(), 0, 1, journal.Batch{Cursor: 1}); err != nil {
		t.Errorf("Settle waits for nobody's fsync: %v", err)
	}
	release()
	firsts, places := map[string]int{}, map[string]journal.Seq{}
	for range 2 * twins {
		got := <-answers
		if got.err != nil {
			t.Fatalf("Append: %v", got.err)
		}
		receipt := got.receipts[0]
		if place, known := places[got.id]; known && place != receipt.Seq {
			t.Errorf("Event %s stands at %d and at %d", got.id, place, receipt.Seq)
		}
		places[got.id] = receipt.Seq
		if !receipt.Duplicate {
			firsts[got.id]++
		}
	}
	if diff := cmp.Diff(map[string]int{"2": 1, "4": 1}, firsts); diff != "" {
		t.Errorf("appended and not duplicates: -want, +got:\n%s", diff)
	}
}

// TestBallast fills the disk to the last byte: events are refused, settling goes on in the
// ballast's room, and the ballast is back when there is room again.
func TestBallast(t *testing.T) {
	t.Parallel()
	inner := vfs.NewMem()
	ballast := inner.PathJoin(testDir, "BALLAST")
	there := func() bool {
		_, err := inner.Stat(ballast)

		return err == nil
	}
	var noRoom, latched atomic.Bool
	fs := errorfs.Wrap(inner, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if noRoom.Load() && there() && strings.HasSuffix(op.Path, ".log") && op.Kind == errorfs.OpFileWrite {
			return syscall.ENOSPC
		}

		return nil
	}))
	clock := clockwork.NewFakeClockAt(began)
	j := open(t, options(t, fs, testDir, clock, &latched))
	if !there() {
		t.Fatal("There is no ballast")
	}
	event := func(id string) []journal.Event { return []journal.Event{{Tenant: "acme", ID: id, Type: "x"}} }
	if _, err := j.Append(t.Context(), event("1")); err != nil {
		t.Fatalf("Append: %v", err)
	}
	noRoom.Store(true)
	latched.Store(true)
	if err := j.Settle(t.Context(), 0, 1, journal.Batch{Cursor: 1}); err != nil {
		t.Errorf("Settle on a full disk: %v", err)
	}
	if _, err := j.PutSubscription(t.Context(), journal.Version{Tenant: "acme", ID: "s", Name: "s"}, 0); err != nil {
		t.Errorf("PutSubscription on a full disk: %v", err)
	}
	if there() {
		t.Error("The ballast is still there")
	}
	if _, err := j.Append(t.Context(), event("2")); !errors.Is(err, journal.ErrFull) {
		t.Errorf("Append on a full disk: error %v, want %v", err, journal.ErrFull)
	}
	noRoom.Store(false)
	latched.Store(false)
	eventually(t, "the ballast is made again", func() bool {
		clock.Advance(time.Second)

		return there()
	})
	if _, err := j.Append(t.Context(), event("2")); err != nil {
		t.Errorf("Append with room again: %v", err)
	}
}

// TestThreshold goes through the latch: on under the threshold, off at twice that.
func TestThreshold(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		reason string
		total  uint64
		free   []uint64
		want   []bool
	}{
		"SmallDisk": {
			"Of a small disk 256 MiB are kept.", 1 << 30,
			[]uint64{300 * mib, 256 * mib, 255 * mib, 300 * mib, 511 * mib, 512 * mib, 300 * mib},
			[]bool{true, true, false, false, false, true, true},
		},
		"LargeDisk": {
			"Of a large disk 5 % are kept.", 100 * 1024 * mib,
			[]uint64{5121 * mib, 5119 * mib, 10239 * mib, 10241 * mib},
			[]bool{true, false, false, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var free atomic.Uint64
			free.Store(tc.total)
			o := options(t, vfs.NewMem(), testDir, clockwork.NewFakeClockAt(began), &atomic.Bool{})
			o.FreeSpace = func() (embedded.Space, error) {
				return embedded.Space{Free: free.Load(), Total: tc.total}, nil
			}
			j := open(t, o)
			var got []bool
			for i, bytes := range tc.free {
				free.Store(bytes)
				_, err := j.Append(t.Context(), []journal.Event{{Tenant: "acme", ID: fmt.Sprint(i), Type: "x"}})
				if err != nil && !errors.Is(err, journal.ErrFull) {
					t.Fatalf("%s\nAppend: %v", tc.reason, err)
				}
				got = append(got, err == nil)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\naccepted: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestMetrics registers the metrics, and takes them back so that the journal can be opened again.
func TestMetrics(t *testing.T) {
	t.Parallel()
	o := options(t, vfs.NewMem(), testDir, clockwork.NewFakeClockAt(began), &atomic.Bool{})
	registry := prometheus.NewRegistry()
	o.Metrics = registry
	for round := range 2 {
		j := open(t, o)
		if _, err := tryOpen(t, o); err == nil {
			t.Fatal("The journal was opened twice")
		}
		events := []journal.Event{{Tenant: "acme", ID: fmt.Sprint(round), Type: "x"}, {Tenant: "acme", ID: fmt.Sprint(round), Type: "x"}}
		if _, err := j.Append(t.Context(), events); err != nil {
			t.Fatalf("Append: %v", err)
		}
		want := fmt.Sprintf(`
# HELP hookline_journal_appended_events_total Events appended to the log.
# TYPE hookline_journal_appended_events_total counter
hookline_journal_appended_events_total 1
# HELP hookline_journal_duplicate_events_total Events not appended because they were appended before.
# TYPE hookline_journal_duplicate_events_total counter
hookline_journal_duplicate_events_total 1
# HELP hookline_journal_last_position Last durable position of the log.
# TYPE hookline_journal_last_position gauge
hookline_journal_last_position %d
`, round+1)
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "hookline_journal_appended_events_total",
			"hookline_journal_duplicate_events_total", "hookline_journal_last_position"); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
}

// TestEventTypeCap appends events of more types than are remembered.
func TestEventTypeCap(t *testing.T) {
	t.Parallel()
	j := open(t, options(t, vfs.NewMem(), testDir, clockwork.NewFakeClockAt(began), &atomic.Bool{}))
	const more = 100
	var events []journal.Event
	for i := range embedded.MaxEventTypes + more {
		events = append(events, journal.Event{Tenant: "acme", ID: fmt.Sprint(i), Type: fmt.Sprintf("type-%d", i)})
	}
	receipts, err := j.Append(t.Context(), events)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	if last := receipts[len(receipts)-1]; last != (journal.Receipt{Seq: journal.Seq(len(events))}) {
		t.Errorf("The last receipt is %+v", last)
	}
	types, err := j.View().EventTypes(t.Context(), "acme")
	if err != nil || len(types) != embedded.MaxEventTypes {
		t.Errorf("%d event types are remembered, error %v, want %d", len(types), err, embedded.MaxEventTypes)
	}
}
