package journaltest

import (
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

func settleCases() map[string]testCase {
	return map[string]testCase{
		"Fenced":        {"Only the shard's present owner settles.", testFenced},
		"Empty":         {"An empty batch changes nothing.", testEmpty},
		"Invalid":       {"A batch with a fault is refused whole.", testInvalid},
		"Cursor":        {"The cursor goes forward only, and outlives the process.", testCursor},
		"Delivered":     {"A delivered one leaves backlog and retries, and is done.", testDelivered},
		"Retry":         {"A retry leaves the backlog, waits until it is due, and may be put off.", testRetry},
		"DeadLettered":  {"A dead letter keeps its event and its last attempt.", testDeadLettered},
		"Dropped":       {"A dropped one leaves backlog and retries without a trace.", testDropped},
		"Done":          {"Deliveries that are final are known while they stand after the cursor.", testDone},
		"DoneMany":      {"Many of them are forgotten as the cursor passes.", testDoneMany},
		"BacklogFirst":  {"What is placed and final in one batch is final.", testBacklogFirst},
		"Resent":        {"A resend leaves backlog and retries alone, and a success clears the dead letter.", testResent},
		"TestEvent":     {"A test event has no position, shows in attempts, and leaves the status of its type alone.", testTestEvent},
		"Reopened":      {"What is settled outlives the process.", testSettledReopened},
		"WithoutPut":    {"Deliveries may be settled of subscriptions the journal was told nothing of.", testWithoutPut},
		"ResponseBody":  {"Response bodies are cut to what is kept.", testResponseBody},
		"SameBatch":     {"Several outcomes of one delivery in one batch take effect in order.", testSameBatch},
		"OldAttempts":   {"Attempts are shown for a while and no longer.", testOldAttempts},
		"ManyAttempts":  {"The newest attempts are kept, the ones before are let go of.", testManyAttempts},
		"EpochReopened": {"Each owner has a higher epoch than the one before.", testEpochReopened},
	}
}

func testFenced(s *suite) {
	s.fill(1)
	before := s.stateOf(s.j, 1)
	batch := journal.Batch{Cursor: 1}
	s.wantErr("a higher epoch", s.j.Settle(s.Context(), 0, s.epoch+1, batch), journal.ErrFenced)
	s.wantErr("a lower epoch", s.j.Settle(s.Context(), 0, s.epoch-1, batch), journal.ErrFenced)
	s.wantErr("another shard", s.j.Settle(s.Context(), 4711, s.epoch, batch), journal.ErrFenced)
	s.equal("rows", before, s.stateOf(s.j, 1))
}

func testEpochReopened(s *suite) {
	s.fill(1)
	before := s.epoch
	s.reopen()
	if s.epoch <= before {
		s.fatalf("epoch %d after %d", s.epoch, before)
	}
	s.wantErr("the owner before", s.j.Settle(s.Context(), 0, before, journal.Batch{Cursor: 1}), journal.ErrFenced)
	s.settle(journal.Batch{Cursor: 1})
}

func testEmpty(s *suite) {
	s.fill(1)
	before := s.stateOf(s.j, 1, "sub")
	s.settle(journal.Batch{})
	s.equal("rows", before, s.stateOf(s.j, 1, "sub"))
}

func testInvalid(s *suite) {
	s.fill(3)
	good := journal.Batch{
		Cursor: 1, Backlog: []journal.Ref{ref("sub", 2)}, Outcomes: []journal.Outcome{s.delivered(ref("sub", 1), 1)},
	}
	before := s.stateOf(s.j, 3, "sub")
	for name, spoil := range map[string]func(*journal.Batch){
		"a cursor after the end":          func(b *journal.Batch) { b.Cursor = 4 },
		"an unknown result":               func(b *journal.Batch) { b.Outcomes[0].Result = 0 },
		"a retry without a time":          func(b *journal.Batch) { b.Outcomes[0].Result = journal.Retry },
		"an outcome of nobody":            func(b *journal.Batch) { b.Outcomes[0].Subscription = "" },
		"an outcome of no event":          func(b *journal.Batch) { b.Outcomes[0].Seq = 0 },
		"a page of nobody":                func(b *journal.Batch) { b.Backlog[0].Subscription = "" },
		"an attempt without a tenant":     func(b *journal.Batch) { b.Outcomes[0].Tenant = "" },
		"an interval that begins nowhere": func(b *journal.Batch) { b.Skipped = []journal.Interval{{Subscription: "sub"}} },
	} {
		bad := good
		bad.Outcomes = append([]journal.Outcome(nil), good.Outcomes...)
		bad.Backlog = append([]journal.Ref(nil), good.Backlog...)
		spoil(&bad)
		if err := s.j.Settle(s.Context(), 0, s.epoch, bad); err == nil {
			s.fatalf("Settle took %s", name)
		}
		s.equal("rows after "+name, before, s.stateOf(s.j, 3, "sub"))
	}
	s.settle(good)
}

func testCursor(s *suite) {
	s.fill(5)
	cursor := func() journal.Seq {
		got, err := s.j.View().Cursor(s.Context(), 0)
		s.check(err)

		return got
	}
	s.equal("at first", journal.Seq(0), cursor())
	s.settle(journal.Batch{Cursor: 3})
	s.settle(journal.Batch{Cursor: 2})
	s.settle(journal.Batch{Unmatched: []journal.Seq{4}})
	s.equal("settled", journal.Seq(3), cursor())
	s.reopen()
	s.equal("opened again", journal.Seq(3), cursor())
}

// place puts deliveries of "sub" on its pages, and makes one wait for a retry.
func (s *suite) place() {
	s.Helper()
	s.fill(5)
	s.settle(journal.Batch{
		Backlog:  []journal.Ref{ref("sub", 1), ref("sub", 2), ref("sub", 3), ref("other", 1)},
		Outcomes: []journal.Outcome{s.retried(ref("sub", 4), 1, time.Minute)},
	})
}

// pending tells which of the five deliveries of "sub" are pending.
func (s *suite) pending() []journal.Seq {
	s.Helper()
	var seqs []journal.Seq
	for seq := journal.Seq(1); seq <= 5; seq++ {
		pending, err := s.j.View().Pending(s.Context(), ref("sub", seq))
		s.check(err)
		if pending {
			seqs = append(seqs, seq)
		}
	}

	return seqs
}

func testDelivered(s *suite) {
	s.place()
	s.equal("pending at first", []journal.Seq{1, 2, 3, 4}, s.pending())
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.delivered(ref("sub", 2), 1), s.delivered(ref("sub", 4), 2)}})
	s.equal("pending", []journal.Seq{1, 3}, s.pending())
	got := s.stateOf(s.j, 5, "sub", "other")
	s.equal("backlog", []journal.Seq{1, 3}, got.Backlog["sub"])
	s.equal("another's backlog", []journal.Seq{1}, got.Backlog["other"])
	s.equal("retries", 0, len(got.Retries["sub"]))
	s.equal("due", 0, len(got.Due))
	s.equal("done", []journal.Ref{ref("sub", 2), ref("sub", 4)}, got.Done)
	s.equal("dead letters", 0, len(got.DeadLetters["sub"]))
}

