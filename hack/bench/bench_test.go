package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// TestMain lets the test binary be the processes that the benchmark starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == roleCommand {
		main()

		return
	}

	os.Exit(m.Run())
}

func TestPercentile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}

	for name, tc := range map[string]struct {
		reason string
		values []int
		part   float64
		want   int
	}{
		"None":         {reason: "There is nothing to tell of.", part: p99},
		"One":          {reason: "One value is every percentile.", values: []int{7}, part: p50, want: 7},
		"NinetyNinth":  {reason: "99 of 100 values do not exceed it.", values: hundred, part: p99, want: 99},
		"Middle":       {reason: "Half of them do not exceed it.", values: hundred, part: p50, want: 50},
		"BetweenRanks": {reason: "A rank between two values is the higher one.", values: []int{1, 2, 3}, part: p50, want: 2},
		"FarTail":      {reason: "With too few values the tail is the largest one.", values: hundred, part: p999, want: 100},
		"All":          {reason: "The whole is the largest value.", values: hundred, part: 1, want: 100},
	} {
		t.Run(name, func(t *testing.T) {
			if got := percentile(tc.values, tc.part); got != tc.want {
				t.Errorf("\n%s\npercentile(%v) = %d, want %d", tc.reason, tc.part, got, tc.want)
			}
		})
	}
}

func TestMedianAndRatios(t *testing.T) {
	got := []float64{
		median([]float64{3, 1, 2}), median([]float64{4, 1, 3, 2}), median([]float64{}),
		median(ratios([]float64{10, 30, 5}, []float64{20, 30, 0})),
	}
	// A round that measured nothing is no ratio.
	if diff := cmp.Diff([]float64{2, 2.5, 0, 0.75}, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}

	rounds := []latencies{{Count: 1, P99: 9, Max: 10}, {Count: 2, P99: 1, Max: 50}, {Count: 3, P99: 5, Max: 6}}
	if diff := cmp.Diff(latencies{Count: 6, P99: 5, Max: 50}, medianLatencies(rounds)); diff != "" {
		t.Errorf("medianLatencies: -want, +got:\n%s", diff)
	}
}

func TestAllowedP99(t *testing.T) {
	for plain, want := range map[time.Duration]time.Duration{
		2 * time.Millisecond:  7 * time.Millisecond,
		10 * time.Millisecond: 15 * time.Millisecond,
		20 * time.Millisecond: 30 * time.Millisecond,
	} {
		if got := allowedP99(plain); got != want {
			t.Errorf("allowedP99(%s) = %s, want the larger of 1.5 times and 5 ms more, %s", plain, got, want)
		}
	}
}

func TestGoodOf(t *testing.T) {
	good := int64(0)

	for events := range int64(50) {
		if got := goodOf(events); got != good {
			t.Errorf("goodOf(%d) = %d, want %d", events, got, good)
		}
		if isGood(int(events % base)) {
			good++
		}
	}
}

func TestCPUOf(t *testing.T) {
	stat := "12 (a name) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0"
	if got, want := cpuOf(stat), 2*time.Second; got != want {
		t.Errorf("cpuOf(%q) = %s, want %s: user and system time together", stat, got, want)
	}
	if got := cpuOf("gone"); got != 0 {
		t.Errorf("cpuOf of a process that is gone = %s, want 0", got)
	}
}

func TestTemplate(t *testing.T) {
	for _, size := range []int{payloadSmall, payloadMiddle, payloadLarge} {
		event := newTemplate(size, tenfold).clone()
		body := event.fill(12, 3456, 7890*time.Microsecond, 42)

		if len(body) != size {
			t.Errorf("An event of %d bytes has %d", size, len(body))
		}

		var decoded struct {
			Type string
			Data struct{ Records []json.RawMessage }
		}
		if err := json.Unmarshal(body, &decoded); err != nil {
			t.Fatalf("An event of %d bytes is not JSON: %v: %s", size, err, body)
		}
		if decoded.Type != "bench.ten.t00042" || len(decoded.Data.Records) == 0 {
			t.Errorf("An event of %d bytes has type %q and %d records", size, decoded.Type, len(decoded.Data.Records))
		}

		got, ok := readStamp(body)
		if want := (stamp{load: 12, number: 3456, meant: 7890 * time.Microsecond}); !ok || got != want {
			t.Errorf("readStamp = %+v, %t, want %+v", got, ok, want)
		}
	}

	if _, ok := readStamp([]byte(`{"id":"of somebody else"}`)); ok {
		t.Error("An event that is not ours must have no stamp")
	}
}

