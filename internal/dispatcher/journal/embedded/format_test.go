package embedded

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// rowsFile holds one value of each kind as the first version of the format wrote it.
const rowsFile = "testdata/format1.rows"

var addRows = flag.Bool("add-rows", false, "add to "+rowsFile+" the kinds of rows that it lacks")

// sampleRow is one kind of stored value.
type sampleRow struct {
	want   any
	value  []byte
	decode func(value []byte) (any, error)
}

// sampleRows are all kinds of stored values. Records stand without their checksum.
func sampleRows() map[string]sampleRow {
	const at = journal.Seq(7)
	event := &journal.Event{
		Tenant: "acme", Source: "//test", ID: "1", Type: "order.created", Subject: "order/1",
		PartitionKey: "key", Accepted: sampleTime, Body: []byte(`{"id":"1"}`),
	}
	version := &journal.Version{
		Tenant: "acme", ID: "sub", Name: "a name", Revision: 300, Seq: at, Deleted: true, Value: []byte{0, 1, 2, 255},
	}
	attempt := sampleAttempt()
	letter := journal.DeadLetter{
		Ref: journal.Ref{Subscription: "sub", Seq: at}, Tenant: "acme", Reason: journal.ReasonGone, At: sampleTime, Attempts: 3,
		Last: &attempt, Event: *event,
	}
	retryFirst := retry{due: sampleTime, attempts: 3, first: sampleTime.AddDate(0, 0, -1)}
	interval := journal.Interval{Subscription: "sub", From: 3, To: 9, Reason: "Disabled"}
	sum := letterSum{
		tally: tally{count: 3, bytes: 400}, tenant: "acme",
		expired: journal.ExpiredDeadLetters{Count: 5, Last: at, At: sampleTime},
	}
	record := func(value []byte) (any, error) {
		found, err := decodeRecord(at, seal(slices.Clone(value), at))
		if found.Event != nil {
			return found.Event, err
		}

		return found.Marker, err
	}

	return map[string]sampleRow{
		"event":      {event, unsealedEvent(event, event.Accepted), record},
		"marker":     {version, unsealedMarker(version, sampleTime), record},
		"attempt":    {attempt, encodeAttempt(&attempt, 10), func(v []byte) (any, error) { return decodeAttempt("sub", v) }},
		"retry":      {retry{due: sampleTime, attempts: 3}, encodeRetry(retry{due: sampleTime, attempts: 3}), func(v []byte) (any, error) { return decodeRetry(letter.Ref, v) }},
		"retryfirst": {retryFirst, encodeRetry(retryFirst), func(v []byte) (any, error) { return decodeRetry(letter.Ref, v) }},
		"dead":       {letter, encodeDead(&letter, seal(unsealedEvent(event, event.Accepted), at)), func(v []byte) (any, error) { return decodeDead(letter.Ref, v) }},
		"deadsum":    {sum, encodeLetterSum(sum), func(v []byte) (any, error) { return decodeLetterSum("sub", v) }},
		"interval":   {interval, encodeInterval(interval), func(v []byte) (any, error) { return decodeInterval("sub", 3, v) }},
		"sighting":   {sighting{seq: at, at: sampleTime}, encodeSighting(nil, sighting{seq: at, at: sampleTime}), func(v []byte) (any, error) { return decodeSighting(v) }},
		"type": {[]any{sampleTime, sampleTime}, encodeSeen(sampleTime, sampleTime), func(v []byte) (any, error) {
			first, last, err := decodeSeen("x", v)

			return []any{first, last}, err
		}},
	}
}

// TestFormat1 reads what the first version of the format wrote, sees to it that a reader of
// that version finds its fields where it looks for them in what is written now, and reads
// what a later version may write: the same with fields added.
func TestFormat1(t *testing.T) {
	t.Parallel()
	stored := goldenRows(t)
	samples := sampleRows()
	if *addRows {
		addGoldenRows(t, stored, samples)
	}
	options := cmp.Options{cmpopts.EquateEmpty(), cmp.AllowUnexported(retry{}, letterSum{}, tally{}, sighting{})}
	for _, name := range slices.Sorted(maps.Keys(samples)) {
		sample, golden := samples[name], stored[name]
		if len(golden) == 0 {
			t.Fatalf("%s: there is none in %s: add it with -add-rows, in the change that brings it in", name, rowsFile)
		}
		for what, value := range map[string][]byte{
			"what the first version wrote": golden,
			"what is written now":          sample.value,
			"what a later version writes":  append(slices.Clone(sample.value), "\x03new\xff"...),
		} {
			got, err := sample.decode(value)
			if err != nil {
				t.Errorf("%s: %s: %v", name, what, err)

				continue
			}
			if diff := cmp.Diff(sample.want, got, options); diff != "" {
				t.Errorf("%s: %s: -want, +got:\n%s", name, what, diff)
			}
		}
		if !bytes.HasPrefix(sample.value, golden) {
			t.Errorf("%s: what is written now does not begin with what the first version wrote, so that one could not read it:\n%x\n%x",
				name, sample.value, golden)
		}
		for cut := range golden {
			// Where an earlier version's ends is no cut.
			if _, err := sample.decode(golden[:cut]); err == nil && (name != "retryfirst" || cut != len(stored["retry"])) {
				t.Errorf("%s: cut to %d bytes it was read", name, cut)
			}
		}
	}
}

// goldenRows reads the file: a name and a value in hexadecimal on each line.
func goldenRows(t *testing.T) map[string][]byte {
	t.Helper()
	content, err := os.ReadFile(rowsFile)
	if err != nil {
		t.Fatalf("Reading the rows: %v", err)
	}
	rows := map[string][]byte{}
	for scanner := bufio.NewScanner(bytes.NewReader(content)); scanner.Scan(); {
		name, text, _ := strings.Cut(scanner.Text(), " ")
		if rows[name], err = hex.DecodeString(text); err != nil {
			t.Fatalf("Reading %s: %v", name, err)
		}
	}

	return rows
}

func addGoldenRows(t *testing.T, rows map[string][]byte, samples map[string]sampleRow) {
	t.Helper()
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(samples)) {
		if rows[name] == nil {
			rows[name] = samples[name].value
		}
		fmt.Fprintf(&out, "%s %x\n", name, rows[name])
	}
	if err := os.WriteFile(rowsFile, []byte(out.String()), 0o600); err != nil {
		t.Fatalf("Writing the rows: %v", err)
	}
}
