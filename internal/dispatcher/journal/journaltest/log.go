package journaltest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

func logCases() map[string]testCase {
	return map[string]testCase{
		"Order":             {"Events stand in the log in the order given, contiguous and whole.", testOrder},
		"AppendNothing":     {"Appending nothing writes nothing.", testAppendNothing},
		"AppendInvalid":     {"An event that cannot be stored is refused by field, and the whole call with it.", testAppendInvalid},
		"Concurrent":        {"Concurrent appends are contiguous each, and the log has each event once.", testConcurrent},
		"ReadWaits":         {"Read waits at the end, and ends with its context.", testReadWaits},
		"ReadMax":           {"Read returns at most max records, and refuses a max that is not positive.", testReadMax},
		"Get":               {"Get answers in the order asked for, and ErrTrimmed for what is no event.", testGet},
		"Damaged":           {"A damaged record is named, and takes no other event with it.", testDamaged},
		"Duplicate":         {"(tenant, source, id) within the window is a duplicate of the first one.", testDuplicate},
		"DuplicateInCall":   {"The first of a call counts, and duplicates take no position.", testDuplicateInCall},
		"DuplicateAtOnce":   {"Of the same event appended at once by many, one counts.", testDuplicateAtOnce},
		"DuplicateReopened": {"Identities outlive the process.", testDuplicateReopened},
		"DuplicateWindow":   {"Identities are forgotten after the window, and not before.", testDuplicateWindow},
		"Trim":              {"What is trimmed is gone, the rest stands, and positions go on.", testTrim},
		"TrimAll":           {"Positions go on after all is trimmed and the journal opened again.", testTrimAll},
		"FirstAfter":        {"FirstAfter finds the first record accepted at or after a time.", testFirstAfter},
		"Full":              {"A full disk refuses events, and nothing else.", testFull},
		"Closed":            {"A closed journal answers ErrClosed, also to those who wait.", testClosed},
	}
}

func testOrder(s *suite) {
	s.h.Clock.Advance(time.Second)
	events := []journal.Event{event("a"), event("b"), event("c")}
	events[1].Subject, events[1].PartitionKey, events[1].Source = "", "", ""
	want := make([]journal.Record, 0, len(events))
	for i, receipt := range s.append(events...) {
		s.equal("receipt", journal.Receipt{Seq: journal.Seq(i + 1)}, receipt)
		want = append(want, journal.Record{Seq: receipt.Seq, Event: &events[i]})
	}
	s.equal("Read", want, s.read(1, all))
	s.equal("Read from 0", want, s.read(0, all))
	s.reopen()
	s.equal("Read after opening again", want, s.read(1, all))
	s.equal("the next position", []journal.Receipt{{Seq: 4}}, s.append(event("d")))
}

func testAppendNothing(s *suite) {
	receipts, err := s.j.Append(s.Context(), nil)
	s.check(err)
	s.equal("receipts", []journal.Receipt{}, receipts)
	first, last, err := s.j.View().Bounds(s.Context())
	s.check(err)
	s.equal("bounds", []journal.Seq{0, 0}, []journal.Seq{first, last})
}

func testAppendInvalid(s *suite) {
	for field, spoil := range map[string]func(*journal.Event){
		"Tenant": func(e *journal.Event) { e.Tenant = "" },
		"ID":     func(e *journal.Event) { e.ID = "" },
		"Type":   func(e *journal.Event) { e.Type = "a\x00b" },
	} {
		bad := event("bad")
		spoil(&bad)
		if _, err := s.j.Append(s.Context(), []journal.Event{event("good"), bad}); err == nil {
			s.fatalf("Append took an event with a bad %s", field)
		}
	}
	s.equal("the first position", []journal.Receipt{{Seq: 1}}, s.append(event("good")))
}

func testConcurrent(s *suite) {
	const publishers, calls = 16, 20
	var group sync.WaitGroup
	errs := make(chan error, publishers)
	total := 0
	for p := range publishers {
		for c := range calls {
			total += 1 + (p+c)%4
		}
		group.Go(func() { errs <- publish(s, p, calls) })
	}
	group.Wait()
	for range publishers {
		s.check(<-errs)
	}
	seen := map[string]bool{}
	for i, record := range s.readAll(s.j, total) {
		if record.Seq != journal.Seq(i+1) || record.Event == nil || seen[record.Event.ID] {
			s.fatalf("record %d is %+v", i+1, record)
		}
		seen[record.Event.ID] = true
	}
}