func testRetry(s *suite) {
	s.place()
	now := s.h.Clock.Now().UTC()
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.retried(ref("sub", 2), 3, time.Second)}})
	soon := journal.RetryRow{Ref: ref("sub", 2), Attempts: 3, Due: now.Add(time.Second)}
	later := journal.RetryRow{Ref: ref("sub", 4), Attempts: 1, Due: now.Add(time.Minute)}
	got := s.stateOf(s.j, 5, "sub")
	s.equal("backlog", []journal.Seq{1, 3}, got.Backlog["sub"])
	s.equal("retries by position", []journal.RetryRow{soon, later}, got.Retries["sub"])
	s.equal("retries by time", []journal.RetryRow{soon, later}, got.Due)
	s.equal("done", 0, len(got.Done))
	again := s.retried(ref("sub", 2), 4, time.Hour)
	again.First = now.Add(-time.Minute)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{again}})
	soon.Attempts, soon.Due, soon.First = 4, now.Add(time.Hour), now.Add(-time.Minute)
	got = s.stateOf(s.j, 5, "sub")
	s.equal("retries by time, put off", []journal.RetryRow{later, soon}, got.Due)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{
		{Ref: ref("sub", 2), Tenant: "acme", Result: journal.Retry, NextAttempt: now.Add(time.Millisecond)},
	}})
	soon.Due = now.Add(time.Millisecond)
	got = s.stateOf(s.j, 5, "sub")
	s.equal("retries by time, brought forward without an attempt", []journal.RetryRow{soon, later}, got.Due)
	s.equal("retries by position, the first attempt's time kept", []journal.RetryRow{soon, later}, got.Retries["sub"])
}

