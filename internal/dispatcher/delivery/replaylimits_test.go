package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// TestReplaySurvivesCrashes: whatever a crash leaves, all of the window is sent, and little of it twice.
func TestReplaySurvivesCrashes(t *testing.T) {
	t.Parallel()
	for _, failuresOnly := range []bool{false, true} {
		t.Run(fmt.Sprintf("failuresOnly=%t", failuresOnly), func(t *testing.T) {
			t.Parallel()
			const events = 300
			endpoint := newReceiver(t)
			fs := vfs.NewCrashableMem()
			r := &rig{t: t, fs: fs, clock: clockwork.NewRealClock(), change: func(c *Config) {
				if failuresOnly {
					c.Schedule = Schedule{0}
				}
			}}
			r.open()
			r.run()
			t.Cleanup(func() { r.stop(); r.close() })
			if failuresOnly {
				endpoint.always(http.StatusInternalServerError)
			}
			id := r.subscribe(endpoint.URL, nil)
			from := r.clock.Now()
			r.publish("a.b", ids("e", events)...)
			eventually(t, "the first deliveries", func() bool { tried, _, _ := endpoint.counts(); return tried == events })
			r.settledAll()
			endpoint.mu.Lock()
			clear(endpoint.accepted)
			endpoint.mu.Unlock()
			endpoint.always(http.StatusOK)
			started := r.replay(id, ReplayRequest{From: from, FailuresOnly: failuresOnly, RateLimit: fast()})
			rng := rand.New(rand.NewPCG(7, 7))
			for crash := range 5 {
				eventually(t, "some more to be sent", func() bool {
					_, accepted, _ := endpoint.counts()

					return accepted > 40*(crash+1)
				})
				left := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
				r.stop()
				r.close()
				fs, r.fs = left, left
				r.open()
				r.run()
				r.running()
			}
			got := r.reaches(id, started.ID, journal.ReplayDone)
			r.counts(got, counted{Scanned: events, Matched: events, Delivered: events})
			_, accepted, most := endpoint.counts()
			total := 0
			endpoint.mu.Lock()
			for _, n := range endpoint.accepted {
				total += n
			}
			endpoint.mu.Unlock()
			if accepted != events || most > 5 {
				t.Errorf("%d of %d events arrived, at most %d times", accepted, events, most)
			}
			t.Logf("%d deliveries for %d events over 5 crashes", total, events)
			if letters := r.deadLetters(id); len(letters) != 0 {
				t.Errorf("%d dead letters are left", len(letters))
			}
		})
	}
}

