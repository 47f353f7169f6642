package journaltest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

func subscriptionCases() map[string]testCase {
	return map[string]testCase{
		"Put":       {"A version gets the next revision and a place in the log, and is read back whole.", testPut},
		"Revision":  {"A version that does not follow the newest one is refused, and nothing is written.", testRevision},
		"Name":      {"A name is one subscription's alone within a tenant, until it lets go of it.", testName},
		"Deleted":   {"A deleted subscription is left out, and stays deleted.", testDeleted},
		"Marker":    {"An event appended after a version stands after its marker.", testMarker},
		"At":        {"Subscriptions tells what held at each position.", testAt},
		"AtCursor":  {"What held at the cursor is known however many versions follow.", testAtCursor},
		"Reopened":  {"Versions, revisions and names outlive the process.", testSubscriptionsReopened},
		"Watch":     {"A watcher gets the versions written after its call, in order.", testWatch},
		"WatchSlow": {"A watcher that does not keep up is closed, and nobody waits for it.", testWatchSlow},
		"Contended": {"Of writers who expect the same revision, one wins.", testContended},
		"Vanish":    {"A deleted subscription's rows go once nothing needs them.", testVanish},
	}
}

// subscriptions reads the versions at a position.
func (s *suite) subscriptions(at journal.Seq) []journal.Version {
	s.Helper()
	got, err := s.j.Subscriptions(s.Context(), at)
	s.check(err)

	return got
}

func testPut(s *suite) {
	s.fill(2)
	got := s.put("sub", 0, nil)
	want := journal.Version{Tenant: "acme", ID: "sub", Name: "name-sub", Revision: 1, Seq: 3, Value: []byte("sub at 1")}
	s.equal("PutSubscription", want, got)
	s.equal("the marker", []journal.Record{{Seq: 3, Marker: &want}}, s.read(3, 10))
	s.equal("Subscriptions", []journal.Version{want}, s.subscriptions(journal.LatestSeq))
	s.equal("the second revision", journal.Revision(2), s.put("sub", 1, nil).Revision)
}

func testRevision(s *suite) {
	s.put("sub", 0, nil)
	s.put("sub", 1, nil)
	before := s.subscriptions(journal.LatestSeq)
	for _, expect := range []journal.Revision{0, 1, 3} {
		_, err := s.j.PutSubscription(s.Context(), journal.Version{Tenant: "acme", ID: "sub", Name: "n"}, expect)
		s.wantErr(fmt.Sprintf("expecting %d", expect), err, journal.ErrRevision)
	}
	_, err := s.j.PutSubscription(s.Context(), journal.Version{Tenant: "acme", ID: "new", Name: "n"}, 1)
	s.wantErr("expecting 1 of none", err, journal.ErrRevision)
	s.equal("Subscriptions", before, s.subscriptions(journal.LatestSeq))
	s.equal("nothing was written", []journal.Receipt{{Seq: 3}}, s.append(event("next")))
}

func testName(s *suite) {
	named := func(name string) func(*journal.Version) {
		return func(v *journal.Version) { v.Name = name }
	}
	refused := func(id, tenant, name string, expect journal.Revision) {
		s.Helper()
		_, err := s.j.PutSubscription(s.Context(), journal.Version{Tenant: tenant, ID: id, Name: name}, expect)
		s.wantErr(id+" as "+name, err, journal.ErrNameTaken)
	}
	s.put("one", 0, named("x"))
	refused("two", "acme", "x", 0)
	s.put("other", 0, func(v *journal.Version) { v.Tenant, v.Name = "other", "x" })
	s.put("two", 0, named("y"))
	refused("two", "acme", "x", 1)
	s.put("one", 1, named("x"))
	s.put("one", 2, named("z"))
	s.put("two", 1, named("x"))
	refused("one", "acme", "x", 3)
	s.put("two", 2, func(v *journal.Version) { v.Name, v.Deleted = "x", true })
	s.put("one", 3, named("x"))
}

func testDeleted(s *suite) {
	s.put("sub", 0, nil)
	gone := s.put("sub", 1, deleted)
	s.equal("the deleting version", true, gone.Deleted)
	s.equal("Subscriptions", []journal.Version{}, s.subscriptions(journal.LatestSeq))
	if records := s.read(2, 1); records[0].Marker == nil || !records[0].Marker.Deleted {
		s.fatalf("the marker of a deletion is %+v", records[0])
	}
	for _, expect := range []journal.Revision{0, 1, 2} {
		_, err := s.j.PutSubscription(s.Context(), journal.Version{Tenant: "acme", ID: "sub", Name: "n"}, expect)
		s.wantErr("a version after the last", err, journal.ErrRevision)
	}
}

