package delivery

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// publishFor appends events of one tenant.
func (r *rig) publishFor(tenant, eventType string, ids ...string) {
	r.t.Helper()
	events := make([]journal.Event, 0, len(ids))
	for _, id := range ids {
		events = append(events, journal.Event{
			Tenant: tenant, Source: "/test", ID: id, Type: eventType, Accepted: r.clock.Now(),
			Body: fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/test","type":%q}`, id, eventType),
		})
	}
	if _, err := r.journal.Append(r.t.Context(), events); err != nil {
		r.t.Fatal(err)
	}
}

// TestAFloodLeavesTheOthersTheirShare: the next place that is free goes to whoever has the fewest.
func TestAFloodLeavesTheOthersTheirShare(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	arrived, release := make(chan string, 200), make(chan struct{})
	endpoint.respond(func(_ http.ResponseWriter, id string, _ int) {
		arrived <- id
		<-release
	})
	r := newRig(t, func(c *Config) { c.MaxInFlight, c.EndpointInFlight, c.QueueLength = 8, 8, 64 })
	t.Cleanup(func() { close(release) })
	for range 4 {
		r.subscribe(endpoint.URL, func(d *subscription.Draft) { d.Events = []string{"flood"} })
	}
	calm := r.subscribe(endpoint.URL, func(d *subscription.Draft) { d.Events = []string{"calm"} })
	other, err := r.registry.Tenant("other").Create(t.Context(), subscription.Draft{Name: "other", URL: endpoint.URL, Events: []string{"*"}, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	r.publishFor(tenant, "flood", ids("flood", 40)...)
	for range 8 {
		<-arrived
	}
	r.publishFor(tenant, "calm", "calm")
	r.publishFor("other", "a.b", "other-1", "other-2")
	eventually(t, "the others to stand in line", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		for _, id := range []string{calm, other.ID} {
			if ep := r.engine.endpoints[id]; ep == nil || ep.rank.at == 0 {
				return false
			}
		}

		return len(r.engine.endpoints[other.ID].queue) == 2
	})
	var next []string
	for range 5 {
		release <- struct{}{}
		next = append(next, <-arrived)
	}
	// The other tenant has none under way, then one, so it gets two; then the calm
	// endpoint of the busy tenant, among those of its endpoints that have none.
	if !slices.Contains(next[:2], "other-1") || !slices.Contains(next[:2], "other-2") || !slices.Contains(next, "calm") {
		t.Errorf("the places that became free went to %v", next)
	}
}

// widened has an endpoint's window be as wide as after many accepted attempts.
func (r *rig) widened(id string) {
	r.t.Helper()
	eventually(r.t, "the engine to know "+id, func() bool { _, ok := r.engine.Endpoint(id); return ok })
	r.engine.mu.Lock()
	defer r.engine.mu.Unlock()
	ep := r.engine.endpoints[id]
	ep.circuit.window, ep.circuit.measured = ep.limit, r.clock.Now()
	r.engine.pump(ep)
}

// TestSlowEndpointsShareAQuarter: who hangs holds no place that others need, and gets no more of them.
func TestSlowEndpointsShareAQuarter(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	hanging, other := newReceiver(t), newReceiver(t)
	release := make(chan struct{})
	hanging.respond(func(http.ResponseWriter, string, int) { <-release })
	r := newRigAt(t, clock, func(c *Config) { c.MaxInFlight, c.EndpointInFlight, c.Timeout = 8, 16, time.Minute })
	hangs := r.subscribe(hanging.URL, func(d *subscription.Draft) { d.Events = []string{"hang"} })
	r.subscribe(other.URL, func(d *subscription.Draft) { d.Events = []string{"go"} })
	r.publish("hang", ids("h", 40)...)
	r.widened(hangs)
	eventually(t, "all places to be taken", func() bool { state, _ := r.engine.Endpoint(hangs); return state.InFlight == 8 })
	r.publish("go", ids("g", 100)...)
	clock.Advance(SlowAfter)
	// The clock stands still from here: nothing times out, and yet they arrive.
	other.got(t, 100)
	state, _ := r.engine.Endpoint(hangs)
	if !state.Slow || state.InFlight != 8 {
		t.Errorf("the endpoint that hangs is %+v", state)
	}
	r.engine.mu.Lock()
	most := r.engine.slowCap()
	r.engine.mu.Unlock()
	if most != 2 {
		t.Errorf("slow endpoints share %d of 8 places", most)
	}
	close(release)
	hanging.got(t, 40)
	eventually(t, "it to be as the others", func() bool { state, _ := r.engine.Endpoint(hangs); return !state.Slow && state.InFlight == 0 })
}

// TestSlowEndpointsGetTheirQuarter: where the average tells, a slow endpoint starts no more than its part.
func TestSlowEndpointsGetTheirQuarter(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	release := make(chan struct{})
	endpoint.respond(func(http.ResponseWriter, string, int) { <-release })
	r := newRig(t, func(c *Config) { c.MaxInFlight, c.EndpointInFlight = 8, 16 })
	t.Cleanup(func() { close(release) })
	r.running()
	id := r.subscribe(endpoint.URL, nil)
	r.widened(id)
	r.engine.mu.Lock()
	ep := r.engine.endpoints[id]
	ep.latency = 2 * maxLatencySample
	r.engine.timed(ep, maxLatencySample)
	r.engine.mu.Unlock()
	seqs := r.publish("a.b", ids("e", 20)...)
	eventually(t, "it to use its part", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()

		return r.engine.read >= seqs[19] && ep.inFlight == 2 && ep.rank.at > 0
	})
	tried, _, _ := endpoint.counts()
	if tried > 2 {
		t.Errorf("%d attempts were under way: want at most 2", tried)
	}
}