// TestReplayKeepsOrderByKey: events of a key go one after the other and in order, also where one of
// them fails at first, and those of other keys do not wait.
func TestReplayKeepsOrderByKey(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, func(c *Config) { c.Schedule = Schedule{0, 50 * time.Millisecond, 50 * time.Millisecond} })
	id := r.ordered(endpoint.URL)
	from := r.clock.Now()
	all := interleaved(40, "a", "b", "c", "none")
	r.publishKeyed(all...)
	endpoint.got(t, len(all))
	r.settledAll()
	endpoint.mu.Lock()
	endpoint.order = nil
	clear(endpoint.accepted)
	clear(endpoint.tried)
	endpoint.mu.Unlock()
	endpoint.respond(func(w http.ResponseWriter, id string, nth int) {
		if id == "a-005" && nth == 1 || id == "b-010" && nth <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	started := r.replay(id, ReplayRequest{From: from, RateLimit: fast()})
	endpoint.got(t, len(all))
	endpoint.inOrder(t)
	got := r.reaches(id, started.ID, journal.ReplayDone)
	if got.Failed != 2 || got.Matched != uint64(len(all)) || got.Delivered+got.Failed+got.Waiting != got.Matched || got.Waiting == 0 {
		t.Errorf("counts: %+v", countsOf(got))
	}
	endpoint.acceptedTimes(t, 1, all...)
	r.publishKeyed("a-100", "b-100", "c-100")
	endpoint.got(t, len(all)+3)
	endpoint.inOrder(t)
}

func TestReplayRequests(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	r := newRigAt(t, clock, nil)
	id := r.subscribe("http://127.0.0.1:1", nil)
	r.running()
	now := clock.Now()
	rate := func(n int32) *int32 { return &n }
	cases := map[string]struct {
		reason string
		want   ReplayRequest
		field  string
	}{
		"NoFrom":   {"all that the log has is too much to send by mistake", ReplayRequest{}, "from"},
		"Future":   {"the future has no events", ReplayRequest{From: now.Add(time.Hour)}, "from"},
		"Reversed": {"the end is after the beginning", ReplayRequest{From: now.Add(-time.Hour), To: now.Add(-2 * time.Hour)}, "to"},
		"Empty":    {"a window has a length", ReplayRequest{From: now.Add(-time.Hour), To: now.Add(-time.Hour)}, "to"},
		"Slow":     {"a rate is positive", ReplayRequest{From: now.Add(-time.Hour), RateLimit: rate(0)}, "rateLimit"},
		"Fast":     {"a rate has an end", ReplayRequest{FailuresOnly: true, RateLimit: rate(1001)}, "rateLimit"},
	}
	for name, tc := range cases {
		invalid := new(subscription.InvalidError)
		if _, err := r.engine.StartReplay(t.Context(), id, tc.want); !errors.As(err, &invalid) || invalid.Field != tc.field {
			t.Errorf("%s: %s: %v", name, tc.reason, err)
		}
	}
	if _, err := r.engine.StartReplay(t.Context(), "none", ReplayRequest{FailuresOnly: true}); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("a subscription that is not there: %v", err)
	}
	if _, err := r.engine.Replay(t.Context(), id, "none"); !errors.Is(err, ErrNoReplay) {
		t.Errorf("a replay that is not there: %v", err)
	}
	// Nothing to do is done at once; a later end is now.
	got := r.replay(id, ReplayRequest{From: now.Add(-time.Hour), To: now.Add(time.Hour), FailuresOnly: true})
	if got.State != journal.ReplayDone || got.RateLimit != DefaultReplayRate || !got.To.Equal(now) {
		t.Errorf("a replay of nothing: %+v", got)
	}
	r.stop()
	if _, err := r.engine.StartReplay(t.Context(), id, ReplayRequest{FailuresOnly: true}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("an engine that does not run: %v", err)
	}
}

func TestReplaysAreBounded(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	var subs []string
	for range MaxRunningReplays + 1 {
		subs = append(subs, r.subscribe(endpoint.URL, nil))
	}
	from := r.clock.Now()
	r.publish("a.b", ids("e", 10)...)
	endpoint.got(t, 10)
	r.settledAll()
	one := int32(1)
	var running []string
	conflict := new(ReplayConflictError)
	for i, id := range subs {
		got, err := r.engine.StartReplay(t.Context(), id, ReplayRequest{From: from, RateLimit: &one})
		switch {
		case i < MaxRunningReplays && err != nil:
			t.Fatal(err)
		case i == MaxRunningReplays && (!errors.As(err, &conflict) || !strings.Contains(err.Error(), "16 replays are running")):
			t.Errorf("one more than may run: %v", err)
		}
		running = append(running, got.ID)
	}
	if _, err := r.engine.StartReplay(t.Context(), subs[0], ReplayRequest{From: from}); !errors.As(err, &conflict) ||
		!strings.Contains(err.Error(), running[0]) {
		t.Errorf("a second one of a subscription: %v", err)
	}
	r.move(subs[0], running[0], journal.ReplayPaused)
	last := subs[MaxRunningReplays]
	running[MaxRunningReplays] = r.replay(last, ReplayRequest{From: from, RateLimit: &one}).ID
	if _, err := r.engine.SetReplay(t.Context(), subs[0], running[0], journal.ReplayRunning); !errors.As(err, &conflict) {
		t.Errorf("one more than may run, resumed: %v", err)
	}
	for i, id := range subs[1:] {
		r.move(id, running[i+1], journal.ReplayCancelled)
	}

	// The oldest that ended go, those that are open stay.
	id := subs[0]
	for range MaxReplays + 5 {
		got := r.replay(id, ReplayRequest{FailuresOnly: true})
		running = append(running, got.ID)
	}
	all, err := r.engine.Replays(t.Context(), id)
	if err != nil || len(all) != MaxReplays {
		t.Fatalf("%d replays are kept, %v", len(all), err)
	}
	kept := make([]string, 0, len(all))
	for _, one := range all {
		kept = append(kept, one.ID)
	}
	if !slices.Contains(kept, running[0]) || kept[0] != running[len(running)-1] || slices.Contains(kept, running[MaxRunningReplays+1]) {
		t.Errorf("kept are %v", kept)
	}
}

