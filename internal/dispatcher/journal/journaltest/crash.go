package journaltest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

func crashCases() map[string]testCase {
	return map[string]testCase{
		"Schedule":   {"After a crash at any commit nothing acknowledged is missing, and a prefix is settled.", testCrashSchedule},
		"Concurrent": {"So it is while many write at once.", testCrashConcurrent},
		"Settle":     {"What is settled is durable soon, without an append.", testCrashSettle},
		"Changes":    {"A point in the changes that a crash took back misses none of those after it.", testCrashChanges},
		"Goes on":    {"A journal goes on after a crash where it stood.", testCrashGoesOn},
	}
}

// crash opens what a crash leaves, and closes it with the test.
func (s *suite) crash(rng *rand.Rand) journal.Journal {
	s.Helper()

	return s.h.Crash(s.T, rng)
}

// ledger is what was acknowledged so far.
type ledger struct {
	mu       sync.Mutex
	events   map[journal.Seq]string
	versions map[string]journal.Version
}

func newLedger() *ledger {
	return &ledger{events: map[journal.Seq]string{}, versions: map[string]journal.Version{}}
}

func (l *ledger) event(seq journal.Seq, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events[seq] = id
}

func (l *ledger) version(version journal.Version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.versions[version.ID] = version
}

// copy is what was acknowledged at this moment.
func (l *ledger) copy() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := newLedger()
	maps.Copy(out.events, l.events)
	maps.Copy(out.versions, l.versions)

	return out
}

// last is the highest position that was acknowledged.
func (l *ledger) last() journal.Seq {
	last := journal.Seq(0)
	for seq := range l.events {
		last = max(last, seq)
	}
	for _, version := range l.versions {
		last = max(last, version.Seq)
	}

	return last
}

// survived checks that a journal has all that was acknowledged.
func (s *suite) survived(j journal.Journal, acked *ledger) {
	s.Helper()
	_, last, err := j.View().Bounds(s.Context())
	s.check(err)
	if last < acked.last() {
		s.fatalf("the log ends at %d, %d was acknowledged", last, acked.last())
	}
	for i, record := range s.readAll(j, int(last)) {
		if record.Seq != journal.Seq(i+1) {
			s.fatalf("position %d holds %+v", i+1, record)
		}
		if want, isEvent := acked.events[record.Seq]; isEvent && (record.Event == nil || record.Event.ID != want) {
			s.fatalf("position %d holds %+v, acknowledged was event %s", record.Seq, record, want)
		}
	}
	versions, err := j.Subscriptions(s.Context(), journal.LatestSeq)
	s.check(err)
	for id, want := range acked.versions {
		at := slices.IndexFunc(versions, func(v journal.Version) bool { return v.ID == id })
		if at < 0 || versions[at].Revision < want.Revision {
			s.fatalf("subscription %s: %+v, acknowledged was revision %d", id, versions, want.Revision)
		}
	}
}

// schedule is one random run: what it did, and what it must find after a crash.
type schedule struct {
	*suite

	rng   *rand.Rand
	acked *ledger
	// states are the rows after each batch; the first durableStates of them are durable for sure.
	states        []state
	durableStates int
	next          int
	revisions     map[string]journal.Revision
}

// crashSubscriptions are those the schedule settles deliveries of.
var crashSubscriptions = []string{"a", "b"}

func testCrashSchedule(s *suite) {
	const seeds, steps = 6, 40
	for seed := range uint64(seeds) {
		if seed > 0 {
			s.close()
			s.h = s.fresh(s.T)
			s.open()
		}
		run := &schedule{
			suite: s, rng: rand.New(rand.NewPCG(seed, 17)), acked: newLedger(),
			revisions: map[string]journal.Revision{},
		}
		run.states = []state{run.rows(s.j)}
		for range steps {
			run.step()
			run.verify()
		}
	}
}

// rows are those of the subscriptions, less what the log itself decides.
func (r *schedule) rows(j journal.Journal) state {
	r.Helper()

	return r.stateOf(j, 64, crashSubscriptions...)
}

// step does one random thing.
func (r *schedule) step() {
	r.Helper()
	switch dice := r.rng.IntN(10); {
	case dice < 4:
		settled := len(r.states)
		var events []journal.Event
		for range 1 + r.rng.IntN(4) {
			events = append(events, event(fmt.Sprintf("event-%d", r.next)))
			r.next++
		}
		for i, receipt := range r.append(events...) {
			r.acked.event(receipt.Seq, events[i].ID)
		}
		r.durableStates = settled
	case dice < 5:
		settled := len(r.states)
		id := crashSubscriptions[r.rng.IntN(len(crashSubscriptions))]
		version := r.put(id, r.revisions[id], nil)
		r.revisions[id]++
		r.acked.version(version)
		r.durableStates = settled
	default:
		r.settleSome()
	}
}

