package journaltest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

func replayCases() map[string]testCase {
	return map[string]testCase{
		"Written":   {"A replay reads back as it was written, until it is removed, also after a restart.", testReplayWritten},
		"Open":      {"Those that are running or paused are found for all subscriptions.", testReplayOpen},
		"Refused":   {"A replay without a name or with an unknown state is refused.", testReplayRefused},
		"Deleted":   {"Replays go with their subscription, and none is written after it.", testReplayDeleted},
		"Retained":  {"An open replay holds the log for a time, one that has ended or wants dead letters does not.", testReplayRetained},
		"Handed on": {"What an open replay hands on to a retry stays while somebody looks for what to retain.", testReplayRetainedAtOnce},
		"Clears":    {"A delivery that was put back on a page or among the retries clears its dead letter.", testReplayClears},
		"Durable":   {"A durable batch outlives a crash at once.", testReplayDurable},
		"Crash":     {"A replay's position is never ahead of what it stands for.", testReplayCrash},
	}
}

// replay is one with every field set.
func (s *suite) replay(subscription, id string) journal.Replay {
	now := s.h.Clock.Now().UTC()

	return journal.Replay{
		Subscription: subscription, ID: id, Tenant: "acme", State: journal.ReplayRunning, Reason: "Reason", Message: "a message",
		From: now.Add(-time.Hour), To: now, Available: now.Add(-time.Minute), RateLimit: 50,
		Start: 1, End: 11, Position: 4, Scanned: 4, Matched: 3, Delivered: 1, Failed: 1, Waiting: 1,
		StartedAt: now, UpdatedAt: now.Add(time.Second),
	}
}

// replays are a subscription's.
func (s *suite) replays(subscription string) []journal.Replay {
	s.Helper()
	rows, err := s.j.View().Replays(s.Context(), subscription)
	s.check(err)

	return rows
}

func (s *suite) openReplays() []journal.Replay {
	s.Helper()
	rows, err := s.j.View().OpenReplays(s.Context())
	s.check(err)

	return rows
}

func testReplayWritten(s *suite) {
	s.put("sub", 0, nil)
	s.put("sub2", 0, nil)
	late, early := s.replay("sub", "a"), s.replay("sub", "b")
	early.StartedAt = early.StartedAt.Add(-time.Minute)
	early.State, early.FailuresOnly = journal.ReplayDone, true
	s.settle(journal.Batch{Replays: []journal.Replay{late, early, s.replay("sub2", "a")}})
	for range 2 {
		s.equal("replays, oldest first", []journal.Replay{early, late}, s.replays("sub"))
		s.equal("replays of the other", []journal.Replay{s.replay("sub2", "a")}, s.replays("sub2"))
		s.reopen()
	}
	late.Position, late.Delivered = 9, 6
	first := late
	first.Position = 5
	s.settle(journal.Batch{Replays: []journal.Replay{first, late, {Subscription: "sub", ID: "b", Removed: true}}})
	for range 2 {
		s.equal("replays after a change", []journal.Replay{late}, s.replays("sub"))
		s.reopen()
	}
}

func testReplayOpen(s *suite) {
	s.put("b", 0, nil)
	s.put("a", 0, nil)
	running, paused, ended := s.replay("b", "1"), s.replay("a", "2"), s.replay("a", "3")
	paused.State, ended.State = journal.ReplayPaused, journal.ReplayFailed
	s.settle(journal.Batch{Replays: []journal.Replay{running, paused, ended}})
	for range 2 {
		s.equal("open replays", []journal.Replay{paused, running}, s.openReplays())
		s.reopen()
	}
	running.State = journal.ReplayCancelled
	s.settle(journal.Batch{Replays: []journal.Replay{running, {Subscription: "a", ID: "2", Removed: true}}})
	for range 2 {
		s.equal("open replays", []journal.Replay(nil), s.openReplays())
		s.reopen()
	}
}

func testReplayRefused(s *suite) {
	s.put("sub", 0, nil)
	nameless, odd := s.replay("sub", ""), s.replay("sub", "a")
	odd.State = "Odd"
	for _, replay := range []journal.Replay{nameless, odd, s.replay("", "a"), s.replay("sub\x00", "a")} {
		if err := s.j.Settle(s.Context(), 0, s.epoch, journal.Batch{Replays: []journal.Replay{replay}}); err == nil {
			s.fatalf("%+v was taken", replay)
		}
	}
	s.equal("replays", []journal.Replay(nil), s.replays("sub"))
}

func testReplayDeleted(s *suite) {
	s.settle(journal.Batch{Replays: []journal.Replay{s.replay("gone", "0")}})
	s.equal("replays of one there never was", []journal.Replay(nil), s.replays("gone"))
	s.put("gone", 0, nil)
	s.settle(journal.Batch{Replays: []journal.Replay{s.replay("gone", "1")}})
	marker := s.put("gone", 1, deleted)
	s.equal("open replays of the deleted", []journal.Replay(nil), s.openReplays())
	s.settle(journal.Batch{Cursor: marker.Seq})
	s.eventually("the replay to go", func() bool {
		s.h.Clock.Advance(time.Second)

		return len(s.replays("gone")) == 0
	})
	s.settle(journal.Batch{Replays: []journal.Replay{s.replay("gone", "1")}})
	s.equal("replays written after", []journal.Replay(nil), s.replays("gone"))
}