func testDeadLettered(s *suite) {
	s.place()
	begin := s.h.Clock.Now().UTC()
	s.h.Clock.Advance(time.Minute)
	outcome := s.dead(ref("sub", 4), 8)
	without := journal.Outcome{Ref: ref("sub", 1), Tenant: "acme", Result: journal.DeadLettered, Reason: journal.ReasonBacklogExpired}
	s.settle(journal.Batch{Cursor: 5, Outcomes: []journal.Outcome{outcome, without}})
	check := func() {
		s.Helper()
		got := s.stateOf(s.j, 0, "sub")
		s.equal("backlog", []journal.Seq{2, 3}, got.Backlog["sub"])
		s.equal("due", 0, len(got.Due))
		s.equal("done", 0, len(got.Done))
		first, last := event("fill-0"), event("fill-3")
		first.Accepted, last.Accepted = begin, begin
		s.equal("dead letters", []journal.DeadLetter{
			{Ref: ref("sub", 1), Tenant: "acme", Reason: journal.ReasonBacklogExpired, At: begin.Add(time.Minute), Event: first},
			{
				Ref: ref("sub", 4), Tenant: "acme", Reason: journal.ReasonAttemptsExhausted, At: begin.Add(time.Minute),
				Attempts: 8, Last: outcome.Attempt, Event: last,
			},
		}, got.DeadLetters["sub"])
	}
	check()
	s.check(s.j.Trim(s.Context(), 6))
	check()
	s.reopen()
	check()
	page, err := s.j.View().DeadLetters(s.Context(), "sub", 1, 1)
	s.check(err)
	if len(page) != 1 || page[0].Seq != 4 {
		s.fatalf("DeadLetters after 1 returned %+v", page)
	}
}

func testDropped(s *suite) {
	s.place()
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.dropped(ref("sub", 1)), s.dropped(ref("sub", 4))}})
	got := s.stateOf(s.j, 5, "sub")
	s.equal("pending", []journal.Seq{2, 3}, s.pending())
	s.equal("done", []journal.Ref{ref("sub", 1), ref("sub", 4)}, got.Done)
	s.equal("attempts", 1, len(got.Attempts["sub"]))
	s.equal("dead letters", 0, len(got.DeadLetters["sub"]))
}

func testDone(s *suite) {
	s.fill(5)
	s.settle(journal.Batch{Cursor: 1, Outcomes: []journal.Outcome{
		s.delivered(ref("b", 3), 1), s.delivered(ref("a", 3), 1), s.delivered(ref("a", 1), 1), s.dead(ref("a", 5), 1),
		s.retried(ref("a", 4), 1, time.Second),
	}})
	done := func() []journal.Ref {
		s.Helper()
		got, err := s.j.View().DoneAfterCursor(s.Context(), 0)
		s.check(err)

		return got
	}
	s.equal("done", []journal.Ref{ref("a", 3), ref("b", 3), ref("a", 5)}, done())
	s.settle(journal.Batch{Cursor: 3})
	s.equal("after the cursor moved", []journal.Ref{ref("a", 5)}, done())
	s.reopen()
	s.equal("opened again", []journal.Ref{ref("a", 5)}, done())
	s.settle(journal.Batch{Cursor: 5})
	s.equal("at the end", []journal.Ref{}, done())
}