func TestReplayIsBoundedByTheLog(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	endpoint := newReceiver(t)
	r := newRigAt(t, clock, nil)
	id := r.subscribe(endpoint.URL, nil)
	from := clock.Now()
	r.publish("a.b", ids("gone", 10)...)
	clock.Advance(time.Hour)
	available := clock.Now()
	r.publish("a.b", ids("e", 10)...)
	endpoint.got(t, 20)
	r.settledAll()
	retain := func(age time.Duration) journal.Seq {
		t.Helper()
		before, err := journal.Retain(t.Context(), r.journal, []journal.Shard{0}, clock.Now(), age)
		if err != nil {
			t.Fatal(err)
		}

		return before
	}
	if before := retain(30 * time.Minute); before != 12 {
		t.Fatalf("the log begins at %d", before)
	}
	one := int32(1)
	started := r.replay(id, ReplayRequest{From: from, RateLimit: &one})
	if !started.Available.Equal(available) || started.Start != 12 {
		t.Errorf("a replay of more than there is: %+v", started)
	}
	eventually(t, "the first", func() bool { return r.shows(id, started.ID).Delivered == 1 })
	r.flushed()
	r.move(id, started.ID, journal.ReplayPaused)
	clock.Advance(time.Minute)
	if before := retain(time.Second); before != 13 {
		t.Errorf("a paused replay at 12 has the log begin at %d", before)
	}
	clock.Advance(journal.MaxReplayAge + 2*replaySweep)
	got := r.reaches(id, started.ID, journal.ReplayFailed)
	if got.Reason != ReplayExpired || got.Message == "" || got.Delivered != 1 {
		t.Errorf("expired: %+v", got)
	}
	r.publish("a.b", "new")
	endpoint.got(t, 21)
	r.settledAll()
	if before := retain(time.Hour); before != 22 {
		t.Errorf("afterwards the log begins at %d", before)
	}
	// What is trimmed under one that has begun ends it.
	clock.Advance(time.Second)
	started = r.replay(id, ReplayRequest{From: clock.Now().Add(-time.Minute)})
	r.counts(r.reaches(id, started.ID, journal.ReplayDone), counted{Scanned: 1, Matched: 1, Delivered: 1})
}

// TestReplayTellsOfATrimmedLog: what the log lost under a replay is told, not passed over.
func TestReplayTellsOfATrimmedLog(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	id := r.subscribe(endpoint.URL, nil)
	from := r.clock.Now()
	r.publish("a.b", ids("e", 600)...)
	endpoint.got(t, 600)
	r.settledAll()
	started := r.replay(id, ReplayRequest{From: from, RateLimit: fast()})
	eventually(t, "some to be sent", func() bool { return r.shows(id, started.ID).Delivered > 5 })
	r.move(id, started.ID, journal.ReplayPaused)
	if err := r.journal.Trim(t.Context(), 550); err != nil {
		t.Fatal(err)
	}
	r.move(id, started.ID, journal.ReplayRunning)
	got := r.reaches(id, started.ID, journal.ReplayFailed)
	if got.Reason != ReplayLogTrimmed || got.Delivered >= 550 {
		t.Errorf("the replay ended with %+v", got)
	}
	again := r.replay(id, ReplayRequest{From: from, RateLimit: fast()})
	if again.Available.IsZero() || again.Start != 550 {
		t.Errorf("what is left: %+v", again)
	}
	r.counts(r.reaches(id, again.ID, journal.ReplayDone), counted{Scanned: 52, Matched: 52, Delivered: 52})
}

