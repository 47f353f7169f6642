package delivery

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// replay starts one.
func (r *rig) replay(id string, want ReplayRequest) Replay {
	r.t.Helper()
	r.running()
	started, err := r.engine.StartReplay(r.t.Context(), id, want)
	if err != nil {
		r.t.Fatal(err)
	}

	return started
}

// running waits until the engine takes requests.
func (r *rig) running() {
	r.t.Helper()
	eventually(r.t, "the engine to run", func() bool { r.engine.mu.Lock(); defer r.engine.mu.Unlock(); return r.engine.accepting })
}

// fast is a rate that stands in no test's way.
func fast() *int32 { rate := int32(MaxReplayRate); return &rate }

// shows reads a replay.
func (r *rig) shows(id, replay string) Replay {
	r.t.Helper()
	got, err := r.engine.Replay(r.t.Context(), id, replay)
	if err != nil {
		r.t.Fatal(err)
	}

	return got
}

// reaches waits until a replay is in a state.
func (r *rig) reaches(id, replay string, want journal.ReplayState) Replay {
	r.t.Helper()
	var got Replay
	eventually(r.t, "the replay to be "+string(want), func() bool {
		got = r.shows(id, replay)

		return got.State == want
	})

	return got
}

// ends waits for a replay's end while time passes in steps.
func (r *rig) ends(clock *clockwork.FakeClock, step time.Duration, id, replay string) Replay {
	r.t.Helper()
	eventually(r.t, "the replay to end", func() bool {
		clock.Advance(step)

		return !r.shows(id, replay).State.Open()
	})

	return r.reaches(id, replay, journal.ReplayDone)
}

// counted are a replay's counts.
type counted struct{ Scanned, Matched, Delivered, Failed, Waiting, Remaining uint64 }

func countsOf(replay Replay) counted {
	return counted{replay.Scanned, replay.Matched, replay.Delivered, replay.Failed, replay.Waiting, replay.Remaining}
}

// counts checks them.
func (r *rig) counts(replay Replay, want counted) {
	r.t.Helper()
	if diff := cmp.Diff(want, countsOf(replay)); diff != "" {
		r.t.Errorf("counts of the replay, -want +got:\n%s", diff)
	}
}

