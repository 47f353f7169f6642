package journaltest

import (
	"errors"
	"fmt"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

func viewCases() map[string]testCase {
	return map[string]testCase{
		"Empty":            {"An empty journal answers every question.", testEmptyViews},
		"Backlog":          {"A backlog is paged in order of position, and each subscription has its own.", testBacklog},
		"Due":              {"Due retries come earliest first, with the time of the next one.", testDue},
		"DueEarlier":       {"A retry that is due before all seen so far is found.", testDueEarlier},
		"Attempts":         {"Attempts come newest first, of one type or of all.", testAttempts},
		"Statuses":         {"Statuses are the latest of each type, sorted.", testStatuses},
		"ChangedSince":     {"The changes tell each subscription once, of one tenant, and where to go on.", testChangedSince},
		"ChangedMeanwhile": {"Whoever follows the changes while there are more misses none.", testChangedMeanwhile},
		"ChangedReopened":  {"A point in the changes stays good when the journal is opened again.", testChangedReopened},
		"Skipped":          {"Skipped intervals are opened and closed.", testSkipped},
		"SkippedTrim":      {"Skipped intervals go with the log that they lie in.", testSkippedTrim},
		"Unmatched":        {"Unmatched events are known one by one, near and far.", testUnmatched},
		"EventTypes":       {"Event types are known by tenant, with when they were seen first and last.", testEventTypes},
		"Oldest":           {"The oldest reference is the lowest of backlog and retries.", testOldest},
		"Retain":           {"Retain trims what is old, and nothing that is needed.", testRetain},
		"Names":            {"A name that begins another's is not mistaken for it.", testNames},
		"Limits":           {"Limits that are not positive are refused.", testLimits},
	}
}

func testEmptyViews(s *suite) {
	s.equal("rows", s.stateOf(s.j, 10, "sub").Cursor, journal.Seq(0))
	got := s.stateOf(s.j, 10, "sub")
	s.equal("unmatched", 0, len(got.Unmatched))
	s.equal("oldest", journal.Seq(0), got.Oldest)
	names, next, err := s.j.View().StatusesChangedSince(s.Context(), "acme", 0)
	s.check(err)
	s.equal("changed", []string{}, names)
	s.equal("next", uint64(0), next)
	types, err := s.j.View().EventTypes(s.Context(), "acme")
	s.check(err)
	s.equal("types", 0, len(types))
}

func testBacklog(s *suite) {
	s.fill(9)
	s.settle(journal.Batch{Backlog: []journal.Ref{ref("a", 1), ref("b", 1), ref("a", 5), ref("a", 3)}})
	s.settle(journal.Batch{Backlog: []journal.Ref{ref("a", 9), ref("a", 7)}})
	page := func(after journal.Seq, most int, want ...journal.Seq) {
		s.Helper()
		got, err := s.j.View().Backlog(s.Context(), "a", after, most)
		s.check(err)
		s.equal(fmt.Sprintf("Backlog after %d", after), want, got)
	}
	page(0, 2, 1, 3)
	page(3, 2, 5, 7)
	page(7, 2, 9)
	page(9, 2)
	page(journal.LatestSeq, 2)
	s.equal("backlogged", []string{"a", "b"}, s.stateOf(s.j, 0).Backlogged)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.dropped(ref("b", 1)), s.dropped(ref("a", 1)), s.dropped(ref("a", 3))}})
	s.equal("backlogged, one emptied", []string{"a"}, s.stateOf(s.j, 0).Backlogged)
	page(0, 10, 5, 7, 9)
	s.settle(journal.Batch{Backlog: []journal.Ref{ref("a", 2), ref("b", 2)}})
	page(0, 10, 2, 5, 7, 9)
	s.equal("backlogged again", []string{"a", "b"}, s.stateOf(s.j, 0).Backlogged)
}

func testDue(s *suite) {
	s.fill(3)
	now := s.h.Clock.Now().UTC()
	s.settle(journal.Batch{Outcomes: []journal.Outcome{
		s.retried(ref("b", 1), 1, 2*time.Second), s.retried(ref("a", 2), 2, time.Second), s.retried(ref("a", 3), 1, time.Hour),
	}})
	first := journal.RetryRow{Ref: ref("a", 2), Attempts: 2, Due: now.Add(time.Second)}
	second := journal.RetryRow{Ref: ref("b", 1), Attempts: 1, Due: now.Add(2 * time.Second)}
	due := func(in time.Duration, most int, next time.Duration, want ...journal.RetryRow) {
		s.Helper()
		rows, at, err := s.j.View().Due(s.Context(), now.Add(in), most)
		s.check(err)
		s.equal(fmt.Sprintf("due in %s", in), want, rows)
		wantNext := time.Time{}
		if next != 0 {
			wantNext = now.Add(next)
		}
		if !at.Equal(wantNext) {
			s.fatalf("due in %s: next at %s, want %s", in, at, wantNext)
		}
	}
	due(0, 10, time.Second)
	due(time.Second, 10, 2*time.Second, first)
	due(time.Minute, 10, time.Hour, first, second)
	due(time.Minute, 1, 2*time.Second, first)
	due(2*time.Hour, 10, 0, first, second, journal.RetryRow{Ref: ref("a", 3), Attempts: 1, Due: now.Add(time.Hour)})
	s.settle(journal.Batch{Backlog: []journal.Ref{ref("c", 1)}})
	s.equal("retrying", []string{"a", "b"}, s.stateOf(s.j, 0).Retrying)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.dropped(ref("a", 2)), s.dropped(ref("b", 1))}})
	s.equal("retrying, one emptied", []string{"a"}, s.stateOf(s.j, 0).Retrying)
}