// TestReplayBeginsWithTheLog: what is trimmed before a replay's first look is as what was gone before it.
func TestReplayBeginsWithTheLog(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	id := r.subscribe(endpoint.URL, nil)
	from := r.clock.Now()
	r.publish("a.b", ids("e", 20)...)
	endpoint.got(t, 20)
	r.enable(id, false)
	r.settledAll()
	eventually(t, "the endpoint to be disabled", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()

		return !r.engine.endpoints[id].sendable
	})
	started := r.replay(id, ReplayRequest{From: from, RateLimit: fast()})
	if err := r.journal.Trim(t.Context(), 12); err != nil {
		t.Fatal(err)
	}
	r.enable(id, true)
	got := r.reaches(id, started.ID, journal.ReplayDone)
	if got.Start != 12 || got.Available.IsZero() {
		t.Errorf("it begins at %d, available from %s", got.Start, got.Available)
	}
	r.counts(got, counted{Scanned: 11, Matched: 10, Delivered: 10})
}

// worn is a journal whose log can no longer be read at one position.
type worn struct {
	journal.Journal

	at *atomic.Uint64
}

func (w worn) Read(ctx context.Context, from journal.Seq, most int) ([]journal.Record, error) {
	if at := journal.Seq(w.at.Load()); at != 0 && from <= at && at < from+journal.Seq(most) {
		return nil, &journal.RecordError{Seq: at, Err: journal.ErrCorrupt}
	}

	return w.Journal.Read(ctx, from, most)
}

// TestReplayTellsOfDamage: what cannot be read ends a replay, which says where, and nothing else.
func TestReplayTellsOfDamage(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	at := &atomic.Uint64{}
	r := newRig(t, func(c *Config) { c.Journal = worn{c.Journal, at} })
	id := r.subscribe(endpoint.URL, nil)
	from := r.clock.Now()
	r.publish("a.b", ids("e", 400)...)
	endpoint.got(t, 400)
	r.settledAll()
	at.Store(300)
	started := r.replay(id, ReplayRequest{From: from, RateLimit: fast()})
	got := r.reaches(id, started.ID, journal.ReplayFailed)
	if got.Reason != ReplayLogCorrupt || !strings.Contains(got.Message, "position 257 ") {
		t.Errorf("the replay ended with %+v", got)
	}
	r.publish("a.b", "after")
	endpoint.got(t, 401)
}

// TestReplayOfLargeEvents: no more of them are held than a replay may, and all arrive.
func TestReplayOfLargeEvents(t *testing.T) {
	t.Parallel()
	const events, size = 60, 200 << 10
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	id := r.subscribe(endpoint.URL, nil)
	from := r.clock.Now()
	for i := range events {
		if _, err := r.journal.Append(t.Context(), []journal.Event{{
			Tenant: tenant, Source: "/test", ID: fmt.Sprintf("e%d", i), Type: "a.b", Accepted: r.clock.Now(),
			Body: fmt.Appendf(nil, `{"specversion":"1.0","id":"e%d","source":"/test","type":"a.b","data":%q}`, i, strings.Repeat("x", size)),
		}}); err != nil {
			t.Fatal(err)
		}
	}
	endpoint.got(t, events)
	r.settledAll()
	hundred := int32(100)
	started := r.replay(id, ReplayRequest{From: from, RateLimit: &hundred})
	most := 0
	eventually(t, "the replay to end", func() bool {
		r.engine.mu.Lock()
		if rp := r.engine.replays[started.ID]; rp != nil {
			most = max(most, rp.bytes)
		}
		r.engine.mu.Unlock()

		return r.shows(id, started.ID).State == journal.ReplayDone
	})
	if most == 0 || most > replayBytes+2*size {
		t.Errorf("at most %d bytes were held", most)
	}
	endpoint.acceptedTimes(t, 2, ids("e", events)...)
}