// move pauses, resumes or cancels a replay.
func (r *rig) move(id, replay string, to journal.ReplayState) {
	r.t.Helper()
	var err error
	if to == journal.ReplayCancelled {
		err = r.engine.CancelReplay(r.t.Context(), id, replay)
	} else {
		_, err = r.engine.SetReplay(r.t.Context(), id, replay, to)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// acceptedTimes checks how often each of some events was accepted, all under one id.
func (r *receiver) acceptedTimes(t *testing.T, want int, ids ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if r.accepted[id] != want {
			t.Errorf("%s was accepted %d times, want %d", id, r.accepted[id], want)
		}
		if want > 0 && (r.ids[id] == "" || r.ids[id] == "changed") {
			t.Errorf("%s came under several ids", id)
		}
	}
}

// settledAll waits until all that is in the log is settled, and tells so fake clocks.
func (r *rig) settledAll() {
	r.t.Helper()
	if clock, fake := r.clock.(*clockwork.FakeClock); fake {
		clock.Advance(time.Second)
	}
	r.idle()
	r.flushed()
	_, last, err := r.journal.View().Bounds(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.settledTo(last)
}

func TestReplayOfAWindow(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	endpoint := newReceiver(t)
	r := newRigAt(t, clock, nil)
	id := r.subscribe(endpoint.URL, func(d *subscription.Draft) { d.Events = []string{"a.*"} })
	r.publish("a.b", ids("early", 10)...)
	clock.Advance(time.Minute)
	from := clock.Now()
	r.publish("a.b", ids("in", 300)...)
	r.publish("c.d", ids("never", 300)...)
	clock.Advance(time.Minute)
	to := clock.Now()
	r.publish("a.b", ids("late", 10)...)
	endpoint.got(t, 320)
	r.settledAll()
	started := r.replay(id, ReplayRequest{From: from, To: to, RateLimit: fast()})
	if started.State != journal.ReplayRunning || started.Remaining != 600 || started.Start != 12 || started.End != 612 {
		t.Errorf("started: %+v", started)
	}
	got := r.ends(clock, 10*time.Millisecond, id, started.ID)
	r.counts(got, counted{Scanned: 600, Matched: 300, Delivered: 300})
	endpoint.acceptedTimes(t, 2, ids("in", 300)...)
	endpoint.acceptedTimes(t, 1, append(ids("early", 10), ids("late", 10)...)...)
	endpoint.acceptedTimes(t, 0, ids("never", 300)...)
	if backlog, retries := r.rows(id); backlog+retries != 0 {
		t.Errorf("%d rows are left", backlog+retries)
	}
	for name, want := range map[string]float64{"scanned": 600, "delivered": 300, "ended": 1} {
		metric := map[string]float64{
			"scanned":   testutil.ToFloat64(r.engine.metrics.replayScanned),
			"delivered": testutil.ToFloat64(r.engine.metrics.replayDeliveries.WithLabelValues(replayDelivered)),
			"ended":     testutil.ToFloat64(r.engine.metrics.replaysEnded.WithLabelValues("Done")),
		}[name]
		if metric != want {
			t.Errorf("%s by the metric: %v, want %v", name, metric, want)
		}
	}
}

// TestReplayGoesByThePresent: patterns and filters are those of now, also for events that
// matched nothing then, or the subscription was not there for.
func TestReplayGoesByThePresent(t *testing.T) {
	t.Parallel()
	endpoint, other := newReceiver(t), newReceiver(t)
	r := newRig(t, func(c *Config) {
		c.Passes = func(sub *registry.Subscription, among []*registry.Subscription, _ string, event []byte) bool {
			return len(among) == 2 && sub.Events[0] != "x.y" && !strings.Contains(string(event), "-1")
		}
	})
	r.subscribe(other.URL, func(d *subscription.Draft) { d.Events = []string{"x.y", "c.d"} })
	from := r.clock.Now()
	r.publish("c.d", ids("new-", 20)...)
	r.publish("a.b", ids("old-", 20)...)
	id := r.subscribe(endpoint.URL, func(d *subscription.Draft) { d.Events = []string{"a.b"} })
	events := []string{"c.*"}
	r.update(id, subscription.Patch{Events: &events})
	r.settledAll()
	got := r.reaches(id, r.replay(id, ReplayRequest{From: from, RateLimit: fast()}).ID, journal.ReplayDone)
	r.counts(got, counted{Scanned: 42, Matched: 9, Delivered: 9})
	if tried, accepted, most := endpoint.counts(); tried != 9 || accepted != 9 || most != 1 {
		t.Errorf("%d were tried and %d accepted, %d times at the most", tried, accepted, most)
	}
}

func TestReplayOfFailures(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	endpoint := newReceiver(t)
	r := newRigAt(t, clock, func(c *Config) { c.Schedule = Schedule{0} })
	id := r.subscribe(endpoint.URL, nil)
	endpoint.always(http.StatusInternalServerError)
	r.publish("a.b", ids("early", 5)...)
	eventually(t, "the early dead letters", func() bool { return len(r.deadLetters(id)) == 5 })
	clock.Advance(time.Minute)
	from := clock.Now()
	r.publish("a.b", ids("in", 20)...)
	eventually(t, "the dead letters", func() bool { return len(r.deadLetters(id)) == 25 })
	endpoint.always(http.StatusOK)
	r.publish("a.b", ids("fine", 5)...)
	endpoint.got(t, 5)
	endpoint.respond(func(w http.ResponseWriter, id string, _ int) {
		if id == "in3" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	r.settledAll()
	// The log is gone; dead letters have their events.
	_, last, err := r.journal.View().Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.journal.Trim(t.Context(), last+1); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	started := r.replay(id, ReplayRequest{From: from, FailuresOnly: true, RateLimit: fast()})
	got := r.ends(clock, 10*time.Millisecond, id, started.ID)
	r.counts(got, counted{Scanned: 25, Matched: 20, Delivered: 19, Failed: 1})
	endpoint.acceptedTimes(t, 0, append(ids("early", 5), "in3")...)
	eventually(t, "the letters to be cleared", func() bool { return len(r.deadLetters(id)) == 6 })
	for _, letter := range r.deadLetters(id) {
		if letter.Event.ID != "in3" && !strings.HasPrefix(letter.Event.ID, "early") || len(letter.Event.Body) == 0 {
			t.Errorf("%s is left as a dead letter of %d bytes", letter.Event.ID, len(letter.Event.Body))
		}
	}
	if attempt := r.attempts(id)[0]; attempt.Number != 2 {
		t.Errorf("the last attempt has number %d", attempt.Number)
	}
	endpoint.always(http.StatusOK)
	started = r.replay(id, ReplayRequest{FailuresOnly: true, RateLimit: fast()})
	r.counts(r.ends(clock, 10*time.Millisecond, id, started.ID), counted{Scanned: 6, Matched: 6, Delivered: 6})
	eventually(t, "no letters", func() bool { return len(r.deadLetters(id)) == 0 })
}

// TestReplayedFailureGoesOn: what fails when it is replayed is tried again by the schedule, and its
// dead letter goes with its success.
func TestReplayedFailureGoesOn(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	endpoint.always(http.StatusInternalServerError)
	r := newRig(t, nil)
	from := r.clock.Now()
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", ids("e", 10)...)
	eventually(t, "the dead letters", func() bool { return len(r.deadLetters(id)) == 10 })
	r.settledAll()
	endpoint.respond(func(w http.ResponseWriter, id string, nth int) {
		if nth < 6 && id != "e0" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	got := r.reaches(id, r.replay(id, ReplayRequest{From: from, RateLimit: fast()}).ID, journal.ReplayDone)
	r.counts(got, counted{Scanned: 11, Matched: 10, Delivered: 1, Failed: 9})
	endpoint.got(t, 10)
	eventually(t, "the letters to be cleared", func() bool { return len(r.deadLetters(id)) == 0 })
	endpoint.acceptedTimes(t, 1, ids("e", 10)...)
}

// TestReplayLeavesWhatWaits: a delivery that waits for its own turn is not sent by a replay too.
func TestReplayLeavesWhatWaits(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	endpoint := newReceiver(t)
	endpoint.respond(func(w http.ResponseWriter, id string, nth int) {
		if strings.HasPrefix(id, "bad") && nth == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	r := newRigAt(t, clock, func(c *Config) { c.Schedule = Schedule{0, time.Hour} })
	id := r.subscribe(endpoint.URL, nil)
	from := clock.Now()
	r.publish("a.b", append(ids("bad", 5), ids("good", 5)...)...)
	eventually(t, "the retries", func() bool { _, retries := r.rows(id); return retries == 5 })
	endpoint.got(t, 5)
	r.settledAll()
	started := r.replay(id, ReplayRequest{From: from, RateLimit: fast()})
	r.counts(r.ends(clock, 10*time.Millisecond, id, started.ID), counted{Scanned: 11, Matched: 10, Delivered: 5, Waiting: 5})
	clock.Advance(2 * time.Hour)
	endpoint.got(t, 10)
	endpoint.acceptedTimes(t, 1, ids("bad", 5)...)
	endpoint.acceptedTimes(t, 2, ids("good", 5)...)
}

func TestReplayRate(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	endpoint := newReceiver(t)
	r := newRigAt(t, clock, nil)
	id := r.subscribe(endpoint.URL, nil)
	from := clock.Now()
	r.publish("a.b", ids("e", 30)...)
	endpoint.got(t, 30)
	r.settledAll()
	five := int32(5)
	started := r.replay(id, ReplayRequest{From: from, RateLimit: &five})
	sent := func() (n int) {
		for _, id := range ids("e", 30) {
			n += endpoint.triedTimes(id) - 1
		}

		return n
	}
	for second := range 5 {
		want := 1 + 5*second
		eventually(t, fmt.Sprintf("%d attempts", want), func() bool { return sent() >= want })
		r.idle()
		if got := sent(); got != want {
			t.Fatalf("%d attempts after %d s, want %d", got, second, want)
		}
		for range 5 {
			before := sent()
			clock.Advance(200 * time.Millisecond)
			eventually(t, "the next attempt", func() bool { return sent() > before })
			r.idle()
		}
	}
	r.counts(r.ends(clock, 200*time.Millisecond, id, started.ID), counted{Scanned: 31, Matched: 30, Delivered: 30})
}

// flushed waits until all outcomes so far are settled.
func (r *rig) flushed() {
	r.t.Helper()
	eventually(r.t, "the outcomes to be settled", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		for _, ep := range r.engine.endpoints {
			if len(ep.held) > 0 {
				return false
			}
		}

		return true
	})
}

// idle waits until no attempt is under way.
func (r *rig) idle() {
	r.t.Helper()
	eventually(r.t, "no attempt to be under way", func() bool { r.engine.mu.Lock(); defer r.engine.mu.Unlock(); return r.engine.inFlight == 0 })
}

func TestReplayPausesAndCancels(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	id := r.subscribe(endpoint.URL, nil)
	from := r.clock.Now()
	r.publish("a.b", ids("e", 400)...)
	endpoint.got(t, 400)
	r.settledAll()
	started := r.replay(id, ReplayRequest{From: from, RateLimit: fast()})
	eventually(t, "some to be sent", func() bool { return r.shows(id, started.ID).Delivered > 20 })
	r.move(id, started.ID, journal.ReplayPaused)
	r.move(id, started.ID, journal.ReplayPaused)
	r.idle()
	paused := r.shows(id, started.ID)
	if paused.State != journal.ReplayPaused || paused.Delivered < 20 || paused.Delivered >= 400 || paused.Remaining == 0 {
		t.Errorf("paused: %+v", paused)
	}
	r.restart()
	r.running()
	if diff := cmp.Diff(paused, r.shows(id, started.ID)); diff != "" {
		t.Errorf("a restart changed a paused replay:\n%s", diff)
	}
	_, accepted, _ := endpoint.counts()
	time.Sleep(50 * time.Millisecond)
	if _, later, most := endpoint.counts(); later != accepted || most > 2 {
		t.Errorf("deliveries went on: %d after %d, at most %d of one", later, accepted, most)
	}
	r.move(id, started.ID, journal.ReplayRunning)
	r.counts(r.reaches(id, started.ID, journal.ReplayDone), counted{Scanned: 400, Matched: 400, Delivered: 400})
	endpoint.acceptedTimes(t, 2, ids("e", 400)...)

	started = r.replay(id, ReplayRequest{From: from})
	eventually(t, "some to be sent", func() bool { return r.shows(id, started.ID).Delivered > 2 })
	r.move(id, started.ID, journal.ReplayCancelled)
	r.move(id, started.ID, journal.ReplayCancelled)
	r.idle()
	if got := r.shows(id, started.ID); got.State != journal.ReplayCancelled || got.Delivered >= 400 {
		t.Errorf("cancelled: %+v", got)
	}
	for _, to := range []journal.ReplayState{journal.ReplayRunning, journal.ReplayPaused} {
		conflict := new(ReplayConflictError)
		if _, err := r.engine.SetReplay(t.Context(), id, started.ID, to); !errors.As(err, &conflict) || conflict.Field != "state" {
			t.Errorf("a cancelled replay to %s: %v", to, err)
		}
	}
	if open, err := r.journal.View().OpenReplays(t.Context()); err != nil || len(open) != 0 {
		t.Errorf("open are %+v, %v", open, err)
	}
}

func TestReplayOfTheDisabledWaits(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	id := r.subscribe(endpoint.URL, nil)
	from := r.clock.Now()
	r.publish("a.b", ids("e", 200)...)
	endpoint.got(t, 200)
	r.settledAll()
	started := r.replay(id, ReplayRequest{From: from, RateLimit: fast()})
	eventually(t, "some to be sent", func() bool { return r.shows(id, started.ID).Delivered > 10 })
	r.enable(id, false)
	if got := r.shows(id, started.ID); got.State != journal.ReplayRunning || got.WaitsFor != ReplayWaitsDisabled {
		t.Errorf("while it is disabled: %+v", got)
	}
	eventually(t, "the endpoint to be disabled", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()

		return !r.engine.endpoints[id].sendable && r.engine.inFlight == 0
	})
	r.flushed()
	delivered := len(r.attempts(id))
	time.Sleep(30 * time.Millisecond)
	if now := len(r.attempts(id)); now != delivered {
		t.Errorf("%d attempts were made while it was disabled", now-delivered)
	}
	// What was published meanwhile was skipped; the replay began before it.
	r.publish("a.b", ids("skipped", 10)...)
	r.enable(id, true)
	r.counts(r.reaches(id, started.ID, journal.ReplayDone), counted{Scanned: 200, Matched: 200, Delivered: 200})
	endpoint.acceptedTimes(t, 2, ids("e", 200)...)
	// A replay is how what was skipped gets there.
	r.settledAll()
	r.reaches(id, r.replay(id, ReplayRequest{From: from, RateLimit: fast()}).ID, journal.ReplayDone)
	endpoint.acceptedTimes(t, 1, ids("skipped", 10)...)
}

func TestReplayGoesWithItsSubscription(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, nil)
	id := r.subscribe(endpoint.URL, nil)
	from := r.clock.Now()
	r.publish("a.b", ids("e", 200)...)
	endpoint.got(t, 200)
	r.settledAll()
	paused := r.replay(id, ReplayRequest{From: from})
	r.move(id, paused.ID, journal.ReplayPaused)
	started := r.replay(id, ReplayRequest{From: from})
	eventually(t, "some to be sent", func() bool { return r.shows(id, started.ID).Delivered > 2 })
	if err := r.api.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replays to go", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()

		return len(r.engine.replays) == 0 && len(r.engine.running) == 0 && r.engine.replayInFlight == 0 && r.engine.endpoints[id] == nil
	})
	if _, err := r.engine.Replays(t.Context(), id); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("replays of the deleted: %v", err)
	}
	eventually(t, "the rows to go", func() bool {
		rows, err := r.journal.View().Replays(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}

		return len(rows) == 0
	})
}

// TestReplayKeepsToTheCircuit: attempts of a replay open the circuit as any others; then it waits,
// probes where nothing else can, and goes on.
func TestReplayKeepsToTheCircuit(t *testing.T) {
	t.Parallel()
	for name, failuresOnly := range map[string]bool{"Window": false, "Failures": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := clockwork.NewFakeClockAt(time.Now())
			endpoint := newReceiver(t)
			r := newRigAt(t, clock, func(c *Config) {
				circuits(c)
				c.CircuitFailures = 40
				if failuresOnly {
					c.Schedule = Schedule{0}
				}
			})
			id := r.subscribe(endpoint.URL, nil)
			from := clock.Now()
			if failuresOnly {
				endpoint.always(http.StatusInternalServerError)
			}
			r.publish("a.b", ids("e", 30)...)
			eventually(t, "all to be settled", func() bool { return len(r.attempts(id)) == 30 })
			r.settledAll()
			endpoint.always(http.StatusInternalServerError)
			r.engine.mu.Lock()
			r.engine.cfg.CircuitFailures = DefaultCircuitFailures
			r.engine.endpoints[id].circuit.failures = 0
			r.engine.mu.Unlock()
			started := r.replay(id, ReplayRequest{From: from, FailuresOnly: failuresOnly, RateLimit: fast()})
			eventually(t, "the circuit to open", func() bool {
				state, _ := r.engine.Endpoint(id)
				if state.Circuit != CircuitOpen {
					clock.Advance(time.Millisecond)
				}

				return state.Circuit == CircuitOpen
			})
			r.idle()
			r.flushed()
			got := r.shows(id, started.ID)
			if got.State != journal.ReplayRunning || got.WaitsFor != ReplayWaitsCircuit || len(r.attempts(id)) != 35 {
				t.Fatalf("with an open circuit after %d attempts: %+v", len(r.attempts(id)), got)
			}
			endpoint.always(http.StatusOK)
			clock.Advance(DefaultProbeAfter)
			eventually(t, "the replay to end", func() bool {
				clock.Advance(time.Millisecond)

				return r.shows(id, started.ID).State == journal.ReplayDone
			})
			want := counted{Scanned: 30, Matched: 30, Delivered: 25, Failed: 5}
			if !failuresOnly {
				want.Scanned++ // The subscription's marker.
			}
			r.counts(r.shows(id, started.ID), want)
			if _, retries := r.rows(id); !failuresOnly && retries != 5 {
				t.Errorf("%d deliveries wait for their next attempt, want 5", retries)
			}
			if letters := len(r.deadLetters(id)); failuresOnly && letters != 5 {
				t.Errorf("%d dead letters are left, want 5", letters)
			}
		})
	}
}

