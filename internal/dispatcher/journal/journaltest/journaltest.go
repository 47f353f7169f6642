// Package journaltest is the conformance suite of the journal: what every engine must do,
// as tests. An engine's own test calls Run with a way to open it.
package journaltest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// patience is how long the suite waits for what must happen.
const patience = 30 * time.Second

// Harness is one store and the ways to treat it.
type Harness struct {
	// Open opens the journal on the store; at most one is open at a time, and the suite closes it.
	Open func(t *testing.T) journal.Journal
	// Clock is the time the journal goes by.
	Clock *clockwork.FakeClock
	// Crash opens a journal on what would be left had the machine lost power at this
	// moment, decided by rng where more than one outcome is possible. The journal that is
	// open goes on undisturbed. The suite closes what it gets. Nil: the engine cannot tell.
	Crash func(t *testing.T, rng *rand.Rand) journal.Journal
	// SetFull makes the store nearly full, and gives it room again. Nil: the engine has no limit.
	SetFull func(full bool)
	// SetDeadLetterLimits says with which limits Open opens from then on.
	SetDeadLetterLimits func(limits journal.DeadLetterLimits)
	// Damage flips a bit of the record at a position of the open journal, or, with lose, takes it
	// away. Nil: the engine's store cannot be damaged from a test.
	Damage func(t *testing.T, j journal.Journal, seq journal.Seq, lose bool)
}

// groupCrash are the cases that need Harness.Crash.
const groupCrash = "Crash"

// testCase is one thing the contract says.
type testCase struct {
	reason string
	run    func(s *suite)
}

// Run runs the suite. open makes a new, empty store each time.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for group, cases := range map[string]map[string]testCase{
		"Log":           logCases(),
		"Subscriptions": subscriptionCases(),
		"Settle":        settleCases(),
		"View":          viewCases(),
		"DeadLetters":   deadLetterCases(),
		"Replays":       replayCases(),
		groupCrash:      crashCases(),
	} {
		t.Run(group, func(t *testing.T) {
			for name, tc := range cases {
				t.Run(name, func(t *testing.T) {
					s := &suite{T: t, h: open(t), fresh: open, reason: tc.reason}
					if group == groupCrash && s.h.Crash == nil {
						t.Skip("The engine cannot tell what a crash leaves")
					}
					s.open()
					t.Cleanup(s.close)
					tc.run(s)
				})
			}
		})
	}
}

// suite is one case under way: its journal, and helpers that fail the test.
type suite struct {
	*testing.T
	h Harness
	// fresh makes another store.
	fresh  func(t *testing.T) Harness
	j      journal.Journal
	epoch  journal.Epoch
	reason string
}

// open opens the journal and takes shard 0.
func (s *suite) open() {
	s.Helper()
	s.j = s.h.Open(s.T)
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	owned, err := s.j.Own(ctx)
	s.check(err)
	select {
	case ownership := <-owned:
		if !ownership.Gained {
			s.fatalf("Own: the first news is a loss: %+v", ownership)
		}
		s.epoch = ownership.Epoch
	case <-ctx.Done():
		s.fatalf("Own: no shard within %s", patience)
	}
}

func (s *suite) close() {
	s.Helper()
	if s.j == nil {
		return
	}
	if err := s.j.Close(); err != nil {
		s.Errorf("\n%s\nClose: %v", s.reason, err)
	}
	s.j = nil
}

// reopen closes the journal and opens it again.
func (s *suite) reopen() {
	s.Helper()
	s.close()
	s.open()
}

func (s *suite) fatalf(format string, args ...any) {
	s.Helper()
	s.Fatalf("\n%s\n%s", s.reason, fmt.Sprintf(format, args...))
}

func (s *suite) check(err error) {
	s.Helper()
	if err != nil {
		s.fatalf("unexpected error: %v", err)
	}
}

func (s *suite) wantErr(what string, got, want error) {
	s.Helper()
	if !errors.Is(got, want) {
		s.fatalf("%s: error %v, want %v", what, got, want)
	}
}

// equal compares, an empty slice like none.
func (s *suite) equal(what string, want, got any) {
	s.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		s.fatalf("%s: -want, +got:\n%s", what, diff)
	}
}

// eventually waits for a condition.
func (s *suite) eventually(what string, condition func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.fatalf("%s: not within %s", what, patience)
		}
	}
}

// event is a distinct event of tenant "acme".
func event(id string) journal.Event {
	return journal.Event{
		Tenant: "acme", Source: "//test", ID: id, Type: "order.created", Subject: "order/" + id,
		PartitionKey: "key-" + id, Body: []byte(`{"id":"` + id + `"}`),
	}
}

// append appends events as of now and returns their receipts.
func (s *suite) append(events ...journal.Event) []journal.Receipt {
	s.Helper()
	for i := range events {
		if events[i].Accepted.IsZero() {
			events[i].Accepted = s.h.Clock.Now()
		}
	}
	receipts, err := s.j.Append(s.Context(), events)
	s.check(err)
	if len(receipts) != len(events) {
		s.fatalf("Append: %d receipts for %d events", len(receipts), len(events))
	}

	return receipts
}

// fill appends count events, whose positions are from 1 on where the log was empty.
func (s *suite) fill(count int) {
	s.Helper()
	events := make([]journal.Event, count)
	for i := range events {
		events[i] = event(fmt.Sprintf("fill-%d", i))
	}
	s.append(events...)
}

func (s *suite) read(from journal.Seq, most int) []journal.Record {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	records, err := s.j.Read(ctx, from, most)
	s.check(err)

	return records
}

