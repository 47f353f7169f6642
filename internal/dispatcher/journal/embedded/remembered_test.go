package embedded

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

func numbered(number int) identity {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(number)))

	return identity(sum[:len(identity{})])
}

// TestRemembered fills the filter: nothing that was added is called absent, of what was not
// few are taken for known, and its size is bounded.
func TestRemembered(t *testing.T) {
	t.Parallel()
	var r remembered
	none := []*segment{}
	if r.absent(numbered(0)) {
		t.Error("An identity is absent before those of the store are known")
	}
	r.built.Store(&none)
	const count, others = segmentIdentities, 100_000
	for i := range count {
		r.add(numbered(i), 7)
	}
	for i := range count {
		if r.absent(numbered(i)) {
			t.Fatalf("Identity %d was added and is absent", i)
		}
	}
	mistaken := 0
	for i := range others {
		if !r.absent(numbered(-1 - i)) {
			mistaken++
		}
	}
	if mistaken > others/100 {
		t.Errorf("%d of %d identities are taken for known, want 1 in 100 at most", mistaken, others)
	}
}

// TestRememberedBound adds more than the filter has segments for.
func TestRememberedBound(t *testing.T) {
	t.Parallel()
	r := remembered{complete: true}
	for range maxSegments {
		r.segments = append(r.segments, &segment{bits: make([]byte, segmentBytes), count: segmentIdentities, newest: 7})
	}
	for i := range 1000 {
		r.add(numbered(i), 8)
	}
	for i := range 1000 {
		if r.absent(numbered(i)) {
			t.Fatalf("Identity %d was added and is absent", i)
		}
	}
	if len(r.segments) != maxSegments {
		t.Errorf("There are %d segments, want %d", len(r.segments), maxSegments)
	}
}

// TestRememberedForget drops what the store has no more, and keeps a segment with anything newer.
func TestRememberedForget(t *testing.T) {
	t.Parallel()
	r := remembered{complete: true, segments: []*segment{newSegment(), newSegment()}}
	r.segments[0].add(numbered(1), 5)
	r.segments[1].add(numbered(2), 5)
	r.segments[1].add(numbered(3), 6)
	r.swept.Store(6)
	r.add(numbered(4), 7)
	if len(r.segments) != 1 || r.absent(numbered(3)) || r.absent(numbered(4)) || !r.absent(numbered(1)) {
		t.Errorf("%d segments are left, or not those", len(r.segments))
	}
}

// TestRememberedReopened opens a journal again: duplicates are found before the filter knows
// the identities of the store and after it.
func TestRememberedReopened(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	for round := range 3 {
		j, err := Open(t.Context(), Options{Dir: "/journal", FS: fs, Clock: clockwork.NewFakeClockAt(sampleTime), BallastBytes: -1})
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		again := func() {
			t.Helper()
			receipts, err := j.Append(t.Context(), []journal.Event{{Tenant: "acme", ID: "1", Type: "x"}})
			if err != nil || receipts[0] != (journal.Receipt{Seq: 1, Duplicate: round > 0}) {
				t.Fatalf("Round %d: receipts %+v, error %v", round, receipts, err)
			}
		}
		if round != 1 {
			again()
		}
		for deadline := time.Now().Add(30 * time.Second); j.committer.remembered.built.Load() == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("The identities were not read")
			}
		}
		if round != 0 {
			again()
		}
		if err := j.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if round > 0 && !j.committer.remembered.complete {
			t.Errorf("Round %d: the store is still asked", round)
		}
	}
}