func testDueEarlier(s *suite) {
	s.fill(3)
	earliest := func() journal.Ref {
		s.Helper()
		rows, _, err := s.j.View().Due(s.Context(), s.h.Clock.Now().Add(time.Hour), 1)
		s.check(err)
		if len(rows) == 0 {
			return journal.Ref{}
		}

		return rows[0].Ref
	}
	s.equal("none", journal.Ref{}, earliest())
	for i, in := range []time.Duration{time.Minute, time.Second, -time.Hour} {
		of := ref("sub", journal.Seq(i+1))
		s.settle(journal.Batch{Outcomes: []journal.Outcome{s.retried(of, 1, in)}})
		s.equal("the earliest", of, earliest())
	}
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.dropped(ref("sub", 3))}})
	s.equal("the earliest left", ref("sub", 2), earliest())
}

func testAttempts(s *suite) {
	s.fill(6)
	for i := range 6 {
		outcome := s.delivered(ref("sub", journal.Seq(i+1)), 1)
		if i%3 == 0 {
			outcome.Attempt.EventType = "order.rare"
		}
		s.settle(journal.Batch{Outcomes: []journal.Outcome{outcome}})
		s.h.Clock.Advance(time.Second)
	}
	seqs := func(query journal.AttemptQuery) []journal.Seq {
		attempts, err := s.j.View().Attempts(s.Context(), "sub", query)
		s.check(err)
		var seqs []journal.Seq
		for _, attempt := range attempts {
			seqs = append(seqs, attempt.Seq)
		}

		return seqs
	}
	s.equal("of all types", []journal.Seq{6, 5, 4}, seqs(journal.AttemptQuery{Limit: 3}))
	s.equal("of one", []journal.Seq{4, 1}, seqs(journal.AttemptQuery{EventType: "order.rare", Limit: 10}))
	s.equal("the latest of one", []journal.Seq{6}, seqs(journal.AttemptQuery{EventType: "order.created", Limit: 1}))
	s.equal("of none", []journal.Seq{}, seqs(journal.AttemptQuery{EventType: "other", Limit: 10}))
}

func testStatuses(s *suite) {
	s.fill(4)
	var want []journal.StatusRow
	for i, eventType := range []string{"b", "a", "c", "a"} {
		outcome := s.delivered(ref("sub", journal.Seq(i+1)), 1)
		outcome.Attempt.EventType = eventType
		s.settle(journal.Batch{Outcomes: []journal.Outcome{outcome}})
		s.h.Clock.Advance(time.Second)
		want = append(want, journal.StatusRow{EventType: eventType, Attempt: *outcome.Attempt})
	}
	got, err := s.j.View().Statuses(s.Context(), "sub")
	s.check(err)
	s.equal("statuses", []journal.StatusRow{want[3], want[0], want[2]}, got)
}

// changed asks for the changes of a tenant after a point.
func (s *suite) changed(tenant string, after uint64, want ...string) (next uint64) {
	s.Helper()
	names, next, err := s.j.View().StatusesChangedSince(s.Context(), tenant, after)
	s.check(err)
	seen := map[string]int{}
	for _, name := range names {
		seen[name]++
	}
	wanted := map[string]int{}
	for _, name := range want {
		wanted[name] = 1
	}
	s.equal(fmt.Sprintf("changes of %s after %d", tenant, after), wanted, seen)

	return next
}

func testChangedSince(s *suite) {
	s.fill(4)
	change := func(names ...string) {
		batch := journal.Batch{}
		for _, name := range names {
			outcome := s.delivered(ref(name, 1), 1)
			if name == "x" {
				outcome.Tenant = "other"
			}
			batch.Outcomes = append(batch.Outcomes, outcome)
		}
		s.settle(batch)
	}
	change("a", "b", "x")
	change("a")
	first := s.changed("acme", 0, "a", "b")
	s.equal("nothing since", first, s.changed("acme", first))
	s.changed("other", 0, "x")
	change("c", "x")
	second := s.changed("acme", first, "c")
	change("b", "b", "a")
	third := s.changed("acme", second, "a", "b")
	s.changed("acme", third)
	s.changed("acme", 0, "a", "b", "c")
	s.settle(journal.Batch{Cursor: 2, Outcomes: []journal.Outcome{s.dropped(ref("d", 1))}})
	s.changed("acme", third)
}