// TestTenantsTakeTurns: where there are fewer places than tenants, each still gets its turn,
// however many endpoints the others have.
func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	arrived, release := make(chan string, 500), make(chan struct{})
	endpoint.respond(func(_ http.ResponseWriter, id string, _ int) {
		arrived <- id
		<-release
	})
	r := newRig(t, func(c *Config) { c.MaxInFlight = 1 })
	t.Cleanup(func() { close(release) })
	for range 10 {
		r.subscribe(endpoint.URL, nil)
	}
	other, err := r.registry.Tenant("other").Create(t.Context(), subscription.Draft{Name: "other", URL: endpoint.URL, Events: []string{"*"}, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	r.publishFor(tenant, "a.b", ids("flood", 20)...)
	<-arrived
	r.publishFor("other", "a.b", ids("other-", 5)...)
	eventually(t, "the other tenant to stand in line", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		ep := r.engine.endpoints[other.ID]

		return ep != nil && ep.rank.at > 0 && len(ep.queue) == 5
	})
	next := make([]string, 0, 10)
	for range 10 {
		release <- struct{}{}
		next = append(next, <-arrived)
	}
	if n := len(slices.DeleteFunc(slices.Clone(next), func(id string) bool { return !strings.HasPrefix(id, "other-") })); n != 5 {
		t.Errorf("of ten places the tenant with one endpoint got %d, want every other one: %v", n, next)
	}
}