// settleSome settles a random batch over the events so far.
func (r *schedule) settleSome() {
	r.Helper()
	last := r.acked.last()
	if last == 0 {
		return
	}
	cursor, err := r.j.View().Cursor(r.Context(), 0)
	r.check(err)
	batch := journal.Batch{}
	if cursor < last && r.rng.IntN(2) == 0 {
		batch.Cursor = cursor + 1 + journal.Seq(r.rng.Uint64N(uint64(last-cursor)))
	}
	for range 1 + r.rng.IntN(5) {
		of := ref(crashSubscriptions[r.rng.IntN(len(crashSubscriptions))], 1+journal.Seq(r.rng.Uint64N(uint64(last))))
		_, isEvent := r.acked.events[of.Seq]
		switch dice := r.rng.IntN(6); {
		case dice == 0:
			batch.Backlog = append(batch.Backlog, of)
		case dice == 1:
			batch.Outcomes = append(batch.Outcomes, r.retried(of, int32(r.rng.IntN(9)), time.Duration(r.rng.IntN(100))*time.Second))
		case dice == 2 && isEvent:
			batch.Outcomes = append(batch.Outcomes, r.dead(of, 1))
		case dice == 3:
			batch.Unmatched = append(batch.Unmatched, of.Seq)
		case dice == 4:
			batch.Skipped = append(batch.Skipped, journal.Interval{Subscription: of.Subscription, From: of.Seq, Reason: "Disabled"})
		default:
			batch.Outcomes = append(batch.Outcomes, r.delivered(of, 1))
		}
	}
	r.settle(batch)
	r.states = append(r.states, r.rows(r.j))
}

// verify crashes and looks at what is left.
func (r *schedule) verify() {
	r.Helper()
	left := r.crash(r.rng)
	r.survived(left, r.acked)
	got, prefix := r.rows(left), -1
	for i := len(r.states) - 1; i >= 0 && prefix < 0; i-- {
		if cmp.Equal(r.states[i], got, cmpopts.EquateEmpty()) {
			prefix = i
		}
	}
	if prefix < 0 {
		r.fatalf("what is settled after a crash is no prefix of what was; against the last:\n%s",
			cmp.Diff(r.states[len(r.states)-1], got, cmpopts.EquateEmpty()))
	}
	// Two batches may leave the same rows, so the longest prefix that fits is the one to judge.
	if prefix < r.durableStates-1 {
		r.fatalf("%d batches are settled after a crash, %d were durable", prefix, r.durableStates-1)
	}
	r.check(left.Close())
}

func testCrashConcurrent(s *suite) {
	const publishers, crashes = 8, 25
	// What is published grows with the crashes alone, so that looking through it cannot make it grow.
	var allowed atomic.Int64
	rng := rand.New(rand.NewPCG(4, 2))
	acked := newLedger()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	var group sync.WaitGroup
	errs := make(chan error, publishers+1)
	for p := range publishers {
		group.Go(func() { errs <- s.publishUntil(ctx, p, &allowed, acked) })
	}
	group.Go(func() { errs <- s.putUntil(ctx, acked) })
	for range crashes {
		allowed.Add(100)
		before := acked.copy()
		left := s.crash(rng)
		s.survived(left, before)
		s.check(left.Close())
	}
	cancel()
	group.Wait()
	for range publishers + 1 {
		s.check(<-errs)
	}
	s.survived(s.j, acked)
}

// publishUntil appends as many events as are allowed by and by, until the context ends.
func (s *suite) publishUntil(ctx context.Context, publisher int, allowed *atomic.Int64, acked *ledger) error {
	for i := int64(0); ctx.Err() == nil; {
		time.Sleep(100 * time.Microsecond)
		if i >= allowed.Load() {
			continue
		}
		i++
		id := fmt.Sprintf("%d-%d", publisher, i)
		receipts, err := s.j.Append(s.Context(), []journal.Event{event(id)})
		if err != nil {
			return fmt.Errorf("appending: %w", err)
		}
		acked.event(receipts[0].Seq, id)
	}

	return nil
}

// putUntil puts versions until the context ends.
func (s *suite) putUntil(ctx context.Context, acked *ledger) error {
	for revision := journal.Revision(0); ctx.Err() == nil; revision++ {
		version, err := s.j.PutSubscription(s.Context(), journal.Version{Tenant: "acme", ID: "sub", Name: "sub"}, revision)
		if err != nil {
			return fmt.Errorf("putting a subscription: %w", err)
		}
		acked.version(version)
		time.Sleep(time.Millisecond)
	}

	return nil
}

func testCrashSettle(s *suite) {
	rng := rand.New(rand.NewPCG(1, 1))
	s.fill(20)
	for cursor := journal.Seq(1); cursor <= 20; cursor++ {
		s.settle(journal.Batch{Cursor: cursor})
		s.eventually("the batch is durable", func() bool {
			left := s.crash(rng)
			got, err := left.View().Cursor(s.Context(), 0)
			s.check(err)
			s.check(left.Close())

			return got == cursor
		})
	}
}

func testCrashChanges(s *suite) {
	rng := rand.New(rand.NewPCG(3, 1))
	s.fill(1)
	point := uint64(0)
	for range 20 {
		s.settle(journal.Batch{Outcomes: []journal.Outcome{s.delivered(ref("a", 1), 1)}})
		_, next, err := s.j.View().StatusesChangedSince(s.Context(), "acme", 0)
		s.check(err)
		point = max(point, next)
	}
	left := s.crash(rng)
	s.close()
	s.j = left
	owned, err := left.Own(s.Context())
	s.check(err)
	s.epoch = (<-owned).Epoch
	s.settle(journal.Batch{Outcomes: []journal.Outcome{s.delivered(ref("b", 1), 1)}})
	s.changed("acme", point, "b")
}

func testCrashGoesOn(s *suite) {
	rng := rand.New(rand.NewPCG(2, 1))
	s.fill(3)
	s.put("sub", 0, nil)
	left := s.crash(rng)
	s.close()
	s.j = left
	s.equal("the next position", []journal.Receipt{{Seq: 2, Duplicate: true}, {Seq: 5}}, s.append(event("fill-1"), event("new")))
	s.equal("the next revision", journal.Revision(2), s.put("sub", 1, nil).Revision)
}
