package embedded

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// sampleTime has nanoseconds, so that none are lost unseen.
var sampleTime = time.Date(2026, time.March, 1, 12, 30, 0, 123456789, time.UTC)

// samples are records as they are stored, at their positions.
func samples() map[journal.Seq]struct {
	want   journal.Record
	stored []byte
} {
	full := &journal.Event{
		Tenant: "acme", Source: "//test", ID: "1", Type: "order.created", Subject: "order/1",
		PartitionKey: "key", Accepted: sampleTime, Body: []byte(`{"id":"1"}`),
	}
	bare := &journal.Event{Tenant: "acme", ID: strings.Repeat("é", 300), Type: "x"}
	version := &journal.Version{
		Tenant: "acme", ID: "sub", Name: "a name", Revision: 300, Seq: 1 << 40, Deleted: true, Value: []byte{0, 1, 2, 255},
	}

	return map[journal.Seq]struct {
		want   journal.Record
		stored []byte
	}{
		1:       {journal.Record{Seq: 1, Event: full}, seal(unsealedEvent(full, full.Accepted), 1)},
		2:       {journal.Record{Seq: 2, Event: bare}, seal(unsealedEvent(bare, bare.Accepted), 2)},
		1 << 40: {journal.Record{Seq: 1 << 40, Marker: version}, seal(unsealedMarker(version, sampleTime), 1<<40)},
	}
}

// TestRecord reads records back, and refuses them with any one bit flipped, cut at any
// byte, with a byte more, or at another position.
func TestRecord(t *testing.T) {
	t.Parallel()
	for seq, sample := range samples() {
		got, err := decodeRecord(seq, sample.stored)
		if err != nil {
			t.Fatalf("Position %d: %v", seq, err)
		}
		if diff := cmp.Diff(sample.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("Position %d: -want, +got:\n%s", seq, diff)
		}
		bad := map[string][]byte{"a byte more": append(append([]byte{}, sample.stored...), 0), "nothing": nil}
		refuse := func(what string, seq journal.Seq, stored []byte) {
			if _, err := decodeRecord(seq, stored); !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), "position ") {
				t.Errorf("Position %d, %s: error %v, want %v with the position", seq, what, err, journal.ErrCorrupt)
			}
		}
		for what, stored := range bad {
			refuse(what, seq, stored)
		}
		refuse("at another position", seq+1, sample.stored)
		for at := range sample.stored {
			refuse("cut", seq, sample.stored[:at])
			for bit := range 8 {
				flipped := append([]byte{}, sample.stored...)
				flipped[at] ^= 1 << bit
				refuse("a bit flipped", seq, flipped)
			}
		}
	}
}

// TestAlteredRecord: what fails its checksum is told apart from what is sound and not understood.
func TestAlteredRecord(t *testing.T) {
	t.Parallel()
	record := func() []byte { return unsealedEvent(&journal.Event{Tenant: "acme", ID: "1"}, time.Unix(1, 0)) }
	flipped, newer, strange := seal(record(), 7), record(), record()
	flipped[5] ^= 1
	newer[0]++
	strange[1] = 99
	for name, c := range map[string]struct {
		reason string
		stored []byte
		want   bool
	}{
		"Flipped":   {"a bit of it is another", flipped, true},
		"Elsewhere": {"it is another position's", seal(record(), 8), true},
		"Short":     {"its checksum is cut off", record()[:3], true},
		"Newer":     {"a later release wrote it", seal(newer, 7), false},
		"Strange":   {"its kind is not known", seal(strange, 7), false},
	} {
		_, err := decodeRecord(7, c.stored)
		damage, ok := errors.AsType[*journal.RecordError](err)
		if !ok || damage.Altered != c.want || !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("%s: %s: %v, %+v", name, c.reason, err, damage)
		}
	}
}

// FuzzDecodeRecord decodes anything, and encodes again what it could decode. The checksum
// is made right, or no input that was not written would be decoded at all.
func FuzzDecodeRecord(f *testing.F) {
	for seq, sample := range samples() {
		f.Add(uint64(seq), sample.stored[:len(sample.stored)-recordChecksum])
	}
	f.Add(uint64(1), []byte{})
	f.Fuzz(func(t *testing.T, position uint64, body []byte) {
		seq := journal.Seq(position)
		_, _ = decodeRecord(seq, body)
		record, err := decodeRecord(seq, seal(append([]byte{}, body...), seq))
		if err != nil {
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Fatalf("Error %v is not %v", err, journal.ErrCorrupt)
			}

			return
		}
		at, err := recordTime(seq, seal(append([]byte{}, body...), seq))
		if err != nil {
			t.Fatalf("The time of a record that was decoded: %v", err)
		}
		var again []byte
		if record.Event != nil {
			again = unsealedEvent(record.Event, record.Event.Accepted)
		} else {
			again = unsealedMarker(record.Marker, at)
		}
		got, err := decodeRecord(seq, seal(again, seq))
		if err != nil {
			t.Fatalf("A record that was decoded and encoded: %v", err)
		}
		if diff := cmp.Diff(record, got); diff != "" {
			t.Fatalf("A record that was decoded and encoded: -first, +second:\n%s", diff)
		}
	})
}