func TestJudge(t *testing.T) {
	figures := func(c cell, subject string, rounds ...float64) throughput {
		return throughput{cell: c, Subject: subject, EventsPerSecond: rounds, Memory: 200 * mebibyte}
	}
	first := headline()[0]
	r := report{
		Throughput: []throughput{
			figures(first, string(kindHookline), 6000, 8000, 7000),
			// Ratios are of rounds measured side by side: 0.6, 0.8 and 0.5, not of the medians.
			figures(first, string(kindBare), 10_000, 10_000, 14_000),
			figures(first, nameSlow, 3000, 4000, 3500),
		},
		Latency:  []openResult{{Subject: string(kindHookline), What: openSteady, Latency: latencies{P99: 9e6, P999: 60e6}}},
		Matching: []matchingResult{{Subscriptions: 10_000, PerEvent: 1999}, {Subscriptions: 100_000, PerEvent: 5001}},
		Retries:  &retriesResult{},
	}
	r.judge()

	got := map[string]bool{}
	for _, target := range r.Targets {
		got[target.Name] = target.Met
	}

	want := map[string]bool{
		"256 publishers, fan-out 1: of bare":                                     true,
		"256 publishers, fan-out 1: 1 ms added to each fsync, of its own figure": false,
		"publish to receipt at 1,000/s, p99":                                     true,
		"publish to receipt at 1,000/s, p99.9":                                   false,
		"matching one event, 10000 subscriptions":                                true,
		"matching one event, 100000 subscriptions":                               false,
		"memory under full load, the most of all loads":                          true,
		// Nothing was measured, which is no zero to be proud of.
		"lateness of retries, p99.9": false,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if missed := r.missed(); len(missed) != 4 || !strings.Contains(missed[0], "0.50, wanted at least 0.80") {
		t.Errorf("missed() = %q, want the four with what was measured and wanted", missed)
	}

	// What the JSON holds is enough for the page.
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := r.writeJSON(path); err != nil {
		t.Fatal(err)
	}

	earlier, err := readJSON(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.markdown(), earlier.markdown()); diff != "" {
		t.Errorf("From the JSON: -want, +got:\n%s", diff)
	}

	var out bytes.Buffer
	if err := earlier.publish("", &out); !errors.Is(err, errMissed) {
		t.Errorf("publish: error %v, want %v", err, errMissed)
	}

	if text := r.markdown(); !strings.Contains(text, "**missed**") || !strings.Contains(text, "0.60") {
		t.Errorf("The tables lack what was missed, or a ratio:\n%s", text)
	}
}

func TestDisplaced(t *testing.T) {
	for name, tc := range map[string]struct {
		reason  string
		numbers []int64
		window  int
		want    int
	}{
		"None":     {reason: "Nothing arrived.", window: 2},
		"InOrder":  {reason: "Each comes after those before it.", numbers: []int64{1, 2, 3, 4, 5}, window: 1},
		"Passed":   {reason: "Those under way at once may pass each other.", numbers: []int64{2, 3, 1, 4}, window: 2},
		"Late":     {reason: "One comes after more later ones than were under way.", numbers: []int64{2, 3, 4, 1, 5}, window: 2, want: 1},
		"AllLate":  {reason: "Each of them counts.", numbers: []int64{7, 8, 9, 1, 2, 3}, window: 2, want: 3},
		"Reversed": {reason: "The window's are in order, the others are not.", numbers: []int64{5, 4, 3, 2, 1}, window: 1, want: 3},
	} {
		t.Run(name, func(t *testing.T) {
			if got := displaced(tc.numbers, tc.window); got != tc.want {
				t.Errorf("\n%s\ndisplaced(%v, %d) = %d, want %d", tc.reason, tc.numbers, tc.window, got, tc.want)
			}
		})
	}
}

func TestTable(t *testing.T) {
	table := table{head: []string{"what", "µs"}}
	table.add("one", "7")
	table.add("eleven", "123")

	want := "| what   |  µs |\n|--------|----:|\n| one    |   7 |\n| eleven | 123 |\n"
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

func TestWriteDocs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("before\n"+docsBegin+"\nold\n"+docsEnd+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	// Twice: what the first one wrote is the part that the second one replaces.
	for _, text := range []string{"first\n", "second\n"} {
		if err := writeDocs(path, text); err != nil {
			t.Fatal(err)
		}
	}

	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("before\n"+docsBegin+"\n\nsecond\n\n"+docsEnd+"\nafter\n", string(got)); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}

	if err := os.WriteFile(path, []byte("a page without markers\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeDocs(path, "text"); !errors.Is(err, errMarkers) {
		t.Errorf("writeDocs on a page without markers: %v, want %v", err, errMarkers)
	}
}

// TestPageHasMarkers holds docs/benchmarks.md to what the program replaces.
func TestPageHasMarkers(t *testing.T) {
	page, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	if text := string(page); strings.Count(text, docsBegin) != 1 || strings.Count(text, docsEnd) != 1 {
		t.Errorf("docs/benchmarks.md must have %q and %q once each", docsBegin, docsEnd)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{{"-only", "nothing"}, {"-profile", "nothing"}, {"-due", "0"}, {"stray"}, {"-unknown"}} {
		var stderr bytes.Buffer
		if _, err := parse(args, &stderr); !errors.Is(err, errUsage) || stderr.Len() == 0 {
			t.Errorf("parse(%q): error %v, explained with %q: want a wrong usage that is explained", args, err, stderr.String())
		}
	}
}

// TestOpenLoadKeepsItsSchedule has a subject stall: the events meant for that time must be
// sent all the same, and say when they were meant, or the stall would not show.
func TestOpenLoadKeepsItsSchedule(t *testing.T) {
	const rate, stall = 200, 200 * time.Millisecond

	var (
		mu    sync.Mutex
		meant = map[int64]time.Duration{}
		began = time.Now()
	)

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		of, _ := readStamp(body)

		mu.Lock()
		meant[of.number] = of.meant
		mu.Unlock()

		time.Sleep(time.Until(began.Add(stall)))
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()

	l := load{fanOut: 1, endpoints: 1, payload: payloadSmall, duration: 400 * time.Millisecond, rate: rate}

	accepted, err := publish(t.Context(), server.URL, l, &collector{began: began})
	if err != nil || accepted != 80 {
		t.Fatalf("publish = %d, %v, want 400 ms of 200 a second, 80", accepted, err)
	}

	for number, at := range meant {
		if want := time.Duration(number) * time.Second / rate; at != want {
			t.Errorf("Event %d was meant for %s, want %s", number, at, want)
		}
	}
}

func TestPublishFailsWhereEventsAreRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too fast", http.StatusTooManyRequests)
	}))
	defer server.Close()

	l := load{publishers: 2, fanOut: 1, endpoints: 1, payload: payloadSmall, duration: time.Second}
	if _, err := publish(t.Context(), server.URL, l, &collector{began: time.Now()}); err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("publish: error %v, want one that tells the answer", err)
	}
}