func testDoneMany(s *suite) {
	const rounds, size = 12, 1000
	s.fill(rounds * size)
	for round := range rounds {
		batch := journal.Batch{}
		for i := range size {
			batch.Outcomes = append(batch.Outcomes, s.dropped(ref("sub", journal.Seq(round*size+i+1))))
		}
		s.settle(batch)
		s.settle(journal.Batch{Cursor: journal.Seq(round*size + size - 1)})
		got, err := s.j.View().DoneAfterCursor(s.Context(), 0)
		s.check(err)
		s.equal("done", []journal.Ref{ref("sub", journal.Seq(round*size+size))}, got)
	}
}

func testBacklogFirst(s *suite) {
	s.fill(2)
	s.settle(journal.Batch{
		Cursor: 2, Backlog: []journal.Ref{ref("sub", 1), ref("sub", 2)},
		Outcomes: []journal.Outcome{s.delivered(ref("sub", 1), 1)},
	})
	s.equal("pending", []journal.Seq{2}, s.pending())
}

func testResent(s *suite) {
	s.place()
	s.put("sub", 0, nil)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.dead(ref("sub", 5), 3)}})
	before := s.stateOf(s.j, 5, "sub")
	failed := s.retried(ref("sub", 5), 4, time.Minute)
	failed.Resent = true
	s.settle(journal.Batch{Outcomes: []journal.Outcome{failed}})
	got := s.stateOf(s.j, 5, "sub")
	s.equal("the attempt", *failed.Attempt, got.Attempts["sub"][0])
	s.equal("the status", []journal.StatusRow{{EventType: "order.created", Attempt: *failed.Attempt}}, got.Statuses["sub"])
	before.Attempts, before.Statuses = got.Attempts, got.Statuses
	s.equal("all else, after a failure", before, got)
	for _, seq := range []journal.Seq{5, 4, 1} {
		worked := s.delivered(ref("sub", seq), 5)
		worked.Resent = true
		s.settle(journal.Batch{Outcomes: []journal.Outcome{worked}})
	}
	got = s.stateOf(s.j, 5, "sub")
	s.equal("dead letters", 0, len(got.DeadLetters["sub"]))
	before.DeadLetters, before.Attempts, before.Statuses = got.DeadLetters, got.Attempts, got.Statuses
	s.equal("all else, after a success", before, got)
	s.equal("the status is a success", true, got.Statuses["sub"][0].Attempt.Success)
}

func testTestEvent(s *suite) {
	s.put("sub", 0, nil)
	outcome := s.delivered(ref("sub", 0), 1)
	outcome.Resent, outcome.Attempt.Test = true, true
	s.settle(journal.Batch{Outcomes: []journal.Outcome{outcome}})
	got := s.stateOf(s.j, 0, "sub")
	s.equal("attempts", []journal.Attempt{*outcome.Attempt}, got.Attempts["sub"])
	s.equal("statuses", 0, len(got.Statuses["sub"]))
	s.equal("done", 0, len(got.Done))
}

func testSettledReopened(s *suite) {
	s.place()
	s.settle(journal.Batch{
		Cursor: 1, Unmatched: []journal.Seq{5},
		Outcomes: []journal.Outcome{s.dead(ref("sub", 3), 1), s.delivered(ref("other", 2), 1)},
		Skipped:  []journal.Interval{{Subscription: "sub", From: 1, Reason: "Suspended"}},
	})
	want := s.stateOf(s.j, 5, "sub", "other")
	s.reopen()
	s.equal("rows", want, s.stateOf(s.j, 5, "sub", "other"))
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.delivered(ref("sub", 4), 2), s.delivered(ref("other", 1), 1)}})
	got := s.stateOf(s.j, 5, "sub", "other")
	s.equal("pending", []journal.Seq{1, 2}, s.pending())
	s.equal("attempts go on", 3, len(got.Attempts["sub"]))
	s.equal("backlogged", []string{"sub"}, got.Backlogged)
}

