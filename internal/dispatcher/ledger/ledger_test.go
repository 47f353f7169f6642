package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/ledger"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	tenant = "support"
	sub    = "sub-1"
)

// stage is a ledger on a real journal.
type stage struct {
	*ledger.Ledger

	journal *embedded.Journal
	epoch   journal.Epoch
	clock   *clockwork.FakeClock
	events  int
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{clock: clockwork.NewFakeClockAt(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC))}
	var err error
	s.journal, err = embedded.Open(t.Context(), embedded.Options{
		Dir: "journal", FS: vfs.NewMem(), BallastBytes: -1, Clock: s.clock, Log: slog.New(slog.DiscardHandler),
		FreeSpace: func() (embedded.Space, error) { return embedded.Space{Free: 1 << 40, Total: 1 << 40}, nil },
	})
	if err != nil {
		t.Fatalf("opening the journal: %v", err)
	}
	t.Cleanup(func() { _ = s.journal.Close() })
	owned, err := s.journal.Own(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.epoch = (<-owned).Epoch
	s.Ledger = ledger.New(s.journal.View(), s.journal.Get)

	return s
}

// append makes one event durable.
func (s *stage) append(t *testing.T, eventType string, body []byte) journal.Event {
	t.Helper()
	s.events++
	event := journal.Event{
		Tenant: tenant, Source: "/s", ID: fmt.Sprint("event-", s.events), Type: eventType, Accepted: s.clock.Now(), Body: body,
	}
	receipts, err := s.journal.Append(t.Context(), []journal.Event{event})
	if err != nil {
		t.Fatalf("appending: %v", err)
	}
	if receipts[0].Seq != journal.Seq(s.events) {
		t.Fatalf("event %d stands at %d", s.events, receipts[0].Seq)
	}

	return event
}

func (s *stage) settle(t *testing.T, batch journal.Batch) {
	t.Helper()
	if err := s.journal.Settle(t.Context(), 0, s.epoch, batch); err != nil {
		t.Fatalf("settling: %v", err)
	}
}