// TestDiscardJournalLetsGo: what is settled takes no memory, what a row needs stays.
func TestDiscardJournalLetsGo(t *testing.T) {
	d := newDiscardJournal()
	ctx := t.Context()

	check := func(err error) {
		t.Helper()

		if err != nil {
			t.Fatal(err)
		}
	}

	events := make([]journal.Event, 4)
	for i := range events {
		events[i] = journal.Event{ID: fmt.Sprint(i), Body: []byte("body")}
	}

	_, err := d.Append(ctx, events)
	check(err)

	ref := func(seq journal.Seq) journal.Ref { return journal.Ref{Subscription: "s", Seq: seq} }
	due := time.Now()

	check(d.Settle(ctx, 0, 1, journal.Batch{
		Cursor: 4, Backlog: []journal.Ref{ref(2)},
		Outcomes: []journal.Outcome{
			{Ref: ref(1), Result: journal.Delivered},
			{Ref: ref(3), Result: journal.Retry, NextAttempt: due, Attempt: &journal.Attempt{Number: 1}},
			{Ref: ref(4), Result: journal.DeadLettered},
		},
	}))

	if len(d.log) != 2 {
		t.Errorf("%d events are kept, want those of the page and of the retry", len(d.log))
	}

	rows, _, err := d.View().Due(ctx, due, 10)
	check(err)

	pages, err := d.View().Backlog(ctx, "s", 0, 10)
	check(err)

	if diff := cmp.Diff([]journal.RetryRow{{Ref: ref(3), Attempts: 1, Due: due}}, rows); diff != "" {
		t.Errorf("Due: -want, +got:\n%s", diff)
	}
	if diff := cmp.Diff([]journal.Seq{2}, pages); diff != "" {
		t.Errorf("Backlog: -want, +got:\n%s", diff)
	}

	check(d.Settle(ctx, 0, 1, journal.Batch{Outcomes: []journal.Outcome{
		{Ref: ref(2), Result: journal.Delivered}, {Ref: ref(3), Result: journal.Delivered},
	}}))

	if len(d.log)+len(d.retries)+len(d.references) != 0 {
		t.Errorf("After the last outcome %d events, %d retries and %d references are kept", len(d.log), len(d.retries), len(d.references))
	}
	if _, err := d.Read(ctx, 1, 1); !errors.Is(err, journal.ErrTrimmed) {
		t.Errorf("Read of what was let go: %v, want %v", err, journal.ErrTrimmed)
	}

	_, err = d.PutSubscription(ctx, journal.Version{Tenant: "t", ID: "a", Name: "n"}, 0)
	check(err)

	if _, err := d.PutSubscription(ctx, journal.Version{Tenant: "t", ID: "b", Name: "n"}, 0); !errors.Is(err, journal.ErrNameTaken) {
		t.Errorf("A second subscription of the name: %v, want %v", err, journal.ErrNameTaken)
	}
	if _, err := d.PutSubscription(ctx, journal.Version{Tenant: "t", ID: "a", Name: "n"}, 0); !errors.Is(err, journal.ErrRevision) {
		t.Errorf("A version that was not expected: %v, want %v", err, journal.ErrRevision)
	}
}

