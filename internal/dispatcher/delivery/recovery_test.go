package delivery

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// TestParkedRetriesOfTheDeletedGo: the cursor passes the marker of a deletion before the
// rows of the subscription are cleared, so a process that ends in between finds rows of a
// subscription that neither the log nor the registry will tell of again.
func TestParkedRetriesOfTheDeletedGo(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, fs: vfs.NewMem(), clock: clockwork.NewRealClock()}
	r.open()
	id := r.subscribe("http://127.0.0.1:1", nil)
	seqs := r.publish("a.b", "1")
	if err := r.api.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	_, marker, err := r.journal.View().Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.settle(journal.Batch{Cursor: marker, Outcomes: []journal.Outcome{
		{Ref: journal.Ref{Subscription: id, Seq: seqs[0]}, Result: journal.Retry, NextAttempt: parkedDue},
	}})
	r.close()
	r.open()
	r.run()
	t.Cleanup(func() { r.stop(); r.close() })
	eventually(t, "the row to go", func() bool {
		oldest, err := r.journal.View().OldestReference(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		return oldest == 0
	})
}

// settle writes a batch while no engine runs.
func (r *rig) settle(batch journal.Batch) {
	r.t.Helper()
	owned, err := r.journal.Own(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.journal.Settle(r.t.Context(), 0, (<-owned).Epoch, batch); err != nil {
		r.t.Fatal(err)
	}
}

// gated is a journal that can be held back from reading the log, and that counts the
// readings of rows meanwhile.
type gated struct {
	journal.Journal

	gate chan struct{}
	fed  *atomic.Int64
}

func (g gated) Read(ctx context.Context, from journal.Seq, most int) ([]journal.Record, error) {
	select {
	case <-g.gate:
	case <-ctx.Done():
		return nil, ctx.Err()
	}

	return g.Journal.Read(ctx, from, most)
}

func (g gated) View() journal.View { return gatedView{View: g.Journal.View(), gated: g} }

type gatedView struct {
	journal.View

	gated gated
}

func (v gatedView) count() {
	select {
	case <-v.gated.gate:
	default:
		v.gated.fed.Add(1)
	}
}

func (v gatedView) Backlog(ctx context.Context, id string, after journal.Seq, most int) ([]journal.Seq, error) {
	v.count()

	return v.View.Backlog(ctx, id, after, most)
}

func (v gatedView) Due(ctx context.Context, by time.Time, most int) ([]journal.RetryRow, time.Time, error) {
	v.count()

	return v.View.Due(ctx, by, most)
}

func (v gatedView) Retries(ctx context.Context, id string, after journal.Seq, most int) ([]journal.RetryRow, error) {
	v.count()

	return v.View.Retries(ctx, id, after, most)
}

// TestRowsWaitForRecovery: until the reader is past what was in the log at the start, it
// asks the rows what they stand for, so none of them may be delivered and go.
func TestRowsWaitForRecovery(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := &rig{t: t, fs: vfs.NewMem(), clock: clockwork.NewRealClock()}
	r.open()
	id := r.subscribe(endpoint.URL, nil)
	tester := r.subscribe(endpoint.URL, nil)
	r.enable(tester, false)
	waiting := r.publish("a.b", ids("waits", 3)...)
	r.settle(journal.Batch{
		Cursor: waiting[0], Backlog: []journal.Ref{{Subscription: id, Seq: waiting[0]}, {Subscription: id, Seq: waiting[1]}},
		Outcomes: []journal.Outcome{{
			Ref:    journal.Ref{Subscription: id, Seq: waiting[2]},
			Result: journal.Retry, NextAttempt: r.clock.Now().Add(-time.Second),
		}},
	})
	r.close()

	held := gated{gate: make(chan struct{}), fed: &atomic.Int64{}}
	r.change = func(c *Config) {
		held.Journal = c.Journal
		c.Journal = held
	}
	r.open()
	r.run()
	t.Cleanup(func() { r.stop(); r.close() })
	eventually(t, "the engine to run", func() bool { r.engine.mu.Lock(); defer r.engine.mu.Unlock(); return r.engine.accepting })
	// The rows were counted before the engine ran.
	counted := held.fed.Load()
	// A test event answers after a Settle, so the second one comes after a whole pass of the keeper.
	for range 2 {
		if attempt, err := r.engine.SendTest(t.Context(), tester, ""); err != nil || !attempt.Success {
			t.Fatalf("%+v, %v", attempt, err)
		}
	}
	if tried, _, _ := endpoint.counts(); held.fed.Load() != counted || tried != 2 {
		t.Errorf("rows were read %d times and %d events sent, the two test events included, before the log was read", held.fed.Load()-counted, tried)
	}
	close(held.gate)
	endpoint.got(t, 2+3)
	eventually(t, "the rows to go", func() bool { backlog, retries := r.rows(id); return backlog+retries == 0 })
	for _, event := range ids("waits", 3) {
		if n := endpoint.triedTimes(event); n != 1 {
			t.Errorf("event %s was tried %d times: want 1", event, n)
		}
	}
}
