package embedded_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

// TestUpgrade opens the folder that the first version of the format left, which counted no
// dead letters: 9 events and a marker, and one delivery in each state.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "format1"))); err != nil {
		t.Fatalf("Copying the folder: %v", err)
	}
	clock := clockwork.NewFakeClockAt(began.Add(time.Hour))
	o := embedded.Options{Dir: dir, FS: vfs.Default, Clock: clock, BallastBytes: -1, DeadLetters: journal.DeadLetterLimits{
		Subscription: journal.DeadLetterCap{Count: 1},
	}}
	for round := range 2 {
		j := open(t, o)
		checkGolden(t, j)
		eventually(t, "the older of two dead letters expires", func() bool {
			clock.Advance(time.Second)
			letters, err := j.View().DeadLetters(t.Context(), "sub", 0, 10)
			if err != nil {
				t.Fatalf("DeadLetters: %v", err)
			}

			return len(letters) == 1 && letters[0].Seq == 7 && letters[0].Event.ID == "event-6"
		})
		expired, err := j.View().ExpiredDeadLetters(t.Context(), "sub")
		if err != nil || expired.Count != 1 || expired.Last != 4 {
			t.Errorf("Round %d: expired %+v, error %v", round, expired, err)
		}
		again, err := j.Append(t.Context(), []journal.Event{{Tenant: "acme", Source: "//golden", ID: "event-2", Type: "order.created"}})
		if err != nil || !again[0].Duplicate || again[0].Seq != 3 {
			t.Errorf("Round %d: a duplicate got %+v, error %v", round, again, err)
		}
		if err := j.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
}

// checkGolden looks for all but the dead letters.
func checkGolden(t *testing.T, j *embedded.Journal) {
	t.Helper()
	records, err := j.Read(t.Context(), 1, 100)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	var got []string
	for _, record := range records {
		if record.Marker != nil {
			got = append(got, record.Marker.ID+" "+string(record.Marker.Value))
		} else {
			got = append(got, record.Event.ID+" "+record.Event.Type+" "+string(record.Event.Body))
		}
	}
	want := make([]string, 0, 10)
	for i := range 8 {
		want = append(want, fmt.Sprintf("event-%d order.created {\"id\":\"event-%d\"}", i, i))
	}
	want = append(want, "sub value", "last order.changed {}")
	equal(t, "records", want, got)
	view, ctx := j.View(), t.Context()
	cursor, err := view.Cursor(ctx, 0)
	equalRows(t, "cursor", journal.Seq(6), cursor, err)
	done, err := view.DoneAfterCursor(ctx, 0)
	equalRows(t, "done", []journal.Ref{{Subscription: "sub", Seq: 7}}, done, err)
	backlog, err := view.Backlog(ctx, "sub", 0, 10)
	equalRows(t, "backlog", []journal.Seq{1, 2}, backlog, err)
	due, _, err := view.Due(ctx, began.Add(2*time.Hour), 10)
	equalRows(t, "due", []journal.RetryRow{{Ref: journal.Ref{Subscription: "sub", Seq: 5}, Attempts: 3, Due: began.Add(time.Hour)}}, due, err)
	attempts, err := view.Attempts(ctx, "sub", journal.AttemptQuery{Limit: 10})
	equalRows(t, "attempts", 3, len(attempts), err)
	statuses, err := view.Statuses(ctx, "sub")
	equalRows(t, "statuses", 1, len(statuses), err)
	skipped, err := view.Skipped(ctx, "sub")
	equalRows(t, "skipped", []journal.Interval{{Subscription: "sub", From: 2, To: 3, Reason: "Disabled"}}, skipped, err)
	unmatched, err := view.IsUnmatched(ctx, 6)
	equalRows(t, "unmatched", true, unmatched, err)
	versions, err := j.Subscriptions(ctx, journal.LatestSeq)
	equalRows(t, "subscriptions", []journal.Version{
		{Tenant: "acme", ID: "sub", Name: "name", Revision: 1, Seq: 9, Value: []byte("value")},
	}, versions, err)
	types, err := view.EventTypes(ctx, "acme")
	equalRows(t, "event types", 2, len(types), err)
}

func equalRows(t *testing.T, what string, want, got any, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	equal(t, what, want, got)
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: -want, +got:\n%s", what, diff)
	}
}