func testMarker(s *suite) {
	const rounds = 50
	var group sync.WaitGroup
	stop := make(chan struct{})
	errs := make(chan error, 1)
	group.Go(func() {
		var err error
		for i := 0; err == nil; i++ {
			select {
			case <-stop:
				errs <- nil

				return
			default:
				_, err = s.j.Append(s.Context(), []journal.Event{event(fmt.Sprintf("noise-%d", i))})
			}
		}
		errs <- err
	})
	for round := range rounds {
		marker := s.put("sub", journal.Revision(round), nil)
		receipt := s.append(event(fmt.Sprintf("after-%d", round)))[0]
		if receipt.Seq <= marker.Seq {
			s.fatalf("the event stands at %d, its marker at %d", receipt.Seq, marker.Seq)
		}
		if got := s.read(marker.Seq, 1)[0]; got.Marker == nil || got.Marker.Revision != marker.Revision {
			s.fatalf("position %d holds %+v, not the marker", marker.Seq, got)
		}
	}
	close(stop)
	group.Wait()
	s.check(<-errs)
}

func testAt(s *suite) {
	s.append(event("1"))
	a1 := s.put("a", 0, nil) // 2
	b1 := s.put("b", 0, nil) // 3
	s.append(event("4"))     // 4
	a2 := s.put("a", 1, nil) // 5
	s.put("b", 1, deleted)   // 6
	c1 := s.put("c", 0, nil) // 7
	a3 := s.put("a", 2, nil) // 8
	want := [][]journal.Version{
		0: {}, 1: {}, 2: {a1}, 3: {a1, b1}, 4: {a1, b1}, 5: {a2, b1}, 6: {a2}, 7: {a2, c1}, 8: {a3, c1},
	}
	for at, versions := range want {
		s.equal(fmt.Sprintf("at %d", at), versions, s.subscriptions(journal.Seq(at)))
	}
	s.equal("at the end", want[8], s.subscriptions(journal.LatestSeq))
}

func testAtCursor(s *suite) {
	var at journal.Version
	for revision := range journal.Revision(10) {
		version := s.put("sub", revision, nil)
		s.append(event(fmt.Sprint(revision)))
		if revision == 4 {
			at = version
			s.settle(journal.Batch{Cursor: at.Seq + 1})
		}
	}
	last := s.put("sub", 10, nil)
	for range 2 {
		s.equal("at the cursor", []journal.Version{at}, s.subscriptions(at.Seq+1))
		s.equal("after the cursor", journal.Revision(6), s.subscriptions(at.Seq + 2)[0].Revision)
		s.equal("at the end", []journal.Version{last}, s.subscriptions(journal.LatestSeq))
		s.reopen()
	}
	if got, err := s.j.Subscriptions(s.Context(), 1); err == nil {
		s.equal("at the beginning, where it is known at all", journal.Revision(1), got[0].Revision)
	} else {
		s.wantErr("at the beginning, where it is not known", err, journal.ErrTrimmed)
	}
}

func testSubscriptionsReopened(s *suite) {
	s.put("a", 0, nil)
	want := []journal.Version{s.put("a", 1, nil), s.put("b", 0, nil)}
	s.put("c", 0, nil)
	s.put("c", 1, deleted)
	s.reopen()
	s.equal("Subscriptions", want, s.subscriptions(journal.LatestSeq))
	_, err := s.j.PutSubscription(s.Context(), journal.Version{Tenant: "acme", ID: "a", Name: "name-a"}, 1)
	s.wantErr("an old revision", err, journal.ErrRevision)
	_, err = s.j.PutSubscription(s.Context(), journal.Version{Tenant: "acme", ID: "d", Name: "name-b"}, 0)
	s.wantErr("a name that is taken", err, journal.ErrNameTaken)
	s.put("d", 0, func(v *journal.Version) { v.Name = "name-c" })
}