// sampleAttempt has every field set.
func sampleAttempt() journal.Attempt {
	return journal.Attempt{
		Subscription: "sub", Seq: 7, DeliveryID: "msg_1", EventID: "1", EventType: "order.created", Number: 3,
		At: sampleTime, Latency: 12 * time.Millisecond, Success: true, ResponseCode: 200, ResponseText: "OK",
		ResponseBody: []byte("body"), Test: true,
	}
}

// FuzzDecodeRows decodes anything as every kind of row.
func FuzzDecodeRows(f *testing.F) {
	attempt := sampleAttempt()
	event := journal.Event{Tenant: "acme", ID: "1", Type: "x", Accepted: sampleTime}
	letter := journal.DeadLetter{Tenant: "acme", Reason: journal.ReasonGone, At: sampleTime, Attempts: 3, Last: &attempt}
	f.Add(encodeAttempt(&attempt, 10))
	f.Add(encodeRetry(retry{due: sampleTime, attempts: 3}))
	f.Add(encodeDead(&letter, seal(unsealedEvent(&event, event.Accepted), 7)))
	f.Add(encodeInterval(journal.Interval{To: 9, Reason: "Disabled"}))
	f.Add(encodeSeen(sampleTime, sampleTime))
	f.Add(encodeNumber(7))
	f.Add(encodeSighting(nil, sighting{seq: 7, at: sampleTime}))
	f.Fuzz(func(t *testing.T, value []byte) {
		ref := journal.Ref{Subscription: "sub", Seq: 7}
		_, attemptErr := decodeAttempt("sub", value)
		_, retryErr := decodeRetry(ref, value)
		_, deadErr := decodeDead(ref, value)
		_, intervalErr := decodeInterval("sub", 7, value)
		_, _, seenErr := decodeSeen("x", value)
		_, numberErr := decodeNumber("n", value)
		_, sightingErr := decodeSighting(value)
		for _, err := range []error{attemptErr, retryErr, deadErr, intervalErr, seenErr, numberErr, sightingErr} {
			if err != nil && !errors.Is(err, journal.ErrCorrupt) {
				t.Fatalf("Error %v is not %v", err, journal.ErrCorrupt)
			}
		}
		splitNumbered(value)
		splitNamed(value)
		splitDue(value)
		splitDone(value)
	})
}

// TestKeys takes keys apart again, and finds them in the order of what they name.
func TestKeys(t *testing.T) {
	t.Parallel()
	times := []time.Time{minTime, time.Unix(-5, 0), {}, time.Unix(1, 0), sampleTime, sampleTime.Add(1), maxTime}
	var before []byte
	for _, at := range times {
		ref := journal.Ref{Subscription: "sub", Seq: 1 << 60}
		key := keyDue(at, ref)
		if string(key) <= string(before) {
			t.Errorf("The key of %s does not come after the one before", at)
		}
		before = key
		gotTime, gotRef, ok := splitDue(key)
		if !ok || !gotTime.Equal(at) || gotRef != ref {
			t.Errorf("The key of %s and %+v is taken apart into %s and %+v", at, ref, gotTime, gotRef)
		}
	}
	if got, ok := splitDone(keyDone(journal.Ref{Subscription: "a", Seq: 258})); !ok || got != (journal.Ref{Subscription: "a", Seq: 258}) {
		t.Errorf("A done key is taken apart into %+v", got)
	}
	if name, number, ok := splitNumbered(keyNumbered(kindBacklog, "a", 258)); !ok || name != "a" || number != 258 {
		t.Errorf("A numbered key is taken apart into %q and %d", name, number)
	}
}

// TestSweep lets days pass and looks for the identities of the ones before.
func TestSweep(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(sampleTime)
	j, err := Open(t.Context(), Options{Dir: "/journal", FS: vfs.NewMem(), Clock: clock, BallastBytes: -1})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer func() { _ = j.Close() }()
	identities := func() int {
		count := 0
		lower, upper := kindRange(kindIdentity)
		if err := j.scan(lower, upper, func(_, _ []byte) (bool, error) {
			count++

			return true, nil
		}); err != nil {
			t.Fatalf("Scanning: %v", err)
		}

		return count
	}
	for _, id := range []string{"1", "2", "3"} {
		if _, err := j.Append(t.Context(), []journal.Event{{Tenant: "acme", ID: id, Type: "x"}}); err != nil {
			t.Fatalf("Append: %v", err)
		}
		clock.Advance(day)
	}
	for deadline := time.Now().Add(30 * time.Second); identities() != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d identities are left, want that of yesterday alone", identities())
		}
		clock.Advance(maintenanceInterval)
	}
}