// TestReplayLeavesRoomForTheLive: while attempts of a replay hang, deliveries go out at once.
func TestReplayLeavesRoomForTheLive(t *testing.T) {
	t.Parallel()
	endpoint, neighbour := newReceiver(t), newReceiver(t)
	r := newRig(t, func(c *Config) { c.EndpointInFlight, c.MaxInFlight, c.Timeout = 8, 32, time.Minute })
	id := r.subscribe(endpoint.URL, nil)
	r.subscribe(neighbour.URL, nil)
	from := r.clock.Now()
	r.publish("a.b", ids("old", 100)...)
	endpoint.got(t, 100)
	neighbour.got(t, 100)
	r.settledAll()
	release := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	t.Cleanup(goOn)
	endpoint.respond(func(_ http.ResponseWriter, id string, _ int) {
		if strings.HasPrefix(id, "old") {
			<-release
		}
	})
	started := r.replay(id, ReplayRequest{From: from, RateLimit: fast()})
	eventually(t, "the replay to take all it may", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()

		return r.engine.replayInFlight == 4
	})
	// They hang for long enough for the endpoint to count as slow.
	eventually(t, "the endpoint to be slow", func() bool { state, _ := r.engine.Endpoint(id); return state.Slow })
	for i := range 20 {
		r.publish("a.b", ids(fmt.Sprintf("live%d-", i), 10)...)
		endpoint.got(t, 100+10*(i+1))
		neighbour.got(t, 100+10*(i+1))
	}
	r.engine.mu.Lock()
	if r.engine.replayInFlight != 4 {
		t.Errorf("%d attempts of the replay are under way", r.engine.replayInFlight)
	}
	r.engine.mu.Unlock()
	goOn()
	r.counts(r.reaches(id, started.ID, journal.ReplayDone), counted{Scanned: 100, Matched: 100, Delivered: 100})
}