func testWithoutPut(s *suite) {
	s.fill(1)
	s.settle(journal.Batch{Cursor: 1, Outcomes: []journal.Outcome{s.dead(ref("unknown", 1), 1)}})
	s.equal("dead letters", 1, len(s.stateOf(s.j, 1, "unknown").DeadLetters["unknown"]))
}

func testResponseBody(s *suite) {
	s.fill(2)
	long := []byte(strings.Repeat("x", journal.MaxFailureBody+100))
	worked, failed := s.delivered(ref("sub", 1), 1), s.dead(ref("sub", 2), 1)
	worked.Attempt.ResponseBody, failed.Attempt.ResponseBody = long, long
	failed.Attempt.EventType = "order.failed"
	s.settle(journal.Batch{Outcomes: []journal.Outcome{worked, failed}})
	got := s.stateOf(s.j, 0, "sub")
	s.equal("of a failure", journal.MaxFailureBody, len(got.Attempts["sub"][0].ResponseBody))
	s.equal("of a success", journal.MaxSuccessBody, len(got.Attempts["sub"][1].ResponseBody))
	for _, status := range got.Statuses["sub"] {
		s.equal("of the latest", journal.MaxFailureBody, len(status.Attempt.ResponseBody))
	}
	s.equal("the caller's own", len(long), len(worked.Attempt.ResponseBody))
}

func testSameBatch(s *suite) {
	s.fill(1)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{
		s.retried(ref("sub", 1), 1, time.Second), s.retried(ref("sub", 1), 2, time.Minute), s.dead(ref("sub", 1), 3),
	}})
	got := s.stateOf(s.j, 1, "sub")
	s.equal("due", 0, len(got.Due))
	s.equal("retries", 0, len(got.Retries["sub"]))
	s.equal("done", []journal.Ref{ref("sub", 1)}, got.Done)
	s.equal("attempts", 3, len(got.Attempts["sub"]))
	s.equal("attempts of the dead letter", int32(3), got.DeadLetters["sub"][0].Attempts)
	s.equal("newest first", int32(3), got.Attempts["sub"][0].Number)
	s.equal("the status", int32(3), got.Statuses["sub"][0].Attempt.Number)
}

func testOldAttempts(s *suite) {
	s.fill(2)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.dead(ref("sub", 1), 1)}})
	s.h.Clock.Advance(6 * 24 * time.Hour)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.dead(ref("sub", 2), 2)}})
	s.equal("after six days", 2, len(s.stateOf(s.j, 0, "sub").Attempts["sub"]))
	s.h.Clock.Advance(5 * 24 * time.Hour)
	got := s.stateOf(s.j, 0, "sub")
	s.equal("after eleven days", 1, len(got.Attempts["sub"]))
	s.equal("the status stays", 1, len(got.Statuses["sub"]))
}

func testManyAttempts(s *suite) {
	const rounds, size = 15, 100
	s.fill(1)
	s.put("sub", 0, nil)
	for round := range rounds {
		batch := journal.Batch{}
		for i := range size {
			outcome := s.delivered(ref("sub", 1), int32(round*size+i+1))
			outcome.Resent = true
			batch.Outcomes = append(batch.Outcomes, outcome)
		}
		s.settle(batch)
		if round == rounds/2 {
			s.reopen()
		}
	}
	got := s.stateOf(s.j, 0, "sub").Attempts["sub"]
	if len(got) < size || len(got) >= rounds*size {
		s.fatalf("%d attempts are kept of %d", len(got), rounds*size)
	}
	for i, attempt := range got {
		s.equal("newest first", int32(rounds*size-i), attempt.Number)
	}
}
