package delivery

import (
	"time"

	"github.com/jonboulle/clockwork"
)

// CircuitState says how far an endpoint is trusted to answer.
type CircuitState string

// The states of a circuit.
const (
	// CircuitClosed: deliveries go out.
	CircuitClosed CircuitState = "Closed"
	// CircuitOpen: too many attempts failed in a row; one delivery at a time probes the endpoint.
	CircuitOpen CircuitState = "Open"
	// CircuitRecovering: a probe was accepted; the number of attempts at once grows from one.
	CircuitRecovering CircuitState = "Recovering"
)

// EndpointState is what an engine knows of one subscription's endpoint at the moment.
type EndpointState struct {
	Circuit CircuitState
	// Since is when the circuit came into its state; zero for one that was never open.
	Since time.Time
	// NextProbe is when an open circuit tries a delivery; zero where none is waited for.
	NextProbe time.Time
	// Failures are those in a row, up to the last attempt.
	Failures int
	// Slow: it takes longer than SlowAfter, so it shares a quarter of the places with others like it.
	Slow bool
	// InFlight attempts are under way, Queued deliveries wait in memory, Waiting ones on pages and
	// for their next attempt.
	InFlight, Queued, Waiting int
	// Behind: deliveries go to pages before they are queued.
	Behind bool
}

// Endpoint tells of a subscription's endpoint; false where the engine has none yet.
func (e *Engine) Endpoint(subscriptionID string) (EndpointState, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ep := e.endpoints[subscriptionID]
	if ep == nil || ep.deleted {
		return EndpointState{}, false
	}

	return EndpointState{
		Circuit: ep.circuit.name(), Since: ep.circuit.since, NextProbe: ep.circuit.probeAt, Failures: ep.circuit.failures,
		Slow: ep.class == slowClass, InFlight: ep.inFlight, Queued: len(ep.queue), Waiting: ep.rows, Behind: ep.behind,
	}, true
}

// circuit keeps an endpoint that fails from being tried by each of its deliveries. Its zero
// value is closed. It belongs to the engine's lock.
type circuit struct {
	open, recovering bool
	// failures in a row.
	failures int
	// opened counts the probes that failed since it was closed, which the waits grow with.
	opened int
	since  time.Time
	// probeAt is when timer fires.
	probeAt time.Time
	timer   clockwork.Timer
	// probing: the next delivery may go out as a probe; underWay: it is out.
	probing, underWay bool
	// changed: the subscription has changed since the probe under way began, so it says nothing of it.
	changed bool
	// window is how many attempts may be under way while it is not open, see width; successes are those
	// at this width, most were under way at once since measured.
	window, successes, most int
	measured                time.Time
}

const (
	// startWindow is how many attempts may be under way to an endpoint of which nothing is known of
	// late. As long as attempts use the whole window it doubles, with as many that are accepted, up to
	// the endpoint's limit. So endpoints that begin to hang take few places from the others, however
	// many they are.
	startWindow = 2
	// windowAge is how long a window stays as wide as it was needed: it is halved where no more than
	// half of it was used for so long, and begins again after twice that without an attempt.
	windowAge = 10 * time.Second
)

// width is the window of a circuit that is closed.
func (c *circuit) width() int { return max(c.window, startWindow) }

// began takes note of an attempt that was started, with which so many are under way.
func (c *circuit) began(now time.Time, inFlight int) {
	if age := now.Sub(c.measured); age >= windowAge && !c.open && !c.recovering {
		switch {
		case age >= 2*windowAge:
			c.window = 0
		case 2*c.most <= c.window:
			c.window /= 2
		}
		c.most, c.measured = 0, now
	}
	c.most = max(c.most, inFlight)
}

// widen follows an attempt that was accepted while the circuit is closed.
func (c *circuit) widen(inFlight, limit int) {
	width := c.width()
	if width >= limit || c.most < width {
		return
	}
	if c.successes++; c.successes >= width {
		c.window, c.successes, c.most = 2*width, 0, inFlight
	}
}

func (c *circuit) name() CircuitState {
	switch {
	case c.open:
		return CircuitOpen
	case c.recovering:
		return CircuitRecovering
	default:
		return CircuitClosed
	}
}