func testReplayRetained(s *suite) {
	const age = time.Hour
	s.fill(10)
	s.put("sub", 0, nil)
	s.settle(journal.Batch{Cursor: 11})
	s.h.Clock.Advance(2 * age)
	retain := func() journal.Seq {
		s.Helper()
		before, err := journal.Retain(s.Context(), s.j, []journal.Shard{0}, s.h.Clock.Now(), age)
		s.check(err)

		return before
	}
	holds, letters, ended := s.replay("sub", "a"), s.replay("sub", "b"), s.replay("sub", "c")
	letters.FailuresOnly, letters.Position = true, 0
	ended.State, ended.Position = journal.ReplayDone, 0
	s.settle(journal.Batch{Replays: []journal.Replay{holds, letters, ended}})
	s.equal("first position", journal.Seq(5), retain())
	holds.Position, holds.State = 7, journal.ReplayPaused
	s.settle(journal.Batch{Replays: []journal.Replay{holds}})
	s.equal("first position with one that is paused", journal.Seq(8), retain())
	s.h.Clock.Advance(journal.MaxReplayAge)
	s.equal("first position at its age", journal.Seq(8), retain())
	s.h.Clock.Advance(time.Second)
	s.equal("first position after its age", journal.Seq(12), retain())
}

// handing is a journal that does something between the looks at what must be retained.
type handing struct {
	journal.Journal

	between func()
}

func (h handing) View() journal.View { return handingView{View: h.Journal.View(), between: h.between} }

type handingView struct {
	journal.View

	between func()
}

func (h handingView) OldestReference(ctx context.Context) (journal.Seq, error) {
	defer h.between()

	return h.View.OldestReference(ctx) //nolint:wrapcheck // As it is.
}

func (h handingView) OpenReplays(ctx context.Context) ([]journal.Replay, error) {
	defer h.between()

	return h.View.OpenReplays(ctx) //nolint:wrapcheck // As it is.
}

func testReplayRetainedAtOnce(s *suite) {
	const age = time.Hour
	s.fill(10)
	s.put("sub", 0, nil)
	replay := s.replay("sub", "a")
	s.settle(journal.Batch{Cursor: 11, Replays: []journal.Replay{replay}})
	s.h.Clock.Advance(2 * age)
	fails := replay.Position + 1
	between := sync.OnceFunc(func() {
		replay.Position = fails
		s.settle(journal.Batch{
			Outcomes: []journal.Outcome{s.retried(ref("sub", fails), 1, time.Hour)}, Replays: []journal.Replay{replay},
		})
	})
	_, err := journal.Retain(s.Context(), handing{Journal: s.j, between: between}, []journal.Shard{0}, s.h.Clock.Now(), age)
	s.check(err)
	_, err = s.j.Get(s.Context(), []journal.Seq{fails})
	s.check(err)
}

func testReplayClears(s *suite) {
	s.fill(4)
	s.put("sub", 0, nil)
	s.settle(journal.Batch{Cursor: 4})
	s.bury("acme", "sub", 1, 2, 3)
	s.settle(journal.Batch{
		Outcomes: []journal.Outcome{s.retried(ref("sub", 1), 1, time.Second)}, Backlog: []journal.Ref{ref("sub", 2)},
	})
	s.equal("letters while they wait", []journal.Seq{1, 2, 3}, s.letters("sub"))
	s.settle(journal.Batch{Outcomes: []journal.Outcome{
		s.delivered(ref("sub", 1), 2), s.delivered(ref("sub", 2), 1), s.delivered(ref("sub", 4), 1),
	}})
	s.equal("letters", []journal.Seq{3}, s.letters("sub"))
}

func testReplayDurable(s *suite) {
	if s.h.Crash == nil {
		s.Skip("The engine cannot tell what a crash leaves")
	}
	rng := rand.New(rand.NewPCG(5, 1))
	s.put("sub", 0, nil)
	for i := range journal.Seq(10) {
		replay := s.replay("sub", "a")
		replay.Position = i
		s.settle(journal.Batch{Replays: []journal.Replay{replay}, Durable: true})
		left := s.h.Crash(s.T, rng)
		rows, err := left.View().Replays(s.Context(), "sub")
		s.check(err)
		s.check(left.Close())
		s.equal("replays after a crash", []journal.Replay{replay}, rows)
	}
}

func testReplayCrash(s *suite) {
	if s.h.Crash == nil {
		s.Skip("The engine cannot tell what a crash leaves")
	}
	rng := rand.New(rand.NewPCG(6, 1))
	s.fill(20)
	s.put("sub", 0, nil)
	replay := s.replay("sub", "a")
	replay.Position = 0
	s.settle(journal.Batch{Cursor: 21, Replays: []journal.Replay{replay}, Durable: true})
	for seq := journal.Seq(1); seq <= 20; seq++ {
		outcome := s.delivered(ref("sub", seq), 1)
		outcome.Resent = true
		replay.Position, replay.Delivered = seq, uint64(seq)
		s.settle(journal.Batch{Outcomes: []journal.Outcome{outcome}, Replays: []journal.Replay{replay}})
		left := s.h.Crash(s.T, rng)
		rows, err := left.View().Replays(s.Context(), "sub")
		s.check(err)
		attempts, err := left.View().Attempts(s.Context(), "sub", journal.AttemptQuery{Limit: all})
		s.check(err)
		s.check(left.Close())
		s.equal("attempts by the position", int(rows[0].Position), len(attempts))
	}
}
