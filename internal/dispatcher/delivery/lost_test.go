package delivery

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// altered is a journal whose records at some positions cannot be read, and which like a real one then
// gives none of those before them either.
type altered struct {
	journal.Journal

	lost    map[journal.Seq]bool
	altered bool
}

func (a *altered) Read(ctx context.Context, from journal.Seq, most int) ([]journal.Record, error) {
	records, err := a.Journal.Read(ctx, from, most)
	for i := range records {
		if seq := records[i].Seq; a.lost[seq] {
			return nil, &journal.RecordError{Seq: seq, File: "000007.sst", Err: journal.ErrCorrupt, Altered: a.altered}
		}
	}

	return records, err //nolint:wrapcheck // As it is.
}

func TestLostRecordsArePassedOver(t *testing.T) {
	t.Parallel()
	one, other, gone := newReceiver(t), newReceiver(t), newReceiver(t)
	r := &rig{t: t, fs: vfs.NewMem(), clock: clockwork.NewRealClock()}
	r.open()
	moved := r.subscribe(one.URL, nil)
	deleted := r.subscribe(gone.URL, nil)
	first := r.publish("a.b", "e0", "e1", "e2")
	narrowed := []string{"x.*"}
	r.update(moved, subscription.Patch{Events: &narrowed})
	r.publish("a.b", "late")
	// Another takes events from here on, and one none any more.
	r.subscribe(other.URL, nil)
	if err := r.api.Delete(t.Context(), deleted); err != nil {
		t.Fatal(err)
	}
	last := r.publish("x.y", "x0", "x1")
	r.close()
	// An event, and all markers but the first.
	lost := map[journal.Seq]bool{first[1]: true, first[2] + 1: true, first[2] + 3: true, first[2] + 4: true}
	r.change = func(c *Config) { c.Journal = &altered{Journal: c.Journal, lost: lost, altered: true} }
	r.open()
	r.run()
	t.Cleanup(func() { r.stop(); r.close() })
	r.settledTo(last[1])
	one.got(t, 4)
	other.got(t, 2)
	if n := testutil.ToFloat64(r.engine.metrics.lost); n != 4 {
		t.Errorf("%v records were counted as lost: want 4", n)
	}
	for _, event := range []string{"e0", "e2", "x0", "x1"} {
		if n := one.triedTimes(event); n != 1 {
			t.Errorf("event %s was sent %d times", event, n)
		}
	}
	if one.triedTimes("late") != 0 || other.triedTimes("late") != 0 {
		t.Error("a version held elsewhere than after its marker")
	}
	if unmatched, err := r.journal.View().IsUnmatched(t.Context(), first[1]); err != nil || !unmatched {
		t.Errorf("the lost event has no trace: %t, %v", unmatched, err)
	}
	if tried, _, _ := gone.counts(); tried != 0 {
		t.Errorf("%d events were sent to a subscription that is deleted", tried)
	}
	r.restart()
	more := r.publish("x.y", "x2")
	r.settledTo(more[0])
	one.got(t, 5)
	if n := testutil.ToFloat64(r.engine.metrics.lost); n != 0 {
		t.Errorf("%v records were passed over again", n)
	}
}

// TestWhatIsNotUnderstoodStops: a record of a version that is to come is no damage, and a log that is
// damaged all over is to be restored.
func TestWhatIsNotUnderstoodStops(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason  string
		altered bool
		lost    int
	}{
		"Unknown": {"one record is not understood", false, 1},
		"TooMany": {"more are lost than by a flipped bit", true, maxPassedOver + 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &rig{t: t, fs: vfs.NewMem(), clock: clockwork.NewRealClock()}
			r.open()
			lost := map[journal.Seq]bool{}
			for _, seq := range r.publish("a.b", ids("e", c.lost)...) {
				lost[seq] = true
			}
			r.close()
			r.change = func(cfg *Config) { cfg.Journal = &altered{Journal: cfg.Journal, lost: lost, altered: c.altered} }
			r.open()
			r.run()
			t.Cleanup(r.close)
			select {
			case err := <-r.ended:
				r.cancel()
				if !errors.Is(err, journal.ErrCorrupt) {
					t.Errorf("%s: Run ended with %v", c.reason, err)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("%s, and Run goes on", c.reason)
			}
		})
	}
}