// attempt appends an event and settles one attempt at it a second later.
func (s *stage) attempt(t *testing.T, eventType string, body []byte, result journal.Result) journal.Attempt {
	t.Helper()
	event := s.append(t, eventType, body)
	s.clock.Advance(time.Second)
	attempt := journal.Attempt{
		Subscription: sub, Seq: journal.Seq(s.events), DeliveryID: "d-" + event.ID, EventID: event.ID, EventType: eventType, Number: 1,
		At: s.clock.Now(), Latency: time.Millisecond, Success: result == journal.Delivered, ResponseCode: 500, ResponseText: "Internal Server Error",
		ResponseBody: []byte("no"),
	}
	if attempt.Success {
		attempt.ResponseCode, attempt.ResponseText = 200, "OK"
	}
	outcome := journal.Outcome{
		Ref: journal.Ref{Subscription: sub, Seq: attempt.Seq}, Tenant: tenant, Result: result, Attempt: &attempt,
	}
	switch result {
	case journal.Retry:
		outcome.NextAttempt = s.clock.Now().Add(time.Minute)
	case journal.DeadLettered:
		outcome.Reason = journal.ReasonAttemptsExhausted
	case journal.Delivered, journal.Dropped:
	}
	s.settle(t, journal.Batch{Outcomes: []journal.Outcome{outcome}})

	return attempt
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	none, err := s.Statuses(t.Context(), sub)
	if err != nil || none == nil || len(none) != 0 {
		t.Errorf("before any delivery: %v, %v", none, err)
	}
	s.attempt(t, "b", nil, journal.Retry)
	failed := s.attempt(t, "b", nil, journal.DeadLettered)
	delivered := s.attempt(t, "a", nil, journal.Delivered)
	got, err := s.Statuses(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	want := []subscription.DeliveryStatus{
		{Event: "a", Success: true, ResponseCode: 200, ResponseText: "OK", Timestamp: delivered.At},
		{Event: "b", ResponseCode: 500, ResponseText: "Internal Server Error", Timestamp: failed.At},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the latest of each type (-want +got):\n%s", diff)
	}
}

func TestStatusesChangedSince(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	changes := func(cursor string) subscription.Changes {
		t.Helper()
		got, err := s.StatusesChangedSince(t.Context(), tenant, cursor)
		if err != nil {
			t.Fatal(err)
		}

		return got
	}
	start := changes("")
	if len(start.IDs) != 0 || start.Next == "" {
		t.Errorf("at the beginning: %+v", start)
	}
	s.attempt(t, "a", nil, journal.Delivered)
	first := changes(start.Next)
	if diff := cmp.Diff([]string{sub}, first.IDs); diff != "" {
		t.Error(diff)
	}
	if again := changes(first.Next); len(again.IDs) != 0 || again.Next != first.Next {
		t.Errorf("nothing changed since: %+v", again)
	}
	for reason, cursor := range map[string]string{
		"another kind of cursor":                 "v2:17",
		"a cursor cut off":                       "s1.",
		"no number":                              "s1.%%%",
		"one of a journal that was further once": "s1.zzzzzzzz",
		"larger than any":                        "s1." + strings.Repeat("z", 30),
	} {
		if got := changes(cursor); cmp.Diff([]string{sub}, got.IDs) != "" || got.Next != first.Next {
			t.Errorf("%s counts as none: %+v", reason, got)
		}
	}
	other, err := s.StatusesChangedSince(t.Context(), "sales", "")
	if err != nil || len(other.IDs) != 0 {
		t.Errorf("another tenant: %+v, %v", other, err)
	}
}

func TestLogsHavePayloadsWhileTheLogHasTheEvents(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	var attempts []journal.Attempt
	for i := range 12 {
		attempts = append(attempts, s.attempt(t, []string{"a", "b"}[i%2], []byte(fmt.Sprintf(`{"n":%d}`, i)), journal.Delivered))
	}
	// A test event is in no log.
	s.clock.Advance(time.Second)
	if _, err := s.journal.PutSubscription(t.Context(), journal.Version{Tenant: tenant, ID: sub, Name: "orders", Revision: 1}, 0); err != nil {
		t.Fatal(err)
	}
	test := journal.Attempt{
		Subscription: sub, DeliveryID: "test", EventID: "t", EventType: "a", Number: 1, At: s.clock.Now(), Success: true, ResponseCode: 200, Test: true,
	}
	s.settle(t, journal.Batch{Outcomes: []journal.Outcome{{
		Ref: journal.Ref{Subscription: sub}, Tenant: tenant, Result: journal.Delivered, Attempt: &test, Resent: true,
	}}})
	s.settle(t, journal.Batch{Cursor: journal.Seq(s.events)})
	if err := s.journal.Trim(t.Context(), 7); err != nil {
		t.Fatal(err)
	}

	got, err := s.Logs(t.Context(), sub, subscription.LogQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var want []subscription.LogEntry
	want = append(want, ledger.EntryOf(&test, nil))
	for i := len(attempts) - 1; i >= 0; i-- {
		var payload []byte
		if attempts[i].Seq >= 7 {
			payload = []byte(fmt.Sprintf(`{"n":%d}`, i))
		}
		want = append(want, ledger.EntryOf(&attempts[i], payload))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got[0].Position != 0 || got[1].Position != 12 {
		t.Errorf("positions: %d, %d", got[0].Position, got[1].Position)
	}

	got, err = s.Logs(t.Context(), sub, subscription.LogQuery{Event: "b", Limit: 2})
	if err != nil || len(got) != 2 || got[0].Event != "b" || got[0].Position != 12 || got[1].Position != 10 {
		t.Errorf("one type alone: %+v, %v", got, err)
	}
	got, err = s.Logs(t.Context(), "nobody", subscription.LogQuery{})
	if err != nil || got == nil || len(got) != 0 {
		t.Errorf("nobody's: %+v, %v", got, err)
	}
}

// TestTrimBetween asks for events that are trimmed after the bounds were read.
func TestTrimBetween(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for range 4 {
		s.attempt(t, "a", []byte(`{}`), journal.Delivered)
	}
	s.settle(t, journal.Batch{Cursor: journal.Seq(s.events)})
	trimmed := false
	read := ledger.New(s.journal.View(), func(ctx context.Context, seqs []journal.Seq) ([]journal.Event, error) {
		if !trimmed {
			trimmed = true
			if err := s.journal.Trim(ctx, 3); err != nil {
				return nil, err
			}
		}

		return s.journal.Get(ctx, seqs)
	})
	got, err := read.Logs(t.Context(), sub, subscription.LogQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	var payloads []bool
	for _, entry := range got {
		payloads = append(payloads, entry.Payload != nil)
	}
	if diff := cmp.Diff([]bool{true, true, false, false}, payloads); diff != "" {
		t.Error(diff)
	}
}

func TestPayloadsOfOneAnswerAreBounded(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	large := bytes.Repeat([]byte("x"), ledger.MaxPayloadBytes/4)
	for range 6 {
		s.attempt(t, "a", large, journal.DeadLettered)
	}
	logs, err := s.Logs(t.Context(), sub, subscription.LogQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	with := 0
	for i, entry := range logs {
		if entry.Payload != nil {
			with++
			if i != with-1 {
				t.Error("an older attempt has its payload, a newer one has not")
			}
		}
	}
	if len(logs) != 6 || with != 4 {
		t.Errorf("%d of %d entries have their payload", with, len(logs))
	}

	var seqs []journal.Seq
	after := journal.Seq(0)
	pages := 0
	for {
		page, err := s.DeadLetters(t.Context(), tenant, sub, after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		pages++
		for _, letter := range page {
			seqs = append(seqs, letter.Seq)
		}
		after = page[len(page)-1].Seq
	}
	if diff := cmp.Diff([]journal.Seq{1, 2, 3, 4, 5, 6}, seqs); diff != "" || pages != 2 {
		t.Errorf("%d pages: %s", pages, diff)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	var attempts []journal.Attempt
	for i := range 11 {
		attempts = append(attempts, s.attempt(t, "a", []byte(fmt.Sprint(i)), journal.DeadLettered))
	}
	page, err := s.DeadLetters(t.Context(), tenant, sub, 0, 10)
	if err != nil || len(page) != 10 {
		t.Fatalf("%d letters, %v", len(page), err)
	}
	for i, letter := range page {
		if letter.Seq != attempts[i].Seq || string(letter.Event.Body) != fmt.Sprint(i) || letter.Reason != journal.ReasonAttemptsExhausted ||
			letter.Last == nil || letter.Last.DeliveryID != attempts[i].DeliveryID {
			t.Errorf("letter %d: %+v", i, letter)
		}
	}
	page, err = s.DeadLetters(t.Context(), tenant, sub, 10, 10)
	if err != nil || len(page) != 1 || page[0].Seq != 11 {
		t.Errorf("the rest: %d letters, %v", len(page), err)
	}
	page, err = s.DeadLetters(t.Context(), "sales", sub, 0, 10)
	if err != nil || len(page) != 0 {
		t.Errorf("another tenant gets %d letters, %v", len(page), err)
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.attempt(t, "a", nil, journal.Retry)
	s.attempt(t, "a", nil, journal.Retry)
	s.attempt(t, "a", nil, journal.DeadLettered)
	s.attempt(t, "a", nil, journal.Delivered)
	var backlog []journal.Ref
	for range ledger.MaxCount + 5 {
		s.append(t, "a", nil)
		backlog = append(backlog, journal.Ref{Subscription: sub, Seq: journal.Seq(s.events)})
	}
	s.settle(t, journal.Batch{Backlog: backlog[:700]})
	counts, err := s.Counts(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ledger.Counts{Backlog: 700, Retries: 2, DeadLetters: 1}, counts); diff != "" || counts.Pending() != 702 {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.settle(t, journal.Batch{Backlog: backlog[700:]})
	if counts, err = s.Counts(t.Context(), sub); err != nil || counts.Backlog != ledger.MaxCount {
		t.Errorf("counting goes so far: %+v, %v", counts, err)
	}
	if counts, err = s.Counts(t.Context(), "nobody"); err != nil || counts != (ledger.Counts{}) {
		t.Errorf("nobody's: %+v, %v", counts, err)
	}
}

func TestEventTypes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first := s.append(t, "b", nil)
	s.clock.Advance(time.Hour)
	last := s.append(t, "b", nil)
	s.append(t, "a", nil)
	got, err := s.EventTypes(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	want := []subscription.EventType{
		{Name: "a", FirstSeen: last.Accepted, LastSeen: last.Accepted},
		{Name: "b", FirstSeen: first.Accepted, LastSeen: last.Accepted},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClosedJournal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	if err := s.journal.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	errs := map[string]error{}
	_, errs["Statuses"] = s.Statuses(ctx, sub)
	_, errs["StatusesChangedSince"] = s.StatusesChangedSince(ctx, tenant, "")
	_, errs["Logs"] = s.Logs(ctx, sub, subscription.LogQuery{})
	_, errs["EventTypes"] = s.EventTypes(ctx, tenant)
	_, errs["DeadLetters"] = s.DeadLetters(ctx, tenant, sub, 0, 1)
	_, errs["Counts"] = s.Counts(ctx, sub)
	for method, err := range errs {
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("%s answers %v", method, err)
		}
	}
}