// publish appends calls times 1 to 4 events and checks that they are contiguous.
func publish(s *suite, publisher, calls int) error {
	for c := range calls {
		var events []journal.Event
		for e := range 1 + (publisher+c)%4 {
			events = append(events, event(fmt.Sprintf("%d-%d-%d", publisher, c, e)))
		}
		receipts, err := s.j.Append(s.Context(), events)
		if err != nil {
			return fmt.Errorf("appending: %w", err)
		}
		for i, receipt := range receipts {
			if receipt.Duplicate || receipt.Seq != receipts[0].Seq+journal.Seq(i) {
				return fmt.Errorf("receipts are not contiguous: %+v", receipts)
			}
		}
		seqs := []journal.Seq{receipts[0].Seq}
		if got, err := s.j.Get(s.Context(), seqs); err != nil || got[0].ID != events[0].ID {
			return fmt.Errorf("own event at %d: %+v, %w", seqs[0], got, err)
		}
	}

	return nil
}

func testReadWaits(s *suite) {
	got := make(chan []journal.Record, 1)
	failed := make(chan error, 1)
	go func() {
		records, err := s.j.Read(s.Context(), 1, 10)
		failed <- err
		got <- records
	}()
	select {
	case err := <-failed:
		s.fatalf("Read of an empty log returned, error %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	s.append(event("a"))
	select {
	case err := <-failed:
		s.check(err)
	case <-time.After(patience):
		s.fatalf("Read did not wake")
	}
	if records := <-got; len(records) != 1 || records[0].Event.ID != "a" {
		s.fatalf("Read returned %+v", records)
	}
	ctx, cancel := context.WithTimeout(s.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := s.j.Read(ctx, 2, 10)
	s.wantErr("Read with an ended context", err, context.DeadlineExceeded)
}

func testReadMax(s *suite) {
	s.fill(5)
	if got := s.read(2, 3); len(got) != 3 || got[0].Seq != 2 || got[2].Seq != 4 {
		s.fatalf("Read(2, 3) returned %+v", got)
	}
	if _, err := s.j.Read(s.Context(), 1, 0); err == nil {
		s.fatalf("Read took max 0")
	}
}

func testGet(s *suite) {
	s.fill(3)
	marker := s.put("sub", 0, nil)
	got, err := s.j.Get(s.Context(), []journal.Seq{3, 1, 3})
	s.check(err)
	ids := make([]string, 0, len(got))
	for _, e := range got {
		ids = append(ids, e.ID)
	}
	s.equal("ids", []string{"fill-2", "fill-0", "fill-2"}, ids)
	for _, seq := range []journal.Seq{0, marker.Seq, marker.Seq + 1, journal.LatestSeq} {
		_, err := s.j.Get(s.Context(), []journal.Seq{1, seq})
		s.wantErr(fmt.Sprintf("Get(%d)", seq), err, journal.ErrTrimmed)
	}
}

func testDamaged(s *suite) {
	if s.h.Damage == nil {
		s.Skip("The engine's store cannot be damaged from a test")
	}
	s.fill(6)
	s.h.Damage(s.T, s.j, 2, false)
	s.h.Damage(s.T, s.j, 4, true)
	s.check(s.j.Trim(s.Context(), 2))
	for seq, want := range map[journal.Seq]error{1: journal.ErrTrimmed, 2: journal.ErrCorrupt, 4: journal.ErrCorrupt, 7: journal.ErrTrimmed} {
		_, err := s.j.Get(s.Context(), []journal.Seq{3, seq, 5})
		s.wantErr(fmt.Sprintf("Get of position %d", seq), err, want)
		var record *journal.RecordError
		if !errors.As(err, &record) || record.Seq != seq {
			s.fatalf("Get of position %d: error %v does not name the position", seq, err)
		}
	}
	events, err := s.j.Get(s.Context(), []journal.Seq{3, 5, 6})
	s.check(err)
	s.equal("the others", 3, len(events))
	for seq, reason := range map[journal.Seq]string{2: journal.ReasonEventCorrupt, 4: journal.ReasonEventCorrupt, 1: journal.ReasonEventMissing} {
		s.settle(journal.Batch{Outcomes: []journal.Outcome{{Ref: ref("sub", seq), Tenant: "acme", Result: journal.DeadLettered, Reason: reason}}})
	}
	at := s.h.Clock.Now().UTC()
	check := func() {
		s.Helper()
		s.equal("dead letters", []journal.DeadLetter{
			{Ref: ref("sub", 1), Tenant: "acme", Reason: journal.ReasonEventMissing, At: at},
			{Ref: ref("sub", 2), Tenant: "acme", Reason: journal.ReasonEventCorrupt, At: at},
			{Ref: ref("sub", 4), Tenant: "acme", Reason: journal.ReasonEventCorrupt, At: at},
		}, s.stateOf(s.j, 0, "sub").DeadLetters["sub"])
	}
	check()
	s.reopen()
	check()
	_, err = s.j.Read(s.Context(), 2, 10)
	s.wantErr("Read over a damaged record", err, journal.ErrCorrupt)
}

func testDuplicate(s *suite) {
	s.append(event("a"))
	others := []journal.Event{event("a"), event("a"), event("b")}
	others[0].Tenant = "other"
	others[1].Source = "//other"
	for i, receipt := range s.append(others...) {
		s.equal("another identity", journal.Receipt{Seq: journal.Seq(i + 2)}, receipt)
	}
	again := event("a")
	again.Type, again.Body = "order.changed", []byte("{}")
	s.equal("the same identity", []journal.Receipt{{Seq: 1, Duplicate: true}}, s.append(again))
	got, err := s.j.Get(s.Context(), []journal.Seq{1})
	s.check(err)
	s.equal("the first one stands", "order.created", got[0].Type)
}

func testDuplicateInCall(s *suite) {
	got := s.append(event("a"), event("b"), event("a"), event("c"), event("b"))
	want := []journal.Receipt{{Seq: 1}, {Seq: 2}, {Seq: 1, Duplicate: true}, {Seq: 3}, {Seq: 2, Duplicate: true}}
	s.equal("receipts", want, got)
}

func testDuplicateAtOnce(s *suite) {
	const publishers, rounds = 8, 25
	for round := range rounds {
		var group sync.WaitGroup
		receipts := make([]journal.Receipt, publishers)
		errs := make([]error, publishers)
		for p := range publishers {
			group.Go(func() {
				got, err := s.j.Append(s.Context(), []journal.Event{event(fmt.Sprint(round))})
				if errs[p] = err; err == nil {
					receipts[p] = got[0]
				}
			})
		}
		group.Wait()
		s.check(errors.Join(errs...))
		firsts := 0
		for _, receipt := range receipts {
			if !receipt.Duplicate {
				firsts++
			}
			s.equal("position", journal.Seq(round+1), receipt.Seq)
		}
		s.equal("firsts", 1, firsts)
	}
}

func testDuplicateReopened(s *suite) {
	s.fill(3)
	s.reopen()
	s.equal("receipts", []journal.Receipt{{Seq: 2, Duplicate: true}, {Seq: 4}}, s.append(event("fill-1"), event("new")))
}

func testDuplicateWindow(s *suite) {
	s.append(event("a"))
	s.h.Clock.Advance(journal.DuplicateWindow - time.Second)
	s.equal("inside the window", []journal.Receipt{{Seq: 1, Duplicate: true}}, s.append(event("a")))
	s.h.Clock.Advance(2 * time.Second)
	s.equal("after the window", []journal.Receipt{{Seq: 2}}, s.append(event("a")))
	s.equal("the new first", []journal.Receipt{{Seq: 2, Duplicate: true}}, s.append(event("a")))
	s.h.Clock.Advance(journal.DuplicateWindow / 2)
	s.reopen()
	s.equal("half a window later", []journal.Receipt{{Seq: 2, Duplicate: true}}, s.append(event("a")))
	s.h.Clock.Advance(10 * journal.DuplicateWindow)
	s.equal("long after", []journal.Receipt{{Seq: 3}}, s.append(event("a")))
}

func testTrim(s *suite) {
	s.fill(10)
	s.settle(journal.Batch{Cursor: 10, Unmatched: []journal.Seq{9}})
	s.check(s.j.Trim(s.Context(), 6))
	check := func() {
		first, last, err := s.j.View().Bounds(s.Context())
		s.check(err)
		s.equal("bounds", []journal.Seq{6, 10}, []journal.Seq{first, last})
		for _, from := range []journal.Seq{0, 1, 5} {
			_, err := s.j.Read(s.Context(), from, 10)
			s.wantErr(fmt.Sprintf("Read(%d)", from), err, journal.ErrTrimmed)
			_, err = s.j.Get(s.Context(), []journal.Seq{from})
			s.wantErr(fmt.Sprintf("Get(%d)", from), err, journal.ErrTrimmed)
		}
		if got := s.read(6, all); len(got) != 5 || got[0].Seq != 6 {
			s.fatalf("Read(6) returned %+v", got)
		}
		unmatched, err := s.j.View().IsUnmatched(s.Context(), 9)
		s.check(err)
		s.equal("unmatched", true, unmatched)
		s.equal("a duplicate of a trimmed one", []journal.Receipt{{Seq: 2, Duplicate: true}}, s.append(event("fill-1")))
	}
	check()
	s.check(s.j.Trim(s.Context(), 3)) // Lower than before: nothing to do.
	check()
	s.reopen()
	check()
}

func testTrimAll(s *suite) {
	s.fill(4)
	s.check(s.j.Trim(s.Context(), journal.LatestSeq))
	s.reopen()
	first, last, err := s.j.View().Bounds(s.Context())
	s.check(err)
	s.equal("bounds", []journal.Seq{0, 0}, []journal.Seq{first, last})
	s.equal("the next position", []journal.Receipt{{Seq: 5}}, s.append(event("new")))
	if got := s.read(5, all); len(got) != 1 || got[0].Event.ID != "new" {
		s.fatalf("Read(5) returned %+v", got)
	}
}

func testFirstAfter(s *suite) {
	begin := s.h.Clock.Now()
	first := func(at time.Time) journal.Seq {
		got, err := s.j.View().FirstAfter(s.Context(), at)
		s.check(err)

		return got
	}
	s.equal("of an empty log", journal.Seq(1), first(begin))
	for i := range 10 {
		s.append(event(fmt.Sprint(i)))
		s.h.Clock.Advance(time.Minute)
	}
	s.put("sub", 0, nil)
	s.equal("before all", journal.Seq(1), first(begin.Add(-time.Hour)))
	s.equal("at the first", journal.Seq(1), first(begin))
	s.equal("at another", journal.Seq(4), first(begin.Add(3*time.Minute)))
	s.equal("between two", journal.Seq(5), first(begin.Add(3*time.Minute+time.Nanosecond)))
	s.equal("at the marker", journal.Seq(11), first(begin.Add(10*time.Minute)))
	s.equal("after all", journal.Seq(12), first(begin.Add(time.Hour)))
	s.check(s.j.Trim(s.Context(), 6))
	s.equal("where it was trimmed", journal.Seq(6), first(begin))
}

func testFull(s *suite) {
	if s.h.SetFull == nil {
		s.Skip("The engine has no limit of its own")
	}
	s.fill(2)
	s.h.SetFull(true)
	_, err := s.j.Append(s.Context(), []journal.Event{event("new")})
	s.wantErr("Append", err, journal.ErrFull)
	s.equal("a duplicate needs no room", []journal.Receipt{{Seq: 1, Duplicate: true}}, s.append(event("fill-0")))
	marker := s.put("sub", 0, nil)
	s.equal("nothing was written", journal.Seq(3), marker.Seq)
	s.settle(journal.Batch{Cursor: 2, Outcomes: []journal.Outcome{s.delivered(ref("sub", 2), 1)}})
	s.check(s.j.Trim(s.Context(), 2))
	s.h.SetFull(false)
	s.equal("with room again", []journal.Receipt{{Seq: 4}}, s.append(event("new")))
}

func testClosed(s *suite) {
	s.fill(1)
	j := s.j
	reading := make(chan error, 1)
	go func() {
		_, err := j.Read(s.Context(), 2, 1)
		reading <- err
	}()
	versions, err := j.Watch(s.Context())
	s.check(err)
	owned, err := j.Own(s.Context())
	s.check(err)
	<-owned
	s.close()
	select {
	case err := <-reading:
		s.wantErr("a waiting Read", err, journal.ErrClosed)
	case <-time.After(patience):
		s.fatalf("Close left a Read waiting")
	}
	if _, open := <-versions; open {
		s.fatalf("Close left a Watch open")
	}
	if _, open := <-owned; open {
		s.fatalf("Close left an Own open")
	}
	s.check(j.Close())
	for name, call := range closedCalls(s.Context(), j, s.epoch) {
		s.wantErr(name, call(), journal.ErrClosed)
	}
}

// closedCalls are calls of every method.
func closedCalls(ctx context.Context, j journal.Journal, epoch journal.Epoch) map[string]func() error {
	return map[string]func() error{
		"Append": func() error { _, err := j.Append(ctx, []journal.Event{event("a")}); return err },
		"Read":   func() error { _, err := j.Read(ctx, 1, 1); return err },
		"Get":    func() error { _, err := j.Get(ctx, []journal.Seq{1}); return err },
		"Settle": func() error { return j.Settle(ctx, 0, epoch, journal.Batch{Cursor: 1}) },
		"Own":    func() error { _, err := j.Own(ctx); return err },
		"Trim":   func() error { return j.Trim(ctx, 1) },
		"PutSubscription": func() error {
			_, err := j.PutSubscription(ctx, journal.Version{Tenant: "acme", ID: "sub", Name: "sub"}, 0)

			return err
		},
		"Subscriptions": func() error { _, err := j.Subscriptions(ctx, journal.LatestSeq); return err },
		"Watch":         func() error { _, err := j.Watch(ctx); return err },
		"View":          func() error { _, err := j.View().Cursor(ctx, 0); return err },
	}
}