// TestReplayWaitsForTheBacklog: an endpoint that is behind has nothing left for a replay.
func TestReplayWaitsForTheBacklog(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, func(c *Config) { c.EndpointInFlight, c.QueueLength = 2, 4 })
	id := r.subscribe(endpoint.URL, nil)
	from := r.clock.Now()
	r.publish("a.b", ids("old", 50)...)
	endpoint.got(t, 50)
	r.settledAll()
	to := r.clock.Now()
	release := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	t.Cleanup(goOn)
	var replayedEarly bool
	endpoint.respond(func(_ http.ResponseWriter, id string, _ int) {
		if strings.HasPrefix(id, "live") {
			<-release
		} else if tried, _, _ := endpoint.counts(); tried < 148 { // Two may be on their way.
			replayedEarly = true
		}
	})
	r.publish("a.b", ids("live", 100)...)
	eventually(t, "the endpoint to be behind", func() bool { state, _ := r.engine.Endpoint(id); return state.Behind })
	started := r.replay(id, ReplayRequest{From: from, To: to, RateLimit: fast()})
	time.Sleep(30 * time.Millisecond)
	if got := r.shows(id, started.ID); got.WaitsFor != ReplayWaitsBacklog || got.Delivered != 0 {
		t.Errorf("with a backlog: %+v", got)
	}
	goOn()
	r.reaches(id, started.ID, journal.ReplayDone)
	if replayedEarly {
		t.Error("an old event went before one that waited")
	}
}