// TestManyThatBeginToHangLeaveRoom: endpoints that hang from their first attempt on, or after a quiet
// time, take few places each, so that nobody waits until they are known to be slow: the clock stands still.
func TestManyThatBeginToHangLeaveRoom(t *testing.T) {
	t.Parallel()
	const hang, fail, healthy, events = 10, 10, 80, 20
	clock := clockwork.NewFakeClockAt(time.Now())
	hanging, failing, well := newReceiver(t), newReceiver(t), newReceiver(t)
	release := make(chan struct{})
	hold := func(http.ResponseWriter, string, int) { <-release }
	hanging.respond(hold)
	failing.always(http.StatusInternalServerError)
	// Their limits together are five times the places.
	r := newRigAt(t, clock, func(c *Config) {
		c.MaxInFlight, c.Timeout, c.CircuitFailures = 32, time.Minute, DefaultCircuitFailures
		c.Schedule = Schedule{0, time.Hour}
	})
	t.Cleanup(func() {
		select {
		case <-release:
		default:
			close(release)
		}
	})
	hung := make([]string, 0, hang)
	for range hang {
		hung = append(hung, r.subscribe(hanging.URL, nil))
	}
	broken := make([]string, 0, fail)
	for range fail {
		broken = append(broken, r.subscribe(failing.URL, nil))
	}
	for range healthy {
		r.subscribe(well.URL, func(d *subscription.Draft) { d.Events = []string{"a.b"} })
	}
	// The others are the first to want places, and take what they may have.
	bad := func(ids ...string) {
		seqs := r.publish("bad", ids...)
		eventually(t, "the bad ones to take up all they may", func() bool {
			r.engine.mu.Lock()
			defer r.engine.mu.Unlock()

			return r.engine.read >= seqs[len(seqs)-1]
		})
		for _, id := range broken {
			eventually(t, "no attempt to be under way that fails", func() bool {
				state, _ := r.engine.Endpoint(id)

				return state.Circuit == CircuitOpen && state.InFlight == 0
			})
		}
	}
	delivered := func(times int) func() bool {
		return func() bool {
			well.mu.Lock()
			defer well.mu.Unlock()
			for _, n := range well.accepted {
				if n != healthy {
					return false
				}
			}

			return len(well.accepted) == times*events
		}
	}
	bad(ids("bad", events)...)
	r.publish("a.b", ids("first", events)...)
	eventually(t, "those that are well to have all, while the others hang and fail", delivered(1))
	close(release)
	hanging.got(t, 2*events)
	eventually(t, "those that hung to have all", func() bool {
		hanging.mu.Lock()
		defer hanging.mu.Unlock()
		for _, n := range hanging.accepted {
			if n < hang {
				return false
			}
		}

		return true
	})
	for _, id := range hung {
		eventually(t, "all attempts to end", func() bool { state, _ := r.engine.Endpoint(id); return state.InFlight == 0 })
	}
	// They may have many under way now, until they have had none for a while.
	clock.Advance(2 * windowAge)
	again := make(chan struct{})
	hanging.respond(func(http.ResponseWriter, string, int) { <-again })
	t.Cleanup(func() { close(again) })
	bad(ids("worse", events)...)
	r.publish("a.b", ids("second", events)...)
	eventually(t, "those that are well to have all once more", delivered(2))
}

// TestATenantThatHangsLeavesRoom: however many endpoints of one tenant hang, the others have places left
// before any of its attempts times out.
func TestATenantThatHangsLeavesRoom(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now())
	hanging, well := newReceiver(t), newReceiver(t)
	release := make(chan struct{})
	hanging.respond(func(http.ResponseWriter, string, int) { <-release })
	r := newRigAt(t, clock, func(c *Config) { c.MaxInFlight, c.Timeout = 8, time.Minute })
	t.Cleanup(func() { close(release) })
	r.running()
	for range 30 {
		r.subscribe(hanging.URL, nil)
	}
	other, err := r.registry.Tenant("other").Create(t.Context(), subscription.Draft{Name: "other", URL: well.URL, Events: []string{"*"}, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the engine to know it", func() bool { _, ok := r.engine.Endpoint(other.ID); return ok })
	r.publish("a.b", ids("hang", 5)...)
	inFlight := func() int {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()

		return r.engine.inFlight
	}
	// What is late takes no place from the others, so more of them begin, up to three quarters.
	for _, want := range []int{8, 12, 12} {
		eventually(t, fmt.Sprintf("%d attempts to be under way", want), func() bool { return inFlight() == want })
		clock.Advance(SlowAfter)
	}
	r.publishFor("other", "a.b", ids("well", 50)...)
	well.got(t, 50)
	// The last of those that are well may have arrived and not ended yet.
	eventually(t, "no more than the 12 that hang to be under way", func() bool { return inFlight() == 12 })
}
