package delivery

import (
	"fmt"
	"net/http"
	"slices"
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
	id := r.subscribe(endpoint.URL, nil)
	eventually(t, "the engine to know it", func() bool { r.engine.applyTouched(); _, ok := r.engine.Endpoint(id); return ok })
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
