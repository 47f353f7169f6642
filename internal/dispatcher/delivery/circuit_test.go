package delivery

import (
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// state waits until an endpoint is in a state of its circuit.
func (r *rig) state(id string, want CircuitState) EndpointState {
	r.t.Helper()
	var got EndpointState
	eventually(r.t, "the circuit to be "+string(want), func() bool {
		got, _ = r.engine.Endpoint(id)

		return got.Circuit == want
	})

	return got
}

func circuits(c *Config) {
	c.CircuitFailures = DefaultCircuitFailures
	c.EndpointInFlight = 1
	c.Schedule = Schedule{0, 24 * time.Hour}
	c.Random = func() float64 { return 0.5 }
}

func TestCircuitOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	endpoint := newReceiver(t)
	endpoint.always(http.StatusInternalServerError)
	r := newRigAt(t, clock, circuits)
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", ids("e", 30)...)
	r.state(id, CircuitOpen)
	eventually(t, "all to wait in the journal", func() bool { backlog, retries := r.rows(id); return backlog == 25 && retries == 5 })
	for i, seconds := range []int{5, 10, 20, 40, 80, 160, 300, 300} {
		wait := time.Duration(seconds) * time.Second
		state, _ := r.engine.Endpoint(id)
		if left := state.NextProbe.Sub(clock.Now()); left != wait || state.Failures != 5+i || state.Waiting != 30 || state.Queued != 0 {
			t.Fatalf("probe %d is in %s, want %s; %+v", i, left, wait, state)
		}
		if tried, _, _ := endpoint.counts(); tried != 5+i {
			t.Fatalf("%d deliveries were tried before probe %d: want %d", tried, i, 5+i)
		}
		clock.Advance(wait - time.Millisecond)
		if state, _ := r.engine.Endpoint(id); state.InFlight != 0 || state.NextProbe.IsZero() {
			t.Fatalf("probe %d went early: %+v", i, state)
		}
		clock.Advance(time.Millisecond)
		eventually(t, "the probe", func() bool {
			state, _ := r.engine.Endpoint(id)

			return state.Failures == 6+i && state.InFlight == 0
		})
		// The oldest that is due goes, which is the next that was not tried.
		if n := endpoint.triedTimes(ids("e", 30)[5+i]); n != 1 {
			t.Fatalf("probe %d was not with the oldest", i)
		}
	}
	if open := testutil.ToFloat64(r.engine.metrics.circuitsOpen); open != 1 {
		t.Errorf("%v circuits are open by the metric", open)
	}
	endpoint.always(http.StatusOK)
	clock.Advance(DefaultMaxProbeWait)
	// Those that were never tried go out now, those that were when they are due.
	endpoint.got(t, 30-13)
	r.state(id, CircuitClosed)
	eventually(t, "the pages to be empty", func() bool { backlog, retries := r.rows(id); return backlog == 0 && retries == 13 })
	clock.Advance(25 * time.Hour)
	endpoint.got(t, 30)
	eventually(t, "nothing to wait", func() bool {
		state, _ := r.engine.Endpoint(id)

		return state.Waiting == 0 && testutil.ToFloat64(r.engine.metrics.circuitsOpen) == 0
	})
	if opened := testutil.ToFloat64(r.engine.metrics.circuitsOpened); opened != 1 {
		t.Errorf("it opened %v times", opened)
	}
}

// TestCircuitRecoversByDoubling: after an accepted probe one attempt is under way, then two, then four.
func TestCircuitRecoversByDoubling(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	endpoint := newReceiver(t)
	endpoint.always(http.StatusInternalServerError)
	r := newRigAt(t, clock, func(c *Config) { circuits(c); c.EndpointInFlight = 4 })
	id := r.subscribe(endpoint.URL, nil)
	r.publish("a.b", ids("e", 40)...)
	r.state(id, CircuitOpen)
	eventually(t, "the attempts to end", func() bool { state, _ := r.engine.Endpoint(id); return state.InFlight == 0 })
	arrived, release := make(chan struct{}, 40), make(chan struct{})
	endpoint.respond(func(http.ResponseWriter, string, int) {
		arrived <- struct{}{}
		<-release
	})
	t.Cleanup(func() { close(release) })
	clock.Advance(DefaultProbeAfter)
	for _, width := range []int{1, 1, 2, 4, 4} {
		for range width {
			<-arrived
		}
		eventually(t, "as many under way", func() bool { state, _ := r.engine.Endpoint(id); return state.InFlight == width })
		for range width {
			release <- struct{}{}
		}
	}
	r.state(id, CircuitClosed)
}