// testChangedMeanwhile follows the changes while they are made: at the end it knows the latest status of each.
func testChangedMeanwhile(s *suite) {
	const rounds = 300
	names := []string{"a", "b", "c", "d", "e"}
	s.fill(1)
	latest, known, point := map[string]int32{}, map[string]int32{}, uint64(0)
	for i := range rounds {
		latest[names[i%len(names)]] = int32(i + 1)
	}
	follow := func() {
		changed, next, err := s.j.View().StatusesChangedSince(s.Context(), "acme", point)
		s.check(err)
		point = next
		for _, name := range changed {
			statuses, err := s.j.View().Statuses(s.Context(), name)
			s.check(err)
			known[name] = statuses[0].Attempt.Number
		}
	}
	done := make(chan error, 1)
	go func() {
		for i := range rounds {
			outcome := s.delivered(ref(names[i%len(names)], 1), int32(i+1))
			if err := s.j.Settle(s.Context(), 0, s.epoch, journal.Batch{Outcomes: []journal.Outcome{outcome}}); err != nil {
				done <- err

				return
			}
		}
		done <- nil
	}()
	for running := true; running; {
		select {
		case err := <-done:
			s.check(err)
			running = false
		default:
		}
		follow()
	}
	s.equal("the statuses that are known", latest, known)
}

func testChangedReopened(s *suite) {
	s.fill(1)
	settle := func(name string) {
		s.settle(journal.Batch{Outcomes: []journal.Outcome{s.delivered(ref(name, 1), 1)}})
	}
	settle("a")
	settle("b")
	point := s.changed("acme", 0, "a", "b")
	s.reopen()
	s.changed("acme", point)
	settle("a")
	point = s.changed("acme", point, "a")
	s.changed("acme", point)
	s.changed("acme", 0, "a", "b")
}

func testSkipped(s *suite) {
	s.fill(9)
	s.settle(journal.Batch{Skipped: []journal.Interval{
		{Subscription: "sub", From: 3, Reason: "Disabled"}, {Subscription: "other", From: 2, Reason: "Suspended"},
	}})
	s.settle(journal.Batch{Skipped: []journal.Interval{
		{Subscription: "sub", From: 3, To: 5, Reason: "Disabled"}, {Subscription: "sub", From: 8, Reason: "Suspended"},
	}})
	s.equal("intervals", []journal.Interval{
		{Subscription: "sub", From: 3, To: 5, Reason: "Disabled"}, {Subscription: "sub", From: 8, Reason: "Suspended"},
	}, s.stateOf(s.j, 0, "sub").Skipped["sub"])
}

func testSkippedTrim(s *suite) {
	s.fill(9)
	s.settle(journal.Batch{Cursor: 9, Skipped: []journal.Interval{
		{Subscription: "sub", From: 1, To: 3, Reason: "Disabled"},
		{Subscription: "sub", From: 4, To: 7, Reason: "Disabled"},
		{Subscription: "sub", From: 8, Reason: "Disabled"},
	}})
	s.check(s.j.Trim(s.Context(), 5))
	got := s.stateOf(s.j, 0, "sub").Skipped["sub"]
	if len(got) != 2 || got[0].From != 4 || got[1].From != 8 {
		s.fatalf("intervals after a trim: %+v", got)
	}
}

func testUnmatched(s *suite) {
	far := []journal.Seq{1, 2, 63, 64, 2047, 2048, 4096, 1 << 20, 1<<40 + 7}
	for _, seq := range far {
		s.settle(journal.Batch{Unmatched: []journal.Seq{seq, seq}})
	}
	s.settle(journal.Batch{Unmatched: []journal.Seq{5, 2049, 6}})
	for range 2 {
		for _, seq := range append(far, 5, 6, 2049) {
			for at := seq - 1; at <= seq+1; at++ {
				got, err := s.j.View().IsUnmatched(s.Context(), at)
				s.check(err)
				want := at == 5 || at == 6 || at == 2049
				for _, one := range far {
					want = want || at == one
				}
				s.equal(fmt.Sprint(at), want, got)
			}
		}
		s.reopen()
	}
}