// newBench is a bench without the real binary, which takes long to build.
func newBench(t *testing.T) *bench {
	t.Helper()

	b := &bench{settings: settings{memoryLimit: "256MiB", scale: quickScale()}, work: t.TempDir(), log: io.Discard, began: time.Now()}
	if err := writeTokens(b.tokensDir()); err != nil {
		t.Fatal(err)
	}

	var err error
	if b.receiver, err = listen(t.Context()); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := b.receiver.close(); err != nil {
			t.Error(err)
		}
	})

	return b
}

// TestSmoke puts a short load on each subject that this program is itself.
func TestSmoke(t *testing.T) {
	for _, o := range []subjectOptions{
		{kind: kindBare}, {kind: kindDiscard}, {kind: kindEmbedded}, {kind: kindEmbedded, name: nameSlow, fsyncDelay: fsyncAdded},
	} {
		if o.name == "" {
			o.name = string(o.kind)
		}

		t.Run(o.name, func(t *testing.T) {
			const subscriptions = 20

			b := newBench(t)

			s, err := b.launchWith(t.Context(), o, subscriptions)
			if err != nil {
				t.Fatal(err)
			}

			for _, fanOut := range []int{1, tenfold} {
				got, err := b.apply(t.Context(), s, load{
					publishers: 8, fanOut: fanOut, endpoints: subscriptions, payload: payloadSmall, duration: 200 * time.Millisecond, keep: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				if got.accepted == 0 || got.received != got.accepted*int64(fanOut) || len(got.latencies) != int(got.received) {
					t.Errorf("Fan-out %d: %d accepted, %d received, %d latencies", fanOut, got.accepted, got.received, len(got.latencies))
				}
				if got.peak == 0 || got.eventsPerSecond() == 0 {
					t.Errorf("Fan-out %d: no memory or no rate was measured: %+v", fanOut, got)
				}
			}

			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSmokeRetries has some first attempts fail, on both journals: so few that no circuit opens.
func TestSmokeRetries(t *testing.T) {
	for _, kind := range []kind{kindDiscard, kindEmbedded} {
		t.Run(string(kind), func(t *testing.T) {
			b := newBench(t)

			s, err := b.launchWith(t.Context(), subjectOptions{kind: kind, schedule: "0s,50ms"}, 1)
			if err != nil {
				t.Fatal(err)
			}

			var (
				seen   sync.Map
				failed atomic.Int64
			)

			got, err := b.apply(t.Context(), s, load{
				fanOut: 1, endpoints: 1, payload: payloadSmall, rate: 100, duration: 200 * time.Millisecond,
				answer: func(_ int, of stamp, w http.ResponseWriter, _ *http.Request) {
					if _, again := seen.LoadOrStore(of.number, true); !again && of.number%failEvery == 0 {
						failed.Add(1)
						w.WriteHeader(http.StatusInternalServerError)
					}
				},
				settled: func(accepted int64, c *collector) bool { return c.received.Load() >= accepted+failed.Load() },
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.accepted != 20 || failed.Load() < 6 || got.received != got.accepted+failed.Load() {
				t.Errorf("%d accepted, %d refused once, %d received, want 20, a third, and a second attempt of those",
					got.accepted, failed.Load(), got.received)
			}

			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLaunchTellsWhyASubjectEnds(t *testing.T) {
	b := newBench(t)

	if _, err := b.launch(context.Background(), subjectOptions{kind: "nothing"}); err == nil || !strings.Contains(err.Error(), `no "nothing"`) {
		t.Errorf("launch: error %v, want what the process said", err)
	}
}