// readAll reads count records from the first one.
func (s *suite) readAll(j journal.Journal, count int) []journal.Record {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	var records []journal.Record
	for len(records) < count {
		more, err := j.Read(ctx, journal.Seq(len(records)+1), count-len(records))
		s.check(err)
		records = append(records, more...)
	}

	return records
}

func (s *suite) settle(batch journal.Batch) {
	s.Helper()
	s.check(s.j.Settle(s.Context(), 0, s.epoch, batch))
}

// put writes a version and returns it as the journal has it.
func (s *suite) put(id string, expect journal.Revision, change func(*journal.Version)) journal.Version {
	s.Helper()
	version := journal.Version{Tenant: "acme", ID: id, Name: "name-" + id, Value: []byte(fmt.Sprintf("%s at %d", id, expect+1))}
	if change != nil {
		change(&version)
	}
	got, err := s.j.PutSubscription(s.Context(), version, expect)
	s.check(err)

	return got
}

func deleted(version *journal.Version) { version.Deleted = true }

func ref(subscription string, seq journal.Seq) journal.Ref {
	return journal.Ref{Subscription: subscription, Seq: seq}
}

// attempt is an attempt at a delivery of "order.created".
func (s *suite) attempt(of journal.Ref, number int32, success bool) *journal.Attempt {
	code, text := 500, "Internal Server Error"
	if success {
		code, text = 200, "OK"
	}

	return &journal.Attempt{
		Subscription: of.Subscription, Seq: of.Seq, DeliveryID: fmt.Sprintf("msg_%s_%d", of.Subscription, of.Seq),
		EventID: fmt.Sprintf("fill-%d", of.Seq-1), EventType: "order.created", Number: number, At: s.h.Clock.Now().UTC(),
		Latency: 12 * time.Millisecond, Success: success, ResponseCode: code, ResponseText: text, ResponseBody: []byte("body"),
	}
}

// delivered, retried, dead and dropped are outcomes of a delivery.
func (s *suite) delivered(of journal.Ref, number int32) journal.Outcome {
	return journal.Outcome{Ref: of, Tenant: "acme", Result: journal.Delivered, Attempt: s.attempt(of, number, true)}
}

func (s *suite) retried(of journal.Ref, number int32, in time.Duration) journal.Outcome {
	return journal.Outcome{
		Ref: of, Tenant: "acme", Result: journal.Retry, NextAttempt: s.h.Clock.Now().Add(in).UTC(),
		Attempt: s.attempt(of, number, false),
	}
}

func (s *suite) dead(of journal.Ref, number int32) journal.Outcome {
	return journal.Outcome{
		Ref: of, Tenant: "acme", Result: journal.DeadLettered, Reason: journal.ReasonAttemptsExhausted,
		Attempt: s.attempt(of, number, false),
	}
}

func (s *suite) dropped(of journal.Ref) journal.Outcome {
	return journal.Outcome{Ref: of, Tenant: "acme", Result: journal.Dropped}
}

// state is all that the rows of some subscriptions say.
type state struct {
	Cursor      journal.Seq
	Done        []journal.Ref
	Backlogged  []string
	Retrying    []string
	Backlog     map[string][]journal.Seq
	Retries     map[string][]journal.RetryRow
	Due         []journal.RetryRow
	Attempts    map[string][]journal.Attempt
	Statuses    map[string][]journal.StatusRow
	DeadLetters map[string][]journal.DeadLetter
	Skipped     map[string][]journal.Interval
	Unmatched   []journal.Seq
	Oldest      journal.Seq
}

// all is more than any case writes.
const all = 1 << 20

// stateOf reads the rows of a journal, of the events up to last.
func (s *suite) stateOf(j journal.Journal, last journal.Seq, subscriptions ...string) state {
	s.Helper()
	ctx, view := s.Context(), j.View()
	got := state{
		Backlog: map[string][]journal.Seq{}, Retries: map[string][]journal.RetryRow{},
		Attempts: map[string][]journal.Attempt{}, Statuses: map[string][]journal.StatusRow{},
		DeadLetters: map[string][]journal.DeadLetter{}, Skipped: map[string][]journal.Interval{},
	}
	var errs [16]error
	got.Cursor, errs[0] = view.Cursor(ctx, 0)
	got.Done, errs[1] = view.DoneAfterCursor(ctx, 0)
	got.Backlogged, errs[2] = view.Backlogged(ctx)
	got.Due, _, errs[3] = view.Due(ctx, s.h.Clock.Now().Add(1000*time.Hour), all)
	got.Oldest, errs[4] = view.OldestReference(ctx)
	got.Retrying, errs[11] = view.Retrying(ctx)
	s.check(errors.Join(errs[:]...))
	for _, id := range subscriptions {
		got.Backlog[id], errs[5] = view.Backlog(ctx, id, 0, all)
		got.Retries[id], errs[6] = view.Retries(ctx, id, 0, all)
		got.Attempts[id], errs[7] = view.Attempts(ctx, id, journal.AttemptQuery{Limit: all})
		got.Statuses[id], errs[8] = view.Statuses(ctx, id)
		got.DeadLetters[id], errs[9] = view.DeadLetters(ctx, id, 0, all)
		got.Skipped[id], errs[10] = view.Skipped(ctx, id)
		s.check(errors.Join(errs[:]...))
	}
	for seq := journal.Seq(1); seq <= last; seq++ {
		unmatched, err := view.IsUnmatched(ctx, seq)
		s.check(err)
		if unmatched {
			got.Unmatched = append(got.Unmatched, seq)
		}
	}

	return got
}