// admits tells whether one more attempt may start beside those under way.
func (c *circuit) admits(inFlight, limit int) bool {
	switch {
	case c.open:
		return c.probing && !c.underWay
	case c.recovering:
		return inFlight < min(c.window, limit)
	default:
		return inFlight < min(c.width(), limit)
	}
}

// judged follows what an attempt said of its endpoint. The caller holds the lock.
func (e *Engine) judged(it *item, x exchange) {
	ep := it.endpoint
	if ep.deleted || x.verdict == 0 {
		return
	}
	e.timed(ep, x.latency)
	switch x.verdict {
	case verdictDelivered:
		e.succeeded(ep)
	case verdictRetry:
		e.failed(ep, it, x.retryAfter)
	case verdictGone, verdictRejected:
	}
}

func (e *Engine) succeeded(ep *endpoint) {
	c := &ep.circuit
	c.failures = 0
	switch {
	case c.open:
		e.stopProbing(ep)
		c.open, c.recovering, c.changed = false, true, false
		c.window, c.successes = 1, 0
		c.since = e.cfg.Clock.Now()
		e.metrics.circuitsOpen.Dec()
	case c.recovering:
		if c.successes++; c.successes < c.window {
			return
		}
		c.successes = 0
		if c.window *= 2; c.window >= ep.limit {
			c.recovering, c.opened = false, 0
			c.since = e.cfg.Clock.Now()
			c.measured = c.since
		}
	default:
		c.widen(ep.inFlight, ep.limit)
	}
}

func (e *Engine) failed(ep *endpoint, it *item, retryAfter time.Duration) {
	c := &ep.circuit
	c.failures++
	switch {
	case c.open:
		// What was under way when it opened says nothing new.
		switch {
		case it.probe && c.changed:
			c.changed = false
			e.probeNow(ep)
		case it.probe:
			c.opened++
			e.awaitProbe(ep, retryAfter)
		}
	case c.recovering:
		switch {
		case it.started.Before(c.since):
		case c.window > 1:
			c.window, c.successes = c.window/2, 0
		default:
			c.opened++
			e.openCircuit(ep, retryAfter)
		}
	case c.failures >= e.cfg.CircuitFailures:
		e.openCircuit(ep, retryAfter)
	}
}

// openCircuit has an endpoint's deliveries wait in the journal but for one probe now and then.
func (e *Engine) openCircuit(ep *endpoint, retryAfter time.Duration) {
	c := &ep.circuit
	c.open, c.recovering = true, false
	c.since = e.cfg.Clock.Now()
	e.metrics.circuitsOpen.Inc()
	e.metrics.circuitsOpened.Inc()
	e.awaitProbe(ep, retryAfter)
	if !ep.deleted {
		e.evictQueue(ep)
	}
}

// awaitProbe plans the next probe: after ProbeAfter, twice as long after each that failed, or
// when the endpoint asked for it, but never later than MaxProbeWait.
func (e *Engine) awaitProbe(ep *endpoint, retryAfter time.Duration) {
	c := &ep.circuit
	e.stopProbing(ep)
	if !e.accepting {
		return
	}
	wait := e.cfg.ProbeAfter
	for range c.opened {
		if wait *= 2; wait >= e.cfg.MaxProbeWait {
			break
		}
	}
	wait = vary(min(max(wait, retryAfter), e.cfg.MaxProbeWait), 2*e.cfg.Random()-1)
	c.probeAt = e.cfg.Clock.Now().Add(wait)
	c.timer = e.cfg.Clock.AfterFunc(wait, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.probeNow(ep)
	})
}

// probeNow lets the next delivery that is due out as a probe.
func (e *Engine) probeNow(ep *endpoint) {
	c := &ep.circuit
	if !c.open || c.underWay {
		c.changed = c.open

		return
	}
	c.changed = false
	e.stopProbing(ep)
	c.probing = true
	e.wantMore(ep)
	e.pumpReplay(ep)
}

func (e *Engine) stopProbing(ep *endpoint) {
	c := &ep.circuit
	c.probing, c.probeAt = false, time.Time{}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// forgetCircuit lets go of the circuit of an endpoint that is no more.
func (e *Engine) forgetCircuit(ep *endpoint) {
	e.stopProbing(ep)
	if ep.circuit.open {
		e.metrics.circuitsOpen.Dec()
	}
	ep.circuit = circuit{}
}