// TestCircuitIsProbedAfterAChange: who mends the subscription need not wait for the next probe.
func TestCircuitIsProbedAfterAChange(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	broken, mended := newReceiver(t), newReceiver(t)
	broken.always(http.StatusInternalServerError)
	r := newRigAt(t, clock, circuits)
	id := r.subscribe(broken.URL, nil)
	r.publish("a.b", ids("e", 20)...)
	r.state(id, CircuitOpen)
	r.update(id, subscription.Patch{URL: &mended.URL})
	mended.got(t, 15)
	r.state(id, CircuitClosed)
}

// TestCircuitIsProbedAgainAfterAChange: a probe that is under way when the subscription is mended tells
// nothing of what it is now.
func TestCircuitIsProbedAgainAfterAChange(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	broken, mended := newReceiver(t), newReceiver(t)
	broken.always(http.StatusInternalServerError)
	r := newRigAt(t, clock, circuits)
	id := r.subscribe(broken.URL, nil)
	r.publish("a.b", ids("e", 20)...)
	r.state(id, CircuitOpen)
	eventually(t, "the attempts to end", func() bool { state, _ := r.engine.Endpoint(id); return state.InFlight == 0 })
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	broken.respond(func(w http.ResponseWriter, _ string, _ int) {
		arrived <- struct{}{}
		<-release
		w.WriteHeader(http.StatusInternalServerError)
	})
	clock.Advance(DefaultProbeAfter)
	<-arrived
	r.update(id, subscription.Patch{URL: &mended.URL})
	eventually(t, "the engine to follow", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		current, _ := r.registry.Current(id)

		return r.engine.endpoints[id].revision == current.Revision
	})
	close(release)
	// The clock stands still, so no other probe is due.
	mended.got(t, 14)
	r.state(id, CircuitClosed)
}

// settleNothing goes on as after a Settle. The caller holds the lock.
func (e *Engine) settleNothing() {
	_, taken := e.takePending()
	e.settledPending(0, taken)
}

// TestOpenCircuitIsCheap: what is open costs little memory and no goroutine.
func TestOpenCircuitIsCheap(t *testing.T) {
	const endpoints, most = 2000, 6 << 10
	r := newRig(t, func(c *Config) { c.CircuitFailures, c.ProbeAfter, c.MaxProbeWait = 5, time.Hour, time.Hour })
	r.stop()
	e := r.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	e.accepting = true
	defer func() {
		for _, ep := range e.endpoints {
			e.stopProbing(ep)
		}
	}()
	measure := func() (bytes uint64, goroutines int) {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)

		return stats.HeapAlloc, runtime.NumGoroutine()
	}
	names, keys := ids("s", endpoints), ids("k", 100)
	for _, ordering := range []subscription.Ordering{subscription.OrderingNone, subscription.OrderingByKey} {
		before, goroutines := measure()
		for i := range endpoints {
			sub := &registry.Subscription{Tenant: tenant, Revision: 1}
			sub.ID, sub.Enabled, sub.Delivery.Ordering = string(ordering)+names[i], true, ordering
			ep := e.endpointOf(sub.ID, false)
			e.configure(ep, sub)
			for seq := range journal.Seq(100) {
				e.place(sub, &journal.Event{Subject: keys[seq]}, &origin{seq: seq + 1})
			}
			for range 5 {
				e.failed(ep, &item{endpoint: ep}, 0)
			}
		}
		e.settleNothing()
		clear(e.hungry)
		after, now := measure()
		if each := (after - before) / endpoints; after > before && each > most {
			t.Errorf("%s: an endpoint with an open circuit takes %d bytes: the most is %d", ordering, each, most)
		} else {
			t.Logf("%s: an endpoint with an open circuit takes %d bytes", ordering, each)
		}
		// A few may come and go with the journal.
		if now > goroutines+endpoints/100 {
			t.Errorf("%d goroutines came with them", now-goroutines)
		}
	}
}