func testEventTypes(s *suite) {
	begin := s.h.Clock.Now().UTC()
	typed := func(id, tenant, eventType string) journal.Event {
		e := event(id)
		e.Tenant, e.Type = tenant, eventType

		return e
	}
	s.append(typed("1", "acme", "b"), typed("2", "acme", "a"), typed("3", "other", "c"))
	s.h.Clock.Advance(time.Hour)
	s.append(typed("4", "acme", "b"))
	want := []journal.EventTypeRow{
		{Name: "a", FirstSeen: begin, LastSeen: begin}, {Name: "b", FirstSeen: begin, LastSeen: begin.Add(time.Hour)},
	}
	for range 2 {
		got, err := s.j.View().EventTypes(s.Context(), "acme")
		s.check(err)
		s.equal("types", want, got)
		s.reopen()
	}
}

func testOldest(s *suite) {
	s.fill(9)
	oldest := func(want journal.Seq) {
		s.Helper()
		got, err := s.j.View().OldestReference(s.Context())
		s.check(err)
		s.equal("the oldest reference", want, got)
	}
	oldest(0)
	s.settle(journal.Batch{Backlog: []journal.Ref{ref("a", 5), ref("a", 7)}})
	oldest(5)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.retried(ref("b", 3), 1, time.Hour)}})
	oldest(3)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.delivered(ref("b", 3), 2)}})
	oldest(5)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.retried(ref("a", 5), 1, time.Second)}})
	oldest(5)
	s.reopen()
	oldest(5)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.dropped(ref("a", 5)), s.dropped(ref("a", 7))}})
	oldest(0)
}

func testRetain(s *suite) {
	shards := []journal.Shard{0}
	for i := range 10 {
		s.append(event(fmt.Sprint(i)))
		s.h.Clock.Advance(time.Hour)
	}
	retain := func(age time.Duration, want journal.Seq) {
		s.Helper()
		before, err := journal.Retain(s.Context(), s.j, shards, s.h.Clock.Now(), age)
		s.check(err)
		s.equal("the place it trims before", want, before)
		first, _, err := s.j.View().Bounds(s.Context())
		s.check(err)
		s.equal("the first position", want, first)
	}
	retain(journal.DefaultRetention, 1)
	retain(time.Hour, 1) // The cursor is at 0.
	s.settle(journal.Batch{Cursor: 8, Backlog: []journal.Ref{ref("a", 5)}, Outcomes: []journal.Outcome{s.retried(ref("b", 3), 1, time.Hour)}})
	retain(time.Hour, 3)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.delivered(ref("b", 3), 2)}})
	retain(7*time.Hour, 4)
	retain(time.Hour, 5)
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.delivered(ref("a", 5), 1)}})
	retain(time.Hour, 9) // The cursor is at 8.
	s.settle(journal.Batch{Cursor: 10})
	retain(2*time.Hour, 9)
	if _, err := journal.Retain(s.Context(), s.j, shards, s.h.Clock.Now(), 0); err == nil {
		s.fatalf("Retain took an age of 0")
	}
}

func testNames(s *suite) {
	s.fill(3)
	for i, name := range []string{"a", "ab", "a\x01", "a.b"} {
		s.settle(journal.Batch{
			Backlog:  []journal.Ref{ref(name, 1)},
			Outcomes: []journal.Outcome{s.retried(ref(name, 2), int32(i+1), time.Hour), s.dead(ref(name, 3), int32(i+1))},
			Skipped:  []journal.Interval{{Subscription: name, From: 1, Reason: "Disabled"}},
		})
	}
	got := s.stateOf(s.j, 0, "a", "ab", "a\x01", "a.b")
	for i, name := range []string{"a", "ab", "a\x01", "a.b"} {
		s.equal("backlog of "+name, []journal.Seq{1}, got.Backlog[name])
		s.equal("attempts of "+name, 2, len(got.Attempts[name]))
		s.equal("attempt of "+name, int32(i+1), got.Attempts[name][0].Number)
		s.equal("statuses of "+name, 1, len(got.Statuses[name]))
		s.equal("retries of "+name, 1, len(got.Retries[name]))
		s.equal("dead letters of "+name, 1, len(got.DeadLetters[name]))
		s.equal("skipped of "+name, 1, len(got.Skipped[name]))
	}
}

func testLimits(s *suite) {
	view := s.j.View()
	_, backlogErr := view.Backlog(s.Context(), "a", 0, 0)
	_, _, dueErr := view.Due(s.Context(), s.h.Clock.Now(), 0)
	_, retriesErr := view.Retries(s.Context(), "a", 0, -1)
	_, attemptsErr := view.Attempts(s.Context(), "a", journal.AttemptQuery{})
	_, lettersErr := view.DeadLetters(s.Context(), "a", 0, 0)
	for name, err := range map[string]error{
		"Backlog": backlogErr, "Due": dueErr, "Retries": retriesErr, "Attempts": attemptsErr, "DeadLetters": lettersErr,
	} {
		if err == nil || errors.Is(err, journal.ErrCorrupt) {
			s.fatalf("%s: error %v for a limit that is not positive", name, err)
		}
	}
}
