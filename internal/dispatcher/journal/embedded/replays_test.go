package embedded

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

func sampleReplay() journal.Replay {
	return journal.Replay{
		Subscription: "sub", ID: "id", Tenant: "acme", State: journal.ReplayFailed, Reason: "Expired", Message: "it took too long",
		From: sampleTime, To: sampleTime.Add(time.Hour), Available: sampleTime.Add(time.Minute), FailuresOnly: true, RateLimit: 1000,
		Start: 300, End: 70_000, Position: 400, Scanned: 101, Matched: 90, Delivered: 60, Failed: 20, Waiting: 10,
		StartedAt: sampleTime.Add(2 * time.Hour), UpdatedAt: sampleTime.Add(3 * time.Hour),
	}
}

// TestReplayRow reads a row as it was written, also with what a newer version adds, and no part of it.
func TestReplayRow(t *testing.T) {
	t.Parallel()
	of, want := replayRef{"sub", "id"}, sampleReplay()
	row := encodeReplay(&want)
	for _, more := range []string{"", "a field of later"} {
		got, err := decodeReplay(of, append(slices.Clip(row), more...))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	for n := range row {
		if got, err := decodeReplay(of, row[:n]); !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("%d of %d bytes read as %+v, %v", n, len(row), got, err)
		}
	}
	row[0]++
	if _, err := decodeReplay(of, row); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("another version was read: %v", err)
	}
}

// FuzzDecodeReplay decodes anything as a replay, and what is one again.
func FuzzDecodeReplay(f *testing.F) {
	replay := sampleReplay()
	f.Add(encodeReplay(&replay))
	f.Fuzz(func(t *testing.T, value []byte) {
		of := replayRef{"sub", "id"}
		got, err := decodeReplay(of, value)
		if err != nil {
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Fatalf("Error %v is not %v", err, journal.ErrCorrupt)
			}

			return
		}
		again, err := decodeReplay(of, encodeReplay(&got))
		if err != nil || !cmp.Equal(got, again) {
			t.Fatalf("%+v came back as %+v, %v", got, again, err)
		}
	})
}