func testWatch(s *suite) {
	s.put("sub", 0, nil)
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	versions, err := s.j.Watch(ctx)
	s.check(err)
	for revision := journal.Revision(1); revision < 20; revision++ {
		want := s.put("sub", revision, nil)
		select {
		case got := <-versions:
			s.equal("the version watched", want, got)
		case <-time.After(patience):
			s.fatalf("no version within %s", patience)
		}
	}
	cancel()
	s.eventually("the watch ends with its context", func() bool {
		select {
		case _, open := <-versions:
			return !open
		default:
			return false
		}
	})
}

func testWatchSlow(s *suite) {
	const most = 1 << 16
	versions, err := s.j.Watch(s.Context())
	s.check(err)
	const writers = 64
	var group sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		group.Go(func() {
			for revision := range journal.Revision(64) {
				id := fmt.Sprintf("sub-%d", w)
				_, err := s.j.PutSubscription(s.Context(), journal.Version{Tenant: "acme", ID: id, Name: id}, revision)
				errs[w] = errors.Join(errs[w], err)
			}
		})
	}
	group.Wait()
	s.check(errors.Join(errs...))
	got, last := 0, journal.Seq(0)
	for version := range versions {
		if got++; got > most {
			s.fatalf("the watch is open after %d versions that nobody took", got)
		}
		if version.Seq <= last {
			s.fatalf("position %d after %d", version.Seq, last)
		}
		last = version.Seq
	}
}

func testContended(s *suite) {
	const writers, rounds = 8, 20
	for round := range journal.Revision(rounds) {
		var group sync.WaitGroup
		errs := make([]error, writers)
		for w := range writers {
			group.Go(func() {
				version := journal.Version{Tenant: "acme", ID: "sub", Name: "sub", Value: []byte(fmt.Sprint(w))}
				_, errs[w] = s.j.PutSubscription(s.Context(), version, round)
			})
		}
		group.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				s.wantErr("who came late", err, journal.ErrRevision)
			}
		}
		s.equal("winners", 1, won)
	}
}

func testVanish(s *suite) {
	s.fill(3)
	s.put("gone", 0, nil)               // 4
	s.put("stays", 0, nil)              // 5
	marker := s.put("gone", 1, deleted) // 6
	s.settle(journal.Batch{
		Backlog:  []journal.Ref{ref("gone", 3)},
		Outcomes: []journal.Outcome{s.dead(ref("gone", 1), 1), s.delivered(ref("stays", 1), 1), s.retried(ref("gone", 2), 1, time.Hour)},
		Skipped:  []journal.Interval{{Subscription: "gone", From: 1, To: 2, Reason: "Disabled"}},
	})
	kept := s.stateOf(s.j, 6, "stays")
	s.settle(journal.Batch{Cursor: marker.Seq})
	letters := func() int {
		s.h.Clock.Advance(time.Second)
		got, err := s.j.View().DeadLetters(s.Context(), "gone", 0, all)
		s.check(err)

		return len(got)
	}
	for range 5 {
		s.equal("dead letters while there is a backlog", 1, letters())
	}
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.dropped(ref("gone", 3))}})
	for range 5 {
		s.equal("dead letters while there is a retry", 1, letters())
	}
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.dropped(ref("gone", 2))}})
	s.eventually("the rows vanish", func() bool { return letters() == 0 })
	left := s.stateOf(s.j, 6, "gone")
	s.equal("attempts", 0, len(left.Attempts["gone"]))
	s.equal("statuses", 0, len(left.Statuses["gone"]))
	s.equal("skipped", 0, len(left.Skipped["gone"]))
	changed, _, err := s.j.View().StatusesChangedSince(s.Context(), "acme", 0)
	s.check(err)
	s.equal("changed", []string{"stays"}, changed)
	kept.Cursor, kept.Done, kept.Due, kept.Oldest, kept.Backlogged, kept.Retrying = marker.Seq, nil, nil, 0, nil, nil
	s.equal("another's rows", kept, s.stateOf(s.j, 6, "stays"))
	late := s.delivered(ref("gone", 1), 2)
	late.Resent = true
	s.settle(journal.Batch{Outcomes: []journal.Outcome{late}})
	s.equal("a resend that ends afterwards writes nothing", 0, len(s.stateOf(s.j, 6, "gone").Attempts["gone"]))
	s.reopen()
	s.equal("Subscriptions", 1, len(s.subscriptions(journal.LatestSeq)))
	s.put("new", 0, func(v *journal.Version) { v.Name = "name-gone" })
}
